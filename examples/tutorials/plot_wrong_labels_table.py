"""A table with wrong labels
=========================

Labels that people have made are partly wrong, and a model that is trained on them learns some of
the mistakes. This tutorial takes a table that three annotators have labeled, and answers the
questions that its owner has, in this order:

1. How wrong are the labels, as far as votes and models can tell?
2. Which labels are wrong? Somebody looks through the first of a ranking.
3. Does training with correction help, compared honestly with plain training?
4. How does the result become a small file?

The wrong labels are made by the script, so that all answers can be checked. In practice the truth
is unknown: the places that use it are marked with "only here", and the last section says what
replaces them. The script takes about half a minute on one core.
"""

# %%
# The table and its labels
# ------------------------
#
# The table is that of the other tutorial, with numbers, strings, categories and missing cells.
# **Replace this cell by your own DataFrame**, and ``noisy.y`` by your labels. ``sharpness`` makes
# the labels almost a function of the columns. This matters: *a wrong label is found because
# similar rows contradict it*. If the true labels of similar rows differ anyway, nobody can tell a
# wrong label from an unlucky one.
#
# Three annotators label each row of the training table, and each is wrong on a share ``RATE`` of
# the rows: two anywhere, and the third in one block of adjacent rows, as if a batch had been
# labeled in a hurry. The label of a row is the one with the most votes. The labels of the test
# rows are right. Have such rows checked by somebody careful, even if they are few: without them no
# comparison below is possible.

import sys

sys.path.extend(["..", "examples"])  # quickstart.py is in the folder above this script

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from quickstart import make_table
from sklearn.base import clone
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from sklearn_kd import SelfDistillClassifier, TwoLayerPGDClassifier
from sklearn_kd.datasets import add_label_noise, votes_to_soft_targets
from sklearn_kd.export import CompactModel, compact
from sklearn_kd.inspection import LabelErrorDisplay

threadpool_limits(1)  # networks as small as these are not faster with more threads

RATE = 0.3
X, y = make_table(7500, sharpness=30)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=4500, stratify=y, random_state=0
)
X_train = X_train.reset_index(drop=True)  # rows have the numbers 0, 1, ...
noisy = add_label_noise(y_train, RATE, kind="annotators", random_state=0)
print(f"{len(X_train):,} training rows, {len(X_test):,} test rows with right labels")
print(f"classes: {', '.join(noisy.classes)}")

# %%
# What the votes say
# ------------------
#
# Votes are the cheapest source. Where annotators disagree, at least one of them is wrong. Where
# they agree, they may be wrong together. How often each differs from the majority shows whether
# one of them, or one batch, is worse than the others, before any model is fitted. If this finds a
# bad batch, label the batch again first: a few hours of work are better than any algorithm.

votes = pd.DataFrame(noisy.votes, columns=["annotator 1", "annotator 2", "annotator 3"])
agreed = (votes.nunique(axis=1) == 1).mean()
print(f"all three agree on {agreed:.1%} of the rows")
differs = votes.ne(noisy.y, axis=0)
differs.index = pd.cut(votes.index, 9, labels=[f"batch {number}" for number in range(1, 10)])
print("\nshare of rows on which an annotator differs from the majority")
print(differs.groupby(level=0, observed=True).mean().map("{:.1%}".format).to_string())
print(f"\nonly here: {noisy.rate:.1%} of the majority's labels are wrong")

# %%
# What a model says
# -----------------
#
# :class:`~sklearn_kd.SelfDistillClassifier` needs no votes. It trains networks on folds, compares
# each label with what a network predicts that has not seen it, estimates how many labels are wrong
# (``noise_rate_``), and trains a last network on corrected labels. A rate of zero or nearly so
# means that it found no sign of wrong labels, or that classes overlap so much that it cannot tell:
# then the fit below is about the plain one.

network = TwoLayerPGDClassifier(width=64, random_state=0)
corrected = SelfDistillClassifier(network, random_state=0).fit(X_train, noisy.y)
print(f"estimated share of wrong labels: {corrected.noise_rate_:.1%}")
print(f"only here, the true share:       {noisy.rate:.1%}")

# %%
# Which labels are wrong
# ----------------------
#
# ``find_label_errors`` ranks all rows by ``label_quality``, lowest first. It fits five copies of
# the model, so that one of them has not seen the row. The quality of the given label is the
# geometric mean of what this copy and the other four predict for it. The picture is the first page,
# as a person would look through it: the given label, the suggested one, and the raw cells.

