"""The mask doctor's report as one figure."""

import math
import textwrap

import matplotlib.pyplot as plt
import numpy as np

SEVERITY_COLOURS = {"error": "#D55E00", "warning": "#0072B2", "note": "#555555"}
SPLIT_MARKS = {"train": "o", "val": "s", "test": "^"}
MOST_BARS = 24  # classes that are drawn, the largest of many


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
            axis.plot(
                own, places[:-1], SPLIT_MARKS[split], markersize=4, markerfacecolor="white", color="black", label=split
            )
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
