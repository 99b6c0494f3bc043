"""Train a two-layer network on checked data and store its fitted attributes.

One fit is a stack of one, while `joint_training` trains many side by side. This module imports
torch, which the module of the estimator must not do at import.
"""

import math

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from sklearn_kd._core.network import problem
from sklearn_kd._networks.resolve import warn_of_no_row_to_hold_out
from sklearn_kd._networks.training_data import TrainingTensors, are_read_lazily
from sklearn_kd._networks.two_layer.fit_plan import optimizer_kind, resolve_parameters
from sklearn_kd._networks.two_layer.members import signs_of_columns, signs_of_inputs
from sklearn_kd._networks.two_layer.stacked import StackedNetworks
from sklearn_kd._tables.encoded_rows import EncodedRows
from sklearn_kd._utils.callbacks import EpochReporter
from sklearn_kd._utils.device import check_budget, resolve_device, to_numpy, to_tensor
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import DivergenceError

#: What to do where memory does not suffice.
MEMORY_ADVICE = "set a smaller batch_size, width or n_init"
#: Approximate number of arrays of the size of the activations and of the logits in a step.
ACTIVATION_ARRAYS, LOGIT_ARRAYS = 3, 5
#: Number of arrays of the size of the weights in a training, without and with copies of networks.
WEIGHT_ARRAYS, WEIGHT_ARRAYS_WITH_COPIES = 7, 14


class FittedNetworkReader:
    """Reads the fitted attributes of one fit from stacked networks.

    Parameters
    ----------
    stack : StackedNetworks
    index : int
        Index of the fit among those of the stack.
    result : TrainingResult
        That of the training, which may still go on.
    """

    def __init__(self, stack, index, result):
        self.stack, self.index, self.result = stack, index, result
        self.plan, self.scored = stack.plans[index], to_tensor(stack.scored[index])
        rows, loss_targets = stack.rows, stack.targets[index]
        self.min_loss = rows.min_loss("training", loss_targets)
        held_part = "validation" if self.plan.fold is None else "training"
        self.validation_min_loss = rows.min_loss(held_part, loss_targets)

    def current_losses(self):
        """Return the training loss and held-out loss (or None) of the best network so far."""
        chosen, scores = self.chosen(), self.result.scores
        loss = float(self.result.losses[-1][chosen]) - self.min_loss
        return loss, float(scores[-1][chosen]) - self.validation_min_loss if scores else None

    def diverged(self):
        """Return of each restart whether it diverged, (restarts,)."""
        return self.result.diverged.cpu()[self.scored].numpy()

    def chosen(self):
        """Return the index, among the students, of the best network so far."""
        result, scored = self.result, self.scored.to(self.result.diverged.device)
        if result.scores:
            quality = result.best_score[scored]
        elif result.losses:
            last = result.n_epochs[self.index] or len(result.losses)
            quality = result.losses[last - 1][scored].double()
        else:  # before the first step has ended
            return int(scored[0])
        quality = torch.where(result.diverged[scored], torch.inf, quality)
        return int(scored[int(quality.nan_to_num(torch.inf).argmin())])

    def attributes(self):
        """Return the fitted attributes so far that predictions need."""
        plan, students = self.plan, self.stack.students
        chosen = self.chosen()
        neurons = students.neurons(chosen)
        output, of_members = to_numpy(students.output[neurons]), {}
        if students.signs is not None:
            output = output.reshape(len(output), plan.n_members, -1).transpose(1, 0, 2)
            signs = to_numpy(students.signs[chosen])
            n_features = plan.est.n_features_in_
            of_members["input_signs_"] = signs_of_columns(signs, plan.column_of, n_features)
        return {
            **{name: vars(plan.est)[name] for name in plan.est._target_attributes},
            "input_offset_": plan.offset,
            "input_scale_": plan.scale,
            "hidden_weights_": to_numpy(students.hidden[neurons]),
            "initial_weights_": to_numpy(students.initial[neurons]),
            "output_weights_": output[..., 0].copy() if output.shape[-1] == 1 else output.copy(),
            **of_members,
        }

    def final_attributes(self, curves):
        """Return all fitted attributes.

        Parameters
        ----------
        curves : pair of (ndarray of shape (epochs, students) or None)
            Losses and scores, see `curves_of`.
        """
        result, chosen = self.result, self.chosen()
        stored = self.attributes()
        n_epochs = result.n_epochs[self.index]
        moved = stored["hidden_weights_"] - stored["initial_weights_"]
        stored["distance_from_init_"] = _row_norms(moved)
        losses, scores = curves
        curve = [] if losses is None else (losses[:n_epochs, chosen] - self.min_loss).tolist()
        held_curve = None
        if scores is not None:
            held_curve = (scores[:n_epochs, chosen] - self.validation_min_loss).tolist()
        is_scored = bool(held_curve) and bool(torch.isfinite(result.best_score[chosen]))
        stored["n_iter_"] = len(curve)
        stored["best_iter_"] = int(result.best_epoch[chosen]) if is_scored else len(curve)
        stored["loss_curve_"] = curve
        stored["validation_loss_curve_"] = held_curve
        stored["average_loss_"] = float(np.mean(curve)) if curve else math.nan
        stored["termination_condition_"] = result.reasons[self.index]
        return stored


