"""should_distill on problems whose answer is known, and against hand computations."""

import warnings

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from scipy.optimize import minimize
from scipy.special import expit
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GroupKFold, KFold, PredefinedSplit, RepeatedStratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd._utils.calibration import apply_teacher_temperature, fit_teacher_temperature
from sklearn_kd.exceptions import IgnoredSampleWeightWarning
from sklearn_kd.inspection._should_distill import should_distill
from tests._helpers.data import blobs
from tests._helpers.estimators import DecisionOnly, Oracle
from tests._helpers.third_party import OtherPackage, as_column

ESTIMATES = ["gap", "recoverable", "label_gain", "overfitting"]


def noisy(n=150, n_features=10, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.randn(n, n_features)
    return X, (rng.rand(n) < expit(X[:, 0])).astype(int)


def xor(n=1000, seed=0):
    X = np.random.RandomState(seed).uniform(-1, 1, size=(n, 2))
    return X, (X[:, 0] * X[:, 1] > 0).astype(int)


def linear():
    return LogisticRegression(C=1e6)


def small_forest(n=30):
    return RandomForestClassifier(n, min_samples_leaf=5, random_state=0)


def assert_same(a, b, rtol=1e-9):
    assert a.decision == b.decision
    for name in ESTIMATES:
        assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol, atol=1e-12)


# Answers that are known


@pytest.mark.parametrize("decide_by", ["log_loss", "accuracy"])
def test_a_teacher_equal_to_the_student_has_nothing_to_teach(decide_by):
    X, y = blobs(200, n_classes=3)
    advice = should_distill(linear(), linear(), X, y, decide_by=decide_by, calibration=None)
    assert advice.decision == "no"
    assert_allclose(advice.gap, 0, atol=1e-15)
    assert_allclose(advice.label_gain, 0, atol=1e-15)
    assert advice.recoverable.upper < 1e-15
    assert "no larger gain" in advice.verdict


@pytest.mark.parametrize("decide_by", ["log_loss", "accuracy"])
def test_labels_are_not_what_a_linear_student_lacks_on_xor(decide_by):
    X, y = xor()
    advice = should_distill(small_forest(), LogisticRegression(), X, y, decide_by=decide_by)
    assert advice.gap.lower > 0.3
    assert advice.label_gain.lower > 0.1
    assert abs(advice.recoverable.value) < 0.02
    assert advice.decision != "yes"


def test_a_student_that_lacks_capacity_is_told_no():
    X, y = xor(4000)
    advice = should_distill(small_forest(), LogisticRegression(), X, y)
    assert advice.decision == "no"
    assert "it is not due to the labels" in advice.verdict
    stump = DecisionTreeClassifier(max_depth=1)
    advice = should_distill(small_forest(), stump, X, y)
    assert advice.gap.lower > 0.5
    assert advice.recoverable.value < 0.01
    assert advice.decision != "yes"


def test_true_probabilities_help_a_student_that_fits_noise():
    X, y = noisy()
    advice = should_distill(Oracle(), linear(), X, y)
    assert advice.decision == "yes"
    assert advice.gap.value > 0.05
    assert 0 < advice.recoverable.lower <= advice.recoverable.value <= advice.overfitting.value / 2


def test_a_teacher_that_is_wrong_would_do_harm():
    X, y = blobs(300)
    shuffled = np.random.RandomState(0).permutation(y)
    advice = should_distill(FrozenEstimator(linear().fit(X, shuffled)), linear(), X, y)
    assert advice.recoverable.upper < 0
    assert advice.decision == "no"
    assert "would increase the loss" in advice.verdict


def test_overfitting_halved_is_the_estimation_error_of_a_regular_model():
    """p / (2 n) for logistic regression, Akaike: 11 parameters here."""
    excess, errors = [], []
    for seed in range(12):
        X, y = noisy(600, seed=seed)
        advice = should_distill(Oracle(), linear(), X, y, cv=2)
        excess.append(advice.overfitting.value / 2)
        errors.append(advice.gap.value)
    expected = 11 / (2 * 300)
    assert_allclose(np.mean(excess), expected, rtol=0.35)
    assert_allclose(np.mean(errors), expected, rtol=0.35)


