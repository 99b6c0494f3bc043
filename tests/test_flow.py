"""Calls between the folders of the package go down its floors."""

import collections
import sys
from pathlib import Path

import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

import sklearn_kd
from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd._utils.array_api import numpy_inputs
from tests._helpers.data import blobs
from tests._helpers.selection import quietly
from tests.test_architecture import FLOORS, folder_of

#: Code of the function that `numpy_inputs` puts around another one.
DECORATOR = numpy_inputs(len).__code__
ROOT = f"{Path(sklearn_kd.__file__).parent}/"


def module_of(frame):
    """Return the dotted name of the module of a frame below the package, None for others."""
    path = frame.f_code.co_filename
    return path.removeprefix(ROOT)[:-3].replace("/", ".") if path.startswith(ROOT) else None


class CallsUp:
    """Counts direct calls from a function of a lower floor to one of a higher floor.

    Calls through scikit-learn or code of the user are not direct. A decorator is not a caller.
    """

    def __init__(self):
        self.found = collections.Counter()

    def __call__(self, frame, event, arg):
        caller = frame.f_back
        while caller is not None and caller.f_code is DECORATOR:
            caller = caller.f_back
        if event != "call" or caller is None:
            return
        above, below = module_of(frame), module_of(caller)
        if above is None or below is None:
            return
        if FLOORS[folder_of(below)] < FLOORS[folder_of(above)]:
            called = caller.f_code.co_qualname, frame.f_code.co_qualname
            self.found[f"{below}: {called[0]} -> {above}: {called[1]}"] += 1


MODELS = {
    "defaults": DistilledClassifier(student=TwoLayerPGDClassifier(8, max_iter=30), random_state=0),
    "forest": DistilledClassifier(
        RandomForestClassifier(20), TwoLayerPGDClassifier(8, max_iter=30), random_state=0
    ),
    "cross-fitted teacher": DistilledClassifier(
        GaussianNB(), TwoLayerPGDClassifier(8, max_iter=30), random_state=0
    ),
    "tree": DistilledClassifier(student=DecisionTreeClassifier(max_depth=3), random_state=0),
}


@pytest.mark.parametrize("name", MODELS)
def test_no_function_calls_a_higher_floor(name):
    X, y = blobs(160, 2)
    calls_up = CallsUp()
    previous = sys.getprofile()
    sys.setprofile(calls_up)
    try:
        quietly(MODELS[name], X, y)
    finally:
        sys.setprofile(previous)
    assert calls_up.found == {}
