"""Resolve "auto" parameters of a module, its optimizer and its validation rows."""

import inspect
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils import check_random_state

from sklearn_kd._networks.module.checkpoint import describe
from sklearn_kd._networks.module.image_augmentation import make_augmentation
from sklearn_kd._networks.resolve import (
    resolve_batch_size,
    resolve_patience,
    resolve_scaling,
    sample_validation_rows,
    stops_early,
    warn_of_no_row_to_hold_out,
)
from sklearn_kd._utils.folds import content_folds
from sklearn_kd._utils.scaling import mean_and_deviation

#: Epochs under max_epochs="auto" in full batch, where an epoch is one step, and in minibatches.
FULL_BATCH_EPOCHS, MINIBATCH_EPOCHS = 1000, 100
#: The same for soft labels under early_stopping="auto", with a rate that falls to zero. Minibatches
#: have the first number of epochs if it is between these numbers of steps, and at least the second.
SOFT_FULL_BATCH_EPOCHS, SOFT_MINIBATCH_EPOCHS = 300, (64, 30)
MIN_SOFT_STEPS, MAX_SOFT_STEPS = 3000, 10_000
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


class Seeds(NamedTuple):
    """Seeds of the parts of a fit that draw random numbers."""

    module: int  # its start, and its draws while it trains and predicts
    order: int  # of the rows
    validation: int  # which rows are held out
    augmentation: int


def draw_seeds(est, resume):
    """Draw the seeds of a fit.

    A fit that continues from another draws anew, but holds out the same rows.
    """
    seeds = check_random_state(est.random_state).randint(2**31 - 1, size=4)
    if resume:
        again = np.random.RandomState([*seeds, est._n_fits]).randint(2**31 - 1, size=4)
        seeds = np.where([True, True, False, True], again, seeds)
    return Seeds(*seeds.tolist())


