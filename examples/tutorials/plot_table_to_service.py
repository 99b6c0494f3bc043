"""From a raw table to a service
=============================

A boosted ensemble predicts well, and is slow to load and to ask for one row at a time. This
tutorial compresses it into a small network, from the raw table to a file of at most 10 kB that
answers requests over HTTP with NumPy alone. The steps are those of a real project:

1. look at the table and fit a teacher;
2. estimate whether distilling is worthwhile, before doing it;
3. distill, and read which settings were chosen;
4. evaluate: teacher, student on hard labels and distilled student, on rows that none has seen;
5. write the file, and check its size and its answers;
6. serve it, and check the answers of the service;
7. know what to watch in production.

The *teacher* is the model that is accurate, the *student* is the model that is deployed, and *hard
labels* are those of the table, in contrast to the probabilities of the teacher, the *soft labels*.
Run the script from the root of the repository. It takes about half a minute on one core.
"""

# %%
# The table
# ---------
#
# The table describes customers, and the label says whether each of them renews a subscription. It
# has numbers, strings, a column of categories, booleans, and missing cells. Nothing is encoded or
# imputed by hand, since a service will get the rows raw as well. **Replace this cell by your own
# DataFrame and labels**; the rest of the script needs no change except for the names of columns.
#
# A part of the rows is set aside now and used once, for the file that is deployed. Everything that
# is decided before, such as the settings, is decided without these rows.

import sys

sys.path.extend(["..", "examples"])  # quickstart.py is in the folder above this script

import json
import subprocess
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from http_service import ADDRESS, ask, running
from quickstart import make_table
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
from sklearn_kd.export import CompactModel, compact, write_pair
from sklearn_kd.inspection import distillation_report, should_distill
from sklearn_kd.metrics import agreement_score

threadpool_limits(1)  # times are those of one core, as in many services

X, y = make_table(6000)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=2000, stratify=y, random_state=0
)
print(X_train.head().to_string())
about = {"dtype": X.dtypes, "missing cells": X_train.isna().mean().map("{:.1%}".format)}
print("\n" + pd.DataFrame(about).to_string())
print(f"\n{len(X_train):,} training rows, {len(X_test):,} test rows")
print(f"share of labels that are 'renews': {np.mean(y_train == 'renews'):.1%}")

# %%
# A teacher and a student
# -----------------------
#
# The teacher is the best model that you have, whatever its size: here gradient boosting, which
# takes strings as categories and missing cells as they are. A stack or a whole pipeline serves as
# well, as long as it takes the raw table. Tune it first, as without distillation: a student learns
# the mistakes of its teacher, too.
#
# The student is a network of 16 neurons that encodes the raw table itself. With other students,
# such as a tree, put a :class:`~sklearn_kd.TableEncoder` in front of it in a pipeline.

teacher = HistGradientBoostingClassifier(
    learning_rate=0.05,
    max_iter=300,
    max_leaf_nodes=4,
    categorical_features=["region", "plan", "device"],
    random_state=0,
)
student = TwoLayerPGDClassifier(width=16, random_state=0)

# %%
# Is it worth distilling?
# -----------------------
#
# Distillation cannot help if the student is as good as the teacher already, or if it is too simple
# to learn more. :func:`~sklearn_kd.inspection.should_distill` cross-validates both on the training
# rows and answers "yes", "no" or "undecided". Read the lines of its table as follows. All are
# differences of the log loss, in nats, on rows that the models have not seen:
#
# - ``gap``: by how much the teacher is better than the student on hard labels. If this is about
#   zero, deploy the student as it is.
# - ``label_gain`` and ``overfitting``: what the labels of the teacher offer, and what the student
#   loses because it has few rows. The smaller of the first and half of the second is
#   ``recoverable``, the most that soft labels may bring.
# - ``gain``: what students on soft labels of these rows have gained in the same folds. Artificial
#   rows, which the next step tries, are not part of it.
#
# With "undecided", distilling and measuring is the better experiment. With "no", take a larger
# student, or another teacher, or more rows.

advice = should_distill(teacher, student, X_train, y_train)
print(advice)

# %%
# Distill
# -------
#
# ``fit`` labels each training row by teachers that have not seen the row, and compares three ways
# to train the student on held-out rows: on hard labels (``alpha = 0``), on the mean of hard and
# soft labels (``alpha = 0.5``), and the same with artificial rows, which resemble those of the
# table and are labeled by the teacher (``n_augmented``). ``candidates_`` has the log loss of each,
# the gain over hard labels and its standard error. Look at it: if hard labels were chosen, a
# warning says so, and there is nothing to gain with this pair of models.

model = DistilledClassifier(teacher, student, random_state=0).fit(X_train, y_train)
tried = pd.DataFrame(model.candidates_)
shown = ["alpha", "n_augmented", "loss", "gain", "gain_error", "chosen"]
print(tried[shown].round(4).to_string(index=False))

