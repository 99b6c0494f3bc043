"""Free memory."""

from sklearn_kd._utils import memory


def test_free_memory_is_told():
    assert 2**20 < memory.free_bytes() < 2**60
