"""The cache of what predictions make of fitted attributes."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sklearn_kd import ModuleClassifier, TableEncoder
from sklearn_kd._networks.fitted_cache import FittedCache
from sklearn_kd.modules import MLP


class Estimator:
    """An estimator with a fitted attribute."""


def test_values_are_made_once_and_again_for_other_parts():
    cache, est, parts = FittedCache(), Estimator(), ([1], [2])
    first = cache.get(est, parts, lambda: [3])
    assert cache.get(est, tuple(parts), list) is first
    assert cache.get(est, ([1], parts[1]), lambda: [4]) == [4], "equal and not the same"
    assert cache.get(Estimator(), parts, lambda: [5]) == [5]


def test_the_cache_keeps_no_estimator_alive():
    cache, est = FittedCache(), Estimator()
    value = cache.get(est, (), Estimator)
    seen = weakref.ref(value)
    del est, value
    gc.collect()
    assert seen() is None


def test_threads_get_the_value_of_their_parts():
    cache, est, parts = FittedCache(), Estimator(), [[number] for number in range(4)]

    def get(number):
        return cache.get(est, (parts[number % 4],), lambda: number % 4)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(get, range(400))) == [number % 4 for number in range(400)]


def test_predictions_follow_each_attribute_of_a_network(rng):
    X = rng.normal(size=(60, 2))
    y = (X[:, 0] > 0).astype(int)
    params = {"module_params": {"width": 4}, "encoder": "auto", "max_epochs": 2}
    model = ModuleClassifier(MLP, **params, random_state=0, device="cpu").fit(X, y)
    before = model.predict_proba(X[:1])
    model.input_offset_ = model.input_offset_ + 1.0
    shifted = model.predict_proba(X[:1])
    assert not np.allclose(shifted, before)
    np.testing.assert_allclose(shifted, model.predict_proba(X)[:1], rtol=1e-12)
    model.encoder_ = TableEncoder().fit(X + 0.5)
    moved = model.predict_proba(X[:1])
    assert not np.allclose(moved, shifted)
    np.testing.assert_allclose(moved, model.predict_proba(X)[:1], rtol=1e-12)
