"""Targets of Algorithm 1: labels that are mixed with predictions, and the weight of these."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from sklearn_kd._core.network.label_functions import Softmax, hardmax, label_probabilities
from sklearn_kd._core.network.segments import take
from sklearn_kd._core.network.targets import Fixed


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


def largest_class_share(labels: Tensor, weights: Tensor) -> Tensor:
    """Return the share of the largest class, (students or 1,), of labels (1, outputs, rows)."""
    total = weights.expand(-1, labels.shape[2]).sum(dim=1, keepdim=True)
    shares = (labels * weights[:, None]).sum(dim=2) / total
    if shares.shape[1] == 1:
        shares = torch.cat([shares, 1 - shares], dim=1)
    return shares.amax(dim=1)


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
