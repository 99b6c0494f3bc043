"""Pickles, clones, caches, and life inside scikit-learn's other tools."""

import copy
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    ModuleClassifier,
    SelfDistillClassifier,
    TwoLayerPGDClassifier,
)
from tests._helpers.data import FIXED, blobs, one_hot
from tests._helpers.estimators import fitted_names

# of clean labels, see _self_distillation
pytestmark = pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning")

STUDENT = {"width": 8, "max_iter": 40, "n_init": 1, "random_state": 0}


def student(**options):
    return TwoLayerPGDClassifier(**{**STUDENT, **options})


def normalized(input_shape, n_outputs):
    from torch import nn

    layers = nn.Linear(input_shape[0], 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, n_outputs)
    return nn.Sequential(*layers)


def module(**options):
    params = {"learning_rate": 0.05, "max_epochs": 40, "random_state": 0, **options}
    return ModuleClassifier(normalized, **params)


def fitted(kind, dtype=np.float64):
    X, y = blobs(n_classes=3, dtype=dtype)
    if kind == "student":
        return student().fit(X, y), X
    if kind == "module":
        return module().fit(X, y), X
    if kind == "partial module":
        return module().partial_fit(X, y, classes=[0, 1, 2]), X
    if kind == "partial":
        return student().partial_fit(X, y, classes=[0, 1, 2]), X
    if kind == "distilled":
        return DistilledClassifier(LogisticRegression(), student(), **FIXED).fit(X, y), X
    if kind == "self-distilled":
        return SelfDistillClassifier(student(early_stopping=False)).fit(X, y), X
    if kind == "two generations":
        return SelfDistillClassifier(student()).fit(X, y), X
    if kind == "self-distilled module":
        return SelfDistillClassifier(module(early_stopping=False), memory=0.5).fit(X, y), X
    return make_pipeline(StandardScaler(), student()).fit(X, y), X


KINDS = [
    *("student", "partial", "module", "partial module", "distilled", "pipeline"),
    *("self-distilled", "two generations", "self-distilled module"),
]


@pytest.mark.parametrize("kind", ["student", "distilled", "pipeline"])
def test_a_batched_search_is_kept_like_any_other(kind, tmp_path):
    model, X = fitted(kind)
    y = model.predict(X)
    name = {"student": "radius", "distilled": "student__radius"}.get(kind)
    grid = {name or "twolayerpgdclassifier__radius": [1.0, None]}
    for scoring in (None, "accuracy", ["accuracy", "neg_log_loss"]):
        search = BatchedGridSearchCV(
            model,
            grid,
            cv=2,
            scoring=scoring,
            refit="accuracy" if isinstance(scoring, list) else True,
        )
        search.fit(X, y)
        content = pickle.dumps(search)
        assert b"torch" not in content
        again = pickle.loads(content)
        np.testing.assert_array_equal(again.predict_proba(X), search.predict_proba(X))
        assert again.score(X, y) == search.score(X, y)
        assert type(again.best_estimator_) is type(model)
        assert not fitted_names(clone(search))
        assert clone(search).fit(X, y).best_params_ == search.best_params_
        joblib.dump(search, tmp_path / "search.joblib")
        again = joblib.load(tmp_path / "search.joblib", mmap_mode="r")
        np.testing.assert_array_equal(again.predict(X), search.predict(X))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_pickle_holds_no_torch_and_predicts_the_same(kind, dtype):
    model, X = fitted(kind, dtype)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        content = pickle.dumps(model, protocol=protocol)
        assert b"torch" not in content
        again = pickle.loads(content)
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_fitted_state_is_numpy():
    model, _ = fitted("student")
    plain = (np.ndarray, int, float, str, list, type(None))
    for part in (model, model.encoder_):
        for name in fitted_names(part) - {"encoder_"}:
            assert isinstance(getattr(part, name), plain), name
    for array in (model.hidden_weights_, model.initial_weights_, model.output_weights_):
        assert array.base is None  # no view of a larger buffer


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pickle_is_as_large_as_its_arrays(dtype):
    X = np.random.RandomState(0).normal(size=(60, 200)).astype(dtype)
    y = np.arange(60) % 3
    model = student(width=64, n_init=4, max_iter=3).fit(X, y)
    weights = model.hidden_weights_.nbytes + model.initial_weights_.nbytes
    weights += model.output_weights_.nbytes + model.input_offset_.nbytes + model.input_scale_.nbytes
    assert len(pickle.dumps(model)) <= 1.1 * weights + 3000


