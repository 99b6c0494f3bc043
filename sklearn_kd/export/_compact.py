"""Write fitted classifiers as compact models: `compact`."""

import platform

import numpy as np
import sklearn
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_kd._utils.saved_state import PACKAGE
from sklearn_kd.export._columns import ExportError, RawColumn
from sklearn_kd.export._compact_model import CompactModel, pack
from sklearn_kd.export._models import ModelWriter

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
    check_is_fitted(model)
    writer = ModelWriter(ROUND[dtype])
    first = _first_with_features(model)
    names = getattr(first, "feature_names_in_", None)
    columns = [RawColumn(j) for j in range(first.n_features_in_)]
    try:
        answer = writer.describe(model, columns)
    except ExportError as error:
        raise ValueError(
            f"{type(model).__name__} cannot be written as a compact model: {error}."
        ) from error
    spec = {
        "names": None if names is None else names.tolist(),
        "kinds": [writer.kinds.get(j, "unused") for j in range(len(columns))],
        **_classes(model.classes_),
        "dtype": dtype,
        "versions": _versions(),
        "changes": [None, None],
        "answer": answer,
    }
    made = CompactModel(pack(spec, writer.arrays))
    if X is None:
        return made
    spec["changes"] = _changes(model, made, X, y, max_change)
    return CompactModel(pack(spec, writer.arrays))


def _first_with_features(model):
    """Return a model, or the first step of a pipeline that says what columns it has."""
    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else []
    for each in (model, *steps):
        if hasattr(each, "n_features_in_"):
            return each
    raise ValueError(
        f"{type(model).__name__} has no n_features_in_: pass a classifier that was fitted, and a "
        "search with refit."
    )


def _changes(model, made, X, y, max_change):
    """Return the largest change of a probability and the change of the log loss, or raise."""
    X = _in_float64(X)
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


def _in_float64(X):
    """Return rows in which no number is of float32, in which the model would compute."""
    if isinstance(X, np.ndarray):
        return X.astype(np.float64) if X.dtype == np.float32 else X
    if hasattr(X, "select_dtypes"):
        singles = X.select_dtypes(np.float32).columns
        return X.astype(dict.fromkeys(singles, np.float64)) if len(singles) else X
    return X


def _classes(classes):
    """Return the labels as JSON has them, and their dtype."""
    dtype = classes.dtype
    is_text = dtype.kind == "O" and all(isinstance(label, str) for label in classes)
    if dtype.kind not in "biufU" and not is_text:
        raise ValueError(
            f"labels of the dtype {dtype} cannot be written: make them numbers or texts."
        )
    return {"classes": classes.tolist(), "classes_dtype": "object" if is_text else dtype.str}


def _versions():
    return {
        "sklearn_kd": PACKAGE.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _to_float(dtype):
    return lambda weights: weights.astype(dtype)


def _to_int8(weights):
    """Return weights as multiples of a scale of each output, the last axis."""
    largest = np.abs(weights).reshape(-1, weights.shape[-1]).max(axis=0, initial=0.0)
    scale = np.where(largest > 0, largest / 127, 1.0).astype(np.float32)
    return np.round(weights / scale).astype(np.int8), scale


ROUND = {
    "float64": _to_float("<f8"),
    "float32": _to_float("<f4"),
    "float16": _to_float("<f2"),
    "int8": _to_int8,
}
