"""Instance annotations in COCO's JSON, as polygons or run lengths: ``from_coco``."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from seglib.data.dataset import SPLITS, DataError, from_pairs, refuse, report, to_label_map
from seglib.data.instances import check_void, list_below
from seglib.data.shapes import Region, draw_mask, mask_api, read_shape
from seglib.data.splits import assign_splits
from seglib.images import EXTENSIONS
from seglib.labels import LabelMap

KEYS = ("images", "categories", "annotations")
WANTED = f"wanted instance annotations, an object with the lists {', '.join(KEYS)}"


class Source(NamedTuple):
    """A JSON file: its split (None if it is the only one), its path, its folder of images, and its contents."""

    split: str | None
    path: Path
    folder: Path
    content: dict


class Picture(NamedTuple):
    """One image: its split, its place below the folder, ``(height, width)``, and its regions."""

    split: str | None
    folder: Path
    place: str
    size: tuple[int, int]
    regions: list


class Classes(NamedTuple):
    """What the categories mean: the label map, category id → class id, and the id where there is no annotation."""

    labels: LabelMap
    class_of: dict
    uncovered: int


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
    """Semantic masks from instance annotations in COCO's JSON.

    Where annotations overlap, the smaller, by its number of pixels, lies on top of the larger; of equally large ones
    the one further down in the file. A pixel that none covers is background. Only the annotations are kept in memory:
    a mask is drawn whenever it is read.

    Args:
        annotations: the JSON file, or a mapping from ``"train"``, ``"val"``, ``"test"`` to a file each.
        images: the folder of the images, or a mapping likewise. An image is looked for at its ``file_name`` below the
            folder and, where there is none, by the last part of that name anywhere below it.
        labels: a :class:`~seglib.labels.LabelMap` that has the categories' names. Pixels that no annotation covers
            are of its class *background*, or void if it has none. Default: background, then the categories in the
            order of their ids.
        void: what becomes void: ``"crowd"``, the regions of ``iscrowd`` (without it they are of their class; they are
            drawn in the same order as the others), and ``"overlap"``, the pixels of two classes or more.
        val, test, seed, groups, lists: as in :func:`~seglib.data.splits.assign_splits`, where images are named by their
            place below the folder; not with a mapping of files.
        name: for messages and titles. Default: what the (first) JSON file is called.
        others: what the categories become that ``labels`` does not name: ``"background"`` or ``"void"``. Default: an
            error that lists them.

    Returns:
        A :class:`~seglib.data.dataset.Dataset`; its ``read_mask`` takes keys such as
        ``"instances.json, image 17 (000017.jpg)"``, as they stand in ``files``.

    Raises:
        DataError: files that are missing or no such JSON; images, categories and annotations that do not fit together;
            shapes that are none; more than 255 classes; no ``pycocotools``. The JSON file and the ids are named.

    Reference:
        Lin et al. (2014), "Microsoft COCO: Common Objects in Context", ECCV; https://cocodataset.org/#format-data
    """
    void = check_void(void, ("crowd", "overlap"))
    mask_api()  # asked for now rather than when the first polygon is drawn
    sources = _read_sources(annotations, images)
    if sources[0].split and (val, test, groups, lists) != (None,) * 4:
        raise DataError("a file per split already says which image goes where; leave val=, test=, groups=, lists= out")
    classes, notes = map_classes(sources, to_label_map(labels), others)
    pictures, unused, found = _read_pictures(sources, classes)
    name, notes = name or sources[0].path.stem, [*_describe(pictures, classes, void), *notes, *found]
    report(name, notes)
    images = list(pictures.values())
    if sources[0].split:
        split_of, dealt = {s: [i for i, picture in enumerate(images) if picture.split == s] for s in SPLITS}, []
    else:
        split_of, dealt = assign_splits([picture.place for picture in images], val, test, seed, groups, lists)
        report(name, dealt)

    def read_mask(key):
        return draw_mask(pictures[key].regions, pictures[key].size, classes.uncovered, classes.labels.ignore_id, void)

    pairs = [(str(picture.folder / picture.place), key) for key, picture in pictures.items()]
    sizes = [picture.size for picture in images]
    return from_pairs(name, classes.labels, pairs, split_of, read_mask, [*notes, *dealt], unused, sizes)


def _describe(pictures, classes, void):
    """What the files hold and how masks are drawn from it, in words."""
    regions = [region for picture in pictures.values() for region in picture.regions]
    polygons, crowds = sum(isinstance(r.shape, list) for r in regions), sum(r.crowd for r in regions)
    rest = (*classes.labels.names, "void")[min(classes.uncovered, classes.labels.num_classes)]
    notes = [
        f"{len(pictures)} images, {polygons} annotations by polygons, {len(regions) - polygons} by run lengths",
        f"{len(classes.class_of)} categories → {classes.labels.num_classes} classes; without annotation → {rest}",
        "where annotations overlap, the smaller lies on top",
    ]
    if "overlap" in void:
        notes.append("pixels of two classes or more become void")
    if crowds:
        notes.append(f"{crowds} crowds " + ("become void" if "crowd" in void else "are drawn as their class"))
    if empty := [picture.place for picture in pictures.values() if not picture.regions]:
        notes.append(f"{len(empty)} images without any annotation are all {rest}, the first {empty[0]}")
    return notes


# The JSON files


def _read_sources(annotations, images):
    """The JSON files with their folders, one :class:`Source` each; only their outline is checked."""
    files = annotations if isinstance(annotations, Mapping) else {None: annotations}
    folders = images if isinstance(images, Mapping) else dict.fromkeys(files, images)
    if files.keys() != folders.keys() or not files or not files.keys() <= {None, *SPLITS}:
        found = " and ".join(f"{{{', '.join(map(repr, given))}}}" for given in (files, folders))
        raise DataError(f"one JSON file and one folder, or a mapping from splits ({', '.join(SPLITS)}), got {found}")
    refuse([f"{folder}: no such folder" for folder in folders.values() if not Path(folder).is_dir()], "missing folders")
    return [Source(split, Path(path), Path(folders[split]), read_json(Path(path))) for split, path in files.items()]


def read_json(path):
    """The contents of a file of instance annotations, of which only the outline is checked.

    Raises:
        DataError: no such file, no JSON, or a JSON of another kind; the message says of which.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: no JSON that can be read: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: a {type(content).__name__} at its top (a file of results?); {WANTED}")
    lacking = [key for key in KEYS if not isinstance(content.get(key), list)]
    if lacking:
        raise DataError(f"{path}: no list {' or '.join(lacking)} in it (found: {', '.join(content)}); {WANTED}")
    for key in KEYS:
        if not content[key] or not all(isinstance(entry, dict) for entry in content[key]):
            raise DataError(f"{path}: {key!r} is empty or holds something else than objects; {WANTED}")
    if "segments_info" in content["annotations"][0]:
        raise DataError(
            f"{path}: panoptic annotations, whose masks are PNG files (segments_info); {WANTED}, such as "
            "instances_val2017.json; COCO's panoptic masks come with data.load('coco/2017_panoptic')"
        )
    return content


