import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator

from sklearn_kd import KernelTeacher, ModuleClassifier, TableEncoder, TwoLayerPGDClassifier
from sklearn_kd._tables.encoder_step import (
    check_rows,
    encode_rows,
    fit_encoder,
    set_encoder_tags,
)


class Encoded(BaseEstimator):
    """Keeps the rows that it would compute with."""

    def __init__(self, encoder=None):
        self.encoder = encoder

    def fit(self, X, y, sample_weight=None):
        X, y = check_rows(self, X, y)
        self.rows_ = fit_encoder(self, X, sample_weight)
        return self

    def __sklearn_tags__(self):
        return set_encoder_tags(self, super().__sklearn_tags__())


X = pd.DataFrame({"a": [1, 2, 4], "b": [0.5, 0.25, 0]})
y = [0, 1, 1]


@pytest.mark.parametrize("encoder", ["auto", None])
@pytest.mark.parametrize("kind", [TwoLayerPGDClassifier, KernelTeacher, ModuleClassifier])
def test_parameters_of_an_encoder_need_one(kind, encoder):
    estimator = kind(*([None] if kind is ModuleClassifier else []), encoder=encoder)
    with pytest.raises(ValueError, match=r"'encoder__n_bins' .* set encoder=TableEncoder\(\)"):
        estimator.set_params(encoder__n_bins=2)
    estimator.set_params(encoder=TableEncoder(), encoder__n_bins=2)
    assert estimator.get_params()["encoder__n_bins"] == 2
    assert estimator.set_params(encoder__n_bins=3).encoder.n_bins == 3


def test_rows_are_converted_without_an_encoder_and_encoded_with_one():
    plain = Encoded().fit(X, y)
    np.testing.assert_array_equal(plain.rows_, X.to_numpy())
    np.testing.assert_array_equal(encode_rows(plain, X[1:]), X.to_numpy()[1:])

    encoder = TableEncoder(n_bins=1).set_output(transform="pandas")
    model = Encoded(encoder).fit(X, y, sample_weight=[1, 1, 2])
    expected = TableEncoder(n_bins=1).fit(X, sample_weight=[1, 1, 2]).transform(X)
    assert type(model.rows_) is np.ndarray
    np.testing.assert_array_equal(model.rows_, expected)
    np.testing.assert_array_equal(encode_rows(model, X[1:]), expected[1:])
    assert not hasattr(encoder, "means_")  # a clone was fitted


@pytest.mark.parametrize("encoder", [None, TableEncoder()], ids=["off", "on"])
def test_features_and_labels_are_checked(encoder):
    model = Encoded(encoder).fit(X, y)
    assert model.n_features_in_ == 2
    np.testing.assert_array_equal(model.feature_names_in_, ["a", "b"])
    with pytest.raises(ValueError, match="must be in the same order"):
        encode_rows(model, X[["b", "a"]])
    with pytest.warns(UserWarning, match="valid feature names, but Encoded"):
        encode_rows(model, X.to_numpy())
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, [0, 1])
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X, [0, 1, np.nan])
    with pytest.raises(TypeError, match="toarray"):
        model.fit(sp.csr_array(X), y)
    model.fit(X.to_numpy(), y)
    with pytest.raises(TypeError, match="toarray"):
        encode_rows(model, sp.csr_array(X))
    with pytest.raises(ValueError, match=r"3 features, but Encoded is expecting 2 features"):
        encode_rows(model, np.zeros((1, 3)))


def test_tags_follow_the_parameter():
    for encoder, is_on in ((None, False), ("auto", True), (TableEncoder(), True)):
        tags = Encoded(encoder).__sklearn_tags__().input_tags
        assert (tags.allow_nan, tags.string, tags.categorical) == (is_on,) * 3


def test_a_single_row_of_an_array_is_checked_like_others():
    by_names, by_position = Encoded().fit(X, y), Encoded().fit(X.to_numpy(), y)
    row = np.array([[1.0, 2.0]])
    np.testing.assert_array_equal(encode_rows(by_position, row), row)
    assert encode_rows(by_position, row.astype(np.float32)).dtype == np.float32
    assert encode_rows(by_position, row.astype(int)).dtype == np.float64
    with pytest.warns(UserWarning, match="valid feature names, but Encoded"):
        encode_rows(by_names, row)
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match="Input X contains"):
            encode_rows(by_position, row * wrong)


def test_encoded_rows_take_their_memory_before_they_are_made(monkeypatch):
    monkeypatch.setattr("sklearn_kd._utils.memory.free_bytes", lambda: 100)
    with pytest.raises(MemoryError, match=r"3 rows of 6 encoded columns.*smaller n_bins"):
        Encoded("auto").fit(np.column_stack([X, [5, 6, 8]]), y)
    model = Encoded(TableEncoder(n_bins=1)).fit(X, y)
    with pytest.raises(MemoryError, match=r"6 rows of 4 encoded columns.*smaller n_bins"):
        encode_rows(Encoded(TableEncoder(n_bins=2)).fit(X, y), pd.concat([X, X]))
    assert encode_rows(model, pd.concat([X, X])).shape == (6, 2)
