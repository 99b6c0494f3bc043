"""Distinct rows of a mixed table, the distances between them, and new rows made of their values."""

from typing import NamedTuple

import narwhals.stable.v2 as nw
import numpy as np

from sklearn_kd._tables.columns import group_indicators, read_columns
from sklearn_kd._tables.encoding import encode_nominal, encode_numbers
from sklearn_kd._tables.partition import near_blocks
from sklearn_kd._utils.containers import is_dataframe

#: Distinct rows up to which a row is compared with all others. More rows are divided into blocks of
#: at most as many near rows.
MAX_COMPARED_ROWS = 2000
#: Smallest size of such a block, in multiples of the number of neighbors.
MIN_ROWS_PER_NEIGHBOR = 10
#: Rows whose distances to the rows of a block are computed at a time, which takes 1 MB.
SEARCH_BLOCK_ROWS = 64
#: Most frequent categories of an attribute that the distance distinguishes. Others count as one.
MAX_CATEGORIES = 50
#: Coordinates of all nominal attributes, and their number for all distinct rows, which is 320 MB.
MAX_NOMINAL_COORDINATES, MAX_NOMINAL_VALUES = 1000, 40_000_000
#: Squared distance per attribute below which neighbors are tied. Ties are broken at random.
MAX_TIED_SQUARED_DISTANCE = 1e-13
#: Code of a value that the column does not contain.
NEW = -2


class NewRows(NamedTuple):
    """New rows, described by the origin of their values."""

    donor: np.ndarray  # (n, n_attributes), distinct row that has the value
    drawn: np.ndarray  # (n, n_numeric), number that replaces it, or NaN


class Attribute(NamedTuple):
    """Columns whose values belong together, for the distinct rows."""

    columns: list  # of int
    codes: np.ndarray  # (n_distinct,) int
    numbers: np.ndarray | None  # (n_distinct,) float64, or None for a nominal attribute
    position: int  # among the numeric attributes, -1 for a nominal one


