"""One fit of DistilledClassifier: rows are labelled, labels are chosen, a student is taught."""

import time
import warnings
from contextlib import nullcontext

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state, indexable

from sklearn_kd._answers import mix
from sklearn_kd._choice import choose, is_batched, settings_to_try
from sklearn_kd._lesson import Lesson, Rows
from sklearn_kd._meta import Subtask, route_fit, seeded, warn_if_sliceable
from sklearn_kd._row_expansion import StudentFit, student_mode
from sklearn_kd._student import row_labeler
from sklearn_kd._teacher_labels import merge_classes, user_folds
from sklearn_kd._transfer_rows import make_transfer_rows
from sklearn_kd._validation import (
    _check_method_params,
    _check_y,
    _num_samples,
    _safe_indexing,
    check_row_order,
    check_soft_targets,
    encode_labels,
    fit_parameter_key,
    last_step,
    validate_sample_weight,
)
from sklearn_kd.exceptions import (
    InSampleLabelsWarning,
    MissingClassWarning,
    NoGainWarning,
    UntestedRowsWarning,
)

__all__ = ["distill"]

#: Transfer rows that augmentation="auto" tries, in multiples of the rows, and how many
#: n_augmented="auto" makes otherwise. A student that is no network of ours tries the last.
COUNTS, COUNT = (1, 4), 4
#: Columns up to which "auto" makes transfer rows: images are no tables.
MOST_COLUMNS = 256


def distill(est, ctx, X, y, sample_weight, soft_targets, X_unlabeled, params):
    """Return the attributes of a fitted ``est``, a DistilledClassifier with callback context."""
    needs_teacher = (
        soft_targets is None or X_unlabeled is not None or est.augmentation not in (None, "auto")
    )
    rng = check_random_state(est.random_state)
    fold_seed, choice_seed, row_seed = (int(s) for s in rng.randint(2**31 - 1, size=3))
    teacher, student = est._get_teacher() if needs_teacher else None, est._get_student()
    if est.random_state is not None:
        teacher = None if teacher is None else seeded(teacher, rng)
        student = seeded(student, rng)
    mode = student_mode(student, est.alpha, est.temperature)
    _check_options(est, student)
    X_given = X
    check_row_order(soft_targets, X, y)
    y = _check_y(y, estimator=est)
    warn_if_sliceable(X_unlabeled, len(y))
    frozen = isinstance(last_step(teacher), FrozenEstimator)
    rows, classes = _check_rows(
        est, X, y, sample_weight, soft_targets, params, None if frozen else teacher, student
    )
    own_classes = classes
    if frozen:
        classes = merge_classes(classes, last_step(teacher))
    if len(classes) < 2:
        raise ValueError(f"at least two classes are needed, y has 1 class: {classes.tolist()}.")

    def augment(X, n_rows, weight):
        if callable(est.augmentation):
            made = est.augmentation(X, n_rows, row_seed)
            return made, np.nan
        method = "gibbs" if est.augmentation == "auto" else est.augmentation
        return make_transfer_rows(
            X,
            n_rows,
            method=method,
            sample_weight=weight,
            random_state=row_seed,
            return_copies=True,
        )

    def make_lesson(rows, n_augmented, *, needs_labels=rows.given is None, propagate=_nothing):
        return Lesson(
            rows,
            teacher,
            own_classes,
            X_unlabeled=X_unlabeled,
            augment=augment,
            n_augmented=n_augmented,
            class_weight=est.class_weight,
            cv=est.cv,
            calibrate=est.calibration is not None,
            needs_labels=needs_labels,
            n_jobs=est.n_jobs,
            seed=fold_seed,
            propagate=propagate,
        )

    settings, counts = _options(est, mode, rows, teacher, student)
    start = time.perf_counter()
    with warnings.catch_warnings():
        # the fit on all rows says these, if they concern it
        for category in (InSampleLabelsWarning, MissingClassWarning, UntestedRowsWarning):
            warnings.simplefilter("ignore", category)
        choice = choose(
            student,
            mode,
            rows,
            make_lesson,
            settings,
            counts,
            seed=choice_seed,
            n_jobs=est.n_jobs,
        )
    setting = choice.setting
    if choice.candidates is not None:
        est._say(f"chose among {len(choice.candidates['alpha'])} ways to teach", start)

    start = time.perf_counter()
    task = Subtask(ctx, "fit-teacher", est, rows.X, rows.y)
    if teacher is None:
        with task.begin(None):
            pass
    lesson = make_lesson(
        rows,
        setting.n_augmented,
        # in-sample labels need none, but for the calibration of those of transfer rows
        needs_labels=rows.given is None and (setting.source == "own" or setting.n_augmented > 0),
        propagate=task.begin,
    )
    classes = lesson.classes
    material = lesson.material(setting)
    if est.augmented_labels == "recomputed":
        material.params["labeler"] = row_labeler(lesson.labels, X_given, student)
    task.end()
    source = lesson.source if setting.source == "own" else setting.source
    est._say(f"labels of {len(material.codes)} rows, source {source!r}", start)
    if source == "hard":
        _warn_no_gain(choice.candidates)

    start = time.perf_counter()
    task = Subtask(ctx, "fit-student", est, material.X, material.y)
    fitted = {
        "student_": StudentFit(student, mode, classes).fit(material, propagate=task.begin),
        "classes_": classes,
        "alpha_": float(setting.alpha),
        "temperature_": float(setting.temperature),
        "label_source_": source,
        "n_augmented_": _num_samples(lesson.transfer_rows[0]) if setting.n_augmented else 0,
        "copy_share_": lesson.transfer_rows[1] if setting.n_augmented else np.nan,
        "candidates_": choice.candidates,
        # what the probabilities of the student itself are tempered by
        "_student_temperature": float(setting.temperature) if mode == "expansion" else 1.0,
        "_log_prior": _prior_shift(est, material, lesson),
    }
    if lesson.labels is not None:
        fitted["teacher_"] = lesson.labels.teacher
        fitted["label_temperature_"] = lesson.labels.temperature or 1.0
    task.end(fitted)
    est._say(f"student {type(last_step(student)).__name__}, T = {setting.temperature:g}", start)
    return fitted


