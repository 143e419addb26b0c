"""Model files, opened with care, and folders of images, whose segmentation can be interrupted and resumed."""

import contextlib
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import keras
from PIL import Image

from seglib import layers  # noqa: F401, importing it registers the layers that a saved model is made of
from seglib.images import ImageError, write_mask
from seglib.labels import LabelMap
from seglib.predict.inference import segment
from seglib.runs import check_recipe, fingerprint, note_recipe, read_note, sign_file

IMAGE = "SHA-256 of the image"  # the note in a mask's file that says which image it belongs to
LABELS = "labels.json"  # beside a model: names and colours of its classes


class Run(NamedTuple):
    """The result of :func:`segment_files`."""

    written: list  # paths of the masks written now
    kept: list  # paths of those that an earlier run had finished
    failed: dict  # {path: message} of the images that could not be read


def load_model(path):
    """Opens a ``.keras`` file without compiling it, and refuses what could run code of its own.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a Keras file, damaged, or of another version, which is named then; a ``Lambda`` layer, which
            could run any code, or a layer that neither Keras nor seglib knows.
    """
    path = Path(path)
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not a model of Keras 3 ({path.stat().st_size} bytes); wanted a whole .keras file")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        found = re.search(rb'"keras_version": "([0-9.]+)"', path.read_bytes())  # what Keras saves is not compressed
        if found and (saved := found[1].decode()) != keras.__version__:
            reason += f'; Keras {saved} saved it, this is Keras {keras.__version__}: try pip install "keras=={saved}"'
        raise ValueError(f"{path}: cannot be opened as a model: {reason}") from error


def find_labels(path, num_classes):
    """The label map of a model's file: the one in it, or ``labels.json`` beside it, as ``LabelMap.save`` writes it.

    Where there is neither, its ``num_classes`` classes are called "class 0", "class 1" and so on.

    Raises:
        ValueError: a file that is no label map, or has another number of classes; more than 255 classes, as masks
            hold ids of 8 bits, and one id is void.
    """
    if "labels" in (note := read_note(path)):
        return LabelMap(**note["labels"])
    beside = Path(path).with_name(LABELS)
    if not beside.is_file():
        return LabelMap(tuple(f"class {i}" for i in range(num_classes)))
    labels = LabelMap.load(beside)
    if labels.num_classes != num_classes:
        raise ValueError(f"{beside} names {labels.num_classes} classes, but {Path(path).name} has {num_classes}")
    return labels


def segment_files(model, paths, out, labels, method=segment, recipe=None, spread=None):
    """Segments image files into a folder of palette PNGs of the same stems, and tells in a :class:`Run` what it did.

    A run that was interrupted is resumed by the same call: finished masks are kept. The folder's ``run.json`` holds
    what they depend on: ``recipe``, the label map and the SHA-256 of the model's architecture and weights; each mask
    holds the SHA-256 of its image.

    Args:
        model: a ``keras.Model`` from (1, height, width, 3) images in 0–255 to logits of the same height and width.
        paths: image files; no two of the same stem, whose masks would be one file.
        out: the folder for the masks, made if it is missing; not the folder of an image.
        labels: the :class:`~seglib.labels.LabelMap` whose colours the masks are painted in.
        method: ``method(model, path)`` → (height, width) uint8 ids, such as :func:`segment` or a function around
            :func:`~seglib.predict.tiled`, with its settings.
        recipe: mapping, as for ``json.dump``, of the settings of ``method``, such as ``{"size": (256, 256)}``.
        spread: what :func:`seglib.predict.cluster.connect` gives, for the workers of a Ray cluster; None segments here.

    Raises:
        FileExistsError: the folder holds PNG files of another model, recipe, label map or image, or of no run.
        ValueError: two images of one stem, one in the folder for the masks, or no ``keras.Model``.
        OSError: a mask cannot be written, as on a full disk; those before it are whole.
    """
    from tqdm import tqdm

    paths, out = [Path(path) for path in paths], Path(out)
    if spread:  # to processes that have working directories of their own
        paths, out = [path.absolute() for path in paths], out.absolute()
    stems = Counter(path.stem for path in paths)
    if twice := [str(path) for path in paths if stems[path.stem] > 1]:
        raise ValueError(f"images of the same name would share a mask: {', '.join(twice[:4])}; use a folder for each")
    if out.resolve() in {path.resolve().parent for path in paths}:
        raise ValueError(f"{out} is a folder of the images; masks want another one")
    masks = {path: out / f"{path.stem}.png" for path in paths}
    recipe = {**(recipe or {}), "classes": labels.names, "colours": labels.colours, "model": fingerprint(model)}
    check_recipe(out, recipe, "*.png")
    kept = _find_finished(masks)
    run, todo = Run([], [*kept.values()], {}), [path for path in paths if path not in kept]
    state = model, out, labels, method, recipe, bool(kept)
    rows = spread(_Worker, state, todo) if spread and todo else map(_Worker(*state), ({"item": p} for p in todo))
    for row in tqdm(rows, total=len(todo), desc="images", disable=None, delay=2):
        if row["wrong"]:
            run.failed[Path(row["item"])] = row["wrong"]
        else:
            run.written.append(masks[Path(row["item"])])
    return run


class _Worker:
    """Writes the masks of images, and before the first the recipe: a run that fails at once leaves nothing behind."""

    def __init__(self, *state):
        self.model, self.out, self.labels, self.method, self.recipe, self.is_noted = state

    def __call__(self, row):
        path = Path(row["item"])
        mask = self.out / f"{path.stem}.png"
        if not _find_finished({path: mask}):  # else a worker that was killed wrote it, and could not say so
            try:
                ids = self.method(self.model, path)
            except ImageError as error:
                return {**row, "wrong": str(error)}
            if not self.is_noted:
                note_recipe(self.out, self.recipe)
                self.is_noted = True
            write_mask(mask, ids, self.labels, {IMAGE: sign_file(path)})
        return {**row, "wrong": ""}


def _find_finished(masks):
    """Those of ``{image path: mask path}`` whose masks exist; refuses a file in a mask's place that is another."""
    there = {path: mask for path, mask in masks.items() if mask.exists()}
    for path, mask in there.items():
        signed = None
        with contextlib.suppress(OSError), Image.open(mask) as picture:  # cut off, or no image at all
            signed = getattr(picture, "text", {}).get(IMAGE)
        if signed != sign_file(path):
            raise FileExistsError(f"{mask} is not the mask of {path} as that is now; delete it, or use another folder")
    return there
