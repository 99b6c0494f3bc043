"""Levels of quantiles, and the number of rows that they need."""

import math

import numpy as np

#: Rounding of 1 / (1 - coverage) that does not count as more than a whole number.
COUNT_TOLERANCE = 1e-9
#: Difference of levels that counts as rounding.
LEVEL_TOLERANCE = 1e-9


def check_levels(quantiles):
    """Return the levels of quantiles as an array of float64 of shape (n_levels,).

    Raises
    ------
    ValueError
        If they are not ascending numbers between 0 and 1.
    """
    try:
        levels = np.array(quantiles, dtype=np.float64)
    except (TypeError, ValueError):
        levels = np.zeros(0)
    is_between = levels.ndim == 1 and levels.size > 0 and ((levels > 0) & (levels < 1)).all()
    if not is_between or (np.diff(levels) <= 0).any():
        raise ValueError(
            "quantiles must be ascending numbers between 0 and 1, such as (0.05, 0.5, 0.95), got "
            f"{quantiles}."
        )
    return levels


def furthest_level(levels):
    """Return the larger of q and 1 - q for the level q that is furthest from 1/2."""
    return float(np.maximum(levels, 1 - levels).max())


def rows_needed(coverage):
    """Return the least number of rows of which a share of 1 - ``coverage`` is a row."""
    return math.ceil(1 / (1 - coverage) - COUNT_TOLERANCE)
