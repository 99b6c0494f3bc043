"""CompressionCurveDisplay: its frame against plain fits and searches, its choice, its artists."""

import sys
from collections import Counter
from functools import partial
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from sklearn.base import clone, config_context
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold, TimeSeriesSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import DistilledClassifier, TableEncoder, TwoLayerPGDClassifier
from sklearn_kd._utils.row_times import median_microseconds
from sklearn_kd.export import _budget, budget_scoring, compact, smallest_within
from sklearn_kd.inspection import (
    CompressionCurveDisplay,
    _compression_candidates,
    _compression_fits,
)
from tests._helpers.data import FIXED, blobs
from tests._helpers.tables import raw_table

figure = pytest.importorskip("matplotlib.figure")

KEY = ["student", "size", "labels"]
TREES = {"tree": (DecisionTreeClassifier(), {"max_leaf_nodes": [3, 6]})}


@pytest.fixture(autouse=True)
def few_timed_rows(monkeypatch):
    """Time 20 rows in place of 1,000, since no test needs exact times."""
    quick = partial(median_microseconds, n_timed=20)
    for module in (_budget, _compression_fits):
        monkeypatch.setattr(module, "median_microseconds", quick)


@pytest.fixture
def one_size(monkeypatch):
    """Let the default families of trees have one small size each."""
    boosted_trees = {"max_iter": [3], "max_leaf_nodes": [4]}
    monkeypatch.setattr(_compression_candidates, "BOOSTED_TREES", boosted_trees)
    monkeypatch.setattr(_compression_candidates, "TREE", {"max_leaf_nodes": [8]})


@pytest.fixture
def axes():
    return figure.Figure().subplots(1, 2)


def table(n_classes=3, n=90):
    X, y_encoded = blobs(n, n_classes, spread=3.0)
    return X, np.array(["ant", "bee", "cat", "dog"])[y_encoded]


def network(**params):
    fast = {"max_iter": 30, "n_init": 1, "early_stopping": False, "encoder": None}
    return TwoLayerPGDClassifier(**{**fast, **params})


def distilled(teacher=None, student=None, **params):
    teacher = GaussianNB() if teacher is None else teacher
    student = network() if student is None else student
    return DistilledClassifier(teacher, student, **{**FIXED, "random_state": 0, **params})


def measure(model, X, y, axes, **options):
    quick = {"widths": [2, 4], "students": TREES, "cv": 2, "scoring": "neg_log_loss"}
    return CompressionCurveDisplay.from_estimator(model, X, y, ax=axes, **{**quick, **options})


def line_of(frame, student, size, labels, split):
    key = dict(zip(KEY, (student, size, labels), strict=True)) | {"split": split}
    own = frame[np.logical_and.reduce([frame[name] == value for name, value in key.items()])]
    assert len(own) == 1
    return own.iloc[0]


def made_up(**columns):
    """Scores and sizes of three candidates and a teacher on two folds."""
    values = {
        ("net", "width=2", "hard"): (0.80, 100, 20.0),
        ("net", "width=4", "hard"): (0.90, 200, 21.0),
        ("tree", "", "distilled"): (0.88, 150, 5.0),
        ("teacher", "", "teacher"): (0.95, np.nan, np.nan),
    }
    lines = []
    for key, (score, n_bytes, microseconds) in values.items():
        for split in range(2):
            line = {**dict(zip(KEY, key, strict=True)), "split": split}
            line |= {"score": score + 0.02 * split, "n_bytes": n_bytes}
            lines.append(line | {"microseconds": microseconds, "fit_seconds": 1.0})
    return pd.DataFrame(lines).assign(**columns)


