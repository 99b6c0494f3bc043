"""Texts that are shown once in a scope."""

import warnings

import numpy as np
import pytest

from sklearn_kd import DistilledRegressor, KernelTeacherRegressor, TwoLayerPGDRegressor
from sklearn_kd._utils.warnings import warn_caller, warning_scope
from sklearn_kd.exceptions import PrecisionWarning


def warn(text="text", *, once=True):
    warn_caller(text, UserWarning, once=once)


@warning_scope()
def warn_twice():
    """Warn twice, once in a scope inside."""
    warn()
    with warning_scope():
        warn()


def shown(function):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return [str(each.message) for each in caught]


def test_a_text_is_shown_once_in_the_outermost_scope():
    assert shown(warn_twice) == ["text"]
    assert shown(lambda: (warn_twice(), warn_twice())) == ["text", "text"]
    assert shown(lambda: (warn(), warn())) == ["text", "text"], "outside of any scope"


def test_other_texts_and_other_warnings_are_shown():
    def several():
        with warning_scope():
            for text in ("first", "second", "first"):
                warn(text)
            warn(once=False)
            warn(once=False)

    assert shown(several) == ["first", "second", "text", "text"]


def test_a_scope_ends_with_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with pytest.raises(UserWarning, match="text"):
                warn_twice()


def test_digits_that_are_lost_are_told_once_for_a_fit_of_many():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 2))
    student = TwoLayerPGDRegressor(4, max_iter=5, n_init=1, early_stopping=False)
    options = {"quantiles": (0.1, 0.9), "alpha": 0.5, "augmentation": None, "random_state": 0}
    model = DistilledRegressor(KernelTeacherRegressor(), student, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, 1e9 + 1e-4 * X[:, 0])
        model.fit(X, 1e9 + 1e-4 * X[:, 0])
    lost = [str(each.message) for each in caught if each.category is PrecisionWarning]
    assert len(lost) == 2  # one for each fit of the user
    assert "of y vary by less than 1000 times the spacing" in lost[0]
