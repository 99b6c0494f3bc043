"""What both networks share as estimators."""

import inspect
import re

import pytest

from sklearn_kd import (
    ModuleClassifier,
    ModuleRegressor,
    TwoLayerPGDClassifier,
    TwoLayerPGDRegressor,
)

SHARED = (
    *("verbose", "n_iter_", "best_iter_", "loss_curve_", "validation_loss_curve_"),
    *("n_features_in_", "feature_names_in_"),
)
OF_CLASSES = "temperature", "class_weight", "classes_", "multilabel_"
OF_NUMBERS = "loss", "quantiles", "epsilon", "alpha", "quantiles_"
CLASSIFIERS = TwoLayerPGDClassifier, ModuleClassifier
REGRESSORS = TwoLayerPGDRegressor, ModuleRegressor


def documented(text):
    """Return the descriptions of parameters and attributes in a numpydoc docstring, by name."""
    parts = re.split(r"^(\w+(?:, \w+)*) : ", inspect.cleandoc(text), flags=re.MULTILINE)
    descriptions = (re.split(r"\n(?=\S)", part)[0].strip() for part in parts[2::2])
    return dict(zip(parts[1::2], descriptions, strict=True))


@pytest.mark.parametrize(
    ("pair", "name"),
    [
        *((CLASSIFIERS, name) for name in (*SHARED, *OF_CLASSES)),
        *((REGRESSORS, name) for name in (*SHARED, *OF_NUMBERS)),
    ],
)
def test_shared_parameters_are_documented_alike(pair, name):
    one, other = (documented(each.__doc__)[name] for each in pair)
    assert one == other


@pytest.mark.parametrize("pair", [CLASSIFIERS, REGRESSORS])
@pytest.mark.parametrize(
    "name",
    ["y", "sample_weight", "soft_targets", "groups", "X_val", "y_val", "sample_weight_val"],
)
def test_shared_arguments_of_fit_are_documented_alike(pair, name):
    one, other = (documented(each.fit.__doc__)[name] for each in pair)
    assert one == other
