"""What does augmentation give when there are forty labelled pictures? Trains with and without, over several seeds.

    python bench/small_data.py        # writes bench/small_data.csv, and goes on where an earlier run was stopped

The recipe is that of lesson 02 on two cores: a small U-Net on the first forty training streets of ``streets/tiny``, the
last weights scored on all its test streets. Prints mean ± standard deviation of the test mIoU for each preset, and what
each gains over none: mean, and standard error of the mean over the seeds.
"""

import time
from pathlib import Path

import seeds
import tensorflow as tf

from seglib import augment, data, metrics, models, train

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


def run(steps, name, seed):
    """One training; returns its score and seconds."""
    town = data.load("streets/tiny")
    layer = None if name == "none" else getattr(augment, name)(SIZE)
    train.seed(seed)
    batches = make_batches(town, layer, steps, seed)
    train.seed(seed)
    model = models.unet((None, None, 3), town.labels.num_classes, filters=16, depth=4)
    began = time.perf_counter()
    seeds.fit(model, batches, 1, RATE)
    seconds = time.perf_counter() - began
    matrix = metrics.confusion_matrix(*seeds.predict(model, town.batches("test", SIZE)), town.labels.num_classes)
    return f"{metrics.mean_iou(matrix):.4f}", f"{seconds:.0f}"


def main():
    keys = [(steps, name, seed) for steps, names, count in RUNS for seed in range(count) for name in names]
    rows = seeds.collect(CSV, FIELDS, keys, run)
    score = {(row["steps"], row["augment"], row["seed"]): float(row["test_miou"]) for row in rows}
    for steps, names, count in RUNS:
        for name in names:
            values = [score[str(steps), name, str(seed)] for seed in range(count)]
            told = seeds.gain(values, [score[str(steps), "none", str(seed)] for seed in range(count)])
            print(f"{steps} steps, {name:8}: {seeds.spread(values)} ({count} seeds) · gain {told}")


if __name__ == "__main__":
    main()
