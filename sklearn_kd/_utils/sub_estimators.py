"""Sub-estimators of meta-estimators: path to the student, clones, metadata routing and tags."""

import copy

from sklearn.base import OneToOneFeatureMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, get_routing_for_object, process_routing
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from sklearn_kd._utils.base import python_number
from sklearn_kd._utils.containers import own_copy
from sklearn_kd._utils.protocols import Distiller
from sklearn_kd._utils.sklearn_compat import VisualBlock, num_samples, routing_enabled
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import FittedTeacherWarning, IgnoredSampleWeightWarning

#: Metadata that tells a network which rows to hold out. Teachers may request them.
OPTIONAL_METADATA = ("groups", "X_val", "y_val", "sample_weight_val")
#: Metadata that a meta-estimator takes for itself, and passes on as it decides.
OWN_METADATA = ("soft_targets", "X_unlabeled", *OPTIONAL_METADATA)


def inner_estimator(estimator, *, fitted=False):
    """Return the estimator to which another one passes its rows, and the name of its parameter.

    That is the last step of a pipeline and the student of a distiller.

    Parameters
    ----------
    estimator : estimator
    fitted : bool, default=False
        Take the fitted student of a distiller instead of the one to be fitted.

    Returns
    -------
    (estimator, name) or None
        None if the estimator is neither a pipeline nor a distiller.
    """
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        return last, name
    if isinstance(estimator, Distiller):
        return (estimator.student_ if fitted else estimator._get_student()), "student"
    return None


def estimator_path(estimator, *, fitted=False, into_distillers=True):
    """Yield an estimator and, one inside the other, those to which it passes its rows.

    Parameters
    ----------
    estimator : estimator
    fitted : bool, default=False
        As for `inner_estimator`.
    into_distillers : bool, default=True
        Whether the path continues with the student of a distiller. False: it ends with the step
        of the pipelines that is fitted last.

    Yields
    ------
    prefix : str
        What precedes the parameters of this estimator in ``get_params`` of the first one: empty,
        or names with a trailing "__".
    estimator : estimator
    """
    prefix = ""
    while True:
        yield prefix, estimator
        inner = None
        if into_distillers or isinstance(estimator, Pipeline):
            inner = inner_estimator(estimator, fitted=fitted)
        if inner is None:
            return
        estimator, prefix = inner[0], f"{prefix}{inner[1]}__"


def innermost_student(estimator, *, fitted=False):
    """Return the last estimator of `estimator_path`."""
    return list(estimator_path(estimator, fitted=fitted))[-1][1]


def last_step(estimator):
    """Return the step that is fitted last in a pipeline, which may be nested."""
    return list(estimator_path(estimator, into_distillers=False))[-1][1]


def step_parameter(estimator, name):
    """Return the name that a pipeline gives to the parameter ``name`` of its `last_step`."""
    return list(estimator_path(estimator, into_distillers=False))[-1][0] + name


def with_last_step(estimator, last):
    """Return an estimator after its `last_step` was replaced by another one, in place."""
    if last is last_step(estimator):
        return estimator
    name = step_parameter(estimator, "").removesuffix("__")
    return estimator.set_params(**{name: last}) if name else last


def fit_parameter_key(estimator, name):
    """Return the keyword of ``fit`` that passes ``name`` to the last step, or None.

    None means that ``fit`` of the last step has no such parameter.
    """
    if has_fit_parameter(last_step(estimator), name):
        return step_parameter(estimator, name)
    return None


def with_default_estimators(params, estimator, defaults):
    """Return parameters for ``set_params`` of a meta-estimator, with default sub-estimators.

    ``student__width`` needs a student to be set on. If there is none, the default one is added.

    Parameters
    ----------
    params : dict
    estimator : estimator
        The meta-estimator.
    defaults : dict of str to callable
        For the name of each sub-estimator a function that returns the default one.
    """
    nested = {name.partition("__")[0] for name in params if "__" in name}
    missing = [name for name in defaults if params.get(name, getattr(estimator, name)) is None]
    return params | {name: defaults[name]() for name in missing if name in nested}


