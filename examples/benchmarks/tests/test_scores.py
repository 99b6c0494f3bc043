"""Bytes that are needed to predict, and the cost of fits, against counts by hand."""

import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier

X, Y = load_iris(return_X_y=True)


def test_bytes_of_trees_are_those_of_packed_nodes(scores):
    stump = DecisionTreeClassifier(max_leaf_nodes=2).fit(X, Y)
    assert scores.needed_bytes(stump) == 8 + 2 * 2 * 4  # a node, and two probabilities of each leaf
    forest = RandomForestClassifier(3, max_leaf_nodes=2).fit(X, Y)
    assert scores.needed_bytes(forest) == 3 * scores.needed_bytes(stump)
    boosting = HistGradientBoostingClassifier(max_iter=5, max_leaf_nodes=2).fit(X, Y)
    assert scores.needed_bytes(boosting) == 5 * 3 * (8 + 2 * 4) + 3 * 4


def test_bytes_of_pipelines_are_those_of_their_steps(scores):
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    scaler, linear = (4 * n for n in (4 + 4 + 4, 12 + 3 + 3))  # mean, variance, scale; and classes
    assert scores.needed_bytes(model) == scaler + linear


def test_bytes_of_texts_are_those_of_utf8(scores):
    assert scores.contents_bytes({"é": ["ab", np.zeros(3, dtype=np.int64), None]}) == 2 + 2 + 12


def test_int8_weights_change_little(scores):
    rows = X * [1, 100, 0.01, 1] + [0, 50, 0, -7]
    model = TwoLayerPGDClassifier(8, encoder=None, max_iter=50, n_init=1, random_state=0)
    model.fit(rows, Y)
    rounded, n_bytes = scores.int8_copy(model)
    change = np.abs(rounded.predict_proba(rows) - model.predict_proba(rows)).max()
    assert 0 < change < 0.03
    assert n_bytes == 8 * 4 + 8 * 3 + 4 * (8 + 8 + 3 + 4)  # weights; biases and scales
    assert scores.int8_copy(GaussianNB().fit(X, Y)) is None


def test_members_have_intercepts_and_signs_of_their_own(scores):
    model = TwoLayerPGDClassifier(8, encoder=None, n_members=3, max_iter=5, random_state=0)
    model.fit(X, Y)
    of_weights = 4 * (8 * 5 + 3 * 8 * 3)  # hidden, and output of each member
    assert scores.needed_bytes(model) == of_weights + 4 * 2 * 8 + 2  # 12 signs in two bytes
    rounded, n_bytes = scores.int8_copy(model)
    assert n_bytes == 8 * 4 + 3 * 8 * 3 + 4 * (3 * 8 + 8 + 9 + 4) + 2
    assert np.abs(rounded.predict_proba(X) - model.predict_proba(X)).max() < 0.03


def test_row_steps_of_fits_and_of_their_trial(row_steps):
    student = TwoLayerPGDClassifier(2, max_iter=4, n_init=3, early_stopping=False)
    with row_steps.counted() as cost:
        student.fit(X, Y)
    assert (cost["row_steps"], cost["trial_row_steps"]) == (3 * 4 * len(X), 0)
    distilled = DistilledClassifier(GaussianNB(), student, augmentation=None, random_state=0)
    with row_steps.counted() as cost:
        distilled.fit(X, Y)
    assert 0 < cost["trial_row_steps"] < cost["row_steps"]
    assert 0 < cost["trial_seconds"] < cost["seconds"]
