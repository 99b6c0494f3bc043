"""Blocks of near rows: what is compared, how near it is, and what happens to equal rows."""

import numpy as np
import pandas as pd
import pytest

from sklearn_kd._tables.mixed_table import MAX_COMPARED_ROWS, MixedTable
from sklearn_kd._tables.partition import near_blocks
from tests._helpers.tables import mixed_frame


def blocks_of(points, asked, max_rows, seed=0):
    rng = np.random.RandomState(seed)
    ties = rng.random_sample(len(points)), rng.random_sample(len(asked))
    return list(near_blocks(points, asked, ties, max_rows, rng))


def compared_rows(blocks):
    """Distances that are evaluated for a query, in the mean."""
    n_queries = sum(len(queries) for _, queries in blocks)
    return sum(len(rows) * len(queries) for rows, queries in blocks) / n_queries


@pytest.mark.parametrize("n_columns", [1, 3, 20])
def test_a_query_is_compared_with_a_bounded_number_of_rows(n_columns):
    rng = np.random.RandomState(0)
    for n in (1000, 10_000, 40_000):
        points, asked = rng.normal(size=(n, n_columns)), rng.normal(size=(500, n_columns))
        blocks = blocks_of(points, asked, 1000)
        assert max(len(rows) for rows, _ in blocks) <= 1000
        assert compared_rows(blocks) <= 1000
        np.testing.assert_array_equal(np.sort(np.concatenate([q for _, q in blocks])), range(500))
        used = np.concatenate([rows for rows, _ in blocks])
        assert len(np.unique(used)) == len(used)
        if n > 1000:
            assert min(len(rows) for rows, _ in blocks) > 500
            assert all((np.diff(rows) > 0).all() for rows, _ in blocks)


def test_few_rows_are_one_block():
    points, asked = np.zeros((30, 2)), np.zeros((7, 2))
    ((rows, queries),) = blocks_of(points, asked, 30)
    np.testing.assert_array_equal(rows, range(30))
    np.testing.assert_array_equal(queries, range(7))


def test_the_block_of_a_row_has_the_row_and_its_surroundings():
    rng = np.random.RandomState(0)
    centers = rng.normal(size=(8, 5)) * 100
    member = rng.randint(8, size=8000)
    points = centers[member] + rng.normal(size=(8000, 5))
    ties = rng.random_sample(8000)
    for rows, queries in near_blocks(points, points, (ties, ties), 1500, rng):
        assert (np.sort(queries) == rows).mean() > 0.99
        # groups of about 1,000 rows: a block is one of them, or halves of a few
        assert np.bincount(member[rows]).max() > 0.3 * len(rows)


@pytest.mark.parametrize("distinct", [1, 2, 3])
def test_equal_rows_and_equal_queries_are_divided_at_random(distinct):
    rng = np.random.RandomState(0)
    points = rng.randint(distinct, size=(6000, 1)) * np.ones((1, 3))
    asked = rng.randint(distinct, size=(6000, 1)) * np.ones((1, 3))
    blocks = blocks_of(points, asked, 1000)
    assert len(blocks) == 8
    for rows, queries in blocks:
        # a row is a neighbor as often as another one that equals it
        assert len(queries) == pytest.approx(750, abs=200)
        assert np.isin(points[rows, 0], asked[queries, 0]).mean() > 0.9
        if distinct == 1:
            assert rows.mean() == pytest.approx(3000, abs=250)


def squared_distances(table, given, i):
    """From the values, for rows without missing numbers."""
    total = np.zeros(len(table.first))
    for a in given:
        attribute = table.attributes[a]
        if attribute.numbers is None:
            total += attribute.codes != attribute.codes[i]
        else:
            x = attribute.numbers
            gap = ((x - x[i]) / (np.nanmax(x) - np.nanmin(x))) ** 2
            is_missing = np.isnan(x)
            total += np.where(is_missing | is_missing[i], is_missing != is_missing[i], gap)
    return total


def table_of(kind):
    rng = np.random.RandomState(0)
    if kind == "numbers":
        X = rng.normal(size=(6000, 10)) @ rng.normal(size=(10, 10))
    else:
        X = mixed_frame(6000)[["float", "count", "word", "level", "nullable", "single"]]
    return MixedTable(X, np.ones(6000))


@pytest.mark.parametrize("kind", ["numbers", "mixed"])
def test_neighbors_in_blocks_are_nearly_the_nearest(kind):
    table = table_of(kind)
    n = len(table.first)
    assert n > 2 * MAX_COMPARED_ROWS
    rng = np.random.RandomState(1)
    given = np.arange(len(table.attributes))
    sources = rng.choice(n, 300, replace=False)
    donor = np.repeat(sources[:, None], len(given), axis=1)
    found = table.nearest(donor, given, sources, 5, rng)
    near, nearest, any_five = [], [], []
    for i, neighbors in zip(sources, found, strict=True):
        assert len({i, *neighbors}) == 6
        distances = np.sqrt(squared_distances(table, given, i))
        near.append(distances[neighbors].mean())
        distances[i] = np.inf
        nearest.append(np.sort(distances)[:5].mean())
        distances[i] = 0
        any_five.append(distances.mean())
    assert np.mean(near) <= 1.15 * np.mean(nearest)
    assert np.mean(near) < 0.6 * np.mean(any_five)


def test_many_neighbors_are_found_in_larger_blocks():
    X = np.random.RandomState(0).normal(size=(5000, 3))
    table = MixedTable(X, np.ones(5000))
    sources = np.arange(50)
    donor = np.repeat(sources[:, None], 3, axis=1)
    found = table.nearest(donor, np.arange(3), sources, 1500, np.random.RandomState(0))
    assert all(len({i, *row}) == 1501 for i, row in enumerate(found))


def test_the_encoding_of_many_rows_has_a_bounded_size(monkeypatch):
    monkeypatch.setattr("sklearn_kd._tables.mixed_table.MAX_NOMINAL_VALUES", 20_000)
    rng = np.random.RandomState(0)
    table = MixedTable(pd.DataFrame(rng.randint(0, 60, (1000, 5)).astype(str)), np.ones(1000))
    assert table.keys.size <= 20_000 + 5 * len(table.keys)
