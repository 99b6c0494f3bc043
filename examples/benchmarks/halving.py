"""Would it pay to discard candidates early? What halving would save and lose in a batched search.

    SKLEARN_KD_DATA=... python examples/benchmarks/halving.py --threads 2

All candidates of a grid over width and radius are trained to the end, and their held-out losses
are looked at after a share of the epochs. "Lost" is the held-out loss of the best candidate among
the third that leads by then, less that of the best of all; "saved" the share of neurons times
epochs that the others would not have trained. Prints Markdown.
"""

import argparse

import numpy as np
from _runs import environment, markdown, thread_limit
from scipy.stats import spearmanr
from search_time import RADII, WIDTHS, load

from sklearn_kd import BatchedGridSearchCV, TwoLayerPGDClassifier


def curves(X, y, epochs, seed):
    """Held-out losses (candidates, epochs) and the candidates."""
    found = []

    def look(model, X, y):
        found.append(model.validation_loss_curve_)
        return 0.0

    student = TwoLayerPGDClassifier(
        max_iter=epochs, n_iter_no_change=epochs, batch_size=128, random_state=seed, device="cpu"
    )
    rows = np.arange(len(X))
    search = BatchedGridSearchCV(
        student,
        {"width": WIDTHS, "radius": RADII},
        scoring=look,
        cv=[(rows, rows[:2])],
        refit=False,
    ).fit(X, y)
    return np.array(found), search.cv_results_["params"]


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
                losses, params = curves(X, y, args.epochs, seed)
                best = np.minimum.accumulate(losses, axis=1)
                neurons = np.array([each["width"] for each in params], dtype=float)
                for share in (1 / 9, 1 / 3):
                    seen = best[:, round(share * args.epochs) - 1]
                    kept = seen.argsort()[: len(seen) // 3]
                    saved = (1 - share) * (1 - neurons[kept].sum() / neurons.sum())
                    rank = spearmanr(seen, best[:, -1]).statistic
                    lost = best[kept, -1].min() - best[:, -1].min()
                    lines.append(
                        [name, seed, f"{share:.2f}", f"{rank:.2f}", f"{saved:.0%}", f"{lost:.4f}"]
                    )
                    print(lines[-1], flush=True)
    header = ["data", "seed", "share of epochs", "rank correlation", "saved", "lost, nats"]
    print("\n" + markdown(header, lines))


if __name__ == "__main__":
    main()