errors = corrected.find_label_errors(X_train, noisy.y)
columns = ["age", "income", "months", "visits", "region", "plan", "device"]
figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
LabelErrorDisplay.from_errors(errors, X_train, n_rows=15, columns=columns, ax=axis)
plt.show()

# %%
# How far down should one look? Up to about ``noise_rate_`` times the number of rows, and as long
# as the last page was worth its time. Count what each page yields, and stop when it is little. Do
# not relabel rows without looking at them: the suggestion is often wrong further down, and rows
# that are right but rare are on the first pages, too.

PAGE = 150
is_wrong = noisy.is_wrong[errors["row"]]  # only here: in practice a person finds out
print("only here, wrong labels on each page of the ranking")
for start in range(0, 1500, PAGE):
    n_wrong = is_wrong[start : start + PAGE].sum()
    print(f"  rows {start + 1:>5,} to {start + PAGE:>5,}: {n_wrong / PAGE:.0%}")
n_checked = 3 * PAGE
found = is_wrong[:n_checked].sum()
print(f"{n_checked} rows looked at, {found} of {is_wrong.sum()} wrong labels found")
print(f"expected of {n_checked} rows in any order: {n_checked * is_wrong.mean():.0f}")

# %%
# What the ranking saves is the distance between the solid line and the dotted one: the wrong
# labels that the same work finds if rows are looked at in any order.

figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
looked_at = np.arange(1, len(is_wrong) + 1)
axis.plot(looked_at, is_wrong.cumsum(), color="C3", label="ranked by label quality")
axis.plot(looked_at, is_wrong.mean() * looked_at, "k:", label="in any order")
axis.plot(looked_at, np.minimum(looked_at, is_wrong.sum()), "k--", lw=1, label="best possible")
axis.axvline(n_checked, color="gray", lw=1)
axis.annotate(f" {n_checked} checked", (n_checked, 0.02 * is_wrong.sum()), color="gray")
axis.set(
    xlabel="Rows looked at",
    ylabel="Wrong labels found",
    title="The ranking has the wrong labels first",
)
axis.legend(loc="lower right")
plt.show()

# %%
# Comparison on the test rows
# ---------------------------
#
# What is worth its cost: training longer or shorter, the votes, the correction, the cleaning by
# hand? All models are the same network, trained on the same rows, and scored on the test rows,
# whose labels are right. Scores on the noisy labels would reward a model for repeating the
# mistakes.
#
# - "plain, to the end" shows what memorizing costs. "plain" stops early, which is the default on
#   hard labels, and is the training to compare with.
# - "votes" are the shares of the annotators, :func:`~sklearn_kd.datasets.votes_to_soft_targets`,
#   as soft targets. Set ``early_stopping=True``, since a network learns soft targets to the end by
#   default, and votes contain mistakes. Shares of three votes are coarse: a network learns to be
#   as unsure as the annotators are, which the log loss punishes where the truth is certain.
# - "correction" is the model from above.
# - "checked" has the labels of the first pages set right by a person.
# - "true labels" is out of reach: what the same network would be without any mistake.

hand_made = noisy.y.copy()
checked = errors["row"].to_numpy()[:n_checked]
hand_made[checked] = y_train[checked]  # what the person decides, who here makes no mistake

shares = votes_to_soft_targets(noisy.votes)
stopped = clone(network).set_params(early_stopping=True)
models = {
    "plain, to the end": clone(network).set_params(early_stopping=False).fit(X_train, noisy.y),
    "plain": clone(network).fit(X_train, noisy.y),
    "votes": stopped.fit(X_train, noisy.y, soft_targets=shares),
    "correction": corrected,
    "checked, plain": clone(network).fit(X_train, hand_made),
    "checked, correction": clone(corrected).fit(X_train, hand_made),
    "true labels": clone(network).fit(X_train, y_train),
}


def losses(model):
    """Return the log loss of each test row."""
    proba = model.predict_proba(X_test)
    return -np.log(proba[np.arange(len(X_test)), np.searchsorted(model.classes_, y_test)])


def difference(model, other):
    """Return the mean difference of the losses of the same rows, and two standard errors."""
    values = losses(model) - losses(other)
    return values.mean(), 2 * values.std(ddof=1) / np.sqrt(len(values))


