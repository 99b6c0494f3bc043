"""What is sent with the tasks of several processes."""

import warnings

import joblib
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression

from sklearn_kd.exceptions import NoGainWarning
from sklearn_kd.inspection import CompressionCurveDisplay, distillation_report, should_distill
from tests._helpers.backends import CopyingBackend
from tests._helpers.data import blobs
from tests._helpers.searches import batched, distilled, distilled_regressor, student

X, Y = blobs(600, 2, n_features=60, seed=0)


def report(X, y):
    distillation_report(LogisticRegression(), student(), X, y, cv=2, n_latency=1)


def advice(X, y):
    should_distill(LogisticRegression(), student(), X, y, cv=2, margin=0.0)


def curve(X, y):
    CompressionCurveDisplay.from_estimator(distilled(), X, y, cv=2, widths=[2], students=None)


def quantiles(X, y):
    levels = (0.1, 0.5, 0.9)
    teacher = {
        level: HistGradientBoostingRegressor(loss="quantile", quantile=level, max_iter=2)
        for level in levels
    }
    distilled_regressor(teacher, quantiles=levels, cv=3).fit(X, X[:, 0])


@pytest.mark.parametrize(
    "call",
    [
        batched(cv=2).fit,
        batched(distilled(), {"alpha": [0.5, 1.0]}, cv=2).fit,
        distilled(cv=2).fit,
        report,
        advice,
        curve,
        quantiles,
    ],
    ids=["search", "distilled search", "distilled", "report", "advice", "curve", "quantiles"],
)
def test_rows_are_not_sent_with_each_task(call):
    backend = CopyingBackend()
    with joblib.parallel_config(backend), warnings.catch_warnings():
        warnings.simplefilter("ignore", NoGainWarning)
        call(X, Y)
    assert backend.task_bytes
    assert max(backend.task_bytes) < X.nbytes / 10
