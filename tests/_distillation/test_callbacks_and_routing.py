"""Callbacks and metadata routing of DistilledClassifier."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.callback import CallbackSupportMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import DistilledClassifier, DistilledRegressor
from tests._helpers.distillation import distil, labels_of, three_classes
from tests._helpers.estimators import PropagatedRecorder, SoftmaxStudent


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_callbacks_reach_the_sub_estimators(in_pipeline):
    assert issubclass(LogisticRegression, CallbackSupportMixin)
    X, y = three_classes()
    part = LogisticRegression()
    student = make_pipeline(StandardScaler(), part) if in_pipeline else part
    model = distil(part, student, cv=3)
    recorder = PropagatedRecorder()
    model.set_callbacks(recorder).fit(X, y)
    merged = [source for name, source in recorder.begun if source is not None]
    assert merged == ["fit-teacher", "fit-student"]
    assert "_skl_callbacks" not in vars(model.teacher_)
    assert recorder.setups == 0


def test_routing_follows_the_requests():
    X, y = three_classes()
    w = np.linspace(0.1, 3, len(y))
    plain = distil(LogisticRegression(), LogisticRegression(), random_state=0)
    weighted = clone(plain).fit(X, y, sample_weight=w)
    with config_context(enable_metadata_routing=True):
        yes = LogisticRegression().set_fit_request(sample_weight=True)
        no = LogisticRegression().set_fit_request(sample_weight=False)
        model = clone(plain).set_params(teacher=yes, student=yes)
        np.testing.assert_array_equal(
            model.fit(X, y, sample_weight=w).predict_proba(X), weighted.predict_proba(X)
        )
        model = clone(plain).set_params(teacher=no, student=yes).fit(X, y, sample_weight=w)
        np.testing.assert_array_equal(model.teacher_.coef_, LogisticRegression().fit(X, y).coef_)
        model = clone(plain).set_params(teacher=yes, student=no).fit(X, y, sample_weight=w)
        labels = labels_of(
            LogisticRegression(),
            X,
            y,
            seed=int(np.random.RandomState(0).randint(2**31 - 1, size=2)[0]),
            fit_params={"sample_weight": w},
        )
        expected = clone(plain).fit(X, y, soft_targets=labels.values)
        np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X))
        with pytest.raises(ValueError, match="sample_weight"):  # asked for by nobody
            clone(plain).fit(X, y, sample_weight=w)
        clone(plain).fit(X, y)


def test_the_defaults_get_weights():
    X, y = three_classes(60)
    w = np.random.default_rng(0).exponential(size=60) ** 2
    model = distil(None, LogisticRegression(), random_state=0).fit(X, y, sample_weight=w)
    expected = model.predict_proba(X)
    with config_context(enable_metadata_routing=True):
        model.set_params(student=LogisticRegression().set_fit_request(sample_weight=True))
        model.fit(X, y, sample_weight=w)
        for default in (DistilledClassifier(), DistilledRegressor()):
            router = default.get_metadata_routing()
            for name in ("teacher", "student"):
                assert router._route_mappings[name].router.fit.requests["sample_weight"] is True
    np.testing.assert_array_equal(model.predict_proba(X), expected)


@pytest.mark.parametrize("last", [LogisticRegression(), SoftmaxStudent(l2=1e-3)])
def test_routing_into_pipelines(last):
    X, y = three_classes()
    w = np.linspace(0.1, 3, len(y))
    with config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        part = clone(last).set_fit_request(sample_weight=True)
        inner = clone(last).set_fit_request(sample_weight=True)
        model = distil(
            make_pipeline(scaler, LogisticRegression().set_fit_request(sample_weight=True)),
            make_pipeline(scaler, make_pipeline(part)),
            random_state=0,
        ).fit(X, y, sample_weight=w)
        Z = StandardScaler().fit(X, sample_weight=w)
        np.testing.assert_allclose(model.student_[0].mean_, Z.mean_)
        Q = model.student_[-1][-1]
        assert Q.classes_.shape == (3,)
        # without weights nothing needs to be requested
        model = distil(
            make_pipeline(StandardScaler(), LogisticRegression()),
            make_pipeline(StandardScaler(), make_pipeline(clone(last))),
        ).fit(X, y)
        assert model.score(X, y) > 0.6
        assert inner is not part


def test_groups_are_routed_to_the_splitter():
    X, y = three_classes()
    groups = np.arange(len(y)) % 7
    w = np.ones(len(y))
    w[::5] = 0
    with config_context(enable_metadata_routing=True):
        part = LogisticRegression().set_fit_request(sample_weight=True)
        model = distil(part, part, cv=GroupKFold(7))
        model.fit(X, y, sample_weight=w, groups=groups)
    keep = w > 0
    splits = list(GroupKFold(7).split(X[keep], y[keep], groups[keep]))
    expected = distil(LogisticRegression(), LogisticRegression(), cv=splits)
    expected.fit(X[keep], y[keep])
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X))


def test_more_rows_through_a_routed_pipeline():
    X, y = three_classes()
    more, _ = three_classes(40, seed=1)
    model = distil(LogisticRegression(), SoftmaxStudent(l2=1e-3), random_state=0)
    scaler = StandardScaler().fit(X)
    expected = clone(model).fit(scaler.transform(X), y, X_unlabeled=scaler.transform(more))
    with config_context(enable_metadata_routing=True):
        last = clone(model).set_fit_request(X_unlabeled=True, soft_targets=True)
        pipeline = make_pipeline(StandardScaler(), last, transform_input=["X_unlabeled"])
        pipeline.fit(X, y, X_unlabeled=more)
        np.testing.assert_allclose(
            pipeline.predict_proba(X), expected.predict_proba(scaler.transform(X)), rtol=1e-9
        )
        Q = LogisticRegression().fit(X, y).predict_proba(X)
        # a student that could take soft_targets itself does not stand in their way
        pipeline.fit(X, y, soft_targets=Q)
    np.testing.assert_allclose(pipeline[-1].student_.received_, Q, rtol=1e-12)


class WithOffset(LogisticRegression):
    """A student that takes a value for each row."""

    def fit(self, X, y, sample_weight=None, offset=None):
        assert len(offset) == len(X)
        return super().fit(X, y, sample_weight)


def test_metadata_of_each_row_do_not_go_with_other_rows():
    X, y = three_classes(120)
    with config_context(enable_metadata_routing=True):
        student = WithOffset().set_fit_request(sample_weight=True, offset=True)
        model = distil(LogisticRegression(), student)
        model.fit(X, y, offset=np.arange(120))
        with pytest.raises(ValueError, match=r"requests the metadata \['offset'\], which have a"):
            model.fit(X, y, X_unlabeled=X[:9], offset=np.arange(120))
        model.set_params(augmentation="gibbs", n_augmented=20)
        with pytest.raises(ValueError, match="leave X_unlabeled out and set augmentation=None"):
            model.fit(X, y, offset=np.arange(120))
        # "auto" tries none
        model.set_params(augmentation="auto", n_augmented="auto").fit(X, y, offset=np.arange(120))
        assert model.candidates_ is None
