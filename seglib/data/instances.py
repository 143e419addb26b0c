"""One binary mask per instance, as in the 2018 Data Science Bowl: ``from_instances``."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import binary_dilation

from seglib.data.dataset import DataError, from_pairs, refuse, report, to_label_map
from seglib.data.pairing import list_below
from seglib.data.splits import assign_splits
from seglib.images import EXTENSIONS, read_size, read_values
from seglib.labels import LabelMap


class _InstanceCase(NamedTuple):
    name: str  # of the pair, for splits
    image: Path
    key: Path  # where its masks lie; different for each image
    masks: list


def from_instances(root, labels=None, void=(), val=None, test=None, seed=0, groups=None, lists=None, name=None):
    """Semantic masks from images whose instances (nuclei, cells, …) have a binary mask file each.

    Three layouts are told apart, at any depth::

        root/<image>/images/<any>.png   root/<image>/masks/<any>.png      the 2018 Data Science Bowl
        root/images/<image>.png         root/masks/<image>/<any>.png
        root/images/<image>.png         root/masks/<image>_<number>.png

    A pixel is 1 if it lies in an instance and 0 elsewhere; instances that overlap are joined. An image with an empty
    folder of masks is all background. What was found is printed (``Dataset.notes``) before any pixel is read.

    Args:
        root: the folder.
        labels: a :class:`~seglib.labels.LabelMap` of two classes. Default: background and object.
        void: what becomes void: ``"overlap"``, the pixels of two or more instances; ``"touch"``, the pixels within one
            pixel (diagonals count) of two or more instances, which includes their overlaps and gaps one pixel wide.
        val, test: shares of the images, in [0, 1); 0: no such split. None for both: folders called for the splits
            decide, or else 0.15 each.
        seed: decides which image, or which group, goes where.
        groups: what keeps images together: a regular expression, or a function, from the name to the group. Names are
            ``<image>.png`` in the first layout and ``images/<image>.png`` in the others.
        lists: a folder with ``train.txt``, ``val.txt``, ``test.txt``, or a mapping from split to such a file.
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
    cases, strange = _find_cases(root)
    name, notes = name or root.resolve().name, _describe(root, cases, strange, void, labels)
    report(name, notes)
    split_of, dealt = assign_splits([case.name for case in cases], val, test, seed, groups, lists)
    report(name, dealt)
    files = {str(case.key): case for case in cases}

    def read(key):
        return _read_instances(files[key], void, labels.ignore_id)

    pairs = [(str(case.image), str(case.key)) for case in cases]
    return from_pairs(name, labels, pairs, split_of, read, [*notes, *dealt], strange)


def check_void(void, known):
    """``void`` as a tuple, if all that it asks for is known."""
    void = (void,) if isinstance(void, str) else tuple(void)
    if not set(void) <= set(known):
        raise DataError(f"void= takes {' and '.join(repr(k) for k in known)}, got {', '.join(map(repr, void))}")
    return void


def _describe(root, cases, strange, void, labels):
    """What was found and what is made of it, in words."""
    outside, inside = labels.names
    count, first = sum(len(case.masks) for case in cases), max(cases, key=lambda case: bool(case.masks))
    example = " with ".join(path.relative_to(root).as_posix() for path in (first.image, first.key))
    notes = [
        f"{len(cases)} images, {count} masks of instances, the first {example}",
        f"masks: 0 → {outside}, anything else → {inside}",
        f"pixels of two or more instances become {'void' if void else inside}",
    ]
    if "touch" in void:
        notes.append("pixels within one pixel of two or more instances become void")
    if empty := [case.image.relative_to(root).as_posix() for case in cases if not case.masks]:
        notes.append(f"{len(empty)} images without any mask are all {outside}, the first {empty[0]}")
    if strange:
        notes.append(f"left out: {len(strange)} files that are no images, the first {strange[0]}")
    return notes


def _read_instances(case, void, ignore_id):
    """One mask of an image's instances: (height, width) uint8 of 0, 1 and ``ignore_id``."""
    size = read_size(case.image)
    inside, near = np.zeros(size, np.uint16), np.zeros(size, np.uint16)  # how many instances hold, or touch, a pixel
    for path in case.masks:
        instance = _read_instance(path)
        if instance.shape != size:
            found, wanted = (f"{height}×{width}" for height, width in (instance.shape, size))
            raise DataError(f"{path}: the mask is {found} (height×width), its image {case.image} is {wanted}")
        inside += instance
        if "touch" in void:
            near += binary_dilation(instance, np.ones((3, 3)))
    ids = (inside > 0).astype(np.uint8)
    if "overlap" in void:
        ids[inside > 1] = ignore_id
    ids[near > 1] = ignore_id
    return ids


def _read_instance(path):
    """Where a binary mask file is not 0, or not black: (height, width) bool."""
    stored = read_values(path)
    values = stored.pixels
    if values.ndim == 3:
        values = values.astype(np.int32) @ (1 << 16, 1 << 8, 1)
    if ((values != 0) & (values != values.max())).any():
        levels = np.unique(values)
        what = "colours" if stored.pixels.ndim == 3 else f"values ({', '.join(map(str, levels[:4]))}, …)"
        why = "; it is stored with loss, as JPEG is, which invents values" if stored.lossy else ""
        raise DataError(
            f"{path}: found {len(levels)} {what}, wanted two: 0 outside the instance, one other inside{why}"
        )
    return values > 0


def _find_cases(root):
    """The cases, in the order of names, and files that are no images; by names alone, no file is opened."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    entries = list_below(root)
    folders = sorted({path.parent for path in entries if path.name in ("images", "masks") and path.is_dir()})
    if not folders:
        there = ", ".join(path.name for path in entries[:5]) or "nothing"
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
    images, masks = (_list_images(folder / kind, strange) for kind in ("images", "masks"))
    if not images:
        problems.append(f"{folder / 'images'}: no image in it; wanted one of {' '.join(EXTENSIONS)}")
    by_folder = any((folder / "masks" / stem).is_dir() for stem, _ in images)
    alone = len(images) == 1 and not by_folder
    cases = {}
    for stem, path in images:
        key = folder / "masks" / ("" if alone else stem if by_folder else f"{stem}_*")
        if stem in cases:
            problems.append(f"{path}: 2 images of that name")
        if by_folder and not key.is_dir():
            problems.append(f"{path}: no folder {key}")
        place = folder.parent / (folder.name + path.suffix) if alone and folder != root else path
        cases[stem] = _InstanceCase(place.relative_to(root).as_posix(), path, key, [])
    for stem, path in masks:
        numbered = re.fullmatch(r"(.+)[_\-. ]\d+", stem)
        owner = stem.rpartition("/")[0] if by_folder else numbered and numbered[1]
        if alone:
            cases[images[0][0]].masks.append(path)
        elif owner in cases and (by_folder or stem not in cases):
            cases[owner].masks.append(path)
        else:
            hint = "; one mask per image is for data.from_folder" if stem in cases else ""
            problems.append(f"{path}: a mask of no image, or of several; wanted <image>/*.png or <image>_1.png{hint}")
    return list(cases.values())


def _list_images(folder, strange):
    """``(stem, path)`` of the image files in a folder and below; the paths of other files join ``strange``."""
    found = []
    for path in list_below(folder):
        if path.suffix.lower() in EXTENSIONS:
            found.append((path.relative_to(folder).with_suffix("").as_posix(), path))
        elif path.is_file():
            strange.append(str(path))
    return found
