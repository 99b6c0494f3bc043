"""The comparison of early stopping with and without groups runs."""

import importlib
import sys
from pathlib import Path


def test_every_model_is_scored(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    module = importlib.import_module("grouped_rows")
    model = module.MODELS["TwoLayerPGDClassifier"]().set_params(max_iter=3)
    monkeypatch.setattr(module, "MODELS", {"TwoLayerPGDClassifier": lambda: model})
    losses = module.run(8, 3, 0)
    assert [held_out for _, held_out in losses] == ["rows", "groups", "validation rows"]
    for name in ("grouped_rows", "_runs", "_tables"):
        sys.modules.pop(name, None)
