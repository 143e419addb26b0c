"""What annotation tools write: one table of their exports; lists of classes, shapes, run lengths, read and drawn.

An annotation is a class's name and its ``segmentation``, as in COCO: polygons or run lengths; or a mask file, as
``{"file": path}`` for where it is white, ``{"file": path, "id": i, "of": n}`` for where it holds i, one of n ids.
"""

import csv
import json
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np

from seglib.images import EXTENSIONS, ImageError, read_binary, read_values
from seglib.labels import VOID, LabelMap

# A list of classes: a regular expression for its lines, an example, and how its first line begins if that is a title.
CLASS_FILES = {
    "labelmap.txt": (r"(?P<name>[^:]+):(?P<colour>\d+,\d+,\d+):.*", "road:128,64,128::", ""),  # CVAT
    "_classes.csv": (r"(?P<id>\d+)\s*,(?P<name>.+)", "1, road", "pixel value"),  # Roboflow
    "class_dict.csv": (r"(?P<name>[^,]+),(?P<colour>\s*\d+,\s*\d+,\s*\d+)\s*", "road,128,64,128", "name"),  # CamVid
    "class_names.txt": (r"(?P<name>.+)", "road", ""),  # labelme2voc
    "dataset.json": (r"(?P<id>\d+),(?P<name>.+)", "", ""),  # nnU-Net
}
_VOID = re.compile(r"_*(void|ignore|unlabell?ed)_*", re.IGNORECASE)
_UPLOAD = re.compile(r"^(.*[/\\])?([0-9a-f]{8}-)?")  # folders, and what Label Studio puts before the name of an image
_RUNS = "encod|rle|segmentation|annotation"  # what the column of run lengths may be called
BRUSH = r"task-(\d+)-annotation-\d+(?:-by-[^-]+)?-[^-]+-(.+)-\d+\.png$"
STUDIO = "Export the project as JSON, too, and put that file beside the masks: it tells of which image each task is"
_SAVE = "save as PNG, Image.fromarray(np.uint8(x.squeeze())).save(…), one-hot ones by x.argmax(-1)"


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


class Export(NamedTuple):
    """A format, known by the path of one of its files and by what stands in it, two regular expressions."""

    name: str
    path: str
    content: str = ""
    say: str = ""  # what to export instead, of what is not read


EXPORTS = (
    Export("Label Studio's brush masks", BRUSH),
    Export("labelme's folders, by the label_names.txt in each", r"(_json[/\\]label\.png|[/\\]label_names\.txt)$"),
    Export("labelme's JSON, later shapes on top", r"\.json$", r'"shapes"\s*:'),
    Export("run lengths from 1, by columns", r"\.csv$", rf"(?i)\A.*({_RUNS})"),
    Export("COCO's JSON", r"\.json$", r'"(images|annotations|categories)"\s*:', "Call data.from_coco(file, images)"),
    Export("Supervisely's JSON", r"\.json$", r'"objects"\s*:', "Export Pascal VOC's masks, or COCO for from_coco"),
    Export("CVAT's XML", r"\.xml$", "<annotations>", "Export 'Segmentation mask 1.1', or 'COCO 1.0' for from_coco"),
    Export("YOLO's text", r"\.txt$", r"^\d+( -?[\d.e-]+){4,}\s*$", "Export masks as PNG, or COCO for from_coco"),
    Export("NumPy's arrays", r"\.np[yz]$", "", f"labelme2voc's own are in SegmentationClass, too; else {_SAVE}"),
)


def recognise(paths):
    """The first :class:`Export` of the table that one of the files is of, and that file's path; or Nones."""
    paths = list(paths)
    for export in EXPORTS:
        for path in [path for path in paths if re.search(export.path, path)][:20]:
            text = Path(path).read_bytes()[: 2**16].decode(errors="replace") if export.content else ""
            if re.search(export.content, text, re.M):
                return export, path
    return None, None


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
    text = path.read_text("utf-8-sig", errors="replace")
    lines = _list_nnunet(path) if path.suffix == ".json" else text.splitlines()
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


def _list_nnunet(path):
    """nnU-Net's ``labels``, ``{"road": 1}`` or in its first version ``{"1": "road"}``, as lines ``1,road``."""
    content = load_json(path)
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, dict) or not content.keys() & {"channel_names", "modality", "file_ending"}:
        return []
    rows = [(key, value) if str(key).isdigit() else (value, key) for key, value in labels.items()]
    if regions := [name for number, name in rows if isinstance(number, list)]:
        raise DataError(f"{path}: {regions[0]} is a region of several ids, not a class; say labels= and ids=")
    return [f"{number},{name}" for number, name in sorted(rows, key=lambda row: int(row[0]))]


