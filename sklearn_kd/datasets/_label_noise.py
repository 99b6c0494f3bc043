"""Label noise of five kinds for experiments, and soft targets of several annotators."""

from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler
from sklearn.utils import (
    Bunch,
    check_array,
    check_consistent_length,
    check_random_state,
    check_scalar,
)

from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.labels import check_no_missing_labels, encode_labels, plain_labels
from sklearn_kd._utils.sklearn_compat import check_y
from sklearn_kd._utils.validation import check_option, check_probabilities

#: Required and optional parameters of each kind of label noise.
_LABEL_NOISE = {
    "symmetric": (("rate",), ("include_true",)),
    "pair": (("rate",), ()),
    "class-conditional": (("transition",), ()),
    "feature-dependent": (("rate", "X"), ("estimator",)),
    "annotators": (("rate",), ("X", "n_annotators")),
}
#: Annotators of "annotators" where the user gives no number.
N_ANNOTATORS = 3


@numpy_inputs
def add_label_noise(  # noqa: PLR0913
    y,
    rate=None,
    *,
    kind="symmetric",
    include_true=False,
    transition=None,
    X=None,
    estimator=None,
    n_annotators=None,
    random_state=None,
):
    r"""Return a copy of y with wrong labels, and which rows have them.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        True labels of at least two classes. y is not changed.
    rate : float, default=None
        Share in [0, 1] of the rows that get another label. ``round(rate * n_samples)`` rows are
        drawn without replacement. All kinds except "class-conditional" need it.
    kind : str, default="symmetric"
        - "symmetric": all other classes are equally likely.
        - "pair": class k becomes class k + 1 and the last class becomes the first, in the order of
          ``np.unique(y)``.
        - "class-conditional": the label of each row is drawn from ``transition``.
        - "feature-dependent": a row gets the most probable other class. Rows near the boundary of
          the two classes are more likely to be drawn, see Notes.
        - "annotators": several annotators label all rows, each of them a share ``rate`` wrongly,
          and the label of a row is the one with the most votes. All but the last give any other
          class to rows drawn at random. The last one takes each class for the next one in a part
          of the table.
    include_true : bool, default=False
        Only for "symmetric". If True, the rows drawn get any class, including their own, so that on
        average ``rate * (1 - 1 / n_classes)`` of all labels are wrong. Papers use both definitions.
    transition : array-like of shape (n_classes, n_classes), default=None
        Only for "class-conditional". P(given class | true class) with a row for each true class, in
        the order of ``np.unique(y)``.
    X : array-like of shape (n_samples, n_features), default=None
        Only for "feature-dependent" and "annotators", which reads numbers. Features of the rows. X
        is not changed. The part of the table in which the last annotator is wrong is a half-space
        of random direction in the standardized columns. Without X it is a block of adjacent rows.
    estimator : classifier with ``predict_proba``, default=None
        Only for "feature-dependent". Its cross-validated probabilities (three folds) determine
        which class a row resembles. The default is
        :class:`~sklearn.discriminant_analysis.LinearDiscriminantAnalysis` with shrinkage, which
        takes 15 seconds for 60,000 rows of 784 features. If class boundaries are not planes use
        another classifier, such as a forest, with its own ``random_state``.
    n_annotators : int, default=None
        Only for "annotators". None is three.
    random_state : int, RandomState instance or None, default=None
        Seed. With the same seed, a higher ``rate`` keeps the wrong labels of a lower one.

    Returns
    -------
    noisy : Bunch
        ``y`` : ndarray of shape (n_samples,) in the dtype of y, the noisy labels.
        ``is_wrong`` : ndarray of bool of shape (n_samples,), whether the label changed.
        ``rate`` : float, the share of the rows whose label changed.
        ``transition`` : ndarray of shape (n_classes, n_classes), the observed share of the rows of
        each true class (row) that have each given class (column).
        ``classes`` : ndarray of shape (n_classes,), the classes of rows and columns.
        ``votes`` : ndarray of shape (n_samples, n_annotators), the label that each annotator gave.
        Only for "annotators".

    Raises
    ------
    ValueError
        If a parameter that the kind needs is missing, a parameter does not belong to the kind, a
        value is invalid, y has missing labels or one class or, for "feature-dependent", a class has
        fewer than three rows.

    Notes
    -----
    For "feature-dependent", with the probabilities :math:`p` of ``estimator`` and
    :math:`m = \max(0, p_y - \max_{k \ne y} p_k)`, each row is drawn with a probability
    proportional to :math:`1 - m^2`, the Type-I noise of Zhang et al. If ``rate`` exceeds the share
    of rows near a boundary, nearly all of these are wrong and no training can recover their class.

    References
    ----------
    Zhang, Y., Zheng, S., Wu, P., Goswami, M., and Chen, C. (2021). Learning with
    feature-dependent label noise: a progressive approach. ICLR, arXiv:2103.07756.

    Han, B., et al. (2018). Co-teaching. NeurIPS, arXiv:1804.06872 (symmetric and pair).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_kd.datasets import add_label_noise
    >>> y = np.repeat(["cat", "dog", "owl"], 100)
    >>> noisy = add_label_noise(y, 0.2, kind="pair", random_state=0)
    >>> noisy.rate, bool((noisy.is_wrong == (noisy.y != y)).all())
    (0.2, True)
    >>> noisy.transition.round(2)
    array([[0.75, 0.25, 0.  ],
           [0.  , 0.84, 0.16],
           [0.19, 0.  , 0.81]])
    """
    settings = {"rate": rate, "include_true": include_true or None, "transition": transition}
    settings |= {"X": X, "estimator": estimator, "n_annotators": n_annotators}
    check_option(kind, "kind", _LABEL_NOISE)
    needed, optional = _LABEL_NOISE[kind]
    for name, value in settings.items():
        if value is None and name in needed:
            raise ValueError(f"kind={kind!r} needs {name}.")
        if value is not None and name not in needed + optional:
            raise ValueError(f"kind={kind!r} does not use {name}; leave it out.")
    if rate is not None and not 0 <= rate <= 1:
        raise ValueError(f"rate must be a share in [0, 1], such as 0.3 for 30 %, got {rate}.")
    check_no_missing_labels(y)
    classes, y_encoded = encode_labels(check_y(plain_labels(y)))
    n_samples, n_classes = len(y_encoded), len(classes)
    if n_classes < 2:
        raise ValueError(f"y must have at least two classes, got only {classes.tolist()}.")
    rng = check_random_state(random_state)

    votes = None
    if kind == "class-conditional":
        given = _draw_given(y_encoded, n_classes, transition, rng)
    elif kind == "annotators":
        votes = _draw_votes(y_encoded, n_classes, rate, n_annotators, X, rng)
        given = _most_votes(votes, n_classes, rng)
    else:
        weights = np.ones(n_samples)
        if kind == "feature-dependent":
            other, weights = _most_similar_classes(y_encoded, n_classes, X, estimator, rng)
        elif kind == "pair":
            other = (y_encoded + 1) % n_classes
        else:
            steps = rng.randint(0 if include_true else 1, n_classes, n_samples)
            other = (y_encoded + steps) % n_classes
        # the rows with the smallest exponential times are a weighted sample without replacement
        times = rng.standard_exponential(n_samples) / weights
        given = _replace_first(y_encoded, other, times, rate)

    is_wrong = given != y_encoded
    return Bunch(
        **({} if votes is None else {"votes": classes[votes]}),
        y=classes[given],
        is_wrong=is_wrong,
        rate=float(is_wrong.mean()),
        transition=confusion_matrix(y_encoded, given, normalize="true"),
        classes=classes,
    )


