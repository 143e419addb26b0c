"""What the values in mask files mean: ids, black and white, grey levels or colours, said by the user or inferred."""

import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from seglib.data.dataset import DataError
from seglib.images import ImageError, read_values
from seglib.labels import LabelMap

SAMPLE = 200  # masks that are looked at, spread evenly over the set
MAX_CLASSES = 64  # more values or colours than that, in most files, are not taken for classes
NEAR = 32  # how far from 0 and 255 loss and antialiasing may take most pixels of a black and white mask
BINARY = ("background", "foreground")


class Encoding:
    """Reads mask files that keep to one encoding.

    Args:
        table: mapping from the values in the files to class ids 0–255: whole numbers 0–65535, or colours
            ``(red, green, blue)``. None: the values are the ids.
        labels: the label map that the ids must keep to.
    """

    def __init__(self, table, labels):
        self.labels, self.table = labels, table
        self.in_colour = bool(table) and isinstance(next(iter(table)), tuple)
        if table:
            keys = np.array([_pack(key) if self.in_colour else key for key in table], np.int64)
            order = np.argsort(keys)
            self._keys, self._ids = keys[order], np.array(list(table.values()), np.uint8)[order]

    def read(self, path):
        """Reads a mask: (height, width) uint8 class ids.

        Raises:
            ImageError: a file that cannot be read.
            DataError: values that the table, or ids that the label map does not know; they are listed.
        """
        values = read_values(path)
        if self.table is None:
            return self._check(values, path)
        if values.pixels.ndim == 3 and not self.in_colour:
            raise DataError(f"{path}: a painted mask (colours); wanted grey values, {self._known()}")
        codes = _codes(values) if self.in_colour else values.pixels.astype(np.int64)
        place = np.minimum(np.searchsorted(self._keys, codes), len(self._keys) - 1)
        strange = self._keys[place] != codes
        if strange.any():
            found = ", ".join(self._show(code) for code in np.unique(codes[strange])[:8])
            lossy = "; it is stored with loss, as JPEG is, which invents values" if values.lossy else ""
            cut = " (to cut in the middle: ids={v: int(v >= 128) for v in range(256)})" if self._is_binary() else ""
            raise DataError(
                f"{path}: {strange.mean():.2%} of the pixels have values without a class, such as {found}{lossy}; "
                f"wanted {self._known()}{cut}"
            )
        return self._ids[place]

    def knows(self, look):
        """Whether ``read`` would find a class for all that a :class:`Look` has seen."""
        if self.table is None:
            return (
                bool(look.values)
                and not look.lossy
                and set(look.values) <= {*range(self.labels.num_classes), self.labels.ignore_id}
            )
        codes = look.colours if self.in_colour else look.values
        return bool(codes) and set(codes) <= set(self._keys.tolist())

    def _check(self, values, path):
        if values.pixels.ndim == 3:
            raise DataError(
                f"{path}: a painted mask (colours); wanted ids. Say ids={{(red, green, blue): class id, …}}, or give "
                "labels= with the colours it is painted in"
            )
        if values.lossy:
            raise DataError(
                f"{path}: stored with loss, as JPEG is, which invents ids; wanted a lossless file such as PNG"
            )
        try:
            return self.labels.check_ids(values.pixels, name=path).astype(np.uint8)
        except ValueError as error:
            raise DataError(str(error)) from None

    def _is_binary(self):
        return not self.in_colour and self._keys.tolist() == [0, 255]

    def _known(self):
        known = ", ".join(self._show(key) for key in self._keys[:12])
        return (
            ("one of the colours " if self.in_colour else "one of ") + known + (", …" if len(self._keys) > 12 else "")
        )

    def _show(self, code):
        return _hex(_unpack(code)) if self.in_colour else str(code)


class Look(NamedTuple):
    """What one mask holds.

    Attributes:
        shape: ``(height, width)``.
        values: pixels of each grey value or palette index; empty if it is painted.
        colours: pixels of each colour, packed into one number.
        palette: from the indices that are used to their colours; empty if they are no indices.
        lossy: whether it is stored with loss.
    """

    shape: tuple
    values: dict
    colours: dict
    palette: dict
    lossy: bool


class _Seen:
    """What the masks of the sample that can be read hold together; a few that are unlike the most do not count."""

    def __init__(self, looks):
        looks = _most(looks, lambda look: look.lossy)
        if not looks[0].lossy:
            looks = _most(looks, lambda look: max(len(look.values), len(look.colours)) > MAX_CLASSES)
        self.values, self.colours, palettes = Counter(), Counter(), {}
        for look in looks:
            self.values.update(look.values)
            self.colours.update(look.colours)
            for index, colour in look.palette.items():
                palettes.setdefault(index, set()).add(colour)
        self.lossy = looks[0].lossy
        self.smooth = max(len(looks[0].values), len(looks[0].colours)) > MAX_CLASSES
        painted = sum(not look.values for look in looks)
        self.palettes_differ = any(len(found) > 1 for found in palettes.values())
        # A few painted masks among ids are the mistake; a few black ones among painted are not.
        self.is_painted = self.palettes_differ or (
            painted and (2 * painted >= len(looks) or {*self.values} <= {0, 255})
        )


