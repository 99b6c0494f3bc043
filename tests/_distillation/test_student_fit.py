"""How students of each kind are fitted to soft labels."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklearn_kd import ModuleClassifier, TwoLayerPGDClassifier
from sklearn_kd._distillation.classification import ClassificationTask
from sklearn_kd._distillation.student_fit import StudentSpec, StudentTrainer
from sklearn_kd._distillation.training_set import StudentTrainingSet
from sklearn_kd._utils.sub_estimators import last_step, student_mode
from tests._helpers.distillation import Interrupted, distil, free_logistic, three_classes
from tests._helpers.estimators import SoftmaxStudent


class PlainNative(SoftmaxStudent):
    """Takes soft targets, has no parameters for the loss."""

    def __init__(self, l2=0.0):
        self.l2 = l2

    def fit(self, X, y, sample_weight=None, soft_targets=None):
        self.alpha = self.temperature = 1.0
        super().fit(X, y, sample_weight, soft_targets)
        del self.alpha, self.temperature
        return self


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("student", [SoftmaxStudent(), free_logistic()], ids=["native", "expanded"])
def test_fixed_point_is_the_teacher(student, temperature):
    X, y = three_classes(300)
    X = StandardScaler().fit_transform(X)
    teacher = LogisticRegression(C=0.05).fit(X, y)
    model = distil(FrozenEstimator(teacher), student, temperature=temperature)
    model.fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), teacher.predict_proba(X), atol=1e-4)
    np.testing.assert_allclose(
        model.predict_log_proba(X), np.log(teacher.predict_proba(X)), atol=1e-3
    )
    assert model.temperature_ == temperature
    assert model.label_source_ == "frozen"


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_two_class_decision_function_is_the_logit(temperature):
    X, y = make_classification(200, n_features=4, random_state=0)
    teacher = LogisticRegression(C=0.05).fit(X, y)
    model = distil(FrozenEstimator(teacher), free_logistic(), temperature=temperature)
    model.fit(X, y)
    np.testing.assert_allclose(expit(model.decision_function(X)), model.predict_proba(X)[:, 1])
    np.testing.assert_allclose(
        model.decision_function(X), teacher.decision_function(X), rtol=1e-3, atol=1e-3
    )


def test_native_student_gets_loss_weights_and_labeled_targets():
    X, y = three_classes()
    w = np.random.default_rng(0).uniform(0.5, 2, len(y))
    Q = LogisticRegression().fit(X, y).predict_proba(X)
    model = distil(LogisticRegression(), SoftmaxStudent(l2=1e-2), alpha=0.4, temperature=2.5).fit(
        X, y, sample_weight=w, soft_targets=Q
    )
    alone = SoftmaxStudent(alpha=0.4, temperature=2.5, l2=1e-2).fit(X, y, w, Q)
    np.testing.assert_allclose(model.student_.received_, Q, rtol=1e-12)
    np.testing.assert_allclose(model.student_.coef_, alone.coef_, rtol=1e-6)
    assert (model.student.alpha, model.student.temperature) == (1.0, 1.0)


def test_native_student_without_loss_parameters_gets_mixed_targets():
    X, y = three_classes()
    Q = LogisticRegression().fit(X, y).predict_proba(X)
    model = distil(DummyClassifier(), PlainNative(), alpha=0.25)
    model.fit(X, y, soft_targets=Q)
    np.testing.assert_allclose(model.student_.received_, 0.25 * Q + 0.75 * np.eye(3)[y])


@pytest.mark.parametrize(
    ("student", "alpha", "temperature"),
    [
        (LogisticRegression(), 0.5, 2.0),
        (LogisticRegression(), 0.0, 2.0),
        (LogisticRegression(), 1.5, 1.0),
        (PlainNative(), 1.0, 2.0),
        (PlainNative(), 1.5, 1.0),
        (SoftmaxStudent(), 1.5, 2.0),
    ],
)
def test_pairs_that_no_student_can_honor(student, alpha, temperature):
    X, y = three_classes()
    model = distil(Interrupted(), student, alpha=alpha, temperature=temperature)
    with pytest.raises(ValueError, match=r"alpha=.*temperature="):  # before anything is fitted
        model.fit(X, y)
    assert not vars(model).keys() & {"student_", "classes_"}


def test_alpha_above_one_reaches_a_native_student():
    X, y = three_classes()
    model = distil(LogisticRegression(), SoftmaxStudent(l2=0.1), alpha=1.5).fit(X, y)
    assert model.student_.alpha == 1.5


@pytest.mark.parametrize(
    ("student", "name", "value"),
    [
        (HistGradientBoostingClassifier(max_iter=3), "early_stopping", False),
        (SGDClassifier(loss="log_loss", early_stopping=True), "early_stopping", False),
        (MLPClassifier((2,), max_iter=2, early_stopping=True), "early_stopping", False),
        (GradientBoostingClassifier(n_estimators=3, n_iter_no_change=2), "n_iter_no_change", None),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_validation_split_of_the_student_is_switched_off(student, name, value, in_pipeline):
    X, y = three_classes(60)
    whole = make_pipeline(StandardScaler(), student) if in_pipeline else student
    model = distil(LogisticRegression(), whole).fit(X, y)
    fitted = model.student_[-1] if in_pipeline else model.student_
    assert getattr(fitted, name) is value
    assert getattr(student, name) is not value


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_validation_split_of_estimators_inside_the_student_is_switched_off():
    X, y = three_classes(60)
    net = MLPClassifier((2,), max_iter=2, early_stopping=True)
    boosted = GradientBoostingClassifier(n_estimators=2, n_iter_no_change=2)
    for student in (
        BaggingClassifier(net, 2),
        make_pipeline(StandardScaler(), BaggingClassifier(make_pipeline(boosted), 2)),
    ):
        model = distil(LogisticRegression(), student, random_state=0)
        inner = last_step(model.fit(X, y).student_).estimators_[0]
        params = last_step(inner).get_params()
        assert not params.get("early_stopping")
        assert params.get("early_stopping") is False or params["n_iter_no_change"] is None
    assert net.early_stopping
    assert boosted.n_iter_no_change == 2


@pytest.mark.parametrize(
    "student",
    [
        DecisionTreeClassifier(max_depth=3, random_state=0),
        RandomForestClassifier(20, max_depth=3, random_state=0),
        HistGradientBoostingClassifier(max_iter=20, random_state=0),
    ],
    ids=lambda student: type(student).__name__,
)
def test_balanced_class_weight_does_something_in_every_student(student):
    X, y = make_classification(400, weights=[0.9], flip_y=0.05, random_state=0)
    y = np.array(["no", "yes"])[y]
    shares = [
        (distil(LogisticRegression(), clone(student).set_params(class_weight=c)).fit(X, y)
         .predict(X) == "yes").mean()
        for c in (None, "balanced")
    ]  # fmt: skip
    assert shares[1] > 1.3 * shares[0]


@pytest.mark.parametrize(
    "student",
    [LinearRegression(), make_pipeline(StandardScaler(), DecisionTreeRegressor())],
    ids=["plain", "pipeline"],
)
def test_a_regressor_is_no_student(student):
    X, y = three_classes()
    with pytest.raises(TypeError, match=r"is a regressor.*give a classifier"):
        distil(LogisticRegression(), student).fit(X, y)


@pytest.mark.parametrize(
    ("student", "mode", "is_joint", "prefix"),
    [
        (TwoLayerPGDClassifier(4), "native", True, ""),
        (make_pipeline(StandardScaler(), SoftmaxStudent()), "native", False, "softmaxstudent__"),
        (PlainNative(), "mixed", False, ""),
        (
            make_pipeline(StandardScaler(), make_pipeline(LogisticRegression())),
            "expansion",
            False,
            "pipeline__logisticregression__",
        ),
    ],
)
def test_a_student_spec_says_how_labels_reach_the_student(student, mode, is_joint, prefix):
    spec = StudentSpec.of(student, student_mode(student, "auto", "auto"))
    assert (spec.mode, spec.is_joint, spec.prefix) == (mode, is_joint, prefix)
    assert spec.estimator is student
    assert spec.last_step is last_step(student)
    assert spec.name == type(last_step(student)).__name__
    assert spec.class_weight is None


def test_a_checkpoint_belongs_to_the_fit_on_all_rows():
    net = make_pipeline(StandardScaler(), ModuleClassifier(None, checkpoint_path="net.pt"))
    spec = StudentSpec.of(net, "native")
    without = spec.without_checkpoint()
    assert without.last_step.checkpoint_path is None
    assert without.estimator[-1] is without.last_step
    assert spec.last_step.checkpoint_path == "net.pt"
    plain = StudentSpec.of(LogisticRegression(), "expansion")
    assert plain.without_checkpoint() is plain


def test_joint_fits_check_groups_for_each_student():
    X, y = three_classes(60)
    student = TwoLayerPGDClassifier(4, encoder=None, max_iter=5, random_state=0)
    task = ClassificationTask(np.arange(3))
    rest = {"groups": y, "is_ordered": False, "validation": {}, "task": task}
    sets = [
        StudentTrainingSet(X, y, y, Q, {}, alpha, 1.0, 60, np.arange(60), **rest)
        for Q, alpha in ((np.eye(3)[y], 0.0), (np.full((60, 3), 1 / 3), 1.0))
    ]
    spec = StudentSpec.of(student, "native")
    hard, soft = StudentTrainer(spec, task).fit_jointly(sets)
    assert "are in one group each" in str(hard)  # which stops early, and cannot hold a group out
    assert soft.n_iter_ == 5
