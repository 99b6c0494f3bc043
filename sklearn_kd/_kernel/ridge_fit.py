"""Fit and evaluate kernel ridge regression for KernelTeacher and KernelTeacherRegressor.

This module imports torch, so that the estimator imports it inside its methods.
"""

import logging
import math
from typing import NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from sklearn_kd._core.kernel import kernels, linalg, ridge as ridge_module
from sklearn_kd._core.kernel.progress import Progress
from sklearn_kd._kernel.targets import MergedRows, split_unit
from sklearn_kd._utils.device import (
    available_bytes,
    check_budget,
    dtype_name,
    resolve_device,
    thread_scope,
    to_numpy,
    to_tensor,
)
from sklearn_kd._utils.folds import unique_row_folds
from sklearn_kd._utils.warnings import warn_caller

log = logging.getLogger("sklearn_kd")

#: Number of distinct rows up to which "auto" solves by Cholesky, for each type of device. With more
#: rows conjugate gradients are faster, and their labels are cross-fitted in the same products.
MAX_CHOLESKY_ROWS = {"cpu": 10_000, "cuda": 40_000}
#: Number of rows on which the ridge is selected. The ridge is the variance of the noise, which does
#: not depend on the number of rows.
MAX_SELECTION_ROWS = 3000
#: Ridges that are compared, relative to the diagonal of the kernel: three per decade.
RELATIVE_RIDGES = 10.0 ** np.arange(-5, 3 + 1e-9, 1 / 3)
#: Folds of the cross-fitted labels.
N_CROSS_FITTING_FOLDS = 5
#: Rank of the preconditioner.
MAX_RANK = 2000
#: Relative residual at which the iterative solvers stop.
TOLERANCE = {torch.float32: 5e-4, torch.float64: 1e-10}
#: Iterations after which they stop.
MAX_ITER = 500
#: Default number of centers of the Nystroem solver.
N_COMPONENTS = 5000
#: Rows of a block of the kernel of rows and centers.
CENTER_BLOCK_ROWS = 4096
#: Share of the free memory that this kernel may take. If it is larger it is computed in each pass.
MAX_KEPT_MEMORY_SHARE = 0.75
#: Bytes of a block of kernel values when predicting.
KERNEL_BLOCK_BYTES = 2**28
#: Number of rows up to which LAPACK can index the work array of an eigendecomposition in 32 bits.
MAX_LAPACK_EIGEN_ROWS = 32_766


class _Data(NamedTuple):
    """Distinct rows as tensors, and what selects the ridge and the folds."""

    rows: torch.Tensor  # (n_distinct, n_inputs)
    weights: torch.Tensor  # (n_distinct,), in units of `merged.unit`
    targets: torch.Tensor  # (n_distinct, n_outputs)
    merged: MergedRows


class RidgeSolution(NamedTuple):
    """Fitted attributes, and fits without a part of the rows."""

    fitted: dict
    out_of_sample: np.ndarray  # (n_distinct, n_outputs), values from fits without the row
    #: Fold of each distinct row, and the dual weights and the offset of the fit without each fold.
    #: None for leave-one-out values.
    fold: np.ndarray | None = None  # (n_distinct,)
    fold_dual: np.ndarray | None = None  # (n_centers, n_folds, n_outputs)
    fold_intercept: np.ndarray | None = None  # (n_folds, n_outputs)


def check_memory_of_rows(est, rows):
    """Raise MemoryError if copies of the rows that the kernel sees do not fit."""
    advice = "fit fewer rows" + (", or float32 ones" if rows.dtype == np.float64 else "")
    check_budget(4 * rows.nbytes, torch.device("cpu"), advice, limit=memory_limit(est))


