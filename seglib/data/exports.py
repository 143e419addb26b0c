"""Exports of annotation tools, and masks in a file per class, as rows: an image, its size or None, its annotations.

An annotation is a class's name and a shape, as :mod:`seglib.annotations` draws it.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np

from seglib.annotations import DataError, load_json, refuse
from seglib.data.pairing import SeveralMasks, find_files, find_pairs, list_files, split_words
from seglib.data.splits import SPLIT_NAMES
from seglib.images import EXTENSIONS, read_binary, read_size

BRUSH = r"task-(\d+)-annotation-\d+(?:-by-[^-]+)?-[^-]+-(.+)-\d+\.png$"
UPLOAD = re.compile(r"^(.*[/\\])?([0-9a-f]{8}-)?")  # folders, and what Label Studio puts before the name of an image
RUNS = "encod|rle|segmentation|annotation"  # what the column of run lengths may be called


def find_rows(images, masks, labels):
    """Images and masks, given as to ``from_folder``: ``(images, export, rows, unpaired, notes)``.

    Where ``export`` is "", each image has one mask file, which stands in its row in place of the annotations.
    """
    try:
        sides = find_files(images, masks)
        export, path = _recognise(sides[1])
    except DataError:
        sides = [], list_files(masks, None)
        export, path = _recognise(sides[1])
        if not export:
            raise
    if export:
        if isinstance(export.way, str):
            raise DataError(f"{path}: found {export.name}, which from_folder does not read. {export.way}")
        images = sides[0] or list_files(images)
        return images, export.name, *export.way(images, sides[1])
    try:
        pairs, *others = find_pairs(*sides)
        masks_of, several = {image: [mask] for image, mask in pairs}, None
    except SeveralMasks as error:
        masks_of, several = error.masks_of, error
        others = _find_lone(*sides, masks_of)
    kinds, are_known = _find_kinds(masks_of, labels)
    if kinds and (several or are_known):
        return sides[0], "a file per class, for which it is named", _to_rows(kinds), *others
    if several:
        raise several
    if kinds:
        found = sorted({kind for masks in kinds.values() for _, kind in masks})
        way = f"if each is the mask of one class, say labels={['background', *found]}"
        others[1].append(f"warning: by their names the masks are of several kinds, {', '.join(found)}; {way}")
    return sides[0], "", [(image, None, mask.path) for image, (mask,) in masks_of.items()], *others


def _recognise(files):
    """The first :class:`Export` of the table that one of the files is of, and that file's path; or Nones."""
    for export in EXPORTS:
        for path in [file.path for file in files if re.search(export.path, file.path)][:20]:
            text = Path(path).read_bytes()[: 2**16].decode(errors="replace") if export.content else ""
            if re.search(export.content, text, re.M):
                return export, path
    return None, None


def _find_lone(images, files, masks_of):
    """``(unpaired, notes)``: what is in no entry of a mapping from each image to its masks."""
    used = {*masks_of, *(mask for masks in masks_of.values() for mask in masks)}
    lone = [file.path for file in dict.fromkeys([*images, *files]) if file not in used]
    return lone, [f"left out: {len(lone)} files without a partner, the first {lone[0]}"] if lone else []


def _read_labelme(images, files):
    """labelme's JSON: shapes in the order drawn; lines and points become no polygon."""
    pairs, *others = find_pairs(images, [file for file in files if file.path.endswith(".json")])
    return [(image, *_read_shapes(file.path)) for image, file in pairs], *others


def _read_shapes(path):
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


def _read_runs(images, files):
    """A CSV of run lengths, as on Kaggle."""
    found, lost, path = {}, [], files[0].path
    image_of = {name: image for image in images for name in (Path(image.path).name, Path(image.path).stem)}
    for line, name, kind, runs in _read_table(path):
        if name not in image_of:
            lost.append(f"line {line}: {name}")
            continue
        size, annotations = found.setdefault(image_of[name], (read_size(image_of[name].path), []))
        annotations += [(kind, _to_counts(runs, size))] if runs else []
    if not found:
        raise DataError(f"{path}, {lost[0]}: no such image; wanted names such as {images[0].path}")
    notes = [f"left out: {len(lost)} rows without an image, the first in {lost[0]}"] if lost else []
    rows = [(image, *row) for image, row in found.items()]
    return rows, [image.path for image in images if image not in found], notes


