"""Selection of "auto" parameters on held-out rows."""

import itertools
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd._distillation import selection
from sklearn_kd._distillation.classification import ClassificationTask
from sklearn_kd._distillation.selection import Losses, select_best
from sklearn_kd._distillation.settings import DistillationSetting
from sklearn_kd._distillation.task import difference_in_words
from sklearn_kd._utils.folds import stratified_folds
from sklearn_kd.exceptions import NoGainWarning, TransferRowsWarning
from tests._helpers.data import blobs
from tests._helpers.distillation import distil, labels_of, three_classes
from tests._helpers.estimators import Oracle, SoftmaxStudent
from tests._helpers.selection import (
    LOG,
    PLAIN_STUDENTS,
    Noise,
    RecordingTeacher,
    network,
    noisy_labels,
    overlapping,
    quietly,
)

# ---- temperature="auto"


def test_automatic_temperature_has_the_least_held_out_loss():
    X, y = three_classes(200)
    model = distil(
        LogisticRegression(),
        DecisionTreeClassifier(max_depth=3),
        temperature="auto",
        random_state=0,
    ).fit(X, y)
    seeds = np.random.RandomState(0).randint(2**31 - 1, size=2)
    Q = labels_of(LogisticRegression(), X, y, seed=int(seeds[0])).values
    losses = {}
    for T in (0.5, 1.0, 2.0, 3.0, 5.0):
        losses[T] = 0.0
        for train, test in stratified_folds(y, 3, int(seeds[1])):
            one = distil(DummyClassifier(), DecisionTreeClassifier(max_depth=3), temperature=T).fit(
                X[train], y[train], soft_targets=Q[train]
            )
            proba = one.predict_proba(X[test])[np.arange(len(test)), y[test]]
            losses[T] -= np.log(np.maximum(proba, 1e-15)).mean()
    assert model.temperature_ == min(losses, key=losses.get)
    assert clone(model).fit(X, y).temperature_ == model.temperature_


def test_automatic_temperature_of_a_native_student_with_weights_and_more_rows():
    X, y = three_classes(90)
    model = distil(LogisticRegression(), SoftmaxStudent(l2=1e-2), alpha=0.5, temperature="auto")
    model.fit(X, y, sample_weight=np.linspace(0.5, 2, 90), X_unlabeled=X[:50] + 0.1)
    assert model.student_.temperature == model.temperature_


@pytest.fixture(autouse=True)
def empty_log():
    LOG.clear()


# ---- the rule, on losses made by hand

#: Rows of a trial, half of which have a loss above the mean and half of which have one below it.
SIGN = np.tile([1.0, -1.0], 50)


def candidate(loss, error, accuracy_loss=0.0):
    """Losses of each row whose difference from hard labels has this mean and standard error."""
    spread = SIGN * error * np.sqrt(len(SIGN) - 1)
    return {"log_loss": 1 + loss + spread, "is_wrong": 0.5 + accuracy_loss + 0 * SIGN}


def chosen_of(soft, loss_of_teacher=0.0):
    """Number of the setting that is chosen of hard labels, 0, and soft ones, from 1 on."""
    settings = [DistillationSetting(0.0, 1.0, "hard")]
    settings += [DistillationSetting(0.5, 1.0, "soft", k) for k in range(len(soft))]
    values = [candidate(0.0, 0.0), *soft]
    task = ClassificationTask.of_rows(np.array([0, 1]), None, None)
    trial = SimpleNamespace(
        data=SimpleNamespace(task=task, source_of=lambda setting: setting.source),
        weight=np.ones(len(SIGN)),
        group=np.arange(len(SIGN)),
        losses={s: Losses(v) for s, v in zip(settings, values, strict=True)},
        losses_of_teacher=lambda: np.full(len(SIGN), loss_of_teacher),
    )
    result = select_best([trial], settings)
    assert result.candidates["chosen"].sum() == 1
    assert_allclose(result.candidates["loss"], [v["log_loss"].mean() for v in values])
    return settings.index(result.setting)


