"""A student in a batch ends as it would alone, whatever its neighbors do."""

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
class Job:
    """Students that end together: one, or one for all rows and one without each fold."""

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


def make_job(rng, n_classes, with_folds):
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
        "n_epochs": int(rng.choice([1, 30, 117, 200, 200, 200])),
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
    return Job(**made)


def make_jobs(n_jobs, n_classes, with_folds=False, seed=0):
    rng = np.random.RandomState(seed)
    jobs = [make_job(rng, n_classes, with_folds) for _ in range(n_jobs)]
    # neighbors that share a loss, and strangers
    return sorted(jobs[::2], key=lambda job: (job.kind, job.width)) + jobs[1::2]


def of_student(jobs, values, dtype=torch.float64):
    counts = torch.tensor([job.n_students for job in jobs])
    return torch.repeat_interleave(torch.tensor(values, dtype=dtype), counts)


def joined(jobs):
    """Rule and loss of many jobs: a stretch for neighbors of one kind."""
    rules, each_loss, start = [], [], 0
    for kind, group in groupby(jobs, lambda job: job.kind):
        group = list(group)
        n_students = sum(job.n_students for job in group)
        part = slice(start, start + n_students)
        start += n_students
        values = torch.cat([job.targets()[0].expand(job.n_students, -1, -1) for job in group])
        loss = group[0].targets()[1]
        if kind == "two_term":
            loss = losses.TwoTerm(
                of_student(group, [job.alpha for job in group]),
                of_student(group, [job.temperature for job in group]),
            )
        rules.append(segments.Segment(part, targets.Fixed(values)))
        each_loss.append(segments.Segment(part, loss))
    return targets.PerSegmentTargets(rules), losses.PerSegmentLoss(each_loss)


def train(jobs, *, batch_size=None, optimizer="nesterov", with_folds=False, pauses=()):
    """Train jobs side by side; of each its weights, books and curves.

    ``pauses`` are pairs of the epoch of a pause and the jobs that leave there.
    """
    n_classes = jobs[0].hard.shape[1]
    n_outputs = 1 if n_classes == 2 else n_classes
    inputs = torch.tensor(np.random.RandomState(7).normal(size=(N, D)))
    drawn = [
        layers.initialize(
            job.width,
            D,
            n_outputs,
            symmetric=True,
            generator=torch.Generator().manual_seed(job.seed + 1000 * copy),
        )
        for job in jobs
        for copy in range(job.n_students)
    ]
    hidden, output = (torch.cat([w[i] for w in drawn]) for i in (0, 1))
    if optimizer == "adam":
        # a neuron that adds the same to all logits has a gradient of zero, up to rounding, which
        # Adam divides by its epsilon
        output[(output == output[:, :1]).all(dim=1) & (n_outputs > 1), 0] *= -1
    widths = [job.width for job in jobs for _ in range(job.n_students)]
    students = problem.Students(widths, hidden, output, hidden.clone())
    if len(jobs) == 1:  # as a fit alone has it
        values, loss = jobs[0].targets()
        rule = targets.Fixed(values)
    else:
        rule, loss = joined(jobs)
    rows, held_out = (
        problem.WeightedRows(
            inputs, rule, torch.tensor(np.concatenate([getattr(j, name) for j in jobs]))
        )
        for name in ("train", "out")
    )
    first = np.cumsum([0, *(job.n_students for job in jobs)])
    pool = np.repeat(first[:-1], np.diff(first))
    pool[first[:-1]] = -1
    steps = [job.step_size for job in jobs]
    output_steps = [job.step_size / 3 if job.is_trained else 0.0 for job in jobs]
    plan = problem.TrainingConfig(
        step_size=of_student(jobs, steps),
        output_step_size=of_student(jobs, output_steps) if any(output_steps) else None,
        max_move=of_student(jobs, [job.max_move for job in jobs]),
        n_epochs=of_student(jobs, [job.n_epochs for job in jobs], torch.int64),
        batch_size=batch_size,
        optimizer=optimizer,
        momentum=0.9,
        decay=of_student(jobs, [job.decay for job in jobs], torch.bool),
        generator=torch.Generator().manual_seed(0),
        fit=of_student(jobs, range(len(jobs)), torch.int64),
    )
    patience = of_student(jobs, [job.patience for job in jobs], torch.int64)
    held_out = (
        problem.ValidationSpec(held_out, patience, torch.from_numpy(pool)) if with_folds else None
    )
    if pauses:
        training = ResumableTraining(students, rows, loss, plan, held_out, pauses=True)
        for epoch, leaving in pauses:
            training.advance(epoch)
            training.drop(leaving)
        outcome = training.advance()
    else:
        outcome = ResumableTraining(students, rows, loss, plan, held_out).advance()
    results = []
    for number, (start, end) in enumerate(pairwise(first)):
        neurons = slice(students.neurons(start).start, students.neurons(end - 1).stop)
        n_epochs = outcome.n_epochs[number]
        curve = torch.stack(outcome.losses)[:, start:end]
        assert curve[n_epochs:].isnan().all()  # they have left
        results.append(
            {
                "hidden": students.hidden[neurons],
                "output": students.output[neurons],
                "losses": curve[:n_epochs],
                "best_score": outcome.best_score[start:end],
                "best_epoch": outcome.best_epoch[start:end],
                "diverged": outcome.diverged[start:end],
                "reason": outcome.reasons[number],
                "n_epochs": n_epochs,
            }
        )
    return results


