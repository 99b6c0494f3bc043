"""First layer of a network on raw rows: its products with encoded rows, from a table."""

import numpy as np

from sklearn_kd._tables.encoder import fold_states, locate, locate_row

#: Numbers that the rows of a block take from the table, so that they stay in the cache.
BLOCK_VALUES = 65_536


class EncodedLayer:
    """Dense layer on the encoded and scaled columns of a table.

    A cell of a raw row is in one state of its column, and the layer adds the two table rows of this
    state, value and slope, where its weights would multiply all encoded columns.

    Parameters
    ----------
    encoder : TableEncoder
        Fitted.
    weights : ndarray of shape (n_encoded, n_outputs)
    bias : ndarray of shape (n_outputs,) or float
    offset, scale : ndarray of shape (n_encoded,)
        The layer is ``(encoded x - offset) / scale @ weights + bias``.
    table_dtype : numpy dtype, optional
        Of the table, that of the weights by default.
    """

    def __init__(self, encoder, weights, bias, offset, scale, *, table_dtype=None):
        self.dtype, dtype = weights.dtype, table_dtype or weights.dtype
        weights = weights / scale[:, None]  # in float64
        values, slopes = fold_states(encoder, weights)
        self.encoder = encoder
        self.values, self.slopes = values.astype(dtype), slopes.astype(dtype)
        self.bias = (bias - offset @ weights).astype(dtype)

    def row(self, X):
        """Return the outputs of one row, (1, n_outputs), or None where `locate_row` does.

        They have the wider dtype of the encoded row and the weights.
        """
        located = locate_row(self.encoder, X)
        if located is None:
            return None
        state, delta, dtype = located
        outputs = np.add.reduce(self.values.take(state[0], axis=0), axis=0)
        outputs += delta[0] @ self.slopes.take(state[0], axis=0)
        outputs += self.bias
        return outputs[None].astype(np.result_type(dtype, self.dtype), copy=False)

    def blocks(self, X):
        """Yield the outputs of the rows, (n_block, n_outputs), block by block.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        """
        state, delta = locate(self.encoder, X)
        delta = delta.astype(self.values.dtype, copy=False)
        size = max(1, BLOCK_VALUES // max(1, state.shape[1] * self.values.shape[1]))
        for start in range(0, len(state), size):
            rows = slice(start, start + size)
            outputs = self.values[state[rows]].sum(axis=1)
            outputs += (delta[rows, None] @ self.slopes[state[rows]])[:, 0]
            outputs += self.bias
            yield outputs
