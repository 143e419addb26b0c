"""Makes the checkpoints of ``seglib`` from what the lessons trained. What do they reach, and what does float16 cost?

    SEGLIB_PROFILE=cpu python notebooks/course.py --only 03    # and 04, 05: these train the networks
    python bench/checkpoints.py    # writes seglib/checkpoints/: weights, labels.json, scores.csv

Each is scored on the test pairs of the data it was trained on, at the size it was trained at; ``miou_float32`` is the
mean IoU before the weights were rounded.
"""

import csv
from pathlib import Path

import numpy as np

from seglib import checkpoints, data, metrics, predict

ROOT = Path(__file__).resolve().parents[1]
RUNS = {"unet": "unet-cpu", "deeplab_v3_plus": "deeplab-cpu", "fcn_8s": "fcn-cpu"}  # lessons 04, 05 and 03
FIELDS = ("checkpoint", "dataset", "height", "width", "parameters", "bytes", "miou_float32", "miou", "accuracy")


def save(model, path):
    """Writes the weights of a model as float16.

    Raises:
        ValueError: a weight that float16 cannot hold.
    """
    with np.errstate(over="ignore"):
        halves = [weight.astype(np.float16) for weight in model.get_weights()]
    for variable, half in zip(model.weights, halves, strict=True):
        if not np.isfinite(half).all():
            raise ValueError(f"{variable.path} has a value that float16 cannot hold: wanted finite ones up to 65,504")
    np.savez_compressed(path, *halves)


def score(model, about):
    """The confusion matrix of a model on the test pairs of its data, at the size of its training."""
    dataset = data.load(about.dataset)
    matrix = metrics.ConfusionMatrix(dataset.labels.num_classes, dataset.labels.ignore_id)
    for images, masks in dataset.batches("test", about.size, batch_size=8):
        matrix.update_state(masks, model.predict_on_batch(images))
    return matrix


def make(name, about):
    """Writes one checkpoint; returns its row of ``scores.csv``."""
    run, path = ROOT / "build" / "runs" / RUNS[name] / "best.keras", checkpoints.FOLDER / f"{name}.npz"
    if not run.is_file():
        raise SystemExit(f"{run} is not there; lessons 03, 04 and 05 train it: SEGLIB_PROFILE=cpu make course")
    trained = predict.load_model(run)
    save(trained, path)
    model = checkpoints.load(name)
    exact, matrix = score(trained, about), score(model, about)
    scores = (f"{value:.4f}" for value in (exact.mean_iou(), matrix.mean_iou(), matrix.accuracy()))
    row = (name, about.dataset, *about.size, model.count_params(), path.stat().st_size, *scores)
    return dict(zip(FIELDS, row, strict=True))


def main():
    data.load("streets/tiny").labels.save(checkpoints.FOLDER / predict.LABELS)
    rows = [make(name, about) for name, about in checkpoints.CHECKPOINTS.items()]
    with open(checkpoints.FOLDER / "scores.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(" · ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
