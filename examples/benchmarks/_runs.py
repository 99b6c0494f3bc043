"""Functions of the benchmarks: scores of a model, resumable parallel runs, Markdown tables."""

import json
import os
import platform
import sys
import time
import traceback
import warnings
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
from _tables import paired_summary, verdict_below
from sklearn.metrics import accuracy_score, log_loss
from threadpoolctl import threadpool_limits

PACKAGES = ("sklearn-kd", "scikit-learn", "torch", "skorch", "numpy", "scipy")


def environment(threads):
    """Return one line on the machine, the versions and the threads."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0].split(":", 1)[1].strip() if models else name
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return (
        f"{name}, {os.cpu_count()} cores, {threads}; Python {platform.python_version()}, "
        f"{versions}."
    )


def timed_fit(model, *args, **params):
    """Fit and return the time in seconds, without warnings of the fit."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(*args, **params)
    return time.perf_counter() - start


def test_scores(model, X, y):
    """Return accuracy and log loss as a dict."""
    return {
        "accuracy": accuracy_score(y, model.predict(X)),
        "log_loss": log_loss(y, model.predict_proba(X), labels=model.classes_),
    }


def thread_limit(n_threads):
    """Return a context in which BLAS, OpenMP and torch use so many threads."""
    import torch

    torch.get_num_threads()  # starts the thread pool of torch: a later start would undo the limit
    return threadpool_limits(n_threads)


def _one_thread(function, cell):
    with thread_limit(1):
        try:
            return cell, function(**cell), None
        except Exception:  # a failure must not stop the other cells
            return cell, None, traceback.format_exc()


def run_cells(cells, function, *, jobs, path=None):
    """Return results of ``function(**cell)`` for all cells, one thread each, ``jobs`` at a time.

    Parameters
    ----------
    cells : list of dict
        Keyword arguments that can be stored as JSON.
    function : callable
        Returns a dict that can be stored as JSON.
    jobs : int
        Number of processes.
    path : str, optional
        Every result is appended to this file at once, as a JSON line of cell and result. Cells that
        are in the file are not run again.

    Returns
    -------
    rows : list of dict
        Cell and result merged, for the requested cells that have one. A cell that failed is
        reported on stderr and left out.
    """
    done = _finished(path)
    todo = [cell for cell in cells if _key(cell) not in done]
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
        for number, (cell, result, error) in enumerate(
            parallel(joblib.delayed(_one_thread)(function, cell) for cell in todo), start=1
        ):
            print(f"{number}/{len(todo)} {cell}", "failed" if error else "", file=sys.stderr)
            if error:
                print(error, file=sys.stderr)
                continue
            done[_key(cell)] = result
            if path is not None:
                with open(path, "a") as file:
                    file.write(json.dumps({"cell": cell, "result": result}) + "\n")
    return [{**cell, **done[_key(cell)]} for cell in cells if _key(cell) in done]


def finished_cells(cells, path):
    """Return what `run_cells` has written to a file, without running the other cells."""
    done = _finished(path)
    return [{**cell, **done[_key(cell)]} for cell in cells if _key(cell) in done]


def _finished(path):
    """Return key of a cell to result, of the cells in a file."""
    done = {}
    if path is not None and Path(path).is_file():
        for line in Path(path).read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # the incomplete line of an interrupted run
            done[_key(row["cell"])] = row["result"]
    return done


def _key(cell):
    return json.dumps(cell, sort_keys=True)


def scores_of(rows, table, method, score):
    """Return the scores of one method on one table, by seed."""
    return np.array([row[method][score] for row in rows if row["table"] == table])


