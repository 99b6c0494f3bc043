"""The encoder of TwoLayerPGDClassifier: raw tables in fits of all kinds, and fused predictions."""

import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    SelfDistillClassifier,
    TableEncoder,
    TwoLayerPGDClassifier,
)
from sklearn_kd._distillation.student_fit import StudentTrainer
from sklearn_kd._networks import encoded_layer
from tests._helpers.tables import raw_table

QUICK = {"width": 4, "max_iter": 8, "n_init": 1, "random_state": 0}
X, Y = raw_table(90)
NUMBERS = X[["size", "age"]].to_numpy()
W = np.random.RandomState(0).randint(0, 3, size=90)


def network(**options):
    return TwoLayerPGDClassifier(**{**QUICK, **options})


@pytest.fixture
def encoder_fits(monkeypatch):
    """Return a list with the numbers of rows that encoders are fitted on."""
    sizes, fit = [], TableEncoder.fit

    def recorded(self, X, y=None, sample_weight=None):
        sizes.append(len(X))
        return fit(self, X, y, sample_weight)

    monkeypatch.setattr(TableEncoder, "fit", recorded)
    return sizes


# Fits


@pytest.mark.parametrize("batch_size", [None, 16])
def test_a_fit_is_that_on_encoded_rows(batch_size):
    model = network(batch_size=batch_size).fit(X, Y, sample_weight=W)
    encoder = TableEncoder().fit(X, sample_weight=W)
    encoded = encoder.transform(X)
    other = network(batch_size=batch_size, encoder=None).fit(encoded, Y, sample_weight=W)
    assert model.loss_curve_ == other.loss_curve_
    assert_array_equal(model.hidden_weights_, other.hidden_weights_)
    assert model.hidden_weights_.shape == (4, encoded.shape[1] + 1)
    assert model.input_offset_.shape == model.input_scale_.shape == (encoded.shape[1],)
    assert_array_equal(model.encoder_.transform(X), encoded)
    assert_array_equal(model.feature_names_in_, X.columns)
    assert model.n_features_in_ == X.shape[1]
    assert other.encoder_ is None
    # a weight of zero is absence, and k is k copies
    copies = np.repeat(np.arange(90), W)
    if batch_size is None:
        again = network(batch_size=None).fit(X.iloc[copies], Y[copies])
        assert_allclose(again.predict_proba(X), model.predict_proba(X), rtol=1e-7)


def test_the_first_call_of_partial_fit_fits_the_encoder(encoder_fits):
    model = network().partial_fit(X[:60], Y[:60], classes=["no", "yes"])
    first = model.encoder_
    model.partial_fit(X[60:], Y[60:])
    assert model.encoder_ is first
    assert encoder_fits == [60]
    before = model.hidden_weights_.copy()
    for other in (None, TableEncoder(n_bins=3)):
        with pytest.raises(ValueError, match="encoder="):
            model.set_params(encoder=other).partial_fit(NUMBERS if other is None else X, Y)
    assert_array_equal(model.hidden_weights_, before)
    assert model.set_params(encoder=TableEncoder()).partial_fit(X, Y).encoder_ is first


def test_validation_rows_and_callbacks_are_raw():
    encoded = TableEncoder().fit(X[:60])
    arrays = [encoded.transform(rows) for rows in (X[:60], X[60:])]
    monitor = ScoringMonitor(scoring="accuracy")
    model = network().set_callbacks(monitor)
    model.fit(X[:60], Y[:60], X_val=X[60:], y_val=Y[60:])
    other = network(encoder=None).fit(arrays[0], Y[:60], X_val=arrays[1], y_val=Y[60:])
    assert model.validation_loss_curve_ == other.validation_loss_curve_
    data = monitor.get_logs(select="most_recent").data_as_pandas
    assert data["accuracy"].iloc[-1] == model.score(X[:60], Y[:60])
    with pytest.raises(TypeError, match=r"(?s)X_val cannot be read.*'size'.*transform_input"):
        network().fit(X, Y, X_val=X[:5].assign(size="large"), y_val=Y[:5])
    with pytest.raises(ValueError, match="X_val has 5 features"):
        network().fit(X, Y, X_val=X.iloc[:5, 1:], y_val=Y[:5])


