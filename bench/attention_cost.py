"""What does self-attention cost, in time and memory, as images grow? Beside a 3×3 convolution, and with reduction.

    python bench/attention_cost.py    # writes bench/attention_cost.csv, and goes on where it was stopped

One layer on the map of a square image at stride 4, 32 channels and one head as in the first stage of SegFormer-B0: a
3×3 convolution; self-attention; self-attention with keys and values of a map downsampled by 8. Each runs alone
in a process of its own. Seconds are the median of five forward passes after two; memory is the process's peak
beyond its peak before the first pass. ``attention`` stops at 512 pixels: at 1,024 its weights alone would
take 17 GB.
"""

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import seeds

KINDS = ("convolution", "attention", "attention, reduction 8")
SIDES = (64, 128, 256, 512, 1024)
CHANNELS = 32
FIELDS = ("layer", "side", "seconds", "megabytes")
CSV = Path(__file__).with_suffix(".csv")


def measure(kind, side):
    """Prints the seconds of a forward pass and the megabytes of its process's peak."""
    import keras
    import numpy as np
    import tensorflow as tf
    from keras import layers

    from seglib.models.segformer import attention

    inputs = keras.Input((side // 4, side // 4, CHANNELS))
    if kind == "convolution":
        outputs = layers.Conv2D(CHANNELS, 3, padding="same")(inputs)
    else:
        outputs = attention(inputs, 1, 8 if "reduction" in kind else 1, "attention")
    run = tf.function(keras.Model(inputs, outputs), jit_compile=False)
    tokens = np.random.default_rng(0).normal(size=(1, *inputs.shape[1:])).astype("float32")
    run.get_concrete_function(tf.TensorSpec(tokens.shape))  # tracing needs memory, too
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(7):
        began = time.perf_counter()
        run(tokens).numpy()
        seconds.append(time.perf_counter() - began)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # on Linux
    print(f"{statistics.median(seconds[2:]):.6f} {kilobytes * 1024 / 1e6:.1f}")


def run(kind, side):
    """What :func:`measure` prints, in a process of its own."""
    found = subprocess.run([sys.executable, __file__, kind, str(side)], capture_output=True, text=True)
    if found.returncode:
        sys.exit(f"{kind} at {side} pixels ended with {found.returncode}: {found.stderr[-2000:]}")
    return found.stdout.split()[-2:]


def main():
    keys = [(kind, side) for kind in KINDS for side in SIDES if (kind, side) != ("attention", 1024)]
    for row in seeds.collect(CSV, FIELDS, keys, run):
        print(f"{row['layer']:24} {row['side']:>5}: {1000 * float(row['seconds']):8.1f} ms, {row['megabytes']:>8} MB")


if __name__ == "__main__":
    measure(sys.argv[1], int(sys.argv[2])) if sys.argv[1:] else main()
