"""The benchmark of larger tables, on a small one."""

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1]


@pytest.fixture
def large_tables():
    """Import the script as one does that is run: its folder is on the path."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("large_tables")
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("_tables", "_runs", "large_tables"):
            sys.modules.pop(name, None)


@pytest.mark.slow
def test_a_run_scores_each_student_and_says_what_auto_chose(large_tables):
    row = large_tables.run(300, 0, 4, n_test_rows=100, max_iter=5)
    for name in ("hard", *large_tables.FIXED, "auto"):
        assert 0 <= row[name]["accuracy"] <= 1
        assert row[name]["log_loss"] > 0
    cell = {"n_rows": 300, "seed": 0, "width": 4}
    lines = large_tables.table([{**cell, **row}]).splitlines()
    assert len(lines) == 3
    assert row["chosen"] in lines[2]
