"""The skorch net that trains a module on rows in memory, with the loss of distillation.

skorch initializes the parts, calls the callbacks and keeps the history. Its data loader and its
record of each batch are replaced, since they take longer than the steps of a small module. Where a
callback of the user needs batches, it gets them as from skorch's own estimators: rows with their
labels or numbers, also those of the validation rows. What else callbacks get depends on these, see
`callback_nets`.

For the same reason three callbacks of skorch are not used: ``EarlyStopping``, ``LRScheduler`` and
``GradientNormClipping`` give the same numbers, but each of them listens to batches or copies all
weights anew, and an epoch of a small module takes a tenth longer.
"""

import dis
import math
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import skorch
import torch
from skorch.callbacks import Callback, PassthroughScoring
from skorch.dataset import Dataset

from sklearn_kd._core.network.losses import Loss
from sklearn_kd._core.network.step_size import divergence_threshold
from sklearn_kd._core.network.targets import Fixed
from sklearn_kd._networks.module.build import channels_last, rows_in_a_block, to_loss_layout
from sklearn_kd._networks.module.precision import autocast
from sklearn_kd.exceptions import DivergenceError

#: Methods of a callback that are called for each batch.
BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_grad_computed")
#: Kinds of labels that are tensors in batches, as in skorch, and the dtype there.
TENSOR_LABELS = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}


class RowsDataset(Dataset):
    """Rows on the device: ``X`` in the shape that the module takes, and the labels ``y``."""

    def __init__(self, part, shape, y):
        super().__init__(part.inputs.view(-1, *shape), y)
        self.part = part  # WeightedRows: targets and weights

    @cached_property
    def labels(self):
        """Labels for batches: a tensor on the device if they are numbers, else an array."""
        dtype = TENSOR_LABELS.get(self.y.dtype.kind)
        if dtype is None:
            return self.y
        return torch.from_numpy(self.y.astype(dtype)).to(self.X.device)

    def labels_of(self, rows):
        """Return the labels of rows, an index tensor or None for all."""
        if rows is None:
            return self.labels
        return self.labels[rows if torch.is_tensor(self.labels) else rows.cpu().numpy()]


@dataclass
class Problem:
    """Rows, targets and loss of a fit."""

    rows: RowsDataset
    validation_rows: RowsDataset | None
    loss: Loss
    validation_loss: Loss
    n_outputs: int
    min_loss: float  # the least loss that the targets allow
    validation_min_loss: float
    row_cap: torch.Tensor | None  # (1, validation rows), largest loss of each
    relabel: Callable | None = None  # (inputs, batch) -> targets, in place of those of the rows


class Batches:
    """Iterates over all rows in shuffled batches ``(inputs, (targets, weights), rows)``.

    The last part is an index tensor, or None for all rows. Targets that depend on the outputs of
    the module are a function of its logits. The batches are of nearly equal size, since BatchNorm
    cannot train on a last batch of one row. The weights of a batch sum to about one, so that its
    loss estimates that of all rows.
    """

    def __init__(self, rows, size, order, augment=None, relabel=None, n_epochs=0):
        self.rows, self.size, self.order = rows, size, order
        self.augment, self.relabel = augment, relabel
        self.n_steps = n_epochs * len(self)  # that have been taken

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
                taken = inputs.clone()  # modules and augmentations may overwrite it
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
            yield taken, (targets, weights), batch
            self.n_steps += 1


class _RowBlocks:
    """Iterates over rows and labels (None if there are none) in their order, in blocks."""

    def __init__(self, X, labels, size):
        self.X, self.labels, self.size = X, labels, size

    def __iter__(self):
        for start in range(0, len(self.X), self.size):
            block = slice(start, start + self.size)
            yield self.X[block].clone(), None if self.labels is None else self.labels[block]


class _StopRequested(Exception):
    """A callback asks to stop training. skorch's callbacks raise KeyboardInterrupt to say so."""


