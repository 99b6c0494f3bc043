"""Values of alpha, temperature, label source and transfer rows that "auto" tries."""

from typing import NamedTuple

from sklearn_kd._utils.base import python_number

#: Distinct training rows below which nothing is held out and "auto" takes its defaults.
MIN_DISTINCT_ROWS = 100
#: The alpha that "auto" compares with 0 (hard labels). Other values were seldom better
#: (docs/results.md).
ALPHA_TO_TRY = 0.5
#: Temperatures that ``temperature="auto"`` tries for a given alpha.
TEMPERATURES_TO_TRY = (1.0, 0.5, 2.0, 3.0, 5.0)


class DistillationSetting(NamedTuple):
    """Weight and temperature of the soft labels, their source, and number of transfer rows."""

    alpha: float
    temperature: float
    #: "soft": labels of the teacher as ``cv`` asks for, or given ones. "hard": those of ``y``.
    source: str
    n_augmented: int = 0


def candidate_settings(est, task, student, transfer):
    """Return the settings that "auto" chooses from on held-out rows.

    Hard labels come first for ``alpha="auto"``, then soft labels, without transfer rows before with
    them.

    Parameters
    ----------
    est : DistilledClassifier or DistilledRegressor
        Its parameters are read.
    task : Task
    student : StudentSpec
    transfer : TransferSpec

    Returns
    -------
    list of DistillationSetting
        With numbers of transfer rows of a fit on all training rows.
    """
    soft = task.soft_settings(est, student)
    if est.augmentation == "auto" and transfer.n_rows:
        soft.append(soft[0]._replace(n_augmented=transfer.n_rows))
    elif est.augmentation is not None:
        soft = [setting._replace(n_augmented=transfer.n_rows) for setting in soft]
    is_compared = python_number(est.alpha) == "auto" and task.learns_targets(student)
    hard = [DistillationSetting(0.0, 1.0, "hard")] if is_compared else []
    return hard + soft


def honors_temperature(student, alpha):
    """Return whether a student can learn soft labels of this weight at T other than 1."""
    return student.mode == "native" if alpha < 1 else student.mode != "mixed" and alpha == 1
