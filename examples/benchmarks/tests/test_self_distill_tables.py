"""What SelfDistillClassifier must hold on real tables; skipped where they are not there."""

import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("rate", [0.0, 0.2])
@pytest.mark.parametrize("table", ["mammography", "sick"])
def test_a_rare_class_is_found_as_often_as_by_plain_training(table, rate, self_distill_tables):
    runs = [
        self_distill_tables.run(table, seed, rate, width=256, max_rows=3000) for seed in range(3)
    ]
    lost = [run["plain"]["recall"] - run["self"]["recall"] for run in runs]
    assert np.mean(lost) <= 0.02


def test_clean_labels_cost_less_than_half_a_point(self_distill_tables):
    runs = [
        self_distill_tables.run(table, seed=0, rate=0.0, width=256, max_rows=1500)
        for table in self_distill_tables.CLASSIFICATION
    ]
    lost = [run["plain"]["accuracy"] - run["self"]["accuracy"] for run in runs]
    assert np.mean(lost) <= 0.005
