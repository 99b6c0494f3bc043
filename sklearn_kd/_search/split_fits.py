"""The fits of a batched grid search: all candidates on the training rows of each split."""

import copy
import functools
import time
from dataclasses import dataclass
from typing import Any

from sklearn.utils import check_random_state

from sklearn_kd._search.candidates import candidate_name, training_set_key
from sklearn_kd._utils.sklearn_compat import check_method_params, safe_split
from sklearn_kd._utils.sub_estimators import innermost_student


@dataclass
class _Group:
    """Candidates that share what precedes their students, and that train jointly."""

    prefitted: Any  # fitted estimator with a `RecordingStudent` at its end
    shared_seconds: float  # of fitting it, for each candidate
    entries: list  # of (candidate, student)
    joint_training: Any


class SplitFits:
    """Fits of candidates on the training rows of one split.

    Parameters
    ----------
    report : callable
        Called with a verbosity and a message.
    options : dict
        Options of `JointStudent._fit_jointly`.
    """

    def __init__(self, report, options):
        self.report, self.options = report, options
        self.outcomes, self.groups = {}, []

    def prepare(self, candidates, X, y, fit_params):
        """Fit what precedes the students, and set their joint training up.

        Parameters
        ----------
        candidates : list of Candidate
        X, y : array-like
            Training rows.
        fit_params : dict
            Metadata of these rows.
        """
        by_key = {}
        for candidate in candidates:
            by_key.setdefault(candidate.preprocessing_key, []).append(candidate)

        @functools.cache
        def draw_seed():  # one for all candidates without a seed, drawn if there are such
            return int(check_random_state(None).randint(2**31 - 1))

        for group in by_key.values():
            self._prepare_group(group, X, y, fit_params, draw_seed)

    def _prepare_group(self, candidates, X, y, fit_params, draw_seed):
        """Fit what precedes the students of some candidates that share it."""
        start = time.perf_counter()
        try:
            prefitted = candidates[0].fit_preprocessing(X, y, fit_params)
        except Exception as error:  # each of the candidates alone would have raised it
            self.outcomes |= dict.fromkeys(candidates, (error, 0.0))
            return
        recording = innermost_student(prefitted, fitted=True)
        shared_seconds = (time.perf_counter() - start) / len(candidates)
        by_training_set = {}
        for candidate in candidates:
            try:
                student, random_state = candidate.student_to_train(recording, draw_seed)
            except Exception as error:
                self.outcomes[candidate] = error, shared_seconds
            else:
                entry = candidate, student, random_state
                by_training_set.setdefault(training_set_key(student), []).append(entry)
        for entries in by_training_set.values():
            candidates, students, random_states = zip(*entries, strict=True)
            _, training_set = recording.training_set(students[0])
            joint_training = students[0]._fit_jointly(students, **training_set, **self.options)
            for student, random_state in zip(students, random_states, strict=True):
                student.random_state = random_state
            entries = list(zip(candidates, students, strict=True))
            self.groups.append(_Group(prefitted, shared_seconds, entries, joint_training))

    def advance(self, share, kept):
        """Train to a share of the epochs, from where the training has paused.

        Parameters
        ----------
        share : float
        kept : list of Candidate
            To be trained on; the training of the others ends.

        Returns
        -------
        list of (estimator or Exception, float)
            For each candidate in ``kept`` the fitted estimator, as far as it is trained, or the
            error of its fit, and the seconds of its fit so far.
        """
        wanted = set(kept)
        for group in self.groups:
            numbers = [n for n, (candidate, _) in enumerate(group.entries) if candidate in wanted]
            group.joint_training.keep(set(numbers))
            for done, size, total in group.joint_training.advance_by_stack(share):
                self.report(2, f"{done} of {total} done, {size} begin")
            for number in numbers:
                candidate, student = group.entries[number]
                fit = group.joint_training.fits[number]
                # a copy, since a scorer may keep the model while the student trains on
                result = fit.error or candidate.assemble(group.prefitted, copy.copy(student))
                self.outcomes[candidate] = result, group.shared_seconds + fit.seconds
        for candidate in kept:
            error = self.outcomes[candidate][0]
            end = f"failed ({type(error).__name__})" if isinstance(error, Exception) else "trained"
            self.report(2, f"{candidate_name(candidate.params)}: {end}")
        reached = "" if share == 1 else f", to {share:.0%} of their epochs"
        self.report(1, f"{len(kept)} fits{reached}")
        return [self.outcomes[candidate] for candidate in kept]


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
    """

    def __init__(self, estimator, candidates, X, y, fit_params, splits, report, options):
        self.estimator, self.candidates = estimator, candidates
        self.X, self.y, self.fit_params, self.splits = X, y, fit_params, splits
        self.report, self.options = report, options
        self._paused = {}

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
        list of list
            For each split what `SplitFits.advance` returns.
        """
        fits = []
        for number in range(len(self.splits)):
            split = self._paused.pop(number, None) or self._begin(number)
            fits.append(split.advance(share, [self.candidates[index] for index in kept]))
            if share < 1:
                self._paused[number] = split
            for result, _ in fits[-1]:
                if raises and isinstance(result, Exception):
                    raise result
        return fits

    def _begin(self, number):
        split = SplitFits(functools.partial(self.report, number + 1), self.options)
        train, _ = self.splits[number]
        X, y = safe_split(self.estimator, self.X, self.y, train)
        params = check_method_params(self.X, params=self.fit_params, indices=train)
        split.prepare(self.candidates, X, y, params)
        return split
