"""How a network corrects its labels during training, and what is observed of it."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sklearn_kd._core.network.algorithm_1 import (
    Accuracy,
    Memory,
    SelfDistilled,
    WeightSchedule,
    largest_class_share,
)
from sklearn_kd._core.network.early_learning import EarlyLearning
from sklearn_kd._core.network.label_functions import Softmax, label_probabilities
from sklearn_kd._core.network.targets import Fixed

#: Decay of the memory of `EarlyLearning` in each epoch of a training of 30 epochs. In longer ones
#: the memory reaches back the same share of the training.
EARLY_LEARNING_DECAY, DECAY_EPOCHS = 0.7, 30


class Recorder(Protocol):
    """An observer of the targets in each step of a training."""

    def begin(self, n_rows: int, n_batches: int) -> None:
        """Start, or start again, with the number of rows and of steps of an epoch."""

    def __call__(self, logits: Tensor, targets: Tensor, rows: Tensor | None, step: int) -> None:
        """Observe a step."""


@dataclass
class CorrectionSpec:
    """How a network corrects its labels during training, and the rule of targets that it has used.

    The first six attributes are given, the training sets the others.
    """

    label_function: Callable[[Tensor], Tensor]
    #: "early-learning" for `EarlyLearning`, otherwise see `WeightSchedule`
    schedule: str | Callable[[int, float, float], float]
    strength: float  # with "early-learning" lambda of `EarlyLearning`
    warm_up: float  # share of the steps in which labels are not corrected
    #: "previous-epoch", the decay of a moving average, or None: predictions of the same pass, and
    #: with "early-learning" the decay of `EarlyLearning` by the number of epochs
    memory: str | float | None
    recorder: Recorder | None = None
    rule: SelfDistilled | EarlyLearning | None = None
    n_batches: int = 1  # steps of an epoch
    student: int = 0  # index of the network that is kept, among those side by side

    def make_rule(
        self, labels: Fixed, weights: Tensor, n_epochs: int, n_batches: int
    ) -> SelfDistilled | EarlyLearning:
        """Return the rule of targets of a training, or of an attempt at one.

        Parameters
        ----------
        labels : Fixed
            Labels as given.
        weights : tensor of shape (students or 1, n_rows or 1)
            Weights of the rows for each network. A row that a network holds out has weight zero.
        n_epochs : int
            Largest number of epochs.
        n_batches : int
            Steps of an epoch.
        """
        n_rows, n_steps, memory = labels.values.shape[2], n_epochs * n_batches, None
        self.n_batches = n_batches
        if self.recorder is not None:
            self.recorder.begin(n_rows, n_batches)
        if self.schedule == "early-learning":
            decay = EARLY_LEARNING_DECAY ** (DECAY_EPOCHS / max(n_epochs, DECAY_EPOCHS))
            if self.memory is not None:
                decay = float(self.memory)
            observers = Confidence(n_rows), self.recorder
            self.rule = EarlyLearning(labels, decay, self.strength, weights, *observers)
            return self.rule
        if self.memory == "previous-epoch":
            memory = Memory(n_rows, 0.0, lags=True)
        elif self.memory is not None:
            memory = Memory(n_rows, float(self.memory), lags=False)
        prior = largest_class_share(labels.values, weights)
        schedule = self.weight_schedule(prior, n_steps, n_warm_up_steps=self.warm_up * n_steps)
        corrected = weights > 0  # rows that early stopping holds out are scored as they are given
        self.rule = SelfDistilled(
            labels,
            self.label_function,
            Accuracy(schedule, weights),
            memory,
            None if corrected.all() else corrected,
            Confidence(n_rows),
            self.recorder,
        )
        return self.rule

    def weight_schedule(
        self, prior: Tensor, n_steps: int, n_warm_up_steps: float = 0
    ) -> WeightSchedule:
        """Return the schedule of the weight of the predictions."""
        return WeightSchedule(self.schedule, self.strength, prior, n_steps, n_warm_up_steps)

    def needed_bytes(self, n_students: int, n_rows: int, n_outputs: int, itemsize: int) -> int:
        """Return about how many bytes the rule keeps for all rows."""
        n_arrays = 1 + n_outputs * (self.memory is not None)
        if self.schedule == "early-learning":
            n_arrays = 1 + max(2, n_outputs)  # both classes of one output
        return itemsize * n_students * n_rows * n_arrays


class Confidence:
    """Sum, over the epochs, of the probability of the given label of each row.

    A network learns wrong labels later than right ones. Therefore their mean probability stays low,
    even if the network memorizes them in the end.
    """

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows
        self.total: Tensor | None = None  # (students, rows)
        self.n_seen: Tensor | None = None  # (rows,)

    def __call__(self, logits: Tensor, labels: Tensor, rows: Tensor | None) -> None:
        """Add the probabilities of some rows."""
        if self.total is None or self.n_seen is None:
            self.total = logits.new_zeros(len(logits), self.n_rows)
            self.n_seen = torch.zeros(self.n_rows, dtype=torch.int64, device=logits.device)
        index = slice(None) if rows is None else rows
        self.total[:, index] += label_probabilities(Softmax(1.0)(logits), labels)
        self.n_seen[index] += 1

    def take(self, students: Tensor) -> "Confidence":
        """Return the sums of some students."""
        part = copy.copy(self)
        if self.total is not None and self.n_seen is not None:
            part.total, part.n_seen = self.total[students], self.n_seen.clone()
        return part
