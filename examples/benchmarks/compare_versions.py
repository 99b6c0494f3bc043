"""Compare the speed of two installs of sklearn_kd, workload by workload.

    python examples/benchmarks/compare_versions.py OLD_PYTHON NEW_PYTHON [--rounds 7] [--only REGEX]

OLD_PYTHON and NEW_PYTHON are the interpreters of two environments, each with its own version of the
package installed and the same versions of everything else. The processes take turns, old, new, old,
new, ..., with one thread each, and a first round is not counted. A process repeats its workload and
reports the least time. The script prints, as Markdown, the median of both and the median of the
ratios new / old within a round, with their quartiles. A workload uses public names only.
"""

import argparse
import os
import re
import subprocess
import sys
import time

import numpy as np

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _data(name):
    from sklearn.datasets import load_digits, load_iris, make_classification

    if name == "iris":
        return load_iris(return_X_y=True)
    if name == "digits":
        return load_digits(return_X_y=True)
    n_samples = int(name)
    return make_classification(n_samples, 20, n_informative=10, n_classes=3, random_state=0)


def _network(data, width=16, **params):
    from sklearn_kd import TwoLayerPGDClassifier

    X, y = _data(data)
    model = TwoLayerPGDClassifier(width, random_state=0, device="cpu", **params)
    return lambda: model.fit(X, y)


def _distilled(data, teacher, **params):
    from sklearn.ensemble import RandomForestClassifier

    from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier

    X, y = _data(data)
    forest = RandomForestClassifier(50, random_state=0) if teacher == "forest" else None
    student = TwoLayerPGDClassifier(16, device="cpu")
    model = DistilledClassifier(forest, student, random_state=0, **params)
    return lambda: model.fit(X, y)


def _search(distilled=False):
    from sklearn.ensemble import RandomForestClassifier

    from sklearn_kd import BatchedGridSearchCV, DistilledClassifier, TwoLayerPGDClassifier

    X, y = _data("digits")
    model = TwoLayerPGDClassifier(max_iter=100, random_state=0, device="cpu")
    grid = {"width": [8, 16, 32]}
    if distilled:
        forest = RandomForestClassifier(50, random_state=0)
        fixed = {"alpha": 0.5, "temperature": 1.0, "augmentation": None}
        model = DistilledClassifier(forest, model, random_state=0, **fixed)
        grid = {"student__width": [8, 16, 32]}
    search = BatchedGridSearchCV(model, grid, cv=3)
    return lambda: search.fit(X, y)


def _kernel():
    from sklearn_kd import KernelTeacher

    X, y = _data("2000")
    model = KernelTeacher(device="cpu")
    return lambda: model.fit(X, y)


def _module():
    from sklearn_kd import ModuleClassifier
    from sklearn_kd.modules import MLP

    X, y = _data("digits")
    model = ModuleClassifier(
        MLP, module_params={"width": 32}, max_epochs=20, random_state=0, device="cpu"
    )
    return lambda: model.fit(X, y)


def _self_distilled():
    from sklearn_kd import SelfDistillClassifier, TwoLayerPGDClassifier

    X, y = _data("digits")
    model = SelfDistillClassifier(TwoLayerPGDClassifier(16, random_state=0, device="cpu"))
    return lambda: model.fit(X, y)


def _prediction(n_rows):
    fit = _network("digits", max_iter=20)
    model = fit()
    X = np.tile(_data("digits")[0], (20, 1))[:n_rows]
    repeats = max(1, 2000 // n_rows)

    def predict():
        for _ in range(repeats):
            model.predict_proba(X)

    return predict


#: Name, how the workload is made, and how often a process repeats it. None: the import.
WORKLOADS = {
    "import sklearn_kd and DistilledClassifier": (None, 1),
    "network of 16, iris, full batch": (lambda: _network("iris"), 3),
    "network of 16, digits, minibatches": (lambda: _network("digits"), 2),
    "network of 16, 20,000 rows, minibatches": (lambda: _network("20000"), 1),
    "KernelTeacher, 2,000 rows": (_kernel, 1),
    "ModuleClassifier(MLP), digits": (_module, 2),
    "forest to network, iris, numbers": (
        lambda: _distilled("iris", "forest", alpha=0.5, temperature=1.0, augmentation=None),
        2,
    ),
    "forest to network, digits, auto": (lambda: _distilled("digits", "forest"), 1),
    "kernel to network, iris, auto": (lambda: _distilled("iris", "kernel"), 1),
    "search over the width, digits": (_search, 1),
    "search over the width of a distilled network, digits": (lambda: _search(distilled=True), 1),
    "SelfDistillClassifier, digits": (_self_distilled, 1),
    "predict_proba of one row, 2,000 times": (lambda: _prediction(1), 5),
    "predict_proba of 20,000 rows": (lambda: _prediction(20_000), 5),
}


def run(name):
    """Print the least time of a workload in this process."""
    import warnings

    warnings.simplefilter("ignore")
    make, repeats = WORKLOADS[name]
    if make is None:
        start = time.perf_counter()
        import sklearn_kd

        assert sklearn_kd.DistilledClassifier
        print(time.perf_counter() - start)
        return
    workload, times = make(), []
    workload()  # imports, thread pools and caches
    for _ in range(repeats):
        start = time.perf_counter()
        workload()
        times.append(time.perf_counter() - start)
    print(min(times))


def seconds(python, name):
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    command = [python, __file__, "--run", name]
    printed = subprocess.run(
        command, check=True, env=environment, capture_output=True, text=True
    ).stdout
    return float(printed.split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", help="old and new interpreter")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", metavar="REGEX", help="names of workloads to run")
    parser.add_argument("--run", choices=WORKLOADS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        run(args.run)
        return
    if len(args.pythons) != 2:
        parser.error("give two interpreters, that of the old install and that of the new one")
    print("| workload | old, s | new, s | new / old | quartiles |", flush=True)
    print("| --- | ---: | ---: | ---: | ---: |", flush=True)
    for name in filter(re.compile(args.only).search, WORKLOADS):
        times = np.array(
            [[seconds(python, name) for python in args.pythons] for _ in range(args.rounds + 1)]
        )[1:]
        old, new = np.median(times, axis=0)
        low, ratio, high = np.percentile(times[:, 1] / times[:, 0], [25, 50, 75])
        row = f"| {name} | {old:.4g} | {new:.4g} | {ratio:.2f} | {low:.2f} to {high:.2f} |"
        print(row, flush=True)


if __name__ == "__main__":
    sys.exit(main())
