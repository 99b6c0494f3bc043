"""BatchedGridSearchCV: a grid search whose candidates train together."""

import math
import time
from numbers import Real

import numpy as np
from sklearn.base import is_classifier
from sklearn.model_selection import GridSearchCV, ParameterGrid, check_cv
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import process_routing

from sklearn_kd._search.candidates import Candidate
from sklearn_kd._search.prefitted import SCORE_NEEDED, PrefittedGridSearch
from sklearn_kd._search.split_fits import SearchFits, SplitFits
from sklearn_kd._utils.documentation import DocumentationLinkMixin
from sklearn_kd._utils.sklearn_compat import (
    Interval,
    check_method_params,
    fit_context,
    raise_for_params,
    routing_enabled,
    safe_split,
)

__all__ = ["BatchedGridSearchCV"]


#: Largest number of rounds of a search that discards candidates early. With the usual factor of 3
#: the first round ends after a ninth of the epochs, which tells the leading third well
#: (docs/results.md).
MAX_ROUNDS = 3


class BatchedGridSearchCV(DocumentationLinkMixin, GridSearchCV):
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
        As for GridSearchCV. Any parameter may vary. ``alpha``, ``temperature`` and ``augmentation``
        of a DistilledClassifier must not be "auto", which is a search itself. Networks share
        products where they read the same inputs in the same minibatches; those that differ in
        ``batch_size``, ``optimizer`` (or in whether ``learning_rate`` is a number, which changes
        it), ``momentum``, ``class_weight``, ``early_stopping``, ``device``, the input switches, or
        in minibatches in ``random_state`` (but see ``share_minibatches``) and
        ``validation_fraction``, train in turn.
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
    halving_factor : float or None, default=None
        Discard candidates early: train all for a share of their epochs (``halving_factor ** -2``,
        then ``halving_factor ** -1``, then all), and after each round keep the leading
        ``1 / halving_factor`` of them by their mean test score, the others being done. Fewer than
        ``halving_factor ** 2`` candidates take two rounds, fewer than ``halving_factor`` one. 3
        saves half of the training and more, with little risk. Scores are then not those of
        GridSearchCV: ``cv_results_`` has an entry for each candidate of each round, as that of
        :class:`sklearn.model_selection.HalvingGridSearchCV`. All candidates of all splits stay in
        memory until they are done. None: train all to the end.
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
        neurons and epochs. After several rounds also ``iter``, the round from 0, and
        ``share_of_epochs``, to which (rounded up to an epoch) the networks were trained by then;
        fit times are then those of all rounds so far.
    best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_, \
