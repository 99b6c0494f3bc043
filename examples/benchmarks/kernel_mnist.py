"""Measure accuracy, log loss, seconds and memory of KernelTeacher on all of MNIST.

    SKLEARN_KD_DATA=... python examples/benchmarks/kernel_mnist.py --threads 2

Every method runs in a process of its own, which reports its peak memory, one after the other.
Pixels are float32, rows are on the unit sphere and not scaled by column, because this would amplify
rare pixels. "labels" are the probabilities of the training rows from fits without them. "solve
alone" is the Gram matrix, the preconditioner and conjugate gradients for all rows at ridge 0.05,
without any labels. The seconds of its parts are reported, and those of all threads together, which
other work on the machine hardly changes. The SVM with Gaussian kernel is that of scikit-learn, on
at most ``--svc-rows`` rows.
"""

import argparse
import json
import math
import multiprocessing
import resource
import time
import warnings

import numpy as np
import torch
from _runs import environment, markdown, thread_limit
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, log_loss
from sklearn.svm import SVC

from sklearn_kd import KernelTeacher
from sklearn_kd.datasets import fetch_mnist

AS_PIXELS = {
    "encoder": None,
    "input_scaling": False,
    "input_intercept": False,
    "random_state": 0,
    "device": "cpu",
}
METHODS = {
    "exact": {},
    "exact, ridge 0.05": {"ridge": 0.05},
    "nystroem 5,000": {"solver": "nystroem", "n_components": 5000},
    "nystroem 10,000": {"solver": "nystroem", "n_components": 10_000},
    "laplace": {"kernel": "laplace"},
    "svc": None,
    "solve alone": None,
}


