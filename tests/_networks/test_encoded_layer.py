"""The first layer on raw rows: the same as the product with encoded and scaled rows."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sklearn_kd import TableEncoder
from sklearn_kd._networks.encoded_layer import fold_layer


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_raw_row_gives_the_product_with_the_encoded_row(dtype, rng):
    n = 60
    X = pd.DataFrame(
        {
            "number": rng.normal(size=n),
            "count": rng.randint(3, size=n),
            "level": rng.choice(["a", "b", "c"], n),
            "constant": 1.0,
            "flag": rng.rand(n) > 0.5,
        }
    )
    X.loc[::5, "number"] = np.nan
    X.loc[::7, "level"] = None
    encoder = TableEncoder(n_bins=4).fit(X)
    new = X[:9].copy()
    new.loc[0, "level"], new.loc[1, "number"], new.loc[2, "constant"] = "new", 100.0, np.nan
    encoded = encoder.transform(new)
    weights = rng.normal(size=(encoded.shape[1], 6)).astype(dtype)
    bias, offset, scale = rng.normal(size=6), encoder.means_, encoder.means_ + 0.5
    layer = fold_layer(encoder, weights, bias, offset, scale)
    found = np.concatenate([layer.few_rows(new[i : i + 1]) for i in range(len(new))])
    assert found.dtype == np.float64, "that of the encoded row"
    expected = (encoded - offset) / scale @ weights + bias
    assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert_allclose(layer.few_rows(new), found, rtol=1e-12, atol=1e-12)
    assert layer.few_rows(X) is None, "too many"


@pytest.mark.parametrize(("most", "is_made"), [(31, False), (32, True)])
def test_the_size_of_a_table_is_known_before_it_is_made(monkeypatch, most, is_made):
    monkeypatch.setattr("sklearn_kd._networks.encoded_layer.MAX_TABLE_VALUES", most)
    # two levels, another one and a missing cell are the states of each column
    encoder = TableEncoder().fit(pd.DataFrame({name: ["a", "b"] for name in "wxyz"}))
    layer = fold_layer(encoder, np.ones((4, 2)), 0.0, np.zeros(4), np.ones(4))
    assert (layer is not None) == is_made
    assert layer is None or layer.values.shape == (16, 2)


def test_large_tables_are_not_made(rng):
    X = rng.normal(size=(20, 300))
    encoder = TableEncoder().fit(X)
    for width, is_made in ((2, True), (3000, False)):
        layer = fold_layer(encoder, np.ones((300, width)), 0.0, np.zeros(300), np.ones(300))
        assert (layer is not None) == is_made
