"""Transfer rows against plain loops: what is drawn, what is kept as it is, and what never is."""

import itertools
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings, strategies as st
from scipy import sparse, stats

from sklearn_kd._tables import mixed_table
from sklearn_kd._tables.mixed_table import MixedTable
from sklearn_kd._tables.partition import near_blocks
from sklearn_kd.datasets import _transfer_rows
from sklearn_kd.datasets._transfer_rows import make_transfer_rows
from tests._helpers.tables import mixed_frame

METHODS = ["munge", "gibbs"]


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


def as_tuples(table):
    """Rows as hashable values, every missing value alike."""
    rows = table.to_numpy(object) if hasattr(table, "iloc") else np.asarray(table, dtype=object)
    return [tuple(None if pd.isna(value) else value for value in row) for row in rows]


def test_ties_go_to_any_of_the_nearest():
    # all rows are alike but for a name, which no two share
    X = np.array([[f"r{i}", "same"] for i in range(20)], dtype=object)
    rows = make_transfer_rows(
        np.column_stack([X, np.arange(20.0)]), 5, random_state=0, method="gibbs", n_neighbors=3
    )
    assert len(rows) == 5
    table = MixedTable(X, np.ones(20))
    found = table.nearest(
        np.repeat(np.arange(20)[:, None], 2, axis=1),
        np.arange(2),
        np.arange(20),
        1,
        np.random.RandomState(0),
    )
    assert len(np.unique(found)) > 6


def plain_munge(X, n_rows, p, s, rng):
    """Children of whole passes over X, one value at a time."""
    span = np.ptp(X, axis=0)
    children = []
    for i in range(n_rows):
        e = X[i % len(X)]
        distances = (((X - e) / span) ** 2).sum(axis=1)
        distances[i % len(X)] = np.inf
        other = X[distances.argmin()]
        child = e.copy()
        for a in range(X.shape[1]):
            if rng.uniform() < p:
                child[a] = rng.normal(other[a], abs(e[a] - other[a]) / s)
                child[a] = min(max(child[a], X[:, a].min()), X[:, a].max())
        children.append(child)
    return np.array(children)


