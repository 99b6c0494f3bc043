"""One fit of DistilledClassifier: rows are labeled, labels are chosen, a student is taught."""

import time
import warnings
from contextlib import nullcontext

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state

from sklearn_kd._distillation.predictions import _prior_shift
from sklearn_kd._distillation.selection import FEWEST_ROWS, choose
from sklearn_kd._distillation.settings import _check_options, settings_to_try
from sklearn_kd._distillation.student_fit import StudentTrainer
from sklearn_kd._distillation.training_set import Lesson, _check_rows, row_labeler
from sklearn_kd._utils.callbacks import Subtask
from sklearn_kd._utils.containers import warn_if_sliceable
from sklearn_kd._utils.labels import merge_classes
from sklearn_kd._utils.protocols import trains_jointly
from sklearn_kd._utils.sklearn_compat import (
    check_y,
    num_samples,
    routing_enabled,
    safe_indexing,
)
from sklearn_kd._utils.sub_estimators import last_step, seeded, student_mode
from sklearn_kd._utils.validation import check_row_order
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.datasets import make_transfer_rows
from sklearn_kd.exceptions import (
    InSampleLabelsWarning,
    MissingClassWarning,
    NoGainWarning,
    TransferRowsWarning,
    UntestedRowsWarning,
)

__all__ = ["Distillation"]


#: Transfer rows of n_augmented="auto", in multiples of the rows.
COUNT = 3
#: Rows that are made to see whether a table has others than its own.
N_PROBED = 200
#: Columns up to which "auto" makes transfer rows: images are no tables.
MOST_COLUMNS = 256


