"""Progress of a paused training: what it has computed, without its rows and scratch arrays."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sklearn_kd._core.network.problem import TrainingResult


@dataclass
class TrainingProgress:
    """What a training needs to continue after a pause, besides the arguments that it began with.

    It takes the memory of the weights, of the optimizers and of the losses. Values are named by
    their place in a `TrainingState`.
    """

    original_index: Tensor  # (students,) those that still train, among all of the training
    fit: Tensor  # (students,) index of the fit that each belongs to
    student_of_neuron: Tensor  # (neurons,)
    of_students: dict[str, Any]  # tensors of shape (students,), or None
    of_neurons: dict[str, Any]  # tensors (neurons, ...), optimizers and step sizes
    common: dict[str, Any]  # numbers
    curves: list[Tensor | None]  # losses and scores, (epochs, students)
    result: TrainingResult  # without the curves
    generator: Tensor  # state of the generator of the order of rows

    def drop(self, fits: Sequence[int]) -> "TrainingProgress | None":
        """Return the progress without some fits, None if no fit is left."""
        stays = ~torch.isin(self.fit, self.fit.new_tensor(fits))
        if not stays.any():
            return None
        if stays.all():
            return self
        students = stays.nonzero()[:, 0]
        neurons = stays[self.student_of_neuron].nonzero()[:, 0]
        return replace(
            self,
            original_index=self.original_index[students],
            fit=self.fit[students],
            # the index of each student among those that stay
            student_of_neuron=(stays.cumsum(0) - 1)[self.student_of_neuron[neurons]],
            of_students={name: _taken(each, students) for name, each in self.of_students.items()},
            of_neurons={name: _taken(each, neurons) for name, each in self.of_neurons.items()},
            curves=[None if curve is None else curve[:, students] for curve in self.curves],
        )


def _taken(values: Any, index: Tensor) -> Any:
    """Return the entries of a tensor, or of an optimizer or a step size, at some indices."""
    if values is None:
        return None
    return values[index] if isinstance(values, Tensor) else values.take(index)


def get_values(owner: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return attributes of an object by their names, such as "students.hidden"."""
    return {name: operator.attrgetter(name)(owner) for name in names}


def set_values(owner: Any, values: Mapping[str, Any]) -> None:
    """Set attributes of an object by their names."""
    for name, value in values.items():
        *path, last = name.split(".")
        setattr(operator.attrgetter(".".join(path))(owner) if path else owner, last, value)
