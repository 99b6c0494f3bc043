"""Write fitted models as C headers: `to_c`."""

from sklearn_kd.export._c.cells import Cells
from sklearn_kd.export._c.layers import is_extended
from sklearn_kd.export._c.models import ModelFunctions
from sklearn_kd.export._c.tokens import as_bytes, comment, double, integer, is_identifier
from sklearn_kd.export._c.unit import CUnit, array_text
from sklearn_kd.export._columns import ExportError
from sklearn_kd.export._description import describe_model, parts_of

#: Dtypes of the weights that a header can have.
DTYPES = ("float64", "float32", "int8")


def to_c(model, *, dtype="float32", name="model"):
    """Write a fitted classifier or regressor as a C header that predicts raw rows.

    The header needs C99 or C++11 and the C standard library alone. It allocates no memory, writes
    to no global variable, and may be used by several threads.

    Parameters
    ----------
    model : classifier or regressor
        Fitted, any that :func:`compact` writes. Each column has either numbers and booleans or
        texts.
    dtype : {"float64", "float32", "int8"}, default="float32"
        Of the stored weights. All arithmetic is of the type double. "int8" has a scale for each
        output of a layer, as in :func:`compact`, which measures what that changes.
    name : str, default="model"
        Start of all identifiers of the header, itself an identifier of C and C++. An underscore
        follows it, so that it ends with none.

    Returns
    -------
    header : str
        Text of the file, of ASCII characters.

    Raises
    ------
    ValueError
        If the model has a part that cannot be written, which the message names.

    See Also
    --------
    compact : The same model as a file for Python.

    Notes
    -----
    The header declares, with ``model`` as the name:

    - ``model_row``, a struct of the raw columns that the model reads: ``double`` for numbers and
      booleans, with NaN as a missing cell, and ``const char *`` for texts in UTF-8, with NULL as a
      missing cell. A column whose name is no identifier has a similar one, and columns without
      names are x0, x1 and so on. The header lists the columns that are not read.
    - ``model_columns``, the names of these columns, and ``MODEL_N_COLUMNS``.
    - ``model_classes``, the labels of a classifier, and ``MODEL_N_CLASSES``. Booleans are 0 and 1.
    - ``int model_predict_proba(const model_row *row, double *proba)``
    - ``int model_predict(const model_row *row, int *label)``, where ``label`` is the place of a
      label in ``model_classes``.

    A regressor has no classes and no probabilities:

    - ``MODEL_N_TARGETS``, and ``int model_predict(const model_row *row, double *numbers)``, which
      writes a number for each target.
    - With quantiles ``model_quantiles``, their levels, ``MODEL_N_QUANTILES``, and ``int
      model_predict_quantiles(const model_row *row, double *quantiles)``. It writes
      ``MODEL_N_TARGETS * MODEL_N_QUANTILES`` numbers: the quantiles of the first target, then those
      of the second one and so on.

    The functions return 0, or 1 plus the place in ``model_columns`` of the first column whose cell
    the model refuses: an infinite number, or a missing cell or an unknown level where the model
    takes none. Nothing else is written then. Answers are those of the model to 1e-12 with "float64"
    and to 1e-6 with "float32": probabilities, or numbers in units of the size of the targets.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_kd.export import to_c
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> header = to_c(LogisticRegression(max_iter=1000).fit(X, y), name="iris")
    >>> print(header[header.index("typedef") : header.index("iris_row;")], "iris_row;", sep="")
    typedef struct {
        double sepal_length_cm; /* "sepal length (cm)": a number, never missing */
        double sepal_width_cm; /* "sepal width (cm)": a number, never missing */
        double petal_length_cm; /* "petal length (cm)": a number, never missing */
        double petal_width_cm; /* "petal width (cm)": a number, never missing */
    } iris_row;
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {list(DTYPES)}, got {dtype!r}.")
    if not isinstance(name, str) or not is_identifier(name) or name.endswith("_"):
        raise ValueError(
            f"name must be an identifier of C and C++ that ends with no underscore, got {name!r}."
        )
    spec, arrays = describe_model(model, dtype, "a C header")
    try:
        return _Header(spec, arrays, name).text(type(model).__name__, dtype)
    except ExportError as error:
        raise ValueError(
            f"{type(model).__name__} cannot be written as a C header: {error}."
        ) from error


class _Header:
    """Text of a header from the description of a model."""

    def __init__(self, spec, arrays, name):
        self.spec, self.arrays, self.name = spec, arrays, name
        names = spec["names"] or [f"x{j}" for j in range(len(spec["kinds"]))]
        self.names = [as_bytes(each, "the name of the column") for each in names]
        self.guard = f"SKLEARN_KD_{name}_H"
        self.quantiles = spec["answer"].get("quantiles")
        self.counts = {"COLUMNS": None}
        if spec["classes"] is not None:
            self.counts["CLASSES"] = len(spec["classes"])
        else:
            self.counts["TARGETS"] = spec["answer"]["n_targets"] or 1
            if self.quantiles is not None:
                self.counts["QUANTILES"] = len(self.quantiles["asked"])
        self.macros = {what: f"{name.upper()}_N_{what}" for what in sorted(self.counts)}
        self.cells = Cells(names, arrays, {self.guard, *self.macros.values()})
        for model in parts_of(spec["answer"]):
            for reader in model.get("readers", ()):
                self.cells.add(reader, is_extended=is_extended(model, arrays))
        self.cells.finish()
        self.counts["COLUMNS"] = len(self.cells.columns)

    def text(self, kind, dtype):
        """Return the text of the header, of a kind of model with weights of a dtype."""
        unit, name = CUnit(self.name), self.name
        columns = [as_bytes(column.name, "column") for column in self.cells.columns]
        defines = [f"#define {macro} {self.counts[what]}" for what, macro in self.macros.items()]
        if columns:
            texts = [unit.text(column) for column in columns]
            unit.parts.append(array_text(f"{name}_columns", "char *const", texts))
        if self.spec["classes"] is not None:
            unit.parts.append(self._classes(unit))
        read = self.cells.declare(unit)
        functions, answer = ModelFunctions(unit, self.cells, self.arrays), self.spec["answer"]
        if self.spec["classes"] is not None:
            proba = functions.function("proba", answer)
            unit.parts.append(
                unit.filled(PREDICT, read=read, proba=proba, n=self.counts["CLASSES"])
            )
        else:
            self._add_numbers(unit, read, functions.function("numbers", answer))
        parts = [
            self._comment(kind, dtype),
            f"#ifndef {self.guard}\n#define {self.guard}",
            INCLUDES,
            "\n".join(defines),
            self.cells.struct(name),
            *unit.parts,
            f"#endif /* {self.guard} */",
        ]
        return "\n\n".join(parts) + "\n"

    def _add_numbers(self, unit, read, numbers):
        """Declare the functions that predict numbers and quantiles, from one for all of them."""
        n = self.counts["TARGETS"]
        if self.quantiles is None:
            unit.parts.append(unit.filled(PREDICT_NUMBERS, read=read, numbers=numbers))
            return
        levels, asked, center = (self.quantiles[each] for each in ("levels", "asked", "center"))
        texts = [double(levels[place]) for place in asked]
        unit.parts.append(array_text(f"{self.name}_quantiles", "double", texts))
        places = [t * len(levels) + place for t in range(n) for place in asked]
        picked = {"predict": range(center, n * len(levels), len(levels)), "quantiles": places}
        picked = {
            name: "\n        ".join(f"{to}[{k}] = all[{place}];" for k, place in enumerate(places))
            for (name, places), to in zip(picked.items(), ("numbers", "quantiles"), strict=True)
        }
        names = {"read": read, "numbers": numbers, "n": n * len(levels)}
        unit.parts.append(unit.filled(PREDICT_QUANTILES, **names, **picked))

    def _comment(self, kind, dtype):
        versions = ", ".join(f"{package} {v}" for package, v in self.spec["versions"].items())
        lines = [
            f"Predictions of a fitted {comment(kind)[1:-1]}, with weights of {dtype}.",
            "Written by sklearn_kd.export.to_c, whose documentation explains it.",
            f"Versions: {comment(versions)[1:-1]}.",
            "",
            f"    {self.name}_row row = {{...}};",
            *self._example(),
            "",
            "The result is 0, or 1 plus the place of the refused column in "
            f"{self.name}_columns.",
        ]  # fmt: skip
        if self.cells.unread:
            lines += ["", "Columns that the model does not read:"]
            lines += [f"    {comment(name)}" for name in self.cells.unread]
        return "\n".join(["/*", *(f" * {line}".rstrip() for line in lines), " */"])

    def _example(self):
        """Return the lines of a comment that predict."""
        what = {"numbers": "TARGETS"} if self.spec["classes"] is None else {"proba": "CLASSES"}
        ((name, count),) = what.items()
        function = f"{self.name}_predict{'_proba' if name == 'proba' else ''}"
        return [
            f"    double {name}[{self.macros[count]}];",
            f"    int refused = {function}(&row, {name});",
        ]

    def _classes(self, unit):
        classes, name = self.spec["classes"], f"{self.name}_classes"
        if isinstance(classes[0], str):
            texts = [unit.text(as_bytes(label, "the label")) for label in classes]
            return array_text(name, "char *const", texts)
        if isinstance(classes[0], float):
            return array_text(name, "double", [double(label) for label in classes])
        kind = "long long" if max(classes) < 2**63 else "unsigned long long"
        return array_text(name, kind, [integer(label) for label in classes])


INCLUDES = """
#include <math.h>
#include <stddef.h>
#include <string.h>

