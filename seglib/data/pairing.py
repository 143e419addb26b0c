"""``from_folder``: a folder of images and a folder of masks, paired by their names."""

import glob
import os
import re
import unicodedata
from collections import Counter, defaultdict
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from seglib.data.dataset import DataError, check_size, from_pairs, refuse, to_label_map
from seglib.data.encoding import infer_encoding
from seglib.data.splits import assign_splits
from seglib.images import EXTENSIONS, read_size

JUNK = ("__macosx", "thumbs.db", "desktop.ini")  # of operating systems; and all that starts with a dot
_WORD = re.compile(r"\d+|[^\W\d_]+?(?=[\W\d_]|$|mask|annot|label)")  # "trainannot_07" → train, annot, 07


class File(NamedTuple):
    """A file: its path, and its place below the folder that was searched, with ``/`` and without the ending."""

    path: str
    stem: str


def from_folder(images, masks, labels=None, ids=None, val=None, test=None, seed=0, groups=None, lists=None, name=None):
    """Pairs of files: an image and a mask that belong together by their names.

    How the names were paired and what the values of the masks mean, inferred from up to 200 of them, is printed. Files
    are otherwise read when they are needed; :func:`seglib.doctor.check` reads them all and says what is wrong.

    Args:
        images: folder of images, searched with the folders in it, or a pattern such as ``"scans/*_t1.tif"``, whose
            ``*`` stands for folders too. PNG, JPEG, TIFF, BMP, GIF, WebP, PPM and PGM are read.
        masks: likewise. Of files that both match, the smaller set keeps them, as ``"d/*_mask.png"`` beside ``"d"``.
            Names must agree but for words that all images or all masks share (:func:`find_pairs`).
        labels: a :class:`~seglib.labels.LabelMap` or a list of names; None names the classes after the ids or colours
            found.
        ids: what the values in the files mean: mapping from values, as in ``{0: 0, 255: 1}``, or from colours, as in
            ``{(0, 0, 0): 0, (128, 0, 0): 1}``, to class ids. None infers it: ids, black and white, levels of grey, a
            palette, or painted colours (those of ``labels``, if given).
        val, test: shares of the pairs, in [0, 1); None for both: folders called for the splits decide, or else 0.15.
        seed: decides which pair, or which group, goes where.
        groups: what keeps pairs together: a regular expression, as in ``"^([^_]+)_"`` for frames ``drive1_0007.png``,
            or a function from the name of an image to its group.
        lists: a folder with ``train.txt``, ``val.txt``, ``test.txt``, or a mapping from split to such a file.
        name: for messages; by default that of the image folder.

    Returns:
        A :class:`~seglib.data.Dataset`. Reading a pair that is damaged or does not fit raises an error that names it.

    Raises:
        DataError: an empty or missing folder, names or numbers that do not agree, several masks for an image, two
            images of one name, masks that hold too many values to be classes, or splits that cannot be made.
    """
    labels = to_label_map(labels)
    name = name or os.path.basename(os.path.abspath(_root_and_pattern(images)[0]))
    pairs, unpaired, notes = find_pairs(images, masks)
    paths = [(image.path, mask.path) for image, mask in pairs]
    encoding, labels, inferred, seen = infer_encoding([mask for _, mask in paths], labels, ids)
    places = [image.stem + os.path.splitext(image.path)[1] for image, _ in pairs]
    split_of, dealt = assign_splits(places, val, test, seed, groups, lists)
    notes += [*inferred, *_find_bad(paths, seen, encoding), *dealt]
    return from_pairs(name, labels, paths, split_of, encoding.read, notes, unpaired)


