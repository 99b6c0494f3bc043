"""TwoLayerPGDClassifier as a student that takes `soft_targets`."""

from sklearn_kd import TwoLayerPGDClassifier
from tests._helpers.soft_target_student import SoftTargetStudentContract
from tests._helpers.two_layer import interrupt_after


class TestTwoLayerPGDClassifier(SoftTargetStudentContract):
    def student(self, **options):
        options = {"max_iter": 20, "n_init": 1, "random_state": 0, **options}
        return TwoLayerPGDClassifier(4, **options)

    def converged(self, **options):
        options = {"max_iter": 600, "early_stopping": False, "random_state": 0, **options}
        return TwoLayerPGDClassifier(16, **options)

    def interruptible(self, **options):
        return self.student(max_iter=250, **options)

    def interrupt(self, monkeypatch):
        interrupt_after(monkeypatch, 200)
        return 200
