"""Teachers that are fitted already, and those that are no classifiers."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest, RandomForestClassifier, RandomForestRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import BatchedGridSearchCV, DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.exceptions import FittedTeacherWarning
from sklearn_kd.inspection import distillation_report, should_distill
from tests._helpers.distillation import fixed, three_classes

FITS = []


class CountsFits(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        FITS.append(len(y))
        return super().fit(X, y, sample_weight)


class Lazy(ClassifierMixin, BaseEstimator):
    """Classifier without a fit, whose attributes look fitted from the start."""

    def __init__(self, sign=1.0):
        self.sign = sign
        self.state_ = None

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


FITTED = LogisticRegression().fit(*three_classes())
TEACHERS = {
    "forest": RandomForestClassifier(5, random_state=0),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
    "search": GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2),
    "distiller": fixed(LogisticRegression(), LogisticRegression()),
}


@pytest.mark.parametrize("teacher", TEACHERS)
@pytest.mark.parametrize("random_state", [None, 0])
def test_a_fitted_teacher_is_named(teacher, random_state):
    X, y = three_classes()
    model = fixed(clone(TEACHERS[teacher]), LogisticRegression(), random_state=random_state)
    plain = clone(model).fit(X, y)
    model.teacher.fit(X, y)
    name = type(model.teacher).__name__
    with pytest.warns(FittedTeacherWarning, match=rf"teacher {name} is fitted.*FrozenEstimator"):
        model.fit(X, y)
    if random_state == 0:
        assert_array_equal(model.predict_proba(X), plain.predict_proba(X))


def test_the_warning_comes_before_the_first_fit():
    X, y = three_classes()
    teacher = CountsFits().fit(X, y)
    FITS.clear()
    with pytest.raises(FittedTeacherWarning):  # the tests turn warnings into errors
        DistilledClassifier(teacher, LogisticRegression()).fit(X, y)
    assert FITS == []


@pytest.mark.parametrize(
    "teacher",
    [
        FrozenEstimator(FITTED),
        make_pipeline(StandardScaler(), FrozenEstimator(FITTED)),
        Lazy(),
        LogisticRegression(),
        None,
    ],
    ids=["frozen", "frozen last step", "attributes of the constructor", "unfitted", "default"],
)
def test_other_teachers_are_silent(teacher):
    X, y = three_classes()
    fixed(teacher, LogisticRegression(), cv=3 if teacher is None else "auto").fit(X, y)


def test_clones_and_other_labels_are_silent():
    X, y = three_classes()
    fitted = LogisticRegression().fit(X, y)
    model = fixed(fitted, LogisticRegression())
    GridSearchCV(model, {"alpha": [0.5, 1.0]}, cv=2).fit(X, y)
    network = fixed(fitted, TwoLayerPGDClassifier(4, max_iter=20))
    BatchedGridSearchCV(network, {"student__width": [4]}, cv=2).fit(X, y)
    options = {"cv": 2, "n_seeds": 1, "n_latency": 1, "distiller": fixed(None, None)}
    distillation_report(fitted, LogisticRegression(), X, y, **options)
    should_distill(fitted, LogisticRegression(), X, y)
    model.fit(X, y, soft_targets=fitted.predict_proba(X))  # no teacher is fitted


@pytest.mark.parametrize(
    ("teacher", "kind"),
    [
        (Ridge(), "Ridge is a regressor"),
        (make_pipeline(StandardScaler(), RandomForestRegressor()), "Regressor is a regressor"),
        (GridSearchCV(Ridge(), {"alpha": [1.0]}), "GridSearchCV is a regressor"),
        (make_pipeline(StandardScaler(), GridSearchCV(make_pipeline(Ridge()), {})), "regressor"),
        (FrozenEstimator(Ridge().fit([[0.0], [1.0]], [0, 1])), "is a regressor"),
        (KMeans(), "KMeans is a clusterer"),
        (IsolationForest(), "IsolationForest is an outlier detector"),
        (GaussianMixture(), "GaussianMixture is a density estimator"),
        (make_pipeline(StandardScaler()), "StandardScaler is a transformer"),
    ],
)
def test_what_is_no_classifier_is_refused_before_any_fit(teacher, kind):
    X, y = three_classes()
    FITS.clear()
    refused = rf"the teacher .*{kind}.*give a classifier as teacher"
    with pytest.raises(TypeError, match=refused):
        DistilledClassifier(teacher, CountsFits()).fit(X, y)
    # a regressor as teacher makes them take numbers, so that the student is of the wrong kind
    refused += "|the student CountsFits is a classifier.*give a regressor"
    for judge in (should_distill, distillation_report):
        with pytest.raises(TypeError, match=refused):
            judge(teacher, CountsFits(), X, y)
    assert FITS == []


def test_a_regressor_of_another_package_is_refused():
    class Untagged:
        _estimator_type = "regressor"

        def get_params(self, deep=True):
            return {}

        def fit(self, X, y, sample_weight=None):
            FITS.append(len(y))
            return self

    X, y = three_classes()
    FITS.clear()
    for pair in ((Untagged(), LogisticRegression()), (LogisticRegression(), Untagged())):
        with pytest.raises(TypeError, match="Untagged is a regressor"):
            fixed(*pair).fit(X, y)
    assert FITS == []


def test_a_clusterer_is_no_student():
    with pytest.raises(TypeError, match="the student KMeans is a clusterer"):
        fixed(LogisticRegression(), KMeans()).fit(*three_classes())
