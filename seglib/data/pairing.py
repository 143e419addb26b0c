"""Which mask belongs to which image: the names agree, but for words that all images or all masks share."""

import glob
import os
import re
import unicodedata
from collections import Counter, defaultdict
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from seglib.data.dataset import DataError, refuse
from seglib.images import EXTENSIONS

JUNK = ("__macosx", "thumbs.db", "desktop.ini")  # of operating systems; and all that starts with a dot

# How masks, or their folders, are called where they share a tree with the images.
_MASK = r"mask|annot|label|truth|segm|manual|trimap|matte|target|(?<![a-z])(?:gt(?:fine|coarse)?|seg|lab|lbl)(?![a-z])"
_WORD = re.compile(rf"\d+|[^\W\d_]+?(?=[\W\d_]|$|{_MASK})")  # "trainannot_07" → train, annot, 07


class File(NamedTuple):
    """A file: its path, and its place below the folder that was searched, with ``/`` and without the ending."""

    path: str
    stem: str


class Pairing(NamedTuple):
    """Images and their masks.

    Attributes:
        pairs: list of ``(image, mask)``, both :class:`File`, in the order of the images' names.
        unpaired: paths of the images and masks that found no partner.
        notes: how the files were paired and what was left out, in words.
    """

    pairs: list
    unpaired: list
    notes: list


def find_pairs(images, masks=None):
    """Finds images and masks and pairs them by their names; no file is opened.

    Names are compared in three ways, and that which pairs most files is taken, the first of equals: the whole name,
    with the folders below the one that was given (``night/007``); word by word, but for the words that all images and
    few or no masks have, or the reverse (``img3.jpg`` and ``label_3.png``, ``x_leftImg8bit.png`` and
    ``x_gtFine_labelIds.png``); and likewise without the folders. Numbers must agree with their leading zeros.

    Args:
        images: a folder, searched with all folders and linked folders in it, or a pattern such as ``"scans/*_t1.tif"``,
            whose ``*`` stands for folders too.
        masks: likewise. A file that is found as both counts for the smaller set, if that lies in the other, and as a
            mask otherwise. None: masks lie among the images and are told apart by words such as *mask* or *annot* in
            their folder or name; or else JPEG files are the images; or else masks have a word more (``1_L.png``).

    Returns:
        A :class:`Pairing`.

    Raises:
        DataError: a folder that is missing or without images; no pair at all; two images of one name; several masks for
            an image, with patterns that choose one kind of them; or numbers that agree more often without leading
            zeros, or if one side is counted from another start.
    """
    sides = _find_files(images, masks)
    words = [_to_words(sides, folders=True), _to_words(sides, folders=False)]
    names = [[file.stem for file in files] for files in sides]
    agreed = max((_agree(sides, keys) for keys in (names, *words)), key=len)
    pairs = sorted((of[0][0], of[1][0]) for of in agreed.values() if len(of[0]) == len(of[1]) == 1)
    used = {file.path for pair in pairs for file in pair}
    alone = [[file for file in files if file.path not in used] for files in sides]
    if alone[1]:
        _refuse_several(sides, pairs, words, root_and_pattern(masks or images)[0])
    twice = [files for of in agreed.values() for files in of if len(files) > 1]
    refuse(
        [f"{a.path} and {os.path.relpath(b.path, os.path.dirname(a.path))}: one name, two files" for a, b, *_ in twice],
        "names that stand for two files; choose with a pattern such as images='…/*.png'",
    )
    if alone[0] and alone[1]:
        _refuse_numbers(sides, len(pairs), words)
    if not pairs:
        raise DataError(
            f"no image of {images} and mask of {masks or images} have names that agree: {_example(sides[0])}, "
            f"{_example(sides[1])}; name them alike, or give patterns such as images='…/*_rgb.png'"
        )
    rule = "by the same name" if pairs[0][0].stem == pairs[0][1].stem else "by the words of their names"
    return Pairing(pairs, [file.path for files in alone for file in files], _describe(pairs, rule, alone))


