"""Losses of single rows of a teacher and a student that are regressors."""

import numpy as np

from sklearn_kd._utils.regression_targets import fit_target_units
from sklearn_kd._utils.sub_estimators import last_step
from sklearn_kd.inspection._fold_losses import FoldLosses
from sklearn_kd.inspection._predicted_numbers import predicted_numbers
from sklearn_kd.inspection._scores import DEFAULT_MARGIN_SHARE


class NumberLosses:
    r"""Squared or absolute errors of rows, in standard deviations of each target.

    Parameters
    ----------
    data : CrossValidationRows
    decide_by : {"squared_error", "absolute_error"}
    alpha : float
        Weight of the teacher's predictions in the mixture :math:`(1 - \alpha) s + \alpha q`.
    calibrate : bool
        Not used, since numbers need no calibration.
    """

    #: How messages call the loss of each ``decide_by``, the first of which is the default.
    names = {"squared_error": "squared error", "absolute_error": "absolute error"}
    #: Units of these losses.
    units = {"squared_error": " variances of y", "absolute_error": " standard deviations of y"}
    #: What a student learns.
    labels = "targets"
    #: Attribute of a fitted teacher that predicts its training rows out of sample.
    own_labels = "loo_prediction_"

    def __init__(self, data, *, decide_by, alpha, calibrate):
        self.y, self.decide_by, self.alpha = data.y, decide_by, alpha
        _, self.scale = fit_target_units(data.y, data.weight)

    def margin(self, level):
        """Return the smallest relevant gain, where the student's loss is ``level``."""
        return DEFAULT_MARGIN_SHARE * level

    def check_frozen(self, teacher):
        """Return nothing, since any frozen regressor predicts numbers."""

    def predict(self, role, model, parts, rows):
        """Return the predictions of a fitted model for pairs of test and training rows."""
        role = "teacher" if role == "teacher" else "student"  # also of a distilled one
        name = f"the {role} {type(last_step(model)).__name__}"
        return tuple(
            predicted_numbers(model, part, self.y[numbers].shape, name)
            for part, numbers in zip(parts, rows, strict=True)
        )

    def of_folds(self, students, teachers, folds):
        """Return the losses of the rows of each fold.

        Parameters
        ----------
        students, teachers : list of tuple
            What `predict` has returned.
        folds : list of (train, test)

        Returns
        -------
        list of FoldLosses
        """
        losses = []
        for (s, s_training), (q, q_training), (train, test) in zip(
            students, teachers, folds, strict=True
        ):
            mixed = (1 - self.alpha) * s + self.alpha * q
            of_test = (self._of_rows(values, test) for values in (s, q, mixed))
            of_training = (self._of_rows(values, train) for values in (s_training, q_training))
            losses.append(FoldLosses(*of_test, *of_training))
        return losses

    def of_test_rows(self, predicted, test):
        """Return the losses of a model on test rows."""
        return self._of_rows(predicted[0], test)

    def _of_rows(self, values, rows):
        """Return the mean over targets of the losses of each row."""
        errors = np.abs(values - self.y[rows]) / self.scale
        if self.decide_by == "squared_error":
            errors = errors**2
        return errors.reshape(len(errors), -1).mean(axis=1)
