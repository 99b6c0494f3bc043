"""Teach a student from a file that does not fit into memory, while the memory in use stays flat.

    python examples/stream_from_parquet.py                          # a million rows, a minute
    python examples/stream_from_parquet.py --rows 10_000_000 --compare

A stream of rows has no labels. A teacher that is fitted to 100,000 labeled rows labels each batch,
and `DistilledClassifier.partial_fit` trains the student on it for one epoch. Nothing of a batch is
kept. The rows are read from a Parquet file of 16 columns of numbers and four of categories, which a
process of its own writes before (``--folder``, by default a temporary one). ``warm_up`` fits the
encoder and the scaling of the student to the labeled rows, since the first batch of a file is often
not like the others.

The table printed has a line for each tenth of the file: the accuracy on 50,000 labeled rows that
were not trained on, how often the student agrees with its teacher there, the rows labeled and
learned in a second, and the most memory that the process has used so far. ``--compare`` then fits
the same student to the first million rows in memory. It needs pyarrow.
"""

import argparse
import multiprocessing
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator

from sklearn_kd import DistilledClassifier
from sklearn_kd.metrics import agreement_score

N_NUMBERS, N_LEVELS = 16, (3, 5, 8, 20)
N_LABELED, N_TEST, N_COMPARED = 100_000, 50_000, 1_000_000
#: Rows that are made, and written as a group of the file, at once.
GROUP_ROWS = 100_000


def make_rows(n_rows, seed):
    """Return rows of numbers and categories, and labels with noise."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(n_rows, N_NUMBERS)).astype(np.float32)
    X = pd.DataFrame(numbers).add_prefix("number")
    logit = numbers[:, 0] * numbers[:, 1] + np.sin(2 * numbers[:, 2]) + np.abs(numbers[:, 3])
    logit += 0.5 * numbers[:, 4] * (numbers[:, 5] > 0) + 0.3 * numbers[:, 6]
    effects = np.random.default_rng(0)
    for j, n_levels in enumerate(N_LEVELS):
        codes = rng.integers(n_levels, size=n_rows)
        levels = [f"level {k}" for k in range(n_levels)]
        X[f"category{j}"] = pd.Categorical.from_codes(codes, levels)
        logit += 0.5 * effects.normal(size=n_levels)[codes]
    return X, np.where(logit - 0.8 + 0.5 * rng.logistic(size=n_rows) > 0, "yes", "no")


def write(path, n_rows):
    """Write rows without labels as a Parquet file, group by group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for start in range(0, n_rows, GROUP_ROWS):
        X, _ = make_rows(min(GROUP_ROWS, n_rows - start), seed=2 + start)
        table = pa.Table.from_pandas(X, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def read(path, batch_rows):
    """Yield the batches of a Parquet file as DataFrames."""
    import pyarrow.parquet as pq

    # what is read ahead would be kept until the whole file is read
    for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(batch_rows):
        yield batch.to_pandas()


def peak_megabytes():
    """Return the most memory that this process has used so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # kilobytes on Linux


def teach(model, batches, n_rows, test):
    """Train a model on batches, and print a line for each tenth of the rows."""
    X_test, y_test, taught_labels = test
    print("| rows | accuracy | agreement with the teacher | rows in a second | peak memory, MB |")
    print("| --- |" + " --- |" * 4)
    seen = printed = seconds = 0
    for batch in batches:
        start = time.perf_counter()
        model.partial_fit(batch)
        seconds += time.perf_counter() - start
        seen += len(batch)
        if seen * 10 // n_rows > printed:
            printed = seen * 10 // n_rows
            predicted = model.predict(X_test)
            accuracy, agreement = (predicted == y_test).mean(), (predicted == taught_labels).mean()
            line = f"| {seen:,} | {accuracy:.4f} | {agreement:.4f} | {seen / seconds:,.0f} |"
            print(f"{line} {peak_megabytes():,.0f} |", flush=True)


def compare(settings, teacher, path, test):
    """Fit the same student to the first rows of the file in memory."""
    X_test, y_test, taught_labels = test
    n_groups = N_COMPARED // GROUP_ROWS
    X = pd.concat(batch for batch, _ in zip(read(path, GROUP_ROWS), range(n_groups), strict=False))
    start = time.perf_counter()
    model = DistilledClassifier(teacher, alpha=1.0, temperature=1.0, augmentation=None, **settings)
    model.fit(X, teacher.predict(X))  # these labels have no part in the loss
    seconds = time.perf_counter() - start
    agreement = agreement_score(taught_labels, model.predict(X_test))
    print(
        f"\nfit to {len(X):,} of the rows in memory: accuracy {model.score(X_test, y_test):.4f}, "
        f"agreement {agreement:.4f}, {seconds:.0f} s, peak memory {peak_megabytes():,.0f} MB"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the file")
    parser.add_argument("--batch-rows", type=int, default=20_000)
    parser.add_argument("--folder", help="of the file, which is kept there for the next run")
    parser.add_argument("--compare", action="store_true", help="fit to a million rows in memory")
    args = parser.parse_args()
    try:
        import pyarrow as pa
    except ImportError:
        raise SystemExit("reading Parquet files needs pyarrow, of the extra 'examples'") from None
    pa.set_memory_pool(pa.system_memory_pool())  # which returns the memory of a batch at once

    with TemporaryDirectory() as temporary:
        path = Path(args.folder or temporary) / f"rows_{args.rows}.parquet"
        if not path.is_file():
            writer = multiprocessing.get_context("spawn").Process(
                target=write, args=(path, args.rows)
            )
            writer.start()
            writer.join()
        X, y = make_rows(N_LABELED, seed=0)
        X_test, y_test = make_rows(N_TEST, seed=1)
        start = time.perf_counter()
        teacher = FrozenEstimator(
            HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
        )
        teacher.estimator.fit(X, y)
        taught_labels = teacher.predict(X_test)
        test = X_test, y_test, taught_labels
        print(
            f"a file of {path.stat().st_size / 1e6:,.0f} MB; teacher fitted in "
            f"{time.perf_counter() - start:.0f} s, accuracy {(taught_labels == y_test).mean():.4f}"
        )
        settings = {"random_state": 0}
        model = DistilledClassifier(teacher, **settings).warm_up(X)
        teach(model, read(path, args.batch_rows), args.rows, test)
        if args.compare:
            compare(settings, teacher, path, test)


if __name__ == "__main__":
    main()
