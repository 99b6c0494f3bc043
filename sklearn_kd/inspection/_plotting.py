"""Plotting helpers of the displays."""

import numpy as np

__all__ = ["pyplot"]


def pyplot(name):
    """Import matplotlib for the display of that name."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f'{name} draws with matplotlib, which is missing: pip install "sklearn-kd[plot]".'
        ) from error
    return plt


def _two_axes(ax, name):
    """Return two axes; those that are made have a common vertical one."""
    if ax is None:
        options = {"sharey": True, "layout": "constrained", "figsize": (8, 4)}
        return pyplot(name).subplots(1, 2, **options)[1]
    if hasattr(ax, "get_subplotspec"):
        spec = ax.get_subplotspec()
        if spec is None:
            raise ValueError("ax has no place in a grid to share: pass two axes.")
        ax.set_axis_off()
        return spec.subgridspec(1, 2).subplots(sharey=True)
    axes = np.asarray(ax, dtype=object).ravel()
    if len(axes) != 2:
        raise ValueError(f"ax must be one Axes or two, got {len(axes)}.")
    return axes
