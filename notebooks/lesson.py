"""What the lessons share: the machine's profile, a folder for runs, previews, tables of ``bench/``, claims, answers."""

import base64
import contextlib
import csv
import functools
import importlib.util
import os
import re
import socket
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLEAR = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


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
        precision: Keras's dtype policy for the networks that are trained. On a GPU ``"mixed_bfloat16"``, or
            ``"mixed_float16"``, whose loss Keras scales, where the GPU has no bfloat16 (compute capability below 8).
        steps: None, or the most training steps of any training (``SEGLIB_STEPS``). Such a shortened run takes batches
            of four small images whatever the profile: it shows that the code runs, and asserts no claim.
    """

    name: str
    dataset: str
    size: tuple[int, int]
    batch_size: int
    filters: int
    depth: int
    epochs: int
    precision: str = "float32"
    steps: int | None = None


# A GPU's streets are "small": drawn in 28 s on one core, where "full" takes 76 s, and a class waits for them.
PROFILES = {
    "cpu": Profile("cpu", "streets/tiny", (64, 96), batch_size=8, filters=16, depth=4, epochs=16),
    "gpu": Profile("gpu", "streets/small", (128, 192), 8, filters=32, depth=5, epochs=40, precision="mixed_bfloat16"),
}


def profile():
    """The profile of this machine: ``"gpu"`` where Keras sees a GPU, else ``"cpu"``.

    Three environment variables change it. ``SEGLIB_PROFILE`` (``cpu`` or ``gpu``) chooses the profile.
    ``SEGLIB_STEPS`` (a positive integer) shortens every training, with small images. ``SEGLIB_DATASET`` (a name for
    :func:`seglib.data.load`) replaces the dataset; nothing is claimed about another dataset than the profile's own.

    Raises:
        ValueError: ``SEGLIB_PROFILE`` or ``SEGLIB_STEPS`` has another value.
    """
    _leave_the_gpu()
    capability = gpu_capability()
    name = os.environ.get("SEGLIB_PROFILE") or ("gpu" if capability else "cpu")
    if name not in PROFILES:
        raise ValueError(f"SEGLIB_PROFILE must be one of {', '.join(PROFILES)}, got {name!r}")
    steps = os.environ.get("SEGLIB_STEPS") or None
    if steps is not None and (not steps.isdecimal() or int(steps) < 1):
        raise ValueError(f"SEGLIB_STEPS must be an integer of at least 1, got {steps!r}")
    chosen = PROFILES[name]
    if name == "gpu" and not capability:
        _warn_of_no_gpu()
    elif name == "gpu" and capability < (8, 0):
        chosen = replace(chosen, precision="mixed_float16")
    if steps is not None:
        small = PROFILES["cpu"]
        chosen = replace(chosen, dataset=small.dataset, size=small.size, batch_size=4, epochs=1, steps=int(steps))
    return replace(chosen, dataset=os.environ.get("SEGLIB_DATASET") or chosen.dataset)


def run_dir(name):
    """The folder of a training of this name, ``build/runs/<name>-<profile>``; made if it is missing.

    Shortened runs and runs on other datasets have folders of their own. The environment variable ``SEGLIB_RUNS`` names
    another folder than ``build/runs``, such as one on a mounted Drive, which stays when Colab takes the machine away.

    Raises:
        ValueError: a name with other characters than letters, digits, ``.``, ``_`` and ``-``.
        FileNotFoundError: the folder above ``SEGLIB_RUNS`` is not there; on Colab, a Drive that is not mounted.
        OSError: ``SEGLIB_RUNS`` is a file, or a folder that cannot be written.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"a run's name is made of letters, digits, '.', '_' and '-', got {name!r}")
    chosen = profile()
    suffix = f"-{chosen.name}" + (f"-{chosen.steps}-steps" if chosen.steps else "")
    if _has_other_dataset(chosen):
        suffix += "-" + re.sub(r"[^\w.-]", "-", chosen.dataset)
    folder = _runs() / (name + suffix)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"no folder for this training: {error}; SEGLIB_RUNS wants one that can be written") from error
    return folder


def _runs():
    chosen = os.environ.get("SEGLIB_RUNS")
    runs = Path(chosen).expanduser() if chosen else ROOT / "build" / "runs"
    if chosen and not runs.parent.is_dir():  # made here, it would be on the disk that goes with the machine
        raise FileNotFoundError(
            f"SEGLIB_RUNS is {chosen}, and there is no folder {runs.parent}. If it is on a Drive, mount that first: "
            'from google.colab import drive; drive.mount("/content/drive"). Else make the folder, or name another one'
        )
    return runs


