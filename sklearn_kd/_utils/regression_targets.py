"""Validation and weighted standardization of the targets of a regression."""

import numpy as np
import scipy.sparse as sp
from sklearn.utils import assert_all_finite

from sklearn_kd._utils.scaling import mean_and_deviation, warn_if_digits_are_lost
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd._utils.weighted_quantiles import weighted_quantiles
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning

#: Spacing of standardized targets. Targets in other units differ by rounding, which training would
#: magnify. They are the same numbers on this grid, which is far finer than any noise.
SPACING = 2.0**-32
#: Largest size of a standardized target. A robust unit may be smaller by any factor than a target
#: far away, whose number must be finite in float32. No network predicts as much.
MAX_STANDARDIZED = 2.0**96
#: Share of the weight whose distances from the median count in full in a robust unit. Targets
#: further away count as the last of these. docs/results.md compares it with .9, .98 and the
#: interquartile range.
CORE_SHARE = 0.95
#: Root mean square of the limited distances of a normal distribution of standard deviation one:
#: with its quantile c of (1 + CORE_SHARE) / 2 and density p, the square is
#: CORE_SHARE - 2 c p(c) + (1 - CORE_SHARE) c ** 2.
NORMAL_CORE_DEVIATION = 0.95549593261882
#: Share of the largest number of a dtype that targets may reach, so that predictions are finite.
MAX_TARGET_SHARE = 2.0**-40
#: Standard deviations of the correlation of unrelated numbers, above which that of soft targets and
#: targets has to be. On fewer rows than `MIN_ALIGNMENT_ROWS` it has to be above minus one of them.
ALIGNMENT_DEVIATIONS, MIN_ALIGNMENT_ROWS = 2.0, 100


def check_numbers(values, name, *, allow_nan=False, max_dimensions=2):
    """Return the targets called ``name`` as an array of finite float64 of one or two dimensions.

    Parameters
    ----------
    values : array-like of shape (n_samples,) or (n_samples, n_targets)
    name : str
    allow_nan : bool, default=False
        Whether NaN is allowed.
    max_dimensions : int, default=2
        Three where quantiles may follow as a last dimension.

    Returns
    -------
    ndarray of float64, same shape
    """
    if sp.issparse(values):
        raise TypeError(f"Sparse data was passed for {name}: pass {name}.toarray().")
    _refuse_dates(values, name)
    if hasattr(values, "iloc"):  # pandas, with missing cells of nullable columns
        values = _pandas_numbers(values, name)
    values = np.asarray(values)
    _refuse_dates(values, name)  # such as those of polars
    if np.iscomplexobj(values):
        raise ValueError(f"Complex data not supported: {name} must be real numbers.")
    try:
        values = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers for a regression: {error}.") from error
    if not 1 <= values.ndim <= max_dimensions or 0 in values.shape[1:]:
        raise ValueError(
            f"{name} should be of shape (n_samples,) or (n_samples, n_targets), got an array of "
            f"shape {values.shape}."
        )
    assert_all_finite(values[~np.isnan(values)] if allow_nan else values, input_name=name)
    return values


def _refuse_dates(values, name):
    """Raise ValueError for dates and durations, whose numbers are in an arbitrary unit."""
    dtypes = values.dtypes if getattr(values, "ndim", 1) == 2 and hasattr(values, "iloc") else []
    kinds = {getattr(each, "kind", None) for each in [getattr(values, "dtype", None), *dtypes]}
    if kinds & {"M", "m"}:
        raise ValueError(
            f"{name} must be numbers for a regression, and contains dates or durations: pass them "
            "in a unit of your choice, such as (y - y.min()).dt.days."
        )


def _pandas_numbers(values, name):
    try:
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers for a regression: {error}.") from error


def check_soft_numbers(soft_targets, y, levels=None):
    """Return the numbers of a teacher, of the shape of the checked ``y``, or its quantiles.

    A row of NaN has no soft targets, which means that it has its targets ``y``.

    Parameters
    ----------
    soft_targets : array-like of shape (n_samples,) or (n_samples, n_targets)
        With ``levels`` also (n_samples, n_levels) for a ``y`` of one dimension, and (n_samples,
        n_targets, n_levels).
    y : ndarray of float64 of shape (n_samples,) or (n_samples, n_targets)
    levels : ndarray of shape (n_levels,), optional
        Levels of the quantiles that are learned.

    Returns
    -------
    ndarray of float64 of shape (n_samples,), (n_samples, n_targets) or (n_samples, n_targets, \
            n_levels)
        Three dimensions are quantiles, ascending, with NaN in the rows without soft targets.

    Warns
    -----
    SoftTargetsAlignmentWarning
        If no target is correlated with its soft targets, or if quantiles descend on average.
    """
    dimensions = 2 if levels is None else 3
    soft = check_numbers(soft_targets, "soft_targets", allow_nan=True, max_dimensions=dimensions)
    if levels is not None and soft.shape == (*y.shape, len(levels)):
        return _check_soft_quantiles(soft.reshape(len(y), -1, len(levels)), y, levels)
    if soft.size == y.size and len(soft) == len(y):  # a column and an array of one dimension
        soft = soft.reshape(y.shape)
    if soft.shape != y.shape:
        quantiles = ""
        if levels is not None:
            quantiles = f", or {(*y.shape, len(levels))}, where they are its quantiles"
        raise ValueError(
            f"soft_targets must have the shape of y, {y.shape}, where they are the values that a "
            f"teacher predicts{quantiles}: got the shape {soft.shape}."
        )
    is_missing = _missing_rows(soft)
    if is_missing.all():
        return y
    warn_if_misaligned(soft[~is_missing], y[~is_missing])
    soft[is_missing] = y[is_missing]
    return soft


