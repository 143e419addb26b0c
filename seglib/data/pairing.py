"""Which mask belongs to which image: by the same name, by names that agree but for a word, or by their number."""

import os
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from fnmatch import fnmatch
from itertools import combinations
from typing import NamedTuple

from seglib.data.dataset import DataError, refuse
from seglib.images import EXTENSIONS

# How masks are called where they share a tree with the images: words of their folder, a word that sets their name
# apart from that of another file ("L" and "P" are too often something else in a folder), parts of any word.
FOLDER_WORDS = ("gt", "seg", "lab", "lbl", "target", "targets")
NAME_WORDS = (*FOLDER_WORDS, "l", "p")
MASK_PARTS = ("mask", "annot", "label", "truth", "segm", "manual", "trimap", "matte")
# Kinds of masks that are for looking at, or hold something else than classes; taken only if nothing else is there.
SHOWN = ("color", "colour", "human", "preview", "vis", "overlay", "instance", "panoptic", "edge", "boundary")

_MASK_PART = re.compile("|".join(MASK_PARTS))


class File(NamedTuple):
    """A file: its path, and its place below the folder that was searched, with ``/`` and without the ending."""

    path: str
    stem: str


class Pairing(NamedTuple):
    """What was found.

    Attributes:
        pairs: list of ``(image, mask)``, both :class:`File`, in the order of the images' names.
        unpaired: paths of the images and masks that found no partner.
        notes: the rule that was inferred and what was left out, in words.
    """

    pairs: list
    unpaired: list
    notes: list


def find_pairs(images, masks=None):
    """Finds images and masks and pairs them by their names; no file is opened.

    Rules, the first that pairs everything, else the one that pairs most:

    1. the same place below both folders: ``night/007.jpg`` and ``night/007.png``;
    2. the words of the image, but for those that all images and no masks have, are among those of the mask; first with
       the folders, then without: ``21_training.tif`` and ``21_manual1.gif``, ``0001.png`` and ``0001_L.png``;
    3. if that pairs less than half, or if nothing but the number differs among images and among masks: the one number
       in the names, ``photo 12.jpg`` and ``annotation-0012.png``.

    Of several masks for an image (annotators, say) the kind that serves most images is taken, the first by name of
    several such; a kind is the words around the name of the image, as in ``"… mask"``, or the folder that the masks lie
    in. A file that is found as an image and as a mask belongs to the smaller of the two sets.

    Args:
        images: a folder, searched with all that is in it, or a pattern such as ``"scans/*_t1.tif"``.
        masks: likewise; None: they lie among the images and are told apart by words such as *mask* or *annot*, or,
            where that tells nothing, by the ending: JPEG files are the images.

    Returns:
        A :class:`Pairing`.

    Raises:
        DataError: a folder that is missing or without images, two files of one name, or no pair at all.
    """
    image_files, mask_files = _find_files(images, masks)
    _refuse_instances(image_files, mask_files)
    best = _match(image_files, mask_files)
    if len(best.of) < len(mask_files):
        best = _by_kind_of_folder(image_files, mask_files, best)
    if not best.of:
        raise DataError(
            f"no image of {images} and mask of {masks or images} have names that agree: {_example(image_files)}, "
            f"{_example(mask_files)}; name them alike, or give patterns such as images='…/*_rgb.png'"
        )
    return _to_pairing(best, image_files, mask_files)


def list_files(where):
    """The image files in a folder and below, or those that fit a pattern, in the order of their names.

    Raises:
        DataError: no such folder, or no image file in it.
    """
    where = os.fspath(where)
    root, pattern = root_and_pattern(where)
    if os.path.isfile(root):
        raise DataError(f"{root}: a file; wanted a folder, or a pattern such as '*.png'")
    if not os.path.isdir(root):
        raise DataError(f"{root}: no such folder")
    files, endings = [], Counter()
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        for name in names:
            place = os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")
            stem, ending = os.path.splitext(place)
            if name.startswith(".") or not (fnmatch(place, pattern) or fnmatch(place, f"{pattern}/*")):
                continue
            endings[ending.lower()] += 1
            if ending.lower() in EXTENSIONS:
                files.append(File(os.path.join(folder, name), unicodedata.normalize("NFC", stem)))
    if not files:
        there = ", ".join(f"{count} {ending or 'without ending'}" for ending, count in endings.most_common(5))
        raise DataError(f"{where}: no image files in it (found: {there or 'nothing'}); wanted {' '.join(EXTENSIONS)}")
    return sorted(files, key=lambda file: (file.stem, file.path))


