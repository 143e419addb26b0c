"""Is a finer FCN a better FCN, and when is the ladder upside down? Trains it from nothing, over three seeds.

    python bench/ladder.py            # writes bench/ladder.csv, and goes on where an earlier run was stopped

FCN-32s, 16s and 8s with the small backbone, and a U-Net, each alone, for the same number of passes over
``streets/tiny``; the weights of the last pass are scored on the test streets. ``loud`` are the same FCNs, but what the
skips score is a hundred times as large, as the features of a network without normalisation can be. Prints mean ±
standard deviation, and differences with their standard error over the seeds.
"""

import itertools
import time
from pathlib import Path

import keras
import seeds
from keras import layers, ops

from seglib import augment, data, metrics, models, train

SIZE, BATCH, EPOCHS, RATE = (64, 96), 8, 12, 3e-3
LOUDNESS = 100.0
SEEDS = (0, 1, 2)
NAMES = ("fcn_32s", "fcn_16s", "fcn_8s", "unet", "fcn_16s loud", "fcn_8s loud")
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


def run(name, seed):
    """One training; returns its scores and seconds."""
    town = data.load("streets/tiny")
    train.seed(seed)
    mirror = augment.Augment(SIZE, flip=0.5)
    model = build(name, town.labels.num_classes)
    began = time.perf_counter()
    seeds.fit(model, town.batches("train", SIZE, BATCH, augment=mirror, seed=seed), EPOCHS, RATE)
    seconds = time.perf_counter() - began
    masks, preds = seeds.predict(model, town.batches("test", SIZE))
    near = near_boundary(masks) & (masks != town.labels.ignore_id)
    matrix = metrics.confusion_matrix(masks, preds, town.labels.num_classes)
    iou = dict(zip(town.labels.names, metrics.iou(matrix), strict=True))
    right = (preds == masks)[near].mean()
    scores = (metrics.mean_iou(matrix), metrics.accuracy(matrix), right, iou["pole"], iou["pedestrian"])
    return [*(f"{score:.4f}" for score in scores), f"{seconds:.0f}"]


def main():
    rows = seeds.collect(CSV, FIELDS, list(itertools.product(NAMES, SEEDS)), run)
    scores = {name: [row for row in rows if row["model"] == name] for name in NAMES}
    scores = {name: {key: [float(row[key]) for row in rows] for key in FIELDS[2:]} for name, rows in scores.items()}
    for name in NAMES:
        print(f"{name:13}", " · ".join(f"{key} {seeds.spread(values)}" for key, values in scores[name].items()))
    for better, worse, key in (
        ("fcn_16s", "fcn_32s", "miou"),
        ("fcn_8s", "fcn_16s", "miou"),
        ("fcn_8s", "fcn_32s", "miou"),
        ("fcn_8s", "fcn_32s", "near_boundary"),
        ("unet", "fcn_8s", "pole"),
        ("unet", "fcn_8s", "pedestrian"),
        ("fcn_8s", "fcn_8s loud", "miou"),
    ):
        print(f"{better} less {worse}, {key}: {seeds.gain(scores[better][key], scores[worse][key])}")


if __name__ == "__main__":
    main()
