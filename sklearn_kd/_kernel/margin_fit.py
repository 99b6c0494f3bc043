"""What KernelTeacher(method="margin") does with checked rows: the paper's teacher.

Its logits are z(x) = E <v(z), x 1[<z, x> > 0]>, v the values of the separation margin. The mean is
over draws; the multiple of g(z) that it varies most with has a closed form, the kernel.
"""

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from sklearn_kd._core.kernel import kernels, margin
from sklearn_kd._utils.device import check_budget, resolve_device, to_numpy, to_tensor
from sklearn_kd._utils.unique_rows import merge_rows

__all__ = ["fit", "values_of"]


#: Draws that the teacher keeps, at most, and numbers that their values may take.
MOST_DRAWS, VALUES = 2**14, 2**22


def fit(est, X, rows, y_encoded, weights):
    """Find the margin and the teacher that attains it; return fitted attributes of ``est``.

    Parameters are those of `ridge_fit.fit`. Weights do not matter: the margin is that of the
    worst row.
    """
    device = resolve_device(est.device)
    random = check_random_state(est.random_state)
    n_classes = len(est.classes_)
    distinct = merge_rows(X, y_encoded, weights, n_classes)
    row, label = np.nonzero(distinct.class_weight_sums)
    signs = np.eye(n_classes)[label] if n_classes > 2 else 2.0 * label[:, None] - 1
    rows = to_tensor(rows[distinct.first[row]], device=device)
    n_inputs, n_outputs, itemsize = rows.shape[1], signs.shape[1], rows.element_size()
    limit = np.inf if est.max_memory is None else est.max_memory * 2**30
    advice = "fit fewer rows, or float32 ones"
    scratch = margin.KEPT + itemsize * (6 * margin.SCRATCH + 2 * VALUES)
    check_budget(scratch + 3 * itemsize * len(rows) ** 2, device, advice, limit=limit)
    generator = torch.Generator(device=device).manual_seed(int(random.randint(2**31 - 1)))

    def report(step, value, gap):
        print(f"[KernelTeacher] step {step}: margin {value:.5f}, duality gap {gap:.1e}")

    found = margin.separation_margin(
        rows,
        to_tensor(signs, dtype=str(rows.dtype).removeprefix("torch."), device=device),
        kernels.gram(rows, kernels.Kernel("ntk")),
        generator,
        on_iteration=report if est.verbose else None,
    )
    if not found.converged:
        warnings.warn(
            f"the margin is {found.gamma:.3g} with a duality gap of {found.duality_gap:.1e}, so "
            "its labels are those of a slightly smaller one: fewer rows, or rows that are farther "
            "apart, have a sharper one.",
            ConvergenceWarning,
            stacklevel=5,
        )
    if found.gamma_rkhs <= 1e-6 * float(rows.norm(dim=1).max()):
        warnings.warn(
            "the rows have no margin, because a row of zeros or equal rows with different labels "
            "are among them: every probability is about even. Leave those rows out.",
            ConvergenceWarning,
            stacklevel=5,
        )
    n_pairs = min(MOST_DRAWS, max(256, VALUES // (n_outputs * n_inputs))) // 2
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


def values_of(est, rows):
    """Part of the logits that is a mean over draws, (n_samples, n_outputs)."""
    device = resolve_device(est.device)
    rows = to_tensor(rows, dtype=est.draws_.dtype, device=device)
    draws, values = (to_tensor(array, device=device) for array in (est.draws_, est.draw_values_))
    return to_numpy(margin.soft_logits(rows, draws, values))
