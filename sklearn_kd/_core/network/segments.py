"""Parts of what belongs to many students: losses and rules of targets, side by side."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

__all__ = ["Segment", "take", "take_segments"]


Part = TypeVar("Part")


def take(what: Part, students: Tensor) -> Part:
    """Loss or rule of targets of some students (their indices, ascending).

    One that has no parameters of single students serves them all as it is.
    """
    return what.take(students) if hasattr(what, "take") else what


class Segment(NamedTuple):
    """Neighboring students, and the loss or the rule that they share."""

    students: slice
    what: Any


def take_segments(segments: Sequence[Segment], students: Tensor) -> list[Segment]:
    """Return the stretches as ``students`` (indices, ascending) are numbered after the others."""
    kept, start = [], 0
    for whole, what in segments:
        own = students[(students >= whole.start) & (students < whole.stop)] - whole.start
        if len(own):
            kept.append(Segment(slice(start, start + len(own)), take(what, own)))
            start += len(own)
    return kept
