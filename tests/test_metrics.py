"""Metrics against scikit-learn, loops in plain Python and numbers worked out by hand."""

import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings, strategies as st
from sklearn.metrics import accuracy_score, log_loss

from sklearn_kd.metrics import (
    agreement_score,
    expected_calibration_error,
    fidelity_score,
    soft_log_loss,
)

PAIR_METRICS = [fidelity_score, soft_log_loss]


def random_proba(rng, n_samples=40, n_classes=3, dtype=np.float64):
    return rng.dirichlet(np.full(n_classes, 0.5), size=n_samples).astype(dtype)


@st.composite
def probabilities(draw, n_tables=1):
    n_samples, n_classes = draw(st.integers(1, 12)), draw(st.integers(2, 5))
    raw = hnp.arrays(np.float64, (n_samples, n_classes), elements=st.floats(0, 1))
    tables = []
    for _ in range(n_tables):
        P = draw(raw)
        P[:, 0] += P.sum(axis=1) < 1e-3
        tables.append(P / P.sum(axis=1, keepdims=True))
    return tables


# Agreement


def test_agreement_is_accuracy_against_the_teacher():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    weight = rng.uniform(0, 2, 50)
    assert agreement_score(a, b) == pytest.approx(accuracy_score(a, b), abs=1e-15)
    expected = accuracy_score(a, b, sample_weight=weight)
    assert agreement_score(a, b, sample_weight=weight) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("container", [list, np.array, pd.Series, pd.Categorical])
def test_agreement_of_text_in_any_container(container):
    a, b = container(["x", "yy", "x", "x"]), np.array(["x", "yy", "yy", "x"])
    assert agreement_score(a, b) == 0.75


