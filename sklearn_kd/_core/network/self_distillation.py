"""Targets that self-distillation corrects during training, and the weight of the corrections."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sklearn_kd._core.network.segments import take
from sklearn_kd._core.network.targets import Fixed

#: Decay of the memory of `EarlyLearning` in each epoch of a training of 30 epochs. In longer ones
#: the memory reaches back the same share of the training.
EARLY_LEARNING_DECAY, DECAY_EPOCHS = 0.7, 30
#: Smallest remembered probability of `EarlyLearning`, and smallest number that it divides by.
TINY_PROBABILITY = 1e-4


def hardmax(logits: Tensor) -> Tensor:
    """Return one for the largest output of each row and zero for others, the shape of the logits.

    Outputs that are equally large share the one. With one output, the result is one where it is
    positive and one half where it is zero.
    """
    if logits.shape[1] == 1:
        return logits.sign().add_(1).mul_(0.5)
    largest = (logits == logits.amax(dim=1, keepdim=True)).to(logits)
    return largest.div_(largest.sum(dim=1, keepdim=True))


class Softmax:
    """Softmax with a temperature, softmax(f / T). With one output it is sigmoid(f / T)."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def __call__(self, logits: Tensor) -> Tensor:
        """Return probabilities, the shape of the logits."""
        if logits.shape[1] == 1:
            return torch.sigmoid(logits / self.temperature)
        return torch.softmax(logits / self.temperature, dim=1)


def label_probabilities(p: Tensor, labels: Tensor) -> Tensor:
    """Return the probability of the label of each row, (students, rows)."""
    of_labels = (p * labels).sum(dim=1)
    if p.shape[1] == 1:
        of_labels += ((1 - p) * (1 - labels))[:, 0]
    return of_labels


class Memory:
    r"""Moving average of the predictions of each row: :math:`q \leftarrow \beta q + (1 - \beta) p`.

    ``decay`` is beta, and p the probabilities of this pass. With ``lags`` the result is q before
    this update. For beta = 0 that is the prediction of the previous epoch (PS-KD, Kim et al. 2021).
    Otherwise it is q after the update (ELR, Liu et al. 2020). For a row that was not seen before it
    is p.
    """

    def __init__(self, n_rows: int, decay: float, *, lags: bool) -> None:
        self.n_rows, self.decay, self.lags = n_rows, decay, lags
        #: (students, rows, outputs), so that a batch gathers whole cache lines
        self.kept: Tensor | None = None
        self.seen: Tensor | None = None  # (rows,)

    def __call__(self, logits: Tensor, rows: Tensor | None) -> Tensor:
        """Return the log-probabilities, or log-odds of one output, to compute targets from."""
        if self.kept is None or self.seen is None:
            self.kept = logits.new_zeros(len(logits), self.n_rows, logits.shape[1])
            self.seen = torch.zeros(self.n_rows, dtype=torch.bool, device=logits.device)
        index = slice(None) if rows is None else rows
        now = Softmax(1.0)(logits)
        before = torch.where(self.seen[index], self.kept[:, index].mT, now)
        now = torch.lerp(now, before, self.decay)
        self.kept[:, index] = now.mT
        self.seen[index] = True
        recalled = before if self.lags else now
        return recalled.logit() if logits.shape[1] == 1 else recalled.log()

    def take(self, students: Tensor) -> "Memory":
        """Return the memory of some students."""
        part = copy.copy(self)
        if self.kept is not None and self.seen is not None:
            part.kept, part.seen = self.kept[students], self.seen.clone()
        return part


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


class WeightSchedule:
    r"""Weight of the predictions, :math:`1 - \alpha_t`, before it is clipped to [0, 1].

    Parameters
    ----------
    kind : {"accuracy", "chance-corrected", "annealed"} or callable
        The accuracy a of the predictions on the given labels, (a - prior) / (1 - prior), or the
        share of the steps done. A callable maps (step, accuracy, prior) to a float.
    strength : float
        Factor of the weight.
    prior : tensor of shape (students or 1,)
        Share of the largest class.
    n_steps : int
        Steps of the training.
    n_warm_up_steps : float, default=0
        Number of first steps in which the weight is zero.
    """

    def __init__(
        self,
        kind: str | Callable[[int, float, float], float],
        strength: float,
        prior: Tensor,
        n_steps: int,
        n_warm_up_steps: float = 0,
    ) -> None:
        self.kind, self.strength, self.prior = kind, strength, prior
        self.n_steps, self.n_warm_up_steps = n_steps, n_warm_up_steps

    def __call__(self, step: int, accuracy: Tensor) -> Tensor:
        """Return the weight in a step; accuracy and weight have shape (students,)."""
        if step < self.n_warm_up_steps:
            return torch.zeros_like(accuracy)
        return self.strength * self._weight(step, accuracy, self.prior.expand_as(accuracy))

    def _weight(self, step: int, accuracy: Tensor, prior: Tensor) -> Tensor:
        if self.kind == "accuracy":
            return accuracy
        if self.kind == "chance-corrected":
            # the prior may be 1 up to rounding
            tiny = torch.finfo(prior.dtype).tiny
            return ((accuracy - prior) / (1 - prior).clamp(min=tiny)).clamp(min=0)
        if not callable(self.kind):
            return torch.full_like(accuracy, step / self.n_steps)
        pairs = zip(accuracy.tolist(), prior.tolist(), strict=True)
        weight = accuracy.new_tensor([float(self.kind(step, *pair)) for pair in pairs])
        if weight.isnan().any():
            raise ValueError(f"schedule returned NaN in step {step}: it must return numbers.")
        return weight

    def take(self, students: Tensor) -> "WeightSchedule":
        """Return the schedule of some students."""
        part = copy.copy(self)
        if len(self.prior) > 1:
            part.prior = self.prior[students]
        return part


