"""Does U-Net's border map keep touching cells apart? Trains with and without it, over three seeds.

    python bench/cells.py             # writes bench/cells.csv, and goes on where an earlier run was stopped

A small U-Net on the 60 training fields of ``cells/tiny``, turned, mirrored and elastically deformed anew in each pass
(Ronneberger et al. 2015, section 3.1). ``border map`` weighs each background pixel by ``1 + 10 · exp(−(d1 + d2)² /
(2 σ²))``, the paper's second equation with a class weight of one and σ = 2.5 of 96 pixels (the paper: 5 of 512);
``plain`` weighs all alike. The weights of the last pass are scored on the 40 test fields.

A cell is ``merged`` where the connected piece of the prediction that covers most of it covers most of another cell too,
``missed`` where background covers at least half of it, and ``found`` where its IoU with that piece exceeds ½.
"""

import itertools
import time
from pathlib import Path

import keras
import numpy as np
import scipy.ndimage
import seeds
from keras import ops

from seglib import augment, metrics, models, train
from seglib.datasets import cells

SIZE, BATCH, EPOCHS, RATE = (96, 96), 6, 30, 3e-3
SIGMA = cells.SIGMA * SIZE[0]
SEEDS = (0, 1, 2)
NAMES = ("plain", "border map")
FIELDS = ("weights", "seed", "cells", "found", "merged", "missed", "cell_iou", "accuracy", "seconds")
CSV = Path(__file__).with_suffix(".csv")


class Views(keras.utils.PyDataset):
    """Batches of (images, masks, weights of the pixels), deformed anew in each pass.

    The deformation is drawn for image and *instances*: of these, lines between cells and border maps are made after it,
    because nearest-neighbour sampling tears a line of one pixel.
    """

    def __init__(self, drawings, weighted, seed):
        super().__init__()
        self.images = np.stack([drawing.image for drawing in drawings])
        self.instances = np.stack([drawing.instances for drawing in drawings]).astype(np.uint8)
        self.weighted, self.seed, self.epoch = weighted, seed, 0
        self.layer = augment.Augment(SIZE, flip=0.5, rotation=180, elastic=2)
        self.on_epoch_end()

    def __len__(self):
        return len(self.images) // BATCH

    def __getitem__(self, index):
        chosen = self.order[index * BATCH : (index + 1) * BATCH]
        pairs = {"images": self.images[chosen], "segmentation_masks": self.instances[chosen]}
        views = self.layer(pairs, seed=self.seeds[index])
        warped = ops.convert_to_numpy(views["segmentation_masks"])
        owners = np.where(warped == 255, 0, warped)
        instances = [cells.separate(owner, np.zeros(SIZE, bool), smallest=4) for owner in owners]
        weights = np.ones((len(chosen), *SIZE), np.float32)
        if self.weighted:
            weights += 10 / 255 * np.stack([cells.border_map(ids, SIGMA) for ids in instances])
        masks = np.where(warped == 255, 255, np.stack(instances) > 0)
        return ops.convert_to_numpy(views["images"]), masks.astype(np.uint8), weights

    def on_epoch_end(self):
        rng = np.random.default_rng([self.seed, self.epoch])
        self.order = rng.permutation(len(self.images))
        self.seeds = rng.integers(0, 2**31, (len(self), 2))
        self.epoch += 1


def count_cells(instances, pred):
    """How many cells there are, and how many of them are found, merged, missed; ``pred`` is (height, width) bool."""
    pieces, _ = scipy.ndimage.label(pred)
    return count_objects(instances, pieces)[:4]


def count_objects(instances, ids):
    """How many cells there are; how many are found, merged, missed; and how many objects are false.

    Both are (height, width) integers, 0 for background: the true ``instances``, and the ``ids`` of the objects that are
    predicted. An object is false if it covers most of no cell.
    """
    owners, found = [], 0
    for cell in (instances == i for i in range(1, instances.max() + 1)):
        owner = np.bincount(ids[cell]).argmax()
        owners.append(owner)
        found += owner > 0 and 2 * (cell & (ids == owner)).sum() > (cell | (ids == owner)).sum()
    owners = np.array(owners)
    counts = np.bincount(owners)
    false = len(set(np.unique(ids)) - {0, *owners})
    return np.array([len(owners), found, (counts[owners][owners > 0] > 1).sum(), (owners == 0).sum(), false])


def draw(split):
    """The drawn fields of a split of ``cells/tiny``."""
    return [cells.draw_cells(seed, *SIZE) for seed in cells.SPLITS[split]]


def prepare(name, seed):
    """The untrained network and the batches of one training."""
    train.seed(seed)
    batches = Views(draw("train"), name == "border map", seed)
    return models.unet((None, None, 3), 2, filters=16, depth=4), batches


def run(name, seed):
    """One training; returns its counts, scores and seconds."""
    model, batches = prepare(name, seed)
    began = time.perf_counter()
    seeds.fit(model, batches, EPOCHS, RATE)
    seconds = time.perf_counter() - began
    matrix, counts = metrics.ConfusionMatrix(2), 0
    for drawing in draw("test"):
        ids = ops.convert_to_numpy(ops.argmax(model(drawing.image[None], training=False), axis=-1))[0]
        matrix.update_state(drawing.mask, ids)
        counts = counts + count_cells(drawing.instances, ids == 1)
    return [*counts, f"{matrix.iou()[1]:.4f}", f"{matrix.accuracy():.4f}", f"{seconds:.0f}"]


def main():
    rows = seeds.collect(CSV, FIELDS, list(itertools.product(NAMES, SEEDS)), run)
    for key in ("found", "merged", "missed", "cell_iou", "accuracy"):
        plain, weighted = ([float(row[key]) for row in rows if row["weights"] == name] for name in NAMES)
        told = f"plain {seeds.spread(plain)} · border map {seeds.spread(weighted)}"
        print(f"{key:9} of {rows[0]['cells']} cells: {told} · {seeds.gain(weighted, plain)}")


if __name__ == "__main__":
    main()
