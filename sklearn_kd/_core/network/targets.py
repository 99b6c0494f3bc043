"""What a student is trained towards: arrays, or rules that make targets at every step.

A rule is called as ``rule(logits, rows, step)`` with logits (students, outputs, rows of this
batch), the indices of those rows (None: all of them, in order) and the number of the step; it
returns targets (students or 1, outputs of the loss, rows of this batch). One that treats students
differently has ``take(students)``, which returns the rule of some of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sklearn_kd._core.network.segments import Segment, take_segments

__all__ = ["Fixed", "TargetRule"]


#: Targets are a tensor, or one for each stretch of a `Joined` rule.
TargetRule = Callable[[Tensor, Tensor | None, int], Any]


class Fixed:
    """Targets that never change, (students or 1, outputs, n_rows)."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        # a row's targets side by side: a batch then gathers whole cache lines
        self.by_row = values.mT.contiguous()

    def __call__(self, logits: Tensor, rows: Tensor | None, step: int) -> Tensor:
        """Return the targets of some rows."""
        if rows is None:
            return self.values
        # turned back, since the loss goes over them with the logits of every student
        return self.by_row.index_select(1, rows).mT.contiguous()

    def take(self, students: Tensor) -> "Fixed":
        """Return the rule of some students."""
        return self if len(self.values) == 1 else Fixed(self.values[students])


class Joined:
    """A rule for each stretch of students; their targets are a list."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = segments

    def __call__(self, logits: Tensor, rows: Tensor | None, step: int) -> list[Any]:
        """Return the targets of each stretch."""
        return [rule(logits[part], rows, step) for part, rule in self.segments]

    def take(self, students: Tensor) -> "Joined":
        """Return the rules of some students."""
        return Joined(take_segments(self.segments, students))


def temper(probabilities: Tensor, temperature: Tensor) -> Tensor:
    """softmax(ln p / T) along the outputs, for each temperature of shape (students,).

    ``probabilities`` (outputs, rows) -> (students, outputs, rows). A probability of zero stays
    zero at every temperature. With one output both classes are tempered, and the second kept.
    """
    T = temperature.view(-1, 1, 1)
    if probabilities.shape[0] == 1:
        return torch.sigmoid(torch.logit(probabilities) / T)
    return torch.softmax(probabilities.log() / T, dim=1)


def mix(soft: Tensor, hard: Tensor, alpha: Tensor) -> Tensor:
    """Alpha soft + (1 - alpha) hard: at T = 1 the two-term loss is one loss on these targets."""
    a = alpha.view(-1, 1, 1)
    return a * soft + (1 - a) * hard


def two_term_targets(soft: Tensor, hard: Tensor, temperature: Tensor) -> Tensor:
    """Tempered soft targets on top of the hard labels, for `losses.TwoTerm`.

    ``soft`` and ``hard`` (outputs, rows) -> (students, 2 outputs, rows).
    """
    tempered = temper(soft, temperature)
    return torch.cat([tempered, hard.expand_as(tempered)], dim=1)
