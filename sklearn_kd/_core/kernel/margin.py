r"""Separation margin of the infinitely wide two-layer network, and the teacher that attains it.

With :math:`\phi_x(z) = x\,1[\langle z, x\rangle > 0]` and z ~ N(0, I) the margin is

.. math:: \gamma = \sup_{\|v(z)\| \le 1} \min_i y_i E\langle v(z), \phi_i(z)\rangle
          = \min_{q \in \Delta} E\|g_q(z)\|, \quad
          g_q(z) = \sum_i q_i y_i x_i\,1[\langle z, x_i\rangle > 0].

K classes have a function v_c for each class, q over the pairs (i, j != y_i), the margins
:math:`E\langle v_{y_i} - v_j, \phi_i\rangle` and the norm of all v_c together.

``targets`` (n, outputs) are the signs of two classes (one output) or one-hot rows of K classes.
``rows`` are (n, d). Gram matrices (n, n) are those of the kernel of the hidden layer, which has the
diagonal :math:`\|x\|^2/2`. Logits and dual coefficients are (n, outputs).

Three properties make sampling z efficient. Draws come in pairs z and -z, since g(-z) = sum - g(z)
costs nothing. The second moment :math:`E\|g_q\|^2 = \langle M, K M\rangle` is known and serves as a
control variate that removes most of the variance. The quadratic function that majorizes E||g_q||
is given by the kernel, so that each step minimizes a quadratic over the simplex and few steps
suffice.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_kd._core.kernel import kernels
from sklearn_kd._core.kernel.activation_patterns import (
    MAX_SCRATCH_NUMBERS,
    PatternChunk,
    default_n_pairs,
    n_fresh_pairs,
    row_span,
    sample_patterns,
)
from sklearn_kd._core.kernel.progress import Progress
from sklearn_kd._core.kernel.simplex import Simplex, duality_gap, quadratic_program

#: Multiplications that reweighting the Gram matrix may take.
MAX_REWEIGHT_MULTIPLICATIONS = 2**28


@dataclass(frozen=True)
class Separation:
    """Margin with bounds, and the dual solution that defines the teacher."""

    gamma: float  # E||g_q|| on new draws
    lower: float  # least margin on new draws, each less three standard errors
    upper: float  # E||g_q|| on new draws plus three standard errors
    gamma_rkhs: float
    weights: Tensor  # q, (n,) or (n, K) with zeros at the own class
    coefficients: Tensor  # M with g_c(z) = sum_i M_ic phi_i(z)
    soft_logits: Tensor  # E<v_c, phi_i> on new draws
    smoothing: float
    control: float  # kappa of the control variate
    n_draws: int
    n_iter: int
    duality_gap: float  # on the draws that q was fitted to
    converged: bool


def rkhs_weights(gram: Tensor, simplex: Simplex, tol: float, max_iter: int) -> Tensor:
    r"""Return the q that attains :math:`\gamma_1 = \min_q \langle M, K M\rangle^{1/2}`.

    The margin gamma_1 is one over the norm of the support vector machine without a bias. It bounds
    gamma from above. ``tol`` bounds the relative error of its square if ``max_iter`` allows.
    """
    q = torch.ones_like(simplex.margins(simplex.targets))
    q /= len(q)
    square = rkhs_norm(gram, simplex.coefficients(q)) ** 2
    linear = torch.zeros_like(q)
    eps = torch.finfo(gram.dtype).eps
    tol = max(tol, 1e3 * eps)
    min_square = eps * float(gram.diagonal().max())
    while True:  # the tolerance is relative to the value, which is not known before
        q = quadratic_program(
            gram, 1.0, linear, simplex, q, max(tol * square, min_square), max_iter
        )
        before, square = square, rkhs_norm(gram, simplex.coefficients(q)) ** 2
        if square > before / 2 or square <= min_square:
            return q


def rkhs_norm(gram: Tensor, coefficients: Tensor) -> float:
    """Return the norm of the kernel expansion with these coefficients."""
    return math.sqrt(max(float((coefficients * (gram @ coefficients)).sum()), 0.0))


def _dual_values(rows: Tensor, active: Tensor, coefficients: Tensor) -> Tensor:
    """Return g at the draws, (draws, outputs, d), for activations (n, draws) in the same dtype."""
    columns = [active.T @ (rows * column[:, None]) for column in coefficients.T]
    return torch.stack(columns, dim=1)


def _norms(values: Tensor, smoothing: float) -> Tensor:
    """Return the smoothed norms of g at the draws."""
    return values.square().sum(dim=(1, 2)).add_(smoothing**2).sqrt_()


class _Objective:
    r"""E of sqrt(||g_q||^2 + nu^2) over a sample, with its gradient.

    Only :math:`E[\sqrt{\|g\|^2 + \nu^2} - \kappa \|g\|^2 / 2]` is estimated by the sample. The
    remaining part is :math:`\kappa \langle M, K M\rangle / 2`.
    """

    def __init__(
        self,
        rows: Tensor,
        gram: Tensor,
        simplex: Simplex,
        chunks: list[PatternChunk],
        smoothing: float,
    ) -> None:
        self.rows, self.gram, self.simplex = rows, gram, simplex
        self.chunks: Iterable[PatternChunk] = chunks
        self.smoothing, self.control = smoothing, 0.0
        n_patterns = sum(len(weight) for _, weight in chunks)
        self.reweights = len(rows) ** 2 * n_patterns <= MAX_REWEIGHT_MULTIPLICATIONS
        # this number of steps on the quadratic takes as long as a pass over the draws
        self.n_inner = min(max(4 * rows.shape[1] * n_patterns // len(rows), 500), 5_000)

    def pairs(self, coefficients: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield activations, weights and g at z and at -z of each chunk."""
        total = (coefficients.T @ self.rows)[None]
        for signs, weight in self.chunks:
            active = signs.to(self.rows.dtype)
            values = _dual_values(self.rows, active, coefficients)
            yield active, weight, values, total - values

    def choose_control(self, q: Tensor) -> None:
        """Choose the kappa that approximates g/||g|| by kappa g in least squares."""
        first = second = 0.0
        for _, weight, *both in self.pairs(self.simplex.coefficients(q)):
            for values in both:
                norms = _norms(values, 0.0)
                first += float(weight @ norms)
                second += float(weight @ norms.square())
        # if the rows cancel, the denominator is a rounding error
        self.control = first / max(second, self.smoothing**2)

    def __call__(self, q: Tensor) -> tuple[float, Tensor]:
        """Return the value and its gradient in q."""
        rows, kappa = self.rows, self.control
        coefficients = self.simplex.coefficients(q)
        known = self.gram @ coefficients
        value = kappa / 2 * float((coefficients * known).sum())
        logits = kappa * known
        mean = torch.zeros_like(coefficients.T @ rows)
        for active, weight, values, opposite in self.pairs(coefficients):
            sides = []
            for g in (values, opposite):
                norms = _norms(g, self.smoothing)
                square = norms.square() - self.smoothing**2
                value += float(weight @ (norms - kappa / 2 * square)) / 2
                sides.append(g * ((1 / norms - kappa) * weight / 2)[:, None, None])
            mean += sides[1].sum(dim=0)
            change = sides[0].sub_(sides[1])
            for output in range(logits.shape[1]):
                logits[:, output] += (rows * (active @ change[:, output])).sum(dim=1)
        logits += rows @ mean.T
        return value, self.simplex.margins(logits)

    def metric(self, q: Tensor) -> tuple[Tensor, float]:
        r"""Return matrix and factor, whose product Q majorizes: F(q + p) <= F + F'p + <P, Q P>/2.

        Since sqrt(s) <= sqrt(t) + (s - t)/(2 sqrt(t)), the kernel reweighted by 1/||g(z)|| is such
        a Q. If that is too expensive, the kernel times the mean of 1/||g|| is used instead.
        """
        coefficients = self.simplex.coefficients(q)
        if not self.reweights:
            inverse = 0.0
            for _, weight, *both in self.pairs(coefficients):
                inverse += sum(float(weight @ (1 / _norms(g, self.smoothing))) for g in both) / 2
            return self.gram, inverse
        inner = torch.zeros_like(self.gram)
        for active, weight, *both in self.pairs(coefficients):
            for g, side in zip(both, (active, 1 - active), strict=True):
                scale = (1 / _norms(g, self.smoothing) - self.control) * weight / 2
                inner.addmm_(side * scale, side.T)
        return inner.mul_(self.rows @ self.rows.T).add_(self.gram, alpha=self.control), 1.0


