"""Select alpha, temperature, label source and transfer rows on held-out rows."""

import math
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sklearn_kd._distillation.settings import MIN_DISTINCT_ROWS, DistillationSetting
from sklearn_kd._distillation.student_fit import StudentSpec, StudentTrainer
from sklearn_kd._distillation.teacher_labels import (
    N_CROSS_FITTING_FOLDS,
    fewest_rows_of_a_fit,
    rows_needed_by_teacher,
)
from sklearn_kd._distillation.training_set import (
    LabeledTrainingData,
    StudentTrainingSet,
    varies,
)
from sklearn_kd._distillation.transfer_set import TransferSet
from sklearn_kd._utils.containers import own_copy
from sklearn_kd._utils.folds import grouped_folds, random_rows
from sklearn_kd._utils.groups import held_out_group_folds
from sklearn_kd._utils.labels import align_columns
from sklearn_kd._utils.paired import paired_means
from sklearn_kd._utils.parallel import parallel_results
from sklearn_kd._utils.sklearn_compat import num_samples, safe_indexing
from sklearn_kd._utils.validation import NotFiniteError
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import (
    InSampleLabelsWarning,
    MissingClassWarning,
    NoGainWarning,
    UntestedRowsWarning,
)

#: Rows are divided into four folds. Jointly trained networks use three of them for training, other
#: students, which are fitted one after the other, use one. The others are held out.
N_SELECTION_FOLDS, N_JOINT_TRAINING_FOLDS, N_SINGLE_TRAINING_FOLDS = 4, 3, 1
#: Most rows of a trial: to train on, and held out. More would hardly change what is chosen, and the
#: time of a fit to many rows should be that of the teacher (docs/results.md).
MAX_TRAINING_ROWS, MAX_HELD_OUT_ROWS = 75_000, 25_000
#: Distinct rows up to which jointly trained networks are compared on two folds, since one says
#: little.
MAX_ROWS_OF_TWO_TRIALS = 1000
#: Standard errors by which hard labels must be better, in loss or in accuracy, to be preferred. The
#: first holds for a teacher whose own loss is below that of hard labels, the second for others.
#: Held-out rows are few, and soft labels are better on most tables (docs/results.md).
MIN_LOSS_STANDARD_ERRORS, MIN_LOSS_STANDARD_ERRORS_OF_WEAK_TEACHER = 2.0, 0.5
#: Standard errors by which temperatures other than 1 must be better than the best labels at T = 1,
#: which are as good on most tables and never much worse. Other students than the default one must
#: be better than it by as many.
MIN_GAIN_STANDARD_ERRORS = 1.5
#: Rounding that gains of equal students may differ by.
ROUNDING = 1e-12


class SelectionResult(NamedTuple):
    """Selected setting, and what it was compared with."""

    setting: DistillationSetting
    #: Value of ``candidates_``, None if nothing was compared.
    candidates: dict | None
    #: Why no transfer rows could be made of the training rows of a trial.
    transfer_obstacle: Exception | None = None
    #: What ``student="auto"`` has chosen, and value of ``student_candidates_``.
    student: StudentSpec | None = None
    student_candidates: dict | None = None
    #: Whether the teacher was no better than the student on hard labels on held-out rows.
    has_weak_teacher: bool = False


@dataclass(frozen=True)
class Losses:
    """Losses of one fitted candidate on the held-out rows of a trial."""

    values: dict  # for each of the task's measures an ndarray of shape (n_held_out,)
    error: Exception | None = None  # of the fit