def _check_soft_quantiles(soft, y, levels):
    """Return the quantiles of a teacher, (n_samples, n_targets, n_levels), sorted."""
    known = ~_missing_rows(soft)
    if (np.diff(soft[known].sum(axis=0)) < 0).any():
        warn_caller(
            "soft_targets are quantiles, but on average they descend from one level to the next: "
            "their columns are probably in another order than quantiles. Those of each row are "
            "sorted.",
            SoftTargetsAlignmentWarning,
        )
    soft = np.sort(soft, axis=2)  # a row of NaN stays one
    _warn_if_quantiles_are_misaligned(soft[known], y[known], levels)
    return soft


def _missing_rows(soft):
    """Return which rows of soft targets are NaN, and raise ValueError for rows that partly are."""
    is_nan = np.isnan(soft).reshape(len(soft), -1)
    is_missing = is_nan.all(axis=1)
    partly = np.flatnonzero(is_nan.any(axis=1) & ~is_missing)
    if len(partly):
        raise ValueError(
            f"soft_targets contains NaN in a part of row {partly[0]}: a row without soft targets, "
            "which means its y, has NaN in all columns."
        )
    if is_missing.all():
        warn_caller(
            "all rows of soft_targets are NaN, so that y alone is learned here.",
            SoftTargetsAlignmentWarning,
        )
    return is_missing


def warn_if_misaligned(soft, y):
    """Warn if no column of y is correlated with the same column of soft targets."""
    n_samples = len(y)
    soft, y = (each.reshape(n_samples, -1) for each in (soft, y))
    varies = (np.ptp(soft, axis=0) > 0) & (np.ptp(y, axis=0) > 0)
    if n_samples < 3 or not varies.any():
        return
    with np.errstate(all="ignore"):
        pairs = [np.corrcoef(a, b)[0, 1] for a, b in zip(soft.T[varies], y.T[varies], strict=True)]
    spread = (n_samples - 1) ** -0.5
    if np.max(pairs) < _least_deviations(n_samples) * spread:
        _warn_of_other_order(
            f"soft_targets and y have a correlation of at most {np.max(pairs):.3f}, where another "
            f"order of the rows would give 0 +- {spread:.3f}"
        )


def _least_deviations(n_samples):
    return ALIGNMENT_DEVIATIONS if n_samples >= MIN_ALIGNMENT_ROWS else -1.0


def _warn_of_other_order(what):
    warn_caller(
        f"{what}: the rows of soft_targets are probably in another order than those of y, or the "
        "teacher has learned nothing.",
        SoftTargetsAlignmentWarning,
    )


def _warn_if_quantiles_are_misaligned(soft, y, levels):
    """Warn if the pinball loss of quantiles is that of quantiles in any other order of the rows.

    Quantiles need not be correlated with the targets, whose spread alone may depend on the row.
    """
    n_samples, deviations = len(y), []
    if n_samples < 3:
        return
    y = y.reshape(n_samples, -1)
    varies = (np.ptp(soft, axis=0) > 0).any(axis=1) & (np.ptp(y, axis=0) > 0)
    for target in np.flatnonzero(varies):
        center, unit = y[:, target].mean(), np.abs(y[:, target]).max()
        numbers, quantiles = (
            each / unit - center / unit for each in (y[:, target], soft[:, target])
        )
        error = numbers[:, None] - quantiles
        own = np.maximum(levels * error, (levels - 1) * error)
        # the mean of the loss over all targets y_j has the mean of (s - y_j)+ as a part
        ordered = np.sort(numbers)
        sums, below = np.r_[0, np.cumsum(ordered)], np.searchsorted(ordered, quantiles)
        of_all = (below * quantiles - sums[below]) / n_samples - levels * quantiles
        gain = (of_all - own).mean(axis=1)
        deviations.append(gain.mean() / max(gain.std() / n_samples**0.5, np.finfo(float).tiny))
    if deviations and max(deviations) < _least_deviations(n_samples):
        _warn_of_other_order(
            "soft_targets have a pinball loss on y that is at most "
            f"{max(deviations):.1f} standard errors less than in a random order of the rows"
        )


