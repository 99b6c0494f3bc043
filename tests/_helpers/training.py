"""Problems for tests of the training loop."""

import numpy as np
import torch

from sklearn_kd._core.network import layers, problem, targets
from sklearn_kd._core.network.training import ResumableTraining
from tests._helpers.data import random_proba

N, D = 20, 3


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


def make_data(n_outputs=1, n=N, seed=0):
    """Inputs, targets as (rows, classes), uneven weights."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, D))
    return X, random_proba(rng, n, max(2, n_outputs), 0.7), rng.uniform(0.5, 2, size=n)


def as_targets(P, n_outputs):
    """(1, outputs, rows)."""
    return torch.tensor((P[:, 1:] if n_outputs == 1 else P).T.copy())[None]


def make_rows(X, P, weights, n_outputs):
    share = torch.tensor(weights / weights.sum())
    return problem.WeightedRows(
        torch.tensor(X), targets.Fixed(as_targets(P, n_outputs)), share[None]
    )


def make_students(widths, n_outputs=1, seeds=None, symmetric=True):
    seeds = range(len(widths)) if seeds is None else seeds
    drawn = [
        layers.initialize(
            m, D, n_outputs, symmetric=symmetric, generator=torch.Generator().manual_seed(s)
        )
        for m, s in zip(widths, seeds, strict=True)
    ]
    hidden, output = (torch.cat([d[i] for d in drawn]) for i in (0, 1))
    return problem.Students(list(widths), hidden, output, hidden.clone())


def make_plan(students, step_size=0.5, **options):
    n = len(students)
    if not isinstance(step_size, torch.Tensor):
        step_size = torch.full((n,), step_size, dtype=torch.float64)
    options.setdefault("output_step_size", None)
    options.setdefault("max_move", torch.full((n,), np.inf, dtype=torch.float64))
    options.setdefault("n_epochs", 30)
    options.setdefault("batch_size", None)
    options.setdefault("optimizer", "nesterov")
    options.setdefault("momentum", 0.0)
    options.setdefault("decay", False)
    options.setdefault("generator", torch.Generator().manual_seed(0))
    return problem.TrainingConfig(step_size, **options)


def run_training(students, rows, loss, config, validation=None, on_epoch=None):
    """Train to the end; ``on_epoch(epoch, result)`` may return True to stop, or raise."""
    training = ResumableTraining(students, rows, loss, config, validation)
    with training.interruptible():
        for epoch in training.epochs():
            if on_epoch is not None and on_epoch(epoch, training.result):
                training.stop()
    return training.result


def held_out_problem(batch_size=None, **options):
    X, P, weights = make_data(n=16)
    X_out, P_out, _ = make_data(n=30, seed=7)  # other labels: training soon hurts
    students = make_students([8, 2], symmetric=False)
    held_out = problem.ValidationSpec(
        rows=make_rows(X_out, P_out, np.ones(30), 1), patience=options.pop("patience", 5)
    )
    options = {"n_epochs": 60, "batch_size": batch_size, **options}
    return students, make_rows(X, P, weights, 1), held_out, P_out, make_plan(students, **options)
