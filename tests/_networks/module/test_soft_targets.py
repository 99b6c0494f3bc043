"""ModuleClassifier as a student that takes `soft_targets`."""

from sklearn_kd import ModuleClassifier
from tests._helpers.modules import Interrupted, Small
from tests._helpers.soft_target_student import SoftTargetStudentContract


class TestModuleClassifier(SoftTargetStudentContract):
    def student(self, **options):
        options = {"max_epochs": 60, "batch_size": None, "random_state": 0, **options}
        return ModuleClassifier(Small, **{"learning_rate": 0.02, **options})

    def converged(self, **options):
        return self.student(max_epochs=300, early_stopping=False, **options)

    def interruptible(self, **options):
        return self.student(**options).set_params(module=Interrupted)

    def interrupt(self, monkeypatch):
        monkeypatch.setattr(Interrupted, "after", 40)
        return 40
