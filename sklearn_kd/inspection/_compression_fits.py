"""Fit students on the folds of a CompressionCurveDisplay, with one teacher for each fold."""

import functools
import time
import warnings
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from joblib import effective_n_jobs
from sklearn.base import clone

from sklearn_kd._distillation.student_fit import StudentSpec
from sklearn_kd._search.candidates import RecordingStudent
from sklearn_kd._utils.cross_fit import timed_fit_on_rows
from sklearn_kd._utils.folds import are_ordered, group_split_params, user_folds
from sklearn_kd._utils.parallel import parallel_results
from sklearn_kd._utils.row_times import median_microseconds, raw_rows
from sklearn_kd._utils.sklearn_compat import routing_enabled, safe_indexing
from sklearn_kd._utils.sub_estimators import group_fit_params, last_step
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning
from sklearn_kd.export import compact
from sklearn_kd.inspection._answers import answers_of
from sklearn_kd.inspection._compression_candidates import KEY
from sklearn_kd.inspection._measurements import hard_label_fit_params

COLUMNS = [*KEY, "split", "score", "n_bytes", "microseconds", "fit_seconds"]


@dataclass(frozen=True)
class CompressionFits:
    """Fits of students on folds.

    Parameters
    ----------
    distiller : DistilledClassifier or DistilledRegressor
        Its teacher labels the training rows of each fold.
    candidates : list of Candidate
        Those on hard labels first.
    data : EvaluationRows
    folds : list of (train, test)
    scorer : callable
    n_jobs : int or None
    verbose : int
    """

    distiller: Any
    candidates: list
    data: Any
    folds: list
    scorer: Any
    n_jobs: int | None
    verbose: int

    def measure(self):
        """Return the scores, sizes and times of all candidates, and the scores of the teacher.

        Students on hard labels are fitted first, so that the error of one that no compact file can
        hold comes before a teacher takes its time.

        Returns
        -------
        frame : DataFrame
            One line for each candidate or teacher, and fold.
        """
        self._check_rows_in_time()
        n_hard = sum(not each.is_distilled for each in self.candidates)
        lines = self._fit(self.candidates[:n_hard], [None] * len(self.folds), "hard labels")
        results = self._run(
            [(number,) for number in range(len(self.folds))], self._label, "teacher"
        )
        labeled, of_teacher = zip(*results, strict=True)
        lines += self._fit(self.candidates[n_hard:], labeled, "labels of the teacher")
        start = time.perf_counter()
        for line in lines:
            _, test = self.folds[line["split"]]
            line["microseconds"] = median_microseconds(
                self._predict_one(line.pop("written")), raw_rows(safe_indexing(self.data.X, test))
            )
        self._say(f"times of {len(lines)} compact files, {time.perf_counter() - start:.1f} s")
        return pd.DataFrame([*lines, *of_teacher], columns=COLUMNS)

    def _check_rows_in_time(self):
        """Raise a ValueError where students would hold transfer rows out as the last rows in time.

        Transfer rows reach the students among the training rows, without their origins.
        """
        distiller, (train, _) = self.distiller, self.folds[0]
        if distiller.augmentation is None or isinstance(distiller.cv, str | Integral):
            return
        modes = [
            distiller._task_type.student_mode(each.student, distiller) for each in self.candidates
        ]
        holding_out = {
            each.family
            for each, mode in zip(self.candidates, modes, strict=True)
            if StudentSpec.of(each.student, mode).held_out_fraction
        }
        X, y = safe_indexing(self.data.X, train), self.data.y[train]
        groups = None if self.data.groups is None else np.asarray(self.data.groups)[train]
        params = group_split_params(distiller.cv, groups, {})
        kinds = {"is_classifier": distiller._task_type.is_stratified}
        folds = user_folds(distiller.cv, X, y, np.arange(len(y)), len(y), params, **kinds)
        if holding_out and are_ordered(folds):
            raise ValueError(
                f"the folds of cv={distiller.cv} are in time, so that early stopping of the "
                f"students {sorted(holding_out)} would be decided by transfer rows: set "
                "early_stopping=False of the student, or augmentation=None of the estimator."
            )

    def _fit(self, candidates, labeled, words):
        tasks = [
            (candidate, number) for number in range(len(self.folds)) for candidate in candidates
        ]
        function = functools.partial(self._fit_and_score, labeled)
        return self._run(tasks, function, f"students on {words}")

    def _run(self, tasks, function, words):
        """Return what a function returns for each task, and print how far it is."""
        start, results = time.perf_counter(), []
        made = parallel_results(function, tasks, self.n_jobs)
        n_per_line = max(1, len(tasks) // len(self.folds), effective_n_jobs(self.n_jobs))
        for n_done, result in enumerate(made, start=1):
            results.append(result)
            if n_done % n_per_line == 0 or n_done == len(tasks):
                seconds = time.perf_counter() - start
                left = seconds * (len(tasks) - n_done) / n_done
                self._say(
                    f"{words}: {n_done} of {len(tasks)} fits, {seconds:.1f} s, about {left:.0f} s "
                    "left of these"
                )
        return results

    def _predict_one(self, written):
        """Return the method of a compact file that predicts a raw row."""
        return getattr(written, answers_of(self.distiller).method_of_row)

    def _say(self, message):
        if self.verbose:
            print(f"[CompressionCurveDisplay] {message}")

    def _label(self, number):
        """Fit the teacher on the training rows of a fold, and return its labels and its line."""
        train, _ = self.folds[number]
        # the student that keeps what it is given takes tables, and holds nothing out
        student = answers_of(self.distiller).network(early_stopping=False)
        if routing_enabled():
            student.set_fit_request(sample_weight=True)
        model = clone(self.distiller).set_params(student=RecordingStudent.like(student))
        metadata = {"sample_weight": self.data.weight, "groups": self.data.groups}
        metadata = {name: values for name, values in metadata.items() if values is not None}
        model, seconds = timed_fit_on_rows(model, self.data.X, self.data.y, train, metadata)
        line = dict(zip(KEY, ("teacher", "", "teacher"), strict=True))
        try:
            line |= {"split": number, "score": self._score(model.teacher_, number)}
        except AttributeError as error:
            raise ValueError(
                f"the teacher, {type(last_step(model.teacher_)).__name__}, cannot be scored by "
                f"this scoring ({error}); choose another one."
            ) from error
        return _LabeledRows.of(model), line | {"fit_seconds": seconds}

    def _fit_and_score(self, labeled, candidate, number):
        train, test = self.folds[number]
        student = clone(candidate.student)
        if labeled[number] is None:
            params = hard_label_fit_params(candidate.distiller, student, self.data.weight)
            params |= group_fit_params(student, self.data.groups)
            model, seconds = timed_fit_on_rows(student, self.data.X, self.data.y, train, params)
        else:
            model = clone(candidate.distiller).set_params(student=student)
            model, seconds = labeled[number].fit(model)
        (row,) = raw_rows(safe_indexing(self.data.X, test[:1]))
        try:
            written = compact(model)
            self._predict_one(written)(row)  # before all fits are done, and times are measured
        except (TypeError, ValueError) as error:
            raise ValueError(f"student {candidate.family!r}: {error}") from error
        line = dict(zip(KEY, candidate.key, strict=True))
        line |= {"split": number, "score": self._score(model, number), "n_bytes": written.n_bytes_}
        return line | {"fit_seconds": seconds, "written": written}

    def _score(self, model, number):
        train, test = self.folds[number]
        rows = self.data.take(test)
        weights = {} if rows.weight is None else {"sample_weight": rows.weight}
        try:
            return float(self.scorer(model, rows.X, rows.y, **weights))
        except ValueError as error:
            unknown = answers_of(self.distiller).unknown(rows.y, self.data.y[train])
            if not unknown:
                raise
            raise ValueError(
                f"no score on fold {number}, whose training rows lack the labels {unknown} of its "
                f"test rows: leave these rows out, or take another scoring or cv. {error}"
            ) from error


@dataclass(frozen=True)
class _LabeledRows:
    """What a distiller has given its student, and the loss that is left to it."""

    X: Any
    y: np.ndarray
    soft_targets: Any
    metadata: dict
    loss: dict

    @classmethod
    def of(cls, model):
        """Return what a model has given to a `RecordingStudent`."""
        given = model.student_.given_
        y, soft, loss = answers_of(model).given_labels(model)
        metadata = {name: given[name] for name in ("sample_weight", "groups")}
        metadata = {name: values for name, values in metadata.items() if values is not None}
        return cls(given["X"], y, soft, metadata, loss)

    def fit(self, model):
        """Fit a distiller on these labels, and return it and the seconds."""
        model.set_params(**self.loss, augmentation=None)
        start = time.perf_counter()
        with warnings.catch_warnings():
            # the labels are in order, however bad the teacher is
            warnings.simplefilter("ignore", SoftTargetsAlignmentWarning)
            model.fit(self.X, self.y, soft_targets=self.soft_targets, **self.metadata)
        return model, time.perf_counter() - start
