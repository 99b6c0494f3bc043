"""DistillationDisplay, score against size and speed, and FidelityDisplay, student against teacher.

Of the rooms of `inspection`, which is where users find them.
"""

from numbers import Integral

import numpy as np
from sklearn.utils import check_consistent_length, check_scalar, column_or_1d
from sklearn.utils.validation import check_is_fitted

from sklearn_kd._information import pyplot
from sklearn_kd._measure import (
    MODELS,
    SCORES,
    check_distiller,
    measure_folds,
    model_probabilities,
    over_folds,
)
from sklearn_kd._validation import last_step, validate_sample_weight
from sklearn_kd.metrics import fidelity_score

__all__ = ["DistillationDisplay", "FidelityDisplay"]

_PANELS = {"bytes": "Size (bytes)", "latency_p50_ms": "Median time of one row (ms)"}
#: Label, marker and colour of each model, and how far it is drawn beside its place, in points:
#: both students have about the same size and speed.
_STYLES = {
    "teacher": ("teacher", "D", "black", 0),
    "hard": ("student on hard labels", "s", "C0", -4),
    "distilled": ("distilled student", "o", "C1", 4),
}
_LOSSES = ("log_loss", "calibration_error")
_FIDELITY_COLUMNS = ["top_class", "teacher", "student", "student_class", "distance", "weight"]


class DistillationDisplay:
    """Score of teacher, student and distilled student against their size and their speed.

    Make one with :meth:`from_estimator` or with ``plot`` of a
    :class:`~sklearn_kd.inspection.DistillationReport`; the constructor takes the frame of an
    earlier one.

    Parameters
    ----------
    frame : DataFrame
        One line for each model, fold and seed, with the columns of
        :class:`~sklearn_kd.inspection.DistillationReport`. Needed are ``model``, ``fold``,
        ``n_train``, ``n_test``, ``bytes``, ``latency_p50_ms`` and the score; a model may be
        absent.
    score_name : str, default="accuracy"
        Column of the score.

    Attributes
    ----------
    frame : DataFrame of shape (n_lines, n_columns)
    ax_ : ndarray of shape (2,) of matplotlib Axes
        Against the size, against the speed.
    figure_ : matplotlib Figure
    errorbar_ : list of matplotlib ErrorbarContainer
        Teacher, student on hard labels and distilled student, as far as the frame has them, on
        the first axes, then on the second.

    See Also
    --------
    sklearn_kd.inspection.distillation_report : The same in numbers, with a verdict.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_kd import DistilledClassifier
    >>> from sklearn_kd.inspection import DistillationDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> model = DistilledClassifier(RandomForestClassifier(20), LogisticRegression(max_iter=1000))
    >>> display = DistillationDisplay.from_estimator(model, X, y, cv=2, n_latency=10)
    >>> [line.get_label() for line in display.errorbar_[:3]]
    ['teacher', 'student on hard labels', 'distilled student']
    """

    def __init__(self, *, frame, score_name="accuracy"):
        self.frame = frame
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        cv=5,
        n_seeds=1,
        sample_weight=None,
        n_latency=200,
        n_jobs=None,
        random_state=0,
        verbose=0,
        ax=None,
        score_name="accuracy",
        errorbar_kw=None,
    ):
        """Fit and measure on each fold, as a report does, and plot.

        Parameters
        ----------
        estimator : DistilledClassifier
            Its teacher, its student on hard labels, and itself are compared. It is cloned.
        X : array-like or dataframe of shape (n_samples, n_features)
            Rows, as teacher and student take them.
        y : array-like of shape (n_samples,)
            Class labels.
        cv, n_seeds, sample_weight, n_latency, n_jobs, random_state, verbose
            As for :func:`~sklearn_kd.inspection.distillation_report`, but for one seed.
        ax, score_name, errorbar_kw
            As for :meth:`plot`.

        Returns
        -------
        display : DistillationDisplay
            With the measures in ``frame``.

        Raises
        ------
        ImportError
            Before any training, if matplotlib is not installed.
        TypeError, ValueError
            For another estimator or score, and as for a report.
        """
        if ax is None:
            pyplot(cls.__name__)
        check_distiller(estimator, "estimator")
        if score_name not in SCORES:
            raise ValueError(f"score_name must be one of {SCORES}, got {score_name!r}.")
        options = {"cv": cv, "n_seeds": n_seeds, "sample_weight": sample_weight, "n_jobs": n_jobs}
        options |= {"n_latency": n_latency, "random_state": random_state, "verbose": verbose}
        frame = measure_folds(estimator, X, y, **options)
        return cls(frame=frame, score_name=score_name).plot(ax, errorbar_kw=errorbar_kw)

    def plot(self, ax=None, *, score_name=None, errorbar_kw=None):
        """Draw the score against the size and against the time of a single row.

        Parameters
        ----------
        ax : matplotlib Axes or two of them, default=None
            Where to draw. A single one, made by ``subplots``, gives its place to two; None: a new
            figure.
        score_name : str, default=None
            Column of the score; None: that of the display.
        errorbar_kw : dict, default=None
            For ``ax.errorbar``.

        Returns
        -------
        display : DistillationDisplay
            Itself, with the attributes that are drawn.

        Notes
        -----
        A marker is a mean over folds and seeds, a bar one standard error on either side
        (:class:`~sklearn_kd.inspection.DistillationReport`). Both students saw the same folds:
        whether they differ is in the interval of the report, not in bars that overlap. They are
        drawn a few points apart, as their sizes and speeds are about the same.
        """
        score_name = self.score_name if score_name is None else score_name
        wanted = ["model", "fold", "n_train", "n_test", *_PANELS, score_name]
        missing = [column for column in wanted if column not in self.frame]
        if missing:
            raise ValueError(f"the frame lacks the columns {missing}; it must have {wanted}.")
        models = [name for name in MODELS if (self.frame["model"] == name).any()]
        if not models:
            raise ValueError(f"the frame has no line of a model of {list(MODELS)}.")
        axes = _two_axes(ax, type(self).__name__)
        from matplotlib.transforms import ScaledTranslation

        bars = []
        for panel, (column, label) in zip(axes, _PANELS.items(), strict=True):
            panel.set_xscale("log")
            for name in models:
                lines = self.frame[self.frame["model"] == name]
                score, error, _ = over_folds(lines, score_name)
                text, marker, color, points = _STYLES[name]
                style = {"marker": marker, "color": color, "label": text, "capsize": 3}
                style |= {"linestyle": "none", **(errorbar_kw or {})}
                error = None if np.isnan(error) else [error]
                bars.append(panel.errorbar([lines[column].mean()], [score], yerr=error, **style))
                # afterwards: the limits of the axes would not see what is drawn elsewhere
                aside = ScaledTranslation(points / 72, 0, panel.figure.dpi_scale_trans)
                for artist in bars[-1].get_children():
                    artist.set_transform(panel.transData + aside)
            panel.margins(x=0.15)
            panel.set_xlabel(label)
        name = score_name.replace("_", " ").capitalize().replace("Roc auc", "ROC AUC")
        better = "lower" if score_name in _LOSSES else "higher"
        axes[0].set_ylabel(f"{name} ({better} is better)")
        if ax is None:
            handles = axes[0].get_legend_handles_labels()
            axes[0].figure.legend(*handles, loc="outside upper center", ncols=len(models))
        else:
            axes[-1].legend()
        self.ax_, self.figure_, self.errorbar_ = axes, axes[0].figure, bars
        return self


