"""Fit and evaluate the teacher of the separation margin, KernelTeacher(method="margin").

Its logits are z(x) = E <v(z), x 1[<z, x> > 0]> with the function v that attains the separation
margin. The mean is estimated over draws of z. A multiple of g(z), whose mean is a kernel expansion
in closed form, is subtracted from v(z) to reduce the variance.
"""

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from sklearn_kd._core.kernel import margin
from sklearn_kd._core.kernel.activation_patterns import MAX_PATTERN_BYTES, MAX_SCRATCH_NUMBERS
from sklearn_kd._core.kernel.progress import Progress
from sklearn_kd._kernel.ridge_fit import memory_limit
from sklearn_kd._utils.device import check_budget, dtype_name, resolve_device, to_numpy, to_tensor
from sklearn_kd._utils.unique_rows import merge_rows
from sklearn_kd._utils.warnings import warn_caller

#: Draws that the teacher keeps.
MAX_DRAWS = 2**14
#: Numbers in the values of these draws.
MAX_VALUE_NUMBERS = 2**22


def fit_margin(est, X, rows, y_encoded, weights):
    """Find the separation margin and the teacher that attains it.

    Weights have no effect here, since the margin is that of the worst row, but they do on the
    encoding and the scaling of the rows.

    Parameters
    ----------
    est : KernelTeacher
        With ``classes_`` set.
    X : ndarray of shape (n_samples, n_features)
        Encoded rows, in which copies are found.
    rows : ndarray of shape (n_samples, n_inputs)
        Rows as the kernel sees them.
    y_encoded : ndarray of int of shape (n_samples,)
        Indices into ``classes_``.
    weights : ndarray of shape (n_samples,)
        Positive.

    Returns
    -------
    dict
        Fitted attributes of ``est``.
    """
    device = resolve_device(est.device)
    random = check_random_state(est.random_state)
    n_classes = len(est.classes_)
    distinct = merge_rows(X, y_encoded, weights, n_classes)
    row, label = np.nonzero(distinct.class_weight_sums)
    signs = np.eye(n_classes)[label] if n_classes > 2 else 2.0 * label[:, None] - 1
    rows = to_tensor(rows[distinct.first[row]], device=device)
    n_inputs, n_outputs, itemsize = rows.shape[1], signs.shape[1], rows.element_size()
    advice = "fit fewer rows, or float32 ones"
    scratch = MAX_PATTERN_BYTES + itemsize * (6 * MAX_SCRATCH_NUMBERS + 2 * MAX_VALUE_NUMBERS)
    check_budget(scratch + 3 * itemsize * len(rows) ** 2, device, advice, limit=memory_limit(est))
    generator = torch.Generator(device=device).manual_seed(int(random.randint(2**31 - 1)))
    progress = None
    if est.verbose:
        progress = Progress(
            "[KernelTeacher] step {step}: margin {value:.5f}, duality gap {gap:.1e}"
        )
    found = margin.separation_margin(
        rows,
        to_tensor(signs, dtype=dtype_name(rows.dtype), device=device),
        generator,
        progress=progress,
    )
    if not found.converged:
        warn_caller(
            f"the margin is {found.gamma:.3g} with a duality gap of {found.duality_gap:.1e}: the "
            "labels are those of a teacher with a slightly smaller margin. Fewer rows, or rows "
            "that are farther apart, converge faster.",
            ConvergenceWarning,
        )
    if found.gamma_rkhs <= 1e-6 * float(rows.norm(dim=1).max()):
        warn_caller(
            "the rows have no margin, since some are zero or equal rows have different labels: "
            "the probabilities of all classes are about equal. Leave those rows out.",
            ConvergenceWarning,
        )
    n_pairs = min(MAX_DRAWS, max(256, MAX_VALUE_NUMBERS // (n_outputs * n_inputs))) // 2
    half = torch.randn(n_pairs, n_inputs, dtype=rows.dtype, device=device, generator=generator)
    draws = torch.cat([half, -half])
    values = margin.teacher_values(rows, draws, found, control=found.control)
    dual = to_numpy(found.control * found.coefficients)
    return {
        "X_fit_": to_numpy(rows),
        "dual_coef_": dual,
        "intercept_": np.zeros(n_outputs, dtype=dual.dtype),
        "draws_": to_numpy(draws),
        "draw_values_": to_numpy(values),
        "ridge_": None,
        "solver_": "margin",
        "temperature_": 1.0,
        "margin_": found.gamma,
    }


def mean_over_draws(est, rows):
    """Return the part of the logits that is a mean over draws, (n_samples, n_outputs)."""
    device = resolve_device(est.device)
    rows = to_tensor(rows, dtype=est.draws_.dtype, device=device)
    draws, values = (to_tensor(array, device=device) for array in (est.draws_, est.draw_values_))
    return to_numpy(margin.mean_logits(rows, draws, values))
