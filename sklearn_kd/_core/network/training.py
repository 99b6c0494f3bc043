"""The one training loop: projected first-order descent on any number of students at once."""

from collections.abc import Callable, Sequence

import torch

from sklearn_kd._core.network.losses import Loss
from sklearn_kd._core.network.problem import (
    Students,
    TrainingConfig,
    TrainingResult,
    ValidationSpec,
    WeightedRows,
)
from sklearn_kd._core.network.run import TrainingState

__all__ = ["ResumableTraining", "train"]


def train(
    students: Students,
    rows: WeightedRows,
    loss: Loss,
    plan: TrainingConfig,
    held_out: ValidationSpec | None = None,
    on_epoch: Callable[[int, TrainingResult], bool] | None = None,
) -> TrainingResult:
    """Train ``students`` in place: to the best held-out score, else to the last step.

    Students of one job end together: when none of them has improved for its patience, when all
    have diverged, or at its last epoch. Then they leave, and the products of the others shrink.

    Parameters
    ----------
    students : Students
    rows : WeightedRows
        To learn from.
    loss : Loss
        Value and gradient in the logits.
    plan : TrainingConfig
    held_out : ValidationSpec, optional
        With it, every scored student ends with the weights of its best score.
    on_epoch : callable, optional
        Called with the number of epochs done and the outcome so far; True ends training.

    Returns
    -------
    Outcome
        A student whose loss stopped being finite, or passed `run.DIVERGED` times the untrained one,
        is marked and goes back to its start; its neighbors do not notice. A KeyboardInterrupt
        is handed back in ``interrupt`` for the caller to raise, with the best weights in place.
    """
    training = ResumableTraining(students, rows, loss, plan, held_out)
    return training.advance(on_epoch=on_epoch)


class ResumableTraining:
    """One call of `train` that can pause.

    With ``pauses``, what has been trained so far can be looked at between calls of `advance`: the
    students given then hold their best weights, while copies of them train.
    """

    def __init__(
        self,
        students: Students,
        rows: WeightedRows,
        loss: Loss,
        plan: TrainingConfig,
        held_out: ValidationSpec | None = None,
        *,
        pauses: bool = False,
    ) -> None:
        run = TrainingState(students, rows, loss, plan, held_out)
        self.outcome = run.outcome
        self.run: TrainingState | None = run.copy() if pauses else run

    def advance(
        self,
        until: int | None = None,
        on_epoch: Callable[[int, TrainingResult], bool] | None = None,
    ) -> TrainingResult:
        """Train until all students have ended, or ``until`` epochs (if any) have been trained.

        The outcome is the one object that all calls return; ``on_epoch`` is that of `train`.
        """
        outcome = self.outcome
        if self.run is None:
            return outcome
        run: TrainingState = self.run
        try:
            while until is None or run.n_done < until:
                run.epoch()
                ended = run.note_ended()
                if not ended.all() and on_epoch is not None and on_epoch(run.n_done, outcome):
                    run.end(~ended, "callback")
                    ended |= True
                if run.n_done >= run.first_end:
                    last = ~ended & (run.n_epochs <= run.n_done)
                    run.end(last, "max_iter")
                    ended = ended | last
                if ended.all():
                    self.run = None
                    break
                if ended.any():
                    run.part(ended).finish()
                    self.run = run = run.part(~ended)
            else:
                run = run.copy()  # of which the outcome is made, while the run goes on
                run.end(torch.ones_like(run.diverged), "paused")
        except KeyboardInterrupt as interrupt:
            self.run = None
            outcome.interrupt = interrupt
            run.end(torch.ones_like(run.diverged), "interrupted")
        run.finish()
        return outcome

    def leave(self, jobs: Sequence[int]) -> None:
        """Let jobs end where training has paused; their students stay as they are."""
        if self.run is None:
            return
        stays = ~torch.isin(self.run.job, self.run.job.new_tensor(jobs))
        self.run = self.run.part(stays) if stays.any() else None
