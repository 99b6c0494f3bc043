"""Random augmentation of batches of images.

The changes are drawn for each image independently and made for the whole batch at once.
"""

import math
from numbers import Real

import torch
from torch.nn import functional

#: Strength of each change where the user gives none.
DEFAULT_STRENGTHS = {"shift": 2, "crop": 4, "flip": 0.5, "noise": 0.1}


def shift(images, size, generator):
    """Move each image by up to ``size`` pixels in both directions, and repeat its edge pixels."""
    n, _, height, width = images.shape
    size = int(size)
    moves = torch.randint(-size, size + 1, (2, n, 1), generator=generator, device=images.device)
    rows, columns = size + moves.squeeze(2)
    # windows of the enlarged images, which are copied once, when they are chosen
    enlarged = functional.pad(images, (size,) * 4, mode="replicate")
    windows = enlarged.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(n, device=images.device), :, rows, columns]


def crop(images, size, generator):
    """Enlarge a random window, at most ``size`` pixels smaller, to the size of the image."""
    n, _, height, width = images.shape
    draw = torch.rand(3, n, generator=generator, device=images.device, dtype=images.dtype)
    zoom = 1 - draw[0] * size / min(height, width)
    affine = images.new_zeros(n, 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = zoom
    affine[:, :, 2] = ((1 - zoom) * (2 * draw[1:] - 1)).T
    grid = functional.affine_grid(affine, images.shape, align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def flip(images, share, generator):
    """Mirror each image from left to right with probability ``share``."""
    draw = torch.rand(len(images), generator=generator, device=images.device)
    mirrored = (draw < share).nonzero().squeeze(1)
    return images.index_copy(0, mirrored, images.index_select(0, mirrored).flip(-1))


def noise(batch, size, generator):
    """Add Gaussian noise of standard deviation ``size``, in units of the scaled rows."""
    draw = torch.empty_like(batch).normal_(generator=generator)
    return batch + size * draw


STEPS = {"shift": shift, "crop": crop, "flip": flip, "noise": noise}


def make_augmentation(augmentation, image_shape):
    """Return a function of a batch and a generator that changes the batch, or None.

    Parameters
    ----------
    augmentation : None, str, dict, sequence of str, or callable
        As in `ModuleClassifier`.
    image_shape : tuple or None
    """
    if augmentation is None or callable(augmentation):
        return augmentation
    steps = []
    for name, strength in _named_strengths(augmentation).items():
        if name not in STEPS:
            raise ValueError(
                f"augmentation {name!r} is not known: use {', '.join(STEPS)}, or a callable of a "
                "batch and a generator."
            )
        strength = DEFAULT_STRENGTHS[name] if strength is True else strength
        _check_strength(name, strength)
        if name != "noise":
            _check_image(name, strength, image_shape)
        if strength:
            steps.append((STEPS[name], strength))

    def augment(batch, generator):
        for step, strength in steps:
            batch = step(batch, strength, generator)
        return batch

    return augment if steps else None


def _named_strengths(augmentation):
    """Return the strengths by name, True for the default."""
    if isinstance(augmentation, dict):
        return augmentation
    names = [augmentation] if isinstance(augmentation, str) else list(map(str, augmentation))
    if len(set(names)) < len(names):
        raise ValueError(f"augmentation names a change twice: {names}.")
    return dict.fromkeys(names, True)


def _check_strength(name, strength):
    if not isinstance(strength, Real) or not 0 <= strength < math.inf:
        raise ValueError(f"augmentation {name!r} must be a number >= 0, got {strength!r}.")
    if name == "shift" and strength != int(strength):
        raise ValueError(f"augmentation 'shift' must be whole pixels, got {strength}.")


def _check_image(name, strength, image_shape):
    if image_shape is None or len(image_shape) != 3:
        raise ValueError(
            f"augmentation {name!r} is for images: set image_shape=(channels, height, width)."
        )
    largest = 1 if name == "flip" else min(image_shape[1:]) - 1
    if strength > largest:
        raise ValueError(
            f"augmentation {name!r} must be at most {largest} for images of "
            f"{image_shape[1]} by {image_shape[2]} pixels, got {strength}."
        )
