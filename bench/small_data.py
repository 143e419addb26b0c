"""What does augmentation give when there are forty labelled pictures? Trains with and without, over several seeds.

    python bench/small_data.py        # writes bench/small_data.csv, and goes on where an earlier run was stopped

The recipe is that of lesson 02 on two cores: a small U-Net on the first forty training streets of ``streets/tiny``, the
last weights scored on all its test streets. Prints mean ± standard deviation of the test mIoU for each preset, and what
each gains over none: mean, and standard error of the mean over the seeds.
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
import tensorflow as tf
from keras import ops

from seglib import augment, data, losses, metrics, models, train

SIZE, FEW, BATCH, RATE = (64, 96), 40, 8, 3e-3
# (steps, presets, seeds): about as short as in the lesson, and three times as long.
RUNS = ((300, ("none", "light"), 5), (900, ("none", "light"), 5), (900, ("standard", "strong"), 2))
FIELDS = ("steps", "augment", "seed", "test_miou", "seconds")
CSV = Path(__file__).with_suffix(".csv")


def make_batches(town, layer, steps, seed):
    """(images, masks) for ``steps`` steps; the view of a picture is drawn from (seed, number of the view)."""
    pairs = town.train.take(FEW).cache().shuffle(FEW, seed=seed).repeat().enumerate()

    def view(number, pair):
        pair = {"images": pair["image"], "segmentation_masks": pair["mask"]}
        pair = layer(pair, seed=tf.stack([seed, tf.cast(number, tf.int32)])) if layer else pair
        return tf.cast(pair["images"], tf.float32), pair["segmentation_masks"]

    return pairs.map(view, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).take(steps).prefetch(2)


def run(town, name, steps, seed):
    """One training; returns its row."""
    layer = None if name == "none" else getattr(augment, name)(SIZE)
    train.seed(seed)
    batches = make_batches(town, layer, steps, seed)
    train.seed(seed)
    model = models.unet((None, None, 3), town.labels.num_classes, filters=16, depth=4)
    rate = train.poly(RATE, steps, warmup=steps // 20)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-2)
    model.compile(optimizer, loss=losses.Sum({"cross_entropy": 1, "dice": 1}))
    began = time.perf_counter()
    model.fit(batches, shuffle=False, verbose=0)
    seconds = time.perf_counter() - began
    matrix = metrics.ConfusionMatrix(town.labels.num_classes)
    for images, masks in town.batches("test", SIZE):
        matrix.update_state(masks, ops.argmax(model(images, training=False), axis=-1))
    values = (steps, name, seed, f"{matrix.mean_iou():.4f}", f"{seconds:.0f}")
    return dict(zip(FIELDS, map(str, values), strict=True))


def summarise(rows):
    """Prints each preset's score, and its gain over none with the same steps and seeds."""
    score = {(row["steps"], row["augment"], row["seed"]): float(row["test_miou"]) for row in rows}
    for steps, names, seeds in RUNS:
        for name in names:
            values = [score[str(steps), name, str(seed)] for seed in range(seeds)]
            gains = [value - score[str(steps), "none", str(seed)] for seed, value in enumerate(values)]
            error = statistics.stdev(gains) / math.sqrt(seeds)
            spread = f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f} ({seeds} seeds)"
            print(f"{steps} steps, {name:8}: {spread} · gain {statistics.mean(gains):+.3f}, standard error {error:.3f}")


def main():
    rows = list(csv.DictReader(CSV.open(newline=""))) if CSV.exists() else []
    there = {(row["steps"], row["augment"], row["seed"]) for row in rows}
    town = data.load("streets/tiny")
    for steps, names, seeds in RUNS:
        for seed, name in itertools.product(range(seeds), names):
            if (str(steps), name, str(seed)) in there:
                continue
            rows.append(run(town, name, steps, seed))
            print(*rows[-1].values(), flush=True)
            with CSV.open("w", newline="") as file:
                writer = csv.DictWriter(file, FIELDS)
                writer.writeheader()
                writer.writerows(rows)
    summarise(rows)


if __name__ == "__main__":
    main()
