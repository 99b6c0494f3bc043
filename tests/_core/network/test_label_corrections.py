"""Rules that correct labels as training goes on (Algorithm 1), against loops over single rows."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax

from sklearn_kd._core.network.algorithm_1 import (
    Accuracy,
    Memory,
    SelfDistilled,
    WeightSchedule,
    largest_class_share,
)
from sklearn_kd._core.network.early_learning import EarlyLearning
from sklearn_kd._core.network.label_corrections import Confidence, CorrectionSpec
from sklearn_kd._core.network.label_functions import Softmax, hardmax
from sklearn_kd._core.network.targets import Fixed
from tests._helpers.theorems import Ramp

seeds = st.integers(0, 2**16)
outputs = st.sampled_from([1, 2, 3, 5])


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def draw_labels(rng, n_outputs, n_rows):
    """Indicators (outputs, rows); with one output, zeros and ones."""
    if n_outputs == 1:
        return rng.randint(2, size=(1, n_rows)).astype(float)
    return np.eye(n_outputs)[rng.randint(n_outputs, size=n_rows)].T.copy()


def proba(f):
    """Probabilities of one row's logits; with one output, of the second class."""
    return expit(f) if len(f) == 1 else softmax(f)


def of_label(values, label):
    """What a row gives to its label; with one output the first class has the rest."""
    if len(values) == 1:
        return values[0] if label[0] == 1 else 1 - values[0]
    return values @ label


# Label functions


def test_hardmax_by_hand():
    logits = tensor([[[1.0, -3.0, 0.0], [1.0, 2.0, -1.0], [0.5, 2.0, -1.0]]])
    expected = [[0.5, 0, 1], [0.5, 0.5, 0], [0, 0.5, 0]]
    assert_array_equal(hardmax(logits)[0], expected)
    assert_array_equal(hardmax(torch.zeros(1, 4, 2).double()), np.full((1, 4, 2), 0.25))
    assert_array_equal(hardmax(tensor([[[2.0, 0.0, -1e-300]]])), [[[1, 0.5, 0]]])
    # the logarithm of a probability of zero
    minus = -torch.inf
    assert_array_equal(hardmax(tensor([[[minus], [0.0], [minus]]]))[0, :, 0], [0, 1, 0])
    assert_array_equal(hardmax(tensor([[[torch.inf, minus]]])), [[[1, 0]]])


@given(seed=seeds, n_outputs=outputs, n_levels=st.integers(1, 4))
def test_hardmax_shares_a_tie(seed, n_outputs, n_levels):
    rng = np.random.RandomState(seed)
    f = rng.randint(-n_levels, n_levels + 1, size=(2, n_outputs, 6)).astype(float)
    given_ = tensor(f)
    h = hardmax(given_).numpy()
    assert_array_equal(given_, f)  # not written over
    for student in range(2):
        for row in range(6):
            values = f[student, :, row]
            if n_outputs == 1:
                expected = [{-1: 0.0, 0: 0.5, 1: 1.0}[np.sign(values[0])]]
            else:
                best = [k for k in range(n_outputs) if values[k] == max(values)]
                expected = [1 / len(best) if k in best else 0.0 for k in range(n_outputs)]
            assert_allclose(h[student, :, row], expected, rtol=1e-15)


@given(seed=seeds, n_outputs=outputs, T=st.floats(0.05, 20))
def test_softmax_is_sharpened(seed, n_outputs, T):
    f = np.random.RandomState(seed).normal(size=(2, n_outputs, 4))
    h = Softmax(T)(tensor(f)).numpy()
    for student in range(2):
        for row in range(4):
            assert_allclose(h[student, :, row], proba(f[student, :, row] / T), rtol=1e-12)


def test_softmax_near_zero_temperature_is_hardmax(rng):
    for n_outputs in (1, 3):
        f = tensor(rng.normal(size=(1, n_outputs, 20)))
        assert_allclose(Softmax(1e-6)(f), hardmax(f), atol=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.2, 0.4])
def test_ramp_is_theorem_1(rho):
    edge = (1 - 2 * rho) / 4
    x = np.r_[np.linspace(-2, 2, 81), -edge, edge, 0.0, 0.999 * edge, -1.001 * edge]
    given_ = tensor(x[None, None])
    h = Ramp(rho)(given_)[0, 0].numpy()
    for value, result in zip(x, h, strict=True):
        expected = 4 * value / (1 - 2 * rho) if abs(value) <= edge else np.sign(value)
        assert result == pytest.approx(expected, abs=1e-15)
    assert_array_equal(given_[0, 0], x)


# Memory


