"""The margin against closed forms, an independent solver and a NumPy Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import binom

from sklearn_kd._core.kernel import activation_patterns, margin, simplex
from sklearn_kd._core.kernel.margin import (
    mean_logits,
    rkhs_norm,
    rkhs_weights,
    separation_margin,
    teacher_values,
)


def naive_gram(X):
    """Kernel <x, u> (pi - angle) / (2 pi) of the gradients, by loops, with the angle by atan2."""
    K = np.zeros((len(X), len(X)))
    for i, x in enumerate(X):
        for j, u in enumerate(X):
            a, b = np.linalg.norm(x), np.linalg.norm(u)
            if a > 0 and b > 0:
                p, q = x / a, u / b
                theta = 2 * math.atan2(np.linalg.norm(p - q), np.linalg.norm(p + q))
                K[i, j] = a * b * math.cos(theta) * (math.pi - theta) / (2 * math.pi)
        K[i, i] = x @ x / 2
    return K


def solve(X, y, *, seed=0, dtype=np.float64, **options):
    """Signs (n,) or one-hot rows as ``y``."""
    X, y = np.asarray(X, dtype), np.asarray(y, dtype)
    rows, targets = torch.tensor(X), torch.tensor(y.reshape(len(X), -1))
    generator = torch.Generator().manual_seed(seed)
    return separation_margin(rows, targets, generator, **options)


def circle(*angles):
    return np.array([[math.cos(t), math.sin(t)] for t in angles])


def orthogonal(k):
    """(1/k) E sqrt(Bin(k, 1/2))."""
    return sum(math.sqrt(j) * binom.pmf(j, k, 0.5) for j in range(k + 1)) / k


def pair(t, sign):
    inside = math.cos(t / 2) if sign > 0 else math.sin(t / 2)
    return (math.pi - t) / (2 * math.pi) * inside + t / (2 * math.pi)


def three(t):
    return t / (math.pi * (1 + math.cos(t)))


def unit(rng, n, d):
    X = rng.normal(size=(n, d))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


T = math.pi / 3
EXACT = {
    "one point": ([[0.6, 0.0, 0.3]], [-1], math.hypot(0.6, 0.3) / 2),
    **{
        f"{k} orthogonal": (np.eye(k), np.where(np.arange(k) % 3, 1, -1), orthogonal(k))
        for k in (1, 2, 3, 4, 8)
    },
    "same": (circle(0, T), [1, 1], 0.455342),
    "opposite": (circle(0, T), [1, -1], 0.333333),
    "same, obtuse": (circle(0, 2.2), [-1, -1], pair(2.2, 1)),
    "opposite, near": (circle(0, 0.1), [1, -1], pair(0.1, -1)),
    "x and -cx": ([[0.8, 0.6], [-0.32, -0.24]], [1, 1], 0.2),
    "x and -cx, opposite": ([[0.8, 0.6], [-0.32, -0.24]], [1, -1], 0.2),
    "undetermined": (circle(-T, 0, T), [1, -1, 1], 2 / 9),
    "undetermined, narrow": (circle(-0.7, 0, 0.7), [-1, 1, -1], three(0.7)),
    "three equal": (circle(-T, 0, T), [1, 1, 1], 0.409571),
    "conflict": ([[1, 0], [1, 0], [0, 1]], [1, -1, 1], 0.0),
    "row of zeros": ([[1, 0], [0, 0]], [1, -1], 0.0),
    "zeros": ([[0, 0], [0, 0]], [1, -1], 0.0),
}


def test_closed_forms_agree_with_the_numbers_known():
    values = [orthogonal(k) for k in (1, 2, 3, 4, 8)]
    np.testing.assert_allclose(values, [0.5, 0.426777, 0.373945, 0.334586, 0.245309], atol=5e-7)
    assert pair(T, 1) == pytest.approx(0.455342, abs=5e-7)
    assert three(T) == pytest.approx(2 / 9, abs=1e-15)


@pytest.mark.parametrize("name", EXACT)
def test_exact_values(name):
    X, y, exact = EXACT[name]
    found = solve(X, y)
    assert found.gamma == pytest.approx(exact, abs=1e-3)
    assert found.lower <= found.gamma <= found.upper
    assert found.lower - 1e-12 <= exact <= found.upper + 1e-12
    assert found.upper - found.lower < 2e-3
    assert found.gamma_rkhs**2 - 1e-3 <= found.gamma <= found.gamma_rkhs + 1e-3
    assert found.weights.sum() == pytest.approx(1, abs=1e-12)
    assert found.weights.min() >= 0
    assert found.converged
    # what the lower bound promises of the labels
    margins = np.asarray(y) * found.soft_logits[:, 0].numpy()
    assert margins.min() >= found.lower
    assert np.abs(margins).max() <= np.linalg.norm(X, axis=1).max() / 2 + 1e-3


def test_where_the_teacher_is_undetermined_the_weights_are_a_third():
    found = solve(circle(-T, 0, T), [1, -1, 1])
    np.testing.assert_allclose(found.weights, [1 / 3] * 3, atol=2e-3)
    assert found.gamma_rkhs == pytest.approx(0.270801, abs=1e-6)


def test_smoothing_costs_what_it_says():
    X, y = circle(-T, 0, T), np.array([1, -1, 1])
    for nu in (0.02, 0.1):
        found = solve(X, y, smoothing=nu)
        assert found.lower >= 2 / 9 - 0.3003 * nu - 2e-3
        assert found.gamma < 2 / 9 + 0.3003 * nu + 1e-3


def naive_margin(X, y, q, nu, z):
    """E||g|| and the margins of v, over the draws z, by NumPy."""
    A = (X @ z.T > 0).astype(float)
    g = (A.T * (q * y)) @ X
    norms = np.linalg.norm(g, axis=1)
    v = g / np.sqrt(norms**2 + nu**2)[:, None]
    return norms.mean(), y * (A * (X @ v.T)).mean(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("n", [12, 40])
def test_bounds_hold_on_draws_of_another_generator(n):
    # few rows merge their patterns, 40 do not
    rng = np.random.default_rng(1)
    X = unit(rng, n, 4) * rng.uniform(0.5, 1, (n, 1))
    y = np.where(X[:, 0] * X[:, 1] > 0, 1, -1)
    found = solve(X, y)
    z = rng.normal(size=(200_000, 4))
    value, margins = naive_margin(X, y, found.weights.numpy(), found.smoothing, z)
    assert value == pytest.approx(found.gamma, abs=2e-3)
    np.testing.assert_allclose(margins, y * found.soft_logits[:, 0].numpy(), atol=3e-3)
    assert found.lower <= found.gamma <= found.upper
    assert found.upper - found.lower < 6e-3
    assert found.gamma_rkhs**2 <= found.gamma <= found.gamma_rkhs


def test_agrees_with_a_general_solver_on_its_own_draws():
    rng = np.random.default_rng(2)
    X, y = unit(rng, 7, 3), np.array([1, -1, 1, 1, -1, -1, 1])
    z = rng.normal(size=(4000, 3))
    A = (X @ np.r_[z, -z].T > 0).astype(float)

    def objective(q):
        return np.sqrt((((A.T * (q * y)) @ X) ** 2).sum(axis=1) + 1e-8).mean()

    best = minimize(
        objective, np.full(7, 1 / 7), bounds=[(0, 1)] * 7, method="SLSQP",
        constraints={"type": "eq", "fun": lambda q: q.sum() - 1},
    )  # fmt: skip
    assert solve(X, y).gamma == pytest.approx(best.fun, abs=6e-3)


@pytest.mark.slow
def test_every_row_counts_the_draws_it_has():
    # standard errors are those of the spread over seeds
    rng = np.random.default_rng(3)
    X, y = unit(rng, 30, 5), rng.choice([-1, 1], 30)
    few = [solve(X, y, seed=seed, n_pairs=512, max_iter=3) for seed in range(8)]
    many = solve(X, y)
    for found in few:
        assert found.lower <= many.upper
        assert many.lower <= found.upper
    assert np.std([found.gamma for found in few]) < 2e-3


def test_first_steps_without_reweighting_reach_the_same(monkeypatch):
    rng = np.random.default_rng(4)
    X, y = unit(rng, 40, 6), rng.choice([-1, 1], 40)
    exact = solve(X, y, n_pairs=4096)
    monkeypatch.setattr(margin, "MAX_REWEIGHT_MULTIPLICATIONS", 0)
    for module in (activation_patterns, margin):  # many chunks
        monkeypatch.setattr(module, "MAX_SCRATCH_NUMBERS", 2**14)
    other = solve(X, y, n_pairs=4096)
    assert other.converged
    assert other.gamma == pytest.approx(exact.gamma, abs=2e-3)


def test_float32():
    X, y = circle(-T, 0, T), [1, -1, 1]
    found = solve(X, y, dtype=np.float32)
    assert found.soft_logits.dtype == torch.float32
    assert found.gamma == pytest.approx(2 / 9, abs=1e-3)
    assert found.gamma_rkhs == pytest.approx(0.270801, abs=1e-5)


def test_same_generator_same_bits_and_progress():
    rng = np.random.default_rng(5)
    X, y = unit(rng, 25, 3), rng.choice([-1, 1], 25)
    steps = []

    class Steps:
        def report(self, step, value, gap):
            steps.append((step, value, gap))

    first = solve(X, y, n_pairs=500, max_iter=4, progress=Steps())
    second = solve(X, y, n_pairs=500, max_iter=4)
    assert torch.equal(first.weights, second.weights)
    assert first.lower == second.lower
    assert [step[0] for step in steps] == list(range(first.n_iter + 1))
    values = np.array([step[1] for step in steps])
    assert (np.diff(values) <= 1e-6).all()
    assert not solve(X, y, n_pairs=500, max_iter=0).converged


def test_random_labels_have_a_smaller_margin():
    rng = np.random.default_rng(6)
    X = unit(rng, 100, 5)
    structured = solve(X, np.where(X[:, 0] > 0, 1, -1), n_pairs=2048)
    random = solve(X, rng.choice([-1, 1], 100), n_pairs=2048, max_iter=30)
    assert random.upper < structured.lower
    assert random.gamma < math.sqrt(5 / 100)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("trouble", ["conflict", "row of zeros"])
def test_no_margin_among_many_rows_is_found_at_once(trouble, dtype):
    rng = np.random.default_rng(10)
    X, y = unit(rng, 40, 5), np.where(np.arange(40) % 2, 1, -1)
    X[1] = X[0] if trouble == "conflict" else 0
    found = solve(X, y, dtype=dtype, n_pairs=500)
    assert found.lower == 0
    assert found.upper < 1e-3
    assert found.gamma_rkhs < 1e-3
    assert found.converged


@pytest.mark.parametrize("scale", [1e-8, 1e6])
def test_margin_scales_with_the_rows(scale):
    X, y = circle(-T, 0, T), [1, -1, 1]
    found, scaled = solve(X, y), solve(scale * X, y)
    assert scaled.gamma == pytest.approx(scale * found.gamma, rel=3e-3)  # other draws
    np.testing.assert_allclose(scaled.weights, found.weights, atol=5e-3)


# K classes


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_one_row_and_orthogonal_rows_of_many_classes(n_classes):
    # by symmetry q is uniform, and row i of M has the norm q_i sqrt(K/(K - 1))
    factor = math.sqrt(n_classes / (n_classes - 1))
    one = solve([[0.8, 0.0]], np.eye(n_classes)[[1]])
    assert one.gamma == pytest.approx(0.4 * factor, abs=1e-3)
    many = solve(np.eye(4), np.eye(n_classes)[np.arange(4) % n_classes])
    assert many.gamma == pytest.approx(orthogonal(4) * factor, abs=1e-3)
    assert many.lower <= many.gamma <= many.upper


def test_two_classes_as_two_outputs_have_sqrt_2_times_the_margin():
    X, y = circle(-T, 0, T, 2.5), np.array([1, -1, 1, 1])
    signs, one_hot = solve(X, y), solve(X, np.eye(2)[(y > 0).astype(int)])
    assert one_hot.gamma == pytest.approx(math.sqrt(2) * signs.gamma, abs=1e-3)
    assert one_hot.gamma_rkhs == pytest.approx(math.sqrt(2) * signs.gamma_rkhs, abs=1e-6)
    difference = one_hot.soft_logits[:, 1] - one_hot.soft_logits[:, 0]
    np.testing.assert_allclose(difference, math.sqrt(2) * signs.soft_logits[:, 0], atol=5e-3)


@pytest.mark.slow
def test_invariances_of_many_classes():
    rng = np.random.default_rng(7)
    X, y_encoded = unit(rng, 10, 4), np.arange(10) % 3
    found = solve(X, np.eye(3)[y_encoded])
    assert found.weights.shape == (10, 3)
    assert (found.weights[torch.arange(10), torch.tensor(y_encoded)] == 0).all()
    np.testing.assert_allclose(found.soft_logits.sum(dim=1), 0, atol=1e-10)
    own = found.soft_logits.numpy()[np.arange(10), y_encoded]
    others = np.where(np.eye(3)[y_encoded] > 0, -np.inf, found.soft_logits.numpy()).max(axis=1)
    assert (own - others).min() >= found.lower
    renamed = solve(X, np.eye(3)[(y_encoded + 1) % 3])
    assert renamed.gamma == pytest.approx(found.gamma, abs=1e-3)
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0][:4]
    assert solve(X @ rotation, np.eye(3)[y_encoded]).gamma == pytest.approx(found.gamma, abs=1e-3)
    half = solve(X / 2, np.eye(3)[y_encoded])
    assert half.gamma == pytest.approx(found.gamma / 2, abs=1e-3)
    twice = solve(np.r_[X, X], np.eye(3)[np.r_[y_encoded, y_encoded]])
    assert twice.gamma == pytest.approx(found.gamma, abs=1e-3)


# The kernel's own margin


def rkhs_margin(gram, targets):
    """Margin gamma_1 in the Hilbert space of the kernel, and the q that attains it."""
    pairs = simplex.Simplex(targets)
    q = rkhs_weights(gram, pairs, 1e-6, 10_000)
    return rkhs_norm(gram, pairs.coefficients(q)), pairs.weights(q)


@pytest.mark.parametrize("seed", range(4))
def test_rkhs_margin_by_an_independent_solver(seed):
    from scipy.optimize import nnls

    rng = np.random.default_rng(seed)
    n = 30
    X, y = unit(rng, n, 6), rng.choice([-1.0, 1.0], n)
    Q = naive_gram(X) * np.outer(y, y)
    gamma, q = rkhs_margin(torch.tensor(naive_gram(X)), torch.tensor(y)[:, None])
    # min ||L'a||^2 + big (sum a - 1)^2 over a >= 0
    root, big = np.linalg.cholesky(Q + 1e-12 * np.eye(n)).T, 1e4
    a, _ = nnls(np.r_[root, big * np.ones((1, n))], np.r_[np.zeros(n), big])
    a /= a.sum()
    assert gamma == pytest.approx(math.sqrt(a @ Q @ a), rel=2e-6)
    np.testing.assert_allclose(q, a, atol=1e-3)
    # the interpolant's norm certifies it
    assert 1 / math.sqrt(y @ np.linalg.solve(naive_gram(X), y)) <= gamma * (1 + 1e-6)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_rows_that_do_not_matter_are_left_out_without_loss(n_outputs):
    rng = np.random.default_rng(3)
    X = torch.from_numpy(rng.normal(size=(200, 5)))
    classes = torch.from_numpy(rng.integers(3, size=200))
    targets = torch.nn.functional.one_hot(classes, 3).double()
    X += 5 * targets @ torch.from_numpy(rng.normal(size=(3, 5)))
    if n_outputs == 1:
        targets = 2 * targets[:, :1] - 1
    K = X @ X.mT + torch.eye(200)
    pairs = simplex.Simplex(targets)
    linear = torch.from_numpy(rng.normal(size=int(pairs.other.sum()) if n_outputs > 1 else 200))
    start = torch.full_like(linear, 1 / len(linear))
    q = simplex.quadratic_program(K, 2.0, linear, pairs, start, 1e-9, 5000)
    slope = pairs.margins(K @ pairs.coefficients(q)) * 2.0 + linear
    assert float(q.min()) >= 0
    assert float(q.sum()) == pytest.approx(1, abs=1e-12)
    assert simplex.duality_gap(slope, q) <= 1e-9
    assert int((q > 0).sum()) < len(q) / 4


# The teacher


@pytest.mark.parametrize("n_classes", [2, 3])
def test_teacher_gives_its_own_logits_back(n_classes):
    rng = np.random.default_rng(8)
    X, y_encoded = unit(rng, 12, 5), np.arange(12) % n_classes
    Y = (2 * y_encoded - 1)[:, None] if n_classes == 2 else np.eye(3)[y_encoded]
    found = solve(X, Y)
    rows = torch.tensor(X)
    z = torch.tensor(rng.normal(size=(40_000, 5)))
    values = teacher_values(rows, z, found)
    assert values.shape == (40_000, Y.shape[1], 5)
    assert values.square().sum(dim=(1, 2)).max() <= 1
    again = mean_logits(rows, z, values)
    np.testing.assert_allclose(again, found.soft_logits, atol=0.01)
    # with the control variate: less noise, and new rows as well
    kappa = found.control
    residual = teacher_values(rows, z, found, control=kappa)
    new = torch.tensor(unit(rng, 6, 5))
    both = np.r_[X, new.numpy()]
    K = torch.tensor(naive_gram(both)[:, :12])
    better = K @ (kappa * found.coefficients) + mean_logits(torch.tensor(both), z, residual)
    np.testing.assert_allclose(better[:12], found.soft_logits, atol=0.005)
    plain = mean_logits(new, z, values)
    np.testing.assert_allclose(better[12:], plain, atol=0.015)


def test_soft_logits_by_loops():
    rng = np.random.default_rng(9)
    X, z, v = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)), rng.normal(size=(7, 2, 3))
    expected = np.zeros((5, 2))
    for i in range(5):
        for s in range(7):
            expected[i] += (z[s] @ X[i] > 0) * (v[s] @ X[i]) / 7
    result = mean_logits(torch.tensor(X), torch.tensor(z), torch.tensor(v))
    np.testing.assert_allclose(result, expected, rtol=1e-12)
