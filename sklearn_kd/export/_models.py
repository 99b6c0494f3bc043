"""Fitted models as the models of a compact file: networks, linear models and trees."""

import math
from contextlib import nullcontext

import numpy as np
from sklearn.base import is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    GammaRegressor,
    LogisticRegression,
    PoissonRegressor,
    TweedieRegressor,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklearn_kd._distillation.classifier import DistilledClassifier
from sklearn_kd._distillation.predictions import fitted_predictor, n_target_columns
from sklearn_kd._distillation.quantiles import learned_levels
from sklearn_kd._distillation.regressor import DistilledRegressor
from sklearn_kd._networks.module.base import is_mlp
from sklearn_kd._networks.module.classifier import ModuleClassifier
from sklearn_kd._networks.module.mlp import prediction_layers
from sklearn_kd._networks.module.regressor import ModuleRegressor
from sklearn_kd._networks.two_layer.classifier import TwoLayerPGDClassifier
from sklearn_kd._networks.two_layer.regressor import TwoLayerPGDRegressor
from sklearn_kd._self_distillation.classifier import SelfDistillClassifier
from sklearn_kd._utils.sklearn_compat import (
    BaseSearchCV,
    LinearModel,
    boosted_trees,
    link_of,
    targets_have_one_dimension,
)
from sklearn_kd.export._columns import ExportError, after_step, as_feature
from sklearn_kd.export._trees import TreeBuilder
from sklearn_kd.export._writer import (
    first_layer,
    network_inputs,
    network_numbers,
    numbers_of,
    quantiles_of,
    scaled_features,
    unit_of,
)


def _pipeline(writer, model, columns):
    for _, step in model.steps[:-1]:
        columns = after_step(step, columns)
    return writer.describe(model.steps[-1][1], columns)


def _best(writer, model, columns):
    return writer.describe(model.best_estimator_, columns)


def _distilled(writer, model, columns):
    predictor = fitted_predictor(model)
    spec = writer.describe(predictor.student, columns)
    if predictor.power != 1:
        spec = {"kind": "tempered", "models": [spec], "power": float(predictor.power)}
    known = predictor.student_classes.tolist()
    if known != model.classes_.tolist():
        place = [model.classes_.tolist().index(label) for label in known]
        spec = {
            "kind": "aligned", "models": [spec], "place": place, "n_classes": len(model.classes_),
        }  # fmt: skip
    if predictor.log_prior is not None:
        log_prior = writer.add(predictor.log_prior.astype(np.float64))
        spec = {"kind": "prior", "models": [spec], "log_prior": log_prior}
    return spec


def _distilled_regressor(writer, model, columns):
    spec = writer.describe(model.student_, columns)
    asked = getattr(model, "quantiles_", None)
    if asked is None:
        return {**spec, "n_targets": n_target_columns(model)}
    # a student that is no network has learned the quantiles as several targets
    levels = learned_levels(asked)
    student = {**spec, "n_targets": None, "quantiles": quantiles_of(levels)}
    quantiles = quantiles_of(levels, asked)
    return numbers_of(writer, student, np.ones(1), model.quantile_shift_[None], quantiles=quantiles)


def _self_distilled(writer, model, columns):
    return writer.describe(model.estimator_, columns)


def _frozen(writer, model, columns):
    return writer.describe(model.estimator, columns)


def _calibrated(writer, model, columns):
    found = []
    for each in model.calibrated_classifiers_:
        # isotonic curves may be so steep that rounded weights would change much
        with writer.exactly() if each.method == "isotonic" else nullcontext():
            inner = writer.describe(each.estimator, columns)
        if inner["kind"] not in ("layers", "trees", "tempered"):
            raise ExportError(
                "CalibratedClassifierCV of a model whose decision values have no simple form, "
                "such as one with a class_prior"
            )
        if len(each.estimator.classes_) != len(each.classes):
            raise ExportError("CalibratedClassifierCV of a model that lacks a class")
        curves = [writer.add(_curve(each.method, curve)) for curve in each.calibrators]
        innermost = inner["models"][0] if inner["kind"] == "tempered" else inner
        of_proba = innermost["kind"] == "trees" and innermost["link"] == "mean"
        found.append(
            {
                "kind": "calibrated",
                "models": [inner],
                "method": each.method,
                "curves": curves,
                "of_proba": of_proba,
            }
        )
    return found[0] if len(found) == 1 else {"kind": "mean", "models": found}


def _curve(method, curve):
    if method == "sigmoid":
        return np.array([[curve.a_, curve.b_]], dtype=np.float64)
    if method == "isotonic":
        return np.array([curve.X_thresholds_, curve.y_thresholds_], dtype=np.float64)
    return np.array([[curve.beta_]], dtype=np.float64)