@pytest.mark.slow
def test_intervals_of_the_gap_cover_the_gap_of_other_fits():
    """The mean of many data sets, of as many training rows, is in 95 % of intervals or so."""
    truth, found = [], []
    for seed in range(40):
        X, y = noisy(200, 3, seed)
        found.append(should_distill(Oracle(), linear(), X, y, cv=2).gap)
        X, y = noisy(2000, 3, seed + 1000)
        student = linear().fit(X[:100], y[:100])
        losses = [log_loss(y[100:], m.predict_proba(X[100:])) for m in (student, Oracle())]
        truth.append(losses[0] - losses[1])
    covered = np.mean([e.lower <= np.mean(truth) <= e.upper for e in found])
    assert covered >= 0.9
    # and not by being wide
    error = np.std([e.value for e in found], ddof=1)
    assert np.mean([e.upper - e.lower for e in found]) < 3 * 2 * 1.96 * error


# Against computations by hand


@pytest.mark.parametrize("decide_by", ["log_loss", "accuracy"])
def test_numbers_against_a_loop(decide_by):
    X, y = blobs(121, n_classes=3)
    teacher, student = GaussianNB(), DecisionTreeClassifier(max_depth=3, random_state=0)
    folds = [(np.arange(121) % 3 != k, np.arange(121) % 3 == k) for k in range(3)]
    advice = should_distill(
        teacher, student, X, y, cv=folds, decide_by=decide_by, alpha=0.3, calibration=None
    )

    def loss(proba, of):
        if decide_by == "accuracy":
            return proba.argmax(axis=1) != y[of]
        return -np.log(np.maximum(proba[np.arange(of.sum()), y[of]], 1e-6))

    s, t, m, inside = np.zeros(121), np.zeros(121), np.zeros(121), np.zeros(121)
    for number, (train, test) in enumerate(folds):
        a, b = clone(student).fit(X[train], y[train]), clone(teacher).fit(X[train], y[train])
        P, Q = a.predict_proba(X[test]), b.predict_proba(X[test])
        s[test], t[test], m[test] = loss(P, test), loss(Q, test), loss(0.7 * P + 0.3 * Q, test)
        inside[train] += loss(a.predict_proba(X[train]), train) / 2
        lines = advice.frame.set_index(["split", "model"])
        for name, model in (("student", a), ("teacher", b)):
            line = lines.loc[(number, name)]
            assert_allclose(line["held_out"], loss(model.predict_proba(X[test]), test).mean())
            expected = loss(model.predict_proba(X[train]), train).mean()
            assert_allclose(line["training"], expected, atol=1e-15)
            assert line["n_train"] == train.sum()
    pairs = {"gap": s - t, "label_gain": s - m, "overfitting": s - inside}
    for name, d in pairs.items():
        half = 1.959964 * d.std(ddof=1) * np.sqrt(1 / 121 + 3 / 242)
        expected = d.mean(), d.mean() - half, d.mean() + half
        assert_allclose(getattr(advice, name), expected, rtol=1e-6)
    both = zip(advice.label_gain, np.divide(advice.overfitting, 2), strict=True)
    assert_allclose(advice.recoverable, [min(pair) for pair in both])
    assert advice.margin == (0.005 if decide_by == "accuracy" else pytest.approx(s.mean() / 100))


def test_labels_are_calibrated_by_the_other_folds():
    X, y = blobs(150)
    part = np.arange(150) % 3
    teacher, student = GaussianNB(), LogisticRegression()
    advice = should_distill(teacher, student, X, y, cv=PredefinedSplit(part))
    plain = should_distill(teacher, student, X, y, cv=PredefinedSplit(part), calibration=None)
    assert advice.gap == plain.gap  # to the teacher as it is
    Q, S, mixed = np.zeros((150, 2)), np.zeros((150, 2)), np.zeros((150, 2))
    for k in range(3):
        fits = [clone(m).fit(X[part != k], y[part != k]) for m in (teacher, student)]
        Q[part == k], S[part == k] = (m.predict_proba(X[part == k]) for m in fits)
    for k in range(3):
        here, others = part == k, part != k
        known = np.ones(2, dtype=bool)
        T = fit_teacher_temperature(Q[others], y[others], np.ones(100), known)
        mixed[here] = (S[here] + apply_teacher_temperature(Q[here], T, known)) / 2
    assert_allclose(advice.label_gain.value, log_loss(y, S) - log_loss(y, mixed))
    frozen = FrozenEstimator(teacher.fit(X, y))
    as_it_is = should_distill(frozen, student, X, y, calibration=None)
    assert should_distill(frozen, student, X, y).label_gain == as_it_is.label_gain


