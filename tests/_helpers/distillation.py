"""Students, teachers, data and naive formulas for tests of DistilledClassifier."""

from functools import partial

import numpy as np
from scipy.special import expit, log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from sklearn_kd import DistilledClassifier
from sklearn_kd._distillation.classification import ClassificationTask
from sklearn_kd._distillation.teacher_labels import LabelingSpec, label_rows
from sklearn_kd._distillation.training_set import TrainingRows
from sklearn_kd._utils.folds import user_folds
from tests._helpers.data import blobs
from tests._helpers.estimators import SoftmaxStudent

#: A student of the teacher's labels alone, as they are, which most of these tests are about.
distil = partial(
    DistilledClassifier, alpha=1.0, temperature=1.0, calibration=None, augmentation=None
)


class Interrupted(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        raise KeyboardInterrupt


def three_classes(n=150, seed=0, names=None):
    X, y = make_blobs(n, centers=3, cluster_std=2.5, random_state=seed)
    return X, y if names is None else np.array(names)[y]


def free_logistic():
    """Logistic regression without a penalty, converged."""
    return LogisticRegression(C=np.inf, solver="newton-cg", tol=1e-10, max_iter=1000)


def labels_of(teacher, X, y, cv="auto", seed=0, *, folds=None, **changes):
    """Return the `TeacherLabels` of the rows."""
    y = np.asarray(y)
    if folds is None and not isinstance(cv, str):
        folds = user_folds(cv, X, y, np.arange(len(y)), len(y), {})
    params = {"teacher": changes.pop("fit_params", {}), "student": {}}
    rows = TrainingRows(X, y, changes.pop("sample_weight", None), None, params, folds)
    options = {name: changes.pop(name) for name in ("needs_labels",) if name in changes}
    spec = LabelingSpec(teacher, ClassificationTask(np.unique(y)), cv=cv, seed=seed, **changes)
    return label_rows(spec, rows, **options)


class Recording(SoftmaxStudent):
    """Native student that keeps all that it was fitted on."""

    def fit(self, X, y, sample_weight=None, soft_targets=None):
        super().fit(X, y, sample_weight, soft_targets)
        self.rows_, self.labels_, self.weight_ = X, np.asarray(y), sample_weight
        return self


def fixed(teacher, student, **params):
    """Return a classifier without "auto" parameters."""
    params = {"alpha": 1.0, "temperature": 1.0, "augmentation": None, "random_state": 0, **params}
    return DistilledClassifier(teacher, student, **params)


def oracle_data(n, coef=(2.0, -1.0), seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, len(coef)))
    return X, (rng.random(n) < expit(X @ np.array(coef))).astype(int)


def frozen_teacher(n_classes=3):
    """A teacher of other rows of the same blobs."""
    X, y = blobs(300, n_classes)
    return FrozenEstimator(LogisticRegression(C=0.1).fit(X, y))


def sharpen_by_hand(P, T):
    """Loops; zeros where no row has the class."""
    S = np.zeros_like(P)
    for i, p in enumerate(P):
        for k in range(P.shape[1]):
            if P[:, k].max() > 0:
                S[i, k] = (p[k] + 0.01) ** (1 / T)
        S[i] /= S[i].sum()
    return S


def brute_temperature(P, y_encoded, w=None):
    """Least of `smoothed_loss` on a grid, then on a finer one."""
    w = np.ones(len(P)) if w is None else w
    K = P.shape[1]
    mass = np.array([w[y_encoded == k].sum() for k in range(K)])[y_encoded]
    target = np.where(
        np.eye(K)[y_encoded] == 1,
        ((mass + 1) / (mass + 2))[:, None],
        (1 / (mass + 2) / (K - 1))[:, None],
    )
    z = np.log(P + 0.01)
    grid = np.geomspace(0.05, 20, 401)
    for _ in range(4):
        losses = [-w @ (target * log_softmax(z / T, axis=1)).sum(axis=1) for T in grid]
        best = int(np.argmin(losses))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        grid = np.linspace(low, high, 41)
    return grid[20]


def converged(**params):
    return LogisticRegression(tol=1e-10, max_iter=5000, **params)


class GroupRecorder(SoftmaxStudent):
    """Native student that takes groups and validation rows, and logs all that fit was given."""

    LOG = []

    def __init__(
        self, alpha=1.0, temperature=1.0, l2=1.0, early_stopping=True, validation_fraction=0.1
    ):
        super().__init__(alpha=alpha, temperature=temperature, l2=l2)
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction

    def fit(
        self,
        X,
        y,
        sample_weight=None,
        soft_targets=None,
        *,
        groups=None,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
    ):
        self.LOG.append(
            {
                "X": np.asarray(X),
                "y": np.asarray(y),
                "soft": np.asarray(soft_targets),
                "alpha": self.alpha,
                "groups": groups,
                "X_val": X_val,
                "y_val": y_val,
                "sample_weight_val": sample_weight_val,
            }
        )
        return super().fit(X, y, sample_weight, soft_targets)


class GroupOracle(ClassifierMixin, BaseEstimator):
    """Teacher that knows the labels of the groups it has seen, and nothing of others.

    The first column of X is the number of the group. Its labels "of its own" are those of a teacher
    that has seen the group of each row.
    """

    def __init__(self, own=None, bootstrap=True, oob_score=False):
        self.own = own
        self.bootstrap = bootstrap
        self.oob_score = oob_score

    def fit(self, X, y):
        X = np.asarray(X, dtype=float)
        self.classes_ = np.unique(y)
        self.seen_ = dict(zip(X[:, 0].tolist(), np.searchsorted(self.classes_, y), strict=True))
        proba = self.predict_proba(X)
        if self.own == "loo":
            self.loo_proba_ = proba
        if self.own == "oob":
            self.oob_decision_function_ = proba
        return self

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def predict_proba(self, X):
        K = len(self.classes_)
        P = np.full((len(X), K), 1 / K)
        for row, group in enumerate(np.asarray(X, dtype=float)[:, 0].tolist()):
            if group in self.seen_:
                P[row] = np.eye(K)[self.seen_[group]]
        return P


def visits(n_groups=24, n_visits=6, n_classes=2, seed=0):
    """Rows near the center of their group, which is in the first column, labels and groups."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), n_visits)
    centers = 10 * rng.normal(size=(n_groups, 3))
    X = np.column_stack(
        [groups + 100.0, centers[groups] + 0.01 * rng.normal(size=(len(groups), 3))]
    )
    labels = rng.permutation(np.arange(n_groups) % n_classes)
    return X, labels[groups], groups
