"""``from_folder``: images and their masks, whatever they were exported as, paired by their names."""

import os
from pathlib import Path

import numpy as np

from seglib.data.dataset import DataError, check_size, from_pairs, to_label_map
from seglib.data.encoding import infer_encoding
from seglib.data.exports import find_class_file, find_layers
from seglib.data.pairing import root_and_pattern
from seglib.data.splits import assign_splits
from seglib.images import read_size
from seglib.labels import LabelMap

EMPTY = "background", "class 0", "grey 0", "#000000"  # what the class of an image on which nothing is may be called


def from_folder(
    images,
    masks,
    labels=None,
    ids=None,
    val=None,
    test=None,
    seed=0,
    groups=None,
    lists=None,
    name=None,
    without_mask=None,
):
    """Pairs of files: an image and a mask that belong together by their names.

    How the names were paired and what the values of the masks mean, inferred from up to 200 of them, is printed. Files
    are otherwise read when they are needed; :func:`seglib.doctor.check` reads them all and says what is wrong.

    Of annotation tools these exports are known, with the names of their classes:

    ======================================================  ======================================================
    masks of ids or colours, and beside them or above       CVAT's ``labelmap.txt``, Roboflow's ``_classes.csv``,
                                                            ``class_dict.csv`` of CamVid and DeepGlobe, labelme2voc's
                                                            ``class_names.txt``, nnU-Net's ``dataset.json``
    labelme's JSON, a file per image                        the order of the shapes decides where they overlap
    labelme's ``label.png`` with ``label_names.txt``        ids are numbered anew in each image
    a CSV of run lengths, as on Kaggle                      1-based, column by column; the later row lies on top
    Label Studio's PNGs, with its JSON beside them          of classes that overlap the one of the higher id is on top
    a black and white file per class, as ``7_road.png``     likewise; or a folder per class, as ``road/7.png``
    ======================================================  ======================================================

    Args:
        images: folder of images, searched with the folders in it, or a pattern such as ``"scans/*_t1.tif"``, whose
            ``*`` stands for folders too. PNG, JPEG, TIFF, BMP, GIF, WebP, PPM and PGM are read.
        masks: likewise, or a file that holds the masks of all images. Of files that both match, the smaller set keeps
            them, as ``"d/*_mask.png"`` beside ``"d"``. Names must agree but for words that all images or all masks
            share (:func:`~seglib.data.pairing.find_pairs`).
        labels: a :class:`~seglib.labels.LabelMap` or a list of names; None takes the names that an export tells, or
            names the classes after the ids or colours found.
        ids: what the values in the files mean: mapping from values, as in ``{0: 0, 255: 1}``, or from colours, as in
            ``{(0, 0, 0): 0, (128, 0, 0): 1}``, to class ids. None infers it: ids, black and white, levels of grey, a
            palette, or painted colours (those of ``labels``, if given).
        val, test: shares of the pairs, in [0, 1). None for both: folders called for the splits decide, or else 0.15.
            With such folders a share cuts its split from train, and a folder called test is left alone.
        seed: decides which pair, or which group, goes where.
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
    labels = to_label_map(labels)
    name = name or os.path.basename(os.path.abspath(root_and_pattern(images)[0]))
    if without_mask not in (None, "background"):
        raise DataError(f"without_mask= is 'background' or None, got {without_mask!r}")
    found = find_layers(images, masks, labels)
    if found.layers is None:
        labels, read, inferred = _read_values(masks, found.pairs, labels, ids)
    elif ids is not None:
        raise DataError(f"ids= are for masks of ids or colours; here the export names the classes: {found.notes[-1]}")
    else:
        labels, read, inferred = _read_layers(found, labels)
    pairs, unpaired, notes = list(found.pairs), list(found.unpaired), [*found.notes, *inferred]
    if without_mask:
        empty = {f"{path} (without a mask)": path for path in unpaired if path in found.images}
        read, background = _with_empty(read, empty, labels), f"{len(empty)} images without a mask are all background"
        pairs, unpaired = [*pairs, *((path, key) for key, path in empty.items())], []
        notes.append(background)
    root = root_and_pattern(images)[0]
    split_of, dealt = assign_splits([found.images.get(i, i) for i, _ in pairs], val, test, seed, groups, lists)
    return from_pairs(name, labels, pairs, split_of, read, [*notes, *dealt], unpaired)