def root_and_pattern(where):
    """``"a/b/*.png"`` → ``("a/b", "*.png")``; of a folder the pattern is ``"*"``, which fits everything below it."""
    where = os.path.expanduser(where)
    if os.path.isdir(where) or not re.search(r"[*?\[]", where):
        return where, "*"
    parts = re.split(r"[/\\]", where)
    first = next(i for i, part in enumerate(parts) if re.search(r"[*?\[]", part))
    return "/".join(parts[:first]) or ("/" if where.startswith("/") else "."), "/".join(parts[first:])


def _find_files(images, masks):
    """The images and the masks; files that are in both sets belong to the smaller one."""
    if masks is None:
        return _part(list_files(images), images)
    files, keys = [], []
    for where in (images, masks):
        root = os.path.realpath(root_and_pattern(os.fspath(where))[0])
        files.append(list_files(where))
        keys.append([f"{root}/{file.stem}{os.path.splitext(file.path)[1]}" for file in files[-1]])
    if keys[0] == keys[1]:
        return _part(files[0], images)
    larger = int(len(keys[1]) > len(keys[0]))
    both = set(keys[0]).intersection(keys[1])
    files[larger] = [file for file, key in zip(files[larger], keys[larger], strict=True) if key not in both]
    return files


def _refuse_instances(images, masks):
    """Refuses masks that lie in a folder for each image: a file for each object."""
    places = [file.stem.split("/") for file in images]
    names = {name for *above, name in places if above[-1:] != [name]}
    folders = {place[-2] for place in (file.stem.split("/") for file in masks) if len(place) > 1}
    if 2 * len(names & folders) > len(names):
        raise DataError(
            f"{os.path.dirname(masks[0].path)}: a folder of masks for each image, so a file for each object? "
            "data.from_instances joins them"
        )


def _part(files, where):
    """Parts the files of one tree into images and masks: by their folders, or else by their names, or else endings."""
    shared = len(os.path.commonprefix([file.stem.split("/")[:-1] for file in files]))  # folders of all tell nothing
    places = [file.stem.lower().split("/")[shared:] for file in files]
    known = {(*above, *_split(name)) for *above, name in places}
    for is_mask in (
        [_is_mask_folder(above) for *above, _ in places],
        [_is_mask_folder(above) or _is_mask_name(above, name, known) for *above, name in places],
        [not file.path.lower().endswith((".jpg", ".jpeg")) for file in files],  # 001.jpg and 001.png side by side
    ):
        if any(is_mask) and not all(is_mask):
            found = {
                wanted: [f for f, m in zip(files, is_mask, strict=True) if m == wanted] for wanted in (False, True)
            }
            return found[False], found[True]
    raise DataError(
        f"{os.fspath(where)}: cannot tell images from masks by their names, as in {_example(files)}; "
        "give two folders or two patterns, as in from_folder('data/*.jpg', 'data/*_mask.png')"
    )


def _is_mask_folder(above):
    words = [word for folder in above for word in _split(folder)]
    return any(word in FOLDER_WORDS or any(part in word for part in MASK_PARTS) for word in words)


def _is_mask_name(above, name, known):
    words = _split(name)
    without = [(*above, *words[:k], *words[k + 1 :]) for k, word in enumerate(words) if word in NAME_WORDS]
    return any(part in name for part in MASK_PARTS) or not known.isdisjoint(without)


class _Match(NamedTuple):
    of: dict  # from the index of an image to that of its mask
    rule: str
    kinds: dict  # where masks are left: from the index of every mask with an image to how it is called beyond that


def _match(images, masks):
    """The first rule that pairs everything, else the one that pairs most."""
    best, most = _by_place(images, masks), min(len(images), len(masks))
    for folders in (True, False):
        if len(best.of) < most:
            best = _better(best, _by_words(images, masks, folders))
    if 2 * len(best.of) < most or (len(best.of) < most and _is_numbered(images) and _is_numbered(masks)):
        best = _better(best, _by_number(images, masks))
    return best


