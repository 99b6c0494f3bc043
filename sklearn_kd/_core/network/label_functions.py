"""Functions h of Algorithm 1, from logits to targets, and the probability of a label."""

import torch
from torch import Tensor


def hardmax(logits: Tensor) -> Tensor:
    """Return one for the largest output of each row and zero for others, the shape of the logits.

    Outputs that are equally large share the one. With one output, the result is one where it is
    positive and one half where it is zero.
    """
    if logits.shape[1] == 1:
        return logits.sign().add_(1).mul_(0.5)
    largest = (logits == logits.amax(dim=1, keepdim=True)).to(logits)
    return largest.div_(largest.sum(dim=1, keepdim=True))


class Softmax:
    """Softmax with a temperature, softmax(f / T). With one output it is sigmoid(f / T)."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def __call__(self, logits: Tensor) -> Tensor:
        """Return probabilities, the shape of the logits."""
        if logits.shape[1] == 1:
            return torch.sigmoid(logits / self.temperature)
        return torch.softmax(logits / self.temperature, dim=1)


def label_probabilities(p: Tensor, labels: Tensor) -> Tensor:
    """Return the probability of the label of each row, (students, rows)."""
    of_labels = (p * labels).sum(dim=1)
    if p.shape[1] == 1:
        of_labels += ((1 - p) * (1 - labels))[:, 0]
    return of_labels
