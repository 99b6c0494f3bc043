"""Private implementation of :class:`sklearn_kd.inspection.CompressionCurveDisplay`."""

from inspect import Parameter, signature

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from sklearn_kd._tables.readable import check_readable
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.warnings import warn_caller, warning_scope
from sklearn_kd.export import smallest_within
from sklearn_kd.inspection._answers import answers_of
from sklearn_kd.inspection._compression_candidates import KEY, candidates_of
from sklearn_kd.inspection._compression_fits import CompressionFits
from sklearn_kd.inspection._curve_options import check_scorer, name_of_scoring, refuse_auto
from sklearn_kd.inspection._measurements import (
    check_distiller,
    evaluation_folds,
    evaluation_rows,
    refuse_class_weights,
)
from sklearn_kd.inspection._plotting import check_columns, pyplot, two_axes

#: Column, label of the horizontal axis and parameter of the limit of each panel.
PANELS = {
    "n_bytes": ("Compact file (bytes)", "max_bytes"),
    "microseconds": ("Median time of a raw row (µs)", "max_microseconds"),
}
#: Marker, line and fill of students by their labels.
STYLES = {
    "hard": {"marker": "s", "linestyle": ":", "markerfacecolor": "none", "linewidth": 1},
    "distilled": {"marker": "o", "linestyle": "-"},
}
TITLES = {"hard": "on hard labels", "distilled": "distilled"}
#: Scores are shown down to this multiple of the distance from the best one to the median, if the
#: worst one is more than twice as far.
SHOWN_RANGE = 4
#: Least ratio of the ends of a horizontal axis, so that small differences of times look small.
MIN_AXIS_RATIO = 5


