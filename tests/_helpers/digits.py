"""Digits and networks for tests of label quality."""

from sklearn.datasets import load_digits

from sklearn_kd import TwoLayerPGDClassifier

DIGITS, TRUTH = load_digits(n_class=4, return_X_y=True)


def long_network(**params):
    """A network that memorizes digits when it is trained plainly."""
    defaults = {"width": 128, "max_iter": 200, "n_init": 1, "early_stopping": False}
    defaults |= {"init": "symmetric", "weight_decay": 0.0}
    return TwoLayerPGDClassifier(**{**defaults, **params}, random_state=0, encoder=None)
