"""DistilledClassifier as an estimator: inputs, errors, persistence and reproducibility."""

import pickle
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from tests._helpers.data import FIXED, blobs
from tests._helpers.distillation import distil, three_classes
from tests._helpers.estimators import SoftmaxStudent


def test_float32_stays_float32():
    X, y = three_classes()
    X = X.astype(np.float32)
    model = distil(LogisticRegression(), LogisticRegression(), temperature=2.0)
    model.fit(X, y)
    assert model.predict_proba(X).dtype == model.student_.predict_proba(X).dtype
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("params", [{"alpha": -0.1}, {"temperature": 0}, {"temperature": "cold"}])
def test_parameter_constraints(params):
    X, y = three_classes()
    with pytest.raises(ValueError, match=next(iter(params))):
        distil(LogisticRegression(), LogisticRegression(), **params).fit(X, y)


# ---- errors and what fit leaves behind


@given(data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_small_input_gives_a_clear_error_or_probabilities(data):
    n = data.draw(st.integers(1, 14), "n")
    rng = np.random.default_rng(data.draw(st.integers(0, 99), "seed"))
    X = rng.normal(size=(n, 2)) * data.draw(st.sampled_from([1.0, 1e-6, 1e6, 0.0]), "scale")
    y = rng.integers(0, data.draw(st.integers(1, 4), "classes"), n)
    if data.draw(st.booleans(), "nan"):
        X[0, 0] = np.nan
    weight = data.draw(st.sampled_from([None, "some", "zeros"]), "weight")
    weight = {"some": rng.integers(0, 3, n), "zeros": np.zeros(n)}.get(weight)
    soft = data.draw(st.sampled_from([None, "right", "wide", "sum"]), "soft")
    if soft:
        K = len(np.unique(y)) + (soft == "wide")
        soft = rng.dirichlet(np.ones(K), n) * (1.1 if soft == "sum" else 1)
    draw = {
        "teacher": [LogisticRegression(), RidgeClassifier(), RandomForestClassifier(3)],
        "student": [DecisionTreeClassifier(), SoftmaxStudent(l2=0.1), LogisticRegression()],
        "alpha": [0.0, 0.5, 1.0],
        "temperature": [0.2, 1.0, 4.0, "auto"],
        "cv": ["auto", "in-sample", 2, None],
    }
    model = distil(
        **{name: data.draw(st.sampled_from(draw[name]), name) for name in draw}, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(X, y, sample_weight=weight, soft_targets=soft)
        except ValueError as error:
            message = str(error)
    if not hasattr(model, "classes_"):
        assert len(message) > 20
        return
    X = rng.normal(size=(5, 2))
    proba = model.predict_proba(X)
    assert proba.shape == (5, len(model.classes_))
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1)


def test_clear_errors():
    X, y = three_classes()
    logistic = LogisticRegression()
    with pytest.raises(ValueError, match="two classes"):
        distil(logistic, logistic).fit(X, np.zeros(len(y)))
    with pytest.raises(ValueError, match="two classes"):
        distil(logistic, logistic).fit(X, y, sample_weight=(y == 1).astype(float))
    with pytest.raises(ValueError, match="NaN"):
        distil(logistic, logistic).fit(np.where(X > 3, np.nan, X), y)
    with pytest.raises(ValueError, match="inconsistent"):
        distil(logistic, logistic).fit(X, y[:-1])
    with pytest.raises(ValueError, match="enable_metadata_routing"):
        distil(logistic, logistic).fit(X, y, regions=y)
    with pytest.raises(ValueError, match="one group each"):
        distil(logistic, logistic).fit(X, y, groups=y)


def test_torch_stays_away_from_fits_without_it():
    code = """
import sys
from sklearn.linear_model import LogisticRegression
from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
model = DistilledClassifier(LogisticRegression(), LogisticRegression()).fit(X, y)
model.predict_proba(X)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_seed_makes_teacher_and_student_reproducible():
    X, y = three_classes()
    model = distil(
        make_pipeline(RandomForestClassifier(5, max_features=1)),
        DecisionTreeClassifier(max_features=1, max_depth=3),
        random_state=0,
    )
    first, second = clone(model).fit(X, y), clone(model).fit(X, y)
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    assert model.teacher[-1].random_state is None
    model.set_params(student__random_state=7)
    assert model.fit(X, y).student_.random_state == 7
    model.set_params(random_state=None)
    assert model.fit(X, y).teacher_[-1].random_state is None


@pytest.mark.parametrize(
    ("student", "n_fits"),
    # networks of the same rows train together
    [(DecisionTreeClassifier(max_depth=3), 3), (TwoLayerPGDClassifier(4, max_iter=20), 2)],
)
def test_verbose_names_the_candidates_of_the_comparison(student, n_fits, capsys):
    X, y = blobs(1200, 2)
    model = DistilledClassifier(LogisticRegression(), student, random_state=0, verbose=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    trial = [line for line in lines if "trial" in line]
    assert lines[: len(trial)] == trial
    assert "transfer rows" in trial[0]
    assert f"labels of {900 if n_fits == 2 else 300} rows" in trial[1]
    fits = trial[2:]
    assert len(fits) == n_fits
    assert all(type(student).__name__ in line for line in fits)
    assert "hard labels" in fits[0]
    assert "labels 'cv', alpha = 0.5, T = 1" in "".join(fits)
    assert "3600 transfer rows" in fits[-1]
    assert all(re.search(r" \d+\.\d s$", line) for line in lines)


def test_a_line_is_printed_when_its_stage_begins(capsys):
    seen = []

    class Reader(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            seen.append(capsys.readouterr().out)
            return super().fit(X, y, sample_weight)

    X, y = three_classes()
    distil(Reader(), LogisticRegression(), verbose=1, cv=2).fit(X, y)
    assert seen == ["[DistilledClassifier] labels of the teacher ... ", "", ""]


def test_a_long_stage_prints_how_much_of_it_is_done(capsys, monkeypatch):
    monkeypatch.setattr("sklearn_kd._utils.callbacks.MIN_SECONDS_OF_STEP", 0.0)
    X, y = three_classes()
    distil(LogisticRegression(), LogisticRegression(), verbose=1, cv=3).fit(X, y)
    line = capsys.readouterr().out.splitlines()[0]
    assert re.search(r"1 of 3 done, about \d+ s left \.\.\. 2 of 3 done, .* 'cv', \d+\.\d s$", line)
    distil(LogisticRegression(), LogisticRegression(), cv=3).fit(X, y)
    assert not capsys.readouterr().out


def test_tags_are_those_of_both():
    tags = distil(LogisticRegression(), LogisticRegression()).__sklearn_tags__()
    assert tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    hist = HistGradientBoostingClassifier()
    tags = distil(hist, hist).__sklearn_tags__()
    assert tags.input_tags.allow_nan
    assert not distil(hist, LogisticRegression()).__sklearn_tags__().input_tags.sparse
    frozen = FrozenEstimator(LogisticRegression())
    assert not distil(frozen, LogisticRegression()).__sklearn_tags__()._skip_test


def test_a_notebook_shows_what_was_fitted():
    X, y = three_classes()
    model = DistilledClassifier(LogisticRegression(), SoftmaxStudent(), **FIXED)
    assert "student: SoftmaxStudent" in model._repr_html_()
    html = model.fit(X, y)._repr_html_()
    assert "student_: SoftmaxStudent" in html
    assert "teacher_: LogisticRegression" in html
    assert "teacher_" not in model.without_teacher()._repr_html_()
    html = DistilledClassifier(**FIXED)._repr_html_()
    assert "DistilledClassifier" in html
    assert "student_" not in html
