"""Preprocessing steps as functions of single raw columns.

Each step that can be exported makes new columns of one column each, so that a column before a model
is either a raw column, scaled and with missing cells replaced (`RawColumn`), or a function of the
state of a raw column (`Feature`).
"""

import math
import warnings
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectorMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils import check_array

from sklearn_kd._tables.encoder import TableEncoder, column_readings, state_table
from sklearn_kd._utils.sklearn_compat import encoded_widths, input_positions

#: Codes of the steps of scaling, and what they are: (x - a) / b, x * a + b, min(max(x, a), b).
SUBTRACT_DIVIDE, MULTIPLY_ADD, CLIP = 0, 1, 2
#: A level that no table has.
UNKNOWN_LEVEL = "\x00unknown\x00"


class ExportError(ValueError):
    """A model has a part that cannot be exported."""


@dataclass(frozen=True)
class RawColumn:
    """Raw column, with the steps of scaling that follow, and what replaces a missing cell then."""

    index: int
    steps: tuple = ()  # of (code, a, b)
    fill: object = None

    def scaled(self, *step):
        """Return the column after another step of scaling."""
        fill = self.fill
        if fill is not None:
            if isinstance(fill, str):
                raise ExportError("a column of text is scaled.")
            fill = float(apply_steps(np.float64(fill), [step]))
        return RawColumn(self.index, (*self.steps, step), fill)


def raw_columns(n_columns):
    """Return the columns of a table."""
    return [RawColumn(j) for j in range(n_columns)]


@dataclass(frozen=True, eq=False)
class Source:
    """States of the cells of a raw column."""

    column: RawColumn
    n_states: int
    # of numbers: pieces between edges, and then, if there is one, the state of missing cells
    edges: np.ndarray | None = None
    low: float = -math.inf
    high: float = math.inf
    has_missing: bool = False
    # of levels: level to state, and the states of other levels and of missing cells
    lookup: dict = field(default_factory=dict)
    other: int | None = None
    missing: int | None = None

    @property
    def is_number(self):
        return self.edges is not None


@dataclass(frozen=True, eq=False)
class Feature:
    """Function of the state of a raw column: ``values[state] + slopes[state] * delta``.

    Delta is the distance of a number from the lower edge of its piece, in widths of the piece.
    """

    source: Source
    values: np.ndarray
    slopes: np.ndarray | None = None  # none for levels
    steps: tuple = ()

    def scaled(self, *step):
        """Return the feature after another step of scaling."""
        return replace(self, steps=(*self.steps, step))

    def folded(self):
        """Return values and slopes after the steps of scaling, which have to be affine."""
        values, slopes = self.values, self.slopes
        for code, a, b in self.steps:
            if code == CLIP and slopes is not None:
                raise ExportError("a scaled piece of a number is clipped.")
            values = apply_steps(values, [(code, a, b)])
            if slopes is not None:
                slopes = slopes / b if code == SUBTRACT_DIVIDE else slopes * a
        return values, slopes


def apply_steps(numbers, steps):
    """Return numbers after steps of scaling."""
    for code, a, b in steps:
        if code == SUBTRACT_DIVIDE:
            numbers = (numbers - a) / b
        elif code == MULTIPLY_ADD:
            numbers = numbers * a + b
        else:
            numbers = np.clip(numbers, a, b)
    return numbers


def as_feature(column, *, takes_missing=False):
    """Return a raw column of numbers as a feature, and a feature as it is."""
    if isinstance(column, Feature):
        return column
    if isinstance(column.fill, str):
        raise ExportError("a column of text is no input of a model.")
    source = Source(
        column, 1 + takes_missing, edges=np.array([0.0, 1.0]), has_missing=takes_missing
    )
    values = np.array([0.0, math.nan][: source.n_states])
    return Feature(source, values, np.array([1.0, 0.0][: source.n_states]))


def after_step(step, columns):
    """Return the columns after a fitted transformer.

    Parameters
    ----------
    step : fitted transformer, "passthrough" or None
    columns : list of RawColumn or Feature

    Returns
    -------
    list of RawColumn or Feature

    Raises
    ------
    ExportError
        For a transformer that is no function of single columns, or is not known.
    """
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return columns
    for kind, function in STEPS.items():
        if isinstance(step, kind) and is_known(step):
            return function(step, columns)
    raise ExportError(
        f"the step {type(step).__name__} is none of those that can be written, which the guide to "
        "deployment lists"
    )


def is_known(estimator):
    """Return whether an estimator is of scikit-learn or of this package.

    A subclass elsewhere may have other predictions.
    """
    return type(estimator).__module__.split(".")[0] in ("sklearn", "sklearn_kd")


def _pipeline(step, columns):
    for _, each in step.steps:
        columns = after_step(each, columns)
    return columns


