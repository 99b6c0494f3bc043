"""Predict with a fitted ``sklearn_kd.modules.MLP`` in NumPy, from the arrays of its state."""

from weakref import WeakKeyDictionary

import numpy as np

from sklearn_kd._utils.base import PREDICT_BLOCK_BYTES

#: Constant that ``torch.nn.BatchNorm1d`` adds to variances.
BATCH_NORM_EPS = 1e-5
#: Layers of networks that have predicted, by estimator. They are no attributes, as no pickle needs
#: them.
_LAYER_CACHE: WeakKeyDictionary = WeakKeyDictionary()


def dense_layers(state):
    """Return the weights (n_in, n_out) and the bias (n_out,) of each layer of an MLP.

    Batch normalization, which is an affine map in predictions, is part of the layer before it.

    Parameters
    ----------
    state : dict of str to ndarray
        ``module_state_``. Names are ``layers.<position>.<array>``, in the order of the layers.
    """
    parts, layers = {}, []
    for name, array in state.items():
        _, position, kind = name.split(".")
        parts.setdefault(position, {})[kind] = array
    for part in parts.values():
        if "running_var" in part:
            weights, _ = layers.pop()  # which has no bias
            factor = part["weight"] / np.sqrt(part["running_var"] + BATCH_NORM_EPS)
            layers.append((weights * factor, part["bias"] - part["running_mean"] * factor))
        else:
            layers.append((part["weight"].T, part.get("bias", 0.0)))
    return layers


def _fitted_layers(est):
    """Return the layers of a fitted estimator, which are cached from one prediction to the next."""
    state = est.module_state_
    if est in _LAYER_CACHE and _LAYER_CACHE[est][0] is state:
        return _LAYER_CACHE[est][1]
    layers = dense_layers(state)
    weights, bias = layers[-1]
    if len(est.classes_) == 2 and weights.shape[1] == 2:  # a logit for each class
        layers[-1] = weights[:, 1:] - weights[:, :1], bias[1:] - bias[:1]
    _LAYER_CACHE[est] = state, layers
    return layers


def predict_logits(est, X):
    """Return the logits of rows, (n_samples,) or (n_samples, n_classes), block by block."""
    layers = _fitted_layers(est)
    dtype = layers[0][0].dtype
    logits = np.empty((len(X), layers[-1][0].shape[1]), dtype=dtype)
    widest = max(weights.shape[0] for weights, _ in layers)
    size = max(1, PREDICT_BLOCK_BYTES // (dtype.itemsize * widest))
    for start in range(0, len(X), size):
        block = slice(start, start + size)
        rows = ((X[block] - est.input_offset_) / est.input_scale_).astype(dtype, copy=False)
        logits[block] = _respond(rows, layers)
    return logits[:, 0] if logits.shape[1] == 1 else logits


def _respond(rows, layers):
    for weights, bias in layers[:-1]:
        rows = rows @ weights
        rows += bias
        np.maximum(rows, 0, out=rows)
    weights, bias = layers[-1]
    return rows @ weights + bias
