"""Compare self-distillation with other single networks that are trained on wrong labels.

    SKLEARN_KD_DATA=... python examples/benchmarks/noisy_labels.py --json noisy.jsonl

All methods train the same network, the ReLU network of ``TwoLayerPGDClassifier`` with a trained
output layer, in the same loop, with the same initialization, Adam steps along a half cosine,
minibatches of 128 rows in the same order, and number of epochs. They only differ in their targets
and loss. A seed determines the initialization, the order of the rows, the rows (with ``--n-rows``)
and the noise. An exact share ``--rates`` of the training rows gets another class: any one, or with
``--kind`` the next one ("pair") or the one that a linear classifier takes it for
("feature-dependent"). Test labels are clean.

- plain: cross-entropy. label smoothing: 0.1.
- plain, early-stopped: 90 % of the rows are used for training, for all epochs. The weights of the
  epoch with the smallest loss, or with the best accuracy, on the other 10 % are kept, whose labels
  are as noisy.
- Reed soft, Reed hard: bootstrapping with a fixed weight of the labels, 0.95 and 0.8.
- GCE: generalized cross-entropy, q = 0.7.
- ELR: early-learning regularization, beta = 0.7, lambda = 3.
- SAT: self-adaptive training, momentum 0.9, after a warm-up of 0.3 of the epochs (``--warm-up``).
  The script of its authors uses 60 of 200.
- Algorithm 1: labels corrected by the hard predictions of the network, whose weight is lambda times
  the accuracy of the batch, clipped to [0, 1]. lambda is that of the paper for each rate, chosen
  with the rate known: 0.6, 1, 1, 1.4, 1.6 for Fashion-MNIST at 0, 0.2, 0.4, 0.6, 0.8, and linear
  between them. MNIST is not in the paper and uses the values of CIFAR-10: 1, 1, 1, 1.5, 1.5.
- Algorithm 1, corrected: its weight is ``--strength`` times the chance-corrected accuracy, which is
  0 for predictions of the most frequent label and 1 for an accuracy of one.
- SelfDistillClassifier: its defaults, with the weight decay of its default network, which the
  others do not have. Seven fits, six of which have four fifths of the rows.

Other settings are the published ones of networks for CIFAR-10, and none is tuned here. "Best epoch"
selects the epoch by test accuracy, which is impossible in practice. It is the upper limit of what
early stopping can gain. "Memorized" is the share of the wrongly labeled training rows that are
predicted as their wrong label. CPU time is that of the fit, without scoring test rows. The script
prints Markdown.
"""

import argparse
import copy
import math
import time

import numpy as np
import pandas as pd
import torch
from _noisy_baselines import (
    EarlyLearning,
    EarlyLearningTargets,
    GeneralizedCrossEntropy,
    SelfAdaptiveTargets,
    SoftBootstrap,
    smoothed,
    weighted_cross_entropy,
)
from _runs import environment, markdown, run_cells

from sklearn_kd import SelfDistillClassifier, TwoLayerPGDClassifier
from sklearn_kd._core.network import algorithm_1, layers, losses, problem, targets
from sklearn_kd._core.network.label_functions import hardmax
from sklearn_kd._core.network.training import ResumableTraining
from sklearn_kd._networks.resolve import BATCH_SIZE
from sklearn_kd._networks.two_layer.fit_plan import HIDDEN_STEP, OUTPUT_STEP
from sklearn_kd._utils.scaling import fit_scaling, scale_inputs
from sklearn_kd.datasets import add_label_noise, fetch_fashion_mnist, fetch_mnist

FETCH = {"mnist": fetch_mnist, "fashion": fetch_fashion_mnist}
#: lambda of Algorithm 1 in the paper at these noise rates. MNIST uses that of CIFAR-10.
PAPER_RATES = [0.0, 0.2, 0.4, 0.6, 0.8]
PAPER_STRENGTHS = {"mnist": [1.0, 1.0, 1.0, 1.5, 1.5], "fashion": [0.6, 1.0, 1.0, 1.4, 1.6]}
#: Kinds of noise.
KINDS = "symmetric", "pair", "feature-dependent"
#: Share of the training rows that early stopping holds out.
HELD_OUT = 0.1
#: Rows of a forward pass in scoring.
BLOCK = 4096

