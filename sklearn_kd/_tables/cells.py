"""Cells of a column of a table: whether they are numbers or levels, and their values."""

from numbers import Integral, Number, Real
from typing import NamedTuple

import numpy as np

#: Types of cells that are levels.
TEXT, TRUTH = (str, np.str_), (bool, np.bool_)
#: A column of strings is free text if it has at least so many distinct values and at least half of
#: these have so many characters. Names of people and most addresses are shorter.
MIN_TEXTS, MIN_TEXT_LENGTH = 100, 40


class Levels(NamedTuple):
    """Position of the level of each cell, -1 for a missing cell, and the distinct levels."""

    codes: np.ndarray  # (n,) intp
    values: list  # of str, bool, int or float


def read_cells(values, name, *, as_levels):
    """Read a column of training rows.

    Parameters
    ----------
    values : Series or ndarray of shape (n,)
    name : str or int
        Of the column, for messages.
    as_levels : bool
        Whether numbers are levels too.

    Returns
    -------
    ndarray of float64 of shape (n,), with NaN for missing cells, or Levels

    Raises
    ------
    TypeError, ValueError
        For cells that are neither numbers, truth values nor strings, for columns that mix numbers
        and strings, for infinite numbers and for free text. The message names the column.
    """
    import pandas as pd  # slow to import, so not at the top

    if isinstance(values.dtype, pd.SparseDtype):
        values = values.sparse.to_dense()
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return read_levels(values, name)
    is_truth = pd.api.types.is_bool_dtype(dtype)
    if not _is_object(dtype) and not isinstance(dtype, pd.StringDtype) and dtype.kind not in "US":
        if not (is_truth or as_levels):
            return read_numbers(values, name)
        return read_levels(values, name)
    is_numeric = False
    if _is_object(dtype):
        kinds = _kinds(values, name)
        is_numeric = bool(kinds) and not kinds & {"text"} and kinds != {"truth"}
        if "text" in kinds and len(kinds) > 1:
            raise TypeError(
                f"column {name!r} of X mixes numbers and strings: make all of its cells numbers, "
                "with missing cells where there is none, or all of them strings."
            )
    if is_numeric and not as_levels:
        return read_numbers(values, name)
    levels = read_levels(values, name)
    _check_is_no_text(levels.values, name)
    return levels


def _is_object(dtype):
    return isinstance(dtype, np.dtype) and dtype.kind == "O"


def _kinds(values, name):
    """Return which of "number", "truth" and "text" the cells of an object column are."""
    cells = np.asarray(values)
    found = set()
    for kind in set(map(type, cells[~_is_missing(cells)])):
        if issubclass(kind, TRUTH):
            found.add("truth")
        elif issubclass(kind, TEXT):
            found.add("text")
        elif issubclass(kind, Real) or (
            issubclass(kind, Number) and not issubclass(kind, complex | np.complexfloating)
        ):
            found.add("number")
        else:
            _refuse(name, kind.__name__, cells)
    return found


def _is_missing(cells):
    import pandas as pd

    return np.asarray(pd.isna(cells))


def numbers_of_dates(name, values, kind=""):
    """Return code that makes numbers of a column of dates, times or durations, None for others.

    Parameters
    ----------
    name : str or int
    values : Series or ndarray of shape (n,)
    kind : str, default=""
        Name of the type of some of the cells.
    """
    import pandas as pd

    column, is_object = f"X[{name!r}]", _is_object(values.dtype)
    text = f"{kind} {values.dtype} {pd.api.types.infer_dtype(values, skipna=True)}".lower()
    if "timedelta" in text or "duration" in text:
        column = f"pd.to_timedelta({column})" if is_object else column
        return f"{column}.dt.total_seconds()"
    if "time" in text.split():
        return f"{column}.map(lambda time: time.hour, na_action='ignore')"
    if "date" in text or "period" in text or "timestamp" in text:
        column = f"pd.to_datetime({column})" if is_object else column
        return f"{column}.dt.year"
    return None


def _refuse(name, kind, values=None):
    """Raise the error for cells of another kind, which says what to do.

    ``values`` is the column that may hold dates.
    """
    numbers, text = None if values is None else numbers_of_dates(name, values, kind), kind.lower()
    if numbers is not None:
        advice = f"pass numbers or categories derived from it, for example {numbers}"
        if numbers.endswith("year"):
            advice += ", or use skrub.DatetimeEncoder"
    elif "complex" in text:
        advice = "pass real and imaginary parts as columns"
    elif "bytes" in text:
        advice = "decode them to strings"
    else:
        advice = "leave the column out of X, or pass columns of numbers or strings in its place"
    raise TypeError(
        f"column {name!r} of X has cells of the type {kind}, and TableEncoder takes numbers, "
        f"booleans, strings and categories: {advice}."
    )


