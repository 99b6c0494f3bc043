"""Validation of sample weights, probabilities and soft targets."""

import numpy as np
from sklearn.utils import assert_all_finite, column_or_1d

from sklearn_kd._utils.labels import (
    align_columns,
    check_known_labels,
    encode_labels,
    plain_labels,
    unite_labels,
)
from sklearn_kd._utils.sklearn_compat import check_sample_weight, num_samples
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning

#: Standard deviation of the number of agreeing rows in a random order. If it is larger, agreement
#: at chance is a sign of misaligned rows. Two equal classes reach it with about 100 rows.
MIN_AGREEMENT_STD_ROWS = 4.9
#: Numbers of channels by which the axis of the channels of an image is recognized.
CHANNELS = (1, 3, 4)
#: Largest difference from one of the sum of a row of probabilities that the user passes.
ROW_SUM_TOLERANCE = 1e-5
#: The same for probabilities that a model predicts. The mean of float32 softmax values over many
#: classes is less accurate.
PREDICTED_ROW_SUM_TOLERANCE = 1e-3


class NotFiniteError(ValueError):
    """Probabilities contain NaN or infinity."""


class TooFewRowsError(ValueError):
    """There are fewer distinct rows than transfer rows need."""

    def __init__(self, message, n_needed, n_distinct):
        super().__init__(message, n_needed, n_distinct)
        self.n_needed, self.n_distinct = n_needed, n_distinct

    def __str__(self):
        return self.args[0]


def check_rows_are_flat(estimator, X, name="X", *, fits=True):
    """Raise ValueError for rows of two or more dimensions, such as images, and say what to pass.

    Parameters
    ----------
    estimator : estimator
    X : array-like
    name : str
        What the message calls ``X``.
    fits : bool
        Whether these are rows of a fit. If the estimator has the parameter ``image_shape``, the
        message then names its value.
    """
    shape = _nested_shape(X)
    if len(shape) <= 2:
        return
    image, flat = shape[1:], name
    if len(image) == 2:
        image = (1, *image)
    elif len(image) == 3 and image[-1] in CHANNELS and image[0] not in CHANNELS:
        image, flat = (image[-1], *image[:-1]), f"{name}.transpose(0, 3, 1, 2)"  # channels first
    advice = f"pass a flat row for each sample, {flat}.reshape(len({name}), -1)"
    set_shape = vars(estimator).get("image_shape", image)
    if fits and (set_shape is None or tuple(set_shape) != image):
        advice += f", with image_shape={image} for a module that takes images"
    raise ValueError(
        f"Found array with dim {len(shape)}, while dim <= 2 is required by "
        f"{type(estimator).__name__}: {name} has the shape {shape}, so {advice}."
    )


def _nested_shape(X):
    """Return the shape of an array or of nested lists."""
    if hasattr(X, "shape"):
        return tuple(X.shape)
    return (len(X), *_nested_shape(X[0])) if isinstance(X, list | tuple) and len(X) else ()


def validate_sample_weight(sample_weight, X):
    """Return non-negative float64 weights of shape (n_samples,), which are ones for None."""
    return check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True, copy=False
    )


def check_column(values, name):
    """Return an argument called ``name`` as an array of one dimension."""
    values = np.asarray(values)
    if values.ndim != 1 and values.shape[1:] != (1,):
        raise ValueError(f"{name} should be a 1d array, got an array of shape {values.shape}.")
    return column_or_1d(values, warn=True)


def check_validation_pair(X_val, y_val):
    """Raise ValueError if validation rows or their labels are missing."""
    for name, value in (("X_val", X_val), ("y_val", y_val)):
        if value is None:
            raise ValueError(
                "X_val and y_val belong together, and sample_weight_val to both, but "
                f"{name} was not passed: pass {name} too."
            )


def check_validation_rows_are_used(estimator):
    """Raise ValueError if an estimator that is given validation rows does not stop early."""
    if not estimator.get_params(deep=False).get("early_stopping", True):
        raise ValueError(
            "X_val and y_val are passed to fit while early_stopping is False, so that "
            f"{type(estimator).__name__} would not use them: set early_stopping=True, or pass no "
            "validation rows."
        )


def check_validation_labels(y_val, n_samples, classes):
    """Return the labels of ``n_samples`` validation rows, which must be among the classes."""
    y_val = check_column(plain_labels(y_val), "y_val")
    assert_all_finite(y_val, input_name="y_val")
    if len(y_val) != n_samples:
        raise ValueError(f"y_val has {len(y_val)} labels for the {n_samples} rows of X_val.")
    check_known_labels(y_val, classes)
    return y_val


def rescale_weights(weights):
    """Multiply weights by a power of two so that the largest is below one and no sum overflows.

    The result is exact except for weights of less than 1e-300 times the largest.
    """
    return np.ldexp(weights, -np.frexp(weights.max())[1])


