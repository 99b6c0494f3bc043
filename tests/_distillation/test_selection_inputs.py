"""Selection on held-out rows: containers, candidates that fail and reproducibility."""

import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.exceptions import DivergenceError, TransferRowsWarning
from tests._helpers.data import FIXED
from tests._helpers.estimators import Oracle, SoftmaxStudent, fitted_names
from tests._helpers.selection import (
    CONTAINERS,
    LOG,
    PLAIN_STUDENTS,
    RecordingTeacher,
    network,
    noisy_labels,
    overlapping,
    quietly,
)


@pytest.fixture(autouse=True)
def empty_log():
    LOG.clear()


# ---- candidates that fail


class Picky(LogisticRegression):
    """Student that refuses hard labels, soft ones, all of them, or none."""

    def __init__(self, refuses="none", C=1.0):
        super().__init__(C=C)
        self.refuses = refuses

    def fit(self, X, y, sample_weight=None):
        is_hard = sample_weight is None or (np.asarray(sample_weight) == 1).all()
        if self.refuses == "all" or self.refuses == ("hard" if is_hard else "soft"):
            raise ArithmeticError(f"no {self.refuses} labels")
        return super().fit(X, y, sample_weight)


def test_soft_candidates_that_all_fail_say_why():
    X, y = overlapping()
    model = DistilledClassifier(LogisticRegression(), Picky("soft"), random_state=0)
    with pytest.raises(ArithmeticError, match="no soft labels"):
        model.fit(X, y)
    assert not hasattr(model, "student_")


def test_a_hard_candidate_that_fails_leaves_soft_ones():
    X, y = overlapping()
    model = DistilledClassifier(LogisticRegression(), Picky("hard"), random_state=0).fit(X, y)
    assert model.label_source_ in ("cv", "in-sample")
    assert np.isinf(model.candidates_["loss"][0])
    assert np.isfinite(model.candidates_["loss"][1:]).all()


def test_a_soft_candidate_that_fails_leaves_other_soft_ones():
    class NoHeat(SoftmaxStudent):
        def fit(self, X, y, sample_weight=None, soft_targets=None):
            if self.temperature in bad:
                raise ArithmeticError("too hot")
            return super().fit(X, y, sample_weight, soft_targets)

    X, y = overlapping()
    model = DistilledClassifier(LogisticRegression(), NoHeat(l2=1e-2), alpha=0.7, random_state=0)
    for bad in ({0.5}, {3.0, 5.0}, {0.5, 1.0, 2.0}):  # the first of them too
        model.fit(X, y)
        plain = model.candidates_["n_augmented"] == 0
        failed = np.isinf(model.candidates_["loss"][plain])
        assert set(model.candidates_["temperature"][plain][failed]) == bad
        assert model.temperature_ not in bad


def test_all_candidates_failing_is_the_error_of_one():
    X, y = overlapping()
    model = DistilledClassifier(LogisticRegression(), Picky("all"), random_state=0)
    with pytest.raises(ArithmeticError, match="no all labels"):
        model.fit(X, y)
    assert not fitted_names(model)
    diverging = network(learning_rate=1e30)
    with pytest.raises(DivergenceError):
        DistilledClassifier(LogisticRegression(), diverging, random_state=0).fit(X, y)


# ---- containers


def text_frame(n=120):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "color": rng.choice(["red", "green", "blue"], n),
            "shape": pd.Categorical(rng.choice(["round", "square"], n)),
            "height": rng.normal(size=n).astype(np.float32),
            "age": rng.integers(0, 90, n),
        },
        index=rng.permutation(n) + 7,
    )
    noise = rng.normal(size=n)
    y = np.where(frame["size"] + (frame["color"] == "red") + noise > 0.3, "yes", "no")
    return frame, y


@pytest.mark.parametrize("student", PLAIN_STUDENTS)
def test_frames_with_text(student):
    frame, y = text_frame()
    encode = make_column_transformer(
        (OneHotEncoder(), ["color", "shape"]),
        (StandardScaler(), ["size", "age"]),
        sparse_threshold=0,
    )
    part = make_pipeline(encode, PLAIN_STUDENTS[student])
    teacher = make_pipeline(clone(encode), LogisticRegression())
    model = DistilledClassifier(teacher, part, random_state=0)
    quietly(model, frame, y)
    assert model.candidates_["n_augmented"].max() == 360
    assert model.score(frame, y) > 0.6
    assert_array_equal(model.feature_names_in_, frame.columns)
    index = quietly(clone(model), frame.reset_index(drop=True), pd.Series(y))
    assert_array_equal(index.predict_proba(frame), model.predict_proba(frame))
    model.set_params(alpha=0.5, augmentation="munge").fit(frame, y)
    assert model.n_augmented_ == 360


