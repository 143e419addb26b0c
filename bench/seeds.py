"""What the scripts that train share; there is nothing to run here.

Each run over several seeds is one row of a small CSV, which begins with what identifies it (the model, the seed …). A
row is written as soon as its run ends, and a script that is started again goes on with those that are missing.
"""

import csv
import math
import os
import statistics
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from seglib import losses, train


def find_shared(what, *folders):
    """The folder data/ below the one that the environment variable SEGLIB_SHARED names (default: ../shared).

    Ends the script in a sentence if one of ``folders`` is not in it; ``what`` says what they hold.
    """
    shared = Path(os.environ.get("SEGLIB_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
    if not all((shared / folder).is_dir() for folder in folders):
        sys.exit(
            f"skipped: no {what} here; set SEGLIB_SHARED to the folder that holds data/{' and data/'.join(folders)}"
        )
    return shared


def collect(path, fields, keys, run):
    """Every row of a table, in the order of ``keys``; those that the CSV lacks are run and written.

    Args:
        path: of the CSV. fields: its columns.
        keys: tuples of what identifies a row, the values of the first columns.
        run: ``run(*key)`` → the values of the other columns, as they are to be written.

    Returns:
        A list of dicts of strings.
    """
    rows = {}
    if path.exists():
        with path.open(newline="") as file:
            rows = {tuple(list(row.values())[: len(keys[0])]): row for row in csv.DictReader(file)}
    for key in keys:
        name = tuple(map(str, key))
        if name in rows:
            continue
        rows[name] = dict(zip(fields, (*name, *map(str, run(*key))), strict=True))
        print(*rows[name].values(), flush=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fields)
            writer.writeheader()
            writer.writerows(rows.values())
    return [rows[tuple(map(str, key))] for key in keys]


def poly(rate, steps, warmup):
    """The "poly" schedule of DeepLab, power 0.9, after a linear warm-up: a Keras schedule."""
    decay = keras.optimizers.schedules.PolynomialDecay(rate, steps, end_learning_rate=0, power=0.9)
    return train.Warmup(decay, warmup)


def fit(model, batches, epochs, rate, loss=None):
    """Trains a model with the recipe of the lessons: AdamW, cross-entropy and Dice, a rate that warms up and falls."""
    steps = epochs * len(batches)
    optimizer = keras.optimizers.AdamW(poly(rate, steps, steps // 20), weight_decay=1e-2)
    optimizer.build(model.trainable_variables)  # else the first step is traced twice
    model.compile(optimizer, loss or losses.CompoundLoss({"cross_entropy": 1, "dice": 1}))
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0)


def predict(model, batches):
    """The masks of all batches and what the model says of their images: two arrays (images, height, width) of ids."""
    pairs = [(masks, model.predict_on_batch(images).argmax(axis=-1)) for images, masks in batches]
    return tuple(map(np.concatenate, zip(*pairs, strict=True)))


def spread(values):
    """``mean ± standard deviation``, as text."""
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def gain(better, worse):
    """The mean of differences between runs of equal seeds and its standard error, as text."""
    gains = [b - w for b, w in zip(better, worse, strict=True)]
    return f"{statistics.mean(gains):+.3f}, standard error {statistics.stdev(gains) / math.sqrt(len(gains)):.3f}"