class HeldOutTrial:
    """Candidates that are fitted on a part of the rows and compared on the others.

    Parameters
    ----------
    student : StudentSpec
    data : LabeledTrainingData
        Labeled training part of the rows.
    transfer_set : TransferSet
        Transfer rows near the training part.
    held_out : TrainingRows
    fraction : float
        Fraction of all rows that the training part is. Transfer rows are reduced to it.

    Attributes
    ----------
    losses : dict
        `Losses` of each `DistillationSetting` that has been evaluated.
    """

    def __init__(self, student, data, transfer_set, held_out, fraction):
        self.student, self.data, self.transfer_set = student, data, transfer_set
        self.held_out, self.fraction = held_out, fraction
        self.weight = held_out.weight_or_ones
        self.group = _observations(held_out)
        self.y_encoded = data.task.encode(held_out.y)
        self.losses = {}

    @classmethod
    def on_split(cls, student, spec, rows, split, transfer, n_transfer_rows):
        """Fit the teacher on the training rows of a split, and make transfer rows there.

        ``n_transfer_rows`` is the number for a fit on all rows. It is reduced here in proportion.
        """
        train, test = split
        fraction = len(train) / len(rows)
        training, transfer_set = rows.take(train), TransferSet()
        if len(rows) > MAX_TRAINING_ROWS + MAX_HELD_OUT_ROWS:
            X_unlabeled = _sample_of_unlabeled(spec.X_unlabeled, fraction, spec.seed)
            spec = replace(spec, X_unlabeled=X_unlabeled)
        n_made = round(n_transfer_rows * fraction)
        if n_made or (n_transfer_rows and transfer.method == "auto"):
            with spec.lines.stage(f"trial: {n_made} transfer rows"):
                transfer_set = training.make_transfer_set(transfer, n_made, spec)
        with spec.lines.stage(f"trial: labels of {len(train)} rows"):
            data = LabeledTrainingData.from_teacher(spec, training)
        return cls(student, data, transfer_set, rows.take(test), fraction)

    def with_student(self, student):
        """Return a trial of another student on the same rows and labels, without losses."""
        return HeldOutTrial(student, self.data, self.transfer_set, self.held_out, self.fraction)

    def evaluate(self, settings, n_jobs):
        """Fit a student with each setting, and store its losses on the held-out rows.

        Students are trained as in a fit on so many rows. Those of settings with the same training
        rows train jointly where they can.
        """
        trainer = StudentTrainer(self.student, self.data.task)
        if not self.student.is_joint:
            tasks = ((trainer, self._training_set(setting)) for setting in settings)
            fits = parallel_results(_fit_or_error, tasks, n_jobs)
            for setting in settings:
                with self._line([setting]):
                    self._keep_losses([setting], [next(fits)])
            return
        groups = {}
        for setting in settings:
            groups.setdefault(self.data.rows_key(setting), []).append(setting)
        for group in groups.values():
            with self._line(group):
                training_sets = [self._training_set(setting) for setting in group]
                self._keep_losses(group, trainer.fit_jointly(training_sets))

    def staged_losses(self, student, setting):
        """Return the weighted sum of the held-out losses after each round of boosted trees.

        ``student`` is a `StudentSpec` of a pipeline that ends with them. An empty list is returned
        where their fit fails, which must not end the fits of other candidates.
        """
        trainer = StudentTrainer(student, self.data.task)
        pipeline = _fit_or_error(trainer, self._training_set(setting))
        if isinstance(pipeline, Exception):
            return []
        X, task = pipeline[:-1].transform(self.held_out.X), self.data.task
        stages = (
            align_columns(proba, pipeline.classes_, task.classes)
            for proba in pipeline[-1].staged_predict_proba(X)
        )
        return [
            self.weight @ task.losses_of_proba(proba, self.y_encoded)["log_loss"]
            for proba in stages
        ]

    def _line(self, settings):
        """Return the context that prints the line of the candidates that are fitted in it."""
        names = "; ".join(self.data.describe(setting) for setting in settings)
        return self.data.spec.lines.stage(f"trial: {self.student.name} with {names}")

    def losses_of_teacher(self):
        """Return the loss of each held-out row under the teacher's labels, or given ones."""
        labels = self.data.labels_of(self.held_out)
        return self.data.task.losses_of_labels(labels, self.y_encoded, self.student)

    def _training_set(self, setting):
        n_augmented = round(setting.n_augmented * self.fraction)
        setting = setting._replace(n_augmented=n_augmented)
        return StudentTrainingSet.of(self.data, setting, self.transfer_set)

    def _keep_losses(self, settings, fits):
        for setting, student in zip(settings, fits, strict=True):
            self.losses[setting] = self._losses_of(student, setting)

    def _losses_of(self, student, setting):
        """Return the `Losses` of a fitted student, or of the error of its fit."""
        task, error = self.data.task, None
        if isinstance(student, Exception):
            error = student
        else:
            with suppress(NotFiniteError):  # labels of other candidates may do better
                return Losses(
                    task.losses_of_student(
                        student, self.student, setting, own_copy(self.held_out.X), self.y_encoded
                    )
                )
        worst = np.full(len(self.y_encoded), np.inf)
        return Losses(dict.fromkeys(task.measures, worst), error)


