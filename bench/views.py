"""What do test-time augmentation and a CRF gain, and what do they cost? Three U-Nets, each scored in all ways.

    python bench/views.py             # writes bench/views.csv, and goes on where an earlier run was stopped

The U-Net of lesson 04, sixteen epochs on ``streets/tiny`` from scratch. Every way sees the 80 test images at
64×96, the size of training, and is scored at the images' own size. ``ms`` is the median time per image, after a first
that compiles.
"""

import functools
import statistics
import time
from pathlib import Path

import seeds

from seglib import crf, data, metrics, models, predict, train

SIZE, BATCH, EPOCHS, RATE = (64, 96), 8, 16, 3e-3
SCALES = (0.75, 1, 1.25)
SEEDS = (0, 1, 2)
FIELDS = ("view", "seed", "miou", "pole", "pedestrian", "ms")
CSV = Path(__file__).with_suffix(".csv")

WAYS = {
    "one view": lambda model, image: predict.probabilities(model, image, SIZE),
    "flipped": lambda model, image: predict.tta(model, image, SIZE),
    "three scales": lambda model, image: predict.tta(model, image, SIZE, flip=False, scales=SCALES),
    "flipped, three scales": lambda model, image: predict.tta(model, image, SIZE, scales=SCALES),
    "CRF": lambda model, image: crf.refine(predict.probabilities(model, image, SIZE), image),
    "flipped, CRF": lambda model, image: crf.refine(predict.tta(model, image, SIZE), image),
}


@functools.cache
def load():
    """The dataset, and its test pairs."""
    dataset = data.load("streets/tiny")
    return dataset, list(dataset.test.as_numpy_iterator())


@functools.cache
def train_model(seed):
    dataset, _ = load()
    train.seed(seed)
    model = models.unet((None, None, 3), dataset.labels.num_classes, filters=16, depth=4)
    seeds.fit(model, dataset.batches("train", SIZE, BATCH, seed=seed), EPOCHS, RATE)
    return model


def run(view, seed):
    dataset, pairs = load()
    model, labels = train_model(seed), dataset.labels
    matrix, times = metrics.ConfusionMatrix(labels.num_classes), []
    WAYS[view](model, pairs[0]["image"])
    for pair in pairs:
        began = time.perf_counter()
        pred = predict.to_ids(WAYS[view](model, pair["image"]))
        times.append(time.perf_counter() - began)
        matrix.update_state(pair["mask"], pred)
    iou = matrix.iou()
    scores = (matrix.mean_iou(), iou[labels.id_of("pole")], iou[labels.id_of("pedestrian")])
    return (*(f"{score:.4f}" for score in scores), f"{statistics.median(times) * 1000:.0f}")


def main():
    keys = [(view, seed) for seed in SEEDS for view in WAYS]
    rows = seeds.collect(CSV, FIELDS, keys, run)
    scores = {view: [float(row["miou"]) for row in rows if row["view"] == view] for view in WAYS}
    for view in WAYS:
        cost = statistics.median(float(row["ms"]) for row in rows if row["view"] == view)
        gained = "" if view == "one view" else f" · {seeds.gain(scores[view], scores['one view'])}"
        print(f"{view:<28} mIoU {seeds.spread(scores[view])} · {cost:.0f} ms{gained}")


if __name__ == "__main__":
    main()
