"""COCO's polygons and run lengths: checked as they are read, and drawn into a mask."""

from typing import NamedTuple

import numpy as np

from seglib.data.dataset import DataError
from seglib.labels import VOID


class Region(NamedTuple):
    """One annotation: its class, whether it is a crowd, and its shape.

    The shape is a list of polygons, each (2n,) float64 ``x1, y1, x2, y2, …`` in pixels, or an array of run lengths as
    from :func:`read_runs`.
    """

    class_id: int
    crowd: bool
    shape: list | np.ndarray


def read_shape(segmentation, size):
    """Checks a ``segmentation``: a list of polygons or an object of run lengths.

    Args:
        segmentation: as it stands in the JSON.
        size: ``(height, width)`` of the image.

    Returns:
        A list of (2n,) float64 polygons, or (runs,) int64 run lengths.

    Raises:
        DataError: it is neither, or does not fit the image.
    """
    if isinstance(segmentation, dict):
        if segmentation.get("size") != list(size):
            raise DataError(
                f"run lengths of size {segmentation.get('size')}, the image is {list(size)} (height, width)"
            )
        return read_runs(segmentation.get("counts"), size)
    if not isinstance(segmentation, list) or not segmentation:
        raise DataError(f"segmentation {segmentation!r}; wanted polygons or run lengths (a box alone is no mask)")
    return [_read_polygon(polygon, size) for polygon in segmentation]


def _read_polygon(polygon, size):
    try:
        points = np.asarray(polygon, np.float64)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.ndim != 1 or len(points) < 6 or len(points) % 2:
        shown = f"{len(polygon)} entries" if isinstance(polygon, list) else repr(polygon)
        raise DataError(f"a polygon of {shown}; wanted 6 or more numbers x1, y1, x2, y2, …")
    columns_rows = points.reshape(-1, 2)
    limit = np.array(size[::-1])
    if not ((columns_rows >= -limit) & (columns_rows <= 2 * limit)).all():  # the rasteriser takes memory for all of it
        raise DataError(f"a polygon with x, y from {points.min()} to {points.max()} in an image of {size[0]}×{size[1]}")
    return points


def read_runs(counts, size):
    """Run lengths, column by column: outside, inside, outside, …

    Args:
        counts: a list of integers, or COCO's compressed string.
        size: ``(height, width)``.

    Returns:
        (runs,) int64, whose sum is height · width.

    Raises:
        DataError: they are none, or do not fill the image.
    """
    try:
        runs = np.asarray(_decompress(counts) if isinstance(counts, str) else counts)
    except ValueError:
        runs = None
    if runs is None or runs.ndim != 1 or runs.dtype.kind not in "iu" or (runs < 0).any():
        raise DataError(
            f"counts {str(counts)[:40]!r}; wanted run lengths, a list of integers or COCO's compressed string"
        )
    pixels = size[0] * size[1]
    if (runs > pixels).any() or runs.sum() != pixels:
        raise DataError(f"run lengths of {runs.sum()} pixels, the image has {size[0]}·{size[1]} = {pixels}")
    return runs


def _decompress(text):
    """The run lengths in a compressed string: 5 bits a character, the lowest first; from the fourth run on, they are
    differences to the run before the last (``rleFrString`` in COCO's ``maskApi.c``)."""
    runs, value, shift = [], 0, 0
    for code in (ord(character) - 48 for character in text):
        if not 0 <= code < 64:
            raise ValueError(f"character {chr(code + 48)!r}")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:  # the last character of this run, whose bit 16 is the sign
            value -= (code & 16) << (shift - 4)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("the last run has no end")
    return runs


def draw_mask(regions, size, uncovered=0, ignore_id=VOID, void=()):
    """Draws the regions of an image, the largest first.

    Args:
        regions: list of :class:`Region`.
        size: ``(height, width)``.
        uncovered: the id of pixels in no region.
        ignore_id: the id of void.
        void: ``"crowd"`` and ``"overlap"``, as in :func:`~seglib.data.coco.from_coco`.

    Returns:
        (height, width) uint8 class ids and void.
    """
    runs = [_to_runs(region.shape, size) for region in regions]
    areas = [run[1::2].sum() for run in runs]
    pixels = size[0] * size[1]  # in one row, column by column, as the runs are
    ids = np.full(pixels, uncovered, np.uint8)
    top, mixed = np.full(pixels, -1, np.int16), np.zeros(pixels, bool)  # the class drawn last; whether there are two
    for i in sorted(range(len(regions)), key=lambda i: -areas[i]):
        class_id, crowd, _ = regions[i]
        last = len(runs[i]) // 2 * 2  # behind the last run inside
        inside = np.repeat(np.arange(1, last) % 2 == 1, runs[i][1:last])
        window = slice(runs[i][0], runs[i][0] + len(inside))
        mixed[window] |= inside & (top[window] >= 0) & (top[window] != class_id)
        top[window][inside] = class_id
        ids[window][inside] = ignore_id if crowd and "crowd" in void else class_id
    if "overlap" in void:
        ids[mixed] = ignore_id
    return np.ascontiguousarray(ids.reshape(size[::-1]).T)


def _to_runs(shape, size):
    """The run lengths of a shape: polygons are joined and rasterised."""
    if not isinstance(shape, list):
        return shape
    api = mask_api()
    joined = api.merge(api.frPyObjects(shape, *size))
    return np.array(_decompress(joined["counts"].decode()))


def mask_api():
    """The module ``pycocotools.mask``.

    Raises:
        DataError: it is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise DataError(f"COCO's polygons are drawn by pycocotools: pip install pycocotools ({error})") from error
    return mask