class MixedTable:
    """Distinct rows of X, their attributes, and the distance between them.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n_samples, n_features)
    weights : ndarray of shape (n_samples,)
        Positive.
    """

    def __init__(self, X, weights):
        self.X = X
        self.columns = read_columns(X)
        codes = np.column_stack([column.codes for column in self.columns])
        _, first, group = np.unique(_as_bytes(codes), return_index=True, return_inverse=True)
        if len(first) < 2:
            raise ValueError(
                f"X has {len(first)} distinct rows with a positive weight, and new rows need at "
                "least two: give more rows, or make none."
            )
        # in order of appearance, so that a weight of k and k copies draw the same rows
        order = np.argsort(first)
        self.first = first[order]
        self.weights = np.bincount(group, weights)[order]
        self.codes = codes[self.first]
        self.known = set(_as_bytes(self.codes).tolist())
        self.attributes = self._find_attributes()
        self.n_numeric = sum(a.numbers is not None for a in self.attributes)
        self._encode()

    def _find_attributes(self):
        attributes, n_numeric = [], 0
        for group in group_indicators(self.columns, self.codes):
            column = self.columns[group[0]]
            codes = self.codes[:, group[0]]
            if len(group) > 1:
                on = self.codes[:, group]
                codes = np.where(on.any(axis=1), on.argmax(axis=1), len(group))
                attributes.append(Attribute(group, codes, None, -1))
            elif column.values is None or len(column.values) <= 2:
                attributes.append(Attribute(group, codes, None, -1))
            else:
                numbers = np.append(column.values, np.nan)[codes]  # MISSING is the last position
                attributes.append(Attribute(group, codes, numbers, n_numeric))
                n_numeric += 1
        return attributes

    def _encode(self):
        """Set the coordinates whose products give squared distances."""
        n_nominal = sum(a.numbers is None for a in self.attributes)
        n_coordinates = min(MAX_NOMINAL_COORDINATES, MAX_NOMINAL_VALUES // len(self.first))
        limit = min(MAX_CATEGORIES, max(2, n_coordinates // max(n_nominal, 1)))
        keys, queries = [], []
        self.norms = np.empty((len(self.first), len(self.attributes)))
        for i, attribute in enumerate(self.attributes):
            if attribute.numbers is None:
                key = query = encode_nominal(attribute.codes, self.weights, limit)
                self.norms[:, i] = (key**2).sum(axis=1)
            else:
                key, query, self.norms[:, i] = encode_numbers(attribute.numbers)
            keys.append(key)
            queries.append(query)
        widths = [key.shape[1] for key in keys]
        ends = np.cumsum(widths)
        self.spans = [np.arange(end - width, end) for end, width in zip(ends, widths, strict=True)]
        self.keys = np.hstack(keys)
        same = all(key is query for key, query in zip(keys, queries, strict=True))
        self.queries = self.keys if same else np.hstack(queries)

    def nearest(self, donor, given, sources, n_neighbors, rng):
        """Find the distinct rows nearest to others in some of the attributes.

        The neighbors are exact for up to `MAX_COMPARED_ROWS` distinct rows. Those of more rows are
        the nearest in a block of them, see `near_blocks`.

        Parameters
        ----------
        donor : ndarray of int of shape (n, n_attributes)
            Distinct rows that have the values of the other rows.
        given : ndarray of int
            Attributes that the distance uses.
        sources : ndarray of int of shape (n,)
            Distinct row that is excluded from the neighbors of each row.
        n_neighbors : int
        rng : RandomState
            Breaks ties.

        Returns
        -------
        ndarray of int of shape (n, n_neighbors)
        """
        used = np.concatenate([self.spans[i] for i in given])
        # a random coordinate on a very short line breaks ties; otherwise the first rows would win
        scale = np.sqrt(MAX_TIED_SQUARED_DISTANCE * len(given))
        place, asked_place = rng.random_sample(len(self.first)), rng.random_sample(len(sources))
        points = self.keys[:, used]
        norms = self.norms[:, given].sum(axis=1) + (scale * place) ** 2
        queries = self._coordinates(self.queries, donor, given)
        has_two_kinds = self.queries is not self.keys
        asked = self._coordinates(self.keys, donor, given) if has_two_kinds else queries
        queries = np.column_stack([queries, np.ones(len(queries)), scale * asked_place])
        max_rows = max(MAX_COMPARED_ROWS, 2 * MIN_ROWS_PER_NEIGHBOR * n_neighbors)
        found = np.empty((len(sources), n_neighbors), dtype=np.int32)
        for near, block in near_blocks(points, asked, (place, asked_place), max_rows, rng):
            # the terms of d^2 = |u|^2 - 2 u.v + |v|^2 that depend on v are one product, which is
            # faster than scikit-learn's brute-force search
            keys = [-2 * points[near], norms[near], -2 * scale * place[near]]
            keys = np.column_stack(keys).T.copy()
            for start in range(0, len(block), SEARCH_BLOCK_ROWS):
                rows = block[start : start + SEARCH_BLOCK_ROWS]
                distances = queries[rows] @ keys
                _exclude(distances, near, sources[rows])
                at = np.arange(len(distances))
                for k in range(n_neighbors):
                    nearest = distances.argmin(axis=1)
                    found[rows, k] = near[nearest]
                    distances[at, nearest] = np.inf
        return found

    def _coordinates(self, of_rows, donor, given):
        """Return the coordinates of mixed rows in the attributes that are given."""
        return np.hstack([of_rows[donor[:, i, None], self.spans[i]] for i in given])

    def draw_sources(self, n_rows, rng):
        """Draw distinct rows by systematic sampling with their weights, in random order."""
        order = rng.permutation(len(self.weights))
        total = np.cumsum(self.weights[order])
        points = (rng.random_sample() + np.arange(n_rows)) * (total[-1] / n_rows)
        at = np.searchsorted(total, points, side="right").clip(max=len(order) - 1)
        return rng.permutation(order[at]).astype(np.int32)

    def copies(self, rows):
        """Return whether each of the new rows equals a row of X."""
        codes = np.empty((len(rows.donor), len(self.columns)), dtype=np.int32)
        for i, attribute in enumerate(self.attributes):
            for j in attribute.columns:
                codes[:, j] = self.codes[rows.donor[:, i], j]
            if attribute.numbers is not None:
                values = self.columns[j].values
                drawn = rows.drawn[:, attribute.position]
                is_drawn = ~np.isnan(drawn)
                drawn = drawn[is_drawn]
                at = np.searchsorted(values, drawn).clip(max=len(values) - 1)
                codes[is_drawn, j] = np.where(values[at] == drawn, at, NEW)
        is_copy = (codes != NEW).all(axis=1)
        known = self.known
        is_copy[is_copy] = [row in known for row in _as_bytes(codes[is_copy]).tolist()]
        return is_copy

    def build(self, rows):
        """Return the new rows in the container and dtypes of X."""
        made = {}
        for i, attribute in enumerate(self.attributes):
            donor = self.first[rows.donor[:, i]]
            for j in attribute.columns:
                made[j] = donor, None
            if attribute.numbers is not None:
                made[j] = donor, rows.drawn[:, attribute.position]
        if not is_dataframe(self.X):
            out = np.empty((len(rows.donor), self.X.shape[1]), dtype=self.X.dtype)
            for j, (donor, drawn) in made.items():
                out[:, j] = _fill(self.X[:, j].take(donor), drawn, self.columns[j].dtype)
            return out
        if not hasattr(self.X, "iloc"):
            return self._build_narwhals(made)
        import pandas as pd

        series = {}
        for j in range(self.X.shape[1]):
            donor, drawn = made[j]
            values = self.X.iloc[:, j].take(donor).array.copy()
            values = _fill(values, drawn, self.columns[j].dtype)
            series[j] = pd.Series(values, dtype=self.X.dtypes.iloc[j])
        frame = pd.DataFrame(series, index=pd.RangeIndex(len(rows.donor)))
        frame.columns = self.X.columns
        return frame

    def _build_narwhals(self, made):
        """Return the new rows in a DataFrame of another library than pandas."""
        columns = []
        for j, series in enumerate(nw.from_native(self.X).iter_columns()):
            donor, drawn = made[j]
            series = series[donor.tolist()]
            places = np.flatnonzero(~np.isnan(drawn)) if drawn is not None else []
            if len(places):
                numbers = drawn[places].astype(self.columns[j].dtype)
                series = series.scatter(places.tolist(), numbers.tolist())
            columns.append(series)
        return columns[0].to_frame().with_columns(*columns[1:]).to_native()


def _exclude(distances, near, sources):
    """Set the distance of each query to its source to infinity, if that is among the near rows."""
    at = np.searchsorted(near, sources).clip(max=len(near) - 1)
    is_near = np.flatnonzero(near[at] == sources)
    distances[is_near, at[is_near]] = np.inf


def _as_bytes(codes):
    """Return each row as one value of raw bytes."""
    codes = np.ascontiguousarray(codes)
    return codes.view(f"V{codes.itemsize * codes.shape[1]}")[:, 0]


def _fill(values, drawn, dtype):
    """Replace values by the drawn numbers."""
    if drawn is not None:
        places = np.flatnonzero(~np.isnan(drawn))
        numbers = drawn[places]
        values[places] = (
            numbers.astype(dtype)
            if isinstance(dtype, np.dtype)
            else np.array([dtype(number) for number in numbers.tolist()], dtype=object)
        )
    return values