def _row_norms(rows):
    """Return the norm of each row, the largest float where it is greater."""
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(rows, axis=1)
    if np.isfinite(norms).all():
        return norms
    largest = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1.0)
    with np.errstate(over="ignore"):
        norms = largest[:, 0] * np.linalg.norm(rows / largest, axis=1)
    return np.minimum(norms, np.finfo(rows.dtype).max)


def curves_of(result):
    """Return losses and scores as arrays (epochs, students) of float64, or None."""
    return [
        torch.stack(curve).double().cpu().numpy() if curve else None
        for curve in (result.losses, result.scores)
    ]


def needed_bytes(plans, data, *, copies=False):
    """Return the approximate bytes that fits side by side need.

    Parameters
    ----------
    plans : list of FitPlan
    data : TrainingData
    copies : bool
        Whether the weights are copied where training pauses.

    Returns
    -------
    own, shared : int
        Bytes for the networks, and for the rows that they share.
    """
    itemsize = data.X.dtype.itemsize
    n_rows, n_inputs = len(data.X), data.X.shape[1] + bool(plans[0].est.input_intercept)
    n_networks = sum(plan.n_students for plan in plans)
    n_members = plans[0].n_members
    n_neurons = sum(plan.n_students * plan.est.width for plan in plans)
    step_rows = plans[0].batch_size or n_rows
    # when fits end, the networks of the others are copied
    n_arrays = WEIGHT_ARRAYS_WITH_COPIES if copies or len(plans) > 1 else WEIGHT_ARRAYS
    if n_members > 1:  # and of the weights of members, one has the values, another the gradient
        n_arrays += 2 * n_members
    numbers = n_arrays * n_neurons * n_inputs
    n_logits = n_networks * data.n_outputs
    numbers += (ACTIVATION_ARRAYS * n_neurons + LOGIT_ARRAYS * n_logits) * n_members * step_rows
    if plans[0].fold is not None:  # weights of each row in each network, to train and to score
        numbers += 2 * n_rows * n_networks
    n_arrays = 1 if isinstance(data.X, EncodedRows) else 2
    n_arrays -= are_read_lazily(data.X, plans[0].batch_size, resolve_device(plans[0].est.device))
    shared = itemsize * n_inputs * (n_arrays * n_rows + 2 * data.validation.n_rows)
    return itemsize * numbers, shared


def divergence_error(est, diverged):
    """Return an error if all restarts diverged, and warn if some did.

    Parameters
    ----------
    est : TwoLayerPGDClassifier or TwoLayerPGDRegressor
    diverged : ndarray of bool of shape (restarts,)

    Returns
    -------
    DivergenceError or None
    """
    if est.learning_rate == "auto":
        advice = "set a number such as 0.01, and look for an extreme temperature or extreme weights"
    else:
        advice = "choose a smaller one, or learning_rate='auto'"
    if not est.input_scaling:
        advice += ", or set input_scaling=True"
    text = f"{diverged.sum()} of {len(diverged)} networks diverged at learning_rate="
    text += f"{est.learning_rate!r}"
    if diverged.all():
        return DivergenceError(f"{text}: {advice}.")
    if diverged.any():
        warn_caller(f"{text} and were left out: {advice}.", ConvergenceWarning)
    return None


