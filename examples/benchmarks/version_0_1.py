"""Score networks of version 0.1, on hard labels and under a forest: the baseline of later versions.

    git worktree add ../version_0_1 984bd85
    python -m venv old && old/bin/pip install ../version_0_1
    SKLEARN_KD_DATA=... old/bin/python examples/benchmarks/version_0_1.py --json baseline.jsonl

Other scripts start it with the interpreter of ``--old-python``. All models get the encoded arrays
of `load_encoded`. Finished fits are appended to the file of ``--json`` and not repeated. The lead
of the forest is its accuracy minus that of the network of 16 neurons on hard labels.
"""

import argparse
import os
import subprocess
import sys

import numpy as np
from _runs import environment, finished_cells, markdown, run_cells, timed_fit
from _scores import scores
from _tables import CLASSIFICATION, load_encoded
from sklearn.ensemble import RandomForestClassifier

MODELS = ("forest", "plain 16")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: Least lead in accuracy of which a share is reported.
LEAST_LEAD = 0.01


def make_model(name, n_trees, seed):
    """Return an unfitted classifier: "forest", "plain WIDTH" or "distilled WIDTH"."""
    from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier

    forest = RandomForestClassifier(n_trees, n_jobs=1, random_state=seed)
    if name == "forest":
        return forest
    kind, width = name.split()
    network = TwoLayerPGDClassifier(int(width), random_state=seed)
    if kind == "plain":
        return network
    return DistilledClassifier(forest, network, random_state=seed)


def run(table, seed, model, n_trees, max_rows):
    """Fit and score one model on one split."""
    data = load_encoded(table, seed, max_rows=max_rows)
    estimator = make_model(model, n_trees, seed)
    seconds = timed_fit(estimator, data.X_train, data.y_train)
    if model.startswith("distilled"):
        estimator = estimator.without_teacher()
    scored = scores(estimator, data.X_test, data.y_test)
    return {"n_train": len(data.y_train), "fit_seconds": seconds, **scored}


def baseline_cells(tables, seeds, models, n_trees, max_rows):
    """Return the cells of `run_cells`."""
    fixed = {"n_trees": n_trees, "max_rows": max_rows}
    return [
        {"table": table, "seed": seed, "model": model, **fixed}
        for seed in seeds
        for table in tables
        for model in models
    ]


def run_old(python, command, **options):
    """Run a script with the interpreter of version 0.1 and one thread, by `subprocess.run`."""
    variables = {**os.environ, **dict.fromkeys(THREADS, "1")}
    variables.pop("PYTHONPATH", None)  # it may name another version of the package
    return subprocess.run([python, *command], env=variables, **options)


def baseline(python, path, cells, jobs=1):
    """Run cells that are not yet in a file, with another interpreter, and return all scores.

    Parameters
    ----------
    python : str or None
        Interpreter of an environment with version 0.1. If None, all cells must be in the file.
    path : str
    cells : list of dict
    jobs : int

    Returns
    -------
    dict
        (table, seed, model) to scores. Cells that failed are missing.
    """
    if python is not None:
        command = [__file__, "--json", path, "--jobs", str(jobs)]
        for name, option in (("table", "--tables"), ("model", "--models"), ("seed", "--seeds")):
            command += [option, *dict.fromkeys(str(cell[name]) for cell in cells)]
        command += ["--trees", str(cells[0]["n_trees"]), "--max-rows", str(cells[0]["max_rows"])]
        run_old(python, command, stdout=subprocess.DEVNULL, check=False)
    rows = finished_cells(cells, path)
    if len(rows) < len(cells):
        missing = f"{len(cells) - len(rows)} of {len(cells)} scores of version 0.1 are missing"
        print(f"{missing}: see the errors above, or give --old-python.", file=sys.stderr)
    return {(row["table"], row["seed"], row["model"]): row for row in rows}


def leads(scored, teacher="forest", student="plain 16", score="accuracy"):
    """Return table to the mean lead over seeds, from what `baseline` returns."""
    tables = list(dict.fromkeys(table for table, _, model in scored if model == teacher))
    lead = {}
    for table in tables:
        seeds = [s for t, s, m in scored if t == table and m == teacher]
        pairs = [
            (scored[table, seed, teacher][score], scored[table, seed, student][score])
            for seed in seeds
            if (table, seed, student) in scored
        ]
        if pairs:
            lead[table] = float(np.mean([first - second for first, second in pairs]))
    return lead


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--tables", nargs="+", default=CLASSIFICATION, metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=range(5))
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--max-rows", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--json", metavar="FILE", help="finished fits, to go on from")
    args = parser.parse_args()
    cells = baseline_cells(args.tables, args.seeds, args.models, args.trees, args.max_rows)
    rows = run_cells(cells, run, jobs=args.jobs, path=args.json)
    scored = {(row["table"], row["seed"], row["model"]): row for row in rows}
    print(environment(f"one thread a fit, {args.jobs} at a time"))
    print(f"{args.trees} trees, at most {args.max_rows:,} training rows; ", end="")
    print(f"{len(rows)} of {len(cells)} runs.\n")
    lines = []
    for table in args.tables:
        line = [table]
        for score in ("accuracy", "log_loss", "auc"):
            for model in args.models:
                mine = [
                    row[score] for row in rows if (row["table"], row["model"]) == (table, model)
                ]
                line.append(f"{np.mean(mine):.4f}" if mine else "-")
        lines.append(line)
    header = ["table"]
    header += [
        f"{score}, {name}" for score in ("accuracy", "log loss", "AUC") for name in args.models
    ]
    print(markdown(header, lines))
    if {"forest", "plain 16"} <= set(args.models):
        large = {name: lead for name, lead in leads(scored).items() if lead >= LEAST_LEAD}
        print(f"\nThe forest leads by a point on {len(large)} tables: ", end="")
        print(", ".join(f"{name} {100 * lead:.1f}" for name, lead in large.items()) + ".")
    if len(rows) < len(cells):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
