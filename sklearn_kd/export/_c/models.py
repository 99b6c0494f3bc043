"""The models of a description as C functions of the cells of a row.

A model has up to three functions, which are declared if they are needed: ``proba``, ``scores``,
which are logarithms of probabilities up to a constant, and ``decision``, the decision values that
a calibration reads. A model of numbers has the function ``numbers``.
"""

import math

import numpy as np

from sklearn_kd.export._c.layers import layer_lines
from sklearn_kd.export._c.tokens import double
from sklearn_kd.export._c.trees import tree_lines
from sklearn_kd.export._c.unit import each, indented, loop, numbers_and_scale

#: Parameters of all functions of models.
PARAMETERS = "const {p}_cells *cells, double *out"


class ModelFunctions:
    """C functions of models.

    Parameters
    ----------
    unit : CUnit
    cells : Cells
        To which the readers of all models were added.
    arrays : list
        Of the description.
    """

    def __init__(self, unit, cells, arrays):
        self.unit, self.cells, self.arrays = unit, cells, arrays
        self._declared = {}

    def function(self, what, spec):
        """Return the name of a function of a model, which is declared if it was not.

        Parameters
        ----------
        what : {"proba", "scores", "decision", "numbers", "raw"}
            "raw" of layers are the logits of all members, of trees the sums or means of leaves.
        spec : dict
            Description of the model.
        """
        key = what, id(spec)
        if key not in self._declared:
            body = getattr(self, f"_{spec['kind']}_{what}", None) or getattr(self, f"_any_{what}")
            lines = body(spec)
            parameters = PARAMETERS.format(p=self.unit.prefix)
            if not self.cells.readings:
                lines = [*lines, "(void)cells;"]
            self._declared[key] = self.unit.function(what, parameters, lines)
        return self._declared[key]

    def call(self, what, spec, out="out"):
        """Return a call of a function of a model."""
        return f"{self.function(what, spec)}(cells, {out});"

    def n_classes(self, spec):
        """Return the number of classes of a model."""
        kind = spec["kind"]
        if kind == "layers":
            return max(self._n_outputs(spec), 2)
        if kind == "trees":
            n = len(self.arrays[spec["base"]])
            return n if spec["link"] == "mean" else max(n, 2)
        return spec["n_classes"] if kind == "aligned" else self.n_classes(spec["models"][0])

    def n_decisions(self, spec):
        """Return the number of decision values of a model."""
        n = self.n_classes(spec)
        return n if n > 2 else 1

    # any model

    def _any_proba(self, spec):
        """Probabilities from scores."""
        n, softmax = self.n_classes(spec), self.unit.helper("softmax")
        return [self.call("scores", spec), f"{softmax}(out, {n});"]

    def _any_scores(self, spec):
        """Scores from probabilities."""
        n = self.n_classes(spec)
        return [self.call("proba", spec), *each(n, "out[k] = log(out[k]);")]

    # layers

    def _n_outputs(self, spec):
        array = spec["layers"][-1][0] if spec["layers"] else spec["rows"]
        return numbers_and_scale(self.arrays[array])[0].shape[-1]

    def _n_members(self, spec):
        return len(self.arrays[spec["bias"]])

    def _layers_raw(self, spec):
        return layer_lines(self.unit, self.cells, self.arrays, spec)

    def _layers_proba(self, spec):
        n_members, n = self._n_members(spec), self._n_outputs(spec)
        if n_members == 1:
            return self._linked_proba(spec, n)
        lines = [f"double z[{n_members * n}];", self.call("raw", spec, "z")]
        lines += each(max(n, 2), "out[k] = 0.0;")
        if n == 1:
            found, inner = "proba[k]", ["double proba[2];"]
            inner.append(f"{self.unit.helper('two_classes')}(z[m], proba);")
        else:
            found, inner = f"z[m * {n} + k]", [f"{self.unit.helper('softmax')}(&z[m * {n}], {n});"]
        inner += each(max(n, 2), f"out[k] += {found} / {n_members}.0;")
        return [*lines, *loop("m", n_members, inner)]

    def _layers_scores(self, spec):
        """Logarithms of the mean probabilities of members."""
        n_members, n = self._n_members(spec), self._n_outputs(spec)
        if n_members == 1:
            return self._linked_scores(spec, n)
        log_total, n_classes = self.unit.helper("log_total"), max(n, 2)
        lines, inner = [f"double z[{n_members * n_classes}];"], []
        if n == 1:
            lines += [f"double odds[{n_members}];", self.call("raw", spec, "odds")]
            inner += ["z[m * 2] = 0.0;", "z[m * 2 + 1] = odds[m];"]
        else:
            lines += [self.call("raw", spec, "z")]
        inner += [f"const double total = {log_total}(&z[m * {n_classes}], {n_classes}, 1);"]
        inner += each(n_classes, f"z[m * {n_classes} + k] -= total;")
        mean = f"{log_total}(&z[k], {n_members}, {n_classes}) - {double(math.log(n_members))}"
        return [*lines, *loop("m", n_members, inner), *each(n_classes, f"out[k] = {mean};")]

    def _layers_numbers(self, spec):
        """Mean outputs of members."""
        n_members, n = self._n_members(spec), self._n_outputs(spec)
        if n_members == 1:
            return self._layers_raw(spec)
        lines = [f"double z[{n_members * n}];", self.call("raw", spec, "z")]
        lines += each(n, "out[k] = 0.0;")
        place = f"m * {n} + k" if n > 1 else "m"
        lines += loop("m", n_members, each(n, f"out[k] += z[{place}];"))
        return [*lines, *each(n, f"out[k] /= {n_members}.0;")]

    def _layers_decision(self, spec):
        if self._n_members(spec) == 1:
            return [self.call("raw", spec)]
        return self._decision_of_scores(spec)

    def _decision_of_scores(self, spec):
        if self.n_classes(spec) > 2:
            return [self.call("scores", spec)]
        lines = ["double scores[2];", self.call("scores", spec, "scores")]
        return [*lines, "out[0] = scores[1] - scores[0];"]

    def _linked_proba(self, spec, n):
        """Probabilities from logits, or from the log-odds of two classes."""
        if n > 1:
            return [self.call("raw", spec), f"{self.unit.helper('softmax')}(out, {n});"]
        two_classes = self.unit.helper("two_classes")
        return ["double z;", self.call("raw", spec, "&z"), f"{two_classes}(z, out);"]

    def _linked_scores(self, spec, n):
        if n > 1:
            return [self.call("raw", spec)]
        return ["double z;", self.call("raw", spec, "&z"), "out[0] = 0.0;", "out[1] = z;"]

    # trees

    def _trees_raw(self, spec):
        return tree_lines(self.unit, self.cells, self.arrays, spec)

    def _trees_numbers(self, spec):
        return self._trees_raw(spec)

    def _trees_proba(self, spec):
        if spec["link"] == "mean":
            return [self.call("raw", spec)]
        return self._linked_proba(spec, len(self.arrays[spec["base"]]))

    def _trees_scores(self, spec):
        if spec["link"] == "mean":
            return self._any_scores(spec)
        return self._linked_scores(spec, len(self.arrays[spec["base"]]))

    def _trees_decision(self, spec):
        if spec["link"] == "mean":
            return self._second_or_all(spec)
        return [self.call("raw", spec)]

    def _second_or_all(self, spec):
        """Probabilities, of two classes that of the second one."""
        if self.n_classes(spec) != 2:
            return [self.call("proba", spec)]
        return ["double proba[2];", self.call("proba", spec, "proba"), "out[0] = proba[1];"]

    # models around others

    def _numbers_numbers(self, spec):
        """Numbers in the units of the targets, and the quantiles of each target in order."""
        scale, offset = self.arrays[spec["scale"]], self.arrays[spec["offset"]]
        n, value = len(scale), "out[k]"
        if (scale != 1).any() or (offset != 0).any():
            factor, shift = (self._constants(each) for each in (scale, offset))
            value = f"{shift} + {factor} * out[k]"
        inverse = {"identity": "", "log": "exp", "log1p": "expm1"}[spec["link"]]
        value = f"{inverse}({value})" if inverse else value
        lines = [self.call("numbers", spec["models"][0])]
        if value != "out[k]":
            lines += each(n, f"out[k] = {value};")
        if spec["quantiles"] is not None:
            n_levels = len(spec["quantiles"]["levels"])
            sort = self.unit.helper("sort")
            for start in range(0, n, n_levels):
                lines.append(f"{sort}(&out[{start}], {n_levels});")
        return lines

    def _constants(self, values):
        """Return an expression of the value at k."""
        if len(set(values.tolist())) == 1:
            return double(values[0])
        return f"{self.unit.array('units', values)}[k]"

    def _tempered_scores(self, spec):
        n, power = self.n_classes(spec), double(spec["power"])
        return [self.call("scores", spec["models"][0]), *each(n, f"out[k] *= {power};")]

    def _tempered_decision(self, spec):
        inner = spec["models"][0]
        if inner.get("link") == "mean":  # trees that have no log-odds
            return self._second_or_all(spec)
        power = double(spec["power"])
        return [
            self.call("decision", inner), *each(self.n_decisions(spec), f"out[k] *= {power};")
        ]  # fmt: skip

    def _aligned(self, what, spec, absent):
        inner = spec["models"][0]
        n = self.n_classes(inner)
        place = self.unit.array("classes_of_inner", np.array(spec["place"]))
        return [
            f"double inner[{n}];",
            self.call(what, inner, "inner"),
            *each(self.n_classes(spec), f"out[k] = {absent};"),
            *each(n, f"out[{place}[k]] = inner[k];"),
        ]

    def _aligned_proba(self, spec):
        return self._aligned("proba", spec, "0.0")

    def _aligned_scores(self, spec):
        return self._aligned("scores", spec, "-HUGE_VAL")

    def _prior_scores(self, spec):
        """Scores with a prior, which alone remains if all classes with a score are ruled out."""
        n = self.n_classes(spec)
        prior = self.unit.array("log_prior", self.arrays[spec["log_prior"]])
        lines = ["int is_lost = 1;", self.call("scores", spec["models"][0])]
        lines += loop(
            "k", n, [f"out[k] += {prior}[k];", "is_lost = is_lost && out[k] == -HUGE_VAL;"]
        )
        return [*lines, "if (is_lost) {", *indented(loop("k", n, [f"out[k] = {prior}[k];"])), "}"]

    def _mean_proba(self, spec):
        n, models = self.n_classes(spec), spec["models"]
        lines = [f"double proba[{n}];", *each(n, "out[k] = 0.0;")]
        for model in models:
            lines += [self.call("proba", model, "proba")]
            lines += each(n, "out[k] += proba[k];")
        return [*lines, *each(n, f"out[k] /= {len(models)}.0;")]

    def _calibrated_proba(self, spec):
        inner, n_values = spec["models"][0], self.n_decisions(spec["models"][0])
        values = [f"double values[{n_values}];", self.call("decision", inner, "values")]
        if spec["method"] == "temperature":
            return [*values, *self._temperature(spec, n_values)]
        curves = [self._curve(spec, i) for i in range(len(spec["curves"]))]
        if len(curves) == 1:
            return [*values, f"out[1] = {curves[0]};", "out[0] = 1.0 - out[1];"]
        n = len(curves)
        lines = ["double total = 0.0;", *values]
        lines += [f"out[{i}] = {curve};" for i, curve in enumerate(curves)]
        lines += each(n, "total += out[k];")
        # where no class is likely, all are as likely
        normalized = f"out[k] = total > 0.0 ? out[k] / total : 1.0 / {n}.0;"
        return [*lines, *each(n, normalized)]

    def _curve(self, spec, i):
        """Return the expression of a calibrated value."""
        curve = self.arrays[spec["curves"][i]]
        if spec["method"] == "sigmoid":
            slope, intercept = curve[0]
            logistic = self.unit.helper("logistic")
            return f"{logistic}(-({double(slope)} * values[{i}] + ({double(intercept)})))"
        xs, ys = (self.unit.array("curve", each) for each in curve)
        return f"{self.unit.helper('interpolate')}({xs}, {ys}, {curve.shape[1]}, values[{i}])"

    def _temperature(self, spec, n_values):
        n, softmax = max(n_values, 2), self.unit.helper("softmax")
        beta = double(self.arrays[spec["curves"][0]][0, 0])
        if n_values > 1:
            lines = [f"out[{k}] = values[{k}];" for k in range(n)]
        elif spec["of_proba"]:
            lines = ["out[0] = 1.0 - values[0];", "out[1] = values[0];"]
        else:
            lines = ["out[0] = -values[0];", "out[1] = values[0];"]
        if spec["of_proba"]:
            lines += [f"out[{k}] = log(out[{k}] + 1e-12);" for k in range(n)]
        lines += [f"out[{k}] *= {beta};" for k in range(n)]
        return [*lines, f"{softmax}(out, {n});"]