#if (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || defined(_M_FP_FAST)
#error "Missing cells are NaN: compile without -ffast-math, -ffinite-math-only and /fp:fast."
#endif
""".strip()

PREDICT = """
static inline int ${p}_predict_proba(const ${p}_row *row, double *proba)
{
    ${p}_cells cells;
    const int refused = ${read}(row, &cells);
    if (refused == 0) {
        ${proba}(&cells, proba);
    }
    return refused;
}

static inline int ${p}_predict(const ${p}_row *row, int *label)
{
    double proba[${n}];
    const int refused = ${p}_predict_proba(row, proba);
    if (refused == 0) {
        *label = 0;
        for (int k = 1; k < ${n}; ++k) {
            *label = proba[k] > proba[*label] ? k : *label;
        }
    }
    return refused;
}
"""

PREDICT_NUMBERS = """
static inline int ${p}_predict(const ${p}_row *row, double *numbers)
{
    ${p}_cells cells;
    const int refused = ${read}(row, &cells);
    if (refused == 0) {
        ${numbers}(&cells, numbers);
    }
    return refused;
}
"""

PREDICT_QUANTILES = """
static inline int ${p}_predict(const ${p}_row *row, double *numbers)
{
    ${p}_cells cells;
    double all[${n}];
    const int refused = ${read}(row, &cells);
    if (refused == 0) {
        ${numbers}(&cells, all);
        ${predict}
    }
    return refused;
}

static inline int ${p}_predict_quantiles(const ${p}_row *row, double *quantiles)
{
    ${p}_cells cells;
    double all[${n}];
    const int refused = ${read}(row, &cells);
    if (refused == 0) {
        ${numbers}(&cells, all);
        ${quantiles}
    }
    return refused;
}
"""