def _two_layer(writer, model, columns):
    features, column = network_inputs(model, columns)
    n_inputs = len(features)
    hidden = model.hidden_weights_
    output = (model.output_weights_ / math.sqrt(len(hidden))).astype(np.float64)
    signs = vars(model).get("input_signs_")
    n_members = 1 if signs is None else len(signs)
    output = output.reshape(n_members, len(hidden), -1)
    # in the dtype of the weights, as the model itself computes it
    bias = hidden[:, n_inputs:].sum(axis=1).astype(np.float64)
    weights = hidden[:, :n_inputs].T.astype(np.float64)
    of_features = None if signs is None else signs.astype(np.float64)[:, column]
    scaled = scaled_features(features, model.input_offset_, model.input_scale_)
    layer = first_layer(writer, scaled, weights, bias, of_features)
    zeros = np.zeros((n_members, 1, output.shape[2]))
    return {**layer, "layers": [[writer.add_weights(output), writer.add(zeros)]]}


def _two_layer_regressor(writer, model, columns):
    return network_numbers(writer, _two_layer(writer, model, columns), model)


def _module(writer, model, columns):
    if not is_mlp(model):
        raise ExportError(f"{type(model).__name__} has another module than MLP")
    layers = prediction_layers(model.module_state_, getattr(model, "classes_", None))
    features, _ = network_inputs(model, columns)
    scaled = scaled_features(features, model.input_offset_, model.input_scale_) if features else []
    return _dense(writer, scaled, layers)


def _module_regressor(writer, model, columns):
    return network_numbers(writer, _module(writer, model, columns), model)


def _dense(writer, features, layers):
    """Return the description of layers, (weights, bias), on features."""
    (weights, bias), *others = [
        (w.astype(np.float64), np.broadcast_to(np.float64(b), w.shape[1:])) for w, b in layers
    ]
    # a table of which no column varies has one input, which is zero
    layer = first_layer(writer, features, weights[: len(features)], bias)
    layer["layers"] = [
        [writer.add_weights(w[None]), writer.add(np.asarray(b)[None, None])] for w, b in others
    ]
    return layer


def _multilayer_perceptron(writer, model, columns):
    if model.activation != "relu" and len(model.coefs_) > 1:
        raise ExportError(f"{type(model).__name__} has the activation {model.activation!r}")
    features = [as_feature(column) for column in columns]
    layers = list(zip(model.coefs_, model.intercepts_, strict=True))
    links = {"identity": "identity", "exp": "log"}
    if not is_regressor(model):
        if model.out_activation_ == "logistic" and model.n_outputs_ > 1:
            raise ExportError(f"{type(model).__name__} with several labels")
        return _dense(writer, features, layers)
    weights, offset = layers[-1]
    unit = unit_of(weights)
    values = _dense(writer, features, [*layers[:-1], (weights / unit, 0.0)])
    return numbers_of(
        writer,
        values,
        unit,
        offset,
        n_targets=model.n_outputs_ if model.n_outputs_ > 1 else None,
        link=links[model.out_activation_],
    )


def _logistic_regression(writer, model, columns):
    features = [as_feature(column) for column in columns]
    if len(model.classes_) > 2 and len(model.coef_) != len(model.classes_):
        raise ExportError("a LogisticRegression of an unknown form")
    intercept = np.broadcast_to(np.float64(model.intercept_), len(model.coef_))
    return first_layer(writer, features, model.coef_.T.astype(np.float64), intercept)


def _linear(writer, model, columns):
    if not is_regressor(model):
        raise ExportError(f"{type(model).__name__} predicts no probabilities")
    return _linear_numbers(writer, model, columns, "identity")


def _generalized_linear(writer, model, columns):
    return _linear_numbers(writer, model, columns, link_of(model))


def _linear_numbers(writer, model, columns, link):
    features = [as_feature(column) for column in columns]
    weights = np.atleast_2d(np.float64(model.coef_)).T
    n_outputs = weights.shape[1]
    unit = unit_of(weights)
    values = first_layer(writer, features, weights / unit, np.zeros(n_outputs))
    return numbers_of(
        writer,
        values,
        unit,
        np.broadcast_to(np.ravel(model.intercept_), n_outputs),
        n_targets=None if np.ndim(model.coef_) == 1 else n_outputs,
        link=link,
    )


def _decision_tree(writer, model, columns):
    return _forest(writer, model, columns, [model])


def _random_forest(writer, model, columns):
    return _forest(writer, model, columns, model.estimators_)


