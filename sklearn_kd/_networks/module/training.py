"""What ModuleClassifier.fit does with checked data: from parameters to a skorch net and back."""

import functools
import inspect
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state

from sklearn_kd._networks.module.build import (
    build,
    check_outputs,
    load,
    memory_errors,
    own_random_state,
    row_shape,
)
from sklearn_kd._networks.module.checkpoint import Checkpoint, describe
from sklearn_kd._networks.module.image_augmentation import make_augmentation
from sklearn_kd._networks.module.net import Batches, ModuleNet, Problem, TrainingRows
from sklearn_kd._networks.training_data import TrainingData, TrainingTensors
from sklearn_kd._utils.callbacks import EpochReporter
from sklearn_kd._utils.device import check_budget, resolve_device, thread_scope, to_numpy
from sklearn_kd._utils.folds import content_folds, random_rows
from sklearn_kd._utils.scaling import fit_scaling
from sklearn_kd._utils.unique_rows import is_small
from sklearn_kd._utils.validation import check_probabilities, rescale_weights
from sklearn_kd.exceptions import EarlyStoppingWarning

__all__ = ["fit"]


#: Up to so many distinct rows "auto" trains in full batch; rows of a minibatch beyond that.
FULL_BATCH_ROWS, BATCH_SIZE = 1000, 128
#: What max_epochs="auto" comes to in full batch, where an epoch is a step, and in minibatches.
FULL_BATCH_EPOCHS, MINIBATCH_EPOCHS = 1000, 100
ADVICE = "set a smaller batch_size or a smaller module, or pass float32 rows"
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
PRECISIONS = {True: torch.bfloat16, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Plan:
    """A fit: its parameters with every "auto" resolved, its seeds, and its held-out rows."""

    est: object
    n_epochs: int
    batch_size: int | None
    patience: int
    seeds: list  # of the module, the order of rows, the held-out rows, the augmentation
    offset: np.ndarray
    scale: np.ndarray
    validation_mask: np.ndarray | None  # (n_samples,) mask
    augment: object
    precision: torch.dtype | None
    labeler: object = None
    relabel: object = None  # the labeler, from tensors to targets
    correction: object = None

    def make_optimizer(self, parameters):
        """Make the optimizer of ``optimizer``, ``learning_rate``, ``weight_decay``."""
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
                options.setdefault("fused", True)  # one pass over the weights for a dozen
        if est.weight_decay:
            options["weight_decay"] = est.weight_decay
        return _made(kind, parameters, options, "optimizer_params")

    def make_schedule(self, optimizer, n_batches):
        """Make the scheduler, and say after what it steps: "step", "epoch" or "score"."""
        est, kind = self.est, self.est.scheduler
        if kind is None:
            return None, None
        schedulers, options, by = torch.optim.lr_scheduler, {}, "epoch"
        if kind == "cosine":
            kind, options = schedulers.CosineAnnealingLR, {"T_max": self.n_epochs}
        elif kind == "step":
            kind, options = schedulers.StepLR, {"step_size": max(1, self.n_epochs // 3)}
        elif kind == "one-cycle":
            by, kind = "step", schedulers.OneCycleLR
            options = {"max_lr": est.learning_rate, "total_steps": self.n_epochs * n_batches}
        elif isinstance(kind, str):
            raise ValueError(
                f"scheduler={kind!r} is not known: use cosine, step, one-cycle, or a class of "
                "torch.optim.lr_scheduler."
            )
        elif inspect.isclass(kind) and issubclass(kind, schedulers.ReduceLROnPlateau):
            by = "score"
        options |= est.scheduler_params or {}
        return _made(kind, optimizer, options, "scheduler_params"), by


def _plain(value):
    """Python's own numbers for NumPy's: torch.load(weights_only=True) refuses the latter."""
    if isinstance(value, np.generic):
        return value.item()
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


def _made(kind, first, options, name):
    try:
        return kind(first, **{key: _plain(value) for key, value in options.items()})
    except TypeError as error:
        raise ValueError(f"{name} does not suit {describe(kind)}: {error}") from error


def _scaling(est, X, weights):
    """Offset and scale of the columns: variance one in each, or in each channel of images."""
    if not est.input_scaling:
        return np.zeros(X.shape[1]), np.ones(X.shape[1])
    offset, scale = fit_scaling(X, weights)
    varies = X.max(axis=0) > X.min(axis=0)
    root = np.sqrt(max(1, varies.sum()))  # which fit_scaling has put into the scale
    spread = np.where(varies, scale / root, 0.0)
    if est.image_shape is not None:
        n_channels = est.image_shape[0]
        means, spreads = (each.reshape(n_channels, -1) for each in (offset, spread))
        variance = (spreads**2).mean(axis=1) + means.var(axis=1)
        size = X.shape[1] // n_channels
        offset, spread = np.repeat([means.mean(axis=1), np.sqrt(variance)], size, axis=1)
    return offset, np.where(spread > 0, spread, 1.0)


def select_validation_rows(est, X, y_encoded, weights, in_full, seed):
    """Mask of the rows to hold out, or None; in full batch they depend on what they are alone."""
    random = np.random.RandomState(seed)
    if not in_full:
        validation_mask = random_rows(y_encoded, est.validation_fraction, random)
        return validation_mask if validation_mask.any() else None
    n_folds = max(2, round(1 / est.validation_fraction))
    fold = content_folds(X, y_encoded, weights, n_folds, random)
    for number in range(0 if fold is None else fold.max() + 1):
        validation_mask = fold == number
        validation_mask &= np.isin(
            y_encoded, y_encoded[~validation_mask]
        )  # a class keeps a row to train on
        if validation_mask.any():
            return validation_mask
    return None


def prepare(est, X, y_encoded, weights, *, partial, resume, seeds, labeler, correction):
    """Resolve a fit: `Plan`."""
    batch_size = est.batch_size
    if batch_size == "auto":  # a call of partial_fit would be a single step in full batch
        batch_size = None if not partial and is_small(X, FULL_BATCH_ROWS) else BATCH_SIZE
    in_full = batch_size is None or batch_size >= len(X)
    n_epochs = FULL_BATCH_EPOCHS if in_full else MINIBATCH_EPOCHS
    if est.max_epochs != "auto":
        n_epochs = int(est.max_epochs)
    patience = est.n_iter_no_change
    if patience == "auto":
        patience = max(10, n_epochs // 10)
    precision = None
    if est.mixed_precision:
        precision = PRECISIONS[est.mixed_precision]
        if resolve_device(est.device).type != "cuda" or X.dtype != np.float32:
            raise ValueError(
                f"mixed_precision={est.mixed_precision!r} needs a CUDA device and float32 rows; "
                f"device={est.device!r} and X is {X.dtype}: set mixed_precision=False, or pass "
                "X.astype('float32') with device='cuda'."
            )
    scaling = (est.input_offset_, est.input_scale_) if resume else _scaling(est, X, weights)
    validation_mask = None
    if est.early_stopping and not partial:
        validation_mask = select_validation_rows(est, X, y_encoded, weights, in_full, seeds[2])
        if validation_mask is None:
            warnings.warn(
                "early_stopping=True has no row to hold out (X has one distinct row, or each "
                f"class one row): training goes on for {n_epochs} epochs. Pass more rows, or set "
                "early_stopping=False.",
                EarlyStoppingWarning,
                stacklevel=6,
            )
    return Plan(
        est=est,
        n_epochs=1 if partial else n_epochs,
        batch_size=None if in_full else batch_size,
        patience=patience,
        seeds=seeds,
        offset=scaling[0],
        scale=scaling[1],
        validation_mask=validation_mask,
        augment=make_augmentation(est.augmentation, est.image_shape),
        precision=precision,
        labeler=labeler,
        correction=correction,
    )


def _problem(plan, X, y_encoded, weights, soft, shape):
    """Rows and targets as tensors: `net.Problem`."""
    est = plan.est
    rows = TrainingTensors(
        TrainingData(X, y_encoded, weights, soft, None, len(est.classes_)),
        dtype=X.dtype,
        device=resolve_device(est.device),
        offset=plan.offset,
        scale=plan.scale,
        intercept=False,
        validation_mask=plan.validation_mask,
    )
    each = rows.targets(rows.data.soft, est.alpha, est.temperature)
    labels, stretches = est.classes_[y_encoded], [(slice(None), each)]
    validation_rows, cap, min_loss = None, None, rows.min_loss("all", each)
    if plan.validation_mask is not None:
        validation_rows = TrainingRows(
            rows.part("held", stretches), shape, labels[plan.validation_mask]
        )
        cap = rows.row_cap("held", each)
        labels = labels[~plan.validation_mask]
    if plan.labeler is not None:
        plan.relabel = _relabel(plan, rows)
    trained = TrainingRows(rows.part("all", stretches), shape, labels)
    if plan.correction is not None:
        part, n_batches = trained.part, len(Batches(trained, plan.batch_size, order=None))
        part.rule = plan.correction.make_rule(part.rule, part.weights, plan.n_epochs, n_batches)
    return Problem(
        rows=trained,
        validation_rows=validation_rows,
        loss=each.loss,
        n_outputs=rows.data.n_outputs,
        classes=est.classes_,
        min_loss=min_loss,
        validation_min_loss=rows.min_loss("held", each),
        row_cap=cap,
    )


def _relabel(plan, rows):
    """Return a function that makes the targets of a batch from its rows as they are now."""
    est, trained = plan.est, np.arange(len(rows))
    if plan.validation_mask is not None:
        trained = np.flatnonzero(~plan.validation_mask)

    def relabel(inputs, batch):
        scaled = inputs.flatten(1).cpu().numpy()
        soft = plan.labeler((scaled * plan.scale + plan.offset).astype(scaled.dtype))
        soft = np.asarray(soft[est.classes_] if hasattr(soft, "columns") else soft)
        if soft.shape != (len(scaled), len(est.classes_)):
            raise ValueError(
                f"labeler must return probabilities of shape {(len(scaled), len(est.classes_))}, "
                f"a column for each of classes_, got {soft.shape}."
            )
        check_probabilities(soft, "what labeler returns")
        index = trained if batch is None else trained[batch.cpu().numpy()]
        return rows.make_targets(
            rows.data.y_encoded[index], soft, est.alpha, est.temperature
        ).values

    return relabel


def _map_arrays(tree, kind, change):
    """Apply a function to the leaves of nested dicts that are of a kind."""
    if isinstance(tree, dict):
        return {key: _map_arrays(value, kind, change) for key, value in tree.items()}
    if isinstance(tree, list | tuple):  # of LBFGS
        return type(tree)(_map_arrays(value, kind, change) for value in tree)
    return change(tree) if isinstance(tree, kind) else tree


def _resume_optimizer(est, net):
    """Bring the optimizer's memory of the last call of `partial_fit` back."""
    before = vars(est).get("_optimizer_state")
    if before is None or before["optimizer"] != describe(est.optimizer):
        return
    state = _map_arrays(before["state"], np.ndarray, lambda a: torch.from_numpy(a.copy()))
    groups = net.optimizer_.state_dict()["param_groups"]  # the parameters as they are now
    net.optimizer_.load_state_dict({"state": state, "param_groups": groups})


def _attributes(est, plan, net):
    """Fitted attributes as the training stands: what callbacks score."""
    state = {name: to_numpy(value) for name, value in net.kept_state().items()}
    return {
        "classes_": est.classes_,
        "input_offset_": plan.offset,
        "input_scale_": plan.scale,
        "module_state_": state,
    }


def _copied(callback):
    """Copy a skorch callback of the user's, as it was before any fit; it may have a name."""
    if isinstance(callback, tuple):
        return callback[0], _copied(callback[1])
    return clone(callback, safe=False)


def fit(
    est,
    X,
    y_encoded,
    weights,
    soft,
    y,
    *,
    partial=False,
    resume=False,
    labeler=None,
    correction=None,
):
    """Train ``est`` on checked data and store the result; see `ModuleClassifier`.

    Parameters
    ----------
    est : ModuleClassifier
        With ``classes_`` set.
    X : ndarray of shape (n_samples, n_features)
    y_encoded : ndarray of int of shape (n_samples,)
        Indices into ``classes_``.
    weights : ndarray of shape (n_samples,)
        Positive.
    soft : ndarray of shape (n_samples, n_classes) or None
    y : ndarray
        Labels, for callbacks.
    partial : bool
        One epoch, nothing held out.
    resume : bool
        Go on from the fitted weights.
    labeler : callable, optional
        Makes the soft targets of a batch from its rows as they are after augmentation, in the
        units of X: (n, n_features) -> (n, n_classes).
    correction : _refinement.Refinement, optional
        Corrects the labels as training goes on.
    """
    device = resolve_device(est.device)
    weights = rescale_weights(weights)
    seeds = _seeds(est, resume)
    checkpoint = before = None
    if est.checkpoint_path is not None and not partial:
        checkpoint = _checkpoint(est, X, y_encoded, weights, soft, labeler)
        before = checkpoint.read()
        seeds = seeds if before is None else before.pop("seeds")
    shape = row_shape(est)
    plan = prepare(
        est,
        X,
        y_encoded,
        weights,
        partial=partial,
        resume=resume,
        seeds=seeds,
        labeler=labeler,
        correction=correction,
    )
    check_budget(3 * X.nbytes, device, ADVICE)
    with own_random_state(seeds[0], device), memory_errors(ADVICE):
        problem = _problem(plan, X, y_encoded, weights, soft, shape)
        module = build(est, problem.rows.X.dtype, device)
        check_outputs(est, module, problem.rows.X)
        if resume:
            load(module, est.module_state_)
        reporter = EpochReporter(est, plan.n_epochs, X, y)
        net = ModuleNet(module, problem, plan, [*map(_copied, est.callbacks or ())], device)
        net.initialize()
        if resume and partial:
            _resume_optimizer(est, net)
        if before is not None:
            net.resume(before)

        n_reported = len(net.losses)
        attributes = functools.partial(_attributes, est, plan, net)

        def on_epoch(net):
            nonlocal n_reported
            before, n_reported = n_reported, len(net.losses)
            if n_reported > before and reporter.is_due(n_reported):
                loss = net.losses[-1] - problem.min_loss
                score = net.scores[-1] - problem.validation_min_loss if net.scores else None
                if reporter.report(n_reported, loss, score, attributes):
                    net.reason = net.reason or "callback"
            if checkpoint is not None and (net.reason or checkpoint.is_due()):
                checkpoint.write({"seeds": seeds, **net.state()})

        n_parameters = sum(each.numel() for each in module.parameters())
        pixels = np.prod(shape[1:], dtype=int)  # where a convolution has each weight to use
        with thread_scope(n_parameters * pixels * (plan.batch_size or len(X))):
            net.train_with(on_epoch)
    if net.interrupt is not None and not net.is_finite():
        raise net.interrupt  # in an epoch that was diverging: there is nothing to keep
    _store(est, plan, net, partial)
    reporter.finish(attributes)
    if net.interrupt is not None:
        raise net.interrupt
    return est


def _seeds(est, resume):
    """Seeds of the module, the order of rows, the held-out rows and the augmentation.

    A fit that goes on from another draws anew, but holds out what was held out.
    """
    seeds = check_random_state(est.random_state).randint(2**31 - 1, size=4)
    if resume:
        again = np.random.RandomState([*seeds, est._n_fits]).randint(2**31 - 1, size=4)
        seeds = np.where([True, True, False, True], again, seeds)
    return seeds.tolist()


def _checkpoint(est, X, y_encoded, weights, soft, labeler):
    params = est.get_params(deep=False)
    if est.scheduler in ("cosine", "one-cycle", "step"):  # which depend on when training ends
        params["scheduler"] = (est.scheduler, est.max_epochs)
    if isinstance(est.augmentation, dict):
        params["augmentation"] = list(est.augmentation.items())  # their order counts
    params["labeler"] = labeler is not None
    data = {"X": X, "y": y_encoded, "sample_weight": weights, "soft_targets": soft}
    return Checkpoint(est.checkpoint_path, params, data)


def _store(est, plan, net, partial):
    problem = net.problem
    vars(est).update(_attributes(est, plan, net))
    est.n_iter_ = len(net.losses)
    est.best_iter_ = net.best_epoch if net.best is not None else est.n_iter_
    est.loss_curve_ = [loss - problem.min_loss for loss in net.losses]
    has_validation = problem.validation_rows is not None
    est.validation_loss_curve_ = (
        [s - problem.validation_min_loss for s in net.scores] if has_validation else None
    )
    est.termination_condition_ = net.reason
    est._n_fits = getattr(est, "_n_fits", 0) + 1
    vars(est).pop("_optimizer_state", None)
    if partial:  # the next call goes on where this one ends
        state = _map_arrays(net.optimizer_.state_dict()["state"], torch.Tensor, to_numpy)
        est._optimizer_state = {"optimizer": describe(est.optimizer), "state": state}
