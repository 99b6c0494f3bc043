"""A raw table with strings and missing cells goes through every entry point as it is."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import get_tags

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    KernelTeacher,
    TableEncoder,
    TwoLayerPGDClassifier,
)
from sklearn_kd._utils.sklearn_compat import safe_indexing
from sklearn_kd.inspection import (
    FidelityDisplay,
    WidthCurveDisplay,
    distillation_report,
    should_distill,
)
from tests._helpers.tables import raw_table

WORDS = ["color", "job", "level"]
FIXED = {"alpha": 0.5, "temperature": 1.0, "augmentation": None}

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.NoGainWarning"),
]


def trees(**params):
    return HistGradientBoostingClassifier(max_iter=2, categorical_features=WORDS, **params)


def linear():
    """Return a teacher that is fitted in a moment."""
    return make_pipeline(TableEncoder(n_bins=2), LogisticRegression(max_iter=200))


def distiller(teacher=None, **params):
    network = TwoLayerPGDClassifier(4, max_iter=3, n_init=1)
    teacher = linear() if teacher is None else teacher
    return DistilledClassifier(teacher, network, **{**FIXED, "random_state": 0, **params})


@pytest.fixture(autouse=True)
def skip_if_missing(request):
    if "library" in request.fixturenames:
        pytest.importorskip(request.getfixturevalue("library"))


@pytest.mark.parametrize(
    ("library", "teacher"),
    [
        ("pandas", trees()),
        ("polars", trees()),
        ("pandas", make_pipeline(TableEncoder(), RandomForestClassifier(3))),
        ("polars", KernelTeacher()),
    ],
    ids=["boosting", "boosting, polars", "forest", "kernel"],
)
def test_teachers(library, teacher):
    X, y = raw_table(120, library)
    model = distiller(teacher).fit(X, y)
    proba = model.student_.predict_proba(X)
    np.testing.assert_allclose(model.predict_proba(X), proba, atol=1e-12)
    one = safe_indexing(X, [7])
    np.testing.assert_allclose(model.predict_proba(one), proba[7:8], atol=1e-12)
    assert model.feature_names_in_.tolist() == list(X.columns)
    small = model.without_teacher(keep_history=False)
    np.testing.assert_array_equal(small.predict(X), model.predict(X))


def test_libraries_give_the_same_model():
    pytest.importorskip("polars")
    models = []
    for library in ("pandas", "polars"):
        X, y = raw_table(120, library)
        model = distiller(augmentation="gibbs", n_augmented=60).fit(X, y)
        models.append(model.predict_proba(X))
    np.testing.assert_allclose(*models, atol=1e-12)


def test_categories_by_dtype_and_by_name_are_the_same():
    X, y = raw_table()
    by_dtype = X.astype(dict.fromkeys(WORDS, "category"))
    found = [
        distiller(clone(trees()).set_params(categorical_features=named)).fit(table, y)
        for table, named in ((X, WORDS), (by_dtype, "from_dtype"))
    ]
    np.testing.assert_array_equal(found[0].predict_proba(X), found[1].predict_proba(by_dtype))


@pytest.mark.parametrize(
    ("library", "options"),
    [
        ("polars", {"alpha": "auto", "temperature": "auto", "augmentation": "auto"}),
        ("pandas", {"augmentation": "munge"}),
        ("polars", {"augmentation": lambda X, n_rows, seed: safe_indexing(X, np.arange(n_rows))}),
        ("pandas", {"cv": 2, "class_weight": "balanced", "class_prior": "uniform"}),
        ("polars", {"cv": "in-sample"}),
    ],
    ids=["auto", "munge", "callable", "cv", "in-sample"],
)
def test_settings(library, options):
    X, y = raw_table(120, library)
    model = distiller(**{"n_augmented": 40, **options}).fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()


@pytest.mark.parametrize(
    ("library", "metadata"),
    [
        ("polars", "unlabeled"),
        ("pandas", "weights"),
        ("polars", "validation rows"),
        ("pandas", "groups"),
        ("polars", "soft targets"),
    ],
)
def test_metadata(library, metadata):
    X, y = raw_table(120, library)
    more, y_more = raw_table(30, library, seed=1)
    model, groups = distiller(), np.arange(120) // 5
    options = {
        "unlabeled": {"X_unlabeled": more},
        "weights": {"sample_weight": np.arange(120) % 3},
        "validation rows": {"X_val": more, "y_val": y_more},
        "groups": {"groups": groups},
        "soft targets": {"soft_targets": np.tile([0.3, 0.7], (120, 1))},
    }[metadata]
    if metadata == "groups":
        model.set_params(cv=GroupKFold(3), augmentation="gibbs", n_augmented=40)
    model.fit(X, y, **options)
    assert np.isfinite(model.predict_proba(more)).all()


def test_new_levels_and_cells_that_are_missing_at_predict_alone():
    X, y = raw_table()
    model = distiller().fit(X, y)
    strange = X.iloc[:3].astype({"level": object, "flag": object})
    strange.loc[strange.index[0], ["color", "level"]] = "new"
    strange.loc[strange.index[1], ["job", "age", "flag"]] = None
    assert np.isfinite(model.predict_proba(strange)).all()


@pytest.mark.parametrize(
    ("kind", "library"), [(GridSearchCV, "pandas"), (BatchedGridSearchCV, "polars")]
)
def test_searches(kind, library):
    X, y = raw_table(120, library)
    grid = {"student__width": [2, 4], "student__max_iter": [3], "student__n_init": [1]}
    # the student is left at its default
    model = DistilledClassifier(linear(), **FIXED, cv=2, random_state=0)
    search = kind(model, grid, cv=2).fit(X, y)
    assert search.best_params_["student__width"] in (2, 4)
    assert np.isfinite(search.predict_proba(X)).all()


@pytest.mark.parametrize("kind", [GridSearchCV, BatchedGridSearchCV])
def test_search_over_the_encoder_that_is_given(kind):
    X, y = raw_table()
    model = distiller(cv=2).set_params(student__encoder=TableEncoder())
    search = kind(model, {"student__encoder__n_bins": [1, 4]}, cv=2).fit(X, y)
    n_bins = search.best_params_["student__encoder__n_bins"]
    assert search.best_estimator_.student_.encoder_.n_bins == n_bins


@pytest.mark.parametrize("library", [pytest.param("pandas", marks=pytest.mark.slow), "polars"])
def test_inspection(library):
    pytest.importorskip("matplotlib")
    X, y = raw_table(120, library)
    model = distiller(cv=2)
    short = {"cv": 2, "n_seeds": 1, "n_latency": 1}
    report = distillation_report(None, None, X, y, distiller=model, **short)
    assert np.isfinite(report.frame["log_loss"]).all()
    decision = should_distill(model.teacher, model.student, X, y, cv=2, random_state=0)
    assert decision.decision in ("yes", "no", "undecided")
    FidelityDisplay.from_estimator(clone(model).fit(X, y), X, y)
    display = WidthCurveDisplay.from_estimator(model, X, y, widths=[2, 4], seeds=1, cv=2)
    assert set(display.frame["width"].dropna()) >= {2, 4}


def test_tags_are_what_teacher_and_student_take():
    for teacher, encoder, text, missing in [
        (None, "auto", True, True),
        (None, None, False, False),
        (trees(), "auto", False, True),
        (KernelTeacher(encoder=None), "auto", False, False),
        (make_pipeline(TableEncoder(), RandomForestClassifier()), "auto", True, True),
    ]:
        student = TwoLayerPGDClassifier(encoder=encoder)
        tags = get_tags(DistilledClassifier(teacher, student)).input_tags
        assert (tags.string, tags.categorical, tags.allow_nan) == (text, text, missing)
    for defaults in (DistilledClassifier(), DistilledClassifier(student="auto")):
        assert get_tags(defaults).input_tags.string


def test_rows_of_numbers_in_a_frame_and_in_an_array_give_the_same_model():
    X, y = raw_table()
    numbers = X[["size", "age"]].fillna(0).astype(float)
    teacher = DecisionTreeClassifier(max_depth=3)  # BLAS rounds by the layout of rows in memory
    of_frame = distiller(teacher).fit(numbers, y).predict_proba(numbers)
    array = numbers.to_numpy()
    np.testing.assert_array_equal(distiller(teacher).fit(array, y).predict_proba(array), of_frame)
