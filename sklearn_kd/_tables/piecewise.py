"""The encoding of a table as a sum over its columns: states, pieces and their products.

Each column has states: the pieces of a numeric column or the levels of another one, then a state
for other levels, and one for missing cells. A cell is in one of them, and its part of the encoded
row is ``value[state] + delta * slope[state]``, where delta is the distance of the number from the
edge at which its piece begins, in widths of the piece. A product with encoded rows is therefore a
sum of rows of a table.
"""

import numpy as np

from sklearn_kd._tables.quantiles import MAX_NUMBER

#: Widths of the outermost piece by which a number may lie beyond the training rows, if these widths
#: are not more than the range of the training rows, which is as many pieces of equal width. Farther
#: numbers are moved there: they are errors of measurement more often than a trend, and encoded
#: columns stay bounded, also beyond an outermost piece that one outlier has made wide.
MAX_WIDTHS_OUTSIDE = 8.0
#: Encoded values of a block of rows, so that they stay in the cache.
BLOCK_VALUES = 65_536


class TablePlan:
    """What encoding needs besides the fitted attributes, from which it follows.

    Parameters
    ----------
    edges : list of ndarray or None
        Edges of the pieces of each numeric column.
    categories : list of list or None
        Levels with a column of their own, of each other column.
    has_other, has_missing : ndarray of bool of shape (n_columns,)
        Whether there is an encoded column for other levels, and for missing cells.
    means : ndarray of shape (n_encoded,)
    names : list of str or None
        Of the columns.
    """

    def __init__(self, edges, categories, has_other, has_missing, means, names=None):
        self.n_columns, self.names = len(edges), names
        self.numeric = np.array([j for j in range(len(edges)) if edges[j] is not None], dtype=int)
        self.nominal = np.array([j for j in range(len(edges)) if edges[j] is None], dtype=int)
        self.edges, self.categories, self.means = edges, categories, means
        self.has_other, self.has_missing = has_other, has_missing
        self.lookups = [
            None if levels is None else {level: code for code, level in enumerate(levels)}
            for levels in categories
        ]
        self._number_states()
        self._place_states()
        self._lay_out_pieces()

    def _number_states(self):
        n_states, n_encoded = [], []
        for j in range(self.n_columns):
            if self.edges[j] is not None:
                n_pieces = max(len(self.edges[j]) - 1, 0)
                n_states.append(max(n_pieces, 1) + 1)
                n_encoded.append(n_pieces + self.has_missing[j])
            else:
                n_states.append(len(self.categories[j]) + 2)
                n_encoded.append(encoded_width(*self._kinds_of_levels(j)))
        self.first_state = np.concatenate([[0], np.cumsum(n_states)]).astype(np.intp)
        self.first_encoded = np.concatenate([[0], np.cumsum(n_encoded)]).astype(np.intp)
        self.n_states, self.n_encoded = int(self.first_state[-1]), int(self.first_encoded[-1])

    def _kinds_of_levels(self, j):
        return len(self.categories[j]), self.has_other[j], self.has_missing[j]

    def _place_states(self):
        """Set for states without a slope the encoded column that is one, or that they are means."""
        self.state_column = np.full(self.n_states, -1, dtype=np.intp)
        self.state_is_mean = np.zeros(self.n_states, dtype=bool)
        for j in range(self.n_columns):
            first, end = self.first_state[j], self.first_state[j + 1]
            if self.edges[j] is None:
                n_levels, has_other, has_missing = self._kinds_of_levels(j)
                n_kinds = n_levels + has_other + has_missing
                # of two kinds of cells the first has no column
                place = self.first_encoded[j + 1] - n_kinds + np.arange(n_kinds)
                place[place < self.first_encoded[j]] = -1
                self.state_column[first : first + n_levels + has_other] = place[
                    : n_levels + has_other
                ]
                self.state_is_mean[end - 2] = not has_other
            if self.has_missing[j]:
                self.state_column[end - 1] = self.first_encoded[j + 1] - 1
            elif self.edges[j] is None:  # as another level
                self.state_column[end - 1] = self.state_column[end - 2]
                self.state_is_mean[end - 1] = self.state_is_mean[end - 2]
            else:
                self.state_is_mean[end - 1] = True

    def _lay_out_pieces(self):
        """Set the arrays by which all numeric columns are encoded at once."""
        edges = [self.edges[j] for j in self.numeric]
        n_pieces = np.array([max(len(e) - 1, 0) for e in edges], dtype=np.intp)
        self.low, self.high = np.array([_bounds(e) for e in edges]).reshape(-1, 2).T
        self.inner = np.full((len(edges), max(n_pieces.max(initial=1) - 1, 0)), np.inf)
        self.state_edge = np.zeros(self.n_states)
        self.state_inverse = np.zeros(self.n_states)
        for i, (j, e) in enumerate(zip(self.numeric, edges, strict=True)):
            self.inner[i, : max(len(e) - 2, 0)] = e[1:-1]
            states = slice(self.first_state[j], self.first_state[j] + n_pieces[i])
            self.state_edge[states] = e[:-1]
            self.state_inverse[states] = 1 / np.diff(e)
        self.numeric_state = self.first_state[self.numeric]
        self.missing_state = self.first_state[1:][self.numeric] - 1
        self.nominal_state = self.first_state[self.nominal]
        self.piece_column = np.repeat(np.arange(len(edges)), n_pieces)
        place = np.arange(len(self.piece_column)) - np.repeat(
            np.cumsum(n_pieces) - n_pieces, n_pieces
        )
        state = self.numeric_state[self.piece_column] + place
        self.piece_encoded = self.first_encoded[self.numeric][self.piece_column] + place
        self.piece_edge, self.piece_inverse = self.state_edge[state], self.state_inverse[state]
        is_last = place == n_pieces[self.piece_column] - 1
        with np.errstate(over="ignore"):  # of pieces that are not at the end of their column
            low, high = (
                (bound[self.piece_column] - self.piece_edge) * self.piece_inverse
                for bound in (self.low, self.high)
            )
        self.piece_low = np.where(place == 0, low, 0.0)
        self.piece_high = np.where(is_last, high, 1.0)


