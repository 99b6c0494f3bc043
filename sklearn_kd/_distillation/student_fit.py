"""Fit the student on soft labels, alone or jointly with other students."""

import warnings
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sklearn_kd._distillation.row_expansion import (
    balance_classes,
    fit_expanded,
    switch_off_validation_split,
)
from sklearn_kd._utils.callbacks import begin_subtask
from sklearn_kd._utils.containers import own_copy
from sklearn_kd._utils.encoded_labels import fit_on_labels
from sklearn_kd._utils.labels import apply_temperature, class_factors, mix_labels
from sklearn_kd._utils.protocols import trains_jointly
from sklearn_kd._utils.sklearn_compat import routing_enabled
from sklearn_kd._utils.sub_estimators import (
    fit_parameter_key,
    fit_preprocessing,
    fit_up_to_last_step,
    joint_student,
    last_step,
    step_parameter,
    transform_validation,
    with_last_step,
)
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning, TransferRowsWarning


@dataclass(frozen=True)
class StudentSpec:
    """An unfitted student and how soft labels reach it.

    Attributes
    ----------
    estimator : estimator
        Unfitted. It is cloned for each fit.
    last_step : estimator
        The last step of a pipeline, or the estimator itself.
    prefix : str
        What precedes the names of the parameters of the last step: "" without a pipeline.
    mode : {"native", "mixed", "expansion", "targets"}
        "native": the last step takes ``soft_targets`` and has the parameters of the loss.
        "mixed": it takes ``soft_targets`` alone, which are mixed with the hard labels before.
        "expansion": it takes ``sample_weight`` and is fitted on weighted copies of the rows, one
        per class. "targets": it is fitted on numbers mixed with those of the teacher.
    is_joint : bool
        Whether several of these students train in the same matrix products.
    """

    estimator: Any
    last_step: Any
    prefix: str
    mode: str
    is_joint: bool

    @classmethod
    def of(cls, estimator, mode):
        """Inspect an unfitted student, which labels reach in the way ``mode``."""
        last = last_step(estimator)
        return cls(estimator, last, step_parameter(estimator, ""), mode, trains_jointly(last))

    @property
    def name(self):
        """Name of the class of the last step."""
        return type(self.last_step).__name__

    @property
    def class_weight(self):
        """Class weight of the last step, None where it has none."""
        return self.last_step.get_params(deep=False).get("class_weight")

    def takes(self, name):
        """Return whether ``fit`` of the last step has a parameter."""
        return fit_parameter_key(self.estimator, name) is not None

    @property
    def held_out_fraction(self):
        """Fraction of the rows that may be held out for the student, zero if it holds out none."""
        params = self.last_step.get_params(deep=False)
        holds_out = params.get("early_stopping") and self.takes("X_val")
        if self.mode in ("expansion", "targets") or not holds_out:
            return 0.0
        return params.get("validation_fraction", 0.0)

    def with_weight_request(self):
        """Return the student with a request for ``sample_weight``, for metadata routing."""
        estimator = clone(self.estimator)
        last = last_step(estimator).set_fit_request(sample_weight=True)
        return replace(self, estimator=estimator, last_step=last)

    def without_checkpoint(self):
        """Return the student without a checkpoint, which belongs to the fit on all rows."""
        key = f"{self.prefix}checkpoint_path"
        if key not in self.estimator.get_params():
            return self
        estimator = clone(self.estimator).set_params(**{key: None})
        return replace(self, estimator=estimator, last_step=last_step(estimator))


