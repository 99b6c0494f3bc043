"""What a student is taught: rows, the labels that a teacher gave them, and more rows near them."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import indexable
from sklearn.utils.validation import has_fit_parameter

from sklearn_kd._distillation.teacher_labels import label_rows
from sklearn_kd._utils.containers import extend_weights, stack_rows
from sklearn_kd._utils.folds import user_folds
from sklearn_kd._utils.labels import align_columns, class_factors, encode_labels, mix
from sklearn_kd._utils.sklearn_compat import check_method_params, num_samples, safe_indexing
from sklearn_kd._utils.sub_estimators import route_fit
from sklearn_kd._utils.validation import check_soft_targets, validate_sample_weight

__all__ = ["Lesson", "Material", "Rows", "row_labeler"]


@dataclass
class Rows:
    """Rows of positive weight, and what is routed along with them."""

    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    given: np.ndarray | None  # soft targets of the user's, (n_samples, n_classes)
    params: dict  # of the fits of "teacher" and "student"
    folds: list | None  # (train, test), where ``cv`` says which

    def __len__(self):
        return len(self.y)

    def take(self, part):
        """Return some of them, sorted, with what is left of the folds that can train."""
        folds = self.folds
        if folds is not None:
            place = np.full(len(self), -1)
            place[part] = np.arange(len(part))
            folds = [tuple(place[rows][place[rows] >= 0] for rows in fold) for fold in folds]
            y = self.y[part]
            folds = [fold for fold in folds if len(np.unique(y[fold[0]])) > 1]
        return replace(
            self,
            X=safe_indexing(self.X, part),
            y=self.y[part],
            weight=None if self.weight is None else self.weight[part],
            given=None if self.given is None else self.given[part],
            params={
                key: check_method_params(self.X, params=params, indices=part)
                for key, params in self.params.items()
            },
            folds=folds,
        )


class Material(NamedTuple):
    """What `StudentTrainer.fit` takes: rows, encoded hard labels, soft labels, metadata."""

    X: Any
    y: np.ndarray
    y_encoded: np.ndarray
    Q: np.ndarray
    params: dict
    alpha: float
    temperature: float


class Lesson:
    """Rows that a teacher has labeled.

    Parameters
    ----------
    rows : Rows
    teacher : estimator or None
        Unfitted or frozen; None where given labels are all there is to be.
    classes : ndarray
        Sorted labels; ``self.classes`` is their union with the teacher's.
    X_unlabeled : rows or None
        Labeled by the teacher.
    augment : callable or None
        ``(X, n_rows, sample_weight) -> rows, share of copies``, makes transfer rows.
    n_augmented : int
        The most transfer rows that a setting will ask for.
    class_weight : dict, "balanced" or None
    options : dict
        Of `label_rows`, beside what comes with the rows.
    """

    def __init__(
        self,
        rows,
        teacher,
        classes,
        *,
        X_unlabeled=None,
        augment=None,
        n_augmented=0,
        class_weight=None,
        **options,
    ):
        self.rows, self.X_unlabeled = rows, X_unlabeled
        self.augment, self.most, self.class_weight = augment, n_augmented, class_weight
        self.labels = None
        if teacher is not None:
            self.labels = label_rows(
                teacher,
                rows.X,
                rows.y,
                classes,
                sample_weight=rows.weight,
                fit_params=rows.params["teacher"],
                folds=rows.folds,
                **options,
            )
        self.classes = classes if self.labels is None else self.labels.classes
        _, self.y_encoded = encode_labels(rows.y, self.classes)
        self.known = classes  # of given labels
        self.given = self._align(rows.given)

    def source_of(self, setting):
        """Where the labels of a setting come from."""
        if setting.source != "own":
            return setting.source
        return self.labels.source if self.given is None else "given"

    def _align(self, given):
        return None if given is None else align_columns(given, self.known, self.classes)

    def labels_of(self, others):
        """Labels of other `Rows`, of which the teacher has seen none: its own, or given ones."""
        given = self._align(others.given)
        return self.labels.predict_labels(others.X) if given is None else given

    @cached_property
    def in_sample(self):
        """The fitted teacher's labels for its own rows."""
        return self.labels.predict_labels(self.rows.X, calibrated=False)

    @cached_property
    def transfer_rows(self):
        """As many transfer rows as a setting may ask for, and the share of copies drawn."""
        X, weight = self.rows.X, self.rows.weight
        if self.X_unlabeled is not None:
            X = stack_rows(X, self.X_unlabeled)
            weight = (
                None
                if weight is None
                else np.append(weight, np.full(num_samples(self.X_unlabeled), weight.mean()))
            )
        return self.augment(X, self.most, weight)

    def rows_of(self, setting):
        """Tell which rows and weights a setting is for: the same for equal ones."""
        alone = setting.source == "hard" and self.X_unlabeled is not None
        # class weights of soft labels are of their own
        return alone, setting.n_augmented, self.class_weight is not None and setting

    def material(self, setting):
        """Rows and labels of a setting: `Material`."""
        rows, Q, alpha = self.rows, self._labels_of(setting.source), setting.alpha
        X, y, y_encoded, params = rows.X, rows.y, self.y_encoded, dict(rows.params["student"])
        more, n_more = [], 0 if setting.source == "hard" else setting.n_augmented
        if self.X_unlabeled is not None and setting.source != "hard":
            more.append(self.X_unlabeled)
        if n_more:
            made, _ = self.transfer_rows
            n_more = min(n_more, num_samples(made))
            if n_more:
                more.append(safe_indexing(made, np.arange(n_more)))
        # transfer rows have no hard label, which at T = 1 can be said by mixing beforehand
        mixed = setting.temperature == 1 and (n_more or self.class_weight is not None)
        if mixed:
            Q, alpha = mix(Q, y_encoded, alpha), 1.0
        for extra in more:
            answer = self.labels.predict_labels(extra)
            guess = answer.argmax(axis=1)
            if mixed and extra is self.X_unlabeled:
                answer = mix(answer, guess, setting.alpha)
            source = "X_unlabeled" if extra is self.X_unlabeled else "what augmentation returns"
            X, Q = stack_rows(X, extra, source), np.concatenate([Q, answer])
            y_encoded = np.concatenate([y_encoded, guess])
            extend_weights(params, len(answer))
        if more:
            y = self.classes[y_encoded]
        if self.class_weight is not None:
            Q, mass = self._weigh(Q, y_encoded, alpha, params.get("sample_weight"))
            params["sample_weight"] = mass
        return Material(X, y, y_encoded, Q, params, alpha, setting.temperature)

    def _labels_of(self, source):
        if source == "hard":
            return np.eye(len(self.classes))[self.y_encoded]
        if source == "in-sample":
            return self.in_sample
        return self.labels.proba if self.given is None else self.given

    def _weigh(self, Q, y_encoded, alpha, weight):
        r"""Labels and row weights of :math:`-\sum_k v_k q_k \ln p_k`, v being class weights.

        A weight of the row by its hard label alone would leave the soft part where it was: at any
        x, rows of every label ask for the same soft one. At T = 1 q is mixed, and ``alpha`` 1. At
        another T hard and soft part of a row have one weight, the mean of theirs.
        """
        weight = np.ones(len(Q)) if weight is None else weight
        n_own = len(self.y_encoded)  # "balanced" counts labels, not the teacher's guesses
        factors = np.ones(len(self.classes))
        factors[self.y_encoded] = class_factors(
            self.class_weight, self.classes, self.y_encoded, weight[:n_own]
        )
        if isinstance(self.class_weight, dict):  # classes that only the teacher knows
            for code in np.setdiff1d(np.arange(len(factors)), self.y_encoded):
                factors[code] = self.class_weight.get(self.classes[code], 1.0)
        Q = Q * factors
        mass = Q.sum(axis=1)
        return Q / mass[:, None], weight * (alpha * mass + (1 - alpha) * factors[y_encoded])


