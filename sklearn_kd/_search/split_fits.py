"""The fits of a batched grid search: all candidates on the training rows of each split."""

import collections
import copy
import functools
import math
import pickle
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from joblib import effective_n_jobs
from sklearn.utils import check_random_state

from sklearn_kd._search.candidates import candidate_name, training_set_key
from sklearn_kd._utils.parallel import parallel_results
from sklearn_kd._utils.sklearn_compat import check_method_params, safe_split
from sklearn_kd._utils.sub_estimators import estimator_path, innermost_student

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
    entries: list  # of (number of the candidate, student)
    joint_training: Any


class SplitFits:
    """Fits of candidates on the training rows of one split.

    Several of these may divide the networks of a split among processes. All of them fit what
    precedes the students, and check all candidates.

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
        self.candidates, self.seed = candidates, seed
        self.report, self.options = report, options
        self.outcomes, self.groups = {}, []

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
        for number, candidate in enumerate(self.candidates):
            by_key.setdefault(candidate.preprocessing_key, []).append(number)
        for numbers in by_key.values():
            self._prepare_group(numbers, X, y, fit_params)

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
            entries = list(zip(numbers, students, strict=True))
            self.groups.append(_Group(prefitted, shared_seconds, entries, joint_training))

    def advance(self, share, kept):
        """Train to a share of the epochs, from where the training has paused.

        Parameters
        ----------
        share : float
        kept : list of int
            Numbers of the candidates to be trained on; the training of the others ends.

        Returns
        -------
        dict
            By the number of each candidate in ``kept`` that is trained here: the fitted estimator,
            as far as it is trained, or the error of its fit, and the seconds of its fit so far.
        """
        wanted = set(kept)
        for group in self.groups:
            places = [n for n, (number, _) in enumerate(group.entries) if number in wanted]
            group.joint_training.keep(set(places))
            for done, size, total in group.joint_training.advance_by_stack(share):
                self.report(2, f"{done} of {total} done, {size} begin")
            for place in places:
                number, student = group.entries[place]
                fit = group.joint_training.fits[place]
                if fit.is_elsewhere:
                    continue
                # a copy, since a scorer may keep the model while the student trains on
                candidate = self.candidates[number]
                result = fit.error or candidate.assemble(group.prefitted, copy.copy(student))
                self.outcomes[number] = result, group.shared_seconds + fit.seconds
        return {number: self.outcomes[number] for number in kept if number in self.outcomes}


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
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _advance(rows, share, kept, raises, is_sent, fits, train):
    """Train the networks of some `SplitFits`, here or in another process.

    Parameters
    ----------
    rows : _SearchRows or None
        None for fits that have paused.
    share, kept
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
    fits : SplitFits or None
        Those that have paused, None if all are trained.
    outcomes : dict
        As `SplitFits.advance` returns it.
    """
    if rows is not None:
        fits.prepare(*rows.take(train))
    outcomes = fits.advance(share, kept)
    if share == 1:
        fits.groups = []  # and with them the training rows, before those of the next split are read
    if is_sent:
        outcomes = {
            number: (_sendable(result) if isinstance(result, Exception) else result, seconds)
            for number, (result, seconds) in outcomes.items()
        }
    for result, _ in outcomes.values():
        if raises and isinstance(result, Exception):
            raise result
    return fits if share < 1 else None, outcomes


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
        self.estimator, self.candidates = estimator, candidates
        self.X, self.y, self.fit_params, self.splits = X, y, fit_params, splits
        self.report, self.options, self.n_jobs = report, options, n_jobs
        self._tasks = None  # of each part of each split: number of the split and its fits

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
        tasks, rows = self._tasks, None
        if tasks is None:
            tasks = self._new_tasks()
            rows = _SearchRows(self.estimator, self.X, self.y, self.fit_params)
        is_sent = effective_n_jobs(self.n_jobs) > 1
        advance = functools.partial(_advance, rows, share, kept, raises, is_sent)
        calls = ((fits, self.splits[split][0]) for split, fits in tasks)
        results = parallel_results(advance, calls, self.n_jobs)
        outcomes, self._tasks = [{} for _ in self.splits], []
        n_left = collections.Counter(split for split, _ in tasks)
        for (split, _), (fits, found) in zip(tasks, results, strict=True):
            self._tasks.append((split, fits))
            outcomes[split] |= found
            n_left[split] -= 1
            if not n_left[split]:
                self._report_split(split, share, kept, outcomes[split])
        return [[found[number] for number in kept] for found in outcomes]

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
        for split in range(len(self.splits)):
            seed = int(check_random_state(None).randint(2**31 - 1)) if needs_seed else None
            report = functools.partial(self.report, split + 1)
            for part in range(n_parts):
                options = self.options | {"max_stacked": MAX_STACKED, "part": (part, n_parts)}
                tasks.append((split, SplitFits(self.candidates, seed, report, options)))
        return tasks

    def _report_split(self, split, share, kept, outcomes):
        """Report how the fits of a split have ended."""
        for number in kept:
            error = outcomes[number][0]
            end = f"failed ({type(error).__name__})" if isinstance(error, Exception) else "trained"
            self.report(split + 1, 2, f"{candidate_name(self.candidates[number].params)}: {end}")
        reached = "" if share == 1 else f", to {share:.0%} of their epochs"
        self.report(split + 1, 1, f"{len(kept)} fits{reached}")
