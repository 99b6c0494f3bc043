"""Fit classifiers that take only the labels 0 to n_classes - 1, such as those of XGBoost."""

from contextlib import suppress

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.metaestimators import available_if

from sklearn_kd._utils.labels import encode_labels
from sklearn_kd._utils.protocols import Distiller
from sklearn_kd._utils.responses import as_labels
from sklearn_kd._utils.sub_estimators import kind_of, last_step, merge_tags, with_last_step

#: Packages whose classifiers take any labels, so that their errors are about something else.
PACKAGES_OF_ANY_LABELS = {"sklearn", "sklearn_kd"}


class EncodedLabelsClassifier(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Classifier that is fitted on the positions of the labels in ``classes_``.

    Its predictions are labels. Fitted attributes of the classifier inside, other than ``classes_``,
    are attributes of this one too.

    Parameters
    ----------
    estimator : classifier
        Cloned.

    Attributes
    ----------
    estimator_ : classifier
        Fitted on the labels 0 to n_classes - 1.
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    """

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y, **params):
        """Fit a clone of the classifier, with the metadata that it takes."""
        classes = _labels(y, params)
        if "soft_targets" in params:
            codes = range(len(classes))
            params = {**params, "soft_targets": params["soft_targets"].set_axis(codes, axis=1)}
        if params.get("y_val") is not None:
            params = {**params, "y_val": encode_labels(params["y_val"], classes)[1]}
        estimator = clone(self.estimator)
        estimator.fit(X, encode_labels(y, classes)[1], **params)
        self.estimator_, self.classes_ = estimator, classes
        return self

    def predict(self, X):
        """Predict labels."""
        codes = np.arange(len(self.classes_))
        name = type(self.estimator).__name__
        return self.classes_[as_labels(self.estimator_.predict(X), X, codes, name)]

    @available_if(lambda self: hasattr(self._inner, "predict_proba"))
    def predict_proba(self, X):
        """Return what the classifier does, columns in the order of ``classes_``."""
        return self.estimator_.predict_proba(X)

    @available_if(lambda self: hasattr(self._inner, "predict_log_proba"))
    def predict_log_proba(self, X):
        """Return what the classifier does, columns in the order of ``classes_``."""
        return self.estimator_.predict_log_proba(X)

    @available_if(lambda self: hasattr(self._inner, "decision_function"))
    def decision_function(self, X):
        """Return what the classifier does, columns in the order of ``classes_``."""
        return self.estimator_.decision_function(X)

    @property
    def _inner(self):
        return vars(self).get("estimator_", self.estimator)

    def __getattr__(self, name):
        # while an instance is unpickled it has no attributes
        if name.endswith("_") and not name.startswith("_") and "estimator_" in vars(self):
            return getattr(self.estimator_, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def get_metadata_routing(self):
        """Return the requests of the classifier."""
        return get_routing_for_object(self.estimator)

    def __sklearn_tags__(self):
        return merge_tags(super().__sklearn_tags__(), [self.estimator])


def fit_on_labels(estimator, X, y, params):
    """Fit an estimator, on encoded labels if it takes no others, and return it.

    Classifiers of some packages, XGBoost among them, refuse labels other than 0 to n_classes - 1,
    and such labels in a fold that lacks a class. Nothing says so but their errors. An estimator of
    another package than scikit-learn that fails on other labels is therefore fitted once more, on
    their positions. If this fails too, the first error is raised.

    Parameters
    ----------
    estimator : estimator
        Unfitted, and fitted in place if it takes the labels.
    X, y
        Rows and labels.
    params : dict
        Metadata for ``fit``.

    Returns
    -------
    estimator
        The fitted estimator, or a clone of it whose last step is an `EncodedLabelsClassifier`.
    """
    try:
        estimator.fit(X, y, **params)
    except Exception:
        if not _may_want_codes(estimator, y, params):
            raise
        encoded = _with_encoded_labels(estimator)
        with suppress(Exception):
            encoded.fit(X, y, **params)
            return encoded
        raise
    return estimator


def _may_want_codes(estimator, y, params):
    """Return whether the labels may be the reason why a fit has failed."""
    if isinstance(last_step(estimator), (FrozenEstimator, Distiller)):
        return False  # the first is not fitted, the second encodes labels itself
    if kind_of(estimator) == "regressor":
        return False
    classes = _labels(y, params)
    if classes.dtype.kind in "iu" and np.array_equal(classes, np.arange(len(classes))):
        return False
    parameters = estimator.get_params()
    parts = [estimator, *(value for value in parameters.values() if hasattr(value, "fit"))]
    packages = {type(part).__module__.partition(".")[0] for part in parts}
    # the keys of class weights are labels
    weights_by_label = any(
        name.split("__")[-1] == "class_weight" and isinstance(value, dict)
        for name, value in parameters.items()
    )
    return not (packages <= PACKAGES_OF_ANY_LABELS or weights_by_label)


def _labels(y, params):
    """Return the sorted labels of y, or those of the columns of soft targets."""
    for name, value in params.items():
        if name.split("__")[-1] == "soft_targets":
            return np.asarray(value.columns)
    return np.unique(y)


def _with_encoded_labels(estimator):
    """Return a clone of an estimator whose last step encodes the labels."""
    encoded = EncodedLabelsClassifier(clone(last_step(estimator)))
    return with_last_step(clone(estimator), encoded)


def without_encoding(estimator):
    """Return an unfitted estimator as it was before `fit_on_labels` has encoded the labels."""
    last = last_step(estimator)
    if not isinstance(last, EncodedLabelsClassifier):
        return estimator
    return with_last_step(clone(estimator), last.estimator)
