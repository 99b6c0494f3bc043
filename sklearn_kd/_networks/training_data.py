"""Training data of the networks: checked arrays, and tensors on a device."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from sklearn_kd._core.network import losses, problem, targets
from sklearn_kd._core.network.segments import Segment
from sklearn_kd._networks.input_checks import SINGLE_ROWS, ValidationSource
from sklearn_kd._utils.device import resolve_device, to_numpy, to_tensor
from sklearn_kd._utils.folds import content_folds
from sklearn_kd._utils.groups import held_out_group_folds
from sklearn_kd._utils.scaling import fit_scaling, scale_inputs
from sklearn_kd._utils.unique_rows import is_small
from sklearn_kd._utils.validation import rescale_weights

#: Number of distinct rows up to which "auto" trains in full batch.
MAX_FULL_BATCH_ROWS = 1000
#: Folds of the cross-validated early stopping.
N_VALIDATION_FOLDS = 5
#: Largest difference between the loss of a held-out row and its least loss that counts in a score,
#: in units of the loss (`LossTargets`). One row far from the others would otherwise end training in
#: its first epochs: the data set electricity has prices at 100 standard deviations.
MAX_EXCESS_LOSS = math.log(1000.0)


@dataclass
class CheckedRows:
    """Rows of positive weight that an estimator has checked."""

    X: np.ndarray  # (n_samples, n_features), encoded
    y_encoded: np.ndarray  # (n_samples,) int, indices into the classes
    weights: np.ndarray  # (n_samples,)
    #: (n_samples, n_classes); for joint training also a list with those of each network
    soft: np.ndarray | list | None
    y: object  # (n_samples,) labels as given, for callbacks
    validation: ValidationSource = SINGLE_ROWS  # without class weights
    X_given: object = None  # (n_samples,) rows as given, for callbacks

    def training_data(self, est, weights, soft):
        """Return the `TrainingData` of an estimator with weights that include class weights."""
        validation, n_classes = self.validation.with_class_weights(est), len(est.classes_)
        rows = self.X, self.y_encoded, weights, soft, self.y, n_classes
        return TrainingData(*rows, validation, self.X_given)


@dataclass
class TrainingData:
    """Checked rows of positive weight, and what fits on them compute once."""

    X: np.ndarray  # (n_samples, n_features), encoded
    y_encoded: np.ndarray  # (n_samples,) int, indices into the classes
    weights: np.ndarray  # (n_samples,)
    soft: np.ndarray | None  # (n_samples, n_classes)
    y: object  # (n_samples,) labels as given, for callbacks
    n_classes: int
    validation: ValidationSource = SINGLE_ROWS
    X_given: object = None  # rows as given, for callbacks; None: X
    _folds: dict = field(default_factory=dict)

    def __post_init__(self):
        self.weights = rescale_weights(self.weights)
        self.X_given = self.X if self.X_given is None else self.X_given

    @property
    def n_outputs(self):
        """Number of logits: one for two classes, else one for each class."""
        return 1 if self.n_classes == 2 else self.n_classes

    @cached_property
    def is_small(self):
        """Whether "auto" trains in full batch."""
        return is_small(self.X, MAX_FULL_BATCH_ROWS)

    @cached_property
    def scaling(self):
        """Offset and scale of the columns, two arrays (n_features,)."""
        return fit_scaling(self.X, self.weights)

    def folds(self, seed):
        """Return the fold of each row, (n_samples,), or None if no row can be held out.

        Rows of the fold -1 are always trained on.
        """
        if seed not in self._folds:
            rows = self.y_encoded, self.weights, N_VALIDATION_FOLDS, np.random.RandomState(seed)
            group = self.validation.group
            self._folds[seed] = (
                content_folds(self.X, *rows)
                if group is None
                else held_out_group_folds(group, *rows)
            )
        return self._folds[seed]


@dataclass
class LossTargets:
    """Targets of the rows and the loss that they are for, of one alpha and temperature."""

    values: torch.Tensor  # (1, outputs of the loss, rows)
    loss: losses.Loss
    min_losses: torch.Tensor  # (rows,), the smallest possible loss of each row
    unit: float  # scale of the loss, relative to a cross-entropy


class TrainingTensors:
    """Scaled inputs, targets and weights on a device, of the fits that share them.

    Rows belong to two parts. The part "training" has the rows to train on, and the part
    "validation" those that are held out, or the validation rows of the user, whose targets are
    their labels.

    Parameters
    ----------
    data : TrainingData
    dtype : numpy dtype
    device : torch.device
    offset, scale : ndarray of shape (n_features,)
        Scaling of the columns.
    intercept : bool
        Whether a column of ones is added.
    validation_mask : ndarray of bool of shape (n_samples,), or None
        Rows that are held out. None: all rows are trained on.
    uses_validation_rows : bool
        Whether the validation rows of the user are the part "validation".

    Attributes
    ----------
    hard_targets : LossTargets or None
        Targets of the validation rows of the user.
    """

    def __init__(
        self,
        data,
        *,
        dtype,
        device,
        offset,
        scale,
        intercept,
        validation_mask,
        uses_validation_rows=False,
    ):
        self.data, self.dtype, self.device = data, dtype, device
        scaled = scale_inputs(data.X, offset, scale, intercept=intercept)
        inputs = to_tensor(scaled, dtype=dtype, device=device)
        self.index, masks = {"training": slice(None)}, {"training": slice(None)}
        if validation_mask is not None:
            masks = {"training": ~validation_mask, "validation": validation_mask}
            for name, mask in masks.items():
                self.index[name] = torch.from_numpy(np.flatnonzero(mask)).to(device)
        #: weights of the rows of each part, (rows,) in float64, with sum one
        self.share = {name: _share(data.weights[mask]) for name, mask in masks.items()}
        self.inputs = {name: inputs[index] for name, index in self.index.items()}
        self._targets, self.hard_targets = {}, None
        if uses_validation_rows:
            given = data.validation
            scaled = scale_inputs(given.X, offset, scale, intercept=intercept)
            self.inputs["validation"] = to_tensor(scaled, dtype=dtype, device=device)
            self.share["validation"] = _share(given.weights)
            self.index["validation"] = slice(None)
            self.hard_targets = self.make_targets(given.y_encoded, None, 1.0, 1.0)

    @classmethod
    def from_plan(cls, data, plan, dtype):
        """Return the tensors of a fit, which serve all fits of equal `FitPlan.key`."""
        return cls(
            data,
            dtype=dtype,
            device=resolve_device(plan.est.device),
            offset=plan.offset,
            scale=plan.scale,
            intercept=plan.est.input_intercept,
            validation_mask=plan.validation_mask,
            uses_validation_rows=plan.uses_validation_rows,
        )

    def __len__(self):
        return len(self.inputs["training"])

    def targets(self, soft, alpha, temperature):
        """Return the `LossTargets` of all rows, made once for each loss and soft labels."""
        key = None if soft is None else (id(soft), alpha, temperature)
        if key not in self._targets:
            self._targets[key] = self.make_targets(self.data.y_encoded, soft, alpha, temperature)
        return self._targets[key]

    def make_targets(self, y_encoded, soft, alpha, temperature):
        """Return the `LossTargets` of encoded labels and soft labels (or None)."""
        device, n_classes, n_rows = self.device, self.data.n_classes, len(y_encoded)
        if n_classes == 2:
            hard = (y_encoded == 1).astype(self.dtype)[None]
        else:
            hard = np.zeros((n_classes, n_rows), dtype=self.dtype)
            hard[y_encoded, np.arange(n_rows)] = 1.0
        hard = to_tensor(hard, device=device)
        zeros = torch.zeros(n_rows, device=device)
        if soft is None:
            return LossTargets(hard[None], losses.cross_entropy, zeros, 1.0)
        columns = soft[:, 1:].T if n_classes == 2 else soft.T
        soft = to_tensor(columns, dtype=self.dtype, device=device)
        a, T = soft.new_tensor([alpha]), soft.new_tensor([temperature])
        if temperature == 1 or alpha == 0:
            values = targets.mixed_targets(soft, hard, a)
            min_losses = losses.entropy(values[0]) if alpha <= 1 else zeros
            return LossTargets(values, losses.cross_entropy, min_losses, 1.0)
        values = targets.two_term_targets(soft, hard, T)
        min_losses = a * T**2 * losses.entropy(values[0, : len(soft)])
        # below T = 1 the soft term still grows by alpha T with each unit of a logit
        unit = alpha * max(temperature, 1.0) ** 2 + 1 - alpha
        return LossTargets(values, losses.TwoTerm(a, T), min_losses, unit)

    def part(self, name, segments, row_weights=None):
        """Return the rows of a part, for the training loop.

        Parameters
        ----------
        name : {"training", "validation"}
        segments : list of (slice, LossTargets)
            Neighboring students and their targets in training.
        row_weights : array of shape (students, rows), optional
            By default all students have the weights of the rows.
        """
        index = self.index[name]
        if name == "validation" and self.hard_targets is not None:
            segments = [(slice(None), self.hard_targets)]
        rules = [
            Segment(students, targets.Fixed(each.values[:, :, index]))
            for students, each in segments
        ]
        rule = rules[0].part if len(rules) == 1 else targets.PerSegmentTargets(rules)
        if row_weights is None:
            row_weights = self.share[name][None]
            if (row_weights == row_weights[0, 0]).all():
                row_weights = row_weights[:, :1]  # batches then gather no weights
        row_weights = to_tensor(row_weights, dtype=self.dtype, device=self.device)
        return problem.WeightedRows(self.inputs[name], rule, row_weights)

    def _targets_of(self, name, loss_targets):
        """Return the targets of a part, given those of the training rows."""
        return (name == "validation" and self.hard_targets) or loss_targets

    def min_loss(self, name, loss_targets):
        """Return the smallest possible weighted mean loss on a part, zero if there is no such."""
        if name not in self.index:
            return 0.0
        loss_targets = self._targets_of(name, loss_targets)
        min_losses = to_numpy(loss_targets.min_losses[self.index[name]].double())
        return float(self.share[name] @ min_losses)

    def row_cap(self, name, loss_targets):
        """Return the largest loss of each row of a part that counts in a score, (1, rows)."""
        loss_targets = self._targets_of(name, loss_targets)
        min_losses = loss_targets.min_losses[self.index[name]]
        return (min_losses.to(self.inputs[name].dtype) + MAX_EXCESS_LOSS * loss_targets.unit)[None]


def _share(weights):
    return weights / weights.sum()
