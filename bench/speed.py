"""What does a training step cost? Time and memory of a U-Net's step, by batch size, precision and compiler.

    python bench/speed.py         # writes bench/speed.csv, some seven minutes on two cores that have nothing else to do

The U-Net of the lessons on two cores (16 filters, 4 levels), pictures of 128×192, steps of 1, 2, 4, 8 and 16 of them:
as TensorFlow runs it, compiled by XLA (``jit_compile=True``), in mixed bfloat16. Each in a process of its own, three
times over: the memory is what the process holds at most beyond what it held with the model built.
"""

import csv
import os
import statistics
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import memory
import seeds

SIZE, HIGHEST, ROUNDS = (128, 192), 16, 3
SETTINGS = {"float32": ("float32", False), "XLA": ("float32", True), "bfloat16": ("mixed_bfloat16", False)}
FIELDS = ("setting", "round", "batch_size", "seconds", "mib")
CSV = Path(__file__).with_suffix(".csv")


def measure(setting):
    """Prints batch size, seconds and MiB of steps, one a line."""
    import keras
    import numpy as np

    from seglib import losses, models, train

    policy, compiled = SETTINGS[setting]
    keras.config.set_dtype_policy(policy)
    train.seed(0)
    model = models.unet((*SIZE, 3), 8, filters=16, depth=4)
    model.compile(
        keras.optimizers.AdamW(1e-3), losses.CompoundLoss({"cross_entropy": 1, "dice": 1}), jit_compile=compiled
    )
    rng = np.random.default_rng(0)
    images, masks = rng.uniform(0, 255, (1, *SIZE, 3)).astype("float32"), rng.integers(0, 8, (1, *SIZE))
    for step in memory.try_batch_sizes(model, images, masks, HIGHEST):
        print("step", step.batch_size, f"{step.seconds:.4f}", f"{step.bytes / 2**20:.0f}")


def main():
    rows = []
    for number in range(ROUNDS):
        for setting in SETTINGS:
            run = subprocess.run([sys.executable, __file__, setting], capture_output=True, text=True, check=True)
            found = [line.split()[1:] for line in run.stdout.splitlines() if line.startswith("step")]
            rows += [(setting, number, *row) for row in found]
            print(setting, *(f"{n}: {seconds} s, {mib} MiB" for n, seconds, mib in found), sep=" · ", flush=True)
    with CSV.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        writer.writerows(rows)
    for setting in SETTINGS:
        for size in sorted({int(row[2]) for row in rows}):
            of_size = [row for row in rows if row[0] == setting and int(row[2]) == size]
            rate = [size / float(row[3]) for row in of_size]
            mib = statistics.mean(float(row[4]) for row in of_size)
            print(f"{setting:9} batch {size:>2}: {seeds.spread(rate)} images/s, {mib:.0f} MiB")


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
