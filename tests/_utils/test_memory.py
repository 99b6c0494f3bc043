"""Free memory."""

from sklearn_kd import _memory


def test_free_memory_is_told():
    assert 2**20 < _memory.free_bytes() < 2**60
