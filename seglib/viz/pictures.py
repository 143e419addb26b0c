"""Images and masks side by side, and where predictions are wrong."""

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from seglib.labels import VOID_COLOUR

WRONG = (0, 0, 0)  # the palette has no black, and the photograph is faded


def show_pairs(pairs, labels, alpha=0.55):
    """Rows of image, mask, and the mask laid over the image.

    Args:
        pairs: iterable of ``{"image": (height, width, 3), "mask": (height, width)}``; a handful.
        labels: the :class:`~seglib.labels.LabelMap`.
        alpha: weight of the mask's colours in the overlay, 0–1.
    """
    pairs = [{key: np.asarray(pair[key]) for key in ("image", "mask")} for pair in pairs]
    figure, axes = _grid(len(pairs), 3, pairs[0]["mask"].shape)
    for row, pair in zip(axes, pairs, strict=True):
        show_image(row[0], pair["image"])
        row[1].imshow(labels.to_rgb(pair["mask"]), interpolation="nearest")
        show_image(row[2], overlay(pair["image"], pair["mask"], labels, alpha))
    _title(axes, ("image", "mask", "overlay"))
    add_legend(figure, labels, [pair["mask"] for pair in pairs])


def show_overlay(image, mask, labels, alpha=0.55, title=None):
    """One image with its mask laid over it, and a legend of the classes in it."""
    image, mask = np.asarray(image), np.asarray(mask)
    figure, axes = _grid(1, 1, mask.shape, width=6)
    show_image(axes[0, 0], overlay(image, mask, labels, alpha))
    axes[0, 0].set_title(title or "")
    add_legend(figure, labels, [mask])


def show_masks(images, masks, labels):
    """One row an image: the image, then its masks from several sources.

    Args:
        images: (batch, height, width, 3) in 0–255.
        masks: mapping from a column's title to (batch, height, width) ids.
        labels: the label map.
    """
    masks = {title: np.asarray(ids) for title, ids in masks.items()}
    figure, axes = _grid(len(images), 1 + len(masks), np.asarray(images).shape[1:3])
    for i, row in enumerate(axes):
        show_image(row[0], images[i])
        for axis, ids in zip(row[1:], masks.values(), strict=True):
            axis.imshow(labels.to_rgb(ids[i]), interpolation="nearest")
    _title(axes, ("image", *masks))
    add_legend(figure, labels, list(masks.values()))


def show_predictions(images, masks, preds, labels, titles=None):
    """Rows of image, truth, prediction, and where they differ (wrong pixels in black, void in light grey).

    Args:
        images: sequence of (height, width, 3) in 0–255.
        masks, preds: sequences of (height, width) ids.
        titles: one text a row, written left of it.
    """
    figure, axes = _grid(len(images), 4, np.asarray(masks[0]).shape)
    for i, row in enumerate(axes):
        mask, pred = np.asarray(masks[i]), np.asarray(preds[i])
        show_image(row[0], images[i])
        row[1].imshow(labels.to_rgb(mask), interpolation="nearest")
        row[2].imshow(labels.to_rgb(pred), interpolation="nearest")
        row[3].imshow(error_map(images[i], mask, pred, labels.ignore_id), interpolation="nearest")
        if titles is not None:
            row[0].set_ylabel(titles[i])
    _title(axes, ("image", "truth", "prediction", "wrong pixels"))
    add_legend(figure, labels, [np.asarray(m) for m in (*masks, *preds)])


def show_worst(images, masks, preds, labels, count=3):
    """The ``count`` images with the largest share of wrong pixels, worst first, as :func:`show_predictions`."""
    shares = [error_share(mask, pred, labels.ignore_id) for mask, pred in zip(masks, preds, strict=True)]
    worst = np.argsort(shares)[::-1][:count]
    titles = [f"no. {i}: {shares[i]:.0%} wrong" for i in worst]
    show_predictions(*([those[i] for i in worst] for those in (images, masks, preds)), labels, titles)


def show_image(axis, image):
    """Draws an image in 0–255 into a matplotlib axis; small ones as the pixels they are, large ones smoothed."""
    axis.imshow(to_uint8(image), interpolation="nearest" if len(image) <= 128 else "auto")


def overlay(image, mask, labels, alpha=0.55):
    """The mask's colours laid over the image: (height, width, 3) uint8. Void pixels show the image alone."""
    image, mask = to_uint8(image), np.asarray(mask)
    weight = np.where(mask == labels.ignore_id, 0, alpha)[..., None]
    return to_uint8((1 - weight) * image + weight * labels.to_rgb(mask))


def error_map(image, mask, pred, ignore_id):
    """(height, width, 3) uint8: the image faded to grey, wrong pixels in black, void pixels in light grey."""
    grey = to_uint8(image).mean(-1, keepdims=True)
    picture = np.repeat(0.5 * grey + 0.5 * 255, 3, axis=-1)
    picture[(mask != pred) & (mask != ignore_id)] = WRONG
    picture[mask == ignore_id] = VOID_COLOUR
    return to_uint8(picture)


def error_share(mask, pred, ignore_id):
    """Share of the pixels that are not void whose class is wrong, in [0, 1]; 0 where all is void."""
    counted = np.asarray(mask) != ignore_id
    return float((counted & (np.asarray(mask) != np.asarray(pred))).sum() / max(counted.sum(), 1))


def add_legend(figure, labels, masks):
    """A legend below the figure: a patch for each class that occurs in ``masks``, and for void."""
    ids = np.unique(np.concatenate([np.unique(mask) for mask in masks]))
    entries = [(labels.names[i], labels.colours[i]) for i in ids if i < labels.num_classes]
    if labels.ignore_id in ids:
        entries.append(("void", labels.void_colour))
    patches = [Patch(facecolor=np.array(c) / 255, edgecolor="black", linewidth=0.5, label=n) for n, c in entries]
    rows = math.ceil(len(patches) * 1.1 / figure.get_figwidth())  # an entry takes about 1.1 inches
    columns = math.ceil(len(patches) / rows)
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, frameon=False)


def to_uint8(image):
    """Any image in 0–255 as a (…) uint8 array, rounded and clipped."""
    return np.clip(np.round(np.asarray(image, np.float64)), 0, 255).astype(np.uint8)


def _grid(rows, columns, size, width=None):
    height = size[0] / size[1]
    width = width or min(10, 3.3 * columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, rows * width / columns * height + 0.7), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figure, axes


def _title(axes, titles):
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