def jit_compile():
    """What ``compile`` is told of XLA for a network with large transposed convolutions.

    TensorFlow's XLA may try algorithms for them on a GPU for so long that the training seems to hang
    (keras-team/keras#19061). JAX has no other compiler.
    """
    import keras

    return False if keras.backend.backend() == "tensorflow" else "auto"


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

    It is asserted where its bound was measured: by the profile ``cpu``, on its dataset, in full, under TensorFlow.
    Elsewhere a bound that is missed is a warning on the same line, which names what is different here.

    Args:
        what: the claim in words, without the numbers.
        measured: the measured number.
        at_least, below: the bound; exactly one of the two.

    Raises:
        AssertionError: the claim does not hold where its bound was measured, or ``measured`` is not finite.
    """
    if (at_least is None) == (below is None):
        raise ValueError("a claim has one bound: at_least or below")
    wanted = f"≥ {at_least:g}" if below is None else f"< {below:g}"
    holds = measured >= at_least if below is None else measured < below
    elsewhere = "" if holds else _differences(profile())
    note = f" · warning: missed; the bound was not measured with {elsewhere}" if elsewhere else ""
    print(f"claim: {what} · wanted {wanted} · measured {measured:.3f}{note}")
    if not abs(measured) < float("inf"):
        raise AssertionError(f"{what}: measured {measured}, not a finite number")
    if not (holds or note):
        raise AssertionError(f"{what}: wanted {wanted}, measured {measured:.3f}")


def _differences(chosen):
    """What of this run differs from those in which the claims were measured, in words; empty if nothing does."""
    import keras

    backend = keras.backend.backend()
    return " or ".join(
        words
        for words, differs in (
            (f"a limit of {chosen.steps} steps", chosen.steps),
            (f"the {chosen.name} profile", chosen.name != "cpu"),
            (f"the dataset {chosen.dataset}", _has_other_dataset(chosen)),
            (f"the backend {backend}", backend != "tensorflow"),
        )
        if differs
    )


def show_answer(number, caption):
    """Shows ``figures/<number>.png``, the figure of a lesson's answer, which ``course.py --save`` writes.

    An output is what Colab, Jupyter, GitHub and the pages all show; Colab and GitHub show no attachments. A lesson that
    was never saved shows a single clear pixel.
    """
    from IPython.display import display

    path = ROOT / "notebooks" / "figures" / f"{number}.png"
    png = path.read_bytes() if path.is_file() else base64.b64decode(CLEAR)
    figure = {"image/png": base64.b64encode(png).decode(), "text/plain": caption}
    display(figure, metadata={"image/png": {"alt": caption}}, raw=True)


def find_obstacle(package, host, gigabytes=0):
    """Why a cell with a network from elsewhere cannot run here, as a sentence, within seconds; None if it can.

    Args:
        package: the name under which Python imports the package that it needs.
        host: the address that has the weights, such as ``"www.kaggle.com"``.
        gigabytes: the memory that has to be free, in 10⁹ bytes; it is checked where ``psutil`` is installed.
    """
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed: pip install {package.replace('_', '-')}"
    if gigabytes and importlib.util.find_spec("psutil"):
        import psutil

        if (free := psutil.virtual_memory().available / 1e9) < gigabytes:
            return f"it needs {gigabytes} GB of free memory, and there are {free:.1f}"
    try:
        socket.create_connection((host, 443), timeout=3).close()
    except OSError as error:
        return f"its weights cannot be fetched: {host} does not answer ({error})"
    return None


def preview(images, epochs):
    """A callback that predicts the same few images after some of the epochs, to show how the model learns.

    Draw them with ``viz.show_masks(images, {**preview.columns, "truth": masks}, labels)``.

    Args:
        images: (batch, height, width, 3) in 0–255.
        epochs: after which epochs to predict, counted from 1, beside the last.

    Returns:
        A ``keras.callbacks.Callback``, whose ``columns`` are ``{title: (batch, height, width) int ids}``, such as
        ``{"after epoch 4": …}``.
    """
    import keras
    from keras import ops

    def predict(epoch, logs):
        if epoch + 1 in epochs or epoch + 1 == callback.params["epochs"]:
            logits = callback.model(ops.convert_to_tensor(images), training=False)
            callback.columns[f"after epoch {epoch + 1}"] = ops.convert_to_numpy(ops.argmax(logits, axis=-1))

    callback = keras.callbacks.LambdaCallback(on_epoch_end=predict)
    callback.columns = {}
    return callback


def _has_other_dataset(chosen):
    own = PROFILES["cpu" if chosen.steps else chosen.name].dataset
    return chosen.dataset != own


def _leave_the_gpu():
    """Under another backend TensorFlow only feeds batches, and leaves the GPU and its memory to that backend."""
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        with contextlib.suppress(RuntimeError):  # TensorFlow has it already
            tf.config.set_visible_devices([], "GPU")


@functools.cache  # the machine does not change, and each claim and run_dir asks for the profile
def gpu_capability():
    """NVIDIA's compute capability of the GPU that Keras's backend uses, such as (7, 5) of a T4; None without a GPU."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    if keras.backend.backend() == "jax":
        import jax

        found = next((device for device in jax.devices() if device.platform == "gpu"), None)
        return found and tuple(int(part) for part in found.compute_capability.split("."))
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(found[0]).get("compute_capability", (0, 0)) if found else None


@functools.cache
def _warn_of_no_gpu():
    print(
        "warning: SEGLIB_PROFILE is gpu, and Keras sees no GPU; lessons would take hours. On Colab choose one under "
        "Runtime > Change runtime type, elsewhere set SEGLIB_PROFILE to cpu"
    )
