"""BatchedGridSearchCV, a grid search that trains its candidates jointly."""

import functools
import itertools
import math
import time
from numbers import Real

import numpy as np
from sklearn.base import is_classifier
from sklearn.model_selection import GridSearchCV, ParameterGrid, check_cv
from sklearn.utils import get_tags, indexable
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklearn_kd._search.candidates import Candidate
from sklearn_kd._search.prefitted import SCORE_NEEDED, PrefittedGridSearch
from sklearn_kd._search.split_fits import SearchFits
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.base import PublicEstimatorMixin
from sklearn_kd._utils.folds import row_numbers
from sklearn_kd._utils.sklearn_compat import (
    Interval,
    check_method_params,
    fit_context,
    num_samples,
    raise_for_params,
    routing_enabled,
    search_estimator_has,
)
from sklearn_kd._utils.sub_estimators import cells_taken

#: Largest number of rounds of a search that discards candidates early. With the usual factor of 3
#: the first round ends after a ninth of the epochs, which tells the leading third well
#: (docs/results.md).
MAX_HALVING_ROUNDS = 3


class BatchedGridSearchCV(PublicEstimatorMixin, GridSearchCV):
    """Grid search over small networks that trains all candidates of a split jointly.

    The results, the scores and the refit are those of
    :class:`sklearn.model_selection.GridSearchCV`, and only the training differs. The networks of
    all candidates, with their restarts, share the rows and the matrix products, which takes a
    fraction of the time of one fit after the other. What precedes the network, the other steps of a
    pipeline and the labels of a teacher, is fitted once for each split and each setting of its own
    parameters.

    Parameters
    ----------
    estimator : TwoLayerPGDClassifier, TwoLayerPGDRegressor, distiller or Pipeline
        A distiller, DistilledClassifier or DistilledRegressor, has one of these networks as its
        student, and a pipeline ends with one of the others. The estimator must not have callbacks,
        which cannot follow a joint training. Set them on the search.
    param_grid : dict or list of dict
        As for GridSearchCV. Any parameter may vary, except that ``alpha``, ``temperature`` and
        ``augmentation`` of a distiller must not be "auto", which is a search itself.
        Networks share matrix products if they read the same inputs in the same minibatches. Those
        that differ in one of the following parameters train in turn: ``batch_size``,
        ``optimizer``, whether ``learning_rate`` is a number (which changes the optimizer "auto"),
        ``momentum``, ``class_weight``, ``early_stopping``, ``device``, ``encoder`` (which is fitted
        once for each split, or more often, see ``n_jobs``), ``input_scaling`` and
        ``input_intercept``, of a regressor ``loss``, ``quantiles`` and ``epsilon``, and in
        minibatches also ``validation_fraction`` and ``random_state`` (see ``share_minibatches``).
    scoring : str, callable, list, tuple, dict or None, default=None
        As for GridSearchCV.
    refit : bool, str or callable, default=True
        As for GridSearchCV. The best candidate is fitted on all rows, alone.
    cv : int, splitter, iterable of splits or None, default=None
        As for GridSearchCV.
    verbose : int, default=0
        Above 0: print a line for each split, with the time that the training of the other splits
        may take. Above 1: also for each batch of networks, and for each
        candidate with its parameters. The lines of a batch count the fits of their part of the
        split, of which there are several with ``n_jobs``.
    error_score : "raise" or float, default=nan
        Score of a candidate whose fit fails.
    return_train_score : bool, default=False
        Whether to score on the training rows too.
    halving_factor : float or None, default=None
        Factor by which the number of candidates shrinks from one round to the next. The first of
        three rounds trains all candidates for a share ``halving_factor ** -2`` of their epochs, the
        second one the leading ``1 / halving_factor`` of them, by mean test score, up to a share
        ``halving_factor ** -1``, and the last one the leading ``1 / halving_factor`` of those to
        the end. Fewer than ``halving_factor ** 2`` candidates take two rounds, fewer than
        ``halving_factor`` one. A factor of 3 saves half of the training and more, with little
        risk. ``cv_results_`` then differs from that of GridSearchCV: it has an entry for each
        candidate of each round, as that of
        :class:`sklearn.model_selection.HalvingGridSearchCV`. All candidates of all splits stay in
        memory until they are discarded or trained. None trains all candidates to the end.
    share_minibatches : bool, default=False
        Whether networks with different ``random_state`` share the order of the rows in minibatches
        and the held-out rows, and so matrix products. A grid over seeds is then as fast as one
        over widths. The initial weights differ all the same. The networks have the same
        distribution as alone, but not the same weights.
    max_memory : float or None, default=None
        Memory in GiB that a batch of networks may take, in each process. None means what is free.
        Less memory means smaller batches with the same results up to rounding. A warning says so.
    n_jobs : int or None, default=None
        Number of processes that train, by joblib, whose ``parallel_config`` chooses another backend
        or a cluster. They share the splits and, if the estimator is a network alone, the candidates
        of a split if there are more than 16. Each part encodes the rows again, as does each
        round of ``halving_factor``, also with one process. Results are equal for any number as
        long as each step has one thread, as those of small networks do. Larger steps take the
        threads of their process, whose number ``parallel_config(inner_max_num_threads=)`` sets, and
        results are then equal up to rounding where this number differs. None means 1, and -1 all
        processors. More than one pays from searches of some seconds on.

    Attributes
    ----------
    cv_results_ : dict of arrays
        As of GridSearchCV. The fit time of a candidate is its share of the time of the networks
        that train with it, in proportion to neurons and epochs, and of what precedes them. After
        several rounds there are two more entries: ``iter``, the number of the round from 0, and
        ``share_of_epochs``, the share to which (rounded up to an epoch) the networks were trained
        by then. Fit times are then those of all rounds so far.
    best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_, \
multimetric_, classes_, n_features_in_, feature_names_in_
        As of GridSearchCV. After several rounds the best candidate is one of the last round, unless
        ``refit`` is a callable.

    See Also
    --------
    sklearn.model_selection.GridSearchCV : For any other estimator.

    Notes
    -----
    In full batch (up to 1,000 distinct rows by default) a network ends with the weights that it
    would have in GridSearchCV, up to rounding, which an unstable training magnifies. That does not
    depend on the other candidates, and also holds where seeds differ. It holds in minibatches too
    if ``random_state`` is an integer and minibatches are not shared. Networks whose
    ``random_state`` is None share one seed, which is drawn for each split: they have the same
    distribution as alone, and candidates are compared on the same initial weights and the same
    minibatches.

    A candidate whose training has ended leaves the matrix products at once. Callbacks of the search
    are called for the fits when all of them, or all of a round, have ended. ``verbose`` of
    the student prints nothing. Networks that are scored before the last round have the
    ``termination_condition_`` "paused".

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
            if name != "pre_dispatch"
        },
        "halving_factor": [Interval(Real, 1, None, closed="neither"), None],
        "share_minibatches": ["boolean"],
        "max_memory": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(  # noqa: PLR0913
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
        n_jobs=None,
    ):
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
        self.n_jobs = n_jobs

    @numpy_inputs
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, **params):
        """Train all candidates on each split, score them, and refit the best one.

        Parameters
        ----------
        X : array-like or dataframe of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,), or (n_samples, n_targets) for a regressor
            Class labels or numbers.
        **params : dict
            Metadata for ``fit`` (such as ``sample_weight``, ``soft_targets`` and ``X_val``), for
            the scorers, and ``groups`` for the splitter. With metadata routing, ``groups`` are
            also passed to an estimator that requests them, whose early stopping then holds out
            whole groups. Metadata with as many entries as there are rows are split with the rows.

        Returns
        -------
        self : BatchedGridSearchCV
            The fitted search.

        Raises
        ------
        ValueError
            For a parameter that cannot be batched, and for ``halving_factor`` with several scores
            of which ``refit`` names none. The error comes before any training, or after the first
            round if a callable returns the scores.
        TypeError
            If the student is not a TwoLayerPGDClassifier or a TwoLayerPGDRegressor, or is of a
            subclass of it.
        MemoryError
            Before any training, if a network does not fit into ``max_memory``.
        """
        if y is None:
            raise ValueError("BatchedGridSearchCV needs the targets y, got None.")
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
        for part in itertools.chain.from_iterable(splits):
            row_numbers(part, num_samples(X))  # an error for rows that do not exist
        epoch_shares = self._epoch_shares(len(candidates))
        options = {
            "share_minibatches": self.share_minibatches,
            "limit": math.inf if self.max_memory is None else float(self.max_memory) * 2**30,
            "n_paused": len(splits) if len(epoch_shares) > 1 else 0,
        }
        report = functools.partial(_report, self.verbose, time.time(), len(splits))
        fits = SearchFits(
            self.estimator, candidates, X, y, fit_params, splits, report, options, self.n_jobs
        )
        search = PrefittedGridSearch(
            self.param_grid,
            fits=fits,
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

    @available_if(search_estimator_has("predict_quantiles"))
    def predict_quantiles(self, X):
        """Call ``predict_quantiles`` of the best estimator.

        Available with ``refit``, for a regressor with ``loss="quantile"``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, as the estimator takes them.

        Returns
        -------
        ndarray of shape (n_samples, n_quantiles) or (n_samples, n_targets, n_quantiles)
            Quantiles of the targets, in the order of ``best_estimator_.quantiles_``.
        """
        check_is_fitted(self)
        return self.best_estimator_.predict_quantiles(X)

    def __sklearn_tags__(self):
        tags, inner = super().__sklearn_tags__(), cells_taken(self.estimator)
        for name in ("allow_nan", "categorical", "string"):
            setattr(tags.input_tags, name, getattr(inner, name))
        tags.target_tags.multi_output = get_tags(self.estimator).target_tags.multi_output
        return tags

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
        """Return the metadata for the fit of the estimator and for the splitter."""
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
        n_rounds = min(
            MAX_HALVING_ROUNDS, 1 + math.floor(math.log(max(n_candidates, 1), factor) + 1e-9)
        )
        return [factor ** -float(n) for n in reversed(range(n_rounds))]

    @numpy_inputs
    def score(self, X, y=None, **params):
        """Return the score of the best estimator, as GridSearchCV does.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score on.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            Class labels or numbers.
        **params : dict
            Metadata for the scorer, which need metadata routing.

        Returns
        -------
        score : float
            Score by ``refit`` or by the single scorer.
        """
        raise_for_params(params, self, "score")
        return super().score(X, y, **params)


def _report(verbose, start, n_splits, number, level, message):
    """Print a message on a split. The function also works in another process."""
    if verbose >= level:
        seconds = time.time() - start
        print(f"[BatchedGridSearchCV] split {number}/{n_splits}: {message}, {seconds:.1f} s")
