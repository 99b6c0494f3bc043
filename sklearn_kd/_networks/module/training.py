"""Train a module with skorch on checked data and store its fitted attributes."""

import functools

import numpy as np
import torch
from sklearn.base import clone

from sklearn_kd._networks.module.build import (
    MAX_CHECKED_ROWS,
    build,
    check_outputs,
    fitted_dtype,
    load,
    memory_errors,
    own_random_state,
    row_shape,
    step_multiplications,
)
from sklearn_kd._networks.module.callback_nets import net_class
from sklearn_kd._networks.module.checkpoint import Checkpoint, describe
from sklearn_kd._networks.module.fit_plan import (
    Seeds,
    draw_seeds,
    resolve_parameters,
    resolve_scheduler,
)
from sklearn_kd._networks.module.net import Batches, Problem, RowsDataset
from sklearn_kd._networks.module.precision import resolve_precision
from sklearn_kd._networks.training_data import TrainingTensors
from sklearn_kd._utils.callbacks import EpochReporter
from sklearn_kd._utils.device import (
    check_budget,
    dtype_name,
    resolve_device,
    thread_scope,
    to_numpy,
    to_tensor,
)
from sklearn_kd._utils.label_indicators import learns_labels
from sklearn_kd._utils.scaling import scale_inputs
from sklearn_kd._utils.validation import check_probabilities, check_unit_interval

#: Steps for which `check` makes a schedule, some of which cannot be made for a single one.
N_CHECKED_STEPS = 100
ADVICE = "set a smaller batch_size or a smaller module, or pass float32 rows"


def fit(est, data, *, partial=False, resume=False, labeler=None, correction=None):
    """Train ``est`` on checked data and store the result; see `ModuleClassifier`.

    Parameters
    ----------
    est : ModuleClassifier or ModuleRegressor
        With ``classes_``, or the units of the targets, set.
    data : TrainingData
        Rows of positive weight.
    partial : bool
        One epoch, without validation rows.
    resume : bool
        Continue from the fitted weights.
    labeler : callable, optional
        Makes the soft targets of a batch from its rows as they are after augmentation, in the
        units of X: (n, n_features) -> (n, n_classes).
    correction : CorrectionSpec, optional
        Corrects the labels as training goes on.

    Returns
    -------
    est : ModuleClassifier or ModuleRegressor
    """
    device, seeds = resolve_device(est.device), draw_seeds(est, resume)
    checkpoint = state = None
    if est.checkpoint_path is not None and not partial:
        checkpoint = _make_checkpoint(est, data, labeler)
        state = checkpoint.read()
        seeds = seeds if state is None else Seeds(*state.pop("seeds"))
    shape = row_shape(est, data.X.shape[1])
    plan = resolve_parameters(est, data, seeds, partial=partial, resume=resume)
    n_rows = len(data.X) + data.validation.n_rows
    check_budget(3 * n_rows * data.X[0].nbytes, device, ADVICE)
    with own_random_state(seeds.module, device), memory_errors(ADVICE):
        dtype = fitted_dtype(est) if resume else data.X.dtype
        problem = _make_problem(plan, data, dtype, shape, labeler, correction)
        module = build(est, shape, problem.rows.X.dtype, device)
        check_outputs(est, module, problem.rows.X, warns=not resume)
        precision = resolve_precision(est, module, problem.rows.X.dtype, device)
        if resume:
            load(module, est.module_state_)
        reporter = EpochReporter(est, plan.n_epochs, data.X_given, data.y)
        callbacks = [*map(_copy_callback, est.callbacks or ())]
        net = net_class(est)(module, problem, plan, precision, callbacks, device)
        attributes = functools.partial(_attributes, est, plan, net)
        net.initialize()
        if resume and partial:
            _resume_optimizer(est, net)
        if state is not None:
            net.resume(state)
        with thread_scope(step_multiplications(module, shape, plan.batch_size or len(data.X))):
            net.train_with(_make_epoch_hook(net, reporter, checkpoint, attributes))
    if net.interrupt is not None and not net.is_finite():
        raise net.interrupt  # training was diverging: there is nothing to keep
    _store(est, plan, net, partial=partial, resume=resume)
    reporter.finish(attributes)
    if net.interrupt is not None:
        raise net.interrupt
    return est


