"""Fitted models of every kind that files can be written of, and raw rows for them."""

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_selection import SelectFromModel, SelectKBest, VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    HuberRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    DistilledRegressor,
    KernelTeacherRegressor,
    ModuleClassifier,
    ModuleRegressor,
    SelfDistillClassifier,
    TableEncoder,
    TwoLayerPGDClassifier,
    TwoLayerPGDRegressor,
)
from sklearn_kd.modules import MLP
from tests._helpers.tables import raw_table

SHORT = {"max_iter": 5, "early_stopping": False, "random_state": 0}
#: Kinds of labels, of the two and the three classes of `labels`.
LABELS = {
    "text": ["no", "yes", "perhaps"],
    "integer": [3, -1, 7],
    "boolean": [False, True],
    "number": [1.0, 2.0, 5.0],
}


def table(n=150):
    """Return raw rows, with columns far from zero, of rare levels and of whole numbers."""
    X, _ = raw_table(n)
    rng = np.random.RandomState(0)
    X["stamp"] = 1e6 + rng.rand(n)
    X["rare"] = np.where(rng.rand(n) < 0.1, "r" + pd.Series(np.arange(n)).astype(str), "common")
    X["count"] = rng.poisson(2, n)
    X["constant"] = 7
    return X


def labels(n_classes, kind, n=150):
    rng = np.random.RandomState(1)
    return np.array(LABELS[kind][:n_classes])[rng.randint(0, n_classes, n)]


#: Kinds of targets: as they are, with a column, in other units, and far from zero.
TARGETS = {
    "numbers": (1.0, 0.0),
    "column": (1.0, 0.0),
    "large": (1e9, 0.0),
    "small": (1e-9, 0.0),
    "far": (1.0, 1e9),
}


def targets(n_targets, kind, n=150):
    """Return positive numbers that depend on the columns, (n,) for one target that is no column."""
    X, rng = table(n), np.random.RandomState(1)
    scale, offset = TARGETS[kind]
    y = X["age"] / 10 + 3.0 * (X["color"] == "red") + rng.exponential(size=n)
    y = offset + scale * np.column_stack([y, 4 * y[::-1] + X["count"]])[:, :n_targets]
    return y[:, 0] if n_targets == 1 and kind != "column" else y


def new_rows():
    """Return rows with unknown levels, missing cells where there were none, and extreme numbers."""
    X = table()[:30].reset_index(drop=True).astype({"age": float, "count": float, "flag": object})
    X.loc[0, "color"], X.loc[1, "job"], X.loc[2, "rare"] = "violet", "", "r5"
    X["level"] = X["level"].cat.add_categories("new")
    X.loc[3, "level"] = "new"
    for row, column in enumerate(X.columns, start=5):
        X.loc[row, column] = np.nan
    X.loc[20, ["size", "age", "stamp", "count"]] = [1e30, -1e30, 1e9, 1e-300]
    X.loc[21, ["size", "age", "stamp", "count"]] = [-5.0, 1e5, -1e6, 1e5]
    return X


def prepared(scaler, encoder=None):
    """Return a ColumnTransformer for numbers and texts."""
    encoder = encoder or OneHotEncoder(handle_unknown="ignore")
    numbers = make_pipeline(SimpleImputer(add_indicator=True), scaler)
    texts = make_pipeline(SimpleImputer(strategy="most_frequent"), encoder)
    of_numbers = make_column_selector(dtype_include="number")
    return make_column_transformer(
        (numbers, of_numbers), (texts, make_column_selector(dtype_exclude="number"))
    )


def network(**params):
    return TwoLayerPGDClassifier(4, **{**SHORT, **params})


def regressor(**params):
    return TwoLayerPGDRegressor(4, **{**SHORT, **params})


def distilled(student, **params):
    teacher = make_pipeline(TableEncoder(), LogisticRegression())
    fixed = {"alpha": 0.5, "temperature": 1.0, "augmentation": None, "random_state": 0}
    return DistilledClassifier(teacher, student, **{**fixed, **params})


def chosen_columns(n_columns, forest=RandomForestClassifier):
    """Return a step that keeps the columns of a raw table that are most important to a forest."""
    return SelectFromModel(
        make_pipeline(OrdinalEncoder(encoded_missing_value=-1), forest(9, random_state=0)),
        threshold=-np.inf,
        max_features=n_columns,
        importance_getter=f"named_steps.{forest.__name__.lower()}.feature_importances_",
    ).set_output(transform="pandas")


