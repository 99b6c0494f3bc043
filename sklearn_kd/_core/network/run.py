"""State of a run of the training loop (`solvers`): networks, optimizers, scores and books."""

import copy
import math

import torch
from torch import Tensor

from sklearn_kd._core.network import layers
from sklearn_kd._core.network.losses import Loss
from sklearn_kd._core.network.optimizers import Adam, Nesterov, Optimizer
from sklearn_kd._core.network.problem import (
    Students,
    TrainingConfig,
    TrainingResult,
    ValidationSpec,
    WeightedRows,
)
from sklearn_kd._core.network.segments import take

__all__ = ["AVERAGE_EVERY", "DIVERGED", "TrainingState"]


#: A loss this many times the untrained one (plus one) is divergence, though still finite.
DIVERGED = 1e4
#: Rows of a forward pass over held-out rows.
EVALUATE_ROWS = 4096
#: Steps between two takes of the running mean: often enough, and then free.
AVERAGE_EVERY = 4
#: Epochs without a better score of a student that has none: it never keeps its job going.
NEVER = 2**62


def _capped(row_losses: Tensor, row_cap: Tensor | None) -> Tensor:
    return row_losses if row_cap is None else torch.minimum(row_losses, row_cap)


class TrainingState:
    """State of a `solvers.Training`, of the students that still train."""

    def __init__(
        self,
        students: Students,
        rows: WeightedRows,
        loss: Loss,
        plan: TrainingConfig,
        held_out: ValidationSpec | None,
    ) -> None:
        self.given = self.students = students
        self.rows, self.loss, self.plan, self.held_out = rows, loss, plan, held_out
        hidden, output = students.hidden, students.output
        device, n_students = hidden.device, len(students)
        # of the students and neurons here among those given
        self.place = torch.arange(n_students, device=device)
        self.neuron_place = torch.arange(len(hidden), device=device)
        job = torch.zeros_like(self.place) if plan.job is None else plan.job
        self.job, self.n_jobs = job, int(job.max()) + 1
        self.n_epochs = torch.as_tensor(plan.n_epochs, device=device).expand(n_students)
        self.first_end = int(self.n_epochs.min())
        self.decay = torch.as_tensor(plan.decay, device=device).expand(n_students)
        self._number()
        self.inverse_sqrt = self._widths().rsqrt()[self.student_of][:, None]
        self.scaled_output = output * self.inverse_sqrt
        self.pace = self._pace(plan.step_size)
        self.max_move = plan.max_move[self.student_of][:, None]
        self.update = self._optimizer(hidden)
        self.trains_output = plan.output_step_size is not None
        if plan.output_step_size is not None:
            self.output_pace = self._pace(plan.output_step_size)
            self.output_update = self._optimizer(output)
            self.initial_output = output.clone()
        for optimizer, state in zip(self._optimizers(), plan.resume or [], strict=False):
            optimizer.load(state)

        n_rows = rows.inputs.shape[0]
        self.full_batch = plan.batch_size is None or plan.batch_size >= n_rows
        self.n_batches = 1 if self.full_batch else math.ceil(n_rows / (plan.batch_size or n_rows))
        self.is_uniform = rows.weights.shape[1] == 1
        self.n_done = self.n_steps = 0  # epochs and steps

        self.outcome = TrainingResult.empty(n_students, self.n_jobs, device)
        self.best_score, self.best_epoch = self.outcome.best_score, self.outcome.best_epoch
        self.diverged = self.outcome.diverged
        self.ceiling: Tensor | None = None  # loss that counts as divergence, per student
        self.averages = self.scores_in_passing = False
        if held_out is not None:
            self.patience = torch.as_tensor(held_out.patience, device=device).expand(n_students)
            self.stale = torch.zeros(n_students, dtype=torch.int64, device=device)
            self.best_hidden, self.best_output = hidden.clone(), output.clone()
            # what is scored and kept: the weights, or their running mean
            self.kept_hidden, self.kept_output = hidden, output
            self.averages = held_out.averaging > 0
            self.scores_in_passing = self.full_batch and held_out.rows.inputs is rows.inputs
            if self.averages:
                self.kept_hidden, self.kept_output = hidden.clone(), output.clone()
            if held_out.pool is not None:
                self.scored = torch.zeros_like(self.diverged)
                self.scored[held_out.pool[held_out.pool >= 0]] = True
                self.stale[~self.scored] = NEVER

    def _number(self) -> None:
        """Say which student each neuron belongs to, and forget scratch of another size."""
        widths = torch.tensor(self.students.widths, device=self.place.device)
        self.student_of = torch.repeat_interleave(self.place.new_tensor(range(len(widths))), widths)
        self.gradient = torch.empty_like(self.students.hidden)
        self.output_gradient = torch.empty_like(self.students.output)
        self.workspaces: dict[int, layers.Workspace] = {}
        self.buffers: dict[int, tuple[Tensor, Tensor]] = {}  # of a batch size: rows, weights
        self.is_bounded = bool(torch.isfinite(self.plan.max_move[self.place]).any())
        # all fall together, none do, or each by itself
        self.falls = bool(self.decay.any())
        self.falls_alike = bool(
            not self.falls or (self.decay.all() and (self.n_epochs == self.n_epochs[0]).all())
        )

    def _widths(self) -> Tensor:
        return self.students.hidden.new_tensor(self.students.widths)

    def part(self, chosen: Tensor) -> "TrainingState":
        """Return the run of some students (a mask).

        This one is left as it was: an interrupt finds the one or the other whole.
        """
        if chosen.all():
            return self
        return self._part(chosen)

    def copy(self) -> "TrainingState":
        """Return a run that goes on by itself."""
        return self._part(torch.ones_like(self.diverged))

    def _part(self, chosen: Tensor) -> "TrainingState":
        part = copy.copy(self)
        students = chosen.nonzero()[:, 0]
        neurons = chosen[self.student_of].nonzero()[:, 0]
        part.students = self.students.take(students, neurons)
        part.rows, part.loss = self.rows.take(students), take(self.loss, students)
        for name in ("place", "job", "n_epochs", "decay", "best_score", "best_epoch", "diverged"):
            setattr(part, name, getattr(self, name)[students])
        part.ceiling = None if self.ceiling is None else self.ceiling[students]
        for name in ("neuron_place", "inverse_sqrt", "scaled_output", "max_move"):
            setattr(part, name, getattr(self, name)[neurons])
        part.first_end = int(part.n_epochs.min())
        part.pace, part.update = self._take_pace(self.pace, neurons), self.update.take(neurons)
        if self.trains_output:
            part.output_pace = self._take_pace(self.output_pace, neurons)
            part.output_update = self.output_update.take(neurons)
            part.initial_output = self.initial_output[neurons]
        if self.held_out is not None:
            part.held_out = self.held_out.take(students)
            part.patience, part.stale = self.patience[students], self.stale[students]
            part.best_hidden, part.best_output = (
                self.best_hidden[neurons],
                self.best_output[neurons],
            )
            part.kept_hidden, part.kept_output = part.students.hidden, part.students.output
            if self.averages:
                part.kept_hidden = self.kept_hidden[neurons]
                part.kept_output = self.kept_output[neurons]
            if self.held_out.pool is not None:
                part.scored = self.scored[students]
        part._number()
        return part

    def _optimizer(self, like: Tensor) -> Optimizer:
        kind = Adam if self.plan.optimizer == "adam" else Nesterov
        return kind(like, self.plan.momentum)

    def _optimizers(self) -> list[Optimizer]:
        return [self.update, self.output_update] if self.trains_output else [self.update]

    def _pace(self, step_size: Tensor) -> tuple[float, Tensor | None]:
        """Step size as a common factor and, where students differ, one of each neuron."""
        # a longer step overflows; neighbors, who walk a fraction of it, must not see that
        step_size = step_size.clamp(max=torch.finfo(step_size.dtype).max ** 0.5)
        common = float(step_size.max())
        if (step_size == common).all():
            return common, None
        return common, (step_size / common)[self.student_of][:, None]

    @staticmethod
    def _take_pace(
        pace: tuple[float, Tensor | None], neurons: Tensor
    ) -> tuple[float, Tensor | None]:
        common, factors = pace
        return common, None if factors is None else factors[neurons]

    def _fallen(self, pace: tuple[float, Tensor | None]) -> tuple[float, Tensor | None]:
        """Return the pace of this step: where step sizes decay, along a half cosine to zero."""
        common, factors = pace
        if self.falls_alike:
            last = self.first_end * self.n_batches
            share = 0.5 + 0.5 * math.cos(math.pi * self.n_steps / last) if self.falls else 1.0
            return common * share, factors
        last_steps = self.n_epochs * self.n_batches
        shares = 0.5 + 0.5 * torch.cos(math.pi * self.n_steps / last_steps.double())
        of_neuron = torch.where(self.decay, shares, 1.0)[self.student_of][:, None]
        of_neuron = of_neuron.to(self.students.hidden.dtype)
        return common, of_neuron if factors is None else factors * of_neuron

    def epoch(self) -> None:
        """Train on every row once and keep the books."""
        inputs, weights = self.rows.inputs, self.rows.weights
        n_rows = inputs.shape[0]
        if self.full_batch:
            losses = self._step(inputs, weights, None)
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
                losses += self._step(gathered, share, batch)
            losses /= self.n_batches
        self._record(self.outcome.losses, self.n_done, losses)
        self.n_done += 1
        self._check_divergence(losses)
        if self.held_out is not None and not self.scores_in_passing:
            self._note_scores(self._evaluate(self.held_out), self.n_done)
        self._publish()

    def _record(self, curve: list[Tensor], epoch: int, values: Tensor) -> None:
        """Write values of the students here into an entry of a curve of all that were given."""
        if epoch == len(curve):
            if self.students is self.given:
                curve.append(values)
                return
            curve.append(values.new_full((len(self.given),), math.nan))
        curve[epoch][self.place] = values

    def _publish(self) -> None:
        """Bring the outcome of the students given up to date."""
        if self.students is not self.given:
            for name in ("best_score", "best_epoch", "diverged"):
                getattr(self.outcome, name)[self.place] = getattr(self, name)

    def note_ended(self) -> Tensor:
        """Mark the students of jobs that end by themselves, and write down how."""
        ended = torch.zeros_like(self.diverged)
        if self.held_out is not None:
            ended = ~self._job_has(self.stale < self.patience)
            self.end(ended, "early_stopping")
        if self.diverged.any():
            lost = ~self._job_has(~self.diverged)
            self.end(lost, "diverged")
            ended = ended | lost
        return ended

    def _job_has(self, students: Tensor) -> Tensor:
        """Tell of each student whether one of its job is among ``students`` (a mask)."""
        jobs = torch.zeros(self.n_jobs, dtype=torch.bool, device=students.device)
        jobs[self.job[students]] = True
        return jobs[self.job]

    def end(self, students: Tensor, reason: str) -> None:
        """Write down that the jobs of ``students`` (a mask) end now."""
        if students.any():
            for job in set(self.job[students].tolist()):
                self.outcome.reasons[job], self.outcome.n_epochs[job] = reason, self.n_done

    def _step(self, inputs: Tensor, weights: Tensor, batch: Tensor | None) -> Tensor:
        """One step on these rows; the students' losses before it, (students,)."""
        students = self.students
        work = self._workspace(inputs.shape[0])
        logits = layers.forward(students.hidden, inputs, work)
        row_losses, residual = self.loss(logits, self.rows.rule(logits, batch, self.n_steps))
        losses = row_losses.mul(weights).sum(dim=1)
        if self.ceiling is None:
            self.ceiling = DIVERGED * (losses.abs() + 1)
        # the untrained network is not scored: all its logits may be zero, a tie for every row
        if self.scores_in_passing and self.held_out is not None and self.n_done:
            held_out = _capped(row_losses, self.held_out.row_cap) * self.held_out.rows.weights
            # the forward pass comes before the step: the weights of one epoch less
            self._note_scores(held_out.sum(dim=1).double(), self.n_done)
        residual.mul_(weights[:, None, :])
        scale, pace = self._fallen(self.pace)
        if self.trains_output:
            layers.backward_output(residual, self.inverse_sqrt, work, self.output_gradient)
        layers.backward_hidden(residual, inputs, work, self.gradient)
        self.update.step(students.hidden, self.gradient, scale, pace)
        if self.trains_output:
            scale, pace = self._fallen(self.output_pace)
            self.output_update.step(students.output, self.output_gradient, scale, pace)
            torch.mul(students.output, self.inverse_sqrt, out=self.scaled_output)
        self.n_steps += 1
        if self.is_bounded:
            layers.project(students.hidden, students.initial, self.max_move)
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

    def _workspace(self, n_rows: int) -> layers.Workspace:
        """Scratch for a batch size, made once."""
        if n_rows not in self.workspaces:
            self.workspaces[n_rows] = self._new_workspace(self.scaled_output, n_rows)
        return self.workspaces[n_rows]

    def _new_workspace(self, scaled_output: Tensor, n_rows: int) -> layers.Workspace:
        return layers.Workspace(self.students.widths, scaled_output, n_rows, self.plan.activation)

    def _evaluate(self, held_out: ValidationSpec) -> Tensor:
        """Weighted loss of every student on held-out rows, (students,) in float64."""
        rows, row_cap = held_out.rows, held_out.row_cap
        n_rows = rows.inputs.shape[0]
        total = torch.zeros(len(self.students), dtype=torch.float64, device=rows.inputs.device)
        scaled_output = self.scaled_output
        if self.averages:
            scaled_output = self.kept_output * self.inverse_sqrt
        everything = torch.arange(n_rows, device=rows.inputs.device)
        for part in torch.split(everything, EVALUATE_ROWS):
            inputs = rows.inputs[part[0] : part[-1] + 1]
            work = self._new_workspace(scaled_output, inputs.shape[0])
            logits = layers.forward(self.kept_hidden, inputs, work)
            row_losses, _ = self.loss(logits, rows.rule(logits, part, self.n_steps))
            share = rows.weights if rows.weights.shape[1] == 1 else rows.weights[:, part]
            cap = None if row_cap is None else row_cap[:, part]
            total += _capped(row_losses, cap).mul(share).sum(dim=1)
        return total

    def _note_scores(self, losses: Tensor, epoch: int) -> None:
        """Keep the weights of every student whose held-out score is its best so far."""
        scores = losses
        if self.held_out is not None and self.held_out.pool is not None:
            pool = self.held_out.pool
            counted = torch.where(pool >= 0, losses, 0.0)
            scores = torch.zeros_like(losses).index_add_(0, pool.clamp(min=0), counted)
            scores = torch.where(self.scored, scores, math.inf)
        self._record(self.outcome.scores, epoch - 1, scores)
        better = scores < self.best_score  # NaN is never better
        self.stale += 1
        if better.any():
            self.stale[better] = 0
            self.best_score[better] = scores[better]
            self.best_epoch[better] = epoch
            keep = better[self.student_of][:, None]
            torch.where(keep, self.kept_hidden, self.best_hidden, out=self.best_hidden)
            torch.where(keep, self.kept_output, self.best_output, out=self.best_output)

    def _check_divergence(self, losses: Tensor) -> None:
        assert self.ceiling is not None  # set by the first step
        self._reset(~(losses.abs() < self.ceiling) & ~self.diverged)

    def _reset(self, bad: Tensor) -> None:
        """Mark students as diverged and put them back to their start, to stay there."""
        if not bad.any():
            return
        self.diverged |= bad
        self.best_score[bad] = math.inf
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
        """Hand the best weights over where there is a score, and leave the books in order."""
        self.outcome.optimizers = [optimizer.state() for optimizer in self._optimizers()]
        students, interrupted = self.students, self.outcome.interrupt is not None
        if interrupted and self.is_bounded:
            # the interrupt may have come between a step and its projection
            layers.project(students.hidden, students.initial, self.max_move)
        self._reset(self._exploded() & ~torch.isfinite(self.best_score) & ~self.diverged)
        hidden, output = students.hidden, students.output
        if self.held_out is not None:
            if self.scores_in_passing and not interrupted:
                # passing scores the weights before each step, so not the last ones
                self._note_scores(self._evaluate(self.held_out), self.n_done)
            keep = torch.isfinite(self.best_score)[self.student_of][:, None]
            hidden = torch.where(keep, self.best_hidden, hidden)
            output = torch.where(keep, self.best_output, output)
        for given, best in ((self.given.hidden, hidden), (self.given.output, output)):
            if best is not given:
                given[self.neuron_place] = best
        self._publish()

    def _exploded(self) -> Tensor:
        """Whether the logits show divergence: a loss is taken before its step, so not the last."""
        inputs = self.rows.inputs[:EVALUATE_ROWS]
        work = self._new_workspace(self.scaled_output, inputs.shape[0])
        logits = layers.forward(self.students.hidden, inputs, work)
        return ~(logits.abs().amax(dim=(1, 2)) < DIVERGED**2)