def check(est, data):
    """Raise the errors that a fit on checked data would begin with, and warn of probabilities."""
    device, shape = resolve_device(est.device), row_shape(est, data.X.shape[1])
    seeds = Seeds(0, 0, 0, 0)
    # partial, since the validation rows are chosen in the fit
    plan = resolve_parameters(est, data, seeds, partial=True, resume=False)
    with own_random_state(seeds.module, device), memory_errors(ADVICE):
        first = scale_inputs(data.X[:MAX_CHECKED_ROWS], plan.offset, plan.scale, intercept=False)
        rows = to_tensor(first).to(device).view(-1, *shape)
        module = build(est, shape, rows.dtype, device)
        check_outputs(est, module, rows, warns=True)
        resolve_precision(est, module, rows.dtype, device)
        plan.make_schedule(plan.make_optimizer(module.parameters()), n_batches=N_CHECKED_STEPS)


def _make_epoch_hook(net, reporter, checkpoint, attributes):
    """Return a function for the end of each epoch, which reports it and writes checkpoints."""
    n_reported = len(net.losses)

    def on_epoch(net):
        nonlocal n_reported
        before, n_reported = n_reported, len(net.losses)
        if n_reported > before and reporter.is_due(n_reported):
            loss = net.losses[-1] - net.problem.min_loss
            score = net.scores[-1] - net.problem.validation_min_loss if net.scores else None
            if reporter.report(n_reported, loss, score, attributes):
                net.reason = net.reason or "callback"
        if checkpoint is not None and (net.reason or checkpoint.is_due()):
            checkpoint.write({"seeds": list(net.plan.seeds), **net.state()})

    return on_epoch


def _make_checkpoint(est, data, labeler):
    params = est.get_params(deep=False)
    params["scheduler"] = scheduler = resolve_scheduler(est, data)
    if scheduler in ("cosine", "one-cycle", "step"):  # which depend on when training ends
        params["scheduler"] = (scheduler, est.max_epochs)
    if isinstance(est.augmentation, dict):
        params["augmentation"] = list(est.augmentation.items())  # their order counts
    params["labeler"] = labeler is not None
    arrays = {
        "X": data.X,
        "y": data.y_encoded,
        "sample_weight": data.weights,
        "soft_targets": data.soft,
    }
    given = data.validation
    optional = {
        "groups": given.group,
        "X_val": given.X,
        "y_val": given.y_encoded,
        "sample_weight_val": given.weights,
    }
    arrays |= {name: array for name, array in optional.items() if array is not None}
    return Checkpoint(est.checkpoint_path, params, arrays)


def _make_problem(plan, data, dtype, shape, labeler, correction):
    """Return the `Problem` of a fit: rows and targets as tensors, and losses."""
    est = plan.est
    tensors = TrainingTensors(
        data,
        dtype=dtype,
        device=resolve_device(est.device),
        scaling={"offset": plan.offset, "scale": plan.scale, "intercept": False},
        validation_mask=plan.validation_mask,
        uses_validation_rows=plan.uses_validation_rows,
    )
    temperature = getattr(est, "temperature", 1.0)  # numbers have none
    targets = tensors.targets(data.soft, est.alpha, temperature)
    labels, segments = est._targets_as_given(data.y_encoded), [(slice(None), targets)]
    validation_rows = row_cap = validation_labels = relabel = None
    if plan.uses_validation_rows:
        validation_labels = est._targets_as_given(data.validation.y_encoded)
    elif plan.validation_mask is not None:
        validation_labels, labels = labels[plan.validation_mask], labels[~plan.validation_mask]
    if validation_labels is not None:
        part = tensors.part("validation", segments)
        validation_rows = RowsDataset(part, shape, validation_labels)
        row_cap = tensors.row_cap("validation", targets)
    if labeler is not None:
        relabel = _make_relabel(plan, tensors, labeler)
    rows = RowsDataset(tensors.part("training", segments), shape, labels)
    if correction is not None:
        part, n_batches = rows.part, len(Batches(rows, plan.batch_size, order=None))
        part.rule = correction.make_rule(part.rule, part.weights, plan.n_epochs, n_batches)
    return Problem(
        rows=rows,
        validation_rows=validation_rows,
        loss=targets.loss,
        validation_loss=(tensors.hard_targets or targets).loss,
        n_outputs=data.n_outputs,
        min_loss=tensors.min_loss("training", targets),
        validation_min_loss=tensors.min_loss("validation", targets),
        row_cap=row_cap,
        relabel=relabel,
    )


