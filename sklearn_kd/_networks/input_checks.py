"""Checks of rows, validation rows, targets and loss parameters of a network before it trains."""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils.validation import validate_data

from sklearn_kd._networks.resolve import stops_early
from sklearn_kd._tables.encoder_step import check_rows, encode_table, fit_encoder, read_rows
from sklearn_kd._utils.groups import check_groups_of_classes, encode_groups
from sklearn_kd._utils.labels import class_factors, encode_labels
from sklearn_kd._utils.quantile_levels import check_levels
from sklearn_kd._utils.regression_targets import (
    check_numbers,
    check_soft_numbers,
    fit_target_units,
    standardize_targets,
)
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
    #: (n_val,) int, indices into the classes, or (n_val, n_targets), standardized numbers
    y_encoded: np.ndarray | None = None
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
    X, y, weights = _checked_rows(est, X, y, sample_weight, soft_targets, reset=reset)
    soft, labels = None, classes
    if soft_targets is not None:
        soft, labels = check_soft_targets(soft_targets, y, classes=classes)
    X, y, weights, soft = _of_positive_weight(X, y, weights, soft)
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


def _checked_rows(est, X, y, sample_weight, soft_targets, **options):
    """Return rows and targets that `check_rows` has checked, and the weights of the rows."""
    check_rows_are_flat(est, X)
    check_row_order(soft_targets, X, y)
    X, y = check_rows(est, X, y, **options)
    return X, y, _checked_weights(sample_weight, X)


def _of_positive_weight(X, y, weights, soft):
    """Return the rows of positive weight, with their targets."""
    kept = weights > 0
    if kept.all():
        return X, y, weights, soft
    soft = None if soft is None else soft[kept]
    return safe_indexing(X, np.flatnonzero(kept)), y[kept], weights[kept], soft


def check_regression_data(
    est, X, y, sample_weight, soft_targets, partial=False, *, reset=True, encoded=None
):
    """Validate and standardize the rows of a regression, and leave out those of weight zero.

    It sets ``target_offset_``, ``target_scale_``, ``encoder_`` and, by scikit-learn's validation,
    the features, as `check_training_data` does for classes.

    Parameters
    ----------
    partial : bool
        Whether later calls of `partial_fit` may follow, whose targets vary more than these.
    est, X, y, sample_weight, soft_targets, reset, encoded
        As for `check_training_data`.

    Returns
    -------
    X : ndarray of shape (n_samples, n_encoded), float32 or float64
    targets : ndarray of float64 of shape (n_samples, n_targets)
        Standardized.
    weights : ndarray of float64 of shape (n_samples,)
        Positive.
    soft_targets : ndarray of float64 of shape (n_samples, n_targets) or None
        In the same units. Quantiles of a teacher have the shape (n_samples, n_targets, n_levels),
        with NaN in the rows without soft targets.
    """
    X, y, weights = _checked_rows(
        est, X, y, sample_weight, soft_targets, reset=reset, is_regression=True
    )
    soft = None
    if soft_targets is not None:
        soft = check_soft_numbers(soft_targets, y, est.quantiles_)
        if soft.ndim == 3 and est.alpha > 1:
            raise ValueError(
                f"alpha={est.alpha} is above 1, where the loss of quantiles of a teacher may have "
                "no least value: set it to at most 1."
            )
    X, y, weights, soft = _of_positive_weight(X, y, weights, soft)
    if encoded is not None:
        est.encoder_, X = encoded
    else:
        X = fit_encoder(est, X, weights, reset=reset)
    if reset:
        units = fit_target_units(y, weights, X.dtype, is_first=partial)
        est.target_offset_, est.target_scale_ = units
    elif y.shape[1:] != np.shape(est.target_scale_):
        raise ValueError(
            f"y has the shape {y.shape}, but the first call to partial_fit was given targets of "
            f"shape (n_samples, *{np.shape(est.target_scale_)})."
        )
    units = est.target_offset_, est.target_scale_
    soft = None if soft is None else standardize_targets(soft, *units)
    return X, standardize_targets(y, *units), weights, soft


def _checked_weights(sample_weight, X):
    return rescale_weights(validate_sample_weight(sample_weight, X))


def check_validation_source(
    est,
    X,
    sample_weight,
    encode_targets,
    *,
    groups=None,
    X_val=None,
    y_val=None,
    sample_weight_val=None,
):
    """Validate groups and validation rows of a fit whose rows `check_training_data` has checked.

    Parameters
    ----------
    est : estimator
        With features, and ``classes_`` or the units of the targets, set.
    X, sample_weight
        As passed to ``fit``.
    encode_targets : callable
        `check_validation_classes` or `check_validation_numbers` of ``est``.
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
        return _check_validation_rows(est, X_val, y_val, sample_weight_val, encode_targets)
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


def check_two_groups(est, validation, y, weights, soft):
    """Raise ValueError for a fit on numbers that holds groups out where there is a single one.

    The arguments are those of `check_groups_to_hold_out`.
    """
    if validation.group is None or validation.group.max() > 0:
        return
    if stops_early(est, soft, None, validation, lambda soft, weights: False):
        raise ValueError(
            "all rows are in one group, and early stopping trains on some groups and holds others "
            "out. Pass X_val and y_val, set early_stopping=False, or pass no groups."
        )


def check_validation_classes(est, y_val, n_samples):
    """Return the labels of validation rows as indices into ``classes_``, (n_samples,)."""
    return encode_labels(check_validation_labels(y_val, n_samples, est.classes_), est.classes_)[1]


def check_validation_numbers(est, y_val, n_samples):
    """Return the targets of validation rows, (n_samples, n_targets), in standardized units."""
    y_val = check_numbers(y_val, "y_val")
    shape = (n_samples, *np.shape(est.target_scale_))
    if y_val.shape != shape:
        raise ValueError(
            f"y_val has the shape {y_val.shape} for the {n_samples} rows of X_val: pass targets of "
            f"shape {shape}, as those of y are."
        )
    return standardize_targets(y_val, est.target_offset_, est.target_scale_)


def _check_validation_rows(est, X_val, y_val, sample_weight_val, encode_targets):
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
    y_encoded = encode_targets(y_val, len(X))
    if np.ndim(sample_weight_val) and num_samples(sample_weight_val) != len(X):
        raise ValueError(
            f"sample_weight_val has {num_samples(sample_weight_val)} entries for the {len(X)} rows "
            "of X_val."
        )
    weights = _checked_weights(sample_weight_val, X)
    kept = weights > 0
    return ValidationSource(None, X[kept], y_encoded[kept], weights[kept])


def weigh_classes(est, y_encoded, weights):
    """Return the weights of the rows times those of their classes, which numbers do not have."""
    if getattr(est, "class_weight", None) is None:
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


def check_quantiles(est):
    """Return the levels of the quantiles that a regressor learns, (Q,), or None for other losses.

    Raises
    ------
    ValueError
        If they are not ascending numbers between 0 and 1, or do not belong to the loss.
    """
    if est.loss != "quantile":
        if est.quantiles is not None:
            raise ValueError(
                f"quantiles={est.quantiles} belong to loss='quantile', got loss={est.loss!r}: set "
                "quantiles=None, or the loss."
            )
        return None
    return check_levels([0.5] if est.quantiles is None else est.quantiles)


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
