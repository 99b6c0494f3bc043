"""Compare the time of ``import sklearn_kd`` and ``import sklearn.base``, each in fresh processes.

    python examples/benchmarks/import_time.py

The statements take turns. The first round, which fills the file cache, is not counted. Times are
those of whole processes, including the start of Python. "less Python" subtracts the median time of
the start. The script prints Markdown.
"""

import argparse
import subprocess
import sys
import time

import numpy as np
from _runs import environment, markdown

BASE = "import sklearn.base"
STATEMENTS = (
    "pass",
    BASE,
    "import sklearn_kd",
    "from sklearn_kd import TwoLayerPGDClassifier",
    "from sklearn_kd import DistilledClassifier",
    "import torch",
)


def seconds(statement):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    args = parser.parse_args()
    times = {statement: [] for statement in STATEMENTS}
    for number in range(args.runs + 1):
        for statement in STATEMENTS:
            spent = seconds(statement)
            if number:
                times[statement].append(spent)
    median = {statement: np.median(spent) for statement, spent in times.items()}
    python = median["pass"]
    print(environment(f"{args.runs} runs each"), end="\n\n")
    header = ["statement", "ms", "less Python, ms", f"/ `{BASE}`"]
    print(
        markdown(
            header,
            [
                [f"`{statement}`", f"{1e3 * value:.0f}", f"{1e3 * (value - python):.0f}"]
                + [f"{value / median[BASE]:.2f}"]
                for statement, value in median.items()
            ],
        )
    )


if __name__ == "__main__":
    main()