METHODS = {
    "plain": "plain",
    "stopped": "plain, early-stopped",
    "smoothing": "label smoothing",
    "reed_soft": "Reed soft",
    "reed_hard": "Reed hard",
    "gce": "GCE",
    "elr": "ELR",
    "sat": "SAT",
    "paper": "Algorithm 1",
    "ours": "Algorithm 1, corrected",
    "estimator": "SelfDistillClassifier",
}


def rule_and_loss(method, labels, *, n_steps, strength=1.0, warm_up=0.0):
    """Return the targets of a method as a rule, and its loss.

    Parameters
    ----------
    method : str
        One of METHODS.
    labels : tensor of shape (1, n_classes, n_rows)
        One for the given class.
    n_steps : int
        Number of steps of the whole training.
    strength : float
        lambda of Algorithm 1.
    warm_up : float
        Share of the steps before SAT changes a target.
    """
    fixed = targets.Fixed(labels)
    if method == "smoothing":
        return targets.Fixed(smoothed(labels, 0.1)), losses.cross_entropy
    if method == "reed_soft":
        return fixed, SoftBootstrap(0.95)
    if method == "reed_hard":
        weight = labels.new_tensor([0.2])
        rule = algorithm_1.SelfDistilled(fixed, hardmax, lambda *_: weight)
        return rule, losses.cross_entropy
    if method == "gce":
        return fixed, GeneralizedCrossEntropy(0.7)
    if method == "elr":
        return EarlyLearningTargets(fixed, 0.7), EarlyLearning(3.0)
    if method == "sat":
        rule = SelfAdaptiveTargets(fixed, 0.9, round(warm_up * n_steps))
        return rule, weighted_cross_entropy
    if method in ("paper", "ours"):
        prior = float(labels.mean(dim=2).max()) if method == "ours" else 0.0

        def schedule(step, accuracy):
            return strength * ((accuracy - prior) / (1 - prior)).clamp(min=0)

        weight = algorithm_1.Accuracy(schedule, labels.new_ones(1, 1))
        rule = algorithm_1.SelfDistilled(fixed, hardmax, weight)
        return rule, losses.cross_entropy
    return fixed, losses.cross_entropy


def scaled(X, offset, scale):
    return torch.from_numpy(scale_inputs(X, offset, scale, intercept=True))


def one_hot(codes, n_classes, dtype):
    """Return labels as targets, (1, n_classes, n_rows)."""
    return torch.nn.functional.one_hot(torch.from_numpy(codes), n_classes).T[None].to(dtype)


def network(n_inputs, n_outputs, width, seeds, dtype):
    """Return one untrained student with output zero for every row."""
    start = torch.Generator().manual_seed(int(seeds[2]))
    hidden, output = layers.initialize(width, n_inputs, n_outputs, symmetric=True, generator=start)
    hidden, output = hidden.to(dtype), output.to(dtype)
    return problem.Students([width], hidden, output, hidden.clone())


def train(inputs, codes, method, *, n_classes, width, epochs, seed, on_epoch=None, **settings):
    """Train a network by a method and return it.

    ``on_epoch`` is called with the number of epochs done and the `Students` of it; ``settings``
    are those of `rule_and_loss`.
    """
    # draws in the order of TwoLayerPGDClassifier: order of rows, (folds), initialization
    seeds = np.random.RandomState(seed).randint(2**31 - 1, size=3)
    n_rows, n_inputs = inputs.shape
    n_steps = epochs * math.ceil(n_rows / BATCH_SIZE)
    labels = one_hot(codes, n_classes, inputs.dtype)
    rule, loss = rule_and_loss(method, labels, n_steps=n_steps, **settings)
    students = network(n_inputs, n_classes, width, seeds, inputs.dtype)
    rows = problem.WeightedRows(inputs, rule, inputs.new_full((1, 1), 1 / n_rows))
    plan = problem.TrainingConfig(
        step_size=inputs.new_tensor([HIDDEN_STEP / math.sqrt(n_inputs)]),
        output_step_size=inputs.new_tensor([OUTPUT_STEP]),
        max_move=inputs.new_tensor([math.inf]),
        n_epochs=epochs,
        batch_size=BATCH_SIZE,
        optimizer="adam",
        momentum=0.9,
        decay=True,
        generator=torch.Generator().manual_seed(int(seeds[0])),
    )
    training = ResumableTraining(students, rows, loss, plan)
    for n_done in training.epochs():
        if on_epoch is not None:
            on_epoch(n_done, students)
    if training.result.diverged.any():
        raise FloatingPointError(f"{method} diverged")
    return students


