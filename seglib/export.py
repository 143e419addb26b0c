"""A trained model for other runtimes: SavedModel, LiteRT and ONNX files, run and compared with the Keras model."""

import contextlib
import functools
import importlib
import logging
import os
import tempfile
import timeit
import warnings
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from seglib.metrics import ConfusionMatrix

LITERT = ("litert", "litert_float16", "litert_int8")
# What the name of each format's file ends in; a SavedModel is a folder.
ENDINGS = {"saved_model": "", "onnx": ".onnx", **dict.fromkeys(LITERT, ".tflite")}


def save(model, path, format, representative=None, size=None):
    """Writes a model in a format that runs without Keras and without this package, whole or not at all.

    ================== =========== =================================================================================
    format             file        what it holds
    ================== =========== =================================================================================
    ``saved_model``    a folder    float32 weights, for TensorFlow and TensorFlow Serving
    ``litert``         ``.tflite`` float32 weights, for phones and small boards; LiteRT was called TensorFlow Lite
    ``litert_float16`` ``.tflite`` float16 weights, half the size; they become float32 when the file is opened
    ``litert_int8``    ``.tflite`` int8 weights and feature maps, about a quarter of the size (Jacob et al. 2018,
                                   section 2); inputs and outputs are float32 all the same
    ``onnx``           ``.onnx``   float32 weights, for ONNX Runtime and most others
    ================== =========== =================================================================================

    Args:
        model: a model with one input, (batch, height, width, 3) in 0–255, and one output. A model trained in mixed
            precision is written with its float32 weights and computes in float32.
        path: where to; nothing may be there. Folders above it are made.
        format: one of the table's.
        representative: for ``litert_int8``, some 100 (height, width, 3) images in 0–255 of the training split, of the
            size that the file will see: the range of every feature map is measured on them.
        size: ``(height, width)`` of the images that the file will take, as phones want it. None: as the model, whose
            height and width may be unknown: then the file takes any size.

    Returns:
        The path. A LiteRT file takes one image at a time, the others a batch of any number.

    Raises:
        ValueError: a format, ending, size or images other than described.
        FileExistsError: something is at the path.
        ImportError: a library is missing; the message says what to install.
        RuntimeError: Keras runs on another backend than TensorFlow, which does the exporting.
    """
    path = Path(path)
    _check_target(path, format)
    shape = (1 if format in LITERT else None, *(size or model.input_shape[1:3]), 3)
    images = _to_images(representative, shape[1:]) if format == "litert_int8" else None
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder, _quiet(path):
        beside = Path(folder) / path.name
        _write(_fix_input(model, shape), str(beside), format, images)
        os.replace(beside, path)
    return path


def _check_target(path, format):
    if format not in ENDINGS:
        raise ValueError(f"format must be one of {', '.join(ENDINGS)}; got {format!r}")
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise RuntimeError(f"TensorFlow exports models: load this one under KERAS_BACKEND=tensorflow, not {backend}")
    if not path.name.endswith(ENDINGS[format]):
        raise ValueError(f"{path}: format {format!r} wants {ENDINGS[format]} at the end of the name")
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already; delete it, or choose another name")


def _fits(shape, wanted):
    """Whether a shape is the wanted one, in which None stands for any length."""
    return len(shape) == len(wanted) and all(w in (None, n) for n, w in zip(shape, wanted, strict=True))


def _to_images(representative, shape):
    """The images that an int8 model is calibrated on, each (1, height, width, 3) float32."""
    images = [np.asarray(image, np.float32)[None] for image in ([] if representative is None else representative)]
    if not images or not all(_fits(image.shape[1:], shape) for image in images):
        found = {image.shape[1:] for image in images} or "none"
        raise ValueError(f"litert_int8 wants representative=, images of shape {shape}; got {found}")
    low, high = np.min([image.min() for image in images]), np.max([image.max() for image in images])
    if not (0 <= low and 1 < high <= 255):
        raise ValueError(f"representative images are in 0–255, not scaled; these are in {low:g} to {high:g}")
    return images


