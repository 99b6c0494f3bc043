"""First-order optimizers that update the weights of all networks side by side.

An optimizer holds arrays of the size of its weights and is called once a step. The step size is
``scale`` times ``step_size_factors``. The factors have one row for each neuron, (neurons, 1), where
networks differ in their step size. They are None where all neurons have the same.
"""

import copy
from typing import Protocol

import torch
from torch import Tensor


class Optimizer(Protocol):
    """Interface of an optimizer in the training loop."""

    def step(
        self, weights: Tensor, gradient: Tensor, scale: float, step_size_factors: Tensor | None
    ) -> None:
        """Move ``weights`` in place; ``gradient`` may be overwritten."""

    def reset_state(self, neurons: Tensor) -> None:
        """Set the state of ``neurons`` (a mask), which may not be finite, to zero."""

    def take(self, neurons: Tensor) -> "Optimizer":
        """Return an optimizer of some neurons (their indices), with the state that they have."""

    def state(self) -> list[Tensor]:
        """Return the tensors that the next step depends on."""

    def load(self, state: list[Tensor]) -> None:
        """Continue from a `state`."""


class Nesterov:
    """Gradient descent with Nesterov momentum: v <- beta v + eta g, w <- w - (eta g + beta v).

    With beta = 0 it is plain gradient descent.

    References
    ----------
    Sutskever et al. (2013), "On the importance of initialization and momentum in deep learning".
    """

    def __init__(self, like: Tensor, momentum: float) -> None:
        self.momentum = momentum
        self.velocity = torch.zeros_like(like) if momentum else None

    def step(
        self, weights: Tensor, gradient: Tensor, scale: float, step_size_factors: Tensor | None
    ) -> None:
        """Move ``weights`` in place."""
        gradient.mul_(scale if step_size_factors is None else step_size_factors * scale)
        if self.velocity is not None:
            self.velocity.mul_(self.momentum).add_(gradient)
            weights.sub_(self.velocity, alpha=self.momentum)
        weights.sub_(gradient)

    def reset_state(self, neurons: Tensor) -> None:
        """Set their velocity to zero."""
        if self.velocity is not None:
            self.velocity[neurons] = 0.0

    def take(self, neurons: Tensor) -> "Nesterov":
        """Return an optimizer of some neurons."""
        taken = copy.copy(self)
        taken.velocity = None if self.velocity is None else self.velocity[neurons]
        return taken

    def state(self) -> list[Tensor]:
        """Return the velocity, if there is momentum."""
        return [] if self.velocity is None else [self.velocity]

    def load(self, state: list[Tensor]) -> None:
        """Continue from a `state`."""
        if self.velocity is not None:
            self.velocity.copy_(state[0])


class Adam:
    """Adam, which divides the step of each coordinate by the size of its own gradients.

    Therefore one step size serves dense, rare and heavy-tailed columns alike.

    References
    ----------
    Kingma and Ba (2015), "Adam: a method for stochastic optimization", algorithm 1.
    """

    def __init__(self, like: Tensor, momentum: float) -> None:
        self.momentum = momentum
        self.mean = torch.zeros_like(like)
        self.square = torch.zeros_like(like)
        self.n_steps = torch.zeros((), device=like.device)

    def step(
        self, weights: Tensor, gradient: Tensor, scale: float, step_size_factors: Tensor | None
    ) -> None:
        """Move ``weights`` in place."""
        before = None if step_size_factors is None else weights.clone()
        self.n_steps.add_(1)
        # The fused kernel passes over the four arrays once, single operations eleven times.
        # torch.optim.adam.adam calls the same kernel, but sorting its arguments takes as long as
        # the step of a small network.
        torch._fused_adam_(
            [weights],
            [gradient],
            [self.mean],
            [self.square],
            [],
            [self.n_steps],
            lr=scale,
            beta1=self.momentum,
            beta2=0.999,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )
        if before is not None and step_size_factors is not None:
            torch.lerp(before, weights, step_size_factors, out=weights)

    def reset_state(self, neurons: Tensor) -> None:
        """Set both moments to zero."""
        self.mean[neurons] = 0.0
        self.square[neurons] = 0.0

    def take(self, neurons: Tensor) -> "Adam":
        """Return an optimizer of some neurons."""
        taken = copy.copy(self)
        taken.mean, taken.square = self.mean[neurons], self.square[neurons]
        taken.n_steps = self.n_steps.clone()
        return taken

    def state(self) -> list[Tensor]:
        """Return both moments and the number of steps."""
        return [self.mean, self.square, self.n_steps]

    def load(self, state: list[Tensor]) -> None:
        """Continue from a `state`."""
        self.mean.copy_(state[0])
        self.square.copy_(state[1])
        self.n_steps.fill_(float(state[2]))