# Categories to classes


def map_classes(sources, labels=None, others=None):
    """Finds a class for each category.

    Args:
        sources: list of :class:`Source`.
        labels, others: as in :func:`from_coco`.

    Returns:
        ``(classes, notes)``: a :class:`Classes`, and what was inferred, in words.

    Raises:
        DataError: categories without an integer id and a name, one id or name for two, too many for 8 bits, or those
            that ``labels`` lacks.
    """
    names, where = _read_categories(sources), sources[0].path
    labels = _default_labels(names, where) if labels is None else labels
    uncovered = next((i for i, name in enumerate(labels.names) if is_background(name)), labels.ignore_id)
    rest = {None: None, "background": uncovered, "void": labels.ignore_id}
    if others not in rest or (others == "background" and uncovered == labels.ignore_id):
        raise DataError(f"others= is 'background', if labels= has that class, 'void' or None, got {others!r}")
    known, notes = {name: i for i, name in enumerate(labels.names)}, []
    class_of = {i: uncovered if is_background(n) else known.get(n, rest[others]) for i, n in names.items()}
    used = Counter(repr(entry.get("category_id")) for source in sources for entry in source.content["annotations"])
    lacking = [i for i, name in names.items() if name not in known and not is_background(name) and used[repr(i)]]
    if lacking:
        listed = ", ".join(f"{names[i]} ({used[repr(i)]} annotations)" for i in lacking)
        if others is None:
            raise DataError(
                f"{where}: categories that labels= lacks: {listed}; it has {', '.join(labels.names)}. Add them, or say "
                "others='background' or others='void'"
            )
        notes.append(f"labels= lacks {listed}: they become {others}")
    absent = [name for name in labels.names if name not in names.values() and not is_background(name)]
    if absent:
        notes.append(f"no category is called {', '.join(absent)}")
    return Classes(labels, class_of, uncovered), notes


def _default_labels(names, where):
    """Background, then the categories in the order of their ids."""
    classes = ("background", *[names[i] for i in sorted(names) if not is_background(names[i])])
    if len(classes) > 255:
        raise DataError(f"{where}: {len(classes)} classes with background, a mask holds 255; choose some by labels=")
    return LabelMap(classes)


def is_background(name):
    """Whether a class is called background, in whatever spelling (labelme writes ``_background_``)."""
    return name.strip("_ ").lower() == "background"