def check_soft_targets(soft_targets, y, *, classes=None):
    """Check soft targets at temperature 1 and sort their columns by class.

    Parameters
    ----------
    soft_targets : array-like of shape (n_samples, n_classes) or DataFrame
        The columns of an array are in the order of ``np.unique(y)``. The column labels of a
        DataFrame are class labels, which may include classes that do not occur in y. A row of NaN
        means the hard label of this row.
    y : array-like of shape (n_samples,)
        Hard labels.
    classes : ndarray of shape (n_classes,), optional
        All labels, sorted, if they are known. The columns of an array are then in their order, and
        a DataFrame may have no other columns.

    Returns
    -------
    soft_targets : ndarray of float64 of shape (n_samples, n_classes)
        Columns in the order of ``classes``, rows renormalized to sum to one.
    classes : ndarray of shape (n_classes,)
        ``np.unique(y)``, or its union with the column labels of the DataFrame.
    """
    known = classes
    classes, y_encoded = encode_labels(y, known)
    labeled = is_labeled(soft_targets)
    if labeled:
        columns = column_labels(soft_targets, classes)
        check_column_labels(columns, np.unique(y), known)
        soft_targets = frame_values(soft_targets)
    soft_targets = np.asarray(soft_targets)
    if np.iscomplexobj(soft_targets):
        raise ValueError("soft_targets must be real numbers, got complex ones.")
    tolerance = row_sum_tolerance(soft_targets)
    Q = np.array(soft_targets, dtype=np.float64)  # a copy, since it is renormalized below
    n_samples = num_samples(y)
    if Q.ndim != 2 or Q.shape[0] != n_samples:
        raise ValueError(
            f"soft_targets must have shape (n_samples, n_classes) with n_samples={n_samples}, "
            f"got {Q.shape}."
        )
    is_missing = missing_rows(Q)
    if labeled:
        union = unite_labels(classes, columns)
        Q = align_columns(Q, columns, union)
        y_encoded = np.searchsorted(union, classes)[y_encoded]
        classes = union
    elif Q.shape[1] != len(classes):
        raise ValueError(
            f"soft_targets has {Q.shape[1]} columns but there are {len(classes)} classes "
            f"{classes.tolist()}. If y lacks a class, as in a fold of a cross-validation, "
            "pass a DataFrame whose columns are the class labels."
        )
    Q[is_missing] = np.eye(len(classes))[y_encoded[is_missing]]
    check_probabilities(Q, "soft_targets", tolerance)
    np.clip(Q, 0.0, 1.0, out=Q)
    Q /= Q.sum(axis=1, keepdims=True)
    if is_missing.all():
        warn_caller(
            "all rows of soft_targets are NaN, so that y alone is learned here.",
            SoftTargetsAlignmentWarning,
        )
    else:
        _warn_if_misaligned(Q[~is_missing], y_encoded[~is_missing])
    return Q, classes


def is_labeled(soft_targets):
    """Return whether soft targets are a DataFrame, whose columns name the classes."""
    return hasattr(soft_targets, "columns") and hasattr(soft_targets, "to_numpy")


def column_labels(frame, classes=None):
    """Return the class labels that the columns of a DataFrame have as their names.

    Columns of other libraries than pandas are named by strings, such as "0" for the class 0, which
    the dtype of ``classes`` tells from the class "0".
    """
    columns = frame.columns
    if hasattr(frame, "iloc"):
        # numbers and booleans in an Index of objects
        return np.asarray(getattr(columns, "infer_objects", lambda: columns)())
    columns = np.asarray(columns)
    if classes is None:
        return columns
    if classes.dtype.kind == "b":
        named = {"true": True, "false": False}
        values = [named.get(name.lower(), name) for name in columns.tolist()]
        return np.asarray(values) if set(values) <= {True, False} else columns
    if classes.dtype.kind not in "iuf":
        return columns
    try:
        numbers = columns.astype(np.float64)
    except ValueError:  # an error that names the columns follows
        return columns
    labels = numbers.astype(classes.dtype)
    return labels if (labels == numbers).all() else numbers


def frame_values(frame):
    """Return the values of a DataFrame, with NaN for missing values of nullable columns."""
    values = frame.to_numpy()
    if values.dtype == object and hasattr(frame, "iloc"):  # pandas
        values = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    return values


def missing_rows(Q):
    """Return a mask of the rows of NaN, which have no soft targets, or raise ValueError.

    All rows may be missing, as they are in some folds of a search and some batches of a stream.
    """
    is_nan = np.isnan(Q)
    is_missing = is_nan.all(axis=1)
    partly = np.flatnonzero(is_nan.any(axis=1) & ~is_missing)
    if len(partly):
        raise NotFiniteError(
            f"soft_targets contains NaN in a part of row {partly[0]}: a row without soft targets, "
            "which means its hard label, has NaN in all columns."
        )
    return is_missing


