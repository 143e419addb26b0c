"""``from_folder``: images and their masks, whatever they were exported as, paired by their names."""

import os
from pathlib import Path

import numpy as np

from seglib.annotations import DataError, find_class_file, to_label_map
from seglib.data.coco import draw_contents
from seglib.data.dataset import check_size, from_pairs
from seglib.data.encoding import infer_encoding
from seglib.data.exports import find_rows
from seglib.data.pairing import root_and_pattern
from seglib.data.splits import assign_splits
from seglib.images import read_size


def from_folder(
    images, masks, labels=None, ids=None, val=None, test=None, seed=0, groups=None, lists=None, name=None,
    without_mask=None,
):  # fmt: skip
    """Pairs of files: an image and a mask that belong together by their names.

    How the names were paired, and what the values of the masks mean (by up to 200 of them), is printed. All else is
    read when it is needed; :func:`seglib.doctor.check` reads all and says what is wrong.

    These are read, too: labelme's JSON (of shapes that overlap the later is on top), Label Studio's PNGs with its JSON
    beside them, Kaggle's CSV of run lengths, a black and white file per class (``7_road.png``, ``road/7.png``; the
    smaller is on top). Without ``labels`` and ``ids`` the names of classes are read from CVAT's ``labelmap.txt``,
    Roboflow's ``_classes.csv``, ``class_dict.csv`` of CamVid and DeepGlobe or labelme2voc's ``class_names.txt``,
    beside the masks or above them.

    Args:
        images: folder of images, searched with the folders in it, or a pattern such as ``"scans/*_t1.tif"``, whose
            ``*`` stands for folders too. PNG, JPEG, TIFF, BMP, GIF, WebP, PPM and PGM are read.
        masks: likewise, or one file for all images. Of files that both match, the smaller set keeps them, as
            ``"d/*_mask.png"`` beside ``"d"``. Names must agree but for words that all images or all masks share.
        labels: a :class:`~seglib.labels.LabelMap` or a list of names; None: as an export, or the values found, say.
        ids: what the values in the files mean: mapping from values, as in ``{0: 0, 255: 1}``, or from colours, as in
            ``{(0, 0, 0): 0, (128, 0, 0): 1}``, to class ids. None infers it: ids, black and white, levels of grey, a
            palette, or painted colours (those of ``labels``, if given).
        val, test, seed: shares of the pairs, in [0, 1), dealt by the seed. None for both: folders called for the splits
            decide, or else 0.15. With such folders a share cuts its split from train; a folder called test stays.
        groups: what keeps pairs together: a regular expression, as in ``"^([^_]+)_"`` for frames ``drive1_0007.png``,
            or a function from the name of an image to its group.
        lists: a folder with ``train.txt``, ``val.txt``, ``test.txt``, or a mapping from split to such a file.
        name: for messages; by default that of the image folder.
        without_mask: ``"background"``: images without a mask are background everywhere; None leaves them out.

    Returns:
        A :class:`~seglib.data.Dataset`. Reading a pair that is damaged or does not fit raises an error that names it.

    Raises:
        DataError: an empty or missing folder, names or numbers that do not agree, several masks for an image, two
            images of one name, masks that hold too many values to be classes or that number objects, an export that
            is not read (the message names the one to choose), or splits that cannot be made.
    """
    labels, (root, _) = to_label_map(labels), root_and_pattern(images)
    name, how = name or os.path.basename(os.path.abspath(root)), (val, test, seed, groups, lists)
    if without_mask not in (None, "background"):
        raise DataError(f"without_mask= is 'background' or None, got {without_mask!r}")
    listed, export, rows, unpaired, notes = find_rows(images, masks, labels)
    lone = set(unpaired if without_mask else ())
    empty = {image.path: image for image in listed if image.path in lone}
    unpaired = [path for path in unpaired if path not in empty]
    notes += [f"{len(empty)} images without a mask are all background, the first {next(iter(empty))}"] if empty else []
    if export:
        if ids is not None:
            raise DataError(f"ids= are for masks of ids or colours, these are {export}; leave ids= out")
        content = _to_content([*rows, *((image, None, []) for image in empty.values())], root, export)
        notes = [f"masks: {export}: {', '.join(kind['name'] for kind in content['categories'])}", *notes]
        sources, contents = [(None, Path(masks), Path(root))], {Path(masks): content}
        return draw_contents(sources, contents, labels, how, name, notes=notes, unpaired=unpaired)
    paths = [(image.path, mask) for image, _, mask in rows]
    encoding, labels, inferred, seen = _interpret(masks, [mask for _, mask in paths], labels, ids)
    keys = {f"{path} (no mask)": path for path in empty}
    names = [name.strip("_").lower() for name in labels.names]
    nothing = next((name for name in ("background", "class 0", "grey 0", "#000000") if name in names), None)
    if keys and not nothing:
        raise DataError(f"without_mask='background' wants a class called background; there are {', '.join(names)}")

    def read(mask):
        return np.full(read_size(keys[mask]), names.index(nothing), np.uint8) if mask in keys else encoding.read(mask)

    read.table = encoding.table  # what a model that is trained on these masks is to be scored by
    places = [image.stem + os.path.splitext(image.path)[1] for image in [*(row[0] for row in rows), *empty.values()]]
    split_of, dealt = assign_splits(places, *how)
    notes += [*inferred, *_find_bad(paths, seen, encoding), *dealt]
    pairs = [*paths, *((path, key) for key, path in keys.items())]
    return from_pairs(name, labels, pairs, split_of, read, notes, unpaired)


def _interpret(where, masks, labels, ids):
    """What the values in mask files mean: ``(encoding, labels, notes, seen)``."""
    root = Path(root_and_pattern(where)[0])
    folders = dict.fromkeys([*(Path(mask).parent for mask in masks), root, root.parent])
    known = find_class_file(folders) if labels is None and ids is None else None
    path, labels, ids = known or (None, labels, ids)
    encoding, labels, notes, seen = infer_encoding(masks, labels, ids)
    fit = sum(encoding.knows(mask) for mask in seen.values() if mask)
    if known and 2 * fit < len(seen):
        raise DataError(f"{path}: {fit} of {len(seen)} masks hold nothing but its classes; correct it, or say labels=")
    return encoding, labels, [*notes, *([f"masks: classes from {path}"] if known else [])], seen


def _to_content(rows, root, export):
    """Rows of :func:`~seglib.data.exports.find_rows` as a COCO file would have them."""
    names = sorted({name for *_, annotations in rows for name, _ in annotations})
    categories = [{"id": i, "name": name} for i, name in enumerate(names)]
    content = {"export": export, "images": [], "annotations": [], "categories": categories}
    for number, (image, size, annotations) in enumerate(rows):
        height, width = size or read_size(image.path)
        place = os.path.relpath(image.path, root)
        content["images"].append({"id": number, "file_name": place, "height": height, "width": width})
        for name, segmentation in annotations:
            about = {"id": f"{name} of {place}", "image_id": number, "category_id": names.index(name)}
            content["annotations"].append({**about, "segmentation": segmentation})
    return content


def _find_bad(paths, seen, encoding):
    """A note on the pairs that cannot be used, of those whose masks were read."""
    bad = []
    for image, mask in ((image, mask) for image, mask in paths if mask in seen):
        try:
            if not (seen[mask] and encoding.knows(seen[mask])):
                encoding.read(mask)
            check_size(mask, seen[mask].shape, image, read_size(image))
        except ValueError as error:
            bad.append(str(error))
    told = f"{len(bad)} of {len(seen)} pairs cannot be used (doctor.check names them), the first: "
    return [told + bad[0]] if bad else []
