"""Scores, size and speed of teacher, student and distilled student on the same folds.

Used by :func:`~sklearn_kd.inspection.distillation_report` and
:class:`~sklearn_kd.inspection.DistillationDisplay`.
"""

import functools
import pickle
import time
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.utils import check_random_state, check_scalar, indexable
from sklearn.utils.random import sample_without_replacement

from sklearn_kd._distillation.classifier import DistilledClassifier
from sklearn_kd._distillation.quantile_teacher import stands_for_dict
from sklearn_kd._distillation.regressor import DistilledRegressor
from sklearn_kd._utils.cross_fit import timed_fit_on_rows
from sklearn_kd._utils.encoded_labels import without_encoding
from sklearn_kd._utils.folds import (
    group_split_params,
    split_rows,
    warn_if_groups_are_divided,
)
from sklearn_kd._utils.groups import encode_groups
from sklearn_kd._utils.paired import paired_means
from sklearn_kd._utils.parallel import parallel_results
from sklearn_kd._utils.row_times import N_TIMED_ROWS, median_microseconds, raw_rows
from sklearn_kd._utils.saved_state import without_history
from sklearn_kd._utils.sklearn_compat import num_samples, routing_enabled, safe_indexing
from sklearn_kd._utils.sub_estimators import (
    fit_parameter_key,
    group_fit_params,
    last_step,
    route_fit,
)
from sklearn_kd._utils.validation import check_column, validate_sample_weight
from sklearn_kd.export import compact
from sklearn_kd.inspection._answers import answers_of
from sklearn_kd.inspection._subgroups import Partitions

#: Values of the column ``model``, in the order of the lines of a fold and seed.
MODELS = ("teacher", "hard", "distilled")
COSTS = ["bytes", "compact_bytes", "latency_p50_ms", "latency_p99_ms", "rows_per_second"]
COSTS += ["compact_latency_us", "fit_seconds"]
#: Costs that are measured on the models of the first seed only.
MEASURED_ONCE = COSTS[1:-1]
#: Fitted settings of a distilled model, as far as it has them.
SETTINGS = ("alpha", "temperature", "label_source", "n_augmented")
#: Column that says why a model has no compact file. It is in the frame if there are such models.
REFUSAL = "compact_refusal"
#: Most rows of a bulk prediction.
MAX_BULK_ROWS = 10_000
#: Calls that are not measured: the first ones import modules, fill caches and start thread pools.
N_WARM_UP_CALLS = 10
#: The same where the time is short. The last ones tell how long a call takes.
MIN_WARM_UP_CALLS = 3
#: Single rows of a fold that ``n_latency="auto"`` predicts for each model.
MIN_LATENCY_ROWS, MAX_LATENCY_ROWS = 10, 200
#: Share of the time of the fits that ``n_latency="auto"`` spends on speeds, beyond that number.
MAX_SPEED_SHARE = 0.1
#: Predictions of all test rows, of which the median counts.
N_BULK_CALLS = 3
#: Bytes of the pickle above which no compact file is written. A forest of this size, 300 trees on
#: 4,000 rows, takes 6 s to write, which is about the time of its fit.
MAX_BYTES_TO_COMPACT = 2**25


def model_bytes(model):
    """Return the length of the pickle of a fitted model."""
    try:
        return len(pickle.dumps(model))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        is_dict = stands_for_dict(model)
        name = "the dict of regressors" if is_dict else type(last_step(model)).__name__
        raise TypeError(
            f"{name} cannot be pickled, so that its size is unknown ({error}). Replace lambdas and "
            "local functions and classes by importable ones."
        ) from error


def _prediction_method(model):
    """Return the method that is timed."""
    return model.predict_proba if hasattr(model, "predict_proba") else model.predict


def _seconds_of(predict, X):
    start = time.perf_counter()
    predict(X)
    return time.perf_counter() - start


def _spread_rows(X, n_rows):
    """Return single rows spread evenly over X, all of them if it has fewer."""
    n_samples = num_samples(X)
    chosen = np.linspace(0, n_samples - 1, min(n_rows, n_samples)).astype(int)
    return [safe_indexing(X, [row]) for row in chosen.tolist()]


