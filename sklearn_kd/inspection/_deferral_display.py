"""Private implementation of :class:`sklearn_kd.inspection.DeferralDisplay`."""

from numbers import Real

import numpy as np
from sklearn.utils import check_consistent_length, check_scalar

from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.validation import check_option, validate_sample_weight
from sklearn_kd.inspection._pair_predictions import (
    check_pair,
    check_probabilities_of_pair,
    given_probabilities,
    pair_probabilities,
)
from sklearn_kd.inspection._plotting import check_columns, pyplot

#: Scores and whether higher values are better.
HIGHER_IS_BETTER = {"accuracy": True, "balanced_accuracy": True, "log_loss": False}
COLUMNS = ["threshold", "deferred"]
#: Differences that sums of rows may have by rounding.
ROUNDING = 1e-12


class DeferralDisplay:
    r"""Score of a student that defers rows to its teacher, against the share of rows deferred.

    The student answers a row if its largest probability is at least a threshold, and otherwise
    defers the row to the teacher (Chow's rule [1]_, a cascade of two models [2]_). Each threshold
    is a point of the curve, which begins at the student alone and ends at the teacher alone. A
    straight line between both is what rows deferred at random would give.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create a display. The constructor
    takes the frame of an existing display.

    Parameters
    ----------
    frame : DataFrame
        One line for each threshold, in increasing order, with the columns ``threshold``,
        ``deferred`` and one or more of the scores of the attribute ``frame``.
    costs : tuple of two floats or None, default=None
        Cost of a row for the student and for the teacher, in any unit, such as microseconds. With
        costs a second axis shows the mean cost of a row: the student's, and the share of rows
        deferred times the teacher's.

    Attributes
    ----------
    frame : DataFrame of shape (n_thresholds, 5)
        Columns ``threshold``, ``deferred`` (share of the rows whose largest probability is below
        the threshold), and the scores of the combination: ``accuracy``, ``balanced_accuracy`` (mean
        recall of the classes) and ``log_loss`` in nats. The first line is the student alone, with
        the threshold 0, and the last one the teacher alone, with an infinite threshold.
    costs : tuple of two floats or None
        Those that were passed.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        The curve, rows deferred at random, student alone, teacher alone and, if there is one, the
        marked threshold.
    cost_ax_ : matplotlib Axes or None
        Axis of the mean cost of a row.

    See Also
    --------
    FidelityDisplay : Probabilities of the student against those of the teacher.

    Notes
    -----
    The score of the combination can be above that of the teacher, where the student is better on
    rows on which it is confident.

    Use rows on which neither model was fitted. A threshold chosen on few rows has a score that is
    optimistic, as any parameter chosen by its score, so that it should be measured on other rows.

    References
    ----------
    .. [1] C. K. Chow (1970). On optimum recognition error and reject tradeoff. IEEE Transactions on
       Information Theory 16, 41-46.
    .. [2] W. Jitkrittum, N. Gupta, A. K. Menon, H. Narasimhan, A. S. Rawat, S. Kumar (2023). When
       does confidence-based cascade deferral suffice? NeurIPS 36, arXiv:2307.02764.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from sklearn_kd import DistilledClassifier
    >>> from sklearn_kd.inspection import DeferralDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> forest, tree = RandomForestClassifier(50), DecisionTreeClassifier(max_leaf_nodes=30)
    >>> model = DistilledClassifier(forest, tree, alpha=1.0, temperature=1.0, random_state=0)
    >>> model = model.set_params(augmentation=None).fit(X[::2], y[::2])
    >>> display = DeferralDisplay.from_estimator(model, X[1::2], y[1::2])
    >>> point = display.choose_threshold(max_deferred=0.5)
    >>> bool(0 < point["deferred"] <= 0.5)
    True
    >>> bool(point["accuracy"] > display.frame["accuracy"].iloc[0])  # of the student alone
    True
    """

    __module__ = "sklearn_kd.inspection"

    def __init__(self, *, frame, costs=None):
        self.frame = frame
        self.costs = costs

    @classmethod
    @numpy_inputs
    def from_estimator(  # noqa: PLR0913
        cls,
        estimator,
        X,
        y,
        *,
        sample_weight=None,
        costs=None,
        ax=None,
        score_name="accuracy",
        threshold=None,
        line_kw=None,
    ):
        """Predict with a fitted distilled classifier and with its teacher, and plot.

        Parameters
        ----------
        estimator : DistilledClassifier
            Fitted, with its ``teacher_``.
        X : array-like or dataframe of shape (n_samples, n_features)
            Rows, as teacher and student take them, on which neither was fitted.
        y : array-like of shape (n_samples,)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows. None: equal weights.
        costs : tuple of two floats or None, default=None
            Cost of a row for the student and for the teacher, as for the class.
        ax, score_name, threshold, line_kw
            As for :meth:`plot`.

        Returns
        -------
        display : DeferralDisplay

        Raises
        ------
        TypeError
            If the estimator is not a DistilledClassifier, or the teacher or the student has no
            ``predict_proba``.
        ValueError
            If the model is not fitted or has no ``teacher_``.
        """
        check_pair(estimator, "DeferralDisplay")
        if not hasattr(estimator, "classes_"):
            raise TypeError(
                "DeferralDisplay defers rows on which the student is least confident by its "
                "probabilities, which a DistilledRegressor does not have."
            )
        check_probabilities_of_pair(estimator)
        _check_options(costs, score_name, threshold)
        check_consistent_length(X, y, sample_weight)
        proba_teacher, proba_student = pair_probabilities(estimator, X)
        options = {"classes": estimator.classes_, "sample_weight": sample_weight, "costs": costs}
        options |= {"ax": ax, "score_name": score_name, "threshold": threshold, "line_kw": line_kw}
        return cls.from_predictions(proba_teacher, proba_student, y, **options)

    @classmethod
    @numpy_inputs
    def from_predictions(  # noqa: PLR0913
        cls,
        proba_teacher,
        proba_student,
        y,
        *,
        classes=None,
        sample_weight=None,
        costs=None,
        ax=None,
        score_name="accuracy",
        threshold=None,
        line_kw=None,
    ):
        """Plot given probabilities.

        Parameters
        ----------
        proba_teacher, proba_student : array-like of shape (n_samples, n_classes)
            Probabilities on the same rows, columns in the same order. Two DataFrames must have
            equal column labels.
        y : array-like of shape (n_samples,)
            True labels.
        classes : array-like of shape (n_classes,), default=None
            Labels of the columns. None: those of a DataFrame, or 0 to n_classes - 1.
        sample_weight, costs, ax, score_name, threshold, line_kw
            As for :meth:`from_estimator`.

        Returns
        -------
        display : DeferralDisplay

        Raises
        ------
        ValueError
            If shapes differ, a label has no column, or rows are not probabilities that sum to 1
            within 1e-5.

        Examples
        --------
        >>> from sklearn_kd.inspection import DeferralDisplay
        >>> teacher = [[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]]
        >>> student = [[0.9, 0.1], [0.55, 0.45], [0.3, 0.7]]
        >>> display = DeferralDisplay.from_predictions(teacher, student, [0, 1, 1])
        >>> display.frame[["threshold", "deferred", "accuracy"]].round(3).values.tolist()
        [[0.0, 0.0, 0.667], [0.625, 0.333, 1.0], [0.8, 0.667, 1.0], [inf, 1.0, 1.0]]
        """
        _check_options(costs, score_name, threshold)
        P, Q, _, y_encoded = given_probabilities(proba_teacher, proba_student, y, classes)
        weight = validate_sample_weight(sample_weight, P)
        display = cls(frame=_frame(P, Q, y_encoded, weight), costs=costs)
        return display.plot(ax, score_name=score_name, threshold=threshold, line_kw=line_kw)

    def choose_threshold(self, *, min_score=None, max_deferred=None, score_name="accuracy"):
        """Return the line of a threshold with a wanted score, or a wanted share of rows deferred.

        Parameters
        ----------
        min_score : float or None, default=None
            The wanted score. The threshold that defers the fewest rows is taken. For the log loss
            this is the largest loss that is accepted.
        max_deferred : float or None, default=None
            Largest share of rows deferred. Without ``min_score`` the threshold of the best score is
            taken, and of equal scores the one that defers fewer rows.
        score_name : {"accuracy", "balanced_accuracy", "log_loss"}, default="accuracy"
            Which score.

        Returns
        -------
        line : Series
            Line of ``frame``. Rows whose largest probability is below ``line["threshold"]`` are
            deferred.

        Raises
        ------
        ValueError
            If nothing is wanted, or no threshold meets it. The message names the best score.
        """
        check_option(score_name, "score_name", list(HIGHER_IS_BETTER))
        if min_score is None and max_deferred is None:
            raise ValueError("pass min_score, max_deferred or both.")
        if max_deferred is not None:
            check_scalar(max_deferred, "max_deferred", Real, min_val=0, max_val=1)
        check_columns(self.frame, [*COLUMNS, score_name])
        limit = 1.0 if max_deferred is None else max_deferred
        frame = self.frame[self.frame["deferred"] <= limit + ROUNDING]
        if not len(frame):
            raise ValueError(f"the frame has no threshold that defers at most {limit:g}.")
        sign = 1 if HIGHER_IS_BETTER[score_name] else -1
        values = sign * frame[score_name].to_numpy()
        if min_score is None:
            return frame.iloc[int(values.argmax())]
        check_scalar(min_score, "min_score", Real)
        enough = np.flatnonzero(values >= sign * min_score - ROUNDING)
        if not len(enough):
            best = frame.iloc[int(values.argmax())]
            within = "" if max_deferred is None else f" that defers at most {max_deferred:g}"
            raise ValueError(
                f"no threshold{within} has the {score_name} {min_score:g}: the best is "
                f"{best[score_name]:.4g}, where {best['deferred']:.3g} of the rows are deferred."
            )
        return frame.iloc[int(enough[0])]

    def plot(self, ax=None, *, score_name="accuracy", threshold=None, line_kw=None):
        """Draw a score against the share of rows deferred.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.
        score_name : {"accuracy", "balanced_accuracy", "log_loss"}, default="accuracy"
            Which score.
        threshold : float or None, default=None
            A threshold to be marked, such as one of :meth:`choose_threshold`.
        line_kw : dict, default=None
            Keyword arguments of ``ax.plot`` for the curve.

        Returns
        -------
        display : DeferralDisplay
            The display, with the attributes of what was drawn.
        """
        _check_options(self.costs, score_name, threshold)
        check_columns(self.frame, [*COLUMNS, score_name])
        if not len(self.frame):
            raise ValueError("the frame has no line.")
        if ax is None:
            figure, ax = pyplot(type(self).__name__).subplots(layout="constrained")
            place = {"loc": "outside lower center", "ncols": 2}
        else:
            figure, place = ax, {}
        share, score = self.frame["deferred"].to_numpy(), self.frame[score_name].to_numpy()
        style = {"color": "C0", "label": "least confident rows deferred", **(line_kw or {})}
        lines = ax.plot(share, score, **style)
        lines += ax.plot(
            share[[0, -1]], score[[0, -1]], color="gray", linestyle=":", label="rows at random"
        )
        for end, color, role in ((0, "C1", "student"), (-1, "C2", "teacher")):
            label = f"{role} alone: {score[end]:.4f}"
            lines.append(ax.axhline(score[end], color=color, linestyle="--", label=label))
        if threshold is not None:
            # between two confidences all thresholds are the same, up to one line of the frame
            place_of = np.searchsorted(self.frame["threshold"].to_numpy(), threshold, side="right")
            at = max(int(place_of) - 1, 0)
            label = f"threshold {threshold:.3f}: {score[at]:.4f}, {share[at]:.1%} deferred"
            lines += ax.plot(share[at], score[at], "o", color="black", label=label)
        name = score_name.replace("_", " ")
        better = "higher" if HIGHER_IS_BETTER[score_name] else "lower"
        ax.set_xlabel("Share of rows deferred to the teacher")
        ax.set_ylabel(f"{name.capitalize()} ({better} is better)")
        self.cost_ax_ = None
        if self.costs is not None:
            of_student, of_teacher = self.costs
            to_cost = (
                lambda shares: of_student + np.asarray(shares) * of_teacher,
                lambda cost: (np.asarray(cost) - of_student) / of_teacher,
            )
            self.cost_ax_ = ax.secondary_xaxis("top", functions=to_cost)
            self.cost_ax_.set_xlabel("Mean cost of a row")
        figure.legend(**place)
        self.ax_, self.figure_, self.lines_ = ax, ax.figure, lines
        return self


