"""Diagrams of the lessons: small masks, scores, calibration, confusion, steps, networks, receptive fields, clicks.

Each ``show_…`` draws a new matplotlib figure, which a notebook shows at the end of the cell.
"""

import math
from itertools import cycle, pairwise

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from seglib.viz import BLUE, COLOURS, MARKS, ORANGE, add_legend

DASHES = ("-", "--", "-.", ":")


def show_ids(masks, labels):
    """Masks of a few pixels, side by side, the id written into each; ``masks`` maps titles to (height, width) ids.

    ``labels`` is the :class:`~seglib.labels.LabelMap` whose colours they have.
    """
    arrays = [np.asarray(mask) for mask in masks.values()]
    rows, columns = arrays[0].shape
    size = 2.6 * len(arrays), 2.6 * rows / columns + 0.7
    figure, axes = plt.subplots(1, len(arrays), figsize=size, squeeze=False, layout="constrained")
    for axis, title, mask in zip(axes[0], masks, arrays, strict=True):
        picture = labels.to_rgb(mask)
        axis.imshow(picture, interpolation="nearest")
        axis.set_title(title, fontsize=10)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        for (row, column), i in np.ndenumerate(mask):
            colour = "black" if picture[row, column] @ (0.3, 0.6, 0.1) > 120 else "white"
            axis.text(column, row, i, ha="center", va="center", color=colour, fontsize=min(12, 72 / rows))
    add_legend(figure, labels, arrays)


def show_intervals(scores, xlabel, title=None):
    """Scores with their intervals: a tick on a bar each, with the numbers at the right, and a legend.

    ``scores`` maps what is scored to ``(score, low, high)``; ``xlabel`` says what they are; ``title`` stands above.
    """
    _, axis = plt.subplots(figsize=(7, 0.9 + 0.35 * len(scores)), layout="constrained")
    for row, (score, low, high) in enumerate(scores.values()):
        axis.plot([low, high], [row, row], color=BLUE, linewidth=6, solid_capstyle="butt", label="its interval")
        axis.plot(score, row, "|", color=ORANGE, markersize=14, markeredgewidth=2, label="score")
        text = f"{score:.3f}   {low:.3f} – {high:.3f}"
        axis.text(1.02, row, text, va="center", fontsize=9, transform=axis.get_yaxis_transform())
    axis.set_yticks(range(len(scores)), list(scores))
    axis.set(xlabel=xlabel, ylim=(len(scores) - 0.5, -0.5))  # the first at the top
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", color="0.9")
    axis.figure.suptitle(title, fontsize=11)
    axis.figure.legend(handles=axis.lines[1::-1], loc="outside lower center", ncols=2, frameon=False)


