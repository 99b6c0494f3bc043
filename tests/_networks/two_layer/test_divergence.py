"""Step sizes that diverge."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sklearn_kd import TwoLayerPGDClassifier
from sklearn_kd._core.network import training
from sklearn_kd.exceptions import DivergenceError
from tests._helpers.data import blobs
from tests._helpers.estimators import Recorder, fitted_names
from tests._helpers.two_layer import PGD


@pytest.mark.parametrize("learning_rate", [1e4, 1e30, 1e150, 1e300])
@pytest.mark.parametrize("max_iter", [1, 2, 50])
@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("batch_size", [None, 16])
def test_a_diverging_step_size_raises_or_gives_finite_probabilities(
    learning_rate, max_iter, early_stopping, batch_size
):
    X, y = blobs(n_classes=3)
    model = TwoLayerPGDClassifier(
        4,
        learning_rate=learning_rate,
        max_iter=max_iter,
        early_stopping=early_stopping,
        batch_size=batch_size,
        random_state=0,
    )
    message = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            model.fit(X, y)
        except DivergenceError as error:
            message = str(error)
    if message is not None:
        assert "learning_rate" in message
        assert not fitted_names(model)
        return
    proba = model.predict_proba(X)
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert np.isfinite(model.hidden_weights_).all()


def test_the_radius_tames_any_step_size():
    X, y = blobs()
    model = TwoLayerPGDClassifier(8, radius=1.0, learning_rate=1e6, random_state=0, **PGD)
    model.set_params(max_iter=20).fit(X, y)
    assert model.distance_from_init_.max() <= 1 / np.sqrt(8) * (1 + 1e-12)


def test_auto_recovers_by_itself(monkeypatch):
    from sklearn_kd._networks.two_layer import fit_plan

    X, y = blobs()
    monkeypatch.setattr(fit_plan, "OUTPUT_STEP", 1e5)
    monkeypatch.setattr(fit_plan, "HIDDEN_STEP", 1e3)
    monkeypatch.setattr(fit_plan, "RETRIES", 12)
    options = {"output_layer": "trained", "max_iter": 100, "encoder": None, "random_state": 0}
    model = TwoLayerPGDClassifier(8, **options)
    assert model.fit(X, y).score(X, y) > 0.9
    monkeypatch.setattr(fit_plan, "RETRIES", 0)
    with pytest.raises(DivergenceError):
        TwoLayerPGDClassifier(8, **options).fit(X, y)


def test_an_attempt_after_divergence_goes_on_with_the_same_report(monkeypatch):
    from sklearn_kd._networks.two_layer import fit_plan

    X, y = blobs(n_classes=3)
    make, attempts = training.ResumableTraining, []
    monkeypatch.setattr(
        training, "ResumableTraining", lambda *a, **k: attempts.append(1) or make(*a, **k)
    )
    options = {"max_iter": 20, "n_init": 1, "early_stopping": False, "random_state": 0}
    for step in (0.2, 1e7):
        monkeypatch.setattr(fit_plan, "HIDDEN_STEP", step)
        recorder = Recorder()
        attempts.clear()
        TwoLayerPGDClassifier(8, **options).set_callbacks(recorder).fit(X, y)
        assert (len(attempts) > 1) == (step > 1)
        assert recorder.events[:2] == ["setup", ("begin", "fit")]
        assert recorder.events[2:-2] == [("begin", "epochs"), ("end", "epochs")] * 20
        assert recorder.events[-2:] == [("end", "fit"), "teardown"]


def test_divergence_of_auto_says_what_to_look_at(monkeypatch):
    from sklearn_kd._networks.two_layer import fit_plan

    monkeypatch.setattr(fit_plan, "HIDDEN_STEP", 1e200)
    X, y = blobs()
    model = TwoLayerPGDClassifier(8, early_stopping=False, random_state=0)
    with pytest.raises(DivergenceError, match=r"'auto': set a number.*extreme weights"):
        model.fit(X, y)


def test_some_diverged_restarts_are_left_out_and_told(monkeypatch):
    X, y = blobs()
    make = training.ResumableTraining

    def with_one_bad(students, rows, loss, config, *args, **options):
        config.step_size[0] = 1e200
        return make(students, rows, loss, config, *args, **options)

    monkeypatch.setattr(training, "ResumableTraining", with_one_bad)
    model = TwoLayerPGDClassifier(4, n_init=3, learning_rate=0.5, random_state=0, **{
        k: v for k, v in PGD.items() if k != "n_init"
    })  # fmt: skip
    with pytest.warns(ConvergenceWarning, match="1 of 3 networks diverged"):
        model.set_params(max_iter=100).fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.distance_from_init_.max() > 0
