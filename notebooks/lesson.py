"""What the lessons share: the profile of this machine, a folder for runs, tables of ``bench/``, claims, answers."""

import base64
import contextlib
import csv
import functools
import math
import os
import re
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


def show_receptive_field(stack):
    """How many pixels of a row of the image one value depends on: a row of squares for each layer of a stack.

    The value at the top and all values that it depends on are blue; their number stands at the right. ``stack`` is a
    list of ``(name, kernel, stride)``, the layer that reads the image first; padded to keep the size.
    """
    import matplotlib.pyplot as plt
    import numpy as np

    from seglib import viz

    rows = [("image", 1, 0.0)]  # of each row: its name, the distance of two of its values, and the place of value 0
    for name, kernel, stride in stack:
        _, step, start = rows[-1]
        rows.append((name, step * stride, start + step * ((kernel - 1) / 2 - (kernel - 1) // 2)))
    spans = [(0, 0)]  # of each row: the first and the last value that the one at the top depends on
    for _, kernel, stride in reversed(stack):
        low, high = (value * stride - (kernel - 1) // 2 for value in spans[0])
        spans.insert(0, (low, high + kernel - 1))
    _, axis = plt.subplots(figsize=(9, 0.55 * len(rows) + 0.2), layout="constrained")
    left, right = spans[0][0] - 3, spans[0][1] + 3
    for row, ((_, step, start), (low, high)) in enumerate(zip(rows, spans, strict=True)):
        values = np.arange(math.ceil((left - start) / step), math.floor((right - start) / step) + 1)
        colours = [viz.BLUE if low <= value <= high else "0.88" for value in values]
        axis.bar(start + values * step, 0.4, 0.8 * step, row - 0.2, color=colours)
        if row:  # lines from each blue value to the first and the last value that it is computed from
            (_, kernel, stride), (_, below, offset) = stack[row - 1], rows[row - 1]
            used = np.arange(low, high + 1)
            first = offset + below * (used * stride - (kernel - 1) // 2)
            ends = [first, start + used * step, first + below * (kernel - 1)]
            axis.plot(ends, [row - 0.8, row - 0.2, row - 0.8], color="0.6", linewidth=0.8)
        unit = "pixels" if row == 0 else "values" if high > low else "value"
        axis.text(right + 1.5, row, f"{high - low + 1} {unit}", va="center")
    axis.set(xlim=(left - 0.6, right + 5), ylim=(-0.4, len(rows) - 0.6), xticks=[])
    axis.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def show_deeplab(network):
    """The diagram of the DeepLabV3+ that lesson 05 builds: its tensors for one image, and the operations between them.

    The tensors at stride 4 are in two rows, and the five branches of the pyramid around the row of stride 8.
    """
    from seglib import viz

    encoder, branches, mixed, merged, scores = map(
        network.get_layer, ("encoder", "branches", "pyramid", "merged", "scores")
    )
    low, deep = encoder.compute_output_shape(network.input_shape)
    names = "1×1", "rate 1", "rate 2", "rate 4", "mean"
    places = {"image": (0, 0, network.input_shape), "low-level": (0.65, 1, low), "encoder": (1.25, 4, deep)}
    pairs = zip(names, branches.input, strict=True)
    places |= {name: (2.05, 2.9 + 0.55 * i, x.shape) for i, (name, x) in enumerate(pairs)}
    places |= {"branches": (2.85, 4, branches.output.shape), "pyramid": (3.55, 4, mixed.output.shape)}
    places |= {"48 channels": (2.85, 1, merged.input[1].shape), "upsampled": (4.1, 2, merged.input[0].shape)}
    places |= {"merged": (4.7, 1, merged.output.shape), "decoder": (5.35, 1, scores.input.shape)}
    places |= {"scores": (5.95, 1, scores.output.shape), "logits": (6.45, 0, network.output_shape)}
    boxes = {name: (column, row, shape[1:]) for name, (column, row, shape) in places.items()}

    backbone, one, joined, larger = "MobileNetV2", "1×1 convolution", "concatenation", "bilinear upsampling"
    pooled = "global average pooling, 1×1 convolution, upsampling"
    arrows = [("image", "low-level", backbone), ("low-level", "encoder", backbone), ("encoder", "1×1", one)]
    arrows += [("encoder", f"rate {rate}", "3×3 atrous convolution") for rate in (1, 2, 4)]
    arrows += [("encoder", "mean", pooled), ("branches", "pyramid", one), ("low-level", "48 channels", one)]
    arrows += [(name, "branches", joined) for name in names]
    arrows += [("pyramid", "upsampled", larger), ("upsampled", "merged", joined), ("48 channels", "merged", joined)]
    arrows += [("merged", "decoder", "two 3×3 convolutions"), ("decoder", "scores", one), ("scores", "logits", larger)]
    viz.show_network(boxes, arrows, ["stride 1", "stride 4", "stride 4", "", "stride 8"])


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