def fit_ridge(est, rows, merged):
    """Fit kernel ridge regression, or gradient flow up to ``training_time``.

    Parameters
    ----------
    est : KernelTeacher or KernelTeacherRegressor
    rows : ndarray of shape (n_distinct, n_inputs)
        Distinct rows as the kernel sees them.
    merged : MergedRows
        Their weights, targets, strata of the folds, and the loss that selects the ridge.

    Returns
    -------
    RidgeSolution
    """
    device = resolve_device(est.device)
    random = check_random_state(est.random_state)
    random = np.random.RandomState(random.randint(2**31 - 1))
    kernel = kernel_of(est)
    data = _Data(
        to_tensor(rows, device=device),
        to_tensor(merged.weights, dtype=rows.dtype, device=device),
        to_tensor(merged.targets, dtype=rows.dtype, device=device),
        merged,
    )
    if est.training_time is None:
        solution, centers, solver, ridge = _fit_by_solver(est, data, kernel, random)
    else:
        solver, ridge = "eigh", None
        try:
            solution, centers = _fit_flow(est, data, kernel, random), data.rows
        except linalg.NotPositiveDefiniteError as error:
            raise ValueError(f"the kernel is not positive definite: {error}.") from error
    fitted = {
        "X_fit_": to_numpy(centers),
        "dual_coef_": to_numpy(solution.dual),
        "intercept_": to_numpy(solution.intercept),
        "ridge_": None if ridge is None else ridge * merged.unit,
        "solver_": solver,
    }
    out = to_numpy(solution.out_of_sample)
    if not all(
        np.isfinite(part).all() for part in (fitted["dual_coef_"], fitted["intercept_"], out)
    ):
        raise ValueError(
            f"the solution is not finite: {_advice_against_rounding(est, data.rows.dtype)}."
        )
    if solver in ("pcg", "nystroem"):
        fitted["n_iter_"] = solution.n_iter
    if solver != "nystroem":
        fitted["fit_weights_"] = merged.weights * merged.unit
        fitted["fit_targets_"] = to_numpy(data.targets)
    if solution.folds is None:
        return RidgeSolution(fitted, out)
    folds = solution.folds
    return RidgeSolution(
        fitted, out, to_numpy(folds.fold), to_numpy(folds.dual), to_numpy(folds.intercept)
    )


def _fit_by_solver(est, data, kernel, random):
    """Select the solver and the ridge, and solve.

    Returns
    -------
    fit : RidgeFit
    centers : tensor of shape (n_centers, n_inputs)
        Rows that the dual weights belong to.
    solver : str
    ridge : float
        In the unit of the weights.
    """
    n_columns = data.targets.shape[1] + bool(est.fit_intercept)
    solver, reason, n_centers, spare_bytes = _choose_solver(
        est, *data.rows.shape, n_columns, data.rows.element_size(), data.rows.device
    )
    _log(est, f"solver {solver!r}: {reason}.")
    ridge = math.nan
    try:
        ridge = _select_ridge(est, data, kernel, random)
        fit, centers = _solve(est, data, kernel, solver, n_centers, spare_bytes, ridge, random)
    except linalg.NotPositiveDefiniteError as error:
        raise ValueError(
            f"the kernel matrix with ridge={ridge * data.merged.unit:g} is not positive definite: "
            f"{_advice_against_rounding(est, data.rows.dtype)}."
        ) from error
    return fit, centers, solver, ridge


