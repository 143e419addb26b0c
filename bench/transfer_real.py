"""Does an encoder trained on ImageNet help on real images? The starts of transfer.py, on two datasets.

    python bench/transfer_real.py     # writes bench/transfer_real.csv, and goes on where an earlier run was stopped

``camvid``: 40 frames of CamVid's train split (Brostow et al. 2009), spread evenly over its videos, trained on at
128×160 pixels; scored on every second frame of its val split, at 360×480 with void left out. ``membrane``: 16 slices of
the ISBI 2012 challenge (Arganda-Carreras et al. 2015), trained on crops of 128×128; scored on four slices that are held
out, at 512×512. Neither is part of this repository. They are sought below the folder that the environment variable
SEGLIB_SHARED names (default: ../shared), in data/camvid and data/membrane. Network, starts, recipe and pairing of the
seeds are those of transfer.py; the weights of the last step are scored, and nothing was chosen by the scores.
"""

import functools
from pathlib import Path

import numpy as np
import seeds
import transfer
from camvid_cpu import compare, read

from seglib import data, labels

BATCH, STEPS = 4, 300
SEEDS = transfer.SEEDS
# data, images, (height, width) that pairs are read at, and of the views that are trained on
TASKS = {"camvid": (40, (128, 160), (128, 160)), "membrane": (16, (512, 512), (128, 128))}
FIELDS = ("data", "images", "steps", "start", "seed", "test_miou", "seconds")
CSV = Path(__file__).with_suffix(".csv")


@functools.cache
def load(name, folder):
    """The pairs to train on, and the list of those to score on."""
    if name == "camvid":
        unseen = read(folder / "camvid" / "val").train.shard(2, 0)
        return read(folder / "camvid" / "train"), list(unseen.as_numpy_iterator())
    slices = folder / "membrane"
    pairs = data.from_folder(slices / "images", slices / "masks", ids=labels.BINARY_255, val=0.2, test=0)
    return pairs, list(pairs.val.as_numpy_iterator())


def run(folder, name, images, steps, start, seed):
    """One training; returns its score and seconds."""
    pairs, unseen = load(name, folder)
    _, size, view = TASKS[name]
    count, num_classes = pairs.counts["train"], pairs.labels.num_classes
    chosen = np.zeros(count)
    chosen[np.linspace(0, count - 1, images).astype(int)] = 1
    batches = transfer.make_batches(pairs, chosen, size, steps, seed, view, BATCH)
    model, seconds = transfer.fit(num_classes, batches, steps, start, seed)
    return f"{compare(model, unseen, num_classes, size).mean_iou():.4f}", f"{seconds:.0f}"


def main():
    folder = seeds.find_shared("CamVid or no membranes", *TASKS)
    keys = [
        (name, images, STEPS, start, seed)
        for name, (images, _, _) in TASKS.items()
        for start in transfer.STARTS
        for seed in SEEDS
    ]
    transfer.report(seeds.collect(CSV, FIELDS, keys, functools.partial(run, folder)))


if __name__ == "__main__":
    main()
