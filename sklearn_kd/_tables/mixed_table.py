"""A table of numbers and categories: its distinct rows, the distance between them, new ones."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import gen_batches

__all__ = ["MixedTable", "NewRows", "check_table"]


#: Rows whose distances to all others are computed at a time: 20 MB for 40,000 others.
SEARCHED = 64
#: Categories of a column, the most frequent ones, that the distance tells apart; the rest are one.
CATEGORIES = 50
#: Columns that the encoded nominal attributes take together: 320 MB for 40,000 rows.
ENCODED = 1000
#: Squared distance, per attribute, within which neighbors are a tie, to be broken at random.
TIE = 1e-13
#: Integers from here on are no longer numbers in float64, and hardly quantities.
EXACT = 2**53
#: Code of a missing value, and of a value that the column does not have.
MISSING, NEW = -1, -2


class NewRows(NamedTuple):
    """New rows, by where their values come from."""

    donor: np.ndarray  # (n, n_attributes) distinct row that the value is taken from
    drawn: np.ndarray  # (n, n_numeric) number in its place, or NaN


class Column(NamedTuple):
    """What a column holds, for the rows of X."""

    codes: np.ndarray  # (n_samples,) int32, number of the value, or MISSING
    values: np.ndarray | None  # distinct numbers, increasing; None: not a column of numbers
    dtype: np.dtype | type | None  # of the numbers
    whole: bool  # whether all of the numbers are integers

    @property
    def is_indicator(self):
        return self.values is not None and len(self.values) == 2 and self.codes.min() >= 0

    @property
    def is_constant(self):
        return self.codes.min() == self.codes.max()


class Attribute(NamedTuple):
    """Columns whose values go together, for the distinct rows."""

    columns: list  # of int
    codes: np.ndarray  # (n_distinct,) int
    numbers: np.ndarray | None  # (n_distinct,) float64; None: nominal
    position: int  # among the numeric attributes, -1 for a nominal one


class MixedTable:
    """Distinct rows of X, their attributes, and the distance between them."""

    def __init__(self, X, weights):
        self.X = X
        self.columns = [_read_column(values, name) for name, values in _iter_columns(X)]
        codes = np.column_stack([column.codes for column in self.columns])
        _, first, group = np.unique(_as_bytes(codes), return_index=True, return_inverse=True)
        if len(first) < 2:
            raise ValueError(
                f"X has {len(first)} distinct rows, of those with a weight, and new rows lie "
                "between two or more: give more rows, or make none."
            )
        # in the order in which they appear, so that a weight of k draws the rows of k copies
        order = np.argsort(first)
        self.first = first[order]
        self.mass = np.bincount(group, weights)[order]
        self.codes = codes[self.first]
        self.known = set(_as_bytes(self.codes).tolist())
        self.attributes = self._find_attributes()
        self.n_numeric = sum(a.numbers is not None for a in self.attributes)
        self._encode()

    def _find_attributes(self):
        attributes, n_numeric = [], 0
        for group in _group_indicators(self.columns, self.codes):
            column = self.columns[group[0]]
            codes = self.codes[:, group[0]]
            if len(group) > 1:
                on = self.codes[:, group]
                codes = np.where(on.any(axis=1), on.argmax(axis=1), len(group))
                attributes.append(Attribute(group, codes, None, -1))
            elif column.values is None or len(column.values) <= 2:
                attributes.append(Attribute(group, codes, None, -1))
            else:
                numbers = np.append(column.values, np.nan)[codes]  # MISSING is the last
                attributes.append(Attribute(group, codes, numbers, n_numeric))
                n_numeric += 1
        return attributes

    def _encode(self):
        """Coordinates: squared distances are norms of the keys less twice their products."""
        n_nominal = sum(a.numbers is None for a in self.attributes)
        limit = min(CATEGORIES, max(2, ENCODED // max(n_nominal, 1)))
        keys, queries = [], []
        self.norms = np.empty((len(self.first), len(self.attributes)))
        for i, attribute in enumerate(self.attributes):
            if attribute.numbers is None:
                key = query = _encode_nominal(attribute.codes, self.mass, limit)
                self.norms[:, i] = (key**2).sum(axis=1)
            else:
                key, query, self.norms[:, i] = _encode_numbers(attribute.numbers)
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

        Parameters
        ----------
        donor : ndarray of int of shape (n, n_attributes)
            The others.
        given : ndarray of int
            The attributes.
        sources : ndarray of int of shape (n,)
            Distinct rows that are no neighbors, one for each.
        n_neighbors : int
        rng : RandomState
            Breaks ties.

        Returns
        -------
        ndarray of int of shape (n, n_neighbors)
        """
        spans = [self.spans[i] for i in given]
        used = np.concatenate(spans)
        # a random place on a line too short to matter: else ties go to the first rows
        scale = np.sqrt(TIE * len(given))
        place = scale * rng.random_sample(len(self.first))
        own_place = scale * rng.random_sample(len(sources))
        # of d^2 = |u|^2 - 2 u.v + |v|^2 what depends on v, in one product: faster than
        # scikit-learn's search by brute force, and its trees are slow where ties are many
        norms = self.norms[:, given].sum(axis=1) + place**2
        keys = np.column_stack([-2 * self.keys[:, used], norms, -2 * place]).T.copy()
        queries = np.ones((len(sources), len(keys)))
        start = 0
        for i, span in zip(given, spans, strict=True):
            queries[:, start : start + len(span)] = self.queries[donor[:, i]][:, span]
            start += len(span)
        queries[:, -1] = own_place
        found = np.empty((len(sources), n_neighbors), dtype=np.int32)
        for rows in gen_batches(len(sources), SEARCHED):
            distances = queries[rows] @ keys
            at = np.arange(len(distances))
            distances[at, sources[rows]] = np.inf
            for k in range(n_neighbors):
                found[rows, k] = distances.argmin(axis=1)
                distances[at, found[rows, k]] = np.inf
        return found

    def draw_sources(self, n_rows, rng):
        """Distinct rows by weight, each as often as its share says or once more, shuffled."""
        order = rng.permutation(len(self.mass))
        total = np.cumsum(self.mass[order])
        points = (rng.random_sample() + np.arange(n_rows)) * (total[-1] / n_rows)
        at = np.searchsorted(total, points, side="right").clip(max=len(order) - 1)
        return rng.permutation(order[at]).astype(np.int32)

    def copies(self, rows):
        """Whether each of the new rows is one of X."""
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
        """Container of the kind of X."""
        made = {}
        for i, attribute in enumerate(self.attributes):
            donor = self.first[rows.donor[:, i]]
            for j in attribute.columns:
                made[j] = donor, None
            if attribute.numbers is not None:
                made[j] = donor, rows.drawn[:, attribute.position]
        if not hasattr(self.X, "iloc"):
            out = np.empty((len(rows.donor), self.X.shape[1]), dtype=self.X.dtype)
            for j, (donor, drawn) in made.items():
                out[:, j] = _fill(self.X[:, j].take(donor), drawn, self.columns[j].dtype)
            return out
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