@pytest.mark.parametrize("params", [{}, {"augmentation": "munge", "n_augmented": 40}])
def test_lines_are_those_of_plain_fits(axes, params):
    X, y = table()
    cv = StratifiedKFold(2)
    model = distilled(**params)
    frame = measure(model, X, y, axes, cv=cv).frame
    assert len(frame) == 2 * (4 + 4 + 1)
    students = {
        ("network", f"width={width}"): network(width=width, random_state=0) for width in (2, 4)
    }
    for leaves in (3, 6):
        tree = DecisionTreeClassifier(max_leaf_nodes=leaves, random_state=0)
        students["tree", f"max_leaf_nodes={leaves}"] = tree
    seeded = clone(model).set_params(student=DecisionTreeClassifier()).fit(X, y)
    seed = seeded.student_.random_state
    for split, (train, test) in enumerate(cv.split(X, y)):
        for (family, size), student in students.items():
            student.set_params(random_state=seed)
            whole = clone(model).set_params(student=student)
            for labels, each in (("hard", student), ("distilled", whole)):
                fitted = clone(each).fit(X[train], y[train])
                line = line_of(frame, family, size, labels, split)
                expected = -log_loss(y[test], fitted.predict_proba(X[test]))
                assert_allclose(line["score"], expected, rtol=1e-7)
                # a few numbers are written in decimal, and one may need a digit more
                last_digits = 4 if (family, labels) == ("network", "distilled") else 0
                assert_allclose(line["n_bytes"], compact(fitted).n_bytes_, atol=last_digits)
                assert line["microseconds"] > 0
        line = line_of(frame, "teacher", "", "teacher", split)
        teacher = GaussianNB().fit(X[train], y[train])
        assert_allclose(line["score"], -log_loss(y[test], teacher.predict_proba(X[test])))
        assert np.isnan(line[["n_bytes", "microseconds"]].tolist()).all()


def test_the_choice_is_that_of_a_search(axes):
    X, y = table()
    students = [network(width=width, random_state=1) for width in (2, 4, 8)]
    students += [DecisionTreeClassifier(max_leaf_nodes=leaves, random_state=1) for leaves in (3, 6)]
    cv = StratifiedKFold(3)
    search = GridSearchCV(
        distilled(),
        {"student": students},
        scoring=budget_scoring("neg_log_loss"),
        refit=smallest_within("1 se"),
        cv=cv,
    ).fit(X, y)
    results = search.cv_results_
    tree = DecisionTreeClassifier(random_state=1)
    measured = measure(
        distilled(student=network(random_state=1)),
        *(X, y, axes),
        widths=[2, 4, 8],
        students={"tree": (tree, {"max_leaf_nodes": [3, 6]})},
        cv=cv,
    )
    # the students on hard labels compete here too
    frame = measured.frame[measured.frame["labels"] != "hard"]
    names = [("network", f"width={width}") for width in (2, 4, 8)]
    names += [("tree", f"max_leaf_nodes={leaves}") for leaves in (3, 6)]
    chosen = []
    for max_bytes in (None, 700):
        display = CompressionCurveDisplay(
            frame=frame, estimators=measured.estimators, max_bytes=max_bytes
        ).plot(axes)
        index = smallest_within("1 se", max_bytes=max_bytes)(results)
        chosen.append((display.best_params_["student"], display.best_params_["size"]))
        assert chosen[-1] == names[index]
        expected = results["params"][index]["student"]
        assert display.best_estimator_.student.get_params() == expected.get_params()
        assert not hasattr(display.best_estimator_, "classes_")
    assert chosen[0] != chosen[1]
    found = display.table_.set_index(["student", "size"]).loc[names]
    assert_allclose(found["score"], results["mean_test_score"], rtol=1e-7)
    assert_allclose(found["n_bytes"], results["mean_test_n_bytes"], atol=4)
    error = results["std_test_score"] / np.sqrt(3 - 1)
    assert_allclose(found["score_error"], error, rtol=1e-6)
    best = measured.estimators[*names[search.best_index_], "distilled"]
    proba = clone(best).fit(X, y).predict_proba(X)
    assert_allclose(proba, search.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"tolerance": 0}, "width=4"),
        ({"tolerance": 0.03}, ""),
        ({"tolerance": 0.5}, "width=2"),
        ({"tolerance": 0.5, "by": "microseconds"}, ""),
        ({"tolerance": 0, "max_bytes": 150}, ""),
        ({"tolerance": 0, "max_microseconds": 20.5, "max_bytes": 120}, "width=2"),
    ],
)
def test_another_budget_needs_no_fit(axes, options, size):
    estimators = {key: GaussianNB() for key in set(map(tuple, made_up()[KEY].to_numpy()))}
    display = CompressionCurveDisplay(frame=made_up(), estimators=estimators, **options)
    assert display.plot(axes) is display
    assert display.best_params_["size"] == size
    (line,) = display.table_[display.table_["chosen"]].to_dict("records")
    assert {name: line[name] for name in KEY} == display.best_params_
    assert isinstance(display.best_estimator_, GaussianNB)
    for marker, column in zip(display.best_marker_, ["n_bytes", "microseconds"], strict=True):
        assert_allclose(marker.get_xydata(), [[line[column], line["score"]]])
    assert display.table_["n_bytes"].tolist() == [100, 150, 200]
    assert CompressionCurveDisplay(frame=made_up()).plot(axes).best_estimator_ is None