def _make_relabel(plan, tensors, labeler):
    """Return a function that makes the targets of a batch from its augmented rows."""
    est, trained = plan.est, np.arange(len(tensors))
    if plan.validation_mask is not None:
        trained = np.flatnonzero(~plan.validation_mask)

    def relabel(inputs, batch):
        scaled = inputs.flatten(1).cpu().numpy()
        soft = labeler((scaled * plan.scale + plan.offset).astype(scaled.dtype))
        soft = np.asarray(soft[est.classes_] if hasattr(soft, "columns") else soft)
        if soft.shape != (len(scaled), len(est.classes_)):
            raise ValueError(
                f"labeler must return probabilities of shape {(len(scaled), len(est.classes_))}, "
                f"a column for each of classes_, got {soft.shape}."
            )
        check = check_unit_interval if learns_labels(est) else check_probabilities
        check(soft, "what labeler returns")
        index = trained if batch is None else trained[batch.cpu().numpy()]
        y_encoded = tensors.data.y_encoded[index]
        return tensors.make_targets(y_encoded, soft, est.alpha, est.temperature).values

    return relabel


def _map_arrays(tree, kind, change):
    """Apply a function to the leaves of nested dicts and lists that are of a kind."""
    if isinstance(tree, dict):
        return {key: _map_arrays(value, kind, change) for key, value in tree.items()}
    if isinstance(tree, list | tuple):  # of LBFGS
        return type(tree)(_map_arrays(value, kind, change) for value in tree)
    return change(tree) if isinstance(tree, kind) else tree


def _resume_optimizer(est, net):
    """Restore the state that the optimizer had after the last call of `partial_fit`."""
    before = vars(est).get("_optimizer_state")
    if before is None or before["optimizer"] != describe(est.optimizer):
        return
    state = _map_arrays(before["state"], np.ndarray, lambda a: torch.from_numpy(a.copy()))
    groups = net.optimizer_.state_dict()["param_groups"]  # the parameters as they are now
    net.optimizer_.load_state_dict({"state": state, "param_groups": groups})


def _attributes(est, plan, net):
    """Return the fitted attributes at this point of training, for callbacks that score."""
    state = {name: to_numpy(value) for name, value in net.kept_state().items()}
    return {
        **{name: vars(est)[name] for name in est._target_attributes},
        "input_offset_": plan.offset,
        "input_scale_": plan.scale,
        "module_state_": state,
    }


def _copy_callback(callback):
    """Copy a callback of skorch, or a pair of its name and itself, as it was before any fit."""
    if isinstance(callback, tuple):
        return callback[0], _copy_callback(callback[1])
    return clone(callback, safe=False)


def _store(est, plan, net, *, partial, resume):
    """Store the fitted attributes, and the state of the optimizer for `partial_fit`."""
    problem = net.problem
    vars(est).update(_attributes(est, plan, net))
    est.n_iter_ = len(net.losses)
    est.best_iter_ = net.best_epoch if net.best_state is not None else est.n_iter_
    est.loss_curve_ = [loss - problem.min_loss for loss in net.losses]
    has_validation = problem.validation_rows is not None
    est.validation_loss_curve_ = (
        [s - problem.validation_min_loss for s in net.scores] if has_validation else None
    )
    est.termination_condition_ = net.reason
    est.precision_ = dtype_name(net.precision)
    est._n_fits = est._n_fits + 1 if resume else 1
    vars(est).pop("_optimizer_state", None)
    if partial:  # the next call continues from here
        state = _map_arrays(net.optimizer_.state_dict()["state"], torch.Tensor, to_numpy)
        est._optimizer_state = {"optimizer": describe(est.optimizer), "state": state}
