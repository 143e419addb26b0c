"""What the builders of drawn datasets share: sizes as configurations, and never a look-up on the network."""

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
        """Draws and writes all splits if they are not there yet; unlike the base class it never asks the cloud."""
        config = download_config or tfds.download.DownloadConfig(try_download_gcs=False)
        return super().download_and_prepare(download_config=config, **more)
