"""Private implementation of :func:`sklearn_kd.inspection.should_distill`."""

import functools
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state, check_scalar, indexable

from sklearn_kd._distillation.teacher_labels import enable_oob_score
from sklearn_kd._tables.readable import check_readable
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.groups import encode_groups
from sklearn_kd._utils.paired import paired_means
from sklearn_kd._utils.parallel import parallel_results
from sklearn_kd._utils.sklearn_compat import num_samples, safe_indexing
from sklearn_kd._utils.sub_estimators import last_step, refuse_other_kinds, seeded
from sklearn_kd._utils.validation import check_option, validate_sample_weight
from sklearn_kd._utils.warnings import warning_scope
from sklearn_kd.inspection._answers import answers_of, default_distiller
from sklearn_kd.inspection._class_losses import ClassLosses
from sklearn_kd.inspection._fold_losses import (
    CrossValidationRows,
    checked_folds,
    fit_and_predict,
    fit_distilled,
    mean_loss,
    routed_fit_params,
    row_losses,
    with_distilled_students,
)
from sklearn_kd.inspection._number_losses import NumberLosses
from sklearn_kd.inspection._result_text import html_of_result, text_of_result

#: How messages call the loss of each ``decide_by``.
LOSS_NAMES = ClassLosses.names | NumberLosses.names
#: Units that they name.
UNITS = ClassLosses.units | NumberLosses.units
#: Duration of a student's fit to soft labels, in fits to hard labels. It was 1 to 3 on 24 tables.
SOFT_LABEL_STUDENT_FITS = 3
#: Duration of cross-fitting a teacher, in fits on all rows: one fit on all rows and five on four
#: fifths of them.
CROSS_FITTED_TEACHER_FITS = 1 + 5 * 0.8


class Estimate(NamedTuple):
    """A mean over rows and the ends of its confidence interval."""

    value: float
    lower: float
    upper: float

    def __str__(self):
        return f"{self.value:.3g} ({self.lower:.3g} to {self.upper:.3g})"


Estimate.__module__ = "sklearn_kd.inspection"


class DistillationCost(NamedTuple):
    """Seconds to fit teacher and student in a fold, and to distill on all rows."""

    teacher_fit: float
    student_fit: float
    distilled: float


DistillationCost.__module__ = "sklearn_kd.inspection"


@dataclass(frozen=True, eq=False, repr=False)
class DistillationAdvice:
    """Result of `should_distill`: whether distillation is likely to improve the student.

    Losses are in nats for the log loss, and shares of the rows for the accuracy. Of regressors,
    squared errors are in units of the variance of y, so that their mean is about 1 - R2, and
    absolute errors in units of its standard deviation.

    Attributes
    ----------
    decision : {"yes", "no", "undecided"}
        Whether to distill.
    verdict : str
        The decision as a sentence with reasons and numbers.
    gap : Estimate
        Held-out loss of the student minus that of the teacher. It is positive where the teacher is
        better.
    recoverable : Estimate
        Reduction of the student's loss that soft labels could achieve: the smaller of
        ``label_gain`` and half of ``overfitting``. Below zero, the labels are likely to increase
        the loss.
    label_gain : Estimate
        Held-out loss of the student minus that of a mixture with the teacher's labels.
    overfitting : Estimate
        Held-out loss of the student minus its loss on the rows that it was fitted to.
    gain : Estimate or None
        Held-out loss of the student minus that of the same student fitted to the teacher's labels
        in the same folds. None where ``recoverable`` alone decides "no".
    cost : DistillationCost
        Seconds: ``teacher_fit`` and ``student_fit`` are medians over folds, and ``distilled`` is
        about what a :class:`~sklearn_kd.DistilledClassifier` (or ``DistilledRegressor``) takes for
        all rows with numbers for ``alpha`` and ``temperature`` and ``augmentation=None``, one fit
        after the other. Its defaults try more settings and take two to five times as long.
    frame : DataFrame
        Two lines for each fold, of the fits to hard labels, with the columns ``split`` (from 0),
        ``model`` ("teacher" or "student"), ``n_train``, ``held_out`` and ``training`` (weighted
        mean losses on the test and the training rows of the fold) and ``fit_seconds``.
    decide_by : {"log_loss", "accuracy", "squared_error", "absolute_error"}
        The loss that decided.
    alpha, margin, confidence : float
        The values that were used.
    """

    __module__ = "sklearn_kd.inspection"

    decision: str
    verdict: str
    gap: Estimate
    recoverable: Estimate
    label_gain: Estimate
    overfitting: Estimate
    gain: Estimate | None
    cost: DistillationCost
    frame: Any
    decide_by: str
    alpha: float
    margin: float
    confidence: float

    def _table(self):
        """Return the estimates that are printed, one line for each."""
        import pandas as pd

        names = ["gap", "recoverable", "label_gain", "overfitting", "gain"]
        names = [name for name in names if getattr(self, name) is not None]
        ends = [f"{end} ({100 * self.confidence:g} %)" for end in ("lower", "upper")]
        unit = UNITS.get(self.decide_by, "")
        loss = LOSS_NAMES[self.decide_by] + (f" ({unit.strip()})" if unit else "")
        columns = [f"difference in {loss}", *ends]
        estimates = [[f"{number:.3g}" for number in getattr(self, name)] for name in names]
        return pd.DataFrame(estimates, index=names, columns=columns)

    def __repr__(self):
        return text_of_result(self.verdict, self._table())

    def _repr_html_(self):
        return html_of_result(self.verdict, self._table())


