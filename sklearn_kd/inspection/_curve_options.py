"""Options that the curves over students have in common."""

from numbers import Integral

import numpy as np
from sklearn.metrics import check_scoring

from sklearn_kd._search.candidates import AUTO_SUBSTITUTES


def refuse_auto(distiller, prefix=""):
    """Raise a ValueError for a distiller that searches by itself, or that has no soft labels.

    ``prefix`` precedes the names of its parameters.
    """
    for name, value in AUTO_SUBSTITUTES.items():
        if getattr(distiller, name, None) == "auto":
            raise ValueError(
                f"{prefix}{name}='auto' is a search of its own for each student: set "
                f"{prefix}{name}={value}, for example."
            )
    if getattr(distiller, "quantiles", None) is not None:
        raise ValueError(
            f"{prefix}quantiles are calibrated by more fits of each student: set "
            f"{prefix}quantiles=None, and compare quantiles by distillation_report."
        )
    if distiller.alpha == 0:
        raise ValueError(
            f"{prefix}alpha=0 trains on hard labels alone: give soft labels a weight above 0."
        )


def is_integer(value):
    """Return whether a value is an integer, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_widths(widths):
    """Return widths of networks as a sorted list, or raise a ValueError."""
    values = [widths] if np.ndim(widths) == 0 else list(widths)
    if not values:
        raise ValueError("widths has no entry; give one at least.")
    for width in values:
        if not is_integer(width) or width < 2 or width % 2:
            raise ValueError(f"widths must be even integers of at least 2, got {width!r}.")
    if len(set(values)) < len(values):
        raise ValueError(f"widths must differ, got {values}.")
    return sorted(int(width) for width in values)


def check_scorer(estimator, scoring):
    """Return one scorer, or raise a TypeError for several."""
    if scoring is not None and not isinstance(scoring, str) and not callable(scoring):
        raise TypeError(f"scoring must be one scorer: a str, a callable or None; got {scoring!r}.")
    return check_scoring(estimator, scoring=scoring)


def name_of_scoring(scoring, negate_score, default):
    """Return the label of the axis of a score, of which ``default`` is the name of None."""
    if scoring is None:
        name = default
    elif isinstance(scoring, str):
        name = scoring.removeprefix("neg_") if negate_score else scoring
    else:  # a function, or a scorer made from one
        function = getattr(scoring, "_score_func", scoring)
        name = getattr(function, "__name__", "score")
    return name.replace("neg_", "negative_").replace("_", " ").strip().capitalize()
