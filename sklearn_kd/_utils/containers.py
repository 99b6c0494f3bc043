"""Containers of rows (arrays, DataFrames of several libraries, lists) and their concatenation."""

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import scipy.sparse as sp

from sklearn_kd._utils.sklearn_compat import num_samples
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import TransferRowsWarning


def own_copy(rows):
    """Return a copy of rows or targets for an estimator, which may write into it.

    Containers of other libraries, into which no estimator writes, are returned as they are.
    """
    if isinstance(rows, np.ndarray):
        return rows.copy(order="K")
    if isinstance(rows, list) or sp.issparse(rows) or hasattr(rows, "iloc"):
        return rows.copy()
    return rows


def warn_if_sliceable(rows, n_samples, name):
    """Warn if a search would take other rows for metadata of the rows that it slices."""
    if rows is not None and num_samples(rows) == n_samples:
        warn_caller(
            f"{name} has as many rows as X ({n_samples}), so that a search or a "
            "cross-validation mistakes it for metadata of these rows and slices it.",
            TransferRowsWarning,
        )


def is_dataframe(X):
    """Return whether X is a DataFrame of pandas, polars or another library that narwhals reads."""
    return (hasattr(X, "iloc") and hasattr(X, "columns")) or nw.dependencies.is_into_dataframe(X)


def is_series(X):
    """Return whether X is a Series of pandas, polars or another library that narwhals reads."""
    return nw.dependencies.is_into_series(X)


def known_container(X):
    """Return rows in a container of an unknown library as an array, and others as they are."""
    is_known = isinstance(X, np.ndarray) or sp.issparse(X) or is_dataframe(X) or is_series(X)
    return X if is_known or not hasattr(X, "__array__") else np.asarray(X)


def as_pandas(X):
    """Return a DataFrame or Series of another library as one of pandas.

    Other values than numbers and booleans become Python objects. The conversions of the libraries
    themselves need pyarrow.
    """
    if hasattr(X, "iloc"):
        return X
    X = nw.from_native(X, eager_only=True, allow_series=True)
    if isinstance(X, nw.Series):
        return pd.Series(_pandas_array(X))
    frame = pd.DataFrame(dict(enumerate(map(_pandas_array, X.iter_columns()))))
    return frame.set_axis(X.columns, axis=1)


def _pandas_array(series):
    """Return the values of a narwhals Series as an array that pandas takes."""
    missing, dtype = series.is_null().to_numpy(), series.dtype
    if isinstance(dtype, nw.Int128 | nw.UInt128):  # which NumPy does not have
        return _object_array(series.to_list())
    if dtype.is_float() or (dtype.is_integer() and not missing.any()):
        return series.to_numpy()
    if dtype.is_integer():
        return pd.arrays.IntegerArray(series.fill_null(0).to_numpy().copy(), missing.copy())
    if dtype == nw.Boolean:
        return pd.arrays.BooleanArray(series.fill_null(False).to_numpy().copy(), missing.copy())
    if isinstance(dtype, nw.String | nw.Categorical | nw.Enum):
        return series.to_numpy()
    return _object_array(series.to_list())


def _object_array(items):
    """Return a one-dimensional array of items, which may be lists or arrays themselves."""
    items = list(items)
    array = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):  # NumPy would take equally long items for rows
        array[place] = item
    return array


def frame_like(X, values):
    """Return an array as a DataFrame of the library of X, with the columns of X."""
    if hasattr(X, "iloc"):
        return type(X)(values, columns=X.columns)
    backend = nw.from_native(X).implementation
    return nw.from_numpy(values, schema=list(X.columns), backend=backend).to_native()


def in_column_order(X, more):
    """Return a DataFrame with its columns in the order of those of X, and all else as it is.

    Models that were fitted on X refuse a DataFrame with its columns in another order.
    """
    if not (is_dataframe(X) and is_dataframe(more)):
        return more
    names = list(X.columns)
    if list(more.columns) == names or set(more.columns) != set(names):
        return more
    if hasattr(more, "iloc"):
        return more[names]
    return nw.from_native(more).select(names).to_native()


