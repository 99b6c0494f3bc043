"""Prediction mixin for classifiers with logits, and restoring an estimator when its fit fails."""

from contextlib import contextmanager

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

__all__ = ["PREDICT_BLOCK_BYTES", "LogitsClassifierMixin", "all_or_nothing", "require_fitted"]


#: Bytes of one layer of activations that a block of rows may take when predicting.
PREDICT_BLOCK_BYTES = 64 * 2**20


@contextmanager
def all_or_nothing(estimator):
    """Undo what a fit has changed when it fails, so that nothing is lost or half-fitted.

    An interrupt is no failure of a student, which has stored the best weights so far by then:
    the fit marks that by setting ``termination_condition_`` to "interrupted".
    """
    before = {name: value for name, value in vars(estimator).items() if name.endswith("_")}
    vars(estimator).pop("termination_condition_", None)  # an earlier fit's
    try:
        yield
    except BaseException as error:
        kept = getattr(estimator, "termination_condition_", None) == "interrupted"
        if not (kept and isinstance(error, KeyboardInterrupt)):
            for name in [name for name in vars(estimator) if name.endswith("_")]:
                del estimator.__dict__[name]
            vars(estimator).update(before)
        raise


class LogitsClassifierMixin(ClassifierMixin):
    """Labels, probabilities and decision values of a classifier that has logits.

    A subclass has ``classes_`` and ``_logits(X)``, which checks that it is fitted and returns
    (n_samples,) for two classes, positive for the second, else (n_samples, n_classes).
    """

    def decision_function(self, X):
        """Logits of the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the log-odds of ``classes_[1]``.
        """
        return self._logits(X)

    def predict(self, X):
        """Most probable class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        logits = self._logits(X)
        best = (logits > 0).astype(np.intp) if logits.ndim == 1 else logits.argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X):
        """Class probabilities: sigmoid or softmax of the logits.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        logits = _two_columns(self._logits(X))
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        return logits

    def predict_log_proba(self, X):
        """Logarithm of the class probabilities, finite where they underflow.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        logits = _two_columns(self._logits(X))
        logits -= logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return logits

    def __sklearn_is_fitted__(self):
        # feature names alone, which validation sets first, do not make a model
        return "classes_" in vars(self)


def _two_columns(logits):
    """(n,) log-odds as the two columns (-f/2, f/2): symmetric, and safe to overwrite."""
    if logits.ndim == 2:
        return logits
    columns = np.empty((len(logits), 2), dtype=logits.dtype)
    np.multiply(logits, -0.5, out=columns[:, 0])
    np.multiply(logits, 0.5, out=columns[:, 1])
    return columns


def require_fitted(estimator):
    """Raise NotFittedError before the first fit; the cheap path once fitted."""
    if "classes_" not in vars(estimator):  # check_is_fitted alone takes a third of a prediction
        check_is_fitted(estimator)
