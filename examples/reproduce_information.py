"""Reproduce Figures 2 and 5 of the paper on self-distillation: information of labels under noise.

    SKLEARN_KD_DATA=... python examples/reproduce_information.py           # reduced, for two cores
    SKLEARN_KD_DATA=... python examples/reproduce_information.py --full    # ResNet-56, for a GPU

Dong, Hou, Lu and Zhang, "Distillation = Early Stopping? Harvesting Dark Knowledge Utilizing
Anisotropic Information Retrieval For Overparameterized Neural Network", arXiv:1910.01255, sections
2.3 and 3.5. The task is classes 2 and 7 of CIFAR-10 (birds and horses) against the rest. Labels are
-1 and 1, each flipped at some rate. As in the paper, training uses the squared loss, minibatches
of 128, momentum 0.9, step size 0.1 and weight decay 5e-4. ``--full`` uses its ResNet-56 (in
modules.ResNet, with activation before convolution). The reduced setting uses a SmallCNN with 8, 16
and 32 channels. Neither uses augmentation.

The information ratio of a label vector is the share of its norm in the top 5 eigenvectors of a
kernel on a batch of 128 images. It is computed for three kernels: the NTK of a two-layer network on
images of unit length, and the empirical kernel of the network in use, before and after training.
The empirical kernel contains the products of the gradients of the output with respect to the
weights. Labels are centered unless stated otherwise.

- Figure 2: the ratio against the share of wrong labels, for test images and a network that has been
  trained on clean labels. The expectation over flips at the rate rho is shown as well, for labels
  that are not centered: E ratio^2 = (1 - 2 rho)^2 ratio_0^2 + 4 rho (1 - rho) k/n.
- Figure 5: the information gain of self-distillation with 40 % wrong labels (Algorithm 1, hardmax,
  no warm-up). It is the ratio of the targets alpha_t y + (1 - alpha_t) h(f) of training images
  minus that of the given labels. "the paper's" is the setting of the paper, with 1 - alpha_t equal
  to the accuracy in the minibatch. One class has a fifth of the images in this setting, and the
  rule may lose this class. With equal predictions the centered targets are the given labels with a
  smaller norm, and only the imbalance is gained, which counts if labels are not centered.
  Therefore runs with equal numbers of images in both classes are added, at a tenth of the step
  size: "balanced" with the same rule, "chance-corrected" with the rule of SelfDistillClassifier,
  and "plain", the predictions h(f) of a network that learns the given labels. Each is a single run
  and depends on chance in its first steps: of four draws of "balanced", two lost a class within 500
  iterations.

`inspection.InformationDisplay` draws these quantities for the public estimators, which minimize the
cross-entropy. Without CIFAR-10 (`cifar10.npz` in a folder of SKLEARN_KD_DATA) the digits bundled
with scikit-learn are used, and the output states this. The script takes about 4 minutes, and writes
a figure with ``--picture``.
"""

import argparse
import math
import time

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.func import functional_call, grad, vmap

from sklearn_kd._core.kernel import kernels
from sklearn_kd._core.network import algorithm_1, targets
from sklearn_kd._core.network.label_functions import hardmax
from sklearn_kd.datasets import fetch_cifar10
from sklearn_kd.modules import ResNet, SmallCNN
from sklearn_kd.theory import information_ratio

POSITIVE, SIZE, K = (2, 7), 128, 5
NOISE, TRAINING_NOISE, FLIPS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5), 0.4, 20
KERNELS = ("NTK", "network, untrained", "network, trained")
#: Figure 5: whether classes are balanced, the weight of predictions, and the step size.
RUNS = {
    "the paper's": (False, "accuracy", 0.1),
    "balanced": (True, "accuracy", 0.01),
    "chance-corrected": (True, "chance-corrected", 0.01),
    "plain": (True, None, 0.01),
}
#: The columns of its table, and the kernel and centering of each.
COLUMNS = {
    "NTK": ("NTK", True),
    "NTK, not centered": ("NTK", False),
    "network, untrained": ("network, untrained", True),
    "network, trained": ("network, trained", True),
}