def _check_is_no_text(levels, name):
    if len(levels) < MIN_TEXTS or not isinstance(levels[0], str):
        return
    n_long = sum(len(level) >= MIN_TEXT_LENGTH for level in levels)
    if 2 * n_long >= len(levels):
        raise ValueError(
            f"column {name!r} of X is free text: {n_long} of its {len(levels)} distinct values "
            f"have {MIN_TEXT_LENGTH} characters or more. Leave the column out of X, or pass "
            "columns derived from it, for example with skrub.StringEncoder or TfidfVectorizer and "
            "TruncatedSVD."
        )


def read_numbers(values, name):
    """Return the numbers of a column as float64, with NaN for missing cells.

    Raises
    ------
    TypeError
        If a cell is no number.
    ValueError
        If a number is infinite.
    """
    import pandas as pd

    dtype = values.dtype
    if isinstance(dtype, pd.SparseDtype):
        return read_numbers(values.sparse.to_dense(), name)
    if isinstance(dtype, pd.CategoricalDtype | pd.StringDtype) or _is_object(dtype):
        numbers = _object_numbers(np.asarray(values, dtype=object), name)
    elif not pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_complex_dtype(dtype):
        kinds = {"U": "str", "S": "bytes"}
        if dtype.kind in kinds:
            _refuse_text(name, values[0])
        _refuse(name, str(dtype), values)
    elif isinstance(dtype, np.dtype):
        numbers = np.asarray(values, dtype=np.float64)
    else:
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    check_finite(numbers, name)
    return numbers


def check_finite(numbers, name):
    """Raise ValueError for infinite numbers, but not for NaN."""
    if np.isinf(numbers).any():
        raise ValueError(f"column {name!r} of X contains infinity: make these cells missing.")


def _refuse_text(name, cell):
    raise TypeError(
        f"column {name!r} of X holds the string {str(cell)!r}, and held numbers when the encoder "
        "was fitted: pass numbers, with missing cells where there is none."
    )


def _object_numbers(cells, name):
    missing = _is_missing(cells)
    present = cells[~missing]
    if "text" in _kinds(cells, name):
        _refuse_text(name, next(cell for cell in present if isinstance(cell, TEXT)))
    numbers = np.full(len(cells), np.nan)
    try:
        numbers[~missing] = present.astype(np.float64)
    except OverflowError as error:
        raise ValueError(
            f"column {name!r} of X has integers that are too large for float64: pass them as "
            "strings if they are identifiers, or scale them."
        ) from error
    return numbers


def read_levels(values, name):
    """Return the levels of a column."""
    import pandas as pd

    if isinstance(values.dtype, pd.SparseDtype):
        values = values.sparse.to_dense()
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, found = values.cat.codes.to_numpy(), values.cat.categories
    else:
        try:
            codes, found = pd.factorize(values)
        except TypeError:  # cells without a hash, which are refused by their types
            _kinds(values, name)
            raise
    levels = [_plain(level, name) for level in np.asarray(found, dtype=object)]
    codes = codes.astype(np.intp)
    if len(set(levels)) < len(levels):  # such as an interval and its name
        distinct = list(dict.fromkeys(levels))
        position = {level: code for code, level in enumerate(distinct)}
        codes = np.array([*(position[level] for level in levels), -1], dtype=np.intp)[codes]
        levels = distinct
    return Levels(codes, levels)


def _plain(level, name):
    """Return a level as an object of Python that files of any kind can hold."""
    if isinstance(level, str):
        return str(level)
    if isinstance(level, TRUTH):
        return bool(level)
    if isinstance(level, Integral):  # not by float, which has no digit for all above 2^53
        return int(level)
    if isinstance(level, Real):
        number = float(level)
        if np.isinf(number):
            raise ValueError(f"column {name!r} of X contains infinity: make these cells missing.")
        return int(number) if number.is_integer() else number
    if isinstance(level, bytes | complex | np.complexfloating | dict | list | set | np.ndarray):
        _refuse(name, type(level).__name__)
    return str(level)  # such as the intervals of pd.cut
