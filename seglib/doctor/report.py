"""The doctor's report: what was found, in which files, and what to do about it, as text and as figures."""

import os
from collections import Counter
from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import uniform_filter

from seglib.data.dataset import SPLITS
from seglib.doctor.facts import sum_pixels
from seglib.images import read_image, read_values
from seglib.viz import show_class_shares

COLOURS = {"error": "#D55E00", "warning": "#0072B2", "note": "#555555"}  # worst first; told apart by all readers
MAX_FILES = 5  # of a finding that the text names; ``Finding.files`` names all
MAX_SHOWN = 6  # findings in the figure
ZOOM = (32, 48)  # height and width in pixels of the window that shows values in between


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
    details: dict[str, str]

    def __str__(self):
        told = [f"{file}: {detail}" for file, detail in self.details.items()] or list(self.files)
        more = [f"and {len(told) - MAX_FILES} more"] if len(told) > MAX_FILES else []
        head = f"{self.severity}: {self.kind}\n  {self.what}"
        return "\n    ".join([head, *told[:MAX_FILES], *more]) + f"\n  → {self.do}"


@dataclass(frozen=True)
class Report:
    """What :func:`seglib.doctor.check` found; ``print`` it, or ``show()`` it as figures.

    Attributes:
        dataset: the :class:`~seglib.data.Dataset`.
        pairs: the :class:`~seglib.doctor.facts.PairFacts` of all its pairs.
        findings: a tuple of :class:`Finding`: errors first, then warnings, then notes.
    """

    dataset: object = field(repr=False)
    pairs: list = field(repr=False)
    findings: tuple[Finding, ...]

    @property
    def clean(self):
        """Whether there is no error and no warning; notes do not count."""
        return all(finding.severity == "note" for finding in self.findings)

    def __str__(self):
        found = Counter(finding.severity for finding in self.findings)
        told = ["clean: no errors, no warnings"] if self.clean else []
        told += [f"{count} {severity}{'s' * (count > 1)}" for severity, count in found.items()]
        splits = Counter(pair.split for pair in self.pairs)
        pixels = sum_pixels(self.pairs)
        void = pixels[self.dataset.labels.ignore_id] / max(pixels.sum(), 1)
        sizes = Counter("{}×{}".format(*pair.size) for pair in self.pairs if pair.size)
        forms = Counter(pair.form for pair in self.pairs if pair.mask_size)
        head = (
            f"{self.dataset.name}: {', '.join(told)}\n"
            f"  pairs  {len(self.pairs)}: {_list(splits)}\n"
            f"  sizes  {_list(sizes)}, height×width\n"
            f"  masks  {_list(forms)}; {void:.1%} of the pixels void"
        )
        return "\n\n".join([head, self._table(), *map(str, self.findings)])

    def _table(self):
        """A line a class: its id, name, pixels, share of the labelled pixels, and the same per split."""
        names, splits = self.dataset.labels.names, [split for split in SPLITS if self.dataset.counts.get(split)]
        columns = {split or "share": sum_pixels(self.pairs, split)[: len(names)] for split in (None, *splits)}
        width = max(map(len, (*names, "class")))
        lines = [f"  id  {'class':<{width}}  {'pixels':>15}" + "".join(f"{title:>10}" for title in columns)]
        for i, name in enumerate(names):
            shares = "".join(f"{_percent(pixels[i] / max(pixels.sum(), 1)):>10}" for pixels in columns.values())
            lines.append(f"  {i:>2}  {name:<{width}}  {columns['share'][i]:>15,}{shares}")
        return "\n".join(lines)

    def show(self):
        """Draws two figures: each class's share of the labelled pixels, and two images for each of the worst findings.

        The bars of the first, in the colours of the classes, are the legend of the masks in the second.
        """
        labels = self.dataset.labels
        show_class_shares(sum_pixels(self.pairs)[: labels.num_classes], labels)
        pairs = {file: pair for pair in self.pairs for file in (pair.image, pair.mask)}
        shown = [finding for finding in self.findings if finding.files and finding.files[0] in pairs][:MAX_SHOWN]
        if not shown:
            return
        _, axes = plt.subplots(len(shown), 2, figsize=(6, 2.2 * len(shown)), squeeze=False, layout="constrained")
        for finding, row in zip(shown, axes, strict=True):
            style = {"color": COLOURS[finding.severity], "weight": "bold", "fontsize": 10}
            row[0].set_title(f"{finding.severity}: {finding.kind}", loc="left", **style)
            example = self._find_example(finding, [pairs[file] for file in finding.files])
            for axis, (file, image) in zip(row, example.items(), strict=True):
                axis.set(xticks=[], yticks=[])
                axis.set_xlabel(os.path.basename(file), fontsize=8)
                if image is None:
                    axis.text(0.5, 0.5, "cannot be read", ha="center", va="center", fontsize=8)
                else:
                    axis.imshow(image, cmap="gray", interpolation="nearest" if len(image) <= 128 else "auto")

    def _find_example(self, finding, pairs):
        """Two files that show a finding, with the image to draw of each, None where one cannot be read."""
        (image, mask), left, right = self._read(pairs[0]), pairs[0].image, pairs[0].mask
        if "splits" in finding.kind:
            mask, right = self._read(pairs[1])[0], pairs[1].image
        elif finding.kind == "one image, two masks":
            image, left = mask, right
            mask, right = self._read(pairs[2])[1], pairs[2].mask
        elif finding.kind in ("shifted masks", "flipped masks", "masks of other images"):
            mask = image // 2 + mask // 2
        elif finding.kind in ("interpolated masks", "lossy masks"):
            window = _find_busiest(mask)
            image, mask = image[window] if image is not None else None, mask[window]
        return {left: image, right: mask}

    def _read(self, pair):
        """Image and mask of a pair, to be shown; None for what cannot be read."""
        if not (files := self.dataset.files.get(pair.split)):
            found = next(self.dataset.split(pair.split).skip(pair.index).take(1).as_numpy_iterator())
            image, mask = found["image"], found["mask"]
        else:
            image = None if pair.image_error else read_image(pair.image)
            if pair.mask_size is None:
                return image, None
            mask = read_values(pair.mask).pixels if pair.mask_error else self.dataset.read_mask(files[pair.index][1])
        return image, mask if pair.mask_error else self.dataset.labels.to_rgb(mask)


def _find_busiest(mask):
    """The window of the size ``ZOOM`` in which most pixels differ from their neighbour."""
    edges = np.atleast_3d(mask[:-1, :-1] != mask[1:, 1:]).any(-1)
    y, x = np.unravel_index(np.argmax(uniform_filter(edges.astype(np.float32), ZOOM)), edges.shape)
    top, left = max(y - ZOOM[0] // 2, 0), max(x - ZOOM[1] // 2, 0)
    return slice(top, top + ZOOM[0]), slice(left, left + ZOOM[1])


def _list(counts):
    return ", ".join(f"{key} ({count})" for key, count in counts.most_common(4)) or "unreadable"


def _percent(share):
    return "–" if share == 0 else "< 0.01%" if share < 0.0001 else f"{share:.2%}" if share < 0.01 else f"{share:.1%}"
