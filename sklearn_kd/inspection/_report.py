"""Private implementation of :func:`sklearn_kd.inspection.distillation_report`."""

from numbers import Real

import numpy as np
from scipy.stats import t as student_t
from sklearn.base import clone
from sklearn.utils import check_scalar

from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.warnings import warning_scope
from sklearn_kd.inspection._answers import answers_of, default_distiller
from sklearn_kd.inspection._distillation_display import DistillationDisplay
from sklearn_kd.inspection._measurements import (
    COSTS,
    MODELS,
    REFUSAL,
    MeasurementOptions,
    check_distiller,
    measure_folds,
    over_folds,
    refuse_class_weights,
)
from sklearn_kd.inspection._plotting import check_columns
from sklearn_kd.inspection._result_text import html_of_result, text_of_result
from sklearn_kd.inspection._scores import name_of_score, terms_of
from sklearn_kd.inspection._subgroups import MEASURES, notable_lines

REQUIRED_COLUMNS = ["model", "fold", "seed", "n_train", "n_test"]
#: Headings and formats of the costs in the printed table.
PRINTED_COSTS = {
    "bytes": ("bytes", "{:,.0f}"),
    "compact_bytes": ("compact", "{:,.0f}"),
    "latency_p50_ms": ("p50 (ms)", "{:.3g}"),
    "compact_latency_us": ("compact (us)", "{:.3g}"),
    "rows_per_second": ("rows/s", "{:,.0f}"),
}
#: Most lines of subgroups that are printed.
MAX_NOTABLE = 8