def test_sparse_matrices_and_lists_have_no_transfer_rows():
    X, y = overlapping()
    base = DistilledClassifier(LogisticRegression(), LogisticRegression(), random_state=0)
    dense = quietly(clone(base).set_params(augmentation=None), X, y)
    for container in ("csr", "csc", "list"):
        rows = CONTAINERS[container](X)
        model = quietly(clone(base), rows, y)
        assert model.n_augmented_ == 0
        assert (model.candidates_["n_augmented"] == 0).all()
        assert model.score(rows, y) > 0.5
    # a list holds out what an array does
    assert_array_equal(model.candidates_["loss"], dense.candidates_["loss"])
    assert_array_equal(model.predict_proba(X.tolist()), dense.predict_proba(X))


@pytest.mark.parametrize("container", [list, np.array, pd.Series])
def test_documents(container):
    rng = np.random.default_rng(0)
    y = np.arange(160) % 2
    words = [["good", "fine", "a", "the"], ["bad", "poor", "a", "the"]]
    documents = container([" ".join(rng.choice(words[k], 5)) + f" {i}" for i, k in enumerate(y)])
    part = make_pipeline(CountVectorizer(token_pattern="[a-z]+"), LogisticRegression())
    model = quietly(DistilledClassifier(part, part, random_state=0), documents, y)
    assert model.candidates_ is not None
    assert model.n_augmented_ == 0
    assert model.score(documents, y) > 0.9


def test_wide_tables_have_no_transfer_rows():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(120, 257)), np.arange(120) % 2
    base = DistilledClassifier(LogisticRegression(), LogisticRegression(), alpha=0.5)
    assert base.set_params(temperature=1.0).fit(X, y).candidates_ is None
    assert base.fit(X[:, :256], y).candidates_["n_augmented"].tolist() == [0, 360]


def with_infinite_values(n_infinite, **params):
    """No rows are made of a column with infinite values, which both estimators drop here."""
    X, y = overlapping(150)
    X = np.column_stack([X, np.where(np.arange(150) < n_infinite, np.inf, 1.0)])
    drop = make_column_transformer(("passthrough", [0, 1, 2]))
    part = make_pipeline(drop, SoftmaxStudent(l2=1e-2))
    return DistilledClassifier(part, part, alpha=1.0, temperature=1.0, **params), X, y


def test_rows_that_cannot_be_made_are_told():
    model, X, y = with_infinite_values(150, random_state=0)
    with pytest.warns(TransferRowsWarning, match="no transfer rows were made"):
        model.fit(X, y)
    assert model.n_augmented_ == 0


@pytest.mark.parametrize("seed", range(4))
def test_automatic_transfer_rows_never_fail(seed):
    # whether the row that cannot be used is held out or not
    model, X, y = with_infinite_values(1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TransferRowsWarning)
        assert model.fit(X, y).n_augmented_ == 0


# ---- given labels, more rows


@pytest.mark.parametrize("student", PLAIN_STUDENTS)
@pytest.mark.parametrize("good", [True, False])
def test_given_labels_are_candidates(student, good):
    X, y, coef = noisy_labels(300, 20)
    part = {
        "network": network(max_iter=600, early_stopping=False),
        "expansion": LogisticRegression(C=1e4, max_iter=1000),
        "native": SoftmaxStudent(l2=1e-4),
    }[student]
    teacher = Oracle(coef).fit(X, y)
    Q = teacher.predict_proba(X)
    if not good:  # agrees with y as often as chance does
        y = (X @ coef > 0).astype(int)
        Q = np.where(np.random.default_rng(0).random((300, 1)) < 0.5, [0.9, 0.1], [0.1, 0.9])
    model = DistilledClassifier(RecordingTeacher(), part, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y, soft_targets=Q)
    assert not LOG
    assert model.label_source_ == ("given" if good else "hard")
    assert set(model.candidates_["label_source"]) == {"hard", "given"}
    assert (model.candidates_["n_augmented"] == 0).all()
    assert not hasattr(model, "teacher_")


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("student", PLAIN_STUDENTS)
def test_more_rows_and_munge_together(student, given):
    X, y = overlapping()
    more = np.random.default_rng(1).normal(size=(45, 3))
    Q = LogisticRegression(C=0.1).fit(X, y).predict_proba(X) if given else None
    model = DistilledClassifier(
        LogisticRegression(C=0.1), PLAIN_STUDENTS[student], augmentation="munge", n_augmented=90
    ).set_params(random_state=0)
    quietly(model, X, y, X_unlabeled=more, soft_targets=Q)
    assert set(model.candidates_["n_augmented"]) == {0, 90}
    assert set(model.candidates_["label_source"]) >= {"hard", "given" if given else "cv"}
    assert model.n_augmented_ == (0 if model.label_source_ == "hard" else 90)
    assert hasattr(model, "teacher_")
    assert model.score(X, y) > 0.5


