"""The fits of a batched grid search: all candidates on the training rows of each split."""

import collections
import copy
import functools
import math
import pickle
import time
import traceback
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

from joblib import effective_n_jobs
from sklearn.utils import check_random_state

from sklearn_kd._search.candidates import RecordingStudent, candidate_name, training_set_key
from sklearn_kd._utils.containers import own_copy
from sklearn_kd._utils.parallel import parallel_results
from sklearn_kd._utils.sklearn_compat import check_method_params, safe_split
from sklearn_kd._utils.sub_estimators import estimator_path, innermost_student
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning

#: Largest number of candidates whose networks share matrix products. Of more of them the time of
#: each falls little further, and processes share the training by such numbers of candidates.
MAX_STACKED = 16

#: Tasks for each process, if there are so many stacks. More would share the time more evenly, but
#: each task encodes the rows of its split and checks all candidates.
TASKS_PER_PROCESS = 4


@dataclass
class _Group:
    """Candidates that share what precedes their students, and that train jointly."""

    prefitted: Any  # fitted estimator with a `RecordingStudent` at its end
    shared_seconds: float  # of fitting it, for each candidate
    #: of int to (number of the candidate, student), those that train, by their place among the
    #: fits of the joint training
    entries: dict
    joint_training: Any

    @property
    def is_network_alone(self):
        """Whether nothing precedes the students but the rows."""
        return isinstance(self.prefitted, RecordingStudent)

    @property
    def recording(self):
        """The `RecordingStudent`."""
        return innermost_student(self.prefitted, fitted=True)


class SplitFits:
    """Fits of candidates on the training rows of one split.

    Several of these may divide the networks of a split among processes. All of them fit what
    precedes the students, and check all candidates.

    Where training pauses, an object keeps what trains on, without the rows that it is given.

    Parameters
    ----------
    candidates : list of Candidate
    seed : int or None
        Of students without one.
    report : callable
        Called with a verbosity and a message.
    options : dict
        Options of `JointStudent._fit_jointly`.
    """

    def __init__(self, candidates, seed, report, options):
        self.candidates, self.seed = dict(enumerate(candidates)), seed
        self.report, self.options = report, options
        self.outcomes, self.groups = {}, []
        self.is_cut = False  # whether memory had no room for all that trains together otherwise

    def prepare(self, X, y, fit_params):
        """Fit what precedes the students, and set their joint training up.

        Parameters
        ----------
        X, y : array-like
            Training rows.
        fit_params : dict
            Metadata of these rows.
        """
        by_key = {}
        for number, candidate in self.candidates.items():
            by_key.setdefault(candidate.preprocessing_key, []).append(number)
        groups = list(by_key.values())
        for numbers in groups:
            # what precedes the students may write into the rows
            rows = (X, y) if numbers is groups[-1] else (own_copy(X), own_copy(y))
            self._prepare_group(numbers, *rows, fit_params)

    def _prepare_group(self, numbers, X, y, fit_params):
        """Fit what precedes the students of some candidates that share it."""
        start = time.perf_counter()
        try:
            prefitted = self.candidates[numbers[0]].fit_preprocessing(X, y, fit_params)
        except Exception as error:  # each of the candidates alone would have raised it
            self.outcomes |= dict.fromkeys(numbers, (error, 0.0))
            return
        recording = innermost_student(prefitted, fitted=True)
        shared_seconds = (time.perf_counter() - start) / len(numbers)
        by_training_set = {}
        for number in numbers:
            try:
                student, random_state = self.candidates[number].student_to_train(
                    recording, self.seed
                )
            except Exception as error:
                self.outcomes[number] = error, shared_seconds
            else:
                entry = number, student, random_state
                by_training_set.setdefault(training_set_key(student), []).append(entry)
        for entries in by_training_set.values():
            numbers, students, random_states = zip(*entries, strict=True)
            _, training_set = recording.training_set(students[0])
            joint_training = students[0]._fit_jointly(students, **training_set, **self.options)
            for student, random_state in zip(students, random_states, strict=True):
                student.random_state = random_state
            entries = dict(enumerate(zip(numbers, students, strict=True)))
            self.groups.append(_Group(prefitted, shared_seconds, entries, joint_training))

    @property
    def paused(self):
        """Numbers of the candidates that have paused."""
        return {number for group in self.groups for number, _ in group.entries.values()}

    def keep(self, kept):
        """End the training of all candidates but those of ``kept``, at a pause."""
        for group in self.groups:
            group.joint_training.keep(
                {place for place, (number, _) in group.entries.items() if number in kept}
            )
        self._forget_ended()

    def resume(self, X, y, fit_params):
        """Take the rows again after a pause, with the arguments of `prepare`."""
        for group in self.groups:
            with warnings.catch_warnings():
                # `prepare` has shown it
                warnings.simplefilter("ignore", SoftTargetsAlignmentWarning)
                if group.is_network_alone:
                    group.prefitted.fit(X, y, **fit_params)
                _, student = next(iter(group.entries.values()))
                _, training_set = group.recording.training_set(student)
            group.joint_training.resume(**training_set)

    def _forget_ended(self):
        """Keep what the candidates that train on need."""
        for group in self.groups:
            paused = group.joint_training.paused
            group.entries = {place: group.entries[place] for place in paused}
            group.recording.forget_rows(given=group.is_network_alone)
        self.groups = [group for group in self.groups if group.entries]
        self.candidates = {number: self.candidates[number] for number in self.paused}

    def advance(self, share):
        """Train to a share of the epochs, from where the training has paused.

        Parameters
        ----------
        share : float

        Returns
        -------
        dict
            By the number of each candidate that is trained here: the fitted estimator, as far as it
            is trained, or the error of its fit, and the seconds of its fit so far.
        """
        outcomes, self.outcomes = self.outcomes, {}
        part, n_parts = self.options.get("part", (0, 1))
        where = f"part {part + 1}/{n_parts}, " if n_parts > 1 else ""
        for group in self.groups:
            for done, size, total in group.joint_training.advance_by_stack(share):
                self.report(2, f"{where}{done} of {total} done, {size} begin")
            self.is_cut |= group.joint_training.is_cut
            for place, (number, student) in group.entries.items():
                fit = group.joint_training.fits[place]
                if fit.is_elsewhere:
                    continue
                # a copy, since a scorer may keep the model while the student trains on
                candidate = self.candidates[number]
                result = fit.error or candidate.assemble(group.prefitted, copy.copy(student))
                outcomes[number] = result, group.shared_seconds + fit.seconds
        self._forget_ended()
        return outcomes