def test_the_frame_may_come_from_a_file(axes):
    frame = pd.read_csv(StringIO(made_up().to_csv(index=False)))
    found, expected = (
        CompressionCurveDisplay(frame=each, tolerance=0.03).plot(axes)
        for each in (frame, made_up())
    )
    assert_frame_equal(found.table_, expected.table_)
    assert found.best_params_ == expected.best_params_
    trees = frame[frame["student"] == "tree"]  # whose sizes are all empty
    assert CompressionCurveDisplay(frame=trees).plot(axes).best_params_["size"] == ""


def test_a_budget_that_no_candidate_keeps_marks_none(axes):
    display = CompressionCurveDisplay(frame=made_up(), max_bytes=99, max_microseconds=2000)
    match = r"no candidate is within 99 bytes and 2,000 microseconds:.*with 100 bytes"
    with pytest.warns(UserWarning, match=match):
        display.plot(axes)
    assert display.best_params_ is display.best_estimator_ is None
    assert display.best_marker_ == []
    assert not display.table_["chosen"].any()


def test_the_teacher_is_fitted_once_for_each_fold(axes):
    calls = {"fit": 0}

    class Counting(GaussianNB):
        def fit(self, X, y, sample_weight=None):
            calls["fit"] += 1
            return super().fit(X, y, sample_weight)

    X, y = table()
    model = distilled(Counting())
    measure(model, X, y, axes, cv=3)
    found = calls["fit"]
    calls["fit"] = 0
    for train, _ in StratifiedKFold(3).split(X, y):
        clone(model).fit(X[train], y[train])
    assert found == calls["fit"] == 3 * 6


def test_sizes_of_the_default_families():
    found = _compression_candidates.candidates_of(distilled(), [2, 4], "auto")
    assert Counter(each.family for each in found) == {
        "network": 4, "boosted trees": 12, "tree": 6, "linear": 2,
    }  # fmt: skip
    assert "max_iter=100, max_leaf_nodes=8" in {each.size for each in found}


def test_default_families_take_a_raw_table_and_can_be_written(axes, one_size):
    X, y = raw_table(120)
    teacher = make_pipeline(TableEncoder(), LogisticRegression())
    student = network(encoder="auto")
    display = measure(
        distilled(teacher, student), X, y, axes, widths=2, students="auto", max_bytes=1500
    )
    n_candidates = display.table_.groupby("student").size().to_dict()
    assert n_candidates == dict.fromkeys(("boosted trees", "tree", "linear", "network"), 2)
    assert (display.table_["n_bytes"] > 0).all()
    best = display.best_estimator_.fit(X, y)
    row = X.iloc[0].to_dict()
    written = compact(best)
    assert_allclose(written.predict_proba_one(row), best.predict_proba(X[:1])[0], atol=1e-6)


def test_a_hard_student_that_is_chosen_is_the_student_itself(axes):
    X, y = table()
    display = measure(distilled(), X, y, axes, students=None, tolerance=100.0)
    hard = display.estimators["network", "width=2", "hard"]
    assert isinstance(hard, TwoLayerPGDClassifier)
    assert hard.random_state is not None
    assert isinstance(display.estimators["network", "width=2", "distilled"], DistilledClassifier)


def test_widths_none_takes_the_student_as_it_is(axes):
    X, y = table()
    model = distilled(student=LogisticRegression())
    frame = measure(model, X, y, axes, widths=None, students=None).frame
    assert set(frame["student"]) == {"student", "teacher"}
    assert frame["size"].unique().tolist() == [""]


def test_names_of_sizes(axes):
    X, y = table()
    pipe = make_pipeline(TableEncoder(), HistGradientBoostingClassifier(max_iter=2))
    name = "histgradientboostingclassifier__"
    students = {
        "plain": LogisticRegression(),
        "boosted": (
            pipe,
            {f"{name}max_iter": [2], f"{name}max_leaf_nodes": [2, 3], "tableencoder__n_bins": [1]},
        ),
        "lists": (
            DecisionTreeClassifier(),
            [{"max_depth": [1, 2]}, {"max_leaf_nodes": [4], "max_depth": [1]}],
        ),
    }
    frame = measure(distilled(), X, y, axes, widths=2, students=students).frame
    sizes = frame.groupby("student")["size"].unique()
    assert sizes["plain"].tolist() == [""]
    assert sizes["boosted"].tolist() == ["max_leaf_nodes=2", "max_leaf_nodes=3"]
    assert sizes["lists"].tolist() == [
        "max_depth=1",
        "max_depth=2",
        "max_depth=1, max_leaf_nodes=4",
    ]
    assert sizes["network"].tolist() == ["width=2"]


