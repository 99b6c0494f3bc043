"""Resolve "auto" parameters of two-layer networks and select the validation rows.

This module needs NumPy only. `training` makes the tensors.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from sklearn.base import is_regressor
from sklearn.utils import check_random_state

from sklearn_kd._networks.resolve import (
    resolve_batch_size,
    resolve_patience,
    resolve_scaling,
    sample_validation_rows,
    stops_early,
)
from sklearn_kd._networks.two_layer.members import columns_of_inputs


class Schedule(NamedTuple):
    """What max_iter="auto" aims at."""

    full_batch_steps: int
    min_steps: int  # in minibatches
    usual_epochs: int  # where these take more steps
    max_steps: int  # but not more of them than this
    min_epochs: int  # unless these take more

    def n_epochs(self, n_samples, batch_size):
        """Return the number of epochs on this many rows."""
        if batch_size is None:
            return self.full_batch_steps
        steps = self.usual_epochs * n_samples / batch_size
        steps = max(self.min_steps, min(steps, self.max_steps))
        return max(self.min_epochs, math.ceil(steps * batch_size / n_samples))


#: Where early_stopping=False.
FIXED = Schedule(
    full_batch_steps=2000, min_steps=10000, usual_epochs=0, max_steps=10000, min_epochs=30
)
#: Where early stopping ends training. On most tables it does so after about 10000 steps, and others
#: still improve there (docs/results.md).
EARLY_STOPPING = FIXED._replace(min_steps=60000, max_steps=60000)
#: That of soft labels under early_stopping="auto". A longer one gains nothing on few rows, and
#: memorizes the noise of noisy labels (docs/results.md).
SOFT_LABELS = Schedule(
    full_batch_steps=500, min_steps=3000, usual_epochs=64, max_steps=10000, min_epochs=16
)
#: Total of the weight decay under weight_decay="auto" with Adam's "auto" step sizes: the decay of a
#: step is this over the steps of the schedule for soft labels, since more rows need less of it
#: (docs/results.md).
TOTAL_WEIGHT_DECAY = 4.5
#: Step sizes of Adam under learning_rate="auto". That of the hidden layer is divided by the square
#: root of the number of inputs: a step moves every coordinate by the same amount, and so the logits
#: in proportion to that root.
HIDDEN_STEP, OUTPUT_STEP = 0.2, 0.05
#: Rows that are read at once where all of them are.
BLOCK_ROWS = 2048
#: How often a diverged fit with learning_rate="auto" is repeated with a quarter of the step size.
RETRIES = 5
#: Number of neurons of all restarts together under n_init="auto".
RESTART_NEURONS = 32


@dataclass
class FitPlan:
    """Parameters of one fit with every "auto" resolved, its seeds and its validation rows."""

    est: object
    n_epochs: int
    batch_size: int | None
    patience: int
    optimizer: str
    step_size: float
    output_step_size: float | None
    decay: bool
    weight_decay: float
    order_seed: int
    fold_seed: int
    seeds: np.ndarray  # (restarts,)
    offset: np.ndarray
    scale: np.ndarray
    stops_early: bool = False
    #: (n_inputs,) int, the column of the table of each input, from one, and zero for the intercept;
    #: of a network with several members
    column_of: np.ndarray | None = None
    fold: np.ndarray | None = None  # (n_samples,) int, for cross-validation in full batch
    validation_mask: np.ndarray | None = None  # (n_samples,) bool, the rows not trained on
    uses_validation_rows: bool = False  # those of the user
    soft: np.ndarray | None = None  # (n_samples, n_classes or n_targets)
    n_shrunk: int = 0  # how often the step size has been divided by four

    @property
    def can_shrink(self):
        """Whether training is repeated with smaller steps where it has diverged."""
        return self.est.learning_rate == "auto" and self.n_shrunk < RETRIES

    def shrunk(self):
        """Return the same fit with a quarter of the step size."""
        output_step = self.output_step_size and 0.25 * self.output_step_size
        # smaller steps are in balance with a decay that is less in proportion, but a number of the
        # user stays as it is
        is_auto = self.est.weight_decay == "auto"
        return replace(
            self,
            step_size=0.25 * self.step_size,
            output_step_size=output_step,
            weight_decay=0.25 * self.weight_decay if is_auto else self.weight_decay,
            n_shrunk=self.n_shrunk + 1,
        )

    @property
    def is_unbounded(self):
        """Whether nothing but early stopping bounds the loss of soft labels.

        A loss of numbers is bounded below for every alpha.
        """
        return self.est.alpha > 1 and self.est.radius is None and not is_regressor(self.est)

    @property
    def n_members(self):
        """Networks of each restart that share hidden weights."""
        return self.est.n_members

    @property
    def n_copies(self):
        """Networks of each restart: one trains on all rows, and one on all but each fold."""
        return 1 if self.fold is None else self.fold.max() + 2

    @property
    def n_students(self):
        """Networks that train at the same time."""
        return len(self.seeds) * self.n_copies

    @property
    def loss_key(self):
        """The parameters, and the soft labels, that the targets depend on."""
        return self.temperature, float(self.est.alpha), id(self.soft)

    @property
    def temperature(self):
        """Temperature of the soft labels. Numbers have none."""
        return float(getattr(self.est, "temperature", 1.0))

    @property
    def key(self):
        """Fits with the same key can share inputs, minibatches and so matrix products."""
        est = self.est
        in_full = self.batch_size is None
        return (
            *(str(est.device), bool(est.input_scaling), bool(est.input_intercept)),
            self.n_members,
            *(self.optimizer, float(est.momentum), self.batch_size),
            None if in_full else self.order_seed,
            self.fold is not None,
            None
            if self.validation_mask is None
            else (self.fold_seed, float(est.validation_fraction)),
        )


def resolve_parameters(est, data, soft=None, *, partial=False, resume=False, like=None):
    """Resolve the parameters of one fit.

    Parameters
    ----------
    est : TwoLayerPGDClassifier or TwoLayerPGDRegressor
    data : TrainingData
    soft : ndarray of shape (n_samples, n_classes or n_targets), optional
        Soft labels, by default those of ``data``.
    partial : bool
        Whether this is a call of `partial_fit`: one epoch of one network, without validation rows.
    resume : bool
        Whether training continues from the fitted weights.
    like : FitPlan, optional
        A fit whose order of rows and validation rows this one takes in minibatches.

    Returns
    -------
    FitPlan
    """
    if resume:
        check_resumed(est)
    soft = data.soft if soft is None else soft
    batch_size = resolve_batch_size(est, data, partial=partial)
    n_restarts = est.n_init
    if n_restarts == "auto":
        n_restarts = max(1, RESTART_NEURONS // (est.width * est.n_members))
    stops = not partial and stops_early(
        est, soft, data.weights, data.validation, data.task.are_almost_hard
    )
    schedule = FIXED if stops or est.early_stopping != "auto" else SOFT_LABELS
    n_epochs = 1 if partial else _n_epochs(est, data, batch_size, schedule)
    # that of the shorter training: a longer one does not wait longer
    patience = resolve_patience(est, n_epochs, divisor=5)
    if stops:
        n_epochs = _n_epochs(est, data, batch_size, EARLY_STOPPING)
    optimizer, step_size, output_step_size = _optimizer_and_step_sizes(est, data)
    random = check_random_state(est.random_state)
    order_seed, fold_seed = (int(seed) for seed in random.randint(2**31 - 1, size=2))
    if like is not None and batch_size is not None:
        order_seed, fold_seed = like.order_seed, like.fold_seed
    offset, scale = resolve_scaling(
        est, data, lambda data: data.scaling, partial=partial, resume=resume
    )
    plan = FitPlan(
        est=est,
        n_epochs=n_epochs,
        batch_size=batch_size,
        patience=patience,
        optimizer=optimizer,
        step_size=step_size,
        output_step_size=output_step_size,
        decay=est.learning_rate == "auto" and not partial,
        weight_decay=_weight_decay(est, data, batch_size, optimizer),
        order_seed=order_seed,
        fold_seed=fold_seed,
        seeds=random.randint(2**31 - 1, size=1 if partial else n_restarts),
        offset=offset,
        scale=scale,
        soft=soft,
        stops_early=stops,
        column_of=columns_of_inputs(est, data.X.shape[1]) if est.n_members > 1 else None,
    )
    plan.uses_validation_rows = data.validation.has_rows
    if stops and not plan.uses_validation_rows:
        plan.fold, plan.validation_mask = _held_out_rows(plan, data)
    return plan


def _n_epochs(est, data, batch_size, schedule):
    return schedule.n_epochs(len(data.X), batch_size) if est.max_iter == "auto" else est.max_iter


def _optimizer_and_step_sizes(est, data):
    """Return the optimizer and the step sizes of both layers, None for a fixed output layer."""
    is_auto = est.learning_rate == "auto"
    optimizer = est.optimizer
    if optimizer == "auto":
        optimizer = "adam" if is_auto else "nesterov"
    if not is_auto:
        step_size = output_step_size = float(est.learning_rate)
    elif optimizer == "adam":
        n_inputs = max(1, data.X.shape[1] + bool(est.input_intercept))
        step_size, output_step_size = HIDDEN_STEP / math.sqrt(n_inputs), OUTPUT_STEP
    else:
        step_size = output_step_size = _inverse_curvature(data, est)
    is_trained = est.output_layer == "trained" or (
        est.output_layer == "auto"
        and (est.init == "standard" or data.n_outputs > 1 or est.n_members > 1)
    )
    return optimizer, step_size, output_step_size if is_trained else None


def _weight_decay(est, data, batch_size, optimizer):
    if est.weight_decay != "auto":
        return float(est.weight_decay)
    if est.learning_rate != "auto" or optimizer != "adam":
        return 0.0
    n_steps = SOFT_LABELS.full_batch_steps
    if batch_size is not None:
        n_steps = SOFT_LABELS.n_epochs(len(data.X), batch_size) * len(data.X) / batch_size
    return TOTAL_WEIGHT_DECAY / n_steps


def _held_out_rows(plan, data):
    """Return the fold of each row for cross-validation, or the mask of the validation rows.

    At most one of the two is not None. Cross-validation is for full batch.
    """
    if plan.batch_size is not None:
        random = np.random.RandomState(plan.fold_seed)
        return None, sample_validation_rows(plan.est, data, random)
    return data.folds(plan.fold_seed), None


def _inverse_curvature(data, est):
    """Return 1 / L, where the trace bounds the curvature L of the loss in all weights at the start.

    The Hessian of the loss in a logit is at most 1/4 (two classes) or 1/2, and 1 in a number. Half
    of the neurons are active, so that the hidden layer adds E||x||^2 / 2, and a trained output
    layer as much.
    """
    norm = 1.0
    if not est.input_scaling:
        with np.errstate(over="ignore"):
            norm = _mean_squared_norm(data.X, data.weights)
        if not math.isfinite(norm):
            raise ValueError("the rows of X are too long for a step size: set input_scaling=True.")
    norm += bool(est.input_intercept)
    return data.task.inverse_curvature / max(norm / 2.0, 8 * np.finfo(np.float64).tiny)


def _mean_squared_norm(X, weights):
    """Return the weighted mean of the squared norms of rows, which are read in blocks."""
    blocks = (slice(start, start + BLOCK_ROWS) for start in range(0, len(X), BLOCK_ROWS))
    sums = [weights[each] @ np.square(X[each], dtype=np.float64).sum(axis=1) for each in blocks]
    return float(sum(sums) / weights.sum())


def check_resumed(est):
    """Raise ValueError where the fitted network cannot have the present parameters."""
    width, n_inputs = est.hidden_weights_.shape
    has_intercept = n_inputs > len(est.input_offset_)
    is_scaled = est.input_offset_.any() or (est.input_scale_ != 1).any()
    is_trained = (np.abs(est.output_weights_) != 1).any()
    n_members = len(getattr(est, "input_signs_", [None]))
    for name, clash, there in (
        ("width", est.width != width, width),
        ("n_members", est.n_members != n_members, n_members),
        ("input_intercept", bool(est.input_intercept) != has_intercept, has_intercept),
        ("input_scaling", is_scaled and not est.input_scaling, True),
        ("output_layer", is_trained and est.output_layer == "fixed", "trained"),
    ):
        if clash:
            raise ValueError(
                f"{name}={getattr(est, name)!r}, but the network that partial_fit continues "
                f"was made with {there!r}: set {name}={there!r}, or call fit."
            )


def optimizer_kind(plan):
    """Return a name that is equal for optimizers which can continue from each other's state."""
    has_memory = plan.optimizer == "adam" or plan.est.momentum > 0
    return plan.optimizer if has_memory else "descent"
