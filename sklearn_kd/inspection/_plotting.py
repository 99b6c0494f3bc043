"""Axes and frames of the displays."""

import numpy as np


def check_columns(frame, required):
    """Raise a ValueError if a frame lacks some of the columns that are required."""
    missing = [column for column in required if column not in frame]
    if missing:
        raise ValueError(f"the frame lacks the columns {missing}; it must have {required}.")


def binned_means(values, edges, columns, weight):
    """Return weighted means of columns in bins of some values.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
    edges : ndarray of shape (n_bins + 1,)
        Increasing. A bin excludes its lower end, but for the first, and includes its upper one.
    columns : dict of ndarray of shape (n_rows,)
    weight : ndarray of shape (n_rows,)

    Returns
    -------
    DataFrame
        A line for each bin with rows of positive weight, with ``lower``, ``upper``, ``n_rows`` and
        the means of the columns.
    """
    import pandas as pd

    which, lines = np.searchsorted(edges[1:-1], values, side="left"), []
    for number in np.unique(which[weight > 0]):
        own = which == number
        line = {"lower": edges[number], "upper": edges[number + 1], "n_rows": int(own.sum())}
        for name, each in columns.items():
            line[name] = float(np.average(each[own], weights=weight[own]))
        lines.append(line)
    return pd.DataFrame(lines)


def quantile_edges(values, weight, n_bins):
    """Return the edges of bins with about as many rows of positive weight each."""
    return np.quantile(values[weight > 0], np.arange(n_bins + 1) / n_bins)


def pyplot(name):
    """Return matplotlib.pyplot, or raise an ImportError that says which display needs it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f'{name} draws with matplotlib, which is missing: pip install "sklearn-kd[plot]".'
        ) from error
    return plt


def two_axes(ax, name, figsize=(8, 4)):
    """Return two axes to draw in. New axes share their vertical axis.

    Parameters
    ----------
    ax : matplotlib Axes, two of them or None
        A single Axes is replaced by two in its place in the figure. None: a new figure.
    name : str
        Name of the display.
    figsize : tuple of float
        Inches of a new figure.
    """
    if ax is None:
        options = {"sharey": True, "layout": "constrained", "figsize": figsize}
        return pyplot(name).subplots(1, 2, **options)[1]
    if hasattr(ax, "get_subplotspec"):
        spec = ax.get_subplotspec()
        if spec is None:
            raise ValueError(
                "ax is not part of a grid, so it has no place in a grid to share: pass two axes."
            )
        ax.set_axis_off()
        return spec.subgridspec(1, 2).subplots(sharey=True)
    axes = np.asarray(ax, dtype=object).ravel()
    if len(axes) != 2:
        raise ValueError(f"ax must be one Axes or two, got {len(axes)}.")
    return axes