def requesting_weights(estimator):
    """Return an estimator that was made here, for which the user can request no weights."""
    return estimator.set_fit_request(sample_weight=True) if routing_enabled() else estimator


def seeded(estimator, rng):
    """Return a clone in which each ``random_state`` that is None is set to a random integer.

    Parameters
    ----------
    estimator : estimator
    rng : numpy.random.RandomState
    """
    estimator = clone(estimator)
    params = estimator.get_params()
    names = [name for name in sorted(params) if name.split("__")[-1] == "random_state"]
    seeds = {name: int(rng.randint(2**31 - 1)) for name in names if params[name] is None}
    return estimator.set_params(**seeds) if seeds else estimator


def set_python_numbers(estimator):
    """Set NumPy scalars among the parameters of a clone to numbers of Python, in place."""
    params = estimator.get_params(deep=False)
    estimator.set_params(**{name: python_number(value) for name, value in params.items()})


def joint_student(student, params, checked=None):
    """Return a clone of a student that is ready for joint training, with parameters of its own.

    Parameters
    ----------
    student : JointStudent
        Unfitted.
    params : dict
        Parameters in which the clone differs from ``student``: those of the loss and a seed.
    checked : estimator, default=None
        A student that has checked the rows of the joint training. The clone takes over what is
        known of these rows. Without it the caller has the clone check them (``_check_data``).

    Returns
    -------
    JointStudent
        With validated parameters.
    """
    copied = clone(student).set_params(**params)
    copied._validate_params()
    set_python_numbers(copied)
    names = *copied._target_attributes, "encoder_", "n_features_in_", "feature_names_in_"
    for name in names:
        if hasattr(checked, name):
            setattr(copied, name, getattr(checked, name))
    return copied


def without_own_requests(estimator, *, keeps_explicit=False):
    """Return a shallow copy that requests none of `OWN_METADATA` in fit.

    The user passes them to the meta-estimator. Metadata routing would otherwise raise an error
    for a student whose fit has these parameters and whose request for them is not set.

    Parameters
    ----------
    estimator : estimator or None
    keeps_explicit : bool, default=False
        Whether requests for groups and validation rows that are set stay as they are.
    """
    if estimator is None or not routing_enabled():
        return estimator
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        estimator = copy.copy(estimator)
        last = without_own_requests(last, keeps_explicit=keeps_explicit)
        estimator.steps = [*estimator.steps[:-1], (name, last)]
        return estimator
    names = [
        name
        for name in OWN_METADATA
        if fit_parameter_key(estimator, name) and hasattr(estimator, "set_fit_request")
    ]
    if keeps_explicit:
        names = [name for name in names if not _has_request(estimator, name)]
    if names:
        estimator = copy.copy(estimator)
        estimator.set_fit_request(**dict.fromkeys(names, False))
    return estimator


def _has_request(estimator, name):
    """Return whether the request of an estimator for groups or validation rows is set."""
    if name not in OPTIONAL_METADATA:
        return False
    routing = get_routing_for_object(estimator)
    if isinstance(routing, MetadataRouter):
        return bool(routing.consumes("fit", [name]))
    return routing.fit.requests.get(name) is not None


