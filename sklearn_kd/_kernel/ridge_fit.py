"""What KernelTeacher does with checked rows: from parameters to `_core` and back.

Apart from the estimator because it imports torch, which an estimator must not at import.
"""

import logging
import math
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from sklearn_kd._core.kernel import calibration, kernels, linalg
from sklearn_kd._core.kernel import ridge as ridge_module
from sklearn_kd._utils.device import (
    available_bytes,
    check_budget,
    resolve_device,
    to_numpy,
    to_tensor,
)
from sklearn_kd._utils.folds import unique_row_folds
from sklearn_kd._utils.unique_rows import merge_rows

__all__ = ["fit", "kernel_of", "staged_duals", "values_of"]


log = logging.getLogger("sklearn_kd")

#: Up to so many distinct rows "auto" solves by Cholesky, by type of device; beyond, conjugate
#: gradients are faster, and their labels are cross-fitted in the same products.
CHOLESKY_ROWS = {"cpu": 10_000, "cuda": 40_000}
#: The ridge is chosen on so many rows at most: it is the variance of the noise, which does not
#: depend on how many rows there are.
RIDGE_ROWS = 3000
#: Ridges tried, relative to the diagonal of the kernel: three a decade.
RIDGES = 10.0 ** np.arange(-5, 3 + 1e-9, 1 / 3)
#: Folds of the cross-fitted labels.
N_FOLDS = 5
#: Rank of the preconditioner, at most.
RANK = 2000
#: Relative residual of the iterative solvers, and the most iterations.
TOLERANCE = {torch.float32: 5e-4, torch.float64: 1e-10}
MAX_ITER = 500
#: Centers of the Nystroem solver unless told.
N_COMPONENTS = 5000
#: Rows of a block that streams past the centers.
STREAM_ROWS = 4096
#: Share of the memory to spare that the kernel of rows and centers may take to be kept.
KEPT_SHARE = 0.75
#: Bytes of a block of kernel values when predicting.
PREDICT_BYTES = 2**28
#: An eigendecomposition on the CPU counts its work array in 32 bits.
MOST_EIGEN_ROWS = 32_766


def kernel_of(est):
    """Make the kernel that the parameters of the fit describe."""
    kernel, depth, bias, bandwidth = est._kernel_params_
    if not callable(kernel):
        return kernels.Kernel(kernel, depth, bias, bandwidth)

    def function(rows, others):
        values = np.asarray(kernel(to_numpy(rows), to_numpy(others)))
        if values.shape != (len(rows), len(others)):
            raise ValueError(
                f"the kernel must return shape {(len(rows), len(others))} for {len(rows)} and "
                f"{len(others)} rows, got {values.shape}."
            )
        if np.iscomplexobj(values) or not np.isfinite(values).all():
            raise ValueError("the kernel must return real and finite numbers.")
        return to_tensor(values, dtype=_dtype_name(rows), device=rows.device)

    return kernels.Kernel("callable", function=function)


def _dtype_name(tensor):
    return str(tensor.dtype).removeprefix("torch.")


