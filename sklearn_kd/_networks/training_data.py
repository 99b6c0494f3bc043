"""Training data of the networks: checked arrays, and tensors on a device."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from sklearn_kd._core.network import losses, problem, targets
from sklearn_kd._core.network.segments import Segment
from sklearn_kd._utils.device import resolve_device, to_numpy, to_tensor
from sklearn_kd._utils.folds import content_folds
from sklearn_kd._utils.scaling import fit_scaling, scale_inputs
from sklearn_kd._utils.unique_rows import is_small
from sklearn_kd._utils.validation import rescale_weights

__all__ = ["TrainingData", "TrainingTensors"]


#: Up to so many distinct rows "auto" trains in full batch.
FULL_BATCH_ROWS = 1000
#: Folds of the cross-validated early stopping.
N_FOLDS = 5
#: The most that a held-out row's loss counts beyond its least, ln 1000, in units of the loss
#: (`LossTargets`): one row far outside the others would otherwise end training in its first epochs
#: (electricity has prices at 100 deviations).
HELD_OUT_CAP = math.log(1000.0)


@dataclass
class TrainingData:
    """Checked rows of positive weight, and what fits on them find out once."""

    X: np.ndarray  # (n_samples, n_features)
    y_encoded: np.ndarray  # (n_samples,) int, indices into the classes
    weights: np.ndarray  # (n_samples,)
    soft: np.ndarray | None  # (n_samples, n_classes)
    y: object  # labels as given, for callbacks
    n_classes: int
    _folds: dict = field(default_factory=dict)

    def __post_init__(self):
        self.weights = rescale_weights(self.weights)

    @property
    def n_outputs(self):
        """Logits: one for two classes, else one a class."""
        return 1 if self.n_classes == 2 else self.n_classes

    @cached_property
    def is_small(self):
        """Whether "auto" trains in full batch."""
        return is_small(self.X, FULL_BATCH_ROWS)

    @cached_property
    def scaling(self):
        """Offset and scale of the columns."""
        return fit_scaling(self.X, self.weights)

    def folds(self, seed):
        """Fold of each row, or None where there is a single distinct row."""
        if seed not in self._folds:
            random = np.random.RandomState(seed)
            fold = content_folds(self.X, self.y_encoded, self.weights, N_FOLDS, random)
            self._folds[seed] = fold
        return self._folds[seed]


@dataclass
class LossTargets:
    """What the rows are to be learnt as, for one alpha and temperature."""

    values: torch.Tensor  # (1, outputs of the loss, rows)
    loss: losses.Loss
    least: torch.Tensor  # (rows,), the least that the loss of each row can be
    unit: float  # what the loss is multiplied by beside a cross-entropy


class TrainingTensors:
    """Inputs, targets and weights of the fits that share them: scaled, on a device.

    ``validation_mask`` is the mask of the rows that are held out, or None.
    """

    def __init__(self, data, *, dtype, device, offset, scale, intercept, validation_mask):
        self.data, self.dtype, self.device = data, dtype, device
        scaled = scale_inputs(data.X, offset, scale, intercept=intercept)
        inputs = to_tensor(scaled, dtype=dtype, device=device)
        self.index, masks = {"all": slice(None)}, {"all": slice(None)}
        if validation_mask is not None:
            masks = {"all": ~validation_mask, "held": validation_mask}
            for name, mask in masks.items():
                self.index[name] = torch.from_numpy(np.flatnonzero(mask)).to(device)
        #: weights of a part that sum to one, (rows,) in float64
        self.share = {name: _share(data.weights[mask]) for name, mask in masks.items()}
        self.inputs = {name: inputs[index] for name, index in self.index.items()}
        self._targets = {}

    @classmethod
    def of_job(cls, data, job, dtype):
        """Return the rows of a job, and of all with its key."""
        return cls(
            data,
            dtype=dtype,
            device=resolve_device(job.est.device),
            offset=job.offset,
            scale=job.scale,
            intercept=job.est.input_intercept,
            validation_mask=job.validation_mask,
        )

    def __len__(self):
        return len(self.inputs["all"])

    def targets(self, soft, alpha, temperature):
        """Targets of all rows, made once for each loss and array of soft labels (or None)."""
        key = None if soft is None else (id(soft), alpha, temperature)
        if key not in self._targets:
            self._targets[key] = self.make_targets(self.data.y_encoded, soft, alpha, temperature)
        return self._targets[key]

    def make_targets(self, y_encoded, soft, alpha, temperature):
        """Targets of any rows, from their encoded labels and soft labels (or None)."""
        device, n_classes, n_rows = self.device, self.data.n_classes, len(y_encoded)
        if n_classes == 2:
            hard = (y_encoded == 1).astype(self.dtype)[None]
        else:
            hard = np.zeros((n_classes, n_rows), dtype=self.dtype)
            hard[y_encoded, np.arange(n_rows)] = 1.0
        hard = to_tensor(hard, device=device)
        nothing = torch.zeros(n_rows, device=device)
        if soft is None:
            return LossTargets(hard[None], losses.cross_entropy, nothing, 1.0)
        columns = soft[:, 1:].T if n_classes == 2 else soft.T
        soft = to_tensor(columns, dtype=self.dtype, device=device)
        a, T = soft.new_tensor([alpha]), soft.new_tensor([temperature])
        if temperature == 1 or alpha == 0:
            values = targets.mix(soft, hard, a)
            least = losses.entropy(values[0]) if alpha <= 1 else nothing
            return LossTargets(values, losses.cross_entropy, least, 1.0)
        values = targets.two_term_targets(soft, hard, T)
        least = a * T**2 * losses.entropy(values[0, : len(soft)])
        # below T = 1 the soft term still grows by alpha T for each unit of a logit
        unit = alpha * max(temperature, 1.0) ** 2 + 1 - alpha
        return LossTargets(values, losses.TwoTerm(a, T), least, unit)

    def part(self, name, segments, row_weights=None):
        """Rows to train on ("all", less those held out) or the "held" ones, for `solvers`."""
        index = self.index[name]
        rules = [
            Segment(students, targets.Fixed(each.values[:, :, index]))
            for students, each in segments
        ]
        rule = rules[0].what if len(rules) == 1 else targets.Joined(rules)
        if row_weights is None:
            row_weights = self.share[name][None]
            if (row_weights == row_weights[0, 0]).all():
                row_weights = row_weights[:, :1]  # nothing to gather
        row_weights = to_tensor(row_weights, dtype=self.dtype, device=self.device)
        return problem.WeightedRows(self.inputs[name], rule, row_weights)

    def min_loss(self, name, each):
        """Least mean loss that the targets of a part allow."""
        if name not in self.index:
            return 0.0
        return float(self.share[name] @ to_numpy(each.least[self.index[name]].double()))


def _share(weights):
    return weights / weights.sum()
