"""Compare the time of small fits under several settings of torch.set_num_threads.

    python examples/benchmarks/thread_time.py --threads 1 2 --repeats 3

Each fit is of iris, with the defaults. The settings take turns within each repeat, and the time is
the least of all repeats. Times that differ by more than noise mean that a fit uses the threads of
the user for steps that are too small for them. The script prints Markdown.
"""

import argparse

import torch
from _runs import environment, markdown, timed_fit
from sklearn.base import clone
from sklearn.datasets import load_iris

from sklearn_kd import (
    DistilledClassifier,
    KernelTeacher,
    ModuleClassifier,
    SelfDistillClassifier,
    TwoLayerPGDClassifier,
)
from sklearn_kd.modules import MLP

ESTIMATORS = (
    TwoLayerPGDClassifier(random_state=0),
    KernelTeacher(random_state=0),
    DistilledClassifier(random_state=0),
    SelfDistillClassifier(random_state=0),
    ModuleClassifier(MLP, module_params={"width": 16}, max_epochs=200, random_state=0),
)


def run(estimators, thread_counts, n_repeats):
    """Return the least seconds of each estimator with each number of threads, and restore it."""
    X, y = load_iris(return_X_y=True)
    before, seconds = torch.get_num_threads(), {}
    try:
        for _ in range(n_repeats):
            for number, estimator in enumerate(estimators):
                for n_threads in thread_counts:
                    torch.set_num_threads(n_threads)
                    key = number, n_threads
                    took = timed_fit(clone(estimator), X, y)
                    seconds[key] = min(seconds.get(key, took), took)
    finally:
        torch.set_num_threads(before)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    timed_fit(TwoLayerPGDClassifier(max_iter=2), *load_iris(return_X_y=True))  # imports torch
    seconds = run(ESTIMATORS, args.threads, args.repeats)
    print(environment(f"threads: {args.threads}"))
    header = ["estimator", *(f"s, set_num_threads({n})" for n in args.threads)]
    lines = [
        [type(estimator).__name__, *(f"{seconds[number, n]:.2f}" for n in args.threads)]
        for number, estimator in enumerate(ESTIMATORS)
    ]
    print(markdown(header, lines))


if __name__ == "__main__":
    main()