lines = {}
for name, model in models.items():
    change, error = difference(model, models["plain"])
    lines[name] = {
        "accuracy": accuracy_score(y_test, model.predict(X_test)),
        "log loss": log_loss(y_test, model.predict_proba(X_test)),
        "less plain": change,
        "+-": error,
    }
table = pd.DataFrame(lines).T
print(table.round(3).to_string())
share = lines["plain"]["accuracy"]
error = np.sqrt(share * (1 - share) / len(X_test))
print(f"\nstandard error of an accuracy of {share:.2f} on {len(X_test):,} rows: {error:.3f}")

# %%
# The column "less plain" is the mean difference of the log loss to plain training, row by row,
# with two standard errors: if zero is within them, the test rows show no difference. Compare it
# and not only the accuracy, whose noise is larger than most gains. Correction acts on the
# probabilities first. A network that has learned that labels are wrong now and then is unsure of
# everything, and the correction takes this doubt away.
#
# The standard errors are those of other test rows, not of other training rows or starts. Before
# you rely on a small gain, repeat the comparison with another split and another ``random_state``.

figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
figure.suptitle("Correction and checking lower the loss, votes do not")
colors = ["C7", "C7", "C0", "C1", "C2", "C2", "black"]
places = np.arange(len(table))
axis.barh(places, table["log loss"], color=colors, alpha=0.8)
for place, loss in zip(places, table["log loss"], strict=True):
    axis.annotate(f" {loss:.3f}", (loss, place), va="center")
axis.set_yticks(places, table.index)
axis.invert_yaxis()
axis.set(
    xlim=(0, 1.12 * table["log loss"].max()),
    xlabel="Log loss on test rows with right labels (nats, lower is better)",
)
plt.show()

# %%
# A small file
# ------------
#
# The network that found the errors is wide. What is deployed need not be: ``refined_targets_`` are
# the corrected probabilities of all training rows, and teach any student that takes
# ``soft_targets``, such as a network of 16 neurons. This is distillation again, with the corrected
# network as teacher. The student on the noisy labels is the comparison that counts.
#
# The file is written as in the other tutorial, and read with NumPy alone. The raw row that it
# answers may lack cells, and needs no preparation.

best = models["checked, correction"]
narrow = TwoLayerPGDClassifier(width=16, random_state=0)
students = {
    "16 neurons, noisy labels": clone(narrow).fit(X_train, noisy.y),
    "16 neurons, refined targets": clone(narrow).fit(
        X_train, hand_made, soft_targets=best.refined_targets_
    ),
    "64 neurons, corrected": best,
}
print(f"{'':<28}{'bytes':>8}{'log loss':>10}{'accuracy':>10}")
for name, model in students.items():
    small = compact(model)
    loss = log_loss(y_test, small.predict_proba(X_test), labels=small.classes_)
    accuracy = accuracy_score(y_test, small.predict(X_test))
    print(f"{name:<28}{small.n_bytes_:>8,}{loss:>10.3f}{accuracy:>10.3f}")

path = Path(tempfile.mkdtemp()) / "model.skdc"
compact(students["16 neurons, refined targets"]).save(path)
small = CompactModel.load(path)
row = X_test.iloc[0].to_dict()
print(f"\n{path.name}: {path.stat().st_size:,} bytes")
print(f"{row}\n{small.predict_one(row)}, probabilities {small.predict_proba_one(row).round(3)}")

# %%
# Without the truth
# -----------------
#
# In practice nobody knows which labels are wrong. Then
#
# - the share of wrong labels is estimated by ``noise_rate_``, and by looking at a hundred rows
#   drawn *at random*, not at the first of the ranking;
# - each page of the ranking is counted by the person who looks through it;
# - models are compared on test rows whose labels were checked, all of them and not only those that
#   a model contradicts. Checking only these favors the model.
#
# What can go wrong, in short:
#
# - **Systematic mistakes.** If labels are wrong in a pattern that columns show, such as all
#   customers of one region, the network learns the pattern, and ranks these labels as right.
#   Votes, or a person who knows the region, find them.
# - **Rare classes and difficult rows** are contradicted although they are right. Look at the
#   recall of each class, and never leave out rows by the ranking alone.
# - **Groups.** Several rows of one customer confirm each other's wrong label: pass ``groups``.
