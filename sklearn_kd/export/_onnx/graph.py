"""Collect the nodes and constants of an ONNX graph."""

import importlib
import json

import numpy as np

from sklearn_kd._utils.saved_state import PACKAGE

#: Version of the operators of machine learning.
ML_DOMAIN, ML_OPSET = "ai.onnx.ml", 3
#: Lowest version of the operators of a graph.
MIN_OPSET = 13
#: First version in which an operator that reduces takes its axes as an input.
REDUCE_AXES_INPUT_OPSET = 18
#: Outputs of a classifier, and of a regressor.
OUTPUTS_OF_CLASSES = LABEL, PROBABILITIES = "label", "probabilities"
OUTPUTS_OF_NUMBERS = VARIABLE, QUANTILES = "variable", "quantiles"
#: Input of a table of numbers whose columns have no names.
TABLE = "X"
#: Codes of ONNX for the types of tensors.
FLOAT, INT64, STRING, BOOL, DOUBLE = 1, 7, 8, 9, 11
CODES = {"float32": FLOAT, "float64": DOUBLE}


def require(name, otherwise=""):
    """Import a package of the extra "onnx"."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        hint = f", or {otherwise}" * bool(otherwise)
        raise ImportError(
            f"{name} is not installed: pip install 'sklearn-kd[onnx]'{hint}."
        ) from error


class Graph:
    """Nodes, of each of which one output is read, and constants, in the order of their addition.

    Parameters
    ----------
    opset : int
        Version of the operators.
    dtype : {"float32", "float64"}
        Of probabilities and of modules of torch.
    unique_name : callable, default=None
        From a name to one that no other tensor has.

    Attributes
    ----------
    nodes : list of (operator, inputs, outputs, domain, attributes)
    constants : dict of str to ndarray
    """

    def __init__(self, opset, dtype, unique_name=None):
        self.opset, self.dtype, self.nodes, self.constants = opset, dtype, [], {}
        self._unique_name, self._names = unique_name or self._numbered, {}
        self._count = 0

    def _numbered(self, name):
        self._count += 1
        return f"/{name}/{self._count}"

    def add(self, operator, *inputs, domain="", n_outputs=1, **attributes):
        """Add a node, and return the name of its first output.

        An input is the name of a tensor, or an array.
        """
        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        outputs = [self._unique_name(operator) for _ in range(n_outputs)]
        self.nodes.append((operator, names, outputs, domain, attributes))
        return outputs[0]

    def add_model(self, model, rows):
        """Add the graph of another model, which has one input and one output.

        Parameters
        ----------
        model : onnx.ModelProto
        rows : str
            What its input is.

        Returns
        -------
        output : str
        """
        from onnx.helper import get_attribute_value
        from onnx.inliner import inline_local_functions
        from onnx.numpy_helper import to_array

        graph = inline_local_functions(model).graph
        names = {graph.input[0].name: rows, "": ""}
        for tensor in graph.initializer:
            names[tensor.name] = self.constant(to_array(tensor))
        for node in graph.node:
            inputs = [names[name] for name in node.input]
            names |= {name: self._unique_name(node.op_type) for name in node.output if name}
            outputs = [names[name] for name in node.output]
            attributes = {each.name: get_attribute_value(each) for each in node.attribute}
            self.nodes.append((node.op_type, inputs, outputs, node.domain, attributes))
        return names[graph.output[0].name]

    def constant(self, array):
        """Return the name of a constant. Equal ones are stored once."""
        array = np.asarray(array)
        key = array.dtype.str, array.shape, array.tobytes()
        if array.dtype.kind == "O":
            key = (*key[:2], tuple(array.ravel()))
        if key not in self._names:
            self._names[key] = name = self._unique_name("constant")
            self.constants[name] = array
        return self._names[key]

    def double(self, array):
        """Return an array as a tensor of float64, which is stored in its own dtype."""
        array = np.asarray(array)
        if array.dtype == np.float64:
            return self.constant(array)
        return self.cast(self.constant(array), DOUBLE)

    def cast(self, tensor, code):
        """Return a tensor in another type."""
        return self.add("Cast", tensor, to=code)

    def sum_over(self, tensor, axis, *, keep=False):
        """Return the sum over an axis."""
        return self.add("ReduceSum", tensor, np.array([axis]), keepdims=int(keep))

    def max_over(self, tensor, axis):
        """Return the maximum over an axis, which is kept."""
        if self.opset < REDUCE_AXES_INPUT_OPSET:
            return self.add("ReduceMax", tensor, axes=[axis], keepdims=1)
        return self.add("ReduceMax", tensor, np.array([axis]), keepdims=1)

    def total(self, tensors):
        """Return the sum of tensors, of which there is at least one."""
        return tensors[0] if len(tensors) == 1 else self.add("Sum", *tensors)

    def filled_like(self, tensor, value):
        """Return a tensor of one value in the shape of another one, whose numbers are finite."""
        return self.add("Add", self.add("Sub", tensor, tensor), np.array(value))

    def columns(self, tensor, indices, n_columns=None):
        """Return columns of a matrix, the matrix itself if they are its ``n_columns`` in order."""
        if n_columns is not None and list(indices) == list(range(n_columns)):
            return tensor
        return self.add("Gather", tensor, np.array(indices, dtype=np.int64), axis=1)

    def concatenated(self, tensors):
        """Return matrices side by side."""
        return tensors[0] if len(tensors) == 1 else self.add("Concat", *tensors, axis=1)

    def protos(self):
        """Return the nodes and the constants as onnx has them."""
        from onnx import helper

        nodes = []
        for number, (operator, inputs, outputs, domain, attributes) in enumerate(self.nodes):
            values = {name: attribute(name, value) for name, value in attributes.items()}
            name = f"{operator}{number}"
            nodes.append(
                helper.make_node(operator, inputs, outputs, name=name, domain=domain, **values)
            )
        return nodes, [tensor(array, name) for name, array in self.constants.items()]

    def keep_ancestors(self, outputs):
        """Remove nodes and constants on which no output depends."""
        needed, kept = set(outputs), []
        for node in reversed(self.nodes):
            if not needed.isdisjoint(node[2]):
                kept.append(node)
                needed.update(node[1])
        self.nodes = kept[::-1]
        self.constants = {name: each for name, each in self.constants.items() if name in needed}

    def to_model(self, inputs, outputs, metadata):
        """Return the model of the graph.

        Parameters
        ----------
        inputs : list of (name, code of the type, shape)
        outputs : dict of str to (name of the tensor, code of the type, shape)
            By the name of the output.
        metadata : dict of str to str

        Returns
        -------
        onnx.ModelProto
        """
        from onnx import checker, helper

        for name, (tensor, *_) in outputs.items():
            self.nodes.append(("Identity", [tensor], [name], "", {}))
        self.keep_ancestors(outputs)
        nodes, constants = self.protos()
        graph = helper.make_graph(
            nodes,
            "sklearn_kd",
            [helper.make_tensor_value_info(*each) for each in inputs],
            [
                helper.make_tensor_value_info(name, code, shape)
                for name, (_, code, shape) in outputs.items()
            ],
            constants,
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(ML_DOMAIN, ML_OPSET)]
        model = helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets),
            producer_name="sklearn_kd",
            producer_version=PACKAGE.__version__,
        )
        helper.set_model_props(model, metadata)
        checker.check_model(model)
        return model


def check_names(names, outputs, advice):
    """Raise ValueError if columns cannot be inputs of a graph with outputs by their names."""
    taken = [name for name in names if name in ("", *outputs) or name.startswith("/")]
    if taken:
        raise ValueError(
            f"columns {taken} cannot be inputs of ONNX, since their names are empty, start with a "
            f"slash or are those of outputs: {advice}."
        )


def metadata(spec, columns):
    """Return the metadata of a model.

    Parameters
    ----------
    spec : dict
        With "classes" and "versions", and of a regressor, which has no classes, the "answer".
    columns : dict of str to list
        Names or numbers of the raw columns of each input.
    """
    known = {"classes": spec["classes"], "columns": columns, "versions": spec["versions"]}
    if spec["classes"] is None:
        del known["classes"]
        quantiles = spec["answer"]["quantiles"]
        if quantiles is not None:
            levels = quantiles["levels"]
            known["quantiles"] = [levels[place] for place in quantiles["asked"]]
    return {name: json.dumps(value) for name, value in known.items()}


def attribute(name, value):
    """Return the value of an attribute as onnx has it."""
    if name.endswith("_as_tensor"):
        return tensor(value, name)
    return value.tolist() if isinstance(value, np.ndarray) else value


def tensor(array, name):
    """Return an array as onnx has it."""
    from onnx import numpy_helper

    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


class RawColumns:
    """The raw columns of a graph as tensors of shape (n, 1).

    Parameters
    ----------
    graph : Graph
    places : list of (str, int, int) or None
        Of each raw column, the tensor that it is in, its column there, and the number of columns
        of the tensor. None for those that the model does not read.
    kinds : list of {"number", "text", "unused"}
        Of each raw column.
    """

    def __init__(self, graph, places, kinds):
        self.graph, self.places, self.kinds = graph, places, kinds

    def together(self, indices):
        """Return raw columns side by side, (n, columns)."""
        parts = []
        for index in indices:
            name, column, width = self.places[index]
            if parts and parts[-1][0] == name:
                parts[-1][1].append(column)
            else:
                parts.append((name, [column], width))
        return self.graph.concatenated([self.graph.columns(*part) for part in parts])
