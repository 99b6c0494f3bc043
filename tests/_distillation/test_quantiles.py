"""Quantiles of DistilledRegressor: labels, losses, calibration, coverage and errors."""

import pickle
import re
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_pinball_loss
from sklearn.model_selection import KFold, TimeSeriesSplit, train_test_split
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor

from sklearn_kd import DistilledRegressor, KernelTeacherRegressor, TwoLayerPGDRegressor
from sklearn_kd._distillation.conformal import conformal_shift
from sklearn_kd._distillation.quantile_calibration import calibration_folds
from sklearn_kd._distillation.quantiles import QuantileTask, learned_levels
from sklearn_kd._distillation.teacher_labels import LabelingSpec
from sklearn_kd._distillation.training_set import TrainingRows
from sklearn_kd.exceptions import FittedTeacherWarning, NoGainWarning
from tests._helpers.quantiles import LEVELS, FanTeacher, RecordingLines, fan_quantiles, fans

FIXED = {"alpha": 0.5, "augmentation": None, "random_state": 0}
SMALL = {"encoder": None, "max_iter": 30, "n_init": 1, "early_stopping": False}


def network(width=4, **options):
    return TwoLayerPGDRegressor(width, **{**SMALL, **options})


def distilled(teacher=None, student=None, quantiles=LEVELS, **options):
    teacher = FanTeacher() if teacher is None else teacher
    student = network() if student is None else student
    return DistilledRegressor(teacher, student, quantiles=quantiles, **{**FIXED, **options})


def quietly(model, *args, **params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoGainWarning)
        return model.fit(*args, **params)


def boosted(levels=LEVELS):
    return {q: GradientBoostingRegressor(loss="quantile", alpha=q, n_estimators=3) for q in levels}


# Predictions


def test_quantiles_and_their_attributes():
    X, y = fans()
    model = distilled(None, network(max_iter=150), quantiles=(0.1, 0.3, 0.9)).fit(X, y)
    assert_array_equal(model.quantiles_, [0.1, 0.3, 0.9])
    assert_array_equal(model.student_.quantiles_, [0.1, 0.3, 0.5, 0.9])
    assert model.student_.loss == "quantile"
    assert model.student_.alpha == model.alpha_ == 0.5
    assert model.label_source_ == "cv"
    shift = model.quantile_shift_
    assert shift.shape == (4,)
    assert shift[0] == -shift[3] != 0
    assert shift[2] == 0
    found = model.predict_quantiles(X)
    expected = np.sort(model.student_.predict_quantiles(X) + shift, axis=1)
    assert_array_equal(found, expected[:, [0, 1, 3]])
    assert_array_equal(model.predict(X), expected[:, 2])
    assert model.score(X, y) > 0.3
    assert isinstance(model.teacher_, FanTeacher)


def test_defaults():
    X, y = fans(40)
    model = DistilledRegressor(quantiles=LEVELS, random_state=0).fit(X, y)
    assert isinstance(model.teacher_, KernelTeacherRegressor)
    assert isinstance(model.student_, TwoLayerPGDRegressor)
    found = model.predict_quantiles(X)
    assert (np.diff(found) >= 0).all()
    assert np.mean((found[:, 0] <= y) & (y <= found[:, 2])) > 0.8


@pytest.mark.parametrize(
    "student",
    [
        DecisionTreeRegressor(max_leaf_nodes=6),
        MultiOutputRegressor(SVR()),
        LinearRegression(),
    ],
    ids=str,
)
def test_students_without_a_loss_of_quantiles(student):
    X, y = fans(150)
    model = distilled(None, student, quantiles=(0.1, 0.9), alpha="auto").fit(X, y)
    assert model.alpha_ == 1
    values = np.sort(model.student_.predict(X), axis=1)
    assert values.shape == (150, 3)
    assert_array_equal(
        model.predict_quantiles(X), np.sort(values + model.quantile_shift_, axis=1)[:, [0, 2]]
    )
    compared = distilled(None, student, alpha="auto", augmentation="gibbs").fit(X, y)
    assert compared.candidates_ is None
    with pytest.raises(ValueError, match="has no loss of quantiles"):
        distilled(None, student, alpha=0.5).fit(X, y)


