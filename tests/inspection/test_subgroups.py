"""Disagreement by subgroup and class in a report, against a count row by row."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ShuffleSplit, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_kd import DistilledClassifier
from sklearn_kd.inspection import DistillationReport, distillation_report
from sklearn_kd.inspection._subgroups import Partitions
from tests._helpers.data import blobs

MEASURES = ["disagreement", "teacher", "hard", "distilled"]


def table(n=120):
    """Return a frame with a column of levels, some missing, that models do not read, and labels."""
    X, y = blobs(n, 3, spread=3.0)
    X = pd.DataFrame(X, columns=list("abc"))
    region = np.random.RandomState(0).choice(["north", "south", "west"], n).astype(object)
    region[::10] = None
    return X.assign(region=region), np.array(["ant", "bee", "cow"])[y]


def numbers(X):
    return X[["a", "b", "c"]]


def of_numbers(model):
    return make_pipeline(FunctionTransformer(numbers), model)


def distiller():
    return DistilledClassifier(alpha=1.0, temperature=1.0, augmentation=None)


def report_of(X, y, subgroups, **options):
    options = {"n_seeds": 1, "n_latency": 2, "cv": 3, "distiller": distiller(), **options}
    student = of_numbers(LogisticRegression(C=0.02))
    return distillation_report(
        of_numbers(GaussianNB()), student, X, y, subgroups=subgroups, **options
    )


def predicted(X, y, cv, weight, seed):
    """Return a line for each test row of each fold: its label, and those of the three models."""
    found = []
    for fold, (train, test) in enumerate(cv.split(X, y)):
        params = {} if weight is None else {"sample_weight": weight[train]}
        step = {} if weight is None else {"logisticregression__sample_weight": weight[train]}
        student = of_numbers(LogisticRegression(C=0.02))
        model = clone(distiller()).set_params(teacher=of_numbers(GaussianNB()), student=student)
        model.set_params(random_state=seed).fit(X.iloc[train], y[train], **params)
        hard = clone(student).fit(X.iloc[train], y[train], **step)
        lines = {"class": y[test], "region": X["region"].iloc[test].fillna("missing")}
        lines |= {"weight": 1.0 if weight is None else weight[test], "fold": fold, "row": test}
        models = {"teacher": model.teacher_, "hard": hard, "distilled": model}
        lines |= {name: each.predict(X.iloc[test]) for name, each in models.items()}
        found.append(pd.DataFrame(lines).assign(n_train=len(train), n_test=len(test)))
    rows = pd.concat(found)
    rows["disagreement"] = rows["teacher"] != rows["distilled"]
    for name in MEASURES[1:]:
        rows[name] = rows[name] == rows["class"]
    return rows


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("cv", [StratifiedKFold(3), ShuffleSplit(3, test_size=0.5, random_state=0)])
def test_lines_are_counts_of_rows(cv, is_weighted):
    X, y = table()
    weight = np.random.RandomState(1).uniform(0.5, 2, len(y)) if is_weighted else None
    report = report_of(X, y, "region", cv=cv, sample_weight=weight)
    found, seed = report.disagreement, int(report.frame["seed"].iloc[0])
    rows = predicted(X, y, cv, weight, seed)
    regions = ["north", "south", "west", "missing"]
    assert found["subgroup"].drop_duplicates().tolist() == [None, *(f"region={r}" for r in regions)]
    assert len(found) == 5 * 4
    for line in found.itertuples(index=False):
        own = rows
        if line.subgroup is not None:
            own = own[own["region"] == line.subgroup.removeprefix("region=")]
        label = found.columns.get_loc("class")
        if line[label] is not None:
            own = own[own["class"] == line[label]]
        assert line.n_rows == own["row"].nunique()
        folds = [part for _, part in own.groupby("fold")]
        shares = np.array([part["weight"].sum() for part in folds])
        shares /= shares.sum()
        sizes = np.array([part[["n_train", "n_test"]].iloc[0] for part in folds]).sum(axis=0)
        n = len(folds)
        for name in MEASURES:
            means = np.array([np.average(part[name], weights=part["weight"]) for part in folds])
            mean = shares @ means
            variance = n / (n - 1) * (shares**2 @ (means - mean) ** 2)
            error = np.sqrt(variance * (1 + n * sizes[1] / sizes[0]))
            assert_allclose(getattr(line, name), mean, atol=1e-12)
            assert_allclose(getattr(line, f"{name}_error"), error, atol=1e-12)


def test_the_line_of_all_rows_is_that_of_the_summary():
    X, y = table()
    report = report_of(X, y, None)
    line = report.disagreement.iloc[0]
    assert report.disagreement["class"].tolist() == [None, "ant", "bee", "cow"]
    assert_allclose(
        1 - line["disagreement"], report.summary.loc["distilled", ("agreement", "mean")]
    )
    for name in MEASURES[1:]:
        expected = report.summary.loc[name, "accuracy"]
        assert_allclose([line[name], line[f"{name}_error"]], expected, atol=1e-12)


def test_subgroups_in_any_container():
    X, y = table()
    X = X.assign(plan=np.arange(len(y)) % 2, region=X["region"].fillna("missing"))

    def parts(subgroups):
        found = Partitions.of(subgroups, X, y)
        return found.lines, found.line_of_row.tolist()

    lines, line_of_row = parts(["region", "plan"])
    assert parts(X[["region", "plan"]]) == (lines, line_of_row)
    assert ("plan=1", "cow") in lines
    named, line_of_row = parts("region")
    assert parts(X["region"]) == (named, line_of_row)
    assert named == lines[: len(named)]
    plain, same = parts(X["region"].tolist())
    assert same == line_of_row
    assert {name for name, _ in plain} == {None, "missing", "north", "south", "west"}
    assert plain == [(name and name.removeprefix("region="), label) for name, label in named]


def test_values_of_the_same_text_have_different_names():
    X, y = table(6)

    def names_of(values):
        lines = Partitions.of(pd.Series(values, dtype=object), X, y).lines
        return list(dict.fromkeys(name for name, _ in lines))[1:]

    assert names_of([1, "1"] * 3) == ["1", "'1'"]
    assert names_of(["missing", None] * 3) == ["'missing'", "missing"]
    assert names_of(["missing", "a"] * 3) == ["a", "missing"]


def test_a_single_fold_has_no_errors_and_seeds_are_averaged():
    X, y = table()
    y = pd.factorize(y, sort=True)[0]
    folds = list(StratifiedKFold(3).split(X, y))[:1]
    one = report_of(X, y, "region", cv=folds, n_seeds=2)
    assert repr(one.disagreement["class"].tolist()[:4]) == "[None, 0, 1, 2]"
    assert one.disagreement["disagreement_error"].isna().all()
    assert one.disagreement["n_rows"].iloc[0] == 40
    assert "clearly" not in repr(one)


class Unfitted(GaussianNB):
    """A model that must not be fitted."""

    def fit(self, X, y, sample_weight=None):
        pytest.fail("a model was fitted")


@pytest.mark.parametrize(
    ("subgroups", "match"),
    [
        ("sex", r"names the columns \['sex'\], which X lacks"),
        (["region", "sex"], r"names the columns \['sex'\]"),
        ([], "which X lacks"),
        (np.zeros(7), "subgroups has 7 rows, and X has 120"),
        (np.zeros((120, 2)), r"array of shape \(120, 2\): pass several as a DataFrame"),
        ("a", "'a' has 120 different values, more than 50"),
    ],
    ids=str,
)
def test_invalid_subgroups_are_errors_before_a_fit(subgroups, match):
    X, y = table()
    with pytest.raises(ValueError, match=match):
        distillation_report(Unfitted(), Unfitted(), X, y, subgroups=subgroups)
    with pytest.raises(ValueError, match="which X lacks"):
        distillation_report(Unfitted(), Unfitted(), numbers(X).to_numpy(), y, subgroups="a")


def lines_of(*lines):
    names = ["subgroup", "class", "n_rows", "disagreement", "disagreement_error"]
    frame = pd.DataFrame(lines, columns=names)
    for name in MEASURES[1:]:
        frame = frame.assign(**{name: 0.8, f"{name}_error": 0.01})
    return frame


def test_notable_lines_are_printed():
    X, y = table()
    report = report_of(X, y, None)
    disagreement = lines_of(
        (None, None, 500, 0.05, 0.01),
        ("a", None, 100, 0.12, 0.02),  # notable
        ("b", None, 100, 0.12, 0.03),  # fewer than three errors
        ("c", None, 19, 0.50, 0.01),  # few rows
        ("d", None, 100, 0.069, 0.001),  # less than two points
        ("e", "cow", 40, 0.30, 0.05),  # notable, and more
        ("f", None, 40, 0.12, 0.0),  # folds that are alike, and fewer than three errors of 40 rows
    )
    shown = DistillationReport(report.frame, disagreement=disagreement)
    text, html = repr(shown), shown._repr_html_()
    assert "for 5.0 % of all rows, and for clearly more of these:" in text
    lines = text.splitlines()[-2:]
    assert [line.split()[:5] for line in lines] == [
        ["e", "cow", "40", "0.300", "+-"],
        ["a", "all", "100", "0.120", "+-"],
    ]
    assert html.count("<table") == 2
    many = lines_of(
        (None, None, 500, 0.05, 0.01), *[(str(i), None, 99, 0.3, 0.01) for i in range(9)]
    )
    text = repr(DistillationReport(report.frame, disagreement=many))
    assert "of which the first 8 are shown" in text
    assert text.splitlines()[-1].split()[0] == "7"
    assert "clearly" not in repr(DistillationReport(report.frame))
