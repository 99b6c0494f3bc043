"""Values of alpha, temperature and label source that "auto" tries, and parameters that conflict."""

from typing import NamedTuple

from sklearn_kd._utils.base import python_number
from sklearn_kd._utils.sub_estimators import fit_parameter_key

#: Distinct training rows below which nothing is held out and "auto" takes its defaults.
MIN_DISTINCT_ROWS = 100
#: Values of alpha beside 0 (hard labels) that ``alpha="auto"`` tries, by the source of the labels.
#: Other values were seldom best (docs/results.md).
ALPHAS_TO_TRY = {"out-of-sample": (0.25, 0.5), "in-sample": (0.5, 1.0)}
#: Pair of alpha and temperature that ``temperature="auto"`` tries beside them.
SOFTENED_PAIR = (0.5, 3.0)
#: Temperatures that ``temperature="auto"`` tries for a given alpha.
TEMPERATURES_TO_TRY = (1.0, 0.5, 2.0, 3.0, 5.0)
#: Value of alpha that a student is tried with if it is fitted once for each candidate.
USUAL_ALPHAS = {"hard": 0.0, "out-of-sample": 0.5, "in-sample": 1.0}


class DistillationSetting(NamedTuple):
    """Weight and temperature of the soft labels, their source, and number of transfer rows."""

    alpha: float
    temperature: float
    #: "out-of-sample": what ``cv`` asks for, labels of a frozen teacher or given ones. "in-sample":
    #: labels of the teacher fitted on the same rows. "hard": those of ``y`` alone.
    source: str
    n_augmented: int = 0


def candidate_settings(est, student, transfer, rows, *, is_frozen):
    """Return the settings that "auto" chooses from on held-out rows.

    Parameters
    ----------
    est : DistilledClassifier
        Its parameters are read.
    student : StudentSpec
    transfer : TransferSpec
    rows : TrainingRows
    is_frozen : bool
        Whether the teacher is.

    Returns
    -------
    settings : list of DistillationSetting
    n_transfer_rows : int
        Transfer rows that the best soft labels are tried with, in a fit on all training rows.
    """
    sources = ["out-of-sample"]
    is_automatic = isinstance(est.cv, str) and est.cv == "auto" and rows.given is None
    is_automatic &= rows.groups is None  # the teacher has seen the group of each of its rows
    if est.alpha == "auto" and is_automatic and not is_frozen:
        sources.append("in-sample")
    alpha, temperature = python_number(est.alpha), python_number(est.temperature)
    if temperature == "auto" and (est.class_weight is not None or student.mode == "mixed"):
        temperature = 1.0
    settings = settings_to_try(student.mode, alpha, temperature, sources, student.is_joint)
    if est.augmentation == "auto":
        return settings, transfer.n_rows
    if est.augmentation is not None:
        settings = [
            s if s.source == "hard" else s._replace(n_augmented=transfer.n_rows) for s in settings
        ]
    return settings, 0


def settings_to_try(mode, alpha, temperature, sources, is_joint):
    """Return settings without transfer rows that a student can honor.

    The first is what the others are compared with, which is hard labels for ``alpha="auto"``.

    Parameters
    ----------
    mode : {"native", "mixed", "expansion"}
        Of the `StudentSpec`.
    alpha, temperature : float or "auto"
    sources : list of {"out-of-sample", "in-sample"}
    is_joint : bool
        Whether the candidates train jointly, so that further ones take little time.
    """
    tried = [DistillationSetting(0.0, 1.0, "hard")] if alpha == "auto" else []
    for source in sources:
        for a, T in _pairs(mode, alpha, temperature, source):
            if T == 1 or (mode == "native" and a <= 1) or (mode == "expansion" and a == 1):
                tried.append(DistillationSetting(a, T, source))
    if alpha == "auto" and not is_joint:
        # each candidate costs a fit, so that only the usual alpha of each source is tried
        off = {s: abs(s.alpha - USUAL_ALPHAS[s.source]) for s in tried}
        tried = [s for s in tried if off[s] == min(off[o] for o in tried if o.source == s.source)]
    return tried


def _pairs(mode, alpha, temperature, source):
    """Return pairs of alpha and temperature for the labels of a source."""
    if alpha != "auto":
        values = TEMPERATURES_TO_TRY if temperature == "auto" else [temperature]
        return [(alpha, T) for T in values]
    if mode == "expansion" and temperature not in ("auto", 1):
        return [(1.0, temperature)]  # row expansion honors no other alpha at this temperature
    pairs = [(a, 1.0 if temperature == "auto" else temperature) for a in ALPHAS_TO_TRY[source]]
    if source == "out-of-sample" and temperature == "auto":
        pairs.append(SOFTENED_PAIR)
    return pairs


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
