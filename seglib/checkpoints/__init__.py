"""Trained networks that come with seglib: the U-Net, DeepLabV3+ and FCN-8s of the lessons, and one that reads clicks.

Each is a file of float16 weights, as arrays and nothing else, so that every supported version of Keras reads it.
``labels.json`` names their classes, ``scores.csv`` holds their measured scores; ``bench/checkpoints.py`` writes it all.
"""

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seglib import models

FOLDER = Path(__file__).parent
NUM_CLASSES = 8  # of the drawn streets


class Checkpoint(NamedTuple):
    """What a network was built with and trained on.

    ``builder`` is a function of :mod:`seglib.models`, and ``arguments`` are for it, beside the input's shape and the
    number of classes; ``dataset`` is a name for :func:`seglib.data.load`, ``size`` the ``(height, width)`` in training.
    """

    builder: str
    arguments: dict
    dataset: str
    size: tuple[int, int]


SMALL_DEEPLAB = {"backbone": "mobilenet_v2_050", "output_stride": 8, "filters": 64, "rates": (1, 2, 4)}
CHECKPOINTS = {
    "unet": Checkpoint("unet", {"filters": 16, "depth": 4}, "streets/tiny", (64, 96)),
    "deeplab_v3_plus": Checkpoint("deeplab_v3_plus", SMALL_DEEPLAB, "streets/small", (128, 192)),
    "fcn_8s": Checkpoint("fcn", {"stride": 8, "backbone": "small"}, "streets/tiny", (64, 96)),
}
PROMPTABLE = "promptable"  # no logits of classes, so it is not among the others


def load(name):
    """A trained network of ``CHECKPOINTS``.

    Args:
        name: ``"unet"``, ``"deeplab_v3_plus"`` or ``"fcn_8s"``; or ``"promptable"``, for :mod:`seglib.predict.clicks`.

    Returns:
        A ``keras.Model``, not compiled: (batch, height, width, 3) in 0–255 → (batch, height, width, 8) logits; or
        :func:`seglib.models.promptable`, trained on the drawn cells, and on cars and pedestrians of the drawn streets.

    Raises:
        ValueError: another name; a file that is missing, damaged, cut short or of another network.
    """
    if name not in (*CHECKPOINTS, PROMPTABLE):
        names = ", ".join((*CHECKPOINTS, PROMPTABLE))
        raise ValueError(f"no checkpoint {name!r}; wanted {names}. A model of your own is named by its .keras file")
    path = FOLDER / f"{name}.npz"
    if name == PROMPTABLE:
        model = models.promptable((None, None, 3))
    else:
        about = CHECKPOINTS[name]
        model = getattr(models, about.builder)((None, None, 3), NUM_CLASSES, **about.arguments)
    remedy = "fetch it again: git checkout HEAD -- seglib/checkpoints, or install seglib anew"
    try:
        with np.load(path) as file:
            model.set_weights([file[f"arr_{i}"].astype(np.float32) for i in range(len(file.files))])
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: no whole checkpoint of {name} ({error}); {remedy}") from error
    return model
