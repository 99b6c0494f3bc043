"""Files have the answer of one label, or numbers: models of several labels are refused."""

import pytest
from sklearn.datasets import make_multilabel_classification
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_kd import DistilledClassifier, ModuleClassifier, TwoLayerPGDClassifier, export
from sklearn_kd.modules import MLP


def network():
    return TwoLayerPGDClassifier(4, max_iter=10, n_init=1, early_stopping=False, random_state=0)


def distilled():
    options = {"alpha": 1.0, "temperature": 1.0, "augmentation": None}
    return DistilledClassifier(DecisionTreeClassifier(max_depth=3), network(), **options)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("write", [export.compact, export.to_c, export.to_onnx])
@pytest.mark.parametrize(
    "model",
    [
        network(),
        make_pipeline(StandardScaler(), network()),
        ModuleClassifier(MLP, max_epochs=1, device="cpu"),
        distilled(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_several_labels_are_refused(model, write):
    X, Y = make_multilabel_classification(120, n_features=4, n_classes=3, random_state=0)
    model.fit(X, Y)
    with pytest.raises(ValueError, match="predicts several labels"):
        write(model)
