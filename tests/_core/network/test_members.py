"""Members: gradients of what they share, averaged predictions, scores, subsets of the students."""

import numpy as np
import pytest
import torch
from scipy.special import expit

from sklearn_kd._core.network import layers, losses, members, problem, targets
from tests._helpers.references import central_difference, naive_logits, naive_proba
from tests._helpers.training import D, make_data, make_plan, make_rows, make_students, run_training

WIDTHS, M = [4, 2, 2], 3


def students_with_members(n_outputs, widths=WIDTHS, seeds=None, symmetric=False):
    seeds = range(len(widths)) if seeds is None else seeds
    students = make_students(widths, M * n_outputs, seeds, symmetric)
    signs = [members.draw_signs(M, D, torch.Generator().manual_seed(s)) for s in seeds]
    students.signs = torch.stack(signs)
    return students


def member_logits(X, W, A, signs):
    """Logits of each member, (members, rows, outputs), with A (width, members * outputs)."""
    A = A.reshape(len(W), M, -1)
    return np.array([naive_logits(X * s, W, A[:, m]) for m, s in enumerate(signs)])


def naive_loss(F, P, weights):
    """Weighted cross-entropy of logits (rows, outputs)."""
    return -(weights / weights.sum()) @ (P * np.log(naive_proba(F))).sum(axis=1)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("own_weights", [True, False])
def test_a_step_follows_the_gradient_of_the_mean_loss(n_outputs, own_weights):
    X, P, weights = make_data(n_outputs)
    rows = make_rows(X, P, weights, n_outputs)
    each = np.tile(weights, (len(WIDTHS), 1))
    if own_weights:  # and targets
        each = np.random.RandomState(1).uniform(0.5, 2, size=(3, len(X)))
        rows.weights = torch.tensor(each / each.sum(axis=1, keepdims=True))
        rows.rule = targets.Fixed(rows.rule.values.repeat(3, 1, 1))
    students = students_with_members(n_outputs)
    start = [part.numpy().copy() for part in (students.hidden, students.output)]
    step = torch.ones(3, dtype=torch.float64)
    plan = make_plan(students, 1.0, n_epochs=1, output_step_size=step)
    result = run_training(students, rows, losses.cross_entropy, plan)
    for number, signs in enumerate(students.signs.numpy()):
        part = students.neurons(number)
        W, A = (weights[part] for weights in start)

        def loss(W, A, signs=signs, weights=each[number]):
            logits = member_logits(X, W, A, signs)
            return np.mean([naive_loss(F, P, weights) for F in logits])

        np.testing.assert_allclose(result.losses[0][number], loss(W, A), rtol=1e-12)
        gradients = (
            central_difference(lambda W: loss(W, A), W),  # noqa: B023
            central_difference(lambda A: loss(W, A), A),  # noqa: B023
        )
        for before, after, gradient in zip(
            (W, A), (students.hidden[part], students.output[part]), gradients, strict=True
        ):
            np.testing.assert_allclose(before - after.numpy(), gradient, atol=1e-8)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_the_prediction_has_the_mean_probabilities(n_outputs):
    F = np.random.RandomState(0).normal(size=(2, M, 5, n_outputs)) * 5
    logits = torch.tensor(F.transpose(0, 3, 1, 2).reshape(2, n_outputs, -1))
    predictions = members.mean_prediction(logits, M).numpy().transpose(0, 2, 1)
    for each, prediction in zip(F, predictions, strict=True):
        expected = np.mean([naive_proba(f) for f in each], axis=0)
        np.testing.assert_allclose(naive_proba(prediction), expected, rtol=1e-12)
    far = torch.full((1, n_outputs, M), 500.0)
    far[:, 0] *= -1
    assert torch.isfinite(members.mean_prediction(far, M)).all()
    labels = members.mean_label_prediction(logits, M).sigmoid().numpy().transpose(0, 2, 1)
    np.testing.assert_allclose(labels, np.mean(expit(F), axis=1), rtol=1e-12)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("in_pass", [True, False])
def test_early_stopping_scores_the_prediction(n_outputs, in_pass):
    X, P, weights = make_data(n_outputs)
    rows = make_rows(X, P, weights, n_outputs)
    students = students_with_members(n_outputs)
    held = rows if in_pass else make_rows(X.copy(), P, weights, n_outputs)
    plan = make_plan(students, 0.5, n_epochs=4)
    validation = problem.ValidationSpec(held, patience=50)
    result = run_training(students, rows, losses.cross_entropy, plan, validation)
    for number, signs in enumerate(students.signs.numpy()):
        part = students.neurons(number)
        W, A = students.hidden[part].numpy(), students.output[part].numpy()
        logits = member_logits(X, W, A, signs)
        proba = np.mean([naive_proba(F) for F in logits], axis=0)
        loss = -(weights / weights.sum()) @ (P * np.log(proba)).sum(axis=1)
        np.testing.assert_allclose(result.best_score[number], loss, rtol=1e-12)


def test_a_student_with_members_is_the_same_alone():
    X, P, weights = make_data(3)
    rows = make_rows(X, P, weights, 3)

    def run(chosen):
        students = students_with_members(3, [WIDTHS[s] for s in chosen], chosen, symmetric=True)
        plan = make_plan(
            students,
            output_step_size=torch.full((len(chosen),), 0.5, dtype=torch.float64),
            max_move=torch.full((len(chosen),), 0.1, dtype=torch.float64),
            n_epochs=torch.tensor([10, 5, 20])[chosen],  # one ends before the others
            batch_size=7,
            fit=torch.arange(len(chosen)),
            optimizer="adam",
        )
        run_training(students, rows, losses.cross_entropy, plan)
        return students

    together = run([0, 1, 2])
    for number in range(3):
        alone, part = run([number]), together.neurons(number)
        torch.testing.assert_close(together.hidden[part], alone.hidden, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(together.output[part], alone.output, rtol=1e-10, atol=1e-10)
        moved = (alone.hidden - alone.initial).norm(dim=1)
        assert 0 < moved.max() <= 0.1 * (1 + 1e-12)


def test_one_member_needs_no_arrays_of_its_own():
    students = make_students([2, 4])
    assert students.n_members == 1
    work = layers.Workspace([2, 4], students.output, 5)
    assert work.own_weights(students.hidden) is students.hidden
    assert work.joined_logits() is work.logits
