"""Predict with the file of a compact model: NumPy and the standard library are enough.

    from compact_model import CompactModel

    model = CompactModel.load("model.skdc")
    model.predict_one({"age": 39, "job": "cook"})

This file may be copied beside the file of a model. It imports nothing else of sklearn_kd, and the
file of a model has numbers and texts alone: nothing in it is ever executed.
"""

import hashlib
import json
import math
import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Mapping, Set
from functools import update_wrapper
from numbers import Number
from types import MethodType

import numpy as np

#: Newest format that this file reads. It reads all earlier ones.
FORMAT = 1
#: Start of a file: a name, the format, the SHA-256 of what follows, and its length.
HEADER = struct.Struct("<8sH32sQ")
MAGIC = b"skd\x89cpt\n"
#: Bytes of an unpacked file that are more than any model needs, and less than a machine has.
MAX_UNPACKED = 2**29
#: Numbers of a block of rows that are predicted at once, so that they stay in the cache.
BLOCK_VALUES = 2**17
#: Trees up to which a loop is faster for one row than operations on all trees.
MAX_TREES_IN_PYTHON = 128
#: Names of the types of missing cells of pandas, which this file does not import.
MISSING_TYPES = ("NAType", "NaTType")


class _OfSome:
    """A method of the models that have an attribute. Others have no such method."""

    def __init__(self, method, attribute, advice):
        self.method, self.attribute, self.advice = method, attribute, advice
        update_wrapper(self, method)

    def __get__(self, model, owner=None):
        if model is None:
            return self.method
        if not hasattr(model, self.attribute):
            raise AttributeError(f"{self.method.__name__}: {self.advice}.")
        return MethodType(self.method, model)


def _of_classes(method):
    return _OfSome(method, "classes_", "the model predicts numbers, take predict or predict_one")


def _of_quantiles(method):
    return _OfSome(method, "quantiles_", "the model has learned no quantiles")


