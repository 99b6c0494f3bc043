"""Measure what discarding candidates early saves and loses in a batched search.

    SKLEARN_KD_DATA=... python examples/benchmarks/halving.py --threads 2

The same grid over width and radius is searched with and without ``halving_factor=3``, in 3 folds,
one after the other. "Lost" is the mean score (log loss, in nats) of the candidate that halving
chose, trained to the end on the same folds, minus that of the best candidate. The rank correlation
is that of the scores after a ninth of the epochs with those at the end. The script prints
Markdown.
"""

import argparse
import time

import numpy as np
from _runs import environment, markdown, thread_limit
from scipy.stats import spearmanr
from search_time import RADII, WIDTHS, load

from sklearn_kd import BatchedGridSearchCV, TwoLayerPGDClassifier


def searched(X, y, epochs, seed, factor):
    """Return a fitted search and its CPU seconds."""
    student = TwoLayerPGDClassifier(
        max_iter=epochs, n_iter_no_change=epochs, batch_size=128, random_state=seed, device="cpu"
    )
    search = BatchedGridSearchCV(
        student,
        {"width": WIDTHS, "radius": RADII},
        scoring="neg_log_loss",
        cv=3,
        refit=False,
        halving_factor=factor,
    )
    start = time.process_time()
    search.fit(X, y)
    return search, time.process_time() - start


def compared(X, y, epochs, seed):
    """Return one row of the table."""
    whole, seconds = searched(X, y, epochs, seed, None)
    halved, fewer = searched(X, y, epochs, seed, 3)
    scores = whole.cv_results_["mean_test_score"]
    place = {repr(params): n for n, params in enumerate(whole.cv_results_["params"])}
    rounds = halved.cv_results_["iter"]
    neurons = np.array([params["width"] for params in halved.cv_results_["params"]], dtype=float)
    # epochs between rounds, of the candidates that were continued
    epochs_of = np.diff([0, *np.unique(halved.cv_results_["share_of_epochs"])])[rounds]
    trained = (neurons * epochs_of).sum() / neurons[rounds == 0].sum()
    chosen = scores[place[repr(halved.best_params_)]]
    first = halved.cv_results_["mean_test_score"][rounds == 0]
    return [
        f"{spearmanr(first, scores).statistic:.2f}",
        f"{1 - trained:.0%}",
        f"{seconds:.1f}",
        f"{fewer:.1f}",
        f"{fewer / seconds:.2f}",
        f"{scores.max() - chosen:.4f}",
        f"{np.ptp(scores):.3f}",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["adult", "letter", "mnist"])
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-rows", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    lines = []
    with thread_limit(args.threads):
        print(environment(f"{args.threads} thread(s)"))
        for name in args.data:
            X, y = load(name, args.max_rows)
            for seed in range(args.seeds):
                lines.append([name, seed, *compared(X, y, args.epochs, seed)])
                print(lines[-1], flush=True)
    header = ["data", "seed", "rank correlation", "neurons x epochs saved", "CPU s, all to the end"]
    header += ["CPU s, halving", "ratio", "lost, nats", "best - worst, nats"]
    print("\n" + markdown(header, lines))


if __name__ == "__main__":
    main()