@warning_scope()
@numpy_inputs
def should_distill(  # noqa: PLR0913
    teacher,
    student,
    X,
    y,
    *,
    cv=3,
    sample_weight=None,
    groups=None,
    decide_by=None,
    alpha=0.5,
    calibration="temperature",
    margin=None,
    confidence=0.95,
    n_jobs=None,
    random_state=0,
    verbose=0,
):
    r"""Estimate whether soft labels would improve a student, before distilling it on all rows.

    Teacher and student are cross-validated on the hard labels ``y``. The loss that soft labels
    could recover is bounded by two quantities: the gain that the teacher's labels offer, and the
    loss of the student that comes from its limited number of rows. The smaller of both counts.
    Unless this excludes a gain, students are then fitted to the teacher's labels in the same folds,
    and have to be better than those on hard labels.

    Parameters
    ----------
    teacher : classifier, regressor or None
        As for :class:`~sklearn_kd.DistilledClassifier` or :class:`~sklearn_kd.DistilledRegressor`,
        with the same default for None. A teacher
        inside :class:`sklearn.frozen.FrozenEstimator` is not fitted. Pass rows that it was not
        fitted on.
    student : classifier, regressor or None
        As for the teacher. If neither is given, they are classifiers.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Training rows, passed on unchanged.
    y : array-like of shape (n_samples,), or (n_samples, n_targets) for regressors
        Class labels or numbers.
    cv : int, splitter or iterable of splits, default=3
        A number of shuffled folds, stratified so that every training part has every class, or
        what :func:`sklearn.model_selection.check_cv` takes. With more folds, the training parts
        are closer to all rows and more models are fitted. A row that is tested twice counts once,
        with its mean loss.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, for fits and losses. Rows of weight zero are left out.
    groups : array-like of shape (n_samples,), default=None
        Rows of one group stay together if ``cv`` is a number or a splitter that takes groups, in
        fits of a teacher and a student that take groups, and count as one observation in the
        intervals.
    decide_by : {"log_loss", "accuracy", "squared_error", "absolute_error"} or None, default=None
        The loss that decides. None: the log loss, which is more informative for few rows, and which
        soft labels change first. "accuracy" is for students without ``predict_proba`` and for users
        who need labels only. Losses are then error rates. For regressors None is "squared_error".
        Take "absolute_error" if y has a heavy tail.
    alpha : float in (0, 1], default=0.5
        Planned weight of the teacher's labels, as in :class:`~sklearn_kd.DistilledClassifier`.
    calibration : "temperature" or None, default="temperature"
        Of classifiers: whether the probabilities of a teacher that is not frozen will be
        calibrated, as in :class:`~sklearn_kd.DistilledClassifier`. Here the temperature is fitted
        on the other folds.
    margin : float, default=None
        Smallest gain considered practically relevant, in units of the loss. None: 1 % of the
        student's held-out loss, or 0.005 for the accuracy.
    confidence : float in (0, 1), default=0.95
        Confidence level of the two-sided intervals.
    n_jobs : int, default=None
        Number of fits in parallel. Parallel fits slow each other down, which affects ``cost``.
    random_state : int, RandomState instance or None, default=0
        Controls the folds. If not None, it also seeds each unset ``random_state`` of teacher and
        student.
    verbose : int, default=0
        Print one line for each fit.

    Returns
    -------
    advice : DistillationAdvice
        With ``decision``, ``verdict``, ``gap``, ``recoverable``, ``label_gain``, ``overfitting``,
        ``gain``, ``cost`` and ``frame``.

    Raises
    ------
    TypeError
        If the student cannot learn soft labels, or has no ``predict_proba`` and ``decide_by`` is
        "log_loss", or if the teacher has neither ``predict_proba`` nor ``decision_function``, or if
        one is a classifier and the other a regressor.
    ValueError
        If there are fewer than two classes or folds, the training part of a fold lacks a class, or
        a target has one value.

    See Also
    --------
    sklearn_kd.DistilledClassifier : Fits a student on the labels of a teacher.

    Notes
    -----
    Let s and q be the probabilities of student and teacher for rows that they were not fitted on,
    or the numbers that they predict.

    ``label_gain`` is the loss of s minus that of :math:`(1 - \alpha) s + \alpha q`. A student
    linear in its labels (a kernel smoother, a wide network under squared loss) that is fitted to
    :math:`(1 - \alpha) y + \alpha q` predicts :math:`(1 - \alpha)` times its prediction after a
    fit to y plus :math:`\alpha` times its approximation of q, which is at best q itself. For
    ``alpha=1``, ``label_gain`` is the gap to these labels. The labels are calibrated if those of
    the planned distillation are, since calibrated labels predict the gain of calibrated labels
    best. The ``gap`` refers to the uncalibrated teacher, whose decision values, if it has no
    probabilities, are mapped to probabilities on the other folds. For a student without
    probabilities ``label_gain`` is the gap.

    ``overfitting`` is the student's held-out loss of a row minus its mean loss in the fits on this
    row. Soft labels remove noise from the labels, so that they recover at most the estimation
    error :math:`L(s_n) - L(s_\infty)`. The loss :math:`L(s_\infty)` with unlimited rows remains. In
    expectation, the training loss of a student that minimizes it is at most
    :math:`L(s_\infty)`. Overfitting therefore bounds the estimation error at any learning rate of
    the student. For a regular model it is twice that error [1]_, which is why half of it counts.
    Losses extrapolated from fits on half of the rows predicted gains worse, mainly those of trees.

    Of 48 pairs of classifiers (a forest or gradient boosting; a network of 16 neurons or a tree of
    depth 6; 12 tables of at most 1,500 training rows), the rank correlation between ``recoverable``
    and the gain in log loss of a :class:`~sklearn_kd.DistilledClassifier` on test rows was 0.95,
    and 0.69 among networks alone, with ``calibration=None``. Of 33 pairs with the decision "yes" 31
    gained, and 8 of the 15 "undecided" ones, which were all networks. These decisions were made
    without ``gain``. For calibrated labels the correlations were 0.94 and 0.62. Gains in accuracy
    are mostly within their noise, and so are decisions by accuracy. Of 48 pairs of regressors the
    rank correlation of ``gain`` with the measured gain was 0.78, and ``gain`` was about twice as
    large. Of the 29 pairs with "yes" 25 gained, and 6 of the 19 "undecided" ones.

    The ``gain`` is measured on students that are fitted as a
    :class:`~sklearn_kd.DistilledClassifier` with this ``alpha``, ``temperature=1`` and
    ``augmentation=None`` fits them. A student that is not linear in its labels can lose where a
    mixture of predictions gains: on clean tables of many rows, and where the teacher is no better
    than the student.

    The decision is "no" if the upper end of ``recoverable`` or of ``gain`` is at most ``margin``,
    "yes" if the lower end of ``recoverable`` is above zero and both values are above ``margin``,
    and "undecided" otherwise.

    Standard errors are :math:`\sigma \sqrt{1 / n_{test} + 1 / n_{train}}`, where :math:`\sigma` is
    the standard deviation of paired differences over all held-out rows (or groups). The first
    term is for these models on other test rows [2]_, and the second for models fitted to other
    training rows [3]_. The models of a fold are fitted to fewer rows than there are, so that the
    gap of a student that learns fast is smaller after a fit on all rows. The ends of the interval
    of ``recoverable`` are the smaller ends of the two intervals.

    Probabilities below 1e-6 count as 1e-6, as they do where
    :class:`~sklearn_kd.DistilledClassifier` chooses its labels. The pairs above were measured with
    2.2e-16 instead, the bound of scikit-learn's log loss.

    References
    ----------
    .. [1] H. Akaike (1974). A new look at the statistical model identification. IEEE Transactions
       on Automatic Control 19.
    .. [2] P. Bayle, A. Bayle, L. Janson, L. Mackey (2020). Cross-validation confidence intervals
       for test error. arXiv:2007.12671.
    .. [3] C. Nadeau, Y. Bengio (2003). Inference for the generalization error. Machine Learning 52.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from sklearn_kd.inspection import should_distill
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> linear = make_pipeline(StandardScaler(), LogisticRegression())
    >>> should_distill(linear, DecisionTreeClassifier(max_depth=4), X, y).decision
    'yes'
    >>> should_distill(linear, linear, X, y, calibration=None).decision
    'no'
    """
    distiller = default_distiller(teacher, student)
    answers = answers_of(distiller)
    decide_by = next(iter(answers.losses_of.names)) if decide_by is None else decide_by
    _check_settings(answers, decide_by, alpha, calibration, margin, confidence)
    alpha = float(alpha)  # 1 - alpha of a float16 is rounded
    fixed = {"alpha": alpha, "augmentation": None, **answers.fixed_params(calibration)}
    distiller.set_params(teacher=teacher, student=student, **fixed)
    teacher, student = distiller._get_teacher(), clone(distiller._get_student())
    rng = check_random_state(random_state)
    seed = int(rng.randint(2**31 - 1))
    if random_state is not None:
        teacher, student = seeded(teacher, rng), seeded(student, rng)
    distiller.set_params(teacher=teacher, student=student, random_state=seed)
    refuse_other_kinds("teacher", teacher, answers.kind)
    distiller._check_student()
    frozen = isinstance(last_step(teacher), FrozenEstimator)

    data = _cross_validation_rows(X, y, groups, sample_weight, answers)
    for role, estimator in (("teacher", teacher), ("student", student)):
        check_readable(role, estimator, data.X)
    losses_of = answers.losses_of(
        data,
        decide_by=decide_by,
        alpha=alpha,
        calibrate=calibration is not None and not frozen,
    )
    if frozen:
        losses_of.check_frozen(teacher)
    folds = checked_folds(cv, data, seed, answers)
    params = routed_fit_params(
        distiller,
        None if frozen else teacher,
        student,
        None if sample_weight is None else data.weight,
        data.groups,
    )

    # The students come first, so that their errors are raised before a teacher takes its time.
    models = {"student": student, "teacher": teacher}
    tasks = (
        (role, fold, number if verbose else None)
        for role in models
        for number, fold in enumerate(folds)
    )
    fit = functools.partial(fit_and_predict, models, data, params, losses_of)
    fits = list(parallel_results(fit, tasks, n_jobs))
    fits = {"student": fits[: len(folds)], "teacher": fits[len(folds) :]}
    predicted = ([fit.predicted for fit in fits[role]] for role in models)
    losses = losses_of.of_folds(*predicted, folds)
    estimates = _estimates(losses, folds, data, confidence)
    levels = {name: mean_loss(losses, name, folds, data.weight) for name in ("student", "teacher")}
    if margin is None:
        margin = losses_of.margin(levels["student"])
    estimates["gain"] = None
    if estimates["recoverable"].upper > margin:
        metadata = {"sample_weight": None if sample_weight is None else data.weight}
        metadata = {**metadata, "groups": data.groups}
        metadata = {name: values for name, values in metadata.items() if values is not None}
        fit = functools.partial(
            fit_distilled, {"distilled": distiller}, data, {"distilled": metadata}, losses_of
        )
        tasks = (
            ("distilled", fold, number if verbose else None) for number, fold in enumerate(folds)
        )
        distilled = list(parallel_results(fit, tasks, n_jobs))
        losses = with_distilled_students(losses, distilled, folds, losses_of)
        estimates["gain"] = _gain(losses, folds, data, confidence)
    frame = _fold_frame(fits, losses, folds, data.weight)
    has_own_labels = frozen or (
        data.groups is None
        and (fits["teacher"][0].has_own_labels or enable_oob_score(clone(teacher)))
    )
    n_samples = len(data.y)
    cost = _cost(frame, n_samples, 1 if has_own_labels else CROSS_FITTED_TEACHER_FITS)
    decision = _decide(estimates["recoverable"], estimates["gain"], margin)
    return DistillationAdvice(
        decision=decision,
        verdict=_verdict(decision, estimates, levels, losses_of, margin, cost, n_samples),
        **estimates,
        cost=cost,
        frame=frame,
        decide_by=decide_by,
        alpha=alpha,
        margin=float(margin),
        confidence=float(confidence),
    )