def model_latency(model, X, n_rows, budget=np.inf):
    """Measure how long predictions of single rows take.

    Parameters
    ----------
    model : estimator
        Fitted.
    X : array-like or DataFrame of shape (n_samples, n_features)
    n_rows : int or "auto"
        Number of different rows, spread evenly over X. All rows of X if it has fewer. They are
        cut out before the measurement. "auto": as many as ``budget`` allows, within bounds.
    budget : float, default=inf
        Seconds.

    Returns
    -------
    ndarray of shape (min(n_rows, n_samples),)
        Seconds.
    """
    is_auto = isinstance(n_rows, str)
    rows = _spread_rows(X, MAX_LATENCY_ROWS if is_auto else n_rows)
    predict, warm_up = _prediction_method(model), []
    for number in range(N_WARM_UP_CALLS):
        warm_up.append(_seconds_of(predict, rows[number % len(rows)]))
        if is_auto and len(warm_up) >= MIN_WARM_UP_CALLS and sum(warm_up) > budget:
            break
    if is_auto:
        n_rows = budget / np.median(warm_up[1:])
        rows = _spread_rows(X, int(np.clip(n_rows, MIN_LATENCY_ROWS, MAX_LATENCY_ROWS)))
    return np.array([_seconds_of(predict, row) for row in rows])


def model_throughput(model, X, budget=np.inf):
    """Return the rows predicted in a second.

    It is the median of three predictions of all rows of X, of the first 10,000 at most, or of fewer
    predictions where these take longer than ``budget`` (seconds).
    """
    n_samples = num_samples(X)
    if n_samples > MAX_BULK_ROWS:
        n_samples = MAX_BULK_ROWS
        X = safe_indexing(X, np.arange(n_samples))
    predict, seconds = _prediction_method(model), []
    while len(seconds) < N_BULK_CALLS and sum(seconds) <= budget:
        seconds.append(_seconds_of(predict, X))
    return n_samples / float(np.median(seconds))


def compact_costs(model, n_bytes, X, n_rows, budget=np.inf, method="predict_proba_one"):
    """Return bytes and latency of the compact file of a model, or why it has none.

    Parameters
    ----------
    model : estimator
        Fitted.
    n_bytes : int
        Length of its pickle.
    X : array-like or DataFrame of shape (n_samples, n_features)
    n_rows : int or "auto"
        Number of raw rows that are predicted. "auto": as many as ``budget`` allows, from 10 to
        1,000.
    budget : float, default=inf
        Seconds.
    method : str
        Method of a compact model that predicts a raw row.

    Returns
    -------
    dict
        ``compact_bytes`` and ``compact_latency_us``, or ``compact_refusal``.
    """
    if n_bytes > MAX_BYTES_TO_COMPACT:
        return {REFUSAL: f"a pickle of {n_bytes:,} bytes takes long to rewrite by export.compact"}
    is_auto = isinstance(n_rows, str)
    n_timed, max_seconds = (N_TIMED_ROWS, budget) if is_auto else (n_rows, np.inf)
    try:
        written = compact(model)
        # the rows of a test fold may have cells that the model takes and its compact file refuses
        microseconds = median_microseconds(
            getattr(written, method),
            raw_rows(X, n_timed),
            n_timed=n_timed,
            max_seconds=max_seconds,
        )
    except (AttributeError, TypeError, ValueError) as error:
        return {REFUSAL: str(error).removesuffix(".")}
    return {"compact_bytes": written.n_bytes_, "compact_latency_us": microseconds}


def check_distiller(distiller, name):
    """Raise a TypeError unless ``distiller`` is a DistilledClassifier or a DistilledRegressor."""
    if not isinstance(distiller, DistilledClassifier | DistilledRegressor):
        kind = distiller.__name__ if isinstance(distiller, type) else type(distiller).__name__
        raise TypeError(
            f"{name} must be a DistilledClassifier or a DistilledRegressor, an instance; got "
            f"{kind}. Pipelines go inside it, as teacher and as student."
        )


def refuse_class_weights(distiller, name):
    """Raise a ValueError for class weights and priors, which a student on hard labels lacks."""
    for param in ("class_weight", "class_prior"):
        if getattr(distiller, param, None) is not None:
            raise ValueError(
                f"{param} of {name} would count as a gain of distillation, since the student on "
                f"hard labels has none: set {param}=None, or class_weight of the student."
            )


