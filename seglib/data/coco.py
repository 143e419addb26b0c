"""Instance annotations in COCO's JSON, drawn into semantic masks by pycocotools: ``from_coco``."""

import contextlib
import io
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seglib.data.dataset import SPLITS, DataError, from_pairs, refuse, report, to_label_map
from seglib.data.instances import check_void, list_below
from seglib.data.splits import assign_splits
from seglib.images import EXTENSIONS
from seglib.labels import LabelMap


class _Image(NamedTuple):
    """An image: its split (None: to be drawn), its folder, its place in it, its id, and the ``COCO`` of its JSON."""

    split: str | None
    folder: Path
    place: str
    id: int | str
    coco: object


def from_coco(
    annotations,
    images,
    labels=None,
    void=(),
    val=None,
    test=None,
    seed=0,
    groups=None,
    lists=None,
    name=None,
    others=None,
):
    """Semantic masks from instance annotations in COCO's JSON: polygons or run lengths, drawn by pycocotools.

    Where annotations overlap, the smaller, by its number of pixels, lies on top of the larger; of equally large ones
    the one further down in the file. A pixel that none covers is background. Only the annotations are kept in memory:
    a mask is drawn whenever it is read.

    Args:
        annotations: the JSON file, or a mapping from ``"train"``, ``"val"``, ``"test"`` to a file each.
        images: the folder of the images, or a mapping likewise. An image is its ``file_name`` below the folder or,
            where there is no such file, the last part of that name in the folder itself.
        labels: a :class:`~seglib.labels.LabelMap`, or a list of names, that has the categories' names. Pixels that no
            annotation covers are of its class *background*, or void if it has none. Default: background, then the
            categories in the order of their ids.
        void: what becomes void: ``"crowd"``, the regions of ``iscrowd`` (without it they are of their class; they are
            drawn in the same order as the others), and ``"overlap"``, the pixels of two classes or more.
        val, test: shares of the images, in [0, 1), drawn by ``seed``; the rest is ``train``, 0 leaves a split out. None
            for both: folders called ``train``, ``val`` and ``test`` decide if every image lies in one of them, 0.15
            each otherwise. Like ``groups`` and ``lists``, not with a mapping of files.
        seed: decides which image, or which group, goes where.
        groups: what keeps images together: a regular expression searched in each image's place below the folder, whose
            first group (or, without one, whose match) is the group; or a function from the place to the group.
        lists: official lists in place of drawing: a folder that holds ``train.txt``, ``val.txt``, ``test.txt``, or a
            mapping from split to such a file, which names an image a line. Images on no list are left out.
        name: for messages and titles. Default: what the (first) JSON file is called.
        others: what the categories become that ``labels`` does not name: ``"background"`` or ``"void"``. Default: an
            error that lists them.

    Returns:
        A :class:`~seglib.data.dataset.Dataset`; its ``read_mask`` takes keys such as
        ``"instances.json, image 17 (000017.jpg)"``, as they stand in ``files``, and gives (height, width) uint8.

    Raises:
        ImportError: pycocotools is not installed.
        DataError: files that are missing or no such JSON; images, categories and annotations that do not fit together;
            shapes that are none; more than 255 classes. The JSON file and the ids are named.

    Reference:
        Lin et al. (2014), "Microsoft COCO: Common Objects in Context", ECCV; https://cocodataset.org/#format-data
    """
    try:
        import pycocotools.coco  # noqa: F401
    except ImportError as error:
        raise ImportError(f'from_coco needs pycocotools: pip install "seglib[coco]" ({error})') from error
    void = check_void(void, ("crowd", "overlap"))
    files, folders = _match_files(annotations, images)
    if None not in files and (val, test, groups, lists) != (None,) * 4:
        raise DataError("a file per split already says which image goes where; leave val=, test=, groups=, lists= out")
    contents = {path: _read_json(path) for path in files.values()}
    labels, class_of, uncovered, notes = _map_categories(contents, to_label_map(labels), others)
    keyed, unpaired, found = _read_images(files, folders, contents, class_of)
    listed, name = list(keyed.values()), name or next(iter(contents)).stem
    notes = [*_describe(listed, void), *notes, *found]
    report(name, notes)
    split_of, dealt = {s: [i for i, image in enumerate(listed) if image.split == s] for s in SPLITS}, []
    if None in files:
        split_of, dealt = assign_splits([image.place for image in listed], val, test, seed, groups, lists)
        report(name, dealt)

    def read_mask(key):
        return _draw_mask(keyed[key].coco, keyed[key].id, class_of, uncovered, labels.ignore_id, void)

    pairs = [(str(image.folder / image.place), key) for key, image in keyed.items()]
    entries = [image.coco.imgs[image.id] for image in listed]
    sizes = [(entry["height"], entry["width"]) for entry in entries]
    return from_pairs(name, labels, pairs, split_of, read_mask, [*notes, *dealt], unpaired, sizes)


