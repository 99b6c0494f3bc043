"""Early stopping: held-out scores, the weights of the best score, their running mean, patience."""

import copy
import math

import torch
from torch import Tensor

from sklearn_kd._core.network.problem import Students, TrainingResult, ValidationSpec

#: Steps between two updates of the running mean of the weights, which then take little time.
STEPS_PER_AVERAGE = 4
#: Epochs without improvement that a network without a score has from the start. It is larger than
#: any patience, so that such a network never delays the end of its fit.
EPOCHS_OF_UNSCORED = 2**62


def capped(row_losses: Tensor, row_cap: Tensor | None) -> Tensor:
    """Return the losses of rows, each at most its cap."""
    return row_losses if row_cap is None else torch.minimum(row_losses, row_cap)


class EarlyStopping:
    """Scores and best weights of networks side by side.

    Parameters
    ----------
    validation : ValidationSpec
    students : Students
        Their weights change in place as training goes on.
    result : TrainingResult
        Its ``best_score`` and ``best_epoch`` are kept up to date.
    scores_training_pass : bool
        Whether the held-out rows are training rows, whose loss comes with the forward pass of a
        step.

    Attributes
    ----------
    scored_hidden, scored_output : tensors, the shapes of the weights
        What is scored and kept: the weights, or their running mean.
    best_hidden, best_output : tensors, the shapes of the weights
        Weights of the best score of each network so far.
    best_score, best_epoch, epochs_without_improvement : tensors of shape (students,)
    """

    def __init__(
        self,
        validation: ValidationSpec,
        students: Students,
        result: TrainingResult,
        *,
        scores_training_pass: bool,
    ) -> None:
        self.validation, self.scores_training_pass = validation, scores_training_pass
        self.best_score, self.best_epoch = result.best_score, result.best_epoch
        hidden, output, device = students.hidden, students.output, students.hidden.device
        n_students = len(students)
        self.patience = torch.as_tensor(validation.patience, device=device).expand(n_students)
        self.epochs_without_improvement = torch.zeros(n_students, dtype=torch.int64, device=device)
        self.best_hidden, self.best_output = hidden.clone(), output.clone()
        self.scored_hidden, self.scored_output = hidden, output
        self.averages = validation.averaging > 0
        if self.averages:
            self.scored_hidden, self.scored_output = hidden.clone(), output.clone()
        self.is_scored: Tensor | None = None  # None: every network is
        if validation.pool is not None:
            self.is_scored = torch.zeros(n_students, dtype=torch.bool, device=device)
            self.is_scored[validation.pool[validation.pool >= 0]] = True
            self.epochs_without_improvement[~self.is_scored] = EPOCHS_OF_UNSCORED

    def take(self, students: Tensor, neurons: Tensor, taken: Students) -> "EarlyStopping":
        """Return the early stopping of some students.

        Parameters
        ----------
        students, neurons : tensors of int
            Indices of the students and of their neurons.
        taken : Students
            Those students.
        """
        part = copy.copy(self)
        part.validation = self.validation.take(students)
        for name in ("patience", "epochs_without_improvement", "best_score", "best_epoch"):
            setattr(part, name, getattr(self, name)[students])
        part.best_hidden, part.best_output = self.best_hidden[neurons], self.best_output[neurons]
        part.scored_hidden, part.scored_output = taken.hidden, taken.output
        if self.averages:
            part.scored_hidden = self.scored_hidden[neurons]
            part.scored_output = self.scored_output[neurons]
        if self.is_scored is not None:
            part.is_scored = self.is_scored[students]
        return part

    def update_average(self, students: Students, n_steps: int, n_batches: int) -> None:
        """Include the weights after ``n_steps`` steps in their running mean.

        A mean of points within the radius is within the radius. ``n_batches`` is the number of
        steps of an epoch.
        """
        if not self.averages or n_steps % STEPS_PER_AVERAGE:
            return
        n_taken = n_steps / STEPS_PER_AVERAGE
        n_kept = self.validation.averaging * n_batches / STEPS_PER_AVERAGE
        rate = 1 / max(1.0, min(n_taken, n_kept))
        self.scored_hidden.lerp_(students.hidden, rate)
        self.scored_output.lerp_(students.output, rate)

    def training_pass_losses(self, row_losses: Tensor) -> Tensor:
        """Return held-out losses (students,) from the losses of the training rows."""
        row_losses = capped(row_losses, self.validation.row_cap)
        return (row_losses * self.validation.rows.weights).sum(dim=1).double()

    def update(self, losses: Tensor, epoch: int, student_of_neuron: Tensor) -> Tensor:
        """Keep the weights of every network whose score is its best so far.

        Parameters
        ----------
        losses : tensor of shape (students,)
            Held-out loss of each network.
        epoch : int
            Epochs that the weights have been trained for.
        student_of_neuron : tensor of int of shape (neurons,)

        Returns
        -------
        scores : tensor of shape (students,)
            The losses, pooled, and infinity for a network without a score.
        """
        scores = losses
        if self.is_scored is not None and self.validation.pool is not None:
            pool = self.validation.pool
            counted = torch.where(pool >= 0, losses, 0.0)
            scores = torch.zeros_like(losses).index_add_(0, pool.clamp(min=0), counted)
            scores = torch.where(self.is_scored, scores, math.inf)
        better = scores < self.best_score  # NaN is never better
        self.epochs_without_improvement += 1
        if better.any():
            self.epochs_without_improvement[better] = 0
            self.best_score[better] = scores[better]
            self.best_epoch[better] = epoch
            keep = better[student_of_neuron][:, None]
            torch.where(keep, self.scored_hidden, self.best_hidden, out=self.best_hidden)
            torch.where(keep, self.scored_output, self.best_output, out=self.best_output)
        return scores

    def may_improve(self) -> Tensor:
        """Return a mask (students,) of the networks whose patience has not run out."""
        return self.epochs_without_improvement < self.patience

    def best_weights(self, students: Students, student_of_neuron: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights of the best score, and the present ones of networks without one."""
        has_score = torch.isfinite(self.best_score)[student_of_neuron][:, None]
        hidden = torch.where(has_score, self.best_hidden, students.hidden)
        return hidden, torch.where(has_score, self.best_output, students.output)
