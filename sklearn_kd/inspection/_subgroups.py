"""Difference of the distilled student from its teacher, by subgroup of rows and by class."""

from dataclasses import dataclass

import numpy as np

from sklearn_kd._utils.paired import paired_means
from sklearn_kd._utils.sklearn_compat import num_samples

#: Subgroups of a column above which its values are likely to be numbers.
MAX_SUBGROUPS = 50
#: What is averaged on each line: how much the distilled student and its teacher differ, and how
#: good or bad each model is.
MEASURES = ("disagreement", "teacher", "hard", "distilled")
#: A difference is notable if it exceeds that of all rows by so many standard errors, since there
#: are many lines, and on so many rows. The errors are those over folds, and at least those of as
#: many independent rows.
NOTABLE_STANDARD_ERRORS, NOTABLE_ROWS = 3, 20


@dataclass(frozen=True)
class Partitions:
    """Lines of a report on subgroups, and the lines that each row belongs to.

    Attributes
    ----------
    keys : tuple of str
        Columns that name a line: the subgroup and, of classifiers, the class.
    lines : list of (subgroup, class)
        None stands for all subgroups, and for all classes.
    line_of_row : ndarray of int of shape (n_samples, n_partitions)
        The line of each row in each partition of the rows.
    """

    keys: tuple
    lines: list
    line_of_row: np.ndarray

    @classmethod
    def of(cls, subgroups, X, y, keys=("subgroup", "class")):
        """Divide rows by class, by each column of subgroups, and by both.

        Parameters
        ----------
        subgroups : str, list of str, array-like, DataFrame or None
            As in :func:`~sklearn_kd.inspection.distillation_report`.
        X : array-like or DataFrame of shape (n_samples, n_features)
        y : ndarray of shape (n_samples,)
        keys : tuple of str
            Without "class", rows are not divided by y.
        """
        one = np.zeros(len(y), dtype=np.intp)
        lines, found, divisions = [], [], [([None], one)]
        if "class" in keys:
            classes, class_of_row = np.unique(y, return_inverse=True)
            divisions.append((classes.tolist(), class_of_row))

        def add(names, code, some_classes, class_code):
            found.append(len(lines) + code * len(some_classes) + class_code)
            lines.extend((name, label) for name in names for label in some_classes)

        for names, code in [([None], one), *subgroup_codes(subgroups, X)]:
            for division in divisions:
                add(names, code, *division)
        return cls(keys, lines, np.column_stack(found))

    def sums(self, rows, values, weight):
        """Return weights of the test rows of each line, and weighted sums of each of the measures.

        Parameters
        ----------
        rows : ndarray of shape (n_test,)
            Positions of the test rows.
        values : dict of ndarray of shape (n_test,)
            Of single rows, by the names in `MEASURES`.
        weight : ndarray of shape (n_test,) or None

        Returns
        -------
        ndarray of shape (1 + n_measures, n_lines)
        """
        weight = np.ones(len(rows)) if weight is None else weight
        lines = self.line_of_row[rows]
        return np.array(
            [
                np.bincount(
                    lines.ravel(),
                    weights=np.repeat(each, lines.shape[1]),
                    minlength=len(self.lines),
                )
                for each in (weight, *(weight * values[name] for name in MEASURES))
            ]
        )

    def frame(self, sums, folds):
        """Return means and their standard errors over folds, one line for each that has rows.

        Parameters
        ----------
        sums : ndarray of shape (n_folds, 1 + n_measures, n_lines)
            Means over seeds of what `sums` returns.
        folds : list of (train, test)
            Positions of rows.

        Returns
        -------
        DataFrame
        """
        import pandas as pd

        tested = np.unique(np.concatenate([test for _, test in folds]))
        n_rows = np.bincount(self.line_of_row[tested].ravel(), minlength=len(self.lines))
        sizes = np.array([[len(train), len(test)] for train, test in folds])
        found = []
        for number, names in enumerate(self.lines):
            weight = sums[:, 0, number]
            kept = np.flatnonzero(weight > 0)
            if not len(kept):
                continue
            values = sums[kept, 1:, number].T / weight[kept]
            n_train, n_test = sizes[kept].sum(axis=0)
            means, errors = paired_means(
                values,
                weight[kept],
                np.arange(len(kept)),
                n_observations=len(kept),
                test_to_train=len(kept) * n_test / n_train,
            )
            line = dict(zip(self.keys, names, strict=False)) | {"n_rows": int(n_rows[number])}
            for name, mean, error in zip(MEASURES, means, errors, strict=True):
                line[name] = float(mean)
                error = 0.0 if error < 1e-12 * abs(mean) else float(error)  # equal values
                line[f"{name}_error"] = error if len(kept) > 1 else np.nan
            found.append(line)
        frame = pd.DataFrame(found)
        # from None and integers pandas makes NaN and floats
        keys = {name: [line[name] for line in found] for name in self.keys}
        return frame.assign(**pd.DataFrame(keys, dtype=object))


