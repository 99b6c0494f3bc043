"""scikit-learn's own checks; the failures that are expected are facts, named with each."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, QuantileRegressor, Ridge
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_inplace_ensure_writeable,
    check_n_features_in_after_fitting,
    check_param_validation,
    parametrize_with_checks,
)
from torch import nn

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    DistilledRegressor,
    ModuleClassifier,
    ModuleRegressor,
    SelfDistillClassifier,
    TableEncoder,
    TwoLayerPGDClassifier,
    TwoLayerPGDRegressor,
)
from sklearn_kd.modules import MLP
from tests._helpers.data import blobs
from tests._helpers.estimators import DecisionOnly, SoftmaxStudent
from tests._helpers.quantiles import FanTeacher

CHEAP = {"width": 8, "n_init": 1, "max_iter": 40}
LONGER = {**CHEAP, "max_iter": 100}

STUDENTS = [
    TwoLayerPGDClassifier(**LONGER),
    TwoLayerPGDClassifier(
        **LONGER,
        output_layer="fixed",
        radius=20.0,
        init="standard",
        encoder=None,
    ),
    TwoLayerPGDClassifier(
        **CHEAP,
        output_layer="trained",
        init="standard",
        optimizer="nesterov",
        momentum=0.5,
        encoder=TableEncoder(n_bins=3),
    ),
    TwoLayerPGDClassifier(
        **{**CHEAP, "n_init": 3},
        n_members=2,
        output_layer="trained",
        radius=20.0,
        early_stopping=False,
        batch_size=None,
        encoder=None,
    ),
    TwoLayerPGDClassifier(
        **CHEAP, learning_rate=1.0, momentum=0.9, early_stopping=False, encoder=None
    ),
    TwoLayerPGDClassifier(**CHEAP, optimizer="nesterov", input_scaling=False, encoder=None),
]
REGRESSORS = [
    TwoLayerPGDRegressor(**LONGER),
    TwoLayerPGDRegressor(**LONGER, loss="huber", radius=20.0, output_layer="fixed", encoder=None),
]
SLOW_REGRESSORS = [
    TwoLayerPGDRegressor(
        **LONGER, loss="quantile", quantiles=(0.1, 0.5, 0.9), n_members=2, encoder=None
    ),
    TwoLayerPGDRegressor(
        **CHEAP, optimizer="nesterov", early_stopping=False, batch_size=None, encoder=None
    ),
]


class SmallModule(nn.Sequential):
    def __init__(self, input_shape, n_outputs):
        hidden = nn.Linear(input_shape[0], 8)
        super().__init__(hidden, nn.ReLU(), nn.Linear(8, max(2, n_outputs)))


class OneHidden(nn.Sequential):
    def __init__(self, input_shape, n_outputs):
        super().__init__(nn.Linear(input_shape[0], 8), nn.ReLU(), nn.Linear(8, n_outputs))


QUICK = {"learning_rate": 0.1, "max_epochs": 30}
MODULES = [
    ModuleClassifier(SmallModule, **QUICK),
    ModuleClassifier(
        MLP, module_params={"width": 8, "depth": 1}, encoder="auto", early_stopping=False, **QUICK
    ),
    ModuleRegressor(OneHidden, **QUICK, loss="quantile", quantiles=(0.1, 0.5, 0.9)),
    ModuleRegressor(
        MLP, module_params={"width": 8, "depth": 1}, encoder="auto", early_stopping=False, **QUICK
    ),
]


def logistic():
    return LogisticRegression()


class ExplicitSplits(DistilledClassifier):
    """Hands each fit its folds as a list of index arrays, which one instance cannot know before."""

    def fit(self, X, y, sample_weight=None):
        cv = self.cv
        try:
            if cv == "auto":
                y_array = np.asarray(y)
                self.cv = list(StratifiedKFold(2).split(np.zeros((len(y_array), 1)), y_array))
        except (TypeError, ValueError):
            pass  # such y is for DistilledClassifier to refuse
        try:
            return super().fit(X, y, sample_weight=sample_weight)
        finally:
            self.cv = cv


DISTILLED = [
    DistilledClassifier(logistic(), TwoLayerPGDClassifier(**LONGER)),
    DistilledClassifier(logistic(), logistic(), alpha=0.5, cv=2),
    # which takes several labels
    DistilledClassifier(DecisionTreeClassifier(max_depth=3), TwoLayerPGDClassifier(**LONGER), cv=2),
    DistilledClassifier(
        logistic(),
        TwoLayerPGDClassifier(**CHEAP, encoder=None),
        temperature=3.0,
        augmentation=None,
        cv=3,
    ),
    ExplicitSplits(logistic(), logistic()),
    DistilledClassifier(logistic(), logistic(), alpha=1.0, temperature=2.0, cv=2),
    DistilledClassifier(logistic(), SoftmaxStudent(l2=1e-3), alpha=1.0, cv=2),
    # so strong a penalty that it cannot memorize, which would warn
    DistilledClassifier(LogisticRegression(C=0.01), logistic(), cv="in-sample"),
    DistilledClassifier(DecisionOnly(), logistic(), cv=StratifiedKFold(2)),
]

DISTILLED_REGRESSORS = [
    DistilledRegressor(Ridge(), TwoLayerPGDRegressor(**LONGER), augmentation=None),
    DistilledRegressor(student=DecisionTreeRegressor(max_leaf_nodes=8)),
    DistilledRegressor(LinearRegression(), LinearRegression(), alpha=0.5, cv=2),
    DistilledRegressor(RandomForestRegressor(8), SVR(), alpha=0.5, augmentation=None),
]
# fixed settings and few folds, since each fit is calibrated by one more for each fold
QUARTILES = {
    "quantiles": (0.25, 0.75),
    "augmentation": None,
    "cv": KFold(3, shuffle=True, random_state=0),
}
QUANTILE_STUDENT = TwoLayerPGDRegressor(
    8,
    n_init=1,
    max_iter=25,
    learning_rate=1.0,
    momentum=0.9,
    early_stopping=False,
    encoder=None,
)
DISTILLED_QUANTILES = [DistilledRegressor(FanTeacher(), QUANTILE_STUDENT, alpha=0.5, **QUARTILES)]
LEVEL_TEACHERS = {q: QuantileRegressor(quantile=q, alpha=0) for q in (0.25, 0.5, 0.75)}
SLOW_QUANTILES = [
    DistilledRegressor(LEVEL_TEACHERS, QUANTILE_STUDENT, **QUARTILES),
    DistilledRegressor(LEVEL_TEACHERS, DecisionTreeRegressor(max_leaf_nodes=8), **QUARTILES),
]

QUICKEST = {"learning_rate": 0.1, "max_epochs": 30}
DISTILLED_MODULES = [
    DistilledClassifier(logistic(), ModuleClassifier(SmallModule, **QUICKEST)),
    DistilledClassifier(ModuleClassifier(SmallModule, **QUICKEST), logistic()),
]

LAST_STEP = {**CHEAP, "early_stopping": False, "encoder": None, "init": "symmetric"}
SELF_DISTILLED = [
    SelfDistillClassifier(TwoLayerPGDClassifier(**LONGER)),
    SelfDistillClassifier(TwoLayerPGDClassifier(**LAST_STEP)),
    SelfDistillClassifier(TwoLayerPGDClassifier(**LAST_STEP), target="soft", memory=0.7),
    SelfDistillClassifier(ModuleClassifier(SmallModule, **QUICKEST)),
]
SELF_DISTILLED_SLOW = [
    SelfDistillClassifier(),
    SelfDistillClassifier(
        TwoLayerPGDClassifier(**CHEAP), schedule="annealed", memory="previous-epoch"
    ),
    SelfDistillClassifier(
        ModuleClassifier(SmallModule, **QUICK, early_stopping=False), target="soft", memory=0.7
    ),
]

SLOW = [
    TwoLayerPGDClassifier(),
    TwoLayerPGDRegressor(),
    ModuleClassifier(SmallModule),
    ModuleRegressor(OneHidden),
    ModuleRegressor(OneHidden, **QUICK, loss="huber"),
    *SLOW_REGRESSORS,
    *DISTILLED_MODULES,
    DistilledClassifier(logistic()),
    DistilledRegressor(),
    DistilledRegressor(RandomForestRegressor(20), TwoLayerPGDRegressor(**LONGER)),
    *SLOW_QUANTILES,
    ExplicitSplits(logistic(), TwoLayerPGDClassifier(**LONGER)),
    DistilledClassifier(logistic(), SoftmaxStudent(l2=1e-3), temperature=2.0),
    DistilledClassifier(DecisionTreeClassifier(max_depth=4), logistic(), cv=2),
    DistilledClassifier(
        make_pipeline(StandardScaler(), logistic()), make_pipeline(StandardScaler(), logistic())
    ),
]

BOOTSTRAPPED = [
    DistilledClassifier(
        RandomForestClassifier(20), TwoLayerPGDClassifier(**LONGER), augmentation=None
    ),
    DistilledClassifier(RandomForestClassifier(8), logistic()),
]

# with a seed, since the checks seed what has a random_state of its own
SEARCHES = [
    BatchedGridSearchCV(kind(**LONGER, random_state=0), {"width": [4, 8]}, cv=2)
    for kind in (TwoLayerPGDClassifier, TwoLayerPGDRegressor)
]


def expected_failures(estimator):
    teacher, check = getattr(estimator, "teacher", None), "check_sample_weight_equivalence_on_"
    if isinstance(teacher, RandomForestClassifier | RandomForestRegressor):
        reason = "a bootstrap draws rows: k copies of a row are not a weight of k"
    elif isinstance(teacher, Pipeline):
        reason = "as in scikit-learn, the scaler of a pipeline gets no weights without routing"
    elif estimator is SLOW_QUANTILES[-1]:
        reason = "it sets alpha to 0.01, and a tree learns quantiles of the teacher alone"
        return {"check_regressors_train": reason}
    else:
        return {}
    return {f"{check}dense_data": reason, f"{check}sparse_data": reason}


NO_GAIN = pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.NoGainWarning")


@NO_GAIN
@parametrize_with_checks(
    [
        *STUDENTS,
        *REGRESSORS,
        *MODULES,
        *DISTILLED,
        *DISTILLED_REGRESSORS,
        *DISTILLED_QUANTILES,
        *BOOTSTRAPPED,
    ],
    expected_failed_checks=expected_failures,
)
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore")  # of folds that fail, as GridSearchCV has them
@parametrize_with_checks(SEARCHES)
def test_check_estimator_of_a_search(estimator, check):
    check(estimator)


@NO_GAIN
@pytest.mark.slow
@parametrize_with_checks(SLOW, expected_failed_checks=expected_failures)
def test_check_estimator_with_the_defaults(estimator, check):
    check(estimator)


CLEAN = pytest.mark.filterwarnings(  # as the labels of the checks are, or random; few rows a class
    "ignore::sklearn_kd.exceptions.CleanLabelsWarning",
    "ignore::sklearn_kd.exceptions.NoGainWarning",
    "ignore::sklearn_kd.exceptions.ClassCollapseWarning",
)


@CLEAN
@parametrize_with_checks(SELF_DISTILLED)
def test_check_estimator_of_self_distillation(estimator, check):
    check(estimator)


@CLEAN
@pytest.mark.slow
@parametrize_with_checks(SELF_DISTILLED_SLOW)
def test_check_estimator_of_self_distillation_with_the_defaults(estimator, check):
    check(estimator)


# Checks that scikit-learn does not yield to third parties

ONE_OF_EACH = [STUDENTS[0], REGRESSORS[0], MODULES[0], MODULES[-1], *DISTILLED[:2]]
ONE_OF_EACH += [*DISTILLED_REGRESSORS[:2], *SELF_DISTILLED[:2]]


@CLEAN
@pytest.mark.parametrize("estimator", ONE_OF_EACH, ids=str)
@pytest.mark.parametrize(
    "check",
    [
        check_param_validation,
        check_dataframe_column_names_consistency,
        check_inplace_ensure_writeable,
        check_n_features_in_after_fitting,
    ],
)
def test_checks_not_yielded(estimator, check):
    check(type(estimator).__name__, clone(estimator))


# float32: our own repetition of what the checks do in float64


@CLEAN
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "estimator", [*STUDENTS[:4], MODULES[0], DISTILLED[0], *SELF_DISTILLED], ids=str
)
def test_float32(estimator, n_classes):
    X, y = blobs(n_classes=n_classes, dtype=np.float32)
    before = X.copy()
    model = clone(estimator)
    if not isinstance(model, DistilledClassifier):
        model.set_params(random_state=0)
    else:
        model.set_params(random_state=0, student__random_state=0)
    model.fit(X, y)
    proba = model.predict_proba(X)
    assert proba.dtype == np.float32
    assert model.decision_function(X).dtype == np.float32
    assert model.predict_log_proba(X).dtype == np.float32
    student = getattr(model, "student_", getattr(model, "estimator_", model))
    weights = getattr(student, "module_state_", None) or {"": student.hidden_weights_}
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}
    assert model.score(X, y) > 0.8
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(model.classes_[proba.argmax(axis=1)], model.predict(X))
    np.testing.assert_allclose(np.log(proba), model.predict_log_proba(X), rtol=1e-4, atol=1e-5)
    # rows one at a time, in another order
    single = np.vstack([model.predict_proba(x[None]) for x in X[::-1]])[::-1]
    np.testing.assert_allclose(single, proba, rtol=1e-4, atol=1e-6)
    # again, copied, pickled, on float64 rows
    for other in (clone(model).fit(X, y), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict_proba(X), proba)
    np.testing.assert_allclose(
        model.predict_proba(X.astype(np.float64)), proba, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_array_equal(X, before)
    X.flags.writeable = False
    np.testing.assert_array_equal(clone(model).fit(X, y).predict_proba(X), proba)


def test_float32_is_near_float64():
    X, y = blobs(n=150, n_classes=3, dtype=np.float32)
    models = [
        TwoLayerPGDClassifier(8, max_iter=100, n_init=1, random_state=0).fit(X.astype(dtype), y)
        for dtype in (np.float32, np.float64)
    ]
    assert models[0].initial_weights_ == pytest.approx(models[1].initial_weights_, rel=1e-6)
    np.testing.assert_allclose(models[0].predict_proba(X), models[1].predict_proba(X), atol=0.02)