def _check_settings(answers, decide_by, alpha, calibration, margin, confidence):
    check_option(decide_by, "decide_by", answers.losses_of.names)
    if calibration not in ("temperature", None):
        raise ValueError(f"calibration must be 'temperature' or None, got {calibration!r}.")
    check_scalar(alpha, "alpha", Real, min_val=0, max_val=1, include_boundaries="right")
    if margin is not None:
        check_scalar(margin, "margin", Real, min_val=0)
    check_scalar(confidence, "confidence", Real, min_val=0, max_val=1, include_boundaries="neither")


def _cross_validation_rows(X, y, groups, sample_weight, answers):
    """Validate the data and leave out rows of weight zero."""
    y = answers.read(y)
    X, y, groups = indexable(X, y, groups)
    n_given, weight = num_samples(y), validate_sample_weight(sample_weight, X)
    rows = np.flatnonzero(weight)
    if len(rows) < n_given:
        X, y, weight = safe_indexing(X, rows), y[rows], weight[rows]
    if groups is not None:
        groups = np.unique(encode_groups(groups, n_given)[rows], return_inverse=True)[1]
    answers.check_varied(y)
    return CrossValidationRows(X, y, answers.strata(y), weight, groups, rows, n_given)


def _estimates(losses, folds, data, confidence):
    """Return the mean differences of losses with their confidence intervals, by name."""
    names = ("student", "teacher", "mixed", "student_training")
    rows = {name: row_losses(losses, name, folds, len(data.weight)) for name in names}
    found = {
        name: _estimate(rows["student"] - rows[other], folds, data, confidence)
        for name, other in (
            ("gap", "teacher"),
            ("label_gain", "mixed"),
            ("overfitting", "student_training"),
        )
    }
    pairs = zip(found["label_gain"], found["overfitting"], strict=True)
    return found | {"recoverable": Estimate(*(min(gain, much / 2) for gain, much in pairs))}


