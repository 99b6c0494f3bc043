"""Search by bytes and microseconds of the compact model: `budget_scoring`, `smallest_within`."""

import re
from inspect import signature
from numbers import Real

import numpy as np
from sklearn.metrics import check_scoring, get_scorer
from sklearn.utils import check_scalar

from sklearn_kd._utils.row_times import median_microseconds, raw_rows
from sklearn_kd.export._compact import compact

NUMBER = r"\d+\.?\d*|\.\d+"
COLUMNS = {"n_bytes": "mean_test_n_bytes", "microseconds": "mean_test_microseconds"}


def budget_scoring(scoring=None):
    """Return scorers of a score, and of the bytes and the time of the compact model.

    They are for ``scoring`` of :class:`~sklearn.model_selection.GridSearchCV` and
    :class:`~sklearn_kd.BatchedGridSearchCV`, with :func:`smallest_within` as ``refit``.

    Parameters
    ----------
    scoring : str, callable or None, default=None
        The score, as in ``GridSearchCV``. None is ``estimator.score``. It gets the
        ``sample_weight`` of the fit of a search, if it takes weights.

    Returns
    -------
    scorers : dict
        "score", "n_bytes" (bytes of :func:`compact` of the model of each fold) and "microseconds"
        (median time in which it predicts a raw row of the fold, with one thread). The columns of
        ``cv_results_`` are ``mean_test_score``, ``mean_test_n_bytes`` and
        ``mean_test_microseconds``. Ranks are those of the largest value, which say nothing for the
        last two.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_kd import TwoLayerPGDClassifier
    >>> from sklearn_kd.export import budget_scoring, smallest_within
    >>> X, y = load_iris(return_X_y=True)
    >>> search = GridSearchCV(
    ...     TwoLayerPGDClassifier(max_iter=50, early_stopping=False, random_state=0),
    ...     {"width": [2, 8]},
    ...     scoring=budget_scoring("accuracy"),
    ...     refit=smallest_within(0.05),
    ...     cv=2,
    ... ).fit(X, y)
    >>> sorted(name for name in search.cv_results_ if name.startswith("mean_test"))
    ['mean_test_microseconds', 'mean_test_n_bytes', 'mean_test_score']
    """
    return {
        "score": _Score(scoring),
        "n_bytes": _Size(_n_bytes),
        "microseconds": _Size(_microseconds),
    }


class _Score:
    """Scorer of an estimator, which is found when it is known."""

    def __init__(self, scoring):
        if isinstance(scoring, str):
            get_scorer(scoring)  # an error for an unknown one, which a search would only warn of
        self.scoring = scoring

    def __call__(self, estimator, X, y=None, **params):
        return check_scoring(estimator, self.scoring)(estimator, X, y, **params)

    def _accept_sample_weight(self):
        """Return whether the score takes weights, which a search asks each of several scorers."""
        scorer = get_scorer(self.scoring) if isinstance(self.scoring, str) else self.scoring
        if hasattr(scorer, "_accept_sample_weight"):
            return scorer._accept_sample_weight()
        return scorer is None or "sample_weight" in signature(scorer).parameters


class _Size:
    """Scorer of what the compact model of an estimator takes, for which weights are nothing."""

    def __init__(self, measure):
        self.measure = measure

    def __call__(self, estimator, X, y=None, sample_weight=None):
        return self.measure(estimator, X)

    def _accept_sample_weight(self):
        return True


def _n_bytes(estimator, X):
    return compact(estimator).n_bytes_


def _microseconds(estimator, X):
    """Return the median microseconds of a raw row."""
    made = compact(estimator)
    return median_microseconds(getattr(made, "predict_proba_one", made.predict_one), raw_rows(X))


def smallest_within(tolerance, *, by="n_bytes", max_bytes=None, max_microseconds=None):
    """Return a function for ``refit`` that takes the smallest of nearly the best candidates.

    Parameters
    ----------
    tolerance : float or str
        How much less than the best mean score is accepted, in the unit of the score, or in standard
        errors of the best one over the folds, for example "1 se".
    by : {"n_bytes", "microseconds"}, default="n_bytes"
        Which size is to be small.
    max_bytes, max_microseconds : float, default=None
        Candidates beyond these do not count, also as the best one. Microseconds depend on the
        machine and vary from run to run, bytes do not. Candidates without a compact file, which
        have neither, never count.

    Returns
    -------
    refit : callable
        From ``cv_results_`` of a search with :func:`budget_scoring` to the index of a candidate.
        It raises a ValueError if columns are missing, if no candidate was measured, or if none
        is within the budget, where it names the smallest one.
    """
    return _SmallestWithin(tolerance, by, max_bytes, max_microseconds)


class _SmallestWithin:
    def __init__(self, tolerance, by, max_bytes, max_microseconds):
        is_text = isinstance(tolerance, str)
        match = re.fullmatch(rf"\s*({NUMBER})\s*se\s*", tolerance) if is_text else None
        if match is None and not (isinstance(tolerance, Real) and tolerance >= 0):
            raise ValueError(
                f"tolerance must be a number of at least 0 or a text such as '1 se', got "
                f"{tolerance!r}."
            )
        if by not in COLUMNS:
            raise ValueError(f"by must be one of {list(COLUMNS)}, got {by!r}.")
        self.limits = {"n_bytes": max_bytes, "microseconds": max_microseconds}
        for name, limit in (("max_bytes", max_bytes), ("max_microseconds", max_microseconds)):
            if limit is not None:
                check_scalar(limit, name, Real, min_val=0, include_boundaries="neither")
        self.by, self.in_errors = by, match is not None
        self.tolerance = float(match[1]) if self.in_errors else tolerance

    def __call__(self, results):
        missing = [name for name in ("mean_test_score", *COLUMNS.values()) if name not in results]
        if missing:
            raise ValueError(
                f"cv_results_ has no {', '.join(missing)}: set scoring=budget_scoring(...)."
            )
        score = np.asarray(results["mean_test_score"], dtype=np.float64)
        sizes = {name: np.asarray(results[column]) for name, column in COLUMNS.items()}
        is_measured = np.isfinite(score) & np.isfinite(sizes[self.by])
        fits = is_measured.copy()
        for name, limit in self.limits.items():
            fits &= True if limit is None else sizes[name] <= limit
        if not fits.any():
            self._refuse(results, sizes, score, is_measured)
        best = np.where(fits, score, -np.inf).argmax()
        slack = self.tolerance
        if self.in_errors:
            n_splits = sum(bool(re.fullmatch(r"split\d+_test_score", name)) for name in results)
            slack *= results["std_test_score"][best] / np.sqrt(max(n_splits - 1, 1))
        is_near = fits & (score >= score[best] - slack)
        order = np.lexsort((-score, sizes[self.by]))
        return int(order[is_near[order]][0])

    def _refuse(self, results, sizes, score, is_measured):
        if not np.isfinite(score).any():
            raise ValueError("all candidates have failed.")
        if not is_measured.any():
            raise ValueError(
                f"{self.by} of no candidate could be measured: error_score='raise' of the search "
                "says why."
            )
        smallest = int(np.where(is_measured, sizes[self.by], np.inf).argmin())
        limits = [
            f"{limit:,.10g} {name.removeprefix('n_')}"
            for name, limit in self.limits.items()
            if limit is not None
        ]
        raise ValueError(
            f"no candidate is within {' and '.join(limits)}: the smallest one is "
            f"{results['params'][smallest]}, with {sizes['n_bytes'][smallest]:,.0f} bytes and "
            f"{sizes['microseconds'][smallest]:,.1f} microseconds."
        )
