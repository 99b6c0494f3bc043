"""DistilledClassifier inside scikit-learn's searches, ensembles and caches."""

import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    PredefinedSplit,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    SelfDistillClassifier,
    TwoLayerPGDClassifier,
)
from tests._helpers.data import FIXED
from tests._helpers.distillation import three_classes
from tests._helpers.estimators import SoftmaxStudent


def distilled(**params):
    params = {**FIXED, "random_state": 0, **params}
    return DistilledClassifier(LogisticRegression(), SoftmaxStudent(l2=1e-3), **params)


@pytest.mark.slow
@pytest.mark.parametrize("labeled", [False, True])
def test_grid_search_slices_soft_targets(labeled):
    X, y = three_classes(names=["a", "b", "c"])
    Q = LogisticRegression().fit(X, y).predict_proba(X)
    given = pd.DataFrame(Q, columns=["a", "b", "c"]) if labeled else Q
    cv = StratifiedKFold(3)
    grid = {"student__l2": [1e-3, 1.0], "temperature": [1.0, 2.0]}
    search = GridSearchCV(distilled(), grid, cv=cv, n_jobs=2, scoring="neg_log_loss")
    search.fit(X, y, soft_targets=given)
    results = search.cv_results_
    for candidate, params in enumerate(results["params"]):
        for fold, (train, test) in enumerate(cv.split(X, y)):
            model = distilled().set_params(**params)
            model.fit(X[train], y[train], soft_targets=Q[train])
            proba = model.predict_proba(X[test])[
                np.arange(len(test)), np.searchsorted(["a", "b", "c"], y[test])
            ]
            assert results[f"split{fold}_test_score"][candidate] == pytest.approx(
                np.log(proba).mean(), rel=1e-5
            )
    assert search.best_estimator_.label_source_ == "given"


def test_grid_search_over_nested_parameters_with_loky():
    X, y = three_classes()
    grid = {"student__max_depth": [1, 4], "teacher__n_estimators": [5, 20]}
    model = DistilledClassifier(
        RandomForestClassifier(random_state=0), DecisionTreeClassifier(random_state=0), **FIXED
    )
    with joblib.parallel_config("loky"):
        search = GridSearchCV(model, grid, cv=3, n_jobs=2).fit(X, y)
    assert search.best_params_["student__max_depth"] == 4
    assert search.best_estimator_.label_source_ == "oob"


def test_search_in_a_routed_pipeline():
    X, y = three_classes()
    w = np.linspace(0.5, 2, len(y))
    Q = LogisticRegression().fit(X, y).predict_proba(X)
    with config_context(enable_metadata_routing=True):
        model = (
            DistilledClassifier(
                LogisticRegression().set_fit_request(sample_weight=True),
                SoftmaxStudent(l2=1e-3).set_fit_request(sample_weight=True),
            )
            .set_fit_request(soft_targets=True, sample_weight=True)
            .set_score_request(sample_weight=True)
        )
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        search = GridSearchCV(pipeline, {"distilledclassifier__alpha": [0.5, 1.0]}, cv=3)
        search.fit(X, y, soft_targets=Q, sample_weight=w)
    assert search.best_estimator_[-1].label_source_ == "given"
    assert search.score(X, y) > 0.6


def test_cross_validation_and_ensembles():
    X, y = three_classes(names=["a", "b", "c"])
    proba = cross_val_predict(distilled(), X, y, cv=3, method="predict_proba")
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert cross_val_score(distilled(), X, y, cv=3, n_jobs=2).mean() > 0.6
    for whole in (
        CalibratedClassifierCV(distilled(), cv=3),
        CalibratedClassifierCV(distilled(), cv=3, method="temperature"),
        StackingClassifier([("one", distilled()), ("two", distilled(alpha=0.5))], cv=3),
        VotingClassifier(
            [("one", distilled()), ("two", distilled(temperature=2.0))], voting="soft"
        ),
    ):
        assert whole.fit(X, y).score(X, y) > 0.6
        assert whole.predict_proba(X).shape == (len(X), 3)


def test_cached_pipeline(tmp_path):
    X, y = three_classes()
    plain = make_pipeline(StandardScaler(), distilled()).fit(X, y)
    for _ in range(2):
        cached = make_pipeline(StandardScaler(), distilled(), memory=str(tmp_path)).fit(X, y)
        np.testing.assert_allclose(cached.predict_proba(X), plain.predict_proba(X), rtol=1e-12)
    # a cache inside teacher and student: their steps are then clones
    part = make_pipeline(StandardScaler(), LogisticRegression(), memory=str(tmp_path))
    model = DistilledClassifier(clone(part), clone(part), **FIXED, random_state=0).fit(X, y)
    part.set_params(memory=None)
    expected = DistilledClassifier(clone(part), clone(part), **FIXED, random_state=0).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X), rtol=1e-12)


def test_memmaps(tmp_path):
    X, y = three_classes()
    model = distilled().fit(X, y)
    for name, value in (("X", X), ("y", y), ("model", model)):
        joblib.dump(value, tmp_path / name)
    X2, y2, model2 = (joblib.load(tmp_path / name, mmap_mode="r") for name in ("X", "y", "model"))
    np.testing.assert_array_equal(model2.predict_proba(X2), model.predict_proba(X))
    np.testing.assert_array_equal(distilled().fit(X2, y2).predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize(
    ("model", "grid"),
    [
        (DistilledClassifier(LogisticRegression(), **FIXED), {"student__width": [2, 4]}),
        (DistilledClassifier(None, SoftmaxStudent(), **FIXED), {"teacher__ridge": [0.1, 1.0]}),
        (SelfDistillClassifier(), {"estimator__width": [2, 4], "estimator__max_iter": [3]}),
        (
            make_pipeline(StandardScaler(), DistilledClassifier(LogisticRegression(), **FIXED)),
            {"distilledclassifier__student__width": [2, 4]},
        ),
    ],
)
def test_grids_over_parameters_of_default_estimators(model, grid):
    X, y = three_classes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # short trainings
        search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, y)
    name = next(iter(grid))
    assert search.best_estimator_.get_params()[name] == search.best_params_[name]
    assert model.get_params().get(name) is None  # the estimator given is left alone


def test_batched_grids_over_parameters_of_default_estimators():
    X, y = three_classes()
    model = DistilledClassifier(None, **FIXED, random_state=0)
    grid = {"student__width": [2, 4], "student__max_iter": [3], "teacher__ridge": [0.1]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # short trainings
        batched = BatchedGridSearchCV(model, grid, cv=2).fit(X, y)
    assert batched.best_estimator_.teacher_.ridge == 0.1
    assert batched.best_estimator_.student_.max_iter == 3


def test_explicit_splits_inside_a_cross_validation_are_an_error_that_names_a_splitter():
    X, y = three_classes()
    splits = list(StratifiedKFold(3).split(X, y))
    masks = [tuple(np.isin(np.arange(len(y)), part) for part in split) for split in splits]
    predefined = PredefinedSplit(np.arange(len(y)) % 3)
    for cv in (splits, masks, predefined):
        with pytest.raises(ValueError, match=r"cv (names row|has a mask).*set cv to a splitter"):
            cross_val_score(distilled(cv=cv), X, y, cv=2, error_score="raise")
        with pytest.raises(ValueError, match=r"cv (names row|has a mask).*set cv to a splitter"):
            BatchedGridSearchCV(TwoLayerPGDClassifier(), {"width": [2]}, cv=cv).fit(X[:9], y[:9])
