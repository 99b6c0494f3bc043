"""Public classes name their public path, and the examples in their docstrings run.

The examples of classes are run here, because pytest looks for them in the module that a class
names, which is not the one that defines it.
"""

import doctest
import inspect
import pickle

import pytest
from sklearn.base import BaseEstimator

import sklearn_kd
from sklearn_kd import datasets, exceptions, inspection, metrics, modules, theory

PLACES = {
    "sklearn_kd": sklearn_kd,
    **{f"sklearn_kd.{place.__name__.split('.')[1]}": place for place in (inspection, theory)},
}
OTHERS = (datasets, exceptions, metrics, modules)
CLASSES = [
    (place, name)
    for place, module in PLACES.items()
    for name in module.__all__
    if inspect.isclass(getattr(module, name))
]


def ids(value):
    return value if isinstance(value, str) else None


@pytest.mark.parametrize(("place", "name"), CLASSES, ids=ids)
def test_a_public_class_names_its_public_path(place, name):
    kind = getattr(PLACES[place], name)
    assert (kind.__module__, kind.__qualname__) == (place, name)
    assert pickle.loads(pickle.dumps(kind)) is kind
    assert f"{place}\n{name}".encode() in pickle.dumps(kind, protocol=0)


def test_other_public_classes_are_defined_where_they_are_found():
    for module in OTHERS:
        for name in getattr(module, "__all__", dir(module)):
            kind = getattr(module, name)
            if inspect.isclass(kind):
                assert kind.__module__ == module.__name__


@pytest.mark.slow  # the test command runs the same examples as doctests of the modules
@pytest.mark.parametrize(("place", "name"), CLASSES, ids=ids)
def test_examples_of_a_public_class_run(place, name):
    kind = getattr(PLACES[place], name)
    found = doctest.DocTestFinder().find(kind, name, module=False)
    examples = [test for test in found if test.examples]
    if issubclass(kind, BaseEstimator) or name.endswith("Display"):
        assert any(test.name == name for test in examples), "the class has no example"
    for test in examples:
        runner = doctest.DocTestRunner(verbose=False)
        report = []
        runner.run(test, out=report.append)
        assert runner.failures == 0, "".join(report)


@pytest.mark.parametrize("name", [name for place, name in CLASSES if place == "sklearn_kd"])
def test_estimators_do_not_link_to_the_site_of_scikit_learn(name):
    kind = getattr(sklearn_kd, name)
    assert kind._doc_link_module == "sklearn_kd"
    needed = {"estimator": None, "param_grid": None, "module": None}
    parameters = inspect.signature(kind).parameters
    estimator = kind(**{key: value for key, value in needed.items() if key in parameters})
    assert estimator._get_doc_link() == ""
