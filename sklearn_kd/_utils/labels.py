"""Encoding of class labels, order of columns, class weights and mixing of soft targets."""

import numpy as np
from scipy.special import log_softmax
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets


def encode_labels(y, classes=None, *, name="y"):
    """Return the sorted labels and the index of the label of each row.

    ``classes`` (sorted) may include labels that do not occur in y. A label of y that is not among
    them is an error, which calls it ``name``.
    """
    check_classification_targets(y)
    present, y_encoded = np.unique(y, return_inverse=True)
    if classes is None:
        return present, y_encoded
    classes = np.asarray(classes)
    unknown = np.setdiff1d(present, classes)
    if len(unknown):
        raise ValueError(
            f"{name} contains labels {unknown.tolist()} that are not among the classes "
            f"{classes.tolist()}; name every label that {name} can take."
        )
    return classes, np.searchsorted(classes, present)[y_encoded]


def plain_labels(y):
    """Return nullable or categorical integers and booleans of pandas in their NumPy type.

    scikit-learn would read them as float64. Anything else is returned as it is.
    """
    if not (hasattr(y, "iloc") and hasattr(y, "dtype")) or isinstance(y.dtype, np.dtype):
        return y
    dtype = y.dtype.categories.dtype if hasattr(y.dtype, "categories") else y.dtype
    dtype = getattr(dtype, "numpy_dtype", dtype)
    is_plain = isinstance(dtype, np.dtype) and dtype.kind in "biu" and not y.isna().any()
    return y.to_numpy(dtype=dtype) if is_plain else y


def check_no_missing_labels(y, advice="drop these rows", name="y"):
    """Raise ValueError for missing labels: NaN, None, NA or null of any container.

    scikit-learn does not name ``y`` in its error for strings, or fails to compare them with None.
    """
    import pandas as pd  # slow to import, so not at the top

    # a list as objects, since NumPy would make the string "nan" of NaN beside strings
    labels = np.asarray(y, dtype=None if hasattr(y, "dtype") else object)
    if y is None or labels.dtype.kind not in "fO":
        return
    n_missing = np.count_nonzero(pd.isna(labels))
    if n_missing:
        raise ValueError(f"{name} contains {n_missing} missing labels (NaN or None): {advice}.")


def check_known_labels(y_val, classes):
    """Raise ValueError for labels of validation rows that are not among the classes."""
    known = classes
    if y_val.dtype.kind != classes.dtype.kind:  # NumPy would compare numbers as strings
        y_val, known = y_val.astype(object), classes.astype(object)
    unknown = y_val[~np.isin(y_val, known)].tolist()
    if unknown:
        raise ValueError(
            f"y_val contains labels {list(dict.fromkeys(unknown))} that are not among the classes "
            f"{classes.tolist()} of y: leave these rows out of X_val, or pass rows of these "
            "classes in X."
        )


def unite_labels(labels, others):
    """Return the sorted union of labels, in the dtype of the first ones if it can hold all."""
    union = np.union1d(labels, others)
    if labels.dtype.kind in "biuf" and union.dtype.kind in "biuf":
        same = union.astype(labels.dtype)
        return same if (same == union).all() else union
    return union


def class_factors(class_weight, classes, y_encoded, weights):
    """Return the class weight of each row. "balanced" takes sample weights into account."""
    if class_weight == "balanced":
        # compute_class_weight refuses classes without rows and counts those of weight zero
        factors = balanced_factors(np.bincount(y_encoded, weights=weights, minlength=len(classes)))
    else:
        factors = compute_class_weight(class_weight, classes=classes, y=classes[y_encoded])
    if not (np.isfinite(factors).all() and (factors[np.unique(y_encoded)] > 0).all()):
        raise ValueError(f"class_weight must be positive and finite, got {class_weight}.")
    return factors[y_encoded]


def balanced_factors(class_weight_sums):
    """Return the factors that give all classes of positive weight the same sum of weights."""
    total, n_present = class_weight_sums.sum(), np.count_nonzero(class_weight_sums)
    return total / (n_present * np.where(class_weight_sums > 0, class_weight_sums, 1.0))


def align_columns(values, given, wanted, *, fill=0.0):
    """Return columns labeled ``given`` in the order of the sorted labels ``wanted``.

    Every label of ``given`` must be in ``wanted``. Columns of other labels are filled with
    ``fill``.
    """
    given, wanted = np.asarray(given), np.asarray(wanted)
    if len(given) == len(wanted) and np.all(given == wanted):
        return values
    unknown = set(given.tolist()) - set(wanted.tolist())
    if unknown:
        raise ValueError(
            f"the columns {given.tolist()} are not all among the classes {wanted.tolist()}."
        )
    aligned = np.full((values.shape[0], len(wanted)), fill, dtype=values.dtype)
    aligned[:, np.searchsorted(wanted, given)] = values
    return aligned


def merge_classes(present, teacher):
    """Return the sorted union of the labels in y and those that a fitted teacher knows."""
    known = known_classes(teacher)
    if known.dtype == object and present.dtype != object:
        known = np.asarray(known.tolist())  # numbers or strings in an array of objects
    numeric = [np.issubdtype(a.dtype, np.number) or a.dtype == bool for a in (present, known)]
    if numeric[0] != numeric[1]:
        # NumPy would convert both to strings and treat 1 and "1" as one class
        raise ValueError(
            f"the teacher's classes {known.tolist()} and the labels {present.tolist()} of y are "
            "of different kinds, numbers and strings."
        )
    return unite_labels(present, known)


def known_classes(teacher):
    """Return ``classes_`` of a fitted teacher."""
    if not hasattr(teacher, "classes_"):
        raise ValueError(
            f"the fitted teacher {type(teacher).__name__} has no attribute classes_, which is "
            "needed to know the order of its columns."
        )
    return np.asarray(teacher.classes_)


def apply_temperature(Q, temperature):
    r"""Return :math:`\mathrm{softmax}(\ln Q / T)`, row by row. Zeros stay zero."""
    if temperature == 1:
        return Q
    # dividing by the largest probability of a row keeps rows from underflowing
    powers = (Q / Q.max(axis=1, keepdims=True)) ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def invert_temperature(log_g, temperature):
    r"""Return :math:`\ln \mathrm{softmax}(T \ln g)`, row by row: `apply_temperature` undone."""
    return log_g if temperature == 1 else log_softmax(temperature * log_g, axis=1)


def mix_labels(Q, y_encoded, alpha):
    """Return ``alpha Q + (1 - alpha) onehot(y_encoded)``."""
    if alpha == 1:
        return Q
    mixed = alpha * Q
    mixed[np.arange(len(y_encoded)), y_encoded] += 1 - alpha
    return mixed
