"""The doctor's report: what was found, in which files, and what to do about it, as text and as a figure."""

import math
import os
from collections import Counter
from dataclasses import dataclass, field
from textwrap import fill, wrap

import matplotlib.pyplot as plt
import numpy as np

from seglib.data.dataset import SPLITS
from seglib.doctor.facts import sum_pixels
from seglib.images import read_image, read_values
from seglib.viz import overlay

COLOURS = {"error": "#D55E00", "warning": "#0072B2", "note": "#555555"}  # worst first; told apart by all readers
MARKS = {"train": "o", "val": "s", "test": "^"}
WIDTH = 110  # of the text, in characters
MAX_FILES = 5  # of a finding that the text names; ``Finding.files`` names all
MAX_SHOWN = 6  # findings in the figure
ZOOM = (32, 48)  # height and width in pixels of the window that shows values in between
MAX_BARS = 24  # classes in the figure, the largest of many


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: its name, such as ``"interpolated masks"``.
        severity: ``"error"``: these pairs cannot be used; ``"warning"``: probably wrong; ``"note"``: worth knowing.
        files: all paths concerned (of pairs that lie in no file, names such as ``"streets/tiny train[17]"``).
        what: what was seen, in a sentence.
        do: what to do about it.
        details: of some files, what was seen in them.
    """

    kind: str
    severity: str
    files: tuple[str, ...]
    what: str
    do: str
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What :func:`seglib.doctor.check` found; ``print`` it, or ``show()`` it as a figure.

    Attributes:
        dataset: the :class:`~seglib.data.Dataset`.
        pairs: the :class:`~seglib.doctor.facts.PairFacts` of all its pairs.
        findings: a tuple of :class:`Finding`: errors first, then warnings, then notes.
    """

    dataset: object = field(repr=False)
    pairs: list = field(repr=False)
    findings: tuple[Finding, ...]

    @property
    def class_pixels(self):
        """Per split (num_classes,) int64: pixels of each class in the masks that could be read."""
        count, there = self.dataset.labels.num_classes, {pair.split for pair in self.pairs}
        return {split: sum_pixels(self.pairs, split)[:count] for split in SPLITS if split in there}

    @property
    def void_share(self):
        """Share of the pixels that is void, 0–1."""
        pixels = sum_pixels(self.pairs)
        return pixels[self.dataset.labels.ignore_id] / max(pixels.sum(), 1)

    @property
    def clean(self):
        """Whether there is no error and no warning; notes do not count."""
        return all(finding.severity == "note" for finding in self.findings)

    def of_kind(self, kind):
        """The findings of one kind: a list of one or none."""
        return [finding for finding in self.findings if finding.kind == kind]

    def verdict(self):
        """``"clean: no errors, no warnings"``, or how many there are of each severity."""
        found = Counter(finding.severity for finding in self.findings)
        told = ["clean: no errors, no warnings"] if self.clean else []
        return ", ".join(told + [f"{found[s]} {s}{'s' * (found[s] > 1)}" for s in COLOURS if found[s]])

    def __str__(self):
        files = [file for finding in self.findings for file in finding.files]
        in_files = files and all(os.path.isabs(file) or os.path.exists(file) for file in files)
        root = os.path.commonpath([os.path.dirname(file) for file in files]) if in_files else ""
        blocks = [self._head(root), self._table(), *(_tell(finding, root) for finding in self.findings)]
        return "\n\n".join("\n".join(lines) for lines in blocks)

    def _head(self, root):
        splits = Counter(pair.split for pair in self.pairs)
        sizes = Counter("{}×{}".format(*pair.size) for pair in self.pairs if pair.size)
        forms = Counter(pair.form for pair in self.pairs if pair.mask_size)
        sizes, forms = (
            ", ".join(f"{key} ({n})" for key, n in c.most_common(4)) or "unreadable" for c in (sizes, forms)
        )
        lines = [
            f"{self.dataset.name}: {self.verdict()}",
            f"  pairs  {len(self.pairs)}: " + " · ".join(f"{split} {n}" for split, n in splits.items()),
            f"  sizes  {sizes}, height×width",
            f"  masks  {forms}; {self.void_share:.1%} of the pixels void",
        ]
        return lines + ([f"  files  below {root}"] if root else [])

    def _table(self):
        """A line a class: its id, name, pixels, share of the labelled pixels, and the same per split."""
        total, own = sum(self.class_pixels.values()), self.class_pixels
        columns = {"share": total, **(own if len(own) > 1 else {})}
        width = max(map(len, (*self.dataset.labels.names, "class")))
        lines = [f"  id  {'class':<{width}}  {'pixels':>15}" + "".join(f"{title:>10}" for title in columns)]
        for i, name in enumerate(self.dataset.labels.names):
            shares = "".join(f"{_percent(column[i] / max(column.sum(), 1)):>10}" for column in columns.values())
            lines.append(f"  {i:>2}  {name:<{width}}  {total[i]:>15,}{shares}")
        return lines

    def show(self):
        """Draws one figure: each class's share of the labelled pixels, and an example of each of the worst findings.

        The bars, in the colours of the classes, are the legend of the masks; a mark a split shows where splits differ.
        """
        shown = [finding for finding in self.findings if finding.files][:MAX_SHOWN]
        rows, columns = math.ceil(len(shown) / 2), min(len(shown), 2)
        bars = min(self.dataset.labels.num_classes, MAX_BARS) + 1
        size = (5 + 3.4 * columns, max(1.1 + 0.28 * bars, 0.5 + 1.55 * rows))
        figure = plt.figure(figsize=size, layout="constrained")
        figure.suptitle(f"{self.dataset.name}: {self.verdict()}", x=0.01, ha="left", fontsize=11)
        left, *right = figure.subfigures(1, 2, width_ratios=(5, 3.4 * columns)) if shown else [figure]
        self._draw_shares(left.subplots())
        if shown:
            axes = right[0].subplots(rows, 2 * columns, squeeze=False)
            for axis in axes.flat:
                axis.set_axis_off()
            for finding, two in zip(shown, axes.reshape(-1, 2), strict=False):
                self._draw_example(finding, two)
            more = len(self.findings) - len(shown)
            right[0].supxlabel(f"and {more} more: print(report)" if more else " ", x=0.01, ha="left", fontsize=9)

    def _draw_shares(self, axis):
        labels, total = self.dataset.labels, sum(self.class_pixels.values())
        shown = sorted(np.argsort(-total, kind="stable")[:MAX_BARS])
        shares = np.append(total[shown] / max(total.sum(), 1), self.void_share)
        colours = np.array([*(labels.colours[i] for i in shown), labels.void_colour]) / 255
        places = np.arange(len(shares))
        bars = axis.barh(places, 100 * shares, color=colours, edgecolor="black", linewidth=0.5, height=0.72)
        bars[-1].set_hatch("///")
        names = [*(labels.names[i] for i in shown), "void, of all pixels"]
        told = [
            f"{name}  {_percent(share)}" if share else f"{name}  absent"
            for name, share in zip(names, shares, strict=True)
        ]
        axis.set_yticks(places, told, fontsize=9)
        for split, pixels in self.class_pixels.items():
            own = 100 * pixels[shown] / max(pixels.sum(), 1)
            axis.plot(own, places[:-1], MARKS[split], markersize=4, mfc="white", color="black", label=split)
        axis.legend(frameon=False, fontsize=8)
        axis.set(xlim=(0, None), xlabel="share of the labelled pixels (%)")
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)

    def _draw_example(self, finding, axes):
        """The first file of a finding with its partner: the finding above, the file's name below."""
        images, caption = self._find_example(finding)
        for axis, image in zip(axes, images, strict=True):
            if image is None:
                axis.text(0.5, 0.5, "cannot be read", ha="center", va="center", fontsize=8)
                axis.add_patch(plt.Rectangle((0, 0), 1, 1, fill=False, hatch="//", edgecolor="0.8"))
                axis.set_box_aspect(2 / 3)
            else:
                axis.imshow(image, cmap="gray", interpolation="nearest" if len(image) <= 128 else "auto")
            axis.set_anchor("NW")
        title = f"{finding.severity}: {finding.kind}"
        axes[0].set_title(title, loc="left", fontsize=9, color=COLOURS[finding.severity], weight="bold")
        below = axes[0].text(0, -0.03, fill(caption, 48), transform=axes[0].transAxes, va="top", fontsize=7.5)
        below.set_in_layout(False)  # it runs on below the right image

    def _find_example(self, finding):
        """Two images (or None where one cannot be read) that show a finding, and a caption."""
        of = {file: pair for pair in self.pairs for file in (pair.image, pair.mask)}
        pairs = list({id(of[file]): of[file] for file in finding.files if file in of}.values())
        if not pairs:  # files without a partner
            return (None, None), os.path.basename(finding.files[0])
        image, mask, ids = self._read(pairs[0])
        shown, more = os.path.basename(finding.files[0]), len(finding.files) - 1
        if "splits" in finding.kind:
            shown, more = f"{shown} and {os.path.basename(finding.files[1])}", more - 1
            mask = self._read(pairs[1])[0]
        elif finding.kind == "one picture, two masks":
            image, mask = mask, self._read(pairs[1])[1]
        elif finding.kind in ("shifted masks", "flipped masks", "masks of other images"):
            mask = overlay(image, ids, self.dataset.labels)
        elif finding.kind in ("interpolated masks", "lossy masks"):
            window = _find_busiest(ids)
            image, mask = image[window] if image is not None else None, mask[window]
            shown += f", {ZOOM[0]}×{ZOOM[1]} pixels of it"
        return (image, mask), f"{shown}, and {more} more file{'s' * (more > 1)}" if more else shown

    def _read(self, pair):
        """``(image, mask to show, ids or values of the mask)``, None for what cannot be read."""
        if files := self.dataset.files.get(pair.split):
            image = None if pair.image_error else read_image(pair.image)
            if not pair.readable:
                return image, None, None
            values = read_values(pair.mask).pixels if pair.mask_error else self.dataset.read_mask(files[pair.index][1])
        else:
            found = next(self.dataset.split(pair.split).skip(pair.index).take(1).as_numpy_iterator())
            image, values = found["image"], found["mask"]
        return image, values if pair.mask_error else self.dataset.labels.to_rgb(values), values


