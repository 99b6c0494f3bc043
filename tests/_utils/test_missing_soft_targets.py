"""Rows of NaN in soft targets: rows that no annotator has labeled, which have their hard labels."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    ModuleClassifier,
    TwoLayerPGDClassifier,
)
from sklearn_kd._utils.validation import check_soft_targets
from sklearn_kd.exceptions import SoftTargetsAlignmentWarning
from sklearn_kd.modules import MLP
from tests._helpers.data import FIXED, blobs, one_hot

X, y = blobs(n=90, n_classes=3)
SOFT = 0.7 * one_hot(y, 3) + 0.1
MISSING = np.arange(len(y)) % 3 == 0
GIVEN, FILLED = SOFT.copy(), SOFT.copy()
GIVEN[MISSING], FILLED[MISSING] = np.nan, one_hot(y, 3)[MISSING]


def network(**options):
    return TwoLayerPGDClassifier(4, max_iter=30, n_init=1, random_state=0, **options)


FITS = {
    "network": network(),
    "weak hard part": network(alpha=0.3),
    "temperature": network(alpha=0.5, temperature=3.0),
    "minibatches": network(batch_size=16),
    "module": ModuleClassifier(MLP, module_params={"width": 4}, max_epochs=3, random_state=0),
    "distilled": DistilledClassifier(student=network(), random_state=0, **FIXED),
    "expansion": DistilledClassifier(student=LogisticRegression(), random_state=0, **FIXED),
    "auto": DistilledClassifier(student=network(), random_state=0, augmentation=None),
    "grid": GridSearchCV(network(), {"alpha": [0.5, 1.0]}, cv=2),
    "batched": BatchedGridSearchCV(network(), {"alpha": [0.5, 1.0]}, cv=2),
}


@pytest.mark.parametrize("name", FITS)
@pytest.mark.filterwarnings("ignore::sklearn_kd.exceptions.NoGainWarning")
def test_a_row_of_nan_means_its_hard_label(name):
    given, filled = (FITS[name].fit(X, y, soft_targets=Q).predict_proba(X) for Q in (GIVEN, FILLED))
    np.testing.assert_array_equal(given, filled)


def test_partial_fit_and_pipelines_take_it():
    partial, pipeline = (
        [fit(network(), Q).predict_proba(X) for Q in (GIVEN, FILLED)]
        for fit in (
            lambda est, Q: est.partial_fit(X, y, classes=[0, 1, 2], soft_targets=Q),
            lambda est, Q: make_pipeline(StandardScaler(), est).fit(
                X, y, twolayerpgdclassifier__soft_targets=Q
            ),
        )
    )
    np.testing.assert_array_equal(*partial)
    np.testing.assert_array_equal(*pipeline)


@pytest.mark.parametrize("dtype", ["float64", "float32", "Float64", "object"])
def test_frames_with_other_columns(dtype):
    labels = np.array(["a", "b", "c"])[y]
    frame = pd.DataFrame(GIVEN, columns=["a", "b", "c"])[["c", "a", "b"]].astype(dtype)
    frame["d"] = np.where(MISSING, np.nan, 0.0)
    Q, classes = check_soft_targets(frame, labels)
    assert classes.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_allclose(Q, np.c_[FILLED, np.zeros(len(y))], rtol=1e-6)
    assert frame.isna().all(axis=1).sum() == MISSING.sum()  # not written to


def test_lists_with_none():
    rows = [[None, None] if row == 1 else [0.25, 0.75] for row in range(4)]
    Q, _ = check_soft_targets(rows, np.array([1, 0, 1, 0]))
    assert Q[:2].tolist() == [[0.25, 0.75], [1.0, 0.0]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_part_of_a_row_is_an_error(value):
    Q = GIVEN.copy()
    Q[4, 1] = value
    with pytest.raises(ValueError, match="soft_targets contains NaN"):
        network().fit(X, y, soft_targets=Q)
    if np.isnan(value):
        with pytest.raises(ValueError, match=r"in a part of row 4.*has NaN in all columns"):
            DistilledClassifier(student=network(), **FIXED).fit(X, y, soft_targets=Q)


def test_all_rows_of_a_batch_or_a_fold_can_be_missing():
    hard = np.eye(len(np.unique(y)))[y]
    missing = np.full_like(GIVEN, np.nan)
    for fit in (
        lambda Q: network().fit(X, y, soft_targets=Q),
        lambda Q: network().partial_fit(X, y, classes=np.unique(y), soft_targets=Q),
        lambda Q: DistilledClassifier(student=network(), **FIXED, random_state=0).fit(
            X, y, soft_targets=Q
        ),
    ):
        # not without a word, since a wrong order of an index makes NaN too
        with pytest.warns(SoftTargetsAlignmentWarning, match="all rows of soft_targets are NaN"):
            of_missing = fit(missing)
        np.testing.assert_array_equal(of_missing.predict_proba(X), fit(hard).predict_proba(X))


def test_the_alignment_of_the_other_rows_is_checked():
    Q = np.roll(GIVEN, 1, axis=1)  # columns in another order; two thirds of the rows are missing
    Q[np.arange(len(y)) % 3 == 1] = np.nan
    with pytest.warns(SoftTargetsAlignmentWarning, match="on 0.0% of the rows"):
        check_soft_targets(Q, y)
    few = np.full_like(GIVEN, np.nan)
    few[:2] = SOFT[:2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_soft_targets(few, y)
