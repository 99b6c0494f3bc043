"""What the estimators share. Think twice before adding to it."""

from contextlib import contextmanager

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

__all__ = ["EpochReporter", "LogitsClassifierMixin", "all_or_nothing"]

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


class EpochReporter:
    """Tells callbacks and the terminal about training, a block of epochs at a time.

    A block rather than an epoch because scikit-learn keeps one context alive per task until fit
    ends, and a full-batch fit has thousands of epochs of a millisecond. Training that begins
    again, at a smaller step size, is reported from where it got to before: each block once.

    Parameters
    ----------
    estimator : estimator with the callback mixin
    n_epochs : int
        The most that training will take.
    current : callable
        Returns the fitted attributes as they stand, for callbacks that score the estimator.
    X, y : array-like
        Training data, for such callbacks.
    """

    def __init__(self, estimator, n_epochs, current, X, y):
        self.estimator, self.current, self.X, self.y = estimator, current, X, y
        self.block = max(1, -(-n_epochs // 100))
        self.n_epochs = n_epochs
        self.context = estimator._init_callback_context(max_subtasks=-(-n_epochs // self.block))
        self.context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
        self.task, self.reported = None, 0
        self.listens = bool(getattr(estimator, "_skl_callbacks", None))
        if self.listens:
            self._begin()

    def _begin(self):
        self.task = self.context.subcontext(task_name="epochs")
        self.task.call_on_fit_task_begin(estimator=self.estimator, X=self.X, y=self.y)

    def __call__(self, epoch, loss, score):
        """Report; True where a callback asks to stop. ``loss`` and ``score`` are callables."""
        if epoch % self.block and epoch != self.n_epochs:
            return False
        if self.estimator.verbose:
            held_out = score()
            tail = "" if held_out is None else f", held-out loss {held_out:.5f}"
            name = type(self.estimator).__name__
            print(f"[{name}] epoch {epoch}/{self.n_epochs}: loss {loss():.5f}{tail}")
        if not self.listens or epoch <= self.reported:
            return False
        self.reported = epoch
        stop = self._end()
        if epoch < self.n_epochs and not stop:
            self._begin()
        return bool(stop)

    def _end(self):
        task, self.task = self.task, None
        return task.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            y=self.y,
            reconstruction_attributes=self.current,
        )

    def finish(self):
        """Close the tasks that are open."""
        if self.task is not None:
            self._end()
        self.context.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            y=self.y,
            reconstruction_attributes=self.current,
        )
