"""What a student that takes `soft_targets` does with its data before it trains."""

import numpy as np
from sklearn.utils.validation import validate_data

from sklearn_kd._utils.labels import class_factors, encode_labels
from sklearn_kd._utils.validation import (
    check_row_order,
    check_soft_targets,
    rescale_weights,
    validate_sample_weight,
)

__all__ = ["check_loss", "check_partial_classes", "check_training_data", "weigh_classes"]


def check_training_data(est, X, y, sample_weight, soft_targets, classes=None, *, reset=True):
    """Return checked rows of positive weight: X, encoded labels, float64 weights, soft targets.

    Sets ``classes_`` (and, by validation, the features) only; see `all_or_nothing`.
    """
    check_row_order(soft_targets, X, y)
    X, y = validate_data(est, X, y, dtype=[np.float64, np.float32], reset=reset)
    weights = rescale_weights(validate_sample_weight(sample_weight, X))
    soft, labels = None, classes
    if soft_targets is not None:
        soft, labels = check_soft_targets(soft_targets, y, classes=classes)
    kept = weights > 0
    if not kept.all():
        X, y, weights = X[kept], y[kept], weights[kept]
        soft = None if soft is None else soft[kept]
    # a class whose rows all have weight zero is absent, unless it is named
    labels, y_encoded = encode_labels(y, labels)
    if len(labels) < 2:
        raise ValueError(
            f"{type(est).__name__} needs samples of at least 2 classes, got 1 class: "
            f"{labels.tolist()}."
        )
    est.classes_ = labels
    return X, y_encoded, weigh_classes(est, y_encoded, weights), soft


def weigh_classes(est, y_encoded, weights):
    """Multiply the weights of the rows by those of their classes."""
    if est.class_weight is None:
        return weights
    return weights * class_factors(est.class_weight, est.classes_, y_encoded, weights)


def check_partial_classes(est, classes):
    """Return the sorted labels of a call of `partial_fit`."""
    if est.class_weight == "balanced":
        raise ValueError(
            "class_weight='balanced' needs all rows at once: pass a dict to partial_fit."
        )
    if not est.__sklearn_is_fitted__():
        if classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return np.unique(classes)
    if classes is not None and not np.array_equal(np.unique(classes), est.classes_):
        raise ValueError(
            f"classes={np.unique(classes).tolist()} is not what the first call to "
            f"partial_fit was given: {est.classes_.tolist()}."
        )
    return est.classes_


def check_loss(est, *, is_bounded, advice):
    """Refuse an ``alpha`` above one where nothing bounds the loss."""
    if est.alpha <= 1:
        return
    if est.temperature != 1:
        raise ValueError(
            f"alpha={est.alpha} is above 1, which is defined at temperature=1 only, got "
            f"temperature={est.temperature}."
        )
    if not is_bounded:
        raise ValueError(
            f"alpha={est.alpha} is above 1, where the loss has no least value: {advice}."
        )
