"""A small model for small images
==============================

A camera, a scanner or a microcontroller has to read small images. A convolutional network does
this well, but is too large or too slow there, and few of the images have a label. This tutorial
goes

1. from few labeled and more unlabeled images to a convolutional teacher;
2. to students of two kinds, narrow convolutional networks and two-layer networks, each trained on
   the labels alone, on labels and teacher, and on labels, teacher and unlabeled images;
3. to the choice of one, by its accuracy against the bytes of its file;
4. to the file, whose answers are checked;
5. to the mistakes that the deployed model makes.

The result in a sentence: on the images that have labels, a teacher adds little. Images *without*
labels are where it earns its cost. The script takes under a minute on one core.
"""

# %%
# The images
# ----------
#
# The digits that are bundled with scikit-learn have 8 x 8 pixels. **Replace this cell by your own
# images**: an array of one flat row for each image, stored channel by channel, and its shape as
# ``SHAPE``. :func:`sklearn_kd.datasets.fetch_mnist` loads MNIST, of ``SHAPE = (1, 28, 28)``, with
# which the script takes much longer. float32 takes half the memory and time of float64.
#
# Half of the images are set aside for testing. They also choose among the students below, which is
# only fair because the differences that matter here are larger than the noise of the test. To
# choose among many students, split off validation images too.

from importlib.util import find_spec

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from threadpoolctl import threadpool_limits

from sklearn_kd import DistilledClassifier, ModuleClassifier, TwoLayerPGDClassifier
from sklearn_kd.export import compact, to_onnx
from sklearn_kd.modules import SmallCNN

threadpool_limits(1)  # networks as small as these are not faster with more threads

SHAPE = (1, 8, 8)  # channels, height, width
X, y = load_digits(return_X_y=True)
X = X.astype(np.float32)
X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)
X, X_unlabeled, y, _ = train_test_split(X, y, train_size=300, stratify=y, random_state=0)
print(f"{len(X)} images with a label, {len(X_unlabeled)} without, {len(X_test)} for testing")

# %%
# The teacher
# -----------
#
# :class:`~sklearn_kd.ModuleClassifier` makes a classifier of any torch module, here
# :class:`~sklearn_kd.modules.SmallCNN` with 32 channels in its first layer. With so few labels,
# what prevents it from memorizing them matters most: ``dropout``, and ``augmentation``, which
# shifts the images of each batch by up to a pixel. Mirrored digits are other digits, so that
# "flip" would be wrong here: choose changes that keep the label.
#
# ``max_epochs`` sets the length of the training. A number of steps, here about 200 of 64 images,
# is easier to compare between data sets than a number of epochs.


def convolutional(width, n_rows, dropout=0.0, augmentation=None):
    """Return an unfitted convolutional network."""
    return ModuleClassifier(
        SmallCNN,
        module_params={"width": width, "dropout": dropout},
        image_shape=SHAPE,
        batch_size=64,
        max_epochs=round(200 * 64 / n_rows),
        learning_rate=0.005,
        scheduler="one-cycle",
        early_stopping=False,
        augmentation=augmentation,
        random_state=0,
    )


teacher = convolutional(32, len(X), dropout=0.5, augmentation={"shift": 1})

# %%
# Before it teaches, compare the teacher with the simplest model that you would deploy anyway. If
# it is no better, improve it first, or deploy the simple model.
#
# The teacher has seen the labeled images, and is nearly certain of their labels: its answers for
# them repeat the labels and teach nothing. The labels of these images therefore come from fits
# that have not seen the image. ``DistilledClassifier(teacher, ...)`` makes them by itself. Here
# they are made once, since several students learn from the same teacher, and passed as
# ``soft_targets``.

labels_of_teacher = cross_val_predict(teacher, X, y, cv=5, method="predict_proba")
teacher.fit(X, y)
simple = make_pipeline(MinMaxScaler(), LogisticRegression()).fit(X, y)
print(f"teacher:             {teacher.score(X_test, y_test):.3f} of the test images are right")
print(f"logistic regression: {simple.score(X_test, y_test):.3f}")
error = np.sqrt(0.05 * 0.95 / len(X_test))
print(f"standard error of an accuracy of 0.95 on {len(X_test)} images: {error:.3f}")

# %%
# The students
# ------------
#
# A narrow convolutional network has the right structure for images. A two-layer network treats the
# pixels as columns of a table (``encoder=None`` takes them as they are), is trained in a fraction
# of a second, and its file needs no torch and no onnxruntime: NumPy reads it.
#
# Each is trained in three ways. The names of the ways are those of the table below:
#
# - "labels": on the labeled images alone;
# - "teacher": on the mean of these labels and of the teacher's (``alpha=0.5``);
# - "unlabeled": likewise, and on the teacher's labels of the images without a label, which ``fit``
#   takes as ``X_unlabeled``.
#
# ``augmentation=None`` leaves out artificial rows, which are made for tables and not for images.
# Each student is trained from three starts, since small networks differ by their start about as
# much as by their labels.

