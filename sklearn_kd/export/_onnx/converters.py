"""Convert the estimators of sklearn_kd by skl2onnx, and other pipelines with them."""

import numpy as np
from sklearn.base import is_regressor

from sklearn_kd._distillation.classifier import DistilledClassifier
from sklearn_kd._distillation.predictions import n_target_columns
from sklearn_kd._distillation.regressor import DistilledRegressor
from sklearn_kd._kernel.classifier import KernelTeacher
from sklearn_kd._kernel.regressor import KernelTeacherRegressor
from sklearn_kd._networks.module.classifier import ModuleClassifier
from sklearn_kd._networks.module.regressor import ModuleRegressor
from sklearn_kd._networks.two_layer.classifier import TwoLayerPGDClassifier
from sklearn_kd._networks.two_layer.regressor import TwoLayerPGDRegressor
from sklearn_kd._search.batched_grid_search import BatchedGridSearchCV
from sklearn_kd._self_distillation.classifier import SelfDistillClassifier
from sklearn_kd._tables.encoder import TableEncoder
from sklearn_kd._utils.sub_estimators import last_step
from sklearn_kd.export._columns import after_step, raw_columns
from sklearn_kd.export._description import (
    ROUND,
    first_with_features,
    label_spec,
    package_versions,
)
from sklearn_kd.export._onnx.answer import write_answer, write_numbers
from sklearn_kd.export._onnx.graph import (
    CODES,
    DOUBLE,
    MIN_OPSET,
    ML_DOMAIN,
    ML_OPSET,
    OUTPUTS_OF_CLASSES,
    OUTPUTS_OF_NUMBERS,
    TABLE,
    Graph,
    RawColumns,
    attribute,
    check_names,
    metadata,
    require,
    tensor,
)
from sklearn_kd.export._onnx.models import ONNX_MODELS
from sklearn_kd.export._onnx.readers import Readers
from sklearn_kd.export._onnx.rows import as_table, is_text
from sklearn_kd.export._writer import ModelWriter, first_layer, numbers_of

CLASSIFIERS = (
    BatchedGridSearchCV,
    DistilledClassifier,
    KernelTeacher,
    ModuleClassifier,
    SelfDistillClassifier,
    TwoLayerPGDClassifier,
)
REGRESSORS = (DistilledRegressor, KernelTeacherRegressor, ModuleRegressor, TwoLayerPGDRegressor)
#: Options of skl2onnx that the classifiers take.
OPTIONS = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "output_class_labels": [False, True],
    "raw_scores": [True, False],
}


def register_onnx_converters():
    """Register converters of the estimators of sklearn_kd with skl2onnx.

    ``skl2onnx.to_onnx`` then converts pipelines that contain them. It may be called several times.
    :func:`to_onnx` calls it where it needs skl2onnx.

    Raises
    ------
    ImportError
        If skl2onnx is not installed, which is in the extra "onnx".

    Notes
    -----
    The options of classifiers are "zipmap", "nocl", "output_class_labels" and "raw_scores", which
    gives decision values in place of probabilities. Labels that are booleans are integers in
    skl2onnx. Regressors have the output "variable" of skl2onnx alone, without quantiles, in the
    dtype of the inputs.

    Examples
    --------
    >>> from sklearn_kd.export import register_onnx_converters
    >>> register_onnx_converters()
    """
    update = require("skl2onnx").update_registered_converter
    for each in CLASSIFIERS:
        update(
            each, f"SklearnKD{each.__name__}", _types, _convert, options=OPTIONS, parser=_parse
        )  # fmt: skip
    for each in REGRESSORS:
        update(each, f"SklearnKD{each.__name__}", _types, _convert)
    update(TableEncoder, "SklearnKDTableEncoder", _encoder_types, _convert_encoder)


