"""Points on the circle and on the sphere."""

import numpy as np


def circle(angles):
    return np.column_stack([np.cos(angles), np.sin(angles)])
