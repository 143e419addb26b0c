"""The doctor's report: what was found, in which files, and what to do about it."""

import os
from collections import Counter
from dataclasses import dataclass, field
from textwrap import wrap

import numpy as np

from seglib import viz
from seglib.data.dataset import SPLITS
from seglib.labels import LabelMap

SEVERITIES = ("error", "warning", "note")
WIDTH = 110  # of the text, in characters
SHOWN = 5  # files of a finding that the text names; ``Finding.files`` names all


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: its name, such as ``"interpolated masks"``.
        severity: ``"error"``: these pairs cannot be used; ``"warning"``: probably wrong, look at them; ``"note"``:
            worth knowing.
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
    """What :func:`~seglib.data.check` found; ``print`` it, or ``show()`` it as a figure.

    Attributes:
        name: of the dataset.
        labels: its :class:`~seglib.labels.LabelMap`.
        counts: pairs per split.
        sizes: from ``(height, width)`` to how many images have it.
        forms: from how masks are stored (``"ids"``, ``"palette"``, ``"colours"``, with ``"16-bit"``) to how many are.
        class_pixels: per split (num_classes,) pixels of each class in the masks that could be read.
        void_pixels: per split the pixels of void.
        findings: errors first, then warnings, then notes.
        pictures: of the worst findings a pair of pictures each, for the figure.
    """

    name: str
    labels: LabelMap
    counts: dict[str, int]
    sizes: Counter
    forms: Counter
    class_pixels: dict[str, np.ndarray]
    void_pixels: dict[str, int]
    findings: tuple[Finding, ...]
    pictures: tuple = field(default=(), repr=False)

    @property
    def clean(self):
        """Whether there is no error and no warning; notes do not count."""
        return not any(finding.severity in ("error", "warning") for finding in self.findings)

    @property
    def void_share(self):
        """Share of the pixels that is void, 0–1."""
        void = sum(self.void_pixels.values())
        return void / max(void + sum(int(pixels.sum()) for pixels in self.class_pixels.values()), 1)

    def of_kind(self, kind):
        """The findings of one kind."""
        return [finding for finding in self.findings if finding.kind == kind]

    def show(self):
        """Draws the report as a figure (:func:`seglib.viz.show_report`)."""
        viz.show_report(self)

    def verdict(self):
        """``"clean: no errors, no warnings"``, or how many there are of each severity."""
        found = Counter(finding.severity for finding in self.findings)
        told = [f"{found[s]} {s}{'s' * (found[s] > 1)}" for s in SEVERITIES if found[s]]
        return f"clean: no errors, no warnings{', ' + told[-1] if told else ''}" if self.clean else ", ".join(told)

    def __str__(self):
        root = _common_folder([file for finding in self.findings for file in finding.files])
        blocks = [self._head(root), self._table(), *(_tell(finding, root) for finding in self.findings)]
        return "\n\n".join("\n".join(lines) for lines in blocks)

    def _head(self, root):
        counts = " · ".join(f"{split} {self.counts[split]}" for split in SPLITS if self.counts.get(split))
        sizes = ", ".join(f"{height}×{width} ({count})" for (height, width), count in self.sizes.most_common(4))
        sizes += ", …" if len(self.sizes) > 4 else ""
        forms = ", ".join(f"{form} ({count})" for form, count in self.forms.most_common())
        lines = [
            f"{self.name}: {self.verdict()}",
            f"  pairs  {sum(self.counts.values())}: {counts}",
            f"  sizes  {sizes or 'none could be read'}, height×width",
            f"  masks  {forms or 'none could be read'}; {self.void_share:.1%} of the pixels void",
        ]
        return lines + ([f"  files  below {root}"] if root else [])

    def _table(self):
        """A line a class: its id, name, pixels, share of the labelled pixels, and the same per split."""
        splits = [split for split in SPLITS if split in self.class_pixels]
        total = sum(self.class_pixels.values())
        columns = [total, *(self.class_pixels[split] for split in splits)] if len(splits) > 1 else [total]
        shares = [column / max(column.sum(), 1) for column in columns]
        width = max(map(len, (*self.labels.names, "class")))
        titles = "".join(f"{title:>10}" for title in ("share", *splits)[: len(columns)])
        lines = [f"  id  {'class':<{width}}  {'pixels':>15}{titles}"]
        for i, name in enumerate(self.labels.names):
            row = "".join(f"{_percent(share[i]):>10}" for share in shares)
            lines.append(f"  {i:>2}  {name:<{width}}  {total[i]:>15,}{row}")
        return lines


def _tell(finding, root):
    """A finding as lines of text."""
    names = {file: os.path.relpath(file, root) if root else file for file in finding.files}
    lines = [f"{finding.severity}: {finding.kind}", *_wrapped(finding.what)]
    if finding.details:
        told = [f"{names[file]}: {text}" for file, text in finding.details.items()]
        told = [text.replace(root + os.sep, "") for text in told] if root else told
        lines += [line for text in told[:SHOWN] for line in _wrapped(text, "    ")]
        lines += [f"    and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
    elif finding.files:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines += _wrapped(", ".join(list(names.values())[:SHOWN]) + more, "    ")
    return lines + _wrapped(f"→ {finding.do}")


def _wrapped(text, indent="  "):
    return wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False)


def _percent(share):
    return "–" if share == 0 else "< 0.01%" if share < 0.0001 else f"{share:.2%}" if share < 0.01 else f"{share:.1%}"


def _common_folder(files):
    """The folder that all files lie in, or "" if they are no paths."""
    if not files or not all(os.path.isabs(file) or os.path.exists(file) for file in files):
        return ""
    return os.path.commonpath([os.path.dirname(file) for file in files])
