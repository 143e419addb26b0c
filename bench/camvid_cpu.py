"""What can be learnt from CamVid in 300 seconds on two processor cores, from nothing?

    python bench/camvid_cpu.py                # trains, and scores on the validation folder
    python bench/camvid_cpu.py --test FOLDER  # and on FOLDER/images, FOLDER/masks, never looked at before

CamVid (Brostow et al. 2009), in the 11 classes and the split of SegNet, is not part of this repository. It is sought
below the folder that the environment variable SEGLIB_SHARED names (default: ../shared), in data/camvid/train and
data/camvid/val, with ids 0–10 and 11 for void.

Trained on 128×160 pixels, half of the time on 64×80; scored at the pictures' own 360×480, void left out, with one
confusion matrix over all pictures. The clock runs from the first training step to the last and stops for nothing.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from seglib import augment, data, losses, metrics, models, predict, train
from seglib.labels import VOID, LabelMap

ROOT = Path(__file__).resolve().parents[1]
CLASSES = LabelMap("sky building pole road pavement tree sign fence car pedestrian bicyclist".split())
IDS = {**{i: i for i in range(11)}, 11: VOID}
SIZES = ((64, 80), (128, 160))  # half of the time each
BATCH_SIZES = (16, 8)
RATE = 3e-3
SEED = 0


class Clock(keras.callbacks.Callback):
    """Ends training when its share of the seconds is over; the learning rate falls with the clock, not with the steps.

    Steps would be the natural measure, but how many of them fit into the time is what a slow machine decides.
    """

    def __init__(self, began, seconds, until):
        super().__init__()
        self.began, self.seconds, self.until, self.steps = began, seconds, until, 0

    def on_train_batch_begin(self, batch, logs=None):
        spent = (time.perf_counter() - self.began) / self.seconds
        warm = min(1, 40 * spent + 0.02)
        self.model.optimizer.learning_rate = RATE * warm * max(1 - spent, 0) ** 0.9

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if time.perf_counter() - self.began > self.until:
            self.model.stop_training = True


def read(folder):
    """All pairs of a folder as one training split."""
    return data.from_folder(folder / "images", folder / "masks", CLASSES, IDS, val=0, test=0, name=folder.name)


def train_for(pairs, seconds):
    """A U-Net that was trained for so many seconds."""
    train.seed(SEED)
    pixels = pairs.class_pixels().sum(axis=0)
    weights = 1 / np.log(1.02 + pixels / pixels.sum())  # Paszke et al. 2016 (ENet), section 5.1
    model = models.unet((None, None, 3), CLASSES.num_classes, filters=16, depth=5)
    model.compile(
        keras.optimizers.AdamW(RATE, weight_decay=1e-2, use_ema=True, ema_momentum=0.99),
        losses.CompoundLoss({"cross_entropy": 1, "dice": 1}, class_weights=weights / weights.mean()),
    )
    began = time.perf_counter()
    for i, (size, batch_size) in enumerate(zip(SIZES, BATCH_SIZES, strict=True), start=1):
        # Read at twice the size, so that half to whole of a picture fills the network's.
        views = augment.Augment(size, flip=0.5, scale=(0.5, 1), brightness=25, contrast=0.3, saturation=0.3, hue=10)
        twice = tuple(2 * side for side in size)
        batches = pairs.batches("train", twice, batch_size, augment=views, seed=i).repeat()
        clock = Clock(began, seconds, until=seconds * i / len(SIZES))
        model.make_train_function(force=True)  # traced anew, so that the sizes are known again
        model.fit(batches, steps_per_epoch=10**6, shuffle=False, verbose=0, callbacks=[clock])
        print(f"{size[0]}×{size[1]}: {clock.steps} steps, {time.perf_counter() - began:.0f} s so far", flush=True)
    return model


def score(model, pairs):
    """Prints mean IoU, accuracy and the IoU of each class at the pictures' own size."""
    matrix = metrics.ConfusionMatrix(CLASSES.num_classes)
    for pair in pairs.train.as_numpy_iterator():
        matrix.update_state(pair["mask"], predict.segment(model, pair["image"], size=SIZES[-1]))
    print(f"{pairs.name}: mean IoU {matrix.mean_iou():.3f}, accuracy {matrix.accuracy():.3f}")
    print("  " + " · ".join(f"{n} {iou:.2f}" for n, iou in zip(CLASSES.names, matrix.iou(), strict=True)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--test", type=Path, metavar="FOLDER", help="a folder with images/ and masks/ to score as well")
    parser.add_argument("--seconds", type=float, default=300, help="how long to train (300)")
    options = parser.parse_args()
    camvid = Path(os.environ.get("SEGLIB_SHARED", ROOT.parent / "shared")) / "data" / "camvid"
    if not camvid.is_dir():
        sys.exit("skipped: no CamVid here; set SEGLIB_SHARED to the folder that holds data/camvid")
    pairs = {folder: read(folder) for folder in filter(None, (camvid / "train", camvid / "val", options.test))}
    model = train_for(pairs.pop(camvid / "train"), options.seconds)
    for others in pairs.values():
        score(model, others)


if __name__ == "__main__":
    main()
