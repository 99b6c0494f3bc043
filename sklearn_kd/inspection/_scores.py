"""Scores of reports about classes and about numbers: names, directions, formats and margins."""

from collections.abc import Callable
from dataclasses import dataclass

from sklearn_kd._utils.validation import check_option

#: Default margin of scores that are at most 1.
DEFAULT_MARGIN = 0.005
#: Default margin of losses, as a share of that of the student without a teacher.
DEFAULT_MARGIN_SHARE = 0.01
#: How sentences name scores whose column is not their name.
NAMES = {"roc_auc": "ROC AUC", "r2": "R2", "rmse": "RMSE", "mae": "MAE"}


@dataclass(frozen=True)
class DifferenceTerms:
    """How predictions of student and teacher differ on single rows, and how this is said.

    Attributes
    ----------
    keys : tuple of str
        Columns that name a line of rows.
    form : str
        Format of a mean over rows.
    deviation : callable
        Standard deviation of a single row, as a function of the mean of all rows.
    min_excess : callable
        Least notable difference from the mean of all rows, as a function of this mean.
    start : str
        What is said of the mean of all rows.
    amount : callable
        Text of this mean.
    some, none : str
        How the sentence ends before notable lines, and if there are none.
    """

    keys: tuple
    form: str
    deviation: Callable
    min_excess: Callable
    start: str
    amount: Callable
    some: str
    none: str


@dataclass(frozen=True)
class ScoreTerms:
    """Scores of models of one kind, which are columns of a report.

    Attributes
    ----------
    higher_is_better : dict
        By column, in the order of the report. None where no direction is better.
    decisive : tuple of str
        Scores that can decide.
    defaults : tuple of str
        Those that decide by default, the first one that there is.
    shown : str
        Score that displays draw by default.
    printed : dict
        Heading and format of each column of the printed table.
    always_printed : frozenset
        Columns that are printed whatever decides.
    formats : dict
        Formats of scores in sentences, where they are not four decimals.
    margins : dict
        Default margin as a share of the score of the student without a teacher, where it is not
        `DEFAULT_MARGIN`.
    titles : dict
        What sentences call each model.
    difference : DifferenceTerms
    """

    higher_is_better: dict
    decisive: tuple
    defaults: tuple
    shown: str
    printed: dict
    always_printed: frozenset
    formats: dict
    margins: dict
    titles: dict
    difference: DifferenceTerms

    def default(self, columns):
        """Return the score that decides by default in a report with some columns."""
        return next((name for name in self.defaults if name in columns), self.defaults[-1])

    def check_decisive(self, name):
        """Raise a ValueError for a score that cannot decide."""
        check_option(name, "decide_by", sorted(self.decisive))

    def text(self, name, value, sign=""):
        """Return the value of a score as a text, with ``sign="+"`` for a difference."""
        return format(value, sign + self.formats.get(name, ".4f"))

    def margin(self, name, level):
        """Return the smallest relevant difference of a score with the value ``level``."""
        return self.margins[name] * level if name in self.margins else DEFAULT_MARGIN

    def direction(self, name):
        """Return what an axis says of the direction of a score."""
        better = self.higher_is_better.get(name, True)
        return "" if better is None else f" ({'higher' if better else 'lower'} is better)"


def _titles(hard):
    """Return what sentences call each model, of which one learns hard labels or targets."""
    return {
        "teacher": "teacher",
        "hard": f"student on {hard}",
        "distilled": "distilled student",
    }


CLASS_SCORES = ScoreTerms(
    higher_is_better={
        "accuracy": True,
        "balanced_accuracy": True,
        "log_loss": False,
        "roc_auc": True,
        "average_precision": True,
        "calibration_error": False,
        "agreement": True,
        "fidelity": True,
    },
    decisive=("accuracy", "balanced_accuracy", "roc_auc", "average_precision", "log_loss"),
    defaults=("log_loss",),
    shown="accuracy",
    printed={
        **{name: (name, "{:.4f}") for name in ("log_loss", "accuracy", "balanced_accuracy")},
        **{name: (name, "{:.4f}") for name in ("roc_auc", "average_precision")},
        "calibration_error": ("ECE", "{:.4f}"),
        "agreement": ("agreement", "{:.3f}"),
    },
    always_printed=frozenset({"log_loss", "accuracy", "calibration_error", "agreement"}),
    formats={},
    margins={"log_loss": DEFAULT_MARGIN_SHARE},
    titles=_titles("hard labels"),
    difference=DifferenceTerms(
        keys=("subgroup", "class"),
        form="{:.3f}",
        deviation=lambda share: (share * (1 - share)) ** 0.5,
        min_excess=lambda share: 0.02,
        start="The distilled student and its teacher predict different labels for {} of all rows",
        amount=lambda share: f"{100 * share:.1f} %",
        some=", and for clearly more of these",
        none=", and for no class or subgroup clearly more.",
    ),
)

NUMBER_SCORES = ScoreTerms(
    higher_is_better={
        "r2": True,
        "rmse": False,
        "mae": False,
        "pinball_loss": False,
        "coverage": None,
        "interval_width": False,
        "fidelity": True,
    },
    decisive=("r2", "rmse", "mae", "pinball_loss"),
    defaults=("pinball_loss", "rmse"),
    shown="r2",
    printed={
        "r2": ("R2", "{:.4f}"),
        "rmse": ("RMSE", "{:.4g}"),
        "mae": ("MAE", "{:.4g}"),
        "pinball_loss": ("pinball loss", "{:.4g}"),
        "coverage": ("coverage", "{:.3f}"),
        "interval_width": ("width", "{:.4g}"),
        "fidelity": ("fidelity", "{:.4f}"),
    },
    always_printed=frozenset(
        {"r2", "rmse", "mae", "pinball_loss", "coverage", "interval_width", "fidelity"}
    ),
    formats={"rmse": ".4g", "mae": ".4g", "pinball_loss": ".4g"},
    margins=dict.fromkeys(("rmse", "mae", "pinball_loss"), DEFAULT_MARGIN_SHARE),
    titles=_titles("hard targets"),
    difference=DifferenceTerms(
        keys=("subgroup",),
        form="{:.4g}",
        # of absolute differences whose distribution is exponential
        deviation=lambda mean: mean,
        min_excess=lambda mean: 0.25 * mean,
        start="The predictions of the distilled student and of its teacher differ by {} on average",
        amount="{:.4g}".format,
        some=", and by clearly more on these",
        none=", and by clearly more on no subgroup.",
    ),
)


def terms_of(frame):
    """Return the terms of the scores that a frame has."""
    is_of_numbers = any(name in frame for name in NUMBER_SCORES.decisive)
    return NUMBER_SCORES if is_of_numbers else CLASS_SCORES


def name_of_score(column):
    """Return the name of a score in a sentence."""
    return NAMES.get(column, column.replace("_", " "))
