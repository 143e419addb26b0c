"""Findings about a set as a whole: copies, classes, void, what is empty, and splits."""

from collections import Counter

import numpy as np

from seglib.data.dataset import SPLITS
from seglib.data.doctor.case import count, is_featureless, list_names, make_finding
from seglib.data.doctor.copies import find_alike
from seglib.data.doctor.report import Finding

RARE = 0.001  # of the labelled pixels
FEW = 10  # pairs


# Pictures that are there twice


def find_copies(case):
    """Copies of a picture in two splits, and twice in one."""
    looks = [look for look in case.looks if look.thumbnail is not None and not is_featureless(look)]
    thumbs = np.stack([look.thumbnail for look in looks]) if looks else np.zeros((0, 64, 64), np.uint8)
    train, val, test = ([i for i, look in enumerate(looks) if look.split == split] for split in SPLITS)
    alike = find_alike(thumbs, val, train) + find_alike(thumbs, test, train + val)
    copies = [(looks[found.one], looks[found.other], found.mirrored) for found in alike if found.is_copy]
    scenes = [(looks[found.one], looks[found.other], found.mirrored) for found in alike if not found.is_copy]
    groups = (
        "keep them in one split with groups=, as in from_folder(…, groups=r'^(\\w+?)_') for drive1_0007.png or "
        "groups=r'^([^/]+)/' for drive1/0007.png"
    )
    if copies:
        what = f"{count(copies, 'picture')} with a copy, or nearly one, in another split: scores would be too good"
        yield _doubles("near-duplicates across splits", "warning", copies, what, f"delete one of the two, or {groups}")
    if scenes:
        what = f"{count(scenes, 'picture')} of a scene that is in another split too, like frames of a video"
        yield _doubles("same scene across splits", "note", scenes, what, groups)
    yield from _find_twins(looks)


def _doubles(kind, severity, doubles, what, do):
    details = {
        one.image: f"{one.split}, {'mirrored, ' * mirrored}as {other.image} of {other.split}"
        for one, other, mirrored in doubles
    }
    files = tuple(dict.fromkeys(file for one, other, _ in doubles for file in (one.image, other.image)))
    return Finding(kind, severity, files, what, do, details)


def _find_twins(looks):
    """The same picture twice in a split, with the same mask or with another."""
    twins = {}
    for look in looks:
        twins.setdefault((look.split, look.image_hash), []).append(look)
    twins = [same for same in twins.values() if len(same) > 1]
    torn = [same for same in twins if len({look.mask_hash for look in same if look.mask_hash}) > 1]
    plain = [same for same in twins if same not in torn]
    if torn:
        files = tuple(file for same in torn for look in same for file in (look.image, look.mask))
        what = f"{count(torn, 'picture')} twice in a split, with masks that differ"
        do = "keep the pair with the right mask, and delete the others"
        yield Finding("one picture, two masks", "warning", files, what, do)
    if plain:
        files = tuple(look.image for same in plain for look in same)
        what = f"{count(plain, 'picture')} twice in a split, and so counted twice"
        yield Finding("duplicates within a split", "note", files, what, "delete the copies")


# Classes, void, and what is empty


def find_class_troubles(case):
    """Classes that occur nowhere, not in train, or hardly; val or test without a class."""
    total, names = case.class_pixels(), case.labels.names
    if not total.sum():
        return
    absent = [name for name, pixels in zip(names, total, strict=True) if not pixels]
    if absent:
        what = f"no mask holds {list_names(absent)}"
        yield Finding("absent classes", "warning", (), what, _absent_hint(total, case))
    splits = {split: case.class_pixels(split) for split in case.splits()}
    missing = {
        split: [n for n, p, t in zip(names, splits[split], total, strict=True) if t and not p] for split in splits
    }
    if missing.get("train"):
        yield Finding(
            "classes missing from train",
            "warning",
            tuple(look.mask for look in case.looks if _holds(look, [names.index(n) for n in missing["train"]])),
            f"no mask of train holds {list_names(missing['train'])}, so nothing can be learnt of it",
            "deal the pairs anew: another seed=, groups= or lists=",
        )
    others = [f"{split} lacks {list_names(missing[split])}" for split in missing if split != "train" and missing[split]]
    if others:
        do = "their IoU cannot be measured there: deal the pairs anew with another seed=, or say so with the score"
        yield Finding("classes missing from val or test", "note", (), "; ".join(others), do)
    rare = {name: p / total.sum() for name, p in zip(names, total, strict=True) if 0 < p < RARE * total.sum()}
    if rare:
        what = ", ".join(f"{name} ({share:.3%})" for name, share in rare.items()) + " of the labelled pixels"
        ids = [names.index(name) for name in rare]
        files = tuple(look.mask for look in case.looks if _holds(look, ids))
        do = "weight the classes in the loss, and read their IoU with care; if they are slips of the pen, correct them"
        yield Finding("rare classes", "note", files, what, do)


