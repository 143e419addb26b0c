"""What one pair looks like: the facts that the doctor judges by, a few kilobytes a pair whatever its size."""

import os
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from seglib.data.doctor.align import Fit, find_fit, find_flip
from seglib.data.doctor.copies import make_thumbnail
from seglib.images import read_image, read_values

MOST_VALUES = 256  # so many of a strange mask's values are kept


@dataclass
class Look:
    """The facts about one pair; what could not be found out is None or empty.

    Attributes:
        split, index: where the pair stands in the dataset.
        image, mask: paths, or names for what is in no file.
        image_error, mask_error: why it cannot be used.
        readable: whether the mask's file could be opened, whatever it holds.
        size, mask_size: ``(height, width)``.
        form: how the mask is stored: one of ``"8-bit grey"``, ``"16-bit grey"``, ``"palette"``, ``"colours"``, or
            ``"ids"`` where that is not known.
        lossy: whether the mask is stored with loss.
        soft: share of the mask's edges at which a value lies between its neighbours, see :func:`find_softness`.
        values: grey values or palette indices of a mask that cannot be used.
        pixels: (256,) how many pixels of the mask have each id.
        flat_image, flat_mask: shares of the pixels that equal their right neighbour.
        brightest, spread: the image's 99.9th percentile of brightness, 0–255, and its standard deviation.
        image_hash, mask_hash: of the decoded pixels.
        thumbnail: (64, 64) uint8.
        fit: at which shift the mask fits the image best.
        flip: how the mask must be turned to fit.
    """

    split: str
    index: int
    image: str
    mask: str
    image_error: str = ""
    mask_error: str = ""
    readable: bool = True
    size: tuple | None = None
    mask_size: tuple | None = None
    form: str = "ids"
    lossy: bool = False
    soft: float = 0.0
    values: tuple = ()
    pixels: np.ndarray | None = None
    flat_image: float | None = None
    flat_mask: float | None = None
    brightest: float | None = None
    spread: float | None = None
    image_hash: bytes = b""
    mask_hash: bytes = b""
    thumbnail: np.ndarray | None = field(default=None, repr=False)
    fit: Fit | None = None
    flip: str = ""


def examine(look, read_mask, image=None, ids=None):
    """Fills in a :class:`Look`, from files or from arrays.

    Args:
        look: with split, index and names only.
        read_mask: as in :class:`~seglib.data.Dataset`; of pairs that are in no files, what checks ``ids``.
        image, ids: (height, width, 3) uint8 and (height, width) uint8, of pairs that are in no files.
    """
    if image is None:
        image = _try(look, "image_error", read_image, look.image)
        ids = _examine_mask_file(look, read_mask)
    else:
        look.mask_size, look.flat_mask, look.soft = ids.shape, find_flatness(ids), find_softness(ids)
        ids = _read_ids(look, read_mask, ids, ids)
    if image is not None:
        _examine_image(look, image)
    if ids is not None:
        look.pixels = np.bincount(ids.ravel(), minlength=256)
        look.mask_hash = _hash(ids)
    if image is not None and ids is not None and look.size == look.mask_size:
        look.fit = find_fit(image, ids)
        if look.fit is not None and not look.fit.is_sure:
            look.flip = find_flip(image, ids)
    return look


def find_flatness(pixels):
    """The share of pixels that equal their right neighbour: over 0.8 in masks, under 0.4 in photographs."""
    pixels = pixels[..., 1] if pixels.ndim == 3 else pixels  # green is enough
    return float((pixels[:, 1:] == pixels[:, :-1]).mean()) if pixels.shape[1] > 1 else 1.0


def find_softness(pixels):
    """The share of edges, pixels whose two neighbours differ, that hold a value strictly between these two.

    Args:
        pixels: (height, width) values, or (height, width, 3) colours, which must lie between in every channel.

    Returns:
        0–1; 0 where there are less than 50 edges.
    """
    pixels = np.atleast_3d(pixels)
    edges = between = 0
    for axis in (0, 1):
        lines = np.moveaxis(pixels, axis, 0)
        before, here, after = lines[:-2], lines[1:-1], lines[2:]
        is_edge = (before != after).any(-1)
        before, here, after = before[is_edge], here[is_edge], after[is_edge]
        inside = ((np.minimum(before, after) <= here) & (here <= np.maximum(before, after))).all(-1)
        edges += len(here)
        between += int((inside & (here != before).any(-1) & (here != after).any(-1)).sum())
    return between / edges if edges >= 50 else 0.0


def _examine_image(look, image):
    grey = image[::4, ::4].mean(-1)
    look.size = image.shape[:2]
    look.flat_image = find_flatness(image)
    look.brightest, look.spread = float(np.percentile(grey, 99.9)), float(grey.std())
    look.image_hash = _hash(image)
    look.thumbnail = make_thumbnail(image)


def _examine_mask_file(look, read_mask):
    """Looks at what the file holds, if the mask is a file, and returns its ids, or None."""
    if os.path.isfile(look.mask):
        values = _try(look, "mask_error", read_values, look.mask)
        if values is None:
            look.readable = False
            return None
        pixels = values.pixels
        grey = f"{8 * pixels.dtype.itemsize}-bit grey"
        look.form = "colours" if pixels.ndim == 3 else grey if values.palette is None else "palette"
        look.mask_size, look.lossy = pixels.shape[:2], values.lossy
        look.flat_mask, look.soft = find_flatness(pixels), find_softness(pixels)
        return _read_ids(look, read_mask, look.mask, pixels)
    ids = _read_ids(look, read_mask, look.mask, None)
    if ids is None:
        look.readable = False
    else:
        look.mask_size = ids.shape
    return ids


def _read_ids(look, read, source, pixels):
    """The ids that ``read`` makes of the source, or None; then the values in the pixels are kept."""
    ids = _try(look, "mask_error", read, source)
    if ids is None and pixels is not None and pixels.ndim == 2:
        look.values = tuple(np.unique(pixels)[:MOST_VALUES].tolist())
    return ids


def _try(look, error_field, read, path):
    try:
        return read(path)
    except (ValueError, OSError) as error:
        setattr(look, error_field, str(error))
        return None


def _hash(pixels):
    return blake2b(np.ascontiguousarray(pixels).data, digest_size=16, key=str(pixels.shape).encode()).digest()
