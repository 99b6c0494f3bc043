"""Record what every public estimator computes, to compare two versions of the package bit by bit.

    python tests/_helpers/behavior_record.py write FILE [--only REGEX]
    python tests/_helpers/behavior_record.py compare FILE_A FILE_B [--rtol RTOL] [--ignore REGEX]
    python tests/_helpers/behavior_record.py list

``write`` fits the configurations below with the ``sklearn_kd`` that the interpreter imports, and
stores predictions, fitted public attributes, warnings and errors. ``compare`` exits with status 1
if anything differs. Two records compare in equal bits only if they were written on one machine with
the same versions of NumPy, SciPy, scikit-learn and torch. Only public names of ``sklearn_kd`` are
used here, so that the script runs with any arrangement of the private modules.
"""

import argparse
import contextlib
import dataclasses
import functools
import gzip
import hashlib
import inspect
import io
import os
import pickle
import re
import sys
import tempfile
import time
import traceback
import warnings
from numbers import Number
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import scipy.sparse as sp
import sklearn
import torch
from scipy.special import softmax
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.callback import ScoringMonitor
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, make_classification
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, ShuffleSplit, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.validation import check_is_fitted, validate_data
from skorch.callbacks import EpochScoring
from threadpoolctl import threadpool_limits
from torch import nn

import sklearn_kd
from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    KernelTeacher,
    ModuleClassifier,
    SelfDistillClassifier,
    TwoLayerPGDClassifier,
    datasets,
    inspection,
    metrics,
    modules,
    theory,
)

# ---- From objects to leaves: a flat dict of paths to arrays, numbers and strings

#: Keys, columns and attributes that are measured times or sizes of pickles.
MEASURED = re.compile(
    r"(mean|std|split\d+)_(fit|score)_time|refit_time_?|fit_seconds|rows_per_second"
    r"|latency_.*|bytes|bytes_ratio|score_time|fit_time"
)
#: Parameters without a meaning for results.
UNIMPORTANT = {"checkpoint_path", "n_jobs", "verbose"}
DEEPEST = 24


def is_ours(cls):
    return (cls.__module__ or "").split(".")[0] == "sklearn_kd"


def public_name(cls):
    """Name of a class, one word for all private classes, which may be renamed."""
    if is_ours(cls):
        folders = (sklearn_kd, datasets, inspection, metrics, modules, theory)
        is_public = any(getattr(folder, cls.__name__, None) is cls for folder in folders)
        return cls.__name__ if is_public else "<private>"
    return cls.__name__


def digest(content):
    return hashlib.sha256(content).hexdigest()[:16]


def is_plain(value):
    return value is None or isinstance(value, str | bytes | bool | Number | np.generic)


def leaves(value, path, out, depth=0, seen=()):
    """Write the parts of a value to the dict ``out``."""

    def within(part, name):
        leaves(part, f"{path}{name}", out, depth + 1, (*seen, id(value)))

    if is_plain(value):
        out[path] = value
    elif value is pd.NA or isinstance(value, slice | pd.Timestamp):
        out[path] = repr(value)
    elif depth > DEEPEST or id(value) in seen:
        out[path] = f"<{public_name(type(value))}>"
    elif isinstance(value, np.random.RandomState):
        state = value.get_state()
        out[path] = digest(state[1].tobytes() + repr(state[2:]).encode())
    elif isinstance(value, torch.Tensor):
        within(value.detach().cpu().numpy(), "")
    elif isinstance(value, np.ma.MaskedArray):
        within(np.ma.getmaskarray(value), ".mask")
        within([None if m else v for v, m in zip(value.data, out[f"{path}.mask"], strict=True)], "")
    elif isinstance(value, np.ndarray):
        if value.dtype.names:  # records have padding bytes
            for name in value.dtype.names:
                within(np.ascontiguousarray(value[name]), f".{name}")
        elif value.dtype != object:
            out[path] = np.array(value)
        elif all(is_plain(each) for each in value.ravel()):
            texts = [f"{type(each).__name__} {each!r}" for each in value.ravel()]
            out[path] = np.array(texts, dtype=str).reshape(value.shape)
        else:
            within(list(value.ravel()), "")
    elif sp.issparse(value):
        within(value.toarray(), ".toarray()")
    elif isinstance(value, pd.DataFrame):
        within(list(value.columns), ".columns")
        within(value.index.to_numpy(), ".index")
        for column in value.columns:
            if not MEASURED.fullmatch(str(column)):
                within(value[column], f"[{column!r}]")
    elif isinstance(value, pd.Series):
        out[f"{path}.dtype"] = str(value.dtype)
        if isinstance(value.dtype, pd.CategoricalDtype):
            within(list(value.cat.categories), ".categories")
        within(value.to_numpy(dtype=object if value.hasnans else None), "")
    elif isinstance(value, pd.Index):
        within(value.to_numpy(), "")
    elif isinstance(value, dict):
        out[f"{path}.keys"] = repr([key for key in map(str, value) if not MEASURED.fullmatch(key)])
        for key, each in value.items():
            if not MEASURED.fullmatch(str(key)):
                within(each, f"[{key!r}]")
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for name in value._fields:
            within(getattr(value, name), f".{name}")
    elif isinstance(value, list | tuple | range):
        kinds = {type(each) for each in value}
        if len(kinds) == 1 and issubclass(next(iter(kinds)), int | float | np.number):
            out[f"{path}[]"] = np.array(value)
            out[f"{path}[].type"] = next(iter(kinds)).__name__
        else:
            out[f"{path}.len"] = len(value)
            for number, each in enumerate(value):
                within(each, f"[{number}]")
    elif isinstance(value, set | frozenset):
        within(sorted(map(repr, value)), "")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            if not MEASURED.fullmatch(field.name) and field.name != "cost":
                within(getattr(value, field.name), f".{field.name}")
    elif isinstance(value, BaseEstimator):
        out[f"{path}.class"] = public_name(type(value))
        params = value.get_params(deep=False)
        for name, each in params.items():
            if name not in UNIMPORTANT:
                within(each, f".params.{name}")
        for name in attribute_names(value):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    each = getattr(value, name)
            except AttributeError:
                continue
            within(each, f".{name}")
    elif type(value).__name__ == "Tree":  # of scikit-learn
        within(value.__getstate__(), "")
    elif inspect.isclass(value):
        out[path] = public_name(value)
    elif inspect.isroutine(value):
        out[path] = f"<function {value.__name__}>"
    elif hasattr(value, "__dict__") and is_ours(type(value)):
        out[f"{path}.class"] = public_name(type(value))
        for name, each in vars(value).items():
            if not name.startswith("_") and not MEASURED.fullmatch(name):
                within(each, f".{name}")
    else:
        out[path] = f"<{public_name(type(value))}>"


def attribute_names(estimator):
    """Return the fitted public attributes, properties of the package's classes among them."""
    names = set(vars(estimator))
    if is_ours(type(estimator)):
        for name in dir(type(estimator)):
            if isinstance(inspect.getattr_static(type(estimator), name), property):
                names.add(name)
    return sorted(
        name
        for name in names
        if name.endswith("_") and not name.startswith("_") and not MEASURED.fullmatch(name)
    )


class Outcome:
    """What a configuration has computed, flat."""

    def __init__(self):
        self.values = {}

    def add(self, /, **values):
        for name, value in values.items():
            leaves(value, name, self.values)
        return self

    def call(self, name, function, *args, **kwargs):
        """Add what a function returns, or its error."""
        try:
            value = function(*args, **kwargs)
        except Exception as error:
            value = f"{type(error).__name__}: {error}"
        return self.add(**{name: value})

    def predictions(self, model, rows, prefix=""):
        for method in ("predict", "predict_proba", "decision_function", "predict_log_proba"):
            if hasattr(model, method):
                for name, X in rows.items():
                    self.call(f"{prefix}{method}({name})", getattr(model, method), X)
        return self

    def fit(self, model, data, name="model", **fit_params):
        """Fit to the training rows and add predictions and attributes; return the model.

        The error of a fit that is one of several is recorded under its name.
        """
        try:
            model.fit(data.X, data.y, **fit_params)
        except Exception as error:
            if name == "model":
                raise
            self.add(**{f"{name}.error": f"{type(error).__name__}: {error}"})
            return model
        self.model(model, data, name)
        return model

    def model(self, model, data, name="model"):
        rows = {"held": data.held, "training": data.X}
        self.predictions(model, rows, "" if name == "model" else f"{name}.")
        self.add(**{name: model})
        for part in ("teacher_", "student_", "estimator_"):
            if isinstance(model, BaseEstimator) and hasattr(model, part) and is_ours(type(model)):
                fitted = getattr(model, part)
                self.predictions(fitted, {"held": data.held}, f"{name}.{part}.")
        return self


# ---- Data


@dataclasses.dataclass(frozen=True)
class Data:
    X: object
    y: object
    held: object
    held_y: object


def parted(X, y, n_train, n_held, seed=0):
    """Shuffle and part rows into training rows and held ones."""
    order = np.random.RandomState(seed).permutation(len(y))
    a, b = order[:n_train], order[n_train : n_train + n_held]
    if hasattr(X, "iloc"):
        a_rows, b_rows = X.iloc[a].reset_index(drop=True), X.iloc[b].reset_index(drop=True)
        return Data(a_rows, y[a], b_rows, y[b])
    return Data(X[a], y[a], X[b], y[b])


def iris(n_train=100):
    X, y = load_iris(return_X_y=True)
    return parted(X, y, n_train, 50)