def test_frame_and_cost():
    X, y = blobs(90)
    advice = should_distill(GaussianNB(), linear(), X, y, cv=4)
    columns = ["split", "model", "n_train", "held_out", "training", "fit_seconds"]
    assert advice.frame.columns.tolist() == columns
    assert advice.frame["split"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert advice.frame["model"].tolist() == ["teacher", "student"] * 4
    cost = advice.cost
    assert min(cost) > 0
    seconds = advice.frame.groupby("model")["fit_seconds"].median()
    assert_allclose(cost.teacher_fit, seconds["teacher"])
    # one fit and five of four fifths of the rows, of a teacher without labels of its own
    scale = 90 / advice.frame["n_train"].mean()
    assert_allclose(cost.distilled, scale * (5 * cost.teacher_fit + 3 * cost.student_fit))
    forest = should_distill(RandomForestClassifier(10), linear(), X, y, cv=4)
    scale = 90 / forest.frame["n_train"].mean()
    expected = scale * (forest.cost.teacher_fit + 3 * forest.cost.student_fit)
    assert_allclose(forest.cost.distilled, expected)


def test_confidence_widens_intervals_and_alpha_one_is_the_gap():
    X, y = noisy()
    narrow = should_distill(Oracle(), linear(), X, y, confidence=0.5, alpha=1.0, calibration=None)
    wide = should_distill(Oracle(), linear(), X, y, confidence=0.99, alpha=1, calibration=None)
    for name in ESTIMATES:
        a, b = getattr(narrow, name), getattr(wide, name)
        assert b.lower < a.lower < a.value == b.value < a.upper < b.upper
    assert_allclose(narrow.label_gain, narrow.gap)
    assert narrow.decision == "yes"
    assert should_distill(Oracle(), linear(), X, y, margin=10).decision == "no"
    assert should_distill(Oracle(), linear(), X[:40], y[:40], confidence=0.9999).decision == (
        "undecided"
    )


def test_same_numbers_again_and_in_parallel():
    X, y = blobs(60, n_classes=3)
    teacher, student = RandomForestClassifier(5), DecisionTreeClassifier(max_features=1)
    first = should_distill(teacher, student, X, y)
    # worker processes take seconds to start; filters of warnings are not those of a thread
    with parallel_config("threading"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(first, should_distill(teacher, student, X, y, n_jobs=2))
    other = should_distill(teacher, student, X, y, random_state=1)
    assert other.gap != first.gap


def test_a_row_that_is_tested_twice_counts_once():
    X, y = blobs(80)
    folds = list(KFold(3, shuffle=True, random_state=0).split(X))
    once = should_distill(GaussianNB(), linear(), X, y, cv=folds, calibration=None)
    twice = should_distill(GaussianNB(), linear(), X, y, cv=folds + folds, calibration=None)
    assert_same(once, twice)
    repeated = RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0)
    assert len(should_distill(GaussianNB(), linear(), X, y, cv=repeated).frame) == 8


def noisy_tree_case(n=240):
    X, y = noisy(n)
    folds = [(np.arange(n) % 2 == k, np.arange(n) % 2 != k) for k in range(2)]
    return X, y, folds, DecisionTreeClassifier(max_depth=4, random_state=0)


@pytest.mark.parametrize("decide_by", ["log_loss", "accuracy"])
def test_the_gain_is_that_of_students_distilled_in_the_folds(decide_by):
    X, y, folds, tree = noisy_tree_case()
    weight = np.random.RandomState(0).uniform(0.1, 2, size=len(y))
    advice = should_distill(
        FrozenEstimator(Oracle().fit(X, y)),
        tree,
        X,
        y,
        cv=folds,
        decide_by=decide_by,
        alpha=0.7,
        sample_weight=weight,
    )
    difference = np.zeros(len(y))
    for train, test in folds:
        hard = clone(tree).fit(X[train], y[train], sample_weight=weight[train])
        soft = DistilledClassifier(
            FrozenEstimator(Oracle().fit(X, y)), tree, alpha=0.7, temperature=1.0, augmentation=None
        ).fit(X[train], y[train], sample_weight=weight[train])
        for model, sign in ((hard, 1), (soft, -1)):
            if decide_by == "accuracy":
                loss = model.predict(X[test]) != y[test]
            else:
                loss = -np.log(
                    np.maximum(model.predict_proba(X[test])[range(len(y) // 2), y[test]], 1e-6)
                )
            difference[test] += sign * loss
    assert_allclose(advice.gain.value, np.average(difference, weights=weight))
    assert advice.gain.lower < advice.gain.value < advice.gain.upper
    assert f"reduced it by {advice.gain}" in advice.verdict
    if decide_by == "log_loss":
        assert advice.decision == "yes"


def test_no_student_is_distilled_where_the_bounds_exclude_a_gain():
    X, y = xor(4000)
    advice = should_distill(small_forest(), LogisticRegression(), X, y)
    assert advice.gain is None
    assert "gain\n" not in str(advice).replace("label_gain", "")


@pytest.mark.slow
def test_a_mixture_that_gains_is_not_enough_on_a_clean_table():
    X, y = make_classification(
        4000, n_informative=12, n_clusters_per_class=4, flip_y=0.01, random_state=5
    )
    teacher = HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=16, random_state=0)
    student = TwoLayerPGDClassifier(
        16, batch_size=12, n_init=1, max_iter=60, random_state=0, encoder=None
    )
    advice = should_distill(teacher, student, X, y, cv=2, confidence=0.8)
    # the bounds alone would say "yes"
    assert advice.recoverable.lower > 0
    assert advice.recoverable.value > advice.margin
    assert advice.gain.value < advice.margin
    assert advice.decision != "yes"


# Weights, groups


def test_weights_reach_fits_and_losses_and_zero_is_absence():
    X, y = blobs(120)
    weight = np.random.RandomState(0).randint(0, 3, size=120).astype(float)
    before = weight.copy()
    folds = PredefinedSplit(np.arange(120) % 2)
    tree = DecisionTreeClassifier(max_depth=2)
    advice = should_distill(GaussianNB(), tree, X, y, cv=folds, sample_weight=weight)
    assert_array_equal(weight, before)
    train, test = np.arange(1, 120, 2), np.arange(0, 120, 2)
    model = GaussianNB().fit(X[train], y[train], sample_weight=weight[train])
    expected = log_loss(y[test], model.predict_proba(X[test]), sample_weight=weight[test])
    assert_allclose(advice.frame["held_out"][0], expected)
    kept = weight > 0
    folds = PredefinedSplit((np.arange(120) % 2)[kept])
    rest = should_distill(
        GaussianNB(), tree, X[kept], y[kept], cv=folds, sample_weight=weight[kept]
    )
    assert_same(advice, rest)


def test_weights_of_pipelines_and_by_routing():
    X, y = blobs(120)
    weight = np.random.RandomState(0).uniform(0.1, 2, size=120)
    pipeline = make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=2))
    plain = should_distill(GaussianNB(), pipeline, X, y, sample_weight=weight)
    with config_context(enable_metadata_routing=True):
        tree = DecisionTreeClassifier(max_depth=2).set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        teacher = GaussianNB().set_fit_request(sample_weight=True)
        routed = should_distill(teacher, make_pipeline(scaler, tree), X, y, sample_weight=weight)
    assert_same(plain, routed)


def test_a_teacher_that_takes_no_weights_is_named():
    X, y = blobs(60)
    with pytest.warns(IgnoredSampleWeightWarning, match="teacher KNeighbors") as caught:
        should_distill(KNeighborsClassifier(), linear(), X, y, sample_weight=np.ones(60))
    assert caught[0].filename == __file__


def test_groups_stay_together_and_count_once():
    X, y = noisy(100)
    X, y, groups = np.repeat(X, 3, axis=0), np.repeat(y, 3), np.repeat(np.arange(100), 3)
    advice = should_distill(Oracle(), linear(), X, y, groups=groups)
    rows = should_distill(Oracle(), linear(), X, y)
    assert advice.gap.value > 2 * rows.gap.value  # copies on both sides hide it
    folds = list(GroupKFold(3).split(X, y, groups))
    grouped = should_distill(Oracle(), linear(), X, y, cv=GroupKFold(3), groups=groups)
    given = should_distill(Oracle(), linear(), X, y, cv=folds)
    assert_allclose(grouped.gap.value, given.gap.value)
    width = (grouped.gap.upper - grouped.gap.lower) / (given.gap.upper - given.gap.lower)
    assert_allclose(width, np.sqrt(3), rtol=0.02)


# Inputs


def mixed_frame(n=150):
    rng = np.random.RandomState(0)
    color = rng.choice(["red", "green", "blue"], size=n)
    size = rng.randn(n)
    y = np.where(size + (color == "red") + 0.7 * rng.randn(n) > 0.3, "big", "small")
    return pd.DataFrame({"color": color, "size": size}, index=np.arange(n) + 1000), pd.Series(
        y, index=np.arange(n) + 1000
    )


@pytest.mark.slow
def test_raw_frames_string_labels_and_pipelines():
    X, y = mixed_frame()
    encode = make_column_transformer((OneHotEncoder(), ["color"]), remainder="passthrough")
    X_before, y_before = X.copy(), y.copy()
    teacher = make_pipeline(encode, small_forest(10))
    student = make_pipeline(encode, DecisionTreeClassifier(max_depth=2))
    for decide_by in ("log_loss", "accuracy"):
        advice = should_distill(teacher, student, X, y, decide_by=decide_by)
        y_encoded = should_distill(teacher, student, X, (y == "small") * 1, decide_by=decide_by)
        assert_same(advice, y_encoded)
    pd.testing.assert_frame_equal(X, X_before)
    pd.testing.assert_series_equal(y, y_before)


def test_defaults_of_the_distilled_classifier():
    X, y = blobs(24)
    advice = should_distill(None, None, X, y, cv=2)
    assert advice.decision in ("yes", "no", "undecided")
    # KernelTeacher has leave-one-out labels of its own
    scale = 24 / advice.frame["n_train"].mean()
    assert_allclose(
        advice.cost.distilled, scale * (advice.cost.teacher_fit + 3 * advice.cost.student_fit)
    )


def test_a_frozen_teacher_is_used_as_it_is():
    X, y = blobs(200, n_classes=3)
    frozen = linear().fit(X[:100], y[:100])
    before = frozen.coef_.copy()
    X, y = X[100:], y[100:]
    few = y < 2  # it knows a class that y lacks
    X, y = X[few], y[few]
    n = len(y)
    folds = [(np.arange(0, n, 2), np.arange(1, n, 2)), (np.arange(1, n, 2), np.arange(0, n, 2))]
    advice = should_distill(FrozenEstimator(frozen), GaussianNB(), X, y, cv=folds)
    assert_array_equal(frozen.coef_, before)
    expected = [
        log_loss(y[test], frozen.predict_proba(X[test]), labels=[0, 1, 2]) for _, test in folds
    ]
    assert_allclose(advice.frame["held_out"][::2], expected)
    assert advice.cost.teacher_fit < 0.01


def test_a_teacher_with_decision_values_is_calibrated_on_the_other_folds():
    X, y = blobs(101)
    part = np.arange(101) % 3
    advice = should_distill(DecisionOnly(), GaussianNB(), X, y, cv=PredefinedSplit(part))
    values = np.zeros(101)
    for k in range(3):
        model = DecisionOnly().fit(X[part != k], y[part != k])
        values[part == k] = model.decision_function(X[part == k])
    for k in range(3):
        v, label = values[part != k], y[part != k]
        n_minus, n_plus = np.bincount(label)
        target = np.where(label, (n_plus + 1) / (n_plus + 2), 1 / (n_minus + 2))  # Platt's

        def loss(theta, v=v, target=target):
            f = theta[0] * v + theta[1]
            return np.logaddexp(0, f).sum() - target @ f

        slope, offset = minimize(loss, [1.0, 0.0], tol=1e-12).x
        expected = log_loss(y[part == k], expit(slope * values[part == k] + offset))
        assert_allclose(advice.frame["held_out"][2 * k], expected, rtol=1e-5)
    several, y3 = blobs(100, n_classes=3)
    assert np.isfinite(should_distill(DecisionOnly(), GaussianNB(), several, y3).gap).all()
    X, y = blobs(100)
    frozen = FrozenEstimator(DecisionOnly().fit(X, y))
    assert np.isfinite(should_distill(frozen, GaussianNB(), X, y).gap).all()


def test_a_class_with_a_single_row_is_in_every_training_part():
    X, y = blobs(61, n_classes=2)
    y = np.where(np.arange(61) == 7, 9, y)
    assert np.isfinite(should_distill(GaussianNB(), linear(), X, y).gap).all()


def test_students_without_probabilities():
    X, y = noisy(200)
    student = LinearSVC()
    with pytest.raises(TypeError, match=r'LinearSVC has no predict_proba.*decide_by="accuracy"'):
        should_distill(Oracle(), student, X, y)
    advice = should_distill(Oracle(), student, X, y, decide_by="accuracy", cv=KFold(2))
    a, b = np.arange(100), np.arange(100, 200)
    errors = [
        1 - accuracy_score(y[test], clone(model).fit(X[train], y[train]).predict(X[test]))
        for model in (student, Oracle())
        for train, test in ((a, b), (b, a))
    ]
    assert_allclose(advice.gap.value, np.mean(errors[:2]) - np.mean(errors[2:]))
    assert advice.label_gain == advice.gap


@pytest.mark.parametrize("decide_by", ["log_loss", "accuracy"])
def test_predictions_of_other_packages(decide_by):
    X, y = noisy()
    change = OtherPackage(labels=as_column, proba=lambda P: P.tolist())
    given = should_distill(change, change, X, y, decide_by=decide_by)
    plain = should_distill(OtherPackage(), OtherPackage(), X, y, decide_by=decide_by)
    assert_frame_equal(*(each.frame.drop(columns="fit_seconds") for each in (given, plain)))
    rows = OtherPackage(labels=lambda labels: labels[None])
    with pytest.raises(ValueError, match=r"predict of OtherPackage has returned the shape \(1, "):
        should_distill(rows, linear(), X, y, decide_by="accuracy")


def test_verbose_prints_each_fit(capsys):
    X, y = blobs(60)
    should_distill(GaussianNB(), linear(), X, y, cv=2)
    assert not capsys.readouterr().out
    should_distill(GaussianNB(), linear(), X, y, cv=2, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[4].startswith("[should_distill] fold 0, distilled DistilledClassifier, ")
    assert lines[0].startswith("[should_distill] fold 0, student LogisticRegression, ")


# Errors


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"decide_by": "auc"}, "decide_by must be one of .'log_loss', 'accuracy'"),
        ({"calibration": "platt"}, "calibration must be 'temperature' or None"),
        ({"alpha": 0}, "alpha"),
        ({"alpha": 1.5}, "alpha"),
        ({"margin": -1.0}, "margin"),
        ({"confidence": 1.0}, "confidence"),
        ({"cv": 1}, "cv must be at least 2 folds"),
        ({"cv": [(np.arange(30), np.arange(30, 60))]}, "1 folds with rows to test"),
        (
            {"cv": [(np.arange(30), np.arange(30, 60))] * 2},
            "tests all rows that are tested by any fold",
        ),
        ({"sample_weight": -np.ones(60)}, "[Nn]egative"),
        ({"groups": np.arange(50)}, "inconsistent numbers of samples"),
    ],
)
def test_settings_that_are_wrong(params, message):
    X, y = blobs(60)
    with pytest.raises(ValueError, match=message):
        should_distill(GaussianNB(), linear(), X, y, **params)


