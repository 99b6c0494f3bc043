"""Losses of single rows of a teacher and a student that are classifiers."""

import functools
from typing import NamedTuple

import numpy as np

from sklearn_kd._distillation.teacher_response import fill_missing_classes, teacher_predictions
from sklearn_kd._utils.calibration import (
    apply_decision_value_calibration,
    apply_teacher_temperature,
    fit_decision_value_calibration,
    fit_teacher_temperature,
)
from sklearn_kd._utils.containers import own_copy
from sklearn_kd._utils.labels import align_columns, encode_labels, merge_classes
from sklearn_kd._utils.losses import log_losses
from sklearn_kd._utils.responses import as_labels, model_probabilities
from sklearn_kd._utils.sub_estimators import last_step
from sklearn_kd.inspection._fold_losses import FoldLosses
from sklearn_kd.inspection._scores import CLASS_SCORES


class ClassPredictions(NamedTuple):
    """Predictions of a classifier that was fitted on the training rows of a fold.

    Pairs are those of the test rows and those of the training rows.
    """

    #: Sorted classes of y and of the model.
    classes: np.ndarray
    #: Pair of probabilities or decision values of shape (n_rows, n_classes), None without any.
    values: tuple
    #: Pair of masks of the rows whose predicted label is wrong. Empty unless accuracy decides.
    is_wrong: tuple
    #: Whether the values are probabilities.
    is_proba: bool


class ClassLosses:
    r"""Log losses of rows, or 1 for a wrong label and 0 for the right one.

    Parameters
    ----------
    data : CrossValidationRows
    decide_by : {"log_loss", "accuracy"}
    alpha : float
        Weight of the teacher's labels in the mixture :math:`(1 - \alpha) s + \alpha q`.
    calibrate : bool
        Whether the labels in the mixture are calibrated by a temperature.
    """

    #: How messages call the loss of each ``decide_by``, the first of which is the default.
    names = {"log_loss": "log loss", "accuracy": "error rate"}
    #: Units that messages name.
    units: dict = {}
    #: What a student learns.
    labels = "labels"
    #: Attribute of a fitted teacher that labels its training rows out of sample.
    own_labels = "loo_proba_"

    def __init__(self, data, *, decide_by, alpha, calibrate):
        self.y, self.weight, self.decide_by, self.alpha = data.y, data.weight, decide_by, alpha
        self.calibrate = calibrate
        self.classes, self.y_encoded = encode_labels(self.y)

    def margin(self, level):
        """Return the smallest relevant gain, where the student's loss is ``level``."""
        return CLASS_SCORES.margin(self.decide_by, level)

    def check_frozen(self, teacher):
        """Raise a ValueError for a frozen teacher whose labels are of another kind."""
        merge_classes(self.classes, last_step(teacher))

    def predict(self, role, model, parts, rows):
        """Return the predictions of a fitted model.

        Parameters
        ----------
        role : {"teacher", "student", "distilled"}
        model : classifier
        parts : pair of array-like or DataFrame
            Test and training rows.
        rows : pair of ndarray of int
            Their numbers.

        Returns
        -------
        ClassPredictions

        Raises
        ------
        TypeError
            If the log loss decides and the student has no ``predict_proba``.
        """
        name = type(last_step(model)).__name__
        # a frozen teacher, or a network whose classes were given, may know more of them
        known = merge_classes(self.classes, model) if hasattr(model, "classes_") else self.classes
        is_wrong, values, is_proba = (), (None, None), True
        if self.decide_by == "accuracy":
            labels = [as_labels(model.predict(own_copy(part)), part, known, name) for part in parts]
            is_wrong = tuple(
                label != self.y[part] for label, part in zip(labels, rows, strict=True)
            )
        if role == "teacher":
            predictions = [teacher_predictions(model, own_copy(part), known) for part in parts]
            values, is_proba = tuple(each for each, _ in predictions), predictions[0][1]
        elif hasattr(model, "predict_proba"):
            name = f"the student {name}"
            values = tuple(model_probabilities(model, part, known, name=name) for part in parts)
        elif self.decide_by == "log_loss":
            raise TypeError(
                f'the student {name} has no predict_proba, which decide_by="log_loss" needs: pass '
                'decide_by="accuracy".'
            )
        return ClassPredictions(known, values, is_wrong, is_proba)

    def of_folds(self, students, teachers, folds):
        """Return the losses of the rows of each fold.

        Parameters
        ----------
        students, teachers : list of ClassPredictions
        folds : list of (train, test)

        Returns
        -------
        list of FoldLosses
        """
        if len({teacher.is_proba for teacher in teachers}) > 1:
            raise ValueError(
                "the teacher has predict_proba in some folds, and decision_function alone in "
                "others, which cannot be compared: put the models that it chooses from in a "
                "CalibratedClassifierCV."
            )
        every_fit = [*students, *teachers]
        classes = functools.reduce(np.union1d, [fit.classes for fit in every_fit], self.classes)
        y_encoded = np.searchsorted(classes, self.classes)[self.y_encoded]
        loss_of = _error_rates if self.decide_by == "accuracy" else log_losses
        teacher_values = [_aligned(teacher, classes, np.nan) for teacher in teachers]
        losses = []
        for number, (train, test) in enumerate(folds):
            student, teacher = students[number], teachers[number]
            unseen = _predictions_on_other_folds(
                number, folds, teacher_values, y_encoded, self.weight
            )
            own_values = teacher_values[number]
            q, q_training, labels = _teacher_labels(
                teacher.is_proba, own_values, unseen, self.calibrate
            )
            s, s_training = _aligned(student, classes, 0.0)
            mixed = labels if s is None else (1 - self.alpha) * s + self.alpha * labels
            of_mixed = loss_of(mixed, y_encoded[test])
            if self.decide_by == "accuracy":
                student_loss, student_training = (wrong.astype(float) for wrong in student.is_wrong)
                teacher_loss, teacher_training = (wrong.astype(float) for wrong in teacher.is_wrong)
                if s is None:  # the mixture is the labels of the teacher
                    of_mixed = teacher_loss
            else:
                student_loss, teacher_loss = (loss_of(proba, y_encoded[test]) for proba in (s, q))
                student_training, teacher_training = (
                    loss_of(proba, y_encoded[train]) for proba in (s_training, q_training)
                )
            losses.append(
                FoldLosses(student_loss, teacher_loss, of_mixed, student_training, teacher_training)
            )
        return losses

    def of_test_rows(self, predicted, test):
        """Return the losses of a model on test rows."""
        if self.decide_by == "accuracy":
            return predicted.is_wrong[0].astype(float)
        codes = np.searchsorted(predicted.classes, self.classes)[self.y_encoded[test]]
        return log_losses(predicted.values[0], codes)


