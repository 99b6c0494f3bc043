"""Train a TwoLayerPGDClassifier on checked data and store its fitted attributes.

One fit is a batch of one, `joint_training` trains many. This module imports torch, which the module
of the estimator must not do at import.
"""

import math
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from sklearn_kd._core.network import problem
from sklearn_kd._networks.training_data import TrainingData, TrainingTensors
from sklearn_kd._networks.two_layer.fit_plan import optimizer_kind, resolve_parameters
from sklearn_kd._networks.two_layer.stacked import StackedNetworks
from sklearn_kd._utils.callbacks import EpochReporter
from sklearn_kd._utils.device import check_budget, resolve_device, to_numpy, to_tensor
from sklearn_kd.exceptions import DivergenceError, EarlyStoppingWarning

__all__ = [
    "ADVICE",
    "FittedNetworkReader",
    "check_held_out",
    "curves_of",
    "divergence",
    "fit",
    "needed_bytes",
]


ADVICE = "set a smaller batch_size, width or n_init"
#: Arrays of the size of the activations and of the logits that a step needs, about.
STEP_ARRAYS, LOGIT_ARRAYS = 3, 5


class FittedNetworkReader:
    """Reads the fitted attributes of one job off the networks of a batch."""

    def __init__(self, batch, number):
        self.batch, self.job = batch, batch.jobs[number]
        self.number, self.scored = number, torch.from_numpy(batch.scored[number])
        rows, each = batch.rows, batch.targets[number]
        self.min_loss = rows.min_loss("all", each)
        self.held_floor = (
            self.min_loss if self.job.fold is not None else rows.min_loss("held", each)
        )
        self.outcome = None

    def report(self, epoch, outcome, reporter):
        """Tell ``reporter`` of an epoch; True where a callback asks to stop."""
        self.outcome = outcome
        return reporter(
            epoch,
            lambda: float(outcome.losses[-1][self.chosen()]) - self.min_loss,
            lambda: (
                float(outcome.scores[-1][self.chosen()]) - self.held_floor
                if outcome.scores
                else None
            ),
        )

    def diverged(self):
        """Tell of each restart whether it diverged."""
        return self.outcome.diverged.cpu()[self.scored].numpy()

    def chosen(self):
        """Index, among the students, of the best network so far."""
        outcome, scored = self.outcome, self.scored.to(self.outcome.diverged.device)
        if outcome.scores:
            quality = outcome.best_score[scored]
        elif outcome.losses:
            last = outcome.n_epochs[self.number] or len(outcome.losses)
            quality = outcome.losses[last - 1][scored].double()
        else:  # interrupted before the first step
            return int(scored[0])
        quality = torch.where(outcome.diverged[scored], torch.inf, quality)
        return int(scored[int(quality.nan_to_num(torch.inf).argmin())])

    def attributes(self):
        """Fitted attributes as the networks stand: what callbacks score, and what fit stores."""
        job, students = self.job, self.batch.students
        neurons = students.neurons(int(self.scored[0]) if self.outcome is None else self.chosen())
        output = to_numpy(students.output[neurons])
        return {
            "classes_": job.est.classes_,
            "input_offset_": job.offset,
            "input_scale_": job.scale,
            "hidden_weights_": to_numpy(students.hidden[neurons]),
            "initial_weights_": to_numpy(students.initial[neurons]),
            "output_weights_": output[:, 0].copy() if output.shape[1] == 1 else output,
        }

    def final_attributes(self, outcome, curves):
        """All fitted attributes; ``curves`` are losses and scores, (epochs, students) or None."""
        self.outcome = outcome
        stored, chosen = self.attributes(), self.chosen()
        n_epochs = outcome.n_epochs[self.number]
        moved = stored["hidden_weights_"] - stored["initial_weights_"]
        stored["distance_from_init_"] = np.linalg.norm(moved, axis=1)
        losses, scores = curves
        curve = [] if losses is None else (losses[:n_epochs, chosen] - self.min_loss).tolist()
        held_curve = None
        if scores is not None:
            held_curve = (scores[:n_epochs, chosen] - self.held_floor).tolist()
        is_scored = bool(held_curve) and bool(torch.isfinite(outcome.best_score[chosen]))
        stored["n_iter_"] = len(curve)
        stored["best_iter_"] = int(outcome.best_epoch[chosen]) if is_scored else len(curve)
        stored["loss_curve_"] = curve
        stored["validation_loss_curve_"] = held_curve
        stored["average_loss_"] = float(np.mean(curve)) if curve else math.nan
        stored["termination_condition_"] = outcome.reasons[self.number]
        return stored


def curves_of(outcome):
    """Losses and scores as arrays (epochs, students) of float64, or None."""
    return [
        torch.stack(curve).double().cpu().numpy() if curve else None
        for curve in (outcome.losses, outcome.scores)
    ]


