"""Measure time and peak memory of the default fit of DistilledClassifier against the rows.

    python examples/benchmarks/big_tables.py 10_000 100_000 1_000_000
    python examples/benchmarks/big_tables.py 10_000 100_000 1_000_000 --kernel

The rows are those of ``stream_from_parquet.py``: 16 columns of numbers and four of categories. The
teacher is ``HistGradientBoostingClassifier``. With ``--kernel`` a ``KernelTeacher`` is fitted, by
Nystroem's method with 1,000 centers, and nothing is distilled. Each fit
runs in a process of its own, with ``n_jobs=1``, and the memory is that of this process and of those
that it starts, as another process sees it. ``fits of the teacher`` are the seconds in its ``fit``
and ``labels`` those in its ``predict_proba``; what remains are transfer rows and students. The last
lines are the exponents of growth with the number of rows.
"""

import argparse
import itertools
import multiprocessing
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from _runs import environment, markdown, thread_limit
from sklearn.ensemble import HistGradientBoostingClassifier

from sklearn_kd import DistilledClassifier, KernelTeacher

sys.path.insert(0, str(Path(__file__).parents[1]))
from stream_from_parquet import make_rows

N_TEST = 20_000
#: Seconds between two looks at the memory.
INTERVAL = 0.05


class TimedTrees(HistGradientBoostingClassifier):
    """Boosted trees that add up the seconds of all fits and predictions of this process."""

    seconds = {"fit": 0.0, "predict": 0.0}

    def fit(self, *args, **params):
        """Fit, and add the seconds."""
        start = time.perf_counter()
        fitted = super().fit(*args, **params)
        TimedTrees.seconds["fit"] += time.perf_counter() - start
        return fitted

    def predict_proba(self, X):
        """Return probabilities, and add the seconds."""
        start = time.perf_counter()
        proba = super().predict_proba(X)
        TimedTrees.seconds["predict"] += time.perf_counter() - start
        return proba


def make_model(settings):
    """Return an unfitted model, the kernel teacher where ``settings`` is None."""
    if settings is None:
        return KernelTeacher(solver="nystroem", n_components=1000, random_state=0)
    teacher = TimedTrees(categorical_features="from_dtype", random_state=0)
    return DistilledClassifier(teacher, random_state=0, **settings)


def fit(n_rows, settings, connection):
    """Fit on so many rows, and send seconds and scores."""
    warnings.simplefilter("ignore")
    X, y = make_rows(n_rows, seed=0)
    X_test, y_test = make_rows(N_TEST, seed=1)
    with thread_limit(1):
        connection.send("ready")
        connection.recv()
        start = time.perf_counter()
        model = make_model(settings).fit(X, y)
        seconds = time.perf_counter() - start
        teacher = getattr(model, "teacher_", model)
        scores = teacher.score(X_test, y_test), model.score(X_test, y_test)
    source = getattr(model, "label_source_", "-")
    connection.send((seconds, dict(TimedTrees.seconds), scores, source))


def megabytes(pid):
    """Return the resident memory of a process and of those that it has started."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except (OSError, ValueError):
            continue  # it has ended
        if pid in (int(lines["Pid"]), int(lines["PPid"])):
            total += int(lines.get("VmRSS", "0 kB").split()[0]) / 1e3
    return total


def measure(n_rows, settings):
    """Return one line of the table."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=fit, args=(n_rows, settings, there))
    process.start()
    assert here.recv() == "ready"
    before = peak = megabytes(process.pid)
    here.send("go")
    while not here.poll(INTERVAL) and process.is_alive():
        peak = max(peak, megabytes(process.pid))
    seconds, parts, scores, source = here.recv()
    process.join()
    return {
        "rows": n_rows,
        "seconds": seconds,
        "fits of the teacher": parts["fit"],
        "labels": parts["predict"],
        "peak memory, MB": peak,
        "before the fit": before,
        "accuracy of the teacher": scores[0],
        "of the student": scores[1],
        "source of the labels": source,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", type=int, nargs="+")
    parser.add_argument("--kernel", action="store_true", help="fit a KernelTeacher alone")
    parser.add_argument("--alpha", type=float, help="in place of 'auto', with T = 1, no transfer")
    args = parser.parse_args()
    settings = None if args.kernel else {}
    if args.alpha is not None:
        settings = {"alpha": args.alpha, "temperature": 1.0, "augmentation": None}
    print(environment("one thread"))
    lines = []
    for n_rows in args.rows:
        lines.append(measure(n_rows, settings))
        print(lines[-1], flush=True)
    names = list(lines[0])
    print(markdown(names, [[_text(line[name]) for name in names] for line in lines]))
    for first, last in itertools.pairwise(lines):
        ratio = np.log(last["rows"] / first["rows"])
        own = [line["peak memory, MB"] - line["before the fit"] for line in (first, last)]
        print(
            f"from {first['rows']:,} to {last['rows']:,} rows: time to the power of "
            f"{np.log(last['seconds'] / first['seconds']) / ratio:.2f}, memory of the fit "
            f"{np.log(own[1] / own[0]) / ratio:.2f}"
        )


def _text(value):
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) and value < 1 else str(value).split(".")[0]


if __name__ == "__main__":
    main()
