"""Shared libraries of C headers, whose functions Python calls."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd
import pytest

COMPILER = shutil.which("cc") or shutil.which("gcc")
COMPILER_OF_CPP = shutil.which("g++") or shutil.which("clang++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
WARNINGS = ["-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wshadow", "-Wdouble-promotion"]
WRAPPER = """
#include "{name}.h"
int {name}_c_proba(const {name}_row *row, double *proba);
int {name}_c_label(const {name}_row *row, int *label);
const char *{name}_c_column(int i);
int {name}_c_proba(const {name}_row *row, double *proba)
{{
    return {name}_predict_proba(row, proba);
}}
int {name}_c_label(const {name}_row *row, int *label)
{{
    return {name}_predict(row, label);
}}
const char *{name}_c_column(int i)
{{
    return {column};
}}
"""


class CompiledModel:
    """A header of a shared library.

    Parameters
    ----------
    library : ctypes.CDLL
    name : str
    header : str
    n_classes : int
    """

    def __init__(self, library, name, header, n_classes):
        struct = re.search(r"typedef struct \{\n((?:    .*\n)*)\} \w+_row;", header).group(1)
        kinds = {"double": ctypes.c_double, "const char *": ctypes.c_char_p}
        fields = re.findall(r"^    (double|const char \*) ?(\w+); /\*", struct, re.MULTILINE)
        self.fields = [field for _, field in fields]
        self.is_text = [kind != "double" for kind, _ in fields]

        class Row(ctypes.Structure):
            _fields_ = [(field, kinds[kind]) for kind, field in fields]

        self._row, self._n_classes = Row, n_classes
        self._proba, self._label = (
            getattr(library, f"{name}_c_{what}") for what in ("proba", "label")
        )
        column = getattr(library, f"{name}_c_column")
        column.restype = ctypes.c_char_p
        self.columns = [column(i).decode() for i in range(len(fields))]

    def proba_or_code(self, cells):
        """Return the probabilities of the cells of the struct, or the code of a refused one."""
        row = self._row(*map(self._cell, cells, self.is_text))
        proba, label = (ctypes.c_double * self._n_classes)(), ctypes.c_int(-1)
        code = self._proba(ctypes.byref(row), proba)
        assert self._label(ctypes.byref(row), ctypes.byref(label)) == code
        if code:
            assert label.value == -1
            return code
        assert label.value == np.argmax(proba)
        return np.array(proba)

    def predict_proba(self, X):
        """Return the probabilities of a table, or of an array whose columns have no names."""
        if not hasattr(X, "columns"):
            X = pd.DataFrame(X).add_prefix("x")
        found = [self.proba_or_code(cells) for cells in X[self.columns].itertuples(index=False)]
        assert all(isinstance(each, np.ndarray) for each in found), "a cell is refused"
        return np.array(found).reshape(len(X), self._n_classes)

    @staticmethod
    def _cell(cell, is_text):
        if isinstance(cell, bytes):
            return cell
        if pd.isna(cell):
            return None if is_text else np.nan
        return cell.encode() if is_text else float(cell)


def compiled(headers, n_classes, folder, *, options=("-O0",)):
    """Return the compiled models of headers, which are one translation unit.

    Parameters
    ----------
    headers : dict of str to str
        Of the name of each model.
    n_classes : int
    folder : Path
    options : sequence of str
        Of the compiler. Its warnings are errors.

    Returns
    -------
    dict of str to CompiledModel
    """
    folder = Path(mkdtemp(dir=folder))  # a library of the same name would be the one in memory
    sources = []
    for name, header in headers.items():
        (folder / f"{name}.h").write_text(header, encoding="ascii")
        column = f"{name}_columns[i]" if f"{name}_columns[" in header else "i ? NULL : NULL"
        sources.append(WRAPPER.format(name=name, column=column))
    source, library = folder / "models.c", folder / "models.so"
    source.write_text("".join(sources))
    run_compiler(
        ["-std=c99", *WARNINGS, "-Werror", *options, "-shared", "-fPIC", source, "-lm"], library
    )
    loaded = ctypes.CDLL(str(library))
    return {
        name: CompiledModel(loaded, name, header, n_classes) for name, header in headers.items()
    }


def run_compiler(arguments, output, compiler=None):
    """Compile, and fail with what the compiler says."""
    command = [compiler or COMPILER, *arguments, "-o", output]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:5000]
