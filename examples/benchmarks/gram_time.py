"""Compare the time of the Gram matrix of the NTK with its usual formulation and a lower bound.

    SKLEARN_KD_DATA=... python examples/benchmarks/gram_time.py --threads 2

The data are MNIST rows on the unit sphere in float32. Methods take turns within each repeat, and
the table contains medians and their ratios. CPU seconds are of all threads together. On a busy
machine, use those of one thread.

- ours: ``kernels.gram``, the hidden-layer kernel.
- usual: the formulation of neural-tangents (arctan2 of a clamped square root, whole matrices, both
  halves, kernels of both layers), in plain torch. ``--neural-tangents`` measures the library itself
  if it is installed.
- floor: the symmetric product by its lower half in blocks, and one pass over the result.
"""

import argparse
import math
import time

import numpy as np
import torch
from _runs import environment, markdown, thread_limit

from sklearn_kd._core.kernel import kernels
from sklearn_kd.datasets import fetch_mnist


def ours(X, out):
    kernels.gram(X, kernels.Kernel("ntk"), out=out)


def usual(X, out):
    nngp = X @ X.T
    diagonal = nngp.diagonal()
    product = diagonal[:, None] * diagonal
    root = torch.sqrt(torch.clamp(product - nngp * nngp, min=0))
    angle = torch.where(root == 0, torch.zeros_like(root), torch.atan2(root, nngp))
    angle = torch.where((root == 0) & (nngp == 0), torch.full_like(root, math.pi / 2), angle)
    dot_sigma = 0.5 - angle / (2 * math.pi)
    after = root / (2 * math.pi) + dot_sigma * nngp
    ntk = nngp * dot_sigma
    return after, ntk


def floor(X, out, block=1000):
    for start in range(0, len(X), block):
        torch.mm(
            X[start : start + block],
            X[: start + block].T,
            out=out[start : start + block, : start + block],
        )
    out.mul_(0.5)


def neural_tangents(n_inputs):
    import jax
    from neural_tangents import stax

    layers = [stax.Dense(1, W_std=1.0, b_std=None), stax.Relu()]
    _, _, kernel = stax.serial(*layers, stax.Dense(1, W_std=1.0, b_std=None))
    compiled = jax.jit(lambda a: kernel(a, None, "ntk") * n_inputs)

    def run(X, out):
        compiled(X.numpy()).block_until_ready()

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[4000, 10_000])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--neural-tangents", action="store_true")
    args = parser.parse_args()
    X = fetch_mnist().X_train
    X = torch.from_numpy(X / np.linalg.norm(X, axis=1, keepdims=True))
    methods = {"ours": ours, "usual": usual, "floor": floor}
    if args.neural_tangents:
        methods["neural-tangents"] = neural_tangents(X.shape[1])
    lines = []
    with thread_limit(args.threads):
        print(environment(f"{args.threads} thread(s)"))
        print(f"Rows of {X.shape[1]} inputs, float32, {args.repeats} repeats.\n")
        for n in args.rows:
            rows, out = X[:n].contiguous(), torch.empty(n, n)
            spent = {name: [] for name in methods}
            for repeat in range(args.repeats + 1):
                for name, method in methods.items():
                    start = np.array([time.perf_counter(), time.process_time()])
                    method(rows, out)
                    end = np.array([time.perf_counter(), time.process_time()])
                    if repeat:  # the first call touches the memory
                        spent[name].append(end - start)
            median = {name: np.median(values, axis=0) for name, values in spent.items()}
            for name, both in median.items():
                wall, cpu = both
                ratio, cpu_ratio = both / median["ours"]
                lines.append([n, name, f"{wall:.3f}", f"{ratio:.2f}"])
                lines[-1] += [f"{cpu:.3f}", f"{cpu_ratio:.2f}"]
    print(markdown(["rows", "method", "s", "this / ours", "CPU s", "this / ours"], lines))


if __name__ == "__main__":
    main()
