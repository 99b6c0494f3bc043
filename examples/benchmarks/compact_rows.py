"""Time one raw row, from a dict, of a compact model and of the models that it stands for.

    SKLEARN_KD_DATA=... python examples/benchmarks/compact_rows.py

A forest of 300 trees, HistGradientBoosting and LightGBM (if it is installed) are compared with the
network that is distilled from the forest: behind a ColumnTransformer, with its own encoder, and as
compact models of float32 and int8 weights. "numbers" is a made table of 20 columns. Each call gets
a dict, another one each time. Estimators get a DataFrame of one row that is made of it, which is
part of the time, and the booster of LightGBM gets the codes of its levels. Models take turns of
100 calls, so that a slow period of the machine affects all of them. The networks are trained for a
few epochs only, because prediction takes the same time. The script prints Markdown.
"""

import argparse
import pickle
import time
import warnings

import numpy as np
import pandas as pd
from _runs import environment, markdown, thread_limit, timed_fit
from _tables import load_split, make_encoder
from _teachers import categorical
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline

from sklearn_kd import DistilledClassifier, TableEncoder, TwoLayerPGDClassifier
from sklearn_kd.export import compact

try:
    from lightgbm import LGBMClassifier
except ImportError:
    LGBMClassifier = None

TABLES = ("adult", "bank_marketing", "telco_churn", "numbers")
SLOW = ("forest", "HistGradientBoosting")
#: Calls of a model at each of its turns, and those before that are not counted.
TURN, WARM_UP = 100, 5


def load(table, max_rows):
    """Return training rows, their labels and other rows."""
    if table != "numbers":
        data = load_split(table, 0, max_rows=max_rows)
        return data.X_train, data.y_train, data.X_test
    X, y = make_classification(2 * max_rows, 20, n_informative=12, random_state=0)
    X = pd.DataFrame(X).add_prefix("x")
    return X[:max_rows], y[:max_rows], X[max_rows:].reset_index(drop=True)


def frame_call(model, template):
    """Return a function of a dict that predicts a frame of one row."""
    dtypes = {name: dtype for name, dtype in template.dtypes.items() if dtype == "category"}

    def predict(row):
        frame = pd.DataFrame([row])
        return model.predict_proba(frame.astype(dtypes) if dtypes else frame)

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


def calls(X, y, X_test, args):
    """Return name to (function of a dict, bytes of the model)."""
    forest = make_pipeline(TableEncoder(), RandomForestClassifier(args.trees, random_state=0))
    fixed = {"alpha": 0.5, "augmentation": None, "random_state": 0}
    network = TwoLayerPGDClassifier(args.width, max_iter=10, random_state=0)
    distilled = DistilledClassifier(forest, network, **fixed)
    timed_fit(distilled, X, y)
    pipeline = make_pipeline(make_encoder(X), network.set_params(encoder=None))
    timed_fit(pipeline, X, y)
    levels, _ = categorical(X, X_test)
    boosting = HistGradientBoostingClassifier(random_state=0)
    timed_fit(boosting, levels, y)
    small = distilled.without_teacher(keep_history=False)
    found = {
        "forest": (frame_call(distilled.teacher_, X), size(distilled.teacher_)),
        "HistGradientBoosting": (frame_call(boosting, levels), size(boosting)),
    }
    if LGBMClassifier is not None:
        lightgbm = LGBMClassifier(n_jobs=1, verbose=-1, random_state=0)
        timed_fit(lightgbm, levels, y)
        n_bytes = len(lightgbm.booster_.model_to_string().encode())
        found["LightGBM"] = frame_call(lightgbm, levels), n_bytes
        found["its booster"] = booster_call(lightgbm, levels), n_bytes
    found["ColumnTransformer, network"] = frame_call(pipeline, X), size(pipeline)
    found["network, distilled"] = frame_call(small, X), size(small)
    for dtype in ("float32", "int8"):
        made = compact(distilled, X_test, dtype=dtype, max_change=0.2)
        found[f"compact, {dtype}"] = made.predict_proba_one, made.n_bytes_
    made = compact(boosting)
    found["HistGradientBoosting, compact"] = made.predict_proba_one, made.n_bytes_
    return found


def size(model):
    return len(pickle.dumps(model))


def measure(models, rows, rounds):
    """Return name to the microseconds of each call."""
    times = {name: [] for name in models}
    for first in range(0, rounds, TURN):
        for name, (call, _) in models.items():
            # the first calls are not counted: the others have filled the caches with their own
            numbers = range(first - WARM_UP, first + (TURN if name not in SLOW else TURN // 20))
            for number in numbers:
                row = rows[number % len(rows)]
                start = time.perf_counter()
                call(row)
                if number >= first:
                    times[name].append(1e6 * (time.perf_counter() - start))
    return times


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
            models = calls(X, y, X_test, args)
            times = measure(models, X_test[:2000].to_dict("records"), args.rounds)
            ours = np.median(times["compact, float32"])
            for name, each in times.items():
                p50, p99 = np.percentile(each, [50, 99])
                numbers = f"{p50:,.1f}", f"{p99:,.1f}", f"{p50 / ours:,.1f}", f"{models[name][1]:,}"
                lines.append([table, X.shape[1], name, *numbers])
        header = ["table", "columns", "model", "p50, us", "p99, us", "p50 / compact", "bytes"]
        print(markdown(header, lines))


if __name__ == "__main__":
    main()