def nearest_of(X):
    scaled = (X - X.min(axis=0)) / np.ptp(X, axis=0)
    distances = ((scaled[:, None] - scaled) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    return distances.argmin(axis=1)


@pytest.mark.parametrize(("p", "s"), [(0.5, 1.0), (0.3, 2.0), (0.8, 0.5)])
def test_munge_has_the_distribution_of_a_plain_loop(p, s):
    # 30 rows of 6 numbers, 200 children of each
    X = np.random.RandomState(3).normal(size=(30, 6)) * [1, 1, 10, 1, 100, 1] + 5
    rows = make_transfer_rows(X, 6000, swap_probability=p, local_variance=s, random_state=0)
    theirs = plain_munge(X, 6000, p, s, np.random.RandomState(1))
    theirs = theirs[~(theirs[:, None] == X).all(axis=2).any(axis=1)]
    for a in range(6):
        assert stats.ks_2samp(rows[:, a], theirs[:, a]).pvalue > 1e-3
    # which row each child started at: the one with which it shares values, to the bit; not one
    # at an end of a range, where clipped values are, too
    low, high = X.min(axis=0), X.max(axis=0)
    interior = (np.minimum(X - low, high - X) > 0).all(axis=1)
    assert interior.sum() > 10
    shared = (rows[:, None, :] == X) & interior[:, None]
    known = shared.any(axis=(1, 2))
    source = shared.sum(axis=2).argmax(axis=1)
    neighbor = nearest_of(X)[source]
    kept = rows == X[source]
    # children that keep nothing cannot be told, those that keep everything are copies
    expected = (p - p**6) / (1 - p**6 - (1 - p) ** 6)
    assert (~kept[known]).mean() == pytest.approx(expected, abs=0.012)
    inside = (rows > X.min(axis=0)) & (rows < X.max(axis=0))
    far = (np.minimum(X[neighbor] - X.min(axis=0), X.max(axis=0) - X[neighbor])) > 5 * np.abs(
        X[source] - X[neighbor]
    ) / s
    drawn = ~kept & known[:, None] & far  # the clip is too far off to be felt
    assert drawn.sum() > 300
    assert inside[drawn].all()
    z = ((rows - X[neighbor]) / (np.abs(X[source] - X[neighbor]) / s))[drawn]
    assert stats.kstest(z, "norm").pvalue > 1e-3


def test_nominal_attributes_are_swapped_with_the_probability():
    # pairs of rows that are each other's nearest, with no word in common; number says which pair
    X = pd.DataFrame({"pair": np.repeat(np.arange(40) * 10.0, 2)})
    for j in range(5):
        X[f"word{j}"] = [f"{'ab'[i % 2]}{i // 2}" for i in range(80)]
    rows = make_transfer_rows(X, 8000, swap_probability=0.25, random_state=0)
    words = rows.iloc[:, 1:].to_numpy(object)
    pair = np.array([[int(word[1:]) for word in row] for row in words])
    np.testing.assert_array_equal(pair, np.repeat(rows[["pair"]] / 10, 5, axis=1))
    # of 5 words k are "b": swapped from an "a", or kept of a "b"; 0 and 5 are copies
    n_second = (np.array([[word[0] == "b" for word in row] for row in words])).sum(axis=1)
    swaps = stats.binom.pmf(np.arange(1, 5), 5, 0.25)
    expected = swaps + swaps[::-1]
    counts = np.bincount(n_second, minlength=6)
    assert counts[[0, 5]].sum() == 0
    np.testing.assert_allclose(counts[1:5] / 8000, expected / expected.sum(), atol=0.02)


def test_missing_against_present_is_taken_without_noise():
    # the first two rows are nearest to each other, and no other row to one of them
    X = pd.DataFrame(
        {
            "a": [0.0, np.nan, 5.0, 5.1, 10.0, 10.2],
            "b": [0.0, 0.01, 8.0, 8.1, 9.0, 9.1],
            "c": list("xyzzww"),
        }
    )
    rows = make_transfer_rows(X, 600, random_state=0)
    near = rows[rows["c"].isin(["x", "y"])]
    assert set(near["a"].dropna()) == {0.0}
    # b is drawn with noise or kept, so that no row is lost as a copy but (e_a, e_b, e_c)
    assert near["a"].isna().mean() == pytest.approx(0.5, abs=0.1)
    assert not near["b"].isin([0.0, 0.01]).all()


def test_containers_dtypes_and_categories_are_kept(method):
    frame = mixed_frame()
    rows = make_transfer_rows(frame, 300, method=method, random_state=0)
    assert isinstance(rows, pd.DataFrame)
    assert len(rows) == 300
    pd.testing.assert_series_equal(rows.dtypes, frame.dtypes)
    pd.testing.assert_index_equal(rows.index, pd.RangeIndex(300), exact=True)
    pd.testing.assert_index_equal(rows.columns, frame.columns)
    assert rows["level"].cat.categories.tolist() == ["l", "m", "h", "u"]
    for column in ("flag", "word", "object", "level", "day", "maybe", "constant"):
        assert set(rows[column].dropna()) <= set(frame[column].dropna())
    for column in ("float", "word", "object", "level", "day", "nullable", "maybe"):
        assert 0 < rows[column].isna().sum() < 100
    assert rows["nothing"].isna().all()
    for column in ("float", "single", "count", "small", "whole", "nullable"):
        assert rows[column].min() >= frame[column].min()
        assert rows[column].max() <= frame[column].max()
        assert rows[column].nunique() > 5
    assert (rows["whole"] % 1 == 0).all()
    if method == "gibbs":
        for column in frame:
            assert set(rows[column].dropna()) <= set(frame[column].dropna())
    else:
        assert not rows["float"].dropna().isin(frame["float"]).all()
        assert not rows["count"].isin(frame["count"]).all()


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.float16, np.int32, np.uint8, np.int64]
)
def test_arrays_keep_their_dtype(method, dtype):
    X = (np.random.RandomState(0).rand(60, 5) * 200).astype(dtype)
    rows = make_transfer_rows(X, 90, method=method, random_state=0)
    assert type(rows) is np.ndarray
    assert rows.dtype == dtype
    assert rows.shape == (90, 5)
    assert (rows >= X.min(axis=0)).all()
    assert (rows <= X.max(axis=0)).all()


