"""What the papers prove, on networks and teachers of this package."""

import math

import numpy as np
import pytest
import torch
from scipy.special import expit, xlogy
from sklearn.base import clone

from sklearn_kd import DistilledClassifier, KernelTeacher, TwoLayerPGDClassifier
from sklearn_kd._core.network import layers, problem, targets
from sklearn_kd._core.network.training import ResumableTraining
from sklearn_kd.theory import ntk_margin, required_width
from tests._helpers.theorems import squared_error

AS_GIVEN = {"encoder": None, "input_scaling": False, "input_intercept": False}


def points(*angles):
    return np.column_stack([np.cos(angles), np.sin(angles)])


def trained_logits(X, Z, Y, width, seed, time, n_steps=400):
    """Logits at Z of a network trained by small steps on the summed squared loss."""
    X, Z, Y = (torch.from_numpy(np.asarray(a, dtype=float)) for a in (X, Z, Y))
    generator = torch.Generator().manual_seed(seed)
    hidden, output = layers.initialize(width, X.shape[1], 1, symmetric=True, generator=generator)
    students = problem.Students([width], hidden, output, hidden.clone())
    weights = torch.full((1, 1), 1 / len(X), dtype=torch.float64)
    plan = problem.TrainingConfig(
        step_size=torch.tensor([len(X) * time / n_steps], dtype=torch.float64),
        output_step_size=None,
        max_move=torch.tensor([math.inf], dtype=torch.float64),
        n_epochs=n_steps,
        batch_size=None,
        optimizer="nesterov",
        momentum=0.0,
        decay=False,
        generator=generator,
    )
    rows = problem.WeightedRows(X, targets.Fixed(Y[None, None, :]), weights)
    ResumableTraining(students, rows, squared_error, plan).advance()
    work = layers.Workspace([width], students.output / math.sqrt(width), len(Z))
    return layers.forward(students.hidden, Z, work)[0, 0].numpy()


@pytest.mark.slow
def test_finite_networks_converge_to_the_kernel_at_every_time():
    X, y = points(0, math.pi / 3, 2 * math.pi / 3), [1, 0, 1]
    Z = np.concatenate([X, [[0.0, 1.0]], points(-1.0, 2.5)])
    widths, time = [64, 256, 1024, 4096, 16384], 2.0
    teacher = KernelTeacher(training_time=time, input_norm=None, **AS_GIVEN).fit(X, y)
    limit = teacher.decision_function(Z)
    np.testing.assert_allclose(limit[:4], [0.380412, -0.311196, 0.380412, -0.034004], atol=5e-7)
    signs = 2 * np.array(y) - 1
    errors = []
    for width in widths:
        n_seeds = 20 if width < 4096 else 6
        gaps = [trained_logits(X, Z, signs, width, s, time) - limit for s in range(n_seeds)]
        errors.append(float(np.sqrt(np.mean(np.square(gaps)))))
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert -0.6 < slope < -0.4, errors
    assert errors[-1] < 0.02


def plain_pgd(width, radius, step_size, n_iter, seed):
    return TwoLayerPGDClassifier(
        width,
        radius=radius,
        learning_rate=step_size,
        max_iter=n_iter,
        batch_size=None,
        n_init=1,
        output_layer="fixed",
        init="symmetric",
        optimizer="nesterov",
        momentum=0.0,
        early_stopping=False,
        random_state=seed,
        device="cpu",
        **AS_GIVEN,
    )


def test_theorem_2_soft_labels():
    """Width, step and steps of the sharp form keep the average risk below beta, 20 of 20 times."""
    from sklearn_kd.theory import _required_width

    X, y, beta, delta = np.eye(2), np.array([0, 1]), 0.01, 0.1
    teacher = KernelTeacher(method="margin", input_norm=None, random_state=0, **AS_GIVEN)
    P = teacher.fit(X, y).predict_proba(X)
    untrained = float((xlogy(P, P) - P * math.log(0.5)).sum(axis=1).mean())
    assert beta < untrained / 2  # the untrained network would do otherwise
    width = _required_width._soft_width(beta, len(X), delta, 1.0, "sharp")
    assert width == pytest.approx(1661.893, abs=1e-3)
    width, n_iter = 2 * math.ceil(width / 2), math.ceil(2 / beta)
    for seed in range(20):
        student = plain_pgd(width, 1.0, 1.0, n_iter, seed).fit(X, y, soft_targets=P)
        assert student.average_loss_ <= beta
        assert student.distance_from_init_.max() <= 1 / math.sqrt(width) * (1 + 1e-9)


@pytest.mark.slow
def test_proposition_5_hard_labels():
    """Width, radius, step and steps of the sharp form bring the average error below epsilon."""
    X, y, epsilon = np.eye(2), np.array([0, 1]), 0.1
    gamma = ntk_margin(X, y, random_state=0).gamma
    needed = required_width(gamma, epsilon, len(X), labels="hard")
    for seed in range(3):
        student = plain_pgd(needed.width, needed.radius, needed.step_size, needed.n_iter, seed).fit(
            X, y
        )
        assert student.score(X, y) == 1.0
        # the error is at most the risk over ln 2, on average over the steps
        assert student.average_loss_ / math.log(2) <= epsilon


def test_the_margin_teacher_separates_by_the_margin():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 4))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = X[:, 0] > 0
    margin = ntk_margin(X, y, random_state=0)
    teacher = KernelTeacher(method="margin", input_norm=None, random_state=0, **AS_GIVEN)
    z = teacher.fit(X, y).decision_function(X)
    assert teacher.margin_ == pytest.approx(margin.gamma, rel=0.02)
    assert ((2 * y - 1) * z).min() > 0.97 * margin.lower
    assert np.abs(z).max() <= 0.5 + 1e-6  # |z| <= |x| / 2
    np.testing.assert_allclose(teacher.predict_proba(X)[:, 1], expit(z))
    assert teacher.temperature_ == 1.0
    assert not hasattr(teacher, "loo_proba_")


@pytest.mark.slow
def test_the_margin_teacher_of_several_classes():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24, 5))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = X[:, :3].argmax(axis=1)
    teacher = KernelTeacher(method="margin", input_norm=None, random_state=0, **AS_GIVEN)
    z = teacher.fit(X, y).decision_function(X)
    others = np.where(np.eye(3, dtype=bool)[y], -np.inf, z)
    assert (z[np.arange(24), y] - others.max(axis=1)).min() > 0.9 * teacher.margin_ > 0
    # its own labels are in-sample, so a student gets cross-fitted ones
    student = TwoLayerPGDClassifier(4, max_iter=5, n_init=1)
    distilled = DistilledClassifier(clone(teacher), student, random_state=0).fit(X, y)
    assert distilled.label_source_ == "cv"
    # refitted with a ridge, it forgets what only the margin has
    teacher.set_params(method="ridge").fit(X, y)
    assert not hasattr(teacher, "draws_")
    assert teacher.loo_proba_.shape == (24, 3)
