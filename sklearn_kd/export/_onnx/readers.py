"""Write the first layer of a described model in ONNX: raw columns to the sums of their weights."""

import math
from typing import NamedTuple

import numpy as np

from sklearn_kd.export._columns import CLIP, SUBTRACT_DIVIDE, ExportError
from sklearn_kd.export._description import parts_of
from sklearn_kd.export._onnx.graph import DOUBLE, INT64, ML_DOMAIN

#: What onnxruntime makes of the missing cells of Python in a column of texts.
MISSING_TEXTS = ("nan", "None", "<NA>", "NaT")


def input_kinds(spec):
    """Return "number", "text" or "unused" for each raw column of a description.

    Raises
    ------
    ExportError
        If a column has levels that are numbers and levels that are texts.
    """
    levels = [set() for _ in spec["kinds"]]
    for reader in (each for part in parts_of(spec["answer"]) for each in part.get("readers", ())):
        if reader["kind"] == "levels":
            levels[reader["column"]] |= {isinstance(each, str) for each in reader["levels"]}
    kinds = []
    for index, (kind, is_text) in enumerate(zip(spec["kinds"], levels, strict=True)):
        if len(is_text) > 1 or (kind == "number" and True in is_text):
            raise ExportError(
                f"column {index} has levels that are texts and levels that are numbers, and an "
                "input of ONNX has one type"
            )
        kinds.append("unused" if kind == "unused" else "text" if True in is_text else "number")
    return kinds


