"""Properties of the benchmark loader on small tables in a folder of their own."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

PATH = Path(__file__).parents[1] / "_tables.py"


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("sklearn_kd_benchmark_tables", PATH)
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by its name
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def make_frame(n_rows=600, seed=0):
    """Numbers and text with missing cells, a rare class, a fifth of the rows repeated."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "size": rng.normal(50, 10, n_rows).round(1),
            "count": rng.integers(0, 9, n_rows),
            "color": rng.choice(["red", "green", "blue"], n_rows),
            "id": [f"row {row}" for row in range(n_rows)],
            "flag": rng.choice([True, False], n_rows),
            "target": rng.choice(["a", "b", "c"], n_rows, p=[0.7, 0.27, 0.03]),
        }
    )
    frame.loc[rng.random(n_rows) < 0.1, "size"] = np.nan
    frame.loc[rng.random(n_rows) < 0.1, "color"] = np.nan
    frame.loc[:3, "target"] = "c"
    repeated = frame.sample(n_rows // 5, replace=True, random_state=seed)
    # Equal rows may have unequal labels.
    repeated["target"] = rng.permutation(repeated["target"].to_numpy())
    return pd.concat([frame, repeated]).sample(frac=1, random_state=seed, ignore_index=True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "tabular").mkdir()
    monkeypatch.setenv("SKLEARN_KD_DATA", str(tmp_path))

    def write(frame, name="small"):
        frame.to_csv(tmp_path / "tabular" / f"{name}.csv.gz", index=False)

    write(make_frame())
    return write


def row_keys(X):
    return {tuple(map(str, row)) for row in X.itertuples(index=False)}


def test_names(tables):
    assert len(set(tables.CLASSIFICATION)) == 24
    assert len(set(tables.REGRESSION)) == 3
    assert not set(tables.CLASSIFICATION) & set(tables.REGRESSION)


def test_no_folder_says_what_to_set(tables, monkeypatch, tmp_path):
    monkeypatch.delenv("SKLEARN_KD_DATA", raising=False)
    with pytest.raises(SystemExit, match="set the environment variable SKLEARN_KD_DATA"):
        tables.load_frame("vehicle")
    monkeypatch.setenv("SKLEARN_KD_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match=r"vehicle\.csv\.gz is in none of the folders"):
        tables.load_frame("vehicle")


def test_several_folders(tables, folder, monkeypatch, tmp_path):
    monkeypatch.setenv(
        "SKLEARN_KD_DATA", os.pathsep.join(["", str(tmp_path / "no"), str(tmp_path)])
    )
    assert len(tables.load_frame("small")[0]) == 720


def test_frame(tables, folder):
    X, y = tables.load_frame("small")
    assert list(X.columns) == ["size", "count", "color", "id", "flag"]
    assert X.dtypes.astype(str).tolist() == ["float64", "int64", "object", "object", "object"]
    assert set(X["flag"]) == {"True", "False"}
    assert X["color"].isna().any()
    assert y.dtype.kind == "U"
    frame = make_frame()
    np.testing.assert_array_equal(y, frame["target"].to_numpy(dtype=str))
    np.testing.assert_array_equal(X["size"], frame["size"])


def test_integer_and_regression_targets(tables, folder):
    frame = make_frame()
    frame["target"] = np.arange(720) % 4
    folder(frame)
    folder(frame, "cpu_act")
    assert tables.load_frame("small")[1].dtype == np.int64
    assert tables.load_frame("cpu_act")[1].dtype == np.float64
    split = tables.load_split("cpu_act", 0)
    assert len(split.y_train) + len(split.y_test) == 720
    assert len(split.y_test) / 720 == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_equal_rows_stay_on_one_side(tables, folder, seed):
    split = tables.load_split("small", seed)
    assert not row_keys(split.X_train) & row_keys(split.X_test)
    rows = np.concatenate([split.X_train.index, split.X_test.index])
    np.testing.assert_array_equal(np.sort(rows), np.arange(720))
    _, y = tables.load_frame("small")
    np.testing.assert_array_equal(split.y_train, y[split.X_train.index])
    np.testing.assert_array_equal(split.y_test, y[split.X_test.index])


def test_equal_rows_are_grouped_across_missing_cells_and_signed_zeros(tables):
    X = pd.DataFrame({"x": [0.0, -0.0, np.nan, np.nan, 1], "t": ["a", "a", np.nan, np.nan, "a"]})
    groups = tables.duplicate_groups(X)
    assert groups[0] == groups[1]
    assert groups[2] == groups[3]
    assert len(set(groups)) == 3
    assert np.signbit(X.loc[1, "x"])  # input left as it was


@pytest.mark.parametrize("test_size", [0.1, 0.25, 0.5])
def test_stratified(tables, folder, test_size):
    _, y = tables.load_frame("small")
    for seed in range(5):
        split = tables.load_split("small", seed, test_size=test_size)
        assert len(split.y_test) / len(y) == pytest.approx(test_size, abs=0.01)
        for label in "abc":
            n_test, n = np.sum(split.y_test == label), np.sum(y == label)
            # Equal rows with unequal labels are assigned together, hence a little play.
            assert abs(n_test - test_size * n) < 3 + 0.05 * n


def test_exactly_stratified_without_equal_rows(tables):
    codes = np.repeat([0, 1, 2], [400, 100, 20])
    is_test = tables.split_rows(np.arange(520), codes, test_size=0.25, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(codes[is_test]), [100, 25, 5])


@pytest.mark.parametrize("test_size", [0.25, 0.9])
def test_every_class_is_in_training(tables, test_size):
    rng = np.random.default_rng(1)
    for seed in range(30):
        codes = np.repeat([0, 1, 2, 3], [30, 2, 1, 3])
        groups = rng.integers(0, 20, 36)
        groups = np.unique(groups, return_inverse=True)[1]
        is_test = tables.split_rows(
            groups, codes, test_size=test_size, rng=np.random.default_rng(seed)
        )
        assert set(codes[~is_test]) == {0, 1, 2, 3}
        assert not set(groups[is_test]) & set(groups[~is_test])


def test_a_huge_group_does_not_empty_the_test_rows(tables):
    """As in mammography, where a third of the rows are one and the same."""
    groups = np.concatenate([np.zeros(400, dtype=int), np.arange(1, 601)])
    for seed in range(5):
        is_test = tables.split_rows(
            groups, np.zeros(1000, dtype=int), test_size=0.25, rng=np.random.default_rng(seed)
        )
        assert is_test.sum() == 250
        assert not is_test[0]


def test_stratum_is_the_majority_of_the_group(tables):
    # groups of three with two rows of class g % 2, and one of the other
    groups = np.repeat(np.arange(80), 3)
    codes = np.where(np.arange(240) % 3 == 0, 1 - groups % 2, groups % 2)
    is_test = tables.split_rows(groups, codes, test_size=0.25, rng=np.random.default_rng(0))
    chosen = np.unique(groups[is_test])
    np.testing.assert_array_equal(np.bincount(chosen % 2), [10, 10])


def test_deterministic(tables, folder):
    one, two = (tables.load_encoded("small", 3) for _ in range(2))
    for part in ("X_train", "X_test", "y_train", "y_test"):
        np.testing.assert_array_equal(getattr(one, part), getattr(two, part))
    other = tables.load_split("small", 4)
    assert set(other.X_test.index) != set(tables.load_split("small", 3).X_test.index)


def test_max_rows(tables, folder):
    whole = tables.load_split("small", 0)
    part = tables.load_split("small", 0, max_rows=100)
    np.testing.assert_array_equal(part.X_test.index, whole.X_test.index)
    assert len(part.y_train) == 100
    assert set(part.X_train.index) < set(whole.X_train.index)
    for label in "abc":
        assert np.mean(part.y_train == label) == pytest.approx(
            np.mean(whole.y_train == label), abs=0.011
        )
    assert len(tables.load_split("small", 0, max_rows=10**6).y_train) == len(whole.y_train)
    assert set(tables.load_split("small", 0, max_rows=3).y_train) == set("abc")
    with pytest.raises(ValueError, match="max_rows=2 is fewer than the 3 classes"):
        tables.load_split("small", 0, max_rows=2)
    with pytest.raises(ValueError, match="test_size"):
        tables.load_split("small", 0, test_size=1.5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_encoded_arrays(tables, folder, dtype):
    data = tables.load_encoded("small", 0, dtype=dtype)
    for X in (data.X_train, data.X_test):
        assert isinstance(X, np.ndarray)
        assert X.dtype == dtype
        assert X.flags.c_contiguous
        assert np.isfinite(X).all()
    assert data.X_train.shape == (len(data.y_train), data.X_test.shape[1])


def test_encoder_sees_training_rows_only(tables, folder):
    data, split = tables.load_encoded("small", 0), tables.load_split("small", 0)
    size = split.X_train["size"]
    filled = size.fillna(size.median())
    column = (filled - filled.mean()) / filled.std(ddof=0)
    np.testing.assert_allclose(data.X_train[:, 0], column, atol=1e-12)
    # Whatever the test rows hold, the encoding of the training rows stays.
    frame = make_frame()
    frame.loc[split.X_test.index, "size"] += 1e6
    folder(frame)
    np.testing.assert_array_equal(tables.load_encoded("small", 0).X_train, data.X_train)


def test_columns_of_the_encoder(tables):
    n_rows = 200
    X = pd.DataFrame(
        {
            "number": np.arange(n_rows, dtype=float),
            "gaps": [np.nan, *np.arange(n_rows - 1)],
            "empty": np.full(n_rows, np.nan),
            "color": np.array(["red", "blue"] * 95 + [np.nan] * 10, dtype=object),
            "unique": [f"{row}" for row in range(n_rows)],
            "many": [f"{row % 50}" for row in range(n_rows)],
        }
    )
    many = pd.concat([X] * 10, ignore_index=True)
    encoder = tables.make_encoder(X).set_output(transform="pandas")
    assert encoder.fit_transform(X).columns.tolist() == [
        *["number", "gaps", "empty", "missingindicator_gaps", "missingindicator_empty"],
        *["color_(missing)", "color_blue", "color_red"],
        "unique_infrequent_sklearn",
        "many_infrequent_sklearn",
    ]
    many_columns = encoder.fit(many).get_feature_names_out()
    assert sum(column.startswith("many_") for column in many_columns) == tables.MAX_CATEGORIES


def test_categories_that_training_lacks(tables):
    X = pd.DataFrame({"few": ["a", "b"] * 10, "rare": ["a"] * 17 + ["b", "c", "d"]})
    encoder = tables.make_encoder(X).fit(X)
    new = pd.DataFrame({"few": ["z", np.nan], "rare": ["z", np.nan]}, dtype=object)
    # no column for rare categories in "few"; "rare" has one
    np.testing.assert_array_equal(encoder.transform(new), [[0, 0, 0, 1]] * 2)


def test_main_prints_a_row_per_table(tables, folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["_tables.py", "small"])
    tables.main()
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:6] == ["name", "train", "test", "share", "columns", "encoded"]
    name, n_train, n_test, share = row.split()[:4]
    assert name == "small"
    assert int(n_train) + int(n_test) == 720
    assert float(share) == pytest.approx(0.25, abs=0.01)


def test_paired_summary(tables):
    summary = tables.paired_summary([1, 2, 4], [0, 1, 1])
    assert summary.mean == pytest.approx(5 / 3)
    assert summary.se == pytest.approx(2 / 3)  # standard deviation 2 / sqrt(3), over sqrt(3)
    assert summary.n_seeds == 3
    assert np.isnan(tables.paired_summary([1], [0]).se)
    with pytest.raises(ValueError, match="same seeds"):
        tables.paired_summary([1, 2], [1, 2, 3])


def test_verdict_below(tables):
    theirs = np.array([0.90, 0.91, 0.92, 0.93])
    assert tables.verdict_below(theirs - 0.0051, theirs)
    assert not tables.verdict_below(theirs - 0.0049, theirs)
    assert not tables.verdict_below(theirs + 0.1, theirs)
    # mean 0.02 below, standard error 0.01: within noise once there is slack
    noisy = theirs - 0.02 + 0.01 * np.sqrt(3) * np.array([1, -1, 1, -1])
    assert tables.paired_summary(theirs, noisy).se == pytest.approx(0.01)
    assert not tables.verdict_below(noisy, theirs)
    assert isinstance(tables.verdict_below(theirs, theirs), bool)
    with pytest.raises(ValueError, match="two seeds"):
        tables.verdict_below([0.5], [0.9])