def test_artists_show_the_table(axes):
    X, y = table()
    display = measure(
        distilled(), X, y, axes, max_bytes=900, max_microseconds=10_000, negate_score=True
    )
    assert display.score_name == "Log loss"
    assert list(display.ax_) == list(axes)
    assert display.figure_ is axes[0].figure
    keys = [(family, labels) for family in ("network", "tree") for labels in ("hard", "distilled")]
    columns = ["n_bytes"] * 4 + ["microseconds"] * 4
    for line, column, (family, labels) in zip(display.lines_, columns, keys * 2, strict=True):
        own = display.table_
        own = own[(own["student"] == family) & (own["labels"] == labels)]
        own = own.sort_values(column)
        assert_allclose(line.get_xydata(), own[[column, "score"]].to_numpy() * [1, -1])
        assert line.get_label() == f"{family}, {labels}"
        assert line.axes is axes[columns.index(column) // 4]
    teacher = display.frame.loc[display.frame["labels"] == "teacher", "score"].mean()
    for line in display.teacher_lines_:
        assert_allclose(line.get_ydata(), -teacher)
    assert axes[0].get_ylabel() == "Log loss"
    assert axes[0].get_title(loc="left").startswith("chosen: ")
    assert [panel.get_xscale() for panel in axes] == ["log", "log"]
    (band,) = axes[0].patches
    assert band.get_x() == 900
    assert axes[0].get_xlim()[1] > 900
    texts = [text.get_text() for text in axes[1].get_legend().get_texts()]
    assert texts == [*(f"{family}, {labels}" for family, labels in keys), "teacher", "chosen"] + [
        "beyond the budget"
    ]
    other = figure.Figure().subplots(1, 2)
    display.plot(other, line_kw={"marker": "x"}, score_name="minus the loss")
    assert other[0].get_ylabel() == "minus the loss"
    assert {line.get_marker() for line in display.lines_} == {"x"}


@pytest.mark.parametrize("sign", [1, -1])
def test_scores_that_are_far_worse_are_outside_and_counted(axes, sign):
    frame = pd.concat([made_up(), made_up().assign(size="worst", score=-5.0)])
    frame = frame[(frame["size"] != "worst") | (frame["student"] == "tree")]
    display = CompressionCurveDisplay(frame=frame).plot(axes, negate_score=sign < 0)
    low, high = sorted(axes[0].get_ylim())
    shown = sign * display.table_["score"].to_numpy()
    assert ((shown > low) & (shown < high)).sum() == 3
    assert low < sign * 0.96 < high
    assert [text.get_text() for text in axes[0].texts] == ["1 worse score outside"]
    display = CompressionCurveDisplay(frame=made_up()).plot(figure.Figure().subplots(1, 2))
    assert not display.ax_[0].texts


def test_weights_groups_and_frozen_teachers(axes):
    X, y = table(4, 160)
    teacher = GaussianNB().fit(X[:80], y[:80])
    rows = 80 + np.flatnonzero(y[80:] != "dog")
    X, y = X[rows], y[rows]
    weight = np.linspace(0.0, 2.0, len(y))
    groups = np.arange(len(y)) // 3
    cv = GroupKFold(2)
    model = distilled(FrozenEstimator(teacher), alpha=0.7)
    frame = measure(
        *(model, X, y, axes),
        scoring="accuracy",
        cv=cv,
        sample_weight=weight,
        groups=groups,
        students=None,
    ).frame
    for split, (train, test) in enumerate(cv.split(X, y, groups)):
        train, test = train[weight[train] > 0], test[weight[test] > 0]
        line = line_of(frame, "teacher", "", "teacher", split)
        weights = {"sample_weight": weight[test]}
        assert_allclose(line["score"], teacher.score(X[test], y[test], **weights))
        single = clone(model).set_params(student__width=4)
        single.fit(X[train], y[train], sample_weight=weight[train], groups=groups[train])
        line = line_of(frame, "network", "width=4", "distilled", split)
        assert_allclose(line["score"], single.score(X[test], y[test], **weights))


def test_weights_under_metadata_routing(axes, one_size):
    X, y = table()
    weight = np.linspace(0.2, 2, len(y))
    options = {"sample_weight": weight, "students": "auto", "widths": 2}
    plain = measure(distilled(), X, y, axes, **options).frame
    with config_context(enable_metadata_routing=True):
        model = distilled(
            GaussianNB().set_fit_request(sample_weight=True),
            network().set_fit_request(sample_weight=True),
        )
        routed = measure(model, X, y, axes, **options).frame
    assert_allclose(routed["score"], plain["score"])


def test_seeds_make_it_reproducible(axes):
    X, y = table()
    model = distilled(random_state=None)
    frames = [
        measure(model, X, y, axes, random_state=seed).frame.drop(
            columns=["microseconds", "fit_seconds"]
        )
        for seed in (3, 3, 4)
    ]
    assert_frame_equal(frames[0], frames[1])
    assert not frames[0]["score"].equals(frames[2]["score"])
    assert model.random_state is None


@pytest.mark.slow  # workers that import all of it
def test_parallel_fits_are_the_same(axes):
    X, y = table()
    one = measure(distilled(), X, y, axes).frame
    two = measure(distilled(), X, y, axes, n_jobs=2).frame
    columns = ["microseconds", "fit_seconds"]
    assert_frame_equal(one.drop(columns=columns), two.drop(columns=columns))


def test_progress(axes, capsys):
    X, y = table()
    measure(distilled(), X, y, axes, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("] ")[1].split(": ")[0] for line in lines[:-1]] == (
        ["students on hard labels"] * 2
        + ["teacher"] * 2
        + ["students on labels of the teacher"] * 2
    )
    assert "4 of 8 fits" in lines[0]
    assert "about 0 s left" in lines[1]
    assert "times of 16 compact files" in lines[-1]


class NeverFitted(GaussianNB):
    def fit(self, X, y, sample_weight=None):
        pytest.fail("a model was fitted")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"widths": [2, 3]}, ValueError, "even integers of at least 2, got 3"),
        ({"widths": []}, ValueError, "one at least"),
        ({"students": "all"}, ValueError, "students must be 'auto', a dict or None, got 'all'"),
        ({"students": [NeverFitted()]}, TypeError, "a dict or None, got list"),
        ({"students": {"network": NeverFitted()}}, ValueError, "texts other than"),
        ({"students": {"teacher": NeverFitted()}}, ValueError, "texts other than"),
        ({"students": {3: NeverFitted()}}, ValueError, "texts other than"),
        ({"students": {"bayes": NeverFitted}}, TypeError, r"students\['bayes'\] must be an est"),
        ({"students": {"bayes": (NeverFitted(), {"depth": [1]})}}, ValueError, "Invalid param"),
        ({"students": {"k": KNeighborsClassifier()}}, TypeError, "student 'k': "),
        (
            {"students": {"bayes": (NeverFitted(), {"var_smoothing": [1e-9, 1e-9]})}},
            ValueError,
            "student 'bayes' has several candidates 'var_smoothing=1e-09'",
        ),
        ({"max_bytes": 0}, ValueError, "max_bytes == 0, must be > 0"),
        ({"max_microseconds": "fast"}, TypeError, "max_microseconds must be an instance"),
        ({"tolerance": -1}, ValueError, "tolerance must be"),
        ({"by": "bytes"}, ValueError, "by must be one of"),
        ({"scoring": ["accuracy"]}, TypeError, "one scorer"),
        ({"cv": 1}, ValueError, "n_splits=1"),
        (
            {"sample_weight": np.ones(90), "scoring": lambda model, X, y: 1.0},
            TypeError,
            "scoring takes none",
        ),
    ],
)
def test_wrong_options_are_errors_before_any_fit(axes, options, error, message):
    X, y = table()
    with pytest.raises(error, match=message):
        measure(distilled(NeverFitted()), X, y, axes, **{"students": None, **options})


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (
            network(),
            TypeError,
            "estimator must be a DistilledClassifier or a DistilledRegressor, an instance",
        ),
        (distilled(NeverFitted(), alpha="auto"), ValueError, "alpha='auto' is a search"),
        (distilled(NeverFitted(), augmentation="auto"), ValueError, "augmentation='auto'"),
        (distilled(NeverFitted(), alpha=0), ValueError, "alpha=0 trains on hard labels alone"),
        (distilled(NeverFitted(), student="auto"), ValueError, "student='auto'"),
        (distilled(NeverFitted(), class_weight="balanced"), ValueError, "class_weight of estim"),
        (distilled(NeverFitted(), temperature=2.0), ValueError, "student 'tree': .*temperature"),
        (distilled(NeverFitted(), NeverFitted()), ValueError, "has no parameter 'width'"),
        (distilled(DecisionTreeClassifier(criterion="no")), ValueError, "criterion"),
    ],
)
def test_wrong_estimators_are_errors_before_any_fit(axes, model, error, message):
    with pytest.raises(error, match=message):
        measure(model, *table(), axes)


