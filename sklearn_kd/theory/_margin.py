"""Separation margin of labeled rows in the tangent kernel."""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, check_scalar, check_X_y

from sklearn_kd._utils.labels import encode_labels
from sklearn_kd._utils.warnings import warn_caller

__all__ = ["NTKMargin", "ntk_margin"]

#: Fields of a solution that only its teacher needs.
_CORE_ONLY = ("coefficients", "control")


@dataclass(frozen=True)
class NTKMargin:
    """Separation margin of a data set; what `ntk_margin` returns.

    ``gamma`` lies between ``lower`` and ``upper``: the margin of the teacher found and the dual
    value, less and plus three standard errors of fresh draws. ``gamma_rkhs`` is the margin in the
    Hilbert space of the kernel, which takes no sampling; at least gamma.

    ``weights`` are the dual weights q, non-negative with sum one: the rows that hold the margin
    down. (n_samples,) for two classes, else (n_samples, n_classes), a column for each class to be
    told from, zero at the row's own. ``soft_logits``, of the same shape, are those of the
    teacher on the rows (of the second class for two). ``classes`` are the sorted labels.

    ``smoothing`` (nu), ``n_draws`` (that q was fitted to) and ``n_iter`` say how; ``converged``
    whether ``duality_gap``, what the value on those draws can still fall by, is within ``tol``.
    """

    __module__ = "sklearn_kd.theory"

    gamma: float
    lower: float
    upper: float
    gamma_rkhs: float
    weights: np.ndarray
    soft_logits: np.ndarray
    classes: np.ndarray
    smoothing: float
    n_draws: int
    n_iter: int
    duality_gap: float
    converged: bool


