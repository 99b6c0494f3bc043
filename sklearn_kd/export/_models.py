"""Fitted models as the models of a compact file: networks, linear models and trees."""

import math
from contextlib import contextmanager, nullcontext
from dataclasses import replace

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
from sklearn_kd._tables.encoder import column_of
from sklearn_kd._utils.label_indicators import learns_labels
from sklearn_kd._utils.regression_targets import nearest_to_median
from sklearn_kd._utils.sklearn_compat import (
    BaseSearchCV,
    LinearModel,
    boosted_trees,
    link_of,
    targets_have_one_dimension,
)
from sklearn_kd.export._columns import (
    SUBTRACT_DIVIDE,
    ExportError,
    after_step,
    apply_steps,
    as_feature,
    is_known,
    raw_columns,
)


class ModelWriter:
    """Description of a model, and the arrays that it refers to by number.

    Parameters
    ----------
    round_weights : callable
        From weights, whose last axis are the outputs, to what is stored of them.
    models : dict, default=None
        Functions that describe a model, by its class, in place of those of ``MODELS``.
    describe_other : callable, default=None
        From the writer, a model that reads the raw columns, and the error that says why it has no
        description, to a description.
    """

    def __init__(self, round_weights, models=None, describe_other=None):
        self.arrays, self._round = [], round_weights
        self._models, self._describe_other = {**MODELS, **(models or {})}, describe_other
        self.kinds = {}

    @contextmanager
    def exactly(self):
        """Store weights in float64."""
        rounding, self._round = self._round, np.asarray
        yield
        self._round = rounding

    def add(self, array):
        """Store an array as it is, and return its number."""
        self.arrays.append(np.asarray(array))
        return len(self.arrays) - 1

    @property
    def is_exact(self):
        """Whether weights are stored in float64."""
        stored = self._round(np.zeros((1, 1)))
        return isinstance(stored, np.ndarray) and stored.dtype == np.float64

    def add_weights(self, weights):
        """Store rounded weights, and return their number."""
        self.arrays.append(self._round(np.asarray(weights, dtype=np.float64)))
        return len(self.arrays) - 1

    def describe(self, model, columns):
        """Return the description of a fitted classifier or regressor on columns."""
        try:
            for kind, function in self._models.items():
                if isinstance(model, kind) and is_known(model):
                    if learns_labels(model):
                        raise ExportError(f"{type(model).__name__} predicts several labels")
                    return function(self, model, columns)
            raise ExportError(
                f"{type(model).__name__} is none of the models that can be written, which the "
                "guide to deployment lists"
            )
        except ExportError as error:
            if self._describe_other is None or columns != raw_columns(len(columns)):
                raise
            return self._describe_other(self, model, error)

    def reader(self, source):
        """Return the description of a source of a first layer."""
        column = source.column
        if source.is_number:
            self._note_kind(column.index, "number")
            return {
                "kind": "pieces",
                "column": column.index,
                "constants": self.add(np.array([source.low, source.high, *source.edges])),
                "steps": self.add_steps(column.steps),
                "fill": column.fill,
                "missing": source.has_missing,
            }
        levels = [plain_level(level, column.index) for level in source.lookup]
        self._note_kind(column.index, _kind_of(levels))
        return {
            "kind": "levels",
            "column": column.index,
            "levels": levels,
            "states": list(source.lookup.values()),
            "other": source.other,
            "missing": source.missing,
            "n_states": source.n_states,
        }

    def number_reader(self, index, *, takes_infinity):
        """Return the description of a column of numbers that trees read as it is."""
        self._note_kind(index, "number")
        return {"kind": "number", "column": index, "missing": True, "infinite": takes_infinity}

    def add_steps(self, steps):
        """Store steps of scaling."""
        return self.add(np.array(steps, dtype=np.float64).reshape(-1, 3))

    def _note_kind(self, index, kind):
        known = self.kinds.setdefault(index, kind)
        if known != kind:
            self.kinds[index] = "number" if "number" in (known, kind) else "category"


def plain_level(level, index):
    """Return a level as JSON has it."""
    level = level.item() if isinstance(level, np.generic) else level
    if not isinstance(level, str | bool | int | float):
        raise ExportError(
            f"column {index} has levels of the type {type(level).__name__}, and only texts, "
            "numbers and booleans can be written"
        )
    return level


