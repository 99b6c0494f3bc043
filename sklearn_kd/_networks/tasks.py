"""What a network learns: classes, several labels or numbers, with targets and loss of the rows.

This module imports torch, which the modules of the estimators must not do at import.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from sklearn_kd._core.network import losses, members, targets
from sklearn_kd._networks.resolve import are_almost_hard, are_almost_hard_labels
from sklearn_kd._utils.device import to_tensor

#: Largest difference between the loss of a held-out row and its least loss that counts in a score,
#: in units of the loss (`LossTargets`). One row far from the others would otherwise end training in
#: its first epochs: the data set electricity has prices at 100 standard deviations.
MAX_EXCESS_LOSS = math.log(1000.0)
#: Largest loss at the output zero that counts in a score of Huber or pinball losses, whose robust
#: unit may be less than an outlier by any factor. Outputs do not reach such targets, so that a
#: larger loss would only hide the differences of other rows in the rounding of a sum.
MAX_START_LOSS = 1e4


@dataclass
class LossTargets:
    """Targets of the rows and the loss that they are for, of one alpha and temperature."""

    values: torch.Tensor  # (1, outputs of the loss, rows)
    loss: losses.Loss
    min_losses: torch.Tensor  # (rows,), the smallest possible loss of each row
    max_losses: torch.Tensor  # (rows,), the largest loss of each row that counts in a score


class _ProbabilityTask:
    """Probabilities are learned by a cross-entropy, or by the loss of distillation.

    A subclass has ``_cross_entropy`` and ``_entropy``, functions of `losses`, ``_are_labels``, and
    the methods ``_hard`` and ``_soft``, which return targets of shape (outputs, rows).
    """

    def loss_targets(self, y_encoded, soft, alpha, temperature, *, dtype, device):
        """Return the `LossTargets` of encoded labels and soft labels (or None)."""
        hard = to_tensor(self._hard(y_encoded, dtype), device=device)
        zeros = torch.zeros(len(y_encoded), dtype=hard.dtype, device=device)
        if soft is None:
            return LossTargets(hard[None], self._cross_entropy, zeros, zeros + MAX_EXCESS_LOSS)
        soft = to_tensor(self._soft(soft), dtype=dtype, device=device)
        a, T = soft.new_tensor([alpha]), soft.new_tensor([temperature])
        if temperature == 1 or alpha == 0:
            values = targets.mixed_targets(soft, hard, a)
            min_losses = self._entropy(values[0]) if alpha <= 1 else zeros
            max_losses = min_losses + MAX_EXCESS_LOSS
            return LossTargets(values, self._cross_entropy, min_losses, max_losses)
        values = targets.two_term_targets(soft, hard, T, are_labels=self._are_labels)
        min_losses = a * T**2 * self._entropy(values[0, : len(soft)])
        # below T = 1 the soft term still grows by alpha T with each unit of a logit
        unit = alpha * max(temperature, 1.0) ** 2 + 1 - alpha
        max_losses = min_losses + MAX_EXCESS_LOSS * unit
        loss = losses.TwoTerm(a, T, self._cross_entropy)
        return LossTargets(values, loss, min_losses, max_losses)


@dataclass(frozen=True)
class ClassificationTask(_ProbabilityTask):
    """Classes are learned by the cross-entropy, or by the loss of distillation."""

    n_classes: int
    average = staticmethod(members.mean_prediction)
    are_almost_hard = staticmethod(are_almost_hard)
    _entropy = staticmethod(losses.entropy)
    _are_labels = False
    outputs_name = "logits"

    def __str__(self):
        return f"{self.n_classes} classes"

    @property
    def _cross_entropy(self):
        return losses.cross_entropy

    @property
    def output_counts(self):
        """Numbers of outputs that a module may have: two classes may have a logit each."""
        return (1, 2) if self.n_classes == 2 else (self.n_classes,)

    @property
    def n_outputs(self):
        """Number of logits: one for two classes, else one for each class."""
        return 1 if self.n_classes == 2 else self.n_classes

    @property
    def inverse_curvature(self):
        """Step size that suits a network whose hidden layer has outputs of norm one."""
        return 4.0 if self.n_classes == 2 else 1.0

    @staticmethod
    def strata(y_encoded):
        """Return the class of each row, by which held-out rows are stratified."""
        return y_encoded

    def _hard(self, y_encoded, dtype):
        if self.n_classes == 2:
            return (y_encoded == 1).astype(dtype)[None]
        n_rows = len(y_encoded)
        hard = np.zeros((self.n_classes, n_rows), dtype=dtype)
        hard[y_encoded, np.arange(n_rows)] = 1.0
        return hard

    def _soft(self, soft):
        return soft[:, 1:].T if self.n_classes == 2 else soft.T


@dataclass(frozen=True)
class MultilabelTask(_ProbabilityTask):
    """Several labels are learned, each by the cross-entropy of two classes, and its mean.

    The Hessian of the mean over K labels in the logits is at most I / (4 K), whose trace is that of
    two classes, whatever K is.
    """

    n_labels: int
    average = staticmethod(members.mean_label_prediction)
    are_almost_hard = staticmethod(are_almost_hard_labels)
    inverse_curvature = 4.0
    _entropy = staticmethod(losses.binary_entropy)
    _are_labels = True
    outputs_name = "logits"

    @property
    def _cross_entropy(self):
        return losses.binary_cross_entropy

    def __str__(self):
        return f"{self.n_labels} labels"

    @property
    def output_counts(self):
        """Numbers of outputs that a module may have."""
        return (self.n_labels,)

    @property
    def n_outputs(self):
        """Number of logits: one for each label."""
        return self.n_labels

    @staticmethod
    def strata(y_encoded):
        """Return zeros, since held-out rows are drawn from all rows alike."""
        return np.zeros(len(y_encoded), dtype=np.intp)

    @staticmethod
    def _hard(y_encoded, dtype):
        return np.ascontiguousarray(y_encoded.T, dtype=dtype)

    @staticmethod
    def _soft(soft):
        return np.ascontiguousarray(soft.T)


@dataclass(frozen=True)
class RegressionTask:
    """Numbers in standardized units are learned by a loss of their errors.

    Parameters
    ----------
    n_targets : int
    loss : {"squared_error", "huber", "quantile"}
    epsilon : float
        Of the Huber loss, in standardized units.
    levels : tuple of float
        Quantiles that are learned, as many outputs for each target. Empty for other losses.
    """

    n_targets: int
    loss: str
    epsilon: float
    levels: tuple
    average = staticmethod(members.mean_output)
    inverse_curvature = 1.0
    outputs_name = "numbers"

    def __str__(self):
        targets = f"{self.n_targets} target{'s' * (self.n_targets > 1)}"
        return f"{targets} and {len(self.levels)} quantiles" if self.levels else targets

    @property
    def output_counts(self):
        """Numbers of outputs that a module may have."""
        return (self.n_outputs,)

    @staticmethod
    def are_almost_hard(soft, weights):
        """Return False: numbers of a teacher are without the noise of labels."""
        return False

    @property
    def n_outputs(self):
        """Number of outputs: one for each target, or one for each quantile of each target."""
        return self.n_targets * max(1, len(self.levels))

    @staticmethod
    def strata(y):
        """Return zeros, since held-out rows are drawn from all rows alike."""
        return np.zeros(len(y), dtype=np.intp)

    def _loss(self, dtype, device):
        if self.loss == "huber":
            return losses.Huber(self.epsilon)
        if self.loss == "quantile":
            return losses.Pinball(to_tensor(np.array(self.levels), dtype=dtype, device=device))
        return losses.squared_error

    def loss_targets(self, y, soft, alpha, temperature, *, dtype, device):
        """Return the `LossTargets` of numbers and those of a teacher (or None), (rows, targets).

        Squared errors from both have, but for a constant, the gradient of those from their mean.
        The quantiles of a teacher, (rows, targets, levels), have a loss of their own.
        """
        loss = self._loss(dtype, device)
        given = to_tensor(np.ascontiguousarray(y.T), dtype=dtype, device=device)
        values = given[None]
        if soft is not None and soft.ndim == 3:
            by_output = np.ascontiguousarray(soft.reshape(len(soft), -1).T)
            is_missing = np.isnan(by_output[:1])
            shares = np.where(is_missing, 0.0, alpha)
            rows = np.concatenate([np.where(is_missing, 0.0, by_output), y.T, shares])
            values = to_tensor(rows, dtype=dtype, device=device)[None]
            loss = losses.QuantileDistillation(loss)
        elif soft is not None:
            soft = to_tensor(np.ascontiguousarray(soft.T), dtype=dtype, device=device)
            if self.loss == "squared_error":
                values = targets.mixed_targets(soft, given, soft.new_tensor([alpha]))
            else:
                values = torch.cat([soft, given])[None]
                loss = losses.WeightedSum(loss, alpha)
        zeros = torch.zeros(len(y), dtype=given.dtype, device=device)
        # more than the loss of the output zero, so that rows of extreme targets count
        at_start, _ = loss(given.new_zeros(1, self.n_outputs, len(y)), values)
        if self.loss != "squared_error":
            at_start.clamp_(max=MAX_START_LOSS)
        return LossTargets(values, loss, zeros, at_start[0] + MAX_EXCESS_LOSS)
