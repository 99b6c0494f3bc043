"""Resolve the "auto" parameters that both networks have, and select validation rows."""

import numpy as np
from scipy.special import entr

from sklearn_kd._utils.folds import random_rows
from sklearn_kd._utils.groups import random_groups
from sklearn_kd._utils.label_indicators import learns_labels, mean_label_entropy
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import EarlyStoppingWarning

#: Rows of a minibatch under batch_size="auto".
BATCH_SIZE = 128
#: Fewest epochs without a better validation loss under n_iter_no_change="auto".
MIN_PATIENCE = 10
#: Mean entropy, in nats, below which early_stopping="auto" treats soft labels like hard ones.
MIN_SOFT_ENTROPY = 0.1


def resolve_batch_size(est, data, *, partial):
    """Return the number of rows of a step, or None where a step takes all rows.

    A call of `partial_fit` is one epoch, which in full batch would be a single step. "auto"
    therefore always means minibatches there.
    """
    batch_size = est.batch_size
    if batch_size == "auto":
        batch_size = None if not partial and data.is_small else BATCH_SIZE
    return None if batch_size is None or batch_size >= len(data.X) else batch_size


def resolve_patience(est, n_epochs, divisor):
    """Return the epochs without improvement that end training: "auto" is 1 / divisor of all."""
    if est.n_iter_no_change == "auto":
        return max(MIN_PATIENCE, n_epochs // divisor)
    return est.n_iter_no_change


def are_almost_hard(soft, weights):
    """Return whether soft labels (n_samples, n_classes) have a mean entropy near zero."""
    entropies = entr(np.clip(soft, 0, 1)).sum(axis=1)
    return bool(np.average(entropies, weights=weights) < MIN_SOFT_ENTROPY)


def are_almost_hard_labels(soft, weights):
    """Return whether the probabilities of several labels have a mean entropy near zero."""
    return mean_label_entropy(soft, weights) < MIN_SOFT_ENTROPY


def stops_early(est, soft, weights, validation, are_almost_hard=are_almost_hard):
    """Return whether a fit stops early.

    "auto" does, unless soft labels are what is learned: by ``alpha``, and by their mean entropy.
    The noise of such labels is small, so that a short schedule on all rows is better than one that
    holds rows out. Labels that are almost hard need longer training, as hard labels do. Above an
    ``alpha`` of one only validation rows, or a radius, bound the loss.

    Parameters
    ----------
    est : estimator
    soft : ndarray of shape (n_samples, n_classes) or None
    weights : ndarray of shape (n_samples,)
    validation : ValidationSource
        Where it has rows of the user, "auto" stops early.
    are_almost_hard : callable
        Says whether soft labels of the rows and their weights are almost hard ones.
    """
    if est.early_stopping != "auto":
        return bool(est.early_stopping)
    if soft is None or validation.has_rows or not 0 < est.alpha <= 1:
        return True
    return are_almost_hard(soft, weights)


def warn_of_no_row_to_hold_out(est, n_epochs, of_classes):
    """Warn that early stopping has no row to hold out.

    ``of_classes`` says when this is so although X has two distinct rows, which is where rows have
    one class each.
    """
    reason = "X has one distinct row"
    if hasattr(est, "classes_") and not learns_labels(est):
        reason += f", or {of_classes}"
    warn_caller(
        f"early_stopping={est.early_stopping!r} has no row to hold out ({reason}): training goes "
        f"on for {n_epochs} epochs. Pass more rows, or set early_stopping=False.",
        EarlyStoppingWarning,
    )


def is_warmed_up(est):
    """Return whether an estimator that is not fitted has an encoder and a scaling of its inputs."""
    return "input_scale_" in vars(est) and not est.__sklearn_is_fitted__()


def resolve_scaling(est, data, fit_scaling, *, partial, resume):
    """Return the offset and the scale of the columns.

    Parameters
    ----------
    est : estimator
    data : TrainingData
    fit_scaling : callable
        Returns the offset and the scale that suit ``data``. It is called where they are needed.
    partial : bool
        Whether this is a call of `partial_fit`, for which ``warm_up`` may have fitted them before.
    resume : bool
        Whether training continues from fitted weights, whose scaling is kept.
    """
    has_scaling = partial and "input_scale_" in vars(est)
    if resume or (has_scaling and est.input_scaling):
        return est.input_offset_, est.input_scale_
    if est.input_scaling:
        return fit_scaling(data)
    n_features = data.X.shape[1]
    return np.zeros(n_features), np.ones(n_features)


def sample_validation_rows(est, data, random_state):
    """Return a stratified mask of ``validation_fraction`` of the rows, None where it is empty.

    Where the rows have groups, they are held out as a whole.
    """
    group = data.validation.group
    if group is None:
        validation_mask = random_rows(data.strata, est.validation_fraction, random_state)
    else:
        rows = group, data.strata, data.weights
        validation_mask = random_groups(*rows, est.validation_fraction, random_state)
    return validation_mask if validation_mask.any() else None
