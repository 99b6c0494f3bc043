"""Train students of teachers that were stopped after different numbers of epochs.

    SKLEARN_KD_DATA=folder/of/cifar10.npz python examples/early_stopped_teacher.py
    python examples/early_stopped_teacher.py --full             # on a GPU

Figure 1 of Dong, Hou, Lu and Zhang (arXiv:1910.01255, section 2.1) shows that a better teacher may
have a worse student. They train a WRN-28 on CIFAR-100 for 40, 80, 120, 160 and 200 epochs, and each
of the five teaches a five-layer network. The teacher improves with every epoch, and the student is
best after 80. This example uses CIFAR-10 instead of CIFAR-100 and a small ResNet instead of the
WRN-28. The student is theirs (Table 2). They specify neither the temperature nor the weight of the
teacher's labels, nor the training. These are options, with customary defaults.

``--full`` uses all of CIFAR-10, flipped and cropped at random for the teacher, a WRN-16-4, 200
epochs of SGD with the step size divided by five after 60, 120 and 160, and a student as wide as in
Table 2.

Without it, the setting is reduced so that it takes at most 25 minutes on two cores: the first five
classes, 2500 training rows and all of their 5000 test rows, no augmentation, a ResNet of 8 layers
and 16 channels, 30 epochs in the same proportions, and a student a quarter as wide (8, 16 and 32
channels, 128 hidden units) that is trained for 20 epochs instead of 100, from three random
initializations instead of five.

The teacher is trained once and evaluated on the way: `fit` continues from its checkpoint after
``max_epochs`` has been increased. It labels the rows on which it was trained, as in the paper.
`DistilledClassifier` only does so on request, but the effect of early stopping concerns these
labels. The script prints a table in Markdown and writes ``early_stopped_teacher.png``. Without
``cifar10.npz`` the data are the digits that are bundled with scikit-learn.
"""

import argparse
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_kd import DistilledClassifier, ModuleClassifier
from sklearn_kd.datasets import fetch_cifar10, select_classes
from sklearn_kd.modules import ResNet, SmallCNN

#: Values of --full instead of the defaults.
FULL = {
    "rows": 50_000,
    "test_rows": 10_000,
    "classes": 10,
    "epochs": [40, 80, 120, 160, 200],
    "augmentation": ["flip", "crop"],
    "teacher_depth": 2,
    "teacher_width": 64,
    "student_width": 32,
    "student_epochs": 100,
    "seeds": 5,
}


def load(options):
    """Return shuffled training and test rows, their image shape and a sentence on them."""
    try:
        data = fetch_cifar10(download_if_missing=False)
    except FileNotFoundError:
        X, y = load_digits(return_X_y=True)
        X = (X / 16).astype(np.float32)
        parts = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)
        train, test = (parts[0], parts[2]), (parts[1], parts[3])
        name, shape = "the digits bundled with scikit-learn (CIFAR-10 was not found)", (1, 8, 8)
    else:
        train, test = (data.X_train, data.y_train), (data.X_test, data.y_test)
        name, shape = "CIFAR-10", (3, 32, 32)
    random, sets = np.random.RandomState(0), []
    for (X, y), n_rows in ((train, options.rows), (test, options.test_rows)):
        X, y = select_classes(X, y, range(options.classes))
        some = random.permutation(len(X))[:n_rows]
        sets += [X[some], y[some]]
    about = f"{name}: {len(sets[0])} training and {len(sets[2])} test rows of {options.classes}"
    return sets, shape, f"{about} classes."


def make_teacher(options, shape, checkpoint_path):
    """Return a teacher that continues where it ended after ``max_epochs`` was increased."""
    milestones = [round(share * max(options.epochs)) for share in (0.3, 0.6, 0.8)]
    return ModuleClassifier(
        ResNet,
        module_params={"width": options.teacher_width, "depth": options.teacher_depth},
        image_shape=shape,
        augmentation=options.augmentation,
        optimizer="sgd",
        learning_rate=0.1,
        optimizer_params={"momentum": 0.9, "nesterov": True},
        weight_decay=5e-4,
        scheduler=torch.optim.lr_scheduler.MultiStepLR,
        scheduler_params={"milestones": milestones, "gamma": 0.2},
        batch_size=128,
        early_stopping=False,
        mixed_precision="auto",
        checkpoint_path=checkpoint_path,
        device=options.device,
        random_state=0,
    )


