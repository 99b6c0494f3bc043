"""Mixins of estimators, predictions from logits, and a context manager that undoes failed fits."""

from contextlib import contextmanager

import numpy as np
from scipy.special import expit
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.saved_state import SavedStateMixin
from sklearn_kd._utils.warnings import warning_scope

#: The site of the documentation, which pyproject.toml names as well.
DOCUMENTATION_URL = "https://sklearn-kd.github.io/sklearn-kd"
#: Bytes of one layer of activations that a block of rows may take when predicting.
PREDICT_BLOCK_BYTES = 64 * 2**20
#: Attributes of scikit-learn's callbacks, which its own wrapper of ``fit`` removes.
CALLBACK_ATTRIBUTES = ("_skl_callbacks", "_callback_fit_ctx", "_parent_callback_ctx")


class PublicEstimatorMixin(SavedStateMixin):
    """Mixin for public estimators: what is saved, and the page that the HTML of one links to."""

    _doc_link_module = "sklearn_kd"
    _doc_link_template = f"{DOCUMENTATION_URL}/api/generated/sklearn_kd.{{estimator_name}}.html"


class FittedClassifierMixin(ClassifierMixin):
    """Classifier that is fitted once it has ``classes_``.

    Feature names alone, which validation sets first, do not make a model.
    """

    score = numpy_inputs(ClassifierMixin.score)

    def __sklearn_is_fitted__(self):
        return "classes_" in vars(self)


class FittedRegressorMixin(RegressorMixin):
    """Regressor that is fitted once it has ``target_scale_``, the units of what it predicts."""

    score = numpy_inputs(RegressorMixin.score)

    def __sklearn_is_fitted__(self):
        return "target_scale_" in vars(self)


class EncoderParamsMixin:
    """Estimator with the parameter ``encoder``, whose own parameters can be set."""

    def set_params(self, **params):
        """Set parameters of this estimator and of its encoder.

        Parameters
        ----------
        **params : dict
            Parameters, with ``encoder__`` before the name of one of the encoder's, which needs a
            :class:`TableEncoder` as ``encoder``.

        Returns
        -------
        self : estimator
        """
        nested = [name for name in params if name.startswith("encoder__")]
        encoder = params.get("encoder", self.encoder)
        if nested and not hasattr(encoder, "set_params"):
            raise ValueError(
                f"{nested[0]!r} cannot be set with encoder={encoder!r}, which has no parameters: "
                "set encoder=TableEncoder(), which 'auto' stands for."
            )
        return super().set_params(**params)


def require_fitted(estimator):
    """Raise NotFittedError before the first fit, and take little time afterwards."""
    if not estimator.__sklearn_is_fitted__():  # check_is_fitted takes a third of a prediction
        check_is_fitted(estimator)


def python_number(value):
    """Return a NumPy scalar as an object of Python, and anything else as it is."""
    if isinstance(value, np.longdouble):
        return float(value)
    return value.item() if isinstance(value, np.generic) else value


@contextmanager
def python_numbers(estimator):
    """Replace NumPy scalars among the parameters by numbers of Python in this context.

    NumPy computes with a scalar in its own dtype, in which a float16 or an int8 may overflow.
    """
    given = {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if isinstance(value, np.generic)
    }
    vars(estimator).update({name: python_number(value) for name, value in given.items()})
    try:
        yield
    finally:
        vars(estimator).update(given)


@contextmanager
def all_or_nothing(estimator):
    """Restore the attributes that a fit sets if it fails, so that nothing of this fit remains.

    In this context parameters are numbers of Python.

    These are the attributes that end or begin with an underscore. Attributes of scikit-learn's
    callbacks are left alone. The restoring is shallow: a fit that changes an array or a
    sub-estimator of an earlier fit in place has to copy it first.

    An interrupted fit that keeps its best weights does not count as a failure. Such an estimator
    sets ``termination_condition_ = "interrupted"`` and raises KeyboardInterrupt.
    """
    before = _fitted_state(estimator)
    vars(estimator).pop("termination_condition_", None)  # that of an earlier fit
    try:
        with warning_scope(), python_numbers(estimator):
            yield
    except BaseException as error:
        kept = getattr(estimator, "termination_condition_", None) == "interrupted"
        if not (kept and isinstance(error, KeyboardInterrupt)):
            for name in _fitted_state(estimator):
                del estimator.__dict__[name]
            vars(estimator).update(before)
        raise


def _fitted_state(estimator):
    return {
        name: value
        for name, value in vars(estimator).items()
        if (name.endswith("_") or name.startswith("_")) and not name.startswith(CALLBACK_ATTRIBUTES)
    }


def labels_from_logits(logits, classes, *, are_labels=False):
    """Return the most probable class of each row.

    Parameters
    ----------
    logits : ndarray of shape (n_samples,) or (n_samples, n_classes)
        For two classes the log-odds of the second.
    classes : ndarray of shape (n_classes,)
    are_labels : bool, default=False
        Whether the columns are the log-odds of several labels.

    Returns
    -------
    ndarray of shape (n_samples,), or of int64 and shape (n_samples, n_labels) for several labels
    """
    if are_labels:
        return (logits > 0).astype(np.int64)
    best = (logits > 0).astype(np.intp) if logits.ndim == 1 else logits.argmax(axis=1)
    return classes[best]


def probabilities_from_logits(logits, *, are_labels=False):
    """Return class probabilities: the sigmoid or the softmax of the logits.

    Parameters
    ----------
    logits : ndarray of shape (n_samples,) or (n_samples, n_classes)
        For two classes the log-odds of the second. An array of two dimensions is overwritten.
    are_labels : bool, default=False
        Whether the columns are the log-odds of several labels, whose probabilities are independent.

    Returns
    -------
    ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
    """
    if are_labels:
        return expit(logits, out=logits)
    logits = _two_columns(logits)
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def log_probabilities_from_logits(logits, *, are_labels=False):
    """Return the logarithm of `probabilities_from_logits`, finite where they underflow.

    An array of two dimensions is overwritten.
    """
    if are_labels:
        return -np.logaddexp(0, -logits)
    logits = _two_columns(logits)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits


def _two_columns(logits):
    """Return log-odds f of shape (n,) as the two columns (-f/2, f/2), and others as they are."""
    if logits.ndim == 2:
        return logits
    columns = np.empty((len(logits), 2), dtype=logits.dtype)
    np.multiply(logits, -0.5, out=columns[:, 0])
    np.multiply(logits, 0.5, out=columns[:, 1])
    return columns
