"""The skorch net that trains a module: resident rows, the distillation loss, little else a step.

skorch keeps the order of things: what is made when, callbacks, the history. Its loader and its
books of every batch are left out, since they take longer than the steps of a small module; where a
callback of the user's listens to batches, it hears of each.
"""

import dis
import math
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import skorch
import torch
from skorch.callbacks import Callback, PassthroughScoring
from skorch.dataset import Dataset

from sklearn_kd._core.network.losses import Loss
from sklearn_kd._core.network.step_size import divergence_threshold
from sklearn_kd._core.network.targets import Fixed
from sklearn_kd._networks.module.build import rows_in_a_block, to_logits
from sklearn_kd.exceptions import DivergenceError

__all__ = ["Batches", "ModuleNet", "Problem", "TrainingRows"]


BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_grad_computed")


class TrainingRows(Dataset):
    """Rows on the device; callbacks find ``X``, as the module takes it, and the labels ``y``."""

    def __init__(self, part, shape, y):
        super().__init__(part.inputs.view(-1, *shape), y)
        self.part = part  # solvers.Rows: targets and weights


@dataclass
class Problem:
    """What a module is to learn."""

    rows: TrainingRows
    validation_rows: TrainingRows | None
    loss: Loss
    n_outputs: int
    classes: np.ndarray
    min_loss: float  # the least loss that the targets allow
    validation_min_loss: float
    row_cap: torch.Tensor | None  # (1, held rows), the most that each counts
    relabel: Callable | None = None  # (inputs, batch) -> targets, in place of those of the rows


class Batches:
    """All rows once, in batches ``(inputs, (targets, weights))``.

    Targets that depend on the outputs of the module are a function of its logits. The sizes are
    nearly equal, since BatchNorm cannot do with a last batch of one row. The weights of a batch
    sum to about one: its loss estimates that of all rows.
    """

    def __init__(self, rows, size, order, augment=None, relabel=None, n_epochs=0):
        self.rows, self.size, self.order = rows, size, order
        self.augment, self.relabel = augment, relabel
        self.n_steps = n_epochs * len(self)  # done

    def __len__(self):
        return 1 if self.size is None else math.ceil(len(self.rows.X) / self.size)

    def __iter__(self):
        inputs, part = self.rows.X, self.rows.part
        batches = [None]
        if self.size is not None:
            order = torch.randperm(len(inputs), generator=self.order).to(inputs.device)
            batches = order.tensor_split(len(self))
        for batch in batches:
            weights = part.weights
            if batch is None:
                taken = inputs.clone()  # modules and augmentations may write over it
            else:
                taken = inputs.index_select(0, batch)
                if weights.shape[1] > 1:
                    weights = weights.index_select(1, batch)
                weights = weights * (len(inputs) / len(batch))
            if self.augment is not None:
                taken = self.augment(taken)
            if self.relabel is not None:
                targets = self.relabel(taken, batch)
            elif isinstance(part.rule, Fixed):
                targets = part.rule(None, batch, self.n_steps)
            else:
                targets = partial(part.rule, rows=batch, step=self.n_steps)
            yield taken, (targets, weights)
            self.n_steps += 1


class _Blocks:
    """Rows in their order, with nothing to learn."""

    def __init__(self, X, size):
        self.X, self.size = X, size

    def __iter__(self):
        for start in range(0, len(self.X), self.size):
            yield self.X[start : start + self.size].clone(), None


class _Ended(Exception):
    """A callback asked to stop."""


