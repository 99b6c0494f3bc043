"""partial_fit and warm_up of DistilledClassifier, whose frozen teacher labels batches."""

import copy
import pickle
import threading

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sklearn_kd import DistilledClassifier, ModuleClassifier, TableEncoder, TwoLayerPGDClassifier
from sklearn_kd.exceptions import MissingClassWarning
from sklearn_kd.modules import MLP
from tests._helpers.estimators import Recorder, fitted_names

STUDENTS = [
    TwoLayerPGDClassifier(8),
    ModuleClassifier(MLP, module_params={"width": 8}, encoder="auto", learning_rate=0.01),
]


@pytest.fixture(scope="module")
def rows():
    """A table, its labels and a frozen teacher that reads it."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(3000, 2)), columns=["a", "b"])
    y = np.where(X["a"] + X["b"] > 0, "yes", "no")
    return X, y, FrozenEstimator(LogisticRegression().fit(X[:500], y[:500]))


@pytest.mark.parametrize("student", STUDENTS, ids=["two-layer", "module"])
def test_batches_without_labels_teach_the_student(rows, student):
    X, y, teacher = rows
    model = DistilledClassifier(teacher, student, random_state=0).warm_up(X)
    own = clone(model).warm_up(X)._warm_student  # with the same seed
    for _ in range(3):
        for start in range(0, len(X), 500):
            batch = X[start : start + 500]
            model.partial_fit(batch)
            soft = pd.DataFrame(teacher.predict_proba(batch), columns=["no", "yes"])
            own.partial_fit(batch, soft_targets=soft)
    np.testing.assert_array_equal(model.predict_proba(X), own.predict_proba(X))
    assert model.score(X, y) > 0.97
    assert model.label_source_ == "frozen"
    assert (model.alpha_, model.temperature_) == (1.0, 1.0)
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.n_features_in_ == 2
    small = pickle.loads(pickle.dumps(model)).without_teacher()
    np.testing.assert_array_equal(small.predict(X), model.predict(X))
    assert not hasattr(small, "partial_fit")


def test_labels_classes_and_soft_targets_of_the_user(rows):
    X, y, teacher = rows
    named = np.array(["maybe", "no", "yes"])
    P = np.full((len(X), 3), 0.1)
    P[:, 0] = 0.8
    base = DistilledClassifier(teacher, TwoLayerPGDClassifier(8), random_state=0)
    model = clone(base)
    for _ in range(20):
        model.partial_fit(X, soft_targets=pd.DataFrame(P, columns=named))
    assert model.classes_.tolist() == named.tolist()
    assert model.label_source_ == "given"
    np.testing.assert_allclose(model.predict_proba(X).mean(axis=0), P[0], atol=0.05)
    with pytest.warns(MissingClassWarning, match="maybe"):
        other = clone(base).partial_fit(X, classes=["maybe"])
    assert other.classes_.tolist() == named.tolist()
    # hard labels count where alpha is below one
    flipped = np.where(y == "yes", "no", "yes")
    mixed = clone(base).set_params(alpha=0.0)
    for _ in range(10):
        mixed.partial_fit(X, flipped)
    assert mixed.score(X, flipped) > 0.9


def test_training_continues_after_fit(rows):
    X, y, teacher = rows
    fixed = {"alpha": 0.5, "temperature": 1.0, "augmentation": None}
    student = TwoLayerPGDClassifier(8, max_iter=2)
    model = DistilledClassifier(teacher, student, random_state=0, **fixed).fit(X[:500], y[:500])
    before, scale = model.student_, model.student_.input_scale_
    weights = before.hidden_weights_.copy()
    model.partial_fit(X, y)
    assert (model.student_.hidden_weights_ != weights).any()
    np.testing.assert_array_equal(before.hidden_weights_, weights)  # it was copied
    np.testing.assert_array_equal(model.student_.input_scale_, scale)
    with pytest.raises(ValueError, match="call warm_up before the first partial_fit"):
        model.warm_up(X)


def test_partial_fit_needs_a_frozen_teacher(rows):
    X, _, teacher = rows
    for estimator in (None, LogisticRegression(), teacher.estimator):
        model = DistilledClassifier(estimator)
        assert not hasattr(model, "partial_fit")
        assert not hasattr(model, "warm_up")
        with pytest.raises(AttributeError) as caught:
            model.partial_fit(X)
        assert "FrozenEstimator(teacher)" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"class_weight": "balanced"}, ValueError, "needs all rows at once.*class_weight=None"),
        ({"class_prior": np.array([0.5, 0.5])}, ValueError, "needs all rows at once"),
        ({"class_prior": "uniform"}, ValueError, "needs all rows at once.*class_prior=None"),
        ({"augmentation": "gibbs"}, ValueError, "needs all rows at once.*augmentation=None"),
        ({"student": "auto"}, ValueError, "holds none out: set student=None"),
        ({"student": SGDClassifier(loss="log_loss")}, TypeError, "takes soft_targets, such as"),
        ({"alpha": 0.5}, ValueError, "alpha=0.5 gives y the weight"),
    ],
    ids=str,
)
def test_parameters_that_a_stream_excludes(rows, params, error, message):
    X, _, teacher = rows
    model = DistilledClassifier(teacher, **{"student": TwoLayerPGDClassifier(8), **params})
    with pytest.raises(error, match=message):
        model.partial_fit(X)
    assert not fitted_names(model)


def test_a_failing_batch_changes_nothing(rows):
    X, y, teacher = rows
    model = DistilledClassifier(teacher, TwoLayerPGDClassifier(8), random_state=0).partial_fit(X)
    before = model.predict_proba(X)
    for wrong, options, message in (
        (X[["a"]], {}, "feature"),
        (X, {"soft_targets": np.full((len(X), 3), 1 / 3)}, "a column for each of the 2 classes"),
        (X, {"classes": ["no", "maybe"]}, "not among those of the first call"),
        (X.assign(a=np.inf), {}, "infinit"),
        (X, {"y": np.eye(2)[(y == "yes").astype(int)].astype(int)}, "one label of each row"),
    ):
        with pytest.raises(ValueError, match=message):
            model.partial_fit(wrong, **options)
        np.testing.assert_array_equal(model.predict_proba(X), before)


def test_decision_values_need_a_calibration_before(rows):
    X, y, _ = rows
    machine = LinearSVC().fit(X[:500], y[:500])
    model = DistilledClassifier(FrozenEstimator(machine), TwoLayerPGDClassifier(8))
    with pytest.raises(TypeError, match="CalibratedClassifierCV"):
        model.partial_fit(X)
    calibrated = CalibratedClassifierCV(FrozenEstimator(machine)).fit(X[:500], y[:500])
    model.set_params(teacher=FrozenEstimator(calibrated)).partial_fit(X)


def test_a_teacher_that_writes_into_its_rows(rows):
    X, y = 3 + rows[0].to_numpy(), rows[1]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    written = X.copy()
    probabilities = []
    for rows_of_batch, copies in ((X, True), (written, False)):
        pipeline[0].copy = copies
        model = DistilledClassifier(FrozenEstimator(pipeline), STUDENTS[0], random_state=0)
        probabilities.append(model.partial_fit(rows_of_batch).predict_proba(X))
    np.testing.assert_array_equal(written, X)
    np.testing.assert_allclose(*probabilities, rtol=1e-9)


def test_a_frozen_encoder_survives_clone(rows):
    X, _, teacher = rows
    encoder = TableEncoder().fit(X)
    student = TwoLayerPGDClassifier(8, encoder=FrozenEstimator(encoder))
    model = clone(DistilledClassifier(teacher, student)).partial_fit(X[:50])
    np.testing.assert_array_equal(model.student_.encoder_.means_, encoder.means_)


def test_parameters_of_the_student_act_from_the_next_batch_on(rows):
    X, _, teacher = rows
    model = DistilledClassifier(teacher, TwoLayerPGDClassifier(8), random_state=0).partial_fit(X)
    own = copy.deepcopy(model.student_)
    model.set_params(student__learning_rate=0.001, student__batch_size=10).partial_fit(X)
    own.set_params(learning_rate=0.001, batch_size=10)
    own.partial_fit(X, soft_targets=teacher.predict_proba(X))
    np.testing.assert_array_equal(model.predict_proba(X), own.predict_proba(X))
    before = model.predict_proba(X)
    for student, message in (
        (TwoLayerPGDClassifier(16), "width=16"),
        (ModuleClassifier(MLP), "the student is a ModuleClassifier now"),
    ):
        with pytest.raises(ValueError, match=message):
            model.set_params(student=student).partial_fit(X)
        np.testing.assert_array_equal(model.predict_proba(X), before)


def test_callbacks_of_the_student_see_all_batches(rows):
    X, _, teacher = rows
    recorder = Recorder()
    recorder.lock = threading.Lock()  # which cannot be copied
    student = TwoLayerPGDClassifier(8).set_callbacks(recorder)
    model = DistilledClassifier(teacher, student, random_state=0)
    counts = []
    for _ in range(3):
        model.partial_fit(X)
        counts.append(len(recorder.events))
    assert 0 < counts[0] < counts[1] < counts[2]


def test_a_generator_is_used_for_the_first_batch_alone(rows):
    X, _, teacher = rows
    rng = np.random.RandomState(0)
    model = DistilledClassifier(teacher, TwoLayerPGDClassifier(8), random_state=rng).partial_fit(X)
    state = rng.get_state()[1].copy()
    model.partial_fit(X)
    np.testing.assert_array_equal(rng.get_state()[1], state)


def test_fit_forgets_what_was_warmed_up(rows):
    X, y, teacher = rows
    fixed = {"alpha": 0.5, "temperature": 1.0, "augmentation": None}
    student = TwoLayerPGDClassifier(8, max_iter=2)
    model = DistilledClassifier(teacher, student, **fixed).warm_up(X).fit(X[:300], y[:300])
    assert not hasattr(model, "_warm_student")
    with pytest.raises(NotFittedError):
        DistilledClassifier(FrozenEstimator(LogisticRegression()), student).warm_up(X)