def cancer(n_train=150):
    X, y = load_breast_cancer(return_X_y=True)
    return parted(X, y, n_train, 80)


def digits(n_train=250, n_class=10, n_held=80):
    X, y = load_digits(n_class=n_class, return_X_y=True)
    return parted(X, y, n_train, n_held)


def three(n_train=150, seed=0, flip=0.05):
    """Three classes with names, two columns that repeat others."""
    X, y = make_classification(
        n_train + 60, 8, n_informative=4, n_classes=3, flip_y=flip, random_state=seed
    )
    return parted(X, np.array(["ash", "birch", "cedar"])[y], n_train, 60)


def two(n_train=160, seed=0, flip=0.1):
    X, y = make_classification(n_train + 60, 6, n_informative=4, flip_y=flip, random_state=seed)
    return parted(X, y, n_train, 60)


def mixed(n_train=160, missing=True, seed=0):
    """Frame with numbers, integers, categories, booleans and missing values."""
    rng = np.random.RandomState(seed)
    n = n_train + 60
    size, count = rng.normal(size=n), rng.poisson(3, n)
    color = np.array(["red", "green", "blue"])[rng.randint(3, size=n)].astype(object)
    shape = pd.Categorical(np.array(["flat", "round"])[rng.randint(2, size=n)])
    score = size + 0.4 * count * (color == "red") - (shape == "round") + 0.5 * rng.normal(size=n)
    y = np.where(score > 0.2, "yes", "no")
    if missing:
        size[rng.uniform(size=n) < 0.08] = np.nan
        color[rng.uniform(size=n) < 0.08] = None
    frame = pd.DataFrame({"size": size, "count": count, "color": color, "shape": shape})
    frame["flag"] = rng.uniform(size=n) < 0.3
    return parted(frame, y, n_train, 60)


def encoded(last):
    """Pipeline from the mixed frame to a classifier."""
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer(
        (numbers, ["size", "count"]), (encoder, ["color", "shape"]), remainder="drop"
    )
    return make_pipeline(columns, last)


def probabilities(y, n_classes, seed=0, sharpness=2.0):
    """Soft labels that mostly agree with y, which has codes."""
    noise = np.random.RandomState(seed).normal(size=(len(y), n_classes))
    return softmax(noise + sharpness * np.eye(n_classes)[y], axis=1)


def weights_of(n, zeros=False):
    weights = np.linspace(0.3, 2.5, n)
    if zeros:
        weights[::6] = 0.0
    return weights


# ---- Estimators and functions that configurations use


class SoftmaxStudent(ClassifierMixin, BaseEstimator):
    """Softmax regression on soft targets by a fixed number of gradient steps."""

    def __init__(self, alpha=1.0, temperature=1.0, n_steps=150):
        self.alpha = alpha
        self.temperature = temperature
        self.n_steps = n_steps

    def fit(self, X, y, sample_weight=None, soft_targets=None):
        X, y = validate_data(self, X, y, dtype=np.float64)
        self.classes_, codes = np.unique(y, return_inverse=True)
        targets = np.eye(len(self.classes_))[codes]
        alpha = 0.0 if soft_targets is None else self.alpha
        if hasattr(soft_targets, "columns"):
            self.classes_ = np.asarray(soft_targets.columns)
            targets = np.eye(len(self.classes_))[np.searchsorted(self.classes_, y)]
            soft_targets = soft_targets.to_numpy()
        soft = targets if soft_targets is None else np.asarray(soft_targets)
        T = self.temperature
        with np.errstate(divide="ignore"):
            soft = softmax(np.log(soft) / T, axis=1)
        w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
        w = (w / w.sum())[:, None]
        A = np.column_stack([X, np.ones(len(X))])
        W = np.zeros((A.shape[1], len(self.classes_)))
        size = 1.0 / max(1.0, (w * A**2).sum())
        for _ in range(self.n_steps):
            F = A @ W
            residual = alpha * T * (softmax(F / T, axis=1) - soft)
            residual += (1 - alpha) * (softmax(F, axis=1) - targets)
            W -= size * A.T @ (w * residual)
        self.coef_ = W
        return self

    def predict_proba(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return softmax(np.column_stack([X, np.ones(len(X))]) @ self.coef_, axis=1)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Network(nn.Module):
    """One hidden layer with dropout."""

    def __init__(self, input_shape, n_outputs, width=16, dropout=0.2):
        super().__init__()
        self.hidden = nn.Linear(int(np.prod(input_shape)), width)
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, n_outputs)

    def forward(self, x):
        return self.out(self.dropout(torch.relu(self.norm(self.hidden(x.flatten(1))))))


def gaussian_kernel(A, B):
    squares = (A**2).sum(1)[:, None] + (B**2).sum(1)[None] - 2 * A @ B.T
    return np.exp(-np.maximum(squares, 0))


def jitter(X, n_rows, seed):
    rng = np.random.RandomState(seed)
    return X[rng.randint(len(X), size=n_rows)] + 0.1 * rng.normal(size=(n_rows, X.shape[1]))


def rising(step, accuracy, prior):
    return min(0.8, 0.01 * step) * accuracy


def student(**options):
    return TwoLayerPGDClassifier(**{"width": 8, "max_iter": 150, "n_init": 2, **options})


def forest(**options):
    return RandomForestClassifier(**{"n_estimators": 25, "max_depth": 6, **options})


def module(network=modules.MLP, **options):
    params = {"module_params": {"width": 16}} if network is modules.MLP else {}
    defaults = {"max_epochs": 40, "learning_rate": 0.02, "random_state": 0, "device": "cpu"}
    return ModuleClassifier(network, **{**params, **defaults, **options})


FIXED = {"alpha": 0.5, "temperature": 1.0, "augmentation": None, "random_state": 0}


def distilled(teacher=None, pupil=None, **options):
    return DistilledClassifier(teacher, pupil, **{**FIXED, **options})


# ---- Configurations: functions that take an Outcome and fill it

CONFIGURATIONS = {}


def configuration(function):
    CONFIGURATIONS[function.__name__] = function
    return function


def simple(name, make, data, **fit_params):
    """Register a configuration that is one fit; callables are called when it is run."""

    def run(out):
        rows = data()
        params = {k: v(rows) if callable(v) else v for k, v in fit_params.items()}
        out.fit(make(), rows, **params)

    run.__name__ = name
    configuration(run)


def float32(data):
    return Data(data.X.astype(np.float32), data.y, data.held.astype(np.float32), data.held_y)


def with_extra_class(data):
    """Probabilities in a frame whose columns have one class that y lacks."""
    codes = np.unique(data.y, return_inverse=True)[1]
    columns = [*np.unique(data.y), 7] if data.y.dtype.kind == "i" else [*np.unique(data.y), "yew"]
    return pd.DataFrame(probabilities(codes, len(columns)), columns=columns)


def soft_array(data):
    classes, codes = np.unique(data.y, return_inverse=True)
    return probabilities(codes, len(classes))


# TwoLayerPGDClassifier

simple("two_layer_defaults_binary", lambda: TwoLayerPGDClassifier(random_state=0), lambda: two(120))
simple("two_layer_many_classes", lambda: student(width=16, random_state=0), digits)
simple("two_layer_float32", lambda: student(random_state=1), lambda: float32(cancer()))
simple(
    "two_layer_weights_with_zeros",
    lambda: student(class_weight="balanced", random_state=2),
    three,
    sample_weight=lambda data: weights_of(len(data.y), zeros=True),
)
simple(
    "two_layer_soft_array_alpha_temperature",
    lambda: student(alpha=0.4, temperature=3.0, class_weight={0: 1, 1: 3}, random_state=0),
    two,
    soft_targets=soft_array,
    sample_weight=lambda data: weights_of(len(data.y)),
)
simple(
    "two_layer_soft_frame_with_an_extra_class",
    lambda: student(alpha=0.7, random_state=0),
    three,
    soft_targets=with_extra_class,
)
simple(
    "two_layer_alpha_above_one_and_a_radius",
    lambda: student(alpha=1.5, radius=3.0, random_state=0),
    iris,
    soft_targets=soft_array,
)
simple(
    "two_layer_plain_theory",
    lambda: student(
        radius=2.0,
        learning_rate=0.5,
        optimizer="nesterov",
        momentum=0.0,
        output_layer="fixed",
        early_stopping=False,
        input_scaling=False,
        input_intercept=False,
        random_state=0,
    ),
    iris,
)
simple(
    "two_layer_minibatches_nesterov",
    lambda: student(
        batch_size=32,
        max_iter=15,
        optimizer="nesterov",
        output_layer="trained",
        init="standard",
        n_init=3,
        random_state=0,
    ),
    lambda: digits(300),
)
simple(
    "two_layer_minibatches_without_early_stopping",
    lambda: student(
        batch_size=20,
        max_iter=10,
        early_stopping=False,
        learning_rate=0.1,
        class_weight="balanced",
        random_state=0,
    ),
    cancer,
    sample_weight=lambda data: weights_of(len(data.y), zeros=True),
)
simple(
    "two_layer_diverging_rate",
    lambda: student(learning_rate=1e9, early_stopping=False, random_state=0),
    iris,
)


@configuration
def two_layer_partial_fit(out):
    data = three()
    model = student(random_state=0)
    classes = ["ash", "birch", "cedar", "yew"]
    w = weights_of(150)
    for part in range(3):
        rows = slice(50 * part, 50 * part + 50)
        model.partial_fit(data.X[rows], data.y[rows], classes=classes, sample_weight=w[rows])
    out.model(model, data)
    Q = probabilities(np.unique(data.y, return_inverse=True)[1], 4)
    model.partial_fit(data.X, data.y, soft_targets=Q)
    out.model(model, data, "after_soft_targets")