def ntk_margin(
    X,
    y,
    *,
    n_draws="auto",
    smoothing="auto",
    max_iter=100,
    tol=1e-3,
    random_state=None,
    device="auto",
    verbose=0,
):
    r"""Estimate the separation margin of the infinite-width two-layer network, with bounds.

    For two classes, with :math:`\phi_x(z) = x\,1[\langle z, x\rangle > 0]` and z ~ N(0, I),

    .. math:: \gamma = \sup_{\|v(z)\| \le 1} \min_i y_i E\langle v(z), \phi_{x_i}(z)\rangle
              = \min_{q \in \Delta} E\Big\|\sum_i q_i y_i \phi_{x_i}(z)\Big\|.

    The larger it is, the narrower the student that suffices (`required_width`). For K classes v
    has K parts, whose norm is taken together, and the margins are
    :math:`E\langle v_{y_i} - v_j, \phi_{x_i}\rangle`, j != y_i; two classes written like that
    have :math:`\sqrt 2` times the margin.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        As given, neither scaled nor with an intercept: gamma scales with it. The theory has rows
        with norms of at most one.
    y : array-like of shape (n_samples,)
        Class labels. With one class only, every row is to have a positive logit.
    n_draws : "auto" or int, default="auto"
        Draws of z, in pairs z and -z, that q is fitted to; more fresh ones give the values.
        "auto" is a million for up to 20 rows, else 4,096 to 131,072, as a pass can afford. More
        bring ``lower`` and ``upper`` together.
    smoothing : "auto" or float, default="auto"
        nu of the smoothed norm :math:`\sqrt{\|g\|^2 + \nu^2}`; the teacher
        :math:`v = g/\|g\|` is undetermined where g = 0, which happens at the optimum. It costs
        a margin 0.3003 nu at most. "auto" is ``gamma_rkhs / 200``.
    max_iter : int, default=100
        Most steps; each solves a quadratic program.
    tol : float, default=1e-3
        Duality gap to stop at, on the draws and relative to gamma.
    random_state : int, RandomState instance or None, default=None
        Seeds the draws.
    device : str, default="auto"
        "cpu", "cuda" or "cuda:1"; "auto" is CUDA where there is one.
    verbose : int, default=0
        A line of progress for each step if positive.

    Returns
    -------
    NTKMargin
        ``gamma``, ``lower``, ``upper``, ``gamma_rkhs``, ``weights``, ``soft_logits`` and how they
        were found. A row of zeros, or equal rows with different labels, make the margin zero.

    Raises
    ------
    ValueError
        If X or y are not finite, or of wrong shape, or a parameter is out of range.
    MemoryError
        If the Gram matrix would not fit.

    Warns
    -----
    ConvergenceWarning
        If the gap is above ``tol`` after ``max_iter`` steps; the bounds are valid all the same.

    Notes
    -----
    Rows of norm at most one and two classes have
    :math:`\gamma_1^2 \le \gamma \le \gamma_1`, :math:`\gamma_1` being ``gamma_rkhs``, and
    :math:`\gamma \le \min_i \|x_i\|/2`. Random labels have :math:`\gamma = O(n^{-1/2})`.

    References
    ----------
    Ji, Z., and Telgarsky, M. (2020). ICLR, arXiv:1909.12292, Assumption 2.1, eq. 5.2 (gamma_1).

    Mandal, S., Lin, X., and Srikant, R. (2024). arXiv:2412.09579, Assumption 1 (eq. 3).

    Examples
    --------
    Two orthogonal points have the margin (1/2)(1/2 + sqrt(2)/4) = 0.4268:

    >>> from sklearn_kd.theory import ntk_margin
    >>> margin = ntk_margin([[1.0, 0.0], [0.0, 1.0]], ["no", "yes"], random_state=0)
    >>> round(margin.gamma, 3)
    0.427
    >>> margin.weights
    array([0.5, 0.5])
    """
    X, y = check_X_y(X, y, dtype=[np.float64, np.float32])
    classes, y_encoded = encode_labels(y)
    check_scalar(max_iter, "max_iter", Integral, min_val=0)
    check_scalar(tol, "tol", Real, min_val=0)
    if n_draws != "auto":
        check_scalar(n_draws, "n_draws", Integral, min_val=2)
    if smoothing != "auto":
        check_scalar(smoothing, "smoothing", Real, min_val=0, include_boundaries="neither")
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)

    import torch

    from sklearn_kd._core.kernel.margin import separation_margin
    from sklearn_kd._core.kernel.progress import Progress
    from sklearn_kd._utils.device import check_budget, resolve_device, to_numpy, to_tensor

    device = resolve_device(device)
    check_budget(2 * len(X) ** 2 * X.itemsize, device, "pass fewer rows, or X as float32")
    progress = None
    if verbose > 0:
        progress = Progress(
            "[ntk_margin] step {step}: value {value:.6f}, gap {gap:.1e}, {seconds:.1f} s"
        )
    found = separation_margin(
        to_tensor(X, device=device),
        to_tensor(_targets(y_encoded, len(classes), X.dtype), device=device),
        torch.Generator(device=device).manual_seed(int(seed)),
        n_pairs=None if n_draws == "auto" else (n_draws + 1) // 2,
        smoothing=None if smoothing == "auto" else float(smoothing),
        tol=tol,
        max_iter=max_iter,
        progress=progress,
    )
    if not found.converged:
        warn_caller(
            f"the duality gap of gamma={found.gamma:.3g} is {found.duality_gap:.1e} after "
            f"{found.n_iter} steps: raise max_iter, tol or smoothing for bounds that meet.",
            ConvergenceWarning,
        )
    result = {name: value for name, value in vars(found).items() if name not in _CORE_ONLY}
    logits = to_numpy(found.soft_logits)
    result["soft_logits"] = logits[:, 0] if logits.shape[1] == 1 else logits
    result["weights"] = to_numpy(found.weights)
    return NTKMargin(**result, classes=classes)


def _targets(y_encoded, n_classes, dtype):
    """Signs (n, 1), or one-hot rows (n, n_classes) for more than two classes."""
    if n_classes == 1:
        return np.ones((len(y_encoded), 1), dtype=dtype)
    if n_classes == 2:
        return (2 * y_encoded[:, None] - 1).astype(dtype)
    return np.eye(n_classes, dtype=dtype)[y_encoded]
