"""Annotations: lists of classes read; shapes and run lengths checked and drawn.

A shape is a ``segmentation`` as in COCO, polygons or run lengths; or ``{"file": path}``, where a mask file is white.
"""

import json
import re
from pathlib import Path

import numpy as np

from seglib.images import ImageError, read_binary
from seglib.labels import VOID, LabelMap

# A list of classes: a regular expression for its lines, an example, and how its first line begins if that is a title.
CLASS_FILES = {
    "labelmap.txt": (r"(?P<name>[^:]+):(?P<colour>\d+,\d+,\d+):.*", "road:128,64,128::", ""),  # CVAT
    "_classes.csv": (r"(?P<id>\d+)\s*,(?P<name>.+)", "1, road", "pixel value"),  # Roboflow
    "class_dict.csv": (r"(?P<name>[^,]+),(?P<colour>\s*\d+,\s*\d+,\s*\d+)\s*", "road,128,64,128", "name"),  # CamVid
    "class_names.txt": (r"(?P<name>.+)", "road", ""),  # labelme2voc
}
_VOID = re.compile(r"_*(void|ignore|unlabell?ed)_*", re.IGNORECASE)


class DataError(ValueError):
    """Data that cannot be used; the message names the files, what was found and what was wanted."""


def refuse(problems, what):
    """Raises a :class:`DataError` that lists the problems, if there are any."""
    if problems:
        shown = "\n  ".join(problems[:10])
        more = f"\n  … and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise DataError(f"{what} ({len(problems)}):\n  {shown}{more}")


def to_label_map(labels):
    """The :class:`~seglib.labels.LabelMap` of a list of names; one as it is, and None; else a :class:`DataError`."""
    if isinstance(labels, (list, tuple)):
        return LabelMap(tuple(labels))
    if labels is None or isinstance(labels, LabelMap):
        return labels
    raise DataError(f"labels= is a LabelMap or a list of names, got {labels!r}")


def find_class_file(folders):
    """The classes that a list in one of the folders names, or None: ``(path, label map, tables)``.

    ``tables`` map to class ids: from colours, if the list has them, and from the ids of the files. A class called void,
    ignore or unlabelled becomes void.
    """
    paths = [path for folder in folders for name in CLASS_FILES if (path := Path(folder, name)).is_file()]
    found = {path: rows for path in paths if (rows := _read_classes(path))}
    if not found:
        return None
    path, rows = next(iter(found.items()))
    if other := next((other for other in found if found[other] != rows), None):
        raise DataError(f"{path} and {other} name different classes; delete the wrong one, or say labels=")
    void, classes = ([row for row in rows if bool(_VOID.fullmatch(row[0])) == wanted] for wanted in (True, False))
    names, _, colours = zip(*classes, strict=True) if classes else ((), (), ())
    try:
        look = {"void_colour": void[0][2]} if void and void[0][2] else {}
        labels = LabelMap(names, colours if all(colours) else None, **look)
    except ValueError as error:
        raise DataError(f"{path}: {error}; correct it, or say labels=") from error
    ids, colours = ({row[at]: VOID for row in void} | {row[at]: i for i, row in enumerate(classes)} for at in (1, 2))
    return path, labels, ({VOID: VOID} | ids,) if None in colours else (colours, {VOID: VOID} | ids)


def _read_classes(path):
    """``(name, id, colour or None)`` of each class; an empty list for a file of another kind."""
    pattern, example, title = CLASS_FILES[path.name]
    lines = path.read_text("utf-8-sig", errors="replace").splitlines()
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not lines or not lines[0].lower().startswith(title):
        return []
    rows = []
    for line in lines[bool(title) :]:
        if not (match := re.fullmatch(pattern, line)):
            raise DataError(f"{path}: found the line {line!r}; wanted such as {example}; or say labels=")
        parts = {"id": len(rows), "colour": None} | match.groupdict()
        name, colour = parts["name"].strip(" \"'"), parts["colour"]
        colour = colour and tuple(int(value) for value in colour.split(","))
        rows.append(("background" if name == "_background_" else name, int(parts["id"]), colour))
    return rows


def load_json(path):
    """What a JSON file holds."""
    try:
        return json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: no JSON that can be read: {error}") from error


def draw(shapes, size, uncovered, in_order=False):
    """(height, width) uint8 from ``(class id, segmentation)``, in their order or the largest first."""
    from pycocotools import mask as rle

    def encode(segmentation):
        if "file" in segmentation:
            path, inside = segmentation["file"], read_binary(segmentation["file"])
            if inside.shape != size:
                sides = (*inside.shape, *size)
                raise ImageError("{}: the mask is {}×{} (height×width), its image {}×{}".format(path, *sides))
            return rle.encode(np.asfortranarray(inside, np.uint8))
        if isinstance(segmentation, list):
            return rle.merge(rle.frPyObjects(segmentation, *size))
        is_encoded = isinstance(segmentation["counts"], str)
        return segmentation if is_encoded else rle.frPyObjects(segmentation, *size)

    ids = np.full(size, uncovered, np.uint8)
    codes = [(class_id, encode(segmentation)) for class_id, segmentation in shapes]
    for class_id, code in codes if in_order else sorted(codes, key=lambda pair: -int(rle.area(pair[1]))):
        x, y, width, height = rle.toBbox(code).astype(int)
        box = np.s_[y : y + height, x : x + width]  # much smaller than the image, as a rule
        ids[box][rle.decode(code)[box] > 0] = class_id
    return ids


def drop_empty(segmentation):
    """A segmentation without its polygons of less than three points, which enclose nothing."""
    if not isinstance(segmentation, list):
        return segmentation
    return [polygon for polygon in segmentation if not (isinstance(polygon, list) and len(polygon) in (0, 2, 4))]


def find_fault(segmentation, size):
    """What is wrong with a ``segmentation``, polygons ``x1, y1, x2, y2, …`` or run lengths, or None."""
    if isinstance(segmentation, dict):
        return None if "file" in segmentation else _find_run_fault(segmentation, list(size))
    if not isinstance(segmentation, list) or not segmentation:
        return f"segmentation {segmentation!r:.40}; wanted polygons or run lengths (a box alone is no mask)"
    for polygon in segmentation:
        numbers = isinstance(polygon, list) and all(isinstance(number, int | float) for number in polygon)
        if not numbers or len(polygon) < 6 or len(polygon) % 2:
            return f"polygon {polygon!r:.40}; wanted 6 or more numbers x1, y1, x2, y2, …"
        points, limit = np.reshape(polygon, (-1, 2)), np.array(size[::-1])
        if not ((points >= -limit) & (points <= 2 * limit)).all():  # the rasteriser takes memory for all of it
            return f"a polygon with x, y from {points.min()} to {points.max()} in an image of {size[0]}×{size[1]}"
    return None


def _find_run_fault(segmentation, size):
    """What is wrong with run lengths, which count pixels column by column: outside, inside, outside, …; or None."""
    from pycocotools import mask as rle

    counts = segmentation.get("counts")
    if segmentation.get("size") != size:
        return f"run lengths of size {segmentation.get('size')}, the image is {size} (height, width)"
    if isinstance(counts, list):
        whole = all(isinstance(run, int) and run >= 0 for run in counts) and sum(counts) == size[0] * size[1]
    else:
        try:  # what is too short is decoded in silence, but encoded otherwise
            whole = rle.encode(rle.decode(segmentation))["counts"].decode() == counts
        except (KeyError, TypeError, ValueError):
            whole = False
    return None if whole else f"run lengths {counts!r:.40} do not fill the image of {size[0]}·{size[1]} pixels"
