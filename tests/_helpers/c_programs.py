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
const char *{name}_c_column(int i);
const char *{name}_c_column(int i)
{{
    return {column};
}}
"""
#: A function of a header, with a name that a library shows.
FUNCTION = """
int {name}_c_{function}(const {name}_row *row, {kind} *answer);
int {name}_c_{function}(const {name}_row *row, {kind} *answer)
{{
    return {name}_{function}(row, answer);
}}
"""


class CompiledModel:
    """A header of a shared library.

    Parameters
    ----------
    library : ctypes.CDLL
    name : str
    header : str
    """

    def __init__(self, library, name, header):
        struct = re.search(r"typedef struct \{\n((?:    .*\n)*)\} \w+_row;", header).group(1)
        kinds = {"double": ctypes.c_double, "const char *": ctypes.c_char_p}
        fields = re.findall(r"^    (double|const char \*) ?(\w+); /\*", struct, re.MULTILINE)
        self.fields = [field for _, field in fields]
        self.is_text = [kind != "double" for kind, _ in fields]

        class Row(ctypes.Structure):
            _fields_ = [(field, kinds[kind]) for kind, field in fields]

        self._row, self._counts = Row, counts_of(header)
        self._functions = {
            function: (getattr(library, f"{name}_c_{function}"), kind, n)
            for function, (kind, n) in functions_of(self._counts).items()
        }
        column = getattr(library, f"{name}_c_column")
        column.restype = ctypes.c_char_p
        self.columns = [column(i).decode() for i in range(len(fields))]

    def answer_or_code(self, cells):
        """Return the answer to the cells of the struct, or the code of a refused one.

        It is the probabilities, or the numbers and then the quantiles.
        """
        row = self._row(*map(self._cell, cells, self.is_text))
        found, codes = {}, set()
        for name, (function, kind, n) in self._functions.items():
            found[name] = ({"int": ctypes.c_int, "double": ctypes.c_double}[kind] * n)(*[-7] * n)
            codes.add(function(ctypes.byref(row), found[name]))
        assert len(codes) == 1
        found = {name: np.array(answer) for name, answer in found.items()}
        if codes != {0}:
            assert all((answer == -7).all() for answer in found.values())
            return codes.pop()
        if "CLASSES" in self._counts:
            assert found["predict"] == found["predict_proba"].argmax()
            return found["predict_proba"]
        return np.concatenate(list(found.values()))

    def answers(self, X):
        """Return the answers to a table, or to an array whose columns have no names."""
        if not hasattr(X, "columns"):
            X = pd.DataFrame(X).add_prefix("x")
        found = [self.answer_or_code(cells) for cells in X[self.columns].itertuples(index=False)]
        assert all(isinstance(each, np.ndarray) for each in found), "a cell is refused"
        return np.array(found).reshape(len(X), -1)

    @staticmethod
    def _cell(cell, is_text):
        if isinstance(cell, bytes):
            return cell
        if pd.isna(cell):
            return None if is_text else np.nan
        return cell.encode() if is_text else float(cell)


def counts_of(header):
    """Return the numbers that a header defines, such as that of classes."""
    found = re.findall(r"^#define \w+_N_([A-Z]+) (\d+)$", header, re.MULTILINE)
    return {name: int(count) for name, count in found}


def functions_of(counts):
    """Return the functions of a header, with the type and the number of what they write."""
    if "CLASSES" in counts:
        return {"predict_proba": ("double", counts["CLASSES"]), "predict": ("int", 1)}
    found = {"predict": ("double", counts["TARGETS"])}
    if "QUANTILES" in counts:
        found["predict_quantiles"] = "double", counts["TARGETS"] * counts["QUANTILES"]
    return found


def compiled(headers, folder, *, options=("-O0",)):
    """Return the compiled models of headers, which are one translation unit.

    Parameters
    ----------
    headers : dict of str to str
        Of the name of each model.
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
        for function, (kind, _) in functions_of(counts_of(header)).items():
            sources.append(FUNCTION.format(name=name, function=function, kind=kind))
    source, library = folder / "models.c", folder / "models.so"
    source.write_text("".join(sources))
    run_compiler(
        ["-std=c99", *WARNINGS, "-Werror", *options, "-shared", "-fPIC", source, "-lm"], library
    )
    loaded = ctypes.CDLL(str(library))
    return {name: CompiledModel(loaded, name, header) for name, header in headers.items()}


def run_compiler(arguments, output, compiler=None):
    """Compile, and fail with what the compiler says."""
    command = [compiler or COMPILER, *arguments, "-o", output]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:5000]