WAYS = ["labels", "teacher", "unlabeled"]


def students(n_rows):
    """Return unfitted students by kind and width."""
    found = {("convolutional", width): convolutional(width, n_rows) for width in (4, 8)}
    for width in (8, 16, 32):  # in full batch an epoch is one step
        steps = {"batch_size": None, "max_iter": 600, "early_stopping": False, "n_init": 1}
        found["two-layer", width] = TwoLayerPGDClassifier(width, encoder=None, **steps)
    return found


def fitted(student, way):
    """Return a student that is trained in one of the ways."""
    if way == "labels":
        return student.fit(X, y)
    more = X_unlabeled if way == "unlabeled" else None
    fixed = {"alpha": 0.5, "temperature": 1.0, "augmentation": None}
    model = DistilledClassifier(FrozenEstimator(teacher), student, **fixed)
    model.fit(X, y, soft_targets=labels_of_teacher, X_unlabeled=more)
    return model.student_


scores, deployed = [], {}
for way in WAYS:
    n_rows = len(X) + len(X_unlabeled) if way == "unlabeled" else len(X)
    for key, student in students(n_rows).items():
        for start in range(3):
            model = fitted(clone(student).set_params(random_state=start), way)
            scores.append((*key, way, model.score(X_test, y_test)))
        deployed[key] = model  # of the last way and start
scores = pd.DataFrame(scores, columns=["student", "width", "way", "accuracy"])

# %%
# The bytes of a student
# ----------------------
#
# A two-layer network is written by ``compact``. Networks with convolutions are written in ONNX,
# which onnxruntime runs in most languages. This needs the extra "onnx" (``pip install
# "sklearn-kd[onnx]"``), and without it the picture shows two-layer networks only. The length of a
# file depends on the width, not on the labels, so that one file of each is enough.

HAS_ONNX = find_spec("onnxscript") and find_spec("onnxruntime")


def n_bytes(model):
    """Return the length of the file of a model."""
    if isinstance(model, TwoLayerPGDClassifier):
        return compact(model).n_bytes_
    return to_onnx(model, X_test[:20]).ByteSize() if HAS_ONNX else np.nan


sizes = pd.Series({key: n_bytes(model) for key, model in deployed.items()})
sizes.index.names = ["student", "width"]
size_of_teacher = n_bytes(teacher)

grouped = scores.groupby(["student", "width", "way"])["accuracy"]
mean, spread = (each.unstack("way")[WAYS] for each in (grouped.mean(), grouped.std()))
table = mean.map("{:.3f}".format) + spread.map(" +- {:.3f}".format)
table["bytes"] = sizes.map("{:,.0f}".format)
print("accuracy on the test images, mean and standard deviation of three starts\n")
print(table.to_string())
print(f"\nteacher: {teacher.score(X_test, y_test):.3f}, {size_of_teacher:,.0f} bytes")
for way in WAYS[1:]:
    gain = 100 * (mean[way] - mean["labels"])
    print(f"{way}: {gain.mean():+.1f} points over labels ({gain.min():+.1f} to {gain.max():+.1f})")

# %%
# Read the last two lines first. The teacher's labels of images that have a label already change
# little, and can cost accuracy. Its labels of further images are what improves every student. If
# you have unlabeled images, use them before you tune anything else. They must be images like those
# that the model will see: the teacher labels others with confidence, too.
#
# In the picture, each point is a file. Take the leftmost one that is accurate enough.

ways = dict(zip(WAYS, ["C7", "C0", "C1"], strict=True))
figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
for (student, lines), style in zip(mean.groupby("student"), ("o-", "s--"), strict=True):
    for way in ("labels", "unlabeled"):
        options = {"fmt": style, "color": ways[way], "capsize": 3, "label": f"{student}, {way}"}
        axis.errorbar(sizes[lines.index], lines[way], spread.loc[lines.index, way], **options)
if HAS_ONNX:
    score = teacher.score(X_test, y_test)
    axis.plot(size_of_teacher, score, "k*", markersize=12, label="teacher")
score = simple.score(X_test, y_test)
axis.axhline(score, color="gray", linestyle=":", label="logistic regression")
axis.set(
    xscale="log",
    xlabel="Size of the file (bytes)",
    ylabel="Accuracy on the test images",
    title="Unlabeled images make every student better at the same size",
)
axis.grid(alpha=0.3)
axis.legend(fontsize="small", loc="lower right")
plt.show()

