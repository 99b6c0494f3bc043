"""Documentation of parameters and attributes that several estimators share."""

import re

#: A line that stands for an entry of another docstring.
PLACEHOLDER = re.compile(r"^ *<(\w+)>$", re.MULTILINE)


def shares_docs_of(source):
    """Return a decorator of classes that takes entries of the docstring of another class over.

    A line ``<name>`` in the docstring of the decorated class stands for the whole entry of a
    parameter or an attribute ``name`` of the class ``source``.
    """

    def with_entries(cls):
        if cls.__doc__ is not None:  # python -OO removes docstrings
            cls.__doc__ = PLACEHOLDER.sub(lambda line: _entry(source, line[1]), cls.__doc__)
        return cls

    return with_entries


def _entry(source, name):
    """Return the lines of an entry: its head, and what is indented further."""
    pattern = rf"^( *){name} : .*(?:\n(?:\1 +\S.*|(?=\n\1 +\S)))*"
    found = re.search(pattern, source.__doc__, re.MULTILINE)
    if found is None:
        raise KeyError(f"{source.__name__} documents no {name}.")
    return found[0]
