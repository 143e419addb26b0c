"""One binary mask per instance, as in the 2018 Data Science Bowl: ``from_instances``."""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seglib.data.dataset import DataError, from_pairs, refuse, report, to_label_map
from seglib.data.splits import assign_splits
from seglib.images import EXTENSIONS, read_size, read_values
from seglib.labels import VOID, LabelMap

# What the layouts are called in the report.
PER_FOLDER = "a folder per image"
PER_MASKS = "a folder of masks per image"
NUMBERED = "masks numbered after their image"

JUNK = ("__macosx", "thumbs.db", "desktop.ini")  # and all that starts with a dot


class Case(NamedTuple):
    """An image and the masks of its instances.

    Attributes:
        name: the pair's name for splits, relative to the root.
        image: the image's path.
        key: where its masks lie, in words that a message can use; different for each image.
        masks: the paths of the masks.
        layout: in which of the layouts they were found.
    """

    name: str
    image: str
    key: str
    masks: tuple[str, ...]
    layout: str


def from_instances(root, labels=None, void=(), val=None, test=None, seed=0, groups=None, lists=None, name=None):
    """Semantic masks from images whose instances (nuclei, cells, …) have a binary mask file each.

    Three layouts are told apart, at any depth, and reported with what else was inferred (``Dataset.notes``) before
    any pixel is read::

        root/<image>/images/<any>.png   root/<image>/masks/<any>.png      the 2018 Data Science Bowl
        root/images/<image>.png         root/masks/<image>/<any>.png
        root/images/<image>.png         root/masks/<image>_<number>.png

    A pixel is 1 if it lies in an instance and 0 elsewhere; instances that overlap are joined. An image with an empty
    folder of masks is all background. Files that operating systems leave behind (``.DS_Store``, ``__MACOSX``,
    ``._x.png``, ``Thumbs.db``) are not looked at.

    Args:
        root: the folder.
        labels: a :class:`~seglib.labels.LabelMap` of two classes. Default: background and object.
        void: what becomes void: ``"overlap"``, the pixels of two or more instances; ``"touch"``, the pixels within one
            pixel (diagonals count) of two or more instances, which includes their overlaps and gaps one pixel wide.
        val, test, seed, groups, lists: as in :func:`~seglib.data.splits.assign_splits`; a pair's name is
            ``<image>.png`` in the first layout and ``images/<image>.png`` in the others.
        name: for messages and titles. Default: what the folder is called.

    Returns:
        A :class:`~seglib.data.dataset.Dataset`. Reading a pair raises :class:`~seglib.data.dataset.DataError` if a
        mask has another size than the image or more than two values; the message names the mask's file.

    Raises:
        DataError: no such folder, no layout that is known, an image without a folder of masks or masks without an
            image, several images where one is wanted; up to ten are listed.

    Reference:
        Caicedo et al. (2019), "Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl",
        Nature Methods 16, 1247–1253.
    """
    root = Path(root).expanduser()
    void = check_void(void, ("overlap", "touch"))
    labels = to_label_map(labels) or LabelMap(("background", "object"))
    if labels.num_classes != 2:
        raise DataError(f"instances have two classes, outside and inside; labels= has {', '.join(labels.names)}")
    cases, strange = find_cases(root)
    name, notes = name or root.resolve().name, _describe(root, cases, strange, void, labels)
    report(name, notes)
    split_of, dealt = assign_splits([case.name for case in cases], val, test, seed, groups, lists)
    report(name, dealt)
    files = {case.key: case for case in cases}

    def read(key):
        return read_instances(files[key].image, files[key].masks, void, labels.ignore_id)

    pairs = [(case.image, case.key) for case in cases]
    return from_pairs(name, labels, pairs, split_of, read, [*notes, *dealt], strange)


def check_void(void, known):
    """``void`` as a tuple, if all that it asks for is known."""
    void = (void,) if isinstance(void, str) else tuple(void)
    if not set(void) <= set(known):
        raise DataError(f"void= takes {' and '.join(repr(k) for k in known)}, got {', '.join(map(repr, void))}")
    return void


