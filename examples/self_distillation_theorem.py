"""Illustrate Theorem 1 of self-distillation, the correction of wrong labels, and its assumptions.

    python examples/self_distillation_theorem.py

Dong, Hou, Lu and Zhang (arXiv:1910.01255, section 3.3) prove that the outputs of a wide two-layer
network trained by Algorithm 1 converge to the clean labels, in l2, if the rows lie in narrow
clusters and few labels of each cluster are wrong. Step t of size 1 / (2 Gamma^2 n) is on the
squared error of all rows with respect to the targets

    alpha_t y + (1 - alpha_t) h(f),    h(f) = 4 f / (1 - 2 rho), clipped to [-1, 1]

with labels y of -1 and 1, outputs f and at most a share rho of each cluster wrong. The activation
is smooth (tanh, whose Gamma is 1), and alpha decreases slowly to zero. The widths and numbers of
steps that the proof requires are infeasible, but the algorithm itself can be run: four clusters of
15 unit rows in 50 dimensions, three wrong labels in each, 200 neurons, 4,000 steps and
alpha_t = exp(-t / tau).

- ``self-distillation`` (tau = 200) reaches the clean labels, and the distance decreases for as long
  as it is trained.
- ``plain training`` (alpha = 1) memorizes the wrong labels.
- ``too fast`` (tau = 20) uses predictions that are still those of the random initialization, and
  whole clusters stay wrong. The theorem requires that alpha decreases slowly.
- ``too wide`` (clusters of radius .5 instead of .3, tau = 3,000): wrong rows are far from the
  others and are fitted while alpha is large, which is not reversed later. The theorem requires
  narrow clusters. (With tau = 200 nearly all labels of the wide clusters are corrected as well.)

The script prints the distance to the clean labels along training, the mean of several random
initializations, which are trained jointly. It takes about 15 seconds, and writes
``self_distillation_theorem.png`` into the current folder. This activation, loss and initialization
have no public parameter. They are options of the core that trains all two-layer networks of the
package.
"""

import math

import numpy as np
import torch

from sklearn_kd._core.network import algorithm_1, problem, targets
from sklearn_kd._core.network.layers import Activation
from sklearn_kd._core.network.training import ResumableTraining

CLUSTERS, SIZE, N_INPUTS, WIDTH, N_STARTS = 4, 15, 50, 200, 5
WRONG, RHO = 3, 0.2
STEPS, EVERY = 4000, 50
SHOWN = [50, 200, 500, 1000, 2000, 4000]
#: radius of the clusters, and tau
RULES = {
    "self-distillation": (0.3, 200.0),
    "plain training": (0.3, math.inf),
    "too fast": (0.3, 20.0),
    "too wide": (0.5, 3000.0),
}


def make_data(radius):
    """Return unit rows around orthonormal centers, labels with some wrong, and the clean ones."""
    rng = np.random.default_rng(0)
    centers = np.linalg.qr(rng.normal(size=(N_INPUTS, CLUSTERS)))[0].T
    cluster = np.repeat(np.arange(CLUSTERS), SIZE)
    away = rng.normal(size=(len(cluster), N_INPUTS))
    X = centers[cluster] + radius * away / np.linalg.norm(away, axis=1, keepdims=True)
    clean = np.where(cluster % 2 == 0, 1.0, -1.0)
    given = clean.copy()
    for k in range(CLUSTERS):
        given[k * SIZE + rng.choice(SIZE, WRONG, replace=False)] *= -1
    return X / np.linalg.norm(X, axis=1, keepdims=True), given, clean


def ramp(outputs):
    """Return h(x) = 4x/(1 - 2 rho), cut off at -1 and 1: the label function of Theorem 1."""
    return (outputs * (4 / (1 - 2 * RHO))).clamp_(-1, 1)


def squared_error(logits, targets):
    """Return half the squared error of each row, and its gradient, written over the logits."""
    residual = logits.sub_(targets)
    return residual.square().sum(dim=1).mul_(0.5), residual


def tanh_backward(gradient, active):
    """Multiply the gradient by phi' = 1 - phi^2."""
    torch.ops.aten.tanh_backward.grad_input(gradient, active, grad_input=gradient)


TANH = Activation(torch.tanh_, tanh_backward)


