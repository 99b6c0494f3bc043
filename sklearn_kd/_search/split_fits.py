"""The fits of a batched search on the training rows of one split."""

import copy
import functools
import time

from sklearn.utils import check_random_state

from sklearn_kd._utils.sub_estimators import innermost_student

__all__ = ["SplitFits"]


class SplitFits:
    """Candidates that train together on one split.

    Parameters
    ----------
    candidates : list of Candidate
    X, y, fit_params
        Training rows of the split, and the metadata of their fit.
    say : callable
        Called with a verbosity and a message.
    options : dict
        Of `joint_training.JointTraining`.
    """

    def __init__(self, candidates, X, y, fit_params, say, **options):
        self.say, self.options = say, options
        self.outcome, self.groups, by_before = {}, [], {}
        for candidate in candidates:
            by_before.setdefault(candidate.before, []).append(candidate)
        # one seed for all that have none, drawn where there are such
        seed = functools.cache(lambda: int(check_random_state(None).randint(2**31 - 1)))
        for group in by_before.values():
            self._prepare(group, X, y, fit_params, seed)

    def _prepare(self, group, X, y, fit_params, seed):
        """Fit what comes before the students, for candidates that differ in their student alone."""
        start = time.perf_counter()
        try:
            probe = group[0].probe()
            probe.fit(X, y, **fit_params)
        except Exception as error:  # what each of them would have raised
            self.outcome |= dict.fromkeys(group, (error, 0.0))
            return
        data = innermost_student(probe, fitted=True)
        shared = (time.perf_counter() - start) / len(group)
        batch = []
        for candidate in group:
            try:
                batch.append((candidate, *candidate.student(data, seed)))
            except Exception as error:
                self.outcome[candidate] = error, shared
        if not batch:
            return
        together = batch[0][1]._fit_jointly(
            [student for _, student, _ in batch],
            **data.data_,
            **self.options,
        )
        for _, student, random_state in batch:
            student.random_state = random_state
        self.groups.append((probe, shared, [entry[:2] for entry in batch], together))

    def advance(self, share, kept):
        """Train to a share of the epochs, from where it paused.

        Parameters
        ----------
        share : float
        kept : list of Candidate
            To be trained on; the others end where they are.

        Returns
        -------
        list of (estimator or Exception, float)
            Of each in ``kept`` the fitted estimator, as far as it is trained, or the error of its
            fit, and its seconds so far.
        """
        wanted = set(kept)
        for probe, shared, students, together in self.groups:
            numbers = [n for n, (candidate, _) in enumerate(students) if candidate in wanted]
            together.keep(set(numbers))
            for done, size, total in together.advance_by_stack(share):
                self.say(2, f"{done} of {total} done, {size} begin")
            for number in numbers:
                candidate, student = students[number]
                fit = together.fits[number]
                # a copy, since a scorer may keep the model while the student trains on
                result = fit.error or candidate.fitted(probe, copy.copy(student))
                self.outcome[candidate] = result, shared + fit.seconds
        self.say(1, f"{len(kept)} fits{'' if share == 1 else f', to {share:.0%} of their epochs'}")
        return [self.outcome[candidate] for candidate in kept]
