"""Images and masks side by side, and where predictions are wrong."""

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from seglib.labels import VOID_COLOUR

WRONG = (0, 0, 0)  # the palette has no black, and the image is faded


def show_pairs(pairs, labels):
    """Rows of image, mask, and the mask laid over the image.

    Args:
        pairs: iterable of ``{"image": (height, width, 3) in 0–255, "mask": (height, width) ids}``; a handful.
        labels: the :class:`~seglib.labels.LabelMap`.
    """
    pairs = list(pairs)
    images, masks = ([np.asarray(pair[key]) for pair in pairs] for key in ("image", "mask"))
    laid = [overlay(image, mask, labels) for image, mask in zip(images, masks, strict=True)]
    _show_rows({"image": images, "mask": _paint(masks, labels), "overlay": laid}, labels, masks)


def show_overlay(image, mask, labels, alpha=0.55, title=None):
    """One image with its mask laid over it, and a legend of the classes in it.

    Args:
        image: (height, width, 3) in 0–255.
        mask: (height, width) ids.
        labels: the :class:`~seglib.labels.LabelMap`.
        alpha: weight of the mask's colours, 0–1.
        title: text above the figure.
    """
    figure, axes = _grid(1, 1, np.shape(mask), width=6)
    show_image(axes[0, 0], overlay(image, mask, labels, alpha))
    axes[0, 0].set_title(title or "")
    add_legend(figure, labels, [mask])


def show_masks(images, masks, labels):
    """One row an image: the image, then its masks from several sources.

    Args:
        images: (batch, height, width, 3) in 0–255.
        masks: mapping from a column's title to (batch, height, width) ids.
        labels: the :class:`~seglib.labels.LabelMap`.
    """
    columns = {title: _paint(ids, labels) for title, ids in masks.items()}
    _show_rows({"image": images, **columns}, labels, list(masks.values()))


def show_predictions(images, masks, preds, labels, titles=None):
    """Rows of image, truth, prediction, and where they differ (wrong pixels in black, void in light grey).

    Args:
        images: sequence of (height, width, 3) in 0–255.
        masks: sequence of (height, width) ids, the truth.
        preds: sequence of (height, width) ids, the predictions.
        labels: the :class:`~seglib.labels.LabelMap`.
        titles: one text a row, written left of it.
    """
    wrong = [_error_map(*row, labels.ignore_id) for row in zip(images, masks, preds, strict=True)]
    truth, found = _paint(masks, labels), _paint(preds, labels)
    columns = {"image": images, "truth": truth, "prediction": found, "wrong pixels": wrong}
    _show_rows(columns, labels, [*masks, *preds], titles)


def show_worst(images, masks, preds, labels, count=3):
    """The images with the largest share of wrong pixels, worst first, drawn by :func:`show_predictions`.

    Args:
        images: sequence of (height, width, 3) in 0–255.
        masks: sequence of (height, width) ids, the truth. Void pixels do not count.
        preds: sequence of (height, width) ids, the predictions.
        labels: the :class:`~seglib.labels.LabelMap`.
        count: how many images.
    """
    shares = []
    for mask, pred in zip(masks, preds, strict=True):
        counted = np.asarray(mask) != labels.ignore_id
        shares.append((counted & (np.asarray(mask) != pred)).sum() / max(counted.sum(), 1))
    worst = np.argsort(shares)[::-1][:count]
    titles = [f"no. {i}: {shares[i]:.0%} wrong" for i in worst]
    show_predictions(*([those[i] for i in worst] for those in (images, masks, preds)), labels, titles)


def show_image(axis, image):
    """Draws a (height, width, 3) image in 0–255 into a matplotlib axis; one of at most 128 rows is not smoothed."""
    axis.imshow(_to_uint8(image), interpolation="nearest" if len(image) <= 128 else "auto")


def overlay(image, mask, labels, alpha=0.55):
    """The mask's colours laid over the image; void pixels show the image alone.

    Args:
        image: (height, width, 3) in 0–255.
        mask: (height, width) ids.
        labels: the :class:`~seglib.labels.LabelMap`.
        alpha: weight of the colours, 0–1: a number, or one for each pixel, (height, width).

    Returns:
        (height, width, 3) uint8.
    """
    image, mask = _to_uint8(image), np.asarray(mask)
    weight = np.where(mask == labels.ignore_id, 0, alpha)[..., None]
    return _to_uint8((1 - weight) * image + weight * labels.to_rgb(mask))


def add_legend(figure, labels, masks):
    """A legend below a matplotlib figure: a patch for each class (and void) that occurs in ``masks``, arrays of ids."""
    ids = np.unique(np.concatenate([np.unique(mask) for mask in masks]))
    entries = [(labels.names[i], labels.colours[i]) for i in ids if i < labels.num_classes]
    if labels.ignore_id in ids:
        entries.append(("void", labels.void_colour))
    patches = [Patch(facecolor=np.array(c) / 255, edgecolor="black", linewidth=0.5, label=n) for n, c in entries]
    rows = math.ceil(len(patches) * 1.1 / figure.get_figwidth())  # an entry takes about 1.1 inches
    columns = math.ceil(len(patches) / rows)
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, frameon=False)


def _show_rows(columns, labels, masks, titles=None):
    """A grid of pictures: ``columns`` maps a column's title to its (height, width, 3) pictures, one a row."""
    pictures = list(columns.values())
    figure, axes = _grid(len(pictures[0]), len(columns), np.shape(pictures[-1][0]))
    for title, column, place in zip(columns, pictures, axes.T, strict=True):
        place[0].set_title(title, fontsize=10)
        for axis, picture in zip(place, column, strict=True):
            if title in ("image", "overlay"):
                show_image(axis, picture)
            else:
                axis.imshow(picture, interpolation="nearest")
    for axis, title in zip(axes[:, 0], titles or [], strict=False):
        axis.set_ylabel(title)
    add_legend(figure, labels, masks)


def _grid(rows, columns, size, width=None):
    width = width or min(10, 3.3 * columns)
    height = rows * width / columns * size[0] / size[1] + 0.7
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figure, axes


def _paint(masks, labels):
    return [labels.to_rgb(np.asarray(mask)) for mask in masks]


def _error_map(image, mask, pred, ignore_id):
    """(height, width, 3) uint8: the image faded to grey, wrong pixels in black, void pixels in light grey."""
    mask, grey = np.asarray(mask), _to_uint8(image).mean(-1, keepdims=True)
    picture = np.repeat(0.5 * grey + 0.5 * 255, 3, axis=-1)
    picture[(mask != pred) & (mask != ignore_id)] = WRONG
    picture[mask == ignore_id] = VOID_COLOUR
    return _to_uint8(picture)


def _to_uint8(image):
    return np.clip(np.round(np.asarray(image, np.float64)), 0, 255).astype(np.uint8)
