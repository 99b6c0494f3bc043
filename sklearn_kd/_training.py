"""What TwoLayerPGDClassifier.fit does with checked data: from parameters to `_core` and back.

Any number of fits on the same rows train together, in shared matrix products; one fit is a batch of
one. Apart from the estimator because it imports torch, which an estimator must not at import.
"""

import math
import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from sklearn_kd import _device
from sklearn_kd._base import EpochReporter
from sklearn_kd._batch import Batch, JobRows
from sklearn_kd._core import solvers
from sklearn_kd._settings import TrainingData, optimizer_kind, prepare
from sklearn_kd.exceptions import DivergenceError, EarlyStoppingWarning

__all__ = ["fit", "fit_together"]

#: How often a diverged "auto" fit is tried again, at a quarter of the step size.
RETRIES = 5
CPU = torch.device("cpu")
#: Bytes of the activations of a step that jobs are batched up to: more would leave the cache, less
#: would leave single operations with little to do.
BATCH_BYTES = 2**22
ADVICE = "set a smaller batch_size, width or n_init"
#: Arrays of the size of the activations and of the logits that a step needs, about.
STEP_ARRAYS, LOGIT_ARRAYS = 3, 5


class _Reader:
    """Reads the fitted attributes of one job off the networks of a batch."""

    def __init__(self, batch, number):
        self.batch, self.job = batch, batch.jobs[number]
        self.number, self.scored = number, torch.from_numpy(batch.scored[number])
        rows, each = batch.rows, batch.targets[number]
        self.floor = rows.floor("all", each)
        self.held_floor = self.floor if self.job.fold is not None else rows.floor("held", each)
        self.outcome = None

    def report(self, epoch, outcome, reporter):
        """Tell ``reporter`` of an epoch; True where a callback asks to stop."""
        self.outcome = outcome
        return reporter(
            epoch,
            lambda: float(outcome.losses[-1][self._chosen()]) - self.floor,
            lambda: (
                float(outcome.scores[-1][self._chosen()]) - self.held_floor
                if outcome.scores
                else None
            ),
        )

    def diverged(self):
        """Tell of each restart whether it diverged."""
        return self.outcome.diverged.cpu()[self.scored].numpy()

    def _chosen(self):
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
        neurons = students.neurons(int(self.scored[0]) if self.outcome is None else self._chosen())
        output = _device.to_numpy(students.output[neurons])
        return {
            "classes_": job.est.classes_,
            "input_offset_": job.offset,
            "input_scale_": job.scale,
            "hidden_weights_": _device.to_numpy(students.hidden[neurons]),
            "initial_weights_": _device.to_numpy(students.initial[neurons]),
            "output_weights_": output[:, 0].copy() if output.shape[1] == 1 else output,
        }

    def final_attributes(self, outcome, curves):
        """All fitted attributes; ``curves`` are losses and scores, (epochs, students) or None."""
        self.outcome = outcome
        stored, chosen = self.attributes(), self._chosen()
        n_epochs = outcome.n_epochs[self.number]
        moved = stored["hidden_weights_"] - stored["initial_weights_"]
        stored["distance_from_init_"] = np.linalg.norm(moved, axis=1)
        losses, scores = curves
        curve = [] if losses is None else (losses[:n_epochs, chosen] - self.floor).tolist()
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


def _curves(outcome):
    """Losses and scores as arrays (epochs, students) of float64, or None."""
    return [
        torch.stack(curve).double().cpu().numpy() if curve else None
        for curve in (outcome.losses, outcome.scores)
    ]


def _needed(jobs, data):
    """Bytes that training jobs together takes, about: beside the rows, and for the rows."""
    itemsize = data.X.dtype.itemsize
    n_rows, n_inputs = len(data.X), data.X.shape[1] + bool(jobs[0].est.input_intercept)
    n_neurons = sum(job.n_students * job.est.width for job in jobs)
    n_logits = sum(job.n_students for job in jobs) * _n_outputs(data)
    step_rows = jobs[0].batch_size or n_rows
    # where students leave, those who stay are copied
    numbers = (14 if len(jobs) > 1 else 7) * n_neurons * n_inputs
    numbers += (STEP_ARRAYS * n_neurons + LOGIT_ARRAYS * n_logits) * step_rows
    if jobs[0].fold is not None:  # weights of each row in each network, to train and to score
        numbers += 2 * n_rows * sum(job.n_students for job in jobs)
    return itemsize * numbers, itemsize * 2 * n_rows * n_inputs