def encoded_width(n_levels, has_other, has_missing):
    """Return the number of encoded columns: one for each kind of cells, but one for two kinds.

    Of two kinds the first has no column, and a constant column has none.
    """
    n_kinds = n_levels + bool(has_other) + bool(has_missing)
    return n_kinds if n_kinds > 2 else max(n_kinds - 1, 0)


def _bounds(edges):
    """Return the numbers between which a column is linear outside of its edges."""
    if len(edges) == 0:
        return 0.0, 0.0
    # all is bounded by MAX_NUMBER too, so that nothing overflows
    widths = np.minimum(np.diff(edges)[[0, -1]], MAX_NUMBER / MAX_WIDTHS_OUTSIDE)
    reach = np.minimum(MAX_WIDTHS_OUTSIDE * widths, min(edges[-1] - edges[0], MAX_NUMBER))
    low, high = edges[[0, -1]] + reach * [-1, 1]
    return max(low, -MAX_NUMBER), min(high, MAX_NUMBER)


def locate_cells(plan, numbers, codes):
    """Return the state of each cell, and how far in its piece a number lies.

    Parameters
    ----------
    plan : TablePlan
    numbers : ndarray of float64 of shape (n, n_numeric)
        With NaN for missing cells.
    codes : ndarray of intp of shape (n, n_nominal)
        Positions among the states of the column.

    Returns
    -------
    state : ndarray of intp of shape (n, n_columns)
    delta : ndarray of float64 of shape (n, n_columns)
        Distance from the lower edge in widths of the piece, which are of order one for numbers of
        any unit. Zero for states without a piece.
    """
    state = np.empty((len(numbers), plan.n_columns), dtype=np.intp)
    delta = np.zeros(state.shape)
    if len(plan.nominal):
        state[:, plan.nominal] = codes + plan.nominal_state
    if len(plan.numeric) == 0:
        return state, delta
    bounded = np.minimum(np.maximum(numbers, plan.low), plan.high)
    found = _pieces_of(plan, bounded)
    found += plan.numeric_state
    distance = bounded - plan.state_edge[found]
    distance *= plan.state_inverse[found]
    missing = np.isnan(bounded)
    if missing.any():
        found = np.where(missing, plan.missing_state, found)
        distance[missing] = 0.0
    if len(plan.nominal) == 0:
        return found, distance
    state[:, plan.numeric], delta[:, plan.numeric] = found, distance
    return state, delta