def _replace_first(y_encoded, other, times, rate):
    """Return the classes with those of the rows with the smallest times replaced by others."""
    rows = np.argsort(times, kind="stable")[: round(rate * len(y_encoded))]
    given = y_encoded.copy()
    given[rows] = other[rows]
    return given


def _draw_votes(y_encoded, n_classes, rate, n_annotators, X, rng):
    """Return the classes that annotators give, an array of shape (n_samples, n_annotators)."""
    n_annotators = N_ANNOTATORS if n_annotators is None else n_annotators
    check_scalar(n_annotators, "n_annotators", Integral, min_val=1)
    n_samples, votes = len(y_encoded), []
    for _ in range(n_annotators - 1):
        other = (y_encoded + rng.randint(1, n_classes, n_samples)) % n_classes
        votes.append(_replace_first(y_encoded, other, rng.random(n_samples), rate))
    if X is None:
        places = (np.arange(n_samples) - rng.randint(n_samples)) % n_samples
    else:
        X = check_array(X)
        check_consistent_length(X, y_encoded)
        places = StandardScaler().fit_transform(X) @ rng.normal(size=X.shape[1])
    votes.append(_replace_first(y_encoded, (y_encoded + 1) % n_classes, places, rate))
    return np.stack(votes, axis=1)


def _most_votes(votes, n_classes, rng):
    """Return the class with the most votes in each row, one of them at random in a tie."""
    counts = (votes[:, :, None] == np.arange(n_classes)).sum(axis=1)
    return (counts + rng.random(counts.shape)).argmax(axis=1)


