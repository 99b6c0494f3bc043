"""Answers of models and of their files, and how much they differ."""

import numpy as np

#: Most by which answers of rows may differ where a file is described in float64: probabilities, or
#: numbers in units of their size.
TOLERANCE = {"float64": 1e-12, "float32": 1e-6}
#: What a model itself rounds, relative to the largest number that it predicts, by the dtype of its
#: predictions. Boosted trees, which have float64, round once for each tree.
ROUNDING = {
    np.dtype(np.float64): 64 * np.finfo(np.float64).eps,
    np.dtype(np.float32): 4 * np.finfo(np.float32).eps,
}


def answers_of(model, X, spec=None):
    """Return what a model answers to rows.

    Parameters
    ----------
    model : classifier, regressor or CompactModel
    X : DataFrame or array-like of shape (n_samples, n_features)
    spec : dict, default=None
        ``answer`` of the description of the model, which says whether it has learned quantiles.

    Returns
    -------
    ndarray of shape (n_samples, n_classes) or (n_samples, n_targets, n_numbers)
        Probabilities. Of a regressor its predictions, followed by its quantiles, which a pipeline
        or a search around it does not predict.
    """
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(X), dtype=np.float64)
    numbers = np.asarray(model.predict(X))
    numbers = numbers.reshape(len(numbers), -1, 1)
    parts = [numbers]
    if spec is not None and spec["quantiles"] is not None and hasattr(model, "predict_quantiles"):
        parts.append(model.predict_quantiles(X).reshape(*numbers.shape[:2], -1))
    return np.concatenate(parts, axis=2)


def largest_change(found, expected):
    """Return the largest difference of answers, of numbers in units of `deviation`."""
    differences = np.abs(found[..., : expected.shape[-1]].astype(np.float64) - expected)
    if expected.ndim == 2:
        return float(differences.max())
    return float((differences.max(axis=(0, 2)) / deviation(expected)).max())


def deviation(expected):
    """Return the standard deviation of the numbers of each target, over rows and quantiles.

    It is the largest absolute value where they do not vary, and 1 where they are zero.
    """
    largest, unit = np.abs(expected).max(axis=(0, 2)), expected.std(axis=(0, 2), dtype=np.float64)
    unit = np.where(unit > _rounding(expected) * largest, unit, largest)
    return np.where(unit > 0, unit, 1.0)


def tolerated_change(tolerance, expected, spec=None, arrays=None):
    """Return the `largest_change` that rounded weights may make.

    Numbers have the size of the deviations of predictions, and that of the scale of the model,
    which for a network is the deviation of the targets: a network that has learned little adds
    numbers of this size, which are rounded, although their sums hardly vary. An exponential
    multiplies this rounding by its slope, which is its value.

    Parameters
    ----------
    tolerance : float
        Relative to the size.
    expected : ndarray
        Of `answers_of` the model.
    spec, arrays : dict and list, optional
        Description of the answer, which tells the scale.
    """
    if expected.ndim == 2:
        return tolerance
    size, unit, largest = 1.0, deviation(expected), np.abs(expected).max(axis=(0, 2))
    if spec is not None:
        scale = _scale(spec, arrays).reshape(len(unit), -1).max(axis=1)
        slope = {"identity": 1.0, "log": largest, "log1p": largest + 1.0}[spec["link"]]
        size = np.maximum(scale * slope / unit, 1.0)
    rounding = _rounding(expected) * largest / unit
    return float((tolerance * size + rounding).max())


def _rounding(expected):
    return ROUNDING.get(expected.dtype, ROUNDING[np.dtype(np.float64)])


def _scale(spec, arrays):
    """Return the factor of each value of a model of numbers, before its link."""
    inner, scale = spec["models"][0], arrays[spec["scale"]]
    if inner["kind"] != "numbers":
        return scale
    return scale * (_scale(inner, arrays) if inner["link"] == "identity" else 0.0)


def name_of_answer(answers):
    """Return how messages call an answer and several of them, and their unit."""
    if answers.ndim == 2:
        return "a probability", "probabilities", ""
    return "a prediction", "predictions", " standard deviations of the predictions"
