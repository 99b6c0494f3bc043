"""Students whose scores and sizes :class:`~sklearn_kd.inspection.CompressionCurveDisplay` shows."""

from dataclasses import dataclass
from typing import Any

from sklearn.base import clone
from sklearn.model_selection import ParameterGrid
from sklearn.utils import get_tags

from sklearn_kd._distillation.fit import resolve_estimators
from sklearn_kd._distillation.regression import takes_several_targets
from sklearn_kd._utils.sklearn_compat import routing_enabled
from sklearn_kd._utils.sub_estimators import step_parameter
from sklearn_kd.inspection._answers import answers_of
from sklearn_kd.inspection._curve_options import check_widths

#: Columns that name a candidate.
KEY = ["student", "size", "labels"]
#: Rounds and leaves of boosted trees, and leaves of a tree. On tables of 3,000 rows, 16 and 31
#: leaves, and 200 rounds, had no smaller loss than these in files of the same size.
BOOSTED_TREES = {"max_iter": [30, 60, 100], "max_leaf_nodes": [4, 8]}
TREE = {"max_leaf_nodes": [8, 32, 128]}


@dataclass(frozen=True)
class Candidate:
    """A student of one family and size, on hard labels or distilled.

    Attributes
    ----------
    family, size : str
    is_distilled : bool
    distiller : DistilledClassifier or DistilledRegressor
        Unfitted, with this student.
    student : estimator
        Unfitted student, with the seeds that the distiller would give it.
    """

    family: str
    size: str
    is_distilled: bool
    distiller: Any
    student: Any

    @property
    def estimator(self):
        """Unfitted, as a user would fit it: the student itself, or the distiller."""
        return clone(self.distiller if self.is_distilled else self.student)

    @property
    def key(self):
        """Values of the columns `KEY`."""
        return self.family, self.size, "distilled" if self.is_distilled else "hard"

    def __str__(self):
        return ", ".join(filter(None, [self.family, self.size, f"{self.key[-1]} labels"]))


def candidates_of(distiller, widths, students, n_targets=1):
    """Return the candidates, those on hard labels first.

    Parameters
    ----------
    distiller : DistilledClassifier or DistilledRegressor
        With a seed. Its parameters are numbers.
    widths, students
        As in :meth:`~sklearn_kd.inspection.CompressionCurveDisplay.from_estimator`.
    n_targets : int, default=1
        Columns of y.

    Returns
    -------
    list of Candidate

    Raises
    ------
    TypeError, ValueError
        For options that are invalid, and for students that cannot learn the labels.
    """
    hard, distilled = [], []
    families = _families(distiller, widths, students, n_targets)
    for family, (estimator, grid) in families.items():
        grid = list(ParameterGrid(grid))
        sizes = _sizes(grid)
        for params, size in zip(grid, sizes, strict=True):
            if sizes.count(size) > 1:
                raise ValueError(
                    f"student {family!r} has several candidates {size!r}, which have to differ in "
                    "the texts of their parameters."
                )
            whole = clone(distiller).set_params(student=clone(estimator).set_params(**params))
            try:
                resolved = resolve_estimators(whole, whole._task_type, needs_teacher=True)
            except (TypeError, ValueError) as error:
                raise type(error)(f"student {family!r}: {error}") from error
            if n_targets > 1 and not takes_several_targets(resolved.student):
                raise ValueError(
                    f"y has {n_targets} targets, and the student {family!r}, "
                    f"{resolved.student.name}, predicts one: leave it out, or take one that "
                    "predicts several, such as a DecisionTreeRegressor."
                )
            student = resolved.student.estimator
            hard.append(Candidate(family, size, False, whole, student))
            distilled.append(Candidate(family, size, True, whole, student))
    return hard + distilled


def _families(distiller, widths, students, n_targets):
    """Return the student and the grid of each family by its name."""
    own = distiller._get_student()
    if widths is None:
        families = {"student": (own, {})}
    else:
        name, widths = step_parameter(own, "width"), check_widths(widths)
        if name not in own.get_params():
            raise ValueError(
                f"the student of estimator, {type(own).__name__}, has no parameter {name!r}: set "
                "widths=None to measure it as it is, or pass it in students."
            )
        families = {"network": (own, {name: widths})}
    if students is None:
        return families
    if isinstance(students, str):
        if students != "auto":
            raise ValueError(f"students must be 'auto', a dict or None, got {students!r}.")
        return families | _default_families(answers_of(distiller).kind, n_targets)
    if not isinstance(students, dict):
        raise TypeError(f"students must be 'auto', a dict or None, got {type(students).__name__}.")
    for family, value in students.items():
        if not isinstance(family, str) or family in {*families, "teacher"}:
            raise ValueError(
                f"the keys of students must be texts other than {[*families, 'teacher']}, got "
                f"{family!r}."
            )
        student, grid = value if isinstance(value, tuple) and len(value) == 2 else (value, {})
        if isinstance(student, type) or not hasattr(student, "fit"):
            raise TypeError(
                f"students[{family!r}] must be an estimator, an instance, or a pair of one and a "
                f"parameter grid, got {value!r}."
            )
        families[family] = student, grid
    return families


def _default_families(kind, n_targets):
    from sklearn.pipeline import Pipeline

    from sklearn_kd._tables.encoder import TableEncoder

    trees, tree, linear = _classifiers() if kind == "classifier" else _regressors()
    # trees find thresholds themselves, and a linear model needs the pieces of the encoder
    numbers = TableEncoder(n_bins=1)
    families = {
        "boosted trees": (numbers, trees, BOOSTED_TREES),
        "tree": (numbers, tree, TREE),
        "linear": (TableEncoder(), linear, {}),
    }
    if n_targets > 1:
        families = {
            family: parts
            for family, parts in families.items()
            if get_tags(parts[1]).target_tags.multi_output
        }
    if routing_enabled():  # nobody else can request weights for what is made here
        for encoder, last, _ in families.values():
            encoder.set_fit_request(sample_weight=False)  # as without metadata routing
            last.set_fit_request(sample_weight=True)
    return {
        family: (
            Pipeline([("encoder", encoder), (kind, last)]),
            {f"{kind}__{name}": values for name, values in grid.items()},
        )
        for family, (encoder, last, grid) in families.items()
    }


def _classifiers():
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.tree import DecisionTreeClassifier

    trees = HistGradientBoostingClassifier(early_stopping=False)
    return trees, DecisionTreeClassifier(), LogisticRegression(max_iter=1000)


def _regressors():
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import Ridge
    from sklearn.tree import DecisionTreeRegressor

    trees = HistGradientBoostingRegressor(early_stopping=False)
    return trees, DecisionTreeRegressor(), Ridge()


def _sizes(grid):
    """Return a short name of each setting of a grid: the parameters that vary in it."""
    names = list(dict.fromkeys(name for params in grid for name in params))
    varied = [name for name in names if len({repr(params.get(name)) for params in grid}) > 1]
    varied = varied or names
    short = {name: name.split("__")[-1] for name in varied}
    if len(set(short.values())) < len(short):
        short = {name: name for name in varied}
    return [
        ", ".join(f"{short[name]}={params[name]}" for name in varied if name in params)
        for params in grid
    ]
