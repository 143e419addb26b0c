"""What a lesson takes from where it runs: the profile, the folders, measured tables, and claims that are asserted."""

import contextlib
import csv
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Profile:
    """What is small on two processor cores and large on a GPU, decided here and nowhere else.

    Attributes:
        name: ``"cpu"`` or ``"gpu"``.
        dataset: what :func:`seglib.data.load` is asked for.
        size: ``(height, width)`` of the images that the model is trained on.
        batch_size: images in a step.
        filters, depth: width of the U-Net's first level, and its number of levels.
        epochs: passes over the training images.
        steps: None, or at most so many training steps (``SEGLIB_STEPS``), of four images each: then nothing is learnt
            and claims are printed but not asserted; nor are they on another dataset than the profile's own
            (``SEGLIB_DATASET``).
    """

    name: str
    dataset: str
    size: tuple[int, int]
    batch_size: int
    filters: int
    depth: int
    epochs: int
    steps: int | None = None


PROFILES = {
    "cpu": Profile("cpu", "streets/tiny", (64, 96), batch_size=8, filters=16, depth=4, epochs=16),
    "gpu": Profile("gpu", "streets/full", (256, 384), batch_size=8, filters=32, depth=5, epochs=40),
}


def profile():
    """The profile of this machine: ``"gpu"`` where Keras sees one, else ``"cpu"``.

    ``SEGLIB_PROFILE`` (``cpu`` or ``gpu``) overrules what is seen, ``SEGLIB_STEPS`` (a positive whole number)
    shortens all training and its batches, ``SEGLIB_DATASET`` (a name for :func:`seglib.data.load`, which also says
    which names there are) replaces the profile's dataset and leaves its image size. There are no other switches.

    Raises:
        ValueError: profile or steps are set to something else.
    """
    name = os.environ.get("SEGLIB_PROFILE") or ("gpu" if _has_gpu() else "cpu")
    if name not in PROFILES:
        raise ValueError(f"SEGLIB_PROFILE must be one of {', '.join(PROFILES)}, got {name!r}")
    steps = os.environ.get("SEGLIB_STEPS") or None
    if steps is not None and (not steps.isdecimal() or int(steps) < 1):
        raise ValueError(f"SEGLIB_STEPS must be a whole number of at least 1, got {steps!r}")
    chosen = replace(PROFILES[name], dataset=os.environ.get("SEGLIB_DATASET") or PROFILES[name].dataset)
    return chosen if steps is None else replace(chosen, steps=int(steps), epochs=1, batch_size=4)


def data_dir():
    """Where datasets are kept: ``data/`` of the checkout, or ``~/tensorflow_datasets`` where there is none."""
    root = _checkout()
    return root / "data" if root else Path.home() / "tensorflow_datasets"


def run_dir(name):
    """Where a lesson keeps what it trained under this name: ``build/runs/<name>``; made if it is missing.

    Shortened runs, those of other profiles and those on other datasets get folders of their own, so that none is
    mistaken for the real thing.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"a run's name is made of letters, digits, '.', '_' and '-', got {name!r}")
    chosen = profile()
    suffix = f"-{chosen.name}" + (f"-{chosen.steps}-steps" if chosen.steps else "")
    if _has_other_dataset(chosen):
        suffix += "-" + re.sub(r"[^\w.-]", "-", chosen.dataset)
    folder = (_checkout() or Path.cwd()) / "build" / "runs" / (name + suffix)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def measured(name):
    """What ``bench/<name>.py`` measured over several seeds and left in its table, ``bench/<name>.csv``.

    Returns:
        A mapping from each value of the table's first column to a mapping from the other columns to their values, as
        floats, one a row.

    Raises:
        FileNotFoundError: there is no such table; the message says what makes it.
    """
    columns = table(name)
    (_, groups), *others = columns.items()
    found = {}
    for column, values in others:
        for group, value in zip(groups, values, strict=True):
            found.setdefault(group, {}).setdefault(column, []).append(value)
    return found


def table(name):
    """The columns of ``bench/<name>.csv``: a mapping from each to its values, floats where all of them are numbers.

    Raises:
        FileNotFoundError: as for :func:`measured`.
    """
    path = Path(__file__).resolve().parents[1] / "bench" / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; python bench/{name}.py writes it")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = {column: [row[column] for row in rows] for column in rows[0]}
    for column, values in columns.items():
        with contextlib.suppress(ValueError):
            columns[column] = [float(value) for value in values]
    return columns


def claim(what, measured, at_least=None, below=None):
    """Asserts what a lesson claims, and prints it in the one form that the course's summary reads.

    Args:
        what: the claim in words, without the numbers.
        measured: the number measured.
        at_least, below: the bound; exactly one of them.

    Raises:
        AssertionError: the claim does not hold. Runs shortened by ``SEGLIB_STEPS`` have learnt nothing, and nothing
            was claimed about the dataset of ``SEGLIB_DATASET``; both print the line and assert only that ``measured``
            is a finite number.
    """
    if (at_least is None) == (below is None):
        raise ValueError("a claim has one bound: at_least or below")
    wanted = f"≥ {at_least:g}" if below is None else f"< {below:g}"
    chosen = profile()
    note = " · not asserted, the run was shortened" if chosen.steps else ""
    if _has_other_dataset(chosen):
        note = f" · not asserted, claimed of {PROFILES[chosen.name].dataset} and not of {chosen.dataset}"
    print(f"claim: {what} · wanted {wanted} · measured {measured:.3f}{note}")
    if not abs(measured) < float("inf"):
        raise AssertionError(f"{what}: measured {measured}, not a finite number")
    holds = measured >= at_least if below is None else measured < below
    if not (holds or note):
        raise AssertionError(f"{what}: wanted {wanted}, measured {measured:.3f}")


def _has_other_dataset(chosen):
    return chosen.dataset != PROFILES[chosen.name].dataset


def _checkout():
    root = Path(__file__).resolve().parents[1]
    return root if (root / "notebooks").is_dir() and (root / "data").is_dir() else None


def _has_gpu():
    import keras

    return bool(keras.distribution.list_devices("gpu"))
