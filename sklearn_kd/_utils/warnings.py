"""Warnings that point at the line of the user's code."""

import sys
import warnings
from contextlib import contextmanager
from contextvars import ContextVar

#: Packages whose frames may lie between a warning and the user's call.
INNER_PACKAGES = {"contextlib", "joblib", "sklearn", "sklearn_kd"}
#: Texts that were shown in the outermost `warning_scope`, None outside of any.
_SHOWN = ContextVar("shown", default=None)


@contextmanager
def warning_scope():
    """Let `warn_caller` show a text ``once`` in this context, also within scopes inside of it.

    It is also a decorator, for a fit that fits several estimators.
    """
    if _SHOWN.get() is not None:
        yield
        return
    token = _SHOWN.set(set())
    try:
        yield
    finally:
        _SHOWN.reset(token)


def warn_caller(message, category, *, once=False):
    """Warn at the innermost line outside of this package, scikit-learn and joblib.

    Parameters
    ----------
    message : str
    category : type
        Subclass of Warning.
    once : bool
        Whether to warn only if this text has not been shown in the `warning_scope`.
    """
    shown = _SHOWN.get()
    if once and shown is not None:
        if message in shown:
            return
        shown.add(message)
    frame, level = sys._getframe(1), 2
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in INNER_PACKAGES:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
