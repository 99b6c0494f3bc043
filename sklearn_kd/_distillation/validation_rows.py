"""Validation rows of the user, which decide when the training of the student ends."""

from sklearn.pipeline import Pipeline

from sklearn_kd._utils.containers import is_dataframe, stack_rows
from sklearn_kd._utils.sklearn_compat import num_samples, safe_indexing
from sklearn_kd._utils.sub_estimators import estimator_path, fit_parameter_key, last_step
from sklearn_kd._utils.validation import (
    check_validation_pair,
    check_validation_rows_are_used,
    validate_sample_weight,
)


def check_validation_rows(given, X, task, student):
    """Validate the validation rows of a distillation.

    Parameters
    ----------
    given : dict
        ``X_val``, ``y_val`` and ``sample_weight_val``, each of which may be None.
    X : rows
        Training rows.
    task : Task
        Of the targets that the student will know.
    student : estimator

    Returns
    -------
    dict
        Those that are given and that ``fit`` of the student takes.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return {}
    check_validation_pair(given.get("X_val"), given.get("y_val"))
    X_val = given["X_val"]
    if num_samples(X_val) == 0:
        raise ValueError("X_val has no rows: leave X_val and y_val out, or pass rows.")
    _check_features(X, X_val)
    if not isinstance(student, Pipeline):  # whose steps may take columns by name
        _check_order_of_columns(X, X_val)
    given["y_val"] = task.check_validation_targets(given["y_val"], num_samples(X_val))
    if "sample_weight_val" in given:
        given["sample_weight_val"] = validate_sample_weight(given["sample_weight_val"], X_val)
    if fit_parameter_key(student, "X_val") is not None:
        _check_transform_input(student)
        check_validation_rows_are_used(last_step(student))
    return {name: given[name] for name in given if fit_parameter_key(student, name) is not None}


def _check_features(X, X_val):
    """Raise an error for validation rows of another kind, or with other features, than X."""
    try:
        stack_rows(safe_indexing(X, [0]), X_val, "X_val")
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"{error} If a pipeline transforms X, it has to transform X_val too: set "
            'transform_input=["X_val"] of the Pipeline, with '
            "sklearn.set_config(enable_metadata_routing=True)."
        ) from error


def _check_order_of_columns(X, X_val):
    """Raise ValueError for validation rows with the columns of X in another order."""
    if is_dataframe(X) and is_dataframe(X_val) and list(X.columns) != list(X_val.columns):
        raise ValueError(
            f"X_val must have the columns of X in the same order, {list(X.columns)}, got "
            f"{list(X_val.columns)}."
        )


def _check_transform_input(student):
    """Raise ValueError for a pipeline that would not transform the validation rows."""
    for _, pipeline in estimator_path(student, into_distillers=False):
        is_transforming = isinstance(pipeline, Pipeline) and any(
            step not in (None, "passthrough") for _, step in pipeline.steps[:-1]
        )
        if is_transforming and "X_val" not in (pipeline.transform_input or []):
            raise ValueError(
                "X_val would reach the last step of the student's pipeline as it is: set "
                'transform_input=["X_val"] of the Pipeline, with '
                "sklearn.set_config(enable_metadata_routing=True)."
            )
