"""Reproduce Table 1 of the paper on soft and hard labels, and examine the radius and the width.

    SKLEARN_KD_DATA=... python examples/reproduce_soft_vs_hard.py        # the table, then the rest
    SKLEARN_KD_DATA=... python examples/reproduce_soft_vs_hard.py --parts radius widths

Mandal, Lin and Srikant, "A Theoretical Analysis of Soft-Label vs Hard-Label Training in Neural
Networks", arXiv:2412.09579. Every student is a `TwoLayerPGDClassifier`, and the students of a part
are trained jointly in a `BatchedGridSearchCV`.

- table: digits above 4 against the others on MNIST, with all digits and without 1, 7, 4 and 9. A
  teacher of 512 neurons has students of 4, 6 and 8 neurons, on hard and on soft labels. The table
  contains mean and standard deviation over seeds, and the numbers of the paper. A seed is a whole
  fit: of several restarts, the best by held-out loss on a tenth of the training rows is kept. The
  settings were chosen on a sixth of the training rows (``--parts choose``), and the test rows are
  scored once.
- radius: the gain of soft labels over hard labels, against the radius and the temperature.
- widths: the smallest width with a sufficiently small training error, against the separation margin
  of `theory.ntk_margin`, on data with decreasing margins. Soft labels are those of the teacher that
  attains the margin. Training is projected gradient descent in full batch with the radius of the
  theorem.

Without MNIST (`mnist.npz` in a folder of SKLEARN_KD_DATA) the digits bundled with scikit-learn are
used, and the output states this. Figures are written if matplotlib is installed.
"""

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from sklearn_kd import BatchedGridSearchCV, TwoLayerPGDClassifier
from sklearn_kd.datasets import fetch_mnist
from sklearn_kd.theory import ntk_margin

#: Table 1 of the paper: teacher, and by number of neurons (hard, soft).
PAPER = {
    "all digits": (98.34, {4: (88.84, 95.62), 6: (95.33, 96.00), 8: (95.77, 96.58)}),
    "without 1, 7, 4, 9": (98.75, {4: (93.04, 95.83), 6: (96.84, 97.26), 8: (97.19, 97.67)}),
}
#: Unit rows as given. The step size, the output layer and the temperature of the table were chosen
#: by ``--parts choose``.
STUDENT = {
    "encoder": None,
    "init": "symmetric",
    "input_scaling": False,
    "batch_size": 512,
    "optimizer": "adam",
    "learning_rate": 0.1,
    "output_layer": "trained",
}
TEMPERATURE = 2.0
TEACHER = {
    "encoder": None,
    "init": "symmetric",
    "input_scaling": False,
    "n_init": 1,
    "optimizer": "adam",
    "learning_rate": 0.02,
    "output_layer": "trained",
}
#: Radii of the projection.
RADII = [12.5, 25.0, 50.0, 100.0, 200.0, None]
#: Widths compared with the margin, labels with the radius, and that of the theorem for hard labels.
WIDTHS = [2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]
KINDS = ["soft, B = 1", "hard, B = 1", "hard, B of Proposition 5"]
#: The setting of the theorem, except for longer steps with momentum. With its own steps, margins
#: of 0.01 would take 100,000 steps.
THEORY = {
    "learning_rate": 4.0,
    "momentum": 0.9,
    "output_layer": "fixed",
    "n_init": 1,
    "early_stopping": False,
    "encoder": None,
    "init": "symmetric",
    "input_scaling": False,
    "input_intercept": False,
}


def load():
    """Return unit rows and digits for training and testing, and a description."""
    try:
        data = fetch_mnist(download_if_missing=False)
        parts = data.X_train, data.X_test, data.y_train, data.y_test
        name = "MNIST"
    except OSError:
        digits = load_digits()
        X, y = digits.data.astype(np.float32), digits.target
        parts = train_test_split(X, y, stratify=y, random_state=0)
        name = "the digits bundled with scikit-learn (MNIST is not there)"
    X_train, X_test, y_train, y_test = parts
    unit = [X / np.linalg.norm(X, axis=1, keepdims=True) for X in (X_train, X_test)]
    return (*unit, y_train, y_test), name


