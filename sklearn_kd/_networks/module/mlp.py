"""Predict with a fitted ``sklearn_kd.modules.MLP`` in NumPy, from the arrays of its state."""

from weakref import WeakKeyDictionary

import numpy as np

from sklearn_kd._networks.encoded_layer import EncodedLayer
from sklearn_kd._utils.base import PREDICT_BLOCK_BYTES

#: Constant that ``torch.nn.BatchNorm1d`` adds to variances.
BATCH_NORM_EPS = 1e-5
#: Layers of networks that have predicted, by estimator. They are no attributes, as no pickle needs
#: them.
_LAYER_CACHE: WeakKeyDictionary = WeakKeyDictionary()


class ScaledLayer:
    """Dense layer on scaled rows, see `EncodedLayer`."""

    def __init__(self, weights, bias, offset, scale):
        self.weights, self.bias, self.offset, self.scale = weights, bias, offset, scale

    def blocks(self, X):
        """Yield the outputs of the rows, (n_block, n_outputs), block by block."""
        dtype = self.weights.dtype
        size = max(1, PREDICT_BLOCK_BYTES // (dtype.itemsize * max(self.weights.shape)))
        for start in range(0, len(X), size):
            rows = slice(start, start + size)
            scaled = ((X[rows] - self.offset) / self.scale).astype(dtype, copy=False)
            yield scaled @ self.weights + self.bias


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
    first, *others = layers
    first = (*first, est.input_offset_, est.input_scale_)
    encoder = est.encoder_
    first = ScaledLayer(*first) if encoder is None else EncodedLayer(encoder, *first)
    _LAYER_CACHE[est] = state, (first, others)
    return first, others


def predict_logits(est, X):
    """Return the logits of rows, (n_samples,) or (n_samples, n_classes), block by block.

    Parameters
    ----------
    est : ModuleClassifier
        Fitted.
    X : ndarray, or with an encoder what it reads
    """
    first, others = _fitted_layers(est)
    blocks = []
    for outputs in first.blocks(X):
        for weights, bias in others:
            np.maximum(outputs, 0, out=outputs)
            outputs = outputs @ weights
            outputs += bias
        blocks.append(outputs)
    logits = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return logits[:, 0] if logits.shape[1] == 1 else logits
