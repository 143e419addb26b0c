"""What annotation tools export: one table of the formats, how each is recognised and read, or what to export instead.

A reader ``(images, files, labels)`` gives ``(rows, unpaired, notes)``: a row is an image, its size or None, and its
annotations, ``(class name, segmentation)``, a ``segmentation`` as in COCO or ``{"file": path, "id": i, "of": n}``: where
a black and white file is white, or, of n ids, where the file holds i.
"""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np

from seglib.data.dataset import DataError, refuse
from seglib.data.instances import read_instance
from seglib.data.pairing import SeveralMasks, find_files, list_files, pair_files, split_words
from seglib.images import EXTENSIONS, read_size


class Export(NamedTuple):
    """A format: one of its files is found by its path and by what stands in it, two regular expressions."""

    name: str
    path: str
    content: str = ""
    read: Callable | None = None
    say: str = ""  # what to export instead of what is not read


def find_rows(images, masks, labels):
    """Reads images and masks, given as to ``from_folder``: ``(images, export, rows, unpaired, notes)``.

    ``export`` is None if each image has one mask file, whose path its row has in place of annotations.
    """
    try:
        sides = find_files(images, masks)
        export = _recognise(sides[1])
    except DataError as error:
        sides = [], list_files(masks, None)
        export = _recognise(sides[1])
        if not export:
            raise
        if not export.read:
            raise DataError(f"{sides[1][0].path}: {export.name}; wanted image files. {export.say}") from error
        sides = list_files(images), sides[1]
    if not export:
        try:
            pairs, *others = pair_files(sides)
            masks_of = {image: [mask] for image, mask in pairs}
        except SeveralMasks as error:
            masks_of, others, pairs = error.masks_of, ([], []), None
            if not _find_classes(masks_of, labels):
                raise
        if not (classes := _find_classes(masks_of, labels)):
            return sides[0], None, [(image, None, mask.path) for image, mask in pairs], *others
        export = Export("a file per class, for which it is named", "", read=lambda *_: (_to_rows(classes), *others))
    rows, unpaired, notes = export.read(*sides)
    return sides[0], export, rows, unpaired, [f"masks: {export.name}", *notes]


def _recognise(files):
    """The first :class:`Export` that one of the files is of, or None."""
    for export in EXPORTS:
        for file in [file for file in files if re.search(export.path, file.path)][:3]:
            text = Path(file.path).read_bytes()[: 2**16].decode(errors="replace") if export.content else ""
            if re.search(export.content, text, re.M):
                return export
    return None


def _read_labelme(images, files):
    pairs, *others = pair_files((images, [file for file in files if file.path.endswith(".json")]))
    rows = []
    for image, file in pairs:
        content = json.loads(Path(file.path).read_bytes())
        size = content.get("imageHeight"), content.get("imageWidth")
        shapes = [(shape["label"], _to_polygons(shape)) for shape in content["shapes"]]
        rows.append((image, None if None in size else size, shapes))
    return rows, *others


def _to_polygons(shape):
    """Lines and points become no polygon."""
    points, kind = np.array(shape["points"], float), shape.get("shape_type") or "polygon"
    if kind == "circle":  # its centre, and a point on it
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        points = points[0] + np.hypot(*np.subtract(*points)) * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    elif kind == "rectangle" and len(points) == 2:
        points = points[[0, 1, 1, 0], :] * (1, 0) + points[[0, 0, 1, 1], :] * (0, 1)
    return [points.ravel().tolist()] if kind in ("polygon", "rectangle", "circle") else []


def _read_label_folders(images, files):
    """``a_json/label.png``: 1 is the first name in the ``label_names.txt`` beside it, and not the same as elsewhere."""
    masks = [file for file in files if Path(file.path).name == "label.png"]
    images = [image for image in images if Path(image.path).name not in ("label.png", "label_viz.png")]
    pairs, *others = pair_files((images, masks))
    names_of = {mask.path: Path(mask.path).with_name("label_names.txt") for _, mask in pairs}
    missing = [f"{names}: no such file; without it the ids of label.png mean nothing" for names in names_of.values() if not names.is_file()]
    refuse(missing, "masks without their names; export them anew by labelme_json_to_dataset, or from_folder(d, 'd/*.json')")
    rows = []
    for image, mask in pairs:
        names = names_of[mask.path].read_text("utf-8").split()
        rows.append((image, None, [(name, {"file": mask.path, "id": i, "of": len(names)}) for i, name in enumerate(names)]))
    return rows, *others


