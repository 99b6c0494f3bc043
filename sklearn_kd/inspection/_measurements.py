"""Teacher, student and distilled student on the same folds: scores, size and speed of each.

What `inspection.distillation_report` and `DistillationDisplay` are made of.
"""

import pickle
import time
from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.utils import check_random_state, check_scalar, column_or_1d, indexable
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.random import sample_without_replacement

from sklearn_kd._distillation.classifier import DistilledClassifier
from sklearn_kd._utils.folds import split_rows
from sklearn_kd._utils.labels import align_columns, encode_labels
from sklearn_kd._utils.sklearn_compat import num_samples, routing_enabled, safe_indexing
from sklearn_kd._utils.sub_estimators import fit_parameter_key, last_step, route_fit
from sklearn_kd._utils.validation import (
    PREDICTED_ROW_SUM_TOLERANCE,
    check_probabilities,
    validate_sample_weight,
)
from sklearn_kd.metrics import agreement_score, expected_calibration_error, fidelity_score

__all__ = [
    "COSTS",
    "MODELS",
    "SCORES",
    "check_distiller",
    "measure_folds",
    "model_bytes",
    "model_latency",
    "model_probabilities",
    "model_throughput",
    "over_folds",
]


#: Names in the frame, in the order of the lines of a fold and seed.
MODELS = ("teacher", "hard", "distilled")
SCORES = ["accuracy", "balanced_accuracy", "log_loss", "roc_auc", "average_precision"]
SCORES += ["calibration_error", "agreement", "fidelity"]
COSTS = ["bytes", "latency_p50_ms", "latency_p99_ms", "rows_per_second", "fit_seconds"]
#: Rows of a bulk prediction, at most.
_BULK_ROWS = 10_000
#: Calls before the clock starts: imports, caches and thread pools of the first ones are not it.
_WARM_UP = 10
#: From here on rows are divided by their sum, which the log loss asks for.
_ROUNDING = 1e-9


def model_bytes(model):
    """Length of the pickle of a fitted model."""
    try:
        return len(pickle.dumps(model))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"{type(last_step(model)).__name__} cannot be pickled, so that it has no size "
            f"({error}): give it importable functions and classes in place of lambdas and local "
            "ones."
        ) from error


def _answer(model):
    """Return the method that is timed."""
    return model.predict_proba if hasattr(model, "predict_proba") else model.predict


def model_latency(model, X, n_rows):
    """Seconds of single-row predictions, one for each of ``n_rows`` rows spread over X.

    The rows are different ones, all of X if it has no more, and cut out before the clock runs.
    """
    n_samples = num_samples(X)
    chosen = np.linspace(0, n_samples - 1, min(n_rows, n_samples)).astype(int)
    rows = [safe_indexing(X, [row]) for row in chosen]
    answer = _answer(model)
    for number in range(_WARM_UP):
        answer(rows[number % len(rows)])
    seconds = np.empty(len(rows))
    for number, row in enumerate(rows):
        start = time.perf_counter()
        answer(row)
        seconds[number] = time.perf_counter() - start
    return seconds


def model_throughput(model, X):
    """Rows predicted in a second, 10,000 of X at a time at most; median of three calls."""
    n_samples = num_samples(X)
    if n_samples > _BULK_ROWS:
        n_samples = _BULK_ROWS
        X = safe_indexing(X, np.arange(n_samples))
    answer, seconds = _answer(model), []
    for _ in range(3):
        start = time.perf_counter()
        answer(X)
        seconds.append(time.perf_counter() - start)
    return n_samples / float(np.median(seconds))


