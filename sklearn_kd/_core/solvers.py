"""The one training loop: projected first-order descent on any number of students at once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sklearn_kd._core import two_layer
from sklearn_kd._core.losses import Loss
from sklearn_kd._core.optimizers import Adam, Nesterov, Optimizer
from sklearn_kd._core.targets import TargetRule

#: A loss this many times the untrained one (plus one) is divergence, though still finite.
DIVERGED = 1e4
#: Rows of a forward pass over held-out rows.
EVALUATE_ROWS = 4096
#: Steps between two takes of the running mean: often enough, and then free.
AVERAGE_EVERY = 4


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


@dataclass
class Rows:
    """Rows to learn from or to score on."""

    inputs: Tensor  # (rows, inputs)
    rule: TargetRule
    weights: Tensor  # (students or 1, rows), sums to one; (1, 1) where all rows weigh alike


@dataclass
class HeldOut:
    """Which held-out loss scores a student, and how long training goes on without a better one.

    ``rows`` are rows of their own, or the training rows with, for each student, the weights of
    those that it leaves out. In full batch the latter cost no product of their own: their loss
    comes with the forward pass of training. ``pool`` (students, students) says whose held-out
    losses the score of a student adds up; a student whose row of it is zero is not scored.
    """

    rows: Rows
    patience: int
    pool: Tensor | None = None
    averaging: int = 0  # epochs that the weights which are scored and kept are averaged over
    #: (rows,) the most that the loss of each row counts: an outlier must not decide alone
    row_cap: Tensor | None = None


@dataclass
class Plan:
    """How to train."""

    step_size: Tensor  # (students,)
    output_step_size: Tensor | None  # (students,); None: the output layer is fixed
    max_move: Tensor  # (students,), radius / sqrt(width); inf: no projection
    n_epochs: int
    batch_size: int | None  # None: full batch
    optimizer: str  # "nesterov" or "adam"
    momentum: float
    decay: bool  # step size falls to zero along a half cosine
    generator: torch.Generator  # of the order of rows
    resume: list[list[Tensor]] | None = None  # states of the optimizers, as in `Outcome`


@dataclass
class Outcome:
    """How training went. Curves have one (students,) entry an epoch."""

    best_score: Tensor  # (students,); inf for a student that has none
    best_epoch: Tensor  # (students,), epochs trained by then
    diverged: Tensor  # (students,), bool
    reason: str = "max_iter"  # or "early_stopping", "callback", "diverged", "interrupted"
    losses: list[Tensor] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    interrupt: KeyboardInterrupt | None = None
    optimizers: list[list[Tensor]] = field(default_factory=list)  # their states at the end


def train(
    students: Students,
    rows: Rows,
    loss: Loss,
    plan: Plan,
    held_out: HeldOut | None = None,
    on_epoch: Callable[[int, Outcome], bool] | None = None,
) -> Outcome:
    """Train ``students`` in place: to the best held-out score, else to the last step.

    Parameters
    ----------
    students : Students
    rows : Rows
        To learn from.
    loss : Loss
        Value and gradient in the logits.
    plan : Plan
    held_out : HeldOut, optional
        With it, every scored student ends with the weights of its best score and training ends
        when none has improved for ``patience`` epochs.
    on_epoch : callable, optional
        Called with the number of epochs done and the outcome so far; True ends training.

    Returns
    -------
    Outcome
        A student whose loss stopped being finite, or passed `DIVERGED` times the untrained one,
        is marked and goes back to its start; its neighbours do not notice. A KeyboardInterrupt
        is handed back in ``interrupt`` for the caller to raise, with the best weights in place.
    """
    run = _Run(students, rows, loss, plan, held_out)
    try:
        for epoch in range(1, plan.n_epochs + 1):
            run.epoch(epoch)
            if run.outcome.diverged.all():
                run.outcome.reason = "diverged"
            elif run.stale.min() >= run.patience:
                run.outcome.reason = "early_stopping"
            elif on_epoch is not None and on_epoch(epoch, run.outcome):
                run.outcome.reason = "callback"
            else:
                continue
            break
    except KeyboardInterrupt as interrupt:
        run.outcome.reason, run.outcome.interrupt = "interrupted", interrupt
    run.finish()
    return run.outcome


def _capped(row_losses: Tensor, row_cap: Tensor | None) -> Tensor:
    return row_losses if row_cap is None else torch.minimum(row_losses, row_cap)


class _Run:
    """State of one call of `train`."""

    def __init__(
        self,
        students: Students,
        rows: Rows,
        loss: Loss,
        plan: Plan,
        held_out: HeldOut | None,
    ) -> None:
        self.students, self.rows, self.loss, self.plan = students, rows, loss, plan
        self.held_out = held_out
        hidden, output = students.hidden, students.output
        device = hidden.device
        widths = torch.tensor(students.widths, device=device)
        self.student_of = torch.repeat_interleave(torch.arange(len(widths), device=device), widths)
        self.inverse_sqrt = widths.to(hidden.dtype)[self.student_of].rsqrt()[:, None]
        self.scaled_output = output * self.inverse_sqrt
        self.pace = self._pace(plan.step_size)
        self.max_move = plan.max_move[self.student_of][:, None]
        self.is_bounded = bool(torch.isfinite(plan.max_move).any())
        self.gradient = torch.empty_like(hidden)
        self.update = self._optimizer(hidden)
        self.trains_output = plan.output_step_size is not None
        if plan.output_step_size is not None:
            self.output_pace = self._pace(plan.output_step_size)
            self.output_gradient = torch.empty_like(output)
            self.output_update = self._optimizer(output)
            self.initial_output = output.clone()
        for optimizer, state in zip(self._optimizers(), plan.resume or [], strict=False):
            optimizer.load(state)

        n_rows = rows.inputs.shape[0]
        self.full_batch = plan.batch_size is None or plan.batch_size >= n_rows
        self.n_batches = 1 if self.full_batch else math.ceil(n_rows / (plan.batch_size or n_rows))
        self.is_uniform = rows.weights.shape[1] == 1
        self.workspaces: dict[int, two_layer.Workspace] = {}
        self.buffers: dict[int, tuple[Tensor, Tensor]] = {}  # of a batch size: rows, weights
        self.n_steps = 0

        n_students = len(students)
        infinite = torch.full((n_students,), math.inf, dtype=torch.float64, device=device)
        self.outcome = Outcome(
            best_score=infinite.clone(),
            best_epoch=torch.zeros(n_students, dtype=torch.int64, device=device),
            diverged=torch.zeros(n_students, dtype=torch.bool, device=device),
        )
        self.ceiling: Tensor | None = None  # loss that counts as divergence, per student
        self.averages = self.scores_in_passing = False
        self.patience = math.inf if held_out is None else held_out.patience
        self.stale = torch.zeros(n_students, dtype=torch.int64, device=device)
        if held_out is not None:
            self.best_hidden, self.best_output = hidden.clone(), output.clone()
            # what is scored and kept: the weights, or their running mean
            self.kept_hidden, self.kept_output = hidden, output
            self.averages = held_out.averaging > 0
            self.scores_in_passing = self.full_batch and held_out.rows.inputs is rows.inputs
            if self.averages:
                self.kept_hidden, self.kept_output = hidden.clone(), output.clone()
                self.kept_scaled = self.scaled_output.clone()
            if held_out.pool is not None:
                self.scored = held_out.pool.any(dim=1)
                self.stale[~self.scored] = torch.iinfo(torch.int64).max // 2

    def _optimizer(self, like: Tensor) -> Optimizer:
        kind = Adam if self.plan.optimizer == "adam" else Nesterov
        return kind(like, self.plan.momentum)

    def _optimizers(self) -> list[Optimizer]:
        return [self.update, self.output_update] if self.trains_output else [self.update]

    def _pace(self, step_size: Tensor) -> tuple[float, Tensor | None]:
        """Step size as a common factor and, where students differ, one of each neuron."""
        # a longer step overflows; neighbours, who walk a fraction of it, must not see that
        step_size = step_size.clamp(max=torch.finfo(step_size.dtype).max ** 0.5)
        common = float(step_size.max())
        if (step_size == common).all():
            return common, None
        return common, (step_size / common)[self.student_of][:, None]

    def epoch(self, epoch: int) -> None:
        """Train on every row once and keep the books."""
        inputs, weights = self.rows.inputs, self.rows.weights
        n_rows = inputs.shape[0]
        if self.full_batch:
            losses = self._step(inputs, weights, None, epoch)
        else:
            order = torch.randperm(n_rows, generator=self.plan.generator).to(inputs.device)
            losses = inputs.new_zeros(len(self.students))
            for batch in order.tensor_split(self.n_batches):
                n_batch = len(batch)
                if n_batch not in self.buffers:
                    # the batch estimates the weighted mean over all rows
                    buffer = inputs.new_empty(n_batch, inputs.shape[1])
                    self.buffers[n_batch] = buffer, weights * (n_rows / n_batch)
                buffer, share = self.buffers[n_batch]
                gathered = torch.index_select(inputs, 0, batch, out=buffer)
                if not self.is_uniform:
                    share = share.index_select(1, batch)
                losses += self._step(gathered, share, batch, epoch)
            losses /= self.n_batches
        self.outcome.losses.append(losses)
        self._check_divergence(losses)
        if self.held_out is not None and not self.scores_in_passing:
            self._note_scores(self._evaluate(self.held_out), epoch)

    def _step(self, inputs: Tensor, weights: Tensor, batch: Tensor | None, epoch: int) -> Tensor:
        """One step on these rows; the students' losses before it, (students,)."""
        students, plan = self.students, self.plan
        work = self._workspace(inputs.shape[0])
        logits = two_layer.forward(students.hidden, inputs, work)
        row_losses, residual = self.loss(logits, self.rows.rule(logits, batch, self.n_steps))
        losses = row_losses.mul(weights).sum(dim=1)
        if self.ceiling is None:
            self.ceiling = DIVERGED * (losses.abs() + 1)
        # the untrained network is not scored: all its logits may be zero, a tie for every row
        if self.scores_in_passing and self.held_out is not None and epoch > 1:
            held_out = _capped(row_losses, self.held_out.row_cap) * self.held_out.rows.weights
            # the forward pass comes before the step: the weights of one epoch less
            self._note_scores(held_out.sum(dim=1).double(), epoch - 1)
        residual.mul_(weights[:, None, :])
        decay = 1.0
        if plan.decay:
            decay = 0.5 + 0.5 * math.cos(math.pi * self.n_steps / (plan.n_epochs * self.n_batches))
        self.n_steps += 1
        if self.trains_output:
            two_layer.backward_output(residual, self.inverse_sqrt, work, self.output_gradient)
        two_layer.backward_hidden(residual, inputs, work, self.gradient)
        scale, pace = self.pace
        self.update.step(students.hidden, self.gradient, scale * decay, pace)
        if self.trains_output:
            scale, pace = self.output_pace
            self.output_update.step(students.output, self.output_gradient, scale * decay, pace)
            torch.mul(students.output, self.inverse_sqrt, out=self.scaled_output)
        if self.is_bounded:
            two_layer.project(students.hidden, students.initial, self.max_move)
        if self.averages and self.n_steps % AVERAGE_EVERY == 0:
            self._average()
        return losses

    def _average(self) -> None:
        """Take the weights into their running mean, which stays within the radius."""
        assert self.held_out is not None
        n_taken = self.n_steps / AVERAGE_EVERY
        n_kept = self.held_out.averaging * self.n_batches / AVERAGE_EVERY
        rate = 1 / max(1.0, min(n_taken, n_kept))
        self.kept_hidden.lerp_(self.students.hidden, rate)
        if self.trains_output:
            self.kept_output.lerp_(self.students.output, rate)

    def _workspace(self, n_rows: int) -> two_layer.Workspace:
        """Scratch for a batch size, made once."""
        if n_rows not in self.workspaces:
            self.workspaces[n_rows] = two_layer.Workspace(
                self.students.widths, self.scaled_output, n_rows
            )
        return self.workspaces[n_rows]

    def _evaluate(self, held_out: HeldOut) -> Tensor:
        """Weighted loss of every student on held-out rows, (students,) in float64."""
        rows, row_cap = held_out.rows, held_out.row_cap
        n_rows = rows.inputs.shape[0]
        total = torch.zeros(len(self.students), dtype=torch.float64, device=rows.inputs.device)
        scaled_output = self.scaled_output
        if self.averages:
            torch.mul(self.kept_output, self.inverse_sqrt, out=self.kept_scaled)
            scaled_output = self.kept_scaled
        everything = torch.arange(n_rows, device=rows.inputs.device)
        for part in torch.split(everything, EVALUATE_ROWS):
            inputs = rows.inputs[part[0] : part[-1] + 1]
            work = two_layer.Workspace(self.students.widths, scaled_output, inputs.shape[0])
            logits = two_layer.forward(self.kept_hidden, inputs, work)
            row_losses, _ = self.loss(logits, rows.rule(logits, part, self.n_steps))
            share = rows.weights if rows.weights.shape[1] == 1 else rows.weights[:, part]
            cap = None if row_cap is None else row_cap[part]
            total += _capped(row_losses, cap).mul(share).sum(dim=1)
        return total

    def _note_scores(self, losses: Tensor, epoch: int) -> None:
        """Keep the weights of every student whose held-out score is its best so far."""
        outcome = self.outcome
        scores = losses
        if self.held_out is not None and self.held_out.pool is not None:
            scores = self.held_out.pool @ losses
            scores[~self.scored] = math.inf
        outcome.scores.append(scores)
        better = scores < outcome.best_score  # NaN is never better
        self.stale += 1
        if better.any():
            self.stale[better] = 0
            outcome.best_score[better] = scores[better]
            outcome.best_epoch[better] = epoch
            keep = better[self.student_of][:, None]
            torch.where(keep, self.kept_hidden, self.best_hidden, out=self.best_hidden)
            torch.where(keep, self.kept_output, self.best_output, out=self.best_output)

    def _check_divergence(self, losses: Tensor) -> None:
        outcome = self.outcome
        assert self.ceiling is not None  # set by the first step
        self._reset(~(losses.abs() < self.ceiling) & ~outcome.diverged)

    def _reset(self, bad: Tensor) -> None:
        """Mark students as diverged and put them back to their start, to stay there."""
        outcome = self.outcome
        if not bad.any():
            return
        outcome.diverged |= bad
        outcome.best_score[bad] = math.inf
        neurons = bad[self.student_of]
        self.students.hidden[neurons] = self.students.initial[neurons]
        self.pace = self._stopped(self.pace, neurons)
        self.update.forget(neurons)
        if self.trains_output:
            self.students.output[neurons] = self.initial_output[neurons]
            self.output_update.forget(neurons)
            self.output_pace = self._stopped(self.output_pace, neurons)
            torch.mul(self.students.output, self.inverse_sqrt, out=self.scaled_output)

    def _stopped(
        self, pace: tuple[float, Tensor | None], neurons: Tensor
    ) -> tuple[float, Tensor | None]:
        """Return the pace with ``neurons`` (a mask) standing still."""
        common, factors = pace
        if factors is None:
            factors = torch.ones_like(self.inverse_sqrt)
        return common, torch.where(neurons[:, None], 0.0, factors)

    def finish(self) -> None:
        """Put the best weights back where there is a score, and leave the books in order."""
        self.outcome.optimizers = [optimizer.state() for optimizer in self._optimizers()]
        students = self.students
        if self.outcome.interrupt is not None and self.is_bounded:
            # the interrupt may have come between a step and its projection
            two_layer.project(students.hidden, students.initial, self.max_move)
        scored = torch.isfinite(self.outcome.best_score)
        self._reset(self._exploded() & ~scored & ~self.outcome.diverged)
        if self.held_out is not None:
            if self.scores_in_passing and self.outcome.interrupt is None:
                # passing scores the weights before each step, so not the last ones
                self._note_scores(self._evaluate(self.held_out), len(self.outcome.losses))
                scored = torch.isfinite(self.outcome.best_score)
            keep = scored[self.student_of][:, None]
            torch.where(keep, self.best_hidden, students.hidden, out=students.hidden)
            torch.where(keep, self.best_output, students.output, out=students.output)

    def _exploded(self) -> Tensor:
        """Whether the logits show divergence: a loss is taken before its step, so not the last."""
        inputs = self.rows.inputs[:EVALUATE_ROWS]
        work = two_layer.Workspace(self.students.widths, self.scaled_output, inputs.shape[0])
        logits = two_layer.forward(self.students.hidden, inputs, work)
        return ~(logits.abs().amax(dim=(1, 2)) < DIVERGED**2)
