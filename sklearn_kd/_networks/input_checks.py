"""Validation of the rows, the classes and the loss parameters of a network before it trains."""

import numpy as np
from sklearn.utils.validation import validate_data

from sklearn_kd._utils.labels import class_factors, encode_labels
from sklearn_kd._utils.validation import (
    check_row_order,
    check_soft_targets,
    rescale_weights,
    validate_sample_weight,
)


def check_training_data(est, X, y, sample_weight, soft_targets, classes=None, *, reset=True):
    """Validate the rows of a fit and leave out those of weight zero.

    It sets ``classes_`` and, by scikit-learn's validation, the features. A caller that restores
    them after a failure uses `all_or_nothing`.

    Parameters
    ----------
    est : estimator
    X, y, sample_weight, soft_targets
        As in ``fit``.
    classes : ndarray of shape (n_classes,), optional
        All labels, sorted, where they are known.
    reset : bool
        Whether to set the features, or to compare with those of the earlier fit.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), float32 or float64
    y_encoded : ndarray of int of shape (n_samples,)
    weights : ndarray of float64 of shape (n_samples,)
        Positive, with class weights.
    soft_targets : ndarray of shape (n_samples, n_classes) or None
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
    """Return the weights of the rows times those of their classes."""
    if est.class_weight is None:
        return weights
    return weights * class_factors(est.class_weight, est.classes_, y_encoded, weights)


def check_partial_classes(est, classes):
    """Return the sorted labels for a call of `partial_fit`, or raise ValueError."""
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
    """Raise ValueError for an ``alpha`` above one where nothing bounds the loss.

    ``advice`` says in the message what would bound it.
    """
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