class StudentTrainer:
    """Fits clones of a student on soft labels.

    Parameters
    ----------
    spec : StudentSpec
    task : Task
        Of the soft labels.
    """

    def __init__(self, spec, task):
        self.spec, self.task = spec, task

    def fit(self, training_set, subtask=None):
        """Return a clone fitted on a `StudentTrainingSet`.

        ``subtask`` is the `Subtask` of the callbacks that the fit belongs to, if any.
        """
        student, data = clone(self.spec.estimator), self._with_held_out_rows(training_set)
        # other students are fitted on the same rows
        own = {name: own_copy(getattr(data, name)) for name in ("X", "y", "soft_labels")}
        data = data._replace(**own)
        if self.spec.mode == "expansion":
            return self._fit_expanded(student, data, subtask)
        if self.spec.mode == "targets":
            return self._fit_mixed_targets(student, data, subtask)
        return self._fit_soft_targets(student, data, subtask)

    def _with_held_out_rows(self, data):
        """Return a training set with what tells the student which rows to hold out.

        A student that takes groups gets them. One that stops early and takes validation rows gets
        some as `StudentTrainingSet.with_validation_rows` says, unless the user has given others.
        One that would not stop early on these labels trains on all rows.
        """
        spec = self.spec
        if spec.held_out_fraction and self._stops_early(data):
            data = data.with_validation_rows(spec.held_out_fraction)
        if data.groups is not None and spec.takes("groups"):
            data = data._replace(params={**data.params, "groups": data.groups})
        return data

    def _stops_early(self, data):
        """Return whether a student that may stop early does so without validation rows."""
        student = self.spec.last_step
        if self.spec.mode != "native" or student.early_stopping != "auto":
            return True
        weights, class_weight = data.params.get("sample_weight"), self.spec.class_weight
        weights = np.ones(len(data.y)) if weights is None else np.asarray(weights)
        if class_weight is not None:
            classes = self.task.classes
            weights = weights * class_factors(class_weight, classes, data.y_encoded, weights)
        student = clone(student).set_params(alpha=data.alpha)
        return self.task.stops_early(student, data.soft_labels, weights)

    def _fit_expanded(self, student, data, subtask):
        if "X_val" not in data.validation:
            switch_off_validation_split(student)
        Q = mix_labels(
            apply_temperature(data.soft_labels, data.temperature), data.y_encoded, data.alpha
        )
        Q = balance_classes(student, Q, data.params.get("sample_weight"))
        self._request(student, data, "groups")
        return fit_expanded(student, data, Q, self.task.classes, data.params, subtask)

    def _fit_mixed_targets(self, student, data, subtask):
        """Fit a student on ``alpha`` times the teacher's predictions plus ``1 - alpha`` times y.

        Under the squared error they have the gradient of the sum of both losses. Rows without
        quantiles are left out.
        """
        data = data.without_unlabeled_rows()
        y = self.task.decode(self.task.mix(data.soft_labels, data.y_encoded, data.alpha))
        self._request(student, data, "groups")
        return self._fit_rows(student, data, y, dict(data.params), subtask)

    def _request(self, student, data, *names):
        """Let a pipeline pass metadata that was made here to its last step."""
        names = [name for name in names if name == "soft_targets" or name in data.params]
        if names and routing_enabled() and isinstance(student, Pipeline):
            last_step(student).set_fit_request(**dict.fromkeys(names, True))

    def _fit_soft_targets(self, student, data, subtask):
        prefix, Q = self.spec.prefix, data.soft_labels
        if self.spec.mode == "native":
            loss = self.task.loss_params(data)
            student.set_params(**{f"{prefix}{name}": value for name, value in loss.items()})
        else:
            Q = self.task.mix(Q, data.y_encoded, data.alpha)
        index = data.X.index if hasattr(data.X, "iloc") else None
        params = {**data.params, "soft_targets": self.task.soft_targets(Q, index)}
        self._request(student, data, "soft_targets", "groups")
        return self._fit_rows(student, data, data.y, params, subtask)

    def _fit_rows(self, student, data, y, params, subtask):
        """Fit a student on targets ``y``, with metadata and the validation rows of ``data``."""
        prefix, last, X = self.spec.prefix, student, data.X
        if data.validation:  # step by step, so that validation rows are transformed like X
            last, X, params, validation = fit_up_to_last_step(
                student, X, y, params, data.validation
            )
            params |= validation
        elif not routing_enabled():
            params = {f"{prefix}{name}": value for name, value in params.items()}
        with begin_subtask(subtask, last), warnings.catch_warnings():
            # rows and columns are in order here, and those of the user were checked before
            warnings.simplefilter("ignore", SoftTargetsAlignmentWarning)
            warnings.filterwarnings("ignore", "X_val has as many rows", TransferRowsWarning)
            fitted = fit_on_labels(last, X, y, params)
        return fitted if last is student else with_last_step(student, fitted)

    def fit_jointly(self, training_sets):
        """Fit students of different labels of the same rows in shared matrix products.

        Parameters
        ----------
        training_sets : list of StudentTrainingSet
            Equal but for ``soft_labels``, ``alpha`` and ``temperature``.

        Returns
        -------
        list of estimator or Exception
            For each training set the fitted student, or the error of its fit.
        """
        training_sets = [self._with_held_out_rows(data) for data in training_sets]
        fits = [None] * len(training_sets)
        # rows may be held out for some labels only, as for hard ones under early_stopping="auto"
        for has_rows in (False, True):
            part = [i for i, data in enumerate(training_sets) if bool(data.validation) == has_rows]
            found = self._fit_part([training_sets[i] for i in part]) if part else []
            for i, fit in zip(part, found, strict=True):
                fits[i] = fit
        return fits

    def _fit_part(self, training_sets):
        """Fit students of training sets that have the same rows held out."""
        X, y, params = training_sets[0].X, training_sets[0].y, training_sets[0].params
        validation = training_sets[0].validation
        student, preprocessing = clone(self.spec.estimator), None
        if isinstance(student, Pipeline) and len(student.steps) > 1:
            preprocessing, X = fit_preprocessing(student, own_copy(X), own_copy(y), params)
            validation = transform_validation(preprocessing, validation)
        template, networks, targets, encoded = last_step(student), [], [], None
        # all candidates share a seed, so that they differ in their labels alone
        seed = template.random_state if isinstance(template.random_state, Integral) else 0
        for data in training_sets:
            loss = self.task.loss_params(data)
            network = joint_student(template, {**loss, "random_state": seed})
            rows, soft = self._check_data(network, X, data, encoded)
            encoded = network.encoder_, rows[0]  # once for all of them
            networks.append(network)
            targets.append(soft)
        validation = networks[0]._check_validation(
            X,
            rows[1],
            params.get("sample_weight"),
            is_joint=True,
            groups=params.get("groups"),
            **validation,
        )
        X, y_encoded, weights = rows
        joint = networks[0]._fit_jointly(
            networks, X, y_encoded, weights, targets, y, validation=validation
        )
        joint.advance()
        return [
            fit.error or _with_preprocessing(preprocessing, network)
            for network, fit in zip(networks, joint.fits, strict=True)
        ]

    def _check_data(self, network, X, data, encoded):
        """Return checked rows, labels and weights (without class weights), and soft labels."""
        soft = self.task.soft_targets(data.soft_labels, None)
        class_weight = self.spec.class_weight
        if class_weight is not None:
            network.class_weight = None  # joint training adds it
        with warnings.catch_warnings():
            # rows and columns are in order here
            warnings.simplefilter("ignore", SoftTargetsAlignmentWarning)
            weight = data.params.get("sample_weight")
            *rows, soft = network._check_data(X, data.y, weight, soft, encoded=encoded)
        if class_weight is not None:
            network.class_weight = class_weight
        return rows, soft


def _with_preprocessing(preprocessing, network):
    """Return a fitted network as the last step after fitted preprocessing, if there is any."""
    if preprocessing is None:
        return network
    return Pipeline([*preprocessing.steps, ("last", network)])
