"""Warnings about corrected labels, and rows that are left out of the correction."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from sklearn_kd import SelfDistillClassifier
from sklearn_kd._core.network import targets
from sklearn_kd._self_distillation.corrected_targets import LabelCorrection
from sklearn_kd.datasets._label_noise import add_label_noise
from sklearn_kd.exceptions import ClassCollapseWarning, CleanLabelsWarning
from tests._helpers.digits import DIGITS, TRUTH, long_network
from tests._helpers.self_distillation import cheap, noisy_blobs


def test_a_class_of_all_the_weight():
    X, y = DIGITS.astype(np.float32), (TRUTH == 0).astype(int)
    weights = np.where(y == 1, 1.0, 1e-9)  # the share of the class is one in float32
    network = long_network(width=8, max_iter=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClassCollapseWarning)
        warnings.simplefilter("ignore", CleanLabelsWarning)
        model = SelfDistillClassifier(network).fit(X, y, sample_weight=weights)
    assert not model.weight_curve_.any()


def test_rows_out_of_training_keep_their_labels():
    labels = targets.Fixed(torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0]].T[None])
    weights = torch.tensor([[1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    correction = LabelCorrection(SelfDistillClassifier(schedule=lambda *_: 1.0, warm_up=0.0))
    rule = correction.spec.make_rule(labels, weights, n_epochs=2, n_batches=1)
    logits = torch.zeros(2, 3, 4, dtype=torch.float64)
    logits[:, 1] = 1.0  # the predictions are of the second class
    answer = rule(logits, None, 0).numpy()
    for student, row in np.ndindex(2, 4):
        expected = np.eye(3)[1] if weights[student, row] else labels.values[0, :, row].numpy()
        assert_array_equal(answer[student, :, row], expected)


def test_clean_labels_warn_where_correcting_them_costs():
    model = SelfDistillClassifier(long_network(max_iter=60))
    with pytest.warns(CleanLabelsWarning, match="look clean"):
        model.fit(DIGITS, TRUTH)
    noisy = add_label_noise(TRUTH, 0.2, random_state=0).y
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(DIGITS, noisy)
        # nothing is corrected, or by a generation that stopped early
        model.set_params(strength=0.0).fit(DIGITS, TRUTH)
        network = long_network(early_stopping=True, width=16)
        SelfDistillClassifier(network).fit(DIGITS, TRUTH)


def test_a_class_that_is_lost_warns():
    rng = np.random.default_rng(0)
    y = (np.arange(300) < 15).astype(int)
    X = rng.normal(size=(300, 5)) + 1.5 * y[:, None]
    network = long_network(max_iter=100, width=32)
    with pytest.warns(ClassCollapseWarning, match=r"classes \[1\]"):
        SelfDistillClassifier(network, schedule="accuracy", warm_up=0.01).fit(X, y)


def test_the_advice_for_a_lost_class_is_not_what_was_done():
    """Few rows are corrected as by "chance-corrected" anyway."""
    X, y, _ = noisy_blobs(n=60)
    y[:2] = 7
    network = cheap(early_stopping=False)
    with pytest.warns(ClassCollapseWarning, match=r"7\] are .* better; lower strength\.$"):
        SelfDistillClassifier(network, strength=5.0).fit(X, y)
    # nothing is corrected
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SelfDistillClassifier(network, strength=0.0).fit(X, y)


def test_predictions_of_little_weight_make_no_second_generation():
    noisy = add_label_noise(TRUTH, 0.2, random_state=0).y
    network = long_network(early_stopping=True, width=8)
    model = SelfDistillClassifier(network, strength=0.1).fit(DIGITS, noisy)
    assert not model.weight_curve_.any()
    plain = network.fit(DIGITS, noisy)
    assert_array_equal(model.predict_proba(DIGITS), plain.predict_proba(DIGITS))
    assert model.set_params(strength=0.5).fit(DIGITS, noisy).weight_curve_.all()


def test_a_schedule_that_returns_no_number():
    with pytest.raises(ValueError, match="schedule returned NaN in step"):
        SelfDistillClassifier(
            long_network(width=4, max_iter=30), schedule=lambda step, accuracy, prior: np.nan
        ).fit(DIGITS, TRUTH)
