"""Tables of all benchmarks: one loader, fixed splits, one encoding and one criterion of comparison.

The data are not part of the repository. ``SKLEARN_KD_DATA`` names the folder (or several,
separated by ``os.pathsep``) that contains ``tabular/NAME.csv.gz``: a header row, the target in the
column ``target``, categorical columns as text, and missing cells empty.

Splits are by rows. The rows of ``electricity`` and ``walking_users`` are ordered in time, so that
neighbors in time are on both sides of a split, and scores on these tables do not apply to later
days.

``python examples/benchmarks/_tables.py`` lists the tables as the benchmarks see them.
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

#: Smallest first.
CLASSIFICATION = (
    "vehicle",
    "titanic",
    "german_credit",
    "car",
    "segment",
    "splice",
    "kr_vs_kp",
    "sick",
    "spambase",
    "waveform5000",
    "phoneme",
    "satimage",
    "telco_churn",
    "mushroom",
    "pendigits",
    "mammography",
    "magic_telescope",
    "letter",
    "credit_card_default",
    "bank_marketing",
    "electricity",
    "adult",
    "shuttle",
    "walking_users",
)
REGRESSION = ("cpu_act", "california_housing", "diamonds")

TEST_SIZE = 0.25
#: Categories with fewer training rows share one column, as do those beyond MAX_CATEGORIES.
MIN_FREQUENCY = 10
MAX_CATEGORIES = 30


@dataclass(frozen=True)
class Split:
    """A table cut in two: raw frames (indexed by the row of the file) and targets."""

    name: str
    seed: int
    X_train: pd.DataFrame
    X_test: pd.DataFrame
    y_train: np.ndarray
    y_test: np.ndarray


@dataclass(frozen=True)
class Encoded:
    """A split as arrays; ``encoder`` was fitted on the training rows only."""

    name: str
    seed: int
    X_train: np.ndarray
    X_test: np.ndarray
    y_train: np.ndarray
    y_test: np.ndarray
    encoder: ColumnTransformer


class PairedSummary(NamedTuple):
    """Mean of a - b over seeds, its standard error (NaN for one seed), number of seeds."""

    mean: float
    se: float
    n_seeds: int


def table_path(name):
    """Return the path of ``tabular/NAME.csv.gz`` in the first data folder, or raise SystemExit."""
    folders = [f for f in os.environ.get("SKLEARN_KD_DATA", "").split(os.pathsep) if f]
    if not folders:
        raise SystemExit(
            "The benchmark tables are not part of the repository: set the environment variable "
            "SKLEARN_KD_DATA to the folder that has them as tabular/NAME.csv.gz."
        )
    for folder in folders:
        path = Path(folder) / "tabular" / f"{name}.csv.gz"
        if path.is_file():
            return path
    raise SystemExit(
        f"tabular/{name}.csv.gz is in none of the folders of SKLEARN_KD_DATA: "
        f"{', '.join(folders)}. Set it to the folder that has the table."
    )


def load_frame(name):
    """Read a table.

    Parameters
    ----------
    name : str
        One of `CLASSIFICATION` or `REGRESSION`, or any other table in the folder.

    Returns
    -------
    X : DataFrame of shape (n_samples, n_features)
        Numeric columns, and text columns of dtype object with NaN for missing cells.
    y : ndarray of shape (n_samples,)
        Labels (str or int), or float64 for a regression table.
    """
    X = pd.read_csv(table_path(name))
    y = X.pop("target")
    for column in X.columns:
        if pd.api.types.is_bool_dtype(X[column]):
            X[column] = X[column].astype(str)  # True and False are categories
        if not pd.api.types.is_numeric_dtype(X[column]):
            X[column] = X[column].astype(object)
    if name in REGRESSION:
        return X, y.to_numpy(dtype=np.float64, copy=True)
    if pd.api.types.is_integer_dtype(y):
        return X, y.to_numpy(dtype=np.int64, copy=True)
    return X, np.array(y, dtype=np.str_)


def duplicate_groups(X):
    """Return the group number of each row, where rows with equal features share a group."""
    X = X.copy()
    numeric = X.columns[[pd.api.types.is_float_dtype(X[column]) for column in X.columns]]
    X[numeric] += 0.0  # -0.0 and 0.0 are equal but have different bit patterns
    hashes = pd.util.hash_pandas_object(X, index=False).to_numpy()
    # Numbered in order of appearance, so that a split does not depend on the hash.
    return pd.factorize(hashes)[0]


def split_rows(groups, codes, *, test_size, rng):
    """Return a mask of the test rows: whole groups, about ``test_size`` of every stratum.

    Parameters
    ----------
    groups : ndarray of shape (n_samples,)
        Groups as 0, 1, ... A group is never divided.
    codes : ndarray of shape (n_samples,)
        Classes as 0, 1, ... The stratum of a group is its most frequent class.
    test_size : float in (0, 1)
    rng : numpy.random.Generator

    Returns
    -------
    is_test : ndarray of bool of shape (n_samples,)
        Every class has at least one training row.
    """
    n_classes = codes.max() + 1
    pairs, counts = np.unique(groups * n_classes + codes, return_counts=True)
    by_count = np.lexsort((counts, pairs // n_classes))  # the last class of a group is its majority
    size = np.bincount(groups)
    stratum = (pairs[by_count] % n_classes)[np.cumsum(np.bincount(pairs // n_classes)) - 1]

    is_test = np.zeros(len(size), dtype=bool)
    for code in range(n_classes):
        members = rng.permutation(np.flatnonzero(stratum == code))
        if len(members) == 0:
            continue
        quota = test_size * size[members].sum()
        # A group that is larger than the test share would displace the others.
        small = members[size[members] <= quota]
        middle = np.cumsum(size[small]) - size[small] / 2
        chosen = small[middle < quota]
        is_test[chosen[: len(members) - 1]] = True  # at least one group for training
    # A class that is never the majority of its group has no stratum, and may lack training rows.
    for code in np.setdiff1d(codes, codes[~is_test[groups]]):
        is_test[groups[np.flatnonzero(codes == code)[0]]] = False
    return is_test[groups]


def subsample(codes, n_rows, rng):
    """Positions of ``n_rows`` rows, classes in proportion, at least one row of each."""
    order = rng.permutation(len(codes))
    by_class = order[np.argsort(codes[order], kind="stable")]
    counts = np.bincount(codes)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    # Rank 0 of every class has share 0 and therefore comes first.
    share = (np.arange(len(codes)) - starts) / np.repeat(counts, counts)
    return rng.permutation(by_class[np.argsort(share, kind="stable")[:n_rows]])


def load_split(name, seed, *, test_size=TEST_SIZE, max_rows=None):
    """Split a table into training and test rows, the same for every benchmark and method.

    Rows with equal features stay on one side. Classification tables are stratified (by the
    majority class of each group of equal rows) and every class has a training row. Both sides
    are shuffled.

    Parameters
    ----------
    name : str
    seed : int
        Identifies the split.
    test_size : float in (0, 1), default=0.25
        Share of the rows, up to the size of a group of equal rows.
    max_rows : int, optional
        Keep this many training rows, with classes in proportion and at least one row of each. The
        test rows do not depend on it. Scores for a limited number of rows must be marked as such.

    Returns
    -------
    Split
    """
    X, y = load_frame(name)
    if not 0 < test_size < 1:
        raise ValueError(f"test_size must be in (0, 1), got {test_size}.")
    codes = np.zeros(len(y), dtype=np.intp)
    if name not in REGRESSION:
        codes = np.unique(y, return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    is_test = split_rows(duplicate_groups(X), codes, test_size=test_size, rng=rng)
    train = rng.permutation(np.flatnonzero(~is_test))
    test = rng.permutation(np.flatnonzero(is_test))
    if max_rows is not None and max_rows < len(train):
        n_classes = len(np.unique(codes))
        if max_rows < n_classes:
            raise ValueError(f"max_rows={max_rows} is fewer than the {n_classes} classes.")
        train = train[subsample(codes[train], max_rows, rng)]
    return Split(name, seed, X.iloc[train], X.iloc[test], y[train], y[test])


def make_encoder(X):
    """Return an unfitted encoder for the columns of ``X``, with dense float64 output.

    Missing cells of numeric columns are replaced by the median, an indicator column is added if
    training rows have missing cells, and the columns are standardized. Text columns are one-hot
    encoded, with missing as a category like the others. Categories with fewer than `MIN_FREQUENCY`
    training rows, and all but the `MAX_CATEGORIES` - 1 most frequent ones, share one column, which
    also represents categories that are not in the training rows (all zeros without such a column).

    Fit it on training rows only.
    """
    numeric = [column for column in X.columns if pd.api.types.is_numeric_dtype(X[column])]
    text = [column for column in X.columns if column not in numeric]
    transformers = []
    if numeric:
        imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
        transformers.append(("numeric", make_pipeline(imputer, StandardScaler()), numeric))
    if text:
        imputer = SimpleImputer(strategy="constant", fill_value="(missing)")
        onehot = OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            min_frequency=MIN_FREQUENCY,
            max_categories=MAX_CATEGORIES,
            sparse_output=False,
        )
        transformers.append(("text", make_pipeline(imputer, onehot), text))
    return ColumnTransformer(transformers, sparse_threshold=0.0, verbose_feature_names_out=False)


def load_encoded(name, seed, *, dtype=np.float64, test_size=TEST_SIZE, max_rows=None):
    """Return arrays of `load_split`, encoded by a `make_encoder` fitted on the training rows.

    Parameters
    ----------
    name, seed, test_size, max_rows
        As in `load_split`.
    dtype : numpy dtype, default=np.float64
        Of ``X_train`` and ``X_test``.

    Returns
    -------
    Encoded
    """
    split = load_split(name, seed, test_size=test_size, max_rows=max_rows)
    encoder = make_encoder(split.X_train)
    X_train = np.ascontiguousarray(encoder.fit_transform(split.X_train), dtype=dtype)
    X_test = np.ascontiguousarray(encoder.transform(split.X_test), dtype=dtype)
    return Encoded(name, seed, X_train, X_test, split.y_train, split.y_test, encoder)


def paired_summary(a, b):
    """Return the mean of ``a - b`` over seeds and the standard error of this mean (ddof 1).

    Parameters
    ----------
    a, b : array-like of shape (n_seeds,)
        Scores of two methods on the same splits, in the same order.

    Returns
    -------
    PairedSummary
        ``(mean, se, n_seeds)``. ``se`` is NaN for one seed.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or a.size == 0:
        raise ValueError(f"a and b must be scores of the same seeds, got {a.shape}, {b.shape}.")
    difference = a - b
    n_seeds = len(difference)
    se = difference.std(ddof=1) / np.sqrt(n_seeds) if n_seeds > 1 else np.nan
    return PairedSummary(float(difference.mean()), float(se), n_seeds)


