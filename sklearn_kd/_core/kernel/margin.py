r"""The separation margin of the infinite-width network, and the teacher that attains it.

With :math:`\phi_x(z) = x\,1[\langle z, x\rangle > 0]`, z ~ N(0, I), it is

.. math:: \gamma = \sup_{\|v(z)\| \le 1} \min_i y_i E\langle v(z), \phi_i(z)\rangle
          = \min_{q \in \Delta} E\|g_q(z)\|, \quad
          g_q(z) = \sum_i q_i y_i x_i\,1[\langle z, x_i\rangle > 0].

K classes have a function v_c for each class, q over the pairs (i, j != y_i), the margins
:math:`E\langle v_{y_i} - v_j, \phi_i\rangle` and the norm of all v_c together.

``targets`` (n, outputs) are the signs of two classes, one output, or one-hot rows of K classes.
``rows`` are (n, d), Gram matrices (n, n) of the hidden-only kernel, whose diagonal is
:math:`\|x\|^2/2`; logits and dual coefficients are (n, outputs).

Three things make sampled z do. z and -z go together, since g(-z) = sum - g(z) is free. The second
moment :math:`E\|g_q\|^2 = \langle M, K M\rangle` is known, and takes most of the variance with it
(a control variate). And the quadratic that majorizes E||g_q|| is the kernel again, so that a
step minimizes that over the simplex and a handful of steps will do.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_kd._core.kernel.simplex import Simplex, duality_gap, quadratic_program

__all__ = ["separation_margin"]


#: Entries of the largest scratch array.
SCRATCH = 2**23
#: Multiplications that one pass over the draws may take, where that is enough draws.
PASS = 2**31
#: Pairs of draws: at least, at most, where few rows make few patterns, and fresh ones at least.
FEWEST, MOST, TINY, FRESH = 2**11, 2**16, 2**19, 2**14
#: Rows whose patterns are merged; activations that are kept, in bytes.
MERGED_ROWS, KEPT = 20, 10**8
#: Multiplications that reweighting the Gram matrix may take.
REWEIGHT = 2**28

#: Signs of the rows of pairs (z, -z) at z, (n, pairs), and the weights of the pairs (pairs,).
Chunk = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Separation:
    """The margin with its bounds, and the dual solution that gives the teacher."""

    gamma: float  # E||g_q|| on fresh draws
    lower: float  # min of the margins on fresh draws, each less three standard errors
    upper: float  # E||g_q|| on fresh draws plus three standard errors
    gamma_rkhs: float
    weights: Tensor  # q, (n,) or (n, K) with zeros at the own class
    coefficients: Tensor  # M with g_c(z) = sum_i M_ic phi_i(z)
    soft_logits: Tensor  # E<v_c, phi_i> on fresh draws
    smoothing: float
    control: float  # kappa of the control variate
    n_draws: int
    n_iter: int
    duality_gap: float  # on the draws that q was fitted to
    converged: bool


def rkhs_margin(
    gram: Tensor, targets: Tensor, *, tol: float = 1e-6, max_iter: int = 10_000
) -> tuple[float, Tensor]:
    r"""Return :math:`\gamma_1 = \min_q \langle M, K M\rangle^{1/2}` and its q, (n,) or (n, K).

    It is one over the norm of the support vector machine without a bias; gamma is at most this.
    ``tol`` bounds the relative error of its square where the number of steps allows.
    """
    simplex = Simplex(targets)
    q = _rkhs_weights(gram, simplex, tol, max_iter)
    return _rkhs_norm(gram, simplex.coefficients(q)), simplex.weights(q)


def _rkhs_weights(gram: Tensor, simplex: Simplex, tol: float, max_iter: int) -> Tensor:
    q = torch.ones_like(simplex.margins(simplex.targets))
    q /= len(q)
    square = _rkhs_norm(gram, simplex.coefficients(q)) ** 2
    linear = torch.zeros_like(q)
    eps = torch.finfo(gram.dtype).eps
    tol = max(tol, 1e3 * eps)
    floor = eps * float(gram.diagonal().max())
    while True:  # the tolerance is relative to what is looked for
        q = quadratic_program(gram, 1.0, linear, simplex, q, max(tol * square, floor), max_iter)
        before, square = square, _rkhs_norm(gram, simplex.coefficients(q)) ** 2
        if square > before / 2 or square <= floor:
            return q


def _rkhs_norm(gram: Tensor, coefficients: Tensor) -> float:
    return math.sqrt(max(float((coefficients * (gram @ coefficients)).sum()), 0.0))


def _span(rows: Tensor) -> Tensor:
    """Orthonormal basis (d, rank) of the span of the rows; one column at least."""
    _, scales, basis = torch.linalg.svd(rows, full_matrices=False)
    tiny = float(scales[0]) * max(rows.shape) * torch.finfo(rows.dtype).eps
    rank = max(int((scales > tiny).sum()), 1)
    span: Tensor = basis[:rank].T
    return span


def _affordable_pairs(rows: Tensor, n_outputs: int) -> int:
    n_rows, rank = rows.shape
    if n_rows <= MERGED_ROWS:
        return TINY
    affordable = min(max(PASS // (4 * n_rows * rank * n_outputs), FEWEST), MOST)
    return max(min(affordable, KEPT // n_rows), 1)


def _patterns(
    rows: Tensor, n_pairs: int, n_outputs: int, generator: torch.Generator
) -> Iterator[Chunk]:
    most = max(SCRATCH // (n_outputs * max(rows.shape)), 16)
    for start in range(0, n_pairs, most):
        size = min(most, n_pairs - start)
        z = torch.randn(
            rows.shape[1], size, dtype=rows.dtype, device=rows.device, generator=generator
        )
        yield rows @ z > 0, rows.new_full((size,), 1 / n_pairs)


def _merged(chunks: Iterable[Chunk]) -> list[Chunk]:
    """Merge equal patterns of few rows, of which there are few (z and -z are one pair)."""
    y_encoded, weights = [], []
    for active, weight in chunks:
        active = active ^ ~active[:1]
        powers = 2 ** torch.arange(len(active), device=active.device)
        y_encoded.append((active * powers[:, None]).sum(dim=0))
        weights.append(weight)
        n_rows = len(active)
    distinct, of = torch.unique(torch.cat(y_encoded), return_inverse=True)
    weight = torch.cat(weights)
    total = weight.new_zeros(len(distinct)).index_add_(0, of, weight)
    bits = torch.arange(n_rows, device=distinct.device)
    return [(((distinct >> bits[:, None]) & 1).bool(), total)]


def _sample(
    rows: Tensor, n_pairs: int, n_outputs: int, generator: torch.Generator
) -> Iterable[Chunk]:
    patterns = _patterns(rows, n_pairs, n_outputs, generator)
    return _merged(patterns) if len(rows) <= MERGED_ROWS else patterns


def _dual_values(rows: Tensor, active: Tensor, coefficients: Tensor) -> Tensor:
    """Values of g, (draws, outputs, d); ``active`` (n, draws) in the dtype of the rows."""
    columns = [active.T @ (rows * column[:, None]) for column in coefficients.T]
    return torch.stack(columns, dim=1)


def _norms(values: Tensor, smoothing: float) -> Tensor:
    return values.square().sum(dim=(1, 2)).add_(smoothing**2).sqrt_()


class _Objective:
    r"""E of sqrt(||g_q||^2 + nu^2) over a sample, with its gradient.

    The sample serves for :math:`E[\sqrt{\|g\|^2 + \nu^2} - \kappa \|g\|^2 / 2]` alone; the rest is
    :math:`\kappa \langle M, K M\rangle / 2`.
    """

    def __init__(
        self, rows: Tensor, gram: Tensor, simplex: Simplex, chunks: list[Chunk], smoothing: float
    ) -> None:
        self.rows, self.gram, self.simplex = rows, gram, simplex
        self.chunks: Iterable[Chunk] = chunks
        self.smoothing, self.control = smoothing, 0.0
        n_patterns = sum(len(weight) for _, weight in chunks)
        self.reweights = len(rows) ** 2 * n_patterns <= REWEIGHT
        # as many steps on the quadratic as take the time of a pass over the draws
        self.n_inner = min(max(4 * rows.shape[1] * n_patterns // len(rows), 500), 5_000)

    def pairs(self, coefficients: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield activations, weights and g at z and at -z of each chunk."""
        total = (coefficients.T @ self.rows)[None]
        for signs, weight in self.chunks:
            active = signs.to(self.rows.dtype)
            values = _dual_values(self.rows, active, coefficients)
            yield active, weight, values, total - values

    def choose_control(self, q: Tensor) -> None:
        """Fit v = g/||g|| by kappa g, by least squares."""
        first = second = 0.0
        for _, weight, *both in self.pairs(self.simplex.coefficients(q)):
            for values in both:
                norms = _norms(values, 0.0)
                first += float(weight @ norms)
                second += float(weight @ norms.square())
        # rows that cancel leave rounding errors to divide by
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

        Since sqrt(s) <= sqrt(t) + (s - t)/(2 sqrt(t)), the kernel reweighted by 1/||g(z)|| will
        do; where that is dear, the kernel times the mean of 1/||g|| nearly does.
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
    least: float,
    max_iter: int,
    on_iteration: Callable[[int, float, float], None] | None,
) -> tuple[Tensor, int, float, bool]:
    """Minimize by majorization; return q, the number of steps, the gap and whether it is small.

    Small is ``tol`` of the value, or of ``least``, the scale of a value that falls to nothing.
    """
    simplex = objective.simplex
    value, slope = objective(q)
    metric, factor, scale = objective.gram, 0.0, 1.0
    for iteration in range(max_iter + 1):
        gap = duality_gap(slope, q)
        converged = gap <= tol * max(value, least)
        if on_iteration is not None:
            on_iteration(iteration, value, gap)
        if converged or iteration == max_iter:
            break
        if iteration == 0 or objective.reweights:
            metric, factor = objective.metric(q)
        enough = max(gap / 30, tol * max(value, least) / 3)
        while True:
            total = factor * scale
            linear = slope - total * simplex.margins(metric @ simplex.coefficients(q))
            following = quadratic_program(
                metric, total, linear, simplex, q, enough, objective.n_inner
            )
            move = simplex.coefficients(following - q)
            curved = total * float((move * (metric @ move)).sum())
            promised = value + float(slope @ (following - q)) + curved / 2
            new_value, new_slope = objective(following)
            if new_value <= promised + 1e-3 * tol * value or scale > 1e3:
                break
            scale *= 2
        q, value, slope = following, new_value, new_slope
        scale = max(scale / 2, 1.0)
    return q, iteration, gap, converged


