"""Which labels a student learns most from, by rows that neither teacher nor student has seen."""

import warnings
from numbers import Integral
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.parallel import Parallel, delayed

from sklearn_kd._distillation.predictions import StudentPredictor
from sklearn_kd._distillation.settings import Setting
from sklearn_kd._distillation.student_fit import StudentTrainer
from sklearn_kd._utils.calibration import fit_student_temperature
from sklearn_kd._utils.folds import grouped_folds
from sklearn_kd._utils.protocols import trains_jointly
from sklearn_kd._utils.sklearn_compat import num_samples
from sklearn_kd._utils.sub_estimators import fit_preprocessing, last_step, step_parameter
from sklearn_kd._utils.unique_rows import group_rows
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning

__all__ = ["FEWEST_ROWS", "Choice", "choose"]

#: Distinct rows that a choice needs: below, "auto" is half and half, T = 1.
FEWEST_ROWS = 100
#: Rows are held out by quarters. Networks that train together do so on three of them, in a fifth
#: of their epochs, where most are as good as they get; for T other than 1 and transfer rows, beside
#: the best labels without, a twelfth tells. Other students are fitted one after the other, each on
#: one quarter.
N_FOLDS, TRAINED_TOGETHER, TRAINED_ALONE = 4, 3, 1
EFFORT, BRIEF_EFFORT = 0.2, 0.08
#: Up to so many rows networks are trained twice, with another quarter held out: one says little.
FEW_ROWS = 1000
#: A row's probability of its label counts as this at least: one row must not decide alone.
LEAST_PROBABILITY = 1e-6
#: Standard errors that hard labels must be better by, in the loss or in accuracy, to be preferred
#: where the teacher has less loss than they, and under another teacher: held-out rows are few, and
#: on most tables soft labels pay (docs/results.md).
SLACK, SLACK_OF_WORSE = 2.0, 0.5
#: And those that T other than 1 and transfer rows must be better by than the best labels without
#: either, which on most tables do as well, and never badly.
CAUTION = 1.5


class Choice(NamedTuple):
    """A setting, what it was chosen from (None: nothing), and what the student is calibrated by."""

    setting: Setting
    candidates: dict | None
    temperature: float = 1.0