class Readers:
    """Reads raw columns in a graph, and notes the rows that the model refuses.

    Parameters
    ----------
    graph : Graph
    columns : RawColumns
    arrays : list
        Of a description.

    Attributes
    ----------
    refusals : list of str
        Tensors (n, 1) that are zero, and NaN in rows that the model refuses.
    """

    def __init__(self, graph, columns, arrays):
        self.graph, self.columns, self.arrays = graph, columns, arrays
        self.refusals = []

    def first_layer(self, spec, *, as_logits=False):
        """Return the outputs of a first layer, (n, members * width), with its biases.

        With ``as_logits``, a single output, which is the log-odds of two classes, comes with a
        column of zeros before it.
        """
        rows, bias = self.arrays[spec["rows"]], self.arrays[spec["bias"]].reshape(1, -1)
        signs = None if spec["signs"] is None else self.arrays[spec["signs"]]
        if as_logits and rows.shape[1] == 1:
            rows, bias = with_zeros(rows), with_zeros(bias)
        groups, levels, first = {}, [], 0
        for i, reader in enumerate(spec["readers"]):
            if reader["kind"] == "pieces":
                part = _Pieces(reader, self.arrays, rows, first, i)
                groups.setdefault(part.codes, []).append(part)
                first += part.n_states
            else:
                levels.append((reader, i, first))
                first += reader["n_states"]
        sums = [each for group in groups.values() for each in self._pieces(group, signs)]
        if levels:
            sums.append(self._levels(levels, rows, signs))
        return self.graph.total([*sums, self.graph.double(bias)] if bias.any() else sums)

    def numbers(self, indices):
        """Return raw columns of numbers side by side, (n, columns)."""
        for index in indices:
            if self.columns.kinds[index] == "text":
                raise ExportError(
                    f"column {index} of a step has texts in place of numbers, as skl2onnx makes of "
                    "columns of numbers and of texts before a step of a ColumnTransformer"
                )
        return self.columns.together(indices)

    def _pieces(self, group, signs):
        """Return the sums of numbers, each a sum of pieces between the edges of its column."""
        graph = self.graph
        raw = self.numbers([part.column for part in group])
        is_missing = graph.add("IsNaN", raw)
        numbers = raw
        for step, code in enumerate(group[0].codes):
            a, b = np.array([part.steps[step] for part in group]).T[:, None]
            numbers = self._scaled(numbers, code, a, b)
        if CLIP in group[0].codes:  # which makes infinite numbers finite
            numbers = graph.add("Where", graph.add("IsInf", raw), np.array(math.nan), numbers)
        fills = np.array([[part.replacement for part in group]])
        if not np.isnan(fills).all():
            numbers = graph.add("Where", is_missing, fills, numbers)
        # infinite numbers, and missing cells that the model takes none of
        self.refusals.append(graph.sum_over(graph.add("Sub", numbers, numbers), 1, keep=True))
        weights = np.concatenate([part.slopes for part in group])
        order = [part.order for part in group for _ in range(part.n_pieces)]
        sums = [self._product(self._deltas(numbers, group), weights, signs, order)]
        known = [i for i, part in enumerate(group) if part.has_missing]
        if known:
            flags = graph.columns(graph.cast(is_missing, DOUBLE), known, len(group))
            at_missing = np.stack([group[i].at_missing for i in known])
            order = [group[i].order for i in known]
            sums.append(self._product(flags, at_missing, signs, order))
        return sums

    def _product(self, inputs, weights, signs, order):
        """Return the product with weights, with the sign that each member gives to their reader."""
        is_square = signs is None and weights.shape[0] == weights.shape[1]
        if is_square and np.array_equal(weights, np.eye(len(weights))):
            return inputs
        return self.graph.add("MatMul", inputs, self._signed(weights, signs, order))

    def _signed(self, rows, signs, order):
        """Return rows of weights of readers, (rows, members * width)."""
        if signs is None:
            return self.graph.double(rows)
        signs = self.graph.double(signs.T[order][:, :, None])  # (rows, members, 1)
        signed = self.graph.add("Mul", self.graph.double(rows[:, None]), signs)
        return self.graph.add("Reshape", signed, np.array([len(rows), -1]))

    def _scaled(self, numbers, code, a, b):
        graph = self.graph
        if code == CLIP:
            return graph.add("Min", graph.add("Max", numbers, a), b)
        if code == SUBTRACT_DIVIDE:
            return graph.add("Div", graph.add("Sub", numbers, a), b)
        return graph.add("Add", graph.add("Mul", numbers, a), b)

    def _deltas(self, numbers, group):
        """Return the part of each piece that lies below each number, (n, pieces of all columns)."""
        graph = self.graph
        place = [i for i, part in enumerate(group) for _ in range(part.n_pieces)]
        deltas = graph.columns(numbers, place, len(group))
        edges, inverse, low, high = np.concatenate([part.pieces for part in group], axis=1)[:, None]
        if edges.any():
            deltas = graph.add("Sub", deltas, edges)
        if (inverse != 1).any():
            deltas = graph.add("Mul", deltas, inverse)
        if np.isfinite(low).any() or np.isfinite(high).any():
            deltas = graph.add("Min", graph.add("Max", deltas, low), high)
        return deltas

    def _levels(self, levels, rows, signs):
        """Return the sums of the weights of the states of columns of levels."""
        table = [rows[first : first + reader["n_states"]] for reader, _, first in levels]
        order = [i for reader, i, _ in levels for _ in range(reader["n_states"])]
        weights = self._signed(np.concatenate(table), signs, order)
        states = self.states([reader for reader, _, _ in levels])
        return self.graph.sum_over(self.graph.add("Gather", weights, states, axis=0), 1)

    def states(self, readers):
        """Return the states of columns of levels, (n, columns), numbered through all of them.

        The rows are noted where the model refuses a cell.
        """
        starts = np.cumsum([0, *(reader["n_states"] for reader in readers)])
        n_states = int(starts[-1])  # which stands for a cell that is refused
        parts, text, refuses = [], [], False
        for place, (reader, start) in enumerate(zip(readers, starts, strict=False)):
            states = _numbered(reader, int(start), n_states)
            if self.columns.kinds[reader["column"]] == "text":
                text.append((place, reader["column"], states))
                refuses |= n_states in (states.other, states.missing)
            else:
                parts.append(([place], self._states_of_numbers(reader, states, n_states)))
                refuses = True  # infinite numbers are no level
        if text:
            parts.append(([place for place, _, _ in text], self._states_of_texts(text)))
        found = self.graph.concatenated([states for _, states in parts])
        places = [place for part, _ in parts for place in part]
        found = self.graph.columns(found, np.argsort(places), len(places))
        if refuses:
            is_refused = np.append(np.zeros(n_states), math.nan)
            refused = self.graph.add("Gather", is_refused, found, axis=0)
            self.refusals.append(self.graph.sum_over(refused, 1, keep=True))
            found = self.graph.add("Min", found, np.array(n_states - 1))
        return found

    def _states_of_texts(self, text):
        """Return the states of columns of texts, (n, columns).

        One map turns each text into a number, which has a state for each column.
        """
        keys = list(
            dict.fromkeys([*MISSING_TEXTS, *(key for *_, each in text for key in each.known)])
        )
        table = np.empty((len(text), len(keys) + 1), dtype=np.int32)
        for row, (*_, states) in zip(table, text, strict=True):
            of_missing = dict.fromkeys(MISSING_TEXTS, states.missing) | states.known
            row[:] = [*(of_missing.get(key, states.other) for key in keys), states.other]
        cells = self.columns.together([column for _, column, _ in text])
        numbers = self.graph.add(
            "LabelEncoder",
            cells,
            domain=ML_DOMAIN,
            keys_strings=keys,
            values_int64s=list(range(len(keys))),
            default_int64=len(keys),
        )
        starts = np.arange(len(text))[None] * table.shape[1]
        if len(text) > 1:
            numbers = self.graph.add("Add", numbers, starts)
        states = self.graph.cast(self.graph.constant(table.ravel()), INT64)
        return self.graph.add("Gather", states, numbers, axis=0)

    def _states_of_numbers(self, reader, states, refused):
        """Return the states of a column whose levels are numbers, (n, 1)."""
        graph = self.graph
        if any(isinstance(level, str) for level in reader["levels"]):
            raise ExportError(f"column {reader['column']} of a step has numbers in place of texts")
        numbers = self.numbers([reader["column"]])
        levels = np.array(list(states.known), dtype=np.float64)
        if len(set(levels.tolist())) < len(levels):
            raise ExportError(
                f"column {reader['column']} has integer levels that float64 does not tell apart"
            )
        is_missing, other = graph.add("IsNaN", numbers), np.array(states.other)
        found = graph.add("Where", is_missing, np.array(states.missing), other)
        found = graph.add("Where", graph.add("IsInf", numbers), np.array(refused), found)
        if not len(levels):
            return found
        is_level = graph.cast(graph.add("Equal", numbers, levels[None]), INT64)
        steps = np.array([[state - states.other] for state in states.known.values()])
        return graph.add("Add", found, graph.add("MatMul", is_level, steps))