def _describe(root, cases, strange, void, labels):
    """What was inferred, in words."""
    notes, (outside, object_name) = [], labels.names
    for layout in (PER_FOLDER, PER_MASKS, NUMBERED):
        if found := [case for case in cases if case.layout == layout]:
            count, first = sum(len(case.masks) for case in found), found[0]
            example = f"{_below(root, first.image)} with {_below(root, first.key)}"
            notes.append(f"layout: {layout}: {len(found)} images, {count} masks, the first {example}")
    notes.append(f"masks: 0 → {outside}, anything else → {object_name}")
    notes.append(f"pixels of two or more instances become {'void' if void else object_name}")
    if "touch" in void:
        notes.append("pixels within one pixel of two or more instances become void")
    if empty := [case for case in cases if not case.masks]:
        first = _below(root, empty[0].image)
        notes.append(f"{len(empty)} images without any mask are all {outside}, the first {first}")
    if strange:
        notes.append(f"left out: {len(strange)} files that are no images, the first {_below(root, strange[0])}")
    return notes


def _below(root, path):
    return Path(path).relative_to(root).as_posix()


# Reading


def read_instances(image, masks, void=(), ignore_id=VOID):
    """One semantic mask from the binary masks of an image's instances.

    Args:
        image: path of the image; its size is read from the header.
        masks: paths of the instances' masks; none: background only.
        void: as in :func:`from_instances`.
        ignore_id: the id of void.

    Returns:
        (height, width) uint8: 0, 1 and ``ignore_id``.

    Raises:
        DataError, ImageError: a mask of another size, that is not binary or cannot be read; its file is named.
    """
    size = read_size(image)
    inside, near = np.zeros(size, np.uint16), np.zeros(size, np.uint16)  # how many instances hold, or touch, a pixel
    for path in masks:
        instance = read_instance(path)
        if instance.shape != size:
            found, wanted = (f"{height}×{width}" for height, width in (instance.shape, size))
            raise DataError(f"{path}: the mask is {found} (height×width), its image {image} is {wanted}")
        inside += instance
        if "touch" in void:
            near += _grow(instance)
    ids = (inside > 0).astype(np.uint8)
    if "overlap" in void:
        ids[inside > 1] = ignore_id
    ids[near > 1] = ignore_id
    return ids


def read_instance(path):
    """Where a binary mask file is not 0: (height, width) bool; painted files count as 0 where they are black.

    Raises:
        DataError: values that are neither 0 nor all the same.
        ImageError: a file that cannot be read.
    """
    stored = read_values(path)
    values = stored.pixels
    if values.ndim == 3:
        values = values.astype(np.int32) @ (1 << 16, 1 << 8, 1)
    if ((values != 0) & (values != values.max())).any():
        levels = np.unique(values)
        listed = ", ".join(str(level) for level in levels[:4]) + (", …" if len(levels) > 4 else "")
        what = "colours" if stored.pixels.ndim == 3 else f"values ({listed})"
        why = "; it is stored with loss, as JPEG is, which invents values" if stored.lossy else ""
        raise DataError(
            f"{path}: found {len(levels)} {what}, wanted two: 0 outside the instance, one other inside{why}"
        )
    return values > 0


def _grow(inside):
    """The pixels within one pixel, diagonals included."""
    rows = inside.copy()
    rows[1:] |= inside[:-1]
    rows[:-1] |= inside[1:]
    grown = rows.copy()
    grown[:, 1:] |= rows[:, :-1]
    grown[:, :-1] |= rows[:, 1:]
    return grown


# Which masks belong to which image


