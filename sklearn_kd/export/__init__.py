"""Files with which a fitted model predicts elsewhere."""

from sklearn_kd.export._budget import budget_scoring, smallest_within
from sklearn_kd.export._c.header import to_c
from sklearn_kd.export._compact import compact
from sklearn_kd.export._compact_model import CompactModel
from sklearn_kd.export._onnx.converters import register_onnx_converters
from sklearn_kd.export._onnx.write import to_onnx
from sklearn_kd.export._pair import write_pair
from sklearn_kd.export._trusted_types import TRUSTED_TYPES

__all__ = [
    "TRUSTED_TYPES",
    "CompactModel",
    "budget_scoring",
    "compact",
    "register_onnx_converters",
    "smallest_within",
    "to_c",
    "to_onnx",
    "write_pair",
]
