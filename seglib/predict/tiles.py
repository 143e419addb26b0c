"""Images too large for one pass: tile by tile, each fading into the next, in memory that the tile decides."""

from typing import NamedTuple

import numpy as np
from keras import ops

from seglib.images import write_tiff
from seglib.predict.looks import find_logits, to_ids, to_image

# Tiles begin at multiples of this: wherever the network pools, each tile's pools then are those of the whole image.
GRID = 32


class Span(NamedTuple):
    """Where one tile lies along an axis.

    Attributes:
        start, stop: the pixels that the model sees.
        first, last: of these, the pixels whose answer counts.
        done: how many of them, from ``first`` on, the next tile has no say in.
        weights: (last − first,) float32, how much it counts: rises from the tile before, falls to the next.
    """

    start: int
    stop: int
    first: int
    last: int
    done: int
    weights: np.ndarray


def tiled(model, image, tile=512, overlap=64, out=None, labels=None):
    """The most probable class of every pixel of an image of any size, seen tile by tile.

    Neighbouring tiles share ``overlap`` pixels or more. Near a tile's border the model misses what lies beyond, so
    that a quarter of the overlap is thrown away on either side; in the half between, the probabilities of one tile
    fade into those of the next, with weights that add up to 1 everywhere. What two rows of tiles share waits for the
    second of them: besides the image, memory is held for one tile and for half an overlap of the image's width.

    Args:
        model: as in :func:`segment`. It sees tiles as they are, so that the image must be of the training's scale.
            Parts of a model that look at all of the image at once, such as image pooling, see one tile only.
        image: as in :func:`segment`, or what slices like an array: ``np.load(path, mmap_mode="r")`` is read as needed.
        tile: the side of a tile in pixels. overlap: how much neighbours share at least, at most half a tile, and 0 to
            show where the seams would be. Both are multiples of 32, the largest stride of the course's networks.
        out: None, or the path of a TIFF file that is written from top to bottom as the tiles are done.
        labels: the :class:`~seglib.labels.LabelMap` whose colours become the palette of ``out``; wanted with it.

    Returns:
        (height, width) uint8 ids (uint16 beyond 256 classes); with ``out`` they lie in the file, mapped into memory.

    Raises:
        FileExistsError: ``out`` is there already.
        OSError: ``out`` cannot be written, as on a full disk; nothing is left of it.
        ValueError: a ``tile`` or ``overlap`` that does not fit, ``out`` without ``labels``; else as :func:`segment`.
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
    for name, value in {"tile": tile, "overlap": overlap}.items():
        if value % GRID or value < 0:
            raise ValueError(f"{name} is a multiple of {GRID}, so that tiles lie on the network's grid; got {value}")
    if not 0 <= 2 * overlap <= tile or tile == 0:
        raise ValueError(f"neighbours share at most half of a tile, got an overlap of {overlap} of {tile}")
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
    """Yields (rows, width) ids from top to bottom, as soon as no tile below has a say in them."""
    from tqdm import tqdm

    above = None  # what the row of tiles before says of the pixels that it shares with this one
    with tqdm(total=len(rows) * len(columns), desc="tiles", disable=None, delay=2) as bar:
        for row in rows:
            strip, below, left = [], [], None
            for column in columns:
                scores = _score(model, image, row, column)
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


def _score(model, image, row, column):
    """The weighted probabilities of the pixels of one tile that count."""
    tile = image[row.start : row.stop, column.start : column.stop]
    probs = ops.convert_to_numpy(ops.softmax(find_logits(model, tile), axis=-1))
    down, right = (slice(span.first - span.start, span.last - span.start) for span in (row, column))
    return probs[down, right] * row.weights[:, None, None] * column.weights[:, None]
