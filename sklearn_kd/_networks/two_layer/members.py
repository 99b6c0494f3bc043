"""Networks with several members: their signs, weights and averaged predictions in NumPy."""

import numpy as np

from sklearn_kd._tables.encoder import column_of


def columns_of_inputs(est, n_columns):
    """Return the column of the table of each input, from one, and zero for the intercept.

    Parameters
    ----------
    est : TwoLayerPGDClassifier or TwoLayerPGDRegressor
        Without an encoder, ``n_columns`` encoded columns are those of the table.
    n_columns : int
    """
    encoder = getattr(est, "encoder_", None)
    columns = np.arange(n_columns) if encoder is None else column_of(encoder)
    return np.append(columns + 1, [0] * bool(est.input_intercept)).astype(np.int64)


def signs_of_columns(signs, columns, n_features):
    """Return the signs of the columns of the table, (members, n_features), from those of inputs.

    They are one for a column that no input is of, because it is constant.
    """
    of_columns = np.ones((len(signs), n_features + 1), dtype=signs.dtype)
    of_columns[:, columns] = signs
    return of_columns[:, 1:].copy()


def signs_of_inputs(signs, columns):
    """Return the signs of the inputs, (members, n_inputs), from those of the columns."""
    return np.insert(signs, 0, 1, axis=1)[:, columns]


def own_weights(est):
    """Return the hidden weights of all members, (members * width, n_inputs), and their number."""
    hidden = est.hidden_weights_
    if "input_signs_" not in vars(est):
        return hidden, 1
    columns = columns_of_inputs(est, len(est.input_offset_))
    signs = signs_of_inputs(est.input_signs_, columns)
    return (hidden * signs[:, None]).reshape(-1, hidden.shape[1]), len(signs)


def average_members(active, readout, n_members, average):
    """Return the outputs of rows from the activations of all members, (rows, members * width).

    ``readout`` are the output weights over the square root of the width, and ``average`` is
    `mean_prediction` for logits, `mean_label_prediction` for those of several labels and
    `mean_output` for numbers.
    """
    if n_members == 1:
        return active @ readout
    active = active.reshape(len(active), n_members, -1).swapaxes(0, 1)
    if readout.ndim == 3:
        return average(active @ readout)
    return average((active @ readout[:, :, None])[:, :, 0])


def mean_output(outputs):
    """Return the mean over the members, the first axis."""
    return outputs.mean(axis=0)


def mean_prediction(logits):
    """Return the logits of the mean probabilities of members, from theirs.

    Parameters
    ----------
    logits : ndarray of shape (members, n_samples) for two classes, else (members, n_samples, \
            n_classes)

    Returns
    -------
    ndarray of shape (n_samples,) or (n_samples, n_classes)
        Finite for all finite logits.
    """
    if logits.ndim == 2:
        return mean_label_prediction(logits)
    logits = logits - logits.max(axis=2, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=2, keepdims=True))
    return np.logaddexp.reduce(logits, axis=0) - np.log(len(logits)).astype(logits.dtype)


def mean_label_prediction(logits):
    """Return the same for logits of several labels, (members, n_samples, n_labels).

    Those of two classes, (members, n_samples), are those of one label.
    """
    present, absent = -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    return np.logaddexp.reduce(present, axis=0) - np.logaddexp.reduce(absent, axis=0)