@configuration
def two_layer_global_seed(out):
    """Without a seed the draws are those of NumPy's global generator."""
    np.random.seed(5)
    out.fit(student(max_iter=40), iris())
    out.add(next_draw=np.random.randint(2**31 - 1, size=3))


@configuration
def two_layer_frames_and_pickles(out):
    data = iris()
    names = ["a", "b", "c", "d"]
    data = Data(
        pd.DataFrame(data.X, columns=names),
        data.y.astype(str),
        pd.DataFrame(data.held, columns=names),
        data.held_y.astype(str),
    )
    model = out.fit(student(random_state=3), data)
    copy = pickle.loads(pickle.dumps(model))
    out.predictions(copy, {"held": data.held}, "pickled.")
    out.call("wrong_names", model.predict, data.held[["b", "a", "c", "d"]])


# KernelTeacher

for _kernel, _options in {
    "ntk": {},
    "ntk_full": {"kernel": "ntk-full", "depth": 2, "bias": 0.1},
    "nngp": {"kernel": "nngp", "input_norm": None},
    "laplace": {"kernel": "laplace", "bandwidth": 0.7, "calibration": None},
    "callable": {"kernel": gaussian_kernel, "input_intercept": False},
}.items():
    simple(
        f"kernel_{_kernel}",
        functools.partial(KernelTeacher, random_state=0, device="cpu", **_options),
        three if _kernel in ("ntk", "laplace") else two,
    )
simple(
    "kernel_weights_intercept_ridge",
    lambda: KernelTeacher(
        fit_intercept=True, ridge=0.3, class_weight="balanced", random_state=0, device="cpu"
    ),
    three,
    sample_weight=lambda data: weights_of(len(data.y), zeros=True),
)
simple(
    "kernel_pcg",
    lambda: KernelTeacher(solver="pcg", random_state=0, device="cpu"),
    lambda: digits(220),
    sample_weight=lambda data: weights_of(len(data.y)),
)
simple(
    "kernel_pcg_intercept_float32",
    lambda: KernelTeacher(
        kernel="ntk-full", solver="pcg", fit_intercept=True, random_state=0, device="cpu"
    ),
    lambda: float32(cancer(200)),
)
simple(
    "kernel_nystroem",
    lambda: KernelTeacher(solver="nystroem", n_components=60, random_state=0, device="cpu"),
    lambda: digits(220),
)
simple(
    "kernel_margin_many_classes",
    lambda: KernelTeacher(method="margin", random_state=0, device="cpu"),
    lambda: iris(40),
)


@configuration
def kernel_training_time(out):
    for name, data in {"binary": two(100), "many": three(100)}.items():
        model = KernelTeacher(training_time=50.0, random_state=0, device="cpu")
        out.fit(model, data, name)
        stages = list(model.staged_predict_proba(data.held, [0.1, 7.0, 1e5]))
        out.add(**{f"{name}.stages": np.array(stages)})
    ridge = KernelTeacher(random_state=0, device="cpu").fit(data.X, data.y)
    out.add(ridge=np.array(list(ridge.staged_predict_proba(data.held, [1.0, 30.0]))))


# ModuleClassifier

simple(
    "module_mlp_weights_with_zeros",
    lambda: module(class_weight="balanced"),
    three,
    sample_weight=lambda data: weights_of(len(data.y), zeros=True),
)
simple(
    "module_soft_targets_minibatches",
    lambda: module(
        Network,
        alpha=0.6,
        temperature=2.0,
        batch_size=32,
        max_epochs=12,
        optimizer="adamw",
        weight_decay=0.01,
        clip_norm=1.0,
        scheduler="one-cycle",
    ),
    lambda: digits(200),
    soft_targets=soft_array,
)
simple(
    "module_soft_frame_with_an_extra_class",
    lambda: module(scheduler="cosine", early_stopping=False),
    iris,
    soft_targets=with_extra_class,
)
simple(
    "module_images_with_augmentation",
    lambda: module(
        modules.SmallCNN,
        module_params={"width": 4, "depth": 2},
        image_shape=(1, 8, 8),
        augmentation={"shift": 1, "flip": True, "noise": 0.05, "crop": 2},
        batch_size=50,
        max_epochs=5,
    ),
    lambda: float32(digits(200)),
)
simple(
    "module_sgd_with_scheduler_and_callback",
    lambda: module(
        Network,
        optimizer="sgd",
        optimizer_params={"momentum": 0.9},
        scheduler="step",
        callbacks=[EpochScoring("accuracy", lower_is_better=False, on_train=True)],
        validation_fraction=0.2,
        n_iter_no_change=6,
    ),
    lambda: float32(cancer()),
)


@configuration
def module_checkpoint_and_warm_start(out):
    data = iris()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fit.pt"
        options = {"checkpoint_path": path, "early_stopping": False}
        out.fit(module(max_epochs=10, **options), data, "first")
        out.fit(module(max_epochs=25, **options), data, "resumed")
    model = module(max_epochs=10, warm_start=True)
    out.fit(model, data, "cold")
    out.fit(model, data, "warm")
    Q = probabilities(data.y, 3)
    for part in (slice(0, 50), slice(50, 100)):
        model.partial_fit(data.X[part], data.y[part], soft_targets=Q[part])
    out.model(model, data, "partial_fit")


@configuration
def module_zoo(out):
    data = float32(digits(80, n_class=4, n_held=30))
    for name, params in {
        "MLP": {"width": 8, "depth": 3, "dropout": 0.2, "input_dropout": 0.1, "batch_norm": True},
        "ResNet": {"width": 4, "depth": 1},
        "SmallCNN": {"width": 4, "depth": 2},
        "VGG": {"width": 4, "n_conv": 2, "n_dense": 1},
    }.items():
        options = {"image_shape": (1, 8, 8), "module_params": params, "max_epochs": 3}
        out.fit(module(getattr(modules, name), **options), data, name)


# DistilledClassifier: "auto"


def auto(teacher=None, pupil=None, **options):
    return DistilledClassifier(teacher, pupil, random_state=0, **options)


simple("auto_all_defaults", lambda: auto(), lambda: two(160))
simple("auto_forest_many_classes", lambda: auto(forest(), student()), lambda: digits(250))
simple(
    "auto_weights_and_class_weight",
    lambda: auto(forest(), student(max_iter=100), class_weight="balanced"),
    lambda: three(150),
    sample_weight=lambda data: weights_of(len(data.y), zeros=True),
)
simple(
    "auto_tree_student",
    lambda: auto(forest(), DecisionTreeClassifier(max_depth=4)),
    lambda: three(200),
)
simple("auto_logistic_student", lambda: auto(forest(), LogisticRegression()), lambda: cancer(160))
simple(
    "auto_module_student",
    lambda: auto(forest(), module(max_epochs=20, random_state=None)),
    lambda: two(160),
)
simple(
    "auto_mixed_frame",
    lambda: auto(encoded(forest()), encoded(student(max_iter=100))),
    lambda: mixed(180),
)
simple(
    "auto_alpha_alone_in_sample",
    lambda: auto(forest(), student(max_iter=100), temperature=1.0, augmentation=None),
    lambda: two(200, seed=3, flip=0.3),
)
simple(
    "auto_temperature_and_splitter",
    lambda: auto(
        GaussianNB(),
        student(max_iter=100),
        alpha=0.5,
        augmentation=None,
        cv=StratifiedKFold(3, shuffle=True, random_state=1),
    ),
    lambda: three(160),
)
simple("auto_below_100_rows", lambda: auto(forest(), student(max_iter=100)), lambda: iris(60))

simple(
    "auto_minibatches_and_unlabeled_rows",
    lambda: auto(forest(), student(max_iter=20)),
    lambda: two(1300),
    X_unlabeled=lambda data: data.held,
)
simple(
    "auto_noisy_labels_many_rows",
    lambda: auto(forest(n_estimators=40), student(width=16)),
    lambda: two(700, flip=0.35),
)
simple(
    "auto_frozen_teacher",
    lambda: auto(frozen_forest(), student(max_iter=100)),
    lambda: three(160),
)
simple(
    "auto_in_sample",
    lambda: auto(LogisticRegression(), student(max_iter=100), cv="in-sample"),
    lambda: two(160),
)
simple(
    "auto_class_prior_native_student",
    lambda: auto(KernelTeacher(device="cpu"), SoftmaxStudent(), class_prior="uniform"),
    lambda: three(200),
)
simple(
    "auto_student_without_probabilities",
    lambda: auto(forest(), LinearSVC()),
    lambda: two(200),
    sample_weight=lambda data: weights_of(len(data.y)),
)
simple(
    "auto_soft_targets",
    lambda: auto(forest(), student(max_iter=100)),
    lambda: three(160),
    soft_targets=soft_array,
)
simple(
    "auto_hist_boosting_to_pipeline_on_a_frame",
    lambda: auto(HistGradientBoostingClassifier(max_iter=10), encoded(LogisticRegression())),
    lambda: mixed_typed(240),
)
simple(
    "auto_row_expansion_munge",
    lambda: auto(
        GradientBoostingClassifier(n_estimators=10),
        RandomForestClassifier(5, max_depth=3),
        alpha=1.0,
        augmentation="munge",
        n_augmented=100,
        cv=3,
    ),
    lambda: three(160),
)


