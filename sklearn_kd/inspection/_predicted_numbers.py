"""Numbers that a fitted regressor predicts, in the shape of the targets."""

from sklearn_kd._utils.containers import own_copy
from sklearn_kd._utils.responses import as_numbers


def predicted_numbers(model, X, shape, name):
    """Return what a regressor predicts as finite float64 numbers of a shape.

    Parameters
    ----------
    model : regressor
        Fitted.
    X : array-like or DataFrame
    shape : tuple of int
        That of the targets of these rows.
    name : str
        How error messages call the model.
    """
    n_targets = shape[1] if len(shape) > 1 else 1
    # other models predict the same rows, into which a step may write
    return as_numbers(model.predict(own_copy(X)), X, n_targets, name).reshape(shape)
