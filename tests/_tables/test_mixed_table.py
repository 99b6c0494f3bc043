"""Distances between rows of mixed tables against plain loops."""

import numpy as np
import pandas as pd
import pytest

from sklearn_kd._tables import mixed_table
from sklearn_kd._tables.mixed_table import MixedTable
from tests._helpers.tables import mixed_frame


def scaled_distance(a, b, spans):
    """Mixed distance of two rows of objects; ``spans`` holds None for nominal columns."""
    total = 0.0
    for x, y, span in zip(a, b, spans, strict=True):
        if pd.isna(x) or pd.isna(y):
            total += float(pd.isna(x) != pd.isna(y))
        elif span is None:
            total += float(x != y)
        else:
            total += ((x - y) / span) ** 2
    return total


def of_frame(frame):
    numeric = {"float", "single", "count", "small", "whole", "nullable"}
    spans = [frame[c].max() - frame[c].min() if c in numeric else None for c in frame]
    return frame.to_numpy(object), spans


@pytest.mark.parametrize("seed", range(3))
def test_the_neighbor_is_the_nearest_by_brute_force(seed):
    frame = mixed_frame(80, seed)
    rows, spans = of_frame(frame)
    table = MixedTable(frame, np.ones(len(frame)))
    np.testing.assert_array_equal(table.first, np.arange(80))
    assert len(table.attributes) == frame.shape[1]
    everything = np.arange(len(table.attributes))
    sources = np.arange(80)
    donor = np.repeat(sources[:, None], len(everything), axis=1)
    found = table.nearest(donor, everything, sources, 3, np.random.RandomState(seed))
    for e in range(80):
        distances = np.array([scaled_distance(rows[e], other, spans) for other in rows])
        distances[e] = np.inf
        np.testing.assert_allclose(distances[found[e]], np.sort(distances)[:3], atol=1e-9)
        assert len({e, *found[e]}) == 4


def test_neighbors_in_some_attributes_of_a_mixed_row():
    frame = mixed_frame(60)[["float", "count", "word", "level", "nullable"]]
    rows, spans = of_frame(frame)
    table = MixedTable(frame, np.ones(60))
    position = {attribute.columns[0]: i for i, attribute in enumerate(table.attributes)}
    rng = np.random.RandomState(1)
    by_column = rng.randint(0, 60, (60, 5))
    donor = np.empty_like(by_column)
    for column, i in position.items():
        donor[:, i] = by_column[:, column]
    columns = [0, 2, 4]
    where = np.array([position[j] for j in columns])
    found = table.nearest(donor, where, np.arange(60), 1, rng)[:, 0]
    for e in range(60):
        query = [rows[by_column[e, j], j] for j in columns]
        distances = [
            np.inf
            if other == e
            else scaled_distance(query, rows[other, columns], [spans[j] for j in columns])
            for other in range(60)
        ]
        assert distances[found[e]] == pytest.approx(min(distances), abs=1e-9)


def test_rare_categories_compare_as_one(monkeypatch):
    monkeypatch.setattr(mixed_table, "MAX_CATEGORIES", 3)
    words = np.repeat(list("abcdefg"), [9, 8, 7, 1, 1, 1, 1])
    frame = pd.DataFrame({"word": words, "number": np.arange(28.0)})
    table = MixedTable(frame, np.ones(28))
    word = next(i for i, a in enumerate(table.attributes) if a.numbers is None)
    encoded = table.keys[:, table.spans[word]]
    distances = ((encoded[:, None] - encoded) ** 2).sum(axis=2)
    kinds = np.array([w if w in "abc" else "rest" for w in words])
    np.testing.assert_allclose(distances, kinds[:, None] != kinds, atol=1e-12)


def test_the_encoding_has_a_bounded_width():
    rng = np.random.RandomState(0)
    table = MixedTable(pd.DataFrame(rng.randint(0, 60, (400, 60)).astype(str)), np.ones(400))
    assert table.keys.shape[1] <= 60 * (mixed_table.MAX_NOMINAL_COORDINATES // 60 + 1)
    assert table.keys.shape[1] < 60 * mixed_table.MAX_CATEGORIES