simple(
    "auto_temperature_of_sharp_labels",
    lambda: auto(GaussianNB(), student(max_iter=100), alpha=1.0, calibration=None),
    lambda: digits(300),
)
simple(
    "auto_temperature_below_one",
    lambda: auto(forest(), LogisticRegression(), alpha=1.0, augmentation=None),
    lambda: digits(300),
)


@configuration
def auto_groups(out):
    data = three(160)
    with config_context(enable_metadata_routing=True):
        model = auto(GaussianNB(), student(max_iter=100), cv=GroupKFold(4))
        out.fit(model, data, groups=np.arange(160) % 20)


# DistilledClassifier: numbers

simple(
    "distilled_kernel_loo_to_network",
    lambda: distilled(KernelTeacher(device="cpu"), student(), temperature=2.0),
    three,
)
simple("distilled_forest_oob_to_logistic", lambda: distilled(forest(), LogisticRegression()), three)
simple(
    "distilled_row_expansion_at_a_temperature",
    lambda: distilled(
        forest(oob_score=True), DecisionTreeClassifier(max_depth=5), alpha=1.0, temperature=3.0
    ),
    cancer,
    sample_weight=lambda data: weights_of(len(data.y), zeros=True),
)
simple(
    "distilled_cross_fitted_boosting_to_pipeline",
    lambda: distilled(
        GradientBoostingClassifier(n_estimators=10),
        make_pipeline(StandardScaler(), student()),
        cv=4,
    ),
    three,
    sample_weight=lambda data: weights_of(len(data.y)),
)
simple(
    "distilled_decision_function_teacher_binary",
    lambda: distilled(LinearSVC(), student()),
    two,
)
simple(
    "distilled_decision_function_teacher_many",
    lambda: distilled(SVC(), LogisticRegression(), cv=3),
    iris,
)
simple(
    "distilled_in_sample_uncalibrated",
    lambda: distilled(
        ExtraTreesClassifier(20), student(), cv="in-sample", calibration=None, alpha=1.0
    ),
    two,
)
simple(
    "distilled_splits_that_leave_rows_out",
    lambda: distilled(
        LogisticRegression(), student(), cv=ShuffleSplit(2, test_size=0.2, random_state=0)
    ),
    two,
)
simple(
    "distilled_iterable_of_splits",
    lambda: distilled(
        GaussianNB(),
        SoftmaxStudent(),
        cv=[(np.arange(50, 150), np.arange(50)), (np.arange(100), np.arange(100, 150))],
    ),
    three,
)
simple(
    "distilled_module_student_and_teacher",
    lambda: distilled(
        module(random_state=None, max_epochs=20), module(Network, random_state=None, max_epochs=20)
    ),
    three,
)
simple(
    "distilled_soft_frame_with_an_extra_class",
    lambda: distilled(forest(), LogisticRegression(), alpha=0.8),
    three,
    soft_targets=with_extra_class,
)
simple(
    "distilled_soft_array_and_unlabeled_rows",
    lambda: distilled(forest(), student()),
    two,
    soft_targets=soft_array,
    X_unlabeled=lambda data: data.held[:40],
    sample_weight=lambda data: weights_of(len(data.y)),
)
simple(
    "distilled_unlabeled_rows_and_munge",
    lambda: distilled(forest(), student(), augmentation="munge", n_augmented=120),
    two,
    X_unlabeled=lambda data: data.held[:40],
)
simple(
    "distilled_gibbs_on_a_mixed_frame",
    lambda: distilled(
        encoded(GradientBoostingClassifier(n_estimators=10)),
        encoded(LogisticRegression()),
        augmentation="gibbs",
        n_augmented=100,
        cv=3,
    ),
    mixed,
    X_unlabeled=lambda data: data.held[:30],
)
simple(
    "distilled_callable_augmentation",
    lambda: distilled(forest(), LogisticRegression(), augmentation=jitter, n_augmented="auto"),
    three,
)
simple(
    "distilled_hist_boosting_on_raw_frame",
    lambda: distilled(
        HistGradientBoostingClassifier(max_iter=8, early_stopping=True),
        HistGradientBoostingClassifier(max_iter=8, early_stopping=True),
        temperature=2.0,
        alpha=1.0,
    ),
    lambda: mixed_numbers(),
)
simple(
    "distilled_class_weight_and_uniform_prior",
    lambda: distilled(
        forest(),
        student(),
        alpha=0.7,
        temperature=2.0,
        class_weight={"ash": 1, "birch": 2, "cedar": 4},
        class_prior="uniform",
    ),
    three,
)
simple(
    "distilled_training_prior_row_expansion",
    lambda: distilled(
        forest(),
        LogisticRegression(),
        class_weight="balanced",
        class_prior="training",
    ),
    three,
    sample_weight=lambda data: weights_of(len(data.y), zeros=True),
)
simple(
    "distilled_given_prior_alpha_above_one",
    lambda: distilled(forest(), student(), alpha=1.5, class_prior=[0.7, 0.3]),
    two,
)
simple(
    "distilled_recomputed_labels",
    lambda: distilled(
        forest(),
        module(random_state=None, augmentation="noise", max_epochs=8, batch_size=40),
        augmented_labels="recomputed",
    ),
    two,
)
simple(
    "distilled_sparse_rows",
    lambda: distilled(LogisticRegression(), LogisticRegression(C=0.1)),
    lambda: sparse_digits(),
)
simple(
    "distilled_search_as_teacher",
    lambda: distilled(
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2), DecisionTreeClassifier()
    ),
    two,
)
simple(
    "distilled_invalid_parameter",
    lambda: distilled(forest(), student(), alpha="half"),
    two,
)


def mixed_numbers():
    data = mixed()
    columns = ["size", "count", "shape"]
    return Data(data.X[columns], data.y, data.held[columns], data.held_y)


def mixed_typed(n_train):
    """Mixed frame whose texts are categories, as histogram boosting takes them."""
    data = mixed(n_train)
    kinds = {"color": pd.CategoricalDtype(["red", "green", "blue"])}
    return Data(data.X.astype(kinds), data.y, data.held.astype(kinds), data.held_y)


def frozen_forest():
    data = three(160, seed=0)
    return FrozenEstimator(forest(random_state=1).fit(data.held, data.held_y))


def sparse_digits():
    data = digits(150, n_class=3)
    return Data(sp.csr_array(data.X), data.y, sp.csr_array(data.held), data.held_y)


@configuration
def distilled_frozen_teachers(out):
    data = three()
    known = np.append(data.y, "yew")
    rows = np.vstack([data.X, data.X[:1] + 9])
    fitted = forest(random_state=0).fit(rows, known)  # knows a class that y lacks
    out.fit(distilled(FrozenEstimator(fitted), student()), data, "frozen")
    scaler = StandardScaler().fit(data.X)
    last = LogisticRegression().fit(scaler.transform(data.X), data.y)
    pipeline = make_pipeline(StandardScaler(), FrozenEstimator(last))
    out.fit(distilled(pipeline, DecisionTreeClassifier(max_depth=4)), data, "pipeline")
    svc = FrozenEstimator(LinearSVC(random_state=0).fit(data.X, data.y))
    out.fit(distilled(svc, LogisticRegression()), data, "decision_function")


@configuration
def distilled_without_teacher(out):
    data = two()
    for name, pupil in {"network": student(), "tree": DecisionTreeClassifier(max_depth=3)}.items():
        model = distilled(forest(), pupil, class_prior="uniform").fit(data.X, data.y)
        alone = model.without_teacher()
        out.model(alone, data, name)
        out.add(**{f"{name}.has_teacher": hasattr(alone, "teacher_")})


@configuration
def distilled_metadata_routing(out):
    data = three()
    w, groups = weights_of(150, zeros=True), np.arange(150) % 7
    with config_context(enable_metadata_routing=True):
        yes = LogisticRegression().set_fit_request(sample_weight=True)
        no = LogisticRegression().set_fit_request(sample_weight=False)
        out.fit(
            distilled(yes, yes, cv=GroupKFold(7)), data, "groups", sample_weight=w, groups=groups
        )
        out.fit(distilled(no, yes), data, "student_alone", sample_weight=w)
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        network = student().set_fit_request(sample_weight=True)
        model = distilled(make_pipeline(scaler, yes), make_pipeline(scaler, network))
        out.fit(model, data, "pipelines", sample_weight=w)
        out.call("refused", distilled(no, no).fit, data.X, data.y, sample_weight=w)
        last = distilled(LogisticRegression(), SoftmaxStudent())
        last.set_fit_request(X_unlabeled=True, soft_targets=True)
        model = make_pipeline(StandardScaler(), last, transform_input=["X_unlabeled"])
        out.fit(model, data, "outer_pipeline", X_unlabeled=data.held[:30])
        out.add(routing=repr_of_routing(distilled(yes, network)))


def repr_of_routing(model):
    """Metadata that an estimator asks for, without names of classes."""
    router = model.get_metadata_routing()
    asked = {}
    for name, pair in router:
        asked[name] = sorted(
            (
                m.caller,
                m.callee,
                tuple(
                    sorted(
                        map(
                            str,
                            pair.router.consumes(
                                m.callee, ["groups", "sample_weight", "soft_targets"]
                            ),
                        )
                    )
                ),
            )
            for m in pair.mapping
        )
    return repr(sorted(asked.items()))


# SelfDistillClassifier


def noisy(data, rate=0.3):
    labels = datasets.add_label_noise(data.y, rate, random_state=0)
    return Data(data.X, labels.y, data.held, data.held_y)