def _fill(values, drawn, dtype):
    """Put the drawn numbers in their places."""
    if drawn is not None:
        places = np.flatnonzero(~np.isnan(drawn))
        numbers = drawn[places]
        values[places] = (
            numbers.astype(dtype)
            if isinstance(dtype, np.dtype)
            else np.array([dtype(number) for number in numbers.tolist()], dtype=object)
        )
    return values


def _as_bytes(codes):
    """One string of bytes a row."""
    codes = np.ascontiguousarray(codes)
    return codes.view(f"V{codes.itemsize * codes.shape[1]}")[:, 0]


def check_table(X):
    """Return X as a DataFrame or an array of two dimensions, or say why it is neither."""
    if issparse(X):
        raise TypeError("X is sparse, and new rows of it would be dense: pass X.toarray().")
    if not hasattr(X, "iloc"):
        if hasattr(X, "columns"):
            raise TypeError(f"X is a {type(X).__name__}: pass a pandas DataFrame or an array.")
        array = np.asarray(X)
        if array.dtype.kind in "US" and not isinstance(X, np.ndarray):
            array = np.asarray(X, dtype=object)  # the numbers of a list stay numbers
        X = array
        if X.dtype.kind == "c":
            raise ValueError("X is complex: pass real and imaginary parts as columns.")
    if X.ndim != 2 or X.shape[1] == 0:
        raise ValueError(f"X must be a table with a column or more, got shape {X.shape}.")
    if len(X) == 0:
        raise ValueError("X has no rows, and new rows are made from two or more.")
    return X


def _iter_columns(X):
    if hasattr(X, "iloc"):
        for j, name in enumerate(X.columns):
            yield name, X.iloc[:, j]
    else:
        for j in range(X.shape[1]):
            yield j, X[:, j]


