"""Scores of a classifier on test rows, the time of a raw row, and the bytes needed to predict."""

import copy
import time

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from sklearn_kd.metrics import expected_calibration_error

#: Packed node of a tree: feature (2 bytes), threshold (4) and the offset of a child (2), where the
#: other child is the next node. ``student="auto"`` estimates 10 bytes before it fits trees.
NODE_BYTES = 8
#: Set of up to 32 categories that go to the left, of a node that splits on a categorical column.
CATEGORY_SET_BYTES = 4
FLOAT_BYTES = 4


def scores(model, X_test, y_test, n_latency=50):
    """Return scores on the test rows, the bytes and the median time of one raw row, as a dict.

    Parameters
    ----------
    model : fitted classifier
    X_test : DataFrame or ndarray of shape (n_samples, n_features)
    y_test : ndarray of shape (n_samples,)
    n_latency : int, default=50
        Rows that are timed one by one.
    """
    proba = model.predict_proba(X_test)
    return {
        **probability_scores(proba, model.classes_, y_test),
        "bytes": int(needed_bytes(model)),
        "latency_ms": float(np.median(row_times(model, X_test, n_latency))) / 1000,
    }


def probability_scores(proba, classes, y_test):
    """Return scores of predicted probabilities as a dict.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
    classes : ndarray of shape (n_classes,)
    y_test : ndarray of shape (n_samples,)
    """
    known = np.isin(y_test, classes)
    of_label = np.where(y_test[:, None] == classes, proba, 0.0).sum(axis=1)
    labels = classes[proba.argmax(axis=1)]
    auc = np.nan
    if len(np.unique(y_test)) == len(classes):
        auc = roc_auc_score(
            y_test, proba[:, 1] if len(classes) == 2 else proba, multi_class="ovr", labels=classes
        )
    return {
        "accuracy": accuracy_score(y_test, labels),
        "balanced_accuracy": balanced_accuracy_score(y_test, labels),
        "log_loss": float(-np.log(np.clip(of_label, 1e-15, 1)).mean()),
        "auc": float(auc),
        "calibration_error": expected_calibration_error(
            y_test[known], proba[known], labels=classes
        ),
    }


def row_times(model, X, n_rows):
    """Return the microseconds of ``predict_proba`` of single rows.

    Parameters
    ----------
    model : fitted classifier
    X : DataFrame or ndarray
    n_rows : int
        From the first row on, after one that is not counted.
    """
    X = X.iloc if isinstance(X, pd.DataFrame) else np.asarray(X)
    starts = [0, *range(n_rows)]
    return [row_time(model, X[start : start + 1]) for start in starts][1:]


def row_time(model, row):
    """Return the microseconds of ``predict_proba`` of a row in its container."""
    start = time.perf_counter()
    model.predict_proba(row)
    return 1e6 * (time.perf_counter() - start)


def needed_bytes(model):
    """Return the bytes that are needed to predict.

    They are those of float32 numbers and of the UTF-8 names of columns and levels, and of trees,
    without such names, the smaller of an array of packed nodes and the file of the library. Scales
    and offsets of the inputs of a network are part of its first layer then.
    """
    if hasattr(model, "student_"):
        return needed_bytes(model.student_)
    if hasattr(model, "steps"):
        return sum(needed_bytes(step) for _, step in model.steps if step != "passthrough")
    if getattr(model, "encoder_", None) is not None:
        return needed_bytes(model.encoder_) + _own_bytes(model)
    return _own_bytes(model)