def over_folds(frame, column):
    """Return the mean of a column over folds, and its standard error.

    Parameters
    ----------
    frame : DataFrame
        With the columns ``fold``, ``n_train``, ``n_test`` and ``column``.
    column : str
        Lines without a value are left out. Values of several seeds are averaged within a fold.

    Returns
    -------
    mean, error : float
        The error is that of Nadeau and Bengio (2003), which the notes of
        :class:`~sklearn_kd.inspection.DistillationReport` explain. NaN for a single fold.
    n_folds : int
        Folds that have the value.
    """
    known = frame[frame[column].notna()]
    if not len(known):
        return np.nan, np.nan, 0
    folds = known.groupby("fold")[[column, "n_train", "n_test"]].mean().astype(float)
    values, n_folds = folds[column].to_numpy(), len(folds)
    # each fold is one observation, and the training rows are a sample too
    _, error = paired_means(
        values,
        np.ones(n_folds),
        np.arange(n_folds),
        test_to_train=n_folds * folds["n_test"].sum() / folds["n_train"].sum(),
    )
    # this mean of equal values is exactly that value, an agreement of 1 for instance
    return float(values.mean()), float(error) if n_folds > 1 else np.nan, n_folds


@dataclass(frozen=True)
class MeasurementOptions:
    """How models are measured, as in :func:`~sklearn_kd.inspection.distillation_report`."""

    cv: Any
    n_seeds: int
    sample_weight: Any
    n_latency: Any
    n_jobs: int | None
    random_state: Any
    verbose: int
    #: A score that both students must have, or None.
    decide_by: str | None = None
    groups: Any = None
    subgroups: Any = None


@dataclass(frozen=True)
class EvaluationRows:
    """Rows with their targets and weights.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,) or (n_samples, n_targets)
    weight : ndarray of shape (n_samples,) or None
    groups : array-like of shape (n_samples,) or None
    """

    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    groups: Any = None

    def take(self, rows):
        """Return some of the rows, without their groups."""
        weight = None if self.weight is None else self.weight[rows]
        return EvaluationRows(safe_indexing(self.X, rows), self.y[rows], weight)


def measure_folds(distiller, X, y, options):
    """Fit the three models on each fold and seed, and measure them.

    Parameters
    ----------
    distiller : DistilledClassifier or DistilledRegressor
        Unfitted, with the teacher and the student.
    X, y : array-like or DataFrame
        As in :func:`~sklearn_kd.inspection.distillation_report`.
    options : MeasurementOptions

    Returns
    -------
    frame : DataFrame
        One line for each model, fold and seed.
    disagreement : DataFrame
        One line for each subgroup and class.
    """
    import pandas as pd

    check_distiller(distiller, "distiller")
    check_scalar(options.n_seeds, "n_seeds", Integral, min_val=1)
    if not (isinstance(options.n_latency, str) and options.n_latency == "auto"):
        check_scalar(options.n_latency, "n_latency", Integral, min_val=1)
    answers = answers_of(distiller)
    answers.check_score(distiller, options.decide_by)
    data, used = evaluation_rows(X, y, options.sample_weight, options.groups, answers)
    weight = None if data.weight is None else data.weight[used]
    rng = check_random_state(options.random_state)
    fold_seed = int(rng.randint(2**31 - 1))
    seeds = sample_without_replacement(2**31 - 1, options.n_seeds, random_state=rng)
    seeds = [int(seed) for seed in seeds]
    folds = evaluation_folds(options.cv, data, used, fold_seed, answers)

    partitions = Partitions.of(options.subgroups, data.X, data.y, answers.scores.difference.keys)
    scorer = answers.scorer(distiller, data.y[used], weight)
    fits = _Fits(distiller, data, scorer, partitions)
    start = time.perf_counter()
    lines, sums, kept = _fit_and_score_all(fits, folds, seeds, options)
    budget = MAX_SPEED_SHARE * (time.perf_counter() - start) / (len(folds) * len(MODELS))
    for fold, models, own_lines in kept:
        X_test = safe_indexing(data.X, folds[fold][1])
        _measure_speed(models, own_lines, X_test, options.n_latency, budget, answers.method_of_row)
        if options.verbose:
            print(f"[distillation_report] fold {fold + 1} of {len(folds)}: speed measured")
    frame = pd.DataFrame(lines)
    settings = [name for name in SETTINGS if name in frame]
    settings += [REFUSAL] * (REFUSAL in frame)
    scores = [name for name in answers.scores.higher_is_better if name in frame]
    frame = frame[["model", "fold", "seed", *scores, *COSTS, "n_train", "n_test", *settings]]
    if "n_augmented" in settings:
        frame = frame.astype({"n_augmented": "Int64"})
    return frame, partitions.frame(sums, folds)