def _absent_hint(total, case):
    seen = np.flatnonzero(total)
    if len(seen) == 1 and seen[0] == 0 and case.void_pixels():
        return "the masks hold only 0 and void: if 255 is the foreground, say ids=labels.BINARY_255"
    if not total[0] and total[1:].all():
        count = case.labels.num_classes - 1
        return f"the ids seem to count from 1: say ids=labels.one_based({count}, void=None) with {count} names"
    return "check that the ids mean what the label map says, or leave these classes out of it"


def find_void(case):
    """Masks that are mostly or only void."""
    void = case.labels.ignore_id
    shares = {look.mask: look.pixels[void] / look.pixels.sum() for look in case.looks if look.pixels is not None}
    whole = tuple(mask for mask, share in shares.items() if share == 1)
    mostly = {mask: f"{share:.0%}" for mask, share in shares.items() if 0.5 < share < 1}
    if whole:
        do = "label these images, or delete the pairs: they teach nothing, and a mean over no pixels is not a number"
        yield Finding("void masks", "warning", whole, f"{count(whole, 'mask')} void everywhere", do)
    if mostly:
        do = "if that is meant (few pixels were labelled), go on; if not, label the rest"
        yield make_finding(
            "mostly void", "note", mostly, f"{count(mostly, 'mask')} void in more than half of the pixels", do
        )


def find_blank(case):
    """Masks of a single class, which is suspicious where the others hold several."""
    void = case.labels.ignore_id
    classes = {
        look.mask: np.flatnonzero(np.delete(look.pixels, void)) for look in case.looks if look.pixels is not None
    }
    blank = {mask: case.labels.names[ids[0]] for mask, ids in classes.items() if len(ids) == 1}
    usual = np.median([len(ids) for ids in classes.values()]) if classes else 0
    if blank:
        whole = len(blank) == len(classes) > 1 and len(set(blank.values())) == 1
        odd = usual >= 3 and len(blank) < 0.1 * len(classes) or whole
        rest = (
            "; the others hold " + f"{usual:g}" if odd and not whole else ", the same for all: nothing to learn" * whole
        )
        what = f"{count(blank, 'mask')} of a single class{rest}"
        do = "look at them: were they saved before they were drawn? If there is nothing else to see, go on"
        details = {mask: f"only {name}" for mask, name in blank.items()}
        yield make_finding("blank masks", "warning" if odd else "note", details, what, do)


def find_featureless(case):
    """Images that are black or of one colour."""
    dark = {
        look.image: f"brightest {look.brightest:.0f} of 255, spread {look.spread:.1f}"
        for look in case.looks
        if look.spread is not None and is_featureless(look)
    }
    if dark:
        what = f"{count(dark, 'image')} black or of one colour"
        do = (
            "export them again, or delete the pairs; 12-bit pictures in 16-bit files must be stretched to 0–65535 first"
        )
        yield make_finding("empty images", "warning", dark, what, do)


# The set as a whole


def find_unpaired(case):
    """Files that found no partner."""
    if case.unpaired:
        what = f"{count(case.unpaired, 'file')} without a partner, left out"
        do = "add the missing file or correct its name; delete what is not needed"
        usual = len(case.unpaired) > len(case.looks)  # most images have no mask, as in PASCAL VOC: that is meant
        yield Finding("unpaired files", "note" if usual else "warning", tuple(map(str, case.unpaired)), what, do)


def find_small_splits(case):
    """Splits that are missing or too small to say much."""
    counts = Counter(look.split for look in case.looks)
    told = [
        f"{count(range(counts[split]), 'pair') if counts[split] else 'no pairs'} in {split}"
        for split in SPLITS
        if counts[split] < FEW
    ]
    if told:
        do = "train on train, choose by val, judge by test once; with few pairs, average over several splits (seed=)"
        severity = "note" if counts["train"] else "warning"
        yield Finding("small or missing splits", severity, (), ", ".join(told), do)


def _holds(look, ids):
    return look.pixels is not None and look.pixels[ids].any()


FINDERS = (
    find_copies,
    find_class_troubles,
    find_void,
    find_blank,
    find_featureless,
    find_unpaired,
    find_small_splits,
)
