"""Image data, label noise and transfer rows, for examples, tests and benchmarks."""

from sklearn_kd.datasets._images import (
    add_gaussian_noise,
    fetch_cifar10,
    fetch_fashion_mnist,
    fetch_mnist,
    select_classes,
)
from sklearn_kd.datasets._label_noise import add_label_noise, votes_to_soft_targets
from sklearn_kd.datasets._transfer_rows import make_transfer_rows

__all__ = [
    "add_gaussian_noise",
    "add_label_noise",
    "fetch_cifar10",
    "fetch_fashion_mnist",
    "fetch_mnist",
    "make_transfer_rows",
    "select_classes",
    "votes_to_soft_targets",
]