def list_files(where):
    """The image files in a folder and below, or those that fit a pattern.

    Args:
        where: a folder or a pattern; ``*`` stands for folders too.

    Returns:
        List of :class:`File`, in the order of their names.

    Raises:
        DataError: no such folder, or no image file in it.
    """
    root, pattern = root_and_pattern(where)
    if not os.path.isdir(root):
        what = "a file" if os.path.isfile(root) else "no such folder"
        raise DataError(f"{root}: {what}; wanted a folder, or a pattern such as '*.png'")
    pattern = pattern.replace("**/", "*")
    places = [(path, path.relative_to(root).as_posix()) for path in list_below(root)]
    places = [(path, place) for path, place in places if fnmatch(place, pattern) or fnmatch(place, f"{pattern}/*")]
    files = [
        File(str(path), unicodedata.normalize("NFC", os.path.splitext(place)[0]))
        for path, place in places
        if path.suffix.lower() in EXTENSIONS and not path.is_dir()
    ]
    if not files:
        endings = Counter(path.suffix.lower() for path, _ in places if not path.is_dir())
        there = ", ".join(f"{count} {ending or 'without ending'}" for ending, count in endings.most_common(5))
        raise DataError(f"{where}: no image files in it (found: {there or 'nothing'}); wanted {' '.join(EXTENSIONS)}")
    return sorted(files, key=lambda file: (file.stem, file.path))


def root_and_pattern(where):
    """Parts ``"a/b/*.png"`` into ``("a/b", "*.png")``; of a folder the pattern is ``"*"``, which fits all below it."""
    where = os.path.expanduser(os.fspath(where))
    if os.path.isdir(where) or not glob.has_magic(where):
        return where, "*"
    parts = re.split(r"[/\\]", where)
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts[:first]) or ("/" if where.startswith("/") else "."), "/".join(parts[first:])


def list_below(folder, pattern="*"):
    """What lies in a folder and below, in linked folders too, without the junk of operating systems.

    Args:
        folder: path of the folder. A link back to a folder that it lies in is not followed.
        pattern: what the last part of a path must fit.

    Returns:
        List of ``pathlib.Path``, files and folders, each folder before what is in it.
    """
    return [path for path in _walk(folder, ()) if fnmatch(path.name, pattern)]


def _walk(folder, above):
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not entry.name.startswith(".") and entry.name.lower() not in JUNK:
            yield Path(entry.path)
            if entry.is_dir():
                yield from _walk(entry.path, (*above, real))


def _find_files(images, masks):
    """The image files and the mask files, none of them both."""
    if masks is None:
        return _part(list_files(images), images)
    found = [{os.path.abspath(file.path): file for file in list_files(where)} for where in (images, masks)]
    if found[0].keys() == found[1].keys():
        return _part(list(found[0].values()), images)
    smaller, larger = (0, 1) if found[0].keys() <= found[1].keys() else (1, 0)
    found[larger] = {path: file for path, file in found[larger].items() if path not in found[smaller]}
    return [list(files.values()) for files in found]


def _part(files, where):
    """Parts the files of one tree into images and masks."""
    words = [tuple(_WORD.findall(file.stem.lower())) for file in files]
    known = set(words)
    for is_mask in (
        [bool(re.search(_MASK, file.stem.lower())) for file in files],
        [not file.path.lower().endswith((".jpg", ".jpeg")) for file in files],
        [these[:-1] in known for these in words],
    ):
        if any(is_mask) and not all(is_mask):
            marked = list(zip(files, is_mask, strict=True))
            return [file for file, it_is in marked if not it_is], [file for file, it_is in marked if it_is]
    raise DataError(
        f"{os.fspath(where)}: cannot tell images from masks by their names, as in {_example(files)}; "
        "give two folders or two patterns, as in from_folder('data/*.jpg', 'data/*_mask.png')"
    )


def _to_words(sides, folders):
    """The words of each name, but for those that one side has in every name and the other in few or none."""
    stems = [[file.stem if folders else file.stem.rpartition("/")[2] for file in files] for files in sides]
    images, masks = ([tuple(_WORD.findall(stem.lower())) for stem in side] for side in stems)
    constant = set()
    for these, others in ((images, masks), (masks, images)):
        for word in set(these[0]).intersection(*these):
            if sum(word in name for name in others) < (1 if word.isdecimal() else len(others) / 10):
                constant.add(word)
    keys = [[tuple(word for word in name if word not in constant) for name in side] for side in (images, masks)]
    for side in (0, 1):  # the number of an annotator or a version, as in 7_manual1
        ends, others = {name[-1:] for name in keys[side]}, keys[1 - side]
        if len(ends) == 1 and sum(set(name).issuperset(*ends) for name in others) < len(others) / 2:
            keys[side] = [name[:-1] for name in keys[side]]
    return keys


