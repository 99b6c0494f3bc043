"""The cost of a fit of networks in row-steps: rows of a step, times networks, over all steps."""

import time
from contextlib import contextmanager
from unittest.mock import patch

from _teachers import Clock


@contextmanager
def counted():
    """Count the cost of what is fitted inside, without that of teachers.

    Yields
    ------
    dict
        ``row_steps`` and ``seconds`` of all fits, and of them ``trial_row_steps`` and
        ``trial_seconds`` of the comparison that "auto" makes on held-out rows. Complete at the end.
        Row-steps are those of `TwoLayerPGDClassifier`.
    """
    from sklearn_kd._core.network.training import TrainingState
    from sklearn_kd._distillation import base

    step, resolve_auto = TrainingState._step, base.resolve_auto
    cost = {"row_steps": 0, "seconds": 0.0, "trial_row_steps": 0, "trial_seconds": 0.0}

    def counting_step(self, inputs, *args):
        cost["row_steps"] += len(inputs) * len(self.students)
        return step(self, inputs, *args)

    def counting_trial(*args, **params):
        before, row_steps = _now(), cost["row_steps"]
        try:
            return resolve_auto(*args, **params)
        finally:
            cost["trial_row_steps"] += cost["row_steps"] - row_steps
            cost["trial_seconds"] += _now() - before

    start = _now()
    with (
        patch.object(TrainingState, "_step", counting_step),
        patch.object(base, "resolve_auto", counting_trial),
    ):
        yield cost
    cost["seconds"] = _now() - start


def _now():
    return time.perf_counter() - Clock.seconds
