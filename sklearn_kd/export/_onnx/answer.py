"""Write the probabilities or the numbers of a described model in ONNX, in float64."""

import math

import numpy as np

from sklearn_kd.export._onnx.graph import CODES, DOUBLE, INT64, ML_DOMAIN
from sklearn_kd.export._onnx.kernel import kernel_values
from sklearn_kd.export._onnx.models import module_graph
from sklearn_kd.export._onnx.readers import Readers, with_zeros


def write_answer(graph, spec, arrays, columns):
    """Return the probabilities of a model, (n, n_classes), and its decision values.

    Rows that the model refuses have NaN.

    Parameters
    ----------
    graph : Graph
    spec : dict
        ``answer`` of a description.
    arrays : list
    columns : RawColumns
    """
    readers = Readers(graph, columns, arrays)
    answer = Writer(graph, arrays, readers).answer(spec)
    return _with_refusals(graph, readers, answer.proba(), answer.decision())


def write_numbers(graph, spec, arrays, columns):
    """Return the predictions of a model, (n, n_targets), and its quantiles or None.

    Quantiles are (n, n_quantiles), or (n, n_targets, n_quantiles) if the predictions of the model
    have two dimensions. Rows that the model refuses have NaN. Parameters are as for `write_answer`.
    """
    readers = Readers(graph, columns, arrays)
    found = Writer(graph, arrays, readers).numbers(spec)
    (found,) = _with_refusals(graph, readers, found)
    quantiles = spec["quantiles"]
    if quantiles is None:
        return found, None
    levels, is_flat = len(quantiles["levels"]), spec["n_targets"] is None
    shape = [-1, levels] if is_flat else [-1, spec["n_targets"], levels]
    by_target = graph.add("Reshape", found, np.array(shape))
    center = np.arange(quantiles["center"], len(arrays[spec["scale"]]), levels)
    asked = by_target
    if quantiles["asked"] != list(range(levels)):
        asked = graph.add("Gather", by_target, np.array(quantiles["asked"]), axis=len(shape) - 1)
    return graph.columns(found, center), asked


def _with_refusals(graph, readers, *found):
    """Return tensors that have NaN in the rows that the model refuses."""
    if not readers.refusals:
        return found
    refused = graph.total(readers.refusals)
    return tuple(graph.add("Add", each, refused) for each in found)


class Answer:
    """Logits of a model, or probabilities, or their logarithms, from which others are computed.

    Parameters
    ----------
    graph : Graph
    n_classes : int
    logits, proba, log_proba : str, default=None
        Tensors (n, n_classes), one of which is enough.
    scores : str, default=None
        Tensor (n, n_classes) that calibration reads in place of the logits.
    has_log_odds : bool, default=True
        Whether calibration reads log-odds or logits, and not probabilities as of a tree.
    """

    def __init__(
        self,
        graph,
        n_classes,
        *,
        logits=None,
        proba=None,
        log_proba=None,
        scores=None,
        has_log_odds=True,
    ):
        self.graph, self.n_classes, self.logits = graph, n_classes, logits
        self.scores = scores
        self._proba, self._log_proba, self.has_log_odds = proba, log_proba, has_log_odds

    def decision(self):
        """Return the values that are calibrated, (n, 1) for two classes, else (n, n_classes)."""
        if not self.has_log_odds:
            return self.graph.columns(self.proba(), [1]) if self.n_classes == 2 else self.proba()
        scores = self.scores or self.logits or self.log_proba()
        if self.n_classes == 2:
            return self.graph.add("MatMul", scores, np.array([[-1.0], [1.0]]))
        return scores

    def proba(self):
        if self._proba is None:
            if self.logits is not None:
                self._proba = self.graph.add("Softmax", self.logits, axis=-1)
            else:
                self._proba = self.graph.add("Exp", self._log_proba)
        return self._proba

    def log_proba(self):
        if self._log_proba is None:
            if self.logits is not None:
                self._log_proba = self.graph.add("LogSoftmax", self.logits, axis=-1)
            else:
                self._log_proba = self.graph.add("Log", self._proba)
        return self._log_proba


