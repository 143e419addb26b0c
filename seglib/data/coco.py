"""Instance annotations in COCO's JSON, drawn into semantic masks by pycocotools: ``from_coco``."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from seglib.annotations import DataError, draw, drop_empty, find_fault, load_json, refuse, to_label_map
from seglib.data.dataset import SPLITS, from_pairs
from seglib.data.splits import assign_splits
from seglib.labels import LabelMap


class _Image(NamedTuple):
    split: str | None  # None: to be drawn
    folder: Path
    place: str  # in the folder
    size: tuple[int, int]
    shapes: list[tuple]  # (class id, segmentation)


def from_coco(
    annotations, images, labels=None, val=None, test=None, seed=0, groups=None, lists=None, name=None, others=None
):
    """Semantic masks from instance annotations in COCO's JSON: polygons or run lengths, drawn by pycocotools.

    Where annotations overlap, the smaller, by its number of pixels, lies on top of the larger; of equally large ones
    the later. Crowds (``iscrowd``) are drawn like the others. Left out and counted: annotations whose polygons enclose
    nothing, Roboflow's root category. Categories of one name are one class.

    Args:
        annotations: the JSON file, or a mapping from ``"train"``, ``"val"``, ``"test"`` to a file each.
        images: the folder of the images, or a mapping likewise. An image is its ``file_name`` below the folder or,
            where there is no such file, the last part of that name in the folder itself, ``%20`` a space. The JSON has
            the sizes of upright images, as EXIF rotates them.
        labels: a :class:`~seglib.labels.LabelMap`, or a list of names, that has the categories' names. Pixels that no
            annotation covers are of its class *background*, or void if it has none. Default: background, then the
            categories in the order of their ids.
        val, test, seed: shares of the images, in [0, 1), dealt by the seed; None for both: folders called for splits
            decide, or else 0.15.
        groups: what keeps images together: a regular expression, or a function, from place in the folder to group.
        lists: a folder with ``train.txt``, ``val.txt``, ``test.txt``, or a mapping from split to such a file.
        name: for messages and titles. Default: what the (first) JSON file is called.
        others: what the categories become that ``labels`` lacks: ``"background"`` or ``"void"``. Default: an error.

    Returns:
        A :class:`~seglib.data.dataset.Dataset`; its ``read_mask`` takes keys such as
        ``"instances.json, image 17 (000017.jpg)"``, as they stand in ``files``, and gives (height, width) uint8.

    Raises:
        ImportError, OSError: pycocotools is not installed; a JSON file is missing.
        DataError: files that are no such JSON; images, categories and annotations that do not fit together; shapes that
            are none; more than 255 classes. The JSON file and the ids are named.

    Reference:
        Lin et al. (2014), "Microsoft COCO: Common Objects in Context", ECCV; https://cocodataset.org/#format-data
    """
    files = annotations if isinstance(annotations, Mapping) else {None: annotations}
    folders = images if isinstance(images, Mapping) else dict.fromkeys(files, images)
    if files.keys() != folders.keys() or not files or not files.keys() <= {None, *SPLITS}:
        wanted = "a JSON file and a folder, or two mappings from the same of 'train', 'val', 'test'"
        raise DataError(f"wanted {wanted}, got {list(files)} and {list(folders)}")
    if None not in files and (val, test, groups, lists) != (None,) * 4:
        raise DataError("a file per split already says which image goes where; leave val=, test=, groups=, lists= out")
    sources = [(split, Path(files[split]), Path(folders[split])) for split in files]
    contents = {path: _read_json(path) for _, path, _ in sources}
    name, how = name or next(iter(contents)).stem, (val, test, seed, groups, lists)
    return draw_contents(sources, contents, to_label_map(labels), how, name, others)


def draw_contents(sources, contents, labels, how, name, others=None, notes=(), unpaired=()):
    """The :class:`~seglib.data.Dataset` of COCO's JSON, or of another ``"export"`` in its form.

    ``sources`` are (split or None, path of the annotations, folder of the images), ``contents`` the JSON of each such
    path, ``how`` the arguments of ``assign_splits``.
    """
    try:
        import pycocotools.mask  # noqa: F401
    except ImportError as error:
        raise ImportError('drawing annotations needs pycocotools: pip install "seglib[coco]"') from error
    labels, class_of, uncovered, told = _map_categories(contents, labels, others)
    keyed, left_out = _read_images(sources, contents, class_of)
    listed, in_order = list(keyed.values()), any("on top" in content.get("export", "") for content in contents.values())
    notes = [*notes, *told, *left_out]
    notes.append(f"{len(listed)} images, {sum(len(image.shapes) for image in listed)} annotations")
    if empty := [image.place for image in listed if not image.shapes]:
        notes.append(f"{len(empty)} images without any annotation, the first {empty[0]}")
    split_of = {s: [i for i, image in enumerate(listed) if image.split == s] for s in SPLITS}
    if any(image.split is None for image in listed):
        split_of, dealt = assign_splits([image.place for image in listed], *how)
        notes += dealt

    def read_mask(key):
        image = keyed[key]
        return draw(image.shapes, image.size, uncovered, in_order)

    pairs = [(str(image.folder / image.place), key) for key, image in keyed.items()]
    return from_pairs(name, labels, pairs, split_of, read_mask, notes, unpaired, [image.size for image in listed])


def _read_json(path):
    content = load_json(path)
    for key in ("images", "categories", "annotations"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
            wanted = "instance annotations: an object with lists of objects called images, categories and annotations"
            raise DataError(f"{path}: found {key} {entries!r:.40}; wanted {wanted}")
    return content


def _map_categories(contents, labels, others):
    """The label map, category id → class id, the id of pixels without annotation, and notes."""
    names, where = _read_categories(contents), next(iter(contents))  # a file to name in errors
    used = {entry.get("category_id") for content in contents.values() for entry in content["annotations"]}
    groups = {entry.get("supercategory") for content in contents.values() for entry in content["categories"]}
    roots = [i for i in names if i not in used and names[i] in groups and labels is None]
    notes = [f"category {names.pop(i)} is only the group of others, and has no annotation: left out" for i in roots]
    several = [name for name, count in Counter(names.values()).items() if count > 1]
    notes += [f"several categories are called {', '.join(several)}: one class each"] if several else []
    ignored = {i: names.pop(i) for i in [*names] if names[i] == "__ignore__"}  # as labelme writes it
    classes = list(dict.fromkeys(["background", *(names[i] for i in sorted(names))]))
    if labels is None and len(classes) > 255:
        raise DataError(f"{where}: {len(classes)} classes with background, a mask holds 255; choose by labels=")
    labels = labels or LabelMap(tuple(classes))
    known = {name: i for i, name in enumerate(labels.names)}
    uncovered = known.setdefault("background", labels.ignore_id)
    rest = {None: None, "void": labels.ignore_id, "background": uncovered}
    if others not in rest:
        raise DataError(f"others= is 'background', 'void' or None, got {others!r}")
    lacking = ", ".join(name for i, name in names.items() if i in used and name not in known)
    if lacking and others is None:
        way = "Add them" + ", or say others='background' or others='void'" * ("export" not in contents[where])
        raise DataError(f"{where}: labels= lacks {lacking}. {way}")
    notes += [f"labels= lacks {lacking}, which become {others}"] if lacking else []
    if absent := known.keys() - set(names.values()) - {"background"}:
        notes.append(f"no category is called {', '.join(sorted(absent))}")
    class_of = {i: known.get(name, rest[others]) for i, name in names.items()}
    return labels, class_of | dict.fromkeys([*roots, *ignored], labels.ignore_id), uncovered, notes


def _read_categories(contents):
    """Category id → name, of all files together."""
    names = {}
    for path, content in contents.items():
        for category in content["categories"]:
            key, name = category.get("id"), category.get("name")
            name = "background" if name == "_background_" else name  # as labelme writes it
            if key is None or name is None or names.setdefault(key, name) != name:
                raise DataError(f"{path}: category {key!r} is called {name!r}, another {names.get(key)!r}")
    return names


def _read_images(sources, contents, class_of):
    """From a key that names the JSON file, the image's id and its place to :class:`_Image`; and notes."""
    keyed, used, empty = {}, {}, 0
    for split, path, folder in sources:
        found, problems = {}, []
        for entry in contents[path]["images"]:
            number, file_name = entry.get("id"), entry.get("file_name")
            sides = entry.get("height"), entry.get("width")
            size = tuple(int(side) if isinstance(side, float) and side.is_integer() else side for side in sides)
            place = str(file_name).replace("\\", "/").lstrip("/")
            last = place.rpartition("/")[2]
            names = (place, unquote(place), last, unquote(last))
            place = next((name for name in names if (folder / name).is_file()), last)
            file, key = folder / place, f"{path}, image {number!r} ({place})"
            if number is None or number in found:
                problems.append(f"{key}: wanted an id of its own")
            elif not all(isinstance(side, int) and side > 0 for side in size):
                problems.append(f"{key}: height {size[0]!r} and width {size[1]!r}; wanted pixels")
            elif not file.is_file():
                problems.append(f"{key}: no file {file_name} in {folder}")
            elif file in used:
                problems.append(f"{key}: the same file as {used[file]}")
            found[number] = keyed[key] = _Image(split, folder, place, size, [])
            used[file] = key
        refuse(problems, "images that cannot be used")
        empty += _add_annotations(path, contents[path]["annotations"], found, class_of)
    return keyed, [f"left out: {empty} annotations whose polygons enclose nothing"] if empty else []


def _add_annotations(path, annotations, images, class_of):
    """Gives annotations to their images, counts the empty, refuses what pycocotools crashes on or draws wrongly."""
    problems, empty = [], 0
    shapes = [drop_empty(annotation.get("segmentation")) for annotation in annotations]
    for number, annotation in enumerate(annotations):
        image, category = images.get(annotation.get("image_id")), annotation.get("category_id")
        if image is None:
            problem = f"image_id {annotation.get('image_id')!r} is not among the {len(images)} that the file lists"
        elif category not in class_of:
            problem = f"category_id {category!r} is not among the {len(class_of)} that the file lists"
        elif shapes[number] == [] and any(shapes):
            empty, problem = empty + 1, None
        else:
            problem = find_fault(shapes[number], image.size)
            image.shapes.append((class_of[category], shapes[number]))
        if problem:
            problems.append(f"annotation {annotation.get('id', f'no. {number}')!r}: {problem}")
    refuse(problems, f"{path}: annotations that cannot be used")
    return empty
