"""SelfDistillClassifier as an estimator: attributes, inputs, persistence and errors."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import DistilledClassifier, SelfDistillClassifier, TwoLayerPGDClassifier
from tests._helpers.estimators import fitted_names
from tests._helpers.self_distillation import FORMS, cheap, module, noisy_blobs

# these have tests of their own; here labels are often clean, or rows few
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning"),
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_fitted_attributes(form, n_classes, dtype):
    X, y, _ = noisy_blobs(n_classes=n_classes, dtype=dtype)
    unfitted = FORMS[form]
    inside = dict(vars(unfitted.estimator))
    model = clone(unfitted)
    estimator = model.estimator
    assert model.fit(X, y) is model
    assert model.classes_.tolist() == list(range(n_classes))
    assert model.refined_targets_.shape == (90, n_classes)
    assert_allclose(model.refined_targets_.sum(axis=1), 1, atol=1e-6)
    assert model.refined_targets_.min() >= 0
    assert model.refined_targets_.max() <= 1
    assert model.label_quality_.shape == (90,)
    assert model.label_quality_.dtype == model.refined_targets_.dtype == np.float64
    assert model.label_quality_.min() >= 0
    assert model.label_quality_.max() <= 1
    assert model.weight_curve_.shape == (model.n_iter_,)
    assert model.weight_curve_.min() >= 0
    assert model.weight_curve_.max() <= 1
    assert model.weight_curve_.max() > 0.3
    assert len(model.loss_curve_) == model.n_iter_ == model.estimator_.n_iter_
    assert np.isfinite(model.loss_curve_).all()
    assert model.termination_condition_ in ("max_iter", "max_epochs", "early_stopping")
    assert 0 <= model.noise_rate_ <= 1
    assert model.n_features_in_ == 3
    assert not hasattr(model, "feature_names_in_")
    # the answers are those of the network
    assert type(model.estimator_) is type(estimator)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        answer = getattr(model, method)(X)
        assert_array_equal(answer, getattr(model.estimator_, method)(X))
        assert len(answer) == 90
    assert model.predict_proba(X).dtype == dtype
    # what was passed is as it was
    assert model.estimator is estimator
    assert not fitted_names(estimator)
    assert dict(vars(unfitted.estimator)) == inside
    assert type(model.weight_curve_) is type(model.label_quality_) is np.ndarray
    for array in (model.weight_curve_, model.refined_targets_):
        assert np.isfinite(array).all()


@pytest.mark.parametrize("form", ["default", "soft", "module"])
def test_refined_targets_teach_any_student(form):
    X, y, clean = noisy_blobs()
    Q = clone(FORMS[form]).fit(X, y).refined_targets_
    assert (Q.argmax(axis=1) == clean).mean() > (y == clean).mean() + 0.1
    student = cheap().fit(X, y, soft_targets=Q)
    assert student.score(X, clean) > 0.9
    for student in (cheap(), LogisticRegression()):
        distilled = DistilledClassifier(LogisticRegression(), student, random_state=0)
        assert distilled.fit(X, y, soft_targets=Q).score(X, clean) > 0.9
        assert distilled.label_source_ == "given"


@pytest.mark.parametrize("form", FORMS)
def test_pickles_and_clones(form):
    X, y, _ = noisy_blobs()
    model = clone(FORMS[form]).fit(X, y)
    content = pickle.dumps(model)
    assert b"torch" not in content
    for other in (pickle.loads(content), copy.deepcopy(model)):
        assert_array_equal(other.predict_proba(X), model.predict_proba(X))
        assert_array_equal(other.refined_targets_, model.refined_targets_)
        assert other.find_label_errors(X, y, cv="in-sample").equals(
            model.find_label_errors(X, y, cv="in-sample")
        )
    unfitted = clone(model)
    assert not fitted_names(unfitted)
    assert "_training_labels_" not in vars(unfitted)
    assert unfitted.get_params(deep=False).keys() == model.get_params(deep=False).keys()
    # the same seed, the same bits
    again = unfitted.fit(X, y)
    assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert_array_equal(again.label_quality_, model.label_quality_)
    assert_array_equal(again.weight_curve_, model.weight_curve_)


def test_random_state():
    X, y, _ = noisy_blobs()
    loose = cheap(random_state=None)

    def proba(estimator=loose, **options):
        return SelfDistillClassifier(estimator, **options).fit(X, y).predict_proba(X)

    assert_array_equal(proba(random_state=0), proba(random_state=0))
    assert not np.array_equal(proba(random_state=0), proba(random_state=1))
    assert not np.array_equal(proba(), proba())
    generators = [np.random.RandomState(3), np.random.RandomState(3)]
    assert_array_equal(*(proba(random_state=each) for each in generators))
    # a seed of the network's own stays
    assert_array_equal(proba(cheap(), random_state=0), proba(cheap(), random_state=1))
    assert loose.random_state is None
    state = np.random.get_state()[1].copy(), torch.get_rng_state()
    proba(random_state=0)
    assert_array_equal(np.random.get_state()[1], state[0])
    assert torch.equal(torch.get_rng_state(), state[1])


def test_the_default_network():
    X, y, clean = noisy_blobs(n=40)
    model = SelfDistillClassifier(random_state=0).fit(X, y)
    assert type(model.estimator_) is TwoLayerPGDClassifier
    assert model.estimator_.width == 256
    assert model.estimator is None
    assert model.score(X, clean) > 0.9


@pytest.mark.parametrize(("n_rows", "width"), [(4999, 256), (5000, 512), (20_000, 1024)])
def test_the_default_network_is_wider_for_more_rows(n_rows, width):
    assert SelfDistillClassifier()._network_to_train(n_rows).width == width


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], ["a", "b", "c"], [7, 2, 5]])
@pytest.mark.parametrize("form", ["default", "last step", "module"])
def test_labels_of_any_kind(form, labels):
    X, y, _ = noisy_blobs(n_classes=len(labels))
    order = np.argsort(labels)
    named = np.array(labels)[order][y]
    model, plain = clone(FORMS[form]).fit(X, named), clone(FORMS[form]).fit(X, y)
    assert_array_equal(model.classes_, np.sort(labels))
    assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
    assert_array_equal(model.refined_targets_, plain.refined_targets_)
    assert_array_equal(model.label_quality_, plain.label_quality_)
    assert model.predict(X).dtype == named.dtype
    assert model.score(X, named) > 0.7
    errors = model.set_params(random_state=0).find_label_errors(X, named, cv=2)
    assert_array_equal(errors.given_label, named[errors.row])
    assert set(errors.suggested_label) <= set(labels)
    series = pd.Series(named, index=np.arange(90)[::-1])
    of_series = clone(model).find_label_errors(X, series, cv=2)
    assert of_series.reset_index(drop=True).equals(errors)
    assert_array_equal(of_series.index, series.index[errors.row])
    assert model.find_label_errors(X, series, cv="in-sample").row.is_unique
    assert clone(model).fit(X, list(named)).predict(X[:1]) == model.predict(X[:1])


def test_frames():
    X, y, _ = noisy_blobs()
    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(90) * 3)
    for form in ("default", "last step"):
        model = clone(FORMS[form]).fit(frame, y)
        assert model.feature_names_in_.tolist() == ["a", "b", "c"]
        plain = clone(model).fit(X, y)
        assert_allclose(model.predict_proba(frame), plain.predict_proba(X), atol=1e-12)
        assert_allclose(model.label_quality_, plain.label_quality_, atol=1e-12)
        with pytest.raises(ValueError, match="feature names"):
            model.predict(frame[["b", "a", "c"]])
        errors = model.set_params(random_state=0).find_label_errors(frame, y, cv=3)
        assert sorted(errors.row) == list(range(90))  # positions, not labels of the index
        plain = clone(model).find_label_errors(X, y, cv=3)
        assert_allclose(errors.label_quality, plain.label_quality, atol=1e-12)
        model.find_label_errors(frame, y, cv="in-sample")


def test_nothing_is_written_to():
    X, y, _ = noisy_blobs()
    w = np.random.RandomState(0).uniform(0.5, 2, 90)
    before = X.copy(), y.copy(), w.copy()
    for array in (X, y, w):
        array.flags.writeable = False
    for form in FORMS:
        model = clone(FORMS[form]).fit(X, y, sample_weight=w)
        model.predict_proba(X)
        model.find_label_errors(X, y, cv="in-sample")
    clone(FORMS["last step"]).find_label_errors(X, y, cv=2, sample_weight=w)
    for array, copied in zip((X, y, w), before, strict=True):
        assert_array_equal(array, copied)


def test_labels_that_are_kept_are_those_of_fit():
    """Whatever is done to y afterwards."""
    X, y, _ = noisy_blobs()
    labels = y.copy()
    model = clone(FORMS["last step"]).fit(X, labels)
    labels[:] = 0
    model.find_label_errors(X, y, cv="in-sample")
    with pytest.raises(ValueError, match="not those labels"):
        model.find_label_errors(X, labels, cv="in-sample")


def test_searches_and_pipelines():
    X, y, clean = noisy_blobs(n=120)
    model = SelfDistillClassifier(cheap())
    grid = {"strength": [0.0, 1.0], "estimator__width": [4, 16]}
    search = GridSearchCV(model, grid, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.estimator_.width in (4, 16)
    assert search.predict_proba(X).shape == (120, 3)
    assert model.estimator.width == 16
    pipeline = make_pipeline(StandardScaler(), SelfDistillClassifier(cheap()))
    pipeline.fit(X, y)
    assert pipeline.score(X, clean) > 0.9
    pipeline.fit(X, y, selfdistillclassifier__sample_weight=np.where(clean == y, 1.0, 0.1))
    assert pipeline.score(X, clean) > 0.9
    assert cross_val_score(model, X, clean, cv=2).min() > 0.9


def test_bad_data_leaves_a_fit_whole():
    X, y, _ = noisy_blobs()
    model = clone(FORMS["last step"]).fit(X, y)
    state = dict(vars(model))
    for bad_X, bad_y, weight in [
        (X * np.nan, y, None),
        (X[:50], y, None),
        (X, np.zeros(90), None),
        (X, y, np.full(90, -1.0)),
        (X, y + 0.5, None),
    ]:
        with pytest.raises(
            ValueError, match=r"NaN|inconsistent|at least 2 classes|[Nn]egative|label"
        ):
            model.fit(bad_X, bad_y, sample_weight=weight)
        assert all(vars(model)[name] is value for name, value in state.items())
        assert vars(model).keys() == state.keys()


# Errors


class NoFit(BaseEstimator):
    pass


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(),
        make_pipeline(StandardScaler(), TwoLayerPGDClassifier()),
        DistilledClassifier(),
        SelfDistillClassifier(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_other_estimators_are_refused(estimator):
    X, y, _ = noisy_blobs()
    model = SelfDistillClassifier(estimator)
    message = "must be a TwoLayerPGDClassifier or a ModuleClassifier, got a .*Put the steps of a"
    for call in (model.fit, model.find_label_errors):
        with pytest.raises(TypeError, match=message):
            call(X, y)
    assert not fitted_names(model)


@pytest.mark.parametrize(
    "options",
    [
        {"estimator": NoFit()},
        {"estimator": "network"},
        {"target": "sharp"},
        {"target_temperature": 0},
        {"target_temperature": -1.0},
        {"strength": -0.1},
        {"strength": "much"},
        {"schedule": "prior"},
        {"schedule": None},
        {"memory": 0.0},
        {"memory": 1.0},
        {"memory": 1},
        {"memory": "next-epoch"},
        {"warm_up": 1.0},
        {"warm_up": -0.1},
        {"random_state": "seed"},
        {"verbose": "loud"},
    ],
    ids=str,
)
def test_bad_parameters(options):
    X, y, _ = noisy_blobs()
    name = next(iter(options))
    with pytest.raises(ValueError, match=f"The '{name}' parameter of SelfDistillClassifier"):
        SelfDistillClassifier(**{"estimator": cheap(max_iter=2), **options}).fit(X, y)


def test_bad_parameters_of_the_network():
    X, y, _ = noisy_blobs()
    with pytest.raises(ValueError, match="The 'width' parameter of TwoLayerPGDClassifier"):
        SelfDistillClassifier(cheap(width=0)).fit(X, y)
    with pytest.raises(ValueError, match="width must be even"):
        SelfDistillClassifier(cheap(width=5)).fit(X, y)


def test_a_schedule_by_the_step_does_not_go_with_fixed_targets():
    X, y, _ = noisy_blobs()
    model = SelfDistillClassifier(cheap(), schedule="annealed", memory="previous-generation")
    with pytest.raises(ValueError, match=r"annealed.*set another memory or schedule"):
        model.fit(X, y)
    assert not fitted_names(model)


def test_checkpoints_are_refused_where_labels_change(tmp_path):
    X, y, _ = noisy_blobs()
    student = module(max_epochs=3, checkpoint_path=tmp_path / "fit.pt")
    with pytest.raises(ValueError, match="checkpoint_path cannot be used"):
        SelfDistillClassifier(student, memory=None).fit(X, y)
    assert not list(tmp_path.iterdir())
