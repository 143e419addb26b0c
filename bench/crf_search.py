"""Which σα and σβ does a fully connected CRF want on the drawn streets? A grid search on validation images.

    python bench/crf_search.py        # writes bench/crf_search.csv, and goes on where an earlier run was stopped

The logits are those of the repository's DeepLabV3+ (``seglib.checkpoints``), which lesson 05 trains, on every third
validation image of ``streets/small`` at 128×192, 20 in all. All other parameters of ``crf.refine`` keep their defaults.
One row a pair: the mean IoU after the CRF, what it gained over the network alone, and the same for boundary F1 within
two pixels.
"""

import functools
import itertools
from pathlib import Path

import numpy as np
import seeds
from scipy.special import softmax

from seglib import checkpoints, crf, data, metrics

SIZE, BATCH = (128, 192), 4
EVERY = 3
ALPHAS, BETAS = (5, 10, 20, 40, 67), (1, 2, 3, 5, 10)
FIELDS = ("sigma_alpha", "sigma_beta", "miou", "miou_gain", "boundary_f1", "boundary_f1_gain")
CSV = Path(__file__).with_suffix(".csv")


@functools.cache
def load():
    """The validation images and masks, and the network's probabilities: three arrays."""
    model = checkpoints.load("deeplab_v3_plus")
    batches = data.load("streets/small").batches("val", SIZE, BATCH).as_numpy_iterator()
    found = [(images, masks, model.predict_on_batch(images)) for images, masks in batches]
    images, masks, logits = (np.concatenate(arrays)[::EVERY] for arrays in zip(*found, strict=True))
    return images, masks, softmax(logits, axis=-1)


def score(preds):
    _, masks, probs = load()
    num_classes = probs.shape[-1]
    miou = metrics.mean_iou(metrics.confusion_matrix(masks, preds, num_classes))
    return miou, np.nanmean(metrics.boundary_f1(masks, preds, num_classes, tolerance=2))


@functools.cache
def score_network():
    return score(load()[2].argmax(axis=-1))


def run(alpha, beta):
    """One pair; returns its scores and gains."""
    images, _, probs = load()
    pairs = zip(probs, images, strict=True)
    scores = score(np.stack([crf.refine(*pair, sigma_alpha=alpha, sigma_beta=beta).argmax(-1) for pair in pairs]))
    found = zip(scores, np.subtract(scores, score_network()), strict=True)
    return [f"{value:.4f}" for pair in found for value in pair]


def main():
    rows = seeds.collect(CSV, FIELDS, list(itertools.product(ALPHAS, BETAS)), run)
    best = max(rows, key=lambda row: float(row["miou"]))
    alpha, beta = int(best["sigma_alpha"]), int(best["sigma_beta"])
    edges = [
        name for name, value, grid in (("σα", alpha, ALPHAS), ("σβ", beta, BETAS)) if value in (min(grid), max(grid))
    ]
    where = f"at the edge of the grid in {' and '.join(edges)}: widen it" if edges else "inside the grid"
    print(f"best pair: σα {alpha}, σβ {beta}, {where}; mIoU {best['miou']}, gained {best['miou_gain']}")


if __name__ == "__main__":
    main()