def compare(rows, ours, theirs):
    """Compare two methods over tables: means, wins, losses and tables clearly below.

    Parameters
    ----------
    rows : list of dict
        With "table" and, per method, a dict of "accuracy", "log_loss" and "fit_seconds".
    ours, theirs : str

    Returns
    -------
    dict
        ``accuracy`` (ours, theirs), ``wins`` and ``losses`` of mean accuracy, ``below`` (tables
        by `verdict_below`, None with a single seed), ``better_log_loss`` and ``n_tables``.
    """
    tables = list(dict.fromkeys(row["table"] for row in rows))
    mean = {
        (method, score): np.array(
            [scores_of(rows, table, method, score).mean() for table in tables]
        )
        for method in (ours, theirs)
        for score in ("accuracy", "log_loss", "fit_seconds")
    }
    gain = mean[ours, "accuracy"] - mean[theirs, "accuracy"]
    below = None
    if all(sum(row["table"] == table for row in rows) > 1 for table in tables):
        below = [
            table
            for table in tables
            if verdict_below(
                scores_of(rows, table, ours, "accuracy"),
                scores_of(rows, table, theirs, "accuracy"),
            )
        ]
    return {
        "accuracy": (mean[ours, "accuracy"].mean(), mean[theirs, "accuracy"].mean()),
        "log_loss": (mean[ours, "log_loss"].mean(), mean[theirs, "log_loss"].mean()),
        "fit_seconds": (mean[ours, "fit_seconds"].sum(), mean[theirs, "fit_seconds"].sum()),
        "wins": int((gain > 0).sum()),
        "losses": int((gain < 0).sum()),
        "below": below,
        "better_log_loss": int((mean[ours, "log_loss"] < mean[theirs, "log_loss"]).sum()),
        "n_tables": len(tables),
    }


def level(rows, ours, others):
    """Return on how many tables a method is level, in log loss, with the best of others.

    Its mean loss is then less, or more by at most one standard error of the paired difference.
    """
    count = 0
    for table in dict.fromkeys(row["table"] for row in rows):
        mine = [row for row in rows if row["table"] == table]
        losses = {name: [row[name]["log_loss"] for row in mine] for name in (ours, *others)}
        best = min(others, key=lambda name: np.mean(losses[name]))
        gap = paired_summary(losses[ours], losses[best])
        count += gap.mean <= (gap.se if len(mine) > 1 else 0.0)
    return count


def per_table(rows, methods, *, difference):
    """Markdown table: one line per table, with the difference in accuracy of two methods.

    Parameters
    ----------
    rows : list of dict
        As in `compare`, with "n_train" and "n_features".
    methods : dict
        Method to title.
    difference : tuple of two methods

    Returns
    -------
    str
    """
    first, second = difference
    header = ["table", "rows", "inputs", "seeds"]
    header += [f"accuracy, {title}" for title in methods.values()]
    header += [f"{methods[first]} - {methods[second]}, points"]
    header += [f"log loss, {title}" for title in methods.values()]
    header += [f"fit s, {title}" for title in methods.values()]
    lines = []
    for table in dict.fromkeys(row["table"] for row in rows):
        mine = [row for row in rows if row["table"] == table]

        def mean(method, score, mine=mine):
            return np.mean([row[method][score] for row in mine])

        gap = paired_summary(
            [row[first]["accuracy"] for row in mine], [row[second]["accuracy"] for row in mine]
        )
        error = f" +- {100 * gap.se:.2f}" if len(mine) > 1 else ""
        lines.append(
            [table, mine[0]["n_train"], mine[0]["n_features"], len(mine)]
            + [f"{mean(method, 'accuracy'):.4f}" for method in methods]
            + [f"{100 * gap.mean:+.2f}{error}"]
            + [f"{mean(method, 'log_loss'):.4f}" for method in methods]
            + [f"{mean(method, 'fit_seconds'):.1f}" for method in methods]
        )
    return markdown(header, lines)


def below_text(below):
    """Return tables clearly below, as the text of a cell."""
    if below is None:
        return "needs two seeds"
    return ", ".join(below) or "none"


def markdown(header, lines):
    """Return a Markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)
