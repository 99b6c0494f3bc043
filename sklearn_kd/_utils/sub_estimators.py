"""Sub-estimators of a meta-estimator: last steps of pipelines, seeds, routed metadata and tags."""

import copy

from sklearn.base import clone, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, get_routing_for_object, process_routing
from sklearn.utils.validation import has_fit_parameter

from sklearn_kd._utils.sklearn_compat import num_samples, routing_enabled
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import IgnoredSampleWeightWarning

__all__ = [
    "fit_parameter_key",
    "fit_preprocessing",
    "last_step",
    "merge_tags",
    "route_fit",
    "seeded",
    "step_parameter",
    "student_has",
    "student_mode",
    "without_own_requests",
]


def last_step(estimator):
    """Follow pipelines, nested ones too, to the step that is fitted last."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def step_parameter(estimator, name):
    """Name under which a pipeline knows the parameter ``name`` of its last step."""
    prefix = ""
    while isinstance(estimator, Pipeline):
        step, estimator = estimator.steps[-1]
        prefix += f"{step}__"
    return prefix + name


def fit_parameter_key(estimator, name):
    """Keyword that hands ``name`` to ``fit`` (of the last step), None where it takes no such."""
    if has_fit_parameter(last_step(estimator), name):
        return step_parameter(estimator, name)
    return None


def student_has(method):
    """Whether the fitted student, or before fit the one to be fitted, has a method."""

    def check(self):
        student = getattr(self, "student_", None)
        if student is None:
            student = self._get_student()
        getattr(student, method)  # its AttributeError says what is missing
        return True

    return check


def seeded(estimator, rng):
    """Clone in which each ``random_state`` that is None is an integer."""
    estimator = clone(estimator)
    params = estimator.get_params()
    names = [name for name in sorted(params) if name.split("__")[-1] == "random_state"]
    seeds = {name: int(rng.randint(2**31 - 1)) for name in names if params[name] is None}
    return estimator.set_params(**seeds) if seeds else estimator


def without_own_requests(estimator):
    """Shallow copy that asks for no ``soft_targets`` or ``X_unlabeled`` of its own.

    Those that a user passes are for the meta-estimator: without this, a student that could take
    them, and has not said whether it wants them, would make routing an error.
    """
    if estimator is None or not routing_enabled():
        return estimator
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        estimator = copy.copy(estimator)
        estimator.steps = [*estimator.steps[:-1], (name, without_own_requests(last))]
        return estimator
    names = [
        name
        for name in ("soft_targets", "X_unlabeled")
        if fit_parameter_key(estimator, name) and hasattr(estimator, "set_fit_request")
    ]
    if names:
        estimator = copy.copy(estimator)
        estimator.set_fit_request(**dict.fromkeys(names, False))
    return estimator


def route_fit(meta, teacher, student, sample_weight, params):
    """Metadata for the teacher's fit (None where it is not fitted), the student's and the splitter.

    Without metadata routing these are sample weights, by signature.
    """
    if routing_enabled():
        routed = process_routing(meta, "fit", sample_weight=sample_weight, **params)
        return {
            "teacher": dict(routed["teacher"]["fit"]),
            "student": dict(routed["student"]["fit"]),
            "splitter": dict(routed["splitter"]["split"]),
        }
    routed = {"teacher": {}, "student": {}, "splitter": {}}
    if sample_weight is None:
        return routed
    if teacher is not None:
        key = fit_parameter_key(teacher, "sample_weight")
        if key is None:
            _warn_weights_ignored("teacher", teacher, "student")
        else:
            routed["teacher"][key] = sample_weight
    if fit_parameter_key(student, "sample_weight") is None:
        _warn_weights_ignored("student", student, "teacher")
    else:
        routed["student"]["sample_weight"] = sample_weight
    return routed


def _warn_weights_ignored(role, estimator, other):
    last = last_step(estimator)
    reason = "takes no sample_weight"
    if isinstance(get_routing_for_object(last), MetadataRouter):
        # searches, stacks and votes hand on what their parts have asked for
        reason = (
            "takes sample_weight by metadata routing only (set_config(enable_metadata_routing=True)"
            " and set_fit_request(sample_weight=True) on the estimators in it)"
        )
    warn_caller(
        f"the {role} {type(last).__name__} {reason}: the weights are used for the {other} only.",
        IgnoredSampleWeightWarning,
    )


def merge_tags(tags, parts):
    """Tags of a meta-estimator that hands X to all of ``parts`` as it is."""
    parts = [get_tags(part) for part in parts if hasattr(part, "__sklearn_tags__")]
    for name in ("one_d_array", "two_d_array", "sparse", "categorical", "string", "allow_nan"):
        setattr(tags.input_tags, name, all(getattr(part.input_tags, name) for part in parts))
    tags.input_tags.positive_only = any(part.input_tags.positive_only for part in parts)
    for part in parts:
        if part.classifier_tags is not None:
            tags.classifier_tags.multi_class &= part.classifier_tags.multi_class
    tags.non_deterministic = any(part.non_deterministic for part in parts)
    return tags


def fit_preprocessing(student, X, y, params):
    """Fit the steps of a pipeline before the last; they, and the rows as they leave them."""
    head, head_params = student[:-1], {}
    if routing_enabled() and params:
        wanted = get_routing_for_object(head).consumes("fit_transform", params)
        head_params = {key: params[key] for key in wanted}
    n_samples = num_samples(X)
    X = head.fit_transform(X, y, **head_params)
    if num_samples(X) != n_samples:
        raise ValueError(
            f"the student's steps before the last made {num_samples(X)} rows of "
            f"{n_samples}; soft labels need the rows they belong to."
        )
    return head, X


def student_mode(student, alpha, temperature):
    """Return "native", "mixed" (native without parameters for the loss) or "expansion".

    An ``alpha`` or ``temperature`` of "auto" will be what the student can honor.
    """
    last = last_step(student)
    name = type(last).__name__
    # not is_classifier: third parties may not say what they are
    if hasattr(last, "__sklearn_tags__") and is_regressor(last):
        raise TypeError(
            f"the student {name} is a regressor, whose predictions are not labels: give a "
            "classifier as student."
        )
    if fit_parameter_key(student, "soft_targets") is not None:
        has_loss = {"alpha", "temperature"} <= last.get_params(deep=False).keys()
        mode = "native" if has_loss else "mixed"
    elif fit_parameter_key(student, "sample_weight") is not None:
        mode = "expansion"
    else:
        raise TypeError(
            f"the student {name} cannot learn soft labels: its fit takes neither soft_targets nor "
            "sample_weight."
        )
    pair = f"alpha={alpha!r}, temperature={temperature!r}"
    if alpha == "auto":
        alpha = 1.0
    if temperature == "auto":
        temperature = 1.0
    if alpha > 1 and (mode != "native" or temperature != 1):
        raise ValueError(
            f"{pair}: alpha above 1 needs temperature=1 and a student whose fit takes soft_targets "
            f"and that has the parameters alpha and temperature; the student is {name}."
        )
    if mode == "expansion" and alpha != 1 and temperature != 1:
        raise ValueError(
            f"{pair}: {name} takes sample weights but no soft_targets, and row expansion can "
            "honor alpha=1 with any temperature, or temperature=1 with any alpha in [0, 1]."
        )
    if mode == "mixed" and temperature != 1:
        raise ValueError(
            f"{pair}: {name} takes soft_targets but has no parameters alpha and temperature, so "
            "it can honor temperature=1 only."
        )
    return mode
