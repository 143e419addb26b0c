"""Which mask belongs to which image: by the same name, by names that agree but for a word, or by their number."""

import os
import re
import sys
from collections import Counter, defaultdict
from fnmatch import fnmatch
from itertools import combinations
from typing import NamedTuple

from seglib.data.dataset import DataError, refuse
from seglib.images import EXTENSIONS

# How masks are called where they share a folder with the images: whole words, and parts of words.
MASK_WORDS = ("gt", "seg", "lab", "lbl", "l", "p")
MASK_PARTS = ("mask", "annot", "label", "truth", "segm", "manual", "trimap", "matte")
# Kinds of masks that are for looking at, or hold something else than classes; taken only if nothing else is there.
SHOWN = ("color", "colour", "vis", "overlay", "instance", "panoptic", "edge", "boundary")


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
    2. the same words but for those that all images or all masks have, folders included and then without them:
       ``21_training.tif`` and ``21_manual1.gif``, ``0001.png`` and ``0001_L.png``;
    3. if that pairs less than half: the one number in the names, ``photo 12.jpg`` and ``annotation-0012.png``.

    Of several masks for an image (annotators, say) the kind that serves most images is taken, the first by name of
    several such; a kind is the words around the name, or the folder that the masks lie in.

    Args:
        images: a folder, searched with all that is in it, or a pattern such as ``"scans/*_t1.tif"``.
        masks: likewise; None: they lie among the images and are told apart by words such as *mask* or *annot*, or,
            where a JPEG and a file of another kind share a name, by the ending.

    Returns:
        A :class:`Pairing`.

    Raises:
        DataError: a folder that is missing or without images, two files of one name, or no pair at all.
    """
    if masks is None or _same_place(images, masks):
        image_files, mask_files = _part(list_files(images), images)
    else:
        image_files = [file for file in list_files(images) if not _inside(file.path, masks, images)]
        mask_files = [file for file in list_files(masks) if not _inside(file.path, images, masks)]
    for files, where in ((image_files, images), (mask_files, masks or images)):
        if not files:
            raise DataError(f"{where}: no files left to pair")
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
        DataError: no such folder, or no image file in it; two files of one name but for the ending.
    """
    where = os.fspath(where)
    root, pattern = root_and_pattern(where)
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
                files.append(File(os.path.join(folder, name), stem))
    if not files:
        there = ", ".join(f"{count} {ending or 'without ending'}" for ending, count in endings.most_common(5))
        raise DataError(f"{where}: no image files in it (found: {there or 'nothing'}); wanted {' '.join(EXTENSIONS)}")
    return sorted(files, key=lambda file: file.stem)


def root_and_pattern(where):
    """``"a/b/*.png"`` → ``("a/b", "*.png")``; of a folder the pattern is ``"*"``, which fits everything below it."""
    if os.path.isdir(where) or not re.search(r"[*?\[]", where):
        return where, "*"
    parts = re.split(r"[/\\]", where)
    first = next(i for i, part in enumerate(parts) if re.search(r"[*?\[]", part))
    return "/".join(parts[:first]) or ("/" if where.startswith("/") else "."), "/".join(parts[first:])


def _same_place(images, masks):
    return os.path.realpath(images) == os.path.realpath(masks)


def _inside(path, other, own):
    """Whether a file lies in the ``other`` folder, where that is a folder within ``own``."""
    other = os.path.realpath(root_and_pattern(os.fspath(other))[0])
    own = os.path.realpath(root_and_pattern(os.fspath(own))[0])
    return other.startswith(own + os.sep) and os.path.realpath(path).startswith(other + os.sep)


def _part(files, where):
    """Parts the files of one tree into images and masks."""
    stems = {file.stem.lower() for file in files}
    masks = [file for file in files if _is_mask(file.stem, stems)]
    if not masks:  # 001.jpg and 001.png side by side
        both = Counter(file.stem for file in files)
        masks = [f for f in files if both[f.stem] == 2 and not f.path.lower().endswith((".jpg", ".jpeg"))]
    chosen = set(masks)
    images = [file for file in files if file not in chosen]
    if not masks or not images:
        raise DataError(
            f"{os.fspath(where)}: cannot tell images from masks by their names, as in {_example(files)}; "
            "give two folders or two patterns, as in from_folder('data/*.jpg', 'data/*_mask.png')"
        )
    return images, masks


def _is_mask(stem, stems):
    *above, name = stem.lower().split("/")
    if any(part in text for text in (*above, name) for part in MASK_PARTS):
        return True
    words = [_split(folder) for folder in above]
    base = re.sub(r"[\W_]+[^\W_]+$", "", stem).lower()  # 0001_L, next to 0001
    return any(set(MASK_WORDS).intersection(found) for found in words) or (
        base in stems and _split(name)[-1] in MASK_WORDS
    )


class _Match(NamedTuple):
    of: dict  # from the index of an image to that of its mask
    rule: str
    kinds: dict  # how masks are called beyond the name of their image → how many were (taken, left)


def _match(images, masks):
    """The first rule that pairs everything, else the one that pairs most."""
    matches = [_by_place(images, masks)]
    if not len(matches[0].of) == len(images) == len(masks):
        matches += [_by_words(images, masks, folders) for folders in (True, False)]
        if 2 * max(len(match.of) for match in matches) < min(len(images), len(masks)):
            matches.append(_by_number(images, masks))
    return max(matches, key=lambda match: len(match.of))  # the first of the best


