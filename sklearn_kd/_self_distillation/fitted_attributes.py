"""Fitted attributes of SelfDistillClassifier, from its network and the rows of its training."""

import numpy as np

from sklearn_kd._self_distillation.label_quality import (
    estimate_noise_rate,
    predictions_without_label_influence,
)
from sklearn_kd._self_distillation.noise_model import (
    posterior_label_probabilities,
    symmetric_transition,
)
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import ClassCollapseWarning


def fitted_attributes(est, network, rows, curve, confidence=None, weight=None, noise_rate=None):
    """Return the fitted attributes.

    Parameters
    ----------
    est : SelfDistillClassifier
    network : estimator
        Fitted.
    rows : SelfDistillationRows
    curve : ndarray
        Weight of the predictions in each epoch.
    confidence : ndarray of shape (n_samples,), default=None
        Probabilities of the given labels. None: those of the network.
    weight : float, default=None
        As in `predictions_without_label_influence`.
    noise_rate : float, default=None
        None: estimated from the predictions of the network for its training rows.
    """
    classes, given = network.classes_, rows.label_indicators(network.classes_)
    proba = network.predict_proba(rows.X).astype(np.float64)
    if confidence is None:
        confidence = (proba * given).sum(axis=1)
    kept, adjusted, rate = rows.is_kept, proba.copy(), noise_rate
    adjusted[kept] = predictions_without_label_influence(proba[kept], given[kept], weight)
    if rate is None:
        rate = estimate_noise_rate(adjusted[kept], rows.y_encoded, rows.sample_weight[kept])
    suggested = proba.argmax(axis=1)
    _warn_if_classes_vanish(est, classes, rows.y_encoded, suggested[kept])
    transition = symmetric_transition(rate, len(classes))
    return {
        "estimator_": network,
        "first_generation_": None,
        "classes_": classes,
        "refined_targets_": posterior_label_probabilities(adjusted, given, transition),
        "label_quality_": np.clip(confidence, 0, 1),
        "noise_rate_": rate,
        "weight_curve_": curve,
        "n_iter_": network.n_iter_,
        "loss_curve_": network.loss_curve_,
        "termination_condition_": network.termination_condition_,
        "_training_labels_": rows.y.copy(),
        "_suggested_codes_": suggested,
    }


def _warn_if_classes_vanish(est, classes, y_encoded, suggested):
    """Warn where a class of the labels is predicted for no row."""
    is_absent = np.bincount(y_encoded, minlength=len(classes)) > 0
    is_absent[suggested] = False
    if is_absent.any():
        advice = "lower strength"
        if est.schedule == "auto":
            advice = "set schedule='chance-corrected'"
        elif est.schedule in ("accuracy", "early-learning"):
            advice += ", or set schedule='chance-corrected'"
        warn_caller(
            f"the classes {classes[is_absent].tolist()} are predicted for no row, though rows "
            f"have these labels: the estimator alone may do better; {advice}.",
            ClassCollapseWarning,
        )
