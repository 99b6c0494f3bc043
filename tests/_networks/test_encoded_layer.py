"""The first layer on raw rows: the same as the product with encoded and scaled rows."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sklearn_kd import TableEncoder
from sklearn_kd._networks import encoded_layer
from sklearn_kd._networks.encoded_layer import EncodedLayer


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("block_values", [1, 40, 10**6])
def test_raw_rows_give_the_product_with_encoded_rows(block_values, dtype, rng, monkeypatch):
    monkeypatch.setattr(encoded_layer, "BLOCK_VALUES", block_values)
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
    layer = EncodedLayer(encoder, weights, bias, offset, scale)
    found = np.concatenate(list(layer.blocks(new)))
    assert found.dtype == dtype
    expected = (encoded - offset) / scale @ weights + bias
    tolerance = 1e-12 if dtype == np.float64 else 1e-4
    assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
