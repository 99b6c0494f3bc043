"""Reports and displays that help to decide whether, and how, to distill."""

from sklearn_kd.inspection._compression_curve_display import CompressionCurveDisplay
from sklearn_kd.inspection._deferral_display import DeferralDisplay
from sklearn_kd.inspection._distillation_display import DistillationDisplay
from sklearn_kd.inspection._fidelity_display import FidelityDisplay
from sklearn_kd.inspection._information_display import InformationDisplay
from sklearn_kd.inspection._interval_display import IntervalDisplay
from sklearn_kd.inspection._label_error_display import LabelErrorDisplay
from sklearn_kd.inspection._report import DistillationReport, distillation_report
from sklearn_kd.inspection._should_distill import (
    DistillationAdvice,
    DistillationCost,
    Estimate,
    should_distill,
)
from sklearn_kd.inspection._width_curve_display import WidthCurveDisplay

__all__ = [
    "CompressionCurveDisplay",
    "DeferralDisplay",
    "DistillationAdvice",
    "DistillationCost",
    "DistillationDisplay",
    "DistillationReport",
    "Estimate",
    "FidelityDisplay",
    "InformationDisplay",
    "IntervalDisplay",
    "LabelErrorDisplay",
    "WidthCurveDisplay",
    "distillation_report",
    "should_distill",
]
