"""Time one raw row, from a dict, of the files of a student and of the models that it stands for.

    SKLEARN_KD_DATA=... python examples/benchmarks/compact_rows.py

A forest of 300 trees, HistGradientBoosting and LightGBM (if it is installed) are compared with the
network that is distilled from the forest: behind a ColumnTransformer, with its own encoder, as
compact models of float32 and int8 weights, in ONNX (if onnxruntime is installed) with an input for
each column and with two inputs, and in C (if there is a compiler). On a table of numbers such as
"diamonds" all of them are regressors. "numbers" is a made table of 20 columns and two classes. Each
call gets a dict, another one each time. Estimators get a DataFrame of one row that is made of it,
and onnxruntime gets arrays, which is part of the time. The booster of LightGBM gets the codes of
its levels, and C a struct. Models take turns of 100 calls, so that a slow period of the machine
affects all of them. Rows a second are those of a table of 20,000 rows, the median of five calls.
The networks are trained for a few epochs only, because prediction takes the same time. The script
prints Markdown.
"""

import argparse
import json
import pickle
import shutil
import time
import warnings

import numpy as np
import pandas as pd
from _runs import environment, markdown, thread_limit, timed_fit
from _tables import load_split, make_encoder
from _teachers import categorical
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline

from sklearn_kd import (
    DistilledClassifier,
    DistilledRegressor,
    TableEncoder,
    TwoLayerPGDClassifier,
    TwoLayerPGDRegressor,
)
from sklearn_kd.export import compact, to_onnx

try:
    from lightgbm import LGBMClassifier, LGBMRegressor
except ImportError:
    LGBMClassifier = LGBMRegressor = None
try:
    import onnxruntime
except ImportError:
    onnxruntime = None

TABLES = ("adult", "bank_marketing", "telco_churn", "numbers")
SLOW = ("forest", "HistGradientBoosting")
#: Calls of a model at each of its turns, and those before that are not counted.
TURN, WARM_UP = 100, 5
#: Rows of the table that is predicted at once, and how often.
N_TABLE_ROWS, N_TABLES = 20_000, 5


def load(table, max_rows):
    """Return training rows, their labels and other rows."""
    if table != "numbers":
        data = load_split(table, 0, max_rows=max_rows)
        return data.X_train, data.y_train, data.X_test
    X, y = make_classification(2 * max_rows, 20, n_informative=12, random_state=0)
    X = pd.DataFrame(X).add_prefix("x")
    return X[:max_rows], y[:max_rows], X[max_rows:].reset_index(drop=True)


def kinds_of(y):
    """Return the classes of forests, boosted trees, LightGBM, networks and distillation for y."""
    if y.dtype == np.float64:
        return (
            RandomForestRegressor,
            HistGradientBoostingRegressor,
            LGBMRegressor,
            TwoLayerPGDRegressor,
            DistilledRegressor,
        )
    return (
        RandomForestClassifier,
        HistGradientBoostingClassifier,
        LGBMClassifier,
        TwoLayerPGDClassifier,
        DistilledClassifier,
    )


def answer_of(model):
    """Return the function of a model that predicts probabilities or, of a regressor, numbers."""
    return getattr(model, "predict_proba", None) or model.predict


def compact_calls(made):
    """Return functions of a dict and of a table that predict by a compact model, and its bytes."""
    one = getattr(made, "predict_proba_one", None) or made.predict_one
    return one, answer_of(made), made.n_bytes_


def frame_call(model, template):
    """Return a function of a dict that predicts a frame of one row."""
    dtypes = {name: dtype for name, dtype in template.dtypes.items() if dtype == "category"}

    def predict(row):
        frame = pd.DataFrame([row])
        return answer_of(model)(frame.astype(dtypes) if dtypes else frame)

    return predict


def booster_call(model, template):
    """Return a function of a dict that predicts by the booster of a LightGBM."""
    codes = {
        name: {level: code for code, level in enumerate(template[name].cat.categories)}
        for name in template.select_dtypes("category")
    }

    def predict(row):
        cells = [codes[n].get(c, np.nan) if n in codes else c for n, c in row.items()]
        return model.booster_.predict(np.array([cells], dtype=np.float64))

    return predict


def onnx_calls(model, *, by_column):
    """Return functions of a dict and of a table that predict by onnxruntime, and the bytes."""
    graph = to_onnx(model, by_column=by_column).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options)
    columns = json.loads(session.get_modelmeta().custom_metadata_map["columns"])
    types = {"tensor(double)": np.float64, "tensor(string)": object}
    inputs = [(each.name, types[each.type]) for each in session.get_inputs()]
    outputs = [session.get_outputs()[-1].name]

    def predict(row):
        arrays = {
            name: np.array([[row[column] for column in columns[name]]], dtype=dtype)
            for name, dtype in inputs
        }
        return session.run(outputs, arrays)[0]

    def predict_table(X):
        arrays = {name: X[columns[name]].to_numpy(dtype) for name, dtype in inputs}
        return session.run(outputs, arrays)[0]

    return predict, predict_table, len(graph)