def _choose_solver(est, n_rows, n_inputs, n_columns, itemsize, device):
    """Resolve solver="auto" and check the memory that the solver takes.

    Returns
    -------
    solver, reason : str
    n_centers : int
        Of the Nystroem solver.
    spare_bytes : float
        Memory that the solver leaves free.
    """
    limit = memory_limit(est)
    budget = min(available_bytes(device), limit)
    n_centers = min(n_rows, N_COMPONENTS if est.n_components is None else est.n_components)
    sizes = (n_rows, n_inputs, n_columns, n_centers, itemsize)
    solver, reason = est.solver, "as requested"
    if solver == "auto":
        solver = "cholesky" if n_rows <= MAX_CHOLESKY_ROWS[device.type] else "pcg"
        reason = f"{n_rows} distinct rows on {device}"
        if _needed(solver, *sizes) > budget:
            reason += (
                f", and an exact solution takes {_needed(solver, *sizes) / 2**30:.2f} GiB where "
                f"{budget / 2**30:.2f} GiB are available"
            )
            solver = "nystroem"
    affordable = n_centers
    while solver == "nystroem" and affordable > 1:
        if _needed("nystroem", n_rows, n_inputs, n_columns, affordable, itemsize) <= budget:
            break
        affordable //= 2
    advice = (
        f"set solver='nystroem' with n_components={affordable}, raise max_memory, or fit fewer rows"
    )
    if solver != "nystroem":
        advice = "set solver='nystroem' (or float32 rows), raise max_memory, or fit fewer rows"
    needed = _needed(solver, *sizes)
    check_budget(needed, device, advice, limit=limit)
    return solver, reason, n_centers, budget - needed


def _needed(solver, n_rows, n_inputs, n_columns, n_centers, itemsize):
    """Return about how many bytes a solver takes besides the data."""
    rank, systems = min(MAX_RANK, n_rows), (1 + N_CROSS_FITTING_FOLDS) * n_columns
    numbers = {
        "cholesky": n_rows**2 + 2 * linalg.BLOCK_COLUMNS * n_rows,
        # the small systems of the preconditioner are in float64
        "pcg": n_rows**2 + 2 * n_rows * rank + 8 * n_rows * systems + 128 // itemsize * rank**2,
        # the kernel, its factor (also in float64), and a preconditioner for each system
        "nystroem": (6 + 1 + N_CROSS_FITTING_FOLDS) * n_centers**2
        + 2 * CENTER_BLOCK_ROWS * n_centers
        + 6 * n_rows * systems,
    }[solver]
    return itemsize * (max(numbers, 5 * min(n_rows, MAX_SELECTION_ROWS) ** 2) + n_rows * n_inputs)


def _select_ridge(est, data, kernel, random):
    """Return the ridge of the parameter, or the one with the least leave-one-out loss."""
    if est.ridge != "loo":
        return float(est.ridge) / data.merged.unit
    n_rows, chosen, positions = len(data.rows), slice(None), slice(None)
    if n_rows > MAX_SELECTION_ROWS:
        positions = np.sort(random.permutation(n_rows)[:MAX_SELECTION_ROWS])
        chosen = torch.from_numpy(positions).to(data.rows.device)
    weights, rows = data.weights[chosen], data.rows[chosen]
    gram = kernels.gram(rows, kernel)
    scale = float(gram.diagonal().mean() * data.weights.mean())
    # below this ridge the rounding errors of the matrix would decide
    min_ridge = 4 * torch.finfo(rows.dtype).eps * n_rows * float(weights.max() / weights.mean())
    ridges = [scale * ridge for ridge in RELATIVE_RIDGES if ridge > min_ridge]
    ridges = ridges or [scale * RELATIVE_RIDGES[-1]]
    if not scale > 0:  # the kernel is zero everywhere
        ridges = [1.0]
    values = ridge_module.leave_one_out_values(
        ridge_module.spectrum(gram, weights),
        data.targets[chosen],
        ridges,
        free_intercept=est.fit_intercept,
    )
    losses = [data.merged.loss(to_numpy(loo), positions) for loo in values]
    return ridge_module.select_ridge(ridges, losses)


