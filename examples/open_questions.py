"""Examine the four open questions of the paper on soft and hard labels by experiments.

    SKLEARN_KD_DATA=folder/of/mnist.npz python examples/open_questions.py
    python examples/open_questions.py --quick --questions init classes

Mandal, Lin and Srikant (arXiv:2412.09579) show that soft labels need fewer neurons than hard labels
with a symmetric initialization, in the kernel limit, for two classes, at a fixed number of rows.
They do not state how the difference depends on

- ``init``: another initialization (symmetric or independent neurons),
- ``rows``: the number of training rows,
- ``teacher``: the width, depth and kind of the teacher,
- ``classes``: more than two classes, with a fixed and with a trained output layer.

The data are MNIST if `fetch_mnist` finds it in a folder (digits above 4 against the others, as in
the paper, with rows of unit norm), otherwise the digits that are bundled with scikit-learn.
Students of 4 and 16 neurons, each the best of several restarts, are trained with and without a
radius for the hidden weights on

- hard labels,
- soft labels: the probabilities p of the teacher for the training rows, from fits without the row,
- softened labels: softmax(ln p / T), which the student is trained to reproduce. The teacher of the
  theory is as uncertain as these. Its labels require only small changes of the initial weights.

`BatchedGridSearchCV` jointly trains all students of a sample of rows that have the same labels.
Every number is a test accuracy in percent, the mean and standard deviation over samples of the
training rows and seeds of the students. Soft and softened are differences to hard labels on the
same rows from the same initialization. The script takes about ten minutes, or one with ``--quick``.
"""

import argparse
import os
import platform
import time
import warnings
from importlib.metadata import version

import joblib
import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from sklearn_kd import (
    BatchedGridSearchCV,
    DistilledClassifier,
    KernelTeacher,
    TwoLayerPGDClassifier,
)
from sklearn_kd.datasets import fetch_mnist

#: Pixels are not scaled, because scaling would amplify rare ones.
AS_PIXELS = {"encoder": None, "input_scaling": False, "device": "cpu"}


class Softened(ClassifierMixin, BaseEstimator):
    """Teacher with the tempered probabilities of another one, which is fitted once for all T.

    The student is trained at T = 1 and ends at the tempered probabilities.
    """

    fitted = {}  # teachers that label rows that they have seen

    def __init__(self, teacher, temperature=1.0):
        self.teacher = teacher
        self.temperature = temperature

    def fit(self, X, y):
        """Fit the teacher, unless it is fitted already."""
        key = joblib.hash((self.teacher, X, y))
        if key not in self.fitted:
            self.fitted[key] = clone(self.teacher).fit(X, y)
        self.teacher_ = self.fitted[key]
        self.classes_ = self.teacher_.classes_
        if hasattr(self.teacher_, "loo_proba_"):
            self.loo_proba_ = self._soften(self.teacher_.loo_proba_)
        return self

    def _soften(self, proba):
        if self.temperature == 1:
            return proba
        return softmax(np.log(np.maximum(proba, 1e-30)) / self.temperature, axis=1)

    def predict_proba(self, X):
        """Tempered probabilities."""
        return self._soften(self.teacher_.predict_proba(X))

    def predict(self, X):
        """Labels of the teacher."""
        return self.teacher_.predict(X)


