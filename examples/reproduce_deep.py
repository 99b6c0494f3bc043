"""Reproduce Figure 1 of the paper on soft and hard labels: deep networks on noisy images.

    SKLEARN_KD_DATA=... python examples/reproduce_deep.py            # reduced, for two cores
    SKLEARN_KD_DATA=... python examples/reproduce_deep.py --full --results deep.jsonl

Mandal, Lin and Srikant, "A Theoretical Analysis of Soft-Label vs Hard-Label Training in Neural
Networks", arXiv:2412.09579, section 4. The data are cats and dogs of CIFAR-10 with Gaussian noise
on the pixels. A teacher with 8 convolutional and 3 dense layers (VGG 8+3) has students with 2 and
3, one of which learns from the hard labels and one from the probabilities of the teacher for the
same rows (``alpha=1``). As in the paper, the optimizer is Adam with an L2 penalty and early
stopping on held-out rows. The paper does not specify its noise levels, temperature, step size and
penalty, which are arguments here. The VGG of this package has batch normalization, and dropout in
its dense layers.

- ``--full``: the size of the paper, 64 channels in the first layer, all 12,000 images, split into
  80 % for training, 10 % for early stopping and 10 % for testing, at most 100 epochs, patience 20.
  There are 5 runs instead of 10. ``--results`` names a file of finished runs, to continue after an
  interruption.
- The reduced setting has the same images and split, 8 channels in the teacher and 4 in the student,
  12 epochs with a step size that rises and falls ("one-cycle"), 4 runs and fewer levels of noise.
  It takes at most 25 minutes on two cores. The student is narrower than the teacher as well,
  because a narrow VGG 8+3 that is trained for so few epochs is no better than a VGG 2+3 of its
  width.

A run draws the split, the noise and the initial weights. Both students of a run have the same
initial weights. Without CIFAR-10 (`cifar10.npz` in a folder of SKLEARN_KD_DATA) the even and odd
digits of the data bundled with scikit-learn are used, and the output states this. A figure is
written if matplotlib is installed.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from sklearn_kd import DistilledClassifier, ModuleClassifier
from sklearn_kd.datasets import add_gaussian_noise, fetch_cifar10, select_classes
from sklearn_kd.modules import VGG

FULL = {"width": 64, "student_width": 64, "rows": 12_000, "epochs": 100, "patience": 20}
FULL |= {"runs": 5, "jobs": 1, "scheduler": None, "learning_rate": 1e-3}
REDUCED = {"width": 8, "student_width": 4, "rows": 12_000, "epochs": 12, "patience": 12}
REDUCED |= {"runs": 4, "jobs": 2, "scheduler": "one-cycle", "learning_rate": 3e-3}
NOISE = [0.0, 0.1, 0.2, 0.4], [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
#: Convolutions and dense layers.
TEACHER, STUDENT = (8, 3), (2, 3)


def load():
    """Return flat rows, labels, the shape of an image, and a description."""
    try:
        data = fetch_cifar10(download_if_missing=False)
    except OSError:
        X, y = load_digits(return_X_y=True)
        name = "even and odd digits bundled with scikit-learn (CIFAR-10 is not there)"
        return (X / 16).astype(np.float32), y % 2, (1, 8, 8), name
    X = np.concatenate([data.X_train, data.X_test])
    y = np.concatenate([data.y_train, data.y_test])
    X, y = select_classes(X, y, ["cat", "dog"], target_names=data.target_names)
    return X, y, (3, 32, 32), "cats and dogs of CIFAR-10"


def network(layers, width, image_shape, args, seed):
    """Return a VGG with so many convolutions and dense layers."""
    n_conv, n_dense = layers
    return ModuleClassifier(
        VGG,
        module_params={"width": width, "n_conv": n_conv, "n_dense": n_dense},
        image_shape=image_shape,
        learning_rate=args.learning_rate,
        scheduler=args.scheduler,
        weight_decay=args.weight_decay,
        max_epochs=args.epochs,
        n_iter_no_change=args.patience,
        mixed_precision="auto",
        validation_fraction=1 / 9,  # of the nine tenths that are not used for testing
        random_state=seed,
        device=args.device,
    )


def read_results(path):
    """Return pairs of what was run and its result."""
    if path is None or not Path(path).is_file():
        return []
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def run_once(X, y, image_shape, noise, seed, args):
    """Return the result of `run`, from the file of finished runs if it is there."""
    settings = {*REDUCED, "temperature", "weight_decay"} - {"runs", "jobs"}
    cell = {"noise": noise, "seed": seed, **{name: getattr(args, name) for name in settings}}
    for finished, result in read_results(args.results):
        if finished == cell:
            return result
    result = run(X, y, image_shape, noise, seed, args)
    if args.results is not None:
        with open(args.results, "a") as file:
            file.write(json.dumps([cell, result]) + "\n")
    return result


def run(X, y, image_shape, noise, seed, args):
    """Return the accuracy of teacher and students on the test rows of one run."""
    start = time.perf_counter()
    n_rows = min(args.rows, len(X))
    chosen, rest = train_test_split(
        np.arange(len(X)), train_size=0.9 * n_rows / len(X), stratify=y, random_state=seed
    )
    X = add_gaussian_noise(X, noise, random_state=seed)
    X_train, y_train = X[chosen], y[chosen]
    teacher = network(TEACHER, args.width, image_shape, args, seed).fit(X_train, y_train)
    student = network(STUDENT, args.student_width, image_shape, args, seed)
    taught = DistilledClassifier(
        FrozenEstimator(teacher),
        student,
        alpha=1.0,
        temperature=args.temperature,
        augmentation=None,
    )
    models = {
        "teacher": teacher,
        "hard": clone(student).fit(X_train, y_train),
        "soft": taught.fit(X_train, y_train),
    }
    scores = {name: model.score(X[rest], y[rest]) for name, model in models.items()}
    words = ", ".join(f"{name} {100 * score:.1f} %" for name, score in scores.items())
    seconds = time.perf_counter() - start
    print(f"noise {noise}, run {seed}: {words}, {seconds:.0f} s", flush=True)
    return {"noise": noise, "run": seed, **scores}


def table(frame):
    """Return means and standard deviations over runs, in percent, as Markdown lines."""
    lines = ["| noise | teacher | hard | soft | soft - hard, points |", "| --- |" + " --- |" * 4]
    for noise, runs in frame.groupby("noise"):
        scores = 100 * runs[["teacher", "hard", "soft"]]
        gain = scores["soft"] - scores["hard"]
        spread, error = scores.std(), gain.sem()
        cells = [f"{scores[k].mean():.1f} +- {spread[k]:.1f}" for k in scores]
        lines.append(f"| {noise} | {' | '.join(cells)} | {gain.mean():+.2f} +- {error:.2f} |")
    return "\n".join(lines)


def draw(frame, name, path):
    """Draw accuracy against noise, with the spread over runs."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    figure, ax = plt.subplots()
    for kind, style in (("teacher", "k--"), ("hard", "C0o-"), ("soft", "C1o-")):
        runs = 100 * frame.groupby("noise")[kind].agg(["mean", "std"]).fillna(0)
        ax.plot(runs.index, runs["mean"], style, label=kind)
        low, high = runs["mean"] - runs["std"], runs["mean"] + runs["std"]
        ax.fill_between(runs.index, low, high, color=ax.lines[-1].get_color(), alpha=0.15)
    ax.set(xlabel="standard deviation of the noise on pixels in [0, 1]", title=name)
    ax.set_ylabel("test accuracy, %")
    ax.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="the paper's size")
    for name, value in REDUCED.items():
        kind = type(value)
        help_ = "instead of what the setting says"
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=help_)
    parser.add_argument("--noise", type=float, nargs="+", help="standard deviations")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--results", metavar="FILE", help="finished runs, to go on from")
    parser.add_argument(
        "--picture", default="soft_vs_hard_deep.png", help="where to save the picture"
    )
    args = parser.parse_args()
    for name, value in (FULL if args.full else REDUCED).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.noise = args.noise or NOISE[args.full]

    start = time.perf_counter()
    X, y, image_shape, name = load()
    print(f"{name}: {len(X)} images of {image_shape}")
    # run by run, so that an interrupted one has all noise levels
    results = Parallel(args.jobs)(
        delayed(run_once)(X, y, image_shape, noise, seed, args)
        for seed in range(args.runs)
        for noise in args.noise
    )
    frame = pd.DataFrame(results)
    print(f"\nTest accuracy in percent, mean and standard deviation of {args.runs} runs; the gain")
    print("with its standard error. " + ", ".join(f"{k} {getattr(args, k)}" for k in REDUCED))
    print(f"\n{table(frame)}\n\n{time.perf_counter() - start:.0f} s in all")
    draw(frame, name, args.picture)


if __name__ == "__main__":
    main()