# %%
# The file
# --------
#
# The two-layer network of 16 neurons is taken here, for a device without onnxruntime. A file of
# int8 has a quarter of the bytes of the weights, and the test images measure what that changes:
# ``largest_change_`` of a probability, and the accuracy. Check the accuracy of the file and not
# only that of the model.
#
# For a microcontroller, ``export.to_c`` writes the same network as a C header.

chosen = deployed["two-layer", 16]
print(f"{'weights':<9}{'bytes':>8}{'largest change':>16}{'accuracy':>10}")
for dtype in ("float32", "int8"):
    small = compact(chosen, X_test, dtype=dtype, max_change=0.5)
    accuracy = np.mean(small.predict(X_test) == y_test)
    change = f"{small.largest_change_:.0e}"
    print(f"{dtype:<9}{small.n_bytes_:>8,}{change:>16}{accuracy:>10.3f}")
print(f"{'model':<33}{chosen.score(X_test, y_test):>10.3f}")

# %%
# A convolutional student is written as ONNX. ``to_onnx`` compares the answers of onnxruntime with
# those of the model on the images that it gets, and raises an error if they differ. The service
# needs onnxruntime alone:

if HAS_ONNX:
    import onnxruntime

    graph = to_onnx(deployed["convolutional", 8], X_test[:20]).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    dtype = {"tensor(float)": np.float32, "tensor(double)": np.float64}[given.type]
    answers, _ = session.run(["label", "probabilities"], {given.name: X_test.astype(dtype)})
    print(f"ONNX: {len(graph):,} bytes, accuracy {np.mean(answers == y_test):.3f}")
else:
    print('no ONNX: pip install "sklearn-kd[onnx]"')

# %%
# The mistakes
# ------------
#
# An accuracy says how often a model is wrong, and not where. Rows of this matrix are true digits,
# and columns are answers of the deployed file. The right answers are left out, so that the colors
# show mistakes alone. A row that is full of mistakes is a digit that needs more labels; a single
# dark cell is a pair that looks alike at this resolution.

small = compact(chosen)
proba = small.predict_proba(X_test)
answers = small.predict(X_test)
figure, axis = plt.subplots(figsize=(5.2, 4.6), layout="constrained")
display = ConfusionMatrixDisplay.from_predictions(y_test, answers, ax=axis, cmap="Oranges")
mistakes = display.confusion_matrix.copy()
np.fill_diagonal(mistakes, 0)
display.im_.set(data=mistakes, clim=(0, mistakes.max()))
for (row, column), text in np.ndenumerate(display.text_):
    count = mistakes[row, column]
    text.set(text=count or "", color="white" if count > mistakes.max() / 2 else "black")
display.im_.colorbar.set_label("Mistakes (images)")
wrong = int(mistakes.sum())
axis.set(xlabel="Answer", ylabel="True digit", title=f"{wrong} of {len(y_test)} images are wrong")
plt.show()
per_digit = pd.Series(mistakes.sum(axis=1), name="mistakes").rename_axis("digit")
print(per_digit.to_frame().T.to_string())

# %%
# The mistakes of which the model is most certain are those that nobody notices in use. Look at
# them: some are images that a person cannot read either, or wrong labels, and some are a kind of
# writing that the labeled images lack. Above each image are the true digit, the answer of the file
# with its probability, and the answer of the teacher. Where the teacher is right, more unlabeled
# images or a wider student can help. Where it is wrong too, only labels can.

by_teacher = teacher.predict(X_test)
wrong = np.flatnonzero(answers != y_test)
worst = wrong[np.argsort(-proba[wrong].max(axis=1), kind="stable")][:10]
figure, axes = plt.subplots(2, 5, figsize=(8, 4.2), layout="constrained")
figure.suptitle("The most certain mistakes of the deployed file")
for axis, row in zip(axes.flat, worst, strict=True):
    axis.imshow(X_test[row].reshape(SHAPE[1:]), cmap="gray_r")
    lines = f"true {y_test[row]}, answer {answers[row]} ({proba[row].max():.2f})"
    axis.set_title(f"{lines}\nteacher {by_teacher[row]}", fontsize="small")
    axis.set_axis_off()
plt.show()
right = np.mean(by_teacher[wrong] == y_test[wrong])
print(f"The teacher is right on {right:.0%} of the {len(wrong)} mistakes of the file.")

# %%
# What to check, and what can go wrong, in short:
#
# - Labels of the teacher for its own training images come from fits that have not seen them.
# - Unlabeled images are of the same kind as those in use, and none of them is a test image.
#   Several images of one object or person stay together on one side of the split: pass ``groups``.
# - The device scales pixels exactly as the training data: 0 to 16 here, and often 0 to 255
#   elsewhere. Send a few known images to it and compare the answers.
# - If a wrong answer is expensive, let the model not answer below a probability, see
#   :class:`~sklearn_kd.inspection.DeferralDisplay`.