def make_student(options, shape):
    return ModuleClassifier(
        SmallCNN,
        module_params={"width": options.student_width},
        image_shape=shape,
        learning_rate=0.003,
        scheduler="cosine",
        max_epochs=options.student_epochs,
        batch_size=128,
        early_stopping=False,
        mixed_precision="auto",
        device=options.device,
    )


def softness(proba, temperature):
    """Return the mean entropy, in nats, of the labels at a temperature: 0 for hard labels."""
    return entropy(softmax(np.log(proba + 1e-30) / temperature, axis=1), axis=1).mean()


def run(options):
    """Return two DataFrames: a line for each teacher, and one for each student."""
    (X, y, X_test, y_test), shape, about = load(options)
    print(about, flush=True)
    student = make_student(options, shape)

    def score(labels, **columns):
        """Train students on labels, None for the hard ones."""
        for seed in range(options.seeds):
            model = clone(student).set_params(random_state=seed)
            if labels is not None:
                alpha, temperature = options.alpha, columns["temperature"]
                model = DistilledClassifier(
                    student=model, alpha=alpha, temperature=temperature, augmentation=None
                )
            model.fit(X, y, **({} if labels is None else {"soft_targets": labels}))
            lines.append({**columns, "seed": seed, "accuracy": 100 * model.score(X_test, y_test)})

    teachers, lines = [], []
    score(None, epochs=0, temperature=1.0)
    with TemporaryDirectory() as folder:
        teacher = make_teacher(options, shape, Path(folder) / "teacher")
        for epochs in sorted(options.epochs):
            start = time.perf_counter()
            teacher.set_params(max_epochs=epochs).fit(X, y)
            seconds = time.perf_counter() - start
            labels = teacher.predict_proba(X)
            line = {
                "epochs": epochs,
                "test": 100 * teacher.score(X_test, y_test),
                "training": 100 * np.mean(teacher.classes_[labels.argmax(axis=1)] == y),
            }
            start = time.perf_counter()
            for temperature in options.temperature:
                line[temperature] = softness(labels, temperature)
                score(labels, epochs=epochs, temperature=temperature)
            teachers.append(line)
            print(
                f"{epochs} epochs, {line['test']:.1f}%: {seconds:.0f} s, its students "
                f"{time.perf_counter() - start:.0f} s",
                flush=True,
            )
    return pd.DataFrame(teachers).set_index("epochs"), pd.DataFrame(lines)


def mean_and_std(students):
    """Return lines for (temperature, epochs of the teacher)."""
    return students.groupby(["temperature", "epochs"])["accuracy"].agg(["mean", "std"])


def deviation(std):
    """Return a standard deviation as text, nothing for a single student, which has none."""
    return "" if np.isnan(std) else f" ± {std:.1f}"


def split(students):
    """Return students on hard labels, students of teachers, and the gain of the latter."""
    hard, soft = students[students["epochs"] == 0], students[students["epochs"] > 0]
    gains = soft.merge(hard[["seed", "accuracy"]], on="seed", suffixes=("", "_hard"))
    return hard, soft, gains.assign(accuracy=gains["accuracy"] - gains["accuracy_hard"])


