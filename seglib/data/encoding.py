"""What the values in mask files mean: ids, black and white, grey levels or colours, said by the user or inferred."""

import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy.ndimage import find_objects, label

from seglib.annotations import DataError
from seglib.images import ImageError, read_values
from seglib.labels import VOID, LabelMap, list_some, look_up, pack_colours

SAMPLE = 200  # masks that are read to infer an encoding, spread evenly over the set
MAX_CLASSES = 64  # more values or colours than that, in most files, are not taken for classes
MANY = 10  # ids that number objects; fewer may be organs in a scan, which look the same
BINARY = ("background", "foreground")
CUT = "of masks that should be black and white, ids={v: int(v >= 128) for v in range(256)} cuts them in the middle"
JOIN = "not classes; if so, join them: ids={i: int(i > 0) for i in range(65536)}; else give labels="


class Encoding:
    """Reads mask files whose values, or colours, a table maps to ids of the label map; None: they are its ids."""

    def __init__(self, table, labels):
        self.labels, self.table = labels, table
        self.in_colour = bool(table) and isinstance(next(iter(table)), tuple)
        table = table or {i: i for i in (*range(labels.num_classes), labels.ignore_id)}
        codes = pack_colours([*table]).tolist() if self.in_colour else table
        self._id_of = dict(zip(codes, table.values(), strict=True))

    def read(self, path):
        """Reads a mask file: (height, width) uint8 class ids; a ValueError lists values that stand for no class."""
        values = read_values(path)
        if values.pixels.ndim == 3 and not self.in_colour:
            way = "Say ids={(red, green, blue): class id, …}, or give labels= with the colours it is painted in"
            raise DataError(f"{path}: a painted mask (colours); wanted ids or grey values. {way}")
        if self.table is None:
            if values.lossy:
                raise DataError(f"{path}: stored with loss, as JPEG is, which invents ids; wanted PNG. Or {CUT}")
            return self.labels.check_ids(values.pixels, name=path).astype(np.uint8)
        codes = _codes(values) if self.in_colour else values.pixels.astype(np.int64)
        ids, strange = look_up(codes, self._id_of)
        if strange.any():
            lossy = "; it is stored with loss, as JPEG is, which invents values" if values.lossy else ""
            cut, form = f"; {CUT}" if self._id_of.keys() == {0, 255} else "", "#{:06x}" if self.in_colour else "{}"
            found, wanted = (list_some(those, form) for those in (np.unique(codes[strange]), sorted(self._id_of)))
            share = f"{strange.mean():.2%} of the pixels have values without a class"
            raise DataError(f"{path}: {share}, such as {found}{lossy}; wanted one of {wanted}{cut}")
        return ids

    def knows(self, mask):
        """Whether ``read`` finds a class for all that the mask holds, as far as its counted values tell."""
        codes = mask.colours if self.in_colour else mask.values
        is_spoilt = self.table is None and mask.lossy
        return bool(codes) and not is_spoilt and codes.keys() <= self._id_of.keys()


class _MaskValues(NamedTuple):
    """What one mask file holds: the pixels of each grey value or index (none if it is painted), and of each colour."""

    shape: tuple  # (height, width)
    values: Counter
    colours: Counter
    palette: dict  # from the indices that are used to their colours; empty if they are no indices
    lossy: bool


def infer_encoding(masks, labels=None, ids=None):
    """What the values in mask files mean, from up to ``SAMPLE`` of the paths: ``(encoding, labels, notes, seen)``.

    ``labels`` and ``ids`` are those of ``from_folder``, ``ids`` also a tuple of mappings, of which the one that fits
    most masks is taken. ``seen`` maps each path that was read to its :class:`_MaskValues`, None if it is unreadable.
    """
    chosen = np.unique(np.linspace(0, len(masks) - 1, SAMPLE).astype(int))
    with ThreadPoolExecutor() as pool:
        seen = dict(pool.map(lambda i: (masks[i], _read_mask_values(masks[i])), chosen))
    objects = 0 if isinstance(ids, Mapping) else _find_objects(seen)
    if objects >= MANY and labels is None:
        raise DataError(f"{os.path.dirname(masks[0])}: the masks number objects 1–{objects}, {JOIN}")
    doubt = [f"warning: the masks seem to number objects 1–{objects}, {JOIN}"] if objects else []
    if isinstance(ids, tuple):
        ids = max(ids, key=lambda table: sum(map(Encoding(table, labels).knows, filter(None, seen.values()))))
    if ids is not None:
        _check_table(ids)
        if labels is None:
            count = max((target for target in ids.values() if target != 255), default=0) + 1
            labels = LabelMap(BINARY if count == 2 else tuple(f"class {i}" for i in range(count)))
        if strange := sorted(set(ids.values()) - {*range(labels.num_classes), labels.ignore_id}):
            raise DataError(f"ids= point to classes {strange} that the label map lacks: {', '.join(labels.names)}")
        return Encoding(ids, labels), labels, doubt, seen
    table, found, note = _infer([values for values in seen.values() if values], labels)
    if found is None:
        raise DataError(f"{os.path.dirname(masks[0])}: {note}")
    part = "" if len(seen) == len(masks) else f" (seen in {len(seen)} of {len(masks)})"
    return Encoding(table, found), found, [f"masks: {note}{part}", *doubt], seen