def _parse(scope, model, inputs, custom_parsers=None):
    """Declare the outputs of a model, which is a classifier, or a search of a regressor."""
    from skl2onnx import _parse

    parse = _parse._parse_sklearn_classifier
    if is_regressor(model):
        parse = _parse._parse_sklearn_simple_model
    return parse(scope, model, inputs, custom_parsers)


def _types(operator):
    """Set the types of the outputs of a model, for skl2onnx."""
    (_regressor_types if is_regressor(operator.raw_operator) else _classifier_types)(operator)


def _convert(scope, operator, container):
    """Add the nodes of a model to the graph of skl2onnx."""
    is_of_numbers = is_regressor(operator.raw_operator)
    convert = _convert_regressor if is_of_numbers else _convert_classifier
    convert(scope, operator, container)


def converted(model, X, dtype, target_opset, reason):
    """Return the graph that skl2onnx makes of a model.

    Parameters
    ----------
    model : classifier or regressor
    X : DataFrame or None
        Tells the types of columns that have names.
    dtype : {"float32", "float64"}
        Of all numbers.
    target_opset : int
    reason : Exception
        Why the model has no description.

    Returns
    -------
    onnx.ModelProto
        Inputs, outputs and metadata are those of :func:`to_onnx`.

    Raises
    ------
    ValueError
        If skl2onnx cannot convert it either.
    """
    from onnx import checker, helper

    try:
        skl2onnx = require("skl2onnx")
    except ImportError as error:
        raise ImportError(f"{reason} {error}") from error
    register_onnx_converters()
    inputs = _typed_inputs(model, X, dtype, reason)
    try:
        made = skl2onnx.convert_sklearn(
            model,
            initial_types=inputs,
            options=None if is_regressor(model) else {id(model): {"zipmap": False}},
            target_opset={"": target_opset, ML_DOMAIN: ML_OPSET},
        )
    except Exception as error:  # of many classes
        raise ValueError(f"{reason} skl2onnx cannot convert it either: {error}") from error
    try:
        checker.check_model(made, full_check=True)
    except Exception as error:  # of several classes
        raise ValueError(
            f"{reason} skl2onnx makes a graph of it that is not valid for dtype={dtype!r}: {error}"
        ) from error
    outputs, spec = OUTPUTS_OF_CLASSES, {"versions": package_versions()}
    if is_regressor(model):
        outputs = OUTPUTS_OF_NUMBERS[:1]
        spec |= {**label_spec(None), "answer": {"quantiles": None}}
    else:
        spec |= label_spec(model.classes_)
    _rename(made.graph, [name for name, _ in inputs], outputs)
    columns = {name: [name] for name, _ in inputs}
    if not hasattr(first_with_features(model), "feature_names_in_"):
        columns = {TABLE: list(range(inputs[0][1].shape[1]))}
    helper.set_model_props(made, metadata(spec, columns))
    return made


def _typed_inputs(model, X, dtype, reason):
    """Return the name and the type of skl2onnx of each input."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType

    number = {"float32": FloatTensorType, "float64": DoubleTensorType}[dtype]
    first = first_with_features(model)
    names = getattr(first, "feature_names_in_", None)
    if names is None:
        return [(TABLE, number([None, first.n_features_in_]))]
    outputs = OUTPUTS_OF_NUMBERS if is_regressor(model) else OUTPUTS_OF_CLASSES
    check_names(names, outputs, "rename them, and fit again")
    if X is None:
        raise ValueError(f"{reason} skl2onnx needs rows X, for the types of the columns.")
    table = as_table(model, X)
    return [
        (name, (StringTensorType if is_text(table[name]) else number)([None, 1])) for name in names
    ]


def _rename(graph, inputs, outputs):
    """Give a graph of skl2onnx, which changes names, the names of its inputs and outputs."""
    names = {name: f"/{name}" for name in inputs}  # of other tensors
    names |= {each.name: name for each, name in zip(graph.input, inputs, strict=True)}
    names |= {each.name: name for each, name in zip(graph.output, outputs, strict=True)}
    for each in (*graph.input, *graph.output, *graph.initializer):
        each.name = names.get(each.name, each.name)
    for node in graph.node:
        for part in (node.input, node.output):
            part[:] = [names.get(name, name) for name in part]


def _number_type(operator):
    """Return the type of the numbers that an operator returns."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    is_double = any(isinstance(each.type, DoubleTensorType) for each in operator.inputs)
    return DoubleTensorType if is_double else FloatTensorType