def _agree(sides, keys):
    """From each key that images and masks share to the images and the masks that have it."""
    named = defaultdict(lambda: ([], []))
    for side in (0, 1):
        for file, key in zip(sides[side], keys[side], strict=True):
            named[key][side].append(file)
    return {key: of for key, of in named.items() if key and of[0] and of[1]}


def _refuse_several(sides, pairs, words, root):
    """Refuses masks that are one of several for their image, and gives the patterns that choose a kind of them."""
    image_of, image_named = {mask.path: image for image, mask in pairs}, {}
    for image_keys, _ in words:
        counts = Counter(image_keys)
        image_named |= {key: file for key, file in zip(image_keys, sides[0], strict=True) if key and counts[key] == 1}
    masks_of = defaultdict(list)
    for mask in sides[1]:
        key = _find_within(_WORD.findall(mask.stem.lower()), image_named)
        if image := image_of.get(mask.path) or image_named.get(key):
            masks_of[image].append((mask, key or ()))
    several = {image: found for image, found in masks_of.items() if len(found) > 1}
    if several:
        image, found = next(iter(several.items()))
        shown = ", ".join(os.path.basename(mask.path) for mask, _ in found[:3]) + ", …" * (len(found) > 3)
        patterns = {_to_pattern(mask, key, root): None for mask, key in found[:3]}
        if len(patterns) == 1:
            patterns = {f"{root}/{os.path.dirname(mask.stem)}/*": None for mask, _ in found[:3]}
        raise DataError(
            f"{len(several)} images have several masks, as {image.path} has {shown}; choose one kind by a pattern, "
            f"such as {' or '.join(f'masks={pattern!r}' for pattern in patterns)}; if each mask is one object: "
            "data.from_instances"
        )


def _find_within(words, keys):
    """The longest run of these words that is one of the keys, or None."""
    sizes = range(len(words), 0, -1)
    runs = (tuple(words[start : start + size]) for size in sizes for start in range(len(words) - size + 1))
    return next((run for run in runs if run in keys), None)


def _to_pattern(mask, key, root):
    """The pattern for all masks that are called like this one beyond the name of the image, whose words are the key."""
    (folder, _, name), ending = mask.stem.rpartition("/"), os.path.splitext(mask.path)[1]
    found = next(filter(None, (re.search(r"[\W_]*".join(key[k:]), name, re.I) for k in range(len(key)))), None)
    before, after = (glob.escape(part) for part in (name[: found.start()], name[found.end() :])) if found else ("", "")
    return f"{root}/{'**/' if before and folder else ''}{before}*{after}{ending}"


def _refuse_numbers(sides, count, words):
    """Refuses names that agree more often without leading zeros, or if one side is counted from another start."""
    for image_keys, mask_keys in words:
        masks = {_renumber(key, 0) for key in mask_keys if key}
        if any(len({_renumber(key, offset) for key in image_keys} & masks) > count for offset in (-1, 0, 1)):
            names = [f"{_example(files)} … {_example(files[-1:])}" for files in sides]
            raise DataError(
                f"the numbers of images ({names[0]}) and masks ({names[1]}) do not correspond one to one: other "
                "leading zeros, or counted from 0 and from 1? Rename one side, as in img_007 and 007_mask"
            )


def _renumber(words, offset):
    """``("a", "01", "0007")`` → ``("a", "1", "8")`` for an offset of 1: it is added to the last number."""
    words = [str(int(word)) if word.isdecimal() else word for word in words]
    last = max((k for k, word in enumerate(words) if word.isdecimal()), default=None)
    if last is not None:
        words[last] = str(int(words[last]) + offset)
    return tuple(words)


def _describe(pairs, rule, alone):
    """How the files were paired, and what was left out, in words."""
    first = " and ".join(os.path.basename(file.path) for file in pairs[0])
    notes = [f"{len(pairs)} pairs {rule}, the first {first}"]
    for files, what, partner in zip(alone, ("image", "mask"), ("a mask", "an image"), strict=True):
        if files:
            shown = ", ".join(os.path.basename(file.path) for file in files[:5]) + ", …" * (len(files) > 5)
            notes.append(f"left out: {len(files)} {what}{'s' * (len(files) > 1)} without {partner}: {shown}")
    return notes


def _example(files):
    return files[0].stem + os.path.splitext(files[0].path)[1]
