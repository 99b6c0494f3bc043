"""Rows near the training rows, for a teacher to label."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state, check_scalar, gen_batches

from sklearn_kd._tables.mixed_table import MixedTable, NewRows, check_table
from sklearn_kd._utils.sklearn_compat import safe_indexing
from sklearn_kd._utils.validation import rescale_weights, validate_sample_weight

__all__ = ["make_transfer_rows"]


#: How often rows are drawn, copies of training rows thrown away each time.
DRAWS = 10
#: Share of rows drawn that are no copies, below which the table has no more, and the rows after
#: which it is known.
SCARCE, TELLING = 0.05, 100
#: Sweeps of Gibbs sampling over a row: two halves of the attributes, one after the other. More
#: take the rows further from the one they started at, and each costs a search of neighbors.
SWEEPS = 2
#: Rows that share the random halves of a sweep, so that their neighbors are searched together.
BLOCK = 1000
#: Blocks at least: in a table of few attributes some halves make copies alone.
FEWEST_BLOCKS = 8


def make_transfer_rows(
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
):
    """Make rows near the rows of X, for a teacher to label.

    A student that is trained on a teacher's labels of these rows, beside those of its own, sees
    more of what the teacher knows. Nothing but X is used.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_samples, n_features)
        Training rows: numbers, or strings and other objects, missing values among them. Not
        changed.
    n_rows : int
        Number of new rows.
    method : {"munge", "gibbs"}, default="munge"
        - "munge": between a row and its nearest neighbor, with noise on the numbers.
        - "gibbs": a row whose values are replaced, half of them at a time, by those of a row that
          is near in the other half. Each value is one of X, so that nothing is blurred.
    swap_probability : float in (0, 1], default=0.5
        "munge" alone: probability with which each attribute is taken from the neighbor. Lower
        ones stay nearer to the row.
    local_variance : float, default=1.0
        "munge" alone: the distance of the two numbers is divided by it to give the standard
        deviation of the noise. Larger ones mean less spread, contrary to the name, which is that
        of the paper.
    n_neighbors : int, default=5
        "gibbs" alone: how many of the nearest distinct rows are drawn from. Fewer keep more of
        the dependence between the halves.
    sample_weight : array-like of shape (n_samples,), default=None
        A row starts new rows in proportion to its weight. k draws what k copies of the row do, 0
        what X without the row does.
    random_state : int, RandomState instance or None, default=None
        Seed. The same seed makes the same rows.
    return_copies : bool, default=False
        Whether the share of copies is returned too.

    Returns
    -------
    rows : DataFrame or ndarray of shape (n_new_rows, n_features)
        Like X: a DataFrame of the same columns, dtypes and categories with a new RangeIndex, or
        an array of the same dtype. None of the rows equals a row of X. Fewer than ``n_rows`` come
        back where fewer than one draw in ten is new, and none at all, an empty table, from a
        table that has a row for each combination of its categories.
    copies : float in [0, 1]
        Share of the rows drawn that equalled a row of X and were thrown away. Only with
        ``return_copies=True``.

    Raises
    ------
    TypeError
        If X, or a column of it, is sparse, or X is a frame that is not of pandas.
    ValueError
        If X has fewer than two distinct rows or infinite values, "gibbs" has no more distinct rows
        than ``n_neighbors``, or a value is not as above.

    See Also
    --------
    add_gaussian_noise : Noise of one scale on every value.

    Notes
    -----
    **Attributes.** Numbers are scaled by their range. Nominal, at a distance of 0 or 1 from each
    other, are strings, categories, booleans, dates, columns of two numbers and integers beyond
    2**53. Neighboring columns of two numbers (or booleans) of which no row has two at their
    larger value are one nominal attribute: one-hot columns stay one-hot, standardized or not. A
    missing value is one more category; a missing number is at a distance of 1 from the others,
    and whatever of the two the neighbor has is taken as it is. Of a nominal attribute the
    distance tells the 50 most frequent categories apart (fewer, if that were more than 1000
    indicators in all), and takes the others for one.

    **Munge** is Algorithm 1 of Bucila et al., but for this: there, a row and its neighbor
    :math:`e'` become two new rows in place, so that later pairs meet changed rows; here each new
    row is the child of the pair that starts at the row :math:`e`, all of them from X as it is, and
    neighbors are sought among distinct rows. A number is drawn from
    :math:`N(e'_a, (|e_a - e'_a| / s)^2)` with :math:`s` the ``local_variance``, as there, and then
    clipped to the range of its column, and rounded where the column holds integers alone.

    **Gibbs** has the idea of Fakoor et al., who learn the conditional distributions with a
    network. Here nearest neighbors stand for it, in two sweeps of random halves. In tables of few
    categories most rows have neighbors that equal them in one half, and the result is a copy.

    Rows are drawn in whole passes over X in random order: ``n_rows`` of twice its length start at
    each row twice, but for the copies. The search compares each row with all others: for 40,000
    rows of 100 numbers about 20 s and 700 MB on one core, four times that for twice the rows.

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
    check_scalar(n_rows, "n_rows", Integral, min_val=1)
    check_scalar(n_neighbors, "n_neighbors", Integral, min_val=1)
    if method not in ("munge", "gibbs"):
        raise ValueError(f"method must be 'munge' or 'gibbs', got {method!r}.")
    for name, value in {
        "swap_probability": swap_probability,
        "local_variance": local_variance,
    }.items():
        if not (isinstance(value, Real) and value > 0):
            raise ValueError(f"{name} must be a number above 0, got {value!r}.")
    if swap_probability > 1:
        raise ValueError(f"swap_probability must be at most 1, got {swap_probability!r}.")
    X = check_table(X)
    weights = rescale_weights(validate_sample_weight(sample_weight, X))
    if not weights.all():
        used = np.flatnonzero(weights)  # a weight of zero is absence, also from the ranges
        X, weights = safe_indexing(X, used), weights[used]
    table = MixedTable(X, weights)
    if method == "gibbs" and n_neighbors >= len(table.first):
        raise ValueError(
            f"n_neighbors={n_neighbors} needs {n_neighbors + 1} distinct rows, X has "
            f"{len(table.first)}: set n_neighbors to {len(table.first) - 1} or less."
        )
    rng = check_random_state(random_state)
    munge = _Munge(table, swap_probability, local_variance)

    kept, n_kept, n_drawn, n_copies = [], 0, 0, 0
    n_wanted = n_rows
    for _ in range(DRAWS):
        sources = table.draw_sources(n_wanted, rng)
        if method == "munge":
            rows = munge.draw(sources, rng)
        else:
            rows = _draw_gibbs(table, sources, n_neighbors, rng)
        is_copy = table.copies(rows)
        n_drawn += n_wanted
        n_copies += np.count_nonzero(is_copy)
        fresh = np.flatnonzero(~is_copy)[: n_rows - n_kept]
        kept.append(NewRows(rows.donor[fresh], rows.drawn[fresh]))
        n_kept += len(fresh)
        if n_kept == n_rows:
            break
        rate = 1 - n_copies / n_drawn
        if rate < SCARCE and n_drawn >= TELLING:
            break
        n_wanted = min(int((n_rows - n_kept) / max(rate, SCARCE)) + 1, max(n_rows, TELLING))
    made = table.build(NewRows(*map(np.concatenate, zip(*kept, strict=True))))
    return (made, float(n_copies / n_drawn)) if return_copies else made


class _Munge:
    """Draws of Algorithm 1 of Bucila, Caruana and Niculescu-Mizil (2006)."""

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
            # a missing one of the two is no distance: the neighbor's value is taken as it is
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


def _draw_gibbs(table, sources, n_neighbors, rng):
    """Rows whose attributes are drawn half by half from neighbors in the other half."""
    n_attributes = len(table.attributes)
    donor = np.repeat(sources[:, None], n_attributes, axis=1)
    for _ in range(SWEEPS):
        for rows in gen_batches(len(sources), min(BLOCK, -(-len(sources) // FEWEST_BLOCKS))):
            order = rng.permutation(n_attributes)
            n_given = max(1, (n_attributes + rng.randint(2)) // 2)
            block = donor[rows]
            nearest = table.nearest(block, order[:n_given], sources[rows], n_neighbors, rng)
            mass = np.cumsum(table.mass[nearest], axis=1)
            points = rng.random_sample(len(block)) * mass[:, -1]
            chosen = (mass <= points[:, None]).sum(axis=1).clip(max=n_neighbors - 1)
            block[:, order[n_given:]] = np.take_along_axis(nearest, chosen[:, None], axis=1)
    return NewRows(donor, np.full((len(donor), table.n_numeric), np.nan))
