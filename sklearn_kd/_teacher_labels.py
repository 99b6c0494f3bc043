"""A teacher's probabilities for rows: out of fold, out of bag, leave-one-out or in-sample."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import PredefinedSplit, StratifiedKFold, check_cv
from sklearn.utils.parallel import Parallel, delayed

from sklearn_kd._label_calibration import (
    apply_decision_map,
    fit_decision_map,
    fit_temperature,
    sharpen,
)
from sklearn_kd._validation import (
    _check_method_params,
    _num_samples,
    _safe_indexing,
    align_columns,
    check_probabilities,
    encode_labels,
    last_step,
    warn_caller,
)
from sklearn_kd.exceptions import (
    InSampleLabelsWarning,
    MissingClassWarning,
    UntestedRowsWarning,
)

__all__ = [
    "ROW_SUM_TOLERANCE",
    "TeacherLabels",
    "label_rows",
    "merge_classes",
    "stratified_folds",
    "user_folds",
]

#: How far a row of a teacher's probabilities may be from summing to one. Wider than for soft
#: targets of the user's: a float32 softmax over many classes, averaged, is off by more.
ROW_SUM_TOLERANCE = 1e-3


@dataclass
class TeacherLabels:
    """What the rows were labelled with, and by what."""

    proba: np.ndarray | None
    classes: np.ndarray
    source: str
    teacher: Any
    #: ``(slope, offsets)`` where the teacher only has decision values.
    decision_map: tuple | None = None
    #: What its probabilities are calibrated by, or None; see `sharpen`.
    temperature: float | None = None

    def label_more(self, X, *, calibrated=True):
        """Probabilities of the fitted teacher for rows it was not fitted on."""
        values, is_proba = _respond(self.teacher, X, self.classes)
        if not is_proba:
            return apply_decision_map(values, *self.decision_map)
        return sharpen(_fill(values), self.temperature if calibrated else None, self._known)

    @property
    def _known(self):
        """Which classes the teacher knows."""
        return np.isin(self.classes, _classes_of(self.teacher))

    def calibrate(self, codes, weight, unseen):
        """Calibrate the labels of rows that the teacher had not been fitted on, in place."""
        if self.decision_map is None and unseen.any():
            self.proba = np.array(self.proba)
            P, known = self.proba[unseen], self._known
            self.temperature = fit_temperature(P, codes[unseen], weight[unseen], known)
            self.proba[unseen] = sharpen(P, self.temperature, known)


def merge_classes(present, teacher):
    """Sorted union of the labels in y and those that a fitted teacher knows."""
    known = np.asarray(_classes_of(teacher))
    numeric = [np.issubdtype(a.dtype, np.number) or a.dtype == bool for a in (present, known)]
    if numeric[0] != numeric[1]:
        # NumPy would turn both into strings, and 1 and "1" into one class
        raise ValueError(
            f"the teacher's classes {known.tolist()} and the labels {present.tolist()} of y are "
            "of different kinds, numbers and strings."
        )
    return np.union1d(present, known)


def label_rows(
    teacher,
    X,
    y,
    classes,
    *,
    cv,
    sample_weight=None,
    fit_params,
    folds=None,
    n_jobs,
    seed,
    propagate,
    calibrate=False,
    needs_labels=True,
):
    """Fit the teacher on all rows and give each row its probabilities.

    Parameters
    ----------
    teacher : estimator
        Cloned, unless frozen.
    X, y : the rows
    classes : ndarray of shape (n_classes,)
        Sorted labels; those of the result are their union with the teacher's.
    cv : as in :class:`~sklearn_kd.DistilledClassifier`
        Where it is no text, ``folds`` are those of it.
    sample_weight : ndarray of shape (n_samples,) or None
        For the calibration of decision values; the teacher's own are in ``fit_params``.
    fit_params : dict
        Metadata for the teacher's ``fit``.
    folds : list of (train, test), optional
        Of these rows.
    n_jobs, seed : int or None, int
    propagate : callable
        Context manager around the fit on all rows, called with the estimator or None.
    calibrate : bool
        Calibrate out-of-sample probabilities (not those of a frozen teacher: which rows it has
        seen is unknown).
    needs_labels : bool
        False: fit only, to label other rows. ``proba`` of the result may be None.

    Returns
    -------
    TeacherLabels
    """
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    fixed = isinstance(teacher, FrozenEstimator)
    # the steps before it are fitted here, the rows that it was fitted on are as unknown
    frozen = isinstance(last_step(teacher), FrozenEstimator)
    fitted = clone(teacher)
    has_oob = not frozen and isinstance(cv, str) and cv == "auto" and _switch_on_oob(fitted)
    with propagate(None if fixed else fitted), warnings.catch_warnings():
        if has_oob:  # rows that were never out of bag are cross-fitted below
            warnings.filterwarnings("ignore", "Some inputs do not have OOB scores")
            warnings.filterwarnings("ignore", "invalid value encountered in", RuntimeWarning)
        if not fixed:
            fitted.fit(X, y, **fit_params)
    # a frozen teacher, or a net that was told its classes, may know more of them than y has
    classes = merge_classes(classes, fitted)
    if not needs_labels and hasattr(fitted, "predict_proba"):
        return TeacherLabels(None, classes, "given", fitted)
    _, codes = encode_labels(y, classes)

    def done(values, is_proba, row_of, source):
        proba, decision_map = _as_probabilities(values, is_proba, codes[row_of], weight[row_of])
        return TeacherLabels(proba, classes, source, fitted, decision_map)

    everything = np.arange(len(codes))
    if frozen or (isinstance(cv, str) and cv == "in-sample"):
        values, is_proba = _respond(fitted, X, classes)
        _warn_missing(values, classes, "the frozen teacher" if frozen else "the teacher")
        labels = done(values, is_proba, everything, "frozen" if frozen else "in-sample")
        if not frozen:
            _warn_if_memorised(
                teacher, X, y, codes, classes, weight, fit_params, labels.proba, seed
            )
        return labels

    own, source = None, "cv"
    if isinstance(cv, str):
        if hasattr(fitted, "loo_proba_"):
            own, source = fitted.loo_proba_, "loo"
        elif has_oob and hasattr(fitted, "oob_decision_function_"):
            own, source = fitted.oob_decision_function_, "oob"
    wanted = np.ones(len(codes), dtype=bool)
    if own is not None:
        own = np.array(own, dtype=np.float64)  # a copy: rows of it are replaced
        wanted = ~(np.isfinite(own).all(axis=1) & (own.sum(axis=1) > 0))
        own[wanted] = 0.0
        own = align_columns(own, _classes_of(fitted), classes)

    proba = np.eye(len(classes))[codes]  # rows that no fold tests keep their hard labels
    unseen, decision_map = ~wanted, None
    if wanted.any():
        if isinstance(cv, str):
            folds = stratified_folds(codes, 5, seed)
            _warn_single_rows(codes, classes, wanted)
        else:
            _check_tested(folds, len(codes))
        folds = [(train, test[wanted[test]]) for train, test in folds]
        folds = [(train, test) for train, test in folds if len(test)]
        answers = Parallel(n_jobs=n_jobs)(
            delayed(_fit_fold)(clone(teacher), X, y, train, test, fit_params, classes)
            for train, test in folds
        )
        if answers:
            values = np.concatenate([answer for answer, _ in answers])
            row_of = np.concatenate([test for _, test in folds])
            _warn_missing_in_folds([answer for answer, _ in answers], classes)
            folded = done(values, answers[0][1], row_of, source)
            decision_map = folded.decision_map
            times = np.bincount(row_of, minlength=len(codes))
            total = np.zeros_like(proba)
            np.add.at(total, row_of, folded.proba)
            proba[times > 0] = total[times > 0] / times[times > 0, None]
            unseen |= times > 0
    if own is not None:
        proba[~wanted] = _check_teacher_proba(own[~wanted], fitted)
    if decision_map is None and not hasattr(fitted, "predict_proba"):
        # nothing was cross-fitted; rows to come are labelled by a map of the training values
        decision_map = done(*_respond(fitted, X, classes), everything, source).decision_map
    labels = TeacherLabels(proba, classes, source, fitted, decision_map)
    if calibrate:
        labels.calibrate(codes, weight, unseen)
    return labels


def stratified_folds(codes, n_splits, seed):
    """Shuffled stratified folds in which every training part has every class.

    A class with fewer rows than folds is spread over as many folds as it has rows. The row of a
    class that has no other is in every training part and in no test part.
    """
    counts = np.bincount(codes)
    is_single = counts[codes] == 1
    single, eligible = np.flatnonzero(is_single), np.flatnonzero(~is_single)
    n_splits = min(n_splits, int(counts.max()))
    if n_splits < 2:
        return []
    splitter = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # classes with fewer rows than folds do no harm here, see above
        warnings.filterwarnings("ignore", "The least populated class")
        parts = list(splitter.split(np.zeros(len(eligible)), codes[eligible]))
    return [(np.sort(np.append(eligible[train], single)), eligible[test]) for train, test in parts]


def user_folds(cv, X, y, rows, n_given, split_params):
    """Folds of a splitter on these rows, or explicit ones of all rows that the user passed.

    ``rows`` are the positions of these among those ``n_given``.
    """
    explicit = isinstance(cv, Iterable) and not hasattr(cv, "split")
    splitter = check_cv(cv, y, classifier=True)
    folds = splitter.split(X, y, **split_params)
    if not explicit and not isinstance(cv, PredefinedSplit):
        return list(folds)
    new_position = np.full(n_given, -1)
    new_position[rows] = np.arange(len(rows))

    def kept(part):
        part = np.asarray(part)
        part = new_position[np.flatnonzero(part) if part.dtype == bool else part]
        return part[part >= 0]

    return [(kept(train), kept(test)) for train, test in folds]


def _check_tested(folds, n_samples):
    """Refuse folds that test no row, and warn where they test few."""
    share = len(np.unique(np.concatenate([[], *(test for _, test in folds)]))) / n_samples
    if share == 0:
        raise ValueError(
            "cv tests no row, so that every row would keep its hard label: give folds that "
            "test each row, or cv='auto'."
        )
    if share < 0.5:
        warn_caller(
            f"the folds of cv test {share:.0%} of the rows; the others keep their hard labels. "
            "Give folds that test each row, or cv='auto'.",
            UntestedRowsWarning,
        )


def _switch_on_oob(teacher):
    """Ask an unfitted bagging teacher for its out-of-bag labels; False where it has none."""
    params = teacher.get_params(deep=False)
    if not {"oob_score", "bootstrap"} <= params.keys() or not params["bootstrap"]:
        return False
    if params.get("warm_start"):  # out-of-bag labels are then an error in scikit-learn
        return False
    if not params["oob_score"]:  # it may be a callable, which is kept
        teacher.set_params(oob_score=True)
    return True


def _fit_fold(teacher, X, y, train, test, fit_params, classes):
    params = _check_method_params(X, params=fit_params, indices=train)
    teacher.fit(_safe_indexing(X, train), _safe_indexing(y, train), **params)
    return _respond(teacher, _safe_indexing(X, test), classes)


def _classes_of(teacher):
    if not hasattr(teacher, "classes_"):
        raise ValueError(
            f"the fitted teacher {type(teacher).__name__} has no classes_, so that nothing says "
            "what its columns mean."
        )
    return np.asarray(teacher.classes_)


def _respond(teacher, X, classes):
    """Return the teacher's answer in the columns of ``classes`` and whether it is probabilities.

    Columns of classes that the teacher never saw are NaN.
    """
    known, name = _classes_of(teacher), type(teacher).__name__
    is_proba = hasattr(teacher, "predict_proba")
    if is_proba:
        values = np.asarray(teacher.predict_proba(X), dtype=np.float64)
    elif hasattr(teacher, "decision_function"):
        values = np.asarray(teacher.decision_function(X), dtype=np.float64)
        if values.ndim == 1:
            values = np.column_stack([-values, values])
        elif len(known) > 2 and getattr(last_step(teacher), "decision_function_shape", "") == "ovo":
            raise ValueError(
                f"{name} has one decision value per pair of classes; set "
                'decision_function_shape="ovr".'
            )
    else:
        raise TypeError(
            f"the teacher {name} has neither predict_proba nor decision_function, so it cannot "
            "give soft labels."
        )
    if values.shape != (_num_samples(X), len(known)):
        raise ValueError(
            f"the teacher {name} answered with shape {values.shape} for {_num_samples(X)} rows "
            f"and its {len(known)} classes {known.tolist()}."
        )
    if is_proba:
        values = _check_teacher_proba(values, teacher)
    elif not np.isfinite(values).all():
        raise ValueError(f"the decision values of the teacher {name} contain NaN or infinity.")
    return align_columns(values, known, classes, fill=np.nan), is_proba


def _check_teacher_proba(proba, teacher):
    name = f"predict_proba of the teacher {type(teacher).__name__}"
    check_probabilities(proba, name, ROW_SUM_TOLERANCE)
    proba = np.clip(proba, 0.0, 1.0)
    return proba / proba.sum(axis=1, keepdims=True)


def _fill(values):
    """Give classes that a teacher never saw the probability zero."""
    return np.nan_to_num(values, nan=0.0)


def _as_probabilities(values, is_proba, codes, weight):
    if is_proba:
        return _fill(values), None
    decision_map = fit_decision_map(values, codes, weight)
    return apply_decision_map(values, *decision_map), decision_map


def _warn_missing(values, classes, who):
    missing = np.isnan(values).all(axis=0)
    if len(values) and missing.any():
        warn_caller(
            f"{who} never saw the classes {classes[missing].tolist()} of y and gives them "
            "probability zero.",
            MissingClassWarning,
        )


def _warn_missing_in_folds(answers, classes):
    missing = np.array([np.isnan(answer).all(axis=0) for answer in answers])
    if missing.any():
        warn_caller(
            f"in {missing.any(axis=1).sum()} of {len(answers)} folds the training rows lack one of "
            f"the classes {classes[missing.any(axis=0)].tolist()}, and the teacher of that fold "
            "gives it probability zero; use fewer folds, stratified ones, or cv='auto'.",
            MissingClassWarning,
        )


def _warn_single_rows(codes, classes, wanted):
    counts = np.bincount(codes, minlength=len(classes))
    single = np.unique(codes[wanted & (counts[codes] == 1)])
    if len(single):
        warn_caller(
            f"the classes {classes[single].tolist()} have one row each: a teacher that labels it "
            "without having been fitted on it cannot know its class. Those rows keep their hard "
            "labels.",
            MissingClassWarning,
        )


def _warn_if_memorised(teacher, X, y, codes, classes, weight, fit_params, proba, seed):
    """Warn where in-sample labels are the hard ones over again, or far too sure of themselves.

    The first needs no more than a look. For the second, where the teacher reproduces nine labels
    in ten, it is fitted once more without a fifth of the rows, and warned about where its Brier
    score on that fifth is more than four times the one on the rows it was fitted on. On four
    tables, with default settings, that ratio was 3 to 13 for a forest (in theory 7 in large
    samples: a tree has seen 63 % of the rows) and 1 to 3 for logistic regression, 5 and 11 where
    that reproduced every label.
    """

    def brier(P, rows):
        return np.average(
            ((P - np.eye(len(classes))[codes[rows]]) ** 2).sum(axis=1), weights=weight[rows]
        )

    everything = np.arange(len(codes))
    wrong = 1 - np.average(proba[everything, codes], weights=weight)
    if wrong < 0.01:
        reason = f"their mean distance from the hard labels is {wrong:.2g}"
    else:
        correct = np.average(proba.argmax(axis=1) == codes, weights=weight)
        folds = stratified_folds(codes, 5, seed)
        if correct < 0.9 or not folds:
            return
        train, test = folds[0]
        values, is_proba = _fit_fold(clone(teacher), X, y, train, test, fit_params, classes)
        honest, _ = _as_probabilities(values, is_proba, codes[test], weight[test])
        inside, outside = brier(proba, everything), brier(honest, test)
        if outside <= 4 * inside:
            return
        reason = (
            f"their Brier score is {inside:.3g}, but {outside:.3g} on a fifth of the rows that the "
            "teacher was not fitted on"
        )
    warn_caller(
        f"the teacher has memorised the rows it labels ({reason}), so that its labels say little "
        "more than y. Use cv='auto' for labels by teachers that have not seen the row.",
        InSampleLabelsWarning,
    )