def load():
    """Return standardized images and labels, for training and for testing, and their name."""
    try:
        data = fetch_cifar10(as_images=True, download_if_missing=False)
    except OSError:
        X, y = load_digits(return_X_y=True)
        images, name = X.reshape(-1, 1, 8, 8) / 16, "digits bundled with scikit-learn"
        order = np.random.default_rng(0).permutation(len(y))
        train, test = order[:1200], order[1200:]
        parts, name = (images[train], y[train], images[test], y[test]), f"{name} (no CIFAR-10)"
    else:
        parts, name = (data.X_train, data.y_train, data.X_test, data.y_test), "CIFAR-10"
    X_train, y_train, X_test, y_test = parts
    mean = X_train.mean(axis=(0, 2, 3), keepdims=True)
    scale = X_train.std(axis=(0, 2, 3), keepdims=True)
    X_train, X_test = (
        torch.tensor((X - mean) / scale, dtype=torch.float32) for X in (X_train, X_test)
    )
    y_train, y_test = (np.where(np.isin(y, POSITIVE), 1.0, -1.0) for y in (y_train, y_test))
    return X_train, y_train, X_test, y_test, name


def equal_classes(X, y, rng):
    """Return all positive images and as many of the others."""
    positive, others = np.flatnonzero(y > 0), np.flatnonzero(y < 0)
    rows = np.sort(np.concatenate([positive, rng.choice(others, len(positive), replace=False)]))
    return X[rows], y[rows]


def make_network(shape, args):
    """Return the network of this setting, the same one in each call."""
    torch.manual_seed(args.seed)
    if args.full:
        network = ResNet(n_outputs=1, input_shape=shape, width=args.width, depth=9)
    else:
        network = SmallCNN(n_outputs=1, input_shape=shape, width=args.width, dropout=0.0)
    return network.to(args.device, memory_format=torch.channels_last)


@torch.no_grad()
def outputs(network, X):
    """Return outputs (1, 1, n_rows) without training on the rows."""
    network.eval()
    parts = [network(part)[:, 0] for part in X.split(500)]
    network.train()
    return torch.cat(parts)[None, None]


def gradient_gram(network, X):
    """Return the Gram matrix of the gradients of the output, the empirical kernel."""
    network.eval()
    weights = {name: value.detach() for name, value in network.named_parameters()}
    buffers = dict(network.named_buffers())

    def output(weights, image):
        return functional_call(network, (weights, buffers), (image[None],))[0, 0]

    each = vmap(grad(output), (None, 0), chunk_size=16)(weights, X)
    gradients = torch.cat([part.flatten(1).double() for part in each.values()], dim=1)
    network.train()
    return (gradients @ gradients.T).cpu().numpy()


def ntk_gram(X):
    """Return the Gram matrix of the NTK of a two-layer network on images of unit length."""
    rows = torch.nn.functional.normalize(X.flatten(1).double())
    return kernels.gram(rows, kernels.Kernel("ntk-full")).cpu().numpy()


def ratio(gram, labels, *, center=True):
    return information_ratio(gram, labels, k=K, kernel="precomputed", center=center)


def train(network, X, y, args, *, schedule=None, step_size=0.1, note=None):
    """Train on squared error, and call ``note(step, weight)`` before some of the steps."""
    given = torch.tensor((y + 1) / 2, dtype=torch.float32, device=args.device)
    prior = max(float(given.mean()), 1 - float(given.mean()))

    def weigh(step, accuracy):
        if schedule == "accuracy":
            return accuracy
        return ((accuracy - prior) / (1 - prior)).clamp(min=0)

    rule = targets.Fixed(given[None, None])
    if schedule is not None:
        weight_of = algorithm_1.Accuracy(weigh, given.new_ones(1, 1))
        rule = algorithm_1.SelfDistilled(rule, hardmax, weight_of)
    optimizer = torch.optim.SGD(network.parameters(), step_size, momentum=0.9, weight_decay=5e-4)
    generator = torch.Generator().manual_seed(args.seed)
    order, weight = [], 0.0
    for step in range(args.iterations):
        if note is not None and step % args.every == 0:
            note(step, weight)
        if not order:
            order = list(torch.randperm(len(X), generator=generator).split(SIZE))
        rows = order.pop(0).to(args.device)
        f = network(X[rows].contiguous(memory_format=torch.channels_last)).T[None]
        with torch.no_grad():  # the rule has labels 0 and 1, outputs are near -1 and 1
            goal = 2 * rule(f.detach(), rows, step) - 1
            gradient = f - goal  # of half the squared error
        weight = float(rule.weights[-1]) if schedule is not None else 0.0
        optimizer.zero_grad()
        f.backward(gradient / len(rows))
        optimizer.step()
    if not gradient.isfinite().all():
        raise RuntimeError("training diverged")
    if note is not None:
        note(args.iterations, weight)