class Accuracy:
    """Weight of the predictions, 1 - alpha_t, from their accuracy on the given labels.

    ``schedule(step, accuracy)`` takes and returns a tensor (students,). ``row_weights`` (students
    or 1, rows) are the weights of the training rows, (1, 1) where they are equal.
    """

    def __init__(self, schedule: Callable[[int, Tensor], Tensor], row_weights: Tensor) -> None:
        self.schedule, self.row_weights = schedule, row_weights

    def __call__(self, logits: Tensor, labels: Tensor, rows: Tensor | None, step: int) -> Tensor:
        """Return the weight of each student, (students,)."""
        right = label_probabilities(hardmax(logits), labels)
        if self.row_weights.shape[1] == 1:
            return self.schedule(step, right.mean(dim=1))
        weights = self.row_weights if rows is None else self.row_weights[:, rows]
        return self.schedule(step, (right * weights).sum(dim=1) / weights.sum(dim=1))

    def take(self, students: Tensor) -> "Accuracy":
        """Return the rule of the weight of some students."""
        row_weights = self.row_weights
        if len(row_weights) > 1:
            row_weights = row_weights[students]
        return Accuracy(take(self.schedule, students), row_weights)


class SelfDistilled:
    r"""Corrected labels of Algorithm 1: targets :math:`\alpha_t y + (1 - \alpha_t)\, h(f)`.

    Parameters
    ----------
    labels : Fixed
        y, the given labels, (1, outputs, n_rows).
    label_function : callable
        h, from logits to targets.
    weight : callable
        ``(logits, labels, rows, step)`` -> :math:`1 - \alpha_t`, (students,), which is clipped to
        [0, 1].
    memory : callable, optional
        ``(logits, rows)`` -> logits that replace those of this pass in the targets.
    corrected : Tensor of bool, optional
        (students, n_rows), the rows whose targets are corrected. Others keep their labels.
    watch : callable, optional
        Called with ``(logits, labels, rows)`` of each step.
    record : callable, optional
        Called with ``(logits, targets, rows, step)`` of each step.
    """

    def __init__(
        self,
        labels: Fixed,
        label_function: Callable[[Tensor], Tensor],
        weight: Callable[[Tensor, Tensor, Tensor | None, int], Tensor],
        memory: Callable[[Tensor, Tensor | None], Tensor] | None = None,
        corrected: Tensor | None = None,
        watch: Callable[[Tensor, Tensor, Tensor | None], None] | None = None,
        record: Callable[[Tensor, Tensor, Tensor | None, int], None] | None = None,
    ) -> None:
        self.labels, self.label_function, self.weight = labels, label_function, weight
        self.memory, self.corrected, self.watch, self.record = memory, corrected, watch, record
        self.weights: list[Tensor] = []  # 1 - alpha_t of each step, (students,)

    def __call__(self, logits: Tensor, rows: Tensor | None, step: int) -> Tensor:
        """Return the targets of some rows."""
        labels = self.labels(logits, rows, step)
        if self.watch is not None:
            self.watch(logits, labels, rows)
        weight = self.weight(logits, labels, rows, step).clamp(0, 1)
        self.weights.append(weight)
        w = weight.view(-1, 1, 1)
        if self.corrected is not None:
            w = w * (self.corrected if rows is None else self.corrected[:, rows])[:, None]
        known = logits if self.memory is None else self.memory(logits, rows)
        targets = torch.lerp(labels.expand_as(known), self.label_function(known), w)
        if self.record is not None:
            self.record(logits, targets, rows, step)
        return targets

    def take(self, students: Tensor) -> "SelfDistilled":
        """Return the rule of some students."""
        part = copy.copy(self)
        for name in ("weight", "memory", "watch", "record"):
            setattr(part, name, take(getattr(self, name), students))
        if self.corrected is not None:
            part.corrected = self.corrected[students]
        part.weights = [weight[students] for weight in self.weights]
        return part


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


def largest_class_share(labels: Tensor, weights: Tensor) -> Tensor:
    """Return the share of the largest class, (students or 1,), of labels (1, outputs, rows)."""
    total = weights.expand(-1, labels.shape[2]).sum(dim=1, keepdim=True)
    shares = (labels * weights[:, None]).sum(dim=2) / total
    if shares.shape[1] == 1:
        shares = torch.cat([shares, 1 - shares], dim=1)
    return shares.amax(dim=1)
