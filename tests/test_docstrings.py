"""Public classes name their public path, and the examples in their docstrings run.

The examples of classes are run here, because pytest looks for them in the module that a class
names, which is not the one that defines it.
"""

import doctest
import inspect
import pickle
import re
import tomllib
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator
from sklearn.svm import SVC

import sklearn_kd
from sklearn_kd import datasets, exceptions, export, inspection, metrics, modules, theory

ROOT = Path(__file__).parents[1]
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


def documented_parameters(function):
    """Return the names in the section "Parameters" of a docstring, but for ``**``, or None."""
    sections = re.split(r"^(\w[\w ]*)\n-{3,}\n", inspect.getdoc(function) or "", flags=re.MULTILINE)
    if "Parameters" not in sections:
        return None
    lines = re.findall(r"^\w.*$", sections[sections.index("Parameters") + 1], re.MULTILINE)
    return [name for line in lines for name in line.split(" : ")[0].split(", ")]


def public_callables():
    for module in (sklearn_kd, datasets, export, inspection, metrics, modules, theory):
        for name in set(module.__all__) & set(dir(module)):
            value = getattr(module, name)
            if not inspect.ismodule(value) and callable(value):
                yield f"{module.__name__}.{name}", value
            if inspect.isclass(value):
                for own in vars(value):
                    if not own.startswith("_") and callable(getattr(value, own)):
                        yield f"{module.__name__}.{name}.{own}", getattr(value, own)


def test_docstrings_name_all_parameters_in_their_order():
    found = {}
    for path, function in public_callables():
        parameters = [
            each.name
            for each in inspect.signature(function).parameters.values()
            if each.name != "self" and each.kind != each.VAR_KEYWORD
        ]
        documented = documented_parameters(function)
        if documented is None and inspect.isclass(function):
            continue  # a class of results, which documents its attributes
        if (documented or []) != parameters:
            found[path] = documented, parameters
    assert found == {}


@pytest.mark.parametrize("name", [name for place, name in CLASSES if place == "sklearn_kd"])
def test_html_of_estimators_links_to_their_page_on_the_site(name):
    kind = getattr(sklearn_kd, name)
    needed = {"estimator": SVC(), "param_grid": {"C": [1.0]}, "module": modules.MLP}
    parameters = inspect.signature(kind).parameters
    estimator = kind(**{key: value for key, value in needed.items() if key in parameters})
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = f"{project['urls']['Documentation']}/api/generated/sklearn_kd.{name}.html"
    assert estimator._get_doc_link() == page
    assert f'href="{page}"' in estimator._repr_html_()


def test_classes_of_users_do_not_link_to_the_site():
    class Own(sklearn_kd.TableEncoder):
        pass

    assert Own()._get_doc_link() == ""