class NaiveMemory:
    """A dictionary of each student's rows."""

    def __init__(self, decay, lags):
        self.decay, self.lags, self.kept = decay, lags, {}

    def __call__(self, f, rows):
        """Recalled probabilities (students, outputs, rows)."""
        recalled = np.empty_like(f)
        for student in range(len(f)):
            for i, row in enumerate(rows):
                p = proba(f[student, :, i])
                before = self.kept.get((student, row))
                now = p if before is None else self.decay * before + (1 - self.decay) * p
                self.kept[student, row] = now
                recalled[student, :, i] = now if not self.lags or before is None else before
        return recalled


@given(
    seed=seeds,
    n_outputs=outputs,
    decay=st.sampled_from([0.0, 0.3, 0.9]),
    lags=st.booleans(),
    sizes=st.lists(st.sampled_from([None, 1, 3, 5]), min_size=1, max_size=6),
)
def test_memory_is_a_dictionary_of_rows(seed, n_outputs, decay, lags, sizes):
    rng = np.random.RandomState(seed)
    memory, naive = Memory(7, decay, lags=lags), NaiveMemory(decay, lags)
    for size in sizes:
        rows = None if size is None else rng.permutation(7)[:size]
        index = np.arange(7) if size is None else rows
        f = 2 * rng.normal(size=(2, n_outputs, len(index)))
        given_ = tensor(f)
        result = memory(given_, None if rows is None else torch.tensor(rows)).numpy()
        recalled = np.stack([[proba(g) for g in r.T] for r in result]).transpose(0, 2, 1)
        assert_allclose(recalled, naive(f, index), rtol=1e-9)
        assert_array_equal(given_, f)


def test_memory_of_the_previous_epoch_by_hand():
    first, second = np.log([[[0.7], [0.2], [0.1]]]), np.log([[[0.1], [0.8], [0.1]]])
    memory = Memory(1, 0.0, lags=True)
    assert_allclose(memory(tensor(first), None), first)  # not seen yet: this pass
    assert_allclose(memory(tensor(second), None), first)
    assert_allclose(memory(tensor(first), None), second)
    mean = Memory(1, 0.75, lags=False)
    mean(tensor(first), None)
    assert_allclose(mean(tensor(second), None).exp()[0, :, 0], [0.55, 0.35, 0.1])


def test_memory_recalls_a_certain_prediction():
    for f in ([[[800.0]]], [[[800.0], [-800.0], [0.0]]]):
        memory = Memory(1, 0.5, lags=False)
        for _ in range(2):
            assert_array_equal(hardmax(memory(tensor(f), None)), hardmax(tensor(f)))
            assert torch.isfinite(Softmax(0.5)(memory(tensor(f), None))).all()


def test_memory_of_some_students_goes_on_by_itself(rng):
    students, rows = torch.tensor([2, 0]), torch.tensor([1, 3])
    memory = Memory(4, 0.5, lags=True)
    fresh = memory.take(students)  # before it has seen anything
    assert fresh.kept is None
    memory(tensor(rng.normal(size=(3, 2, 2))), rows)
    part, kept = memory.take(students), memory.kept.clone()
    f = tensor(rng.normal(size=(3, 2, 4)))
    recalled = part(f[students], None)
    assert torch.equal(memory.kept, kept)
    assert memory.seen.tolist() == [False, True, False, True]
    assert torch.equal(recalled, memory(f, None)[students])


# Confidence and accuracy


@given(seed=seeds, n_outputs=outputs, sizes=st.lists(st.sampled_from([None, 2, 4]), max_size=5))
def test_confidence_sums_the_probability_of_the_label(seed, n_outputs, sizes):
    rng = np.random.RandomState(seed)
    labels = draw_labels(rng, n_outputs, 5)
    confidence, total = Confidence(5), np.zeros((3, 5))
    for size in sizes:
        index = np.arange(5) if size is None else rng.permutation(5)[:size]
        f = rng.normal(size=(3, n_outputs, len(index)))
        rows = None if size is None else torch.tensor(index)
        confidence(tensor(f), tensor(labels[None][:, :, index]), rows)
        for student in range(3):
            for i, row in enumerate(index):
                total[student, row] += of_label(proba(f[student, :, i]), labels[:, row])
    if not sizes:
        assert confidence.total is None
        assert confidence.take(torch.tensor([1])).total is None
        return
    assert_allclose(confidence.total, total, rtol=1e-12)
    part = confidence.take(torch.tensor([2, 1]))
    assert_allclose(part.total, total[[2, 1]], rtol=1e-12)
    part(torch.zeros(2, n_outputs, 5).double(), tensor(labels[None]), None)
    assert_allclose(confidence.total, total, rtol=1e-12)  # they part ways


