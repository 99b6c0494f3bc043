"""Early stopping: scores of held-out rows, folds, and the weights that are kept."""

import numpy as np
import pytest
import torch
from scipy.special import xlogy

from sklearn_kd._core.network import losses, problem, targets
from sklearn_kd._core.network.early_stopping import STEPS_PER_AVERAGE
from tests._helpers.references import naive_kl, naive_logits, naive_pgd
from tests._helpers.training import (
    as_targets,
    doubles,
    held_out_problem,
    make_data,
    make_plan,
    make_students,
    run_training,
)


def score_of(students, student, rows, P):
    """Mean KL of one student by loops."""
    part = students.neurons(student)
    F = naive_logits(
        rows.inputs.numpy(), students.hidden[part].numpy(), students.output[part].numpy()
    )
    return np.average(naive_kl(P, F), weights=rows.weights[0].numpy())


@pytest.mark.parametrize("batch_size", [None, 5])
def test_early_stopping_restores_the_best_scored_weights(batch_size):
    students, rows, held_out, P_out, plan = held_out_problem(batch_size, n_epochs=400)
    scores, kept = [], []

    def on_epoch(epoch, outcome):
        kept.append(students.hidden.clone())
        scores.append([score_of(students, s, held_out.rows, P_out) for s in range(2)])

    outcome = run_training(students, rows, losses.cross_entropy, plan, held_out, on_epoch)
    scores = np.array(scores)
    floor = float(losses.entropy(as_targets(P_out, 1)).mean())
    reported = torch.stack(outcome.scores).numpy()
    np.testing.assert_allclose(reported[: len(scores)] - floor, scores, atol=1e-10)
    for s in range(2):
        best = reported[:, s].argmin()
        assert outcome.best_epoch[s] == best + 1
        assert outcome.best_score[s] == reported[best, s]
        part = students.neurons(s)
        if best < len(kept):
            torch.testing.assert_close(students.hidden[part], kept[best][part], rtol=0, atol=0)
    assert outcome.reasons[0] == "early_stopping"
    # it ended `patience` epochs after the last best of any student
    assert len(reported) == int(outcome.best_epoch.max()) + held_out.patience


@pytest.mark.parametrize("in_passing", [True, False])
def test_folds_score_held_out_training_rows(in_passing):
    # students 1, 2 leave rows out; student 0 sees all and is scored by the sum of theirs
    X, P, _ = make_data(n=20)
    fold = np.arange(20) % 2
    train = np.stack([np.full(20, 1 / 20), (fold == 0) / 10, (fold == 1) / 10])
    out = np.stack([np.zeros(20), (fold == 1) / 20, (fold == 0) / 20])
    pool = torch.tensor([-1, 0, 0])
    students = make_students([8, 8, 8], seeds=[0, 0, 0])
    start, A = students.hidden[:8].numpy().copy(), students.output[:8].numpy()
    rows = problem.WeightedRows(
        torch.tensor(X), targets.Fixed(as_targets(P, 1)), torch.tensor(train)
    )
    # the very tensor of the training rows: their loss comes with the forward pass of training
    inputs = rows.inputs if in_passing else rows.inputs.clone()
    left_out = problem.WeightedRows(inputs, rows.rule, torch.tensor(out))
    held_out = problem.ValidationSpec(rows=left_out, patience=8, pool=pool)
    outcome = run_training(
        students, rows, losses.cross_entropy, make_plan(students, 2.0, n_epochs=80), held_out
    )
    paths = [naive_pgd(X, P, start, A, step_size=2.0, n_steps=80, weights=w)[0] for w in train]
    scores = np.array(
        [
            sum(o @ naive_kl(P, naive_logits(X, W, A)) for o, W in zip(out[1:], pair, strict=True))
            for pair in zip(paths[1], paths[2], strict=True)
        ]
    )
    n = len(outcome.scores)  # the untrained networks are not scored
    floor = float(losses.entropy(as_targets(P, 1)).mean())
    reported = torch.stack(outcome.scores)[:, 0].numpy()
    np.testing.assert_allclose(reported - floor, scores[1 : n + 1], atol=1e-10)
    best = 1 + scores[1 : n + 1].argmin()
    assert outcome.best_epoch[0] == best
    np.testing.assert_allclose(students.hidden[:8], paths[0][best], rtol=1e-9, atol=1e-10)
    assert outcome.reasons[0] == "early_stopping"
    # every epoch has a score, the last one too; in passing it comes one epoch late
    assert n == len(outcome.losses) == best + 8 + in_passing
    assert torch.isinf(outcome.best_score[1:]).all()


