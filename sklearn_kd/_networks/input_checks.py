"""Checks of rows, validation rows, classes and loss parameters of a network before it trains."""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils.validation import validate_data

from sklearn_kd._networks.resolve import stops_early
from sklearn_kd._tables.encoder_step import check_rows, encode_table, fit_encoder, read_rows
from sklearn_kd._utils.groups import check_groups_of_classes, encode_groups
from sklearn_kd._utils.labels import class_factors, encode_labels
from sklearn_kd._utils.sklearn_compat import num_features, num_samples, safe_indexing
from sklearn_kd._utils.validation import (
    check_row_order,
    check_rows_are_flat,
    check_soft_targets,
    check_validation_labels,
    check_validation_pair,
    check_validation_rows_are_used,
    rescale_weights,
    validate_sample_weight,
)


@dataclass(frozen=True)
class ValidationSource:
    """What early stopping takes its validation rows from, apart from the training rows themselves.

    With neither groups nor rows it holds out training rows one by one.
    """

    group: np.ndarray | None = None  # (n_samples,) int, the groups that are held out as a whole
    X: np.ndarray | None = None  # (n_val, n_features), rows that are used instead
    y_encoded: np.ndarray | None = None  # (n_val,) int
    weights: np.ndarray | None = None  # (n_val,), positive

    @property
    def has_rows(self):
        """Whether there are rows, so that all training rows are trained on."""
        return self.X is not None

    @property
    def n_rows(self):
        """Number of these rows."""
        return 0 if self.X is None else len(self.X)

    def with_class_weights(self, est):
        """Return the same with the class weights of an estimator."""
        if self.X is None:
            return self
        return replace(self, weights=weigh_classes(est, self.y_encoded, self.weights))


#: Rows are held out one by one.
SINGLE_ROWS = ValidationSource()
#: What helps where validation rows are not those that a pipeline passes to a network.
TRANSFORM_ADVICE = (
    "If a pipeline transforms X, it has to transform X_val too: "
    "set_config(enable_metadata_routing=True), request X_val and y_val by set_fit_request, and "
    'make the pipeline with transform_input=["X_val"].'
)


def check_training_data(
    est, X, y, sample_weight, soft_targets, classes=None, *, reset=True, encoded=None
):
    """Validate and encode the rows of a fit, and leave out those of weight zero.

    It sets ``classes_``, ``encoder_`` and, by scikit-learn's validation, the features. A caller
    that restores them after a failure uses `all_or_nothing`.

    Parameters
    ----------
    est : estimator
    X, y, sample_weight, soft_targets
        As in ``fit``.
    classes : ndarray of shape (n_classes,), optional
        All labels, sorted, where they are known.
    reset : bool
        Whether to set the features and the encoder, or to use those of the earlier fit.
    encoded : (encoder, ndarray), optional
        The fitted encoder and the rows that the same check of another estimator has led to.

    Returns
    -------
    X : ndarray of shape (n_samples, n_encoded), float32 or float64
    y_encoded : ndarray of int of shape (n_samples,)
    weights : ndarray of float64 of shape (n_samples,)
        Positive, with class weights.
    soft_targets : ndarray of shape (n_samples, n_classes) or None
    """
    check_rows_are_flat(est, X)
    check_row_order(soft_targets, X, y)
    X, y = check_rows(est, X, y, reset=reset)
    weights = _checked_weights(sample_weight, X)
    soft, labels = None, classes
    if soft_targets is not None:
        soft, labels = check_soft_targets(soft_targets, y, classes=classes)
    kept = weights > 0
    if not kept.all():
        X, y, weights = safe_indexing(X, np.flatnonzero(kept)), y[kept], weights[kept]
        soft = None if soft is None else soft[kept]
    # a class whose rows all have weight zero is absent, unless it is named
    labels, y_encoded = encode_labels(y, labels)
    if len(labels) < 2:
        raise ValueError(
            f"{type(est).__name__} needs samples of at least 2 classes, got 1 class: "
            f"{labels.tolist()}."
        )
    est.classes_ = labels
    if encoded is not None:
        est.encoder_, X = encoded
    else:  # with the weights of the rows alone: those of the classes belong to the loss
        X = fit_encoder(est, X, weights, reset=reset)
    return X, y_encoded, weigh_classes(est, y_encoded, weights), soft


def _checked_weights(sample_weight, X):
    return rescale_weights(validate_sample_weight(sample_weight, X))


def check_validation_source(
    est, X, sample_weight, *, groups=None, X_val=None, y_val=None, sample_weight_val=None
):
    """Validate groups and validation rows of a fit whose rows `check_training_data` has checked.

    Parameters
    ----------
    est : estimator
        With ``classes_`` and features set.
    X, sample_weight
        As passed to ``fit``.
    groups, X_val, y_val, sample_weight_val
        As passed to ``fit``.

    Returns
    -------
    ValidationSource
        Of the rows of positive weight, without class weights. Groups are left out where validation
        rows are given.
    """
    group = None
    if groups is not None:
        kept = _checked_weights(sample_weight, X) > 0
        group = np.unique(encode_groups(groups, len(kept))[kept], return_inverse=True)[1]
    if X_val is not None or y_val is not None or sample_weight_val is not None:
        return _check_validation_rows(est, X_val, y_val, sample_weight_val)
    return SINGLE_ROWS if group is None else ValidationSource(group)


def check_groups_to_hold_out(est, validation, y_encoded, weights, soft):
    """Raise ValueError for a fit that holds groups out where a class has rows in a single group.

    Parameters
    ----------
    est : estimator
        With ``classes_`` set.
    validation : ValidationSource
    y_encoded : ndarray of int of shape (n_samples,)
    weights : ndarray of shape (n_samples,)
        Without class weights, by a common factor.
    soft : ndarray of shape (n_samples, n_classes) or None
    """
    if validation.group is None:
        return
    # with class weights, as the fit decides
    if stops_early(est, soft, weigh_classes(est, y_encoded, weights), validation):
        purpose = (
            "early stopping trains on some groups and holds others out. Pass X_val and y_val, set "
            "early_stopping=False, or pass no groups"
        )
        check_groups_of_classes(validation.group, y_encoded, est.classes_, purpose)


def _check_validation_rows(est, X_val, y_val, sample_weight_val):
    check_validation_pair(X_val, y_val)
    check_validation_rows_are_used(est)
    check_rows_are_flat(est, X_val, "X_val")
    try:
        table = read_rows(est, X_val, est.encoder_, "X_val")
        if num_features(table) == est.n_features_in_:
            validate_data(est, X_val, reset=False, skip_check_array=True)  # the names
            X = encode_table(est, table)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"X_val cannot be read: {error}\n{TRANSFORM_ADVICE}") from error
    if num_features(table) != est.n_features_in_:
        raise ValueError(
            f"X_val has {num_features(table)} features, but {type(est).__name__} is expecting "
            f"{est.n_features_in_} features as input: pass validation rows with the columns of X. "
            f"{TRANSFORM_ADVICE}"
        )
    y = check_validation_labels(y_val, len(X), est.classes_)
    if np.ndim(sample_weight_val) and num_samples(sample_weight_val) != len(X):
        raise ValueError(
            f"sample_weight_val has {num_samples(sample_weight_val)} entries for the {len(X)} rows "
            "of X_val."
        )
    weights = _checked_weights(sample_weight_val, X)
    kept = weights > 0
    y_encoded = encode_labels(y, est.classes_)[1]
    return ValidationSource(None, X[kept], y_encoded[kept], weights[kept])


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
