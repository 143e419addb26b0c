"""What the builders of drawn datasets share: sizes as configurations, progress, and never a look-up on the network."""

import contextlib
import io
import sys

import tensorflow_datasets as tfds


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
        for seed in seeds:
            yield seed, self._draw(seed, self.builder_config.height, self.builder_config.width)
            self._bar.update()

    def _draw(self, seed, height, width):
        """The example of a seed; each builder has its own."""
        raise NotImplementedError