def load_json(path):
    """What a JSON file holds."""
    try:
        return json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: no JSON that can be read: {error}") from error


def read_labelme(path):
    """``(size or None, annotations)`` of labelme's JSON, in the order drawn; lines and points become no polygon."""
    content = load_json(path)
    if not isinstance(content, dict) or "shapes" not in content:
        raise DataError(f"{path}: found no shapes; wanted JSON of labelme, as in the other files here")
    size, annotations = (content.get("imageHeight"), content.get("imageWidth")), []
    for shape in content["shapes"]:
        points, kind = np.array(shape["points"], float), shape.get("shape_type") or "polygon"
        if kind == "circle":  # its centre, and a point on it
            angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
            points = points[0] + np.hypot(*(points[1] - points[0])) * np.stack([np.cos(angles), np.sin(angles)], -1)
        elif kind == "rectangle" and len(points) == 2:
            points = points[[[0, 0], [1, 0], [1, 1], [0, 1]], [0, 1]]
        is_area = kind in ("polygon", "rectangle", "circle")
        annotations.append((shape["label"], [points.ravel().tolist()] if is_area else []))
    return None if None in size else size, annotations


def read_label_names(path):
    """The annotations of labelme's ``a_json/label.png``, whose ids ``label_names.txt`` names, in each folder anew."""
    file = Path(path).with_name("label_names.txt")
    if not file.is_file():
        way = "give labelme's JSON as the masks"
        raise DataError(f"{file}: no such file, so the ids of label.png have no names; {way}")
    names = file.read_text("utf-8").splitlines()
    return [(name, {"file": path, "id": i, "of": len(names)}) for i, name in enumerate(names)]


def read_runs(path):
    """The rows of a CSV of run lengths, as on Kaggle: ``(line, image, class, run lengths)``."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file, skipinitialspace=True)
        rows, columns = list(table), table.fieldnames or []
    patterns = "image|img|^id|file", "class|label", _RUNS
    found = [next((name for name in columns if re.search(words, name, re.I)), None) for words in patterns]
    if None in (found[0], found[2]) or not rows:
        found = f"{len(rows)} rows of the columns {', '.join(columns)}"
        raise DataError(f"{path}: {found}; wanted ImageId, ClassId, EncodedPixels")
    for line, row in enumerate(rows, 2):
        image, kind, runs = (row.get(name) or "" for name in found)
        if found[0] == found[1]:  # as in ImageId_ClassId: 0002cc93b.jpg_1
            image, _, kind = image.rpartition("_")
        yield line, image, kind or "foreground", "" if (runs := runs.strip()) in ("-1", "nan") else runs


def to_counts(runs, size):
    """Kaggle's ``start length …``, pixels counted from 1 column by column, as COCO's run lengths."""
    if len(runs.split()) % 2 or not "".join(runs.split()).isdecimal():
        return {"counts": runs.split(), "size": list(size)}  # which do not fill the image
    numbers = np.array(runs.split(), np.int64)
    edges = np.stack([numbers[::2] - 1, numbers[::2] - 1 + numbers[1::2]], axis=-1).ravel()
    return {"counts": np.diff(edges, prepend=0, append=size[0] * size[1]).tolist(), "size": list(size)}


def read_tasks(folders):
    """From each task's number to the name of its image, and the file, by Label Studio's JSON in one of the folders."""
    tasks = {}
    for path in (path for folder in folders for path in sorted(Path(folder).glob("*.json"))):
        content = load_json(path)
        for task in [task for task in content if isinstance(task, dict)] if isinstance(content, list) else ():
            texts = map(str, [*task.get("data", task).values(), task.get("file_upload")])
            name = next((unquote(text) for text in texts if text.lower().endswith(EXTENSIONS)), "")
            tasks[str(task.get("id"))] = strip_upload(name), path
    return tasks


def strip_upload(path):
    """``"/data/upload/1/af0b7d36-img_1.jpg"`` → ``"img_1.jpg"``."""
    return _UPLOAD.sub("", str(path))


def draw(shapes, size, uncovered, in_order=False):
    """(height, width) uint8 from ``(class id, segmentation)``, in their order or the largest first."""
    from pycocotools import mask as rle

    def encode(segmentation):
        if "file" in segmentation:
            return rle.encode(np.asfortranarray(_read_file(size, **segmentation), np.uint8))
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


def _read_file(size, file, id=None, of=None):
    found = read_binary(file) if id is None else read_values(file).pixels
    if found.shape != size:
        raise ImageError("{}: the mask is {}×{} (height×width), its image {}×{}".format(file, *found.shape, *size))
    if id is not None and found.max() >= of:
        raise ImageError(f"{file}: found the id {found.max()}; wanted 0–{of - 1}, as the {of} names beside it say")
    return found if id is None else found == id


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