def _fix_input(model, shape):
    """The model with an input of this shape (Keras 3.13 ignores the signature), computing in float32."""

    def to_float32(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    layers = [inner for layer in model.layers for inner in getattr(layer, "layers", [layer])]
    if any(layer.compute_dtype != "float32" for layer in layers):  # the converters do not take mixed precision
        weights = model.get_weights()
        model = keras.models.clone_model(model, clone_function=to_float32, recursive=True)
        model.set_weights(weights)
    image = keras.Input(batch_shape=shape, name="image")
    return keras.Model(image, model(image, training=False))


def _write(model, path, format, images):
    import tensorflow as tf

    if format == "saved_model":
        served = tf.Module()  # model.export of Keras 3.15 writes every weight twice
        served.weights = [variable.value for variable in model.variables]
        spec = tf.TensorSpec(model.input_shape, tf.float32, name="image")
        served.serve = tf.function(lambda image: model(image, training=False), input_signature=[spec])
        tf.saved_model.save(served, path, signatures=served.serve)
        return
    for library in ("onnx", "tf2onnx") if format == "onnx" else ():
        importlib.import_module(library)  # Keras needs both, and asks for one of them late
    # Keras would leave operations that LiteRT lacks to TensorFlow; here they are refused.
    options = {"target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}} if format in LITERT else {}
    if format in ("litert_float16", "litert_int8"):
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if format == "litert_float16":
        options["target_spec"]["supported_types"] = [tf.float16]
    if format == "litert_int8":
        options["target_spec"]["supported_ops"] = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        options["representative_dataset"] = lambda: ([image] for image in images)
    spec = keras.InputSpec(shape=model.input_shape, dtype="float32", name="image")
    model.export(path, format.partition("_")[0], verbose=False, input_signature=[spec], **options)


class Runner:
    """An exported model in its own runtime, in place of a Keras model; :func:`load` makes it.

    ``predict.segment(export.load("unet.tflite"), image)``.

    Attributes:
        path: of the file.
        format: as in :func:`save`, read off the file.
        input_shape: (batch, height, width, 3); None where the file takes any number.
    """

    def __init__(self, path, format, input_shape, run):
        self.path, self.format, self._run = path, format, run
        self.input_shape = tuple(n if isinstance(n, int) and n > 0 else None for n in input_shape)

    def predict_on_batch(self, images):
        """The logits, (batch, height, width, num_classes) float32, of (batch, height, width, 3) images in 0–255.

        Raises:
            ValueError: images of another shape than the file takes.
        """
        images, wanted = np.asarray(images, np.float32), (None, *self.input_shape[1:])
        if not _fits(images.shape, wanted):
            raise ValueError(f"{self.path} takes images {wanted}, got {images.shape}")
        step = self.input_shape[0] or len(images)
        return np.concatenate([self._run(images[i : i + step]) for i in range(0, len(images), step)])


def load(path):
    """Opens what :func:`save` has written, with TensorFlow, LiteRT (ai-edge-litert) or ONNX Runtime.

    Args:
        path: a folder (SavedModel), or a file whose name ends in ``.tflite`` or ``.onnx``.

    Returns:
        A :class:`Runner`.

    Raises:
        ImportError: the runtime is missing; the message says what to install.
        Exception: whatever the runtime raises for a file that is missing or is not what its name says.
    """
    openers = {".tflite": _open_litert, ".onnx": _open_onnx}
    with _quiet(path):
        return Runner(path, *openers.get(Path(path).suffix, _open_saved_model)(str(path)))


def _open_saved_model(path):
    import tensorflow as tf

    module = tf.saved_model.load(path)
    serve = module.signatures["serving_default"]
    ((name, spec),) = serve.structured_input_signature[1].items()

    def run(images):
        (logits,) = serve(**{name: tf.constant(images)}).values()
        return logits.numpy()

    run.module = module  # which goes, and its weights with it, when nobody holds it
    return "saved_model", spec.shape.as_list(), run


def _open_litert(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    interpreter.allocate_tensors()
    ((taken,), (given,)) = interpreter.get_input_details(), interpreter.get_output_details()
    types = {detail["dtype"] for detail in interpreter.get_tensor_details()}
    format = "litert_int8" if np.int8 in types else "litert_float16" if np.float16 in types else "litert"

    def run(images):
        if images.shape != tuple(interpreter.get_input_details()[0]["shape"]):
            interpreter.resize_tensor_input(taken["index"], images.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(given["index"])

    return format, taken["shape_signature"].tolist(), run


def _open_onnx(path):
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.log_severity_level = 4  # errors are raised as well
    session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    return "onnx", taken.shape, lambda images: session.run(None, {taken.name: images})[0]


class Parity(NamedTuple):
    """One exported file compared with the Keras model, as :func:`parity` finds it."""

    format: str  # as in save; "keras" is the model itself
    miou: float  # mean IoU over the images, in [0, 1]
    miou_difference: float  # from that of the Keras model
    largest_difference: float  # of a logit from the Keras model's, over all pixels, classes and images
    size: int  # bytes of the file or folder; for the Keras model, of its float32 weights
    share: float  # size divided by the bytes of the float32 weights
    milliseconds: float  # for one image: median of 10 runs after 3 for warming up, with the runtime's default threads


def parity(model, paths, batches, ignore_id=255):
    """Compares exported files, each in its own runtime, with the Keras model on the same images.

    Args:
        model: the Keras model.
        paths: of the files that :func:`save` wrote of it.
        batches: iterable of ``(images, masks)``: (batch, height, width, 3) in 0–255 and (batch, height, width) ids,
            as ``dataset.batches("test", size, batch_size=1)`` gives them.
        ignore_id: the id of pixels that are not scored.

    Returns:
        A list of :class:`Parity`, the Keras model first; :func:`table` makes a text of it.

    Raises:
        ValueError: a file that takes images of another size; no batch.
    """
    runners = [model, *map(load, paths)]
    scores = [ConfusionMatrix(model.output_shape[-1], ignore_id) for _ in runners]
    largest, images = np.zeros(len(runners)), ()
    for images, masks in batches:
        outputs = [runner.predict_on_batch(np.asarray(images)) for runner in runners]
        largest = np.maximum(largest, [np.abs(logits - outputs[0]).max() for logits in outputs])
        for score, logits in zip(scores, outputs, strict=True):
            score.update_state(masks, logits)
    if not len(images):
        raise ValueError("batches holds no images; files are compared on at least one")
    weights, image, rows = 4 * model.count_params(), np.asarray(images[:1]), []
    sizes = [weights, *map(_size_of, paths)]
    for runner, score, difference, size in zip(runners, scores, largest, sizes, strict=True):
        format, miou = getattr(runner, "format", "keras"), float(score.mean_iou())
        change = miou - rows[0].miou if rows else 0.0
        seconds = timeit.repeat(functools.partial(runner.predict_on_batch, image), number=1, repeat=13)
        milliseconds = 1000 * float(np.median(seconds[3:]))
        rows.append(Parity(format, miou, change, float(difference), size, size / weights, milliseconds))
    return rows


def table(rows):
    """The rows of :func:`parity` as text, one line each, under a line that names the columns."""
    lines = [f"{'format':<15}{'mIoU':>8}{'difference':>12}{'logits differ':>15}{'size':>12}{'share':>8}{'time':>11}"]
    for row in rows:
        scores = f"{row.format:<15}{row.miou:>8.4f}{row.miou_difference:>+12.4f}{row.largest_difference:>15.2g}"
        lines.append(f"{scores}{row.size / 1000:>9,.0f} kB{row.share:>8.0%}{row.milliseconds:>8.1f} ms")
    return "\n".join(lines)


def _size_of(path):
    return sum(file.stat().st_size for file in [Path(path), *Path(path).rglob("*")] if file.is_file())


@contextlib.contextmanager
def _quiet(path):
    """Nothing is printed meanwhile, neither by Python nor by the C++ of the converters; names a library that lacks."""
    streams, handlers, disabled = [os.dup(1), os.dup(2)], logging.root.handlers[:], logging.root.manager.disable
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),  # which is not always file 1: in a notebook it is a socket
        contextlib.redirect_stderr(nowhere),
        warnings.catch_warnings(action="ignore"),
    ):
        logging.disable(logging.CRITICAL)
        for number in (1, 2):
            os.dup2(nowhere.fileno(), number)
        try:
            yield
        except ImportError as error:
            raise ImportError(f'{path} wants a library: pip install "seglib[export]" ({error})') from error
        except Exception as error:
            error.add_note(f"the file was {path}")
            raise
        finally:
            logging.disable(disabled)
            logging.root.handlers = handlers  # tf2onnx adds one
            for number, stream in enumerate(streams, 1):
                os.dup2(stream, number)
                os.close(stream)
