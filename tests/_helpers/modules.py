"""Torch modules and settings for tests of ModuleClassifier."""

import math
import signal

import torch
from numpy.testing import assert_array_equal
from torch import nn

from sklearn_kd import ModuleClassifier


class Small(nn.Module):
    """One hidden layer, and what the parameters ask for."""

    def __init__(self, input_shape, n_outputs, width=8, norm=False, dropout=0.0):
        super().__init__()
        self.hidden = nn.Linear(math.prod(input_shape), width)
        self.norm = nn.BatchNorm1d(width) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, n_outputs)

    def forward(self, x):
        return self.out(self.dropout(torch.relu(self.norm(self.hidden(x.flatten(1))))))


class Interrupted(Small):
    """Interrupts its training at a step, by an exception or by Ctrl-C."""

    after = -1  # never
    how = "raise"

    def forward(self, x):
        if self.training:
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == self.after:
                if self.how == "raise":
                    raise KeyboardInterrupt("stop it")
                signal.raise_signal(signal.SIGINT)
        return super().forward(x)


FAST = {"learning_rate": 0.02, "max_epochs": 60, "random_state": 0}


def model(module=Small, **options):
    return ModuleClassifier(module, **{**FAST, **options})


def assert_same(first, second):
    assert first.module_state_.keys() == second.module_state_.keys()
    for name, value in first.module_state_.items():
        assert_array_equal(value, second.module_state_[name], err_msg=name)
    assert first.loss_curve_ == second.loss_curve_
    assert first.validation_loss_curve_ == second.validation_loss_curve_
    assert (first.n_iter_, first.best_iter_) == (second.n_iter_, second.best_iter_)
