"""Kernel spectra and information ratios against closed forms."""

import math
import warnings

import numpy as np
import pytest

from sklearn_kd.theory import information_ratio, kernel_spectrum
from tests._helpers.circles import circle

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
    centered = y - y.mean()
    expected = np.linalg.norm(top.T @ centered) / np.linalg.norm(centered)
    assert information_ratio(K, y, k=4, kernel="precomputed") == pytest.approx(expected, rel=1e-10)
    raw = np.linalg.norm(top.T @ y) / np.linalg.norm(y)
    ratio = information_ratio(K, y, k=4, kernel="precomputed", center=False)
    assert ratio == pytest.approx(raw, rel=1e-10)
    # a callable, on rows
    linear = information_ratio(A, y, k=4, kernel=lambda X, Y: X @ Y.T)
    assert linear == pytest.approx(expected, rel=1e-10)
    assert information_ratio(K, y, k=20, kernel="precomputed") == pytest.approx(1, abs=1e-12)


def test_information_ratio_of_text_with_three_labels_is_that_of_one_hot_rows():
    y_encoded = INDEX % 3
    names = np.array(["a", "b", "c"])[y_encoded]
    expected = information_ratio(TWELVE, np.eye(3)[y_encoded], k=5)
    assert information_ratio(TWELVE, names, k=5) == pytest.approx(expected, rel=1e-12)


def test_information_ratio_squared_under_flips():
    """Mean over flips at the rate rho: (1 - 2 rho)^2 r0^2 + 4 rho (1 - rho) k/n, uncentered."""
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


def test_imbalance_inflates_the_ratio_unless_centered():
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