def _nothing(_):
    return nullcontext()


def _check_rows(est, X, y, sample_weight, soft_targets, params, teacher, student):
    """Return rows of positive weight (`Rows`) and the classes of ``y`` and ``soft_targets``."""
    X, y = indexable(X, y)
    n_given = len(y)
    given = classes = None
    if soft_targets is not None:
        given, classes = check_soft_targets(soft_targets, y)
    kept = np.arange(n_given)
    if sample_weight is not None:
        sample_weight = validate_sample_weight(sample_weight, X)
        kept = np.flatnonzero(sample_weight)
    if len(kept) < n_given:
        # weight zero is absence, for whoever ignores weights and for the folds too
        params = _check_method_params(X, params=params, indices=kept)
        X, y, sample_weight = _safe_indexing(X, kept), y[kept], sample_weight[kept]
        given = None if given is None else given[kept]
    classes, _ = encode_labels(y, classes)
    routed = route_fit(est, teacher, student, sample_weight, params)
    split_params, folds = routed.pop("splitter"), None
    if not isinstance(est.cv, str):
        folds = user_folds(est.cv, X, y, kept, n_given, split_params)
    return Rows(X, y, sample_weight, given, routed, folds), classes


def _check_options(est, student):
    """Refuse parameters that do not go together."""
    if est.class_weight is not None:
        if est.temperature not in (1, "auto"):
            raise ValueError(
                f"class_weight needs temperature=1, got {est.temperature!r}: at another, class "
                "weights of the two parts of the loss are no weights of rows."
            )
        if fit_parameter_key(student, "sample_weight") is None:
            raise TypeError(
                "class_weight needs a student whose fit takes sample_weight; "
                f"{type(last_step(student)).__name__} does not."
            )
    if est.class_prior is not None and not hasattr(student, "predict_proba"):
        raise TypeError(
            "class_prior corrects probabilities and needs a student with predict_proba; "
            f"{type(last_step(student)).__name__} has none."
        )


def _options(est, mode, rows, teacher, student):
    """Return settings to try, and the numbers of transfer rows to try with the best of them."""
    own_labels = isinstance(est.cv, str) and est.cv == "auto" and rows.given is None
    sources = ["own"]
    if est.alpha == "auto" and own_labels and not isinstance(last_step(teacher), FrozenEstimator):
        sources.append("in-sample")
    temperature = est.temperature
    if est.class_weight is not None or (temperature == "auto" and mode == "mixed"):
        temperature = 1.0
    settings = settings_to_try(mode, est.alpha, temperature, sources, is_batched(student))
    n_augmented = est.n_augmented
    if est.augmentation == "auto":
        can_be_made = teacher is not None and _is_table(rows.X, MOST_COLUMNS)
        tried = COUNTS if is_batched(student) else COUNTS[-1:]
        counts = [n_augmented] if n_augmented != "auto" else [k * len(rows) for k in tried]
        return settings, counts if can_be_made else []
    if est.augmentation is not None:
        n_augmented = COUNT * len(rows) if n_augmented == "auto" else n_augmented
        settings = [
            s if s.source == "hard" else s._replace(n_augmented=n_augmented) for s in settings
        ]
    return settings, []


def _is_table(X, most_columns):
    """Whether X is what `make_transfer_rows` takes, and not too wide."""
    is_taken = hasattr(X, "iloc") or (isinstance(X, np.ndarray) and X.ndim == 2)
    return is_taken and X.shape[1] <= most_columns


def _warn_no_gain(candidates):
    last = candidates["share_of_epochs"] == candidates["share_of_epochs"][-1]
    best = np.nanargmax(np.where(last & ~candidates["chosen"], candidates["gain"], -np.inf))

    def gained(name):
        return f"{candidates[name][best]:+.2g} +- {candidates[f'{name}_error'][best]:.1g}"

    warnings.warn(
        "the teacher's labels did not pay on held-out rows: the best of them gained "
        f"{gained('gain')} in loss and {gained('accuracy_gain')} in accuracy over hard labels, on "
        "which the student is therefore fitted. Set alpha to a number to distil all the same.",
        NoGainWarning,
        stacklevel=5,
    )


def _prior_shift(est, material, lesson):
    """Logarithms of what the probabilities of each class are multiplied by, or None."""
    if est.class_prior is None:
        return None
    n_classes, rows = len(lesson.classes), lesson.rows
    if isinstance(est.class_prior, str):
        wanted = np.ones(n_classes)
        if est.class_prior == "training":
            wanted = np.bincount(lesson.codes, weights=rows.weight, minlength=n_classes)
    else:
        wanted = np.asarray(est.class_prior, dtype=np.float64)
        if wanted.shape != (n_classes,) or not (wanted >= 0).all() or not wanted.sum() > 0:
            raise ValueError(
                f"class_prior must be {n_classes} non-negative numbers, one for each class of "
                f"{lesson.classes.tolist()}, got {est.class_prior!r}."
            )
    weight = material.params.get("sample_weight", np.ones(len(material.codes)))
    learnt = weight @ mix(material.Q, material.codes, material.alpha)
    with np.errstate(divide="ignore"):
        shift = np.log(wanted / wanted.sum()) - np.log(learnt / learnt.sum())
    return np.where(learnt > 0, shift, 0.0)