def int8_copy(model):
    """Return a copy of a network with weights rounded to int8, and its bytes; or None.

    Each output of a layer has a scale of its own. These, the biases and the scales of the inputs
    stay float32.

    Parameters
    ----------
    model : fitted classifier
        A DistilledClassifier or a network. Others have no such copy.
    """
    model = copy.deepcopy(model)
    network = getattr(model, "student_", model)
    n_bytes = needed_bytes(network)
    if hasattr(network, "hidden_weights_"):
        first, output = network.hidden_weights_, network.output_weights_
        network.hidden_weights_ = np.column_stack([_int8(first[:, :-1]), first[:, -1]])
        of_neurons = 1 if hasattr(network, "input_signs_") else 0  # the axis after the members
        network.output_weights_ = np.moveaxis(
            _int8(np.moveaxis(output, of_neurons, -1)), -1, of_neurons
        )
        n_bytes -= 3 * (first[:, :-1].size + output.size)
        n_bytes += FLOAT_BYTES * (len(first) + output.size // len(first))
    elif hasattr(network, "module_state_"):
        state = dict(network.module_state_)
        for name, array in state.items():
            if array.ndim > 1:
                state[name] = _int8(array)
                n_bytes += FLOAT_BYTES * len(array) - 3 * array.size
        network.module_state_ = state
    else:
        return None
    return model, int(n_bytes + FLOAT_BYTES * network.input_scale_.size)


def _int8(weights):
    """Return weights, (n_outputs, n_inputs), as multiples of a scale for each output."""
    step = np.abs(weights).max(axis=-1, keepdims=True) / 127
    step = np.where(step > 0, step, 1.0)
    return (np.round(weights / step) * step).astype(weights.dtype)


def _own_bytes(model):
    if hasattr(model, "booster_"):
        return _lightgbm_bytes(model.booster_)
    if hasattr(model, "_predictors"):
        trees = [tree for stage in model._predictors for tree in stage]
        return sum(_boosted_tree_bytes(tree.nodes) for tree in trees) + FLOAT_BYTES * len(
            model._predictors[0]
        )
    if hasattr(model, "tree_"):
        n_leaves = model.tree_.n_leaves
        # probabilities sum to one
        of_leaves = FLOAT_BYTES * n_leaves * (len(model.classes_) - 1)
        return NODE_BYTES * (model.tree_.node_count - n_leaves) + of_leaves
    if hasattr(model, "final_estimator_"):
        return sum(needed_bytes(each) for each in [*model.estimators_, model.final_estimator_])
    if hasattr(model, "estimators_"):
        return sum(needed_bytes(tree) for tree in model.estimators_)
    if hasattr(model, "hidden_weights_"):
        n_numbers = model.hidden_weights_.size + model.output_weights_.size
        n_members, n_columns = np.shape(getattr(model, "input_signs_", [[]]))
        # each member has an intercept of its own, to which the offsets of the inputs belong
        n_numbers += (n_members - 1) * len(model.hidden_weights_)
        return FLOAT_BYTES * n_numbers + -(-n_members * n_columns // 8)  # a sign is a bit
    if hasattr(model, "module_state_"):
        return FLOAT_BYTES * sum(np.size(array) for array in model.module_state_.values())
    return contents_bytes(list(_fitted(model).values()))


def _boosted_tree_bytes(nodes):
    is_leaf = nodes["is_leaf"].astype(bool)
    n_sets = int(nodes["is_categorical"][~is_leaf].sum())
    of_nodes = NODE_BYTES * int((~is_leaf).sum()) + CATEGORY_SET_BYTES * n_sets
    return of_nodes + FLOAT_BYTES * int(is_leaf.sum())


def _lightgbm_bytes(booster):
    packed = 0
    for tree in booster.dump_model()["tree_info"]:
        n_leaves, n_sets = tree["num_leaves"], tree["num_cat"]
        packed += NODE_BYTES * (n_leaves - 1) + CATEGORY_SET_BYTES * n_sets
        packed += FLOAT_BYTES * n_leaves
    return min(packed, len(booster.model_to_string().encode()))


def _fitted(model):
    """Return the fitted attributes that predictions may need."""
    unneeded = ("loo_", "oob_", "loss_", "validation_", "initial_", "encoder_", "kinds_", "n_")
    return {
        name: value
        for name, value in vars(model).items()
        if name.endswith("_") and not name.startswith(("_", *unneeded))
    }


def contents_bytes(value):
    """Return the bytes of numbers, as float32, and of texts, in a nested container."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict):
        return sum(contents_bytes(key) + contents_bytes(each) for key, each in value.items())
    if isinstance(value, np.ndarray) and value.dtype.kind in "iufb":
        return FLOAT_BYTES * value.size
    if isinstance(value, list | tuple | set | np.ndarray):
        return sum(contents_bytes(each) for each in list(value))
    if isinstance(value, bool | int | float | np.number):
        return FLOAT_BYTES
    if value is None or isinstance(value, type):
        return 0
    return contents_bytes(list(_fitted(value).values())) if hasattr(value, "get_params") else 0