def route_fit(meta, teacher, student, sample_weight, params):
    """Return the metadata for the teacher's fit, the student's fit and the splitter.

    Without metadata routing, only sample weights are passed on, to each estimator whose fit has
    this parameter, and groups to such a teacher. The student's groups and validation rows are none
    of this metadata, since the meta-estimator adds rows.

    Parameters
    ----------
    meta : estimator
        Meta-estimator whose fit was called.
    teacher : estimator or None
        None if the teacher is not fitted.
    student : estimator
    sample_weight : array-like of shape (n_samples,) or None
    params : dict
        Other metadata passed to fit of the meta-estimator.

    Returns
    -------
    dict of dict
        With the keys "teacher", "student" and "splitter".
    """
    if routing_enabled():
        routed = process_routing(meta, "fit", sample_weight=sample_weight, **params)
        return {
            "teacher": dict(routed["teacher"]["fit"]),
            "student": dict(routed["student"]["fit"]),
            "splitter": dict(routed["splitter"]["split"]),
        }
    routed = {"teacher": {}, "student": {}, "splitter": {}}
    if params.get("groups") is not None and teacher is not None:
        key = fit_parameter_key(teacher, "groups")
        routed["teacher"] |= {} if key is None else {key: params["groups"]}
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
        # searches, stacks and votes pass on only what their sub-estimators request
        reason = (
            "takes sample_weight by metadata routing only (set_config(enable_metadata_routing=True)"
            " and set_fit_request(sample_weight=True) on the estimators in it)"
        )
    warn_caller(
        f"the {role} {type(last).__name__} {reason}: the weights are used for the {other} only.",
        IgnoredSampleWeightWarning,
    )


def is_plain(estimator):
    """Return whether an estimator of scikit-learn passes its rows to no other one."""
    return type(estimator).__module__.startswith("sklearn.") and not _passes_rows_on(estimator)


def _passes_rows_on(estimator):
    params = estimator.get_params() if hasattr(estimator, "get_params") else {}
    return any("__" in name or hasattr(value, "fit") for name, value in params.items())


def takes_missing_cells(estimator):
    """Return whether an estimator can be fitted on missing cells, or None if that is unknown.

    It is unknown for estimators of other packages whose tags do not say that they take them, and
    for those that pass their rows on, but for pipelines whose steps are known.
    """
    if isinstance(estimator, FrozenEstimator):
        return takes_missing_cells(estimator.estimator)
    if isinstance(estimator, Pipeline):
        return _steps_take_missing_cells([step for _, step in estimator.steps])
    if isinstance(getattr(estimator, "regressors", None), list):  # one for each level of quantiles
        each = [takes_missing_cells(regressor) for regressor in estimator.regressors]
        return False if False in each else None if None in each else True
    if not hasattr(estimator, "__sklearn_tags__"):
        return None
    tags = get_tags(estimator)
    if tags.input_tags.allow_nan:
        return True
    is_known = type(estimator).__module__.split(".")[0] in ("sklearn", "sklearn_kd")
    is_known = is_known and not (tags.no_validation or _passes_rows_on(estimator))
    return False if is_known else None


def _steps_take_missing_cells(steps):
    """Return what `takes_missing_cells` does for the steps of a pipeline."""
    are_passed_on = True
    for step in steps:
        if step is None or isinstance(step, str):  # "passthrough"
            continue
        takes = takes_missing_cells(step)
        if not takes:
            return takes if are_passed_on else None
        taken = cells_taken(step)
        if taken.string or type(step).__module__.startswith("sklearn.impute."):
            return True  # it encodes or fills the cells
        # scalers do not change missing cells, and other steps may
        are_passed_on &= isinstance(step, OneToOneFeatureMixin) and not taken.categorical
    return True


def cells_taken(estimator):
    """Return the input tags of what gets the rows: of a pipeline, those of its first step.

    Of missing cells they say whether it is known that all steps take them (`takes_missing_cells`).
    """
    tags = get_tags(estimator).input_tags
    if not isinstance(estimator, Pipeline):
        return tags
    steps = [step for _, step in estimator.steps if hasattr(step, "__sklearn_tags__")]
    if steps:
        first = cells_taken(steps[0])
        tags.categorical, tags.string = first.categorical, first.string
        tags.allow_nan = bool(takes_missing_cells(estimator))
    return tags


