"""Private implementation of :class:`sklearn_kd.inspection.WidthCurveDisplay`."""

from functools import partial
from inspect import signature

import joblib
import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline

from sklearn_kd._search.batched_grid_search import BatchedGridSearchCV
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.containers import own_copy
from sklearn_kd._utils.protocols import Distiller, JointStudent
from sklearn_kd._utils.sub_estimators import estimator_path, kind_of
from sklearn_kd.inspection._curve_options import (
    check_scorer,
    check_widths,
    is_integer,
    name_of_scoring,
    refuse_auto,
)
from sklearn_kd.inspection._plotting import check_columns, pyplot

COLUMNS = ["width", "labels", "seed", "split", "score"]


class WidthCurveDisplay:
    """Score of students on hard and on soft labels against their width, and of the teacher.

    Use :meth:`from_estimator` to create a display. The constructor takes the scores of existing
    displays, for instance of two runs together.

    Parameters
    ----------
    frame : DataFrame
        One line for each score, with the columns of the attribute ``frame``. Lines of the teacher
        may be absent.
    score_name : str, default=None
        Label of the vertical axis. None: "Score".

    Attributes
    ----------
    frame : DataFrame of shape (n_scores, 5)
        Columns ``width`` (neurons), ``labels`` ("hard", "soft" or "teacher"), ``seed`` (of the
        student), ``split`` (number of the fold, from 0) and ``score`` (on the rows that the fold
        holds out, larger is better). A teacher has one line for each fold, without width and seed.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        Lines of hard labels, soft labels and the teacher. Those that the frame lacks are left
        out.
    fill_between_ : list of matplotlib collections, or None
        Bands of hard and soft labels. None without bands.

    See Also
    --------
    sklearn.model_selection.ValidationCurveDisplay : For any parameter of any estimator.
    BatchedGridSearchCV : Trains the students of a split together.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
    >>> from sklearn_kd.inspection import WidthCurveDisplay
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> forest = RandomForestClassifier(50, random_state=0)
    >>> student = TwoLayerPGDClassifier(max_iter=50, encoder=None, random_state=0)
    >>> fixed = {"alpha": 0.5, "temperature": 1.0, "augmentation": None}
    >>> model = DistilledClassifier(forest, student, **fixed)
    >>> display = WidthCurveDisplay.from_estimator(
    ...     model, X, y, widths=[2, 4, 8], seeds=2, cv=2
    ... )
    >>> [line.get_label() for line in display.lines_]
    ['hard labels', 'soft labels', 'teacher']
    >>> display.frame.groupby("labels").size().to_dict()
    {'hard': 12, 'soft': 12, 'teacher': 2}
    >>> bool(display.frame["score"].min() > 0.85)
    True
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
        widths=(2, 4, 8, 16, 32, 64),
        seeds=5,
        cv=None,
        scoring=None,
        fit_params=None,
        groups=None,
        max_memory=None,
        verbose=0,
        ax=None,
        score_name=None,
        negate_score=False,
        std_display_style="fill_between",
        line_kw=None,
        fill_between_kw=None,
    ):
        """Cross-validate students of several widths on hard and on soft labels, and plot.

        In each fold the teacher is fitted once, and all students, of every width and seed and on
        both kinds of labels, train in the same matrix products. With transfer rows or
        ``X_unlabeled``, the students on hard labels train apart, and the teacher is fitted twice.

        Parameters
        ----------
        estimator : DistilledClassifier, DistilledRegressor or Pipeline that ends with one
            Its student is a TwoLayerPGDClassifier or TwoLayerPGDRegressor, or a pipeline that ends
            with one. Soft labels
            are those of its own ``alpha`` and ``temperature``. Hard labels are ``alpha=0``, the
            same student without the teacher, and so without transfer rows and ``X_unlabeled``. It
            is cloned.
        X : array-like or dataframe of shape (n_samples, n_features)
            Rows, as the estimator takes them.
        y : array-like of shape (n_samples,), or (n_samples, n_targets) for regressors
            Class labels or numbers.
        widths : int or array-like of int, default=(2, 4, 8, 16, 32, 64)
            Numbers of neurons of the students, which are even and differ.
        seeds : int or array-like of int, default=5
            ``random_state`` of the students. A number k stands for 0 to k - 1. Use several, since
            the score of a narrow network depends on its initial weights.
        cv : int, splitter, iterable of splits or None, default=None
            As for :func:`sklearn.model_selection.cross_val_score`. None: 5 folds, which are
            stratified by class.
            Teacher and students are scored on the same folds.
        scoring : str, callable or None, default=None
            One scorer, as for ``cross_val_score``. None: the accuracy, or R2 of regressors.
        fit_params : dict, default=None
            Metadata for ``fit``, such as ``sample_weight`` and ``soft_targets``, sliced with the
            rows. With ``soft_targets`` there is no line of a teacher.
        groups : array-like of shape (n_samples,), default=None
            Groups for a splitter ``cv`` that takes them. With metadata routing they are also those
            of the estimator in each fold.
        max_memory : float or None, default=None
            Memory in GiB that the students may use at a time. None: the free memory.
        verbose : int, default=0
            Above 0: print a line for each fold. See :class:`~sklearn_kd.BatchedGridSearchCV`.
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.
        score_name, negate_score, std_display_style, line_kw, fill_between_kw
            As for :meth:`plot`. If ``score_name`` is None, it is the name of ``scoring``.

        Returns
        -------
        display : WidthCurveDisplay
            With the scores in ``frame``.

        Raises
        ------
        ImportError
            Before any training, if matplotlib is not installed.
        TypeError
            If the estimator or the student is of another kind, or for several scorers.
        ValueError
            If widths or seeds are invalid, if ``alpha`` is 0 (soft labels would be hard labels),
            or if ``alpha``, ``temperature`` or ``augmentation`` is "auto".

        Notes
        -----
        The number of students is 2 x widths x seeds x folds, 300 with the defaults. Start with few
        of each (``widths=[4, 16], seeds=1, cv=2``) and with ``verbose=1``.

        The seeds are those of the students only. If the teacher or the folds are random, set their
        ``random_state`` too to make the figure reproducible. With full-batch training, each score
        is that of a student trained alone with the same teacher. With minibatches (more than 1,000
        rows), students of different seeds share the order of rows and the validation rows of early
        stopping.

        Examples
        --------
        See :class:`WidthCurveDisplay`.
        """
        if ax is None:
            pyplot(cls.__name__)
        _check_style(std_display_style)
        estimator, names = _check_distilled_network(estimator)
        widths, seeds = check_widths(widths), _check_seeds(seeds)
        scorer = _Scores(check_scorer(estimator, scoring))
        params = estimator.get_params()
        alphas = {"hard": 0.0, "soft": params[names["alpha"]]}
        grid = {names["width"]: widths, names["random_state"]: seeds}
        make_search = partial(
            BatchedGridSearchCV,
            scoring=scorer,
            refit=False,
            error_score="raise",
            share_minibatches=True,
            max_memory=max_memory,
            verbose=verbose,
        )
        fit_params = dict(fit_params or {}, **({} if groups is None else {"groups": groups}))
        own = {key: fit_params[key] for key in fit_params if not key.endswith("X_unlabeled")}
        if params[names["augmentation"]] is None and len(own) == len(fit_params):
            grid[names["alpha"]] = list(alphas.values())
            search = make_search(estimator, grid, cv=cv).fit(X, y, **fit_params)
            searches = dict.fromkeys(alphas, search)
        else:  # the teacher labels other rows than those of y
            cv = check_cv(cv, y, classifier=is_classifier(estimator))
            cv, searches = list(cv.split(X, y, fit_params.get("groups"))), {}
            plain = clone(estimator).set_params(**{names["augmentation"]: None})
            for labels, each, metadata in (("hard", plain, own), ("soft", estimator, fit_params)):
                search = make_search(each, {names["alpha"]: [alphas[labels]], **grid}, cv=cv)
                searches[labels] = search.fit(X, y, **metadata)
        if score_name is None:
            default = "r2" if kind_of(estimator) == "regressor" else "accuracy"
            score_name = name_of_scoring(scoring, negate_score, default)
        display = cls(frame=_score_frame(searches, names, alphas), score_name=score_name)
        return display.plot(
            ax,
            negate_score=negate_score,
            std_display_style=std_display_style,
            line_kw=line_kw,
            fill_between_kw=fill_between_kw,
        )

    def plot(
        self,
        ax=None,
        *,
        score_name=None,
        negate_score=False,
        std_display_style="fill_between",
        line_kw=None,
        fill_between_kw=None,
    ):
        """Draw the mean over seeds and folds against the width, and the teacher's as a line.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.
        score_name : str, default=None
            Label of the vertical axis. None: that of the display.
        negate_score : bool, default=False
            Whether to draw minus the scores. ``scoring="neg_log_loss"`` then shows the log loss.
        std_display_style : "fill_between" or None, default="fill_between"
            Draw a band of one standard deviation over seeds (of means over folds, with n - 1) on
            either side of the mean. There is no band for None or for a single seed.
        line_kw : dict, default=None
            Keyword arguments of ``ax.plot`` for hard and soft labels.
        fill_between_kw : dict, default=None
            Keyword arguments of ``ax.fill_between``.

        Returns
        -------
        display : WidthCurveDisplay
            The display, with the attributes of what was drawn.
        """
        _check_style(std_display_style)
        check_columns(self.frame, COLUMNS)
        students = self.frame[self.frame["labels"].isin(["hard", "soft"])]
        if not len(students):
            raise ValueError("the frame has no scores of students on 'hard' or 'soft' labels.")
        if ax is None:
            _, ax = pyplot(type(self).__name__).subplots()

        sign = -1 if negate_score else 1
        lines, bands = [], []
        for labels, marker in (("hard", "s"), ("soft", "o")):
            scores = students[students["labels"] == labels]
            if not len(scores):
                continue
            by_seed = sign * scores.groupby(["width", "seed"])["score"].mean().unstack("seed")
            widths = by_seed.index.to_numpy(dtype=float)
            mean = by_seed.mean(axis=1).to_numpy(dtype=float)
            style = {"marker": marker, "label": f"{labels} labels", **(line_kw or {})}
            lines += ax.plot(widths, mean, **style)
            if std_display_style is None or by_seed.shape[1] < 2:
                continue
            std = by_seed.std(axis=1).to_numpy(dtype=float)
            style = {"alpha": 0.25, "color": lines[-1].get_color(), "linewidth": 0}
            style |= fill_between_kw or {}
            bands.append(ax.fill_between(widths, mean - std, mean + std, **style))
        teacher = self.frame.loc[self.frame["labels"] == "teacher", "score"]
        if len(teacher):
            level = sign * float(teacher.mean())
            lines.append(ax.axhline(level, color="black", linestyle="--", label="teacher"))

        ticks = np.unique(students["width"].to_numpy(dtype=int))
        ax.set_xscale("log", base=2)
        ax.set_xticks(ticks, [str(width) for width in ticks])
        ax.minorticks_off()
        ax.set_xlabel("Width of the student (neurons)")
        ax.set_ylabel(score_name or self.score_name or "Score")
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        self.lines_, self.fill_between_ = lines, bands or None
        return self


def _check_style(style):
    if style not in ("fill_between", None):
        raise ValueError(f"std_display_style must be 'fill_between' or None, got {style!r}.")


def _check_distilled_network(estimator):
    """Return a clone with an explicit student, and the names of its varied parameters."""
    if isinstance(estimator, type):
        raise TypeError(f"estimator must be an instance; got the class {estimator.__name__}.")
    path = list(estimator_path(estimator))
    metas = [(prefix, each) for prefix, each in path if isinstance(each, Distiller)]
    student_prefix, student = path[-1]
    if len(metas) != 1 or not isinstance(student, JointStudent):
        found = " > ".join(type(each).__name__ for _, each in path)
        raise TypeError(
            "estimator must be a DistilledClassifier, or a Pipeline that ends with one, whose "
            "student is a TwoLayerPGDClassifier, or a Pipeline that ends with one; got "
            f"{found}."
        )
    prefix, meta = metas[0]
    estimator = clone(estimator)
    if meta.student is None:
        estimator.set_params(**{f"{prefix}student": student})
    refuse_auto(meta, prefix)
    names = {name: f"{student_prefix}{name}" for name in ("width", "random_state")}
    return estimator, {name: f"{prefix}{name}" for name in ("alpha", "augmentation")} | names


def _check_seeds(seeds):
    if is_integer(seeds) and seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}.")
    values = list(range(seeds)) if is_integer(seeds) else seeds
    if np.ndim(values) != 1 or not all(is_integer(seed) and seed >= 0 for seed in values):
        raise ValueError(
            f"seeds must be a number of seeds or a list of non-negative integers, got {seeds!r}."
        )
    values = [int(seed) for seed in values]
    if not values or len(set(values)) < len(values):
        raise ValueError(f"seeds must differ and be one at least, got {values}.")
    return values


class _Scores:
    """Scorer of a student and of its teacher.

    The students of a fold share their teacher, which is scored once.
    """

    def __init__(self, scorer):
        self.scorer = scorer
        # (teacher, its score) by the id of the teacher, which is kept so that its id stays unique
        self.teacher_scores = {}

    def _accept_sample_weight(self):
        # searches call this before they pass weights on
        accepts = getattr(self.scorer, "_accept_sample_weight", None)
        return (
            "sample_weight" in signature(self.scorer).parameters if accepts is None else accepts()
        )

    def __call__(self, estimator, X, y, **weights):
        # the teacher predicts the same rows, into which a step may write
        scores = {"student": self.scorer(estimator, own_copy(X), y, **weights)}
        *pipelines, distilled = (
            each for _, each in estimator_path(estimator, into_distillers=False)
        )
        steps = [step for pipeline in pipelines for step in pipeline.steps[:-1]]
        if not hasattr(distilled, "teacher_"):
            return scores
        teacher = distilled.teacher_
        # a frozen teacher is the same one in every fold
        frozen = isinstance(teacher, FrozenEstimator)
        key = id(teacher), joblib.hash((X, y)) if frozen else None
        if key not in self.teacher_scores:
            named = [(f"{number}-{name}", step) for number, (name, step) in enumerate(steps)]
            model = Pipeline([*named, ("teacher", teacher)]) if steps else teacher
            try:
                self.teacher_scores[key] = teacher, self.scorer(model, X, y, **weights)
            except AttributeError as error:
                raise ValueError(
                    f"the teacher, {type(teacher).__name__}, cannot be scored by this scoring "
                    f"({error}); choose another one."
                ) from error
        return scores | {"teacher": self.teacher_scores[key][1]}


def _score_frame(searches, names, alphas):
    """Return the scores of the searches over students on hard and on soft labels, one a line."""
    import pandas as pd

    records, n_splits = [], searches["soft"].n_splits_
    for labels, alpha in alphas.items():
        results = searches[labels].cv_results_
        for number, params in enumerate(results["params"]):
            if params[names["alpha"]] != alpha:
                continue
            for split in range(n_splits):
                score = results[f"split{split}_test_student"][number]
                seed = params[names["random_state"]]
                records.append((params[names["width"]], labels, seed, split, score))
    results = searches["soft"].cv_results_
    for split in range(n_splits):
        if f"split{split}_test_teacher" in results:
            score = results[f"split{split}_test_teacher"][0]
            records.append((None, "teacher", None, split, score))
    frame = pd.DataFrame(records, columns=COLUMNS)
    return frame.astype({"width": "Int64", "seed": "Int64"})