def test_errors_of_cells():
    model = network().fit(X, Y)
    state = joblib.hash(model)
    for value in (np.inf, -np.inf):
        rows = X.copy()
        rows.loc[3, "size"] = value
        array = np.where(np.arange(2) == 1, NUMBERS, value)
        for fit in (True, False):
            with pytest.raises(ValueError, match="infinity"):
                model.fit(rows, Y) if fit else model.predict(rows.iloc[[3]])
            with pytest.raises(ValueError, match="infinity"):
                network().fit(array, Y) if fit else network().fit(NUMBERS, Y).predict(array[:1])
    linear = network(encoder=TableEncoder(n_bins=1)).fit(NUMBERS * [1, 0], Y)
    with pytest.raises(ValueError, match="column 1 of X contains infinity"):
        linear.predict(np.where(np.arange(2) == 1, np.inf, NUMBERS))
    with pytest.raises(TypeError, match=r"'color'.*dict"):
        model.predict(X.assign(color=[{}] * 90))
    with pytest.raises(ValueError, match="must be in the same order"):
        model.predict(X[X.columns[::-1]][:1])
    assert joblib.hash(model) == state
    for error, rows in (("could not convert", X), ("NaN", NUMBERS)):
        with pytest.raises(ValueError, match=error):
            network(encoder=None).fit(rows, Y)
    # what fit had not is neutral
    new = X[:2].assign(color="new", age=np.nan, flag=None)
    assert np.isfinite(model.predict_proba(new)).all()


# Predictions


def explicit(model, rows):
    scaled = (model.encoder_.transform(rows) - model.input_offset_) / model.input_scale_
    inputs = np.c_[scaled, np.ones(len(scaled))][:, : model.hidden_weights_.shape[1]]
    hidden = np.maximum(inputs @ model.hidden_weights_.T, 0)
    return hidden @ model.output_weights_ / np.sqrt(len(model.hidden_weights_))


@pytest.mark.parametrize("n_bins", ["auto", 1])
@pytest.mark.parametrize("intercept", [True, False])
def test_predictions_are_those_of_the_explicit_product(n_bins, intercept):
    new = X[:40].copy()
    new.loc[0, "color"], new.loc[1, "size"], new.loc[2, "age"] = "new", 1e9, np.nan
    y = np.arange(90) % 3
    y[Y == "yes"] = 1
    complete = np.nan_to_num(NUMBERS)
    far, missing = complete[:40].copy(), complete[:40].copy()
    far[3, 0], missing[3, 0] = -1e9, np.nan
    options = {"encoder": TableEncoder(n_bins=n_bins), "input_intercept": intercept}
    for fit_rows, tables in (
        (X, (new,)),
        (NUMBERS, (NUMBERS[:40],)),
        (complete, (complete[:40], far, missing)),
        (np.ones((90, 2)), (np.ones((40, 2)),)),  # that encode to no column
    ):
        model = network(**options, early_stopping=False).fit(fit_rows, y)
        for rows in tables:
            logits = model.decision_function(rows)
            assert_allclose(logits, explicit(model, rows), rtol=1e-12, atol=1e-12)
            single = [model.decision_function(rows[i : i + 1]) for i in range(40)]
            assert_allclose(np.concatenate(single), logits, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_members", [1, 2])
def test_linear_columns_of_large_numbers(n_members):
    random = np.random.RandomState(0)
    # a time in milliseconds
    rows = np.column_stack([1.7e12 + 3.6e6 * random.rand(90), random.normal(size=90)])
    model = network(encoder=TableEncoder(n_bins=1), n_members=n_members).fit(rows, Y)
    single = [model.decision_function(rows[i : i + 1]) for i in range(90)]
    many = model.decision_function(rows)
    assert_allclose(np.concatenate(single), many, rtol=1e-12, atol=1e-12)
    if n_members == 1:
        assert_allclose(explicit(model, rows), many, rtol=1e-12, atol=1e-12)


def test_float32_is_computed_in_float32():
    rows = NUMBERS.astype(np.float32)
    for n_bins in ("auto", 1):
        model = network(encoder=TableEncoder(n_bins=n_bins)).fit(rows, Y)
        bulk, one = model.predict_proba(rows), model.predict_proba(rows[:1])
        dtypes = {model.hidden_weights_.dtype, bulk.dtype, one.dtype}
        assert dtypes == {np.dtype(np.float32)}
        assert_allclose(one, bulk[:1], rtol=1e-5)
        wide = [model.predict_proba(each) for each in (NUMBERS, NUMBERS[:1])]
        assert {each.dtype for each in wide} == {np.dtype(np.float64)}
        assert_allclose(wide[0], bulk, rtol=1e-4)


def test_a_row_in_any_container_is_a_row_of_many():
    pl = pytest.importorskip("polars")
    model = network().fit(X, Y)
    expected = model.predict_proba(X)
    frame, _ = raw_table(90, "polars")
    assert_allclose(model.predict_proba(frame), expected, rtol=1e-12)
    assert isinstance(frame, pl.DataFrame)
    for i in (0, 5):
        assert_allclose(model.predict_proba(frame[i : i + 1]), expected[[i]], rtol=1e-12)
    with pytest.warns(UserWarning, match="valid feature names, but TwoLayerPGDClassifier"):
        found = model.predict_proba([X.iloc[5].tolist()])
    assert_allclose(found, expected[[5]], rtol=1e-12)
    listed = network().fit(X.to_numpy(dtype=object), Y)
    row = X.iloc[[5]].to_numpy(dtype=object)
    assert_allclose(listed.predict_proba(row), expected[[5]], rtol=1e-9)
    assert_allclose(listed.predict_proba(row.tolist()), expected[[5]], rtol=1e-9)


def test_tables_of_predictions_follow_the_weights_and_are_not_saved():
    model = network().fit(X, Y)
    state, size = joblib.hash(model), len(pickle.dumps(model))
    one = model.predict_proba(X[:1])
    assert joblib.hash(model) == state
    assert len(pickle.dumps(model)) == size
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.predict_proba(X[:1]), one)
    model.hidden_weights_ = 2 * model.hidden_weights_
    assert_allclose(model.decision_function(X[:1]), model.decision_function(X)[:1], rtol=1e-12)
    model.fit(X, np.roll(Y, 1))
    assert_allclose(model.decision_function(X[:1]), model.decision_function(X)[:1], rtol=1e-12)
    # a table that would be large is not made
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoded_layer, "MAX_TABLE_VALUES", 10)
        assert_allclose(loaded.predict_proba(X[:1]), one, rtol=1e-12)
        assert_allclose(clone(model).fit(X, Y).predict_proba(X[:1]), one, rtol=1e-12)