@pytest.mark.parametrize(
    ("soft", "expected"),
    [
        # soft labels are chosen unless hard ones are better by two standard errors
        ([candidate(0.1, 0.06)], 1),
        ([candidate(0.1, 0.04)], 0),
        ([candidate(-0.1, 0.01)], 1),
        # of these the least loss
        ([candidate(0.1, 0.06), candidate(0.09, 0.06)], 2),
        ([candidate(0.1, 0.04), candidate(0.09, 0.06)], 2),
        # a worse setting is not chosen because its loss is less certain
        ([candidate(0.1, 0.04), candidate(0.3, 0.6)], 0),
        ([candidate(0.3, 0.6), candidate(0.1, 0.04)], 0),
        ([candidate(0.1, 0.04), candidate(0.3, 0.6), candidate(-0.01, 0.1)], 3),
        # in a measure that is worse alone: labels of a higher loss and accuracy are chosen
        ([candidate(-0.2, 0.01, 0.05), candidate(-0.1, 0.01)], 2),
        ([candidate(-0.2, 0.01, 0.05), candidate(-0.1, 0.01, 0.06)], 0),
        # a fit that has failed says nothing about others
        ([candidate(np.inf, 0.0), candidate(0.1, 0.06)], 2),
        ([candidate(np.inf, 0.0), candidate(0.1, 0.04)], 0),
    ],
)
def test_the_rule_for_hard_labels(soft, expected):
    assert chosen_of(soft) == expected


def test_hard_labels_need_less_evidence_against_a_teacher_of_more_loss():
    soft = [candidate(0.1, 0.15)]
    assert chosen_of(soft, loss_of_teacher=0.9) == 1
    assert chosen_of(soft, loss_of_teacher=1.1) == 0
    assert chosen_of([*soft, candidate(0.2, 0.5)], loss_of_teacher=1.1) == 0


# ---- the candidates


def sharpen_by_hand(P, T):
    powers = (P + 0.01) ** (1 / T)
    return powers / powers.sum(axis=1, keepdims=True)


def temperature_by_hand(P, y_encoded, w):
    K = P.shape[1]
    mass = np.array([w[y_encoded == k].sum() for k in range(K)])[y_encoded]
    target = np.repeat(1 / (mass + 2) / (K - 1), K).reshape(-1, K)
    target[np.arange(len(y_encoded)), y_encoded] = (mass + 1) / (mass + 2)
    grid = np.geomspace(0.05, 20, 400)
    for _ in range(4):
        losses = [-w @ (target * np.log(sharpen_by_hand(P, T))).sum(axis=1) for T in grid]
        best = int(np.argmin(losses))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        grid = np.linspace(low, high, 41)
    return grid[20]


def trial_by_hand(X, y, w, splits, settings, student):
    """Losses and errors (settings, rows) on the last fold, labels from the others."""
    train, test = splits[-1]
    classes = np.unique(y)
    y_encoded = np.searchsorted(classes, y)
    P = np.full((len(y), len(classes)), np.nan)
    for part, held in splits[:-1]:
        part, held = np.intersect1d(part, train), np.intersect1d(held, train)
        teacher = LogisticRegression(C=0.05).fit(X[part], y[part], w[part])
        P[held] = teacher.predict_proba(X[held])
    temperature = temperature_by_hand(P[train], y_encoded[train], w[train])
    Q = sharpen_by_hand(P[train], temperature)
    hard = np.eye(len(classes))[y_encoded[train]]
    losses, errors = [], []
    for alpha, T in settings:
        taught = clone(student)
        if hasattr(student, "alpha"):
            taught.set_params(alpha=alpha, temperature=T)
            labels = pd.DataFrame(Q if alpha else hard, columns=classes)
            taught.fit(X[train], y[train], sample_weight=w[train], soft_targets=labels)
            proba = taught.predict_proba(X[test])
        else:
            target = Q ** (1 / T) / (Q ** (1 / T)).sum(axis=1, keepdims=True)
            target = alpha * target + (1 - alpha) * hard
            rows = np.repeat(train, len(classes))
            taught.fit(X[rows], np.tile(classes, len(train)), (w[train, None] * target).ravel())
            if not hasattr(taught, "predict_proba"):
                errors.append((taught.predict(X[test]) != y[test]).astype(float))
                losses.append(errors[-1])
                continue
            proba = taught.predict_proba(X[test]) ** T
            proba /= proba.sum(axis=1, keepdims=True)
        losses.append(-np.log(proba[np.arange(len(test)), y_encoded[test]]))
        errors.append((proba.argmax(axis=1) != y_encoded[test]).astype(float))
    teacher = LogisticRegression(C=0.05).fit(X[train], y[train], w[train])
    Q = sharpen_by_hand(teacher.predict_proba(X[test]), temperature)
    own = -np.log(Q[np.arange(len(test)), y_encoded[test]])
    if not hasattr(student, "predict_proba"):
        own = Q.argmax(axis=1) != y_encoded[test]
    return np.array(losses), np.array(errors), np.average(own, weights=w[test])