def _n_outputs(data):
    return 1 if data.n_classes == 2 else data.n_classes


def _divergence(est, diverged, stacklevel):
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


def _check_held_out(job, soft, stacklevel):
    """Say where early stopping cannot stop; an error where nothing else bounds the loss."""
    est = job.est
    if job.partial or not est.early_stopping or job.fold is not None or job.held is not None:
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
        _device.to_tensor(array.copy(), dtype=est.hidden_weights_.dtype, device=device)
        for array in (est.hidden_weights_, est.initial_weights_, output)
    )
    return solvers.Students([len(hidden)], hidden, output, initial)


def fit(est, X, codes, weights, soft, y, *, partial=False, resume=False):
    """Train ``est`` on checked data and store the result; see `TwoLayerPGDClassifier`.

    Parameters
    ----------
    est : TwoLayerPGDClassifier
        With ``classes_`` set.
    X : ndarray of shape (n_samples, n_features)
    codes : ndarray of int of shape (n_samples,)
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
    """
    device = _device.resolve_device(est.device)
    data = TrainingData(X, codes, weights, soft, y, len(est.classes_))
    job = prepare(est, data, partial=partial, resume=resume)
    _check_held_out(job, soft, stacklevel=5)
    _device.check_budget(sum(_needed([job], data)), device, ADVICE)
    rows = JobRows(data, job, est.hidden_weights_.dtype if resume else X.dtype)
    kind = optimizer_kind(job)
    # one for all attempts: callbacks are set up and torn down once
    reporter = EpochReporter(est, job.n_epochs, lambda: reader.attributes(), X, y)
    for attempt in range(RETRIES + 1):
        batch = Batch(rows, [job], 0.25**attempt, _resumed(est, device) if resume else None)
        before = getattr(est, "_optimizer_state", {})
        if resume and before.get("kind") == kind:
            batch.plan.resume = [
                [_device.to_tensor(array, device=device) for array in state]
                for state in before["states"]
            ]
        reader = _Reader(batch, 0)
        outcome = batch.train(lambda epoch, outcome: reader.report(epoch, outcome, reporter))  # noqa: B023
        reader.outcome = outcome
        interrupted = outcome.interrupt is not None
        if interrupted or not reader.diverged().all() or est.learning_rate != "auto":
            break
    error = None if interrupted else _divergence(est, reader.diverged(), stacklevel=5)
    if error is not None:
        raise error
    vars(est).update(reader.final_attributes(outcome, _curves(outcome)))
    reporter.finish()
    vars(est).pop("_optimizer_state", None)
    if partial:  # the next call goes on where this one ends
        states = [[_device.to_numpy(tensor) for tensor in state] for state in outcome.optimizers]
        est._optimizer_state = {"kind": kind, "states": states}
    if outcome.interrupt is not None:
        raise outcome.interrupt
    return est


@dataclass
class Fitted:
    """What became of one of many fits."""

    error: Exception | None = None  # what a fit alone would have raised
    seconds: float = 0.0  # its share of the training time, by neurons and epochs


