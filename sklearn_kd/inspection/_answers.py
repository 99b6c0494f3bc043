"""What models answer, classes or numbers, and what follows for reports, advice and displays."""

from collections.abc import Mapping

import numpy as np
from sklearn.utils import column_or_1d

from sklearn_kd._distillation.classifier import DistilledClassifier
from sklearn_kd._distillation.regressor import DistilledRegressor
from sklearn_kd._utils.label_indicators import refuse_label_indicator
from sklearn_kd._utils.labels import encode_labels, plain_labels
from sklearn_kd._utils.quantile_levels import check_levels
from sklearn_kd._utils.regression_targets import check_numbers
from sklearn_kd._utils.sklearn_compat import check_y
from sklearn_kd._utils.sub_estimators import kind_of, last_step
from sklearn_kd.inspection._class_losses import ClassLosses
from sklearn_kd.inspection._class_scores import PROBABILITY_SCORES, ClassScorer
from sklearn_kd.inspection._number_losses import NumberLosses
from sklearn_kd.inspection._number_scores import NumberScorer
from sklearn_kd.inspection._scores import CLASS_SCORES, NUMBER_SCORES


class ClassAnswers:
    """Labels of classes."""

    scores = CLASS_SCORES
    #: Method of a compact file whose time is measured.
    method_of_row = "predict_proba_one"
    kind = "classifier"
    #: Name of the score of ``score``.
    score_name = "accuracy"
    #: Makes losses of single rows, which advice compares.
    losses_of = ClassLosses

    @staticmethod
    def read(y):
        """Return labels as an array of one dimension, which several labels of a row are not."""
        refuse_label_indicator("sklearn_kd.inspection", y)
        return check_y(column_or_1d(plain_labels(y)))

    @staticmethod
    def check_varied(y):
        """Raise a ValueError for labels of a single class."""
        classes, _ = encode_labels(y)
        if len(classes) < 2:
            raise ValueError(f"at least two classes are needed, y has 1 class: {classes.tolist()}.")

    @staticmethod
    def strata(y):
        """Return the code of the class of each row, by which folds are stratified."""
        return encode_labels(y)[1]

    @staticmethod
    def unknown(y, y_train):
        """Return the labels of some rows that training rows lack."""
        return np.setdiff1d(y, y_train).tolist()

    @classmethod
    def check_training_part(cls, number, y_train, y):
        """Raise a ValueError for a fold whose training part lacks a class."""
        missing = cls.unknown(y, y_train)
        if missing:
            raise ValueError(
                f"the training part of fold {number} lacks the classes {missing}, so that "
                "no model could know them: give a number of folds as cv, without groups, or leave "
                "rows of rare classes out."
            )

    @staticmethod
    def check_score(distiller, decide_by):
        """Raise an error for a student that cannot learn, or that lacks the score that decides."""
        student = distiller._check_student()
        if decide_by in PROBABILITY_SCORES and not hasattr(student, "predict_proba"):
            raise ValueError(
                f"decide_by={decide_by!r} needs a student with predict_proba, which "
                f"{type(last_step(student)).__name__} does not have: set decide_by='accuracy' or "
                "'balanced_accuracy'."
            )

    @staticmethod
    def scorer(distiller, y, weight):
        """Return what scores models, given the labels and weights of all rows."""
        classes, y_encoded = encode_labels(y)
        return ClassScorer(classes, np.bincount(y_encoded, weights=weight))

    @staticmethod
    def fixed_params(calibration):
        """Return parameters of a distiller that searches nothing, besides those of all kinds."""
        return {"temperature": 1.0, "calibration": calibration}

    @staticmethod
    def network(**params):
        """Return an unfitted network."""
        from sklearn_kd._networks.two_layer.classifier import TwoLayerPGDClassifier

        return TwoLayerPGDClassifier(**params)

    @staticmethod
    def given_labels(model):
        """Return what a distilled model has given to a `RecordingStudent`, for other students.

        Returns
        -------
        y : ndarray of shape (n_samples,)
        soft_targets : ndarray or DataFrame of shape (n_samples, n_classes)
        params : dict
            Parameters of a distiller that gives these labels to its student.
        """
        student, given = model.student_, model.student_.given_
        y = np.asarray(given["y"], dtype=model.classes_.dtype)  # texts have arrived as objects
        soft = np.asarray(given["soft_targets"])  # given with names of columns
        if not np.array_equal(np.unique(y), model.classes_):  # a frozen teacher knows more
            import pandas as pd

            soft = pd.DataFrame(soft, columns=model.classes_)
        loss = {"alpha": student.alpha, "temperature": student.temperature, "calibration": None}
        return y, soft, loss