def verdict_below(a, b, slack=0.005):
    """Return whether ``a`` (higher is better) is below ``b`` by more than noise and slack.

    Parameters
    ----------
    a, b : array-like of shape (n_seeds,)
        As in `paired_summary`. At least two seeds are needed for a standard error.
    slack : float, default=0.005
        Smallest relevant difference, in units of the score.

    Returns
    -------
    bool
        ``mean(b - a) > 2 * se + slack``.
    """
    mean, se, n_seeds = paired_summary(a, b)
    if not np.isfinite([mean, se]).all():
        raise ValueError(f"a verdict needs finite scores of two seeds or more, got {n_seeds}.")
    return -mean > 2 * se + slack


def main():
    parser = argparse.ArgumentParser(description="List the benchmark tables.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-rows", type=int, help="training rows to keep")
    args = parser.parse_args()
    header = f"{'name':20} {'train':>7} {'test':>6} {'share':>6} {'columns':>7} {'encoded':>7}"
    print(f"{header} {'classes':>7} {'in test':>7} {'seconds':>7}")
    for name in args.names or CLASSIFICATION + REGRESSION:
        start = time.perf_counter()
        data = load_encoded(name, args.seed, max_rows=args.max_rows)
        seconds = time.perf_counter() - start
        n_train, n_test = len(data.y_train), len(data.y_test)
        classes = in_test = "-"
        if name not in REGRESSION:
            classes, in_test = len(np.unique(data.y_train)), len(np.unique(data.y_test))
        print(
            f"{name:20} {n_train:7} {n_test:6} {n_test / (n_train + n_test):6.3f} "
            f"{data.encoder.n_features_in_:7} {data.X_train.shape[1]:7} {classes:>7} "
            f"{in_test:>7} {seconds:7.2f}"
        )


if __name__ == "__main__":
    main()