def test_object_arrays_and_lists(method):
    rng = np.random.RandomState(0)
    words = rng.choice(np.array(["a", "b", None], dtype=object), 80)
    X = np.array(
        [[*pair] for pair in zip(words, rng.normal(size=80).tolist(), strict=True)], dtype=object
    )
    X = np.column_stack([X, rng.randint(0, 100, 80).astype(object)])
    rows = make_transfer_rows(X, 100, method=method, random_state=0)
    assert rows.dtype == object
    assert {type(v) for v in rows[:, 1]} == {float}
    assert {type(v) for v in rows[:, 2]} == {int}
    assert {*rows[:, 0]} == {"a", "b", None}
    np.testing.assert_array_equal(
        rows, make_transfer_rows(X.tolist(), 100, method=method, random_state=0)
    )
    counts = np.column_stack([X[:, 2], np.array([*map(np.int64, X[:, 2] * 3)], dtype=object)])
    counts[::2, 1] = [*map(int, counts[::2, 1])]
    mixed = make_transfer_rows(counts, 50, method="munge", random_state=0)
    assert {type(v) for v in mixed[:, 1]} <= {int, np.int64}
    texts = X[:, [0, 2]].astype(str)
    assert make_transfer_rows(texts, 10, method="gibbs", random_state=0).dtype == texts.dtype


def test_duplicate_column_names():
    frame = pd.DataFrame(np.random.RandomState(0).normal(size=(20, 3)), columns=["a", "a", "b"])
    rows = make_transfer_rows(frame, 15, random_state=0)
    assert rows.columns.tolist() == ["a", "a", "b"]
    expected = make_transfer_rows(frame.to_numpy(), 15, random_state=0)
    np.testing.assert_array_equal(rows.to_numpy(), expected)


def one_hot(n, sizes, seed=0):
    rng = np.random.RandomState(seed)
    parts = [np.eye(k)[np.r_[np.arange(k), rng.randint(0, k, n - k)]] for k in sizes]
    # ten numbers, so that the nearest row is often of another category
    return np.hstack([rng.normal(size=(n, 2)), *parts, rng.normal(size=(n, 8))])


def standardized(X):
    return (X - X.mean(axis=0)) / X.std(axis=0)


@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame])
@pytest.mark.parametrize("scale", [np.asarray, standardized])
def test_one_hot_groups_stay_one_hot(method, container, scale):
    sizes = (5, 3, 7)
    X = one_hot(300, sizes)
    rows = np.asarray(make_transfer_rows(container(scale(X)), 600, method=method, random_state=0))
    start = 2
    for size in sizes:
        known = np.unique(scale(X)[:, start : start + size], axis=0)
        found = np.unique(rows[:, start : start + size], axis=0)
        assert len(known) == size
        np.testing.assert_array_equal(found, known)
        start += size


def test_one_hot_groups_without_their_first_column_and_with_an_unused_one(method):
    full = one_hot(40, (6,))
    X = np.delete(full, 2, axis=1)
    X = np.insert(X, 4, 0.0, axis=1)  # a category of rows elsewhere
    rows = make_transfer_rows(X, 600, method=method, random_state=0)
    assert {*rows[:, 2:8].sum(axis=1)} == {0.0, 1.0}
    assert set(np.unique(rows[:, 2:8])) == {0.0, 1.0}
    attributes = MixedTable(X, np.ones(40)).attributes
    assert [2, 3, 5, 6, 7] in [attribute.columns for attribute in attributes]


