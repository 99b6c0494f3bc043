"""polars DataFrames and Series give the results of pandas ones."""

import datetime

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    KernelTeacher,
    ModuleClassifier,
    SelfDistillClassifier,
    TwoLayerPGDClassifier,
)
from sklearn_kd._utils.containers import stack_rows
from sklearn_kd._utils.unique_rows import group_rows
from sklearn_kd.datasets import make_transfer_rows
from sklearn_kd.inspection import DistillationDisplay, distillation_report
from sklearn_kd.modules import MLP

pl = pytest.importorskip("polars")


def table(n_rows=120, seed=0):
    rng = np.random.RandomState(seed)
    columns = {
        "size": rng.normal(size=n_rows),
        "color": rng.choice(["red", "green", "blue"], n_rows).tolist(),
        "count": rng.randint(0, 9, n_rows),
    }
    score = columns["size"] + (np.array(columns["color"]) == "red")
    return columns, np.where(score + 0.5 * rng.normal(size=n_rows) > 0, "yes", "no")


def pipeline(last):
    encoder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["color"]), (StandardScaler(), ["size", "count"])
    )
    return make_pipeline(encoder, last)


def distiller(**options):
    network = TwoLayerPGDClassifier(8, max_iter=20, n_init=1)
    options = {"alpha": 0.5, "temperature": 1.0, "augmentation": None, **options}
    return DistilledClassifier(
        pipeline(LogisticRegression()), pipeline(network), random_state=0, **options
    )


def soft_targets(y, frame):
    sure = np.where(y == "yes", 0.9, 0.2)
    return frame({"yes": sure, "no": 1 - sure})


def with_both(fit):
    """Return what ``fit`` returns for the DataFrame and the Series of pandas and of polars."""
    columns, y = table()
    libraries = ((pd.DataFrame, pd.Series), (pl.DataFrame, pl.Series))
    return [fit(frame(columns), series(y), frame, series) for frame, series in libraries]


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": "auto", "temperature": "auto", "augmentation": "auto"},
        {"augmentation": "gibbs"},
        {"augmentation": "munge", "n_augmented": 50},
        {"augmentation": lambda X, n_rows, seed: X[:n_rows], "n_augmented": 50},
    ],
    ids=["auto", "gibbs", "munge", "callable"],
)
@pytest.mark.parametrize("more", ["nothing", "unlabeled", "weights", "soft targets"])
@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.NoGainWarning")
def test_a_fit_is_that_of_pandas(options, more):
    more_columns, _ = table(40, seed=1)
    weight = np.arange(120) % 3

    def fit(X, y, frame, series):
        fit_params = {
            "nothing": {},
            "unlabeled": {"X_unlabeled": frame(more_columns)[["count", "color", "size"]]},
            "weights": {"sample_weight": series(weight)},
            "soft targets": {"soft_targets": soft_targets(np.asarray(y), frame)},
        }[more]
        return distiller(**options).fit(X, y, **fit_params).predict_proba(X)

    expected, proba = with_both(fit)
    np.testing.assert_array_equal(proba, expected)


def numbers(X):
    return X[["size", "count"]]


@pytest.mark.parametrize(
    "fit",
    [
        lambda X, y, frame, series: TwoLayerPGDClassifier(4, max_iter=5, random_state=0).fit(
            numbers(X), y, series(np.arange(120)), soft_targets(np.asarray(y), frame)
        ),
        lambda X, y, frame, series: ModuleClassifier(MLP, max_epochs=2, random_state=0).fit(
            numbers(X), y, series(np.arange(120)), soft_targets(np.asarray(y), frame)
        ),
        lambda X, y, frame, series: KernelTeacher().fit(numbers(X), y, series(np.arange(120))),
        lambda X, y, frame, series: BatchedGridSearchCV(
            TwoLayerPGDClassifier(max_iter=5, random_state=0), {"width": [2, 4]}, cv=2
        ).fit(numbers(X), y, soft_targets=soft_targets(np.asarray(y), frame)),
        lambda X, y, frame, series: DistilledClassifier(
            RandomForestClassifier(10),
            ModuleClassifier(MLP, max_epochs=2, augmentation=lambda rows, generator: rows),
            alpha=0.5,
            temperature=1.0,
            augmentation=None,
            augmented_labels="recomputed",
            random_state=0,
        ).fit(numbers(X), y),
    ],
    ids=["network", "module", "kernel", "search", "recomputed"],
)  # fmt: skip
def test_other_estimators(fit):
    def proba(X, y, frame, series):
        return fit(X, y, frame, series).predict_proba(numbers(X))

    expected, found = with_both(proba)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_reports():
    def measure(X, y, frame, series):
        weight = series(np.arange(120) % 3)
        report = distillation_report(
            None, None, X, y, cv=2, n_seeds=1, n_latency=3, sample_weight=weight,
            distiller=distiller(),
        )  # fmt: skip
        display = DistillationDisplay.from_estimator(distiller(), X, y, cv=2, n_latency=3)
        scores = ["log_loss", "accuracy", "calibration_error", "agreement"]
        return pd.concat([report.frame[scores], display.frame[scores]])

    expected, scores = with_both(measure)
    pd.testing.assert_frame_equal(scores, expected)


@pytest.mark.parametrize("cv", [3, "in-sample"])
def test_label_errors(cv):
    def find(X, y, frame, series):
        network = TwoLayerPGDClassifier(8, max_iter=20, n_init=1)
        model = SelfDistillClassifier(network, random_state=0).fit(numbers(X), y)
        return model.find_label_errors(numbers(X), y, cv=cv)

    expected, found = with_both(find)
    np.testing.assert_array_equal(found["row"], expected["row"])
    np.testing.assert_array_equal(found["label_quality"], expected["label_quality"])


