"""find_label_errors: which rows have wrong labels."""

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import average_precision_score
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import SelfDistillClassifier
from sklearn_kd.exceptions import MissingClassWarning
from tests._helpers.digits import DIGITS, TRUTH, long_network
from tests._helpers.self_distillation import FORMS, cheap, noisy_blobs

# these have tests of their own; here labels are often clean, or rows few
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.CleanLabelsWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.ClassCollapseWarning"),
]


def assert_table(errors, X, y):
    assert errors.columns.tolist() == ["row", "given_label", "suggested_label", "label_quality"]
    assert sorted(errors.row) == list(range(len(X)))
    assert_array_equal(errors.given_label, y[errors.row])
    assert errors.label_quality.is_monotonic_increasing
    assert errors.label_quality.between(0, 1).all()
    assert set(errors.suggested_label) <= set(y)
    assert errors.index.tolist() == list(range(len(X)))


@pytest.mark.parametrize(
    "cv",
    [None, 2, KFold(3, shuffle=True, random_state=0), StratifiedKFold(3), "in-sample", "splits"],
    ids=str,
)
@pytest.mark.parametrize("form", ["default", "last step", "module"])
def test_wrong_labels_come_first(form, cv):
    X, y, clean = noisy_blobs(n=120)
    model = clone(FORMS[form])
    if cv == "splits":
        cv = list(KFold(3).split(X))
    model.set_params(random_state=0)
    if isinstance(cv, str):
        model.fit(X, y)
    state = dict(vars(model))
    errors = model.find_label_errors(X, y, cv=cv)
    assert_table(errors, X, y)
    wrong = (y != clean)[errors.row]
    assert average_precision_score(wrong, 1 - errors.label_quality) > 0.9
    suspects = errors[errors.given_label != errors.suggested_label]
    assert (suspects.suggested_label == clean[suspects.row]).mean() > 0.85
    assert vars(model) == state  # nothing is fitted by it
    assert errors.equals(model.find_label_errors(X, y, cv=cv))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", ["default", "last step"])
def test_qualities_are_means_of_fits_without_and_with_the_row(form, weighted):
    X, y, _ = noisy_blobs()
    w = np.random.RandomState(0).uniform(0.3, 2, 90) if weighted else None
    cv = StratifiedKFold(3, shuffle=True, random_state=1)
    errors = clone(FORMS[form]).find_label_errors(X, y, cv=cv, sample_weight=w)
    without, with_row = np.full((90, 3), np.nan), np.zeros((90, 3))
    for train, test in cv.split(X, y):
        given = X[train], y[train], None if w is None else w[train]
        judges = [clone(FORMS[form]).fit(*given)]
        if form == "default":  # two generations, the first of which is a network on its own
            judges.append(clone(FORMS[form].estimator).fit(*given))
        proba = np.mean([judge.predict_proba(X) for judge in judges], axis=0)
        without[test] = proba[test]
        with_row[train] += proba[train] / 2  # each row is in two of three training sets
    proba = np.sqrt(without * with_row)
    proba /= proba.sum(axis=1, keepdims=True)
    quality = proba[np.arange(90), y]
    assert_allclose(errors.label_quality, quality[errors.row], atol=1e-12)
    assert_allclose(errors.label_quality, np.sort(quality), atol=1e-12)
    assert_array_equal(errors.suggested_label, proba.argmax(axis=1)[errors.row])


@pytest.mark.parametrize(("cv", "n_folds"), [(None, 5), (3, 3), (KFold(4), 4)])
def test_each_row_is_left_out_of_one_fit(monkeypatch, cv, n_folds):
    X, y, _ = noisy_blobs()
    X = np.column_stack([X, np.arange(90.0)])  # a name for each row
    left_out = []
    fit = SelfDistillClassifier.fit

    def watched_fit(self, X, y, sample_weight=None):
        left_out.append(np.setdiff1d(np.arange(90), X[:, -1]))
        return fit(self, X, y, sample_weight=sample_weight)

    monkeypatch.setattr(SelfDistillClassifier, "fit", watched_fit)
    SelfDistillClassifier(cheap(max_iter=5)).find_label_errors(X, y, cv=cv)
    assert len(left_out) == n_folds
    assert_array_equal(np.sort(np.concatenate(left_out)), np.arange(90))


