"""One binary mask per instance, as in the 2018 Data Science Bowl: ``from_instances``."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import binary_dilation

from seglib.annotations import DataError, refuse, to_label_map
from seglib.data.dataset import check_size, from_pairs
from seglib.data.pairing import list_below
from seglib.data.splits import assign_splits
from seglib.images import EXTENSIONS, read_binary, read_size
from seglib.labels import LabelMap


class _InstanceCase(NamedTuple):
    name: str  # of the pair, for splits
    image: Path
    folder: Path  # of its masks
    masks: list


def from_instances(root, labels=None, void=(), val=None, test=None, seed=0, groups=None, lists=None, name=None):
    """Semantic masks from images whose instances (nuclei, cells, …) have a binary mask file each.

    The layout is that of the 2018 Data Science Bowl, at any depth: ``<image>/images/<any>.png`` and its masks
    ``<image>/masks/<any>.png``. A pixel is 1 if it lies in an instance and 0 elsewhere; instances that overlap are
    joined. An image with an empty folder of masks is all background. What was found is printed.

    Args:
        root, name: the folder, and a name for messages, by default that of the folder.
        labels: a :class:`~seglib.labels.LabelMap` of two classes. Default: background and object.
        void: ``"overlap"``: the pixels of two or more instances become void; ``"touch"``: those within one pixel
            (diagonals count) of two or more instances, which includes their overlaps and gaps one pixel wide.
        val, test, seed: shares of the images, in [0, 1), dealt by the seed; None for both: folders called for splits
            decide, or else 0.15.
        groups: what keeps images together: a regular expression, or a function, from ``<image>.png`` to the group.
        lists: a folder with ``train.txt``, ``val.txt``, ``test.txt``, or a mapping from split to such a file.

    Returns:
        A :class:`~seglib.data.Dataset`. Reading a pair raises an error that names the mask's file if it has another
        size than the image or more than two values.

    Raises:
        DataError: another layout, an image without a folder of masks, or masks without an image. OSError: no folder.

    Reference:
        Caicedo et al. (2019), "Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl",
        Nature Methods 16, 1247–1253.
    """
    root = Path(root).expanduser()
    void = (void,) if isinstance(void, str) else tuple(void)
    if not set(void) <= {"overlap", "touch"}:
        raise DataError(f"void= takes 'overlap' and 'touch', got {', '.join(map(repr, void))}")
    labels = to_label_map(labels) or LabelMap(("background", "object"))
    if labels.num_classes != 2:
        raise DataError(f"instances have two classes, outside and inside; labels= has {', '.join(labels.names)}")
    cases = _find_cases(root)
    split_of, dealt = assign_splits([case.name for case in cases], val, test, seed, groups, lists)
    count, first = sum(len(case.masks) for case in cases), max(cases, key=lambda case: bool(case.masks))
    example = " with ".join(path.relative_to(root).as_posix() for path in (first.image, first.folder))
    notes = [f"{len(cases)} images, {count} masks of instances, the first {example}"]
    if empty := [case.image.relative_to(root).as_posix() for case in cases if not case.masks]:
        notes.append(f"{len(empty)} images without any mask are all background, the first {empty[0]}")
    keyed = {str(case.folder): case for case in cases}

    def read(key):
        return _read_instances(keyed[key], void, labels.ignore_id)

    pairs = [(str(case.image), key) for key, case in keyed.items()]
    return from_pairs(name or root.resolve().name, labels, pairs, split_of, read, [*notes, *dealt])


def _read_instances(case, void, ignore_id):
    """(height, width) uint8 of 0, 1 and ``ignore_id``."""
    size = read_size(case.image)
    inside, near = np.zeros(size, np.uint16), np.zeros(size, np.uint16)  # how many instances hold, or touch, a pixel
    for path in case.masks:
        instance = read_binary(path)
        check_size(path, instance.shape, case.image, size)
        inside += instance
        if "touch" in void:
            near += binary_dilation(instance, np.ones((3, 3)))
    ids = (inside > 0).astype(np.uint8)
    if "overlap" in void:
        ids[inside > 1] = ignore_id
    ids[near > 1] = ignore_id
    return ids


def _find_cases(root):
    kinds = ("images", "masks")
    folders = sorted({path.parent for path in list_below(root) if path.name in kinds and path.is_dir()})
    cases, problems = [], []
    for folder in folders:
        if missing := [kind for kind in kinds if not (folder / kind).is_dir()]:
            problems.append(f"{folder}: no folder {missing[0]} in it (an empty one for masks: all is background)")
            continue
        inside = [list(list_below(folder / kind)) for kind in kinds]
        images, masks = ([path for path in paths if path.suffix.lower() in EXTENSIONS] for paths in inside)
        problems += [f"{path}: a folder; wanted the masks of one image" for path in inside[1] if path.is_dir()]
        if len(images) != 1:
            problems.append(f"{folder / 'images'}: {len(images)} images in it; wanted one of {' '.join(EXTENSIONS)}")
        else:
            name = f"{folder.relative_to(root).as_posix()}{images[0].suffix}"
            cases.append(_InstanceCase(name, images[0], folder / "masks", masks))
    wanted = "wanted <image>/images/<any>.png with <image>/masks/*.png; one mask per image is for data.from_folder"
    refuse(problems, f"{root}: {wanted}")
    if not any(case.masks for case in cases):
        raise DataError(f"{root}: {len(cases)} images, and not one mask for any of them; {wanted}")
    return sorted(cases)