def _gain(losses, folds, data, confidence):
    """Return the estimate of what the distilled students of the folds have gained."""
    hard, soft = (
        row_losses(losses, name, folds, len(data.weight)) for name in ("student", "distilled")
    )
    return _estimate(hard - soft, folds, data, confidence)


def _estimate(difference, folds, data, confidence):
    """Return the mean of the differences of single rows with its confidence interval."""
    used = np.flatnonzero(~np.isnan(difference))
    d, w = difference[used], data.weight[used]
    cluster = np.arange(len(used)) if data.groups is None else data.groups[used]
    n_clusters = len(np.unique(cluster))
    if n_clusters < 2:
        raise ValueError(
            "the folds of cv leave fewer than two rows (or groups) that one fold tests and "
            "another trains on: give a number of folds."
        )
    # the training rows are a sample too
    n_train = np.mean([len(train) for train, _ in folds])
    mean, error = paired_means(
        d, w, cluster, n_observations=n_clusters, test_to_train=len(used) / n_train
    )
    half = norm.ppf((1 + confidence) / 2) * error
    return Estimate(*(float(value) for value in (mean, mean - half, mean + half)))


def _fold_frame(fits, losses, folds, weight):
    import pandas as pd

    lines = []
    for number, (train, test) in enumerate(folds):
        for role in ("teacher", "student"):
            held_out = np.average(getattr(losses[number], role), weights=weight[test])
            training = np.average(
                getattr(losses[number], f"{role}_training"), weights=weight[train]
            )
            seconds = fits[role][number].seconds
            lines.append((number, role, len(train), held_out, training, seconds))
    columns = ["split", "model", "n_train", "held_out", "training", "fit_seconds"]
    return pd.DataFrame(lines, columns=columns)


