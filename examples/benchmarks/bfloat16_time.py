"""Compare the time of training and the accuracy of ModuleClassifier in float32 and in bfloat16.

    SKLEARN_KD_DATA=... python examples/benchmarks/bfloat16_time.py

The modules are those of `sklearn_kd.modules` in several widths, on CIFAR-10 (``--rows`` training
images, 5,000 others for the accuracy) and, flat, on MNIST, or all on the digits of scikit-learn
(``--digits``). "Two steps" is a loop with the module alone, on images channel by channel as other
loops have them, and with the numbers of a pixel side by side, as `ModuleClassifier` has them. An
epoch is that of ``ModuleClassifier.fit`` with images shifted and flipped, from fits of one epoch
and of three. "auto" is the format that ``mixed_precision="auto"`` takes. The last columns are the
accuracies of both formats after three epochs, and the share of an epoch that the augmentation
takes.

Formats take turns, and times are medians of CPU time in one thread. The script prints Markdown.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
import torch
from _runs import environment, markdown, thread_limit
from sklearn.datasets import load_digits

from sklearn_kd import ModuleClassifier
from sklearn_kd._networks.module.image_augmentation import make_augmentation
from sklearn_kd.datasets import fetch_cifar10, fetch_mnist
from sklearn_kd.modules import MLP, VGG, FastCNN, ResNet, SmallCNN

MODULES = {
    "MLP 64": (MLP, {"width": 64, "depth": 1}),
    "MLP 256-256": (MLP, {"width": 256}),
    "MLP 1200-1200": (MLP, {"width": 1200}),
    "SmallCNN 4": (SmallCNN, {"width": 4}),
    "SmallCNN 32": (SmallCNN, {"width": 32}),
    "ResNet 16": (ResNet, {"width": 16}),
    "VGG 2+3, 16": (VGG, {"width": 16, "n_conv": 2}),
    "FastCNN 16": (FastCNN, {"width": 16}),
    "FastCNN 64": (FastCNN, {"width": 64}),
}
SHAPES = {"cifar10": (3, 32, 32), "mnist": (1, 28, 28), "digits": (1, 8, 8)}
CHANGES = {"shift": 2, "flip": True}
BATCH_SIZE = 128


def load(name, n_rows):
    """Return training and test rows, labels, and the shape of an image."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        X = X.astype(np.float32)
    else:
        data = (fetch_cifar10 if name == "cifar10" else fetch_mnist)(download_if_missing=False)
        X, y = data.X_train, data.y_train
    order = np.random.RandomState(0).permutation(len(X))[: n_rows + 5000]
    n_rows = min(n_rows, len(order) // 2)
    train, test = order[:n_rows], order[n_rows:]
    return X[train], y[train], X[test], y[test], SHAPES[name]


def cpu_milliseconds(function):
    start = time.process_time()
    function()
    return 1e3 * (time.process_time() - start)


def time_of_steps(kind, params, shape, repeats):
    """Return the median time of two steps with the module alone, by (format, layout)."""
    inputs, steps = torch.randn(BATCH_SIZE, *shape), {}
    for is_half in (False, True):
        for layout in (torch.contiguous_format, torch.channels_last)[: len(shape) - 1 or 1]:
            module = kind(n_outputs=10, input_shape=shape, **params)
            rows = inputs
            if len(shape) == 3:
                module, rows = module.to(memory_format=layout), rows.to(memory_format=layout)
            optimizer = torch.optim.Adam(module.parameters(), fused=True)

            def step(module=module, rows=rows, optimizer=optimizer, is_half=is_half):
                for _ in range(2):
                    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_half):
                        outputs = module(rows)
                    outputs.float().square().mean().backward()
                    optimizer.step()
                    optimizer.zero_grad()

            steps[is_half, layout == torch.channels_last] = step
    times = {key: [] for key in steps}
    for _ in range(repeats + 1):  # the first one is not counted
        for key, step in steps.items():
            times[key].append(cpu_milliseconds(step))
    return {key: statistics.median(each[1:]) for key, each in times.items()}


def make_model(kind, params, shape, precision, epochs):
    images = kind is not MLP
    return ModuleClassifier(
        kind,
        module_params=params,
        image_shape=shape if images else None,
        augmentation=CHANGES if images else None,
        optimizer="sgd",
        learning_rate=0.1 if kind is not MLP else 0.03,
        optimizer_params={"momentum": 0.9, "nesterov": True},
        scheduler="one-cycle",
        max_epochs=epochs,
        batch_size=BATCH_SIZE,
        early_stopping=False,
        mixed_precision=precision,
        random_state=0,
        device="cpu",
    )


def time_of_fits(kind, params, data, repeats):
    """Return the seconds of an epoch and the accuracy by format, and the format of "auto"."""
    X, y, X_test, y_test, shape = data
    times, accuracy = {}, {}
    for repeat in range(repeats):
        for precision in (False, "bfloat16"):
            seconds = {}
            for epochs in (1, 3):
                model = make_model(kind, params, shape, precision, epochs)
                seconds[epochs] = cpu_milliseconds(lambda model=model: model.fit(X, y)) / 1e3
            times.setdefault(precision, []).append((seconds[3] - seconds[1]) / 2)
            if repeat == 0:
                accuracy[precision] = model.score(X_test, y_test)
    chosen = make_model(kind, params, shape, "auto", 1).fit(X[:256], y[:256]).precision_
    return {key: statistics.median(each) for key, each in times.items()}, accuracy, chosen


def time_of_augmentation(n_rows, shape):
    """Return the seconds that the changes of the images of an epoch take."""
    augment, generator = make_augmentation(CHANGES, shape), torch.Generator().manual_seed(0)
    batch = torch.randn(BATCH_SIZE, *shape)
    times = [cpu_milliseconds(lambda: augment(batch, generator)) for _ in range(11)]
    return statistics.median(times[1:]) * n_rows / BATCH_SIZE / 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--modules", nargs="+", choices=MODULES, default=list(MODULES))
    parser.add_argument("--digits", action="store_true", help="the digits of scikit-learn alone")
    args = parser.parse_args()
    header = ["module", "data", "two steps, float32, ms", "pixel by pixel", "bfloat16",
              "epoch, float32, s", "bfloat16, s", "ratio", "auto", "accuracy", "bfloat16",
              "augmentation"]  # fmt: skip
    lines = []
    with thread_limit(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in args.modules:
            kind, params = MODULES[name]
            images = "digits" if args.digits else "mnist" if kind is MLP else "cifar10"
            data = load(images, args.rows)
            shape = data[-1] if kind is not MLP else (data[0].shape[1],)
            steps = time_of_steps(kind, params, shape, args.repeats)
            epoch, accuracy, chosen = time_of_fits(kind, params, data, args.repeats)
            share = "-"
            if kind is not MLP:
                share = f"{time_of_augmentation(len(data[0]), shape) / epoch['bfloat16']:.1%}"
            lines.append([
                name, images, f"{steps[False, False]:.1f}",
                f"{steps[False, True]:.1f}" if (False, True) in steps else "-",
                f"{steps[True, (True, True) in steps]:.1f}",
                f"{epoch[False]:.2f}", f"{epoch['bfloat16']:.2f}",
                f"{epoch[False] / epoch['bfloat16']:.2f}", chosen,
                f"{accuracy[False]:.3f}", f"{accuracy['bfloat16']:.3f}", share,
            ])  # fmt: skip
            print("| " + " | ".join(lines[-1]) + " |", flush=True)
    print(environment("one thread"))
    print(markdown(header, lines))


if __name__ == "__main__":
    main()