def _pieces_of(plan, numbers):
    """Return the piece of each number, which is the number of inner edges that it reaches."""
    if len(numbers) == 1:
        return np.add.reduce(plan.inner <= numbers.T, axis=1, dtype=np.intp)[None]
    pieces = np.zeros(numbers.shape, dtype=np.intp)
    for edges in plan.inner.T:
        pieces += numbers >= edges
    return pieces


def encode_cells(plan, numbers, codes, dtype):
    """Return the encoded rows.

    Parameters are those of `locate_cells`, and the dtype of the result.

    Returns
    -------
    ndarray of shape (n, n_encoded)
    """
    out = np.empty((len(numbers), plan.n_encoded), dtype=dtype)
    n_rows = max(1, BLOCK_VALUES // max(plan.n_encoded, 1))
    pieces = np.empty((min(n_rows, len(out)), len(plan.piece_column)))
    for start in range(0, len(out), n_rows):
        rows = slice(start, start + n_rows)
        block = numbers[rows].astype(np.float64, copy=False)
        _encode_block(plan, block, codes[rows], out[rows], pieces)
    return out


def _encode_block(plan, numbers, codes, out, pieces):
    only_pieces = len(plan.piece_column) == plan.n_encoded
    if not only_pieces:
        out[:] = 0
    if len(plan.numeric):
        # into memory of an earlier block, since new memory takes longer than the encoding
        pieces = numbers.take(plan.piece_column, axis=1, out=pieces[: len(numbers)], mode="clip")
        with np.errstate(over="ignore"):  # of numbers that are far outside of a piece
            pieces -= plan.piece_edge
            pieces *= plan.piece_inverse
        np.maximum(pieces, plan.piece_low, out=pieces)
        np.minimum(pieces, plan.piece_high, out=out if only_pieces else pieces)
        if not only_pieces:
            out[:, plan.piece_encoded] = pieces
        missing = np.isnan(numbers)
        for i in np.flatnonzero(missing.any(axis=0)):
            rows, j = np.flatnonzero(missing[:, i]), plan.numeric[i]
            if plan.has_missing[j]:
                end = plan.first_encoded[j + 1] - 1
                out[rows, plan.first_encoded[j] : end] = 0
                out[rows, end] = 1
            else:
                _set_means(plan, j, rows, out)
    if len(plan.nominal):
        state = codes + plan.nominal_state
        column = plan.state_column[state]
        rows, places = np.nonzero(column >= 0)
        out[rows, column[rows, places]] = 1
        is_mean = plan.state_is_mean[state]
        for i in np.flatnonzero(is_mean.any(axis=0)):
            _set_means(plan, plan.nominal[i], np.flatnonzero(is_mean[:, i]), out)


def _set_means(plan, j, rows, out):
    place = slice(plan.first_encoded[j], plan.first_encoded[j + 1])
    out[rows, place] = plan.means[place]


def fold_plan(plan, weights):
    """Return the products of values and slopes of all states with weights of encoded columns.

    Parameters
    ----------
    plan : TablePlan
    weights : ndarray of shape (n_encoded, n_outputs)

    Returns
    -------
    values, slopes : ndarray of shape (n_states, n_outputs)
        The slope is by width of the piece.
    """
    values = np.zeros((plan.n_states, weights.shape[1]), dtype=weights.dtype)
    slopes = np.zeros_like(values)
    placed = plan.state_column >= 0
    values[placed] = weights[plan.state_column[placed]]
    for j in range(plan.n_columns):
        states = slice(plan.first_state[j], plan.first_state[j + 1])
        place = slice(plan.first_encoded[j], plan.first_encoded[j + 1])
        is_mean = plan.state_is_mean[states]
        if is_mean.any():
            values[states][is_mean] = plan.means[place] @ weights[place]
        if plan.edges[j] is not None:
            own = weights[place][: max(len(plan.edges[j]) - 1, 0)]
            first, end = plan.first_state[j], plan.first_state[j] + len(own)
            values[first + 1 : end] = np.cumsum(own[:-1], axis=0)
            slopes[first:end] = own
    return values, slopes
