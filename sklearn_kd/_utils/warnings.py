"""Warnings that point at the line of the user."""

import sys
import warnings

__all__ = ["warn_caller"]


#: Packages whose frames are between a warning and the call that it is for.
_INNER = {"contextlib", "joblib", "sklearn", "sklearn_kd"}


def warn_caller(message, category):
    """Warn where the user called: outside of this package, scikit-learn and joblib."""
    frame, level = sys._getframe(1), 2
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in _INNER:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