class CompressionCurveDisplay:
    """Score of students of several families and sizes against the bytes and time of their files.

    Each student is written as a compact file (:func:`~sklearn_kd.export.compact`). The display
    shows which one to take within a budget of bytes and of microseconds. Use
    :meth:`from_estimator` to create it. The constructor takes the frame of an existing display, for
    instance to choose within another budget without a fit.

    Parameters
    ----------
    frame : DataFrame
        One line for each candidate and fold, with the columns of the attribute ``frame``. Lines of
        the teacher may be absent.
    estimators : dict, default=None
        Unfitted estimator of each candidate, by the tuple of ``student``, ``size`` and ``labels``.
    tolerance, by, max_bytes, max_microseconds
        How to choose, as for :meth:`from_estimator`.
    score_name : str, default=None
        Label of the vertical axis. None: "Score".

    Attributes
    ----------
    frame : DataFrame of shape (n_candidates * n_folds + n_folds, 8)
        Columns ``student`` (the family, or "teacher"), ``size`` (the parameters that vary within
        the family), ``labels`` ("hard", "distilled" or "teacher"), ``split`` (number of the fold,
        from 0), ``score`` (on the rows that the fold holds out, larger is better), ``n_bytes`` and
        ``microseconds`` (bytes of the compact file of this fit, and the median time in which it
        predicts a raw row with one thread, NaN for the teacher) and ``fit_seconds`` (without the
        labels for distilled students, and with them for the teacher).
    estimators : dict or None
        Unfitted estimator of each candidate. That of a student on hard labels is the student
        itself, and that of a distilled one is a DistilledClassifier or DistilledRegressor.
    table_ : DataFrame
        Means over folds, one line for each candidate from the smallest to the largest: ``student``,
        ``size``, ``labels``, ``score``, ``score_error`` (the standard error over folds),
        ``n_bytes``, ``microseconds`` and whether it is ``chosen``.
    best_params_ : dict or None
        ``student``, ``size`` and ``labels`` of the candidate that
        :func:`~sklearn_kd.export.smallest_within` chooses. None if no candidate is within the
        budget.
    best_estimator_ : estimator or None
        The estimator of this candidate, unfitted. None without ``estimators``.
    ax_ : ndarray of shape (2,) of matplotlib Axes
        Score against bytes, and score against microseconds.
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        A line for each family and kind of labels, on the first axes and then on the second.
    teacher_lines_ : list of matplotlib Line2D
        The score of the teacher on both axes. Empty without a teacher.
    best_marker_ : list of matplotlib Line2D
        Markers of the chosen candidate on both axes. Empty if there is none.

    See Also
    --------
    sklearn_kd.export.budget_scoring : The same measurements in a search.
    WidthCurveDisplay : Scores of networks against their width, with several seeds.

    Examples
    --------
    The best model of at most 3 kB, which is then fitted on all rows and written:

    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
    >>> from sklearn_kd.export import compact
    >>> from sklearn_kd.inspection import CompressionCurveDisplay
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> forest = RandomForestClassifier(50, random_state=0)
    >>> network = TwoLayerPGDClassifier(max_iter=50, encoder=None)
    >>> fixed = {"alpha": 0.5, "temperature": 1.0, "augmentation": None}
    >>> display = CompressionCurveDisplay.from_estimator(
    ...     DistilledClassifier(forest, network, **fixed), X, y,
    ...     widths=(4, 16), students=None, max_bytes=3000, scoring="neg_log_loss", cv=2,
    ... )
    >>> display.best_params_["size"]
    'width=4'
    >>> len(display.table_)
    4
    >>> model = display.best_estimator_.fit(X, y)
    >>> compact(model).n_bytes_ <= 3000
    True
    """

    __module__ = "sklearn_kd.inspection"

    def __init__(
        self,
        *,
        frame,
        estimators=None,
        tolerance="1 se",
        by="n_bytes",
        max_bytes=None,
        max_microseconds=None,
        score_name=None,
    ):
        self.frame = frame
        self.estimators = estimators
        self.tolerance = tolerance
        self.by = by
        self.max_bytes = max_bytes
        self.max_microseconds = max_microseconds
        self.score_name = score_name

    @classmethod
    @warning_scope()
    @numpy_inputs
    def from_estimator(  # noqa: PLR0913
        cls,
        estimator,
        X,
        y,
        *,
        widths=(2, 4, 8, 16, 32, 64),
        students="auto",
        max_bytes=None,
        max_microseconds=None,
        tolerance="1 se",
        by="n_bytes",
        scoring=None,
        cv=5,
        sample_weight=None,
        groups=None,
        n_jobs=None,
        random_state=0,
        verbose=0,
        ax=None,
        score_name=None,
        negate_score=False,
        line_kw=None,
    ):
        """Cross-validate students of several families and sizes, measure their files, and plot.

        In each fold the teacher is fitted and labels the rows once, for all students. Each student
        is fitted on hard labels and on these.

        Parameters
        ----------
        estimator : DistilledClassifier or DistilledRegressor
            How to distill, with a teacher, a network as the student and numbers as ``alpha`` and
            ``temperature``. It is cloned. If its ``random_state`` is None, it gets a seed.
        X : array-like or dataframe of shape (n_samples, n_features)
            Raw rows, as teacher and students take them.
        y : array-like of shape (n_samples,), or (n_samples, n_targets) for regressors
            Class labels or numbers.
        widths : int, array-like of int or None, default=(2, 4, 8, 16, 32, 64)
            Numbers of neurons of the student of ``estimator``, which are even and differ. None
            takes this student as it is, of whatever class.
        students : "auto", dict or None, default="auto"
            Other students. A dict has the name of each family and an unfitted estimator, or a
            pair of one and a parameter grid, for example
            ``{"tree": (DecisionTreeClassifier(), {"max_leaf_nodes": [8, 32]})}``. "auto" is

            - "boosted trees": ``HistGradientBoostingClassifier`` of 30, 60 and 100 rounds with 4
              and 8 leaves,
            - "tree": ``DecisionTreeClassifier`` of 8, 32 and 128 leaves,
            - "linear": ``LogisticRegression``,

            or the regressors of these kinds, with ``Ridge``, each behind a
            :class:`~sklearn_kd.TableEncoder`. For several targets there are no boosted trees, which
            predict one. None adds no others.
        max_bytes, max_microseconds : float, default=None
            Budget of the compact file, and of the median time in which it predicts a raw row here.
        tolerance : float or str, default="1 se"
            How much less than the best mean score within the budget is accepted for a smaller
            candidate, as for :func:`~sklearn_kd.export.smallest_within`. 0 takes the best score.
        by : {"n_bytes", "microseconds"}, default="n_bytes"
            Which size is to be small.
        scoring : str, callable or None, default=None
            One scorer, as for ``cross_val_score``. None: the accuracy, or R2 of regressors.
            "neg_log_loss" tells candidates apart with fewer rows than the accuracy.
        cv : int, splitter, iterable of splits or None, default=5
            A number of shuffled folds (None: 5), which are stratified by class, a splitter or
            explicit splits.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in fits and in scores. Rows of weight zero are left out.
        groups : array-like of shape (n_samples,), default=None
            Rows of one group stay together, as in
            :func:`~sklearn_kd.inspection.distillation_report`.
        n_jobs : int, default=None
            Number of fits in parallel. Times of rows are measured afterwards, one by one.
        random_state : int, RandomState instance or None, default=0
            Controls the folds, and the seed of ``estimator`` if it has none.
        verbose : int, default=0
            Above 0: print how many fits are done and how much time is left.
        ax : matplotlib Axes or two of them, default=None
            Where to draw. A single Axes, made by ``subplots``, is replaced by two. None: a new
            figure.
        score_name, negate_score, line_kw
            As for :meth:`plot`. If ``score_name`` is None, it is the name of ``scoring``.

        Returns
        -------
        display : CompressionCurveDisplay
            With the measurements in ``frame`` and in ``table_``, and the choice in
            ``best_estimator_``.

        Raises
        ------
        ImportError
            Before any training, if matplotlib is not installed.
        TypeError
            If the estimator, a student or an option is of another kind.
        ValueError
            For options that are invalid, or if ``alpha``, ``temperature`` or ``augmentation`` is
            "auto". If students stop early, with transfer rows and rows in time (folds of ``cv`` of
            the estimator that train on earlier rows than they test). Before any fit of a teacher,
            if a student cannot be written as a compact file.

        Warns
        -----
        UserWarning
            If no candidate is within the budget. The message names the smallest one.

        Notes
        -----
        The number of students is twice the number of sizes of all families, times the folds: 160
        with the defaults. Start with few (``widths=[4, 16], cv=2``) and with ``verbose=1``.

        The candidates are those of :class:`~sklearn.model_selection.GridSearchCV` with
        ``scoring=budget_scoring(scoring)`` and ``refit=smallest_within(...)`` over the student of
        ``estimator``, on the same folds, and the choice is the same, up to the noise of measured
        times. There each candidate would have its own fit of the teacher. Bytes differ a little
        between folds, and the file of the fit on all rows may have some more than the mean.

        The choice is made on the scores that are shown. The score of the chosen candidate is
        therefore a little optimistic.

        Examples
        --------
        See :class:`CompressionCurveDisplay`.
        """
        if ax is None:
            pyplot(cls.__name__)
        check_distiller(estimator, "estimator")
        refuse_class_weights(estimator, "estimator")
        refuse_auto(estimator)
        budget = _checked_budget(tolerance, by, max_bytes, max_microseconds)
        scorer = check_scorer(estimator, scoring)
        if sample_weight is not None:
            _check_takes_weights(scorer)
        answers = answers_of(estimator)
        data, used = evaluation_rows(X, y, sample_weight, groups, answers)
        rng = check_random_state(random_state)
        folds = evaluation_folds(cv, data, used, int(rng.randint(2**31 - 1)), answers)
        seed = int(rng.randint(2**31 - 1))
        estimator = clone(estimator)
        if estimator.random_state is None:
            estimator.set_params(random_state=seed)
        n_targets = data.y.shape[1] if data.y.ndim > 1 else 1
        candidates = candidates_of(estimator, widths, students, n_targets)
        check_readable("teacher", estimator._get_teacher(), data.X)
        for each in candidates:
            check_readable(f"student {each.family!r},", each.student, data.X)
        fits = CompressionFits(estimator, candidates, data, folds, scorer, n_jobs, verbose)
        frame = fits.measure()
        if score_name is None:
            score_name = name_of_scoring(scoring, negate_score, answers.score_name)
        estimators = {each.key: each.estimator for each in candidates}
        display = cls(frame=frame, estimators=estimators, score_name=score_name, **budget)
        return display.plot(ax, negate_score=negate_score, line_kw=line_kw)

    def plot(self, ax=None, *, score_name=None, negate_score=False, line_kw=None):
        """Choose a candidate, and draw the scores against bytes and microseconds.

        Parameters
        ----------
        ax : matplotlib Axes or two of them, default=None
            Where to draw. A single Axes, made by ``subplots``, is replaced by two. None: a new
            figure.
        score_name : str, default=None
            Label of the vertical axis. None: that of the display.
        negate_score : bool, default=False
            Whether to draw minus the scores. ``scoring="neg_log_loss"`` then shows the log loss.
        line_kw : dict, default=None
            Keyword arguments of ``ax.plot`` for the students.

        Returns
        -------
        display : CompressionCurveDisplay
            The display, with the choice and the attributes of what was drawn.

        Warns
        -----
        UserWarning
            If no candidate is within the budget.

        Notes
        -----
        Points are means over folds. The part of a panel beyond the budget is gray, and the dashed
        line is the teacher. Scores that are far worse than the median of all candidates are outside
        of the picture, which says how many. ``table_`` has all of them.
        """
        check_columns(self.frame, [*KEY, "split", "score", *PANELS])
        self._choose()
        axes = two_axes(ax, type(self).__name__, figsize=(10, 4.8))
        sign = -1 if negate_score else 1
        self.lines_, self.teacher_lines_, self.best_marker_ = [], [], []
        teacher = self.frame.loc[self.frame["labels"] == "teacher", "score"].mean()
        chosen = self.table_[self.table_["chosen"]]
        for panel, (column, (label, limit)) in zip(axes, PANELS.items(), strict=True):
            self.lines_ += self._draw_students(panel, column, sign, line_kw or {})
            if np.isfinite(teacher):
                style = {"color": "black", "linestyle": "--", "label": "teacher"}
                self.teacher_lines_.append(panel.axhline(sign * float(teacher), **style))
            if len(chosen):
                style = {"marker": "o", "markersize": 13, "markerfacecolor": "none"}
                style |= {"linestyle": "none", "color": "black", "markeredgewidth": 1.5}
                point = chosen[[column, "score"]].to_numpy() * [1, sign]
                self.best_marker_ += panel.plot(*point.T, label="chosen", zorder=3, **style)
            panel.set_xlabel(label)
            _scale_sizes(panel, self.table_[column], getattr(self, limit))
        _scale_scores(axes[0], self.table_["score"], teacher, sign)
        axes[0].set_ylabel(score_name or self.score_name or "Score")
        known = {}
        for panel in axes:
            known = dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True)) | known
        labels, handles = list(known), list(known.values())
        if ax is None:
            place = {"loc": "outside lower center", "ncols": -(-len(labels) // len(STYLES))}
            place |= {"fontsize": "small"}
            axes[0].figure.legend(handles, labels, **place)
        else:
            axes[-1].legend(handles, labels, fontsize="small")
        if self.best_params_ is not None:
            names = {**self.best_params_, "labels": TITLES[self.best_params_["labels"]]}
            said = ", ".join(filter(None, names.values()))
            axes[0].set_title(f"chosen: {said}", loc="left", fontsize="medium")
        self.ax_, self.figure_ = axes, axes[0].figure
        return self

    def _choose(self):
        """Make the table of the candidates, and choose one."""
        results, table = _search_results(self.frame)
        self.best_params_ = self.best_estimator_ = None
        choose = smallest_within(
            self.tolerance,
            by=self.by,
            max_bytes=self.max_bytes,
            max_microseconds=self.max_microseconds,
        )
        table["chosen"] = False
        try:
            best = choose(results)
        except ValueError as error:
            warn_caller(f"{error} No candidate is marked.", UserWarning)
        else:
            table.loc[best, "chosen"] = True
            self.best_params_ = results["params"][best]
            if self.estimators is not None:
                self.best_estimator_ = clone(self.estimators[tuple(self.best_params_.values())])
        order = np.lexsort((-table["score"], table["microseconds"], table["n_bytes"]))
        self.table_ = table.iloc[order].reset_index(drop=True)

    def _draw_students(self, panel, column, sign, line_kw):
        """Draw a line for each family and kind of labels, of one color for each family."""
        lines, families = [], list(dict.fromkeys(self.frame["student"]))
        families = [family for family in families if family != "teacher"]
        for number, family in enumerate(families):
            for labels, style in STYLES.items():
                is_own = (self.table_["student"] == family) & (self.table_["labels"] == labels)
                own = self.table_[is_own].sort_values(column)
                if not len(own):
                    continue
                style = {"color": f"C{number}", "label": f"{family}, {labels}", **style}
                lines += panel.plot(own[column], sign * own["score"], **{**style, **line_kw})
        return lines


def _scale_sizes(panel, sizes, limit):
    """Set the log axis of bytes or microseconds, and gray what is beyond a limit."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    ends = np.array([sizes.min(), sizes.max()])
    if limit is not None:
        ends = np.array([min(ends[0], limit), max(ends[1], limit)])
    middle = np.sqrt(ends.prod())
    ratio = max(1.3 * np.sqrt(ends[1] / ends[0]), np.sqrt(MIN_AXIS_RATIO))
    start, end = middle / ratio, middle * ratio
    panel.set_xscale("log")
    panel.set_xlim(start, end)
    if limit is not None:
        panel.axvspan(limit, end, color="0.9", zorder=0, label="beyond the budget")
    multiples = (1, 2, 5) if end / start < 300 else (1,)
    panel.xaxis.set_major_locator(LogLocator(subs=multiples))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def _scale_scores(panel, scores, teacher, sign):
    """Leave scores that are far below the others out, since the others would be one line."""
    best, median = scores.max(), scores.median()
    least = best - SHOWN_RANGE * (best - median)
    shown = [*scores[scores >= least], *([] if np.isnan(teacher) else [teacher])]
    n_outside = np.count_nonzero(scores < least)
    is_far = best - scores.min() > 2 * (best - least)  # otherwise there is room for all
    if not is_far or max(shown) == min(shown):
        return
    margin = 0.05 * (max(shown) - min(shown))
    panel.set_ylim(sorted([sign * (min(shown) - margin), sign * (max(shown) + margin)]))
    said = f"{n_outside} worse score{'s' * int(n_outside > 1)} outside"
    place = {"x": 0.98, "y": 0.02 if sign > 0 else 0.98, "s": said, "ha": "right"}
    place |= {"va": "bottom" if sign > 0 else "top", "transform": panel.transAxes}
    panel.text(**place, fontsize="small", color="0.4")


def _checked_budget(tolerance, by, max_bytes, max_microseconds):
    """Return the options of the choice, or raise an error for invalid ones."""
    budget = {"tolerance": tolerance, "by": by}
    budget |= {"max_bytes": max_bytes, "max_microseconds": max_microseconds}
    smallest_within(**budget)
    return budget


def _check_takes_weights(scorer):
    params = signature(scorer).parameters
    if "sample_weight" not in params and Parameter.VAR_KEYWORD not in {
        each.kind for each in params.values()
    }:
        raise TypeError(
            "sample_weight counts in the scores too, and scoring takes none: give it this "
            "parameter, or leave sample_weight out."
        )


def _search_results(frame):
    """Return the measurements as ``cv_results_`` of a search, and a table of the means."""
    import pandas as pd

    students = frame[frame["labels"] != "teacher"]
    # a family of one size has an empty text, which a file of comma-separated values lacks
    students = students.assign(size=students["size"].astype(object).fillna(""))
    if not len(students):
        raise ValueError("the frame has no lines of students.")
    keys = [tuple(key) for key in students[KEY].drop_duplicates().to_numpy()]
    if students.duplicated([*KEY, "split"]).any():
        raise ValueError("the frame has several lines of one candidate and split.")
    by_split = students.pivot(index=KEY, columns="split", values="score").loc[keys]
    sizes = students.groupby(KEY)[list(PANELS)].mean().loc[keys]
    scores = by_split.to_numpy(dtype=np.float64)
    results = {f"split{number}_test_score": values for number, values in enumerate(scores.T)}
    results |= {"params": [dict(zip(KEY, key, strict=True)) for key in keys]}
    results |= {"mean_test_score": scores.mean(axis=1), "std_test_score": scores.std(axis=1)}
    results |= {f"mean_test_{name}": sizes[name].to_numpy() for name in PANELS}
    table = pd.DataFrame(keys, columns=KEY).assign(
        score=results["mean_test_score"],
        score_error=results["std_test_score"] / np.sqrt(max(scores.shape[1] - 1, 1)),
        **{name: results[f"mean_test_{name}"] for name in PANELS},
    )
    return results, table