def row_labeler(labels, X, student):
    """Return a function that asks the teacher about rows as the student has changed them.

    ``labels`` are those of the teacher (`teacher_labels`), ``X`` the rows it was fitted on.
    """
    if labels is None:
        raise ValueError(
            "augmented_labels='recomputed' needs the teacher, which soft_targets replace: leave "
            "them out, or set augmented_labels='fixed'."
        )
    if not has_fit_parameter(student, "labeler"):
        raise ValueError(
            "augmented_labels='recomputed' needs a student that changes the rows that the teacher "
            f"knows, a ModuleClassifier and not a pipeline; it is a {type(student).__name__}."
        )
    if student.augmentation is None:
        raise ValueError(
            "augmented_labels='recomputed' is for a student with augmentation: set it on the "
            "ModuleClassifier, or set augmented_labels='fixed'."
        )
    columns = getattr(X, "columns", None)

    def label(rows):
        return labels.predict_labels(rows if columns is None else type(X)(rows, columns=columns))

    return label


def _check_rows(est, X, y, sample_weight, soft_targets, params, teacher, student):
    """Return rows of positive weight (`Rows`) and the classes of ``y`` and ``soft_targets``."""
    X, y = indexable(X, y)
    n_given = len(y)
    given = classes = None
    if soft_targets is not None:
        given, classes = check_soft_targets(soft_targets, y)
    kept = np.arange(n_given)
    if sample_weight is not None:
        sample_weight = validate_sample_weight(sample_weight, X)
        kept = np.flatnonzero(sample_weight)
    if len(kept) < n_given:
        # weight zero is absence, for whoever ignores weights and for the folds too
        params = check_method_params(X, params=params, indices=kept)
        X, y, sample_weight = safe_indexing(X, kept), y[kept], sample_weight[kept]
        given = None if given is None else given[kept]
    classes, _ = encode_labels(y, classes)
    routed = route_fit(est, teacher, student, sample_weight, params)
    split_params, folds = routed.pop("splitter"), None
    if not isinstance(est.cv, str):
        folds = user_folds(est.cv, X, y, kept, n_given, split_params)
    return Rows(X, y, sample_weight, given, routed, folds), classes
