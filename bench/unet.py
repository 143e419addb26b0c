"""What of a U-Net makes it good? Trains it without some of its parts, over three seeds.

    python bench/unet.py              # writes bench/unet.csv, and goes on where an earlier run was stopped

The U-Net of lesson 04 on two cores (484,264 parameters, depth 4, batch normalisation, all skips) and, changed in one
thing each: without some or all of its skips, with another normalisation or none, less deep. All train from nothing for
the same number of passes over ``streets/tiny``, a quarter of the lesson's, and the weights of the last pass are scored
on the test streets. Prints mean ± standard deviation, and what each loses against the whole one.
"""

import itertools
import time
from pathlib import Path

import seeds

from seglib import augment, data, metrics, models, train

SIZE, BATCH, EPOCHS, RATE = (64, 96), 8, 4, 3e-3
SEEDS = (0, 1, 2)
VARIANTS = {
    "whole": {},
    "no skips": {"skips": ()},
    "finest skip only": {"skips": (0,)},
    "coarsest skip only": {"skips": (2,)},
    "group norm": {"norm": "group"},
    "no norm": {"norm": None},
    "depth 2": {"depth": 2},
    "depth 3": {"depth": 3},
}
FIELDS = ("model", "seed", "parameters", "miou", "pole", "pedestrian", "road", "seconds")
CSV = Path(__file__).with_suffix(".csv")


def run(name, seed):
    """One training; returns its size, scores and seconds."""
    town = data.load("streets/tiny")
    train.seed(seed)
    mirror = augment.Augment(SIZE, flip=0.5)
    model = models.unet((None, None, 3), town.labels.num_classes, **{"filters": 16, "depth": 4, **VARIANTS[name]})
    began = time.perf_counter()
    seeds.fit(model, town.batches("train", SIZE, BATCH, augment=mirror, seed=seed), EPOCHS, RATE)
    seconds = time.perf_counter() - began
    matrix = metrics.confusion_matrix(*seeds.predict(model, town.batches("test", SIZE)), town.labels.num_classes)
    iou = dict(zip(town.labels.names, metrics.iou(matrix), strict=True))
    scores = (metrics.mean_iou(matrix), iou["pole"], iou["pedestrian"], iou["road"])
    return [model.count_params(), *(f"{score:.4f}" for score in scores), f"{seconds:.0f}"]


def main():
    rows = seeds.collect(CSV, FIELDS, [(name, seed) for seed, name in itertools.product(SEEDS, VARIANTS)], run)
    miou = {name: [float(row["miou"]) for row in rows if row["model"] == name] for name in VARIANTS}
    for name, values in miou.items():
        print(f"{name:18} mIoU {seeds.spread(values)} · less the whole one {seeds.gain(values, miou['whole'])}")


if __name__ == "__main__":
    main()
