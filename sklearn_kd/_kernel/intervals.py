"""Prediction intervals and quantiles of KernelTeacherRegressor, in blocks of rows.

This module imports torch, so that the estimator imports it inside its methods.
"""

import numpy as np
import torch

from sklearn_kd._core.kernel import kernels
from sklearn_kd._core.kernel.jackknife import LeaveOneOut, interval_ends, quantile_values
from sklearn_kd._kernel.ridge_fit import (
    KERNEL_BLOCK_BYTES,
    empty_square,
    kernel_of,
    memory_limit,
)
from sklearn_kd._kernel.targets import split_unit
from sklearn_kd._utils.device import (
    available_bytes,
    check_budget,
    resolve_device,
    thread_scope,
    to_numpy,
    to_tensor,
)


def predict_ends(est, rows, dual, state, coverage):
    """Return the ends of the intervals of rows, (n_samples, n_outputs, 2), in standardized units.

    The parameters are those of `_of_held_out_fits`.
    """

    def ends(values, residuals, weights, n_distinct):
        found = interval_ends(values, residuals.abs(), weights, coverage, n_distinct)
        return torch.stack(found, dim=1)

    return _of_held_out_fits(est, rows, dual, state, ends, 2)


def predict_quantile_values(est, rows, dual, state, levels):
    """Return the quantiles of rows, (n_samples, n_outputs, n_levels), in standardized units.

    The parameters are those of `_of_held_out_fits`.
    """

    def quantiles(values, residuals, weights, n_distinct):
        return quantile_values(values, residuals, weights, levels, n_distinct)

    return _of_held_out_fits(est, rows, dual, state, quantiles, len(levels))


def _of_held_out_fits(est, rows, dual, state, summary, n_values):
    """Return what is computed of the predictions of fits without each training row.

    Parameters
    ----------
    est : KernelTeacherRegressor
        Fitted.
    rows : ndarray of shape (n_samples, n_inputs)
        Rows as the kernel sees them.
    dual : tuple of ndarrays of shapes (n_centers, n_outputs) and (n_outputs,)
        Dual weights and offsets of the fit, in standardized units.
    state : dict of ndarray
        What `held_out_state` returned.
    summary : callable
        Is called with predictions for new rows (n_new, n_rows), signed residuals and weights of the
        training rows (n_rows,) and the number of distinct rows. Returns (n_new, n_values).
    n_values : int

    Returns
    -------
    ndarray of float64 of shape (n_samples, n_outputs, n_values)
    """
    device, dtype = resolve_device(est.device), est.X_fit_.dtype
    part = to_tensor(state["part"], device=device)
    residuals = to_tensor(state["residuals"], dtype="float64", device=device)
    weights = to_tensor(state["weights"], dtype="float64", device=device)
    n_distinct = int(state["n_distinct"])
    centers, kernel = to_tensor(est.X_fit_, device=device), kernel_of(est)
    # kernel, solutions and predictions in the dtype of the fit; values, their order and weights
    row_bytes = 4 * dtype.itemsize * len(centers) + 48 * len(part)
    fixed_bytes = 0 if "fold_dual" in state else dtype.itemsize * len(centers) ** 2
    advice, limit = "fit fewer rows, or with solver='pcg'", memory_limit(est)
    check_budget(fixed_bytes + row_bytes, device, advice, limit=limit, what="predict_interval")
    free_bytes = min(available_bytes(device), limit) - fixed_bytes
    size = max(1, int(min(KERNEL_BLOCK_BYTES, free_bytes) // row_bytes))
    found = np.empty((len(rows), residuals.shape[1], n_values))
    with thread_scope(len(rows) * est.X_fit_.size):
        predictions = _predictor(est, centers, kernel, dual, state)
        unit = kernels.unit_rows(centers, kernel)
        for start in range(0, len(rows), size):
            block = slice(start, start + size)
            new = to_tensor(rows[block], dtype=dtype, device=device)
            cross = kernels.cross(new, unit, kernel)
            for output, values in enumerate(predictions(cross)):
                each = summary(values.double()[:, part], residuals[:, output], weights, n_distinct)
                found[block, output] = to_numpy(each)
    return found


def _predictor(est, centers, kernel, dual, state):
    """Return a function of the kernel of new rows with the centers.

    It yields for each output the predictions (n_new, n_parts) of the fits without each part.
    """

    def tensor(array):
        return to_tensor(array, dtype=est.X_fit_.dtype, device=centers.device)

    if "fold_dual" in state:
        fold_dual, fold_intercept = tensor(state["fold_dual"]), tensor(state["fold_intercept"])

        def by_folds(cross):
            for output in range(fold_dual.shape[2]):
                yield cross @ fold_dual[:, :, output] + fold_intercept[:, output]

        return by_folds
    gram = kernels.gram(centers, kernel, out=empty_square(centers))
    free_intercept = bool(state["free_intercept"])
    distinct, unit = split_unit(est.fit_weights_)
    fit = LeaveOneOut(gram, tensor(distinct), est.ridge_ / unit, free_intercept=free_intercept)
    weights, intercept = map(tensor, dual)
    means = tensor(_mean_residuals(state))

    def by_rows(cross):
        influences = fit.influences(cross)
        predicted = cross @ weights + intercept
        for output in range(means.shape[1]):
            yield predicted[:, output, None] - influences * means[:, output]

    return by_rows


def held_out_state(solution, merged, targets, weights, free_intercept):
    """Return what intervals need of a fit besides its attributes.

    Parameters
    ----------
    solution : RidgeSolution
    merged : MergedRows
    targets : ndarray of shape (n_samples, n_outputs)
        Standardized, of the rows before they were merged.
    weights : ndarray of shape (n_samples,)
    free_intercept : bool

    Returns
    -------
    dict of ndarray
        ``residuals`` (n_samples, n_outputs) out of sample, ``weights``, ``n_distinct``, and the
        ``part`` of each row that its fit leaves out: a distinct row, or a fold, whose fits have
        ``fold_dual`` and ``fold_intercept``.
    """
    state = {
        "residuals": targets - solution.out_of_sample[merged.group],
        "weights": weights,
        "n_distinct": np.array(len(merged.first)),
    }
    if solution.fold is None:
        return {**state, "part": merged.group, "free_intercept": np.array(free_intercept)}
    return {
        **state,
        "part": solution.fold[merged.group],
        "fold_dual": solution.fold_dual,
        "fold_intercept": solution.fold_intercept,
    }


def _mean_residuals(state):
    """Return the weighted mean residual of the copies of each distinct row."""
    part, weights = state["part"], state["weights"]
    sums = np.zeros((int(state["n_distinct"]), state["residuals"].shape[1]))
    np.add.at(sums, part, weights[:, None] * state["residuals"])
    return sums / np.bincount(part, weights)[:, None]
