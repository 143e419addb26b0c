"""Pictures for the figure of a report: of the worst findings one pair each, read again and made small."""

import os
from typing import NamedTuple

import numpy as np

from seglib.images import Values, read_image, read_values, resize_image, resize_mask
from seglib.viz import overlay

MOST = 6  # findings
SIDE = 240  # pixels of the longer side
ZOOM = (32, 48)  # height and width in pixels of the window that shows values in between


class Picture(NamedTuple):
    """Two pictures that show a finding.

    Attributes:
        finding: the :class:`~seglib.data.doctor.Finding`.
        caption: which of its files is shown, and how many more there are.
        left, right: (height, width, 3) uint8, the image and the mask (or the other image), or None if unreadable.
    """

    finding: object
    caption: str
    left: np.ndarray | None
    right: np.ndarray | None


def take_pictures(dataset, looks, findings):
    """A :class:`Picture` for each of the first findings that name files."""
    of = {file: look for look in looks for file in (look.mask, look.image)}
    shown = [finding for finding in findings if finding.files and finding.files[0] in of][:MOST]
    return tuple(_take(dataset, finding, of) for finding in shown)


def _take(dataset, finding, of):
    look = of[finding.files[0]]
    image, mask, ids = _read(dataset, look)
    caption, more = os.path.basename(finding.files[0]), len(finding.files) - 1
    if "splits" in finding.kind:
        mask = _read(dataset, of[finding.files[1]])[0]
        caption, more = f"{caption} and {os.path.basename(finding.files[1])}", more - 1
    elif finding.kind == "one picture, two masks":
        image = mask
        mask = _read(dataset, of[finding.files[3]])[1]
    elif finding.kind in ("shifted masks", "flipped masks", "masks of other images"):
        mask = overlay(image, ids, dataset.labels)
    elif finding.kind in ("interpolated masks", "lossy masks"):
        window = _busiest(mask)
        image = image[window] if look.size == look.mask_size else None
        mask = mask[window]
        caption += f", {ZOOM[0]}×{ZOOM[1]} pixels of it"
    caption += f", and {more} more file{'s' * (more > 1)}" if more else ""
    return Picture(finding, caption, _shrink(image, resize_image), _shrink(mask, resize_mask))


def _read(dataset, look):
    """``(image, mask in colour, ids)`` of a pair, None for what cannot be read."""
    if look.image_error or os.path.isfile(look.image):
        image = None if look.image_error else read_image(look.image)
        ids = None if look.mask_error else dataset.read_mask(look.mask)
    else:
        pair = next(dataset.split(look.split).skip(look.index).take(1).as_numpy_iterator())
        image, ids = pair["image"], pair["mask"]
    if ids is not None and not look.lossy and not look.mask_error:
        return image, dataset.labels.to_rgb(ids), ids
    if not look.readable:
        return image, None, None
    values = read_values(look.mask) if os.path.isfile(look.mask) else Values(ids, None, False)
    return image, _paint(values, dataset.labels), ids


def _paint(values, labels):
    """What a mask file holds, as colours: ids in those of the classes and black beyond; what holds few ids, as grey."""
    pixels = values.pixels
    if values.palette is not None or pixels.ndim == 3:
        return values.in_colour()
    table = np.zeros((max(256, int(pixels.max()) + 1), 3), np.uint8)
    table[: labels.num_classes], table[labels.ignore_id] = labels.colours, labels.void_colour
    if (pixels < 2 * labels.num_classes + 4).mean() > 0.8:
        return table[pixels]
    grey = pixels.astype(np.float64) * 255 / max(int(pixels.max()), 1)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)


def _busiest(picture):
    """The window of the size ``ZOOM`` in which most pixels differ from their neighbour."""
    height, width = ZOOM
    edges = (picture[:-1, :-1] != picture[1:, 1:]).any(-1)
    rows, columns = (range(0, max(side - part, 1), part // 2) for side, part in zip(edges.shape, ZOOM, strict=True))
    y, x = max(((y, x) for y in rows for x in columns), key=lambda at: edges[at[0] :, at[1] :][:height, :width].sum())
    return slice(y, y + height), slice(x, x + width)


def _shrink(picture, resize):
    if picture is None or max(picture.shape) <= SIDE:
        return picture
    return resize(picture, tuple(max(1, side * SIDE // max(picture.shape)) for side in picture.shape[:2]))
