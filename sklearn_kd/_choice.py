"""Which labels a student learns most from, by rows that neither teacher nor student has seen."""

import itertools
import warnings
from numbers import Integral
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.parallel import Parallel, delayed

from sklearn_kd._answers import Answers
from sklearn_kd._held_out import group_rows, grouped_folds
from sklearn_kd._lesson import Setting
from sklearn_kd._row_expansion import StudentFit, fit_head
from sklearn_kd._validation import _num_samples, last_step, step_parameter
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning

__all__ = ["Choice", "choose", "settings_to_try"]

#: alpha="auto" chooses among these and hard labels, temperature="auto" beside it among 1 and 3.
#: Which pairs are left out was seldom best (docs/results.md).
ALPHAS, TEMPERATURES = (0.5, 1.0), (1.0, 3.0)
#: temperature="auto" with a number for alpha.
ALL_TEMPERATURES = (0.5, 1.0, 2.0, 3.0, 5.0)
#: Distinct rows that a choice needs: below, "auto" is half and half, T = 1.
FEWEST_ROWS = 100
#: Rows are held out by quarters. Networks that train together do so on three of them, all in a
#: tenth of the epochs and then the finalists in half of them: hard labels take longer to learn, and
#: longer to be learnt by heart. Other students are fitted one after the other, each on one quarter.
N_FOLDS, TRAINED_TOGETHER, TRAINED_ALONE = 4, 3, 1
HEAT, FINAL = 0.1, 0.5
#: Up to so many rows networks are trained twice, with another quarter held out: one says little.
FEW_ROWS = 1333
#: A row's probability of its label counts as this at least: one row must not decide alone.
LEAST_PROBABILITY = 1e-6
#: Standard errors that hard labels must be better by, in the loss or in accuracy, to be preferred:
#: a trial is short, its rows are few, and on most tables soft labels pay (docs/results.md).
SLACK = 1.0


class Choice(NamedTuple):
    """A setting, and what it was chosen from (None: from nothing)."""

    setting: Setting
    candidates: dict | None


def settings_to_try(mode, alpha, temperature, sources, batched):
    """Return settings without transfer rows that a student of ``mode`` can honour.

    The first is what the others are compared with: hard labels, if ``alpha`` is "auto".
    """
    if alpha != "auto":
        temperatures = ALL_TEMPERATURES if temperature == "auto" else (temperature,)
        pairs, tried = [(alpha, T) for T in temperatures], []
    else:
        temperatures = TEMPERATURES if temperature == "auto" else (temperature,)
        pairs, tried = list(itertools.product(ALPHAS, temperatures)), [Setting(0.0, 1.0, "hard")]
    for source, (a, T) in itertools.product(sources, pairs):
        honoured = T == 1 or (mode == "native" and a <= 1) or (mode == "expansion" and a == 1)
        if alpha == temperature == "auto":
            honoured &= T == 1 or (a == 0.5 and source == "own")
        if honoured:
            tried.append(Setting(a, T, source))
    if alpha == "auto" and not batched:
        # one after the other, students have time for few: in-sample labels are nearly hard as it is
        usual = {"hard": 0.0, "own": 0.5, "in-sample": 1.0}
        few = [s for s in tried if s.alpha == usual[s.source]]
        tried = few if len(few) > 1 else tried
    return tried


def is_batched(student):
    """Whether candidates of a student train in the same matrix products."""
    # not a subclass, whose own fit would be passed over
    return "_fit_together" in vars(type(last_step(student)))