def find_pairs(images, masks):
    """Finds images and masks, given as to :func:`from_folder`, and pairs them by their names; no file is opened.

    Of three ways the one that pairs most files is taken, the first of equals: by the whole name, with the folders below
    the one given (``night/007``); word by word, but for words that all images and few or no masks have, or the reverse
    (``img3.jpg`` and ``label_3.png``); and likewise without the folders. Numbers must agree with their leading zeros.

    Returns:
        ``(pairs, unpaired, notes)``: a list of ``(image, mask)``, both :class:`File`, in the order of the images; the
        paths that found no partner; how the files were paired and what was left out, in words.
    """
    sides = _find_files(images, masks)
    words = [_to_words(sides, folders=True), _to_words(sides, folders=False)]
    names = [[file.stem for file in files] for files in sides]
    agreed = max((_agree(sides, keys) for keys in (names, *words)), key=len)
    pairs = sorted((of[0][0], of[1][0]) for of in agreed.values() if len(of[0]) == len(of[1]) == 1)
    used = {file.path for pair in pairs for file in pair}
    alone = [[file for file in files if file.path not in used] for files in sides]
    if alone[1]:
        _refuse_several(sides, pairs, words)
    twice = [files for of in agreed.values() for files in of if len(files) > 1]
    refuse(
        [f"{a.path} and {os.path.relpath(b.path, os.path.dirname(a.path))}: one name, two files" for a, b, *_ in twice],
        "names that stand for two files; choose with a pattern such as images='…/*.png'",
    )
    if alone[0] and alone[1]:
        _refuse_numbers(sides, len(pairs), words)
    if not pairs:
        raise DataError(
            f"no image of {images} and mask of {masks} have names that agree: {sides[0][0].path}, "
            f"{sides[1][0].path}; name them alike, or give patterns such as images='…/*_rgb.png'"
        )
    return pairs, [file.path for files in alone for file in files], _describe(pairs, alone)


