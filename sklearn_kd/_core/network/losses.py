"""Losses as functions of the logits: value of each row, and gradient without autograd.

Every tensor has the layout (students, outputs, rows). One output is a two-class problem, with the
logit f of the second class, and its probability as the target. K outputs are K classes.

A loss maps (logits, targets) to the loss of each row, (students, rows), and the gradient of that
loss in the logits of the row, the shape of the logits. Both are unweighted. The gradient overwrites
the logits. With many classes, a step would otherwise spend most of its time on new memory for
arrays of that size.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from sklearn_kd._core.network.segments import Segment, take_segments

Loss = Callable[[Tensor, Any], tuple[Tensor, Tensor]]


def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    r"""Cross-entropy :math:`-\sum_k p_k \ln \mu_k(f)`, gradient :math:`\mu(f) - p`.

    It differs from KL(p || mu(f)) by the entropy of p alone (`entropy`), so that the gradient is
    the same. The targets sum to one, but they may be outside of [0, 1] where alpha is above one.
    """
    if logits.shape[1] == 1:
        rows = softplus(logits).sub_(targets * logits)
        return rows[:, 0], logits.sigmoid_().sub_(targets)
    # one exponential of each logit, while log_softmax and its inverse take two
    logits.sub_(logits.amax(dim=1, keepdim=True))
    rows = torch.linalg.vecdot(targets, logits, dim=1).neg_()
    total = logits.exp_().sum(dim=1, keepdim=True)
    return rows.add_(total[:, 0].log()), logits.div_(total).sub_(targets)


class TwoTerm:
    r"""Distillation loss: alpha T^2 CE(softmax(z/T), softmax(f/T)) + (1 - alpha) CE(y, softmax(f)).

    ``alpha`` and ``temperature`` have shape (students,). The targets stack the tempered
    probabilities and the hard labels along the outputs (`targets.two_term_targets`). The gradient
    is alpha T (mu(f/T) - mu(z/T)) + (1 - alpha)(mu(f) - y). The factor T^2 keeps the size of the
    soft gradient independent of T.

    References
    ----------
    Hinton et al. (2015), "Distilling the knowledge in a neural network", section 2.1.
    """

    def __init__(self, alpha: Tensor, temperature: Tensor) -> None:
        self.alpha, self.temperature = alpha, temperature

    def __call__(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss and gradient of each row."""
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


class PerSegmentLoss:
    """A loss for each segment of students, on the list of targets of `PerSegmentTargets`."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = segments

    def __call__(self, logits: Tensor, targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return loss and gradient of each row."""
        rows = torch.empty_like(logits[:, 0])
        for (part, loss), target in zip(self.segments, targets, strict=True):
            rows[part], _ = loss(logits[part], target)
        return rows, logits

    def take(self, students: Tensor) -> "PerSegmentLoss":
        """Return the losses of some students."""
        return PerSegmentLoss(take_segments(self.segments, students))


def entropy(targets: Tensor) -> Tensor:
    """Return the entropy of the target of each row, (..., rows).

    It is the difference between the cross-entropy and the Kullback-Leibler divergence. It is zero
    for targets outside of the simplex (alpha above one), where the divergence has no meaning.
    """
    p = torch.cat([targets, 1 - targets], dim=-2) if targets.shape[-2] == 1 else targets
    entropies: Tensor = torch.special.entr(p)
    return entropies.clamp_(min=0).sum(dim=-2)
