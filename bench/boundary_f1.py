"""How fast is the boundary F1? Against distance transforms, a class at a time, both in this run, on 360×480 pixels.

    python bench/boundary_f1.py

Prints the median milliseconds for one image of eleven classes at several tolerances, ours and those of the
straightforward form: for each class, ``scipy.ndimage.distance_transform_edt`` from either outline. They must agree to
1e-6, or the script fails.
"""

import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import scipy.ndimage

from seglib.metrics import boundary_f1

SHAPE, NUM_CLASSES, IGNORE, REPEATS = (360, 480), 11, 255, 9


def draw_ids(rng, blur):
    """Regions of all classes, and some void: where which of as many blurred noises is the highest."""
    noise = scipy.ndimage.gaussian_filter(rng.normal(size=(*SHAPE, NUM_CLASSES + 1)), (blur, blur, 0))
    ids = noise.argmax(axis=-1)
    return np.where(ids == NUM_CLASSES, IGNORE, ids)


def by_distances(mask, pred, tolerance):
    """The same, class by class: distances from one outline, looked up along the other."""
    pred = np.where(mask == IGNORE, IGNORE, pred)
    scores = []
    for label in range(NUM_CLASSES):
        true, predicted = (find_outline(ids, label) for ids in (mask, pred))
        near = [scipy.ndimage.distance_transform_edt(~outline) <= tolerance for outline in (true, predicted)]
        precision, recall = near[0][predicted].mean(), near[1][true].mean()
        scores.append(2 * precision * recall / (precision + recall))
    return np.array(scores)


def find_outline(ids, label):
    """The pixels of a class beside which another class begins."""
    padded = np.pad(ids, 1, constant_values=IGNORE)
    height, width = ids.shape
    around = [padded[1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in ((0, 1), (0, -1), (1, 0), (-1, 0))]
    return (ids == label) & np.any([(other != label) & (other != IGNORE) for other in around], axis=0)


def milliseconds(function, *args):
    """Median time of a call, and what it returned."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        found = function(*args)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times), found


def main():
    rng = np.random.default_rng(0)
    mask = draw_ids(rng, 12)
    pred = np.where(rng.random(SHAPE) < 0.02, rng.integers(0, NUM_CLASSES, SHAPE), np.roll(mask, (2, 3), (0, 1)))
    pred = np.where(pred == IGNORE, 0, pred)
    print("tolerance   distance transforms   boundary_f1   times as fast   largest difference")
    for tolerance in (1, 2, 5, 0.0075):
        ours, found = milliseconds(boundary_f1, mask, pred, NUM_CLASSES, tolerance, IGNORE)
        pixels = tolerance * np.hypot(*SHAPE) if tolerance < 1 else tolerance
        theirs, wanted = milliseconds(by_distances, mask, pred, pixels)
        difference = np.abs(found - wanted).max()
        print(f"{tolerance:>9}   {theirs:16.1f} ms   {ours:8.1f} ms   {theirs / ours:13.1f}   {difference:18.1e}")
        assert difference <= 1e-6


if __name__ == "__main__":
    main()
