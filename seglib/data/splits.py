"""Pairs are dealt into train, val and test: by share, by group, by folder or by official list."""

import re
from pathlib import Path, PurePosixPath

import numpy as np

from seglib.annotations import DataError, refuse
from seglib.data.dataset import SPLITS

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


def assign_splits(names, val=None, test=None, seed=0, groups=None, lists=None):
    """Deals pairs, ``names`` such as ``"aachen/0001.png"``: from split to sorted indices; what was inferred, in words.

    ``val`` and ``test`` are shares in [0, 1), 0 for no such split, the rest is ``train``. None for both: folders called
    for the splits decide, if every name lies in one and not all in ``train``; 0.15 each otherwise. With such folders a
    share cuts its split from train and its own folder, and a test folder stays apart without ``test``.
    ``groups`` is a regular expression, whose first group, or else whose match, is the pair's group, or a function.
    ``lists`` is a folder with some of ``train.txt``, ``val.txt``, ``test.txt``, or a mapping from split to such a file:
    a line, or its first column, is an image's path or bare name, with or without the ending.
    """
    if lists is not None:
        if (val, test, groups) != (None, None, None):
            raise DataError("lists= already say which pair goes where; leave val=, test= and groups= out")
        return _from_lists(names, lists)
    by_folder = _from_folders(names)
    if by_folder and (val, test, groups) == (None, None, None):
        return by_folder, [f"splits: as the folders say, {_describe(by_folder)}"]
    if not by_folder:
        by_folder = {"train": [*range(len(names))], "val": [], "test": []}
        val, test = (0.15 if share is None else share for share in (val, test))
    elif groups is not None:  # 0.15 of all pairs, as without folders
        val = 0.15 * len(names) / (len(names) - (test is None) * len(by_folder["test"])) if val is None else val
        test = 0.15 if test is None and not by_folder["test"] else test
    shares = {"train": 1, "val": val, "test": test}
    pool = sorted(i for split, share in shares.items() if share for i in by_folder[split])
    dealt, notes = _deal([names[i] for i in pool], val or 0, test or 0, seed, groups)
    kept = {split: by_folder[split] for split, share in shares.items() if share is None}
    if out := [split for split, share in shares.items() if share == 0 and by_folder[split]]:
        notes.append(f"left out: the pairs in folders called {' and '.join(out)}, as {out[-1]}=0 says")
    if test and by_folder["test"]:
        notes.append("warning: test= deals pairs in folders called test into train; without test= they stay apart")
    notes += [f"splits: as the folders say, {_describe(kept)}"] if any(kept.values()) else []
    return {split: [pool[i] for i in indices] for split, indices in dealt.items()} | kept, notes


def _deal(names, val, test, seed, groups):
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise DataError(f"val and test are shares in [0, 1) that leave some for train, got {val} and {test}")
    members = _group(names, groups)
    split_of = _draw(members, len(names), {"val": val, "test": test}, seed)
    what = f"{len(names)} pairs" if groups is None else f"{len(members)} groups ({len(names)} pairs)"
    for split, share in (("val", val), ("test", test), ("train", 1)):
        if share and not split_of[split]:
            raise DataError(f"of {what} the {split!r} split would get none; change val= and test= (0: no such split)")
    if not val and not test:
        return split_of, []
    whole = "" if groups is None else f", of {len(members)} groups none in two"
    return split_of, [f"splits: drawn with seed {seed}, {_describe(split_of)}{whole}"]


def _group(names, groups):
    if groups is None:
        return [[i] for i in range(len(names))]
    members = {}
    for i, name in enumerate(names):
        found = groups(name) if callable(groups) else re.search(groups, name)
        group = found[found.re.groups > 0] if isinstance(found, re.Match) else found
        members.setdefault(group, []).append(i)
    refuse([f"{names[i]}: groups={groups!r} does not match" for i in members.get(None, [])], "names without a group")
    return list(members.values())


def _draw(members, total, shares, seed):
    """Walks through the groups in random order; each goes to the split that is furthest from its share, and fits."""
    wanted = {split: round(share * total) for split, share in shares.items()}
    split_of = {split: [] for split in SPLITS}
    for group in np.random.default_rng(seed).permutation(len(members)):
        open_splits = [s for s in wanted if len(split_of[s]) + len(members[group]) / 2 <= wanted[s]]
        if total - sum(wanted.values()) and not split_of["train"]:
            open_splits = []  # train is never left empty
        split = max(open_splits, key=lambda s: wanted[s] - len(split_of[s]), default="train")
        split_of[split] += members[group]
    return {split: sorted(indices) for split, indices in split_of.items()}


def _from_folders(names):
    """The splits that the folders are named for (``"train"``, ``"test_images"``, ``"Validation"``), or None."""
    split_of = {split: [] for split in SPLITS}
    for i, name in enumerate(names):
        words = set(re.split(r"[\W_]+", str(PurePosixPath(name).parent).lower()))
        found = [split for split in SPLITS if words.intersection(SPLIT_NAMES[split])]
        if len(found) != 1:
            return None
        split_of[found[0]].append(i)
    return split_of if 0 < len(split_of["train"]) < len(names) else None


def _describe(split_of):
    return ", ".join(f"{split} {len(indices)}" for split, indices in split_of.items() if indices)


def _from_lists(names, lists):
    if not isinstance(lists, dict):
        paths = {split: Path(lists, f"{split}.txt") for split in SPLITS}
        lists = {split: path for split, path in paths.items() if path.is_file()} or paths
    if strange := sorted(set(lists) - set(SPLITS)):
        raise DataError(f"lists= has the splits {', '.join(strange)}; wanted {', '.join(SPLITS)}")
    places = {}  # from the parts of a path, or of its end, without the ending to the pairs of that name
    for i, name in enumerate(names):
        parts = PurePosixPath(name).with_suffix("").parts
        for start in range(len(parts)):
            places.setdefault(parts[start:], []).append(i)
    wrong, split_at = [], {}
    for split, path in lists.items():
        for number, line in enumerate(Path(path).read_text("utf-8-sig", errors="replace").splitlines(), 1):
            found = _look_up(line.strip(), places)
            if line.strip() and len(found) != 1:
                wrong.append(f"{path}, line {number}: {line.strip()!r} is the name of {len(found)} pairs, wanted 1")
            elif found and split_at.setdefault(found[0], split) != split:
                wrong.append(f"{path}, line {number}: {names[found[0]]} is in {split_at[found[0]]!r} already")
    refuse(wrong, "lines in split lists that do not fit the pairs")
    split_of = {split: sorted(i for i, its in split_at.items() if its == split) for split in SPLITS}
    if not split_of["train"]:
        raise DataError(f"{', '.join(map(str, lists.values()))}: no pair for train; wanted a train.txt that names some")
    notes = [f"splits: from lists, {_describe(split_of)}"]
    if rest := [name for i, name in enumerate(names) if i not in split_at]:
        notes.append(f"left out: {len(rest)} pairs on no list, the first {rest[0]}")
    return split_of, notes


def _look_up(line, places):
    """The pairs that a line means: of the whole line, or its first column, the longest path known."""
    known = []
    for text in (line, re.split(r"[\s,;]", line)[0]):
        path = PurePosixPath(text.replace("\\", "/"))
        for parts in (path.parts, (*path.parts[:-1], path.stem)):
            known += [parts[start:] for start in range(len(parts)) if parts[start:] in places]
    return places[max(known, key=len)] if known else []
