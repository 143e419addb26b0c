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
    than its names; :func:`~seglib.data.check` reads them all and says what is wrong with which.

    Args:
        images: folder of images, searched with the folders in it, or a pattern such as ``"scans/*_t1.tif"``. PNG,
            JPEG, TIFF, BMP, GIF, WebP, PPM and PGM are read.
        masks: folder or pattern of masks; None: they lie among the images (:func:`~seglib.data.pairing.find_pairs`).
        labels: a :class:`~seglib.labels.LabelMap` or a list of names; None names the classes after the ids or colours
            found.
        ids: what the values in the files mean: mapping from values, as in ``{0: 0, 255: 1}``, or from colours, as in
            ``{(0, 0, 0): 0, (128, 0, 0): 1}``, to class ids. None infers it: ids, black and white, levels of grey, a
            palette, or painted colours (those of ``labels``, if given).
        val, test, seed, groups, lists: which pair goes where, as in :func:`~seglib.data.splits.assign_splits`.
        name: for messages; by default that of the image folder.

    Returns:
        A :class:`~seglib.data.Dataset`. Reading a pair that is damaged or does not fit raises an error that names it.

    Raises:
        DataError: an empty or missing folder, names that do not agree or stand for two files, masks that hold too many
            values to be classes, or splits that cannot be made.

    Example:
        >>> mine = data.from_folder("photos", "masks")                                     # doctest: +SKIP
        mine: 40 pairs by the same name, the first 001.jpg and 001.png
        mine: masks: black and white, 0 → class 0, 255 → class 1
    """
    labels = to_label_map(labels)
    name = name or os.path.basename(os.path.abspath(root_and_pattern(os.fspath(images))[0]))
    pairing = find_pairs(images, masks)
    report(name, pairing.notes)
    paths = [(image.path, mask.path) for image, mask in pairing.pairs]
    encoding, labels, notes, looks = infer_encoding([mask for _, mask in paths], labels, ids)
    notes += _find_bad(paths, looks, encoding)
    report(name, notes)
    places = [image.stem + os.path.splitext(image.path)[1] for image, _ in pairing.pairs]
    split_of, dealt = assign_splits(places, val, test, seed, groups, lists)
    report(name, dealt)
    notes = [*pairing.notes, *notes, *dealt]
    return from_pairs(name, labels, paths, split_of, encoding.read, notes, pairing.unpaired)


def _find_bad(paths, looks, encoding):
    """A note on the pairs that cannot be used, of those whose masks were looked at."""
    bad = []
    for image, mask in paths:
        look = looks.get(mask, False)
        if look is None or (look and not (encoding.knows(look) and look.shape == read_size_or_none(image))):
            try:
                read_pair(image, mask, encoding.read)
            except ValueError as error:
                bad.append(str(error))
    return (
        [f"{len(bad)} of {len(looks)} pairs cannot be used (data.check names them), the first: {bad[0]}"] if bad else []
    )