def along_training(network, data, test, batches, args, **options):
    """Train; return labels of the batches along training, (records, batches, SIZE), and notes."""
    X, given, clean = data
    images, path, notes = X[np.concatenate(batches)], [], []

    def note(step, weight):
        h = hardmax(outputs(network, images)).cpu().numpy().reshape(batches.shape)
        labels = 2 * h - 1  # without corrections: the predictions themselves
        if options["schedule"] is not None:  # 1 - alpha is that of the last minibatch
            labels = (1 - weight) * given[batches] + weight * labels
        path.append(labels)
        found = np.sign(outputs(network, test[0]).cpu().numpy().ravel())
        right = np.mean(np.sign(labels) == clean[batches]), np.mean(found == test[1])
        notes.append((step, weight, *right, np.mean(found[test[1] > 0] > 0)))

    train(network, X, given, args, note=note, **options)
    return np.stack(path), notes


def figure_2(grams, y, rng):
    """Ratios under flips; returns {kernel: {noise: (mean, sd, rms and formula, uncentered)}}."""
    found = {}
    for kernel, batches in grams.items():
        found[kernel] = {}
        for rho in NOISE:
            centered, squares, expected = [], [], []
            for gram, labels in zip(batches, y, strict=True):
                first = ratio(gram, labels, center=False)
                expected.append((1 - 2 * rho) ** 2 * first**2 + 4 * rho * (1 - rho) * K / SIZE)
                for _ in range(FLIPS if rho else 1):
                    flipped = labels * np.where(rng.random(SIZE) < rho, -1, 1)
                    centered.append(ratio(gram, flipped))
                    squares.append(ratio(gram, flipped, center=False) ** 2)
            pair = math.sqrt(np.mean(squares)), math.sqrt(np.mean(expected))
            found[kernel][rho] = np.mean(centered), np.std(centered, ddof=1), *pair
    return found


def gains(grams, path, given, *, center):
    """Return the information gain (records, batches), NaN if a batch has constant predictions."""
    values = np.full(path.shape[:2], np.nan)
    for b, gram in enumerate(grams):
        before = ratio(gram, given[b], center=center)
        for t, labels in enumerate(path[:, b]):
            if not center or np.ptp(labels) > 0:
                values[t, b] = ratio(gram, labels, center=center) - before
    return values


def cell(values):
    values = values[~np.isnan(values)]
    # z: no minus zero
    return "-" if len(values) < 2 else f"{values.mean():+z.3f} +- {values.std(ddof=1):.3f}"