@pytest.mark.parametrize(
    "teacher",
    [
        boosted(),
        make_pipeline(StandardScaler(), FanTeacher()),
        network(loss="quantile", quantiles=LEVELS),
    ],
    ids=["dict", "pipeline", "network"],
)
def test_teachers(teacher):
    X, y = fans(40)
    copy = clone(distilled(teacher)).fit(X, y)
    assert copy.label_source_ == "cv"
    if isinstance(teacher, dict):
        assert copy.get_params()["teacher"] == copy.teacher
        assert not hasattr(copy.teacher[0.05], "estimators_")
        assert_array_equal(clone(copy).fit(X, y).predict(X), copy.predict(X))
        assert copy.teacher_.predict_quantiles(X, LEVELS).shape == (40, 3)
        assert len(copy.teacher_.regressors_) == 3


def test_a_frozen_teacher_is_not_fitted():
    X, y = fans(80)
    other = fans(80, seed=1)
    teacher = FanTeacher().fit(*other)
    model = distilled(FrozenEstimator(teacher)).fit(X, y)
    assert model.label_source_ == "frozen"
    fitted = {q: each.fit(*other) for q, each in boosted().items()}
    frozen = {q: FrozenEstimator(each) for q, each in fitted.items()}
    assert distilled(frozen).fit(X, y).label_source_ == "frozen"
    with pytest.warns(FittedTeacherWarning):
        distilled(teacher).fit(X, y)


def test_a_student_in_a_pipeline_and_raw_rows():
    X, y = fans(80)
    student = make_pipeline(StandardScaler(), network())
    model = distilled(None, student).fit(X, y)
    assert_array_equal(model.student_[-1].quantiles_, LEVELS)
    expected = model.student_[-1].predict_quantiles(model.student_[:-1].transform(X))
    expected = np.sort(expected + model.quantile_shift_, axis=1)
    assert_array_equal(model.predict_quantiles(X), expected)


def test_a_copy_without_teacher_and_a_file():
    X, y = fans(80)
    model = distilled().fit(X, y)
    for small in (model.without_teacher(keep_history=False), pickle.loads(pickle.dumps(model))):
        assert_array_equal(small.predict_quantiles(X), model.predict_quantiles(X))
        assert_array_equal(small.predict(X), model.predict(X))
    assert not hasattr(model.without_teacher(), "teacher_")
    given = model.without_teacher().fit(X, y, soft_targets=fan_quantiles(X))
    assert given.label_source_ == "given"


def test_another_fit_without_quantiles():
    X, y = fans(80)
    model = distilled().fit(X, y)
    before = model.predict_quantiles(X)
    model.set_params(quantiles=(0.9, 0.1))
    with pytest.raises(ValueError, match="must be ascending"):
        model.fit(X, y)
    assert_array_equal(model.set_params(quantiles=LEVELS).predict_quantiles(X), before)
    model.set_params(quantiles=None).fit(X, y)
    for name in ("quantiles_", "quantile_shift_", "predict_quantiles"):
        assert not hasattr(model, name)
    assert_array_equal(model.predict(X), model.student_.predict(X))
    with pytest.raises(ValueError, match="call fit again"):
        model.set_params(quantiles=LEVELS).predict_quantiles(X)


def test_parameters_of_a_dict_of_teachers_cannot_be_set():
    teacher = {level: GradientBoostingRegressor(loss="quantile", alpha=level) for level in LEVELS}
    with pytest.raises(ValueError, match=r"teacher__max_depth.*a dict of regressors"):
        DistilledRegressor(teacher, quantiles=LEVELS).set_params(teacher__max_depth=2)


# Labels and losses


def test_the_levels_of_the_student():
    assert_array_equal(learned_levels((0.1, 0.9)), [0.1, 0.5, 0.9])
    assert_array_equal(learned_levels((0.3,)), [0.3, 0.5])
    assert_array_equal(learned_levels([0.1, 0.5]), [0.1, 0.5])


