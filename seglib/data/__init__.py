"""Whatever the source, the same pairs: by name, from folders, from instances, from COCO; then batches."""

from seglib.annotations import DataError
from seglib.data.coco import from_coco
from seglib.data.dataset import SPLITS, Dataset, resize_pair
from seglib.data.folder import from_folder
from seglib.data.instances import from_instances
from seglib.data.named import load
from seglib.datasets import specs