def _descend(
    objective: _Objective,
    q: Tensor,
    tol: float,
    min_scale: float,
    max_iter: int,
    progress: Progress | None,
) -> tuple[Tensor, int, float, bool]:
    """Minimize by majorization and return q, the number of steps, the gap and whether it is small.

    The gap is small if it is at most ``tol`` times the value, or times ``min_scale`` if the value
    falls to zero.
    """
    simplex = objective.simplex
    value, slope = objective(q)
    metric, factor, scale = objective.gram, 0.0, 1.0
    for iteration in range(max_iter + 1):
        gap = duality_gap(slope, q)
        converged = gap <= tol * max(value, min_scale)
        if progress is not None:
            progress.report(step=iteration, value=value, gap=gap)
        if converged or iteration == max_iter:
            break
        if iteration == 0 or objective.reweights:
            metric, factor = objective.metric(q)
        inner_tol = max(gap / 30, tol * max(value, min_scale) / 3)
        while True:
            total = factor * scale
            linear = slope - total * simplex.margins(metric @ simplex.coefficients(q))
            following = quadratic_program(
                metric, total, linear, simplex, q, inner_tol, objective.n_inner
            )
            move = simplex.coefficients(following - q)
            curved = total * float((move * (metric @ move)).sum())
            majorant = value + float(slope @ (following - q)) + curved / 2
            new_value, new_slope = objective(following)
            if new_value <= majorant + 1e-3 * tol * value or scale > 1e3:
                break
            scale *= 2
        q, value, slope = following, new_value, new_slope
        scale = max(scale / 2, 1.0)
    return q, iteration, gap, converged


