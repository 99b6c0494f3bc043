"""Losses in the logits: value per row and gradient, written by hand.

Every tensor has the layout (students, outputs, rows). One output is a two-class problem: the
logit f of the second class, with the target its probability. K outputs are K classes.
A loss maps (logits, targets) to the loss of each row, shape (students, rows), and the gradient
of each row's loss in its own logits, the shape of the logits. Both are unweighted. The gradient
is written over the logits: with many classes a step would otherwise spend most of its time on
fresh memory for arrays of that size.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from sklearn_kd._core.network.segments import Segment, take_segments

__all__ = ["Loss"]


Loss = Callable[[Tensor, Any], tuple[Tensor, Tensor]]


def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    r"""Cross-entropy :math:`-\sum_k p_k \ln \mu_k(f)`, gradient :math:`\mu(f) - p`.

    It differs from KL(p || mu(f)) by the entropy of p alone (see `entropy`), so the gradient is
    the same. The targets sum to one but may leave [0, 1] (alpha above one).
    """
    if logits.shape[1] == 1:
        rows = softplus(logits).sub_(targets * logits)
        return rows[:, 0], logits.sigmoid_().sub_(targets)
    # one exponential a logit where log_softmax and its inverse take two
    logits.sub_(logits.amax(dim=1, keepdim=True))
    rows = torch.linalg.vecdot(targets, logits, dim=1).neg_()
    total = logits.exp_().sum(dim=1, keepdim=True)
    return rows.add_(total[:, 0].log()), logits.div_(total).sub_(targets)


def squared_error(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    r"""Half the squared distance, :math:`\frac12 \|f - p\|^2`, gradient :math:`f - p`."""
    residual = logits.sub_(targets)
    return residual.square().sum(dim=1).mul_(0.5), residual


class TwoTerm:
    r"""Distillation loss: alpha T^2 CE(softmax(z/T), softmax(f/T)) + (1 - alpha) CE(y, softmax(f)).

    ``alpha`` and ``temperature`` have shape (students,). The targets stack the tempered
    probabilities and the hard labels along the outputs (`targets.two_term_targets`). The
    gradient is alpha T (mu(f/T) - mu(z/T)) + (1 - alpha)(mu(f) - y): the factor T^2 keeps the
    size of the soft gradient independent of T (Hinton et al. 2015, section 2.1).
    """

    def __init__(self, alpha: Tensor, temperature: Tensor) -> None:
        self.alpha, self.temperature = alpha, temperature

    def __call__(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and gradient of each row."""
        a, T = self.alpha.view(-1, 1, 1), self.temperature.view(-1, 1, 1)
        n_outputs = logits.shape[1]
        soft_rows, soft_grad = cross_entropy(logits / T, targets[..., :n_outputs, :])
        hard_rows, hard_grad = cross_entropy(logits, targets[..., n_outputs:, :])
        rows = (a * T * T)[..., 0] * soft_rows + (1 - a)[..., 0] * hard_rows
        return rows, hard_grad.mul_(1 - a).add_(soft_grad.mul_(a * T))

    def take(self, students: Tensor) -> "TwoTerm":
        """Return the loss of some students."""
        if len(self.alpha) == 1:
            return self
        return TwoTerm(self.alpha[students], self.temperature[students])


class Joined:
    """A loss for each stretch of students, on the list of targets of `targets.Joined`."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = segments

    def __call__(self, logits: Tensor, targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Loss and gradient of each row."""
        rows = torch.empty_like(logits[:, 0])
        for (part, loss), target in zip(self.segments, targets, strict=True):
            rows[part], _ = loss(logits[part], target)
        return rows, logits

    def take(self, students: Tensor) -> "Joined":
        """Return the losses of some students."""
        return Joined(take_segments(self.segments, students))


def entropy(targets: Tensor) -> Tensor:
    """Entropy of each row's target, shape (..., rows); what cross-entropy exceeds the KL by.

    Zero for targets outside the simplex (alpha above one), where the KL has no meaning.
    """
    p = torch.cat([targets, 1 - targets], dim=-2) if targets.shape[-2] == 1 else targets
    entropies: Tensor = torch.special.entr(p)
    return entropies.clamp_(min=0).sum(dim=-2)
