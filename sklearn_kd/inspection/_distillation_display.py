"""Private implementation of :class:`sklearn_kd.inspection.DistillationDisplay`."""

import numpy as np

from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.validation import check_option
from sklearn_kd.inspection._answers import answers_of
from sklearn_kd.inspection._measurements import (
    MODELS,
    MeasurementOptions,
    check_distiller,
    measure_folds,
    over_folds,
)
from sklearn_kd.inspection._plotting import check_columns, pyplot, two_axes
from sklearn_kd.inspection._scores import name_of_score, terms_of

#: Column and label of the horizontal axis of each panel.
PANELS = {"bytes": "Size (bytes)", "latency_p50_ms": "Median time of one row (ms)"}
#: Column of the compact file and its unit in that of the horizontal axis, for each panel.
COMPACT = {"bytes": ("compact_bytes", 1), "latency_p50_ms": ("compact_latency_us", 1000)}
#: Marker, color and horizontal offset in points of each model. The offset separates both students,
#: which have about the same size and speed.
STYLES = {"teacher": ("D", "black", 0), "hard": ("s", "C0", -4), "distilled": ("o", "C1", 4)}
#: Least distance of two ticks, as a fraction of the horizontal axis.
MIN_TICK_DISTANCE = 0.25


class DistillationDisplay:
    """Score of teacher, student and distilled student against their size and their speed.

    Use :meth:`from_estimator`, or ``plot`` of a
    :class:`~sklearn_kd.inspection.DistillationReport`, to create a display. The constructor takes
    the frame of an existing display.

    Parameters
    ----------
    frame : DataFrame
        One line for each model, fold and seed, with the columns of
        :class:`~sklearn_kd.inspection.DistillationReport`. The columns ``model``, ``fold``,
        ``n_train``, ``n_test``, ``bytes``, ``latency_p50_ms`` and the score are required. A model
        may be absent.
    score_name : str, default=None
        Column of the score. None: "accuracy" of classifiers, and "r2" of regressors.

    Attributes
    ----------
    frame : DataFrame of shape (n_lines, n_columns)
    ax_ : ndarray of shape (2,) of matplotlib Axes
        Score against the size, and score against the time of a prediction.
    figure_ : matplotlib Figure
    errorbar_ : list of matplotlib ErrorbarContainer
        Those of teacher, student on hard labels and distilled student that the frame has, on the
        first axes and then on the second.
    compact_ : list of matplotlib Line2D
        Hollow markers of those models whose compact files were measured, on the first axes and then
        on the second.

    See Also
    --------
    sklearn_kd.inspection.distillation_report : The same measurements as a table with a verdict.

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

    __module__ = "sklearn_kd.inspection"

    def __init__(self, *, frame, score_name=None):
        self.frame = frame
        self.score_name = score_name

    @classmethod
    @numpy_inputs
    def from_estimator(  # noqa: PLR0913
        cls,
        estimator,
        X,
        y,
        *,
        cv=5,
        n_seeds=1,
        sample_weight=None,
        groups=None,
        n_latency="auto",
        n_jobs=None,
        random_state=0,
        verbose=0,
        ax=None,
        score_name=None,
        errorbar_kw=None,
    ):
        """Fit and measure the models on each fold, as a report does, and plot.

        Parameters
        ----------
        estimator : DistilledClassifier or DistilledRegressor
            Its teacher, its student on hard labels and the estimator itself are compared. It is
            cloned.
        X : array-like or dataframe of shape (n_samples, n_features)
            Rows, as teacher and student take them.
        y : array-like of shape (n_samples,), or (n_samples, n_targets) for regressors
            Class labels or numbers.
        cv, n_seeds, sample_weight, groups, n_latency, n_jobs, random_state, verbose
            As for :func:`~sklearn_kd.inspection.distillation_report`, with one seed by default.
        ax, score_name, errorbar_kw
            As for :meth:`plot`.

        Returns
        -------
        display : DistillationDisplay
            With the measurements in ``frame``.

        Raises
        ------
        ImportError
            Before any training, if matplotlib is not installed.
        TypeError, ValueError
            If the estimator is of another class, the score is unknown, or for the
            reasons that a report names.
        """
        if ax is None:
            pyplot(cls.__name__)
        check_distiller(estimator, "estimator")
        if score_name is not None:
            scores = answers_of(estimator).scores.higher_is_better
            check_option(score_name, "score_name", list(scores))
        options = MeasurementOptions(
            cv, n_seeds, sample_weight, n_latency, n_jobs, random_state, verbose, groups=groups
        )
        frame, _ = measure_folds(estimator, X, y, options)
        return cls(frame=frame, score_name=score_name).plot(ax, errorbar_kw=errorbar_kw)

    def plot(self, ax=None, *, score_name=None, errorbar_kw=None):
        """Draw the score against the size and against the time of one prediction.

        Parameters
        ----------
        ax : matplotlib Axes or two of them, default=None
            Where to draw. A single Axes, made by ``subplots``, is replaced by two. None: a new
            figure.
        score_name : str, default=None
            Column of the score. None: that of the display.
        errorbar_kw : dict, default=None
            Keyword arguments of ``ax.errorbar``.

        Returns
        -------
        display : DistillationDisplay
            The display, with the attributes of what was drawn.

        Notes
        -----
        A marker is a mean over folds and seeds, and a bar shows one standard error on either side
        (:class:`~sklearn_kd.inspection.DistillationReport`). Both students are fitted on the same
        folds, so the interval of the report says whether they differ, and overlapping bars do
        not. They are drawn a few points apart, because their sizes and speeds are about the same.
        A hollow marker is the compact file of the model to which a dotted line leads: its bytes,
        and the median time of a raw row. The horizontal axes have a tick for each marker, unless it
        would be close to another tick.
        """
        score_name = self.score_name if score_name is None else score_name
        terms = terms_of(self.frame)
        score_name = terms.shown if score_name is None else score_name
        check_columns(self.frame, ["model", "fold", "n_train", "n_test", *PANELS, score_name])
        models = [name for name in MODELS if (self.frame["model"] == name).any()]
        if not models:
            raise ValueError(f"the frame has no line of a model of {list(MODELS)}.")
        axes = two_axes(ax, type(self).__name__)
        from matplotlib.lines import Line2D
        from matplotlib.transforms import ScaledTranslation

        bars, hollow = [], []
        for panel, (column, label) in zip(axes, PANELS.items(), strict=True):
            panel.set_xscale("log")
            for name in models:
                lines = self.frame[self.frame["model"] == name]
                score, error, _ = over_folds(lines, score_name)
                marker, color, points = STYLES[name]
                style = {"marker": marker, "color": color, "label": terms.titles[name]}
                style |= {"capsize": 3}
                style |= {"linestyle": "none", **(errorbar_kw or {})}
                error = None if np.isnan(error) else [error]
                size = lines[column].mean()
                bars.append(panel.errorbar([size], [score], yerr=error, **style))
                artists = bars[-1].get_children()
                compact, unit = COMPACT[column]
                size_of_file = lines[compact].mean() / unit if compact in lines else np.nan
                if np.isfinite(size_of_file):
                    hollow += _hollow_marker(panel, size, size_of_file, bars[-1][0])
                    artists = [*artists, hollow[-1]]
                # shifted after drawing, since the limits of the axes ignore shifted artists
                offset = ScaledTranslation(points / 72, 0, panel.figure.dpi_scale_trans)
                for artist in artists:
                    artist.set_transform(panel.transData + offset)
            panel.margins(x=0.15)
            panel.set_xlabel(label)
            first, *others = (bar[0] for bar in bars[-len(models) :])
            files = [marker for marker in hollow if marker.axes is panel]
            _set_ticks(panel, [each.get_xdata()[-1] for each in (first, *files[::-1], *others)])
        name = name_of_score(score_name)
        axes[0].set_ylabel(f"{name[0].upper()}{name[1:]}{terms.direction(score_name)}")
        handles, labels = axes[0].get_legend_handles_labels()
        if hollow:
            style = {"marker": "o", "markerfacecolor": "none", "linestyle": ":"}
            handles.append(Line2D([], [], color="gray", **style))
            labels.append("its compact file")
        if ax is None:
            place = {"loc": "outside upper center", "ncols": len(labels)}
            axes[0].figure.legend(handles, labels, **place)
        else:
            axes[-1].legend(handles, labels)
        self.ax_, self.figure_, self.errorbar_ = axes, axes[0].figure, bars
        self.compact_ = hollow
        return self


def _hollow_marker(panel, size, size_of_file, filled):
    """Draw the marker of a compact file, at the end of a line from the marker of its model."""
    style = {"marker": filled.get_marker(), "color": filled.get_color(), "linestyle": ":"}
    style |= {"markerfacecolor": panel.get_facecolor(), "markevery": [1], "linewidth": 1}
    return panel.plot([size, size_of_file], filled.get_ydata()[[0, 0]], zorder=1.9, **style)


def _set_ticks(panel, values):
    """Replace the ticks of a horizontal log axis by the values, but for those near another one.

    The labels that matplotlib writes between powers of ten overlap.
    """
    start, end = np.log10(panel.get_xlim())
    ticks = []
    for value in filter(np.isfinite, values):
        distances = np.abs(np.log10(np.array(ticks) / value)) / (end - start)
        if (distances >= MIN_TICK_DISTANCE).all():
            ticks.append(value)
    panel.set_xticks(ticks, [f"{x:,.0f}" if x >= 100 else f"{x:.2g}" for x in ticks])
    panel.minorticks_off()
