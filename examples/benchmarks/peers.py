"""Compare a distilled network in its files with LightGBM and with exports of other packages.

    SKLEARN_KD_DATA=... python examples/benchmarks/peers.py --json runs.jsonl

All models get the same splits. "network" is what ``DistilledClassifier(LightGBM, network)`` makes
with its defaults, "LightGBM" has the defaults of LightGBM, and "small" is one of 20 trees of 8
leaves. Each is written in several forms, of which one raw row is timed:

- network: the compact file (a dict in, NumPy) and the C header (a struct in).
- LightGBM: the estimator (a frame of one row), its booster (the codes of levels, which a dict
  looks up in Python) and ONNX by onnxmltools (the same codes in float32).
- m2cgen: C and Python of a LightGBM that takes the codes as numbers, since m2cgen refuses splits on
  categories. C gets codes that are looked up before, Python looks them up.
- emlearn: C of an MLPClassifier of as many neurons and of a forest of 20 trees of 8 leaves, fitted
  on rows that a ColumnTransformer has encoded. C gets encoded rows. The forest gives probabilities,
  with 8 bits in a leaf, and the MLP the class.
- sqlite-predict: students "gbt" and "mlp" of what cross-validated LightGBM says, fitted on such
  encoded rows, in a database in memory, or on codes where those have more than 64 columns, the most
  that it takes. Only tables of two classes, since it gives the probability of one class.

Bytes are those of the file, in C those of code and constants (``cc -O2``), and of sqlite-predict
those of the stored model. Scores are those of the model in the form that is named, except for C:
there they are those of the same model in Python. C has 2,000 rows at most, and the program of
c_rows.py or one like it. Models take turns within a split, so that a slow
period of the machine affects all of them. Packages that are missing are left out; sqlite-predict
needs ``apsw``. Finished splits are appended to the file of ``--json`` and not repeated. The script
prints Markdown.
"""

import argparse
import subprocess
import warnings
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import c_rows
import numpy as np
from _runs import environment, markdown, run_cells, timed_fit
from _scores import probability_scores
from _tables import load_split, make_encoder
from compact_rows import booster_call, frame_call, measure
from lightgbm import LGBMClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_predict
from sklearn.neural_network import MLPClassifier
from small_trees import readable

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.export import compact

TABLES = ("german_credit", "phoneme", "telco_churn", "adult")
PACKAGES = ("lightgbm", "onnxmltools", "onnxruntime", "m2cgen", "emlearn", "sqlite-predict")
SMALL = {"n_estimators": 20, "num_leaves": 8}
N_TIMED = 200
MOST_SQLITE_COLUMNS = 64
#: Times of calls in C, of rows of the type and by the function that `c_rows.PROGRAM` names.
N_CALLS = 200_000
ROW_OF_NUMBERS = """
typedef {ctype} model_row[{n_features}];
static int predict_row(const model_row *given, double *answer)
{{
    const {ctype} *row = *given;
    {call};
    return 0;
}}
"""


def installed(*names):
    """Return whether modules can be imported."""
    return all(find_spec(name) for name in names)


def codes_of(template):
    """Return column to code by level, of a frame whose texts are categories."""
    return {
        name: {level: code for code, level in enumerate(template[name].cat.categories)}
        for name in template.select_dtypes("category")
    }


def coded(X):
    """Return an array in which categories are their codes, and missing ones are NaN."""
    X = X.copy()
    for name in X.select_dtypes("category"):
        codes = X[name].cat.codes.astype(float)
        X[name] = codes.where(codes >= 0)
    return X.to_numpy(dtype=np.float64)


def code_call(predict, template, dtype):
    """Return a function of a dict that looks up the codes and predicts a list of numbers."""
    codes = codes_of(template)

    def call(row):
        cells = [codes[n].get(c, np.nan) if n in codes else c for n, c in row.items()]
        return predict(cells if dtype is None else np.array([cells], dtype=dtype))

    return call


