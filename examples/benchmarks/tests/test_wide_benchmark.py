"""The wide benchmark: what a line has, that it goes on, and the statistics of its pictures."""

import functools
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

from conftest import benchmark

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "examples" / "plot_benchmark.py"


@pytest.fixture(scope="module")
def wide():
    with benchmark("wide_benchmark") as module:
        yield module


@pytest.fixture(scope="module")
def page():
    spec = importlib.util.spec_from_file_location("plot_benchmark", PAGE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lines_are_measured_once_and_read_as_one_row_a_model(wide, page, toy_table, tmp_path):
    from _runs import run_cells

    fixed = {"table": toy_table, "seed": 0, "widths": [8], "n_trees": 5, "max_rows": 100}
    cells = [{**fixed, "teacher": teacher} for teacher in ("labels", "boosting")]
    path = tmp_path / "measurements.jsonl"
    run = functools.partial(wide.run, provenance=wide.provenance("one thread"))
    run_cells(cells[:1], run, jobs=1, path=path)
    first = path.read_text()
    run_cells(cells, run, jobs=1, path=path)
    assert path.read_text().startswith(first)
    assert len(path.read_text().splitlines()) == 2
    models = page.read_measurements(path)
    names = ["hard, 8 neurons", "HistGradientBoosting", "HistGradientBoosting, 8 neurons"]
    assert models["model"].tolist() == names
    assert models["n_rows"].eq(100).all()
    assert (
        models[["auc", "log_loss", "bytes", "microseconds", "fit_seconds"]].notna().all(axis=None)
    )
    for column in ("commit", "command", "versions"):
        assert models[column].str.len().gt(0).all()
    assert "jsonl" not in models["command"].iloc[0]
    # the file of eight neurons is smaller than hundreds of trees, and faster
    by_name = models.set_index("model")
    ours, teacher = by_name.loc[names[2]], by_name.loc[names[1]]
    assert ours["bytes"] < teacher["bytes"]
    assert ours["microseconds"] < teacher["microseconds"]


def test_incomplete_tables_are_left_out(page, tmp_path):
    line = {"cell": {"seed": 0, "widths": [8]}, "result": {"models": {"hard 8": {"auc": 0.5}}}}
    taught = {"teacher": {"auc": 0.5}, "distilled 8": {"auc": 0.5}}
    path = tmp_path / "measurements.jsonl"
    lines = []
    for table, teachers in (("a", ["labels", "forest"]), ("b", ["labels"])):
        for teacher in teachers:
            each = json.loads(json.dumps(line))
            each["cell"] |= {"table": table, "teacher": teacher}
            if teacher == "forest":
                each["result"]["models"] = taught
            lines.append(json.dumps(each))
    path.write_text("\n".join(lines))
    assert set(page.complete(page.read_measurements(path))["table"]) == {"a"}


def test_pareto_front(page):
    cost, score = np.array([1.0, 2.0, 2.0, 3.0, 4.0]), np.array([0.5, 0.7, 0.6, 0.7, 0.9])
    front = page.pareto_front(cost, score)
    dominated = [
        any(
            (cost[j] <= cost[i])
            & (score[j] >= score[i])
            & ((cost[j], score[j]) != (cost[i], score[i]))
            for j in range(5)
        )
        for i in range(5)
    ]
    np.testing.assert_array_equal(front, ~np.array(dominated))


def test_critical_difference(page):
    # Demsar (2006), section 3.2.2: four classifiers on 14 data sets
    assert page.critical_difference(14, 4) == pytest.approx(1.25, abs=0.005)


def test_documents_show_the_measurements(page):
    models = page.complete(page.read_measurements(page.MEASUREMENTS))
    found = page.by_model(models)
    assert page.markdown(page.summary(found)) in (ROOT / "README.md").read_text()
    compared = page.markdown(page.comparisons(models))
    assert compared in (ROOT / "docs" / "results.md").read_text()
    taught, teachers = (each.loc["stack"] for each in page.pairs(found))
    picture = (ROOT / "docs" / "_static" / "overview.svg").read_text()
    for name, model in (("teacher", teachers), ("student", taught)):
        texts = re.findall(rf'id="{name}-\w+">(.*?)</text>', picture)
        assert texts == [
            f"{model['bytes']:,.0f} bytes",
            f"{model['microseconds']:,.0f} microseconds a row",
            f"{model['accuracy']:.1%} accuracy",
        ]