def _most(looks, is_odd):
    odd = [look for look in looks if is_odd(look)]
    return odd if 2 * len(odd) >= len(looks) else [look for look in looks if not is_odd(look)]


def infer_encoding(masks, labels=None, ids=None):
    """Finds out what the values in mask files mean, from up to ``SAMPLE`` of them.

    Args:
        masks: paths.
        labels: the :class:`~seglib.labels.LabelMap`; None calls the classes found ``class 0``, … or by their colours.
        ids: mapping from values or ``(red, green, blue)`` to class ids; None infers it.

    Returns:
        ``(encoding, labels, notes, looks)``: an :class:`Encoding`, the label map, what was inferred, in words, and
        a mapping from the paths that were looked at to a :class:`Look`, or to None where they cannot be read.

    Raises:
        DataError: ``ids`` that are no such mapping or point outside ``labels``; without ``labels``, masks that hold
            too many values to be classes.
    """
    looks = _look([masks[i] for i in np.unique(np.linspace(0, len(masks) - 1, SAMPLE).astype(int))])
    if ids is not None:
        table = _check_table(ids)
        labels = labels or _labels_of(table)
        strange = sorted(set(table.values()) - {*range(labels.num_classes), labels.ignore_id})
        if strange:
            raise DataError(f"ids= point to classes {strange} that the label map lacks: {', '.join(labels.names)}")
        note = ""
    else:
        table, found, note = _infer([look for look in looks.values() if look], labels)
        if labels is None and found is None:
            raise DataError(f"{os.path.dirname(masks[0])}: {note}")
        labels = labels or found
        note = f"masks: {note}" + ("" if len(looks) == len(masks) else f" (seen in {len(looks)} of {len(masks)})")
    return Encoding(table, labels), labels, [note] if note else [], looks


def _check_table(ids):
    if not isinstance(ids, Mapping) or not ids:
        raise DataError(f"ids= maps values to class ids, as in {{0: 0, 255: 1}} or {{(128, 0, 0): 1}}, got {ids!r}")
    kinds = {isinstance(key, tuple) for key in ids}
    for key, target in ids.items():
        numbers = key if isinstance(key, tuple) else (key,)
        whole = all(isinstance(number, (int, np.integer)) for number in (*numbers, target))
        limit = {1: 65535, 3: 255}.get(len(numbers), -1)
        if not whole or len(kinds) > 1 or not all(0 <= v <= limit for v in numbers) or not 0 <= target <= 255:
            raise DataError(f"ids= maps values 0–65535 or colours (r, g, b) to class ids 0–255, got {key}: {target}")
    return dict(ids)


def _labels_of(table):
    """``class 0``, … for the ids of a table; 255 is void. Colours are kept where each class has one of its own."""
    count = max((target for target in table.values() if target != 255), default=0) + 1
    names = BINARY if count == 2 else tuple(f"class {i}" for i in range(count))
    colours = {target: key for key, target in table.items() if isinstance(key, tuple)}
    whole = set(range(count)) <= set(colours)
    return LabelMap(names, tuple(colours[i] for i in range(count)) if whole else None)


def _look(masks):
    """From the paths of masks to what they hold, or None for those that cannot be read."""

    def look(path):
        try:
            found = read_values(path)
        except ImageError:
            return None
        values = _count(found.pixels) if found.pixels.ndim == 2 else {}
        used = {} if found.palette is None else {index: tuple(found.palette[index].tolist()) for index in values}
        return Look(found.pixels.shape[:2], values, _count(_codes(found)), used, found.lossy)

    with ThreadPoolExecutor() as pool:
        return dict(zip(masks, pool.map(look, masks), strict=True))


def _count(values):
    found, pixels = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), pixels.tolist(), strict=True))


def _infer(looks, labels):
    """``(table, label map, note)``; both are None if nothing fits."""
    if not looks:
        return None, LabelMap(BINARY), "none can be read"
    seen = _Seen(looks)
    return (_infer_painted if seen.is_painted else _infer_grey)(seen, labels)


def _infer_painted(seen, labels):
    """``(table, label map, note)`` of masks in colour."""
    why = ", as their palettes differ from file to file" if seen.palettes_differ else ""
    total = sum(seen.colours.values())
    if labels is not None:
        classes = dict(zip(labels.colours, range(labels.num_classes), strict=True))
        known = {labels.void_colour: labels.ignore_id, **classes}
        strange = seen.colours.copy()
        for colour in known:
            del strange[int(_pack(colour))]
        if 2 * sum(strange.values()) > total:
            shown = ", ".join(_hex(_unpack(code)) for code, _ in strange.most_common(8))
            note = f"painted, but not in the colours of the label map; found {shown}: give it its colours, or say ids="
            return known, labels, note
        return known, labels, f"painted in the colours of the label map{why}"
    tiny = sum(pixels < total / 2000 for pixels in seen.colours.values())
    if len(seen.colours) > MAX_CLASSES or tiny > max(6, len(seen.colours) / 2):
        return None, None, _hopeless(seen.colours, "colours", seen.lossy)
    colours = [_unpack(code) for code in sorted(seen.colours)]
    found = LabelMap(tuple(map(_hex, colours)), tuple(colours), void_colour=_unused(colours))
    listed = ", ".join(found.names)
    return (
        {c: i for i, c in enumerate(colours)},
        found,
        f"painted, a class for each of {len(colours)} colours: {listed}{why}",
    )