# %%
# Comparison by cross-validation
# ------------------------------
#
# The table above is a choice between settings, and the best of several is better by chance, too.
# :func:`~sklearn_kd.inspection.distillation_report` therefore repeats everything, including the
# choice, in five folds. In each fold the teacher, the student on hard labels and the distilled
# student are scored on the hard labels of rows that none of them has seen.
#
# The question is never whether the student is as good as the teacher, but **whether the distilled
# student is better than the same student on hard labels**, which costs nothing. The verdict says
# "worth it" only if the confidence interval of this difference excludes zero. It is the interval
# for other training rows, and therefore wider than one for these models alone.
#
# What the columns mean: ``log_loss`` judges the probabilities and decides here, and ``accuracy``
# is coarser, with larger errors. ``ECE`` is the calibration error: what a probability is wrong by.
# ``agreement`` is the share of rows on which a model predicts the label that the teacher predicts.
# ``compact`` are the bytes of the deployed file.

report = distillation_report(teacher, student, X_train, y_train, n_seeds=1)
print(report)

# %%
# In the picture, further down is better and further left is cheaper. The distilled student has the
# cost of the student on hard labels, with a lower loss. If its error bar overlaps that of hard
# labels, this alone decides nothing, since both are scored on the same folds: the verdict compares
# them fold by fold.
#
# The hollow points are compact files. Trees of scikit-learn can be written as such files, too. If
# the file of the teacher is small and fast enough, deploy it and stop here: no student is needed.

left, right = report.plot().ax_
left.set_title("Loss against size")
right.set_title("Loss against time")
plt.show()

# %%
# The file
# --------
#
# ``compact`` writes the student with its encoding of the raw columns: levels, edges of pieces,
# weights. The file contains no code, and reading it executes nothing. By default, weights are
# float32 and answers are those of the model to about 1e-6. With ``dtype="int8"`` they are rounded
# more, and the rows given measure what that changes. Take it if the bytes matter, as on a device:
# in a service, they rarely do.
#
# The test rows are used here for the first time. Check that the file, not only the model in
# memory, has the expected score.

print(f"{'weights':<9}{'bytes':>8}{'largest change':>16}{'log loss':>10}{'accuracy':>10}")
for dtype in ("float32", "int8"):
    small = compact(model, X_train, dtype=dtype, max_change=0.1)
    loss = log_loss(y_test, small.predict_proba(X_test), labels=small.classes_)
    accuracy = accuracy_score(y_test, small.predict(X_test))
    change = f"{small.largest_change_:.0e}"
    print(f"{dtype:<9}{small.n_bytes_:>8,}{change:>16}{loss:>10.4f}{accuracy:>10.4f}")
loss = log_loss(y_test, model.teacher_.predict_proba(X_test))
accuracy = accuracy_score(y_test, model.teacher_.predict(X_test))
print(f"{'teacher':<33}{loss:>10.4f}{accuracy:>10.4f}")

folder = Path(tempfile.mkdtemp())
path, runtime = write_pair(model, folder)
assert path.stat().st_size <= 10_000
print(f"\n{path.name}: {path.stat().st_size:,} bytes; {runtime.name}: reads it")

# %%
# ``write_pair`` has put ``compact_model.py`` beside the file, which predicts with NumPy and the
# standard library. The two files are the whole deployment. A fresh interpreter, which finds
# nothing but these two files and the installed packages, shows what they import:

code = (
    "import sys; from compact_model import CompactModel; CompactModel.load('model.skdc'); "
    "print([name for name in ('numpy', 'scipy', 'pandas', 'sklearn', 'torch', 'sklearn_kd') "
    "if name in sys.modules])"
)
loaded = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
print("packages that the service imports:", loaded.stdout.strip())

# %%
# The service
# -----------
#
# In a process of its own the loop is short: read JSON, call ``predict_proba_one`` with the dict,
# write JSON. The example ``http_service.py`` is such a service of the standard library, with
# bounds on the size and the duration of requests. Any other framework calls the model in the same
# way, also from several threads.
#
# The rows that are sent are raw, with ``null`` for a missing cell. Compare the answers with those
# of the model in memory on many rows: this finds differences in how the two sides read a cell,
# such as a number that arrives as a text.

rows = [
    {name: None if pd.isna(cell) else cell for name, cell in row.items()}
    for row in X_test.head(200).to_dict("records")
]
expected = model.predict_proba(X_test.head(200))
with running(folder) as port:
    connection = HTTPConnection(ADDRESS, port, timeout=10)
    answers = [ask(connection, row)[1] for row in rows]
    status, refused, _ = ask(connection, {**rows[0], "income": "a lot"})
    connection.close()