def _classifier_types(operator):
    """Set the types of the outputs of a classifier, for skl2onnx."""
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType
    from skl2onnx.common.utils_classifier import get_label_classes

    classes = get_label_classes(operator.scope_inst, operator.raw_operator)
    label = StringTensorType if classes.dtype.kind in "OU" else Int64TensorType
    if classes.dtype.kind == "f" and (classes != np.floor(classes)).any():
        raise ValueError(f"skl2onnx has labels that are texts or integers, got {classes.tolist()}.")
    n_rows = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type = label([n_rows])
    operator.outputs[1].type = _number_type(operator)([n_rows, len(classes)])


def _regressor_types(operator):
    """Set the type of the output of a regressor, for skl2onnx."""
    model, n_rows = operator.raw_operator, operator.inputs[0].get_first_dimension()
    operator.outputs[0].type = _number_type(operator)([n_rows, _n_targets(model)])


def _n_targets(model):
    """Return the number of targets of a fitted regressor."""
    model = _without_searches(model)
    if isinstance(model, DistilledRegressor):
        return n_target_columns(model) or 1
    if hasattr(model, "target_scale_"):
        return np.size(model.target_scale_)
    return getattr(model, "n_outputs_", 1)


def _without_searches(model):
    """Return the last step of a fitted model, or of what a search has found."""
    model = last_step(model)
    return _without_searches(model.best_estimator_) if hasattr(model, "best_estimator_") else model


def _encoder_types(operator):
    """Set the type of the output of a TableEncoder, for skl2onnx."""
    n_rows, n_columns = (
        operator.inputs[0].get_first_dimension(),
        operator.raw_operator.n_features_in_,
    )
    n_encoded = len(after_step(operator.raw_operator, raw_columns(n_columns)))
    operator.outputs[0].type = _number_type(operator)([n_rows, n_encoded])


def _convert_classifier(scope, operator, container):
    """Add the nodes of a classifier to the graph of skl2onnx."""
    from skl2onnx.common.utils_classifier import get_label_classes

    model = operator.raw_operator
    graph, columns = _open_graph(scope, operator, container)
    writer = ModelWriter(ROUND[_precision(operator)], ONNX_MODELS, _sub_model(scope, operator))
    spec = writer.describe(model, raw_columns(len(columns.places)))
    proba, decision = write_answer(graph, spec, writer.arrays, columns)
    label = graph.add("ArgMax", proba, axis=1, keepdims=0)
    classes = get_label_classes(scope, model)
    classes = classes.astype(object if classes.dtype.kind in "OU" else np.int64)
    if container.get_options(model, {"raw_scores": False})["raw_scores"]:
        proba = decision
        if len(classes) == 2:
            proba = graph.concatenated([graph.add("Neg", decision), decision])
    proba = graph.cast(proba, CODES[_precision(operator)])
    _close_graph(graph, container, operator, [graph.add("Gather", classes, label, axis=0), proba])


def _convert_regressor(scope, operator, container):
    """Add the nodes of a regressor to the graph of skl2onnx."""
    graph, columns = _open_graph(scope, operator, container)
    writer = ModelWriter(ROUND[_precision(operator)], ONNX_MODELS, _sub_model(scope, operator))
    spec = writer.describe(operator.raw_operator, raw_columns(len(columns.places)))
    variable, _ = write_numbers(graph, spec, writer.arrays, columns)
    _close_graph(graph, container, operator, [graph.cast(variable, CODES[_precision(operator)])])


