"""Profiles of hypothesis, and fixtures that all tests share."""

import os

import numpy as np
import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests._helpers")

settings.register_profile("fixed", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


@pytest.fixture
def rng():
    return np.random.RandomState(0)
