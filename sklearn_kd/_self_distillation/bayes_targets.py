"""Targets by Bayes' rule from networks that have not seen the labels."""

from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from sklearn_kd._self_distillation.label_quality import (
    NoiseModel,
    fit_noise_model,
    posterior_label_probabilities,
)
from sklearn_kd._utils.folds import content_folds
from sklearn_kd._utils.groups import held_out_group_folds
from sklearn_kd._utils.sklearn_compat import safe_indexing

#: Folds of the networks that predict rows without their labels. With 3 in place of 5, accuracy on
#: letter with 20 and 40 % wrong labels was .3 and 1.4 points lower.
N_FOLDS = 5
#: Number of rows from which on they are divided into folds. The networks of fewer rows are too
#: different from one that has seen all.
MIN_HELD_OUT_ROWS = 200
#: Constants of `early_learning_factor`.
PULL_MARGIN, MAX_FACTOR = 1.5, 7.0


class BayesTargets(NamedTuple):
    """Targets of the rows of positive weight, and the noise rate that they were computed with."""

    targets: np.ndarray  # (n_kept, n_classes), probabilities of the true classes
    noise_rate: float


def early_learning_factor(noise_rate, n_classes):
    r"""Return lambda of early-learning regularization for a noise rate.

    A prediction p of a class, with the other probabilities equal, outweighs another given label
    where its margin over them, :math:`u = p - (1 - p) / (K - 1)`, exceeds :math:`1 / (\lambda - 1)`
    (see `EarlyLearning`, with a memory equal to p). A network that has not yet memorized single
    labels predicts the true class of certain rows with the margin
    :math:`1 - \rho K / (K - 1)`. With :math:`\lambda = 1 + 1.5 / (1 - \rho K / (K - 1))`, two
    thirds of this margin are enough.
    """
    margin = 1 - noise_rate * n_classes / (n_classes - 1)
    return min(MAX_FACTOR, 1 + PULL_MARGIN / max(margin, 1e-9))


def bayes_targets(rows, n_classes, random_state, train):
    """Return targets for all rows by networks that have not seen their labels.

    The networks are trained plainly, or by early-learning regularization if this predicts the
    labels of the first fold clearly better, since it harms classes that overlap. A noise rate and a
    temperature are fitted to the given labels.

    Parameters
    ----------
    rows : SelfDistillationRows
    n_classes : int
    random_state : int or None
        Seed of the folds.
    train : callable
        ``train(rows, factor)`` returns a fitted network; factor is that of early-learning
        regularization, or None.

    Returns
    -------
    BayesTargets
    """
    fold = held_out_folds(rows, random_state)
    predictions = HeldOutPredictions(rows, fold, n_classes, train)
    given = np.eye(n_classes, dtype=bool)[rows.y_encoded]
    targets = given.astype(np.float64)
    predictions.add(0)
    if not predictions.known.any():  # no row can be held out: the labels as they are
        return BayesTargets(targets, 0.0)
    factor = early_learning_factor(predictions.noise_model().noise_rate, n_classes)
    regularized = HeldOutPredictions(rows, fold, n_classes, train, factor)
    regularized.add(0)
    if regularized.is_better_than(predictions):
        predictions = regularized
    for number in range(1, N_FOLDS):
        predictions.add(number)
    model, known = predictions.noise_model(), predictions.known
    predicted = model.sharpened(predictions.log_proba[known])
    targets[known] = posterior_label_probabilities(predicted, given[known], model.noise_rate)
    return BayesTargets(targets, model.noise_rate)


def held_out_folds(rows, random_state):
    """Return the fold of each row of positive weight, -1 for rows that are not held out."""
    group, rng = rows.validation.group, check_random_state(random_state)
    if group is None:
        flat = rows.X_checked.reshape(len(rows.X_checked), -1)
        fold = content_folds(flat, rows.y_encoded, rows.weights, N_FOLDS, rng)
    else:
        fold = held_out_group_folds(group, rows.y_encoded, rows.weights, N_FOLDS, rng)
    return np.full(len(rows.y_encoded), -1) if fold is None else fold


class HeldOutPredictions:
    """Log-probabilities by networks that were trained without the row.

    Attributes
    ----------
    log_proba : ndarray of shape (n_kept, n_classes)
        Of the rows of positive weight. NaN for a row of a fold that was not added, or whose class
        no network of its fold could learn.
    """

    def __init__(self, rows, fold, n_classes, train, factor=None):
        self.rows, self.fold, self.train, self.factor = rows, fold, train, factor
        self.weights = rows.sample_weight[rows.is_kept]
        self.log_proba = np.full((len(rows.y_encoded), n_classes), np.nan)

    def add(self, number):
        """Predict the rows of a fold, if there is one, and if the others have two classes."""
        test = self.fold == number
        part = self.rows.part(~test)
        if not test.any() or len(np.unique(part.y_encoded)) < 2:
            return
        X_test = safe_indexing(self.rows.X, np.flatnonzero(self.rows.is_kept)[test])
        self.log_proba[test] = self.train(part, self.factor).predict_log_proba(X_test)
        self.log_proba[test & ~np.isin(self.rows.y_encoded, part.y_encoded)] = np.nan

    @property
    def known(self):
        """Return which rows were predicted."""
        return np.isfinite(self.log_proba[:, 0])

    def is_better_than(self, other):
        """Return whether the given labels are predicted better, by more than two standard errors.

        Equal rows count as one, with the sum of their weights.
        """
        known = self.known & other.known
        y, weights = self.rows.y_encoded[known], self.weights[known]
        losses = [each.noise_model().row_losses(each.log_proba[known], y) for each in (self, other)]
        gain = losses[1] - losses[0]
        _, row = np.unique(np.column_stack([*losses, y]), axis=0, return_inverse=True)
        mean = np.average(gain, weights=weights)
        of_rows = np.bincount(row, weights * (gain - mean))
        return mean > 2 * np.sqrt(np.sum(of_rows**2)) / weights.sum()

    def noise_model(self) -> NoiseModel:
        """Return the model of the noise of the rows that were predicted."""
        known = self.known
        y, weights = self.rows.y_encoded[known], self.weights[known]
        return fit_noise_model(self.log_proba[known], y, weights)