@dataclass
class ModuleFitPlan:
    """Parameters of one fit with every "auto" resolved, its seeds and its validation rows."""

    est: object
    n_epochs: int
    batch_size: int | None
    patience: int
    seeds: Seeds
    offset: np.ndarray
    scale: np.ndarray
    validation_mask: np.ndarray | None  # (n_samples,) bool, the rows not trained on
    uses_validation_rows: bool  # those of the user
    scheduler: object  # as the parameter, but never "auto"
    augment: object  # function of a batch and a generator, or None

    def make_optimizer(self, parameters):
        """Make the optimizer from ``optimizer``, ``learning_rate`` and ``weight_decay``."""
        est, kind = self.est, self.est.optimizer
        options = {"lr": est.learning_rate, **(est.optimizer_params or {})}
        if isinstance(kind, str):
            if kind not in OPTIMIZERS:
                raise ValueError(
                    f"optimizer={kind!r} is not known: use {', '.join(OPTIMIZERS)}, or a class "
                    "of torch.optim."
                )
            kind = OPTIMIZERS[kind]
            if not {"foreach", "differentiable"} & options.keys():
                options.setdefault("fused", True)  # one pass over the weights instead of a dozen
        if est.weight_decay:
            options["weight_decay"] = est.weight_decay
        return _construct(kind, parameters, options, "optimizer_params")

    def make_schedule(self, optimizer, n_batches):
        """Make the scheduler, and return it with what it follows: "step", "epoch" or "score"."""
        est, kind = self.est, self.scheduler
        if kind is None:
            return None, None
        schedulers, options, follows = torch.optim.lr_scheduler, {}, "epoch"
        if kind == "cosine":
            kind, options = schedulers.CosineAnnealingLR, {"T_max": self.n_epochs}
        elif kind == "step":
            kind, options = schedulers.StepLR, {"step_size": max(1, self.n_epochs // 3)}
        elif kind == "one-cycle":
            kind, follows = schedulers.OneCycleLR, "step"
            options = {"max_lr": est.learning_rate, "total_steps": self.n_epochs * n_batches}
        elif isinstance(kind, str):
            raise ValueError(
                f"scheduler={kind!r} is not known: use cosine, step, one-cycle, or a class of "
                "torch.optim.lr_scheduler."
            )
        elif inspect.isclass(kind) and issubclass(kind, schedulers.ReduceLROnPlateau):
            follows = "score"
        options |= est.scheduler_params or {}
        return _construct(kind, optimizer, options, "scheduler_params"), follows


def _construct(kind, first, options, parameter):
    """Call a class with options of the user; ``parameter`` is what errors call them."""
    try:
        return kind(first, **{name: _to_python_numbers(value) for name, value in options.items()})
    except TypeError as error:
        raise ValueError(f"{parameter} does not suit {describe(kind)}: {error}") from error


def _to_python_numbers(value):
    """Replace numbers of NumPy, which torch.load(weights_only=True) refuses, by Python's own."""
    if isinstance(value, np.generic):
        return value.item()
    return type(value)(map(_to_python_numbers, value)) if type(value) in (list, tuple) else value


def resolve_scheduler(est, data):
    """Return the scheduler of a fit: "auto" is "cosine" where "auto" does not stop early.

    The last weights are kept there, at a constant rate those of a random walk.
    """
    if est.scheduler != "auto":
        return est.scheduler
    return "cosine" if est.early_stopping == "auto" and not _stops_early(est, data) else None


def _stops_early(est, data):
    rows = data.soft, data.weights, data.validation
    return stops_early(est, *rows, data.task.are_almost_hard)


def soft_epochs(n_rows, batch_size):
    """Return the epochs of the schedule for soft labels."""
    if batch_size is None:
        return SOFT_FULL_BATCH_EPOCHS
    steps, (usual, least) = math.ceil(n_rows / batch_size), SOFT_MINIBATCH_EPOCHS
    epochs = min(max(usual, math.ceil(MIN_SOFT_STEPS / steps)), MAX_SOFT_STEPS // steps)
    return max(epochs, least)


def resolve_parameters(est, data, seeds, *, partial, resume):
    """Resolve the parameters of one fit.

    Parameters
    ----------
    est : ModuleClassifier or ModuleRegressor
    data : TrainingData
    seeds : Seeds
    partial : bool
        Whether this is a call of `partial_fit`: one epoch, without validation rows.
    resume : bool
        Whether training continues from the fitted weights.

    Returns
    -------
    ModuleFitPlan
    """
    batch_size = resolve_batch_size(est, data, partial=partial)
    stops = _stops_early(est, data) and not partial
    n_epochs = FULL_BATCH_EPOCHS if batch_size is None else MINIBATCH_EPOCHS
    if est.early_stopping == "auto" and not stops:
        n_epochs = soft_epochs(len(data.X), batch_size)
    if est.max_epochs != "auto":
        n_epochs = int(est.max_epochs)
    offset, scale = resolve_scaling(
        est,
        data,
        lambda data: fit_standardization(data.X, data.weights, est.image_shape),
        partial=partial,
        resume=resume,
    )
    validation_mask = None
    if stops and not data.validation.has_rows:
        validation_mask = select_validation_rows(est, data, batch_size is None, seeds.validation)
        if validation_mask is None:
            warn_of_no_row_to_hold_out(est, n_epochs, "each class one row")
    return ModuleFitPlan(
        est=est,
        n_epochs=1 if partial else n_epochs,
        batch_size=batch_size,
        patience=resolve_patience(est, n_epochs, divisor=10),
        seeds=seeds,
        offset=offset,
        scale=scale,
        validation_mask=validation_mask,
        uses_validation_rows=data.validation.has_rows,
        scheduler=None if est.scheduler == "auto" and partial else resolve_scheduler(est, data),
        augment=make_augmentation(est.augmentation, est.image_shape),
    )


def fit_standardization(X, weights, image_shape):
    """Return the weighted mean and standard deviation of each column or channel of images.

    A standard deviation of zero is replaced by one.
    """
    offset, spread = mean_and_deviation(X, weights)
    if image_shape is not None:
        n_channels = image_shape[0]
        means, spreads = (each.reshape(n_channels, -1) for each in (offset, spread))
        variance = (spreads**2).mean(axis=1) + means.var(axis=1)
        size = X.shape[1] // n_channels
        offset, spread = np.repeat([means.mean(axis=1), np.sqrt(variance)], size, axis=1)
    return offset, np.where(spread > 0, spread, 1.0)


def select_validation_rows(est, data, in_full_batch, seed):
    """Return the mask of the rows to hold out, or None where there is no such row.

    In full batch the choice depends on the values of the rows alone, or on groups and classes, so
    that a weight of k still equals k copies. Each class keeps a row to train on.
    """
    random, strata = np.random.RandomState(seed), data.strata
    if not in_full_batch or data.validation.group is not None:
        return sample_validation_rows(est, data, random)
    n_folds = max(2, round(1 / est.validation_fraction))
    fold = content_folds(data.X, strata, data.weights, n_folds, random)
    for number in range(0 if fold is None else fold.max() + 1):
        validation_mask = fold == number
        validation_mask &= np.isin(strata, strata[~validation_mask])
        if validation_mask.any():
            return validation_mask
    return None
