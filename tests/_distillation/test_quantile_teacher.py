"""Teachers of quantiles of three kinds, in pipelines, frozen and in a dict."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, QuantileRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import DistilledRegressor, KernelTeacherRegressor, TwoLayerPGDRegressor
from sklearn_kd._distillation.quantile_teacher import (
    LevelRegressors,
    check_quantile_teacher,
    predict_quantiles,
)
from sklearn_kd._utils.sub_estimators import seeded
from sklearn_kd.exceptions import IgnoredSampleWeightWarning

LEVELS = np.array([0.1, 0.5, 0.9])


def as_quantile_teacher(teacher, levels):
    if isinstance(teacher, dict):
        teacher = LevelRegressors.of(teacher)
    check_quantile_teacher(teacher, levels)
    return teacher


class NormalErrors(RegressorMixin, BaseEstimator):
    """Linear regression with errors of one normal distribution, whose predict takes quantiles."""

    def fit(self, X, y, sample_weight=None):
        """Fit the line and the deviation."""
        self.line_ = LinearRegression().fit(X, y, sample_weight)
        self.scale_ = np.std(y - self.line_.predict(X))
        return self

    def predict(self, X, quantiles=None):
        """Predict one column for each of several quantiles, which is no column for one."""
        if quantiles is None:
            return self.line_.predict(X)
        assert type(quantiles) is list  # quantile-forest compares it with a list
        values = self.line_.predict(X)[:, None] + self.scale_ * norm.ppf(quantiles)
        return values[:, 0] if len(quantiles) == 1 else values


class WithMethod(NormalErrors):
    """The same with predict_quantiles."""

    def predict(self, X):
        """Predict the mean."""
        return self.line_.predict(X)

    def predict_quantiles(self, X, quantiles):
        """Predict quantiles in another order than asked for."""
        values = NormalErrors.predict(self, X, list(quantiles))
        return values.reshape(len(X), -1)[:, ::-1]


def rows(n=60, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, 3))
    return X, X[:, 0] + 0.3 * rng.normal(size=n)


def boosted(**options):
    return {
        q: GradientBoostingRegressor(loss="quantile", alpha=q, n_estimators=5, **options)
        for q in LEVELS.tolist()
    }


@pytest.mark.parametrize(
    "teacher",
    [
        NormalErrors(),
        WithMethod(),
        make_pipeline(StandardScaler(), NormalErrors()),
        make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), WithMethod())),
        make_pipeline(WithMethod()),
    ],
    ids=str,
)
@pytest.mark.parametrize("is_frozen", [False, True])
@pytest.mark.parametrize("routing", [False, True])
def test_estimators_of_quantiles(teacher, is_frozen, routing):
    X, y = rows()
    with config_context(enable_metadata_routing=routing):
        found = as_quantile_teacher(teacher, LEVELS)
        assert found is teacher
        fitted = clone(found).fit(X, y)
        if is_frozen:
            fitted = as_quantile_teacher(FrozenEstimator(fitted), LEVELS)
        expected = NormalErrors().fit(X, y).predict(X, LEVELS.tolist())
        assert_allclose(predict_quantiles(fitted, X, LEVELS), expected)
        assert_allclose(predict_quantiles(fitted, X, LEVELS[1:2]), expected[:, 1:2])


def test_estimators_of_this_package():
    X, y = rows()
    kernel = as_quantile_teacher(KernelTeacherRegressor(), LEVELS).fit(X, y)
    assert_array_equal(predict_quantiles(kernel, X, LEVELS), kernel.predict_quantiles(X, LEVELS))
    network = TwoLayerPGDRegressor(
        4, loss="quantile", quantiles=(0.1, 0.3, 0.5, 0.9), max_iter=5, random_state=0
    )
    network = as_quantile_teacher(network, LEVELS).set_params(early_stopping=False)
    with pytest.warns(UserWarning, match="max_iter"):
        network.fit(X, y)
    found = predict_quantiles(FrozenEstimator(network), X, LEVELS)
    assert_array_equal(found, network.predict_quantiles(X)[:, [0, 2, 3]])
    with pytest.raises(ValueError, match=r"quantiles \[0.5\], and those of the levels \[0.1, 0.5"):
        as_quantile_teacher(TwoLayerPGDRegressor(loss="quantile", quantiles=[0.5]), LEVELS)


def test_a_regressor_for_each_level():
    X, y = rows()
    given = boosted(random_state=0)
    given[0.3] = given[0.1]  # more than are needed
    teacher = as_quantile_teacher(given, LEVELS)
    assert teacher.levels == (0.1, 0.5, 0.9, 0.3)
    fitted = clone(teacher).fit(X, y)
    expected = [clone(given[q]).fit(X, y).predict(X) for q in LEVELS]
    assert_array_equal(predict_quantiles(fitted, X, LEVELS), np.sort(np.stack(expected, 1), axis=1))
    assert_array_equal(fitted.predict(X), expected[1])
    assert not hasattr(given[0.1], "estimators_")
    assert predict_quantiles(fitted, X, LEVELS[2:]).shape == (60, 1)


@pytest.mark.parametrize("is_frame", [False, True])
def test_regressors_that_write_into_the_rows_do_not_change_those_of_others(is_frame):
    X, y = rows()
    X = 3.0 * X + 5.0
    X = pd.DataFrame(X) if is_frame else X
    kept = X.copy()

    def fitted(*, copy):
        scaled = {q: make_pipeline(StandardScaler(copy=copy), each) for q, each in lines.items()}
        return as_quantile_teacher(scaled, LEVELS).fit(X, y)

    lines = {q: QuantileRegressor(quantile=q, alpha=0) for q in LEVELS.tolist()}
    found, expected = fitted(copy=False), fitted(copy=True)
    for levels in (LEVELS, LEVELS[2:]):
        assert_array_equal(
            predict_quantiles(found, X, levels), predict_quantiles(expected, X, levels)
        )
    assert_array_equal(X, kept)


def test_parameters_of_the_regressors():
    teacher = as_quantile_teacher(boosted(), LEVELS)
    assert teacher.get_params()["0.1__n_estimators"] == 5
    teacher.set_params(**{"0.1__n_estimators": 7})
    copy = clone(teacher)
    assert [each.n_estimators for each in copy.regressors] == [7, 5, 5]
    assert copy.regressors[0] is not teacher.regressors[0]
    random = seeded(teacher, np.random.RandomState(0))
    assert len({each.random_state for each in random.regressors}) == 3
    assert teacher.regressors[0].random_state is None


def test_levels_that_are_close_have_a_regressor_each():
    levels = (0.5, 0.9999991, 0.9999992)
    constants = [DummyRegressor(strategy="constant", constant=k) for k in (0, 1, 2)]
    teacher = LevelRegressors(levels, constants)
    X, y = rows()
    assert_array_equal(teacher.fit(X, y).predict_quantiles(X[:1], levels), [[0, 1, 2]])


def test_weights_reach_each_regressor():
    X, y = rows()
    weights = np.random.RandomState(0).randint(1, 3, size=60).astype(float)
    teacher = as_quantile_teacher(boosted(random_state=0), LEVELS)
    expected = [each.fit(X, y, weights).predict(X) for each in boosted(random_state=0).values()]
    found = clone(teacher).fit(X, y, weights)
    assert_array_equal(predict_quantiles(found, X, LEVELS), np.sort(np.stack(expected, 1), axis=1))
    with config_context(enable_metadata_routing=True):
        given = boosted(random_state=0)
        for q in (0.1, 0.9):
            given[q].set_fit_request(sample_weight=True)
        given[0.5].set_fit_request(sample_weight=False)
        some = as_quantile_teacher(given, LEVELS).fit(X, y, sample_weight=weights)
        assert_array_equal(some.regressors_[0].predict(X), expected[0])
        unweighted = boosted(random_state=0)[0.5].fit(X, y).predict(X)
        assert_array_equal(some.regressors_[1].predict(X), unweighted)
    mixed = as_quantile_teacher({**boosted(), 0.5: KNeighborsRegressor()}, LEVELS)
    with pytest.warns(IgnoredSampleWeightWarning, match=r"of the level 0\.5, a KNeighbors"):
        mixed.fit(X, y, weights)


def test_a_dict_of_frozen_regressors():
    X, y = rows()
    fitted = {q: each.fit(X, y) for q, each in boosted(random_state=0).items()}
    frozen = as_quantile_teacher({q: FrozenEstimator(each) for q, each in fitted.items()}, LEVELS)
    assert isinstance(frozen, FrozenEstimator)
    assert clone(frozen) is frozen
    expected = np.sort(np.stack([each.predict(X) for each in fitted.values()], axis=1), axis=1)
    assert_array_equal(predict_quantiles(frozen, X, LEVELS), expected)
    with pytest.raises(ValueError, match="freeze all of them, or none"):
        as_quantile_teacher({**fitted, 0.1: FrozenEstimator(fitted[0.1])}, LEVELS)


@pytest.mark.parametrize(
    "teacher",
    [
        RandomForestRegressor(),
        make_pipeline(StandardScaler(), LinearRegression()),
        TwoLayerPGDRegressor(),
        QuantileRegressor(),
    ],
    ids=str,
)
def test_teachers_without_quantiles(teacher):
    with pytest.raises(TypeError) as raised:
        as_quantile_teacher(teacher, LEVELS)
    for part in ("predicts no quantiles", "predict_quantiles(X, quantiles)", "dict {q: regressor}"):
        assert part in str(raised.value)


def test_dicts_that_are_errors():
    with pytest.raises(ValueError, match=r"has the quantiles \[0.1, 0.5, 0.9\], and .* \[0.05"):
        as_quantile_teacher(boosted(), np.array([0.05, 0.5]))
    with pytest.raises(ValueError, match=r"has the quantiles \[\]"):
        as_quantile_teacher({}, LEVELS)
    with pytest.raises(TypeError, match="keys of the dict of teachers are"):
        as_quantile_teacher({"low": LinearRegression()}, LEVELS)
    for other in ("line", LinearRegression):  # a class is no estimator
        with pytest.raises(TypeError, match="which is no regressor"):
            DistilledRegressor({0.5: other}, quantiles=(0.5,)).fit(*rows())
    with pytest.raises(TypeError, match=r"keys of the dict of teachers are \['0.5'\]"):
        DistilledRegressor({"0.5": LinearRegression()}, quantiles=(0.5,)).fit(*rows())
    with pytest.raises(TypeError, match="RandomForestClassifier is a classifier"):
        DistilledRegressor({0.5: RandomForestClassifier()}, quantiles=(0.5,)).fit(*rows())


@pytest.mark.parametrize(
    "regressor",
    [
        GradientBoostingRegressor(loss="quantile", alpha=0.9),
        HistGradientBoostingRegressor(loss="absolute_error"),
        make_pipeline(StandardScaler(), QuantileRegressor(quantile=0.2)),
    ],
    ids=str,
)
def test_a_regressor_of_another_quantile_than_its_level(regressor):
    with pytest.raises(ValueError, match=r"has the key 0.1 for a .* that predicts the quantile 0"):
        as_quantile_teacher({**boosted(), 0.1: regressor}, LEVELS)


class OwnLevels(WithMethod):
    """A regressor that says in ``quantiles`` alone which levels it predicts."""

    def __init__(self, quantiles=(0.1, 0.5, 0.9)):
        self.quantiles = quantiles

    def predict_quantiles(self, X):
        """Predict the quantiles of the levels."""
        return super().predict_quantiles(X, self.quantiles)


def test_levels_of_a_teacher_of_another_package():
    X, y = rows()
    teacher = as_quantile_teacher(OwnLevels(), LEVELS).fit(X, y)
    expected = predict_quantiles(WithMethod().fit(X, y), X, LEVELS)
    assert_array_equal(predict_quantiles(teacher, X, LEVELS), expected)

    class OtherName(WithMethod):
        def predict_quantiles(self, X, levels):
            return super().predict_quantiles(X, levels)

    class NoLevels(WithMethod):
        def predict_quantiles(self, X):
            return super().predict_quantiles(X, LEVELS)

    with pytest.raises(TypeError, match="OtherName has no parameter called quantiles: a teacher"):
        as_quantile_teacher(OtherName(), LEVELS)
    with pytest.raises(TypeError, match="NoLevels has no quantiles_"):
        predict_quantiles(as_quantile_teacher(NoLevels(), LEVELS).fit(X, y), X, LEVELS)


def test_predictions_that_are_errors():
    X, y = rows()

    class OtherShape(WithMethod):
        def predict_quantiles(self, X, quantiles):
            return np.zeros((len(X), 7))

    class Infinite(WithMethod):
        def predict_quantiles(self, X, quantiles):
            return np.full((len(X), len(quantiles)), np.inf)

    with pytest.raises(ValueError, match=r"shape \(60, 7\)"):
        predict_quantiles(OtherShape().fit(X, y), X, LEVELS)
    with pytest.raises(ValueError, match="NaN or infinity"):
        predict_quantiles(Infinite().fit(X, y), X, LEVELS)
    with pytest.raises(ValueError, match="the student Infinite"):
        predict_quantiles(Infinite().fit(X, y), X, LEVELS, role="student")
