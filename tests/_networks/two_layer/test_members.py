"""Networks of several members: attributes, predictions, weights, joint training, partial_fit."""

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.callback import ScoringMonitor

from sklearn_kd import SelfDistillClassifier, TwoLayerPGDClassifier
from tests._helpers.data import blobs
from tests._helpers.references import naive_proba


def several(width=4, n_members=3, **options):
    options = {"max_iter": 20, "n_init": 1, "random_state": 0, **options}
    return TwoLayerPGDClassifier(width, n_members=n_members, **options)


def table(X):
    """A numeric, a constant and a string column."""
    return pd.DataFrame({"a": X[:, 0], "b": 1.0, "c": np.where(X[:, 1] > 0, "u", "v")})


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("encoder", ["auto", None])
@pytest.mark.parametrize("intercept", [True, False])
def test_the_prediction_is_the_mean_of_networks_with_signs(n_classes, encoder, intercept):
    X, y = blobs(n_classes=n_classes)
    X = table(X) if encoder else X
    model = several(encoder=encoder, input_intercept=intercept).fit(X, y)
    assert model.input_signs_.shape == (3, 3)
    assert set(np.unique(model.input_signs_)) == {-1.0, 1.0}
    assert_array_equal(model.input_signs_[0], 1)
    assert model.output_weights_.shape == (3, 4, 3)[: 2 + (n_classes > 2)]
    encoded, raw = X, np.arange(3)
    if encoder:
        encoded = model.encoder_.transform(X)
        names = model.encoder_.get_feature_names_out()
        raw = np.array(["abc".index(name[0]) for name in names])
    scaled = (encoded - model.input_offset_) / model.input_scale_
    proba = []
    for signs, A in zip(model.input_signs_, model.output_weights_, strict=True):
        inputs = scaled * signs[raw]
        inputs = np.c_[inputs, np.ones(len(y))] if intercept else inputs
        F = np.maximum(inputs @ model.hidden_weights_.T, 0) @ A / 2
        proba.append(naive_proba(F.reshape(len(y), -1)))
    proba = np.mean(proba, axis=0)
    assert_allclose(model.predict_proba(X), proba, rtol=1e-10)
    assert_allclose(model.predict_log_proba(X), np.log(proba), rtol=1e-9, atol=1e-12)
    assert_allclose(model.predict_proba(X[:1]), proba[:1], rtol=1e-10)
    decision = model.decision_function(X)
    log_odds = np.log(proba[:, 1] / proba[:, 0])
    assert_allclose(decision if n_classes == 2 else decision[:, 1] - decision[:, 0], log_odds)
    before = joblib.hash(model)
    model.predict(X)
    assert joblib.hash(model) == before


def test_the_validation_loss_is_that_of_the_prediction():
    X, y = blobs(n_classes=3)
    X_val, y_val, weights = X[:50], y[:50], np.random.RandomState(0).uniform(0.5, 2, size=50)
    rows = {"X_val": X_val, "y_val": y_val, "sample_weight_val": weights}
    model = several(n_init=2, batch_size=None).fit(X, y, **rows)
    loss = -np.log(model.predict_proba(X_val)[np.arange(50), y_val])
    assert_allclose(min(model.validation_loss_curve_), np.average(loss, weights=weights))
    folds = several().fit(X, y)  # a network for each fold, on the training pass
    assert len(folds.validation_loss_curve_) == folds.n_iter_
    assert min(folds.validation_loss_curve_) < folds.validation_loss_curve_[0]


@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_weight_of_k_equals_k_copies(early_stopping):
    X, y = blobs(n=40, n_classes=3)
    counts = np.random.RandomState(0).randint(0, 4, size=40)
    index = np.repeat(np.arange(40), counts)
    one = several(early_stopping=early_stopping).fit(X, y, counts)
    copies = several(early_stopping=early_stopping).fit(X[index], y[index])
    assert_allclose(one.predict_proba(X), copies.predict_proba(X), rtol=1e-8)


@pytest.mark.parametrize("batch_size", [None, 16])
def test_joint_training_is_that_of_single_fits(batch_size):
    X, y = blobs(n_classes=3)
    settings = [{"width": 4}, {"width": 2, "n_init": 2}, {"n_members": 2}, {"n_members": 1}]
    students = [several(encoder=None, batch_size=batch_size, **each) for each in settings]
    for student in students:
        rows = student._check_data(X, y, None, None)
    joint = TwoLayerPGDClassifier._fit_jointly(students, *rows, y)
    joint.advance()
    assert [fit.error for fit in joint.fits] == [None] * 4
    for student, each in zip(students, settings, strict=True):
        alone = several(encoder=None, batch_size=batch_size, **each).fit(X, y)
        assert_allclose(student.predict_proba(X), alone.predict_proba(X), rtol=1e-9)
    assert not hasattr(students[-1], "input_signs_")


def test_partial_fit_continues_with_the_same_members():
    X, y = blobs(n_classes=3)
    model = several(encoder=None).partial_fit(X, y, classes=[0, 1, 2])
    signs, score = model.input_signs_.copy(), model.loss_curve_[0]
    for _ in range(30):
        model.partial_fit(X, y)
    assert_array_equal(model.input_signs_, signs)
    assert model.loss_curve_[0] < 0.5 * score
    with pytest.raises(ValueError, match="n_members=1, but the network"):
        model.set_params(n_members=1).partial_fit(X, y)
    model.fit(X, y)
    assert not hasattr(model, "input_signs_")
    assert model.output_weights_.shape == (4, 3)


def test_labels_are_corrected_by_one_network():
    X, y = blobs()
    with pytest.raises(ValueError, match="set n_members=1 on the estimator"):
        SelfDistillClassifier(several()).fit(X, y)


@pytest.mark.parametrize("n_members", [(2, 1), (1, 2), (3, 2)])
def test_callbacks_predict_after_a_fit_of_other_members(n_members):
    X, y = blobs()
    first, second = n_members
    model = several(n_members=first).fit(X, y).set_params(n_members=second)
    monitor = ScoringMonitor(scoring="neg_log_loss")
    model.set_callbacks(monitor).fit(X, y)
    assert hasattr(model, "input_signs_") == (second > 1)
    data = monitor.get_logs(select="most_recent").data_as_pandas
    alone = ScoringMonitor(scoring="neg_log_loss")
    several(n_members=second).set_callbacks(alone).fit(X, y)
    expected = alone.get_logs(select="most_recent").data_as_pandas
    assert_array_equal(data["neg_log_loss"], expected["neg_log_loss"])


def test_a_table_without_an_input():
    X, y = np.ones((10, 2)), np.arange(10) % 2
    model = several(input_intercept=False, early_stopping=False).fit(X, y)
    assert_allclose(model.predict_proba(X), 0.5)