def fit_target_units(y, weights, dtype=np.float64, *, is_robust=False, is_first=False):
    """Return the offset and the unit of each target, by which it is standardized.

    They are its weighted mean and standard deviation, or robust estimates of both: the weighted
    median, and the root of the weighted mean square of the distances from it, where large ones are
    limited to their weighted quantile of level .95, as in Winsor's variance. It is divided by its
    value for a normal distribution, so that it estimates the standard deviation there. Where most
    targets are equal, the limit is at least the median distance of those that are not.

    Parameters
    ----------
    y : ndarray of float64 of shape (n_samples,) or (n_samples, n_targets)
    weights : ndarray of shape (n_samples,)
        Positive.
    dtype : numpy dtype, default=float64
        That predictions have.
    is_robust : bool, default=False
        Whether targets far from the others, of less than a twentieth of the weight, have next to no
        influence.
    is_first : bool, default=False
        Whether this is the first of several batches, so that a constant target may vary later.

    Returns
    -------
    offset, scale : float, or ndarray of float64 of shape (n_targets,)
        The scale of a constant target is zero, but positive for the first of several batches.

    Raises
    ------
    ValueError
        If the targets are too large, or their deviations too small, for ``dtype``.

    Warns
    -----
    PrecisionWarning
        If the scale of a target is less than 1000 times the spacing of numbers at its offset.
    """
    columns, limits = y.reshape(len(y), -1), np.finfo(dtype)
    largest = np.abs(columns).max()
    if largest > limits.max * MAX_TARGET_SHARE:
        raise ValueError(
            f"y has values up to {largest:.3g}, too large for predictions in {np.dtype(dtype)}: "
            "divide y by a constant."
        )
    fit_units = _median_and_core_deviation if is_robust else mean_and_deviation
    offset, scale = fit_units(columns, weights, "y")
    is_tiny = (columns.max(axis=0) > columns.min(axis=0)) & (scale < 2 * limits.tiny)
    if is_tiny.any():
        raise ValueError(
            f"y varies by less than {limits.tiny:.3g}, too little for predictions in "
            f"{np.dtype(dtype)}: multiply y by a constant."
        )
    if is_first:
        size = np.where(offset == 0, 1.0, np.abs(offset))
        scale = np.where(scale > 0, scale, size)
    return (float(offset[0]), float(scale[0])) if y.ndim == 1 else (offset, scale)


def _median_and_core_deviation(columns, weights, name):
    """Return the weighted median and a robust deviation of each column, see `fit_target_units`."""
    shares = weights / weights.sum()
    units = np.array([_robust_units(column, shares) for column in columns.T])
    offset, scale = units.reshape(-1, 2).T
    varies = columns.max(axis=0) > columns.min(axis=0)
    warn_if_digits_are_lost(columns.dtype, offset, scale, varies, name)
    return offset, scale


def _robust_units(values, shares):
    center = _quantile(values, shares, 0.5)
    distance = np.abs(values - center)
    is_apart = distance > 0
    if not is_apart.any():
        return center, 0.0
    # of many equal targets and a few others, a quantile may be a distance that is next to none
    typical = _quantile(distance[is_apart], shares[is_apart] / shares[is_apart].sum(), 0.5)
    limit = max(_quantile(distance, shares, CORE_SHARE), typical)
    limited = np.minimum(distance / limit, 1.0)  # so that no square overflows or underflows
    return center, limit * np.sqrt(shares @ limited**2) / NORMAL_CORE_DEVIATION


def _quantile(values, shares, level):
    order = np.argsort(values)
    return weighted_quantiles(values[order], shares[order], np.array([level]))[0]


def standardize_targets(y, offset, scale):
    """Return (y - offset) / scale as (n_samples, n_targets), in multiples of 2**-32.

    The result for a constant target, whose scale is zero, is zero. Sizes above 2**96 become 2**96,
    which is beyond any prediction and finite in float32. Quantiles keep their last
    dimension, (n_samples, n_targets, n_levels), and their NaN.
    """
    scale = np.asarray(scale)
    if y.ndim == 3:
        offset, scale = np.reshape(offset, (-1, 1)), scale.reshape(-1, 1)
    with np.errstate(over="ignore"):
        values = (y - offset) / np.where(scale > 0, scale, 1.0)
    values = np.where((scale > 0) | np.isnan(values), values, 0.0)
    np.clip(values, -MAX_STANDARDIZED, MAX_STANDARDIZED, out=values)
    values = values if y.ndim == 3 else values.reshape(len(y), -1)
    return np.round(values / SPACING) * SPACING


def nearest_to_median(levels):
    """Return the place of the quantile that is the prediction: that of 1/2, or next to it.

    Of two as near it is the lower one.
    """
    return int(np.abs(levels - 0.5).round(12).argmin())  # .3 and .7 are a tie