def test_a_flag_beside_a_one_hot_group_does_not_break_it(method):
    X = one_hot(300, (4,))
    flag = (X[:, 2] == 0) & (np.arange(300) % 9 == 0)  # never with the first category
    X = np.insert(X, 2, flag, axis=1)
    rows = make_transfer_rows(X, 600, method=method, random_state=0)
    assert (rows[:, 3:7].sum(axis=1) == 1).all()
    groups = sorted(attribute.columns for attribute in MixedTable(X, np.ones(300)).attributes)
    assert groups[:4] == [[0], [1], [2], [3, 4, 5, 6]]


def test_booleans_of_get_dummies_are_a_group(method):
    rng = np.random.RandomState(0)
    frame = pd.DataFrame(rng.normal(size=(90, 8)), columns=[f"number{j}" for j in range(8)])
    frame["word"] = rng.choice(list("abcd"), 90)
    rows = make_transfer_rows(pd.get_dummies(frame), 200, method=method, random_state=0)
    assert (rows.iloc[:, 8:].sum(axis=1) == 1).all()
    assert set(rows.dtypes.iloc[8:].astype(str)) == {"bool"}


def test_numbers_of_two_values_and_long_integers_are_never_blurred():
    rng = np.random.RandomState(0)
    ids = rng.randint(2**60, 2**62, 50)
    frame = pd.DataFrame({"id": ids, "two": rng.choice([1.5, 4.0], 50), "x": rng.normal(size=50)})
    rows = make_transfer_rows(frame, 200, random_state=0)
    assert set(rows["id"]) <= set(ids)
    assert set(rows["two"]) == {1.5, 4.0}


@pytest.mark.parametrize("scale", [1e308, 1e-308, 5e-324])
def test_extreme_ranges(method, scale):
    X = np.random.RandomState(0).randint(-9, 10, (60, 4)) / 10 * scale if scale > 1 else None
    if X is None:
        X = np.random.RandomState(0).randint(-9, 10, (60, 4)) * scale
    rows = make_transfer_rows(X, 50, method=method, random_state=0)
    assert np.isfinite(rows).all()
    assert rows.shape == (50, 4)


def test_a_full_table_has_no_new_rows(method):
    # as `car` of UCI: a row for every combination of the categories
    X = pd.DataFrame(list(itertools.product("abc", "xyz", "12", "uvw")), columns=list("pqrs"))
    for table in (X, X.to_numpy(object), X.astype("category")):
        rows, share = make_transfer_rows(
            table, 200, method=method, random_state=0, return_copies=True
        )
        assert share == 1.0
        assert rows.shape == (0, 4)
        assert type(rows) is type(table)
        if hasattr(rows, "dtypes"):
            pd.testing.assert_series_equal(rows.dtypes, table.dtypes)


def test_no_row_is_a_copy_and_the_share_counts_them(method):
    rng = np.random.RandomState(0)
    X = pd.DataFrame(rng.randint(0, 4, (150, 5)).astype(str))
    X.loc[::7, 2] = None
    X[5] = rng.randint(0, 6, 150)
    rows, share = make_transfer_rows(X, 400, method=method, random_state=0, return_copies=True)
    assert len(rows) > 100
    assert not set(as_tuples(rows)) & set(as_tuples(X))
    assert type(share) is float
    assert 0.05 < share < 0.95


def test_the_share_of_copies_of_munge_is_that_of_the_swaps():
    # of numbers a child is a copy where no attribute is swapped: 0.7^3
    X = np.random.RandomState(0).normal(size=(3000, 3))
    _, share = make_transfer_rows(X, 3000, swap_probability=0.3, random_state=0, return_copies=True)
    assert share == pytest.approx(0.7**3, abs=0.02)


