"""Access to the last step of pipelines."""

from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_kd import TwoLayerPGDClassifier
from sklearn_kd._utils.sub_estimators import fit_parameter_key, last_step, step_parameter


def test_pipelines_are_followed_to_their_last_step():
    student = TwoLayerPGDClassifier()
    nested = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), student))
    assert last_step(nested) is student
    assert last_step(student) is student
    assert step_parameter(student, "alpha") == "alpha"
    assert step_parameter(nested, "alpha") == "pipeline__twolayerpgdclassifier__alpha"
    assert nested.get_params()[step_parameter(nested, "alpha")] == 1.0
    assert fit_parameter_key(nested, "soft_targets") == step_parameter(nested, "soft_targets")
    logistic = make_pipeline(StandardScaler(), LogisticRegression())
    assert fit_parameter_key(logistic, "soft_targets") is None
    assert fit_parameter_key(logistic, "sample_weight") == "logisticregression__sample_weight"
    assert fit_parameter_key(KNeighborsClassifier(), "sample_weight") is None
