r"""Two-layer ReLU networks side by side: initialisation, forward pass, gradient, projection.

.. math:: f(x; W, A) = m^{-1/2} \sum_j A_j \, \mathrm{relu}(\langle W_j, x \rangle)

The neurons of all students are stacked, so that one product with the rows serves all of them:
``hidden`` is (sum of widths, inputs), ``output`` (sum of widths, outputs). Students of equal
width stand next to each other (a `Block`) and share one batched product in the second layer.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor


class Block(NamedTuple):
    """Neighbouring students of one width: their places among the students and the neurons."""

    students: slice
    neurons: slice
    width: int

    @property
    def n_students(self) -> int:
        """Return how many students the block holds."""
        return int(self.students.stop - self.students.start)


def blocks(widths: Sequence[int]) -> list[Block]:
    """Return the blocks of equal neighbours in ``widths``, one width a student."""
    found, student, neuron = [], 0, 0
    for width, run in groupby(widths):
        count = len(list(run))
        found.append(
            Block(slice(student, student + count), slice(neuron, neuron + count * width), width)
        )
        student, neuron = student + count, neuron + count * width
    return found


def initialise(
    width: int, n_inputs: int, n_outputs: int, *, symmetric: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw one student in float64 on the CPU, so that every device and dtype starts alike.

    W_j ~ N(0, I), A_jk ~ Unif{-1, +1}. ``symmetric``: the second half of the neurons repeats the
    weights of the first with the opposite signs, so that f is zero for every x.

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


class Activations:
    """Scratch of one batch size, so that a step allocates nothing of the size of a layer."""

    def __init__(self, widths: Sequence[int], n_outputs: int, n_rows: int, like: Tensor) -> None:
        self.hidden = like.new_empty(sum(widths), n_rows)
        self.gradient = like.new_empty(sum(widths), n_rows)
        self.logits = like.new_empty(len(widths), n_outputs, n_rows)


def forward(
    hidden: Tensor, scaled_output: Tensor, inputs: Tensor, layout: list[Block], acts: Activations
) -> Tensor:
    """Logits (students, outputs, rows) of ``inputs`` (rows, inputs), in the scratch ``acts``.

    ``scaled_output`` is A / sqrt(m). What the gradient needs stays in ``acts.hidden``.
    """
    torch.mm(hidden, inputs.T, out=acts.hidden)
    acts.hidden.relu_()
    n_rows, n_outputs = inputs.shape[0], scaled_output.shape[1]
    for block in layout:
        active = acts.hidden[block.neurons].view(block.n_students, block.width, n_rows)
        output = scaled_output[block.neurons].view(block.n_students, block.width, n_outputs)
        torch.bmm(output.transpose(1, 2), active, out=acts.logits[block.students])
    return acts.logits


def backward_output(
    residual: Tensor, layout: list[Block], acts: Activations, inverse_sqrt: Tensor, out: Tensor
) -> None:
    """Gradient in A, m^-1/2 sum_i residual_i relu(<W_j, x_i>), into ``out`` (neurons, outputs).

    ``residual`` (students, outputs, rows) is the weighted gradient in the logits; ``inverse_sqrt``
    (neurons, 1) is m^-1/2 of each neuron's student.
    """
    n_outputs, n_rows = residual.shape[1:]
    for block in layout:
        active = acts.hidden[block.neurons].view(block.n_students, block.width, n_rows)
        torch.bmm(
            active,
            residual[block.students].transpose(1, 2),
            out=out[block.neurons].view(block.n_students, block.width, n_outputs),
        )
    out.mul_(inverse_sqrt)


def backward_hidden(
    residual: Tensor,
    scaled_output: Tensor,
    inputs: Tensor,
    layout: list[Block],
    acts: Activations,
    out: Tensor,
) -> None:
    """Gradient in W, sum_i residual_i a_j m^-1/2 1[<W_j, x_i> > 0] x_i, into ``out``.

    The paper's (5) drops the last x_i. ``out`` is (neurons, inputs).
    """
    n_outputs, n_rows = residual.shape[1:]
    for block in layout:
        torch.bmm(
            scaled_output[block.neurons].view(block.n_students, block.width, n_outputs),
            residual[block.students],
            out=acts.gradient[block.neurons].view(block.n_students, block.width, n_rows),
        )
    # keeps the gradient where the neuron is active: one pass, no mask in memory
    torch.ops.aten.threshold_backward.grad_input(
        acts.gradient, acts.hidden, 0, grad_input=acts.gradient
    )
    torch.mm(acts.gradient, inputs, out=out)


def project(hidden: Tensor, initial: Tensor, max_distance: Tensor) -> None:
    """Move each neuron to the nearest point within ``max_distance`` (neurons, 1) of its start."""
    moved = hidden - initial
    distance = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
    # a neuron that has not moved has distance zero; inf * 0 is avoided by the clamp
    shrink = (max_distance / distance.clamp_(min=torch.finfo(hidden.dtype).tiny)).clamp_(max=1.0)
    torch.addcmul(initial, moved, shrink, out=hidden)
