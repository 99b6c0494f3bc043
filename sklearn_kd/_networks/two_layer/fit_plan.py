"""What the parameters of a TwoLayerPGDClassifier come to on its data, and which rows it holds out.

In NumPy: `training` has the tensors.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils import check_random_state

from sklearn_kd._utils.folds import random_rows

__all__ = ["FitPlan", "check_resumed", "optimizer_kind", "prepare"]

#: Rows of a minibatch beyond that.
BATCH_SIZE = 128
#: Steps that max_iter="auto" aims at in full batch and in minibatches, and its fewest epochs.
FULL_BATCH_STEPS, MINIBATCH_STEPS, FEWEST_EPOCHS = 2000, 10000, 30
#: Step sizes of Adam under learning_rate="auto": that of the hidden layer is divided by
#: sqrt(inputs), since a step moves every coordinate alike and so the logits by their root.
HIDDEN_STEP, OUTPUT_STEP = 0.2, 0.05
#: How often a diverged "auto" fit is tried again, at a quarter of the step size.
RETRIES = 5
#: n_init="auto" takes as many restarts as make so many neurons.
RESTART_NEURONS = 32


@dataclass
class FitPlan:
    """One fit: its parameters with every "auto" resolved, its seeds, and its held-out rows."""

    est: object
    n_epochs: int
    batch_size: int | None
    patience: int
    optimizer: str
    step_size: float
    output_step_size: float | None
    decay: bool
    partial: bool
    order_seed: int
    fold_seed: int
    seeds: np.ndarray  # (restarts,)
    offset: np.ndarray
    scale: np.ndarray
    fold: np.ndarray | None = None  # (n_samples,) in full batch
    validation_mask: np.ndarray | None = None  # (n_samples,) mask, in minibatches
    soft: np.ndarray | None = None  # (n_samples, n_classes)
    n_shrunk: int = 0  # how often the step size has been cut

    @property
    def can_shrink(self):
        """Whether training that has diverged is tried again."""
        return self.est.learning_rate == "auto" and self.n_shrunk < RETRIES

    def shrunk(self):
        """Return the same fit at a quarter of the step size."""
        output_step = self.output_step_size and 0.25 * self.output_step_size
        return replace(
            self,
            step_size=0.25 * self.step_size,
            output_step_size=output_step,
            n_shrunk=self.n_shrunk + 1,
        )

    @property
    def n_copies(self):
        """Networks of each restart: one for all rows and one that leaves out each fold."""
        return 1 if self.fold is None else self.fold.max() + 2

    @property
    def n_students(self):
        """Networks side by side."""
        return len(self.seeds) * self.n_copies

    @property
    def loss_key(self):
        """What the targets depend on beside the data."""
        return float(self.est.temperature), float(self.est.alpha), id(self.soft)

    @property
    def key(self):
        """Jobs with the same key can share inputs and minibatches, and so products."""
        est = self.est
        in_full = self.batch_size is None
        return (
            *(str(est.device), bool(est.input_scaling), bool(est.input_intercept)),
            *(self.optimizer, float(est.momentum), self.batch_size),
            None if in_full else self.order_seed,
            self.fold is not None,
            None
            if self.validation_mask is None
            else (self.fold_seed, float(est.validation_fraction)),
        )


def prepare(est, data, *, partial=False, resume=False, like=None, effort=1.0):
    """Resolve a fit of ``est`` on ``data``: `FitPlan`.

    In minibatches it takes the order of rows and the held-out rows of the job ``like``, if any.
    ``effort`` is the share of its epochs that the whole schedule is squeezed into. Below 1 a fit is
    a trial: of two starts at most, in half of that where a fit has one, and with one fold held out
    by early stopping in full batch in place of a network for each.
    """
    if resume:
        check_resumed(est)
    n_samples, n_features = data.X.shape
    n_inputs = n_features + bool(est.input_intercept)
    batch_size = est.batch_size
    if batch_size == "auto":
        # a call of partial_fit is one epoch: in full batch that would be a single step
        batch_size = None if not partial and data.is_small else BATCH_SIZE
    if batch_size is not None and batch_size >= n_samples:
        batch_size = None
    n_epochs = 1 if partial else est.max_iter
    if n_epochs == "auto":
        n_epochs = FULL_BATCH_STEPS
        if batch_size is not None:
            n_epochs = max(FEWEST_EPOCHS, math.ceil(MINIBATCH_STEPS * batch_size / n_samples))
    n_restarts = max(1, RESTART_NEURONS // est.width) if est.n_init == "auto" else est.n_init
    if effort < 1:
        n_restarts = min(n_restarts, 2)
        n_epochs = max(1, math.ceil(effort * n_epochs * n_restarts / 2))
    patience = est.n_iter_no_change
    if patience == "auto":
        patience = max(10, n_epochs // 5)
    is_auto = est.learning_rate == "auto"
    optimizer = est.optimizer
    if optimizer == "auto":
        optimizer = "adam" if is_auto else "nesterov"
    if not is_auto:
        step = output_step = float(est.learning_rate)
    elif optimizer == "adam":
        step, output_step = HIDDEN_STEP / math.sqrt(n_inputs), OUTPUT_STEP
    else:
        step = output_step = _inverse_curvature(data, est)
    trained = est.output_layer == "trained" or (est.output_layer == "auto" and data.n_classes > 2)
    random = check_random_state(est.random_state)
    order_seed, fold_seed = (int(seed) for seed in random.randint(2**31 - 1, size=2))
    if like is not None and batch_size is not None:
        order_seed, fold_seed = like.order_seed, like.fold_seed
    if resume:
        offset, scale = est.input_offset_, est.input_scale_
    elif est.input_scaling:
        offset, scale = data.scaling
    else:
        offset, scale = np.zeros(n_features), np.ones(n_features)
    job = FitPlan(
        est=est,
        n_epochs=n_epochs,
        batch_size=batch_size,
        patience=patience,
        optimizer=optimizer,
        step_size=step,
        output_step_size=output_step if trained else None,
        decay=is_auto and not partial,
        partial=partial,
        order_seed=order_seed,
        fold_seed=fold_seed,
        seeds=random.randint(2**31 - 1, size=1 if partial else n_restarts),
        offset=offset,
        scale=scale,
        soft=data.soft,
    )
    if est.early_stopping and not partial:
        if batch_size is None:
            job.fold = data.folds(fold_seed)
            if effort < 1 and job.fold is not None:
                job.validation_mask, job.fold = job.fold == 0, None
        else:
            rows_random = np.random.RandomState(fold_seed)
            validation_mask = random_rows(data.y_encoded, est.validation_fraction, rows_random)
            job.validation_mask = validation_mask if validation_mask.any() else None
    return job


def _inverse_curvature(data, est):
    """1 / L at the start, L the trace bound on the curvature of the loss in all weights.

    The Hessian of the loss in a logit is at most 1/4 (two classes) or 1/2; half of the neurons
    are active, so the hidden layer adds E||x||^2 / 2, and a trained output layer E||x||^2 / 2.
    """
    norm = 1.0
    if not est.input_scaling:
        with np.errstate(over="ignore"):
            squares = np.square(data.X, dtype=np.float64).sum(axis=1)
            norm = float(np.average(squares, weights=data.weights))
        if not math.isfinite(norm):
            raise ValueError("the rows of X are too long for a step size: set input_scaling=True.")
    norm += bool(est.input_intercept)
    return (4.0 if data.n_classes == 2 else 1.0) / max(norm / 2.0, 8 * np.finfo(np.float64).tiny)


def check_resumed(est):
    """Refuse parameters that the network there is cannot follow."""
    width, n_inputs = est.hidden_weights_.shape
    has_intercept = n_inputs > est.n_features_in_
    is_scaled = est.input_offset_.any() or (est.input_scale_ != 1).any()
    is_trained = (np.abs(est.output_weights_) != 1).any()
    for name, clash, there in (
        ("width", est.width != width, width),
        ("input_intercept", bool(est.input_intercept) != has_intercept, has_intercept),
        ("input_scaling", is_scaled and not est.input_scaling, True),
        ("output_layer", is_trained and est.output_layer == "fixed", "trained"),
    ):
        if clash:
            raise ValueError(
                f"{name}={getattr(est, name)!r}, but the network that partial_fit goes on with "
                f"was made with {there!r}: set {name}={there!r}, or call fit."
            )


def optimizer_kind(job):
    """Tell optimizers apart whose states another cannot go on from."""
    has_memory = job.optimizer == "adam" or job.est.momentum > 0
    return job.optimizer if has_memory else "descent"
