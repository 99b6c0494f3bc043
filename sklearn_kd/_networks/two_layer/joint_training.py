"""Train many fits of a two-layer network on the same rows in shared matrix products."""

import math
import time
import traceback
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from sklearn.base import clone

from sklearn_kd._networks.input_checks import weigh_classes
from sklearn_kd._networks.training_data import CheckedRows, TrainingData, TrainingTensors
from sklearn_kd._networks.two_layer.fit_plan import FitPlan, resolve_parameters
from sklearn_kd._networks.two_layer.stacked import StackedNetworks
from sklearn_kd._networks.two_layer.training import (
    MEMORY_ADVICE,
    FittedNetworkReader,
    check_held_out_rows,
    curves_of,
    divergence_error,
    needed_bytes,
)
from sklearn_kd._utils.device import available_bytes, check_budget, resolve_device
from sklearn_kd._utils.validation import check_validation_rows_are_used

CPU = torch.device("cpu")
#: Bytes of the activations and logits of a step up to which fits are stacked. More would not stay
#: in the cache, and less would leave single operations with little to do.
MAX_STEP_BYTES = 2**22


@dataclass
class FitOutcome:
    """Result of one of many fits."""

    error: Exception | None = None  # what a fit alone would have raised
    seconds: float = 0.0  # its share of the training time, by neurons and epochs
    is_elsewhere: bool = False  # whether another part of the fits trains it