def list_below(folder, above=()):
    """Yields the ``pathlib.Path`` of all in a folder and below, in linked folders too, a folder before what is in it.

    The junk of operating systems is left out, and a link back to a folder that it lies in (``above``) is not followed.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not entry.name.startswith(".") and entry.name.lower() not in JUNK:
            yield Path(entry.path)
            if entry.is_dir():
                yield from list_below(entry.path, (*above, real))


def _root_and_pattern(where):
    """Parts ``"a/b/*.png"`` into ``("a/b", "*.png")``; of a folder the pattern is ``"*"``, which fits all below it."""
    where = os.path.expanduser(os.fspath(where))
    if os.path.isdir(where) or not glob.has_magic(where):
        return where, "*"
    parts = re.split(r"[/\\]", where)
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts[:first]) or ("/" if where.startswith("/") else "."), "/".join(parts[first:])


def _list_files(where):
    """The image files in a folder and below, or those that fit a pattern: :class:`File`, in order."""
    root, pattern = _root_and_pattern(where)
    if not os.path.isdir(root):
        what = "a file" if os.path.isfile(root) else "no such folder"
        raise DataError(f"{root}: {what}; wanted a folder, or a pattern such as '*.png'")
    pattern = pattern.replace("**/", "*")
    files = []
    for path in list_below(root):
        place = path.relative_to(root).as_posix()
        fits = fnmatch(place, pattern) or fnmatch(place, f"{pattern}/*")
        if fits and path.suffix.lower() in EXTENSIONS and not path.is_dir():
            files.append(File(str(path), unicodedata.normalize("NFC", os.path.splitext(place)[0])))
    if not files:
        raise DataError(f"{where}: no image files in it; wanted {' '.join(EXTENSIONS)}")
    return sorted(files, key=lambda file: (file.stem, file.path))


def _find_files(images, masks):
    """The image files and the mask files, none of them both."""
    found = [_list_files(images), _list_files(masks)]
    paths = [{os.path.abspath(file.path) for file in files} for files in found]
    if paths[0] == paths[1]:
        raise DataError(
            f"{os.fspath(images)}: the images and the masks are the same files, as {found[0][0].path}; give two "
            "folders or two patterns, as in from_folder('data/*.jpg', 'data/*_mask.png')"
        )
    smaller = 0 if paths[0] < paths[1] else 1
    found[1 - smaller] = [file for file in found[1 - smaller] if os.path.abspath(file.path) not in paths[smaller]]
    return found


def _to_words(sides, folders):
    """The words of each name, but for those that one side has in every name and the other in few or none."""
    stems = [[file.stem if folders else file.stem.rpartition("/")[2] for file in files] for files in sides]
    images, masks = ([tuple(_WORD.findall(stem.lower())) for stem in side] for side in stems)
    constant = set()
    for these, others in ((images, masks), (masks, images)):
        for word in set(these[0]).intersection(*these):
            if sum(word in name for name in others) < (1 if word.isdecimal() else len(others) / 10):
                constant.add(word)
    return [[tuple(word for word in name if word not in constant) for name in side] for side in (images, masks)]


def _agree(sides, keys):
    """From each key that images and masks share to the images and the masks that have it."""
    named = defaultdict(lambda: ([], []))
    for side in (0, 1):
        for file, key in zip(sides[side], keys[side], strict=True):
            named[key][side].append(file)
    return {key: of for key, of in named.items() if key and of[0] and of[1]}


def _refuse_several(sides, pairs, words):
    """Refuses masks that are one of several for their image: their names hold all the words of its name in a row."""
    image_of, image_named = {mask.path: image for image, mask in pairs}, {}
    for image_keys, _ in words:
        counts = Counter(image_keys)
        image_named |= {key: file for key, file in zip(image_keys, sides[0], strict=True) if key and counts[key] == 1}
    masks_of = defaultdict(list)
    for mask in sides[1]:
        name = _WORD.findall(mask.stem.lower())
        runs = [tuple(name[i : i + size]) for size in range(len(name), 0, -1) for i in range(len(name) - size + 1)]
        image = image_of.get(mask.path) or next((image_named[run] for run in runs if run in image_named), None)
        masks_of[image].append(mask)
    several = {image: found for image, found in masks_of.items() if image and len(found) > 1}
    if several:
        image, found = next(iter(several.items()))
        raise DataError(
            f"{len(several)} images have several masks, as {image.path} has {found[0].path} and {found[1].path}; "
            "choose a kind by a pattern, as in masks='gtFine/*_labelIds.png', or, if each is one object, call "
            "data.from_instances"
        )


def _refuse_numbers(sides, count, words):
    """Refuses names that agree more often without leading zeros, or if one side is counted from another start."""
    for images, masks in words:
        masks = {_renumber(key, 0) for key in masks if key}
        if any(len({_renumber(key, shift) for key in images} & masks) > count for shift in (-1, 0, 1)):
            raise DataError(
                f"the numbers of images ({sides[0][0].path}, …) and masks ({sides[1][0].path}, …) differ: other "
                "leading zeros, or counted from 0 and from 1? Rename one side, as in img_007 and 007_mask"
            )


def _renumber(words, shift):
    """``("a", "01", "0007")`` → ``("a", 1, 8)`` for a shift of 1: it is added to the last number."""
    words = [int(word) if word.isdecimal() else word for word in words]
    numbers = [place for place, word in enumerate(words) if isinstance(word, int)]
    if numbers:
        words[numbers[-1]] += shift
    return tuple(words)


def _describe(pairs, alone):
    rule = "by the same name" if pairs[0][0].stem == pairs[0][1].stem else "by the words of their names"
    first = " and ".join(os.path.basename(file.path) for file in pairs[0])
    notes = [f"{len(pairs)} pairs {rule}, the first {first}"]
    for files, what, partner in zip(alone, ("image", "mask"), ("a mask", "an image"), strict=True):
        if files:
            shown = ", ".join(os.path.basename(file.path) for file in files[:5]) + ", …" * (len(files) > 5)
            notes.append(f"left out: {len(files)} {what}{'s' * (len(files) > 1)} without {partner}: {shown}")
    return notes


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
