"""Encoding labels, aligning columns of probabilities and changing their temperature."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from sklearn_kd._utils.labels import (
    align_columns,
    apply_temperature,
    encode_labels,
    invert_temperature,
)

Y = np.array(["b", "a", "c", "a"])


def test_encode_labels():
    classes, y_encoded = encode_labels(Y)
    assert classes.tolist() == ["a", "b", "c"]
    assert y_encoded.tolist() == [1, 0, 2, 0]
    classes, y_encoded = encode_labels([3, 1, 3], classes=np.array([0, 1, 2, 3]))
    assert classes.tolist() == [0, 1, 2, 3]
    assert y_encoded.tolist() == [3, 1, 3]
    with pytest.raises(ValueError, match=r"\[5\].*not among the classes"):
        encode_labels([5, 1], classes=[1, 2])
    with pytest.raises(ValueError, match="Unknown label type"):
        encode_labels([0.5, 1.5])


@given(seed=st.integers(0, 2**16), k=st.integers(1, 5), extra=st.integers(0, 4))
def test_align_columns_is_a_reindex(seed, k, extra):
    rng = np.random.RandomState(seed)
    wanted = np.unique(rng.choice(1000, size=k + extra, replace=False))
    given_labels = rng.permutation(rng.choice(wanted, size=k, replace=False))
    values = rng.normal(size=(3, k))
    expected = pd.DataFrame(values, columns=given_labels).reindex(columns=wanted, fill_value=0.0)
    np.testing.assert_array_equal(align_columns(values, given_labels, wanted), expected)


def test_tempering_is_inverted():
    Q = np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0], [1e-300, 1 - 1e-9, 1e-9]])
    for T in (0.01, 0.5, 3.0, 100.0):
        assert np.isfinite(apply_temperature(Q, T)).all()
        np.testing.assert_allclose(apply_temperature(Q, T).sum(axis=1), 1)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(
            np.exp(invert_temperature(np.log(apply_temperature(Q, 3.0)), 3.0)), Q, atol=1e-12
        )
    np.testing.assert_allclose(
        apply_temperature(Q[:1], 1 / 3), [[0.974432, 0.022727, 0.002841]], atol=1e-6
    )