def _draw_mask(coco, image_id, class_of, uncovered, ignore_id, void):
    """(height, width) uint8: the annotations of an image, the largest first."""
    from pycocotools import mask as rle

    annotations, image = coco.imgToAnns[image_id], coco.imgs[image_id]
    codes = [coco.annToRLE(annotation) for annotation in annotations]
    ids = np.full((image["height"], image["width"]), uncovered, np.uint8)
    top, mixed = np.full(ids.shape, -1, np.int16), np.zeros(ids.shape, bool)  # the class drawn last; two or more
    for i in sorted(range(len(codes)), key=lambda i: -int(rle.area(codes[i]))):
        x, y, width, height = rle.toBbox(codes[i]).astype(int)
        box, class_id = np.s_[y : y + height, x : x + width], class_of[annotations[i]["category_id"]]
        inside = rle.decode(codes[i])[box] > 0  # what annToMask does, without rasterising a second time
        mixed[box] |= inside & (top[box] >= 0) & (top[box] != class_id)
        top[box][inside] = class_id
        ids[box][inside] = ignore_id if annotations[i].get("iscrowd") and "crowd" in void else class_id
    if "overlap" in void:
        ids[mixed] = ignore_id
    return ids


def _describe(images, void):
    """What the files hold and how masks are drawn from it, in words."""
    annotations = [image.coco.imgToAnns[image.id] for image in images]
    overlaps = "two classes → void" if "overlap" in void else "the smaller on top"
    notes = [f"{len(images)} images, {sum(map(len, annotations))} annotations; where they overlap: {overlaps}"]
    if crowds := sum(bool(annotation.get("iscrowd")) for found in annotations for annotation in found):
        notes.append(f"{crowds} crowds " + ("become void" if "crowd" in void else "are drawn as their class"))
    if empty := [image.place for image, found in zip(images, annotations, strict=True) if not found]:
        notes.append(f"{len(empty)} images without any annotation, the first {empty[0]}")
    return notes


# The JSON files and their categories


def _match_files(annotations, images):
    """Split (None if there is one file only) → JSON file, and → folder of images."""
    files = annotations if isinstance(annotations, Mapping) else {None: annotations}
    folders = images if isinstance(images, Mapping) else dict.fromkeys(files, images)
    if files.keys() != folders.keys() or not files or not files.keys() <= {None, *SPLITS}:
        wanted = f"one JSON file and one folder, or mappings from splits ({', '.join(SPLITS)})"
        raise DataError(f"wanted {wanted}, got {list(files)} and {list(folders)}")
    refuse([f"{folder}: no such folder" for folder in folders.values() if not Path(folder).is_dir()], "missing folders")
    return {split: Path(path) for split, path in files.items()}, {split: Path(path) for split, path in folders.items()}


