"""What does U-Net's recipe reach on electron microscopy, on slices that it has not seen, and on those that it has?

    python bench/membrane.py          # writes bench/membrane.csv, and goes on where an earlier run was stopped

The membranes of the ISBI 2012 challenge (Arganda-Carreras et al. 2015) are not part of this repository. They are sought
below the folder that the environment variable SEGLIB_SHARED names (default: ../shared), in data/membrane/images and
data/membrane/masks: grey slices of 512×512 pixels, 255 for cell and 0 for membrane. With 20 pairs, 16 are trained on
and 4 held out, the same for every seed; nothing is chosen by them, for the weights of the last step are scored.

``train`` and ``val``: trained for 400 steps on rotated, flipped, elastically deformed crops of 256×256. ``few`` and
``few held out``: the same network overfits, trained for 100 epochs on two of the 16 slices in tiles of 128×128, without
augmentation, and scored on these two and on the four held out. ``rand`` is the challenge's score, :func:`rand_score`,
where membrane is what has a probability over ½; ``rand_best`` where it exceeds the best of ten thresholds, as the
challenge took it, which flatters a little.
"""

import statistics
import time
from pathlib import Path

import numpy as np
import scipy.ndimage
import seeds
import tensorflow as tf

from seglib import augment, data, labels, metrics, models, predict, train

CROP, BATCH, STEPS, RATE = (256, 256), 4, 400, 3e-3
FEW, TILE, EPOCHS = 2, 128, 100
SEEDS = (0, 1, 2)
MEMBRANE, CELL = 0, 1
THRESHOLDS = np.arange(0.05, 1, 0.1)
FIELDS = ("split", "seed", "pairs", "majority", "accuracy", "dice_membrane", "rand", "rand_best", "seconds")
ROOT = Path(__file__).resolve().parents[1]
CSV = Path(__file__).with_suffix(".csv")


def find_cells(is_cell):
    """The pieces of cell, numbered from 1, after thinning the membranes between them to nothing.

    Each membrane pixel falls to the piece nearest to it, so that no two pieces are joined.

    Args:
        is_cell: (height, width) bool.

    Returns:
        (height, width) integers; 0 everywhere if there is no cell at all.
    """
    pieces, count = scipy.ndimage.label(is_cell)
    if not count:
        return pieces
    nearest = scipy.ndimage.distance_transform_edt(~is_cell, return_distances=False, return_indices=True)
    return pieces[tuple(nearest)]


def rand_score(mask, is_cell):
    """The foreground-restricted Rand score after border thinning (Arganda-Carreras et al. 2015), 1 is best.

    ``Σ p[i, j]² / (½ Σ_i (Σ_j p[i, j])² + ½ Σ_j (Σ_i p[i, j])²)``, where p[i, j] is the share of pixels in piece i of
    the prediction and in cell j of the truth, among those that are cell in the truth. One gap in a membrane merges two
    cells, and costs much.

    Args:
        mask: (height, width) ids, 1 for cell. is_cell: (height, width) bool, the prediction.
    """
    truth, _ = scipy.ndimage.label(mask == CELL)
    pred, inside = find_cells(is_cell), truth > 0
    joint = np.zeros((pred.max() + 1, truth.max() + 1))
    np.add.at(joint, (pred[inside], truth[inside]), 1)
    joint /= max(joint.sum(), 1)
    return (joint**2).sum() / (0.5 * (joint.sum(1) ** 2).sum() + 0.5 * (joint.sum(0) ** 2).sum())


def train_on(pairs, seed):
    """A small U-Net trained on crops of the training slices."""
    train.seed(seed)
    views = augment.Augment(CROP, flip=0.5, rotation=180, elastic=3, brightness=15, contrast=0.2)
    batches = pairs.batches("train", pairs.sizes["train"][0], BATCH, augment=views, seed=seed)
    return fit(batches.repeat(-(-STEPS // len(batches))).take(STEPS), 1)


def overfit(slices, seed):
    """The same U-Net trained on the tiles of a few slices, as they are, for many epochs."""
    train.seed(seed)
    tiles = tuple(np.concatenate([cut(pair[key]) for pair in slices]) for key in ("image", "mask"))
    batches = tf.data.Dataset.from_tensor_slices(tiles).map(lambda image, mask: (tf.cast(image, "float32"), mask))
    return fit(batches.shuffle(len(tiles[0]), seed=seed).batch(BATCH), EPOCHS)


def fit(batches, epochs):
    model = models.unet((None, None, 3), 2, filters=16, depth=5)
    seeds.fit(model, batches, epochs, RATE)
    return model


def cut(array):
    """The tiles of an image or a mask, row by row: (n, TILE, TILE, …)."""
    rows, columns = (side // TILE for side in array.shape[:2])
    tiles = array.reshape(rows, TILE, columns, TILE, *array.shape[2:]).swapaxes(1, 2)
    return tiles.reshape(rows * columns, TILE, TILE, *array.shape[2:])


def score(model, slices):
    """The columns of some slices: accuracy of the majority class, then the model's accuracy, Dice of membrane, Rand."""
    matrix, guess, rands = metrics.ConfusionMatrix(2), metrics.ConfusionMatrix(2), []
    for pair in slices:
        mask, probs = pair["mask"], predict.probabilities(model, pair["image"])
        matrix.update_state(mask, (probs[..., CELL] >= 0.5).astype(int))
        guess.update_state(mask, np.full(mask.shape, CELL))
        rands.append([rand_score(mask, probs[..., MEMBRANE] <= limit) for limit in (0.5, *THRESHOLDS)])
    half, *others = np.mean(rands, axis=0)
    return guess.accuracy(), matrix.accuracy(), matrix.dice()[MEMBRANE], half, max(others)


def main():
    folder = seeds.find_shared("membranes", "membrane") / "membrane"
    pairs = data.from_folder(folder / "images", folder / "masks", ids=labels.BINARY_255, val=0.2, test=0)
    slices = {split: list(pairs.split(split).as_numpy_iterator()) for split in ("train", "val")}
    slices |= {"few": slices["train"][:FEW], "few held out": slices["val"]}
    trained = {}

    def run(split, seed):
        recipe = split.startswith("few"), seed
        if recipe not in trained:
            began = time.perf_counter()
            model = overfit(slices["few"], seed) if recipe[0] else train_on(pairs, seed)
            trained[recipe] = model, time.perf_counter() - began
        model, seconds = trained[recipe]
        return [len(slices[split]), *(f"{value:.4f}" for value in score(model, slices[split])), f"{seconds:.0f}"]

    keys = [(split, seed) for seed in SEEDS for split in ("train", "val")]
    rows = seeds.collect(CSV, FIELDS, [*keys, ("few", SEEDS[0]), ("few held out", SEEDS[0])], run)
    for split, told in (("train", "trained on"), ("val", "held out")):
        columns = {key: [float(row[key]) for row in rows if row["split"] == split] for key in FIELDS[3:8]}
        scores = " · ".join(f"{key} {seeds.spread(values)}" for key, values in list(columns.items())[1:])
        print(f"{told}: {scores} · majority {statistics.mean(columns['majority']):.3f}")


if __name__ == "__main__":
    main()