def check_held_out_rows(plan, soft):
    """Warn if early stopping has no row to hold out.

    Raises
    ------
    ValueError
        If nothing else bounds the loss, because alpha is above one and there is no radius.
    """
    est = plan.est
    has_rows = plan.fold is not None or plan.validation_mask is not None
    if not plan.stops_early or has_rows or plan.uses_validation_rows:
        return
    if soft is not None and plan.is_unbounded:
        raise ValueError(
            f"alpha={est.alpha} is above 1, where the loss has no least value, and early stopping "
            "has no row to hold out: set a finite radius, or pass more rows."
        )
    warn_of_no_row_to_hold_out(est, plan.n_epochs, "each class one row in minibatches")


def fit(est, rows, *, partial=False, resume=False, correction=None):
    """Train ``est`` on checked data and store the result; see `TwoLayerPGDClassifier`.

    Parameters
    ----------
    est : TwoLayerPGDClassifier or TwoLayerPGDRegressor
        With ``classes_``, or the units of the targets, set.
    rows : CheckedRows
    partial : bool
        One epoch, nothing held out.
    resume : bool
        Continue from the fitted weights.
    correction : CorrectionSpec, optional
        Corrects the labels during training.
    """
    device = resolve_device(est.device)
    X, soft = rows.X, rows.soft
    data = rows.training_data(est, rows.weights, soft)
    plan = resolve_parameters(est, data, partial=partial, resume=resume)
    check_held_out_rows(plan, soft)
    needed = sum(needed_bytes([plan], data))
    if correction is not None:
        sizes = plan.n_students, len(X), data.n_outputs, X.dtype.itemsize
        needed += correction.needed_bytes(*sizes)
    check_budget(needed, device, MEMORY_ADVICE)
    dtype = est.hidden_weights_.dtype if resume else X.dtype
    tensors = TrainingTensors.from_plan(data, plan, dtype)
    if plan.n_members == 1:  # of an earlier fit, which a callback that predicts must not meet
        vars(est).pop("input_signs_", None)
    # one for all attempts, since callbacks are set up and torn down once
    reporter = EpochReporter(est, plan.n_epochs, data.X_given, rows.y)
    while True:
        resumed = _fitted_students(est, plan, device) if resume else None
        stack = StackedNetworks(tensors, [plan], resumed, correction)
        if resume:
            stack.config.resume = _optimizer_states(est, plan, device)
        reader = _train(stack, reporter)
        interrupt = reader.result.interrupt
        if interrupt is not None or not (reader.diverged().all() and plan.can_shrink):
            break
        plan = plan.shrunk()
    error = None if interrupt is not None else divergence_error(est, reader.diverged())
    if error is not None:
        raise error
    vars(est).update(reader.final_attributes(curves_of(reader.result)))
    if correction is not None:
        correction.student = reader.chosen()
    reporter.finish(reader.attributes)
    vars(est).pop("_optimizer_state", None)
    if partial:  # the next call continues where this one ends
        states = [[to_numpy(tensor) for tensor in state] for state in reader.result.optimizers]
        est._optimizer_state = {"kind": optimizer_kind(plan), "states": states}
    if interrupt is not None:
        raise interrupt
    return est


def _train(stack, reporter):
    """Train networks of one fit, report each block of epochs, and return their reader."""
    training = stack.start_training()
    reader = FittedNetworkReader(stack, 0, training.result)
    with stack.threads(), training.interruptible():
        for epoch in training.epochs():
            if reporter.is_due(epoch) and reporter.report(
                epoch, *reader.current_losses(), reader.attributes
            ):
                training.stop()
    return reader


def _fitted_students(est, plan, device):
    """Return the fitted network as tensors."""
    output, dtype = est.output_weights_, est.hidden_weights_.dtype
    if plan.n_members > 1:
        output = np.moveaxis(output, 0, 1)
    output = output.reshape(len(est.hidden_weights_), -1)
    hidden, initial, output = (
        to_tensor(array.copy(), dtype=dtype, device=device)
        for array in (est.hidden_weights_, est.initial_weights_, output)
    )
    signs = None
    if plan.n_members > 1:
        signs = signs_of_inputs(est.input_signs_, plan.column_of)
        signs = to_tensor(signs[None], dtype=dtype, device=device)
    return problem.Students([len(hidden)], hidden, output, initial, signs)


def _optimizer_states(est, plan, device):
    """Return the optimizer states of the last `partial_fit`, or None for another optimizer."""
    last = getattr(est, "_optimizer_state", {})
    if last.get("kind") != optimizer_kind(plan):
        return None
    return [[to_tensor(array, device=device) for array in state] for state in last["states"]]
