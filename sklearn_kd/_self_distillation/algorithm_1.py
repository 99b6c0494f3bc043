"""Train a network by Algorithm 1, on targets of its own or on those of a first generation."""

import copy

import numpy as np

from sklearn_kd._self_distillation.fitted_attributes import fitted_attributes
from sklearn_kd._self_distillation.label_quality import in_sample_estimates
from sklearn_kd._utils.callbacks import Subtask
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import CleanLabelsWarning

#: Smallest weight of the predictions of a first generation for which a second one is trained. With
#: less weight the second generation would hardly differ from the first.
MIN_PREDICTION_WEIGHT = 0.1
#: Estimated share of wrong labels below which the labels count as clean.
MAX_CLEAN_NOISE_RATE = 0.05


def fit_one_generation(est, network, rows, ctx, recorder):
    """Train a network that makes its targets in each step, and return fitted attributes."""
    from sklearn_kd._self_distillation.corrected_targets import LabelCorrection

    correction = LabelCorrection(est, recorder)
    task = Subtask(ctx, "fit-estimator", est, rows.X, rows.y)
    rows.train(network, task, correction=correction.spec)
    if recorder is not None:
        recorder.select(correction.spec.student)
    proba, quality = rows.predictions(network)
    confidence = correction.mean_confidence()
    if len(confidence) == len(rows.y_encoded):  # no row was held out
        quality[rows.is_kept] = confidence
    curve = correction.weight_curve(network.n_iter_)
    weight = curve[-1:].sum()
    # a stopped network has not learned its targets, and those of early learning have no such share
    if network.early_stopping or est.schedule == "early-learning":
        weight = None
    fitted = fitted_attributes(est, network, rows, proba, quality, curve)
    fitted |= in_sample_estimates(rows, proba, network.classes_, weight)
    task.end(fitted)
    if fitted["noise_rate_"] < MAX_CLEAN_NOISE_RATE and curve.max(initial=0.0) > 0:
        warn_caller(
            f"the labels look clean (about {fitted['noise_rate_']:.1%} wrong), and correcting "
            "labels that are right but hard to learn is likely to cost accuracy: compare with "
            "the estimator alone, lower strength, or set early_stopping=True on the estimator "
            "with memory='auto'.",
            CleanLabelsWarning,
        )
    return fitted


def fit_two_generations(est, network, rows, ctx):
    """Train a network on the predictions of a plain one, and return fitted attributes."""
    from sklearn_kd._self_distillation.corrected_targets import LabelCorrection

    correction = LabelCorrection(est)
    first = copy.copy(network)  # with its checks and callbacks
    task = Subtask(ctx, "fit-first-generation", est, rows.X, rows.y)
    rows.train(first, task)
    task.end()
    y_encoded, weights, n_classes = rows.y_encoded, rows.weights, len(first.classes_)
    decision = first.decision_function(rows.X)[rows.is_kept]
    right = (decision > 0 if decision.ndim == 1 else decision.argmax(axis=1)) == y_encoded
    shares = np.bincount(y_encoded, weights, n_classes) / weights.sum()
    weight = correction.weight_of(np.average(right, weights=weights), shares.max())
    proba, quality = rows.predictions(first)
    if weight < MIN_PREDICTION_WEIGHT:
        fitted = fitted_attributes(est, first, rows, proba, quality, np.zeros(first.n_iter_))
        return fitted | in_sample_estimates(rows, proba, first.classes_)

    targets = correction.corrected_targets(decision, np.eye(n_classes)[y_encoded], weight)
    network.set_params(alpha=1.0, temperature=1.0)
    task = Subtask(ctx, "fit-second-generation", est, rows.X, rows.y)
    rows.train(network, task, targets)
    proba, second_quality = rows.predictions(network)
    quality, curve = (quality + second_quality) / 2, np.full(network.n_iter_, weight)
    fitted = fitted_attributes(est, network, rows, proba, quality, curve)
    fitted |= in_sample_estimates(rows, proba, network.classes_) | {"first_generation_": first}
    task.end(fitted)
    return fitted