TRIALS = {
    "native": (
        {},
        SoftmaxStudent(l2=1e-2),
        [(0.0, 1.0), (0.5, 1.0)],
    ),
    "network": (
        {},
        TwoLayerPGDClassifier(4, max_iter=30, n_init=1, random_state=0, device="cpu"),
        [(0.0, 1.0), (0.5, 1.0)],
    ),
    "expansion": ({}, LogisticRegression(tol=1e-9, max_iter=1000), [(0.0, 1.0), (0.5, 1.0)]),
    "decision": ({}, LinearSVC(tol=1e-9, max_iter=100000), [(0.0, 1.0), (0.5, 1.0)]),
    "alpha": (
        {"alpha": 0.7},
        SoftmaxStudent(l2=1e-2),
        [(0.7, T) for T in (1.0, 0.5, 2.0, 3.0, 5.0)],
    ),
    "expansion alpha": (
        {"alpha": 1.0},
        LogisticRegression(tol=1e-9, max_iter=1000),
        [(1.0, T) for T in (1.0, 0.5, 2.0, 3.0, 5.0)],
    ),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", TRIALS)
def test_candidates_are_those_of_the_trial_by_hand(name, weighted):
    params, student, settings = TRIALS[name]
    # with the other seed the errors of the two differ
    X, y = overlapping(160, seed=9 if name == "decision" else 0)
    y = np.array(["a", "b", "c"])[y]
    w = np.random.default_rng(0).uniform(0.3, 2, 160) if weighted else None
    splits = list(KFold(4, shuffle=True, random_state=0).split(X))
    model = DistilledClassifier(
        LogisticRegression(C=0.05), student, cv=splits, augmentation=None, **params
    )
    model.set_params(random_state=0)
    quietly(model, X, y, sample_weight=w)
    table = model.candidates_
    assert list(zip(table["alpha"], table["temperature"], strict=True)) == settings
    ones = np.ones(160) if w is None else w
    losses, errors, teacher_loss = trial_by_hand(X, y, ones, splits, settings, student)
    share = ones[splits[-1][1]] / ones[splits[-1][1]].sum()
    for values, loss, gain, error in (
        (losses, "loss", "gain", "gain_error"),
        (errors, None, "accuracy_gain", "accuracy_gain_error"),
    ):
        if loss:
            assert_allclose(table[loss], values @ share, rtol=1e-4)
        gains = values[0] - values
        means = gains @ share
        assert_allclose(table[gain], means, rtol=1e-3, atol=1e-6)
        by_hand = [
            np.sqrt(
                sum(s**2 * (g - mean) ** 2 for s, g in zip(share, row, strict=True))
                / (1 - sum(share**2))
            )
            for row, mean in zip(gains, means, strict=True)
        ]
        assert_allclose(table[error], by_hand, rtol=1e-3, atol=1e-7)
        if not weighted:
            assert_allclose(by_hand, gains.std(axis=1, ddof=1) / np.sqrt(gains.shape[1]))
    assert (table["n_augmented"] == 0).all()
    sources = ["cv"] * len(settings)
    if not params:
        sources[0] = "hard"
    assert table["label_source"].tolist() == sources
    # the least loss; T other than 1 where it is better by one and a half standard errors
    loss = losses @ share
    soft = [i for i, (alpha, _) in enumerate(settings) if alpha]
    plain = min((i for i in soft if settings[i][1] == 1), key=lambda i: loss[i])
    for i in soft:
        gains = losses[plain] - losses[i]
        spread = np.sqrt(share**2 @ (gains - gains @ share) ** 2 / (1 - sum(share**2)))
        if settings[i][1] != 1 and gains @ share <= 1.5 * spread:
            loss[i] = np.inf
    # hard labels where they are better by half a standard error, by two if the teacher's loss is
    # less than theirs
    if not params:
        slack = 2 if teacher_loss < losses[0] @ share else 0.5
        level = (table["gain"] >= -slack * table["gain_error"] - 1e-12) & (
            table["accuracy_gain"] >= -slack * table["accuracy_gain_error"] - 1e-12
        )
        loss = np.where(level & (np.arange(len(loss)) > 0), loss, np.inf)
    chosen = int(loss.argmin()) if np.isfinite(loss).any() else 0
    assert_array_equal(np.flatnonzero(table["chosen"]), [chosen])
    assert (model.alpha_, model.temperature_) == settings[chosen]


@pytest.mark.parametrize("student", PLAIN_STUDENTS)
@pytest.mark.parametrize("data", ["noisy", "blobs"])
def test_candidates_are_consistent(student, data):
    X, y, *_ = noisy_labels(160) if data == "noisy" else overlapping()
    model = DistilledClassifier(LogisticRegression(), PLAIN_STUDENTS[student], random_state=0)
    table = quietly(model, X, y).candidates_
    assert len({len(column) for column in table.values()}) == 1
    assert table["label_source"][0] == "hard"
    assert_allclose(table["gain"], table["loss"][0] - table["loss"], atol=1e-12)
    for name in ("gain", "gain_error", "accuracy_gain", "accuracy_gain_error"):
        assert table[name][0] == 0
        assert (np.abs(table[name][1:]) >= 0).all()
    hard = table["label_source"] == "hard"
    assert (table["alpha"][hard] == 0).all()
    assert (table["n_augmented"][hard] == 0).all()
    (chosen,) = np.flatnonzero(table["chosen"])
    assert model.alpha_ == table["alpha"][chosen]
    assert model.temperature_ == table["temperature"][chosen]
    assert model.label_source_ == table["label_source"][chosen]
    assert model.n_augmented_ == table["n_augmented"][chosen]
    assert {"cv", "hard"} == set(table["label_source"])
    assert set(table["n_augmented"]) == {0, 480}


# ---- hard labels, soft labels


HARD = {
    "network": network(early_stopping=True),  # with so few steps that they are alike
    "logistic": LogisticRegression(),
    "balanced": LogisticRegression(class_weight="balanced"),
    "native": SoftmaxStudent(l2=1e-2),
    "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
    "pipeline": make_pipeline(
        StandardScaler(), network(class_weight="balanced", early_stopping=True)
    ),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("student", HARD)
def test_hard_labels_win_where_the_teacher_is_noise(student, weighted):
    X, y = blobs(240, 3, spread=1.0)
    keep = (y > 0) | (np.arange(240) % 2 == 0)
    X, y = X[keep], np.array(["a", "b", "c"])[y[keep]]
    student = HARD[student]
    w = np.random.default_rng(0).uniform(0.3, 2, len(y)) if weighted else None
    key = f"{student.steps[-1][0]}__sample_weight" if hasattr(student, "steps") else "sample_weight"
    teacher = make_pipeline(StandardScaler(), Noise())
    model = DistilledClassifier(teacher, student, random_state=0)
    with pytest.warns(NoGainWarning, match="held-out rows, the best student") as record:
        model.fit(X, y, sample_weight=w)
    assert [warning.category for warning in record].count(NoGainWarning) == 1
    assert (model.label_source_, model.alpha_, model.temperature_) == ("hard", 0.0, 1.0)
    assert model.n_augmented_ == 0
    assert np.isnan(model.duplicate_fraction_)
    plain = clone(student)
    plain.fit(X, y, **({key: w} if weighted else {}))
    assert_allclose(model.predict_proba(X), plain.predict_proba(X), rtol=1e-7, atol=1e-12)
    assert_array_equal(model.predict(X), plain.predict(X))
    assert (model.candidates_["gain"][1:] < 0).all()


@pytest.mark.parametrize("student", [LogisticRegression(), LinearSVC()])
def test_numbers_of_the_warning(student):
    X, y = blobs(240, 3, spread=2.0)
    model = DistilledClassifier(Noise(), student, random_state=0)
    with pytest.warns(NoGainWarning) as record:
        model.fit(X, y)
    best = 1 + model.candidates_["gain"][1:].argmax()  # the first are hard labels
    line = {name: values[best] for name, values in model.candidates_.items()}
    text = str(next(r.message for r in record if r.category is NoGainWarning))
    # three quarters of the rows, since this student is fitted on one
    assert text.startswith("on 180 held-out rows, the best student on the teacher's labels had a")
    points, error = 100 * line["accuracy_gain"], 100 * line["accuracy_gain_error"]
    assert f"accuracy {-points:.1f} points lower (standard error {error:.1f} points)" in text
    loss = f"a log loss {-line['gain']:.3f} higher (standard error {line['gain_error']:.3f}) and an"
    assert (loss in text) == hasattr(student, "predict_proba")
    assert "log loss" not in text or loss in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.7e-18, "the same log loss (standard error 0.020)"),
        (-0.0004, "the same log loss (standard error 0.020)"),
        (0.027, "a log loss 0.027 higher (standard error 0.020)"),
        (-0.0006, "a log loss 0.001 lower (standard error 0.020)"),
    ],
)
def test_differences_in_words(value, text):
    assert difference_in_words("a", "log loss", value, 0.02, digits=3) == text


