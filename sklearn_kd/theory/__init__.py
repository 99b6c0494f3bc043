"""The separability of data for a wide network, and the width that a student needs."""

from sklearn_kd.theory._margin import NTKMargin, ntk_margin
from sklearn_kd.theory._required_width import RequiredWidth, required_width
from sklearn_kd.theory._spectrum import KernelSpectrum, information_ratio, kernel_spectrum

__all__ = [
    "KernelSpectrum",
    "NTKMargin",
    "RequiredWidth",
    "information_ratio",
    "kernel_spectrum",
    "ntk_margin",
    "required_width",
]
