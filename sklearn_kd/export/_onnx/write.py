"""Write fitted models in ONNX: `to_onnx`."""

import math
from numbers import Integral

import narwhals.stable.v2 as nw
import narwhals.stable.v2.selectors as ncs
import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import check_scalar

from sklearn_kd._utils.containers import is_dataframe
from sklearn_kd.export._answers import (
    TOLERANCE,
    answers_of,
    largest_change,
    name_of_answer,
    tolerated_change,
)
from sklearn_kd.export._columns import ExportError
from sklearn_kd.export._compact import numbers_in_float64
from sklearn_kd.export._description import describe_model, parts_of
from sklearn_kd.export._onnx.answer import write_answer, write_numbers
from sklearn_kd.export._onnx.converters import converted
from sklearn_kd.export._onnx.graph import (
    BOOL,
    CODES,
    DOUBLE,
    FLOAT,
    INT64,
    LABEL,
    MIN_OPSET,
    OUTPUTS_OF_CLASSES,
    OUTPUTS_OF_NUMBERS,
    PROBABILITIES,
    QUANTILES,
    STRING,
    TABLE,
    VARIABLE,
    Graph,
    RawColumns,
    check_names,
    metadata,
    require,
)
from sklearn_kd.export._onnx.models import ONNX_MODELS, TORCH_OPSET
from sklearn_kd.export._onnx.readers import input_kinds
from sklearn_kd.export._onnx.rows import as_table, onnx_inputs

#: The same for a model that skl2onnx converts.
CONVERTED_OPSET = 15
#: Numbers of a tensor between operators that a comparison of rows may take, half a gigabyte.
BLOCK_VALUES = 2**26
#: Most by which answers of rows may differ where the graph is not described in float64.
LOOSE_TOLERANCE = {"float64": 1e-6, "float32": 1e-4}


def to_onnx(model, X=None, *, dtype="float32", check=True, by_column=True, target_opset=None):
    """Write a fitted classifier or regressor in ONNX.

    Whatever :func:`compact` writes is written from the same description, in float64 but for the
    weights. :class:`~sklearn_kd.KernelTeacher`, its regressor and modules of torch are written too.
    Other steps and models of scikit-learn are converted by ``skl2onnx``, with
    :func:`register_onnx_converters`.

    Parameters
    ----------
    model : classifier or regressor
        Fitted.
    X : DataFrame or array-like of shape (n_samples, n_features), default=None
        Raw rows, on which the answers of the graph are compared with those of the model. A model
        that skl2onnx converts and that was fitted on a table with names needs them, since they tell
        the types of the columns.
    dtype : {"float32", "float64"}, default="float32"
        Of the weights and the probabilities. Numbers of rows, edges, thresholds and predicted
        numbers are float64, but for a model that skl2onnx converts, whose numbers are all of this
        dtype.
    check : bool, default=True
        Whether to compare the answers of the rows X, which needs ``onnxruntime``.
    by_column : bool, default=True
        Whether each column with a name is an input. Otherwise all numbers are one input "numbers",
        and all texts one input "texts", with which onnxruntime predicts a single row faster. It has
        no effect on what skl2onnx converts.
    target_opset : int, default=None
        Version of the operators, from 13 to the newest one that ``onnx`` has. None is 13, 18 for a
        module of torch other than :class:`~sklearn_kd.modules.MLP`, which is its lowest one, and 15
        for what skl2onnx converts.

    Returns
    -------
    graph : onnx.ModelProto
        A table with names of columns has an input of shape (n, 1) for each column that the model
        reads, with its name: float64 for numbers and booleans, with NaN for missing cells, and
        text for others, in which "nan", "None", "<NA>" and "NaT" are missing unless the training
        rows have a level of this name. A table of numbers without names is one input "X", and one
        with texts, without names, has the inputs "numbers" and "texts". The outputs are "label" and
        "probabilities" (n, n_classes). A regressor has the output "variable" (n, n_targets) in
        their place and, if it has learned quantiles, "quantiles" (n, n_quantiles), or (n,
        n_targets, n_quantiles) if ``y`` had two dimensions. Answers to rows that the model refuses,
        such as those with an infinite number, are NaN. Metadata have "classes", the levels
        "quantiles", the "columns" of each input and the "versions" of the packages, as JSON.

    Raises
    ------
    ImportError
        If a package of the extra "onnx" is missing.
    ValueError
        If the model has a part that cannot be written, which the message names, or if the answers
        to the rows X differ.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_kd.export import to_onnx
    >>> X, y = load_iris(return_X_y=True)
    >>> graph = to_onnx(LogisticRegression(max_iter=1000).fit(X, y), X)
    >>> [each.name for each in (*graph.graph.input, *graph.graph.output)]
    ['X', 'label', 'probabilities']
    """
    if dtype not in LOOSE_TOLERANCE:
        raise ValueError(f"dtype must be one of {list(LOOSE_TOLERANCE)}, got {dtype!r}.")
    newest = require("onnx").defs.onnx_opset_version()
    if target_opset is not None:
        check_scalar(target_opset, "target_opset", Integral, min_val=MIN_OPSET, max_val=newest)
    try:
        spec, arrays = describe_model(model, dtype, "ONNX", ONNX_MODELS)
        kinds = input_kinds(spec)
    except ExportError as error:
        if not (is_classifier(model) or is_regressor(model)):
            raise
        if is_classifier(model) and not hasattr(model, "predict_proba"):
            raise ValueError(
                f"{type(model).__name__} has no predict_proba: put it in a CalibratedClassifierCV."
            ) from error
        graph = converted(model, X, dtype, target_opset or CONVERTED_OPSET, error)
        if check and X is not None:
            _check_answers(graph, model, X, LOOSE_TOLERANCE[dtype])
    else:
        if set(kinds) == {"unused"}:
            raise ValueError(
                f"{type(model).__name__} reads no column: it has the same answer to all rows, "
                "which needs no graph."
            )
        graph = _graph_of(spec, arrays, kinds, dtype, by_column, target_opset)
        is_exact = not any(
            each["kind"] in ("kernel", "module") for each in parts_of(spec["answer"])
        )
        tolerance = TOLERANCE if is_exact else LOOSE_TOLERANCE
        if check and X is not None:
            _check_answers(graph, model, X, tolerance[dtype], spec["answer"], arrays)
    return graph


