"""Does a run that is killed at any moment end as if it had not been? Kills one (SIGKILL) at twenty random moments.

    python bench/kill.py

A small U-Net with dropout is trained on augmented ``streets/tiny``, once in peace. Then again, and killed at a moment
drawn evenly from the time that the first run took, and started again, and killed again; where a run ends before its
moment, a new one begins. All that end must have the weights of the first, to the bit, and no finished epoch may be
repeated.
"""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

KILLS, EPOCHS, SEED = 20, 6, 0


def train_once(folder):
    import keras
    import seeds

    from seglib import augment, data, losses, metrics, models, train

    streets = data.load("streets/tiny")
    train.seed(SEED)
    model = models.unet((None, None, 3), streets.labels.num_classes, filters=4, depth=3)
    model = keras.Sequential([model, keras.layers.Dropout(0.1)])
    rate = seeds.poly(3e-3, EPOCHS * 50, warmup=10)
    loss, metric = (
        losses.CompoundLoss({"cross_entropy": 1, "dice": 1}),
        metrics.ConfusionMatrix(streets.labels.num_classes),
    )
    model.compile(keras.optimizers.AdamW(rate), loss, metrics=[metric])
    done = train.resume(model, folder, {"data": streets.name, "size": (64, 96), "augment": "flip", "seed": SEED})
    print("begins after", done, flush=True)
    train_ds = streets.batches("train", (64, 96), 8, augment=augment.Augment((64, 96), flip=0.5), seed=SEED, epoch=done)
    fitted = {"validation_data": streets.batches("val", (64, 96), 8), "initial_epoch": done, "shuffle": False}
    callbacks = train.callbacks(model, folder, lines=EPOCHS)
    model.fit(train_ds, epochs=EPOCHS, callbacks=callbacks, verbose=0, **fitted)
    np.savez(folder / "weights.npz", *model.get_weights())


def start(folder):
    return subprocess.Popen([sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True)


def read_weights(folder):
    with np.load(folder / "weights.npz") as file:
        return [file[name] for name in file.files]


def main():
    draw = random.Random(SEED)
    with tempfile.TemporaryDirectory() as parent:
        whole, folder = Path(parent) / "whole", Path(parent) / "killed"
        began = time.perf_counter()
        assert start(whole).wait() == 0
        seconds, wanted = time.perf_counter() - began, read_weights(whole)
        print(f"in peace: {seconds:.0f} s", flush=True)
        kills, finished, epochs = 0, 0, 0  # epochs: how many the run has finished so far
        while kills < KILLS or finished == 0 or epochs:
            run = start(folder)
            try:
                run.wait(draw.uniform(0, seconds) if kills < KILLS else None)
            except subprocess.TimeoutExpired:
                run.kill()
                kills += 1
            lines = run.communicate()[0].splitlines()
            assert run.returncode in (0, -signal.SIGKILL), "the run failed by itself"
            begun = [int(line.split()[-1]) for line in lines if line.startswith("begins")]
            assert not begun or begun[0] >= epochs, f"{epochs} epochs were finished, and it began after {begun[0]}"
            epochs = max([epochs, *begun, *(int(line[5:].split("/")[0]) for line in lines if line.startswith("epoch"))])
            print(f"kill {kills:>2}: began after {begun or 'nothing yet'}, finished {epochs} epochs", flush=True)
            if run.returncode == 0:
                for ours, theirs in zip(read_weights(folder), wanted, strict=True):
                    np.testing.assert_array_equal(ours, theirs)
                shutil.rmtree(folder)
                finished, epochs = finished + 1, 0
        print(f"{kills} kills; {finished} runs ended, with the weights of the one in peace and no epoch repeated")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train_once(Path(sys.argv[1]))
    else:
        main()
