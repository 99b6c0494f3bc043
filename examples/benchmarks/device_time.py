"""Run the tests that need a CUDA device, and time the device against the CPU.

    python examples/benchmarks/device_time.py                # ten minutes at most
    python examples/benchmarks/device_time.py --quick        # small sizes, to try the script itself

The tests are those of the package that are skipped without a device. Then each of these is timed on
both sides, on the device after a first run that loads what it needs:

- training: 20 epochs of `TwoLayerPGDClassifier` on rows like those of MNIST, in minibatches, for
  several widths;
- search: `BatchedGridSearchCV` over 60 networks of 16 to 64 neurons on three folds;
- Gram matrix and solve of the NTK: `KernelTeacher` with a given ridge, by Cholesky's method;
- module: two epochs of a `FastCNN` on random images of 32 x 32 pixels, in the precision that
  ``mixed_precision="auto"`` chooses.

Without a device the tests are not run, the times are those of the CPU alone, and the output says
so. Tasks that would begin after ``--minutes`` are left out, with a line for each. The output is
Markdown.
"""

import argparse
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from _runs import environment, markdown

from sklearn_kd import BatchedGridSearchCV, KernelTeacher, ModuleClassifier, TwoLayerPGDClassifier
from sklearn_kd.modules import FastCNN

ROOT = Path(__file__).parents[2]
#: Files of the tests that a device is needed for, as far as there is one.
TESTS = [
    "tests/test_devices.py",
    "tests/_utils/test_device.py",
    "tests/_kernel/test_classifier.py",
    "tests/_kernel/test_regressor.py",
    "tests/theory/test_margin.py",
]


def make_rows(n_rows, n_columns):
    """Return float32 rows in ten classes that a linear map separates with noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, n_columns)).astype(np.float32)
    scores = X @ rng.normal(size=(n_columns, 10)) + rng.gumbel(size=(n_rows, 10))
    return X, scores.argmax(axis=1)


def training(width, n_rows):
    """Return a function that trains one network on a device."""
    X, y = make_rows(n_rows, 784)

    def run(device):
        TwoLayerPGDClassifier(
            width, max_iter=20, early_stopping=False, encoder=None, random_state=0, device=device
        ).fit(X, y)

    return run


def search(n_rows):
    """Return a function that searches over 60 networks on a device."""
    X, y = make_rows(n_rows, 100)
    grid = {"width": [16, 24, 32, 48, 64], "radius": [10.0, 30.0, 100.0, None]}

    def run(device):
        student = TwoLayerPGDClassifier(
            max_iter=10, early_stopping=False, n_init=1, encoder=None, random_state=0, device=device
        )
        BatchedGridSearchCV(student, grid, cv=3, refit=False).fit(X, y)

    return run


def kernel(n_rows):
    """Return a function that fits the kernel teacher with a given ridge on a device."""
    X, y = make_rows(n_rows, 100)

    def run(device):
        KernelTeacher(
            ridge=1e-2, solver="cholesky", calibration=None, encoder=None, device=device
        ).fit(X, y)

    return run


def module(n_rows):
    """Return a function that trains a convolutional network on a device."""
    X, y = make_rows(n_rows, 3 * 32 * 32)

    def run(device):
        ModuleClassifier(
            FastCNN,
            module_params={"width": 64},
            image_shape=(3, 32, 32),
            max_epochs=2,
            batch_size=512,
            early_stopping=False,
            mixed_precision="auto",
            random_state=0,
            device=device,
        ).fit(X, y)

    return run


def tasks(*, quick):
    """Return what is timed, by its name: small sizes first."""
    n = 2_000 if quick else 20_000
    found = {f"training, width {width}": training(width, n) for width in (16, 128, 1024)}
    found[f"search, 60 networks, {n // 2:,} rows"] = search(n // 2)
    sizes = (1_000,) if quick else (5_000, 20_000)
    found |= {f"Gram matrix and solve, {size:,} rows": kernel(size) for size in sizes}
    n_images = 500 if quick else 5_000
    found[f"module, two epochs of {n_images:,} images"] = module(n_images)
    return found


def seconds(run, device):
    """Return the seconds of a call, on a CUDA device of a second one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(1 if device == "cpu" else 2):
            start = time.perf_counter()
            run(device)
            if device != "cpu":
                torch.cuda.synchronize()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    print(environment(f"{torch.get_num_threads()} threads"))
    has_device, failed = torch.cuda.is_available(), False
    if has_device:
        print(f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}.\n", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "-k", "cuda", *TESTS]
        failed = subprocess.run(command, cwd=ROOT, check=False).returncode != 0
    else:
        print("There is no CUDA device here: its tests are not run, and the CPU is timed alone.\n")
    lines = []
    for name, run in tasks(quick=args.quick).items():
        if time.monotonic() > deadline:
            print(f"{name}: left out after {args.minutes:g} minutes", flush=True)
            continue
        times = [seconds(run, device) for device in (["cuda", "cpu"] if has_device else ["cpu"])]
        own = [f"{times[0]:.2f}", f"{times[-1] / times[0]:.1f}"] if has_device else ["-", "-"]
        lines.append([name, f"{times[-1]:.2f}", *own])
        print(f"{name}: {', '.join(f'{each:.2f} s' for each in times)}", flush=True)
    print("\n" + markdown(["", "CPU, s", "CUDA, s", "ratio"], lines))
    sys.exit(failed)


if __name__ == "__main__":
    main()
