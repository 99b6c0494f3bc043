"""DistilledRegressor: labels, mixed targets, units, weights, errors and what is chosen."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_friedman1
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    QuantileRegressor,
    Ridge,
)
from sklearn.metrics import mean_pinball_loss, mean_squared_error, r2_score
from sklearn.model_selection import GroupKFold, TimeSeriesSplit, cross_val_predict
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor

from sklearn_kd import (
    DistilledClassifier,
    DistilledRegressor,
    KernelTeacherRegressor,
    TwoLayerPGDRegressor,
)
from sklearn_kd._distillation.regression import RegressionTask, predicted_quantile
from sklearn_kd._distillation.student_fit import StudentSpec
from sklearn_kd._utils.sklearn_compat import safe_indexing
from sklearn_kd.exceptions import InSampleLabelsWarning, NoGainWarning

FIXED = {"alpha": 1.0, "augmentation": None, "random_state": 0}


def data(n=120, seed=0, noise=1.0):
    return make_friedman1(n, n_features=5, noise=noise, random_state=seed)


class Recording(LinearRegression):
    """Keeps what it was fitted on."""

    def fit(self, X, y, sample_weight=None):
        self.rows_, self.targets_, self.weight_ = X, np.array(y), sample_weight
        return super().fit(X, y, sample_weight)


def labels_by(teacher, X, y, cv="auto", **params):
    """Return the numbers that a student is fitted on, which are those of the teacher alone."""
    model = DistilledRegressor(teacher, Recording(), cv=cv, **FIXED)
    model.fit(X, y, **params)
    return model.student_.targets_, model


class TestLabels:
    def test_own_values_are_taken(self):
        X, y = data()
        kernel = KernelTeacherRegressor(random_state=0)
        labels, model = labels_by(kernel, X, y)
        assert model.label_source_ == "loo"
        assert_allclose(labels, kernel.fit(X, y).loo_prediction_)
        forest = RandomForestRegressor(60, random_state=0)
        labels, model = labels_by(forest, X, y)
        assert model.label_source_ == "oob"
        assert_allclose(labels, forest.set_params(oob_score=True).fit(X, y).oob_prediction_)

    def test_rows_that_were_never_out_of_bag_are_cross_fitted(self):
        X, y = data()
        y = y + 1000
        labels, model = labels_by(RandomForestRegressor(2, random_state=0), X, y)
        seen = np.ones(len(y), dtype=bool)
        for rows in model.teacher_.estimators_samples_:
            seen &= np.isin(np.arange(len(y)), rows)
        assert 0 < seen.sum() < len(y)
        assert labels.min() > 900
        assert (labels[seen] != y[seen]).all()

    def test_a_prediction_of_zero_is_not_a_missing_one(self):
        X, y = data()
        y = np.where(X[:, 0] > 0.5, y, 0.0)
        labels, model = labels_by(RandomForestRegressor(60, random_state=0), X, y)
        assert (model.teacher_.oob_prediction_ == 0).any()
        assert_array_equal(labels, model.teacher_.oob_prediction_)

    def test_others_are_cross_fitted_on_shuffled_folds(self):
        X, y = data()
        labels, model = labels_by(KNeighborsRegressor(1), X, y)
        assert model.label_source_ == "cv"
        assert not (labels == y).any()
        assert np.isin(labels, y).all()
        sorted_labels, _ = labels_by(Ridge(), X[np.argsort(y)], np.sort(y))
        assert np.corrcoef(sorted_labels, np.sort(y))[0, 1] > 0.7  # folds of sorted rows would fail

    @pytest.mark.parametrize("cv", [3, GroupKFold(4)])
    def test_folds_of_the_user(self, cv):
        X, y = data()
        groups = np.arange(len(y)) % 12
        passed = {} if cv == 3 else {"groups": groups}
        labels, _ = labels_by(Ridge(), X, y, cv, **passed)
        expected = cross_val_predict(Ridge(), X, y, cv=cv, groups=passed.get("groups"))
        assert_allclose(labels, expected)

    def test_no_label_comes_from_the_group_of_the_row(self):
        groups = np.repeat(np.arange(20), 6)
        X, y = groups[:, None].astype(float), np.random.default_rng(0).normal(size=20)[groups]
        labels, _ = labels_by(KNeighborsRegressor(1), X, y, groups=groups)
        assert not np.isclose(labels, y).any()

    def test_rows_in_time(self):
        X, y = data()
        labels, _ = labels_by(Ridge(), X, y, TimeSeriesSplit(5))
        first = len(y) - 5 * (len(y) // 6)
        assert_array_equal(labels[:first], y[:first])
        assert not (labels[first:] == y[first:]).any()

    def test_a_frozen_teacher_is_used_as_it_is(self):
        X, y = data()
        other = Ridge().fit(*data(seed=1))
        labels, model = labels_by(FrozenEstimator(other), X, y)
        assert model.label_source_ == "frozen"
        assert_allclose(labels, other.predict(X))

    @pytest.mark.parametrize(
        ("teacher", "warns"),
        [
            (KNeighborsRegressor(1), True),
            (RandomForestRegressor(50, random_state=0), True),
            (Ridge(), False),
            (DecisionTreeRegressor(max_leaf_nodes=6), False),
        ],
    )
    def test_in_sample_labels_of_a_teacher_that_memorizes_warn(self, teacher, warns):
        X, y = data(300)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", InSampleLabelsWarning)
            labels, _ = labels_by(teacher, X, y, "in-sample")
        assert [w.category for w in caught] == warns * [InSampleLabelsWarning]
        assert_allclose(labels, clone(teacher).fit(X, y).predict(X))


class TestLoss:
    @pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, 1.5])
    def test_mixed_targets_minimize_the_sum_of_two_squared_errors(self, alpha):
        X, y = data()
        soft = Ridge(30.0).fit(X, y).predict(X)
        w = np.random.default_rng(0).uniform(0.5, 2, len(y))
        model = DistilledRegressor(student=LinearRegression(), **{**FIXED, "alpha": alpha})
        model.fit(X, y, w, soft_targets=soft)
        design = np.column_stack([X, np.ones(len(y))])
        gram = design.T @ (w[:, None] * design)
        rhs = alpha * design.T @ (w * soft) + (1 - alpha) * design.T @ (w * y)
        assert_allclose(model.student_.coef_, np.linalg.solve(gram, rhs)[:-1], rtol=1e-8)
        assert model.label_source_ == "given"
        assert not hasattr(model, "teacher_")

    @pytest.mark.parametrize("loss", ["squared_error", "huber"])
    def test_a_native_student_has_its_own_loss(self, loss):
        X, y = data()
        network = TwoLayerPGDRegressor(8, loss=loss, max_iter=20, random_state=0)
        model = DistilledRegressor(student=network, **{**FIXED, "alpha": 0.7}).fit(X, y)
        soft = model.teacher_.loo_prediction_
        expected = clone(network).set_params(alpha=0.7).fit(X, y, soft_targets=soft)
        assert_array_equal(model.predict(X), expected.predict(X))

    @pytest.mark.parametrize("student", [Recording(), "network"])
    def test_more_rows_have_the_number_of_the_teacher(self, student):
        X, y = data()
        more = data(40, seed=1)[0]
        teacher = Ridge().fit(X, y)
        params = {"alpha": 0.4, "augmentation": lambda X, n, seed: X[:n] + 0.1, "n_augmented": 30}
        if student == "network":
            student = TwoLayerPGDRegressor(8, loss="huber", max_iter=20, random_state=0)
        model = DistilledRegressor(FrozenEstimator(teacher), student, **params).fit(
            X, y, X_unlabeled=more
        )
        assert model.n_augmented_ == 30
        extra = np.vstack([more, X[:30] + 0.1])
        soft = teacher.predict(np.vstack([X, extra]))
        if isinstance(student, Recording):
            assert_allclose(model.student_.targets_[:120], 0.4 * soft[:120] + 0.6 * y)
            assert_allclose(model.student_.targets_[120:], soft[120:])
        else:
            rows, targets = np.vstack([X, extra]), np.append(y, soft[120:])
            expected = clone(student).set_params(alpha=0.4).fit(rows, targets, soft_targets=soft)
            assert_array_equal(model.predict(X), expected.predict(X))


class TestOutliers:
    def test_numbers_outside_the_range_of_y_are_bounded(self):
        X, y = data()
        teacher = Ridge().fit(X, y)
        far = lambda X, n, seed: X[:n] * np.where(np.arange(n) == 3, 1e6, 1.0)[:, None]  # noqa: E731
        params = {"alpha": 1.0, "augmentation": far, "n_augmented": 10}
        model = DistilledRegressor(FrozenEstimator(teacher), Recording(), **params).fit(X, y)
        labels, free = model.student_.targets_, teacher.predict(model.student_.rows_)
        assert free[123] > 1e5
        assert labels[123] == y.max()
        is_inside = (free >= y.min()) & (free <= y.max())
        assert is_inside.mean() > 0.95
        assert_array_equal(labels[is_inside], free[is_inside])

    def test_each_target_has_its_own_range(self):
        X, y = data()
        Y = np.column_stack([y, -100 * y])
        task = RegressionTask.of_rows(Y, None, None)
        teacher = LinearRegression().fit(X, Y)
        labels = task.predict_labels(teacher, np.vstack([100 * X, -100 * X]), None)
        assert_array_equal(labels.max(axis=0), Y.max(axis=0))
        assert_array_equal(labels.min(axis=0), Y.min(axis=0))


class TestUnits:
    @pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.NoGainWarning")
    @pytest.mark.parametrize(("scale", "shift"), [(1e9, 0.0), (1e-9, 0.0), (2.5, 3e3)])
    @pytest.mark.parametrize("student", [TwoLayerPGDRegressor(8, max_iter=30), LinearRegression()])
    def test_shift_and_scale_change_the_units_alone(self, student, scale, shift):
        X, y = data(160)
        model = DistilledRegressor(student=student, random_state=0)
        first = clone(model).fit(X, y)
        second = clone(model).fit(X, scale * y + shift)
        expected = scale * first.predict(X) + shift
        assert_allclose(second.predict(X), expected, rtol=0, atol=1e-6 * scale * np.std(y))
        assert_allclose(second.candidates_["loss"], first.candidates_["loss"], rtol=1e-6)
        assert second.alpha_ == first.alpha_

    @pytest.mark.parametrize("n_samples", [30, 150])
    def test_a_constant_is_predicted(self, n_samples):
        X = data(n_samples)[0]
        for constant in (0.0, 7e9):
            model = DistilledRegressor(student=TwoLayerPGDRegressor(4, max_iter=5), random_state=0)
            model.fit(X, np.full(n_samples, constant))
            assert_array_equal(model.predict(X), constant)
            assert model.candidates_ is None

    def test_losses_are_in_units_of_the_variance(self):
        _, y = data()
        Y = np.column_stack([y, 1e3 * y**2])
        w = np.random.default_rng(0).uniform(0.5, 2, len(y))
        task = RegressionTask.of_rows(Y, w, None)
        guess = Y + np.random.default_rng(1).normal(size=Y.shape) * Y.std(axis=0)
        variance = np.average((Y - np.average(Y, axis=0, weights=w)) ** 2, axis=0, weights=w)
        squared = StudentSpec.of(Ridge(), "targets")
        found = task.losses_of_labels(guess, Y, squared).mean()
        expected = (mean_squared_error(Y, guess, multioutput="raw_values") / variance).mean()
        assert_allclose(found, expected)
        pinball = StudentSpec.of(QuantileRegressor(quantile=0.8), "targets")
        found = task.losses_of_labels(guess, Y, pinball).mean()
        expected = mean_pinball_loss(Y, guess, alpha=0.8, multioutput="raw_values")
        assert_allclose(found, (expected / np.sqrt(variance)).mean())

    @pytest.mark.parametrize(
        ("student", "level"),
        [
            (Ridge(), None),
            (RandomForestRegressor(), None),
            (TwoLayerPGDRegressor(), None),
            (TwoLayerPGDRegressor(loss="huber"), 0.5),
            (TwoLayerPGDRegressor(loss="quantile", quantiles=(0.1, 0.5)), 0.5),
            (TwoLayerPGDRegressor(loss="quantile", quantiles=(0.1, 0.8, 0.9)), 0.8),
            (TwoLayerPGDRegressor(loss="quantile"), 0.5),
            (HistGradientBoostingRegressor(loss="absolute_error"), 0.5),
            (HistGradientBoostingRegressor(loss="quantile", quantile=0.9), 0.9),
            (GradientBoostingRegressor(loss="quantile", alpha=0.2), 0.2),
            (GradientBoostingRegressor(loss="huber", alpha=0.2), 0.5),
            (DecisionTreeRegressor(criterion="absolute_error"), 0.5),
            (QuantileRegressor(quantile=0.3), 0.3),
        ],
    )
    def test_the_quantile_that_a_student_predicts(self, student, level):
        assert predicted_quantile(student) == level


class TestShapes:
    def test_a_column_is_a_single_target(self):
        X, y = data()
        model = DistilledRegressor(student=DecisionTreeRegressor(max_depth=3), random_state=0)
        flat = clone(model).fit(X, y).predict(X)
        column = clone(model).fit(X, y[:, None]).predict(X)
        assert column.shape == (120, 1)
        assert_array_equal(column[:, 0], flat)

    def test_several_targets(self):
        X, y = data()
        Y = np.column_stack([y, X @ np.arange(5), -3 * y])
        model = DistilledRegressor(Ridge(), LinearRegression(), alpha=0.5, random_state=0)
        together = model.fit(X, Y).predict(X)
        alone = [clone(model).set_params(augmentation=None).fit(X, each).predict(X) for each in Y.T]
        model.set_params(augmentation=None).fit(X, Y)
        assert_allclose(model.predict(X), np.transpose(alone), rtol=1e-8, atol=1e-8)
        assert together.shape == (120, 3)
        auto = DistilledRegressor(
            MultiOutputRegressor(HistGradientBoostingRegressor(max_iter=3)), random_state=0
        ).set_params(student=TwoLayerPGDRegressor(8, max_iter=20))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoGainWarning)
            assert auto.fit(X, Y).predict(X).shape == (120, 3)

    def test_a_student_of_one_target_is_refused_before_any_fit(self):
        X, y = data()
        model = DistilledRegressor(student=HistGradientBoostingRegressor())
        with pytest.raises(ValueError, match=r"2 targets.*student Hist.*MultiOutputRegressor"):
            model.fit(X, np.column_stack([y, y]))
        assert not hasattr(model, "student_")


def several_targets(n=150):
    X, y = data(n)
    return X, np.column_stack([y, 50 * X[:, 0] * X[:, 1] - 3, 1e3 * (X[:, 2] - y)])


class TestSeveralTargets:
    STUDENTS = (
        TwoLayerPGDRegressor(8, max_iter=30, n_init=1),
        TwoLayerPGDRegressor(8, loss="huber", max_iter=30, n_init=1),
        LinearRegression(),
    )

    @pytest.mark.parametrize("teacher", [None, Ridge()])
    @pytest.mark.parametrize("student", STUDENTS)
    def test_a_weight_of_k_equals_k_copies(self, teacher, student):
        X, Y = several_targets()
        k = np.random.default_rng(0).integers(0, 4, len(Y))
        # the first copies are in the order of the rows
        index = np.append(np.repeat(np.arange(len(Y)), np.minimum(k, 2)), np.flatnonzero(k == 3))
        alpha = "auto" if isinstance(student, LinearRegression) else 0.5
        model = DistilledRegressor(teacher, student, **{**FIXED, "alpha": alpha})
        weighted = clone(model).fit(X, Y, sample_weight=k.astype(float))
        copied = clone(model).fit(X[index], Y[index])
        assert weighted.alpha_ == copied.alpha_
        differences = np.abs(weighted.predict(X) - copied.predict(X)).max(axis=0)
        assert_allclose(differences / Y.std(axis=0), 0, atol=1e-9)

    @pytest.mark.parametrize("alpha", ["auto", 0.5])
    @pytest.mark.parametrize("student", STUDENTS)
    def test_shift_and_scale_of_each_target_change_its_unit_alone(self, student, alpha):
        X, Y = several_targets()
        scale, shift = np.array([1e9, 1e-9, 2.5]), np.array([0.0, 0.0, 3e3])
        model = DistilledRegressor(student=student, alpha=alpha, random_state=0)
        first = clone(model).fit(X, Y)
        second = clone(model).fit(X, scale * Y + shift)
        differences = np.abs((second.predict(X) - shift) / scale - first.predict(X)).max(axis=0)
        assert_allclose(differences / Y.std(axis=0), 0, atol=1e-6)
        assert second.alpha_ == first.alpha_
        assert_allclose(second.candidates_["loss"], first.candidates_["loss"], rtol=1e-6)

    @pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.NoGainWarning")
    @pytest.mark.parametrize("constant", [0.0, -7e9])
    @pytest.mark.parametrize("student", STUDENTS)
    def test_a_constant_is_predicted_beside_others(self, student, constant):
        X, Y = several_targets()
        Y[:, 1] = constant
        model = DistilledRegressor(student=student, random_state=0).fit(X, Y)
        assert_allclose(model.predict(X)[:, 1], constant, rtol=1e-12, atol=1e-12)
        for k in (0, 2):
            assert r2_score(Y[:, k], model.predict(X)[:, k]) > 0.6
        if isinstance(student, LinearRegression):
            fixed = clone(model).set_params(alpha=0.5, augmentation=None)
            expected = clone(fixed).fit(X, Y[:, [0, 2]]).predict(X)
            assert_allclose(fixed.fit(X, Y).predict(X)[:, [0, 2]], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
class TestHeavyTails:
    NETWORK = TwoLayerPGDRegressor(8, max_iter=200, n_init=1)

    @pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.NoGainWarning")
    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    @pytest.mark.parametrize("noise", ["t", "outlier"])
    @pytest.mark.parametrize(
        ("teacher", "student"),
        [
            (None, NETWORK),
            (None, clone(NETWORK).set_params(loss="huber")),
            (Ridge(), clone(NETWORK).set_params(loss="quantile")),
            (RandomForestRegressor(30), DecisionTreeRegressor(min_samples_leaf=3)),
        ],
        ids=["squared", "huber", "median", "tree"],
    )
    def test_errors_are_about_those_of_the_student_alone_or_less(self, teacher, student, noise):
        ratios = []
        for seed in range(2):
            X, truth = data(500, seed=seed, noise=0.0)
            rng = np.random.RandomState(seed)
            y = truth + (rng.standard_t(1.5, 500) if noise == "t" else rng.normal(size=500))
            if noise == "outlier":
                y[7] = 1e6
            model = DistilledRegressor(teacher, student, random_state=0).fit(X[:200], y[:200])
            alone = clone(student).set_params(random_state=0).fit(X[:200], y[:200])
            errors = [np.abs(m.predict(X[200:]) - truth[200:]) for m in (model, alone)]
            assert np.isfinite(errors[0]).all()
            ratios.append(np.median(errors[0]) / np.median(errors[1]))
            if noise == "outlier" and getattr(student, "loss", "") in ("huber", "quantile"):
                assert np.median(errors[0]) < 1.5  # one wrong target does not decide
        assert np.prod(ratios) ** 0.5 < 1.2


class TestWeights:
    @pytest.mark.parametrize("alpha", ["auto", 0.5])
    def test_a_weight_of_k_equals_k_copies(self, alpha):
        X, y = data(150)
        k = np.random.default_rng(0).integers(0, 4, len(y))
        # no tree, in which rounding may decide between equal splits
        model = DistilledRegressor(student=LinearRegression(), **{**FIXED, "alpha": alpha})
        weighted = clone(model).fit(X, y, sample_weight=k.astype(float))
        copied = clone(model).fit(np.repeat(X, k, axis=0), np.repeat(y, k))
        assert_allclose(weighted.predict(X), copied.predict(X), rtol=1e-7)
        if alpha == "auto":
            for name in ("loss", "gain", "gain_error"):
                expected = copied.candidates_[name]
                assert_allclose(weighted.candidates_[name], expected, rtol=1e-6, atol=1e-12)

    @pytest.mark.parametrize("is_frame", [False, True])
    @pytest.mark.parametrize(
        "student", [Ridge(1e-3), TwoLayerPGDRegressor(8, max_iter=30, n_init=1)]
    )
    def test_a_weight_of_k_equals_k_copies_under_a_teacher_that_is_cross_fitted(
        self, student, is_frame
    ):
        rng = np.random.default_rng(0)
        X, y = data(150)
        k = rng.integers(0, 4, len(y))
        # the first copies are in the order of the rows
        index = np.append(np.repeat(np.arange(len(y)), np.minimum(k, 2)), np.flatnonzero(k == 3))
        alpha = "auto" if isinstance(student, Ridge) else 0.5
        model = DistilledRegressor(Ridge(), student, **{**FIXED, "alpha": alpha})
        if is_frame:
            X = pd.DataFrame(X).add_prefix("x").assign(color=rng.choice(["red", "blue"], len(y)))
            encoder = make_column_transformer(
                (OrdinalEncoder(), ["color"]), remainder="passthrough"
            )
            model.teacher = make_pipeline(encoder, Ridge())
            if not hasattr(student, "encoder"):
                model.student = make_pipeline(encoder, student)
        weighted = clone(model).fit(X, y, sample_weight=k.astype(float))
        copied = clone(model).fit(safe_indexing(X, index), y[index])
        assert weighted.label_source_ == copied.label_source_ == "cv"
        assert weighted.alpha_ == copied.alpha_
        assert_allclose(weighted.predict(X), copied.predict(X), rtol=1e-7, atol=1e-9)

    @pytest.mark.parametrize("is_frame", [False, True])
    def test_no_label_comes_from_a_fit_that_has_seen_a_copy(self, is_frame):
        rng = np.random.default_rng(0)
        X, y = np.repeat(rng.normal(size=(60, 2)), 3, axis=0), rng.normal(size=180)
        teacher, student = KNeighborsRegressor(1), Recording()
        if is_frame:
            X = pd.DataFrame(X).assign(text=np.repeat([f"row {i}" for i in range(60)], 3))
            X.columns = ["a", "b", "text"]
            numbers = make_column_transformer(("passthrough", ["a", "b"]))
            teacher, student = make_pipeline(numbers, teacher), make_pipeline(numbers, student)
        model = DistilledRegressor(teacher, student, **{**FIXED, "alpha": 1.0}).fit(X, y)
        labels = (model.student_[-1] if is_frame else model.student_).targets_.reshape(60, 3)
        # the nearest row is another one, and the same one for all copies
        assert_array_equal(labels, labels[:, [0, 0, 0]])
        assert not (labels[:, :1] == y.reshape(60, 3)).any()


class Scribbler(Ridge):
    """Writes into the rows and targets that it is given."""

    def fit(self, X, y, sample_weight=None):
        super().fit(np.array(X), np.array(y), sample_weight)
        scribble(X)
        y *= 2
        return self

    def predict(self, X):
        values = super().predict(np.array(X))
        scribble(X)
        return values


def scribble(X):
    if hasattr(X, "iloc"):
        X.iloc[:, :] = 7.0
    else:
        X[:] = 7.0


class TestEstimatorsThatWriteIntoRows:
    @pytest.mark.parametrize("is_frame", [False, True])
    @pytest.mark.parametrize("cv", ["auto", "in-sample", 3])
    @pytest.mark.parametrize("alpha", ["auto", 0.5])
    @pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.InSampleLabelsWarning")
    @pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.NoGainWarning")
    def test_the_results_are_those_of_others(self, alpha, cv, is_frame):
        X, y = data(150)
        X = pd.DataFrame(X) if is_frame else X
        kept, more = X.copy(), X[:40] + 0.1
        model = DistilledRegressor(Ridge(), Ridge(), **{**FIXED, "alpha": alpha, "cv": cv})
        expected = clone(model).fit(X, y, X_unlabeled=more)
        found = clone(model).set_params(teacher=Scribbler(), student=Scribbler())
        target = y.copy()
        found.fit(X, y, X_unlabeled=more)
        assert_array_equal(X, kept)
        assert_array_equal(more, kept[:40] + 0.1)
        assert_array_equal(y, target)
        assert_allclose(found.student_.coef_, expected.student_.coef_, rtol=1e-12)
        assert_allclose(found.teacher_.coef_, expected.teacher_.coef_, rtol=1e-12)
        if alpha == "auto":
            assert_allclose(found.candidates_["loss"], expected.candidates_["loss"], rtol=1e-10)

    @pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.NoGainWarning")
    def test_steps_in_front_of_networks_that_train_jointly(self):
        X, y = data(150)
        kept = X.copy()

        def fitted(*, copy):
            scaler = StandardScaler(copy=copy)
            student = make_pipeline(scaler, TwoLayerPGDRegressor(8, max_iter=20, n_init=1))
            model = DistilledRegressor(make_pipeline(scaler, Ridge()), student, random_state=0)
            return model.fit(X, y, sample_weight=np.ones(len(y)))

        expected, found = fitted(copy=True), fitted(copy=False)
        assert_array_equal(X, kept)
        assert_array_equal(found.candidates_["loss"], expected.candidates_["loss"])
        assert_array_equal(found.predict(X.copy()), expected.predict(X))

    @pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.NoGainWarning")
    @pytest.mark.parametrize("alpha", ["auto", 0.5])
    def test_validation_rows(self, alpha):
        X, y = data(200)
        (X, X_val), (y, y_val) = (np.split(each, [150]) for each in (3 * X + 5, y))
        kept = X_val.copy()
        network = TwoLayerPGDRegressor(8, max_iter=20, n_init=1, early_stopping=True)

        def fitted(*, copy):
            student = make_pipeline(
                StandardScaler(copy=copy),
                network.set_fit_request(X_val=True, y_val=True),
                transform_input=["X_val"],
            )
            model = DistilledRegressor(Ridge(), student, **{**FIXED, "alpha": alpha})
            return model.fit(X, y, X_val=X_val, y_val=y_val)

        with config_context(enable_metadata_routing=True):
            expected, found = fitted(copy=True), fitted(copy=False)
        assert_array_equal(X_val, kept)
        assert_array_equal(found.predict(X.copy()), expected.predict(X))


class TestChoice:
    def test_targets_alone_are_among_the_candidates(self):
        X, y = data(400)
        with pytest.warns(
            NoGainWarning, match=r"mean squared error \(in units.*higher.*Targets alone are"
        ):
            model = DistilledRegressor(DummyRegressor(), Ridge(1e-6), random_state=0).fit(X, y)
        assert (model.alpha_, model.label_source_, model.n_augmented_) == (0.0, "hard", 0)
        found = model.candidates_
        assert list(found) == [
            "alpha",
            "label_source",
            "n_augmented",
            "loss",
            "gain",
            "gain_error",
            "chosen",
        ]
        assert_allclose(found["gain"], found["loss"][0] - found["loss"])
        assert found["chosen"].tolist() == [True] + [False] * (len(found["loss"]) - 1)

    def test_a_better_teacher_is_distilled(self):
        X, y = data(400, noise=3.0)
        truth = make_friedman1(400, n_features=5, noise=0.0, random_state=0)[1]
        tree = DecisionTreeRegressor(min_samples_leaf=2, random_state=0)
        model = DistilledRegressor(student=tree, random_state=0).fit(X, y)
        assert model.alpha_ > 0
        hard = clone(tree).fit(X, y)
        assert mean_squared_error(truth, model.predict(X)) < mean_squared_error(
            truth, hard.predict(X)
        )

    def test_nothing_is_held_out_from_few_rows(self):
        X, y = data(99)
        model = DistilledRegressor(Ridge(), LinearRegression(), random_state=0).fit(X, y)
        assert model.candidates_ is None
        assert model.alpha_ > 0
        assert model.n_augmented_ == 0

    def test_a_candidate_that_fails_ends_no_other(self):
        class Fussy(LinearRegression):
            def fit(self, X, y):
                if len(np.unique(y.round(6))) == 1:
                    raise ValueError("constant")
                return super().fit(X, y)

        X, y = data(200)
        with pytest.warns(NoGainWarning):
            model = DistilledRegressor(
                DummyRegressor(), Fussy(), augmentation=None, alpha="auto", random_state=0
            ).fit(X, y)
        assert model.label_source_ == "hard"


class Broken(RegressorMixin, BaseEstimator):
    def __init__(self, value=np.nan):
        self.value = value

    def fit(self, X, y):
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return np.full(len(X), self.value)


class TestErrors:
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_predictions_that_are_not_finite(self, value):
        X, y = data()
        with pytest.raises(ValueError, match="the teacher Broken has returned NaN or infinity"):
            DistilledRegressor(Broken(value), Ridge(), **FIXED).fit(X, y)
        model = DistilledRegressor(Ridge(), Broken(value), **FIXED).fit(X, y)
        with pytest.raises(ValueError, match="the student Broken has returned NaN or infinity"):
            model.predict(X)
        auto = DistilledRegressor(Ridge(), Broken(value), random_state=0)
        with pytest.raises(ValueError, match="predictions of the student Broken are not finite"):
            auto.fit(X, y)

    def test_another_number_of_predictions(self):
        class Wide(Broken):
            def predict(self, X):
                return np.zeros((len(X), 2))

        with pytest.raises(ValueError, match=r"Wide has returned the shape \(120, 2\)|\(24, 2\)"):
            DistilledRegressor(Wide(), Ridge(), **FIXED).fit(*data())

    def test_classifiers_are_refused_and_regressors_by_the_classifier(self):
        X, y = data()
        with pytest.raises(TypeError, match=r"teacher LogisticRegression is a classifier.*numbers"):
            DistilledRegressor(LogisticRegression()).fit(X, y)
        with pytest.raises(TypeError, match="student LogisticRegression is a classifier"):
            DistilledRegressor(Ridge(), LogisticRegression()).fit(X, y)
        with pytest.raises(TypeError, match=r"teacher Ridge is a regressor.*not labels"):
            DistilledClassifier(Ridge()).fit(X, (y > 14).astype(int))
        with pytest.raises(TypeError, match="student TwoLayerPGDRegressor is a regressor"):
            DistilledClassifier(student=TwoLayerPGDRegressor()).fit(X, (y > 14).astype(int))

    @pytest.mark.parametrize(
        ("y", "match"),
        [
            (np.array(["low", "high"] * 60), "y must be numbers"),
            (np.array([1.0, "a"] * 60, dtype=object), "y must be numbers"),
            (np.append(np.arange(119.0), np.nan), r"NaN in 1 rows.*X_unlabeled"),
            (np.append(np.arange(119.0), np.inf), "infinity"),
            (np.arange(120) * 1j, "Complex"),
            (np.zeros((120, 2, 2)), "shape"),
            (np.zeros(0), r"0 sample\(s\) .* required by DistilledRegressor"),
        ],
    )
    def test_targets_that_are_no_numbers(self, y, match):
        with pytest.raises(ValueError, match=match):
            DistilledRegressor(Ridge(), Ridge()).fit(data()[0][: len(y)], y)

    def test_soft_targets_with_the_index_of_another_order(self):
        X, y = data()
        X, soft = pd.DataFrame(X), pd.Series(y)[::-1]
        for fit in (DistilledRegressor(Ridge(), Ridge()).fit, TwoLayerPGDRegressor().fit):
            with pytest.raises(ValueError, match="soft_targets has the index of X in another"):
                fit(X, y, soft_targets=soft)

    def test_students_that_learn_or_predict_nothing(self):
        X, y = data()
        frozen = make_pipeline(StandardScaler(), FrozenEstimator(Ridge().fit(X, y)))
        with pytest.raises(ValueError, match="FrozenEstimator, which learns nothing"):
            DistilledRegressor(Ridge(), frozen).fit(X, y)

        class Silent(BaseEstimator):
            def fit(self, X, y):
                return self

        with pytest.raises(TypeError, match="student Silent has no predict"):
            DistilledRegressor(Ridge(), Silent()).fit(X, y)

    def test_one_group(self):
        X, y = data()
        with pytest.raises(ValueError, match="all rows are in one group, and two groups"):
            DistilledRegressor(Ridge(), Ridge()).fit(X, y, groups=np.zeros(120))

    def test_validation_targets_of_another_shape(self):
        X, y = data()
        model = DistilledRegressor(Ridge(), TwoLayerPGDRegressor(8, max_iter=5), **FIXED)
        with pytest.raises(ValueError, match=r"y_val has the shape \(20, 2\)"):
            model.fit(X, y, X_val=X[:20], y_val=np.zeros((20, 2)))
        model.fit(X, y, X_val=X[:20], y_val=y[:20, None])
        assert model.student_.validation_loss_curve_ is not None


def test_any_regressor_may_be_a_student():
    X, y = data()
    students = (SVR(), KNeighborsRegressor(3), make_pipeline(StandardScaler(), Ridge()))
    for student in students:
        model = DistilledRegressor(Ridge(), student, **{**FIXED, "alpha": 0.5}).fit(X, y)
        assert model.score(X, y) > 0.4
        assert model.without_teacher().predict(X) == pytest.approx(model.predict(X))
