"""Measure the separation margin of digits > 4 on MNIST, with and without the digits 1, 7, 4 and 9.

    SKLEARN_KD_DATA=... python examples/benchmarks/margin_mnist.py --threads 2

Rows are on the unit sphere. "all digits" and "without 1, 7, 4, 9" are the two tasks of the paper.
In "random labels" the labels of the first task are permuted. The script prints Markdown.
"""

import argparse
import time
import warnings

import numpy as np
from _runs import environment, markdown, thread_limit
from sklearn.exceptions import ConvergenceWarning

from sklearn_kd.datasets import fetch_mnist
from sklearn_kd.theory import ntk_margin, required_width


def tasks(data, n_rows, seed):
    """Yield name, rows and labels of each task."""
    random = np.random.RandomState(seed)
    order = random.permutation(len(data.y_train))
    X, digits = data.X_train[order], data.y_train[order]
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    easy = ~np.isin(digits, [1, 7, 4, 9])
    yield "all digits", X[:n_rows], digits[:n_rows] > 4
    yield "without 1, 7, 4, 9", X[easy][:n_rows], digits[easy][:n_rows] > 4
    yield "random labels", X[:n_rows], random.permutation(digits[:n_rows] > 4)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-iter", type=int, default=100)
    parser.add_argument("--tasks", nargs="+", help="of the three names above (default: all)")
    parser.add_argument("--verbose", action="store_true", help="tell each step")
    args = parser.parse_args()
    data = fetch_mnist()
    lines = []
    with thread_limit(args.threads):
        print(environment(f"{args.threads} thread(s)"))
        for seed in range(args.seeds):
            for name, X, y in tasks(data, args.rows, seed):
                if args.tasks and name not in args.tasks:
                    continue
                start = time.perf_counter()
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always", ConvergenceWarning)
                    margin = ntk_margin(
                        X, y, max_iter=args.max_iter, random_state=seed, verbose=args.verbose
                    )
                seconds = time.perf_counter() - start
                width = required_width(margin.gamma, 0.1, len(X)).width
                lines.append(
                    [name, seed, len(X), f"{margin.gamma:.5f}"]
                    + [f"{margin.lower:.5f}", f"{margin.upper:.5f}", f"{margin.gamma_rkhs:.5f}"]
                    + [f"{width:.2g}", f"{seconds:.0f}", "no" if caught else "yes"]
                )
                print(lines[-1], flush=True)
    header = ["task", "seed", "rows", "gamma", "lower", "upper", "gamma_1"]
    header += ["sharp soft width for error 0.1", "s", "converged"]
    print("\n" + markdown(header, lines))


if __name__ == "__main__":
    main()