def _convert_encoder(scope, operator, container):
    """Add the nodes of a TableEncoder to the graph of skl2onnx."""
    graph, columns = _open_graph(scope, operator, container)
    writer = ModelWriter(ROUND["float64"], ONNX_MODELS)
    features = after_step(operator.raw_operator, raw_columns(len(columns.places)))
    layer = first_layer(writer, features, np.eye(len(features)), np.zeros(len(features)))
    readers = Readers(graph, columns, writer.arrays)
    encoded = graph.total([readers.first_layer(layer), *readers.refusals])
    _close_graph(graph, container, operator, [graph.cast(encoded, CODES[_precision(operator)])])


def _precision(operator):
    from skl2onnx.common.data_types import DoubleTensorType

    return "float64" if _number_type(operator) is DoubleTensorType else "float32"


def _open_graph(scope, operator, container):
    """Return an empty graph, and the inputs of an operator as raw columns of float64 or text."""
    from skl2onnx.common.data_types import DoubleTensorType, StringTensorType

    model, opset = operator.raw_operator, container.target_opset_any_domain("")
    if opset < MIN_OPSET:
        raise ValueError(
            f"{type(model).__name__} needs target_opset={MIN_OPSET} or more, got {opset}."
        )
    graph = Graph(opset, _precision(operator), scope.get_unique_variable_name)
    places, kinds = [], []
    for each in operator.inputs:
        width, is_text = each.type.shape[1], isinstance(each.type, StringTensorType)
        if width is None and len(operator.inputs) == 1:
            width = model.n_features_in_
        name = each.full_name
        if not is_text and not isinstance(each.type, DoubleTensorType):
            name = graph.cast(name, DOUBLE)
        places += [(name, j, width) for j in range(width)]
        kinds += ["text" if is_text else "number"] * width
    return graph, RawColumns(graph, places, kinds)


def _sub_model(scope, operator):
    """Return a function that converts a model of other packages by skl2onnx."""
    from skl2onnx.common.data_types import Int64TensorType
    from sklearn.pipeline import make_pipeline

    def describe(writer, model, error):
        if model is operator.raw_operator:
            raise error
        # skl2onnx converts whatever a pipeline contains
        inner = scope.declare_local_operator("SklearnPipeline", make_pipeline(model))
        inner.inputs = operator.inputs
        is_of_numbers = is_regressor(model)
        outputs = [("label", Int64TensorType()), ("probabilities", _number_type(operator)())]
        for name, kind in outputs[is_of_numbers:]:
            inner.outputs.append(scope.declare_local_variable(name, kind))
        spec = {"kind": "given", "tensor": inner.outputs[-1].full_name}
        if not is_of_numbers:
            return {**spec, "n_classes": len(model.classes_)}
        outer = _without_searches(operator.raw_operator)
        n = _n_targets(outer if isinstance(outer, DistilledRegressor) else model)
        n *= np.size(getattr(outer, "quantile_shift_", 0.0))  # targets of a student of quantiles
        return numbers_of(
            writer, spec, np.ones(n), np.zeros(n), n_targets=n if n > 1 else None
        )  # fmt: skip

    return describe


def _close_graph(graph, container, operator, tensors):
    """Add a graph to that of skl2onnx, with its outputs as those of the operator."""
    graph.keep_ancestors(tensors)
    for name, array in graph.constants.items():
        code = tensor(array, name).data_type
        container.add_initializer(name, code, array.shape, array.ravel().tolist())
    ends = zip(tensors, operator.outputs, strict=True)
    nodes = [*graph.nodes, *(("Identity", [found], [end.full_name], "", {}) for found, end in ends)]
    for kind, inputs, outputs, domain, attributes in nodes:
        values = {name: attribute(name, value) for name, value in attributes.items()}
        version = ML_OPSET if domain == ML_DOMAIN else None
        container.add_node(kind, inputs, outputs, op_domain=domain, op_version=version, **values)