class Experiment:
    """Data and sizes, and how students are trained and scored on them."""

    def __init__(self, options):
        self.options = options
        try:
            mnist = fetch_mnist(download_if_missing=False)
            X = np.concatenate([mnist.X_train, mnist.X_test]).reshape(-1, 28 * 28)
            digits = np.concatenate([mnist.y_train, mnist.y_test])
            train, test = np.split(np.arange(len(X)), [len(mnist.y_train)])
            self.source = "MNIST"
        except FileNotFoundError:
            X, digits = load_digits(return_X_y=True)
            train, test = train_test_split(
                np.arange(len(X)), test_size=500, stratify=digits, random_state=0
            )
            self.source = "the digits bundled with scikit-learn (MNIST was not found)"
        X = X / np.linalg.norm(X, axis=1, keepdims=True)
        self.X, self.digits = X.astype(np.float32), digits
        self.train, self.test = train, test[: options.test_rows]

    def rows(self, n_rows):
        """Return at most so many rows."""
        return min(n_rows, len(self.train))

    def run(self, title, teachers, grid, *, n_rows, y=None, allowed=None):
        """Return the test accuracy of students, one line each.

        ``teachers`` maps names to (teacher, folds), ``grid`` is that of the students in addition to
        their width, radius and seed, and ``allowed`` marks the rows that are used.
        """
        options = self.options
        y = (self.digits > 4).astype(int) if y is None else y
        allowed = np.full(len(y), True) if allowed is None else allowed
        train, test = (rows[allowed[rows]] for rows in (self.train, self.test))
        n_rows = min(n_rows, len(train))
        student = self.network(n_rows, n_init=options.restarts)
        grid = {
            "student__width": options.widths,
            "student__radius": [None, options.radius],
            **{f"student__{key}": values for key, values in grid.items()},
        }
        frames = []
        for draw in range(options.draws):
            random = np.random.RandomState(draw)
            some = random.permutation(train)[:n_rows]
            seeds = [int(seed) for seed in random.randint(2**31 - 1, size=options.seeds)]
            grids, names, kinds = [], {}, {"soft": 1.0, "softened": options.temperature}
            Softened.fitted.clear()
            for number, (name, (teacher, cv)) in enumerate(teachers.items()):
                for labels, temperature in kinds.items():
                    # hard labels need no teacher, so that those of the first are used for all
                    alphas = [0.0, 1.0] if number == 0 and labels == "soft" else [1.0]
                    fixed = {"teacher": [Softened(teacher, temperature)], "cv": [cv]}
                    names[id(fixed["teacher"][0])] = name, labels
                    fixed |= {"alpha": alphas, "student__random_state": seeds}
                    grids.append(grid | fixed)
            score = Accuracies()
            as_they_are = {"temperature": 1.0, "calibration": None, "augmentation": None}
            model = DistilledClassifier(None, student, **as_they_are, random_state=draw)
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # teachers of few epochs
                search = BatchedGridSearchCV(
                    model,
                    grids,
                    scoring=score,
                    refit=False,
                    cv=[(some, test)],
                    error_score="raise",
                    share_minibatches=True,
                ).fit(self.X, y)
            results = search.cv_results_
            frame = pd.DataFrame(results["params"])
            places = [names[id(teacher)] for teacher in frame["teacher"]]
            frame["teacher"], frame["labels"] = zip(*places, strict=True)
            frame.loc[frame["alpha"] == 0, "labels"] = "hard"
            frame["accuracy"] = 100 * results["mean_test_student"]
            frame["teacher accuracy"] = 100 * results["mean_test_teacher"]
            frame["draw"] = draw
            frames.append(frame.drop(columns=["alpha", "cv"]))
            seconds = time.perf_counter() - start
            print(f"{title}, draw {draw + 1}: {len(frame)} fits, {seconds:.0f} s", flush=True)
        whole = pd.concat(frames, ignore_index=True)
        whole.columns = [column.removeprefix("student__") for column in whole.columns]
        whole["radius"] = [
            "none" if pd.isna(radius) else f"{radius:g}" for radius in whole["radius"]
        ]
        return whole

    def network(self, n_rows, width=64, **params):
        """Return a network that trains for the same number of steps on any number of rows."""
        epochs = max(1, round(self.options.steps * 128 / n_rows))
        params |= {"optimizer": "adam", "learning_rate": 0.1}
        params = {"init": "symmetric", "weight_decay": 0.0, **params}
        return TwoLayerPGDClassifier(width, batch_size=128, max_iter=epochs, **AS_PIXELS, **params)


class Accuracies:
    """Scorer of a student and of its teacher, once each."""

    def __init__(self):
        self.teachers = {}

    def __call__(self, model, X, y):
        """Score both."""
        teacher = model.teacher_
        if id(teacher) not in self.teachers:
            self.teachers[id(teacher)] = teacher, accuracy_score(y, teacher.predict(X))
        student = accuracy_score(y, model.predict(X))
        return {"student": student, "teacher": self.teachers[id(teacher)][1]}


def table(frame, by):
    """Return Markdown: one line for each radius and value of ``by``, with hard labels and gaps."""
    columns = [*by, "radius", "width", "draw", "random_state"]
    accuracy = frame.pivot_table("accuracy", columns, "labels", sort=False)
    # students on hard labels were trained once, with the first teacher
    alone = [column for column in columns if column != "teacher"]
    hard = accuracy["hard"].groupby(alone, sort=False).transform("max")
    both = pd.DataFrame(
        {"hard": hard, **{labels: accuracy[labels] - hard for labels in ("soft", "softened")}}
    )
    levels = frame.groupby([*by, "draw"], sort=False)["teacher accuracy"].first()
    levels = levels.groupby(list(by), sort=False).agg(["mean", "std"])
    widths = list(dict.fromkeys(frame["width"]))
    head = [*by, "teacher's", "radius"]
    head += [f"{what}, {width}" for width in widths for what in both]
    lines = [head, ["---"] * len(head)]
    for place, group in both.groupby([*by, "radius"], sort=False):
        *where, radius = place
        level = levels.loc[where[0] if len(where) == 1 else tuple(where)]
        cells = [*where, _cell(level["mean"], level["std"], ".1f"), radius]
        by_width = group.groupby("width").agg(["mean", "std"])
        for width in widths:
            for what in both:
                sign = ".1f" if what == "hard" else "+.1f"
                cells.append(_cell(*by_width.loc[width, what], sign))
        lines.append(cells)
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _cell(mean, std, sign):
    return f"{mean:{sign}}" + ("" if np.isnan(std) else f" ± {std:.1f}")


def kernel_teacher(**params):
    return KernelTeacher(input_intercept=False, random_state=0, **AS_PIXELS, **params)