def find_cases(root):
    """Images and their masks, by the names of folders and files alone; no file is opened.

    Returns:
        ``(cases, strange)``: a :class:`Case` per image, in the order of names, and the paths of files beside them
        that are no images.

    Raises:
        DataError: as in :func:`from_instances`.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    folders = sorted({path.parent for kind in ("images", "masks") for path in list_below(root, kind) if path.is_dir()})
    if not folders:
        there = ", ".join(path.name for path in list_below(root, "*")[:5]) or "nothing"
        raise DataError(
            f"{root}: no folders images and masks in it (found: {there}); wanted <image>/images/*.png with "
            "<image>/masks/*.png, or images/<image>.png with masks/<image>/*.png"
        )
    cases, strange, problems = [], [], []
    for folder in folders:
        missing = [kind for kind in ("images", "masks") if not (folder / kind).is_dir()]
        problems += [f"{folder}: no folder {kind} in it" for kind in missing]
        if not missing:
            cases += _find_in(root, folder, strange, problems)
    refuse(problems, "images and masks that do not fit together")
    if not any(case.masks for case in cases):
        raise DataError(f"{root}: {len(cases)} images, and not one mask for any of them")
    return sorted(cases), strange


def _find_in(root, folder, strange, problems):
    """The cases of one folder that holds ``images`` and ``masks``; what does not fit is added to the problems."""
    images, masks = (_pictures(folder / kind, strange) for kind in ("images", "masks"))
    stems = {stem: folder / "images" / place for stem, place in images}
    if not stems:
        problems.append(f"{folder / 'images'}: no image in it; wanted one of {' '.join(EXTENSIONS)}")
        return []
    problems += [f"{stems[s]}: {n} images of that name" for s, n in Counter(s for s, _ in images).items() if n > 1]
    layout, key_of, owner_of = _infer_layout(folder / "masks", stems)
    owners = [owner_of(stem) for stem, _ in masks]
    if layout == NUMBERED and not stems.keys() & set(owners):
        hint = "; one mask per image is for data.from_folder" if stems.keys() & dict(masks).keys() else ""
        wanted = "wanted 1, or masks/<image>/*.png, or masks/<image>_<number>.png"
        problems.append(f"{folder / 'images'}: {len(stems)} images, {wanted}{hint}")
        return []
    found = {stem: [] for stem in stems}
    for (stem, place), owner in zip(masks, owners, strict=True):
        if owner not in found or (layout == NUMBERED and stem in found):
            problems.append(f"{folder / 'masks' / place}: no image, or more than one, that it could be a mask of")
        else:
            found[owner].append(str(folder / "masks" / place))
    if layout == PER_MASKS:
        problems += [f"{stems[s]}: no folder {key_of(s)}" for s in stems if not key_of(s).is_dir()]
    return [
        Case(_name(root, folder, stems[s], layout), str(stems[s]), str(key_of(s)), tuple(found[s]), layout)
        for s in stems
    ]


def _infer_layout(home, stems):
    """The layout, and two functions: an image's stem → what its masks are called, a mask's stem → its image's."""
    if any((home / stem).is_dir() for stem in stems):
        return PER_MASKS, lambda stem: home / stem, lambda mask: mask.rpartition("/")[0]
    if len(stems) == 1:
        (only,) = stems
        return PER_FOLDER, lambda stem: home, lambda mask: only
    return NUMBERED, lambda stem: home / f"{stem}_*", _before_number


def _before_number(stem):
    match = re.fullmatch(r"(.+)[_\-. ]\d+", stem)
    return match and match[1]


def _name(root, folder, image, layout):
    if layout == PER_FOLDER and folder != root:
        return folder.relative_to(root).as_posix() + image.suffix
    return image.relative_to(root).as_posix()


def _pictures(folder, strange):
    """``(stem, place)`` of the image files in a folder and below, both relative to it; others join ``strange``."""
    found = []
    for path in list_below(folder, "*"):
        if path.suffix.lower() in EXTENSIONS:
            place = path.relative_to(folder)
            found.append((place.with_suffix("").as_posix(), place.as_posix()))
        elif path.is_file():
            strange.append(str(path))
    return found


def list_below(folder, pattern):
    """What lies in a folder and below, in order, without the junk of operating systems."""
    return [path for path in sorted(folder.rglob(pattern)) if not any(map(_is_junk, path.relative_to(folder).parts))]


def _is_junk(part):
    return part.startswith(".") or part.lower() in JUNK
