"""Students that train jointly on the same rows."""

from sklearn.base import clone

__all__ = ["joint_student"]


#: Fitted attributes that checking the data sets.
_CHECKED_ATTRIBUTES = ("classes_", "n_features_in_", "feature_names_in_")


def joint_student(student, params, checked=None):
    """Return a clone of a student that is ready for joint training, with parameters of its own.

    Parameters
    ----------
    student : JointStudent
        Unfitted.
    params : dict
        Parameters in which the clone differs from ``student``: those of the loss and a seed.
    checked : estimator, default=None
        A student that has checked the rows of the joint training. The clone takes over what is
        known of these rows. Without it the caller has the clone check them (``_check_data``).

    Returns
    -------
    JointStudent
        With validated parameters.
    """
    copied = clone(student).set_params(**params)
    copied._validate_params()
    for name in _CHECKED_ATTRIBUTES:
        if hasattr(checked, name):
            setattr(copied, name, getattr(checked, name))
    return copied