def show_seeds(scores, xlabel):
    """Scores of several models, each trained with several seeds: a dot a seed, a line at their mean.

    ``scores`` maps a model's name to its scores, one a seed; ``xlabel`` says what they are.
    """
    _, axis = plt.subplots(figsize=(6, 0.9 + 0.35 * len(scores)), layout="constrained")
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_yticks(range(len(scores)), list(scores))
    axis.set_xlabel(xlabel)
    axis.invert_yaxis()
    for row, values in enumerate(scores.values()):
        axis.plot(values, [row] * len(values), "o", color=BLUE, alpha=0.7, label="one seed")
        axis.plot([np.mean(values)] * 2, [row - 0.3, row + 0.3], color=ORANGE, linewidth=2, label="mean")
    axis.legend(handles=axis.lines[:2], frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def show_calibration(found):
    """A reliability diagram: accuracy by confidence (calibrated networks are on the diagonal), and a histogram.

    ``found`` maps a network's name to what :func:`seglib.metrics.calibration` returns for it.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    left.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="perfectly calibrated")
    for (name, bins), colour, mark in zip(found.items(), COLOURS, MARKS, strict=False):
        style = {"color": colour, "marker": mark, "markersize": 4, "label": name}
        left.plot(bins.confidence, bins.accuracy, **style)
        right.plot(bins.confidence, bins.pixels / max(bins.pixels.sum(), 1), **style)
    left.set(title="Reliability diagram", xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    right.set(title="Share of the pixels by confidence (log scale)", xlabel="confidence", ylabel="share of the pixels")
    right.set(xlim=(0, 1), yscale="log")
    left.legend(frameon=False)


def show_confusion(matrix, labels):
    """The confusion matrix, each row in percent of the true class: the diagonal is the recall of each class.

    ``matrix`` holds (num_classes, num_classes) pixel counts, row: truth, column: prediction.
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


def show_steps(steps):
    """A diagram of steps: a box for each, joined by arrows; :func:`show_network` with the steps in one row.

    ``steps`` maps what a box says to what stands below it, such as the shape of what comes out.
    """
    boxes = {step: (place, 0, below) for place, (step, below) in enumerate(steps.items())}
    show_network(boxes, [(*pair, "") for pair in pairwise(steps)])


def show_network(boxes, arrows, rows=()):
    """A diagram of a network: a box for each tensor, an arrow for each operation, and a legend of the operations.

    The height of a box goes with the square root of the tensor's height, and its width with that of the channels.

    Args:
        boxes: mapping from a name, which stands above the box, to ``(column, row, shape)``. Row 0 is at the top, and
            columns may be fractions. ``shape`` is ``(height, width, channels)``, which stands below the box; or a text
            to stand there, and then the name stands in the box.
        arrows: a list of ``(name, name, operation)``, from the right side of the first box to the left side of the
            second. Each operation has its own colour and dashes; that of ``""`` is a black line and has no name.
        rows: a text at the left of each row, such as its stride.
    """
    columns, places, shapes = zip(*boxes.values(), strict=True)
    kinds = zip(dict.fromkeys(kind for *_, kind in arrows if kind), cycle(COLOURS), cycle(DASHES), strict=False)
    styles = {kind: {"color": colour, "linestyle": dashes} for kind, colour, dashes in kinds}
    size = 1.7 * max(columns) + 1.7, 1.25 * max(places) + 1.1 + 0.12 * len(styles)
    _, axis = plt.subplots(figsize=size, layout="constrained")
    axis.set(xlim=(-0.5, max(columns) + 0.5), ylim=(max(places) + 0.9, -0.5), xticks=[])
    axis.set_yticks(range(len(rows)), rows)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    largest = np.max([(1, 1, 1), *(shape for shape in shapes if not isinstance(shape, str))], axis=0)
    clear = {"ha": "center", "zorder": 4, "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1}}  # over arrows
    below, sides = {**clear, "va": "top", "color": "0.3", "fontsize": 8}, {}
    for name, (column, row, shape) in boxes.items():
        if isinstance(shape, str):
            style = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": BLUE}
            box = axis.text(column, row, name, ha="center", va="center", bbox=style)
            axis.text(column, row + 0.45, shape, **below)
            sides[name] = 0, box.get_bbox_patch()
        else:
            height, _, width = np.sqrt(shape / largest) * (0.5, 0, 0.5)
            top, bottom, sides[name] = row - height / 2, row + height / 2, (width / 2, None)
            axis.add_patch(Rectangle((column - width / 2, top), width, height, facecolor="0.85", edgecolor="black"))
            axis.text(column, top - 0.04, name, va="bottom", fontsize=9, **clear)
            axis.text(column, bottom + 0.04, "×".join(map(str, shape)), **below)
    for start, end, kind in arrows:
        (x, y, _), (half, patch) = boxes[start], sides[start]
        (to_x, to_y, _), (to_half, to_patch) = boxes[end], sides[end]
        style = {"arrowstyle": "-|>", "patchA": patch, "patchB": to_patch, **styles.get(kind, {"color": "black"})}
        axis.annotate("", (to_x - to_half, to_y), (x + half, y), arrowprops=style)
    handles = [plt.Line2D([], [], label=kind, **style) for kind, style in styles.items()]
    axis.figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)


def show_deeplab(network):
    """The diagram of the DeepLabV3+ that lesson 05 builds: its tensors for one image, and the operations between them.

    The tensors at stride 4 are in two rows, and the five branches of the pyramid around the row of stride 8.
    """
    encoder, branches, mixed, merged, scores = map(
        network.get_layer, ("encoder", "branches", "pyramid", "merged", "scores")
    )
    low, deep = encoder.compute_output_shape(network.input_shape)
    names = "1×1", "rate 1", "rate 2", "rate 4", "mean"
    places = {"image": (0, 0, network.input_shape), "low-level": (0.65, 1, low), "encoder": (1.25, 4, deep)}
    pairs = zip(names, branches.input, strict=True)
    places |= {name: (2.05, 2.9 + 0.55 * i, x.shape) for i, (name, x) in enumerate(pairs)}
    places |= {"branches": (2.85, 4, branches.output.shape), "pyramid": (3.55, 4, mixed.output.shape)}
    places |= {"48 channels": (2.85, 1, merged.input[1].shape), "upsampled": (4.1, 2, merged.input[0].shape)}
    places |= {"merged": (4.7, 1, merged.output.shape), "decoder": (5.35, 1, scores.input.shape)}
    places |= {"scores": (5.95, 1, scores.output.shape), "logits": (6.45, 0, network.output_shape)}
    boxes = {name: (column, row, shape[1:]) for name, (column, row, shape) in places.items()}

    backbone, one, joined, larger = "MobileNetV2", "1×1 convolution", "concatenation", "bilinear upsampling"
    pooled = "global average pooling, 1×1 convolution, upsampling"
    arrows = [("image", "low-level", backbone), ("low-level", "encoder", backbone), ("encoder", "1×1", one)]
    arrows += [("encoder", f"rate {rate}", "3×3 atrous convolution") for rate in (1, 2, 4)]
    arrows += [("encoder", "mean", pooled), ("branches", "pyramid", one), ("low-level", "48 channels", one)]
    arrows += [(name, "branches", joined) for name in names]
    arrows += [("pyramid", "upsampled", larger), ("upsampled", "merged", joined), ("48 channels", "merged", joined)]
    arrows += [("merged", "decoder", "two 3×3 convolutions"), ("decoder", "scores", one), ("scores", "logits", larger)]
    show_network(boxes, arrows, ["stride 1", "stride 4", "stride 4", "", "stride 8"])


def show_receptive_field(stack):
    """How many pixels of a row of the image one value depends on: a row of squares for each layer of a stack.

    The value at the top and all values that it depends on are blue; their number stands at the right. ``stack`` is a
    list of ``(name, kernel, stride)``, the layer that reads the image first; padded to keep the size.
    """
    rows = [("image", 1, 0.0)]  # of each row: its name, the distance of two of its values, and the place of value 0
    for name, kernel, stride in stack:
        _, step, start = rows[-1]
        rows.append((name, step * stride, start + step * ((kernel - 1) / 2 - (kernel - 1) // 2)))
    spans = [(0, 0)]  # of each row: the first and the last value that the one at the top depends on
    for _, kernel, stride in reversed(stack):
        low, high = (value * stride - (kernel - 1) // 2 for value in spans[0])
        spans.insert(0, (low, high + kernel - 1))
    _, axis = plt.subplots(figsize=(9, 0.55 * len(rows) + 0.2), layout="constrained")
    left, right = spans[0][0] - 3, spans[0][1] + 3
    for row, ((_, step, start), (low, high)) in enumerate(zip(rows, spans, strict=True)):
        values = np.arange(math.ceil((left - start) / step), math.floor((right - start) / step) + 1)
        colours = [BLUE if low <= value <= high else "0.88" for value in values]
        axis.bar(start + values * step, 0.4, 0.8 * step, row - 0.2, color=colours)
        if row:  # lines from each blue value to the first and the last value that it is computed from
            (_, kernel, stride), (_, below, offset) = stack[row - 1], rows[row - 1]
            used = np.arange(low, high + 1)
            first = offset + below * (used * stride - (kernel - 1) // 2)
            ends = [first, start + used * step, first + below * (kernel - 1)]
            axis.plot(ends, [row - 0.8, row - 0.2, row - 0.8], color="0.6", linewidth=0.8)
        unit = "pixels" if row == 0 else "values" if high > low else "value"
        axis.text(right + 1.5, row, f"{high - low + 1} {unit}", va="center")
    axis.set(xlim=(left - 0.6, right + 5), ylim=(-0.4, len(rows) - 0.6), xticks=[])
    axis.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def show_promptable(size, clicks):
    """The diagram of lesson 11's network for an image of ``size`` × ``size`` pixels and one prompt of ``clicks``."""
    half = size // 2
    boxes = {
        "image": (0, 1, (size, size, 3)),
        "features": (1.4, 1, (half, half, 32)),
        "similarities": (2.3, 2, (half, half, 6)),
        "clicks": (0, 3, (1, clicks, 3)),
        "Gaussians": (2.3, 3, (half, half, 4)),
        "concatenated": (3.3, 1, (half, half, 42)),
        "mixed": (4.3, 1, (half, half, 24)),
        "logits": (5.4, 1, (size, size, 3)),
        "estimated IoUs": (5.4, 0, (1, 1, 3)),
    }
    clicked, joined = "which pixels are clicked", "concatenation"
    arrows = [
        ("image", "features", "encoder, once per image"),
        ("features", "similarities", "1×1 convolution: offsets"),
    ]
    arrows += [
        ("clicks", "similarities", clicked),
        ("clicks", "Gaussians", clicked),
        ("features", "concatenated", joined),
    ]
    arrows += [("similarities", "concatenated", joined), ("Gaussians", "concatenated", joined)]
    arrows += [("concatenated", "mixed", "1×1 and 3×3 convolutions"), ("mixed", "logits", "transposed convolution")]
    show_network(boxes, [*arrows, ("mixed", "estimated IoUs", "averages, dense layers")])


def draw_prompt(axis, image, clicks, contours=()):
    """An image with its clicks, a plus inside and a cross outside, and contours of masks.

    Args:
        axis: the matplotlib axis that it is drawn on.
        image: (height, width, 3), 0 to 255.
        clicks: a list of (row, column, sign), with a sign above 0 for a click inside.
        contours: a list of (mask, colour), a mask being (height, width) bool; one that is empty is left out.
    """
    axis.imshow(np.asarray(image).astype("uint8"))
    for mask, colour in contours:
        if mask.any():
            axis.contour(mask, [0.5], colors=[colour], linewidths=1.5)
    for row, column, sign in clicks:
        marker, colour = ("P", BLUE) if sign > 0 else ("X", ORANGE)
        axis.plot(column, row, marker, color=colour, markersize=8, markeredgecolor="white")
    axis.set(xticks=[], yticks=[])


def show_cells(image, truths, masks, clicks, titles, reach=20):
    """Eight cells of an image, ``reach`` pixels around each: a click, the true contour, and that of the answer.

    ``truths`` and ``masks`` are (8, height, width) bool, ``clicks`` (8, 3), and ``titles`` eight texts.
    """
    figure, axes = plt.subplots(2, 4, figsize=(11, 6), layout="constrained")
    for axis, truth, mask, click, title in zip(axes.flat, truths, masks, clicks, titles, strict=True):
        draw_prompt(axis, image, [click], [(truth, "white"), (mask, ORANGE)])
        row, column = np.argwhere(truth).mean(axis=0)
        axis.set(xlim=(column - reach, column + reach), ylim=(row + reach, row - reach), title=title, facecolor="0.6")
    lines = [plt.Line2D([], [], color=colour, label=name) for name, colour in (("truth", "white"), ("answer", ORANGE))]
    figure.legend(handles=lines, loc="outside lower center", ncols=2, facecolor="0.6")


def show_click_maps(image, click, maps):
    """An image with a click, and maps of values from 0 to 1; ``maps`` maps titles to (height, width) arrays."""
    figure, axes = plt.subplots(1, 1 + len(maps), figsize=(12, 3), layout="constrained")
    draw_prompt(axes[0], image, [click])
    axes[0].set_title("click")
    for axis, (title, values) in zip(axes[1:], maps.items(), strict=True):
        drawn = axis.imshow(values, cmap="cividis", vmin=0, vmax=1)
        axis.set(title=title, xticks=[], yticks=[])
    figure.colorbar(drawn, ax=axes, label="0 far, 1 as clicked", shrink=0.8)


def show_rounds(table, rounds):
    """Mean IoU over the number of clicks, a line for each network; the band is the range of its seeds.

    ``table`` maps a network to its columns, of which ``iou1`` has the seeds' mean IoUs after one click, and so on;
    ``rounds`` are the numbers of clicks that are shown.
    """
    _, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for (name, columns), colour, mark in zip(table.items(), COLOURS, MARKS, strict=False):
        each = np.array([columns[f"iou{number}"] for number in rounds])
        axis.plot(rounds, each.mean(axis=1), color=colour, marker=mark, label=name)
        axis.fill_between(rounds, each.min(axis=1), each.max(axis=1), color=colour, alpha=0.2, linewidth=0)
    axis.set(xlabel="clicks (the band: lowest and highest seed)", ylabel="mean IoU", xticks=range(1, max(rounds) + 1))
    axis.legend(frameon=False, loc="lower right")


def show_estimates(estimates, ious, least=10):
    """Mean true IoU over the estimated one, in ten bins; a bin with fewer than ``least`` objects is left out.

    ``estimates`` and ``ious`` are (objects,), from 0 to 1. The number of objects stands beside each point.
    """
    bins = np.clip((10 * estimates).astype(int), 0, 9)
    filled = [i for i in range(10) if (bins == i).sum() >= least]
    means = [[values[bins == i].mean() for i in filled] for values in (estimates, ious)]
    _, axis = plt.subplots(figsize=(4.5, 4), layout="constrained")
    axis.plot([0, 1], [0, 1], "--", color="0.5", label="calibrated")
    axis.plot(*means, "o-", color=BLUE, label="cells, one click")
    for x, y, i in zip(*means, filled, strict=True):
        axis.annotate(f"{(bins == i).sum()}", (x, y), xytext=(6, -10), textcoords="offset points", fontsize=8)
    axis.set(xlabel="estimated IoU (with numbers of cells)", ylabel="mean true IoU", xlim=(0, 1), ylim=(0, 1))
    axis.legend()


def show_magnitudes(columns):
    """Bars of numbers that differ by orders of magnitude; ``columns`` maps each system to {what: number}."""
    figure, axis = plt.subplots(figsize=(8, 3), layout="constrained")
    for shift, ((name, numbers), colour) in enumerate(zip(columns.items(), COLOURS, strict=False)):
        bars = axis.barh(np.arange(len(numbers)) + 0.4 * shift, numbers.values(), 0.4, color=colour, label=name)
        axis.bar_label(bars, [f"{number:,.0f}" for number in numbers.values()], padding=3, fontsize=8)
    axis.set_yticks(np.arange(len(numbers)) + 0.2, numbers)
    largest = max(max(numbers.values()) for numbers in columns.values())
    axis.set(xscale="log", xlabel="number (logarithmic)", xlim=(10, 300 * largest))
    axis.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=len(columns), frameon=False)
