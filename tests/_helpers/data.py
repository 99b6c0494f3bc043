"""Data and settings that many tests share."""

import numpy as np
from sklearn.datasets import make_blobs
from sklearn.preprocessing import StandardScaler

#: DistilledClassifier that chooses nothing on held-out rows.
FIXED = {"alpha": 0.5, "temperature": 1.0, "augmentation": None}


def one_hot(y_encoded, n_classes):
    return np.eye(n_classes)[y_encoded]


def random_proba(rng, n, n_classes, concentration=1.0):
    return rng.dirichlet(np.full(n_classes, concentration), size=n)


def blobs(n=80, n_classes=2, n_features=3, seed=0, spread=1.5, dtype=np.float64):
    """Overlapping standardized blobs."""
    X, y = make_blobs(n, n_features, centers=n_classes, cluster_std=spread, random_state=seed)
    return StandardScaler().fit_transform(X).astype(dtype), y
