"""Teachers of quantiles: estimators that predict them, and one regressor for each level."""

import inspect
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from sklearn_kd._distillation.regression import predicted_quantile
from sklearn_kd._utils.containers import own_copy
from sklearn_kd._utils.quantile_levels import LEVEL_TOLERANCE, furthest_level, rows_needed
from sklearn_kd._utils.responses import as_numbers
from sklearn_kd._utils.sklearn_compat import routing_enabled
from sklearn_kd._utils.sub_estimators import (
    fit_parameter_key,
    last_step,
    merge_tags,
    refuse_other_kinds,
)
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import IgnoredSampleWeightWarning

#: What can be a teacher of quantiles.
QUANTILE_TEACHERS = (
    "a teacher of quantiles has a method predict_quantiles(X, quantiles), such as "
    "KernelTeacherRegressor, or a method predict that takes quantiles, or is a dict {q: regressor} "
    "with a regressor for each level"
)


def check_quantile_teacher(teacher, levels):
    """Raise an error for an unfitted or frozen teacher that does not predict these quantiles.

    Parameters
    ----------
    teacher : estimator
        A dict of regressors is made one by `LevelRegressors.of`.
    levels : ndarray of shape (n_levels,)

    Raises
    ------
    TypeError
        If it predicts no quantiles.
    ValueError
        If it predicts others.
    """
    last = _predictor(teacher)
    name = type(last).__name__
    if isinstance(last, LevelRegressors):
        last.check(levels)
    elif hasattr(last, "predict_quantiles"):
        known = _own_quantiles(last)
        if "quantiles" in _parameters(last.predict_quantiles):
            return
        if _needs_more_than_rows(last.predict_quantiles):
            raise TypeError(
                f"predict_quantiles of the teacher {name} has no parameter called quantiles: "
                f"{QUANTILE_TEACHERS}."
            )
        if known is not None:
            _positions(known, levels, name)
    elif "quantiles" not in _parameters(getattr(last, "predict", None)):
        raise TypeError(
            f"the teacher {name} predicts no quantiles, and those of the levels {levels.tolist()} "
            f"are needed: {QUANTILE_TEACHERS}."
        )


def distinct_rows_needed(teacher, levels):
    """Return the distinct rows that each fit of an unfitted teacher needs, one if that is unknown.

    Parameters
    ----------
    teacher : estimator
        Of which `check_quantile_teacher` has raised no error.
    levels : ndarray of shape (n_levels,)
    """
    from sklearn_kd._kernel.regressor import KernelTeacherRegressor

    is_kernel = isinstance(_predictor(teacher), KernelTeacherRegressor)
    return rows_needed(furthest_level(levels)) if is_kernel else 1


def predict_quantiles(estimator, X, levels, *, role="teacher"):
    """Return quantiles that a fitted regressor predicts, (n_samples, n_levels), sorted in each row.

    Parameters
    ----------
    estimator : estimator
        Of which `check_quantile_teacher` has raised no error, fitted.
    X : rows
    levels : ndarray of shape (n_levels,)
    role : {"teacher", "student"}
        What error messages call it.

    Raises
    ------
    ValueError
        If it predicts other levels, or what are no finite numbers.
    """
    if isinstance(estimator, FrozenEstimator):
        return predict_quantiles(estimator.estimator, X, levels, role=role)
    if isinstance(estimator, Pipeline):
        # Pipeline has no predict_quantiles, and routes what its predict is given
        if len(estimator.steps) > 1:
            X = estimator[:-1].transform(X)
        return predict_quantiles(estimator.steps[-1][1], X, levels, role=role)
    name, asked = f"the {role} {type(estimator).__name__}", levels.tolist()
    if not hasattr(estimator, "predict_quantiles"):
        values, columns = estimator.predict(X, quantiles=asked), slice(None)
    elif "quantiles" in _parameters(estimator.predict_quantiles):
        values, columns = estimator.predict_quantiles(X, quantiles=asked), slice(None)
    else:
        known = _own_quantiles(estimator)
        if known is None:
            raise TypeError(
                f"{name} has no quantiles_, the levels that its predict_quantiles(X) predicts, and "
                f"no quantiles: {QUANTILE_TEACHERS}."
            )
        columns = _positions(known, levels, type(estimator).__name__)
        values = np.asarray(estimator.predict_quantiles(X))[:, columns]
    return np.sort(as_numbers(values, X, len(levels), name), axis=1)


