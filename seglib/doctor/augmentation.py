"""Whether an augmentation keeps image and mask together, found by feeding it images that show their own labels."""

import inspect
from collections import Counter
from typing import NamedTuple

import keras
import numpy as np
from scipy import ndimage

from seglib.augment.draws import unpack

BATCH = 8
TILE = 16  # pixels: a label stays several pixels wide when an image is halved in size
VOID_TILES = 0.05  # the share of tiles that are void in the mask, while the image shows one of the tones
# Noise does not bridge the tones, light clips neither, and a mask interpolated or filled has ids that were never fed.
TONES, IDS = (48, 208), (10, 200)
# Two tones are seen where Otsu's η is larger (0.64 for noise, 0.75 for an even ramp) and they are further apart, as a
# share of the range of greys in the batch.
SEPARABLE, CONTRAST = 0.8, 1 / 4


class Audit(NamedTuple):
    """What :func:`audit` found, to be printed. Shares are those of all pairs, in [0, 1]; of no pixels, NaN.

    Pixels at a boundary have another label or the frame among their eight neighbours; bilinear and nearest differ there
    by half a pixel: ``at_boundaries`` is 1 % when rotated or enlarged, 10 % when halved.
    """

    mislabelled: float  # share of the judged pixels away from boundaries whose label is not what the image shows
    at_boundaries: float  # the same share of the pixels at boundaries
    reach: float  # chessboard distance in pixels of the farthest misfit from a boundary, whose own pixels count 1
    new_ids: tuple  # the lowest 20 ids that came back in masks and were never fed
    new_id_count: int  # how many there are
    lost_ids: tuple  # the ids, void among them, that were fed and never came back
    void_before: float  # share of the masks' pixels that are void
    void_after: float
    judged: float  # share of the labelled pixels that could be judged; the others' images show a single tone
    mask_shape: tuple  # of the last batch, or the first whose masks do not fit; then nothing is judged, reach is NaN
    came_back: str  # shapes and dtypes of image and mask, likewise

    @property
    def in_step(self):
        """True if no judged pixel away from boundaries is mislabelled and no id is new, as fractions always are."""
        return self.mislabelled == 0 and self.new_id_count == 0

    def __str__(self):
        compared = "are in step" if self.in_step else "are NOT in step"
        verdict = "cannot be compared" if np.isnan(self.mislabelled) else compared
        reach = f"; farthest misfit: {self.reach} px from one" if self.reach > 0 else ""
        new, lost = (", ".join(f"{value:.9g}" for value in ids) or "none" for ids in (self.new_ids, self.lost_ids))
        new += f", … ({self.new_id_count} in all)" if self.new_id_count > len(self.new_ids) else ""
        return f"""image and mask {verdict}
  mislabelled    {_percent(self.mislabelled)} of the pixels away from label boundaries{reach}
  at boundaries  {_percent(self.at_boundaries)} of the pixels there
  judged         {_percent(self.judged)} of the labelled pixels
  void           {_percent(self.void_before)} before, {_percent(self.void_after).strip()} after
  ids            new: {new}; lost: {lost}
  came back      {self.came_back}"""


def audit(layer, pairs=64, size=(96, 128), ignore_id=255):
    """An :class:`Audit` of what a layer returns when it is fed pairs whose image shows the class of each pixel.

    The images are random chessboards, dark where the class is 10 and bright where it is 200; a few tiles are void in
    the mask. In every image that comes back, the brighter of two tones must be labelled 200 and the darker 10. So
    inverting and solarising look mislabelled, and some corners after a blur of σ > 1.5 pixels.

    Args:
        layer: a Keras or KerasCV layer, or any function, that takes and returns a dictionary of tensors ``{"images":
            (8, height, width, 3) uint8, "segmentation_masks": (8, height, width, 1) uint8}``. Masks may come back
            without the last axis, or as floats. It is called with ``training=True`` if it has such an argument.
        pairs, size: how many pairs it is fed, and their ``(height, width)``.
        ignore_id: the id of void pixels, 0–255, neither 10 nor 200.

    Raises:
        ValueError: ``pairs`` or ``ignore_id`` out of range, or the layer returned something else.

    Example: filled with zeros, what lies beyond the image is labelled class 0.
        >>> 0 in audit(keras.layers.RandomRotation(0.1, fill_mode="constant", seed=0), pairs=8).new_ids
        True
    """
    known, rng = (*IDS, ignore_id), np.random.default_rng(0)
    if pairs < 1 or ignore_id not in range(256) or ignore_id in IDS:
        raise ValueError(f"pairs must be ≥ 1, ignore_id in 0–255 but none of {IDS}, got {pairs=}, {ignore_id=}")
    options = {"training": True} if "training" in inspect.signature(getattr(layer, "call", layer)).parameters else {}

    def feed(count):
        boards = [_draw_board(rng, size, known) for _ in range(count)]
        images, masks = (keras.ops.convert_to_tensor(np.stack(x)) for x in zip(*boards, strict=True))
        returned = unpack(layer({"images": images, "segmentation_masks": masks}, **options))
        return map(keras.ops.convert_to_numpy, (masks, *returned))

    return _compare((feed(min(BATCH, pairs - start)) for start in range(0, pairs, BATCH)), known)