def test_hard_labels_with_class_weights():
    X, y = blobs(240, 3, spread=1.0)
    weights = {0: 1.0, 1: 3.0, 2: 0.5}
    student = LogisticRegression(tol=1e-9, max_iter=1000)
    model = DistilledClassifier(Noise(), student, class_weight=weights, random_state=0)
    with pytest.warns(NoGainWarning):
        model.fit(X, y)
    plain = clone(student).set_params(class_weight=weights).fit(X, y)
    assert_allclose(model.predict_proba(X), plain.predict_proba(X), rtol=1e-5)


@pytest.mark.parametrize("student", ["network", "expansion", "native"])
@pytest.mark.parametrize("frozen", [False, True])
def test_soft_labels_win_where_the_teacher_knows(student, frozen):
    X, y, coef = noisy_labels(300, 20)
    teacher = Oracle(coef)
    if frozen:
        teacher = FrozenEstimator(teacher.fit(X, y))
    student = {
        "network": network(max_iter=600, early_stopping=False),
        "expansion": LogisticRegression(C=1e4, max_iter=1000),
        "native": SoftmaxStudent(l2=1e-4),
    }[student]
    model = DistilledClassifier(teacher, student, augmentation=None, random_state=0).fit(X, y)
    table = model.candidates_
    assert model.label_source_ == ("frozen" if frozen else "cv")
    assert model.alpha_ == 0.5
    (chosen,) = np.flatnonzero(table["chosen"])
    assert table["gain"][chosen] > 2 * table["gain_error"][chosen]
    fresh, fresh_y, _ = noisy_labels(4000, 20)
    truth = Oracle(coef).fit(fresh, fresh_y).predict_proba(fresh)
    hard = clone(student).fit(X, y)
    off = [np.abs(m.predict_proba(fresh) - truth).mean() for m in (model, hard)]
    assert off[0] < 0.7 * off[1]