def evaluation_rows(X, y, sample_weight, groups, answers):
    """Validate the rows of an evaluation.

    Returns
    -------
    data : EvaluationRows
    used : ndarray of bool of shape (n_samples,)
        Rows of positive weight, which have at least two classes or numbers.
    """
    X, y = indexable(X, answers.read(y))
    weight = None if sample_weight is None else validate_sample_weight(sample_weight, X)
    if groups is not None:
        encode_groups(groups, len(y))  # an error for groups of other rows
        groups = check_column(groups, "groups")
    used = np.ones(len(y), dtype=bool) if weight is None else weight > 0
    answers.check_varied(y[used])
    return EvaluationRows(X, y, weight, groups), used


def evaluation_folds(cv, data, used, seed, answers):
    """Return the training and test rows of each fold, of those that are used."""
    cv, groups = 5 if cv is None else cv, data.groups
    group = None if groups is None else encode_groups(groups, len(data.y))
    if isinstance(cv, Integral) and not isinstance(cv, bool):
        rows = np.flatnonzero(used)
        kind = StratifiedKFold if group is None else StratifiedGroupKFold
        splits = kind(int(cv), shuffle=True, random_state=seed).split(
            rows, answers.strata(data.y[rows]), None if group is None else group[rows]
        )
        return [(rows[train], rows[test]) for train, test in splits]
    split_params = group_split_params(cv, groups, {})
    folds, splits = [], split_rows(cv, data.X, data.y, split_params)
    warn_if_groups_are_divided(splits, group)
    for fold, (train, test) in enumerate(splits):
        train, test = train[used[train]], test[used[test]]
        if not (len(train) and len(test)):
            raise ValueError(
                f"fold {fold} of cv has {len(train)} training and {len(test)} test rows of "
                "positive weight, but each part needs at least one."
            )
        folds.append((train, test))
    return folds


@dataclass(frozen=True)
class _Fits:
    """What the fits of all folds and seeds have in common."""

    distiller: Any
    data: EvaluationRows
    scorer: Any
    partitions: Partitions


def _fit_and_score_all(fits, folds, seeds, options):
    """Fit and score on each fold and seed, and keep the models of the first seed.

    Returns
    -------
    lines : list of dict
        One line for each model, fold and seed.
    sums : ndarray of shape (n_folds, 1 + n_measures, n_lines)
        Over rows by subgroup and class, see `Partitions`. Means over seeds.
    kept : list of (fold, models, lines)
        Number of the fold, models by name, and those of ``lines`` that belong to them.
    """
    tasks = [(fold, seed) for fold in range(len(folds)) for seed in seeds]
    calls = ((folds[fold], seed, seed == seeds[0]) for fold, seed in tasks)
    results = parallel_results(functools.partial(_fit_and_score, fits), calls, options.n_jobs)
    lines, sums, kept = [], [], []
    n_parallel, seconds = effective_n_jobs(options.n_jobs), 0.0
    results = zip(tasks, results, strict=True)
    for n_done, ((fold, seed), result) in enumerate(results, start=1):
        measured, own_sums, models, own_seconds = result
        seconds += own_seconds
        sums.append(own_sums)
        key = {"fold": fold, "seed": seed}
        own_lines = [{"model": name, **key, **measured[name]} for name in MODELS]
        lines += own_lines
        if models is not None:
            kept.append((fold, models, own_lines))
        if options.verbose:
            number, of_fit = seeds.index(seed) + 1, measured["distilled"]["fit_seconds"]
            left = (len(tasks) - n_done) * seconds / n_done / min(n_parallel, len(tasks))
            print(
                f"[distillation_report] fold {fold + 1} of {len(folds)}, seed {number} of "
                f"{len(seeds)}: distilled in {of_fit:.1f} s, about {left:.0f} s left"
            )
    sums = np.array(sums).reshape(len(folds), len(seeds), *sums[0].shape)
    return lines, sums.mean(axis=1), kept


