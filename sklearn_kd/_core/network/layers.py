r"""Two-layer networks side by side: initialization, forward pass, gradient, projection.

.. math:: f(x; W, A) = m^{-1/2} \sum_j A_j \, \phi(\langle W_j, x \rangle)

phi is an `Activation`, by default ReLU.

The neurons of all students are stacked, so that one product with the rows serves all of them:
``hidden`` is (sum of widths, inputs), ``output`` (sum of widths, outputs). Neighboring students of
equal width form a `Block` and share one batched product in the second layer.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Activation(NamedTuple):
    """An activation in place, with a derivative that is a function of its values.

    Only the values are kept for the gradient.
    """

    #: replaces z by phi(z)
    forward: Callable[[Tensor], object]
    #: called with (gradient, phi(z)): replaces gradient by gradient * phi'(z) in one pass, without
    #: an array for the derivative
    backward: Callable[[Tensor, Tensor], object]


def _relu_backward(gradient: Tensor, active: Tensor) -> None:
    torch.ops.aten.threshold_backward.grad_input(gradient, active, 0, grad_input=gradient)


RELU = Activation(torch.relu_, _relu_backward)


class Block(NamedTuple):
    """Neighboring students of one width: their slices of the students and of the neurons."""

    students: slice
    neurons: slice
    width: int

    @property
    def n_students(self) -> int:
        """Return the number of students in the block."""
        return int(self.students.stop - self.students.start)


def blocks(widths: Sequence[int]) -> list[Block]:
    """Return the blocks of equal neighbors in ``widths``, which has one width for each student."""
    found, student, neuron = [], 0, 0
    for width, run in groupby(widths):
        count = len(list(run))
        found.append(
            Block(slice(student, student + count), slice(neuron, neuron + count * width), width)
        )
        student, neuron = student + count, neuron + count * width
    return found


def initialize(
    width: int, n_inputs: int, n_outputs: int, *, symmetric: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw one student in float64 on the CPU, so that the start does not depend on the device.

    W_j ~ N(0, I), A_jk ~ Unif{-1, +1}. With ``symmetric`` the second half of the neurons repeats
    the weights of the first with the opposite signs, so that f is zero for every x.

    Returns
    -------
    hidden : tensor of shape (width, n_inputs)
    output : tensor of shape (width, n_outputs)
    """
    drawn = width // 2 if symmetric else width
    hidden = torch.randn(drawn, n_inputs, dtype=torch.float64, generator=generator)
    signs = torch.randint(0, 2, (drawn, n_outputs), generator=generator)
    output = signs.to(torch.float64).mul_(2).sub_(1)
    if symmetric:
        return torch.cat([hidden, hidden]), torch.cat([output, -output])
    return hidden, output


