"""Predict with a fitted ``sklearn_kd.modules.MLP`` in NumPy, from the arrays of its state."""

import numpy as np

from sklearn_kd._networks.encoded_layer import fold_layer
from sklearn_kd._networks.fitted_cache import FittedCache
from sklearn_kd._tables.encoder_step import check_new_rows, encoded_blocks
from sklearn_kd._utils.base import PREDICT_BLOCK_BYTES
from sklearn_kd._utils.label_indicators import learns_labels
from sklearn_kd._utils.scaling import clip_far_rows

#: Constant that ``torch.nn.BatchNorm1d`` adds to variances.
BATCH_NORM_EPS = 1e-5
_LAYERS = FittedCache()


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


def prediction_layers(state, classes=None):
    """Return the `dense_layers` of a classifier, or of numbers or several labels without classes.

    With two classes the last one has one output, the log-odds of the second class.
    """
    layers = dense_layers(state)
    weights, bias = layers[-1]
    has_two_classes = classes is not None and len(classes) == 2
    if has_two_classes and weights.shape[1] == 2:  # a logit for each class
        layers[-1] = weights[:, 1:] - weights[:, :1], bias[1:] - bias[:1]
    return layers


def _fitted_layers(est):
    """Return the layers of a fitted estimator, and the first one on raw rows or None."""
    # several labels have a logit each, also where there are two of them
    classes = None if learns_labels(est) else getattr(est, "classes_", None)
    parts = est.module_state_, classes, est.encoder_, est.input_offset_, est.input_scale_
    return _LAYERS.get(est, parts, lambda: _make_layers(*parts))


def _make_layers(state, classes, encoder, offset, scale):
    layers, raw_layer = prediction_layers(state, classes), None
    if encoder is not None and len(encoder.means_):  # some column varies
        raw_layer = fold_layer(encoder, *layers[0], offset, scale)
    return layers, raw_layer


def predict_outputs(est, X):
    """Return the outputs of rows, (n_samples,) or (n_samples, n_outputs), block by block.

    They are finite for every finite row: rows so far away that products overflow are clipped.

    Parameters
    ----------
    est : ModuleClassifier or ModuleRegressor
        Fitted.
    X : array-like or DataFrame of shape (n_samples, n_features)
        As it was given.
    """
    layers, raw_layer = _fitted_layers(est)
    (weights, bias), dtype = layers[0], layers[-1][0].dtype
    first = None if raw_layer is None else raw_layer.few_rows(X)
    if first is not None:
        outputs = _apply_layers(first.astype(dtype, copy=False), layers[1:])
    else:
        blocks, n_rows = [], max(1, PREDICT_BLOCK_BYTES // (8 * max(weights.shape)))
        for rows in encoded_blocks(est, check_new_rows(est, X), n_rows):
            with np.errstate(over="ignore", invalid="ignore"):
                scaled = ((rows - est.input_offset_) / est.input_scale_).astype(dtype, copy=False)
                blocks.append(_apply_layers(scaled @ weights + bias, layers[1:]))
            if not np.isfinite(blocks[-1]).all():
                blocks[-1] = _apply_layers(clip_far_rows(scaled) @ weights + bias, layers[1:])
        outputs = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs


def _apply_layers(outputs, layers):
    """Return what the layers behind the first one make of its outputs, which are overwritten."""
    for weights, bias in layers:
        np.maximum(outputs, 0, out=outputs)
        outputs = outputs @ weights
        outputs += bias
    return outputs
