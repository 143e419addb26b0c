"""Is a picture of one split a copy of one in another? Found among thumbnails, in two steps."""

from typing import NamedTuple

import numpy as np

from seglib.images import resize_image

SIDE = 64  # of a thumbnail
BLOCK = 8  # of the blocks that are compared one by one

# The likest pictures, by the correlation of whole thumbnails of 16×16 pixels, are compared block by block. Copies as
# below correlated by 0.94 and more on CamVid, other streets of seglib's by at most 0.82.
LIKE = 0.8
MOST = 2000  # comparisons, the likest first

# A copy agrees everywhere: the correlation within nearly every block (5th percentile). On CamVid, copies by JPEG of
# quality 20, to half the size, with brightness × 0.7 or × 1.3, with gamma 0.7 or 1.5, or cropped by up to 16 of 480
# pixels all reached 0.915 or more (median 0.99); frames of a standing car one second apart at most 0.862, as something
# in them moves. What is merely of one scene agrees in most blocks (median); other scenes reached 0.73 at most.
COPY = 0.91
SCENE = 0.9


class Likeness(NamedTuple):
    """Two pictures that are alike: their indices, whether one is a copy, and whether it is mirrored."""

    one: int
    other: int
    is_copy: bool
    mirrored: bool


def make_thumbnail(image):
    """(64, 64) uint8 of an image (height, width, 3) uint8: its green, in which any change of light is a function."""
    return resize_image(np.ascontiguousarray(image), (SIDE, SIDE))[..., 1]


def find_alike(thumbs, queries, keys):
    """For each query the likest picture among the keys, if it is a copy or of the same scene.

    Args:
        thumbs: (count, 64, 64) uint8, of all pictures.
        queries, keys: indices into ``thumbs``, of two splits.

    Returns:
        A list of :class:`Likeness`, at most one a query, in the order of the queries.
    """
    if not len(queries) or not len(keys):
        return []
    keys, known = np.asarray(keys), _describe(thumbs[keys])
    candidates = []
    for start in range(0, len(queries), 128):  # a few rows of the matrix of all correlations at a time
        some = np.asarray(queries[start : start + 128])
        for mirrored in (False, True):
            likeness = _describe(thumbs[some][:, :, ::-1] if mirrored else thumbs[some]) @ known.T
            for _ in range(2):  # the two likest
                best = likeness.argmax(1)
                scores = likeness[np.arange(len(some)), best]
                candidates += [(-s, int(q), int(keys[k]), mirrored) for s, q, k in zip(scores, some, best, strict=True)]
                likeness[np.arange(len(some)), best] = -2
    found = {}
    for score, query, key, mirrored in sorted(candidates)[:MOST]:
        if -score >= LIKE and not (query in found and found[query].is_copy):
            low, middle = compare(thumbs[query][:, ::-1] if mirrored else thumbs[query], thumbs[key])
            if low >= COPY or (middle >= SCENE and not mirrored and query not in found):
                found[query] = Likeness(query, key, low >= COPY, mirrored)
    return [found[query] for query in queries if query in found]


def compare(one, other):
    """How well two thumbnails agree once light, position and size are matched: correlations within blocks.

    The second is fitted by the first, moved by up to 5 pixels and scaled by up to 12%, its brightness passed through
    a cubic polynomial, by four steps of Gauss–Newton (Lucas & Kanade 1981, with light as in Bartoli 2008). Blocks
    without structure and saturated pixels do not count.

    Returns:
        ``(low, middle)``: the 5th percentile and the median over the blocks, −1 to 1; −1 where too few have structure.
    """
    one, other = one.astype(np.float32), other.astype(np.float32)
    used = (np.minimum(one, other) > 3) & (np.maximum(one, other) < 248)
    used[:2], used[-2:], used[:, :2], used[:, -2:] = False, False, False, False
    if used.mean() < 0.25:
        return -1.0, -1.0
    one, other = _blur(one) - 128, _blur(other) - 128
    moved = _align(one, other, used)
    mean = [_over_blocks(values, used) for values in (moved, other, moved**2, other**2, moved * other)]
    variances = [np.maximum(mean[2 + i] - mean[i] ** 2, 0) for i in (0, 1)]
    counted = (_over_blocks(used, None) > 0.5) & (np.maximum(*variances) > 16)
    if counted.sum() < 8:
        return -1.0, -1.0
    agreement = ((mean[4] - mean[0] * mean[1]) / np.sqrt(variances[0] * variances[1] + 1e-6))[counted]
    return float(np.percentile(agreement, 5)), float(np.median(agreement))


def _align(one, other, used, steps=4):
    """``one``, moved and scaled so that it fits ``other`` where ``used``."""
    place = np.arange(SIDE, dtype=np.float32)
    from_middle = place - SIDE / 2
    move, scale = np.zeros(2), np.zeros(2)  # down and right
    for _ in range(steps):
        moved = _sample(one, *(place + move[i] + scale[i] * from_middle for i in (0, 1)))
        light = np.stack([(moved / 64) ** i for i in range(4)], -1)[used]
        curve = _solve(light, other[used])
        slope = (curve[1] + curve[2] * moved / 32 + 3 * curve[3] * (moved / 64) ** 2) / 64
        down, right = (slope * gradient for gradient in np.gradient(moved))
        motion = np.stack([down, right, down * from_middle[:, None], right * from_middle], -1)[used]
        found = _solve(np.concatenate([light, motion], 1), other[used])[4:]
        move = np.clip(move + np.clip(found[:2], -1.5, 1.5), -5, 5)
        scale = np.clip(scale + np.clip(found[2:], -0.05, 0.05), -0.12, 0.12)
    return _sample(one, *(place + move[i] + scale[i] * from_middle for i in (0, 1)))


def _solve(columns, wanted):
    """Least squares by normal equations, which are well enough conditioned here and 10 times faster."""
    return np.linalg.solve(columns.T @ columns + 1e-3 * np.eye(columns.shape[1]), columns.T @ wanted)


def _sample(values, rows, columns):
    """Bilinear interpolation at all crossings of ``rows`` and ``columns``."""
    for axis, at in enumerate((rows, columns)):
        at = np.clip(at, 0, SIDE - 1.001)
        below = at.astype(int)
        share = np.expand_dims((at - below).astype(np.float32), 1 - axis)
        values = values.take(below, axis) * (1 - share) + values.take(below + 1, axis) * share
    return values


def _blur(values):
    for axis in (0, 1):
        padded = np.pad(values, [(1, 1) if i == axis else (0, 0) for i in (0, 1)], mode="edge")
        before, after = padded.take(range(SIDE), axis), padded.take(range(2, SIDE + 2), axis)
        values = (before + 2 * values + after) / 4
    return values


def _over_blocks(values, used):
    """The mean over each block of 8×8 pixels, of those that are ``used`` (None: all)."""
    blocks = (SIDE // BLOCK, BLOCK, SIDE // BLOCK, BLOCK)
    if used is None:
        return values.reshape(blocks).mean((1, 3))
    return (values * used).reshape(blocks).sum((1, 3)) / np.maximum(used.reshape(blocks).sum((1, 3)), 1)


def _describe(thumbs):
    """(count, 256) float32: thumbnails of 16×16, each of mean 0 and length 1."""
    small = thumbs.reshape(len(thumbs), 16, SIDE // 16, 16, SIDE // 16).mean((2, 4), dtype=np.float32).reshape(-1, 256)
    small -= small.mean(1, keepdims=True)
    return small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6)