def _better(one, other):
    return other if len(other.of) > len(one.of) else one


def _by_kind_of_folder(images, masks, best):
    """Another match, of the masks in folders of one name only, if that serves as many images as ``best``."""
    folder_of = [file.stem.rpartition("/")[0].rpartition("/")[2] for file in masks]
    folders = defaultdict(list)
    for j, folder in enumerate(folder_of):
        folders[folder].append(j)
    found = {}
    for folder, chosen in sorted(folders.items()):
        if 2 * len(chosen) >= len(images) and len(chosen) < len(masks):
            match = _match(images, [masks[j] for j in chosen])
            if not match.kinds and len(match.of) >= max(1, len(best.of)):
                found[folder] = match._replace(of={i: chosen[j] for i, j in match.of.items()})
    if not found:
        return best
    taken = max(found, key=lambda folder: (len(found[folder].of), not _is_shown(folder)))
    used = {*found[taken].of.values()}
    kinds = {j: f"{folder}/" for j, folder in enumerate(folder_of) if j in used or folder != taken}
    return found[taken]._replace(kinds=kinds)


def _by_place(images, masks):
    for files in (images, masks):
        twice = [
            f"{one.path} and {os.path.basename(two.path)}: one name, two files"
            for one, two in zip(files, files[1:], strict=False)
            if one.stem == two.stem
        ]
        refuse(twice, "names that stand for two files; choose with a pattern such as masks='…/*.png'")
    places = {file.stem: i for i, file in enumerate(masks)}
    of = {i: places[file.stem] for i, file in enumerate(images) if file.stem in places}
    return _Match(of, "by the same name", {})


def _by_words(images, masks, folders):
    image_words = [_words(file.stem, folders) for file in images]
    mask_words = [_words(file.stem, folders) for file in masks]
    image_extra, mask_extra = _common(image_words, mask_words), _common(mask_words, image_words)
    places, twice = {}, set()
    for i, words in enumerate(image_words):
        key = tuple(word for word in words if word not in image_extra)
        twice |= {key} & places.keys()
        places[key] = i
    places = {key: i for key, i in places.items() if key and key not in twice}
    of, kinds = _take_kinds(mask_words, places)
    extra = [
        f"{' '.join(sorted(words))!r} in the {what}"
        for words, what in ((image_extra, "images"), (mask_extra, "masks"))
        if words
    ]
    rule = "by the words of their names" + (f", but for {' and '.join(extra)}" if extra else "")
    taken = [kinds[j] for j in of.values()]
    if len(set(taken)) > 1:  # one of them may be the left-over mask of an image that is gone
        rule += f" ({_count(taken)})"
    return _Match(of, rule, kinds if len(of) < len(kinds) else {})


def _take_kinds(mask_words, places):
    """Gives out the masks kind by kind: from images to their masks, and from the masks to their kinds."""
    known, lengths = {word for key in places for word in key}, sorted({len(key) for key in places}, reverse=True)
    by_kind = defaultdict(list)
    for j, words in enumerate(mask_words):
        for kind, key in _find_names(words, places, known, lengths):
            by_kind[kind].append((places[key], j))

    def rank(kind):  # the most images, then what is meant for machines, then few words and after the name
        words = kind.split()
        return -len({i for i, _ in by_kind[kind]}), _is_shown(kind), len(words), words[0] != "…", kind

    of, kinds, used = {}, {}, set()
    for kind in sorted(by_kind, key=rank):
        for i, j in by_kind[kind]:
            kinds.setdefault(j, kind)
            if i not in of and j not in used:
                of[i], kinds[j] = j, kind
                used.add(j)
    return of, kinds


def _find_names(words, places, known, lengths):
    """The names of images that are left when the fewest words are taken out, and how the mask is called beyond each."""
    maybe = [k for k, word in enumerate(words) if word in known]
    for length in lengths:
        if not len(maybe) - 4 <= length <= len(maybe):
            continue
        names = [(kept, tuple(words[k] for k in kept)) for kept in combinations(maybe, length)]
        found = [(_kind(words, kept), key) for kept, key in names if key in places]
        if found:
            return found
    return []


