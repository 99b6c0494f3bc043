"""How separable the data are for a wide network, and how wide a student must be."""

import math
import time
import warnings
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state, check_scalar, check_X_y

from sklearn_kd._validation import encode_labels

__all__ = [
    "KernelSpectrum",
    "NTKMargin",
    "RequiredWidth",
    "information_ratio",
    "kernel_spectrum",
    "ntk_margin",
    "required_width",
]

_KERNELS = ("ntk", "ntk-full", "nngp", "laplace")
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


@dataclass(frozen=True)
class RequiredWidth:
    """Sufficient setting of a student; what `required_width` returns.

    ``width`` neurons, an even number; projection ``radius`` B; ``n_iter`` steps of ``step_size``
    on all rows. With this ``probability`` over the initialization at least, the risk, averaged
    over the steps, is at most ``risk``, which implies the error. ``labels`` and ``constants`` are
    as asked for.
    """

    width: int
    radius: float
    step_size: float
    n_iter: int
    risk: float
    probability: float
    labels: str
    constants: str


@dataclass(frozen=True)
class KernelSpectrum:
    """Spectrum of a Gram matrix; what `kernel_spectrum` returns.

    ``eigenvalues`` (n_samples,), largest first, rounding errors below zero being zero.
    ``label_power`` (n_samples,), the share of the squared norm of the labels in the first 1, 2,
    ... eigenvectors, which ends at one; None without labels.
    """

    eigenvalues: np.ndarray
    label_power: np.ndarray | None

    def effective_dimension(self, ridge):
        r"""Return :math:`\sum_i \lambda_i / (\lambda_i + \mathrm{ridge})`, the smoother's trace."""
        check_scalar(ridge, "ridge", Real, min_val=0, include_boundaries="neither")
        return float((self.eigenvalues / (self.eigenvalues + ridge)).sum())


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
    classes, codes = encode_labels(y)
    check_scalar(max_iter, "max_iter", Integral, min_val=0)
    check_scalar(tol, "tol", Real, min_val=0)
    if n_draws != "auto":
        check_scalar(n_draws, "n_draws", Integral, min_val=2)
    if smoothing != "auto":
        check_scalar(smoothing, "smoothing", Real, min_val=0, include_boundaries="neither")
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)

    import torch

    from sklearn_kd._core.kernels import Kernel, gram
    from sklearn_kd._core.margin import separation_margin
    from sklearn_kd._device import check_budget, resolve_device, to_numpy, to_tensor

    device = resolve_device(device)
    check_budget(2 * len(X) ** 2 * X.itemsize, device, "pass fewer rows, or X as float32")
    start = time.perf_counter()

    def report(step, value, gap):
        seconds = time.perf_counter() - start
        print(f"[ntk_margin] step {step}: value {value:.6f}, gap {gap:.1e}, {seconds:.1f} s")

    rows = to_tensor(X, device=device)
    found = separation_margin(
        rows,
        to_tensor(_targets(codes, len(classes), X.dtype), device=device),
        gram(rows, Kernel("ntk")),
        torch.Generator(device=device).manual_seed(int(seed)),
        n_pairs=None if n_draws == "auto" else (n_draws + 1) // 2,
        smoothing=None if smoothing == "auto" else float(smoothing),
        tol=tol,
        max_iter=max_iter,
        on_iteration=report if verbose > 0 else None,
    )
    if not found.converged:
        warnings.warn(
            f"the duality gap of gamma={found.gamma:.3g} is {found.duality_gap:.1e} after "
            f"{found.n_iter} steps: raise max_iter, tol or smoothing for bounds that meet.",
            ConvergenceWarning,
            stacklevel=2,
        )
    result = {name: value for name, value in vars(found).items() if name not in _CORE_ONLY}
    logits = to_numpy(found.soft_logits)
    result["soft_logits"] = logits[:, 0] if logits.shape[1] == 1 else logits
    result["weights"] = to_numpy(found.weights)
    return NTKMargin(**result, classes=classes)


