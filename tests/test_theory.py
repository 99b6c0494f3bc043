"""Margins, widths and ratios against closed forms and simulation."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit, rel_entr
from scipy.stats import entropy
from sklearn.exceptions import ConvergenceWarning

from sklearn_kd import theory
from sklearn_kd.theory import (
    information_ratio,
    kernel_spectrum,
    ntk_margin,
    required_width,
)

T = math.pi / 3
THREE = np.array([[math.cos(t), math.sin(t)] for t in (-T, 0, T)])


def circle(angles):
    return np.column_stack([np.cos(angles), np.sin(angles)])


def unit(rng, n, d):
    X = rng.normal(size=(n, d))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


# Margin


@pytest.mark.parametrize(
    ("X", "y", "exact"),
    [
        (np.eye(3), ["b", "a", "b"], 0.373945),
        (THREE, [1, 0, 1], 2 / 9),
        (THREE, [1, 1, 1], 0.409571),
        (THREE[:2], [True, False], 1 / 3),
        ([[0.6, 0.8], [-0.3, -0.4]], [0, 1], 0.25),
        ([[1, 0], [1, 0]], [0, 1], 0),
    ],
)
def test_margin_of_exact_cases(X, y, exact):
    margin = ntk_margin(X, y, random_state=0)
    assert margin.gamma == pytest.approx(exact, abs=1e-3)
    assert margin.lower <= margin.gamma <= margin.upper
    assert margin.gamma_rkhs**2 - 1e-3 <= margin.gamma <= margin.gamma_rkhs + 1e-3
    assert margin.weights.shape == margin.soft_logits.shape == (len(X),)
    positive = np.asarray(y) == margin.classes[-1]
    assert (np.where(positive, 1, -1) * margin.soft_logits).min() >= margin.lower
    assert margin.converged


def test_margin_of_three_classes_in_a_frame():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(unit(rng, 15, 4))
    y = pd.Series(np.array(["x", "y", "z"])[np.arange(15) % 3])
    margin = ntk_margin(X, y, random_state=1)
    assert margin.weights.shape == margin.soft_logits.shape == (15, 3)
    assert margin.weights.sum() == pytest.approx(1, abs=1e-12)
    assert list(margin.classes) == ["x", "y", "z"]
    assert margin.lower <= margin.gamma <= margin.upper
    assert isinstance(margin.gamma, float)
    assert isinstance(margin.weights, np.ndarray)
    again = ntk_margin(X, y, random_state=1)
    np.testing.assert_array_equal(margin.soft_logits, again.soft_logits)


def test_margin_computes_in_the_dtype_of_X_and_does_not_write_to_it():
    X = THREE.astype(np.float32)
    X.setflags(write=False)
    margin = ntk_margin(X, [0, 1, 0], n_draws=20_001, smoothing=1e-3, random_state=0)
    assert margin.soft_logits.dtype == margin.weights.dtype == np.float32
    assert margin.n_draws == 20_002
    assert margin.smoothing == 1e-3
    assert margin.gamma == pytest.approx(2 / 9, abs=5e-3)


def test_margin_progress_and_warning(capsys):
    rng = np.random.default_rng(1)
    X, y = unit(rng, 30, 3), np.arange(30) % 2
    with pytest.warns(ConvergenceWarning, match=r"after 1 steps: raise max_iter"):
        margin = ntk_margin(X, y, n_draws=1000, max_iter=1, random_state=0, verbose=1)
    assert not margin.converged
    assert margin.n_iter == 1
    assert capsys.readouterr().out.count("[ntk_margin] step") == 2


@pytest.mark.parametrize(
    ("X", "y", "options", "message"),
    [
        ([[np.nan]], [0], {}, "NaN"),
        ([[1.0], [2.0]], [0], {}, "inconsistent numbers"),
        ([1.0, 2.0], [0, 1], {}, "2D"),
        ([[1.0], [2.0]], [0.5, 1.5], {}, "continuous"),
        (np.empty((0, 2)), [], {}, "minimum of 1"),
        (THREE, [0, 1, 0], {"n_draws": 1}, "n_draws"),
        (THREE, [0, 1, 0], {"smoothing": 0.0}, "smoothing"),
        (THREE, [0, 1, 0], {"tol": -1.0}, "tol"),
        (THREE, [0, 1, 0], {"max_iter": -1}, "max_iter"),
        (THREE, [0, 1, 0], {"device": "abacus"}, "device"),
    ],
)
def test_margin_errors(X, y, options, message):
    with pytest.raises(ValueError, match=message):
        ntk_margin(X, y, **options)
    with pytest.raises(TypeError, match="max_iter"):
        ntk_margin(THREE, [0, 1, 0], max_iter=1.5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_margin_on_cuda():
    rng = np.random.default_rng(6)
    X, y = unit(rng, 60, 8), np.arange(60) % 3
    here, there = (ntk_margin(X, y, random_state=0, device=device) for device in ("cpu", "cuda"))
    assert there.gamma_rkhs == pytest.approx(here.gamma_rkhs, rel=1e-5)
    assert there.gamma == pytest.approx(here.gamma, rel=5e-3)
    assert there.lower <= here.upper
    assert here.lower <= there.upper


@pytest.mark.slow
def test_margin_of_five_hundred_rows():
    rng = np.random.default_rng(2)
    X = unit(rng, 500, 50)
    structured = ntk_margin(X, X[:, 0] > 0, random_state=0)
    random = ntk_margin(X, rng.random(500) > 0.5, random_state=0)
    for margin in (structured, random):
        assert margin.converged
        assert margin.gamma_rkhs**2 <= margin.gamma <= margin.gamma_rkhs
        assert margin.upper - margin.lower < 1e-3
    assert random.upper < structured.lower


# Width

GAMMA_2 = 0.25 + math.sqrt(2) / 8


def test_check_values_of_theorem_2():
    setting = {"n_samples": 2, "delta": 0.1, "min_norm": 1.0}
    printed = theory._soft_width(0.01, constants="published", **setting)
    assert printed == pytest.approx(49242.7, abs=0.05)
    assert theory._soft_width(0.01, constants="sharp", **setting) == pytest.approx(
        1661.893, abs=5e-4
    )
    # the bracket as printed, with the constants that its argument and the sharper bound give
    factor = printed * (1 + math.e**2) / 96
    assert 48 * (1 + math.e**2) * factor == pytest.approx(1732759.8, abs=0.05)
    assert 3 * factor == pytest.approx(12909.38, abs=5e-3)


def test_check_values_of_proposition_5():
    published = required_width(GAMMA_2, 0.1, 2, labels="hard", delta=0.1, constants="published")
    assert published.radius == pytest.approx(15.756461, abs=5e-7)
    assert published.n_iter == 7164
    assert published.step_size == 1
    assert published.width == 59718
    widths = [
        theory._hard_width(GAMMA_2, published.radius, 2, 0.1, 1.0, constants)
        for constants in ("published", "proof")
    ]
    np.testing.assert_allclose(widths, [59716.88, 29527.20], atol=5e-3)


@pytest.mark.parametrize(
    ("labels", "constants", "width"),
    [
        ("soft", "published", 3.8e7),
        ("soft", "sharp", 3.0e5),
        ("hard", "published", 3.5e7),
        ("hard", "sharp", 5.6e6),
    ],
)
def test_widths_for_a_thousand_rows(labels, constants, width):
    result = required_width(0.1, 0.1, 1000, labels=labels, constants=constants)
    assert float(f"{result.width:.1e}") == width
    assert result.width % 2 == 0
    assert (result.labels, result.constants) == (labels, constants)
    assert result.probability == pytest.approx(0.8 if constants == "sharp" else 0.7)


def test_soft_width_by_the_definitions():
    gamma, epsilon, n, delta = 0.3, 0.05, 100, 0.01
    result = required_width(gamma, epsilon, n, delta=delta)
    p = 1 / (1 + math.exp(-gamma))
    assert result.risk == pytest.approx(epsilon * (math.log(2) - entropy([p, 1 - p])), rel=1e-9)
    bracket = math.sqrt(2 / math.pi) + (1 + 1 / math.sqrt(2)) * math.sqrt(math.log(2 * n / delta))
    assert 0 <= result.width - bracket**2 / result.risk < 2
    assert result.n_iter == math.ceil(2 / result.risk)
    assert (result.radius, result.step_size) == (1, 1)
    # Corollary 4: C_2 = 32 C_1, and Theorem 2's step size and steps at gamma^2 epsilon/32
    published = required_width(gamma, epsilon, n, delta=delta, min_norm=0.5, constants="published")
    q = math.sqrt(math.log(2 * n / delta))
    factor = 32 * 96 / (1 + math.exp(2)) / (gamma**2 * epsilon)
    assert 0 <= published.width - factor * (2 * math.sqrt(2 / math.pi) + 3 * q) ** 2 < 2
    assert published.risk == pytest.approx(gamma**2 * epsilon / 32)
    assert published.step_size == pytest.approx(published.risk / 3)
    assert published.n_iter == math.ceil(9 / published.risk**2)


def test_no_sharp_constant_is_worse_than_the_printed_one():
    for labels in ("soft", "hard"):
        for gamma in (1e-3, 0.1, 0.5):
            sharp, printed = (
                required_width(gamma, 0.1, 50, labels=labels, constants=constants)
                for constants in ("sharp", "published")
            )
            assert sharp.width < printed.width
            assert sharp.n_iter <= printed.n_iter


@pytest.mark.parametrize("gamma", [1e-4, 0.01, 0.2, 0.5])
def test_lemma_3_both_ways(gamma):
    """The sharp factor is below that of Pinsker, and that below the bound with 8.34."""
    sharp = 1 / theory._risk_per_error(gamma)
    pinsker = 2 / math.tanh(gamma / 2) ** 2
    assert sharp <= pinsker * (1 + 1e-6)
    assert pinsker <= 8.34 / gamma**2 < 32 / gamma**2


@pytest.mark.parametrize(
    ("error", "change"),
    [
        (ValueError, {"gamma": 0.0}),
        (ValueError, {"gamma": 0.51}),
        (ValueError, {"epsilon": 1.0}),
        (ValueError, {"delta": 0.34}),
        (ValueError, {"min_norm": 0.0}),
        (ValueError, {"min_norm": 1.5}),
        (ValueError, {"n_samples": 0}),
        (TypeError, {"n_samples": 2.5}),
        (TypeError, {"gamma": "large"}),
        (ValueError, {"labels": "crisp"}),
        (ValueError, {"constants": "exact"}),
    ],
)
def test_width_errors(error, change):
    arguments = {"gamma": 0.1, "epsilon": 0.1, "n_samples": 10, **change}
    with pytest.raises(error, match=next(iter(change))):
        required_width(**arguments)


# Numbers and steps of the errata that are not of the library


def test_steps_of_the_width_formulae():
    u = np.linspace(-30, 30, 600_001)
    assert (expit(-u) ** 2 / np.log1p(np.exp(-u))).max() == pytest.approx(0.40726, abs=1e-5)
    # the loss is at most (z - f)^2/8, and the gradient's square at most half of it
    z, f = np.meshgrid(np.linspace(-4, 4, 401), np.linspace(-6, 6, 601))
    p = expit(z)
    loss = rel_entr(p, expit(f)) + rel_entr(1 - p, expit(-f))
    assert (loss <= (z - f) ** 2 / 8 + 1e-14).all()
    assert ((expit(f) - p) ** 2 <= loss / 2 + 1e-14).all()
    # Lemma 6: the moment generating function of what is zero half of the time
    rate, mean = np.meshgrid(np.linspace(-20, 20, 401), np.linspace(-1, 1, 201))
    moment = 0.5 + 0.5 * (np.cosh(rate) + mean * np.sinh(rate))
    assert (np.log(moment) <= rate * mean / 2 + rate**2 / 4 + 1e-12).all()


def test_teacher_with_zeros_where_it_is_undetermined_is_short_of_the_margin():
    angle = np.radians(np.arange(0.005, 360, 0.01))
    active = (THREE @ circle(angle).T > 0).astype(float)
    y = np.array([1, -1, 1])
    g = (active.T * y / 3) @ THREE
    norms = np.linalg.norm(g, axis=1)
    empty = (norms < 1e-12) & active.any(axis=0)
    assert empty.mean() == pytest.approx(1 / 6, abs=1e-4)
    v = np.where(empty[:, None], 0, g / np.maximum(norms, 1e-12)[:, None])
    margins = y * (active * (THREE @ v.T)).mean(axis=1)
    np.testing.assert_allclose(margins, [1 / 4, 1 / 6, 1 / 4], atol=1e-4)
    v[empty] = -THREE[1] / 3
    margins = y * (active * (THREE @ v.T)).mean(axis=1)
    np.testing.assert_allclose(margins, [2 / 9] * 3, atol=1e-4)


# Spectrum

INDEX = np.arange(12)
TWELVE = circle(2 * np.pi * (INDEX + 0.3 * (INDEX % 3)) / 12)
HALVES = np.where(INDEX < 6, 1, -1)


def test_information_ratio_check_values():
    flipped = HALVES * np.where(np.isin(INDEX, [2, 8]), -1, 1)
    assert information_ratio(TWELVE, HALVES, k=3) == pytest.approx(0.851431, abs=5e-7)
    assert information_ratio(TWELVE, flipped, k=3) == pytest.approx(0.385768, abs=5e-7)
    names = np.where(HALVES > 0, "up", "down")
    assert information_ratio(TWELVE, names, k=3) == pytest.approx(0.851431, abs=5e-7)


def test_information_ratio_by_projection_and_its_kernels():
    rng = np.random.default_rng(3)
    A = rng.normal(size=(20, 20))
    K, y = A @ A.T, rng.normal(size=20)
    values, vectors = np.linalg.eigh(K)
    top = vectors[:, np.argsort(values)[-4:]]
    centred = y - y.mean()
    expected = np.linalg.norm(top.T @ centred) / np.linalg.norm(centred)
    assert information_ratio(K, y, k=4, kernel="precomputed") == pytest.approx(expected, rel=1e-10)
    raw = np.linalg.norm(top.T @ y) / np.linalg.norm(y)
    ratio = information_ratio(K, y, k=4, kernel="precomputed", center=False)
    assert ratio == pytest.approx(raw, rel=1e-10)
    # a callable, on rows
    linear = information_ratio(A, y, k=4, kernel=lambda X, Y: X @ Y.T)
    assert linear == pytest.approx(expected, rel=1e-10)
    assert information_ratio(K, y, k=20, kernel="precomputed") == pytest.approx(1, abs=1e-12)


def test_information_ratio_of_text_with_three_labels_is_that_of_one_hot_rows():
    codes = INDEX % 3
    names = np.array(["a", "b", "c"])[codes]
    expected = information_ratio(TWELVE, np.eye(3)[codes], k=5)
    assert information_ratio(TWELVE, names, k=5) == pytest.approx(expected, rel=1e-12)


def test_information_ratio_squared_under_flips():
    """Mean over flips at the rate rho: (1 - 2 rho)^2 r0^2 + 4 rho (1 - rho) k/n, uncentred."""
    rng = np.random.default_rng(4)
    rho, k, spectrum = 0.2, 3, []
    gram = np.linalg.matrix_power(TWELVE @ TWELVE.T + np.eye(12), 2)
    gram += np.diag(np.arange(12))  # no equal eigenvalues
    for _ in range(3000):
        y = HALVES * np.where(rng.random(12) < rho, -1, 1)
        spectrum.append(information_ratio(gram, y, k=k, kernel="precomputed", center=False) ** 2)
    first = information_ratio(gram, HALVES, k=k, kernel="precomputed", center=False)
    expected = (1 - 2 * rho) ** 2 * first**2 + 4 * rho * (1 - rho) * k / 12
    error = np.std(spectrum) / math.sqrt(3000)
    assert abs(np.mean(spectrum) - expected) < 4 * error


def test_imbalance_inflates_the_ratio_unless_centred():
    angle = 2 * np.pi * np.arange(128) / 128
    y = np.where(np.random.default_rng(5).permutation(128) < 6, 1, -1)
    assert information_ratio(circle(angle), y, k=5, center=False) > 0.85
    assert information_ratio(circle(angle), y, k=5) < 0.5


@pytest.mark.parametrize("kernel", ["ntk", "ntk-full", "nngp", "laplace"])
def test_spectrum(kernel):
    spectrum = kernel_spectrum(TWELVE, HALVES, kernel=kernel)
    values = spectrum.eigenvalues
    assert (np.diff(values) <= 0).all()
    assert values.min() >= 0
    trace = 12 * {"ntk": 0.5, "ntk-full": 1, "nngp": 0.5, "laplace": 1}[kernel]
    assert values.sum() == pytest.approx(trace, rel=1e-12)
    assert spectrum.label_power.shape == (12,)
    assert spectrum.label_power[-1] == pytest.approx(1, abs=1e-12)
    ratio = information_ratio(TWELVE, HALVES, k=3, kernel=kernel)
    assert spectrum.label_power[2] == pytest.approx(ratio**2, rel=1e-12)
    assert spectrum.effective_dimension(0.3) == pytest.approx(sum(values / (values + 0.3)))
    assert kernel_spectrum(TWELVE, kernel=kernel).label_power is None


def test_rank_deficient_and_constant_input():
    X = np.ones((6, 3))
    X[3:] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spectrum = kernel_spectrum(X, [1, 1, 1, 0, 0, 0])
    assert (spectrum.eigenvalues[1:] < 1e-12).all()
    assert spectrum.effective_dimension(1e-3) < 1.001


@pytest.mark.parametrize(
    ("X", "labels", "options", "message"),
    [
        (TWELVE, HALVES[:5], {}, "5 rows where X has 12"),
        (TWELVE, np.ones(12), {}, "all equal"),
        (TWELVE, np.zeros(12), {"center": False}, "all equal or zero"),
        (TWELVE, np.full(12, np.nan), {}, "labels contains NaN"),
        (np.full((12, 2), np.inf), HALVES, {}, "infinity"),
        (TWELVE, HALVES, {"k": 0}, "k =="),
        (TWELVE, HALVES, {"k": 13}, "k =="),
        (TWELVE, HALVES, {"kernel": "rbf"}, "kernel must be one of"),
        (TWELVE, HALVES, {"kernel": "precomputed"}, "square and symmetric"),
        (TWELVE, HALVES, {"kernel": lambda X, Y: X}, "square and symmetric"),
    ],
)
def test_ratio_errors(X, labels, options, message):
    with pytest.raises(ValueError, match=message):
        information_ratio(X, labels, **options)
    with pytest.raises(ValueError, match="ridge"):
        kernel_spectrum(TWELVE).effective_dimension(0.0)
