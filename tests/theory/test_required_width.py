"""Required widths against closed forms and simulation."""

import math

import numpy as np
import pytest
from scipy.special import expit, rel_entr
from scipy.stats import entropy

from sklearn_kd.theory import _required_width, required_width

GAMMA_2 = 0.25 + math.sqrt(2) / 8


def test_check_values_of_theorem_2():
    setting = {"n_samples": 2, "delta": 0.1, "min_norm": 1.0}
    printed = _required_width._soft_width(0.01, constants="published", **setting)
    assert printed == pytest.approx(49242.7, abs=0.05)
    assert _required_width._soft_width(0.01, constants="sharp", **setting) == pytest.approx(
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
        _required_width._hard_width(GAMMA_2, published.radius, 2, 0.1, 1.0, constants)
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
    sharp = 1 / _required_width._risk_per_error(gamma)
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