def _estimate(objective: _Objective, q: Tensor, n_pairs: int) -> tuple[float, float, float, Tensor]:
    """Return E||g||, its standard error, the lower bound and the logits of the teacher.

    The minimum of estimated margins is biased downward. The bound subtracts from each margin its
    own standard errors before it takes the minimum.
    """
    rows, kappa, simplex = objective.rows, objective.control, objective.simplex
    coefficients = simplex.coefficients(q)
    value = value_square = 0.0
    logits = torch.zeros_like(coefficients)
    margins = torch.zeros_like(q)
    squares = torch.zeros_like(q)
    for active, weight, *both in objective.pairs(coefficients):
        length = torch.zeros_like(weight)
        pair = rows.new_zeros(*coefficients.shape, len(weight))
        for g, side in zip(both, (active, 1 - active), strict=True):
            norms, smooth = _norms(g, 0.0), _norms(g, objective.smoothing)
            length += (norms - kappa / 2 * norms.square()) / 2
            residual = g * ((1 / smooth - kappa) / 2)[:, None, None]
            for output in range(pair.shape[1]):
                pair[:, output].addcmul_(rows @ residual[:, output].T, side)
        value += float(weight @ length)
        value_square += float(weight @ length.square())
        logits += pair @ weight
        each = simplex.margins(pair)
        margins += each @ weight
        squares += each.square_() @ weight
    known = objective.gram @ coefficients
    errors = (squares - margins.square()).clamp_(min=0).div_(n_pairs).sqrt_()
    margins += kappa * simplex.margins(known)
    return (
        value + kappa / 2 * float((coefficients * known).sum()),
        math.sqrt(max(value_square - value**2, 0.0) / n_pairs),
        max(float((margins - 3 * errors).min()), 0.0),  # v = 0 has margins of zero
        logits + kappa * known,
    )