def merge_tags(tags, parts):
    """Return the tags of a meta-estimator that passes X unchanged to each of ``parts``."""
    parts = [part for part in parts if hasattr(part, "__sklearn_tags__")]
    # a pipeline says nothing of the cells that its steps take
    first = [cells_taken(part) for part in parts]
    parts = [get_tags(part) for part in parts]
    for name in ("categorical", "string", "allow_nan"):
        setattr(tags.input_tags, name, all(getattr(each, name) for each in first))
    for name in ("one_d_array", "two_d_array", "sparse"):
        setattr(tags.input_tags, name, all(getattr(part.input_tags, name) for part in parts))
    tags.input_tags.positive_only = any(part.input_tags.positive_only for part in parts)
    for part in parts:
        if None not in (tags.classifier_tags, part.classifier_tags):
            tags.classifier_tags.multi_class &= part.classifier_tags.multi_class
    tags.non_deterministic = any(part.non_deterministic for part in parts)
    return tags


def fitted_block(meta, names):
    """Return what the HTML representation of a meta-estimator shows of its sub-estimators.

    Parameters
    ----------
    meta : estimator
    names : list of str
        Parameters that hold sub-estimators. After the fit those that were fitted are shown, and
        before it the parameters that are estimators.
    """
    fitted = [f"{name}_" for name in names if hasattr(meta, f"{name}_")]
    parts = {name: getattr(meta, name) for name in fitted or names}
    parts = {name: part for name, part in parts.items() if hasattr(part, "fit")}
    if not parts:
        return VisualBlock("single", meta, names=type(meta).__name__, name_details=str(meta))
    return VisualBlock(
        "parallel",
        list(parts.values()),
        names=[f"{name}: {type(part).__name__}" for name, part in parts.items()],
        name_details=[str(part) for part in parts.values()],
    )


def group_fit_params(student, groups):
    """Return groups as metadata for the fit of a student outside of a meta-estimator.

    Parameters
    ----------
    student : estimator
        With metadata routing, the last step of a pipeline gets a request for groups, in place.
    groups : array-like of shape (n_samples,) or None

    Returns
    -------
    dict
        Empty if ``fit`` of the student takes no groups.
    """
    key = None if groups is None else fit_parameter_key(student, "groups")
    if key is None:
        return {}
    if not routing_enabled():
        return {key: groups}
    if isinstance(student, Pipeline):
        last_step(student).set_fit_request(groups=True)
    return {"groups": groups}


def fit_up_to_last_step(student, X, y, params, validation):
    """Fit the steps of a pipeline, which may be nested, up to the step that is fitted last.

    Parameters
    ----------
    student : estimator or Pipeline
        Its steps are fitted in place.
    X, y : array-like or DataFrame
    params : dict
        Metadata for the fit of the last step, and of steps that request them.
    validation : dict
        Validation rows, which are transformed as X if they have the key "X_val".

    Returns
    -------
    last : estimator
        Unfitted.
    X : array-like or DataFrame
        Transformed rows.
    params, validation : dict
        For the last step.
    """
    while isinstance(student, Pipeline):
        name, last = student.steps[-1]
        routed = params
        if routing_enabled() and params:
            routed = process_routing(student, "fit", **params)[name]["fit"]
        if len(student.steps) > 1:
            head, X = fit_preprocessing(student, X, y, params)
            # with memory= the head has fitted copies of its steps
            student.steps = [*head.steps, (name, last)]
            validation = transform_validation(head, validation)
        student, params = last, routed
    return student, X, dict(params), validation


def transform_validation(head, validation):
    """Return validation rows as fitted steps before the last one transform them."""
    if "X_val" not in validation:
        return validation
    # other fits have the same validation rows, into which a step may write
    return {**validation, "X_val": head.transform(own_copy(validation["X_val"]))}