@given(
    seed=seeds,
    n_outputs=outputs,
    weighting=st.sampled_from(["uniform", "shared", "own"]),
    in_part=st.booleans(),
)
def test_accuracy_is_a_weighted_mean_over_the_batch(seed, n_outputs, weighting, in_part):
    rng = np.random.RandomState(seed)
    shape = {"uniform": (1, 1), "shared": (1, 6), "own": (2, 6)}[weighting]
    weights = rng.uniform(0.1, 2, size=shape)
    f, labels = rng.randint(-1, 2, size=(2, n_outputs, 6)) / 1.0, draw_labels(rng, n_outputs, 6)
    index = rng.permutation(6)[:3] if in_part else np.arange(6)
    calls = []

    def schedule(step, accuracy):
        calls.append((step, accuracy))
        return accuracy / 2

    weight = Accuracy(schedule, tensor(weights))
    batch = tensor(f[:, :, index]), tensor(labels[None][:, :, index])
    result = weight(*batch, torch.tensor(index) if in_part else None, 4)
    w, expected = np.broadcast_to(weights, (2, 6)), []
    for student in range(2):
        right = [
            of_label(hardmax(tensor(f[student : student + 1]))[0, :, i].numpy(), labels[:, i])
            for i in index
        ]
        expected.append(np.average(right, weights=w[student, index]))
    assert calls[0][0] == 4
    assert_allclose(calls[0][1], expected, rtol=1e-12)
    assert_allclose(result, np.array(expected) / 2, rtol=1e-12)
    second = weight.take(torch.tensor([1]))
    batch = batch[0][1:], batch[1]
    assert_allclose(second(*batch, torch.tensor(index) if in_part else None, 4), result[1:])


@pytest.mark.parametrize("n_priors", [1, 3])
def test_schedules_by_hand(n_priors):
    accuracy, prior = [0.9, 0.3, 0.5], [0.5, 0.5, 0.25] if n_priors == 3 else [0.5] * 3
    expected = {
        "accuracy": accuracy,
        "chance-corrected": [
            max(0, (a - p) / (1 - p)) for a, p in zip(accuracy, prior, strict=True)
        ],
        "annealed": [0.3] * 3,
        "callable": [6 + a - p for a, p in zip(accuracy, prior, strict=True)],
    }
    for kind, values in expected.items():
        schedule = WeightSchedule(
            (lambda step, a, p: step + a - p) if kind == "callable" else kind,
            0.5,
            tensor(prior[:n_priors]),
            n_steps=20,
            n_warm_up_steps=6,
        )
        assert schedule(5, tensor(accuracy)).tolist() == [0, 0, 0]
        assert_allclose(schedule(6, tensor(accuracy)), 0.5 * np.array(values), rtol=1e-14)
        part = schedule.take(torch.tensor([2, 0]))
        assert_allclose(part(6, tensor([0.5, 0.9])), 0.5 * np.array(values)[[2, 0]], rtol=1e-14)


def test_a_schedule_of_one_class_is_finite():
    schedule = WeightSchedule("chance-corrected", 1.0, tensor([1.0]), n_steps=1)
    assert schedule(0, tensor([1.0, 0.5])).tolist() == [0, 0]


def test_a_schedule_that_returns_nan_is_an_error():
    schedule = WeightSchedule(lambda step, accuracy, prior: np.nan, 1.0, tensor([0.5]), n_steps=9)
    with pytest.raises(ValueError, match="schedule returned NaN in step 3"):
        schedule(3, tensor([0.5]))


# The rule


def make_rule(labels, weight, **options):
    return SelfDistilled(Fixed(tensor(labels[None])), hardmax, weight, **options)


