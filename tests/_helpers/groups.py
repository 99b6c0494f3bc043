"""Rows in groups, and which of them networks train on."""

import numpy as np

from sklearn_kd._networks import training_data
from sklearn_kd._networks.two_layer import stacked


def visits(n_patients, n_visits, seed, noise=3.0):
    """Near copies: a row and a label for each patient, and small differences of the visits."""
    rng = np.random.RandomState(seed)
    Z, direction = rng.normal(size=(n_patients, 10)), np.random.RandomState(9).normal(size=10)
    y = (Z @ direction + noise * rng.normal(size=n_patients) > 0).astype(int)
    patient = np.repeat(np.arange(n_patients), n_visits)
    return Z[patient] + 0.05 * rng.normal(size=(len(patient), 10)), y[patient], patient


class HeldOutSpy:
    """Records masks of the rows that each network trains on, and of those that score it."""

    def __init__(self, monkeypatch, n_rows):
        self.pairs = pairs = []
        init, rows_of = training_data.TrainingTensors.__init__, stacked.StackedNetworks._rows

        def tensors_init(tensors, *args, **kwargs):
            init(tensors, *args, **kwargs)
            if kwargs["validation_mask"] is not None:
                masks = np.zeros((2, n_rows), bool)
                for mask, name in zip(masks, ("training", "validation"), strict=True):
                    mask[tensors.index[name].numpy()] = True
                pairs.append(masks)

        def stacked_rows(stack):
            train, validation = rows_of(stack)
            if stack.plans[0].fold is not None:
                for row in zip(train.weights, validation.rows.weights, strict=True):
                    pairs.append([(weights > 0).numpy() for weights in row])
            return train, validation

        monkeypatch.setattr(training_data.TrainingTensors, "__init__", tensors_init)
        monkeypatch.setattr(stacked.StackedNetworks, "_rows", stacked_rows)
