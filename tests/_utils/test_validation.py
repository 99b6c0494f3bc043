"""Checks of soft targets and sample weights."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd._utils.validation import (
    check_row_order,
    check_soft_targets,
    rescale_weights,
    validate_sample_weight,
)
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning
from tests._helpers.data import random_proba

Y = np.array(["b", "a", "c", "a"])


def targets(y=Y, n_classes=3, seed=0):
    """Valid soft targets whose argmax is the label."""
    _, y_encoded = np.unique(y, return_inverse=True)
    return 0.6 * np.eye(n_classes)[y_encoded] + 0.4 / n_classes


def test_soft_targets_as_an_array():
    Q = targets()
    checked, classes = check_soft_targets(Q.tolist(), Y)
    np.testing.assert_allclose(checked, Q, rtol=1e-15)
    assert classes.tolist() == ["a", "b", "c"]
    assert checked.dtype == np.float64


def test_soft_targets_as_a_frame_go_by_label():
    Q = targets()
    frame = pd.DataFrame(Q, columns=["a", "b", "c"])[["c", "a", "b"]]
    checked, _ = check_soft_targets(frame, Y)
    np.testing.assert_allclose(checked, Q, rtol=1e-15)
    wide = frame * 0.5
    wide["aa"] = 0.5  # a class that y lacks, in the middle
    checked, classes = check_soft_targets(wide, Y)
    assert classes.tolist() == ["a", "aa", "b", "c"]
    np.testing.assert_allclose(checked, np.c_[Q[:, :1] / 2, np.full(4, 0.5), Q[:, 1:] / 2])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (lambda Q: pd.DataFrame(Q, columns=["a", "b", "b"]), "repeated column labels"),
        (lambda Q: pd.DataFrame(Q, columns=["a", "b", "x"]), r"no column for the labels \['c'\]"),
        (lambda Q: Q[:3], r"n_samples=4, got \(3, 3\)"),
        (lambda Q: Q[:, 0], r"got \(4,\)"),
        (lambda Q: Q[:, :2], "2 columns but there are 3 classes.*DataFrame"),
        (lambda Q: np.c_[Q, np.zeros(4)], "4 columns but there are 3 classes.*DataFrame"),
        (lambda Q: np.where(Q.max() == Q, np.nan, Q), "NaN"),
        (lambda Q: np.where(Q.max() == Q, np.inf, Q), "infinity"),
        (lambda Q: np.log(Q), r"\[0, 1\].*predict_proba, not decision values or logits"),
        (lambda Q: Q * 100, r"\[0, 1\]"),
        (lambda Q: Q + [0, 0, 2e-5], "sum to 1 within 1e-05; row 0 sums to 1.00002"),
        (lambda Q: Q * 0.5, "sum to 1"),
        (lambda Q: Q * 0.0, "sum to 1"),
    ],
)
def test_soft_targets_that_cannot_be_used(frame, message):
    with pytest.raises(ValueError, match=message):
        check_soft_targets(frame(targets()), Y)


def test_soft_targets_within_the_tolerance_are_renormalized_and_the_input_is_kept():
    Q = targets() + [0, 0, 9e-6]
    Q[0] = [1 + 5e-6, -5e-6, 0]
    before = Q.copy()
    checked, _ = check_soft_targets(Q, np.array(["a", "a", "c", "b"]))
    np.testing.assert_array_equal(Q, before)
    np.testing.assert_allclose(checked.sum(axis=1), 1, rtol=1e-15)
    assert checked.min() >= 0
    np.testing.assert_allclose(checked, before, atol=1e-5)


def test_soft_targets_with_known_classes():
    Q = targets(["a", "b"], n_classes=3)
    checked, classes = check_soft_targets(Q, ["a", "b"], classes=np.array(["a", "b", "c"]))
    assert classes.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(checked, Q)
    with pytest.raises(ValueError, match=r"columns \['z'\] that are not among the classes"):
        check_soft_targets(
            pd.DataFrame(Q, columns=["a", "b", "z"]), ["a", "b"], classes=np.array(["a", "b", "c"])
        )


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_misaligned_targets_warn_and_aligned_ones_do_not(n_classes):
    rng = np.random.RandomState(0)
    y_encoded = rng.randint(n_classes, size=200)
    Q = 0.7 * np.eye(n_classes)[y_encoded] + 0.3 * random_proba(rng, 200, n_classes)
    check_soft_targets(Q, y_encoded)
    Q_weak = 0.3 * np.eye(n_classes)[y_encoded] + 0.7 * random_proba(rng, 200, n_classes)
    check_soft_targets(Q_weak, y_encoded)
    with pytest.warns(SoftTargetsAlignmentWarning, match=r"rows or columns"):
        check_soft_targets(np.roll(Q, 1, axis=1), y_encoded)


def test_an_imbalanced_majority_teacher_is_not_misaligned():
    y = np.r_[np.zeros(95, int), np.ones(5, int)]
    check_soft_targets(np.tile([0.95, 0.05], (100, 1)), y)


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_targets_of_shuffled_rows_warn_where_there_are_enough_of_them(n_classes):
    rng = np.random.RandomState(0)
    warned = {}
    for n in (20, 1000):
        warned[n] = 0
        for _ in range(100):
            y_encoded = rng.permutation(n) % n_classes
            Q = 0.7 * np.eye(n_classes)[y_encoded] + 0.3 * random_proba(rng, n, n_classes)
            check_soft_targets(Q, y_encoded)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                check_soft_targets(Q[rng.permutation(n)], y_encoded)
            warned[n] += len(caught)
    assert warned[1000] >= 90
    # of a few rows only those are told that agree less often than chance
    assert warned[20] <= 30


def test_a_weak_teacher_of_few_rows_does_not_warn():
    rng = np.random.RandomState(0)
    for _ in range(100):
        y_encoded = rng.randint(2, size=30)
        right = rng.permutation(30) < 18  # six in ten
        best = np.where(right, y_encoded, 1 - y_encoded)
        check_soft_targets(0.4 + 0.2 * np.eye(2)[best], y_encoded)


def test_frames_with_the_index_of_x_or_y_in_another_order_are_refused():
    frame = pd.DataFrame(targets(), columns=["a", "b", "c"], index=[7, 3, 5, 1])
    X = pd.DataFrame(np.zeros((4, 1)), index=[7, 3, 5, 1])
    y = pd.Series(Y, index=X.index)
    check_row_order(frame, X, y)
    moved = frame.loc[[1, 3, 5, 7]]
    for arguments, name in ((X, y), "X"), ((X.to_numpy(), y), "y"), ((X.to_numpy(), Y), None):
        if name is None:
            check_row_order(moved, *arguments)  # nothing to compare with
            continue
        with pytest.raises(ValueError, match=rf"loc\[{name}.index\]"):
            check_row_order(moved, *arguments)
    check_row_order(moved.set_axis([0, 1, 2, 3]), X, y)  # other labels say nothing
    check_row_order(moved.to_numpy(), X, y)
    check_row_order(moved.set_axis([1, 1, 2, 2]), X.set_axis([2, 2, 1, 1]), y)
    for model in (
        TwoLayerPGDClassifier(2, max_iter=2),
        DistilledClassifier(student=LogisticRegression()),
    ):
        with pytest.raises(ValueError, match="in another order"):
            model.fit(X, y, soft_targets=moved)


def test_sample_weight():
    X = np.zeros((3, 1))
    assert validate_sample_weight(None, X).tolist() == [1, 1, 1]
    assert validate_sample_weight([1, 0, 2], X).dtype == np.float64
    for bad, message in [
        ([0, 0, 0], "zero"),
        ([1, -1, 1], "[Nn]egative"),
        ([1, 1], "shape"),
        ([1, np.nan, 1], "NaN"),
    ]:
        with pytest.raises(ValueError, match=message):
            validate_sample_weight(bad, X)


def test_rescaling_weights_is_exact():
    weights = np.array([0.3, 1.0, 7.0])
    scaled = rescale_weights(weights)
    assert 0.5 <= scaled.max() < 1
    np.testing.assert_array_equal(scaled / scaled[1], weights)
    for factor in (2.0**1020, 2.0**-1000):
        np.testing.assert_array_equal(rescale_weights(weights * factor), scaled)


def test_soft_targets_in_half_precision_are_normalized():
    y = np.arange(60) % 30
    P = np.random.default_rng(0).dirichlet(np.ones(30), size=60) / 2 + np.eye(30)[y] / 2
    half = P.astype(np.float16)
    assert np.abs(half.sum(axis=1, dtype=np.float64) - 1).max() > 1e-5
    Q, _ = check_soft_targets(half, y)
    assert_allclose(Q.sum(axis=1), 1, atol=1e-14)
    assert_allclose(Q, P, rtol=2e-3)
    assert_array_equal(check_soft_targets(pd.DataFrame(half, columns=range(30)), y)[0], Q)