def votes_to_soft_targets(votes, classes=None):
    """Return the shares of the annotators of each row that gave each label, as soft targets.

    Pass them as ``soft_targets`` of a network, with the labels that most annotators gave as ``y``.
    A network learns from them on which rows the annotators disagree [1]_.

    Parameters
    ----------
    votes : array-like or DataFrame of shape (n_samples, n_annotators)
        Labels by row and annotator. None or NaN where an annotator has not seen a row.
    classes : array-like of shape (n_classes,), default=None
        Labels of the columns in ascending order, such as ``np.unique(y)``. The default is the
        labels that occur in ``votes``.

    Returns
    -------
    ndarray of float64 of shape (n_samples, n_classes)
        Each row sums to one. A row without a vote is NaN, which means that it has no soft targets.
        If ``y`` lacks a label of the columns, as one that no row has most votes for, pass them to
        a network as a DataFrame with the labels as names of the columns.

    Raises
    ------
    ValueError
        If votes has no label, strings and other labels, or a label that is not among the classes,
        or if the classes are not in ascending order.

    References
    ----------
    .. [1] Peterson, Battleday, Griffiths and Russakovsky, "Human uncertainty makes classification
       more robust", ICCV 2019, arXiv:1908.07086.

    Examples
    --------
    >>> from sklearn_kd.datasets import votes_to_soft_targets
    >>> votes_to_soft_targets([["cat", "cat", "dog", "owl"], ["dog", None, None, None]])
    array([[0.5 , 0.25, 0.25],
           [0.  , 1.  , 0.  ]])
    """
    import pandas as pd  # slow to import, so not at the top

    # lists as objects, since NumPy would make the string "None" of None beside strings
    votes = np.asarray(votes, dtype=None if hasattr(votes, "__array__") else object)
    if votes.ndim != 2:
        raise ValueError(
            "votes must have the shape (n_samples, n_annotators), a column for each annotator, got "
            f"{votes.shape}."
        )
    is_given = ~pd.isna(votes)
    if not is_given.any():
        raise ValueError("votes has no label: each annotator's labels are a column of it.")
    if classes is not None and not np.array_equal(classes, np.unique(classes)):
        raise ValueError(f"classes must be distinct and in ascending order, got {classes}.")
    labels = votes[is_given]
    if labels.dtype == object:
        texts = [isinstance(label, str) for label in labels]
        if any(texts) and not all(texts):
            raise ValueError(
                "votes has strings and other labels, and 1 and '1' would be one class: give the "
                "labels of all annotators the same type."
            )
        labels = np.array(labels.tolist())  # in a dtype of their own
    classes, codes = encode_labels(labels, classes, name="votes")
    counts = np.zeros((len(votes), len(classes)))
    np.add.at(counts, (np.nonzero(is_given)[0], codes), 1.0)
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(axis=1, keepdims=True)


def _draw_given(y_encoded, n_classes, transition, rng):
    """Draw the class of each row from the row of ``transition`` of its true class."""
    P = np.asarray(transition, dtype=np.float64)
    if P.shape != (n_classes, n_classes):
        raise ValueError(
            f"transition must have shape {(n_classes, n_classes)}, a row and a column for each "
            f"class of y, got {P.shape}."
        )
    check_probabilities(P, "transition")
    P = np.clip(P, 0, 1)
    P /= P.sum(axis=1, keepdims=True)
    given = np.empty_like(y_encoded)
    for k in range(n_classes):
        rows = y_encoded == k
        given[rows] = rng.choice(n_classes, size=rows.sum(), p=P[k])
    return given


def _most_similar_classes(y_encoded, n_classes, X, estimator, rng):
    """Return the most probable other class of each row, and the weights 1 - margin^2."""
    if np.bincount(y_encoded).min() < 3:
        raise ValueError("kind='feature-dependent' needs three rows of each class, one per fold.")
    if estimator is None:
        estimator = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    folds = StratifiedKFold(3, shuffle=True, random_state=rng.randint(np.iinfo(np.int32).max))
    proba = cross_val_predict(clone(estimator), X, y_encoded, cv=folds, method="predict_proba")
    own = np.arange(n_classes) == y_encoded[:, None]
    others = np.where(own, -1, proba)
    margin = np.clip(proba[own] - others.max(axis=1), 0, 1)
    # positive weights, so that rate 1 includes rows far from every boundary
    return others.argmax(axis=1), np.maximum(1 - margin**2, np.finfo(np.float64).eps)