def check_column_labels(columns, classes, known):
    """Raise ValueError for repeated column labels, and for missing or unknown classes."""
    if len(np.unique(columns)) != len(columns):
        raise ValueError(f"soft_targets has repeated column labels: {columns.tolist()}.")
    missing = np.setdiff1d(classes, columns)
    if len(missing):
        raise ValueError(
            f"soft_targets has no column for the labels {missing.tolist()} of y; its columns "
            f"are {columns.tolist()}. The column labels must be class labels."
        )
    unknown = [] if known is None else np.setdiff1d(columns, known)
    if len(unknown):
        raise ValueError(
            f"soft_targets has columns {unknown.tolist()} that are not among the classes "
            f"{known.tolist()}."
        )


def row_sum_tolerance(P):
    """Return how far from one rows of given probabilities may sum, which half precision rounds."""
    is_half = np.asarray(P).dtype == np.float16
    return PREDICTED_ROW_SUM_TOLERANCE if is_half else ROW_SUM_TOLERANCE


def check_probabilities(P, name, tolerance=ROW_SUM_TOLERANCE):
    """Raise ValueError if the rows of ``P``, called ``name``, are not probabilities."""
    if not np.isfinite(P).all():
        raise NotFiniteError(f"{name} contains NaN or infinity.")
    check_unit_interval(P, name, tolerance)
    total = P.sum(axis=1, dtype=np.float64)
    off = np.abs(total - 1)
    if off.max(initial=0.0) > tolerance:
        row = int(off.argmax())
        raise ValueError(
            f"each row of {name} must sum to 1 within {tolerance:g}; row {row} sums to "
            f"{total[row]:.8g}. Divide each row by its sum if the values are otherwise correct."
        )


def check_unit_interval(P, name, tolerance=ROW_SUM_TOLERANCE):
    """Raise ValueError if a value is outside [0, 1]."""
    if P.min(initial=0.0) < -tolerance or P.max(initial=0.0) > 1 + tolerance:
        raise ValueError(
            f"{name} must be probabilities in [0, 1] (predict_proba, not decision values or "
            f"logits), got values in [{P.min():.6g}, {P.max():.6g}]."
        )


def _warn_if_misaligned(Q, y_encoded):
    """Warn if argmax Q agrees with y no more often than in a random order of the rows.

    The expected agreement and its standard deviation are those of a random order. Targets whose
    largest value is always in the same column, on which the order has no effect, give no warning.
    """
    n_samples, n_classes = Q.shape
    best = Q.argmax(axis=1)
    of_best = np.bincount(best, minlength=n_classes) / n_samples
    of_y = np.bincount(y_encoded, minlength=n_classes) / n_samples
    agreement = np.mean(best == y_encoded)
    both = of_best * of_y
    chance = both.sum()
    variance = (chance - both @ (of_best + of_y) + chance**2) / max(n_samples - 1, 1)
    spread = np.sqrt(max(variance, 0.0))
    # on few rows a weak teacher may agree less often than chance; on many rows it cannot
    tolerance = 2 * spread if spread * n_samples > MIN_AGREEMENT_STD_ROWS else -spread
    if agreement < chance + tolerance - 1e-9:
        warn_caller(
            f"the largest soft target is the label in y on {agreement:.1%} of the rows, where "
            f"another order of the rows would give {chance:.1%} +- {spread:.1%}: the rows or "
            "columns of soft_targets are probably in another order than y and np.unique(y), or "
            "the teacher has learned nothing.",
            SoftTargetsAlignmentWarning,
        )


def check_target_order(values, name, y):
    """Raise ValueError for a DataFrame that has the columns of another one, y, in another order."""
    if not (hasattr(values, "columns") and hasattr(y, "columns")):
        return
    given, wanted = list(values.columns), list(y.columns)
    if given != wanted and set(given) == set(wanted):
        raise ValueError(f"{name} has the columns of y in another order: pass {name}[y.columns].")


def check_row_order(soft_targets, X, y):
    """Raise ValueError if soft targets have the index of X or y, or columns, in another order."""
    check_target_order(soft_targets, "soft_targets", y)
    if not hasattr(soft_targets, "iloc"):  # a DataFrame, or a Series of numbers
        return
    index = soft_targets.index
    for name, other in (("X", X), ("y", y)):
        if not hasattr(other, "iloc") or len(other) != len(index) or index.equals(other.index):
            continue
        if index.is_unique and other.index.is_unique and index.isin(other.index).all():
            raise ValueError(
                f"soft_targets has the index of {name} in another order: pass "
                f"soft_targets.loc[{name}.index] if its rows belong to their labels, or "
                f"soft_targets.set_axis({name}.index) if they are in the order of {name}."
            )


def check_option(value, name, options):
    """Raise ValueError if a string parameter is not one of ``options``."""
    if not (isinstance(value, str) and value in options):
        raise ValueError(f"{name} must be one of {list(options)}, got {value!r}.")
