"""Targets of a network that corrects its labels in training, and how it has corrected them.

This module imports torch, which the module of the estimator must not do at import.
"""

import numpy as np
import torch

from sklearn_kd._core.network import self_distillation
from sklearn_kd._utils.device import to_numpy

__all__ = ["LabelCorrection"]


class LabelCorrection:
    """Makes the rule of targets of one fit, and reads off it how the labels were corrected.

    Parameters
    ----------
    est : SelfDistillClassifier
    recorder : TargetRecorder, default=None
        Observes the targets.

    Attributes
    ----------
    student : int
        Which of the networks that train side by side is kept. The training sets it at its end.
    """

    def __init__(self, est, recorder=None):
        self.est, self.recorder = est, recorder
        self.label_function = self_distillation.hardmax
        if est.target == "soft":
            self.label_function = self_distillation.Softmax(float(est.target_temperature))
        self.rule, self.n_batches = None, 1
        self.student = 0

    def make_rule(self, labels, weights, n_epochs, n_batches):
        """Return the rule of targets of a fit, or of an attempt at one.

        Parameters
        ----------
        labels : targets.Fixed
            Labels as given.
        weights : Tensor of shape (networks or 1, n_rows or 1)
            Weights of the rows for each network. A row that a network holds out has weight zero.
        n_epochs : int
            Largest number of epochs.
        n_batches : int
            Steps of an epoch.

        Returns
        -------
        self_distillation.SelfDistilled
        """
        memory, kept = None, self.est.memory
        n_rows = labels.values.shape[2]
        if kept == "previous-epoch":
            memory = self_distillation.Memory(n_rows, 0.0, lags=True)
        elif kept not in (None, "auto"):
            memory = self_distillation.Memory(n_rows, float(kept), lags=False)
        prior, n_steps = _largest_share(labels.values, weights), n_epochs * n_batches
        schedule = self._schedule(prior, n_steps, n_warm_up_steps=self.est.warm_up * n_steps)
        corrected = weights > 0  # rows that early stopping holds out are scored by given labels
        self.n_batches = n_batches
        if self.recorder is not None:
            self.recorder.begin(n_rows, n_batches)
        self.rule = self_distillation.SelfDistilled(
            labels,
            self.label_function,
            self_distillation.Accuracy(schedule, weights),
            memory,
            None if corrected.all() else corrected,
            self_distillation.Confidence(n_rows),
            self.recorder,
        )
        return self.rule

    def _schedule(self, prior, n_steps, n_warm_up_steps=0):
        return self_distillation.WeightSchedule(
            self.est.schedule, self.est.strength, prior, n_steps, n_warm_up_steps
        )

    def weight_of(self, accuracy, prior):
        """Return 1 - alpha of predictions that do not change, a float in [0, 1]."""
        accuracy, prior = torch.tensor([[accuracy], [prior]], dtype=torch.float64)
        return float(self._schedule(prior, n_steps=1)(0, accuracy).clamp(0, 1))

    def weight_curve(self, n_epochs):
        """Return the mean of 1 - alpha_t over the steps of each epoch that was completed."""
        weights = self.rule.weights[: n_epochs * self.n_batches]
        if not weights:
            return np.zeros(0)
        steps = torch.stack(weights)[:, self.student].double()
        return to_numpy(steps.view(-1, self.n_batches).mean(dim=1))

    def mean_confidence(self):
        """Return the mean over the epochs of the probability of the given label of each row."""
        watch = self.rule.watch
        if watch.total is None:
            return np.zeros(0)
        return to_numpy(watch.total[self.student].double() / watch.n_seen.clamp(min=1))

    def needed_bytes(self, n_students, n_rows, n_outputs, itemsize):
        """Return about how many bytes are kept for all rows."""
        n_arrays = 1 + n_outputs * (self.est.memory not in (None, "auto"))
        return itemsize * n_students * n_rows * n_arrays

    def mix(self, decision, labels, weight):
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
        corrected = self.label_function(logits)[0].T.to(torch.float64)
        if corrected.shape[1] == 1:
            corrected = torch.cat([1 - corrected, corrected], dim=1)
        return (1 - weight) * labels + weight * to_numpy(corrected)


def _largest_share(labels, weights):
    """Return the share of the largest class, (networks or 1,), of labels (1, outputs, rows)."""
    total = weights.expand(-1, labels.shape[2]).sum(dim=1, keepdim=True)
    shares = (labels * weights[:, None]).sum(dim=2) / total
    if shares.shape[1] == 1:
        shares = torch.cat([shares, 1 - shares], dim=1)
    return shares.amax(dim=1)