def _targets(codes, n_classes, dtype):
    """Signs (n, 1), or one-hot rows (n, n_classes) for more than two classes."""
    if n_classes == 1:
        return np.ones((len(codes), 1), dtype=dtype)
    if n_classes == 2:
        return (2 * codes[:, None] - 1).astype(dtype)
    return np.eye(n_classes, dtype=dtype)[codes]


def required_width(
    gamma, epsilon, n_samples, *, labels="soft", delta=0.1, min_norm=1.0, constants="sharp"
):
    r"""Return the width, radius and training time that suffice for a training error of epsilon.

    The student is a two-layer network with fixed output weights and symmetric initialization,
    trained by full-batch projected gradient descent on rows of norm at most one; the error is
    the mean over the steps of the share of wrong rows. Soft labels are those of the margin's own
    teacher (`NTKMargin.soft_logits`). With :math:`s = \sqrt{2/\pi}` and
    :math:`\kappa = \sqrt{\ln(2n/\delta)}`, the sharp constants are, for soft labels,

    .. math:: m \ge \frac{1}{\beta}\Big[s + \big(1 + \tfrac{1}{\sqrt 2}\big) \kappa\Big]^2, \quad
              B = 1, \quad \eta = 1, \quad T \ge \frac{2}{\beta}, \quad
              \beta = \epsilon\,(\ln 2 - h(\mu(\gamma))),

    h being the entropy of a coin in nats, and for hard labels, with
    :math:`L = \ln(2/(\epsilon \ln 2))`,

    .. math:: m \ge \frac{16}{\gamma^2}\Big[s B + \big(1 + \tfrac{1}{\sqrt 2}\big) \kappa\Big]^2,
              \quad B = \frac{2 L}{\gamma}, \quad \eta = 1, \quad
              T \ge \frac{2 B^2}{\epsilon \ln 2}.

    They are sufficient: a student of far fewer neurons often does.

    Parameters
    ----------
    gamma : float
        Separation margin, in (0, 1/2] (`ntk_margin` of rows of norm at most one).
    epsilon : float
        Training error to reach, in (0, 1).
    n_samples : int
        Number of training rows.
    labels : {"soft", "hard"}, default="soft"
        Of the student.
    delta : float, default=0.1
        Chance of a bad initialization, in (0, 1/3): the statement holds with probability
        1 - 2 delta (sharp) or 1 - 3 delta (published).
    min_norm : float, default=1.0
        Smallest norm of a row, c, in (0, 1]. The sharp constants do not need it.
    constants : {"sharp", "published"}, default="sharp"
        Compare soft with hard labels by the same ones. "published" is as printed, for soft
        labels Theorem 2 with :math:`\beta = \gamma^2 \epsilon / 32` (Corollary 4 forgets the 32
        in step size and number of steps). The errata derive the sharp ones.

    Returns
    -------
    RequiredWidth
        ``width`` (even), ``radius``, ``step_size``, ``n_iter`` and what they are for.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    Mandal, S., Lin, X., and Srikant, R. (2024). arXiv:2412.09579, Theorem 2 (eq. 6), Lemma 3
    (eq. 9), Corollary 4 (eq. 10) and Proposition 5 (eq. 13).

    Examples
    --------
    >>> from sklearn_kd.theory import required_width
    >>> soft = required_width(0.1, 0.1, 1000)
    >>> hard = required_width(0.1, 0.1, 1000, labels="hard")
    >>> round(hard.width / soft.width, 1)
    18.3
    >>> soft.radius, round(hard.radius, 1)
    (1.0, 67.2)
    """
    for name, value, most, closed in (
        ("gamma", gamma, 0.5, "right"),
        ("epsilon", epsilon, 1, "neither"),
        ("delta", delta, 1 / 3, "neither"),
        ("min_norm", min_norm, 1, "right"),
    ):
        check_scalar(value, name, Real, min_val=0, max_val=most, include_boundaries=closed)
    check_scalar(n_samples, "n_samples", Integral, min_val=1)
    _check_option(labels, "labels", ("soft", "hard"))
    _check_option(constants, "constants", ("sharp", "published"))
    is_sharp = constants == "sharp"
    if labels == "soft":
        risk = epsilon * _risk_per_error(gamma) if is_sharp else gamma**2 * epsilon / 32
        radius = 1.0
        width = _soft_width(risk, n_samples, delta, min_norm, constants)
        step_size, n_iter = (1.0, 2 / risk) if is_sharp else (risk / 3, 9 / risk**2)
    else:
        risk = math.log(2) * epsilon
        radius = 2 / gamma * math.log(2 / risk)
        width = _hard_width(gamma, radius, n_samples, delta, min_norm, constants)
        step_size, n_iter = 1.0, 2 * radius**2 / risk
    width, n_iter = 2 * math.ceil(width / 2), math.ceil(n_iter)
    probability = 1 - (2 if is_sharp else 3) * delta
    return RequiredWidth(
        width, radius, step_size, n_iter, risk, probability, labels=labels, constants=constants
    )


