"""Whether an augmentation keeps image and mask together, found by feeding it images that show their own labels."""

import inspect
from collections import Counter
from dataclasses import dataclass, field

import keras
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from seglib.augment.draws import unpack

BATCH = 8
TILE = 16  # pixels: a label stays several pixels wide when an image is halved in size
DARK, BRIGHT = 48, 208  # so far apart that noise does not bridge them, so far from 0 and 255 that light clips neither
VOID_TILES = 0.05  # the share of tiles that are void in the mask, while the image shows one of the tones
# An image shows two tones if nearly all of its variance is between them (Otsu's η: 0.64 for noise split in two, 0.75
# for an even ramp), and if they are so far apart, as a share of the range of greys in its batch.
SEPARABLE, CONTRAST = 0.8, 1 / 4


@dataclass(frozen=True)
class Audit:
    """What :func:`audit` found, to be printed. Shares are those of all pairs, in [0, 1]; of no pixels, NaN.

    Attributes:
        mislabelled: share of the judged pixels away from label boundaries whose label is not what the image shows.
        at_boundaries: the same share at boundaries: of pixels with another label or the frame among their eight
            neighbours. There a bilinear image and a nearest mask may honestly differ by half a pixel: about 1 % when
            rotated or enlarged, up to 10 % when halved. An offset of one pixel makes it 22 %.
        reach: how many pixels (chessboard distance) the farthest misfit lies from a boundary, whose own pixels count 1.
        new_ids, new_id_count: the lowest 20 ids that came back in masks and were never fed, and how many there are.
        lost_ids: the ids, void among them, that were fed and never came back.
        void_before, void_after: share of the masks' pixels that are void.
        judged: share of the labelled pixels that could be judged; the others are in images that show a single tone.
        image_shape, mask_shape, image_dtype, mask_dtype: what came back, without the batch axis, in the last batch or
            the first in which image and mask do not fit together; ``mislabelled`` and ``reach`` are NaN then.
        worst: (image, mask, misfit) of the pair with most misfits: (height, width, 3), (height, width) and
            (height, width) bool; None if no image and mask fit together.
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
    image_dtype: str
    mask_dtype: str
    worst: tuple | None = field(default=None, repr=False, compare=False)

    @property
    def in_step(self):
        """True if no judged pixel away from boundaries is mislabelled and no id is new, as fractions always are."""
        return self.mislabelled == 0 and self.new_id_count == 0

    def __str__(self):
        verdict = "are in step" if self.in_step else "are NOT in step"
        verdict = "cannot be compared" if np.isnan(self.mislabelled) else verdict
        reach = f"; farthest misfit: {self.reach} px from one" if self.reach > 0 else ""
        new, lost = (", ".join(f"{value:.9g}" for value in ids) or "none" for ids in (self.new_ids, self.lost_ids))
        new += f", … ({self.new_id_count} in all)" if self.new_id_count > len(self.new_ids) else ""
        return f"""image and mask {verdict}
  mislabelled    {_percent(self.mislabelled)} of the pixels away from label boundaries{reach}
  at boundaries  {_percent(self.at_boundaries)} of the pixels there
  judged         {_percent(self.judged)} of the labelled pixels
  void           {_percent(self.void_before)} before, {_percent(self.void_after).strip()} after
  ids            new: {new}; lost: {lost}
  came back      image {self.image_shape} {self.image_dtype}, mask {self.mask_shape} {self.mask_dtype}"""


def audit(layer, pairs=64, size=(96, 128), ids=(10, 200), ignore_id=255, seed=0):
    """Feeds a layer pairs in which the image shows the class of each pixel, and compares what comes back.

    The images are random chessboards, dark where the class is ``ids[0]`` and bright where it is ``ids[1]``; a few tiles
    are void in the mask. In every image that comes back, the brighter of two tones must be labelled ``ids[1]`` and the
    darker ``ids[0]``. So inverting and solarising look mislabelled, and some corners after a blur of σ > 1.5 pixels.

    Args:
        layer: a Keras or KerasCV layer, or any function, that takes and returns a dictionary of tensors ``{"images":
            (8, height, width, 3) uint8, "segmentation_masks": (8, height, width, 1) uint8}``. Masks may come back
            without the last axis, or as floats. It is called with ``training=True`` if it has such an argument. In
            ``Dataset.map`` Keras's layers work on float32: to audit that, hand over a function that casts.
        pairs: how many pairs it is fed.
        size: ``(height, width)`` of these.
        ids: the dark and the bright class, 0–255. Far from each other and from 0 they give away a mask that was
            interpolated or filled: it has ids that were never fed.
        ignore_id: the id of void pixels, 0–255.
        seed: of the chessboards; the layer's draws are its own.

    Returns:
        An :class:`Audit`.

    Raises:
        ValueError: arguments out of range, or the layer returned something else than such a dictionary.

    Example:
        Filled with zeros, what lies beyond the image is labelled class 0:

        >>> audit(keras.layers.RandomRotation(0.1, fill_mode="constant", seed=0), pairs=8).new_ids
        (0,)
    """
    known, rng = [*ids, ignore_id], np.random.default_rng(seed)
    if pairs < 1 or len(size) != 2 or min(size) < 1:
        raise ValueError(f"pairs must be at least 1 and size (height, width), got pairs={pairs}, size={tuple(size)}")
    if len(known) != 3 or len(set(known)) != 3 or not set(known) <= set(range(256)):
        raise ValueError(f"ids and ignore_id must be three different ids in 0–255, got {tuple(ids)} and {ignore_id}")
    options = {"training": True} if "training" in inspect.signature(getattr(layer, "call", layer)).parameters else {}

    def feed(count):
        images, masks = map(np.stack, zip(*[_draw_board(rng, size, known) for _ in range(count)], strict=True))
        # A new dictionary for each call: Keras's layers write their results into the one they are given.
        pair = {"images": keras.ops.convert_to_tensor(images), "segmentation_masks": keras.ops.convert_to_tensor(masks)}
        returned = unpack(layer(pair, **options), "what the layer returns")
        return masks, *map(keras.ops.convert_to_numpy, returned)

    return _compare((feed(min(BATCH, pairs - start)) for start in range(0, pairs, BATCH)), known)


def _draw_board(rng, size, known):
    """(height, width, 3) uint8 image and (height, width, 1) uint8 mask."""
    rows, columns = ((np.arange(n) + rng.integers(TILE)) // TILE for n in size)
    shape = (rows[-1] + 1, columns[-1] + 1)
    bright, void = rng.integers(2, size=shape), rng.random(shape) < VOID_TILES
    shown, labels = np.array([DARK, BRIGHT], np.uint8)[bright], np.array(known, np.uint8)[np.where(void, 2, bright)]
    image, mask = (tiles[rows][:, columns, None] for tiles in (shown, labels))
    return np.repeat(image, 3, axis=-1), mask


def _compare(batches, known):
    """The report of (masks fed, images returned, masks returned), batch by batch; most pixels are not kept."""
    n, fed, returned, reach, worst, unfit = Counter(), [], [], 0, (-1.0,), None
    for masks_in, images, masks in batches:
        ids = masks[..., 0] if masks.ndim == 4 and masks.shape[-1] == 1 else masks
        n.update(fed=masks_in.size, fed_void=np.sum(masks_in == known[2]))
        n.update(returned=ids.size, returned_void=np.sum(ids == known[2]))
        fed, returned = np.union1d(fed, masks_in), np.union1d(returned, ids)
        if ids.ndim != 3 or images.shape[:-1] != ids.shape:
            unfit = unfit or (images, masks)
            continue
        labelled, boundary, judged, misfit = _judge(images, ids, known)
        n.update(labelled=labelled.sum(), inner=(judged & ~boundary).sum(), inner_misfits=(misfit & ~boundary).sum())
        n.update(outer=(judged & boundary).sum(), outer_misfits=(misfit & boundary).sum())
        reach = max(reach, _find_reach(misfit, boundary))
        share = misfit.sum(axis=(1, 2)) / np.maximum(labelled.sum(axis=(1, 2)), 1)
        worst = max([worst, *zip(share, images, ids, misfit, strict=True)], key=lambda pair: pair[0])
    images, masks = unfit or (images, masks)
    new = np.setdiff1d(returned, known)
    return Audit(
        mislabelled=np.nan if unfit else _share(n["inner_misfits"], n["inner"]),
        at_boundaries=np.nan if unfit else _share(n["outer_misfits"], n["outer"]),
        reach=np.nan if unfit else reach,
        new_ids=tuple(int(x) if x.is_integer() else float(x) for x in new[:20]),
        new_id_count=len(new),
        lost_ids=tuple(map(int, np.setdiff1d(fed, returned))),
        void_before=_share(n["fed_void"], n["fed"]),
        void_after=_share(n["returned_void"], n["returned"]),
        judged=0.0 if unfit else _share(n["inner"] + n["outer"], n["labelled"]),
        image_shape=images.shape[1:],
        mask_shape=masks.shape[1:],
        image_dtype=str(images.dtype),
        mask_dtype=str(masks.dtype),
        worst=worst[1:] or None,
    )


def _judge(images, ids, known):
    """Which pixels have a label, which are at a boundary, which can be judged, and which misfit: arrays of bool."""
    labelled = ids != known[2]
    # Beyond the frame may be anything: a white fill half a pixel away already shows in the bilinear image.
    boundary = (_windows(ids.astype("float64"), np.nan) != ids[..., None, None]).any(axis=(-2, -1))
    grey = images.astype("float32").mean(axis=-1)
    # An id that was never fed is wrong whatever the image shows, and any id is where the image shows no number.
    wrong = ~np.isin(ids, known) | ~np.isfinite(grey)
    finite = grey[np.isfinite(grey)]
    span = np.ptp(finite) if finite.size else 0
    shown, two_toned = np.full(grey.shape, known[0]), np.zeros((len(grey), 1, 1), bool)
    for i, usable in enumerate(labelled & ~wrong & ~boundary):
        low, high, eta = _find_tones(grey[i][usable])
        two_toned[i] = eta > SEPARABLE and high - low > CONTRAST * span
        shown[i][grey[i] > (low + high) / 2] = known[1]
    judged = labelled & (two_toned | wrong)
    return labelled, boundary, judged, judged & (wrong | (ids != shown))


def _find_tones(grey):
    """The two tones in which most of the greys of one image are, and how clearly they are two, η in [0, 1].

    Otsu (1979): the greys are split where the variance between both parts is largest. The tones are the parts' medians,
    whose middle stays where it is when a tenth of the pixels is erased, as the middle of the range or the means do not.
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


def _windows(pixels, beyond):
    """The 3×3 pixels around each of (batch, height, width), with ``beyond`` beyond the frame."""
    return sliding_window_view(np.pad(pixels, ((0, 0), (1, 1), (1, 1)), constant_values=beyond), (3, 3), axis=(1, 2))


def _find_reach(misfit, boundary):
    """How far the farthest misfit is from a boundary, whose pixels count 1; arrays (batch, height, width) bool."""
    near, reach = boundary, int(misfit.any())
    while (misfit & ~near).any():
        near, reach = _windows(near, False).any(axis=(-2, -1)), reach + 1
    return reach


def _share(part, whole):
    return float(part / whole) if whole else np.nan


def _percent(share):
    return "< 0.01%" if 0 < share < 1e-4 else f"{share:7.2%}"
