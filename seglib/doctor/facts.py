"""What one pair holds: the facts that the doctor judges by, a few kilobytes a pair whatever its size."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from seglib.data.dataset import SPLITS
from seglib.doctor.compare import Fit, find_fit, find_flip, make_thumbnail
from seglib.images import read_image, read_values

DARK = 17  # brightest of 0–255; 12 bits in a file of 16 reach 16
FLAT = 1  # standard deviation of brightness
SWAPPED = 0.3  # images have at most 0.33 of their pixels equal to their right neighbour, their masks at least 0.83
AT_ONCE = 32  # pairs in memory


@dataclass(eq=False)
class PairFacts:
    """The facts about one pair; what could not be found out is None or empty."""

    split: str
    index: int  # in the split
    image: str  # path, or a name for what is in no file
    mask: str
    image_error: str = ""  # why it cannot be used
    mask_error: str = ""
    size: tuple | None = None  # (height, width)
    mask_size: tuple | None = None  # None if the mask's file cannot be opened
    form: str = "ids"  # how the mask's file stores it: "8-bit grey", "16-bit grey", "palette" or "colours"
    lossy: bool = False  # whether the mask is stored with loss
    soft: float = 0.0  # share of the mask's edges at which a value lies between its neighbours, see find_softness
    values: tuple = ()  # up to 256 grey values or palette indices of a mask that cannot be used
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))  # how many of the mask have each id
    swapped: bool = False  # whether the mask looks like a photograph, and the image like a mask
    featureless: bool = False  # whether the image is black or of one colour
    image_hash: int | None = None  # of the decoded pixels
    mask_hash: int | None = None
    thumbnail: np.ndarray | None = None  # (64, 64) uint8, grey
    fit: Fit | None = None  # at which shift the mask fits the image best
    flip: str = ""  # how the mask must be flipped or rotated to fit


def examine_all(dataset):
    """The :class:`PairFacts` of all pairs of a :class:`~seglib.data.Dataset`, read by several threads."""
    from tqdm import tqdm

    visits, pairs = _visit(dataset), []
    with ThreadPoolExecutor() as pool, tqdm(total=sum(dataset.counts.values()), disable=None, delay=2) as bar:
        while some := list(islice(visits, AT_ONCE)):
            pairs += pool.map(lambda visit: _examine(*visit), some)
            bar.update(len(some))
    return pairs


def _visit(dataset):
    """The arguments of :func:`_examine` for each pair."""
    for split in SPLITS:
        if files := dataset.files.get(split):
            yield from ((PairFacts(split, i, str(image), str(mask)), dataset) for i, (image, mask) in enumerate(files))
        elif dataset.counts.get(split):
            for i, pair in enumerate(dataset.split(split).as_numpy_iterator()):
                name = f"{dataset.name} {split}[{i}]"
                yield PairFacts(split, i, name, f"{name} mask"), dataset, pair["image"], pair["mask"]


def _examine(pair, dataset, image=None, ids=None):
    """Fills in :class:`PairFacts` that hold split, index and names, from the files or from ``image`` and ``ids``."""
    stored = ids
    if image is None:
        image = _try(pair, "image_error", read_image, pair.image)
        stored = _read_stored(pair)
        if not pair.mask_error:
            ids = _try(pair, "mask_error", dataset.read_mask, dataset.files[pair.split][pair.index][1])
    else:
        ids = _try(pair, "mask_error", dataset.labels.check_ids, ids)
    if stored is not None:
        pair.mask_size, pair.soft = stored.shape[:2], find_softness(stored)
        if ids is None and stored.ndim == 2:
            pair.values = tuple(np.unique(stored)[:256].tolist())
        pair.swapped = image is not None and _find_flatness(image) > _find_flatness(stored) + SWAPPED
    if image is not None:
        grey = image[::4, ::4].mean(-1)
        pair.size, pair.featureless = image.shape[:2], grey.std() < FLAT or np.percentile(grey, 99.9) < DARK
        pair.image_hash, pair.thumbnail = hash((pair.size, image.tobytes())), make_thumbnail(image)
    if ids is not None:
        pair.mask_size, pair.mask_hash = ids.shape, hash(ids.tobytes())
        pair.pixels = np.bincount(ids.ravel(), minlength=256)
    if image is not None and ids is not None and pair.size == pair.mask_size:
        pair.fit = find_fit(image, ids)
        if pair.fit is not None and not pair.fit.is_sure:
            pair.flip = find_flip(image, ids)
    return pair


def sum_pixels(pairs, split=None):
    """(256,) int64: how many pixels of the masks of a split, or of all, have each id."""
    return sum((pair.pixels for pair in pairs if split in (None, pair.split)), np.zeros(256, np.int64))


def _find_flatness(pixels):
    """The share of pixels that equal their right neighbour: over 0.8 in masks, under 0.4 in photographs."""
    pixels = pixels[..., 1] if pixels.ndim == 3 else pixels  # green is enough
    return float((np.diff(pixels, prepend=0) == 0).mean())


def find_softness(pixels):
    """The share of edges, pixels whose two neighbours differ, that hold a value strictly between these two, 0–1.

    Of (height, width) values, or (height, width, 3) colours, which must lie between in every channel; 0 where there
    are less than 50 edges.
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
    """Notes how a mask's file is stored, and returns its values; None if it cannot be read or lies in no file."""
    values = _try(pair, "mask_error", read_values, pair.mask) if os.path.isfile(pair.mask) else None
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