def subgroup_codes(subgroups, X):
    """Return the names of the subgroups of each column, and the code of each row.

    Raises a ValueError for columns that X lacks, for other numbers of rows and for columns of many
    values.
    """
    import pandas as pd

    if subgroups is None:
        return []
    columns = _columns(subgroups, X)
    found = []
    for name, values in columns.items():
        values = pd.Series(np.asarray(values))
        if len(values) != num_samples(X):
            raise ValueError(f"subgroups has {len(values)} rows, and X has {num_samples(X)}.")
        code, levels = pd.factorize(values, sort=True)
        start = "" if name is None else f"{name}="
        names = [f"{start}{level}" for level in levels]
        missing = [f"{start}missing"] * bool((code < 0).any())
        if len({*names, *missing}) < len(names) + len(missing):
            # such as a number beside the same text, or the text "missing"
            names = [f"{start}{level!r}" for level in levels]
        code, names = np.where(code < 0, len(levels), code), names + missing
        if len(names) > MAX_SUBGROUPS:
            raise ValueError(
                f"subgroups {'' if name is None else repr(name) + ' '}has {len(names)} different "
                f"values, more than {MAX_SUBGROUPS}: cut numbers into intervals, for example with "
                "pandas.qcut, and pass these."
            )
        found.append((names, code.astype(np.intp)))
    return found


def _columns(subgroups, X):
    """Return name to values, where a single array without a name has None."""
    names = [subgroups] if isinstance(subgroups, str) else subgroups
    is_names = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if is_names and (isinstance(subgroups, str) or len(names) != num_samples(X)):
        known = list(getattr(X, "columns", []))
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise ValueError(
                f"subgroups names the columns {unknown}, which X lacks: pass columns of a "
                "DataFrame, or a label for each row."
            )
        return {name: X[name] for name in names}
    if hasattr(subgroups, "columns"):
        return {name: subgroups[name] for name in subgroups.columns}
    if np.ndim(subgroups) != 1:
        raise ValueError(
            f"subgroups must be a label for each row, got an array of shape {np.shape(subgroups)}: "
            "pass several as a DataFrame."
        )
    return {getattr(subgroups, "name", None): subgroups}


def notable_lines(frame, terms):
    """Return the lines on which student and teacher differ clearly more than on all rows.

    ``terms`` are the `DifferenceTerms` of the frame.
    """
    overall = frame["disagreement"].iloc[0]
    excess = frame["disagreement"] - overall
    # two or three folds may be alike by chance
    error_of_rows = terms.deviation(overall) / np.sqrt(frame["n_rows"])
    error = frame["disagreement_error"].clip(lower=error_of_rows)
    is_notable = excess > NOTABLE_STANDARD_ERRORS * error
    is_notable &= (excess > terms.min_excess(overall)) & (frame["n_rows"] >= NOTABLE_ROWS)
    return frame[is_notable].sort_values("disagreement", ascending=False, kind="stable")