def table(teachers, students):
    """Return Markdown: a line for each teacher, with mean and deviation of students over seeds."""
    _, soft, gains = split(students)
    levels, gains = mean_and_std(soft), mean_and_std(gains)
    temperatures = levels.index.unique("temperature")
    head = ["teacher's epochs", "teacher, test", "teacher, training"]
    for T in temperatures:
        head += [f"entropy of labels, T = {T:g}", f"student, T = {T:g}", "less hard"]
    lines = [head, ["---"] * len(head)]
    for epochs, line in teachers.iterrows():
        cells = [f"{epochs}", f"{line['test']:.1f}", f"{line['training']:.1f}"]
        for T in temperatures:
            level, gain = levels.loc[T, epochs], gains.loc[T, epochs]
            cells += [
                f"{line[T]:.2f}",
                f"{level['mean']:.1f}{deviation(level['std'])}",
                f"{gain['mean']:+.1f}{deviation(gain['std'])}",
            ]
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def reading(teachers, students):
    """Return a sentence on which teacher is the best, and which has the best student."""
    _, soft, _ = split(students)
    best, last = teachers["test"].idxmax(), teachers.index[-1]
    sentences = [f"The best teacher is that of {best} epochs."]
    for T, group in soft.groupby("temperature"):
        by_seed = group.pivot(index="seed", columns="epochs", values="accuracy")
        winner = by_seed.mean().idxmax()
        sentence = f"T = {T:g}: the best students are those of the teacher of {winner} epochs"
        if winner != last:
            gain = by_seed[winner] - by_seed[last]
            sentence += (
                f", {gain.mean():.1f}{deviation(gain.std())} above those of the last teacher"
            )
        sentences.append(f"{sentence}.")
    return "\n".join(sentences)


def draw(teachers, students, path):
    """Draw accuracy against the epochs of the teacher, as in Figure 1.

    Return True if matplotlib is installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    hard, soft, _ = split(students)
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    left.plot(teachers["test"], "ko-")
    left.set(ylabel="test accuracy, %", title="Teacher")
    mean, std = hard["accuracy"].mean(), hard["accuracy"].std()
    right.axhline(mean, color="C7", label="hard labels")
    right.axhspan(mean - std, mean + std, color="C7", alpha=0.2, lw=0)
    for T, lines in mean_and_std(soft).groupby("temperature"):
        lines = lines.droplevel("temperature")
        right.errorbar(
            lines.index,
            lines["mean"],
            lines["std"],
            fmt="o-",
            capsize=3,
            label=f"taught, T = {T:g}",
        )
    right.set(title="Student")
    right.legend()
    for axis in (left, right):
        axis.set_xlabel("teacher's epochs")
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    return True


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--full", action="store_true", help="the size of the paper, for a GPU")
    add("--rows", type=int, default=2500, help="training rows")
    add("--test-rows", type=int, default=5000)
    add("--classes", type=int, default=5, help="the first of them")
    add("--epochs", type=int, nargs="+", default=[6, 12, 18, 24, 30], help="of the teachers")
    add("--augmentation", nargs="*", default=None, help="of the teacher: flip crop shift noise")
    add("--teacher-depth", type=int, default=1)
    add("--teacher-width", type=int, default=16)
    add("--student-width", type=int, default=8)
    add("--student-epochs", type=int, default=20)
    add("--seeds", type=int, default=3, help="of the students")
    add("--temperature", type=float, nargs="+", default=[4.0], help="one or more")
    add("--alpha", type=float, default=0.9, help="weight of the teacher's labels")
    add("--device", default="auto")
    add("--picture", default="early_stopped_teacher.png", help="where to save the picture")
    options = parser.parse_args()
    if options.full:
        for key, value in FULL.items():
            if getattr(options, key) == parser.get_default(key):
                setattr(options, key, value)
    return options


def environment():
    """Return one line on the machine and the versions."""
    packages = ("sklearn-kd", "scikit-learn", "torch", "numpy")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    threads = os.environ.get("OMP_NUM_THREADS", "as many as cores")
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, threads: {threads}; "
        f"Python {platform.python_version()}, {versions}."
    )


def main():
    options, start = parse(), time.perf_counter()
    print(environment())
    teachers, students = run(options)
    hard = split(students)[0]["accuracy"]
    print(f"\nPer cent; mean and standard deviation over random initializations: {options.seeds}.")
    print(f"Student on hard labels: {hard.mean():.1f}{deviation(hard.std())}\n")
    print(table(teachers, students), reading(teachers, students), sep="\n\n")
    print(f"\n{time.perf_counter() - start:.0f} s")
    if draw(teachers, students, options.picture):
        print(f"picture: {Path(options.picture).resolve()}")
    else:
        print('no picture: matplotlib is missing, pip install "sklearn-kd[plot]"')


if __name__ == "__main__":
    main()
