"""Whether an augmentation keeps image and mask together, found out by looking at what comes out of it."""

import inspect
import math
from collections import Counter
from dataclasses import dataclass, field

import keras
import numpy as np

# Side of a chessboard's tile in pixels: enough that a label stays several pixels wide when an image is halved in size.
TILE = 16
# The two tones: so far apart that noise does not bridge them, so far from black and white that light clips neither.
DARK, BRIGHT = 48, 208
# The share of tiles that are void in the mask, while the image shows one of the tones.
VOID_TILES = 0.05

# An image shows two tones if nearly all of its variance is between them (the share is Otsu's η: 2/π = 0.64 for noise
# split in two, 0.75 for an even ramp, near 1 for two tones, be one of them rare), and if they are so far apart, as a
# share of the range of greys in its batch: the shade beside a black border is no second tone.
SEPARABLE, CONTRAST = 0.8, 1 / 4

# So many ids that were never fed are listed, and so many are told apart before counting stops.
SHOWN, COUNTED = 20, 100_000


@dataclass(frozen=True)
class Audit:
    """What :func:`audit` found, to be printed.

    Shares are those of all pairs together, in [0, 1]; a share of no pixels is NaN.

    Attributes:
        mislabelled: share of the judged pixels away from label boundaries whose label is not what the image shows.
        at_boundaries: the same share of the pixels at label boundaries: those with another label, or void, or the frame
            of the mask, among their eight neighbours. There an image resampled bilinearly and a mask resampled to the
            nearest may honestly differ by half a pixel: about 1 % when turned or enlarged, up to 10 % when halved. An
            offset of one pixel makes it 22 %.
        reach: how many pixels (chessboard distance) the farthest misfit lies from a label boundary, whose own pixels
            count 1; 0 if there is no misfit.
        new_ids: the lowest values, up to 20, that came back in masks and were never fed.
        new_id_count: how many such values there were (100,000: or more).
        lost_ids: the ids, void among them, that were fed and never came back.
        void_before, void_after: share of the masks' pixels that are void.
        judged: share of the labelled pixels that could be judged; the others are in images that show a single tone.
        image_shape, mask_shape: pairs (before, after) of shapes without the batch axis. After: of the last batch, or of
            the first in which image and mask do not fit together.
        image_dtype, mask_dtype: pairs (before, after) of names of dtypes.
        worst: (image, mask, misfit) of the pair with the largest share of misfits: (height, width, 3) as it came back,
            (height, width) ids and (height, width) bool. None where image and mask do not fit together.

    Where image and mask come back in different sizes or numbers, or the mask does not hold one id a pixel,
    ``mislabelled``, ``at_boundaries`` and ``reach`` are NaN, and ``judged`` is 0.
    """

    mislabelled: float
    at_boundaries: float
    reach: float
    new_ids: tuple
    new_id_count: int
    lost_ids: tuple
    void_before: float
    void_after: float
    judged: float
    image_shape: tuple
    mask_shape: tuple
    image_dtype: tuple
    mask_dtype: tuple
    worst: tuple | None = field(default=None, repr=False, compare=False)

    @property
    def in_step(self):
        """True if no judged pixel away from label boundaries is mislabelled and no id is new, as fractions always are.

        An offset of one pixel is in step all the same; it shows in ``at_boundaries``.
        """
        return self.mislabelled == 0 and self.new_id_count == 0

    def __str__(self):
        verdict = "are in step" if self.in_step else "are NOT in step"
        verdict = "cannot be compared" if math.isnan(self.mislabelled) else verdict
        reach = f"; farthest misfit: {self.reach} px from one" if self.reach > 0 else ""
        new = ", ".join(map(_tell_id, self.new_ids))
        new += f", … ({self.new_id_count} in all)" if self.new_id_count > len(self.new_ids) else ""
        lost = ", ".join(map(_tell_id, self.lost_ids))
        return "\n".join(
            [
                f"image and mask {verdict}",
                f"  mislabelled    {_percent(self.mislabelled)} of the pixels away from label boundaries{reach}",
                f"  at boundaries  {_percent(self.at_boundaries)} of the pixels there",
                f"  judged         {_percent(self.judged)} of the labelled pixels",
                f"  void           {_percent(self.void_before)} before, {_percent(self.void_after).strip()} after",
                f"  ids            new: {new or 'none'}; lost: {lost or 'none'}",
                f"  image          {_tell_change(self.image_shape, self.image_dtype)}",
                f"  mask           {_tell_change(self.mask_shape, self.mask_dtype)}",
            ]
        )


