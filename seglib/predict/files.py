"""Model files that are opened with care, and folders of images, done once and gone on with."""

import hashlib
import json
import reprlib
import zipfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import keras
from PIL import Image

from seglib import layers  # noqa: F401, importing it registers the layers that a saved model is made of
from seglib.images import ImageError, write_mask, written_whole
from seglib.labels import LabelMap
from seglib.predict.looks import segment

RUN = "run.json"  # what a folder says of how its masks, or its models, were made
IMAGE = "SHA-256 of the image"  # what a mask says of what it is the mask of
LABELS = "labels.json"  # beside a model, what its classes are called


class ModelError(ValueError):
    """A file that is no model, or none that may be opened; the message names it."""


class Run(NamedTuple):
    """What came of a folder run.

    Attributes:
        written: paths of the masks written now.
        kept: paths of those that an earlier run had finished.
        failed: per image that could not be read, what was wrong with it.
    """

    written: list
    kept: list
    failed: dict


def load_model(path):
    """Opens a ``.keras`` file, not compiled, and refuses what could run code of its own.

    Args:
        path: a file that ``model.save`` or the callbacks of :mod:`seglib.train` wrote.

    Returns:
        The ``keras.Model``.

    Raises:
        ModelError: there is no such file, it is none of Keras's, it is damaged, it holds a ``Lambda`` layer, whose
            code is whatever its author wrote, or layers that neither Keras nor seglib knows; it is a model that does
            not turn images into the scores of two classes or more for every pixel.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: {'a folder; wanted a .keras file' if path.is_dir() else 'no such file'}")
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path}: not a model of Keras 3 ({path.stat().st_size} bytes); wanted a whole .keras file")
    try:
        with zipfile.ZipFile(path) as archive:
            config = archive.read("config.json").decode("utf-8")
        if '"__lambda__"' in config:
            raise ModelError(f"{path}: holds code of its own (a Lambda layer), which would run unseen; refused")
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except ModelError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(f"{path}: no model that can be opened: {reason}") from error
    taken, given = (getattr(model, f"{which}_shape", None) for which in ("input", "output"))
    if not (_are_maps(taken) and taken[3] == 3 and _are_maps(given) and (given[3] or 2) >= 2):
        raise ModelError(
            f"{path}: turns {taken} into {given}; wanted (batch, height, width, 3) → (batch, height, width, "
            "num_classes), of two classes or more"
        )
    return model


def _are_maps(shape):
    """Whether it is (batch, height, width, channels), and not the shapes of several things."""
    return isinstance(shape, tuple) and len(shape) == 4 and not any(isinstance(n, tuple) for n in shape)


def find_labels(path, num_classes, file=None):
    """The label map of a model's file: what ``LabelMap.save`` wrote to ``labels.json`` beside it.

    Args:
        path: of the model. num_classes: how many it tells apart.
        file: of the label map, if it lies elsewhere.

    Returns:
        A :class:`~seglib.labels.LabelMap`; where there is no file, one of "class 0", "class 1" and so on.

    Raises:
        ValueError: a file that is no label map, or one of another number of classes; more than 255, as masks hold
            ids of 8 bits, and one of these is void.
    """
    if num_classes > 255:
        raise ValueError(f"{path} tells {num_classes} classes apart; a mask file holds 255 at most, and void")
    beside = Path(path).with_name(LABELS)
    if file is None and not beside.is_file():
        return LabelMap(tuple(f"class {i}" for i in range(num_classes)))
    labels = LabelMap.load(file or beside)
    if labels.num_classes != num_classes:
        raise ValueError(
            f"{file or beside} names {labels.num_classes} classes, but {Path(path).name} tells {num_classes} apart"
        )
    return labels


def segment_files(model, paths, out, labels, look=segment, recipe=None):
    """Segments image files one after another, into a folder of palette PNGs of the same stems.

    A run that was interrupted is begun again with the same words: what it had finished is kept, what it had not is
    done. Each mask has a note of the image's content in it, so that no image is taken for done that was not. An image
    that cannot be read is reported in the end and does not stop the others.

    Args:
        model: as in :func:`segment`.
        paths: image files; no two of the same stem, whose masks would be one file.
        out: the folder for the masks, made if it is missing; not the folder of an image.
        labels: the :class:`~seglib.labels.LabelMap` whose colours the masks are painted in.
        look: ``look(model, path)`` → (height, width) uint8 ids, such as :func:`segment` or a function around
            :func:`tiled`, with its settings.
        recipe: mapping, as for ``json.dump``, that says how masks are made: the model's file and the settings of
            ``look``. It is kept beside them, and a folder of another recipe is not gone on with.

    Returns:
        :class:`Run`.

    Raises:
        FileExistsError: the folder holds masks of another recipe or of other images, or files of these names that no
            run has made.
        ValueError: two images of one stem, or none at all; images in the folder for the masks.
        OSError: a mask cannot be written, as on a full disk; those before it are whole.
    """
    from tqdm import tqdm

    paths, out = [Path(path) for path in paths], Path(out)
    if not paths:
        raise ValueError("there is no image to segment")
    stems = Counter(path.stem for path in paths)
    twice = [str(path) for path in paths if stems[path.stem] > 1]
    if twice:
        raise ValueError(
            f"images of the same name would share a mask: {', '.join(twice[:4])}; give each its own folder of masks"
        )
    if any(path.resolve().parent == out.resolve() for path in paths):
        raise ValueError(f"{out} is a folder of the images; masks want another one")
    masks = {path: out / f"{path.stem}.png" for path in paths}
    recipe = {"classes": labels.names, "colours": labels.colours, **(recipe or {})}
    check_recipe(out, recipe, "*.png")
    kept = _find_finished(masks)
    if kept and not (out / RUN).exists():
        raise FileExistsError(f"{out} holds masks, but {RUN} is gone, which said how they were made; write elsewhere")
    run = Run([], [*kept.values()], {})
    todo = [path for path in paths if path not in kept]
    for path in tqdm(todo, desc="images", disable=None, delay=2):
        try:
            ids = look(model, path)
        except ImageError as error:
            run.failed[path] = str(error)
            continue
        if not (run.kept or run.written):  # not earlier: a run that fails at once leaves nothing behind
            note_recipe(out, recipe)
        write_mask(masks[path], ids, labels, {IMAGE: _sign(path)})
        run.written.append(masks[path])
    return run


def check_recipe(folder, recipe, made):
    """Refuses a folder in which there is what another recipe has made.

    Args:
        folder: where a run is to write; it need not be there.
        recipe: mapping, as for ``json.dump``, that says what the run does.
        made: pattern of the names of what runs write there.

    Raises:
        FileExistsError: the folder is a file, or :func:`note_recipe` has noted another recipe for what is in it.
    """
    folder, recipe = Path(folder), json.loads(json.dumps(recipe))
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; wanted a folder")
    if not (folder / RUN).exists() or not any(folder.glob(made)):
        return
    try:
        found = dict(json.loads((folder / RUN).read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        found = {}
    changed = [
        f"{name} was {reprlib.repr(found.get(name))}, now it is {reprlib.repr(recipe.get(name))}"
        for name in {**found, **recipe}
        if found.get(name) != recipe.get(name)
    ]
    if changed:
        raise FileExistsError(f"{folder} holds the work of another run ({'; '.join(changed)}); write to another folder")


def note_recipe(folder, recipe):
    """Notes in a folder, made if it is missing, how what is written there is made."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUN).unlink(missing_ok=True)  # of a run that came to nothing, or of this one
    with written_whole(folder / RUN) as beside:
        beside.write_text(json.dumps(recipe, indent=1), encoding="utf-8")


def _sign(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find_finished(masks):
    """Those of the masks that are there, by their images; a file in a mask's place that is none of it is an error."""
    from tqdm import tqdm

    there = {path: mask for path, mask in masks.items() if mask.exists()}
    for path, mask in tqdm(there.items(), desc="masks that are there", disable=None, delay=2):
        try:
            with Image.open(mask) as picture:
                signed = getattr(picture, "text", {}).get(IMAGE)
        except OSError:
            signed = None
        if signed is None:
            raise FileExistsError(f"{mask} is there already, which no run has made; nothing is replaced")
        if path.is_file() and signed != _sign(path):
            raise FileExistsError(
                f"{mask} is the mask of another image than {path}, or of what that was before; nothing is "
                "replaced: delete it, or write to another folder"
            )
    return there
