"""The benchmark of the advice on regressors."""

import pytest

LINE = {"table": "a", "teacher": "forest", "student": "16", "n_train": 9, "margin": 0.01}


def test_the_report_counts_the_gains_of_each_decision(distillation_advice, capsys):
    pairs = [("yes", 0.03, 0.1, 0.2), ("yes", 0.02, 0.2, 0.005), ("no", -0.01, None, -0.1)]
    rows = [
        LINE
        | {"decision": decision, "recoverable": bound, "gain": gain}
        | {"measured": measured, "lead": 0.3}
        for decision, bound, gain, measured in pairs
    ]
    distillation_advice.report(rows)
    lines = capsys.readouterr().out.splitlines()
    assert "| forest | 16 | a | 9 | yes, yes, no | +0.0967 | +0.0350 | +0.3000 |" in lines
    assert "| yes | 2 | 2 | 1 | +0.0050 | +0.1025 | +0.2000 |" in lines
    assert "| no | 1 | 0 | 0 | -0.1000 | -0.1000 | -0.1000 |" in lines
    assert "| undecided | 0 | 0 | 0 | - | - | - |" in lines
    assert "| all | 1.00 | 3 | - | 2 |" in lines


@pytest.mark.slow
def test_a_run_has_advice_and_gain(distillation_advice):
    row = distillation_advice.run("diabetes", 0, "forest", "tree", 20, 200)
    assert row["decision"] == "yes"
    assert row["measured"] > row["margin"]
    assert row["recoverable"] > row["margin"]
    assert row["lead"] > 0
