"""Figures: masks are always shown in the colours of their class map, with a legend, and never interpolated.

Every ``show_…`` but :func:`show_image` draws a new matplotlib figure, which a notebook shows at the end of the cell.
Everywhere ``labels`` is a :class:`~seglib.labels.LabelMap`.
"""

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from seglib.labels import VOID_COLOUR

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")  # Okabe and Ito's, told apart by colour-blind readers
BLUE, ORANGE, *_ = COLOURS
MARKS = ("o", "s", "^", "D", "v")
ERROR_COLOUR = (200, 0, 0)  # darker than the greys of an error map, so that it does not need to be seen as red


def show_pairs(pairs, labels):
    """Rows of image, mask, and the mask laid over the image.

    ``pairs`` is an iterable of ``{"image": (height, width, 3) in 0–255, "mask": (height, width) ids}``; a handful.
    """
    images, masks = zip(*((np.asarray(pair["image"]), np.asarray(pair["mask"])) for pair in pairs), strict=True)
    laid = [overlay(image, mask, labels) for image, mask in zip(images, masks, strict=True)]
    _show_rows({"image": images, "mask": _paint(masks, labels), "overlay": laid}, labels, masks)


def show_overlay(image, mask, labels, alpha=0.55, title=None):
    """One image with its mask laid over it as by :func:`overlay`, a legend of the classes in it, and a title above.

    ``image`` is (height, width, 3) in 0–255, ``mask`` (height, width) ids, ``alpha`` the weight of the colours, 0–1.
    """
    figure, axes = _grid(1, 1, np.shape(mask), width=6)
    show_image(axes[0, 0], overlay(image, mask, labels, alpha))
    axes[0, 0].set_title(title or "")
    add_legend(figure, labels, [mask])


def show_masks(images, masks, labels, titles=None):
    """One row an image: the image, then its masks from several sources.

    ``images`` are (batch, height, width, 3) in 0–255; ``masks`` maps a column's title to (batch, height, width) ids;
    ``titles``, one text a row, stand left of the rows.
    """
    columns = {title: _paint(ids, labels) for title, ids in masks.items()}
    _show_rows({"image": images, **columns}, labels, list(masks.values()), titles)


def show_predictions(images, masks, preds, labels, titles=None):
    """Rows of image, truth, prediction, and their errors: wrong pixels in red on the image in grey, void in light grey.

    ``images`` are (height, width, 3) in 0–255 each, ``masks`` (the truth) and ``preds`` (height, width) ids;
    ``titles``, one text a row, stand left of the rows.
    """
    errors = [_error_map(*row, labels.ignore_id) for row in zip(images, masks, preds, strict=True)]
    truth, found = _paint(masks, labels), _paint(preds, labels)
    columns = {"image": images, "truth": truth, "prediction": found, "errors": errors}
    _show_rows(columns, labels, [*masks, *preds], titles, {"error": ERROR_COLOUR})


def show_worst(images, masks, preds, labels, count=3):
    """The ``count`` images with the largest share of wrong pixels, worst first, drawn by :func:`show_predictions`.

    ``images`` are (height, width, 3) in 0–255 each, ``masks`` (the truth) and ``preds`` (height, width) ids.
    Void pixels do not count.
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
    """The mask's colours laid over the image; void, and a background that is black, show the image alone.

    (height, width, 3) image in 0–255, (height, width) ids, and ``alpha``, the weight of the colours, 0–1: a number, or
    one for each pixel, (height, width) → (height, width, 3) uint8.
    """
    image, mask = _to_uint8(image), np.asarray(mask)
    colours = labels.to_rgb(mask)
    weight = np.where((mask == labels.ignore_id) | ~colours.any(-1), 0, alpha)[..., None]
    return _to_uint8((1 - weight) * image + weight * colours)


def add_legend(figure, labels, masks, others=None):
    """A legend below a matplotlib figure: a patch for each class (and void) that occurs in ``masks``, arrays of ids.

    ``others`` maps the names of further entries to their colours, ``(red, green, blue)`` in 0–255.
    """
    ids = np.unique(np.concatenate([np.unique(mask) for mask in masks]))
    entries = [(labels.names[i], labels.colours[i]) for i in ids if i < labels.num_classes]
    if labels.ignore_id in ids:
        entries.append(("void", labels.void_colour))
    entries += (others or {}).items()
    patches = [Patch(facecolor=np.array(c) / 255, edgecolor="black", linewidth=0.5, label=n) for n, c in entries]
    rows = math.ceil(len(patches) * 1.1 / figure.get_figwidth())  # an entry takes about 1.1 inches
    columns = math.ceil(len(patches) / rows)
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, frameon=False)


def show_history(history):
    """Training and validation loss, and the validation mIoU with its best epoch marked, over the epochs.

    ``history`` is the ``history.history`` of ``model.fit``: lists under ``loss``, ``val_loss`` and ``val_miou``.
    """
    left, right = _axes(2, (9, 3))
    epochs, scores = np.arange(1, len(history["loss"]) + 1), history["val_miou"]
    best = int(np.argmax(scores))
    left.plot(epochs, history["loss"], color=BLUE, label="training")
    left.plot(epochs, history["val_loss"], color=ORANGE, linestyle="--", label="validation")
    right.plot(epochs, scores, color=ORANGE, linestyle="--", label="validation")
    right.plot(best + 1, scores[best], "o", color="black", label=f"best: epoch {best + 1}")
    left.set(xlabel="epoch", ylabel="loss")
    right.set(xlabel="epoch", ylabel="mean IoU", ylim=(0, 1))
    left.legend(frameon=False)
    right.legend(frameon=False, loc="lower right")


def show_class_shares(pixels, labels):
    """Each class's share of the labelled ``pixels``, (num_classes,) counts, as bars with the number beside each."""
    shares = pixels / max(pixels.sum(), 1)
    (axis,) = _axes(1, (6, 0.9 + 0.3 * labels.num_classes))
    axis.set_yticks(range(labels.num_classes), labels.names)
    axis.set_xlabel("share of the labelled pixels (%)")
    axis.invert_yaxis()
    colours = np.array(labels.colours) / 255
    bars = axis.barh(range(len(shares)), 100 * shares, color=colours, edgecolor="black", linewidth=0.5)
    axis.bar_label(bars, [f" {share:.1%}" for share in shares], fontsize=8)
    axis.set_xlim(0, 115 * max(shares.max(), 0.01))


def _show_rows(columns, labels, masks, titles=None, others=None):
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
    add_legend(figure, labels, masks, others)


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
    """(height, width, 3) uint8: the image in greys of 100–200, wrong pixels red, void pixels lighter than both."""
    mask, grey = np.asarray(mask), _to_uint8(image).mean(-1, keepdims=True)
    picture = np.repeat(100 + grey * (100 / 255), 3, axis=-1)
    picture[mask != pred] = ERROR_COLOUR
    picture[mask == ignore_id] = VOID_COLOUR
    return _to_uint8(picture)


def _to_uint8(image):
    return np.clip(np.round(np.asarray(image, np.float64)), 0, 255).astype(np.uint8)


def _axes(columns, size):
    _, axes = plt.subplots(1, columns, figsize=size, layout="constrained", squeeze=False)
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
    return axes[0]