def c_figures(source, X, call, *, ctype="double", include=None):
    """Return microseconds of a row and bytes of an object of a C source.

    Parameters
    ----------
    source : str
        C code.
    X : ndarray of shape (n_samples, n_features)
        Rows, of which the first 2,000 are predicted.
    call : str
        Statement of C that predicts ``row`` and writes to ``answer``.
    ctype : str
        Type of a number of a row.
    include : str, optional
        Folder of headers.
    """
    rows = [", ".join(c_rows.as_c(cell, False) for cell in row) for row in X[:2000]]
    rows = ",\n".join("{" + row + "}" for row in rows)
    options = ["-O2", "-w", "-DPREDICT=predict_row", "-DCOUNT=64", f"-DCALLS={N_CALLS}"]
    options += ["-I", include] if include else []
    source += ROW_OF_NUMBERS.format(ctype=ctype, n_features=X.shape[1], call=call)
    # a function that is not static, so that those of the header are part of the object
    wrapper = (
        '#include "model.h"\nint function(const model_row *row, double *answer);\n'
        "int function(const model_row *row, double *answer) { return predict_row(row, answer); }\n"
    )
    program = c_rows.PROGRAM.replace("ROWS", rows, 1)
    with TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "model.h").write_text(source)
        (folder / "function.c").write_text(wrapper)
        (folder / "program.c").write_text(program)
        made, run = folder / "function.o", folder / "program"
        subprocess.run(["cc", *options, "-c", folder / "function.c", "-o", made], check=True)
        said = subprocess.run(["size", made], check=True, capture_output=True, text=True).stdout
        n_bytes = sum(int(size) for size in said.splitlines()[1].split()[:3])
        subprocess.run(["cc", *options, folder / "program.c", "-o", run, "-lm"], check=True)
        said = subprocess.run([run], check=True, capture_output=True, text=True).stdout
    return float(np.median(np.array(said.split(), dtype=float))) / 1000, n_bytes


class Forms:
    """Scores, bytes and calls of all forms of the models of one split."""

    def __init__(self, y_test, classes):
        self.y_test, self.classes = y_test, classes
        self.result, self.calls = {}, {}

    def add(self, name, proba, n_bytes, call=None, microseconds=None):
        """Add a form with what it predicts, and a function of a dict or its time."""
        scores = probability_scores(np.asarray(proba), self.classes, self.y_test)
        self.result[name] = {**scores, "bytes": n_bytes, "microseconds": microseconds}
        if call is not None:
            self.calls[name] = (call,)

    def finish(self, rows, n_calls):
        """Time the functions in turns and return all figures."""
        for name, times in measure(self.calls, rows, n_calls).items():
            self.result[name]["microseconds"] = float(np.median(times))
        return self.result


def add_network(forms, model, X_test):
    """Add the files of a distilled network."""
    made = compact(model)
    forms.add("network, compact", made.predict_proba(X_test), made.n_bytes_, made.predict_proba_one)
    found = c_rows.measure(model, X_test, "float32", n_calls=200_000, compiler="cc")
    proba = model.predict_proba(X_test)
    forms.add("network, C", proba, found["O2"], microseconds=found["p50"] / 1000)


def add_lightgbm(forms, name, model, template, X_test):
    """Add the forms of a LightGBM with categories."""
    n_bytes = len(model.booster_.model_to_string().encode())
    proba = model.predict_proba(X_test)
    forms.add(f"{name}, estimator", proba, n_bytes, frame_call(model, template))
    forms.add(f"{name}, booster", proba, n_bytes, booster_call(model, template))
    if not installed("onnxmltools", "onnxruntime"):
        return
    import onnxruntime
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    types = [("x", FloatTensorType([None, template.shape[1]]))]
    graph = convert_lightgbm(model.booster_, initial_types=types, zipmap=False)
    graph = graph.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options)
    output = [session.get_outputs()[-1].name]

    def predict(rows):
        return session.run(output, {"x": rows})[0]

    proba = predict(coded(X_test).astype(np.float32))
    call = code_call(predict, template, np.float32)
    forms.add(f"{name}, ONNX", proba, len(graph), call)