class JointTraining:
    """Fits of many estimators on the same data, which store their results; see `training.fit`.

    Each ends with the weights that it would have alone, up to rounding. Fits that differ in their
    minibatches, inputs or optimizer are trained one after the other (`FitPlan.key`).

    Where training pauses, this object has no rows and is as small as its networks allow, since
    several of them wait at the same time and may be sent from one process to another. `resume`
    passes the rows again.

    Parameters
    ----------
    students : list of TwoLayerPGDClassifier, or of TwoLayerPGDRegressor
        With ``classes_``, or the units of the targets, set, and validated parameters.
    rows : CheckedRows
        Without class weights. ``soft`` may be a list of the soft targets of each student.
    share_minibatches : bool, default=False
        Give all fits the order of rows and the held-out rows of the first, whatever their seeds.
    limit : float, default=inf
        Bytes that training may take.
    n_paused : int, default=0
        Number of such objects that wait at the same time for `advance` to be called again. Each
        keeps all its networks, those of all its parts. 0: `advance` is called once.
    n_at_once : int, default=1
        Largest number of objects, or of their parts, that train at the same time. Each of these has
        the rows, which those that wait have not.
    max_stacked : int, default=None
        Largest number of fits in a stack. None: as many as the cache has room for.
    part : tuple of int, default=(0, 1)
        Number of this part of the fits and number of parts. Each checks all fits and trains some of
        the stacks, whose fits do not depend on the number of parts.

    Attributes
    ----------
    fits : list of FitOutcome
        Of each student.
    is_cut : bool
        Whether memory had room for a part of a stack only, so that rounding depends on it.
    """

    def __init__(
        self,
        students,
        rows,
        *,
        share_minibatches=False,
        limit=math.inf,
        n_paused=0,
        n_at_once=1,
        max_stacked=None,
        part=(0, 1),
    ):
        self.fits, self.is_cut = [FitOutcome() for _ in students], False
        self.limit, self.pauses, self.dtype = limit, n_paused > 0, rows.X.dtype
        self._groups = self._plan_fits(students, rows, share_minibatches)
        if self.pauses:
            self._check_paused_memory(n_paused, n_at_once)
        self._stack(max_stacked, *part)

    def _plan_fits(self, students, rows, share_minibatches):
        """Return the fits that can be trained, as a list of `_CompatibleFits`."""
        softs = _softs(rows, len(students))
        data_of, groups, first = {}, {}, None
        for number, (est, soft) in enumerate(zip(students, softs, strict=True)):
            try:
                est._check_values(soft is not None, holds_out=est.early_stopping)
                if rows.validation.has_rows:
                    check_validation_rows_are_used(est)
                est._check_groups(rows.validation, rows.y_encoded, rows.weights, soft)
                # fits of other losses of numbers have other targets
                data_key = repr(getattr(est, "class_weight", None)), est._learning_task()
                if data_key not in data_of:
                    data_of[data_key] = _weighted_data(est, rows)
                data = data_of[data_key]
                plan = resolve_parameters(est, data, soft, like=first)
                first = plan if share_minibatches and first is None else first
                check_held_out_rows(plan, soft)
                own, shared = needed_bytes([plan], data, copies=self.pauses)
                device = resolve_device(est.device)
                check_budget(own + shared, device, MEMORY_ADVICE)
            except Exception as error:  # as a fit alone would, while the others go on
                self.fits[number].error = error
                continue
            # the limit of the user ends all fits, before any is trained
            advice = f"{MEMORY_ADVICE}, or raise max_memory"
            check_budget(own + shared, CPU, advice, limit=self.limit)
            key = data_key, plan.key, plan.n_epochs if self.pauses else None
            group = groups.setdefault(key, _CompatibleFits(data, device, shared))
            if group.fits:  # which hold out the same rows, and one mask is smaller than many
                plan.validation_mask = group.fits[0].plan.validation_mask
            group.fits.append(_PlannedFit(number, plan))
            group.network_bytes += own
        return list(groups.values())

    def _check_paused_memory(self, n_paused, n_at_once):
        """Raise MemoryError if the networks of all paused trainings would not fit."""
        for device in {group.device for group in self._groups}:
            groups = [group for group in self._groups if group.device == device]
            networks = sum(group.network_bytes for group in groups)
            rows = max(group.row_bytes for group in groups)  # one group trains after the other
            needed, advice = n_paused * networks + n_at_once * rows, "set halving_factor=None"
            check_budget(needed, device, advice)
            advice = f"{advice}, or raise max_memory"
            check_budget(needed, CPU, advice, limit=self.limit)

    def _stack(self, max_stacked, number, n_parts):
        """Put the fits into stacks, and keep those of this part."""
        n_stacks = 0
        for group in self._groups:
            for stack in _stacks(group.fits, group.data, max_stacked):
                if n_stacks % n_parts == number:
                    group.stacks.append(stack)
                else:
                    for fit in stack:
                        self.fits[fit.number].is_elsewhere = True
                n_stacks += 1
            group.fits = []  # those of this part are in the stacks
        self._groups = [group for group in self._groups if group.stacks]

    def advance(self, share=1.0):
        """Train up to a share of the epochs of each fit, and store the results so far."""
        for _ in self.advance_by_stack(share):
            pass

    def advance_by_stack(self, share=1.0):
        """Train as `advance` does, one stack of networks after the other.

        Yields
        ------
        n_done, n_starting, n_total : int
            Before each stack, the number of fits that are done, in this stack, and of all.
        """
        n_done = 0
        n_total = sum(
            sum(map(len, group.stacks)) + sum(len(chunk.fits) for chunk in group.paused)
            for group in self._groups
        )
        for group in self._groups:
            for chunk in group.chunks(self.dtype, self.limit, self.pauses):
                n_starting = len(chunk.fits)
                yield n_done, n_starting, n_total
                retried = chunk.advance(share, self.fits, group.tensors)
                n_done, n_total = n_done + n_starting, n_total + len(retried)
                if retried:
                    group.stacks.insert(0, retried)
                if chunk.fits:
                    group.paused.append(chunk)
            self.is_cut |= group.is_cut
            group.data = group.tensors = None  # other groups train, or other objects
            for chunk in group.paused:
                chunk.forget_rows()
        self._groups = [group for group in self._groups if group.paused]

    @property
    def paused(self):
        """Numbers of the fits that have paused."""
        chunks = [chunk for group in self._groups for chunk in group.paused]
        return {fit.number for chunk in chunks for fit in chunk.fits.values()}

    def keep(self, numbers):
        """End all fits but those of ``numbers``, at a pause."""
        for group in self._groups:
            for chunk in group.paused:
                chunk.keep(numbers)
            group.paused = [chunk for chunk in group.paused if chunk.fits]
        self._groups = [group for group in self._groups if group.paused]

    def resume(self, **training_set):
        """Take the rows again after a pause, as arguments of `JointStudent._fit_jointly`."""
        rows = CheckedRows(**training_set)
        softs = _softs(rows, len(self.fits))
        for group in self._groups:
            for chunk in group.paused:
                chunk.take_rows(softs)
            first, *_ = group.paused[0].fits.values()
            group.data = _weighted_data(first.plan.est, rows)


