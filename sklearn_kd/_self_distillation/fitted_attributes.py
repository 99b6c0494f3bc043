"""Fitted attributes of SelfDistillClassifier, from its network and the rows of its training."""

import numpy as np

from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import ClassCollapseWarning


def fitted_attributes(est, network, rows, proba, label_quality, curve, is_by_bayes_rule=False):
    """Return the fitted attributes except for the noise rate and the refined targets.

    Parameters
    ----------
    est : SelfDistillClassifier
    network : estimator
        Fitted.
    rows : SelfDistillationRows
    proba : ndarray of shape (n_samples, n_classes)
        Probabilities of the network for the rows.
    label_quality : ndarray of shape (n_samples,)
    curve : ndarray of shape (n_iter,)
        Weight of the predictions in each epoch.
    is_by_bayes_rule : bool, default=False
        Decides what a warning advises.
    """
    suggested = proba.argmax(axis=1)
    is_absent = np.bincount(rows.y_encoded, minlength=len(network.classes_)) > 0
    is_absent[suggested[rows.is_kept]] = False
    if is_absent.any() and curve.any():  # otherwise it is the estimator alone
        advice = "lower strength"
        if is_by_bayes_rule:
            advice = "set schedule='chance-corrected'"
        elif est.schedule in ("accuracy", "early-learning"):
            advice += ", or set schedule='chance-corrected'"
        warn_caller(
            f"the classes {network.classes_[is_absent].tolist()} are predicted for no row, though "
            f"rows have these labels: the estimator alone may do better; {advice}.",
            ClassCollapseWarning,
        )
    return {
        "estimator_": network,
        "first_generation_": None,
        "classes_": network.classes_,
        "label_quality_": np.clip(label_quality, 0, 1),
        "weight_curve_": curve,
        "n_iter_": network.n_iter_,
        "loss_curve_": network.loss_curve_,
        "termination_condition_": network.termination_condition_,
        "_training_labels_": rows.y.copy(),
        "_suggested_codes_": suggested,
    }
