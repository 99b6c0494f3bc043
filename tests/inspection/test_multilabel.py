"""Reports and displays take one label for each row, and say so before any fit."""

import numpy as np
import pytest
from sklearn.datasets import make_multilabel_classification
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import DistilledClassifier, SelfDistillClassifier, TwoLayerPGDClassifier
from sklearn_kd.inspection import (
    CompressionCurveDisplay,
    DeferralDisplay,
    DistillationDisplay,
    FidelityDisplay,
    InformationDisplay,
    WidthCurveDisplay,
    distillation_report,
    should_distill,
)

FAST = {"width": 4, "max_iter": 10, "n_init": 1, "encoder": None, "random_state": 0}


def rows():
    return make_multilabel_classification(120, n_features=4, n_classes=3, random_state=0)


def distiller(**options):
    options = {"alpha": 1.0, "temperature": 1.0, "augmentation": None, **options}
    teacher = DecisionTreeClassifier(min_samples_leaf=5, random_state=0)
    return DistilledClassifier(teacher, TwoLayerPGDClassifier(**FAST), **options)


CALLS = {
    "distillation_report": lambda X, Y: distillation_report(*_pair(), X, Y),
    "should_distill": lambda X, Y: should_distill(*_pair(), X, Y),
    "DistillationDisplay": lambda X, Y: DistillationDisplay.from_estimator(distiller(), X, Y),
    "CompressionCurveDisplay": lambda X, Y: CompressionCurveDisplay.from_estimator(
        distiller(), X, Y
    ),
    "InformationDisplay": lambda X, Y: InformationDisplay.from_estimator(
        SelfDistillClassifier(TwoLayerPGDClassifier(**FAST)), X, Y
    ),
}


def _pair():
    return distiller().teacher, distiller().student


@pytest.mark.parametrize("name", CALLS)
def test_several_labels_are_refused_before_any_fit(name, monkeypatch):
    X, Y = rows()

    def never(*args, **kwargs):
        raise AssertionError("nothing may be fitted")

    monkeypatch.setattr(DecisionTreeClassifier, "fit", never)
    monkeypatch.setattr(TwoLayerPGDClassifier, "_train", never)
    with pytest.raises(ValueError, match="y is an indicator of 3 labels") as raised:
        CALLS[name](X, Y)
    assert "DistilledClassifier learn several labels" in str(raised.value)


@pytest.mark.parametrize("display", [FidelityDisplay, DeferralDisplay])
def test_a_model_of_several_labels_is_refused(display):
    X, Y = rows()
    model = distiller().fit(X, Y)
    with pytest.raises(ValueError, match=f"several labels for each row, and {display.__name__}"):
        display.from_estimator(model, X, Y)


def test_width_curves_score_several_labels():
    X, Y = rows()
    display = WidthCurveDisplay.from_estimator(distiller(), X, Y, widths=[2, 4], seeds=1, cv=2)
    assert np.isfinite(display.frame["score"]).all()
