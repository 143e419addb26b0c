"""What one pair holds: the facts that the doctor judges by, a few kilobytes a pair whatever its size."""

import os
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from seglib.doctor.compare import Fit, find_fit, find_flip, make_thumbnail
from seglib.images import read_image, read_values

DARK = 17  # brightest of 0–255; 12 bits in a file of 16 reach 16
FLAT = 1  # standard deviation of brightness
# Images have at most 0.33 of their pixels equal to their right neighbour, their masks at least 0.83.
SWAPPED = 0.3


@dataclass(eq=False)
class PairFacts:
    """The facts about one pair; what could not be found out is None or empty."""

    split: str
    index: int  # in the split
    image: str  # path, or a name for what is in no file
    mask: str
    image_error: str = ""  # why it cannot be used
    mask_error: str = ""
    readable: bool = True  # whether the mask's file could be opened, whatever it holds
    size: tuple | None = None  # (height, width)
    mask_size: tuple | None = None
    form: str = "ids"  # how the mask's file stores it: "8-bit grey", "16-bit grey", "palette" or "colours"
    lossy: bool = False  # whether the mask is stored with loss
    soft: float = 0.0  # share of the mask's edges at which a value lies between its neighbours, see find_softness
    values: tuple = ()  # up to 256 grey values or palette indices of a mask that cannot be used
    pixels: np.ndarray | None = None  # (256,) how many pixels of the mask have each id
    swapped: bool = False  # whether the mask looks like a photograph, and the image like a mask
    featureless: bool = False  # whether the image is black or of one colour
    image_hash: bytes = b""  # of the decoded pixels
    mask_hash: bytes = b""
    thumbnail: np.ndarray | None = None  # (64, 64) uint8, grey
    fit: Fit | None = None  # at which shift the mask fits the image best
    flip: str = ""  # how the mask must be flipped or rotated to fit

    def holds(self, i):
        """Whether the mask has a pixel of id ``i``."""
        return self.pixels is not None and self.pixels[i] > 0


def examine(pair, dataset, image=None, ids=None):
    """Fills in :class:`PairFacts`, from files or from arrays.

    Args:
        pair: with split, index and names only.
        dataset: the :class:`~seglib.data.Dataset`; its ``files`` and ``read_mask`` lead to pairs that lie in files.
        image, ids: (height, width, 3) uint8 and (height, width) uint8, of pairs that lie in no files.

    Returns:
        The same :class:`PairFacts`.
    """
    stored = ids
    if image is None:
        image = _try(pair, "image_error", read_image, pair.image)
        stored = _read_stored(pair) if os.path.isfile(pair.mask) else None
        if pair.readable:
            ids = _try(pair, "mask_error", dataset.read_mask, dataset.files[pair.split][pair.index][1])
            pair.readable = stored is not None or ids is not None
    else:
        ids = _try(pair, "mask_error", dataset.labels.check_ids, ids)
    if stored is not None:
        pair.mask_size, pair.soft = stored.shape[:2], find_softness(stored)
        if ids is None and stored.ndim == 2:
            pair.values = tuple(np.unique(stored)[:256].tolist())
        pair.swapped = image is not None and find_flatness(image) > find_flatness(stored) + SWAPPED
    if image is not None:
        grey = image[::4, ::4].mean(-1)
        pair.size, pair.featureless = image.shape[:2], grey.std() < FLAT or np.percentile(grey, 99.9) < DARK
        pair.image_hash, pair.thumbnail = _hash(image), make_thumbnail(image)
    if ids is not None:
        pair.mask_size, pair.mask_hash = ids.shape, _hash(ids)
        pair.pixels = np.bincount(ids.ravel(), minlength=256)
    if image is not None and ids is not None and pair.size == pair.mask_size:
        pair.fit = find_fit(image, ids)
        if pair.fit is not None and not pair.fit.is_sure:
            pair.flip = find_flip(image, ids)
    return pair


def sum_pixels(pairs, split=None):
    """(256,) int64: how many pixels of the masks of a split, or of all, have each id."""
    chosen = [pair.pixels for pair in pairs if pair.pixels is not None and split in (None, pair.split)]
    return np.sum(chosen, axis=0, dtype=np.int64) if chosen else np.zeros(256, np.int64)


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


def _read_stored(pair):
    """Notes how a mask's file is stored, and returns its values (see ``read_values``), or None."""
    values = _try(pair, "mask_error", read_values, pair.mask)
    pair.readable = values is not None
    if values is None:
        return None
    grey = f"{8 * values.pixels.dtype.itemsize}-bit grey" if values.palette is None else "palette"
    pair.form, pair.lossy = "colours" if values.pixels.ndim == 3 else grey, values.lossy
    return values.pixels


def _try(pair, error_field, read, source):
    try:
        return read(source)
    except (ValueError, OSError) as error:
        setattr(pair, error_field, str(error))
        return None


def _hash(pixels):
    return blake2b(np.ascontiguousarray(pixels).data, digest_size=16, key=str(pixels.shape).encode()).digest()