def _read_runs(images, files):
    """Kaggle's run lengths: ``start length …``, pixels counted from 1, column by column."""
    path, image_of = files[0].path, {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        table = list(csv.DictReader(file, skipinitialspace=True))
    key, kind, runs = (
        next((name for name in table[0] if re.search(words, name, re.I)), None)
        for words in ("image|img|^id|file", "class|label", "encod|rle|segmentation|annotation")
    )
    for image in images:
        image_of |= dict.fromkeys((Path(image.path).name, Path(image.path).stem), image)
    found, lost = defaultdict(list), []
    for number, row in enumerate(table, 2):
        name, _, label = row[key].rpartition("_") if key == kind else (row[key], "", row.get(kind))
        if name not in image_of:
            lost.append(f"{path}, line {number}: {name}")
        elif found[image_of[name]] is not None and row[runs].strip() not in ("", "-1", "nan"):
            found[image_of[name]].append((label or "foreground", row[runs]))
    if not found:
        raise DataError(f"{lost[0]}: no such image; wanted names such as {images[0].path}")
    notes = [f"left out: {len(lost)} rows without an image, the first {lost[0]}"] if lost else []
    rows = []
    for image, annotations in found.items():
        size = read_size(image.path)
        rows.append((image, size, [(label, _to_counts(text, size)) for label, text in annotations]))
    return rows, [image.path for image in images if image not in found], notes


def _to_counts(runs, size):
    numbers = np.array(runs.split(), np.int64)
    if len(numbers) % 2:
        return {"counts": numbers.tolist(), "size": list(size)}  # refused as run lengths that do not fill the image
    edges = np.stack([numbers[::2] - 1, numbers[::2] - 1 + numbers[1::2]], axis=-1).ravel()
    return {"counts": np.diff(edges, prepend=0, append=size[0] * size[1]).tolist(), "size": list(size)}


def _read_label_studio(images, files):
    """Brush masks, several a task: only the JSON of the same project tells which image a task is of."""
    folders = dict.fromkeys(folder for file in (files[0], images[0]) for folder in list(Path(file.path).parents)[:2])
    tasks, masks_of, problems = {}, defaultdict(list), []
    for path in (path for folder in folders for path in folder.glob("*.json")):
        content = json.loads(path.read_bytes())
        for task in content if isinstance(content, list) else ():
            texts = map(str, [*task.get("data", task).values(), task.get("file_upload")])
            name = next((unquote(text) for text in texts if text.lower().endswith(EXTENSIONS)), "")
            tasks[str(task.get("id"))] = _BRUSH_PREFIX.sub("", name), path
    if not tasks:
        raise DataError(f"{files[0].path}: Label Studio names its masks for tasks, not for images. {_STUDIO}")
    image_of = {_BRUSH_PREFIX.sub("", image.path): image for image in images}
    for file in files:
        if match := re.search(_BRUSH, file.path):
            name, path = tasks.get(match[1], ("", next(iter(tasks.values()))[1]))
            masks_of[image_of.get(name)].append((file, match[2]))
            problems += [] if name in image_of else [f"{file.path}: its task is of {name!r}, no image here, by {path}"]
    refuse(problems, f"masks of no image. {_STUDIO}")
    return _to_rows(masks_of), [i.path for i in images if i not in masks_of and not re.search(_BRUSH, i.path)], []


def _to_rows(masks_of):
    return [(image, None, [(name, {"file": m.path}) for m, name in masks]) for image, masks in masks_of.items()]


def _find_classes(masks_of, labels):
    """From each image to ``(mask, class)``, if each mask holds one class, for which it or its folder is named."""
    rests = {}
    for image, masks in masks_of.items():
        known = split_words(image.stem)
        rests |= {(image, mask): [word for word in split_words(mask.stem) if word not in known] for mask in masks}
    shared = set.intersection(*map(set, rests.values()))
    kinds = {pair: "_".join(word for word in rest if word not in shared) for pair, rest in rests.items()}
    wanted = {"_".join(split_words(name)): name for name in labels.names} if labels else {}
    several, found = max(map(len, masks_of.values())) > 1, set(kinds.values())
    if len(found) < 2 or not all(kind.replace("_", "").isalpha() for kind in found):
        return None
    if not (several or found <= wanted.keys()) or len({(i, k) for (i, _), k in kinds.items()}) < len(kinds):
        return None
    named = defaultdict(list)
    try:
        for number, ((image, mask), kind) in enumerate(kinds.items()):
            named[image].append((mask, wanted.get(kind, kind)))
            if number < SAMPLE:
                read_instance(mask.path)
    except ValueError:  # not black and white
        return None
    return named


SAMPLE = 50  # masks that are read to see that they are black and white
_BRUSH = r"task-(\d+)-annotation-\d+(?:-by-[^-]+)?-[^-]+-(.+)-\d+\.png$"
_BRUSH_PREFIX = re.compile(r"^(.*[/\\])?([0-9a-f]{8}-)?")  # folders, and what it puts before the names of images
_STUDIO = "Export the project as JSON, too, and put the file beside the masks: it tells of which image each task is"
EXPORTS = (
    Export("Label Studio's brush masks", _BRUSH, read=_read_label_studio),
    Export("labelme's folders", r"(_json[/\\]label\.png|[/\\]label_names\.txt)$", read=_read_label_folders),
    Export("labelme's JSON, later shapes on top", r"\.json$", r'"shapes"\s*:', _read_labelme),
    Export("run lengths from 1, by columns", r"\.csv$", r"(?i)\A.*(encod|rle|segmentation|annotation)", _read_runs),
    Export("COCO's JSON", r"\.json$", r'"(annotations|categories)"\s*:', say="Call data.from_coco(file, images)"),
    Export("Supervisely's JSON", r"\.json$", r'"objects"\s*:', say="Export as Pascal VOC masks, or COCO for from_coco"),
    Export("CVAT's XML", r"\.xml$", "<annotations>", say="Export 'Segmentation mask 1.1', or 'COCO 1.0' for from_coco"),
    Export("YOLO's text", r"\.txt$", r"^\d+( -?[\d.]+){4,}\s*$", say="Export as PNG masks, or as COCO for from_coco"),
    Export("NumPy's arrays", r"\.np[yz]$", say="labelme2voc writes the same as PNG into SegmentationClass beside it; else "
           "save them as PNG: Image.fromarray(np.load(path).squeeze().astype(np.uint8)).save(…)"),
)  # fmt: skip