class Writer:
    """Writes each kind of model of a description."""

    def __init__(self, graph, arrays, readers):
        self.graph, self.arrays, self.readers = graph, arrays, readers

    def answer(self, spec):
        """Return the `Answer` of a model."""
        return getattr(self, f"_{spec['kind']}")(spec)

    def numbers(self, spec):
        """Return the numbers of a model, (n, n_values)."""
        return getattr(self, f"_{spec['kind']}_numbers")(spec)

    def _layers(self, spec):
        outputs, n_members, n_classes = self._layer_outputs(spec, as_logits=True)
        if n_members == 1:
            return Answer(self.graph, n_classes, logits=outputs)
        log_proba = self._log_mean(self.graph.add("LogSoftmax", outputs, axis=-1), n_members)
        return Answer(self.graph, n_classes, log_proba=log_proba)

    def _layers_numbers(self, spec):
        outputs, n_members, _ = self._layer_outputs(spec, as_logits=False)
        if n_members == 1:
            return outputs
        return self.graph.add("Div", self.graph.sum_over(outputs, 0), np.array(float(n_members)))

    def _layer_outputs(self, spec, *, as_logits):
        """Return the outputs of layers, the number of members and that of outputs.

        Several members are the first axis. With ``as_logits`` a single output comes with a column
        of zeros before it.
        """
        outputs = self.readers.first_layer(spec, as_logits=as_logits and not spec["layers"])
        n_members, width = self.arrays[spec["bias"]].shape
        layers = [[self.arrays[w], self.arrays[b]] for w, b in spec["layers"]]
        if n_members > 1:
            outputs = self.graph.add("Reshape", outputs, np.array([-1, n_members, width]))
            outputs = self.graph.add("Transpose", outputs, perm=[1, 0, 2])
        else:
            layers = [[each[0] for each in layer] for layer in layers]
        if as_logits and layers and layers[-1][0].shape[-1] == 1:
            layers[-1] = [with_zeros(each) for each in layers[-1]]
        for weights, bias in layers:
            outputs = self.graph.add("Relu", outputs)
            outputs = self.graph.add("MatMul", outputs, self.graph.double(weights))
            outputs = self.graph.add("Add", outputs, self.graph.double(bias))
        n_outputs = layers[-1][0].shape[-1] if layers else width
        return outputs, n_members, max(2, n_outputs) if as_logits else n_outputs

    def _log_mean(self, log_proba, n_members):
        """Return the logarithm of the mean probabilities of members, the first axis."""
        graph = self.graph
        largest = graph.max_over(log_proba, 0)
        total = graph.sum_over(graph.add("Exp", graph.add("Sub", log_proba, largest)), 0, keep=True)
        log_mean = graph.add("Add", graph.add("Log", total), largest)
        log_mean = graph.add("Sub", log_mean, np.array(math.log(n_members)))
        return graph.add("Squeeze", log_mean, np.array([0]))

    def _trees(self, spec):
        n_outputs = len(self.arrays[spec["base"]])
        if spec["link"] == "mean":
            proba = self._trees_numbers(spec)
            return Answer(self.graph, n_outputs, proba=proba, has_log_odds=False)
        logits = self._trees_numbers(spec, as_logits=True)
        return Answer(self.graph, max(n_outputs, 2), logits=logits)

    def _trees_numbers(self, spec, *, as_logits=False):
        """Return the means or the sums of leaves.

        With ``as_logits`` a single sum comes with a column of zeros before it.
        """
        graph, arrays, base = self.graph, self.arrays, self.arrays[spec["base"]]
        leaves = self._leaves(spec)
        values = graph.add("Gather", graph.double(arrays[spec["leaves"]]), leaves, axis=0)
        if spec["link"] != "sum":
            total = graph.sum_over(values, 1)
            return graph.add("Div", total, np.array(float(len(arrays[spec["roots"]]))))
        output = np.eye(len(base))[arrays[spec["output"]]]
        if as_logits and len(base) == 1:
            output, base = with_zeros(output), with_zeros(base)
        scores = graph.add("MatMul", graph.add("Squeeze", values, np.array([2])), output)
        return graph.add("Add", scores, base[None])

    def _numbers_numbers(self, spec):
        """Return numbers in the units of the targets, quantiles of each target in order."""
        graph, scale, offset = self.graph, self.arrays[spec["scale"]], self.arrays[spec["offset"]]
        found = self.numbers(spec["models"][0])
        if (scale != 1).any():
            found = graph.add("Mul", found, scale[None])
        if offset.any():
            found = graph.add("Add", found, offset[None])
        if spec["link"] == "log":
            found = graph.add("Exp", found)
        elif spec["link"] == "log1p":  # exp(x) - 1 = tanh(x / 2) (exp(x) + 1)
            half = graph.add("Tanh", graph.add("Mul", found, np.array(0.5)))
            found = graph.add("Mul", half, graph.add("Add", graph.add("Exp", found), np.array(1.0)))
        if spec["quantiles"] is None:
            return found
        n_levels = len(spec["quantiles"]["levels"])
        by_target = graph.add("Reshape", found, np.array([-1, len(scale) // n_levels, n_levels]))
        by_target = graph.add(
            "TopK", by_target, np.array([n_levels]), axis=2, largest=0, n_outputs=2
        )
        return graph.add("Reshape", by_target, np.array([-1, len(scale)]))

    def _leaves(self, spec):
        """Return the number of the leaf of each tree, (n, trees).

        Each tree is the only one with its output, which is a number of a leaf, and exact in the
        float32 of the operator. The leaves themselves are float64.
        """
        arrays = {
            name: self.arrays[spec[name]]
            for name in ("roots", "reader", "left", "right", "set", "missing_left", "in_set")
        }
        threshold = self.arrays[spec["threshold"]].copy()
        features, feature, swaps = self._tree_features(spec, arrays)
        threshold[swaps] = 0.5
        is_leaf = arrays["left"] < 0
        ends = [*arrays["roots"].tolist()[1:], len(is_leaf)]
        tree = np.repeat(np.arange(len(ends)), np.diff([*arrays["roots"], ends[-1]]))
        node = np.arange(len(is_leaf)) - arrays["roots"][tree]
        left, right = (
            np.where(is_leaf, 0, arrays[name] - arrays["roots"][tree]) for name in ("left", "right")
        )
        modes = np.where(is_leaf, "LEAF", "BRANCH_LEQ").tolist()
        leaf = np.flatnonzero(is_leaf)
        found = self.graph.add(
            "TreeEnsembleRegressor",
            features,
            domain=ML_DOMAIN,
            n_targets=len(ends),
            nodes_treeids=tree,
            nodes_nodeids=node,
            nodes_featureids=np.where(is_leaf, 0, feature),
            nodes_modes=modes,
            nodes_values_as_tensor=np.where(is_leaf, 0.0, threshold),
            nodes_truenodeids=np.where(swaps, right, left),
            nodes_falsenodeids=np.where(swaps, left, right),
            nodes_missing_value_tracks_true=np.where(is_leaf, 0, arrays["missing_left"]),
            target_treeids=tree[leaf],
            target_nodeids=node[leaf],
            target_ids=tree[leaf],
            target_weights_as_tensor=arrays["right"][leaf].astype(np.float64),
        )
        return self.graph.cast(found, INT64)

    def _tree_features(self, spec, arrays):
        """Return the inputs of trees, the input of each node, and whether its children are swapped.

        A set of levels is an input that is one for its levels, which go to the right of a node
        that compares it with a half.
        """
        graph, readers = self.graph, spec["readers"]
        feature = np.zeros(len(arrays["reader"]), dtype=np.int64)
        numbers = [i for i, reader in enumerate(readers) if reader["kind"] == "number"]
        parts = []
        if numbers:
            raw = self.readers.numbers([readers[i]["column"] for i in numbers])
            self._refuse_infinity(raw, [readers[i]["infinite"] for i in numbers])
            parts.append(raw)
            place = np.zeros(len(readers), dtype=np.int64)
            place[numbers] = np.arange(len(numbers))
            feature = place[arrays["reader"]]
        n_features = len(numbers)
        has_set = (arrays["left"] >= 0) & (arrays["set"] >= 0)
        for i, reader in enumerate(readers):
            nodes = np.flatnonzero(has_set & (arrays["reader"] == i))
            if reader["kind"] != "levels" or not len(nodes):
                continue
            starts, place = np.unique(arrays["set"][nodes], return_inverse=True)
            rows = starts[None] + np.arange(reader["n_states"])[:, None]
            table = arrays["in_set"][rows].astype(np.float64)
            states = graph.add("Squeeze", self.readers.states([reader]), np.array([1]))
            parts.append(graph.add("Gather", table, states, axis=0))
            feature[nodes] = n_features + place
            n_features += len(starts)
        if not parts:  # trees of one leaf
            first = next(i for i, kind in enumerate(self.readers.columns.kinds) if kind != "unused")
            parts.append(self.readers.columns.together([first]))
        return graph.concatenated(parts), feature, has_set

    def _refuse_infinity(self, raw, takes_infinity):
        refusing = [i for i, takes in enumerate(takes_infinity) if not takes]
        if refusing:
            some = self.graph.columns(raw, refusing, len(takes_infinity))
            refusal = self.graph.add(
                "Where", self.graph.add("IsInf", some), np.array(math.nan), np.array(0.0)
            )
            self.readers.refusals.append(self.graph.sum_over(refusal, 1, keep=True))

    def _tempered(self, spec):
        model = self.answer(spec["models"][0])
        logits = self.graph.add("Mul", model.logits or model.log_proba(), np.array(spec["power"]))
        scores = model.scores and self.graph.add("Mul", model.scores, np.array(spec["power"]))
        return Answer(
            self.graph,
            model.n_classes,
            logits=logits,
            scores=scores,
            has_log_odds=model.has_log_odds,
        )

    def _aligned(self, spec):
        graph, place, n_classes = self.graph, spec["place"], spec["n_classes"]
        found = []
        model = self.answer(spec["models"][0])
        indices = [place.index(j) if j in place else len(place) for j in range(n_classes)]
        for tensor, absent in ((model.proba(), 0.0), (model.log_proba(), -math.inf)):
            # one more column, which all absent classes take
            filled = graph.filled_like(graph.columns(model.proba(), [0]), absent)
            found.append(graph.columns(graph.concatenated([tensor, filled]), indices))
        return Answer(graph, n_classes, proba=found[0], log_proba=found[1])

    def _prior(self, spec):
        graph, log_prior = self.graph, self.arrays[spec["log_prior"]]
        shifted = graph.add("Add", self.answer(spec["models"][0]).log_proba(), log_prior)
        if np.isneginf(log_prior).any():
            # if all classes that the model considers have a prior of zero, the prior alone remains
            is_lost = graph.add("Equal", graph.max_over(shifted, 1), np.array(-math.inf))
            shifted = graph.add("Where", is_lost, log_prior[None], shifted)
        log_proba = graph.add("LogSoftmax", shifted, axis=-1)
        return Answer(graph, len(log_prior), log_proba=log_proba)

    def _mean(self, spec):
        models = [self.answer(each) for each in spec["models"]]
        total = self.graph.total([model.proba() for model in models])
        proba = self.graph.add("Div", total, np.array(float(len(models))))
        return Answer(self.graph, models[0].n_classes, proba=proba)

    def _calibrated(self, spec):
        graph = self.graph
        model = self.answer(spec["models"][0])
        decision, is_binary = model.decision(), model.n_classes == 2
        curves = [self.arrays[number] for number in spec["curves"]]
        if spec["method"] == "temperature":
            logits = self._uncalibrated_logits(decision, is_binary, spec["of_proba"])
            logits = graph.add("Mul", logits, curves[0][0])
            return Answer(graph, model.n_classes, logits=logits)
        if is_binary:
            proba = self._calibrate(decision, curves[0], spec["method"])
            rest = graph.add("Sub", np.array(1.0), proba)
            return Answer(graph, 2, proba=graph.concatenated([rest, proba]))
        parts = [
            self._calibrate(graph.columns(decision, [j]), curve, spec["method"])
            for j, curve in enumerate(curves)
        ]
        proba = graph.concatenated(parts)
        is_zero = graph.add("Equal", graph.sum_over(proba, 1, keep=True), np.array(0.0))
        proba = graph.add("Add", proba, graph.cast(is_zero, DOUBLE))  # equal ones, then
        total = graph.sum_over(proba, 1, keep=True)
        return Answer(graph, model.n_classes, proba=graph.add("Div", proba, total))

    def _uncalibrated_logits(self, decision, is_binary, of_proba):
        """Return the logits that a temperature divides, (n, n_classes)."""
        graph = self.graph
        if not of_proba:
            if is_binary:
                return graph.concatenated([graph.add("Neg", decision), decision])
            return decision
        if is_binary:
            rest = graph.add("Sub", np.array(1.0), decision)
            decision = graph.concatenated([rest, decision])
        return graph.add("Log", graph.add("Add", decision, np.array(1e-12)))

    def _calibrate(self, values, curve, method):
        """Return calibrated probabilities, (n, 1), of decision values (n, 1)."""
        graph = self.graph
        if method == "sigmoid":
            slope, intercept = curve[0]
            logit = graph.add(
                "Add", graph.add("Mul", values, np.array(-slope)), np.array(-intercept)
            )
            return graph.add("Sigmoid", logit)
        x, y = curve
        if len(x) == 1:
            return graph.filled_like(values, y[0])
        # the share of each piece that lies below the value
        shares = graph.add("Div", graph.add("Sub", values, x[None, :-1]), np.diff(x)[None])
        shares = graph.add("Min", graph.add("Max", shares, np.array(0.0)), np.array(1.0))
        return graph.add("Add", graph.add("MatMul", shares, np.diff(y)[:, None]), np.array(y[0]))

    def _kernel(self, spec):
        """Return the answer of a KernelTeacher."""
        decision = self._kernel_numbers(spec, as_logits=True)
        logits = self.graph.add("Div", decision, np.array(spec["temperature"]))
        n_classes = max(2, self.arrays[spec["dual"]].shape[1])
        return Answer(self.graph, n_classes, logits=logits, scores=decision)

    def _kernel_numbers(self, spec, *, as_logits=False):
        """Return sums of the kernel, a single one with ``as_logits`` after a column of zeros."""
        rows = self.readers.first_layer(spec["models"][0])
        dual, intercept = self.arrays[spec["dual"]], self.arrays[spec["intercept"]].reshape(1, -1)
        if as_logits and dual.shape[1] == 1:
            dual, intercept = with_zeros(dual), with_zeros(intercept)
        values = kernel_values(self.graph, spec, self.arrays, rows)
        found = self.graph.add("MatMul", values, self.graph.double(dual))
        return self.graph.add("Add", found, intercept)

    def _given(self, spec):
        """Return the answer of a model that skl2onnx converts."""
        return Answer(self.graph, spec["n_classes"], proba=self._given_numbers(spec))

    def _given_numbers(self, spec):
        return self.graph.cast(spec["tensor"], DOUBLE)

    def _module(self, spec):
        """Return the answer of a torch module."""
        logits, n_classes = self._module_numbers(spec), len(spec["estimator"].classes_)
        if n_classes == 2:
            logits = self.graph.concatenated([self.graph.filled_like(logits, 0.0), logits])
        return Answer(self.graph, n_classes, logits=logits)

    def _module_numbers(self, spec):
        """Return the outputs of a torch module."""
        rows = self.readers.first_layer(spec["models"][0])
        model = module_graph(spec["estimator"], self.graph.opset, self.graph.dtype)
        outputs = self.graph.add_model(model, self.graph.cast(rows, CODES[self.graph.dtype]))
        return self.graph.cast(outputs, DOUBLE)