def _find_busiest(mask):
    """The window of the size ``ZOOM`` in which most pixels differ from their neighbour."""
    height, width = ZOOM
    edges = np.atleast_3d(mask[:-1, :-1] != mask[1:, 1:]).any(-1)
    corners = [(y, x) for y in range(0, len(edges), height // 2) for x in range(0, len(edges[0]), width // 2)]
    y, x = max(corners, key=lambda at: edges[at[0] : at[0] + height, at[1] : at[1] + width].sum())
    return slice(y, y + height), slice(x, x + width)


def _tell(finding, root):
    """A finding as lines of text."""
    told = [f"{file}: {detail}" for file, detail in finding.details.items()] or list(finding.files)
    told = [text.replace(root + os.sep, "") if root else text for text in told]
    more = [f"and {len(told) - MAX_FILES} more"] if len(told) > MAX_FILES else []
    lines = [f"{finding.severity}: {finding.kind}", *_wrap(finding.what)]
    return lines + [line for text in told[:MAX_FILES] + more for line in _wrap(text, "    ")] + _wrap(f"→ {finding.do}")


def _wrap(text, indent="  "):
    return wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False)


def _percent(share):
    return "–" if share == 0 else "< 0.01%" if share < 0.0001 else f"{share:.2%}" if share < 0.01 else f"{share:.1%}"