def _read_json(path):
    """The contents of a JSON file, of which only the outline is checked."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: no JSON that can be read: {error}") from error
    wanted = "wanted instance annotations: an object with lists of objects called images, categories and annotations"
    if not isinstance(content, dict):
        raise DataError(f"{path}: found a {type(content).__name__} (a file of results?); {wanted}")
    for key in ("images", "categories", "annotations"):
        entries = content.get(key)
        if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{path}: found {key} {entries!r:.40}; {wanted}")
    if "segments_info" in content["annotations"][0]:
        panoptic = "panoptic annotations (segments_info), which data.load('coco/2017_panoptic') reads"
        raise DataError(f"{path}: found {panoptic}; {wanted}, as in instances_val2017.json")
    return content


def _map_categories(contents, labels, others):
    """The label map, category id → class id, the id of pixels without annotation, and notes."""
    names, where = _read_categories(contents), next(iter(contents))
    classes = ["background", *[names[i] for i in sorted(names) if names[i] != "background"]]
    if labels is None and len(classes) > 255:
        raise DataError(f"{where}: {len(classes)} classes with background, a mask holds 255; choose by labels=")
    labels = labels or LabelMap(tuple(classes))
    known = {_spell(name): i for i, name in enumerate(labels.names)}
    uncovered, notes = known.setdefault("background", labels.ignore_id), []
    rest = {None: None, "void": labels.ignore_id, "background": uncovered}
    if others not in rest or (others == "background" and uncovered == labels.ignore_id):
        raise DataError(f"others= is 'background', if labels= has that class, 'void' or None, got {others!r}")
    used = Counter(str(entry.get("category_id")) for content in contents.values() for entry in content["annotations"])
    lacking = [f"{n} ({used[str(i)]} annotations)" for i, n in names.items() if n not in known and used[str(i)]]
    if lacking and others is None:
        what = f"labels= has {', '.join(labels.names)}, not the categories {', '.join(lacking)}"
        raise DataError(f"{where}: {what}. Add them, or say others='background' or others='void'")
    if lacking:
        notes.append(f"labels= lacks the categories {', '.join(lacking)}: they become {others}")
    if absent := known.keys() - set(names.values()) - {"background"}:
        notes.append(f"no category is called {', '.join(sorted(absent))}")
    return labels, {i: known.get(name, rest[others]) for i, name in names.items()}, uncovered, notes


def _read_categories(contents):
    """Category id → name, of all files together."""
    names, problems = {}, []
    for path, content in contents.items():
        for category in content["categories"]:
            key, name = category.get("id"), category.get("name")
            if type(key) is not int or not isinstance(name, str):
                problems.append(f"{path}: category {key!r} is called {name!r}; wanted an integer and a name")
                continue
            name = _spell(name)
            if same := [i for i in names if (i == key) != (names[i] == name)]:
                problems.append(f"{path}: category {key} {name!r} is not told from {same[0]} {names[same[0]]!r}")
            names.setdefault(key, name)
    refuse(problems, "categories that cannot be told apart")
    return names


def _spell(name):
    """The name of a class, ``background`` in whatever spelling (labelme writes ``_background_``)."""
    return "background" if name.strip("_ ").lower() == "background" else name


# Images and their annotations


def _read_images(files, folders, contents, class_of):
    """Key → :class:`_Image` of all files, images on disk that no file names, and notes."""
    from pycocotools.coco import COCO

    keyed, notes, problems, used = {}, [], [], set()
    for split, path in files.items():
        folder, coco = folders[split], COCO()
        coco.dataset = contents[path]
        places = _find_images(path, coco.dataset["images"], folder)
        _check_annotations(path, coco.dataset, class_of)
        with contextlib.redirect_stdout(io.StringIO()):  # it says that it creates an index
            coco.createIndex()
        short = path.name if [other.name for other in contents].count(path.name) == 1 else "/".join(path.parts[-2:])
        problems += [f"{folder / place}: in {short} too" for place in places.values() if folder / place in used]
        used |= {folder / place for place in places.values()}
        images = [_Image(split, folder, place, key, coco) for key, place in places.items()]
        keyed |= {f"{short}, image {image.id!r} ({image.place})": image for image in images}
        if moved := [image.place for image in images if image.place != coco.imgs[image.id]["file_name"]]:
            notes.append(f"{len(moved)} images were found by the last part of their file_name, the first {moved[0]}")
    refuse(problems, "images in two splits")
    there = {path for folder in folders.values() for path in list_below(folder, "*")} - used
    unpaired = sorted(str(path) for path in there if path.suffix.lower() in EXTENSIONS)
    if unpaired:
        notes.append(f"left out: {len(unpaired)} images that no JSON names, the first {Path(unpaired[0]).name}")
    return keyed, unpaired, notes


def _find_images(path, images, folder):
    """Image id → its place below the folder."""
    found, ids, problems = {}, {}, []
    for image in images:
        key, file_name, size = image.get("id"), image.get("file_name"), (image.get("height"), image.get("width"))
        if not isinstance(key, int | str) or key in found or not isinstance(file_name, str):
            problems.append(f"image {key!r}: file_name {file_name!r}; wanted an id of its own and the name of a file")
            continue
        place = file_name.replace("\\", "/").lstrip("/")
        found[key] = place if (folder / place).is_file() else place.rpartition("/")[2]
        if not all(isinstance(side, int) and side > 0 for side in size):
            problems.append(f"image {key!r}: height {size[0]!r} and width {size[1]!r}; wanted pixels")
        elif not (folder / found[key]).is_file():
            problems.append(f"image {key!r}: no file {file_name} in {folder}")
        elif ids.setdefault(found[key], key) != key:
            problems.append(f"image {key!r}: it is the file {found[key]}, as is image {ids[found[key]]!r}")
    refuse(problems, f"{path}: images that cannot be used")
    return found


def _check_annotations(path, content, class_of):
    """Refuses what pycocotools would crash on or draw wrongly in silence."""
    problems, sizes = [], {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for number, annotation in enumerate(content["annotations"]):
        if not isinstance(annotation.get("id"), int | str):
            annotation["id"] = f"no. {number}"  # COCO's index wants one
        image, category = annotation.get("image_id"), annotation.get("category_id")
        if not isinstance(image, int | str) or image not in sizes:
            problem = f"image_id {image!r} is not among the {len(sizes)} that the file lists"
        elif not isinstance(category, int | str) or category not in class_of:
            problem = f"category_id {category!r} is not among the {len(class_of)} that the file lists"
        else:
            problem = _find_fault(annotation.get("segmentation"), sizes[image])
        if problem:
            problems.append(f"annotation {annotation['id']!r}: {problem}")
    refuse(problems, f"{path}: annotations that cannot be used")


def _find_fault(segmentation, size):
    """What is wrong with a ``segmentation``, polygons ``x1, y1, x2, y2, …`` or run lengths, or None."""
    if isinstance(segmentation, dict):
        return _find_run_fault(segmentation, list(size))
    if not isinstance(segmentation, list) or not segmentation:
        return f"segmentation {segmentation!r:.40}; wanted polygons or run lengths (a box alone is no mask)"
    for polygon in segmentation:
        try:
            points = np.asarray(polygon, np.float64)
        except (TypeError, ValueError):
            points = np.zeros(0)
        if points.ndim != 1 or len(points) < 6 or len(points) % 2:
            return f"polygon {polygon!r:.40}; wanted 6 or more numbers x1, y1, x2, y2, …"
        points, limit = points.reshape(-1, 2), np.array(size[::-1])
        if not ((points >= -limit) & (points <= 2 * limit)).all():  # the rasteriser takes memory for all of it
            return f"a polygon with x, y from {points.min()} to {points.max()} in an image of {size[0]}×{size[1]}"
    return None


def _find_run_fault(segmentation, size):
    """What is wrong with run lengths, which count pixels column by column: outside, inside, outside, …; or None."""
    counts, pixels = segmentation.get("counts"), size[0] * size[1]
    if segmentation.get("size") != size:
        return f"run lengths of size {segmentation.get('size')}, the image is {size} (height, width)"
    try:
        runs = np.asarray(_decompress(counts) if isinstance(counts, str) else counts)
    except ValueError:
        runs = np.zeros(0)
    if runs.ndim != 1 or runs.dtype.kind not in "iu" or (runs < 0).any():
        return f"counts {counts!r:.40}; wanted run lengths, a list of integers or COCO's compressed string"
    if (runs > pixels).any() or runs.sum() != pixels:
        return f"run lengths of {runs.sum()} pixels, the image has {size[0]}·{size[1]} = {pixels}"
    return None


def _decompress(text):
    """The run lengths in a compressed string: 5 bits a character, the lowest first; from the fourth run on, they are
    differences to the run before the last (``rleFrString`` in COCO's ``maskApi.c``)."""
    runs, value, shift = [], 0, 0
    for code in (ord(character) - 48 for character in text):
        if not 0 <= code < 64:
            raise ValueError(f"character {chr(code + 48)!r}")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:  # the last character of this run, whose bit 16 is the sign
            value -= (code & 16) << (shift - 4)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("the last run has no end")
    return runs
