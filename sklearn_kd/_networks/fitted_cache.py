"""Cache of what predictions make of the fitted attributes of an estimator."""

from operator import is_
from weakref import WeakKeyDictionary


class FittedCache:
    """Values that are made once for a fitted estimator, from parts of it.

    They are kept here and not on the estimator, whose files and `joblib.hash` must not contain
    them. They are made again where a part has become another object, as after another fit. Threads
    may share a cache: a value and its parts are stored together.
    """

    def __init__(self):
        self._entries = WeakKeyDictionary()

    def get(self, est, parts, make):
        """Return the value of an estimator, which ``make()`` makes where there is none yet.

        Parameters
        ----------
        est : estimator
        parts : tuple
            All that the value depends on, of the same length for each estimator. They are compared
            by identity.
        make : callable
        """
        entry = self._entries.get(est)
        if entry is None or not all(map(is_, entry[0], parts)):
            entry = self._entries[est] = parts, make()
        return entry[1]
