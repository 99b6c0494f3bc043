"""Concatenation of rows in arrays, DataFrames and lists, with their sample weights."""

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sklearn_kd._utils.sklearn_compat import num_features, num_samples
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import TransferRowsWarning


def warn_if_sliceable(X_unlabeled, n_samples):
    """Warn if a search would take ``X_unlabeled`` for metadata of the rows that it slices."""
    if X_unlabeled is not None and num_samples(X_unlabeled) == n_samples:
        warn_caller(
            f"X_unlabeled has as many rows as X ({n_samples}), so that a search or a "
            "cross-validation mistakes it for metadata of these rows and slices it.",
            TransferRowsWarning,
        )


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


def stack_rows(X, more, source="X_unlabeled"):
    """Append the rows of ``more``, which messages call ``source``, in the container of X."""
    if isinstance(X, list) and isinstance(more, list):
        return X + more
    if hasattr(X, "iloc") and hasattr(more, "iloc"):
        if set(X.columns) != set(more.columns):
            raise ValueError(
                f"{source} must have the columns of X; they differ in "
                f"{sorted(map(str, set(X.columns) ^ set(more.columns)))}."
            )
        more = more[X.columns].astype(
            {name: _joint_dtype(name, X, more, source) for name in X.columns}
        )
        return pd.concat([X, more], ignore_index=True)
    if hasattr(X, "columns") or hasattr(more, "columns"):
        raise TypeError(f"{source} must be a pandas DataFrame if and only if X is one.")
    if num_features(X) != num_features(more):
        raise ValueError(
            f"{source} has {num_features(more)} features, but X has {num_features(X)}."
        )
    if sp.issparse(X) or sp.issparse(more):
        return sp.vstack([sp.csr_array(X), sp.csr_array(more)], format="csr")
    return np.concatenate([np.asarray(X), np.asarray(more)])


def extended_weights(weights, n_more):
    """Return weights with their mean for ``n_more`` rows after the others; None for None."""
    if weights is None:
        return None
    return np.append(weights, np.full(n_more, np.mean(weights)))