UNKNOWN = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
INFREQUENT = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=9, drop="first")
MODELS = {
    "network": network(),
    "network of members": network(n_members=3),
    "network of standard start": network(init="standard", input_intercept=False),
    "MLP": ModuleClassifier(
        MLP, module_params={"width": 4, "depth": 2}, encoder="auto", max_epochs=2, random_state=0
    ),
    "network behind OneHotEncoder": make_pipeline(
        prepared(StandardScaler()), network(encoder=None)
    ),
    "members behind OneHotEncoder": make_pipeline(
        prepared(RobustScaler()), network(encoder=None, n_members=2)
    ),
    "encoder behind OrdinalEncoder": make_pipeline(prepared(MinMaxScaler(), UNKNOWN), network()),
    "TableEncoder, scaler, network": make_pipeline(
        TableEncoder(), StandardScaler(), network(encoder=None)
    ),
    "network of few columns": make_pipeline(chosen_columns(4), network()),
    "distilled network of few columns": distilled(make_pipeline(chosen_columns(3), network())),
    "network of few encoded columns": make_pipeline(
        TableEncoder(), VarianceThreshold(0.01), SelectKBest(k=9), network(encoder=None)
    ),
    "linear": make_pipeline(TableEncoder(n_bins=3), LogisticRegression()),
    "linear behind MinMaxScaler": make_pipeline(
        prepared(MinMaxScaler((-1, 2), clip=True), INFREQUENT), LogisticRegression()
    ),
    "MLP of scikit-learn": make_pipeline(
        TableEncoder(), MLPClassifier((4, 3), max_iter=9, random_state=0)
    ),
    "tree": make_pipeline(TableEncoder(), DecisionTreeClassifier(max_depth=6, random_state=0)),
    "tree behind a scaler": make_pipeline(
        prepared(StandardScaler(), INFREQUENT), DecisionTreeClassifier(max_depth=6, random_state=0)
    ),
    "forest": make_pipeline(TableEncoder(), RandomForestClassifier(3, random_state=0)),
    "extra trees": make_pipeline(
        prepared(MaxAbsScaler(), UNKNOWN), ExtraTreesClassifier(3, random_state=0)
    ),
    "boosting": make_pipeline(
        TableEncoder(), HistGradientBoostingClassifier(max_iter=3, random_state=0)
    ),
    "distilled": distilled(network(), temperature=2.0),
    "distilled, prior": distilled(network(), class_prior="uniform"),
    "distilled members, prior": distilled(
        network(n_members=2), temperature=2.0, class_prior="uniform"
    ),
    "distilled tree": distilled(
        make_pipeline(TableEncoder(), DecisionTreeClassifier(max_depth=3, random_state=0)),
        alpha=1.0,
        temperature=3.0,
    ),
    "self-distilled": SelfDistillClassifier(network()),
    "search": GridSearchCV(network(), {"width": [2, 4]}, cv=2),
    "batched search": BatchedGridSearchCV(network(), {"width": [2, 4]}, cv=2),
    "sigmoid": CalibratedClassifierCV(network(), cv=2),
    "isotonic": CalibratedClassifierCV(network(), method="isotonic", cv=2),
    "temperature": CalibratedClassifierCV(
        make_pipeline(TableEncoder(), DecisionTreeClassifier(max_depth=3, random_state=0)),
        method="temperature",
        cv=2,
        ensemble=False,
    ),
}


def distilled_regressor(student, **params):
    fixed = {"teacher": make_pipeline(TableEncoder(), Ridge()), "alpha": 0.5}
    fixed |= {"augmentation": None, "random_state": 0}
    return DistilledRegressor(student=student, **{**fixed, **params})


