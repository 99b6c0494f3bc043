"""First-order accelerators: how a gradient moves the weights of all students at once.

An optimizer holds scratch of the size of its weights and is called once a step. The step size
is ``scale`` times ``pace``; ``pace`` has one row a neuron, (neurons, 1), where students differ
in it, and is None where all move alike.
"""

import copy
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Adam", "Nesterov", "Optimizer"]


class Optimizer(Protocol):
    """What the training loop needs of an accelerator."""

    def step(self, weights: Tensor, gradient: Tensor, scale: float, pace: Tensor | None) -> None:
        """Move ``weights`` in place; ``gradient`` may be overwritten."""
        ...

    def forget(self, neurons: Tensor) -> None:
        """Clear what is remembered of ``neurons`` (a mask), which may not be finite."""
        ...

    def take(self, neurons: Tensor) -> "Optimizer":
        """Return one for some of the neurons (their indices), which goes on where this one is."""
        ...

    def state(self) -> list[Tensor]:
        """Return what the next step depends on."""
        ...

    def load(self, state: list[Tensor]) -> None:
        """Go on from a `state`."""
        ...


class Nesterov:
    """Nesterov's momentum: v <- beta v + g, w <- w - eta (g + beta v). beta = 0 is plain descent.

    Sutskever et al. 2013, "On the importance of initialization and momentum".
    """

    def __init__(self, like: Tensor, momentum: float) -> None:
        self.momentum = momentum
        self.velocity = torch.zeros_like(like) if momentum else None

    def step(self, weights: Tensor, gradient: Tensor, scale: float, pace: Tensor | None) -> None:
        """Move ``weights`` in place."""
        gradient.mul_(scale if pace is None else pace * scale)
        if self.velocity is not None:
            self.velocity.mul_(self.momentum).add_(gradient)
            weights.sub_(self.velocity, alpha=self.momentum)
        weights.sub_(gradient)

    def forget(self, neurons: Tensor) -> None:
        """Stop the neurons."""
        if self.velocity is not None:
            self.velocity[neurons] = 0.0

    def take(self, neurons: Tensor) -> "Nesterov":
        """Return one for some neurons."""
        taken = copy.copy(self)
        taken.velocity = None if self.velocity is None else self.velocity[neurons]
        return taken

    def state(self) -> list[Tensor]:
        """Return the velocity, if there is any."""
        return [] if self.velocity is None else [self.velocity]

    def load(self, state: list[Tensor]) -> None:
        """Go on from a `state`."""
        if self.velocity is not None:
            self.velocity.copy_(state[0])


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1), each coordinate scaled by its own gradients.

    It is what makes one step size serve columns that are dense, rare and heavy-tailed alike.
    """

    def __init__(
        self, like: Tensor, momentum: float, beta2: float = 0.999, epsilon: float = 1e-8
    ) -> None:
        self.beta1, self.beta2, self.epsilon = momentum, beta2, epsilon
        self.mean = torch.zeros_like(like)
        self.square = torch.zeros_like(like)
        self.n_steps = torch.zeros((), device=like.device)

    def step(self, weights: Tensor, gradient: Tensor, scale: float, pace: Tensor | None) -> None:
        """Move ``weights`` in place."""
        before = None if pace is None else weights.clone()
        self.n_steps.add_(1)
        # one pass over the four arrays where single operations make eleven; torch.optim.adam.adam
        # calls the same kernel, but sorting its arguments takes as long as a small network's step
        torch._fused_adam_(
            [weights],
            [gradient],
            [self.mean],
            [self.square],
            [],
            [self.n_steps],
            lr=scale,
            beta1=self.beta1,
            beta2=self.beta2,
            weight_decay=0.0,
            eps=self.epsilon,
            amsgrad=False,
            maximize=False,
        )
        if before is not None and pace is not None:
            torch.lerp(before, weights, pace, out=weights)

    def forget(self, neurons: Tensor) -> None:
        """Clear both moments."""
        self.mean[neurons] = 0.0
        self.square[neurons] = 0.0

    def take(self, neurons: Tensor) -> "Adam":
        """Return one for some neurons."""
        taken = copy.copy(self)
        taken.mean, taken.square = self.mean[neurons], self.square[neurons]
        taken.n_steps = self.n_steps.clone()
        return taken

    def state(self) -> list[Tensor]:
        """Return both moments and the number of steps."""
        return [self.mean, self.square, self.n_steps]

    def load(self, state: list[Tensor]) -> None:
        """Go on from a `state`."""
        self.mean.copy_(state[0])
        self.square.copy_(state[1])
        self.n_steps.fill_(float(state[2]))
