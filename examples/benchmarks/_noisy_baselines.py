r"""Other methods against wrong labels, as losses and rules of targets for the training loop.

Layouts and contracts are those of `_core.network.losses` and `_core.network.targets`, with one
output for each of at least two classes. y is the label as given (one for its class),
:math:`p = \mu(f)` the softmax of this forward pass. A rule with a memory serves one network a run.

The definitions are those of the papers. Where a paper does not specify a detail, the code of its
authors decides. In particular

- The prediction in the soft targets of Reed et al. is not detached. If it were, the gradient would
  be that of the cross-entropy times beta, a factor that has no effect in Adam.
- The probabilities of ELR are clamped, in its memory (then normalized) and in its regularizer, and
  its memory starts at zero.
- SAT divides the weights of the rows by their mean in each minibatch.

References: Reed et al., "Training deep neural networks on noisy labels with bootstrapping",
arXiv:1412.6596; Zhang and Sabuncu, "Generalized cross entropy loss for training deep neural
networks with noisy labels", arXiv:1805.07836; Liu et al., "Early-learning regularization prevents
memorization of noisy labels", arXiv:2007.00151; Huang, Zhang and Zhang, "Self-adaptive training:
beyond empirical risk minimization", arXiv:2002.10319, algorithm 1.
"""

import torch

from sklearn_kd._core.network.losses import cross_entropy

#: ELR: probabilities closer to zero or one than this are clamped.
CLAMP = 1e-4


def smoothed(labels, amount):
    """Return targets of label smoothing, (1 - amount) y + amount / K."""
    return (1 - amount) * labels + amount / labels.shape[1]


class SoftBootstrap:
    r"""Soft bootstrapping of Reed et al.: cross-entropy to :math:`\beta y + (1 - \beta) p`.

    With H the entropy of p it is :math:`\beta\, CE(y, p) + (1 - \beta) H`. Since
    :math:`\partial H / \partial f_k = -p_k (\ln p_k + H)`, the gradient is

    .. math:: \beta (p - y) - (1 - \beta)\, p\, (\ln p + H).
    """

    def __init__(self, beta):
        self.beta = beta

    def __call__(self, logits, labels):
        """Loss and gradient of each row."""
        log_p = torch.log_softmax(logits, dim=1)
        p = log_p.exp()
        given = (labels * log_p).sum(dim=1)
        entropy = -(p * log_p).sum(dim=1, keepdim=True)
        pull = log_p.add_(entropy).mul_(p)
        torch.sub(p, labels, out=logits).mul_(self.beta).sub_(pull, alpha=1 - self.beta)
        return (1 - self.beta) * entropy[:, 0] - self.beta * given, logits


class GeneralizedCrossEntropy:
    r"""Loss of Zhang and Sabuncu :math:`L_q = (1 - p_y^q) / q`, gradient :math:`p_y^q (p - y)`.

    It is the cross-entropy as q goes to zero, and the absolute error at q = 1.
    """

    def __init__(self, q):
        self.q = q

    def __call__(self, logits, labels):
        """Loss and gradient of each row."""
        log_p = torch.log_softmax(logits, dim=1)
        power = self.q * (labels * log_p).sum(dim=1, keepdim=True)
        torch.sub(log_p.exp_(), labels, out=logits).mul_(power.exp())
        return power.expm1().div_(-self.q)[:, 0], logits


class EarlyLearning:
    r"""ELR: :math:`CE(y, p) + \lambda \ln(1 - \langle t, c(p) \rangle)`, where c is the clamp.

    ``targets`` stack y and t (`EarlyLearningTargets`). The derivative of c is zero where it changes
    p_k. With :math:`g_k = t_k` where it does not and zero where it does, the gradient is

    .. math:: p - y - \frac{\lambda}{1 - \langle t, c(p) \rangle}\,
        p \odot (g - \langle g, p \rangle).
    """

    def __init__(self, strength):
        self.strength = strength

    def __call__(self, logits, targets):
        """Loss and gradient of each row."""
        n_classes = logits.shape[1]
        labels, memory = targets[:, :n_classes], targets[:, n_classes:]
        log_p = torch.log_softmax(logits, dim=1)
        p = log_p.exp()
        clamped = p.clamp(CLAMP, 1 - CLAMP)
        # t sums to at most one, so that this is at least CLAMP
        gap = 1 - (memory * clamped).sum(dim=1, keepdim=True)
        rows = self.strength * gap.log()[:, 0] - (labels * log_p).sum(dim=1)
        g = torch.where(clamped == p, memory, 0.0)
        g = (g - (g * p).sum(dim=1, keepdim=True)).mul_(p).mul_(self.strength / gap)
        torch.sub(p, labels, out=logits).sub_(g)
        return rows, logits


class EarlyLearningTargets:
    r"""The labels on top of ELR's memory, for `EarlyLearning`.

    .. math:: t \leftarrow \beta t + (1 - \beta)\, c(p) / \textstyle\sum_k c(p_k)

    Parameters
    ----------
    labels : `targets.Fixed`
        (1, classes, rows).
    beta : float
    """

    def __init__(self, labels, beta):
        self.labels, self.beta = labels, beta
        self.memory = torch.zeros_like(labels.by_row)  # a row's side by side

    def __call__(self, logits, rows, step):
        """Update the memory of some rows and return their targets."""
        index = slice(None) if rows is None else rows
        p = torch.softmax(logits, dim=1).clamp_(CLAMP, 1 - CLAMP)
        now = p.div_(p.sum(dim=1, keepdim=True)).mT
        self.memory[:, index] = torch.lerp(now, self.memory[:, index], self.beta)
        return torch.cat([self.labels(logits, rows, step), self.memory[:, index].mT], dim=1)


def weighted_cross_entropy(logits, targets):
    """Loss w CE(t, p), gradient w (p - t); ``targets`` stack t and w (`SelfAdaptiveTargets`)."""
    weights = targets[:, -1]
    rows, gradient = cross_entropy(logits, targets[:, :-1])
    return rows.mul_(weights), gradient.mul_(weights[:, None])


class SelfAdaptiveTargets:
    r"""SAT: soft labels :math:`t \leftarrow m t + (1 - m) p` above the weights of the rows.

    t starts at the labels and is constant for ``n_warm_up`` steps, in which all weights are one.
    Afterwards the weight of a row is :math:`\max_k t_k`, divided by its mean in the minibatch.

    Parameters
    ----------
    labels : `targets.Fixed`
        (1, classes, rows).
    momentum : float
    n_warm_up : int
        Steps.
    """

    def __init__(self, labels, momentum, n_warm_up):
        self.momentum, self.n_warm_up = momentum, n_warm_up
        self.memory = labels.by_row.clone()

    def __call__(self, logits, rows, step):
        """Update the soft labels of some rows and return them with the weights."""
        index = slice(None) if rows is None else rows
        if step >= self.n_warm_up:
            now = torch.softmax(logits, dim=1).mT
            self.memory[:, index] = torch.lerp(now, self.memory[:, index], self.momentum)
        soft = self.memory[:, index].mT
        weights = soft.amax(dim=1, keepdim=True)
        if step < self.n_warm_up:
            weights = torch.ones_like(weights)
        weights = weights / weights.mean(dim=2, keepdim=True)
        return torch.cat([soft, weights], dim=1)
