"""Settings and assertions for tests of TwoLayerPGDClassifier."""

import copy

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_kd._core.network import losses
from tests._helpers.estimators import fitted_names
from tests._helpers.references import naive_proba

#: Plain projected gradient descent, as the theory has it.
PGD = {
    "encoder": None,
    "momentum": 0.0,
    "optimizer": "nesterov",
    "batch_size": None,
    "n_init": 1,
    "early_stopping": False,
}
FAST = {"encoder": None, "width": 4, "max_iter": 20, "n_init": 1, "random_state": 0}


def soft_labels(X, n_classes, seed=0):
    """Return probabilities of a linear teacher and labels drawn from them."""
    rng = np.random.RandomState(seed)
    F = X @ rng.normal(size=(X.shape[1], 1 if n_classes == 2 else n_classes))
    P = naive_proba(F)
    return P, np.array([rng.choice(n_classes, p=p) for p in P])


def signs(model):
    """Output weights as (width, outputs)."""
    return model.output_weights_.reshape(len(model.hidden_weights_), -1)


def state_of(model):
    return {name: copy.deepcopy(getattr(model, name)) for name in fitted_names(model)}


def assert_same_state(model, state):
    assert fitted_names(model) == set(state)
    for name, value in state.items():
        if isinstance(value, BaseEstimator):
            assert_same_state(getattr(model, name), state_of(value))
        else:
            np.testing.assert_equal(getattr(model, name), value)


def interrupt_after(monkeypatch, n_calls, once=False):
    """Let the cross-entropy raise KeyboardInterrupt after n calls (and at each one later)."""
    real, calls = losses.cross_entropy, []

    def interrupted(logits, targets):
        calls.append(1)
        if len(calls) == n_calls + 1 or (len(calls) > n_calls and not once):
            raise KeyboardInterrupt("stop it")
        return real(logits, targets)

    monkeypatch.setattr(losses, "cross_entropy", interrupted)
