"""Merge equal training rows, with the mean of their targets and the loss that selects the ridge."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sklearn_kd._utils.calibration import fit_temperature, smoothed_class_weights
from sklearn_kd._utils.unique_rows import merge_rows


class MergedRows(NamedTuple):
    """Distinct rows, in an order that depends only on the rows, and their targets."""

    first: np.ndarray  # (n_distinct,), position of the first of equal rows
    group: np.ndarray  # (n_samples,), distinct row that each row equals
    weights: np.ndarray  # (n_distinct,), sums, in units of `unit`
    unit: float
    targets: np.ndarray  # (n_distinct, n_outputs), weighted means
    strata: np.ndarray  # (n_distinct, n_strata), weights; folds are stratified by the largest
    loss: Callable  # of out-of-sample values of the distinct rows at given positions


def split_unit(weights):
    """Divide weights by a power of four, and return them and this unit. The largest is 1 to 4.

    Then no product of the fit overflows or underflows. The division is exact, and so are the roots.
    Weights of one are unchanged.
    """
    unit = math.ldexp(1.0, (math.frexp(weights.max())[1] - 1) // 2 * 2)
    return weights / unit, unit


class LogLoss:
    """Least log loss of decision values over all temperatures."""

    def __init__(self, class_weights):
        self.class_weights = class_weights  # (n_distinct, n_classes), smoothed

    def __call__(self, values, positions):
        """Return the loss of values (n_positions, n_outputs) of the rows at ``positions``."""
        return self.temperature(values, positions)[1]

    def temperature(self, values, positions=slice(None)):
        """Return the temperature with the least loss, and this loss."""
        return fit_temperature(values, self.class_weights[positions])


class SquaredError:
    """Weighted mean squared error of the rows before they were merged, averaged over outputs."""

    def __init__(self, targets, weights, within):
        self.targets = targets  # (n_distinct, n_outputs), weighted means of equal rows
        self.weights = weights  # (n_distinct,)
        self.within = within  # (n_distinct,), weighted squares around these means, over outputs

    def __call__(self, values, positions):
        """Return the loss of values (n_positions, n_outputs) of the rows at ``positions``."""
        weights = self.weights[positions]
        squares = np.square(self.targets[positions] - values).mean(axis=1)
        return float((weights @ squares + self.within[positions].sum()) / weights.sum())


def merge_codes(X, y_encoded, weights, unit, n_classes):
    """Merge equal rows of a classifier, adding their weights and averaging their codes.

    Two classes are coded as -1 and 1, and K classes as one-hot vectors minus 1/K.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    y_encoded : ndarray of int of shape (n_samples,)
    weights : ndarray of shape (n_samples,)
        Positive, in units of ``unit``.
    unit : float
    n_classes : int

    Returns
    -------
    MergedRows
    """
    first, group, class_weight_sums = merge_rows(X, y_encoded, weights, n_classes)
    total = class_weight_sums.sum(axis=1)
    if n_classes == 2:
        coded = (class_weight_sums[:, 1:] - class_weight_sums[:, :1]) / total[:, None]
    else:
        coded = class_weight_sums / total[:, None] - 1 / n_classes
    # beyond these limits the smoothing no longer depends on the unit
    class_weights = smoothed_class_weights(class_weight_sums * min(max(unit, 2.0**-99), 2.0**99))
    return MergedRows(first, group, total, unit, coded, class_weights, LogLoss(class_weights))


def merge_targets(X, targets, weights, unit):
    """Merge equal rows of a regressor, adding their weights and averaging their targets.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    targets : ndarray of float64 of shape (n_samples, n_outputs)
        Standardized.
    weights : ndarray of shape (n_samples,)
        Positive, in units of ``unit``.
    unit : float

    Returns
    -------
    MergedRows
    """
    one_class = np.zeros(len(targets), dtype=np.intp)
    first, group, total = merge_rows(X, one_class, weights, 1)
    means = np.zeros((len(first), targets.shape[1]))
    np.add.at(means, group, weights[:, None] * targets)
    means /= total
    within = np.zeros(len(first))
    np.add.at(within, group, weights * np.square(targets - means[group]).mean(axis=1))
    loss = SquaredError(means, total[:, 0], within)
    return MergedRows(first, group, total[:, 0], unit, means, total, loss)
