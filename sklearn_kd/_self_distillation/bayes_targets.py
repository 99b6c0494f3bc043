"""Targets by Bayes' rule from networks that have not seen the labels."""

from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from sklearn_kd._self_distillation.noise_model import (
    MIN_NOISE_RATE,
    NoiseModel,
    fit_noise_model,
    is_clearly_positive,
    symmetric_transition,
)
from sklearn_kd._utils.folds import content_folds
from sklearn_kd._utils.groups import held_out_group_folds
from sklearn_kd._utils.sklearn_compat import safe_indexing

#: Folds of the networks that predict rows without their labels. With 3 in place of 5, accuracy on
#: letter with 20 and 40 % wrong labels was .2 and 1.4 points lower.
N_FOLDS = 5
#: Number of different rows from which on they are divided into folds. The networks of fewer rows
#: are too different from one that has seen all.
MIN_HELD_OUT_ROWS = 200
#: Ratio of the margin of certain predictions to that from which on logits rise, and largest lambda,
#: in `early_learning_factor`.
MARGIN_RATIO, MAX_FACTOR = 1.5, 7.0


class BayesTargets(NamedTuple):
    """Targets of the rows of positive weight, and the model of the noise that they are made by."""

    targets: np.ndarray  # (n_kept, n_classes), probabilities of the true classes
    model: NoiseModel


def early_learning_factor(transition):
    r"""Return lambda of early-learning regularization for P(given label | true class).

    Although another label is given, the logit of a predicted class rises where the margin of its
    probability p over the others, if these are equal, :math:`u = p - (1 - p) / (K - 1)`, exceeds
    :math:`1 / (\lambda - 1)` (see `EarlyLearning`, with a memory equal to p). A network that has
    not yet memorized single labels predicts the true class of certain rows with the margin m of its
    own label over the others in the matrix, :math:`1 - \rho K / (K - 1)` for symmetric noise. With
    :math:`\lambda = 1 + 1.5 / m`, two thirds of this margin are enough. Lambda is at most 7.
    """
    own = transition.diagonal()
    margin = np.mean(own - (transition - np.diag(own)).max(axis=1))
    return float(min(MAX_FACTOR, 1 + MARGIN_RATIO / max(margin, 1e-9)))


def bayes_targets(rows, n_classes, random_state, train):
    """Return targets for all rows by networks that have not seen their labels.

    The networks are trained plainly, or by early-learning regularization if this predicts the
    labels of the first fold clearly better, since it harms classes that overlap. The noise and a
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
    fold, group = held_out_folds(rows, random_state), rows.independent_group
    weights = rows.sample_weight[rows.is_kept]

    def fitted_model(log_proba):
        """Return which rows have a prediction, and the model of their noise."""
        known = np.isfinite(log_proba[:, 0])
        given = rows.y_encoded[known], weights[known], group[known]
        return known, fit_noise_model(log_proba[known], *given)

    targets = np.eye(n_classes)[rows.y_encoded]
    plain = predict_fold(0, rows, fold, n_classes, train, None)
    if np.isnan(plain).all():  # no row can be held out: the labels as they are
        transition = symmetric_transition(MIN_NOISE_RATE, n_classes)
        return BayesTargets(targets, NoiseModel(1.0, transition, MIN_NOISE_RATE, np.zeros(0)))
    known, model = fitted_model(plain)
    factor = early_learning_factor(model.transition)
    regularized = predict_fold(0, rows, fold, n_classes, train, factor)
    gain = model.row_losses - fitted_model(regularized)[1].row_losses
    log_proba = plain
    if is_clearly_positive(gain, weights[known], group[known]):
        log_proba = regularized
    factor = None if log_proba is plain else factor
    for number in range(1, N_FOLDS):
        predicted = predict_fold(number, rows, fold, n_classes, train, factor)
        log_proba = np.where(fold[:, None] == number, predicted, log_proba)
    known, model = fitted_model(log_proba)
    targets[known] = model.posterior(log_proba[known], targets[known] > 0)
    return BayesTargets(targets, model)


def held_out_folds(rows, random_state):
    """Return the fold of each row of positive weight, -1 for rows that are not held out."""
    group, rng = rows.validation.group, check_random_state(random_state)
    if group is None:
        fold = content_folds(rows.X_flat, rows.y_encoded, rows.weights, N_FOLDS, rng)
    else:
        fold = held_out_group_folds(group, rows.y_encoded, rows.weights, N_FOLDS, rng)
    return np.full(len(rows.y_encoded), -1) if fold is None else fold


def predict_fold(number, rows, fold, n_classes, train, factor):
    """Return log-probabilities of the rows of a fold by a network that was trained on the others.

    Returns
    -------
    ndarray of shape (n_kept, n_classes)
        NaN for other rows, for those whose class the network could not learn, and for all where the
        others have one class.
    """
    log_proba, test = np.full((len(fold), n_classes), np.nan), fold == number
    learned = np.unique(rows.y_encoded[~test])
    if test.any() and len(learned) > 1:
        X_test = safe_indexing(rows.X, np.flatnonzero(rows.is_kept)[test])
        log_proba[test] = train(rows.part(~test), factor).predict_log_proba(X_test)
        log_proba[test & ~np.isin(rows.y_encoded, learned)] = np.nan
    return log_proba