class _States(NamedTuple):
    """States of the levels of a column, of other levels and of missing cells."""

    known: dict
    other: int
    missing: int


def _numbered(reader, start, refused):
    """Return the states of a reader, counted from a start, with a number for what it refuses."""
    other, missing = (
        refused if state is None else start + state
        for state in (reader["other"], reader["missing"])
    )
    states = [start + state for state in reader["states"]]
    return _States(dict(zip(reader["levels"], states, strict=True)), other, missing)


def with_zeros(weights):
    """Return weights of one output with zeros for another one before it."""
    return np.concatenate([np.zeros_like(weights), weights], axis=-1)


class _Pieces:
    """Constants of a column of numbers."""

    def __init__(self, reader, arrays, rows, first, order):
        self.column, self.order = reader["column"], order
        constants, steps = arrays[reader["constants"]], arrays[reader["steps"]]
        self.codes = tuple(int(code) for code in steps[:, 0])
        self.steps = steps[:, 1:]
        edges, self.has_missing = constants[2:], bool(reader["missing"])
        self.n_pieces = len(edges) - 1
        self.n_states = self.n_pieces + self.has_missing
        self.slopes = rows[first : first + self.n_pieces]
        self.at_missing = rows[first + self.n_pieces] if self.has_missing else None
        inverse = 1 / np.diff(edges)
        # the outer pieces end at the bounds of the column
        low, high = np.zeros(self.n_pieces), np.ones(self.n_pieces)
        low[0] = (constants[0] - edges[0]) * inverse[0]
        high[-1] = (constants[1] - edges[-2]) * inverse[-1]
        self.pieces = np.array([edges[:-1], inverse, low, high])
        fill = reader["fill"]
        if fill is not None and not math.isnan(fill):
            self.replacement, self.has_missing = fill, False
        else:  # the lower edge of the first piece, where all pieces are zero
            self.replacement = edges[0] if self.has_missing else math.nan
