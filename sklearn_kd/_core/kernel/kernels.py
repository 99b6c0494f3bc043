r"""Kernels of infinitely wide ReLU networks, and Laplace's, a tile at a time.

With theta the angle of two rows, r and r' their lengths,

.. math:: K = r r' \cos\theta \, (\pi - \theta) / (2 \pi), \qquad
          N = r r' (\sin\theta + (\pi - \theta) \cos\theta) / (2 \pi).

K is the neural tangent kernel of the hidden layer of a two-layer network, N the covariance of its
outputs, K + N the tangent kernel of both layers (Cho and Saul 2009; Jacot et al. 2018).

Near theta = 0 and pi the arc cosine of a rounded product loses half of the digits, which K
inherits; such pairs are computed again from their rows, in float64, by
:math:`\theta = 2\,\mathrm{atan2}(|u - v|, |u + v|)`. The diagonal has a closed form.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Kernel", "gram"]


#: Side of a tile: its buffers stay in the cache of a core. Tiles on the diagonal are split, so that
#: less above it is computed in vain.
TILE, PIECE = 512, 128
#: 1 - |cos theta| below which a pair is computed again from its rows, so that values are right to
#: 2e-6 and 1e-12; the second in deep networks, where errors of several layers add up. The third is
#: for "laplace": squared distance, relative to the sum of the squared lengths that cancel in it.
NEAR = {torch.float32: (2e-3, 2e-2, 2e-2), torch.float64: (1e-6, 3e-5, 1e-3)}
#: Numbers gathered at a time for such pairs.
GATHER = 2**22


@dataclass(frozen=True)
class Kernel:
    """Which kernel.

    ``name`` is "ntk" (K above), "nngp" (N), "ntk-full" (all layers of a network with ``depth``
    hidden layers, K + N for one), "laplace" (exp(-|x - x'| / bandwidth)) or "callable".
    ``bias`` is the size of the biases of "ntk-full", which start at zero.
    """

    name: str
    depth: int = 1
    bias: float = 0.0
    bandwidth: float = 1.0
    function: Callable[[Tensor, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class UnitRows:
    """Rows as directions and lengths; ``lengths`` is None where all are one."""

    given: Tensor  # (rows, inputs)
    unit: Tensor  # (rows, inputs)
    lengths: Tensor | None  # (rows,)

    def __getitem__(self, part: slice) -> "UnitRows":
        lengths = None if self.lengths is None else self.lengths[part]
        return UnitRows(self.given[part], self.unit[part], lengths)

    def __len__(self) -> int:
        return len(self.given)


def prepare(rows: Tensor, kernel: Kernel) -> UnitRows:
    """Split rows into directions and lengths, where the kernel needs them."""
    if kernel.name in ("laplace", "callable"):
        return UnitRows(rows, rows, None)
    # by the largest coordinate, so that no square overflows
    largest = rows.abs().amax(dim=1)
    lengths = largest * torch.linalg.vector_norm(
        rows / torch.where(largest > 0, largest, 1.0)[:, None], dim=1
    )
    if ((lengths - 1).abs() <= 8 * torch.finfo(rows.dtype).eps).all():
        return UnitRows(rows, rows, None)
    # a row of zeros has no direction: it keeps none, and its kernel is zero
    unit = rows / torch.where(lengths > 0, lengths, 1.0)[:, None]
    return UnitRows(rows, unit, lengths)


def gram(rows: Tensor, kernel: Kernel, out: Tensor | None = None) -> Tensor:
    """Kernel of all pairs, (rows, rows), half of the tiles computed and mirrored.

    ``out`` is filled where given, so that the caller decides about the memory.
    """
    n = len(rows)
    values = rows.new_empty(n, n) if out is None else out
    if kernel.name == "callable":
        for start in range(0, n, TILE):
            values[start : start + TILE] = _call(kernel, rows[start : start + TILE], rows)
        for start in range(0, n, TILE):  # rounding must not make it asymmetric
            tile = values[start : start + TILE, : start + TILE]
            mirrored = values[: start + TILE, start : start + TILE].mT
            size = float(tile.abs().max())
            if float((tile - mirrored).abs().max()) > torch.finfo(values.dtype).eps ** 0.5 * size:
                raise ValueError("the kernel is not symmetric: k(a, b) differs from k(b, a).")
            mean = (tile + mirrored).mul_(0.5)
            values[start : start + TILE, : start + TILE] = mean
            values[: start + TILE, start : start + TILE] = mean.mT
        return values
    prepared = prepare(rows, kernel)
    scratch = _scratch(prepared)
    flipped = torch.empty_like(scratch[0])
    for part, other in _lower(n):
        tile = _tile(prepared[part], prepared[other], kernel, scratch, is_own=part == other)
        if part != other:
            values[part, other] = tile
            # faster than straight from the tile into rows that are far apart in memory
            mirrored = flipped[: tile.numel()].view(tile.mT.shape).copy_(tile.mT)
            values[other, part] = mirrored
        else:  # rounding may differ above its diagonal
            torch.tril(tile, out=values[part, other])
            values[part, other].add_(torch.tril(tile, diagonal=-1).mT)
    values.diagonal().copy_(diagonal(rows, kernel))
    return values


def _lower(n: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of tiles that cover the lower half; squares on the diagonal."""
    for top in range(0, n, TILE):
        end = min(top + TILE, n)
        for left in range(0, top, TILE):
            yield slice(top, end), slice(left, left + TILE)
        for row in range(top, end, PIECE):
            for column in range(top, row + 1, PIECE):
                yield (
                    slice(row, min(row + PIECE, end)),
                    slice(column, min(column + PIECE, end)),
                )


def cross(
    rows: Tensor | UnitRows, others: Tensor | UnitRows, kernel: Kernel, out: Tensor | None = None
) -> Tensor:
    """Kernel of each row with each of ``others``, (rows, others)."""
    rows = prepare(rows, kernel) if isinstance(rows, Tensor) else rows
    others = prepare(others, kernel) if isinstance(others, Tensor) else others
    values = rows.given.new_empty(len(rows), len(others)) if out is None else out
    if kernel.name == "callable":
        values.copy_(_call(kernel, rows.given, others.given))
        return values
    scratch = _scratch(rows)
    for top in range(0, len(rows), TILE):
        part = slice(top, min(top + TILE, len(rows)))
        for left in range(0, len(others), TILE):
            other = slice(left, min(left + TILE, len(others)))
            values[part, other] = _tile(rows[part], others[other], kernel, scratch)
    return values


def diagonal(rows: Tensor, kernel: Kernel) -> Tensor:
    """Kernel of each row with itself, (rows,), exact."""
    if kernel.name == "laplace":
        return torch.ones_like(rows[:, 0])
    if kernel.name == "callable":
        parts = torch.split(rows, 64)
        return torch.cat([_call(kernel, part, part).diagonal() for part in parts])
    square = rows.square().sum(dim=1)
    if kernel.name == "ntk-full":
        return (square + kernel.bias**2) / (1 + kernel.bias**2)
    return square / 2


def _call(kernel: Kernel, rows: Tensor, others: Tensor) -> Tensor:
    assert kernel.function is not None
    return kernel.function(rows, others)


def _scratch(rows: UnitRows) -> tuple[Tensor, Tensor]:
    # without these a fresh page is touched at every operation, which costs more than the sum
    return rows.given.new_empty(TILE * TILE), rows.given.new_empty(TILE * TILE)


def _tile(
    rows: UnitRows,
    others: UnitRows,
    kernel: Kernel,
    scratch: tuple[Tensor, Tensor],
    *,
    is_own: bool = False,
) -> Tensor:
    """Kernel of a tile, in scratch that the next tile overwrites; without the diagonal of its own.

    ``is_own`` says that the rows are the others; their diagonal is known, and is not looked at.
    """
    shape = len(rows), len(others)
    cosine, angle = (buffer[: shape[0] * shape[1]].view(shape) for buffer in scratch)
    torch.mm(rows.unit, others.unit.mT, out=cosine)
    if is_own:  # else every row would be near itself, to be computed again
        cosine.fill_diagonal_(0.0)
    if kernel.name == "laplace":
        return _laplace(rows.given, others.given, kernel, cosine)
    low, high = cosine.aminmax()
    near = 1 - NEAR[cosine.dtype][kernel.depth > 1]
    pairs = None
    if low < -near or high > near:
        pairs = (cosine.abs() > near).nonzero()
        cosine.clamp_(-1.0, 1.0)
    torch.acos(cosine, out=angle)
    if kernel.name == "ntk":
        # in place: this is the tile that the time goes to
        values = angle.sub_(math.pi).mul_(cosine).mul_(-0.5 / math.pi)
        bias_part = None
    else:
        values, bias_part = _accumulate(kernel, _plain_layers(kernel, cosine, angle))
    if pairs is not None:
        _recompute(rows, others, kernel, pairs, values, bias_part)
    if rows.lengths is not None or others.lengths is not None:
        for lengths, dim in ((rows.lengths, 1), (others.lengths, 0)):
            if lengths is not None:
                values.mul_(lengths.unsqueeze(dim))
    if bias_part is not None:
        values.add_(bias_part)
    return values


def _recompute(
    rows: UnitRows,
    others: UnitRows,
    kernel: Kernel,
    pairs: Tensor,
    values: Tensor,
    bias_part: Tensor | None,
) -> None:
    """Overwrite the values of ``pairs`` (count, 2) by those of their accurate angle."""
    for part in torch.split(pairs, max(1, GATHER // rows.unit.shape[1])):
        i, j = part.unbind(dim=1)
        u, v = rows.unit[i].double(), others.unit[j].double()
        u /= torch.linalg.vector_norm(u, dim=1, keepdim=True)
        v /= torch.linalg.vector_norm(v, dim=1, keepdim=True)
        theta = 2 * torch.atan2(
            torch.linalg.vector_norm(u - v, dim=1), torch.linalg.vector_norm(u + v, dim=1)
        )
        if kernel.name == "ntk":
            exact, bias = theta.cos() * (math.pi - theta) / (2 * math.pi), None
        else:
            exact, bias = _accumulate(kernel, _exact_layers(kernel, theta))
        values[i, j] = exact.to(values.dtype)
        if bias_part is not None and bias is not None:
            bias_part[i, j] = bias.to(values.dtype)


Layer = tuple[Tensor, Tensor, Tensor]  # cos theta, pi - theta, sin theta


def _plain_layers(kernel: Kernel, cosine: Tensor, angle: Tensor) -> Iterator[Layer]:
    """Angle after each layer but the last, from the cosines of the rows."""
    for layer in range(kernel.depth):
        if layer:
            cosine = cosine.clamp(-1.0, 1.0)
            angle = cosine.acos()
        supplement, sine = math.pi - angle, (1 - cosine.square()).clamp_(min=0).sqrt_()
        yield cosine, supplement, sine
        cosine = (sine + supplement * cosine) / math.pi


def _exact_layers(kernel: Kernel, theta: Tensor) -> Iterator[Layer]:
    r"""Do likewise from angles, without cancellation where they are small.

    The cosine after a layer, :math:`(\sin\theta + (\pi - \theta) \cos\theta) / \pi`, is
    :math:`1 - 2 \sin^2(\theta / 2) + (\sin\theta - \theta \cos\theta) / \pi`.
    """
    for _ in range(kernel.depth):
        cosine, sine = theta.cos(), theta.sin()
        yield cosine, math.pi - theta, sine
        square = theta.square()
        series = theta * square * (1 / 3 - square * (1 / 30 - square * (1 / 840 - square / 45360)))
        small = torch.where(theta < 0.1, series, sine - theta * cosine)
        drop = 2 * (theta / 2).sin().square() - small / math.pi  # 1 - cosine after the layer
        theta = 2 * (drop / 2).clamp_(0, 1).sqrt_().asin_()


def _accumulate(kernel: Kernel, layers: Iterator[Layer]) -> tuple[Tensor, Tensor | None]:
    r"""Value for unit rows, and what the biases add to it.

    With the angle theta after l - 1 layers, c_l the cosine after l layers, and every layer scaled
    to keep lengths: :math:`H_0 = c_0, H_l = H_{l-1} (\pi - \theta) / \pi + c_l`, and the biases
    :math:`B_0 = 1, B_l = B_{l-1} (\pi - \theta) / \pi + 1`. The kernel is
    :math:`(r r' H_L + b^2 B_L) / ((L + 1)(1 + b^2))`.
    """
    total: Tensor | None = None
    bias: Tensor | None = None
    for cosine, supplement, sine in layers:
        after = (sine + supplement * cosine) / math.pi
        if kernel.name == "nngp":
            return after.mul_(0.5), None
        if total is None:
            total, bias = cosine.clone(), torch.ones_like(cosine)
        total = total.mul_(supplement).div_(math.pi).add_(after)
        if bias is not None and kernel.bias:
            bias = bias.mul_(supplement).div_(math.pi).add_(1.0)
    assert total is not None
    share = 1 / ((kernel.depth + 1) * (1 + kernel.bias**2))
    if not kernel.bias or bias is None:
        return total.mul_(share), None
    return total.mul_(share), bias.mul_(share * kernel.bias**2)


def _laplace(rows: Tensor, others: Tensor, kernel: Kernel, product: Tensor) -> Tensor:
    square = rows.square().sum(dim=1)[:, None] + others.square().sum(dim=1)
    distance = torch.sub(square, product.mul_(2), out=product)
    pairs = (distance < NEAR[distance.dtype][2] * square).nonzero()
    distance.clamp_(min=0).sqrt_()
    for part in torch.split(pairs, max(1, GATHER // rows.shape[1])):
        i, j = part.unbind(dim=1)
        exact = torch.linalg.vector_norm(rows[i].double() - others[j].double(), dim=1)
        distance[i, j] = exact.to(distance.dtype)
    return distance.mul_(-1 / kernel.bandwidth).exp_()