def test_targets_drawn_of_quantiles_have_these_quantiles():
    levels = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    task = QuantileTask.of_levels(levels)
    labels = np.tile([-3.0, -1.0, 0.0, 2.0, 5.0], (5000, 1))
    drawn = task.harden(labels)
    assert drawn.shape == (5000, 1)
    assert_allclose((drawn < labels - 1e-9).mean(axis=0), [0, *levels[1:]], atol=2e-3)
    assert_allclose((drawn <= labels + 1e-9).mean(axis=0), [*levels[:-1], 1], atol=2e-3)
    assert task.harden(labels[:0]).shape == (0, 1)
    assert_array_equal(QuantileTask.of_levels(levels[2:3]).harden(labels[:, :1]), labels[:, :1])


def test_given_quantiles_replace_the_teacher():
    X, y = fans()
    soft = fan_quantiles(X)
    model = distilled(RandomForestRegressor(), alpha=1.0).fit(X, y, soft_targets=soft)
    assert not hasattr(model, "teacher_")
    direct = network(loss="quantile", quantiles=LEVELS, alpha=1.0, random_state=0)
    seed = model.student_.random_state
    direct.set_params(random_state=seed).fit(X, y, soft_targets=soft)
    assert_array_equal(model.student_.predict_quantiles(X), direct.predict_quantiles(X))
    some = soft.copy()
    some[::3] = np.nan
    partly = distilled(alpha=1.0).fit(X, y, soft_targets=some)
    assert np.isfinite(partly.predict_quantiles(X)).all()
    selected = quietly(distilled(alpha="auto"), X, y, soft_targets=some)
    assert np.isfinite(selected.candidates_["loss"]).all()
    with pytest.raises(ValueError, match=r"a column for each of the levels \[0.05, 0.5, 0.95\]"):
        distilled().fit(X, y, soft_targets=y)
    with pytest.raises(ValueError, match=r"shape of y, \(120,\), .* or \(120, 3\)"):
        distilled().fit(X, y, soft_targets=soft[:, :2])


def test_the_selection_compares_pinball_losses_with_targets_alone():
    X, y = fans(240)
    transfer = {"augmentation": "auto", "n_augmented": 300}
    model = quietly(distilled(None, network(max_iter=150), alpha="auto", **transfer), X, y)
    candidates = model.candidates_
    assert candidates["label_source"].tolist() == ["hard", "cv", "cv"]
    assert candidates["n_augmented"].tolist() == [0, 0, 300]
    assert candidates["alpha"].tolist() == [0, 0.5, 0.5]
    true = np.mean(
        [
            mean_pinball_loss(y, each, alpha=q)
            for each, q in zip(fan_quantiles(X).T, LEVELS, strict=True)
        ]
    )
    assert_allclose(candidates["loss"], true / y.std(), rtol=0.35)


def test_a_teacher_of_nonsense_is_not_used():
    class Nonsense(FanTeacher):
        def predict_quantiles(self, X, quantiles):
            return -super().predict_quantiles(X, quantiles)

        def __sklearn_clone__(self):
            return Nonsense(self.log)

    X, y = fans(240)
    with pytest.warns(NoGainWarning, match="mean pinball loss"):
        model = distilled(Nonsense(), alpha="auto").fit(X, y)
    assert model.label_source_ == "hard"
    found = model.predict_quantiles(X)
    assert np.mean((found[:, 0] <= y) & (y <= found[:, 2])) > 0.8


def test_transfer_rows_have_quantiles_of_the_teacher():
    X, y = fans(120)
    log = []
    model = distilled(FanTeacher(log), augmentation="gibbs", n_augmented=240).fit(X, y)
    assert model.n_augmented_ == 240
    counts = [entry[-1] for entry in log if entry[0] == "labels"]
    assert counts.count(240) == 1
    assert counts.count(192) == 5  # of the calibration
    assert (np.diff(model.predict_quantiles(X)) >= 0).all()


# Calibration