def _two_axes(ax, name):
    """Return two axes; those that are made have a common vertical one."""
    if ax is None:
        options = {"sharey": True, "layout": "constrained", "figsize": (8, 4)}
        return pyplot(name).subplots(1, 2, **options)[1]
    if hasattr(ax, "get_subplotspec"):
        spec = ax.get_subplotspec()
        if spec is None:
            raise ValueError("ax has no place in a grid to share: pass two axes.")
        ax.set_axis_off()
        return spec.subgridspec(1, 2).subplots(sharey=True)
    axes = np.asarray(ax, dtype=object).ravel()
    if len(axes) != 2:
        raise ValueError(f"ax must be one Axes or two, got {len(axes)}.")
    return axes


class FidelityDisplay:
    r"""What the student makes of the teacher's favourite class, against what the teacher does.

    Each row is a point: the teacher's largest probability, and the student's for the same class.
    A copy of the teacher is on the diagonal, a student less sure of itself below. Means in bins
    of the teacher's probability show a bias, and the share of rows with the same predicted class
    shows where teacher and student part.

    Make one with :meth:`from_estimator` or :meth:`from_predictions`; the constructor takes the
    frame of an earlier one.

    Parameters
    ----------
    frame : DataFrame
        One line for each row, with the columns of the attribute ``frame``; ``label`` may be
        absent.

    Attributes
    ----------
    frame : DataFrame of shape (n_samples, 6 or 7)
        Columns ``top_class`` (the teacher's most probable), ``teacher`` and ``student``
        (probability of that class under each), ``student_class`` (the student's most probable),
        ``distance`` (total variation), ``weight`` and, where y was given, ``label``.
    bins_ : DataFrame of shape (n_filled_bins, 6)
        What is drawn: ``lower``, ``upper`` (the bin is open below and closed above),
        ``n_rows``, and the means ``teacher``, ``student`` and ``agreement``.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    points_ : list of matplotlib PathCollection
        Rows on which teacher and student predict the same class, and the others, as far as there
        are such.
    lines_ : list of matplotlib Line2D
        The diagonal, the binned mean and the binned agreement.

    See Also
    --------
    sklearn_kd.metrics.fidelity_score : The share of probability that they have in common.
    sklearn_kd.metrics.agreement_score : The share of rows with the same label.

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

    def __init__(self, *, frame):
        self.frame = frame

    @classmethod
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
            Rows, as teacher and student take them. On rows that they were fitted on, a teacher
            that memorises is surer than it is elsewhere: take others.
        y : array-like of shape (n_samples,), default=None
            True labels; the title then has the accuracies too.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; equal ones for None.
        n_bins, ax, scatter_kw, line_kw
            As for :meth:`plot`.

        Returns
        -------
        display : FidelityDisplay
            With the probabilities in ``frame``.

        Raises
        ------
        TypeError
            For another estimator, or a teacher or student without ``predict_proba``.
        ValueError
            For a model that is not fitted, or has no ``teacher_`` (any more).
        """
        check_distiller(estimator, "estimator")
        check_is_fitted(estimator)
        if not hasattr(estimator, "teacher_"):
            given = estimator.label_source_ == "given"
            raise ValueError(
                "the estimator has no teacher_ to compare with: "
                f"{'soft_targets took its place in fit, or ' if given else ''}without_teacher() "
                "has dropped it. Pass a model that still has its teacher, or the probabilities of "
                "both to FidelityDisplay.from_predictions."
            )
        classes = estimator.classes_
        proba = {}
        for role, model in (("teacher", estimator.teacher_), ("student", estimator)):
            proba[role] = model_probabilities(model, X, classes)
            if proba[role] is None:
                own = type(last_step(getattr(estimator, f"{role}_"))).__name__
                raise TypeError(
                    f"the {role} {own} has no predict_proba: put it in a CalibratedClassifierCV, "
                    "or compare labels with metrics.agreement_score."
                )
        options = {"classes": classes, "sample_weight": sample_weight, "n_bins": n_bins, "ax": ax}
        options |= {"scatter_kw": scatter_kw, "line_kw": line_kw}
        return cls.from_predictions(proba["teacher"], proba["student"], y, **options)

    @classmethod
    def from_predictions(
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
        """Plot probabilities that are there already.

        Parameters
        ----------
        proba_teacher, proba_student : array-like of shape (n_samples, n_classes)
            Probabilities on the same rows, columns in the same order. Two DataFrames must have
            equal column labels.
        classes : array-like of shape (n_classes,), default=None
            Labels of the columns; None: those of a DataFrame, else 0 to n_classes - 1.
        y, sample_weight, n_bins, ax, scatter_kw, line_kw
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

        fidelity_score(proba_teacher, proba_student)  # for its checks
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
            Where to draw; None: a new figure.
        n_bins : int, default=10
            Bins of equal width in [0, 1]; those without a row are left out. Fewer where bins
            have few rows.
        scatter_kw, line_kw : dict, default=None
            For ``ax.scatter``, and for ``ax.plot`` of the means and shares in bins.

        Returns
        -------
        display : FidelityDisplay
            Itself, with the attributes that are drawn.
        """
        check_scalar(n_bins, "n_bins", Integral, min_val=1)
        missing = [column for column in _FIDELITY_COLUMNS if column not in self.frame]
        if missing:
            raise ValueError(f"the frame lacks the columns {missing}; see FidelityDisplay.frame.")
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
        # many points cover each other: what lies below is to be seen
        style = {"s": 12, "linewidth": 0, "alpha": float(np.clip(100 / len(frame), 0.1, 0.6))}
        for chosen, color, text in ((agrees, "C0", "same class"), (~agrees, "C3", "other class")):
            if chosen.any():
                rows = frame[chosen]
                options = {**style, "color": color, "label": text, **(scatter_kw or {})}
                points.append(ax.scatter(rows["teacher"], rows["student"], **options))
        style = {"color": "grey", "linestyle": "--", "label": "student = teacher"}
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
        figure.legend(**place)
        self.ax_, self.figure_, self.bins_ = ax, ax.figure, bins
        self.points_, self.lines_ = points, lines
        return self


def _bins(frame, agrees, weight, n_bins):
    """Weighted means in bins of the teacher's probability."""
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