@given(
    seed=seeds,
    n_outputs=outputs,
    h=st.sampled_from([hardmax, Softmax(0.5)]),
    weight=st.lists(st.floats(-1, 3), min_size=2, max_size=2),
    masked=st.booleans(),
    in_part=st.booleans(),
)
def test_targets_are_mixed_row_by_row(seed, n_outputs, h, weight, masked, in_part):
    rng = np.random.RandomState(seed)
    labels, mask = draw_labels(rng, n_outputs, 6), rng.uniform(size=(2, 6)) < 0.5
    index = rng.permutation(6)[:4] if in_part else np.arange(6)
    f = rng.normal(size=(2, n_outputs, len(index)))
    rule = SelfDistilled(
        Fixed(tensor(labels[None])),
        h,
        lambda *_: tensor(weight),
        corrected=torch.tensor(mask) if masked else None,
    )
    logits = tensor(f)
    targets = rule(logits, torch.tensor(index) if in_part else None, 3).numpy()
    assert_array_equal(logits, f)
    clipped = np.clip(weight, 0, 1)
    assert_allclose(torch.stack(rule.weights), clipped[None])
    predictions = h(logits).numpy()
    for student in range(2):
        for i, row in enumerate(index):
            if masked and not mask[student, row]:
                assert_array_equal(targets[student, :, i], labels[:, row])
                continue
            alpha = 1 - clipped[student]
            expected = alpha * labels[:, row] + (1 - alpha) * predictions[student, :, i]
            assert_allclose(targets[student, :, i], expected, atol=1e-15)
    if n_outputs > 1:
        assert_allclose(targets.sum(axis=1), 1, rtol=1e-12)
    assert targets.min() >= 0
    assert targets.max() <= 1


def test_a_weight_of_zero_leaves_the_labels_and_of_one_replaces_them(rng):
    labels, f = draw_labels(rng, 3, 5), tensor(rng.normal(size=(2, 3, 5)))
    rule = make_rule(labels, lambda *_: tensor([0.0, 1.0]))
    targets = rule(f, None, 0)
    assert_array_equal(targets[0], labels)
    assert_array_equal(targets[1], hardmax(f)[1])


def test_accuracy_is_of_this_pass_and_the_prediction_of_memory(rng):
    labels = np.eye(2)
    right, wrong = tensor([[[2.0, -2.0], [-2.0, 2.0]]]), tensor([[[-2.0, 2.0], [2.0, -2.0]]])
    weight = Accuracy(lambda step, accuracy: 0.5 * accuracy, torch.ones(1, 1))
    rule = make_rule(labels, weight, memory=Memory(2, 0.0, lags=True))
    assert_array_equal(rule(right, None, 0)[0], labels)
    # predictions are all wrong now, so that what was recalled has no weight
    assert_array_equal(rule(wrong, None, 1)[0], labels)
    # right again: half the weight is that of the wrong predictions before
    assert_array_equal(rule(right, None, 2)[0], np.full((2, 2), 0.5))
    assert torch.stack(rule.weights)[:, 0].tolist() == [0.5, 0, 0.5]


def test_what_watches_sees_labels_as_given(rng):
    labels = draw_labels(rng, 3, 5)
    seen = []
    rule = make_rule(labels, lambda *_: tensor([1.0]), watch=lambda *all_of: seen.append(all_of))
    f, rows = tensor(rng.normal(size=(1, 3, 2))), torch.tensor([4, 1])
    rule(f, rows, 0)
    assert_array_equal(seen[0][1][0], labels[:, [4, 1]])
    assert seen[0][0] is f
    assert seen[0][2] is rows


@pytest.mark.parametrize("decay", [0.0, 0.7])
def test_the_rule_of_some_students_goes_on_where_it_was(rng, decay):
    labels, students = draw_labels(rng, 3, 6), torch.tensor([2, 0])
    weights = tensor(rng.uniform(0.5, 2, size=(3, 6)))
    mask = torch.tensor(rng.uniform(size=(3, 6)) < 0.7)
    rule = make_rule(
        labels,
        Accuracy(lambda step, accuracy: accuracy / (1 + step), weights),
        memory=Memory(6, decay, lags=True),
        corrected=mask,
        watch=Confidence(6),
    )
    steps = [(tensor(rng.normal(size=(3, 3, 6))), None)]
    for _ in range(4):
        rows = torch.tensor(rng.permutation(6)[:4])
        steps.append((tensor(rng.normal(size=(3, 3, 4))), rows))
    for step, (f, rows) in enumerate(steps[:3]):
        rule(f, rows, step)
    part, whole = rule.take(students), copy.deepcopy(rule)
    for step, (f, rows) in enumerate(steps[3:], start=3):
        expected = rule(f, rows, step)[students]
        assert torch.equal(part(f[students], rows, step), expected)
    assert torch.equal(torch.stack(part.weights), torch.stack(rule.weights)[:, students])
    assert torch.equal(part.watch.total, rule.watch.total[students])
    # a copy of the rule that stood still meanwhile goes the same way: nothing was shared
    for step, (f, rows) in enumerate(steps[3:], start=3):
        whole(f, rows, step)
    assert torch.equal(whole.watch.total, rule.watch.total)
    assert len(whole.weights) == len(rule.weights) == len(steps)


