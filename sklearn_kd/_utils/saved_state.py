"""What files of estimators contain: loss curves as arrays, the version, a history if it is kept."""

import copy
import pickle
import sys

import numpy as np
from sklearn.pipeline import Pipeline

#: The package is loaded before any of its modules.
PACKAGE = sys.modules[__name__.split(".")[0]]
#: Lists of one number for each epoch. A saved list takes more bytes than an array, many more in the
#: files of skops.
CURVES = ("loss_curve_", "validation_loss_curve_")
#: Attributes of an estimator that are fitted estimators, with a history of their own.
FITTED_ESTIMATORS = ("student_", "estimator_", "best_estimator_")


def version_error_text(name):
    """Return why an object of a file of version 0.1 cannot be loaded."""
    return (
        f"{name} was saved by sklearn-kd 0.1, whose files sklearn-kd {PACKAGE.__version__} cannot "
        "load: fit and save the model again, or load the file with sklearn-kd 0.1."
    )


def refuse_former_class(name):
    """Serve as ``__getattr__`` of a module that had a class in version 0.1.

    Raises
    ------
    ImportError
        For the name of a class, which pickle looks up.
    AttributeError
        For other names.
    """
    if name[:1].isupper():
        raise ImportError(version_error_text(name))
    raise AttributeError(name)


class SavedStateMixin:
    """Mixin for public estimators: what is saved, and what a history that was dropped says.

    The class attribute ``_history`` names the fitted attributes that record a fit, and that nothing
    else needs.
    """

    _history: tuple = ()

    def __getstate__(self):
        state = dict(super().__getstate__())
        for name in CURVES:
            if state.get(name) is not None:
                state[name] = np.array(state[name], dtype=np.float64)
        state["_sklearn_kd_version"] = PACKAGE.__version__
        return state

    def __setstate__(self, state):
        state = dict(state)
        if state.pop("_sklearn_kd_version", None) is None:
            raise pickle.UnpicklingError(version_error_text(type(self).__name__))
        for name in CURVES:
            if state.get(name) is not None:
                state[name] = state[name].tolist()
        super().__setstate__(state)

    def __getattr__(self, name):
        if name in vars(self).get("_dropped_history", ()):
            raise AttributeError(
                f"{name} was dropped by without_teacher(keep_history=False): call it with "
                "keep_history=True to keep what records the fit."
            )
        return object.__getattribute__(self, name)  # raises its own error


def without_history(estimator):
    """Return a copy of a fitted estimator without what records its fit.

    Estimators inside it, and the last step of a pipeline, are copied likewise. One that has no such
    record is returned as it is.
    """
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        slim_last = without_history(last)
        if slim_last is last:
            return estimator
        slim = copy.copy(estimator)
        slim.steps = [*estimator.steps[:-1], (name, slim_last)]
        return slim
    state = getattr(estimator, "__dict__", {})
    replaced = {name: without_history(state[name]) for name in FITTED_ESTIMATORS if name in state}
    replaced = {name: value for name, value in replaced.items() if value is not state[name]}
    dropped = [name for name in getattr(type(estimator), "_history", ()) if name in state]
    if not replaced and not dropped:
        return estimator
    slim = copy.copy(estimator)
    vars(slim).update(replaced)
    for name in dropped:
        del vars(slim)[name]
    if dropped:
        slim._dropped_history = dropped
    return slim