def _read_column(values, name):
    import pandas as pd  # not with the package: it is slow to import

    numbers, dtype = None, values.dtype
    if isinstance(dtype, pd.SparseDtype):
        raise TypeError(f"column {name!r} is sparse: pass X.sparse.to_dense().")
    if dtype.kind == "O" and isinstance(dtype, np.dtype):
        values = np.asarray(values)
        missing = pd.isna(values)
        kinds = set(map(type, values[~missing]))
        if kinds and all(
            issubclass(kind, Real) and not issubclass(kind, bool | np.bool_) for kind in kinds
        ):
            whole_kind = all(issubclass(kind, Integral) for kind in kinds)
            dtype = kinds.pop() if len(kinds) == 1 else int if whole_kind else float
            numbers = np.full(len(values), np.nan)
            numbers[~missing] = values[~missing].astype(np.float64)
    elif pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        if isinstance(dtype, np.dtype):
            numbers = np.asarray(values, dtype=np.float64)
        else:
            numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
            dtype = dtype.numpy_dtype
    if numbers is not None:
        if np.isinf(numbers).any():
            raise ValueError(f"column {name!r} of X is infinite in places: make these missing.")
        found, codes = np.unique(numbers, return_inverse=True)
        found = found[~np.isnan(found)]
        codes[codes == len(found)] = MISSING
        whole = bool((found == np.rint(found)).all())
        if not (whole and len(found) and np.abs(found).max() >= EXACT):
            return Column(codes.astype(np.int32), found, dtype, whole)
    codes = pd.factorize(values)[0]
    return Column(codes.astype(np.int32), None, None, False)


def _group_indicators(columns, codes):
    """Columns that go together: runs of indicators of which one row has one at most."""
    groups, run = [], []
    for j, column in enumerate(columns):
        if column.is_indicator:
            run.append(j)
        else:
            groups.append([j])
            if not column.is_constant:  # constants, as a category no row has, end no run
                groups += _split_run(run, codes)
                run = []
    return groups + _split_run(run, codes)


def _split_run(run, codes):
    """Split a run of indicators: first where every row has one of them, then greedily."""
    on = codes[:, run] == 1
    counts = np.concatenate([[0], np.cumsum(on.sum(axis=0))])
    groups, start, loose = [], 0, []

    def split_loose():
        together, taken = [], None
        for at in loose:
            if taken is not None and not (taken & on[:, at]).any():
                together.append(run[at])
                taken = taken | on[:, at]
            else:
                together, taken = [run[at]], on[:, at]
                groups.append(together)
        loose.clear()

    while start < len(run):
        end = int(np.searchsorted(counts, counts[start] + len(on)))
        if (
            end < len(counts)
            and counts[end] == counts[start] + len(on)
            and on[:, start:end].any(axis=1).all()
        ):
            split_loose()
            groups.append(run[start:end])
            start = end
        else:
            loose.append(start)
            start += 1
    split_loose()
    return groups


def _encode_nominal(codes, mass, limit):
    """Write categories as indicators at a squared distance of one from each other."""
    _, codes = np.unique(codes, return_inverse=True)
    counts = np.bincount(codes, mass)
    if len(counts) == 1:
        return np.zeros((len(codes), 0))
    if len(counts) == 2:
        return codes[:, None].astype(np.float64)
    rank = np.empty(len(counts), dtype=np.intp)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    place = np.minimum(rank[codes], limit)
    out = np.zeros((len(codes), min(len(counts), limit + 1)))
    out[np.arange(len(codes)), place] = np.sqrt(0.5)
    return out


def _encode_numbers(numbers):
    """Numbers in [0, 1], a missing one at a distance of one from all others.

    No point is as far from every point of a line, so that the two sides of the distance get
    coordinates of their own: with p = 1 where x is present, p = 0 and x = 0 where it is not,
    d^2 = p_x + p_y - 2 (x y + (p_x - x^2 / 2) p_y - p_x y^2 / 2).

    Returns
    -------
    key, query : ndarray of shape (n, n_coordinates)
    norm : ndarray of shape (n,)
        Of the keys: d^2 = norm - 2 key . query + what depends on the query alone.
    """
    present = ~np.isnan(numbers)
    largest = np.abs(numbers[present]).max()
    x = np.ldexp(np.where(present, numbers, 0.0), -np.frexp(largest)[1])  # no range overflows
    low, high = x[present].min(), x[present].max()
    x = np.where(present, (x - low) / (high - low), 0.0)
    if present.all():
        return x[:, None], x[:, None], x**2
    p = present.astype(np.float64)
    half = x**2 / 2
    key = np.column_stack([x, p, -half])
    query = np.column_stack([x, p - half, p])
    return key, query, p