def stack_rows(X, more, source="X_unlabeled"):
    """Append the rows of ``more``, which messages call ``source``, in the container of X.

    Parameters
    ----------
    X : rows
        A DataFrame of pandas or of another library that narwhals reads, a dense or sparse array,
        or a list or tuple, which become a list. Rows that are no table, such as texts, may also be
        in a Series or in an array of one dimension.
    more : rows
        A DataFrame of the same library if X is one, otherwise rows of the same kind (of a table or
        not) in any container.
    source : str, default="X_unlabeled"

    Returns
    -------
    rows
    """
    X, more = (list(rows) if isinstance(rows, tuple) else rows for rows in (X, more))
    layouts = {_layout(X), _layout(more)} - {None}
    if len(layouts) > 1:
        raise TypeError(
            f"X is {_describe(X)} and {source} is {_describe(more)}, which do not go together: "
            "pass rows in the container of X."
        )
    if "frame" in layouts:
        return _stack_frames(X, more, source)
    if "table" in layouts:
        return _stack_tables(X, more, source)
    return _stack_items(X, more, source)


def _layout(rows):
    """Return "frame", "table" (an array), "items" (no table), or None for a list of lists."""
    if is_dataframe(rows):
        return "frame"
    if hasattr(rows, "shape"):
        return "items" if len(rows.shape) == 1 else "table"
    if not isinstance(rows, list):
        return "table"
    is_known = len(rows) and (isinstance(rows[0], str | bytes) or not hasattr(rows[0], "__len__"))
    return "items" if is_known else None


def _describe(rows):
    library = type(rows).__module__.split(".")[0]
    name = type(rows).__name__
    name = name if library == "builtins" else f"{library} {name}"
    if hasattr(rows, "shape"):
        more = ", ".join(map(str, rows.shape[1:]))
        return f"a {name} of shape (n_samples,{more and ' '}{more})"
    return f"a {name}{' of texts' if rows and isinstance(rows[0], str | bytes) else ''}"


def _stack_frames(X, more, source):
    """Append the rows of a DataFrame to those of another one of the same library."""
    if not (is_dataframe(X) and is_dataframe(more) and _library(X) == _library(more)):
        raise TypeError(
            f"X is {_describe(X)} and {source} is {_describe(more)}: pass both as DataFrames of "
            "one library, or both as arrays."
        )
    if set(X.columns) != set(more.columns):
        raise ValueError(
            f"{source} must have the columns of X; they differ in "
            f"{sorted(map(str, set(X.columns) ^ set(more.columns)))}."
        )
    if not hasattr(X, "iloc"):
        return _stack_narwhals(nw.from_native(X), nw.from_native(more), source).to_native()
    more = more[X.columns].astype({name: _joint_dtype(name, X, more, source) for name in X.columns})
    return pd.concat([X, more], ignore_index=True)


def _library(X):
    return "pandas" if hasattr(X, "iloc") else nw.from_native(X).implementation


def _joint_dtype(name, X, more, source):
    """Return the dtype for a column of ``more`` with which the column of X keeps its dtype."""
    wanted, given = X[name].dtype, more[name].dtype
    if isinstance(wanted, pd.CategoricalDtype):
        unknown = set(more[name].dropna().unique()) - set(wanted.categories)
        if unknown:
            raise ValueError(
                f"column {name!r} of {source} has the categories {sorted(map(str, unknown))}, "
                "which the column in X does not have: drop those rows, or add the categories to X."
            )
        return wanted
    both_floats = pd.api.types.is_float_dtype(wanted) and pd.api.types.is_float_dtype(given)
    return wanted if both_floats else given


