"""What a student is trained towards: arrays, or rules that make targets at every step.

A rule is called as ``rule(logits, rows, step)`` with logits (students, outputs, rows of this
batch), the indices of those rows (None: all of them, in order) and the number of the step; it
returns targets (students or 1, outputs of the loss, rows of this batch).
"""

from collections.abc import Callable

import torch
from torch import Tensor

TargetRule = Callable[[Tensor, Tensor | None, int], Tensor]


def fixed(values: Tensor) -> TargetRule:
    """Return the rule of targets that never change, (students or 1, outputs, n_rows)."""
    # a row's targets side by side: a batch then gathers whole cache lines
    by_row = values.mT.contiguous()

    def rule(logits: Tensor, rows: Tensor | None, step: int) -> Tensor:
        return values if rows is None else by_row.index_select(1, rows).mT

    return rule


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
    """Tempered soft targets on top of the hard labels, for `losses.two_term`.

    ``soft`` and ``hard`` (outputs, rows) -> (students, 2 outputs, rows).
    """
    tempered = temper(soft, temperature)
    return torch.cat([tempered, hard.expand_as(tempered)], dim=1)
