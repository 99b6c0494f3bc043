"""Write fitted models as compact files: `compact`."""

import narwhals.stable.v2 as nw
import narwhals.stable.v2.selectors as ncs
import numpy as np
from sklearn.metrics import log_loss, r2_score

from sklearn_kd._utils.containers import is_dataframe
from sklearn_kd.export._answers import (
    TOLERANCE,
    answers_of,
    largest_change,
    name_of_answer,
    tolerated_change,
)
from sklearn_kd.export._compact_model import CompactModel, pack
from sklearn_kd.export._description import ROUND, describe_model


def compact(model, X=None, y=None, *, dtype="float32", max_change=0.01):
    r"""Write a fitted classifier or regressor as one small file that predicts with NumPy alone.

    Parameters
    ----------
    model : classifier or regressor
        Fitted.
    X : DataFrame or array-like of shape (n_samples, n_features), default=None
        Raw rows on which the answers of the file are compared with those of the model. "float16"
        and "int8" need them.
    y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
        Their labels or numbers, for the change of the log loss or of R2 of the predictions.
    dtype : {"float64", "float32", "float16", "int8"}, default="float32"
        Of the weights that are stored. Edges of pieces, thresholds and the units of targets are
        always float64.
    max_change : float, default=0.01
        Largest change of a probability of the rows X that "float16" and "int8" may make. For a
        regressor, the largest change of a prediction or quantile, in standard deviations of all
        predictions and quantiles for these rows, or relative to the largest one if all are equal.

    Returns
    -------
    compact_model : CompactModel

    Raises
    ------
    ValueError
        If the model has a part that cannot be written, which the message names, or if rounding
        changes an answer by more than ``max_change``.

    Notes
    -----
    If no prediction of a regressor changes by more than c of their standard deviations, and these
    deviate no more than the targets, then R2 changes by at most
    :math:`2 c \sqrt{1 - R^2} + c^2`. This is far more than what rounding changes, most of which
    cancels over rows.
    """
    if dtype not in ROUND:
        raise ValueError(f"dtype must be one of {list(ROUND)}, got {dtype!r}.")
    if dtype not in TOLERANCE and X is None:
        raise ValueError(
            f"dtype={dtype!r} rounds the weights, and needs rows X to measure what that changes."
        )
    spec, arrays = describe_model(model, dtype, "a compact model")
    spec |= {"dtype": dtype, "changes": [None, None]}
    made = CompactModel(pack(spec, arrays))
    if X is None:
        return made
    X, answer = numbers_in_float64(X), spec["answer"]
    expected, found = (answers_of(each, X, answer) for each in (model, made))
    largest, bound = largest_change(found, expected), max_change
    advice = "take another dtype, or a larger max_change"
    if dtype in TOLERANCE:
        bound = tolerated_change(TOLERANCE[dtype], expected, answer, arrays)
        advice = "please report this"
    if not largest <= bound:
        what, _, unit = name_of_answer(expected)
        raise ValueError(
            f"weights of {dtype} change {what} of the rows X by {largest:.2g}{unit}, more "
            f"than {bound:g}: {advice}."
        )
    change = None
    if y is not None and (expected.ndim == 2 or len(expected) > 1):  # one row has no R2
        after, before = (_score(model, y, each) for each in (found, expected))
        change = after - before
    spec["changes"] = [largest, change]
    return CompactModel(pack(spec, arrays))


def _score(model, y, answers):
    """Return the log loss of probabilities, or R2 of predictions."""
    if answers.ndim == 2:
        return float(log_loss(y, answers, labels=model.classes_))
    return float(r2_score(np.reshape(y, (len(answers), -1)), answers[:, :, 0]))


def numbers_in_float64(X):
    """Return rows in which no number is of float32, in which the model would compute."""
    if hasattr(X, "select_dtypes"):
        singles = X.select_dtypes(np.float32).columns
        return X.astype(dict.fromkeys(singles, np.float64)) if len(singles) else X
    if is_dataframe(X):
        singles = ncs.by_dtype(nw.Float32).cast(nw.Float64)
        return nw.from_native(X).with_columns(singles).to_native()
    array = np.asarray(X)
    return array.astype(np.float64) if array.dtype == np.float32 else X
