"""What the training loop is given, and what it gives back; any part of it for some students."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sklearn_kd._core.network.layers import RELU, Activation
from sklearn_kd._core.network.segments import take
from sklearn_kd._core.network.targets import TargetRule

__all__ = ["Students", "TrainingConfig", "TrainingResult", "ValidationSpec", "WeightedRows"]


@dataclass
class Students:
    """Networks side by side, in the layout of `two_layer`, one entry of ``widths`` a student."""

    widths: Sequence[int]
    hidden: Tensor  # (sum of widths, inputs)
    output: Tensor  # (sum of widths, outputs)
    initial: Tensor  # hidden weights that the projection is around

    def __len__(self) -> int:
        return len(self.widths)

    def neurons(self, student: int) -> slice:
        """Rows of ``hidden`` and ``output`` that belong to a student."""
        start = sum(self.widths[:student])
        return slice(start, start + self.widths[student])

    def take(self, students: Tensor, neurons: Tensor) -> "Students":
        """Copy some students, whose ``neurons`` are known."""
        widths = [self.widths[student] for student in students.tolist()]
        return Students(widths, self.hidden[neurons], self.output[neurons], self.initial[neurons])


@dataclass
class WeightedRows:
    """Rows to learn from or to score on."""

    inputs: Tensor  # (rows, inputs)
    rule: TargetRule
    weights: Tensor  # (students or 1, rows), sums to one; (1, 1) where all rows weigh alike

    def take(self, students: Tensor) -> "WeightedRows":
        """Return the same rows, to some students."""
        weights = self.weights if len(self.weights) == 1 else self.weights[students]
        return WeightedRows(self.inputs, take(self.rule, students), weights)


@dataclass
class ValidationSpec:
    """Which held-out loss scores a student, and how long training goes on without a better one.

    ``rows`` are rows of their own, or the training rows with, for each student, the weights of
    those that it leaves out. In full batch the latter cost no product of their own: their loss
    comes with the forward pass of training. ``pool`` (students,) says whose score the held-out
    loss of each student is added to, -1 that it counts for nothing; a student that nothing is
    added to is not scored. None: each scores itself.
    """

    rows: WeightedRows
    patience: int | Tensor  # epochs, for all or of each student
    pool: Tensor | None = None
    averaging: int = 0  # epochs that the weights which are scored and kept are averaged over
    #: (students or 1, rows) the most that the loss of each row counts: an outlier must not decide
    #: alone
    row_cap: Tensor | None = None

    def take(self, students: Tensor) -> "ValidationSpec":
        """Return what scores some students; those who share a score stay together."""
        pool, cap, patience = self.pool, self.row_cap, self.patience
        if pool is not None:
            place = torch.full((len(pool) + 1,), -1, device=pool.device)  # the last is for -1
            place[students] = torch.arange(len(students), device=pool.device)
            pool = place[pool[students]]
        if cap is not None and len(cap) > 1:
            cap = cap[students]
        if isinstance(patience, Tensor):
            patience = patience[students]
        rows = self.rows.take(students)
        return replace(self, rows=rows, patience=patience, pool=pool, row_cap=cap)


@dataclass
class TrainingConfig:
    """How to train. What is of each student may differ, the rest they share."""

    step_size: Tensor  # (students,)
    output_step_size: Tensor | None  # (students,), zero where it is fixed; None: all are
    max_move: Tensor  # (students,), radius / sqrt(width); inf: no projection
    n_epochs: int | Tensor  # for all or of each student
    batch_size: int | None  # None: full batch
    optimizer: str  # "nesterov" or "adam"
    momentum: float
    decay: bool | Tensor  # step size falls to zero along a half cosine; for all or of each student
    generator: torch.Generator  # of the order of rows
    resume: list[list[Tensor]] | None = None  # states of the optimizers, as in `TrainingResult`
    #: (students,) number, from zero, of the job that each belongs to: students who end together.
    #: None: all are one.
    job: Tensor | None = None
    activation: Activation = RELU


@dataclass
class TrainingResult:
    """How training went. Curves have one (students,) entry an epoch, NaN once a student ended."""

    best_score: Tensor  # (students,); inf for a student that has none
    best_epoch: Tensor  # (students,), epochs trained by then
    diverged: Tensor  # (students,), bool
    #: of each job, how it ended: "max_iter", "early_stopping", "callback", "diverged",
    #: "interrupted" or, so far, "paused"
    reasons: list[str]
    n_epochs: list[int]  # of each job, epochs trained
    losses: list[Tensor] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    interrupt: KeyboardInterrupt | None = None
    optimizers: list[list[Tensor]] = field(default_factory=list)  # states of those who ended last

    @classmethod
    def empty(cls, n_students: int, n_jobs: int, device: torch.device) -> "TrainingResult":
        """Return the outcome before the first step."""
        return cls(
            best_score=torch.full((n_students,), math.inf, dtype=torch.float64, device=device),
            best_epoch=torch.zeros(n_students, dtype=torch.int64, device=device),
            diverged=torch.zeros(n_students, dtype=torch.bool, device=device),
            reasons=["max_iter"] * n_jobs,
            n_epochs=[0] * n_jobs,
        )

    @property
    def reason(self) -> str:
        """How the only job, or the first, ended."""
        return self.reasons[0]