def _read_categories(sources):
    """The names of the categories by their ids, of all files together."""
    names, problems = {}, []
    for path, category in [(source.path, category) for source in sources for category in source.content["categories"]]:
        key, name = category.get("id"), category.get("name")
        same = [i for i in names if names[i] == name and i != key]
        if type(key) is not int or not isinstance(name, str):
            problems.append(f"{path}: category {key!r} is called {name!r}; wanted an integer and a name")
        elif same:
            problems.append(f"{path}: categories {same[0]} and {key} are both called {name!r}")
        elif names.setdefault(key, name) != name:
            problems.append(f"{path}: category {key} is called both {names[key]!r} and {name!r}")
    refuse(problems, "categories that cannot be told apart")
    return names


# Images and their annotations


def _read_pictures(sources, classes):
    """Key → :class:`Picture` of all files, images on disk that no file names, and what was inferred, in words."""
    pictures, notes, used, problems = {}, [], set(), []
    names = Counter(source.path.name for source in sources)
    indices = {folder: _index(folder) for folder in {source.folder for source in sources}}
    for source in sources:
        by_id, moved = _read_images(source, indices[source.folder])
        _read_regions(source, by_id, classes.class_of)
        short = source.path.name if names[source.path.name] == 1 else "/".join(source.path.parts[-2:])
        pictures |= {f"{short}, image {key!r} ({picture.place})": picture for key, picture in by_id.items()}
        problems += [f"{p.folder / p.place}: in {short} too" for p in by_id.values() if (p.folder, p.place) in used]
        used |= {(picture.folder, picture.place) for picture in by_id.values()}
        if moved:
            notes.append(f"{len(moved)} images were found by the last part of their file_name, the first {moved[0]}")
    refuse(problems, "images in two splits")
    places = [(folder, place) for folder, index in indices.items() for found in index.values() for place in found]
    unused = sorted(str(folder / place) for folder, place in places if (folder, place) not in used)
    if unused:
        notes.append(f"left out: {len(unused)} images that the JSON does not name, the first {Path(unused[0]).name}")
    return pictures, unused, notes


def _index(folder):
    """Last part of the name → places of the image files below a folder, relative to it and with ``/``."""
    index = {}
    for path in list_below(folder, "*"):
        if path.suffix.lower() in EXTENSIONS:
            index.setdefault(path.name, []).append(path.relative_to(folder).as_posix())
    return index


def _read_images(source, index):
    """Image id → :class:`Picture` without regions, and the places that are not where ``file_name`` says."""
    pictures, moved, problems, places = {}, [], [], {}
    for image in source.content["images"]:
        key, file_name, size = image.get("id"), image.get("file_name"), (image.get("height"), image.get("width"))
        if not isinstance(key, int | str) or not isinstance(file_name, str):
            problems.append(f"image {key!r}: file_name {file_name!r}; wanted an id and the name of a file")
            continue
        found = _find(file_name, index)
        if key in pictures:
            problems.append(f"image {key!r}: two images have this id, {pictures[key].place} and {file_name}")
        elif not all(isinstance(side, int) and side > 0 for side in size):
            problems.append(f"image {key!r}: height {size[0]!r} and width {size[1]!r}; wanted pixels")
        elif len(found) != 1:
            several = f"{len(found)} files called so, {' and '.join(found[:2])}" if found else "no file called so"
            problems.append(f"image {key!r}: {several} in {source.folder}: {file_name}")
        elif places.setdefault(found[0], key) != key:
            problems.append(f"image {key!r}: it is the file {found[0]}, as is image {places[found[0]]!r}")
        else:
            pictures[key] = Picture(source.split, source.folder, found[0], size, [])
            moved += [found[0]] if found[0] != file_name else []
    refuse(problems, f"{source.path}: images that cannot be used")
    return pictures, moved


def _find(file_name, index):
    """The places that a ``file_name`` may mean."""
    place = file_name.replace("\\", "/")
    places = index.get(place.rpartition("/")[2], [])
    return [place] if place in places else places


def _read_regions(source, pictures, class_of):
    """Adds the annotations to their images."""
    problems = []
    for number, annotation in enumerate(source.content["annotations"]):
        try:
            image, category = annotation.get("image_id"), annotation.get("category_id")
            for key, value, known in (("image_id", image, pictures), ("category_id", category, class_of)):
                if not isinstance(value, int | str) or value not in known:
                    raise DataError(f"{key} {value!r} is not among the {len(known)} that the file lists")
            shape = read_shape(annotation.get("segmentation"), pictures[image].size)
            pictures[image].regions.append(Region(class_of[category], bool(annotation.get("iscrowd")), shape))
        except DataError as error:
            where = f"annotation {annotation['id']!r}" if "id" in annotation else f"annotation without id, no. {number}"
            problems.append(f"{where}: {error}")
    refuse(problems, f"{source.path}: annotations that cannot be used")