QUANTILES = {"loss": "quantile", "quantiles": (0.05, 0.4, 0.6, 0.95)}
REGRESSORS = {
    "regressor": regressor(),
    "regressor of members": regressor(n_members=3),
    "regressor of fixed signs": regressor(init="symmetric", input_intercept=False),
    "quantiles": regressor(**QUANTILES),
    "quantiles of members": regressor(**QUANTILES, n_members=2),
    "MLP of numbers": ModuleRegressor(
        MLP, module_params={"width": 4, "depth": 2}, encoder="auto", max_epochs=2, random_state=0
    ),
    "MLP of quantiles": ModuleRegressor(
        MLP, **QUANTILES, module_params={"width": 4}, encoder="auto", max_epochs=2, random_state=0
    ),
    "regressor behind OneHotEncoder": make_pipeline(
        prepared(StandardScaler()), regressor(encoder=None)
    ),
    "linear regression": make_pipeline(TableEncoder(n_bins=3), LinearRegression()),
    "ridge behind MinMaxScaler": make_pipeline(
        prepared(MinMaxScaler((-1, 2), clip=True), INFREQUENT), Ridge()
    ),
    "huber": make_pipeline(TableEncoder(), HuberRegressor(max_iter=9)),
    "poisson": make_pipeline(TableEncoder(), PoissonRegressor(max_iter=9)),
    "MLPRegressor": make_pipeline(
        TableEncoder(), MLPRegressor(hidden_layer_sizes=(4, 3), max_iter=9, random_state=0)
    ),
    "regression tree": make_pipeline(
        TableEncoder(), DecisionTreeRegressor(max_depth=6, random_state=0)
    ),
    "regression forest": make_pipeline(TableEncoder(), RandomForestRegressor(3, random_state=0)),
    "regression extra trees": make_pipeline(
        prepared(MaxAbsScaler(), UNKNOWN), ExtraTreesRegressor(3, random_state=0)
    ),
    "regression boosting": make_pipeline(
        TableEncoder(), HistGradientBoostingRegressor(max_iter=3, random_state=0)
    ),
    "gamma boosting": make_pipeline(
        TableEncoder(), HistGradientBoostingRegressor("gamma", max_iter=3, random_state=0)
    ),
    "logarithms": TransformedTargetRegressor(regressor(), func=np.log1p, inverse_func=np.expm1),
    "standardized": TransformedTargetRegressor(
        make_pipeline(TableEncoder(), Ridge()), transformer=StandardScaler()
    ),
    "distilled regressor": distilled_regressor(regressor()),
    "distilled regressor of few columns": distilled_regressor(
        make_pipeline(chosen_columns(3, RandomForestRegressor), regressor())
    ),
    "distilled forest of numbers": distilled_regressor(
        make_pipeline(TableEncoder(), RandomForestRegressor(3, random_state=0))
    ),
    "distilled quantiles": distilled_regressor(
        regressor(), teacher=KernelTeacherRegressor(), quantiles=(0.1, 0.4, 0.9)
    ),
    "distilled quantiles of a forest": distilled_regressor(
        make_pipeline(TableEncoder(), RandomForestRegressor(3, random_state=0)),
        teacher=KernelTeacherRegressor(),
        quantiles=(0.1, 0.5, 0.9),
        alpha=1.0,
    ),
    "regression search": GridSearchCV(regressor(), {"width": [2, 4]}, cv=2),
}
#: Regressors that refuse several targets.
SINGLE = {"huber", "poisson", "regression boosting", "gamma boosting"}
SINGLE |= {"distilled quantiles", "distilled quantiles of a forest"}


def fitted(name, n=2, kind="text"):
    """Return a model that was fitted on labels of n classes, or on n targets of a kind."""
    if name in REGRESSORS:
        n, kind = (1, "numbers") if kind == "text" else (n, kind)
        return REGRESSORS[name].fit(table(), targets(n, kind))
    return MODELS[name].fit(table(), labels(n, kind))


def cases(fast=None):
    """Return parameters (name, n, kind) of `fitted`.

    The others than the first kind of labels and of targets are slow tests.

    Parameters
    ----------
    fast : dict, default=None
        Names of models that are no slow test, and their numbers of classes or targets. None is all.
    """
    of_labels = [(2, "text"), (2, "boolean"), (2, "integer"), (3, "text"), (3, "integer")]
    of_labels.append((3, "number"))
    of_targets = [(1, "numbers"), (2, "numbers"), (1, "column"), (1, "large"), (1, "small")]
    of_targets += [(1, "far"), (2, "far")]
    found = [(name, *each) for name in MODELS for each in of_labels]
    found += [
        (name, *each)
        for name in REGRESSORS
        for each in of_targets
        if each[0] == 1 or name not in SINGLE
    ]
    params = []
    for name, n, kind in found:
        n_fast = 2 - (name in REGRESSORS) if fast is None else fast.get(name)
        is_fast = n == n_fast and kind in ("text", "numbers")
        params.append(pytest.param(name, n, kind, marks=[pytest.mark.slow] * (not is_fast)))
    return params