def audit(layer, pairs=64, size=(96, 128), ids=(10, 200), ignore_id=255, batch_size=8, seed=0):
    """Feeds a layer pairs in which the image shows the class of each pixel, and compares what comes back.

    The image of a pair is a chessboard of tiles that are dark (class ``ids[0]``) or bright (class ``ids[1]``) by
    chance; the mask says the same, but for a few void tiles. What the layer did is not asked: whatever it moved, in
    every image that comes back the brighter of two tones must be labelled ``ids[1]`` and the darker ``ids[0]``.

    So a change of light or colour may do anything but exchange dark and bright: inverting and solarising look
    mislabelled. And corners are rounded beyond the pixels at the boundary by a blur whose σ is above 1.5 pixels, and by
    bilinear enlargement above fivefold; that is reported too, as a misfit of a few pixels in a thousand.

    Args:
        layer: a Keras or KerasCV layer, or any function, that takes and returns a dictionary of tensors ``{"images":
            (batch, height, width, 3) uint8, "segmentation_masks": (batch, height, width, 1) uint8}``. Masks may come
            back without the last axis, as floats, or one-hot, channel i for id i, with no channel set where void. It is
            called with ``training=True`` if it has such an argument. In ``Dataset.map`` Keras's layers work on float32,
            and some do something else there than on uint8: to audit that, hand over a function that maps.
        pairs: how many pairs it is fed.
        size: ``(height, width)`` of these.
        ids: the dark and the bright class, 0–255. Far from each other and from 0 they give away a mask that was
            interpolated or filled: it has ids that were never fed.
        ignore_id: the id of void pixels, 0–255.
        batch_size: how many pairs it is fed at once.
        seed: of the chessboards. No other random state is touched: give the layer a seed of its own.

    Returns:
        An :class:`Audit`.

    Raises:
        ValueError: arguments out of range, or the layer returned something else than such a dictionary. What the layer
            itself raises is let through as it is.

    Example:
        Filled with zeros, what lies beyond the image is labelled class 0:

        >>> audit(keras.layers.RandomRotation(0.1, fill_mode="constant")).new_ids
        (0,)
    """
    _check(pairs, size, ids, ignore_id, batch_size)
    rng = np.random.default_rng(seed)
    tally = _Tally(ids, ignore_id)
    options = {"training": True} if "training" in inspect.signature(getattr(layer, "call", layer)).parameters else {}
    for start in range(0, pairs, batch_size):
        boards = [_draw_board(rng, size, ids, ignore_id) for _ in range(min(batch_size, pairs - start))]
        images, masks = map(np.stack, zip(*boards, strict=True))
        # A new dictionary for each call: Keras's layers write their results into the one they are given.
        pair = {"images": images, "segmentation_masks": masks}
        returned = layer({key: keras.ops.convert_to_tensor(array) for key, array in pair.items()}, **options)
        tally.add(images, masks, *_read(returned))
    return tally.report()


def _check(pairs, size, ids, ignore_id, batch_size):
    if pairs < 1 or batch_size < 1:
        raise ValueError(f"pairs and batch_size must be at least 1, got {pairs} and {batch_size}")
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be (height, width), each at least 1, got {tuple(size)}")
    fed = [*ids, ignore_id]
    if len(fed) != 3 or len(set(fed)) != 3 or not set(fed) <= set(range(256)):
        raise ValueError(f"ids and ignore_id must be three different ids in 0–255, got {tuple(ids)} and {ignore_id}")


