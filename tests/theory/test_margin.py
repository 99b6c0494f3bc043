"""Margins against closed forms and simulation."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from sklearn_kd.theory import ntk_margin
from tests._helpers.circles import circle

T = math.pi / 3
THREE = np.array([[math.cos(t), math.sin(t)] for t in (-T, 0, T)])


def unit(rng, n, d):
    X = rng.normal(size=(n, d))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


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
