"""Noise on labels, against counts, crosstabs and distances made here."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare
from sklearn.datasets import make_circles
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklearn_kd import TwoLayerPGDClassifier
from sklearn_kd.datasets import add_label_noise, votes_to_soft_targets

N_CLASSES = 4
Y = np.random.default_rng(0).integers(0, N_CLASSES, 8000)
#: Rows are true classes; one of them is never wrong, and no class becomes class 3.
T = np.array([[0.7, 0.2, 0.1, 0], [0.3, 0.6, 0.1, 0], [0, 0, 1, 0], [0.25, 0.25, 0.25, 0.25]])


def two_blobs(n_samples=2000, distance=4.0, scales=(1.0, 1.0), seed=0):
    """Unit Gaussians whose means are ``distance`` apart on the first axis; 0 is the boundary."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n_samples) % 2)
    X = rng.normal(size=(n_samples, 2))
    X[:, 0] += distance * (y - 0.5)
    return X * scales, y


def every_kind(X, y):
    n_classes = len(np.unique(y))
    even = np.full((n_classes, n_classes), 1 / n_classes)
    return {
        "symmetric": {"rate": 0.3},
        "pair": {"rate": 0.3, "kind": "pair"},
        "class-conditional": {"transition": even, "kind": "class-conditional"},
        "feature-dependent": {"rate": 0.3, "X": X, "kind": "feature-dependent"},
        "annotators": {"rate": 0.4, "kind": "annotators"},
    }


@pytest.fixture(
    params=["symmetric", "pair", "class-conditional", "feature-dependent", "annotators"]
)
def kind(request):
    return request.param


# --- what every kind gives ---


@pytest.mark.parametrize(
    "names",
    [
        np.array(["bat", "cow"]),
        np.array(["bat", "cow"], dtype=object),
        np.array([7, -2], dtype=np.int8),
        np.array([1.0, 2.0], dtype=np.float32),
        np.array([False, True]),
    ],
    ids=lambda names: str(names.dtype),
)
def test_result_is_consistent_and_labels_keep_their_dtype(kind, names):
    X, y_encoded = two_blobs(400)
    y = names[y_encoded]
    noisy = add_label_noise(y, **every_kind(X, y)[kind], random_state=1)
    assert noisy.y.dtype == y.dtype
    assert noisy.y.shape == y.shape
    np.testing.assert_array_equal(noisy.is_wrong, noisy.y != y)
    assert noisy.is_wrong.dtype == bool
    assert noisy.is_wrong.any()
    assert noisy.rate == np.mean(noisy.y != y)
    assert isinstance(noisy.rate, float)
    np.testing.assert_array_equal(noisy.classes, np.unique(y))
    crosstab = pd.crosstab(y, noisy.y, normalize="index")
    np.testing.assert_allclose(noisy.transition, crosstab, rtol=1e-14)
    np.testing.assert_array_equal(crosstab.columns, noisy.classes)


def test_inputs_are_not_written_to(kind):
    X, y = two_blobs(300)
    options = every_kind(X, y)[kind]
    before = y.copy(), {name: np.copy(value) for name, value in options.items()}
    for array in (y, X, options.get("transition", X)):
        array.flags.writeable = False
    noisy = add_label_noise(y, **options, random_state=0)
    np.testing.assert_array_equal(y, before[0])
    for name, value in options.items():
        np.testing.assert_array_equal(value, before[1][name])
    assert not np.shares_memory(noisy.y, y)
    noisy.y[0] = 1  # the copy is the caller's


def test_lists_and_pandas_give_what_arrays_give(kind):
    X, y_encoded = two_blobs(300)
    y = np.array(["bat", "cow"])[y_encoded]
    options = every_kind(X, y)[kind]
    expected = add_label_noise(y, **options, random_state=0)
    if "X" in options:
        options["X"] = pd.DataFrame(X, columns=["height", "weight"])
    index = np.arange(300)[::-1]
    for same in (list(y), pd.Series(y, index=index), pd.Series(y, dtype="category")):
        noisy = add_label_noise(same, **options, random_state=0)
        assert isinstance(noisy.y, np.ndarray)
        np.testing.assert_array_equal(noisy.y, expected.y)
        np.testing.assert_array_equal(noisy.is_wrong, expected.is_wrong)


