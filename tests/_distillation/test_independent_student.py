"""The independent student of the tests learns what the package's own students learn."""

from tests._helpers.estimators import SoftmaxStudent
from tests._helpers.soft_target_student import SoftTargetLossContract


class TestSoftmaxStudent(SoftTargetLossContract):
    def student(self, **options):
        return SoftmaxStudent(l2=1e-2, **options)

    def converged(self, **options):
        return SoftmaxStudent(**options)
