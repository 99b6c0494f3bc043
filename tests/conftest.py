"""Profiles of hypothesis, and fixtures that all tests share."""

import os
import signal

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


@pytest.fixture
def handler_of_ctrl_c():
    """Let SIGINT raise KeyboardInterrupt, also where the parent process ignores it (nohup)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
