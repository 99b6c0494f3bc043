"""Concatenation of rows in any container."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from sklearn_kd import DistilledClassifier
from sklearn_kd._utils.containers import stack_rows

#: Containers of rows that are no table.
ITEMS = {
    "list": list,
    "tuple": tuple,
    "Series": pd.Series,
    "Series of strings": lambda items: pd.Series(items, dtype="string"),
    "Series of categories": lambda items: pd.Series(items, dtype="category"),
    "objects": lambda items: np.array(items, dtype=object),
    "strings": np.array,
    "variable strings": lambda items: np.array(items, dtype=np.dtypes.StringDType()),
    "Index": pd.Index,
}


@pytest.mark.parametrize("more", ITEMS)
@pytest.mark.parametrize("first", ITEMS)
def test_texts_in_any_two_containers(first, more):
    X = ITEMS[first](["a", "bb"])
    both = stack_rows(X, ITEMS[more](["a longer text", "bb"]))
    assert list(both) == ["a", "bb", "a longer text", "bb"]
    assert type(both) is (list if first in ("list", "tuple") else
                          np.ndarray if first == "Index" else type(X))  # fmt: skip
    if first == "Series of strings":
        assert both.dtype == X.dtype


def texts(n_rows, seed):
    rng = np.random.RandomState(seed)
    y = rng.randint(0, 2, n_rows)
    words = [["good", "fine", "nice", "day"], ["bad", "poor", "dull", "day"]]
    return [" ".join(rng.choice(words[k], 3)) for k in y], np.where(y == 1, "minus", "plus")


def draw_again(X, n_rows, seed):
    """Augmentation that works on any of these containers."""
    rows = np.random.RandomState(seed).randint(0, len(X), n_rows)
    return [list(X)[row] for row in rows] if isinstance(X, tuple | list) else X[rows]


@pytest.mark.parametrize("augmentation", [None, draw_again], ids=["unlabeled", "callable"])
@pytest.mark.parametrize("container", ITEMS)
def test_text_pipelines_take_more_rows_in_any_container(container, augmentation):
    (X, y), (more, _) = texts(80, 0), texts(30, 1)
    weight = np.arange(80) % 3
    model = DistilledClassifier(
        make_pipeline(CountVectorizer(), MultinomialNB()),
        make_pipeline(CountVectorizer(), LogisticRegression()),
        alpha=0.5,
        temperature=1.0,
        augmentation=augmentation,
        n_augmented=40,
        random_state=0,
    )
    wrapped = ITEMS[container]
    of_list = model.fit(X, y, weight, X_unlabeled=more).predict_proba(X)
    fitted = model.fit(wrapped(X), y, weight, X_unlabeled=wrapped(more))
    np.testing.assert_array_equal(fitted.predict_proba(wrapped(X)), of_list)
    # rows in another container, where the order of the columns cannot differ
    mixed = model.fit(wrapped(X), y, weight, X_unlabeled=list(more)).predict_proba(X)
    np.testing.assert_array_equal(mixed, of_list)


class Refuses(LogisticRegression):
    """A teacher that must not be fitted."""

    def fit(self, X, y):
        raise AssertionError("fitted before the check")


@pytest.mark.parametrize(
    ("X", "more", "says"),
    [
        (
            ["a", "b"],
            np.ones((3, 2)),
            r"X is a list of texts and X_unlabeled is a numpy ndarray of .*, 2\)",
        ),
        (
            pd.Series(["a", "b"]),
            pd.DataFrame({"t": ["a"]}),
            r"Series of shape \(n_samples,\) .* DataFrame",
        ),
        (np.ones((2, 2)), pd.DataFrame(np.ones((3, 2))), r"ndarray of shape .* pandas DataFrame"),
        (pd.DataFrame(np.ones((2, 2))), [[1.0, 1.0]], "pandas DataFrame of shape .* is a list"),
        (sp.csr_array(np.eye(2)), ["a"], r"csr_array of shape \(n_samples, 2\) .* list of texts"),
        (
            ["a", "b"],
            [1.0, 2.0, 3.0],
            "values of X are texts and those of X_unlabeled are floating",
        ),
        (np.array([1, 2]), pd.Series(["a"]), "values of X are integer and .* are texts"),
        (np.ones((2, 2)), np.array([["a", "b"]]), "values of X are float64 and .* are texts"),
        ([[1.0, 2.0], [2.0, 1.0]], np.ones((3, 3)), "X_unlabeled has 3 features, but X has 2"),
        (np.ones((2, 2)), sp.eye_array(3, format="csr"), "X_unlabeled has 3 features, but X has 2"),
        (np.ones((2, 1, 8, 8)), np.ones((3, 1, 9, 8)), r"the shape \(1, 9, 8\), but those of X"),
    ],
)
def test_rows_that_do_not_go_together_are_named_before_any_fit(X, more, says):
    with pytest.raises((TypeError, ValueError), match=says):
        stack_rows(X, more)
    with pytest.raises((TypeError, ValueError), match=says):
        DistilledClassifier(Refuses(), LogisticRegression()).fit(X, [0, 1], X_unlabeled=more)


def test_tables_in_other_containers():
    rows, more = [[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]
    for X in (rows, tuple(rows), np.array(rows), sp.csr_array(rows)):
        for others in (more, tuple(more), np.array(more), sp.csr_array(more)):
            both = stack_rows(X, others)
            both = both.toarray() if sp.issparse(both) else np.asarray(both)
            np.testing.assert_array_equal(both, rows + more)
    assert stack_rows(np.array([[1, "a"]], dtype=object), [[2, "b"]]).tolist() == [
        [1, "a"],
        [2, "b"],
    ]
    assert stack_rows([[1, "a"]], [[2, "b"]]) == [[1, "a"], [2, "b"]]
    # lists of tokens are rows that are no table, in an array too
    tokens = np.empty(2, dtype=object)
    tokens[:] = [["a", "b"], ["c"]]
    assert list(stack_rows(tokens, [["d", "e"]])) == [["a", "b"], ["c"], ["d", "e"]]
    assert stack_rows([["a", "b"], ["c"]], tokens) == [["a", "b"], ["c"]] * 2
    assert stack_rows([{"a": 1}], pd.Series([{"b": 2}])) == [{"a": 1}, {"b": 2}]
