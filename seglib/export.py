"""A trained model for other runtimes: SavedModel, LiteRT and ONNX files, run and compared with the Keras model."""

import contextlib
import logging
import os
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from seglib.metrics import confusion_matrix, mean_iou

ENDINGS = {"saved_model": "", "onnx": ".onnx"} | dict.fromkeys(("litert", "litert_float16", "litert_int8"), ".tflite")


def save(model, path, format, representative=None, size=None):
    """Writes a model in a format that runs without Keras and without this package, whole or not at all.

    Args:
        model: a model with one input, (batch, height, width, 3) in 0–255, and one output, trained in any precision.
        path: where to; nothing may be there. Folders above it are made.
        format: ``"saved_model"``, a folder for TensorFlow and TensorFlow Serving; ``"onnx"``, for ONNX Runtime and
            most others; or, for LiteRT (TensorFlow Lite) on phones and small boards, ``"litert"`` with float32 weights,
            ``"litert_float16"`` at half the size, which become float32 when the file is opened, or ``"litert_int8"``
            with weights and feature maps of int8 (Jacob et al. 2018, section 2) at a quarter.
        representative: for ``litert_int8``, some 100 (height, width, 3) images in 0–255 of the training split, of the
            size that the file will see: the range of every feature map is measured on them.
        size: ``(height, width)`` of the images that the file will take, as phones want it. None: as the model.

    Returns:
        The path. A LiteRT file takes one image at a time, the others a batch of any number; all give float32.

    Raises:
        ValueError: a format, ending, size or images other than described.
        FileExistsError: something is at the path.
        ImportError: a library is missing; the message says what to install.
        RuntimeError: Keras runs on another backend than TensorFlow, which does the exporting.
    """
    path = Path(path)
    if format not in ENDINGS:
        raise ValueError(f"format must be one of {', '.join(ENDINGS)}; got {format!r}")
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"set KERAS_BACKEND=tensorflow to export models; it is {keras.backend.backend()}")
    if not path.name.endswith(ENDINGS[format]):
        raise ValueError(f"{path}: format {format!r} wants {ENDINGS[format]} at the end of the name")
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already; delete it, or choose another name")
    shape = (1 if path.suffix == ".tflite" else None, *(size or model.input_shape[1:3]), 3)
    images = _to_images(representative, shape[1:]) if format == "litert_int8" else None
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder, _quiet(path):
        _write(_fix_input(model, shape), f"{folder}/{path.name}", format, images)
        os.replace(f"{folder}/{path.name}", path)
    return path


def _to_images(representative, shape):
    images = [] if representative is None else [np.asarray(image, np.float32)[None] for image in representative]
    found = {image.shape[1:] for image in images} or "none"
    if not images or (None not in shape and found != {shape}):
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
    options = {}
    if format == "onnx":
        import tf2onnx  # noqa: F401, which Keras asks for late
    else:  # Keras would leave operations that LiteRT lacks to TensorFlow; here they are refused
        target = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
        options = {"target_spec": target, "optimizations": [] if format == "litert" else [tf.lite.Optimize.DEFAULT]}
    if format == "litert_float16":
        target["supported_types"] = [tf.float16]
    elif format == "litert_int8":
        target["supported_ops"] = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        options["representative_dataset"] = lambda: ([image] for image in images)
    spec = keras.InputSpec(shape=model.input_shape, dtype="float32", name="image")
    model.export(path, format.partition("_")[0], verbose=False, input_signature=[spec], **options)


class Runner(NamedTuple):
    """An exported model in its own runtime, in place of a Keras model: ``segment(load("unet.onnx"), image)``."""

    path: str | Path
    size: int  # bytes of the file or folder
    format: str  # as in save, read off the file
    input_shape: tuple  # (batch, height, width, 3); None where the file takes any number
    run: Callable  # from a batch of that shape to its logits

    def predict_on_batch(self, images):
        """(batch, height, width, 3) in 0–255 → (batch, height, width, num_classes) logits; refuses other sizes."""
        images, wanted = np.asarray(images, np.float32), (None, *self.input_shape[1:])
        if images.ndim != 4 or any(w not in (None, n) for w, n in zip(wanted, images.shape, strict=True)):
            raise ValueError(f"{self.path} takes images {wanted}, got {images.shape}")
        step = self.input_shape[0] or len(images)
        return np.concatenate([self.run(images[i : i + step]) for i in range(0, len(images), step)])