def test_seeds(kind):
    X, y = two_blobs(300)
    options = every_kind(X, y)[kind]
    np.random.seed(0)
    untouched = np.random.get_state()[1].copy()
    first = add_label_noise(y, **options, random_state=3)
    np.testing.assert_array_equal(np.random.get_state()[1], untouched)
    again = add_label_noise(y, **options, random_state=np.random.RandomState(3))
    np.testing.assert_array_equal(first.y, again.y)
    assert (first.y != add_label_noise(y, **options, random_state=4).y).any()


@pytest.mark.parametrize("name", ["symmetric", "pair", "feature-dependent"])
def test_the_rate_is_exact_and_a_higher_one_keeps_the_wrong_labels(name):
    X, y = two_blobs(301, distance=8)
    options = {"kind": name, "random_state": 0} | ({"X": X} if name[0] == "f" else {})
    lower = add_label_noise(y, 0, **options)
    np.testing.assert_array_equal(lower.y, y)
    np.testing.assert_array_equal(lower.transition, np.eye(2))
    for rate in (0.001, 0.1, 0.25, 0.6, 0.999, 1):
        noisy = add_label_noise(y, rate, **options)
        assert noisy.is_wrong.sum() == round(301 * rate)
        np.testing.assert_array_equal(noisy.y[lower.is_wrong], lower.y[lower.is_wrong])
        lower = noisy
    assert noisy.is_wrong.all()


# --- each kind ---


def test_symmetric_noise_is_even_over_rows_and_other_classes():
    noisy = add_label_noise(Y, 0.4, random_state=0)
    # neither the class of a row nor its place makes it likelier to be wrong
    by_class = np.bincount(Y[noisy.is_wrong], minlength=N_CLASSES)
    assert chisquare(by_class, 0.4 * np.bincount(Y)).pvalue > 1e-3
    counts = pd.crosstab(Y, noisy.y).to_numpy()
    for k, row in enumerate(counts):
        assert chisquare(np.delete(row, k)).pvalue > 1e-3
    blocks = noisy.is_wrong.reshape(8, 1000).sum(axis=1)
    assert chisquare(blocks).pvalue > 1e-3


def test_symmetric_noise_that_may_draw_the_true_class():
    noisy = add_label_noise(Y, 0.8, include_true=True, random_state=0)
    wrong = 0.8 * (1 - 1 / N_CLASSES)
    # five standard errors
    assert abs(noisy.rate - wrong) < 5 * np.sqrt(wrong * (1 - wrong) / len(Y))
    assert noisy.rate < 0.7
    # at rate 1 nothing is left of the labels
    noisy = add_label_noise(Y, 1, include_true=True, random_state=0)
    for row in pd.crosstab(Y, noisy.y).to_numpy():
        assert chisquare(row).pvalue > 1e-3
    assert (add_label_noise(Y, 1, random_state=0).y != Y).all()


def test_pair_noise_goes_to_the_next_class():
    names = np.array(["d", "a", "c", "b"])  # sorted: a, b, c, d
    following = {"a": "b", "b": "c", "c": "d", "d": "a"}
    y = names[Y]
    noisy = add_label_noise(y, 0.45, kind="pair", random_state=0)
    expected = [following[label] for label in y[noisy.is_wrong]]
    np.testing.assert_array_equal(noisy.y[noisy.is_wrong], expected)
    by_class = np.bincount(Y[noisy.is_wrong])
    assert chisquare(by_class, 0.45 * np.bincount(Y)).pvalue > 1e-3


def test_class_conditional_noise_follows_the_matrix():
    noisy = add_label_noise(Y, kind="class-conditional", transition=T, random_state=0)
    counts = pd.crosstab(Y, noisy.y).reindex(columns=range(N_CLASSES)).to_numpy()
    for row, expected in zip(counts, T, strict=True):
        assert not row[expected == 0].any()
        possible = expected > 0
        if possible.sum() > 1:
            share = expected[possible] * row.sum()
            assert chisquare(row[possible], share).pvalue > 1e-3
    assert noisy.rate == pytest.approx(1 - np.bincount(Y) @ T.diagonal() / len(Y), abs=0.02)
    same = add_label_noise(Y, kind="class-conditional", transition=np.eye(N_CLASSES))
    np.testing.assert_array_equal(same.y, Y)
    # rows of probabilities within rounding will do
    rounded = pd.DataFrame(T + [1e-7, 1e-7, 0, -1e-7])
    near = add_label_noise(Y, kind="class-conditional", transition=rounded, random_state=0)
    assert np.mean(near.y == noisy.y) > 0.999


