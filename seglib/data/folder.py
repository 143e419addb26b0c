"""A folder of images and a folder of masks: ``from_folder``."""

from pathlib import Path

from seglib import images as image_files
from seglib.data.dataset import from_pairs
from seglib.data.splits import assign_splits
from seglib.labels import LabelMap, remap, remap_table


def from_folder(images, masks, labels=None, ids=None, val=None, test=None, seed=0, groups=None, lists=None, name=None):
    images, masks = Path(images), Path(masks)
    stems = {p.stem: p for p in sorted(images.rglob("*")) if p.is_file()}
    found = {p.stem: p for p in sorted(masks.rglob("*")) if p.is_file()}
    both = sorted(stems.keys() & found.keys())
    table = None if ids is None else remap_table(ids)

    def read_mask(path):
        mask = image_files.read_mask(path)
        mask = mask if table is None else remap(mask, table, name=path)
        return mask if labels is None else labels.check_ids(mask, name=path)

    split_of, notes = assign_splits(
        [stems[s].relative_to(images).as_posix() for s in both], val, test, seed, groups, lists
    )
    labels_ = labels or LabelMap(("class 0", "class 1", "class 2"))
    return from_pairs(
        name or images.name, labels_, [(str(stems[s]), str(found[s])) for s in both], split_of, read_mask, notes
    )