@pytest.mark.parametrize("labels", [[0, 1], [3, 10], [0.0, 2.0], [False, True]])
def test_names_of_columns_of_soft_targets_are_labels_of_any_type(labels):
    X, y = numbers(pl.DataFrame(table()[0])), np.arange(120) % 2
    Q = {str(label): (y == code) * 0.8 + 0.1 for code, label in enumerate(labels)}
    Q = pl.DataFrame(Q).select(list(reversed(Q)))
    model = TwoLayerPGDClassifier(2, max_iter=2, random_state=0)
    found = model.fit(X, np.array(labels)[y], soft_targets=Q).predict_proba(X)
    assert model.classes_.tolist() == labels
    assert model.classes_.dtype == np.array(labels).dtype
    expected = model.fit(X, y, soft_targets=Q.to_numpy()[:, ::-1]).predict_proba(X)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="its columns are"):
        model.fit(X, np.array(labels)[y], soft_targets=Q.rename({str(labels[0]): "other"}))


def test_columns_of_soft_targets_are_labels():
    X, y = numbers(pl.DataFrame(table()[0])), np.arange(120) % 2
    Q = pl.DataFrame({"0": 1 - y, "1": y})
    model = TwoLayerPGDClassifier(2, max_iter=2).fit(X, y.astype(str), soft_targets=Q)
    assert model.classes_.tolist() == ["0", "1"]
    Q = pl.DataFrame({"1": y, "0": 1 - y, "2": 0 * y})
    model = TwoLayerPGDClassifier(2, max_iter=2).fit(X, y.astype(str), soft_targets=Q)
    assert model.classes_.tolist() == ["0", "1", "2"]


def mixed_frame():
    n_rows = 60
    rng = np.random.RandomState(3)
    colors = rng.choice(["red", "green", "blue"], n_rows).tolist()
    colors[3] = None
    days = [datetime.date(2020, 1, 1 + int(day)) for day in rng.randint(0, 9, n_rows)]
    counts = [None, *rng.randint(-9, 9, n_rows - 1).tolist()]
    return pl.DataFrame(
        {
            "float": rng.normal(size=n_rows),
            "single": pl.Series(rng.normal(size=n_rows), dtype=pl.Float32),
            "count": pl.Series(counts, dtype=pl.Int8),
            "color": pl.Series(colors, dtype=pl.Categorical),
            "level": pl.Series(colors, dtype=pl.Enum(["blue", "green", "red", "unused"])),
            "text": colors,
            "flag": (rng.uniform(size=n_rows) > 0.5).tolist(),
            "day": days,
        }
    )


@pytest.mark.parametrize("method", ["gibbs", "munge"])
def test_transfer_rows_have_the_columns_and_types(method):
    X = mixed_frame()
    rows = make_transfer_rows(X, 100, method=method, random_state=0)
    assert isinstance(rows, pl.DataFrame)
    assert rows.schema == X.schema
    assert len(rows) == 100
    for name in ("color", "level", "text", "flag", "day"):
        assert set(rows[name].to_list()) <= set(X[name].to_list())
    assert rows["count"].null_count() > 0
    assert rows["float"].min() >= X["float"].min()
    if method == "munge":
        assert not set(rows["float"].to_list()) <= set(X["float"].to_list())
    given = set(X.rows())
    assert not [row for row in rows.rows() if row in given]
    # the draws are those of a pandas frame with the same values
    frame = pd.DataFrame({name: X[name].to_list() for name in X.columns})
    same = make_transfer_rows(frame, 100, method=method, random_state=0)
    np.testing.assert_allclose(rows["float"].to_numpy(), same["float"])
    assert rows["text"].to_list() == same["text"].to_numpy(dtype=object, na_value=None).tolist()


def test_stacking_keeps_the_types_of_x():
    X = mixed_frame()
    more = X[:5].select(reversed(X.columns)).cast({"color": pl.String, "single": pl.Float64})
    both = stack_rows(X, more)
    assert both.schema == X.schema
    assert both.rows() == X.rows() + X[:5].rows()
    assert stack_rows(X, X[:0]).rows() == X.rows()
    wide = stack_rows(X, X[:5].cast({"count": pl.Float64}))
    assert wide.schema["count"] == pl.Float64
    with pytest.raises(ValueError, match=r"column 'level' of X_unlabeled"):
        stack_rows(X, X[:5].with_columns(level=pl.lit("other")))
    with pytest.raises(ValueError, match=r"columns of X; they differ in \['day'\]"):
        stack_rows(X, X.drop("day"))
    with pytest.raises(TypeError, match=r"polars DataFrame .* pandas DataFrame"):
        stack_rows(X, pd.DataFrame({name: X[name].to_list() for name in X.columns}))


def test_texts_in_a_series():
    X = pl.Series("text", ["a", "b"])
    both = stack_rows(X, ["c"])
    assert isinstance(both, pl.Series)
    assert both.to_list() == ["a", "b", "c"]
    assert stack_rows(["c"], X) == ["c", "a", "b"]
    assert stack_rows(np.array(["c"]), X).tolist() == ["c", "a", "b"]
    first, second, third = group_rows(pl.Series(["a", "b", "a"]))
    assert first == third != second


def test_equal_rows_are_found():
    X = mixed_frame()
    twice = pl.concat([X, X[:20]])
    group = group_rows(twice)
    np.testing.assert_array_equal(group[60:], group[:20])
    assert len(np.unique(group)) == 60