def _softs(rows, n_students):
    """Return the soft targets of each student."""
    return rows.soft if isinstance(rows.soft, list) else [rows.soft] * n_students


def _weighted_data(est, rows):
    """Return the training data of all students with the class weights of this one."""
    weights = weigh_classes(est, rows.y_encoded, rows.weights)
    return rows.training_data(est, weights, None)


class _PlannedFit(NamedTuple):
    """One of the fits."""

    number: int  # among all fits
    plan: FitPlan


@dataclass
class _CompatibleFits:
    """Fits that can share inputs and minibatches (`FitPlan.key`)."""

    data: TrainingData | None  # None at a pause
    device: torch.device
    row_bytes: int  # that the rows need
    network_bytes: int = 0  # that all networks need
    fits: list = field(default_factory=list)  # of _PlannedFit, not in stacks yet
    stacks: list = field(default_factory=list)  # of lists of those that are not begun
    paused: list = field(default_factory=list)  # of _StackChunk
    tensors: TrainingTensors | None = None  # while they train
    is_cut: bool = False  # whether memory had room for a part of a stack only

    def chunks(self, dtype, limit, pauses):
        """Yield the chunks to train: paused ones, new ones, and those to be tried again.

        Before the caller takes the next chunk, it adds the fits to be tried again to ``stacks`` as
        a stack of their own, and the chunk to ``paused`` if it has paused.
        """
        paused, self.paused = self.paused, []
        planned = paused[0].planned if paused else self.stacks[0]
        self.tensors = TrainingTensors.from_plan(self.data, planned[0].plan, dtype)
        yield from paused
        while self.stacks:
            stack = self.stacks.pop(0)
            for fits in _split_by_memory(stack, self.data, self.tensors.device, limit):
                self.is_cut |= len(fits) < len(stack)
                yield _StackChunk(fits, pauses)