def _forest(writer, model, columns, trees):
    is_of_numbers = is_regressor(model)
    if model.n_outputs_ > 1 and not is_of_numbers:
        raise ExportError(f"{type(model).__name__} with several outputs")
    features = [as_feature(column, takes_missing=True) for column in columns]
    builder = TreeBuilder(writer, features, np.float32)
    leaves = []
    for tree in trees:
        tree = tree.tree_
        builder.start_tree()
        for node in range(tree.node_count):
            if tree.children_left[node] < 0:
                builder.add_leaf(len(leaves))
                leaves.append(tree.value[node, :, 0] if is_of_numbers else tree.value[node, 0])
                continue
            builder.add_node(
                tree.feature[node],
                tree.children_left[node],
                tree.children_right[node],
                tree.missing_go_to_left[node],
                threshold=tree.threshold[node],
            )
    leaves = np.array(leaves)
    if not is_of_numbers:
        leaves /= leaves.sum(axis=1, keepdims=True)
        return builder.finished("mean", np.zeros(leaves.shape[1]), leaves)
    # rounded leaves are differences, which keep their digits also far from zero
    offset = np.zeros(leaves.shape[1]) if writer.is_exact else leaves.mean(axis=0)
    unit = unit_of(leaves - offset)
    values = builder.finished("average", np.zeros(len(unit)), (leaves - offset) / unit)
    n_targets = model.n_outputs_ if model.n_outputs_ > 1 else None
    return numbers_of(writer, values, unit, offset, n_targets=n_targets)


def _boosting(writer, model, columns):
    preprocessor, base, stages = boosted_trees(model)
    if preprocessor is not None:
        columns = after_step(preprocessor, columns)
    features = [as_feature(column, takes_missing=True) for column in columns]
    builder, leaves = TreeBuilder(writer, features, np.float64), []
    for stage in stages:
        for output, tree in enumerate(stage):
            builder.start_tree(output)
            for node in tree.nodes:
                if node["is_leaf"]:
                    builder.add_leaf(len(leaves))
                    leaves.append([node["value"]])
                    continue
                bits = None
                if node["is_categorical"]:
                    bits = tree.raw_left_cat_bitsets[node["bitset_idx"]]
                builder.add_node(
                    node["feature_idx"],
                    node["left"],
                    node["right"],
                    node["missing_go_to_left"],
                    threshold=node["num_threshold"],
                    bits=bits,
                )
    if not is_regressor(model):
        return builder.finished("sum", base, leaves)
    unit = unit_of(leaves)
    values = builder.finished("sum", np.zeros(1), leaves / unit)
    return numbers_of(writer, values, unit, base, link=link_of(model))


def _transformed_target(writer, model, columns):
    """Return the description of a regressor whose targets were transformed.

    All transformations are increasing, so that quantiles remain quantiles.
    """
    values = writer.describe(model.regressor_, columns)
    n_targets = values["n_targets"] or 1
    step, link = model.transformer_, "identity"
    scale, offset = np.ones(n_targets), np.zeros(n_targets)
    if type(step) is StandardScaler:
        scale = scale if step.scale_ is None else step.scale_
        offset = step.mean_ if step.with_mean else offset
    elif type(step) is FunctionTransformer and step.inverse_func in INVERSES:
        link = INVERSES[step.inverse_func]
    else:
        raise ExportError(
            "TransformedTargetRegressor with another transformation than StandardScaler, and other "
            "functions than numpy.exp or numpy.expm1 as inverse_func"
        )
    return numbers_of(
        writer,
        values,
        scale,
        offset,
        n_targets=None if targets_have_one_dimension(model) else n_targets,
        link=link,
        quantiles=values["quantiles"],
    )


#: Links of targets that were transformed, by the function that transforms predictions.
INVERSES = {np.exp: "log", np.expm1: "log1p", None: "identity"}


MODELS = {
    Pipeline: _pipeline,
    BaseSearchCV: _best,
    FrozenEstimator: _frozen,
    CalibratedClassifierCV: _calibrated,
    TransformedTargetRegressor: _transformed_target,
    DistilledClassifier: _distilled,
    DistilledRegressor: _distilled_regressor,
    SelfDistillClassifier: _self_distilled,
    TwoLayerPGDClassifier: _two_layer,
    TwoLayerPGDRegressor: _two_layer_regressor,
    ModuleClassifier: _module,
    ModuleRegressor: _module_regressor,
    MLPClassifier: _multilayer_perceptron,
    MLPRegressor: _multilayer_perceptron,
    LogisticRegression: _logistic_regression,
    LinearModel: _linear,
    **dict.fromkeys((PoissonRegressor, GammaRegressor, TweedieRegressor), _generalized_linear),
    **dict.fromkeys((DecisionTreeClassifier, DecisionTreeRegressor), _decision_tree),
    **dict.fromkeys(
        (
            RandomForestClassifier,
            RandomForestRegressor,
            ExtraTreesClassifier,
            ExtraTreesRegressor,
        ),
        _random_forest,
    ),
    **dict.fromkeys((HistGradientBoostingClassifier, HistGradientBoostingRegressor), _boosting),
}
