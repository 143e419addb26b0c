"""What the doctor finds: a table of all kinds of findings, and functions that see them in the facts about the pairs."""

import os
from itertools import chain
from typing import NamedTuple

import numpy as np

from seglib.data.dataset import SPLITS, read_pair
from seglib.data.encoding import number
from seglib.doctor.compare import CERTAIN, find_alike, find_fit
from seglib.doctor.facts import sum_pixels
from seglib.doctor.report import COLOURS, Finding

# Share of a mask's edges that hold a value between their neighbours: in masks of CamVid, membranes and streets at most
# 0.053 (0.106 in streets of 16×24 pixels), in interpolated ones at least 0.16.
SOFT = 0.12
SHIFTED = 2.5  # pixels; the masks of CamVid that fit with certainty lie within 1.4 of where they should
# Masks of another image have a certainty (compare.CERTAIN) under 4.2 in 9 of 10 cases; of CamVid's own with a peak
# further off than SHIFTED none did.
UNRELATED = 4.2
VIDEO = 0.1  # where more of the images of val and test are alike to one of train, they may be frames of a video
FEW = 10  # pairs
RARE = 0.001  # of the labelled pixels

# kind: severity, and what was seen; ``{mask}`` becomes "1 mask" or "2 masks", ``{names}`` a list of details
KINDS = {
    "unreadable images": ("error", "{image} cannot be read"),
    "unreadable masks": ("error", "{mask} cannot be read"),
    "sizes differ": ("error", "{mask} of another size than the image"),
    "images and masks swapped": ("error", "{image} with flat areas like a mask, and masks that look like photographs"),
    "mixed encodings": ("warning", "{mask} stored in another way than the others"),
    "lossy masks": ("warning", "{mask} stored with loss, as JPEG is, which invents values along every boundary"),
    "interpolated masks": ("warning", "{mask} with values along boundaries that lie between those of the neighbours"),
    "unknown colours": ("error", "{mask} with colours that stand for no class"),
    "ids out of range": ("error", "{mask} with values that stand for no class"),
    "pairs out of step": ("warning", "images are fitted by the mask of the pair {names}, not by their own"),
    "shifted masks": ("warning", "{mask} beside the edges of the image"),
    "flipped masks": ("warning", "{mask} that would follow the edges of the image if flipped or rotated"),
    "masks of other images": ("warning", "{mask} that, unlike the others, nowhere follow the edges of the image"),
    "masks off the edges": ("note", "the masks of this set do not follow the edges of their images"),
    "near-duplicates across splits": ("warning", "{image} with a copy, or nearly one, in another split"),
    "same scene across splits": ("note", "{image} with one like it in another split: neighbouring frames of a video?"),
    "one image, two masks": ("warning", "{image} more than once in a split, with masks that differ"),
    "duplicates within a split": ("note", "{image} more than once in a split, and so counted twice"),
    "absent classes": ("warning", "no mask holds {names}"),
    "classes missing from train": ("warning", "no mask of train holds {names}, so nothing can be learnt of it"),
    "classes missing from val or test": ("note", "no mask holds {names}"),
    "rare classes": ("note", "{names} of the labelled pixels"),
    "void masks": ("warning", "{mask} void everywhere"),
    "mostly void": ("note", "{mask} void in more than half of the pixels"),
    "blank masks": ("note", "{mask} of a single class"),
    "empty images": ("warning", "{image} black or of one colour"),
    "doubtful reading": ("warning", "said when the files were read: {names}"),
    "unpaired files": ("warning", "{file} without a partner, left out"),
    "small or missing splits": ("note", "pairs: {names}"),
}
GROUPS = "frames of a drive belong in one split: say groups=, such as groups='^([^_]+)_' for drive1_0007.png"
# kind: what to do about it, where that does not depend on what was seen
ADVICE = {
    "unreadable images": "fetch or export them again, or delete the pairs",
    "unreadable masks": "fetch or export them again, or delete the pairs",
    "sizes differ": "resize a resized copy by nearest neighbour, rotate one that EXIF rotated; pair cropped ones anew",
    "images and masks swapped": "exchange the two folders in the call, or the files on disk",
    "mixed encodings": "save these again like the others; or, if all masks are binary, say ids={0: 0, 1: 1, 255: 1}",
    "lossy masks": "export them again from their source as PNG; saving the JPEG as PNG keeps the invented values",
    "interpolated masks": "make them anew without antialiasing, and resize masks by nearest neighbour only",
    "unknown colours": "correct these pixels, or add the colours: ids={(red, green, blue): class id, …}",
    "ids out of range": "correct these masks, or say what all values mean: ids={value: class id, …}",
    "pairs out of step": "pair them anew: the numbers start differently, or a file is missing from a list",
    "shifted masks": "move these masks back, or draw them anew; look for a crop or a border that only images got",
    "flipped masks": "flip or rotate these masks, and look at some pairs",
    "masks of other images": "pair them anew; a file left out shifts all that follow in sorted lists",
    "masks off the edges": "look at some pairs: if they do not belong together, pair them anew",
    "near-duplicates across splits": f"delete one of the two, as scores would be too good; {GROUPS}",
    "same scene across splits": GROUPS,
    "one image, two masks": "keep the pair with the right mask, and delete the others",
    "duplicates within a split": "delete the copies",
    "absent classes": "leave them out of the labels, or check the ids; black and white masks: ids=labels.BINARY_255",
    "classes missing from train": "split the data anew: another seed=, groups= or lists=",
    "classes missing from val or test": "their IoU cannot be measured there: split the data anew with another seed=",
    "rare classes": "weight the classes in the loss, and read their IoU with care; or correct wrong annotations",
    "void masks": "label these images, or delete the pairs: they teach nothing",
    "mostly void": "if that is not meant, label the rest",
    "blank masks": "look at them: were they saved before they were drawn?",
    "empty images": "export them again; 12-bit images in 16-bit files must be stretched to 0–65535 first",
    "doubtful reading": "read the sentence, and look at some pairs; the call that it names settles the matter",
    "unpaired files": "add the missing file or correct its name; delete what is not needed",
    "small or missing splits": "choose by val, judge by test once; with few pairs, average over several splits (seed=)",
}