def model_probabilities(model, X, classes):
    """Float64 probabilities in the columns of ``classes`` (sorted), None where there are none.

    In float64 for all, since the log loss clips at the resolution of the dtype, and models of
    different dtypes would be clipped at different losses.
    """
    if not hasattr(model, "predict_proba"):
        return None
    P = np.asarray(model.predict_proba(X), dtype=np.float64)
    name = f"the probabilities of {type(last_step(model)).__name__}"
    check_probabilities(P, name, PREDICTED_ROW_SUM_TOLERANCE)
    P = np.clip(P, 0.0, 1.0)
    total = P.sum(axis=1, keepdims=True)
    # only what came in single precision: rounding again would part rows that are tied
    if np.abs(total - 1).max(initial=0.0) > _ROUNDING:
        P /= total
    return align_columns(P, model.classes_, classes)


def check_distiller(distiller, name):
    """Refuse what is no instance of DistilledClassifier."""
    if not isinstance(distiller, DistilledClassifier):
        kind = distiller.__name__ if isinstance(distiller, type) else type(distiller).__name__
        raise TypeError(
            f"{name} must be a DistilledClassifier, an instance; got {kind}. Pipelines go inside "
            "it, as teacher and as student."
        )


def over_folds(frame, column):
    """Mean over folds of means over seeds, its standard error, and the number of folds.

    The standard error is that of Nadeau and Bengio (2003), `_report.DistillationReport`. Folds
    in which the column is NaN are left out; with one fold the error is NaN.
    """
    known = frame[frame[column].notna()]
    if not len(known):
        return np.nan, np.nan, 0
    folds = known.groupby("fold")[[column, "n_train", "n_test"]].mean().astype(float)
    values, n_folds = folds[column].to_numpy(), len(folds)
    mean = float(values.mean())
    if n_folds < 2:
        return mean, np.nan, n_folds
    ratio = folds["n_test"].sum() / folds["n_train"].sum()
    return mean, float(values.std(ddof=1) * np.sqrt(1 / n_folds + ratio)), n_folds


def measure_folds(
    distiller,
    X,
    y,
    *,
    cv,
    n_seeds,
    sample_weight,
    n_latency,
    n_jobs,
    random_state,
    verbose,
    decide_by=None,
):
    """Fit and measure on each fold and seed.

    Parameters
    ----------
    distiller : DistilledClassifier
        Unfitted, with the teacher and the student.
    decide_by : str or None
        A score that both students must have.
    X, y, cv, ... : as in :func:`~sklearn_kd.inspection.distillation_report`

    Returns
    -------
    frame : DataFrame
        One line for each model, fold and seed.
    """
    import pandas as pd

    check_distiller(distiller, "distiller")
    check_scalar(n_seeds, "n_seeds", Integral, min_val=1)
    check_scalar(n_latency, "n_latency", Integral, min_val=1)
    X, y = indexable(X, column_or_1d(y))
    weight = None if sample_weight is None else validate_sample_weight(sample_weight, X)
    used = np.ones(len(y), dtype=bool) if weight is None else weight > 0
    classes, y_encoded = encode_labels(y[used])
    if len(classes) < 2:
        raise ValueError(f"at least two classes are needed, y has 1 class: {classes.tolist()}.")
    mass = np.bincount(y_encoded, weights=None if weight is None else weight[used])
    rng = check_random_state(random_state)
    fold_seed = int(rng.randint(2**31 - 1))
    seeds = [int(s) for s in sample_without_replacement(2**31 - 1, n_seeds, random_state=rng)]
    folds = _folds(cv, X, y, used, fold_seed)

    scorer = _Scorer(classes, mass, decide_by)
    tasks = [(fold, seed) for fold in range(len(folds)) for seed in seeds]
    results = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_fit_and_score)(
            distiller, X, y, weight, *folds[fold], seed, scorer, keep=seed == seeds[0]
        )
        for fold, seed in tasks
    )
    lines, kept = [], []
    for (fold, seed), (measured, models) in zip(tasks, results, strict=True):
        place = {"fold": fold, "seed": seed}
        lines += [{"model": name, **place, **measured[name]} for name in MODELS]
        if models is not None:
            kept.append((fold, models, lines[-len(MODELS) :]))
        if verbose:
            number = seeds.index(seed) + 1
            seconds = measured["distilled"]["fit_seconds"]
            print(
                f"[distillation_report] fold {fold + 1} of {len(folds)}, seed {number} of "
                f"{n_seeds}: distilled in {seconds:.1f} s"
            )
    # by now nothing else of ours runs
    for fold, models, own in kept:
        X_test = safe_indexing(X, folds[fold][1])
        for line in own:
            model = models[line["model"]]
            seconds = 1000 * model_latency(model, X_test, n_latency)
            line["latency_p50_ms"], line["latency_p99_ms"] = np.percentile(seconds, [50, 99])
            line["rows_per_second"] = model_throughput(model, X_test)
        if verbose:
            print(f"[distillation_report] fold {fold + 1} of {len(folds)}: speed measured")
    frame = pd.DataFrame(lines)
    settings = [name for name in _SETTINGS if name in frame]
    frame = frame[["model", "fold", "seed", *SCORES, *COSTS, "n_train", "n_test", *settings]]
    return frame.astype({"n_augmented": "Int64"}) if "n_augmented" in settings else frame