print("request:", json.dumps(rows[0]))
print("answer: ", json.dumps(answers[0]))
difference = np.abs(expected - [answer["probabilities"] for answer in answers]).max()
print(f"largest difference to the model on {len(rows)} rows: {difference:.0e}")
assert difference < 1e-6
print(f"a bad cell is answered with status {status}: {refused['error']}")

# %%
# The time of an answer is mostly that of HTTP. What the model needs for a raw row, given as a
# dict, is measured without it. Compare medians on the machine of the service, since these times
# depend on it.


def microseconds(predict, requests):
    """Return the median time of one call, after a few to warm up."""
    seconds = []
    for request in requests[:20] + requests:
        start = time.perf_counter()
        predict(request)
        seconds.append(time.perf_counter() - start)
    return 1e6 * np.median(seconds[20:])


small = CompactModel.load(path)
frames = [X_test.iloc[[number]] for number in range(100)]
print(f"compact file: {microseconds(small.predict_proba_one, rows):,.0f} microseconds a row")
print(f"teacher: {microseconds(model.teacher_.predict_proba, frames):,.0f} microseconds a row")

# %%
# What to watch in production
# ---------------------------
#
# **Unknown levels.** A text that the training rows lack is no error. It gets the answer that the
# model has for unknown texts, which nobody has evaluated. **Missing cells** are answered too, also
# in columns that had none in training. Count both. An unknown column, an absent column or a cell
# of the wrong kind is an error that names the column, so that it is seen.

row = rows[0]
for change in ({}, {"region": "islands"}, {"visits": None}, {"income": None}):
    proba = small.predict_proba_one({**row, **change})
    print(f"{change or 'as it is'!s:<24} P(renews) = {proba[1]:.3f}")
try:
    small.predict_proba_one({name: cell for name, cell in row.items() if name != "plan"})
except ValueError as error:
    print(f"without a column: {error}")

# %%
# **Drift.** The student imitates the teacher on rows like those of the training table. On other
# rows the two may differ, and neither is to be trusted. Their agreement needs no true labels: keep
# the teacher where it runs in batches, let it label a sample of the requests every week, and
# compare.
#
# Here the first six weeks have customers like those of the training table. Then the customers get
# older contracts, month by month, and soon more months than any training row has. The band is what
# the agreement on the test rows lets one expect of 500 rows, by three standard errors.


def agreement(table):
    """Return the share of rows on which the file and the teacher predict the same label."""
    return agreement_score(model.teacher_.predict(table), small.predict(table))


usual, n_rows = agreement(X_test), 500
band = 3 * np.sqrt(usual * (1 - usual) * (1 / n_rows + 1 / len(X_test)))
largest = X_train["months"].max()
weeks = []
for week in range(1, 13):
    requests, _ = make_table(n_rows, seed=100 + week)
    requests["months"] += 10 * max(0, week - 6)
    outside = np.mean(requests["months"] > largest)
    weeks.append({"week": week, "beyond training": outside, "agreement": agreement(requests)})
weeks = pd.DataFrame(weeks)
weeks["alarm"] = np.where(weeks["agreement"] < usual - band, "<-", "")
print(f"agreement on the test rows: {usual:.3f}, alarm below {usual - band:.3f}")
print(weeks.round(3).to_string(index=False))

figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
label = "expected of 500 rows like the test rows"
axis.axhspan(usual - band, usual + band, color="C0", alpha=0.2, label=label)
axis.plot(weeks["week"], weeks["agreement"], "o-", color="C1", label="a week of 500 requests")
axis.axvline(6.5, color="gray", linestyle=":", label="contracts start to get older")
axis.set(
    xlabel="Week",
    ylabel="Same label as the teacher (share of rows)",
    title="The agreement with the teacher shows that the rows have changed",
)
axis.set_xticks(weeks["week"])
axis.legend(loc="lower left", framealpha=1)
plt.show()

# %%
# The alarm comes later than the first changed week. The share of cells beyond the range of the
# training rows, which needs no teacher at all, is earlier: watch both. If it rises, collect rows
# of the new kind, fit teacher and student again, and repeat this script.
#
# Agreement does *not* show that the teacher has become wrong: if customers change their habits,
# but not their columns, student and teacher agree as before, and both are wrong. Only true labels
# show this. Score the file on them as soon as they are known.
#
# What can go wrong, in short:
#
# - The teacher has no lead over the student on hard labels: nothing to gain. Deploy the latter.
# - The rows of the table are not independent (several rows of one customer): pass ``groups`` to
#   ``fit`` and to the report, or all scores are too good.
# - Rows are ordered in time: pass a splitter that tests later rows than it trains on as ``cv``.
# - The preparation of cells in the service differs from that of the training table: send raw
#   cells, and compare answers, as above.