def _check_options(costs, score_name, threshold):
    check_option(score_name, "score_name", list(HIGHER_IS_BETTER))
    if threshold is not None:
        check_scalar(threshold, "threshold", Real)
    if costs is None:
        return
    costs = np.asarray(costs, dtype=np.float64)
    if costs.shape != (2,) or not np.isfinite(costs).all() or costs[0] < 0 or costs[1] <= 0:
        raise ValueError(
            "costs must be the cost of a row for the student, at least 0, and that for the "
            f"teacher, above 0, got {costs.tolist()}."
        )


def _frame(P, Q, y_encoded, weight):
    """Return a line for each threshold between two confidences of the student.

    Parameters
    ----------
    P, Q : ndarray of shape (n_samples, n_classes)
        Probabilities of the teacher and of the student.
    y_encoded : ndarray of shape (n_samples,)
        Columns of the true labels.
    weight : ndarray of shape (n_samples,)
    """
    import pandas as pd

    used = weight > 0
    P, Q, y_encoded, weight = P[used], Q[used], y_encoded[used], weight[used]
    if not len(P):
        raise ValueError("no row has a positive weight.")
    order = np.argsort(Q.max(axis=1), kind="stable")
    P, Q, y_encoded, weight = P[order], Q[order], y_encoded[order], weight[order]
    confidence, shares = Q.max(axis=1), weight / weight.sum()
    # a row counts in the mean recall by its share of its class
    of_class = np.bincount(y_encoded, weights=weight)
    recall_shares = weight / of_class[y_encoded] / (of_class > 0).sum()
    # rows up to the last of equal confidences are deferred
    last = np.flatnonzero(np.diff(confidence, append=np.inf) > 0)
    lower, upper = confidence[last[:-1]], confidence[last[1:]]
    middle = (lower + upper) / 2
    middle = np.where(middle > lower, middle, upper)
    columns = {
        "threshold": [0.0, *middle, np.inf],
        "deferred": _after_deferral(np.zeros(len(P)), shares, last),
    }
    rows = np.arange(len(P))
    right = [(proba.argmax(axis=1) == y_encoded).astype(np.float64) for proba in (Q, P)]
    epsilon = np.finfo(np.float64).eps
    loss = [-np.log(np.clip(proba[rows, y_encoded], epsilon, 1 - epsilon)) for proba in (Q, P)]
    columns["deferred"][-1] = 1.0
    for name, own_shares, (student, teacher) in (
        ("accuracy", shares, right),
        ("balanced_accuracy", recall_shares, right),
        ("log_loss", shares, loss),
    ):
        columns[name] = _after_deferral(own_shares * student, own_shares * teacher, last)
    return pd.DataFrame(columns)


def _after_deferral(of_student, of_teacher, last):
    """Return the sum over rows, where none, and where all up to each of some rows are deferred."""
    change = np.cumsum(of_teacher - of_student)[last]
    return of_student.sum() + np.array([0.0, *change])
