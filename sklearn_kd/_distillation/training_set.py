"""Training data of the student: original rows, labels of a teacher and synthetic rows."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import indexable

from sklearn_kd._distillation.task import Task
from sklearn_kd._distillation.teacher_labels import (
    LabelingSpec,
    TeacherLabels,
    cross_fitting_folds,
    label_rows,
)
from sklearn_kd._utils.callbacks import begin_subtask
from sklearn_kd._utils.containers import (
    extended_weights,
    frame_like,
    is_dataframe,
    stack_rows,
)
from sklearn_kd._utils.folds import (
    are_ordered,
    group_split_params,
    group_splitter,
    renumbered_folds,
    user_folds,
    warn_if_groups_are_divided,
)
from sklearn_kd._utils.groups import encode_groups, held_out_group_folds
from sklearn_kd._utils.sklearn_compat import (
    check_method_params,
    num_samples,
    safe_indexing,
)
from sklearn_kd._utils.sub_estimators import route_fit
from sklearn_kd._utils.unique_rows import copy_groups, group_rows
from sklearn_kd._utils.validation import (
    check_column,
    check_row_order,
    check_target_order,
    validate_sample_weight,
)

#: Blocks of ordered rows, for a callable that does not tell which row a new one was made of.
N_TIME_BLOCKS = 5
#: Advice in the error for a class whose rows are in one group.
GROUPS_PURPOSE = (
    "labels of a group come from teachers that have seen no row of it; leave these rows out, or "
    "pass finer groups"
)


class FitArguments(NamedTuple):
    """Rows and metadata that the user passes to ``fit``."""

    X: Any
    y: Any
    sample_weight: Any
    soft_targets: Any
    groups: Any
    #: other metadata, for the teacher, the student or the splitter
    params: dict


@dataclass
class TrainingRows:
    """Training rows of positive weight, and what is routed along with them.

    Attributes
    ----------
    X : rows, in any container
    y : ndarray of shape (n_samples,) or (n_samples, n_targets)
    weight : ndarray of shape (n_samples,) or None
    given : ndarray of shape (n_samples, n_columns) or None
        Soft targets of the user.
    params : dict
        Metadata of the fits of "teacher" and "student".
    folds : list of (train, test) or None
        Positions in these rows, where ``cv`` gives them.
    groups : ndarray of int of shape (n_samples,) or None
        Number of the group of each row.
    is_ordered : bool
        Whether the folds train on earlier positions than they test, as for rows in time.
    validation : dict
        X_val, y_val and sample_weight_val for the student, as far as they are given.
    """

    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    given: np.ndarray | None
    params: dict
    folds: list | None
    groups: np.ndarray | None = None
    is_ordered: bool = False
    validation: dict = field(default_factory=dict)

    def __len__(self):
        return len(self.y)

    @property
    def weight_or_ones(self):
        """Weight of each row, one where none are given."""
        return np.ones(len(self)) if self.weight is None else self.weight

    @property
    def row_metadata(self):
        """Names of the student's metadata with a value for each row, except for weights.

        What they would be for other rows is unknown.
        """
        tables = {
            name: values
            for name, values in self.params["student"].items()
            if isinstance(values, list | tuple) or getattr(values, "shape", ())
        }
        is_of_rows = {name: num_samples(values) == len(self) for name, values in tables.items()}
        return [name for name in sorted(tables) if name != "sample_weight" and is_of_rows[name]]

    @cached_property
    def distinct_row(self):
        """Number of the distinct row that each row equals, see `group_rows`."""
        return group_rows(self.X)

    @property
    def copy_group(self):
        """Number of the rows that count as copies of each row, see `copy_groups`."""
        return copy_groups(self.distinct_row)

    @cached_property
    def observation(self):
        """`copy_group` for calibration, where equal rows of equal targets may be copies."""
        return copy_groups(self.distinct_row, self.y)

    def take(self, part):
        """Return the rows at sorted positions, with the folds that can still train there."""
        groups = self.groups
        if groups is not None:
            groups = np.unique(groups[part], return_inverse=True)[1]
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
            folds=None if self.folds is None else self._folds_within(part),
            groups=groups,
        )

    def _folds_within(self, part):
        """Return the folds that can still train among the rows at sorted positions."""
        folds, y = renumbered_folds(self.folds, part, len(self)), self.y[part]
        if varies(y):
            return [fold for fold in folds if varies(y[fold[0]])]
        return [fold for fold in folds if len(fold[0])]  # a constant target has no others

    def can_cross_fit_within(self, part):
        """Return whether folds, or groups, can label some of the rows at sorted positions.

        A single split, the first one in time and two halves leave no fold to do so.
        """
        if self.folds is not None:
            return any(len(test) for _, test in self._folds_within(part))
        return self.groups is None or len(np.unique(self.groups[part])) > 1

    def make_transfer_set(self, transfer, n_rows, spec):
        """Make transfer rows near the training rows and the unlabeled rows: `TransferSet`."""
        X, weight, part = self.X, self.weight, self._parts(transfer, spec)
        if spec.X_unlabeled is not None:
            n_more = num_samples(spec.X_unlabeled)
            X, weight = stack_rows(X, spec.X_unlabeled), extended_weights(weight, n_more)
            if part is not None:
                part = np.append(part, np.full(n_more, part.max() + 1))
        return transfer.make(X, n_rows, weight, part)

    def _parts(self, transfer, spec):
        """Return parts of the rows that new rows must not mix, or None.

        They are the groups that the same teacher of cross-fitting has not seen. For a callable,
        which does not tell the origin of a row, they are single groups, or blocks in time. The part
        -1, of which no rows are made, has the groups that each of the teachers has seen.
        """
        if self.groups is None and self.is_ordered and callable(transfer.method):
            return np.arange(len(self)) * min(len(self), N_TIME_BLOCKS) // len(self)
        if self.groups is None or spec.is_frozen or spec.uses("in-sample"):
            return self.groups if callable(transfer.method) else None
        part = np.full(len(self), -1)
        for number, (_, test) in enumerate(reversed(cross_fitting_folds(spec, self))):
            part[test] = number
        return np.where(part < 0, -1, self.groups) if callable(transfer.method) else part


def varies(y):
    """Return whether some rows of y differ."""
    return bool((y != y[:1]).any())


def check_training_rows(est, task_type, given, *, teacher, student):
    """Validate the arguments of ``fit``.

    Parameters
    ----------
    est : DistilledClassifier or DistilledRegressor
    task_type : subclass of Task, or an object of it that has no rows yet
    given : FitArguments
    teacher : estimator or None
        Unfitted. None where no teacher is fitted.
    student : estimator

    Returns
    -------
    rows : TrainingRows
    task : Task
        Of ``y`` and of ``soft_targets``.
    """
    X, y, sample_weight, soft_targets, groups, params = given
    check_row_order(soft_targets, X, y)
    check_target_order(params.get("y_val"), "y_val", y)
    X, y = indexable(X, task_type.check_targets(y, est))
    n_given = len(y)
    Q = known = None
    if soft_targets is not None:
        Q, known = task_type.check_soft_targets(soft_targets, y)
    if groups is not None:
        encode_groups(groups, n_given)  # an error for groups of other rows
        params = {**params, "groups": check_column(groups, "groups")}
    kept = np.arange(n_given)
    if sample_weight is not None:
        sample_weight = validate_sample_weight(sample_weight, X)
        kept = np.flatnonzero(sample_weight)
    if len(kept) < n_given:
        # a weight of zero means absence, also for folds and for estimators that ignore weights
        params = check_method_params(X, params=params, indices=kept)
        X, y, sample_weight = safe_indexing(X, kept), y[kept], sample_weight[kept]
        Q = None if Q is None else Q[kept]
    task = task_type.of_rows(y, sample_weight, known)
    routed = route_fit(est, teacher, student, sample_weight, params)
    split_params, folds = routed.pop("splitter"), None
    if groups is not None:
        groups = encode_groups(params["groups"], len(y))
        task.check_groups(groups, task.encode(y), GROUPS_PURPOSE)
    if not isinstance(est.cv, str):
        cv = group_splitter(est.cv, groups, is_classifier=task.is_stratified)
        split_params |= group_split_params(cv, params.get("groups"), split_params)
        folds = user_folds(cv, X, y, kept, n_given, split_params, is_classifier=task.is_stratified)
        warn_if_groups_are_divided(folds, groups)
    rows = TrainingRows(X, task.to_fit(y), sample_weight, Q, routed, folds, groups)
    return replace(rows, is_ordered=folds is not None and are_ordered(folds)), task


@dataclass(frozen=True)
class LabeledTrainingData:
    """Training rows with soft labels.

    Attributes
    ----------
    rows : TrainingRows
    spec : LabelingSpec
    labels : TeacherLabels or None
        None without a teacher.
    task : Task
        Of the rows, of soft targets and of the teacher.
    y_encoded : ndarray of shape (n_samples, ...)
        Targets as the task encodes them.
    given : ndarray of shape (n_samples, n_columns) or None
        Soft targets of the user.
    """

    rows: TrainingRows
    spec: LabelingSpec
    labels: TeacherLabels | None
    task: Task
    y_encoded: np.ndarray
    given: np.ndarray | None

    @classmethod
    def from_teacher(cls, spec, rows, *, needs_labels=True, subtask=None):
        """Fit the teacher on the rows and label them.

        Parameters
        ----------
        spec : LabelingSpec
        rows : TrainingRows
        needs_labels : bool, default=True
            Whether out-of-sample labels are needed. They are not where the user has given some.
        subtask : Subtask, default=None
            Subtask of the callbacks that the fit of the teacher belongs to.
        """
        if spec.teacher is None:
            with begin_subtask(subtask, None):
                labels, task = None, spec.task
        else:
            needs_labels = needs_labels and (rows.given is None or spec.keeps_fold_teachers)
            labels = label_rows(spec, rows, needs_labels=needs_labels, subtask=subtask)
            task = labels.task
        given = spec.task.align(rows.given, task)
        return cls(rows, spec, labels, task, task.encode(rows.y), given)

    def source_of(self, setting):
        """Return what ``label_source_`` says of the labels of a setting."""
        if setting.source == "hard":
            return "hard"
        return self.labels.source if self.given is None else "given"

    def describe(self, setting):
        """Return the words for a setting in printed lines."""
        if setting.source == "hard":
            return self.task.hard_name
        words = f"labels {self.source_of(setting)!r}, {self.task.loss_in_words(setting)}"
        return words + (f", {setting.n_augmented} transfer rows" if setting.n_augmented else "")

    def soft_labels(self, source):
        """Return labels from a source of `DistillationSetting`, (n_samples, n_columns)."""
        if source == "hard":
            return self.task.hard_labels(self.y_encoded)
        return self.labels.values if self.given is None else self.given

    def labels_of(self, others):
        """Return soft labels of other `TrainingRows`, which the teacher has not been fitted on."""
        given = self.spec.task.align(others.given, self.task)
        return self.labels.predict_labels(others.X) if given is None else given

    def rows_key(self, setting):
        """Return a key that settings share if their students train on the same weighted rows."""
        without_unlabeled = setting.source == "hard" and self.spec.X_unlabeled is not None
        # class weights of soft labels depend on the labels
        weighs_classes = self.spec.class_weight is not None
        return without_unlabeled, setting.n_augmented, weighs_classes and setting


class StudentTrainingSet(NamedTuple):
    """Rows, labels, metadata and loss of one fit of a student."""

    X: Any
    y: np.ndarray  # (n_samples,) or (n_samples, n_targets)
    y_encoded: np.ndarray  # (n_samples, ...), as the task encodes y
    soft_labels: np.ndarray  # (n_samples, n_columns)
    params: dict
    alpha: float
    temperature: float
    #: number of the training rows; unlabeled rows and transfer rows follow them
    n_own: int
    #: (n_samples,), row that each row is or was made of; None if that is unknown
    origin: np.ndarray | None
    #: (n_samples,), number of the group of each row, or None
    groups: np.ndarray | None
    is_ordered: bool
    validation: dict
    task: Task

    @classmethod
    def of(cls, data, setting, transfer_set):
        """Assemble what a student is fitted on.

        Parameters
        ----------
        data : LabeledTrainingData
        setting : DistillationSetting
        transfer_set : TransferSet
            Has the transfer rows of the setting, as many of them as could be made.
        """
        X, y, y_encoded, task = data.rows.X, data.rows.y, data.y_encoded, data.task
        Q, alpha = data.soft_labels(setting.source), setting.alpha
        params, class_weight = dict(data.rows.params["student"]), data.spec.class_weight
        blocks, n_transfer_rows = _blocks_of_more_rows(data, setting, transfer_set)
        transfer_origin = transfer_set.origin  # of as many rows as a callable has returned
        if transfer_origin is not None:
            transfer_origin = transfer_origin[:n_transfer_rows]
        # A transfer row has no hard label. Where labels can be mixed before the fit, they are, so
        # that it has its soft label alone.
        is_mixed = task.can_mix_before_fit(setting) and (
            n_transfer_rows or class_weight is not None
        )
        if is_mixed:
            Q, alpha = task.mix(Q, y_encoded, alpha), 1.0
        for block, name, is_transfer in blocks:
            if is_transfer:
                soft = data.labels.predict_transfer_labels(block, transfer_origin)
            else:
                soft = data.labels.predict_labels(block)
            hardened = task.harden(soft)
            if is_mixed and not is_transfer:
                soft = task.mix(soft, hardened, setting.alpha)
            X, Q = stack_rows(X, block, name), np.concatenate([Q, soft])
            y_encoded = np.concatenate([y_encoded, hardened])
            if params.get("sample_weight") is not None:
                params["sample_weight"] = extended_weights(params["sample_weight"], len(soft))
        if blocks:
            y = task.decode(y_encoded)
        if class_weight is not None:
            Q, params["sample_weight"] = task.apply_class_weight(
                class_weight, data.y_encoded, (Q, y_encoded, alpha), params.get("sample_weight")
            )
        origin = _origins(len(y), n_transfer_rows, transfer_origin)
        return cls(
            X,
            y,
            y_encoded,
            Q,
            params,
            alpha,
            setting.temperature,
            n_own=len(data.rows),
            origin=origin,
            groups=_groups_by_origin(data.rows.groups, origin),
            is_ordered=data.rows.is_ordered,
            validation=data.rows.validation,
            task=task,
        )

    def with_validation_rows(self, fraction):
        """Return the set with some of its rows as validation rows, where rows must not be random.

        These are the last rows if rows are ordered. If a class has rows in a single group, so that
        the student cannot hold groups out itself, they are groups that no class needs. Rows that
        were made of them are left out. In other cases the set is returned as it is.

        Parameters
        ----------
        fraction : float in (0, 1)
            Fraction of the training rows that is held out.
        """
        held = None
        if not self.validation and self.origin is not None:
            held = self._rows_to_hold_out(fraction)
        if held is None or not varies(self.y_encoded[: self.n_own][~held]):
            return self
        held = np.flatnonzero(held)
        is_kept = ~np.isin(self.origin, held)
        if self.groups is not None and not self.is_ordered:
            is_kept &= ~np.isin(self.groups, self.groups[held])
        kept = np.flatnonzero(is_kept)
        validation = {"X_val": safe_indexing(self.X, held), "y_val": self.y[held]}
        weight = self.params.get("sample_weight")
        if weight is not None:
            validation["sample_weight_val"] = np.asarray(weight)[held]
        return self._take(kept)._replace(validation=validation)

    def without_unlabeled_rows(self):
        """Return the set without rows whose labels are NaN, for students of labels alone."""
        is_labeled = ~np.isnan(self.soft_labels).any(axis=1)
        return self if is_labeled.all() else self._take(np.flatnonzero(is_labeled))

    def _take(self, kept):
        """Return the rows at sorted positions."""
        return self._replace(
            X=safe_indexing(self.X, kept),
            y=self.y[kept],
            y_encoded=self.y_encoded[kept],
            soft_labels=self.soft_labels[kept],
            params=check_method_params(self.X, params=self.params, indices=kept),
            n_own=np.count_nonzero(kept < self.n_own),
            origin=None,
            groups=None if self.groups is None else self.groups[kept],
        )

    def _rows_to_hold_out(self, fraction):
        """Return a mask of the training rows, or None where the student may choose them."""
        n_own, groups = self.n_own, self.groups
        if self.is_ordered:
            held = np.arange(n_own) >= n_own - max(1, round(fraction * n_own))
            if groups is None:
                return held
            # whole groups, such as years, where they are the last rows too
            whole = np.isin(groups[:n_own], groups[:n_own][held])
            return whole if whole[whole.argmax() :].all() else held
        if groups is None or self.task.can_hold_groups_out(groups, self.y_encoded):
            return None
        n_folds, rng = max(2, round(1 / fraction)), np.random.RandomState(0)
        strata = self.task.strata(self.y_encoded[:n_own])
        fold = held_out_group_folds(groups[:n_own], strata, np.ones(n_own), n_folds, rng)
        return None if fold is None else fold == 0


def _origins(n_samples, n_transfer_rows, transfer_origin):
    """Return the row that each row of a training set is or was made of, None if unknown."""
    origin = np.arange(n_samples)
    if n_transfer_rows:
        if transfer_origin is None:
            return None
        origin[n_samples - n_transfer_rows :] = transfer_origin
    return origin


def _groups_by_origin(groups, origin):
    """Return the group of each row of a training set. Each unlabeled row is one of its own."""
    if groups is None:
        return None
    n_more = max(0, origin.max() + 1 - len(groups))
    return np.append(groups, groups.max() + 1 + np.arange(n_more))[origin]


def _blocks_of_more_rows(data, setting, transfer_set):
    """Return (rows, name in messages, whether transfer rows), and the number of transfer rows."""
    if setting.source == "hard":
        return [], 0
    blocks = []
    if data.spec.X_unlabeled is not None:
        blocks.append((data.spec.X_unlabeled, "X_unlabeled", False))
    n_transfer_rows = min(setting.n_augmented, len(transfer_set))
    if n_transfer_rows:
        rows = safe_indexing(transfer_set.X, np.arange(n_transfer_rows))
        blocks.append((rows, "what augmentation returns", True))
    return blocks, n_transfer_rows


def row_labeler(data):
    """Return a function that labels rows as the augmentation of the student has changed them.

    Parameters
    ----------
    data : LabeledTrainingData
        With the labels of a teacher.
    """
    labels, X = data.labels, safe_indexing(data.rows.X, [0])  # one row, for its container

    def label(rows):
        if is_dataframe(X):
            rows = frame_like(X, rows)
        return labels.predict_labels(rows)

    return label