class CompactModel:
    """A fitted classifier or regressor as one small file, which predicts raw rows.

    It is made by :func:`sklearn_kd.export.compact`, or read from a file by :meth:`load`. All
    arithmetic is in float64, also where weights are stored with fewer digits.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, in the order of the columns of probabilities. Regressors have none, and no methods
        that predict probabilities.
    n_targets_ : int
        Number of targets of a regressor.
    quantiles_ : ndarray of shape (n_quantiles,)
        Levels of the quantiles, ascending, if a regressor has learned quantiles.
    n_features_in_ : int
        Number of raw columns.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the raw columns, if the model was fitted on a table that has names.
    kinds_ : list of {"number", "boolean", "text", "category", "unused"} of length `n_features_in_`
        What each raw column holds. Categories are of numbers, or of numbers and text. Rows need no
        cells of the columns that are unused.
    n_bytes_ : int
        Bytes of the file.
    dtype_ : {"float64", "float32", "float16", "int8"}
        Of the stored weights.
    largest_change_ : float or None
        Largest change of a probability that rounding made on the rows that it was checked on. Of a
        regressor, the largest change of a prediction, in standard deviations of the predictions.
    log_loss_change_, r2_change_ : float or None
        Change of the log loss of a classifier, or of R2 of a regressor. None without labels.
    versions_ : dict of str to str
        Of the packages that have written the file.

    Notes
    -----
    None, NaN, ``pandas.NA`` and ``NaT`` are missing cells. An empty text is a text as any other.
    A text that the training rows lack has the answer of the model for unknown ones.

    Predictions change nothing in the model, so that threads may share it.
    """

    __module__ = "sklearn_kd.export"

    def __init__(self, data):
        spec, arrays = _unpack(data)
        self._data, self.n_bytes_ = data, len(data)
        try:
            self._build(spec, _Arrays(arrays))
        except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
            raise ValueError(f"the file holds no valid model: {error!r}.") from error

    def _build(self, spec, arrays):
        names, self.kinds_ = spec["names"], list(spec["kinds"])
        self.n_features_in_ = len(self.kinds_)
        _require(names is None or _are_names(names, len(self.kinds_)), "names of the columns")
        if names is not None:
            self.feature_names_in_ = np.array(names, dtype=object)
        self._names, self._known = names, frozenset(names or ())
        kinds = zip(names or (), self.kinds_, strict=names is not None)
        self._needed = frozenset(name for name, kind in kinds if kind != "unused")
        self.dtype_, self.versions_ = spec["dtype"], dict(spec["versions"])
        labels = [repr(name) for name in (names or range(len(self.kinds_)))]
        self._answer = _answer(spec["answer"], arrays, labels, self.kinds_)
        self.largest_change_, change = spec["changes"]
        if isinstance(self._answer, _Numbers):
            self.n_targets_, self.r2_change_ = self._answer.n_targets, change
            if self._answer.quantiles is not None:
                self.quantiles_ = self._answer.quantiles
            return
        self.log_loss_change_ = change
        self.classes_ = _labels(spec["classes"], spec["classes_dtype"])
        _require(self.classes_.ndim == 1 and len(self.classes_) > 0, "classes")
        self._label_list = self.classes_.tolist()  # of Python objects, also where a dtype is object
        _require(self._answer.n_classes == len(self.classes_), "number of classes")

    def predict_one(self, row):
        """Predict the label or the number of one row.

        Parameters
        ----------
        row : dict, Series or sequence of length `n_features_in_`
            Raw cells. A dict or a Series has the names of the training columns as keys, in any
            order. Those of unused columns, by ``kinds_``, may be absent. A sequence has all cells,
            in the order of the training columns.

        Returns
        -------
        label : str, int, float, bool or ndarray of shape (n_targets,)
            A number of a regressor, an array if ``y`` had two dimensions.
        """
        if isinstance(self._answer, _Numbers):
            number = self._answer.predictions(_OneRow(self._cells(row)))[0]
            return number if number.ndim else number.item()
        return self._label_list[self._proba_one(row).argmax()]

    @_of_classes
    def predict_proba_one(self, row):
        """Predict the class probabilities of one row.

        Parameters
        ----------
        row : dict, Series or sequence of length `n_features_in_`
            As in :meth:`predict_one`.

        Returns
        -------
        proba : ndarray of shape (n_classes,)
        """
        return self._proba_one(row)

    def _proba_one(self, row):
        return self._answer.proba(_OneRow(self._cells(row)))[0]

    @_of_quantiles
    def predict_quantiles_one(self, row):
        """Predict the quantiles of one row.

        Parameters
        ----------
        row : dict, Series or sequence of length `n_features_in_`
            As in :meth:`predict_one`.

        Returns
        -------
        quantiles : ndarray of shape (n_quantiles,) or (n_targets, n_quantiles)
            In the order of ``quantiles_``. They do not cross.
        """
        return self._answer.quantile_values(_OneRow(self._cells(row)))[0]

    def predict(self, X):
        """Predict labels or numbers.

        Parameters
        ----------
        X : DataFrame, array, dict of columns, or sequence of rows
            Raw rows. A DataFrame and a dict have the names of the training columns, of which unused
            ones may be absent. Rows of a sequence are as in :meth:`predict_one`.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Of the shape that ``y`` had. With quantiles the median, or the one next to it.
        """
        if isinstance(self._answer, _Numbers):
            return self._answer.predictions(_Rows(*self._columns(X)))
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    @_of_quantiles
    def predict_quantiles(self, X):
        """Predict quantiles.

        Parameters
        ----------
        X : DataFrame, array, dict of columns, or sequence of rows
            As in :meth:`predict`.

        Returns
        -------
        quantiles : ndarray of shape (n_samples, n_quantiles) or (n_samples, n_targets, n_quantiles)
            In the order of ``quantiles_``. They do not cross.
        """
        return self._answer.quantile_values(_Rows(*self._columns(X)))

    @_of_classes
    def predict_proba(self, X):
        """Predict class probabilities.

        Parameters
        ----------
        X : DataFrame, array, dict of columns, or sequence of rows
            As in :meth:`predict`.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
        """
        return self._answer.proba(_Rows(*self._columns(X)))

    def save(self, path):
        """Write the model to a file, which replaces an earlier one as a whole.

        Parameters
        ----------
        path : str or path-like
            A file in a folder that exists.

        Raises
        ------
        FileNotFoundError
            If the folder does not exist.
        """
        folder = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                f"{os.fspath(path)!r} cannot be written: the folder {folder!r} does not exist."
            )
        # without tempfile, whose import takes longer than to read a model
        partial = os.path.join(folder, f".skdc-{os.urandom(8).hex()}")
        try:
            with open(partial, "xb") as file:
                file.write(self._data)
            os.replace(partial, path)
        except BaseException:
            if os.path.exists(partial):
                os.unlink(partial)
            raise

    @classmethod
    def load(cls, path):
        """Read a model from a file.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        model : CompactModel

        Raises
        ------
        ValueError
            If the file is no compact model, is cut short or was changed after it was written, or
            has a newer format than this version reads.
        """
        with open(path, "rb") as file:
            return cls(file.read())

    def __repr__(self):
        n, nouns = getattr(self, "n_targets_", None), ("target", "targets")
        if n is None:
            n, nouns = len(self.classes_), ("class", "classes")
        return (
            f"<CompactModel of {self.n_features_in_} columns and {n} {nouns[n != 1]}, "
            f"{self.n_bytes_:,} bytes, {self.dtype_} weights>"
        )

    def __reduce__(self):
        return type(self), (self._data,)

    def _cells(self, row):
        """Return the cells of one row as a list, in the order of the columns."""
        row = _as_mapping(row, self._names is not None)
        if isinstance(row, Mapping):
            if self._names is None:
                raise TypeError("the model was fitted without names of columns: pass a sequence.")
            if row.keys() == self._known:
                return [row[name] for name in self._names]
            if row.keys() != self._needed:
                self._check_names(row.keys())
            return [row.get(name) for name in self._names]
        if hasattr(row, "columns"):
            raise TypeError(
                "one row is a dict, a Series or a sequence, got a table: it is for predict."
            )
        if isinstance(row, str | bytes | Set) or not hasattr(row, "__len__"):
            raise TypeError(f"a row is a dict, a Series or a sequence, got {type(row).__name__}.")
        cells = row.tolist() if hasattr(row, "tolist") else list(row)
        if len(cells) != self.n_features_in_ or getattr(row, "ndim", 1) != 1:
            shape = getattr(row, "shape", (len(cells),))
            raise ValueError(
                f"a row has {self.n_features_in_} cells, got an array of shape {tuple(shape)}."
            )
        return cells

    def _check_names(self, names):
        """Raise a ValueError unless names are those of columns, with all that are used."""
        found = set(names)
        if self._needed <= found <= self._known and len(found) == len(names):
            return
        absent = [name for name in self._names if name in self._needed and name not in found]
        extra = [name for name in names if name not in self._known]
        said = [f"lacks {absent}"] * bool(absent) + [f"has the unknown {extra}"] * bool(extra)
        said = said or ["has a name twice"]
        raise ValueError(f"the columns of the row or table differ: it {' and '.join(said)}.")

    def _columns(self, X):
        """Return the columns of many rows, in the order of the training columns, and their number.

        An unused column that is absent is None.
        """
        if hasattr(X, "columns") or isinstance(X, dict):
            return self._columns_of_table(X)
        if isinstance(X, np.ndarray):
            if X.ndim != 2 or X.shape[1] != self.n_features_in_:
                raise ValueError(
                    f"X must have the shape (n_samples, {self.n_features_in_}), got {X.shape}: "
                    "one row is for predict_one."
                )
            return list(np.asarray(X).T), len(X)  # also of a matrix
        if isinstance(X, str | bytes) or not hasattr(X, "__len__"):
            raise TypeError(f"X is a table or a sequence of rows, got {type(X).__name__}.")
        for row in X:
            if isinstance(row, str | bytes) or not hasattr(row, "__len__"):
                raise TypeError(
                    f"X is a table or a sequence of rows, and holds {row!r}: one row is for "
                    "predict_one."
                )
        rows = [self._cells(row) for row in X]
        columns = [np.empty(len(rows), dtype=object) for _ in range(self.n_features_in_)]
        for i, cells in enumerate(rows):
            for column, cell in zip(columns, cells, strict=True):
                column[i] = cell
        return columns, len(rows)

    def _columns_of_table(self, X):
        names = list(X.columns) if hasattr(X, "columns") else list(X)
        if self._names is None:
            if len(names) != self.n_features_in_:
                raise ValueError(f"X has {len(names)} columns, and not {self.n_features_in_}.")
        else:
            self._check_names(names)
        found = {name: _as_array(X[name]) for name in names}
        lengths = {len(column) for column in found.values()}
        if len(lengths) > 1:
            raise ValueError("the columns of X differ in length.")
        n_rows = lengths.pop() if lengths else len(X)
        return [found.get(name) for name in self._names or names], n_rows