class DistillationReport:
    r"""Scores, size and speed of teacher, student on hard labels and distilled student.

    Models are classifiers or regressors. Of regressors the hard labels are the targets y.

    Use :func:`distillation_report` to create a report. The constructor takes the frame of an
    existing report, for instance to decide by another score.

    Parameters
    ----------
    frame : DataFrame
        One line for each model, fold and seed, with the columns of the attribute ``frame``. The
        columns ``model``, ``fold``, ``seed``, ``n_train``, ``n_test`` and the score that decides
        are required, and the models "hard" and "distilled". The model "teacher" may be absent.
    decide_by : str or None, default=None
        The score that decides: "log_loss" (the default for classifiers), "accuracy",
        "balanced_accuracy", "roc_auc" or "average_precision", and of regressors "rmse" (the
        default), "r2", "mae" or, if they predict quantiles, "pinball_loss" (then the default).
    margin : float or None, default=None
        Smallest difference in ``decide_by`` considered practically relevant, in the units of that
        score. None: 0.005, or for the log loss and for losses of regressors 1 % of that of the
        student on hard labels.
    disagreement : DataFrame or None, default=None
        That of an existing report.

    Attributes
    ----------
    frame : DataFrame of shape (n_lines, n_columns)
        Columns ``model`` ("teacher", "hard" or "distilled"), ``fold`` (from 0) and ``seed``. Scores
        of classifiers on the test rows of the fold are

        - ``accuracy`` and ``balanced_accuracy`` (mean recall of the classes of the test rows);
        - ``log_loss`` in nats, over all classes of y and of a frozen teacher
          (:func:`sklearn.metrics.log_loss`);
        - ``roc_auc``, the macro average of one class against the rest, which is NaN if the test
          rows lack a class;
        - ``average_precision``, the macro average, or for two classes that of the rarer class (the
          second one if both are equally frequent), which is NaN if the test rows lack a class;
        - ``calibration_error`` (:func:`~sklearn_kd.metrics.expected_calibration_error`);
        - ``agreement`` and ``fidelity`` with the teacher.

        Scores of regressors, which for several targets are means over these, are

        - ``r2`` (:func:`sklearn.metrics.r2_score`), ``rmse`` and ``mae``, the root mean squared and
          the mean absolute error in units of y;
        - ``fidelity``, R2 of the predictions with those of the teacher in place of y;
        - if the distilled student predicts quantiles, ``pinball_loss``, the mean over its levels
          (:func:`sklearn.metrics.mean_pinball_loss`), ``coverage``, the share of the rows whose y
          is between the lowest and the highest quantile, and ``interval_width``, the mean distance
          of these two.

        Costs are

        - ``bytes`` (length of the pickle without loss curves and the like, for the distilled model
          that of ``without_teacher(keep_history=False)``);
        - ``compact_bytes``, the length of the file that :func:`~sklearn_kd.export.compact` writes
          (float32), which is NaN for a model that cannot be written;
        - ``latency_p50_ms`` and ``latency_p99_ms`` (milliseconds to predict a single row);
        - ``rows_per_second`` (test rows predicted at once, at most 10,000);
        - ``compact_latency_us``, the median microseconds in which the compact file predicts a raw
          row, with one thread;
        - ``fit_seconds`` (for the distilled model with teacher and labels, and NaN for the teacher,
          which is fitted as a part of it).

        Other columns are ``n_train`` and ``n_test``, of the distilled model ``alpha``,
        ``temperature`` (classifiers only), ``label_source`` and, if it creates rows,
        ``n_augmented``, and, if there are models without a compact file, ``compact_refusal``, the
        reason.
    decide_by : str
        The score that decided.
    margin : float
        The margin that was used.
    difference : float
        Mean of the score of the distilled student minus that of the student on hard labels.
    interval : tuple of float
        The 95 % confidence interval (low, high) of the difference. It is infinite for one fold.
    n_folds : int
        Number of folds that have the score.
    decision : {"worth it", "not worth it", "undecided"}
        - "worth it": the whole interval is an improvement, and part of it exceeds ``margin``;
        - "not worth it": the whole interval is a deterioration, or all of it is within
          ``margin`` of zero;
        - "undecided": neither of both.
    recovered : float
        Share of the teacher's lead over the student on hard labels that distillation recovers. It
        is NaN if that lead is not above ``margin``.
    bytes_ratio, latency_ratio : float
        Size and median latency of the distilled student divided by those of the teacher. They are
        NaN if they were not measured.
    compact_bytes_ratio, compact_latency_ratio : float
        The same of the compact files. They are NaN if one of the two cannot be written.
    verdict : str
        The decision as a sentence with numbers.
    summary : DataFrame of shape (n_models, 2 * n_measures)
        One line for each model, with the columns (measure, "mean") and (measure, "standard
        error").
    disagreement : DataFrame of shape (n_lines, 11) or None
        How often the distilled student and its teacher predict different labels, for all rows (the
        first line), each true class, each subgroup that was passed and each class in a subgroup.
        Columns ``subgroup`` and ``class`` (None for all), ``n_rows``, the share ``disagreement`` of
        rows with different labels, and the accuracies ``teacher``, ``hard`` and ``distilled``, all
        on test rows, and their standard errors over folds (``disagreement_error`` and so on). Of
        regressors, ``disagreement`` is the mean absolute difference between student and teacher,
        ``teacher``, ``hard`` and ``distilled`` are mean absolute errors, and there are no classes.
        Lines with clearly more disagreement than all rows are printed with the report.

    See Also
    --------
    sklearn_kd.inspection.DistillationDisplay : Plot of the score against size and speed.

    Notes
    -----
    With the difference :math:`d_j` of fold j, mean over the seeds, J folds and their variance
    :math:`s^2`, the interval is

    .. math:: \bar d \pm t_{J - 1, 0.975} \sqrt{\Big(\frac{1}{J}
              + \frac{n_{test}}{n_{train}}\Big) s^2}

    of the corrected resampled t-test of [1]_. Folds share training rows, so that the :math:`d_j`
    are correlated and :math:`s^2 / J` is too small. With equal correlations :math:`\rho` the
    variance of the mean is :math:`\sigma^2 (1 / J + (1 - 1 / J) \rho)`, and :math:`s^2` estimates
    :math:`\sigma^2 (1 - \rho)`. Their ratio is :math:`1 / J + \rho / (1 - \rho)`, which is the
    factor above for the estimate :math:`\rho = n_{test} / (n_{test} + n_{train})` of [1]_. Fits of
    several seeds on one fold share all their rows and are more similar than that, so that they
    count as one observation. More seeds reduce the noise of each :math:`d_j`, and only more folds
    increase J. The folds of a repeated splitter count as folds, as in [2]_. The same formula gives
    the standard errors of ``summary``, for means over folds of a single model.

    References
    ----------
    .. [1] C. Nadeau, Y. Bengio (2003). Inference for the generalization error. Machine Learning
       52, 239-281.
    .. [2] R. Bouckaert, E. Frank (2004). Evaluating the replicability of significance tests for
       comparing learning algorithms. PAKDD, LNCS 3056, 3-12.

    Examples
    --------
    Accuracies on three folds, with one seed:

    >>> import pandas as pd
    >>> from sklearn_kd.inspection import DistillationReport
    >>> scores = {"hard": [0.80, 0.82, 0.81], "distilled": [0.86, 0.88, 0.86]}
    >>> frame = pd.DataFrame(
    ...     [
    ...         {"model": model, "fold": fold, "seed": 0, "accuracy": accuracy}
    ...         for model in scores
    ...         for fold, accuracy in enumerate(scores[model])
    ...     ]
    ... ).assign(n_train=200, n_test=100)
    >>> report = DistillationReport(frame, decide_by="accuracy")
    >>> report.decision
    'worth it'
    >>> [round(end, 4) for end in report.interval]
    [0.034, 0.0793]
    """

    __module__ = "sklearn_kd.inspection"

    def __init__(self, frame, *, decide_by=None, margin=None, disagreement=None):
        self.frame = frame
        if decide_by is None:
            decide_by = self._terms.default(frame)
        _check_decision(self._terms, decide_by, margin)
        check_columns(frame, [*REQUIRED_COLUMNS, decide_by])
        self.disagreement = disagreement
        self.decide_by = decide_by
        differences = _differences(frame, decide_by)
        self.difference, error, self.n_folds = over_folds(differences, "difference")
        if not self.n_folds:
            raise ValueError(
                f"no fold has a {decide_by} of both students: decide by another score, such as "
                f"decide_by={self._terms.shown!r}."
            )
        self.interval = (-np.inf, np.inf)
        if self.n_folds > 1:
            half = float(student_t.ppf(0.975, self.n_folds - 1)) * error
            self.interval = self.difference - half, self.difference + half

        levels = {name: over_folds(self._lines(name), decide_by)[0] for name in MODELS}
        # only the folds that have the difference
        kept = differences.loc[differences["difference"].notna(), ["hard", "distilled", "fold"]]
        levels |= {name: kept.groupby("fold")[name].mean().mean() for name in ("hard", "distilled")}
        if margin is None:
            margin = self._terms.margin(decide_by, levels["hard"])
        self.margin = float(margin)
        self.decision = self._decide()
        sign = 1 if self._is_gain() else -1
        lead = sign * (levels["teacher"] - levels["hard"])
        self.recovered = sign * self.difference / lead if lead > self.margin else np.nan
        self.bytes_ratio, self.latency_ratio = map(self._ratio, ("bytes", "latency_p50_ms"))
        self.compact_bytes_ratio = self._ratio("compact_bytes")
        self.compact_latency_ratio = self._ratio("compact_latency_us")
        self.summary = self._summary()
        self.verdict = self._verdict(levels, lead)

    @property
    def _terms(self):
        return terms_of(self.frame)

    def _is_gain(self):
        """Return whether a higher score is better."""
        return self._terms.higher_is_better[self.decide_by]

    def _text(self, value, sign=""):
        """Return a value of the score that decides as a text."""
        return self._terms.text(self.decide_by, value, sign)

    def _lines(self, name):
        return self.frame[self.frame["model"] == name]

    def _decide(self):
        low, high = self.interval
        good_low, good_high = (low, high) if self._is_gain() else (-high, -low)
        # first, since a gain within the margin is not worth it, however certain it is
        if good_high < 0 or max(-good_low, good_high) <= self.margin:
            return "not worth it"
        return "worth it" if good_low > 0 else "undecided"

    def _ratio(self, column):
        """Return a cost of the distilled student divided by the teacher's, NaN without any."""
        if column not in self.frame:
            return np.nan
        means = [self._lines(name)[column].mean() for name in ("distilled", "teacher")]
        return float(means[0] / means[1])

    def _summary(self):
        import pandas as pd

        names = [*self._terms.higher_is_better, *COSTS]
        columns = [name for name in names if name in self.frame]
        models = [name for name in MODELS if len(self._lines(name))]
        lines = {}
        for model in models:
            values = {column: over_folds(self._lines(model), column)[:2] for column in columns}
            lines[model] = [number for pair in values.values() for number in pair]
        heads = pd.MultiIndex.from_product([columns, ["mean", "standard error"]])
        summary = pd.DataFrame.from_dict(lines, orient="index", columns=heads)
        return summary.rename_axis("model")

    def _verdict(self, levels, lead):
        name, text_of = name_of_score(self.decide_by), self._text
        (low, high), margin = self.interval, f"the margin of {text_of(self.margin)}"
        n_folds, n_seeds = (self.frame[column].nunique() for column in ("fold", "seed"))
        folds = f"{n_folds} fold{'s' * (n_folds > 1)}"
        if self.n_folds < n_folds:
            folds = f"{self.n_folds} of {folds}, since the others have no {name}"
        better = "higher" if self._is_gain() else "lower"
        text = (
            f"{self.decision.capitalize()}: distillation changes the {name} of the student from "
            f"{text_of(levels['hard'])} to {text_of(levels['distilled'])}, a difference of "
            f"{text_of(self.difference, '+')} (95 % interval {text_of(low, '+')} to "
            f"{text_of(high, '+')}; {folds}, {n_seeds} seed{'s' * (n_seeds > 1)}; {better} is "
            "better)"
        )
        if self.n_folds < 2:
            text += ". There is no interval for one fold, so set cv to at least two folds"
        elif self.decision == "undecided":
            text += (
                f". The interval contains zero and exceeds {margin}, so that more rows or folds "
                "are needed to decide"
            )
        elif max(abs(low), abs(high)) <= self.margin:
            text += f". The whole interval is within {margin}"
        text += "."
        if np.isfinite(self.recovered):
            text += (
                f" That is {100 * self.recovered:.0f} % of the lead of the teacher, whose {name} "
                f"is {text_of(levels['teacher'])}."
            )
        elif np.isfinite(lead):
            some = "no lead" if lead <= 0 else f"a lead within {margin}"
            text += f" The teacher, with {text_of(levels['teacher'])}, has {some} to recover."
        elif len(self._lines("teacher")):
            text += f" The teacher has no {name}."
        costs = [
            f"{_times(ratio)} the {what}"
            for ratio, what in ((self.bytes_ratio, "bytes"), (self.latency_ratio, "latency"))
            if np.isfinite(ratio)
        ]
        if costs:
            text += f" The distilled student has {' and '.join(costs)} of the teacher."
        return text + self._files()

    def _files(self):
        """Return sentences on the bytes of the files of teacher and distilled student."""
        if not {"bytes", "compact_bytes"} <= set(self.frame):
            return ""
        text = ""
        titles = self._terms.titles
        for name in ("distilled", "teacher"):
            means = self._lines(name)[["bytes", "compact_bytes"]].mean()
            if np.isfinite(means["bytes"]):
                text += f" The {titles[name]} takes a pickle of {means['bytes']:,.0f} bytes"
                if np.isfinite(means["compact_bytes"]):
                    text += f" and a compact file of {means['compact_bytes']:,.0f} bytes"
                text += "."
        refusals = self.frame[REFUSAL].dropna() if REFUSAL in self.frame else []
        models = self.frame["model"]
        by_reason = {}
        for name in MODELS:
            for reason in refusals[models == name][:1] if len(refusals) else ():
                by_reason.setdefault(reason, []).append(f"the {titles[name]}")
        for reason, names in by_reason.items():
            text += f" There is no compact file of {' and '.join(names)}: {reason}."
        return text

    def plot(self, ax=None, *, score_name=None, errorbar_kw=None):
        """Draw a score against size and speed.

        Parameters
        ----------
        ax : matplotlib Axes or two of them, default=None
            As for :meth:`DistillationDisplay.plot`.
        score_name : str, default=None
            Column of the frame. None: the score that decided.
        errorbar_kw : dict, default=None
            Keyword arguments of ``ax.errorbar``.

        Returns
        -------
        display : DistillationDisplay
            With the frame of the report.
        """
        score_name = self.decide_by if score_name is None else score_name
        display = DistillationDisplay(frame=self.frame, score_name=score_name)
        return display.plot(ax, errorbar_kw=errorbar_kw)

    def _table(self):
        """Return the scores and costs that are printed, one line for each model."""
        import pandas as pd

        table = {}
        scores = self._terms.printed
        for name, (heading, form) in (scores | PRINTED_COSTS).items():
            always = self._terms.always_printed | PRINTED_COSTS.keys()
            if name not in self.summary or name not in (self.decide_by, *always):
                continue
            pairs = self.summary[name].to_numpy()
            table[heading] = [
                form.format(mean) + (f" +- {form.format(error)}" if name in scores else "")
                for mean, error in pairs
            ]
        return pd.DataFrame(table, index=list(self.summary.index))

    def _notable(self):
        """Return a sentence on notable disagreement and its lines.

        Without notable lines, these are None, and so is all without subgroups.
        """
        if self.disagreement is None:
            return None
        terms = self._terms.difference
        lines = notable_lines(self.disagreement, terms)
        start = terms.start.format(terms.amount(self.disagreement["disagreement"].iloc[0]))
        if not len(lines):
            unknown = self.disagreement["disagreement_error"].isna().all()  # of a single fold
            if unknown or self.disagreement["subgroup"].isna().all():
                return None
            return f"{start}{terms.none}", None
        keys = list(terms.keys)
        table = lines[[*keys, "n_rows"]].fillna("all").astype(str)
        for name in MEASURES:
            error, form = lines[f"{name}_error"], terms.form.format
            table[name] = [
                f"{form(mean)} +- {form(spread)}"
                for mean, spread in zip(lines[name], error, strict=True)
            ]
        shown = f", of which the first {MAX_NOTABLE} are shown" if len(lines) > MAX_NOTABLE else ""
        return f"{start}{terms.some}{shown}:", table[:MAX_NOTABLE].set_index(keys)

    def __repr__(self):
        notable = self._notable()
        text = text_of_result(self.verdict, self._table())
        return text if notable is None else f"{text}\n\n{text_of_result(*notable)}"

    def _repr_html_(self):
        notable = self._notable()
        text = html_of_result(self.verdict, self._table())
        return text if notable is None else f"{text}\n{html_of_result(*notable)}"