def _aligned(fit, classes, fill):
    """Return the values of a `FoldFit` in the columns of ``classes``."""
    return [
        None if values is None else align_columns(values, fit.classes, classes, fill=fill)
        for values in fit.values
    ]


def _error_rates(proba, y_encoded):
    return (proba.argmax(axis=1) != y_encoded).astype(np.float64)


def _predictions_on_other_folds(number, folds, teacher_values, y_encoded, weight):
    """Return the teachers' values, labels and weights of rows that a fold does not test.

    The values are those of the teachers that have not seen the row. Calibration is fitted to
    them, so that it does not depend on the rows that it is tested on.
    """
    others = [other for other in range(len(folds)) if other != number]
    rows = np.concatenate([folds[other][1] for other in others])
    values = np.concatenate([teacher_values[other][0] for other in others])
    is_elsewhere = ~np.isin(rows, folds[number][1])  # repeated folds share rows
    rows = rows[is_elsewhere]
    return values[is_elsewhere], y_encoded[rows], weight[rows]


def _teacher_labels(is_proba, values, unseen, calibrate):
    """Return the teacher's probabilities of test and training rows, and its labels of the former.

    Parameters
    ----------
    is_proba : bool
        Whether the values are probabilities, not decision values.
    values : pair of ndarray of shape (n_rows, n_classes)
        Of the test and of the training rows.
    unseen : tuple
        Values, encoded labels and weights that calibration is fitted to.
    calibrate : bool
        Whether labels are calibrated by a temperature, if the values are probabilities.

    Returns
    -------
    q, q_training, labels : ndarray of shape (n_rows, n_classes)
    """
    unseen_values, *labels_and_weights = unseen
    if not is_proba:
        calibration = fit_decision_value_calibration(unseen_values, *labels_and_weights)
        q, q_training = (apply_decision_value_calibration(each, *calibration) for each in values)
        return q, q_training, q
    q, q_training = (fill_missing_classes(each) for each in values)
    known = ~np.isnan(unseen_values).all(axis=0)  # classes that a teacher knows
    temperature = None
    if calibrate:
        unseen_values = fill_missing_classes(unseen_values)
        temperature = fit_teacher_temperature(unseen_values, *labels_and_weights, known)
    return q, q_training, apply_teacher_temperature(q, temperature, known)