def table(head, lines):
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def draw(ratios, curves, steps, path):
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("no picture: matplotlib is missing, pip install sklearn-kd[plot]")
        return
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for kernel in KERNELS:
        mean, sd = np.array([ratios[kernel][rho][:2] for rho in NOISE]).T
        left.errorbar(NOISE, mean, sd, marker="o", capsize=3, label=kernel)
    for name, gain in curves.items():
        right.plot(steps, np.ma.masked_invalid(gain).mean(axis=1), marker=".", label=name)
    right.axhline(0, color="black", lw=0.8)
    left.set(xlabel="share of wrong labels", ylabel="information ratio", title="Figure 2")
    right.set(xlabel="iteration", ylabel="information gain (NTK)", title="Figure 5")
    left.legend()
    right.legend()
    figure.savefig(path, dpi=150)
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="ResNet-56, for a GPU")
    parser.add_argument("--width", type=int, help="channels of the first layer; 8, --full 16")
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--every", type=int, default=250, help="iterations from note to note")
    parser.add_argument("--batches", type=int, default=10, help="batches that ratios are taken of")
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--picture", help="where to save a picture")
    args = parser.parse_args()
    args.width = args.width or (16 if args.full else 8)
    start = time.perf_counter()

    X, y, X_test, y_test, name = load()
    X, X_test = X.to(args.device), X_test[:2500].to(args.device)
    y_test = y_test[: len(X_test)]
    rng = np.random.default_rng(args.seed)
    shape = tuple(X.shape[1:])
    network = make_network(shape, args)
    n_weights = sum(each.numel() for each in network.parameters())
    print(f"{name}: {len(X)} images of {shape}, {np.mean(y > 0):.2f} of them positive.")
    print(f"{type(network).__name__}, width {args.width}, {n_weights:,} weights; {args.device}.")

    def draw_batches(images):
        n_batches = min(args.batches, len(images) // SIZE)
        return rng.permutation(len(images))[: n_batches * SIZE].reshape(-1, SIZE)

    def gram_matrices(network, images, indices):
        untrained = make_network(shape, args)
        return {
            "NTK": [ntk_gram(images[rows]) for rows in indices],
            "network, untrained": [gradient_gram(untrained, images[rows]) for rows in indices],
            "network, trained": [gradient_gram(network, images[rows]) for rows in indices],
        }

    train(network, X, y, args)
    accuracy = np.mean(np.sign(outputs(network, X_test).cpu().numpy().ravel()) == y_test)
    print(f"Trained on clean labels: {100 * accuracy:.1f} % of test images right.")
    batches = draw_batches(X_test)
    ratios = figure_2(gram_matrices(network, X_test, batches), y_test[batches], rng)
    print(f"\nFigure 2: ratio, k = {K}, of {len(batches)} test batches of {SIZE}, {FLIPS} flips of")
    print("each, mean and standard deviation; uncentered root mean square / that of the formula\n")
    lines = [
        [rho] + [f"{m:.3f} +- {s:.3f}; {r:.3f} / {e:.3f}" for m, s, r, e in found]
        for rho, found in ((rho, [ratios[kernel][rho] for kernel in KERNELS]) for rho in NOISE)
    ]
    print(table(["noise", *KERNELS], lines), flush=True)

    curves = {}
    for title in args.runs:
        equal, schedule, step_size = RUNS[title]
        images, clean, test = X, y, (X_test, y_test)
        if equal:
            images, clean = equal_classes(X, y, rng)
            test = equal_classes(*test, rng)
        given = clean * np.where(rng.random(len(clean)) < TRAINING_NOISE, -1, 1)
        batches, network = draw_batches(images), make_network(shape, args)
        path, notes = along_training(
            *(network, (images, given, clean), test, batches, args),
            schedule=schedule,
            step_size=step_size,
        )
        grams = gram_matrices(network, images, batches)
        found = {
            column: gains(grams[kernel], path, given[batches], center=center)
            for column, (kernel, center) in COLUMNS.items()
        }
        curves[title] = found["NTK"]
        what = "predictions" if schedule is None else "targets"
        print(f"\nFigure 5, {title}: gain of {what} on {len(batches)} training batches, mean and")
        print(f"standard deviation; step size {step_size}, {np.mean(given != clean):.3f} wrong\n")
        lines = [
            [step, f"{weight:.2f}", f"{100 * right:.1f}", f"{100 * hits:.1f} ({100 * recall:.0f})"]
            + [cell(found[column][t]) for column in COLUMNS]
            for t, (step, weight, right, hits, recall) in enumerate(notes)
        ]
        head = ["iteration", "1 - alpha", f"{what} right, %", "test right (of positive), %"]
        print(table([*head, *COLUMNS], lines))
        for label, labels in (("given", given[batches]), ("clean", clean[batches])):
            means = [
                np.mean([ratio(*pair, center=c) for pair in zip(grams[k], labels, strict=True)])
                for k, c in COLUMNS.values()
            ]
            each = (f"{k} {mean:.3f}" for k, mean in zip(COLUMNS, means, strict=True))
            print(f"ratio of the {label} labels: " + "; ".join(each))
        print(f"{time.perf_counter() - start:.0f} s so far", flush=True)
    if args.picture:
        draw(ratios, curves, [step for step, *_ in notes], args.picture)


if __name__ == "__main__":
    main()