def _risk_per_error(gamma):
    """Least divergence of a label of margin gamma from a wrong one, ln 2 - h(mu(gamma))."""
    t = math.tanh(gamma / 2)  # mu(gamma) = (1 + t)/2
    return (math.log1p(-t * t) + t * gamma) / 2


def _soft_width(beta, n_samples, delta, min_norm, constants):
    """Width for an averaged KL risk of beta (Theorem 2), not rounded."""
    s, kappa = math.sqrt(2 / math.pi), math.sqrt(math.log(2 * n_samples / delta))
    if constants == "sharp":
        return (s + (1 + math.sqrt(0.5)) * kappa) ** 2 / beta
    return 96 / (1 + math.e**2) / beta * (s / min_norm + 3 * kappa) ** 2


def _hard_width(gamma, radius, n_samples, delta, min_norm, constants):
    """Width of Proposition 5, not rounded. "proof": what its argument needs."""
    s, kappa = math.sqrt(2 / math.pi), math.sqrt(math.log(2 * n_samples / delta))
    bracket = {
        "sharp": s * radius + (1 + math.sqrt(0.5)) * kappa,
        "proof": s * radius / min_norm + 3 * kappa,
        "published": s * radius / min_norm + 3 * kappa / gamma,
    }[constants]
    return (4 * bracket / gamma) ** 2


def information_ratio(X, labels, *, k=5, kernel="ntk-full", center=True):
    r"""Share of a label vector's norm in the top k eigenvectors of a kernel.

    .. math:: \|U_k^\top y\| / \|y\|

    Along an eigenvector of eigenvalue lambda a network has learnt 1 - (1 - eta lambda)^t after t
    steps, so that labels with a large ratio are learnt early. Of n labels of -1 and 1, flipped at
    the rate rho, :math:`E[\mathrm{ratio}^2] = (1 - 2\rho)^2 \mathrm{ratio}^2 + 4\rho(1-\rho) k/n`
    (uncentred).

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        As given; the Gram matrix (n_samples, n_samples) with ``kernel="precomputed"``.
    labels : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Numbers are taken as they are (code two classes as -1 and 1); text is coded -1 and 1, or
        one-hot for more than two labels. The Frobenius norm serves for several columns.
    k : int, default=5
        Number of eigenvectors. Choose it at a gap of the spectrum (`kernel_spectrum`).
    kernel : {"ntk", "ntk-full", "nngp", "laplace", "precomputed"} or callable, \
            default="ntk-full"
        A callable maps (X, X) to the Gram matrix.
    center : bool, default=True
        Subtract the mean of the labels first; else imbalance counts as information.

    Returns
    -------
    ratio : float
        In [0, 1].

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, k is not in 1..n_samples, or labels are equal.

    References
    ----------
    Dong, B., Hou, J., Lu, Y., and Zhang, Z. (2019). arXiv:1910.01255 (k = 5).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kd.theory import information_ratio
    >>> angle = 2 * np.pi * np.arange(12) / 12 + 0.1
    >>> X = np.column_stack([np.cos(angle), np.sin(angle)])
    >>> y = np.where(angle < np.pi, 1, -1)
    >>> round(information_ratio(X, y, k=3), 3)
    0.911
    """
    gram = _gram(X, kernel)
    check_scalar(k, "k", Integral, min_val=1, max_val=len(gram))
    _, power = _eigen(gram, _label_columns(labels, len(gram), center))
    return math.sqrt(min(float(power[k - 1]), 1.0))


