"""Losses and rules of targets that differ between networks side by side, and their subsets."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

Part = TypeVar("Part")


def take(part: Part, students: Tensor) -> Part:
    """Return the loss or rule of targets of some students (their indices, ascending).

    One without parameters of single students has no method ``take``, and serves them all as it is.
    """
    return part.take(students) if hasattr(part, "take") else part


class Segment(NamedTuple):
    """Neighboring students, and the loss or the rule of targets that they share."""

    students: slice
    part: Any


def take_segments(segments: Sequence[Segment], students: Tensor) -> list[Segment]:
    """Return the segments of ``students`` (indices, ascending), which are numbered from zero."""
    kept, start = [], 0
    for whole, part in segments:
        own = students[(students >= whole.start) & (students < whole.stop)] - whole.start
        if len(own):
            kept.append(Segment(slice(start, start + len(own)), take(part, own)))
            start += len(own)
    return kept