def test_rows_know_nothing_of_rows_that_are_not_given(method):
    frame = mixed_frame(200)
    frame["mark"] = np.where(np.arange(200) % 2, "train", "test")
    frame["number"] = np.where(np.arange(200) % 2, 1.0, 50.0) + np.random.RandomState(0).rand(200)
    train = frame[frame["mark"] == "train"]
    rows = make_transfer_rows(train, 300, method=method, random_state=0)
    assert set(rows["mark"]) == {"train"}
    assert rows["number"].max() <= train["number"].max()
    pd.testing.assert_frame_equal(
        rows, make_transfer_rows(train.copy(), 300, method=method, random_state=0)
    )
    # a weight of zero is the same as no row
    weighted = make_transfer_rows(
        frame,
        300,
        method=method,
        random_state=0,
        sample_weight=(frame["mark"] == "train").to_numpy(float),
    )
    pd.testing.assert_frame_equal(rows, weighted)


def test_the_same_seed_makes_the_same_rows(method):
    frame = mixed_frame()
    first, again, other = (
        make_transfer_rows(frame, 100, method=method, random_state=seed) for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, again)
    assert as_tuples(first) != as_tuples(other)
    state = np.random.get_state()[1].copy()
    make_transfer_rows(frame, 10, method=method, random_state=0)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_a_weight_of_k_is_k_copies(method):
    frame = mixed_frame(60).reset_index(drop=True)
    weights = np.random.RandomState(0).randint(0, 4, 60)
    repeated = frame.loc[np.repeat(np.arange(60), weights)]
    pd.testing.assert_frame_equal(
        make_transfer_rows(frame, 150, method=method, sample_weight=weights, random_state=0),
        make_transfer_rows(repeated, 150, method=method, random_state=0),
    )


def test_sources_come_in_passes_and_by_weight():
    X = np.random.RandomState(0).normal(size=(50, 2))
    rng = np.random.RandomState(0)
    table = MixedTable(X, np.ones(50))
    np.testing.assert_array_equal(np.bincount(table.draw_sources(100, rng), minlength=50), 2)
    assert {*np.bincount(table.draw_sources(75, rng), minlength=50)} == {1, 2}
    weights = np.arange(1.0, 51)
    counts = np.bincount(MixedTable(X, weights).draw_sources(5000, rng), minlength=50)
    assert (np.abs(counts - weights / weights.sum() * 5000) < 1).all()


def test_gibbs_draws_neighbors_by_weight():
    # the halves of two attributes: from an "a" either of two groups is as near
    number = np.r_[np.zeros(1), np.full(30, 1.0)] + np.linspace(0, 1e-3, 31)
    table = MixedTable(number[:, None], np.r_[30.0, np.ones(30)])
    counts = np.zeros(31)
    rng = np.random.RandomState(0)
    table.attributes.append(table.attributes[0])  # a second one, to be drawn
    table.spans.append(table.spans[0])
    table.norms = np.repeat(table.norms, 2, axis=1)
    sources = np.full(20000, 30, dtype=np.int32)
    rows = _transfer_rows._GibbsSampler(table, 30).draw(sources, rng)
    counts = np.bincount(rows.donor.ravel(), minlength=31)
    drawn = counts[:30].sum()
    assert counts[0] / drawn == pytest.approx(30 / 59, abs=0.02)


def test_gibbs_keeps_what_depends_on_each_other():
    # two clusters with their own word: hardly a row mixes them
    rng = np.random.RandomState(0)
    side = rng.randint(0, 2, 400)
    X = pd.DataFrame(rng.normal(size=(400, 6)) + 8 * side[:, None])
    X["word"] = np.array(["left", "right"])[side]
    rows = make_transfer_rows(X, 400, method="gibbs", random_state=0)
    high = rows.iloc[:, :6] > 4
    assert (high.nunique(axis=1) == 1).mean() > 0.99
    assert ((rows["word"] == "right") == high[0]).mean() > 0.9