def _estimate(objective: _Objective, q: Tensor, n_pairs: int) -> tuple[float, float, float, Tensor]:
    """Return E||g||, its standard error, the lower bound and the logits of the teacher.

    A minimum of means is lower than the least mean: each margin has its own standard error.
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
    gram: Tensor,
    generator: torch.Generator,
    *,
    n_pairs: int | None = None,
    smoothing: float | None = None,
    tol: float = 1e-3,
    max_iter: int = 100,
    on_iteration: Callable[[int, float, float], None] | None = None,
) -> Separation:
    r"""Estimate gamma, with bounds, and the q that attains it.

    ``rows`` are used as given; the theory has norms of at most one. ``targets`` have their dtype,
    ``gram`` is their hidden-only kernel, ``generator`` is on their device. ``n_pairs`` pairs
    (z, -z) serve to fit q, as many as a pass can afford for None, and more fresh ones give the
    values. ``on_iteration`` is called with the number of steps done, the value and the duality
    gap on the sample; ``tol`` of the value is a small gap.

    ``smoothing`` is nu of :math:`E\sqrt{\|g\|^2 + \nu^2}`, which replaces E||g||, so that
    :math:`v = g/\sqrt{\|g\|^2 + \nu^2}` is determined where g = 0. It costs each margin
    0.3003 nu at most. A two-hundredth of gamma_1 for None.
    """
    if not torch.isfinite(gram).all():
        raise ValueError("the rows are too long for their kernel to be finite: rescale X.")
    n_outputs = targets.shape[1]
    simplex = Simplex(targets)
    q = _rkhs_weights(gram, simplex, 1e-6, 10_000)
    gamma_rkhs = _rkhs_norm(gram, simplex.coefficients(q))
    # gamma_1 comes from its square: below this it is zero, and gamma with it
    least = 8 * math.sqrt(torch.finfo(gram.dtype).eps * float(gram.diagonal().max()))
    if smoothing is None:
        smoothing = max(gamma_rkhs, least, 1e-30) / 200
    rows = rows @ _span(rows)  # z matters through its products with the rows only
    if n_pairs is None:
        n_pairs = _affordable_pairs(rows, n_outputs)
    chunks = list(_sample(rows, n_pairs, n_outputs, generator))
    objective = _Objective(rows, gram, simplex, chunks, smoothing)
    objective.choose_control(q)
    n_iter, gap, converged = 0, gamma_rkhs, True
    if gamma_rkhs > least:
        q, n_iter, gap, converged = _descend(objective, q, tol, gamma_rkhs, max_iter, on_iteration)
    n_fresh = max(n_pairs, TINY) if len(rows) <= MERGED_ROWS else max(4 * n_pairs, FRESH)
    objective.chunks = _sample(rows, n_fresh, n_outputs, generator)
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
    r"""Values :math:`v(z) = g(z)/\sqrt{\|g(z)\|^2 + \nu^2}` at ``draws`` (m, d); (m, outputs, d).

    ``rows`` are those that the solution was found on. With ``control`` = kappa the values are
    v - kappa g, which `soft_logits` averages with far less noise; add kappa K(x, rows) M.
    """
    values = rows.new_empty(len(draws), solution.coefficients.shape[1], rows.shape[1])
    size = max(SCRATCH // (values.shape[1] * max(rows.shape)), 16)
    for start in range(0, len(draws), size):
        active = (rows @ draws[start : start + size].T > 0).to(rows.dtype)
        g = _dual_values(rows, active, solution.coefficients)
        scale = 1 / _norms(g, solution.smoothing) - control
        torch.mul(g, scale[:, None, None], out=values[start : start + size])
    return values


def soft_logits(rows: Tensor, draws: Tensor, values: Tensor) -> Tensor:
    r"""Mean over s of :math:`1[\langle z_s, x\rangle > 0] \langle v_s, x\rangle`, (n, outputs).

    ``draws`` z are (m, d), ``values`` v (m, outputs, d).
    """
    logits = rows.new_zeros(len(rows), values.shape[1])
    size = max(SCRATCH // max(len(draws), 1), 1)
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        active = (part @ draws.T > 0).to(rows.dtype)
        for output in range(values.shape[1]):
            products = (part @ values[:, output].T).mul_(active)
            logits[start : start + size, output] = products.mean(dim=1)
    return logits
