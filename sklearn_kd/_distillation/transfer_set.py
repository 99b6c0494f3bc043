"""Transfer rows: synthetic rows near the training rows, for a teacher to label."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sklearn_kd._distillation.settings import MIN_DISTINCT_ROWS
from sklearn_kd._utils.base import python_number
from sklearn_kd._utils.containers import (
    in_column_order,
    is_dataframe,
    own_copy,
    stack_rows,
)
from sklearn_kd._utils.sklearn_compat import num_samples, safe_indexing
from sklearn_kd._utils.validation import TooFewRowsError
from sklearn_kd._utils.warnings import warn_caller
from sklearn_kd.exceptions import TransferRowsWarning

#: Largest number of transfer rows of ``n_augmented="auto"``. Time and memory would otherwise grow
#: beyond those of the other rows.
MAX_AUTOMATIC_TRANSFER_ROWS = 100_000
#: Rows that are drawn to find out whether a table has combinations of values that it lacks.
N_SAMPLED_ROWS = 200
#: Columns up to which "auto" makes transfer rows. Wider arrays are images rather than tables.
MAX_COLUMNS = 256


@dataclass(frozen=True)
class TransferSet:
    """Transfer rows, in the container of the training rows.

    Attributes
    ----------
    X : rows
        Without rows of the training set where ``make_transfer_rows`` has made them.
    duplicate_fraction : float
        Fraction of the rows drawn that were duplicates of training rows and were dropped. NaN
        without transfer rows and for those of a callable.
    origin : ndarray of int of shape (n_transfer_rows,) or None
        Row at which each of them started. For rows of a callable it is the last row of the part
        that they were made of, and None if they were made of all rows at once.
    obstacle : Exception or None
        Why ``augmentation="auto"`` has made none.
    """

    X: Any = field(default_factory=list)
    duplicate_fraction: float = np.nan
    origin: np.ndarray | None = None
    obstacle: Exception | None = None

    def __len__(self):
        return num_samples(self.X)


@dataclass(frozen=True)
class TransferSpec:
    """Which transfer rows a fit may use.

    Attributes
    ----------
    method : "auto", "munge", "gibbs", callable or None
        As ``augmentation`` of :class:`~sklearn_kd.DistilledClassifier`.
    n_rows : int
        Number of transfer rows in a fit on all training rows. 0 where none can be made.
    seed : int
        Seed of the draws.
    obstacle : Exception or None
        Why ``method="auto"`` makes none.
    """

    method: Any
    n_rows: int
    seed: int
    obstacle: Exception | None = None

    @classmethod
    def for_rows(cls, est, task, rows, *, has_teacher, seed):
        """Resolve "auto" of the parameters of a distiller on its training rows."""
        n_rows = python_number(est.n_augmented)
        if n_rows == "auto":
            n_rows = task.transfer_rows_per_row * len(rows)
            n_rows = min(n_rows, MAX_AUTOMATIC_TRANSFER_ROWS)
        spec = cls(est.augmentation, n_rows, seed)
        if est.augmentation is None:
            return replace(spec, n_rows=0)
        if est.augmentation != "auto":
            if not callable(est.augmentation):
                spec.make(rows.X, 1, rows.weight)  # an error for rows that are not a table
            return spec
        # labels cannot be mixed by an alpha above 1, and more rows need a teacher to label them
        is_possible = has_teacher and (est.alpha == "auto" or est.alpha <= 1)
        is_possible = is_possible and not rows.row_metadata
        # transfer rows of "auto" are compared on held-out rows, which small data do not have
        if not (is_possible and is_table(rows.X) and len(rows) >= MIN_DISTINCT_ROWS):
            return replace(spec, n_rows=0)
        n_sampled = min(N_SAMPLED_ROWS, n_rows)
        drawn = spec.make(rows.X, n_sampled, rows.weight)
        if len(drawn) < n_sampled / 2:
            return replace(spec, n_rows=0, obstacle=drawn.obstacle)
        return spec

    def make(self, X, n_rows, sample_weight, part=None):
        """Draw transfer rows near the rows of X: `TransferSet`.

        ``part`` is None or has the number of a part for each row. New rows are then made of the
        rows of each part alone, in proportion to their number, and none of the part -1.
        """
        try:
            if part is None:
                return self._draw(X, n_rows, sample_weight)
            return self._draw_from_parts(X, n_rows, sample_weight, part)
        except (TypeError, ValueError) as error:
            if self.method != "auto":
                raise
            return TransferSet(safe_indexing(X, np.arange(0)), obstacle=error)

    def _draw(self, X, n_rows, sample_weight):
        if callable(self.method):
            made = in_column_order(X, self.method(own_copy(X), n_rows, self.seed))
            stack_rows(safe_indexing(X, [0]), made, "what augmentation returns")  # or an error
            return TransferSet(made)
        # imported here, since fetchers and label noise in the folder make it slow to import
        from sklearn_kd.datasets import make_transfer_rows

        try:
            made = make_transfer_rows(
                X,
                n_rows,
                method="gibbs" if self.method == "auto" else self.method,
                sample_weight=sample_weight,
                random_state=self.seed,
                return_copies=True,
                return_origins=True,
            )
        except TooFewRowsError as error:  # its advice is for a parameter of make_transfer_rows
            raise ValueError(
                f"transfer rows need {error.n_needed} distinct rows, X has {error.n_distinct}: "
                "give more rows, or make none with augmentation=None."
            ) from error
        return TransferSet(*made)

    def _draw_from_parts(self, X, n_rows, sample_weight, part):
        n_rows_of = np.bincount(part + 1)
        rows_of_parts = np.split(np.argsort(part, kind="stable"), np.cumsum(n_rows_of)[:-1])[1:]
        last = np.cumsum(n_rows_of[1:])
        n_of_parts = last * (n_rows / last.max(initial=1))
        n_of_parts = np.diff(np.round(n_of_parts).astype(int), prepend=0)
        made, origin, duplicates, error = [safe_indexing(X, np.arange(0))], [], [], None
        for rows, n_wanted in zip(rows_of_parts, n_of_parts.tolist(), strict=True):
            if not n_wanted:
                continue
            weight = None if sample_weight is None else sample_weight[rows]
            try:
                new = self._draw(safe_indexing(X, rows), n_wanted, weight)
            except ValueError as part_error:  # too few distinct rows, for instance
                if callable(self.method):
                    raise
                error = part_error
                continue
            made.append(stack_rows(made[0], new.X, "what augmentation returns"))
            # a callable does not tell at which row of the part a new one starts
            origin.append(np.full(len(new), rows[-1]) if new.origin is None else rows[new.origin])
            duplicates.append((new.duplicate_fraction, n_wanted))
        if error is not None and not origin:
            raise error
        if not origin:
            return TransferSet(made[0])
        made = _stack_all(made)
        mixed = np.random.RandomState(self.seed).permutation(num_samples(made))
        fractions, counts = zip(*duplicates, strict=True)
        return TransferSet(
            safe_indexing(made, mixed),
            float(np.average(fractions, weights=counts)),
            np.concatenate(origin)[mixed],
        )


def _stack_all(parts):
    """Stack rows in pairs, so that the rows of many parts are copied a few times only."""
    while len(parts) > 1:
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [stack_rows(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return parts[0]


def is_table(X):
    """Return whether X is a DataFrame or a dense array of few enough columns to be a table."""
    is_dense = is_dataframe(X) or isinstance(X, np.ndarray)
    return is_dense and len(X.shape) == 2 and X.shape[1] <= MAX_COLUMNS


def warn_if_few_transfer_rows(transfer_set, n_wanted):
    """Warn where fewer than half of the transfer rows asked for could be made."""
    n_made = len(transfer_set)
    if n_made >= n_wanted / 2:
        return
    reason, advice = "the augmentation returned no more", "let it return as many as n_rows says"
    if not np.isnan(transfer_set.duplicate_fraction):
        duplicates = f"{transfer_set.duplicate_fraction:.0%} of the rows drawn"
        reason = f"{duplicates} were copies of training rows, and were dropped"
        advice = "set augmentation=None" + (f", or n_augmented={n_made}" if n_made else "")
    warn_caller(
        f"{n_made} transfer rows were made in place of {n_wanted}, since {reason}: {advice}.",
        TransferRowsWarning,
    )


def warn_if_no_transfer_rows_tried(n_augmented, candidates, obstacle):
    """Warn where ``augmentation="auto"`` could not try transfer rows.

    Parameters
    ----------
    n_augmented : int or "auto"
        If it is a number, the user expects that this number of rows is tried.
    candidates : dict or None
        ``candidates_`` of the DistilledClassifier.
    obstacle : Exception or None
        Why no rows could be made.
    """
    if obstacle is not None:
        advice = "" if "augmentation=None" in str(obstacle) else " Set augmentation=None."
        warn_caller(f"no transfer rows were made: {obstacle}{advice}", TransferRowsWarning)
    elif n_augmented != "auto" and (candidates is None or not candidates["n_augmented"].any()):
        warn_caller(
            f"n_augmented={n_augmented} with augmentation='auto', but no transfer rows were "
            "tried: this needs a teacher, alpha of at most 1, enough rows to hold some out, no "
            "metadata of the student with a value for each row, except for weights, and a "
            f"DataFrame or a dense array of at most {MAX_COLUMNS} columns that lacks some "
            "combinations of its values.",
            TransferRowsWarning,
        )
