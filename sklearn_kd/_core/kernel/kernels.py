r"""Kernels of infinitely wide ReLU networks and the Laplace kernel, computed in tiles.

With theta the angle between two rows and r and r' their lengths,

.. math:: K = r r' \cos\theta \, (\pi - \theta) / (2 \pi), \qquad
          N = r r' (\sin\theta + (\pi - \theta) \cos\theta) / (2 \pi).

K is the neural tangent kernel of the hidden layer of a two-layer network, N the covariance of its
outputs, K + N the tangent kernel of both layers (Cho and Saul 2009; Jacot et al. 2018).

Near theta = 0 and theta = pi the arc cosine of a rounded product loses half of the digits, and K
inherits the error. The values of such pairs are computed again from their rows, in float64, by
:math:`\theta = 2\,\mathrm{atan2}(|u - v|, |u + v|)`. The diagonal has a closed form.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

#: Rows and columns of a tile, whose buffers stay in the cache of a core.
TILE_ROWS = 512
#: Rows and columns of a tile on the diagonal. These are smaller because the half of them that lies
#: above the diagonal is computed but not used.
DIAGONAL_TILE_ROWS = 128
#: 1 - |cos theta| below which the value of a pair is computed again from its rows, so that values
#: are accurate to 2e-6 in float32 and 1e-12 in float64.
NEAR_PARALLEL = {torch.float32: 2e-3, torch.float64: 1e-6}
#: The same for networks of several hidden layers, whose errors add up.
NEAR_PARALLEL_DEEP = {torch.float32: 2e-2, torch.float64: 3e-5}
#: The same for "laplace": the squared distance, relative to the sum of the squared lengths from
#: which it is subtracted.
NEAR_EQUAL = {torch.float32: 2e-2, torch.float64: 1e-3}
#: Numbers that are gathered at a time to compute such pairs again.
MAX_GATHERED_NUMBERS = 2**22


@dataclass(frozen=True)
class Kernel:
    """A kernel and its parameters.

    Attributes
    ----------
    name : {"ntk", "nngp", "ntk-full", "laplace", "callable"}
        "ntk" is K above and "nngp" is N. "ntk-full" is the tangent kernel of all layers, which is
        K + N for one hidden layer. "laplace" is ``exp(-|x - x'| / bandwidth)``.
    depth : int
        Hidden layers of "ntk-full".
    bias : float
        Size of the biases of "ntk-full", which start at zero.
    bandwidth : float
        Bandwidth of "laplace".
    function : callable or None
        Kernel of the user for "callable". It takes two NumPy arrays of rows and returns the array
        of their values.
    """

    name: str
    depth: int = 1
    bias: float = 0.0
    bandwidth: float = 1.0
    function: Callable[[Any, Any], Any] | None = None


@dataclass(frozen=True)
class UnitRows:
    """Rows and their directions and lengths. ``lengths`` is None if all lengths are one."""

    given: Tensor  # (rows, inputs)
    unit: Tensor  # (rows, inputs)
    lengths: Tensor | None  # (rows,)

    def __getitem__(self, part: slice) -> "UnitRows":
        lengths = None if self.lengths is None else self.lengths[part]
        return UnitRows(self.given[part], self.unit[part], lengths)

    def __len__(self) -> int:
        return len(self.given)


def unit_rows(rows: Tensor, kernel: Kernel) -> UnitRows:
    """Return the rows with their directions and lengths if the kernel needs these."""
    if kernel.name in ("laplace", "callable"):
        return UnitRows(rows, rows, None)
    # dividing by the largest coordinate first keeps squares from overflowing
    largest = rows.abs().amax(dim=1)
    lengths = largest * torch.linalg.vector_norm(
        rows / torch.where(largest > 0, largest, 1.0)[:, None], dim=1
    )
    if ((lengths - 1).abs() <= 8 * torch.finfo(rows.dtype).eps).all():
        return UnitRows(rows, rows, None)
    # a row of zeros stays zero, and so do its kernel values
    unit = rows / torch.where(lengths > 0, lengths, 1.0)[:, None]
    return UnitRows(rows, unit, lengths)


def gram(rows: Tensor, kernel: Kernel, out: Tensor | None = None) -> Tensor:
    """Return the Gram matrix (rows, rows).

    The tiles of the lower half are computed and mirrored. If ``out`` is given it is filled, so that
    the caller decides where the memory comes from.
    """
    n = len(rows)
    values = rows.new_empty(n, n) if out is None else out
    if kernel.name == "callable":
        return _fill_by_callable(values, rows, kernel)
    units = unit_rows(rows, kernel)
    scratch = _scratch(units)
    flipped = torch.empty_like(scratch[0])
    for part, other in _lower_tiles(n):
        tile = _tile(units[part], units[other], kernel, scratch, is_own=part == other)
        if part != other:
            values[part, other] = tile
            # faster than copying the tile directly into rows that are far apart in memory
            mirrored = flipped[: tile.numel()].view(tile.mT.shape).copy_(tile.mT)
            values[other, part] = mirrored
        else:  # rounding may differ above the diagonal of the tile
            torch.tril(tile, out=values[part, other])
            values[part, other].add_(torch.tril(tile, diagonal=-1).mT)
    values.diagonal().copy_(diagonal(rows, kernel))
    return values


def _fill_by_callable(values: Tensor, rows: Tensor, kernel: Kernel) -> Tensor:
    """Fill the Gram matrix of a callable kernel and average it with its transpose."""
    n = len(rows)
    for start in range(0, n, TILE_ROWS):
        values[start : start + TILE_ROWS] = _call(kernel, rows[start : start + TILE_ROWS], rows)
    for start in range(0, n, TILE_ROWS):
        end = start + TILE_ROWS
        tile, mirrored = values[start:end, :end], values[:end, start:end].mT
        size = float(tile.abs().max())
        if float((tile - mirrored).abs().max()) > torch.finfo(values.dtype).eps ** 0.5 * size:
            raise ValueError("the kernel is not symmetric: k(a, b) differs from k(b, a).")
        # rounding must not make the matrix asymmetric
        mean = (tile + mirrored).mul_(0.5)
        values[start:end, :end] = mean
        values[:end, start:end] = mean.mT
    return values


def _lower_tiles(n: int) -> Iterator[tuple[slice, slice]]:
    """Yield rows and columns of tiles that cover the lower half, with squares on the diagonal."""
    for top in range(0, n, TILE_ROWS):
        end = min(top + TILE_ROWS, n)
        for left in range(0, top, TILE_ROWS):
            yield slice(top, end), slice(left, left + TILE_ROWS)
        for row in range(top, end, DIAGONAL_TILE_ROWS):
            for column in range(top, row + 1, DIAGONAL_TILE_ROWS):
                yield (
                    slice(row, min(row + DIAGONAL_TILE_ROWS, end)),
                    slice(column, min(column + DIAGONAL_TILE_ROWS, end)),
                )


def cross(rows: Tensor | UnitRows, others: Tensor | UnitRows, kernel: Kernel) -> Tensor:
    """Return the kernel of each row with each of ``others``, (rows, others)."""
    rows = unit_rows(rows, kernel) if isinstance(rows, Tensor) else rows
    others = unit_rows(others, kernel) if isinstance(others, Tensor) else others
    values = rows.given.new_empty(len(rows), len(others))
    if kernel.name == "callable":
        values.copy_(_call(kernel, rows.given, others.given))
        return values
    scratch = _scratch(rows)
    for top in range(0, len(rows), TILE_ROWS):
        part = slice(top, min(top + TILE_ROWS, len(rows)))
        for left in range(0, len(others), TILE_ROWS):
            other = slice(left, min(left + TILE_ROWS, len(others)))
            values[part, other] = _tile(rows[part], others[other], kernel, scratch)
    return values


class CenterBlocks:
    """Kernel of rows and centers in blocks of rows, for several passes.

    Parameters
    ----------
    rows, centers : tensor of shape (rows, inputs) and (centers, inputs)
    kernel : Kernel
    block_rows : int
        Rows of a block.
    keep : bool
        Whether the blocks are kept in memory. Otherwise each pass computes them again.

    Yields
    ------
    rows : slice
    values : tensor of shape (rows of the block, centers)
    """

    def __init__(
        self, rows: Tensor, centers: Tensor, kernel: Kernel, *, block_rows: int, keep: bool
    ) -> None:
        self.rows, self.centers = unit_rows(rows, kernel), unit_rows(centers, kernel)
        self.kernel, self.block_rows = kernel, block_rows
        self.kept = list(self._compute()) if keep else None

    def _compute(self) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(self.rows), self.block_rows):
            part = slice(start, min(start + self.block_rows, len(self.rows)))
            yield part, cross(self.rows[part], self.centers, self.kernel)

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        return self._compute() if self.kept is None else iter(self.kept)


def diagonal(rows: Tensor, kernel: Kernel) -> Tensor:
    """Return the exact kernel of each row with itself, (rows,)."""
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
    """Call the kernel of the user with NumPy arrays and check what it returns."""
    assert kernel.function is not None
    # copies, so that the function cannot write to the rows
    arrays = [
        part.detach().cpu().clone(memory_format=torch.contiguous_format).numpy()
        for part in (rows, others)
    ]
    np = arrays[0].__array_namespace__()  # NumPy, which this folder does not import
    values = np.asarray(kernel.function(*arrays))
    shape = len(rows), len(others)
    if values.shape != shape:
        raise ValueError(
            f"the kernel must return shape {shape} for {shape[0]} and {shape[1]} rows, "
            f"got {values.shape}."
        )
    if np.iscomplexobj(values) or not np.isfinite(values).all():
        raise ValueError("the kernel must return real and finite numbers.")
    result = torch.empty(shape, dtype=rows.dtype)
    result.numpy()[...] = values
    return result.to(rows.device)


def _scratch(rows: UnitRows) -> tuple[Tensor, Tensor]:
    """Return two buffers of the size of a tile."""
    # new memory at every operation would cost more time than the arithmetic
    return rows.given.new_empty(TILE_ROWS**2), rows.given.new_empty(TILE_ROWS**2)


def _tile(
    rows: UnitRows,
    others: UnitRows,
    kernel: Kernel,
    scratch: tuple[Tensor, Tensor],
    *,
    is_own: bool = False,
) -> Tensor:
    """Return the kernel of a tile, in scratch memory that the next tile overwrites.

    ``is_own`` says that the rows are the others. The values on the diagonal are then not set.
    """
    shape = len(rows), len(others)
    cosine, angle = (buffer[: shape[0] * shape[1]].view(shape) for buffer in scratch)
    torch.mm(rows.unit, others.unit.mT, out=cosine)
    if is_own:  # otherwise every pair of a row and itself would be computed again
        cosine.fill_diagonal_(0.0)
    if kernel.name == "laplace":
        return _laplace(rows.given, others.given, kernel, cosine)
    low, high = cosine.aminmax()
    near = 1 - (NEAR_PARALLEL_DEEP if kernel.depth > 1 else NEAR_PARALLEL)[cosine.dtype]
    pairs = None
    if low < -near or high > near:
        pairs = (cosine.abs() > near).nonzero()
        cosine.clamp_(-1.0, 1.0)
    torch.acos(cosine, out=angle)
    if kernel.name == "ntk":
        # in place, since most of the time is spent here
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
    """Replace the values of ``pairs`` (count, 2) by values from an accurate angle."""
    for part in torch.split(pairs, max(1, MAX_GATHERED_NUMBERS // rows.unit.shape[1])):
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


#: cos theta, pi - theta and sin theta of each pair of rows before a layer.
Layer = tuple[Tensor, Tensor, Tensor]


def _plain_layers(kernel: Kernel, cosine: Tensor, angle: Tensor) -> Iterator[Layer]:
    """Yield the angles before each layer, computed from the cosines of the rows."""
    for layer in range(kernel.depth):
        if layer:
            cosine = cosine.clamp(-1.0, 1.0)
            angle = cosine.acos()
        supplement, sine = math.pi - angle, (1 - cosine.square()).clamp_(min=0).sqrt_()
        yield cosine, supplement, sine
        cosine = (sine + supplement * cosine) / math.pi


def _exact_layers(kernel: Kernel, theta: Tensor) -> Iterator[Layer]:
    r"""Yield the angles before each layer, computed without cancellation if they are small.

    The cosine after a layer, :math:`(\sin\theta + (\pi - \theta) \cos\theta) / \pi`, is
    :math:`1 - 2 \sin^2(\theta / 2) + (\sin\theta - \theta \cos\theta) / \pi`.
    """
    for _ in range(kernel.depth):
        cosine, sine = theta.cos(), theta.sin()
        yield cosine, math.pi - theta, sine
        square = theta.square()
        series = theta * square * (1 / 3 - square * (1 / 30 - square * (1 / 840 - square / 45360)))
        small = torch.where(theta < 0.1, series, sine - theta * cosine)
        versine = 2 * (theta / 2).sin().square() - small / math.pi  # 1 - cosine after the layer
        theta = 2 * (versine / 2).clamp_(0, 1).sqrt_().asin_()


def _accumulate(kernel: Kernel, layers: Iterator[Layer]) -> tuple[Tensor, Tensor | None]:
    r"""Return the kernel of unit rows, and what the biases add to it.

    With the angle theta after l - 1 layers, c_l the cosine after l layers, and every layer scaled
    to keep lengths, :math:`H_0 = c_0, H_l = H_{l-1} (\pi - \theta) / \pi + c_l`. The biases have
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
    """Return the Laplace kernel in the memory of ``product``, the inner products of the rows."""
    square = rows.square().sum(dim=1)[:, None] + others.square().sum(dim=1)
    distance = torch.sub(square, product.mul_(2), out=product)
    pairs = (distance < NEAR_EQUAL[distance.dtype] * square).nonzero()
    distance.clamp_(min=0).sqrt_()
    for part in torch.split(pairs, max(1, MAX_GATHERED_NUMBERS // rows.shape[1])):
        i, j = part.unbind(dim=1)
        exact = torch.linalg.vector_norm(rows[i].double() - others[j].double(), dim=1)
        distance[i, j] = exact.to(distance.dtype)
    return distance.mul_(-1 / kernel.bandwidth).exp_()
