"""The tutorials run from end to end, from the root of the repository or from their folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "tutorials"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cwd"),
    [
        ("plot_table_to_service.py", ROOT),
        ("plot_small_image_model.py", ROOT),
        ("plot_wrong_labels_table.py", FOLDER),  # where a gallery runs them
    ],
)
def test_tutorial_runs(name, cwd):
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(FOLDER / name)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    assert "ConvergenceWarning" not in done.stderr


def test_every_tutorial_is_tested():
    text = Path(__file__).read_text()
    assert all(path.name in text for path in FOLDER.glob("plot_*.py"))
