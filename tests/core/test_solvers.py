import numpy as np
import pytest
import torch
from conftest import naive_kl, naive_logits, naive_pgd, one_hot, random_proba
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import xlogy

from sklearn_kd._core import losses, solvers, targets, two_layer
from sklearn_kd._core.run import AVERAGE_EVERY

N, D = 20, 3


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


def make_data(n_outputs=1, n=N, seed=0):
    """Inputs, targets as (rows, classes), uneven weights."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, D))
    return X, random_proba(rng, n, max(2, n_outputs), 0.7), rng.uniform(0.5, 2, size=n)


def as_targets(P, n_outputs):
    """(1, outputs, rows)."""
    return torch.tensor((P[:, 1:] if n_outputs == 1 else P).T.copy())[None]


def make_rows(X, P, weights, n_outputs):
    share = torch.tensor(weights / weights.sum())
    return solvers.Rows(torch.tensor(X), targets.Fixed(as_targets(P, n_outputs)), share[None])


def make_students(widths, n_outputs=1, seeds=None, symmetric=True):
    seeds = range(len(widths)) if seeds is None else seeds
    drawn = [
        two_layer.initialise(
            m, D, n_outputs, symmetric=symmetric, generator=torch.Generator().manual_seed(s)
        )
        for m, s in zip(widths, seeds, strict=True)
    ]
    hidden, output = (torch.cat([d[i] for d in drawn]) for i in (0, 1))
    return solvers.Students(list(widths), hidden, output, hidden.clone())


def make_plan(students, step_size=0.5, **options):
    n = len(students)
    if not isinstance(step_size, torch.Tensor):
        step_size = torch.full((n,), step_size, dtype=torch.float64)
    options.setdefault("output_step_size", None)
    options.setdefault("max_move", torch.full((n,), np.inf, dtype=torch.float64))
    options.setdefault("n_epochs", 30)
    options.setdefault("batch_size", None)
    options.setdefault("optimizer", "nesterov")
    options.setdefault("momentum", 0.0)
    options.setdefault("decay", False)
    options.setdefault("generator", torch.Generator().manual_seed(0))
    return solvers.Plan(step_size, **options)


def score_of(students, student, rows, P):
    """Mean KL of one student by loops."""
    part = students.neurons(student)
    F = naive_logits(
        rows.inputs.numpy(), students.hidden[part].numpy(), students.output[part].numpy()
    )
    return np.average(naive_kl(P, F), weights=rows.weights[0].numpy())


# The method


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("radius", [0.5, 3.0, None])
def test_projected_gradient_descent_step_by_step(n_outputs, radius):
    X, P, weights = make_data(n_outputs)
    students = make_students([8], n_outputs, symmetric=False)
    W0, A = students.hidden.numpy().copy(), students.output.numpy()
    path, risks = naive_pgd(X, P, W0, A, step_size=1.0, n_steps=50, radius=radius, weights=weights)
    limit = np.inf if radius is None else radius / np.sqrt(8)
    seen = []
    plan = make_plan(students, 1.0, n_epochs=50, max_move=doubles(limit))
    rows = make_rows(X, P, weights, n_outputs)
    outcome = solvers.train(
        students,
        rows,
        losses.cross_entropy,
        plan,
        on_epoch=lambda epoch, _: seen.append(students.hidden.numpy().copy()),
    )
    np.testing.assert_allclose(seen, path[1:], rtol=1e-12, atol=1e-12)
    floor = float(losses.entropy(as_targets(P, n_outputs))[0] @ rows.weights[0])
    curve = torch.cat(outcome.losses).numpy() - floor
    np.testing.assert_allclose(curve, risks, rtol=1e-10, atol=1e-13)
    assert outcome.reason == "max_iter"
    if radius == 0.5:  # the bound was met
        assert np.linalg.norm(path[-1] - W0, axis=1).max() == pytest.approx(limit)


@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_both_layers_and_optimizers_against_torch(optimizer, n_outputs):
    X, P, weights = make_data(n_outputs)
    students = make_students([6], n_outputs)
    W, A = (t.clone().requires_grad_() for t in (students.hidden, students.output))
    groups = [{"params": [W], "lr": 0.05}, {"params": [A], "lr": 0.02}]
    if optimizer == "adam":
        reference = torch.optim.Adam(groups, betas=(0.9, 0.999))
    else:
        reference = torch.optim.SGD(groups, momentum=0.9, nesterov=True)
    share = torch.tensor(weights / weights.sum())
    for _ in range(40):
        f = torch.relu(torch.tensor(X) @ W.T) @ A / 6**0.5
        full = torch.cat([torch.zeros_like(f), f], 1) if n_outputs == 1 else f
        reference.zero_grad()
        (-(torch.tensor(P) * torch.log_softmax(full, 1)).sum(1) @ share).backward()
        reference.step()
    plan = make_plan(
        students,
        0.05,
        output_step_size=doubles(0.02),
        n_epochs=40,
        optimizer=optimizer,
        momentum=0.9,
    )
    solvers.train(students, make_rows(X, P, weights, n_outputs), losses.cross_entropy, plan)
    # Adam divides by what may be nearly zero, which magnifies rounding
    torch.testing.assert_close(students.hidden, W.detach(), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(students.output, A.detach(), rtol=1e-7, atol=1e-8)


def test_step_size_decays_along_a_half_cosine():
    X, P, weights = make_data()
    students, steps = make_students([4]), 10
    W, A = students.hidden.numpy().copy(), students.output.numpy()
    for step in range(steps):
        eta = 0.8 * 0.5 * (1 + np.cos(np.pi * step / steps))
        W = naive_pgd(X, P, W, A, step_size=eta, n_steps=1, weights=weights)[0][1]
    plan = make_plan(students, 0.8, n_epochs=steps, decay=True)
    solvers.train(students, make_rows(X, P, weights, 1), losses.cross_entropy, plan)
    np.testing.assert_allclose(students.hidden, W, rtol=1e-12, atol=1e-12)


def test_squared_error_follows_its_gradient():
    X, P, _ = make_data()
    students = make_students([8])
    W, A = students.hidden.numpy().copy(), students.output.numpy()
    for _ in range(20):
        F, G = naive_logits(X, W, A), np.zeros_like(W)
        for x, f, p in zip(X, F[:, 0], P[:, 1], strict=True):
            for j in range(8):
                if W[j] @ x > 0:
                    G[j] += (f - p) * A[j, 0] / np.sqrt(8) * x / len(X)
        W = W - 0.3 * G
    plan = make_plan(students, 0.3, n_epochs=20)
    solvers.train(students, make_rows(X, P, np.ones(N), 1), losses.squared_error, plan)
    np.testing.assert_allclose(students.hidden, W, rtol=1e-11, atol=1e-12)


# Students side by side

SIDE_BY_SIDE = {
    "widths": [4, 4, 8, 2, 4],
    "step_size": doubles(0.1, 0.7, 0.2, 0.3, 1.0),
    "max_move": doubles(0.3, np.inf, 0.05, 1.0, 0.2),
}


@pytest.mark.parametrize("neighbour", ["harmless", "diverges"])
@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize(("optimizer", "n_outputs"), [("nesterov", 1), ("adam", 3)])
def test_a_student_is_the_same_alone(neighbour, batch_size, optimizer, n_outputs):
    X, P, weights = make_data(n_outputs)
    rows = make_rows(X, P, weights, n_outputs)
    step_size = SIDE_BY_SIDE["step_size"].clone()
    if neighbour == "diverges":
        step_size[1] = 1e200
    options = {
        "n_epochs": 40,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "momentum": 0.9,
    }

    def run(chosen):
        students = make_students([SIDE_BY_SIDE["widths"][s] for s in chosen], n_outputs, chosen)
        plan = make_plan(
            students,
            step_size=step_size[chosen],
            output_step_size=step_size[chosen] / 2,
            max_move=SIDE_BY_SIDE["max_move"][chosen],
            generator=torch.Generator().manual_seed(3),
            **options,
        )
        return students, solvers.train(students, rows, losses.cross_entropy, plan)

    together, outcome = run([0, 1, 2, 3, 4])
    assert outcome.diverged.tolist() == [False, neighbour == "diverges", False, False, False]
    assert torch.isfinite(together.hidden).all()
    assert torch.isfinite(together.output).all()
    for student in [0, 2, 3, 4]:
        alone, outcome_alone = run([student])
        part = together.neurons(student)
        torch.testing.assert_close(together.hidden[part], alone.hidden, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(together.output[part], alone.output, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(
            torch.stack(outcome.losses)[:, student], torch.cat(outcome_alone.losses)
        )
    if neighbour == "diverges":  # it is back at its start
        part = together.neurons(1)
        assert torch.equal(together.hidden[part], together.initial[part])


def test_students_may_have_weights_and_targets_of_their_own():
    X, P, weights = make_data()
    other, other_weights = make_data(seed=1)[1:]
    students = make_students([4, 4])
    values = torch.cat([as_targets(P, 1), as_targets(other, 1)])
    both = torch.tensor(np.stack([weights / weights.sum(), other_weights / other_weights.sum()]))
    rows = solvers.Rows(torch.tensor(X), targets.Fixed(values), both)
    start, A = students.hidden.numpy().copy(), students.output.numpy()
    solvers.train(students, rows, losses.cross_entropy, make_plan(students, n_epochs=25))
    for s, (p, w) in enumerate([(P, weights), (other, other_weights)]):
        part = students.neurons(s)
        path, _ = naive_pgd(X, p, start[part], A[part], step_size=0.5, n_steps=25, weights=w)
        np.testing.assert_allclose(students.hidden[part], path[-1], rtol=1e-11, atol=1e-12)


# Weights of rows


@pytest.mark.parametrize(("n_steps", "tolerance"), [(1, 1e-12), (300, 1e-7)])
@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
def test_weight_k_is_k_copies_and_zero_is_absence(optimizer, n_steps, tolerance):
    X, P, _ = make_data(3)
    counts = np.random.RandomState(5).randint(0, 4, size=N)
    index = np.random.RandomState(6).permutation(np.repeat(np.arange(N), counts))
    results = []
    for rows in (
        make_rows(X, P, counts.astype(float), 3),
        make_rows(X[index], P[index], np.ones(len(index)), 3),
    ):
        students = make_students([8, 4], 3)
        plan = make_plan(
            students,
            0.01,
            output_step_size=doubles(0.01, 0.01),
            n_epochs=n_steps,
            optimizer=optimizer,
            momentum=0.9,
            max_move=doubles(0.2, np.inf),
        )
        outcome = solvers.train(students, rows, losses.cross_entropy, plan)
        results.append((students.hidden, students.output, torch.stack(outcome.losses)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("batch_size", [None, 6])
def test_equal_weights_may_be_one_number(batch_size):
    X, P, _ = make_data()
    results = []
    for weights in (torch.full((1, N), 1 / N).double(), torch.full((1, 1), 1 / N).double()):
        students = make_students([4, 2])
        rows = solvers.Rows(torch.tensor(X), targets.Fixed(as_targets(P, 1)), weights)
        plan = make_plan(students, batch_size=batch_size)
        held_out = solvers.HeldOut(rows=rows, patience=100)
        outcome = solvers.train(students, rows, losses.cross_entropy, plan, held_out)
        results.append((students.hidden, torch.stack(outcome.losses), torch.stack(outcome.scores)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


# Minibatches and rules


class Recorder:
    """A rule that notes how it is called."""

    def __init__(self, values):
        self.rule, self.calls = targets.Fixed(values), []

    def __call__(self, logits, rows, step):
        self.calls.append((logits.clone(), rows, step))
        return self.rule(logits, rows, step)


@settings(max_examples=30)
@given(n=st.integers(2, 23), batch_size=st.integers(1, 25))
def test_every_row_once_an_epoch(n, batch_size):
    X, P, weights = make_data(n=n)
    rows, rule = make_rows(X, P, weights, 1), Recorder(as_targets(P, 1))
    rows.rule = rule
    students = make_students([2])
    outcome = solvers.train(
        students,
        rows,
        losses.cross_entropy,
        make_plan(students, 0.1, n_epochs=3, batch_size=batch_size),
    )
    n_batches = -(-n // batch_size)
    assert [step for *_, step in rule.calls] == list(range(3 * n_batches))
    assert len(outcome.losses) == 3
    if n_batches == 1:
        assert all(batch is None for _, batch, _ in rule.calls)
        return
    for epoch in range(3):
        batches = [rows for _, rows, _ in rule.calls[epoch * n_batches :][:n_batches]]
        assert sorted(torch.cat(batches).tolist()) == list(range(n))
        assert max(map(len, batches)) <= batch_size
        assert all(
            logits.shape == (1, 1, len(batch))
            for logits, batch, _ in rule.calls[epoch * n_batches :][:n_batches]
        )
    if n > 6:
        orders = [
            torch.cat([r for _, r, _ in rule.calls[e * n_batches :][:n_batches]]) for e in range(3)
        ]
        assert not torch.equal(orders[0], orders[1])


def test_minibatch_steps_are_steps_on_their_rows():
    X, P, weights = make_data()
    rows, rule = make_rows(X, P, weights, 1), Recorder(as_targets(P, 1))
    rows.rule = rule
    students = make_students([4])
    W, A = students.hidden.numpy().copy(), students.output.numpy()
    plan = make_plan(students, 0.5, n_epochs=4, batch_size=6)
    solvers.train(students, rows, losses.cross_entropy, plan)
    for _, batch, _ in rule.calls:
        i = batch.numpy()
        # the weights of a batch stay relative to the mean of all weights
        eta = 0.5 * weights[i].mean() / weights.mean()
        W = naive_pgd(X[i], P[i], W, A, step_size=eta, n_steps=1, weights=weights[i])[0][1]
    np.testing.assert_allclose(students.hidden, W, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_a_rule_sees_the_logits_of_this_very_step(n_outputs):
    X, P, weights = make_data(n_outputs)
    rows, rule = make_rows(X, P, weights, n_outputs), Recorder(as_targets(P, n_outputs))
    rows.rule = rule
    students = make_students([4], n_outputs)
    W0, A = students.hidden.numpy().copy(), students.output.numpy()
    solvers.train(students, rows, losses.cross_entropy, make_plan(students, n_epochs=5))
    path, _ = naive_pgd(X, P, W0, A, step_size=0.5, n_steps=5, weights=weights)
    for (logits, batch, _), W in zip(rule.calls, path, strict=False):
        assert batch is None
        np.testing.assert_allclose(logits[0].T, naive_logits(X, W, A), atol=1e-12)
    assert [step for *_, step in rule.calls] == list(range(5))


def test_self_distillation_works_as_a_rule():
    # maths.md 5: y^ = a_t y + (1 - a_t) hardmax(f), from the prediction of the same pass
    X, _, weights = make_data()
    y = one_hot(np.arange(N) % 2, 2)
    given = as_targets(y, 1)

    def weight(step):
        return np.exp(-step / 10)

    def rule(logits, rows, step):
        values = given if rows is None else given[:, :, rows]
        return weight(step) * values + (1 - weight(step)) * (logits > 0).double()

    students = make_students([8], symmetric=False)
    W, A = students.hidden.numpy().copy(), students.output.numpy()
    rows = make_rows(X, y, weights, 1)
    rows.rule = rule
    solvers.train(students, rows, losses.cross_entropy, make_plan(students, n_epochs=30))
    for step in range(30):
        positive = (naive_logits(X, W, A)[:, 0] > 0).astype(int)
        refined = weight(step) * y + (1 - weight(step)) * one_hot(positive, 2)
        W = naive_pgd(X, refined, W, A, step_size=0.5, n_steps=1, weights=weights)[0][1]
    np.testing.assert_allclose(students.hidden, W, rtol=1e-11, atol=1e-12)


# Early stopping


def held_out_problem(batch_size=None, **options):
    X, P, weights = make_data(n=16)
    X_out, P_out, _ = make_data(n=30, seed=7)  # other labels: training soon hurts
    students = make_students([8, 2], symmetric=False)
    held_out = solvers.HeldOut(
        rows=make_rows(X_out, P_out, np.ones(30), 1), patience=options.pop("patience", 5)
    )
    options = {"n_epochs": 60, "batch_size": batch_size, **options}
    return students, make_rows(X, P, weights, 1), held_out, P_out, make_plan(students, **options)


@pytest.mark.parametrize("batch_size", [None, 5])
def test_early_stopping_restores_the_best_scored_weights(batch_size):
    students, rows, held_out, P_out, plan = held_out_problem(batch_size, n_epochs=400)
    scores, kept = [], []

    def on_epoch(epoch, outcome):
        kept.append(students.hidden.clone())
        scores.append([score_of(students, s, held_out.rows, P_out) for s in range(2)])

    outcome = solvers.train(students, rows, losses.cross_entropy, plan, held_out, on_epoch)
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
    assert outcome.reason == "early_stopping"
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
    rows = solvers.Rows(torch.tensor(X), targets.Fixed(as_targets(P, 1)), torch.tensor(train))
    # the very tensor of the training rows: their loss comes with the forward pass of training
    inputs = rows.inputs if in_passing else rows.inputs.clone()
    left_out = solvers.Rows(inputs, rows.rule, torch.tensor(out))
    held_out = solvers.HeldOut(rows=left_out, patience=8, pool=pool)
    outcome = solvers.train(
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
    assert outcome.reason == "early_stopping"
    # every epoch has a score, the last one too; in passing it comes one epoch late
    assert n == len(outcome.losses) == best + 8 + in_passing
    assert torch.isinf(outcome.best_score[1:]).all()


@pytest.mark.parametrize("batch_size", [None, 6])
def test_fold_networks_are_those_of_their_rows(batch_size):
    X, P, _ = make_data(n=20)
    fold = np.arange(20) % 2
    train = np.stack([(fold == 0) / 10, (fold == 1) / 10])
    students = make_students([4, 4])
    rows = solvers.Rows(torch.tensor(X), targets.Fixed(as_targets(P, 1)), torch.tensor(train))
    left_out = solvers.Rows(rows.inputs, rows.rule, torch.tensor(train[::-1].copy()))
    held_out = solvers.HeldOut(rows=left_out, patience=100)
    # rows that a network leaves out may hold anything
    P_other = P.copy()
    P_other[fold == 1] = P[fold == 1][:, ::-1]
    other = solvers.Rows(rows.inputs, targets.Fixed(as_targets(P_other, 1)), rows.weights)
    kept = []
    for training in (rows, other):
        students = make_students([4, 4])
        plan = make_plan(students, n_epochs=15, batch_size=batch_size)
        path = []
        solvers.train(
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
    outcome = solvers.train(students, rows, losses.cross_entropy, plan, held_out)
    n_batches = 4
    for s in range(2):
        best = int(outcome.best_epoch[s])
        if best == 30:
            continue
        mean_hidden, mean_output = (t.clone() for t in path[0])
        for step in range(AVERAGE_EVERY, best * n_batches + 1, AVERAGE_EVERY):
            window = min(step, held_out.averaging * n_batches) / AVERAGE_EVERY
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
    outcome = solvers.train(students, rows, losses.cross_entropy, plan, held_out)
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


# Ends


def test_a_callback_ends_training():
    students, X = make_students([4]), make_data()
    outcome = solvers.train(
        students,
        make_rows(*X, 1),
        losses.cross_entropy,
        make_plan(students),
        on_epoch=lambda epoch, outcome: epoch == 3,
    )
    assert (outcome.reason, len(outcome.losses)) == ("callback", 3)


@pytest.mark.parametrize("where", ["rule", "callback"])
@pytest.mark.parametrize("batch_size", [None, 5])
def test_an_interrupt_is_handed_back_with_the_best_weights(where, batch_size):
    students, rows, held_out, _, plan = held_out_problem(batch_size, patience=60)
    rule, stop = rows.rule, 20 if batch_size is None else 70
    kept, scores = [], []

    def interrupted(logits, index, step):
        if where == "rule" and step == stop:
            raise KeyboardInterrupt("from the rule")
        return rule(logits, index, step)

    def on_epoch(epoch, outcome):
        kept.append(students.hidden.clone())
        scores.append(outcome.scores[-1])
        if where == "callback" and epoch == 20:
            raise KeyboardInterrupt("from the callback")

    rows.rule = interrupted
    outcome = solvers.train(students, rows, losses.cross_entropy, plan, held_out, on_epoch)
    assert outcome.reason == "interrupted"
    assert isinstance(outcome.interrupt, KeyboardInterrupt)
    assert where in str(outcome.interrupt)
    best = torch.stack(scores).argmin(dim=0)
    for s in range(2):
        part = students.neurons(s)
        assert torch.equal(students.hidden[part], kept[best[s]][part])


@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
@pytest.mark.parametrize("batch_size", [None, 5])
@pytest.mark.parametrize("step_size", [1e4, 1e30, 1e200, 1e308])
def test_divergence_is_marked_and_leaves_no_nan(optimizer, batch_size, step_size):
    X, P, weights = make_data(3)
    students = make_students([4, 4], 3)
    plan = make_plan(
        students,
        step_size=doubles(step_size, 1e-3),
        output_step_size=doubles(step_size, 1e-3),
        batch_size=batch_size,
        optimizer=optimizer,
        momentum=0.9,
    )
    outcome = solvers.train(students, make_rows(X, P, weights, 3), losses.cross_entropy, plan)
    assert outcome.diverged.tolist() == [True, False]
    assert torch.isfinite(students.hidden).all()
    assert torch.isfinite(students.output).all()
    assert all(torch.isfinite(tensor).all() for state in outcome.optimizers for tensor in state)
    assert torch.equal(students.hidden[:4], students.initial[:4])
    assert outcome.reason == "max_iter"


def test_the_last_step_may_diverge_too():
    # the loss of a step is taken before it: one step, or the last one, needs a look of its own
    X, P, weights = make_data()
    students = make_students([4])
    plan = make_plan(students, 1e300, n_epochs=1)
    outcome = solvers.train(students, make_rows(X, P, weights, 1), losses.cross_entropy, plan)
    assert outcome.diverged.all()
    assert torch.equal(students.hidden, students.initial)


def test_all_diverged_ends_training():
    X, P, weights = make_data()
    students = make_students([4, 2])
    plan = make_plan(students, 1e200)
    outcome = solvers.train(students, make_rows(X, P, weights, 1), losses.cross_entropy, plan)
    assert outcome.reason == "diverged"
    assert outcome.diverged.all()
    assert len(outcome.losses) < 30


@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
def test_training_in_two_parts_is_training_in_one(optimizer):
    X, P, weights = make_data(3)
    rows = make_rows(X, P, weights, 3)
    options = {
        "output_step_size": doubles(0.05),
        "optimizer": optimizer,
        "momentum": 0.9,
        "max_move": doubles(0.3),
    }
    whole = make_students([6], 3)
    solvers.train(whole, rows, losses.cross_entropy, make_plan(whole, 0.05, n_epochs=30, **options))
    parts = make_students([6], 3)
    first = solvers.train(
        parts, rows, losses.cross_entropy, make_plan(parts, 0.05, n_epochs=12, **options)
    )
    resume = [[tensor.clone() for tensor in state] for state in first.optimizers]
    plan = make_plan(parts, 0.05, n_epochs=18, resume=resume, **options)
    solvers.train(parts, rows, losses.cross_entropy, plan)
    assert torch.equal(parts.hidden, whole.hidden)
    assert torch.equal(parts.output, whole.output)


def test_training_takes_no_notice_of_the_global_generator():
    X, P, weights = make_data()

    def run():
        students = make_students([4])
        plan = make_plan(students, batch_size=6)
        solvers.train(students, make_rows(X, P, weights, 1), losses.cross_entropy, plan)
        return students.hidden

    state = torch.get_rng_state()
    first = run()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(123)
    assert torch.equal(run(), first)
