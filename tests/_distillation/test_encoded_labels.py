"""Teachers and students that take only the labels 0 to n_classes - 1, as those of XGBoost do."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import config_context
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import DistilledClassifier
from sklearn_kd.exceptions import MissingClassWarning, NoGainWarning
from sklearn_kd.inspection import FidelityDisplay, distillation_report, should_distill
from tests._helpers.distillation import fixed
from tests._helpers.third_party import CodesOnly, OtherPackage

X, CODES = load_iris(return_X_y=True)
LABELS = {
    "strings": np.array(["setosa", "versicolor", "virginica"]),
    "from 1": np.array([1, 2, 3]),
    "gap": np.array([0, 5, 10]),
}


class Seeded(CodesOnly):
    """Must have been given a seed."""

    def __init__(self, random_state=None):
        super().__init__()
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        assert self.random_state is not None
        return super().fit(X, y, sample_weight)


def tree():
    return DecisionTreeClassifier(max_depth=3, random_state=0)


def assert_same(model, plain):
    assert_array_equal(model.classes_, plain.classes_)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        assert_array_equal(getattr(model, method)(X), getattr(plain, method)(X))


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: make_pipeline(StandardScaler(), m)])
@pytest.mark.parametrize("role", ["teacher", "student", "both"])
def test_any_labels(labels, wrap, role):
    y = LABELS[labels][CODES]
    models = []
    for kind in (CodesOnly, OtherPackage):
        other = wrap(kind())
        pair = {"teacher": (other, tree()), "student": (tree(), other), "both": (other, other)}
        models.append(fixed(*pair[role], alpha=0.5).fit(X, y))
    assert_same(*models)
    if role != "student":
        teacher, plain = (model.teacher_ for model in models)
        assert_array_equal(teacher.predict(X), plain.predict(X))
        assert_array_equal(teacher.classes_, plain.classes_)
    assert (models[0].predict(X) == y).mean() > 0.95
    again = pickle.loads(pickle.dumps(models[0].without_teacher()))
    assert_same(again, models[1])


def test_defaults():
    y = LABELS["strings"][CODES]
    model = DistilledClassifier(CodesOnly(), CodesOnly(), random_state=0)
    with pytest.warns(NoGainWarning):
        model.fit(X, y)
    assert (model.predict(X) == y).mean() > 0.96


@pytest.mark.parametrize("labels", [np.array([0, 1, 2]), LABELS["strings"]])
def test_a_fold_that_lacks_a_class(labels):
    rows = np.r_[0:20, 50:51, 100:120]
    y = labels[CODES[rows]]
    cv = [(np.setdiff1d(np.arange(41), [20]), np.arange(21)), (np.arange(21), np.arange(21, 41))]
    models = []
    for kind in (CodesOnly, OtherPackage):
        model = fixed(kind(), tree(), cv=cv)
        with pytest.warns(MissingClassWarning):
            models.append(model.fit(X[rows], y))
    assert_same(*models)


def test_a_student_that_gets_no_row_of_a_class():
    # the frozen teacher knows the class 0, which y lacks and which it gives no probability
    teacher = FrozenEstimator(tree().fit(X, CODES))
    rows = CODES > 0
    models = [
        fixed(teacher, kind()).fit(X[rows], CODES[rows]) for kind in (CodesOnly, OtherPackage)
    ]
    assert_same(*models)
    assert_array_equal(models[0].classes_, [0, 1, 2])
    assert (models[0].predict_proba(X)[:, 0] == 0).all()


def test_a_frozen_teacher_is_left_alone():
    frozen = FrozenEstimator(CodesOnly().fit(X, CODES))
    plain = FrozenEstimator(OtherPackage().fit(X, CODES))
    assert_same(*(fixed(each, tree()).fit(X, CODES) for each in (frozen, plain)))
    with pytest.raises(ValueError, match="of different kinds, numbers and strings"):
        fixed(frozen, tree()).fit(X, LABELS["strings"][CODES])


@pytest.mark.slow
def test_searches_as_teachers_and_around():
    y = LABELS["from 1"][CODES]
    grid = {"labels": [None], "proba": [None]}
    models = [
        fixed(GridSearchCV(kind(), grid, cv=2), tree()).fit(X, y)
        for kind in (CodesOnly, OtherPackage)
    ]
    assert_same(*models)
    searches = [
        GridSearchCV(fixed(kind(), kind()), {"alpha": [0.5, 1.0]}, cv=2).fit(X, y)
        for kind in (CodesOnly, OtherPackage)
    ]
    scores = [search.cv_results_["mean_test_score"] for search in searches]
    assert_array_equal(*scores)
    assert scores[0].min() > 0.9


def test_own_labels_of_a_teacher_that_is_encoded():
    class Codes(RandomForestClassifier):
        def fit(self, X, y, sample_weight=None):
            CodesOnly().fit(X, y)
            return super().fit(X, y, sample_weight)

    y = LABELS["strings"][CODES]
    models = [
        fixed(kind(30, random_state=0), tree()).fit(X, y)
        for kind in (Codes, RandomForestClassifier)
    ]
    assert_same(*models)
    assert [model.label_source_ for model in models] == ["oob", "oob"]


def test_sample_weights_and_routing():
    y, w = LABELS["strings"][CODES], np.random.default_rng(0).uniform(0.5, 2, len(X))
    plain = fixed(OtherPackage(), OtherPackage(), class_weight="balanced").fit(X, y, w)
    assert_same(fixed(CodesOnly(), CodesOnly(), class_weight="balanced").fit(X, y, w), plain)
    with config_context(enable_metadata_routing=True):
        pair = [CodesOnly().set_fit_request(sample_weight=True) for _ in range(2)]
        student = make_pipeline(pair[1])
        model = fixed(pair[0], student, class_weight="balanced").fit(X, y, sample_weight=w)
        assert_same(model, plain)


@pytest.mark.slow
def test_inspection():
    y = LABELS["strings"][CODES]

    options = {"cv": 3, "n_seeds": 1, "n_latency": 1, "distiller": fixed(None, None)}
    student = make_pipeline(StandardScaler(), Seeded())
    report = distillation_report(Seeded(), student, X, y, **options)
    plain = make_pipeline(StandardScaler(), OtherPackage())
    expected = distillation_report(OtherPackage(), plain, X, y, **options)
    scores = ["accuracy", "log_loss", "agreement", "fidelity"]
    assert_array_equal(report.frame[scores], expected.frame[scores])
    advice = should_distill(CodesOnly(), CodesOnly(), X, y)
    expected = should_distill(OtherPackage(), OtherPackage(), X, y)
    assert_allclose(advice.gap, expected.gap)
    model = fixed(CodesOnly(), CodesOnly()).fit(X, y)
    display = FidelityDisplay.from_estimator(model, X, y)
    assert (display.frame["top_class"] == y).mean() > 0.95
