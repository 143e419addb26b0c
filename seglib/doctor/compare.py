"""Two comparisons: does a mask lie on the edges of its image, and is one image a copy of another?"""

from typing import NamedTuple

import numpy as np
from scipy.fft import dctn
from scipy.ndimage import uniform_filter

from seglib.images import resize_image

MAX_SHIFT = 12  # pixels; larger shifts are not tried
LONGEST = 512  # of larger images every second, third, … pixel is used, and shifts are that much coarser
MIN_BOUNDARY = 50  # pixels; a mask with less boundary is not judged

# Height of the peak in robust standard deviations of the map of correlations: 98% of CamVid's 468 masks reach 8 with
# their own image, none with another image or flipped (at most 7.2, median 3.2).
CERTAIN = 8.0
# How many times as high as the next peak: at least 1.78 there. Masks drawn wider than the thin lines they stand for
# have two such peaks, one for each side of the line, and tell no shift (at most 1.2).
CLEAR = 1.8

# Bits of 256 in which two perceptual hashes differ: at most 48 for copies (of CamVid and streets/tiny: flipped, rotated
# by 90°, darker, brighter, as JPEG of quality 20, at half the size, cropped by 5% at the centre), at least 82 for other
# images of streets/tiny. But 17% of the neighbouring frames in CamVid's train folder differ in at most 60.
ALIKE = 60
# So a copy of a video's frame must agree everywhere (:func:`measure_agreement`): pairs of CamVid's frames that are
# ALIKE reach at most 0.77, as something in them moves, and all but 1% of the copies at least 0.8 (not cropped ones).
COPY = 0.8


class Fit(NamedTuple):
    """Where a mask fits its image best."""

    down: int  # by how many pixels the mask lies too far down; negative: up
    right: int
    distance: float  # length of the shift in the pixels that are used: all in images of up to LONGEST
    certainty: float  # height of the peak of the correlation, see CERTAIN
    is_sure: bool  # whether the peak is both high and clear
    boundary: int  # how many of the pixels that are used lie on a boundary of the mask


def find_fit(image, mask):
    """The shift at which the boundaries of a mask, (height, width) ids, meet the edges of its image, uint8.

    Boundaries between columns are correlated with horizontal differences of brightness, those between rows with
    vertical ones, by Fourier transform, over all shifts up to ``MAX_SHIFT``. Returns a :class:`Fit`; None for images
    under 48 pixels and masks with hardly a boundary.
    """
    step = -(-max(mask.shape) // LONGEST)
    height, width = (side // step // 16 * 16 for side in mask.shape)  # sizes that are fast to transform
    if min(height, width) < 48:
        return None
    image, mask = (array[::step, ::step][:height, :width] for array in (image, mask))
    boundaries = [(np.diff(mask, axis=axis, append=mask.take([-1], axis)) != 0).astype(np.float32) for axis in (0, 1)]
    length = int(boundaries[0].sum() + boundaries[1].sum())
    if length < MIN_BOUNDARY:
        return None
    grey = image.sum(-1, dtype=np.int16)
    total = 0
    for axis, boundary in enumerate(boundaries):
        edges = np.sqrt(np.abs(np.diff(grey, axis=axis, append=grey.take([-1], axis)))).astype(np.float32)
        weight = edges.std() * np.sqrt(boundary.sum()) + 1e-9
        total = total + np.fft.rfft2(boundary) * np.conj(np.fft.rfft2((edges - edges.mean()) / weight))
    side = 2 * MAX_SHIFT + 1
    around = np.roll(np.fft.irfft2(total, (height, width)), (MAX_SHIFT, MAX_SHIFT), (0, 1))[:side, :side]
    down, right, certainty, clearness = _find_peak(around)
    is_sure = certainty >= CERTAIN and clearness >= CLEAR
    return Fit(down * step, right * step, float(np.hypot(down, right)), certainty, is_sure, length)


def find_flip(image, mask):
    """How a mask must be flipped or rotated to fit its image, in words; ``""`` where that does not make it fit."""
    for flip, axes in (("flipped left–right", 1), ("flipped upside down", 0), ("rotated by 180°", (0, 1))):
        fit = find_fit(image, np.flip(mask, axes))
        if fit and fit.is_sure and fit.distance <= 3:
            return flip
    return ""


def _find_peak(around):
    """``(down, right, certainty, clearness)`` of the highest peak of a map of correlations whose middle is no shift."""
    sharp = around - uniform_filter(around, 7, mode="mirror")
    down, right = np.unravel_index(np.argmax(sharp), sharp.shape)
    rows, columns = np.indices(sharp.shape)
    far = sharp[np.hypot(rows - down, columns - right) > 4]
    middle = np.median(far)
    spread = 1.4826 * np.median(np.abs(far - middle))
    peak = sharp[down, right] - middle
    certainty, clearness = peak / max(spread, 1e-9), peak / max(far.max() - middle, 1e-9)
    return int(down - MAX_SHIFT), int(right - MAX_SHIFT), float(certainty), float(clearness)


def make_thumbnail(image):
    """(64, 64) uint8 grey thumbnail of an image (height, width, 3) uint8."""
    return resize_image(np.ascontiguousarray(image), (64, 64)).mean(-1).round().astype(np.uint8)


def hash_image(thumb):
    """Perceptual hash of a thumbnail: whether each of the 16×16 lowest frequencies is above their median.

    (64, 64) uint8 → (256,) float32 of −1 and 1: two hashes ``a`` and ``b`` differ in ``(256 - a @ b) / 2`` bits.
    """
    low = dctn(thumb.astype(np.float32), norm="ortho")[:16, :16].ravel()
    return np.where(low > np.median(low), 1, -1).astype(np.float32)


def find_alike(queries, keys):
    """For each query the key that is most alike: a copy in any of eight orientations, or an image of the same scene.

    Of two sequences of thumbnails, (64, 64) uint8. Returns a list of ``(query, key, is_copy)``, at most one a query:
    two indices, and whether the images agree everywhere.
    """
    found = []
    hashes = np.reshape([hash_image(thumb) for thumb in keys], (-1, 256))
    for query, thumb in enumerate(queries):
        ways = [np.rot90(way, turns) for way in (thumb, thumb[:, ::-1]) for turns in range(4)]
        distances = (256 - np.stack([hash_image(way) for way in ways]) @ hashes.T) / 2  # (8, keys)
        alike = sorted(zip(*np.where(distances <= ALIKE), strict=True), key=lambda place: distances[place])[:3]
        copies = [(way, key) for way, key in alike if measure_agreement(ways[way], keys[key]) >= COPY]
        for _, key in (copies or alike)[:1]:  # a copy of a video's frame is alike to the next ones, too
            found.append((query, int(key), bool(copies)))
    return found


def measure_agreement(one, other):
    """The 2nd percentile of the correlations of two thumbnails, (64, 64) uint8, within blocks of 8×8 pixels, −1 to 1.

    Blocks without structure do not count; where too few have any: 1 for equal thumbnails, else 0.
    """
    blocks = np.stack([one, other]).astype(np.float32).reshape(2, 8, 8, 8, 8).swapaxes(2, 3).reshape(2, 64, 64)
    blocks -= blocks.mean(-1, keepdims=True)
    variances = (blocks**2).mean(-1)
    used = variances.max(0) > 16
    if used.sum() < 8:
        return float(np.array_equal(one, other))
    return float(np.percentile((blocks.prod(0).mean(-1) / np.sqrt(variances.prod(0) + 1e-6))[used], 2))
