"""Checks of rows, validation rows, targets and loss parameters of a network before it trains."""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils.validation import validate_data

from sklearn_kd._networks.resolve import are_almost_hard_labels, is_warmed_up, stops_early
from sklearn_kd._tables.encoder_step import check_rows, encode_table, fit_encoder, read_rows
from sklearn_kd._utils.groups import check_groups_of_classes, encode_groups
from sklearn_kd._utils.label_indicators import (
    check_label_indices,
    check_label_names,
    check_soft_label_indicator,
    check_validation_indicator,
    is_label_indicator,
    learns_labels,
)
from sklearn_kd._utils.labels import check_no_missing_labels, class_factors, encode_labels
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
    #: (n_val,) int, indices into the classes, (n_val, n_labels) int, an indicator, or
    #: (n_val, n_targets), standardized numbers
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

    It sets ``classes_``, ``multilabel_``, ``encoder_`` and, by scikit-learn's validation, the
    features. A caller that restores them after a failure uses `all_or_nothing`.

    Parameters
    ----------
    est : estimator
    X, y, sample_weight, soft_targets
        As in ``fit``.
    classes : ndarray of shape (n_classes,), optional
        All labels, sorted, where they are known.
    reset : bool
        Whether to set the features and the encoder, unless there are those of ``warm_up``, or to
        use those of the earlier fit.
    encoded : (encoder, ndarray), optional
        The fitted encoder and the rows that the same check of another estimator has led to.

    Returns
    -------
    X : ndarray of shape (n_samples, n_encoded), float32 or float64
    y_encoded : ndarray of int of shape (n_samples,), or (n_samples, n_labels) for several labels
    weights : ndarray of float64 of shape (n_samples,)
        Positive, with class weights.
    soft_targets : ndarray of shape (n_samples, n_classes or n_labels) or None
    """
    has_labels = is_label_indicator(y)
    _check_kind_of_labels(est, y, has_labels, reset=reset)
    resets_inputs = reset and not is_warmed_up(est)
    kind = "labels" if has_labels else "classes"
    X, given, weights = _checked_rows(
        est, X, y, sample_weight, soft_targets, reset=resets_inputs, kind=kind
    )
    soft, labels = None, classes
    if has_labels:
        labels = _check_labels(y, soft_targets, classes)
        if soft_targets is not None:
            soft = check_soft_label_indicator(soft_targets, given)
    elif soft_targets is not None:
        soft, labels = check_soft_targets(soft_targets, given, classes=classes)
    X, y, weights, soft = _of_positive_weight(X, given, weights, soft)
    y_encoded = y
    if not has_labels:  # a class whose rows all have weight zero is absent, unless it is named
        labels, y_encoded = encode_labels(y, labels)
    if len(labels) < 2:
        raise ValueError(
            f"{type(est).__name__} needs samples of at least 2 classes, got 1 class: "
            f"{labels.tolist()}."
        )
    est.classes_, est.multilabel_ = labels, has_labels
    weighted = weigh_classes(est, y_encoded, weights)
    if encoded is not None:
        est.encoder_, X = encoded
    else:  # with the weights of the rows alone: those of the classes belong to the loss
        X = fit_encoder(est, X, weights, reset=resets_inputs, lazily=est._reads_rows_lazily)
    return X, y_encoded, weighted, soft


def _check_kind_of_labels(est, y, has_labels, *, reset):
    """Raise ValueError for several columns that are no indicator, or a change of the kind of y."""
    shape = np.shape(y) if hasattr(y, "shape") or isinstance(y, list | tuple) else ()
    if not has_labels and len(shape) == 2 and shape[1] > 1:
        check_no_missing_labels(y)
        raise ValueError(
            f"y should be a 1d array of labels, got an array of shape {shape} instead: several "
            "labels are an indicator with a column of 0 and 1 for each label."
        )
    if not reset and has_labels != learns_labels(est):
        now, before = ("several labels", "one label") if has_labels else ("one label", "several")
        raise ValueError(
            f"y has {now} for each row, but the first call to partial_fit was given {before}: "
            "call fit."
        )


def _check_labels(y, soft_targets, classes):
    """Return the indices of the labels of an indicator y, or raise ValueError."""
    n_labels = np.shape(y)[1]
    if classes is not None:
        check_label_indices(classes, n_labels)
    check_label_names(soft_targets, "soft_targets", y)
    return np.arange(n_labels)


def _checked_rows(est, X, y, sample_weight, soft_targets, **options):
    """Return rows and targets that `check_rows` has checked, and the weights of the rows."""
    check_rows_are_flat(est, X)
    check_row_order(soft_targets, X, y)
    X, y = check_rows(est, X, y, **options)
    return X, y, checked_weights(sample_weight, X)


def _of_positive_weight(X, y, weights, soft):
    """Return the rows of positive weight, with their targets."""
    kept = weights > 0
    if kept.all():
        return X, y, weights, soft
    soft = None if soft is None else soft[kept]
    return safe_indexing(X, np.flatnonzero(kept)), y[kept], weights[kept], soft


def check_regression_data(
    est, X, y, sample_weight, soft_targets, varies_later=False, *, reset=True, encoded=None
):
    """Validate and standardize the rows of a regression, and leave out those of weight zero.

    It sets ``target_offset_``, ``target_scale_``, ``encoder_`` and, by scikit-learn's validation,
    the features, as `check_training_data` does for classes.

    Parameters
    ----------
    varies_later : bool
        Whether later fits may continue from this one, whose targets vary more than these.
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
    resets_inputs = reset and not is_warmed_up(est)
    X, y, weights = _checked_rows(
        est, X, y, sample_weight, soft_targets, reset=resets_inputs, kind="numbers"
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
        X = fit_encoder(est, X, weights, reset=resets_inputs, lazily=est._reads_rows_lazily)
    if reset:
        # errors of other losses count linearly, so that outliers must not decide the unit either
        is_robust = est.loss != "squared_error"
        units = fit_target_units(y, weights, X.dtype, is_robust=is_robust, is_first=varies_later)
        est.target_offset_, est.target_scale_ = units
    elif y.shape[1:] != np.shape(est.target_scale_):
        raise ValueError(
            f"y has the shape {y.shape}, but the fit that training continues was given targets of "
            f"shape ({', '.join(['n_samples', *map(str, np.shape(est.target_scale_))])})."
        )
    units = est.target_offset_, est.target_scale_
    soft = None if soft is None else standardize_targets(soft, *units)
    return X, standardize_targets(y, *units), weights, soft


def checked_weights(sample_weight, X):
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
        kept = checked_weights(sample_weight, X) > 0
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
    y_encoded : ndarray of int of shape (n_samples,) or (n_samples, n_labels)
    weights : ndarray of shape (n_samples,)
        Without class weights, by a common factor.
    soft : ndarray of shape (n_samples, n_classes or n_labels) or None
    """
    if validation.group is None:
        return
    if learns_labels(est):
        check_two_groups(est, validation, y_encoded, weights, soft)
        return
    # with class weights, as the fit decides
    if stops_early(est, soft, weigh_classes(est, y_encoded, weights), validation):
        purpose = (
            "early stopping trains on some groups and holds others out. Pass X_val and y_val, set "
            "early_stopping=False, or pass no groups"
        )
        check_groups_of_classes(validation.group, y_encoded, est.classes_, purpose)


def check_two_groups(est, validation, y, weights, soft):
    """Raise ValueError for a fit that holds groups out where there is a single one.

    It is for numbers and for several labels, where no row has one class alone. The arguments are
    those of `check_groups_to_hold_out`.
    """
    if validation.group is None or validation.group.max() > 0:
        return
    # numbers of a teacher are without the noise of labels
    almost_hard = are_almost_hard_labels if learns_labels(est) else lambda soft, weights: False
    if stops_early(est, soft, weights, validation, almost_hard):
        raise ValueError(
            "all rows are in one group, and early stopping trains on some groups and holds others "
            "out. Pass X_val and y_val, set early_stopping=False, or pass no groups."
        )


def check_validation_classes(est, y_val, n_samples):
    """Return the labels of validation rows as indices into ``classes_``, (n_samples,).

    Several labels are returned as an indicator, (n_samples, n_labels).
    """
    if learns_labels(est):
        return check_validation_indicator(y_val, n_samples, len(est.classes_))
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
    weights = checked_weights(sample_weight_val, X)
    kept = weights > 0
    return ValidationSource(None, X[kept], y_encoded[kept], weights[kept])


def weigh_classes(est, y_encoded, weights):
    """Return the weights of the rows times those of their classes, which numbers do not have.

    Raises
    ------
    ValueError
        For weights of classes where rows have several labels.
    """
    if getattr(est, "class_weight", None) is None:
        return weights
    if learns_labels(est):
        raise ValueError(
            f"class_weight={est.class_weight!r} weighs the classes of rows that have one label "
            "each: set class_weight=None for several labels, or weigh rows by sample_weight."
        )
    return weights * class_factors(est.class_weight, est.classes_, y_encoded, weights)


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
