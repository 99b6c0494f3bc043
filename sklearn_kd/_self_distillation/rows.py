"""The rows of a fit of SelfDistillClassifier, as given and as its network has checked them."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sklearn_kd._utils.sklearn_compat import safe_indexing
from sklearn_kd._utils.unique_rows import merge_rows


class SelfDistillationRows(NamedTuple):
    """The data of `fit`, and its rows of positive weight as the network has checked them."""

    X: object
    y: np.ndarray  # (n_samples,)
    sample_weight: np.ndarray  # (n_samples,)
    X_checked: np.ndarray  # or EncodedRows; this and the following: rows of positive weight only
    y_encoded: np.ndarray
    weights: np.ndarray  # with those of the classes
    validation: object  # groups or validation rows, as the network has checked them
    X_val: object = None  # the validation rows of positive weight, as given

    @property
    def is_kept(self):
        """Return which rows have positive weight."""
        return self.sample_weight > 0

    @property
    def X_flat(self):
        """Return the checked rows in two dimensions."""
        X = self.X_checked
        return X if X.ndim == 2 else X.reshape(len(X), -1)

    @property
    def independent_group(self):
        """Return a number for each row of positive weight, shared by rows of a group and copies."""
        if self.validation.group is not None:
            return self.validation.group
        return merge_rows(self.X_flat, self.y_encoded, self.weights).group

    def train(self, network, task, targets=None, correction=None):
        """Train a network on these rows.

        Parameters
        ----------
        network : SoftTargetStudent
        task : Subtask
            Begun here, and ended by the caller.
        targets : ndarray of shape (n_kept, n_classes), default=None
            None: the labels.
        correction : CorrectionSpec, default=None
            Corrects the labels during the training.
        """
        options = {"X_given": self.X, "validation": self.validation, "correction": correction}
        with task.begin(network):
            network._fit_targets(
                self.X_checked, self.y_encoded, self.weights, targets, self.y, **options
            )

    def predictions(self, network):
        """Return the class probabilities of all rows, and those of their given labels."""
        proba = network.predict_proba(self.X).astype(np.float64)
        return proba, (proba * self.label_indicators(network.classes_)).sum(axis=1)

    def part(self, chosen):
        """Return some of the rows of positive weight, of which ``chosen`` is a mask."""
        kept = np.flatnonzero(self.is_kept)[chosen]
        validation = self.validation
        if validation.group is not None:
            group = np.unique(validation.group[chosen], return_inverse=True)[1]
            validation = replace(validation, group=group)
        return SelfDistillationRows(
            safe_indexing(self.X, kept),
            self.y[kept],
            self.sample_weight[kept],
            self.X_checked[chosen],
            self.y_encoded[chosen],
            self.weights[chosen],
            validation,
            self.X_val,
        )

    def without_validation_rows(self):
        """Return the same with none of the user, for a training to its last epoch."""
        validation = replace(self.validation, X=None, y_encoded=None, weights=None)
        return self._replace(validation=validation, X_val=None)

    def with_validation_targets(self, targets):
        """Return the same with probabilities as targets of the validation rows.

        Parameters
        ----------
        targets : ndarray of shape (n_val, n_classes)
        """
        validation = self.validation
        row, y_encoded = np.nonzero(targets)  # a copy for each class, whose weight is its share
        weights = validation.weights[row] * targets[row, y_encoded]
        copies = replace(validation, X=validation.X[row], y_encoded=y_encoded, weights=weights)
        return self._replace(validation=copies)

    def label_indicators(self, classes):
        """Return the given labels as indicators, bool of shape (n_samples, n_classes)."""
        return self.y[:, None] == classes
