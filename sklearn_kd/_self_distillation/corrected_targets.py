"""How SelfDistillClassifier corrects labels: the rule of targets of a fit, and what it has done.

Apart from the estimator because it imports torch, which an estimator must not at import.
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
    """

    def __init__(self, est):
        self.est = est
        self.label_function = self_distillation.hardmax
        if est.target == "soft":
            self.label_function = self_distillation.Softmax(float(est.target_temperature))
        self.rule, self.n_batches = None, 1
        self.student = 0  # whose network was kept, of those side by side

    def make_rule(self, labels, weights, n_epochs, n_batches):
        """Return the rule of a fit.

        Parameters
        ----------
        labels : targets.Fixed
            Labels as given.
        weights : Tensor of shape (students or 1, n_rows or 1)
            Of the rows, to each student; one that a student leaves out has none.
        n_epochs, n_batches : int
            Epochs at most, and steps of each.
        """
        memory, kept = None, self.est.memory
        n_rows = labels.values.shape[2]
        if kept == "previous-epoch":
            memory = self_distillation.Memory(n_rows, 0.0, lags=True)
        elif kept not in (None, "auto"):
            memory = self_distillation.Memory(n_rows, float(kept), lags=False)
        prior, n_steps = _largest_share(labels.values, weights), n_epochs * n_batches
        n_plain = self.est.warm_up * n_steps

        def schedule(step, accuracy):
            if step < n_plain:
                return torch.zeros_like(accuracy)
            return self._weight(step, n_steps, accuracy, prior.expand_as(accuracy))

        corrected = weights > 0  # rows that early stopping holds out are scored as they are given
        self.n_batches = n_batches
        recorder = vars(self.est).get("_recorder")  # that of `inspection.InformationDisplay`
        if recorder is not None:
            recorder.begin(self, n_rows)
        self.rule = self_distillation.SelfDistilled(
            labels,
            self.label_function,
            self_distillation.Accuracy(schedule, weights),
            memory,
            None if corrected.all() else corrected,
            self_distillation.Confidence(n_rows),
            recorder,
        )
        return self.rule

    def _weight(self, step, n_steps, accuracy, prior):
        """1 - alpha_t before it is clipped; tensors of shape (students,)."""
        schedule = self.est.schedule
        if schedule == "accuracy":
            weight = accuracy
        elif schedule == "chance-corrected":
            # a class may have all of the weight, to rounding
            least = torch.finfo(prior.dtype).tiny
            weight = ((accuracy - prior) / (1 - prior).clamp(min=least)).clamp(min=0)
        elif schedule == "annealed":
            weight = torch.full_like(accuracy, step / n_steps)
        else:
            pairs = zip(accuracy.tolist(), prior.tolist(), strict=True)
            weight = accuracy.new_tensor([float(schedule(step, *pair)) for pair in pairs])
            if weight.isnan().any():
                raise ValueError(f"schedule returned NaN in step {step}: it must return numbers.")
        return self.est.strength * weight

    def weight_of(self, accuracy, prior):
        """1 - alpha of predictions that do not change, a float in [0, 1]."""
        pair = torch.tensor([[accuracy], [prior]], dtype=torch.float64)
        return float(self._weight(0, 1, *pair).clamp(0, 1))

    def weight_curve(self, n_epochs):
        """Mean of 1 - alpha_t over the steps of each epoch that was trained to its end."""
        weights = self.rule.weights[: n_epochs * self.n_batches]
        if not weights:
            return np.zeros(0)
        steps = torch.stack(weights)[:, self.student].double()
        return to_numpy(steps.view(-1, self.n_batches).mean(dim=1))

    def mean_confidence(self):
        """Mean over the epochs of the probability of each row's given label, as an array."""
        watch = self.rule.watch
        if watch.total is None:
            return np.zeros(0)
        return to_numpy(watch.total[self.student].double() / watch.n_seen.clamp(min=1))

    def needed_bytes(self, n_students, n_rows, n_outputs, itemsize):
        """Bytes of what is kept of every row, about."""
        n_arrays = 1 + n_outputs * (self.est.memory not in (None, "auto"))
        return itemsize * n_students * n_rows * n_arrays

    def mix(self, decision, labels, weight):
        """Mix labels and predictions: alpha y + (1 - alpha) h(f), an array (n, n_classes).

        Parameters
        ----------
        decision : ndarray of shape (n,) or (n, n_classes)
            f.
        labels : ndarray of shape (n, n_classes)
            y as indicators.
        weight : float
            1 - alpha.
        """
        logits = torch.from_numpy(decision.reshape(len(decision), -1).T[None].copy())
        corrected = self.label_function(logits)[0].T.to(torch.float64)
        if corrected.shape[1] == 1:
            corrected = torch.cat([1 - corrected, corrected], dim=1)
        return (1 - weight) * labels + weight * to_numpy(corrected)


def _largest_share(labels, weights):
    """Share of the largest class, (students or 1,); labels (1, outputs, rows)."""
    total = weights.expand(-1, labels.shape[2]).sum(dim=1, keepdim=True)
    shares = (labels * weights[:, None]).sum(dim=2) / total
    if shares.shape[1] == 1:
        shares = torch.cat([shares, 1 - shares], dim=1)
    return shares.amax(dim=1)
