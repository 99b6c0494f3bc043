"""Scores of fitted regressors on test rows, for reports."""

import numpy as np
from sklearn.metrics import (
    mean_absolute_error,
    mean_pinball_loss,
    r2_score,
    root_mean_squared_error,
)

from sklearn_kd._distillation.quantile_teacher import predict_quantiles
from sklearn_kd._utils.containers import own_copy
from sklearn_kd._utils.sub_estimators import last_step
from sklearn_kd.inspection._predicted_numbers import predicted_numbers


class NumberScorer:
    """Scores of the models of one fold and seed.

    Parameters
    ----------
    levels : ndarray of shape (n_levels,), default=None
        Levels of the quantiles that the models predict, ascending. None: they predict none.
    """

    def __init__(self, levels=None):
        self.levels = levels

    def __call__(self, models, data):
        """Return the scores of each model as a dict of dict, and measures of single rows.

        Parameters
        ----------
        models : dict of estimator
            Fitted, by the names in `MODELS`.
        data : EvaluationRows
            Test rows.

        Returns
        -------
        scores : dict of dict
            By model and column of the report.
        of_rows : dict of ndarray of shape (n_test,)
            As for `Partitions.sums`: absolute differences of student and teacher, and absolute
            errors of each model, in units of y. Of several targets they are means.
        """
        quantiles = self._quantiles(models, data)
        predicted = {
            name: predicted_numbers(model, data.X, data.y.shape, type(last_step(model)).__name__)
            for name, model in models.items()
            if not quantiles or name != "teacher"
        }
        if quantiles:  # the prediction of a teacher of quantiles is its median
            predicted["teacher"] = median_of_teacher(models["teacher"], data.X)
        teacher, weight = predicted["teacher"], data.weight
        measured = {
            name: {
                "r2": r2(data.y, values, weight),
                "rmse": float(root_mean_squared_error(data.y, values, sample_weight=weight)),
                "mae": float(mean_absolute_error(data.y, values, sample_weight=weight)),
                "fidelity": r2(teacher, values, weight),
                **self._quantile_scores(data, quantiles.get(name)),
            }
            for name, values in predicted.items()
        }
        of_rows = {name: _distances(values, data.y) for name, values in predicted.items()}
        return measured, of_rows | {"disagreement": _distances(predicted["distilled"], teacher)}

    def _quantiles(self, models, data):
        """Return the quantiles that each model predicts, (n_rows, n_levels)."""
        if self.levels is None:
            return {}
        others = {name: model for name, model in models.items() if name != "teacher"}
        found = {name: model.predict_quantiles(own_copy(data.X)) for name, model in others.items()}
        of_teacher = predict_quantiles(models["teacher"], own_copy(data.X), self.levels)
        return {"teacher": of_teacher, **found}

    def _quantile_scores(self, data, quantiles):
        if quantiles is None:
            return {}
        y, weight = data.y, data.weight
        losses = [
            mean_pinball_loss(y, column, alpha=level, sample_weight=weight)
            for level, column in zip(self.levels, quantiles.T, strict=True)
        ]
        scores = {"pinball_loss": float(np.mean(losses))}
        if len(self.levels) > 1:
            lower, upper = quantiles[:, 0], quantiles[:, -1]
            is_inside = (lower <= y) & (y <= upper)
            scores["coverage"] = float(np.average(is_inside, weights=weight))
            scores["interval_width"] = float(np.average(upper - lower, weights=weight))
        return scores


def median_of_teacher(teacher, X):
    """Return the median that a fitted teacher of quantiles predicts."""
    return predict_quantiles(teacher, own_copy(X), np.array([0.5]))[:, 0]


def r2(y, predicted, weight):
    """Return the coefficient of determination, NaN for a single row, on which it is undefined."""
    if len(y) < 2:
        return np.nan
    return float(r2_score(y, predicted, sample_weight=weight))


def _distances(values, others):
    """Return the absolute difference of each row, the mean over targets."""
    return np.abs(values - others).reshape(len(values), -1).mean(axis=1)
