"""Values of alpha, temperature and label source that "auto" tries, and parameters that conflict."""

from typing import NamedTuple

from sklearn_kd._utils.base import python_number
from sklearn_kd._utils.sub_estimators import fit_parameter_key

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


def candidate_settings(est, student, transfer):
    """Return the settings that "auto" chooses from on held-out rows.

    Hard labels come first for ``alpha="auto"``, then soft labels, without transfer rows before with
    them.

    Parameters
    ----------
    est : DistilledClassifier
        Its parameters are read.
    student : StudentSpec
    transfer : TransferSpec

    Returns
    -------
    list of DistillationSetting
        With numbers of transfer rows of a fit on all training rows.
    """
    alpha, temperature = python_number(est.alpha), python_number(est.temperature)
    is_auto = alpha == "auto"
    if is_auto:  # row expansion honors no other alpha at another temperature than 1
        is_softened = student.mode == "expansion" and temperature not in ("auto", 1)
        alpha = 1.0 if is_softened else ALPHA_TO_TRY
    temperatures = [temperature]
    if temperature == "auto":
        is_fixed = is_auto or est.class_weight is not None
        temperatures = [1.0] if is_fixed else TEMPERATURES_TO_TRY
    soft = [
        DistillationSetting(alpha, T, "soft")
        for T in temperatures
        if T == 1 or honors_temperature(student, alpha)
    ]
    if est.augmentation == "auto" and transfer.n_rows:
        soft.append(soft[0]._replace(n_augmented=transfer.n_rows))
    elif est.augmentation is not None:
        soft = [setting._replace(n_augmented=transfer.n_rows) for setting in soft]
    return [DistillationSetting(0.0, 1.0, "hard"), *soft] if is_auto else soft


def honors_temperature(student, alpha):
    """Return whether a student can learn soft labels of this weight at T other than 1."""
    return student.mode == "native" if alpha < 1 else student.mode != "mixed" and alpha == 1


def check_parameters(est, student):
    """Raise an error for parameters of a DistilledClassifier that exclude each other.

    Parameters
    ----------
    est : DistilledClassifier
    student : StudentSpec
    """
    is_plain = est.class_weight is None and est.augmentation in (None, "auto")
    if est.alpha != "auto" and est.alpha > 1 and not is_plain:
        raise ValueError(
            f"alpha={est.alpha} is above 1, where labels are not probabilities: it cannot be "
            "combined with class_weight or augmentation."
        )
    if (
        est.class_weight is not None
        and fit_parameter_key(student.estimator, "sample_weight") is None
    ):
        raise TypeError(
            f"class_weight needs a student whose fit takes sample_weight; {student.name} does not."
        )
    if est.class_prior is not None and student.class_weight is not None:
        raise ValueError(
            f"class_prior cannot be combined with class_weight={student.class_weight!r} of the "
            "student, whose effect on its probabilities is unknown: set class_weight of "
            "DistilledClassifier."
        )
    if est.class_prior is not None and not hasattr(student.estimator, "predict_proba"):
        raise TypeError(
            "class_prior corrects probabilities and needs a student with predict_proba; "
            f"{student.name} has none."
        )