def _stack_narwhals(X, more, source):
    """Append the rows of a frame, whose columns are cast to those of X unless numbers are wider."""
    wider = {}
    for name, wanted in X.schema.items():
        given = more.schema[name]
        if given != wanted and wanted.is_numeric() and given.is_numeric():
            both_integers = wanted.is_integer() and given.is_integer()
            both_floats = wanted.is_float() and given.is_float()
            wider[name] = nw.Int64() if both_integers else wanted if both_floats else nw.Float64()
    schema = {**X.schema, **wider}
    X = X.with_columns(nw.col(name).cast(dtype) for name, dtype in wider.items())
    for name, dtype in schema.items():
        if more.schema[name] == dtype:
            continue
        try:
            more = more.with_columns(nw.col(name).cast(dtype))
        except Exception as error:  # each library has errors of its own
            raise ValueError(
                f"column {name!r} of {source} is {more.schema[name]}, and its values are no "
                f"{dtype} as those of X: give both the same type and the same categories."
            ) from error
    return nw.concat([X, more.select(X.columns)])


def _stack_tables(X, more, source):
    """Append the rows of a table: an array of two or more dimensions, or a list of rows."""
    if sp.issparse(X) or sp.issparse(more):
        _check_shapes(
            *(rows if sp.issparse(rows) else np.asarray(rows) for rows in (X, more)), source
        )
        return sp.vstack([sp.csr_array(X), sp.csr_array(more)], format="csr")
    arrays = [np.asarray(rows) for rows in (X, more)]
    if arrays[0].dtype.kind == "O" or arrays[1].dtype.kind == "O":
        arrays = [np.asarray(rows, dtype=object) for rows in (X, more)]  # numbers stay numbers
    _check_shapes(*arrays, source)
    kinds = ["texts" if array.dtype.kind in "UST" else array.dtype.name for array in arrays]
    _check_kinds(*kinds, source)
    return np.concatenate(arrays)


def _check_shapes(X, more, source):
    if X.shape[1:] == more.shape[1:]:
        return
    if X.ndim == more.ndim == 2:
        raise ValueError(f"{source} has {more.shape[1]} features, but X has {X.shape[1]}.")
    raise ValueError(
        f"the rows of {source} have the shape {more.shape[1:]}, but those of X {X.shape[1:]}."
    )


def _check_kinds(kind, more_kind, source):
    """Raise a TypeError for texts on one side only, which would turn numbers into texts."""
    if (kind == "texts") != (more_kind == "texts") and "object" not in (kind, more_kind):
        raise TypeError(
            f"the values of X are {kind} and those of {source} are {more_kind}: pass values of "
            "the same kind."
        )


def _stack_items(X, more, source):
    """Append rows that are no table, such as texts, in the container of X."""
    items = more.to_list() if hasattr(more, "to_list") else list(more)
    _check_kinds(_kind_of(X), _kind_of(items), source)
    if isinstance(X, list):
        return X + items
    if hasattr(X, "iloc"):
        # texts outside of the categories would be lost
        is_categorical = isinstance(X.dtype, pd.CategoricalDtype)
        added = pd.Series(_object_array(items))
        added = added if is_categorical else added.astype(X.dtype)
        return pd.concat([X, added], ignore_index=True).rename(X.name)
    if is_series(X):
        X = nw.from_native(X, series_only=True)
        joined = nw.new_series(X.name, X.to_list() + items, X.dtype, backend=X.implementation)
        return joined.to_native()
    X = np.asarray(X)
    return np.concatenate([X, _object_array(items) if X.dtype.kind == "O" else np.asarray(items)])


def _kind_of(items):
    """Return "texts", "object" for values of several or other kinds, or a kind of numbers."""
    items = items.to_list() if hasattr(items, "to_list") else items
    kind = pd.api.types.infer_dtype(items, skipna=True)
    if kind in ("string", "bytes", "categorical"):
        return "texts"
    return kind if kind in ("integer", "floating", "boolean", "mixed-integer-float") else "object"


def extended_weights(weights, n_more):
    """Return weights with their mean for ``n_more`` rows after the others; None for None."""
    if weights is None:
        return None
    return np.append(weights, np.full(n_more, np.mean(weights)))