def _draw_board(rng, size, known):
    """(height, width, 3) uint8 image and (height, width, 1) uint8 mask."""
    rows, columns = ((np.arange(n) + rng.integers(TILE)) // TILE for n in size)
    shape = (rows[-1] + 1, columns[-1] + 1)
    bright, void = rng.integers(2, size=shape), rng.random(shape) < VOID_TILES
    shown, labels = np.array(TONES, np.uint8)[bright], np.array(known, np.uint8)[np.where(void, 2, bright)]
    image, mask = (tiles[rows][:, columns, None] for tiles in (shown, labels))
    return np.repeat(image, 3, axis=-1), mask


def _compare(batches, known):
    """The report of (masks fed, images returned, masks returned), batch by batch."""
    fed, returned, n, unfit = Counter(), Counter(), Counter(), None
    for masks_in, images, masks in batches:
        ids = masks.astype("float64")
        for counts, values in ((fed, masks_in), (returned, ids)):
            counts.update(dict(zip(*np.unique(values, return_counts=True), strict=True)))
        ids = ids[..., 0] if ids.ndim == 4 and ids.shape[-1] == 1 else ids
        if images.shape[:-1] == ids.shape:
            _judge(images, ids, known, n)
        else:
            unfit = unfit or (images, masks)
    if unfit:
        (images, masks), n = unfit, Counter(reach=np.nan)
    new = sorted(returned.keys() - known)
    return Audit(
        mislabelled=_share(n["inner_misfits"], n["inner"]),
        at_boundaries=_share(n["outer_misfits"], n["outer"]),
        reach=n["reach"],
        new_ids=tuple(int(x) if x.is_integer() else float(x) for x in new[:20]),
        new_id_count=len(new),
        lost_ids=tuple(map(int, sorted(fed.keys() - returned.keys()))),
        void_before=_share(fed[known[2]], fed.total()),
        void_after=_share(returned[known[2]], returned.total()),
        judged=_share(n["inner"] + n["outer"], returned.total() - returned[known[2]]),
        mask_shape=masks.shape[1:],
        came_back=f"image {images.shape[1:]} {images.dtype}, mask {masks.shape[1:]} {masks.dtype}",
    )


def _judge(images, ids, known, n):
    """Adds to the counts ``n`` how many pixels of a batch are judged and misfits, and how far from boundaries."""
    labelled, wrong = ids != known[2], ~np.isin(ids, known)  # an id that was never fed is wrong whatever is shown
    # Beyond the frame may be anything: a white fill half a pixel away already shows in the bilinear image.
    around = dict(size=(1, 3, 3), mode="constant", cval=-np.inf)
    boundary = ndimage.minimum_filter(ids, **around) != ndimage.maximum_filter(ids, **around)
    grey = images.astype("float32").mean(axis=-1)
    shown, two_toned = np.full(ids.shape, known[0]), np.zeros((len(ids), 1, 1), bool)
    for i, usable in enumerate(labelled & ~wrong & ~boundary):
        low, high, eta = _find_tones(grey[i][usable])
        two_toned[i] = eta > SEPARABLE and high - low > CONTRAST * np.ptp(grey)
        shown[i][grey[i] > (low + high) / 2] = known[1]
    judged = labelled & (two_toned | wrong)
    misfit = judged & (ids != shown)
    n.update(inner=(judged & ~boundary).sum(), outer=(judged & boundary).sum())
    n.update(inner_misfits=(misfit & ~boundary).sum(), outer_misfits=(misfit & boundary).sum())
    away = [1 + ndimage.distance_transform_cdt(~pixels, "chessboard") for pixels in boundary]
    n["reach"] = max(n["reach"], int(np.max(away * misfit)))


def _find_tones(grey):
    """The two tones in which most of the greys of one image are, and how clearly they are two, η in [0, 1].

    Otsu (1979): the greys are split where the variance between both parts is largest. The tones are the parts' medians,
    which stay where they are when a tenth of the pixels is erased.
    """
    grey = np.sort(grey)
    if len(grey) < 2 or grey[0] == grey[-1]:
        return 0.0, 0.0, 0.0
    centred, count = grey - grey.mean(dtype="float64"), np.arange(1, len(grey))
    # Σ of the lower part; the upper part's is its negative.
    between = np.cumsum(centred)[:-1] ** 2 * (1 / count + 1 / (len(grey) - count))
    cut = int(np.argmax(between)) + 1
    return np.median(grey[:cut]), np.median(grey[cut:]), between[cut - 1] / np.sum(centred**2)


def _share(part, whole):
    return float(part / whole) if whole else np.nan


def _percent(share):
    return "< 0.01%" if 0 < share < 1e-4 else f"{share:7.2%}"
