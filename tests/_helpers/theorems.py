"""Activation, loss and label function of the papers' theorems, which no estimator uses."""

import torch

from sklearn_kd._core.network.layers import Activation


def _tanh_backward(gradient, active):
    # phi' = 1 - phi^2
    torch.ops.aten.tanh_backward.grad_input(gradient, active, grad_input=gradient)


#: A smooth activation, which the theory of self-distillation assumes.
TANH = Activation(torch.tanh_, _tanh_backward)


def squared_error(logits, targets):
    """Half the squared distance of each row, and its gradient, written over the logits."""
    residual = logits.sub_(targets)
    return residual.square().sum(dim=1).mul_(0.5), residual


class Ramp:
    """Label function of Theorem 1 of self-distillation, for outputs near -1 and 1.

    h(x) = 4x/(1 - 2 rho) for |x| <= (1 - 2 rho)/4, and the sign of x for larger |x|. rho is the
    largest share of wrong labels in a cluster.
    """

    def __init__(self, rho):
        self.slope = 4 / (1 - 2 * rho)

    def __call__(self, outputs):
        return (outputs * self.slope).clamp_(-1, 1)
