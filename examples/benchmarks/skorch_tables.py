"""Train the same small network with skorch, ModuleClassifier and TwoLayerPGDClassifier.

    SKLEARN_KD_DATA=... python examples/benchmarks/skorch_tables.py --json runs.jsonl

One hidden layer, hard labels, early stopping on a fifth of the training rows, at most 500 epochs.

- skorch: ``NeuralNetClassifier`` on `sklearn_kd.modules.MLP` with Adam, batches of 128, its own
  validation split and ``EarlyStopping(patience=20, load_best=True)``, on rows that a
  ColumnTransformer has encoded, in float32.
- ModuleClassifier: the same module, rows, optimizer, learning rate and batches, the early stopping
  of this package.
- TwoLayerPGDClassifier: its defaults at this width, on the same rows without ``encoder``, and on
  the raw table with its own encoder.

Seconds are CPU time of ``fit``, without the ColumnTransformer's. Finished splits are appended to
the file of ``--json`` and not repeated. The script prints Markdown.
"""

import argparse
import time
import warnings

import numpy as np
import torch
from _runs import environment, markdown, run_cells
from _scores import probability_scores
from _tables import load_split, make_encoder
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping

from sklearn_kd import ModuleClassifier, TwoLayerPGDClassifier
from sklearn_kd.modules import MLP

TABLES = ("german_credit", "phoneme", "segment", "telco_churn", "adult")
LEARNING_RATE, BATCH_SIZE, MOST_EPOCHS = 1e-3, 128, 500


def skorch_network(params, seed):
    """Return an unfitted network of skorch."""
    torch.manual_seed(seed)
    return NeuralNetClassifier(
        MLP,
        **{f"module__{name}": value for name, value in params.items()},
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=LEARNING_RATE,
        max_epochs=MOST_EPOCHS,
        batch_size=BATCH_SIZE,
        iterator_train__shuffle=True,
        callbacks=[EarlyStopping(patience=20, load_best=True, sink=lambda *_: None)],
        verbose=0,
    )


def run(table, seed, width, max_rows):
    """Fit and score all networks on one split."""
    data = load_split(table, seed, max_rows=max_rows)
    warnings.simplefilter("ignore")
    encoder = make_encoder(data.X_train)
    X, X_test = (
        np.asarray(rows, dtype=np.float32)
        for rows in (encoder.fit_transform(data.X_train), encoder.transform(data.X_test))
    )
    classes, y = np.unique(data.y_train, return_inverse=True)
    params = {
        "n_outputs": len(classes),
        "input_shape": (X.shape[1],),
        "width": width,
        "depth": 1,
    }
    of_module = ModuleClassifier(
        MLP,
        module_params=params,
        learning_rate=LEARNING_RATE,
        max_epochs=MOST_EPOCHS,
        batch_size=BATCH_SIZE,
        early_stopping=True,
        random_state=seed,
        device="cpu",
    )
    network = TwoLayerPGDClassifier(width, random_state=seed)
    plain = TwoLayerPGDClassifier(width, encoder=None, random_state=seed)
    models = {
        "skorch": (skorch_network(params, seed), X, X_test),
        "ModuleClassifier": (of_module, X, X_test),
        "TwoLayerPGDClassifier, encoded rows": (plain, X, X_test),
        "TwoLayerPGDClassifier, raw table": (network, data.X_train, data.X_test),
    }
    result = {"n_train": len(y)}
    for name, (model, rows, test_rows) in models.items():
        start = time.process_time()
        model.fit(rows, y)
        seconds = time.process_time() - start
        proba = model.predict_proba(test_rows)
        if name == "skorch":
            seconds_of_skorch = seconds
        scores = probability_scores(proba, classes, data.y_test)
        result[name] = {**scores, "seconds": seconds, "of_skorch": seconds / seconds_of_skorch}
    return result


def lines_of(rows, table=None):
    """Return a line for each network: means of scores, medians of times."""
    mine = [row for row in rows if table in (None, row["table"])]
    lines = []
    for name in [name for name in mine[0] if isinstance(mine[0][name], dict)]:
        cells = [name] if table is None else [table, name]
        for score in ("accuracy", "log_loss", "auc"):
            cells.append(f"{np.mean([row[name][score] for row in mine]):.4f}")
        for key in ("seconds", "of_skorch"):
            cells.append(f"{np.median([row[name][key] for row in mine]):.2f}")
        lines.append(cells)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=TABLES, metavar="NAME")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3, help="splits, and seeds of the fits")
    parser.add_argument("--max-rows", type=int, default=2000, help="training rows to keep")
    parser.add_argument("--json", metavar="FILE", help="finished splits, to go on from")
    args = parser.parse_args()
    fixed = {"width": args.width, "max_rows": args.max_rows}
    cells = [
        {"table": table, "seed": seed, **fixed}
        for seed in range(args.seeds)
        for table in args.tables
    ]
    rows = run_cells(cells, run, jobs=1, path=args.json)
    print(environment("one thread"))
    print(f"Width {args.width}, {len(rows)} of {len(cells)} splits.\n")
    header = ["network", "accuracy", "log loss", "AUC", "seconds", "of skorch's"]
    if rows:
        print(markdown(header, lines_of(rows)) + "\n")
        lines = [line for table in args.tables for line in lines_of(rows, table)]
        print(markdown(["table", *header], lines))


if __name__ == "__main__":
    main()