def _column_transformer(step, columns):
    found = [None] * sum(s.stop - s.start for s in step.output_indices_.values())
    inputs = input_positions(step)
    for name, transformer, _ in step.transformers_:
        if (isinstance(transformer, str) and transformer == "drop") or not len(inputs[name]):
            continue  # one without columns was not fitted
        part = after_step(transformer, [columns[j] for j in inputs[name]])
        weight = (step.transformer_weights or {}).get(name)
        if weight is not None:
            part = [column.scaled(MULTIPLY_ADD, float(weight), 0.0) for column in part]
        place = step.output_indices_[name]
        if len(part) != place.stop - place.start:
            raise ExportError(f"the transformer {name!r} has columns that were not expected")
        found[place] = part
    return found


def _function(step, columns):
    # what HistGradientBoosting checks its rows with
    if step.func is not None and getattr(step.func, "func", step.func) is not check_array:
        raise ExportError("a FunctionTransformer may do anything")
    return columns


def _selector(step, columns):
    return [column for column, is_kept in zip(columns, step.get_support(), strict=True) if is_kept]


def _scaled(columns, code, a, b):
    return [
        column.scaled(code, float(first), float(second))
        for column, first, second in zip(columns, a, b, strict=True)
    ]


def _standard(step, columns):
    ones = np.ones(len(columns))
    offset = step.mean_ if step.with_mean else 0 * ones
    return _scaled(columns, SUBTRACT_DIVIDE, offset, ones if step.scale_ is None else step.scale_)


def _robust(step, columns):
    ones = np.ones(len(columns))
    center = 0 * ones if step.center_ is None else step.center_
    return _scaled(columns, SUBTRACT_DIVIDE, center, ones if step.scale_ is None else step.scale_)


def _max_abs(step, columns):
    zeros = np.zeros(len(columns))
    columns = _scaled(columns, SUBTRACT_DIVIDE, zeros, step.scale_)
    return _scaled(columns, CLIP, zeros - 1, zeros + 1) if getattr(step, "clip", False) else columns


def _min_max(step, columns):
    columns = _scaled(columns, MULTIPLY_ADD, step.scale_, step.min_)
    if step.clip:
        ones = np.ones(len(columns))
        columns = _scaled(columns, CLIP, *(ones * bound for bound in step.feature_range))
    return columns


def _raw(columns, step):
    if not all(isinstance(column, RawColumn) for column in columns):
        raise ExportError(f"the step {type(step).__name__} reads columns that another step made")
    return columns


def _imputer(step, columns):
    if not pd.isna(step.missing_values):
        raise ExportError(f"SimpleImputer replaces {step.missing_values!r}, and not missing cells")
    found = []
    for column, fill in zip(_raw(columns, step), step.statistics_, strict=True):
        if pd.isna(fill):  # a column that had missing cells alone
            if not step.keep_empty_features:
                continue
            fill = 0
        if column.fill is None:
            column = replace(column, fill=fill if isinstance(fill, str) else float(fill))
        found.append(column)
    if step.indicator_ is not None:
        found += _indicator(step.indicator_, columns)
    return found


def _indicator(step, columns):
    found = []
    for j in step.features_:
        if columns[j].fill is not None:
            raise ExportError("an indicator of cells that another SimpleImputer has filled")
        source = Source(RawColumn(columns[j].index), 2, lookup={}, other=0, missing=1)
        found.append(Feature(source, np.array([0.0, 1.0])))
    return found


def _table_encoder(step, columns):
    readings, (values, slopes) = column_readings(step), state_table(step)
    found, state, encoded = [], 0, 0
    for column, reading in zip(columns, readings, strict=True):
        n_states, n_encoded = reading.n_states, reading.n_encoded
        block = slice(state, state + n_states), slice(encoded, encoded + n_encoded)
        state, encoded = state + n_states, encoded + n_encoded
        if isinstance(column, Feature):
            parts = _encoded_feature(column, reading, values[block], slopes[block])
            source = column.source
        elif reading.edges is not None:
            edges = reading.edges if len(reading.edges) > 1 else np.array([0.0, 1.0])
            bounds = {"low": reading.low, "high": reading.high, "has_missing": True}
            source = Source(column, n_states, edges=edges, **bounds)
            parts = zip(values[block].T, slopes[block].T, strict=True)
        else:
            if column.steps:
                raise ExportError("TableEncoder reads levels of a column that was scaled")
            lookup = {level: code for code, level in enumerate(reading.levels)}
            missing = n_states - 1
            if column.fill is not None:
                missing = lookup.get(column.fill, n_states - 2)
            raw = replace(column, fill=None)
            source = Source(raw, n_states, lookup=lookup, other=n_states - 2, missing=missing)
            parts = ((each, None) for each in values[block].T)
        found += [Feature(source, *part) for part in parts]
    return found


