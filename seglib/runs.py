"""What made the files in a folder: kept in its ``run.json``, and compared before another run writes there."""

import hashlib
import json
import os
import re
import reprlib
import zipfile
from pathlib import Path

import keras
from keras import ops

RUN = "run.json"
NOTE = "seglib.json"  # in a .keras file, which is a ZIP archive: Keras leaves it alone


def describe_model(model, *more):
    """A Keras model's configuration and the shapes of its weights as text, with the ``repr`` of whatever else is given.

    A model that is built a second time has the same description: the numbers that Keras appends to names are left out.
    """
    try:
        config = model.get_config()
    except NotImplementedError:  # a subclass that does not say how it is made
        config = type(model).__name__
    shapes = [tuple(weight.shape) for weight in model.weights]
    return re.sub(r"_\d+'", "'", repr((config, shapes, *more)))


def fingerprint(model):
    """The SHA-256 of a ``keras.Model``'s architecture and weights, as 64 hexadecimal digits; else a ValueError."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"wanted a keras.Model, whose weights can be read; got {type(model).__name__}")
    digest = hashlib.sha256(describe_model(model).encode())
    for weight in model.weights:
        digest.update(ops.convert_to_numpy(weight).tobytes())
    return digest.hexdigest()


def sign_file(path):
    """The SHA-256 of a file's content, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sign_names(paths):
    """The SHA-256 of the names and sizes of files, in this order, as 64 hexadecimal digits: quick for a data set."""
    described = [(path.name, path.stat().st_size if path.is_file() else None) for path in map(Path, paths)]
    return hashlib.sha256(repr(described).encode()).hexdigest()


def check_recipe(folder, recipe, *made):
    """Refuses a folder that holds files, by patterns of their names such as ``"*.png"``, which another recipe made.

    A recipe is a mapping, as for ``json.dump``, of all that decides what a run writes. Raises FileExistsError where the
    folder's ``run.json`` is missing, damaged or another recipe: the message names the values that differ.
    """
    folder, recipe = Path(folder), json.loads(json.dumps(recipe))
    there = [path.name for pattern in made for path in folder.glob(pattern) if not path.name.startswith(".")]
    if not there:
        return
    if not (folder / RUN).exists():
        raise FileExistsError(f"{folder} holds {there[0]}, but no {RUN} that says how it was made; use another folder")
    try:
        found = dict(json.loads((folder / RUN).read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise FileExistsError(f"{folder / RUN} is damaged ({error}); write to another folder") from None
    if changed := [name for name in found | recipe if found.get(name) != recipe.get(name)]:
        was, now = ([reprlib.repr(values.get(name)) for name in changed] for values in (found, recipe))
        told = "; ".join(map("{} was {}, now it is {}".format, changed, was, now))
        raise FileExistsError(f"{folder} holds the files of another run ({told}); use another folder")


def note_recipe(folder, recipe):
    """Writes a recipe to the folder's ``run.json``, as a whole or not at all; makes the folder if it is missing."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{RUN}.{os.urandom(8).hex()}.part"  # of this process alone: several may write at once
    beside.write_text(json.dumps(recipe, indent=1), encoding="utf-8")
    os.replace(beside, folder / RUN)


def attach_note(path, note):
    """Puts a mapping, as for ``json.dump``, into a ``.keras`` file that has none yet."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(NOTE, json.dumps(note))


def read_note(path):
    """What :func:`attach_note` put into a ``.keras`` file; an empty mapping for any other file."""
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(NOTE)) if NOTE in archive.namelist() else {}
