"""Raw rows as the inputs of an ONNX graph."""

import json

import numpy as np
import pandas as pd

from sklearn_kd.export._description import first_with_features
from sklearn_kd.export._onnx.graph import DOUBLE, FLOAT, STRING

#: Types of NumPy, by the code of ONNX.
DTYPES = {DOUBLE: np.float64, FLOAT: np.float32, STRING: object}


def as_table(model, X):
    """Return rows as a DataFrame of pandas that has the names of a model's columns, or numbers.

    Parameters
    ----------
    model : classifier
        Fitted.
    X : DataFrame or array-like of shape (n_samples, n_features)

    Returns
    -------
    table : DataFrame

    Raises
    ------
    ValueError
        If columns are absent.
    """
    if hasattr(X, "to_dicts"):  # of polars
        X = pd.DataFrame(X.to_dict(as_series=False))
    table = X if hasattr(X, "columns") else pd.DataFrame(np.asarray(X))
    names = getattr(first_with_features(model), "feature_names_in_", None)
    if names is None:
        return table.set_axis(range(table.shape[1]), axis=1)
    absent = [name for name in names if name not in table.columns]
    if absent:
        raise ValueError(f"the rows X lack the columns {absent}, which {type(model).__name__} has.")
    return table


def is_text(column):
    """Return whether a column of a DataFrame has texts."""
    if getattr(column.dtype, "kind", "O") in "fiub":
        return False
    return any(isinstance(cell, str) for cell in column)


def onnx_inputs(graph, table):
    """Return the inputs of a graph from raw rows.

    Parameters
    ----------
    graph : onnx.ModelProto
    table : DataFrame
        As of :func:`as_table`.

    Returns
    -------
    inputs : dict of str to ndarray
    """
    columns = json.loads(next(p.value for p in graph.metadata_props if p.key == "columns"))
    inputs = {}
    for each in graph.graph.input:
        dtype = DTYPES[each.type.tensor_type.elem_type]
        cells = table[columns[each.name]]
        if dtype is object:
            inputs[each.name] = cells.to_numpy(dtype=dtype)
            continue
        inputs[each.name] = np.empty(cells.shape, dtype=dtype)
        for number in range(cells.shape[1]):  # a table of objects does not replace pandas.NA
            column = cells.iloc[:, number].to_numpy(dtype=dtype, na_value=np.nan)
            inputs[each.name][:, number] = column
    return inputs
