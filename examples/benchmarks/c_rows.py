"""Time one raw row of a C header, and count the bytes of its source and of its object code.

    SKLEARN_KD_DATA=... python examples/benchmarks/c_rows.py

The network that is distilled from a forest, with weights of each dtype, and HistGradientBoosting
are written by `export.to_c`, all regressors on a table of numbers such as "diamonds". A C program
with 2,000 different rows, which are part of it, calls the function that predicts probabilities or
numbers on one after the other. The clock is read every 10 rows, since reading it
takes a tenth of the time of a row. p50 and p99 are those of the means of 10 rows. "numbers" is a
made table of 20 columns. Bytes of objects are those of code and constants, by the program `size`,
with one function that predicts. The networks are trained for a few epochs only, because prediction
takes the same time. The script needs a C compiler, and prints Markdown.
"""

import argparse
import re
import subprocess
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from _runs import environment, markdown, thread_limit, timed_fit
from _teachers import categorical
from compact_rows import TABLES, kinds_of, load
from sklearn.pipeline import make_pipeline

from sklearn_kd import TableEncoder
from sklearn_kd.export import to_c

N_ROWS = 2000
FIELD = re.compile(r'^    (double |const char \*)(\w+); /\* "(.*?)": ', re.MULTILINE)
FUNCTION = """
#include "model.h"
int predict(const model_row *row, double *answer);
int predict(const model_row *row, double *answer)
{
    return PREDICT(row, answer);
}
"""
PROGRAM = """
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "model.h"

static const model_row rows[] = {
ROWS
};

static double nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e9 * (double)now.tv_sec + (double)now.tv_nsec;
}

int main(void)
{
    const int n = (int)(sizeof rows / sizeof rows[0]);
    double answer[COUNT], total = 0.0;
    for (int i = 0; i < CALLS / 10; ++i) {
        const double start = nanoseconds();
        for (int j = 0; j < 10; ++j) {
            if (PREDICT(&rows[(10 * i + j) % n], answer)) {
                return 1;
            }
            total += answer[0];
        }
        printf("%.1f\\n", (nanoseconds() - start) / 10);
    }
    return total != total;
}
"""


def as_c(cell, is_text):
    """Return a cell as a constant of C."""
    is_missing = cell is None or cell != cell
    if not is_text:
        return "NAN" if is_missing else repr(float(cell))
    return "NULL" if is_missing else '"' + "".join(f"\\{b:03o}" for b in cell.encode()) + '"'


def row_initializers(header, X):
    """Return the rows of a table as initializers of the struct of a header."""
    fields = FIELD.findall(header)
    columns = [
        [f".{field} = {as_c(cell, kind != 'double ')}" for cell in X[name].astype(object)]
        for kind, field, name in fields
    ]
    return ",\n".join("{" + ", ".join(cells) + "}" for cells in zip(*columns, strict=True))


def measure(model, X, dtype, *, n_calls, compiler):
    """Return figures of the header of a model.

    Parameters
    ----------
    model : classifier or regressor
        Fitted.
    X : DataFrame
        Raw rows.
    dtype : str
        Of the weights.
    n_calls : int
    compiler : str

    Returns
    -------
    dict
        ``p50`` and ``p99`` in nanoseconds of a row, ``source``, ``O2`` and ``Os`` in bytes.
    """
    header = to_c(model, dtype=dtype)
    names = {"PREDICT": "model_predict_proba", "COUNT": "MODEL_N_CLASSES"}
    if "MODEL_N_CLASSES" not in header:
        names = {"PREDICT": "model_predict", "COUNT": "MODEL_N_TARGETS"}
    defines = [f"-D{name}={value}" for name, value in names.items()]
    found = {"source": len(header)}
    with TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "model.h").write_text(header)
        (folder / "function.c").write_text(FUNCTION)
        rows = row_initializers(header, X[:N_ROWS])
        (folder / "program.c").write_text(PROGRAM.replace("ROWS", rows, 1))
        for option in ("O2", "Os"):
            made = folder / f"{option}.o"
            command = [compiler, "-std=c99", *defines, f"-{option}", "-c", folder / "function.c"]
            subprocess.run([*command, "-o", made], check=True)
            said = subprocess.run(["size", made], check=True, capture_output=True, text=True).stdout
            found[option] = sum(int(size) for size in said.splitlines()[1].split()[:3])
        options = ["-std=c99", "-O2", *defines, f"-DCALLS={n_calls}"]
        program = folder / "program"
        subprocess.run([compiler, *options, f"{program}.c", "-o", program, "-lm"], check=True)
        said = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    p50, p99 = np.percentile(np.array(said.split(), dtype=float), [50, 99])
    return {"p50": p50, "p99": p99, **found}


def models(X, y, X_test, args):
    """Yield name, model and dtype."""
    forest, boosting, _, network, distiller = kinds_of(y)
    forest = make_pipeline(TableEncoder(), forest(args.trees, random_state=0))
    network = network(args.width, max_iter=10, random_state=0)
    fixed = {"alpha": 0.5, "augmentation": None, "random_state": 0}
    distilled = distiller(forest, network, **fixed)
    timed_fit(distilled, X, y)
    for dtype in ("float64", "float32", "int8"):
        yield "network, distilled", distilled, dtype
    levels, _ = categorical(X, X_test)
    boosting = boosting(random_state=0)
    timed_fit(boosting, levels, y)
    yield "HistGradientBoosting", boosting, "float32"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=TABLES, metavar="NAME")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--trees", type=int, default=300, help="of the teacher")
    parser.add_argument("--calls", type=int, default=200_000, help="rows that are predicted")
    parser.add_argument("--max-rows", type=int, default=2000, help="training rows")
    parser.add_argument("--compiler", default="cc")
    args = parser.parse_args()
    command = [args.compiler, "--version"]
    version = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = []
    warnings.simplefilter("ignore")  # of categories that the training rows lack
    with thread_limit(1):
        print(environment("one thread"))
        print(f"{version.splitlines()[0]}. Width {args.width}, {args.calls:,} rows.\n")
        for table in args.tables:
            X, y, X_test = load(table, args.max_rows)
            for name, model, dtype in models(X, y, X_test, args):
                found = measure(model, X_test, dtype, n_calls=args.calls, compiler=args.compiler)
                sizes = (f"{found[key]:,}" for key in ("source", "O2", "Os"))
                times = f"{found['p50']:,.0f}", f"{found['p99']:,.0f}"
                lines.append([table, X.shape[1], name, dtype, *times, *sizes])
        header = ["table", "columns", "model", "weights", "p50, ns", "p99, ns"]
        print(markdown([*header, "source, bytes", "object -O2", "object -Os"], lines))


if __name__ == "__main__":
    main()
