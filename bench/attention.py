"""U-Net, DeepLabV3+ and SegFormer trained alike: who wins with 400 images, with 40, and on images of another kind?

    python bench/attention.py         # writes bench/attention.csv and bench/attention_fields.csv, and can go on
    python bench/attention.py rates   # the choice of the learning rates, on the val split; writes nothing

The U-Net of lesson 04 (16 filters, four levels), the DeepLabV3+ of lesson 05 and ``segformer(variant="tiny")`` start
from random weights and get the same batches: 500 steps of 8 images of ``streets/small``, varied by ``augment.light``,
AdamW, cross-entropy and Dice. Each has the learning rate that was best on val after 250 steps with 400 images, one
seed. Two more rows have 400 images only: SegFormer with twice the steps, and the U-Net with layer normalisation in
place of batch normalisation. The weights of the last step are scored on all test images as drawn, and corrupted as in
lesson 08: three stops underexposed, in rain, out of focus.

``attention_fields.csv`` holds effective receptive fields (Luo et al. 2016) of the runs with 400 images and seed 0,
before and after training, by occlusion (Zeiler & Fergus 2014): one at a time, each of 16×24 patches of a test image is
replaced by noise. What a patch weighs is the root mean square of the change of the logits at the centre; mean over 8
images, in parts of their sum. The random networks have seen 50 batches without a step, since batch normalisation
normalises nothing before it has statistics.

Prints mean ± standard deviation of the test mIoU, and paired differences with standard errors over the seeds.
"""

import functools
import itertools
import sys
import time
from pathlib import Path

import keras
import numpy as np
import seeds
from scipy import ndimage

from seglib import augment, data, metrics, models, train

SIZE, BATCH, STEPS = (128, 192), 8, 500
GRID = (16, 24)  # patches of the effective receptive fields
SEEDS = (0, 1, 2)
RATES = {"U-Net": 3e-3, "DeepLabV3+": 1e-2, "SegFormer": 3e-3}
TRIED = (1e-3, 3e-3, 1e-2)
MORE_STEPS, LAYER_NORM = "SegFormer, twice the steps", "U-Net, layer normalisation"
FIELDS = ("model", "images", "seed", "parameters", "miou", "dark", "rain", "defocus", "pole", "road", "seconds")
CSV, MAPS_CSV = Path(__file__).with_suffix(".csv"), Path(__file__).with_name("attention_fields.csv")
KEPT = Path(__file__).resolve().parents[1] / "build" / "attention"  # weights of the runs whose fields are measured


def build(name, num_classes):
    """A network with random weights."""
    if name.startswith("U-Net"):
        unet = models.unet((None, None, 3), num_classes, filters=16, depth=4)
        return keras.models.clone_model(unet, clone_function=to_layer_norm) if name == LAYER_NORM else unet
    if name == "DeepLabV3+":
        dilated = {"output_stride": 8, "filters": 64, "rates": (1, 2, 4)}
        return models.deeplab_v3_plus((None, None, 3), num_classes, "mobilenet_v2_050", **dilated)
    return models.segformer((None, None, 3), num_classes, "tiny")


class LayerNorm(keras.layers.LayerNormalization):
    """Layer normalisation of the channels at each position, to be called as batch normalisation is."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs)


def to_layer_norm(layer):
    """The same layer, or layer normalisation for batch normalisation."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return LayerNorm(epsilon=1e-5, name=layer.name)
    return type(layer).from_config(layer.get_config())


def fit(name, images, steps, rate, seed):
    """A network trained on the first ``images`` of the train split, and the seconds that it took."""
    town = data.load("streets/small")
    chosen = np.arange(town.counts["train"]) < images
    batches = town.batches("train", SIZE, BATCH, augment=augment.light(SIZE), repeats=chosen, seed=seed)
    train.seed(seed)
    model = build(name, town.labels.num_classes)
    train.seed(seed)
    began = time.perf_counter()
    seeds.fit(model, batches.repeat().take(steps), 1, rate)
    return model, time.perf_counter() - began


