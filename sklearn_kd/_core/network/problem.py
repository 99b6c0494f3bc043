"""Inputs and results of the training loop, and how to select a subset of the networks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from sklearn_kd._core.network.layers import RELU, Activation
from sklearn_kd._core.network.losses import Loss
from sklearn_kd._core.network.members import Average, mean_prediction
from sklearn_kd._core.network.segments import take
from sklearn_kd._core.network.targets import TargetRule


@dataclass
class Students:
    """Networks side by side, in the layout of `layers`, with one entry of ``widths`` for each."""

    widths: Sequence[int]
    hidden: Tensor  # (sum of widths, inputs)
    output: Tensor  # (sum of widths, outputs)
    initial: Tensor  # (sum of widths, inputs), the hidden weights that the projection is around
    #: (students, members, inputs), where predictions of several `members` are averaged. ``output``
    #: has then shape (sum of widths, members * outputs).
    signs: Tensor | None = None

    @property
    def n_members(self) -> int:
        """Return the number of members of each student."""
        return 1 if self.signs is None else self.signs.shape[1]

    def __len__(self) -> int:
        return len(self.widths)

    def neurons(self, student: int) -> slice:
        """Return the rows of ``hidden`` and ``output`` that belong to a student."""
        start = sum(self.widths[:student])
        return slice(start, start + self.widths[student])

    def take(self, students: Tensor, neurons: Tensor) -> "Students":
        """Return copies of some students, whose ``neurons`` are known."""
        widths = [self.widths[student] for student in students.tolist()]
        signs = None if self.signs is None else self.signs[students]
        weights = (self.hidden[neurons], self.output[neurons], self.initial[neurons])
        return Students(widths, *weights, signs)


class Inputs(Protocol):
    """Inputs of rows that are made where they are read, in place of a tensor (rows, inputs)."""

    device: torch.device

    @property
    def shape(self) -> tuple[int, int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Tensor: ...

    def index_select(self, dim: int, index: Tensor) -> Tensor: ...


@dataclass
class WeightedRows:
    """Rows to learn from or to score on."""

    inputs: Tensor | Inputs  # (rows, inputs); in full batch a tensor
    rule: TargetRule
    weights: Tensor  # (students or 1, rows), with sum one; (1, 1) where all weights are equal

    def select_inputs(self, index: Tensor, out: Tensor) -> Tensor:
        """Return the inputs of some rows, those of a tensor in memory that is there for them."""
        if isinstance(self.inputs, Tensor):
            return torch.index_select(self.inputs, 0, index, out=out)
        return self.inputs.index_select(0, index)

    def take(self, students: Tensor) -> "WeightedRows":
        """Return the same rows with the targets and weights of some students."""
        weights = self.weights if len(self.weights) == 1 else self.weights[students]
        return WeightedRows(self.inputs, take(self.rule, students), weights)


@dataclass
class ValidationSpec:
    """Held-out rows, how they score each network, and the patience of early stopping.

    ``rows`` are rows of their own, or the training rows with, for each network, the weights of the
    rows that it leaves out. In full batch the latter need no product of their own, since their loss
    comes with the forward pass of training.
    """

    rows: WeightedRows
    patience: int | Tensor  # epochs, for all or of each student
    #: (students,) the student whose score the held-out loss of each is added to, or -1 where it is
    #: not counted. A student that nothing is added to has no score. None: each scores itself.
    pool: Tensor | None = None
    averaging: int = 0  # epochs that the weights which are scored and kept are averaged over
    #: (students or 1, rows) upper limit of the loss of each row, so that no outlier decides alone
    row_cap: Tensor | None = None
    loss: Loss | None = None  # of rows of their own, for all students; None: that of training

    def take(self, students: Tensor) -> "ValidationSpec":
        """Return what scores some students; those who share a score stay together."""
        pool, cap, patience = self.pool, self.row_cap, self.patience
        if pool is not None:
            # the index of each student among those taken; the last entry is for -1
            new_index = torch.full((len(pool) + 1,), -1, device=pool.device)
            new_index[students] = torch.arange(len(students), device=pool.device)
            pool = new_index[pool[students]]
        if cap is not None and len(cap) > 1:
            cap = cap[students]
        if isinstance(patience, Tensor):
            patience = patience[students]
        rows = self.rows.take(students)
        return replace(self, rows=rows, patience=patience, pool=pool, row_cap=cap)


@dataclass
class TrainingConfig:
    """Hyperparameters of a training: tensors have one entry for each network, others are shared."""

    step_size: Tensor  # (students,)
    output_step_size: Tensor | None  # (students,), zero where the layer is fixed; None: all are
    max_move: Tensor  # (students,), radius / sqrt(width); inf: no projection
    n_epochs: int | Tensor  # for all or of each student
    batch_size: int | None  # None: full batch
    optimizer: str  # "nesterov" or "adam"
    momentum: float
    decay: bool | Tensor  # of the step size, along a half cosine to zero; for all or of each
    generator: torch.Generator  # of the order of rows
    #: (students,) share of the weights that a step of full size removes, see `training`; None: none
    weight_decay: Tensor | None = None
    resume: list[list[Tensor]] | None = None  # states of the optimizers, as in `TrainingResult`
    #: (students,) index, from zero, of the fit that each belongs to: the networks of a fit end
    #: together. None: there is one fit.
    fit: Tensor | None = None
    activation: Activation = RELU
    average: Average = mean_prediction  # prediction of several members from their outputs


@dataclass
class TrainingResult:
    """Result of a training.

    Each curve has one tensor (students,) for each epoch, with NaN for networks that have ended.
    """

    best_score: Tensor  # (students,); inf for a student without a score
    best_epoch: Tensor  # (students,), epochs of training at the best score
    diverged: Tensor  # (students,), bool
    #: of each fit, how it ended: "max_iter", "early_stopping", "callback", "diverged",
    #: "interrupted" or, so far, "paused"
    reasons: list[str]
    n_epochs: list[int]  # of each fit, epochs trained
    losses: list[Tensor] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    interrupt: KeyboardInterrupt | None = None
    optimizers: list[list[Tensor]] = field(default_factory=list)  # states of those that ended last

    @classmethod
    def empty(cls, n_students: int, n_fits: int, device: torch.device) -> "TrainingResult":
        """Return the result before the first step."""
        return cls(
            best_score=torch.full((n_students,), math.inf, dtype=torch.float64, device=device),
            best_epoch=torch.zeros(n_students, dtype=torch.int64, device=device),
            diverged=torch.zeros(n_students, dtype=torch.bool, device=device),
            reasons=["max_iter"] * n_fits,
            n_epochs=[0] * n_fits,
        )
