"""Targets of early-learning regularization (ELR)."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from sklearn_kd._core.network.label_functions import Softmax
from sklearn_kd._core.network.segments import take
from sklearn_kd._core.network.targets import Fixed

#: Smallest remembered probability, and smallest number that is divided by.
TINY_PROBABILITY = 1e-4


class EarlyLearning:
    r"""Targets whose cross-entropy has the gradient of early-learning regularization (ELR).

    ELR adds :math:`\lambda \ln(1 - \langle t, p \rangle)` to the cross-entropy of the labels y,
    where p are the predictions and t is their running mean over the epochs,
    :math:`t \leftarrow \beta t + (1 - \beta) p`, which starts at zero (Liu et al.,
    arXiv:2007.00151, equations 6 and 9), with p clipped to [0.0001, 0.9999] as in their code. The
    gradient of both in the logits is p minus

    .. math:: y + \frac{\lambda}{1 - \langle t, p \rangle}\,
        p \circ (t - \langle t, p \rangle).

    These numbers sum to one, and are the targets. They may be negative or above one. A row whose
    memory agrees with its label is learned faster, and a label that the memory contradicts is not
    learned.

    Parameters
    ----------
    labels : Fixed
        y, the given labels, (1, outputs, n_rows).
    decay : float
        beta, of an epoch.
    strength : float
        lambda.
    row_weights : Tensor
        (students or 1, n_rows or 1), weights of the rows. Rows of weight zero, which a student
        holds out, keep their labels.
    watch, record : callable, optional
        As for `SelfDistilled`.
    """

    def __init__(
        self,
        labels: Fixed,
        decay: float,
        strength: float,
        row_weights: Tensor,
        watch: Callable[[Tensor, Tensor, Tensor | None], None] | None = None,
        record: Callable[[Tensor, Tensor, Tensor | None, int], None] | None = None,
    ) -> None:
        self.labels, self.decay, self.strength = labels, decay, strength
        self.row_weights, self.watch, self.record = row_weights, watch, record
        self.memory: Tensor | None = None  # (students, rows, classes)
        #: mean share of the targets that is not the given label's, of each step, (students,)
        self.weights: list[Tensor] = []

    def __call__(self, logits: Tensor, rows: Tensor | None, step: int) -> Tensor:
        """Return the targets of some rows."""
        labels = self.labels(logits, rows, step)
        if self.watch is not None:
            self.watch(logits, labels, rows)
        p, given = Softmax(1.0)(logits), labels
        if logits.shape[1] == 1:  # both classes have a probability
            p, given = torch.cat([1 - p, p], dim=1), torch.cat([1 - labels, labels], dim=1)
        if self.memory is None:
            shape = len(p), self.labels.values.shape[2], p.shape[1]
            self.memory = p.new_zeros(shape)
        index = slice(None) if rows is None else rows
        kept = p.clamp(TINY_PROBABILITY, 1 - TINY_PROBABILITY)
        mean = torch.lerp(kept, self.memory[:, index].mT, self.decay)
        self.memory[:, index] = mean.mT
        agreement = (mean * p).sum(dim=1, keepdim=True)
        change = p * (mean - agreement) / (1 - agreement).clamp_min(TINY_PROBABILITY)
        trained = self.row_weights
        if rows is not None and trained.shape[1] > 1:
            trained = trained[:, rows]
        targets = given + self.strength * change * (trained > 0)[:, None]
        self.weights.append(self._share_of_others(targets, given, trained))
        if logits.shape[1] == 1:
            targets = targets[:, 1:]
        if self.record is not None:
            self.record(logits, targets, rows, step)
        return targets

    @staticmethod
    def _share_of_others(targets: Tensor, given: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted mean share of the targets that is not that of the given label."""
        share = (1 - (targets * given).sum(dim=1)).clamp(0, 1)
        weights = weights.expand_as(share)
        return (share * weights).sum(dim=1) / weights.sum(dim=1)

    def take(self, students: Tensor) -> "EarlyLearning":
        """Return the rule of some students."""
        part = copy.copy(self)
        for name in ("watch", "record"):
            setattr(part, name, take(getattr(self, name), students))
        if self.memory is not None:
            part.memory = self.memory[students]
        if len(self.row_weights) > 1:
            part.row_weights = self.row_weights[students]
        part.weights = [weight[students] for weight in self.weights]
        return part