def _kind(words, kept):
    """``(["0001", "gt", "color"], [0])`` → ``"… gt color"``."""
    shown = ["…" if k in kept else word for k, word in enumerate(words)]
    return " ".join(word for k, word in enumerate(shown) if k == 0 or word != "…" or shown[k - 1] != "…")


def _words(stem, folders):
    """``"Night/0001_L"`` → ``["night/", "0001", "l"]``; ``"trainannot/"`` is the folder ``"train/"`` of the masks."""
    *above, name = stem.lower().split("/")
    parts = [word for folder in above if folders for word in _split(_MASK_PART.sub(r" \g<0>", folder))]
    return [sys.intern(f"{word}/") for word in parts] + _split(name)


def _split(name):
    return [sys.intern(word) for word in re.split(r"[\W_]+", name) if word]


def _is_shown(kind):
    return any(part in kind for part in SHOWN)


def _common(these, others):
    """The words that are in all of these names and in none of the others."""
    common = set(these[0]).intersection(*these)
    return common.difference(*others)


def _is_numbered(files):
    """Whether the names differ in nothing but their numbers."""
    return len({re.sub(r"\d+", "0", file.stem.rsplit("/", 1)[-1]) for file in files}) == 1


def _by_number(images, masks):
    rows = [_read_numbers(files) for files in (images, masks)]
    words = [{tuple(sorted(word for word, _ in row)) for row in side} for side in rows]
    if words[0] == words[1]:  # r1_c2 and c2_r1: the word before a number says which it is
        rows = [[sorted(row, key=lambda item: item[0]) for row in side] for side in rows]
    places = [_unique_numbers([tuple(number for _, number in row) for row in side]) for side in rows]
    of = {i: places[1][number] for number, i in places[0].items() if number in places[1]}
    return _Match(dict(sorted(of.items())), "by the number in their names", {})


def _read_numbers(files):
    """Of each name its numbers, each with the word before it: ``"day1_site02"`` → ``[("day", 1), ("site", 2)]``."""
    names = [file.stem.rsplit("/", 1)[-1].lower() for file in files]
    return [[(word, int(digits)) for word, digits in re.findall(r"([^\W\d_]*)[\W_]*(\d+)", name)] for name in names]


def _unique_numbers(rows):
    """From the number (or numbers) in a name to the file's index; numbers that all names share do not count."""
    if len({len(row) for row in rows}) == 1:
        varying = [k for k in range(len(rows[0])) if len({row[k] for row in rows}) > 1 or len(rows) == 1]
        rows = [tuple(row[k] for k in varying) for row in rows]
    counts = Counter(rows)
    return {row: i for i, row in enumerate(rows) if row and counts[row] == 1}


def _to_pairing(match, images, masks):
    pairs = [(images[i], masks[j]) for i, j in sorted(match.of.items())]
    image, mask = (os.path.basename(file.path) for file in pairs[0])
    notes = [f"{len(pairs)} pairs {match.rule}, the first {image} and {mask}"]
    used = set(match.of.values())
    if match.kinds:
        taken, left = (
            _count(kind for j, kind in match.kinds.items() if (j in used) == wanted) for wanted in (True, False)
        )
        numbered = len({re.sub(r"\d+", "0", kind) for kind in match.kinds.values()}) < len({*match.kinds.values()})
        hint = "; if each is one object, data.from_instances joins them" if numbered else ""
        notes.append(
            f"several masks for an image: took {taken}; left {left} (choose others with a pattern in masks={hint})"
        )
    lone_images = [file.path for i, file in enumerate(images) if i not in match.of]
    lone_masks = [file.path for j, file in enumerate(masks) if j not in used and j not in match.kinds]
    for lone, what, partner in ((lone_images, "image", "a mask"), (lone_masks, "mask", "an image")):
        if lone:
            shown = ", ".join(os.path.basename(path) for path in lone[:5]) + (", …" if len(lone) > 5 else "")
            notes.append(f"left out: {len(lone)} {what}{'s' * (len(lone) > 1)} without {partner}: {shown}")
    return Pairing(pairs, lone_images + lone_masks, notes)


def _count(kinds):
    counts = Counter(kinds)
    return ", ".join(f"{count} {kind!r}" for kind, count in counts.most_common(5)) + (", …" if len(counts) > 5 else "")


def _example(files):
    return files[0].stem + os.path.splitext(files[0].path)[1]