def needed_bytes(jobs, data, *, copies=False):
    """Bytes that training jobs together takes, about: beside the rows, and for the rows.

    ``copies`` says that the weights are copied where it pauses.
    """
    itemsize = data.X.dtype.itemsize
    n_rows, n_inputs = len(data.X), data.X.shape[1] + bool(jobs[0].est.input_intercept)
    n_neurons = sum(job.n_students * job.est.width for job in jobs)
    n_logits = sum(job.n_students for job in jobs) * data.n_outputs
    step_rows = jobs[0].batch_size or n_rows
    # where students leave, those who stay are copied
    numbers = (14 if copies or len(jobs) > 1 else 7) * n_neurons * n_inputs
    numbers += (STEP_ARRAYS * n_neurons + LOGIT_ARRAYS * n_logits) * step_rows
    if jobs[0].fold is not None:  # weights of each row in each network, to train and to score
        numbers += 2 * n_rows * sum(job.n_students for job in jobs)
    return itemsize * numbers, itemsize * 2 * n_rows * n_inputs


def divergence(est, diverged, stacklevel):
    """Return an error where all networks diverged, warn where some did."""
    if est.learning_rate == "auto":
        advice = "set a number (0.01, say), and look for a temperature or weights out of proportion"
    else:
        advice = "choose a smaller one, or learning_rate='auto'"
    if not est.input_scaling:
        advice += ", or set input_scaling=True"
    text = f"{diverged.sum()} of {len(diverged)} networks diverged at learning_rate="
    text += f"{est.learning_rate!r}"
    if diverged.all():
        return DivergenceError(f"{text}: {advice}.")
    if diverged.any():
        text = f"{text} and were left out: {advice}."
        warnings.warn(text, ConvergenceWarning, stacklevel=stacklevel)
    return None


def check_held_out(job, soft, stacklevel):
    """Say where early stopping cannot stop; an error where nothing else bounds the loss."""
    est = job.est
    if (
        job.partial
        or not est.early_stopping
        or job.fold is not None
        or job.validation_mask is not None
    ):
        return
    if soft is not None and est.alpha > 1 and est.radius is None:
        raise ValueError(
            f"alpha={est.alpha} is above 1, where the loss has no least value, and early stopping "
            "has no row to hold out: set a finite radius, or pass more rows."
        )
    warnings.warn(
        "early_stopping=True has no row to hold out (X has one distinct row, or each class one "
        f"row in minibatches): training goes on for {job.n_epochs} epochs. Pass more rows, "
        "or set early_stopping=False.",
        EarlyStoppingWarning,
        stacklevel=stacklevel,
    )


def _resumed(est, device):
    """Bring back the fitted network, to go on from."""
    output = est.output_weights_.reshape(len(est.hidden_weights_), -1)
    hidden, initial, output = (
        to_tensor(array.copy(), dtype=est.hidden_weights_.dtype, device=device)
        for array in (est.hidden_weights_, est.initial_weights_, output)
    )
    return problem.Students([len(hidden)], hidden, output, initial)


def fit(est, X, y_encoded, weights, soft, y, *, partial=False, resume=False, correction=None):
    """Train ``est`` on checked data and store the result; see `TwoLayerPGDClassifier`.

    Parameters
    ----------
    est : TwoLayerPGDClassifier
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
    correction : _refinement.Refinement, optional
        Corrects the labels as training goes on.
    """
    device = resolve_device(est.device)
    data = TrainingData(X, y_encoded, weights, soft, y, len(est.classes_))
    job = resolve_parameters(est, data, partial=partial, resume=resume)
    check_held_out(job, soft, stacklevel=5)
    needed = sum(needed_bytes([job], data))
    if correction is not None:
        sizes = job.n_students, len(X), data.n_outputs, X.dtype.itemsize
        needed += correction.needed_bytes(*sizes)
    check_budget(needed, device, ADVICE)
    rows = TrainingTensors.of_job(data, job, est.hidden_weights_.dtype if resume else X.dtype)
    kind = optimizer_kind(job)
    # one for all attempts: callbacks are set up and torn down once
    reporter = EpochReporter(est, job.n_epochs, lambda: reader.attributes(), X, y)
    while True:
        batch = StackedNetworks(rows, [job], _resumed(est, device) if resume else None, correction)
        before = getattr(est, "_optimizer_state", {})
        if resume and before.get("kind") == kind:
            batch.plan.resume = [
                [to_tensor(array, device=device) for array in state] for state in before["states"]
            ]
        reader = FittedNetworkReader(batch, 0)
        outcome = batch.train(lambda epoch, outcome: reader.report(epoch, outcome, reporter))  # noqa: B023
        reader.outcome = outcome
        interrupted = outcome.interrupt is not None
        if interrupted or not (reader.diverged().all() and job.can_shrink):
            break
        job = job.shrunk()
    error = None if interrupted else divergence(est, reader.diverged(), stacklevel=5)
    if error is not None:
        raise error
    vars(est).update(reader.final_attributes(outcome, curves_of(outcome)))
    if correction is not None:
        correction.student = reader.chosen()
    reporter.finish()
    vars(est).pop("_optimizer_state", None)
    if partial:  # the next call goes on where this one ends
        states = [[to_numpy(tensor) for tensor in state] for state in outcome.optimizers]
        est._optimizer_state = {"kind": kind, "states": states}
    if outcome.interrupt is not None:
        raise outcome.interrupt
    return est
