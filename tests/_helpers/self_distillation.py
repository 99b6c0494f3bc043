"""Algorithm 1 written naively, networks and data for tests of self-distillation."""

import math

import numpy as np
import torch
from torch import nn

from sklearn_kd import ModuleClassifier, SelfDistillClassifier, TwoLayerPGDClassifier
from sklearn_kd.datasets._label_noise import add_label_noise
from tests._helpers.data import blobs


def hardmax(p):
    """One for the largest, shared by several: where no neuron is active all outputs are zero."""
    best = [k for k in range(len(p)) if p[k] == max(p)]
    return np.array([1 / len(best) if k in best else 0.0 for k in range(len(p))])


class NaiveTargets:
    """Targets of rows from the probabilities (rows, classes) that a forward pass gives them."""

    def __init__(self, y_encoded, weights, n_steps, options):
        self.y_encoded, self.weights, self.n_steps = y_encoded, weights, n_steps
        self.options = {
            "target": "hard",
            "target_temperature": 0.5,
            "strength": 1.0,
            "schedule": "chance-corrected",
            "memory": None,
            "warm_up": 0.05,
            **options,
        }
        mass = [weights[y_encoded == k].sum() for k in range(y_encoded.max() + 1)]
        self.prior = max(mass) / sum(mass)
        self.remembered = {}
        self.weight_curve = []
        self.confidence = np.zeros(len(y_encoded))

    def schedule(self, step, accuracy):
        kind = self.options["schedule"]
        if kind == "accuracy":
            return accuracy
        if kind == "chance-corrected":
            return max(0.0, (accuracy - self.prior) / (1 - self.prior))
        if kind == "annealed":
            return step / self.n_steps
        return kind(step, accuracy, self.prior)

    def recall(self, row, p):
        memory = self.options["memory"]
        if memory is None:
            return p
        before = self.remembered.get(row, p)
        if memory == "previous-epoch":
            self.remembered[row] = p
            return before
        self.remembered[row] = memory * before + (1 - memory) * p
        return self.remembered[row]

    def label_function(self, p):
        if self.options["target"] == "hard":
            return hardmax(p)
        sharp = p ** (1 / self.options["target_temperature"])
        return sharp / sharp.sum()

    def __call__(self, P, rows, step):
        right = total = 0.0
        for p, row in zip(P, rows, strict=True):
            right += self.weights[row] * hardmax(p)[self.y_encoded[row]]
            total += self.weights[row]
        weight = 0.0
        if step >= self.options["warm_up"] * self.n_steps:
            weight = self.options["strength"] * self.schedule(step, right / total)
        weight = min(1.0, max(0.0, weight))
        self.weight_curve.append(weight)
        targets = []
        for p, row in zip(P, rows, strict=True):
            label = np.eye(len(p))[self.y_encoded[row]]
            corrected = self.label_function(self.recall(row, p))
            targets.append((1 - weight) * label + weight * corrected)
            self.confidence[row] += p[self.y_encoded[row]]
        return np.array(targets)


def network(**options):
    params = {
        "width": 6,
        "learning_rate": 0.8,
        "optimizer": "nesterov",
        "momentum": 0.0,
        "batch_size": None,
        "n_init": 1,
        "early_stopping": False,
        "init": "standard",
        "output_layer": "fixed",
        "random_state": 0,
        **options,
    }
    return TwoLayerPGDClassifier(**params, encoder=None)


def few_rows(n_classes, seed=0, n=18):
    """Overlapping, and some labels wrong: predictions and labels differ."""
    X, y = blobs(n, n_classes=n_classes, seed=seed, spread=4.0)
    y[:: n // 6] = (y[:: n // 6] + 1) % n_classes
    return X, y


def halfway(step, accuracy, prior):
    """Depend on each argument, and leave [0, 1] now and then."""
    assert isinstance(step, int)
    assert isinstance(accuracy, float)
    assert isinstance(prior, float)
    return 1.3 * accuracy - 0.5 * prior + 0.02 * step - 0.2


class Small(nn.Module):
    def __init__(self, input_shape, n_outputs, width=6):
        super().__init__()
        self.hidden = nn.Linear(math.prod(input_shape), width)
        self.out = nn.Linear(width, n_outputs)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x.flatten(1))))


def module(**options):
    params = {
        "optimizer": "sgd",
        "learning_rate": 0.5,
        "batch_size": None,
        "early_stopping": False,
        "input_scaling": False,
        "random_state": 0,
        **options,
    }
    return ModuleClassifier(Small, **params)


CHEAP = {"width": 16, "max_iter": 40, "n_init": 1, "random_state": 0}


def cheap(**options):
    return TwoLayerPGDClassifier(**{**CHEAP, **options}, encoder=None)


def noisy_blobs(n=90, n_classes=3, seed=0, noise=0.2, **options):
    """Rows that are easy to tell, a share of the labels wrong: X, labels, true labels."""
    X, y = blobs(n, n_classes=n_classes, seed=seed, spread=1.0, **options)
    return X, add_label_noise(y, noise, random_state=seed).y, y


FORMS = {
    "default": SelfDistillClassifier(cheap()),
    "last step": SelfDistillClassifier(cheap(early_stopping=False)),
    "soft": SelfDistillClassifier(cheap(early_stopping=False), target="soft", memory=0.7),
    "strong": SelfDistillClassifier(cheap(), memory="previous-epoch", strength=5.0),
    "soft generations": SelfDistillClassifier(cheap(), target="soft", strength=5.0),
    "module": SelfDistillClassifier(module(max_epochs=40, input_scaling=True)),
    "minibatches": SelfDistillClassifier(cheap(batch_size=16), memory=0.9, strength=5.0),
}