def _sample_of_unlabeled(X_unlabeled, fraction, seed):
    """Return a share of the unlabeled rows (or None), as that of the labeled rows of a trial."""
    if X_unlabeled is None:
        return None
    n_rows = num_samples(X_unlabeled)
    kept = np.random.RandomState(seed).permutation(n_rows)[: math.ceil(n_rows * fraction)]
    return safe_indexing(X_unlabeled, np.sort(kept))


def _observations(held_out):
    """Return the number of the observation that each row belongs to: its group, or equal rows."""
    groups = held_out.groups
    # a single group, as of LeaveOneGroupOut, has no standard error
    return held_out.distinct_row if groups is None or not groups.any() else groups


def _fit_or_error(trainer, training_set):
    """Return a fitted student, or its error, which must not end the fits of other candidates."""
    try:
        return trainer.fit(training_set)
    except Exception as error:
        return error


def select_setting(student, spec, rows, transfer, settings, *, seed):
    """Select the setting of the least held-out loss.

    Parameters
    ----------
    student : StudentSpec
    spec : LabelingSpec
        How a teacher labels the training part of the rows.
    rows : TrainingRows
    transfer : TransferSpec
    settings : list of DistillationSetting
        What `candidate_settings` has returned.
    seed : int
        Seed of the held-out rows, where no folds of the user say which they are.

    Returns
    -------
    selection : SelectionResult
    trials : list of HeldOutTrial
        Empty if nothing was compared. They hold a fitted teacher and labels each.
    """
    if len(settings) == 1:
        return SelectionResult(settings[0], None), []
    n_transfer_rows = max(setting.n_augmented for setting in settings)
    trials = held_out_trials(student, spec, rows, transfer, n_transfer_rows, seed)
    if not trials:
        return SelectionResult(_default_setting(settings), None), []
    if _tries_transfer_rows(settings) and not _has_enough_transfer_rows(trials, n_transfer_rows):
        settings = [setting for setting in settings if not setting.n_augmented]
    with without_fit_warnings():
        for trial in trials:
            trial.evaluate(settings, spec.n_jobs)
        result = select_best(trials, settings)
    obstacles = [trial.transfer_set.obstacle for trial in trials]
    return result._replace(transfer_obstacle=next(filter(None, obstacles), None)), trials


@contextmanager
def without_fit_warnings():
    """Return a context without warnings that the fit on all rows gives where they concern it."""
    with warnings.catch_warnings():
        for category in (
            ConvergenceWarning,
            InSampleLabelsWarning,
            MissingClassWarning,
            UntestedRowsWarning,
        ):
            warnings.simplefilter("ignore", category)
        yield


def held_out_trials(student, spec, rows, transfer, n_transfer_rows, seed):
    """Return trials of a student with labeled rows, an empty list if there are too few rows."""
    student = student.without_checkpoint()
    spec = replace(spec, checks_memorization=False)
    splits = held_out_splits(rows, spec.task, seed, student.is_joint)
    if not all(_can_label(spec, rows, train) for train, _ in splits):
        return []
    with without_fit_warnings():
        return [
            HeldOutTrial.on_split(student, spec, rows, split, transfer, n_transfer_rows)
            for split in splits
        ]


def _can_label(spec, rows, part):
    """Return whether each fit that labels the rows at some positions has as many as it needs."""
    n_needed = rows_needed_by_teacher(spec)
    return n_needed == 1 or fewest_rows_of_a_fit(spec, rows.take(part)) >= n_needed


def _default_setting(settings):
    """Return what "auto" takes without held-out rows: the first of the soft labels."""
    return next(setting for setting in settings if setting.source != "hard")


def _tries_transfer_rows(settings):
    """Return whether soft labels are compared with and without transfer rows."""
    return len({setting.n_augmented for setting in settings if setting.source != "hard"}) > 1


def _has_enough_transfer_rows(trials, n_transfer_rows):
    """Return whether half of the transfer rows could be made, which small tables may not allow."""
    n_made = min(len(trial.transfer_set) for trial in trials)
    return n_made >= trials[0].fraction * n_transfer_rows / 2