@pytest.mark.parametrize("kind", KINDS)
def test_joblib_memmap(kind, tmp_path):
    model, X = fitted(kind)
    joblib.dump(model, tmp_path / "model.joblib")
    again = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(again.predict(X[:1]), model.predict(X[:1]))
    if kind == "partial":  # weights in read-only memory are copied, not written to
        again.partial_fit(X, np.arange(len(X)) % 3)


@pytest.mark.parametrize("kind", KINDS)
def test_hash_is_stable_and_clone_is_unfitted(kind):
    model, X = fitted(kind)
    assert joblib.hash(model) == joblib.hash(copy.deepcopy(model))
    before = joblib.hash(model)
    model.predict_proba(X)
    assert joblib.hash(model) == before
    last = clone(model)
    last = last.steps[-1][1] if kind == "pipeline" else last
    assert not fitted_names(last)
    assert "_optimizer_state" not in vars(last)


class CountedScaler(TransformerMixin, BaseEstimator):
    n_fits = 0

    def fit(self, X, y=None):
        CountedScaler.n_fits += 1
        self.mean_ = X.mean(axis=0)
        return self

    def transform(self, X):
        return X - self.mean_


def test_pipeline_memory(tmp_path):
    X, y = blobs()
    CountedScaler.n_fits = 0
    # the student as a step that is cached: the last of an inner pipeline used for stacking
    pipeline = make_pipeline(CountedScaler(), student(), memory=str(tmp_path))
    first = pipeline.fit(X, y).predict_proba(X)
    second = clone(pipeline).fit(X, y).predict_proba(X)
    assert CountedScaler.n_fits == 1
    np.testing.assert_array_equal(first, second)
    cached = joblib.Memory(tmp_path / "fits", verbose=0).cache(_fit_once)
    _fit_once.calls = 0
    results = [cached(student(), X, y).predict_proba(X) for _ in range(2)]
    assert _fit_once.calls == 1
    np.testing.assert_array_equal(*results)


def _fit_once(model, X, y):
    _fit_once.calls += 1
    return model.fit(X, y)


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search_slices_soft_targets(n_jobs):
    X, y = blobs(n=90, n_classes=3, spread=3)
    soft = 0.8 * one_hot(y, 3) + 0.2 / 3
    frame = pd.DataFrame(soft, columns=[0, 1, 2])
    cv = StratifiedKFold(3)
    search = GridSearchCV(student(), {"alpha": [0.0, 1.0]}, cv=cv, n_jobs=n_jobs)
    search.fit(X, y, soft_targets=frame)
    for alpha, scores in zip(
        (0.0, 1.0),
        np.array([search.cv_results_[f"split{k}_test_score"] for k in range(3)]).T,
        strict=True,
    ):
        expected = [
            student(alpha=alpha)
            .fit(X[train], y[train], soft_targets=soft[train])
            .score(X[test], y[test])
            for train, test in cv.split(X, y)
        ]
        np.testing.assert_allclose(scores, expected)
    assert search.best_estimator_.predict_proba(X).shape == (90, 3)
    assert b"torch" not in pickle.dumps(search)


def test_soft_targets_are_routed():
    X, y = blobs(n=60)
    soft = 0.8 * one_hot(y, 2) + 0.1
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(StandardScaler(), student().set_fit_request(soft_targets=True))
        result = cross_validate(
            pipeline, X, y, cv=3, params={"soft_targets": soft}, return_estimator=True
        )
    for model, (train, _) in zip(result["estimator"], StratifiedKFold(3).split(X, y), strict=True):
        alone = make_pipeline(StandardScaler(), student())
        alone.fit(X[train], y[train], twolayerpgdclassifier__soft_targets=soft[train])
        np.testing.assert_array_equal(model.predict_proba(X), alone.predict_proba(X))


