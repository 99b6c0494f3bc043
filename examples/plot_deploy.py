"""From a raw table to the files that answer in service
====================================================

The script measures the size and the time of each file. The table is the one that ``quickstart.py``
makes: numbers, strings, categories and missing cells. A forest is distilled into a network of 16
neurons, which is written as a pickle, a file of skops, a compact file, an ONNX graph and a C
header. skops and onnxruntime are packages, and C needs a compiler. What is absent is left out.

Each file is read again and answers the same raw rows, whose probabilities are compared with those
of the student. The time is that of one row, from a dict as a service gets it to the probabilities,
with one thread. In C the row is a struct. The script takes under a minute.

The following command writes the picture. Without a path it is shown in a window::

    python examples/plot_deploy.py deploy.png
"""

import argparse
import pickle
import shutil
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from quickstart import make_table
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from sklearn_kd import DistilledClassifier, TableEncoder, TwoLayerPGDClassifier
from sklearn_kd.export import TRUSTED_TYPES, CompactModel, compact, to_c, to_onnx

PROGRAM = """
#include <stdio.h>
#include <time.h>
#include "model.h"

static const model_row rows[] = {
%(rows)s};

int main(void)
{
    const int n_rows = sizeof rows / sizeof rows[0];
    double proba[MODEL_N_CLASSES], sum = 0.0;
    int i, k, refused;
    clock_t start;
    for (i = 0; i < n_rows; i++) {
        refused = model_predict_proba(&rows[i], proba);
        if (refused) {
            fprintf(stderr, "the column %%s is refused\\n", model_columns[refused - 1]);
            return 1;
        }
        for (k = 0; k < MODEL_N_CLASSES; k++)
            printf("%%.17g ", proba[k]);
        printf("\\n");
    }
    start = clock();
    for (i = 0; i < %(n_calls)d; i++) {
        model_predict_proba(&rows[i %% n_rows], proba);
        sum += proba[0];
    }
    printf("%%.17g %%g\\n", 1e6 * (double)(clock() - start) / CLOCKS_PER_SEC / %(n_calls)d, sum);
    return 0;
}
"""


def microseconds(predict, rows, n_calls=300):
    """Return the median time of a prediction of one row."""
    seconds = []
    with threadpool_limits(1):
        for number in range(-20, n_calls):
            row = rows[number % len(rows)]
            start = time.perf_counter()
            predict(row)
            seconds.append(time.perf_counter() - start)
    return 1e6 * np.median(seconds[20:])


def of_pickle(model, path, X, rows):
    """Return bytes, time of a row and probabilities of a pickle."""
    path.write_bytes(pickle.dumps(model))
    loaded = pickle.loads(path.read_bytes())
    spent = microseconds(lambda row: loaded.predict_proba(pd.DataFrame([row])), rows, 100)
    return path.stat().st_size, spent, loaded.predict_proba(X)


def of_skops(model, path, X, rows):
    """Return the same of a file of skops, which executes nothing when it is read."""
    import skops.io

    skops.io.dump(model, path)
    loaded = skops.io.load(path, trusted=TRUSTED_TYPES)
    spent = microseconds(lambda row: loaded.predict_proba(pd.DataFrame([row])), rows, 100)
    return path.stat().st_size, spent, loaded.predict_proba(X)


def of_compact(model, path, X, rows):
    """Return the same of a compact file, which NumPy alone reads."""
    compact(model).save(path)
    loaded = CompactModel.load(path)
    return (
        path.stat().st_size,
        microseconds(loaded.predict_proba_one, rows),
        loaded.predict_proba(X),
    )


def of_onnx(model, path, X, rows):
    """Return the same of an ONNX graph, which onnxruntime runs."""
    import onnxruntime

    path.write_bytes(to_onnx(model, X).SerializeToString())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    types = {"tensor(double)": np.float64, "tensor(string)": object}
    types = {each.name: types[each.type] for each in session.get_inputs()}

    def predict_proba_one(row):
        inputs = {name: np.array([[row[name]]], dtype=dtype) for name, dtype in types.items()}
        return session.run(["probabilities"], inputs)[0]

    inputs = {name: X[[name]].to_numpy(dtype) for name, dtype in types.items()}
    proba = session.run(["probabilities"], inputs)[0]
    return path.stat().st_size, microseconds(predict_proba_one, rows), proba


def of_c(model, path, rows):
    """Return the same of a C program with the header. The bytes are those of the header."""
    kinds = compact(model).kinds_
    path.write_text(to_c(model))
    program = {"rows": "".join(f"    {c_struct(row, kinds)},\n" for row in rows), "n_calls": 10**6}
    source, executable = path.with_name("program.c"), path.with_name("program")
    source.write_text(PROGRAM % program)
    command = [compiler(), "-std=c99", "-O2", source, "-o", executable, "-lm"]
    subprocess.run(command, check=True)
    done = subprocess.run([executable], check=True, capture_output=True, text=True)
    *lines, last = done.stdout.splitlines()
    proba = np.array([line.split() for line in lines], dtype=float)
    return path.stat().st_size, float(last.split()[0]), proba


