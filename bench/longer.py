"""What is left of a remedy for rare classes after a longer training? Four losses, 4 and 16 epochs, three or five seeds.

    python bench/longer.py            # writes bench/longer.csv, and goes on where an earlier run was stopped

The trainings are those of ``imbalance.py``, with plain cross-entropy, class weights, Dice, and both, at the length of
lesson 06 and at that of lesson 04; the learning rate falls to zero within each. Plain cross-entropy and both together,
which lesson 06 compares, have five seeds, the other two three. Prints, for each length, mean ± standard deviation of
each score, and what each loss gains over plain cross-entropy with the same seeds. A precision is nan where no pixel of
the class is predicted; such a seed is left out of it.
"""

import itertools
import math
from pathlib import Path

import imbalance
import seeds

from seglib import metrics

LOSSES = {
    "cross-entropy": range(5),
    "weights (inverse log)": range(3),
    "cross-entropy + Dice": range(3),
    "weights (inverse log) + Dice": range(5),
}
LENGTHS, RARE = (4, 16), ("pole", "pedestrian")
SCORES = ("miou", "accuracy", *(f"{name}{score}" for name in RARE for score in ("", "_precision", "_recall")))
FIELDS = ("loss", "epochs", "seed", *SCORES, "seconds")
CSV = Path(__file__).with_suffix(".csv")


def run(name, epochs, seed):
    """One training; returns its scores and seconds."""
    labels, masks, preds, seconds = imbalance.train_and_predict(name, seed, epochs)
    matrix = metrics.confusion_matrix(masks, preds, labels.num_classes)
    each = [getattr(metrics, score)(matrix) for score in ("iou", "precision", "recall")]
    scores = [metrics.mean_iou(matrix), metrics.accuracy(matrix)]
    scores += [values[labels.names.index(rare)] for rare in RARE for values in each]
    return [*(f"{score:.4f}" for score in scores), f"{seconds:.0f}"]


def main():
    every = itertools.product(range(5), LENGTHS, LOSSES)
    keys = [(name, epochs, seed) for seed, epochs, name in every if seed in LOSSES[name]]
    rows = seeds.collect(CSV, FIELDS, keys, run)
    for epochs, score in itertools.product(LENGTHS, SCORES):
        found = {
            name: [float(row[score]) for row in rows if (row["loss"], row["epochs"]) == (name, str(epochs))]
            for name in LOSSES
        }
        for name, values in found.items():
            pairs = [(v, w) for v, w in zip(values, found["cross-entropy"], strict=False) if not math.isnan(v + w)]
            text = f"{seeds.spread([v for v, _ in pairs])}, gain {seeds.gain(*zip(*pairs, strict=True))}"
            print(f"{epochs:2} epochs, {score:20} {name:28} {text}, {len(pairs)} seeds")


if __name__ == "__main__":
    main()
