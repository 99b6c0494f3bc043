"""BatchedGridSearchCV: a grid search whose candidates train together."""

import functools
import math
import time
from numbers import Real

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, ParameterGrid, check_cv
from sklearn.utils import check_random_state, indexable
from sklearn.utils.metadata_routing import process_routing

from sklearn_kd._candidates import Candidate, student_of
from sklearn_kd._validation import (
    Interval,
    _check_method_params,
    _fit_context,
    _raise_for_params,
    _routing_enabled,
    _safe_split,
)

__all__ = ["BatchedGridSearchCV"]


class BatchedGridSearchCV(GridSearchCV):
    """Grid search over small networks that trains all candidates of a split at once.

    The results, the scores and the refit are those of
    :class:`sklearn.model_selection.GridSearchCV`; only training differs. The networks of all
    candidates, with their restarts, read the same rows in the same matrix products, which takes a
    fraction of the time of one fit after the other. What comes before the network, the other steps
    of a pipeline and a teacher's labels, is fitted once for each split and each setting of its own
    parameters.

    Parameters
    ----------
    estimator : TwoLayerPGDClassifier, DistilledClassifier with such a student, or Pipeline
        A pipeline ends with either. Callbacks of its own cannot be told of fits that happen
        together: set them on the search.
    param_grid : dict or list of dict
        As for GridSearchCV. Any parameter may vary except ``temperature="auto"`` of a
        DistilledClassifier, which is a search itself. Networks share products where they read the
        same inputs in the same minibatches; those that differ in ``batch_size``, ``optimizer`` (or
        in whether ``learning_rate`` is a number, which changes it), ``momentum``, ``class_weight``,
        ``early_stopping``, ``device``, the input switches, or in minibatches in ``random_state``
        (but see ``share_minibatches``) and ``validation_fraction``, train in turn.
    scoring : str, callable, list, tuple, dict or None, default=None
        As for GridSearchCV.
    refit : bool, str or callable, default=True
        As for GridSearchCV: fit the best candidate on all rows, alone.
    cv : int, splitter, iterable of splits or None, default=None
        As for GridSearchCV.
    verbose : int, default=0
        Above zero: print a line for each split, above one for each batch of networks too.
    error_score : "raise" or float, default=nan
        Score of a candidate whose fit fails.
    return_train_score : bool, default=False
        Score on the training rows too.
    share_minibatches : bool, default=False
        In minibatches, let networks with different ``random_state`` have the same order of rows and
        the same held-out rows, so that they share products: a grid over seeds is then as fast as
        one over widths. Their starts differ all the same. They have the same distribution as alone,
        but not the same weights.
    max_memory : float or None, default=None
        GiB that a batch of networks may take; None: what is free. Less means smaller batches with
        the same results up to rounding.

    Attributes
    ----------
    cv_results_ : dict of arrays
        As of GridSearchCV. The fit time of a candidate is its share of the time of the split, by
        neurons and epochs.
    best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_, \
multimetric_, classes_, n_features_in_, feature_names_in_
        As of GridSearchCV.

    See Also
    --------
    sklearn.model_selection.GridSearchCV : For any other estimator.

    Notes
    -----
    In full batch (up to 1,000 distinct rows by default) a network ends with the weights that it
    would have in GridSearchCV up to rounding (which training that is unstable magnifies), whatever
    its neighbours do, also where seeds differ.
    In minibatches too, where ``random_state`` is an integer and minibatches are not shared.
    Networks whose ``random_state`` is None share one seed, drawn for each split: they have the same
    distribution as alone, and candidates are compared on the same start and the same minibatches.

    Candidates whose training has ended leave the products at once. Callbacks of the search hear of
    the fits once all are done; ``verbose`` of the student prints nothing.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_kd import BatchedGridSearchCV, TwoLayerPGDClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> student = TwoLayerPGDClassifier(max_iter=100, random_state=0)
    >>> grid = {"width": [2, 4, 8], "radius": [1.0, None]}
    >>> search = BatchedGridSearchCV(student, grid, cv=3).fit(X, y)
    >>> bool(search.best_score_ > 0.9)
    True
    >>> len(search.cv_results_["params"])
    6
    """

    _parameter_constraints: dict = {
        **{
            name: constraint
            for name, constraint in GridSearchCV._parameter_constraints.items()
            if name not in ("n_jobs", "pre_dispatch")
        },
        "share_minibatches": ["boolean"],
        "max_memory": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        estimator,
        param_grid,
        *,
        scoring=None,
        refit=True,
        cv=None,
        verbose=0,
        error_score=np.nan,
        return_train_score=False,
        share_minibatches=False,
        max_memory=None,
    ):
        # n_jobs has no place here: the threads of the products are those of torch
        self.estimator = estimator
        self.param_grid = param_grid
        self.scoring = scoring
        self.refit = refit
        self.cv = cv
        self.verbose = verbose
        self.error_score = error_score
        self.return_train_score = return_train_score
        self.share_minibatches = share_minibatches
        self.max_memory = max_memory

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, **params):
        """Train all candidates on every split, score them, and refit the best.

        Parameters
        ----------
        X : array-like or dataframe of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Class labels.
        **params : dict
            Metadata for ``fit`` (``sample_weight``, ``soft_targets``, ...; sliced with the rows
            where they have as many), for the scorers, and ``groups`` for the splitter.

        Returns
        -------
        self : BatchedGridSearchCV

        Raises
        ------
        ValueError
            Before any training, for a parameter that cannot be batched, by its name.
        TypeError
            For an estimator whose student is no TwoLayerPGDClassifier, or a subclass of it.
        MemoryError
            Before any training, where a network would not fit into ``max_memory``.
        """
        if y is None:
            raise ValueError("BatchedGridSearchCV needs the labels y, got None.")
        candidates = list(ParameterGrid(self.param_grid))
        students = [Candidate(self.estimator, params) for params in candidates]
        scorers, _ = self._get_scorers()  # an error in the scoring should not wait for the training
        X, y = indexable(X, y)
        params = _check_method_params(X, params=params)
        fit_params, split_params = self._route(params)
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(splitter.split(X, y, **split_params))
        if len(splits) != (promised := splitter.get_n_splits(X, y, **split_params)):
            raise ValueError(f"cv made {len(splits)} splits, but its get_n_splits says {promised}.")
        fits = [
            self._train(students, X, y, fit_params, train, f"{number}/{len(splits)}")
            for number, (train, _) in enumerate(splits, start=1)
        ]
        results = [split[number] for number in range(len(candidates)) for split in fits]
        replay = _Replay(
            _handing_out(self.estimator, [result for result, _ in results]),
            self.param_grid,
            scoring=self.scoring,
            n_jobs=1,  # results come in the order of the splits
            refit=self.refit,
            cv=splitter,
            error_score=self.error_score,
            return_train_score=self.return_train_score,
        )
        replay.splits, replay.title = splits, repr(self)
        if hasattr(self, "_skl_callbacks"):
            replay.set_callbacks(*self._skl_callbacks)
        replay.fit(X, y, **params)
        seconds = np.reshape([seconds for _, seconds in results], (len(candidates), -1))
        replay.cv_results_["mean_fit_time"] = seconds.mean(axis=1)
        replay.cv_results_["std_fit_time"] = seconds.std(axis=1)
        fitted = {name: value for name, value in vars(replay).items() if name.endswith("_")}
        # those of the replay may have kept the estimator that hands results out
        fitted["scorer_"] = getattr(scorers, "_scorers", scorers)
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        vars(self).update(fitted)
        return self

    def _route(self, params):
        """Metadata for the estimator's fit and for the splitter."""
        if _routing_enabled():
            routed = process_routing(self, "fit", **params)
            return routed.estimator.fit, routed.splitter.split
        fit_params = dict(params)
        return fit_params, {"groups": fit_params.pop("groups", None)}

    def _train(self, candidates, X, y, fit_params, train, title):
        """Fit all candidates on one split; of each the estimator or its error, and seconds."""
        start = time.perf_counter()
        fit_params = _check_method_params(X, params=fit_params, indices=train)
        X, y = _safe_split(self.estimator, X, y, train)
        groups = {}
        for candidate in candidates:
            groups.setdefault(candidate.before, []).append(candidate)
        # one seed for all that have none, drawn where there are such
        seed = functools.cache(lambda: int(check_random_state(None).randint(2**31 - 1)))
        outcome = {}
        for group in groups.values():
            outcome |= self._train_group(group, X, y, fit_params, seed, title, start)
        self._say(1, f"split {title}: {len(candidates)} fits", start)
        results = [outcome[candidate] for candidate in candidates]
        for result, _ in results:
            if isinstance(self.error_score, str) and isinstance(result, Exception):
                raise result  # other splits need not be trained for that
        return results

    def _train_group(self, group, X, y, fit_params, seed, title, start):
        """Fit candidates that differ in their student alone."""
        before = time.perf_counter()
        try:
            probe = group[0].probe()
            probe.fit(X, y, **fit_params)
        except Exception as error:  # what each of them would have raised
            return dict.fromkeys(group, (error, 0.0))
        data = student_of(probe, fitted=True)
        shared = (time.perf_counter() - before) / len(group)
        outcome, batch = {}, []
        for candidate in group:
            try:
                batch.append((candidate, *candidate.student(data, seed)))
            except Exception as error:
                outcome[candidate] = error, shared
        if not batch:
            return outcome

        def on_batch(done, size, total):
            self._say(2, f"split {title}: {done} of {total} done, {size} begin", start)

        limit = math.inf if self.max_memory is None else self.max_memory * 2**30
        fits = batch[0][1]._fit_together(
            [student for _, student, _ in batch],
            **data.data_,
            share_minibatches=self.share_minibatches,
            limit=limit,
            on_batch=on_batch,
        )
        for (candidate, student, random_state), fit in zip(batch, fits, strict=True):
            student.random_state = random_state
            result = candidate.fitted(probe, student) if fit.error is None else fit.error
            outcome[candidate] = result, shared + fit.seconds
        return outcome

    def _say(self, level, message, start):
        if self.verbose >= level:
            print(f"[BatchedGridSearchCV] {message}, {time.perf_counter() - start:.1f} s")

    def score(self, X, y=None, **params):
        """Score of the best estimator, as of GridSearchCV.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        **params : dict
            Metadata for the scorer, with metadata routing.

        Returns
        -------
        float
        """
        _raise_for_params(params, self, "score")
        return super().score(X, y, **params)


