r"""Members of a network, which share its hidden weights and whose predictions are averaged.

Member r of a student has its own sign s_r of each input and its own output weights A_r:

.. math:: f_r(x) = m^{-1/2} \sum_j A_{rj} \, \phi(\langle W_j, s_r \odot x \rangle)

Each member learns from its own loss, and the prediction of the student is the mean of their
probabilities. The output weights of a student have a column for each member and output, so that
what treats weights neuron by neuron needs no change: optimizers, early stopping, projection.

References
----------
Gorishniy et al. (2024), "TabM: advancing tabular deep learning with parameter-efficient
ensembling", arXiv:2410.24210.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sklearn_kd._core.network import layers

#: Prediction of several members from the outputs of all, and their number.
Average = Callable[[Tensor, int], Tensor]


def draw_signs(n_members: int, n_columns: int, generator: torch.Generator) -> Tensor:
    """Return random signs (members, columns) in float64; those of the first member are one."""
    signs = torch.randint(0, 2, (n_members, n_columns), generator=generator)
    signs = signs.to(torch.float64).mul_(2).sub_(1)
    signs[0] = 1.0
    return signs


def mean_prediction(logits: Tensor, n_members: int) -> Tensor:
    """Return the logits (students, outputs, rows) of the mean probabilities of the members.

    ``logits`` has shape (students, outputs, members * rows).
    """
    if logits.shape[1] == 1:
        return mean_label_prediction(logits, n_members)
    per_member = _per_member(logits, n_members)
    return per_member.log_softmax(dim=1).logsumexp(dim=2) - math.log(n_members)


def mean_label_prediction(logits: Tensor, n_members: int) -> Tensor:
    """Return the same for outputs that are the logits of several labels."""
    per_member = _per_member(logits, n_members)
    present, absent = logsigmoid(per_member), logsigmoid(-per_member)
    return present.logsumexp(dim=2) - absent.logsumexp(dim=2)


def mean_output(outputs: Tensor, n_members: int) -> Tensor:
    """Return the mean (students, outputs, rows) of the outputs of the members."""
    return _per_member(outputs, n_members).mean(dim=2)


def _per_member(outputs: Tensor, n_members: int) -> Tensor:
    """Return a view (students, outputs, members, rows)."""
    return outputs.view(*outputs.shape[:2], n_members, -1)


class MemberWorkspace(layers.Workspace):
    """Scratch arrays in which each member is a network of its own.

    The logits of students, their targets, weights and residuals have the rows of all members, one
    member after the other: (students, outputs, members * rows).

    Parameters
    ----------
    widths : sequence of int
        Of each student.
    scaled_output : tensor of shape (neurons, members * outputs)
        Kept by reference.
    n_rows : int
    activation : Activation
    signs : tensor of shape (students, members, inputs)
    average : callable
        `mean_prediction` for logits, `mean_label_prediction` for those of several labels,
        `mean_output` for numbers.
    """

    def __init__(
        self,
        widths: Sequence[int],
        scaled_output: Tensor,
        n_rows: int,
        activation: layers.Activation,
        signs: Tensor,
        average: Average = mean_prediction,
    ) -> None:
        self.average = average
        self.signs, self.n_members = signs, signs.shape[1]
        self.shared_output, self.shared_layout = scaled_output, layers.blocks(widths)
        own_widths = [width for width in widths for _ in range(self.n_members)]
        n_outputs = scaled_output.shape[1] // self.n_members
        self.own_output = scaled_output.new_empty(sum(own_widths), n_outputs)
        self.own_hidden = scaled_output.new_empty(sum(own_widths), signs.shape[2])
        self.own_hidden_gradient = torch.empty_like(self.own_hidden)
        self.own_output_gradient = torch.empty_like(self.own_output)
        super().__init__(own_widths, self.own_output, n_rows, activation)

    def _views(self, own: Tensor, shared: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return the parts of each block.

        They are the weights of the members (students, members, width, columns), what they share
        (students, width, columns), and their signs (students, members, 1, inputs).
        """
        views = []
        for block, of_students in zip(self.layout, self.shared_layout, strict=True):
            n_students, width = of_students.n_students, block.width
            views.append(
                (
                    own[block.neurons].view(n_students, self.n_members, width, -1),
                    shared[of_students.neurons].view(n_students, width, -1),
                    self.signs[of_students.students, :, None],
                )
            )
        return views

    def _per_member(self, values: Tensor) -> Tensor:
        """Return a view (students, members, n, k) of values (students, n, members * k)."""
        return values.view(*values.shape[:2], self.n_members, -1).transpose(1, 2)

    def own_weights(self, hidden: Tensor) -> Tensor:
        """Return the hidden weights of all members, and update their output weights."""
        for own, shared, signs in self._views(self.own_hidden, hidden):
            torch.mul(shared[:, None], signs, out=own)
        for own, shared, _ in self._views(self.own_output, self.shared_output):
            own.copy_(self._per_member(shared))
        return self.own_hidden

    def joined_logits(self) -> Tensor:
        """Return the logits of the students."""
        n_outputs, n_rows = self.logits.shape[1:]
        per_member = self.logits.view(-1, self.n_members, n_outputs, n_rows)
        return per_member.transpose(1, 2).flatten(2)

    def per_block(self, residual: Tensor) -> list[Tensor]:
        """Return the parts of a residual of the students that belong to the blocks."""
        return super().per_block(self._per_member(residual).flatten(0, 1))

    def hidden_gradient(self, out: Tensor) -> Tensor:
        """Return where the gradient in the hidden weights of all members is written."""
        return self.own_hidden_gradient

    def share_hidden(self, out: Tensor) -> None:
        """Write the sum of the gradients of the members into ``out``."""
        for own, shared, signs in self._views(self.own_hidden_gradient, out):
            torch.sum(own.mul_(signs), dim=1, out=shared)

    def output_gradient(self, out: Tensor) -> Tensor:
        """Return where the gradient in the output weights of all members is written."""
        return self.own_output_gradient

    def share_output(self, out: Tensor) -> None:
        """Write the gradients of the members, side by side, into ``out``."""
        for own, shared, _ in self._views(self.own_output_gradient, out):
            self._per_member(shared).copy_(own)

    def row_weights(self, weights: Tensor) -> Tensor:
        """Return the weights of the rows of all members, whose losses are averaged."""
        weights = weights / self.n_members
        return weights if weights.shape[1] == 1 else weights.repeat(1, self.n_members)

    def targets(self, targets: Any) -> Any:
        """Return the targets of the rows of all members."""
        if isinstance(targets, list):  # one for each segment of students
            return [each.repeat(1, 1, self.n_members) for each in targets]
        return targets.repeat(1, 1, self.n_members)

    def prediction(self, logits: Tensor) -> Tensor:
        """Return the outputs (students, outputs, rows) of the predictions."""
        return self.average(logits, self.n_members)