class _SearchRows(NamedTuple):
    """All rows of a search, of which those of a split are copied where they are needed."""

    estimator: Any
    X: Any
    y: Any
    fit_params: dict

    def take(self, train):
        """Return the arguments of `SplitFits.prepare` for some of the rows."""
        X, y = safe_split(self.estimator, self.X, self.y, train)
        return X, y, check_method_params(self.X, params=self.fit_params, indices=train)


def _sendable(error):
    """Return an error that another process can read, with the message of the given one."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # such as of a class whose arguments are not those of Exception
        sendable = RuntimeError(f"{type(error).__name__}: {error}")
        sendable.__cause__ = error
        return sendable
    return error


class _SentError(NamedTuple):
    """Error of a fit in a thread or in another process, from which it comes without traceback."""

    error: Exception
    text: str  # of the traceback

    @classmethod
    def of(cls, error):
        """Return what is sent of an error."""
        return cls(error, "".join(traceback.format_exception(error)))

    def received(self):
        """Return the error with the traceback of the other process as its cause."""
        if self.error.__traceback__ is None and self.error.__cause__ is None:
            self.error.__cause__ = RuntimeError(f"in another process:\n{self.text}")
        return self.error


def _advance(rows, share, raises, is_sent, fits, train):
    """Train the networks of some `SplitFits`, here or in another process.

    Parameters
    ----------
    rows : _SearchRows
    share : float
        As for `SplitFits.advance`.
    raises : bool
        Whether to raise the error of a fit that fails.
    is_sent : bool
        Whether the results may go to another process.
    fits : SplitFits
    train : ndarray of int
        Numbers of the training rows.

    Returns
    -------
    fits : SplitFits
    outcomes : dict
        As `SplitFits.advance` returns it.
    """
    begin = fits.resume if fits.groups else fits.prepare
    begin(*rows.take(train))
    outcomes = fits.advance(share)
    for number, (result, seconds) in outcomes.items():
        if not isinstance(result, Exception):
            continue
        error = _sendable(result) if is_sent else result
        if raises:
            raise error
        outcomes[number] = _SentError.of(error) if is_sent else error, seconds
    return fits, outcomes


class SearchFits:
    """Fits of candidates on all splits of a search.

    Parameters
    ----------
    estimator : estimator
        That of the search.
    candidates : list of Candidate
    X, y : array-like
        All rows of the search.
    fit_params : dict
        Metadata of these rows.
    splits : list of (train, test)
        Arrays of row numbers.
    report : callable
        Called with the number of a split from 1, a verbosity and a message.
    options : dict
        Options of `JointStudent._fit_jointly`.
    n_jobs : int or None
    """

    def __init__(self, estimator, candidates, X, y, fit_params, splits, report, options, n_jobs):  # noqa: PLR0913
        self.estimator, self.candidates, self.splits = estimator, candidates, splits
        self.report, self.options, self.n_jobs = report, options, n_jobs
        self._rows = _SearchRows(estimator, X, y, fit_params)
        self._tasks = None  # of each part of each split: number of the split and its fits
        self._outcomes = [{} for _ in splits]
        self._is_cut = False
        self._start = 0.0  # time at which the present round began

    def advance(self, share, kept, *, raises):
        """Train some candidates on each split to a share of their epochs.

        Parameters
        ----------
        share : float
        kept : list of int
            Numbers of the candidates.
        raises : bool
            Whether to raise the error of a fit that fails, before other splits are trained.

        Returns
        -------
        list of list of (estimator or Exception, float)
            For each split and each candidate in ``kept`` what `SplitFits.advance` returns.
        """
        self._start = time.perf_counter()
        if self._tasks is None:
            self._tasks = self._new_tasks()
        else:
            for _, fits in self._tasks:
                fits.keep(kept)
            # parts of which nothing trains on have their outcomes already
            self._tasks = [task for task in self._tasks if task[1].paused]
        is_sent = effective_n_jobs(self.n_jobs) > 1
        advance = functools.partial(_advance, self._rows, share, raises, is_sent)
        calls = ((fits, self.splits[split][0]) for split, fits in self._tasks)
        results = parallel_results(advance, calls, self.n_jobs)
        n_left = collections.Counter(split for split, _ in self._tasks)
        tasks, self._tasks = self._tasks, []
        for split in range(len(self.splits)):
            if not n_left[split]:
                self._report_split(split, share, kept)
        for (split, _), (fits, outcomes) in zip(tasks, results, strict=True):
            self._tasks.append((split, fits))
            self._is_cut |= fits.is_cut
            for number, (result, seconds) in outcomes.items():
                is_error = isinstance(result, _SentError)
                self._outcomes[split][number] = result.received() if is_error else result, seconds
            n_left[split] -= 1
            if not n_left[split]:
                self._report_split(split, share, kept)
        if share == 1 and self._is_cut:
            warn_caller(
                "memory was too small to train all networks of a batch together, so that they were "
                "trained in smaller batches: results may differ by rounding. Raise max_memory, or "
                "set a smaller n_jobs or batch_size.",
                UserWarning,
            )
        self._outcomes = [{number: each[number] for number in kept} for each in self._outcomes]
        return [list(outcomes.values()) for outcomes in self._outcomes]

    def _new_tasks(self):
        """Return the number of the split and the fits, of each part of each split."""
        n_parts, n_processes = 1, effective_n_jobs(self.n_jobs)
        if n_processes > 1 and len(list(estimator_path(self.estimator))) == 1:
            # what precedes a student may take long, and is not fitted again for each part
            n_parts = min(
                math.ceil(len(self.candidates) / MAX_STACKED),
                math.ceil(TASKS_PER_PROCESS * n_processes / len(self.splits)),
            )
        students = [innermost_student(candidate.estimator) for candidate in self.candidates]
        tasks, needs_seed = [], any(student.random_state is None for student in students)
        n_at_once = min(n_processes, n_parts * len(self.splits))
        options = self.options | {"max_stacked": MAX_STACKED, "n_at_once": n_at_once}
        for split in range(len(self.splits)):
            seed = int(check_random_state(None).randint(2**31 - 1)) if needs_seed else None
            report = functools.partial(self.report, split + 1)
            for part in range(n_parts):
                own = options | {"part": (part, n_parts)}
                tasks.append((split, SplitFits(self.candidates, seed, report, own)))
        return tasks

    def _report_split(self, split, share, kept):
        """Report how the fits of a split have ended."""
        for number in kept:
            error = self._outcomes[split][number][0]
            end = f"failed ({type(error).__name__})" if isinstance(error, Exception) else "trained"
            self.report(split + 1, 2, f"{candidate_name(self.candidates[number].params)}: {end}")
        reached = "" if share == 1 else f", to {share:.0%} of their epochs"
        n_left = len(self.splits) - split - 1
        left = (time.perf_counter() - self._start) / (split + 1) * n_left
        ahead = f", about {left:.0f} s of training ahead" if n_left else ""
        self.report(split + 1, 1, f"{len(kept)} fits{reached}{ahead}")
