"""Does a mask lie where its image has edges? Shifts and flips, from the correlation of borders with gradients."""

from typing import NamedTuple

import numpy as np

REACH = 12  # shifts of up to so many pixels are tried
LONGEST = 512  # of larger pictures every second, third, … pixel is looked at, and shifts are that much coarser
MIN_BORDER = 50  # pixels; a mask with less of a border says nothing

# How far a peak stands out, in robust standard deviations of the map of correlations. Of the 468 masks in CamVid's
# train and val folders 98% reach 8 with their own image, none with another image or mirrored (at most 7.2, median
# 3.2); masks of membranes in electron microscopy reach at least 14.
CERTAIN = 8.0
# How many times as high it is as the next peak: at least 1.78 there. Masks drawn wider than the thin lines they stand
# for have two such peaks, their left border on the line and their right border, and tell no shift (at most 1.2).
CLEAR = 1.8


class Fit(NamedTuple):
    """Where a mask fits its image best.

    Attributes:
        down, right: by how many pixels the mask lies too far down and right; up and left are negative.
        certainty: height of the peak in standard deviations; see ``CERTAIN``.
        clearness: how many times as high the peak is as the next; see ``CLEAR``.
        step: the shift is a multiple of so many pixels.
        border: how many of the pixels that were looked at lie on a border of the mask.
    """

    down: int
    right: int
    certainty: float
    clearness: float
    step: int
    border: int

    @property
    def is_sure(self):
        """Whether this is certainly and clearly where the mask fits best."""
        return self.certainty >= CERTAIN and self.clearness >= CLEAR

    @property
    def steps(self):
        """Length of the shift in steps: in pixels for pictures of up to ``LONGEST``."""
        return float(np.hypot(self.down, self.right)) / self.step


def find_fit(image, mask):
    """The shift at which the borders of a mask meet the strongest edges of its image.

    Vertical borders are correlated with horizontal differences of brightness and the reverse, by Fourier transform;
    of the map of correlations over all shifts up to ``REACH`` the broad part, which says only that both gather in
    the same region, is taken away.

    Args:
        image: (height, width, 3) uint8.
        mask: (height, width) integers.

    Returns:
        A :class:`Fit`, or None for pictures under 48 pixels and masks with hardly a border.
    """
    step = -(-max(mask.shape) // LONGEST)
    height, width = (side // step // 16 * 16 for side in mask.shape)  # sizes that are fast to transform
    if min(height, width) < 48:
        return None
    image, mask = (array[::step, ::step][:height, :width] for array in (image, mask))
    borders = [(np.diff(mask.astype(np.int16), axis=axis, append=0) != 0).astype(np.float32) for axis in (0, 1)]
    borders[0][-1], borders[1][:, -1] = 0, 0
    border = int(borders[0].sum() + borders[1].sum())
    if border < MIN_BORDER:
        return None
    grey = image[..., 0].astype(np.int16) + image[..., 1] + image[..., 2]
    total = 0
    for axis, line in enumerate(borders):
        edges = np.sqrt(np.abs(np.diff(grey, axis=axis, append=grey.take([-1], axis)))).astype(np.float32)
        weight = edges.std() * np.sqrt(line.sum()) + 1e-9
        total = total + np.fft.rfft2(line) * np.conj(np.fft.rfft2((edges - edges.mean()) / weight))
    around = np.roll(np.fft.irfft2(total, (height, width)), (REACH, REACH), (0, 1))[: 2 * REACH + 1, : 2 * REACH + 1]
    down, right, certainty, clearness = _find_peak(around)
    return Fit(down * step, right * step, certainty, clearness, step, border)


def find_flip(image, mask):
    """``"left–right"``, ``"upside down"`` or ``"by 180°"`` if the mask fits its image only when it is turned so."""
    turned = {"left–right": mask[:, ::-1], "upside down": mask[::-1], "by 180°": mask[::-1, ::-1]}
    fits = {name: find_fit(image, mask) for name, mask in turned.items()}
    best = max(fits, key=lambda name: fits[name].certainty if fits[name] else 0)
    found = fits[best]
    return best if found and found.is_sure and found.steps <= 3 else ""


def _find_peak(around):
    """``(down, right, certainty, clearness)`` of the highest peak of a map of correlations whose middle is no shift."""
    sharp = around - _blur(around)
    down, right = np.unravel_index(np.argmax(sharp), sharp.shape)
    rows, columns = np.indices(sharp.shape)
    far = sharp[np.hypot(rows - down, columns - right) > 4]
    middle = np.median(far)
    spread = 1.4826 * np.median(np.abs(far - middle))
    peak = sharp[down, right] - middle
    certainty, clearness = peak / max(spread, 1e-9), peak / max(far.max() - middle, 1e-9)
    return int(down - REACH), int(right - REACH), float(certainty), float(clearness)


def _blur(values, reach=3):
    """The mean over a square of 7×7."""
    padded = np.pad(values, reach, mode="reflect")
    return np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1,) * 2).mean((-2, -1))