def _cost(frame, n_samples, n_teacher_fits):
    # medians, since the first fit may have to import torch
    seconds = frame.groupby("model")["fit_seconds"].median()
    teacher, student = float(seconds["teacher"]), float(seconds["student"])
    # as if the time were proportional to the number of rows
    scale = n_samples / float(frame["n_train"].mean())
    distilled = scale * (n_teacher_fits * teacher + SOFT_LABEL_STUDENT_FITS * student)
    return DistillationCost(teacher, student, distilled)


def _decide(recoverable, gain, margin):
    if gain is None or gain.upper <= margin:
        return "no"
    is_better = recoverable.lower > 0 and min(recoverable.value, gain.value) > margin
    return "yes" if is_better else "undecided"


def _verdict(decision, estimates, levels, losses_of, margin, cost, n_samples):
    bound, gain, labels = estimates["recoverable"], estimates["gain"], losses_of.labels
    unit = UNITS.get(losses_of.decide_by, "")
    sentence = (
        f"{decision.capitalize()}: soft {labels} could reduce the student's "
        f"{LOSS_NAMES[losses_of.decide_by]} of "
        f"{levels['student']:.3g}{unit} on held-out rows by {bound} (the teacher's is "
        f"{levels['teacher']:.3g})"
    )
    if gain is not None:
        sentence += f". Students that were fitted to them reduced it by {gain}"
    if decision == "yes":
        return f"{sentence}. Distilling {n_samples} rows takes about {cost.distilled:.1f} s."
    if decision == "undecided":
        return (
            f"{sentence}. The intervals exceed the margin of {margin:.2g}, but the gain is not "
            "certain. More rows would narrow the intervals. Distilling takes about "
            f"{cost.distilled:.1f} s."
        )
    if gain is not None:
        return f"{sentence}, which does not exceed the margin of {margin:.2g}."
    if bound.upper < 0:
        reason = f"the teacher's {labels} would increase the loss"
    elif estimates["label_gain"].upper <= estimates["overfitting"].upper / 2:
        reason = f"the teacher's {labels} offer no larger gain"
    else:
        reason = (
            "the student's loss on its training rows is about as high, so that it is not due to "
            f"the {labels}"
        )
    return f"{sentence}. This does not exceed the margin of {margin:.2g}, since {reason}."