def _graph_of(spec, arrays, kinds, dtype, by_column, target_opset):
    """Return the graph of a description."""
    has_module = any(each["kind"] == "module" for each in parts_of(spec["answer"]))
    lowest = TORCH_OPSET if has_module else MIN_OPSET
    opset = lowest if target_opset is None else target_opset
    if opset < lowest:
        raise ValueError(f"target_opset must be at least {lowest}, got {opset}.")
    graph = Graph(opset, dtype)
    is_of_numbers = spec["classes"] is None
    names = OUTPUTS_OF_NUMBERS if is_of_numbers else OUTPUTS_OF_CLASSES
    inputs, places = _inputs_of(spec["names"], kinds, by_column, names)
    columns = RawColumns(graph, places, kinds)
    outputs = (_numbers if is_of_numbers else _probabilities)(graph, spec, arrays, columns)
    return graph.to_model(
        [(name, code, ("n", len(labels))) for name, code, labels in inputs],
        outputs,
        metadata(spec, {name: labels for name, _, labels in inputs}),
    )


def _probabilities(graph, spec, arrays, columns):
    """Return the outputs of a classifier."""
    proba, _ = write_answer(graph, spec["answer"], arrays, columns)
    label = graph.add("ArgMax", proba, axis=1, keepdims=0)
    classes = np.array(spec["classes"], dtype=spec["classes_dtype"])
    labels, code = _label_tensor(classes)
    of_proba = CODES[graph.dtype]
    return {
        LABEL: (graph.add("Gather", labels, label, axis=0), code, ("n",)),
        PROBABILITIES: (graph.cast(proba, of_proba), of_proba, ("n", len(classes))),
    }


def _numbers(graph, spec, arrays, columns):
    """Return the outputs of a regressor, in float64, since targets may be far from zero."""
    answer = spec["answer"]
    variable, quantiles = write_numbers(graph, answer, arrays, columns)
    n_targets = answer["n_targets"] or 1
    outputs = {VARIABLE: (variable, DOUBLE, ("n", n_targets))}
    if quantiles is not None:
        shape = [n_targets] * (answer["n_targets"] is not None)
        shape.append(len(answer["quantiles"]["asked"]))
        outputs[QUANTILES] = quantiles, DOUBLE, ("n", *shape)
    return outputs


