"""DistilledClassifier on several labels: teachers, labels out of sample, students and errors."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import get_tags

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    KernelTeacher,
    SelfDistillClassifier,
    TwoLayerPGDClassifier,
)
from sklearn_kd._distillation.multilabel import MultilabelTask
from sklearn_kd.exceptions import InSampleLabelsWarning, MissingClassWarning

N_LABELS = 3
PLAIN = {"alpha": 1.0, "temperature": 1.0, "augmentation": None, "random_state": 0}


def rows(n=200, seed=0):
    return make_multilabel_classification(
        n, n_features=6, n_classes=N_LABELS, n_labels=2, random_state=seed
    )


def tree(**options):
    return DecisionTreeClassifier(**{"min_samples_leaf": 8, "random_state": 0, **options})


def network(**options):
    fast = {"width": 4, "max_iter": 20, "n_init": 1, "encoder": None, "random_state": 0}
    return TwoLayerPGDClassifier(**{**fast, **options})


def distilled(teacher=None, student=None, **options):
    teacher = tree() if teacher is None else teacher
    student = network() if student is None else student
    return DistilledClassifier(teacher, student, **{**PLAIN, **options})


class Recording(ClassifierMixin, BaseEstimator):
    """Student that keeps what it is fitted on, and predicts shares."""

    def __init__(self, alpha=1.0, temperature=1.0):
        self.alpha, self.temperature = alpha, temperature

    def fit(self, X, y, sample_weight=None, soft_targets=None):
        self.X_, self.y_, self.soft_targets_ = X, y, soft_targets
        self.classes_ = np.arange(y.shape[1]) if y.ndim == 2 else np.unique(y)
        return self

    def predict_proba(self, X):
        return np.tile(np.asarray(self.soft_targets_).mean(axis=0), (len(X), 1))

    def predict(self, X):
        return (self.predict_proba(X) > 0.5).astype(int)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def labels_of(teacher, X, Y, **options):
    """Return the soft labels that a student gets, and the distiller."""
    model = distilled(teacher, Recording(), calibration=None, **options).fit(X, Y)
    return model.student_.soft_targets_, model


def present(proba):
    """Return the probability of each label from a list of arrays of both classes."""
    return np.column_stack([of_label[:, 1] for of_label in proba])


# Teachers


TEACHERS = {
    "tree": tree(),
    "neighbors": KNeighborsClassifier(),
    "multi-output": MultiOutputClassifier(LogisticRegression()),
    "chain": ClassifierChain(LogisticRegression(), random_state=0),
    "one-vs-rest": OneVsRestClassifier(LogisticRegression()),
    "pipeline": make_pipeline(StandardScaler(), tree()),
    "boosting": MultiOutputClassifier(HistGradientBoostingClassifier(max_iter=3)),
    "network": network(),
}


@pytest.mark.parametrize("name", TEACHERS)
def test_labels_are_those_of_fits_on_other_rows(name):
    X, Y = rows()
    cv = KFold(3)
    found, model = labels_of(TEACHERS[name], X, Y, cv=cv)
    for train, test in cv.split(X):
        proba = clone(TEACHERS[name]).fit(X[train], Y[train]).predict_proba(X[test])
        expected = present(proba) if isinstance(proba, list) else proba
        assert_allclose(found[test], expected, rtol=1e-7, atol=1e-12)
    assert model.label_source_ == "cv"
    assert_array_equal(model.label_temperature_, np.ones(N_LABELS))
    assert_array_equal(model.student_.y_, Y)


@pytest.mark.parametrize("teacher", [RidgeClassifier(), OneVsRestClassifier(LinearSVC())], ids=str)
def test_decision_values_are_calibrated_for_each_label(teacher):
    X, Y = rows(400)
    found, _ = labels_of(teacher, X, Y)
    assert ((found > 0) & (found < 1)).all()
    # Platt's sigmoid has the mean of its smoothed targets
    assert_allclose(found.mean(axis=0), Y.mean(axis=0), atol=0.01)
    assert roc_auc_score(Y, found) > 0.75


def test_out_of_bag_labels_of_a_forest():
    X, Y = rows()
    forest = RandomForestClassifier(100, min_samples_leaf=3, random_state=0)
    found, model = labels_of(forest, X, Y)
    assert model.label_source_ == "oob"
    assert_allclose(found, model.teacher_.oob_decision_function_[:, 1], rtol=1e-12)
    few = RandomForestClassifier(3, random_state=0)  # rows in all samples are cross-fitted
    found, model = labels_of(few, X, Y)
    own = model.teacher_.oob_decision_function_
    has_own = own.sum(axis=(1, 2)) > 0
    assert 0 < has_own.sum() < len(X)
    assert_allclose(found[has_own], own[has_own][:, 1], rtol=1e-12)
    assert (found[~has_own] > 0).any()


def test_a_constant_label_has_no_out_of_bag_labels():
    X, Y = rows()
    Y[:, 0] = 0
    found, model = labels_of(RandomForestClassifier(10, random_state=0), X, Y)
    assert model.label_source_ == "cv"
    assert not found[:, 0].any()


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("name", ["tree", "boosting"])
def test_a_teacher_that_saw_one_class_of_a_label(value, name):
    X, Y = rows()
    Y[:, 1] = value
    found, _ = labels_of(TEACHERS[name], X, Y)
    assert_allclose(found[:, 1], value, atol=1e-3)


def test_a_label_of_one_row_warns():
    X, Y = rows()
    Y[:, 1] = 0
    Y[7, 1] = 1
    with pytest.warns(MissingClassWarning, match=r"\[1\] have one distinct row with them"):
        labels_of(tree(), X, Y)


@pytest.mark.parametrize("teacher", [LogisticRegression(), LinearSVC()], ids=str)
def test_each_label_is_calibrated_as_a_problem_of_two_classes(teacher):
    X, Y = rows(400)
    cv = KFold(3)
    several = OneVsRestClassifier(teacher)
    model = distilled(several, Recording(), cv=cv).fit(X, Y)
    for k in range(N_LABELS):
        alone = distilled(teacher, Recording(), cv=cv).fit(X, Y[:, k])
        soft = np.asarray(alone.student_.soft_targets_)[:, 1]
        assert_allclose(model.student_.soft_targets_[:, k], soft, rtol=1e-6)
        assert_allclose(model.label_temperature_[k], alone.label_temperature_, rtol=1e-6)


def test_in_sample_labels_that_are_memorized_warn():
    X, Y = rows()
    with pytest.warns(InSampleLabelsWarning, match="mean distance from the hard labels is 0"):
        distilled(DecisionTreeClassifier(random_state=0), cv="in-sample").fit(X, Y)
    forest = RandomForestClassifier(50, random_state=0)
    with pytest.warns(InSampleLabelsWarning, match="Brier score"):
        distilled(forest, cv="in-sample").fit(X, Y)


def test_a_frozen_teacher_is_used_as_it_is():
    X, Y = rows()
    frozen = tree().fit(X, Y)
    found, model = labels_of(FrozenEstimator(frozen), X, Y)
    assert model.label_source_ == "frozen"
    assert_allclose(found, present(frozen.predict_proba(X)))
    for y, message in (
        (np.where(Y, "a", "b"), "knows the classes"),
        (Y[:, :2], "3 labels"),
        (Y[:, 0], "3 labels"),
    ):
        with pytest.raises(ValueError, match=message):
            distilled(FrozenEstimator(tree().fit(X, y))).fit(X, Y)
    with pytest.raises(ValueError, match="sum to one in each row"):
        distilled(FrozenEstimator(network().fit(X, Y[:, 0]))).fit(X, Y[:, :2])


# Students


def test_predictions_are_those_of_the_student():
    X, Y = rows()
    model = distilled().fit(X, Y)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        assert_array_equal(getattr(model, method)(X), getattr(model.student_, method)(X))
    assert model.multilabel_
    assert_array_equal(model.classes_, np.arange(N_LABELS))
    assert model.score(X, Y) == accuracy_score(Y, model.predict(X))
    small = model.without_teacher(keep_history=False)
    assert_array_equal(small.predict_proba(X), model.predict_proba(X))


def test_a_student_gets_the_loss_and_the_labels():
    X, Y = rows()
    model = distilled(alpha=0.3, temperature=2.0).fit(X, Y)
    labels, _ = labels_of(tree(), X, Y)
    options = {"calibration": None, "alpha": 0.3, "temperature": 2.0}
    model = distilled(**options).fit(X, Y)
    alone = network(alpha=0.3, temperature=2.0).fit(X, Y, soft_targets=labels)
    seeded = clone(model.student_).fit(X, Y, soft_targets=labels)
    assert_array_equal(model.predict_proba(X), seeded.predict_proba(X))
    assert alone.predict_proba(X).shape == seeded.predict_proba(X).shape


@pytest.mark.slow
def test_a_distilled_student_is_better_than_one_of_hard_labels():
    X, Y = make_multilabel_classification(2300, n_classes=4, n_labels=2, random_state=2)
    train, test = slice(300), slice(300, 2300)
    student = TwoLayerPGDClassifier(16, random_state=0)
    forest = RandomForestClassifier(100, min_samples_leaf=3, random_state=0)
    model = DistilledClassifier(forest, student, random_state=0).fit(X[train], Y[train])
    hard = clone(student).fit(X[train], Y[train])
    losses = [
        MultilabelTask(4).losses_of_labels(each.predict_proba(X[test]), Y[test], None).mean()
        for each in (model, hard)
    ]
    assert model.label_source_ == "oob"
    assert losses[0] < losses[1] - 0.01


def test_hard_labels_are_among_the_candidates():
    X, Y = rows()
    model = distilled(alpha="auto", augmentation="auto", temperature="auto")
    with pytest.warns(match="Hard labels are used"):
        model.fit(X, Y, soft_targets=np.full(Y.shape, 0.5))
    candidates = model.candidates_
    assert list(candidates["label_source"][:2]) == ["hard", "given"]
    assert np.isfinite(candidates["loss"]).all()
    assert model.label_source_ == "hard"


def test_transfer_rows_unlabeled_rows_and_groups():
    X, Y = rows()
    model = distilled(augmentation="munge", n_augmented=50, student=Recording())
    model.fit(X[:180], Y[:180], X_unlabeled=X[180:], groups=np.arange(180) // 3)
    soft = model.student_.soft_targets_
    assert soft.shape == (250, N_LABELS)
    assert_array_equal(model.student_.y_[180:], soft[180:] > 0.5)
    mixed = distilled(alpha=0.4, augmentation="munge", n_augmented=50, student=Recording())
    mixed.fit(X, Y)
    labels, _ = labels_of(tree(), X, Y)
    assert mixed.student_.alpha == 1.0  # transfer rows have their soft label alone
    assert mixed.student_.soft_targets_.shape == (250, N_LABELS)
    assert roc_auc_score(Y, mixed.student_.soft_targets_[:200]) > roc_auc_score(Y, labels)


def test_given_soft_targets_weights_and_validation_rows():
    X, Y = rows()
    soft = 0.8 * Y + 0.1
    weight = np.arange(200) % 3
    model = distilled(student=Recording()).fit(X, Y, weight, soft)
    assert_array_equal(model.student_.soft_targets_, soft[weight > 0])
    assert not hasattr(model, "teacher_")
    early = distilled(student=network(early_stopping=True)).fit(X, Y, X_val=X[:20], y_val=Y[:20])
    assert early.student_.validation_loss_curve_ is not None


def test_searches():
    X, Y = rows()
    grid = {"student__width": [2, 4], "alpha": [0.5, 1.0]}
    batched = BatchedGridSearchCV(distilled(), grid, cv=2).fit(X, Y)
    alone = GridSearchCV(distilled(), grid, cv=2).fit(X, Y)
    scores = [search.cv_results_["mean_test_score"] for search in (batched, alone)]
    assert_allclose(*scores, atol=1e-12)
    assert_array_equal(batched.predict(X), alone.predict(X))


def test_tags_say_whether_it_takes_several_labels():
    for model, expected in (
        (distilled(), True),
        (distilled(make_pipeline(StandardScaler(), tree())), True),
        (distilled(MultiOutputClassifier(LogisticRegression())), True),
        (DistilledClassifier(), False),
        (distilled(LogisticRegression()), False),
        (distilled(student=tree()), False),
        (distilled(student="auto"), False),
    ):
        assert get_tags(model).classifier_tags.multi_label == expected


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher": KernelTeacher()}, "the teacher KernelTeacher takes one label"),
        ({"teacher": LogisticRegression()}, "the teacher LogisticRegression takes one label"),
        ({"teacher": SelfDistillClassifier()}, "the teacher SelfDistillClassifier takes one label"),
        ({"student": tree()}, "TwoLayerPGDClassifier and ModuleClassifier are such students"),
        ({"student": KernelTeacher()}, "the student KernelTeacher cannot learn"),
        ({"student": "auto"}, "student='auto' compares students of one label"),
        ({"class_weight": "balanced"}, "class_weight='balanced' is about rows"),
        ({"class_prior": "uniform"}, "class_prior='uniform' is about rows"),
        ({"student": network(class_weight="balanced")}, "class_weight='balanced' of the student"),
        ({"alpha": 1.5, "augmentation": "munge"}, "cannot be combined with augmentation"),
    ],
    ids=str,
)
def test_errors_before_any_fit(options, message, monkeypatch):
    X, Y = rows()
    model = distilled(**{"teacher": KNeighborsClassifier(), **options})
    monkeypatch.setattr(type(model.teacher), "fit", _never)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y)


def _never(self, X, y):
    raise AssertionError("nothing may be fitted")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"soft_targets": np.ones((200, 2))}, r"the shape of y, \(200, 3\)"),
        ({"soft_targets": np.full((200, 3), 1.5)}, r"probabilities in \[0, 1\]"),
        ({"groups": np.zeros(200)}, "all rows are in one group"),
        ({"X_val": np.ones((9, 6)), "y_val": np.ones((9, 2))}, r"y_val has the shape \(9, 2\)"),
    ],
    ids=["shape", "range", "groups", "y_val"],
)
def test_errors_of_arguments(options, message):
    X, Y = rows()
    with pytest.raises(ValueError, match=message):
        distilled().fit(X, Y, **options)


def test_other_kinds_of_y():
    X, Y = rows()
    with pytest.raises(TypeError, match=r"pass y.toarray\(\)"):
        distilled().fit(X, sp.csr_array(Y))
    with pytest.raises(ValueError, match="y should be a 1d array"):
        distilled().fit(X, Y + 1)
    y, soft = pd.DataFrame(Y, columns=list("abc")), pd.DataFrame(Y * 0.5, columns=list("acb"))
    with pytest.raises(ValueError, match=r"pass soft_targets\[y.columns\]"):
        distilled().fit(X, y, soft_targets=soft)


def test_a_teacher_without_probabilities():
    X, Y = rows()
    with pytest.raises(TypeError, match="has neither predict_proba nor decision_function"):
        distilled(MultiOutputClassifier(LinearSVC())).fit(X, Y)


# The task


def test_losses_are_means_over_labels(rng):
    Y = rng.randint(2, size=(10, 3))
    P = rng.uniform(0.01, 0.99, size=(10, 3))
    losses = MultilabelTask(3)._losses_of_proba(P, Y)
    expected = -(Y * np.log(P) + (1 - Y) * np.log(1 - P)).mean(axis=1)
    assert_allclose(losses["log_loss"], expected)
    assert_allclose(losses["is_wrong"], ((P > 0.5) != Y).mean(axis=1))
    assert_allclose(MultilabelTask(3).squared_errors(P, Y), ((P - Y) ** 2).mean(axis=1))