def _measure_speed(models, lines, X, n_latency, budget, method):
    """Enter latency, throughput and what compact files cost in the lines of the models.

    ``budget`` are the seconds for each model with ``n_latency="auto"``, and ``method`` that of
    `compact_costs`.
    """
    bulk_budget = budget if isinstance(n_latency, str) else np.inf
    for line in lines:
        model = models[line["model"]]
        milliseconds = 1000 * model_latency(model, X, n_latency, budget)
        line["latency_p50_ms"], line["latency_p99_ms"] = np.percentile(milliseconds, [50, 99])
        line["rows_per_second"] = model_throughput(model, X, bulk_budget)
        line |= compact_costs(model, line["bytes"], X, n_latency, budget, method)


def _fit_and_score(fits, fold, seed, keep_models):
    """Return measures and sums on one fold and seed, the models if kept, and seconds."""
    start, (train, test), data = time.perf_counter(), fold, fits.data
    model = clone(fits.distiller).set_params(random_state=seed)
    metadata = {"sample_weight": data.weight, "groups": data.groups}
    metadata = {name: value for name, value in metadata.items() if value is not None}
    seconds = {"teacher": np.nan}
    model, seconds["distilled"] = timed_fit_on_rows(model, data.X, data.y, train, metadata)
    hard, seconds["hard"] = _fit_on_hard_labels(fits, model, train, metadata)

    # what would be deployed
    models = {
        "teacher": without_history(model.teacher_),
        "hard": hard,
        "distilled": model.without_teacher(keep_history=False),
    }
    rows = data.take(test)
    measured, of_rows = fits.scorer(models, rows)
    sums = fits.partitions.sums(test, of_rows, rows.weight)
    for name, line in measured.items():
        line["bytes"] = model_bytes(models[name])
        line |= dict.fromkeys(MEASURED_ONCE, np.nan)
        line |= {"fit_seconds": seconds[name], "n_train": len(train), "n_test": len(test)}
    measured["distilled"] |= _settings(model)
    return measured, sums, models if keep_models else None, time.perf_counter() - start


def _fit_on_hard_labels(fits, model, train, metadata):
    """Return the student on hard labels, as it would be deployed, and the seconds of its fit.

    ``model`` is the fitted distilled model. If its quantiles are calibrated, those of the student
    are calibrated in the same way: it is the distilled model without a weight of the teacher.
    """
    data, chosen = fits.data, without_encoding(model.student_)
    if getattr(model, "quantiles", None) is not None:
        hard = clone(fits.distiller).set_params(
            teacher=FrozenEstimator(model.teacher_),
            student=_same_seeds(model._get_student(), chosen),
            alpha=0.0,
            augmentation=None,
            random_state=model.random_state,
        )
        hard, seconds = timed_fit_on_rows(hard, data.X, data.y, train, metadata)
        return hard.without_teacher(keep_history=False), seconds
    # "auto" has chosen a student on these rows
    student = chosen if isinstance(model.student, str) else model._get_student()
    params = hard_label_fit_params(model, student, data.weight)
    student = _same_seeds(student, chosen)
    params |= group_fit_params(student, data.groups)
    student, seconds = timed_fit_on_rows(student, data.X, data.y, train, params)
    return without_history(student), seconds


def _settings(model):
    """Return the fitted value of each setting that a distilled model has."""
    # where fit does not choose alpha, it is a parameter
    found = {"alpha": getattr(model, "alpha_", model.alpha)}
    for name in SETTINGS[1:]:
        value = getattr(model, f"{name}_", None)
        if value is not None:
            found[name] = value
    return found


def hard_label_fit_params(model, student, weights):
    """Return the metadata for the fit of the student on hard labels, for all rows."""
    if weights is None:
        return {}
    if routing_enabled():
        return route_fit(model, None, student, weights, {})["student"]
    # without such a parameter the fit of the distilled model warns
    key = fit_parameter_key(student, "sample_weight")
    return {} if key is None else {key: weights}


def _same_seeds(student, fitted):
    """Return a clone of a student, with the seeds of a fitted one instead of unset seeds."""
    student, seeds = clone(student), fitted.get_params()
    params = student.get_params()
    names = [name for name in params if name.split("__")[-1] == "random_state"]
    return student.set_params(**{name: seeds[name] for name in names if params[name] is None})
