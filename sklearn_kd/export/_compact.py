"""Write fitted classifiers as compact models: `compact`."""

import numpy as np
from sklearn.metrics import log_loss

from sklearn_kd.export._compact_model import CompactModel, pack
from sklearn_kd.export._description import ROUND, describe_model

#: Largest difference from predict_proba by which rows of the user may differ.
TOLERANCE = {"float64": 1e-12, "float32": 1e-6}


def compact(model, X=None, y=None, *, dtype="float32", max_change=0.01):
    """Write a fitted classifier as one small file that predicts raw rows with NumPy alone.

    Parameters
    ----------
    model : classifier
        Fitted.
    X : DataFrame or array-like of shape (n_samples, n_features), default=None
        Raw rows on which the file is compared with ``model.predict_proba``. "float16" and "int8"
        need them.
    y : array-like of shape (n_samples,), default=None
        Their labels, for the change of the log loss.
    dtype : {"float64", "float32", "float16", "int8"}, default="float32"
        Of the weights that are stored. Edges of pieces and thresholds are always float64.
    max_change : float, default=0.01
        Largest change of a probability of the rows X that "float16" and "int8" may make.

    Returns
    -------
    compact_model : CompactModel

    Raises
    ------
    ValueError
        If the model has a part that cannot be written, which the message names, or if rounding
        changes a probability by more than ``max_change``.
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
    spec["changes"] = _changes(model, made, X, y, max_change)
    return CompactModel(pack(spec, arrays))


def _changes(model, made, X, y, max_change):
    """Return the largest change of a probability and the change of the log loss, or raise."""
    X = numbers_in_float64(X)
    expected, found = model.predict_proba(X), made.predict_proba(X)
    largest = float(np.abs(found - expected).max())
    bound = TOLERANCE.get(made.dtype_, max_change)
    if not largest <= bound:
        advice = "take another dtype, or a larger max_change"
        if made.dtype_ in TOLERANCE:
            advice = "please report this"
        raise ValueError(
            f"weights of {made.dtype_} change a probability of the rows X by {largest:.2g}, more "
            f"than {bound:g}: {advice}."
        )
    if y is None:
        return [largest, None]
    losses = [log_loss(y, proba, labels=model.classes_) for proba in (found, expected)]
    return [largest, float(losses[0] - losses[1])]


def numbers_in_float64(X):
    """Return rows in which no number is of float32, in which the model would compute."""
    if isinstance(X, np.ndarray):
        return X.astype(np.float64) if X.dtype == np.float32 else X
    if hasattr(X, "select_dtypes"):
        singles = X.select_dtypes(np.float32).columns
        return X.astype(dict.fromkeys(singles, np.float64)) if len(singles) else X
    return X