def self_distilled(estimator=None, **options):
    if estimator is None:
        estimator = student(width=16, max_iter=60, early_stopping=False)
    return SelfDistillClassifier(estimator, **{"random_state": 0, **options})


simple("self_defaults", lambda: SelfDistillClassifier(random_state=0), lambda: noisy(two(120)))
simple(
    "self_hard_accuracy_same_pass",
    lambda: self_distilled(schedule="accuracy", memory=None, warm_up=0.0),
    lambda: noisy(digits(200, n_class=5)),
)
simple(
    "self_soft_annealed_previous_epoch",
    lambda: self_distilled(target="soft", schedule="annealed", memory="previous-epoch"),
    lambda: noisy(three()),
    sample_weight=lambda data: weights_of(len(data.y), zeros=True),
)
simple(
    "self_soft_running_mean_callable_schedule",
    lambda: self_distilled(
        student(width=16, max_iter=12, batch_size=32, early_stopping=False),
        target="soft",
        target_temperature=0.7,
        schedule=rising,
        memory=0.8,
        strength=1.5,
    ),
    lambda: noisy(digits(200, n_class=5)),
)
simple(
    "self_previous_generation_weights",
    lambda: self_distilled(
        student(width=16, class_weight="balanced"), memory="previous-generation", target="soft"
    ),
    lambda: noisy(three()),
    sample_weight=lambda data: weights_of(len(data.y)),
)
simple(
    "self_module_estimator",
    lambda: self_distilled(module(random_state=None, max_epochs=15), memory="previous-epoch"),
    lambda: noisy(two()),
)
simple(
    "self_module_generations_minibatches",
    lambda: self_distilled(module(Network, random_state=None, max_epochs=12, batch_size=40)),
    lambda: noisy(three(), 0.2),
)


@configuration
def self_find_label_errors(out):
    data = noisy(three(), 0.2)
    model = out.fit(self_distilled(student(width=16, max_iter=60)), data)
    find = model.find_label_errors
    out.call("in_sample", find, data.X, data.y, cv="in-sample")
    out.call("folds", find, data.X, data.y, cv=3)
    groups = np.arange(150) % 10
    out.call("groups", find, data.X, data.y, cv=GroupKFold(3), groups=groups)
    out.call(
        "weights_and_frame",
        self_distilled(student(width=8, max_iter=40)).find_label_errors,
        pd.DataFrame(data.X, index=np.arange(150)[::-1], columns=list("abcdefgh")),
        data.y,
        sample_weight=weights_of(150),
    )


# BatchedGridSearchCV

simple(
    "search_plain",
    lambda: BatchedGridSearchCV(
        student(random_state=0),
        {"width": [2, 8], "radius": [1.0, None], "alpha": [1.0]},
        cv=3,
        return_train_score=True,
    ),
    iris,
)
simple(
    "search_pipeline_weights_multimetric",
    lambda: BatchedGridSearchCV(
        make_pipeline(StandardScaler(), student(random_state=0)),
        {
            "standardscaler__with_std": [True, False],
            "twolayerpgdclassifier__width": [2, 4],
            "twolayerpgdclassifier__learning_rate": ["auto", 0.1],
        },
        scoring=["accuracy", "neg_log_loss"],
        refit="neg_log_loss",
        cv=2,
    ),
    three,
    twolayerpgdclassifier__sample_weight=lambda data: weights_of(len(data.y), zeros=True),
)
simple(
    "search_distilled",
    lambda: BatchedGridSearchCV(
        distilled(forest(), student()),
        {"alpha": [0.0, 0.5], "temperature": [1.0, 3.0], "student__width": [4, 8]},
        cv=2,
    ),
    three,
)
simple(
    "search_halving",
    lambda: BatchedGridSearchCV(
        student(max_iter=90, random_state=0),
        {"width": [2, 4, 8], "radius": [0.5, 2.0, None]},
        cv=2,
        halving_factor=3,
    ),
    two,
)
simple(
    "search_shared_minibatches",
    lambda: BatchedGridSearchCV(
        student(batch_size=32, max_iter=8, n_init=1),
        {"random_state": [0, 1, 2], "width": [4, 8]},
        cv=2,
        share_minibatches=True,
        refit=False,
    ),
    cancer,
)
simple(
    "search_failing_candidate",
    lambda: BatchedGridSearchCV(
        student(random_state=0), {"width": [4, 3], "alpha": [1.0]}, cv=2, scoring="neg_log_loss"
    ),
    iris,
)

# inspection


def quiet_report(report, out):
    """Add the attributes of a report; sentences with times and sizes are left out."""
    for name in ("decide_by", "margin", "difference", "interval", "n_folds", "decision"):
        out.add(**{name: getattr(report, name)})
    out.add(recovered=report.recovered, frame=report.frame)
    summary = report.summary
    summary = summary[[c for c in summary.columns if not MEASURED.fullmatch(str(c[0]))]]
    out.add(summary=summary)


@configuration
def inspection_report(out):
    data = three()
    report = inspection.distillation_report(
        forest(), student(max_iter=60), data.X, data.y, cv=3, n_seeds=2, distiller=distilled(),
        sample_weight=weights_of(150, zeros=True), n_latency=2,
    )  # fmt: skip
    quiet_report(report, out)


@configuration
def inspection_report_in_pipelines(out):
    data = mixed()
    report = inspection.distillation_report(
        encoded(GradientBoostingClassifier(n_estimators=8)),
        encoded(LogisticRegression()),
        data.X,
        data.y,
        cv=2,
        n_seeds=1,
        decide_by="roc_auc",
        distiller=distilled(augmentation="munge", n_augmented=50),
        n_latency=2,
    )
    quiet_report(report, out)


@configuration
def inspection_should_distill(out):
    data = three()
    advice = inspection.should_distill(
        forest(), student(max_iter=60), data.X, data.y, sample_weight=weights_of(150)
    )
    out.add(advice=without_verdict(advice))
    advice = inspection.should_distill(
        forest(), DecisionTreeClassifier(max_depth=3), data.X, data.y, decide_by="accuracy",
        groups=np.arange(150) % 30, cv=4, alpha=1.0,
    )  # fmt: skip
    out.add(accuracy=without_verdict(advice))


def without_verdict(advice):
    """Return what the advice has, without the sentence, in which there are times."""
    names = ("decision", "gap", "recoverable", "label_gain", "overfitting", "frame", "decide_by")
    names += ("alpha", "margin", "confidence")
    return {name: getattr(advice, name) for name in names}


def drawn(display):
    """Numbers of the lines in a display's axes."""
    found = {}
    axes = np.ravel(display.figure_.axes)
    for number, ax in enumerate(axes):
        if "ms" in ax.get_xlabel() or "bytes" in ax.get_xlabel():
            continue
        for place, line in enumerate(ax.get_lines()):
            found[f"axes {number} line {place}"] = np.asarray(line.get_xydata(), dtype=float)
    return found


@configuration
def inspection_width_curve(out):
    data = three()
    display = inspection.WidthCurveDisplay.from_estimator(
        distilled(forest(), student(max_iter=50, n_init=1)),
        data.X,
        data.y,
        widths=[2, 6],
        seeds=2,
        cv=2,
        scoring="neg_log_loss",
    )
    out.add(frame=display.frame, drawn=drawn(display))


@configuration
def inspection_distillation_display(out):
    data = two()
    display = inspection.DistillationDisplay.from_estimator(
        distilled(forest(), DecisionTreeClassifier(max_depth=3)), data.X, data.y, cv=2, n_latency=2
    )
    out.add(frame=display.frame, score_name=display.score_name)


@configuration
def inspection_fidelity(out):
    data = three()
    model = distilled(forest(), student(max_iter=60)).fit(data.X, data.y)
    display = inspection.FidelityDisplay.from_estimator(
        model, data.held, data.held_y, sample_weight=weights_of(60), n_bins=5
    )
    out.add(frame=display.frame, drawn=drawn(display))
    P, Q = model.teacher_.predict_proba(data.held), model.predict_proba(data.held)
    other = inspection.FidelityDisplay.from_predictions(P, Q, classes=model.classes_)
    out.add(from_predictions=other.frame)


@configuration
def inspection_information(out):
    data = three(100)
    labels = datasets.add_label_noise(data.y, 0.3, random_state=0)
    unit = data.X / np.linalg.norm(data.X, axis=1, keepdims=True)
    display = inspection.InformationDisplay.from_estimator(
        self_distilled(student(max_iter=20, early_stopping=False), memory=None),
        unit,
        labels.y,
        y_clean=data.y,
        n_rows=60,
        every=5,
        random_state=0,
    )
    out.add(frame=display.frame, drawn=drawn(display))


# What the configurations above leave out: weights that are ignored, rare classes, printed lines,
# callbacks, routing, rates that diverge


def printed(function, *args, **kwargs):
    """Lines that a call prints, with the times left out."""
    with contextlib.redirect_stdout(io.StringIO()) as text:
        function(*args, **kwargs)
    return re.sub(r"[\d.e+-]+ s\b", "- s", text.getvalue()).splitlines()


@configuration
def printed_lines(out):
    data = three(120)
    for name, model in {
        "network": student(max_iter=20, random_state=0, verbose=1),
        "module": module(max_epochs=5, verbose=1),
        "kernel": KernelTeacher(random_state=0, device="cpu", verbose=1),
        "pcg": KernelTeacher(solver="pcg", random_state=0, device="cpu", verbose=2),
        "distilled": auto(forest(), student(max_iter=40), verbose=1),
        "self": self_distilled(student(max_iter=20), verbose=1),
        "search": BatchedGridSearchCV(student(max_iter=20), {"width": [2, 4]}, cv=2, verbose=2),
    }.items():
        out.call(name, printed, model.fit, data.X, data.y)