def fit_preprocessing(student, X, y, params):
    """Fit the steps of a pipeline before the last one.

    Parameters
    ----------
    student : Pipeline
        Its steps are fitted in place, unless it caches transformers with ``memory``.
    X, y : array-like or DataFrame
    params : dict
        Metadata, passed to the steps that request it if metadata routing is enabled.

    Returns
    -------
    head : Pipeline
        Fitted steps.
    X : array-like or DataFrame
        Transformed rows.
    """
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


def refuse_samplers(student):
    """Raise a TypeError for a step of a student's pipeline that changes the number of rows."""
    if not isinstance(student, Pipeline):
        return
    for name, step in student.steps:
        if hasattr(step, "fit_resample"):
            raise TypeError(
                f"the step {name!r} of the student, a {type(step).__name__}, resamples the rows, "
                "but soft labels belong to the rows given. Put the sampler into the teacher's "
                "pipeline, or around the whole: a pipeline of the sampler and then the "
                "DistilledClassifier. For rare classes see class_weight and class_prior."
            )
        refuse_samplers(step)


#: What predictions of an estimator are, by its kind.
PREDICTIONS = {"classifier": "labels", "regressor": "numbers"}


def refuse_other_kinds(role, estimator, wanted="classifier"):
    """Raise a TypeError for a teacher or student that is known to be of another kind.

    Estimators of other packages may not say what they are.

    Parameters
    ----------
    role : {"teacher", "student"}
    estimator : estimator
    wanted : {"classifier", "regressor"}
    """
    name, kind = type(last_step(estimator)).__name__, kind_of(estimator)
    if kind not in (None, wanted):
        article = "an" if kind[0] in "aeiou" else "a"
        raise TypeError(
            f"the {role} {name} is {article} {kind.replace('_', ' ')}, whose predictions are not "
            f"{PREDICTIONS[wanted]}: give a {wanted} as {role}."
        )


def refuse_unfit_student(student):
    """Raise an error for a student that learns nothing, or whose predictions nobody can get."""
    last = last_step(student)
    if isinstance(last, FrozenEstimator):
        raise ValueError(
            "the student is a FrozenEstimator, which learns nothing: pass the estimator in it."
        )
    if not _predicts(last):
        raise TypeError(f"the student {type(last).__name__} has no predict.")


def kind_of(estimator):
    """Return "classifier", "regressor" and so on for the last step, None if it does not say."""
    last = last_step(estimator)
    kind = getattr(last, "_estimator_type", None)
    if hasattr(last, "__sklearn_tags__"):
        kind = get_tags(last).estimator_type
    if kind is None and hasattr(last, "transform") and not _predicts(last):
        return "transformer"
    return kind


def _predicts(estimator):
    methods = ("predict", "predict_proba", "predict_log_proba", "decision_function")
    return any(hasattr(estimator, method) for method in methods)


def warn_if_fitted(teacher):
    """Warn about a fitted teacher that is not frozen, before a clone of it is fitted.

    Nothing is known of an estimator whose clone counts as fitted too, as a frozen one does.
    """
    if _is_fitted(teacher) and not _is_fitted(clone(teacher)):
        warn_caller(
            f"the teacher {type(teacher).__name__} is fitted already. A clone of it is fitted "
            "again, and what it has learned before is not used. To use it as it is, on rows that "
            "it was not fitted on, pass sklearn.frozen.FrozenEstimator(teacher). To fit it again "
            "without this warning, pass sklearn.base.clone(teacher).",
            FittedTeacherWarning,
        )


def _is_fitted(estimator):
    try:
        check_is_fitted(estimator)
    except (AttributeError, NotFittedError, TypeError):  # without tags it is not known
        return False
    return True


def student_mode(student, alpha, temperature):
    """Return "native", "mixed" (native without parameters for the loss) or "expansion".

    A value of "auto" for ``alpha`` or ``temperature`` is compatible with each of them, since only
    values that the student supports are tried.
    """
    refuse_samplers(student)
    last = last_step(student)
    name = type(last).__name__
    refuse_other_kinds("student", student)
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
