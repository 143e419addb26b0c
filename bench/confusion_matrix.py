"""How fast is the confusion matrix? Against ``keras.metrics.MeanIoU``, both in this run, on 16×360×480 pixels.

    python bench/confusion_matrix.py

Prints the median milliseconds of one update from ids and from logits, both metrics in the same form: eager, in a traced
function (as in ``fit``), and compiled by XLA. Updates of the two alternate; times are by the clock and the processor's,
and of their ratios the quartiles are printed, too. Both must agree on the mean IoU to 1e-6, or the script fails.
"""

import functools
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from seglib.metrics import ConfusionMatrix

SHAPE, NUM_CLASSES, REPEATS = (16, 360, 480), 12, 9


def milliseconds(*updates):
    """(repeats, updates, 2) times by the clock and of the processor, taken in turn; two calls first, which compile."""
    times = np.empty((REPEATS + 2, len(updates), 2))
    for taken in times:
        for i, update in enumerate(updates):
            began = time.perf_counter(), time.process_time()
            update()
            taken[i] = 1000 * (np.array([time.perf_counter(), time.process_time()]) - began)
    return times[2:]


FORMS = {
    "eager": lambda update: update,
    "graph": tf.function,
    "XLA": lambda update: tf.function(update, jit_compile=True),
}


def make_metrics(kind):
    """Ours and Keras's metric for predictions given as ``"ids"`` or as ``"logits"``."""
    theirs = keras.metrics.MeanIoU(NUM_CLASSES, ignore_class=255, sparse_y_pred=kind == "ids")
    return ConfusionMatrix(NUM_CLASSES), theirs


def main():
    rng = np.random.default_rng(0)
    mask = tf.constant(np.where(rng.random(SHAPE) < 0.05, 255, rng.integers(0, NUM_CLASSES, SHAPE)).astype(np.uint8))
    logits = tf.constant(rng.normal(size=(*SHAPE, NUM_CLASSES)).astype(np.float32))
    preds = {"ids": tf.argmax(logits, -1, output_type=tf.int32), "logits": logits}
    print("from    form   clock      keras.metrics.MeanIoU   ConfusionMatrix")
    for kind, pred in preds.items():
        for form, wrap in FORMS.items():
            metrics = make_metrics(kind)
            ours, theirs = (functools.partial(wrap(metric.update_state), mask, pred) for metric in metrics)
            try:
                times = milliseconds(ours, theirs)
            except Exception as error:  # which one depends on the versions
                print(f"{kind:<7} {form:<6} {type(error).__name__:>32}   {np.median(milliseconds(ours)):8.1f} ms")
                continue
            for name, (taken, reference) in zip(("wall", "processor"), times.T, strict=True):
                low, ratio, high = np.percentile(reference / taken, (25, 50, 75))
                each = f"{np.median(reference):18.1f} ms   {np.median(taken):8.1f} ms"
                print(f"{kind:<7} {form:<6} {name:<9} {each}   {ratio:4.1f} × as fast ({low:.1f}, {high:.1f})")
            found, wanted = (float(metric.result()) for metric in metrics)
            assert abs(found - wanted) < 1e-6


if __name__ == "__main__":
    main()
