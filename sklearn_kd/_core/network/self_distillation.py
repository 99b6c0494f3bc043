"""Targets that self-distillation corrects as training goes on, and the schedules of its weights."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from sklearn_kd._core.network.segments import take
from sklearn_kd._core.network.targets import Fixed


def hardmax(logits: Tensor) -> Tensor:
    """One for the largest output of each row, shared where several are; the shape of the logits.

    With one output: one where it is positive, one half where it is zero.
    """
    if logits.shape[1] == 1:
        return logits.sign().add_(1).mul_(0.5)
    largest = (logits == logits.amax(dim=1, keepdim=True)).to(logits)
    return largest.div_(largest.sum(dim=1, keepdim=True))


class Softmax:
    """softmax(f / T), with one output sigmoid(f / T)."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def __call__(self, logits: Tensor) -> Tensor:
        """Return probabilities, the shape of the logits."""
        if logits.shape[1] == 1:
            return torch.sigmoid(logits / self.temperature)
        return torch.softmax(logits / self.temperature, dim=1)


class Ramp:
    r"""Theorem 1's label function of outputs near -1 and 1.

    :math:`h(x) = 4x/(1 - 2\rho)` for :math:`|x| \le (1 - 2\rho)/4`, the sign of x beyond;
    rho is the largest share of wrong labels in a cluster.
    """

    def __init__(self, rho: float) -> None:
        self.slope = 4 / (1 - 2 * rho)

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return labels in [-1, 1], the shape of the outputs."""
        return (outputs * self.slope).clamp_(-1, 1)


class Memory:
    r"""Recalls earlier predictions of each row: :math:`q \leftarrow \beta q + (1 - \beta)\, p`.

    ``decay`` is beta, p the probabilities of this pass. With ``lags`` what is recalled is q as it
    was before (for beta = 0 the prediction of the previous epoch: PS-KD, Kim et al. 2021), else
    with this pass in it (ELR, Liu et al. 2020). A row that was not seen yet has only this pass.
    """

    def __init__(self, n_rows: int, decay: float, *, lags: bool) -> None:
        self.n_rows, self.decay, self.lags = n_rows, decay, lags
        self.kept: Tensor | None = None  # (students, rows, outputs): a batch gathers whole lines
        self.seen: Tensor | None = None  # (rows,)

    def __call__(self, logits: Tensor, rows: Tensor | None) -> Tensor:
        """Return the log-probabilities (with one output, log-odds) to make targets of."""
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
    """Sums up over the epochs the probability of each row's given label.

    A wrong label is learnt later than a right one, so that its mean stays low even where the
    network has memorized it in the end.
    """

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows
        self.total: Tensor | None = None  # (students, rows)
        self.n_seen: Tensor | None = None  # (rows,)

    def __call__(self, logits: Tensor, labels: Tensor, rows: Tensor | None) -> None:
        """Take the logits of some rows in."""
        if self.total is None or self.n_seen is None:
            self.total = logits.new_zeros(len(logits), self.n_rows)
            self.n_seen = torch.zeros(self.n_rows, dtype=torch.int64, device=logits.device)
        p = Softmax(1.0)(logits)
        right = (p * labels).sum(dim=1)
        if logits.shape[1] == 1:
            right += ((1 - p) * (1 - labels))[:, 0]
        index = slice(None) if rows is None else rows
        self.total[:, index] += right
        self.n_seen[index] += 1

    def take(self, students: Tensor) -> "Confidence":
        """Return the sums of some students."""
        part = copy.copy(self)
        if self.total is not None and self.n_seen is not None:
            part.total, part.n_seen = self.total[students], self.n_seen.clone()
        return part


class Accuracy:
    """Makes a weight of predictions, 1 - alpha_t, of their accuracy against the given labels.

    ``schedule(step, accuracy)`` takes and returns a tensor (students,). ``row_weights`` (students
    or 1, rows) are those of the rows in training; (1, 1) where all weigh alike.
    """

    def __init__(self, schedule: Callable[[int, Tensor], Tensor], row_weights: Tensor) -> None:
        self.schedule, self.row_weights = schedule, row_weights

    def __call__(self, logits: Tensor, labels: Tensor, rows: Tensor | None, step: int) -> Tensor:
        """Return the weight of each student, (students,)."""
        guess = hardmax(logits)
        right = (guess * labels).sum(dim=1)
        if logits.shape[1] == 1:
            right += ((1 - guess) * (1 - labels))[:, 0]
        if self.row_weights.shape[1] == 1:
            return self.schedule(step, right.mean(dim=1))
        weights = self.row_weights if rows is None else self.row_weights[:, rows]
        return self.schedule(step, (right * weights).sum(dim=1) / weights.sum(dim=1))

    def take(self, students: Tensor) -> "Accuracy":
        """Return the weight of some students."""
        if len(self.row_weights) == 1:
            return self
        return Accuracy(self.schedule, self.row_weights[students])


class SelfDistilled:
    r"""Algorithm 1: targets :math:`\alpha_t y + (1 - \alpha_t)\, h(f)`, the labels corrected.

    Parameters
    ----------
    labels : Fixed
        y, as given, (1, outputs, n_rows).
    label_function : callable
        h, from logits to targets.
    weight : callable
        ``(logits, labels, rows, step)`` -> :math:`1 - \alpha_t`, (students,); clipped to [0, 1].
    memory : callable, optional
        ``(logits, rows)`` -> logits to make targets of in place of those of this pass.
    corrected : Tensor of bool, optional
        (students, n_rows), the rows whose targets are corrected; others keep their labels.
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
