"""An exported model in its own runtime: nothing of Keras is left in it."""

from pathlib import Path

import numpy as np

from seglib.export.optional import need, quiet


class Runner:
    """An exported model: ``runner(images)`` are its logits. :func:`load` makes it.

    It can stand where a Keras model stands that is only asked: ``predict.segment(export.load("unet.tflite"), photo)``.

    Attributes:
        path: of the file.
        format: as in :func:`save`, read off the file.
        input_shape: (batch, height, width, 3); None where the file takes any number.
    """

    def __init__(self, path, format, input_shape, run):
        self.path, self.format, self._run = path, format, run
        self.input_shape = tuple(n if isinstance(n, int) and n > 0 else None for n in input_shape)
        if len(self.input_shape) != 4 or self.input_shape[-1] != 3:
            raise ValueError(f"{path}: it takes {self.input_shape}; wanted images, (batch, height, width, 3)")

    def __call__(self, images):
        """The logits of images.

        Args:
            images: (batch, height, width, 3) in 0–255, at least one, of the file's height and width.

        Returns:
            (batch, height, width, num_classes) float32.

        Raises:
            ValueError: another shape.
        """
        images = np.asarray(images, np.float32)
        wanted = self.input_shape[1:]
        fits = images.ndim == 4 and all(w in (None, n) for w, n in zip(wanted, images.shape[1:], strict=True))
        if not fits or 0 in images.shape:
            shown = ", ".join(
                name if n is None else str(n) for name, n in zip(("height", "width", ""), wanted, strict=True)
            )
            raise ValueError(f"{self.path} takes images (batch, {shown}), got {images.shape}")
        step = self.input_shape[0] or len(images)
        return np.concatenate([self._run(images[i : i + step]) for i in range(0, len(images), step)])

    predict_on_batch = __call__


def load(path):
    """Opens what :func:`save` has written, with TensorFlow, LiteRT (ai-edge-litert) or ONNX Runtime.

    Args:
        path: a folder (SavedModel), or a file whose name ends in ``.tflite`` or ``.onnx``.

    Returns:
        A :class:`Runner`.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: another ending, or a file that is not what its ending says.
        ImportError: the runtime is missing; the message says what to install.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there")
    openers = {".tflite": _open_litert, ".onnx": _open_onnx}
    if path.is_dir():
        return _open(_open_saved_model, path, "a SavedModel")
    if path.suffix not in openers:
        raise ValueError(f"{path}: exported models are folders, or end in {' or '.join(openers)}")
    return _open(openers[path.suffix], path, f"a {path.suffix} model")


def _open(opener, path, what):
    try:
        parts = opener(path)
    except ImportError:
        raise
    except Exception as error:  # each runtime has its own
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is not {what} that can be run: {reason}") from None
    return Runner(path, *parts)


def _open_saved_model(path):
    tf = need("tensorflow")
    with quiet():
        module = tf.saved_model.load(str(path))
    serve = module.signatures["serving_default"]
    ((name, spec),) = serve.structured_input_signature[1].items()

    def run(images):
        (logits,) = serve(**{name: tf.constant(images)}).values()
        return logits.numpy()

    run.module = module  # which goes, and its weights with it, when nobody holds it
    return "saved_model", spec.shape.as_list(), run


def _open_litert(path):
    interpreter_of = need("ai_edge_litert.interpreter", "ai-edge-litert").Interpreter
    with quiet():
        interpreter = interpreter_of(str(path))
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
    runtime = need("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # errors are raised as well
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    return "onnx", taken.shape, lambda images: session.run(None, {taken.name: images})[0]
