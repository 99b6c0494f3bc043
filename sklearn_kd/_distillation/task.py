"""The part of a distillation that depends on what is learned: one label, several, or numbers."""

from abc import ABC, abstractmethod

import numpy as np


class Task(ABC):
    """What the targets ``y``, the labels of a teacher and the losses of a student are.

    A task is made of the checked targets of a fit (`of_rows`), and may grow by what a fitted
    teacher knows (`with_teacher`). Targets are encoded (`encode`): class labels as codes, several
    labels and numbers as they are. Labels, those of a teacher or hard ones, have a row for each
    sample, and a column for each class, label or target.
    """

    #: What the teacher and the student must be: "classifier" or "regressor".
    kind: str
    #: Names of the losses of a held-out row. The mean of the first is minimized.
    measures: tuple
    #: What precedes "gain" in ``candidates_`` for each of the measures.
    gain_prefixes: tuple
    #: Attributes of a teacher that has labels of its rows from fits without them, by their source,
    #: as far as there are such.
    own_labels: dict
    #: What a student without a teacher learns, in words.
    hard_name = "hard labels"
    #: Number of transfer rows of ``n_augmented="auto"``, in multiples of the training rows.
    transfer_rows_per_row = 3
    #: Whether folds are stratified by class.
    is_stratified = False

    # Targets and given labels

    @staticmethod
    @abstractmethod
    def check_targets(y, est):
        """Return the targets of all rows as an array, or raise an error.

        ``est`` is the estimator whose ``fit`` was called.
        """

    @staticmethod
    @abstractmethod
    def check_soft_targets(soft_targets, y):
        """Return the checked soft targets of the user, and what `of_rows` needs of them."""

    @classmethod
    @abstractmethod
    def of_rows(cls, y, weight, known):
        """Return the task of checked targets of positive weight (or None).

        ``known`` is what `check_soft_targets` has returned, or None.
        """

    @staticmethod
    def strata(y):
        """Return the number of the stratum of each row, by which folds are stratified."""
        return np.zeros(len(y), dtype=np.intp)

    @abstractmethod
    def encode(self, y):
        """Return encoded targets."""

    @abstractmethod
    def decode(self, y_encoded):
        """Return targets as ``fit`` of an estimator takes them."""

    def to_fit(self, y):
        """Return checked targets as ``fit`` of an estimator takes them."""
        return y

    @abstractmethod
    def hard_labels(self, y_encoded):
        """Return the labels that say what the targets do."""

    def labels_of_untested(self, y_encoded):
        """Return the labels of rows that the teacher cannot label without having seen them."""
        return self.hard_labels(y_encoded)

    @abstractmethod
    def harden(self, labels):
        """Return the encoded targets of rows that have labels of the teacher alone."""

    @abstractmethod
    def mix(self, labels, y_encoded, alpha):
        """Return ``alpha`` times labels plus ``1 - alpha`` times hard labels."""

    @staticmethod
    def can_mix_before_fit(setting):
        """Return whether labels can be mixed with hard ones before the fit, for the same loss."""
        return False

    def align(self, labels, other):
        """Return labels of this task (or None) as labels of the same task with a teacher."""
        return labels

    def check_rows(self, est, student, y, weight):  # noqa: B027
        """Raise errors of the targets, with the parameters, before anything is fitted."""

    def check_groups(self, groups, y_encoded, purpose):
        """Raise ValueError if held-out groups would leave too few of them for training."""
        if not self.can_hold_groups_out(groups, y_encoded):
            raise ValueError(f"all rows are in one group, and two groups are needed: {purpose}.")

    @staticmethod
    def can_hold_groups_out(groups, y_encoded):
        """Return whether a student finds groups to hold out and others to train on."""
        return len(np.unique(groups)) > 1

    @abstractmethod
    def check_validation_targets(self, y_val, n_samples):
        """Return the targets of ``n_samples`` validation rows as an array, or raise an error."""

    @property
    def known_to_networks(self):
        """Options by which a network checks its rows as if it saw all targets there are."""
        return {}

    # Labels of the teacher

    @abstractmethod
    def with_teacher(self, teacher):
        """Return the task with what a fitted teacher knows besides the targets."""

    @abstractmethod
    def predictions(self, teacher, X):
        """Return predictions of a fitted teacher, and whether they are labels as they are.

        Labels that it cannot give are NaN. Predictions of another kind need a calibration.
        """

    @abstractmethod
    def as_labels(self, values, are_labels, y_encoded, weight):
        """Return predictions as labels, and the calibration that was fitted for it, or None."""

    @staticmethod  # noqa: B027
    def check_teacher(teacher):
        """Raise an error for an unfitted or frozen teacher that cannot give such labels."""

    def distinct_rows_needed(self, teacher):
        """Return the least number of distinct rows of each fit of an unfitted teacher."""
        return 1

    @staticmethod
    def needs_calibration(teacher):
        """Return whether labels of a fitted teacher need a calibration on its training rows."""
        return False

    def calibrate(self, labels, calibration, teacher, y_encoded, weight):
        """Return better labels of rows that the teacher has not seen, and the calibration."""
        return labels, calibration

    @abstractmethod
    def predict_labels(self, teacher, X, calibration):
        """Return the labels that a fitted teacher gives to new rows."""

    @staticmethod
    def has_out_of_bag_labels(y):
        """Return whether a teacher that has out-of-bag labels has them for these targets."""
        return True

    @abstractmethod
    def labels_of_own(self, teacher, attribute, n_samples):
        """Return the teacher's own labels of its rows, with rows of NaN where it has none."""

    def warn_if_missing(self, values, who):  # noqa: B027
        """Warn where a teacher cannot give some labels."""

    def warn_if_missing_in_folds(self, values):  # noqa: B027
        """Warn where the teachers of some folds cannot give some labels."""

    def warn_if_untestable(self, y_encoded, wanted, copy_group):  # noqa: B027
        """Warn about rows in the mask ``wanted`` that no fit without them can label.

        ``copy_group`` is the number of the rows that count as copies of each row.
        """

    # Memorization of the rows by a teacher that labels them

    #: Name of the mean of `squared_errors` in messages.
    error_name: str
    #: Ratio of it, out of sample to in sample, above which labels are called memorized.
    max_error_ratio: float

    @abstractmethod
    def squared_errors(self, labels, y_encoded):
        """Return the squared distance of the labels of each row from the hard ones."""

    @abstractmethod
    def suspicion(self, labels, y_encoded, weight):
        """Return why in-sample labels are memorized, and whether they may be where that is None."""

    # The student

    @staticmethod
    @abstractmethod
    def student_mode(student, est):
        """Return how labels reach a student, see `StudentSpec`, or raise an error."""

    @staticmethod
    def learns_targets(student):
        """Return whether a student can be fitted on targets without a teacher."""
        return True

    @staticmethod
    @abstractmethod
    def soft_settings(est, student):
        """Return the settings with labels of the teacher, without transfer rows, that are tried.

        ``student`` is a `StudentSpec`.
        """

    @staticmethod  # noqa: B027
    def check_parameters(est, student):
        """Raise an error for parameters of the estimator that exclude each other."""

    @staticmethod
    @abstractmethod
    def stops_early(student, labels, weights):
        """Return whether a native student of ``early_stopping="auto"`` holds rows out.

        ``student`` has the ``alpha`` of the fit, and ``weights`` are those of the rows.
        """

    @staticmethod
    @abstractmethod
    def loss_params(setting):
        """Return the parameters of the loss of a native student.

        ``setting`` has the attributes ``alpha`` and ``temperature``.
        """

    @staticmethod
    @abstractmethod
    def loss_in_words(setting):
        """Return words for the loss of a setting, for printed lines."""

    @staticmethod
    @abstractmethod
    def setting_columns(settings):
        """Return the columns of ``candidates_`` that describe the loss of each setting."""

    @abstractmethod
    def soft_targets(self, labels, index):
        """Return labels as the argument ``soft_targets`` of ``fit`` of a student.

        ``index`` is that of a DataFrame of rows, or None.
        """

    @abstractmethod
    def losses_of_student(self, student, spec, setting, X, y_encoded):
        """Return the losses of rows under a fitted student, by their names in ``measures``.

        ``spec`` is the `StudentSpec` that it was made of, and ``setting`` what it was fitted with.
        Raises NotFiniteError where predictions are not finite.
        """

    @abstractmethod
    def losses_of_labels(self, labels, y_encoded, spec):
        """Return the losses of rows under labels, of the kind by which students are compared.

        ``spec`` is the `StudentSpec` of the students.
        """

    @abstractmethod
    def gain_in_words(self, candidates, index, spec):
        """Return the differences of a candidate from hard labels, as words."""


def difference_in_words(article, name, value, error, *, digits, unit=""):
    """Return a difference in words: "a log loss 0.027 higher (standard error 0.020)"."""
    size, error = f"{abs(value):.{digits}f}{unit}", f"(standard error {error:.{digits}f}{unit})"
    if round(value, digits) == 0:
        return f"the same {name} {error}"
    return f"{article} {name} {size} {'higher' if value > 0 else 'lower'} {error}"