def _kind_of(levels):
    kinds = {type(level) for level in levels}
    return {frozenset([str]): "text", frozenset([bool]): "boolean"}.get(
        frozenset(kinds), "category"
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


def network_inputs(model, columns):
    """Return the features that a network scales, and the column of its table of each."""
    encoder = getattr(model, "encoder_", None)
    if encoder is None:
        return [as_feature(column) for column in columns], np.arange(len(columns))
    return after_step(encoder, columns), column_of(encoder)


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


def scaled_features(features, offset, scale):
    """Return the inputs of a network: features that are standardized.

    A number is standardized before its product with the weights, so that a large offset costs no
    digits.
    """
    return [
        as_feature(feature.source.column.scaled(SUBTRACT_DIVIDE, float(a), float(b)))
        if _is_plain_number(feature)
        else feature.scaled(SUBTRACT_DIVIDE, float(a), float(b))
        for feature, a, b in zip(features, offset, scale, strict=True)
    ]


def _is_plain_number(feature):
    """Return whether a feature is a number of one piece without bounds."""
    source = feature.source
    return source.is_number and not (
        feature.steps or source.has_missing or math.isfinite(source.low)
    )


def first_layer(writer, features, weights, bias, signs=None):
    """Return the first layer of a network, or a linear model, without the layers that follow.

    Parameters
    ----------
    features : list of Feature
    weights : ndarray of shape (n_features, width)
    bias : ndarray of shape (width,)
    signs : ndarray of shape (members, n_features), optional
    """
    groups = {}
    for i, feature in enumerate(features):
        # without states that several features share, each has a sign of its own
        key = id(feature.source), None if signs is None else signs[:, i].tobytes()
        groups.setdefault(key, []).append(i)
    readers, rows, of_readers = [], [np.empty((0, weights.shape[1]))], []
    is_unscaled = False
    base = np.tile(bias.astype(np.float64), (1 if signs is None else len(signs), 1))
    for members in groups.values():
        source = features[members[0]].source
        values, slopes = zip(*(features[i].folded() for i in members), strict=True)
        values = np.array(values).T @ weights[members]
        sign = np.ones(1) if signs is None else signs[:, members[0]]
        lost = np.isnan(values).any(axis=1)
        if lost.any() and not source.is_number:
            source, values = _without_states(source, lost), np.nan_to_num(values)
        is_unscaled |= _is_plain_number(features[members[0]]) and not source.column.steps
        if source.is_number:
            slopes = np.array(slopes).T @ weights[members]
            base += sign[:, None] * values[0]
            n_pieces = source.n_states - source.has_missing
            rows.append(slopes[:n_pieces])
            rows.append(values[n_pieces:] - values[0])
        else:
            rows.append(values)
        readers.append(writer.reader(source))
        of_readers.append(sign)
    signs = None if signs is None else np.reshape(of_readers, (len(readers), len(signs))).T
    return {
        "kind": "layers",
        "readers": readers,
        # numbers of any size are multiplied by weights of any size, which are not rounded
        "rows": (writer.add if is_unscaled else writer.add_weights)(np.concatenate(rows)),
        "bias": writer.add(base),
        "signs": None if signs is None else writer.add(signs.astype(np.int8)),
        "layers": [],
    }


def _without_states(source, lost):
    """Return a source whose cells are refused where a feature would be NaN."""
    if lost[list(source.lookup.values())].any():
        raise ExportError("a level is encoded as NaN")
    other, missing = (
        None if state is None or lost[state] else state for state in (source.other, source.missing)
    )
    return replace(source, other=other, missing=missing)


def numbers_of(
    writer, values, scale, offset, *, n_targets=None, link="identity", quantiles=None
):  # fmt: skip
    """Return the description of numbers: values times a scale, plus an offset.

    The units are float64, so that targets far from zero keep their digits whatever the weights are.

    Parameters
    ----------
    writer : ModelWriter
    values : dict
        Description of a model.
    scale, offset : array-like of shape (n_targets,) or (n_targets, n_quantiles)
        One number is that of all quantiles of a target.
    n_targets : int, default=None
        None if predictions have one dimension.
    link : {"identity", "log", "log1p"}, default="identity"
        Function from numbers to what is scaled.
    quantiles : dict, default=None
        Of `quantiles_of`, if the values are quantiles.
    """
    if link not in ("identity", "log", "log1p"):
        raise ExportError(f"a loss with the link {link}")
    n_levels = 1 if quantiles is None else len(quantiles["levels"])
    scale, offset = (
        np.repeat(each, n_levels) if np.ndim(each) < 2 else np.ravel(each)
        for each in (np.float64(scale), np.float64(offset))
    )
    return {
        "kind": "numbers",
        "models": [values],
        "scale": writer.add(scale),
        "offset": writer.add(offset),
        "link": link,
        "n_targets": n_targets,
        "quantiles": quantiles,
    }


def quantiles_of(levels, asked=None):
    """Return the description of the quantiles of a model, or None without levels.

    Those that are ``asked`` for are predicted, all of them by default.
    """
    if levels is None:
        return None
    asked = levels if asked is None else asked
    places = [int(np.abs(levels - each).argmin()) for each in asked]
    return {"levels": levels.tolist(), "center": nearest_to_median(levels), "asked": places}


def unit_of(weights):
    """Return the power of two below the largest weight of each output, the last axis.

    Weights in this unit fit into all dtypes, and are as exact in float64.
    """
    weights = np.abs(np.asarray(weights, dtype=np.float64))
    largest = weights.reshape(-1, weights.shape[-1]).max(axis=0, initial=0.0)
    return np.ldexp(1.0, np.frexp(largest)[1] - 1)


def network_numbers(writer, values, model):
    """Return the description of a network for numbers, from that of its outputs."""
    scale = np.asarray(model.target_scale_)
    return numbers_of(
        writer,
        values,
        scale,
        model.target_offset_,
        n_targets=len(scale) if scale.ndim else None,
        quantiles=quantiles_of(model.quantiles_),
    )


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
    builder = _TreeBuilder(writer, features, np.float32)
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
    builder, leaves = _TreeBuilder(writer, features, np.float64), []
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


class _TreeBuilder:
    """Nodes of trees on features, as nodes on raw columns."""

    def __init__(self, writer, features, dtype):
        self.writer, self.features, self.dtype = writer, features, dtype
        self.readers, self.specs = {}, []
        self.nodes, self.roots, self.outputs, self.in_set = [], [], [], []
        self.sets = {}
        self.numeric = {}  # feature to its nodes and their thresholds

    def start_tree(self, output=0):
        self.start = len(self.nodes)
        self.roots.append(self.start)
        self.outputs.append(output)

    def add_leaf(self, leaf):
        self.nodes.append((0, -1, leaf, -1, 0, 0.0))

    def add_node(self, feature, left, right, missing_left, *, threshold, bits=None):
        """Add a node that sends a row to the left if its feature is at most the threshold.

        With bits, which are those of a set of categories, it is the categories of the set.
        """
        number, feature = int(feature), self.features[feature]
        group, left, right = -1, self.start + int(left), self.start + int(right)
        if feature.source.is_number and bits is not None:
            raise ExportError("categories that are numbers")
        if feature.source.is_number:
            reader = self._reader(feature.source)
            missing_left = self._missing_goes_left(feature, threshold, missing_left)
            self.numeric.setdefault(number, []).append((len(self.nodes), threshold))
        else:
            reader = self._reader(feature.source)
            group = self._set_of(self._states_to_left(feature, threshold, bits, missing_left))
            threshold, missing_left = 0.0, 0
        self.nodes.append((reader, left, right, group, int(missing_left), threshold))

    def _reader(self, source):
        """Return the number of the reader of a source. Trees read all numbers as they are."""
        key = source.column.index if source.is_number else id(source)
        if key not in self.readers:
            self.readers[key] = len(self.specs)
            takes_infinity = self.dtype == np.float64 and not source.column.steps
            self.specs.append(
                self.writer.number_reader(source.column.index, takes_infinity=takes_infinity)
                if source.is_number
                else self.writer.reader(source)
            )
        return self.readers[key]

    def _missing_goes_left(self, feature, threshold, missing_left):
        value = math.nan if feature.source.column.fill is None else None
        if value is None:
            value = evaluate(feature, np.array([math.nan]))[0]
        elif feature.source.has_missing:
            value = apply_steps(feature.values[-1:], feature.steps)[0]
        return missing_left if np.isnan(value) else self.dtype(value) <= threshold

    def _states_to_left(self, feature, threshold, bits, missing_left):
        values = apply_steps(feature.values, feature.steps).astype(self.dtype)
        to_left = values <= threshold
        if bits is not None:
            codes = np.nan_to_num(values).astype(np.int64)
            to_left = (bits[codes // 32] >> (codes % 32).astype(bits.dtype)) & 1 == 1
        return np.where(np.isnan(values), bool(missing_left), to_left)

    def _set_of(self, to_left):
        """Return the start of a set among the stored ones."""
        key = to_left.tobytes()
        if key not in self.sets:
            self.sets[key] = len(self.in_set)
            self.in_set += to_left.tolist()
        return self.sets[key]

    def finished(self, link, base, leaves):
        """Return the description of all trees."""
        reader, left, right, group, missing_left, threshold = zip(*self.nodes, strict=True)
        add, threshold = self.writer.add, np.array(threshold, dtype=np.float64)
        for number, nodes in self.numeric.items():
            place, bounds = zip(*nodes, strict=True)
            threshold[list(place)] = largest_below(
                self.features[number], np.array(bounds, dtype=np.float64), self.dtype
            )
        integers = {
            "roots": self.roots, "output": self.outputs, "reader": reader, "left": left,
            "right": right, "set": group, "missing_left": missing_left, "in_set": self.in_set,
        }  # fmt: skip
        return {
            "kind": "trees",
            "readers": self.specs,
            "link": link,
            "base": add(np.asarray(base, dtype=np.float64)),
            "threshold": add(threshold),
            "leaves": self.writer.add_weights(np.array(leaves, dtype=np.float64)),
            **{name: add(smallest_integers(values)) for name, values in integers.items()},
        }


def smallest_integers(values):
    """Return integers in the smallest dtype of a file that holds them."""
    values = np.array(values, dtype=np.int32)
    for dtype in (np.int8, np.int16):
        info = np.iinfo(dtype)
        if len(values) == 0 or (info.min <= values.min() and values.max() <= info.max):
            return values.astype(dtype)
    return values


def evaluate(feature, numbers):
    """Return a feature of a raw column of numbers, as the model computes it."""
    source = feature.source
    found = apply_steps(numbers, source.column.steps)
    if source.column.fill is not None:
        found = np.where(np.isnan(found), source.column.fill, found)
    found = np.minimum(np.maximum(found, source.low), source.high)
    piece = np.searchsorted(source.edges[1:-1], found, side="right")
    with np.errstate(over="ignore"):
        delta = (found - source.edges[piece]) * (1 / np.diff(source.edges))[piece]
        value = feature.values[piece] + feature.slopes[piece] * delta
        return apply_steps(value, feature.steps)


def largest_below(feature, thresholds, dtype):
    """Return the largest number whose feature, in the dtype of the trees, is at most a threshold.

    Minus infinity if there is none. A bisection of all numbers of float64, of all thresholds at
    once, finds it, so that no rounding of a scaler or of float32 sends a row to the other side.

    Parameters
    ----------
    feature : Feature
        Of a number.
    thresholds : ndarray of float64 of shape (n,)
    dtype : type
        Of the features, by which the trees compare them.

    Returns
    -------
    ndarray of float64 of shape (n,)
    """
    if _is_as_given(feature) and dtype == np.float64:
        return thresholds

    def is_left(keys):
        return evaluate(feature, _numbers_of(keys)).astype(dtype) <= thresholds

    ends = _keys_of(np.array([-1.0, 1.0]) * np.finfo(float).max)
    low, high = (np.full(len(thresholds), end) for end in ends)
    with np.errstate(over="ignore"):
        none, every = ~is_left(low), is_left(high)
        if (none & every).any():
            raise ExportError("a scaler that turns the order of numbers around")
        for _ in range(64):
            middle = (low >> 1) + (high >> 1) + (low & high & 1)  # which does not overflow
            goes_left = is_left(middle)
            low, high = np.where(goes_left, middle, low), np.where(goes_left, high, middle)
    found = _numbers_of(low)
    found[none], found[every] = -math.inf, math.inf
    return found


def _is_as_given(feature):
    """Return whether a feature is a raw number as it is."""
    source = feature.source
    is_whole = source.is_number and source.edges.tolist() == [0.0, 1.0] and math.isinf(source.low)
    return is_whole and not (source.column.steps or feature.steps)


def _keys_of(numbers):
    """Return integers in the order of numbers, where adjacent numbers have adjacent integers."""
    bits = numbers.astype(np.float64).view(np.int64)
    return np.where(bits < 0, np.iinfo(np.int64).min - bits, bits)


def _numbers_of(keys):
    keys = np.asarray(keys, dtype=np.int64)
    return np.where(keys < 0, np.iinfo(np.int64).min - keys, keys).view(np.float64)


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
