"""Measure how the default fits of distillers grow with the rows, columns and classes.

    python examples/benchmarks/scale_of_default_fit.py fit 5000 20000 45000 180000
    python examples/benchmarks/scale_of_default_fit.py fit 500 4000 --kinds classifier regressor
    python examples/benchmarks/scale_of_default_fit.py columns 8 32 128 --kinds classifier regressor
    python examples/benchmarks/scale_of_default_fit.py rows 2500 5000 10000 20000 40000
    python examples/benchmarks/scale_of_default_fit.py classes 10 20 50 100

``fit`` distills ``HistGradientBoostingClassifier()``, or its regressor, on so many rows of
``--columns`` numbers, with the defaults and with fixed settings (``alpha=1, temperature=1,
augmentation=None, cv=5``). ``columns`` does so on ``--rows`` rows of so many numbers. With
``--teacher kernel`` the teacher is the default one, ``KernelTeacher()`` or its regressor. ``rows``
makes as many transfer rows as there are rows. ``classes`` fits a logistic regression by row
expansion on soft labels of 2,500 rows of so many classes. All numbers are of one run, "seconds" are
those of the processor, in all threads, and those that pass are "elapsed". Prints Markdown.
"""

import argparse
import resource
import time
import warnings

import numpy as np
from _runs import environment, markdown, thread_limit
from scipy.special import softmax
from sklearn.datasets import make_classification, make_friedman1
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from sklearn_kd import DistilledClassifier, DistilledRegressor
from sklearn_kd.datasets import make_transfer_rows

KINDS = ("classifier", "regressor")
N_TEST_ROWS = 5000
N_ROWS_OF_CLASSES = 2500
FIXED = {"alpha": 1.0, "temperature": 1.0, "augmentation": None, "cv": 5}


def timed(function, *args, **kwargs):
    """Return the result of a call, and its processor and elapsed seconds."""
    elapsed, spent = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = function(*args, **kwargs)
    return result, time.process_time() - spent, time.perf_counter() - elapsed


def make_rows(kind, n_rows, n_columns):
    """Return training and test rows, and their targets."""
    if kind == "classifier":
        X, y = make_classification(n_rows + N_TEST_ROWS, n_columns, random_state=0)
    else:
        X, y = make_friedman1(n_rows + N_TEST_ROWS, n_columns, noise=1.0, random_state=0)
    return (np.split(part, [n_rows]) for part in (X, y))


def make_distiller(kind, teacher, **settings):
    """Return an unfitted distiller with its default student."""
    if kind == "classifier":
        teacher = HistGradientBoostingClassifier() if teacher == "boosting" else None
        return DistilledClassifier(teacher, random_state=0, **settings)
    settings.pop("temperature", None)
    teacher = HistGradientBoostingRegressor() if teacher == "boosting" else None
    return DistilledRegressor(teacher, random_state=0, **settings)


def measure_fit(size, kind, n_rows, n_columns, *, teacher="boosting", verbose=0):
    """Return one line: the default fit of so many rows and columns beside a fixed one."""
    (X, X_test), (y, y_test) = make_rows(kind, n_rows, n_columns)
    default = make_distiller(kind, teacher, verbose=verbose)
    fixed = make_distiller(kind, teacher, **FIXED)
    default, spent, elapsed = timed(default.fit, X, y)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kilobytes on Linux
    fixed, spent_fixed, elapsed_fixed = timed(fixed.fit, X, y)
    return [
        f"{size:,}",
        kind,
        f"{spent:.1f} ({elapsed:.1f})",
        f"{spent_fixed:.1f} ({elapsed_fixed:.1f})",
        f"{spent / spent_fixed:.1f}",
        f"{peak:.2f}",
        f"{default.label_source_}, {default.alpha_:g}, {default.n_augmented_:,}",
        *(f"{model.score(X_test, y_test):.4f}" for model in (default, fixed)),
    ]


def measure_rows(n_rows):
    """Return one line: the seconds for as many transfer rows as there are rows."""
    X, _ = make_classification(n_rows, 20, random_state=0)
    line = [f"{n_rows:,}"]
    for method in ("gibbs", "munge"):
        _, spent, _ = timed(make_transfer_rows, X, n_rows, method=method, random_state=0)
        line += [f"{spent:.2f}", f"{1e6 * spent / n_rows:.0f}"]
    return line


def soft_labels(n_classes, seed=0):
    """Return rows, soft labels and labels drawn from them, for training and for testing."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(2 * N_ROWS_OF_CLASSES, 20))
    Q = softmax(X @ rng.normal(size=(20, n_classes)), axis=1)
    y = (np.cumsum(Q, axis=1) < rng.uniform(size=(len(X), 1))).sum(axis=1).clip(max=n_classes - 1)
    y[:n_classes] = np.arange(n_classes)
    return np.split(X, 2), np.split(Q, 2), np.split(y, 2)


def measure_classes(n_classes):
    """Return one line: row expansion of labels of so many classes, beside all their copies."""
    (X, X_test), (Q, _), (y, y_test) = soft_labels(n_classes)
    student = LogisticRegression(max_iter=200)
    model = DistilledClassifier(student=student, **FIXED)
    model, spent, _ = timed(model.fit, X, y, soft_targets=Q)
    rows, columns = np.nonzero(Q)
    weights = Q[rows, columns]
    full, spent_full, _ = timed(student.fit, X[rows], columns, sample_weight=weights)
    labels = np.arange(n_classes)
    loss = [log_loss(y_test, fit.predict_proba(X_test), labels=labels) for fit in (model, full)]
    return [n_classes, f"{spent:.2f}", f"{spent_full:.2f}", *(f"{each:.4f}" for each in loss)]


OF_FITS = ["kind", "default, seconds (elapsed)", "fixed, seconds (elapsed)", "ratio", "peak GB"]
OF_FITS += ["labels, alpha, transfer rows", "accuracy or R2", "fixed"]
HEADERS = {
    "fit": ["rows", *OF_FITS],
    "columns": ["columns", *OF_FITS],
    "rows": ["rows", "gibbs, s", "us a row", "munge, s", "us a row"],
    "classes": ["classes", "seconds", "all copies", "log loss", "all copies"],
}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=HEADERS)
    parser.add_argument("sizes", nargs="+", type=int, help="rows, columns or classes")
    parser.add_argument("--kinds", nargs="+", default=["classifier"], choices=KINDS)
    parser.add_argument("--teacher", default="boosting", choices=["boosting", "kernel"])
    parser.add_argument("--columns", type=int, default=20, help="of the rows of fit")
    parser.add_argument("--rows", type=int, default=2000, help="of columns")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--verbose", type=int, default=0, help="of the default fit")
    args = parser.parse_args(arguments)
    options = {"teacher": args.teacher, "verbose": args.verbose}
    with thread_limit(args.threads):
        if args.what in ("fit", "columns"):
            shapes = [
                (size, args.columns) if args.what == "fit" else (args.rows, size)
                for size in args.sizes
            ]
            lines = [
                measure_fit(size, kind, *shape, **options)
                for size, shape in zip(args.sizes, shapes, strict=True)
                for kind in args.kinds
            ]
        else:
            measure = measure_rows if args.what == "rows" else measure_classes
            lines = [measure(size) for size in args.sizes]
    print(environment(f"{args.threads} threads"))
    print(markdown(HEADERS[args.what], lines))


if __name__ == "__main__":
    main()
