"""The comparison of numbers of threads runs, and restores the number."""

import importlib
import sys
from pathlib import Path

import torch

from sklearn_kd import TwoLayerPGDClassifier


def test_every_pair_is_timed_and_the_number_is_restored(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    before = torch.get_num_threads()
    module = importlib.import_module("thread_time")
    seconds = module.run([TwoLayerPGDClassifier(4, max_iter=2)], [1, 2], 1)
    assert set(seconds) == {(0, 1), (0, 2)}
    assert min(seconds.values()) > 0
    assert torch.get_num_threads() == before
    for name in ("thread_time", "_runs", "_tables"):
        sys.modules.pop(name, None)
