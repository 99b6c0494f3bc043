"""Warnings that point at the line of the user's code."""

import sys
import warnings

#: Packages whose frames may lie between a warning and the user's call.
INNER_PACKAGES = {"contextlib", "joblib", "sklearn", "sklearn_kd"}


def warn_caller(message, category):
    """Warn at the innermost line outside of this package, scikit-learn and joblib.

    Parameters
    ----------
    message : str
    category : type
        Subclass of Warning.
    """
    frame, level = sys._getframe(1), 2
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in INNER_PACKAGES:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