def compare(trials, measure, settings):
    """Compare settings with the first of them on the held-out rows of all trials.

    Parameters
    ----------
    trials : list of HeldOutTrial
    measure : str
        One of the task's measures.
    settings : list of DistillationSetting

    Returns
    -------
    mean, gain, standard_error : ndarray of shape (n_settings,)
        Weighted mean of the measure, how much less it is than that of the first setting, and the
        standard error of this paired difference.
    """
    weight = np.concatenate([trial.weight for trial in trials])
    values = np.array(
        [np.concatenate([trial.losses[s].values[measure] for trial in trials]) for s in settings]
    )
    offsets = np.cumsum([0, *(trial.group.max() + 1 for trial in trials)])
    group = np.concatenate([t.group + start for t, start in zip(trials, offsets, strict=False)])
    with np.errstate(invalid="ignore"):  # losses of a fit that failed are infinite
        gains = values[0] - values
    # copies of a row are one observation, so that a weight of k equals k copies
    gain, error = paired_means(gains, weight, group)
    return values @ (weight / weight.sum()), gain, error


def select_best(trials, settings):
    """Select the soft labels of the least loss, or hard labels where these are better by enough.

    A setting that is worse in a measure than one that hard labels beat by enough is not selected
    either, since its difference may only be less certain. Temperatures other than 1 are selected
    where they are better by enough than the best one at 1.

    Parameters
    ----------
    trials : list of HeldOutTrial
        In which all settings have been evaluated.
    settings : list of DistillationSetting

    Returns
    -------
    SelectionResult
    """
    data = trials[0].data
    compared = {measure: compare(trials, measure, settings) for measure in data.task.measures}
    loss = compared[data.task.measures[0]][0]
    is_soft = np.array([setting.source != "hard" for setting in settings])
    allowed = is_soft & np.isfinite(loss)
    if not allowed.any():
        _raise_why_all_failed(trials)
    fitted = allowed
    allowed = fitted & _are_worth_their_temperature(trials, settings, loss)
    has_weak_teacher = False
    if not is_soft[0] and np.isfinite(loss[0]):
        has_weak_teacher = not _is_teacher_better(trials, loss[0])
        margin = MIN_LOSS_STANDARD_ERRORS
        if has_weak_teacher:
            margin = MIN_LOSS_STANDARD_ERRORS_OF_WEAK_TEACHER
        for _, gain, error in compared.values():
            with np.errstate(invalid="ignore"):  # an infinite error
                is_worse = fitted & ~(gain >= -margin * error - ROUNDING)
            allowed = allowed & (gain > gain[is_worse].max(initial=-np.inf))
    chosen = int(np.where(allowed, loss, np.inf).argmin()) if allowed.any() else 0
    candidates = {
        **data.task.setting_columns(settings),
        "label_source": np.array([data.source_of(s) for s in settings]),
        "n_augmented": np.array([s.n_augmented for s in settings]),
        "loss": loss,
    }
    for prefix, (_, gain, error) in zip(data.task.gain_prefixes, compared.values(), strict=True):
        candidates |= {f"{prefix}gain": gain, f"{prefix}gain_error": error}
    candidates["chosen"] = np.arange(len(settings)) == chosen
    return SelectionResult(settings[chosen], candidates, has_weak_teacher=has_weak_teacher)


def _are_worth_their_temperature(trials, settings, loss):
    """Return a mask of the settings at T = 1, and of those better by enough than these."""
    is_one = np.array([setting.temperature == 1 for setting in settings])
    soft_at_one = [i for i, s in enumerate(settings) if is_one[i] and s.source != "hard"]
    if is_one.all() or not soft_at_one:
        return np.ones(len(settings), dtype=bool)
    best = min(soft_at_one, key=lambda i: loss[i])
    measure = trials[0].data.task.measures[0]
    _, gain, error = compare(trials, measure, [settings[best], *settings])
    with np.errstate(invalid="ignore"):
        # the gain is infinite where the fit of the best has failed
        return is_one | np.isposinf(gain[1:]) | (gain[1:] > MIN_GAIN_STANDARD_ERRORS * error[1:])


def _raise_why_all_failed(trials):
    for trial in trials:
        errors = [losses.error for losses in trial.losses.values() if losses.error is not None]
        if errors:
            raise errors[-1]
    raise ValueError(
        f"the predictions of the student {trials[0].student.name} are not finite on held-out "
        "rows for any of the labels: look for extreme values of X or too large a step size."
    )


def _is_teacher_better(trials, loss_of_hard_labels):
    """Return whether the teacher has a lower held-out loss than the student on hard labels."""
    weight = np.concatenate([trial.weight for trial in trials])
    of_teacher = np.concatenate([trial.losses_of_teacher() for trial in trials])
    return np.average(of_teacher, weights=weight) < loss_of_hard_labels