def _folds(cv, X, y, used, seed):
    """List of training and test rows, among those that are used."""
    cv = 5 if cv is None else cv
    if isinstance(cv, Integral) and not isinstance(cv, bool):
        rows = np.flatnonzero(used)
        splitter = StratifiedKFold(int(cv), shuffle=True, random_state=seed)
        return [(rows[train], rows[test]) for train, test in splitter.split(rows, y[rows])]
    folds = []
    for fold, (train, test) in enumerate(split_rows(cv, X, y, {})):
        train, test = train[used[train]], test[used[test]]
        if not (len(train) and len(test)):
            raise ValueError(
                f"fold {fold} of cv has {len(train)} training and {len(test)} test rows of "
                "positive weight: each needs one at least."
            )
        folds.append((train, test))
    return folds


def _fit_and_score(distiller, X, y, weight, train, test, seed, scorer, *, keep):
    """Return the measures of the three models on one fold and seed, and the models if kept."""
    model = clone(distiller).set_params(random_state=seed)
    student = model._get_student()
    weights = None if weight is None else weight[train]
    X_train, y_train = safe_indexing(X, train), y[train]
    hard_params = _hard_params(model, student, weights)
    seconds = {"teacher": np.nan}
    start = time.perf_counter()
    if weights is None:
        model.fit(X_train, y_train)
    else:
        model.fit(X_train, y_train, sample_weight=weights)
    seconds["distilled"] = time.perf_counter() - start
    student = _same_seeds(student, model.student_)
    start = time.perf_counter()
    student.fit(X_train, y_train, **hard_params)
    seconds["hard"] = time.perf_counter() - start

    models = {"teacher": model.teacher_, "hard": student, "distilled": model.without_teacher()}
    measured = scorer(
        models,
        safe_indexing(X, test),
        y[test],
        None if weight is None else weight[test],
        model.classes_,
    )
    for name, line in measured.items():
        line["bytes"] = model_bytes(models[name])
        line |= {"latency_p50_ms": np.nan, "latency_p99_ms": np.nan, "rows_per_second": np.nan}
        line |= {"fit_seconds": seconds[name], "n_train": len(train), "n_test": len(test)}
    measured["distilled"] |= _settings(model)
    return measured, models if keep else None


#: What a distilled model has chosen, as far as it says.
_SETTINGS = ("alpha", "temperature", "label_source", "n_augmented")


def _settings(model):
    """Fitted value of each setting; ``alpha`` is a parameter where fit chooses none."""
    found = {"alpha": getattr(model, "alpha_", model.alpha)}
    for name in _SETTINGS[1:]:
        value = getattr(model, f"{name}_", None)
        if value is not None:
            found[name] = value
    return found


def _hard_params(model, student, weights):
    """Sample weights as the student's own ``fit`` takes them."""
    if weights is None:
        return {}
    if routing_enabled():
        return route_fit(model, None, student, weights, {})["student"]
    # where there is no such parameter, the fit of the distilled model warns
    key = fit_parameter_key(student, "sample_weight")
    return {} if key is None else {key: weights}