def to_light(image):
    """Values 0–255 of a file → light 0–1, by the curve of sRGB."""
    stored = np.asarray(image) / 255
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def to_stored(light):
    """Light 0–1 → values 0–255 of a file, by the curve of sRGB."""
    light = np.clip(light, 0, 1)
    return np.round(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


def darken(image, rng):
    return to_stored(to_light(image) / 8 + rng.normal(0, 0.002, image.shape))


def add_rain(image, rng):
    drops = rng.random(image.shape[:2]) < 0.01
    streaks = sum(np.roll(drops, step, axis=0) for step in range(8))[..., None] > 0
    return to_stored(0.8 * to_light(image) + 0.02 + 0.2 * streaks)


def defocus(image, _):
    sigma = 0.02 * len(image)
    return to_stored(ndimage.gaussian_filter(to_light(image), (sigma, sigma, 0)))


def corrupt_each(batches, corrupt):
    """The batches with each image corrupted by its own draws."""
    count = itertools.count()
    for images, masks in batches:
        changed = [corrupt(image, np.random.default_rng(next(count))) for image in np.asarray(images)]
        yield np.stack(changed).astype("float32"), masks


def score(model, split="test", corrupt=None):
    """IoU of each class, of a split as it was drawn or corrupted."""
    town = data.load("streets/small")
    batches = town.batches(split, SIZE, BATCH)
    found = seeds.predict(model, corrupt_each(batches, corrupt) if corrupt else batches)
    return metrics.iou(metrics.confusion_matrix(*found, town.labels.num_classes))


def weights_of(name):
    return KEPT / f"{name.lower()}-0.weights.h5"


def run(name, images, seed):
    """One training; returns its scores and seconds."""
    steps = 2 * STEPS if name == MORE_STEPS else STEPS
    model, seconds = fit(name, images, steps, RATES[name.split(",")[0]], seed)
    if name in RATES and (images, seed) == (400, 0):
        KEPT.mkdir(parents=True, exist_ok=True)
        model.save_weights(weights_of(name))
    by_class = [score(model, corrupt=change) for change in (None, darken, add_rain, defocus)]
    names = data.load("streets/small").labels.names
    found = [np.nanmean(iou) for iou in by_class] + [by_class[0][names.index(kind)] for kind in ("pole", "road")]
    return [model.count_params(), *(f"{value:.4f}" for value in found), f"{seconds:.0f}"]


def field(name, when, row):
    """A row of the effective receptive field: what each patch weighs, in parts of the sum over the whole grid."""
    return [f"{value:.6f}" for value in effective_field(name, when)[int(row)]]


@functools.cache  # measured once for its sixteen rows
def effective_field(name, when):
    """(16, 24): what each patch weighs in the logits at the centre, mean over 8 test images; the sum is 1."""
    town = data.load("streets/small")
    train.seed(0)
    model = build(name, town.labels.num_classes)
    if when == "trained":
        model.load_weights(weights_of(name))
    else:
        for images, _ in town.batches("train", SIZE, BATCH):
            model(images, training=True)
    images, _ = next(iter(town.batches("test", SIZE, 8)))
    found = np.mean([patch_weights(model, np.asarray(image)) for image in images], axis=0)
    return found / found.sum()


def patch_weights(model, image):
    """(16, 24): how much the logits at the centre change when a patch is replaced by noise, root mean square."""
    height, width = (side // count for side, count in zip(SIZE, GRID, strict=True))
    noise = np.random.default_rng(0).uniform(0, 255, (height, width, 3))
    middle = SIZE[0] // 2, SIZE[1] // 2
    usual = model.predict_on_batch(image[None])[0][middle]
    found = []
    for row in range(GRID[0]):
        changed = np.repeat(image[None], GRID[1], axis=0)
        for column in range(GRID[1]):
            changed[column, row * height : (row + 1) * height, column * width : (column + 1) * width] = noise
        logits = model.predict_on_batch(changed)[:, middle[0], middle[1]]
        found.append(np.sqrt(((logits - usual) ** 2).mean(axis=-1)))
    return np.array(found)


def choose_rates():
    """Prints the val mIoU of each network after half the steps with each rate."""
    for name, rate in itertools.product(RATES, TRIED):
        model, seconds = fit(name, 400, STEPS // 2, rate, seed=0)
        print(f"{name:10} rate {rate:g}: val mIoU {np.nanmean(score(model, 'val')):.4f}, {seconds:.0f} s", flush=True)


def report(rows):
    """Prints the scores of each network with 400 and with 40 images, and the paired differences to the U-Net's."""
    found = {}
    for row in rows:
        found.setdefault((row["images"], row["model"]), []).append(row)
    for (images, name), runs in found.items():
        for key in ("miou", "dark", "rain", "defocus"):
            values, reference = ([float(run[key]) for run in chosen] for chosen in (runs, found[images, "U-Net"]))
            told = "" if name == "U-Net" else f" · less U-Net {seeds.gain(values, reference)}"
            print(f"{images} images, {name:24} {key:7}: {seeds.spread(values)}{told}")


def main():
    keys = [(name, images, seed) for images in (400, 40) for seed in SEEDS for name in RATES]
    keys[9:9] = [(name, 400, seed) for name in (MORE_STEPS, LAYER_NORM) for seed in SEEDS]
    rows = seeds.collect(CSV, FIELDS, keys, run)
    keys = [(name, when, row) for name in RATES for when in ("random", "trained") for row in range(GRID[0])]
    columns = ("model", "weights", "row", *(f"column {column}" for column in range(GRID[1])))
    seeds.collect(MAPS_CSV, columns, keys, field)
    report(rows)


if __name__ == "__main__":
    choose_rates() if sys.argv[1:] == ["rates"] else main()