def _is_raised_by_code(error):
    """Tell a ``raise KeyboardInterrupt``, by which skorch's callbacks end training, from Ctrl-C."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return dis.opname[trace.tb_frame.f_code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"


class ModuleNet(skorch.NeuralNet):
    """Trains one module and keeps its best weights.

    Parameters
    ----------
    module : torch.nn.Module
    problem : Problem
    plan : _module_training.Plan
    callbacks : list
    """

    def __init__(self, module, problem, plan, callbacks, device):
        super().__init__(
            module,
            criterion=type(problem.loss),
            max_epochs=plan.n_epochs,
            train_split=None,
            callbacks=callbacks,
            predict_nonlinearity=self._probabilities,
            use_caching=False,
            verbose=0,
            device=device,
        )
        self.problem, self.plan, self.classes_ = problem, plan, problem.classes
        self.order = torch.Generator().manual_seed(plan.seeds.order)
        self.draws = torch.Generator(device).manual_seed(plan.seeds.augmentation)
        self.reason = self.interrupt = None
        self.losses, self.scores, self.least = [], [], {}
        self.best, self.best_score, self.best_epoch = None, math.inf, 0
        self.scaler = torch.amp.GradScaler(enabled=plan.precision == torch.float16)

    # what skorch makes and when

    def get_default_callbacks(self):
        """None: the loop below does their work once an epoch."""
        return []

    def initialize_criterion(self):
        """Use the loss of the problem, which has its gradient by hand."""
        self.criterion_ = self.problem.loss
        return self

    def initialize_optimizer(self, triggered_directly=None):
        """Make the optimizer and its schedule."""
        self.optimizer_ = self.plan.make_optimizer(self.module_.parameters())
        n_batches = len(self.get_iterator(self.problem.rows, training=True))
        self.schedule, self.scheduled_by = self.plan.make_schedule(self.optimizer_, n_batches)
        return self

    def initialize_callbacks(self):
        """Find out whether a callback listens to batches."""
        super().initialize_callbacks()
        self.heard = any(
            isinstance(each, PassthroughScoring)
            or any(getattr(type(each), hook) is not getattr(Callback, hook) for hook in BATCH_HOOKS)
            for _, each in self.callbacks_
        )
        return self

    # rows in, probabilities out

    def get_split_datasets(self, X, y=None, **fit_params):
        """Return the rows to train on and those held out."""
        return self.problem.rows, self.problem.validation_rows

    def get_iterator(self, dataset, training=False):
        """Return shuffled batches with targets to train on, else blocks in order."""
        if not training:
            rows = self.problem.rows.X
            size = rows_in_a_block(rows.shape[1:], rows.element_size())
            return _Blocks(torch.as_tensor(dataset.X), size)
        plan, augment = self.plan, None
        if plan.augment is not None:
            augment = lambda batch: plan.augment(batch, self.draws)  # noqa: E731
        n_epochs = len(self.losses)
        return Batches(
            dataset, plan.batch_size, self.order, augment, self.problem.relabel, n_epochs
        )

    def infer(self, x, **fit_params):
        """Return the outputs of the module."""
        if self.plan.precision is None:
            return self.module_(x)
        with torch.autocast("cuda", dtype=self.plan.precision):
            return self.module_(x)

    def evaluation_step(self, batch, training=False):
        """Return outputs for a callback, whose rows may be NumPy's."""
        rows = self.problem.rows.X
        inputs = batch[0].to(rows).view(-1, *rows.shape[1:])
        return super().evaluation_step((inputs, None), training)

    def _logits(self, outputs):
        return to_logits(outputs, self.problem.n_outputs).to(self.problem.rows.X.dtype)

    def _probabilities(self, outputs):
        logits = self._logits(outputs)[0].T
        if logits.shape[1] == 1:
            logits = torch.cat([-logits, logits], dim=1) / 2
        return logits.softmax(dim=1)

    def predict(self, X):
        """Labels, for callbacks that score."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    # the loop

    def notify(self, method_name, **cb_kwargs):
        """Tell callbacks; one of them may ask to stop."""
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as error:
            if _is_raised_by_code(error):
                raise _Ended from None
            raise

    def train_with(self, on_epoch):
        """Train; ``on_epoch(net)`` is called after each epoch and may set ``net.reason`` to end."""
        self.on_epoch = on_epoch
        try:
            self.partial_fit(self.problem.rows.X, self.problem.rows.y)
        except _Ended:  # before the first epoch or after the last
            self.reason = self.reason or "callback"

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train until there is a reason to end; an interrupt is kept for the caller to raise."""
        rows, held = self.get_split_datasets(X, y)
        batches = self.get_iterator(rows, training=True)
        datasets = {"dataset_train": rows, "dataset_valid": held}
        try:
            while self.reason is None:
                start = time.perf_counter()
                self.notify("on_epoch_begin", **datasets)
                self.run_single_epoch(batches, True, "train", self.train_step)
                if held is not None:
                    self._score(held)
                self.history.record("dur", time.perf_counter() - start)
                self.reason = self._why_end()
                self.notify("on_epoch_end", **datasets)
                self.on_epoch(self)
        except _Ended:
            self.reason = self.reason or "callback"
            if self.losses:
                self.on_epoch(self)
        except KeyboardInterrupt as error:
            self.reason, self.interrupt = "interrupted", error
        return self

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Step through the batches; their mean loss is looked at once, at the end."""
        self._set_training(True)
        total, n_batches = 0.0, 0
        for batch in iterator:
            if self.heard:
                self.notify("on_batch_begin", batch=batch, training=True)
                self._set_training(True)  # whatever the callback has done
            step = step_fn(batch)
            total, n_batches = total + step["loss"], n_batches + 1
            if self.heard:
                self.history.record_batch("train_loss", float(step["loss"]))
                self.history.record_batch("train_batch_size", len(batch[0]))
                self.notify("on_batch_end", batch=batch, training=True, **step)
        loss = float(total) / n_batches
        if not self.losses:
            self.ceiling = divergence_threshold(loss)
        if not abs(loss) < self.ceiling:
            raise DivergenceError(
                f"the training loss was {loss:.3g} in epoch {len(self.losses) + 1}: choose a "
                f"learning_rate below {self.plan.est.learning_rate:g}, or set clip_norm=1.0 or "
                "input_scaling=True, and look for a temperature or weights out of proportion."
            )
        if not self.heard:  # what skorch's Checkpoint looks for
            self.history.new_batch()
            self.history.record_batch("train_loss", loss)
        self.losses.append(loss)
        self._record_loss("train_loss", loss - self.problem.min_loss)

    def train_step(self, batch, **fit_params):
        """One step of the optimizer."""
        inputs, (targets, weights) = batch
        parameters, step = self.module_.parameters, {}

        def closure():
            nonlocal targets
            self.optimizer_.zero_grad()
            step["y_pred"] = self.infer(inputs)
            logits = self._logits(step["y_pred"])
            with torch.no_grad():
                if callable(targets):  # once a step, however often the optimizer asks
                    targets = targets(logits.detach())
                row_losses, gradient = self.criterion_(logits.clone(), targets)  # written over
                loss = row_losses.mul_(weights).sum()
                gradient.mul_(weights[:, None])
            step.setdefault("loss", loss)  # an optimizer may ask more than once
            logits.backward(self.scaler.scale(gradient))
            if self.heard or self.plan.est.clip_norm is not None:
                self.scaler.unscale_(self.optimizer_)
            if self.plan.est.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters(), self.plan.est.clip_norm)
            if self.heard:
                named = list(self.module_.named_parameters())
                self.notify("on_grad_computed", named_parameters=named, batch=batch, training=True)
            return loss

        if self.scaler.is_enabled():  # takes no closure
            closure()
            self.scaler.step(self.optimizer_)
            self.scaler.update()
        else:
            self.optimizer_.step(closure)
        if self.scheduled_by == "step":
            self._step_schedule()
        return step

    def _step_schedule(self, *score):
        """Change the step size; a first step that half precision has skipped is no mistake."""
        with warnings.catch_warnings() if self.scaler.is_enabled() else nullcontext():
            if self.scaler.is_enabled():
                warnings.filterwarnings("ignore", "Detected call of", UserWarning)
            self.schedule.step(*score)

    def _score(self, held):
        """Loss on the held-out rows, and keep the weights where it is the least so far."""
        part, problem, total, start = held.part, self.problem, 0.0, 0
        self._set_training(False)
        with torch.no_grad():
            for inputs, _ in self.get_iterator(held):
                rows = torch.arange(start, start + len(inputs), device=inputs.device)
                start += len(inputs)
                logits = self._logits(self.infer(inputs)).clone()  # written over
                losses, _ = problem.loss(logits, part.rule(None, rows, 0))
                losses = torch.minimum(losses, problem.row_cap[:, rows])
                share = part.weights if part.weights.shape[1] == 1 else part.weights[:, rows]
                total += float((losses * share).sum(dtype=torch.float64))
        self.scores.append(total)
        self._record_loss("valid_loss", total - problem.validation_min_loss)
        if total < self.best_score:  # NaN is not
            self.best_score, self.best_epoch = total, len(self.scores)
            state = self.module_.state_dict()
            if self.best is None:
                self.best = {name: value.clone() for name, value in state.items()}
            for name, value in state.items():
                self.best[name].copy_(value)

    def _record_loss(self, name, value):
        """Write a loss into the history, and whether it is the least: what callbacks monitor."""
        is_best = value < self.least.get(name, math.inf)
        if is_best:
            self.least[name] = value
        self.history.record(name, value)
        self.history.record(f"{name}_best", is_best)

    def _why_end(self):
        """Step the schedule of epochs; the reason why training ends now, or None."""
        n_epochs = len(self.losses)
        if self.scheduled_by == "epoch":
            self._step_schedule()
        elif self.scheduled_by == "score":
            self._step_schedule(self.scores[-1] if self.scores else self.losses[-1])
        if n_epochs - self.best_epoch >= self.plan.patience and self.scores:
            return "early_stopping"
        return "max_epochs" if n_epochs >= self.max_epochs else None

    # what is left at the end, and what a killed fit goes on from

    def kept_state(self):
        """Weights and buffers of the best epoch, of the last without held-out rows."""
        return self.module_.state_dict() if self.best is None else self.best

    def is_finite(self):
        """Tell whether the weights and buffers to keep are numbers."""
        return all(
            bool(value.isfinite().all())
            for value in self.kept_state().values()
            if value.is_floating_point()
        )

    def state(self):
        """All that the rest of the training depends on."""
        device = self.problem.rows.X.device
        random = {"cpu": torch.get_rng_state(), "order": self.order.get_state()}
        random["draws"] = self.draws.get_state()
        if device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(device)
        return {
            "module": self.module_.state_dict(),
            "optimizer": self.optimizer_.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": random,
            "losses": self.losses,
            "scores": self.scores,
            "best": (self.best, self.best_score, self.best_epoch),
            "ceiling": self.ceiling,
            "reason": self.reason,
        }

    def resume(self, state):
        """Go on from a `state`."""
        self.module_.load_state_dict(state["module"])
        self.optimizer_.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        random, device = state["random"], self.problem.rows.X.device
        torch.set_rng_state(random["cpu"])
        self.order.set_state(random["order"])
        if device.type == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], device)
        if self.draws.get_state().shape == random["draws"].shape:  # of the same kind of device
            self.draws.set_state(random["draws"])
        self.losses, self.scores, self.ceiling = state["losses"], state["scores"], state["ceiling"]
        for epoch, loss in enumerate(self.losses):
            self.history.new_epoch()
            self.history.record("epoch", epoch + 1)
            self._record_loss("train_loss", loss - self.problem.min_loss)
            if self.scores:
                self._record_loss(
                    "valid_loss", self.scores[epoch] - self.problem.validation_min_loss
                )
        best, self.best_score, self.best_epoch = state["best"]
        self.best = None if best is None else {n: v.to(device) for n, v in best.items()}
        ended_early = state["reason"] not in (None, "max_epochs")
        is_done = ended_early or len(self.losses) >= self.max_epochs
        self.reason = (state["reason"] or "max_epochs") if is_done else None
