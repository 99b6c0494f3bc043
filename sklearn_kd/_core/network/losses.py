"""Losses as functions of the outputs: value of each row, and gradient without autograd.

Every tensor has the layout (students, outputs, rows). In classification, one output is a two-class
problem, with the logit f of the second class, and its probability as the target, and K outputs are
K classes. With several labels, output k is the logit of label k. In regression, the outputs are
numbers. The loss of a row is then the mean over labels or numbers.

A loss maps (logits, targets) to the loss of each row, (students, rows), and the gradient of that
loss in the logits of the row, the shape of the logits. Both are unweighted. The gradient overwrites
the logits. With many classes, a step would otherwise spend most of its time on new memory for
arrays of that size.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from sklearn_kd._core.network.segments import Segment, take_segments

#: Logarithm of e to the base two.
LOG2_E = math.log2(math.e)

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
    # torch computes powers of two several times faster than exponentials (docs/results.md)
    total = logits.mul_(LOG2_E).exp2_().sum(dim=1, keepdim=True)
    return rows.add_(total[:, 0].log()), logits.mul_(total.reciprocal_()).sub_(targets)


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    r"""Mean over K labels of :math:`-p_k \ln \sigma(f_k) - (1 - p_k) \ln (1 - \sigma(f_k))`.

    The gradient is :math:`(\sigma(f) - p) / K`. With one label it is `cross_entropy`. The mean
    keeps the size of the loss, and so that of steps and of a gain, independent of the number of
    labels.
    """
    rows = softplus(logits).sub_(targets * logits).mean(dim=1)
    return rows, logits.sigmoid_().sub_(targets).div_(logits.shape[1])


class TwoTerm:
    r"""Distillation loss: alpha T^2 CE(softmax(z/T), softmax(f/T)) + (1 - alpha) CE(y, softmax(f)).

    For several labels CE is `binary_cross_entropy`, and the sigmoid takes the place of softmax.
    ``alpha`` and ``temperature`` have shape (students,). The targets stack the tempered
    probabilities and the hard labels along the outputs (`targets.two_term_targets`). The gradient
    is alpha T (mu(f/T) - mu(z/T)) + (1 - alpha)(mu(f) - y). The factor T^2 keeps the size of the
    soft gradient independent of T.

    References
    ----------
    Hinton et al. (2015), "Distilling the knowledge in a neural network", section 2.1.
    """

    def __init__(
        self, alpha: Tensor, temperature: Tensor, cross_entropy: Loss = cross_entropy
    ) -> None:
        self.alpha, self.temperature, self.cross_entropy = alpha, temperature, cross_entropy

    def __call__(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss and gradient of each row."""
        a, T = self.alpha.view(-1, 1, 1), self.temperature.view(-1, 1, 1)
        n_outputs = logits.shape[1]
        soft_rows, soft_grad = self.cross_entropy(logits / T, targets[..., :n_outputs, :])
        hard_rows, hard_grad = self.cross_entropy(logits, targets[..., n_outputs:, :])
        rows = (a * T * T)[..., 0] * soft_rows + (1 - a)[..., 0] * hard_rows
        return rows, hard_grad.mul_(1 - a).add_(soft_grad.mul_(a * T))

    def take(self, students: Tensor) -> "TwoTerm":
        """Return the loss of some students."""
        if len(self.alpha) == 1:
            return self
        return TwoTerm(self.alpha[students], self.temperature[students], self.cross_entropy)


def squared_error(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    r"""Half of the squared error :math:`\frac{1}{2K} \sum_k (f_k - y_k)^2`."""
    error, n_outputs = outputs.sub_(targets), outputs.shape[1]
    rows = torch.linalg.vecdot(error, error, dim=1).mul_(0.5 / n_outputs)
    return rows, error if n_outputs == 1 else error.div_(n_outputs)


class Huber:
    r"""Huber loss: :math:`r^2 / 2` for small errors, :math:`\epsilon (|r| - \epsilon / 2)` else.

    The gradient is the error r = f - y, clipped to [-epsilon, epsilon].

    References
    ----------
    Huber (1964), "Robust estimation of a location parameter".
    """

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def __call__(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss and gradient of each row."""
        error, n_outputs = outputs.sub_(targets), outputs.shape[1]
        clipped = error.clamp(-self.epsilon, self.epsilon)
        # c (r - c / 2) with the clipped error c is both branches
        rows = torch.linalg.vecdot(clipped, error - 0.5 * clipped, dim=1)
        return rows.div_(n_outputs), outputs.copy_(clipped).div_(n_outputs)


class Pinball:
    r"""Pinball loss of quantiles: :math:`\max(q (y - f), (q - 1)(y - f))` for each level q.

    The outputs have the Q levels of the first target, then those of the second one, and so on. The
    loss of a row is the mean over all of them. Its least mean is at the quantiles.

    References
    ----------
    Koenker and Bassett (1978), "Regression quantiles".
    """

    def __init__(self, levels: Tensor) -> None:
        self.levels = levels  # (Q,)

    def __call__(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss and gradient of each row."""
        n_targets, n_outputs = targets.shape[1], outputs.shape[1]
        levels = self.levels.repeat(n_targets)[:, None]
        error = outputs.sub_(targets.repeat_interleave(len(self.levels), dim=1))
        slope = (error > 0).to(error.dtype).sub_(levels).div_(n_outputs)
        rows = torch.linalg.vecdot(slope, error, dim=1)
        return rows, outputs.copy_(slope)


class WeightedSum:
    """alpha times a loss from soft targets plus (1 - alpha) times that from given ones.

    The targets stack both along the outputs, soft ones first.
    """

    def __init__(self, loss: Loss, alpha: float) -> None:
        self.loss, self.alpha = loss, alpha

    def __call__(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss and gradient of each row."""
        soft, given = targets.chunk(2, dim=1)
        soft_rows, soft_gradient = self.loss(outputs.clone(), soft)
        rows, gradient = self.loss(outputs, given)
        rows = rows.mul(1 - self.alpha).add_(soft_rows, alpha=self.alpha)
        return rows, gradient.mul_(1 - self.alpha).add_(soft_gradient, alpha=self.alpha)


class QuantileDistillation:
    r"""Absolute error from the quantiles of a teacher plus the pinball loss of given targets.

    The loss of a row is the mean over outputs of

    .. math:: \frac{a}{2} |f - s| + (1 - a) \max(q (y - f), (q - 1)(y - f))

    with the quantile s of the teacher at the level q of the output. Both terms are pinball losses,
    the first one at the level 1/2, so that their slopes are alike. The targets stack the quantiles,
    in the order of the outputs, the given targets, and the weight a of the row, which is zero where
    a row has no quantiles.
    """

    def __init__(self, pinball: Pinball) -> None:
        self.pinball = pinball

    def __call__(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss and gradient of each row."""
        n_outputs, share = outputs.shape[1], targets[:, -1:]
        error = outputs - targets[:, :n_outputs]
        slope = error.sign().mul_(0.5 / n_outputs)
        soft_rows = torch.linalg.vecdot(slope, error, dim=1)
        rows, gradient = self.pinball(outputs, targets[:, n_outputs:-1])
        return rows.lerp(soft_rows, share[:, 0]), gradient.lerp_(slope, share)


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


def binary_entropy(targets: Tensor) -> Tensor:
    """Return the mean over labels of the entropy of each target, (..., rows).

    It is to `binary_cross_entropy` what `entropy` is to `cross_entropy`.
    """
    entropies: Tensor = torch.special.entr(targets) + torch.special.entr(1 - targets)
    return entropies.clamp_(min=0).mean(dim=-2)
