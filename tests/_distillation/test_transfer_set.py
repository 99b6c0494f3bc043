"""Transfer rows: made, counted, labeled and weighted."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC

from sklearn_kd._distillation import transfer_set
from sklearn_kd.exceptions import MissingClassWarning, NoGainWarning, TransferRowsWarning
from tests._helpers.data import blobs
from tests._helpers.distillation import Recording, fixed, sharpen_by_hand
from tests._helpers.estimators import SoftmaxStudent


@pytest.mark.parametrize("method", ["munge", "gibbs", "callable"])
@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_transfer_rows_have_calibrated_labels_and_no_hard_part(method, alpha):
    X, y = blobs(120, 3, spread=4.0)
    w = np.random.default_rng(0).uniform(0.3, 2, 120)
    calls = []

    def jitter(X, n_rows, seed):
        calls.append((X.copy(), n_rows, seed))
        rng = np.random.default_rng(seed)
        return X[rng.integers(len(X), size=n_rows)] + 0.1 * rng.normal(size=(n_rows, X.shape[1]))

    model = fixed(
        GaussianNB(),
        Recording(l2=1e-3),
        alpha=alpha,
        augmentation=jitter if method == "callable" else method,
        n_augmented=200,
    )
    raw = clone(model).set_params(augmentation=None, calibration=None, alpha=1.0)
    raw.fit(X, y, sample_weight=w)
    model.fit(X, y, sample_weight=w)
    student = model.student_
    assert model.n_augmented_ == 200
    assert len(student.rows_) == 320
    assert_array_equal(student.rows_[:120], X)
    assert not {tuple(row) for row in student.rows_[120:]} & {tuple(row) for row in X}
    # own rows: calibrated out-of-fold labels, mixed
    own = sharpen_by_hand(raw.student_.received_, model.label_temperature_)
    mixed = alpha * own + (1 - alpha) * np.eye(3)[y]
    assert_allclose(student.received_[:120], mixed, rtol=1e-9, atol=1e-12)
    # the others: the teacher's, calibrated by the same temperature
    teacher = GaussianNB().fit(X, y, sample_weight=w)
    theirs = sharpen_by_hand(teacher.predict_proba(student.rows_[120:]), model.label_temperature_)
    assert_allclose(student.received_[120:], theirs, rtol=1e-7, atol=1e-12)
    assert (student.alpha, model.alpha_) == (1.0, alpha)
    # their weight is the mean of the others
    assert_allclose(student.weight_, np.append(w, np.full(200, w.mean())))
    if method == "callable":
        ((rows, n_rows, seed),) = calls
        assert_array_equal(rows, X)
        assert n_rows == 200
        assert isinstance(seed, int)
        assert np.isnan(model.duplicate_fraction_)
    else:
        assert 0 <= model.duplicate_fraction_ < 1
    assert raw.n_augmented_ == 0
    assert np.isnan(raw.duplicate_fraction_)


def test_number_of_transfer_rows_is_three_times_the_rows():
    X, y = blobs(60, 2)
    model = fixed(LogisticRegression(), Recording(l2=1e-3), augmentation="munge").fit(X, y)
    assert model.n_augmented_ == 180
    assert len(model.student_.rows_) == 240
    assert model.student_.weight_ is None


def test_the_number_of_automatic_transfer_rows_is_bounded(monkeypatch):
    monkeypatch.setattr(transfer_set, "MAX_AUTOMATIC_TRANSFER_ROWS", 100)
    X, y = blobs(60, 2)
    model = fixed(LogisticRegression(), Recording(l2=1e-3), augmentation="munge")
    assert clone(model).fit(X, y).n_augmented_ == 100
    assert clone(model).set_params(n_augmented=170).fit(X, y).n_augmented_ == 170
    model.set_params(augmentation=lambda X, n_rows, seed: X[:1].repeat(n_rows, axis=0) + 0.5)
    assert model.fit(X, y).n_augmented_ == 100


def test_transfer_rows_start_from_unlabeled_rows_too():
    X, y = blobs(60, 2)
    unlabeled = X[:40] + 100.0
    given = []

    def take(X, n_rows, seed):
        given.append(X)
        return X[-n_rows:] + 0.5

    params = {"augmentation": take, "n_augmented": 10}
    model = fixed(LogisticRegression(), Recording(l2=1e-3), **params)
    model.fit(X, y, X_unlabeled=unlabeled)
    assert_array_equal(given[0], np.concatenate([X, unlabeled]))
    assert_array_equal(model.student_.rows_, np.concatenate([X, unlabeled, unlabeled[-10:] + 0.5]))
    assert model.n_augmented_ == 10
    # those that are made come from both
    model.set_params(augmentation="gibbs", n_augmented=200).fit(X, y, X_unlabeled=unlabeled)
    made = model.student_.rows_[100:]
    far = (made > 50).mean(axis=1)
    assert 0.2 < far.mean() < 0.6


def test_a_callable_gets_and_gives_frames():
    frame = pd.DataFrame(blobs(60, 2)[0], columns=list("abc")).set_index(np.arange(60) * 2)
    y = blobs(60, 2)[1]
    given = []

    def take(X, n_rows, seed):
        given.append(X.copy())
        made = X.sample(n_rows, random_state=seed) + 0.01
        X.iloc[:] = 0.0  # the frame is its own
        return made

    params, rows = {"augmentation": take, "n_augmented": 15}, frame.copy()
    model = fixed(LogisticRegression(), Recording(l2=1e-3), **params).fit(frame, y)
    pd.testing.assert_frame_equal(frame, rows)
    pd.testing.assert_frame_equal(given[0], frame)
    assert list(model.student_.rows_.columns) == ["a", "b", "c"]
    assert len(model.student_.rows_) == 75
    assert_array_equal(model.feature_names_in_, ["a", "b", "c"])


@pytest.mark.parametrize("n_made", [0, 7, 20, 33])
def test_a_callable_that_gives_another_number_of_rows(n_made):
    X, y = blobs(60, 2)
    made = np.random.default_rng(0).normal(size=(n_made, 3))
    model = fixed(
        LogisticRegression(), Recording(l2=1e-3), augmentation=lambda *_: made, n_augmented=20
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TransferRowsWarning)
        model.fit(X, y)
    used = len(model.student_.rows_) - 60
    assert used == min(n_made, 20)
    assert model.n_augmented_ == used
    assert_array_equal(model.student_.rows_[60:], made[:20])


def test_a_callable_in_the_wrong_container_is_told():
    X, y = blobs(60, 2)
    frame = pd.DataFrame(X, columns=list("abc"))
    model = fixed(LogisticRegression(), SoftmaxStudent(), augmentation=lambda X, n, s: X.to_numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the teacher, about names of columns
        with pytest.raises((TypeError, ValueError), match="augmentation"):
            model.fit(frame, y)


def test_a_callable_makes_rows_of_any_container():
    X, y = blobs(60, 2)
    params = {"augmentation": lambda X, n_rows, seed: X[:n_rows], "n_augmented": 20}
    model = fixed(LogisticRegression(), LogisticRegression(), **params)
    expected = clone(model).fit(X, y).predict_proba(X)
    for convert in (sp.csr_matrix, sp.csr_array, lambda X: X.tolist()):
        copy = clone(model).fit(convert(X), y)
        assert copy.n_augmented_ == 20
        assert_allclose(copy.predict_proba(convert(X)), expected, rtol=1e-5)


@pytest.mark.parametrize("method", ["munge", "gibbs"])
def test_sparse_matrices_have_no_transfer_rows(method):
    X, y = blobs(60, 2)
    model = fixed(LogisticRegression(), LogisticRegression(), augmentation=method)
    with pytest.raises(TypeError, match="sparse"):
        model.fit(sp.csr_matrix(X), y)


def full_factorial():
    """Like the car data: each combination of categories once."""
    levels = [["low", "med", "high"]] * 3 + [["2", "4", "more"]] * 2
    frame = pd.DataFrame(list(itertools.product(*levels)), columns=list("abcde"))
    y = np.where((frame["a"] == "low") | (frame["d"] == "more") & (frame["b"] != "high"), "y", "n")
    return frame, y


@pytest.mark.parametrize("method", ["munge", "gibbs"])
def test_a_table_of_all_combinations_has_no_transfer_rows(method):
    frame, y = full_factorial()
    part = make_pipeline(OneHotEncoder(), LogisticRegression())
    model = fixed(part, part, alpha=0.5, augmentation=method)
    with pytest.warns(TransferRowsWarning, match="0 transfer rows") as caught:
        model.fit(frame, y)
    # fewer rows would be copies too
    assert str(caught[0].message).endswith("dropped: set augmentation=None.")
    assert model.n_augmented_ == 0
    assert model.duplicate_fraction_ == 1.0
    plain = fixed(part, part, alpha=0.5).fit(frame, y)
    assert_allclose(model.predict_proba(frame), plain.predict_proba(frame), rtol=1e-9)


def test_a_warning_about_few_rows_of_a_callable_is_about_the_callable():
    X, y = blobs(60, 2)
    model = fixed(
        LogisticRegression(), LogisticRegression(), augmentation=lambda X, n_rows, seed: X[:5] + 0.1
    )
    with pytest.warns(TransferRowsWarning, match=r"5 transfer rows.*the augmentation returned"):
        model.fit(X, y)


@pytest.mark.parametrize("alpha", ["auto", 0.5])
def test_automatic_transfer_rows_of_a_table_of_all_combinations(alpha):
    frame, y = full_factorial()
    part = make_pipeline(OneHotEncoder(), LogisticRegression())
    model = fixed(part, part, alpha=alpha, augmentation="auto")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoGainWarning)
        model.fit(frame, y)
    assert model.n_augmented_ == 0
    assert np.isnan(model.duplicate_fraction_)
    # in a trial there would be new rows, those held out: there are none for the fit on all rows
    if alpha == 0.5:
        assert model.candidates_ is None
    else:
        assert (model.candidates_["n_augmented"] == 0).all()


def test_transfer_rows_with_given_labels_and_unlabeled_rows():
    X, y = blobs(60, 3, spread=3.0)
    unlabeled = X[:25] + 0.05
    Q = np.random.default_rng(0).dirichlet(np.ones(3), size=60)
    Q[np.arange(60), y] += 1
    Q /= Q.sum(axis=1, keepdims=True)
    model = fixed(
        LogisticRegression(), Recording(l2=1e-3), alpha=0.5, augmentation="munge", n_augmented=80
    ).fit(X, y, soft_targets=Q, X_unlabeled=unlabeled)
    student, teacher = model.student_, LogisticRegression().fit(X, y)
    assert model.label_source_ == "given"
    assert model.n_augmented_ == 80
    assert_array_equal(student.rows_[60:85], unlabeled)
    one_hot = np.eye(3)
    assert_allclose(student.received_[:60], 0.5 * Q + 0.5 * one_hot[y], rtol=1e-12)
    P = teacher.predict_proba(student.rows_[60:])
    guess = one_hot[P[:25].argmax(axis=1)]
    assert_allclose(student.received_[60:85], 0.5 * P[:25] + 0.5 * guess, rtol=1e-5)
    assert_allclose(student.received_[85:], P[25:], rtol=1e-5)
    assert_allclose(model.teacher_.coef_, teacher.coef_)


def test_transfer_rows_of_a_teacher_with_decision_values():
    X, y = blobs(120, 3, spread=3.0)
    model = fixed(LinearSVC(), Recording(l2=1e-3), augmentation="munge", n_augmented=50)
    P = model.fit(X, y).student_.received_[120:]
    assert_allclose(P.sum(axis=1), 1)
    # one slope for all values, an offset for each class
    F = LinearSVC().fit(X, y).decision_function(model.student_.rows_[120:])
    odds = np.log(P[:, 1:] / P[:, :1]).T.ravel()
    design = np.column_stack([(F[:, 1:] - F[:, :1]).T.ravel(), np.repeat(np.eye(2), 50, axis=0)])
    theta, *_ = np.linalg.lstsq(design, odds)
    assert theta[0] > 0.5
    assert_allclose(design @ theta, odds, atol=1e-9)


def test_transfer_rows_do_not_shift_with_weights_of_zero():
    X, y = blobs(90, 2, spread=3.0)
    w = (np.arange(90) % 3 > 0).astype(float)
    model = fixed(LogisticRegression(), Recording(l2=1e-3), alpha=0.5, augmentation="gibbs")
    absent = clone(model).fit(X[w > 0], y[w > 0], sample_weight=w[w > 0])
    model.fit(X, y, sample_weight=w)
    assert_array_equal(model.student_.rows_, absent.student_.rows_)
    assert_array_equal(model.student_.received_, absent.student_.received_)


def test_a_class_of_one_row_with_transfer_rows():
    X, y = blobs(90, 2, spread=3.0)
    y[0] = 2
    model = fixed(LogisticRegression(), Recording(l2=1e-3), alpha=0.5, augmentation="munge")
    with pytest.warns(MissingClassWarning, match="one distinct row each"):
        model.fit(X, y)
    assert_allclose(model.student_.received_[0], np.eye(3)[2])  # kept as it is
    assert_allclose(model.student_.received_.sum(axis=1), 1)


def test_the_former_name_of_the_fraction_of_duplicates_is_deprecated():
    X, y = blobs(60, 2)
    model = fixed(GaussianNB(), LogisticRegression(), augmentation="munge", n_augmented=20)
    assert not hasattr(model, "copy_share_")
    model.fit(X, y)
    with pytest.warns(FutureWarning, match="will be removed in 0.3. Use duplicate_fraction_"):
        assert model.copy_share_ == model.duplicate_fraction_
    assert "copy_share_" not in vars(model)


def test_advice_for_few_distinct_rows_names_parameters_of_the_classifier():
    X, y = np.repeat([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]], 50, axis=0), np.tile([0, 1, 1], 50)
    advice = r"need 6 distinct rows, X has 3: .*augmentation=None\.$"
    model = fixed(LogisticRegression(), LogisticRegression(), augmentation="gibbs")
    with pytest.raises(ValueError, match=advice):
        model.fit(X, y)
    model = fixed(LogisticRegression(), LogisticRegression(), augmentation="auto", n_augmented=9)
    with pytest.warns(TransferRowsWarning, match=advice):
        model.fit(X, y)
