"""Files of a release agree with each other: versions, requirements, Pythons and workflows."""

import re
import tomllib
from pathlib import Path

import pytest

import sklearn_kd

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
VERSION = re.fullmatch(r"(\d+\.\d+)\.\d+(\.dev0)?", sklearn_kd.__version__)
#: Names of conda-forge where they differ from those of PyPI.
CONDA_NAMES = {"torch": "pytorch"}


def read_yaml(path):
    return pytest.importorskip("yaml").safe_load((ROOT / path).read_text())


#: Permissions of jobs that publish the package and the documentation.
MAY_WRITE = {
    ("release.yml", "publish"): {"id-token": "write"},
    ("docs.yml", "deploy"): {"pages": "write", "id-token": "write"},
}
WORKFLOWS = sorted(path.name for path in (ROOT / ".github" / "workflows").glob("*.yml"))


def test_version_is_in_one_place():
    assert "version" in PROJECT["dynamic"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {
        "attr": "sklearn_kd.__version__"
    }
    assert VERSION, sklearn_kd.__version__
    assert "\nversion:" not in (ROOT / "CITATION.cff").read_text()


def test_changes_begin_with_the_version():
    heading = re.search(r"^## (.*)$", (ROOT / "docs" / "changes.md").read_text(), re.M)[1]
    if VERSION[2]:  # not released yet
        assert heading == f"Unreleased ({VERSION[1]})"
    else:
        assert re.fullmatch(rf"{re.escape(VERSION[0])} \(\d{{4}}-\d\d-\d\d\)", heading)


def test_conda_recipe_has_the_requirements_of_the_package():
    recipe = read_yaml("conda/recipe.yaml")
    assert recipe["context"]["version"] == VERSION[0].removesuffix(".dev0")
    assert f">={recipe['context']['python_min']}" == PROJECT["requires-python"]
    expected = {"python >=${{ python_min }}"}
    for requirement in PROJECT["dependencies"]:
        name, _, bound = requirement.partition(">=")
        expected.add(f"{CONDA_NAMES.get(name, name)} >={bound}")
    assert set(recipe["requirements"]["run"]) == expected
    (setuptools,) = PYPROJECT["build-system"]["requires"]
    assert setuptools.replace(">=", " >=") in recipe["requirements"]["host"]


def test_pythons():
    oldest = PROJECT["requires-python"].removeprefix(">=")
    said = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    tests = read_yaml(".github/workflows/tests.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert said[0] == oldest == tests["python"][0] == PYPROJECT["tool"]["mypy"]["python_version"]
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py" + oldest.replace(".", "")
    assert set(said) <= set(tests["python"])


def test_extras():
    extras = PROJECT["optional-dependencies"]
    assert extras.keys() >= {"plot", "test", "docs", "onnx", "cluster", "examples"}
    for requirements in extras.values():
        for inner in re.findall(r"sklearn-kd\[(.*?)\]", " ".join(requirements)):
            assert set(inner.split(",")) <= extras.keys()


def test_documents_install_the_tested_torch():
    (tested,) = re.findall(r"^torch==(.*)$", (ROOT / "constraints.txt").read_text(), re.M)
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    said = re.findall(r"torch==([\d.]+)", "\n".join(page.read_text() for page in pages))
    assert set(said) == {tested}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_may_write_only_to_publish(name):
    workflow = read_yaml(f".github/workflows/{name}")
    assert workflow["permissions"] == {"contents": "read"}
    for job_name, job in workflow["jobs"].items():
        assert job.get("permissions", {}) == MAY_WRITE.get((name, job_name), {})
        for step in job["steps"]:
            assert re.fullmatch(r"[\w./-]+@(v\d+|release/v\d+)", step.get("uses", "a@v1"))
    if name == "release.yml":
        assert list(workflow[True]) == ["workflow_dispatch"]  # YAML reads "on" as true


def test_citation_names_the_articles_of_the_readme():
    found, expected = (
        set(re.findall(r"arxiv\.org/abs/([\d.]+\d)", (ROOT / name).read_text()))
        for name in ("CITATION.cff", "README.md")
    )
    assert len(found) == 2
    assert found <= expected
