"""Image files and mask files that belong together by their names."""

import glob
import os
import re
import unicodedata
from collections import Counter, defaultdict
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from seglib.annotations import DataError, refuse
from seglib.images import EXTENSIONS

JUNK = ("__macosx", "thumbs.db", "desktop.ini")  # of operating systems; and all that starts with a dot
_WORD = re.compile(r"\d+|[^\W\d_]+?(?=[\W\d_]|$|mask|annot|label)")  # "trainannot_07" → train, annot, 07


class File(NamedTuple):
    """A file: its path, and its place below the folder that was searched, with ``/`` and without the ending."""

    path: str
    stem: str


class SeveralMasks(DataError):
    """Several masks for some images; ``masks_of`` maps each image to its masks, all :class:`File`."""

    def __init__(self, images, masks_of):
        first, second = (mask.path for mask in masks_of[images[0]][:2])
        super().__init__(
            f"{len(images)} images have several masks, as {images[0].path} has {first} and {second}; "
            "choose a kind by a pattern, as in masks='gtFine/*_labelIds.png', or, if each is one object, call "
            "data.from_instances; if each is one class, name them for it and make them black and white: 7_road.png"
        )
        self.masks_of = masks_of


def find_pairs(images, masks):
    """Pairs the images and the masks, two lists of :class:`File`, by their names.

    Of three ways the one that pairs most files is taken, the first of equals: by the whole name, with the folders below
    the one given (``night/007``); word by word, but for words that all images and few or no masks have, or the reverse
    (``img3.jpg`` and ``label_3.png``); and likewise without the folders. Numbers must agree with their leading zeros.
    Gives ``(pairs, unpaired, notes)``: pairs of :class:`File`; the paths without a partner; what was done, in words.
    """
    sides = images, masks
    words = [_to_words(sides, folders=True), _to_words(sides, folders=False)]
    names = [[file.stem for file in files] for files in sides]
    agreed = max((_agree(sides, keys) for keys in (names, *words)), key=len)
    pairs = sorted((of[0][0], of[1][0]) for of in agreed.values() if len(of[0]) == len(of[1]) == 1)
    used = {file.path for pair in pairs for file in pair}
    alone = [[file for file in files if file.path not in used] for files in sides]
    if alone[1]:
        _refuse_several(sides, pairs, words)
    twice = [files for of in agreed.values() for files in of if len(files) > 1]
    found = [f"{a.path} and {os.path.relpath(b.path, os.path.dirname(a.path))}: one name" for a, b, *_ in twice]
    refuse(found, "names that stand for two files; choose with a pattern such as images='…/*.png'")
    if alone[0] and alone[1]:
        _refuse_numbers(sides, len(pairs), words)
    if not pairs:
        found, way = f"{sides[0][0].path}, {sides[1][0].path}", "give patterns such as images='…/*_rgb.png'"
        raise DataError(f"no image and mask have names that agree: {found}; name them alike, or {way}")
    return pairs, [file.path for files in alone for file in files], _describe(pairs, alone)


def list_below(folder, above=()):
    """Yields the ``Path`` of all below a folder, also in links, but for one back to a folder that it is in; no junk."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not entry.name.startswith(".") and entry.name.lower() not in JUNK:
            yield Path(entry.path)
            if entry.is_dir():
                yield from list_below(entry.path, (*above, real))


def root_and_pattern(where):
    """Parts ``"a/b/*.png"`` into ``("a/b", "*.png")``; of a folder the pattern is ``"*"``, which fits all below it."""
    where = os.path.expanduser(os.fspath(where))
    if os.path.isdir(where) or not glob.has_magic(where):
        return where, "*"
    parts = re.split(r"[/\\]", where)
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts[:first]) or ("/" if where.startswith("/") else "."), "/".join(parts[first:])


def list_files(where, endings=EXTENSIONS):
    """The files in a folder and below, or that fit a pattern: :class:`File`, in order; with ``endings`` None all."""
    root, pattern = root_and_pattern(where)
    if os.path.isfile(root) and endings is None:
        return [File(root, os.path.splitext(os.path.basename(root))[0])]
    if not os.path.isdir(root):
        what = "a file" if os.path.isfile(root) else "no such folder"
        raise DataError(f"{root}: {what}; wanted a folder, or a pattern such as '*.png'")
    pattern = pattern.replace("**/", "*")
    files = []
    for path in list_below(root):
        place = path.relative_to(root).as_posix()
        fits = fnmatch(place, pattern) or fnmatch(place, f"{pattern}/*")
        if fits and (endings is None or path.suffix.lower() in endings) and not path.is_dir():
            files.append(File(str(path), unicodedata.normalize("NFC", os.path.splitext(place)[0])))
    if not files:
        raise DataError(f"{where}: no image files in it; wanted {' '.join(EXTENSIONS)}")
    return sorted(files, key=lambda file: (file.stem, file.path))


def find_files(images, masks):
    """The image files and the mask files, given as to ``from_folder``; none of them is both."""
    found = [list_files(images), list_files(masks)]
    paths = [{os.path.abspath(file.path) for file in files} for files in found]
    if paths[0] == paths[1]:
        way = "give two folders or two patterns, as in from_folder('data/*.jpg', 'data/*_mask.png')"
        raise DataError(f"{images}: the images and the masks are the same files, as {found[0][0].path}; {way}")
    smaller = 0 if paths[0] < paths[1] else 1
    found[1 - smaller] = [file for file in found[1 - smaller] if os.path.abspath(file.path) not in paths[smaller]]
    return found


def split_words(name):
    """``"Train/img_007"`` → ``["train", "img", "007"]``."""
    return _WORD.findall(name.lower())


def _to_words(sides, folders):
    """The words of each name, but for those that one side has in every name and the other in few or none."""
    stems = [[file.stem if folders else file.stem.rpartition("/")[2] for file in files] for files in sides]
    images, masks = ([tuple(split_words(stem)) for stem in side] for side in stems)
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
        name = split_words(mask.stem)
        runs = [tuple(name[i : i + size]) for size in range(len(name), 0, -1) for i in range(len(name) - size + 1)]
        image = image_of.get(mask.path) or next((image_named[run] for run in runs if run in image_named), None)
        masks_of[image].append(mask)
    masks_of.pop(None, None)
    if several := [image for image, found in masks_of.items() if len(found) > 1]:
        raise SeveralMasks(several, masks_of)


def _refuse_numbers(sides, count, words):
    """Refuses names that agree more often without leading zeros, or if one side is counted from another start."""
    for images, masks in words:
        masks = {_renumber(key, 0) for key in masks if key}
        if any(len({_renumber(key, shift) for key in images} & masks) > count for shift in (-1, 0, 1)):
            found = f"the numbers of images ({sides[0][0].path}, …) and masks ({sides[1][0].path}, …) differ"
            way = "Rename one side, as in img_007 and 007_mask"
            raise DataError(f"{found}: other leading zeros, or counted from 0 and from 1? {way}")


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