def test_data_that_are_wrong():
    X, y = blobs(60)
    with pytest.raises(ValueError, match="two classes"):
        should_distill(GaussianNB(), linear(), X, np.zeros(60))
    rare = np.where(np.arange(60) < 5, 2, y)
    with pytest.raises(ValueError, match=r"fold \d lacks the classes \[2\].*without groups"):
        should_distill(GaussianNB(), linear(), X, rare, groups=np.arange(60) // 5)
    with pytest.raises(ValueError, match="two rows of a class"):
        should_distill(GaussianNB(), linear(), X[:2], ["a", "b"])


def test_models_that_cannot_do_it():
    X, y = blobs(60)
    with pytest.raises(TypeError, match="neither soft_targets nor sample_weight"):
        should_distill(GaussianNB(), KNeighborsClassifier(), X, y)

    class LabelsOnly(GaussianNB):
        predict_proba = property()

    with pytest.raises(TypeError, match="neither predict_proba nor decision_function"):
        should_distill(LabelsOnly(), linear(), X, y)

    class Logits(GaussianNB):
        def predict_proba(self, X):
            return self.predict_joint_log_proba(X)

    with pytest.raises(ValueError, match="predict_proba of the student Logits"):
        should_distill(linear(), Logits(), X, y)


def test_advice_prints_its_verdict_and_a_table():
    X, y = noisy()
    student = LogisticRegression(C=0.01)
    advice = should_distill(GaussianNB(), student, X, y, decide_by="accuracy", confidence=0.995)
    text, html = repr(advice), advice._repr_html_()
    assert text.startswith(advice.verdict + "\n\n")
    assert "difference in error rate" in text
    assert "lower (99.5 %)" in text
    assert f"{advice.gap.value:.3g}" in text.splitlines()[3]
    assert f"<td>{advice.overfitting.upper:.3g}</td>" in html
    assert "student&#x27;s" in html
