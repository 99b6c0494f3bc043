"""Metrics of the agreement between student and teacher, and of calibration."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.labels import check_no_missing_labels, encode_labels
from sklearn_kd._utils.validation import (
    ROW_SUM_TOLERANCE,
    check_probabilities,
    check_unit_interval,
    column_labels,
    is_labeled,
    rescale_weights,
    row_sum_tolerance,
    validate_sample_weight,
)

__all__ = ["agreement_score", "expected_calibration_error", "fidelity_score", "soft_log_loss"]


def _weighted_mean(values, sample_weight):
    if sample_weight is None:
        return float(np.mean(values))
    weights = rescale_weights(validate_sample_weight(sample_weight, values))
    return float(np.average(values, weights=weights))


def _check_proba(proba, name):
    """Validate probabilities of shape (n_samples, n_classes), which errors call ``name``."""
    P = check_array(
        proba,
        dtype=[np.float64, np.float32],
        ensure_2d=False,
        allow_nd=True,
        input_name=name,
    )
    if P.ndim != 2:
        hint = ""
        if P.ndim == 1:
            hint = f" For two classes pass np.column_stack([1 - {name}, {name}])."
        raise ValueError(f"{name} must have shape (n_samples, n_classes), got {P.shape}.{hint}")
    tolerance = row_sum_tolerance(proba)
    check_probabilities(P, name, tolerance)
    return P if tolerance == ROW_SUM_TOLERANCE else P / P.sum(axis=1, keepdims=True)


def _check_proba_pair(first, second, first_name, second_name):
    P, Q = _check_proba(first, first_name), _check_proba(second, second_name)
    if P.shape != Q.shape:
        raise ValueError(
            f"{first_name} and {second_name} must have the same rows and classes, got shapes "
            f"{P.shape} and {Q.shape}. Where one model knows more classes, give the other a "
            "column of zeros for each class that it lacks."
        )
    if hasattr(first, "columns") and hasattr(second, "columns"):
        given, other = list(first.columns), list(second.columns)
        if given != other:
            raise ValueError(
                f"the columns of {first_name} are {given} and those of {second_name} {other}. "
                f"Pass {second_name}[{first_name}.columns]."
            )
    return P, Q


@numpy_inputs
def agreement_score(y_teacher, y_student, *, sample_weight=None):
    """Compute the share of rows on which teacher and student predict the same label.

    The score measures how well the student copies the teacher, not whether either of them is
    correct. Two models with high accuracy agree on most rows without distillation, so compare the
    score with that of a student trained on hard labels.

    Parameters
    ----------
    y_teacher : array-like of shape (n_samples,)
        Labels predicted by the teacher.
    y_student : array-like of shape (n_samples,)
        Labels predicted by the student on the same rows.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights of the rows. None: equal weights.

    Returns
    -------
    score : float
        In [0, 1]. It is 1 if all labels are equal.

    Raises
    ------
    ValueError
        If the lengths differ, labels are missing, or one model predicts strings and the other
        numbers.

    See Also
    --------
    fidelity_score : Similarity of the probabilities.

    References
    ----------
    Stanton, S., Izmailov, P., Kirichenko, P., Alemi, A. A., and Wilson, A. G. (2021). Does
    knowledge distillation really work? NeurIPS 34, arXiv:2106.05945 ("average top-1 agreement").

    Examples
    --------
    >>> from sklearn_kd.metrics import agreement_score
    >>> agreement_score(["cat", "dog", "dog", "cat"], ["cat", "dog", "cat", "cat"])
    0.75
    """
    check_no_missing_labels(y_teacher, name="y_teacher")
    check_no_missing_labels(y_student, name="y_student")
    y_teacher, y_student = column_or_1d(y_teacher), column_or_1d(y_student)
    check_consistent_length(y_teacher, y_student)
    if len(y_teacher) == 0:
        raise ValueError("y_teacher and y_student have no rows; pass one at least.")
    # NumPy compares strings with numbers without an error, and they are never equal
    if isinstance(y_teacher[0], str) != isinstance(y_student[0], str):
        raise ValueError(
            "y_teacher and y_student hold labels of different kinds (text and numbers); "
            "give both models the same labels."
        )
    return _weighted_mean(y_teacher == y_student, sample_weight)


@numpy_inputs
def fidelity_score(proba_teacher, proba_student, *, sample_weight=None):
    r"""Compute how close the student's probabilities are to the teacher's.

    The score is one minus the mean total variation distance,

    .. math:: 1 - \frac{1}{\sum_i w_i} \sum_i w_i \frac{1}{2} \sum_k |p_{ik} - q_{ik}|.

    Parameters
    ----------
    proba_teacher : array-like of shape (n_samples, n_classes)
        Probabilities of the teacher.
    proba_student : array-like of shape (n_samples, n_classes)
        Probabilities of the student on the same rows, columns in the same order. Two
        DataFrames must have equal column labels.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights of the rows. None: equal weights.

    Returns
    -------
    score : float
        In [0, 1]. It is 1 if all probabilities are equal, and 0 if no class of any row has a
        positive probability under both models.

    Raises
    ------
    ValueError
        If the shapes differ, or the rows are not probabilities that sum to 1 within 1e-5.

    See Also
    --------
    agreement_score : Similarity of the labels.
    soft_log_loss : The loss that distillation minimizes.

    Notes
    -----
    The total variation distance is the largest difference between the probabilities that the
    two models give to any set of classes.

    References
    ----------
    Levin, D. A., and Peres, Y. (2017). Markov Chains and Mixing Times, 2nd ed., American
    Mathematical Society, Proposition 4.2 (total variation is half the sum of absolute
    differences).

    Examples
    --------
    >>> from sklearn_kd.metrics import fidelity_score
    >>> fidelity_score([[0.5, 0.5], [1.0, 0.0]], [[0.75, 0.25], [1.0, 0.0]])
    0.875
    """
    P, Q = _check_proba_pair(proba_teacher, proba_student, "proba_teacher", "proba_student")
    # rows may sum to slightly more than 1, and the score must stay in [0, 1]
    distance = np.minimum(np.abs(P - Q, dtype=np.float64).sum(axis=1) / 2, 1)
    return 1 - _weighted_mean(distance, sample_weight)


@numpy_inputs
def soft_log_loss(soft_targets, proba, *, sample_weight=None):
    r"""Compute the mean cross-entropy of probabilities with soft targets, in nats.

    .. math:: - \frac{1}{\sum_i w_i} \sum_i w_i \sum_k q_{ik} \ln p_{ik}

    With one-hot targets it is :func:`sklearn.metrics.log_loss`. Its minimum is the mean entropy of
    the targets, which ``proba = soft_targets`` reaches. The difference from the minimum is the
    Kullback-Leibler divergence of ``proba`` from the targets.

    Parameters
    ----------
    soft_targets : array-like of shape (n_samples, n_classes)
        Target probabilities q, usually those of the teacher at temperature 1.
    proba : array-like of shape (n_samples, n_classes)
        Predicted probabilities p, columns in the same order. They are clipped to [eps, 1 - eps]
        with the machine epsilon of their dtype, so that the loss is finite. Two DataFrames must
        have equal column labels.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights of the rows. None: equal weights.

    Returns
    -------
    loss : float
        Non-negative. Smaller values are better.

    Raises
    ------
    ValueError
        If the shapes differ, or the rows are not probabilities that sum to 1 within 1e-5.

    References
    ----------
    Hinton, G., Vinyals, O., and Dean, J. (2015). Distilling the knowledge in a neural network.
    arXiv:1503.02531, section 2 (cross-entropy with the soft targets).

    Examples
    --------
    >>> from sklearn_kd.metrics import soft_log_loss
    >>> round(soft_log_loss([[0.75, 0.25]], [[0.5, 0.5]]), 6)
    0.693147
    """
    Q, P = _check_proba_pair(soft_targets, proba, "soft_targets", "proba")
    eps = np.finfo(P.dtype).eps
    log_proba = np.log(np.clip(P, eps, 1 - eps), dtype=np.float64)
    return _weighted_mean(-(np.maximum(Q, 0) * log_proba).sum(axis=1), sample_weight)


@numpy_inputs
def expected_calibration_error(y_true, proba, *, n_bins=15, labels=None, sample_weight=None):
    r"""Compute the mean gap between confidence and accuracy (top-label ECE).

    The confidence of a row is its largest probability. Rows are binned by it into ``n_bins``
    intervals of equal width, :math:`((b - 1) / B, b / B]`, and

    .. math:: \mathrm{ECE} = \sum_b \frac{W_b}{W}
              \left| \mathrm{acc}(S_b) - \mathrm{conf}(S_b) \right|,

    where :math:`W_b` is the sum of the weights of the rows :math:`S_b` of a bin, and W the sum over
    all rows. Accuracy and confidence of a bin are weighted means.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    proba : array-like of shape (n_samples, n_classes) or (n_samples,)
        Predicted probabilities, columns in the order of ``labels``, also in a DataFrame. One
        number per row is the probability of the second of two labels.
    n_bins : int, default=15
        Number of bins B. More bins resolve finer gaps and require more rows, since a bin of few
        rows adds noise, which biases the error of a calibrated model upwards.
    labels : array-like of shape (n_classes,), default=None
        Sorted class labels of the columns (``classes_`` of the model). None:
        ``np.unique(y_true)``. Required if ``y_true`` lacks a class.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights of the rows. A weight of k equals k copies of the row. None: equal
        weights.

    Returns
    -------
    error : float
        In [0, 1]. It is 0 if confidence and accuracy are equal in every bin.

    Raises
    ------
    ValueError
        If ``proba`` does not have a column per label, or is a DataFrame with the labels as its
        columns in another order, its rows are not probabilities that sum to 1 within 1e-5,
        ``labels`` is not sorted, ``y_true`` has a label that is not among them, or ``n_bins`` is
        not a positive integer.

    References
    ----------
    Guo, C., Pleiss, G., Sun, Y., and Weinberger, K. Q. (2017). On calibration of modern neural
    networks. ICML, eq. 3 (also the source of 15 bins).

    Examples
    --------
    Predictions with confidence 0.75 are right half of the time, and those with 0.875 always:

    >>> from sklearn_kd.metrics import expected_calibration_error
    >>> proba = [[0.75, 0.25], [0.25, 0.75], [0.125, 0.875], [0.875, 0.125]]
    >>> expected_calibration_error(["no", "no", "yes", "no"], proba)
    0.1875
    """
    if not isinstance(n_bins, Integral) or isinstance(n_bins, bool) or n_bins < 1:
        raise ValueError(f"n_bins must be an integer of at least 1, got {n_bins!r}.")
    if labels is not None:
        labels = column_or_1d(labels)
        if not np.array_equal(labels, np.unique(labels)):
            raise ValueError(
                f"labels must be sorted and without repeats, got {labels.tolist()}. Pass the "
                "columns of proba in the order of np.unique(labels)."
            )
    n_bins = int(n_bins)
    labels, y_encoded = encode_labels(column_or_1d(y_true), labels)
    if is_labeled(proba):
        columns, wanted = column_labels(proba, labels).tolist(), labels.tolist()
        if columns != wanted and set(columns) == set(wanted):
            raise ValueError(
                f"the columns of proba are {columns} and the labels {wanted}. Pass proba[labels]."
            )
    proba = np.asarray(proba)
    if proba.ndim == 1 or (proba.shape[1:] == (1,) and len(labels) == 2):
        proba = proba.ravel()
        positive = check_array(
            proba, dtype=[np.float64, np.float32], ensure_2d=False, input_name="proba"
        )
        check_unit_interval(positive, "proba")
        P = np.column_stack([1 - positive, positive])
    else:
        P = _check_proba(proba, "proba")
    check_consistent_length(y_encoded, P)
    if P.shape[1] != len(labels):
        raise ValueError(
            f"proba is for {P.shape[1]} classes but there are {len(labels)} labels "
            f"{labels.tolist()}. Pass labels=classes_ of the model where y_true lacks a class."
        )
    correct = P.argmax(axis=1) == y_encoded
    confidence = P.max(axis=1)
    # the quotients b / B are rounded to the dtype of P, so that 0.2 is in (2/15, 3/15]
    edges = (np.arange(1, n_bins) / n_bins).astype(P.dtype)
    bins = np.searchsorted(edges, confidence, side="left")
    weights = rescale_weights(validate_sample_weight(sample_weight, y_encoded))
    gaps = np.bincount(bins, weights=weights * (correct - confidence.astype(np.float64)))
    return float(np.abs(gaps).sum() / weights.sum())
