"""Projected first-order descent on any number of networks side by side, in one training loop.

Callers drive a `ResumableTraining`, whose `TrainingState` has the networks that still train.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from sklearn_kd._core.network import layers
from sklearn_kd._core.network.early_stopping import EarlyStopping, capped
from sklearn_kd._core.network.losses import Loss
from sklearn_kd._core.network.members import MemberWorkspace
from sklearn_kd._core.network.optimizers import Adam, Nesterov, Optimizer
from sklearn_kd._core.network.problem import (
    Students,
    TrainingConfig,
    TrainingResult,
    ValidationSpec,
    WeightedRows,
)
from sklearn_kd._core.network.progress import TrainingProgress, get_values, set_values
from sklearn_kd._core.network.segments import take
from sklearn_kd._core.network.step_size import (
    DIVERGENCE_FACTOR,
    CosineDecay,
    StepSize,
    divergence_threshold,
)

#: Rows of a forward pass that evaluates networks, without a step.
ROWS_PER_EVALUATION = 4096
#: Size of a logit at which training counts as diverged, where the loss is not known.
DIVERGED_LOGIT = DIVERGENCE_FACTOR**2


class ResumableTraining:
    """Training of networks side by side, which callers drive and may pause.

    Networks of one fit (``config.fit``) end together: when none of them has improved for its
    patience, when all have diverged, or at their last epoch. They are then dropped, so that the
    products of the others shrink. With early stopping every scored network ends with the weights of
    its best score, else with those of its last step.

    With ``config.weight_decay`` (lambda) each step first multiplies the trained weights by
    1 - lambda s, where s is the share of the full step size that is left, whatever that size is:
    algorithm 2 of Loshchilov and Hutter (2019), "Decoupled weight decay regularization".

    A network whose loss stops being finite, or passes `step_size.divergence_threshold`, is marked
    as diverged and returns to its start. The others are not affected.

    Parameters
    ----------
    students : Students
        Their weights change in place.
    rows : WeightedRows
        To learn from.
    loss : Loss
        Value and gradient in the logits.
    config : TrainingConfig
    validation : ValidationSpec, optional
        Held-out rows for early stopping.
    pauses : bool, default=False
        Whether training may pause before its end (``until`` of `advance`). Copies of ``students``
        train then, and ``students`` have their best weights at each pause.
    progress : TrainingProgress, optional
        Where to continue: what `progress` of a training with equal arguments has returned.

    Attributes
    ----------
    result : TrainingResult
        What is known so far. It is one object, which each epoch updates.
    """

    def __init__(
        self,
        students: Students,
        rows: WeightedRows,
        loss: Loss,
        config: TrainingConfig,
        validation: ValidationSpec | None = None,
        *,
        pauses: bool = False,
        progress: TrainingProgress | None = None,
    ) -> None:
        state = TrainingState(students, rows, loss, config, validation)
        if progress is not None:
            state = state.resumed(progress)
        elif pauses:
            state = state.copy()
        self.result = state.result
        self._state: TrainingState | None = state
        self._stops = False

    def advance(self, until: int | None = None) -> TrainingResult:
        """Train until all networks have ended, or ``until`` epochs (if any) have been trained."""
        with self.interruptible():
            for _ in self.epochs(until):
                pass
        return self.result

    def epochs(self, until: int | None = None) -> Iterator[int]:
        """Train epoch by epoch, and yield the number of epochs done after each.

        An epoch after which all networks have ended by themselves, stopped early or diverged, is
        not yielded. Iterate inside `interruptible`.

        Parameters
        ----------
        until : int, optional
            Number of epochs after which training pauses. By default it continues until all networks
            have ended.
        """
        while self._state is not None and (until is None or self._state.n_epochs_done < until):
            state = self._state
            state.train_epoch()
            ended = state.mark_ended()
            if not ended.all():
                yield state.n_epochs_done
                if self._stops:
                    state.end(~ended, "callback")
                    ended |= True
            if state.n_epochs_done >= state.least_n_epochs:
                ended |= state.mark_last_epoch(~ended)
            if ended.all():
                state.finish()
                self._state = None
            elif ended.any():
                state.part(ended).finish()
                self._state = state.part(~ended)
        if self._state is not None:
            state = self._state.copy()  # the copy is finished, and the state itself is kept
            state.end(torch.ones_like(state.diverged), "paused")
            state.finish()

    def stop(self) -> None:
        """End the training of all networks after the epoch that `epochs` has yielded."""
        self._stops = True

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Keep a KeyboardInterrupt as ``result.interrupt``, with the best weights in place.

        The caller raises it after it has stored what there is.
        """
        try:
            yield
        except KeyboardInterrupt as interrupt:
            self.result.interrupt = interrupt
            if self._state is not None:
                self._state.end(torch.ones_like(self._state.diverged), "interrupted")
                self._state.finish()
                self._state = None

    def progress(self) -> TrainingProgress | None:
        """Return at a pause what a training needs to continue, None if all networks have ended."""
        return None if self._state is None else self._state.progress()


