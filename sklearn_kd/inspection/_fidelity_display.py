"""Private implementation of :class:`sklearn_kd.inspection.FidelityDisplay`."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_consistent_length, check_scalar, column_or_1d

from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.validation import validate_sample_weight
from sklearn_kd.inspection._pair_probabilities import check_pair, pair_probabilities
from sklearn_kd.inspection._plotting import check_columns, pyplot
from sklearn_kd.metrics import fidelity_score

COLUMNS = ["top_class", "teacher", "student", "student_class", "distance", "weight"]


class FidelityDisplay:
    r"""Student's probability of the teacher's most probable class against the teacher's.

    Each row is a point: the teacher's largest probability, and the student's for the same class.
    The points of an exact copy of the teacher are on the diagonal, and those of a less confident
    student are below. Means in bins of the teacher's probability show a bias, and the share of
    rows with the same predicted class shows where teacher and student disagree.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create a display. The constructor
    takes the frame of an existing display.

    Parameters
    ----------
    frame : DataFrame
        One line for each row, with the columns of the attribute ``frame``. The column ``label``
        may be absent.

    Attributes
    ----------
    frame : DataFrame of shape (n_samples, 6 or 7)
        Columns ``top_class`` (the teacher's most probable), ``teacher`` and ``student``
        (probability of that class under each), ``student_class`` (the student's most probable),
        ``distance`` (total variation), ``weight`` and, where y was given, ``label``.
    bins_ : DataFrame of shape (n_filled_bins, 6)
        Columns ``lower`` and ``upper`` (the bin excludes its lower end and includes its upper
        one), ``n_rows``, and the means ``teacher``, ``student`` and ``agreement``.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    points_ : list of matplotlib PathCollection
        Rows on which teacher and student predict the same class, and other rows. Empty
        collections are left out.
    lines_ : list of matplotlib Line2D
        The diagonal, the binned mean and the binned agreement.

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
        """Predict with a fitted distilled classifier and with its teacher, and plot.

        Parameters
        ----------
        estimator : DistilledClassifier
            Fitted, with its ``teacher_``.
        X : array-like or dataframe of shape (n_samples, n_features)
            Rows, as teacher and student take them. Use rows that the teacher was not fitted on,
            since a teacher that memorizes is more confident on its training rows.
        y : array-like of shape (n_samples,), default=None
            True labels. If given, the title has the accuracies too.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows. None: equal weights.
        n_bins, ax, scatter_kw, line_kw
            As for :meth:`plot`.

        Returns
        -------
        display : FidelityDisplay
            With the probabilities in ``frame``.

        Raises
        ------
        TypeError
            If the estimator is not a DistilledClassifier, or the teacher or the student has no
            ``predict_proba``.
        ValueError
            If the model is not fitted or has no ``teacher_``.
        """
        check_pair(estimator, "FidelityDisplay")
        check_consistent_length(X, y, sample_weight)
        proba_teacher, proba_student = pair_probabilities(estimator, X)
        options = {"sample_weight": sample_weight, "n_bins": n_bins, "ax": ax}
        options |= {"scatter_kw": scatter_kw, "line_kw": line_kw}
        classes = estimator.classes_
        return cls.from_predictions(proba_teacher, proba_student, y, classes=classes, **options)

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
        """Plot given probabilities.

        Parameters
        ----------
        proba_teacher, proba_student : array-like of shape (n_samples, n_classes)
            Probabilities on the same rows, columns in the same order. Two DataFrames must have
            equal column labels.
        y : array-like of shape (n_samples,), default=None
            True labels. If given, the title has the accuracies too.
        classes : array-like of shape (n_classes,), default=None
            Labels of the columns. None: those of a DataFrame, or 0 to n_classes - 1.
        sample_weight, n_bins, ax, scatter_kw, line_kw
            As for :meth:`from_estimator`.

        Returns
        -------
        display : FidelityDisplay
            With the probabilities in ``frame``.

        Raises
        ------
        ValueError
            If shapes differ, or rows are not probabilities that sum to 1 within 1e-5.

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

        fidelity_score(proba_teacher, proba_student)  # validates both
        P, Q = (np.asarray(proba, dtype=np.float64) for proba in (proba_teacher, proba_student))
        if classes is None:
            classes = getattr(proba_teacher, "columns", np.arange(P.shape[1]))
        classes = column_or_1d(classes)
        if len(classes) != P.shape[1]:
            raise ValueError(f"classes must name {P.shape[1]} columns, got {len(classes)} labels.")
        top, rows = P.argmax(axis=1), np.arange(len(P))
        columns = {
            "top_class": classes[top],
            "teacher": P[rows, top],
            "student": Q[rows, top],
            "student_class": classes[Q.argmax(axis=1)],
            "distance": np.minimum(np.abs(P - Q).sum(axis=1) / 2, 1),
            "weight": validate_sample_weight(sample_weight, P),
        }
        if y is not None:
            check_consistent_length(P, y)
            columns["label"] = column_or_1d(y)
        display = cls(frame=pd.DataFrame(columns))
        return display.plot(ax, n_bins=n_bins, scatter_kw=scatter_kw, line_kw=line_kw)

    def plot(self, ax=None, *, n_bins=10, scatter_kw=None, line_kw=None):
        """Draw the rows, their mean and their agreement in bins of the teacher's probability.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.
        n_bins : int, default=10
            Number of bins of equal width in [0, 1]. Bins without a row are left out. Use fewer
            bins if they have few rows.
        scatter_kw, line_kw : dict, default=None
            Keyword arguments of ``ax.scatter``, and of ``ax.plot`` for the means in bins.

        Returns
        -------
        display : FidelityDisplay
            The display, with the attributes of what was drawn.
        """
        check_scalar(n_bins, "n_bins", Integral, min_val=1)
        check_columns(self.frame, COLUMNS)
        if not len(self.frame):
            raise ValueError("the frame has no line.")
        if ax is None:
            figure, ax = pyplot(type(self).__name__).subplots(layout="constrained")
            place = {"loc": "outside lower center", "ncols": 3}
        else:
            figure, place = ax, {}

        frame = self.frame
        agrees = (frame["top_class"] == frame["student_class"]).to_numpy(dtype=bool)
        weight = frame["weight"].to_numpy(dtype=float)
        bins = _bins(frame, agrees, weight, int(n_bins))
        points = []
        # many points cover each other, so they are more transparent
        style = {"s": 12, "linewidth": 0, "alpha": float(np.clip(100 / len(frame), 0.1, 0.6))}
        for chosen, color, text in ((agrees, "C0", "same class"), (~agrees, "C3", "other class")):
            if chosen.any():
                rows = frame[chosen]
                options = {**style, "color": color, "label": text, **(scatter_kw or {})}
                points.append(ax.scatter(rows["teacher"], rows["student"], **options))
        style = {"color": "gray", "linestyle": "--", "label": "student = teacher"}
        lines = ax.plot([0, 1], [0, 1], **style)
        looks = {"student": ("o", "-", "mean"), "agreement": ("s", ":", "share of the same class")}
        for column, (marker, dash, text) in looks.items():
            style = {"marker": marker, "linestyle": dash, "color": "black"}
            style |= {"label": f"bins: {text}", **(line_kw or {})}
            lines += ax.plot(bins["teacher"], bins[column], **style)
        title = f"agreement {np.average(agrees, weights=weight):.3f}, "
        title += f"fidelity {1 - np.average(frame['distance'], weights=weight):.3f}"
        if "label" in frame:
            right = [frame[name] == frame["label"] for name in ("top_class", "student_class")]
            teacher, student = (np.average(each, weights=weight) for each in right)
            title += f"\naccuracy: teacher {teacher:.3f}, student {student:.3f}"
        limits = {"xlim": (frame["teacher"].min() - 0.03, 1.02), "ylim": (-0.03, 1.03)}
        ax.set(title=title, **limits)
        ax.set_xlabel("Teacher: probability of its most probable class")
        ax.set_ylabel("Student: probability of that class")
        for handle in figure.legend(**place).legend_handles:
            handle.set_alpha(1.0)  # of points that are nearly transparent too
        self.ax_, self.figure_, self.bins_ = ax, ax.figure, bins
        self.points_, self.lines_ = points, lines
        return self


def _bins(frame, agrees, weight, n_bins):
    """Return weighted means in bins of the teacher's probability."""
    import pandas as pd

    teacher, student = (frame[name].to_numpy(dtype=float) for name in ("teacher", "student"))
    edges = np.arange(n_bins + 1) / n_bins
    which = np.searchsorted(edges[1:-1], teacher, side="left")
    columns, lines = {"teacher": teacher, "student": student, "agreement": agrees}, []
    for number in np.unique(which[weight > 0]):
        own = which == number
        line = {"lower": edges[number], "upper": edges[number + 1], "n_rows": int(own.sum())}
        for name, values in columns.items():
            line[name] = float(np.average(values[own], weights=weight[own]))
        lines.append(line)
    return pd.DataFrame(lines)