def _inputs_of(names, kinds, by_column, outputs):
    """Return the inputs of a graph, and the place of each raw column in them.

    Returns
    -------
    inputs : list of (str, int, list)
        Name, code of the type, and the names of the columns, or their numbers.
    places : list of (str, int, int) or None
        As in `RawColumns`.
    """
    codes = {"number": DOUBLE, "text": STRING}
    used = {kind: [j for j, each in enumerate(kinds) if each == kind] for kind in codes}
    labels = list(range(len(kinds))) if names is None else names
    if names is None and not used["text"]:
        groups = [(TABLE, DOUBLE, range(len(kinds)))]
    elif names is None or not by_column:
        groups = [(f"{kind}s", codes[kind], indices) for kind, indices in used.items() if indices]
    else:
        groups = [
            (name, codes[kind], [j])
            for j, (name, kind) in enumerate(zip(names, kinds, strict=True))
            if kind in codes
        ]
        check_names([name for name, *_ in groups], outputs, "set by_column=False")
    places = [None] * len(kinds)
    for name, _, indices in groups:
        for column, j in enumerate(indices):
            places[j] = name, column, len(indices)
    return [(name, code, [labels[j] for j in indices]) for name, code, indices in groups], places


def _label_tensor(classes):
    """Return labels as ONNX has them, and the code of their type."""
    if classes.dtype.kind == "u" and classes.max() > np.iinfo(np.int64).max:
        raise ValueError("labels of ONNX are integers below 2**63, and the model has larger ones.")
    dtype, code = {
        "O": (object, STRING),
        "U": (object, STRING),
        "b": (bool, BOOL),
        "i": (np.int64, INT64),
        "u": (np.int64, INT64),
        "f": (np.float64, DOUBLE),
    }[classes.dtype.kind]
    return classes.astype(dtype), code


def _check_answers(graph, model, X, tolerance, spec=None, arrays=None):
    """Raise ValueError if the answers to rows differ from those of the model.

    Parameters
    ----------
    graph : onnx.ModelProto
    model : classifier or regressor
    X : DataFrame or array-like of shape (n_samples, n_features)
    tolerance : float
    spec, arrays : dict and list, optional
        Description of the answer. Not of what skl2onnx has converted.
    """
    onnxruntime = require("onnxruntime", "check=False compares nothing")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    X = numbers_in_float64(X)
    is_single = any(each.type.tensor_type.elem_type == FLOAT for each in graph.graph.input)
    expected = answers_of(model, _rounded_to_float32(X) if is_single else X, spec)
    inputs = onnx_inputs(graph, as_table(model, X))
    try:
        session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        found = _answers(session, inputs, _rows_of_a_block(graph), expected.shape[1:])
    except ExportError:
        raise
    except Exception as error:  # of many classes of onnxruntime
        raise ValueError(f"onnxruntime cannot run the graph: {error}") from error
    largest = largest_change(found, expected)
    bound = tolerated_change(tolerance, expected, spec, arrays)
    if not largest <= bound:
        _, what, unit = name_of_answer(expected)
        raise ValueError(
            f"{what} of the rows X in ONNX differ by {largest:.2g}{unit} from those of the model, "
            f"more than {bound:g}: float32 loses digits of numbers far from zero, which "
            "dtype='float64' keeps, skl2onnx converts a step otherwise, or a column has missing "
            "cells and a level with the text of one, such as 'None'."
        )


def _rows_of_a_block(graph):
    """Return the number of rows whose difference from each row of a kernel is not too large."""
    largest = max((math.prod(each.dims) for each in graph.graph.initializer), default=1)
    return max(1, BLOCK_VALUES // largest)


def _answers(session, inputs, size, shape):
    """Return the answers to rows, which are predicted in blocks, as `answers_of` returns them."""
    n_rows = len(next(iter(inputs.values())))
    names = [each.name for each in session.get_outputs() if each.name != LABEL]
    found = []
    for start in range(0, n_rows, size):
        rows = {name: each[start : start + size] for name, each in inputs.items()}
        parts = session.run(names, rows)
        n_asked = len(next(iter(rows.values())))
        for name, each in zip(names, parts, strict=True):
            if len(each) != n_asked:
                raise ExportError(
                    f"the graph has {len(each)} rows of the output {name!r} for {n_asked} rows: "
                    "skl2onnx does not convert this model of several targets (a BaggingRegressor "
                    "is such a model): write a model for each target."
                )
        if len(shape) > 1:
            parts = [each.reshape(len(each), shape[0], -1) for each in parts]
        found.append(np.concatenate(parts, axis=-1))
    return np.concatenate(found)


def _rounded_to_float32(X):
    if not hasattr(X, "select_dtypes"):
        if is_dataframe(X):
            floats = ncs.by_dtype(nw.Float32, nw.Float64)
            single = nw.from_native(X).with_columns(floats.cast(nw.Float32))
            return single.with_columns(floats.cast(nw.Float64)).to_native()
        X = np.asarray(X)
        return X.astype(np.float32).astype(np.float64) if X.dtype.kind == "f" else X
    numbers = X.select_dtypes(np.floating).columns
    return X.astype(dict.fromkeys(numbers, np.float32)).astype(dict.fromkeys(numbers, np.float64))