def solve_alone(X, y, ridge=0.05):
    """Return seconds of the solve for one-hot targets and its parts, residual, peak memory."""
    from sklearn_kd._core.kernel import kernels, linalg
    from sklearn_kd._kernel import ridge_fit

    parts = {}

    def timed(part, function, *args, **kwargs):
        before = np.array([time.perf_counter(), time.process_time()])
        result = function(*args, **kwargs)
        spent = np.array([time.perf_counter(), time.process_time()]) - before
        parts[part] = (spent + parts.get(part, 0.0)).tolist()
        return result

    start = time.perf_counter()
    rows = torch.from_numpy(X / np.linalg.norm(X, axis=1, keepdims=True))
    targets = torch.from_numpy(np.eye(y.max() + 1, dtype=np.float32)[y]) - 1 / (y.max() + 1)
    out = ridge_fit.empty_square(rows)
    gram = timed("Gram", kernels.gram, rows, kernels.Kernel("ntk"), out=out)
    generator = torch.Generator().manual_seed(0)
    factor = timed(
        "pivoted Cholesky",
        linalg.pivoted_cholesky,
        gram,
        gram.diagonal(),
        ridge_fit.MAX_RANK,
        generator,
    )
    inner = timed("inner products", torch.mm, factor.mT, factor).double()
    inner.diagonal().add_(ridge)
    lower = timed("inner Cholesky", linalg.cholesky_, inner)

    def precondition(vectors):
        explained = linalg.thin_product(factor.mT, vectors).double()
        explained = linalg.cholesky_solve(lower, explained).to(vectors.dtype)
        return (vectors - linalg.thin_product(factor, explained)) / ridge

    def product(vectors):
        return linalg.symmetric_product(gram, vectors).add(vectors, alpha=ridge)

    def product_exactly(vectors):
        return linalg.symmetric_product_exactly(gram, vectors).add(vectors, alpha=ridge)

    solution = linalg.solve_refined(
        lambda vectors: timed("products", product, vectors),
        lambda vectors: timed("exact residuals", product_exactly, vectors),
        lambda vectors: timed("preconditioner", precondition, vectors),
        targets,
        linalg.SolverOptions(ridge_fit.TOLERANCE[rows.dtype], ridge_fit.MAX_ITER),
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = time.perf_counter() - start
    result = {"rows": len(X), "seconds": seconds, "peak": peak, "n_iter": solution.n_iter}
    result |= {"ridge": ridge, "residual": float(solution.residual.max())}
    return result | {"solve_parts": parts}


def measure(name, task, n_rows, threads, svc_rows):
    """Fit and score one method, in a process of its own."""
    from sklearn_kd._kernel import ridge_fit

    data = fetch_mnist()
    X, y, X_test, y_test = data.X_train[:n_rows], data.y_train[:n_rows], data.X_test, data.y_test
    if task == "digits > 4":
        y, y_test = y > 4, y_test > 4
    if name == "solve alone":
        with thread_limit(threads):
            result = solve_alone(X, y.astype(int))
        print(json.dumps({"cell": [name, task], "result": result}), flush=True)
        return result
    seconds = {}

    def timed(module, function, key):
        original = getattr(module, function)

        def wrapped(*args, **kwargs):
            start = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                seconds[key] = seconds.get(key, 0) + time.perf_counter() - start

        setattr(module, function, wrapped)

    timed(ridge_fit, "_select_ridge", "ridge")
    timed(ridge_fit, "_solve", "solve")
    timed(ridge_fit, "merge_rows", "merge")
    with thread_limit(threads), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        start = time.perf_counter()
        if name == "svc":
            X, y = X[:svc_rows], y[:svc_rows]
            model = SVC(C=10, gamma=1 / (X.var() * X.shape[1]), cache_size=2000).fit(X, y)
        else:
            model = KernelTeacher(**AS_PIXELS, **METHODS[name]).fit(X, y)
        total = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        start = time.perf_counter()
        accuracy = accuracy_score(y_test, model.predict(X_test))
        predict = time.perf_counter() - start
        result = {"rows": len(X), "accuracy": accuracy, "seconds": total, "peak": peak}
        result |= {
            "predict": predict,
            "parts": seconds,
            "warnings": [str(w.message) for w in caught],
        }
        if name != "svc":
            result["log_loss"] = log_loss(y_test, model.predict_proba(X_test))
            result["label_log_loss"] = log_loss(y, model.loo_proba_)
            chosen = model.classes_[model.loo_proba_.argmax(axis=1)]
            result["label_accuracy"] = accuracy_score(y, chosen)
            result |= {"solver": model.solver_, "ridge": model.ridge_}
            result["n_iter"] = getattr(model, "n_iter_", None)
    print(json.dumps({"cell": [name, task], "result": result}), flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--svc-rows", type=int, default=60_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--tasks", nargs="+", default=["10 classes", "digits > 4"])
    args = parser.parse_args()
    print(environment(f"{args.threads} thread(s)"))
    lines, solves = [], []
    for task in args.tasks:
        for name in args.methods:
            context = multiprocessing.get_context("spawn")
            with context.Pool(1) as pool:
                job = (name, task, args.rows, args.threads, args.svc_rows)
                r = pool.apply(measure, job)
            for part, spent in r.get("solve_parts", {}).items():
                solves.append([task, part, *(f"{value:.1f}" for value in spent)])

            def number(key, digits=4, r=r):
                return f"{r[key]:.{digits}f}" if r.get(key) is not None else ""

            parts = {key: f"{value:.0f}" for key, value in r.get("parts", {}).items()}
            lines.append(
                [task, name, r["rows"], r.get("solver", ""), number("ridge", 3)]
                + [
                    f"{100 * r.get('accuracy', math.nan):.2f} %",
                    number("log_loss"),
                    number("label_log_loss"),
                ]
                + [f"{r['seconds']:.0f}", parts.get("solve", ""), parts.get("ridge", "")]
                + [parts.get("merge", ""), r.get("n_iter") or "", number("predict", 0)]
                + [f"{r['peak']:.1f}", "yes" if r.get("warnings") else ""]
            )
    header = [
        "task",
        "method",
        "rows",
        "solver",
        "ridge",
        "accuracy",
        "log loss",
        "labels, log loss",
    ]
    header += ["fit s", "solve and labels s", "ridge s", "copies s", "iterations", "predict s"]
    header += ["peak GiB", "warned"]
    print("\n" + markdown(header, lines))
    if solves:
        print("\n" + markdown(["task", "part of the solve alone", "s", "CPU s"], solves))


if __name__ == "__main__":
    main()
