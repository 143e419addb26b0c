"""Model files that are opened with care, and folders of images, done once and gone on with."""

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import keras

from seglib import layers  # noqa: F401, importing it registers the layers that a saved model is made of
from seglib.images import ImageError, write_mask, written_whole
from seglib.labels import LabelMap
from seglib.predict.looks import segment

RUN = "run.json"  # what a folder of masks says of how they were made
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
            code is whatever its author wrote, or layers that neither Keras nor seglib knows.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path}: not a model of Keras 3 ({path.stat().st_size} bytes); wanted a whole .keras file")
    try:
        with zipfile.ZipFile(path) as archive:
            config = archive.read("config.json").decode("utf-8")
        if '"__lambda__"' in config:
            raise ModelError(f"{path}: holds code of its own (a Lambda layer), which would run unseen; refused")
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except ModelError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(f"{path}: no model that can be opened: {reason}") from error


def find_labels(path, num_classes, file=None):
    """The label map of a model's file: what ``LabelMap.save`` wrote to ``labels.json`` beside it.

    Args:
        path: of the model. num_classes: how many it tells apart.
        file: of the label map, if it lies elsewhere.

    Returns:
        A :class:`~seglib.labels.LabelMap`; where there is no file, one of "class 0", "class 1" and so on.

    Raises:
        ValueError: a file that is no label map, or one of another number of classes.
    """
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
    done. An image that cannot be read is reported in the end and does not stop the others.

    Args:
        model: as in :func:`segment`.
        paths: image files; no two of the same stem, whose masks would be one file.
        out: the folder for the masks; made if it is missing.
        labels: the :class:`~seglib.labels.LabelMap` whose colours the masks are painted in.
        look: ``look(model, path)`` → (height, width) uint8 ids, such as :func:`segment` or a function around
            :func:`tiled`, with its settings.
        recipe: JSON that says how masks are made, the model's file and the settings of ``look``. It is kept with them,
            and a folder of another recipe is not gone on with.

    Returns:
        :class:`Run`.

    Raises:
        FileExistsError: the folder holds masks of another recipe, or files of these names that no run has made.
        ValueError: two images of one stem, or none at all.
        OSError: a mask cannot be written, as on a full disk; those before it are whole.
    """
    from tqdm import tqdm

    paths, out = [Path(path) for path in paths], Path(out)
    if not paths:
        raise ValueError("there is no image to segment")
    stems = Counter(path.stem for path in paths)
    twice = [str(path) for path in paths if stems[path.stem] > 1]
    if twice:
        raise ValueError(f"images of the same name would share a mask: {', '.join(twice[:4])}; do them one by one")
    masks = {path: out / f"{path.stem}.png" for path in paths}
    _claim(out, masks.values(), {"recipe": recipe, "classes": labels.names})
    run = Run([], [], {})
    for path, mask in tqdm(masks.items(), desc="images", disable=None, delay=2):
        if mask.exists():
            run.kept.append(mask)
            continue
        try:
            ids = look(model, path)
        except ImageError as error:
            run.failed[path] = str(error)
            continue
        write_mask(mask, ids, labels)
        run.written.append(mask)
    return run


def _claim(out, masks, recipe):
    """Makes the folder this run's own, or sees that it is."""
    out.mkdir(parents=True, exist_ok=True)
    note, recipe = out / RUN, json.loads(json.dumps(recipe))
    if note.exists():
        try:
            found = json.loads(note.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found != recipe:
            raise FileExistsError(f"{out} holds masks of another run ({RUN} says {found}, wanted {recipe})")
        return
    there = [mask.name for mask in masks if mask.exists()]
    if there:
        raise FileExistsError(f"{out} holds {', '.join(there[:4])} already, which no run has made; nothing is replaced")
    with written_whole(note) as beside:
        beside.write_text(json.dumps(recipe, indent=1), encoding="utf-8")
