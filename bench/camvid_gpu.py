"""What can be learnt from CamVid at its own size within ten minutes on one GPU, from nothing?

    python bench/camvid_gpu.py                       # trains, and scores on the validation folder
    python bench/camvid_gpu.py --test FOLDER         # and on FOLDER/images, FOLDER/masks, never looked at before
    KERAS_BACKEND=jax python bench/camvid_gpu.py     # runs without TensorFlow

CamVid (Brostow et al. 2009), in the 11 classes and the split of SegNet, is not part of this repository. It is sought
below the folder that the environment variable SEGLIB_SHARED names (default: ../shared), in data/camvid/train and
data/camvid/val, with ids 0–10 and 11 for void.

The U-Net of the paper's width with batch normalisation (31 million parameters) in mixed bfloat16, on pictures of
360×480 that are mirrored, turned, made larger or smaller and of other colours on the device, in the training step
itself. The average of the last weights is scored as CamVid is: void left out, one confusion matrix over all pictures.
Nothing is chosen by the validation pictures.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import seeds
from keras import layers, ops

from seglib import augment, images, losses, metrics, models, train

ROOT = Path(__file__).resolve().parents[1]
CLASSES = "sky building pole road pavement tree sign fence car pedestrian bicyclist".split()
VOID_BEFORE, VOID = 11, 255
SIZE, BATCH, EPOCHS, RATE = (360, 480), 8, 150, 1e-3
SEED = 0
PEAK = 989e12  # bfloat16 operations a second of an H100 or H200 (SXM), dense, as its maker states


def read(folder):
    """All pairs of a folder: (pairs, height, width, 3) uint8 and (pairs, height, width) uint8, void as 255."""
    names = sorted((folder / "images").iterdir())
    pictures = np.stack([images.read_image(path) for path in names])
    masks = np.stack([images.read_mask(folder / "masks" / f"{path.stem}.png") for path in names])
    return pictures, np.where(masks == VOID_BEFORE, VOID, masks).astype(np.uint8)


class Pairs(keras.utils.PyDataset):
    """Batches of pictures, masks and seeds of what is drawn, in another order in each pass."""

    def __init__(self, pictures, masks, seed):
        super().__init__()
        self.pictures, self.masks, self.rng = pictures, masks, np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return len(self.pictures) // BATCH

    def __getitem__(self, index):
        at = self.order[index * BATCH : (index + 1) * BATCH]
        return ({"images": self.pictures[at], "segmentation_masks": self.masks[at], "seed": self.seeds[at]},)

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.pictures))
        self.seeds = self.rng.integers(0, 2**31 - 1, (len(self.pictures), 2), dtype=np.int32)


class OnDevice(keras.Model):
    """A network and the augmentation before it, so that both are one compiled step."""

    def __init__(self, network, views, loss):
        super().__init__()
        self.network, self.views, self.pixel_loss = network, views, loss

    def build(self, shapes):  # the network is built already
        self.built = True

    def call(self, pairs, training=False):
        pair = {key: pairs[key] for key in ("images", "segmentation_masks")}
        if training:
            pair = self.views(pair, seed=pairs["seed"][0])
        return {"logits": self.network(pair["images"], training=training), "masks": pair["segmentation_masks"]}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self.pixel_loss(y_pred["masks"], y_pred["logits"])


def count_operations(network, size):
    """Multiplications and additions of a network's convolutions for one picture of (height, width), forward only."""
    total, known = 0, keras.models.clone_model(network, input_tensors=keras.Input((*size, 3)))
    for layer in known.layers:
        if isinstance(layer, layers.Conv2D):
            total += 2 * np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3])
        elif isinstance(layer, layers.Conv2DTranspose):
            total += 2 * np.prod(layer.kernel.shape) * np.prod(layer.input.shape[1:3])
    return float(total)


class Report(keras.callbacks.Callback):
    """A line for every tenth pass, and the seconds of each pass."""

    def on_train_begin(self, logs=None):
        self.began, self.ends = time.perf_counter(), []

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(time.perf_counter() - self.began)
        if epoch % 10 == 0 or epoch + 1 == self.params["epochs"]:
            print(f"pass {epoch + 1:>3} · {self.ends[-1]:4.0f} s · loss {logs['loss']:.3f}", flush=True)


def fit(pictures, masks, filters, epochs):
    """Trains; returns the network and the seconds at the end of each pass."""
    train.seed(SEED)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    network = models.unet((None, None, 3), len(CLASSES), filters=filters)
    keras.mixed_precision.set_global_policy("float32")
    share = np.bincount(masks[masks != VOID], minlength=len(CLASSES)) / (masks != VOID).sum()
    weights = 1 / np.log(1.02 + share)  # Paszke et al. 2016 (ENet), section 5.1
    views = augment.Augment(
        SIZE, flip=0.5, scale=(0.6, 2), rotation=5, brightness=30, contrast=0.3, saturation=0.4, hue=15, blur=1.5
    )
    pairs = Pairs(pictures, masks, SEED)
    model = OnDevice(
        network, views, losses.CompoundLoss({"cross_entropy": 1, "dice": 1}, class_weights=weights / weights.mean())
    )
    steps = epochs * len(pairs)
    rate = seeds.poly(RATE, steps, warmup=steps // 20)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.05, use_ema=True, ema_momentum=0.998, clipnorm=5.0))
    report = Report()
    model.fit(pairs, epochs=epochs, shuffle=False, verbose=0, callbacks=[report])
    return network, report.ends


def score(network, name, pictures, masks):
    """Prints mean IoU, accuracy and the IoU of each class at the pictures' own size."""
    matrix = metrics.ConfusionMatrix(len(CLASSES))
    for start in range(0, len(pictures), BATCH):
        at = slice(start, start + BATCH)
        logits = network.predict_on_batch(pictures[at].astype(np.float32))
        matrix.update_state(masks[at], ops.argmax(logits, axis=-1))
    print(f"{name}: mean IoU {matrix.mean_iou():.3f}, accuracy {matrix.accuracy():.3f}")
    print("  " + " · ".join(f"{n} {iou:.2f}" for n, iou in zip(CLASSES, matrix.iou(), strict=True)), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--test", type=Path, metavar="FOLDER", help="a folder with images/ and masks/ to score as well")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"passes over the training pictures ({EPOCHS})")
    parser.add_argument("--filters", type=int, default=64, help="channels of the first level (64)")
    options = parser.parse_args()
    camvid = seeds.find_shared("CamVid", "camvid") / "camvid"
    pictures, masks = read(camvid / "train")
    network, ends = fit(pictures, masks, options.filters, options.epochs)
    print(f"{network.count_params():,} parameters, {options.epochs} passes in {ends[-1]:.0f} s, compilation included")
    if len(ends) > 2:
        rate = (len(ends) - 2) * (len(pictures) // BATCH * BATCH) / (ends[-1] - ends[1])
        operations = 3 * count_operations(network, SIZE)  # the way back costs twice the way there
        print(f"{rate:.0f} pictures/s, {rate * operations / 1e12:.0f} TFLOP/s, {rate * operations / PEAK:.1%} of peak")
    for folder in filter(None, (camvid / "val", options.test)):
        score(network, folder.name, *read(folder))


if __name__ == "__main__":
    main()