def add_m2cgen(forms, name, model, template, X_test):
    """Add C and Python of a LightGBM of codes."""
    import m2cgen

    rows = coded(X_test)
    proba = model.predict_proba(rows)
    n_classes = len(forms.classes)
    source = m2cgen.export_to_c(model)
    microseconds, n_bytes = c_figures(source, rows, "score((double *)row, answer)")
    forms.add(f"{name}, m2cgen C", proba, n_bytes, microseconds=microseconds)
    source = m2cgen.export_to_python(model)
    space = {}
    exec(source, space)
    call = code_call(space["score"], template, None)
    assert len(space["score"](list(rows[0]))) == n_classes
    forms.add(f"{name}, m2cgen Python", proba, len(source), call)


def add_emlearn(forms, name, model, rows):
    """Add C of a scikit-learn model of encoded rows."""
    import emlearn

    options, call = {}, "answer[0] = model_predict(row, N)"
    is_forest = hasattr(model, "estimators_")
    if is_forest:  # shares of classes in a leaf in 8 bits, in place of votes
        options = {"leaf_bits": 8}
        call = "float out[64]; model_predict_proba(row, N, out, K); answer[0] = out[0]"
    converted = emlearn.convert(model, method="inline", dtype="float", **options)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.h"
        converted.save(name="model", file=str(path))
        source = path.read_text()
    call = call.replace("N", str(rows.shape[1])).replace("K", str(len(forms.classes)))
    microseconds, n_bytes = c_figures(source, rows, call, ctype="float", include=emlearn.includedir)
    proba = (converted if is_forest else model).predict_proba(rows)
    proba = proba / proba.sum(axis=1, keepdims=True)
    forms.add(f"{name}, emlearn C", proba, n_bytes, microseconds=microseconds)


def add_sqlite(forms, rows, soft, labels, test_rows):
    """Add students of sqlite-predict."""
    import apsw
    import sqlite_predict

    names = [f"x{j}" for j in range(rows.shape[1])]
    database = apsw.Connection(":memory:")
    database.enable_load_extension(True)
    database.load_extension(sqlite_predict.loadable_path())
    for table, values in (("train", rows), ("test", test_rows)):
        more = [*soft.T, labels] if table == "train" else []
        columns = [*names, *(["p0", "p1", "y"] if more else [])]
        database.execute(f"CREATE TABLE {table}(id INTEGER PRIMARY KEY, {', '.join(columns)})")
        marks = ", ".join("?" * (1 + len(columns)))
        numbers = range(len(values))
        cells = zip(numbers, *values.T.tolist(), *(c.tolist() for c in more), strict=True)
        database.executemany(f"INSERT INTO {table} VALUES ({marks})", cells)
    columns = ", ".join(names)
    for kind in ("gbt", "mlp"):
        options = (
            f'{{"target": "y", "proba": ["p0", "p1"], "classes": ["0", "1"], '
            f'"student_id": "{kind}", "student_kind": "{kind}"}}'
        )
        query = f"SELECT {columns}, p0, p1, y FROM train"
        database.execute("SELECT * FROM distill_predict(?, ?)", (query, options)).fetchall()
        weights = "SELECT length(weights) FROM _predict_models WHERE model_id = ?"
        ((n_bytes,),) = database.execute(weights, (kind,))
        query = f"SELECT id, {columns} FROM test"
        use = f'{{"model": "{kind}"}}'
        answers = sorted(
            database.execute(
                "SELECT row_ref, prediction, confidence FROM predict_batch(NULL, ?, ?)",
                (query, use),
            ),
            key=lambda answer: int(answer[0]),
        )
        of_label = np.array([confidence for *_, confidence in answers])
        is_second = np.array([prediction == "1" for _, prediction, _ in answers])
        second = np.where(is_second, of_label, 1 - of_label)
        cursor = database.cursor()
        statement = f"SELECT predict('{kind}', {columns}) FROM test WHERE id = ?"
        number = iter(range(10**9))

        def call(_, cursor=cursor, statement=statement, number=number):
            return cursor.execute(statement, (next(number) % len(test_rows),)).fetchall()

        proba = np.column_stack([1 - second, second])
        forms.add(f"{kind}, sqlite-predict", proba, n_bytes, call)


