"""TableEncoder against explicit loops, and what it does with cells of all kinds."""

import datetime
import decimal
import pickle
from fractions import Fraction

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_kd import TableEncoder
from sklearn_kd._tables.encoder import fold_states, locate_few_rows, resolve_n_bins, state_table


@parametrize_with_checks([TableEncoder(), TableEncoder(n_bins=2, min_frequency=None)])
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names")
@pytest.mark.parametrize(
    "name",
    [
        "param_validation",
        "dataframe_column_names_consistency",
        "n_features_in_after_fitting",
        "set_output_transform_pandas",
        "set_output_transform_polars",
        "transformer_get_feature_names_out_pandas",
    ],
)
def test_checks_not_yielded(name):
    getattr(estimator_checks, f"check_{name}")("TableEncoder", TableEncoder())


def mixed(n=60, seed=0):
    """A table with a column of each kind, as a dictionary."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=n).round(1)
    numbers[::7] = np.nan
    words = rng.choice(["red", "green", "blue", "rare"], n, p=[0.4, 0.3, 0.28, 0.02]).astype(object)
    words[::9] = None
    return {
        "number": numbers,
        "heavy": np.exp(3 * rng.normal(size=n)),
        "count": rng.integers(0, 4, n),
        "truth": rng.random(n) < 0.3,
        "word": words.tolist(),
        "code": rng.integers(0, 30, n),
    }


def encode_cell(x, edges, has_missing):
    """Encode a number by the definition, one piece at a time."""
    pieces = []
    for b in range(1, len(edges)):
        piece = (x - edges[b - 1]) / (edges[b] - edges[b - 1])
        if b > 1:
            piece = max(piece, 0.0)
        if b < len(edges) - 1:
            piece = min(piece, 1.0)
        pieces.append(piece)
    return pieces + [0.0] * has_missing


def quantile(values, weights, q):
    """The averaged inverse of the weighted distribution function, by its definition."""
    total, cumulated = weights.sum(), 0.0
    order = np.argsort(values)
    for place, i in enumerate(order):
        cumulated += weights[i]
        if abs(cumulated / total - q) < 1e-9 and place + 1 < len(order):
            return (values[i] + values[order[place + 1]]) / 2
        if cumulated / total > q - 1e-9:
            return values[i]
    return values[order[-1]]


@pytest.mark.parametrize("n_bins", [1, 3, 8])
def test_pieces_between_weighted_quantiles(n_bins):
    rng = np.random.default_rng(0)
    X, weights = rng.exponential(size=(40, 2)), rng.integers(1, 4, 40).astype(float)
    encoder = TableEncoder(n_bins=n_bins).fit(X, sample_weight=weights)
    rows = np.vstack([X, X.max(axis=0) + 0.5, X.min(axis=0) - 0.01])
    encoded = encoder.transform(rows)
    for j in range(2):
        levels = np.arange(n_bins + 1) / n_bins
        edges = [quantile(X[:, j], weights, q) for q in levels]
        assert_allclose(encoder.edges_[j], edges, rtol=1e-14)
        if n_bins == 8:
            copies = np.repeat(X[:, j], weights.astype(int))
            expected = np.quantile(copies, levels, method="averaged_inverted_cdf")
            assert_allclose(edges, expected, rtol=1e-14)
        expected = [encode_cell(x, edges, False) for x in rows[:, j]]
        assert_allclose(encoded[:, n_bins * j : n_bins * (j + 1)], expected, atol=1e-12)
    assert_allclose(encoder.means_, np.average(encoded[:40], axis=0, weights=weights), atol=1e-14)


def test_few_values_have_an_edge_each():
    X = np.array([[1.0, 5.0], [4.0, 5.0], [4.0, 5.0], [9.0, 5.0], [np.nan, 5.0]])
    encoder = TableEncoder().fit(X)
    assert_array_equal(encoder.edges_[0], [1, 4, 9])
    assert len(encoder.edges_[1]) == 0
    assert encoder.get_feature_names_out().tolist() == ["x0_1", "x0_2", "x0_missing"]
    expected = [[0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert_array_equal(encoder.transform(X), expected)
    # linear outside, as far as the training rows extend
    outside = encoder.transform([[-2.0, 7], [-1e300, 7], [1e300, 7]])
    assert_allclose(outside, [[-1, 0, 0], [-8 / 3, 0, 0], [1, 13 / 5, 0]])
    # and at most eight widths of the outermost piece
    outside = TableEncoder().fit([[0.0], [10], [11]]).transform([[1e300], [-1e300]])
    assert_allclose(outside, [[1, 9], [-1.1, 0]])


def test_levels_by_frequency():
    words = np.repeat(["d", "c", "b", "a", "e"], [5, 5, 3, 5, 1]).astype(object)[:, None]
    encoder = TableEncoder(max_categories=2).fit(words)
    assert encoder.categories_ == [["a", "c"]]  # ties in order of value
    names = ["x0_a", "x0_c", "x0_infrequent"]
    assert encoder.get_feature_names_out().tolist() == names
    rows = encoder.transform([["a"], ["c"], ["b"], ["new"], [None]])
    assert_array_equal(rows, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
    encoder = TableEncoder(min_frequency=0.1).fit(words)
    assert encoder.categories_ == [["a", "b", "c", "d"]]
    assert encoder.has_infrequent_.all()
    encoder = TableEncoder(min_frequency=None).fit(words)
    assert encoder.categories_ == [list("abcde")]
    assert not encoder.has_infrequent_.any()
    # a level that the training rows lack is their mean
    shares = np.array([5, 3, 5, 5, 1]) / 19
    assert_allclose(encoder.transform([["new"], [None]]), [shares, shares])


def test_two_kinds_of_cells_have_one_column():
    X = pd.DataFrame(
        {
            "truth": [True, False, True],
            "sex": ["m", "f", "m"],
            "maybe": ["yes", None, None],
            "same": ["a", "a", "a"],
            "none": [None, None, None],
            "nan": [np.nan] * 3,
        }
    )
    encoder = TableEncoder().fit(X)
    assert encoder.get_feature_names_out().tolist() == ["truth_True", "sex_m", "maybe_missing"]
    assert_array_equal(encoder.transform(X), [[1, 1, 0], [0, 0, 1], [1, 1, 1]])
    other = X.assign(sex="new", maybe="new", same="new", none="new", nan=3.0, truth=None)
    assert_allclose(encoder.transform(other[:1]), [[2 / 3, 2 / 3, 2 / 3]])


def test_names_are_distinct():
    X = pd.DataFrame({"a": ["b_c", "d", "e"], "a_b": ["c", "d", "e"], "m": ["missing", None, "x"]})
    names = TableEncoder().fit(X).get_feature_names_out()
    assert len(set(names)) == len(names) == 9


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA, pd.NaT, float("nan")], ids=repr)
def test_missing_cells(missing):
    X = np.array([[1.0, "a"], [2.5, "b"], [missing, missing], [4, "c"]], dtype=object)
    encoder = TableEncoder().fit(X)
    assert encoder.kinds_ == ["numeric", "levels"]
    assert encoder.has_missing_.all()
    assert_array_equal(encoder.transform(X)[2], [0, 0, 1, 0, 0, 0, 1])
    full = TableEncoder().fit(X[[0, 1, 3]])
    assert_allclose(full.transform(X)[2], full.means_)
    assert_allclose(full.transform(X[2:3])[0], full.means_)


def test_object_columns_of_numbers():
    X = np.array([[1, True], [2.5, None], [decimal.Decimal(3), False], [Fraction(1, 2), True]])
    encoder = TableEncoder().fit(X)
    assert encoder.kinds_ == ["numeric", "levels"]
    assert_array_equal(encoder.edges_[0], [0.5, 1, 2.5, 3])
    assert encoder.categories_[1] == [False, True]
    numeric = TableEncoder().fit(X[:, :1].astype(float))
    assert_array_equal(numeric.transform(X[:, :1].astype(float)), encoder.transform(X)[:, :3])


DATE = datetime.datetime(2020, 1, 1)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1.0, "a"], "column 'bad' of X mixes numbers and strings"),
        ([True, "a"], "column 'bad' of X mixes numbers and strings"),
        ([{"a": 1}, {}], "column 'bad' of X has cells of the type dict.*leave the column out"),
        ([[1], [2]], "column 'bad' of X has cells of the type list.*leave the column out"),
        ([(1,), (2,)], "column 'bad' of X has cells of the type tuple"),
        ([b"a", b"b"], "column 'bad' of X has cells of the type bytes.*decode"),
        ([DATE, DATE], "column 'bad' of X .*skrub.DatetimeEncoder"),
        (np.array([DATE, None], dtype=object), "column 'bad' of X .*skrub.DatetimeEncoder"),
        (np.array([DATE.date(), None], dtype=object), "column 'bad' of X .*DatetimeEncoder"),
        ([DATE - DATE, DATE - DATE], "column 'bad' of X .*total_seconds"),
        (pd.period_range("2020", periods=2, freq="M"), "column 'bad' of X .*DatetimeEncoder"),
        (np.array([10**400, None], dtype=object), "column 'bad' of X has integers .* too large"),
        ([1 + 2j, 3j], "column 'bad' of X .*real and imaginary"),
        ([np.inf, 1.0], "column 'bad' of X contains infinity"),
        (np.array([-np.inf, None], dtype=object), "column 'bad' of X contains infinity"),
    ],
)
def test_columns_of_other_kinds(column, message):
    X = pd.DataFrame({"good": [1.0, 2.0], "bad": column})
    with pytest.raises((TypeError, ValueError), match=message):
        TableEncoder().fit(X)
    model = TableEncoder().fit(X.assign(bad=[1.0, 2.0]))
    with pytest.raises((TypeError, ValueError), match="column 'bad' of X"):
        model.transform(X)


def test_free_text():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["lorem", "ipsum", "dolor"], 9)) for _ in range(200)]
    X = pd.DataFrame({"good": np.arange(200.0), "text": texts})
    with pytest.raises(ValueError, match=r"'text' of X is free text: .* Leave the column out"):
        TableEncoder().fit(X)
    X["text"] = [f"{name:.20}" for name in texts]
    assert TableEncoder().fit(X).kinds_ == ["numeric", "levels"]


def test_infinity_in_arrays_and_sparse_rows():
    from scipy.sparse import csr_array

    X = np.arange(6.0).reshape(3, 2)
    bad = np.where(X == 3, np.inf, X)
    encoder = TableEncoder().fit(X)
    for rows in (bad, bad.astype(object), bad.astype(np.float32)):
        for method in (clone(encoder).fit, encoder.transform):
            for table in (rows, pd.DataFrame(rows, columns=[0, 1]), np.tile(rows, (20, 1))):
                with pytest.raises(ValueError, match="column 1 of X contains infinity: make these"):
                    method(table)
    with pytest.raises(TypeError, match=r"X\.toarray\(\)"):
        TableEncoder().fit(csr_array(X))


@pytest.mark.parametrize("make", [np.asarray, pd.DataFrame])
def test_infinity_in_rows_of_weight_zero(make):
    X = np.random.default_rng(0).normal(size=(40, 3))
    X[3, 1] = np.inf
    weights = np.ones(40)
    weights[3] = 0
    for dtype in (np.float64, np.float32):
        rows = make(X.astype(dtype))
        encoder = TableEncoder().fit(rows, sample_weight=weights)
        others = make(np.delete(X, 3, axis=0).astype(dtype))
        assert_array_equal(encoder.transform(others), TableEncoder().fit_transform(others))


def test_large_numbers_whose_sum_is_infinite():
    X = np.array([[1e308, np.nan], [1.5e308, 2.0]] * 30)
    assert np.isfinite(TableEncoder().fit(X).transform(X)).all()


def test_text_in_a_numeric_column_at_predict():
    encoder = TableEncoder().fit(pd.DataFrame({"age": [1.0, 2.0, 3.0]}))
    for cells in (["3"], ["3", 1.0], pd.Categorical(["a"])):
        with pytest.raises(TypeError, match="column 'age' of X holds the string"):
            encoder.transform(pd.DataFrame({"age": cells}))
    assert_allclose(encoder.transform(pd.DataFrame({"age": [None, 2]}, dtype=object))[1], [1, 0])


SINGLE = {
    "frame": pd.DataFrame,
    "polars": lambda row: pl.DataFrame(row, strict=False),
    "array": lambda row: pd.DataFrame(row, dtype=object).to_numpy(),
    "list": lambda row: [[cells[0] for cells in row.values()]],
}


@pytest.mark.parametrize("name", SINGLE)
def test_single_rows_are_checked_as_tables_are(name):
    X, make = mixed(), SINGLE[name]
    row = {key: cells[:1] for key, cells in X.items()}
    train = pd.DataFrame(X)
    encoder = TableEncoder().fit(train if name in ("frame", "polars") else train.to_numpy())
    assert encoder.transform(make(row)).shape == (1, len(encoder.means_))
    # what plain cells hold, and what needs a closer look
    new = {**row, "word": ["new"], "truth": [None], "count": [None], "heavy": [True]}
    both = pd.concat([pd.DataFrame(new, dtype=object)] * 2)
    both = both if name in ("frame", "polars") else both.to_numpy()
    assert_array_equal(encoder.transform(make(new)), encoder.transform(both)[:1])
    for changed in ({"number": ["3"]}, {"word": [{}]}, {"count": [[1]]}, {"number": [np.inf]}):
        with pytest.raises((TypeError, ValueError), match=r"column .* of X"):
            encoder.transform(make({**row, **changed}))
    del row["number"]
    with pytest.raises(ValueError, match="feature"):
        encoder.transform(make(row))


DAYS = pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"] * 20).as_unit("ns")


def test_a_few_rows_of_dates_are_read_as_many_are():
    X = pd.DataFrame({"day": pd.Categorical(DAYS)})
    encoder = TableEncoder().fit(X)
    assert_array_equal(encoder.transform(X), np.tile(np.eye(3), (20, 1)))
    for n_rows in (1, 2, 3, 32):
        assert_array_equal(encoder.transform(X[:n_rows]), encoder.transform(X)[:n_rows])
    encoder = TableEncoder().fit(pd.DataFrame({"a": np.arange(60.0)}))
    for cells in (DAYS, DAYS - DAYS[0]):
        for n_rows in (1, 3, 42):
            with pytest.raises(TypeError, match="column 'a' of X has cells of the type"):
                encoder.transform(pd.DataFrame({"a": cells[:n_rows]}))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
def test_missing_categories_among_integers(dtype):
    codes = np.arange(40) % 4 - 1
    levels = pd.Categorical.from_codes(codes, categories=np.array([5, 6, 7], dtype=dtype))
    X = pd.DataFrame({"level": levels, "count": np.arange(40).astype(dtype)})
    encoder = TableEncoder().fit(X)
    for n_rows in (1, 4):
        parts = [encoder.transform(X[i : i + n_rows]) for i in range(0, 40, n_rows)]
        assert_array_equal(np.vstack(parts), encoder.transform(X))
    numeric = TableEncoder().fit(pd.DataFrame({"level": codes, "count": codes}))
    assert_array_equal(numeric.transform(X[:4]), numeric.transform(X)[:4])


def test_levels_that_are_written_alike_are_one():
    X = pd.DataFrame({"part": pd.Categorical([pd.Interval(0, 1), "(0, 1]", "b", "b", None])})
    encoder = TableEncoder().fit(X)
    assert encoder.categories_ == [["(0, 1]", "b"]]
    assert_allclose(encoder.means_, [0.4, 0.4, 0.2])
    assert_array_equal(encoder.transform(X), np.eye(3)[[0, 0, 1, 1, 2]])


def test_polars_columns_of_other_kinds():
    X = pl.DataFrame({"good": [1, 2], "price": [decimal.Decimal("1.5"), None], "none": [None] * 2})
    encoder = TableEncoder().fit(X)
    assert encoder.get_feature_names_out().tolist() == ["good", "price_missing"]
    for cells in ([DATE, None], [DATE.date(), None], [[1], None], [{"a": 1}, None], [b"a", None]):
        with pytest.raises(TypeError, match="column 'bad' of X has cells of the type"):
            TableEncoder().fit(X.with_columns(bad=pl.Series(cells)))


@pytest.mark.skipif(not hasattr(pl, "Int128"), reason="an older polars")
@pytest.mark.parametrize("cells", [[1, 2, 3, 4], [1, None, 3, 4], [10**30, 1, 2, 3]])
def test_polars_integers_of_128_bits(cells):
    X = pl.DataFrame({"a": pl.Series(cells, dtype=pl.Int128)})
    expected = pd.DataFrame({"a": np.array(cells, dtype=object)})
    for named in ([], ["a"]):
        encoder = TableEncoder(categorical_features=named)
        encoded = clone(encoder).fit_transform(expected)
        assert_array_equal(encoder.fit_transform(X), encoded)
        assert_array_equal(encoder.transform(X[:1]), encoded[:1])
        many = encoder.transform(pl.concat([X] * 20))
        assert_array_equal(many, np.tile(encoded, (20, 1)))


def test_columns_are_checked_by_name():
    X = pd.DataFrame(mixed())
    encoder = TableEncoder().fit(X)
    with pytest.raises(ValueError, match="feature names"):
        encoder.transform(X[X.columns[::-1]])
    with pytest.raises(ValueError, match="feature names"):
        encoder.transform(X.drop(columns="word"))
    with pytest.raises(ValueError, match="0 sample"):
        encoder.transform(X[:0])


FRAMES = {
    "nullable": lambda X: pd.DataFrame(X).convert_dtypes(),
    "category": lambda X: pd.DataFrame(X).astype({"word": "category", "code": "category"}),
    "object": lambda X: pd.DataFrame(X).astype(object),
    "sparse": lambda X: pd.DataFrame(X).astype({"count": "Sparse[int]", "number": "Sparse[float]"}),
    "array": lambda X: pd.DataFrame(X).astype(object).to_numpy(),
    "polars": pl.DataFrame,
    "polars categorical": lambda X: pl.DataFrame(X).with_columns(
        pl.col("word").cast(pl.Categorical)
    ),
    "polars enum": lambda X: pl.DataFrame(X).with_columns(
        pl.col("word").cast(pl.Enum(["red", "green", "blue", "rare"]))
    ),
}


@pytest.mark.parametrize("name", FRAMES)
def test_containers_give_the_same_model(name):
    X = mixed()
    frame, other = pd.DataFrame(X), FRAMES[name](X)
    encoder = TableEncoder(categorical_features=[5], min_frequency=0.05)
    expected, found = clone(encoder).fit(frame), clone(encoder).fit(other)
    assert_array_equal(expected.transform(frame), found.transform(other))
    assert expected.categories_ == found.categories_
    assert expected.kinds_ == found.kinds_
    assert_array_equal(found.transform(other[:9]), expected.transform(frame)[:9])
    for i in (0, 1, 9):
        row = other[i : i + 1]
        assert_array_equal(found.transform(row)[0], expected.transform(frame)[i])
    if name.startswith("polars"):
        assert found.set_output(transform="polars").transform(other).columns == list(
            expected.get_feature_names_out()
        )


def test_a_numeric_array_and_a_frame_of_it():
    X = np.random.default_rng(0).normal(size=(50, 3))
    X[3, 1] = np.nan
    for dtype in (np.float64, np.float32):
        found = TableEncoder().fit_transform(X.astype(dtype))
        assert found.dtype == dtype
        for frame in (pd.DataFrame(X, dtype=dtype), pl.DataFrame(X.astype(dtype))):
            encoded = TableEncoder().fit_transform(frame)
            assert encoded.dtype == dtype
            assert_array_equal(encoded, found)
    assert_array_equal(TableEncoder().fit_transform(X.tolist()), TableEncoder().fit_transform(X))


MASK = [False, False, True, False, False, True]


@pytest.mark.parametrize("named", [["code", "count"], [5, 2], MASK])
def test_named_columns_are_levels(named):
    X = pd.DataFrame(mixed())
    encoder = TableEncoder(categorical_features=named).fit(X)
    assert encoder.kinds_ == ["numeric", "numeric", "levels", "levels", "levels", "levels"]
    assert encoder.categories_[2] == [0, 1, 2, 3]


@pytest.mark.parametrize("other", [0.5, "word"])
def test_large_integers_are_levels_of_their_own(other):
    ids = [2**53, 2**53 + 1, 5]
    X = pd.DataFrame({"id": ids, "other": [other] * 3})
    encoder = TableEncoder(categorical_features=["id"]).fit(X)
    assert encoder.categories_[0] == [5, 2**53, 2**53 + 1]
    assert_array_equal(encoder.transform(X), np.eye(3)[[1, 2, 0]])
    rows = [encoder.transform(X.iloc[[i]])[0] for i in range(3)]
    assert_array_equal(rows, np.eye(3)[[1, 2, 0]])
    larger = pd.DataFrame({"id": pd.Categorical([10**400, 10**401] * 5)})
    assert TableEncoder().fit(larger).categories_ == [[10**400, 10**401]]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (["nothing"], "'nothing' which is not a valid feature name"),
        ([9], "indices"),
        ([True], "mask"),
        ([0.5], "bool, int or str"),
    ],
)
def test_names_that_are_no_columns(named, message):
    with pytest.raises(ValueError, match=message):
        TableEncoder(categorical_features=named).fit(pd.DataFrame(mixed()))


def test_weights_are_copies():
    X, rng = pd.DataFrame(mixed(80)), np.random.default_rng(1)
    weights = rng.integers(0, 4, 80)
    copies = TableEncoder(max_categories=3).fit(X.loc[np.repeat(np.arange(80), weights)])
    for factor in (1.0, 0.1, 3.0, 1e-300, 1e307):
        found = clone(copies).fit(X, sample_weight=factor * weights)
        assert found.categories_ == copies.categories_
        for one, other in zip(found.edges_, copies.edges_, strict=True):
            assert (one is None and other is None) or one.tolist() == other.tolist()
        assert_allclose(found.means_, copies.means_, atol=1e-14)
    with pytest.raises(ValueError, match="zero"):
        TableEncoder().fit(X, sample_weight=np.zeros(80))


@pytest.mark.parametrize(("scale", "shift"), [(1e-300, 0), (1e300, 0), (7.0, 1e3), (-3.0, 0.5)])
def test_scale_and_shift_change_nothing(scale, shift):
    X = np.random.default_rng(0).normal(size=(64, 1))
    expected = TableEncoder().fit_transform(X)
    found = TableEncoder().fit_transform(scale * X + shift)
    if scale < 0:  # pieces in the opposite order, and falling
        found = 1 - found[:, ::-1]
    assert_allclose(found, expected, atol=1e-10)


@pytest.mark.filterwarnings("error")
def test_extreme_numbers():
    top = np.finfo(np.float64).max
    X = np.array([[-top, 5e-324, 1e-310], [top, 0.0, 0.5], [0.0, 1e-323, 1.0], [1.0, 0, top]])
    X = pd.DataFrame(np.column_stack([X, [-1e307, 0.0, 1e-300, 2e-300]]))
    for n_bins in (1, 2, 8):
        encoder = TableEncoder(n_bins=n_bins).fit(X)
        rows = np.array([[top] * 4, [-top] * 4, [5e-324] * 4])
        encoded = encoder.transform(pd.DataFrame(np.vstack([X, rows])))
        assert np.isfinite(encoded).all()
        assert np.abs(encoded).max() <= 9
        assert np.isfinite(encoder.means_).all()
    assert np.isfinite(TableEncoder().fit_transform(X.clip(-1e38, 1e38).astype("float32"))).all()


@pytest.mark.parametrize("n_bins", [1, 8])
def test_states_give_the_encoded_rows(n_bins):
    X = pd.DataFrame(mixed())
    encoder = TableEncoder(n_bins=n_bins, categorical_features=["code"], max_categories=5).fit(X)
    rows = pd.concat([X, X.assign(number=99.0, heavy=-99.0, word="new", truth=None, count=np.nan)])
    # ten at a time, since states are asked for few rows only
    located = [locate_few_rows(encoder, rows[i : i + 10]) for i in range(0, len(rows), 10)]
    state, delta = (np.concatenate([each[k] for each in located]) for k in (0, 1))
    values, slopes = state_table(encoder)
    encoded = encoder.transform(rows)
    found = values[state].sum(axis=1) + (delta[..., None] * slopes[state]).sum(axis=1)
    assert_allclose(found, encoded, atol=1e-12)
    weights = np.random.default_rng(0).normal(size=(encoded.shape[1], 3))
    for product, table in zip(fold_states(encoder, weights), (values, slopes), strict=True):
        assert_allclose(product, table @ weights, atol=1e-12)
    for i in (0, 7, 63, 100):
        one = rows[i : i + 1]
        assert_array_equal(encoder.transform(one)[0], encoded[i])
        for found, of_ten in zip(locate_few_rows(encoder, one)[:2], (state, delta), strict=True):
            assert_array_equal(found[0], of_ten[i])


def test_fitted_state():
    X = pd.DataFrame(mixed())
    encoder = TableEncoder().fit(X)
    before = joblib.hash(encoder)
    encoded = encoder.transform(X)
    copy = pickle.loads(pickle.dumps(encoder))
    assert joblib.hash(encoder) == joblib.hash(copy) == joblib.hash(clone(encoder).fit(X)) == before
    assert_array_equal(copy.transform(X), encoded)
    assert len(pickle.dumps(encoder)) < 3000
    cells = [level for levels in encoder.categories_ if levels is not None for level in levels]
    assert {type(cell) for cell in cells} == {str, bool}
    with pytest.raises(TypeError):
        encoder.fit(pd.DataFrame({"a": [{}]}))
    assert_array_equal(encoder.transform(X), encoded)  # of the fit before


def test_wide_tables_stay_linear():
    assert resolve_n_bins("auto", 256) == 8
    X = np.random.default_rng(0).normal(size=(9, 300))
    encoder = TableEncoder().fit(X)
    assert encoder.n_bins_ == 1
    assert_allclose(encoder.transform(X), (X - X.min(axis=0)) / np.ptp(X, axis=0), atol=1e-12)


def test_columns_of_one_piece_have_the_mean_of_all_values(rng):
    X = rng.normal(size=(40, 3)) * [1, 1e6, 0] + [0, 0, 5]
    X[::3, 1] = np.nan
    weights = rng.uniform(size=40)
    encoder = TableEncoder(n_bins=1).fit(X, sample_weight=weights)
    assert_array_equal(encoder.edges_[0], [X[:, 0].min(), X[:, 0].max()])
    assert_array_equal(encoder.edges_[1], [np.nanmin(X[:, 1]), np.nanmax(X[:, 1])])
    assert len(encoder.edges_[2]) == 0
    mean = np.average(encoder.transform(X), axis=0, weights=weights)
    assert_allclose(encoder.means_, mean, rtol=1e-12)
    wide = TableEncoder().fit(np.tile(X, 100), sample_weight=weights)
    assert wide.n_bins_ == 1
    assert_allclose(wide.means_, np.tile(mean, 100), rtol=1e-12)