def assert_same(jobs, results, expected):
    for job, result, alone in zip(jobs, results, expected, strict=True):
        if job.step_size > 1:  # where they do not diverge, they multiply rounding
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


def pieces(jobs, count):
    """Cut a list into so many pieces of unequal lengths."""
    ends = np.linspace(0, 1, count + 1) ** 2 * len(jobs)
    cut = [jobs[int(a) : int(b)] for a, b in pairwise(ends)]
    return [piece for piece in cut if piece]


@SETTINGS
def test_a_student_in_a_batch_is_the_same_alone(optimizer, n_classes, with_folds, batch_size):
    options = {"optimizer": optimizer, "with_folds": with_folds, "batch_size": batch_size}
    n_jobs = 500 // (1 + with_folds * N_FOLDS)
    jobs = make_jobs(n_jobs, n_classes, with_folds)
    results = train(jobs, **options)
    for result in results:  # some have diverged, and some left before the last epoch
        assert all(torch.isfinite(result[name]).all() for name in ("hidden", "output"))
    assert 2 < sum(bool(result["diverged"].any()) for result in results) < 100
    assert {"max_iter", "diverged"} <= {result["reason"] for result in results}
    assert len({result["n_epochs"] for result in results}) > 3
    some = slice(n_jobs // 40, None, n_jobs // 20)
    alone = [train([job], **options)[0] for job in jobs[some]]
    assert_same(jobs[some], results[some], alone)


@SETTINGS
def test_any_split_of_a_batch_gives_the_same(optimizer, n_classes, with_folds, batch_size):
    options = {"optimizer": optimizer, "with_folds": with_folds, "batch_size": batch_size}
    jobs = make_jobs(80 if not with_folds else 20, n_classes, with_folds, seed=1)
    whole = train(jobs, **options)
    for n_pieces in (2, 9):
        split = [one for piece in pieces(jobs, n_pieces) for one in train(piece, **options)]
        assert_same(jobs, split, whole)
    # in another order too
    order = np.random.RandomState(0).permutation(len(jobs))
    mixed = train([jobs[place] for place in order], **options)
    back = [mixed[place] for place in np.argsort(order)]
    assert_same(jobs, back, whole)


@pytest.mark.slow
@SETTINGS
def test_each_of_500_is_the_same_alone(optimizer, n_classes, with_folds, batch_size):
    options = {"optimizer": optimizer, "with_folds": with_folds, "batch_size": batch_size}
    jobs = make_jobs(500 // (1 + with_folds * N_FOLDS), n_classes, with_folds, seed=2)
    results = train(jobs, **options)
    alone = [train([job], **options)[0] for job in jobs]
    assert_same(jobs, results, alone)


@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
def test_diverging_neighbors_go_unnoticed(optimizer):
    jobs = make_jobs(20, 2, seed=3)
    rng = np.random.RandomState(4)
    kinds = ["cross_entropy", "two_term", "squared_error"]
    wild = [replace(make_job(rng, 2, False), step_size=s, max_move=np.inf, kind=kind)
            for s in (1e30, 1e200, 1e308) for kind in kinds]  # fmt: skip
    alone = train(jobs, optimizer=optimizer)
    among = train([*wild[:4], *jobs, *wild[4:]], optimizer=optimizer)
    assert all(result["diverged"].all() for result in among[:4] + among[-5:])
    assert_same(jobs, among[4:-5], alone)


@SETTINGS
def test_pauses_change_nothing(optimizer, n_classes, with_folds, batch_size):
    options = {"optimizer": optimizer, "with_folds": with_folds, "batch_size": batch_size}
    jobs = make_jobs(40 if not with_folds else 10, n_classes, with_folds, seed=5)
    whole = train(jobs, **options)
    paused = train(jobs, pauses=[(1, []), (2, []), (9, []), (9, []), (10**6, [])], **options)
    assert {result["reason"] for result in paused} >= {"max_iter"}
    assert_same(jobs, paused, whole)


@SETTINGS
def test_jobs_that_leave_keep_what_a_shorter_training_gives(
    optimizer, n_classes, with_folds, batch_size
):
    options = {"optimizer": optimizer, "with_folds": with_folds, "batch_size": batch_size}
    jobs = make_jobs(30 if not with_folds else 10, n_classes, with_folds, seed=6)
    jobs = [replace(job, n_epochs=40, decay=False, patience=100) for job in jobs]
    leaving = [number for number in range(len(jobs)) if number % 3]
    results = train(jobs, pauses=[(7, leaving)], **options)
    short = train([replace(job, n_epochs=7) for job in jobs], **options)
    whole = train(jobs, **options)
    for number in range(len(jobs)):
        left = number in leaving and short[number]["reason"] == "max_iter"
        assert (results[number]["reason"] == "paused") == left
        expected = {**short[number], "reason": "paused"} if left else whole[number]
        assert_same([jobs[number]], [results[number]], [expected])