def by_hand(X, y, soft, weight, folds):
    """Return the shift of linear students of given quantiles, by least squares of NumPy."""
    design, values, tested = np.c_[X, np.ones(len(X))], [], []
    for train, test in folds:
        root = np.sqrt(weight[train])[:, None]
        coefficients = np.linalg.lstsq(root * design[train], root * soft[train], rcond=None)[0]
        values.append(design[test] @ coefficients)
        tested.append(test)
    values, tested = np.sort(np.concatenate(values), axis=1), np.concatenate(tested)
    scores = np.maximum(values[:, 0] - y[tested], y[tested] - values[:, 2])
    order = np.argsort(scores)
    share = np.cumsum(weight[tested][order]) / weight[tested].sum()
    wanted = 0.9 * (1 + 1 / len(np.unique(X, axis=0)))
    return scores[order[np.flatnonzero(share >= wanted * (1 - 1e-12))[0]]]


def test_the_shift_is_that_of_students_of_folds():
    X, y = fans()
    soft = fan_quantiles(X)
    for cv, folds in (
        (KFold(4), list(KFold(4).split(X))),
        (TimeSeriesSplit(5), list(TimeSeriesSplit(5).split(X))),
    ):
        model = distilled(None, LinearRegression(), alpha=1.0, cv=cv).fit(X, y, soft_targets=soft)
        expected = by_hand(X, y, soft, np.ones(120), folds)
        assert_allclose(model.quantile_shift_, [-expected, 0, expected])


def test_weights_are_copies():
    X, y = fans(60)
    soft = fan_quantiles(X)
    counts = np.random.RandomState(0).randint(0, 4, size=60)
    index = np.random.RandomState(1).permutation(np.repeat(np.arange(60), counts))
    model = distilled(None, LinearRegression(), alpha=1.0)
    weighted = clone(model).fit(X, y, sample_weight=counts, soft_targets=soft)
    repeated = clone(model).fit(X[index], y[index], soft_targets=soft[index])
    assert_allclose(repeated.quantile_shift_, weighted.quantile_shift_, rtol=1e-9)
    assert_allclose(repeated.predict_quantiles(X), weighted.predict_quantiles(X), rtol=1e-9)
    scaled = clone(model).fit(X, y, sample_weight=7.0 * counts, soft_targets=soft)
    assert_allclose(scaled.quantile_shift_, weighted.quantile_shift_, rtol=1e-9)


@pytest.mark.parametrize("student", [None, LinearRegression()], ids=["network", "lines"])
def test_weights_are_copies_for_teachers_too(student):
    X, y = fans(60)
    counts = np.random.RandomState(0).randint(0, 4, size=60)
    # the first copies are in the order of the rows
    index = np.repeat(np.arange(60), np.minimum(counts, 2))
    index = np.append(index, np.flatnonzero(counts == 3))
    alpha = 0.5 if student is None else 1.0
    model = distilled(KernelTeacherRegressor(ridge=0.3, encoder=None), student, alpha=alpha)
    weighted = clone(model).fit(X, y, sample_weight=counts)
    repeated = clone(model).fit(X[index], y[index])
    assert_allclose(repeated.quantile_shift_, weighted.quantile_shift_, rtol=1e-7)
    assert_allclose(repeated.predict_quantiles(X), weighted.predict_quantiles(X), rtol=1e-7)


def test_folds_keep_copies_together_and_depend_on_rows_alone():
    X, y = fans(50)
    index = np.random.RandomState(1).permutation(np.repeat(np.arange(50), 3))
    task = QuantileTask.of_levels(np.array(LEVELS))
    spec = LabelingSpec(None, task, seed=3)

    def tested(X, y):
        rows = TrainingRows(X, y, None, None, {}, None)
        folds = calibration_folds(spec, rows)
        assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(y)))
        return [frozenset(X[test, 0].tolist()) for _, test in folds]

    single = tested(X, y)
    assert len(single) == 5
    assert single == tested(X[index], y[index])


@pytest.mark.parametrize("student", [None, LinearRegression()], ids=["network", "lines"])
@pytest.mark.parametrize(("factor", "offset"), [(1e9, 0.0), (1e-9, 0.0), (3.7, -12.0)])
def test_shift_and_scale_of_y_are_units(student, factor, offset):
    X, y = fans(40)
    alpha = 0.5 if student is None else 1.0
    teacher = KernelTeacherRegressor(ridge=0.3, encoder=None)
    plain = distilled(teacher, student, alpha=alpha).fit(X, y)
    moved = clone(plain).fit(X, factor * y + offset)
    close = {"rtol": 0, "atol": 1e-6 * y.std()}
    assert_allclose(moved.quantile_shift_ / factor, plain.quantile_shift_, **close)
    for name in ("predict", "predict_quantiles"):
        found = (getattr(moved, name)(X) - offset) / factor
        assert_allclose(found, getattr(plain, name)(X), **close)