class TrainingState:
    """State of a training: the networks that still train, their optimizers and scores."""

    def __init__(
        self,
        students: Students,
        rows: WeightedRows,
        loss: Loss,
        config: TrainingConfig,
        validation: ValidationSpec | None,
    ) -> None:
        self.original_students = self.students = students
        self.rows, self.loss, self.config = rows, loss, config
        hidden, output = students.hidden, students.output
        device, n_students = hidden.device, len(students)
        # indices of the students and neurons here among the original ones
        self.original_index = torch.arange(n_students, device=device)
        self.original_neurons = torch.arange(len(hidden), device=device)
        fit = torch.zeros_like(self.original_index) if config.fit is None else config.fit
        self.fit, self.n_fits = fit, int(fit.max()) + 1
        self.n_epochs = torch.as_tensor(config.n_epochs, device=device).expand(n_students)
        self.least_n_epochs = int(self.n_epochs.min())
        self.is_decayed = torch.as_tensor(config.decay, device=device).expand(n_students)

        n_rows = rows.inputs.shape[0]
        self.full_batch = config.batch_size is None or config.batch_size >= n_rows
        self.n_batches = 1 if self.full_batch else math.ceil(n_rows / (config.batch_size or n_rows))
        self.is_uniform = rows.weights.shape[1] == 1
        self.n_epochs_done = self.n_steps = 0

        self._prepare_students()
        widths = hidden.new_tensor(students.widths)
        self.inverse_sqrt = widths.rsqrt()[self.student_of_neuron][:, None]
        self.scaled_output = output * self.inverse_sqrt
        self.max_move = config.max_move[self.student_of_neuron][:, None]
        self.step_size = StepSize(config.step_size, self.student_of_neuron)
        weight_decay = torch.zeros_like(config.step_size)
        if config.weight_decay is not None:
            weight_decay = config.weight_decay
        self.weight_decay = StepSize(weight_decay, self.student_of_neuron)
        self.optimizer = self._make_optimizer(hidden)
        self.trains_output = config.output_step_size is not None
        if config.output_step_size is not None:
            self.output_step_size = StepSize(config.output_step_size, self.student_of_neuron)
            weight_decay = weight_decay * (config.output_step_size > 0)
            self.output_weight_decay = StepSize(weight_decay, self.student_of_neuron)
            self.output_optimizer = self._make_optimizer(output)
            self.initial_output = output.clone()
        for optimizer, state in zip(self._optimizers(), config.resume or [], strict=False):
            optimizer.load(state)

        self.result = TrainingResult.empty(n_students, self.n_fits, device)
        self.diverged = self.result.diverged
        self.divergence_threshold: Tensor | None = None  # (students,), set by the first step
        self.early_stopping: EarlyStopping | None = None
        if validation is not None:
            in_pass = self.full_batch and validation.rows.inputs is rows.inputs
            self.early_stopping = EarlyStopping(
                validation, students, self.result, scores_training_pass=in_pass
            )

    def _prepare_students(self) -> None:
        """Compute what follows from which students train, and drop buffers of other sizes."""
        widths = torch.tensor(self.students.widths, device=self.original_index.device)
        numbers = torch.arange(len(widths), device=widths.device)
        self.student_of_neuron = torch.repeat_interleave(numbers, widths)
        self.gradient = torch.empty_like(self.students.hidden)
        self.output_gradient = torch.empty_like(self.students.output)
        self.workspaces: dict[int, layers.Workspace] = {}  # of each batch size
        self.buffers: dict[int, tuple[Tensor, Tensor]] = {}  # of each batch size: rows, weights
        is_bounded = torch.isfinite(self.config.max_move[self.original_index])
        self.is_bounded = bool(is_bounded.any())
        n_steps = self.n_epochs * self.n_batches
        self.decay = CosineDecay(self.is_decayed, n_steps, self.student_of_neuron)

    def _make_optimizer(self, like: Tensor) -> Optimizer:
        kind = Adam if self.config.optimizer == "adam" else Nesterov
        return kind(like, self.config.momentum)

    def _optimizers(self) -> list[Optimizer]:
        return [self.optimizer, self.output_optimizer] if self.trains_output else [self.optimizer]

    # Some of the students

    def part(self, chosen: Tensor) -> "TrainingState":
        """Return the state of some students, a mask, and leave this one as it was.

        An interrupt therefore finds one of the two states complete.
        """
        return self if chosen.all() else self._part(chosen)

    def copy(self) -> "TrainingState":
        """Return a state that can train without changing this one."""
        return self._part(torch.ones_like(self.diverged))

    def _part(self, chosen: Tensor) -> "TrainingState":
        part = copy.copy(self)
        students = chosen.nonzero()[:, 0]
        neurons = chosen[self.student_of_neuron].nonzero()[:, 0]
        part.students = self.students.take(students, neurons)
        part.rows, part.loss = self.rows.take(students), take(self.loss, students)
        for name in ("original_index", "fit", "n_epochs", "is_decayed", "diverged"):
            setattr(part, name, getattr(self, name)[students])
        if self.divergence_threshold is not None:
            part.divergence_threshold = self.divergence_threshold[students]
        for name in ("original_neurons", "inverse_sqrt", "scaled_output", "max_move"):
            setattr(part, name, getattr(self, name)[neurons])
        part.least_n_epochs = int(part.n_epochs.min())
        part.step_size, part.optimizer = self.step_size.take(neurons), self.optimizer.take(neurons)
        part.weight_decay = self.weight_decay.take(neurons)
        if self.trains_output:
            part.output_step_size = self.output_step_size.take(neurons)
            part.output_weight_decay = self.output_weight_decay.take(neurons)
            part.output_optimizer = self.output_optimizer.take(neurons)
            part.initial_output = self.initial_output[neurons]
        if self.early_stopping is not None:
            part.early_stopping = self.early_stopping.take(students, neurons, part.students)
        part._prepare_students()
        return part

    # Pauses

    def _changed_names(self) -> tuple[list[str], list[str]]:
        """Return the names of what training changes for each student and for each neuron."""
        of_students = ["diverged", "divergence_threshold"]
        of_neurons = ["students.hidden", "students.output", "scaled_output"]
        of_neurons += ["step_size", "weight_decay", "optimizer"]
        if self.trains_output:
            of_neurons += ["output_step_size", "output_weight_decay", "output_optimizer"]
        if self.early_stopping is not None:
            names = ("epochs_without_improvement", "best_score", "best_epoch")
            of_students += [f"early_stopping.{name}" for name in names]
            of_neurons += ["early_stopping.best_hidden", "early_stopping.best_output"]
            if self.early_stopping.averages:  # otherwise they are the weights themselves
                of_neurons += ["early_stopping.scored_hidden", "early_stopping.scored_output"]
        return of_students, of_neurons

    def progress(self) -> TrainingProgress:
        """Return what training has changed. It shares memory with this state."""
        of_students, of_neurons = self._changed_names()
        result = self.result
        curves = [
            torch.stack(curve)[:, self.original_index] if curve else None
            for curve in (result.losses, result.scores)
        ]
        return TrainingProgress(
            original_index=self.original_index,
            fit=self.fit,
            student_of_neuron=self.student_of_neuron,
            of_students=get_values(self, of_students),
            of_neurons=get_values(self, of_neurons),
            common=get_values(self, ["n_epochs_done", "n_steps"]),
            curves=curves,
            result=replace(result, losses=[], scores=[], optimizers=[]),
            generator=self.config.generator.get_state(),
        )

    def resumed(self, progress: TrainingProgress) -> "TrainingState":
        """Return the state in which a training has paused. This one is that before its start."""
        stays = torch.zeros_like(self.diverged)
        stays[progress.original_index] = True
        state = self._part(stays)
        for values in (progress.common, progress.of_students, progress.of_neurons):
            set_values(state, values)
        if state.early_stopping is not None and not state.early_stopping.averages:
            state.early_stopping.scored_hidden = state.students.hidden
            state.early_stopping.scored_output = state.students.output
        state.result = progress.result
        for curve, known in zip(
            (state.result.losses, state.result.scores), progress.curves, strict=True
        ):
            if known is not None:
                whole = known.new_full((len(known), len(self.students)), math.nan)
                whole[:, progress.original_index] = known
                curve.extend(whole)
        state.config.generator.set_state(progress.generator)
        return state

    # Training

    def train_epoch(self) -> None:
        """Train one epoch, and update losses, scores and divergence flags."""
        inputs, weights = self.rows.inputs, self.rows.weights
        n_rows = inputs.shape[0]
        if self.full_batch:
            losses = self._step(inputs[:], weights, None)
        else:
            order = torch.randperm(n_rows, generator=self.config.generator).to(inputs.device)
            losses = self.gradient.new_zeros(len(self.students))
            for batch in order.tensor_split(self.n_batches):
                n_batch = len(batch)
                if n_batch not in self.buffers:
                    # the batch estimates the weighted mean over all rows
                    buffer = self.gradient.new_empty(n_batch, inputs.shape[1])
                    self.buffers[n_batch] = buffer, weights * (n_rows / n_batch)
                buffer, batch_weights = self.buffers[n_batch]
                gathered = self.rows.select_inputs(batch, buffer)
                if not self.is_uniform:
                    batch_weights = batch_weights.index_select(1, batch)
                losses += self._step(gathered, batch_weights, batch)
            losses /= self.n_batches
        self._record(self.result.losses, self.n_epochs_done, losses)
        self.n_epochs_done += 1
        assert self.divergence_threshold is not None
        self._reset_diverged(~(losses.abs() < self.divergence_threshold) & ~self.diverged)
        if self.early_stopping is not None and not self.early_stopping.scores_training_pass:
            self._update_scores(self.early_stopping, self._evaluate(self.early_stopping))
        self._update_result()

    def _step(self, inputs: Tensor, weights: Tensor, batch: Tensor | None) -> Tensor:
        """Take one step on these rows, and return the losses (students,) before it."""
        students, stopping = self.students, self.early_stopping
        work = self._workspace(inputs.shape[0])
        logits = layers.forward(students.hidden, inputs, work)
        targets = self.rows.rule(logits, batch, self.n_steps)
        # the untrained network is not scored: all its logits may be zero, a tie for every row
        is_scored = stopping is not None and stopping.scores_training_pass and self.n_epochs_done
        if is_scored and students.n_members > 1:
            scored_losses, _ = self.loss(work.prediction(logits), targets)
        row_losses, residual = self.loss(logits, work.targets(targets))
        weights = work.row_weights(weights)
        losses = row_losses.mul(weights).sum(dim=1)
        if self.divergence_threshold is None:
            self.divergence_threshold = divergence_threshold(losses)
        if stopping is not None and is_scored:
            # the forward pass precedes the step, so that the score is that of one epoch less
            scored_losses = row_losses if students.n_members == 1 else scored_losses
            self._update_scores(stopping, stopping.training_pass_losses(scored_losses))
        residual.mul_(weights[:, None, :])
        if self.trains_output:
            layers.backward_output(residual, self.inverse_sqrt, work, self.output_gradient)
        layers.backward_hidden(residual, inputs, work, self.gradient)
        step_size = self.decay.decayed(self.step_size, self.n_steps)
        self._shrink(students.hidden, self.weight_decay)
        self.optimizer.step(students.hidden, self.gradient, *step_size)
        if self.trains_output:
            self._shrink(students.output, self.output_weight_decay)
            step_size = self.decay.decayed(self.output_step_size, self.n_steps)
            self.output_optimizer.step(students.output, self.output_gradient, *step_size)
            torch.mul(students.output, self.inverse_sqrt, out=self.scaled_output)
        self.n_steps += 1
        if self.is_bounded:
            layers.project(students.hidden, students.initial, self.max_move)
        if stopping is not None and stopping.averages:
            stopping.update_average(students, self.n_steps, self.n_batches)
        return losses

    def _shrink(self, weights: Tensor, weight_decay: StepSize) -> None:
        """Multiply the weights of a layer by what the weight decay leaves of them in a step."""
        if weight_decay.common:
            share, factors = self.decay.decayed(weight_decay, self.n_steps)
            weights.mul_(1 - share if factors is None else 1 - share * factors)

    def _workspace(self, n_rows: int) -> layers.Workspace:
        """Return the scratch arrays for a batch size, made once."""
        if n_rows not in self.workspaces:
            self.workspaces[n_rows] = self._new_workspace(self.scaled_output, n_rows)
        return self.workspaces[n_rows]

    def _new_workspace(self, scaled_output: Tensor, n_rows: int) -> layers.Workspace:
        arrays = self.students.widths, scaled_output, n_rows, self.config.activation
        if self.students.signs is None:
            return layers.Workspace(*arrays)
        return MemberWorkspace(*arrays, self.students.signs, self.config.average)

    # Scores and divergence

    def _evaluate(self, stopping: EarlyStopping) -> Tensor:
        """Return the weighted loss of every student on held-out rows, (students,) in float64."""
        rows, row_cap = stopping.validation.rows, stopping.validation.row_cap
        n_rows = rows.inputs.shape[0]
        total = torch.zeros(len(self.students), dtype=torch.float64, device=rows.inputs.device)
        scaled_output = self.scaled_output
        if stopping.averages:
            scaled_output = stopping.scored_output * self.inverse_sqrt
        loss = stopping.validation.loss or self.loss
        everything = torch.arange(n_rows, device=rows.inputs.device)
        for part in torch.split(everything, ROWS_PER_EVALUATION):
            inputs = rows.inputs[part[0] : part[-1] + 1]
            work = self._new_workspace(scaled_output, inputs.shape[0])
            logits = work.prediction(layers.forward(stopping.scored_hidden, inputs, work))
            row_losses, _ = loss(logits, rows.rule(logits, part, self.n_steps))
            weights = rows.weights if rows.weights.shape[1] == 1 else rows.weights[:, part]
            cap = None if row_cap is None else row_cap[:, part]
            total += capped(row_losses, cap).mul(weights).sum(dim=1)
        return total

    def _update_scores(self, stopping: EarlyStopping, losses: Tensor) -> None:
        """Record the scores of the epochs done, and keep weights that improve."""
        scores = stopping.update(losses, self.n_epochs_done, self.student_of_neuron)
        self._record(self.result.scores, self.n_epochs_done - 1, scores)

    def _record(self, curve: list[Tensor], epoch: int, values: Tensor) -> None:
        """Write values of these students into an entry of a curve of all original ones."""
        if epoch == len(curve):
            if self.students is self.original_students:
                curve.append(values)
                return
            curve.append(values.new_full((len(self.original_students),), math.nan))
        curve[epoch][self.original_index] = values

    def _update_result(self) -> None:
        """Write scores and divergence flags of these students into those of all original ones."""
        if self.students is self.original_students:
            return  # they are the same tensors
        self.result.diverged[self.original_index] = self.diverged
        if self.early_stopping is not None:
            self.result.best_score[self.original_index] = self.early_stopping.best_score
            self.result.best_epoch[self.original_index] = self.early_stopping.best_epoch

    def _reset_diverged(self, diverged: Tensor) -> None:
        """Mark students as diverged, and return them to their start, where they stay."""
        if not diverged.any():
            return
        self.diverged |= diverged
        if self.early_stopping is not None:
            self.early_stopping.best_score[diverged] = math.inf
        neurons = diverged[self.student_of_neuron]
        self.students.hidden[neurons] = self.students.initial[neurons]
        self.step_size = self.step_size.stopped(neurons)
        self.weight_decay = self.weight_decay.stopped(neurons)
        self.optimizer.reset_state(neurons)
        if self.trains_output:
            self.output_weight_decay = self.output_weight_decay.stopped(neurons)
            self.students.output[neurons] = self.initial_output[neurons]
            self.output_optimizer.reset_state(neurons)
            self.output_step_size = self.output_step_size.stopped(neurons)
            torch.mul(self.students.output, self.inverse_sqrt, out=self.scaled_output)

    def _has_diverged_logits(self) -> Tensor:
        """Return which students have logits that show divergence.

        A loss is taken before its step, so that the losses do not show what the last step did.
        """
        inputs = self.rows.inputs[:ROWS_PER_EVALUATION]
        work = self._new_workspace(self.scaled_output, inputs.shape[0])
        logits = layers.forward(self.students.hidden, inputs, work)
        return ~(logits.abs().amax(dim=(1, 2)) < DIVERGED_LOGIT)

    # Ends

    def mark_ended(self) -> Tensor:
        """Record which fits end by themselves, and return a mask of their students."""
        ended = torch.zeros_like(self.diverged)
        if self.early_stopping is not None:
            ended = ~self._fit_has(self.early_stopping.may_improve())
            self.end(ended, "early_stopping")
        if self.diverged.any():
            all_diverged = ~self._fit_has(~self.diverged)
            self.end(all_diverged, "diverged")
            ended = ended | all_diverged
        return ended

    def mark_last_epoch(self, candidates: Tensor) -> Tensor:
        """Record which of the students (a mask) end with this epoch, and return a mask of them."""
        last = candidates & (self.n_epochs <= self.n_epochs_done)
        self.end(last, "max_iter")
        return last

    def _fit_has(self, students: Tensor) -> Tensor:
        """Return of each student whether one of its fit is among ``students``, a mask."""
        fits = torch.zeros(self.n_fits, dtype=torch.bool, device=students.device)
        fits[self.fit[students]] = True
        return fits[self.fit]

    def end(self, students: Tensor, reason: str) -> None:
        """Record that the fits of ``students`` (a mask) end now."""
        if students.any():
            for fit in set(self.fit[students].tolist()):
                self.result.reasons[fit], self.result.n_epochs[fit] = reason, self.n_epochs_done

    def finish(self) -> None:
        """Write the weights to keep into the original students, and complete the result."""
        self.result.optimizers = [optimizer.state() for optimizer in self._optimizers()]
        students, stopping = self.students, self.early_stopping
        interrupted = self.result.interrupt is not None
        if interrupted and self.is_bounded:
            # the interrupt may have come between a step and its projection
            layers.project(students.hidden, students.initial, self.max_move)
        diverged = self._has_diverged_logits() & ~self.diverged
        if stopping is not None:
            diverged &= ~torch.isfinite(stopping.best_score)
        self._reset_diverged(diverged)
        hidden, output = students.hidden, students.output
        if stopping is not None:
            if stopping.scores_training_pass and not interrupted:
                # the last step has no training pass after it
                self._update_scores(stopping, self._evaluate(stopping))
            hidden, output = stopping.best_weights(students, self.student_of_neuron)
        original = self.original_students
        for weights, best in ((original.hidden, hidden), (original.output, output)):
            if best is not weights:
                weights[self.original_neurons] = best
        self._update_result()