class _Trial:
    """A part of the rows to teach on, and the others to judge by."""

    def __init__(self, student, mode, rows, make_lesson, most, train, test):
        self.student, self.mode, self.share = student, mode, len(train) / len(rows)
        self.lesson = make_lesson(rows.take(train), round(most * self.share))
        held = rows.take(test)
        self.held, self.X = held, held.X
        self.weight = np.ones(len(test)) if held.weight is None else held.weight
        self.group = group_rows(held.X)
        self.y_encoded = np.searchsorted(self.lesson.classes, held.y)
        self.log_proba, self.losses, self.mistakes, self.error = {}, {}, {}, None

    def run(self, settings, n_jobs, effort=EFFORT):
        """Note the loss of each held-out row under each setting."""
        if trains_jointly(last_step(self.student)):
            batches = {}  # those on the same rows
            for setting in settings:
                batches.setdefault(self.lesson.rows_of(setting), []).append(setting)
            for batch in batches.values():
                self._note(batch, self._fit_jointly(batch, effort))
            return
        job = StudentTrainer(self.student, self.mode, self.lesson.classes)
        fits = Parallel(n_jobs=n_jobs)(
            delayed(_attempt)(job.fit, self._material(setting)) for setting in settings
        )
        self._note(settings, fits)

    def run_beside(self, plain, others, n_jobs):
        """Note the loss of others as that of a setting known, and what they add to it in brief."""
        if not trains_jointly(last_step(self.student)):
            self.run(others, n_jobs)
            return
        losses, mistakes, log_proba = (
            noted.get(plain) for noted in (self.losses, self.mistakes, self.log_proba)
        )
        self.run([plain, *others], n_jobs, BRIEF_EFFORT)
        for noted, known in ((self.losses, losses), (self.mistakes, mistakes)):
            brief, noted[plain] = noted[plain], known
            for setting in others:
                with np.errstate(invalid="ignore"):  # one of them failed
                    added = known + (noted[setting] - brief)
                noted[setting] = np.where(np.isnan(added), np.inf, added)
        for setting in (plain, *others):
            self.log_proba[setting] = log_proba

    def _material(self, setting):
        n_augmented = round(setting.n_augmented * self.share)
        return self.lesson.material(setting._replace(n_augmented=n_augmented))

    def _note(self, settings, fits):
        for setting, student in zip(settings, fits, strict=True):
            if isinstance(student, Exception):
                self.losses[setting] = self.mistakes[setting] = np.full(len(self.y_encoded), np.inf)
                self.error = student
            else:
                self.losses[setting], self.mistakes[setting] = self._judge(student, setting)

    def _judge(self, student, setting):
        """Return the log loss of each held-out row, and whether its label is wrong."""
        tempered = setting.temperature if self.mode == "expansion" else 1.0
        answers = StudentPredictor(student, self.lesson.classes, tempered)
        if not hasattr(student, "predict_proba"):
            wrong = (answers.labels(self.X) != self.lesson.classes[self.y_encoded]).astype(float)
            return wrong, wrong
        proba = answers.proba(self.X).astype(np.float64)
        self.log_proba[setting] = np.log(np.maximum(proba, LEAST_PROBABILITY))
        return _errors(proba, self.y_encoded)

    def judge_teacher(self):
        """Return the loss of each held-out row under the teacher's labels, or given ones."""
        loss, wrong = _errors(self.lesson.labels_of(self.held), self.y_encoded)
        return loss if hasattr(self.student, "predict_proba") else wrong

    def _fit_jointly(self, settings, effort):
        """Fit networks on the same rows, in shared products and a short schedule."""
        materials = [self._material(setting) for setting in settings]
        X, y, _, _, params, *_ = materials[0]
        student, head = clone(self.student), None
        if isinstance(student, Pipeline) and len(student.steps) > 1:
            head, X = fit_preprocessing(student, X, y, params)
        last, students, softs = last_step(student), [], []
        seed = {"random_state": _seed_of(last)}
        for material in materials:
            loss = {"alpha": material.alpha, "temperature": material.temperature}
            network = clone(last).set_params(**loss, **seed)
            network._validate_params()
            soft = pd.DataFrame(material.Q, columns=self.lesson.classes)
            class_weight, network.class_weight = network.class_weight, None
            with warnings.catch_warnings():
                # rows and columns are in order here
                warnings.simplefilter("ignore", SoftTargetsAlignmentWarning)
                X_checked, y_encoded, weights, soft = network._check_data(
                    X, y, params.get("sample_weight"), soft
                )
            network.class_weight = class_weight
            students.append(network)
            softs.append(soft)
        together = students[0]._fit_jointly(
            students, X_checked, y_encoded, weights, softs, y, effort=effort
        )
        together.advance()
        return [
            fit.error or (network if head is None else Pipeline([*head.steps, ("last", network)]))
            for network, fit in zip(students, together.fits, strict=True)
        ]


def _errors(proba, y_encoded):
    """Return the log loss of each row, and whether its label is wrong."""
    of_label = proba[np.arange(len(y_encoded)), y_encoded]
    loss = -np.log(np.maximum(of_label, LEAST_PROBABILITY))
    wrong = (proba.argmax(axis=1) != y_encoded).astype(float)
    return np.where(np.isnan(loss), np.inf, loss), wrong


def _seed_of(student):
    """Return a seed that all candidates share, so that they differ in their labels alone."""
    return student.random_state if isinstance(student.random_state, Integral) else 0


def _attempt(fit, *args):
    try:
        return fit(*args)
    except Exception as error:  # one candidate that diverges must not cost the others
        return error