@pytest.mark.parametrize("value", [0.0, -3.5, 1e9])
@pytest.mark.parametrize("student", [None, DecisionTreeRegressor()], ids=["network", "tree"])
def test_constant_targets(value, student):
    X, _ = fans(40)
    alpha, y = 0.5 if student is None else 1.0, np.full(40, value)
    for teacher, cv in (
        (None, "auto"),
        (None, 3),
        (KernelTeacherRegressor(encoder=None), "auto"),
    ):
        model = distilled(teacher, student, alpha=alpha, cv=cv).fit(X, y)
        assert_allclose(model.predict_quantiles(X), value, rtol=1e-12)
        assert_allclose(model.quantile_shift_, 0, atol=1e-12 * abs(value))


def test_heavy_tails():
    X, y = fans(100)
    y[:3] = [1e12, -1e9, 1e15]
    found = distilled(KernelTeacherRegressor()).fit(X, y).predict_quantiles(X)
    assert np.isfinite(found).all()
    assert np.mean((found[:, 0] <= y) & (y <= found[:, 2])) > 0.85


def test_labels_that_calibrate_come_from_teachers_without_the_fold():
    X, y = fans(60)
    log, RecordingLines.LOG = [], []
    distilled(FanTeacher(log), RecordingLines(), alpha=1.0).fit(X, y)
    everything = set(X[:, 0].tolist())
    held = [everything - rows for rows in RecordingLines.LOG if rows != everything]
    assert sorted(map(len, held)) == [12] * 5
    assert set().union(*held) == everything
    teachers = [rows for kind, rows, *_ in log if kind == "teacher"]
    for fold in held:
        blind = [rows for rows in teachers if not rows & fold]
        assert len(blind) >= 5  # of each cross-fitting fold among the others
        for kind, rows, *labeled in log:
            if kind == "labels" and rows in blind:
                assert not labeled[0] & rows or rows | fold == everything


def test_groups_stay_together():
    X, y = fans(120)
    groups = np.repeat(np.arange(12), 10)
    of_row = dict(zip(X[:, 0].tolist(), groups.tolist(), strict=True))
    log, RecordingLines.LOG = [], []
    distilled(FanTeacher(log), RecordingLines(), alpha=1.0).fit(X, y, groups=groups)

    def groups_of(rows):
        return {of_row[row] for row in rows}

    for rows in RecordingLines.LOG:
        assert len(rows) == 10 * len(groups_of(rows))
    for kind, rows, *labeled in log:
        if kind == "labels":
            assert not groups_of(rows) & groups_of(labeled[0])


@pytest.mark.parametrize("student", [None, LinearRegression()], ids=["network", "lines"])
def test_rows_that_no_fold_tests_have_no_quantiles(student):
    X, y = fans(80)
    rows, tested = np.arange(80), np.arange(48)
    folds = [(np.setdiff1d(rows, test), test) for test in np.split(tested, 3)]
    model = distilled(None, student, alpha=0.5 if student is None else 1.0, cv=folds).fit(X, y)
    soft = np.full((80, 3), np.nan)
    for train, test in folds:
        teacher = FanTeacher().fit(X[train], y[train])
        soft[test] = teacher.predict_quantiles(X[test], LEVELS).clip(y.min(), y.max())
    if student is None:
        alone = clone(model.student_).fit(X, y, soft_targets=soft)
        assert_array_equal(model.student_.predict_quantiles(X), alone.predict_quantiles(X))
    else:
        alone = LinearRegression().fit(X[tested], soft[tested])
        assert_allclose(model.student_.predict(X), alone.predict(X), rtol=1e-9)