@pytest.mark.parametrize("of", ["groups", "sample_weight"])
def test_a_label_does_not_testify_for_itself(of):
    """Over the labels that a row may be given its qualities sum to one; its class does not move."""
    X, y, _ = noisy_blobs(n=60)
    # with a group for each row, and for a row without weight, which equals absence
    metadata = {"groups": np.arange(60)}
    if of == "sample_weight":
        metadata = {"sample_weight": np.arange(60) != 7}
    total, suggested = 0.0, set()
    for label in range(3):
        given_ = y.copy()
        given_[7] = label
        model = SelfDistillClassifier(cheap(early_stopping=False))
        cv = list(KFold(3).split(X))
        errors = model.find_label_errors(X, given_, cv=cv, **metadata).set_index("row")
        total += errors.label_quality[7]
        suggested.add(errors.suggested_label[7])
    assert total == pytest.approx(1)
    assert len(suggested) == 1


def test_folds_depend_on_the_seed():
    X, y, _ = noisy_blobs()
    first, same, other = (
        SelfDistillClassifier(cheap(), random_state=seed).find_label_errors(X, y)
        for seed in (0, 0, 1)
    )
    assert first.equals(same)
    assert not first.equals(other)


@pytest.mark.parametrize(
    ("form", "backend"),
    [
        ("default", "threading"),
        # the generator of random numbers of torch, which modules draw from, is that of a process
        pytest.param("module", "loky", marks=pytest.mark.slow),
    ],
)
def test_any_number_of_parallel_fits_gives_the_same_bits(form, backend):
    X, y, _ = noisy_blobs()
    X, y = pd.DataFrame(X).add_prefix("x"), np.array(["cat", "dog", "owl"])[y]
    metadata = {"sample_weight": np.linspace(0.3, 2, 90), "groups": np.arange(90) // 2}
    model = clone(FORMS[form]).set_params(estimator__random_state=None)
    answers = []
    for n_jobs in (None, 2, 3):
        model.set_params(random_state=np.random.RandomState(3))
        with parallel_config(backend):
            answers.append(model.find_label_errors(X, y, cv=3, n_jobs=n_jobs, **metadata))
    assert answers[0].equals(answers[1])
    assert answers[0].equals(answers[2])


def test_folds_that_leave_rows_out():
    X, y, _ = noisy_blobs()
    model = SelfDistillClassifier(cheap(max_iter=5))
    for cv in (ShuffleSplit(2, random_state=0), [(np.arange(50), np.arange(50, 90))]):
        with pytest.raises(ValueError, match=r"cv tests \d+ of the 90 rows once"):
            model.find_label_errors(X, y, cv=cv)


def test_a_class_of_one_row_cannot_be_judged():
    X, y, _ = noisy_blobs()
    y[11] = 8
    model = SelfDistillClassifier(cheap(max_iter=10))
    with pytest.warns(MissingClassWarning, match=r"label of 1 rows, of the classes \[8\]"):
        errors = model.find_label_errors(X, y)
    assert_table(errors, X, y)
    row = errors.set_index("row").loc[11]
    assert row.label_quality == 1
    assert row.suggested_label == row.given_label == 8


@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_labels_that_all_differ_cannot_be_judged():
    X, _, _ = noisy_blobs()
    with pytest.raises(ValueError, match="the 90 rows have as many labels"):
        SelfDistillClassifier(cheap()).find_label_errors(X, np.arange(90))


def test_a_class_that_a_fold_has_to_itself_cannot_be_judged():
    X, y, _ = noisy_blobs()
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    own = np.flatnonzero(y == 1)
    rest = np.random.RandomState(0).permutation(np.flatnonzero(y != 1))
    tests = [own, rest[::2], rest[1::2]]
    cv = [(np.setdiff1d(np.arange(90), test), test) for test in tests]
    model = SelfDistillClassifier(cheap(max_iter=10))
    with pytest.warns(
        MissingClassWarning, match=rf"label of {len(own)} rows, of the classes \[1\]"
    ):
        errors = model.find_label_errors(X, y, cv=cv)
    assert_table(errors, X, y)
    assert set(errors.row[errors.label_quality == 1]) >= set(own)
    quality = errors.set_index("row").label_quality
    assert (quality[rest] < 1).all()


def test_in_sample_needs_a_fit_and_its_labels():
    X, y, _ = noisy_blobs()
    model = clone(FORMS["last step"])
    with pytest.raises(NotFittedError):
        model.find_label_errors(X, y, cv="in-sample")
    model.fit(X, y)
    for other in (y[::-1], y[:-1], (y + 1) % 3):
        with pytest.raises(ValueError, match="not those labels: pass them, or set cv=None"):
            model.find_label_errors(X[: len(other)], other, cv="in-sample")
    errors = model.find_label_errors(X, y, cv="in-sample")
    assert_array_equal(errors.label_quality, np.sort(model.label_quality_))
    assert_array_equal(errors.suggested_label, model.predict(X)[errors.row])
    with pytest.raises(ValueError, match="cv"):
        model.find_label_errors(X, y, cv="out-of-sample")


@pytest.mark.parametrize("cv", [3, "in-sample"])
def test_the_index_is_that_of_the_rows(cv):
    X, y, _ = noisy_blobs()
    names = [f"patient {number}" for number in range(90)]
    frame, labels = pd.DataFrame(X, index=names), pd.Series(y, index=names)
    pipeline = make_pipeline(StandardScaler(), clone(FORMS["default"]).set_params(random_state=0))
    pipeline.fit(frame, labels)
    encoded = pipeline[:-1].transform(frame)
    assert isinstance(encoded, np.ndarray)
    of_pipeline = pipeline[-1].find_label_errors(encoded, labels, cv=cv)
    assert of_pipeline.index.tolist() == [names[row] for row in of_pipeline["row"]]
    assert_array_equal(of_pipeline["given_label"], labels.loc[of_pipeline.index])
    # the index of X comes first, and there may be none
    model = clone(FORMS["default"]).set_params(random_state=0).fit(frame, labels)
    other = labels.set_axis(range(100, 190))
    for given in (labels, other, y):
        errors = model.find_label_errors(frame, given, cv=cv)
        assert errors.index.tolist() == [names[row] for row in errors["row"]]
    errors = pipeline[-1].find_label_errors(encoded, other)
    assert errors.index.tolist() == [100 + row for row in errors["row"]]
    assert pipeline[-1].find_label_errors(encoded, y).index.tolist() == list(range(90))


def test_in_sample_asks_for_the_rows_of_fit():
    model = SelfDistillClassifier(long_network(width=4, max_iter=30)).fit(DIGITS, TRUTH)
    for arguments in ({"groups": TRUTH}, {"sample_weight": np.ones(len(TRUTH))}):
        with pytest.raises(ValueError, match="are for the copies of cv"):
            model.find_label_errors(DIGITS, TRUTH, cv="in-sample", **arguments)
    with pytest.raises(ValueError, match="features"):
        model.find_label_errors(DIGITS[:, :5], TRUTH, cv="in-sample")


def test_the_index_of_a_frame_goes_with_its_rows():
    X = (
        pd.DataFrame(DIGITS)
        .add_prefix("pixel")
        .set_index(np.random.RandomState(0).permutation(720))
    )
    y = pd.Series(TRUTH, index=X.index)
    model = SelfDistillClassifier(long_network(width=4, max_iter=30)).fit(X, y)
    for cv in ("in-sample", 2):
        errors = model.find_label_errors(X, y, cv=cv)
        assert_array_equal(errors.index, X.index[errors.row])
        assert_array_equal(y[errors.index], errors.given_label)
    assert isinstance(model.find_label_errors(DIGITS, TRUTH, cv=2).index, pd.RangeIndex)


def test_folds_by_group_and_as_masks():
    model = SelfDistillClassifier(long_network(width=4, max_iter=30), random_state=0)
    groups = np.arange(len(TRUTH)) % 3
    by_group = model.find_label_errors(DIGITS, TRUTH, cv=GroupKFold(3), groups=groups)
    masks = [(groups != group, groups == group) for group in range(3)]
    assert sorted(by_group.row) == list(range(len(TRUTH)))
    with pytest.raises(ValueError, match="groups"):
        model.find_label_errors(DIGITS, TRUTH, cv=GroupKFold(3))
    indices = [(np.flatnonzero(train), np.flatnonzero(test)) for train, test in masks]
    answers = [model.find_label_errors(DIGITS, TRUTH, cv=cv) for cv in (masks, indices)]
    assert answers[0].equals(answers[1])


def test_folds_that_test_a_row_twice_and_numbers_that_are_none():
    model = SelfDistillClassifier(long_network(width=4, max_iter=2))
    with pytest.raises(ValueError, match="never or more often"):
        model.find_label_errors(DIGITS, TRUTH, cv=RepeatedStratifiedKFold(n_splits=2, n_repeats=2))
    with pytest.raises(ValueError, match="'in-sample', None, a number"):
        model.find_label_errors(DIGITS, TRUTH, cv="insample")
    for cv in (0, 1, -3, True):
        with pytest.raises(ValueError, match="not a number of folds"):
            model.find_label_errors(DIGITS, TRUTH, cv=cv)


def test_verbose_label_errors_print_each_fit(capsys):
    network = long_network(width=4, max_iter=5)
    SelfDistillClassifier(network, random_state=0, verbose=1).find_label_errors(DIGITS, TRUTH, cv=3)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"[SelfDistillClassifier] label errors: fit {number} of 3" for number in (1, 2, 3)
    ]
    assert lines[-1].endswith("about 0 s left")