def test_transfer_rows_in_time_are_an_error_if_students_stop_early(axes):
    X, y = table()
    params = {"cv": TimeSeriesSplit(2), "augmentation": "gibbs", "n_augmented": 20}
    stopping = {"student": network(early_stopping=True), "teacher": NeverFitted(), **params}
    with pytest.raises(ValueError, match=r"of the students \['network'\] would be decided by tr"):
        measure(distilled(**stopping), X, y, axes, students={"tree": DecisionTreeClassifier()})
    assert len(measure(distilled(**params), X, y, axes, widths=[2], students=None).frame) == 6


def test_tables_that_a_model_cannot_read_are_errors_before_any_fit(axes):
    X, y = raw_table(60)
    network_of_tables = network(encoder="auto")
    for model, role in (
        (distilled(GaussianNB(), network_of_tables), "the teacher GaussianNB"),
        (
            distilled(NeverFitted(), network_of_tables),
            "the student 'tree', DecisionTreeClassifier",
        ),
    ):
        with pytest.raises(ValueError, match=role):
            measure(model, X, y, axes)


def test_a_student_that_cannot_be_written_is_an_error_before_the_teacher_is_fitted(axes):
    with pytest.raises(ValueError, match="student 'bayes': GaussianNB cannot be written"):
        measure(distilled(NeverFitted()), *table(), axes, students={"bayes": GaussianNB()})