def kernel_spectrum(X, labels=None, *, kernel="ntk-full", center=True):
    """Eigenvalues of a Gram matrix, and where along them the labels lie.

    Parameters
    ----------
    X, labels, kernel, center
        As in `information_ratio`; without labels there is no ``label_power``.

    Returns
    -------
    KernelSpectrum
        ``eigenvalues``, ``label_power`` and ``effective_dimension(ridge)``.

    References
    ----------
    Caponnetto, A., and De Vito, E. (2007). Found. Comput. Math. 7 (effective dimension).

    Examples
    --------
    >>> from sklearn_kd.theory import kernel_spectrum
    >>> spectrum = kernel_spectrum([[1, 0], [0, 1]], [-1, 1], kernel="ntk")
    >>> spectrum.eigenvalues, spectrum.effective_dimension(0.5)
    (array([0.5, 0.5]), 1.0)
    """
    gram = _gram(X, kernel)
    columns = None if labels is None else _label_columns(labels, len(gram), center)
    return KernelSpectrum(*_eigen(gram, columns))


def _gram(X, kernel):
    """Gram matrix in float64."""
    if not callable(kernel):
        _check_option(kernel, "kernel", (*_KERNELS, "precomputed"))
    X = check_array(X, dtype=np.float64)
    if kernel in _KERNELS:
        from sklearn_kd._core.kernels import Kernel, gram
        from sklearn_kd._device import to_numpy, to_tensor

        return to_numpy(gram(to_tensor(X), Kernel(kernel)))
    matrix = X if kernel == "precomputed" else check_array(kernel(X, X), dtype=np.float64)
    if matrix.shape != (len(X), len(X)) or not np.allclose(matrix, matrix.T, rtol=1e-5):
        raise ValueError(f"a Gram matrix must be square and symmetric, got {matrix.shape}.")
    return matrix


def _label_columns(labels, n_samples, center):
    """Label vectors as float64 columns (n_samples, n_outputs)."""
    columns = np.asarray(labels)
    if columns.dtype.kind not in "biuf":
        classes, codes = encode_labels(columns)
        columns = _targets(codes, len(classes), np.float64)
    columns = check_array(columns, dtype=np.float64, ensure_2d=False, input_name="labels")
    columns = columns.reshape(len(columns), -1)
    if len(columns) != n_samples:
        raise ValueError(f"labels has {len(columns)} rows where X has {n_samples}.")
    if not (np.ptp(columns, axis=0) if center else columns).any():
        raise ValueError("labels are all equal or zero, so that nothing is left of them.")
    return columns - columns.mean(axis=0) if center else columns


def _eigen(gram, columns):
    """Eigenvalues, largest first, and the cumulative share of the columns' power."""
    values, vectors = np.linalg.eigh(gram)
    eigenvalues = np.maximum(values[::-1], 0.0)
    if columns is None:
        return eigenvalues, None
    power = ((vectors[:, ::-1].T @ columns) ** 2).sum(axis=1)
    return eigenvalues, np.cumsum(power) / power.sum()


def _check_option(value, name, options):
    if not (isinstance(value, str) and value in options):
        raise ValueError(f"{name} must be one of {list(options)}, got {value!r}.")
