"""Missing labels in y are an error that names y, in every container."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from sklearn_kd import (
    DistilledClassifier,
    KernelTeacher,
    ModuleClassifier,
    SelfDistillClassifier,
    TwoLayerPGDClassifier,
)
from sklearn_kd.modules import MLP

pl = pytest.importorskip("polars")

X = np.random.default_rng(0).normal(size=(40, 2))
WORDS = [None if row < 2 else "ab"[row % 2] for row in range(40)]
NUMBERS = [None if row < 2 else row % 2 for row in range(40)]

CONTAINERS = {
    "None in a list": WORDS,
    "NaN in a list": [np.nan if word is None else word for word in WORDS],
    "None in an array": np.array(WORDS, dtype=object),
    "NaN in an array": np.array(NUMBERS, dtype=float),
    "strings": pd.Series(WORDS, dtype="str"),
    "nullable strings": pd.Series(WORDS, dtype="string"),
    "nullable integers": pd.array(NUMBERS, dtype="Int64"),
    "categories": pd.Series(WORDS, dtype="category"),
    "polars strings": pl.Series(WORDS),
    "polars integers": pl.Series(NUMBERS),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    ("model", "advice"),
    [
        (
            DistilledClassifier(LogisticRegression(), LogisticRegression()),
            "drop these rows, or pass them as X_unlabeled",
        ),
        (TwoLayerPGDClassifier(), "drop these rows"),
        (TwoLayerPGDClassifier(encoder=None), "drop these rows"),
        (ModuleClassifier(MLP), "drop these rows"),
        (SelfDistillClassifier(), "drop these rows"),
        (KernelTeacher(), "drop these rows"),
    ],
)
def test_missing_labels(model, advice, container):
    with pytest.raises(ValueError, match=rf"^y contains 2 missing labels \(.*\): {advice}\.$"):
        model.fit(X, CONTAINERS[container])


def test_missing_labels_of_rows_to_rank():
    with pytest.raises(ValueError, match="y contains 2 missing labels"):
        SelfDistillClassifier().find_label_errors(X, np.array(WORDS, dtype=object))