def choose(student, mode, rows, make_lesson, settings, n_more, *, calibrate, seed, n_jobs):
    """Find the setting of the least held-out loss: `Choice`.

    Parameters
    ----------
    student : estimator
        Unfitted.
    mode : str
        Of `student_mode`.
    rows : Rows
    make_lesson : callable
        ``make_lesson(rows, n_augmented)`` has a teacher label some of the rows, seeing no others.
    settings : list of Setting
        To be tried first, without transfer rows.
    n_more : int
        Transfer rows that the best soft labels are tried with, beside none. The number is for a fit
        on all rows, in a trial there are fewer in proportion.
    calibrate : bool
        Whether a network may be calibrated on the rows held out.
    seed : int
        Of the rows held out, where there are no folds to take them from.
    n_jobs : int or None
    """
    if len(settings) == 1 and not n_more:
        return Choice(settings[0], None)
    splits = _splits(rows, seed, trains_jointly(last_step(student)))
    if not splits:
        soft = [setting for setting in settings if setting.source != "hard"]
        usual = min(soft, key=lambda s: (s.temperature != 1, s.alpha != 0.5, s.source != "own"))
        return Choice(usual, None)
    key = step_parameter(student, "checkpoint_path")
    if key in student.get_params():  # that of the fit on all rows
        student = clone(student).set_params(**{key: None})
    most = max([n_more, *(setting.n_augmented for setting in settings)])
    trials = [_Trial(student, mode, rows, make_lesson, most, *split) for split in splits]

    def best_of(settings):
        loss, *_ = _compare(trials, "losses", settings)
        return settings[int(loss.argmin())]

    soft = [s for s in settings if s.source != "hard"]
    taught = [s for s in soft if s.temperature == 1] or soft
    others = [s for s in soft if s not in taught]
    for trial in trials:
        trial.run([s for s in settings if s not in others], n_jobs)
    best = best_of(taught)
    if n_more:
        n_made = min(num_samples(trial.lesson.transfer_rows[0]) for trial in trials)
        # of a table of few categories there may be few that are new
        if n_made >= trials[0].share * n_more / 2:
            others.append(best._replace(n_augmented=n_more))
            settings = [*settings, others[-1]]
    if others:
        for trial in trials:
            trial.run_beside(best, others, n_jobs)
        first = best_of([s for s in settings if s.source == "hard" or s == best])
        _, gain, error = _compare(trials, "losses", [first, *others])
        with np.errstate(invalid="ignore"):
            is_better = np.isposinf(gain) | (gain > CAUTION * error)  # inf: the first failed
        taught += [s for s, better in zip(others, is_better[1:], strict=True) if better]
    return _verdict(trials, settings, taught, calibrate)


def _compare(trials, name, settings):
    """Return the means of a measure on held-out rows, and the gains over the first setting.

    With the standard errors of the gains, all (settings,).
    """
    weight = np.concatenate([trial.weight for trial in trials])
    share = weight / weight.sum()
    values = np.array(
        [np.concatenate([getattr(trial, name)[s] for trial in trials]) for s in settings]
    )
    first = np.cumsum([0, *(trial.group.max() + 1 for trial in trials)])
    group = np.concatenate([t.group + start for t, start in zip(trials, first, strict=False)])
    with np.errstate(invalid="ignore", divide="ignore"):  # a fit that failed, a single row
        gains = values[0] - values
        gain = gains @ share
        # copies of a row are one observation, and a weight of k is k copies
        parts = [np.bincount(group, weights=share * row) for row in gains - gain[:, None]]
        of_group = np.bincount(group, weights=share)
        error = np.sqrt(np.square(parts).sum(axis=1) / (1 - np.square(of_group).sum()))
    return values @ share, gain, error