def fit_together(
    students,
    X,
    codes,
    weights,
    soft,
    y,
    *,
    share_minibatches=False,
    limit=math.inf,
    on_batch=None,
):
    """Train many estimators on the same data and store the results; see `fit`.

    Each ends with the weights that it would have alone, up to rounding. Those whose minibatches,
    inputs or optimizer differ are trained in turn (`Job.key`).

    Parameters
    ----------
    students : list of TwoLayerPGDClassifier
        With ``classes_`` set, and validated parameters.
    X, codes, weights, soft, y
        As for `fit`, without class weights.
    share_minibatches : bool
        Give all the order of rows and the held-out rows that the first has, whatever their seeds.
    limit : float
        Bytes that the training of a batch may take.
    on_batch : callable, optional
        Called with the number of jobs done, those in the batch that begins, and all.

    Returns
    -------
    list of Fitted
    """
    fits, data_of, groups, first = [Fitted() for _ in students], {}, {}, None
    for number, est in enumerate(students):
        try:
            est._check_values(soft is not None, holds_out=est.early_stopping)
            key = repr(est.class_weight)
            if key not in data_of:
                weighed = est._weigh_classes(codes, weights)
                data_of[key] = TrainingData(X, codes, weighed, soft, y, len(est.classes_))
            job = prepare(est, data_of[key], like=first)
            first = job if share_minibatches and first is None else first
            _check_held_out(job, soft, stacklevel=6)
            needed = sum(_needed([job], data_of[key]))
            _device.check_budget(needed, _device.resolve_device(est.device), ADVICE)
        except Exception as error:  # as a fit alone would: the others go on
            fits[number].error = error
            continue
        # the user's own limit ends it all, before anything is trained
        _device.check_budget(needed, CPU, f"{ADVICE}, or raise max_memory", limit=limit)
        groups.setdefault((key, job.key), []).append((number, job))
    done, total = 0, sum(map(len, groups.values()))
    for (key, _), group in groups.items():
        data, attempt = data_of[key], 0
        rows = JobRows(data, group[0][1], X.dtype)
        while group:
            again = []
            for chunk in _chunks(group, data, rows.device, limit):
                if on_batch is not None:
                    on_batch(done, len(chunk), total)
                try:
                    again += _fit_chunk(chunk, rows, fits, attempt)
                except Exception as error:  # a device out of memory: other batches go on
                    for number, _ in chunk:
                        fits[number].error = fits[number].error or error
                done += len(chunk)
            group, attempt, total = again, attempt + 1, total + len(again)
    return fits


def _chunks(group, data, device, limit):
    """Cut jobs into batches that stay in the cache and within the memory; a job at least each."""
    # equal losses and widths stand together, which share single products
    group = sorted(group, key=lambda entry: (entry[1].loss_key, entry[1].est.width))
    chunk, jobs = [], []
    for number, job in group:
        jobs = [*jobs, job]
        own, shared = _needed(jobs, data)
        free = min(_device.available_bytes(device), limit) - shared
        if chunk and (_step_bytes(jobs, data) > BATCH_BYTES or own > free):
            yield chunk
            chunk, jobs = [], [job]
        chunk.append((number, job))
    if chunk:
        yield chunk


def _step_bytes(jobs, data):
    """Bytes of the activations and logits of a step."""
    numbers = sum(job.n_students * (job.est.width + _n_outputs(data)) for job in jobs)
    return numbers * (jobs[0].batch_size or len(data.X)) * data.X.dtype.itemsize


def _fit_chunk(chunk, rows, fits, attempt):
    """Train one batch and store what came of it; jobs to be tried again."""
    start = time.perf_counter()
    jobs = [job for _, job in chunk]
    batch = Batch(rows, jobs, 0.25**attempt)
    outcome = batch.train()
    if outcome.interrupt is not None:
        raise outcome.interrupt
    curves, again = _curves(outcome), []
    cost = [
        job.n_students * job.est.width * max(n, 1)
        for job, n in zip(jobs, outcome.n_epochs, strict=True)
    ]
    seconds = (time.perf_counter() - start) / sum(cost)
    for place, (number, job) in enumerate(chunk):
        reader = _Reader(batch, place)
        reader.outcome = outcome
        fits[number].seconds += cost[place] * seconds
        diverged = reader.diverged()
        if diverged.all() and job.est.learning_rate == "auto" and attempt < RETRIES:
            again.append((number, job))
            continue
        try:
            fits[number].error = _divergence(job.est, diverged, stacklevel=6)
        except Warning as warning:  # where the user makes errors of them
            fits[number].error = warning
        if fits[number].error is None:
            vars(job.est).update(reader.final_attributes(outcome, curves))
    return again
