"""First layer of a network on raw rows: its products with encoded rows, from a table."""

import numpy as np

from sklearn_kd._tables.encoder import column_of, fold_states, locate_few_rows, n_states

#: Values up to which a layer is folded into a table, 16 MB with as many slopes. Wider networks on
#: wider tables have products that take as long as those with encoded rows.
MAX_TABLE_VALUES = 2**20


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
    signs : ndarray of shape (members, n_columns), optional
        Members multiply the weights of each column of the table by signs of their own. They share
        the table, and the outputs of one follow those of the other.
    """

    def __init__(self, encoder, weights, bias, offset, scale, signs=None):
        self.encoder, self.dtype, self.signs = encoder, weights.dtype, signs
        # in float64, so that a row has the digits that it has among others
        weights = weights.astype(np.float64) / scale[:, None]
        self.values, self.slopes = fold_states(encoder, weights)
        if signs is None:
            self.bias = bias - offset @ weights
        else:
            of_columns = np.zeros((signs.shape[1], weights.shape[1]))
            np.add.at(of_columns, column_of(encoder), offset[:, None] * weights)
            self.bias = bias - signs @ of_columns

    def few_rows(self, X):
        """Return the outputs of a few rows, (n, n_outputs), or None where `locate_few_rows` does.

        They have the wider dtype of the encoded rows and the weights.
        """
        located = locate_few_rows(self.encoder, X)
        if located is None:
            return None
        state, delta, dtype = located
        if self.signs is not None:
            each = self.values.take(state, axis=0)
            each += delta[:, :, None] * self.slopes.take(state, axis=0)
            outputs = (self.signs @ each + self.bias).reshape(len(each), -1)
            return outputs.astype(np.result_type(dtype, self.dtype), copy=False)
        outputs = np.add.reduce(self.values.take(state, axis=0), axis=1)
        outputs += (delta[:, None] @ self.slopes.take(state, axis=0))[:, 0]
        outputs += self.bias
        return outputs.astype(np.result_type(dtype, self.dtype), copy=False)


def fold_layer(encoder, weights, bias, offset, scale, signs=None):
    """Return an `EncodedLayer`, or None where its table would be large."""
    if n_states(encoder) * weights.shape[1] > MAX_TABLE_VALUES:
        return None
    return EncodedLayer(encoder, weights, bias, offset, scale, signs)
