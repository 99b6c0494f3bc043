"""Compare values of alpha of DistilledRegressor, with and without transfer rows.

    SKLEARN_KD_DATA=... python examples/benchmarks/regression_settings.py --json runs.jsonl

The training rows of three tables, and of diabetes, are divided once more: a teacher and students
with each setting are fitted on ``--max-rows`` of them, by the code that "auto" uses on held-out
rows, and compared on up to 2000 others by the mean squared error in units of the variance of the
targets. Every fit has one thread. Finished cells are appended to the file of ``--json`` and not
repeated. The script prints Markdown.
"""

import argparse

import numpy as np
from _runs import environment, markdown, run_cells
from _teachers import categorical
from distilled_regression import TEACHERS, make_teacher
from regression_tables import TABLES, load

from sklearn_kd import TwoLayerPGDRegressor
from sklearn_kd._distillation.regression import RegressionTask
from sklearn_kd._distillation.selection import HeldOutTrial
from sklearn_kd._distillation.settings import DistillationSetting
from sklearn_kd._distillation.student_fit import StudentSpec
from sklearn_kd._distillation.teacher_labels import LabelingSpec
from sklearn_kd._distillation.training_set import TrainingRows
from sklearn_kd._distillation.transfer_set import TransferSpec

N_HELD_OUT = 2000


def run(table, seed, teacher, widths, max_rows, alphas, transfer_rows):
    """Return the held-out loss of each setting for each width of the student."""
    data = load(table, seed, None)
    n_train = min(max_rows, 2 * len(data.y_train) // 3)
    used = np.random.RandomState(seed).permutation(len(data.y_train))[: n_train + N_HELD_OUT]
    X, y = data.X_train.iloc[used].reset_index(drop=True), data.y_train[used]
    if teacher == "boosting":
        (X,) = categorical(X)
    split = np.arange(n_train), np.arange(n_train, len(y))
    rows = TrainingRows(X, y, None, None, {"teacher": {}, "student": {}}, None)
    spec = LabelingSpec(
        make_teacher(teacher, 100, seed), RegressionTask.of_rows(y, None, None), seed=seed
    )
    n_transfer = round(transfer_rows * len(y))  # reduced to the share of the training rows
    settings = {"hard": DistillationSetting(0.0, 1.0, "hard")}
    for alpha in alphas:
        settings[f"{alpha}"] = DistillationSetting(alpha, 1.0, "soft")
        settings[f"{alpha}, transfer rows"] = DistillationSetting(alpha, 1.0, "soft", n_transfer)
    transfer, trial, result = TransferSpec("auto", n_transfer, seed), None, {}
    for width in widths:
        network = TwoLayerPGDRegressor(width, random_state=seed, device="cpu")
        student = StudentSpec.of(network, "native")
        if trial is None:
            trial = HeldOutTrial.on_split(student, spec, rows, split, transfer, n_transfer)
        own = trial.with_student(student)
        own.evaluate(list(settings.values()), None)
        losses = {name: own.losses[setting].values["loss"] for name, setting in settings.items()}
        losses["teacher"] = own.losses_of_teacher()
        result[str(width)] = {name: float(np.mean(each)) for name, each in losses.items()}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--teachers", nargs="+", default=TEACHERS, choices=TEACHERS)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.5, 0.8, 1.0])
    parser.add_argument("--transfer-rows", type=int, default=10, help="for each training row")
    parser.add_argument("--max-rows", type=int, default=1000, help="training rows to keep")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", help="file of finished cells")
    args = parser.parse_args()
    shared = {name: vars(args)[name] for name in ("widths", "max_rows", "alphas", "transfer_rows")}
    cells = [
        {"table": table, "seed": seed, "teacher": teacher, **shared}
        for seed in range(args.seeds)
        for table in args.tables
        for teacher in args.teachers
    ]
    found = run_cells(cells, run, jobs=args.jobs, path=args.json)
    print(environment("one thread per fit"))
    lines = []
    for table in args.tables:
        for width in args.widths:
            losses = [row[str(width)] for row in found if row["table"] == table]
            means = {name: np.mean([row[name] for row in losses]) for name in losses[0]}
            lines.append([table, width, *(f"{mean:.4f}" for mean in means.values())])
    print(markdown(["table", "width", *means], lines))


if __name__ == "__main__":
    main()