def _infer_grey(seen, labels):
    """``(table, label map, note)`` of masks in grey or with a palette."""
    found, total = sorted(seen.values), sum(seen.values.values())
    ends = sum(pixels for value, pixels in seen.values.items() if value <= NEAR or 255 - NEAR <= value <= 255) / total
    two = labels is None or labels.num_classes == 2
    low = sum(pixels for value, pixels in seen.values.items() if value <= NEAR)
    # Of black with loss most is still 0; ids with loss are small too, but spread.
    if two and seen.lossy and 128 <= max(found) <= 255 and ends > 0.9 and seen.values[0] >= 0.45 * low:
        table = {value: int(value >= 128) for value in range(256)}
        return table, LabelMap(BINARY), "black and white, stored with loss: below 128 → class 0, from 128 → class 1"
    if two and set(found) <= {0, 255}:
        only = f", but only {found[0]} occurs" if len(found) == 1 else ""
        return {0: 0, 255: 1}, LabelMap(BINARY), f"black and white, 0 → class 0, 255 → class 1{only}"
    if labels is not None:
        return None, labels, _describe_ids(found, labels)
    if seen.lossy:
        return None, None, _hopeless(seen.values, "grey values", True)
    ids = [value for value in found if value != 255]
    common = {value for value, _ in seen.values.most_common(2)}
    between = len(found) > 3 and common == {0, 255} and (seen.values[0] + seen.values[255]) / total > 0.75
    few = not seen.smooth and not (between and len(found) > MAX_CLASSES)
    if few and max(ids) < 255 and max(ids) < 2 * len(ids) + 8:
        names = tuple(f"class {i}" for i in range(max(ids) + 1))
        return None, LabelMap(names), f"ids {_ranges(ids)}" + (", and 255 for void" if 255 in found else "")
    if not between and len(found) <= MAX_CLASSES:
        table = {value: i for i, value in enumerate(found)}
        names = tuple(f"grey {value}" for value in found)
        return table, LabelMap(names), f"a class for each of {len(found)} grey levels: {', '.join(map(str, found))}"
    if between or (max(found) <= 255 and ends > 0.9):
        note = (
            f"black and white, 0 → class 0, 255 → class 1, but with {len(found) - 2} values in between: interpolated?"
        )
        return {0: 0, 255: 1}, LabelMap(BINARY), note
    return None, None, _hopeless(seen.values, "grey values", False)


def _describe_ids(found, labels):
    """How values fit the ids of a label map that was given."""
    if not set(found) <= {*range(labels.num_classes), labels.ignore_id}:
        table = f"; a level for each class would be ids={dict(zip(found, range(len(found)), strict=True))}"
        return "taken as ids of the label map" + (table if len(found) == labels.num_classes else "")
    if found == [0, 255]:
        return "ids of the label map: 0 and 255, which is void. If it is the foreground, give two names"
    return "ids of the label map" + (f", and {labels.ignore_id} for void" if labels.ignore_id in found else "")


def _hopeless(counts, what, lossy):
    """Why these values are no classes: a photograph's are spread out, those of an interpolated mask are not."""
    share = sum(pixels for _, pixels in counts.most_common(MAX_CLASSES)) / sum(counts.values())
    if share < 0.8:
        jpeg = ", or were painted masks stored as JPEG, which invents colours?" if lossy else "?"
        return (
            f"the masks hold {len(counts)} {what}, too many to be classes; they look like photographs: are images and "
            f"masks swapped{jpeg}"
        )
    why = "are stored with loss, as JPEG is," if lossy else "were resized smoothly, or stored with loss before,"
    return (
        f"the masks hold {len(counts)} {what}; they {why} which invents values. "
        "Make them anew, by nearest neighbour and as PNG"
    )


def _ranges(ids):
    """``[0, 1, 2, 5]`` → ``"0–2, 5"``."""
    starts = [i for i in ids if i - 1 not in ids]
    ends = [i for i in ids if i + 1 not in ids]
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in zip(starts, ends, strict=True))


def _unused(colours):
    return next(grey for grey in ((v, v, v) for v in range(221, 0, -1)) if grey not in colours)


def _codes(values):
    """The colour of every pixel, packed into one number; grey values over 255 become numbers that are no colour."""
    if values.pixels.ndim == 2 and values.palette is None:
        return values.pixels.astype(np.int64) * 0x010101
    return _pack(values.in_colour())


def _pack(rgb):
    rgb = np.asarray(rgb).astype(np.int64)
    return (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]


def _unpack(code):
    return (int(code) >> 16 & 255, int(code) >> 8 & 255, int(code) & 255)


def _hex(colour):
    return "#{:02x}{:02x}{:02x}".format(*colour)
