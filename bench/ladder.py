"""Is a finer FCN a better FCN, and when is the ladder upside down? Trains it from nothing, over three seeds.

    python bench/ladder.py            # writes bench/ladder.csv, and goes on where an earlier run was stopped

FCN-32s, 16s and 8s with the small backbone, and a U-Net, each alone, for the same number of passes over
``streets/tiny``; the weights of the last pass are scored on the test streets. ``loud`` are the same FCNs, but what the
skips score is a hundred times as large, as the features of a network without normalisation can be. Prints mean ±
standard deviation, and differences with their standard error over the seeds.
"""

import csv
import itertools
import math
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers, ops

from seglib import augment, data, losses, metrics, models, train

SIZE, BATCH, EPOCHS, RATE = (64, 96), 8, 12, 3e-3
LOUDNESS = 100.0
SEEDS = (0, 1, 2)
NAMES = ("fcn_32s", "fcn_16s", "fcn_8s", "fcn_8s loud", "fcn_16s loud", "unet")
FIELDS = ("model", "seed", "miou", "accuracy", "near_boundary", "pole", "pedestrian", "seconds")
CSV = Path(__file__).with_suffix(".csv")


class Loud(layers.Conv2D):
    """A score whose features are ``LOUDNESS`` times as large."""

    def call(self, inputs):
        return super().call(LOUDNESS * inputs)


def build(name, num_classes):
    """The model of one row of the table."""
    if name == "unet":
        return models.unet((None, None, 3), num_classes, filters=16, depth=4)
    kind, _, loud = name.partition(" ")
    model = models.fcn((None, None, 3), num_classes, int(kind[4:-1]), "small")
    if not loud:
        return model

    def clone(layer):
        skip = layer.name in ("score_16", "score_8")
        return (Loud if skip else type(layer)).from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=clone)


def near_boundary(masks):
    """Where two pixels or fewer away another class begins: (batch, height, width) bool."""
    ids = ops.cast(masks, "float32")[..., None]
    return ops.convert_to_numpy(ops.max_pool(ids, 5, 1, "same") + ops.max_pool(-ids, 5, 1, "same") > 0)[..., 0]


def run(town, name, seed):
    """One training; returns its row."""
    train.seed(seed)
    mirror = augment.Augment(SIZE, flip=0.5)
    batches = town.batches("train", SIZE, BATCH, augment=mirror, seed=seed)
    steps = EPOCHS * len(batches)
    model = build(name, town.labels.num_classes)
    rate = train.poly(RATE, steps, warmup=steps // 20)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-2), losses.Sum({"cross_entropy": 1, "dice": 1}))
    began = time.perf_counter()
    model.fit(batches, epochs=EPOCHS, shuffle=False, verbose=0)
    seconds = time.perf_counter() - began
    matrix, right, all_near = metrics.ConfusionMatrix(town.labels.num_classes), 0, 0
    for images, masks in town.batches("test", SIZE):
        ids, masks = ops.convert_to_numpy(ops.argmax(model(images, training=False), axis=-1)), np.asarray(masks)
        matrix.update_state(masks, ids)
        near = near_boundary(masks) & (masks != town.labels.ignore_id)
        right, all_near = right + (near & (ids == masks)).sum(), all_near + near.sum()
    iou = dict(zip(town.labels.names, matrix.iou(), strict=True))
    scores = (matrix.mean_iou(), matrix.accuracy(), right / all_near, iou["pole"], iou["pedestrian"])
    return dict(zip(FIELDS, (name, str(seed), *(f"{s:.4f}" for s in scores), f"{seconds:.0f}"), strict=True))


def summarise(rows):
    """Prints each model's scores, and the differences that the lessons state."""
    score = {(row["model"], int(row["seed"]), key): float(row[key]) for row in rows for key in FIELDS[2:]}
    for name in NAMES:
        values = {key: [score[name, seed, key] for seed in SEEDS] for key in FIELDS[2:]}
        told = (f"{key} {statistics.mean(v):.3f} ± {statistics.stdev(v):.3f}" for key, v in values.items())
        print(f"{name:13}", " · ".join(told))
    for better, worse, key in (
        ("fcn_16s", "fcn_32s", "miou"),
        ("fcn_8s", "fcn_16s", "miou"),
        ("fcn_8s", "fcn_32s", "miou"),
        ("fcn_8s", "fcn_32s", "near_boundary"),
        ("unet", "fcn_8s", "pole"),
        ("unet", "fcn_8s", "pedestrian"),
        ("fcn_8s", "fcn_8s loud", "miou"),
        ("fcn_32s", "fcn_8s loud", "miou"),
    ):
        gains = [score[better, seed, key] - score[worse, seed, key] for seed in SEEDS]
        error = statistics.stdev(gains) / math.sqrt(len(SEEDS))
        print(f"{better} less {worse}, {key}: {statistics.mean(gains):+.3f}, standard error {error:.3f}")


def main():
    rows = list(csv.DictReader(CSV.open(newline=""))) if CSV.exists() else []
    there = {(row["model"], row["seed"]) for row in rows}
    town = data.load("streets/tiny")
    for name, seed in itertools.product(NAMES, SEEDS):
        if (name, str(seed)) in there:
            continue
        rows.append(run(town, name, seed))
        print(*rows[-1].values(), flush=True)
        with CSV.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(rows)
    summarise(rows)


if __name__ == "__main__":
    main()