def test_agreement_errors():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        agreement_score([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="same labels"):
        agreement_score(["0", "1"], [0, 1])
    with pytest.raises(ValueError, match="no rows"):
        agreement_score([], [])
    with pytest.raises(ValueError, match="1d"):
        agreement_score(np.eye(2), np.eye(2))
    with pytest.raises(ValueError, match="non-zero"):
        agreement_score([0, 1], [0, 1], sample_weight=[0, 0])
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        agreement_score([0, 1], [0, 1], sample_weight=[1, -1])
    for missing in (pd.Series(["a", None], dtype="string"), ["a", None], np.array([0, np.nan])):
        with pytest.raises(ValueError, match="y_student contains 1 missing labels"):
            agreement_score(["a", "b"], missing)


@pytest.mark.parametrize("factor", [1e308, 1e-310])
def test_a_common_factor_of_the_weights_has_no_effect(factor):
    y, P, Q = [0, 1, 1], [[0.5, 0.5], [1, 0], [0.2, 0.8]], [[0.5, 0.5], [0, 1], [0.1, 0.9]]
    for metric, a, b in (
        (agreement_score, y, [0, 0, 1]),
        (fidelity_score, P, Q),
        (soft_log_loss, P, Q),
        (expected_calibration_error, y, P),
    ):
        value = metric(a, b, sample_weight=np.full(3, factor))
        assert value == pytest.approx(metric(a, b), rel=1e-12)


# Fidelity


def test_fidelity_by_the_definition_of_total_variation():
    """Largest difference over all sets of classes, by enumeration."""
    rng = np.random.default_rng(1)
    P, Q, weight = random_proba(rng), random_proba(rng), rng.uniform(0, 2, 40)
    total = 0.0
    for p, q, w in zip(P, Q, weight, strict=True):
        sets = [[k for k in range(3) if s >> k & 1] for s in range(8)]
        total += w * max(abs(sum(p[k] - q[k] for k in members)) for members in sets)
    expected = 1 - total / weight.sum()
    assert fidelity_score(P, Q, sample_weight=weight) == pytest.approx(expected, abs=1e-12)


@given(probabilities(n_tables=3))
def test_fidelity_is_one_minus_a_metric(tables):
    P, Q, R = tables
    assert fidelity_score(P, P) == 1
    assert 0 <= fidelity_score(P, Q) <= 1
    assert fidelity_score(P, Q) == fidelity_score(Q, P)
    assert 1 - fidelity_score(P, R) <= 2 - fidelity_score(P, Q) - fidelity_score(Q, R) + 1e-12


@given(probabilities(n_tables=2))
def test_fidelity_of_one_hot_tables_is_agreement(tables):
    P, Q = (np.eye(T.shape[1])[T.argmax(axis=1)] for T in tables)
    agreement = agreement_score(P.argmax(axis=1), Q.argmax(axis=1))
    assert fidelity_score(P, Q) == pytest.approx(agreement, abs=1e-12)


def test_disjoint_support_has_fidelity_zero():
    assert fidelity_score([[1, 0], [0.0, 1]], [[0, 1], [1.0, 0]]) == 0


# Soft log loss


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_one_hot_targets_give_the_log_loss_of_sklearn(dtype, n_classes):
    rng = np.random.default_rng(2)
    P = random_proba(rng, n_classes=n_classes, dtype=dtype)
    P[0] = np.eye(n_classes)[0]  # a zero that must be clipped
    y = rng.integers(0, n_classes, 40)
    y[0] = 1
    weight = rng.uniform(0, 2, 40)
    expected = log_loss(y, P, sample_weight=weight, labels=range(n_classes))
    loss = soft_log_loss(np.eye(n_classes)[y], P, sample_weight=weight)
    assert loss == pytest.approx(expected, rel=1e-6 if dtype is np.float32 else 1e-12)


def test_soft_log_loss_by_loop():
    rng = np.random.default_rng(3)
    Q, P = random_proba(rng), random_proba(rng)
    rows = [-sum(q * math.log(p) for q, p in zip(*pair, strict=True))
            for pair in zip(Q, P, strict=True)]  # fmt: skip
    assert soft_log_loss(Q, P) == pytest.approx(sum(rows) / 40, rel=1e-12)


@given(probabilities(n_tables=2))
def test_soft_log_loss_is_least_at_the_targets(tables):
    Q, P = tables
    loss = soft_log_loss(Q, P)
    assert np.isfinite(loss)
    assert loss >= soft_log_loss(Q, Q) - 1e-12


@given(probabilities(n_tables=2))
def test_soft_log_loss_is_linear_in_the_targets(tables):
    Q, P = tables
    one_hot = np.eye(Q.shape[1])
    by_class = [soft_log_loss(np.tile(row, (len(P), 1)), P, sample_weight=Q[:, k] + 1e-300)
                * Q[:, k].mean() for k, row in enumerate(one_hot)]  # fmt: skip
    assert soft_log_loss(Q, P) == pytest.approx(sum(by_class), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("metric", PAIR_METRICS)
def test_weight_k_is_k_repetitions(metric):
    rng = np.random.default_rng(4)
    P, Q, weight = random_proba(rng), random_proba(rng), rng.integers(0, 4, 40)
    repeated = metric(np.repeat(P, weight, axis=0), np.repeat(Q, weight, axis=0))
    assert metric(P, Q, sample_weight=weight) == pytest.approx(repeated, rel=1e-12)


@pytest.mark.parametrize("metric", PAIR_METRICS)
def test_containers_and_read_only_input(metric):
    rng = np.random.default_rng(5)
    P, Q = random_proba(rng), random_proba(rng)
    expected = metric(P, Q)
    assert isinstance(expected, float)
    P.setflags(write=False)
    Q.setflags(write=False)
    assert metric(P.tolist(), pd.DataFrame(Q, columns=list("abc"))) == expected
    frames = [pd.DataFrame(table, columns=list("abc")) for table in (P, Q)]
    assert metric(*frames) == expected


@pytest.mark.parametrize("metric", PAIR_METRICS)
def test_pair_errors(metric):
    good = [[0.5, 0.5], [1.0, 0.0]]
    with pytest.raises(ValueError, match=r"same rows and classes.*\(2, 2\) and \(1, 2\)"):
        metric(good, good[:1])
    with pytest.raises(ValueError, match=r"same rows and classes.*column of zeros"):
        metric(good, [[0.5, 0.5, 0], [1.0, 0, 0]])
    with pytest.raises(ValueError, match=r"shape \(n_samples, n_classes\).*column_stack"):
        metric(good, [0.5, 0.5])
    with pytest.raises(ValueError, match="predict_proba, not decision values"):
        metric([[2.0, -1.0], [1.0, 0.0]], good)
    with pytest.raises(ValueError, match=r"row 1 sums to 0\.9"):
        metric([[0.5, 0.5], [0.9, 0.0]], good)
    with pytest.raises(ValueError, match="NaN"):
        metric([[0.5, np.nan], [1.0, 0.0]], good)
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        metric(np.empty((0, 2)), np.empty((0, 2)))
    with pytest.raises(ValueError, match="sample_weight"):
        metric(good, good, sample_weight=[1.0])
    frame = pd.DataFrame(good, columns=["no", "yes"])
    with pytest.raises(ValueError, match=r"columns of .*\['no', 'yes'\]"):
        metric(frame, frame[["yes", "no"]])


# Calibration


def ece_by_loop(correct, confidence, n_bins):
    """Guo et al. (2017), eq. 3, with the bins as intervals ((b - 1) / B, b / B]."""
    total = 0.0
    for b in range(1, n_bins + 1):
        rows = [i for i, c in enumerate(confidence) if (b - 1) / n_bins < c <= b / n_bins]
        if rows:
            accuracy = sum(correct[i] for i in rows) / len(rows)
            mean = sum(confidence[i] for i in rows) / len(rows)
            total += len(rows) / len(confidence) * abs(accuracy - mean)
    return total


def test_ece_by_hand():
    # (0.6, 0.8]: 0.7 and 0.8, one right: |0.5 - 0.75| * 2/5. (0.8, 1]: 0.9, 0.9, 1.0, two
    # right: |2/3 - 14/15| * 3/5.
    confidence = np.array([0.7, 0.8, 0.9, 0.9, 1.0])
    y = [1, 0, 1, 0, 1]
    proba = np.column_stack([1 - confidence, confidence])
    assert expected_calibration_error(y, proba, n_bins=5) == pytest.approx(0.26, abs=1e-12)
    assert expected_calibration_error(y, confidence, n_bins=5) == pytest.approx(0.26, abs=1e-12)


@settings(deadline=None)
@given(probabilities(), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_ece_by_loop(tables, n_bins, seed):
    (P,) = tables
    labels = np.arange(P.shape[1]) * 10
    y = np.random.default_rng(seed).choice(labels, len(P))
    error = expected_calibration_error(y, P, n_bins=n_bins, labels=labels)
    expected = ece_by_loop(labels[P.argmax(axis=1)] == y, P.max(axis=1), n_bins)
    assert error == pytest.approx(expected, abs=1e-12)
    assert 0 <= error <= 1


@pytest.mark.parametrize("n_columns", [1, 2, 4])
def test_weighted_ece_is_that_of_copies(n_columns):
    rng = np.random.default_rng(3)
    P = random_proba(rng, n_classes=max(n_columns, 2))
    labels = np.arange(P.shape[1])
    y, weight = rng.choice(labels, len(P)), rng.integers(0, 4, len(P))
    P = P[:, 1] if n_columns == 1 else P
    repeated = expected_calibration_error(
        np.repeat(y, weight), np.repeat(P, weight, axis=0), n_bins=5, labels=labels
    )
    error = expected_calibration_error(y, P, n_bins=5, labels=labels, sample_weight=weight)
    assert error == pytest.approx(repeated, abs=1e-12)
    assert repeated != pytest.approx(
        expected_calibration_error(y, P, n_bins=5, labels=labels), abs=1e-4
    )
    scaled = expected_calibration_error(
        y, P, n_bins=5, labels=labels, sample_weight=pd.Series(weight / 7.0)
    )
    assert scaled == pytest.approx(error, abs=1e-12)


def test_weighted_ece_by_hand():
    # (0.6, 0.8]: 0.7 right with weight 3 and 0.8 wrong: |3/4 - 2.9/4| * 4/5. 0.9 right: 0.1 / 5.
    error = expected_calibration_error(
        [1, 0, 1], [0.7, 0.8, 0.9], n_bins=5, sample_weight=[3, 1, 1]
    )
    assert error == pytest.approx(0.04, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_bins", [5, 10, 15])
def test_bins_hold_their_right_end(dtype, n_bins):
    """Two rows, one at the right end of a bin and right, one just past it and wrong."""
    b = n_bins * 4 // 5
    end = dtype(b / n_bins)
    past = np.nextafter(end, dtype(1))
    error = expected_calibration_error([1, 0], np.array([end, past]), n_bins=n_bins)
    apart = (abs(1 - float(end)) + abs(0 - float(past))) / 2
    assert error == pytest.approx(apart, abs=1e-6)
    together = expected_calibration_error([1, 0], np.array([end, end]), n_bins=n_bins)
    assert together == pytest.approx(abs(0.5 - b / n_bins), abs=1e-6)


@given(probabilities())
def test_one_bin_is_mean_confidence_minus_accuracy(tables):
    (P,) = tables
    y = np.zeros(len(P), dtype=int)
    gap = abs(np.mean(P.argmax(axis=1) == y) - P.max(axis=1).mean())
    error = expected_calibration_error(y, P, n_bins=1, labels=np.arange(P.shape[1]))
    assert error == pytest.approx(gap, abs=1e-12)
    assert expected_calibration_error(y, P, labels=np.arange(P.shape[1])) >= gap - 1e-12


@given(hnp.arrays(np.float64, st.integers(2, 10), elements=st.floats(0, 1)))
def test_one_column_is_the_second_label(positive):
    y = np.array(["no", "yes"] * 5)[: len(positive)]
    two = np.column_stack([1 - positive, positive])
    assume(np.allclose(two.sum(axis=1), 1))
    assert expected_calibration_error(y, positive) == expected_calibration_error(y, two)


def test_a_column_is_read_as_one_number_per_row():
    y, positive = [0, 1, 1], [0.2, 0.7, 0.9]
    column = np.array(positive)[:, None]
    assert expected_calibration_error(y, column) == expected_calibration_error(y, positive)
    with pytest.raises(ValueError, match=r"row 0 sums to 0\.2"):
        expected_calibration_error([0, 1, 2], column)


def test_calibrated_labels_have_a_small_error_and_overconfidence_a_large_one():
    rng = np.random.default_rng(6)
    P = random_proba(rng, n_samples=20_000, n_classes=4)
    y = (rng.random((20_000, 1)) > P.cumsum(axis=1)).sum(axis=1).clip(max=3)
    assert expected_calibration_error(y, P) < 0.015
    sharp = P**4 / (P**4).sum(axis=1, keepdims=True)
    gap = sharp.max(axis=1).mean() - P.max(axis=1).mean()
    assert expected_calibration_error(y, sharp) == pytest.approx(gap, abs=0.02)


def test_labels_name_the_columns():
    proba = [[0.1, 0.2, 0.7], [0.8, 0.1, 0.1]]
    y = pd.Series(["c", "a"])
    error = expected_calibration_error(y, proba, labels=["a", "b", "c"])
    assert error == pytest.approx(0.25, abs=1e-12)


def test_ece_errors():
    proba = [[0.5, 0.5], [1.0, 0.0]]
    with pytest.raises(ValueError, match=r"2 classes but there are 1 labels.*labels=classes_"):
        expected_calibration_error([1, 1], proba)
    with pytest.raises(ValueError, match="2 classes but there are 3 labels"):
        expected_calibration_error([0, 1], [0.5, 0.5], labels=[0, 1, 2])
    with pytest.raises(ValueError, match="labels must be sorted"):
        expected_calibration_error([0, 1], proba, labels=[1, 0])
    with pytest.raises(ValueError, match=r"labels \[2\] that are not among"):
        expected_calibration_error([0, 2], proba, labels=[0, 1])
    with pytest.raises(ValueError, match="inconsistent numbers"):
        expected_calibration_error([0, 1, 1], proba)
    with pytest.raises(ValueError, match="predict_proba, not decision"):
        expected_calibration_error([0, 1], [-2.0, 3.0])
    with pytest.raises(ValueError, match="NaN"):
        expected_calibration_error([0, 1], [0.5, np.nan])
    with pytest.raises(ValueError, match="row 0 sums to"):
        expected_calibration_error([0, 1], [[0.5, 0.6], [1.0, 0.0]])
    with pytest.raises(ValueError, match=r"\(n_samples, n_classes\)"):
        expected_calibration_error([0, 1], np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="continuous"):
        expected_calibration_error([0.5, 1.5], proba)
    for weight, says in (([1.0], "sample_weight"), ([1, -1], "Negative"), ([0, 0], "non-zero")):
        with pytest.raises(ValueError, match=says):
            expected_calibration_error([0, 1], proba, sample_weight=weight)
    frame = pd.DataFrame(proba, columns=["yes", "no"])
    with pytest.raises(ValueError, match=r"columns of proba are \['yes', 'no'\] and the labels"):
        expected_calibration_error(["yes", "no"], frame)
    assert expected_calibration_error(["yes", "no"], frame[["no", "yes"]]) == 0.75
    assert expected_calibration_error([1, 0], frame) == 0.25
    for n_bins in (0, 2.5, True, "15"):
        with pytest.raises(ValueError, match="n_bins"):
            expected_calibration_error([0, 1], proba, n_bins=n_bins)


@pytest.mark.parametrize("metric", [fidelity_score, soft_log_loss])
def test_half_precision_is_normalized(metric):
    P, Q = np.random.default_rng(0).dirichlet(np.full(50, 0.5), size=(2, 40))
    half = [each.astype(np.float16) for each in (P, Q)]
    assert np.abs(half[0].sum(axis=1, dtype=np.float64) - 1).max() > 1e-5
    assert metric(*half) == pytest.approx(metric(P, Q), abs=5e-3)
    by_hand = [each.astype(np.float64) for each in half]
    by_hand = [each / each.sum(axis=1, keepdims=True) for each in by_hand]
    assert metric(*half) == pytest.approx(metric(*by_hand), rel=1e-12)
    assert metric(pd.DataFrame(half[0]), pd.DataFrame(half[1])) == metric(*half)
    with pytest.raises(ValueError, match=r"must sum to 1 within 0\.001"):
        metric(half[0], (half[1] * 0.99).astype(np.float16))
