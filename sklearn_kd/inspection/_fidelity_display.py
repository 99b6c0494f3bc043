"""Private implementation of :class:`sklearn_kd.inspection.FidelityDisplay`."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_consistent_length, check_scalar, column_or_1d

from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.regression_targets import check_numbers
from sklearn_kd._utils.validation import validate_sample_weight
from sklearn_kd.inspection._fidelity_views import BIN_STYLES, view_of
from sklearn_kd.inspection._pair_predictions import (
    check_pair,
    check_probabilities_of_pair,
    given_probabilities,
    pair_numbers,
    pair_probabilities,
)
from sklearn_kd.inspection._plotting import binned_means, check_columns, pyplot


class FidelityDisplay:
    r"""Student's probability of the teacher's most probable class against the teacher's.

    Of classifiers, each row is a point: the teacher's largest probability, and the student's for
    the same class.
    The points of an exact copy of the teacher are on the diagonal, and those of a less confident
    student are below. Means in bins of the teacher's probability show a bias, and the share of
    rows with the same predicted class shows where teacher and student disagree.

    Of regressors, the points are the predictions of both, and bins have about as many rows each.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create a display. The constructor
    takes the frame of an existing display.

    Parameters
    ----------
    frame : DataFrame
        One line for each row, with the columns of the attribute ``frame``. The column ``label`` or
        ``target`` may be absent.

    Attributes
    ----------
    frame : DataFrame of shape (n_samples, n_columns)
        Columns ``top_class`` (the teacher's most probable), ``teacher`` and ``student``
        (probability of that class under each), ``student_class`` (the student's most probable),
        ``distance`` (total variation), ``weight`` and, where y was given, ``label``. Of regressors
        ``teacher`` and ``student`` (their predictions), ``weight`` and ``target``.
    bins_ : DataFrame of shape (n_filled_bins, 5 or 6)
        Columns ``lower`` and ``upper`` (the bin excludes its lower end and includes its upper
        one), ``n_rows``, and the means ``teacher``, ``student`` and, of classifiers, ``agreement``.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    points_ : list of matplotlib PathCollection
        Rows on which teacher and student predict the same class, and other rows. Empty
        collections are left out. Of regressors one collection.
    lines_ : list of matplotlib Line2D
        The diagonal, the binned mean and, of classifiers, the binned agreement.

    See Also
    --------
    sklearn_kd.metrics.fidelity_score : One minus the mean total variation distance.
    sklearn_kd.metrics.agreement_score : Share of rows with the same label.

    References
    ----------
    Stanton, S., Izmailov, P., Kirichenko, P., Alemi, A. A., and Wilson, A. G. (2021). Does
    knowledge distillation really work? NeurIPS 34, arXiv:2106.05945.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from sklearn_kd import DistilledClassifier
    >>> from sklearn_kd.inspection import FidelityDisplay
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> forest, tree = RandomForestClassifier(20), DecisionTreeClassifier(max_depth=3)
    >>> model = DistilledClassifier(forest, tree, random_state=0).fit(X[::2], y[::2])
    >>> display = FidelityDisplay.from_estimator(model, X[1::2])
    >>> sure = display.frame[display.frame["teacher"] > 0.9]
    >>> bool((sure["top_class"] == sure["student_class"]).mean() > 0.95)
    True
    """

    __module__ = "sklearn_kd.inspection"

    def __init__(self, *, frame):
        self.frame = frame

    @classmethod
    @numpy_inputs
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        sample_weight=None,
        n_bins=10,
        ax=None,
        scatter_kw=None,
        line_kw=None,
    ):
        """Predict with a fitted distilled model and with its teacher, and plot.

        Parameters
        ----------
        estimator : DistilledClassifier or DistilledRegressor
            Fitted, with its ``teacher_``. Regressors have one target.
        X : array-like or dataframe of shape (n_samples, n_features)
            Rows, as teacher and student take them. Use rows that the teacher was not fitted on,
            since a teacher that memorizes is more confident on its training rows.
        y : array-like of shape (n_samples,), default=None
            True labels or targets. If given, the title has the accuracies, or R2, too.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows. None: equal weights.
        n_bins, ax, scatter_kw, line_kw
            As for :meth:`plot`.

        Returns
        -------
        display : FidelityDisplay
            With the predictions in ``frame``.

        Raises
        ------
        TypeError
            If the estimator is of another class, or the teacher or the student of a
            DistilledClassifier has no ``predict_proba``.
        ValueError
            If the model is not fitted or has no ``teacher_``.
        """
        check_pair(estimator, "FidelityDisplay")
        options = {"sample_weight": sample_weight, "n_bins": n_bins, "ax": ax}
        options |= {"scatter_kw": scatter_kw, "line_kw": line_kw}
        if hasattr(estimator, "classes_"):
            check_probabilities_of_pair(estimator)
            options["classes"], predict = estimator.classes_, pair_probabilities
        else:
            predict = pair_numbers
        check_consistent_length(X, y, sample_weight)
        return cls.from_predictions(*predict(estimator, X), y, **options)

    @classmethod
    @numpy_inputs
    def from_predictions(  # noqa: PLR0913
        cls,
        proba_teacher,
        proba_student,
        y=None,
        *,
        classes=None,
        sample_weight=None,
        n_bins=10,
        ax=None,
        scatter_kw=None,
        line_kw=None,
    ):
        """Plot given probabilities, or given numbers.

        Parameters
        ----------
        proba_teacher, proba_student : array-like of shape (n_samples, n_classes) or (n_samples,)
            Probabilities on the same rows, columns in the same order. Two DataFrames must have
            equal column labels. Arrays of one dimension are predictions of regressors.
        y : array-like of shape (n_samples,), default=None
            True labels or targets. If given, the title has the accuracies, or R2, too.
        classes : array-like of shape (n_classes,), default=None
            Labels of the columns. None: those of a DataFrame, or 0 to n_classes - 1.
        sample_weight, n_bins, ax, scatter_kw, line_kw
            As for :meth:`from_estimator`.

        Returns
        -------
        display : FidelityDisplay
            With the predictions in ``frame``.

        Raises
        ------
        ValueError
            If shapes differ, a label has no column, or rows are not probabilities that sum to 1
            within 1e-5.

        Examples
        --------
        >>> from sklearn_kd.inspection import FidelityDisplay
        >>> display = FidelityDisplay.from_predictions(
        ...     [[0.75, 0.25], [0.125, 0.875]], [[0.5, 0.5], [0.125, 0.875]]
        ... )
        >>> display.frame["distance"].tolist()
        [0.25, 0.0]
        """
        import pandas as pd

        if np.ndim(proba_teacher) == 1 and classes is None:
            columns, target = _columns_of_numbers(proba_teacher, proba_student), "target"
        else:
            columns, y = _columns_of_classes(proba_teacher, proba_student, y, classes)
            target = "label"
        columns["weight"] = validate_sample_weight(sample_weight, columns["teacher"])
        if y is not None:
            check_consistent_length(columns["teacher"], y)
            columns[target] = column_or_1d(y)
        display = cls(frame=pd.DataFrame(columns))
        return display.plot(ax, n_bins=n_bins, scatter_kw=scatter_kw, line_kw=line_kw)

    def plot(self, ax=None, *, n_bins=10, scatter_kw=None, line_kw=None):
        """Draw the rows, and means in bins of what the teacher predicts.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.
        n_bins : int, default=10
            Number of bins, of equal width in [0, 1] for probabilities. Bins without a row are left
            out. Use fewer bins if they have few rows.
        scatter_kw, line_kw : dict, default=None
            Keyword arguments of ``ax.scatter``, and of ``ax.plot`` for the means in bins.

        Returns
        -------
        display : FidelityDisplay
            The display, with the attributes of what was drawn.
        """
        check_scalar(n_bins, "n_bins", Integral, min_val=1)
        make_view = view_of(self.frame)
        check_columns(self.frame, list(make_view.columns))
        if not len(self.frame):
            raise ValueError("the frame has no line.")
        if ax is None:
            figure, ax = pyplot(type(self).__name__).subplots(layout="constrained")
            place = {"loc": "outside lower center", "ncols": 3}
        else:
            figure, place = ax, {}

        view = make_view(self.frame)
        columns = {name: self.frame[name].to_numpy(float) for name in ("teacher", "student")}
        bins = binned_means(
            columns["teacher"], view.edges(int(n_bins)), columns | view.binned(), view.weight
        )
        points = []
        # many points cover each other, so they are more transparent
        alpha = float(np.clip(100 / len(self.frame), 0.1, 0.6))
        for chosen, color, text in view.points():
            if chosen.any():
                rows = self.frame[chosen]
                style = {"s": 12, "linewidth": 0, "alpha": alpha, "color": color, "label": text}
                style |= scatter_kw or {}
                points.append(ax.scatter(rows["teacher"], rows["student"], **style))
        style = {"color": "gray", "linestyle": "--", "label": "student = teacher"}
        lines = ax.plot(view.diagonal(), view.diagonal(), **style)
        for column, text in view.lines.items():
            marker, dash = BIN_STYLES[column]
            style = {"marker": marker, "linestyle": dash, "color": "black", "label": text}
            lines += ax.plot(bins["teacher"], bins[column], **{**style, **(line_kw or {})})
        ax.set(title=view.title(), **view.limits())
        ax.set_xlabel(view.labels[0])
        ax.set_ylabel(view.labels[1])
        for handle in figure.legend(**place).legend_handles:
            handle.set_alpha(1.0)  # of points that are nearly transparent too
        self.ax_, self.figure_, self.bins_ = ax, ax.figure, bins
        self.points_, self.lines_ = points, lines
        return self


def _columns_of_classes(proba_teacher, proba_student, y, classes):
    """Return the columns of the frame that are made of probabilities, and the labels."""
    P, Q, classes, y_encoded = given_probabilities(proba_teacher, proba_student, y, classes)
    top, rows = P.argmax(axis=1), np.arange(len(P))
    columns = {
        "top_class": classes[top],
        "teacher": P[rows, top],
        "student": Q[rows, top],
        "student_class": classes[Q.argmax(axis=1)],
        "distance": np.minimum(np.abs(P - Q).sum(axis=1) / 2, 1),
    }
    return columns, None if y is None else classes[y_encoded]


def _columns_of_numbers(teacher, student):
    """Return the columns of the frame that are made of numbers."""
    numbers = {"teacher": teacher, "student": student}
    numbers = {name: check_numbers(values, name) for name, values in numbers.items()}
    check_consistent_length(*numbers.values())
    return {name: column_or_1d(values) for name, values in numbers.items()}
