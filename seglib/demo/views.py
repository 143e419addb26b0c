"""What the page shows of a photo, made without the page: what a model sees, in which colours, as files."""

import functools
import html
import math
import shutil
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from seglib import images, predict, viz
from seglib.labels import LabelMap

MOST_PIXELS = 2**20  # of what the model sees and the page shows: some 900 × 1,200
OPACITY = 0.55


class Photo(NamedTuple):
    """An uploaded photo.

    Attributes:
        name: the stem of its file.
        image: (height, width, 3) uint8, of ``MOST_PIXELS`` at most.
        own: ``(height, width)`` of the file.
    """

    name: str
    image: np.ndarray
    own: tuple


class View(NamedTuple):
    """What a model sees in a photo.

    Attributes:
        photo: the photo.
        labels: the model's classes.
        ids: (height, width) uint8, of the size of ``photo.image``.
        confidence: (height, width) float32, the probability of the class that won.
        size: ``(height, width)`` at which the model looked.
        seconds: how long it took.
    """

    photo: Photo
    labels: LabelMap
    ids: np.ndarray
    confidence: np.ndarray
    size: tuple
    seconds: float


def find_models(folder):
    """The ``.keras`` files in a folder and in the folders in it, as a mapping from a name to the path, sorted.

    Those with a label map beside them come first; runs that ``SEGLIB_STEPS`` cut short have learnt nothing and come
    last.
    """
    folder = Path(folder)
    paths = [*folder.glob("*.keras"), *folder.glob("*/*.keras")]
    names = {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}

    def rank(item):
        name, path = item
        return "-steps" in name, not path.with_name(predict.LABELS).is_file(), name

    return dict(sorted(names.items(), key=rank))


@functools.lru_cache(maxsize=2)
def open_model(path):
    """The model of a file and its classes, which ``labels.json`` beside it names.

    Raises:
        ValueError: a file that is no model, or a label map for another number of classes.
    """
    model = predict.load_model(path)
    return model, predict.find_labels(path, model.output_shape[-1])


def fit(size, shorter=None):
    """The size whose shorter side is ``shorter``, of the same shape; None: as it is. ``MOST_PIXELS`` at most."""
    scale = min(shorter / min(size) if shorter else 1, math.sqrt(MOST_PIXELS / math.prod(size)))
    return tuple(min(max(1, round(scale * side)), MOST_PIXELS) for side in size)


def read_photo(path):
    """Reads an image file into a :class:`Photo`; an ``ImageError`` says why it is none, and names it without folder."""
    try:
        picture = images.open_image(path)
    except images.ImageError as error:
        raise images.ImageError(str(error).replace(str(path), Path(path).name)) from error
    own = picture.height, picture.width
    return Photo(Path(path).stem, images.resize_image(picture, fit(own)), own)


def look(photo, path, shorter=None):
    """Shows a photo to the model of a file, at the size whose shorter side is ``shorter``: a :class:`View`.

    A model that was built for one size gets that one.
    """
    model, labels = open_model(path)
    started = time.perf_counter()
    built_for = model.input_shape[1:3]
    size = fit(photo.image.shape[:2], shorter) if None in built_for else tuple(built_for)
    probs = predict.probabilities(model, photo.image, size)
    ids, confidence = predict.to_ids(probs), predict.confidence(probs)
    return View(photo, labels, ids, confidence, size, time.perf_counter() - started)


def find_shares(ids):
    """Which classes there are, and their shares of the pixels: a mapping from id to share, largest first."""
    found, counts = np.unique(ids, return_counts=True)
    return {int(found[i]): counts[i] / ids.size for i in np.argsort(-counts, kind="stable")}


def paint(image, ids, labels, opacities):
    """The classes' colours laid over the image, each as opaque as ``opacities`` says (0–1; ``OPACITY`` if it does not).

    Args:
        image: (height, width, 3) in 0–255.
        ids: (height, width) uint8.
        labels: the label map.
        opacities: mapping from the name of a class to its opacity.

    Returns:
        (height, width, 3) uint8.
    """
    alphas = np.full(256, OPACITY)
    alphas[: labels.num_classes] = [opacities.get(name, OPACITY) for name in labels.names]
    return viz.overlay(image, ids, labels, alphas[ids])


def colour_confidence(confidence, num_classes):
    """Probabilities as colours, from dark blue, a guess among all classes, to yellow, certainty."""
    guess = 1 / num_classes
    return cividis((confidence - guess) / (1 - guess))


def describe(view):
    """What was looked at, in a sentence."""
    (height, width), (seen_height, seen_width) = view.photo.own, view.size
    return (
        f"**{html.escape(view.photo.name)}**: {height:,} pixels high, {width:,} wide. The model saw it "
        f"{seen_height:,} × {seen_width:,} and took {view.seconds:.1f} s; on average it is "
        f"{view.confidence.mean():.0%} sure."
    )


def write_results(view, folder):
    """Writes mask and confidence map into a folder, and returns their paths. The mask is of the photo's own size."""
    mask, confidence = (Path(folder) / f"{view.photo.name}-{kind}.png" for kind in ("mask", "confidence"))
    images.write_mask(mask, images.resize_mask(view.ids, view.photo.own), view.labels)
    Image.fromarray(colour_confidence(view.confidence, view.labels.num_classes)).save(confidence)
    return str(mask), str(confidence)


def write_overlay(view, opacities, folder):
    """Writes the overlay into a folder of its own in ``folder``, deletes the one before, and returns the path."""
    before = [path for path in Path(folder).iterdir() if path.is_dir()]
    # A new place each time: a browser shows what it has when it is sent to the same one again.
    path = Path(tempfile.mkdtemp(dir=folder)) / f"{view.photo.name}-overlay.png"
    overlay = paint(view.photo.image, view.ids, view.labels, opacities)
    Image.fromarray(overlay).save(path, compress_level=1)
    for older in before:
        shutil.rmtree(older, ignore_errors=True)
    return str(path)


def cividis(values):
    """Numbers in 0–1 as colours, in a scale that colour-blind readers can read too."""
    from matplotlib import colormaps

    return colormaps["cividis"](values, bytes=True)[..., :3]
