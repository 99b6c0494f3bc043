"""Row expansion: fit a student that takes sample weights on weighted copies of rows."""

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.utils import gen_batches, indexable

from sklearn_kd._utils.callbacks import begin_subtask
from sklearn_kd._utils.encoded_labels import fit_on_labels
from sklearn_kd._utils.labels import balanced_factors
from sklearn_kd._utils.memory import check_copies
from sklearn_kd._utils.sklearn_compat import check_method_params, safe_indexing
from sklearn_kd._utils.sub_estimators import (
    fit_up_to_last_step,
    last_step,
    step_parameter,
    with_last_step,
)
from sklearn_kd._utils.unique_rows import group_rows

#: Copies of a row up to which each class has one. More would take time in proportion to the number
#: of classes (docs/results.md).
MAX_COPIES = 20
#: A row of more classes has a copy for the most probable ones, until they have this share of its
#: probability, and copies for classes that are drawn from the others. A single class is drawn if
#: the share is reached.
KEPT_SHARE, MAX_KEPT_CLASSES, MAX_DRAWN_CLASSES = 0.999, 15, 5
#: Rows whose classes are drawn at a time, which takes 100 MB for 1000 classes.
BATCH_ROWS = 2000
#: Multiples of the golden ratio modulo 1 are spread evenly over [0, 1).
GOLDEN_RATIO = (1 + 5**0.5) / 2


def draw_classes(Q, X):
    r"""Reduce the classes of each row to `MAX_COPIES`, without a change of the expected loss.

    The student minimizes :math:`\sum_i \sum_k q_{ik} l_k(x_i)`, which is linear in q. The most
    probable classes of a row keep their probability. The others have the probability r together. In
    their place, m classes are drawn by systematic sampling, class k with the expectation
    :math:`m q_{ik} / r`, and each has the probability r / m. The expectation of the loss, and the
    sum of each row, are therefore those of Q. Without the draws, rare classes would be
    underestimated, or missing.

    Parameters
    ----------
    Q : ndarray of shape (n_samples, n_classes)
    X : rows
        Equal rows draw equally, so that a weight of k equals k copies of a row.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        Q itself, if no row has more classes.
    """
    many = np.flatnonzero(np.count_nonzero(Q, axis=1) > MAX_COPIES)
    if not len(many):
        return Q
    Q, point = np.array(Q), group_rows(X)[many] * GOLDEN_RATIO % 1
    for batch in gen_batches(len(many), BATCH_ROWS):
        Q[many[batch]] = _draw_classes(Q[many[batch]], point[batch])
    return Q


def _draw_classes(Q, point):
    """Reduce the classes of rows, each of which draws at a point in [0, 1)."""
    order = np.argsort(-Q, axis=1, kind="stable")
    q = np.take_along_axis(Q, order, axis=1)
    total = q.sum(axis=1)
    is_kept = np.cumsum(q, axis=1) - q < KEPT_SHARE * total[:, None]
    is_kept[:, MAX_KEPT_CLASSES:] = False
    remaining = np.cumsum(np.where(is_kept, 0, q), axis=1)
    r = remaining[:, -1]
    n_drawn = np.where(r > (1 - KEPT_SHARE) * total, MAX_DRAWN_CLASSES, 1)
    last = np.count_nonzero(q, axis=1) - 1  # rounding must not draw a class of probability zero
    q[~is_kept] = 0
    for draw in range(MAX_DRAWN_CLASSES):
        rows = np.flatnonzero(draw < n_drawn)
        goal = (draw + point[rows]) / n_drawn[rows] * r[rows]
        drawn = np.minimum((remaining[rows] <= goal[:, None]).sum(axis=1), last[rows])
        q[rows, drawn] += r[rows] / n_drawn[rows]
    reduced = np.empty_like(Q)
    np.put_along_axis(reduced, order, q, axis=1)
    return reduced


def expand_rows(Q, sample_weight=None):
    """Return the copies of rows, one per class, that have a positive weight.

    Parameters
    ----------
    Q : ndarray of shape (n_samples, n_classes)
        Soft labels.
    sample_weight : ndarray of shape (n_samples,), default=None

    Returns
    -------
    rows, class_indices : ndarray of int of shape (n_copies,)
    weights : ndarray of shape (n_copies,)
    """
    W = Q if sample_weight is None else sample_weight[:, None] * Q
    rows, columns = np.nonzero(W)
    return rows, columns, W[rows, columns]


def switch_off_validation_split(student):
    """Switch off early stopping of an unfitted student on a split of its own, in place.

    The split would put copies of one row on both sides, so that training would stop when the
    copies are learned rather than the rows. Estimators inside the student are treated likewise.
    """
    params = last_step(student).get_params()
    off = {}
    for key, value in params.items():
        owner, name = key[: key.rfind("__") + 2] if "__" in key else "", key.split("__")[-1]
        if name == "early_stopping":
            if isinstance(value, bool | np.bool_ | str):  # "auto" in histogram gradient boosting
                off[key] = False
        elif name == "validation_fraction" and f"{owner}early_stopping" not in params:
            off[f"{owner}n_iter_no_change"] = None  # gradient boosting splits if it is a number
    if off:
        student.set_params(**{step_parameter(student, name): off[name] for name in off})
    return student


def balance_classes(student, Q, sample_weight=None):
    """Apply ``class_weight="balanced"`` of an unfitted student to the soft labels instead.

    The student would count copies, of which each row has one per class, and find the classes
    balanced. Numbers as its class weights would not serve students that look them up by encoded
    labels. Estimators inside the student are treated likewise, except those of a calibration, which
    undoes their weights and would get the weighted labels, too.

    Returns
    -------
    Q : ndarray of shape (n_samples, n_classes)
        Soft labels times the weights of the classes.
    """
    last = last_step(student)
    params = last.get_params(deep=not isinstance(last, CalibratedClassifierCV))
    off = [key for key in params if key.split("__")[-1] == "class_weight"]
    off = [key for key in off if isinstance(params[key], str)]
    if not off:
        return Q
    student.set_params(**{step_parameter(student, key): None for key in off})
    class_weight_sums = Q.sum(axis=0) if sample_weight is None else sample_weight @ Q
    return Q * balanced_factors(class_weight_sums)


def fit_expanded(student, data, Q, classes, params, subtask):
    """Fit an unfitted student on weighted copies of rows, and return it.

    The copies are those of :func:`expand_rows` for the labels of :func:`draw_classes`.

    The steps of a pipeline before the last are fitted on the rows themselves. They should see each
    row once, and an encoder that cross-fits y would leak between copies.

    Parameters
    ----------
    student : estimator or Pipeline
    data : StudentTrainingSet
        Its rows, hard labels and validation rows are used.
    Q : ndarray of shape (n_samples, n_classes)
        Soft labels, tempered or mixed.
    classes : ndarray of shape (n_classes,)
        Labels of the columns of ``Q``.
    params : dict
        Metadata for ``fit``, sample weights among them.
    subtask : Subtask or None
        Subtask of the callbacks, which begins with the fit of the last step.
    """
    last, X, params, validation = fit_up_to_last_step(
        student, data.X, data.y, params, data.validation
    )
    (X,) = indexable(X)
    rows, columns, weight = expand_rows(draw_classes(Q, X), params.pop("sample_weight", None))
    params = check_method_params(X, params=params, indices=rows)
    check_copies(X, len(Q), len(rows))
    with begin_subtask(subtask, last):
        params = {**params, **validation, "sample_weight": weight}
        fitted = fit_on_labels(last, safe_indexing(X, rows), classes[columns], params)
    return with_last_step(student, fitted)