def _check_decision(terms, decide_by, margin):
    terms.check_decisive(decide_by)
    if margin is not None:
        check_scalar(margin, "margin", Real, min_val=0)


def _differences(frame, column):
    """Return the scores of both students and their difference for each fold and seed."""
    import pandas as pd

    sides = {}
    for name in ("hard", "distilled"):
        lines = frame[frame["model"] == name]
        sides[name] = lines.set_index(["fold", "seed"])
        if not (len(lines) and sides[name].index.is_unique):
            raise ValueError(
                f"the frame must have one line of the model {name!r} for each fold and seed."
            )
    hard, distilled = sides["hard"], sides["distilled"]
    if set(hard.index) != set(distilled.index):
        raise ValueError(
            "the models 'hard' and 'distilled' of the frame must have the same folds and seeds."
        )
    distilled = distilled.loc[hard.index]
    both = {"hard": hard[column].astype(float), "distilled": distilled[column].astype(float)}
    paired = pd.DataFrame(both).assign(n_train=hard["n_train"], n_test=hard["n_test"])
    paired["difference"] = paired["distilled"] - paired["hard"]
    return paired.reset_index()


def _times(ratio):
    """Return a ratio of costs in words."""
    if ratio <= 0.5:
        return f"1/{1 / ratio:,.0f} of"
    return f"{ratio:.2g} times"