def _solve(est, data, kernel, solver, n_centers, spare_bytes, ridge, random):
    """Run the solver and return the fit and the rows that its dual weights belong to."""
    rows, weights, targets = data.rows, data.weights, data.targets
    if solver == "cholesky":
        gram = kernels.gram(rows, kernel, out=empty_square(rows))
        fit = ridge_module.fit_exactly(
            gram, weights, targets, ridge, free_intercept=est.fit_intercept
        )
        return fit, rows
    fold = unique_row_folds(data.merged.strata, N_CROSS_FITTING_FOLDS, random)
    fold = torch.zeros(1, dtype=torch.int64) if fold is None else torch.from_numpy(fold)
    fold = fold.to(rows.device)
    n_folds = int(fold.max()) + 1
    systems = ridge_module.FoldSystems(weights, fold, n_folds, targets.shape[1], est.fit_intercept)
    progress = None
    if est.verbose > 1:
        progress = Progress(
            f"[{type(est).__name__}] iteration {{step}}: relative residual {{residual:.2e}}"
        )
    options = linalg.SolverOptions(TOLERANCE[rows.dtype], MAX_ITER, progress)
    if solver == "pcg":
        fit, centers = _solve_pcg(data, kernel, systems, ridge, random, options), rows
    else:
        chosen = torch.from_numpy(np.sort(random.permutation(len(rows))[:n_centers]))
        chosen = chosen.to(rows.device)
        centers = rows[chosen]
        n_bytes = rows.element_size() * len(rows) * len(centers)
        keep = n_bytes < MAX_KEPT_MEMORY_SHARE * spare_bytes
        fit = ridge_module.fit_nystroem(
            kernels.CenterBlocks(rows, centers, kernel, block_rows=CENTER_BLOCK_ROWS, keep=keep),
            kernels.gram(centers, kernel),
            chosen,
            systems,
            targets,
            ridge,
            options,
        )
    if not fit.residual <= options.tol:
        warn_caller(
            f"the {solver} solver stopped after {fit.n_iter} iterations at a relative residual of "
            f"{fit.residual:.2g} instead of {options.tol:.0g}: "
            f"{_advice_against_rounding(est, rows.dtype)}.",
            ConvergenceWarning,
        )
    return fit, centers


def _advice_against_rounding(est, dtype):
    """Return what can help against a matrix that is close to singular, and is not done yet."""
    advice = ["set ridge to a larger number"] if est.training_time is None else []
    if dtype == torch.float32:
        advice.append("pass float64 rows")
    if not est.input_scaling:
        advice.append("set input_scaling=True")
    if callable(est.kernel):
        advice.append("check that the kernel is positive definite")
    return ", or ".join(advice) or "remove rows of extreme values"


def empty_square(rows):
    """Return memory for a Gram matrix. NumPy asks for large pages, so it allocates on the CPU."""
    n = len(rows)
    if rows.device.type != "cpu":
        return rows.new_empty(n, n)
    return torch.from_numpy(np.empty((n, n), dtype=dtype_name(rows.dtype)))