def _find_objects(seen):
    """The highest id, if the masks seem to number objects: 1, 2, … in each, one region each, not always as many."""
    held = {path: set(mask.values) - {0} for path, mask in seen.items() if mask and not mask.lossy}
    held = {path: ids - {255} if len(ids) < 255 else ids for path, ids in held.items()}
    counts, regions = sorted(map(len, held.values())) or [0], []
    if counts[-1] in (0, 1, 2, counts[0]) or any(ids and max(ids) > len(ids) for ids in held.values()):
        return 0
    for path in sorted(held, key=lambda path: len(held[path]))[-8:]:
        pixels = read_values(path).pixels.astype(np.int32)
        boxes = enumerate(find_objects(pixels, counts[-1]), 1)
        regions += [label(pixels[box] == i, np.ones((3, 3)))[1] for i, box in boxes if box]
    return counts[-1] if np.mean(np.equal(regions, 1)) >= 0.9 else 0


def _read_mask_values(path):
    try:
        found = read_values(path)
    except ImageError:
        return None
    values = _count(found.pixels) if found.pixels.ndim == 2 else Counter()
    palette = {} if found.palette is None else {index: tuple(found.palette[index].tolist()) for index in values}
    return _MaskValues(found.pixels.shape[:2], values, _count(_codes(found)), palette, found.lossy)


def _count(values):
    found, pixels = np.unique(values, return_counts=True)
    return Counter(dict(zip(found.tolist(), pixels.tolist(), strict=True)))


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


def _infer(masks, labels):
    """``(table, label map, note)``, whatever a few odd masks hold; the label map is None if nothing fits."""
    if not masks:
        return None, None, "not one of the masks can be read; wanted image files of ids, grey levels or colours"
    telling = [mask for mask in masks if len(mask.colours) > 1] or masks
    kind = Counter(map(_kind, telling)).most_common(1)[0][0]
    masks = [mask for mask in masks if _kind(mask) == kind or len(mask.colours) == 1]
    values, colours = (sum(counts, Counter()) for counts in list(zip(*masks, strict=True))[1:3])
    indices = {(index, colour) for mask in masks for index, colour in mask.palette.items()}
    palettes_differ = len(indices) > len({index for index, _ in indices})
    painted, lossy, smooth = kind
    if painted or palettes_differ:  # from file to file: then the indices are no ids
        return _infer_colours(colours, labels)
    return _infer_grey(values, lossy, smooth, labels)


def _kind(mask):
    """Whether a mask is painted, stored with loss, and holds more values than classes would."""
    return not mask.values, mask.lossy, max(len(mask.values), len(mask.colours)) > MAX_CLASSES


def _infer_colours(found, labels):
    if labels is not None:
        table = {labels.void_colour: labels.ignore_id, **{c: i for i, c in enumerate(labels.colours)}}
        return table, labels, "painted in the colours of the label map"
    rare = sum(pixels < found.total() / 2000 for pixels in found.values())
    if len(found) > MAX_CLASSES or rare > max(6, len(found) / 2):
        return None, None, _describe_hopeless(found, "colours")
    names = tuple(f"#{code:06x}" for code in sorted(found))
    colours = tuple(tuple((code & 0xFFFFFF).to_bytes(3, "big")) for code in sorted(found))
    note = f"painted, a class for each of {len(names)} colours: {', '.join(names)}"
    return {colour: i for i, colour in enumerate(colours)}, LabelMap(names, colours), note


def _infer_grey(values, lossy, smooth, labels):
    found = sorted(values)
    if set(found) <= {0, 255} and (labels is None or labels.num_classes == 2):
        return {0: 0, 255: 1}, labels or LabelMap(BINARY), "black and white, 0 → class 0, 255 → class 1"
    ignore_id = labels.ignore_id if labels else VOID
    void = f", and {ignore_id} for void" if ignore_id in found else ""
    rest = [value for value in found if value != ignore_id]
    largest, few = max(rest, default=0), len(found) <= MAX_CLASSES
    if labels is not None:
        hint = ". Is 255 the foreground? Then give two names" if found == [0, 255] else ""
        if largest >= labels.num_classes >= len(rest) > 1:
            hint = f". They have gaps: if {rest} are the classes in this order, say {number(rest)}"
        return None, labels, f"ids of the label map{void}{hint}"
    ends = {value for value, _ in values.most_common(2)} == {0, 255} and values[0] + values[255] > 0.75 * values.total()
    between = ends and len(found) > 3  # as in black and white that was resized smoothly
    if not (lossy or smooth) and (few or not between) and largest < min(255, 2 * len(found) + 6):
        note = f"ids {found[0]}–{largest}{void}"
        if len(rest) <= largest:
            note += f". No mask holds the others: to have {len(rest)} classes, say {number(rest)}"
        return None, LabelMap(tuple(f"class {i}" for i in range(largest + 1))), note
    if few and not (lossy or between):
        note = f"a class for each of {len(found)} grey levels: {', '.join(map(str, found))}"
        return {value: i for i, value in enumerate(found)}, LabelMap(tuple(f"grey {v}" for v in found)), note
    return None, None, _describe_hopeless(values, "grey values")


def number(values):
    """What to say as ``ids=`` so that these values become the classes 0, 1, …"""
    return f"ids={dict(zip(values, range(len(values)), strict=True)) | {255: 255}}"


def _describe_hopeless(counts, what):
    return (
        f"the masks hold {len(counts)} {what}, too many or too rare for classes: are images and masks swapped, or the "
        "masks resized smoothly or stored with loss, as JPEG is? Make them anew, by nearest neighbour and as PNG, or "
        f"say what the values mean by ids=; {CUT}"
    )


def _codes(values):
    """The colour of every pixel, packed into one number; grey values over 255 become numbers that are no colour."""
    if values.pixels.ndim == 2 and values.palette is None:
        return values.pixels.astype(np.int64) * 0x010101
    return pack_colours(values.in_colour())
