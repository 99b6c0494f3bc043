"""A student in a batch ends as it would alone, whatever its neighbors do."""

import copy
import pickle
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np
import pytest
import torch

from sklearn_kd._core.network import layers, losses, problem, segments, targets
from sklearn_kd._core.network.training import ResumableTraining
from tests._helpers.data import one_hot, random_proba
from tests._helpers.theorems import squared_error

N, D, N_FOLDS = 40, 3, 3


@dataclass
class Fit:
    """Students that end together: one, or one for all rows and one for each fold left out."""

    kind: str  # of the loss
    width: int
    seed: int
    step_size: float
    max_move: float
    n_epochs: int
    decay: bool
    is_trained: bool
    patience: int
    alpha: float
    temperature: float
    soft: np.ndarray  # (rows, classes)
    hard: np.ndarray
    train: np.ndarray  # (copies, rows), weights of the rows
    out: np.ndarray  # (copies, rows), of those held out

    @property
    def n_students(self):
        return len(self.train)

    def targets(self):
        """(1, outputs of the loss, rows) and the loss."""
        soft, hard = (
            torch.tensor((P[:, 1:] if P.shape[1] == 2 else P).T.copy())
            for P in (self.soft, self.hard)
        )
        if self.kind != "two_term":
            loss = losses.cross_entropy if self.kind == "cross_entropy" else squared_error
            return targets.mixed_targets(
                soft, hard, torch.tensor([self.alpha], dtype=torch.float64)
            ), loss
        alpha, T = torch.tensor([[self.alpha], [self.temperature]], dtype=torch.float64)
        return targets.two_term_targets(soft, hard, T), losses.TwoTerm(alpha, T)