def _same_seeds(student, fitted):
    """Clone of a student with the seeds that a distilled one got for those that are None."""
    student, seeds = clone(student), fitted.get_params()
    params = student.get_params()
    names = [name for name in params if name.split("__")[-1] == "random_state"]
    return student.set_params(**{name: seeds[name] for name in names if params[name] is None})


class _Scorer:
    """Scores of the models of one fold and seed.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Labels of all rows, sorted.
    mass : ndarray of shape (n_classes,)
        Weight of each in all rows.
    decide_by : str or None
        A score that the students must have.
    """

    def __init__(self, classes, mass, decide_by):
        self.classes, self.decide_by = classes, decide_by
        # average precision of two classes: of the rarer, the second where they are even
        self.rarer = classes[1] if mass[1] <= mass[0] else classes[0]

    def __call__(self, models, X, y, weight, known):
        """Return a dict of scores for each model; ``known``: classes of the distilled one."""
        classes = np.union1d(self.classes, known)
        labels = {name: np.asarray(model.predict(X)) for name, model in models.items()}
        proba = {name: model_probabilities(model, X, classes) for name, model in models.items()}
        for name in ("hard", "distilled"):
            needs_proba = self.decide_by in ("log_loss", "roc_auc", "average_precision")
            if needs_proba and proba[name] is None:
                raise ValueError(
                    f"decide_by={self.decide_by!r} needs a student with predict_proba, which "
                    f"{type(last_step(models['hard'])).__name__} has not: set "
                    "decide_by='accuracy' or 'balanced_accuracy'."
                )
        return {
            name: {
                **self._of_labels(y, labels[name], weight),
                **self._of_proba(y, proba[name], classes, weight),
                **_likeness(labels["teacher"], proba["teacher"], labels[name], proba[name], weight),
            }
            for name in models
        }

    @staticmethod
    def _of_labels(y, predicted, weight):
        correct = (predicted == y).astype(float)
        weight = np.ones(len(y)) if weight is None else weight
        # scikit-learn's warns where a class is predicted that the fold lacks
        recalls = [np.average(correct[y == c], weights=weight[y == c]) for c in np.unique(y)]
        return {
            "accuracy": float(np.average(correct, weights=weight)),
            "balanced_accuracy": float(np.mean(recalls)),
        }

    def _of_proba(self, y, P, classes, weight):
        names = ("log_loss", "roc_auc", "average_precision", "calibration_error")
        if P is None:
            return dict.fromkeys(names, np.nan)
        loss = log_loss(y, P, labels=classes, sample_weight=weight)
        error = expected_calibration_error(y, P, labels=classes)
        area = precision = np.nan
        if len(np.unique(y)) == len(self.classes):
            # of two classes one says all, the other's column having lost digits
            binary = len(self.classes) == 2
            place = np.searchsorted(classes, self.classes)
            columns = {c: P[:, k] for c, k in zip(self.classes, place, strict=True)}
            area = _macro(
                roc_auc_score, y, columns, self.classes[1:] if binary else self.classes, weight
            )
            rare = [self.rarer] if binary else self.classes
            precision = _macro(average_precision_score, y, columns, rare, weight)
        return dict(zip(names, (float(loss), area, precision, error), strict=True))


def _macro(score, y, columns, labels, weight):
    """Mean over labels of a score of one of them against the rest."""
    scores = [score(y == label, columns[label], sample_weight=weight) for label in labels]
    return float(np.mean(scores))


def _likeness(teacher_labels, teacher_proba, labels, proba, weight):
    """Agreement and fidelity with the teacher."""
    fidelity = np.nan
    if teacher_proba is not None and proba is not None:
        fidelity = fidelity_score(teacher_proba, proba, sample_weight=weight)
    agreement = agreement_score(teacher_labels, labels, sample_weight=weight)
    return {"agreement": agreement, "fidelity": fidelity}
