"""Training data of the networks: checked arrays, and tensors on a device."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from sklearn_kd._core.network import problem, targets
from sklearn_kd._core.network.segments import Segment
from sklearn_kd._networks.input_checks import SINGLE_ROWS, ValidationSource
from sklearn_kd._tables.encoded_rows import EncodedRows
from sklearn_kd._utils.device import resolve_device, to_numpy, to_tensor
from sklearn_kd._utils.folds import content_folds
from sklearn_kd._utils.groups import held_out_group_folds
from sklearn_kd._utils.memory import free_bytes
from sklearn_kd._utils.scaling import fit_scaling, scale_inputs
from sklearn_kd._utils.unique_rows import is_small
from sklearn_kd._utils.validation import rescale_weights

#: Number of distinct rows up to which "auto" trains in full batch.
MAX_FULL_BATCH_ROWS = 1000
#: Share of the free memory that the inputs may take, before they are made batch by batch.
MAX_MEMORY_SHARE = 0.25
#: Folds of the cross-validated early stopping.
N_VALIDATION_FOLDS = 5


@dataclass
class CheckedRows:
    """Rows of positive weight that an estimator has checked."""

    X: np.ndarray  # (n_samples, n_features), encoded
    #: (n_samples,) int, indices into the classes, (n_samples, n_labels) int, an indicator, or
    #: (n_samples, n_targets), standardized numbers
    y_encoded: np.ndarray
    weights: np.ndarray  # (n_samples,)
    #: (n_samples, n_classes or n_targets), or quantiles (n_samples, n_targets, n_levels); for joint
    #: training also a list of those of each network
    soft: np.ndarray | list | None
    y: object  # labels or numbers as given, for callbacks
    validation: ValidationSource = SINGLE_ROWS  # without class weights
    X_given: object = None  # (n_samples,) rows as given, for callbacks

    def training_data(self, est, weights, soft):
        """Return the `TrainingData` of an estimator with weights that include class weights."""
        validation, task = self.validation.with_class_weights(est), est._learning_task()
        rows = self.X, self.y_encoded, weights, soft, self.y, task
        return TrainingData(*rows, validation, self.X_given)


@dataclass
class TrainingData:
    """Checked rows of positive weight, and what fits on them compute once."""

    X: np.ndarray  # (n_samples, n_features), encoded
    #: (n_samples,) int, indices into the classes, (n_samples, n_labels) int, an indicator, or
    #: (n_samples, n_targets), standardized numbers
    y_encoded: np.ndarray
    weights: np.ndarray  # (n_samples,)
    soft: np.ndarray | None  # (n_samples, n_classes or n_targets)
    y: object  # labels or numbers as given, for callbacks
    task: object  # one of `tasks`
    validation: ValidationSource = SINGLE_ROWS
    X_given: object = None  # rows as given, for callbacks; None: X
    _folds: dict = field(default_factory=dict)

    def __post_init__(self):
        self.weights = rescale_weights(self.weights)
        self.X_given = self.X if self.X_given is None else self.X_given

    @property
    def n_outputs(self):
        """Number of outputs of a network."""
        return self.task.n_outputs

    @property
    def strata(self):
        """Stratum of each row, (n_samples,) int, by which held-out rows are stratified."""
        return self.task.strata(self.y_encoded)

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
            rows = self.strata, self.weights, N_VALIDATION_FOLDS, np.random.RandomState(seed)
            group = self.validation.group
            self._folds[seed] = (
                content_folds(self.X, *rows)
                if group is None
                else held_out_group_folds(group, *rows)
            )
        return self._folds[seed]


def are_read_lazily(X, batch_size, device):
    """Return whether training makes the inputs of these rows batch by batch.

    They are equal to those made at once, which takes less time where memory has room for them.
    """
    if not isinstance(X, EncodedRows) or batch_size is None or device.type != "cpu":
        return False
    return math.prod(X.shape) * X.dtype.itemsize > MAX_MEMORY_SHARE * free_bytes()


class LazyInputs:
    """Scaled inputs of rows that are encoded batch by batch, see `problem.Inputs`.

    Parameters
    ----------
    rows : EncodedRows
    scaling : dict
        Arguments of `scale_inputs`.
    dtype : numpy dtype
    """

    device = torch.device("cpu")

    def __init__(self, rows, scaling, dtype):
        self._rows, self._scaling, self._dtype = rows, scaling, dtype

    @property
    def shape(self):
        """Shape of the inputs, (rows, inputs)."""
        n_rows, n_encoded = self._rows.shape
        return n_rows, n_encoded + bool(self._scaling["intercept"])

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, rows):
        """Return some inputs, given a slice of rows."""
        scaled = scale_inputs(self._rows[rows], **self._scaling)
        return to_tensor(scaled, dtype=self._dtype, device=self.device)

    def index_select(self, dim, index):
        """Return the inputs of the rows at some positions; ``dim`` is zero."""
        return self[index.numpy()]


def _part(X, mask):
    """Return rows of an array or of `EncodedRows`, given a mask or a slice of all rows."""
    if isinstance(X, EncodedRows):
        return X if isinstance(mask, slice) else X.take(np.flatnonzero(mask))
    return X[mask]


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
    scaling : dict
        Arguments of `scale_inputs`.
    validation_mask : ndarray of bool of shape (n_samples,), or None
        Rows that are held out. None: all rows are trained on.
    batch_size : int, optional
        Rows of a batch, if the inputs may be made batch by batch.
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
        scaling,
        validation_mask,
        batch_size=None,
        uses_validation_rows=False,
    ):
        self.data, self.dtype, self.device = data, dtype, device
        self._scaling, self._batch_size = scaling, batch_size
        self.index, masks = {"training": slice(None)}, {"training": slice(None)}
        if validation_mask is not None:
            masks = {"training": ~validation_mask, "validation": validation_mask}
            for name, mask in masks.items():
                self.index[name] = torch.from_numpy(np.flatnonzero(mask)).to(device)
        #: weights of the rows of each part, (rows,) in float64, with sum one
        self.share = {name: _share(data.weights[mask]) for name, mask in masks.items()}
        self.inputs = {name: self._scaled(_part(data.X, mask)) for name, mask in masks.items()}
        self._targets, self.hard_targets = {}, None
        if uses_validation_rows:
            given = data.validation
            self.inputs["validation"] = self._scaled(given.X)
            self.share["validation"] = _share(given.weights)
            self.index["validation"] = slice(None)
            self.hard_targets = self.make_targets(given.y_encoded, None, 1.0, 1.0)

    def _scaled(self, X):
        """Return scaled rows, as a tensor or as `LazyInputs`."""
        if are_read_lazily(X, self._batch_size, self.device):
            return LazyInputs(X, self._scaling, self.dtype)
        scaled = scale_inputs(X, **self._scaling)
        return to_tensor(scaled, dtype=self.dtype, device=self.device)

    @classmethod
    def from_plan(cls, data, plan, dtype):
        """Return the tensors of a fit, which serve all fits of equal `FitPlan.key`."""
        return cls(
            data,
            dtype=dtype,
            device=resolve_device(plan.est.device),
            scaling={
                "offset": plan.offset,
                "scale": plan.scale,
                "intercept": plan.est.input_intercept,
            },
            validation_mask=plan.validation_mask,
            uses_validation_rows=plan.uses_validation_rows,
            batch_size=plan.batch_size,
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
        """Return the `LossTargets` of encoded targets and soft ones (or None)."""
        where = {"dtype": self.dtype, "device": self.device}
        return self.data.task.loss_targets(y_encoded, soft, alpha, temperature, **where)

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
        return loss_targets.max_losses[self.index[name]][None]


def _share(weights):
    return weights / weights.sum()