@warning_scope()
@numpy_inputs
def distillation_report(  # noqa: PLR0913
    teacher,
    student,
    X,
    y,
    *,
    cv=5,
    n_seeds=5,
    sample_weight=None,
    groups=None,
    subgroups=None,
    distiller=None,
    decide_by=None,
    margin=None,
    n_latency="auto",
    n_jobs=None,
    random_state=0,
    verbose=0,
):
    """Measure scores, size and speed of a distilled student, and whether it is worth it.

    On each fold and seed three models are fitted on the same rows: the teacher, the student on
    hard labels, and the student distilled from the teacher. The verdict compares both students.

    Parameters
    ----------
    teacher : classifier, regressor or None
        As for :class:`~sklearn_kd.DistilledClassifier` or :class:`~sklearn_kd.DistilledRegressor`.
        None: that of ``distiller``, or its
        default. A teacher inside :class:`sklearn.frozen.FrozenEstimator` is not fitted. It must
        not have been fitted on rows of X, or its scores and those of the distilled student are
        optimistic.
    student : classifier, regressor or None
        As for the teacher. If neither is given, and no ``distiller``, they are classifiers.
    X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
        Rows, passed on unchanged. Teacher and student may be pipelines that take a raw frame.
    y : array-like of shape (n_samples,), or (n_samples, n_targets) for regressors
        Class labels or numbers.
    cv : int, splitter, iterable of splits or None, default=5
        A number of shuffled folds (None: 5), which are stratified by class, a splitter or explicit
        splits. Use more
        folds if the verdict is "undecided", for instance 10 or a
        :class:`sklearn.model_selection.RepeatedStratifiedKFold`.
    n_seeds : int, default=5
        Fits on each fold. Students with random initial weights may differ more between seeds than
        distillation changes them. One seed is enough if teacher and student are deterministic.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows in fits and in scores. Rows of weight zero are left out.
    groups : array-like of shape (n_samples,), default=None
        Rows of one group stay together in the folds, if ``cv`` is a number or a splitter that takes
        groups, and in the fits of the distilled model and of students that take groups.
    subgroups : str, list of str, array-like of shape (n_samples,), DataFrame or None, default=None
        Subgroups of rows for ``disagreement`` of the report, such as regions or sexes: names of
        columns of X, a label for each row, or several of these as a DataFrame, with at most 50
        different values each. They have no effect on folds and fits.
    distiller : DistilledClassifier or DistilledRegressor, default=None
        How to distill, with ``alpha``, ``temperature``, ``cv`` and its other parameters. It is
        cloned, with the teacher and student given here and the seed as its ``random_state``. None:
        the defaults.
    decide_by : str or None, default=None
        Score that the verdict is about, see :class:`DistillationReport`. None: the log loss, which
        measures the probabilities, which soft labels improve first. Use "accuracy" if only labels
        are used. For regressors "rmse", or "pinball_loss" if they predict quantiles.
    margin : float or None, default=None
        Smallest difference in ``decide_by`` considered practically relevant, in the units of that
        score. Differences that are smaller with confidence are "not worth it". None: 0.005, or for
        the log loss and for losses of regressors 1 % of that of the student on hard labels.
    n_latency : int or "auto", default="auto"
        Number of different test rows of a fold that are predicted one at a time, all of them if
        there are fewer. The 99th percentile requires some hundreds. "auto" is between 10 and 200:
        as many as keep the measurement of speeds below a tenth of the time of the fits.
    n_jobs : int, default=None
        Number of fits in parallel.
    random_state : int, RandomState instance or None, default=0
        Controls the folds and the seeds. On each fold, the seed in ``frame`` is the
        ``random_state`` of the distilled model, which seeds each ``random_state`` in teacher and
        student that is None. The student on hard labels gets the same seeds.
    verbose : int, default=0
        Print a line for each fold and seed, with the time that is left.

    Returns
    -------
    report : DistillationReport
        With ``decision``, ``verdict``, ``interval``, ``summary``, ``disagreement``, ``frame`` and
        ``plot``. Printing it shows the verdict, a table and subgroups of much disagreement.

    Raises
    ------
    TypeError
        If ``distiller`` is of another class, or a model cannot be pickled.
    ValueError
        If ``y`` has one class or value, a fold is empty, an option is out of range, or
        ``decide_by`` requires ``predict_proba`` and the students do not have it, or if
        ``subgroups`` names columns that X lacks, has another number of rows or too many values.

    See Also
    --------
    DistillationReport : Definition of the numbers and of the decision.

    Notes
    -----
    The report takes, for each fold and seed, one fit of the distiller, whose ``teacher_``
    is the teacher that is measured, and one fit of the student. With the defaults of ``cv`` and
    ``n_seeds`` it takes 25 times as long as one such pair of fits, divided by ``n_jobs``. Try
    ``n_seeds=1`` first, and ``verbose=1`` to see how long it will take.

    Size is measured for each fit. Speed and compact files are measured once for each fold, on the
    models of the first seed (they are NaN for other seeds), one model at a time, in this process
    and after all fits. For each model, ``n_latency`` single rows are predicted after ten calls to
    warm up, followed by three bulk predictions of up to 10,000 test rows. With
    ``n_latency="auto"`` there are fewer calls of all kinds if they take longer than a tenth of the
    fits. The measured method is ``predict_proba``, or ``predict`` for a model without it, and
    ``predict_proba_one`` or ``predict_one`` of the compact file, on as many raw rows (10 to 1,000
    with "auto", after 20 calls to warm up). A model whose pickle is larger than 32 MiB has no
    compact file here, since it takes long to write. The models of the first seed are kept in memory
    until then. Other work on the machine distorts the speeds, and ``n_jobs`` distorts
    ``fit_seconds``, since parallel fits share cores. Its workers are idle but still exist while
    speeds are measured.

    A model without ``predict_proba`` has NaN for scores of probabilities. A class that the
    training rows of a fold lack has probability zero, which the log loss clips.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from sklearn_kd.inspection import distillation_report
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> report = distillation_report(
    ...     RandomForestClassifier(20), DecisionTreeClassifier(max_depth=4), X, y,
    ...     cv=3, n_seeds=1, n_latency=10,
    ... )
    >>> report.difference < -0.5  # a tree on hard labels is overconfident
    True
    >>> report.bytes_ratio < 0.1
    True
    >>> report.frame.groupby("model").size().to_dict()
    {'distilled': 3, 'hard': 3, 'teacher': 3}
    """
    if distiller is None:
        distiller = default_distiller(teacher, student)
    check_distiller(distiller, "distiller")
    refuse_class_weights(distiller, "distiller")
    terms = answers_of(distiller).scores
    required = terms.default(()) if decide_by is None else decide_by
    _check_decision(terms, required, margin)
    distiller = clone(distiller)
    given = {"teacher": teacher, "student": student}
    distiller.set_params(**{role: model for role, model in given.items() if model is not None})
    options = MeasurementOptions(
        cv,
        n_seeds,
        sample_weight,
        n_latency,
        n_jobs,
        random_state,
        verbose,
        decide_by=required,
        groups=groups,
        subgroups=subgroups,
    )
    frame, disagreement = measure_folds(distiller, X, y, options)
    return DistillationReport(frame, decide_by=decide_by, margin=margin, disagreement=disagreement)
