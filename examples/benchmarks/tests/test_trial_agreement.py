"""The benchmark of what "auto" chooses against full fits of its candidates, on a small table."""

import numpy as np
import pytest


def test_a_choice_agrees_within_one_standard_error(trial_agreement):
    row = {"names": ["oob", "hard"], "losses": [0.5, 0.4], "chosen": 0, "error": 0.07}
    rows = [{"table": t, "gap": gap, **row} for t, gap in [("a", 0.05), ("a", 0.06), ("b", 0.1)]]
    printed = trial_agreement.summary(rows)
    assert "| a | oob, oob | hard, hard | 0.0550 | 0.0700 | yes |" in printed
    assert printed.endswith("agrees on 1 of 2 tables.")


@pytest.mark.slow
def test_each_candidate_is_fitted_in_full(trial_agreement, toy_table):
    row = trial_agreement.run(toy_table, 0, 4, "boosting", 5, 150)
    assert len(row["losses"]) == len(row["names"]) > 1
    assert row["gap"] == pytest.approx(row["losses"][row["chosen"]] - np.min(row["losses"]))
