"""What is each part of a DeepLabV3+ worth? Trains it without some of its parts, over three seeds.

    python bench/deeplab.py           # writes bench/deeplab.csv, and goes on where an earlier run was stopped

The DeepLabV3+ of lesson 05 on two cores (922,488 parameters, output stride 8) and, changed in one thing each: with
other rates, with no 3×3 convolutions in its pyramid, with other output strides, without its decoder. All train from
scratch for the lesson's four epochs on ``streets/small``, and the weights of the last epoch are scored on the test
streets: mean IoU, and boundary F1 within two pixels, averaged over classes. The U-Net of lesson 04 gets five epochs on
the same images in the same batches, with its own learning rate. The seconds of a training stand in the table: 139 on
average for the U-Net, and 144 for the whole DeepLabV3+, on a machine that had other work. Prints mean ± standard
deviation, and what each loses against the whole one.
"""

import itertools
import time
from pathlib import Path

import numpy as np
import seeds

from seglib import augment, data, metrics, models, train

SIZE, BATCH, EPOCHS, RATE = (128, 192), 4, 4, 1e-2
UNET_EPOCHS, UNET_RATE = 5, 3e-3
SEEDS = (0, 1, 2)
WHOLE = {"backbone": "mobilenet_v2_050", "output_stride": 8, "filters": 64, "rates": (1, 2, 4)}
VARIANTS = {
    "whole": {},
    "no decoder": {"decoder": False},
    "output stride 16": {"output_stride": 16},
    "output stride 32": {"output_stride": 32},
    "rates 3, 6, 9": {"rates": (3, 6, 9)},
    "rates 12, 24, 36": {"rates": (12, 24, 36)},
    "no 3×3 in the pyramid": {"rates": ()},
    "U-Net": None,
}
FIELDS = ("model", "seed", "parameters", "miou", "boundary_f1", "pole", "pedestrian", "road", "seconds")
CSV = Path(__file__).with_suffix(".csv")


def run(name, seed):
    """One training; returns its size, scores and seconds."""
    town = data.load("streets/small")
    train.seed(seed)
    num_classes, changes = town.labels.num_classes, VARIANTS[name]
    if changes is None:
        model = models.unet((None, None, 3), num_classes, filters=16, depth=4)
    else:
        model = models.deeplab_v3_plus((None, None, 3), num_classes, **{**WHOLE, **changes})
    batches = town.batches("train", SIZE, BATCH, augment=augment.Augment(SIZE, flip=0.5), seed=seed)
    began = time.perf_counter()
    seeds.fit(model, batches, *((UNET_EPOCHS, UNET_RATE) if changes is None else (EPOCHS, RATE)))
    seconds = time.perf_counter() - began
    masks, preds = seeds.predict(model, town.batches("test", SIZE, BATCH))
    matrix = metrics.confusion_matrix(masks, preds, num_classes)
    iou = dict(zip(town.labels.names, metrics.iou(matrix), strict=True))
    outlines = np.nanmean(metrics.boundary_f1(masks, preds, num_classes, tolerance=2))
    scores = (metrics.mean_iou(matrix), outlines, iou["pole"], iou["pedestrian"], iou["road"])
    return [model.count_params(), *(f"{score:.4f}" for score in scores), f"{seconds:.0f}"]


def main():
    rows = seeds.collect(CSV, FIELDS, [(name, seed) for seed, name in itertools.product(SEEDS, VARIANTS)], run)
    for key in ("miou", "boundary_f1"):
        scores = {name: [float(row[key]) for row in rows if row["model"] == name] for name in VARIANTS}
        for name, values in scores.items():
            print(f"{name:22} {key} {seeds.spread(values)} · less the whole one {seeds.gain(values, scores['whole'])}")


if __name__ == "__main__":
    main()