class Seen(NamedTuple):
    """One thing seen in one place; those of a kind become one :class:`~seglib.doctor.report.Finding`."""

    kind: str  # of KINDS
    files: tuple = ()  # paths concerned
    detail: str = ""  # what was seen in the first of them, or a name for {names}
    severity: str = ""  # instead of that of KINDS
    do: str = ""  # instead of that of ADVICE


def find_all(dataset, pairs):
    """A tuple of :class:`~seglib.doctor.report.Finding`, from the :class:`~seglib.doctor.facts.PairFacts` of all pairs.

    Errors come first, then warnings, then notes; within these the order is that of ``KINDS``.
    """
    finders = find_unusable, find_contents, find_misplaced, find_copies, find_classes, find_void_and_blank, find_gaps
    seen = {kind: [] for kind in KINDS}
    for one in chain.from_iterable(find(dataset, pairs) for find in finders):
        seen[one.kind].append(one)
    findings = [_summarise(kind, those) for kind, those in seen.items() if those]
    return tuple(sorted(findings, key=lambda finding: [*COLOURS].index(finding.severity)))


def _summarise(kind, seen):
    severity, what = KINDS[kind]
    names = [one.detail for one in seen[:8]] + [f"and {len(seen) - 8} more"] * (len(seen) > 8)
    words = {noun: f"{len(seen)} {noun}{'s' * (len(seen) > 1)}" for noun in ("image", "mask", "file")}
    return Finding(
        kind,
        severity=min((one.severity or severity for one in seen), key=[*COLOURS].index),
        files=tuple(dict.fromkeys(file for one in seen for file in one.files)),
        what=what.format(**words, names=", ".join(names)),
        do=seen[0].do or ADVICE[kind],
        details={one.files[0]: one.detail for one in seen if one.files and one.detail and "{names}" not in what},
    )


def find_unusable(dataset, pairs):
    """Files that cannot be read, masks of another size than their image, and images that show nothing."""
    for pair in pairs:
        if pair.image_error:
            yield Seen("unreadable images", (pair.image,), _reason(pair.image_error, pair.image))
        if pair.mask_size is None:
            yield Seen("unreadable masks", (pair.mask,), _reason(pair.mask_error, pair.mask))
        elif pair.size and pair.size != pair.mask_size:
            yield Seen("sizes differ", (pair.mask,), "{}×{}, its image {}×{}".format(*pair.mask_size, *pair.size))
        if pair.featureless:
            yield Seen("empty images", (pair.image,))


def _reason(message, path):
    """What is wrong, without the path and without the advice of a message."""
    return message.removeprefix(f"{path}: ").split("; ")[0]


