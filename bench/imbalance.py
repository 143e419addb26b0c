"""What helps rare classes? Trains one U-Net with each remedy, over three seeds.

    python bench/imbalance.py         # writes bench/imbalance.csv, and goes on where an earlier run was stopped

The U-Net of lesson 04 on two cores, trained from scratch for six epochs of ``streets/tiny``; only the loss differs, or
how often which image is shown. The weights of the last epoch are scored on the test streets. Prints mean ± standard
deviation of the mean IoU and of the mean over pole and pedestrian, and what each gains over plain cross-entropy.
``longer.py`` trains four of them for 4 and for 16 epochs.
"""

import itertools
import time
from pathlib import Path

import seeds

from seglib import augment, class_balance, data, losses, metrics, models, train

SIZE, BATCH, EPOCHS, RATE = (64, 96), 8, 6, 3e-3
SEEDS = (0, 1, 2)
PLAIN = {"cross_entropy": 1}
VARIANTS = {
    "cross-entropy": (PLAIN, None),
    "weights (median frequency)": (PLAIN, "median_frequency"),
    "weights (inverse log)": (PLAIN, "inverse_log"),
    "rare-class sampling": (PLAIN, None),
    "OHEM (hardest quarter)": ({"cross_entropy": {"weight": 1, "ohem_fraction": 0.25}}, None),
    "focal": ({"focal": 1}, None),
    "cross-entropy + Dice": ({"cross_entropy": 1, "dice": 1}, None),
    "cross-entropy + Tversky": ({"cross_entropy": 1, "tversky": 1}, None),
    "cross-entropy + Lovász": ({"cross_entropy": 1, "lovasz": 1}, None),
    "cross-entropy + Dice + boundary": ({"cross_entropy": 1, "dice": 1, "boundary": 1}, None),
    "weights (inverse log) + Dice": ({"cross_entropy": 1, "dice": 1}, "inverse_log"),
}
FIELDS = ("remedy", "seed", "miou", "accuracy", "pole", "pedestrian", "boundary_f1", "seconds")
CSV = Path(__file__).with_suffix(".csv")


def train_and_predict(name, seed, epochs):
    """One training; returns the labels, the masks and the predicted ids of the test streets, and its seconds."""
    town = data.load("streets/tiny")
    num_classes, (terms, scheme) = town.labels.num_classes, VARIANTS[name]
    pixels = town.class_pixels("train")
    loss = losses.CompoundLoss(terms, class_weights=scheme and class_balance.class_weights(pixels, scheme))
    train.seed(seed)
    mirror = augment.Augment(SIZE, flip=0.5)
    repeats = class_balance.rare_class_repeats(pixels) if name == "rare-class sampling" else None
    model = models.unet((None, None, 3), num_classes, filters=16, depth=4)
    began = time.perf_counter()
    seeds.fit(model, town.batches("train", SIZE, BATCH, mirror, repeats=repeats, seed=seed), epochs, RATE, loss)
    seconds = time.perf_counter() - began
    return town.labels, *seeds.predict(model, town.batches("test", SIZE)), seconds


def run(name, seed):
    """One training; returns its scores and seconds."""
    labels, masks, preds, seconds = train_and_predict(name, seed, EPOCHS)
    num_classes = labels.num_classes
    matrix = metrics.confusion_matrix(masks, preds, num_classes)
    iou = dict(zip(labels.names, metrics.iou(matrix), strict=True))
    outlines = metrics.boundary_f1(masks, preds, num_classes, tolerance=1).mean()
    scores = (metrics.mean_iou(matrix), metrics.accuracy(matrix), iou["pole"], iou["pedestrian"], outlines)
    return [*(f"{score:.4f}" for score in scores), f"{seconds:.0f}"]


def main():
    rows = seeds.collect(CSV, FIELDS, [(name, seed) for seed, name in itertools.product(SEEDS, VARIANTS)], run)
    miou = {name: [float(row["miou"]) for row in rows if row["remedy"] == name] for name in VARIANTS}
    rare = {
        name: [(float(row["pole"]) + float(row["pedestrian"])) / 2 for row in rows if row["remedy"] == name]
        for name in VARIANTS
    }
    for name in VARIANTS:
        print(f"{name:22} mIoU {seeds.spread(miou[name])}, gain {seeds.gain(miou[name], miou['cross-entropy'])}")
        print(f"{'':22} rare {seeds.spread(rare[name])}, gain {seeds.gain(rare[name], rare['cross-entropy'])}")


if __name__ == "__main__":
    main()
