"""What the builders of drawn datasets share: sizes as configurations, processes, and never a look-up on the network."""

import contextlib
import functools
import io
import itertools
import os
import pickle
import subprocess
import sys
import zlib

import tensorflow_datasets as tfds
from PIL import Image

SCENES_EACH = 50
"""A process is started for this many scenes or more; fewer are drawn before it has started."""


class OfflineInfo(tfds.core.DatasetInfo):
    """Dataset information that is complete as it is: nothing is looked up in the cloud."""

    def initialize_from_bucket(self):
        """Does nothing; TFDS would look for statistics in its bucket, and older versions retry for minutes."""


class SizeConfig(tfds.core.BuilderConfig):
    """A size at which a dataset is drawn: ``height`` and ``width`` in pixels."""

    def __init__(self, name, height, width):
        super().__init__(name=name, description=f"{height} × {width} pixels")
        self.height, self.width = height, width


class DrawnBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder that draws its examples, with :class:`SizeConfig` configurations and :class:`OfflineInfo`."""

    def download_and_prepare(self, *, download_config=None, **more):
        """Draws and writes all splits if they are not there yet; unlike the base class it never asks the cloud.

        The progress is shown in a terminal and in a notebook, on stdout: a notebook shows stderr as a warning.
        """
        from tqdm import tqdm

        config = download_config or tfds.download.DownloadConfig(try_download_gcs=False)
        hidden = not (sys.stdout.isatty() or "ipykernel" in sys.modules)
        style = dict(desc=self.builder_config.name, unit="image", leave=False, delay=2, mininterval=1)
        with tqdm(file=sys.stdout, disable=hidden, **style) as self._bar, contextlib.redirect_stdout(io.StringIO()):
            return super().download_and_prepare(download_config=config, **more)

    def _split(self, splits):
        """What TFDS calls the generators of ``splits``, a mapping from their names to their seeds."""
        self._bar.reset(sum(map(len, splits.values())))
        return {split: self._generate_examples(seeds) for split, seeds in splits.items()}

    def _generate_examples(self, seeds):
        draw = functools.partial(self._draw, height=self.builder_config.height, width=self.builder_config.width)
        with contextlib.closing(draw_all(draw, seeds)) as examples:
            for seed, example in zip(seeds, examples, strict=True):
                yield seed, example
                self._bar.update()

    @staticmethod
    def _draw(seed, height, width):
        """The example of a seed, with its pictures as PNG; each builder has its own."""
        raise NotImplementedError


def to_png(plane):
    """A uint8 or uint16 picture (height, width) or (height, width, 3) as the bytes of a PNG file.

    Grain has no repetitions to look for: with runs only, zlib takes a third of the time, and the file is as small.
    """
    file = io.BytesIO()
    Image.fromarray(plane).save(file, "PNG", compress_type=zlib.Z_RLE)
    return file.getvalue()


def count_processors():
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def draw_all(draw, seeds):
    """Yields ``draw(seed)`` for all ``seeds`` in order: one new Python for each processor draws them, by turns.

    It imports what ``draw`` needs, and no TensorFlow. Unlike multiprocessing's it does not import the script that runs,
    which need not be guarded by ``if __name__ == "__main__"``. What one leaves undone, since it cannot be started or
    has ended early, is drawn in this process.
    """
    count = min(count_processors(), len(seeds) // SCENES_EACH)
    if count < 2:
        yield from map(draw, seeds)
        return
    settings = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    settings |= dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**28))  # buffers are reused
    env = {**os.environ, **settings, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable or "", "-c", "from seglib.datasets import drawn; drawn.serve()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    answers = [io.BytesIO()] * count  # empty: drawn here
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            for i in range(count):
                python = stack.enter_context(subprocess.Popen(command, env=env, **pipes))
                answers[i] = python.stdout
                with python.stdin:
                    pickle.dump((draw, seeds[i::count]), python.stdin)
        for turn, seed in zip(itertools.cycle(range(count)), seeds, strict=False):
            try:
                example = pickle.load(answers[turn])
            except (EOFError, pickle.UnpicklingError):
                answers[turn], example = io.BytesIO(), draw(seed)
            yield example


def serve():
    """What such a Python does: reads a function and values from stdin, and writes its results to stdout."""
    function, values = pickle.load(sys.stdin.buffer)
    for value in values:
        pickle.dump(function(value), sys.stdout.buffer)
        sys.stdout.buffer.flush()
