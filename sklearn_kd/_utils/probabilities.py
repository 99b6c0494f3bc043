"""Probabilities of fitted classifiers, checked and in the columns of given classes."""

import numpy as np

from sklearn_kd._utils.labels import align_columns
from sklearn_kd._utils.sklearn_compat import num_samples
from sklearn_kd._utils.sub_estimators import last_step
from sklearn_kd._utils.validation import PREDICTED_ROW_SUM_TOLERANCE, check_probabilities

#: Rows whose sum differs from one by more than this are divided by their sum, as the log loss of
#: scikit-learn requires. Others stay as they are: a division may round equal values differently.
RENORMALIZATION_THRESHOLD = 1e-9


def model_probabilities(model, X, classes, *, name=None):
    """Return the probabilities that a fitted classifier predicts.

    Parameters
    ----------
    model : classifier with predict_proba
        Its columns are in the order of its ``classes_``, or of ``classes`` if it has none.
    X : array-like or DataFrame of shape (n_samples, n_features)
    classes : ndarray of shape (n_classes,)
        Sorted labels, among them all classes of the model.
    name : str, default=None
        How error messages call the model. None: the name of its class.

    Returns
    -------
    ndarray of float64 of shape (n_samples, n_classes)
        In float64 for each model, since log losses clip at the resolution of the dtype. Classes
        that the model does not know have zero.

    Raises
    ------
    ValueError
        If the model does not return a row of probabilities for each row of X.
    """
    name = name or type(last_step(model)).__name__
    known = getattr(model, "classes_", classes)
    proba = np.asarray(model.predict_proba(X), dtype=np.float64)
    if proba.shape != (num_samples(X), len(known)):
        raise ValueError(
            f"predict_proba of {name} has returned the shape {proba.shape} for {num_samples(X)} "
            f"rows and {len(known)} classes."
        )
    check_probabilities(proba, f"predict_proba of {name}", PREDICTED_ROW_SUM_TOLERANCE)
    proba = np.clip(proba, 0.0, 1.0)
    total = proba.sum(axis=1, keepdims=True)
    if np.abs(total - 1).max(initial=0.0) > RENORMALIZATION_THRESHOLD:
        proba /= total
    return align_columns(proba, known, classes)
