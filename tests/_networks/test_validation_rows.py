"""Groups and validation rows in fit of both networks: what early stopping is computed from."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import (
    BatchedGridSearchCV,
    ModuleClassifier,
    SelfDistillClassifier,
    TwoLayerPGDClassifier,
    TwoLayerPGDRegressor,
)
from sklearn_kd.exceptions import TransferRowsWarning
from tests._helpers.data import blobs
from tests._helpers.groups import HeldOutSpy, visits
from tests._helpers.modules import Small


def two_layer(**options):
    options = {"encoder": None, "max_iter": 60, "n_init": 1, "random_state": 0, **options}
    options = {"width": 4, "init": "symmetric", "weight_decay": 0.0, **options}
    return TwoLayerPGDClassifier(**options)


def module(**options):
    options["max_epochs"] = options.pop("max_iter", 60)
    return ModuleClassifier(Small, **{"learning_rate": 0.02, "random_state": 0, **options})


BOTH = pytest.mark.parametrize("network", [two_layer, module])
BATCHES = pytest.mark.parametrize("batch_size", [None, 16])
ROWS, LABELS = blobs(170, n_classes=3, spread=3.0)
X, Y, X_VAL, Y_VAL = ROWS[:120], LABELS[:120], ROWS[120:], LABELS[120:]
W_VAL = np.random.RandomState(0).randint(0, 4, size=50)


# Groups


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", ["auto", 128])
@BOTH
def test_log_loss_on_new_patients_is_that_of_logistic_regression(network, batch_size):
    rows, y, patient = visits(60, 15, seed=1)
    new_rows, new_y, _ = visits(500, 1, seed=2)
    model = network(width=64, max_iter=400) if network is two_layer else network(max_iter=400)
    model.set_params(batch_size=batch_size)
    linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, y)
    expected = log_loss(new_y, linear.predict_proba(new_rows))
    found = log_loss(new_y, model.fit(rows, y, groups=patient).predict_proba(new_rows))
    assert found < expected + 0.08
    without = log_loss(new_y, model.fit(rows, y).predict_proba(new_rows))
    assert without > found + 0.15


@pytest.mark.slow
@BATCHES
@BOTH
def test_memorized_labels_of_groups_are_no_progress(network, batch_size):
    rng = np.random.RandomState(0)
    group = np.repeat(np.arange(40), 5)
    rows = rng.normal(size=(40, 8))[group] + 1e-3 * rng.normal(size=(200, 8))
    y = rng.permutation(np.arange(40) % 2)[group]  # that nothing but the group tells
    model = network(batch_size=batch_size, max_iter=300)
    if network is two_layer:
        model.set_params(width=64)
    assert min(model.fit(rows, y).validation_loss_curve_) < 0.3
    assert min(model.fit(rows, y, groups=group).validation_loss_curve_) > 0.6


@pytest.mark.parametrize("fraction", [0.1, 0.4])
@BATCHES
@BOTH
def test_no_row_of_a_group_that_is_held_out_trains(network, batch_size, fraction, monkeypatch):
    spy = HeldOutSpy(monkeypatch, len(X))
    names = np.array([f"patient {k}" for k in range(30)])[np.arange(120) // 4]
    y = (Y[::4] % 2)[np.arange(120) // 4]
    y[::7] = 2  # a class that is spread over groups
    model = network(batch_size=batch_size, max_iter=3, validation_fraction=fraction)
    model.fit(X, y, groups=names)
    held = [pair for pair in spy.pairs if pair[1].any()]
    is_cross_validated = network is two_layer and batch_size is None
    assert len(held) == (5 if is_cross_validated else 1)
    for train, out in held:
        assert not set(names[train]) & set(names[out])
        assert (train ^ out).all()
        assert set(y[train]) == {0, 1, 2}
        share = 0.2 if is_cross_validated else fraction
        assert abs(out.mean() - share) < 0.06
    if is_cross_validated:
        assert sum(out.astype(int) for _, out in held).tolist() == [1] * 120


@BOTH
def test_a_weight_equals_copies_of_a_row_in_the_same_group(network):
    group, weights = np.arange(120) // 4, np.random.RandomState(0).randint(0, 3, size=120)
    copies = np.repeat(np.arange(120), weights)
    model = network(batch_size=None, max_iter=20)
    one = model.fit(X, Y, sample_weight=weights, groups=group).predict_proba(X)
    curve = model.validation_loss_curve_
    assert_allclose(model.fit(X[copies], Y[copies], groups=group[copies]).predict_proba(X), one)
    assert_allclose(model.validation_loss_curve_, curve)
    # rows of weight zero are absent, with their groups
    weights[:8], names = 0, group.astype(float)
    model.fit(X, Y, sample_weight=weights, groups=names)
    assert_allclose(model.fit(X[8:], Y[8:], weights[8:], groups=names[8:]).n_iter_, model.n_iter_)


@BOTH
def test_groups_of_single_rows_and_without_early_stopping(network):
    model = network(max_iter=5, early_stopping=False)
    alone = model.fit(X, Y).predict_proba(X)
    assert_array_equal(model.fit(X, Y, groups=np.zeros(120)).predict_proba(X), alone)
    assert len(network(max_iter=5).fit(X, Y, groups=np.arange(120)).validation_loss_curve_) == 5


# Validation rows


@BOTH
def test_all_rows_train_until_the_epoch_that_validation_rows_choose(network):
    step = {"learning_rate": 0.02} if network is module else {"learning_rate": 1.0}
    if network is two_layer:
        step["width"] = 32
    model = network(batch_size=None, max_iter=1000, **step)
    model.fit(X, Y, X_val=X_VAL, y_val=Y_VAL, sample_weight_val=W_VAL)
    assert 10 < model.best_iter_ < 1000
    curve = model.validation_loss_curve_
    assert np.argmin(curve) == model.best_iter_ - 1
    alone = network(batch_size=None, max_iter=model.best_iter_, early_stopping=False, **step)
    assert_allclose(alone.fit(X, Y).predict_proba(X), model.predict_proba(X), rtol=1e-12)
    assert alone.loss_curve_ == model.loss_curve_[: model.best_iter_]


@pytest.mark.parametrize(
    "loss",
    [
        {},
        {"alpha": 0.5},
        {"alpha": 0.5, "temperature": 3.0},
        {"alpha": 1.0, "temperature": 0.5},
        {"alpha": 1.5},
        {"class_weight": {0: 1.0, 1: 2.0, 2: 5.0}},
        {"class_weight": "balanced"},
    ],
)
@BATCHES
@BOTH
def test_the_validation_loss_is_the_log_loss_of_the_labels(network, batch_size, loss):
    soft = LogisticRegression().fit(X, Y).predict_proba(X)
    model = network(batch_size=batch_size, max_iter=40, **loss)
    model.fit(
        X, Y, soft_targets=soft, X_val=X_VAL, y_val=Y_VAL, sample_weight_val=W_VAL, groups=Y > 0
    )
    weights = W_VAL.astype(float)
    if loss.get("class_weight") == "balanced":
        weights /= np.bincount(Y_VAL, W_VAL)[Y_VAL]
    elif "class_weight" in loss:
        weights *= np.array([1.0, 2.0, 5.0])[Y_VAL]
    expected = log_loss(Y_VAL, model.predict_proba(X_VAL), sample_weight=weights)
    assert_allclose(model.validation_loss_curve_[model.best_iter_ - 1], expected, rtol=1e-10)


@BATCHES
@BOTH
def test_weights_of_validation_rows_equal_copies(network, batch_size):
    copies, kept = np.repeat(np.arange(50), W_VAL), W_VAL > 0
    given = [
        {"X_val": X_VAL, "y_val": Y_VAL, "sample_weight_val": 7.0 * W_VAL},
        {"X_val": X_VAL[copies], "y_val": Y_VAL[copies]},
        {"X_val": X_VAL[kept], "y_val": Y_VAL[kept], "sample_weight_val": W_VAL[kept]},
    ]
    model = network(batch_size=batch_size, max_iter=30)
    curves = [model.fit(X, Y, **each).validation_loss_curve_ for each in given]
    assert_allclose(curves[1], curves[0], rtol=1e-12)
    assert_allclose(curves[2], curves[0], rtol=1e-12)


@pytest.mark.parametrize("y_kind", ["two", "strings", "lacking"])
@BOTH
def test_labels_of_validation_rows(network, y_kind):
    y, y_val = Y, Y_VAL
    if y_kind == "two":
        y, y_val = Y % 2, Y_VAL % 2
    elif y_kind == "strings":
        y, y_val = np.array(["x", "y", "z"])[Y], np.array(["x", "y", "z"])[Y_VAL].astype(object)
    else:
        y_val = np.zeros(50, int)
    model = network(max_iter=20).fit(X, y, X_val=X_VAL, y_val=pd.Series(y_val))
    proba = model.predict_proba(X_VAL)[np.arange(50), np.searchsorted(model.classes_, list(y_val))]
    best = model.validation_loss_curve_[model.best_iter_ - 1]
    assert_allclose(best, -np.log(proba).mean(), rtol=1e-10)


@BOTH
def test_labels_of_pandas(network):
    kinds = (("Int64", [0, 1]), ("boolean", [False, True]), ("category", ["a", "b"]))
    curves = []
    for dtype, labels in kinds:
        y, y_val = (pd.Series(np.array(labels)[each % 2], dtype=dtype) for each in (Y, Y_VAL))
        curves.append(network(max_iter=5).fit(X, y, X_val=X_VAL, y_val=y_val))
    first, *others = (model.validation_loss_curve_ for model in curves)
    assert others == [first] * 2


@BOTH
def test_validation_rows_decide_where_there_are_groups_too(network):
    given = {"X_val": X_VAL, "y_val": Y_VAL}
    one, other = network(max_iter=20), network(max_iter=20)
    one.fit(X, Y, groups=np.zeros(120), **given)  # which could not be held out
    assert_array_equal(one.predict_proba(X), other.fit(X, Y, **given).predict_proba(X))
    with pytest.raises(ValueError, match="groups has 3 entries"):
        network().fit(X, Y, groups=[1, 2, 3], **given)


@BOTH
def test_frames_and_float32(network):
    names = ["a", "b", "c"]
    frame, frame_val = (pd.DataFrame(rows, columns=names) for rows in (X, X_VAL))
    model = network(max_iter=20).fit(frame, Y, X_val=frame_val, y_val=Y_VAL.tolist())
    array = network(max_iter=20).fit(X, Y, X_val=X_VAL.tolist(), y_val=Y_VAL)
    assert_allclose(model.validation_loss_curve_, array.validation_loss_curve_, rtol=1e-12)
    with pytest.raises(ValueError, match="feature names should match"):
        network().fit(frame, Y, X_val=frame_val[["b", "a", "c"]], y_val=Y_VAL)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        network(max_iter=2).fit(frame, Y, X_val=X_VAL, y_val=Y_VAL)
    single = network(max_iter=20).fit(np.float32(X), Y, X_val=X_VAL, y_val=Y_VAL)
    assert single.predict_proba(np.float32(X)).dtype == np.float32
    assert_allclose(single.validation_loss_curve_, array.validation_loss_curve_, rtol=1e-3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X_val": X_VAL}, "y_val was not passed: pass y_val too"),
        ({"y_val": Y_VAL}, "X_val was not passed: pass X_val too"),
        ({"sample_weight_val": W_VAL}, "X_val was not passed"),
        ({"y_val": Y_VAL, "sample_weight_val": W_VAL}, "X_val was not passed"),
        ({"X_val": X_VAL[:, :2], "y_val": Y_VAL}, r'2 features.*transform_input=\["X_val"\]'),
        (
            {"X_val": np.full(X_VAL.shape, "male"), "y_val": Y_VAL},
            r'(?s)X_val cannot be read.*transform_input=\["X_val"\]',
        ),
        ({"X_val": X_VAL[0], "y_val": Y_VAL}, "Expected 2D array"),
        ({"X_val": X_VAL * np.nan, "y_val": Y_VAL}, "Input X_val contains NaN"),
        ({"X_val": X_VAL, "y_val": Y_VAL + 1}, r"y_val contains labels \[3\] that are not among"),
        ({"X_val": X_VAL, "y_val": Y_VAL.astype(str)}, "y_val contains labels"),
        ({"X_val": X_VAL, "y_val": np.where(Y_VAL, np.nan, 0)}, "Input y_val contains NaN"),
        ({"X_val": X_VAL, "y_val": np.where(Y_VAL, None, 0)}, r"contains labels \[None\]"),
        ({"X_val": X, "y_val": np.where(np.arange(120) % 2, Y, "2")}, r"y_val contains labels"),
        ({"X_val": X_VAL, "y_val": np.c_[Y_VAL, Y_VAL]}, "y_val should be a 1d array"),
        ({"X_val": X_VAL, "y_val": Y_VAL[:9]}, "y_val has 9 labels for the 50 rows of X_val"),
        (
            {"X_val": X_VAL, "y_val": Y_VAL, "sample_weight_val": W_VAL[:9]},
            "sample_weight_val has 9 entries for the 50 rows",
        ),
        (
            {"X_val": X_VAL, "y_val": Y_VAL, "sample_weight_val": -W_VAL},
            "Negative values in data passed to",
        ),
        ({"X_val": X_VAL, "y_val": Y_VAL, "sample_weight_val": 0 * W_VAL}, "weight"),
        ({"X_val": X_VAL[:0], "y_val": Y_VAL[:0]}, "0 sample"),
        ({"groups": np.arange(119)}, "groups has 119 entries for 120 rows of X"),
        ({"groups": np.where(np.arange(120) == 5, np.nan, Y)}, "groups contains NaN in 1 rows"),
        ({"groups": Y}, r"classes \[0, 1, 2\] are in one group each.*early_stopping=False"),
        ({"groups": np.where(Y == 2, 0, np.arange(120))}, r"classes \[2\] are in one group each"),
    ],
)
@BOTH
def test_errors_before_training(network, given, message, monkeypatch):
    for estimator in (TwoLayerPGDClassifier, ModuleClassifier):
        monkeypatch.setattr(estimator, "_fit_targets", lambda *a, **b: pytest.fail("trained"))
    model = network()
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, **given)
    assert not hasattr(model, "classes_")


@pytest.mark.parametrize("network", [TwoLayerPGDClassifier, TwoLayerPGDRegressor])
def test_columns_of_y_in_another_order_are_an_error(network):
    y = pd.DataFrame(np.column_stack([Y > 0, Y > 1]).astype(int), columns=["a", "b"])
    other = y[["b", "a"]]
    if network is TwoLayerPGDRegressor:
        y, other = y + X[:, :2], other + X[:, :2]
    model = network(4, max_iter=2, early_stopping=True, encoder=None)
    message = r"{0} has the columns of y in another order: pass {0}\[y.columns\]"
    with pytest.raises(ValueError, match=message.format("soft_targets")):
        model.fit(X, y, soft_targets=other)
    val = {"X_val": X[:50], "y_val": other[:50]}
    for each in (model, BatchedGridSearchCV(model, {"width": [2, 4]}, cv=2, error_score="raise")):
        with pytest.raises(ValueError, match=message.format("y_val")):
            each.fit(X, y, **val)


@BOTH
def test_groups_are_checked_where_class_weights_make_soft_labels_almost_hard(network):
    y, groups = np.arange(120) % 2, np.where(np.arange(120) % 2, 0, np.arange(120))
    soft = np.where(y[:, None] == 0, [1.0, 0.0], [0.1, 0.9])  # mean entropies of .16, and of .054
    model = network(max_iter=5).fit(X, y, soft_targets=soft, groups=groups)
    assert model.validation_loss_curve_ is None
    model.set_params(class_weight={0: 5.0, 1: 1.0})
    with pytest.raises(ValueError, match=r"classes \[1\] are in one group each"):
        model.fit(X, y, soft_targets=soft, groups=groups)
    model.fit(X, y, soft_targets=soft, groups=np.arange(120) // 4)
    assert model.validation_loss_curve_ is not None


@pytest.mark.parametrize("is_self_distilled", [False, True])
@BOTH
def test_as_many_rows_as_training_rows_are_warned_of(network, is_self_distilled):
    model = network(max_iter=3)
    model = SelfDistillClassifier(model, random_state=0) if is_self_distilled else model
    for n_rows, n_expected in ((50, 1), (49, 0)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(X[:n_rows], Y[:n_rows], X_val=X_VAL, y_val=Y_VAL)
        found = [w for w in caught if w.category is TransferRowsWarning]
        assert ["X_val has as many rows as X (50)" in str(w.message) for w in found] == (
            [True] * n_expected
        )


@BOTH
def test_validation_rows_need_early_stopping(network):
    model = network(early_stopping=False)
    with pytest.raises(ValueError, match=r"while early_stopping is False.*early_stopping=True"):
        model.fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    with pytest.raises(TypeError, match="Sparse data was passed for X_val"):
        network().fit(X, Y, X_val=sp.csr_array(X_VAL), y_val=Y_VAL)


# Pipelines and routing


@BOTH
def test_a_pipeline_transforms_validation_rows(network):
    scaler = StandardScaler().fit(X * 100 + 5)
    direct = network(max_iter=20).fit(
        scaler.transform(X * 100 + 5), Y, X_val=scaler.transform(X_VAL * 100 + 5), y_val=Y_VAL
    )
    with config_context(enable_metadata_routing=True):
        last = network(max_iter=20).set_fit_request(
            X_val=True, y_val=True, groups=True, sample_weight_val="w"
        )
        pipeline = Pipeline([("scale", StandardScaler()), ("net", last)], transform_input=["X_val"])
        pipeline.fit(X * 100 + 5, Y, X_val=X_VAL * 100 + 5, y_val=Y_VAL, w=np.ones(50))
        assert pipeline[-1].validation_loss_curve_ == direct.validation_loss_curve_
        pipeline.fit(X, Y, groups=np.arange(120) // 4)
        alone = network(max_iter=20).fit(
            StandardScaler().fit_transform(X), Y, groups=np.arange(120) // 4
        )
        assert pipeline[-1].validation_loss_curve_ == alone.validation_loss_curve_


@BOTH
def test_cross_validation_by_group_passes_the_groups_of_its_rows(network, monkeypatch):
    group, seen = np.arange(120) % 30, []
    check = TwoLayerPGDClassifier._check_validation

    def spy(model, rows, y_encoded, sample_weight, **given):
        seen.append(given["groups"])
        return check(model, rows, y_encoded, sample_weight, **given)

    for estimator in (TwoLayerPGDClassifier, ModuleClassifier):
        monkeypatch.setattr(estimator, "_check_validation", spy)
    with config_context(enable_metadata_routing=True):
        model = network(max_iter=3).set_fit_request(groups=True)
        cross_validate(model, X, Y, cv=GroupKFold(3), params={"groups": group})
    splits = GroupKFold(3).split(X, Y, group)
    for given, (train, _) in zip(seen, splits, strict=True):
        assert_array_equal(given, group[train])


# Many networks at once


@BATCHES
@pytest.mark.parametrize("kind", ["groups", "rows"])
def test_joint_training_is_that_of_single_fits(kind, batch_size):
    given = {"groups": np.arange(120) // 4}
    if kind == "rows":
        given = {"X_val": X_VAL, "y_val": Y_VAL, "sample_weight_val": W_VAL}
    soft = LogisticRegression().fit(X, Y).predict_proba(X)
    settings = [
        {"width": 4},
        {"width": 6, "alpha": 0.5, "temperature": 2.0},
        {"class_weight": "balanced", "alpha": 0.3},
        {"early_stopping": "auto"},
    ]
    settings = [{"early_stopping": True, **each} for each in settings]
    students = [two_layer(batch_size=batch_size, max_iter=40, **each) for each in settings]
    students.append(two_layer(early_stopping=False, batch_size=batch_size))
    rows = two_layer()._check_data(X, Y, None, soft)  # without class weights
    for student in students:
        student._check_data(X, Y, None, soft)  # which sets classes_
    validation = students[0]._check_validation(X, rows[1], None, **given)
    joint = TwoLayerPGDClassifier._fit_jointly(students, *rows, Y, validation=validation)
    joint.advance()
    for student, each in zip(students, settings, strict=False):
        alone = two_layer(batch_size=batch_size, max_iter=40, **each)
        alone.fit(X, Y, soft_targets=soft, **given)
        assert_allclose(student.predict_proba(X), alone.predict_proba(X), rtol=1e-9)
        if each["early_stopping"] == "auto" and kind == "groups":
            assert student.validation_loss_curve_ is alone.validation_loss_curve_ is None
            continue
        assert_allclose(student.validation_loss_curve_, alone.validation_loss_curve_, rtol=1e-9)
    assert (joint.fits[-1].error is None) == (kind == "groups")
    if kind == "rows":
        assert "early_stopping is False" in str(joint.fits[-1].error)