def calls(X, y, X_test, args):
    """Return name to (function of a dict, function of a table or None, bytes of the model)."""
    forest, boosting, lightgbm, network, distiller = kinds_of(y)
    forest = make_pipeline(TableEncoder(), forest(args.trees, random_state=0))
    fixed = {"alpha": 0.5, "augmentation": None, "random_state": 0}
    network = network(args.width, max_iter=10, random_state=0)
    distilled = distiller(forest, network, **fixed)
    timed_fit(distilled, X, y)
    pipeline = make_pipeline(make_encoder(X), network.set_params(encoder=None))
    timed_fit(pipeline, X, y)
    levels, _ = categorical(X, X_test)
    boosting = boosting(random_state=0)
    timed_fit(boosting, levels, y)
    small = distilled.without_teacher(keep_history=False)
    found = {
        "forest": estimator_calls(distilled.teacher_, X),
        "HistGradientBoosting": estimator_calls(boosting, levels),
    }
    if lightgbm is not None:
        lightgbm = lightgbm(n_jobs=1, verbose=-1, random_state=0)
        timed_fit(lightgbm, levels, y)
        n_bytes = len(lightgbm.booster_.model_to_string().encode())
        found["LightGBM"] = *estimator_calls(lightgbm, levels)[:2], n_bytes
        found["its booster"] = booster_call(lightgbm, levels), None, n_bytes
    found["ColumnTransformer, network"] = estimator_calls(pipeline, X)
    found["network, distilled"] = estimator_calls(small, X)
    for dtype in ("float32", "int8"):
        made = compact(distilled, X_test, dtype=dtype, max_change=0.5)
        found[f"compact, {dtype}"] = compact_calls(made)
    if onnxruntime is not None:
        found["ONNX"] = onnx_calls(distilled, by_column=True)
        found["ONNX, two inputs"] = onnx_calls(distilled, by_column=False)
    found["HistGradientBoosting, compact"] = compact_calls(compact(boosting))
    return found, distilled


def estimator_calls(model, template):
    dtypes = {name: dtype for name, dtype in template.dtypes.items() if dtype == "category"}
    return frame_call(model, template), lambda X: answer_of(model)(X.astype(dtypes)), size(model)


def size(model):
    return len(pickle.dumps(model))


def measure(models, rows, rounds, slow=SLOW):
    """Return name to the microseconds of each call. Slow models have fewer calls."""
    times = {name: [] for name in models}
    for first in range(0, rounds, TURN):
        for name, (call, *_) in models.items():
            # the first calls are not counted: the others have filled the caches with their own
            numbers = range(first - WARM_UP, first + (TURN if name not in slow else TURN // 20))
            for number in numbers:
                row = rows[number % len(rows)]
                start = time.perf_counter()
                call(row)
                if number >= first:
                    times[name].append(1e6 * (time.perf_counter() - start))
    return times


def rows_a_second(models, X):
    """Return name to the rows a second of a table that is predicted at once."""
    X = X.sample(N_TABLE_ROWS, replace=True, random_state=0).reset_index(drop=True)
    found = {}
    for name, (_, predict, _) in models.items():
        times = []
        for _ in range(N_TABLES if predict else 0):
            start = time.perf_counter()
            predict(X)
            times.append(time.perf_counter() - start)
        found[name] = len(X) / np.median(times) if times else np.nan
    return found


def c_line(model, X, ours):
    """Return times and bytes of a C header, from `c_rows`."""
    import c_rows

    found = c_rows.measure(model, X, "float32", n_calls=200_000, compiler="cc")
    p50, p99 = (found[name] / 1000 for name in ("p50", "p99"))
    return [
        f"{p50:.2f}",
        f"{p99:.2f}",
        f"{p50 / ours:.3f}",
        f"{1e6 / p50:,.0f}",
        f"{found['O2']:,}",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=TABLES, metavar="NAME")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--trees", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=4000, help="calls on one row")
    parser.add_argument("--max-rows", type=int, default=2000, help="training rows")
    args = parser.parse_args()
    lines = []
    warnings.simplefilter("ignore")  # of categories that the training rows lack
    with thread_limit(1):
        print(environment("one thread"))
        print(f"Width {args.width}, {args.trees} trees, {args.rounds} calls.\n")
        for table in args.tables:
            X, y, X_test = load(table, args.max_rows)
            models, distilled = calls(X, y, X_test, args)
            times = measure(models, X_test[:2000].to_dict("records"), args.rounds)
            speeds = rows_a_second(models, X_test)
            ours = np.median(times["compact, float32"])
            for name, each in times.items():
                p50, p99 = np.percentile(each, [50, 99])
                speed = "" if np.isnan(speeds[name]) else f"{speeds[name]:,.0f}"
                numbers = f"{p50:,.1f}", f"{p99:,.1f}", f"{p50 / ours:,.1f}", speed
                lines.append([table, X.shape[1], name, *numbers, f"{models[name][2]:,}"])
            if shutil.which("cc"):
                lines.append([table, X.shape[1], "C", *c_line(distilled, X_test, ours)])
        header = ["table", "columns", "model", "p50, us", "p99, us", "p50 / compact"]
        print(markdown([*header, "rows a second", "bytes"], lines))


if __name__ == "__main__":
    main()