@configuration
def callbacks_of_scikit_learn(out):
    data = two()
    for name, model in {
        "network": student(max_iter=20, random_state=0),
        "module": module(max_epochs=6, early_stopping=False),
        "minibatches": student(max_iter=4, batch_size=50, random_state=0),
        "distilled": distilled(GaussianNB(), student(max_iter=10)),
        "self": self_distilled(student(max_iter=10, early_stopping=False), memory=None),
        "search": BatchedGridSearchCV(student(max_iter=10, random_state=0), {"width": [2]}, cv=2),
    }.items():
        monitor = ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
        if hasattr(model, "set_callbacks"):
            model.set_callbacks(monitor)
            out.fit(model, data, name)
            out.call(f"{name} logs", lambda m=monitor: scores_of(m))


def scores_of(monitor):
    frame = monitor.get_logs(select="most_recent").data_as_pandas
    names = ["task_name", "accuracy", "neg_log_loss"]
    return frame[[name for name in frame.columns if name in names]]


@configuration
def distilled_ignored_weights(out):
    data, w = three(), weights_of(150, zeros=True)
    model = distilled(KNeighborsClassifier(), LogisticRegression())
    out.fit(model, data, "teacher", sample_weight=w)
    pupil = make_pipeline(StandardScaler(), KNeighborsClassifier())
    out.call("student", distilled(GaussianNB(), pupil).fit, data.X, data.y, sample_weight=w)


@configuration
def distilled_rare_classes(out):
    data = three()
    y = data.y.copy()
    y[:2] = "yew"
    data = Data(data.X, y, data.held, data.held_y)
    halves = [(np.arange(10, 150), np.arange(10)), (np.arange(75), np.arange(75, 150))]
    out.fit(distilled(GaussianNB(), student()), data, "cross_fitted")
    out.fit(distilled(GaussianNB(), LogisticRegression(), cv=halves), data, "splits")
    out.fit(distilled(forest(oob_score=True), student()), data, "oob")
    out.fit(auto(SVC(), DecisionTreeClassifier(max_depth=4)), data, "auto")


@configuration
def distilled_hard_labels_with_an_absent_class(out):
    data = three()
    Q = with_extra_class(data)
    for name, pupil in {"svm": LinearSVC(), "logistic": LogisticRegression()}.items():
        out.fit(distilled(forest(), pupil, alpha=0.0), data, name, soft_targets=Q)
    two_of_three = Data(data.X[data.y != "birch"], data.y[data.y != "birch"], data.held, None)
    known = FrozenEstimator(GaussianNB().fit(data.X, data.y))
    for name, pupil in {"binary": LinearSVC(), "network": student()}.items():
        out.fit(distilled(known, pupil, alpha=0.0), two_of_three, name)
    prior = distilled(known, pupil, class_prior=[0.2, 0.3, 0.5], temperature=2.0)
    out.fit(prior, two_of_three, "prior")


@configuration
def distilled_in_sample_teachers(out):
    data = cancer()
    for name, teacher in {
        "forest": forest(max_depth=None),
        "boosting": GradientBoostingClassifier(n_estimators=15, n_iter_no_change=3),
        "linear": make_pipeline(StandardScaler(), LogisticRegression()),
        "margins": make_pipeline(StandardScaler(), LinearSVC()),
    }.items():
        out.fit(distilled(teacher, student(max_iter=60), cv="in-sample"), data, name)


@configuration
def distilled_students_that_stop_or_balance(out):
    data, w = three(200), weights_of(200)
    for name, pupil in {
        "gradient": GradientBoostingClassifier(n_estimators=8, n_iter_no_change=3),
        "balanced": LogisticRegression(class_weight="balanced"),
        "weights": DecisionTreeClassifier(max_depth=4, class_weight={"ash": 1, "birch": 3}),
        "pipeline": make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced")),
    }.items():
        out.fit(distilled(forest(), pupil), data, name, sample_weight=w)
    partial = distilled(forest(), LogisticRegression(), class_weight={"ash": 2.0}, alpha=0.3)
    out.fit(partial, data, "partial")
    out.fit(partial.set_params(student=student()), data, "partial_network")


@configuration
def distilled_routing_to_row_expansion(out):
    data, w = three(), weights_of(150)
    with config_context(enable_metadata_routing=True):
        tree = DecisionTreeClassifier(max_depth=4)
        out.fit(distilled(forest(), tree), data, "nothing_asked", X_unlabeled=data.held)
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        asking = DecisionTreeClassifier(max_depth=4).set_fit_request(sample_weight=True)
        teacher = GaussianNB().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(scaler, make_pipeline(StandardScaler(), asking))
        inner = StandardScaler().set_fit_request(sample_weight=False)
        pipeline.steps[1][1].steps[0] = ("standardscaler", inner)
        out.fit(distilled(teacher, pipeline, alpha=0.6), data, "pipeline", sample_weight=w)
        out.fit(auto(teacher, make_pipeline(scaler, asking)), data, "auto", sample_weight=w)
        network = student().set_fit_request(sample_weight=True, soft_targets=True)
        grid = {"student__width": [2, 4]}
        model = distilled(teacher, network)
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = BatchedGridSearchCV(model, grid, cv=GroupKFold(3))
        groups = np.arange(150) % 9
        out.fit(search, data, "search", sample_weight=w, groups=groups)


@configuration
def distilled_containers(out):
    data, sparse = three(160), sparse_digits()
    rows = Data(data.X.tolist(), data.y.tolist(), data.held.tolist(), None)
    out.fit(distilled(GaussianNB(), LogisticRegression()), rows, "lists", X_unlabeled=rows.held)
    linear = LogisticRegression(C=0.1)
    out.fit(auto(linear, linear), sparse, "sparse", X_unlabeled=sparse.held)
    model = distilled(forest(), student(), augmentation="munge", n_augmented=50)
    out.fit(model, rows, "munge_lists")
    frame = pd.DataFrame(data.X, columns=list("abcdefgh"), index=np.arange(160)[::-1])
    framed = Data(frame, pd.Series(data.y, index=frame.index), frame[:30], None)
    Q = with_extra_class(data).set_index(frame.index[::-1])
    out.fit(distilled(forest(), student()), framed, "other_index", soft_targets=Q)
    Q = Q.set_index(np.arange(160) + 1000)
    out.fit(distilled(forest(), student()), framed, "foreign_index", soft_targets=Q)
    Q = pd.DataFrame(soft_array(data), columns=np.unique(data.y))[["cedar", "ash", "birch"]]
    out.call("columns_in_disorder", student().fit, data.X, data.y, soft_targets=Q)
    cells = np.random.RandomState(0).choice(["a", "b"], (160, 3)).astype(object)
    table = Data(pd.DataFrame(cells, columns=list("uvw")), data.y, None, None)
    one_hot = OneHotEncoder()
    full = distilled(
        make_pipeline(one_hot, DecisionOnly()), make_pipeline(one_hot, LogisticRegression()),
        augmentation="gibbs", n_augmented=20,
    )  # fmt: skip
    out.call("all_combinations", full.fit, table.X, table.y)


class DecisionOnly(LogisticRegression):
    """Teacher with decision values only."""

    predict_proba = property()
    predict_log_proba = property()


@configuration
def two_layer_rates(out):
    data = cancer()
    big = Data(data.X * 30, data.y, data.held * 30, None)
    for optimizer in ("adam", "nesterov"):
        options = {"optimizer": optimizer, "input_scaling": False, "random_state": 0}
        out.fit(student(max_iter=60, **options), big, optimizer)
    wild = student(
        learning_rate=40.0, output_layer="trained", max_iter=60, n_init=6, random_state=0
    )
    out.fit(wild, two(), "wild")
    tiny = Data(data.X[:3], np.array([0, 1, 1]), data.held, None)
    out.fit(student(max_iter=20, random_state=0), tiny, "three_rows")
    shifted = Data(float32(data).X + 1e6, data.y, float32(data).held + 1e6, None)
    out.fit(student(max_iter=20, random_state=0), shifted, "lost_precision")


@configuration
def self_memories_with_early_stopping(out):
    data = noisy(three(), 0.2)
    for name, options in {
        "epoch": {"memory": "previous-epoch", "schedule": "annealed"},
        "mean": {"memory": 0.7, "target": "soft"},
        "pass": {"memory": None, "schedule": "accuracy", "strength": 0.5},
        "generation": {"memory": "previous-generation", "schedule": rising},
    }.items():
        for size in (None, 40):
            network = student(width=16, max_iter=40, n_init=3, batch_size=size, radius=4.0)
            out.fit(self_distilled(network, **options), data, f"{name} {size}")
    clean = iris()
    state = np.random.RandomState(3)
    out.fit(self_distilled(memory=None, random_state=state), clean, "clean")
    splits = [(np.arange(50, 100), np.arange(50)), (np.arange(50), np.arange(50, 100))]
    rows = np.argsort(clean.y, kind="stable")
    find = self_distilled(student(max_iter=20)).find_label_errors
    out.call("unknown_classes", find, clean.X[rows], clean.y[rows], cv=splits)