def _read_table(path):
    """Yields ``(line, image, class, run lengths)``."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file, skipinitialspace=True)
        rows, columns = list(table), table.fieldnames or []
    patterns = "image|img|^id|file", "class|label", RUNS
    found = [next((name for name in columns if re.search(words, name, re.I)), None) for words in patterns]
    if None in (found[0], found[2]) or not rows:
        found = f"{len(rows)} rows of the columns {', '.join(columns)}"
        raise DataError(f"{path}: {found}; wanted ImageId, ClassId, EncodedPixels")
    for line, row in enumerate(rows, 2):
        image, kind, runs = (row.get(name) or "" for name in found)
        if found[0] == found[1]:  # as in ImageId_ClassId: 0002cc93b.jpg_1
            image, _, kind = image.rpartition("_")
        yield line, image, kind or "foreground", "" if (runs := runs.strip()) in ("-1", "nan") else runs


def _to_counts(runs, size):
    """Kaggle's ``start length …``, pixels counted from 1 column by column, as COCO's run lengths."""
    if len(runs.split()) % 2 or not "".join(runs.split()).isdecimal():
        return {"counts": runs.split(), "size": list(size)}  # which do not fill the image
    numbers = np.array(runs.split(), np.int64)
    edges = np.stack([numbers[::2] - 1, numbers[::2] - 1 + numbers[1::2]], axis=-1).ravel()
    return {"counts": np.diff(edges, prepend=0, append=size[0] * size[1]).tolist(), "size": list(size)}


def _read_label_studio(images, files):
    """Label Studio's brush masks, whose names hold tasks; of which image each is says the project's JSON."""
    folders = dict.fromkeys(folder for file in (files[0], images[0]) for folder in list(Path(file.path).parents)[:2])
    tasks, masks_of, problems = _read_tasks(folders), defaultdict(list), []
    image_of = {UPLOAD.sub("", image.path): image for image in images}
    for file in files:
        if not (match := re.search(BRUSH, file.path)):
            continue
        name, path = tasks.get(match[1], ("", ""))
        known = path or ", ".join({str(other) for _, other in tasks.values()}) or "any JSON beside it"
        masks_of[image_of.get(name)].append((file, match[2]))
        if name not in image_of:
            problems.append(f"{file.path}: no image for task {match[1]}, {name or 'which is not'} in {known}")
    way = "Export the project as JSON, too, and put that file beside the masks: it tells of which image each task is"
    refuse(problems, f"Label Studio names masks for tasks, not for images. {way}")
    return _to_rows(masks_of), *_find_lone(images, files, {i: [file for file, _ in masks_of[i]] for i in masks_of})


def _read_tasks(folders):
    """From each task's number to the name of its image, and the file, by Label Studio's JSON in one of the folders."""
    tasks = {}
    for path in (path for folder in folders for path in sorted(Path(folder).glob("*.json"))):
        content = load_json(path)
        for task in [task for task in content if isinstance(task, dict)] if isinstance(content, list) else ():
            texts = map(str, [*task.get("data", task).values(), task.get("file_upload")])
            name = next((unquote(text) for text in texts if text.lower().endswith(EXTENSIONS)), "")
            tasks[str(task.get("id"))] = UPLOAD.sub("", name), path
    return tasks


class Export(NamedTuple):
    """A format, known by the path of one of its files and by what stands in it, two regular expressions."""

    name: str
    path: str
    content: str
    way: Callable | str  # reads its files; of what is not read, says what to export instead


LABELS = r"(_json[/\\]label\.png|[/\\]label_names\.txt)$"
SAVE = "save as PNG, Image.fromarray(np.uint8(x.squeeze())).save(…), one-hot ones by x.argmax(-1)"
EXPORTS = (
    Export("Label Studio's brush masks", BRUSH, "", _read_label_studio),
    Export("labelme's folders", LABELS, "", "Their ids start anew in each image: give labelme's JSON as the masks"),
    Export("labelme's JSON, later shapes on top", r"\.json$", r'"shapes"\s*:', _read_labelme),
    Export("run lengths from 1, by columns", r"\.csv$", rf"(?i)\A.*({RUNS})", _read_runs),
    Export("COCO's JSON", r"\.json$", r'"(images|annotations|categories)"\s*:', "Call data.from_coco(file, images)"),
    Export("Supervisely's JSON", r"\.json$", r'"objects"\s*:', "Export Pascal VOC's masks, or COCO for from_coco"),
    Export("CVAT's XML", r"\.xml$", "<annotations>", "Export 'Segmentation mask 1.1', or 'COCO 1.0' for from_coco"),
    Export("YOLO's text", r"\.txt$", r"^\d+( -?[\d.e-]+){4,}\s*$", "Export masks as PNG, or COCO for from_coco"),
    Export("NumPy's arrays", r"\.np[yz]$", "", f"labelme2voc's own are in SegmentationClass, too; else {SAVE}"),
)


def _to_rows(masks_of):
    """Rows of black and white files: from each image to ``(file, class)`` of each."""
    return [(image, None, [(name, {"file": mask.path}) for mask, name in masks]) for image, masks in masks_of.items()]


def _find_kinds(masks_of, labels):
    """From each image to ``(mask, kind)`` of its masks, or None if names tell no kinds; whether ``labels`` has all."""
    rests = {}
    for image, masks in masks_of.items():
        known = {*split_words(image.stem), *sum(SPLIT_NAMES.values(), ())}
        rests |= {(image, mask): [word for word in split_words(mask.stem) if word not in known] for mask in masks}
    shared = set.intersection(*map(set, rests.values()))
    kinds = {pair: "_".join(word for word in rest if word not in shared) for pair, rest in rests.items()}
    classes = {"_".join(split_words(name)): name for name in labels.names} if labels else {}
    found, named = set(kinds.values()), defaultdict(list)
    if len(found) < 2 or not all(re.fullmatch(r"[^\W\d]+", kind) for kind in found):  # numbers are objects
        return None, False
    for (image, mask), kind in kinds.items():
        named[image].append((mask, classes.get(kind, kind)))
    try:
        for masks in [*named.values()][:20]:
            first, *more = (read_binary(mask.path) for mask, _ in masks)
            same = [other for other in more if other.shape == first.shape]
            if any((first & other).sum() > 0.7 * (first | other).sum() for other in same):  # by two people
                return None, False
    except ValueError:
        return None, False
    return named, found <= classes.keys()
