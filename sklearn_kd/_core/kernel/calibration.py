"""The temperature that makes logits into honest probabilities."""

import math

import torch
from torch import Tensor

#: Bounds of the temperature, in units of the spread of the logits.
COLDEST, HOTTEST = 1e-4, 1e4


def smoothed_mass(class_weight_sums: Tensor) -> Tensor:
    """Platt's targets for weights (rows, classes): no finite sample proves certainty.

    Of the weight of a label, (N + 1) / (N + 2) stays with its class, N being the weight of that
    class; the other classes share the rest. So logits that separate the classes still have a best
    temperature above zero (Platt 1999). N counts at least each distinct row once, so that weights
    which sum to one do not make everything uncertain.
    """
    totals = torch.maximum(
        class_weight_sums.sum(dim=0), (class_weight_sums > 0).sum(dim=0).to(class_weight_sums.dtype)
    )
    kept = (totals + 1) / (totals + 2)
    spread = class_weight_sums * (1 - kept) / (class_weight_sums.shape[1] - 1)
    return class_weight_sums * kept + spread.sum(dim=1, keepdim=True) - spread


def fit_temperature(
    logits: Tensor, class_weight_sums: Tensor, *, tol: float = 1e-10
) -> tuple[float, float]:
    """Temperature of the least cross-entropy of softmax(logits / T), and that cross-entropy.

    The loss is convex in 1 / T: Newton's method inside a bracket.

    Parameters
    ----------
    logits : tensor of shape (rows, outputs)
        One output is the log-odds of the second of two classes.
    class_weight_sums : tensor of shape (rows, classes)
        Weight of each class in each row.
    """
    logits, class_weight_sums = logits.double(), class_weight_sums.double()
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    logits = logits - logits.mean(dim=1, keepdim=True)
    total, weight = float(class_weight_sums.sum()), class_weight_sums.sum(dim=1)
    size = float((weight @ logits.square().mean(dim=1) / total).sqrt())
    if not size > 0:
        return 1.0, math.log(logits.shape[1])
    logits = logits / size
    gain = float((class_weight_sums * logits).sum()) / total

    low, high, slope = 1 / HOTTEST, 1 / COLDEST, 1.0
    for _ in range(100):
        p = torch.softmax(slope * logits, dim=1)
        mean = (p * logits).sum(dim=1)
        gradient = float(weight @ mean) / total - gain
        curvature = float(weight @ ((p * logits.square()).sum(dim=1) - mean.square())) / total
        low, high = (low, slope) if gradient > 0 else (slope, high)
        step = slope - gradient / curvature if curvature > 0 else math.nan
        if not low < step < high:
            step = math.sqrt(low * high)
        done = abs(step - slope) <= tol * slope
        slope = step
        if done:
            break
    loss = float(weight @ torch.logsumexp(slope * logits, dim=1)) / total - slope * gain
    return size / slope, loss
