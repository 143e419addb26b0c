"""Images too large for one call of the model: overlapping tiles that are blended, in memory that the tile decides."""

from typing import NamedTuple

import numpy as np
from keras import ops

from seglib.images import write_tiff
from seglib.predict.inference import find_logits, to_ids, to_image

# Tiles begin at multiples of this, so that the network pools the same pixels together as in the whole image.
GRID = 32


class Span(NamedTuple):
    """Where one tile lies along an axis."""

    start: int  # start, stop: the pixels that the model sees
    stop: int
    first: int  # first, last: of these, the pixels whose prediction counts
    last: int
    done: int  # how many of them, from first on, do not overlap with the next tile
    weights: np.ndarray  # (last − first,) float32, which rise from the tile before and fall to the next


def tiled(model, image, tile=512, overlap=64, out=None, labels=None):
    """The most probable class of every pixel of an image of any size, predicted tile by tile.

    Neighbouring tiles share ``overlap`` pixels or more. Near a tile's border the model lacks context, so that a quarter
    of the overlap is thrown away on either side; in the half between, the probabilities of the two tiles are blended,
    with weights that sum to 1 everywhere (U-Net's overlap-tile strategy, Ronneberger et al. 2015, figure 2, blended).
    Besides the image, memory is held for one tile and for half an overlap of the image's width.

    Args:
        model: a model that turns (1, height, width, 3) images in 0–255 into logits of the same height and width. Tiles
            are not resized, so that the image must be of the training images' scale. Layers that see all of the image,
            such as image pooling, see one tile only.
        image: an image file (path, bytes or ``PIL.Image``), or an array (height, width, 3 or 4) or (height, width);
            ``np.load(path, mmap_mode="r")`` is read as needed.
        tile: the side of a tile in pixels, a multiple of 32, the largest stride of the course's networks.
        overlap: how many pixels neighbours share at least, a multiple of 32 up to half a tile; 0 shows the seams.
        out: None, or the path of a TIFF file that is written from top to bottom as the tiles are done.
        labels: the :class:`~seglib.labels.LabelMap` whose colours become the palette of ``out``; wanted with it.

    Returns:
        (height, width) uint8 ids (uint16 beyond 256 classes); with ``out`` they lie in the file, mapped into memory.

    Raises:
        FileExistsError: ``out`` is there already.
        OSError: ``out`` cannot be written, as on a full disk; nothing is left of it.
        ValueError: a ``tile`` or ``overlap`` that does not fit; ``out`` without ``labels``, or that is no TIFF
            (``ImageError``); what is no image; a model without logits of the tile's size.
    """
    if out is not None and labels is None:
        raise ValueError("out= is painted in the colours of a label map; give labels= as well")
    image = to_image(image)
    rows, columns = (split(length, tile, overlap) for length in image.shape[:2])
    strips = _strips(model, image, rows, columns)
    if out is None:
        return np.concatenate(list(strips))
    return write_tiff(out, strips, image.shape[:2], labels)


def split(length, tile, overlap):
    """The :class:`Span` of every tile along an axis of ``length`` pixels: as few as it takes, evenly spread."""
    if tile % GRID or overlap % GRID or not 0 <= 2 * overlap <= tile or tile == 0:
        wanted = f"a tile that is a multiple of {GRID}, the network's grid, and such an overlap, up to half of it"
        raise ValueError(f"wanted {wanted}; got a tile of {tile} and an overlap of {overlap}")
    count = 1 + max(0, -(-(length - tile) // (tile - overlap)))
    starts = [-(-i * (length - tile) // max(count - 1, 1) // GRID) * GRID for i in range(count)]
    stops = [min(start + tile, length) for start in starts]
    fade = overlap // 2
    cuts = [(stop + start - fade) // 2 for stop, start in zip(stops, starts[1:], strict=False)]
    firsts, lasts = [0, *cuts], [*(cut + fade for cut in cuts), length]
    rise = np.sin(np.pi / 2 * (np.arange(fade, dtype=np.float32) + 0.5) / max(fade, 1)) ** 2
    spans = []
    for i, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
        weights, done = np.ones(last - first, np.float32), last - first
        if i > 0:
            weights[:fade] *= rise
        if i < count - 1:
            done -= fade
            weights[done:] *= rise[::-1]
        spans.append(Span(starts[i], stops[i], first, last, done, weights))
    return spans


def _strips(model, image, rows, columns):
    """Yields (rows, width) ids from top to bottom, as soon as no tile below overlaps with them."""
    from tqdm import tqdm

    above = None  # the weighted probabilities that the row of tiles before gives to the pixels it shares with this one
    with tqdm(total=len(rows) * len(columns), desc="tiles", disable=None, delay=2) as bar:
        for row in rows:
            strip, below, left = [], [], None
            for column in columns:
                tile = image[row.start : row.stop, column.start : column.stop]
                probs = ops.convert_to_numpy(ops.softmax(find_logits(model, tile), axis=-1))
                down, right = (slice(span.first - span.start, span.last - span.start) for span in (row, column))
                scores = probs[down, right] * row.weights[:, None, None] * column.weights[:, None]
                if left is not None:
                    scores[:, : left.shape[1]] += left
                scores, left = scores[:, : column.done], scores[:, column.done :]
                if above is not None:
                    scores[: len(above)] += above[:, column.first : column.first + column.done]
                strip.append(to_ids(scores[: row.done]))
                below.append(scores[row.done :].copy())
                bar.update()
            above = np.concatenate(below, axis=1)
            yield np.concatenate(strip, axis=1)