def load(path):
    """Opens what :func:`save` has written as a :class:`Runner`, with TensorFlow, LiteRT or ONNX Runtime.

    Raises ImportError where that is missing, with what to install, and what it raises for a file that it cannot open.
    """
    opener = {".tflite": _open_litert, ".onnx": _open_onnx}.get(Path(path).suffix, _open_saved_model)
    with _quiet(path):
        format, shape, run = opener(str(path))
    size = sum(file.stat().st_size for file in [Path(path), *Path(path).rglob("*")] if file.is_file())
    return Runner(path, size, format, tuple(n if isinstance(n, int) and n > 0 else None for n in shape), run)


def _open_saved_model(path):
    import tensorflow as tf

    module = tf.saved_model.load(path)
    shape = module.signatures["serving_default"].inputs[0].shape.as_list()
    return "saved_model", shape, lambda images: module.serve(tf.constant(images)).numpy()


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
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
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
        model, paths: the Keras model, and the files that :func:`save` wrote of it.
        batches: iterable of ``(images, masks)``: (batch, height, width, 3) in 0–255 and (batch, height, width) ids,
            as ``dataset.batches("test", size, batch_size=1)`` gives them; ValueError for images of another size.
        ignore_id: the id of pixels that are not scored.

    Returns:
        A list of :class:`Parity`, the Keras model first; :func:`table` makes a text of it.
    """
    in_keras = Runner("the model", 4 * model.count_params(), "keras", model.input_shape, model.predict_on_batch)
    runners = [in_keras, *map(load, paths)]
    largest, images, classes = np.zeros(len(runners)), (), model.output_shape[-1]
    matrices = np.zeros((len(runners), classes, classes), int)
    for images, masks in batches:
        outputs = [runner.predict_on_batch(np.asarray(images)) for runner in runners]
        largest = np.maximum(largest, [np.abs(logits - outputs[0]).max() for logits in outputs])
        matrices += [confusion_matrix(masks, logits.argmax(-1), classes, ignore_id) for logits in outputs]
    image, mious, rows = np.asarray(images[:1]), mean_iou(matrices).tolist(), []
    for runner, miou, difference in zip(runners, mious, largest, strict=True):
        seconds = timeit.repeat("runner.predict_on_batch(image)", number=1, repeat=13, globals=locals())
        share, milliseconds = runner.size / in_keras.size, 1000 * float(np.median(seconds[3:]))
        rows.append(Parity(runner.format, miou, miou - mious[0], float(difference), runner.size, share, milliseconds))
    return rows


def table(rows):
    """The rows of :func:`parity` as text, one line each, under a line that names the columns."""
    lines = [f"{'format':<15}{'mIoU':>8}{'difference':>12}{'logits differ':>15}{'size':>12}{'share':>8}{'time':>11}"]
    for row in rows:
        scores = f"{row.format:<15}{row.miou:>8.4f}{row.miou_difference:>+12.4f}{row.largest_difference:>15.2g}"
        lines.append(f"{scores}{row.size / 1000:>9,.0f} kB{row.share:>8.0%}{row.milliseconds:>8.1f} ms")
    return "\n".join(lines)


@contextlib.contextmanager
def _quiet(path):
    """Silences Python and the C++ of the converters; an error gets the file's name, and what to install."""
    disabled, handlers = logging.root.manager.disable, logging.root.handlers[:]
    streams = {number: os.dup(number) for number in (1, 2)}
    logging.disable(logging.CRITICAL)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        for number in streams:  # in a notebook Python prints elsewhere
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
            logging.root.handlers = handlers  # tf2onnx adds one, which would write to nowhere
            for number, stream in streams.items():
                os.dup2(stream, number)
                os.close(stream)
