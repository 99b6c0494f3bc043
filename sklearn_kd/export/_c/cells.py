"""The cells of a row in C: the struct of raw columns, and the function that reads it."""

import math

import numpy as np

from sklearn_kd.export._c.tokens import as_bytes, comment, double, identifiers
from sklearn_kd.export._c.unit import if_else
from sklearn_kd.export._columns import CLIP, MULTIPLY_ADD, SUBTRACT_DIVIDE, ExportError

#: Steps of scaling as expressions of x.
STEPS = {
    SUBTRACT_DIVIDE: "x = (x - {a}) / {b};",
    MULTIPLY_ADD: "x = x * {a} + {b};",
    CLIP: "x = x < {a} ? {a} : x > {b} ? {b} : x;",
}


class Cells:
    """The columns that a model reads, and each reading of a column once.

    A reading gives a state, an integer, or a number, or both, of the cell of a column. Models
    refer to it by its place, so that several models share it.

    Parameters
    ----------
    names : list of str
        Of all raw columns.
    arrays : list
        Of the description of the model.
    macros : set of str
        Those of the header, which no member of the struct may have as its name.

    Attributes
    ----------
    columns : list of Column
        Those that are read, in their order.
    """

    def __init__(self, names, arrays, macros):
        self._names, self._arrays, self._macros = names, arrays, macros
        self._readings = {}  # key to (column, reading)

    def add(self, reader, *, is_extended):
        """Register the description of a reader of a column.

        Parameters
        ----------
        reader : dict
        is_extended : bool
            Whether the first and the last piece of a number extend to its bounds.
        """
        key = self._key(reader, is_extended)
        if key not in self._readings:
            reading = {"levels": Levels, "number": Number, "pieces": Pieces}[reader["kind"]]
            column = self._names[reader["column"]]
            self._readings[key] = reading(reader, self._arrays, column, is_extended)

    def finish(self):
        """Give each reading a place, in the order of the columns, after all readers were added."""
        order = sorted(self._readings.values(), key=lambda reading: reading.column)
        self._places = {id(reading): place for place, reading in enumerate(order)}
        self.readings, groups = order, {}
        for reading in order:
            groups.setdefault(reading.column, []).append(reading)
        fields = identifiers([self._names[column] for column in groups], self._macros)
        self.columns = [
            Column(field, self._names[column], groups[column])
            for field, column in zip(fields, groups, strict=True)
        ]
        self.unread = [name for j, name in enumerate(self._names) if j not in groups]

    def place(self, reader, *, is_extended):
        """Return the place of the reading of a reader."""
        return self._places[id(self.reading(reader, is_extended=is_extended))]

    def reading(self, reader, *, is_extended):
        """Return the reading of a reader that was added."""
        return self._readings[self._key(reader, is_extended)]

    def _key(self, reader, is_extended):
        """Return what two readers have in common if they read the same."""
        is_extended = is_extended and reader["kind"] == "pieces"
        parts = [("extended", is_extended)]
        for name, value in sorted(reader.items()):
            if name in ("constants", "steps"):
                value = self._arrays[value].tobytes()
            elif name == "levels":
                value = tuple((type(level), level) for level in value)
            elif name == "states":
                value = tuple(value)
            parts.append((name, value))
        return tuple(parts)

    def struct(self, prefix):
        """Return the declaration of the struct of a raw row."""
        lines = []
        for column in self.columns:
            kind = "const char *" if column.is_text else "double "
            lines.append(f"    {kind}{column.field}; /* {comment(column.name)}: {column.note} */")
        lines = lines or ["    char unused; /* no column is read */"]
        return "\n".join(["typedef struct {", *lines, f"}} {prefix}_row;"])

    def declare(self, unit):
        """Declare the readings of a row and the function that makes them, and return its name."""
        n, p = max(len(self.readings), 1), unit.prefix
        body = []
        for i, column in enumerate(self.columns):
            for reading in column.readings:
                lines = reading.lines(unit, f"return {i + 1};", self._places[id(reading)])
                kind, name = ("const char *const ", "text") if column.is_text else ("double ", "x")
                body += [f"    {{ /* {comment(column.name)} */"]
                body += [f"        {kind}{name} = row->{column.field};"]
                body += [*(f"        {line}" for line in lines), "    }"]
        body = body or ["    (void)row;", "    (void)cells;"]
        states = f"    int state[{n}];\n    double number[{n}];"
        unit.parts.append(f"typedef struct {{\n{states}\n}} {p}_cells;")
        head = f"static inline int {p}_read(const {p}_row *row, {p}_cells *cells)"
        unit.parts.append("\n".join([head, "{", *body, "    return 0;", "}"]))
        return f"{p}_read"


