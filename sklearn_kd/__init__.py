"""Knowledge distillation for scikit-learn.

Importing this package does not import torch: the public names load on first use.
"""

import sys
from importlib import import_module

__version__ = "0.2.0.dev0"

_ESTIMATORS = {
    "BatchedGridSearchCV": "_search.batched_grid_search",
    "DistilledClassifier": "_distillation.classifier",
    "DistilledRegressor": "_distillation.regressor",
    "KernelTeacher": "_kernel.classifier",
    "KernelTeacherRegressor": "_kernel.regressor",
    "ModuleClassifier": "_networks.module.classifier",
    "ModuleRegressor": "_networks.module.regressor",
    "SelfDistillClassifier": "_self_distillation.classifier",
    "TableEncoder": "_tables.encoder",
    "TwoLayerPGDClassifier": "_networks.two_layer.classifier",
    "TwoLayerPGDRegressor": "_networks.two_layer.regressor",
}
_MODULES = ("datasets", "exceptions", "export", "inspection", "metrics", "modules", "theory")

#: Modules of version 0.1 whose classes are in saved files.
_FORMER_MODULES = (
    "_distilled",
    "_information",
    "_kernel_teacher",
    "_module",
    "_report",
    "_report_displays",
    "_self_distill",
    "_should_distill",
    "_two_layer",
)

__all__ = [
    "BatchedGridSearchCV",
    "DistilledClassifier",
    "DistilledRegressor",
    "KernelTeacher",
    "KernelTeacherRegressor",
    "ModuleClassifier",
    "ModuleRegressor",
    "SelfDistillClassifier",
    "TableEncoder",
    "TwoLayerPGDClassifier",
    "TwoLayerPGDRegressor",
    "datasets",
    "exceptions",
    "export",
    "inspection",
    "metrics",
    "modules",
    "theory",
]


class _FormerModuleFinder:
    """Says of a module of version 0.1 that its files cannot be loaded, when pickle imports it."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        package, _, module = name.rpartition(".")
        if package == __name__ and module in _FORMER_MODULES:
            from sklearn_kd._utils.saved_state import version_error_text

            raise ImportError(version_error_text(f"A class of {name}"))


if not any(getattr(each, "__qualname__", "") == "_FormerModuleFinder" for each in sys.meta_path):
    sys.meta_path.append(_FormerModuleFinder)


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
