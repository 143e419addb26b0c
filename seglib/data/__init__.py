"""Whatever the source, the same pairs: ``load`` by name, ``from_folder`` from files, then ``batches`` for training."""

from seglib.data.dataset import SPLITS, DataError, Dataset, resize_pair
from seglib.data.folder import from_folder
from seglib.data.named import load

__all__ = ["SPLITS", "DataError", "Dataset", "from_folder", "load", "resize_pair"]
