"""Synthetic rows near the training rows, for a teacher to label."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state, check_scalar, gen_batches

from sklearn_kd._tables.columns import check_table
from sklearn_kd._tables.mixed_table import MixedTable, NewRows
from sklearn_kd._utils.array_api import numpy_inputs
from sklearn_kd._utils.sklearn_compat import safe_indexing
from sklearn_kd._utils.validation import (
    TooFewRowsError,
    rescale_weights,
    validate_sample_weight,
)

#: Number of rounds of draws. Each round drops copies of training rows and the next replaces them.
MAX_DRAW_ROUNDS = 10
#: Share of new rows among those drawn below which drawing stops.
MIN_NEW_SHARE = 0.05
#: Number of rows drawn from which this share is known well enough, and number drawn in a round.
MIN_DRAWN_ROWS = 100
#: Sweeps of Gibbs sampling over a row, each with a search of neighbors. A sweep replaces half of
#: the attributes. More sweeps move rows further away from the row at which they start.
N_SWEEPS = 2
#: Rows that share the random halves of a sweep, so that their neighbors are searched together.
SWEEP_BLOCK_ROWS = 1000
#: The same in a large table, as one over the share of its distinct rows. The search divides all of
#: them once for each random half.
SWEEP_BLOCKS_PER_TABLE = 8
#: Number of such blocks. If there are few attributes, some halves give only copies.
MIN_SWEEP_BLOCKS = 8


@numpy_inputs
def make_transfer_rows(  # noqa: PLR0913
    X,
    n_rows,
    *,
    method="munge",
    swap_probability=0.5,
    local_variance=1.0,
    n_neighbors=5,
    sample_weight=None,
    random_state=None,
    return_copies=False,
    return_origins=False,
):
    """Make synthetic rows near the rows of X, for a teacher to label.

    A student that is trained on the teacher's labels of these rows in addition to the training rows
    learns more of what the teacher knows. Only X is used.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_samples, n_features)
        Training rows of numbers, strings or other objects, which may have missing values. X is not
        changed.
    n_rows : int
        Number of new rows.
    method : {"munge", "gibbs"}, default="munge"
        - "munge": a new row lies between a row and its nearest neighbor, with noise on the numbers.
        - "gibbs": half of the values of a row at a time are replaced by those of a row that is near
          in the other half. Every value is one that occurs in X.
    swap_probability : float in (0, 1], default=0.5
        Only for "munge". Probability that an attribute is taken from the neighbor. Lower
        probabilities give rows that are nearer to the original row.
    local_variance : float, default=1.0
        Only for "munge". The standard deviation of the noise is the difference of the two numbers
        divided by ``local_variance``. Larger values mean less noise, contrary to the name, which is
        that of the paper.
    n_neighbors : int, default=5
        Only for "gibbs". Number of nearest distinct rows of which one is drawn. Fewer neighbors
        preserve more of the dependence between the halves.
    sample_weight : array-like of shape (n_samples,), default=None
        New rows start at a row in proportion to its weight. A weight of k equals k copies of the
        row, and a weight of 0 equals its absence.
    random_state : int, RandomState instance or None, default=None
        Seed. The same seed gives the same rows.
    return_copies : bool, default=False
        Whether to return the share of copies too.
    return_origins : bool, default=False
        Whether to return the row of X at which each new row started too. If rows belong to groups,
        a new row belongs to the group of this row.

    Returns
    -------
    rows : DataFrame or ndarray of shape (n_new_rows, n_features)
        A DataFrame of the library of X with its columns, dtypes and categories (in pandas with a
        new RangeIndex), or an array of the dtype of X. No row equals a row of X. There are fewer
        than ``n_rows`` rows if fewer than one draw in ten is new, and none if X has a row for each
        combination of its categories.
    copies : float in [0, 1]
        Share of the rows drawn that equaled a row of X and were dropped. Only returned with
        ``return_copies=True``.
    origins : ndarray of int of shape (n_new_rows,)
        Row of X at which each row started, the first one of equal rows. Only returned with
        ``return_origins=True``.

    Raises
    ------
    TypeError
        If X or a column of X is sparse.
    ValueError
        If X has fewer than two distinct rows or infinite values, there are at most ``n_neighbors``
        distinct rows for "gibbs", or a parameter is invalid.

    See Also
    --------
    add_gaussian_noise : Noise of one scale on every value.

    Notes
    -----
    **Attributes.** Numbers are scaled by their range. Strings, categories, booleans, dates, columns
    of two numbers and integers beyond 2**53 are nominal, with a distance of 0 or 1 from each other.
    Neighboring columns of two numbers (or booleans) are one nominal attribute if no row has two of
    them at their larger value, so that one-hot columns stay one-hot, standardized or not. A missing
    nominal value is another category. A missing number is at a distance of 1 from all numbers, and
    is copied from the neighbor like a number if one of the two is missing. The distance
    distinguishes the 50 most frequent categories of a nominal attribute, or fewer if that would
    take more than 1000 indicators in all, and treats the others as one category.

    **Munge** is Algorithm 1 of Bucila et al. with two differences. There, a row and its neighbor
    :math:`e'` are replaced by two new rows, so that later pairs consist of changed rows. Here each
    new row comes from a pair of original rows that starts at the row :math:`e`, and neighbors are
    searched among distinct rows. As there, a number is drawn from
    :math:`N(e'_a, (|e_a - e'_a| / s)^2)` with the ``local_variance`` :math:`s`. It is then clipped
    to the range of its column, and rounded if the column contains only integers.

    **Gibbs** follows the idea of Fakoor et al., who learn the conditional distributions with a
    network. Here nearest neighbors approximate them, in two sweeps of random halves. If a table has
    few categories, most rows have neighbors that equal them in one half, and the result is a copy.

    Rows are drawn in whole passes over X in random order. If ``n_rows`` is twice the number of
    rows, each row is the start of two new rows, apart from copies. Up to 2,000 distinct rows, the
    search compares each row with all others. More rows are divided into blocks of at most 2,000
    rows that are near each other, by hyperplanes across the direction in which they vary most, and
    neighbors are searched in the block of a row. They are 2 to 12 % further away than the nearest
    of all rows in the mean, and time is about proportional to the number of rows.

    References
    ----------
    Bucila, C., Caruana, R., and Niculescu-Mizil, A. (2006). Model compression. KDD, 535-541
    (Algorithm 1).

    Fakoor, R., Mueller, J., Erickson, N., Chaudhari, P., and Smola, A. J. (2020). Fast, accurate,
    and simple models for tabular data via augmented distillation. NeurIPS, arXiv:2006.14284.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn_kd.datasets import make_transfer_rows
    >>> rng = np.random.RandomState(0)
    >>> X = pd.DataFrame({"age": rng.randint(18, 90, 50), "job": rng.choice(["cook", "none"], 50)})
    >>> rows, copies = make_transfer_rows(X, 200, random_state=0, return_copies=True)
    >>> rows.shape, rows["age"].dtype, sorted(set(rows["job"]))
    ((200, 2), dtype('int64'), ['cook', 'none'])
    >>> bool(rows["age"].between(X["age"].min(), X["age"].max()).all())
    True
    >>> 0 < copies < 1
    True
    """
    _check_parameters(n_rows, method, swap_probability, local_variance, n_neighbors)
    n_rows, n_neighbors = int(n_rows), int(n_neighbors)
    swap_probability, local_variance = float(swap_probability), float(local_variance)
    X = check_table(X)
    weights = rescale_weights(validate_sample_weight(sample_weight, X))
    used = np.flatnonzero(weights)
    if len(used) < len(weights):  # rows of weight zero must not change the ranges either
        X, weights = safe_indexing(X, used), weights[used]
    table = MixedTable(X, weights)
    if method == "gibbs" and n_neighbors >= len(table.first):
        raise TooFewRowsError(
            f"n_neighbors={n_neighbors} needs {n_neighbors + 1} distinct rows, X has "
            f"{len(table.first)}: set n_neighbors to {len(table.first) - 1} or less.",
            n_neighbors + 1,
            len(table.first),
        )
    if method == "munge":
        sampler = _MungeSampler(table, swap_probability, local_variance)
    else:
        sampler = _GibbsSampler(table, n_neighbors)
    new, copies, sources = _draw_new_rows(sampler, n_rows, check_random_state(random_state))
    results = [table.build(new)]
    if return_copies:
        results.append(copies)
    if return_origins:
        results.append(used[table.first[sources]])
    return tuple(results) if len(results) > 1 else results[0]


def _check_parameters(n_rows, method, swap_probability, local_variance, n_neighbors):
    check_scalar(n_rows, "n_rows", Integral, min_val=1)
    check_scalar(n_neighbors, "n_neighbors", Integral, min_val=1)
    if method not in ("munge", "gibbs"):
        raise ValueError(f"method must be 'munge' or 'gibbs', got {method!r}.")
    positive = {"swap_probability": swap_probability, "local_variance": local_variance}
    for name, value in positive.items():
        if not (isinstance(value, Real) and value > 0):
            raise ValueError(f"{name} must be a number above 0, got {value!r}.")
    if swap_probability > 1:
        raise ValueError(f"swap_probability must be at most 1, got {swap_probability!r}.")


def _draw_new_rows(sampler, n_rows, rng):
    """Draw rows until ``n_rows`` of them are not copies, or nearly all draws are copies.

    Returns
    -------
    rows : NewRows
    copies : float
        Share of copies among the rows drawn.
    sources : ndarray of int of shape (n_new_rows,)
        Distinct row at which each of the rows started.
    """
    table = sampler.table
    kept, kept_sources, n_kept, n_drawn, n_copies = [], [], 0, 0, 0
    n_wanted = n_rows
    for _ in range(MAX_DRAW_ROUNDS):
        sources = table.draw_sources(n_wanted, rng)
        rows = sampler.draw(sources, rng)
        is_copy = table.copies(rows)
        n_drawn += n_wanted
        n_copies += np.count_nonzero(is_copy)
        new = np.flatnonzero(~is_copy)[: n_rows - n_kept]
        kept.append(NewRows(rows.donor[new], rows.drawn[new]))
        kept_sources.append(sources[new])
        n_kept += len(new)
        if n_kept == n_rows:
            break
        new_share = 1 - n_copies / n_drawn
        if new_share < MIN_NEW_SHARE and n_drawn >= MIN_DRAWN_ROWS:
            break
        n_wanted = int((n_rows - n_kept) / max(new_share, MIN_NEW_SHARE)) + 1
        n_wanted = min(n_wanted, max(n_rows, MIN_DRAWN_ROWS))
    new_rows = NewRows(*map(np.concatenate, zip(*kept, strict=True)))
    return new_rows, float(n_copies / n_drawn), np.concatenate(kept_sources)


class _MungeSampler:
    """Rows of Algorithm 1 of Bucila, Caruana and Niculescu-Mizil (2006)."""

    def __init__(self, table, swap_probability, local_variance):
        self.table = table
        self.swap_probability = swap_probability
        self.local_variance = local_variance
        self.neighbor = np.full(len(table.first), -1, dtype=np.int32)

    def draw(self, sources, rng):
        table = self.table
        searched = np.unique(sources[self.neighbor[sources] < 0])
        n_attributes = len(table.attributes)
        if len(searched):
            donor = np.broadcast_to(searched[:, None], (len(searched), n_attributes))
            self.neighbor[searched] = table.nearest(
                donor, np.arange(n_attributes), searched, 1, rng
            )[:, 0]
        neighbors = self.neighbor[sources]
        donor = np.empty((len(sources), n_attributes), dtype=np.int32)
        drawn = np.full((len(sources), table.n_numeric), np.nan)
        for i, attribute in enumerate(table.attributes):
            swapped = rng.random_sample(len(sources)) < self.swap_probability
            donor[:, i] = np.where(swapped, neighbors, sources)
            if attribute.numbers is None:
                continue
            column = table.columns[attribute.columns[0]]
            own, mean = attribute.numbers[sources], attribute.numbers[neighbors]
            # if one of the two is missing the value of the neighbor is copied
            noisy = np.flatnonzero(swapped & (np.abs(own - mean) > 0))
            with np.errstate(over="ignore"):  # clipped below
                spread = np.abs(own - mean)[noisy] / self.local_variance
                numbers = mean[noisy] + spread * rng.standard_normal(len(noisy))
            if column.whole:
                numbers = np.rint(numbers)
            numbers = np.clip(numbers, column.values[0], column.values[-1])
            if isinstance(column.dtype, np.dtype):
                numbers = numbers.astype(column.dtype).astype(np.float64)
            drawn[noisy, attribute.position] = numbers
        return NewRows(donor, drawn)


class _GibbsSampler:
    """Rows whose attributes are drawn half by half from neighbors in the other half."""

    def __init__(self, table, n_neighbors):
        self.table, self.n_neighbors = table, n_neighbors

    def draw(self, sources, rng):
        table, n_attributes = self.table, len(self.table.attributes)
        donor = np.repeat(sources[:, None], n_attributes, axis=1)
        block_rows = max(SWEEP_BLOCK_ROWS, len(table.first) // SWEEP_BLOCKS_PER_TABLE)
        block_rows = min(block_rows, -(-len(sources) // MIN_SWEEP_BLOCKS))
        for _ in range(N_SWEEPS):
            for rows in gen_batches(len(sources), block_rows):
                order = rng.permutation(n_attributes)
                n_given = max(1, (n_attributes + rng.randint(2)) // 2)
                given, replaced = order[:n_given], order[n_given:]
                block = donor[rows]
                nearest = table.nearest(block, given, sources[rows], self.n_neighbors, rng)
                cumulative = np.cumsum(table.weights[nearest], axis=1)
                points = rng.random_sample(len(block)) * cumulative[:, -1]
                chosen = (cumulative <= points[:, None]).sum(axis=1).clip(max=self.n_neighbors - 1)
                block[:, replaced] = np.take_along_axis(nearest, chosen[:, None], axis=1)
        return NewRows(donor, np.full((len(donor), table.n_numeric), np.nan))
