"""Errors and warnings with a name, so that a user can filter or catch each one."""

__all__ = [
    "ClassCollapseWarning",
    "CleanLabelsWarning",
    "DivergenceError",
    "EarlyStoppingWarning",
    "IgnoredSampleWeightWarning",
    "InSampleLabelsWarning",
    "MissingClassWarning",
    "NoGainWarning",
    "PrecisionWarning",
    "SoftTargetsAlignmentWarning",
    "TransferRowsWarning",
    "UntestedRowsWarning",
]


class ClassCollapseWarning(UserWarning):
    """A class that has rows is predicted for none of them any more."""


class CleanLabelsWarning(UserWarning):
    """Hardly any label looks wrong, so that correcting labels is likely to cost accuracy."""


class DivergenceError(ArithmeticError):
    """Training diverged at the step size that was asked for; nothing was fitted."""


class EarlyStoppingWarning(UserWarning):
    """Early stopping has no row to hold out, so training runs for all its epochs."""


class IgnoredSampleWeightWarning(UserWarning):
    """A sub-estimator takes no sample weights, so they were used for the other one only."""


class InSampleLabelsWarning(UserWarning):
    """A teacher labels its own training rows and has memorized them.

    Such labels are the hard labels over again; cross-fitted ones are not.
    """


class MissingClassWarning(UserWarning):
    """A teacher (or one of its folds) never saw a class and gives it probability zero."""


class NoGainWarning(UserWarning):
    """A teacher's labels were no better than hard ones on held-out rows, and are not used."""


class PrecisionWarning(UserWarning):
    """A column has lost its digits: its spread is near the resolution of its dtype."""


class SoftTargetsAlignmentWarning(UserWarning):
    """The soft targets agree with ``y`` no more often than chance would.

    Rows or columns are probably in another order.
    """


class TransferRowsWarning(UserWarning):
    """Transfer rows may not be what they should: see the message.

    ``X_unlabeled`` is as long as ``X``, so that a search would slice it like metadata; or rows
    that were made are copies of those there are, or cannot be made.
    """


class UntestedRowsWarning(UserWarning):
    """The folds of ``cv`` test less than half of the rows; the others keep their hard labels."""
