"""Texts that are shown once in a scope."""

import warnings

import pytest

from sklearn_kd._utils.warnings import warn_caller, warning_scope


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
