"""What `partial_fit` and `warm_up` of the networks check and fit before any training."""

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import validate_data

from sklearn_kd._networks.input_checks import check_quantiles, checked_weights
from sklearn_kd._tables.encoder_step import fit_encoder, read_rows
from sklearn_kd._utils.label_indicators import is_label_indicator, learns_labels
from sklearn_kd._utils.regression_targets import check_numbers, nearest_to_median
from sklearn_kd._utils.sklearn_compat import safe_indexing
from sklearn_kd._utils.validation import (
    NotFiniteError,
    check_column_labels,
    check_rows_are_flat,
    column_labels,
    frame_values,
    is_labeled,
    missing_rows,
)
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import SmallBatchWarning

#: Rows of a first batch below which a warning recommends ``warm_up``.
MIN_FIRST_ROWS = 1000


def fit_inputs(est, X, sample_weight):
    """Set the features, the encoder and the scaling of the inputs, before there are targets."""
    est._check_values(has_soft_targets=False, holds_out=False)
    check_rows_are_flat(est, X)
    table = read_rows(est, X, est.encoder)
    validate_data(est, X, skip_check_array=True)
    weights = checked_weights(sample_weight, table)
    kept = weights > 0
    table, weights = safe_indexing(table, np.flatnonzero(kept)), weights[kept]
    warn_of_few_rows(est, len(weights))
    rows = fit_encoder(est, table, weights, lazily=est._reads_rows_lazily)
    est.input_offset_, est.input_scale_ = est._fit_input_scaling(rows, weights)


def forget_inputs(est):
    """Remove what `fit_inputs` has set, apart from the features."""
    for name in ("encoder_", "input_offset_", "input_scale_"):
        del est.__dict__[name]


def warn_of_few_rows(est, n_rows):
    """Warn where few rows decide the encoding and the scaling of the inputs of all batches."""
    fitted = ["the scaling"] if est.input_scaling else []
    if est.encoder is not None and not isinstance(est.encoder, FrozenEstimator):
        fitted.insert(0, "the encoding")
    if fitted and n_rows < MIN_FIRST_ROWS:
        warn_caller(
            f"{n_rows} rows decide {' and '.join(fitted)} of the inputs of all batches: call "
            f"warm_up(X) before the first batch, with {MIN_FIRST_ROWS} rows or more that are like "
            "all later ones.",
            SmallBatchWarning,
        )


def most_probable_labels(est, soft_targets, classes):
    """Return labels and classes for a call of `partial_fit` without y.

    The labels have no part in the loss. Raises ValueError where they would have one.
    """
    _check_learns_soft_targets(est, soft_targets)
    if getattr(est, "class_weight", None) is not None:
        raise ValueError(
            f"class_weight={est.class_weight!r} weighs the classes of y: pass y, or set "
            "class_weight=None and weigh the rows by sample_weight."
        )
    if est.__sklearn_is_fitted__():
        if learns_labels(est):
            raise ValueError(
                "y can be left out for one label of each row: pass an indicator of several labels, "
                "such as (soft_targets > 0.5).astype(int)."
            )
        classes = est.classes_ if classes is None else classes
    elif classes is None and not is_labeled(soft_targets):
        raise ValueError(
            "the first call to partial_fit needs all labels: pass classes, or soft_targets as a "
            "DataFrame whose columns are the class labels."
        )
    known = None if classes is None else _sorted_classes(classes)
    columns, values = known, soft_targets
    if is_labeled(soft_targets):
        columns, values = column_labels(soft_targets, known), frame_values(soft_targets)
        check_column_labels(columns, columns[:0], known)
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(columns):
        raise ValueError(
            f"soft_targets must have a column for each of the {len(columns)} classes "
            f"{columns.tolist()}, got the shape {values.shape}."
        )
    is_missing = missing_rows(values)
    if is_missing.any():
        raise NotFiniteError(
            f"row {is_missing.argmax()} of soft_targets is NaN, and without y it has no label "
            "either: leave it out, or pass y."
        )
    # the probabilities themselves are checked with those labels
    return columns[values.argmax(axis=1)], columns if known is None else known


def predicted_numbers(est, soft_targets):
    """Return the targets for a call of `partial_fit` without y, which have no part in the loss."""
    _check_learns_soft_targets(est, soft_targets)
    levels = check_quantiles(est)
    max_dimensions = 2 if levels is None else 3
    soft = check_numbers(soft_targets, "soft_targets", max_dimensions=max_dimensions)
    if levels is None or soft.ndim == 1 or soft.shape[-1] != len(levels):
        return soft
    if est.__sklearn_is_fitted__() and soft.ndim == 1 + np.ndim(est.target_scale_):
        return soft  # of as many targets as there are quantiles
    return soft[..., nearest_to_median(levels)]


def _check_learns_soft_targets(est, soft_targets):
    """Raise ValueError for `partial_fit` without y where it would have a part in the loss."""
    if soft_targets is None:
        raise ValueError("partial_fit needs the targets y, or soft_targets in their place.")
    if est.alpha != 1:
        raise ValueError(
            f"alpha={est.alpha} gives y the weight 1 - alpha in the loss: pass y, or set alpha=1 "
            "to learn soft_targets alone."
        )


def check_partial_classes(est, classes):
    """Return the sorted labels for a call of `partial_fit`, or raise ValueError."""
    if est.class_weight == "balanced":
        raise ValueError(
            "class_weight='balanced' needs all rows at once: pass a dict to partial_fit."
        )
    if not est.__sklearn_is_fitted__():
        if classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return _sorted_classes(classes)
    classes = None if classes is None else _sorted_classes(classes)
    if classes is not None and not np.array_equal(classes, est.classes_):
        raise ValueError(
            f"classes={classes.tolist()} is not what the first call to "
            f"partial_fit was given: {est.classes_.tolist()}."
        )
    return est.classes_


def _sorted_classes(classes):
    """Return sorted labels. An indicator stands for the indices of its labels."""
    if is_label_indicator(classes):
        return np.arange(np.shape(classes)[1])
    return np.unique(classes)