def logits_of(students, inputs):
    """Return logits (rows, classes) of one student."""
    readout = students.output / math.sqrt(len(students.hidden))
    return torch.cat([(part @ students.hidden.T).relu_() @ readout for part in inputs.split(BLOCK)])


def accuracy(logits, codes):
    return float((logits.argmax(dim=1) == codes).double().mean())


class HeldOutRows:
    """Keep the weights of the best epochs on held-out rows, by loss and by accuracy."""

    def __init__(self, inputs, codes):
        self.inputs, self.codes = inputs, torch.from_numpy(codes)
        self.best = {}  # scores by name: score, epoch, network

    def update(self, n_done, students):
        """Score an epoch and keep its weights if it is the best so far."""
        logits = logits_of(students, self.inputs)
        loss = float(torch.nn.functional.cross_entropy(logits, self.codes))
        for what, score in {"loss": -loss, "accuracy": accuracy(logits, self.codes)}.items():
            if what not in self.best or score > self.best[what][0]:
                self.best[what] = score, n_done, copy.deepcopy(students)


def run_estimator(X, given, is_wrong, images, *, width, epochs, seed):
    """Return the line of the table of SelfDistillClassifier."""
    network = TwoLayerPGDClassifier(
        width,
        max_iter=epochs,
        batch_size=BATCH_SIZE,
        n_init=1,
        encoder=None,
        init="symmetric",
        random_state=seed,
    )
    start = time.process_time()
    model = SelfDistillClassifier(network, random_state=seed).fit(X, given)
    seconds = time.process_time() - start
    memorized = None
    if is_wrong.any():
        memorized = float(np.mean(model.predict(X[is_wrong]) == given[is_wrong]))
    return {
        "title": METHODS["estimator"],
        "accuracy": float(model.score(images.X_test, images.y_test)),
        "epoch": model.estimator_.best_iter_,
        "best": math.nan,
        "best_epoch": 0,
        "memorized": memorized,
        "seconds": seconds,
    }


def run(data, rate, seed, method, n_rows, width, epochs, kind="symmetric", **settings):
    """Run one fit and return its lines of the table."""
    images = FETCH[data]()
    n_classes = len(images.target_names)
    random = np.random.RandomState(seed)
    training_seed = random.randint(2**31 - 1)
    rows = random.permutation(len(images.X_train))[:n_rows]
    X, y = images.X_train[rows], images.y_train[rows]
    features = {"X": X} if kind == "feature-dependent" else {}
    noisy = add_label_noise(y, rate, kind=kind, random_state=random, **features)
    given, is_wrong = noisy.y, noisy.is_wrong
    if method == "estimator":
        size = {"width": width, "epochs": epochs, "seed": training_seed}
        return {"lines": [run_estimator(X, given, is_wrong, images, **size)]}
    if method == "paper":
        settings["strength"] = float(np.interp(rate, PAPER_RATES, PAPER_STRENGTHS[data]))

    offset, scale = fit_scaling(X, np.ones(len(X)))
    inputs, test_inputs = scaled(X, offset, scale), scaled(images.X_test, offset, scale)
    held_out = None
    if method == "stopped":
        n_held = round(HELD_OUT * len(inputs))  # the rows are in random order
        held_out = HeldOutRows(inputs[:n_held], given[:n_held])
        inputs, given, is_wrong = inputs[n_held:], given[n_held:], is_wrong[n_held:]
    test_codes, curve, scoring = torch.from_numpy(images.y_test), [], 0.0

    def on_epoch(n_done, students):
        nonlocal scoring
        if held_out is not None:
            held_out.update(n_done, students)
        start = time.process_time()
        curve.append(accuracy(logits_of(students, test_inputs), test_codes))
        scoring += time.process_time() - start

    start = time.process_time()
    students = train(
        inputs,
        given,
        method,
        n_classes=n_classes,
        width=width,
        epochs=epochs,
        seed=training_seed,
        on_epoch=on_epoch,
        **settings,
    )
    seconds = time.process_time() - start - scoring

    def line(title, epoch, kept):
        memorized = None
        if is_wrong.any():
            wrong_inputs = inputs[torch.from_numpy(is_wrong)]
            memorized = accuracy(logits_of(kept, wrong_inputs), torch.from_numpy(given[is_wrong]))
        return {
            "title": title,
            "accuracy": curve[epoch - 1],
            "epoch": epoch,
            "best": max(curve),
            "best_epoch": 1 + int(np.argmax(curve)),
            "memorized": memorized,
            "seconds": seconds,
        }

    title = METHODS[method]
    if held_out is None:
        return {"lines": [line(title, epochs, students)]}
    best = held_out.best.items()
    return {"lines": [line(f"{title} by {what}", *kept) for what, (_, *kept) in best]}


