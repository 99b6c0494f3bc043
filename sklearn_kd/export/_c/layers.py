"""Networks and linear models in C: tables of the first layer, and the layers that follow."""

import numpy as np

from sklearn_kd.export._c.tokens import type_of
from sklearn_kd.export._c.unit import each, loop, numbers_and_scale


def is_extended(spec, arrays):
    """Return whether the outermost pieces of numbers extend to their bounds.

    A number beyond the outermost edges is then interpolated between two rows, each rounded once.
    Sums of weights of int8 are integers at the edges, and would not be at the bounds.
    """
    return spec["kind"] == "layers" and not isinstance(arrays[spec["rows"]], tuple)


def layer_lines(unit, cells, arrays, spec):
    """Return the lines that compute the logits, (members, outputs), of a row.

    Parameters
    ----------
    unit : CUnit
    cells : Cells
    arrays : list
    spec : dict
        Description of the layers.
    """
    first = _FirstLayer(unit, cells, arrays, spec)
    lines, name, n_inputs = first.lines(), "z", first.width
    for number, (weights, bias) in enumerate(spec["layers"], start=1):
        weights, scale = numbers_and_scale(arrays[weights])
        inputs, name = name, f"z{number}"
        lines += _dense(unit, (inputs, name), weights, scale, arrays[bias])
        n_inputs = weights.shape[2]
    return [*lines, *each(first.n_members * n_inputs, f"out[k] = {name}[k];")]


def _dense(unit, names, weights, scale, bias):
    """Return the lines of a layer after the first one."""
    (inputs, outputs), (n_members, n_inputs, n_outputs) = names, weights.shape
    table = unit.array("weights", weights)
    lines = [
        f"const double h = {inputs}[{_at('m', n_members, n_inputs, 'i')}];",
        "const double x = h > 0.0 ? h : 0.0;",
        *each(
            n_outputs,
            f"{outputs}[{_at('m', n_members, n_outputs, 'k')}] += "
            f"x * (double){table}[{_at(_at('m', n_members, n_inputs, 'i'), 2, n_outputs, 'k')}];",
        ),
    ]
    lines = _over_members(n_members, loop("i", n_inputs, lines))
    return _affine(unit, outputs, lines, scale, bias.reshape(n_members, n_outputs))


def _affine(unit, name, lines, scale, bias):
    """Return the lines of sums to which a bias is added, and which are scaled if they have one."""
    n_members, n = bias.shape
    declared = [f"double {name}[{bias.size}];"]
    bias = unit.array("bias", bias)
    if scale is None:
        return [*declared, *each(n_members * n, f"{name}[k] = {bias}[k];"), *lines]
    scale = unit.array("scale", scale.astype(np.float64))
    at = _at("m", n_members, n, "k")
    scaled = _over_members(
        n_members, each(n, f"{name}[{at}] = {bias}[{at}] + {scale}[k] * {name}[{at}];")
    )
    return [*declared, *each(n_members * n, f"{name}[k] = 0.0;"), *lines, *scaled]


def _at(outer, n_outer, n, inner):
    """Return the place of an entry of a table, whose rows of n entries follow each other."""
    if n_outer == 1:
        return inner
    outer = f"({outer})" if " " in outer else outer
    return f"{outer} * {n} + {inner}" if n > 1 or inner != "k" else outer


def _over_members(n_members, lines):
    return lines if n_members == 1 else loop("m", n_members, lines)


class _FirstLayer:
    """Sums of rows of the tables of the columns.

    Columns are in three groups: numbers that a row of the table is multiplied by, numbers between
    two rows, and levels.
    """

    def __init__(self, unit, cells, arrays, spec):
        self.unit, self.cells = unit, cells
        self.rows, self.scale = numbers_and_scale(arrays[spec["rows"]])
        self.bias = arrays[spec["bias"]]
        self.n_members, self.width = self.bias.shape
        self.signs = None if spec["signs"] is None else arrays[spec["signs"]]
        self.groups = {"linear": [], "between": [], "levels": []}
        start, extended = 0, is_extended(spec, arrays)
        for number, reader in enumerate(spec["readers"]):
            reading = cells.reading(reader, is_extended=extended)
            place = cells.place(reader, is_extended=extended)
            if reader["kind"] == "levels":
                group, end = "levels", start + reader["n_states"]
                rows = self.rows[start:end]
            else:
                end = start + reading.n_pieces + reading.has_missing
                group = "linear" if reading.n_pieces == 1 else "between"
                rows = self.rows[start:end]
                rows = rows if group == "linear" else _points(reading, rows)
            self.groups[group].append((number, place, rows))
            start = end

    def lines(self):
        """Return the lines of the sums."""
        lines = []
        for group, members in self.groups.items():
            if members:
                lines += self._group(group, *zip(*members, strict=True))
        return _affine(self.unit, "z", lines, self.scale, self.bias)

    def _group(self, group, numbers, places, rows):
        unit, width = self.unit, self.width
        ends = np.cumsum([len(each_rows) for each_rows in rows])
        table_rows = np.concatenate(rows)
        table = unit.array("rows", table_rows)
        first = unit.array("first", np.array([0, *ends[:-1]]))
        place = unit.array("places", np.array(places))
        state = f"{first}[i] + cells->state[{place}[i]]"
        lines = [f"const {type_of(table_rows)} *row = &{table}[{width} * ({state})];"]
        if group != "levels":
            lines.append(f"const double x = cells->number[{place}[i]];")
        value = {
            "linear": "x * (double)row[k]",
            "between": f"(double)row[k] + x * ((double)row[{width} + k] - (double)row[k])",
            "levels": "(double)row[k]",
        }[group]
        if self.signs is None:
            return loop("i", len(rows), [*lines, *each(width, f"z[k] += {value};")])
        signs = unit.array("signs", self.signs[:, list(numbers)].T)
        at = _at("m", self.n_members, width, "k")
        added = each(width, f"z[{at}] += sign * part[k];")
        sign = f"const double sign = (double){signs}[{self.n_members} * i + m];"
        lines = [f"double part[{width}];", *lines, *each(width, f"part[k] = {value};")]
        inner = loop("m", self.n_members, [sign, *added])
        return loop("i", len(rows), [*lines, *inner])


def _points(reading, rows):
    """Return the rows at the edges of a number, from slopes, and then that of missing cells."""
    n = reading.n_pieces
    slopes = rows[:n].astype(np.float64)
    points = np.concatenate([np.zeros((1, rows.shape[1])), slopes.cumsum(axis=0)])
    points[0] = reading.first * slopes[0]
    points[n] = slopes[: n - 1].sum(axis=0) + reading.last * slopes[n - 1]
    points = np.concatenate([points, rows[n:]])
    return points.astype(np.int32) if rows.dtype == np.int8 else points.astype(rows.dtype)
