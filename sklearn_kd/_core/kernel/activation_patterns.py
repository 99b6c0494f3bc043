"""Signs of random projections of rows: which rows are active at each normal draw z.

Draws come in pairs z and -z, of which the signs at z are kept.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

#: Numbers in the largest scratch array.
MAX_SCRATCH_NUMBERS = 2**23
#: Multiplications of one pass over the default number of draws.
MAX_PASS_MULTIPLICATIONS = 2**31
#: Bounds of the default number of pairs of draws.
MIN_PAIRS, MAX_PAIRS = 2**11, 2**16
#: Smallest number of pairs of new draws from which the bounds of the margin are computed.
MIN_FRESH_PAIRS = 2**14
#: Largest number of rows whose equal patterns are merged. So few rows have few distinct patterns,
#: so that many draws take little time.
MAX_MERGED_ROWS = 20
#: Pairs of draws where equal patterns are merged.
MERGED_PAIRS = 2**19
#: Bytes of the signs that are kept.
MAX_PATTERN_BYTES = 10**8

#: Signs of the rows at z for pairs (z, -z), (n, pairs), and the weights of the pairs (pairs,).
PatternChunk = tuple[Tensor, Tensor]


def row_span(rows: Tensor) -> Tensor:
    """Return an orthonormal basis (d, rank) of the span of the rows, with at least one column."""
    _, scales, basis = torch.linalg.svd(rows, full_matrices=False)
    min_scale = float(scales[0]) * max(rows.shape) * torch.finfo(rows.dtype).eps
    rank = max(int((scales > min_scale).sum()), 1)
    span: Tensor = basis[:rank].T
    return span


def default_n_pairs(rows: Tensor, n_outputs: int) -> int:
    """Return the default number of pairs of draws, which bounds time and memory of a pass."""
    n_rows, rank = rows.shape
    if n_rows <= MAX_MERGED_ROWS:
        return MERGED_PAIRS
    affordable = MAX_PASS_MULTIPLICATIONS // (4 * n_rows * rank * n_outputs)
    affordable = min(max(affordable, MIN_PAIRS), MAX_PAIRS)
    return max(min(affordable, MAX_PATTERN_BYTES // n_rows), 1)


def n_fresh_pairs(n_rows: int, n_pairs: int) -> int:
    """Return the number of pairs of new draws for the bounds after a fit to ``n_pairs`` pairs."""
    if n_rows <= MAX_MERGED_ROWS:
        return max(n_pairs, MERGED_PAIRS)
    return max(4 * n_pairs, MIN_FRESH_PAIRS)


def sample_patterns(
    rows: Tensor, n_pairs: int, n_outputs: int, generator: torch.Generator
) -> Iterable[PatternChunk]:
    """Draw the signs of the rows in chunks, with equal patterns of few rows merged."""
    patterns = _draw_patterns(rows, n_pairs, n_outputs, generator)
    return _merge_patterns(patterns) if len(rows) <= MAX_MERGED_ROWS else patterns


def _draw_patterns(
    rows: Tensor, n_pairs: int, n_outputs: int, generator: torch.Generator
) -> Iterator[PatternChunk]:
    chunk_pairs = max(MAX_SCRATCH_NUMBERS // (n_outputs * max(rows.shape)), 16)
    for start in range(0, n_pairs, chunk_pairs):
        size = min(chunk_pairs, n_pairs - start)
        z = torch.randn(
            rows.shape[1], size, dtype=rows.dtype, device=rows.device, generator=generator
        )
        yield rows @ z > 0, rows.new_full((size,), 1 / n_pairs)


def _merge_patterns(chunks: Iterable[PatternChunk]) -> list[PatternChunk]:
    """Merge equal patterns, where z and -z count as one."""
    codes, weights = [], []
    for active, weight in chunks:
        active = active ^ ~active[:1]
        powers = 2 ** torch.arange(len(active), device=active.device)
        codes.append((active * powers[:, None]).sum(dim=0))
        weights.append(weight)
        n_rows = len(active)
    distinct, position = torch.unique(torch.cat(codes), return_inverse=True)
    weight = torch.cat(weights)
    total = weight.new_zeros(len(distinct)).index_add_(0, position, weight)
    bits = torch.arange(n_rows, device=distinct.device)
    return [(((distinct >> bits[:, None]) & 1).bool(), total)]
