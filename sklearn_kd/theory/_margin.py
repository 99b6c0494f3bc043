"""Separation margin of labeled rows for the infinitely wide two-layer network."""

from dataclasses import dataclass, field
from numbers import Integral, Real

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, check_scalar, check_X_y

from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.labels import encode_labels
from sklearn_kd._utils.warnings import warn_caller

#: Fields of a solution that only the teacher needs.
_CORE_ONLY = ("coefficients", "control")


@dataclass(frozen=True)
class NTKMargin:
    """Separation margin of a data set, returned by `ntk_margin`.

    Attributes
    ----------
    gamma : float
        Estimate of the margin, between ``lower`` and ``upper``.
    lower : float
        Margin of the teacher that was found, minus three standard errors.
    upper : float
        Value of the dual problem, plus three standard errors, and at most ``gamma_rkhs``.
    gamma_rkhs : float
        Margin in the Hilbert space of the kernel. It bounds gamma from above and needs no sampling.
    weights : ndarray of shape (n_samples,) or (n_samples, n_classes)
        Dual weights q, which are non-negative and sum to one. Rows with a positive weight limit the
        margin. For more than two classes there is a column for each class from which a row is to be
        separated, with zero at the class of the row.
    soft_logits : ndarray of shape (n_samples,) or (n_samples, n_classes)
        Logits of the teacher on the rows, for two classes those of the second class.
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    smoothing : float
        The parameter nu of the smoothed norm.
    n_draws : int
        Number of draws that q was fitted to.
    n_iter : int
        Number of steps.
    duality_gap : float
        Upper bound of how much the value on these draws can still decrease.
    converged : bool
        Whether ``duality_gap`` is at most ``tol`` times the value.
    """

    __module__ = "sklearn_kd.theory"

    gamma: float
    lower: float
    upper: float
    gamma_rkhs: float
    weights: np.ndarray = field(repr=False)
    soft_logits: np.ndarray = field(repr=False)
    classes: np.ndarray
    smoothing: float
    n_draws: int
    n_iter: int
    duality_gap: float
    converged: bool


@numpy_inputs
def ntk_margin(  # noqa: PLR0913
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

    The larger the margin, the narrower the student that suffices (`required_width`). For K classes
    v has K parts with a common norm, and the margins are
    :math:`E\langle v_{y_i} - v_j, \phi_{x_i}\rangle` for j != y_i. Two classes in this form have
    :math:`\sqrt 2` times the margin.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Used as given, without scaling or intercept. gamma is proportional to the scale of X. The
        theory has rows with norms of at most one.
    y : array-like of shape (n_samples,)
        Class labels. With a single class, all rows are to have positive logits.
    n_draws : "auto" or int, default="auto"
        Number of draws of z, in pairs z and -z, that q is fitted to. The values are estimated on
        more, new draws. "auto" is a million for up to 20 rows and 4,096 to 131,072 for more rows,
        depending on the time of a pass. More draws bring ``lower`` and ``upper`` closer together.
    smoothing : "auto" or float, default="auto"
        The parameter nu of the smoothed norm :math:`\sqrt{\|g\|^2 + \nu^2}`. Without it the teacher
        :math:`v = g/\|g\|` is undetermined if g = 0, which happens at the optimum. Smoothing
        reduces a margin by at most 0.3003 nu. "auto" is ``gamma_rkhs / 200``.
    max_iter : int, default=100
        Maximum number of steps, each of which solves a quadratic program.
    tol : float, default=1e-3
        Duality gap on the draws, relative to gamma, at which to stop.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.
    device : str, default="auto"
        "cpu", "cuda" or "cuda:1". "auto" uses CUDA if it is available.
    verbose : int, default=0
        If positive, print a line of progress for each step.

    Returns
    -------
    NTKMargin
        The margin with bounds, the dual weights and the logits of the teacher. The margin is zero
        if a row is zero or equal rows have different labels.

    Raises
    ------
    ValueError
        If X or y is not finite or has a wrong shape, or a parameter is out of range.
    MemoryError
        If the Gram matrix would not fit.

    Warns
    -----
    ConvergenceWarning
        If the gap is above ``tol`` after ``max_iter`` steps. The bounds are still valid.

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
        to_tensor(signs_or_one_hot(y_encoded, len(classes), X.dtype), device=device),
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


def signs_or_one_hot(y_encoded, n_classes, dtype):
    """Return signs (n, 1), or one-hot rows (n, n_classes) for more than two classes."""
    if n_classes == 1:
        return np.ones((len(y_encoded), 1), dtype=dtype)
    if n_classes == 2:
        return (2 * y_encoded[:, None] - 1).astype(dtype)
    return np.eye(n_classes, dtype=dtype)[y_encoded]
