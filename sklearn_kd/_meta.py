"""What a meta-estimator does with sub-estimators: seeds, metadata, callback tasks, more rows."""

import copy
from contextlib import contextmanager, nullcontext

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    get_routing_for_object,
    process_routing,
)

from sklearn_kd._validation import (
    _num_features,
    _num_samples,
    _routing_enabled,
    fit_parameter_key,
    last_step,
    warn_caller,
)
from sklearn_kd.exceptions import IgnoredSampleWeightWarning, TransferRowsWarning

__all__ = [
    "Subtask",
    "extend_weights",
    "merge_tags",
    "route_fit",
    "seeded",
    "stack_rows",
    "warn_if_sliceable",
    "without_own_requests",
]


def student_has(method):
    """Whether the fitted student, or before fit the one to be fitted, has a method."""

    def check(self):
        student = getattr(self, "student_", None)
        if student is None:
            student = self._get_student()
        getattr(student, method)  # its AttributeError says what is missing
        return True

    return check


class Subtask:
    """A labelled subtask of fit, merged with the fit of a sub-estimator that has callbacks."""

    def __init__(self, ctx, name, estimator, X, y):
        self.ctx = ctx.subcontext(task_name=name)
        self.info = {"estimator": estimator, "X": X, "y": y}

    @contextmanager
    def begin(self, sub_estimator):
        has_callbacks = hasattr(sub_estimator, "set_callbacks")
        with self.ctx.propagate_callback_context(sub_estimator) if has_callbacks else nullcontext():
            self.ctx.call_on_fit_task_begin(**self.info)
            yield

    def end(self, attributes=None):
        self.ctx.call_on_fit_task_end(
            **self.info, reconstruction_attributes=attributes and (lambda: attributes)
        )


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
    if estimator is None or not _routing_enabled():
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
    if _routing_enabled():
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


def warn_if_sliceable(X_unlabeled, n_samples):
    """Warn where a search would take more rows for metadata of those it slices."""
    if X_unlabeled is not None and _num_samples(X_unlabeled) == n_samples:
        warn_caller(
            f"X_unlabeled has as many rows as X ({n_samples}), so that a search or a "
            "cross-validation takes it for metadata of these rows and slices it.",
            TransferRowsWarning,
        )


def _joint_dtype(name, X, more, source):
    """Dtype that a column of ``more`` needs for X to keep its own; an error where none will do."""
    wanted, given = X[name].dtype, more[name].dtype
    if isinstance(wanted, pd.CategoricalDtype):
        unknown = set(more[name].dropna().unique()) - set(wanted.categories)
        if unknown:
            raise ValueError(
                f"column {name!r} of {source} has the categories {sorted(map(str, unknown))}, "
                "which the column in X does not have: drop those rows, or add the categories to X."
            )
        return wanted
    both_floats = pd.api.types.is_float_dtype(wanted) and pd.api.types.is_float_dtype(given)
    return wanted if both_floats else given


def stack_rows(X, more, source="X_unlabeled"):
    """Rows of ``more``, which are from ``source``, after those of X, in the container of X."""
    if isinstance(X, list) and isinstance(more, list):
        return X + more
    if hasattr(X, "iloc") and hasattr(more, "iloc"):
        if set(X.columns) != set(more.columns):
            raise ValueError(
                f"{source} must have the columns of X; they differ in "
                f"{sorted(map(str, set(X.columns) ^ set(more.columns)))}."
            )
        more = more[X.columns].astype(
            {name: _joint_dtype(name, X, more, source) for name in X.columns}
        )
        return pd.concat([X, more], ignore_index=True)
    if hasattr(X, "columns") or hasattr(more, "columns"):
        raise TypeError(f"{source} must be a pandas DataFrame if X is one, and only then.")
    if _num_features(X) != _num_features(more):
        raise ValueError(
            f"{source} has {_num_features(more)} features, but X has {_num_features(X)}."
        )
    if sp.issparse(X) or sp.issparse(more):
        return sp.vstack([sp.csr_array(X), sp.csr_array(more)], format="csr")
    return np.concatenate([np.asarray(X), np.asarray(more)])


def extend_weights(fit_params, n_more):
    """Give ``n_more`` rows after the others their mean weight, where there are weights."""
    if fit_params.get("sample_weight") is not None:
        weights = fit_params["sample_weight"]
        fit_params["sample_weight"] = np.append(weights, np.full(n_more, np.mean(weights)))


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
