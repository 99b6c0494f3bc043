"""Compare early stopping that divides groups of near copies with one that does not.

    python examples/benchmarks/grouped_rows.py --seeds 5

The rows are the visits of patients: a patient has one label and a center, and the visits are near
it. All models are scored by their log loss on new patients. "validation rows" are those of a third
as many other patients. The script prints Markdown.
"""

import argparse

import numpy as np
from _runs import environment, markdown, test_scores, thread_limit, timed_fit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import ModuleClassifier, TwoLayerPGDClassifier
from sklearn_kd.modules import MLP

N_FEATURES, NOISE, SPREAD = 10, 3.0, 0.05
MODELS = {
    "logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "TwoLayerPGDClassifier": lambda: TwoLayerPGDClassifier(random_state=0),
    "the same in minibatches": lambda: TwoLayerPGDClassifier(batch_size=128, random_state=0),
    "ModuleClassifier(MLP)": lambda: ModuleClassifier(MLP, random_state=0),
}


def visits(n_patients, n_visits, rng):
    """Return rows, labels and the patient of each row."""
    centers = rng.normal(size=(n_patients, N_FEATURES))
    slope = np.linspace(-1, 1, N_FEATURES)
    labels = centers @ slope + NOISE * rng.normal(size=n_patients) > 0
    patient = np.repeat(np.arange(n_patients), n_visits)
    rows = centers[patient] + SPREAD * rng.normal(size=(len(patient), N_FEATURES))
    return rows, labels[patient].astype(int), patient


def run(n_patients, n_visits, seed):
    """Return the log losses of one table: (model, held out) to a number."""
    rng = np.random.RandomState(seed)
    X, y, patient = visits(n_patients, n_visits, rng)
    X_val, y_val, _ = visits(n_patients // 3, n_visits, rng)
    X_test, y_test, _ = visits(20 * n_patients, 1, rng)
    losses = {}
    for name, make in MODELS.items():
        options = {"nothing": {}}
        if name != "logistic regression":
            options = {
                "rows": {},
                "groups": {"groups": patient},
                "validation rows": {"X_val": X_val, "y_val": y_val},
            }
        for held_out, given in options.items():
            model = make()
            timed_fit(model, X, y, **given)
            losses[name, held_out] = test_scores(model, X_test, y_test)["log_loss"]
    return losses


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=60)
    parser.add_argument("--visits", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args(argv)
    with thread_limit(1):
        results = [run(args.patients, args.visits, seed) for seed in range(args.seeds)]
    lines = []
    for name, held_out in results[0]:
        losses = [each[name, held_out] for each in results]
        summary = [np.median(losses), min(losses), max(losses)]
        lines.append([name, held_out, *(f"{loss:.3f}" for loss in summary)])
    print(environment("one thread"))
    print(markdown(["model", "held out", "median log loss", "least", "largest"], lines))


if __name__ == "__main__":
    main()