def test_soft_labels_as_good_as_hard_ones_are_taken():
    # hard ones are for where they are better: here neither makes an error
    X, y = blobs(200, 2, spread=0.3)
    model = DistilledClassifier(LogisticRegression(), LinearSVC(), augmentation=None)
    model.set_params(random_state=0).fit(X, y)
    assert (model.candidates_["loss"] == 0).all()
    assert model.label_source_ != "hard"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [5, 7])
def test_hard_labels_win_on_a_clean_table_of_many_steps(seed):
    """Small minibatches stand for many rows: a fit takes 10,000 steps, and 30,000 of these rows."""
    X, y = make_classification(
        5000, n_informative=12, n_clusters_per_class=4, flip_y=0.01, random_state=seed
    )
    X_test, y_test, X, y = X[3000:], y[3000:], X[:3000], y[:3000]
    teacher = HistGradientBoostingClassifier(max_iter=30, random_state=0)
    student = TwoLayerPGDClassifier(16, batch_size=12, n_init=1, random_state=0, encoder=None)
    model = DistilledClassifier(teacher, student, random_state=0)
    fixed = clone(model).set_params(alpha=0.25, temperature=1.0, augmentation="gibbs").fit(X, y)
    with pytest.warns(NoGainWarning):
        model.fit(X, y)
    assert model.label_source_ == "hard"
    hard = log_loss(y_test, model.predict_proba(X_test))
    assert log_loss(y_test, fixed.predict_proba(X_test)) > hard + 0.01


