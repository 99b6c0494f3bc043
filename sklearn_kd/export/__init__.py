"""Files with which a fitted model predicts elsewhere."""

from sklearn_kd.export._budget import budget_scoring, smallest_within
from sklearn_kd.export._c_header import to_c
from sklearn_kd.export._compact import compact
from sklearn_kd.export._compact_model import CompactModel
from sklearn_kd.export._pair import write_pair
from sklearn_kd.export._trusted_types import TRUSTED_TYPES

__all__ = [
    "TRUSTED_TYPES",
    "CompactModel",
    "budget_scoring",
    "compact",
    "smallest_within",
    "to_c",
    "write_pair",
]