def _verdict(trials, settings, taught, calibrate):
    """Choose the best of the settings ``taught``, or the first of all if that is hard labels."""
    loss, gain, error = _compare(trials, "losses", settings)
    _, accuracy_gain, accuracy_error = _compare(trials, "mistakes", settings)
    allowed = np.isfinite(loss) & np.array([setting in taught for setting in settings])
    if not allowed.any():
        for trial in trials:
            if trial.error is not None:
                raise trial.error
        name = type(last_step(trials[0].student)).__name__
        raise ValueError(
            f"the probabilities of the student {name} are not finite on held-out rows, whatever "
            "the labels: look for values of X or a step size out of proportion."
        )
    if settings[0].source == "hard" and np.isfinite(loss[0]):
        weight = np.concatenate([trial.weight for trial in trials])
        of_teacher = np.concatenate([trial.judge_teacher() for trial in trials])
        slack = SLACK if np.average(of_teacher, weights=weight) < loss[0] else SLACK_OF_WORSE
        with np.errstate(invalid="ignore"):
            allowed &= (gain >= -slack * error - 1e-12) & (
                accuracy_gain >= -slack * accuracy_error - 1e-12
            )
    chosen = int(np.where(allowed, loss, np.inf).argmin()) if allowed.any() else 0
    setting, source_of = settings[chosen], trials[0].lesson.source_of
    candidates = {
        "alpha": np.array([s.alpha for s in settings]),
        "temperature": np.array([s.temperature for s in settings]),
        "label_source": np.array([source_of(s) for s in settings]),
        "n_augmented": np.array([s.n_augmented for s in settings]),
        "loss": loss,
        "gain": gain,
        "gain_error": error,
        "accuracy_gain": accuracy_gain,
        "accuracy_gain_error": accuracy_error,
        "chosen": np.arange(len(settings)) == chosen,
    }
    temperature = 1.0
    # labels of rows not seen have been calibrated themselves
    if calibrate and setting.source == "in-sample" and trains_jointly(last_step(trials[0].student)):
        weight = np.concatenate([trial.weight for trial in trials])
        n_distinct = sum(trial.group.max() + 1 for trial in trials)
        temperature = fit_student_temperature(
            np.concatenate([trial.log_proba[setting] for trial in trials]),
            np.concatenate([trial.y_encoded for trial in trials]),
            # copies are one observation
            weight * (n_distinct / weight.sum()),
        )
    return Choice(setting, candidates, temperature)


def _splits(rows, seed, batched):
    """Pairs of positions to train and to judge on; none where there are too few rows."""
    y_encoded = np.unique(rows.y, return_inverse=True)[1]
    group = group_rows(rows.X)
    n_distinct = group.max() + 1
    if n_distinct < FEWEST_ROWS:
        return []
    if rows.folds is None:
        n_trained = TRAINED_TOGETHER if batched else TRAINED_ALONE
        weight = np.ones(len(y_encoded)) if rows.weight is None else rows.weight
        fold = grouped_folds(group, y_encoded, weight, N_FOLDS, seed)
        turns = 2 if batched and n_distinct <= FEW_ROWS else 1
        pairs = [
            (np.flatnonzero(turned < n_trained), np.flatnonzero(turned >= n_trained))
            for turned in ((fold + turn) % N_FOLDS for turn in range(turns))
        ]
    else:  # the last fold of the user's, which keeps groups, or the future, apart
        pairs = rows.folds[-1:]
        kept = rows.take(np.sort(pairs[0][0])).folds
        if not any(len(test) for _, test in kept):
            return []  # of one split or two halves, no fold labels a row of the training part
    splits = []
    for train, test in pairs:
        # a class without training rows is not judged by; it may not cross the user's folds
        lost = ~np.isin(y_encoded[test], y_encoded[train])
        if rows.folds is None:
            train = np.sort(np.append(train, test[lost]))
        test = test[~lost]
        if len(test) and len(np.unique(y_encoded[train])) > 1:
            splits.append((train, test))
    return splits
