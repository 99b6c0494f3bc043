"""The contract of networks for regression: tests that all of them pass, and their data."""

import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import r2_score

from sklearn_kd.exceptions import (
    EarlyStoppingWarning,
    PrecisionWarning,
    SoftTargetsAlignmentWarning,
)
from tests._helpers.estimators import fitted_names
from tests._helpers.two_layer import assert_same_state, state_of

LEVELS = (0.1, 0.5, 0.9)
LOSSES = [{}, {"loss": "huber"}, {"loss": "quantile", "quantiles": LEVELS}]
ALL_LOSSES = pytest.mark.parametrize("options", LOSSES, ids=str)


QUANTILES = {"loss": "quantile", "quantiles": LEVELS}


def numbers(n=100, n_targets=None, dtype=np.float64, seed=0):
    """Rows, and targets that bend along them, with noise."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, 3))
    y = np.abs(X[:, 0]) + 0.5 * X[:, 1] + 0.1 * rng.normal(size=n)
    if n_targets is not None:
        y = np.stack([y * (k + 1) - k * X[:, 2] for k in range(n_targets)], axis=1)
    return X.astype(dtype), y


def with_quantiles(n=200, n_targets=None, seed=0):
    """Rows, targets whose noise grows along a column, and the quantiles of the noise."""
    rng = np.random.RandomState(seed)
    X = rng.uniform(-1, 1, size=(n, 2))
    spread = 0.2 + np.abs(X[:, 0])
    y = X[:, 1] + spread * rng.normal(size=n)
    soft = X[:, 1:] + spread[:, None] * norm.ppf(LEVELS)
    if n_targets is None:
        return X, y, soft
    factors = np.arange(1, n_targets + 1)
    return X, y[:, None] * factors, soft[:, None] * factors[:, None]


def expected_units(y, loss="squared_error"):
    """Return the offset and the unit of targets of weight one, by quantiles of NumPy."""
    if loss == "squared_error":
        return y.mean(axis=0), y.std(axis=0)
    median = np.quantile(y, 0.5, axis=0, method="averaged_inverted_cdf")
    distance = np.abs(y - median)
    limit = np.quantile(distance, 0.95, axis=0, method="averaged_inverted_cdf")
    c = norm.ppf(0.975)
    normal = 0.95 - 2 * c * norm.pdf(c) + 0.05 * c**2
    return median, np.sqrt((np.minimum(distance, limit) ** 2).mean(axis=0) / normal)


def frame(n=150):
    rng = np.random.RandomState(0)
    X = pd.DataFrame({
        "size": rng.normal(size=n),
        "color": rng.choice(["red", "green", "blue"], n),
        "count": rng.randint(0, 9, n),
    })  # fmt: skip
    y = X["size"] ** 2 + 2.0 * (X["color"] == "red") + 0.1 * rng.normal(size=n)
    X.loc[::7, "size"] = np.nan
    X.loc[::5, "color"] = None
    return X, y


class RegressorContract:
    """Tests of a network for regression.

    A subclass has the method ``regressor(n_epochs=40, width=8, encoder=None, **options)``, which
    makes an unfitted one with a seed. Up to 1000 distinct rows it trains in full batch.
    """

    @ALL_LOSSES
    @pytest.mark.parametrize(("factor", "shift"), [(1e9, 0), (1e-9, 0), (np.pi, 1e5), (3.7, -12.0)])
    @pytest.mark.parametrize("n_targets", [None, 2])
    def test_units_of_targets_change_those_of_predictions(self, options, factor, shift, n_targets):
        X, y = numbers(120, n_targets)
        soft = 0.9 * y
        plain = self.regressor(**options, alpha=0.5, early_stopping=True)
        moved = clone(plain).fit(X, y * factor + shift, soft_targets=soft * factor + shift)
        plain.fit(X, y, soft_targets=soft)
        assert moved.n_iter_ == plain.n_iter_
        back = (moved.predict(X) - shift) / factor
        assert_allclose(back, plain.predict(X), rtol=0, atol=1e-6 * np.std(y))
        assert_allclose(moved.loss_curve_, plain.loss_curve_, rtol=1e-6)

    @ALL_LOSSES
    @pytest.mark.parametrize("value", [0.0, -3.5, 1e9, 1e-9, 1e290])
    def test_a_constant_target_is_predicted_exactly(self, options, value):
        X, _ = numbers(30)
        model = self.regressor(**options)
        with warnings.catch_warnings():  # nothing to improve
            warnings.simplefilter("error", ConvergenceWarning)
            model.fit(X, np.full(30, value))
        assert_array_equal(model.predict(X), value)
        assert model.target_scale_ == 0
        both = np.c_[np.full(30, value), X[:, 0]]
        assert_array_equal(self.regressor(**options).fit(X, both).predict(X)[:, 0], value)
        single = self.regressor(**options, early_stopping=False).fit(X[:1], [value])
        assert_array_equal(single.predict(X), value)

    def test_early_stopping_of_one_row_is_told_in_words_of_numbers(self):
        X, y = numbers(1)
        with pytest.warns(EarlyStoppingWarning) as caught:
            self.regressor(early_stopping=True).fit(X, y)
        (text,) = {str(each.message) for each in caught}
        assert "(X has one distinct row): training goes on for" in text
        assert "class" not in text

    @ALL_LOSSES
    def test_heavy_tails_are_learned(self, options):
        X, y = numbers(200)
        y = y + np.where(np.arange(200) % 50 == 0, 1e6, 0.0)
        model = self.regressor(**options).fit(X, y)
        assert np.isfinite(model.predict(X)).all()
        X, y = numbers(400)
        y = np.sinh(3 * y)
        assert self.regressor(n_epochs=400).fit(X, y).score(X, y) > 0.8

    def test_outliers_move_a_robust_fit_less(self):
        X, y = numbers(400)
        X_test, y_test = numbers(300, seed=1)
        wrong = y.copy()
        wrong[::20] += 30.0
        options = {"n_epochs": 400, "early_stopping": False}
        squared = self.regressor(**options).fit(X, wrong).predict(X_test)
        for robust in ({"loss": "huber", "epsilon": 0.05}, {"loss": "quantile"}):
            found = self.regressor(**options, **robust).fit(X, wrong).predict(X_test)
            assert np.abs(found - y_test).mean() < 0.5 * np.abs(squared - y_test).mean()

    @pytest.mark.parametrize("options", LOSSES[1:], ids=str)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("outlier", [1e6, -1e25])
    def test_one_outlier_hardly_moves_a_robust_fit(self, options, dtype, outlier):
        X, y = numbers(400, dtype=dtype)
        X_test, y_test = numbers(300, dtype=dtype, seed=1)
        wrong = y.copy()
        wrong[0] = outlier
        model = self.regressor(n_epochs=300, early_stopping=True, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            clean, moved = (clone(model).fit(X, each).predict(X_test) for each in (y, wrong))
        clean, moved = (np.median(np.abs(each - y_test)) for each in (clean, moved))
        assert moved < 1.25 * clean < 0.25

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("encoder", ["auto", None])
    def test_missing_and_infinite_targets_are_errors(self, bad, encoder):
        X, y = numbers(30, 2)
        y[3, 1] = bad
        kind = "NaN" if np.isnan(bad) else "infinity"
        model = self.regressor(encoder=encoder)
        for target in (y, y[:, 1], pd.DataFrame(y), y[:, 1].tolist()):
            with pytest.raises(ValueError, match=f"Input y contains {kind}"):
                model.fit(X, target)
        assert not fitted_names(model)
        y[3, 1] = 0.0
        with pytest.raises(ValueError, match=f"Input y_val contains {kind}"):
            model.fit(X, y, X_val=X[:2], y_val=np.full((2, 2), bad))
        soft = y.copy()
        soft[3, 1] = bad
        with pytest.raises(ValueError, match="soft_targets contains"):
            model.fit(X, y, soft_targets=soft)

    def test_other_targets_that_are_errors(self):
        X, y = numbers(30)
        for target, message in [
            (y + 1j, "Complex data not supported"),
            (np.where(y > 0, "high", "low"), "y must be numbers"),
            (pd.Series(np.where(y > 0, "high", "low")), "y must be numbers"),
            (y[:, None, None], "should be of shape"),
            (np.zeros((30, 0)), "should be of shape"),
            (y[:-1], "inconsistent numbers of samples"),
            (np.where(np.arange(30) == 4, 1e308, y), "too large"),
            (1e-310 * (np.arange(30) % 2), "too little"),
        ]:
            model = self.regressor()
            with pytest.raises(ValueError, match=message):
                model.fit(X, target)
            assert not fitted_names(model)
        with pytest.raises(ValueError, match="requires y"):
            self.regressor().fit(X, None)
        with pytest.raises(ValueError, match="too large for predictions in float32"):
            self.regressor().fit(X.astype(np.float32), 1e35 * y)
        with pytest.warns(PrecisionWarning, match="columns 0 of y vary"):
            self.regressor().fit(X, 1e9 + 1e-6 * y)

    @pytest.mark.parametrize(
        ("levels", "index"), [((0.2, 0.6), 1), ((0.3, 0.7), 0), ((0.9,), 0), (None, 0)]
    )
    def test_predict_is_the_quantile_next_to_the_median(self, levels, index):
        X, y = numbers(40)
        model = self.regressor(loss="quantile", quantiles=levels).fit(X, y)
        assert_array_equal(model.predict(X), model.predict_quantiles(X)[:, index])
        assert_array_equal(model.quantiles_, [0.5] if levels is None else levels)

    def test_predict_quantiles_belongs_to_the_loss(self):
        X, y = numbers(30)
        assert not hasattr(self.regressor(), "predict_quantiles")
        with pytest.raises(AttributeError, match="has no attribute 'predict_quantiles'") as raised:
            self.regressor().fit(X, y).predict_quantiles(X)
        assert "needs loss='quantile'" in str(raised.value.__cause__)
        with pytest.raises(ValueError, match="was not 'quantile'"):
            self.regressor().fit(X, y).set_params(loss="quantile").predict_quantiles(X)
        with pytest.raises(NotFittedError):
            self.regressor(loss="quantile").predict_quantiles(X)
        wrong = (0.5, 0.1), (0.5, 0.5), (0.0, 0.5), (0.5, 1.0), (), [[0.5]], ("a",), [np.nan]
        for levels in wrong:
            with pytest.raises(ValueError, match="quantiles must be ascending"):
                self.regressor(loss="quantile", quantiles=levels).fit(X, y)
        with pytest.raises(ValueError, match="belong to loss='quantile'"):
            self.regressor(quantiles=(0.5,)).fit(X, y)

    def test_squared_errors_of_soft_targets_are_those_of_mixed_targets(self):
        X, y = numbers(80)
        soft = y + 0.1 * np.random.RandomState(1).normal(size=80)
        model = self.regressor(alpha=0.3).fit(X, y, soft_targets=soft)
        mixed = self.regressor(alpha=1.0).fit(X, y, soft_targets=0.3 * soft + 0.7 * y)
        assert_allclose(model.predict(X), mixed.predict(X), rtol=1e-6)

    @pytest.mark.parametrize("options", [{}, *LOSSES[1:]], ids=str)
    def test_soft_targets_and_alpha(self, options):
        X, y = numbers(80, 2)
        soft = y + np.random.RandomState(1).normal(size=y.shape)
        options = {**options, "early_stopping": False}
        hard, alone = self.regressor(**options).fit(X, y), self.regressor(**options).fit(X, soft)
        zero = self.regressor(alpha=0.0, **options).fit(X, y, soft_targets=soft)
        assert_allclose(zero.predict(X), hard.predict(X), rtol=1e-6)
        same = self.regressor(alpha=0.4, **options).fit(X, y, soft_targets=y)
        assert_allclose(same.predict(X), hard.predict(X), rtol=1e-6, atol=1e-9)
        # the units are those of y, so that only the optimum is the same as that of a fit on soft
        one = self.regressor(**{**options, "n_epochs": 400}).fit(X, y, soft_targets=soft)
        assert r2_score(soft, one.predict(X)) > 0.5
        assert np.isfinite(alone.predict(X)).all()

    @ALL_LOSSES
    def test_rows_of_nan_have_no_soft_targets(self, options):
        X, y = numbers(80)
        soft = 0.9 * y
        some = np.where(np.arange(80) < 40, np.nan, soft)
        filled = np.where(np.arange(80) < 40, y, soft)
        one = self.regressor(**options).fit(X, y, soft_targets=some)
        other = self.regressor(**options).fit(X, y, soft_targets=filled)
        assert_array_equal(one.predict(X), other.predict(X))
        with pytest.warns(SoftTargetsAlignmentWarning, match="all rows"):
            self.regressor(**options).fit(X, y, soft_targets=np.full(80, np.nan))
        with pytest.raises(ValueError, match="NaN in a part of row 0"):
            self.regressor(**options).fit(X, np.c_[y, y], soft_targets=np.c_[some, y])

    def test_soft_targets_in_another_order_or_shape(self):
        X, y = numbers(200)
        with pytest.warns(SoftTargetsAlignmentWarning, match="another order"):
            self.regressor().fit(X, y, soft_targets=np.random.RandomState(0).permutation(y))
        with pytest.raises(ValueError, match="must have the shape of y"):
            self.regressor().fit(X, y, soft_targets=np.c_[y, y])
        column = self.regressor().fit(X, y, soft_targets=y[:, None])
        assert_array_equal(column.predict(X), self.regressor().fit(X, y, soft_targets=y).predict(X))
        index = np.random.RandomState(0).permutation(200)
        frame, target = pd.DataFrame(X), pd.DataFrame(y)
        with pytest.raises(ValueError, match="index of X in another order"):
            self.regressor().fit(frame, y, soft_targets=target.loc[index])

    @pytest.mark.parametrize("n_targets", [None, 1, 2])
    def test_quantiles_of_a_teacher_are_learned(self, n_targets):
        X, y, soft = with_quantiles(200, n_targets)
        model = self.regressor(**QUANTILES, n_epochs=500).fit(X, y, soft_targets=soft)
        assert model.validation_loss_curve_ is None
        found = model.predict_quantiles(X)
        assert found.shape == soft.shape
        assert np.abs(found - soft).mean() < 0.15 * soft.std()
        hard = self.regressor(**QUANTILES, n_epochs=500).fit(X, y)
        assert np.abs(found - soft).mean() < np.abs(hard.predict_quantiles(X) - soft).mean()
        options = {**QUANTILES, "early_stopping": False}
        zero = self.regressor(**options, alpha=0.0).fit(X, y, soft_targets=soft)
        plain = self.regressor(**options).fit(X, y)
        assert_array_equal(zero.predict_quantiles(X), plain.predict_quantiles(X))

    def test_one_quantile_of_a_teacher_is_a_column(self):
        X, y, soft = with_quantiles()
        options = {"loss": "quantile", "quantiles": (0.9,)}
        quantile = self.regressor(**options).fit(X, y, soft_targets=soft[:, 2:])
        number = self.regressor(**options).fit(X, y, soft_targets=soft[:, 2])
        absolute = self.regressor(loss="quantile", alpha=1.0).fit(X, y, soft_targets=soft[:, 2])
        assert_allclose(quantile.predict(X), absolute.predict(X), rtol=1e-6, atol=1e-9)
        assert np.abs(number.predict(X) - absolute.predict(X)).max() > 1e-3
        with pytest.raises(ValueError, match=r"alpha=1\.5 is above 1, where the loss of quantiles"):
            self.regressor(**options, alpha=1.5).fit(X, y, soft_targets=soft[:, 2:])

    def test_rows_of_nan_have_no_quantiles_of_a_teacher(self):
        X, y, soft = with_quantiles()
        soft[:100] = np.nan
        options = {**QUANTILES, "early_stopping": False}
        some = self.regressor(**QUANTILES, alpha=1.0).fit(X, y, soft_targets=soft)
        assert np.isfinite(some.predict_quantiles(X)).all()
        with pytest.warns(SoftTargetsAlignmentWarning, match="all rows"):
            none = self.regressor(**options).fit(X, y, soft_targets=soft * np.nan)
        plain = self.regressor(**options).fit(X, y)
        assert_array_equal(none.predict_quantiles(X), plain.predict_quantiles(X))
        # rows without quantiles are trained on: they move the fit of the others
        others = self.regressor(**QUANTILES).fit(X[100:], y[100:], soft_targets=soft[100:])
        assert np.abs(others.predict_quantiles(X) - some.predict_quantiles(X)).max() > 1e-3

    @pytest.mark.parametrize("n_targets", [None, 2])
    @pytest.mark.parametrize(("factor", "shift"), [(1e9, 0), (3.7, -12.0)])
    def test_units_and_copies_of_quantiles_of_a_teacher(self, factor, shift, n_targets):
        X, y, soft = with_quantiles(80, n_targets)
        soft[:9] = np.nan
        model = self.regressor(**QUANTILES, alpha=0.5, early_stopping=True)
        plain = clone(model).fit(X, y, soft_targets=soft).predict_quantiles(X)
        moved = clone(model).fit(X, factor * y + shift, soft_targets=factor * soft + shift)
        assert_allclose((moved.predict_quantiles(X) - shift) / factor, plain, atol=1e-6 * np.std(y))
        counts = np.random.RandomState(0).randint(0, 4, size=80)
        index = np.random.RandomState(1).permutation(np.repeat(np.arange(80), counts))
        weighted = clone(model).fit(X, y, counts, soft).predict_quantiles(X)
        repeated = clone(model).fit(X[index], y[index], None, soft[index]).predict_quantiles(X)
        assert_allclose(repeated, weighted, rtol=1e-7, atol=1e-7)

    @ALL_LOSSES
    @pytest.mark.parametrize("extra", [{}, {"encoder": "auto"}], ids=str)
    @pytest.mark.parametrize("n_targets", [None, 2])
    def test_weight_k_is_k_copies_and_weight_zero_is_absence(self, options, extra, n_targets):
        X, y = numbers(60, n_targets)
        rng = np.random.RandomState(0)
        counts, soft = rng.randint(0, 4, size=60), y + rng.normal(size=y.shape)
        index = rng.permutation(np.repeat(np.arange(60), counts))
        for use_soft in (False, True):
            model = self.regressor(**options, **extra, alpha=0.5, early_stopping=True)
            weighted = clone(model).fit(X, y, counts, soft if use_soft else None)
            repeated = clone(model).fit(X[index], y[index], None, soft[index] if use_soft else None)
            assert weighted.n_iter_ == repeated.n_iter_
            assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-7, atol=1e-7)

    def test_inputs_are_not_modified(self):
        X, y = numbers(60, 2)
        arrays = [X, y, np.ones(60), 0.9 * y]
        before = [array.copy() for array in arrays]
        for array in arrays:
            array.flags.writeable = False
        self.regressor().fit(*arrays).partial_fit(*arrays)
        for array, old in zip(arrays, before, strict=True):
            assert_array_equal(array, old)

    @ALL_LOSSES
    def test_the_validation_loss_is_that_of_the_prediction(self, options):
        X, y = numbers(120)
        model = self.regressor(**options, batch_size=None)
        model.fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:], sample_weight_val=np.arange(40))
        mean, deviation = expected_units(y[:80], options.get("loss", "squared_error"))
        target = np.round((y[80:] - mean) / deviation * 2**32) / 2**32  # as the loss sees them
        weights = np.arange(40) / np.arange(40).sum()
        if "quantiles" in options:
            losses = []
            for q, found in zip(LEVELS, model.predict_quantiles(X[80:]).T, strict=True):
                error = target - (found - mean) / deviation
                losses.append(np.maximum(q * error, (q - 1) * error))
            loss = np.mean(losses, axis=0)  # of sorted quantiles: at most that of the outputs
            assert weights @ loss <= min(model.validation_loss_curve_) + 1e-12
            return
        error = np.abs((model.predict(X[80:]) - mean) / deviation - target)
        loss = error**2 / 2
        if options:
            loss = np.where(error < 1.35, loss, 1.35 * error - 1.35**2 / 2)
        assert weights @ loss == pytest.approx(min(model.validation_loss_curve_), rel=1e-9)

    @pytest.mark.parametrize("batch_size", [None, 16])
    def test_groups_are_held_out_as_a_whole(self, batch_size):
        rng = np.random.RandomState(0)
        group = np.repeat(np.arange(40), 5)
        X = rng.normal(size=(40, 8))[group] + 1e-3 * rng.normal(size=(200, 8))
        y = rng.normal(size=40)[group]  # that nothing but the group tells
        model = self.regressor(width=32, n_epochs=100, batch_size=batch_size, early_stopping=True)
        single_rows = min(model.fit(X, y).validation_loss_curve_)
        assert min(model.fit(X, y, groups=group).validation_loss_curve_) > 3 * single_rows
        with pytest.raises(ValueError, match="all rows are in one group"):
            model.fit(X, y, groups=np.zeros(200))
        model.set_params(early_stopping=False).fit(X, y, groups=np.zeros(200))

    def test_validation_rows_that_are_errors(self):
        X, y = numbers(60)
        for rows, message in [
            ({"X_val": X[:5]}, "belong together"),
            ({"X_val": X[:5], "y_val": y[:4]}, "y_val has the shape"),
            ({"X_val": X[:5], "y_val": np.c_[y, y][:5]}, "y_val has the shape"),
            ({"X_val": X[:5, :2], "y_val": y[:5]}, "X_val has 2 features"),
        ]:
            with pytest.raises(ValueError, match=message):
                self.regressor().fit(X, y, **rows)

    @ALL_LOSSES
    def test_partial_fit_learns_and_keeps_its_units(self, options):
        X, y = numbers(400, 2)
        model = self.regressor(width=16, **options)
        for _ in range(20):
            for batch in np.array_split(np.arange(400), 4):
                model.partial_fit(X[batch], y[batch])
        offset, scale = expected_units(y[:100], model.loss)
        assert_allclose(model.target_offset_, offset)
        assert_allclose(model.target_scale_, scale)
        assert model.score(X, y) > 0.85
        before = state_of(model)
        with pytest.raises(ValueError, match=r"was given targets of shape \(n_samples, 2\)"):
            model.partial_fit(X, y[:, 0])
        with pytest.raises(ValueError, match="features"):
            model.partial_fit(X[:, :2], y)
        assert_same_state(model, before)
        with pytest.raises(ValueError, match="continues a network of the quantiles"):
            model.set_params(loss="quantile", quantiles=(0.3,)).partial_fit(X, y)

    def test_partial_fit_after_a_constant_batch(self):
        X, y = numbers(200)
        model = self.regressor().partial_fit(X[:5], np.full(5, 2.0))
        assert model.target_scale_ == 2
        for _ in range(60):
            model.partial_fit(X, y)
        assert model.score(X, y) > 0.7

    def test_frames_with_strings_and_missing_cells(self):
        X, y = frame()
        model = self.regressor(width=16, encoder="auto", n_epochs=200).fit(X, y)
        assert model.score(X, y) > 0.6
        assert_array_equal(model.feature_names_in_, X.columns)
        one = np.concatenate([model.predict(X.iloc[i : i + 1]) for i in range(10)])
        assert_allclose(one, model.predict(X)[:10], rtol=1e-9)
        polars = pytest.importorskip("polars")
        columns = {name: X[name].astype(object).where(X[name].notna(), None).tolist() for name in X}
        other = self.regressor(width=16, encoder="auto", n_epochs=200)
        other.fit(polars.DataFrame(columns), polars.Series(y.to_numpy()))
        assert_allclose(other.predict(polars.DataFrame(columns)), model.predict(X), rtol=1e-9)
        both = pd.DataFrame({"a": y, "b": -y}, dtype="Float64")
        several = self.regressor(encoder="auto", n_epochs=20).fit(X, both)
        again = self.regressor(encoder="auto", n_epochs=20)
        again.fit(X, polars.DataFrame({"a": y.to_numpy(), "b": -y.to_numpy()}))
        assert_array_equal(several.predict(X), again.predict(X))
        with pytest.raises(ValueError, match="could not convert string"):
            self.regressor().fit(X, y)

    @ALL_LOSSES
    def test_same_seed_same_bits_clone_and_pickle(self, options):
        X, y = numbers(150)
        model = self.regressor(n_epochs=30, **options).fit(X, y)
        before = joblib.hash(model)
        expected = model.predict(X)
        assert joblib.hash(model) == before
        for other in (clone(model).fit(X, y), pickle.loads(pickle.dumps(model))):
            assert_array_equal(other.predict(X), expected)
        assert not any("torch" in type(value).__module__ for value in vars(model).values())
        restored = pickle.loads(pickle.dumps(model))
        assert type(restored.loss_curve_) is list

    def test_a_failed_fit_keeps_the_former_one(self):
        X, y = numbers(60)
        model = self.regressor().fit(X, y)
        before = state_of(model)
        with pytest.raises(ValueError, match="NaN"):
            model.fit(X[:, :2], np.full(60, np.nan))
        assert_same_state(model, before)

    @ALL_LOSSES
    def test_files_of_skops(self, options):
        io = pytest.importorskip("skops.io")
        from sklearn_kd.export import TRUSTED_TYPES

        X, y = numbers(60, 2)
        model = self.regressor(**options, encoder="auto").fit(X, y)
        data = io.dumps(model)
        assert set(io.get_untrusted_types(data=data)) <= set(TRUSTED_TYPES)
        loaded = io.loads(data, trusted=list(TRUSTED_TYPES))
        assert_array_equal(loaded.predict(X), model.predict(X))
        one = self.regressor(**options).fit(X, y[:, 0])
        loaded = io.loads(io.dumps(one), trusted=list(TRUSTED_TYPES))
        assert_array_equal(loaded.predict(X), one.predict(X))

    def test_numbers_of_numpy_as_parameters(self):
        X, y = numbers(60)
        plain = self.regressor(loss="huber", epsilon=0.5, alpha=0.75).fit(X, y, soft_targets=y)
        scalars = {"epsilon": np.float16(0.5), "alpha": np.float16(0.75)}
        other = self.regressor(loss="huber", **scalars).fit(X, y, soft_targets=y)
        assert_array_equal(other.predict(X), plain.predict(X))
        for levels in ([0.25, 0.75], np.array([0.25, 0.75]), (0.25, 0.75)):
            model = self.regressor(loss="quantile", quantiles=levels).fit(X, y)
            assert_array_equal(clone(model).fit(X, y).quantiles_, [0.25, 0.75])
