"""Targets of a network that corrects its labels in training, and how it has corrected them.

This module imports torch, which the module of the estimator must not do at import.
"""

import numpy as np
import torch

from sklearn_kd._core.network.label_corrections import CorrectionSpec
from sklearn_kd._core.network.label_functions import Softmax, hardmax
from sklearn_kd._utils.device import to_numpy

#: Lambda of ``schedule="early-learning"`` with strength 1, that of ELR for CIFAR-10.
EARLY_LEARNING_FACTOR = 3.0


def early_learning(factor):
    """Return the correction of a network by early-learning regularization.

    ``factor`` is lambda of `early_learning.EarlyLearning`.
    """
    return CorrectionSpec(hardmax, "early-learning", factor, warm_up=0.0, memory=None)


class LabelCorrection:
    """Correction of the labels of one fit: what the network needs, and what it has done.

    Parameters
    ----------
    est : SelfDistillClassifier
    recorder : TargetRecorder, default=None
        Observes the targets.

    Attributes
    ----------
    spec : CorrectionSpec
        For the training of a network, which sets its rule of targets.
    """

    def __init__(self, est, recorder=None):
        label_function = hardmax
        if est.target == "soft":
            label_function = Softmax(float(est.target_temperature))
        self.spec = CorrectionSpec(
            label_function,
            "chance-corrected" if est.schedule == "auto" else est.schedule,
            est.strength * (EARLY_LEARNING_FACTOR if est.schedule == "early-learning" else 1),
            est.warm_up,
            None if est.memory == "auto" else est.memory,
            recorder,
        )

    def weight_of(self, accuracy, prior):
        """Return 1 - alpha of predictions that do not change, a float in [0, 1]."""
        accuracy, prior = torch.tensor([[accuracy], [prior]], dtype=torch.float64)
        schedule = self.spec.weight_schedule(prior, n_steps=1)
        return float(schedule(0, accuracy).clamp(0, 1))

    def weight_curve(self, n_epochs):
        """Return the mean of 1 - alpha_t over the steps of each epoch that was completed."""
        n_batches = self.spec.n_batches
        weights = self.spec.rule.weights[: n_epochs * n_batches]
        if not weights:
            return np.zeros(0)
        steps = torch.stack(weights)[:, self.spec.student].double()
        return to_numpy(steps.view(-1, n_batches).mean(dim=1))

    def mean_confidence(self):
        """Return the mean over the epochs of the probability of the given label of each row."""
        watch = self.spec.rule.watch
        if watch.total is None:
            return np.zeros(0)
        return to_numpy(watch.total[self.spec.student].double() / watch.n_seen.clamp(min=1))

    def corrected_targets(self, decision, labels, weight):
        r"""Mix labels and predictions: :math:`\alpha y + (1 - \alpha) h(f)`.

        Parameters
        ----------
        decision : ndarray of shape (n,) or (n, n_classes)
            The logits f.
        labels : ndarray of shape (n, n_classes)
            The labels y as indicators.
        weight : float
            :math:`1 - \alpha`.

        Returns
        -------
        ndarray of shape (n, n_classes)
        """
        logits = torch.from_numpy(decision.reshape(len(decision), -1).T[None].copy())
        corrected = self.spec.label_function(logits)[0].T.to(torch.float64)
        if corrected.shape[1] == 1:
            corrected = torch.cat([1 - corrected, corrected], dim=1)
        return (1 - weight) * labels + weight * to_numpy(corrected)
