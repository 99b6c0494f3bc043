"""Settings of a distillation, and those that alpha="auto" and temperature="auto" try."""

from typing import NamedTuple

from sklearn_kd._utils.sub_estimators import fit_parameter_key, last_step

__all__ = ["Setting", "settings_to_try"]


#: alpha="auto" chooses among hard labels and these, by where labels come from. What is left out was
#: seldom best (docs/results.md).
ALPHAS = {"own": (0.25, 0.5), "in-sample": (0.5, 1.0)}
#: alpha and T that temperature="auto" tries beside them.
HOT = (0.5, 3.0)
#: temperature="auto" with a number for alpha.
ALL_TEMPERATURES = (1.0, 0.5, 2.0, 3.0, 5.0)


class Setting(NamedTuple):
    """One way to teach: weights of the two losses, whose labels, and how many transfer rows."""

    alpha: float
    temperature: float
    #: "own": those that ``cv`` asks for (or given ones); "in-sample"; "hard": none
    source: str
    n_augmented: int = 0


def settings_to_try(mode, alpha, temperature, sources, batched):
    """Return settings without transfer rows that a student of ``mode`` can honor.

    The first is what the others are compared with: hard labels, if ``alpha`` is "auto".
    """
    tried = [Setting(0.0, 1.0, "hard")] if alpha == "auto" else []
    for source in sources:
        for a, T in _pairs(mode, alpha, temperature, source):
            if T == 1 or (mode == "native" and a <= 1) or (mode == "expansion" and a == 1):
                tried.append(Setting(a, T, source))
    if alpha == "auto" and not batched:
        # one after the other, students have time for few: in-sample labels are nearly hard as it is
        usual = {"hard": 0.0, "own": 0.5, "in-sample": 1.0}
        off = {s: abs(s.alpha - usual[s.source]) for s in tried}
        tried = [s for s in tried if off[s] == min(off[o] for o in tried if o.source == s.source)]
    return tried


def _pairs(mode, alpha, temperature, source):
    """Pairs of alpha and T for the labels of a source."""
    if alpha != "auto":
        return [(alpha, T) for T in (ALL_TEMPERATURES if temperature == "auto" else [temperature])]
    pairs = [(a, 1.0 if temperature == "auto" else temperature) for a in ALPHAS[source]]
    if source == "own" and temperature == "auto":
        pairs.append(HOT)
    if mode == "expansion" and temperature not in ("auto", 1):
        return [(1.0, temperature)]  # all that it can do
    return pairs


def _check_options(est, student):
    """Refuse parameters that do not go together."""
    plain = est.class_weight is None and est.augmentation in (None, "auto")
    if est.alpha != "auto" and est.alpha > 1 and not plain:
        raise ValueError(
            f"alpha={est.alpha} is above 1, where labels leave the simplex: it goes with neither "
            "class_weight nor augmentation."
        )
    if est.class_weight is not None and fit_parameter_key(student, "sample_weight") is None:
        raise TypeError(
            "class_weight needs a student whose fit takes sample_weight; "
            f"{type(last_step(student)).__name__} does not."
        )
    own_weight = last_step(student).get_params(deep=False).get("class_weight")
    if est.class_prior is not None and own_weight is not None:
        raise ValueError(
            f"class_prior with class_weight={own_weight!r} of the student, whose effect on its "
            "probabilities is unknown: set class_weight of DistilledClassifier."
        )
    if est.class_prior is not None and not hasattr(student, "predict_proba"):
        raise TypeError(
            "class_prior corrects probabilities and needs a student with predict_proba; "
            f"{type(last_step(student)).__name__} has none."
        )
