"""ModuleClassifier as an estimator: warm start, partial_fit, searches and prediction."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import DistilledClassifier, ModuleClassifier
from sklearn_kd._tables import encoder
from sklearn_kd.modules import MLP
from tests._helpers.data import FIXED, blobs
from tests._helpers.modules import Small, model
from tests._helpers.tables import raw_table

# Going on


def test_warm_start_goes_on():
    X, y = blobs(n_classes=3)
    options = {"optimizer": "sgd", "early_stopping": False, "warm_start": True}
    fitted = model(**options, max_epochs=10).fit(X, y)
    first = fitted.loss_curve_
    fitted.fit(X, y)
    whole = model(**{**options, "warm_start": False}, max_epochs=20).fit(X, y)
    assert_allclose(first + fitted.loss_curve_, whole.loss_curve_, rtol=1e-12)
    assert_allclose(fitted.predict_proba(X), whole.predict_proba(X), rtol=1e-12)
    offset = fitted.input_offset_
    fitted.fit(X[y < 2] + 5, y[y < 2])
    assert fitted.predict_proba(X).shape == (len(X), 3)
    assert_array_equal(fitted.input_offset_, offset)
    with pytest.raises(ValueError, match="not among the classes"):
        fitted.fit(X, y + 1)


def test_partial_fit_goes_on_with_the_optimizer(rng):
    X, y = blobs(90, n_classes=3)
    options = {"batch_size": None, "early_stopping": False, "max_epochs": 6}
    whole = model(**options).fit(X, y)
    parts = model(**options)
    with pytest.raises(ValueError, match="classes must be passed"):
        parts.partial_fit(X, y)
    for _ in range(6):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X, y, classes=[0, 1, 2])))
        assert parts.n_iter_ == 1
    assert_allclose(parts.predict_proba(X), whole.predict_proba(X), rtol=1e-10)
    assert b"torch" not in pickle.dumps(parts)
    with pytest.raises(ValueError, match="not what the first call"):
        parts.partial_fit(X, y, classes=[0, 1])
    parts.set_params(learning_rate=1e-9).partial_fit(X[:1], y[:1])
    assert_allclose(parts.predict_proba(X), whole.predict_proba(X), atol=1e-6)
    parts.set_params(optimizer="sgd").partial_fit(X, y)  # another: begins anew
    with pytest.raises(ValueError, match="needs all rows at once"):
        parts.set_params(class_weight="balanced").partial_fit(X, y)


@pytest.mark.parametrize("dtypes", [(np.float64, np.float32), (np.float32, np.float64)])
def test_going_on_keeps_the_dtype_of_the_weights(dtypes):
    X, y = blobs(40)
    fitted = model(max_epochs=2, early_stopping=False).fit(X.astype(dtypes[0]), y)
    fitted.partial_fit(X.astype(dtypes[1]), y)
    assert {array.dtype for array in fitted.module_state_.values()} == {np.dtype(dtypes[0])}
    assert fitted.predict_proba(X.astype(dtypes[1])).dtype == dtypes[0]


@pytest.mark.parametrize("warm_start", [False, True])
def test_going_on_does_not_depend_on_earlier_fits(warm_start):
    X, y = blobs(40)
    once, again = (model(max_epochs=2, batch_size=8, early_stopping=False) for _ in range(2))
    again.partial_fit(X, y, classes=[0, 1]).fit(X, y)
    for each in (once, again):
        each.fit(X, y).set_params(warm_start=warm_start)
        (each.fit if warm_start else each.partial_fit)(X, y)
    assert_array_equal(again.predict_proba(X), once.predict_proba(X))


# With the others


def test_grid_over_width_and_distillation_both_ways():
    X, y = blobs(150, n_classes=3, spread=2.5)
    grid = {"module_params": [{"width": 2}, {"width": 16}]}
    search = GridSearchCV(model(), grid, cv=2, scoring="neg_log_loss").fit(X, y)
    narrow, wide = search.cv_results_["mean_test_score"]
    assert wide > narrow
    for teacher, student in (
        (LogisticRegression(), model()),
        (model(), LogisticRegression()),
        (model(module_params={"width": 32}), model(module_params={"width": 4})),
    ):
        distilled = DistilledClassifier(teacher, student, **FIXED).fit(X, y)
        assert distilled.score(X, y) > 0.75


def test_prediction_follows_the_parameters_whether_or_not_it_was_asked_before():
    X, y = blobs()
    fitted = model().fit(X, y)
    fitted.predict(X)
    fitted.set_params(module_params={"width": 9})
    with pytest.raises(ValueError, match="module_state_ does not fit"):
        fitted.predict(X)


class Noisy(Small):
    def forward(self, x):
        return super().forward(x + torch.randn_like(x))


def test_a_module_that_draws_when_it_predicts_draws_the_same():
    X, y = blobs()
    fitted = model(Noisy, max_epochs=3).fit(X, y)
    first, second = fitted.predict_proba(X), fitted.predict_proba(X)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("how", ["partial_fit", "warm_start"])
def test_going_on_draws_anew(how):
    X, y = blobs()
    drawn = []

    def augment(batch, generator):
        drawn.append(float(torch.rand(1, generator=generator)))
        return batch

    options = {"max_epochs": 1, "batch_size": None, "early_stopping": False}
    fitted = model(augmentation=augment, warm_start=how == "warm_start", **options)
    for _ in range(3):
        if how == "partial_fit":
            fitted.set_params(batch_size=len(X)).partial_fit(X, y, classes=np.unique(y))
        else:
            fitted.fit(X, y)
    assert len(set(drawn)) == 3


def test_partial_fit_with_lbfgs_keeps_no_tensor():
    X, y = blobs()
    fitted = model(optimizer=torch.optim.LBFGS).partial_fit(X, y, classes=np.unique(y))
    assert b"torch" not in pickle.dumps(vars(fitted)["_optimizer_state"]["state"])
    fitted.partial_fit(X, y)


# Names of parameters as in skorch


def test_nested_names_set_single_parameters():
    before = {"width": 4, "norm": True}
    fitted = model(module_params=before).set_params(module__width=6, learning_rate=0.1)
    assert fitted.module_params == {"width": 6, "norm": True}
    assert fitted.learning_rate == 0.1
    assert before == {"width": 4, "norm": True}, "the dict of the user is left alone"
    fitted.set_params(optimizer="sgd", optimizer__momentum=0.9, optimizer__nesterov=True)
    fitted.set_params(scheduler="step", scheduler__step_size=2, module_params={"width": 3})
    assert fitted.optimizer_params == {"momentum": 0.9, "nesterov": True}
    assert fitted.scheduler_params == {"step_size": 2}
    assert fitted.module_params == {"width": 3}
    fitted.set_params(module_params=None, module__width=5)
    assert fitted.module_params == {"width": 5}
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not any("__" in name for name in copy.get_params())
    X, y = blobs()
    assert copy.fit(X, y).module_state_["hidden.weight"].shape == (5, 3)
    for name in ("modul__width", "callbacks__x", "learning_rate__x"):
        with pytest.raises(ValueError, match=r"modul|set (callbacks|learning_rate) itself"):
            fitted.set_params(**{name: 1, "module__width": 9})
    assert fitted.module_params == {"width": 5}, "an error sets nothing"


def test_nested_names_in_the_constructor():
    made = ModuleClassifier(
        MLP, module__width=6, optimizer__eps=1e-6, module_params={"width": 4, "norm": True}
    )
    assert made.module_params == {"width": 6, "norm": True}
    assert made.optimizer_params == {"eps": 1e-6}
    assert clone(made).get_params() == made.get_params()
    assert not any("__" in name for name in made.get_params())
    for wrong in ({"lr": 0.1}, {"module": 1, "modul__width": 4}, {"callbacks__x": 1}):
        with pytest.raises(TypeError, match="unexpected keyword"):
            ModuleClassifier(**{"module": MLP, **wrong})


@pytest.mark.parametrize("prefix", ["", "student__", "student__last__", "teacher__"])
def test_a_grid_over_nested_names(prefix):
    X, y = blobs(60, spread=4.0)
    network = model(max_epochs=5, module_params={"norm": True})
    options = {**FIXED, "random_state": 0}
    estimator = {
        "": network,
        "student__": DistilledClassifier(LogisticRegression(), network, **options),
        "student__last__": DistilledClassifier(
            LogisticRegression(),
            Pipeline([("scale", StandardScaler()), ("last", network)]),
            **options,
        ),
        "teacher__": DistilledClassifier(network, LogisticRegression(), cv=2, **options),
    }[prefix]
    grids = (
        {f"{prefix}module__width": [2, 5]},
        {f"{prefix}module_params": [{"norm": True, "width": 2}, {"norm": True, "width": 5}]},
    )
    nested, plain = (
        GridSearchCV(estimator, grid, cv=2, scoring="neg_log_loss").fit(X, y) for grid in grids
    )
    assert_array_equal(nested.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])
    assert nested.best_index_ == plain.best_index_
    assert_array_equal(nested.predict_proba(X), plain.predict_proba(X))


def test_many_rows_are_encoded_in_blocks(monkeypatch):
    X, y = raw_table()
    fitted = model(Small, encoder="auto", max_epochs=2).fit(X, y)
    expected, sizes, encode = fitted.decision_function(X), [], encoder.encode_cells

    def spy(plan, numbers, codes, dtype):
        sizes.append(len(numbers))
        return encode(plan, numbers, codes, dtype)

    monkeypatch.setattr(encoder, "encode_cells", spy)
    monkeypatch.setattr("sklearn_kd._networks.module.build.MAX_BLOCK_ROWS", 7)
    assert_allclose(fitted.decision_function(X), expected, rtol=1e-12)
    assert max(sizes) == 7
    assert sum(sizes) == len(X)
