"""Images, augmentation, and labels of augmented images."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn

from sklearn_kd import DistilledClassifier
from sklearn_kd._networks.module.image_augmentation import make_augmentation
from tests._helpers.data import FIXED, blobs, one_hot
from tests._helpers.modules import assert_same, model


class Convolutional(nn.Module):
    def __init__(self, input_shape, n_outputs, channels=8):
        super().__init__()
        self.convolution = nn.Conv2d(input_shape[0], channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.out = nn.Linear(channels * 4, n_outputs)

    def forward(self, x):
        x = torch.relu(self.norm(self.convolution(x)))
        return self.out(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))


@pytest.mark.parametrize(
    "augmentation", [None, "shift", ["shift", "crop"], {"noise": 0.2, "shift": 1}]
)
def test_images(augmentation):
    X, y = load_digits(return_X_y=True)
    X = X[:400].astype(np.float32)
    fitted = model(
        Convolutional,
        image_shape=[1, 8, 8],
        augmentation=augmentation,
        max_epochs=30,
        batch_size=50,
        module_params={"channels": 16},
    )
    assert fitted.fit(X, y[:400]).score(X, y[:400]) > 0.8
    assert_same(fitted, clone(fitted).fit(X, y[:400]))
    assert_allclose(
        pickle.loads(pickle.dumps(fitted)).predict_proba(X[:5]), fitted.predict_proba(X)[:5], 1e-4
    )


def test_augmentations_change_each_image_by_itself():
    images = torch.rand(2000, 3, 6, 5, generator=torch.Generator().manual_seed(0))

    def augmented(what, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return make_augmentation(what, (3, 6, 5))(images, generator)

    padded = nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")
    windows = {
        (i, j): padded[:, :, i : i + 6, j : j + 5].flatten(1) for i in range(5) for j in range(5)
    }
    shifted = augmented("shift").flatten(1)
    hits = torch.stack([(shifted == window).all(1) for window in windows.values()])
    assert hits.any(0).all()  # each image is one of the 25 views of it
    assert_allclose(hits.double().mean(1), 1 / 25, atol=0.02)
    flipped = augmented({"flip": 0.25})
    is_flipped = (flipped == images.flip(-1)).flatten(1).all(1)
    assert ((flipped == images).flatten(1).all(1) ^ is_flipped).all()
    assert is_flipped.double().mean() == pytest.approx(0.25, abs=0.03)
    noise = augmented({"noise": 0.3}) - images
    assert_allclose([noise.mean(), noise.std()], [0, 0.3], atol=0.01)
    cropped = augmented({"crop": 3})
    assert (cropped.flatten(1).amax(1) <= images.flatten(1).amax(1) + 1e-6).all()
    ramp = torch.arange(5.0).expand(2000, 3, 6, 5)  # enlarged: a ramp of less steep steps
    steps = make_augmentation({"crop": 3}, (3, 6, 5))(ramp, torch.Generator().manual_seed(0))
    slope = (steps[:, 0, 3, 3] - steps[:, 0, 3, 1]) / 2
    assert slope.min() > 0.3
    assert slope.max() <= 1 + 1e-5
    for what in ("shift", "crop", "flip", "noise"):
        assert torch.equal(augmented(what), augmented(what))
        assert not torch.equal(augmented(what), augmented(what, seed=1))
        assert augmented(what).shape == images.shape
    assert torch.equal(augmented(["flip", "shift"]), augmented({"flip": True, "shift": True}))
    assert make_augmentation({"shift": 0}, (1, 4, 4)) is None


def test_a_callable_augments_scaled_batches():
    X, y = blobs(50)
    seen = []

    def augment(batch, generator):
        seen.append(batch)
        return batch + 0.01 * torch.randn(batch.shape, generator=generator, dtype=batch.dtype)

    fits = [model(augmentation=augment, max_epochs=3).fit(100 + X, y) for _ in range(2)]
    assert_same(*fits)
    assert abs(seen[0].mean()) < 0.2


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        ("turn", "'turn' is not known: use shift, crop, flip, noise"),
        ("shift", "is for images: set image_shape"),
        ({"noise": -1.0}, "must be a number >= 0"),
        ({"noise": float("nan")}, "must be a number >= 0"),
        ({"flip": "often"}, "must be a number >= 0"),
        ({"shift": 1.5}, "must be whole pixels"),
        (["noise", "noise"], "names a change twice"),
    ],
)
def test_augmentations_that_cannot_be(augmentation, message):
    X, y = blobs()
    with pytest.raises(ValueError, match=message):
        model(augmentation=augmentation).fit(X, y)


@pytest.mark.parametrize(("name", "largest"), [("shift", 3), ("crop", 3), ("flip", 1)])
def test_the_largest_strength_depends_on_the_image(name, largest):
    assert make_augmentation({name: largest}, (1, 6, 4)) is not None
    message = f"{name!r} must be at most {largest} for images of 6 by 4 pixels, got {largest + 1}"
    with pytest.raises(ValueError, match=message):
        make_augmentation({name: largest + 1}, (1, 6, 4))


def test_labels_recomputed_on_what_the_module_sees():
    X, y = load_digits(return_X_y=True)
    X, y = X[:200], y[:200]
    teacher = LogisticRegression(max_iter=500).fit(X / 16, y)
    seen = []

    def label(rows):
        seen.append(rows)
        return teacher.predict_proba(rows / 16)

    student = model(image_shape=(1, 8, 8), augmentation="shift", max_epochs=40, batch_size=50)
    soft = teacher.predict_proba(X / 16)
    student.fit(X, y, soft_targets=soft, labeler=label)
    rows = np.vstack(seen)
    assert rows.shape[1] == 64
    assert rows.min() == pytest.approx(0, abs=1e-9)  # in the units of X
    assert rows.max() == pytest.approx(16)
    assert student.score(X, y) > 0.9
    # a teacher that always says the same is believed, whatever the targets that came along
    student.set_params(early_stopping=False).fit(
        X, y, soft_targets=soft, labeler=lambda rows: np.full((len(rows), 10), 0.1)
    )
    assert_allclose(student.predict_proba(X), 0.1, atol=0.05)
    with pytest.raises(ValueError, match=r"shape \(50, 10\), a column for each .* got \(50, 3\)"):
        student.fit(X, y, soft_targets=soft, labeler=lambda rows: np.ones((len(rows), 3)))
    for options in ({}, {"soft_targets": soft}):
        with pytest.raises(ValueError, match="set augmentation and pass soft_targets"):
            model().fit(X, y, labeler=label, **options)


@pytest.mark.parametrize("as_frame", [False, True])
def test_a_distilled_student_gets_labels_of_what_it_sees(as_frame):
    import pandas as pd

    X, y = load_digits(return_X_y=True)
    X, y = X[:400] / 16, y[:400]
    if as_frame:
        X = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    student = model(image_shape=(1, 8, 8), augmentation="shift", max_epochs=30, batch_size=50)
    options = {"cv": 2, "random_state": 0, "alpha": 1.0}
    teacher = LogisticRegression(max_iter=500)
    fixed, anew = (
        DistilledClassifier(teacher, student, augmented_labels=labels, **{**FIXED, **options}).fit(
            X, y
        )
        for labels in ("fixed", "recomputed")
    )
    moved = np.roll(np.asarray(X).reshape(-1, 8, 8), 2, axis=1).reshape(-1, 64)
    moved = pd.DataFrame(moved, columns=X.columns) if as_frame else moved
    # a shift by two rows makes another digit of a digit, for the teacher
    told = [(each.predict(moved) == anew.teacher_.predict(moved)).mean() for each in (fixed, anew)]
    assert told[1] > told[0] + 0.1
    with pytest.raises(ValueError, match="not a pipeline; it is a LogisticRegression"):
        anew.set_params(student=teacher).fit(X, y)
    with pytest.raises(ValueError, match="needs the teacher, which soft_targets replace"):
        anew.set_params(student=student).fit(X, y, soft_targets=one_hot(y, 10))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (lambda rows: np.full((len(rows), 3), 5.0), "must be probabilities"),
        (lambda rows: np.full((len(rows), 3), 0.5), "must sum to 1"),
        (lambda rows: np.full((len(rows), 3), np.nan), "NaN or infinity"),
        (lambda rows: np.full((len(rows), 2), 0.5), "must return probabilities of shape"),
    ],
)
def test_labels_of_a_labeler_are_checked(labels, message):
    X, y = blobs(n_classes=3)
    Q = one_hot(y, 3)
    with pytest.raises(ValueError, match=message):
        model(augmentation="noise").fit(X, y, soft_targets=Q, labeler=labels)