def _by_kind_of_folder(images, masks, best):
    """Another match, of the masks in folders of one name only, if that serves as many images as ``best``."""
    folders = defaultdict(list)
    for j, file in enumerate(masks):
        folders[file.stem.rpartition("/")[0].rpartition("/")[2]].append(j)
    found = {}
    for folder, chosen in sorted(folders.items()):
        if 2 * len(chosen) >= len(images) and len(chosen) < len(masks):
            match = _match(images, [masks[j] for j in chosen])
            if not match.kinds and len(match.of) >= max(1, len(best.of)):
                found[folder] = match._replace(of={i: chosen[j] for i, j in match.of.items()})
    if not found:
        return best
    taken = max(found, key=lambda folder: (len(found[folder].of), not _is_shown(folder)))
    kinds = {f"{folder}/": (0, len(chosen)) for folder, chosen in sorted(folders.items()) if folder != taken}
    return found[taken]._replace(kinds={f"{taken}/": (len(found[taken].of), 0), **kinds})


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
    candidates, kinds = defaultdict(list), Counter()
    for j, words in enumerate(mask_words):
        key = _find_key([word for word in words if word not in mask_extra], places)
        if key and key not in twice:
            kind = " ".join((Counter(words) - Counter(key)).elements())
            candidates[places[key]].append((kind, j))
            kinds[kind] += 1
    rank = sorted(kinds, key=lambda kind: (-kinds[kind], _is_shown(kind), kind))
    rank = {kind: place for place, kind in enumerate(rank)}
    of = {i: min(found, key=lambda item: rank[item[0]]) for i, found in sorted(candidates.items())}
    taken = Counter(kind for kind, _ in of.values())
    extra = [
        f"{' '.join(sorted(words))!r} in the {what}"
        for words, what in ((image_extra, "images"), (mask_extra, "masks"))
        if words
    ]
    rule = "by the words of their names" + (f", but for {' and '.join(extra)}" if extra else "")
    counts = {kind: (taken[kind], kinds[kind] - taken[kind]) for kind in rank} if len(rank) > 1 else {}
    return _Match({i: j for i, (_, j) in of.items()}, rule, counts)


def _words(stem, folders):
    """``"Night/0001_L"`` → ``["night/", "0001", "l"]``."""
    *above, name = stem.lower().split("/")
    return [f"{word}/" for folder in above if folders for word in _split(folder)] + _split(name)


def _split(name):
    return [sys.intern(word) for word in re.split(r"[\W_]+", name) if word]


def _is_shown(kind):
    return any(part in kind for part in SHOWN)


def _common(these, others):
    """The words that are in all of these names and in none of the others."""
    common = set(these[0]).intersection(*these)
    return common.difference(*others)


def _find_key(words, places):
    """The key of an image that is left when the fewest words are taken out, the leftmost of several; or None."""
    for length in range(len(words), max(0, len(words) - 5), -1):
        for key in combinations(words, length):
            if key in places:
                return key
    return None


def _by_number(images, masks):
    places = [_unique_numbers(files) for files in (images, masks)]
    of = {i: places[1][number] for number, i in places[0].items() if number in places[1]}
    return _Match(dict(sorted(of.items())), "by the number in their names", {})


def _unique_numbers(files):
    """From the number (or numbers) in a name to the file's index; numbers that all names share do not count."""
    rows = [tuple(int(digits) for digits in re.findall(r"\d+", file.stem.rsplit("/", 1)[-1])) for file in files]
    if len({len(row) for row in rows}) == 1:
        varying = [k for k in range(len(rows[0])) if len({row[k] for row in rows}) > 1 or len(rows) == 1]
        rows = [tuple(row[k] for k in varying) for row in rows]
    counts = Counter(rows)
    return {row: i for i, row in enumerate(rows) if row and counts[row] == 1}


def _to_pairing(match, images, masks):
    pairs = [(images[i], masks[j]) for i, j in sorted(match.of.items())]
    image, mask = (os.path.basename(file.path) for file in pairs[0])
    notes = [f"{len(pairs)} pairs {match.rule}, the first {image} and {mask}"]
    left = {kind: count for kind, (_, count) in match.kinds.items() if count}
    if left:
        taken = ", ".join(f"{count} of the kind {kind!r}" for kind, (count, _) in match.kinds.items() if count)
        others = ", ".join(f"{count} {kind!r}" for kind, count in left.items())
        notes.append(
            f"several masks for an image: took {taken}; left {others} (choose others with a pattern in masks=)"
        )
    used = set(match.of.values())
    lone_images = [file.path for i, file in enumerate(images) if i not in match.of]
    lone_masks = [file.path for j, file in enumerate(masks) if j not in used] if not left else []
    for lone, what, partner in ((lone_images, "image", "a mask"), (lone_masks, "mask", "an image")):
        if lone:
            shown = ", ".join(os.path.basename(path) for path in lone[:5]) + (", …" if len(lone) > 5 else "")
            notes.append(f"left out: {len(lone)} {what}{'s' * (len(lone) > 1)} without {partner}: {shown}")
    return Pairing(pairs, lone_images + lone_masks, notes)


def _example(files):
    return os.path.basename(files[0].path)