def c_struct(row, kinds):
    """Return the initializer of a raw row, whose names are identifiers of C."""
    cells = []
    for (name, cell), kind in zip(row.items(), kinds, strict=True):
        if kind in ("text", "category"):
            cells.append(f".{name} = " + ("NULL" if pd.isna(cell) else f'"{cell}"'))
        elif kind != "unused":
            cells.append(f".{name} = {'NAN' if pd.isna(cell) else float(cell)}")
    return f"{{{', '.join(cells)}}}"


def compiler():
    """Return the path of a C compiler, or None."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def measure(teacher, student, X, folder):
    """Return a line for each file: bytes, microseconds and the change of probabilities."""
    rows = X.to_dict("records")
    expected = {"teacher": teacher.predict_proba(X), "student": student.predict_proba(X)}
    found = {
        "teacher, pickle": of_pickle(teacher, folder / "teacher.pkl", X, rows),
        "teacher, compact": of_compact(teacher, folder / "teacher.skdc", X, rows),
        "student, pickle": of_pickle(student, folder / "student.pkl", X, rows),
    }
    if find_spec("skops"):
        found["student, skops"] = of_skops(student, folder / "student.skops", X, rows)
    found["student, compact"] = of_compact(student, folder / "student.skdc", X, rows)
    if find_spec("onnx") and find_spec("onnxruntime"):
        found["student, ONNX"] = of_onnx(student, folder / "student.onnx", X, rows)
    if compiler():
        found["student, C header"] = of_c(student, folder / "model.h", rows)
    lines = {}
    for name, (n_bytes, spent, proba) in found.items():
        change = np.abs(proba - expected[name.split(",")[0]]).max()
        lines[name] = {"bytes": n_bytes, "microseconds": spent, "largest change": change}
    return pd.DataFrame(lines).T


def in_digits(value):
    """Return a positive number with about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw(table):
    """Draw the bytes and the time of each file. Return None without matplotlib."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        return None
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    figure.suptitle("Size and time of each file of the student, and of the teacher")
    places = np.arange(len(table))
    colors = ["black" if name.startswith("teacher") else "C0" for name in table.index]
    for panel, column, label in (
        (axes[0], "bytes", "Bytes of the file"),
        (axes[1], "microseconds", "Microseconds of one raw row"),
    ):
        panel.scatter(table[column], places, color=colors, zorder=2)
        for place, value in zip(places, table[column], strict=True):
            panel.annotate(
                in_digits(value),
                (value, place),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize="small",
            )
        panel.set_xscale("log")
        start, end = panel.get_xlim()
        panel.set_xlim(start / 2, 10 * end)
        panel.set_xlabel(label)
        panel.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(places, table.index)
    axes[0].invert_yaxis()
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", help="where to save the picture; shown if left out")
    path = parser.parse_args().path

    X, y = make_table(3000)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=1000, stratify=y, random_state=0
    )
    teacher = make_pipeline(
        TableEncoder(n_bins=1), RandomForestClassifier(200, min_samples_leaf=5, random_state=0)
    )
    network = TwoLayerPGDClassifier(width=16)
    fixed = {"alpha": 0.5, "temperature": 1.0, "augmentation": None}
    model = DistilledClassifier(teacher, network, **fixed, random_state=0).fit(X_train, y_train)
    student = model.without_teacher(keep_history=False)
    print(f"{len(X_train)} training rows of {X.shape[1]} raw columns, {len(X_test)} test rows")
    for name, each in (("teacher", model.teacher_), ("student", student)):
        accuracy = accuracy_score(y_test, each.predict(X_test))
        loss = log_loss(y_test, each.predict_proba(X_test), labels=each.classes_)
        print(f"{name}: accuracy {accuracy:.3f}, log loss {loss:.4f}")

    with tempfile.TemporaryDirectory() as folder:
        table = measure(model.teacher_, student, X_test, Path(folder))
    formats = {"bytes": in_digits, "microseconds": in_digits}
    print("\n" + table.to_string(formatters=formats | {"largest change": "{:.1e}".format}))
    print("The largest change is that of a probability of a test row, from the estimator's.")
    assert table["largest change"].max() < 1e-6

    figure = draw(table)
    if figure is None:
        print('\nno picture: matplotlib is missing, pip install "sklearn-kd[plot]"')
    elif path is None:
        import matplotlib.pyplot as plt

        plt.show()
    else:
        figure.savefig(path, dpi=120)
        print(f"picture: {path}")


if __name__ == "__main__":
    main()