def _solve_pcg(data, kernel, systems, ridge, random, options):
    """Run conjugate gradients on the Gram matrix."""
    gram = kernels.gram(data.rows, kernel, out=empty_square(data.rows))
    generator = torch.Generator().manual_seed(int(random.randint(2**31 - 1)))
    rank = min(MAX_RANK, max(1, len(gram) // 10))
    low_rank = linalg.pivoted_cholesky(gram, gram.diagonal(), rank, generator)
    return ridge_module.fit_iteratively(gram, low_rank, systems, data.targets, ridge, options)


def _fit_flow(est, data, kernel, random):
    """Run gradient flow up to ``training_time``, with cross-fitted values."""
    device = data.rows.device
    _check_eigen(len(data.rows), data.rows.element_size(), device, memory_limit(est))
    fold = unique_row_folds(data.merged.strata, N_CROSS_FITTING_FOLDS, random)
    gram = kernels.gram(data.rows, kernel)
    time = est.training_time * data.merged.unit

    def dual_of(part, matrix):
        spectrum = ridge_module.spectrum(matrix, data.weights[part])
        return ridge_module.gradient_flow(spectrum, data.targets[part], [time])[0]

    n_folds = 1 if fold is None else int(fold.max()) + 1
    fold = torch.zeros(1, dtype=torch.int64) if fold is None else torch.from_numpy(fold)
    fold = fold.to(device)
    out = torch.zeros_like(data.targets)
    fold_dual = out.new_zeros(len(out), n_folds, out.shape[1])
    for k in range(n_folds if len(out) > 1 else 0):
        test, train = (fold == k).nonzero()[:, 0], (fold != k).nonzero()[:, 0]
        fold_dual[train, k] = dual_of(train, gram[train][:, train])
        out[test] = gram[test][:, train] @ fold_dual[train, k]
    dual = dual_of(slice(None), gram)
    folds = ridge_module.FoldFits(fold, fold_dual, out.new_zeros(n_folds, out.shape[1]))
    return ridge_module.RidgeFit(dual, dual.new_zeros(dual.shape[1]), out, folds=folds)


def staged_duals(est, times):
    """Return the dual weights of gradient flow at each time as columns side by side."""
    device = resolve_device(est.device)
    dtype = est.X_fit_.dtype
    _check_eigen(len(est.X_fit_), dtype.itemsize, device, memory_limit(est))
    weights, unit = split_unit(est.fit_weights_)
    rows, weights, targets = (
        to_tensor(array, dtype=dtype, device=device)
        for array in (est.X_fit_, weights, est.fit_targets_)
    )
    spectrum = ridge_module.spectrum(kernels.gram(rows, kernel_of(est)), weights)
    times = [time * unit for time in times]
    return to_numpy(torch.cat(ridge_module.gradient_flow(spectrum, targets, times), dim=1))


def kernel_expansion(est, rows, dual):
    """Return the kernel of scaled rows and ``est.X_fit_`` times ``dual``, block by block.

    Parameters
    ----------
    est : KernelTeacher or KernelTeacherRegressor
        Fitted.
    rows : ndarray of shape (n_samples, n_inputs)
        Rows as the kernel sees them.
    dual : ndarray of shape (n_centers, n_columns)

    Returns
    -------
    ndarray of shape (n_samples, n_columns)
    """
    device = resolve_device(est.device)
    kernel = kernel_of(est)
    centers = kernels.unit_rows(to_tensor(est.X_fit_, device=device), kernel)
    dtype = est.X_fit_.dtype
    dual = to_tensor(dual, dtype=dtype, device=device)
    size = max(1, KERNEL_BLOCK_BYTES // (dtype.itemsize * len(est.X_fit_)))
    values = np.empty((len(rows), dual.shape[1]), dtype=dtype)
    with thread_scope(min(len(rows), size) * est.X_fit_.size):
        for start in range(0, len(rows), size):
            part = to_tensor(rows[start : start + size], dtype=dtype, device=device)
            values[start : start + size] = to_numpy(kernels.cross(part, centers, kernel) @ dual)
    return values


def kernel_of(est):
    """Return the kernel with the parameters of the fit."""
    kernel, depth, bias, bandwidth = est._kernel_params_
    if callable(kernel):
        return kernels.Kernel("callable", function=kernel)
    return kernels.Kernel(kernel, depth, bias, bandwidth)


def _check_eigen(n_rows, itemsize, device, limit):
    """Raise an error for an eigendecomposition beyond the limits of LAPACK or of the memory."""
    if n_rows > MAX_LAPACK_EIGEN_ROWS and device.type == "cpu":
        raise ValueError(
            f"LAPACK cannot compute an eigendecomposition of {n_rows} distinct rows, only of "
            f"{MAX_LAPACK_EIGEN_ROWS}: use training_time=None with a ridge, or fewer rows."
        )
    advice = "use training_time=None with a ridge, or fewer rows"
    check_budget(5 * itemsize * n_rows**2, device, advice, limit=limit)


def memory_limit(est):
    """Return ``max_memory`` in bytes."""
    return math.inf if est.max_memory is None else float(est.max_memory) * 2**30


def _log(est, text):
    """Write to the log and, if the estimator is verbose, to the terminal."""
    log.info(text)
    if est.verbose:
        print(f"[{type(est).__name__}] {text}")