@pytest.mark.slow
def test_transfer_rows_are_taken_where_rows_are_few_and_the_teacher_knows():
    X, y, coef = noisy_labels(150, 100)
    student = TwoLayerPGDClassifier(8, random_state=0, encoder=None)
    model = DistilledClassifier(Oracle(coef), student, random_state=0).fit(X, y)
    assert model.n_augmented_ == 450
    with_more = model.candidates_["n_augmented"] > 0
    assert_array_equal(model.candidates_["chosen"], with_more)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_one_loss_for_all_candidates_is_that_of_each(n_classes, monkeypatch):
    X, y = overlapping(150, n_classes)
    model = DistilledClassifier(GaussianNB(), network(), random_state=0, augmentation=None)
    together = quietly(clone(model), X, y).candidates_["loss"]
    monkeypatch.setattr("sklearn_kd._networks.two_layer.stacked.MAX_REPEATED_TARGET_BYTES", 0)
    assert_allclose(quietly(model, X, y).candidates_["loss"], together, rtol=1e-9)


class Undefined(SoftmaxStudent):
    def predict_proba(self, X):
        return np.full((len(X), 3), np.nan)


def test_students_whose_probabilities_are_not_numbers_are_told():
    X, y = overlapping(150)
    model = DistilledClassifier(LogisticRegression(), Undefined(), random_state=0)
    with pytest.raises(ValueError, match="Undefined are not finite on held-out rows"):
        model.fit(X, y)


@pytest.mark.parametrize("n", [80, 150])
def test_row_expansion_at_a_temperature_has_labels_of_rows_not_seen(n):
    X, y = overlapping(n)
    model = DistilledClassifier(RandomForestClassifier(10), LogisticRegression(), temperature=2.0)
    quietly(model.set_params(augmentation=None, random_state=0), X, y)
    if n == 80:
        assert (model.label_source_, model.alpha_) == ("oob", 1.0)
    else:
        assert set(model.candidates_["label_source"]) == {"hard", "oob"}


@pytest.mark.parametrize("n_augmented", [10, 300])
def test_as_many_rows_as_are_asked_for_must_be_new(n_augmented):
    grid = np.array(list(itertools.product(range(5), range(6), range(6))), dtype=float)
    X = grid[np.random.RandomState(0).permutation(180)[:130]]
    model = DistilledClassifier(LogisticRegression(), LogisticRegression(), alpha=0.5)
    model.set_params(temperature=1.0, n_augmented=n_augmented, random_state=0)
    y = (X.sum(axis=1) > 6).astype(int)
    if n_augmented == 10:
        assert model.fit(X, y).candidates_["n_augmented"].tolist() == [0, 10]
    else:
        with pytest.warns(TransferRowsWarning, match="n_augmented=300 with augmentation='auto'"):
            model.fit(X, y)
        assert model.candidates_ is None