class NumberAnswers:
    """Numbers, of one or several targets."""

    scores = NUMBER_SCORES
    method_of_row = "predict_one"
    kind = "regressor"
    score_name = "r2"
    losses_of = NumberLosses

    @staticmethod
    def read(y):
        """Return numbers as an array of one dimension, or of two for several targets."""
        y = check_numbers(y, "y")
        return y[:, 0] if y.shape[1:] == (1,) else y

    @staticmethod
    def check_varied(y):
        """Raise a ValueError for a target of a single value."""
        if (np.ptp(y, axis=0) == 0).any():
            raise ValueError("y must have at least two different values, of each target.")

    @staticmethod
    def strata(y):
        """Return zeros, since folds are drawn from all rows alike."""
        return np.zeros(len(y), dtype=np.intp)

    @staticmethod
    def unknown(y, y_train):
        """Return nothing, since any number can be predicted."""
        return []

    @staticmethod
    def check_training_part(number, y_train, y):
        """Raise a ValueError for a fold without training rows."""
        if not len(y_train):
            raise ValueError(f"fold {number} of cv has no training rows.")

    @staticmethod
    def check_score(distiller, decide_by):
        """Raise an error for a student that cannot learn, or that lacks the score that decides."""
        student = distiller._check_student()
        if distiller.quantiles is None:
            if decide_by == "pinball_loss":
                raise ValueError(
                    "decide_by='pinball_loss' needs quantiles: set quantiles of the distiller."
                )
        elif distiller._task_type.student_mode(student, distiller) != "native":
            raise ValueError(
                f"the student {type(last_step(student)).__name__} has no loss of quantiles, so "
                "that there is none on hard targets to compare with: take a TwoLayerPGDRegressor."
            )

    @staticmethod
    def scorer(distiller, y, weight):
        """Return what scores models."""
        levels = distiller.quantiles
        return NumberScorer(None if levels is None else check_levels(levels))

    @staticmethod
    def fixed_params(calibration):
        """Return no parameters, since numbers have no temperature and no calibration."""
        return {}

    @staticmethod
    def network(**params):
        """Return an unfitted network."""
        from sklearn_kd._networks.two_layer.regressor import TwoLayerPGDRegressor

        return TwoLayerPGDRegressor(**params)

    @staticmethod
    def given_labels(model):
        """Return what a distilled model has given to a `RecordingStudent`, for other students."""
        student, given = model.student_, model.student_.given_
        return given["y"], given["soft_targets"], {"alpha": student.alpha}


def answers_of(distiller):
    """Return what a DistilledClassifier or DistilledRegressor answers."""
    return NumberAnswers if isinstance(distiller, DistilledRegressor) else ClassAnswers


def default_distiller(teacher, student):
    """Return an unfitted distiller for a teacher and a student, either of which may be None."""
    if isinstance(teacher, Mapping):
        raise TypeError(
            "a dict of regressors teaches quantiles, which should_distill does not compare: give "
            "distillation_report distiller=DistilledRegressor(teacher, student, quantiles=...)."
        )
    kinds = (kind_of(each) for each in (teacher, student) if each is not None)
    kind = next(filter(None, kinds), "classifier")  # some estimators do not say what they are
    return DistilledRegressor() if kind == "regressor" else DistilledClassifier()
