"""Many fits of TwoLayerPGDClassifier on the same rows, in shared matrix products; for searches."""

import math
import time
import traceback
from dataclasses import dataclass, field

import torch

from sklearn_kd._networks.input_checks import weigh_classes
from sklearn_kd._networks.training_data import TrainingData, TrainingTensors
from sklearn_kd._networks.two_layer.fit_plan import resolve_parameters
from sklearn_kd._networks.two_layer.stacked import StackedNetworks
from sklearn_kd._networks.two_layer.training import (
    ADVICE,
    FittedNetworkReader,
    check_held_out,
    curves_of,
    divergence,
    needed_bytes,
)
from sklearn_kd._utils.device import available_bytes, check_budget, resolve_device

__all__ = ["FitOutcome", "JointTraining"]


CPU = torch.device("cpu")
#: Bytes of the activations of a step that jobs are batched up to: more would leave the cache, less
#: would leave single operations with little to do.
BATCH_BYTES = 2**22


@dataclass
class FitOutcome:
    """What became of one of many fits."""

    error: Exception | None = None  # what a fit alone would have raised
    seconds: float = 0.0  # its share of the training time, by neurons and epochs


@dataclass
class _Group:
    """Jobs that can share inputs and minibatches (`FitPlan.key`)."""

    data: TrainingData
    fresh: list = field(default_factory=list)  # (number, job), not begun
    rows: TrainingTensors | None = None  # kept while chunks are paused
    chunks: list = field(default_factory=list)  # that are paused


class JointTraining:
    """Fits of many estimators on the same data, which store their results; see `training.fit`.

    Each ends with the weights that it would have alone, up to rounding. Those whose minibatches,
    inputs or optimizer differ are trained in turn (`FitPlan.key`).

    Parameters
    ----------
    students : list of TwoLayerPGDClassifier
        With ``classes_`` set, and validated parameters.
    X, y_encoded, weights, soft, y
        As for `training.fit`, without class weights; ``soft`` may be a list of soft labels, those
        of each student.
    share_minibatches : bool
        Give all the order of rows and the held-out rows that the first has, whatever their seeds.
    limit : float
        Bytes that training may take.
    on_batch : callable, optional
        Called with the number of jobs done, those in the batch that begins, and all.
    effort : float
        Share of its epochs that the schedule of each fit is squeezed into.
    n_paused : int
        How many such objects wait at the same time for `advance` to be called again; each keeps
        all its networks. 0: it is called once.

    Attributes
    ----------
    fits : list of Fitted
    """

    def __init__(
        self,
        students,
        X,
        y_encoded,
        weights,
        soft,
        y,
        *,
        share_minibatches=False,
        limit=math.inf,
        on_batch=None,
        effort=1.0,
        n_paused=0,
    ):
        self.fits, self.limit, self.on_batch = [FitOutcome() for _ in students], limit, on_batch
        self.pauses, self.dtype = n_paused > 0, X.dtype
        data_of, groups, first, all_needed = {}, {}, None, {}
        softs = soft if isinstance(soft, list) else [soft] * len(students)
        for number, (est, soft) in enumerate(zip(students, softs, strict=True)):
            try:
                est._check_values(soft is not None, holds_out=est.early_stopping)
                key = repr(est.class_weight)
                if key not in data_of:
                    weighed = weigh_classes(est, y_encoded, weights)
                    data_of[key] = TrainingData(X, y_encoded, weighed, None, y, len(est.classes_))
                job = resolve_parameters(est, data_of[key], like=first, effort=effort)
                job.soft = soft
                first = job if share_minibatches and first is None else first
                check_held_out(job, soft, stacklevel=6)
                own, shared = needed_bytes([job], data_of[key], copies=self.pauses)
                device = resolve_device(est.device)
                check_budget(own + shared, device, ADVICE)
            except Exception as error:  # as a fit alone would: the others go on
                self.fits[number].error = error
                continue
            # the user's own limit ends it all, before anything is trained
            check_budget(own + shared, CPU, f"{ADVICE}, or raise max_memory", limit=limit)
            alike = key, job.key, job.n_epochs if self.pauses else None
            group = groups.setdefault(alike, _Group(data_of[key]))
            group.fresh.append((number, job))
            needed = all_needed.setdefault(device, {})
            needed[alike] = needed.get(alike, shared) + own
        self.groups = list(groups.values())
        for device, needed in all_needed.items() if self.pauses else ():
            everything, advice = n_paused * sum(needed.values()), "set halving_factor=None"
            check_budget(everything, device, advice)
            check_budget(everything, CPU, f"{advice}, or raise max_memory", limit=limit)

    def advance(self, share=1.0):
        """Train up to a share of the epochs of each fit, and store what there is by then."""
        self.done = 0
        self.total = sum(
            len(group.fresh) + sum(len(chunk.entries) for chunk in group.chunks)
            for group in self.groups
        )
        for group in self.groups:
            waiting, group.chunks = group.chunks, []
            for chunk in waiting:
                self._advance(group, chunk, share)
            while group.fresh:  # also those that are tried again
                group.rows = group.rows or TrainingTensors.of_job(
                    group.data, group.fresh[0][1], self.dtype
                )
                fresh, group.fresh = group.fresh, []
                for entries in _chunks(fresh, group.data, group.rows.device, self.limit):
                    self._advance(group, _Chunk(entries, group.rows, self.pauses), share)
            if not group.chunks:
                group.rows = None

    def _advance(self, group, chunk, share):
        size = len(chunk.entries)
        if self.on_batch is not None:
            self.on_batch(self.done, size, self.total)
        again = chunk.advance(share, self.fits)
        self.done, self.total = self.done + size, self.total + len(again)
        group.fresh += again
        if chunk.entries:
            group.chunks.append(chunk)

    def keep(self, numbers):
        """Let all fits but those of ``numbers`` end where they are."""
        for group in self.groups:
            for chunk in group.chunks:
                chunk.keep(numbers)
            group.chunks = [chunk for chunk in group.chunks if chunk.entries]
        self.groups = [group for group in self.groups if group.chunks or group.fresh]


