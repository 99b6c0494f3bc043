"""What comes before the student is fitted once for each split and setting."""

import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import KernelCenterer, StandardScaler
from sklearn.random_projection import GaussianRandomProjection
from sklearn.tree import DecisionTreeClassifier

from tests._helpers.data import blobs
from tests._helpers.searches import assert_same_search, batched, distilled, student, table


class CountedTeacher(LogisticRegression):
    fits = []

    def fit(self, X, y, sample_weight=None):
        CountedTeacher.fits.append((len(X), self.C))
        return super().fit(X, y, sample_weight)


class CountedScaler(TransformerMixin, BaseEstimator):
    fits = []

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y=None):
        CountedScaler.fits.append((len(X), self.factor))
        self.mean_ = X.mean(axis=0)
        return self

    def transform(self, X):
        return (X - self.mean_) * self.factor


@pytest.fixture
def counts():
    CountedTeacher.fits.clear()
    CountedScaler.fits.clear()


@pytest.mark.usefixtures("counts")
def test_a_teacher_is_fitted_once_for_each_split_and_setting():
    X, y = table()
    model = distilled(CountedTeacher(), cv="in-sample", alpha=1.0)
    grid = {
        "alpha": [0.5, 1.0],
        "temperature": [1.0, 3.0],
        "student__width": [2, 4],
        "student__random_state": [0, 1],
    }
    batched(model, grid, cv=3, refit=False).fit(X, y)
    assert CountedTeacher.fits == [(60, 1.0)] * 3
    CountedTeacher.fits.clear()
    grid = {"teacher__C": [0.1, 1.0], "student__width": [2, 4, 6], "random_state": [0, 1]}
    batched(model, grid, cv=2, refit=False).fit(X, y)
    assert sorted(CountedTeacher.fits) == [(45, 0.1)] * 4 + [(45, 1.0)] * 4


@pytest.mark.usefixtures("counts")
def test_other_steps_are_fitted_once_for_each_split_and_setting():
    X, y = table()
    steps = Pipeline([("scale", CountedScaler()), ("net", student())])
    grid = {"scale__factor": [1.0, 2.0], "net__width": [2, 4], "net__radius": [1.0, None]}
    batched(steps, grid, cv=2, refit=False).fit(X, y)
    assert sorted(CountedScaler.fits) == [(45, 1.0)] * 2 + [(45, 2.0)] * 2


@pytest.mark.slow
def test_distilled_scores_are_those_of_grid_search():
    grid = [
        {"alpha": [0.0, 0.5, 1.0], "temperature": [0.5, 3.0], "student__width": [2, 4]},
        {"random_state": [0, 1], "teacher__C": [0.01, 1.0], "student__random_state": [None, 0]},
        {"teacher": [LogisticRegression(), DecisionTreeClassifier(max_depth=2, random_state=0)]},
        {"cv": [None, 2, "in-sample"], "student__alpha": [0.3]},
    ]
    assert_same_search(distilled(LogisticRegression(C=0.1)), grid, cv=2)


def test_unlabeled_rows_reach_the_students():
    more = blobs(40, 3, seed=5)[0]
    grid = {"alpha": [0.5, 1.0], "student__width": [2, 4]}
    search = assert_same_search(distilled(), grid, fit_params={"X_unlabeled": more}, cv=2)
    without = assert_same_search(distilled(), grid, cv=2)
    assert search.best_score_ != without.best_score_


@pytest.mark.parametrize(
    ("estimator", "grid"),
    [
        (
            Pipeline([("pca", PCA(2, random_state=0)), ("net", student())]),
            {"pca__n_components": [1, 2], "net__width": [2, 4], "pca": [PCA(2), "passthrough"]},
        ),
        (
            distilled(inner=Pipeline([("pca", PCA(2)), ("net", student())])),
            {"student__pca__n_components": [1, 2], "student__net__width": [2, 4]},
        ),
        (
            Pipeline([("scale", StandardScaler()), ("kd", distilled())]),
            {"kd__alpha": [0.5, 1.0], "kd__student__width": [2, 4], "kd__teacher__C": [0.1, 1]},
        ),
        (
            make_pipeline(make_pipeline(StandardScaler(), make_pipeline(PCA(2), student()))),
            {"pipeline__pipeline__twolayerpgdclassifier__width": [2, 4]},
        ),
        (  # which writes into its rows
            Pipeline([("scale", StandardScaler(copy=False)), ("net", student())]),
            {"scale__with_mean": [True, False], "scale__with_std": [True, False]},
        ),
    ],
)
def test_pipelines(estimator, grid):
    if "pca" in grid:
        grid = [grid | {"pca": [PCA(2)]}, {"pca": ["passthrough", PCA(1)], "net__width": [2, 4]}]
    assert_same_search(estimator, grid, cv=2)


def test_pipeline_memory(tmp_path):
    steps = [("scale", StandardScaler()), ("net", student())]
    assert_same_search(Pipeline(steps, memory=str(tmp_path)), {"net__width": [2, 4]})


@pytest.mark.slow
def test_steps_that_draw_after_the_student_get_their_own_seeds():
    steps = [("zproj", GaussianRandomProjection(2)), ("net", student())]
    assert_same_search(distilled(inner=Pipeline(steps)), {"student__net__width": [2, 4]})
    grid = {"student__random_state": [None, 0, 3], "student__width": [2, 4]}
    assert_same_search(distilled(), grid)


def test_pairwise_steps_get_square_parts():
    X, y = table()
    kernel = Pipeline([("center", KernelCenterer()), ("net", student())])
    assert_same_search(kernel, {"net__width": [2, 4]}, data=(X @ X.T, y))


def test_replaced_steps_are_what_is_named():
    X, y = table()
    pipeline = Pipeline([("c", StandardScaler()), ("n", student())])
    grid = {"c__with_mean": [True], "steps": [[("c", StandardScaler()), ("m", student())]]}
    with pytest.raises(ValueError, match="parameter steps cannot"):
        batched(pipeline, grid).fit(X, y)
