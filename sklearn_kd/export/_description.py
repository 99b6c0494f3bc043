"""Describe a fitted model as numbers and texts, from which each kind of file is written."""

import platform

import numpy as np
import sklearn
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_kd._distillation.quantile_teacher import stands_for_dict
from sklearn_kd._utils.saved_state import PACKAGE
from sklearn_kd.export._columns import ExportError, raw_columns
from sklearn_kd.export._models import MODELS
from sklearn_kd.export._writer import ModelWriter


def describe_model(model, dtype, target, models=MODELS):
    """Return the description of a fitted model on raw columns, and its arrays.

    Parameters
    ----------
    model : classifier or regressor
    dtype : {"float64", "float32", "float16", "int8"}
        Of the weights.
    target : str
        What is written, for the message of an error.
    models : dict, default=MODELS
        Functions that describe a model, by its class.

    Returns
    -------
    spec : dict
        What JSON can hold: ``names`` (None without) and ``kinds`` of the raw columns, ``classes``
        and their dtype (None for numbers), ``versions`` of packages, and ``answer``, the nested
        description of the model, which refers to arrays by number.
    arrays : list
        Of ndarrays. Weights of int8 are tuples of them and their scales of float32, one for each
        output, the last axis.

    Raises
    ------
    ValueError
        If the model has a part that has no description, which the message names.
    """
    check_is_fitted(model)
    writer = ModelWriter(ROUND[dtype], models)
    first = first_with_features(model)
    names = getattr(first, "feature_names_in_", None)
    columns = raw_columns(first.n_features_in_)
    try:
        answer = writer.describe(model, columns)
    except ExportError as error:
        raise ExportError(
            f"{type(model).__name__} cannot be written as {target}: {error}."
        ) from error
    spec = {
        "names": None if names is None else names.tolist(),
        "kinds": [writer.kinds.get(j, "unused") for j in range(len(columns))],
        **label_spec(None if answer["kind"] == "numbers" else model.classes_),
        "versions": package_versions(),
        "answer": answer,
    }
    return spec, writer.arrays


def parts_of(answer):
    """Yield the description of a model, and of those inside it."""
    yield answer
    for model in answer.get("models", ()):
        yield from parts_of(model)


def first_with_features(model):
    """Return a model, or the first step of a pipeline that says what columns it has."""
    if stands_for_dict(model):
        raise ExportError(
            "a dict of regressors for quantiles has no file of its own: write them one by one, as "
            "regressors_ of the fitted teacher has them."
        )
    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else []
    for each in (model, *steps):
        if hasattr(each, "n_features_in_"):
            return each
    raise ValueError(
        f"{type(model).__name__} has no n_features_in_: pass a model that was fitted, and a "
        "search with refit."
    )


def label_spec(classes):
    """Return the labels as JSON has them, and their dtype. Of a regressor all are None."""
    if classes is None:
        return {"classes": None, "classes_dtype": None}
    dtype = classes.dtype
    is_text = dtype.kind == "O" and all(isinstance(label, str) for label in classes)
    if dtype.kind not in "biufU" and not is_text:
        raise ValueError(
            f"labels of the dtype {dtype} cannot be written: make them numbers or texts."
        )
    return {"classes": classes.tolist(), "classes_dtype": "object" if is_text else dtype.str}


def package_versions():
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


#: From weights in float64 to what a file stores of them, by dtype.
ROUND = {
    "float64": _to_float("<f8"),
    "float32": _to_float("<f4"),
    "float16": _to_float("<f2"),
    "int8": _to_int8,
}