class _StackChunk:
    """Fits whose networks are stacked and train side by side.

    Parameters
    ----------
    fits : list of _PlannedFit
    pauses : bool
        Whether training may pause.

    Attributes
    ----------
    planned : list of _PlannedFit
        All fits of the stack.
    fits : dict of int to _PlannedFit
        Fits that still train, by their index in the stack.
    progress : TrainingProgress or None
        That of the training at a pause.
    """

    def __init__(self, fits, pauses):
        self.planned, self.fits = list(fits), dict(enumerate(fits))
        self.pauses, self.n_epochs, self.progress = pauses, [0] * len(fits), None

    def advance(self, share, outcomes, tensors):
        """Train up to a share of the epochs, and store the results.

        Parameters
        ----------
        share : float
        outcomes : list of FitOutcome
            Of all fits.
        tensors : TrainingTensors

        Returns
        -------
        list of _PlannedFit
            Those that diverged and are to be tried again at a smaller step size.
        """
        try:
            return self._advance(share, outcomes, tensors)
        except Exception as error:  # such as a device that is out of memory: other chunks continue
            for fit in self.fits.values():
                outcomes[fit.number].error = outcomes[fit.number].error or error
            traceback.clear_frames(error.__traceback__)  # which keep tensors alive
            self.fits, self.progress = {}, None
            return []

    def _advance(self, share, outcomes, tensors):
        start = time.perf_counter()
        plans = [fit.plan for fit in self.planned]
        # after a pause all networks of the stack are made again, of which some train on: what is
        # computed in one go, such as the losses of equal targets, then stays the same to the bit
        stack = StackedNetworks(tensors, plans)
        training = stack.start_training(pauses=self.pauses, progress=self.progress)
        # fits that pause have equal numbers of epochs
        until = math.ceil(share * plans[0].n_epochs) if share < 1 else None
        with stack.threads():
            result = training.advance(until)
        if result.interrupt is not None:
            raise result.interrupt
        result.optimizers = []  # fits that are not resumed have no use for them
        curves, retried, paused = curves_of(result), [], set()
        costs = self._costs(result)
        seconds = (time.perf_counter() - start) / sum(costs.values())
        for index, (number, plan) in self.fits.items():
            reader, outcome = FittedNetworkReader(stack, index, result), outcomes[number]
            outcome.seconds += costs[index] * seconds
            diverged = reader.diverged()
            if diverged.all() and plan.can_shrink:
                retried.append(_PlannedFit(number, plan.shrunk()))
                continue
            # the last step before a pause may diverge, which training itself would notice later
            if result.reasons[index] == "paused" and not diverged.all():
                paused.add(number)
            else:
                try:
                    outcome.error = divergence_error(plan.est, diverged)
                except Warning as warning:  # where the user turns warnings into errors
                    outcome.error = warning
            if outcome.error is None:
                vars(plan.est).update(reader.final_attributes(curves))
        self.n_epochs, self.progress = list(result.n_epochs), training.progress()
        self.keep(paused)
        return retried

    def _costs(self, result):
        """Return the work since the last pause by index: neurons times epochs, at least one."""
        return {
            index: plan.n_students
            * plan.est.width
            * plan.n_members
            * max(result.n_epochs[index] - self.n_epochs[index], 1)
            for index, (_, plan) in self.fits.items()
        }

    def keep(self, numbers):
        """End all fits but those of ``numbers``, at a pause."""
        dropped = [index for index, fit in self.fits.items() if fit.number not in numbers]
        if self.progress is not None:
            self.progress = self.progress.drop(dropped)
        for index in dropped:
            del self.fits[index]

    def forget_rows(self):
        """Keep only what `take_rows` cannot restore."""
        for index, (number, plan) in enumerate(self.planned):
            # of a fit that has ended, the stack is made again from the parameters
            est = plan.est if index in self.fits else clone(plan.est)
            self._set_plan(index, number, replace(plan, est=est, soft=None))

    def take_rows(self, softs):
        """Take the soft targets of all fits."""
        for index, (number, plan) in enumerate(self.planned):
            self._set_plan(index, number, replace(plan, soft=softs[number]))

    def _set_plan(self, index, number, plan):
        self.planned[index] = _PlannedFit(number, plan)
        if index in self.fits:
            self.fits[index] = self.planned[index]


def _stacks(fits, data, max_stacked):
    """Yield lists of fits for one stack each, which depend on the fits and the data alone."""
    # fits of equal loss and width are neighbors, which share single products
    fits = sorted(fits, key=lambda fit: (fit.plan.loss_key, fit.plan.est.width))
    while fits:
        n_stacks = math.ceil(len(fits) / (max_stacked or len(fits)))
        size, n_bytes = 0, 0
        for fit in fits[: math.ceil(len(fits) / n_stacks)]:
            n_bytes += _step_bytes([fit.plan], data)
            if size and n_bytes > MAX_STEP_BYTES:
                break
            size += 1
        yield fits[:size]
        fits = fits[size:]


def _split_by_memory(stack, data, device, limit):
    """Yield lists of the fits of a stack that memory has room for, each of at least one fit."""
    chunk = []
    for fit in stack:
        own, shared = needed_bytes([each.plan for each in [*chunk, fit]], data)
        if chunk and own > min(available_bytes(device), limit) - shared:
            yield chunk
            chunk = []
        chunk.append(fit)
    yield chunk


def _step_bytes(plans, data):
    """Return the bytes of the activations and logits of a step."""
    numbers = sum(
        plan.n_students * plan.n_members * (plan.est.width + data.n_outputs) for plan in plans
    )
    return numbers * (plans[0].batch_size or len(data.X)) * data.X.dtype.itemsize
