"""First layer of a fitted two-layer network as a function of the rows before its encoder."""

import numpy as np

from sklearn_kd._networks.encoded_layer import fold_layer
from sklearn_kd._networks.fitted_cache import FittedCache
from sklearn_kd._tables.encoder import column_of, linear_map

_FIRST_LAYERS = FittedCache()


class RawFirstLayer:
    """Hidden weights of a network, multiplied by what the encoder makes of raw rows.

    Parameters
    ----------
    encoder : TableEncoder
        Fitted.
    hidden : ndarray of shape (width, n_encoded) or (width, n_encoded + 1)
        With an intercept in the last column, where there is one.
    offset, scale : ndarray of float64 of shape (n_encoded,)
    signs : ndarray of shape (members, n_columns), optional
        Those of several members, whose neurons are one after the other.
    """

    def __init__(self, encoder, hidden, offset, scale, signs=None):
        n_encoded = len(offset)
        weights = hidden[:, :n_encoded].astype(np.float64)
        bias = hidden[:, n_encoded:].sum(axis=1, dtype=np.float64)
        self._linear = linear_map(encoder)
        self._layer = fold_layer(encoder, hidden[:, :n_encoded].T, bias, offset, scale, signs)
        if signs is not None:
            weights = weights * signs[:, None, column_of(encoder)]
            weights = weights.reshape(len(signs) * len(hidden), n_encoded)  # of which may be none
            bias = np.tile(bias, len(signs))
        if self._linear is not None:
            self._linear = self._raw_weights(weights, bias, offset, scale, hidden.dtype)

    def _raw_weights(self, weights, bias, offset, scale, dtype):
        column, edge, width, low, high = self._linear
        is_number = column >= 0
        # The offset of the encoded columns is part of the bias: that of raw rows is the edge alone,
        # as the encoder subtracts it, so that columns of large numbers lose no digits.
        bias = bias - weights @ (offset / scale)
        hidden = np.zeros((len(weights), len(low) + 1))
        hidden[:, column[is_number]], hidden[:, -1] = weights[:, is_number], bias
        raw_offset, raw_scale = np.zeros(len(low)), np.ones(len(low))
        raw_offset[column[is_number]] = edge[is_number]
        raw_scale[column[is_number]] = (scale * width)[is_number]
        return (hidden.astype(dtype), raw_offset, raw_scale), low, high

    def few_rows(self, X):
        """Return the input of the neurons for a few rows, (n, neurons), or None for other rows.

        Rows that are not in a plain container, or whose cells need a closer look, are others.
        """
        return None if self._layer is None else self._layer.few_rows(X)

    def linear_in(self, table):
        """Return hidden weights, offset and scale for rows as they are, or None where none exist.

        They exist if the encoding is linear in these rows.
        """
        if self._linear is None or not isinstance(table, np.ndarray) or table.dtype.kind != "f":
            return None
        weights, low, high = self._linear
        is_inside = (table.min(axis=0) >= low).all() and (table.max(axis=0) <= high).all()
        return weights if is_inside else None  # NaN is not inside


def raw_first_layer(est):
    """Return the `RawFirstLayer` of a fitted estimator, which is made once for its weights."""
    weights = est.encoder_, est.hidden_weights_, est.input_offset_, est.input_scale_
    weights = (*weights, vars(est).get("input_signs_"))
    return _FIRST_LAYERS.get(est, weights, lambda: RawFirstLayer(*weights))