def find_contents(dataset, pairs):
    """Masks that hold what they should not; of each the first kind that fits."""
    readable = [pair for pair in pairs if pair.mask_size]
    in_colour = 2 * sum(pair.form == "colours" for pair in readable) > len(readable)
    advice = _advise_on_ids(readable, dataset.labels)
    black_and_white = _find_black_and_white(pairs, dataset.labels.ignore_id)
    for pair in readable:
        severity = "error" if pair.mask_error else ""
        if pair.swapped:
            yield Seen("images and masks swapped", (pair.image, pair.mask))
        elif pair.mask_error and (pair.form == "colours") != in_colour:
            yield Seen("mixed encodings", (pair.mask,), pair.form, severity)
        elif pair.lossy:
            yield Seen("lossy masks", (pair.mask,), "", severity)
        elif pair.soft > SOFT:
            detail = f"{pair.soft:.0%} of its edges hold a value in between"
            yield Seen("interpolated masks", (pair.mask,), detail, severity)
        elif pair.mask_error:
            kind, do = ("unknown colours", "") if in_colour else ("ids out of range", advice)
            yield Seen(kind, (pair.mask,), _reason(pair.mask_error, pair.mask), do=do)
        elif pair in black_and_white:
            yield Seen("mixed encodings", (pair.mask,), "only 0 and 255 (void): is 255 its foreground?")


def _find_black_and_white(pairs, void):
    """Masks of 0 and 255, read as class 0 and void: where no other has void, or where other masks are the exception."""
    several = [pair for pair in pairs if pair.pixels[1:void].any()]
    two = [pair for pair in pairs if pair.pixels[0] and pair.pixels[void] and pair not in several]
    no_void = 2 * len(several) > len(pairs) and not any(pair.pixels[void] for pair in several)
    return two if void == 255 and (no_void or several and 2 * len(two) >= len(pairs)) else []


def _advise_on_ids(readable, labels):
    """What to say as ``ids=`` about the masks that cannot be used; ``""`` where their values do not tell."""
    values, classes = set().union(*(pair.values for pair in readable)), labels.num_classes
    strange = values - {*range(classes), labels.ignore_id}
    if classes == 19 and strange and max(strange) <= 33:
        return "these look like Cityscapes' labelIds: say ids=labels.CITYSCAPES_IDS"
    if strange == {classes} and 0 not in values:
        return f"if the ids count from 1, say ids=labels.one_based({classes}, void=None); if not, correct these masks"
    rest = sorted(values - {labels.ignore_id})
    if 1 < len(rest) <= classes < max(rest, default=0):
        return (
            f"they have gaps: if {rest} are the classes in this order, say {number(rest)}; if not, correct these masks"
        )
    if strange == {classes}:
        last_is_void = f"ids={{**{{i: i for i in range({classes})}}, {classes}: 255}}"
        return f"if {classes} is void, say {last_is_void}; if 0 is void, say ids=labels.one_based({classes})"
    return ""


def find_misplaced(dataset, pairs):
    """Masks that are shifted, flipped, or another image's."""
    pairs = [pair for pair in pairs if pair.fit is not None and not pair.featureless]
    certainty, usual = np.median([(pair.fit.certainty, pair.fit.boundary) for pair in pairs] or [(0, 0)], axis=0)
    in_files = sorted((pair for pair in pairs if os.path.isfile(pair.image)), key=lambda pair: pair.image)
    if certainty < CERTAIN and (where := _find_step(dataset, in_files)):
        yield Seen("pairs out of step", tuple(file for pair in in_files for file in (pair.image, pair.mask)), where)
        return
    reliable = sum(pair.fit.is_sure for pair in pairs) >= 0.8 * len(pairs)
    for pair in pairs:
        off = pair.fit.distance > SHIFTED
        if pair.fit.is_sure and off:
            detail = f"{pair.fit.down} px down and {pair.fit.right} px right of its image's edges"
            yield Seen("shifted masks", (pair.mask,), detail)
        elif pair.flip:
            yield Seen("flipped masks", (pair.mask,), f"fits when {pair.flip}")
        elif reliable and off and pair.fit.certainty < UNRELATED and pair.fit.boundary > usual / 2:
            yield Seen("masks of other images", (pair.image, pair.mask))
    if not reliable and len(pairs) >= FEW and certainty < UNRELATED:
        yield Seen("masks off the edges")