def test_a_frozen_teacher_is_not_fitted_in_the_trial():
    X, y = overlapping()
    frozen = FrozenEstimator(RecordingTeacher().fit(X, y))
    LOG.clear()
    model = quietly(DistilledClassifier(frozen, network(), random_state=0), X, y)
    assert not any(entry[0] == "teacher" for entry in LOG)
    assert set(model.candidates_["label_source"]) == {"hard", "frozen"}
    assert model.teacher_.estimator is frozen.estimator
    assert model.label_temperature_ == 1.0


def test_a_frozen_teacher_with_more_classes():
    X, y = overlapping(240)
    teacher = LogisticRegression().fit(X, y)
    few = y != 1
    for student in PLAIN_STUDENTS.values():
        model = DistilledClassifier(FrozenEstimator(teacher), student, random_state=0)
        quietly(model, X[few], y[few])
        assert_array_equal(model.classes_, [0, 1, 2])
        assert model.predict_proba(X).shape == (240, 3)
        assert np.isfinite(model.candidates_["loss"]).all()


# ---- reproducible, or not fitted at all


class Interrupting(TransformerMixin, BaseEstimator):
    """Step that is interrupted at the n-th of all fits."""

    def fit(self, X, y=None):
        LOG.append("fit")
        if len(LOG) == STOP_AT[0]:
            raise KeyboardInterrupt
        return self

    def transform(self, X):
        return np.asarray(X)

    def __sklearn_is_fitted__(self):
        return True


STOP_AT = [0]


@pytest.mark.parametrize("student", PLAIN_STUDENTS)
@pytest.mark.parametrize("stop_at", [1, 2, 3])
@pytest.mark.parametrize("fitted_before", [False, True])
def test_an_interrupted_trial_leaves_nothing_behind(student, stop_at, fitted_before):
    X, y = overlapping()
    part = make_pipeline(Interrupting(), PLAIN_STUDENTS[student])
    model = DistilledClassifier(LogisticRegression(), part, random_state=0)
    before = {}
    if fitted_before:
        STOP_AT[0] = 0
        quietly(model.set_params(**FIXED), X[:50], y[:50])
        model.set_params(alpha="auto", temperature="auto", augmentation="auto")
        before = dict(vars(model))
    LOG.clear()
    STOP_AT[0] = stop_at
    with pytest.raises(KeyboardInterrupt):
        quietly(model, X, y)
    assert len(LOG) == stop_at
    if fitted_before:
        assert vars(model).keys() == before.keys()
        assert all(vars(model)[name] is before[name] for name in before)
    else:
        assert not fitted_names(model)
        with pytest.raises(NotFittedError):
            model.predict(X)


def test_interrupted_while_rows_are_made():
    X, y = overlapping()

    def interrupt(X, n_rows, seed):
        raise KeyboardInterrupt

    model = DistilledClassifier(LogisticRegression(), network(), augmentation=interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert not fitted_names(model)


@pytest.mark.slow
@pytest.mark.parametrize(
    "student",
    [
        TwoLayerPGDClassifier(4, max_iter=60, encoder=None),
        DecisionTreeClassifier(max_depth=4, max_features=1),
    ],
)
def test_one_seed_makes_all_of_it_reproducible(student):
    X, y = overlapping()
    forest = RandomForestClassifier(20, max_depth=4)
    model = DistilledClassifier(forest, student, random_state=3)
    first = quietly(clone(model), X, y)
    for n_jobs in (None, 2):
        np.random.seed(n_jobs)
        with joblib.parallel_config("threading"):
            again = quietly(clone(model).set_params(n_jobs=n_jobs), X, y)
        assert_array_equal(again.predict_proba(X), first.predict_proba(X))
        for name, column in again.candidates_.items():
            assert_array_equal(column, first.candidates_[name])
    other = quietly(clone(model).set_params(random_state=4), X, y)
    assert not np.array_equal(other.candidates_["loss"], first.candidates_["loss"])
    assert model.random_state == 3
    assert forest.random_state is None