def tasks(data):
    """Yield name, rows and labels (digit above 4) of the two data sets of the table."""
    X_train, X_test, d_train, d_test = data
    for name in PAPER:
        parts = [(X_train, d_train), (X_test, d_test)]
        if name != "all digits":
            parts = [(X[kept], d[kept]) for X, d in parts for kept in [~np.isin(d, [1, 7, 4, 9])]]
        (X, d), (X_out, d_out) = parts
        yield name, X, X_out, d > 4, d_out > 4


def fit_teacher(name, X, y, epochs):
    """Return a teacher of 512 neurons, which labels the rows it was fitted on, as in the paper."""
    start = time.perf_counter()
    teacher = TwoLayerPGDClassifier(512, max_iter=epochs, random_state=0, **TEACHER).fit(X, y)
    print(f"{name}: teacher of 512 neurons in {time.perf_counter() - start:.0f} s", flush=True)
    return teacher


def search(student, grid, X, y, soft, parts):
    """Train every candidate on X and return the accuracies on the rows of ``parts`` as a DataFrame.

    ``parts`` maps names to (rows, labels). All students are trained on the same minibatches.
    """
    others = list(parts.values())
    rows = np.concatenate([X, *(part for part, _ in others)])
    labels = np.concatenate([y, *(part for _, part in others)])
    targets = np.full((len(rows), 2), 0.5)  # rows that are only scored need none
    targets[: len(X)] = soft
    ends = np.cumsum([len(part) for part, _ in others])

    def accuracies(model, X, y):
        right = np.split(model.predict(X) == y, ends[:-1])
        return dict(zip(parts, 100 * np.array([part.mean() for part in right]), strict=True))

    batched = BatchedGridSearchCV(
        student,
        grid,
        scoring=accuracies,
        cv=[(np.arange(len(X)), np.arange(len(X), len(rows)))],
        refit=False,
        share_minibatches=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of restarts that diverge
        batched.fit(rows, labels, soft_targets=targets)
    frame = pd.DataFrame(batched.cv_results_["params"])
    for name in parts:
        frame[name] = batched.cv_results_[f"mean_test_{name}"]
    return frame


def markdown(frame):
    """Return a table in Markdown, without an index."""
    lines = [frame.columns, ["---"] * len(frame.columns), *frame.astype(str).to_numpy()]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def table(data, args):
    """Print Table 1: mean and standard deviation over seeds, and the numbers of the paper."""
    lines = []
    for name, X, X_out, y, y_out in tasks(data):
        teacher = fit_teacher(name, X, y, args.teacher_epochs)
        soft, above = teacher.predict_proba(X), 100 * teacher.score(X_out, y_out)
        start = time.perf_counter()
        student = TwoLayerPGDClassifier(
            max_iter=args.epochs, n_init=args.restarts, temperature=TEMPERATURE, **STUDENT
        )
        grid = {"width": [4, 6, 8], "alpha": [0.0, 1.0], "random_state": list(range(args.seeds))}
        frame = search(student, grid, X, y, soft, {"test": (X_out, y_out)})
        print(f"{name}: {len(frame)} students, {args.restarts} starts each, ", end="")
        print(f"in {time.perf_counter() - start:.0f} s", flush=True)
        paper_teacher, paper = PAPER[name]
        for width, part in frame.groupby("width"):
            line = {"data": name, "neurons": width, "teacher": f"{above:.2f} ({paper_teacher})"}
            for kind, alpha in (("hard", 0.0), ("soft", 1.0)):
                scores = part.loc[part.alpha == alpha, "test"]
                theirs = paper[width][kind == "soft"]
                line[kind] = f"{scores.mean():.2f} +- {scores.std(ddof=1):.2f} ({theirs:.2f})"
            lines.append(line)
    print(
        f"\nTest accuracy in %, mean and standard deviation over {args.seeds} seeds (the paper's)\n"
    )
    print(markdown(pd.DataFrame(lines)), "\n")


def choose(data, args):
    """Print the accuracy on a sixth of the training rows by step size, layer and temperature."""
    for name, X, _, y, _ in tasks(data):
        X, X_out, y, y_out = train_test_split(X, y, test_size=1 / 6, random_state=0, stratify=y)
        soft = fit_teacher(name, X, y, args.teacher_epochs).predict_proba(X)
        student = TwoLayerPGDClassifier(max_iter=args.epochs, n_init=args.restarts, **STUDENT)
        grid = {
            "width": [4, 8],
            "output_layer": ["fixed", "trained"],
            "learning_rate": [0.03, 0.1, 0.3],
            "random_state": [0, 1],
        }
        grids = [
            {**grid, "alpha": [0.0]},
            {**grid, "alpha": [1.0], "temperature": [1.0, 2.0]},
        ]
        frame = search(student, grids, X, y, soft, {"held out": (X_out, y_out)})
        frame = frame.fillna({"temperature": 1.0}).drop(columns="random_state")
        names = [column for column in frame.columns if column != "held out"]
        frame = frame.groupby(names)["held out"].agg(["mean", "std"]).round(2).reset_index()
        print(f"\n{name}: accuracy on {len(y_out)} training rows held out\n")
        print(markdown(frame), "\n", flush=True)


def radius(data, args):
    """Show the gain of soft labels, against the radius and the temperature.

    "soft, T" is the distillation loss, whose optimum is the probability of the teacher for every T.
    "softened, T" has the targets softmax(ln p / T), which require changes T times smaller.
    """
    for name, X, X_out, y, y_out in tasks(data):
        soft = fit_teacher(name, X, y, args.teacher_epochs).predict_proba(X)
        # a trained output layer would scale logits beyond what the radius allows
        options = {**STUDENT, "output_layer": "fixed"}
        student = TwoLayerPGDClassifier(8, max_iter=args.epochs, n_init=4, **options)
        grid = {"radius": RADII, "random_state": list(range(3))}
        parts, frames = {"test": (X_out, y_out)}, []
        grids = [{**grid, "alpha": [0.0]}, {**grid, "alpha": [1.0], "temperature": [1.0, 4.0]}]
        frame = search(student, grids, X, y, soft, parts)
        names = "soft, T = " + frame.temperature.map("{:g}".format)
        frames.append(frame.assign(labels=np.where(frame.alpha == 0, "hard", names)))
        for T in (2, 4, 8):
            power = soft ** (1 / T)
            power /= power.sum(axis=1, keepdims=True)
            frame = search(student, grid, X, y, power, parts)
            frames.append(frame.assign(labels=f"softened, T = {T}"))
        frame = pd.concat(frames)
        frame["radius"] = frame["radius"].astype(float).fillna(np.inf)
        mean = frame.pivot_table("test", "radius", "labels")
        spread = frame.pivot_table("test", "radius", "labels", aggfunc="std")
        shown = mean.map("{:.2f}".format) + " +- " + spread.map("{:.2f}".format)
        print(f"\n{name}, 8 neurons: test accuracy in %, 3 seeds\n")
        print(markdown(shown.reset_index()), "\n", flush=True)
        gain = mean.drop(columns="hard").sub(mean["hard"], axis=0)
        draw_gain(name, gain, spread["hard"])


def draw_gain(name, gain, spread):
    """Draw the gain against the radius, with a line for each temperature."""
    figure = new_figure()
    if figure is None:
        return
    axis = figure.subplots()
    places = np.arange(len(gain))
    for labels in gain.columns:
        axis.plot(places, gain[labels], "o-", label=labels)
    axis.fill_between(places, -spread, spread, color="gray", alpha=0.2, label="spread, hard labels")
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xticks(places, [f"{value:g}" for value in gain.index])
    axis.set(
        xlabel="radius B", ylabel="accuracy over hard labels, points", title=f"{name}, 8 neurons"
    )
    axis.legend()
    save(figure, f"soft_vs_hard_radius_{name.split()[0]}.png")


def new_figure():
    """Return a figure, or None if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print('no picture: matplotlib is missing, pip install "sklearn-kd[plot]"')
        return None
    return Figure(figsize=(6, 4), layout="constrained")


def save(figure, path):
    figure.savefig(path, dpi=120)
    print(f"picture: {path}", flush=True)


def falling_margins(data, n_rows, seed=0):
    """Yield name, unit rows and labels: digit pairs, flipped labels, 2-XOR in more dimensions."""
    X, _, digits, _ = data
    random = np.random.RandomState(seed)
    order = random.permutation(len(X))
    X, digits = X[order].astype(np.float64), digits[order]
    for pair in ((0, 1), (3, 5), (4, 9)):
        rows = np.flatnonzero(np.isin(digits, pair))[:n_rows]
        name, labels = f"{pair[0]} or {pair[1]}", digits[rows] == pair[1]
        yield name, X[rows], labels
        for share in (0.02, 0.05, 0.1) if pair == (0, 1) else ():
            flipped = labels ^ (np.arange(len(rows)) < round(share * len(rows)))
            yield f"{name}, {share:.0%} flipped", X[rows], flipped
    for n_inputs in (4, 6, 8, 10):
        signs = random.choice([-1.0, 1.0], size=(n_rows, n_inputs))
        signs = np.unique(signs, axis=0)
        yield f"2-XOR in {n_inputs}", signs / np.sqrt(n_inputs), signs[:, 0] * signs[:, 1] > 0


def smallest_width(X, y, soft, alpha, bound, args):
    """Return the smallest width from which on the mean training error is small enough, or NaN."""
    student = TwoLayerPGDClassifier(
        alpha=alpha, radius=bound, max_iter=args.steps, batch_size=None, **THEORY
    )
    grid = {"width": WIDTHS, "random_state": list(range(3))}
    frame = search(student, grid, X, y, soft, {"train": (X, y)})
    error = 1 - frame.groupby("width")["train"].mean() / 100
    enough = (error <= args.error).iloc[::-1].cummin()
    return float(enough.index[enough].min()) if enough.any() else np.nan


def widths(data, args):
    """Show the smallest width whose training error is at most ``args.error``, by margin."""
    lines = []
    for name, X, y in falling_margins(data, args.margin_rows):
        # in coordinates of the span of the rows, which leave all products unchanged
        U, scales, _ = np.linalg.svd(X, full_matrices=False)
        X = (U * scales)[:, scales > 1e-10 * scales[0]].astype(np.float32)
        margin = ntk_margin(X, y, random_state=0, max_iter=200)
        p = expit(margin.soft_logits)
        soft = np.column_stack([1 - p, p])
        far = 2 / margin.gamma * np.log(2 / (np.log(2) * args.error))
        line = {"data": name, "rows": len(X), "1 / gamma": round(1 / margin.gamma, 1)}
        for kind, alpha, bound in zip(KINDS, (1.0, 0.0, 0.0), (1.0, 1.0, far), strict=True):
            line[kind] = smallest_width(X, y, soft, alpha, bound, args)
        lines.append(line)
        print(", ".join(f"{key}: {value}" for key, value in line.items()), flush=True)
    frame = pd.DataFrame(lines)
    print(f"\nSmallest width with at most {args.error:.0%} of training errors, mean of 3 seeds\n")
    print(markdown(frame), "\n")
    figure = new_figure()
    axis = None if figure is None else figure.subplots()
    for kind, exponent in zip(KINDS, (2, None, 4), strict=True):
        reached = frame[frame[kind].notna()]
        if len(reached) < 3:
            print(f"{kind}: reached on {len(reached)} data sets, too few for a slope")
            continue
        x, found = np.log(reached["1 / gamma"]), np.log(reached[kind].astype(float))
        slope, offset = np.polyfit(x, found, 1)
        theory = "" if exponent is None else f", the theorem's bound: {exponent}"
        print(f"{kind}: width ~ (1 / gamma)^{slope:.2f}, {len(reached)} data sets{theory}")
        if axis is not None:
            (points,) = axis.loglog(np.exp(x), np.exp(found), "o", label=kind)
            ends = np.array([x.min(), x.max()])
            axis.loglog(np.exp(ends), np.exp(offset + slope * ends), color=points.get_color())
    if axis is not None:
        axis.set(xlabel="1 / gamma", ylabel=f"width for {args.error:.0%} of training errors")
        axis.legend()
        save(figure, "soft_vs_hard_width.png")


PARTS = {"table": table, "radius": radius, "widths": widths, "choose": choose}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=["table", "radius", "widths"], choices=PARTS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--restarts", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--teacher-epochs", type=int, default=10)
    parser.add_argument("--margin-rows", type=int, default=300)
    parser.add_argument("--error", type=float, default=0.05)
    parser.add_argument("--steps", type=int, default=500)
    args = parser.parse_args()
    data, name = load()
    print(f"Data: {name}, {len(data[0])} rows to train on and {len(data[1])} to test.", flush=True)
    for part in args.parts:
        start = time.perf_counter()
        PARTS[part](data, args)
        print(f"({part}: {time.perf_counter() - start:.0f} s)\n", flush=True)


if __name__ == "__main__":
    main()