# Several networks


def test_a_grid_over_encoders_is_that_of_grid_search(encoder_fits):
    grid = [
        {"encoder__n_bins": [1, 4], "width": [2, 4]},
        {"encoder": [TableEncoder(n_bins=4), "auto"]},
    ]
    searches = [
        kind(network(encoder=TableEncoder()), grid, cv=2, refit=False, scoring="neg_log_loss")
        for kind in (GridSearchCV, BatchedGridSearchCV)
    ]
    scores = []
    for search in searches:
        encoder_fits.clear()
        scores.append(search.fit(X, Y).cv_results_["mean_test_score"])
    assert_allclose(scores[1], scores[0], atol=1e-9)
    assert encoder_fits == [45] * 6  # three encoders on the training rows of each split
    numeric = BatchedGridSearchCV(network(), {"encoder": [None, "auto"]}, cv=2, error_score=-1.0)
    with pytest.warns(FitFailedWarning, match="2 fits failed"):
        results = numeric.fit(NUMBERS, Y).cv_results_["mean_test_score"]
    assert results[0] == -1.0 < results[1]


def test_a_teacher_is_fitted_once_for_all_encoders_of_its_student(encoder_fits):
    class Teacher(LogisticRegression):
        n_fits = 0

        def fit(self, X, y, sample_weight=None):
            Teacher.n_fits += 1
            return super().fit(X, y, sample_weight)

    rows = np.nan_to_num(NUMBERS)
    model = DistilledClassifier(
        Teacher(), network(), alpha=0.5, temperature=1.0, augmentation=None, cv="in-sample"
    )
    grid = {"student__encoder": ["auto", None, TableEncoder(n_bins=2)]}
    search = BatchedGridSearchCV(model, grid, cv=2, refit=False).fit(rows, Y)
    assert Teacher.n_fits == 2
    assert encoder_fits.count(45) == 4
    expected = GridSearchCV(model, grid, cv=2, refit=False).fit(rows, Y)
    assert_allclose(
        search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"], atol=1e-9
    )


def test_candidates_of_a_distiller_share_the_encoded_rows_of_a_trial(encoder_fits, monkeypatch):
    counts, fit_jointly = [], StudentTrainer.fit_jointly

    def counted(self, training_sets, **options):
        before = len(encoder_fits)
        fitted = fit_jointly(self, training_sets, **options)
        counts.append((len(training_sets), len(encoder_fits) - before))
        return fitted

    monkeypatch.setattr(StudentTrainer, "fit_jointly", counted)
    rows, y = raw_table(250)
    teacher = make_pipeline(TableEncoder(n_bins=2), LogisticRegression())
    options = {"alpha": "auto", "augmentation": None, "temperature": 1.0, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = DistilledClassifier(teacher, network(), **options).fit(rows, y)
    assert max(n_students for n_students, _ in counts) > 1
    assert {n_encoders for _, n_encoders in counts} == {1}
    assert model.student_.encoder_.n_bins_ == 8
    assert model.predict(rows[:1]).shape == (1,)


def test_self_distillation_takes_raw_tables():
    model = SelfDistillClassifier(network(max_iter=40, init="symmetric")).fit(X, Y)
    assert_array_equal(model.feature_names_in_, X.columns)
    assert model.predict_proba(X[:1]).shape == (1, 2)
    assert model.__sklearn_tags__().input_tags.allow_nan
    errors = model.find_label_errors(X, Y, cv="in-sample")
    assert isinstance(errors, pd.DataFrame)
