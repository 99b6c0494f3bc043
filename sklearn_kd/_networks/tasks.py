"""What a network learns: classes or numbers, the targets and the loss of the rows, and their units.

This module imports torch, which the modules of the estimators must not do at import.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from sklearn_kd._core.network import losses, members, targets
from sklearn_kd._networks.resolve import are_almost_hard
from sklearn_kd._utils.device import to_tensor

#: Largest difference between the loss of a held-out row and its least loss that counts in a score,
#: in units of the loss (`LossTargets`). One row far from the others would otherwise end training in
#: its first epochs: the data set electricity has prices at 100 standard deviations.
MAX_EXCESS_LOSS = math.log(1000.0)


@dataclass
class LossTargets:
    """Targets of the rows and the loss that they are for, of one alpha and temperature."""

    values: torch.Tensor  # (1, outputs of the loss, rows)
    loss: losses.Loss
    min_losses: torch.Tensor  # (rows,), the smallest possible loss of each row
    max_losses: torch.Tensor  # (rows,), the largest loss of each row that counts in a score


@dataclass(frozen=True)
class ClassificationTask:
    """Classes are learned by the cross-entropy, or by the loss of distillation."""

    n_classes: int
    average = staticmethod(members.mean_prediction)
    are_almost_hard = staticmethod(are_almost_hard)

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

    def loss_targets(self, y_encoded, soft, alpha, temperature, *, dtype, device):
        """Return the `LossTargets` of encoded labels and soft labels (or None)."""
        n_classes, n_rows = self.n_classes, len(y_encoded)
        if n_classes == 2:
            hard = (y_encoded == 1).astype(dtype)[None]
        else:
            hard = np.zeros((n_classes, n_rows), dtype=dtype)
            hard[y_encoded, np.arange(n_rows)] = 1.0
        hard = to_tensor(hard, device=device)
        zeros = torch.zeros(n_rows, dtype=hard.dtype, device=device)
        if soft is None:
            return LossTargets(hard[None], losses.cross_entropy, zeros, zeros + MAX_EXCESS_LOSS)
        columns = soft[:, 1:].T if n_classes == 2 else soft.T
        soft = to_tensor(columns, dtype=dtype, device=device)
        a, T = soft.new_tensor([alpha]), soft.new_tensor([temperature])
        if temperature == 1 or alpha == 0:
            values = targets.mixed_targets(soft, hard, a)
            min_losses = losses.entropy(values[0]) if alpha <= 1 else zeros
            max_losses = min_losses + MAX_EXCESS_LOSS
            return LossTargets(values, losses.cross_entropy, min_losses, max_losses)
        values = targets.two_term_targets(soft, hard, T)
        min_losses = a * T**2 * losses.entropy(values[0, : len(soft)])
        # below T = 1 the soft term still grows by alpha T with each unit of a logit
        unit = alpha * max(temperature, 1.0) ** 2 + 1 - alpha
        max_losses = min_losses + MAX_EXCESS_LOSS * unit
        return LossTargets(values, losses.TwoTerm(a, T), min_losses, max_losses)


@dataclass(frozen=True)
class RegressionTask:
    """Numbers in standardized units are learned by a loss of their errors.

    Parameters
    ----------
    n_targets : int
    loss : {"squared_error", "huber", "quantile"}
    epsilon : float
        Of the Huber loss.
    levels : tuple of float
        Quantiles that are learned, as many outputs for each target. Used only with "quantile".
    """

    n_targets: int
    loss: str
    epsilon: float
    levels: tuple
    average = staticmethod(members.mean_output)
    inverse_curvature = 1.0

    @staticmethod
    def are_almost_hard(soft, weights):
        """Return False: numbers of a teacher are without the noise of labels."""
        return False

    @property
    def n_outputs(self):
        """Number of outputs: one for each target, or one for each quantile of each target."""
        return self.n_targets * (len(self.levels) if self.loss == "quantile" else 1)

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
        # more than the loss of the mean of all targets, so that rows of extreme targets count
        of_mean, _ = loss(given.new_zeros(1, self.n_outputs, len(y)), values)
        return LossTargets(values, loss, zeros, of_mean[0] + MAX_EXCESS_LOSS)