class Workspace:
    """Scratch arrays and views for one batch size, so that a step allocates no layer.

    Parameters
    ----------
    widths : sequence of int
    scaled_output : tensor of shape (neurons, outputs)
        A / sqrt(m). It is kept by reference, so that later steps see changes in place.
    n_rows : int
    activation : Activation
    """

    def __init__(
        self,
        widths: Sequence[int],
        scaled_output: Tensor,
        n_rows: int,
        activation: Activation = RELU,
    ) -> None:
        self.activation = activation
        n_outputs = scaled_output.shape[1]
        self.hidden = scaled_output.new_empty(sum(widths), n_rows)
        self.gradient = scaled_output.new_empty(sum(widths), n_rows)
        self.logits = scaled_output.new_empty(len(widths), n_outputs, n_rows)
        self.layout = blocks(widths)
        # (students, width, rows or outputs) views of each block
        shapes = [(block, (block.n_students, block.width)) for block in self.layout]
        self.block_hidden = [self.hidden[b.neurons].view(*shape, n_rows) for b, shape in shapes]
        self.block_gradient = [self.gradient[b.neurons].view(*shape, n_rows) for b, shape in shapes]
        self.block_logits = [self.logits[block.students] for block in self.layout]
        self.block_output = [
            scaled_output[b.neurons].view(*shape, n_outputs) for b, shape in shapes
        ]

    def per_block(self, residual: Tensor) -> list[Tensor]:
        """Return the parts of a tensor (students, outputs, rows) that belong to the blocks."""
        if len(self.layout) == 1:
            return [residual]
        return [residual[block.students] for block in self.layout]

    # What differs where students have several members (`members.MemberWorkspace`)

    def own_weights(self, hidden: Tensor) -> Tensor:
        """Return the hidden weights of the networks of the products."""
        return hidden

    def joined_logits(self) -> Tensor:
        """Return the logits of the students."""
        return self.logits

    def output_gradient(self, out: Tensor) -> Tensor:
        """Return where the gradient in the output weights is written."""
        return out

    def share_output(self, out: Tensor) -> None:
        """Write the gradient in the output weights of the students into ``out``."""

    def hidden_gradient(self, out: Tensor) -> Tensor:
        """Return where the gradient in the hidden weights is written."""
        return out

    def share_hidden(self, out: Tensor) -> None:
        """Write the gradient in the hidden weights of the students into ``out``."""

    def row_weights(self, weights: Tensor) -> Tensor:
        """Return the weights of the rows of the logits."""
        return weights

    def targets(self, targets: Any) -> Any:
        """Return the targets of the rows of the logits."""
        return targets

    def prediction(self, logits: Tensor) -> Tensor:
        """Return the logits (students, outputs, rows) of the predictions."""
        return logits


def forward(hidden: Tensor, inputs: Tensor, work: Workspace) -> Tensor:
    """Return the logits (students, outputs, rows) of ``inputs`` (rows, inputs), in ``work``.

    The activations, which the gradient needs, stay in ``work.hidden``.
    """
    torch.mm(work.own_weights(hidden), inputs.T, out=work.hidden)
    work.activation.forward(work.hidden)
    for active, output, logits in zip(
        work.block_hidden, work.block_output, work.block_logits, strict=True
    ):
        torch.bmm(output.mT, active, out=logits)
    return work.joined_logits()


def backward_output(residual: Tensor, inverse_sqrt: Tensor, work: Workspace, out: Tensor) -> None:
    """Write the gradient in A, m^-1/2 sum_i residual_i phi(<W_j, x_i>), into ``out``.

    ``out`` has shape (neurons, outputs). ``residual`` (students, outputs, rows) is the weighted
    gradient in the logits, and ``inverse_sqrt`` (neurons, 1) is m^-1/2 of the student of each
    neuron.
    """
    gradient = work.output_gradient(out)
    for block, active, part in zip(
        work.layout, work.block_hidden, work.per_block(residual), strict=True
    ):
        target = gradient[block.neurons].view(block.n_students, block.width, -1)
        torch.bmm(active, part.mT, out=target)
    work.share_output(out)
    out.mul_(inverse_sqrt)


def backward_hidden(residual: Tensor, inputs: Tensor, work: Workspace, out: Tensor) -> None:
    """Write the gradient in W, sum_i residual_i a_j m^-1/2 phi'(<W_j, x_i>) x_i, into ``out``.

    ``out`` has shape (neurons, inputs). With ReLU, phi' is 1[<W_j, x_i> > 0]. Equation (5) of the
    paper lacks the last x_i.
    """
    for output, gradient, part in zip(
        work.block_output, work.block_gradient, work.per_block(residual), strict=True
    ):
        torch.bmm(output, part, out=gradient)
    work.activation.backward(work.gradient, work.hidden)
    torch.mm(work.gradient, inputs, out=work.hidden_gradient(out))
    work.share_hidden(out)


def project(hidden: Tensor, initial: Tensor, max_distance: Tensor) -> None:
    """Move each neuron to the nearest point within ``max_distance`` (neurons, 1) of its start."""
    moved = hidden - initial
    distance = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
    # The distance of a neuron that has not moved is zero. The clamp avoids inf * 0.
    shrink = (max_distance / distance.clamp_(min=torch.finfo(hidden.dtype).tiny)).clamp_(max=1.0)
    torch.addcmul(initial, moved, shrink, out=hidden)