@pytest.mark.parametrize("scales", [(1, 1), (1e-3, 1e3)], ids=str)
def test_feature_dependent_noise_is_near_the_boundary(scales):
    X, y = two_blobs(scales=scales)
    noisy = add_label_noise(y, 0.1, kind="feature-dependent", X=X, random_state=0)
    distance = np.abs(X[:, 0]) / scales[0]
    wrong = np.median(distance[noisy.is_wrong])
    right = np.median(distance[~noisy.is_wrong])
    assert wrong < 0.5 * right
    near = distance < np.quantile(distance, 0.25)
    assert noisy.is_wrong[near].mean() > 0.25
    assert noisy.is_wrong[distance > np.median(distance)].mean() < 0.02
    # the other axis says nothing
    assert abs(np.corrcoef(np.abs(X[:, 1]), noisy.is_wrong)[0, 1]) < 0.1


def test_feature_dependent_noise_has_the_margin_law():
    """Few rows are wrong in proportion to 1 - margin^2, with the probabilities in closed form."""
    X, y = two_blobs(20_000, distance=2)
    proba = 1 / (1 + np.exp(-2 * X[:, 0]))  # of unit Gaussians at -1 and 1
    own = np.where(y == 1, proba, 1 - proba)
    weights = 1 - np.maximum(2 * own - 1, 0) ** 2
    options = {"kind": "feature-dependent", "X": X}
    wrong = sum(
        add_label_noise(y, 0.005, **options, random_state=seed).is_wrong for seed in range(20)
    )
    edges = [0, 0.1, 0.3, 0.6, 0.9, 1.01]
    expected = np.histogram(weights, edges, weights=weights)[0]
    found = np.histogram(weights, edges, weights=wrong)[0]
    assert chisquare(found, expected * found.sum() / expected.sum()).pvalue > 1e-3


def test_feature_dependent_noise_goes_to_the_class_that_a_row_resembles():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 1500)
    centers = np.array([[-3.0, 0.0], [0.0, 0.0], [3.0, 0.0]])
    X = centers[y] + rng.normal(size=(1500, 2))
    noisy = add_label_noise(y, 0.15, kind="feature-dependent", X=X, random_state=0)
    squares = ((X[:, None] - centers) ** 2).sum(axis=2)
    squares[np.arange(len(y)), y] = np.inf
    # estimated centers are not these: rows halfway between two others may differ
    assert np.mean(noisy.y[noisy.is_wrong] == squares.argmin(axis=1)[noisy.is_wrong]) > 0.98
    assert noisy.transition[0, 2] < 0.01 > noisy.transition[2, 0]


def test_a_boundary_that_is_no_plane_needs_another_estimator():
    X, y = make_circles(1000, noise=0.15, factor=0.4, random_state=0)
    radius = np.hypot(*X.T)
    options = {"kind": "feature-dependent", "X": X, "random_state": 0}
    away = np.abs(radius - 0.7)
    forest = RandomForestClassifier(30, random_state=0)
    with_planes = add_label_noise(y, 0.1, **options)
    with_forest = add_label_noise(y, 0.1, estimator=forest, **options)
    assert away[with_forest.is_wrong].mean() < 0.6 * away[with_planes.is_wrong].mean()
    again = add_label_noise(y, 0.1, estimator=forest, **options)
    np.testing.assert_array_equal(with_forest.y, again.y)
    assert not hasattr(forest, "classes_"), "a clone is fitted, not the caller's"


# --- errors ---