def test_a_file_that_refuses_the_rows_is_an_error_before_the_teacher_is_fitted(axes):
    X, y = table()
    X = pd.DataFrame(X, columns=list("abc")).astype(str)  # of texts that trees read as numbers
    trees = HistGradientBoostingClassifier(max_iter=2)
    model = distilled(NeverFitted(), trees)
    with pytest.raises(ValueError, match=r"student 'student': column '[abc]' takes numbers"):
        measure(model, X, y, axes, widths=None, students=None)


@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.MissingClassWarning")
def test_a_label_that_training_rows_lack_is_named(axes):
    X, y = table()
    y[0] = "dog"
    folds = [(np.arange(1, 60), np.r_[0, 60:90]), (np.r_[0, 30:90], np.arange(1, 30))]
    with pytest.raises(ValueError, match=r"fold 0, whose training rows lack the labels \['dog'\]"):
        measure(distilled(NeverFitted()), X, y, axes, cv=folds)
    assert len(measure(distilled(), X, y, axes, cv=folds, scoring="accuracy").table_) == 8


def test_a_teacher_without_the_score_is_an_error(axes):
    with pytest.raises(ValueError, match="teacher, RidgeClassifier, cannot be scored by this"):
        measure(distilled(RidgeClassifier()), *table(), axes)


def test_invalid_frames_are_errors(axes):
    with pytest.raises(ValueError, match=r"lacks the columns \['n_bytes'\]"):
        CompressionCurveDisplay(frame=made_up().drop(columns="n_bytes")).plot(axes)
    with pytest.raises(ValueError, match="no lines of students"):
        CompressionCurveDisplay(frame=made_up()[-2:]).plot(axes)
    with pytest.raises(ValueError, match="several lines of one candidate"):
        CompressionCurveDisplay(frame=pd.concat([made_up(), made_up()])).plot(axes)
    display = CompressionCurveDisplay(frame=made_up()[:-2]).plot(axes)
    assert display.teacher_lines_ == []


def test_without_matplotlib_the_error_comes_first(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="CompressionCurveDisplay draws with matplotlib"):
        CompressionCurveDisplay.from_estimator("never looked at", None, None)


def test_a_new_figure_has_its_legend_below_the_panels():
    display = CompressionCurveDisplay(frame=made_up(), max_bytes=300).plot()
    display.figure_.canvas.draw()
    (legend,) = display.figure_.legends
    assert legend.get_window_extent().y1 <= display.ax_[0].get_window_extent().y0
    width = display.figure_.get_window_extent().width
    assert legend.get_window_extent().x0 >= 0
    assert legend.get_window_extent().x1 <= width
