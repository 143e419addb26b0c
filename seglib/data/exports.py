"""Exports of annotation tools, and masks in a file per class, as rows: an image, its size or None, its annotations."""

import re
from collections import defaultdict
from pathlib import Path

from seglib import annotations
from seglib.annotations import DataError, refuse
from seglib.data.pairing import SeveralMasks, find_files, find_pairs, list_files, split_words
from seglib.data.splits import SPLIT_NAMES
from seglib.images import read_binary, read_size


def find_rows(images, masks, labels):
    """Images and masks, given as to ``from_folder``: ``(images, export, rows, unpaired, notes)``.

    Where ``export`` is "", each image has one mask file, which stands in its row in place of the annotations.
    """
    try:
        sides = find_files(images, masks)
        export, _ = annotations.recognise(file.path for file in sides[1])
    except DataError as error:
        files = list_files(masks, None)
        export, path = annotations.recognise(file.path for file in files)
        if not export:
            raise
        if export.say:
            raise DataError(f"{path}: {export.name}; wanted image files. {export.say}") from error
        sides = list_files(images), files
    if export:
        return sides[0], export.name, *READ[annotations.EXPORTS.index(export)](*sides)
    try:
        pairs, *others = find_pairs(*sides)
        masks_of, several = {image: [mask] for image, mask in pairs}, None
    except SeveralMasks as error:
        masks_of, several = error.masks_of, error
        others = _find_lone(*sides, masks_of)
    kinds, are_known = _find_kinds(masks_of, labels)
    if kinds and (several or are_known):
        return sides[0], "a file per class, for which it is named", _to_rows(kinds), *others
    if several:
        raise several
    if kinds:
        found = sorted({kind for masks in kinds.values() for _, kind in masks})
        way = f"if each is the mask of one class, say labels={['background', *found]}"
        others[1].append(f"warning: by their names the masks are of several kinds, {', '.join(found)}; {way}")
    return sides[0], "", [(image, None, mask.path) for image, (mask,) in masks_of.items()], *others


def _find_lone(images, files, masks_of):
    """``(unpaired, notes)``: what is in no entry of a mapping from each image to its masks."""
    used = {*masks_of, *(mask for masks in masks_of.values() for mask in masks)}
    lone = [file.path for file in dict.fromkeys([*images, *files]) if file not in used]
    return lone, [f"left out: {len(lone)} files without a partner, the first {lone[0]}"] if lone else []


def _read_labelme(images, files):
    pairs, *others = find_pairs(images, [file for file in files if file.path.endswith(".json")])
    return [(image, *annotations.read_labelme(file.path)) for image, file in pairs], *others


def _read_label_folders(images, files):
    images = [image for image in images if Path(image.path).name not in ("label.png", "label_viz.png")]
    pairs, *others = find_pairs(images, [file for file in files if Path(file.path).name == "label.png"])
    return [(image, None, annotations.read_label_names(mask.path)) for image, mask in pairs], *others


def _read_runs(images, files):
    found, lost = defaultdict(list), []
    image_of = {name: image for image in images for name in (Path(image.path).name, Path(image.path).stem)}
    for line, name, kind, runs in annotations.read_runs(files[0].path):
        if name not in image_of:
            lost.append(f"line {line}: {name}")
            continue
        found[image_of[name]] += [(kind, runs)] if runs else []
    if not found:
        raise DataError(f"{files[0].path}, {lost[0]}: no such image; wanted names such as {images[0].path}")
    notes = [f"left out: {len(lost)} rows without an image, the first in {lost[0]}"] if lost else []
    rows = [(image, size := read_size(image.path), [(kind, annotations.to_counts(runs, size)) for kind, runs in those])
            for image, those in found.items()]  # fmt: skip
    return rows, [image.path for image in images if image not in found], notes


def _read_label_studio(images, files):
    folders = dict.fromkeys(folder for file in (files[0], images[0]) for folder in list(Path(file.path).parents)[:2])
    tasks, masks_of, problems = annotations.read_tasks(folders), defaultdict(list), []
    image_of = {annotations.strip_upload(image.path): image for image in images}
    for file, match in ((file, match) for file in files if (match := re.search(annotations.BRUSH, file.path))):
        name, path = tasks.get(match[1], ("", ""))
        known = path or ", ".join({str(other) for _, other in tasks.values()}) or "any JSON beside it"
        masks_of[image_of.get(name)].append((file, match[2]))
        if name not in image_of:
            problems.append(f"{file.path}: no image for task {match[1]}, {name or 'which is not'} in {known}")
    refuse(problems, f"Label Studio names masks for tasks, not for images. {annotations.STUDIO}")
    return _to_rows(masks_of), *_find_lone(images, files, {i: [file for file, _ in masks_of[i]] for i in masks_of})


READ = _read_label_studio, _read_label_folders, _read_labelme, _read_runs  # in the order of EXPORTS


def _to_rows(masks_of):
    """Rows of black and white files: from each image to ``(file, class)`` of each."""
    return [(image, None, [(name, {"file": mask.path}) for mask, name in masks]) for image, masks in masks_of.items()]


def _find_kinds(masks_of, labels):
    """From each image to ``(mask, kind)`` of its masks, or None if names tell no kinds; whether ``labels`` has all."""
    rests = {}
    for image, masks in masks_of.items():
        known = {*split_words(image.stem), *sum(SPLIT_NAMES.values(), ())}
        rests |= {(image, mask): [word for word in split_words(mask.stem) if word not in known] for mask in masks}
    shared = set.intersection(*map(set, rests.values()))
    kinds = {pair: "_".join(word for word in rest if word not in shared) for pair, rest in rests.items()}
    classes = {"_".join(split_words(name)): name for name in labels.names} if labels else {}
    found, named = set(kinds.values()), defaultdict(list)
    if len(found) < 2 or not all(re.fullmatch(r"[^\W\d]+", kind) for kind in found):  # numbers are objects
        return None, False
    for (image, mask), kind in kinds.items():
        named[image].append((mask, classes.get(kind, kind)))
    try:
        for masks in [*named.values()][:20]:
            first, *more = (read_binary(mask.path) for mask, _ in masks)
            same = [other for other in more if other.shape == first.shape]
            if any((first & other).sum() > 0.7 * (first | other).sum() for other in same):  # by two people
                return None, False
    except ValueError:
        return None, False
    return named, found <= classes.keys()