def test_a_fold_without_a_class_names_the_frame():
    X, y = blobs(n=40)
    y = np.r_[y[:-1], 2]
    soft = 0.8 * one_hot(y, 3) + 0.2 / 3
    with pytest.raises(ValueError, match=r"3 columns but there are 2 classes.*DataFrame"):
        student().fit(X[:-1], y[:-1], soft_targets=soft[:-1])
    frame = pd.DataFrame(soft, columns=[0, 1, 2])
    assert student().fit(X[:-1], y[:-1], soft_targets=frame[:-1]).classes_.tolist() == [0, 1, 2]


def test_cross_val_predict():
    X, y = blobs(n_classes=3)
    proba = cross_val_predict(student(), X, y, cv=3, method="predict_proba")
    expected = np.empty_like(proba)
    for train, test in StratifiedKFold(3).split(X, y):
        expected[test] = student().fit(X[train], y[train]).predict_proba(X[test])
    np.testing.assert_array_equal(proba, expected)
    decision = cross_val_predict(student(), X, y == 1, cv=3, method="decision_function")
    assert decision.shape == (len(X),)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_calibrated_classifier(dtype, method, n_classes):
    X, y = blobs(n=120, n_classes=n_classes, dtype=dtype)
    model = CalibratedClassifierCV(student(), method=method, cv=3).fit(X, y)
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    assert model.score(X, y) > 0.85


def test_stacking():
    X, y = blobs(n=120, n_classes=3)
    stack = StackingClassifier(
        [("narrow", student(width=4)), ("wide", make_pipeline(StandardScaler(), student()))],
        final_estimator=student(),
        cv=3,
    ).fit(X, y)
    assert stack.score(X, y) > 0.85
    assert b"torch" not in pickle.dumps(stack)


def test_string_labels_frames_and_scoring():
    X, y = blobs(n_classes=3)
    X = pd.DataFrame(X, columns=["a", "b", "c"])
    y = pd.Series(np.array(["x", "y", "z"])[y], dtype="category")
    model = student().fit(X, y)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert set(model.predict(X)) <= {"x", "y", "z"}
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X[["b", "a", "c"]])
    scores = cross_val_score(student(), X, y, scoring="roc_auc_ovr", cv=3)
    assert scores.min() > 0.9


def test_unpickling_a_self_distilled_network_loads_no_torch(tmp_path):
    model, X = fitted("self-distilled")
    joblib.dump(model, tmp_path / "model.joblib")
    np.save(tmp_path / "X.npy", X)
    code = """
import sys
import joblib, numpy as np
model, X = joblib.load(sys.argv[1] + "/model.joblib"), np.load(sys.argv[1] + "/X.npy")
model.predict(X), model.predict_log_proba(X), model.decision_function(X)
model.find_label_errors(X, model._training_labels_, cv="in-sample")
np.save(sys.argv[1] + "/proba.npy", model.predict_proba(X))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(tmp_path)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "proba.npy"), model.predict_proba(X))


def test_state_of_a_self_distilled_network_is_numpy():
    plain = (np.ndarray, int, float, str, list)
    for kind in ("self-distilled", "two generations", "self-distilled module"):
        model, _ = fitted(kind)
        networks = {"estimator_", "first_generation_"}
        state = {name: vars(model)[name] for name in fitted_names(model) - networks}
        assert "refined_targets_" in state
        for name, value in state.items():
            assert isinstance(value, plain), name


def test_a_batched_search_inside_other_tools():
    X, y = blobs(n=90, n_classes=3, spread=3)
    grid = {"width": [2, 4]}
    search = BatchedGridSearchCV(student(), grid, cv=2)
    plain = GridSearchCV(student(), grid, cv=2)
    scores = [cross_val_score(each, X, y, cv=3) for each in (search, plain)]
    np.testing.assert_allclose(*scores)
    outer = GridSearchCV(search, {"estimator__radius": [1.0, None]}, cv=2).fit(X, y)
    assert type(outer.best_estimator_.best_estimator_) is TwoLayerPGDClassifier
    ours, theirs = (
        DistilledClassifier(teacher, LogisticRegression(), cv=2, random_state=0).fit(X, y)
        for teacher in (search, plain)
    )
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