@pytest.mark.parametrize(
    ("y", "options", "match"),
    [
        (Y, {"rate": -0.1}, r"rate must be a share in \[0, 1\].*got -0.1"),
        (Y, {"rate": 30}, r"rate must be a share in \[0, 1\], such as 0.3 for 30 %, got 30"),
        (Y, {"rate": np.nan}, r"rate must be a share in \[0, 1\].*got nan"),
        (Y, {}, "kind='symmetric' needs rate"),
        (Y, {"rate": 0.1, "kind": "asymmetric"}, r"one of \['symmetric', 'pair'.*'asymmetric'"),
        (np.ones(9), {"rate": 0.1}, r"at least two classes, got only \[1.0\]"),
        (np.linspace(0, 1, 9), {"rate": 0.1}, "continuous"),
        ([0, 1, np.nan], {"rate": 0.1}, "NaN"),
        (["a", "b", np.nan], {"rate": 0.1}, "y contains 1 missing labels"),
        (np.array(["a", "b", None]), {"rate": 0.1}, "y contains 1 missing labels"),
        ([[0, 1], [1, 0]], {"rate": 0.1}, "1d array"),
        (Y, {"rate": 0.1, "X": Y[:, None]}, "kind='symmetric' does not use X"),
        (Y, {"rate": 0.1, "transition": T}, "kind='symmetric' does not use transition"),
        (Y, {"rate": 0.1, "kind": "pair", "include_true": True}, "does not use include_true"),
        (Y, {"rate": 0.1, "kind": "pair", "estimator": GaussianNB()}, "does not use estimator"),
        (Y, {"kind": "class-conditional"}, "kind='class-conditional' needs transition"),
        (
            Y,
            {"kind": "class-conditional", "transition": T, "rate": 0.1},
            "kind='class-conditional' does not use rate",
        ),
        (Y, {"kind": "class-conditional", "transition": T[:3]}, r"shape \(4, 4\).*got \(3, 4\)"),
        (Y, {"kind": "class-conditional", "transition": T.T}, "row of transition must sum to 1"),
        (Y, {"kind": "class-conditional", "transition": 2 * T - np.eye(4)}, r"in \[0, 1\]"),
        (Y, {"kind": "class-conditional", "transition": T * np.nan}, "transition contains NaN"),
        (Y, {"kind": "feature-dependent", "rate": 0.1}, "kind='feature-dependent' needs X"),
        (Y, {"kind": "feature-dependent", "rate": 0.1, "X": np.ones((3, 2))}, "inconsistent"),
        (
            [0, 0, 0, 1, 1],
            {"kind": "feature-dependent", "rate": 0.1, "X": np.ones((5, 2))},
            "three rows of each class",
        ),
    ],
)
def test_errors_say_what_to_do(y, options, match):
    with pytest.raises(ValueError, match=match):
        add_label_noise(y, **options)


# --- several annotators ---


@pytest.mark.parametrize("n_annotators", [1, 2, 3, 5])
def test_each_annotator_is_wrong_in_the_rate_of_the_rows(n_annotators):
    noisy = add_label_noise(
        Y, 0.3, kind="annotators", n_annotators=n_annotators, X=Y[:, None] * 0.0, random_state=0
    )
    assert noisy.votes.shape == (len(Y), n_annotators)
    wrong = noisy.votes != Y[:, None]
    np.testing.assert_allclose(wrong.mean(axis=0), [0.3] * n_annotators)
    # the last one takes each class for the next one
    last = noisy.votes[wrong[:, -1], -1]
    np.testing.assert_array_equal(last, (Y[wrong[:, -1]] + 1) % N_CLASSES)
    for votes, is_wrong in zip(noisy.votes.T[:-1], wrong.T[:-1], strict=True):
        # the others give any other class, in rows that have nothing to do with each other
        steps = (votes[is_wrong] - Y[is_wrong]) % N_CLASSES
        assert chisquare(np.bincount(steps, minlength=N_CLASSES)[1:]).pvalue > 1e-3
        both = (is_wrong & wrong[:, -1]).mean()
        assert both == pytest.approx(0.09, abs=0.02)


def test_the_label_of_a_row_has_the_most_votes_and_ties_are_drawn():
    noisy = add_label_noise(Y, 0.4, kind="annotators", n_annotators=3, random_state=0)
    counts = (noisy.votes[:, :, None] == np.arange(N_CLASSES)).sum(axis=1)
    own = counts[np.arange(len(Y)), noisy.y]
    np.testing.assert_array_equal(own, counts.max(axis=1))
    tied = counts.max(axis=1) == 1
    assert tied.sum() > 100
    places = (noisy.votes[tied] == noisy.y[tied, None]).argmax(axis=1)
    assert chisquare(np.bincount(places, minlength=3)).pvalue > 1e-3


