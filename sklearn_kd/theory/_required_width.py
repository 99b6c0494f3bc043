"""Width of a two-layer network that suffices by the theory."""

import math
from dataclasses import dataclass
from numbers import Integral, Real

from sklearn.utils import check_scalar

from sklearn_kd._utils.validation import check_option


@dataclass(frozen=True)
class RequiredWidth:
    """Sufficient width and training parameters of a student, returned by `required_width`.

    Attributes
    ----------
    width : int
        Number of neurons, an even number.
    radius : float
        Radius B of the projection.
    step_size : float
        Step size of full-batch gradient descent.
    n_iter : int
        Number of steps.
    risk : float
        Upper bound of the risk, averaged over the steps, which implies the training error.
    probability : float
        Probability over the initialization with which the bound holds, at least.
    labels : {"soft", "hard"}
        Labels of the student.
    constants : {"sharp", "published"}
        Constants of the bound.
    """

    __module__ = "sklearn_kd.theory"

    width: int
    radius: float
    step_size: float
    n_iter: int
    risk: float
    probability: float
    labels: str
    constants: str


def required_width(
    gamma, epsilon, n_samples, *, labels="soft", delta=0.1, min_norm=1.0, constants="sharp"
):
    r"""Return the width, radius and training time that suffice for a training error of epsilon.

    The student is a two-layer network with fixed output weights and symmetric initialization,
    trained by full-batch projected gradient descent on rows of norm at most one. The error is the
    share of misclassified rows, averaged over the steps. Soft labels are those of the teacher that
    attains the margin (`NTKMargin.soft_logits`). With :math:`s = \sqrt{2/\pi}` and
    :math:`\kappa = \sqrt{\ln(2n/\delta)}`, the sharp constants are, for soft labels,

    .. math:: m \ge \frac{1}{\beta}\Big[s + \big(1 + \tfrac{1}{\sqrt 2}\big) \kappa\Big]^2, \quad
              B = 1, \quad \eta = 1, \quad T \ge \frac{2}{\beta}, \quad
              \beta = \epsilon\,(\ln 2 - h(\mu(\gamma))),

    where h is the binary entropy in nats, and for hard labels, with
    :math:`L = \ln(2/(\epsilon \ln 2))`,

    .. math:: m \ge \frac{16}{\gamma^2}\Big[s B + \big(1 + \tfrac{1}{\sqrt 2}\big) \kappa\Big]^2,
              \quad B = \frac{2 L}{\gamma}, \quad \eta = 1, \quad
              T \ge \frac{2 B^2}{\epsilon \ln 2}.

    These values are sufficient. A student with far fewer neurons often suffices too.

    Parameters
    ----------
    gamma : float
        Separation margin, in (0, 1/2] (`ntk_margin` of rows of norm at most one).
    epsilon : float
        Training error to reach, in (0, 1).
    n_samples : int
        Number of training rows.
    labels : {"soft", "hard"}, default="soft"
        Labels of the student.
    delta : float, default=0.1
        Probability of a bad initialization, in (0, 1/3). The statement holds with probability
        1 - 2 delta (sharp) or 1 - 3 delta (published).
    min_norm : float, default=1.0
        Smallest norm of a row, c, in (0, 1]. The sharp constants do not need it.
    constants : {"sharp", "published"}, default="sharp"
        Constants of the bounds. Use the same ones to compare soft with hard labels. "published" are
        those of the paper. For soft labels these are Theorem 2 with
        :math:`\beta = \gamma^2 \epsilon / 32`, since Corollary 4 omits the 32 in the step size and
        the number of steps. The errata derive the sharp constants.

    Returns
    -------
    RequiredWidth
        Width, radius, step size and number of steps, with the bound that they satisfy.

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
    check_option(labels, "labels", ("soft", "hard"))
    check_option(constants, "constants", ("sharp", "published"))
    # numbers of Python, since those of NumPy overflow at the limits of their dtypes
    gamma, epsilon, delta, min_norm = map(float, (gamma, epsilon, delta, min_norm))
    n_samples, is_sharp = int(n_samples), constants == "sharp"
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
    """Return ln 2 - h(mu(gamma)), the least divergence of a misclassified row of margin gamma."""
    t = math.tanh(gamma / 2)  # mu(gamma) = (1 + t)/2
    return (math.log1p(-t * t) + t * gamma) / 2


def _soft_width(beta, n_samples, delta, min_norm, constants):
    """Return the width for an averaged KL risk of beta (Theorem 2), not rounded."""
    s, kappa = math.sqrt(2 / math.pi), math.sqrt(math.log(2 * n_samples / delta))
    if constants == "sharp":
        return (s + (1 + math.sqrt(0.5)) * kappa) ** 2 / beta
    return 96 / (1 + math.e**2) / beta * (s / min_norm + 3 * kappa) ** 2


def _hard_width(gamma, radius, n_samples, delta, min_norm, constants):
    """Return the width of Proposition 5, not rounded. "proof" is what its proof needs."""
    s, kappa = math.sqrt(2 / math.pi), math.sqrt(math.log(2 * n_samples / delta))
    bracket = {
        "sharp": s * radius + (1 + math.sqrt(0.5)) * kappa,
        "proof": s * radius / min_norm + 3 * kappa,
        "published": s * radius / min_norm + 3 * kappa / gamma,
    }[constants]
    return (4 * bracket / gamma) ** 2