@pytest.mark.parametrize("student", [None, LinearRegression()], ids=["network", "lines"])
def test_rows_in_time(student):
    X, y = fans(120)
    log, alpha = [], 0.5 if student is None else 1.0
    distilled(FanTeacher(log), student, alpha=alpha, cv=TimeSeriesSplit(4)).fit(X, y)
    position = {row: number for number, row in enumerate(X[:, 0].tolist())}
    labeled = [(rows, more[0]) for kind, rows, *more in log if kind == "labels"]
    assert len(labeled) > 4  # of the fit on all rows, and of those that calibrate
    for rows, others in labeled:
        assert max(map(position.get, rows)) < min(map(position.get, others))


# Errors before any fit


class NeverFitted(RegressorMixin, BaseEstimator):
    """Teacher whose fit is an error of the test."""

    def fit(self, X, y):
        """Fail."""
        raise AssertionError("the teacher was fitted")

    def predict_quantiles(self, X, quantiles):
        """Do nothing."""


def test_too_few_rows():
    X, y = fans(9)
    with pytest.raises(ValueError, match=r"up to 0\.9, .* at least 10 rows, .* there are 9 "):
        distilled(NeverFitted()).fit(X, y)
    with pytest.raises(ValueError, match="at least 10 rows, not counting copies, and there are 9 "):
        distilled(NeverFitted()).fit(np.repeat(X, 9, axis=0), np.repeat(y, 9))
    with pytest.raises(ValueError, match="at least 20 rows, not"):
        distilled(NeverFitted(), quantiles=(0.5, 0.95)).fit(*fans(19))
    # 9 rows are tested
    cv = [(np.setdiff1d(np.arange(20), test), test) for test in np.split(np.arange(9), 3)]
    with pytest.raises(ValueError, match=r"at least 10 rows, .* there are 9 "):
        distilled(NeverFitted(), cv=cv).fit(*fans(20))
    assert distilled(quantiles=(0.3, 0.7)).fit(X, y).predict_quantiles(X).shape == (9, 2)


@pytest.mark.parametrize("copies", [4, 9])
def test_copies_of_few_rows_are_not_counted(copies):
    X, y = fans(12)
    soft, index = fan_quantiles(X), np.repeat(np.arange(12), copies)
    model = distilled(None, LinearRegression(), alpha=1.0)
    weighted = clone(model).fit(X, y, sample_weight=np.full(12, copies), soft_targets=soft)
    repeated = clone(model).fit(X[index], y[index], soft_targets=soft[index])
    assert_allclose(repeated.quantile_shift_, weighted.quantile_shift_, rtol=1e-9)


class NeverFittedKernel(KernelTeacherRegressor):
    def fit(self, X, y, sample_weight=None):
        raise ReachedFit(len(X))


class ReachedFit(Exception):
    """Raised by a fit, with its number of rows."""


