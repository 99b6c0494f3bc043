"""Projection onto the simplex."""

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from sklearn_kd._core.kernel.simplex import project_simplex


@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=12),
    st.integers(0, 2**16),
)
def test_projection_is_the_nearest_point(entries, seed):
    point = torch.tensor(entries, dtype=torch.float64)
    nearest = project_simplex(point)
    assert nearest.min() >= 0
    assert float(nearest.sum()) == pytest.approx(1, abs=1e-12)
    other = torch.tensor(np.random.default_rng(seed).dirichlet(np.ones(len(entries))))
    # obtuse angle at the projection
    assert float((point - nearest) @ (other - nearest)) <= 1e-9