def _encoded_feature(feature, reading, values, slopes):
    """Return the values of encoded columns in each state of a feature, with no slopes."""
    if feature.source.is_number or reading.edges is None:
        raise ExportError("TableEncoder reads a column that another step made")
    numbers = apply_steps(feature.values, feature.steps)
    edges = reading.edges if len(reading.edges) > 1 else np.array([0.0, 1.0])
    bounded = np.clip(numbers, reading.low, reading.high)
    piece = np.where(
        np.isnan(numbers), len(edges) - 1, np.searchsorted(edges[1:-1], bounded, side="right")
    )
    delta = (bounded - edges[:-1].take(piece, mode="clip")) / np.diff(edges).take(
        piece, mode="clip"
    )
    encoded = values[piece] + np.nan_to_num(delta)[:, None] * slopes[piece]
    return ((each, None) for each in encoded.T)


def _nominal(step, columns):
    """Return the columns of an encoder of categories, from what it makes of each level."""
    found, levels, unknown, missing = [], [], [], []
    for column, categories in zip(_raw(columns, step), step.categories_, strict=True):
        if column.steps:
            raise ExportError(f"{type(step).__name__} reads a column that was scaled")
        levels.append([level for level in categories.tolist() if not pd.isna(level)])
        missing.append([_missing_cell(categories) if column.fill is None else column.fill])
        unknown.append([_unknown_cell(categories, levels[-1], missing[-1][0])])
    parts = [_encoded_cells(step, cells) for cells in (levels, unknown, missing)]
    ends = np.cumsum(encoded_widths(step)).tolist()
    for j, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        rows, states = [], []
        for cells, of_columns in zip((levels, unknown, missing), parts, strict=True):
            part = of_columns[j]
            states.append(None if part is None else len(rows))
            rows += [] if part is None else list(part[: len(cells[j]), start:end])
        source = Source(
            replace(columns[j], fill=None),
            len(rows),
            lookup={level: code for code, level in enumerate(levels[j])},
            other=states[1],
            missing=states[2],
        )
        values = np.array(rows, dtype=np.float64).reshape(len(rows), end - start)
        found += [Feature(source, each) for each in values.T]
    return found


def _unknown_cell(categories, levels, missing):
    """Return a cell that an encoder does not know."""
    if categories.dtype.kind in "OUS":
        return UNKNOWN_LEVEL
    if categories.dtype.kind == "b":
        return missing  # a column of booleans has no other level
    if categories.dtype.kind == "f":
        return np.nextafter(max(levels, default=0.0), np.inf)
    if categories.dtype.kind in "iu":
        return max(levels, default=0) + 1
    raise ExportError(f"an encoder has categories of the dtype {categories.dtype}")


def _encoded_cells(step, cells):
    """Return for each column the encoded rows of its cells, or None where they are refused."""
    n_rows = max(len(each) for each in cells)
    joint = _encoded(step, cells, n_rows)
    if joint is not None:
        return [joint] * len(cells)
    known = [[categories[0]] for categories in step.categories_]
    return [
        _encoded(step, [*known[:j], each, *known[j + 1 :]], len(each))
        for j, each in enumerate(cells)
    ]


def _missing_cell(categories):
    """Return the missing cell that an encoder knows, or NaN."""
    known = [cell for cell in categories.tolist() if pd.isna(cell)]
    if len(known) > 1:
        raise ExportError("an encoder has None and NaN as different categories")
    return known[0] if known else math.nan


def _encoded(step, cells, n_rows):
    """Return encoded rows, (n_rows, n_encoded), or None where the encoder refuses them.

    ``cells`` are those of each column, of which the last one is repeated.
    """
    table = {}
    for i, (column, categories) in enumerate(zip(cells, step.categories_, strict=True)):
        column = column or [categories[0]]  # one that has missing cells alone
        column = [*column, *column[-1:] * (n_rows - len(column))]
        is_object = categories.dtype.kind in "OUS"
        table[i] = pd.Series(column, dtype=object if is_object else None)
    table = pd.DataFrame(table)
    if hasattr(step, "feature_names_in_"):
        table.columns = step.feature_names_in_
    elif all(dtype.kind != "O" for dtype in table.dtypes):
        table = table.to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            encoded = step.transform(table)
        except ValueError:
            return None
    return np.asarray(encoded.todense() if hasattr(encoded, "todense") else encoded, dtype=float)


STEPS = {
    Pipeline: _pipeline,
    ColumnTransformer: _column_transformer,
    FunctionTransformer: _function,
    SelectorMixin: _selector,
    StandardScaler: _standard,
    RobustScaler: _robust,
    MaxAbsScaler: _max_abs,
    MinMaxScaler: _min_max,
    SimpleImputer: _imputer,
    TableEncoder: _table_encoder,
    OneHotEncoder: _nominal,
    OrdinalEncoder: _nominal,
}