def train(X, y, taus):
    """Return outputs (times, students, rows) along training, one student for each of ``taus``."""
    n_students, n_rows = len(taus), len(X)
    starts = [
        np.random.default_rng(start).normal(size=(WIDTH, N_INPUTS)) for start in range(N_STARTS)
    ]
    X, y = torch.tensor(X).float(), torch.tensor(y).float()
    # W_j ~ N(0, 1), not in pairs. Output weights are 1 or -1 in equal parts, over sqrt(width).
    hidden = torch.tensor(np.concatenate(starts * (n_students // N_STARTS))).float()
    signs = torch.tensor([1.0, -1.0]).repeat_interleave(WIDTH // 2)
    students = problem.Students(
        [WIDTH] * n_students, hidden, signs.repeat(n_students)[:, None], hidden.clone()
    )
    tau = torch.tensor(taus)
    rule = algorithm_1.SelfDistilled(
        targets.Fixed(y[None, None]),
        ramp,
        lambda logits, labels, rows, step: 1 - torch.exp(-step / tau),
    )
    plan = problem.TrainingConfig(
        # the paper sums the losses of rows, the mean is used here: n eta = 1 / (2 Gamma^2)
        step_size=torch.full((n_students,), 0.5),
        output_step_size=None,
        max_move=torch.full((n_students,), math.inf),
        n_epochs=STEPS,
        batch_size=None,
        optimizer="nesterov",
        momentum=0.0,
        decay=False,
        generator=torch.Generator(),
        activation=TANH,
    )
    rows = problem.WeightedRows(X, rule, torch.full((1, 1), 1 / n_rows))
    path = []
    for epoch in ResumableTraining(students, rows, squared_error, plan).epochs():
        if epoch % EVERY == 0:
            active = torch.tanh(hidden @ X.T).view(n_students, WIDTH, n_rows)
            path.append((signs @ active / math.sqrt(WIDTH)).numpy())
    return np.stack(path)


def main():
    paths, labels = {}, {}
    for radius in sorted({radius for radius, _ in RULES.values()}):
        X, given, clean = make_data(radius)
        names = [name for name, rule in RULES.items() if rule[0] == radius]
        path = train(X, given, np.repeat([RULES[name][1] for name in names], N_STARTS).tolist())
        for name, part in zip(names, np.split(path, len(names), axis=1), strict=True):
            paths[name], labels[name] = part, (given, clean)

    print("Root mean squared distance to the clean labels after so many steps")
    print(" " * 18 + "".join(f"{step:>8,}" for step in SHOWN))
    curves, ends = {}, {}
    for name, path in paths.items():
        given, clean = labels[name]
        distances = np.sqrt(np.mean((path - clean) ** 2, axis=2))
        curves[name] = distances.mean(axis=1)
        shown = (curves[name][step // EVERY - 1] for step in SHOWN)
        print(f"{name:>18}" + "".join(f"{distance:8.3f}" for distance in shown))
        agrees = path[-1] * clean > 0
        ends[name] = {
            "rows right": agrees.mean(),
            "wrong labels learned": (~agrees[:, given != clean]).mean(),
            "clusters lost": int((~agrees).reshape(-1, CLUSTERS, SIZE).all(axis=2).sum()),
        }
    print(f"\nAt the end; {N_STARTS} starts of {CLUSTERS} clusters")
    for name, end in ends.items():
        print(
            f"{name:>18}  {end['rows right']:.3f} of the rows right, "
            f"{end['wrong labels learned']:.3f} of the wrong labels learned, "
            f"{end['clusters lost']} of {N_STARTS * CLUSTERS} clusters lost"
        )
    plot(curves)


def plot(curves):
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("no picture: matplotlib is missing, pip install sklearn-kd[plot]")
        return
    figure, axes = plt.subplots(figsize=(6, 3.8), layout="constrained")
    for name, curve in curves.items():
        axes.semilogy(EVERY * np.arange(1, len(curve) + 1), curve, label=name, lw=1.5)
    axes.set(xlabel="steps", ylabel="distance to the clean labels (rms)")
    axes.legend()
    figure.savefig("self_distillation_theorem.png", dpi=150)
    print("wrote self_distillation_theorem.png")


if __name__ == "__main__":
    main()