def ask_init(experiment):
    """Compare the symmetric and the standard initialization."""
    n_rows = experiment.rows(experiment.options.rows)
    frame = experiment.run(
        "init",
        {"ntk": (kernel_teacher(), "auto")},
        {"init": ["symmetric", "standard"]},
        n_rows=n_rows,
    )
    return f"(a) Symmetric against standard start, {n_rows} rows", table(frame, ["init"])


def ask_rows(experiment):
    """Compare the gap for several numbers of rows."""
    frames = []
    for n_rows in dict.fromkeys(map(experiment.rows, experiment.options.sizes)):
        frame = experiment.run(
            f"rows, {n_rows}", {"ntk": (kernel_teacher(), "auto")}, {}, n_rows=n_rows
        )
        frames.append(frame.assign(rows=n_rows))
    return "(b) The number of training rows", table(pd.concat(frames), ["rows"])


def ask_teacher(experiment):
    """Compare the gap for several widths, depths and kinds of the teacher."""
    options = experiment.options
    n_rows = experiment.rows(options.teacher_rows)
    teachers = {"kernel ntk": (kernel_teacher(), "auto")}
    for depth in options.depths:
        teacher = kernel_teacher(kernel="ntk-full", depth=depth)
        teachers[f"kernel ntk-full, depth {depth}"] = teacher, "auto"
    for width in options.teacher_widths:
        teacher = experiment.network(n_rows, width, n_init=1)
        teachers[f"two-layer, width {width}"] = teacher, options.folds
    for depth in options.depths:
        teacher = MLPClassifier((128,) * depth, max_iter=40)
        teachers[f"MLPClassifier, 128 wide, depth {depth}"] = teacher, options.folds
    frame = experiment.run("teacher", teachers, {}, n_rows=n_rows)
    return f"(c) The teacher, {n_rows} rows", table(frame, ["teacher"])


def ask_classes(experiment):
    """Compare the gap for several numbers of classes."""
    frames, options = [], experiment.options
    n_rows = experiment.rows(options.teacher_rows)
    for n_classes in options.classes:
        frame = experiment.run(
            f"classes, {n_classes}",
            {"ntk": (kernel_teacher(), "auto")},
            {"output_layer": ["fixed", "trained"]},
            n_rows=n_rows,
            y=experiment.digits,
            allowed=experiment.digits < n_classes,
        )
        frames.append(frame.assign(classes=n_classes))
    title = f"(d) The number of classes (digits below it), {n_rows} rows at most"
    return title, table(pd.concat(frames), ["classes", "output_layer"])


QUESTIONS = {"init": ask_init, "rows": ask_rows, "teacher": ask_teacher, "classes": ask_classes}

#: Values of --quick instead of the defaults.
QUICK = {
    "draws": 1,
    "seeds": 2,
    "steps": 300,
    "widths": [4, 16],
    "rows": 1000,
    "teacher_rows": 1000,
    "test_rows": 2000,
    "sizes": [300, 1000],
    "teacher_widths": [16],
    "classes": [2, 10],
}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--questions", nargs="+", choices=QUESTIONS, default=list(QUESTIONS))
    add("--quick", action="store_true", help="small sizes: a look at what it prints")
    add("--draws", type=int, default=1, help="draws of the training rows")
    add("--seeds", type=int, default=3, help="seeds of the students for each draw")
    add("--steps", type=int, default=1000, help="minibatch steps of the students")
    add("--widths", type=int, nargs="+", default=[4, 16], help="of the students")
    add("--restarts", type=int, default=2, help="of each student")
    add("--radius", type=float, default=20.0, help="beside no radius at all")
    add("--temperature", type=float, default=4.0, help="of the softened labels")
    add("--rows", type=int, default=5000, help="training rows of question init")
    add("--teacher-rows", type=int, default=3000, help="of questions teacher and classes")
    add("--test-rows", type=int, default=10_000)
    add("--sizes", type=int, nargs="+", default=[300, 1000, 3000, 8000], help="question rows")
    add("--teacher-widths", type=int, nargs="+", default=[16, 256])
    add("--depths", type=int, nargs="+", default=[1, 3], help="of the teachers")
    add("--classes", type=int, nargs="+", default=[2, 5, 10])
    add("--folds", type=int, default=3, help="of teachers without labels of their own")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(
            {
                key: value
                for key, value in QUICK.items()
                if parser.get_default(key) == getattr(options, key)
            }
        )
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
    options = parse()
    experiment, start = Experiment(options), time.perf_counter()
    print(environment())
    print(f"Data: {experiment.source}; {len(experiment.test)} test rows at most.")
    print(
        f"Soft labels: alpha 1, temperature 1; softened ones: T = {options.temperature:g}. "
        f"{options.steps} steps of 128 rows; draws of rows: {options.draws}, seeds for each: "
        f"{options.seeds}, restarts: {options.restarts}.\n"
    )
    for question in options.questions:
        title, lines = QUESTIONS[question](experiment)
        print(f"\n{title}\n\n{lines}\n", flush=True)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