@configuration
def search_rates_radii_and_memory(out):
    data = cancer(200)
    grid = {"learning_rate": ["auto", 0.05, 0.2], "radius": [None, 1.0], "max_iter": [4, 8]}
    for name, options in {
        "minibatches": {"batch_size": 40, "optimizer": "nesterov"},
        "full_batch": {"optimizer": "nesterov"},
        "adam": {"batch_size": 40},
    }.items():
        network = student(n_init=2, random_state=0, **options)
        out.fit(BatchedGridSearchCV(network, grid, cv=2, max_memory=0.001), data, name)
    soft = {"alpha": [0.3, 1.0], "temperature": [1.0, 2.0], "width": [2, 6]}
    search = BatchedGridSearchCV(
        student(random_state=0), soft, cv=2, scoring=lambda est, X, y: est.score(X, y)
    )
    out.fit(search, data, "soft_targets", soft_targets=probabilities(data.y, 2))
    wild = {"learning_rate": [0.1, 1e9], "width": [2, 4]}
    search = BatchedGridSearchCV(student(random_state=0), wild, cv=2)
    out.fit(search, data, "diverging")


class Flat(nn.Module):
    """Returns one number a row, or two logits for two classes."""

    def __init__(self, n_in, n_out=1):
        super().__init__()
        self.out = nn.Linear(n_in, n_out)

    def forward(self, x):
        return self.out(x).squeeze(1)


@configuration
def module_outputs_and_schedules(out):
    data = two()
    for name, params in {"flat": {"n_in": 6}, "two_logits": {"n_in": 6, "n_out": 2}}.items():
        out.fit(module(Flat, module_params=params), data, name)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau
    for name, options in {
        "plateau": {"scheduler": plateau, "scheduler_params": {"patience": 2}},
        "lbfgs": {"optimizer": torch.optim.LBFGS, "max_epochs": 5},
        "unscaled": {"input_scaling": False, "scheduler": "one-cycle"},
        "flat_augmented": {"augmentation": ["noise"], "batch_size": 30, "max_epochs": 8},
        "recomputed": {"augmentation": add_noise, "batch_size": 30, "max_epochs": 8},
    }.items():
        more = {}
        if name == "recomputed":
            more = {"soft_targets": soft_array(data), "labeler": GaussianNB().fit(data.X, data.y)}
            more["labeler"] = more["labeler"].predict_proba
        out.fit(module(**options), data, name, **more)
    with tempfile.TemporaryDirectory() as folder:
        decay = {"scheduler": torch.optim.lr_scheduler.StepLR, "scheduler_params": {"step_size": 4}}
        options = {"checkpoint_path": Path(folder) / "fit.pt", "augmentation": {"noise": 0.1}}
        options |= decay
        options |= {"callbacks": [("scores", EpochScoring("accuracy", lower_is_better=False))]}
        out.fit(module(Network, max_epochs=6, batch_size=40, **options), data, "stopped")
        out.fit(module(Network, max_epochs=12, batch_size=40, **options), data, "resumed")
        other = module(Network, max_epochs=12, batch_size=50, **options)
        error = ""
        try:
            other.fit(data.X, data.y)
        except ValueError as reason:
            error = str(reason).replace(folder, "")
        out.add(other_settings=error)


def add_noise(batch, generator):
    return batch + 0.1 * torch.randn(batch.shape, generator=generator, dtype=batch.dtype)


@configuration
def inspection_more(out):
    data = two()
    easy = make_classification(160, 5, class_sep=4.0, random_state=0)
    linear = LogisticRegression()
    out.add(no=without_verdict(inspection.should_distill(GaussianNB(), linear, *easy)))
    margins = inspection.should_distill(
        LinearSVC(), linear, data.X, data.y, sample_weight=weights_of(160, zeros=True), alpha=0.8
    )
    out.add(margins=without_verdict(margins))
    folds = list(StratifiedKFold(2).split(data.X, data.y))
    report = inspection.distillation_report(
        FrozenEstimator(GaussianNB().fit(data.held, data.held_y)), linear, data.X, data.y,
        cv=folds, n_seeds=1, sample_weight=weights_of(160, zeros=True), n_latency=2,
        decide_by="accuracy",
    )  # fmt: skip
    quiet_report(report, out)
    network = make_pipeline(StandardScaler(), student(max_iter=30, n_init=1))
    display = inspection.WidthCurveDisplay.from_estimator(
        make_pipeline(StandardScaler(), distilled(GaussianNB(), network)), data.X, data.y,
        widths=4, seeds=[3], cv=2, fit_params=None,
    )  # fmt: skip
    out.add(frame=display.frame, name=display.score_name)
    model = distilled(GaussianNB(), linear).fit(data.X, data.y, soft_targets=soft_array(data))
    out.call("given", inspection.FidelityDisplay.from_estimator, model, data.held)


@configuration
def probabilities_of_zero(out):
    """Models that give the true class no probability, where log losses are clipped."""
    data = three()
    tree = DecisionTreeClassifier()
    advice = inspection.should_distill(GaussianNB(), tree, data.X, data.y)
    out.add(advice=without_verdict(advice))
    report = inspection.distillation_report(
        tree, tree, data.X, data.y, cv=2, n_seeds=1, distiller=distilled(), n_latency=2
    )
    quiet_report(report, out)
    out.fit(auto(GaussianNB(), tree), data, "tree_student")
    out.fit(auto(tree, student(max_iter=60)), data, "tree_teacher")
    out.fit(distilled(tree, student(max_iter=60), temperature=3.0), data, "tempered")


@configuration
def soft_targets_that_hardly_sum_to_one(out):
    data = two()
    for error in (1e-9, 5e-7, 5e-6, 5e-5, 5e-4, 5e-3):
        Q = soft_array(data) * (1 + error)
        for name, model in {
            "network": student(max_iter=20, random_state=0),
            "module": module(max_epochs=5),
            "distilled": distilled(forest(), LogisticRegression()),
        }.items():
            out.fit(model, data, f"{name} {error:g}", soft_targets=Q)
        out.call(f"soft_log_loss {error:g}", metrics.soft_log_loss, Q, Q)
        out.call(f"fidelity {error:g}", metrics.fidelity_score, Q, Q)


# theory, datasets, metrics


@configuration
def theory_functions(out):
    data = iris(60)
    unit = data.X / np.linalg.norm(data.X, axis=1, keepdims=True)
    binary = (data.y == 2).astype(int)
    few = slice(0, 24)
    margin = functools.partial(theory.ntk_margin, random_state=0, max_iter=20, device="cpu")
    out.call("margin_binary", margin, unit[few], binary[few], n_draws=200)
    out.call("margin", margin, unit[few], data.y[few], n_draws=200, smoothing=0.1)
    for labels in ("soft", "hard"):
        for constants in ("sharp", "published"):
            out.call(
                f"width {labels} {constants}", theory.required_width, 0.2, 0.1, 500,
                labels=labels, constants=constants,
            )  # fmt: skip
    out.call("width_error", theory.required_width, -1.0, 0.1, 500)
    for kernel in ("ntk", "ntk-full", "nngp", "laplace", gaussian_kernel):
        name = kernel if isinstance(kernel, str) else "callable"
        out.call(f"ratio {name}", theory.information_ratio, unit, data.y, kernel=kernel, k=3)
    names = np.array(["ash", "birch", "cedar"])[data.y]
    out.call("ratio of names", theory.information_ratio, unit, names)
    out.call("precomputed", theory.kernel_spectrum, unit @ unit.T, kernel="precomputed")
    spectrum = theory.kernel_spectrum(unit, data.y, center=False)
    out.add(spectrum=spectrum, dimension=spectrum.effective_dimension(0.1))
    out.call("soft_ratio", theory.information_ratio, unit, probabilities(data.y, 3), center=False)


@configuration
def datasets_transfer_rows(out):
    frame, X = mixed().X, three().X
    for method in ("munge", "gibbs"):
        for name, rows in {"frame": frame, "array": X, "float32": X.astype(np.float32)}.items():
            out.call(
                f"{method} {name}", datasets.make_transfer_rows, rows, 80, method=method,
                random_state=0, return_copies=True,
            )  # fmt: skip
        out.call(
            f"{method} weights", datasets.make_transfer_rows, frame, 50, method=method,
            sample_weight=weights_of(len(frame), zeros=True), random_state=1,
        )  # fmt: skip
    one_hot = np.column_stack([np.eye(4)[np.arange(150) % 4], X[:, :2]])
    out.call(
        "options", datasets.make_transfer_rows, one_hot, 60, swap_probability=0.3,
        local_variance=4.0, random_state=0,
    )  # fmt: skip
    out.call(
        "near", datasets.make_transfer_rows, one_hot, 60, method="gibbs", n_neighbors=2,
        random_state=np.random.RandomState(4),
    )  # fmt: skip


@configuration
def datasets_noise(out):
    data = digits(120, n_class=4)
    noise = datasets.add_label_noise
    for kind in ("symmetric", "pair"):
        out.call(kind, noise, data.y, 0.3, kind=kind, random_state=0)
        out.call(f"{kind} true", noise, data.y, 0.3, include_true=True, random_state=0)
    T = 0.7 * np.eye(4) + 0.1 * (1 - np.eye(4))
    out.call("transition", noise, data.y, kind="class-conditional", transition=T, random_state=1)
    options = {"kind": "feature-dependent", "X": data.X, "random_state": 0}
    out.call("features", noise, data.y, 0.3, **options)
    out.call("estimator", noise, data.y, 0.2, estimator=GaussianNB(), **options)
    out.call("error", noise, data.y, 0.3, X=data.X)
    out.call("gaussian", datasets.add_gaussian_noise, data.X, 0.5, random_state=0)
    out.call(
        "classes", datasets.select_classes, data.X, data.y, [3, 1],
        target_names=["zero", "one", "two", "three"],
    )  # fmt: skip