NEEDS = {
    "auto": (32, {}),
    "in-sample": (25, {"cv": "in-sample"}),
    "three folds": (60, {"cv": 3}),
    "five folds": (34, {"cv": None}),
    "splitter": (40, {"cv": KFold(4)}),
    "in time": (84, {"cv": TimeSeriesSplit(4)}),
    "groups": (35, {"groups": 3}),
    "80 %": (17, {"quantiles": (0.1, 0.9)}),
    "99 %": (157, {"quantiles": (0.01, 0.99)}),
    "median": (3, {"quantiles": (0.5,)}),
}


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.InSampleLabelsWarning")
@pytest.mark.parametrize("name", NEEDS)
def test_rows_that_the_default_teacher_needs(name):
    n_needed, options = NEEDS[name]
    options = {"quantiles": LEVELS, **options}
    size = options.pop("groups", None)

    def fit(n_samples, teacher, copies=1):
        X, y = (np.repeat(each, copies, axis=0) for each in fans(n_samples))
        groups = None if size is None else np.repeat(np.arange(n_samples) // size, copies)
        model = distilled(teacher, LinearRegression(), **{**options, "alpha": 1.0})
        return model.fit(X, y, groups=groups)

    quantiles = options["quantiles"]
    assert fit(n_needed, KernelTeacherRegressor()).quantiles_.shape == (len(quantiles),)
    message = (
        r"at least \d+ distinct rows in each fit of the teacher NeverFittedKernel.* has \d+ of the "
        rf"{n_needed - 1} distinct rows \(n_samples={n_needed - 1}\): fit about (\d+)"
    )
    with pytest.raises(ValueError, match=message) as raised:
        fit(n_needed - 1, make_pipeline(StandardScaler(), NeverFittedKernel()))
    advised = int(re.search(message, str(raised.value))[1])
    assert n_needed <= advised <= 1.1 * n_needed + 1
    with pytest.raises(ReachedFit):
        fit(n_needed, NeverFittedKernel())
    if "cv" not in options:  # copies are in one fold
        with pytest.raises(ValueError, match=f"{n_needed - 1} distinct rows .*n_samples="):
            fit(n_needed - 1, NeverFittedKernel(), copies=3)


@pytest.mark.parametrize(
    ("student", "n_compared"), [(network(), 166), (MultiOutputRegressor(SVR()), 497)]
)
def test_nothing_is_compared_where_the_default_teacher_had_too_few_rows(student, n_compared):
    model = DistilledRegressor(None, student, quantiles=(0.01, 0.99), random_state=0)
    model.fit(*fans(157))  # without an error of a fit on less than 100 rows
    assert model.candidates_ is None
    assert (model.label_source_, model.n_augmented_) == ("cv", 0)
    model.set_params(teacher=NeverFittedKernel())
    for n_samples, is_compared in ((n_compared - 1, False), (n_compared, True)):
        with pytest.raises(ReachedFit) as raised:
            model.fit(*fans(n_samples))
        assert (raised.value.args[0] < n_samples) == is_compared


def test_folds_that_leave_none_to_label_the_others():
    X, y = fans(60)
    for cv in (2, [(np.arange(30), np.arange(30, 60))]):
        with pytest.raises(ValueError, match="at least three folds or groups"):
            distilled(NeverFitted(), cv=cv).fit(X, y)
    with pytest.raises(ValueError, match="at least three folds or groups"):
        distilled(NeverFitted()).fit(X, y, groups=np.arange(60) // 30)
    # each of these folds has one target, so that each fit on a single one is of equal targets
    with pytest.raises(ValueError, match="shuffle folds of rows that are sorted by y"):
        distilled(NeverFitted(), cv=3).fit(X, np.arange(60) // 20)
    # the median alone is not calibrated
    assert distilled(quantiles=(0.5,), cv=2).fit(X, y).quantile_shift_.tolist() == [0]


def test_other_errors():
    X, y = fans(60)
    with pytest.raises(TypeError, match="predicts no quantiles") as raised:
        distilled(RandomForestRegressor()).fit(X, y)
    assert "dict {q: regressor}" in str(raised.value)
    with pytest.raises(ValueError, match=r"has the quantiles \[0.05, 0.95\].*0.5, which"):
        distilled(boosted((0.05, 0.95))).fit(X, y)
    with pytest.raises(ValueError, match="quantiles=None: set quantiles"):
        distilled(boosted(), quantiles=None).fit(X, y)
    with pytest.raises(ValueError, match="y has 2 targets"):
        distilled(NeverFitted()).fit(X, np.c_[y, y])
    with pytest.raises(ValueError, match="predicts one number, and there are 3 levels"):
        distilled(NeverFitted(), SVR(), alpha=1.0).fit(X, y)
    with pytest.raises(ValueError, match=r"alpha=1.5 is above 1"):
        distilled(NeverFitted(), alpha=1.5).fit(X, y)
    for bad in ((0.9, 0.1), (0, 0.5), "half", 0.5):
        with pytest.raises(ValueError, match="quantiles"):
            distilled(NeverFitted(), quantiles=bad).fit(X, y)
    with pytest.raises(AttributeError, match="has no attribute 'predict_quantiles'") as raised:
        distilled(quantiles=None).predict_quantiles  # noqa: B018
    assert "needs quantiles: set them" in str(raised.value.__cause__)
    soft = fan_quantiles(X)
    soft[0] = np.nan
    with pytest.raises(ValueError, match="rows of NaN"):
        distilled(None, LinearRegression(), alpha=1.0).fit(X, y, soft_targets=soft)


def test_metadata_routing_reaches_the_regressors_of_a_dict():
    X, y = fans(30)
    weights = np.random.RandomState(0).randint(1, 4, size=30).astype(float)
    plain = distilled(boosted()).fit(X, y, sample_weight=weights)
    with config_context(enable_metadata_routing=True):
        teacher = {q: each.set_fit_request(sample_weight=True) for q, each in boosted().items()}
        student = network().set_fit_request(sample_weight=True)
        routed = distilled(teacher, student).fit(X, y, sample_weight=weights)
    assert_array_equal(routed.predict_quantiles(X), plain.predict_quantiles(X))


# Coverage


def coverage_of(model, X, y):
    low, *_, high = model.predict_quantiles(X).T
    return np.mean((low <= y) & (y <= high))


def test_coverage_where_the_noise_depends_on_the_row():
    covered, plain = [], []
    for seed in range(20):
        X, y = fans(500, seed)
        model = distilled(None, DecisionTreeRegressor(max_leaf_nodes=12), alpha=1.0)
        model.fit(X[:100], y[:100])
        covered.append(coverage_of(model, X[100:], y[100:]))
        low, _, high = np.sort(model.student_.predict(X[100:]), axis=1).T
        plain.append(np.mean((low <= y[100:]) & (y[100:] <= high)))
    assert np.mean(covered) == pytest.approx(0.9, abs=0.03)
    assert np.mean(plain) < np.mean(covered)


def combinations(n, seed=0):
    """Return rows of eight combinations of categories, and targets whose noise depends on them."""
    rng = np.random.RandomState(seed)
    X = rng.randint(0, 2, size=(n, 3)).astype(float)
    return X, 2 * X[:, 1] + np.exp(X[:, 0]) * rng.normal(size=n)


def test_rows_of_few_combinations_are_observations_of_their_own():
    X, y = combinations(60)
    soft = 2 * X[:, 1:2] + [[-1.0, 0.0, 1.2]]  # which lines learn exactly in each fold
    model = distilled(None, LinearRegression(), alpha=1.0).fit(X, y, soft_targets=soft)
    scores = np.sort(np.maximum(soft[:, 0] - y, y - soft[:, 2]))
    assert_allclose(model.quantile_shift_[2], scores[int(np.ceil(0.9 * 61)) - 1], rtol=1e-9)
    # there are eight of them, and the kernel leaves out all rows of one
    with pytest.raises(ValueError, match=r"at least 20 distinct .* has 8 of the 8 distinct"):
        distilled(NeverFittedKernel()).fit(X, y)


def test_coverage_of_few_combinations():
    covered = []
    for seed in range(10):
        X, y = combinations(1500, seed)
        model = distilled(None, DecisionTreeRegressor(), alpha=1.0).fit(X[:150], y[:150])
        covered.append(coverage_of(model, X[150:], y[150:]))
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["diabetes", "fans"])
@pytest.mark.parametrize("teacher", ["kernel", "boosting"])
def test_coverage_of_networks(name, teacher):
    covered = []
    for seed in range(20):
        X, y = load_diabetes(return_X_y=True) if name == "diabetes" else fans(1000, seed)
        size = 331 if name == "diabetes" else 300
        parts = train_test_split(X, y, train_size=size, random_state=seed)
        X_train, X_test, y_train, y_test = parts
        of = KernelTeacherRegressor() if teacher == "kernel" else boosted()
        model = distilled(of, network(8, encoder="auto"), random_state=seed)
        covered.append(coverage_of(model.fit(X_train, y_train), X_test, y_test))
    assert np.mean(covered) == pytest.approx(0.9, abs=0.03)


def test_the_shift_uses_the_sorted_quantiles_of_the_students():
    y = np.array([0.0, 1.0, 2.0] * 10)
    crossing = np.tile([1.0, 0.5, 0.0], (30, 1))
    levels = np.array([0.25, 0.5, 0.75])
    ordered = conformal_shift(np.sort(crossing, axis=1), y, np.ones(30), levels, 30)
    assert ordered[2] >= 0