@pytest.mark.parametrize("kind", ["frame", "array"])
def test_the_input_is_not_written_to(method, kind):
    frame = mixed_frame()
    X = frame if kind == "frame" else frame[["float", "count"]].to_numpy()
    before = X.copy()
    if kind == "array":
        X.flags.writeable = False
    rows = make_transfer_rows(X, 100, method=method, random_state=0)
    if kind == "frame":
        rows.loc[:, "float"] = 0.0
        pd.testing.assert_frame_equal(X, before)
    else:
        rows[:] = 0
        np.testing.assert_array_equal(X, before)


def test_one_column():
    X = np.random.RandomState(0).normal(size=(40, 1))
    assert make_transfer_rows(X, 30, random_state=0).shape == (30, 1)
    # the values of one column are copies, whichever neighbor they are from
    rows, share = make_transfer_rows(X, 30, method="gibbs", random_state=0, return_copies=True)
    assert (len(rows), share) == (0, 1.0)


@st.composite
def tables(draw):
    n, seed = draw(st.integers(7, 30)), draw(st.integers(0, 2**16))
    kinds = draw(st.lists(st.sampled_from(["float", "int", "bool", "word", "level"]), min_size=1))
    rng = np.random.RandomState(seed)
    make = {
        "float": lambda: np.where(rng.rand(n) < 0.2, np.nan, rng.normal(size=n)),
        "int": lambda: rng.randint(0, rng.randint(1, 9), n),
        "bool": lambda: rng.rand(n) < 0.5,
        "word": lambda: np.where(rng.rand(n) < 0.2, None, rng.choice(list("abc"), n)),
        "level": lambda: pd.Categorical(rng.choice(list("abc"), n), categories=list("dcba")),
    }
    return pd.DataFrame({j: make[kind]() for j, kind in enumerate(kinds)})


@settings(max_examples=40, deadline=None)
@given(tables(), st.sampled_from(METHODS), st.integers(1, 50))
def test_any_table(frame, method, n_rows):
    assume(len(set(as_tuples(frame))) > 5)
    before = frame.copy()
    rows, share = make_transfer_rows(
        frame, n_rows, method=method, random_state=0, return_copies=True
    )
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_series_equal(rows.dtypes, frame.dtypes)
    assert len(rows) <= n_rows
    assert not set(as_tuples(rows)) & set(as_tuples(frame))
    assert (share < 1) == (len(rows) > 0)
    for j in frame:
        if frame[j].dtype != float:
            values = frame[j].dropna()
            if frame[j].dtype.kind == "i":
                assert rows[j].between(values.min(), values.max()).all()
            else:
                assert set(rows[j].dropna()) <= set(values)


ROWS = np.random.RandomState(0).normal(size=(10, 3))


@pytest.mark.parametrize(
    ("X", "keywords", "error", "message"),
    [
        (sparse.csr_matrix(ROWS), {}, TypeError, r"X is sparse.*toarray"),
        (
            pd.DataFrame({"s": pd.arrays.SparseArray([0.0, 0, 1])}),
            {},
            TypeError,
            r"column 's' is sparse.*to_dense",
        ),
        (ROWS[:0], {}, ValueError, "no rows"),
        (ROWS[:, :0], {}, ValueError, "at least one column"),
        (ROWS[0], {}, ValueError, r"at least one column, got shape \(3,\)"),
        (ROWS[:1], {}, ValueError, "1 distinct rows"),
        (np.full((5, 2), np.nan), {}, ValueError, "1 distinct rows"),
        (ROWS, {"sample_weight": np.eye(10)[0]}, ValueError, "1 distinct rows"),
        (np.where(ROWS > 1, np.inf, ROWS), {}, ValueError, r"column \d of X has infinite"),
        (ROWS.astype(complex), {}, ValueError, "complex"),
        (ROWS, {"method": "smote"}, ValueError, "'munge' or 'gibbs', got 'smote'"),
        (ROWS, {"method": lambda X: X}, ValueError, "'munge' or 'gibbs'"),
        (ROWS, {"n_rows": 0}, ValueError, "n_rows"),
        (ROWS, {"n_rows": 1.5}, TypeError, "n_rows"),
        (ROWS, {"swap_probability": 0}, ValueError, "swap_probability must be a number above 0"),
        (ROWS, {"swap_probability": 1.1}, ValueError, "at most 1"),
        (ROWS, {"swap_probability": np.nan}, ValueError, "swap_probability"),
        (ROWS, {"local_variance": 0.0}, ValueError, "local_variance"),
        (ROWS, {"n_neighbors": 0}, ValueError, "n_neighbors"),
        (ROWS, {"method": "gibbs", "n_neighbors": 10}, ValueError, "n_neighbors to 9 or less"),
        (ROWS, {"sample_weight": -np.ones(10)}, ValueError, "sample_weight"),
        (ROWS, {"sample_weight": np.ones(9)}, ValueError, "sample_weight"),
    ],
)
def test_errors_say_what_to_do(X, keywords, error, message):
    with pytest.raises(error, match=message):
        make_transfer_rows(X, keywords.pop("n_rows", 5), **keywords)


