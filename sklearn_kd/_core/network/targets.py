"""Targets of training: arrays, or rules that compute targets at every step.

A rule is called as ``rule(logits, rows, step)`` with logits (students, outputs, rows of this
batch), the indices of those rows (None: all of them, in order) and the number of the step. It
returns targets (students or 1, outputs of the loss, rows of this batch). A rule that treats
students differently has a method ``take(students)``, which returns the rule of some of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sklearn_kd._core.network.segments import Segment, take_segments

#: Targets are a tensor, or one for each segment of `PerSegmentTargets`.
TargetRule = Callable[[Tensor, Tensor | None, int], Any]


class Fixed:
    """Targets that never change, (students or 1, outputs, n_rows)."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        # the targets of a row are adjacent in memory, so that a batch gathers whole cache lines
        self.by_row = values.mT.contiguous()

    def __call__(self, logits: Tensor, rows: Tensor | None, step: int) -> Tensor:
        """Return the targets of some rows."""
        if rows is None:
            return self.values
        # transposed back, because the loss passes over them with the logits of every student
        return self.by_row.index_select(1, rows).mT.contiguous()

    def take(self, students: Tensor) -> "Fixed":
        """Return the rule of some students."""
        return self if len(self.values) == 1 else Fixed(self.values[students])


class PerSegmentTargets:
    """A rule for each segment of students; the targets are a list."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = segments

    def __call__(self, logits: Tensor, rows: Tensor | None, step: int) -> list[Any]:
        """Return the targets of each segment."""
        return [rule(logits[part], rows, step) for part, rule in self.segments]

    def take(self, students: Tensor) -> "PerSegmentTargets":
        """Return the rules of some students."""
        return PerSegmentTargets(take_segments(self.segments, students))


def tempered_targets(
    probabilities: Tensor, temperature: Tensor, *, are_labels: bool = False
) -> Tensor:
    r"""Return :math:`\mathrm{softmax}(\ln p / T)` along the outputs, for each temperature.

    Parameters
    ----------
    probabilities : tensor of shape (outputs, rows)
        With one output, both classes are tempered, and the second kept. A probability of zero stays
        zero at every temperature.
    temperature : tensor of shape (students,)
    are_labels : bool
        Whether the outputs are several labels, each of which is tempered on its own.

    Returns
    -------
    tensor of shape (students, outputs, rows)
    """
    T = temperature.view(-1, 1, 1)
    if are_labels or probabilities.shape[0] == 1:
        return torch.sigmoid(torch.logit(probabilities) / T)
    return torch.softmax(probabilities.log() / T, dim=1)


def mixed_targets(soft: Tensor, hard: Tensor, alpha: Tensor) -> Tensor:
    """Return alpha soft + (1 - alpha) hard, (students, outputs, rows).

    At T = 1 the two-term loss equals the cross-entropy with these targets.
    """
    a = alpha.view(-1, 1, 1)
    return a * soft + (1 - a) * hard


def two_term_targets(
    soft: Tensor, hard: Tensor, temperature: Tensor, *, are_labels: bool = False
) -> Tensor:
    """Return tempered soft targets stacked on the hard labels, for `losses.TwoTerm`.

    ``soft`` and ``hard`` have shape (outputs, rows), the result (students, 2 outputs, rows).
    ``are_labels`` is as for `tempered_targets`.
    """
    tempered = tempered_targets(soft, temperature, are_labels=are_labels)
    return torch.cat([tempered, hard.expand_as(tempered)], dim=1)
