"""Train a network on targets by Bayes' rule."""

import copy
import math

import numpy as np

from sklearn_kd._self_distillation.bayes_targets import bayes_targets
from sklearn_kd._self_distillation.fitted_attributes import fitted_attributes
from sklearn_kd._self_distillation.noise_model import (
    noise_model_of_other_rows,
    posterior_label_probabilities,
)
from sklearn_kd._utils.callbacks import Subtask

#: Rows of a step, fewest epochs, fewest steps and most epochs of a training by early-learning
#: regularization, for those parameters of the network that are "auto".
BATCH_SIZE, MIN_EPOCHS, MIN_STEPS, MAX_EPOCHS = 128, 30, 3000, 500
#: Probabilities of validation targets below it are left out.
MIN_TARGET = 1e-3


def fit_by_bayes_rule(est, network, rows, ctx):
    """Train a network on the targets of `bayes_targets`, and return fitted attributes."""
    from sklearn_kd._self_distillation.corrected_targets import early_learning

    of_validation_rows = []  # log-probabilities

    def train(part, factor):
        first, correction = copy.copy(network), None  # with its checks and callbacks
        if factor is not None:
            correction = early_learning(factor)
            _set_early_learning_schedule(first, len(part.y_encoded))
            part = part.without_validation_rows()
        if est.verbose:
            how = "plainly" if factor is None else "by early-learning regularization"
            print(f"[SelfDistillClassifier] {len(part.y):,} rows are learned {how}")
        task = Subtask(ctx, "fit-first-generation", est, part.X, part.y)
        part.train(first, task, correction=correction)
        task.end()
        if rows.X_val is not None:
            of_validation_rows.append(first.predict_log_proba(rows.X_val).astype(np.float64))
        return first

    found = bayes_targets(rows, len(network.classes_), network.random_state, train)
    if of_validation_rows:
        log_proba = np.mean(of_validation_rows, axis=0)
        rows = _with_corrected_validation_rows(rows, log_proba, found.model)
    network.set_params(alpha=1.0, temperature=1.0)
    task = Subtask(ctx, "fit-second-generation", est, rows.X, rows.y)
    rows.train(network, task, found.targets)
    given, kept = rows.label_indicators(network.classes_), rows.is_kept
    share = np.average(1 - found.targets[given[kept]], weights=rows.weights)
    curve, (proba, quality) = np.full(network.n_iter_, share), rows.predictions(network)
    refined = posterior_label_probabilities(proba, given, found.model.transition)
    refined[kept] = _geometric_mean(found.targets, proba[kept])
    fitted = fitted_attributes(est, network, rows, proba, quality, curve, is_by_bayes_rule=True)
    fitted |= {"noise_rate_": found.model.likeliest_rate, "refined_targets_": refined}
    task.end(fitted)
    return fitted


def _with_corrected_validation_rows(rows, log_proba, model):
    """Return rows whose validation rows have targets by Bayes' rule.

    A network that learns corrected labels is surer of them than of labels as given, so that its
    loss on labels of which many are wrong rises from the first epochs on.
    """
    y_encoded, weights = rows.validation.y_encoded, rows.validation.weights
    model = noise_model_of_other_rows(model, log_proba, y_encoded, weights)
    given = y_encoded[:, None] == np.arange(log_proba.shape[1])
    targets = model.posterior(log_proba, given)
    return rows.with_validation_targets(np.where(targets > MIN_TARGET, targets, 0.0))


def _set_early_learning_schedule(network, n_rows):
    """Let a network train by early-learning regularization, to its last epoch."""
    network.early_stopping = False
    if network.batch_size == "auto":
        network.batch_size = BATCH_SIZE
    n_epochs = math.ceil(MIN_STEPS * (network.batch_size or n_rows) / n_rows)
    for name in ("max_iter", "max_epochs"):
        if getattr(network, name, None) == "auto":
            setattr(network, name, min(max(MIN_EPOCHS, n_epochs), MAX_EPOCHS))


def _geometric_mean(first, second):
    """Return the normalized geometric mean of probabilities, arrays (n_samples, n_classes)."""
    mean = np.sqrt(first * second) + np.finfo(np.float64).tiny
    return mean / mean.sum(axis=1, keepdims=True)
