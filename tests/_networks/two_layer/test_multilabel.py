"""TwoLayerPGDClassifier on several labels: what differs from classes."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.utils import get_tags

from sklearn_kd import BatchedGridSearchCV, TwoLayerPGDClassifier
from sklearn_kd.exceptions import EarlyStoppingWarning
from tests._helpers.references import central_difference

FAST = {"encoder": None, "width": 8, "max_iter": 40, "n_init": 1, "random_state": 0}
FULL = {"batch_size": None, "early_stopping": False}


def network(**options):
    return TwoLayerPGDClassifier(**{**FAST, **options})


def labels(n=120, n_labels=3, seed=0):
    """Rows with labels, and probabilities of a teacher."""
    X, Y = make_multilabel_classification(
        n, n_features=4, n_classes=n_labels, n_labels=2, random_state=seed
    )
    rng = np.random.RandomState(seed)
    return X, Y, 0.7 * Y + 0.3 * rng.uniform(size=Y.shape)


def logits_of(model, X):
    """Logits by the formula of the class, (members, rows, labels)."""
    inputs = np.c_[(X - model.input_offset_) / model.input_scale_, np.ones(len(X))]
    if not hasattr(model, "input_signs_"):
        signs, output = np.ones((1, X.shape[1])), model.output_weights_[None]
    else:
        signs, output = model.input_signs_, model.output_weights_
    return np.stack(
        [
            np.maximum(inputs * np.append(s, 1) @ model.hidden_weights_.T, 0) @ A
            for s, A in zip(signs, output, strict=True)
        ]
    ) / np.sqrt(model.width)


# Predictions


@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("n_members", [1, 3])
def test_predictions_are_those_of_the_formula(n_labels, n_members):
    X, Y, _ = labels(n_labels=n_labels)
    model = network(n_members=n_members).fit(X, Y)
    expected = expit(logits_of(model, X)).mean(axis=0)
    proba = model.predict_proba(X)
    assert_allclose(proba, expected, rtol=1e-10)
    assert_allclose(model.predict_log_proba(X), np.log(expected), rtol=1e-9)
    assert_allclose(expit(model.decision_function(X)), expected, rtol=1e-10)
    assert_array_equal(model.predict(X), expected > 0.5)
    assert model.score(X, Y) == accuracy_score(Y, model.predict(X))
    assert_allclose(model.predict_proba(X[:1])[0], proba[0], rtol=1e-12)


def test_shapes_are_those_of_scikit_learn():
    X, Y, _ = labels()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = MLPClassifier(max_iter=5, random_state=0).fit(X, Y)
    model = network().fit(X, Y)
    assert_array_equal(model.classes_, reference.classes_)
    assert model.multilabel_
    for method in ("predict", "predict_proba", "predict_log_proba"):
        ours, theirs = getattr(model, method)(X), getattr(reference, method)(X)
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
    assert get_tags(model).classifier_tags.multi_label
    X = X.astype(np.float32)
    assert network().fit(X, Y).predict_proba(X).dtype == np.float32


@pytest.mark.slow
def test_it_is_as_good_as_the_network_of_scikit_learn():
    X, Y = make_multilabel_classification(800, n_classes=4, n_labels=2, random_state=1)
    train, test = slice(400), slice(400, 800)
    model = TwoLayerPGDClassifier(16, random_state=0).fit(X[train], Y[train])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = MLPClassifier(early_stopping=True, random_state=0).fit(X[train], Y[train])
    ours, theirs = (
        roc_auc_score(Y[test], each.predict_proba(X[test])) for each in (model, reference)
    )
    assert ours > theirs - 0.01


# Training


@pytest.mark.parametrize(
    "options", [{}, {"alpha": 0.4}, {"alpha": 0.4, "temperature": 3.0}], ids=str
)
def test_a_step_is_the_gradient_of_the_mean_loss_over_labels(options):
    X, Y, Q = labels(20)
    a, T = options.get("alpha", 1.0), options.get("temperature", 1.0)
    step = 1e-3
    model = network(
        **options, **FULL, learning_rate=step, optimizer="nesterov", momentum=0.0, weight_decay=0.0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.set_params(max_iter=1).fit(X, Y, soft_targets=Q)
    inputs = np.c_[(X - model.input_offset_) / model.input_scale_, np.ones(len(X))]
    tempered = expit(np.log(Q / (1 - Q)) / T)

    def mean_loss(W, A):
        F = np.maximum(inputs @ W.T, 0) @ A / np.sqrt(8)

        def cross_entropy(P, F):
            return -(P * np.log(expit(F)) + (1 - P) * np.log(expit(-F))).mean()

        return a * T**2 * cross_entropy(tempered, F / T) + (1 - a) * cross_entropy(Y, F)

    W, A = model.initial_weights_, np.sign(model.output_weights_)
    for before, after, gradient in (
        (W, model.hidden_weights_, central_difference(lambda W: mean_loss(W, A), W)),
        (A, model.output_weights_, central_difference(lambda A: mean_loss(W, A), A)),
    ):
        assert_allclose((before - after) / step, gradient, atol=1e-8)


@pytest.mark.slow
def test_with_fixed_hidden_neurons_each_label_is_a_logistic_regression():
    X, Y, _ = labels(150)
    model = network(
        **FULL, width=4, radius=1e-12, optimizer="nesterov", learning_rate=5.0, weight_decay=0.0
    )
    model.set_params(max_iter=20_000).fit(X, Y)
    inputs = np.c_[(X - model.input_offset_) / model.input_scale_, np.ones(len(X))]
    active = np.maximum(inputs @ model.initial_weights_.T, 0)
    for k in range(3):
        alone = LogisticRegression(C=1e8, fit_intercept=False, tol=1e-10, max_iter=10_000)
        alone.fit(active, Y[:, k])
        expected = alone.predict_proba(active)[:, 1]
        assert_allclose(model.predict_proba(X)[:, k], expected, atol=1e-4)


def test_weights_equal_repetitions():
    X, Y, Q = labels(60)
    weights = np.random.RandomState(0).randint(3, size=60)
    model = network(batch_size=None, early_stopping=True)
    for soft in (None, Q):
        weighted = clone(model).fit(X, Y, weights, soft)
        repeated = clone(model).fit(
            *(np.repeat(each, weights, axis=0) for each in (X, Y)),
            soft_targets=None if soft is None else np.repeat(soft, weights, axis=0),
        )
        assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-7)


@pytest.mark.parametrize("batch_size", [None, 32])
def test_early_stopping_and_validation_rows(batch_size):
    X, Y, Q = labels(150)
    model = network(batch_size=batch_size, max_iter=200, n_iter_no_change=10)
    held = model.fit(X[:100], Y[:100], X_val=X[100:], y_val=Y[100:])
    P = held.predict_proba(X[100:])
    loss = -np.mean(Y[100:] * np.log(P) + (1 - Y[100:]) * np.log(1 - P))
    assert_allclose(held.validation_loss_curve_[held.best_iter_ - 1], loss, rtol=1e-6)
    grouped = clone(model).fit(X, Y, groups=np.arange(150) // 3)
    assert np.isfinite(grouped.validation_loss_curve_).all()
    # "auto" trains on soft labels without early stopping, unless they are almost hard
    assert clone(model).fit(X, Y, soft_targets=Q).validation_loss_curve_ is None
    assert clone(model).fit(X, Y, soft_targets=Y).validation_loss_curve_ is not None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 32},
        {"n_members": 2},
        {"optimizer": "nesterov"},
        {"early_stopping": False},
    ],
    ids=str,
)
def test_a_label_that_all_or_no_rows_have(options):
    X, Y, _ = labels()
    Y[:, 0], Y[:, 1] = 0, 1
    model = TwoLayerPGDClassifier(width=8, random_state=0, **options).fit(X, Y)
    P = model.predict_proba(X)
    assert P[:, 0].mean() < 0.1 < P[:, 1].mean() - 0.8
    assert_array_equal(model.predict(X)[:, :2], Y[:, :2])
    assert np.isfinite(model.predict_log_proba(X)).all()
    assert np.isfinite(model.loss_curve_).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_one_row_and_one_value():
    X, Y, _ = labels()
    with pytest.warns(EarlyStoppingWarning):
        one = network(max_iter=200).fit(X[:1], Y[:1])
    assert_array_equal(one.predict(X[:1]), Y[:1])
    none = network(max_iter=200).fit(X, np.zeros_like(Y))
    assert not none.predict(X).any()


def test_partial_fit():
    X, Y, Q = labels()
    model = network(batch_size=32)
    model.partial_fit(X, Y, classes=np.arange(3))
    for _ in range(30):
        model.partial_fit(X, Y, soft_targets=Q)
    assert roc_auc_score(Y, model.predict_proba(X)) > 0.8
    model.partial_fit(X, Y, classes=Y)  # scikit-learn reads the indices of an indicator
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        network().partial_fit(X, Y)
    with pytest.raises(ValueError, match="y has 3 columns for the labels"):
        network().partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(ValueError, match="y has 2 columns for the labels"):
        model.partial_fit(X, Y[:, :2])
    with pytest.raises(ValueError, match="one label for each row"):
        model.partial_fit(X, Y[:, 0])
    of_classes = network().partial_fit(X, Y[:, 0], classes=[0, 1])
    with pytest.raises(ValueError, match="several labels for each row"):
        of_classes.partial_fit(X, Y)


def test_another_fit_replaces_the_kind_of_the_labels():
    X, Y, _ = labels()
    model = network().fit(X, Y).fit(X, Y[:, 0])
    assert not model.multilabel_
    assert model.predict_proba(X).shape == (120, 2)
    column = network()
    with pytest.warns(match="column-vector y"):
        column.fit(X, Y[:, :1])
    assert_array_equal(column.predict_proba(X), model.predict_proba(X))


def test_a_saved_model_predicts_the_same():
    X, Y, _ = labels()
    model = network().fit(X, Y)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


# Searches


def test_a_batched_search_is_that_of_single_fits():
    X, Y, Q = labels()
    grid = {"width": [4, 8], "alpha": [0.5, 1.0], "temperature": [1.0, 3.0]}
    batched = BatchedGridSearchCV(network(), grid, cv=3).fit(X, Y, soft_targets=Q)
    alone = GridSearchCV(network(), grid, cv=3).fit(X, Y, soft_targets=Q)
    scores = [search.cv_results_["mean_test_score"] for search in (batched, alone)]
    assert_allclose(*scores, atol=1e-12)
    assert_allclose(batched.predict_proba(X), alone.predict_proba(X), rtol=1e-7)


def test_class_weights_of_a_candidate_are_its_error():
    X, Y, _ = labels()
    grid = {"class_weight": ["balanced"]}
    search = BatchedGridSearchCV(network(), grid, cv=3, error_score="raise")
    with pytest.raises(ValueError, match="set class_weight=None for several labels"):
        search.fit(X, Y)


# Errors


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"y": 2}, {}, "y should be a 1d array of labels, got an array of shape"),
        ({"class_weight": "balanced"}, {}, "set class_weight=None for several labels"),
        ({}, {"soft_targets": np.ones((120, 2))}, r"the shape of y, \(120, 3\)"),
        ({}, {"groups": np.zeros(120)}, "all rows are in one group"),
        ({}, {"y_val": np.ones((9, 2))}, r"y_val has the shape \(9, 2\)"),
        ({}, {"y_val": np.ones(9)}, "y_val must be an indicator"),
        ({"alpha": 1.5, "early_stopping": False}, {"soft_targets": np.ones((120, 3))}, "above 1"),
    ],
    ids=str,
)
def test_errors(change, options, message):
    X, Y, _ = labels()
    change = dict(change)
    if "y_val" in options:
        options = {**options, "X_val": X[:9]}
    model = network(**{name: value for name, value in change.items() if name != "y"})
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y + change.get("y", 0), **options)
    assert not vars(model).keys() & {"classes_", "multilabel_"}


def test_a_sparse_indicator_is_an_error():
    X, Y, _ = labels()
    with pytest.raises(TypeError, match=r"pass y.toarray\(\)"):
        network().fit(X, sp.csr_array(Y))


def test_missing_labels_are_an_error():
    X, Y, _ = labels()
    with pytest.raises(ValueError, match="y contains 1 missing labels"):
        network().fit(X, np.where(np.arange(360).reshape(120, 3) == 5, np.nan, Y))


def test_frames_of_labels_have_the_same_columns():
    X, Y, Q = labels()
    y, soft = (pd.DataFrame(each, columns=list("abc")) for each in (Y, Q))
    from_frames = network().fit(X, y, soft_targets=soft)
    assert_array_equal(
        from_frames.predict_proba(X), network().fit(X, Y, soft_targets=Q).predict_proba(X)
    )
    with pytest.raises(ValueError, match=r"pass soft_targets\[y.columns\]"):
        network().fit(X, y, soft_targets=soft[["b", "a", "c"]])
