"""Knowledge distillation for scikit-learn.

Importing this package does not import torch: the public names load on first use.
"""

from importlib import import_module

__version__ = "0.1.0"

_ESTIMATORS = {
    "BatchedGridSearchCV": "_search.batched_grid_search",
    "DistilledClassifier": "_distillation.classifier",
    "KernelTeacher": "_kernel.teacher",
    "ModuleClassifier": "_networks.module.classifier",
    "SelfDistillClassifier": "_self_distillation.classifier",
    "TwoLayerPGDClassifier": "_networks.two_layer.classifier",
}
_MODULES = ("datasets", "exceptions", "inspection", "metrics", "modules", "theory")

__all__ = [
    "BatchedGridSearchCV",
    "DistilledClassifier",
    "KernelTeacher",
    "ModuleClassifier",
    "SelfDistillClassifier",
    "TwoLayerPGDClassifier",
    "datasets",
    "exceptions",
    "inspection",
    "metrics",
    "modules",
    "theory",
]


def __getattr__(name):
    if name in _ESTIMATORS:
        value = getattr(import_module(f"{__name__}.{_ESTIMATORS[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *__all__])