def _is_raised_by_code(error):
    """Return whether a raise statement raised an error, and not the handler of Ctrl-C.

    The handler raises between any two instructions of the running code and is not part of the
    traceback. Only the last instruction distinguishes a callback that stops training from one that
    is interrupted.
    """
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return dis.opname[trace.tb_frame.f_code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"


class ModuleNet(skorch.NeuralNet):
    """Trains one module and keeps its best weights.

    A subclass computes the loss and the predictions that callbacks get (``get_loss``, ``predict``).

    Parameters
    ----------
    module : torch.nn.Module
    problem : Problem
    plan : ModuleFitPlan
    precision : torch.dtype
        Of the multiplications of the module.
    callbacks : list
        Callbacks of skorch, or pairs (name, callback).
    device : torch.device

    Attributes
    ----------
    losses, scores : list of float
        Training loss and validation loss of each epoch.
    reason : str or None
        Why training ended, as in ``termination_condition_``.
    interrupt : KeyboardInterrupt or None
        What ended training, to be raised again when the weights are stored.
    """

    #: Loss of the module of skorch's own estimator, which callbacks may look at.
    criterion_class: type[torch.nn.Module] | None = None
    #: Whether the share of right predictions is recorded for callbacks.
    has_accuracy = False

    def __init__(self, module, problem, plan, precision, callbacks, device):
        super().__init__(
            module,
            criterion=self.criterion_class,
            max_epochs=plan.n_epochs,
            train_split=None,
            callbacks=callbacks,
            predict_nonlinearity=self._predict_nonlinearity,
            verbose=0,
            device=device,
        )
        self.problem, self.plan, self.precision = problem, plan, precision
        self.order_generator = torch.Generator().manual_seed(plan.seeds.order)
        self.augmentation_generator = torch.Generator(device).manual_seed(plan.seeds.augmentation)
        self.reason = self.interrupt = None
        self.losses, self.scores, self.best_values = [], [], {}
        self.best_state, self.best_score, self.best_epoch = None, math.inf, 0
        self.scaler = torch.amp.GradScaler(enabled=precision == torch.float16)

    # initialization by skorch

    def get_default_callbacks(self):
        """Return no callbacks: the training loop below does their work once an epoch."""
        return []

    def initialize_optimizer(self, triggered_directly=None):
        """Make the optimizer and its learning rate schedule."""
        self.optimizer_ = self.plan.make_optimizer(self.module_.parameters())
        n_batches = len(self.get_iterator(self.problem.rows, training=True))
        self.schedule, self.schedule_follows = self.plan.make_schedule(self.optimizer_, n_batches)
        return self

    def initialize_callbacks(self):
        """Initialize the callbacks and find out whether one of them is called for batches."""
        super().initialize_callbacks()
        self.has_batch_callbacks = any(
            isinstance(each, PassthroughScoring)
            or any(getattr(type(each), hook) is not getattr(Callback, hook) for hook in BATCH_HOOKS)
            for _, each in self.callbacks_
        )
        return self

    # rows in, probabilities out

    def get_split_datasets(self, X, y=None, **fit_params):
        """Return the training rows and the validation rows."""
        return self.problem.rows, self.problem.validation_rows

    def get_iterator(self, dataset, training=False):
        """Return shuffled batches with targets for training, else blocks of rows in order."""
        if not training:
            rows = self.problem.rows.X
            size = rows_in_a_block(rows.shape[1:], rows.element_size())
            labels = dataset.labels if isinstance(dataset, RowsDataset) else dataset.y
            return _RowBlocks(torch.as_tensor(dataset.X), labels, size)
        plan, augment = self.plan, None
        if plan.augment is not None:
            augment = lambda batch: plan.augment(batch, self.augmentation_generator)  # noqa: E731
        n_epochs = len(self.losses)
        return Batches(
            dataset, plan.batch_size, self.order_generator, augment, self.problem.relabel, n_epochs
        )

    def infer(self, x, **fit_params):
        """Return the outputs of the module."""
        rows = self.problem.rows.X
        with autocast(rows.device, self.precision, rows.dtype):
            return self.module_(channels_last(x))

    def evaluation_step(self, batch, training=False):
        """Return the outputs for a callback, which may pass NumPy arrays."""
        rows = self.problem.rows.X
        inputs = batch[0].to(rows).view(-1, *rows.shape[1:])
        return super().evaluation_step((inputs, None), training)

    def _loss_layout(self, outputs):
        """Return outputs of the module as the loss takes them, (1, n_outputs, rows)."""
        return to_loss_layout(outputs, self.problem.n_outputs).to(self.problem.rows.X.dtype)

    def _predict_nonlinearity(self, outputs):
        """Return what ``predict_proba`` does, given the outputs of the module."""
        return outputs

    def _n_right(self, outputs, labels):
        """Return how many predictions of a batch equal the labels, if this is recorded."""
        return 0

    # training loop

    def notify(self, method_name, **cb_kwargs):
        """Call the callbacks, of which one may ask to stop."""
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as error:
            if _is_raised_by_code(error):
                raise _StopRequested from None
            raise

    def train_with(self, on_epoch):
        """Train, and call ``on_epoch(net)`` after each epoch; it may set ``net.reason`` to end."""
        try:
            self.partial_fit(self.problem.rows.X, self.problem.rows.y, on_epoch=on_epoch)
        except _StopRequested:  # before the first epoch or after the last
            self.reason = self.reason or "callback"

    def fit_loop(self, X, y=None, epochs=None, *, on_epoch, **fit_params):
        """Train until there is a reason to end. The caller raises an interrupt again."""
        rows, validation_rows = self.get_split_datasets(X, y)
        batches = self.get_iterator(rows, training=True)
        datasets = {"dataset_train": rows, "dataset_valid": validation_rows}
        try:
            while self.reason is None:
                start = time.perf_counter()
                self.notify("on_epoch_begin", **datasets)
                self.run_single_epoch(batches, True, "train", self.train_step)
                if validation_rows is not None:
                    self._score(validation_rows)
                self.history.record("dur", time.perf_counter() - start)
                self.reason = self._termination_reason()
                self.notify("on_epoch_end", **datasets)
                on_epoch(self)
        except _StopRequested:
            self.reason = self.reason or "callback"
            if self.losses:
                on_epoch(self)
        except KeyboardInterrupt as error:
            self.reason, self.interrupt = "interrupted", error
        return self

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Take a step for each batch, and read their mean loss once, at the end."""
        self._set_training(True)
        total, n_batches, seen = 0.0, 0, None
        for inputs, goal, rows in iterator:
            if self.has_batch_callbacks:
                seen = inputs, self.problem.rows.labels_of(rows)
                self.notify("on_batch_begin", batch=seen, training=True)
                self._set_training(True)  # the callback may have changed it
            step = step_fn((inputs, goal), seen=seen)
            total, n_batches = total + step["loss"], n_batches + 1
            if self.has_batch_callbacks:
                self._end_batch("train", seen, step, float(step["loss"]) - self.problem.min_loss)
        loss = float(total) / n_batches
        if not self.losses:
            self.divergence_threshold = divergence_threshold(loss)
        if not abs(loss) < self.divergence_threshold:
            est = self.plan.est
            advice = [f"choose a learning_rate below {est.learning_rate:g}"]
            advice += ["set clip_norm=1.0"] if est.clip_norm is None else []
            advice += [] if est.input_scaling else ["set input_scaling=True"]
            extremes = "temperature or sample weight" if hasattr(est, "temperature") else "weight"
            raise DivergenceError(
                f"the training loss was {loss:.3g} in epoch {len(self.losses) + 1}: "
                f"{', or '.join(advice)}. Look for an extreme {extremes}."
            )
        if not self.has_batch_callbacks:  # skorch's Checkpoint reads it
            self.history.new_batch()
            self.history.record_batch("train_loss", loss)
        self.losses.append(loss)
        self._record("train_loss", loss - self.problem.min_loss)

    def _end_batch(self, part, batch, step, loss):
        """Record the loss of a batch, and call the callbacks."""
        self.history.record_batch(f"{part}_loss", loss)
        self.history.record_batch(f"{part}_batch_size", len(batch[0]))
        self.notify("on_batch_end", batch=batch, training=part == "train", **step)

    def train_step(self, batch, *, seen, **fit_params):
        """Take one step of the optimizer; ``seen`` is the batch as callbacks see it."""
        inputs, (targets, weights) = batch
        parameters, step = self.module_.parameters, {}

        def closure():
            nonlocal targets
            self.optimizer_.zero_grad()
            step["y_pred"] = self.infer(inputs)
            logits = self._loss_layout(step["y_pred"])
            with torch.no_grad():
                if callable(targets):  # once a step, also for optimizers of several evaluations
                    targets = targets(logits.detach())
                row_losses, gradient = self.problem.loss(logits.clone(), targets)  # overwritten
                loss = row_losses.mul_(weights).sum()
                gradient.mul_(weights[:, None])
            step.setdefault("loss", loss)  # of the first evaluation
            logits.backward(self.scaler.scale(gradient))
            if self.has_batch_callbacks or self.plan.est.clip_norm is not None:
                self.scaler.unscale_(self.optimizer_)
            if self.plan.est.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters(), self.plan.est.clip_norm)
            if self.has_batch_callbacks:
                named = list(self.module_.named_parameters())
                self.notify("on_grad_computed", named_parameters=named, batch=seen, training=True)
            return loss

        if self.scaler.is_enabled():  # takes no closure
            closure()
            self.scaler.step(self.optimizer_)
            self.scaler.update()
        else:
            self.optimizer_.step(closure)
        if self.schedule_follows == "step":
            self._step_schedule()
        return step

    def _step_schedule(self, *score):
        """Change the learning rate.

        In half precision the scaler may skip the first step of the optimizer. torch then warns of
        a wrong order of both steps, although the order is right.
        """
        with warnings.catch_warnings() if self.scaler.is_enabled() else nullcontext():
            if self.scaler.is_enabled():
                warnings.filterwarnings("ignore", "Detected call of", UserWarning)
            self.schedule.step(*score)

    def _score(self, validation_rows):
        """Compute the validation loss, and keep the weights where it is the least so far."""
        part, problem, total, n_right, start = validation_rows.part, self.problem, 0.0, 0, 0
        self._set_training(False)
        for inputs, labels in self.get_iterator(validation_rows):
            if self.has_batch_callbacks:
                self.notify("on_batch_begin", batch=(inputs, labels), training=False)
                self._set_training(False)
            rows = torch.arange(start, start + len(inputs), device=problem.rows.X.device)
            start += len(inputs)
            with torch.no_grad():
                outputs = self.infer(inputs)
                logits = self._loss_layout(outputs).clone()  # overwritten
                losses, _ = problem.validation_loss(logits, part.rule(None, rows, 0))
                losses = torch.minimum(losses, problem.row_cap[:, rows])
                share = part.weights if part.weights.shape[1] == 1 else part.weights[:, rows]
                loss = (losses * share).sum(dtype=torch.float64)
            total += float(loss)
            if self.callbacks_:
                n_right += self._n_right(outputs, labels)
            if self.has_batch_callbacks:
                loss = loss * (len(validation_rows.X) / len(inputs)) - problem.validation_min_loss
                step = {"loss": loss, "y_pred": outputs}
                self._end_batch("valid", (inputs, labels), step, float(loss))
        self.scores.append(total)
        self._record("valid_loss", total - problem.validation_min_loss)
        if self.callbacks_ and self.has_accuracy:
            accuracy = n_right / len(validation_rows.X)
            self._record("valid_acc", accuracy, lower_is_better=False)
        if total < self.best_score:  # never for NaN
            self.best_score, self.best_epoch = total, len(self.scores)
            state = self.module_.state_dict()
            if self.best_state is None:
                self.best_state = {name: value.clone() for name, value in state.items()}
            for name, value in state.items():
                self.best_state[name].copy_(value)

    def _record(self, name, value, *, lower_is_better=True):
        """Write a value into the history, and whether it is the best so far, for callbacks."""
        sign = 1 if lower_is_better else -1
        is_best = sign * value < self.best_values.get(name, math.inf)
        if is_best:
            self.best_values[name] = sign * value
        self.history.record(name, value)
        self.history.record(f"{name}_best", is_best)

    def _termination_reason(self):
        """Step a schedule that follows epochs, and return why training ends now, or None."""
        n_epochs = len(self.losses)
        if self.schedule_follows == "epoch":
            self._step_schedule()
        elif self.schedule_follows == "score":
            self._step_schedule(self.scores[-1] if self.scores else self.losses[-1])
        if n_epochs - self.best_epoch >= self.plan.patience and self.scores:
            return "early_stopping"
        return "max_epochs" if n_epochs >= self.max_epochs else None

    # result and checkpoints

    def kept_state(self):
        """Return weights and buffers of the best epoch, or of the last without validation rows."""
        return self.module_.state_dict() if self.best_state is None else self.best_state

    def is_finite(self):
        """Return whether the weights and buffers to keep are finite."""
        return all(
            bool(value.isfinite().all())
            for value in self.kept_state().values()
            if value.is_floating_point()
        )

    def state(self):
        """Return all that the rest of training depends on, for a checkpoint."""
        device = self.problem.rows.X.device
        random = {"cpu": torch.get_rng_state(), "order": self.order_generator.get_state()}
        random["draws"] = self.augmentation_generator.get_state()
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
            "best": (self.best_state, self.best_score, self.best_epoch),
            "ceiling": self.divergence_threshold,
            "reason": self.reason,
        }

    def resume(self, state):
        """Continue from a `state`."""
        self.module_.load_state_dict(state["module"])
        self.optimizer_.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        random, device = state["random"], self.problem.rows.X.device
        torch.set_rng_state(random["cpu"])
        self.order_generator.set_state(random["order"])
        if device.type == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], device)
        # generators of different kinds of devices have states of different shapes
        if self.augmentation_generator.get_state().shape == random["draws"].shape:
            self.augmentation_generator.set_state(random["draws"])
        self.losses, self.scores = state["losses"], state["scores"]
        self.divergence_threshold = state["ceiling"]
        for epoch, loss in enumerate(self.losses):
            self.history.new_epoch()
            self.history.record("epoch", epoch + 1)
            self._record("train_loss", loss - self.problem.min_loss)
            if self.scores:
                self._record("valid_loss", self.scores[epoch] - self.problem.validation_min_loss)
        best, self.best_score, self.best_epoch = state["best"]
        self.best_state = None if best is None else {n: v.to(device) for n, v in best.items()}
        ended_early = state["reason"] not in (None, "max_epochs")
        is_done = ended_early or len(self.losses) >= self.max_epochs
        self.reason = (state["reason"] or "max_epochs") if is_done else None
