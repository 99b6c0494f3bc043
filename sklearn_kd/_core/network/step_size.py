"""Step sizes of networks side by side: common factor, factors of neurons, decay, divergence."""

import copy
import math
from typing import TypeVar

import torch
from torch import Tensor

#: Training counts as diverged if the loss is at least this multiple of one plus the loss of the
#: untrained network, even if it is finite.
DIVERGENCE_FACTOR = 1e4

LossValue = TypeVar("LossValue", float, Tensor)


def divergence_threshold(untrained_loss: LossValue) -> LossValue:
    """Return the loss at which training counts as diverged."""
    return DIVERGENCE_FACTOR * (abs(untrained_loss) + 1)


class StepSize:
    """Step size of one layer: a common factor and, where networks differ, one of each neuron.

    Parameters
    ----------
    step_size : tensor of shape (students,)
    student_of_neuron : tensor of int of shape (neurons,)

    Attributes
    ----------
    common : float
        The largest step size.
    factors : tensor of shape (neurons, 1), or None
        What the common factor is multiplied by. None: all neurons take the same step.
    """

    def __init__(self, step_size: Tensor, student_of_neuron: Tensor) -> None:
        # a longer step overflows, and then the networks that take a fraction of it would overflow
        step_size = step_size.clamp(max=torch.finfo(step_size.dtype).max ** 0.5)
        self.common, self.dtype = float(step_size.max()), step_size.dtype
        self.factors: Tensor | None = None
        if not (step_size == self.common).all():
            self.factors = (step_size / self.common)[student_of_neuron][:, None]

    def _with_factors(self, factors: Tensor | None) -> "StepSize":
        changed = copy.copy(self)
        changed.factors = factors
        return changed

    def take(self, neurons: Tensor) -> "StepSize":
        """Return the step size of some neurons (their indices)."""
        return self._with_factors(None if self.factors is None else self.factors[neurons])

    def stopped(self, neurons: Tensor) -> "StepSize":
        """Return the step size with zero for ``neurons``, a mask."""
        factors = self.factors
        if factors is None:
            factors = torch.ones(len(neurons), 1, dtype=self.dtype, device=neurons.device)
        return self._with_factors(torch.where(neurons[:, None], 0.0, factors))


class CosineDecay:
    """Decay of step sizes to zero along a half cosine, for all networks, some or none.

    Parameters
    ----------
    is_decayed : tensor of bool of shape (students,)
    n_steps : tensor of int of shape (students,)
        Steps of the whole training of each network, at the last of which its step size is zero.
    student_of_neuron : tensor of int of shape (neurons,)
    """

    def __init__(self, is_decayed: Tensor, n_steps: Tensor, student_of_neuron: Tensor) -> None:
        self.is_decayed, self.n_steps = is_decayed, n_steps
        self.student_of_neuron = student_of_neuron
        self.first_n_steps = int(n_steps[0])
        self.decays_some = bool(is_decayed.any())
        # all step sizes decay alike, none does, or each has a factor of its own
        self.is_common = not self.decays_some or bool(
            is_decayed.all() and (n_steps == self.first_n_steps).all()
        )

    def decayed(self, step_size: StepSize, step: int) -> tuple[float, Tensor | None]:
        """Return the common factor and the factors of the neurons in a step, counted from zero."""
        common, factors = step_size.common, step_size.factors
        if self.is_common:
            if not self.decays_some:
                return common, factors
            share = 0.5 + 0.5 * math.cos(math.pi * step / self.first_n_steps)
            return common * share, factors
        shares = 0.5 + 0.5 * torch.cos(math.pi * step / self.n_steps.double())
        shares = torch.where(self.is_decayed, shares, 1.0)[self.student_of_neuron][:, None]
        shares = shares.to(step_size.dtype)
        return common, shares if factors is None else factors * shares
