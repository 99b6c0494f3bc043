"""Scores of fitted regressors on test rows, for reports."""

import numpy as np
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from sklearn_kd._utils.sub_estimators import last_step
from sklearn_kd.inspection._predicted_numbers import predicted_numbers


class NumberScorer:
    """Scores of the models of one fold and seed."""

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
        predicted = {
            name: predicted_numbers(model, data.X, data.y.shape, type(last_step(model)).__name__)
            for name, model in models.items()
        }
        teacher, weight = predicted["teacher"], data.weight
        measured = {
            name: {
                "r2": r2(data.y, values, weight),
                "rmse": float(root_mean_squared_error(data.y, values, sample_weight=weight)),
                "mae": float(mean_absolute_error(data.y, values, sample_weight=weight)),
                "fidelity": r2(teacher, values, weight),
            }
            for name, values in predicted.items()
        }
        of_rows = {name: _distances(values, data.y) for name, values in predicted.items()}
        return measured, of_rows | {"disagreement": _distances(predicted["distilled"], teacher)}


def r2(y, predicted, weight):
    """Return the coefficient of determination, NaN for a single row, on which it is undefined."""
    if len(y) < 2:
        return np.nan
    return float(r2_score(y, predicted, sample_weight=weight))


def _distances(values, others):
    """Return the absolute difference of each row, the mean over targets."""
    return np.abs(values - others).reshape(len(values), -1).mean(axis=1)
