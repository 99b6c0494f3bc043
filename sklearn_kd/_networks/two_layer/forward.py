"""Forward pass of a fitted two-layer network in NumPy: raw rows, encoded rows, and a few rows."""

import math

import numpy as np

from sklearn_kd._networks.two_layer.members import average_members, mean_prediction, own_weights
from sklearn_kd._networks.two_layer.raw_rows import raw_first_layer
from sklearn_kd._tables.encoder import encode_blocks
from sklearn_kd._tables.encoder_step import check_new_rows
from sklearn_kd._utils.base import PREDICT_BLOCK_BYTES, require_fitted
from sklearn_kd._utils.scaling import clip_far_rows
from sklearn_kd._utils.validation import check_rows_are_flat

#: Rows are predicted without a scaled copy where the offsets add at most this to the input of a
#: neuron, in units of what a row of norm one adds. Each factor of two costs one bit of precision.
MAX_OFFSET_SHARE = 16


def predict_outputs(est, X, average):
    """Return the outputs of rows, (n_samples,) for a single output, else (n_samples, n_outputs).

    Parameters
    ----------
    est : TwoLayerPGDClassifier or TwoLayerPGDRegressor
    X : array-like of shape (n_samples, n_features)
    average : callable
        As for `average_members`.
    """
    require_fitted(est)
    check_rows_are_flat(est, X, fits=False)
    output, offset, scale = est.output_weights_, est.input_offset_, est.input_scale_
    if est.encoder_ is None:
        hidden, n_members = own_weights(est)
        X = check_new_rows(est, X)
        members = {"n_members": n_members, "average": average}
        return network_outputs(X, hidden, output, offset, scale, **members)
    first_layer = raw_first_layer(est)
    inputs = first_layer.few_rows(X)
    if inputs is not None:
        active = np.maximum(inputs, 0, out=inputs)
        width = len(est.hidden_weights_)
        readout, n_members = output / math.sqrt(width), active.shape[1] // width
        return average_members(active, readout, n_members, average)
    table = check_new_rows(est, X)
    hidden, n_members = own_weights(est)
    members = {"n_members": n_members, "average": average}
    weights = first_layer.linear_in(table)
    if weights is not None:
        hidden, offset, scale = weights
        return network_outputs(table, hidden, output, offset, scale, **members)
    size = max(1, PREDICT_BLOCK_BYTES // (8 * hidden.shape[1]))
    blocks = [
        network_outputs(encoded, hidden, output, offset, scale, **members)
        for encoded in encode_blocks(est.encoder_, table, size)
    ]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def network_outputs(
    X,
    hidden,
    output,
    offset,
    scale,
    block_bytes=PREDICT_BLOCK_BYTES,
    *,
    n_members=1,
    average=mean_prediction,
):
    """Return the outputs of unscaled rows, (n_samples,) or (n_samples, n_outputs), block by block.

    They have the wider dtype of X and the weights, and are finite for every finite row: rows so far
    away that products overflow are clipped. With members, ``hidden`` has the weights of all, one
    after the other, and ``output`` a first axis for them, and ``average`` is as for
    `average_members`.
    """
    dtype = np.result_type(X, hidden)
    n_features = X.shape[1]
    readout = output / math.sqrt(len(hidden) // n_members)
    outputs = np.empty((len(X), *output.shape[1 if n_members == 1 else 2 :]), dtype=dtype)
    size = max(1, block_bytes // (dtype.itemsize * max(hidden.shape)))

    hidden, bias = hidden[:, :n_features], hidden[:, n_features:].sum(axis=1)
    # scaling a few rows takes less time than scaling the weights
    folded = (
        folded_weights(hidden, bias, offset, scale, dtype) if len(X) > 2 * len(hidden) else None
    )

    def apply_layers(rows, hidden, bias):
        active = rows @ hidden.T
        active += bias
        np.maximum(active, 0, out=active)
        return average_members(active, readout, n_members, average)

    for start in range(0, len(X), size):
        block = slice(start, start + size)
        with np.errstate(over="ignore", invalid="ignore"):
            if folded is not None:
                outputs[block] = apply_layers(X[block], *folded)
                if np.isfinite(outputs[block]).all():
                    continue
            # float64 until the offset is subtracted
            scaled = ((X[block] - offset) / scale).astype(dtype, copy=False)
            outputs[block] = apply_layers(scaled, hidden, bias)
        if not np.isfinite(outputs[block]).all():
            outputs[block] = apply_layers(clip_far_rows(scaled), hidden, bias)
    return outputs


def folded_weights(hidden, bias, offset, scale, dtype):
    """Return weights and bias for unscaled rows, or None where large offsets would lose digits.

    A scaled copy of many rows takes longer than the products of a small network.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        folded = hidden / scale
        shift = np.abs(folded) @ np.abs(offset)
        if not (shift <= MAX_OFFSET_SHARE * np.linalg.norm(hidden, axis=1)).all():
            return None
        bias = (bias - folded @ offset).astype(dtype)
        folded = folded.astype(dtype)
    return (folded, bias) if np.isfinite(folded).all() else None