def held_out_splits(rows, task, seed, is_joint):
    """Return (train, test) positions of each trial, an empty list if there are too few rows."""
    y_encoded = task.strata(rows.y)
    group = rows.distinct_row
    if group.max() + 1 < MIN_DISTINCT_ROWS:
        return []
    if rows.folds is None and rows.groups is not None:
        pairs = _group_splits(rows, group, y_encoded, seed, is_joint)
    elif rows.folds is None:
        pairs = _stratified_splits(rows, group, y_encoded, seed, is_joint)
    else:  # the last fold of the user's splitter, which keeps groups or the future apart
        pairs = rows.folds[-1:]
        if not rows.can_cross_fit_within(np.sort(pairs[0][0])):
            return []  # no fold is left to label the training part
    splits = []
    for train, test in pairs:
        # rows of classes without training rows are not held out. They are left out of folds of the
        # user and of groups, which must not be divided
        is_lost = ~np.isin(y_encoded[test], y_encoded[train])
        if rows.folds is None and rows.groups is None:
            train = np.sort(np.append(train, test[is_lost]))
        test = _sample(test[~is_lost], MAX_HELD_OUT_ROWS, y_encoded, seed)
        train = _sample(train, MAX_TRAINING_ROWS, y_encoded, seed)
        if len(test) and varies(rows.y[train]):
            splits.append((train, test))
    return splits


def _sample(positions, limit, strata, seed):
    """Return at most about ``limit`` of some positions of rows, with each stratum among them."""
    if len(positions) <= limit:
        return positions
    number = np.unique(strata[positions], return_inverse=True)[1]
    is_left_out = random_rows(number, 1 - limit / len(positions), np.random.RandomState(seed))
    return positions[~is_left_out]


def _stratified_splits(rows, group, y_encoded, seed, is_joint):
    """Return splits into stratified folds, copies of a row being on one side."""
    fold = grouped_folds(group, y_encoded, rows.weight_or_ones, N_SELECTION_FOLDS, seed)
    n_trials = 2 if is_joint and group.max() + 1 <= MAX_ROWS_OF_TWO_TRIALS else 1
    n_training_folds = N_JOINT_TRAINING_FOLDS if is_joint else N_SINGLE_TRAINING_FOLDS
    splits = []
    for trial in range(n_trials):
        is_train = (fold + trial) % N_SELECTION_FOLDS < n_training_folds
        splits.append((np.flatnonzero(is_train), np.flatnonzero(~is_train)))
    return splits


def _group_splits(rows, group, y_encoded, seed, is_joint):
    """Return splits into stratified folds of whole groups, with groups to cross-fit on.

    Students that are fitted one after the other have the rows of one fold for training, unless
    these are of too few groups.
    """
    groups, rng = rows.groups, np.random.RandomState(seed)
    fold = held_out_group_folds(groups, y_encoded, rows.weight_or_ones, N_SELECTION_FOLDS, rng)
    if fold is None:
        return []
    n_folds = fold.max() + 1
    n_trials = 2 if is_joint and group.max() + 1 <= MAX_ROWS_OF_TWO_TRIALS else 1
    if not is_joint and len(np.unique(groups[fold <= 0])) >= N_CROSS_FITTING_FOLDS:
        parts = [fold <= 0]
    else:
        parts = [fold != number for number in range(n_folds)[::-1][:n_trials]]
    splits = [(np.flatnonzero(is_train), np.flatnonzero(~is_train)) for is_train in parts]
    return [(train, test) for train, test in splits if len(np.unique(groups[train])) > 1]


def warn_no_gain(selection, trials):
    """Warn that "auto" has selected hard labels, with the differences of the best soft labels."""
    candidates = selection.candidates
    is_soft = (candidates["label_source"] != "hard") & np.isfinite(candidates["gain"])
    best = np.argmax(np.where(is_soft, candidates["gain"], -np.inf))
    task = trials[0].data.task
    differences = task.gain_in_words(candidates, best, trials[0].student)
    n_held_out = sum(len(trial.held_out) for trial in trials)
    reason = ""
    if selection.has_weak_teacher:
        reason = "The teacher was no better than that student, so that little evidence suffices. "
    warn_caller(
        f"on {n_held_out} held-out rows, the best student on the teacher's labels had "
        f"{' and '.join(differences)}, compared with the student on {task.hard_name}. {reason}"
        f"{task.hard_name.capitalize()} are used. Set alpha to a number to distill anyway.",
        NoGainWarning,
    )
