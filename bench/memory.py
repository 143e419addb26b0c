"""How many images fit into a training step? Time and memory of steps of 1, 2, 4 … images, until one would not fit.

    python bench/memory.py            # images of 128×192; other sizes: python bench/memory.py 256 256

The U-Net of the lessons on two cores (16 filters, 4 levels). :func:`try_batch_sizes` does the same for any model.
"""

import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

CGROUP = Path("/sys/fs/cgroup")  # of a container on Linux
REFUSED = "ResourceExhausted|RESOURCE_EXHAUSTED|OutOfMemory|out of memory"  # TensorFlow, JAX, torch


class Step(NamedTuple):
    """What a training step of one batch size took: seconds, and bytes beyond what was in use before (None on a GPU)."""

    batch_size: int
    seconds: float
    bytes: int | None


def try_batch_sizes(model, images, masks, highest=64, share=0.8):
    """Takes training steps of 1, 2, 4 … images, as long as they fit into the free memory.

    On a GPU the framework refuses what does not fit, and that is the end. Without one the operating system would kill
    the process: there the end comes before, when twice the memory of this size would be more than ``share`` of what was
    free. Afterwards the model and its optimizer are as before.

    Args:
        model: compiled.
        images, masks: (batch, height, width, 3) and (batch, height, width), one or more; repeated as needed.
        highest: the largest batch that is tried.
        share: of the free memory, 0–1.

    Returns:
        A list of :class:`Step`, one for each batch size that fits, of which the last is the largest.

    Raises:
        MemoryError: not even a single image fits.
    """
    import keras

    from seglib import train

    steps, batch_size = [], 1
    on_gpu = any(device.startswith("gpu") for device in keras.distribution.list_devices())
    free, watch = None if on_gpu else free_memory(), _Watch()
    with train.unchanged(model):
        while batch_size <= highest:
            batch = [np.resize(array, (batch_size, *array.shape[1:])) for array in (images, masks)]
            try:
                with watch:
                    model.train_on_batch(*batch)  # traces the step
                    began = time.perf_counter()
                    model.train_on_batch(*batch)
                    seconds = time.perf_counter() - began
            except Exception as error:
                if not re.search(REFUSED, f"{type(error).__name__}: {error}"):
                    raise
                break
            steps.append(Step(batch_size, seconds, None if on_gpu else watch.bytes))
            if free is not None and 2 * watch.bytes > share * free:
                break
            batch_size *= 2
    model.reset_metrics()
    if not steps:
        raise MemoryError(f"not even one image of {images.shape[1]}×{images.shape[2]} fits into the memory")
    return steps


def free_memory():
    """Bytes that this process may still take, of the machine and of its container's limit if it has one."""
    import psutil

    free = psutil.virtual_memory().available
    limit, used = (CGROUP / name for name in ("memory.max", "memory.current"))
    if limit.exists() and limit.read_text().strip().isdecimal():
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free


class _Watch:
    """The most memory that this process has held in the block, beyond what it held at first; sampled in a thread."""

    def __init__(self):
        import psutil

        self.process = psutil.Process()
        self.before = self.process.memory_info().rss

    def __enter__(self):
        self.bytes, self.ended = 0, threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)
        self.thread.start()

    def __exit__(self, *error):
        self.ended.set()
        self.thread.join()

    def _sample(self):
        while not self.ended.wait(0.002):
            self.bytes = max(self.bytes, self.process.memory_info().rss - self.before)


def main(size):
    import keras

    from seglib import losses, models, train

    train.seed(0)
    model = models.unet((*size, 3), 8, filters=16, depth=4)
    model.compile(keras.optimizers.AdamW(1e-3), losses.dice)
    rng = np.random.default_rng(0)
    images, masks = rng.uniform(0, 255, (1, *size, 3)).astype("float32"), rng.integers(0, 8, (1, *size))
    for step in try_batch_sizes(model, images, masks):
        memory = "" if step.bytes is None else f", {step.bytes / 2**20:.0f} MiB"
        print(f"batch of {step.batch_size:>2}: {step.batch_size / step.seconds:5.1f} images/s{memory}", flush=True)


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:3])) or (128, 192))
