"""Encoder of raw tables, as what a network reads: `TableEncoder`."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_kd._tables.cells import Levels, read_cells
from sklearn_kd._tables.columns import iter_columns
from sklearn_kd._tables.piecewise import TablePlan, encode_cells, fold_plan, locate_cells
from sklearn_kd._tables.quantiles import (
    distinct_values,
    extreme_values,
    group_ties,
    mean_pieces,
    quantile_edges,
)
from sklearn_kd._tables.table_rows import read_few_rows, read_table
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.base import PublicEstimatorMixin, all_or_nothing
from sklearn_kd._utils.containers import as_pandas, is_dataframe
from sklearn_kd._utils.sklearn_compat import (
    Interval,
    StrOptions,
    check_categorical_features,
    check_feature_names_in,
    fit_context,
    safe_indexing,
)
from sklearn_kd._utils.validation import rescale_weights, validate_sample_weight
from sklearn_kd._utils.weighted_quantiles import SHARE_TOLERANCE

#: Pieces of a numeric column. 16 did as well as 8.
DEFAULT_N_BINS = 8
#: Number of columns above which they stay linear: images and other wide tables.
MAX_COLUMNS_WITH_PIECES = 256


def resolve_n_bins(n_bins, n_columns):
    """Return the number of pieces of a numeric column of a table of so many columns."""
    if n_bins != "auto":
        return n_bins
    return 1 if n_columns > MAX_COLUMNS_WITH_PIECES else DEFAULT_N_BINS


class TableEncoder(PublicEstimatorMixin, TransformerMixin, BaseEstimator):
    """Encode a table of numbers, strings, categories and missing cells for a network.

    The encoder takes raw pandas or polars DataFrames and arrays. A numeric column becomes one
    column for each piece between its quantiles, on which it rises from zero to one (piecewise
    linear encoding, [1]_), so that a network of few neurons can learn functions with thresholds
    and bends, as trees do. Booleans, strings and categories become a column for each frequent
    level. Missing cells are told apart. The networks of this package use it inside (``encoder``).

    Parameters
    ----------
    categorical_features : "from_dtype" or array-like, default="from_dtype"
        Columns whose cells are levels: positions, names or a mask of shape (n_features,), as in
        :class:`~sklearn.ensemble.HistGradientBoostingClassifier`. Booleans, strings and categories
        are levels always, and the columns named here are too, such as codes of an integer dtype.
    n_bins : int or "auto", default="auto"
        Number of pieces of a numeric column. 1 is the column itself, scaled by its range. A column
        of at most ``n_bins + 1`` distinct values has an edge at each, so that every value has an
        effect of its own. "auto" is 8, and 1 for more than 256 columns.
    max_categories : int or None, default=30
        Largest number of levels of a column that have an encoded column of their own, by
        frequency. The others share one. None sets no limit.
    min_frequency : float in (0, 1) or None, default=0.005
        Least share of the total weight of a level that has a column of its own. None sets no limit.

    Attributes
    ----------
    kinds_ : list of {"numeric", "levels"} of length n_features
        Kind of each column.
    edges_ : list of ndarray or None of length n_features
        Edges of the pieces of each numeric column, increasing: the smallest number of the training
        rows, weighted quantiles and the largest number. Empty for a constant column.
    categories_ : list of list or None of length n_features
        Levels of each other column that have an encoded column of their own, in sorted order.
    has_infrequent_ : ndarray of bool of shape (n_features,)
        Whether an encoded column is shared by the levels that are not in ``categories_``.
    has_missing_ : ndarray of bool of shape (n_features,)
        Whether the column had missing cells in the training rows, which have an encoded column.
    means_ : ndarray of shape (n_features_out,)
        Weighted mean of each encoded column over the training rows.
    n_bins_ : int
        The number of pieces used.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns of X, if all are strings.

    See Also
    --------
    sklearn.ensemble.HistGradientBoostingClassifier : Trees that take such tables as they are.
    sklearn.preprocessing.KBinsDiscretizer : Steps instead of slopes.

    Notes
    -----
    With edges e_0 < ... < e_B, piece b of a number x is ``(x - e_{b-1}) / (e_b - e_{b-1})``,
    clipped to [0, 1]; the first piece is not clipped below and the last not above, so that the
    encoding is linear outside the training rows. Before, x is moved to at most ``e_B - e_0``, and
    at most 8 widths of the outermost piece, below e_0 or above e_B.

    The pieces of a missing number are zero, and its indicator is one. Of two kinds of cells, such
    as two levels, one level and missing cells, only the second has a column. Constant columns have
    none. A level that the training rows lack is encoded as the infrequent ones are, or as the mean
    of the training rows, which is neutral after centering, if no column is shared by these. A
    missing cell where they have none is such a level, or the mean in a column of numbers.

    Dates, free text and cells that are lists or dictionaries are errors that name the column.

    Quantiles, frequencies and means are those of the weights. A weight of k equals k copies of a
    row, a weight of zero its absence, and a common factor of all weights changes nothing.

    References
    ----------
    .. [1] Gorishniy, Rubachev and Babenko, On Embeddings for Numerical Features in Tabular Deep
       Learning, 2022, equation 1, https://arxiv.org/abs/2203.05556

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_kd import TableEncoder
    >>> X = pd.DataFrame({"age": [20.0, 30.0, None, 60.0], "job": ["cook", "smith", "cook", None]})
    >>> encoder = TableEncoder().set_output(transform="pandas").fit(X)
    >>> encoder.transform(X.iloc[1:3])
       age_1  age_2  age_missing  job_cook  job_smith  job_missing
    1    1.0    0.0          0.0       0.0        1.0          0.0
    2    0.0    0.0          1.0       1.0        0.0          0.0
    """

    __module__ = "sklearn_kd"

    _parameter_constraints: dict = {
        "categorical_features": [StrOptions({"from_dtype"}), "array-like"],
        "n_bins": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_categories": [Interval(Integral, 1, None, closed="left"), None],
        "min_frequency": [Interval(Real, 0, 1, closed="neither"), None],
    }

    def __init__(
        self,
        *,
        categorical_features="from_dtype",
        n_bins="auto",
        max_categories=30,
        min_frequency=0.005,
    ):
        self.categorical_features = categorical_features
        self.n_bins = n_bins
        self.max_categories = max_categories
        self.min_frequency = min_frequency

    @numpy_inputs
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Find the edges of numeric columns and the levels of the others.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Numbers, booleans, strings, categories and missing cells (NaN, None, NA). An object
            column is numeric if all of its cells are numbers or missing.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            For columns that are neither numbers, booleans, strings nor categories, that mix numbers
            and strings or that are free text, for infinite numbers and for sparse rows. The message
            says what to do.
        """
        with all_or_nothing(self):
            X = self._check_rows(X, reset=True)
            weights = validate_sample_weight(sample_weight, X)
            if not (weights > 0).all():
                X, weights = safe_indexing(X, np.flatnonzero(weights > 0)), weights[weights > 0]
            weights = rescale_weights(weights)
            self._fit_columns(X, weights / weights.sum())
            self._plan = self._make_plan()
        return self

    def _check_rows(self, X, *, reset):
        """Return rows as a pandas DataFrame or an array, after scikit-learn's checks."""
        table = check_table(self, X)
        validate_data(self, X, reset=reset, skip_check_array=True)
        return table

    def _fit_columns(self, X, shares):
        is_named = None
        if not isinstance(self.categorical_features, str):  # strings and categories are in any case
            is_named = check_categorical_features(X, self.categorical_features)
        is_named = np.zeros(X.shape[1], dtype=bool) if is_named is None else is_named
        self.n_bins_ = n_bins = resolve_n_bins(self.n_bins, X.shape[1])
        columns = [
            # values need not be sorted for one piece
            _Column(read_cells(values, name, as_levels=named), shares, is_linear=n_bins == 1)
            for (name, values), named in zip(iter_columns(X), is_named, strict=True)
        ]
        self.kinds_ = ["numeric" if each.is_numeric else "levels" for each in columns]
        self.has_missing_ = np.array([each.missing > 0 for each in columns])
        self.edges_, self.categories_, means = [], [], []
        self.has_infrequent_ = np.zeros(len(columns), dtype=bool)
        for j, column in enumerate(columns):
            if column.is_numeric:
                edges = quantile_edges(column.values, column.quantile_shares(), n_bins)
                levels = None
                mean = mean_pieces(column.values, column.shares, edges)
            else:
                edges = None
                levels, mean, self.has_infrequent_[j] = self._choose_levels(column)
            self.edges_.append(edges)
            self.categories_.append(levels)
            means.append(column.encoded_means(mean))
        self.means_ = np.concatenate(means)

    def _choose_levels(self, column):
        """Return levels with a column of their own, means of the columns, and if others exist."""
        wanted = column.shares >= (self.min_frequency or 0) - SHARE_TOLERANCE
        by_frequency = np.lexsort((np.arange(len(wanted)), group_ties(column.shares)))
        wanted[by_frequency[self.max_categories :] if self.max_categories else []] = False
        mean = column.shares[wanted]
        has_infrequent = not wanted.all()
        if has_infrequent:
            mean = np.append(mean, column.shares[~wanted].sum())
        levels = [level for level, keep in zip(column.values, wanted, strict=True) if keep]
        return levels, mean, has_infrequent

    def _make_plan(self):
        names = getattr(self, "feature_names_in_", None)
        return TablePlan(
            self.edges_,
            self.categories_,
            self.has_infrequent_,
            self.has_missing_,
            self.means_,
            None if names is None else names.tolist(),
        )

    @numpy_inputs
    def transform(self, X):
        """Encode rows.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            With the columns of the training rows.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            float64; float32 if X is. A DataFrame after ``set_output``.
        """
        numbers, codes, dtype = self._read(X)
        return encode_cells(self._plan, numbers, codes, dtype)

    def _read(self, X):
        """Return the numbers, the codes of levels and the dtype of checked rows."""
        plan = vars(self).get("_plan")
        if plan is None:
            check_is_fitted(self)
        rows = read_few_rows(plan, X)
        if rows is not None:
            return rows
        X = self._check_rows(X, reset=False)
        return *read_table(plan, X), dtype_of_encoded(X)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the encoded columns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns of X, for arrays. None names them x0, x1, ...

        Returns
        -------
        ndarray of str of shape (n_features_out,)
            The name of the column with the number of the piece, the level, "infrequent" or
            "missing". A column that has one piece keeps its name.
        """
        check_is_fitted(self)
        found, used = [], set()
        for j, column in enumerate(check_feature_names_in(self, input_features)):
            for part in self._parts(j):
                name = f"{column}_{part}" if part is not None else str(column)
                while name in used:  # of levels called as other columns are
                    name += "_"
                used.add(name)
                found.append(name)
        return np.asarray(found, dtype=object)

    def _parts(self, j):
        """Return what the names of the encoded columns of a column end with."""
        plan = self._plan
        width = plan.first_encoded[j + 1] - plan.first_encoded[j]
        if self.edges_[j] is not None:
            n_pieces = width - self.has_missing_[j]
            parts = [None] if n_pieces == 1 else list(range(1, n_pieces + 1))
        else:
            parts = [*self.categories_[j], *(["infrequent"] if self.has_infrequent_[j] else [])]
        parts += ["missing"] if self.has_missing_[j] else []
        return parts[len(parts) - width :]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def __sklearn_is_fitted__(self):
        return "means_" in vars(self)

    def __getstate__(self):
        state = super().__getstate__()
        state.pop("_plan", None)  # follows from the rest
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "means_" in vars(self):
            self._plan = self._make_plan()


class _Column:
    """Distinct values of a column of training rows and their shares of the total weight.

    If the column is linear, these are the least and the largest number, with the same mean.
    """

    def __init__(self, cells, shares, *, is_linear):
        self.is_numeric = not isinstance(cells, Levels)
        if self.is_numeric and is_linear:
            present = ~np.isnan(cells)
            self.values, self.shares = extreme_values(cells[present], shares[present])
        elif self.is_numeric:
            present = ~np.isnan(cells)
            uniform = (shares == shares[0]).all()
            self.values, self.shares = distinct_values(
                cells[present], shares[0] if uniform else shares[present]
            )
        else:
            present = cells.codes >= 0
            observed = np.unique(cells.codes[present])
            order = sorted(observed, key=lambda code: _sort_key(cells.values[code]))
            self.values = [cells.values[code] for code in order]
            rank = np.zeros(len(cells.values), dtype=np.intp)
            rank[order] = np.arange(len(order))
            codes = rank[cells.codes[present]]
            self.shares = np.bincount(codes, shares[present], minlength=len(self.values))
        # a column of missing cells alone is constant
        self.missing = shares[~present].sum() if present.any() else 0.0

    def quantile_shares(self):
        """Return the shares in the weight of the present cells."""
        return self.shares / self.shares.sum() if len(self.shares) else self.shares

    def encoded_means(self, mean):
        """Return the means of all encoded columns: all kinds of cells, without the first of two."""
        means = np.append(mean, self.missing) if self.missing > 0 else mean
        if self.is_numeric or len(means) > 2:
            return means
        return means[1:]


def _sort_key(level):
    return isinstance(level, str), level


def _array_of_lists(X):
    try:
        array = np.asarray(X)
    except ValueError:  # cells that are lists themselves
        return np.asarray(X, dtype=object)
    # NumPy would turn the numbers of a list into strings
    return np.asarray(X, dtype=object) if array.dtype.kind in "US" else array


def dtype_of_encoded(X):
    """Return the dtype of encoded rows."""
    dtypes = set(X.dtypes) if hasattr(X, "iloc") else {X.dtype}
    return np.float32 if dtypes == {np.dtype(np.float32)} else np.float64


def check_table(estimator, X, name="X"):
    """Return rows as a pandas DataFrame or an array, without a check of the features.

    Parameters
    ----------
    estimator : estimator
        Named in messages.
    X : DataFrame or array-like
    name : str, default="X"
        What messages call X.
    """
    kind = type(estimator).__name__
    if issparse(X):
        raise TypeError(
            f"{name} is sparse, and {kind} takes dense rows here: pass {name}.toarray()."
        )
    if is_dataframe(X):
        if len(X) == 0 or X.shape[1] == 0:
            what = "sample" if len(X) == 0 else "feature"
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={tuple(X.shape)}) while a minimum of 1 "
                f"is required by {kind}."
            )
        return as_pandas(X)
    if not hasattr(X, "shape"):
        X = _array_of_lists(X)
    dtype = getattr(X, "dtype", None)
    is_other = isinstance(dtype, np.dtype) and dtype.kind in "OUSMmb"
    return check_array(
        X,
        dtype=None if is_other else [np.float64, np.float32],
        ensure_all_finite=False,  # infinity is an error that names its column, where cells are read
        estimator=estimator,
        input_name=name,
    )


def encode_blocks(encoder, X, n_rows):
    """Yield the encoded rows, as `encode` returns them, in blocks of ``n_rows`` rows."""
    plan, dtype = encoder._plan, dtype_of_encoded(X)
    numbers, codes = read_table(plan, X)
    for start in range(0, len(X), n_rows):
        rows = slice(start, start + n_rows)
        yield encode_cells(plan, numbers[rows], codes[rows], dtype)


def linear_map(encoder):
    """Return the encoding as a linear function of the raw rows, or None where it is none.

    It is linear if each column is numeric and has one piece, and where nothing is missing and all
    numbers are within the bounds.

    Returns
    -------
    column : ndarray of intp of shape (n_encoded,)
        Raw column of each encoded one, -1 for an indicator of missing cells, which is zero.
    edge, width : ndarray of float64 of shape (n_encoded,)
        An encoded column is ``(x - edge) / width``.
    low, high : ndarray of float64 of shape (n_columns,)
        The bounds.
    """
    plan = encoder._plan
    if len(plan.nominal) or len(plan.inner.T):
        return None
    column = np.full(plan.n_encoded, -1, dtype=np.intp)
    edge, width = np.zeros(plan.n_encoded), np.ones(plan.n_encoded)
    column[plan.piece_encoded] = plan.piece_column
    edge[plan.piece_encoded], width[plan.piece_encoded] = plan.piece_edge, 1 / plan.piece_inverse
    is_constant = np.ones(plan.n_columns, dtype=bool)
    is_constant[plan.piece_column] = False  # whose values have no effect
    largest = np.finfo(np.float64).max  # infinity is an error there too
    return (
        column,
        edge,
        width,
        *(
            np.where(is_constant, bound, limit)
            for bound, limit in ((-largest, plan.low), (largest, plan.high))
        ),
    )


def encode(encoder, X):
    """Return encoded rows as `TableEncoder.transform` does, but always as an array.

    Parameters
    ----------
    encoder : TableEncoder
        Fitted.
    X : pandas DataFrame or ndarray of shape (n, n_columns)
        As `check_table` returns it. The names are not checked.

    Returns
    -------
    ndarray of shape (n, n_encoded)
    """
    return encode_cells(encoder._plan, *read_table(encoder._plan, X), dtype_of_encoded(X))


def locate_few_rows(encoder, X):
    """Return the state of each cell of a few rows, and how far in its piece a number lies.

    The encoded rows are ``values[state].sum(1) + (delta[..., None] * slopes[state]).sum(1)`` with
    the tables of `state_table`. Features are checked. None is returned for many rows, and for rows
    that are not in a plain container or whose cells need a closer look.

    Parameters
    ----------
    encoder : TableEncoder
        Fitted.
    X : DataFrame or array-like of shape (n, n_columns)

    Returns
    -------
    state : ndarray of intp of shape (n, n_columns)
        Numbered over all columns.
    delta : ndarray of float64 of shape (n, n_columns)
        Distance from the lower edge in widths of the piece, and zero for states without a piece.
    dtype : numpy dtype
        Of encoded rows.
    """
    rows = read_few_rows(encoder._plan, X)
    return rows and (*locate_cells(encoder._plan, *rows[:2]), rows[2])


class ColumnReading(NamedTuple):
    """How a fitted encoder reads a column: pieces of numbers, or levels.

    The states of `state_table` are, in this order, the pieces of a number (one without edges) and
    missing cells, or the levels, other levels and missing cells.
    """

    edges: np.ndarray | None
    low: float
    high: float
    levels: list | None
    n_states: int
    n_encoded: int


def column_readings(encoder):
    """Return the `ColumnReading` of each column of a fitted encoder."""
    check_is_fitted(encoder)
    plan = encoder._plan
    n_states, n_encoded = np.diff(plan.first_state), np.diff(plan.first_encoded)
    low, high = np.full((2, plan.n_columns), np.nan)
    low[plan.numeric], high[plan.numeric] = plan.low, plan.high
    numbers = low.tolist(), high.tolist(), n_states.tolist(), n_encoded.tolist()
    parts = plan.edges, *numbers[:2], plan.categories, *numbers[2:]
    return [ColumnReading(*each) for each in zip(*parts, strict=True)]


def column_of(encoder):
    """Return the column of X that each encoded column of a fitted encoder is of, (n_encoded,)."""
    check_is_fitted(encoder)
    widths = np.diff(encoder._plan.first_encoded)
    return np.repeat(np.arange(len(widths)), widths)


def n_states(encoder):
    """Return the number of states of all columns of a fitted encoder, the rows of its tables."""
    check_is_fitted(encoder)
    return encoder._plan.n_states


def state_table(encoder):
    """Return the encoded values and the slopes of each state of a fitted encoder.

    Wide tables make these large: `fold_states` gives their products with weights without them.

    Returns
    -------
    values, slopes : ndarray of float64 of shape (n_states, n_encoded)
    """
    return fold_states(encoder, np.eye(len(encoder.means_)))


def fold_states(encoder, weights):
    """Return ``values @ weights`` and ``slopes @ weights`` of the tables of `state_table`.

    Parameters
    ----------
    encoder : TableEncoder
        Fitted.
    weights : ndarray of shape (n_encoded, n_outputs)

    Returns
    -------
    values, slopes : ndarray of shape (n_states, n_outputs)
    """
    check_is_fitted(encoder)
    return fold_plan(encoder._plan, weights)
