"""Row expansion: fit a student that takes sample weights on weighted copies of rows."""

import numpy as np
from sklearn.utils import indexable

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


def switch_off_validation_split(student, *, has_validation_rows=False):
    """Switch off early stopping of an unfitted student on a split of its own, in place.

    The split would put copies of one row on both sides, so that training would stop when the
    copies are learned rather than the rows. Estimators inside the student are treated likewise.
    Early stopping on validation rows that the student is given stays.
    """
    params = last_step(student).get_params()
    off = {}
    for key, value in params.items():
        owner, name = key[: key.rfind("__") + 2] if "__" in key else "", key.split("__")[-1]
        if has_validation_rows and not owner:
            continue
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
    labels.

    Returns
    -------
    Q : ndarray of shape (n_samples, n_classes)
        Soft labels times the weights of the classes.
    """
    params = last_step(student).get_params(deep=False)
    if not isinstance(params.get("class_weight"), str):
        return Q
    student.set_params(**{step_parameter(student, "class_weight"): None})
    class_weight_sums = Q.sum(axis=0) if sample_weight is None else sample_weight @ Q
    return Q * balanced_factors(class_weight_sums)


def fit_expanded(student, data, Q, classes, params, subtask):
    """Fit an unfitted student on the copies of :func:`expand_rows`, and return it.

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
    rows, columns, weight = expand_rows(Q, params.pop("sample_weight", None))
    params = check_method_params(X, params=params, indices=rows)
    check_copies(X, len(Q), len(rows))
    with begin_subtask(subtask, last):
        params = {**params, **validation, "sample_weight": weight}
        fitted = fit_on_labels(last, safe_indexing(X, rows), classes[columns], params)
    return with_last_step(student, fitted)