@configuration
def metrics_functions(out):
    data = three()
    codes = np.unique(data.y, return_inverse=True)[1]
    P, Q, w = probabilities(codes, 3), probabilities(codes, 3, seed=1), weights_of(150, zeros=True)
    out.call("fidelity", metrics.fidelity_score, P, Q)
    out.call("fidelity_weights", metrics.fidelity_score, P, Q, sample_weight=w)
    out.call("agreement", metrics.agreement_score, P.argmax(1), Q.argmax(1), sample_weight=w)
    out.call("calibration", metrics.expected_calibration_error, data.y, P)
    binary = metrics.expected_calibration_error
    out.call("calibration_binary", binary, codes == 1, P[:, 1], n_bins=7)
    out.call("labels", binary, codes, P, labels=[0, 1, 2], n_bins=5)
    out.call("soft_log_loss", metrics.soft_log_loss, P, Q, sample_weight=w)
    zero = np.eye(3)[(codes + 1) % 3]
    out.call("soft_log_loss_of_zeros", metrics.soft_log_loss, P, zero)
    out.call("error", metrics.soft_log_loss, P, 2 * Q)


@configuration
def interfaces(out):
    """Signatures, parameters and tags of all that is public."""
    for name in sklearn_kd.__all__:
        value = getattr(sklearn_kd, name)
        if inspect.isclass(value):
            out.add(**{f"{name}.signature": signature_of(value)})
            public = [each for each in dir(value) if not each.startswith("_")]
            out.add(**{f"{name}.names": public})
        elif name != "exceptions":
            for each in value.__all__:
                member = getattr(value, each)
                out.add(**{f"{name}.{each}.signature": signature_of(member)})
        else:
            for each in value.__all__:
                bases = [b.__name__ for b in getattr(value, each).__mro__]
                out.add(**{f"{name}.{each}": bases})
    for model in (
        TwoLayerPGDClassifier(),
        KernelTeacher(),
        ModuleClassifier(Network),
        DistilledClassifier(),
        DistilledClassifier(forest(), LogisticRegression()),
        SelfDistillClassifier(),
        BatchedGridSearchCV(student(), {}),
    ):
        tags = dataclasses.asdict(model.__sklearn_tags__())
        out.add(**{f"{model!r}.tags": tags, f"{model!r}.params": model.get_params(deep=False)})


def signature_of(function):
    parameters = inspect.signature(function).parameters.values()
    found = []
    for each in parameters:
        default = each.default
        if inspect.isclass(default):
            default = "required" if default is inspect.Parameter.empty else default.__name__
        found.append(f"{each.kind.name} {each.name}={default!r}")
    return found


# ---- Writing and comparing


def without_traceback(message):
    """Message less the lines that name files, as warnings of failed fits have them."""
    lines = [line for line in str(message).splitlines() if line[:1] not in (" ", "\t")]
    return "\n".join(line for line in lines if not line.startswith("Traceback"))


def state_digest():
    """Digests of the global generators, which fits with seeds leave as they are."""
    numpy_state = repr(np.random.get_state()[1:]).encode() + np.random.get_state()[1].tobytes()
    torch_state = torch.random.get_rng_state().numpy().tobytes()
    return [digest(numpy_state), digest(torch_state)]


def run(name):
    """Run a configuration; its values, warnings, error and seconds."""
    np.random.seed(0)
    torch.manual_seed(0)
    out, error, trace = Outcome(), None, ""
    start = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            CONFIGURATIONS[name](out)
        except Exception as reason:
            error, trace = f"{type(reason).__name__}: {reason}", traceback.format_exc()
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    told = sorted(f"{each.category.__name__}: {without_traceback(each.message)}" for each in caught)
    out.values["global generators"] = repr(state_digest())
    return {
        "values": out.values,
        "warnings": told,
        "error": error,
        "traceback": trace,
        "seconds": time.process_time() - start,
    }


def write(path, only):
    torch.set_num_threads(1)
    matplotlib.use("agg")
    versions = {each.__name__: each.__version__ for each in (np, sklearn, torch, pd)}
    print(f"sklearn_kd of {os.path.dirname(sklearn_kd.__file__)}", flush=True)
    records = {}
    with threadpool_limits(1):
        for name in CONFIGURATIONS:
            if re.search(only, name):
                records[name] = record = run(name)
                told = f"{len(record['warnings'])} warnings" if record["warnings"] else ""
                told = f"{record['seconds']:6.1f} s  {name}  {told}  {record['error'] or ''}"
                print(told.rstrip(), flush=True)
    with gzip.open(path, "wb", compresslevel=1) as file:
        pickle.dump({"versions": versions, "records": records}, file)
    seconds = sum(record["seconds"] for record in records.values())
    print(f"{len(records)} configurations, {seconds:.0f} s of CPU time, {path}")


def read(path):
    with gzip.open(path) as file:
        return pickle.load(file)


def difference(a, b, rtol):
    """Text about two leaves that differ, or None."""
    if type(a) is not type(b):
        return f"{type(a).__name__} {short(a)} became {type(b).__name__} {short(b)}"
    if isinstance(a, str | bytes) or a is None:
        return None if a == b else f"{short(a)} became {short(b)}"
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind == "U" and b.dtype.kind == "U":
        if a.shape == b.shape and (a == b).all():
            return None
        return f"other texts: {short(a.ravel())} became {short(b.ravel())}"
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"{a.dtype} {a.shape} became {b.dtype} {b.shape}"
    if a.tobytes() == b.tobytes():
        return None
    if a.dtype.kind not in "fc" or not a.size:
        return f"{np.count_nonzero(a != b)} of {a.size} entries differ"
    finite = np.isfinite(a) & np.isfinite(b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if not (finite | same).all():
        return f"{np.count_nonzero(~(finite | same))} entries are finite or NaN on one side only"
    largest = float(np.abs(a[finite] - b[finite]).max(initial=0.0))
    scale = float(np.abs(a[finite]).max(initial=0.0))
    if rtol is not None and largest <= rtol * max(scale, np.finfo(float).tiny):
        return None
    return f"largest absolute difference {largest:.3g} (largest value {scale:.3g})"


def short(value):
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 160 else f"{text[:157]}..."


def compare(path_a, path_b, rtol=None, ignore=None, only="", ignore_messages=False):
    """Print what differs; return the number of configurations that do."""
    first, second = read(path_a), read(path_b)
    if first["versions"] != second["versions"]:
        print(f"versions differ: {first['versions']} and {second['versions']}")
    first, second = first["records"], second["records"]
    names = [name for name in {**first, **second} if re.search(only, name)]
    n_different = 0
    for name in names:
        if name not in first or name not in second:
            print(f"{name}: only in {path_a if name in first else path_b}")
            n_different += 1
            continue
        a, b = first[name], second[name]
        lines = []
        for key in {**a["values"], **b["values"]}:
            if ignore and re.search(ignore, key):
                continue
            if key not in b["values"]:
                lines.append(f"only in A: {key} = {short(a['values'][key])}")
            elif key not in a["values"]:
                lines.append(f"only in B: {key} = {short(b['values'][key])}")
            else:
                text = difference(a["values"][key], b["values"][key], rtol)
                if text:
                    lines.append(f"{key}: {text}")
        told_a, told_b = a["warnings"], b["warnings"]
        failed_a, failed_b = a["error"] or "none", b["error"] or "none"
        if ignore_messages:
            told_a, told_b = ([each.split(":")[0] for each in told] for told in (told_a, told_b))
            failed_a, failed_b = failed_a.split(":")[0], failed_b.split(":")[0]
        for side, here, there in (("A", told_a, told_b), ("B", told_b, told_a)):
            for each in dict.fromkeys(here):
                more = here.count(each) - there.count(each)
                if more > 0:
                    lines.append(f"warning {more} times only in {side}: {each}")
        if failed_a != failed_b:
            lines.append(f"error: {failed_a} became {failed_b}")
            lines += (b["traceback"] or "").splitlines()[-6:]
        n_different += bool(lines)
        same = "equal bits" if rtol is None else f"equal to {rtol:g}"
        print(f"{name}: {'' if lines else same}".rstrip())
        for line in lines[:40]:
            print(f"    {line}")
        if len(lines) > 40:
            print(f"    and {len(lines) - 40} more")
    print(f"{len(names) - n_different} of {len(names)} configurations are equal")
    return n_different


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write", help="fit all configurations and store the results")
    writing.add_argument("file")
    writing.add_argument("--only", default="", help="regular expression for the names to run")
    comparing = commands.add_parser("compare", help="compare two files")
    comparing.add_argument("file_a")
    comparing.add_argument("file_b")
    comparing.add_argument("--rtol", type=float, help="of the largest value of each array")
    comparing.add_argument("--ignore", help="regular expression for attributes to leave out")
    comparing.add_argument("--only", default="", help="regular expression for configurations")
    comparing.add_argument(
        "--ignore-messages", action="store_true", help="compare warnings and errors by class only"
    )
    commands.add_parser("list", help="print the names of the configurations")
    args = parser.parse_args()
    if args.command == "write":
        write(args.file, args.only)
    elif args.command == "list":
        print("\n".join(CONFIGURATIONS))
    else:
        options = {"rtol": args.rtol, "ignore": args.ignore, "only": args.only}
        n_different = compare(
            args.file_a, args.file_b, ignore_messages=args.ignore_messages, **options
        )
        sys.exit(bool(n_different))


if __name__ == "__main__":
    main()