class LevelRegressors(RegressorMixin, BaseEstimator):
    """One regressor for each level of the quantiles.

    Parameters
    ----------
    levels : tuple of float
    regressors : list of regressor

    Attributes
    ----------
    regressors_ : list of regressor
        Fitted.
    """

    def __init__(self, levels, regressors):
        self.levels = levels
        self.regressors = regressors

    @classmethod
    def of(cls, regressors):
        """Return the teacher that a dict of levels and regressors stands for.

        It is frozen if all of the regressors are.
        """
        self = cls(tuple(regressors), list(regressors.values()))
        if not regressors or not all(self._are_frozen()):
            return self
        self.regressors_ = self.regressors
        return FrozenEstimator(self)

    def _are_frozen(self):
        return [isinstance(regressor, FrozenEstimator) for regressor in self.regressors]

    def check(self, levels):
        """Raise an error where there is no regressor for each of these levels."""
        if not all(isinstance(level, Real) for level in self.levels):
            raise TypeError(
                f"the keys of the dict of teachers are {[*self.levels]}, but {QUANTILE_TEACHERS}."
            )
        for regressor in self.regressors:
            _check_regressor(regressor)
        for k in _positions(self.levels, levels, "dict of regressors"):
            _check_level(self.levels[k], self.regressors[k])
        are_frozen = self._are_frozen()
        if any(are_frozen) and not all(are_frozen):
            raise ValueError(
                "some regressors in the dict of teachers are frozen, and others are not: freeze "
                "all of them, or none."
            )

    def fit(self, X, y, sample_weight=None, **params):
        """Fit a clone of each regressor."""
        if sample_weight is not None:
            params["sample_weight"] = sample_weight
        routed = process_routing(self, "fit", **params) if routing_enabled() else None
        fitted = []
        for level, regressor in self._named().items():
            own = routed[level]["fit"] if routed else _taken(regressor, params, level)
            # others are fitted on the same rows, into which a regressor may write
            fitted.append(clone(regressor).fit(own_copy(X), own_copy(y), **own))
        self.regressors_ = fitted
        return self

    def predict_quantiles(self, X, quantiles):
        """Return the predictions of the regressors of these levels, (n_samples, n_quantiles)."""
        positions = _positions(self.levels, np.asarray(quantiles), "dict of regressors")
        columns = []
        for k in positions:
            regressor = self.regressors_[k]
            name = f"the teacher {type(last_step(regressor)).__name__}"
            columns.append(as_numbers(regressor.predict(own_copy(X)), X, 1, name))
        return np.concatenate(columns, axis=1)

    def predict(self, X):
        """Return the predictions of the level next to 1/2."""
        return self.regressors_[int(np.argmin(np.abs(np.subtract(self.levels, 0.5))))].predict(X)

    def _named(self):
        """Return the unfitted regressors by names of their levels."""
        return {
            str(float(level)) if isinstance(level, Real) else str(level): each
            for level, each in zip(self.levels, self.regressors, strict=True)
        }

    def get_params(self, deep=True):
        """Return the parameters, and those of the regressors with their levels before the names."""
        params = super().get_params(deep=False)
        for name, regressor in self._named().items() if deep else ():
            if isinstance(regressor, type) or not hasattr(regressor, "get_params"):
                continue
            params |= {f"{name}__{key}": value for key, value in regressor.get_params().items()}
        return params

    def set_params(self, **params):
        """Set parameters of the regressors."""
        named = self._named()
        for key, value in params.items():
            name, _, rest = key.partition("__")
            if rest:
                named[name].set_params(**{rest: value})
            else:
                setattr(self, name, value)
        return self

    def get_metadata_routing(self):
        """Return the requests of the regressors."""
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=self).add(**self._named(), method_mapping=mapping)

    def __sklearn_tags__(self):
        estimators = [each for each in self.regressors if not isinstance(each, type)]
        return merge_tags(super().__sklearn_tags__(), estimators)


def stands_for_dict(estimator):
    """Return whether an estimator is what a dict of regressors was made into."""
    return isinstance(_predictor(estimator), LevelRegressors)


def _check_regressor(regressor):
    is_estimator = not isinstance(regressor, type)
    if not (is_estimator and hasattr(regressor, "fit") and hasattr(regressor, "predict")):
        raise TypeError(f"the dict of teachers contains {regressor!r}, which is no regressor.")
    refuse_other_kinds("teacher", regressor, "regressor")


def _check_level(level, regressor):
    """Raise ValueError for a regressor that is known to predict another quantile than its key."""
    last = _predictor(regressor)
    if not hasattr(last, "get_params") or "quantiles" in last.get_params(deep=False):
        return
    predicted = predicted_quantile(last)
    if predicted is not None and abs(predicted - level) > LEVEL_TOLERANCE:
        raise ValueError(
            f"the dict of teachers has the key {level:g} for a {type(last).__name__} that predicts "
            f"the quantile {predicted:g}: give each level the regressor of its quantile."
        )


def _taken(regressor, params, level):
    """Return the metadata that a regressor takes, without metadata routing."""
    keys = {name: fit_parameter_key(regressor, name) for name in params}
    if keys.get("sample_weight", "") is None:
        warn_caller(
            f"the teacher of the level {level}, a {type(last_step(regressor)).__name__}, takes no "
            "sample_weight: its quantiles are those of rows without weights.",
            IgnoredSampleWeightWarning,
        )
    return {key: params[name] for name, key in keys.items() if key is not None}


def _predictor(teacher):
    """Return the step of a teacher that predicts, without what freezes it."""
    last = last_step(teacher)
    return _predictor(last.estimator) if isinstance(last, FrozenEstimator) else last


def _parameters(function):
    """Return the names of the parameters of a function, none of what is no function."""
    return inspect.signature(function).parameters if callable(function) else {}


def _needs_more_than_rows(function):
    """Return whether a method needs more arguments than the rows."""
    parameters = list(_parameters(function).values())[1:]
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(each.default is each.empty and each.kind not in variadic for each in parameters)


def _own_quantiles(estimator):
    """Return the levels that an estimator predicts on its own, None if it does not say."""
    return getattr(estimator, "quantiles_", getattr(estimator, "quantiles", None))


def _positions(known, levels, name):
    """Return where levels are among the known ones, or raise ValueError."""
    known = np.asarray(known, dtype=np.float64)
    distance = np.abs(known[:, None] - levels)
    if not len(known) or (distance.min(axis=0) > LEVEL_TOLERANCE).any():
        raise ValueError(
            f"the teacher, a {name}, has the quantiles {known.tolist()}, and those of the levels "
            f"{levels.tolist()} are needed: 0.5, which is predicted, is always among them."
        )
    return distance.argmin(axis=0)