def _draw_board(rng, size, ids, ignore_id):
    """(height, width, 3) uint8 image and (height, width, 1) uint8 mask."""
    rows, columns = ((np.arange(n) + rng.integers(TILE)) // TILE for n in size)
    shape = (rows[-1] + 1, columns[-1] + 1)
    bright, void = rng.integers(2, size=shape), rng.random(shape) < VOID_TILES
    image = np.array([DARK, BRIGHT], np.uint8)[bright]
    mask = np.where(void, ignore_id, np.array(ids)[bright]).astype(np.uint8)
    image, mask = (tiles[rows][:, columns, None] for tiles in (image, mask))
    return np.repeat(image, 3, axis=-1), mask


def _read(returned):
    wanted = ("images", "segmentation_masks")
    if not isinstance(returned, dict) or not set(wanted) <= set(returned):
        found = f"a dict with {sorted(returned)}" if isinstance(returned, dict) else f"a {type(returned).__name__}"
        raise ValueError(f"the layer must return a dict with 'images' and 'segmentation_masks', it returned {found}")
    return [keras.ops.convert_to_numpy(returned[key]) for key in wanted]


class _Tally:
    """Adds up what is seen in one batch after the other; the pixels themselves are not kept."""

    def __init__(self, ids, ignore_id):
        self.ids, self.ignore_id = ids, ignore_id
        self.counts = Counter()
        self.fed, self.returned, self.new = set(), set(), np.zeros(0)
        self.comparable, self.reach, self.worst, self.worst_share = True, 0, None, -1.0

    def add(self, images_in, masks_in, images, masks):
        ids = _to_ids(masks, self.ignore_id)
        fits = ids is not None and images.ndim == 4 and images.shape[:3] == ids.shape
        if self.comparable:
            self.image_shape = images_in.shape[1:], images.shape[1:]
            self.mask_shape = masks_in.shape[1:], masks.shape[1:]
            self.image_dtype, self.mask_dtype = (
                tuple(str(x.dtype) for x in pair) for pair in ((images_in, images), (masks_in, masks))
            )
        self.comparable &= fits
        unknown = self._compare_ids(masks_in, masks if ids is None else ids)
        if fits:
            self._judge(images, ids, unknown)

    def _compare_ids(self, before, after):
        """Counts void and notes what is new and what came back; returns which pixels' ids were never fed."""
        known = [*self.ids, self.ignore_id]
        self.counts["void before"] += np.sum(before == self.ignore_id)
        self.counts["void after"] += np.sum(after == self.ignore_id)
        self.counts["before"] += before.size
        self.counts["after"] += after.size
        self.fed |= {i for i in known if np.any(before == i)}
        self.returned |= {i for i in known if np.any(after == i)}
        unknown = ~np.isin(after, known)
        self.new = np.union1d(self.new, after[unknown])[:COUNTED]
        return unknown

    def _judge(self, images, ids, unknown):
        labelled, edge = ids != self.ignore_id, _is_boundary(ids)
        grey = images.astype("float32").mean(axis=-1)
        # An id that was never fed is wrong whatever the image shows, and any id is where the image shows no number.
        wrong = unknown | ~np.isfinite(grey)
        shown, two_toned = self._read_tones(grey, labelled & ~wrong & ~edge)
        judged = labelled & (two_toned[:, None, None] | wrong)
        misfit = judged & (wrong | (ids != shown))
        for name, region in (("inside", judged & ~edge), ("at the edge", judged & edge)):
            self.counts[name] += region.sum()
            self.counts[f"misfits {name}"] += (region & misfit).sum()
        self.counts["labelled"] += labelled.sum()
        self.reach = max(self.reach, _find_reach(misfit, edge))
        share = misfit.sum(axis=(1, 2)) / np.maximum(labelled.sum(axis=(1, 2)), 1)
        if share.max(initial=-1) > self.worst_share:
            i = share.argmax()
            self.worst, self.worst_share = (images[i].copy(), ids[i].copy(), misfit[i].copy()), share[i]

    def _read_tones(self, grey, usable):
        """The id that each pixel shows, and whether each image has two tones to tell it by."""
        finite = grey[np.isfinite(grey)]
        span = np.ptp(finite) if finite.size else 0
        shown, two_toned = np.full(grey.shape, self.ids[0]), np.zeros(len(grey), bool)
        for i in range(len(grey)):
            low, high, eta = _find_tones(grey[i][usable[i]])
            two_toned[i] = eta > SEPARABLE and high - low > CONTRAST * span
            shown[i][grey[i] > (low + high) / 2] = self.ids[1]
        return shown, two_toned

    def report(self):
        self.counts["judged"] = self.counts["inside"] + self.counts["at the edge"]
        return Audit(
            mislabelled=self._share("misfits inside", "inside") if self.comparable else math.nan,
            at_boundaries=self._share("misfits at the edge", "at the edge") if self.comparable else math.nan,
            reach=self.reach if self.comparable else math.nan,
            new_ids=tuple(int(x) if x.is_integer() else float(x) for x in self.new[:SHOWN]),
            new_id_count=len(self.new),
            lost_ids=tuple(sorted(self.fed - self.returned)),
            void_before=self._share("void before", "before"),
            void_after=self._share("void after", "after"),
            judged=self._share("judged", "labelled") if self.comparable else 0.0,
            image_shape=self.image_shape,
            mask_shape=self.mask_shape,
            image_dtype=self.image_dtype,
            mask_dtype=self.mask_dtype,
            worst=self.worst if self.comparable else None,
        )

    def _share(self, part, whole):
        return float(self.counts[part] / self.counts[whole]) if self.counts[whole] else math.nan


def _to_ids(masks, ignore_id):
    """(batch, height, width) ids in the masks' dtype, or None where they do not hold one id a pixel."""
    if masks.ndim == 4 and masks.shape[-1] == 1:
        return masks[..., 0]
    if masks.ndim == 4 and np.isin(masks, (0, 1)).all() and (masks.sum(axis=-1) <= 1).all():
        return np.where(masks.any(axis=-1), masks.argmax(axis=-1), ignore_id)
    return masks if masks.ndim == 3 else None


def _find_tones(grey):
    """The two tones in which most of the greys of one image are, and how clearly they are two, η in [0, 1].

    The greys are split where the variance between both parts is largest (Otsu 1979), and the tones are the parts'
    medians. No label is asked. Percentiles would do as long as neither tone is rarer than the percentile; here a rare
    tone is still a part of its own. And the midpoint of two medians stays where it is when a tenth of the pixels is
    erased, whereas the middle of the range, or of the means, moves to the erased ones.
    """
    grey = np.sort(grey)
    if len(grey) < 2 or grey[0] == grey[-1]:
        return 0.0, 0.0, 0.0
    centred = grey - grey.mean(dtype="float64")
    count = np.arange(1, len(grey))
    # Σ of the lower part; the upper part's is its negative.
    between = np.cumsum(centred)[:-1] ** 2 * (1 / count + 1 / (len(grey) - count))
    cut = int(np.argmax(between)) + 1
    return np.median(grey[:cut]), np.median(grey[cut:]), between[cut - 1] / np.sum(centred**2)


def _is_boundary(ids):
    """Which pixels of (batch, height, width) have another id, or the frame, among their eight neighbours."""
    height, width = ids.shape[1:]
    wide = np.pad(ids, ((0, 0), (1, 1), (1, 1)), mode="edge")
    # Beyond the frame may be anything: a white fill half a pixel away already shows in the bilinear image.
    boundary = np.ones(ids.shape, bool)
    boundary[:, 1:-1, 1:-1] = False
    for y in range(3):
        for x in range(3):
            boundary |= wide[:, y : y + height, x : x + width] != ids
    return boundary


def _find_reach(misfit, edge):
    """How far the farthest misfit is from the edge, whose pixels count 1; arrays (batch, height, width) bool."""
    near, left, reach = edge, misfit, 0
    while left.any():
        left, reach = left & ~near, reach + 1
        wide = np.pad(near, ((0, 0), (1, 1), (1, 1)))
        rows = wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]
        near = rows[..., :-2] | rows[..., 1:-1] | rows[..., 2:]
    return reach


def _percent(share):
    if math.isnan(share):
        return f"{'–':>7}"
    return "< 0.01%" if 0 < share < 1e-4 else f"{share:7.2%}"


def _tell_id(value):
    return str(value) if isinstance(value, int) else f"{value:.9g}"


def _tell_change(shapes, dtypes):
    before, after = (f"{shape} {dtype}" for shape, dtype in zip(shapes, dtypes, strict=True))
    return before if before == after else f"{before} → {after}"