def _find_step(dataset, pairs):
    """``"after"`` or ``"before"`` if images are fitted by the mask of the pair after or before them, by name."""
    files = [dataset.files[pair.split][pair.index] for pair in pairs if pair.size == pairs[0].size]
    for by, where in ((1, "after"), (-1, "before")) if len(files) >= FEW else ():
        sample = np.linspace(1, len(files) - 2, 12).astype(int)
        fits = [find_fit(*read_pair(files[i][0], files[i + by][1], dataset.read_mask)) for i in sample]
        if np.median([fit.certainty if fit else 0 for fit in fits]) >= CERTAIN:
            return where
    return ""


def find_copies(dataset, pairs):
    """Copies of an image in two splits, and twice in one."""
    pairs = [pair for pair in pairs if pair.thumbnail is not None and not pair.featureless]
    train, val, test = ([pair for pair in pairs if pair.split == split] for split in SPLITS)
    alike = []
    for queries, keys in ((val, train), (test, train + val)):
        found = find_alike([pair.thumbnail for pair in queries], [pair.thumbnail for pair in keys])
        alike += [(queries[query], keys[key], is_copy) for query, key, is_copy in found]
    is_video = len(alike) > VIDEO * len(val + test)
    for one, other, is_copy in alike:
        kind = "near-duplicates across splits" if is_copy or not is_video else "same scene across splits"
        yield Seen(kind, (one.image, other.image), f"{one.split}, as {other.image} of {other.split}")
    same = {}
    for pair in pairs:
        same.setdefault((pair.split, pair.image_hash), []).append(pair)
    for pairs in same.values():
        if len({pair.mask_hash for pair in pairs if pair.mask_hash}) > 1:
            yield Seen("one image, two masks", tuple(file for pair in pairs for file in (pair.image, pair.mask)))
        elif len(pairs) > 1:
            yield Seen("duplicates within a split", tuple(pair.image for pair in pairs))


def find_classes(dataset, pairs):
    """Classes that occur nowhere, not in each split, or hardly."""
    names = dataset.labels.names
    total = sum_pixels(pairs)[: len(names)]
    splits = {split: sum_pixels(pairs, split) for split in SPLITS if dataset.counts.get(split)}
    there = np.flatnonzero(total).tolist()
    way = f"{ADVICE['absent classes']}; to leave them out: {number(there)}" if 1 < len(there) < len(names) else ""
    for i, name in enumerate(names if total.any() else ()):
        masks = tuple(pair.mask for pair in pairs if pair.pixels[i])
        if not masks:
            yield Seen("absent classes", (), name, do=way)
        elif total[i] < RARE * total.sum():
            yield Seen("rare classes", masks, f"{name} ({total[i] / total.sum():.3%})")
        for split, pixels in splits.items() if masks else ():
            if split == "train" and not pixels[i]:
                yield Seen("classes missing from train", masks, name)
            elif not pixels[i]:
                yield Seen("classes missing from val or test", (), f"{name} ({split})")


def find_void_and_blank(dataset, pairs):
    """Masks that are only or mostly void, or of a single class, which is suspicious where the others hold several."""
    void, names = dataset.labels.ignore_id, dataset.labels.names
    held = [pair for pair in pairs if pair.pixels.any()]
    ids = [np.flatnonzero(np.delete(pair.pixels, void)) for pair in held]
    single = [found[0] for found in ids if len(found) == 1]
    same = len(single) == len(held) > 1 and len(set(single)) == 1
    odd = same or len(single) < 0.1 * len(held) and np.median([len(found) for found in ids]) >= 3
    for pair, found in zip(held, ids, strict=True):
        share = pair.pixels[void] / pair.pixels.sum()
        if share > 0.5:
            yield Seen("void masks" if share == 1 else "mostly void", (pair.mask,), f"{share:.0%}")
        if len(found) == 1:
            yield Seen("blank masks", (pair.mask,), f"only {names[found[0]]}", "warning" if odd else "")


def find_gaps(dataset, pairs):
    """Warnings of the source, files that found no partner, and splits that are missing or too small to say much."""
    for note in dataset.notes:
        if note.startswith("warning: "):
            yield Seen("doubtful reading", (), note.removeprefix("warning: "))
    usual = len(dataset.unpaired) > len(pairs)  # most images have no mask, as in PASCAL VOC: that is meant
    for file in dataset.unpaired:
        yield Seen("unpaired files", (str(file),), severity="note" if usual else "")
    for split in SPLITS:
        if (count := dataset.counts.get(split, 0)) < FEW:
            yield Seen("small or missing splits", (), f"{count} in {split}")