def test_the_last_annotator_is_wrong_in_a_part_of_the_table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(len(Y), 3)) * [1, 100, 0.01] + 5
    noisy = add_label_noise(Y, 0.3, kind="annotators", X=X, random_state=0)
    is_wrong = noisy.votes[:, -1] != Y
    model = LogisticRegression(C=1e6, max_iter=1000)
    standardized = (X - X.mean(axis=0)) / X.std(axis=0)
    assert model.fit(standardized, is_wrong).score(standardized, is_wrong) > 0.99  # a half-space
    others = noisy.votes[:, 0] != Y
    assert model.fit(standardized, others).score(standardized, others) < 0.72
    in_order = add_label_noise(Y, 0.3, kind="annotators", random_state=0)
    is_wrong = np.flatnonzero(in_order.votes[:, -1] != Y)
    assert (np.diff(is_wrong) > 1).sum() <= 1  # one block, which may begin again at the top


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_annotators": 0}, ValueError, "n_annotators == 0, must be >= 1"),
        ({"n_annotators": 2.5}, TypeError, "n_annotators must be an instance of"),
        ({"X": np.ones((3, 2))}, ValueError, "inconsistent numbers of samples"),
        ({"kind": "pair", "n_annotators": 2}, ValueError, "'pair' does not use n_annotators"),
    ],
)
def test_errors_of_annotators(options, error, message):
    with pytest.raises(error, match=message):
        add_label_noise(Y, 0.1, **{"kind": "annotators", **options})


def test_votes_become_shares():
    rng = np.random.default_rng(0)
    votes = rng.integers(0, 3, (50, 4)) * 2 + 1
    soft = votes_to_soft_targets(votes)
    expected = [[np.mean(row == label) for label in (1, 3, 5)] for row in votes]
    np.testing.assert_allclose(soft, expected, rtol=1e-15)
    with_another = votes_to_soft_targets(votes, classes=[1, 2, 3, 5])
    np.testing.assert_array_equal(with_another[:, [0, 2, 3]], soft)
    assert not with_another[:, 1].any()


def test_votes_keep_the_dtype_of_the_labels():
    days = np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[ns]")
    noisy = add_label_noise(np.repeat(days, 20), 0.3, kind="annotators", random_state=0)
    expected = np.mean(noisy.votes[:, :, None] == days, axis=1)
    np.testing.assert_array_equal(votes_to_soft_targets(noisy.votes, days), expected)


@pytest.mark.parametrize(
    "votes",
    [
        [["b", "a"], ["b", None], [None, None]],
        np.array([["b", "a"], ["b", None], [None, None]], dtype=object),
        pd.DataFrame({"first": ["b", "b", None], "second": ["a", None, None]}),
        pd.DataFrame({"first": ["b", "b", None], "second": ["a", None, None]}, dtype="category"),
        pd.DataFrame({"first": [2, 2, np.nan], "second": [1, np.nan, np.nan]}),
        pd.DataFrame({"first": [2, 2, None], "second": [1, None, None]}, dtype="Int64"),
        pd.DataFrame({"first": [True, True, None], "second": [False, None, None]}, dtype="boolean"),
    ],
    ids=["list", "object", "strings", "categories", "NaN", "nullable", "boolean"],
)
def test_missing_votes_do_not_count(votes):
    expected = [[0.5, 0.5], [0, 1], [np.nan, np.nan]]
    np.testing.assert_array_equal(votes_to_soft_targets(votes), expected)


@pytest.mark.parametrize(
    ("votes", "classes", "message"),
    [
        ([1, 2], None, r"shape \(n_samples, n_annotators\).*got \(2,\)"),
        ([[None, None]], None, "votes has no label"),
        ([["a", "b"]], ["a", "c"], r"votes contains labels \['b'\] that are not among the classes"),
        ([["a", "b"]], ["b", "a"], "must be distinct and in ascending order"),
        ([["a", "b"]], ["a", "a", "b"], "must be distinct and in ascending order"),
        ([["1", 1]], None, "votes has strings and other labels"),
    ],
)
def test_votes_that_cannot_be_read(votes, classes, message):
    with pytest.raises(ValueError, match=message):
        votes_to_soft_targets(votes, classes)


def test_a_network_learns_from_votes():
    X, y = two_blobs(600, distance=3.0)
    noisy = add_label_noise(y, 0.3, kind="annotators", n_annotators=5, X=X, random_state=0)
    student = TwoLayerPGDClassifier(8, max_iter=100, n_init=1, random_state=0)
    student.fit(X, noisy.y, soft_targets=votes_to_soft_targets(noisy.votes))
    assert student.score(X, y) > 0.9
