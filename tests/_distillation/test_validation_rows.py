"""Rows that decide when the student stops: those of the user, and the last ones of rows in time."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, TimeSeriesSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import DistilledClassifier, SelfDistillClassifier, TwoLayerPGDClassifier
from sklearn_kd.exceptions import DividedGroupsWarning, TransferRowsWarning
from tests._helpers.distillation import GroupOracle, GroupRecorder, fixed, visits
from tests._helpers.selection import overlapping, quietly


@pytest.fixture(autouse=True)
def log():
    GroupRecorder.LOG.clear()
    return GroupRecorder.LOG


def parts(n=160, n_val=40):
    """Rows, labels, and the same for validation."""
    X, y = overlapping(n)
    return X[n_val:], y[n_val:], X[:n_val], y[:n_val]


def network(**params):
    return TwoLayerPGDClassifier(8, max_iter=60, random_state=0, **params, encoder=None)


# Rows of the user


def test_the_student_gets_the_rows_in_every_fit(log):
    X, y, X_val, y_val = parts()
    weight = np.linspace(0.5, 2, 40)
    model = DistilledClassifier(LogisticRegression(), GroupRecorder(), random_state=0)
    quietly(model, X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight)
    assert len(log) > 2
    for fit in log:
        assert_array_equal(fit["X_val"], X_val)
        assert_array_equal(fit["y_val"], y_val)
        assert_array_equal(fit["sample_weight_val"], weight)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_a_network_stops_as_on_its_own(alpha):
    X, y, X_val, y_val = parts()
    model = fixed(LogisticRegression(), network(), alpha=alpha).fit(X, y, X_val=X_val, y_val=y_val)
    labels = fixed(LogisticRegression(), GroupRecorder()).fit(X, y).student_.received_
    alone = network(alpha=alpha)
    alone.fit(X, y, soft_targets=labels, X_val=X_val, y_val=y_val)
    assert_allclose(model.student_.predict_proba(X), alone.predict_proba(X), rtol=1e-5)
    assert len(model.student_.validation_loss_curve_) == len(alone.validation_loss_curve_)


def test_validation_rows_make_no_labels_and_are_not_trained_on(log):
    X, y, X_val, y_val = parts()
    fixed(LogisticRegression(), GroupRecorder(), augmentation="gibbs").fit(X, y)
    fixed(LogisticRegression(), GroupRecorder(), augmentation="gibbs").fit(
        X, y, X_val=X_val, y_val=y_val
    )
    for name in ("X", "y", "soft"):
        assert_array_equal(log[0][name], log[1][name])


def test_with_groups_too_the_rows_decide_stopping_and_groups_the_labels(log):
    X, y, groups = visits()
    fixed(GroupOracle("oob"), GroupRecorder()).fit(
        X, y, groups=groups, X_val=X[:5] + 0.1, y_val=y[:5]
    )
    (fit,) = log
    assert_allclose(fit["soft"], 0.5)
    assert_array_equal(fit["X_val"], X[:5] + 0.1)
    assert_array_equal(fit["groups"], groups)
    by_rows = fixed(GroupOracle(), network()).fit(X, y, X_val=X[:9], y_val=y[:9])
    by_both = fixed(GroupOracle(), network(), cv=GroupKFold(3)).fit(
        X, y, groups=groups, X_val=X[:9], y_val=y[:9]
    )
    assert by_rows.student_.validation_loss_curve_ is not None
    assert by_both.student_.validation_loss_curve_ is not None


def test_students_that_do_not_take_them_are_not_given_them():
    X, y, X_val, y_val = parts()
    model = fixed(LogisticRegression(), LogisticRegression())
    expected = clone(model).fit(X, y).predict_proba(X)
    found = model.fit(X, y, X_val=X_val, y_val=y_val).predict_proba(X)
    assert_array_equal(found, expected)


@pytest.mark.slow
def test_boosting_stops_on_validation_rows_after_row_expansion():
    X, y, X_val, y_val = parts()
    student = HistGradientBoostingClassifier(
        max_iter=300, early_stopping=True, learning_rate=0.3, min_samples_leaf=5
    )
    model = fixed(LogisticRegression(), student)
    assert clone(model).fit(X, y).student_.n_iter_ == 300  # its own split is switched off
    model.fit(X, y, X_val=X_val, y_val=y_val)
    assert model.student_.n_iter_ < 300
    assert len(model.student_.validation_score_) == model.student_.n_iter_ + 1


@pytest.mark.parametrize("kind", ["network", "boosting"])
def test_pipelines_transform_them(kind):
    X, y, X_val, y_val = parts()
    students = {
        "network": network(),
        "boosting": HistGradientBoostingClassifier(early_stopping=True, max_iter=50),
    }
    last = students[kind]
    scaler, Q = StandardScaler().fit(X), LogisticRegression().fit(X, y).predict_proba(X)
    expected = fixed(None, last).fit(
        scaler.transform(X), y, soft_targets=Q, X_val=scaler.transform(X_val), y_val=y_val
    )
    expected = expected.predict_proba(scaler.transform(X))
    model = fixed(LogisticRegression(), make_pipeline(StandardScaler(), last))
    with pytest.raises(ValueError, match=r"transform_input=\[\"X_val\"\]"):
        model.fit(X, y, X_val=X_val, y_val=y_val)
    with config_context(enable_metadata_routing=True):
        with pytest.raises(ValueError, match=r"transform_input=\[\"X_val\"\]"):
            model.fit(X, y, X_val=X_val, y_val=y_val)
        model.set_params(student__transform_input=["X_val"])
        model.fit(X, y, soft_targets=Q, X_val=X_val, y_val=y_val)
        assert_allclose(model.predict_proba(X), expected, rtol=1e-6)
        around = make_pipeline(
            StandardScaler(),
            fixed(None, last).set_fit_request(soft_targets=True, X_val=True, y_val=True),
            transform_input=["X_val"],
        )
        around.fit(X, y, soft_targets=Q, X_val=X_val, y_val=y_val)
        assert_allclose(around.predict_proba(X), expected, rtol=1e-6)


def test_a_pipeline_in_the_trial_transforms_them():
    X, y, X_val, y_val = parts()
    X, X_val = 1e3 * X + 1e5, 1e3 * X_val + 1e5
    with config_context(enable_metadata_routing=True):
        student = make_pipeline(StandardScaler(), network(input_scaling=False))
        student.set_params(transform_input=["X_val"])
        model = DistilledClassifier(LogisticRegression(), student, random_state=0)
        model.set_params(teacher=make_pipeline(StandardScaler(), LogisticRegression()))
        quietly(model, X, y, X_val=X_val, y_val=y_val)
    assert np.isfinite(model.candidates_["loss"]).all()
    assert model.candidates_["loss"].min() < 0.9


def test_errors_come_before_anything_is_fitted():
    X, y, X_val, y_val = parts()

    class Unfit(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            raise AssertionError("nothing must be fitted")

    def fit(student=None, X=X, **params):
        fixed(Unfit(), network() if student is None else student).fit(X, y, **params)

    with pytest.raises(ValueError, match="y_val was not passed"):
        fit(X_val=X_val)
    with pytest.raises(ValueError, match="X_val was not passed"):
        fit(y_val=y_val)
    with pytest.raises(ValueError, match="X_val was not passed"):
        fit(sample_weight_val=np.ones(40))
    for student in (network(), LogisticRegression()):
        with pytest.raises(ValueError, match=r"X_val has 2 features, but X has 3.*transform_input"):
            fit(student, X_val=X_val[:, :2], y_val=y_val)
    frame, other = pd.DataFrame(X, columns=list("abc")), pd.DataFrame(X_val, columns=list("abd"))
    with pytest.raises(ValueError, match="X_val must have the columns of X"):
        fit(X=frame, X_val=other, y_val=y_val)
    other = pd.DataFrame(X_val, columns=list("abc"))[list("bac")]
    missing = np.where(np.arange(40) == 3, np.nan, 1.0)
    for student in (network(), SelfDistillClassifier(network()), HistGradientBoostingClassifier()):
        with pytest.raises(ValueError, match="columns of X in the same order"):
            fit(student, X=frame, X_val=other, y_val=y_val)
    with pytest.raises(ValueError, match="Input X_val contains NaN"):
        fit(X_val=X_val * missing[:, None], y_val=y_val)
    for student in (network(), LogisticRegression()):
        with pytest.raises(ValueError, match="X_val has no rows"):
            fit(student, X_val=X_val[:0], y_val=y_val[:0])
        with pytest.raises(ValueError, match="Input y_val contains NaN"):
            fit(student, X_val=X_val, y_val=y_val * missing)
    with pytest.raises(ValueError, match="y_val has 39 labels for the 40 rows"):
        fit(X_val=X_val, y_val=y_val[1:])
    with pytest.raises(ValueError, match=r"sample_weight"):
        fit(X_val=X_val, y_val=y_val, sample_weight_val=np.ones(39))
    with pytest.raises(ValueError, match=r"labels \[7\] that are not among the classes"):
        fit(X_val=X_val, y_val=np.where(y_val == 1, 7, y_val))
    with pytest.raises(ValueError, match="that are not among the classes"):
        fit(X_val=X_val, y_val=y_val.astype(str))
    for student in (
        network(early_stopping=False),
        HistGradientBoostingClassifier(early_stopping=False),
    ):
        with pytest.raises(ValueError, match="early_stopping=True"):
            fit(student, X_val=X_val, y_val=y_val)


def test_a_self_distilling_student_stops_on_them():
    X, y, X_val, y_val = parts()
    student = SelfDistillClassifier(network(), target="soft")
    model = fixed(LogisticRegression(), student)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y, X_val=X_val, y_val=y_val)
    assert model.student_.estimator_.validation_loss_curve_ is not None


def test_as_many_rows_as_training_rows_are_warned_of():
    X, y = overlapping(160)
    with pytest.warns(TransferRowsWarning, match="X_val has as many rows as X"):
        fixed(LogisticRegression(), network()).fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:])
    # a search slices by the rows that are passed, those of weight zero among them
    weight = (np.arange(80) > 1).astype(float)
    for n_val, is_expected in ((80, True), (78, False)):
        given = {"X_val": X[80 : 80 + n_val], "y_val": y[80 : 80 + n_val]}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TransferRowsWarning)
            fixed(LogisticRegression(), network()).fit(X[:80], y[:80], weight, **given)
        assert any(w.category is TransferRowsWarning for w in caught) == is_expected


def test_searches_pass_them_on_as_they_are(log):
    X, y, X_val, y_val = parts()
    model = fixed(LogisticRegression(), GroupRecorder())
    GridSearchCV(model, {"alpha": [0.5, 1.0]}, cv=3).fit(X, y, X_val=X_val, y_val=y_val)
    with config_context(enable_metadata_routing=True):
        model.set_fit_request(X_val=True, y_val=True)
        GridSearchCV(model, {"alpha": [0.5, 1.0]}, cv=3).fit(X, y, X_val=X_val, y_val=y_val)
    assert len(log) == 14
    for fit in log:
        assert_array_equal(fit["X_val"], X_val)


# Rows in time


def in_time(n=200):
    X, y = overlapping(n)
    X[:, 0] = np.arange(n)
    return X, y


def explicit(n=200):
    return [(np.arange(start), np.arange(start, start + 50)) for start in (50, 100, 150)]


@pytest.mark.parametrize("cv", [TimeSeriesSplit(3), explicit()], ids=["splitter", "explicit"])
@pytest.mark.parametrize("augmentation", [None, "gibbs", "callable"])
@pytest.mark.parametrize("is_pipeline", [False, True])
def test_the_student_holds_out_the_last_rows(cv, augmentation, is_pipeline, log):
    X, y = in_time()

    def repeat(X, n_rows, seed):
        return X[np.random.default_rng(seed).integers(len(X), size=n_rows)] + 1e-9

    augmentation = repeat if augmentation == "callable" else augmentation
    student = make_pipeline("passthrough", GroupRecorder()) if is_pipeline else GroupRecorder()
    weight = np.linspace(1, 2, 200)
    model = DistilledClassifier(
        GaussianNB(), student, cv=cv, augmentation=augmentation, random_state=0
    )
    quietly(model, X, y, sample_weight=weight)
    assert model.candidates_ is not None
    ends = set()
    for fit in log:
        times = fit["X_val"][:, 0]
        ends.add(times.max())
        if augmentation is None:
            assert fit["X"][:, 0].max() < times.min()
            assert len(times) == round(0.1 * (len(times) + len(fit["X"])))
        else:  # not the rows that were made of the last ones either
            assert not set(np.round(fit["X"][:, 0])) & set(times) or augmentation == "gibbs"
        assert_array_equal(fit["sample_weight_val"], weight[times.astype(int)])
        assert_array_equal(fit["y_val"], y[times.astype(int)])
    assert ends == {149, 199}  # in the trial and in the fit on all rows


def test_years_are_held_out_as_a_whole_and_patients_over_time_by_row(log):
    X, y = in_time()
    years = np.arange(200) // 40
    splits = [(np.flatnonzero(years < year), np.flatnonzero(years == year)) for year in (2, 3, 4)]
    model = fixed(GaussianNB(), GroupRecorder(), cv=splits)
    model.fit(X, y, groups=years)
    assert_array_equal(log[-1]["X_val"][:, 0], np.arange(160, 200))
    assert_array_equal(log[-1]["groups"], years[:160])
    with pytest.warns(DividedGroupsWarning):
        model.fit(X, y, groups=np.arange(200) % 40)
    assert_array_equal(log[-1]["X_val"][:, 0], np.arange(180, 200))


def test_rows_that_no_fold_tests_keep_their_hard_labels(log):
    X, y = in_time()
    fixed(GaussianNB(), GroupRecorder(), cv=TimeSeriesSplit(3)).fit(X, y)
    (fit,) = log
    assert_array_equal(fit["soft"][:50], np.eye(3)[y[:50]])
    assert (fit["soft"][50:].max(axis=1) < 1).all()


def test_networks_hold_out_the_last_rows_too():
    X, y = in_time()
    student = network(early_stopping=True)
    model = DistilledClassifier(
        GaussianNB(), student, cv=TimeSeriesSplit(3), augmentation=None, random_state=0
    )
    quietly(model, X, y)
    model = fixed(GaussianNB(), student, cv=TimeSeriesSplit(3)).fit(X, y)
    recorder = fixed(GaussianNB(), GroupRecorder(), cv=TimeSeriesSplit(3)).fit(X, y)
    alone = clone(student).fit(
        X[:180], y[:180], soft_targets=recorder.student_.received_, X_val=X[180:], y_val=y[180:]
    )
    assert_allclose(model.student_.predict_proba(X), alone.predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 0.0])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_networks_that_do_not_stop_early_on_soft_labels_train_on_the_last_rows(alpha, class_weight):
    X, y = in_time()
    student, cv = network(class_weight=class_weight), TimeSeriesSplit(3)
    model = fixed(GaussianNB(), student, cv=cv, alpha=alpha).fit(X, y)
    soft = fixed(GaussianNB(), GroupRecorder(early_stopping=False), cv=cv).fit(X, y)
    alone, Q = clone(student).set_params(alpha=alpha), soft.student_.received_
    if alpha:
        alone.fit(X, y, soft_targets=Q)
        assert model.student_.validation_loss_curve_ is None
    else:
        alone.fit(X[:180], y[:180], soft_targets=Q[:180], X_val=X[180:], y_val=y[180:])
    assert_allclose(model.student_.predict_proba(X), alone.predict_proba(X), rtol=1e-9)


def test_auto_holds_the_last_rows_out_for_hard_labels_alone(monkeypatch):
    X, y = in_time()
    fits, fit_jointly = {}, TwoLayerPGDClassifier._fit_jointly

    def spy(students, X, *args, **options):
        fits.update({student.alpha: len(X) for student in students})
        return fit_jointly(students, X, *args, **options)

    monkeypatch.setattr(TwoLayerPGDClassifier, "_fit_jointly", staticmethod(spy))
    student, cv = network(), TimeSeriesSplit(3)
    model = DistilledClassifier(GaussianNB(), student, cv=cv, augmentation=None, random_state=0)
    quietly(model, X, y)
    assert fits == {0.0: 135, 0.5: 150}
    assert model.candidates_["alpha"].tolist() == [0.0, 0.5]


@pytest.mark.parametrize(
    "cv", [KFold(4), [(np.arange(100, 200), np.arange(100)), (np.arange(100), np.arange(100, 200))]]
)
def test_other_folds_hold_no_last_rows_out(cv, log):
    X, y = in_time()
    fixed(GaussianNB(), GroupRecorder(), cv=cv).fit(X, y)
    assert log[-1]["X_val"] is None
    assert len(log[-1]["X"]) == 200


def test_students_that_do_not_stop_early_train_on_all_rows(log):
    X, y = in_time()
    model = fixed(GaussianNB(), GroupRecorder(early_stopping=False), cv=TimeSeriesSplit(3))
    model.fit(X, y)
    assert log[-1]["X_val"] is None
    assert len(log[-1]["X"]) == 200


def test_validation_rows_of_the_user_replace_the_last_rows(log):
    X, y = in_time()
    model = fixed(GaussianNB(), GroupRecorder(), cv=TimeSeriesSplit(3))
    model.fit(X, y, X_val=X[:7], y_val=y[:7])
    assert len(log[-1]["X"]) == 200
    assert_array_equal(log[-1]["X_val"], X[:7])
