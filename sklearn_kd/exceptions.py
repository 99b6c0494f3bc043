"""Errors and warnings of the package, each with a class of its own for filters."""

__all__ = [
    "ClassCollapseWarning",
    "CleanLabelsWarning",
    "DivergenceError",
    "DividedGroupsWarning",
    "EarlyStoppingWarning",
    "FittedTeacherWarning",
    "IgnoredSampleWeightWarning",
    "InSampleLabelsWarning",
    "MissingClassWarning",
    "NoGainWarning",
    "PrecisionWarning",
    "ProbabilityOutputWarning",
    "SmallBatchWarning",
    "SoftTargetsAlignmentWarning",
    "TransferRowsWarning",
    "UntestedRowsWarning",
]


class ClassCollapseWarning(UserWarning):
    """A class that occurs in y is no longer predicted for any row."""


class CleanLabelsWarning(UserWarning):
    """Hardly any label seems wrong, so that correcting labels is likely to reduce accuracy."""


class DivergenceError(ArithmeticError):
    """Training diverged at the given step size, and the estimator was not fitted."""


class DividedGroupsWarning(UserWarning):
    """The folds of ``cv`` train on one part of a group and test another."""


class EarlyStoppingWarning(UserWarning):
    """Early stopping cannot hold out a row, so that training runs for all epochs."""


class FittedTeacherWarning(UserWarning):
    """A teacher that is fitted already is fitted again, since it is not frozen."""


class IgnoredSampleWeightWarning(UserWarning):
    """A sub-estimator takes no sample weights, so that only the other one uses them."""


class InSampleLabelsWarning(UserWarning):
    """A teacher labels its own training rows and has memorized their labels.

    Such soft labels repeat the hard labels. Cross-fitted labels do not.
    """


class MissingClassWarning(UserWarning):
    """A teacher, in at least one fold, was not trained on a class and gives it probability zero."""


class NoGainWarning(UserWarning):
    """Hard labels are used, since they were better than soft ones on held-out rows.

    They have to be clearly better, unless the teacher itself was no better than the student there.
    """


class PrecisionWarning(UserWarning):
    """The standard deviation of a column is near the resolution of its dtype."""


class ProbabilityOutputWarning(UserWarning):
    """A module returns probabilities where it should return logits, so that it trains badly."""


class SmallBatchWarning(UserWarning):
    """Few rows of a first batch decide how all later rows are encoded and scaled."""


class SoftTargetsAlignmentWarning(UserWarning):
    """The soft targets agree with ``y`` no more often than by chance.

    Their rows or columns are probably in another order.
    """


class TransferRowsWarning(UserWarning):
    """Transfer rows may not be what the user intends.

    Either ``X_unlabeled`` or ``X_val`` has as many rows as ``X``, so that a search would slice it
    like metadata, or synthetic rows are copies of training rows or cannot be made.
    """


class UntestedRowsWarning(UserWarning):
    """The folds of ``cv`` test less than half of the rows. The others keep their hard labels."""
