"""What the lessons share: the profile of this machine, a folder for runs, tables of ``bench/``, asserted claims."""

import contextlib
import csv
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Profile:
    """The hyperparameters that are small on two processor cores and large on a GPU.

    Attributes:
        name: ``"cpu"`` or ``"gpu"``.
        dataset: the name that :func:`seglib.data.load` is given.
        size: ``(height, width)`` of the training images, in pixels.
        batch_size: images in a training step.
        filters, depth: channels of the U-Net's first level, and its number of levels.
        epochs: training epochs.
        steps: None, or the most training steps of any training (``SEGLIB_STEPS``). Such a shortened run takes batches
            of four small images whatever the profile: it shows that the code runs, and claims are not asserted.
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
    """The profile of this machine: ``"gpu"`` where Keras sees a GPU, else ``"cpu"``.

    Three environment variables change it. ``SEGLIB_PROFILE`` (``cpu`` or ``gpu``) chooses the profile.
    ``SEGLIB_STEPS`` (a positive integer) shortens every training, with small images. ``SEGLIB_DATASET`` (a name for
    :func:`seglib.data.load`) replaces the dataset; nothing is claimed about another dataset than the profile's own.

    Raises:
        ValueError: ``SEGLIB_PROFILE`` or ``SEGLIB_STEPS`` has another value.
    """
    _run_one_operation_at_a_time()
    name = os.environ.get("SEGLIB_PROFILE") or ("gpu" if _has_gpu() else "cpu")
    if name not in PROFILES:
        raise ValueError(f"SEGLIB_PROFILE must be one of {', '.join(PROFILES)}, got {name!r}")
    steps = os.environ.get("SEGLIB_STEPS") or None
    if steps is not None and (not steps.isdecimal() or int(steps) < 1):
        raise ValueError(f"SEGLIB_STEPS must be an integer of at least 1, got {steps!r}")
    chosen = PROFILES[name]
    if steps is not None:
        small = PROFILES["cpu"]
        chosen = replace(chosen, dataset=small.dataset, size=small.size, batch_size=4, epochs=1, steps=int(steps))
    return replace(chosen, dataset=os.environ.get("SEGLIB_DATASET") or chosen.dataset)


def run_dir(name):
    """The folder of a training of this name, ``build/runs/<name>-<profile>``; made if it is missing.

    Shortened runs and runs on other datasets have folders of their own.

    Raises:
        ValueError: a name with other characters than letters, digits, ``.``, ``_`` and ``-``.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"a run's name is made of letters, digits, '.', '_' and '-', got {name!r}")
    chosen = profile()
    suffix = f"-{chosen.name}" + (f"-{chosen.steps}-steps" if chosen.steps else "")
    if _has_other_dataset(chosen):
        suffix += "-" + re.sub(r"[^\w.-]", "-", chosen.dataset)
    folder = ROOT / "build" / "runs" / (name + suffix)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def measured(name):
    """The table ``bench/<name>.csv`` of results over several seeds, grouped by its first column.

    Returns:
        Mapping from each value of the first column to a mapping from the other columns to lists, one entry a row.

    Raises:
        FileNotFoundError: there is no such table; the message names the script that writes it.
    """
    columns = table(name)
    (_, groups), *others = columns.items()
    found = {}
    for column, values in others:
        for group, value in zip(groups, values, strict=True):
            found.setdefault(group, {}).setdefault(column, []).append(value)
    return found


def table(name):
    """The table ``bench/<name>.csv``: mapping from each column to its values, as floats where all are numbers.

    Raises:
        FileNotFoundError: there is no such table; the message names the script that writes it.
    """
    path = ROOT / "bench" / f"{name}.csv"
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
    """Prints a claim of a lesson with the measured number, in the form that ``make course`` collects, and asserts it.

    Args:
        what: the claim in words, without the numbers.
        measured: the measured number.
        at_least, below: the bound; exactly one of the two.

    Raises:
        AssertionError: the claim does not hold. Shortened runs (``SEGLIB_STEPS``) and runs on another dataset
            (``SEGLIB_DATASET``) assert only that ``measured`` is finite.
    """
    if (at_least is None) == (below is None):
        raise ValueError("a claim has one bound: at_least or below")
    wanted = f"≥ {at_least:g}" if below is None else f"< {below:g}"
    chosen = profile()
    note = ""
    if chosen.steps:
        note = " · not asserted, the run was shortened"
    elif _has_other_dataset(chosen):
        note = f" · not asserted, claimed of {PROFILES[chosen.name].dataset} and not of {chosen.dataset}"
    print(f"claim: {what} · wanted {wanted} · measured {measured:.3f}{note}")
    if not abs(measured) < float("inf"):
        raise AssertionError(f"{what}: measured {measured}, not a finite number")
    holds = measured >= at_least if below is None else measured < below
    if not (holds or note):
        raise AssertionError(f"{what}: wanted {wanted}, measured {measured:.3f}")


def _has_other_dataset(chosen):
    own = PROFILES["cpu" if chosen.steps else chosen.name].dataset
    return chosen.dataset != own


def _run_one_operation_at_a_time():
    """On a processor, TensorFlow then repeats a training to the bit; each operation still uses all cores.

    Two at a time would add the gradients of three or more branches, as of an ASPP, in the order in which they are done.
    """
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # TensorFlow has run before, with another setting
            tf.config.threading.set_inter_op_parallelism_threads(1)


def _has_gpu():
    import keras

    if keras.backend.backend() == "torch":  # its devices Keras does not list
        import torch

        return torch.cuda.is_available()
    return any(device.startswith("gpu") for device in keras.distribution.list_devices())
