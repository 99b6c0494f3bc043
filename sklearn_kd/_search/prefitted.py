"""Grid search that scores estimators which have been fitted beforehand.

The candidates of a `BatchedGridSearchCV` are trained jointly, while `GridSearchCV` fits a clone for
each candidate and split. `PrefittedGridSearch` is a `GridSearchCV` whose clones take the estimators
that the joint training has fitted, so that scoring, ranking, errors and callbacks are those of
scikit-learn.
"""

import collections
import math

import numpy as np
from joblib import parallel_config
from sklearn.base import BaseEstimator, clone
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV
from sklearn.utils import get_tags

from sklearn_kd._search.candidates import candidate_name
from sklearn_kd._utils.sklearn_compat import MultimetricScorer
from sklearn_kd._utils.warnings import warn_caller

SCORE_NEEDED = (
    "halving_factor needs one score to compare candidates by: set refit to the name of a scorer."
)


class FixedSplits:
    """Splitter that returns splits that have been made before.

    Parameters
    ----------
    splits : list of (train, test)
        Arrays of row numbers.
    """

    def __init__(self, splits):
        self.splits = splits

    def split(self, X, y=None, **params):
        """Yield the splits."""
        return iter(self.splits)


class FitQueue:
    """Results of fits in the order in which a search asks for them.

    ``is_closed`` says whether no more results follow.
    """

    def __init__(self):
        self.is_closed = False
        self._results = collections.deque()
        self._tracebacks = {}

    def put(self, results):
        """Append fitted estimators, and exceptions in place of those whose fit has failed."""
        for result in results:
            if isinstance(result, Exception):
                # several fits may share an error, and each raise would lengthen its traceback
                self._tracebacks.setdefault(id(result), (result, result.__traceback__))
            self._results.append(result)

    def take(self):
        """Remove and return the first estimator, or raise the exception in its place."""
        result = self._results.popleft()
        if isinstance(result, Exception):
            raise result.with_traceback(self._tracebacks[id(result)][1])
        return result


class PrefittedEstimator(CallbackSupportMixin, BaseEstimator):
    """Estimator whose ``fit`` takes the next of the fits that have already happened.

    Its clones share the queue of these fits. Once the queue is closed, a clone is a clone of the
    estimator itself: the one that the search refits.

    Parameters
    ----------
    estimator : estimator
        An unfitted estimator of the kind that has been fitted. It has the parameters, the tags and
        the metadata requests.
    queue : FitQueue

    Attributes
    ----------
    fitted_ : estimator
    """

    def __init__(self, estimator, queue):
        self.estimator = estimator
        self.queue = queue
        self.task_name = "fit"

    @with_callbacks
    def fit(self, X, y=None, **params):
        """Take the next fitted estimator, or raise the error of its fit."""
        context = self._init_callback_context(self.task_name)
        context.estimator_name = type(self.estimator).__name__  # callbacks know no private classes
        context.call_on_fit_task_begin(estimator=self.estimator, X=X, y=y)
        self.fitted_ = self.queue.take()
        context.call_on_fit_task_end(
            estimator=self.fitted_, X=X, y=y, reconstruction_attributes=dict
        )
        return self

    def get_params(self, deep=True):
        """Get the parameters of the estimator."""
        return self.estimator.get_params(deep)

    def set_params(self, **params):
        """Set the parameters of the estimator."""
        self.estimator.set_params(**params)
        self.task_name = candidate_name(params)
        return self

    def get_metadata_routing(self):
        """Get the metadata requests of the estimator."""
        return self.estimator.get_metadata_routing()

    def __sklearn_tags__(self):
        return get_tags(self.estimator)

    def __sklearn_clone__(self):
        estimator = clone(self.estimator)
        return estimator if self.queue.is_closed else PrefittedEstimator(estimator, self.queue)


class PrefittedScorer:
    """Scorer of the fitted estimator in a `PrefittedEstimator`, otherwise like another scorer."""

    def __init__(self, scorer):
        self.__wrapped__ = scorer  # where `inspect.signature` looks

    def __call__(self, estimator, *args, **params):
        return self.__wrapped__(estimator.fitted_, *args, **params)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    def __repr__(self):
        return repr(self.__wrapped__)


class PrefittedMultimetricScorer(MultimetricScorer):
    """Several scorers of the fitted estimator in a `PrefittedEstimator`."""

    def __call__(self, estimator, *args, **params):
        return super().__call__(estimator.fitted_, *args, **params)