class _Trial:
    """A part of the rows to teach on, and the others to judge by."""

    def __init__(self, student, mode, rows, make_lesson, most, train, test):
        self.student, self.mode, self.share = student, mode, len(train) / len(rows)
        self.lesson = make_lesson(rows.take(train), round(most * self.share))
        held = rows.take(test)
        self.X, self.weight = held.X, np.ones(len(test)) if held.weight is None else held.weight
        self.group = group_rows(held.X)
        self.codes = np.searchsorted(self.lesson.classes, held.y)
        self.losses, self.mistakes, self.error = {}, {}, None

    def run(self, settings, n_jobs, effort):
        """Note the loss of each held-out row under each setting."""
        if is_batched(self.student):
            batches = {}  # those on the same rows
            for setting in settings:
                batches.setdefault(self.lesson.rows_of(setting), []).append(setting)
            for batch in batches.values():
                self._note(batch, self._fit_together(batch, effort))
            return
        job = StudentFit(self.student, self.mode, self.lesson.classes)
        fits = Parallel(n_jobs=n_jobs)(
            delayed(_attempt)(job.fit, self._material(setting)) for setting in settings
        )
        self._note(settings, fits)

    def _material(self, setting):
        n_augmented = round(setting.n_augmented * self.share)
        return self.lesson.material(setting._replace(n_augmented=n_augmented))

    def _note(self, settings, fits):
        for setting, student in zip(settings, fits, strict=True):
            if isinstance(student, Exception):
                self.losses[setting] = self.mistakes[setting] = np.full(len(self.codes), np.inf)
                self.error = student
            else:
                self.losses[setting], self.mistakes[setting] = self._judge(student, setting)

    def _judge(self, student, setting):
        """Return the log loss of each held-out row, and whether its label is wrong."""
        tempered = setting.temperature if self.mode == "expansion" else 1.0
        answers = Answers(student, self.lesson.classes, tempered)
        if not hasattr(student, "predict_proba"):
            wrong = (answers.labels(self.X) != self.lesson.classes[self.codes]).astype(float)
            return wrong, wrong
        proba = answers.proba(self.X)
        of_label = proba[np.arange(len(self.codes)), self.codes].astype(np.float64)
        wrong = (proba.argmax(axis=1) != self.codes).astype(float)
        return -np.log(np.maximum(of_label, LEAST_PROBABILITY)), wrong

    def _fit_together(self, settings, effort):
        """Fit networks on the same rows, in shared products and a short schedule."""
        materials = [self._material(setting) for setting in settings]
        X, y, _, _, params, *_ = materials[0]
        student, head = clone(self.student), None
        if isinstance(student, Pipeline) and len(student.steps) > 1:
            head, X = fit_head(student, X, y, params)
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
                X_checked, codes, weights, soft = network._check_data(
                    X, y, params.get("sample_weight"), soft
                )
            network.class_weight = class_weight
            students.append(network)
            softs.append(soft)
        together = students[0]._fit_together(
            students, X_checked, codes, weights, softs, y, effort=effort
        )
        together.advance()
        return [
            fit.error or (network if head is None else Pipeline([*head.steps, ("last", network)]))
            for network, fit in zip(students, together.fits, strict=True)
        ]


def _seed_of(student):
    """Return a seed that all candidates share, so that they differ in their labels alone."""
    return student.random_state if isinstance(student.random_state, Integral) else 0


def _attempt(fit, *args):
    try:
        return fit(*args)
    except Exception as error:  # one candidate that diverges must not cost the others
        return error