def run(table, seed, width, max_rows, n_calls):
    """Fit, write and measure all models on one split."""
    data = load_split(table, seed, max_rows=max_rows)
    warnings.simplefilter("ignore")
    X, X_test = readable(data.X_train, data.X_test)
    y, y_test = data.y_train, data.y_test
    forms = Forms(y_test, np.unique(y))

    def lightgbm(**params):
        return LGBMClassifier(n_jobs=1, verbosity=-1, random_state=seed, **params)

    student = TwoLayerPGDClassifier(width, random_state=seed)
    network = DistilledClassifier(lightgbm(), student, random_state=seed)
    timed_fit(network, X, y)
    add_network(forms, network, X_test)
    encoder = make_encoder(data.X_train)
    rows, test_rows = (encoder.fit_transform(data.X_train), encoder.transform(data.X_test))
    for name, params in (("LightGBM", {}), ("small", SMALL)):
        model = lightgbm(**params)
        timed_fit(model, X, y)
        add_lightgbm(forms, name, model, X, X_test)
        if installed("m2cgen"):
            model = lightgbm(**params)
            timed_fit(model, coded(X), y)
            add_m2cgen(forms, name, model, X, X_test)
    if installed("emlearn"):
        forest = RandomForestClassifier(20, max_leaf_nodes=8, random_state=seed)
        perceptron = MLPClassifier((width,), random_state=seed)
        for name, model in (("MLP", perceptron), ("forest", forest)):
            timed_fit(model, rows, y)
            add_emlearn(forms, name, model, test_rows)
    if installed("sqlite_predict", "apsw") and len(forms.classes) == 2:
        soft = cross_val_predict(lightgbm(), X, y, method="predict_proba")
        labels = (y == forms.classes[1]).astype(int).astype(str)
        if rows.shape[1] > MOST_SQLITE_COLUMNS:
            rows, test_rows = (np.nan_to_num(coded(each), nan=-1.0) for each in (X, X_test))
        add_sqlite(forms, rows, soft, labels, test_rows)
    found = forms.finish(X_test.astype(object)[:2000].to_dict("records"), n_calls)
    return {"n_train": len(y), **found}


def lines_of(rows, table=None):
    """Return a line for each form: means of scores, medians of bytes and times."""
    mine = [row for row in rows if table in (None, row["table"])]
    names = dict.fromkeys(name for row in mine for name in row if isinstance(row[name], dict))
    lines = []
    for name in names:
        values = [row[name] for row in mine if name in row]
        cells = [name] if table is None else [table, name]
        for score in ("accuracy", "log_loss", "auc"):
            cells.append(f"{np.mean([value[score] for value in values]):.4f}")
        cells.append(f"{np.median([value['bytes'] for value in values]):,.0f}")
        microseconds = np.median([value["microseconds"] for value in values])
        ratios = [
            row[name]["microseconds"] / row["network, compact"]["microseconds"]
            for row in mine
            if name in row
        ]
        digits = 2 if microseconds < 10 else 0
        lines.append([*cells, f"{microseconds:,.{digits}f}", f"{np.median(ratios):.2g}"])
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=TABLES, metavar="NAME")
    parser.add_argument("--width", type=int, default=16, help="of the networks")
    parser.add_argument("--seeds", type=int, default=2, help="splits, and seeds of the fits")
    parser.add_argument("--max-rows", type=int, default=2000, help="training rows to keep")
    parser.add_argument("--calls", type=int, default=N_TIMED, help="calls on one row")
    parser.add_argument("--json", metavar="FILE", help="finished splits, to go on from")
    args = parser.parse_args()
    fixed = {"width": args.width, "max_rows": args.max_rows, "n_calls": args.calls}
    cells = [
        {"table": table, "seed": seed, **fixed}
        for seed in range(args.seeds)
        for table in args.tables
    ]
    rows = run_cells(cells, run, jobs=1, path=args.json)
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    print(environment("one thread"), ", ".join(versions))
    print(f"\nWidth {args.width}, {len(rows)} of {len(cells)} splits.\n")
    header = ["form", "accuracy", "log loss", "AUC", "bytes", "us a row", "us / compact"]
    if rows:
        print(markdown(header, lines_of(rows)) + "\n")
        lines = [line for table in args.tables for line in lines_of(rows, table)]
        print(markdown(["table", *header], lines))


if __name__ == "__main__":
    main()
