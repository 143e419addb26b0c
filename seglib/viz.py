"""Figures: masks are always shown in the colours of their label map, with a legend, and never interpolated.

Every function draws a new matplotlib figure, which a notebook shows at the end of the cell.
"""

import math
import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from seglib.labels import VOID_COLOUR

WRONG = (0, 0, 0)  # the palette has no black, and the photograph is faded
SEVERITY_COLOURS = {"error": "#D55E00", "warning": "#0072B2", "note": "#555555"}
MARKS = {"train": "o", "val": "s", "test": "^"}
MOST_BARS = 24  # classes that show_report draws, the largest of many


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


def show_history(history, best=None):
    """Losses and validation mIoU over the epochs.

    Args:
        history: ``history.history`` of ``model.fit``: lists under ``loss``, ``val_loss`` and ``val_miou``.
        best: the epoch (counted from 1) to mark; by default that of the highest ``val_miou``.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    epochs = np.arange(1, len(history["loss"]) + 1)
    left.plot(epochs, history["loss"], color="#0072B2", label="training")
    left.plot(epochs, history["val_loss"], color="#D55E00", linestyle="--", label="validation")
    left.set(xlabel="epoch", ylabel="loss")
    left.legend(frameon=False)
    best = best or int(np.argmax(history["val_miou"])) + 1
    right.plot(epochs, history["val_miou"], color="#D55E00", linestyle="--", label="validation")
    right.plot(best, history["val_miou"][best - 1], "o", color="#000000", label=f"best: epoch {best}")
    right.set(xlabel="epoch", ylabel="mean IoU", ylim=(0, 1))
    right.legend(frameon=False, loc="lower right")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)


def show_confusion(matrix, labels):
    """The confusion matrix, each row in percent of the true class: the diagonal is the recall of each class.

    Args:
        matrix: (num_classes, num_classes) pixel counts, row: truth, column: prediction.
    """
    shares = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = 1.6 + 0.55 * labels.num_classes
    figure, axis = plt.subplots(figsize=(side + 1, side), layout="constrained")
    drawn = axis.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.5:
            colour = "white" if share > 50 else "black"
            axis.text(column, row, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=8)
    ticks = range(labels.num_classes)
    axis.set_xticks(ticks, labels.names, rotation=45, ha="right")
    axis.set_yticks(ticks, labels.names)
    axis.set(xlabel="predicted class", ylabel="true class")
    figure.colorbar(drawn, label="share of the true class (%)", shrink=0.8)


def show_seeds(scores, xlabel):
    """Scores of several models, each trained with several seeds: a dot a seed, a line at their mean.

    Args:
        scores: mapping from a model's name to its scores, one a seed.
        xlabel: what the scores are.
    """
    figure, axis = plt.subplots(figsize=(6, 0.9 + 0.35 * len(scores)), layout="constrained")
    for row, values in enumerate(scores.values()):
        first = row == 0
        axis.plot(values, [row] * len(values), "o", color="#0072B2", alpha=0.7, label="one seed" if first else None)
        mean = sum(values) / len(values)
        axis.plot([mean] * 2, [row - 0.3, row + 0.3], color="#D55E00", linewidth=2, label="mean" if first else None)
    axis.set_yticks(range(len(scores)), list(scores))
    axis.set(xlabel=xlabel)
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def show_class_shares(pixels, labels):
    """Each class's share of the labelled pixels as horizontal bars, with the number beside each.

    Args:
        pixels: (num_classes,) pixel counts.
    """
    shares = pixels / max(pixels.sum(), 1)
    figure, axis = plt.subplots(figsize=(6, 0.6 + 0.3 * labels.num_classes), layout="constrained")
    colours = np.array(labels.colours) / 255
    axis.barh(labels.names, 100 * shares, color=colours, edgecolor="black", linewidth=0.5)
    axis.bar_label(axis.containers[0], [f" {share:.1%}" for share in shares], fontsize=8)
    axis.set(xlim=(0, 115 * max(shares.max(), 0.01)), xlabel="share of the labelled pixels (%)")
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)


def show_report(report):
    """The mask doctor's report: each class's share of the labelled pixels, and pictures of the worst findings.

    The bars, in the colours of the label map, are at the same time the legend of the masks; a mark a split shows where
    the splits differ. In masks that cannot be used, what stands for no class is black.

    Args:
        report: a :class:`~seglib.data.doctor.Report`.
    """
    count = len(report.pictures)
    rows, columns = math.ceil(count / 2), min(count, 2)
    classes = min(report.labels.num_classes, MOST_BARS) + 1
    size = (4.5 + 3.4 * columns if count else 5.5, max(1.1 + 0.28 * classes, 0.5 + 1.55 * rows))
    figure = plt.figure(figsize=size, layout="constrained")
    figure.suptitle(f"{report.name}: {report.verdict()}", x=0.01, ha="left", fontsize=11)
    left, *right = figure.subfigures(1, 2, width_ratios=(4.5, 3.4 * columns)) if count else [figure]
    _draw_shares(left.subplots(), report)
    if right:
        axes = right[0].subplots(rows, 2 * columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for picture, pair in zip(report.pictures, axes.reshape(-1, 2), strict=False):
            _draw_finding(*pair, picture)
        more = len(report.findings) - count
        text = f"and {more} more: print(report)" if more else " "  # room for the last captions in either case
        right[0].supxlabel(text, x=0.01, ha="left", fontsize=9)


def _draw_shares(axis, report):
    """Bars for the shares of the classes and of void, and a mark for each split."""
    labels = report.labels
    total = sum(report.class_pixels.values(), np.zeros(labels.num_classes, np.int64))
    shown = sorted(np.argsort(-total, kind="stable")[:MOST_BARS])
    places = np.arange(len(shown) + 1)
    shares = 100 * np.append(total[shown] / max(total.sum(), 1), report.void_share)
    colours = np.array([*(labels.colours[i] for i in shown), labels.void_colour]) / 255
    bars = axis.barh(places, shares, color=colours, edgecolor="black", linewidth=0.5, height=0.72)
    bars[-1].set_hatch("///")
    names = [*(labels.names[i] for i in shown), "void, of all pixels"]
    told = ["absent" if share == 0 else f"{share:.2g}%" if share < 1 else f"{share:.1f}%" for share in shares[:-1]]
    told.append(f"{shares[-1]:.1f}%")
    axis.set_yticks(places, [f"{name}  {text}" for name, text in zip(names, told, strict=True)], fontsize=9)
    for label, text in zip(axis.get_yticklabels(), told, strict=True):
        label.set(**({"color": SEVERITY_COLOURS["error"], "weight": "bold"} if text == "absent" else {}))
    if len(report.class_pixels) > 1:
        for split, pixels in report.class_pixels.items():
            own = 100 * pixels[shown] / max(pixels.sum(), 1)
            axis.plot(own, places[:-1], MARKS[split], markersize=4, markerfacecolor="white", color="black", label=split)
        axis.legend(frameon=False, fontsize=8)
    axis.set(xlim=(0, None), xlabel="share of the labelled pixels (%)")
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)


def _draw_finding(left, right, picture):
    """A pair of pictures, both in frames of 3:2: the finding above, the file below."""
    for axis, image in ((left, picture.left), (right, picture.right)):
        height, width = (2, 3) if image is None else image.shape[:2]
        frame = max(width, 1.5 * height)
        if image is None:
            axis.add_patch(plt.Rectangle((0, 0), 3, 2, fill=False, hatch="//", edgecolor="0.8"))
            axis.text(1.5, 1, "cannot be read", ha="center", va="center", fontsize=8, backgroundcolor="white")
            axis.set_aspect("equal")
        else:
            axis.imshow(image, interpolation="nearest", extent=(0, width, height, 0))
        axis.set(xlim=(0, frame), ylim=(frame / 1.5, 0), anchor="NW")
    severity = picture.finding.severity
    title = f"{severity}: {picture.finding.kind}"
    left.set_title(title, loc="left", fontsize=9, color=SEVERITY_COLOURS[severity], weight="bold")
    below = left.text(0, -0.03, textwrap.fill(picture.caption, 48), transform=left.transAxes, va="top", fontsize=7.5)
    below.set_in_layout(False)  # it runs on below the right picture


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