def expected_answers(model, X):
    """Return probabilities, or predictions and then quantiles, as (n, answers) in float64."""
    if hasattr(model, "predict_proba"):
        return model.predict_proba(X)
    numbers = np.asarray(model.predict(X), dtype=np.float64)
    parts = [numbers.reshape(len(numbers), -1)]
    if getattr(model, "quantiles_", None) is not None:
        parts.append(model.predict_quantiles(X).reshape(len(numbers), -1))
    return np.column_stack(parts)


def one_answer(made, row):
    """Return probabilities, or predictions and then quantiles, of a row by a compact model."""
    if hasattr(made, "predict_proba_one"):
        return made.predict_proba_one(row)
    parts = [np.ravel(made.predict_one(row))]
    if hasattr(made, "predict_quantiles_one"):
        parts.append(made.predict_quantiles_one(row).ravel())
    return np.concatenate(parts)


def assert_answers_close(found, expected, tolerance, model):
    """Check answers: probabilities to a tolerance, numbers relative to the size of the targets.

    Numbers are compared in units of the deviation of all answers of the model to the training rows
    or, for rows far away, of their own distance from the mean answer. Trees of scikit-learn do not
    split on targets of 1e-9: their answers are a constant without a deviation, which float64 has to
    keep and float32 may only round.
    """
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
        return
    found, known = np.reshape(found, np.shape(expected)), expected_answers(model, table())
    size = known.std() + np.abs(expected - known.mean(axis=0))
    rounding = 64 * np.spacing(np.abs(expected))  # of sums of trees, and of logarithms
    if tolerance == 1e-6 and known.std() < 1e-12 * np.abs(known).max():
        rounding = rounding + np.spacing(np.abs(expected).astype(np.float32))
    error = np.abs(found - expected)
    assert (error <= tolerance * size + rounding).all(), (error / size).max()


def numbers(n=200, n_classes=2, seed=0):
    """Return rows of three numbers without names, and the codes of their labels."""
    X = np.random.RandomState(seed).normal(size=(n, 3))
    return X, np.digitize(X[:, 0] + 0.3 * X[:, 1], [0.0, 1.0][: n_classes - 1])


def boosted_categories():
    """Return boosted trees that were fitted on categories, and rows for them."""
    X, new = table().drop(columns="flag"), new_rows().drop(columns="flag")
    for column in ("color", "job", "rare"):
        X[column] = X[column].astype("category")
        known = X[column].cat.categories
        new[column] = pd.Categorical(new[column].where(new[column].isin(known)), known)
    new["level"] = new["level"].cat.set_categories(X["level"].cat.categories)
    model = HistGradientBoostingClassifier(max_iter=9, min_samples_leaf=3, random_state=0)
    return model.fit(X, labels(3, "text")), new


def boosted_numbers():
    """Return boosted trees that were fitted on numbers, and rows of infinite ones."""
    model = HistGradientBoostingClassifier(max_iter=3).fit(*numbers(60))
    return model, np.array([[np.inf, -np.inf, np.nan], [-np.inf, np.inf, 5e-324]])


def with_unseen_class(**params):
    """Return a distilled tree with the classes -1, 3 and 9, whose labels lack the last one."""
    X, y = table(), labels(2, "integer")
    soft = pd.DataFrame({-1: (y == -1) * 0.9 + 0.05, 3: (y == 3) * 0.9 + 0.05, 9: 0.0})
    student = make_pipeline(TableEncoder(), DecisionTreeClassifier(max_depth=2))
    model = distilled(student, alpha=1.0, **params)
    return model.fit(X, y, soft_targets=soft)


def beside_thresholds(shift, n=300, n_steps=40):
    """Return a tree behind a scaler, and rows within some steps of float64 of its thresholds.

    Trees of scikit-learn compare float32, after a scaler in float64.
    """
    X = shift + np.random.RandomState(0).normal(size=(n, 1))
    y = np.random.RandomState(1).randint(0, 2, n)
    model = make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0)).fit(X, y)
    tree = model[-1].tree_
    edges = tree.threshold[tree.feature >= 0] * model[0].scale_ + model[0].mean_
    near = edges[:, None] + np.spacing(edges)[:, None] * np.arange(-n_steps, n_steps + 1)
    return model, np.append(near.ravel(), X)[:, None]