multimetric_, classes_, n_features_in_, feature_names_in_
        As of GridSearchCV. After several rounds the best is one of the last, unless ``refit`` is a
        callable.

    See Also
    --------
    sklearn.model_selection.GridSearchCV : For any other estimator.

    Notes
    -----
    In full batch (up to 1,000 distinct rows by default) a network ends with the weights that it
    would have in GridSearchCV up to rounding (which training that is unstable magnifies), whatever
    its neighbors do, also where seeds differ.
    In minibatches too, where ``random_state`` is an integer and minibatches are not shared.
    Networks whose ``random_state`` is None share one seed, drawn for each split: they have the same
    distribution as alone, and candidates are compared on the same start and the same minibatches.

    Candidates whose training has ended leave the products at once. Callbacks of the search hear of
    the fits once all are done, or all of a round; ``verbose`` of the student prints nothing. What
    is scored before the last round has the ``termination_condition_`` "paused".

    References
    ----------
    K. Jamieson, A. Talwalkar, "Non-stochastic best arm identification and hyperparameter
    optimization", AISTATS 2016 (``halving_factor``).

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

    __module__ = "sklearn_kd"

    _parameter_constraints: dict = {
        **{
            name: constraint
            for name, constraint in GridSearchCV._parameter_constraints.items()
            if name not in ("n_jobs", "pre_dispatch")
        },
        "halving_factor": [Interval(Real, 1, None, closed="neither"), None],
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
        halving_factor=None,
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
        self.halving_factor = halving_factor
        self.share_minibatches = share_minibatches
        self.max_memory = max_memory

    @fit_context(prefer_skip_nested_validation=False)
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
            Before any training, for a parameter that cannot be batched, by its name, and for
            ``halving_factor`` with several scores of which ``refit`` names none (where a callable
            returns them, after the first round).
        TypeError
            For an estimator whose student is no TwoLayerPGDClassifier, or a subclass of it.
        MemoryError
            Before any training, where a network would not fit into ``max_memory``.
        """
        if y is None:
            raise ValueError("BatchedGridSearchCV needs the labels y, got None.")
        candidates = [Candidate(self.estimator, each) for each in ParameterGrid(self.param_grid)]
        scorers = self._get_scorers()  # an error in the scoring should not wait for the training
        self._check_comparable()
        X, y = indexable(X, y)
        params = check_method_params(X, params=params)
        fit_params, split_params = self._route(params)
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(splitter.split(X, y, **split_params))
        if len(splits) != (promised := splitter.get_n_splits(X, y, **split_params)):
            raise ValueError(f"cv made {len(splits)} splits, but its get_n_splits says {promised}.")
        epoch_shares = self._epoch_shares(len(candidates))
        start = time.perf_counter()

        def begin_split(number):
            train, _ = splits[number]
            return SplitFits(
                candidates,
                *safe_split(self.estimator, X, y, train),
                check_method_params(X, params=fit_params, indices=train),
                lambda level, message: self._say(level, number + 1, len(splits), message, start),
                share_minibatches=self.share_minibatches,
                limit=math.inf if self.max_memory is None else self.max_memory * 2**30,
                n_paused=len(splits) if len(epoch_shares) > 1 else 0,
            )

        search = PrefittedGridSearch(
            self.estimator,
            self.param_grid,
            fits=SearchFits(candidates, splits, begin_split),
            epoch_shares=epoch_shares,
            scorers=scorers,
            title=repr(self),
            scoring=self.scoring,
            refit=self.refit,
            cv=splitter,
            error_score=self.error_score,
            return_train_score=self.return_train_score,
        )
        if hasattr(self, "_skl_callbacks"):
            search.set_callbacks(*self._skl_callbacks)
        search.fit(X, y, **params)
        self._take_results(search, scorers[0])
        return self

    def _check_comparable(self):
        """Raise a ValueError where several scores leave open by which one to discard."""
        is_single = self.scoring is None or isinstance(self.scoring, str) or callable(self.scoring)
        if self.halving_factor is not None and not is_single and not isinstance(self.refit, str):
            raise ValueError(SCORE_NEEDED)

    def _take_results(self, search, scorers):
        """Replace the fitted attributes by those of the search that has scored the fits."""
        search.cv_results_["mean_fit_time"] = np.mean(search.fit_seconds, axis=1)
        search.cv_results_["std_fit_time"] = np.std(search.fit_seconds, axis=1)
        fitted = {name: value for name, value in vars(search).items() if name.endswith("_")}
        fitted["scorer_"] = getattr(scorers, "_scorers", scorers)
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        vars(self).update(fitted)

    def _route(self, params):
        """Metadata for the estimator's fit and for the splitter."""
        if routing_enabled():
            routed = process_routing(self, "fit", **params)
            return routed.estimator.fit, routed.splitter.split
        fit_params = dict(params)
        return fit_params, {"groups": fit_params.pop("groups", None)}

    def _epoch_shares(self, n_candidates):
        """Return the shares of the epochs after which candidates are compared; the last is 1."""
        factor = self.halving_factor
        if factor is None:
            return [1.0]
        # each round divides the candidates by the factor, and one candidate needs no comparison
        n_rounds = min(MAX_ROUNDS, 1 + math.floor(math.log(max(n_candidates, 1), factor) + 1e-9))
        return [factor ** -float(n) for n in reversed(range(n_rounds))]

    def _say(self, level, number, n_splits, message, start):
        if self.verbose >= level:
            seconds = time.perf_counter() - start
            print(f"[BatchedGridSearchCV] split {number}/{n_splits}: {message}, {seconds:.1f} s")

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
        raise_for_params(params, self, "score")
        return super().score(X, y, **params)