def values_of(est, rows, dual):
    """Kernel expansion (n_samples, n_columns) of scaled rows, a block at a time.

    ``dual`` (n_centers, n_columns) are weights of ``est.X_fit_``.
    """
    device = resolve_device(est.device)
    kernel = kernel_of(est)
    centers = kernels.prepare(to_tensor(est.X_fit_, device=device), kernel)
    dtype = est.X_fit_.dtype
    dual = to_tensor(dual, dtype=dtype, device=device)
    size = max(1, PREDICT_BYTES // (dtype.itemsize * len(est.X_fit_)))
    values = np.empty((len(rows), dual.shape[1]), dtype=dtype)
    for start in range(0, len(rows), size):
        part = to_tensor(rows[start : start + size], dtype=dtype, device=device)
        values[start : start + size] = to_numpy(kernels.cross(part, centers, kernel) @ dual)
    return values


def staged_duals(est, times):
    """Dual weights at each time of gradient flow, side by side, from one eigendecomposition."""
    device = resolve_device(est.device)
    dtype = est.X_fit_.dtype
    _check_eigen(len(est.X_fit_), dtype.itemsize, device, _limit(est))
    rows, weights, targets = (
        to_tensor(array, device=device)
        for array in (est.X_fit_, est.fit_weights_, est.fit_targets_)
    )
    spectrum = ridge_module.spectrum(kernels.gram(rows, kernel_of(est)), weights)
    return to_numpy(torch.cat(ridge_module.flow(spectrum, targets, times), dim=1))


def _limit(est):
    return math.inf if est.max_memory is None else est.max_memory * 2**30


def _check_eigen(n_rows, itemsize, device, limit):
    if n_rows > MOST_EIGEN_ROWS and device.type == "cpu":
        raise ValueError(
            f"an eigendecomposition of {n_rows} distinct rows is beyond what LAPACK can do "
            f"({MOST_EIGEN_ROWS}): use training_time=None with a ridge, or fewer rows."
        )
    advice = "use training_time=None with a ridge, or fewer rows"
    check_budget(5 * itemsize * n_rows**2, device, advice, limit=limit)


def _needed(solver, n_rows, n_inputs, n_columns, n_centers, itemsize):
    """Bytes that a solver takes beside the data, about."""
    rank, systems = min(RANK, n_rows), (1 + N_FOLDS) * n_columns
    numbers = {
        "cholesky": n_rows**2 + 2 * linalg.BLOCK * n_rows,
        # the small systems of the preconditioner are in float64
        "pcg": n_rows**2 + 2 * n_rows * rank + 8 * n_rows * systems + 128 // itemsize * rank**2,
        # the kernel, its factor (also in float64), and a preconditioner for each system
        "nystroem": (6 + 1 + N_FOLDS) * n_centers**2
        + 2 * STREAM_ROWS * n_centers
        + 6 * n_rows * systems,
    }[solver]
    return itemsize * (max(numbers, 5 * min(n_rows, RIDGE_ROWS) ** 2) + n_rows * n_inputs)


def _choose_solver(est, n_rows, n_inputs, n_columns, itemsize, device):
    """Resolve "auto", say why, and check the memory before it is taken."""
    limit = _limit(est)
    budget = min(available_bytes(device), limit)
    n_centers = min(n_rows, N_COMPONENTS if est.n_components is None else est.n_components)
    sizes = (n_rows, n_inputs, n_columns, n_centers, itemsize)
    solver, why = est.solver, "as asked"
    if solver == "auto":
        solver = "cholesky" if n_rows <= CHOLESKY_ROWS[device.type] else "pcg"
        why = f"{n_rows} distinct rows on {device}"
        if _needed(solver, *sizes) > budget:
            why += (
                f"; an exact solution takes {_needed(solver, *sizes) / 2**30:.2f} GiB of the "
                f"{budget / 2**30:.2f} GiB there are"
            )
            solver = "nystroem"
    fits = n_centers
    while solver == "nystroem" and fits > 1:
        if _needed("nystroem", n_rows, n_inputs, n_columns, fits, itemsize) <= budget:
            break
        fits //= 2
    advice = f"set solver='nystroem' with n_components={fits}, raise max_memory, or fit fewer rows"
    if solver != "nystroem":
        advice = "set solver='nystroem' (or float32 rows), raise max_memory, or fit fewer rows"
    needed = _needed(solver, *sizes)
    check_budget(needed, device, advice, limit=limit)
    return solver, why, n_centers, budget - needed


def _tell(est, text):
    log.info(text)
    if est.verbose:
        print(f"[KernelTeacher] {text}")


class _Problem:
    """The distinct rows as tensors, in an order that depends on them alone."""

    def __init__(self, est, X, rows, y_encoded, weights, device):
        n_classes = len(est.classes_)
        self.distinct = merge_rows(X, y_encoded, weights, n_classes)
        first, _, class_weight_sums = self.distinct
        dtype = rows.dtype
        total = class_weight_sums.sum(axis=1)
        if n_classes == 2:
            coded = (class_weight_sums[:, 1:] - class_weight_sums[:, :1]) / total[:, None]
        else:
            coded = class_weight_sums / total[:, None] - 1 / n_classes
        self.rows = to_tensor(rows[first], device=device)
        self.weights = to_tensor(total, dtype=dtype, device=device)
        self.targets = to_tensor(coded, dtype=dtype, device=device)
        self.class_weight_sums = calibration.smoothed_mass(
            to_tensor(class_weight_sums, device=device)
        )

    def __len__(self):
        return len(self.rows)


def _ridge(est, problem, kernel, random):
    """Return the ridge given, or the best by leave-one-out on at most RIDGE_ROWS rows."""
    if est.ridge != "loo":
        return float(est.ridge)
    chosen = slice(None)
    class_weight_sums = problem.class_weight_sums
    if len(problem) > RIDGE_ROWS:
        chosen = torch.from_numpy(np.sort(random.permutation(len(problem))[:RIDGE_ROWS]))
        chosen = chosen.to(problem.rows.device)
        class_weight_sums = class_weight_sums[chosen]
    weights, rows = problem.weights[chosen], problem.rows[chosen]
    gram = kernels.gram(rows, kernel)
    unit = float(gram.diagonal().mean() * problem.weights.mean())
    # below this the rounding of the matrix would decide
    floor = 4 * torch.finfo(rows.dtype).eps * len(problem) * float(weights.max() / weights.mean())
    ridges = [unit * ridge for ridge in RIDGES if ridge > floor] or [unit * RIDGES[-1]]
    if not unit > 0:  # a kernel that is zero everywhere
        ridges = [1.0]
    return ridge_module.choose_ridge(
        ridge_module.spectrum(gram, weights),
        problem.targets[chosen],
        ridges,
        lambda loo: calibration.fit_temperature(loo, class_weight_sums)[1],
        free_intercept=est.fit_intercept,
    )


def _solve(est, problem, kernel, solver, n_centers, spare, ridge, random):
    """Run the solver; the fit, and the rows that its dual weights belong to."""
    rows, weights, targets = problem.rows, problem.weights, problem.targets
    if solver == "cholesky":
        gram = kernels.gram(rows, kernel, out=_square(rows))
        fit = ridge_module.fit_exactly(
            gram, weights, targets, ridge, free_intercept=est.fit_intercept
        )
        return fit, rows
    fold = unique_row_folds(to_numpy(problem.class_weight_sums), N_FOLDS, random)
    fold = torch.zeros(1, dtype=torch.int64) if fold is None else torch.from_numpy(fold)
    fold = fold.to(rows.device)
    n_folds = int(fold.max()) + 1
    groups = ridge_module.Groups(weights, fold, n_folds, targets.shape[1], est.fit_intercept)
    options = {"tol": TOLERANCE[rows.dtype], "max_iter": MAX_ITER}
    if est.verbose > 1:
        options["on_iteration"] = lambda step, residual: print(
            f"[KernelTeacher] iteration {step}: relative residual {residual:.2e}"
        )
    if solver == "pcg":
        fit, centers = _iterate(problem, kernel, groups, ridge, random, options), rows
    else:
        chosen = torch.from_numpy(np.sort(random.permutation(len(rows))[:n_centers]))
        chosen = chosen.to(rows.device)
        centers = rows[chosen]
        fit = ridge_module.fit_nystroem(
            _blocks(rows, centers, kernel, spare),
            kernels.gram(centers, kernel),
            chosen,
            groups,
            targets,
            ridge,
            **options,
        )
    if not fit.residual <= options["tol"]:
        warnings.warn(
            f"the {solver} solver stopped after {fit.n_iter} iterations at a relative residual of "
            f"{fit.residual:.2g}, {options['tol']:.0g} was wanted: raise ridge, or pass float64 "
            "rows.",
            ConvergenceWarning,
            stacklevel=6,
        )
    return fit, centers


def _square(rows):
    """Memory of the Gram matrix; on the CPU from NumPy, which asks for large pages."""
    n = len(rows)
    if rows.device.type != "cpu":
        return rows.new_empty(n, n)
    return torch.from_numpy(np.empty((n, n), dtype=_dtype_name(rows)))


def _iterate(problem, kernel, groups, ridge, random, options):
    gram = kernels.gram(problem.rows, kernel, out=_square(problem.rows))
    generator = torch.Generator().manual_seed(int(random.randint(2**31 - 1)))
    low_rank = linalg.pivoted_cholesky(
        lambda pivots: gram[pivots].mT,  # rows lie together in memory
        gram.diagonal().clone(),
        min(RANK, max(1, len(gram) // 10)),
        generator,
    )
    return ridge_module.fit_iteratively(gram, low_rank, groups, problem.targets, ridge, **options)


def _blocks(rows, centers, kernel, spare):
    """Kernel of the rows with the centers: kept in ``spare`` bytes, else new for each pass."""
    prepared, centers = kernels.prepare(rows, kernel), kernels.prepare(centers, kernel)
    parts = [slice(i, min(i + STREAM_ROWS, len(rows))) for i in range(0, len(rows), STREAM_ROWS)]
    n_bytes = rows.element_size() * len(rows) * len(centers)
    if n_bytes < KEPT_SHARE * spare:
        kept = [(part, kernels.cross(prepared[part], centers, kernel)) for part in parts]
        return lambda: kept
    return lambda: ((part, kernels.cross(prepared[part], centers, kernel)) for part in parts)


def _fit_flow(est, problem, kernel, random):
    """Gradient flow up to a time, with cross-fitted values."""
    device = problem.rows.device
    _check_eigen(len(problem), problem.rows.element_size(), device, _limit(est))
    fold = unique_row_folds(to_numpy(problem.class_weight_sums), N_FOLDS, random)
    gram = kernels.gram(problem.rows, kernel)

    def dual_of(part, matrix):
        spectrum = ridge_module.spectrum(matrix, problem.weights[part])
        return ridge_module.flow(spectrum, problem.targets[part], [est.training_time])[0]

    out = torch.zeros_like(problem.targets)
    for k in range(0 if fold is None else fold.max() + 1):
        test = torch.from_numpy(np.flatnonzero(fold == k)).to(device)
        train = torch.from_numpy(np.flatnonzero(fold != k)).to(device)
        out[test] = gram[test][:, train] @ dual_of(train, gram[train][:, train])
    dual = dual_of(slice(None), gram)
    return ridge_module.Fit(dual, dual.new_zeros(dual.shape[1]), out)


def fit(est, X, rows, y_encoded, weights):
    """Fit ``est`` and return its fitted attributes; see `KernelTeacher`.

    Parameters
    ----------
    est : KernelTeacher
        With ``classes_`` set.
    X : ndarray of shape (n_samples, n_features)
        Rows as given, by which copies are told.
    rows : ndarray of shape (n_samples, n_inputs)
        Rows as the kernel sees them.
    y_encoded : ndarray of int of shape (n_samples,)
        Indices into ``classes_``.
    weights : ndarray of shape (n_samples,)
        Positive.

    Returns
    -------
    dict
        Fitted attributes; out-of-sample values are (n_samples, n_outputs).
    """
    device = resolve_device(est.device)
    random = check_random_state(est.random_state)
    random = np.random.RandomState(random.randint(2**31 - 1))
    kernel = kernel_of(est)
    advice = "fit fewer rows, or float32 ones"
    check_budget(4 * rows.nbytes, torch.device("cpu"), advice, limit=_limit(est))
    problem = _Problem(est, X, rows, y_encoded, weights, device)
    n_columns = problem.targets.shape[1] + bool(est.fit_intercept)
    sizes = len(problem), rows.shape[1], n_columns, rows.dtype.itemsize
    del rows  # as much as the data, when memory is about to be short
    ridge = None
    if est.training_time is None:
        solver, why, n_centers, spare = _choose_solver(est, *sizes, device)
        _tell(est, f"solver {solver!r}: {why}.")
        ridge = math.nan
        try:
            ridge = _ridge(est, problem, kernel, random)
            solution, centers = _solve(
                est, problem, kernel, solver, n_centers, spare, ridge, random
            )
        except linalg.NotPositiveDefiniteError as error:
            raise ValueError(
                f"the kernel matrix with ridge={ridge:g} is not positive definite: raise ridge, "
                "pass float64 rows, or check that a kernel of your own is positive."
            ) from error
    else:
        solver = "eigh"
        try:
            solution, centers = _fit_flow(est, problem, kernel, random), problem.rows
        except linalg.NotPositiveDefiniteError as error:
            raise ValueError(f"the kernel is not positive definite: {error}.") from error
    temperature = 1.0
    if est.calibration == "temperature":
        temperature, _ = calibration.fit_temperature(
            solution.out_of_sample, problem.class_weight_sums
        )
    fitted = {
        "X_fit_": to_numpy(centers),
        "dual_coef_": to_numpy(solution.dual),
        "intercept_": to_numpy(solution.intercept),
        "ridge_": ridge,
        "solver_": solver,
        "temperature_": temperature,
        "loo_decision_function_": to_numpy(solution.out_of_sample)[problem.distinct.group],
    }
    stored = "dual_coef_", "intercept_", "loo_decision_function_"
    if not all(np.isfinite(fitted[name]).all() for name in stored):
        raise ValueError(
            "the solution is not finite: raise ridge, pass float64 rows, or set input_scaling=True."
        )
    if solver in ("pcg", "nystroem"):
        fitted["n_iter_"] = solution.n_iter
    if solver != "nystroem":
        fitted["fit_weights_"] = to_numpy(problem.weights)
        fitted["fit_targets_"] = to_numpy(problem.targets)
    return fitted
