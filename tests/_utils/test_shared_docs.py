"""Entries of docstrings that several estimators share."""

import pytest

from sklearn_kd._utils.shared_docs import shares_docs_of


class Source:
    """Source.

    Parameters
    ----------
    first : int
        One line.

        Another paragraph.

    second : str
        Text.

    Attributes
    ----------
    third_ : float
        Of two
        lines.
    fourth_ : float
        Text.
    """


def test_an_entry_is_taken_over_with_its_paragraphs():
    @shares_docs_of(Source)
    class Sink:
        """Sink.

        Parameters
        ----------
        other : int
            Text.

        <first>

        Attributes
        ----------
        <third_>
        """

    lines = [line.strip() for line in Sink.__doc__.splitlines()]
    start = lines.index("first : int")
    assert lines[start:][:4] == ["first : int", "One line.", "", "Another paragraph."]
    start = lines.index("third_ : float")
    assert lines[start:][:3] == ["third_ : float", "Of two", "lines."]
    assert "second : str" not in lines
    assert "fourth_ : float" not in lines


def test_an_entry_that_does_not_exist():
    with pytest.raises(KeyError, match="Source documents no fifth"):

        @shares_docs_of(Source)
        class Sink:
            """Sink.

            <fifth>
            """


def test_without_docstrings():
    sink = type("Sink", (), {"__doc__": None})
    assert shares_docs_of(Source)(sink).__doc__ is None