def choose(student, mode, rows, make_lesson, settings, counts, *, seed, n_jobs):
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
    counts : list of int
        Transfer rows that the best soft labels are tried with. The numbers are for a fit on all
        rows, in a trial there are fewer in proportion.
    seed : int
        Of the rows held out, where there are no folds to take them from.
    n_jobs : int or None
    """
    if len(settings) == 1 and not counts:
        return Choice(settings[0], None)
    splits = _splits(rows, seed, is_batched(student))
    if not splits:
        soft = [setting for setting in settings if setting.source != "hard"]
        usual = min(soft, key=lambda s: (s.temperature != 1, s.alpha != 0.5, s.source != "own"))
        return Choice(usual, None)
    key = step_parameter(student, "checkpoint_path")
    if key in student.get_params():  # that of the fit on all rows
        student = clone(student).set_params(**{key: None})
    most = max([*counts, *(setting.n_augmented for setting in settings)])
    trials = [_Trial(student, mode, rows, make_lesson, most, *split) for split in splits]
    batched = is_batched(student)

    def run(settings, effort):
        for trial in trials:
            trial.run(settings, n_jobs, effort)

    def best_of(settings):
        loss, *_ = _compare(trials, "losses", settings)
        return settings[int(loss.argmin())]

    first = settings[0]
    run(settings, HEAT if batched else 1.0)
    best = plain = best_of([s for s in settings if s.source != "hard"])
    if counts:
        n_made = min(_num_samples(trial.lesson.transfer_rows[0]) for trial in trials)
        # of a table of few categories there may be few that are new
        counts = [count for count in counts if n_made >= trials[0].share * count / 2]
        with_more = [plain._replace(n_augmented=count) for count in counts]
        run(with_more, HEAT if batched else 1.0)
        best = best_of([plain, *with_more])
    rounds = [_describe(trials, list(trials[0].losses), HEAT if batched else 1.0)]
    finalists = list(dict.fromkeys([first, plain, best]))
    if batched and len(finalists) > 1:
        run(finalists, FINAL)
        rounds.append(_describe(trials, finalists, FINAL))
    return _verdict(trials, rounds)


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


def _describe(trials, settings, effort):
    """Lay out a round: settings, and what they came to."""
    loss, gain, error = _compare(trials, "losses", settings)
    _, accuracy_gain, accuracy_error = _compare(trials, "mistakes", settings)
    source_of = trials[0].lesson.source_of
    return settings, {
        "alpha": np.array([s.alpha for s in settings]),
        "temperature": np.array([s.temperature for s in settings]),
        "label_source": np.array([source_of(s) for s in settings]),
        "n_augmented": np.array([s.n_augmented for s in settings]),
        "share_of_epochs": np.full(len(settings), effort),
        "loss": loss,
        "gain": gain,
        "gain_error": error,
        "accuracy_gain": accuracy_gain,
        "accuracy_gain_error": accuracy_error,
    }


def _verdict(trials, rounds):
    """Choose by the last round."""
    settings, last = rounds[-1]
    loss = last["loss"]
    taught = np.isfinite(loss) & np.array([s.source != "hard" for s in settings])
    if not taught.any():
        raise next(trial.error for trial in trials if trial.error is not None)
    chosen = int(np.where(taught, loss, np.inf).argmin())
    if settings[0].source == "hard" and np.isfinite(loss[0]):
        with np.errstate(invalid="ignore"):
            level = (last["gain"] >= -SLACK * last["gain_error"] - 1e-12) & (
                last["accuracy_gain"] >= -SLACK * last["accuracy_gain_error"] - 1e-12
            )
        level[0] = False
        chosen = int(np.where(level, loss, np.inf).argmin()) if level.any() else 0
    candidates = {name: np.concatenate([table[name] for _, table in rounds]) for name in last}
    n_candidates = len(candidates["loss"])
    candidates["chosen"] = np.arange(n_candidates) == n_candidates - len(settings) + chosen
    return Choice(settings[chosen], candidates)


def _splits(rows, seed, batched):
    """Pairs of positions to train and to judge on; none where there are too few rows."""
    codes = np.unique(rows.y, return_inverse=True)[1]
    group = group_rows(rows.X)
    n_distinct = group.max() + 1
    if n_distinct < FEWEST_ROWS:
        return []
    if rows.folds is None:
        n_trained = TRAINED_TOGETHER if batched else TRAINED_ALONE
        weight = np.ones(len(codes)) if rows.weight is None else rows.weight
        fold = grouped_folds(group, codes, weight, N_FOLDS, seed)
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
        lost = ~np.isin(codes[test], codes[train])
        if rows.folds is None:
            train = np.sort(np.append(train, test[lost]))
        test = test[~lost]
        if len(test) and len(np.unique(codes[train])) > 1:
            splits.append((train, test))
    return splits