# ---- what it costs


@pytest.mark.parametrize("student", ["native", "expansion"])
def test_a_trial_one_by_one_trains_on_twice_the_rows_at_most(student):
    X, y = overlapping(240, 2)

    class Counting(StandardScaler):
        def fit_transform(self, X, y=None):
            LOG.append(len(X))
            return super().fit_transform(X)

    last = {"native": SoftmaxStudent(l2=1e-2), "expansion": LogisticRegression()}[student]
    model = DistilledClassifier(GaussianNB(), make_pipeline(Counting(), last), random_state=0)
    model = quietly(model, X, y)
    *trial, final = LOG
    assert sorted(trial)[-1] > 200  # with transfer rows
    assert sum(trial) <= 2 * 240 + len(trial)
    assert final == 240 + model.n_augmented_


def test_a_teacher_is_fitted_once_more_to_see_whether_it_memorizes():
    X, y = blobs(160, 2, spread=0.5)
    y[:8] = 1 - y[:8]  # which the teacher cannot memorize
    model = DistilledClassifier(RecordingTeacher(), LogisticRegression(), cv="in-sample")
    quietly(model.set_params(augmentation=None, random_state=0), X, y)
    assert model.candidates_ is not None
    sizes = [len(seen) // X.shape[1] for kind, seen, *_ in LOG if kind == "teacher"]
    assert sizes == [40, 160, 128]  # in the trial, on all rows, without a fifth of them


# ---- large tables


@pytest.mark.parametrize("cv", ["auto", 3])
def test_trials_take_a_sample_of_many_rows(monkeypatch, cv):
    monkeypatch.setattr(selection, "MAX_TRAINING_ROWS", 90)
    monkeypatch.setattr(selection, "MAX_HELD_OUT_ROWS", 40)
    X, y = overlapping(600)
    y[:3] = 2  # a rare class must not be lost
    teacher = RecordingTeacher()
    model = DistilledClassifier(
        teacher, LogisticRegression(), cv=cv, augmentation=None, random_state=0
    )
    splits = []
    real = selection.held_out_splits

    def recorded(*args):
        splits.extend(real(*args))
        return splits

    monkeypatch.setattr(selection, "held_out_splits", recorded)
    quietly(model, X, y)
    assert splits
    for train, test in splits:
        assert 85 <= len(train) <= 95
        assert 35 <= len(test) <= 45
        assert not np.intersect1d(train, test).size
        assert set(y[train]) == {0, 1, 2}


def test_trials_take_as_many_of_the_unlabeled_rows(monkeypatch):
    monkeypatch.setattr(selection, "MAX_TRAINING_ROWS", 90)
    monkeypatch.setattr(selection, "MAX_HELD_OUT_ROWS", 40)
    X, y = overlapping(600)
    sizes = []
    real = selection.LabeledTrainingData.from_teacher

    def recorded(spec, rows, **options):
        sizes.append(len(spec.X_unlabeled))
        return real(spec, rows, **options)

    monkeypatch.setattr(selection.LabeledTrainingData, "from_teacher", recorded)
    model = DistilledClassifier(
        GaussianNB(), LogisticRegression(), augmentation=None, random_state=0
    )
    quietly(model, X, y, X_unlabeled=X[::-1][:400])
    assert sizes[0] == 60  # of 400, as 90 of 600


def test_an_epoch_says_how_long_the_others_take(capsys):
    X, y = overlapping(100)
    network(max_iter=20, verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert re.search(r"epoch 1/20: loss .*, about \d+\.\d s left$", lines[0])
    network(verbose=1).partial_fit(X, y, classes=np.unique(y))
    assert "left" not in capsys.readouterr().out