# The search that scores what has been trained


class _Splits:
    """Splits that have been made already."""

    def __init__(self, splits):
        self.splits = splits

    def split(self, X, y=None, **params):
        return iter(self.splits)


class _Replay(GridSearchCV):
    """Search whose fits have been done; see `_handing_out`."""

    def __repr__(self):  # in warnings, of the search that the user has made
        return self.title

    def _run_search(self, evaluate_candidates, *, callback_ctx=None):
        evaluate = functools.partial(evaluate_candidates, cv=_Splits(self.splits))
        super()._run_search(evaluate, callback_ctx=callback_ctx)


def _handing_out(estimator, results):
    """Clone of an estimator whose fits hand out ``results``, in turn.

    Each result is a fitted estimator or an error to raise. A fit turns into an ordinary estimator
    again, so that scorers see nothing else; once the results are used up, so does a fit for good.
    """
    kind = type(estimator)
    # an error may be that of many fits: each raises it with the trace of where it arose alone
    remaining = iter([(result, getattr(result, "__traceback__", None)) for result in results])

    @functools.wraps(kind.fit)
    def fit(self, X, y=None, **params):
        self.__class__ = kind
        result, trace = next(remaining, (None, None))
        if result is None:
            return self.fit(X, y, **params)
        if isinstance(result, Exception):
            raise result.with_traceback(trace)
        vars(self).update(vars(result))
        return self

    copied = clone(estimator)
    copied.__class__ = type(kind.__name__, (kind,), {"fit": fit, "__module__": kind.__module__})
    return copied
