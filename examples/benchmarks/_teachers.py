"""Teachers of the benchmarks, which fit once for the same rows and whose time can be subtracted."""

import copy
import functools
import time

import joblib
import pandas as pd
from sklearn.base import RegressorMixin
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.pipeline import make_pipeline

from sklearn_kd import KernelTeacher

TEACHERS = ("forest", "boosting", "kernel", "stack")
#: Fitted attributes by what they were fitted on: those of earlier splits are forgotten.
FITS, MOST_FITS = {}, 40
#: Levels of a column that HistGradientBoosting takes.
MOST_LEVELS = 255


class Clock:
    """Seconds that teachers have spent in ``fit`` and in predictions."""

    seconds = 0.0


def make_teacher(name, n_trees, seed, rows="encoded"):
    """Return an unfitted teacher by name, for encoded arrays or raw frames.

    On raw frames, forests and stacks have a `TableEncoder` in front, which leaves numbers linear.
    Boosting and LightGBM, which is optional, need text columns as categories there, see
    `categorical`.
    """
    forest = RandomForestClassifier(n_trees, n_jobs=1, random_state=seed)
    boosting = HistGradientBoostingClassifier(random_state=seed)
    kernel = KernelTeacher(random_state=seed)
    if name == "stack":
        parts = [("forest", forest), ("boosting", boosting), ("kernel", kernel)]
        teacher = remembering(StackingClassifier)(parts, cv=3)
    elif name == "lightgbm":
        from lightgbm import LGBMClassifier

        teacher = remembering(LGBMClassifier)(n_jobs=1, verbose=-1, random_state=seed)
    else:
        teacher = {"forest": forest, "boosting": boosting, "kernel": kernel}[name]
        teacher = remembering(type(teacher))(**teacher.get_params(deep=False))
    if rows == "raw" and name in ("forest", "stack"):
        from sklearn_kd import TableEncoder

        return make_pipeline(TableEncoder(n_bins=1), teacher)
    return teacher


@functools.cache
def remembering(kind):
    """Return a subclass of a teacher that fits once for the same rows: students share it."""

    def fit(self, X, y, sample_weight=None):
        start = time.perf_counter()
        key = joblib.hash((kind.__name__, self.get_params(), X, y, sample_weight))
        if key not in FITS:
            if len(FITS) > MOST_FITS:
                FITS.clear()
            weights = {} if sample_weight is None else {"sample_weight": sample_weight}
            FITS[key] = vars(kind(**self.get_params(deep=False)).fit(X, y, **weights))
        vars(self).update(FITS[key])
        Clock.seconds += time.perf_counter() - start
        return self

    answer = "predict" if issubclass(kind, RegressorMixin) else "predict_proba"

    def predict(self, X):
        start = time.perf_counter()
        values = getattr(kind, answer)(self, X)
        Clock.seconds += time.perf_counter() - start
        return values

    return type(kind.__name__, (kind,), {"fit": fit, answer: predict})


def ordinary(teacher):
    """Return a fitted teacher as an instance of its own class, which does not remember."""
    if hasattr(teacher, "steps"):
        last = ordinary(teacher.steps[-1][1])
        teacher = copy.copy(teacher)
        teacher.steps = [*teacher.steps[:-1], (teacher.steps[-1][0], last)]
        return teacher
    teacher = copy.copy(teacher)
    teacher.__class__ = type(teacher).__base__
    return teacher


def categorical(X_train, *others):
    """Return frames that HistGradientBoosting takes: text columns are categories.

    They are those of the training rows. Of a column with more levels than it takes, the others
    count as missing, and a column without a number becomes constant.
    """
    text = [c for c in X_train.columns if not pd.api.types.is_numeric_dtype(X_train[c])]
    kinds = {
        column: pd.CategoricalDtype(sorted(X_train[column].value_counts().index[:MOST_LEVELS]))
        for column in text
    }
    constant = dict.fromkeys(X_train.columns[X_train.isna().all()].difference(text), 0.0)
    return [X.astype(kinds).assign(**constant) for X in (X_train, *others)]