@pytest.mark.parametrize("memory", [None, "previous-epoch", 0.5])
def test_a_spec_makes_the_rule_of_its_settings(memory):
    labels = Fixed(tensor([[[0.0, 1.0, 1.0, 1.0]]]))
    weights = tensor([[1.0, 1.0, 1.0, 3.0], [2.0, 1.0, 0.0, 0.0]])
    spec = CorrectionSpec(hardmax, "annealed", strength=0.5, warm_up=0.2, memory=memory)
    rule = spec.make_rule(labels, weights, n_epochs=5, n_batches=2)
    assert rule is spec.rule
    assert spec.n_batches == 2
    logits = tensor(np.full((2, 1, 4), 2.0))
    rule(logits, None, 1)  # the last step of the warm-up
    targets = rule(logits, None, 5)
    assert rule.weights[0].tolist() == [0.0, 0.0]
    assert rule.weights[1].tolist() == [0.25, 0.25]
    # the first row is corrected, and rows without weight keep their labels
    assert_allclose(targets[:, 0], [[0.25, 1, 1, 1], [0.25, 1, 1, 1]])
    n_memory_arrays = 0 if memory is None else 3
    assert spec.needed_bytes(2, 4, 3, 8) == 8 * 2 * 4 * (1 + n_memory_arrays)


def test_the_largest_class_by_weight():
    weights = tensor([[1.0, 1.0, 1.0, 3.0], [2.0, 1.0, 0.0, 0.0]])
    one = largest_class_share(tensor([[[0.0, 1.0, 0.0, 0.0]]]), weights)
    assert_allclose(one, [5 / 6, 2 / 3])
    three = largest_class_share(tensor(np.eye(3)[:, [0, 1, 2, 0]][None]), weights)
    assert_allclose(three, [4 / 6, 2 / 3])


# Early-learning regularization


@pytest.mark.parametrize("n_outputs", [1, 2, 4])
def test_early_learning_targets_have_the_gradient_of_the_loss(n_outputs, rng):
    """Cross-entropy plus lambda ln(1 - <t, p>), by automatic differentiation."""
    decay, strength, n_rows = 0.7, 3.0, 6
    given_ = draw_labels(rng, n_outputs, n_rows)
    weights = tensor([[1, 2, 0.5, 1, 0, 1], [1, 1, 1, 1, 1, 1]])
    rule = EarlyLearning(Fixed(tensor(given_[None])), decay, strength, weights)
    memory = torch.zeros(2, max(2, n_outputs), n_rows, dtype=torch.float64)
    for step in range(6):
        rows = torch.arange(3) + 3 * (step % 2)
        logits = tensor(rng.normal(size=(2, n_outputs, 3))).requires_grad_()
        y = tensor(given_[:, rows])
        p = torch.softmax(logits, dim=1)
        if n_outputs == 1:
            p = torch.cat([1 - torch.sigmoid(logits), torch.sigmoid(logits)], dim=1)
            y = torch.cat([1 - y, y])
        memory[:, :, rows] = decay * memory[:, :, rows] + (1 - decay) * p.detach()
        agreement = (memory[:, :, rows] * p).sum(dim=1)
        entropy = -(y * p.log()).sum(dim=1)
        pulled = strength * (1 - agreement).log() * (weights[:, rows] > 0)
        (gradient,) = torch.autograd.grad((entropy + pulled).sum(), logits)
        targets = rule(logits.detach(), rows, step)
        assert_allclose(Softmax(1.0)(logits.detach()) - targets, gradient, atol=1e-9)
    assert len(rule.weights) == 6
    assert torch.stack(rule.weights).min() >= 0
    last = rule.take(torch.tensor([1]))
    logits = tensor(rng.normal(size=(2, n_outputs, n_rows)))
    assert_allclose(last(logits[1:], None, 6), rule(logits, None, 6)[1:], rtol=1e-12)


def test_early_learning_reaches_back_the_same_share_of_a_long_training():
    labels = Fixed(tensor(np.eye(3)[None]))
    for n_epochs, memory, decay in [
        (10, None, 0.7),
        (30, None, 0.7),
        (60, None, 0.7**0.5),
        (60, 0.5, 0.5),
    ]:
        spec = CorrectionSpec(hardmax, "early-learning", 2.0, warm_up=0.0, memory=memory)
        rule = spec.make_rule(labels, torch.ones(1, 1), n_epochs, 1)
        assert (rule.decay, rule.strength) == (pytest.approx(decay), 2.0)
    # the confidence of a row, and its memory of both classes of one output
    assert spec.needed_bytes(2, 4, 3, 8) == 8 * 2 * 4 * (1 + 3)
    assert spec.needed_bytes(2, 4, 1, 8) == 8 * 2 * 4 * (1 + 2)
