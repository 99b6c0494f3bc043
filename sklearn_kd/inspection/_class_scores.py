"""Scores of fitted classifiers on test rows, for reports."""

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    log_loss,
    recall_score,
    roc_auc_score,
)

from sklearn_kd._utils.containers import own_copy
from sklearn_kd._utils.responses import as_labels, model_probabilities
from sklearn_kd._utils.sub_estimators import last_step
from sklearn_kd.metrics import agreement_score, expected_calibration_error, fidelity_score

#: Scores for which the students need ``predict_proba``.
PROBABILITY_SCORES = ("log_loss", "roc_auc", "average_precision")


class ClassScorer:
    """Scores of the models of one fold and seed.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted labels of all rows.
    class_weight_sums : ndarray of shape (n_classes,)
        Sum of the weights of all rows of each class.
    """

    def __init__(self, classes, class_weight_sums):
        self.classes = classes
        # for two classes the average precision is that of the rarer one
        is_second_rarer = class_weight_sums[1] <= class_weight_sums[0]
        self.rarer = classes[1] if is_second_rarer else classes[0]

    def __call__(self, models, data):
        """Return the scores of each model as a dict of dict, and measures of single rows.

        Parameters
        ----------
        models : dict of estimator
            Fitted, by the names in `MODELS`.
        data : EvaluationRows
            Test rows.

        Returns
        -------
        scores : dict of dict
            By model and column of the report.
        of_rows : dict of ndarray of shape (n_test,)
            As for `Partitions.sums`: whether the labels of student and teacher differ, and whether
            that of each model is right.
        """
        # a distilled model may know more than y has
        classes = np.union1d(self.classes, models["distilled"].classes_)
        labels = {
            name: as_labels(
                model.predict(own_copy(data.X)), data.X, classes, type(last_step(model)).__name__
            )
            for name, model in models.items()
        }
        proba = {
            name: model_probabilities(model, data.X, classes)
            if hasattr(model, "predict_proba")
            else None
            for name, model in models.items()
        }
        measured = {
            name: {
                **_label_scores(data, labels[name]),
                **self._probability_scores(data, proba[name], classes),
                **_similarity_scores(
                    labels["teacher"], proba["teacher"], labels[name], proba[name], data.weight
                ),
            }
            for name in models
        }
        of_rows = {name: labels[name] == data.y for name in models}
        return measured, of_rows | {"disagreement": labels["distilled"] != labels["teacher"]}

    def _probability_scores(self, data, P, classes):
        names = (*PROBABILITY_SCORES, "calibration_error")
        if P is None:
            return dict.fromkeys(names, np.nan)
        y, weight = data.y, data.weight
        loss = log_loss(y, P, labels=classes, sample_weight=weight)
        error = expected_calibration_error(y, P, labels=classes, sample_weight=weight)
        area = precision = np.nan
        if len(np.unique(y)) == len(self.classes):
            # of two complementary columns one is enough, since the other has lost digits
            binary = len(self.classes) == 2
            position = np.searchsorted(classes, self.classes)
            columns = {c: P[:, k] for c, k in zip(self.classes, position, strict=True)}
            area = _macro(
                roc_auc_score, y, columns, self.classes[1:] if binary else self.classes, weight
            )
            rare = [self.rarer] if binary else self.classes
            precision = _macro(average_precision_score, y, columns, rare, weight)
        return dict(zip(names, (float(loss), area, precision, error), strict=True))


def _label_scores(data, predicted):
    """Return the accuracy and the mean recall of the classes that the test rows have."""
    # balanced_accuracy_score warns if a class is predicted that the test rows lack
    recall = recall_score(
        data.y, predicted, labels=np.unique(data.y), average="macro", sample_weight=data.weight
    )
    accuracy = accuracy_score(data.y, predicted, sample_weight=data.weight)
    return {"accuracy": float(accuracy), "balanced_accuracy": float(recall)}


def _macro(score, y, columns, labels, weight):
    """Return the mean over labels of a score of this label against the rest."""
    scores = [score(y == label, columns[label], sample_weight=weight) for label in labels]
    return float(np.mean(scores))


def _similarity_scores(teacher_labels, teacher_proba, labels, proba, weight):
    """Return the agreement and the fidelity with the teacher."""
    fidelity = np.nan
    if teacher_proba is not None and proba is not None:
        fidelity = fidelity_score(teacher_proba, proba, sample_weight=weight)
    agreement = agreement_score(teacher_labels, labels, sample_weight=weight)
    return {"agreement": agreement, "fidelity": fidelity}