class _Chunk:
    """Jobs of one batch."""

    def __init__(self, entries, rows, pauses):
        self.entries = [(place, *entry) for place, entry in enumerate(entries)]  # that still train
        self.jobs = [job for _, job in entries]
        self.rows, self.pauses, self.batch, self.n_epochs = rows, pauses, None, [0] * len(entries)

    def advance(self, share, fits):
        """Train and store what came of it; (number, job) of those to be tried again."""
        try:
            return self._advance(share, fits)
        except Exception as error:  # a device out of memory: other batches go on
            for _, number, _ in self.entries:
                fits[number].error = fits[number].error or error
            traceback.clear_frames(error.__traceback__)  # which hold the tensors
            self.entries, self.batch, self.training = [], None, None
            return []

    def _advance(self, share, fits):
        start = time.perf_counter()
        if self.batch is None:
            self.batch = StackedNetworks(self.rows, self.jobs)
            self.training = self.batch.training(pauses=self.pauses)
        # paused jobs have as many epochs to go
        until = math.ceil(share * self.jobs[0].n_epochs) if share < 1 else None
        outcome = self.batch.advance(self.training, until)
        if outcome.interrupt is not None:
            raise outcome.interrupt
        outcome.optimizers = []  # of no use to fits that are not resumed
        curves, again, waiting = curves_of(outcome), [], []
        costs = {
            place: job.n_students
            * job.est.width
            * max(outcome.n_epochs[place] - self.n_epochs[place], 1)
            for place, _, job in self.entries
        }
        seconds = (time.perf_counter() - start) / sum(costs.values())
        for place, number, job in self.entries:
            reader = FittedNetworkReader(self.batch, place)
            reader.outcome = outcome
            fits[number].seconds += costs[place] * seconds
            diverged = reader.diverged()
            if diverged.all() and job.can_shrink:
                again.append((number, job.shrunk()))
                continue
            # the last step before a pause may diverge, which training would only see later
            if outcome.reasons[place] == "paused" and not diverged.all():
                waiting.append((place, number, job))
            else:
                try:
                    fits[number].error = divergence(job.est, diverged, stacklevel=6)
                except Warning as warning:  # where the user makes errors of them
                    fits[number].error = warning
            if fits[number].error is None:
                vars(job.est).update(reader.final_attributes(outcome, curves))
        self.n_epochs = list(outcome.n_epochs)
        self.keep({number for _, number, _ in waiting})
        return again

    def keep(self, numbers):
        """Let all jobs but those of ``numbers`` go."""
        self.training.leave([place for place, number, _ in self.entries if number not in numbers])
        self.entries = [entry for entry in self.entries if entry[1] in numbers]


def _chunks(entries, data, device, limit):
    """Cut jobs into batches that stay in the cache and within the memory; a job at least each."""
    # equal losses and widths stand together, which share single products
    entries = sorted(entries, key=lambda entry: (entry[1].loss_key, entry[1].est.width))
    chunk, jobs = [], []
    for number, job in entries:
        jobs = [*jobs, job]
        own, shared = needed_bytes(jobs, data)
        free = min(available_bytes(device), limit) - shared
        if chunk and (_step_bytes(jobs, data) > BATCH_BYTES or own > free):
            yield chunk
            chunk, jobs = [], [job]
        chunk.append((number, job))
    if chunk:
        yield chunk


def _step_bytes(jobs, data):
    """Bytes of the activations and logits of a step."""
    numbers = sum(job.n_students * (job.est.width + data.n_outputs) for job in jobs)
    return numbers * (jobs[0].batch_size or len(data.X)) * data.X.dtype.itemsize