class PrefittedGridSearch(GridSearchCV):
    """Grid search over candidates that are trained jointly, in one or several rounds.

    Each round trains the candidates that are left to a share of their epochs and scores them. Those
    with the lowest scores are discarded before the next round.

    Parameters
    ----------
    param_grid : dict or list of dict
    fits : SearchFits
        Trains the candidates on the splits.
    epoch_shares : list of float
        Share of the epochs after which each round ends, the last being 1.
    scorers : tuple of (callable, str or bool)
        The scorers of the search of the user, and the score to refit by.
    title : str
        What warnings call the search, as the user has made it.
    **options : dict
        Other parameters of `GridSearchCV`, validated before.

    Attributes
    ----------
    fit_seconds : list of list of float
        For each candidate of each round the seconds of its fits, one for each split.
    """

    def __init__(self, param_grid, *, fits, epoch_shares, scorers, title, **options):
        self.queue = FitQueue()
        # one job, since the results of the fits come in the order of the search
        super().__init__(
            PrefittedEstimator(clone(fits.estimator), self.queue), param_grid, n_jobs=1, **options
        )
        self.fits, self.epoch_shares = fits, epoch_shares
        self.scorers, self.title = scorers, title
        self.fit_seconds = []

    def fit(self, X, y=None, **params):
        """Train all candidates, score them, and refit the best one."""
        # The fits to score wait in this process, and the backends of clusters do not heed n_jobs=1.
        self.scoring_config = parallel_config(backend="sequential")
        try:
            return super().fit(X, y, **params)
        finally:
            self.scoring_config.unregister()

    def __repr__(self):
        return self.title

    def _get_scorers(self):
        scorers, refit_metric = self.scorers
        if isinstance(scorers, MultimetricScorer):
            names = scorers._scorers
            scorers = PrefittedMultimetricScorer(scorers=names, raise_exc=scorers._raise_exc)
        else:
            scorers = PrefittedScorer(scorers)
        return scorers, refit_metric

    def _run_search(self, evaluate_candidates, *, callback_ctx=None):
        # GridSearchCV has made its backend. Training and refit take that of the caller. To
        # unregister again, as fit does after an error before, has no effect.
        self.scoring_config.unregister()
        kept = list(range(len(self.fits.candidates)))
        n_rounds = len(self.epoch_shares)
        context = callback_ctx.subcontext(
            task_name="search",
            max_subtasks=len(kept) * len(self.fits.splits) if n_rounds == 1 else n_rounds,
            sequential_subtasks=n_rounds > 1,
        ).call_on_fit_task_begin(estimator=self)
        if n_rounds == 1:
            self._train(1.0, kept, always_score=True)
            self._evaluate(evaluate_candidates, kept, context)
        else:
            self._run_rounds(evaluate_candidates, kept, context)
        context.call_on_fit_task_end(estimator=self)
        self.queue.is_closed = True

    def _run_rounds(self, evaluate_candidates, kept, context):
        for number, share in enumerate(self.epoch_shares):
            if not self._train(share, kept, always_score=number == 0):
                warn_caller(
                    f"all {len(kept)} candidates left failed on their way to {share:.0%} of their "
                    "epochs: the best is one of the round before.",
                    FitFailedWarning,
                )
                return
            round_context = context.subcontext(
                task_name="halving-iteration",
                max_subtasks=len(kept) * len(self.fits.splits),
                sequential_subtasks=False,
            ).call_on_fit_task_begin(estimator=self)
            more = {"iter": [number] * len(kept), "share_of_epochs": [share] * len(kept)}
            results = self._evaluate(evaluate_candidates, kept, round_context, more)
            round_context.call_on_fit_task_end(estimator=self)
            kept = self._leading(results, kept)

    def _train(self, share, kept, *, always_score):
        """Train some candidates to a share of their epochs and queue the results to be scored.

        Return whether there is something to score. In the first round ``always_score`` leaves it
        to `GridSearchCV` to say that all fits have failed.
        """
        fits = self.fits.advance(share, kept, raises=self.error_score == "raise")
        n_fitted = sum(not isinstance(result, Exception) for split in fits for result, _ in split)
        if not (n_fitted or always_score):
            return False
        for fits_of_candidate in zip(*fits, strict=True):
            self.queue.put(result for result, _ in fits_of_candidate)
            self.fit_seconds.append([seconds for _, seconds in fits_of_candidate])
        return True

    def _evaluate(self, evaluate_candidates, kept, context, more_results=None):
        return evaluate_candidates(
            [self.fits.candidates[index].params for index in kept],
            cv=FixedSplits(self.fits.splits),
            more_results=more_results,
            callback_ctx=context,
        )

    def _leading(self, results, kept):
        """Return the candidates of the last round that the next one goes on with."""
        metric = self.refit if f"mean_test_{self.refit}" in results else "score"
        if f"mean_test_{metric}" not in results:
            raise ValueError(SCORE_NEEDED)
        scores = results[f"mean_test_{metric}"][-len(kept) :]
        n_kept = math.ceil(len(kept) * self.epoch_shares[-2] - 1e-9)
        best = np.argsort(-scores, kind="stable")[:n_kept]  # NaN comes last
        return sorted(kept[place] for place in best)

    @staticmethod
    def _select_best_index(refit, refit_metric, results):
        if callable(refit) or "iter" not in results:
            return GridSearchCV._select_best_index(refit, refit_metric, results)
        # after several rounds the best candidate is one of the last round
        last = np.flatnonzero(results["iter"] == results["iter"].max())
        return last[results[f"rank_test_{refit_metric}"][last].argmin()]


# callbacks name the tasks of a fit by the class of the estimator
PrefittedGridSearch.__name__ = "BatchedGridSearchCV"
