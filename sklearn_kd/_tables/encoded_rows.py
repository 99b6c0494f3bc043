"""Rows of a table that are encoded anew wherever they are read."""

import numpy as np

from sklearn_kd._tables.encoder import dtype_of_encoded
from sklearn_kd._tables.piecewise import encode_cells
from sklearn_kd._tables.table_rows import read_table


class EncodedRows:
    """Encoded rows of which only the cells are kept, a number or the code of a level each.

    They stand for the array that `encode` returns, with the same values, and take a number for each
    column of the table in place of one for each encoded column. To read some rows takes about as
    long as to copy them from that array.

    Parameters
    ----------
    encoder : TableEncoder
        Fitted.
    table : pandas DataFrame or ndarray of shape (n, n_columns)
        As `check_table` returns it. The features are not checked.
    """

    ndim = 2

    def __init__(self, encoder, table):
        self._plan, self.dtype = encoder._plan, np.dtype(dtype_of_encoded(table))
        self._numbers, self._codes = read_table(self._plan, table)

    @property
    def shape(self):
        """Shape of the encoded rows, (n, n_encoded)."""
        return len(self), self._plan.n_encoded

    def __len__(self):
        return len(self._numbers)

    def __getitem__(self, rows):
        """Return some encoded rows, given a slice or an array of positions."""
        return encode_cells(self._plan, self._numbers[rows], self._codes[rows], self.dtype)

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError("EncodedRows have no array that could be shared: it is made anew.")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def take(self, positions):
        """Return some of the rows, which are not encoded."""
        part = object.__new__(EncodedRows)
        part._plan, part.dtype = self._plan, self.dtype
        part._numbers, part._codes = self._numbers[positions], self._codes[positions]
        return part