@pytest.mark.parametrize("batch_size", [None, 6])
def test_fold_networks_are_those_of_their_rows(batch_size):
    X, P, _ = make_data(n=20)
    fold = np.arange(20) % 2
    train = np.stack([(fold == 0) / 10, (fold == 1) / 10])
    students = make_students([4, 4])
    rows = problem.WeightedRows(
        torch.tensor(X), targets.Fixed(as_targets(P, 1)), torch.tensor(train)
    )
    left_out = problem.WeightedRows(rows.inputs, rows.rule, torch.tensor(train[::-1].copy()))
    held_out = problem.ValidationSpec(rows=left_out, patience=100)
    # rows that a network leaves out may hold anything
    P_other = P.copy()
    P_other[fold == 1] = P[fold == 1][:, ::-1]
    other = problem.WeightedRows(rows.inputs, targets.Fixed(as_targets(P_other, 1)), rows.weights)
    kept = []
    for training in (rows, other):
        students = make_students([4, 4])
        plan = make_plan(students, n_epochs=15, batch_size=batch_size)
        path = []
        run_training(
            students,
            training,
            losses.cross_entropy,
            plan,
            None if training is other else held_out,
            lambda epoch, outcome, path=path, students=students: path.append(
                students.hidden.clone()
            ),
        )
        kept.append(path[-1])
    torch.testing.assert_close(kept[0][:4], kept[1][:4])
    assert not torch.allclose(kept[0][4:], kept[1][4:])


def test_averaging_scores_and_keeps_the_running_mean():
    students, rows, held_out, P_out, plan = held_out_problem(5, patience=200, n_epochs=30)
    held_out.averaging = 3
    plan.output_step_size = doubles(0.3, 0.3)
    rule, path = rows.rule, []

    def recording(logits, index, step):  # the weights after `step` steps
        if logits.shape[2] <= 6 and len(path) == step:
            path.append((students.hidden.clone(), students.output.clone()))
        return rule(logits, index, step)

    rows.rule = recording
    outcome = run_training(students, rows, losses.cross_entropy, plan, held_out)
    n_batches = 4
    for s in range(2):
        best = int(outcome.best_epoch[s])
        if best == 30:
            continue
        mean_hidden, mean_output = (t.clone() for t in path[0])
        for step in range(STEPS_PER_AVERAGE, best * n_batches + 1, STEPS_PER_AVERAGE):
            window = min(step, held_out.averaging * n_batches) / STEPS_PER_AVERAGE
            rate = 1 / max(1, window)
            mean_hidden += rate * (path[step][0] - mean_hidden)
            mean_output += rate * (path[step][1] - mean_output)
        part = students.neurons(s)
        torch.testing.assert_close(students.hidden[part], mean_hidden[part])
        torch.testing.assert_close(students.output[part], mean_output[part])
        floor = float(losses.entropy(as_targets(P_out, 1)).mean())
        assert outcome.best_score[s] - floor == pytest.approx(
            score_of(students, s, held_out.rows, P_out), abs=1e-10
        )


def test_one_row_counts_at_most_the_cap():
    students, rows, held_out, P_out, plan = held_out_problem(n_epochs=1)
    held_out.rows.inputs[0] *= 1e6
    held_out.row_cap = torch.full((1, len(held_out.rows.inputs)), 2.0, dtype=torch.float64)
    outcome = run_training(students, rows, losses.cross_entropy, plan, held_out)
    for s in range(2):
        part = students.neurons(s)
        F = naive_logits(
            held_out.rows.inputs.numpy(),
            students.hidden[part].numpy(),
            students.output[part].numpy(),
        )
        cross = naive_kl(P_out, F) - xlogy(P_out, P_out).sum(axis=1)
        assert cross[0] > 100
        assert outcome.best_score[s] == pytest.approx(np.minimum(cross, 2.0).mean())