class Column:
    """A raw column that is read.

    Attributes
    ----------
    field, name : str
        Identifier and name.
    readings : list of Levels, Number or Pieces
    is_text : bool
        Whether its cells are texts. Otherwise they are of the type double. Readings that have no
        levels, such as that of a fold in which all cells are missing, take the type of the others.
    note : str
        What its cells are.
    """

    def __init__(self, field, name, readings):
        self.field, self.name, self.readings = field, name, readings
        found = {reading.is_text for reading in readings} - {None}
        if len(found) > 1:
            raise _mixes(name)
        self.is_text = found == {True}
        for reading in readings:
            reading.is_text = self.is_text
        kinds = {reading.note for reading in readings if reading.note is not None}
        kind = " and ".join(sorted(kinds)) or "a number, of which any is an unknown level"
        missing = "NULL" if self.is_text else "NaN"
        takes = all(reading.takes_missing for reading in readings)
        self.note = f"{kind}, {missing} if missing" if takes else f"{kind}, never missing"


def _mixes(name):
    return ExportError(
        f"column {name!r} has both numbers and texts as levels, and a column of C has one type"
    )


class Number:
    """Reading of a number as it is, for trees."""

    is_text, note = False, "a number"

    def __init__(self, spec, arrays, name, is_extended):
        self.column = spec["column"]
        self.takes_missing, self.takes_infinity = spec["missing"], spec["infinite"]

    def lines(self, unit, refuse, place):
        """Return the lines that read x, which refuse a cell by the statement ``refuse``."""
        lines = []
        if not self.takes_infinity:
            lines += [f"if (x == x && !{unit.helper('is_finite')}(x)) {{", f"    {refuse}", "}"]
        if not self.takes_missing:
            lines += ["if (x != x) {", f"    {refuse}", "}"]
        return [*lines, f"cells->number[{place}] = x;"]


class Pieces:
    """Reading of a number as a piece between two edges and the place in it.

    The place is 0 at the lower edge and 1 at the upper one. A missing cell, if it is no number
    that replaces it, has the last piece plus one as its state, and the place 1, so that its row of
    a table is the one after the row of the last edge.
    """

    is_text, note = False, "a number"

    def __init__(self, spec, arrays, name, is_extended):
        self.column, self.fill = spec["column"], spec["fill"]
        constants, self.steps = arrays[spec["constants"]], arrays[spec["steps"]].tolist()
        self.low, self.high = constants[:2].tolist()
        self.edges = constants[2:].astype(np.float64)
        self.n_pieces, self.has_missing = len(self.edges) - 1, spec["missing"]
        #: places of the ends of the table in the first and in the last piece
        self.first, self.last = 0.0, 1.0
        if is_extended and self.n_pieces > 1:
            self._extend()
        self.takes_missing = self.fill is not None or self.has_missing

    def _extend(self):
        """Let the first and the last piece end at the bounds.

        A number beyond the outermost edge is then between two rows of the table, as others, so
        that rows of float32 are as exact there.
        """
        edges = self.edges.copy()
        if -math.inf < self.low < edges[0]:
            self.first = (self.low - edges[0]) / (edges[1] - edges[0])
            self.edges[0] = self.low
        if edges[-1] < self.high < math.inf:
            self.last = (self.high - edges[-2]) / (edges[-1] - edges[-2])
            self.edges[-1] = self.high

    def lines(self, unit, refuse, place):
        """Return the lines that read x, which refuse a cell by the statement ``refuse``."""
        refuse_infinity = [f"if (!{unit.helper('is_finite')}(x)) {{", f"    {refuse}", "}"]
        scaled, placed = [*refuse_infinity], self._placed(unit, place)
        for code, a, b in self.steps:
            scaled.append(STEPS[int(code)].format(a=f"({double(a)})", b=f"({double(b)})"))
        if self.steps:
            scaled += refuse_infinity
        if self.fill is not None:
            return [*if_else("x != x", [f"x = {double(self.fill)};"], scaled), *placed]
        if self.has_missing:
            state = f"cells->state[{place}] = {self.n_pieces};"
            missing = [state, f"cells->number[{place}] = 1.0;"]
            return if_else("x != x", missing, [*scaled, *placed])
        return [*scaled, *placed]

    def _placed(self, unit, place):
        """Return the lines that find the place of x, which was scaled."""
        lines = []
        if self.low > -math.inf:
            lines.append(f"x = x < {double(self.low)} ? {double(self.low)} : x;")
        if self.high < math.inf:
            lines.append(f"x = x > {double(self.high)} ? {double(self.high)} : x;")
        if self.n_pieces > 1:
            edges = unit.array("edges", self.edges)
            cells = f"&cells->state[{place}], &cells->number[{place}]"
            return [*lines, f"{unit.helper('place')}({edges}, {self.n_pieces}, x, {cells});"]
        lower, width = self.edges[0], self.edges[1] - self.edges[0]
        found = "x" if lower == 0 else f"(x - ({double(lower)}))"
        found = found if width == 1 else f"{found} / {double(width)}"
        return [*lines, f"cells->state[{place}] = 0;", f"cells->number[{place}] = {found};"]