def mean_sd(values, unit=100):
    """Return mean and standard deviation over the seeds, in percent."""
    if values.isna().all():
        return "-"
    spread = f" ± {unit * values.std():.2f}" if len(values) > 1 else ""
    return f"{unit * values.mean():.2f}{spread}"


def table(lines):
    """Return a Markdown table of the lines (a DataFrame) of one data set and rate."""
    header = ["method", "test accuracy, %", "at epoch", "best epoch's, %", "memorized, %"]
    header += ["CPU s", "of plain"]
    plain = lines[lines.method == "plain"].set_index("seed").seconds
    cells = []
    for title, mine in lines.groupby("title", sort=False):
        ratio = (mine.set_index("seed").seconds / plain).mean()
        cells.append(
            [
                title,
                mean_sd(mine.accuracy),
                f"{mine.epoch.mean():.1f}",
                mean_sd(mine.best),
                mean_sd(mine.memorized.astype(float)),
                f"{mine.seconds.mean():.1f}",
                "-" if np.isnan(ratio) else f"{ratio:.2f}",
            ]
        )
    return markdown(header, cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=FETCH, default=list(FETCH))
    parser.add_argument("--rates", type=float, nargs="+", default=PAPER_RATES)
    parser.add_argument("--kind", choices=KINDS, default=KINDS[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n-rows", type=int, help="training rows, drawn by seed (default: all)")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--strength", type=float, default=1.0, help="of the corrected rule")
    parser.add_argument("--warm-up", type=float, default=0.3, help="share of SAT's epochs")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--json", metavar="FILE", help="finished fits, to go on from")
    parser.add_argument("--out", metavar="FILE", help="CSV of all fits")
    args = parser.parse_args()
    settings = {"ours": {"strength": args.strength}, "sat": {"warm_up": args.warm_up}}
    cells = [
        {
            "data": data,
            "rate": rate,
            "seed": seed,
            "kind": args.kind,
            "method": method,
            "n_rows": args.n_rows,
            "width": args.width,
            "epochs": args.epochs,
            **settings.get(method, {}),
        }
        for data in args.data
        for rate in args.rates
        for seed in range(args.seeds)
        for method in args.methods
    ]
    results = run_cells(cells, run, jobs=args.jobs, path=args.json)
    print(environment(f"one thread a fit, {args.jobs} at a time"))
    rows = "all" if args.n_rows is None else f"{args.n_rows:,}"
    print(
        f"{rows} training rows, float32, width {args.width}, {args.epochs} epochs, "
        f"{args.seeds} seed(s), strength {args.strength:g}, warm-up {args.warm_up:g}. "
        f"{len(results)} of {len(cells)} fits."
    )
    if not results:
        return
    lines = pd.DataFrame([{**result, **line} for result in results for line in result.pop("lines")])
    if args.out is not None:
        lines.to_csv(args.out, index=False)
    for (data, rate), mine in lines.groupby(["data", "rate"], sort=False):
        print(f"\n{data}, {rate:.0%} of the labels wrong, {args.kind}\n")
        print(table(mine))


if __name__ == "__main__":
    main()
