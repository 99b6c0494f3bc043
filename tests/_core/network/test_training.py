"""The training loop against naive descent, torch's optimizers and single networks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from sklearn_kd._core.network import losses, problem, targets
from sklearn_kd._core.network.training import ResumableTraining
from tests._helpers.data import one_hot
from tests._helpers.references import naive_logits, naive_pgd
from tests._helpers.theorems import squared_error
from tests._helpers.training import (
    N,
    as_targets,
    doubles,
    held_out_problem,
    make_data,
    make_plan,
    make_rows,
    make_students,
    run_training,
)

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
    outcome = run_training(
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
    assert outcome.reasons[0] == "max_iter"
    if radius == 0.5:  # the bound was met
        assert np.linalg.norm(path[-1] - W0, axis=1).max() == pytest.approx(limit)


@pytest.mark.parametrize(
    ("optimizer", "weight_decay"), [("nesterov", 0.0), ("adam", 0.0), ("adam", 0.01)]
)
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_both_layers_and_optimizers_against_torch(optimizer, weight_decay, n_outputs):
    X, P, weights = make_data(n_outputs)
    students = make_students([6], n_outputs)
    W, A = (t.clone().requires_grad_() for t in (students.hidden, students.output))
    groups = [{"params": [W], "lr": 0.05}, {"params": [A], "lr": 0.02}]
    if optimizer == "adam":
        for group in groups:  # torch multiplies the decay by the step size
            group["weight_decay"] = weight_decay / group["lr"]
        reference = torch.optim.AdamW(groups, betas=(0.9, 0.999))
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
        weight_decay=doubles(weight_decay),
    )
    run_training(students, make_rows(X, P, weights, n_outputs), losses.cross_entropy, plan)
    # Adam divides by what may be nearly zero, which magnifies rounding
    torch.testing.assert_close(students.hidden, W.detach(), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(students.output, A.detach(), rtol=1e-7, atol=1e-8)


def test_weight_decay_follows_the_step_size_and_leaves_a_fixed_layer():
    X, P, weights = make_data()
    rows = make_rows(X, P, weights, 1)
    widths, decay, n_steps = [4, 4], 0.02, 30
    students = make_students(widths, 1)
    W, A = students.hidden.clone(), students.output.clone()
    plan = make_plan(
        students,
        doubles(0.0, 0.0),  # the weights move by their decay alone
        output_step_size=doubles(1e-300, 0.0),
        n_epochs=n_steps,
        decay=True,
        weight_decay=doubles(decay, decay),
    )
    run_training(students, rows, losses.cross_entropy, plan)
    left = np.prod([1 - decay * (0.5 + 0.5 * np.cos(np.pi * k / n_steps)) for k in range(n_steps)])
    torch.testing.assert_close(students.hidden, W * left)
    torch.testing.assert_close(students.output[:4], A[:4] * left)
    assert torch.equal(students.output[4:], A[4:])


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
    run_training(students, make_rows(X, P, np.ones(N), 1), squared_error, plan)
    np.testing.assert_allclose(students.hidden, W, rtol=1e-11, atol=1e-12)


# Students side by side

SIDE_BY_SIDE = {
    "widths": [4, 4, 8, 2, 4],
    "step_size": doubles(0.1, 0.7, 0.2, 0.3, 1.0),
    "max_move": doubles(0.3, np.inf, 0.05, 1.0, 0.2),
    "weight_decay": doubles(0.01, 0.02, 0.0, 0.05, 0.03),
}


@pytest.mark.parametrize("neighbor", ["harmless", "diverges"])
@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize(("optimizer", "n_outputs"), [("nesterov", 1), ("adam", 3)])
def test_a_student_is_the_same_alone(neighbor, batch_size, optimizer, n_outputs):
    X, P, weights = make_data(n_outputs)
    rows = make_rows(X, P, weights, n_outputs)
    step_size = SIDE_BY_SIDE["step_size"].clone()
    if neighbor == "diverges":
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
            weight_decay=SIDE_BY_SIDE["weight_decay"][chosen],
            generator=torch.Generator().manual_seed(3),
            **options,
        )
        return students, run_training(students, rows, losses.cross_entropy, plan)

    together, outcome = run([0, 1, 2, 3, 4])
    assert outcome.diverged.tolist() == [False, neighbor == "diverges", False, False, False]
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
    if neighbor == "diverges":  # it is back at its start
        part = together.neurons(1)
        assert torch.equal(together.hidden[part], together.initial[part])


def test_students_may_have_weights_and_targets_of_their_own():
    X, P, weights = make_data()
    other, other_weights = make_data(seed=1)[1:]
    students = make_students([4, 4])
    values = torch.cat([as_targets(P, 1), as_targets(other, 1)])
    both = torch.tensor(np.stack([weights / weights.sum(), other_weights / other_weights.sum()]))
    rows = problem.WeightedRows(torch.tensor(X), targets.Fixed(values), both)
    start, A = students.hidden.numpy().copy(), students.output.numpy()
    run_training(students, rows, losses.cross_entropy, make_plan(students, n_epochs=25))
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
        outcome = run_training(students, rows, losses.cross_entropy, plan)
        results.append((students.hidden, students.output, torch.stack(outcome.losses)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("batch_size", [None, 6])
def test_equal_weights_may_be_one_number(batch_size):
    X, P, _ = make_data()
    results = []
    for weights in (torch.full((1, N), 1 / N).double(), torch.full((1, 1), 1 / N).double()):
        students = make_students([4, 2])
        rows = problem.WeightedRows(torch.tensor(X), targets.Fixed(as_targets(P, 1)), weights)
        plan = make_plan(students, batch_size=batch_size)
        held_out = problem.ValidationSpec(rows=rows, patience=100)
        outcome = run_training(students, rows, losses.cross_entropy, plan, held_out)
        results.append((students.hidden, torch.stack(outcome.losses), torch.stack(outcome.scores)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


# Minibatches and rules


class RecordingRule:
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
    rows, rule = make_rows(X, P, weights, 1), RecordingRule(as_targets(P, 1))
    rows.rule = rule
    students = make_students([2])
    outcome = run_training(
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
    rows, rule = make_rows(X, P, weights, 1), RecordingRule(as_targets(P, 1))
    rows.rule = rule
    students = make_students([4])
    W, A = students.hidden.numpy().copy(), students.output.numpy()
    plan = make_plan(students, 0.5, n_epochs=4, batch_size=6)
    run_training(students, rows, losses.cross_entropy, plan)
    for _, batch, _ in rule.calls:
        i = batch.numpy()
        # the weights of a batch stay relative to the mean of all weights
        eta = 0.5 * weights[i].mean() / weights.mean()
        W = naive_pgd(X[i], P[i], W, A, step_size=eta, n_steps=1, weights=weights[i])[0][1]
    np.testing.assert_allclose(students.hidden, W, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_a_rule_sees_the_logits_of_this_very_step(n_outputs):
    X, P, weights = make_data(n_outputs)
    rows, rule = make_rows(X, P, weights, n_outputs), RecordingRule(as_targets(P, n_outputs))
    rows.rule = rule
    students = make_students([4], n_outputs)
    W0, A = students.hidden.numpy().copy(), students.output.numpy()
    run_training(students, rows, losses.cross_entropy, make_plan(students, n_epochs=5))
    path, _ = naive_pgd(X, P, W0, A, step_size=0.5, n_steps=5, weights=weights)
    for (logits, batch, _), W in zip(rule.calls, path, strict=False):
        assert batch is None
        np.testing.assert_allclose(logits[0].T, naive_logits(X, W, A), atol=1e-12)
    assert [step for *_, step in rule.calls] == list(range(5))


def test_self_distillation_works_as_a_rule():
    # Algorithm 1: y^ = a_t y + (1 - a_t) hardmax(f), from the prediction of the same pass
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
    run_training(students, rows, losses.cross_entropy, make_plan(students, n_epochs=30))
    for step in range(30):
        positive = (naive_logits(X, W, A)[:, 0] > 0).astype(int)
        refined = weight(step) * y + (1 - weight(step)) * one_hot(positive, 2)
        W = naive_pgd(X, refined, W, A, step_size=0.5, n_steps=1, weights=weights)[0][1]
    np.testing.assert_allclose(students.hidden, W, rtol=1e-11, atol=1e-12)


# Ends


@pytest.mark.parametrize("pauses", [False, True])
def test_epochs_are_yielded_until_training_ends(pauses):
    students, data = make_students([4]), make_data()
    training = ResumableTraining(
        students,
        make_rows(*data, 1),
        losses.cross_entropy,
        make_plan(students, n_epochs=5),
        pauses=pauses,
    )
    if pauses:
        assert list(training.epochs(until=2)) == [1, 2]
        assert training.result.reasons[0] == "paused"
        assert list(training.epochs(until=2)) == []
    assert list(training.epochs()) == ([3, 4, 5] if pauses else [1, 2, 3, 4, 5])
    assert training.result.reasons[0] == "max_iter"
    assert list(training.epochs()) == []
    assert training.advance() is training.result


def test_other_errors_than_interrupts_are_raised():
    students, data = make_students([4]), make_data()

    def failing(epoch, result):
        raise RuntimeError("from the caller")

    with pytest.raises(RuntimeError, match="from the caller"):
        run_training(
            students, make_rows(*data, 1), losses.cross_entropy, make_plan(students), None, failing
        )


def test_a_callback_ends_training():
    students, X = make_students([4]), make_data()
    outcome = run_training(
        students,
        make_rows(*X, 1),
        losses.cross_entropy,
        make_plan(students),
        on_epoch=lambda epoch, outcome: epoch == 3,
    )
    assert (outcome.reasons[0], len(outcome.losses)) == ("callback", 3)


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
    outcome = run_training(students, rows, losses.cross_entropy, plan, held_out, on_epoch)
    assert outcome.reasons[0] == "interrupted"
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
    outcome = run_training(students, make_rows(X, P, weights, 3), losses.cross_entropy, plan)
    assert outcome.diverged.tolist() == [True, False]
    assert torch.isfinite(students.hidden).all()
    assert torch.isfinite(students.output).all()
    assert all(torch.isfinite(tensor).all() for state in outcome.optimizers for tensor in state)
    assert torch.equal(students.hidden[:4], students.initial[:4])
    assert outcome.reasons[0] == "max_iter"


def test_the_last_step_may_diverge_too():
    # the loss of a step is taken before it: one step, or the last one, needs a look of its own
    X, P, weights = make_data()
    students = make_students([4])
    plan = make_plan(students, 1e300, n_epochs=1)
    outcome = run_training(students, make_rows(X, P, weights, 1), losses.cross_entropy, plan)
    assert outcome.diverged.all()
    assert torch.equal(students.hidden, students.initial)


def test_all_diverged_ends_training():
    X, P, weights = make_data()
    students = make_students([4, 2])
    plan = make_plan(students, 1e200)
    outcome = run_training(students, make_rows(X, P, weights, 1), losses.cross_entropy, plan)
    assert outcome.reasons[0] == "diverged"
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
    run_training(whole, rows, losses.cross_entropy, make_plan(whole, 0.05, n_epochs=30, **options))
    parts = make_students([6], 3)
    first = run_training(
        parts, rows, losses.cross_entropy, make_plan(parts, 0.05, n_epochs=12, **options)
    )
    resume = [[tensor.clone() for tensor in state] for state in first.optimizers]
    plan = make_plan(parts, 0.05, n_epochs=18, resume=resume, **options)
    run_training(parts, rows, losses.cross_entropy, plan)
    assert torch.equal(parts.hidden, whole.hidden)
    assert torch.equal(parts.output, whole.output)


def test_training_takes_no_notice_of_the_global_generator():
    X, P, weights = make_data()

    def run():
        students = make_students([4])
        plan = make_plan(students, batch_size=6)
        run_training(students, make_rows(X, P, weights, 1), losses.cross_entropy, plan)
        return students.hidden

    state = torch.get_rng_state()
    first = run()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(123)
    assert torch.equal(run(), first)