def make_fit(rng, n_classes, with_folds):
    weights = rng.uniform(0.5, 2, N)
    if rng.rand() < 0.3:
        weights[rng.choice(N, N // 4, replace=False)] = 0.0
    hard = one_hot(rng.randint(n_classes, size=N), n_classes)
    if rng.rand() < 0.3:  # class weights
        weights *= hard @ rng.uniform(0.5, 3, n_classes)
    train, out = (weights / weights.sum())[None], np.zeros((1, N))
    if with_folds:
        fold = rng.permutation(N) % N_FOLDS
        is_out = fold == np.arange(N_FOLDS)[:, None]
        train = np.concatenate([train, np.where(is_out, 0, train)])
        train /= train.sum(axis=1, keepdims=True)
        out = np.concatenate([out, np.where(is_out, train[0], 0)])
    made = {
        "kind": rng.choice(["cross_entropy", "two_term", "squared_error"]),
        "width": int(rng.choice([2, 4, 6, 10])),
        "seed": int(rng.randint(1000)),
        "step_size": float(rng.choice([0.003, 0.02, 0.05])),
        "max_move": float(rng.choice([0.05, 0.5, np.inf])),
        "n_epochs": int(rng.choice([1, 10, 37, 70, 70, 70])),
        "decay": bool(rng.rand() < 0.5),
        "is_trained": bool(rng.rand() < 0.5),
        "patience": int(rng.choice([5, 20, 1000])),
        "alpha": float(rng.choice([0.0, 0.3, 1.0])),
        "temperature": float(rng.choice([0.7, 1.0, 4.0])),
        "soft": random_proba(rng, N, n_classes),
        "hard": hard,
        "train": train,
        "out": out,
    }
    if rng.rand() < 0.1:  # diverges, or is tossed about, where rounding grows at every step
        made["step_size"] = float(rng.choice([1e3, 1e30, 1e200]))
    return Fit(**made)


def make_fits(n_fits, n_classes, with_folds=False, seed=0):
    rng = np.random.RandomState(seed)
    fits = [make_fit(rng, n_classes, with_folds) for _ in range(n_fits)]
    # neighbors that share a loss, and strangers
    return sorted(fits[::2], key=lambda fit: (fit.kind, fit.width)) + fits[1::2]


def of_student(fits, values, dtype=torch.float64):
    counts = torch.tensor([fit.n_students for fit in fits])
    return torch.repeat_interleave(torch.tensor(values, dtype=dtype), counts)


def joined(fits):
    """Return rule and loss of many fits, with a segment for neighbors of one kind."""
    rules, each_loss, start = [], [], 0
    for kind, group in groupby(fits, lambda fit: fit.kind):
        group = list(group)
        n_students = sum(fit.n_students for fit in group)
        part = slice(start, start + n_students)
        start += n_students
        values = torch.cat([fit.targets()[0].expand(fit.n_students, -1, -1) for fit in group])
        loss = group[0].targets()[1]
        if kind == "two_term":
            loss = losses.TwoTerm(
                of_student(group, [fit.alpha for fit in group]),
                of_student(group, [fit.temperature for fit in group]),
            )
        rules.append(segments.Segment(part, targets.Fixed(values)))
        each_loss.append(segments.Segment(part, loss))
    return targets.PerSegmentTargets(rules), losses.PerSegmentLoss(each_loss)


def train(fits, *, batch_size=None, optimizer="nesterov", with_folds=False, pauses=()):
    """Train fits side by side, and return weights, results and curves of each.

    ``pauses`` are pairs of the epoch of a pause and the fits that are dropped there. After each
    pause another process might go on.
    """
    n_classes = fits[0].hard.shape[1]
    n_outputs = 1 if n_classes == 2 else n_classes
    inputs = torch.tensor(np.random.RandomState(7).normal(size=(N, D)))
    drawn = [
        layers.initialize(
            fit.width,
            D,
            n_outputs,
            symmetric=True,
            generator=torch.Generator().manual_seed(fit.seed + 1000 * copy),
        )
        for fit in fits
        for copy in range(fit.n_students)
    ]
    hidden, output = (torch.cat([w[i] for w in drawn]) for i in (0, 1))
    if optimizer == "adam":
        # a neuron that adds the same to all logits has a gradient of zero, up to rounding, which
        # Adam divides by its epsilon
        output[(output == output[:, :1]).all(dim=1) & (n_outputs > 1), 0] *= -1
    widths = [fit.width for fit in fits for _ in range(fit.n_students)]
    students = problem.Students(widths, hidden, output, hidden.clone())
    if len(fits) == 1:  # as a fit alone has it
        values, loss = fits[0].targets()
        rule = targets.Fixed(values)
    else:
        rule, loss = joined(fits)
    rows, held_out = (
        problem.WeightedRows(
            inputs, rule, torch.tensor(np.concatenate([getattr(j, name) for j in fits]))
        )
        for name in ("train", "out")
    )
    first = np.cumsum([0, *(fit.n_students for fit in fits)])
    pool = np.repeat(first[:-1], np.diff(first))
    pool[first[:-1]] = -1
    steps = [fit.step_size for fit in fits]
    output_steps = [fit.step_size / 3 if fit.is_trained else 0.0 for fit in fits]
    plan = problem.TrainingConfig(
        step_size=of_student(fits, steps),
        output_step_size=of_student(fits, output_steps) if any(output_steps) else None,
        max_move=of_student(fits, [fit.max_move for fit in fits]),
        n_epochs=of_student(fits, [fit.n_epochs for fit in fits], torch.int64),
        batch_size=batch_size,
        optimizer=optimizer,
        momentum=0.9,
        decay=of_student(fits, [fit.decay for fit in fits], torch.bool),
        generator=torch.Generator().manual_seed(0),
        fit=of_student(fits, range(len(fits)), torch.int64),
    )
    patience = of_student(fits, [fit.patience for fit in fits], torch.int64)
    held_out = (
        problem.ValidationSpec(held_out, patience, torch.from_numpy(pool)) if with_folds else None
    )
    drawn, results, trained = copy.deepcopy(students), {}, range(len(fits))
    training = ResumableTraining(students, rows, loss, plan, held_out, pauses=bool(pauses))
    for epoch, dropped in pauses:
        results |= read(students, training.advance(epoch), first, trained)
        progress = training.progress()
        if progress is None:
            break
        progress = pickle.loads(pickle.dumps(progress.drop(dropped)))  # to another process
        trained = sorted(set(progress.fit.tolist()))
        students = copy.deepcopy(drawn)
        training = ResumableTraining(
            students, rows, loss, plan, held_out, pauses=True, progress=progress
        )
    results |= read(students, training.advance(), first, trained)
    return [results[number] for number in range(len(fits))]


def read(students, outcome, first, numbers):
    """Return weights, results and curves of some fits, by their numbers."""
    results = {}
    for number in numbers:
        start, end = first[number], first[number + 1]
        neurons = slice(students.neurons(start).start, students.neurons(end - 1).stop)
        n_epochs = outcome.n_epochs[number]
        curve = torch.stack(outcome.losses)[:, start:end]
        assert curve[n_epochs:].isnan().all()  # they have ended
        results[number] = {
            "hidden": students.hidden[neurons].clone(),
            "output": students.output[neurons].clone(),
            "losses": curve[:n_epochs],
            "best_score": outcome.best_score[start:end].clone(),
            "best_epoch": outcome.best_epoch[start:end].clone(),
            "diverged": outcome.diverged[start:end].clone(),
            "reason": outcome.reasons[number],
            "n_epochs": n_epochs,
        }
    return results


def assert_same(fits, results, expected):
    for fit, result, alone in zip(fits, results, expected, strict=True):
        if fit.step_size > 1:  # where they do not diverge, they multiply rounding
            continue
        for name in ("reason", "n_epochs"):
            assert result[name] == alone[name]
        for name in ("diverged", "best_epoch"):
            assert torch.equal(result[name], alone[name])
        for name in ("losses", "best_score", "hidden", "output"):
            torch.testing.assert_close(result[name], alone[name], rtol=1e-9, atol=1e-9)


SETTINGS = pytest.mark.parametrize(
    ("optimizer", "n_classes", "with_folds", "batch_size"),
    [
        ("nesterov", 2, False, None),
        ("nesterov", 3, False, None),
        ("nesterov", 3, True, None),
        ("nesterov", 2, True, 20),
        ("adam", 2, False, None),
        ("adam", 3, True, None),
        ("adam", 3, False, 20),
    ],
)


def pieces(fits, count):
    """Cut a list into so many pieces of unequal lengths."""
    ends = np.linspace(0, 1, count + 1) ** 2 * len(fits)
    cut = [fits[int(a) : int(b)] for a, b in pairwise(ends)]
    return [piece for piece in cut if piece]


@SETTINGS
def test_a_student_in_a_batch_is_the_same_alone(optimizer, n_classes, with_folds, batch_size):
    options = {"optimizer": optimizer, "with_folds": with_folds, "batch_size": batch_size}
    n_fits = 120 if with_folds else 100
    fits = make_fits(n_fits, n_classes, with_folds)
    results = train(fits, **options)
    for result in results:  # some have diverged, and some ended before the last epoch
        assert all(torch.isfinite(result[name]).all() for name in ("hidden", "output"))
    assert 2 < sum(bool(result["diverged"].any()) for result in results) < 100
    assert {"max_iter", "diverged"} <= {result["reason"] for result in results}
    assert len({result["n_epochs"] for result in results}) > 3
    some = slice(1, None, n_fits // 20)
    alone = [train([fit], **options)[0] for fit in fits[some]]
    assert_same(fits[some], results[some], alone)


@SETTINGS
def test_any_split_of_a_batch_gives_the_same(optimizer, n_classes, with_folds, batch_size):
    options = {"optimizer": optimizer, "with_folds": with_folds, "batch_size": batch_size}
    fits = make_fits(28 if not with_folds else 10, n_classes, with_folds, seed=1)
    whole = train(fits, **options)
    for n_pieces in (2, 9):
        split = [one for piece in pieces(fits, n_pieces) for one in train(piece, **options)]
        assert_same(fits, split, whole)
    # in another order too
    order = np.random.RandomState(0).permutation(len(fits))
    mixed = train([fits[place] for place in order], **options)
    back = [mixed[place] for place in np.argsort(order)]
    assert_same(fits, back, whole)


@pytest.mark.slow
@SETTINGS
def test_each_of_500_is_the_same_alone(optimizer, n_classes, with_folds, batch_size):
    options = {"optimizer": optimizer, "with_folds": with_folds, "batch_size": batch_size}
    fits = make_fits(500 // (1 + with_folds * N_FOLDS), n_classes, with_folds, seed=2)
    results = train(fits, **options)
    alone = [train([fit], **options)[0] for fit in fits]
    assert_same(fits, results, alone)


@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
def test_diverging_neighbors_go_unnoticed(optimizer):
    fits = make_fits(20, 2, seed=3)
    rng = np.random.RandomState(4)
    kinds = ["cross_entropy", "two_term", "squared_error"]
    wild = [replace(make_fit(rng, 2, False), step_size=s, max_move=np.inf, kind=kind)
            for s in (1e30, 1e200, 1e308) for kind in kinds]  # fmt: skip
    alone = train(fits, optimizer=optimizer)
    among = train([*wild[:4], *fits, *wild[4:]], optimizer=optimizer)
    assert all(result["diverged"].all() for result in among[:4] + among[-5:])
    assert_same(fits, among[4:-5], alone)


@SETTINGS
def test_pauses_change_nothing(optimizer, n_classes, with_folds, batch_size):
    options = {"optimizer": optimizer, "with_folds": with_folds, "batch_size": batch_size}
    fits = make_fits(24 if not with_folds else 8, n_classes, with_folds, seed=5)
    whole = train(fits, **options)
    paused = train(fits, pauses=[(1, []), (2, []), (9, []), (9, []), (10**6, [])], **options)
    assert {result["reason"] for result in paused} >= {"max_iter"}
    assert_same(fits, paused, whole)
    for result, expected in zip(paused, whole, strict=True):
        for name in ("hidden", "output", "best_score"):
            assert torch.equal(result[name], expected[name])


@SETTINGS
def test_fits_that_are_dropped_keep_what_a_shorter_training_gives(
    optimizer, n_classes, with_folds, batch_size
):
    options = {"optimizer": optimizer, "with_folds": with_folds, "batch_size": batch_size}
    fits = make_fits(30 if not with_folds else 10, n_classes, with_folds, seed=6)
    fits = [replace(fit, n_epochs=40, decay=False, patience=100) for fit in fits]
    dropped = [number for number in range(len(fits)) if number % 3]
    results = train(fits, pauses=[(7, dropped)], **options)
    short = train([replace(fit, n_epochs=7) for fit in fits], **options)
    whole = train(fits, **options)
    for number in range(len(fits)):
        left = number in dropped and short[number]["reason"] == "max_iter"
        assert (results[number]["reason"] == "paused") == left
        expected = {**short[number], "reason": "paused"} if left else whole[number]
        assert_same([fits[number]], [results[number]], [expected])