def _as_mapping(row, has_names):
    """Return a row with names as a mapping, and others as they are."""
    if hasattr(row, "columns"):  # a table
        return row
    if hasattr(row, "index") and hasattr(row, "to_dict"):  # a Series
        return row.to_dict() if has_names else row
    if has_names and hasattr(row, "_asdict"):  # a named tuple
        return row._asdict()
    names = getattr(getattr(row, "dtype", None), "names", None)  # of a structured array
    return dict(zip(names, row.item(), strict=True)) if names and row.size == 1 else row


def _as_array(column):
    """Return a column as an array of numbers or of objects."""
    if isinstance(column, str | bytes) or not hasattr(column, "__len__"):
        raise TypeError(
            "a column is a sequence of cells, and not a text: one row is for predict_one."
        )
    dtype = getattr(column, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "fiub":
        return np.asarray(column)
    cells = np.empty(len(column), dtype=object)
    cells[:] = column.to_list() if hasattr(column, "to_list") else list(column)
    return cells


class _OneRow:
    """The cells of one row, as readers locate them."""

    def __init__(self, cells):
        self.cells = cells

    def __len__(self):
        return 1

    def locate(self, readers):
        state, delta = [], []
        for reader in readers:
            s, d = reader.one(self.cells[reader.column])
            state.append(s)
            delta.append(d)
        return np.array([state], dtype=np.intp), np.array([delta])


class _Rows:
    """The columns of many rows, as readers locate their cells."""

    def __init__(self, columns, n_rows):
        self.columns, self.n_rows = columns, n_rows

    def __len__(self):
        return self.n_rows

    def locate(self, readers):
        state = np.empty((len(self), len(readers)), dtype=np.intp)
        delta = np.zeros((len(self), len(readers)))
        for i, reader in enumerate(readers):
            reader.many(self.columns[reader.column], state[:, i], delta[:, i])
        return state, delta


class _NumberReader:
    """Cells of a column of numbers: the piece between two edges, and the place in it.

    A number is scaled, step by step as in the model, and bounded. Missing cells are in the last
    state, or are the scaled number ``fill``, or are an error.
    """

    def __init__(self, spec, arrays, label):
        self.column, self.label = spec["column"], label
        constants, self.steps = arrays.take(spec["constants"], ndim=1), _steps(spec, arrays)
        self.low, self.high = constants[:2].tolist()
        edges = constants[2:]
        _require(len(edges) >= 2 and (np.diff(edges) > 0).all(), "edges")
        _require(self.low <= self.high, "bounds")
        self.inner, self.edge = edges[1:-1].tolist(), edges[:-1].tolist()
        self.inverse = (1 / np.diff(edges)).tolist()
        self.fill = math.nan if spec["fill"] is None else float(spec["fill"])
        self.n_pieces, self.takes_missing = len(self.edge), bool(spec["missing"])
        self.n_states = self.n_pieces + self.takes_missing
        self.first = 0

    def one(self, cell):
        number = cell if type(cell) is float else _as_number(cell, self.label)
        if not -math.inf < number < math.inf:
            if number == number:
                _refuse_infinity(self.label)
            number = self.fill
            if number != number:
                self._check_missing()
                return self.first + self.n_pieces, 0.0
        else:
            for step, a, b in self.steps:
                number = step(number, a, b)
            if not -math.inf < number < math.inf:
                _refuse_infinity(self.label)
        if number < self.low:
            number = self.low
        elif number > self.high:
            number = self.high
        piece = bisect_right(self.inner, number)
        return self.first + piece, (number - self.edge[piece]) * self.inverse[piece]

    def many(self, cells, state, delta):
        numbers = _finite_numbers(cells, self.label)
        missing = np.isnan(numbers)
        with np.errstate(over="ignore"):
            for step, a, b in self.steps:
                numbers = step(numbers, a, b)
        if np.isinf(numbers).any():
            _refuse_infinity(self.label)
        if missing.any():
            if self.fill != self.fill:
                self._check_missing()
            else:
                numbers, missing = np.where(missing, self.fill, numbers), np.zeros_like(missing)
        numbers = np.minimum(np.maximum(numbers, self.low), self.high)
        pieces = np.searchsorted(self.inner, numbers, side="right")
        pieces[missing] = 0
        state[:] = self.first + np.where(missing, self.n_pieces, pieces)
        delta[:] = (numbers - np.take(self.edge, pieces)) * np.take(self.inverse, pieces)
        delta[missing] = 0.0

    def _check_missing(self):
        if not self.takes_missing:
            _refuse_missing(self.label)

    def table(self, rows):
        """Return values and slopes of the states from those that are stored."""
        values, slopes = np.zeros((self.n_states, rows.shape[1])), np.zeros_like(rows)
        slopes[: self.n_pieces] = rows[: self.n_pieces]
        np.cumsum(rows[: self.n_pieces - 1], axis=0, out=values[1 : self.n_pieces])
        values[self.n_pieces :] = rows[self.n_pieces :]
        return values, slopes


class _LevelReader:
    """Cells of a column of levels: the state of each level, of unknown ones and of missing ones."""

    def __init__(self, spec, arrays, label, kind):
        self.column, self.label, self.kind = spec["column"], label, kind
        levels, states = spec["levels"], spec["states"]
        _require(len(levels) == len(states), "levels")
        _require(all(isinstance(level, str | int | float) for level in levels), "levels")
        self.lookup = dict(zip(levels, states, strict=True))
        self.other, self.missing = spec["other"], spec["missing"]
        self.n_states = spec["n_states"]
        known = [*states, *(s for s in (self.other, self.missing) if s is not None)]
        is_state = [isinstance(s, int) and 0 <= s < self.n_states for s in known]
        _require(all(is_state), "states of levels")
        self.first = 0

    def one(self, cell):
        try:
            state = self.lookup.get(cell)
        except TypeError:
            self._refuse(cell)
        if state is None:
            state = self._state_of_other(cell)
        return self.first + state, 0.0

    def many(self, cells, state, delta):
        if cells.dtype.kind == "f" or cells.dtype.kind == "O":
            cells = cells.tolist()
            state[:] = [self.one(cell)[0] for cell in cells]
            return
        found, place = np.unique(cells, return_inverse=True)
        state[:] = np.array([self.one(cell)[0] for cell in found.tolist()], dtype=np.intp)[place]

    def _state_of_other(self, cell):
        if _is_missing(cell):
            if self.missing is None:
                _refuse_missing(self.label)
            return self.missing
        is_text = isinstance(cell, str)
        if (self.kind == "text" and not is_text) or (self.kind == "boolean" and is_text):
            self._refuse(cell)
        if not is_text:
            number = _as_number(cell, self.label)
            if number in (math.inf, -math.inf):
                _refuse_infinity(self.label)
        if self.other is None:
            raise ValueError(f"column {self.label} has the unknown level {cell!r}.")
        return self.other

    def _refuse(self, cell):
        raise TypeError(
            f"column {self.label} takes {self.kind}, got {cell!r} of the type "
            f"{type(cell).__name__}."
        )

    def value(self, cell):
        return self.one(cell)[0]

    def values(self, cells):
        state = np.empty(len(cells), dtype=np.intp)
        self.many(cells, state, None)
        return state

    def table(self, rows):
        return rows, np.zeros_like(rows)


def _is_missing(cell):
    if cell is None or type(cell).__name__ in MISSING_TYPES:
        return True
    try:
        return bool(cell != cell)
    except (TypeError, ValueError):
        return False


def _as_number(cell, label):
    """Return a cell as a float, NaN if it is missing."""
    if isinstance(cell, Number | np.bool_) and not isinstance(cell, complex | np.complexfloating):
        try:
            return float(cell)
        except OverflowError:
            raise ValueError(f"column {label} has an integer that is too large.") from None
    if _is_missing(cell):
        return math.nan
    raise TypeError(
        f"column {label} takes numbers, got {cell!r} of the type {type(cell).__name__}."
    )


def _numbers(cells, label):
    """Return a column as float64, with NaN for missing cells."""
    if cells.dtype.kind in "fiub":
        return cells.astype(np.float64, copy=False)
    return np.array([_as_number(cell, label) for cell in cells.tolist()], dtype=np.float64)


def _finite_numbers(cells, label):
    numbers = _numbers(cells, label)
    if np.isinf(numbers).any():
        _refuse_infinity(label)
    return numbers


def _refuse_missing(label):
    raise ValueError(f"column {label} has a missing cell, which the model takes none of.")


def _refuse_infinity(label):
    raise ValueError(f"column {label} has an infinite number, or a huge one: make it missing.")


def _subtract_divide(x, a, b):
    return (x - a) / b


def _multiply_add(x, a, b):
    return x * a + b


def _clip(x, a, b):
    return np.minimum(np.maximum(x, a), b)


#: Steps of scaling, by the code of the file.
STEPS = (_subtract_divide, _multiply_add, _clip)


def _steps(spec, arrays):
    """Return the steps of scaling of a column as (function, constant, constant)."""
    steps = arrays.take(spec["steps"], ndim=2)
    _require(steps.shape[1] == 3 and np.isfinite(steps).all(), "steps of scaling")
    # np.isin would import numpy.ma, which takes longer than to read a model
    _require(set(steps[:, 0].tolist()) <= set(range(len(STEPS))), "steps of scaling")
    _require((steps[steps[:, 0] == 0, 2] != 0).all(), "steps of scaling")
    return [(STEPS[int(code)], float(a), float(b)) for code, a, b in steps]


class _Layers:
    """A network, or a linear model, whose first layer is a table of the states of its columns."""

    def __init__(self, spec, arrays, labels, kinds):
        self.readers = _readers(spec["readers"], arrays, labels, kinds)
        rows, self.bias = arrays.take(spec["rows"], ndim=2), arrays.take(spec["bias"])
        first, values, slopes = 0, [rows[:0]], [rows[:0]]
        for reader in self.readers:
            reader.first = first
            end = first + reader.n_states
            _require(end <= len(rows), "rows of the first layer")
            for parts, part in zip((values, slopes), reader.table(rows[first:end]), strict=True):
                parts.append(part)
            first = end
        self.values, self.slopes = np.concatenate(values), np.concatenate(slopes)
        self.first = np.array([reader.first for reader in self.readers], dtype=np.intp)
        # numbers of one piece, whose sums are a matrix product
        is_linear = [getattr(r, "n_pieces", 0) == 1 and spec["signs"] is None for r in self.readers]
        is_linear = np.array(is_linear, dtype=bool)
        self.linear, self.others = np.flatnonzero(is_linear), np.flatnonzero(~is_linear)
        _require(first == len(rows), "rows of the first layer")
        self.signs = None if spec["signs"] is None else arrays.take(spec["signs"], ndim=2)
        self.layers = [(arrays.take(w), arrays.take(b)) for w, b in spec["layers"]]
        self._check_shapes(rows.shape[1])

    def _check_shapes(self, width):
        n_members = 1 if self.signs is None else len(self.signs)
        _require(n_members > 0 and width > 0, "weights")
        _require(self.bias.shape == (n_members, width), "bias")
        if self.signs is not None:
            _require(self.signs.shape[1] == len(self.readers), "signs")
        for weights, bias in self.layers:
            _require(weights.shape[:2] == (n_members, width), "weights")
            width = weights.shape[2]
            _require(width > 0, "weights")
            _require(bias.shape == (n_members, 1, width), "bias")
        self.n_classes, self.n_values = max(width, 2), width

    def numbers(self, batch):
        """Return the mean outputs of members, (n, outputs)."""
        blocks = [outputs.mean(axis=0) for outputs in self._blocks(batch)]
        return np.concatenate(blocks) if blocks else np.empty((0, self.n_values))

    def log_proba(self, batch):
        blocks = [self._log_proba(logits) for logits in self._blocks(batch)]
        return np.concatenate(blocks) if blocks else np.empty((0, self.n_classes))

    def decision(self, batch):
        """Return logits, (n, n_classes), or log-odds of two classes, (n, 1)."""
        if self.signs is None:
            blocks = [logits[0] for logits in self._blocks(batch)]
            n_outputs = self.n_classes if self.n_classes > 2 else 1
            return np.concatenate([np.empty((0, n_outputs)), *blocks])
        log_proba = self.log_proba(batch)
        return log_proba if log_proba.shape[1] > 2 else log_proba[:, 1:] - log_proba[:, :1]

    def _blocks(self, batch):
        """Yield logits, (members, n, outputs), of blocks of rows."""
        state, delta = batch.locate(self.readers)
        size = max(1, BLOCK_VALUES // (self.values.shape[1] * len(self.bias)))
        for start in range(0, len(state), size):
            yield self._logits(state[start : start + size], delta[start : start + size])

    def _log_proba(self, logits):
        log_proba = _log_softmax(logits)
        if len(log_proba) == 1:
            return log_proba[0]
        return np.logaddexp.reduce(log_proba, axis=0) - math.log(len(log_proba))

    def _logits(self, state, delta):
        outputs = self._first_layer(state, delta)
        for weights, bias in self.layers:
            np.maximum(outputs, 0, out=outputs)
            outputs = outputs @ weights + bias
        return outputs

    def _first_layer(self, state, delta):
        """Return (members, n, width)."""
        if len(state) == 1:
            parts = self.values.take(state[0], axis=0)
            if self.signs is None:
                return (parts.sum(axis=0) + delta @ self.slopes.take(state[0], axis=0))[
                    None
                ] + self.bias[:, None]
            parts += delta[0, :, None] * self.slopes.take(state[0], axis=0)
            return (self.signs @ parts + self.bias)[:, None]
        outputs = np.repeat(self.bias[:, None], len(state), axis=1)
        if len(self.linear):
            outputs += delta[:, self.linear] @ self.slopes[self.first[self.linear]]
            missing = state[:, self.linear] != self.first[self.linear]
            for i in np.flatnonzero(missing.any(axis=0)):
                outputs += missing[:, i, None] * self.values[self.first[self.linear[i]] + 1]
        for i in self.others:
            reader = self.readers[i]
            part = self.values.take(state[:, i], axis=0)
            if isinstance(reader, _NumberReader):
                part += delta[:, i, None] * self.slopes.take(state[:, i], axis=0)
            outputs += part if self.signs is None else self.signs[:, i, None, None] * part
        return outputs

    def proba(self, batch):
        return np.exp(self.log_proba(batch))


def _log_softmax(logits):
    """Return logarithms of probabilities from logits, or from the log-odds of two classes."""
    if logits.shape[-1] == 1:
        both = np.concatenate([-logits, logits], axis=-1)
        return -np.logaddexp(0, -both)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


class _Trees:
    """Decision trees on raw columns.

    A node sends a number to the left if it is at most a threshold, and a level if it is in a set.
    The leaves of a tree are probabilities ("mean") or numbers ("average"), which are averaged, or
    log-odds or numbers, which are added ("sum").
    """

    def __init__(self, spec, arrays, labels, kinds):
        self.readers = _readers(spec["readers"], arrays, labels, kinds)
        self.link = spec["link"]
        _require(self.link in ("mean", "average", "sum"), "link")
        self.base = arrays.take(spec["base"], ndim=1)
        roots, reader, left, right, group, missing_left, in_set, tree_output = (
            arrays.integers(spec[name])
            for name in (
                "roots", "reader", "left", "right", "set", "missing_left", "in_set", "output",
            )
        )  # fmt: skip
        self.threshold = arrays.take(spec["threshold"], ndim=1)
        self.leaves = arrays.take(spec["leaves"], ndim=2)
        n_nodes, is_leaf = len(reader), left < 0
        nodes = np.arange(n_nodes)
        inner = ~is_leaf
        sizes = {len(each) for each in (left, right, group, missing_left, self.threshold)}
        _require(sizes == {n_nodes} and len(roots) == len(tree_output), "nodes")
        _require(
            (left[inner] > nodes[inner]).all() and (right[inner] > nodes[inner]).all(), "children"
        )
        _require((left < n_nodes).all() and (right < n_nodes).all(), "children")
        _require(((roots >= 0) & (roots < n_nodes)).all(), "roots")
        _require(((reader >= 0) & (reader < len(self.readers)))[inner].all(), "columns of nodes")
        _require(((right >= 0) & (right < len(self.leaves)))[is_leaf].all(), "leaves")
        _require(len(roots) > 0 and np.isfinite(self.leaves).all(), "trees")
        _require(not any(isinstance(each, _NumberReader) for each in self.readers), "columns")
        for node in np.flatnonzero(inner & (group >= 0)):
            column = self.readers[reader[node]]
            _require(isinstance(column, _LevelReader), "columns of sets")
            _require(group[node] + column.n_states <= len(in_set), "sets")
        _require((tree_output >= 0).all() and (tree_output < len(self.base)).all(), "outputs")
        n_values = self.leaves.shape[1]
        _require(n_values == (1 if self.link == "sum" else len(self.base)), "leaves")
        if self.link == "mean":  # of probabilities
            _require((self.leaves >= 0).all() and (self.leaves <= 1).all(), "leaves")
        n_values = len(self.base)
        self.n_values = n_values
        self.n_classes = {"mean": n_values, "average": None, "sum": max(n_values, 2)}[self.link]
        self.roots, self.in_set = roots.tolist(), in_set.astype(bool)
        self.output = np.eye(len(self.base))[tree_output]
        self.nodes = [each.tolist() for each in (reader, left, right, group, missing_left)]
        self.columns = reader, left, right, group, missing_left
        self.thresholds, self.sets = self.threshold.tolist(), self.in_set.tolist()

    def log_proba(self, batch):
        scores = self._scores(batch)
        if self.link == "sum":
            return _log_softmax(scores)
        with np.errstate(divide="ignore"):
            return np.log(scores)

    def decision(self, batch):
        """Return log-odds, or the probabilities of leaves, of two classes the second column."""
        scores = self._scores(batch)
        return scores[:, 1:] if self.link == "mean" and self.n_classes == 2 else scores

    def numbers(self, batch):
        """Return the means or the sums of numbers, (n, outputs)."""
        return self._scores(batch)

    def _scores(self, batch):
        if isinstance(batch, _OneRow):
            values = [reader.value(batch.cells[reader.column]) for reader in self.readers]
            if len(self.roots) <= MAX_TREES_IN_PYTHON:
                return self._sum(self._leaves_of_one(values))
            return self._sum(self._leaves_of_many(np.array(values, dtype=float)[:, None]))
        values = np.empty((len(self.readers), len(batch)))
        for reader, numbers in zip(self.readers, values, strict=True):
            numbers[:] = reader.values(batch.columns[reader.column])
        size = max(1, BLOCK_VALUES // len(self.roots))
        blocks = [
            self._sum(self._leaves_of_many(values[:, start : start + size]))
            for start in range(0, len(batch), size)
        ]
        return np.concatenate(blocks) if blocks else np.empty((0, len(self.base)))

    def _sum(self, leaves):
        found = self.leaves[leaves]  # (n, trees, values)
        if self.link == "sum":
            return found[:, :, 0] @ self.output + self.base
        return found.mean(axis=1)

    def proba(self, batch):
        return np.exp(self.log_proba(batch))

    def _leaves_of_one(self, values):
        reader, left, right, group, missing_left = self.nodes
        found = []
        for node in self.roots:
            while left[node] >= 0:
                value = values[reader[node]]
                if value != value:
                    goes_left = missing_left[node]
                elif group[node] >= 0:
                    goes_left = self.sets[group[node] + value]
                else:
                    goes_left = value <= self.thresholds[node]
                node = left[node] if goes_left else right[node]
            found.append(right[node])
        return np.array([found], dtype=np.intp)

    def _leaves_of_many(self, values):
        """Return the leaves, (n, trees), of rows that all trees answer at once."""
        reader, left, right, group, missing_left = self.columns
        n_rows = values.shape[1]
        node = np.tile(self.roots, n_rows)
        active = np.flatnonzero(left[node] >= 0)
        while len(active):
            here = node[active]
            value = values[reader[here], active // len(self.roots)]
            goes_left = value <= self.threshold[here]  # False for NaN
            missing = np.flatnonzero(value != value)
            goes_left[missing] = missing_left[here[missing]]
            nominal = np.flatnonzero(group[here] >= 0)
            place = group[here[nominal]] + value[nominal].astype(np.intp)
            goes_left[nominal] = self.in_set[place]
            node[active] = here = np.where(goes_left, left[here], right[here])
            active = active[left[here] >= 0]
        return right[node].reshape(n_rows, -1)


class _ColumnReader:
    """Numbers of a column as they are, for trees."""

    def __init__(self, spec, label):
        self.column, self.label = spec["column"], label
        self.takes_missing, self.takes_infinity = bool(spec["missing"]), bool(spec["infinite"])

    def value(self, cell):
        number = cell if type(cell) is float else _as_number(cell, self.label)
        if not -math.inf < number < math.inf:
            if number == number:
                if self.takes_infinity:
                    return number
                _refuse_infinity(self.label)
            if not self.takes_missing:
                _refuse_missing(self.label)
        return number

    def values(self, cells):
        numbers = (
            _numbers(cells, self.label)
            if self.takes_infinity
            else _finite_numbers(cells, self.label)
        )
        if not self.takes_missing and np.isnan(numbers).any():
            _refuse_missing(self.label)
        return numbers


def _readers(specs, arrays, labels, kinds):
    """Return the readers of the columns of a model."""
    readers = []
    for spec in specs:
        column = spec["column"]
        _require(0 <= column < len(labels) and kinds[column] != "unused", "column")
        label = labels[column]
        if spec["kind"] == "pieces":
            readers.append(_NumberReader(spec, arrays, label))
        elif spec["kind"] == "number":
            readers.append(_ColumnReader(spec, label))
        else:
            _require(spec["kind"] == "levels", "kind of a column")
            readers.append(_LevelReader(spec, arrays, label, kinds[column]))
    return readers


class _Tempered:
    """Probabilities of a model to a power, normalized."""

    def __init__(self, spec, model):
        self.model, self.power, self.n_classes = model, float(spec["power"]), model.n_classes
        _require(0 < self.power < math.inf, "power")

    def log_proba(self, batch):
        return _log_softmax_or_lost(self.model.log_proba(batch) * self.power)

    def decision(self, batch):
        if getattr(self.model, "link", None) == "mean":  # trees that have no log-odds
            proba = self.proba(batch)
            return proba[:, 1:] if self.n_classes == 2 else proba
        return self.model.decision(batch) * self.power

    def proba(self, batch):
        return np.exp(self.log_proba(batch))


class _Aligned:
    """Probabilities in the order of other classes, zero for those that the model lacks."""

    def __init__(self, spec, model):
        self.model, self.place, self.n_classes = model, spec["place"], spec["n_classes"]
        _require(len(self.place) == model.n_classes == len(set(self.place)), "places of classes")
        is_place = [isinstance(p, int) and 0 <= p < self.n_classes for p in self.place]
        _require(all(is_place), "places of classes")

    def log_proba(self, batch):
        known = self.model.log_proba(batch)
        log_proba = np.full((len(known), self.n_classes), -np.inf)
        log_proba[:, self.place] = known
        return log_proba

    def proba(self, batch):
        known = self.model.proba(batch)
        proba = np.zeros((len(known), self.n_classes))
        proba[:, self.place] = known
        return proba


class _WithPrior:
    """Probabilities times the factors of another class prior, normalized."""

    def __init__(self, spec, arrays, model):
        self.model, self.n_classes = model, model.n_classes
        self.log_prior = arrays.take(spec["log_prior"], ndim=1)
        _require(len(self.log_prior) == self.n_classes, "class prior")
        _require(self.log_prior.max() < math.inf and np.isfinite(self.log_prior).any(), "prior")

    def log_proba(self, batch):
        shifted = self.model.log_proba(batch) + self.log_prior
        # if all classes that the model considers have a prior of zero, the prior alone remains
        shifted[np.isneginf(shifted).all(axis=1)] = self.log_prior
        return _log_softmax_or_lost(shifted)

    def proba(self, batch):
        return np.exp(self.log_proba(batch))


def _log_softmax_or_lost(logits):
    """Return `_log_softmax` of logits of which some may be minus infinity."""
    highest = logits.max(axis=1, keepdims=True)
    logits = logits - highest
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


class _Calibrated:
    """Calibrated probabilities of the decision values of a model."""

    def __init__(self, spec, arrays, model):
        self.model, self.method, self.n_classes = model, spec["method"], model.n_classes
        _require(hasattr(model, "decision"), "model with decision values")
        self.curves = [arrays.take(number, ndim=2) for number in spec["curves"]]
        shapes = {"sigmoid": (1, 2), "isotonic": (2, None), "temperature": (1, 1)}
        _require(self.method in shapes, "method of calibration")
        for curve in self.curves:
            rows, columns = shapes[self.method]
            _require(len(curve) == rows and curve.shape[1] == (columns or curve.shape[1]), "curve")
            _require(curve.shape[1] > 0 and np.isfinite(curve).all(), "curve")
        n_curves = 1 if self.method == "temperature" or self.n_classes == 2 else self.n_classes
        _require(len(self.curves) == n_curves, "number of curves")
        self.of_proba = bool(spec["of_proba"])

    def log_proba(self, batch):
        with np.errstate(divide="ignore"):
            return np.log(self.proba(batch))

    def proba(self, batch):
        values = self.model.decision(batch)
        if self.method == "temperature":
            if self.of_proba:
                values = np.concatenate([1 - values, values], 1) if values.shape[1] == 1 else values
                values = np.log(values + 1e-12)
            elif values.shape[1] == 1:
                values = np.concatenate([-values, values], axis=1)
            return np.exp(_log_softmax(values * self.curves[0][0, 0]))
        proba = np.column_stack(
            [
                self._calibrate(value, curve)
                for value, curve in zip(values.T, self.curves, strict=True)
            ]
        )
        if proba.shape[1] == 1:
            return np.column_stack([1 - proba, proba])
        total = proba.sum(axis=1, keepdims=True)
        return np.where(total > 0, proba / np.where(total > 0, total, 1.0), 1 / proba.shape[1])

    def _calibrate(self, values, curve):
        if self.method == "isotonic":
            return np.interp(values, *curve)
        slope, intercept = curve[0]
        return np.exp(-np.logaddexp(0, slope * values + intercept))


class _Mean:
    """Mean probabilities of several models."""

    def __init__(self, models):
        _require(len({model.n_classes for model in models}) == 1, "models")
        self.models, self.n_classes = models, models[0].n_classes

    def log_proba(self, batch):
        with np.errstate(divide="ignore"):
            return np.log(self.proba(batch))

    def proba(self, batch):
        return sum(model.proba(batch) for model in self.models) / len(self.models)


class _Numbers:
    """Numbers in the units of the targets.

    The values of a model are multiplied by a scale and added to an offset, and are logarithms if
    the link says so. Those of quantiles, which are sorted, are the values of the first target, then
    those of the second one and so on.
    """

    n_classes = None

    def __init__(self, spec, arrays, model):
        _require(hasattr(model, "numbers"), "model of numbers")
        self.model, self.inverse = model, INVERSE_LINKS[spec["link"]]
        self.scale, self.offset = (arrays.take(spec[name], ndim=1) for name in ("scale", "offset"))
        _require(len(self.scale) == len(self.offset) == model.n_values, "units")
        _require(np.isfinite(self.scale).all() and np.isfinite(self.offset).all(), "units")
        n_targets, quantiles = spec["n_targets"], spec["quantiles"]
        self.is_flat, self.n_targets = n_targets is None, 1 if n_targets is None else n_targets
        self.n_values, self.quantiles = model.n_values, None
        self.n_levels, self.center = 1, 0
        if quantiles is not None:
            levels, self.center, self.asked = (quantiles[k] for k in ("levels", "center", "asked"))
            self.n_levels, places = len(levels), [self.center, *self.asked]
            is_place = [isinstance(i, int) and 0 <= i < self.n_levels for i in places]
            _require(all(is_place), "quantiles")
            self.quantiles = np.array([float(levels[i]) for i in self.asked])
        _require(isinstance(self.n_targets, int), "number of targets")
        _require(self.n_targets * self.n_levels == self.n_values, "number of targets")

    def numbers(self, batch):
        """Return the values of all targets and quantiles, (n, n_values)."""
        values = self.model.numbers(batch) * self.scale + self.offset
        if self.inverse is not None:
            values = self.inverse(values)
        if self.quantiles is None:
            return values
        return np.sort(self._by_target(values), axis=2).reshape(values.shape)

    def _by_target(self, values):
        return values.reshape(len(values), self.n_targets, self.n_levels)

    def predictions(self, batch):
        """Return the numbers of rows, (n,) or (n, n_targets)."""
        found = self._by_target(self.numbers(batch))[:, :, self.center]
        return found[:, 0] if self.is_flat else found

    def quantile_values(self, batch):
        """Return the quantiles of rows, (n, n_quantiles) or (n, n_targets, n_quantiles)."""
        found = self._by_target(self.numbers(batch))[:, :, self.asked]
        return found[:, 0] if self.is_flat else found


#: Functions from logarithms, and from other values of a link, to numbers.
INVERSE_LINKS = {"identity": None, "log": np.exp, "log1p": np.expm1}


def _rescaled(model, power, shift):
    """Return whether logits of a network could be multiplied and shifted in its last layer."""
    if not isinstance(model, _Layers) or model.signs is not None or not np.isfinite(shift).all():
        return False
    shift = shift if len(shift) > 2 else shift[1:] - shift[:1]
    if model.layers:
        weights, bias = model.layers[-1]
        model.layers[-1] = weights * power, bias * power + shift
    else:
        model.values, model.slopes = model.values * power, model.slopes * power
        model.bias = model.bias * power + shift
    return True


def _answer(spec, arrays, labels, kinds):
    """Return the model that gives the probabilities or the numbers."""
    kind = spec["kind"]
    if kind == "layers":
        return _Layers(spec, arrays, labels, kinds)
    if kind == "trees":
        return _Trees(spec, arrays, labels, kinds)
    models = [_answer(each, arrays, labels, kinds) for each in spec["models"]]
    if kind == "mean":
        return _Mean(models)
    _require(len(models) == 1, "models")
    if kind == "tempered":
        model = _Tempered(spec, *models)
        folds = _rescaled(model.model, model.power, np.zeros(model.n_classes))
        return model.model if folds else model
    if kind == "numbers":
        return _Numbers(spec, arrays, *models)
    if kind == "calibrated":
        return _Calibrated(spec, arrays, *models)
    if kind == "aligned":
        return _Aligned(spec, *models)
    _require(kind == "prior", "kind of model")
    model = _WithPrior(spec, arrays, *models)
    return model.model if _rescaled(model.model, 1.0, model.log_prior) else model


class _Arrays:
    """The arrays of a file, by number."""

    def __init__(self, arrays):
        self.arrays = arrays

    def integers(self, number):
        """Return an array of one dimension in intp."""
        array = self.take(number, ndim=1)
        _require((np.abs(array) < 2**31).all() and (array == np.floor(array)).all(), "integers")
        return array.astype(np.intp)

    def take(self, number, ndim=None):
        """Return an array in float64."""
        _require(isinstance(number, int) and 0 <= number < len(self.arrays), "number of an array")
        array = self.arrays[number]
        _require(ndim is None or array.ndim == ndim, "dimensions of an array")
        return array


def _are_names(names, n_columns):
    is_text = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return is_text and len(names) == len(set(names)) == n_columns


def _labels(labels, dtype):
    """Return labels as an array of a dtype, of which no file can ask for much memory."""
    _require(isinstance(labels, list) and isinstance(dtype, str), "classes")
    kind = "object" if dtype == "object" else np.dtype(dtype).kind
    is_text = all(isinstance(label, str) for label in labels)
    is_number = all(isinstance(label, bool | int | float) for label in labels)
    _require(is_text if kind in ("object", "U") else (is_number and kind in "biuf"), "classes")
    if kind == "U":
        _require(np.dtype(dtype).itemsize * len(labels) <= MAX_UNPACKED, "classes")
    return np.array(labels, dtype=dtype)


def _require(condition, what):
    if not condition:
        raise ValueError(f"the file holds no valid model: {what}.")


def pack(spec, arrays):
    """Return the bytes of a file.

    Parameters
    ----------
    spec : dict
        What JSON can hold.
    arrays : list of ndarray or (ndarray of int8, ndarray of float32)
        An int8 array has a scale for each position of its last axis.
    """
    entries, blobs = [], []
    for array in arrays:
        array, scale = array if isinstance(array, tuple) else (array, None)
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        entries.append([array.dtype.str, list(array.shape), scale is not None])
        blobs.append(array.tobytes())
        if scale is not None:
            blobs.append(scale.astype("<f4").tobytes())
    text = json.dumps({**spec, "arrays": entries}, separators=(",", ":"), allow_nan=False).encode()
    raw = struct.pack("<I", len(text)) + text + b"".join(blobs)
    body = struct.pack("<Q", len(raw)) + zlib.compress(raw, 9)
    return HEADER.pack(MAGIC, FORMAT, hashlib.sha256(body).digest(), len(body)) + body


def _unpack(data):
    """Return the description of a model and its arrays from the bytes of a file."""
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        raise ValueError("the file is no compact model, or is cut short.")
    _, version, digest, length = HEADER.unpack_from(data)
    if version > FORMAT:
        raise ValueError(
            f"the file has the format {version}, and this version of sklearn_kd reads formats up "
            f"to {FORMAT}: take a newer one."
        )
    body = data[HEADER.size :]
    if len(body) != length:
        raise ValueError(f"the file is cut short: it has {len(body)} of {length} bytes.")
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("the file was changed after it was written: its checksum differs.")
    try:
        (size,) = struct.unpack_from("<Q", body)
        _require(size <= MAX_UNPACKED, "size")
        raw = zlib.decompressobj().decompress(body[8:], size + 1)
        _require(len(raw) == size, "size")
        (n_text,) = struct.unpack_from("<I", raw)
        _require(4 + n_text <= len(raw), "size")
        spec = json.loads(raw[4 : 4 + n_text])
        return spec, _read_arrays(spec["arrays"], raw[4 + n_text :])
    except (KeyError, TypeError, struct.error, zlib.error, RecursionError, OverflowError) as error:
        raise ValueError(f"the file holds no valid model: {error!r}.") from error


def _read_arrays(entries, blob):
    arrays, start, n_numbers = [], 0, 0
    for name, shape, is_scaled in entries:
        _require(name in ("<f8", "<f4", "<f2", "|i1", "<i2", "<i4"), "dtype of an array")
        _require(all(isinstance(n, int) and n >= 0 for n in shape), "shape of an array")
        dtype, count = np.dtype(name), math.prod(shape)
        n_numbers += count
        _require(len(shape) > 0 and 8 * n_numbers <= MAX_UNPACKED, "size of an array")
        end = start + count * dtype.itemsize
        _require(end <= len(blob), "size of an array")
        array = np.frombuffer(blob[start:end], dtype=dtype).reshape(shape).astype(np.float64)
        if is_scaled:
            start, end = end, end + 4 * shape[-1]
            _require(end <= len(blob), "size of an array")
            array = array * np.frombuffer(blob[start:end], dtype="<f4").astype(np.float64)
        _require(not np.isnan(array).any(), "a number")
        arrays.append(array)
        start = end
    _require(start == len(blob), "size")
    return arrays