class Distillation:
    """What a fit of ``est``, a DistilledClassifier, finds out on its way, and its steps."""

    def __init__(self, est, X, y, sample_weight, soft_targets, X_unlabeled, params):
        self.est, self.X_given, self.X_unlabeled = est, X, X_unlabeled
        self.obstacle = None  # why "auto" makes no transfer rows
        needs_teacher = (
            soft_targets is None
            or X_unlabeled is not None
            or est.augmentation not in (None, "auto")
        )
        rng = check_random_state(est.random_state)
        self.fold_seed, self.choice_seed, self.row_seed = (
            int(seed) for seed in rng.randint(2**31 - 1, size=3)
        )
        self.teacher = est._get_teacher() if needs_teacher else None
        self.student = est._get_student()
        if est.random_state is not None:
            self.teacher = None if self.teacher is None else seeded(self.teacher, rng)
            self.student = seeded(self.student, rng)
        self.mode = student_mode(self.student, est.alpha, est.temperature)
        _check_options(est, self.student)
        if est.class_weight is not None and routing_enabled():
            # the weights are made here: nobody else can have asked for them
            self.student = clone(self.student)
            last_step(self.student).set_fit_request(sample_weight=True)
        check_row_order(soft_targets, X, y)
        y = check_y(y, estimator=est)
        warn_if_sliceable(X_unlabeled, len(y))
        self.frozen = isinstance(last_step(self.teacher), FrozenEstimator)
        fitted_teacher = None if self.frozen else self.teacher
        self.rows, self.classes = _check_rows(
            est, X, y, sample_weight, soft_targets, params, fitted_teacher, self.student
        )
        classes = self.classes
        if self.frozen:
            classes = merge_classes(classes, last_step(self.teacher))
        if len(classes) < 2:
            raise ValueError(f"at least two classes are needed, y has 1 class: {classes.tolist()}.")

    def choose(self):
        """Find the setting to teach with, on held-out rows where there is a choice: `Choice`."""
        settings, n_more = self._options()
        start = time.perf_counter()
        with warnings.catch_warnings():
            # the fit on all rows says these, if they concern it
            for category in (InSampleLabelsWarning, MissingClassWarning, UntestedRowsWarning):
                warnings.simplefilter("ignore", category)
            choice = choose(
                self.student,
                self.mode,
                self.rows,
                self._lesson,
                settings,
                n_more,
                calibrate=self.est.calibration is not None and not self._weighs_classes(),
                seed=self.choice_seed,
                n_jobs=self.est.n_jobs,
            )
        if choice.candidates is not None:
            self._say(f"chose among {len(choice.candidates['alpha'])} ways to teach", start)
        if choice.setting.source == "hard":
            _warn_no_gain(choice.candidates)
        return choice

    def prepare(self, setting, ctx):
        """Have the teacher label all rows: `Lesson` and `Material`."""
        start, rows = time.perf_counter(), self.rows
        task = Subtask(ctx, "fit-teacher", self.est, rows.X, rows.y)
        if self.teacher is None:
            with task.begin(None):
                pass
        # in-sample labels need none, but for the calibration of those of more rows
        has_more = setting.n_augmented > 0 or self.X_unlabeled is not None
        needs_labels = setting.source == "own" or (setting.source != "hard" and has_more)
        lesson = self._lesson(
            rows, setting.n_augmented, needs_labels=needs_labels, propagate=task.begin
        )
        material = lesson.material(setting)
        if setting.n_augmented and self.est.augmentation != "auto":
            _warn_if_few(setting.n_augmented, *lesson.transfer_rows)
        if self.est.augmented_labels == "recomputed":
            material.params["labeler"] = row_labeler(lesson.labels, self.X_given, self.student)
        task.end()
        source = lesson.source_of(setting)
        self._say(f"labels of {len(material.y_encoded)} rows, source {source!r}", start)
        return lesson, material

    def teach(self, choice, lesson, material, ctx):
        """Fit the student, and return all fitted attributes."""
        start, setting = time.perf_counter(), choice.setting
        task = Subtask(ctx, "fit-student", self.est, material.X, material.y)
        job = StudentTrainer(self.student, self.mode, lesson.classes)
        made, copies = lesson.transfer_rows if setting.n_augmented else ([], np.nan)
        self._warn_if_not_tried(choice.candidates)
        fitted = {
            "student_": job.fit(material, propagate=task.begin),
            "classes_": lesson.classes,
            "alpha_": float(setting.alpha),
            "temperature_": float(setting.temperature),
            "label_source_": lesson.source_of(setting),
            "n_augmented_": min(num_samples(made), setting.n_augmented),
            "copy_share_": float(copies),
            "candidates_": choice.candidates,
            "student_temperature_": choice.temperature,
            # of the student's own probabilities
            "_power": (setting.temperature if self.mode == "expansion" else 1) / choice.temperature,
            "_log_prior": _prior_shift(self.est.class_prior, material, lesson),
        }
        if lesson.labels is not None:
            fitted["teacher_"] = lesson.labels.teacher
            fitted["label_temperature_"] = lesson.labels.temperature or 1.0
        task.end(fitted)
        name = type(last_step(self.student)).__name__
        self._say(f"student {name}, T = {setting.temperature:g}", start)
        return fitted

    def _lesson(self, rows, n_augmented, *, needs_labels=True, propagate=lambda _: nullcontext()):
        est = self.est
        return Lesson(
            rows,
            self.teacher,
            self.classes,
            X_unlabeled=self.X_unlabeled,
            augment=self._augment,
            n_augmented=n_augmented,
            class_weight=est.class_weight,
            cv=est.cv,
            calibrate=est.calibration is not None,
            needs_labels=needs_labels and rows.given is None,
            n_jobs=est.n_jobs,
            seed=self.fold_seed,
            propagate=propagate,
        )

    def _augment(self, X, n_rows, weight):
        """Transfer rows, and the share of copies among those drawn."""
        method = self.est.augmentation
        if callable(method):
            return method(X, n_rows, self.row_seed), np.nan
        params = {"sample_weight": weight, "random_state": self.row_seed, "return_copies": True}
        if method != "auto":
            return make_transfer_rows(X, n_rows, method=method, **params)
        try:
            return make_transfer_rows(X, n_rows, method="gibbs", **params)
        except (TypeError, ValueError) as error:
            self.obstacle = error
            return safe_indexing(X, np.arange(0)), np.nan

    def _weighs_classes(self):
        own = last_step(self.student).get_params(deep=False).get("class_weight")
        return self.est.class_weight is not None or own is not None

    def _can_augment(self, n_augmented):
        """Whether "auto" can make rows: of a table that is not too wide, which has others."""
        X = self.rows.X
        is_table = hasattr(X, "iloc") or isinstance(X, np.ndarray)
        above_one = self.est.alpha != "auto" and self.est.alpha > 1  # which cannot be mixed
        if (
            self.teacher is None
            or above_one
            or not is_table
            or X.ndim != 2
            or X.shape[1] > MOST_COLUMNS
            or len(self.rows) < FEWEST_ROWS  # there will be no trial
        ):
            return False
        n_probed = min(N_PROBED, n_augmented)
        made, _ = self._augment(X, n_probed, self.rows.weight)
        return len(made) >= n_probed / 2

    def _options(self):
        """Return settings to try, and the number of transfer rows to try with the best of them."""
        est, rows, batched = self.est, self.rows, trains_jointly(last_step(self.student))
        own_labels = isinstance(est.cv, str) and est.cv == "auto" and rows.given is None
        sources = ["own"]
        if est.alpha == "auto" and own_labels and not self.frozen:
            sources.append("in-sample")
        temperature = est.temperature
        if temperature == "auto" and (est.class_weight is not None or self.mode == "mixed"):
            temperature = 1.0
        settings = settings_to_try(self.mode, est.alpha, temperature, sources, batched)
        n_augmented = COUNT * len(rows) if est.n_augmented == "auto" else est.n_augmented
        if est.augmentation == "auto":
            return settings, n_augmented if self._can_augment(n_augmented) else 0
        if est.augmentation is not None:
            settings = [
                s if s.source == "hard" else s._replace(n_augmented=n_augmented) for s in settings
            ]
        return settings, 0

    def _warn_if_not_tried(self, candidates):
        """Say why "auto" has not tried transfer rows, where that is not its own decision."""
        est = self.est
        if est.augmentation != "auto":
            return
        if self.obstacle is not None:
            warn_caller(
                f"no transfer rows were made: {self.obstacle} Set augmentation=None.",
                TransferRowsWarning,
            )
        elif est.n_augmented != "auto" and (
            candidates is None or not candidates["n_augmented"].any()
        ):
            warn_caller(
                f"n_augmented={est.n_augmented} with augmentation='auto', but no transfer rows "
                "were tried: they are made of a DataFrame or a dense array of up to "
                f"{MOST_COLUMNS} columns with rows to spare and combinations of values that it "
                "lacks, labeled by a teacher, for alpha up to 1.",
                TransferRowsWarning,
            )

    def _say(self, message, start):
        if self.est.verbose:
            print(f"[DistilledClassifier] {message}, {time.perf_counter() - start:.1f} s")


def _warn_if_few(n_wanted, made, copies):
    n_made = num_samples(made)
    if n_made < n_wanted / 2:
        warn_caller(
            f"{n_made} transfer rows were made in place of {n_wanted}: of the rows drawn "
            f"{copies:.0%} were copies of training rows. Set augmentation=None, or a smaller "
            "n_augmented.",
            TransferRowsWarning,
        )


def _warn_no_gain(candidates):
    taught = (candidates["label_source"] != "hard") & np.isfinite(candidates["gain"])
    best = np.argmax(np.where(taught, candidates["gain"], -np.inf))

    def gained(name):
        return f"{candidates[name][best]:+.2g} +- {candidates[f'{name}_error'][best]:.1g}"

    warn_caller(
        "the teacher's labels did not pay on held-out rows: those of the least loss gained "
        f"{gained('gain')} in loss and {gained('accuracy_gain')} in accuracy over hard labels, on "
        "which the student is therefore fitted. Set alpha to a number to distil all the same.",
        NoGainWarning,
    )