def separation_margin(
    rows: Tensor,
    targets: Tensor,
    generator: torch.Generator,
    *,
    n_pairs: int | None = None,
    smoothing: float | None = None,
    tol: float = 1e-3,
    max_iter: int = 100,
    progress: Progress | None = None,
) -> Separation:
    r"""Estimate gamma with bounds and the q that attains it.

    Parameters
    ----------
    rows : tensor of shape (n, d)
        Used as given. The theory has norms of at most one.
    targets : tensor of shape (n, outputs)
        In the dtype of the rows.
    generator : torch.Generator
        On the device of the rows.
    n_pairs : int, optional
        Pairs (z, -z) that q is fitted to. By default as many as one pass can afford. The values are
        estimated on more, new draws.
    smoothing : float, optional
        nu of :math:`E\sqrt{\|g\|^2 + \nu^2}`, which replaces E||g||, so that
        :math:`v = g/\sqrt{\|g\|^2 + \nu^2}` is determined if g = 0. It reduces each margin by at
        most 0.3003 nu. The default is gamma_1 / 200.
    tol : float
        Duality gap at which to stop, relative to the value.
    max_iter : int
        Steps, each of which solves a quadratic program.
    progress : Progress, optional
        Gets ``step``, ``value`` and ``gap`` (the duality gap on the sample) at each step.
    """
    gram = kernels.gram(rows, kernels.Kernel("ntk"))
    if not torch.isfinite(gram).all():
        raise ValueError("the rows are too long for their kernel to be finite: rescale X.")
    n_outputs = targets.shape[1]
    simplex = Simplex(targets)
    q = rkhs_weights(gram, simplex, 1e-6, 10_000)
    gamma_rkhs = rkhs_norm(gram, simplex.coefficients(q))
    # gamma_1 is computed from its square and cannot be told from zero below this value
    min_gamma = 8 * math.sqrt(torch.finfo(gram.dtype).eps * float(gram.diagonal().max()))
    if smoothing is None:
        smoothing = max(gamma_rkhs, min_gamma, 1e-30) / 200
    rows = rows @ row_span(rows)  # only the products of z with the rows matter
    if n_pairs is None:
        n_pairs = default_n_pairs(rows, n_outputs)
    chunks = list(sample_patterns(rows, n_pairs, n_outputs, generator))
    objective = _Objective(rows, gram, simplex, chunks, smoothing)
    objective.choose_control(q)
    n_iter, gap, converged = 0, gamma_rkhs, True
    if gamma_rkhs > min_gamma:
        q, n_iter, gap, converged = _descend(objective, q, tol, gamma_rkhs, max_iter, progress)
    n_fresh = n_fresh_pairs(len(rows), n_pairs)
    objective.chunks = sample_patterns(rows, n_fresh, n_outputs, generator)
    value, error, lower, logits = _estimate(objective, q, n_fresh)
    return Separation(
        gamma=max(value, lower),
        lower=lower,
        upper=max(min(value + 3 * error, gamma_rkhs), lower),
        gamma_rkhs=gamma_rkhs,
        weights=simplex.weights(q),
        coefficients=simplex.coefficients(q),
        soft_logits=logits,
        smoothing=smoothing,
        control=objective.control,
        n_draws=2 * n_pairs,
        n_iter=n_iter,
        duality_gap=gap,
        converged=converged,
    )


def teacher_values(
    rows: Tensor, draws: Tensor, solution: Separation, *, control: float = 0.0
) -> Tensor:
    r"""Return :math:`v(z) = g(z)/\sqrt{\|g(z)\|^2 + \nu^2}` at the draws.

    Parameters
    ----------
    rows : tensor of shape (n, d)
        The rows of the solution.
    draws : tensor of shape (m, d)
    solution : Separation
    control : float
        With kappa the values are v - kappa g, whose mean has much less noise. The logits are then
        the `mean_logits` plus kappa K(x, rows) M.

    Returns
    -------
    tensor of shape (m, outputs, d)
    """
    values = rows.new_empty(len(draws), solution.coefficients.shape[1], rows.shape[1])
    size = max(MAX_SCRATCH_NUMBERS // (values.shape[1] * max(rows.shape)), 16)
    for start in range(0, len(draws), size):
        active = (rows @ draws[start : start + size].T > 0).to(rows.dtype)
        g = _dual_values(rows, active, solution.coefficients)
        scale = 1 / _norms(g, solution.smoothing) - control
        torch.mul(g, scale[:, None, None], out=values[start : start + size])
    return values


def mean_logits(rows: Tensor, draws: Tensor, values: Tensor) -> Tensor:
    r"""Return the mean over s of :math:`1[\langle z_s, x\rangle > 0] \langle v_s, x\rangle`.

    Parameters
    ----------
    rows : tensor of shape (n, d)
        The rows x.
    draws : tensor of shape (m, d)
        The draws z.
    values : tensor of shape (m, outputs, d)
        The values v at the draws.

    Returns
    -------
    tensor of shape (n, outputs)
    """
    logits = rows.new_zeros(len(rows), values.shape[1])
    size = max(MAX_SCRATCH_NUMBERS // max(len(draws), 1), 1)
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        active = (part @ draws.T > 0).to(rows.dtype)
        for output in range(values.shape[1]):
            products = (part @ values[:, output].T).mul_(active)
            logits[start : start + size, output] = products.mean(dim=1)
    return logits
