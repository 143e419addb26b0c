"""A Keras model as a file for another runtime, written whole or not at all."""

import os
import tempfile
from pathlib import Path

import keras
import numpy as np

from seglib.export.optional import need, quiet

# What the name of each format's file ends in; a SavedModel is a folder.
ENDINGS = {
    "saved_model": "",
    "litert": ".tflite",
    "litert_float16": ".tflite",
    "litert_int8": ".tflite",
    "onnx": ".onnx",
}


def save(model, path, format, representative=None, size=None):
    """Writes a model in a format that is run without Keras and without this package.

    ================== =========== =================================================================================
    format             file        what it holds
    ================== =========== =================================================================================
    ``saved_model``    a folder    float32 weights, for TensorFlow and TensorFlow Serving
    ``litert``         ``.tflite`` float32 weights, for phones and small boards; LiteRT was called TensorFlow Lite
    ``litert_float16`` ``.tflite`` float16 weights, half the size; they become float32 when the file is opened
    ``litert_int8``    ``.tflite`` int8 weights, about a quarter of the size, and int8 feature maps (Jacob et al.
                                   2018, section 2); what goes in and what comes out is float32 all the same
    ``onnx``           ``.onnx``   float32 weights, for ONNX Runtime and most others
    ================== =========== =================================================================================

    Args:
        model: a model with one input, (batch, height, width, 3) in 0–255, and one output. One that was trained in mixed
            precision is written as its float32 weights compute in float32.
        path: where to; nothing may be there. Folders above it are made.
        format: one of the table's.
        representative: for ``litert_int8``, an iterable of (height, width, 3) images in 0–255, some 100 of the
            training split, as the file will be shown: the range of every feature map is measured on them and cut
            into 256 steps.
        size: ``(height, width)`` of the images that the file will take. None: what the model takes, which is any
            size if the model is of unknown height and width: every format can do that. A known size is smaller, starts
            faster, and is what graphics and neural processors of phones ask for.

    Returns:
        The path. A LiteRT file takes one image at a time, the others a batch of any number.

    Raises:
        ValueError: an unknown format; a path with another ending; a model with another input; a size that is not the
            model's; images that do not represent what the file will be shown.
        FileExistsError: something is at the path.
        OSError: it could not be written; then nothing is left behind.
        ImportError: a library is missing; the message says which to install.
        RuntimeError: Keras runs on another backend than TensorFlow, which does the exporting.
    """
    path = Path(path)
    _check_target(path, format)
    shape = (1 if format.startswith("litert") else None, *_image_size(model, size), 3)
    images = _to_images(representative, shape[1:]) if format == "litert_int8" else None
    write = {"saved_model": _write_saved_model, "onnx": _write_onnx}.get(format, _write_litert)
    model, tf = _to_float32(model), need("tensorflow")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder, quiet():
            beside = Path(folder) / path.name
            write(model, beside, shape, format, images)
            os.replace(beside, path)
    except (OSError, tf.errors.OpError) as error:
        raise OSError(f"{path} could not be written, and nothing is left of it: {error}") from error
    return path


def _check_target(path, format):
    if format not in ENDINGS:
        raise ValueError(f"format must be one of {', '.join(ENDINGS)}; got {format!r}")
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise RuntimeError(
            f"models are exported by TensorFlow; load this one under KERAS_BACKEND=tensorflow, not {backend}"
        )
    ending = path.suffix if path.suffix in (".tflite", ".onnx", ".keras") else ""  # a folder's name may hold dots
    if ending != ENDINGS[format]:
        wanted = f"ends in {ENDINGS[format]}" if ENDINGS[format] else "is a folder, without an ending"
        raise ValueError(f"{path}: format {format!r} {wanted}")
    if format == "saved_model" and set(str(path.absolute())) & set("[]*?"):
        raise ValueError(f"{path}: TensorFlow takes the signs [ ] * ? of a folder for a pattern, and would not find it")
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already; delete it, or choose another name")


def _image_size(model, size):
    """``(height, width)`` of the file's images, None where unknown."""
    if len(model.inputs) != 1 or len(model.outputs) != 1 or model.input_shape[3:] != (3,):
        raise ValueError(
            f"a model is exported that takes (batch, height, width, 3) and gives one output; got {model.input_shape} → "
            f"{model.output_shape}"
        )
    own = model.input_shape[1:3]
    size = own if size is None else tuple(size)
    if len(size) != 2 or not all(n is None or n >= 1 for n in size):
        raise ValueError(f"size is (height, width), 1 pixel or more each, got {size}")
    if any(n is not None and n != found for n, found in zip(own, size, strict=True)):
        raise ValueError(f"size: the model takes {own[0]}×{own[1]} pixels (height×width), got {size[0]}×{size[1]}")
    return size


def _to_float32(model):
    """The model, or a copy of it that computes in float32: the converters stumble over mixed precision."""

    def copy(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    layers = [inner for layer in model.layers for inner in getattr(layer, "layers", [layer])]
    if all(layer.compute_dtype == "float32" for layer in layers):
        return model
    plain = keras.models.clone_model(model, clone_function=copy, recursive=True)
    plain.set_weights(model.get_weights())
    return plain


def _to_images(representative, shape):
    """The images that an int8 model is calibrated on, each (1, height, width, 3) float32."""
    if representative is None:
        raise ValueError("litert_int8 wants representative=: images on which the range of each feature map is measured")
    images = [np.asarray(image, np.float32)[None] for image in representative]
    for image in images:
        if image.ndim != 4 or any(n not in (None, found) for n, found in zip(shape, image.shape[1:], strict=True)):
            wanted = " × ".join("any" if n is None else str(n) for n in shape)
            raise ValueError(f"representative images are {wanted}, as the file will be shown; got {image.shape[1:]}")
    if not images:
        raise ValueError("representative holds no image")
    low, high = np.min([image.min() for image in images]), np.max([image.max() for image in images])
    if not (0 <= low and 1 < high <= 255):
        raise ValueError(f"representative images are in 0–255, not scaled; these are in {low:g} to {high:g}")
    return images


def _write_saved_model(model, path, shape, format=None, images=None):
    tf = need("tensorflow")
    spec = tf.TensorSpec(shape, tf.float32, name="image")
    served = tf.Module()  # model.export() of Keras 3.15 writes every weight twice
    served.weights = [variable.value for variable in model.variables]
    served.serve = tf.function(lambda image: model(image, training=False), input_signature=[spec])
    tf.saved_model.save(served, str(path), signatures=served.serve)


def _write_litert(model, path, shape, format, images):
    with tempfile.TemporaryDirectory() as folder:  # not beside the file: TensorFlow takes brackets for a pattern
        _write_saved_model(model, folder, shape)
        path.write_bytes(_to_litert(folder, format, images))


def _to_litert(folder, format, images):
    tf = need("tensorflow")
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    if format != "litert":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if format == "litert_float16":
        converter.target_spec.supported_types = [tf.float16]
    if format == "litert_int8":
        converter.representative_dataset = lambda: ([image] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


def _write_onnx(model, path, shape, format, images):
    need("onnx")
    need("tf2onnx")
    spec = keras.InputSpec(shape=shape, dtype="float32", name="image")
    model.export(path, format="onnx", input_signature=[spec], verbose=False)