class Levels:
    """Reading of a level as a state."""

    def __init__(self, spec, arrays, name, is_extended):
        self.column, self.other, self.missing = spec["column"], spec["other"], spec["missing"]
        levels = spec["levels"]
        is_text = {isinstance(level, str) for level in levels}
        if len(is_text) > 1:
            raise _mixes(name)
        self.is_text = is_text.pop() if is_text else None
        self.takes_missing = self.missing is not None
        if self.is_text:
            found = [as_bytes(level, f"a level of column {name!r},") for level in levels]
        else:
            found = [_as_double(level, name) for level in levels]
        order = sorted(range(len(found)), key=found.__getitem__)
        self.levels = [found[i] for i in order]
        self.states = np.array([spec["states"][i] for i in order], dtype=np.int64)
        self.note = None
        if self.is_text is not None:
            is_boolean = all(isinstance(level, bool) for level in levels)
            self.note = "a text" if self.is_text else "0 or 1" if is_boolean else "a number"

    def lines(self, unit, refuse, place):
        """Return the lines that read x or text, which refuse a cell by ``refuse``."""
        state = f"cells->state[{place}] = "
        missing = [refuse] if self.missing is None else [f"{state}{self.missing};"]
        search, known = self._search(unit) if self.levels else ([], None)
        refuse_infinity = [f"if (!{unit.helper('is_finite')}(x)) {{", f"    {refuse}", "}"]
        other = [] if self.is_text else refuse_infinity
        other += [refuse] if self.other is None else [f"{state}{self.other};"]
        present = other
        if known is not None:
            present = [*search, *if_else("i < 0", other, [f"{state}{known};"])]
        return if_else("text == NULL" if self.is_text else "x != x", missing, present)

    def _search(self, unit):
        """Return the lines that find the place i of a level, and the expression of its state."""
        n = len(self.levels)
        if self.is_text:
            found = f"{unit.helper('find_text')}({unit.texts('levels', self.levels)}, {n}, text)"
        else:
            levels = unit.array("levels", np.array(self.levels))
            found = f"{unit.helper('find_number')}({levels}, {n}, x)"
        is_same = self.states.tolist() == list(range(n))
        state = "i" if is_same else f"{unit.array('states', self.states)}[i]"
        return [f"const int i = {found};"], state


def _as_double(level, name):
    try:
        found = float(level)
    except OverflowError:
        found = math.inf
    if found != level:
        raise ExportError(
            f"column {name!r} has the level {level!r}, which no number of the type double equals"
        )
    return found
