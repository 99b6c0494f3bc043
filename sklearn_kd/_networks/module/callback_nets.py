"""The skorch nets of one label, several labels and numbers, which give callbacks other answers.

Callbacks of skorch ask their net for predictions and for the loss of a batch. Training itself has
the loss of the problem, see `net`.
"""

import numpy as np
import torch
from sklearn.base import ClassifierMixin, RegressorMixin, is_regressor
from skorch.utils import to_numpy

from sklearn_kd._networks.module.net import ModuleNet
from sklearn_kd._utils.label_indicators import learns_labels


class ClassifierNet(ClassifierMixin, ModuleNet):
    """Net of a `ModuleClassifier`, whose predictions are labels and probabilities."""

    criterion_class: type[torch.nn.Module] = torch.nn.NLLLoss
    has_accuracy = True

    @property
    def classes_(self):
        """Class labels."""
        return self.plan.est.classes_

    def get_loss(self, y_pred, y_true, *args, **kwargs):
        """Return the log loss of labels."""
        y_encoded = torch.from_numpy(np.searchsorted(self.classes_, to_numpy(y_true)))
        log_proba = self._class_logits(y_pred).log_softmax(dim=1)
        return self.criterion_(log_proba, y_encoded.to(log_proba.device))

    def _class_logits(self, outputs):
        """Return a logit for each class, (n, n_classes)."""
        logits = self._loss_layout(outputs)[0].T
        return torch.cat([-logits, logits], dim=1) / 2 if logits.shape[1] == 1 else logits

    def _predict_nonlinearity(self, outputs):
        return self._class_logits(outputs).softmax(dim=1)

    def predict(self, X):
        """Return labels, for callbacks that score."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _n_right(self, outputs, labels):
        predicted = self.classes_[to_numpy(self._class_logits(outputs).argmax(dim=1))]
        return int((predicted == to_numpy(labels)).sum())


class MultilabelNet(ClassifierNet):
    """Net of a `ModuleClassifier` of several labels, whose predictions are indicators."""

    criterion_class = torch.nn.BCEWithLogitsLoss

    @property
    def classes_(self):
        """Classes of each label, as scorers of scikit-learn recognize several labels."""
        return [np.array([0, 1])] * len(self.plan.est.classes_)

    def get_loss(self, y_pred, y_true, *args, **kwargs):
        """Return the mean log loss over labels."""
        logits = self._loss_layout(y_pred)[0].T
        return self.criterion_(logits, torch.as_tensor(to_numpy(y_true)).to(logits))

    def _predict_nonlinearity(self, outputs):
        return self._loss_layout(outputs)[0].T.sigmoid()

    def predict(self, X):
        """Return the indicator of the labels, for callbacks that score."""
        return (self.predict_proba(X) > 0.5).astype(np.int64)

    def _n_right(self, outputs, labels):
        predicted = to_numpy(self._loss_layout(outputs)[0].T > 0)
        return int((predicted == to_numpy(labels)).all(axis=1).sum())


class RegressorNet(RegressorMixin, ModuleNet):
    """Net of a `ModuleRegressor`, whose predictions are in the units of ``y``."""

    criterion_class = torch.nn.MSELoss

    def get_loss(self, y_pred, y_true, *args, **kwargs):
        """Return the mean squared error of predictions."""
        found = self.plan.est._numbers_of(to_numpy(self._predict_nonlinearity(y_pred)))
        pair = (torch.from_numpy(np.asarray(each, float)) for each in (found, to_numpy(y_true)))
        return self.criterion_(*pair)

    def _predict_nonlinearity(self, outputs):
        return self._loss_layout(outputs)[0].T

    def predict(self, X):
        """Return numbers, for callbacks that score."""
        return self.plan.est._numbers_of(self.predict_proba(X))


def net_class(est):
    """Return the kind of net that trains the module of an estimator."""
    if is_regressor(est):
        return RegressorNet
    return MultilabelNet if learns_labels(est) else ClassifierNet
