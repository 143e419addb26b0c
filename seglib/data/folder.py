"""A folder of images and a folder of masks: ``from_folder``."""

import os

from seglib.data.dataset import Dataset, from_pairs, read_pair, read_size_or_none, report, to_label_map
from seglib.data.encoding import infer_encoding
from seglib.data.pairing import find_pairs, root_and_pattern
from seglib.data.splits import assign_splits


def from_folder(
    images, masks=None, labels=None, ids=None, val=None, test=None, seed=0, groups=None, lists=None, name=None
) -> Dataset:
    """Pairs of files: an image and a mask that belong together by their names.

    What is inferred is printed before anything rests on it: how the names were paired, and what the values of the masks
    mean, from up to 200 of them. Files are otherwise read when they are needed, so that a large folder costs no more
    than its names; :func:`seglib.doctor.check` reads them all and says what is wrong with which.

    Args:
        images: folder of images, searched with the folders in it, or a pattern such as ``"scans/*_t1.tif"``. PNG,
            JPEG, TIFF, BMP, GIF, WebP, PPM and PGM are read.
        masks: folder or pattern of masks; None: they lie among the images. Names must agree but for words that all
            images or all masks share (:func:`~seglib.data.pairing.find_pairs`).
        labels: a :class:`~seglib.labels.LabelMap` or a list of names; None names the classes after the ids or colours
            found.
        ids: what the values in the files mean: mapping from values, as in ``{0: 0, 255: 1}``, or from colours, as in
            ``{(0, 0, 0): 0, (128, 0, 0): 1}``, to class ids. None infers it: ids, black and white, levels of grey, a
            palette, or painted colours (those of ``labels``, if given).
        val, test: shares of the pairs, in [0, 1); 0: no such split. None for both: folders called for the splits
            decide, or else 0.15 each.
        seed: decides which pair, or which group, goes where.
        groups: what keeps pairs together: a regular expression, as in ``"^([^_]+)_"`` for frames ``drive1_0007.png``,
            or a function from the name of an image to its group.
        lists: a folder with ``train.txt``, ``val.txt``, ``test.txt``, or a mapping from split to such a file.
        name: for messages; by default that of the image folder.

    Returns:
        A :class:`~seglib.data.Dataset`. Reading a pair that is damaged or does not fit raises an error that names it.

    Raises:
        DataError: an empty or missing folder, names that do not agree, several masks for an image, masks that hold too
            many values to be classes, or splits that cannot be made.
    """
    labels = to_label_map(labels)
    name = name or os.path.basename(os.path.abspath(root_and_pattern(images)[0]))
    pairing = find_pairs(images, masks)
    report(name, pairing.notes)
    paths = [(image.path, mask.path) for image, mask in pairing.pairs]
    encoding, labels, notes, seen = infer_encoding([mask for _, mask in paths], labels, ids)
    notes += _find_bad(paths, seen, encoding)
    report(name, notes)
    places = [image.stem + os.path.splitext(image.path)[1] for image, _ in pairing.pairs]
    split_of, dealt = assign_splits(places, val, test, seed, groups, lists)
    report(name, dealt)
    notes = [*pairing.notes, *notes, *dealt]
    return from_pairs(name, labels, paths, split_of, encoding.read, notes, pairing.unpaired)


def _find_bad(paths, seen, encoding):
    """A note on the pairs that cannot be used, of those whose masks were read."""
    bad = []
    for image, mask in paths:
        values = seen.get(mask)
        if mask in seen and not (values and encoding.knows(values) and values.shape == read_size_or_none(image)):
            try:
                read_pair(image, mask, encoding.read)
            except ValueError as error:
                bad.append(str(error))
    told = f"{len(bad)} of {len(seen)} pairs cannot be used (doctor.check names them), the first: "
    return [told + bad[0]] if bad else []
