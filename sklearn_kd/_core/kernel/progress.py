"""Printing the progress of an iterative solver."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """Print one line for each step of a solver.

    A solver calls `report` instead of a function of its caller, so that the estimator decides what
    is printed and the solver needs to know nothing of the estimator.

    Parameters
    ----------
    template : str
        Format string of a line. It may name the quantities that the solver reports, and
        ``seconds``, the time since this object was made.
    """

    template: str
    start: float = field(default_factory=time.perf_counter)

    def report(self, **quantities: float) -> None:
        """Print the line of a step."""
        seconds = time.perf_counter() - self.start
        print(self.template.format(seconds=seconds, **quantities))