@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame])
def test_each_row_names_the_row_at_which_it_started(method, container):
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(6), 10)
    X = 100.0 * patient[:, None] + rng.normal(size=(60, 3))
    weights = np.where(patient == 2, 0.0, 1.0)  # absent
    make = partial(
        make_transfer_rows,
        container(X),
        150,
        method=method,
        sample_weight=weights,
        random_state=0,
    )
    rows, copies, origins = make(return_copies=True, return_origins=True)
    for same, also in (make(return_origins=True), (make(), origins)):
        np.testing.assert_array_equal(np.asarray(same), np.asarray(rows))
        np.testing.assert_array_equal(also, origins)
    assert make(return_copies=True)[1] == copies
    assert len(origins) == len(rows)
    # neighbors are of the same patient
    np.testing.assert_array_equal(np.round(np.asarray(rows).mean(axis=1) / 100), patient[origins])
    assert set(patient[origins]) == {0, 1, 3, 4, 5}


def test_a_row_takes_a_bounded_number_of_comparisons(method, monkeypatch):
    counts = []

    def counting(points, asked, ties, max_rows, rng):
        counts.append(("divided", len(points)))
        for rows, queries in near_blocks(points, asked, ties, max_rows, rng):
            counts.append(("compared", len(rows) * len(queries)))
            yield rows, queries

    monkeypatch.setattr(mixed_table, "near_blocks", counting)
    by_size = {}
    for n in (1000, 10_000, 30_000):
        counts.clear()
        X = np.random.RandomState(0).normal(size=(n, 6))
        assert len(make_transfer_rows(X, n, method=method, random_state=0)) == n
        by_size[n] = {
            kind: sum(count for k, count in counts if k == kind) / n
            for kind in ("compared", "divided")
        }
    n_searches = 1 if method == "munge" else _transfer_rows.N_SWEEPS
    for per_row in by_size.values():
        # distances, and rows that are assigned to blocks, for each new row
        assert per_row["compared"] <= n_searches * mixed_table.MAX_COMPARED_ROWS
        assert per_row["divided"] <= n_searches * 20
    # ten times as many rows, less than twice as many comparisons of each
    assert by_size[10_000]["compared"] < 2 * by_size[1000]["compared"]


def test_large_tables_keep_the_dependence_between_columns(method):
    rng = np.random.RandomState(0)
    z = rng.normal(size=(6000, 1))
    X = z + 0.05 * rng.normal(size=(6000, 6))
    rows = make_transfer_rows(X, 3000, method=method, random_state=0)
    # the distance from the line, which a shuffle of the columns would make 1
    spread = rows.std(axis=1).mean()
    assert spread < 2 * X.std(axis=1).mean()
    # the rows are as spread along the line as X
    assert stats.ks_2samp(rows.mean(axis=1), X.mean(axis=1)).pvalue > 1e-3
