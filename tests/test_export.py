"""Exported files against the Keras model that they were made of, each in its own runtime."""

import sys

import keras
import numpy as np
import pytest

from seglib import data, export, layers, models, predict

pytestmark = pytest.mark.slow
SIZE = (12, 20)
FLOATS = ("saved_model", "litert", "onnx")
LITERT = ("litert", "litert_float16", "litert_int8")
ANY_SIZE = (*FLOATS, "litert_int8")


@pytest.fixture(scope="module")
def model():
    """A U-Net of three classes whose batch normalisations do not merely pass on what they get."""
    keras.utils.set_random_seed(0)
    model = models.unet((None, None, 3), 3, filters=32, depth=2)
    draw = np.random.default_rng(0).uniform
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights(
                [gamma * draw(0.5, 2), beta + draw(-0.5, 0.5), mean + draw(0, 0.2), variance * draw(1, 2)]
            )
    return model


@pytest.fixture(scope="module")
def coarse_model():
    """What DeepLab is built of: padding, atrous convolutions, bilinear upsampling to the size of the input."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 3))
    x = layers.PadToMultiple(4)(keras.layers.Rescaling(1 / 255)(inputs))
    x = layers.aspp(keras.layers.AveragePooling2D(4)(x), 8, rates=(2,))
    return keras.Model(inputs, layers.ResizeLike()(keras.layers.Conv2D(3, 1)(x), inputs))


def draw_images(count, height, width, seed=0):
    """Images of one colour each, with noise."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 30, (count, height, width, 3))
    return np.clip(rng.uniform(0, 255, (count, 1, 1, 3)) + noise, 0, 255).astype(np.float32)


IMAGES = draw_images(6, *SIZE)
SEVERAL_SIZES = [draw_images(count, *size, seed=1) for count, *size in ((3, 5, 18), (1, 37, 70), (2, 3, 33), (1, 1, 1))]


def save_all(model, folder, formats, representative, size):
    """The path of each format's file."""
    paths = {format: folder / f"model.{format}{export.ENDINGS[format]}" for format in formats}
    for format, path in paths.items():
        assert export.save(model, path, format, representative if format == "litert_int8" else None, size) == path
    assert set(folder.iterdir()) == set(paths.values())  # and nothing beside them
    return paths


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """Files for images of one size."""
    return save_all(model, tmp_path_factory.mktemp("of_one_size"), export.ENDINGS, IMAGES, SIZE)


@pytest.fixture(scope="module")
def saved_any(coarse_model, tmp_path_factory):
    """Files for images of any size; of several are those that the int8 one is calibrated on."""
    several = [image for images in SEVERAL_SIZES for image in images]
    return save_all(coarse_model, tmp_path_factory.mktemp("of_any_size"), ANY_SIZE, several, None)


def assert_close(logits, expected, format):
    allowed = {"litert_float16": 0.01, "litert_int8": 0.15}.get(format, 1e-5) * np.ptp(expected)
    assert logits.dtype == np.float32 and logits.shape == expected.shape
    assert np.abs(logits - expected).max() < allowed


@pytest.mark.parametrize("format", export.ENDINGS)
def test_a_file_of_one_size_gives_the_models_logits(model, saved, format):
    runner = export.load(saved[format])
    assert runner.format == format and runner.input_shape == (1 if format in LITERT else None, *SIZE, 3)
    expected = model.predict_on_batch(IMAGES)
    assert_close(runner.predict_on_batch(IMAGES), expected, format)
    if format in FLOATS:
        image = IMAGES[0].astype(np.uint8)
        np.testing.assert_array_equal(predict.segment(runner, image), predict.segment(model, image))
    for shape in ((1, 20, 12, 3), (*SIZE, 3)):
        with pytest.raises(ValueError, match=r"model.*12, 20, 3.*got \(" + str(shape[0])):
            runner.predict_on_batch(np.zeros(shape, np.float32))


@pytest.mark.parametrize("format", ANY_SIZE)
def test_a_file_of_any_size_takes_any_size(coarse_model, saved_any, format):
    runner = export.load(saved_any[format])
    assert runner.input_shape == (1 if format in LITERT else None, None, None, 3)
    for images in SEVERAL_SIZES:
        assert_close(runner.predict_on_batch(images), coarse_model.predict_on_batch(images), format)


@pytest.mark.parametrize("format", ["saved_model", *(pytest.param(f, marks=pytest.mark.long) for f in FLOATS[1:])])
def test_a_u_net_with_a_classifiers_encoder_is_written(tmp_path, format):
    keras.utils.set_random_seed(0)
    classified = models.unet((None, None, 3), 3, filters=2, encoder="efficientnet_lite0")
    runner = export.load(export.save(classified, tmp_path / f"model{export.ENDINGS[format]}", format))
    for images in SEVERAL_SIZES[:3]:  # a single pixel's logits are 0: no scale
        assert_close(runner.predict_on_batch(images), classified.predict_on_batch(images), format)


@pytest.mark.parametrize(
    ("policy", "format"), [("float32", "saved_model"), ("mixed_float16", "litert_int8"), ("mixed_bfloat16", "onnx")]
)
def test_mixed_precision_is_written_in_float32_and_in_silence(tmp_path, capfd, policy, format):
    keras.config.set_dtype_policy(policy)
    try:
        mixed = models.unet((*SIZE, 3), 2, filters=4, depth=2)
        logits = mixed.predict_on_batch(IMAGES)
        capfd.readouterr()
        runner = export.load(export.save(mixed, tmp_path / f"model{export.ENDINGS[format]}", format, IMAGES))
        found = runner.predict_on_batch(IMAGES)
        assert capfd.readouterr() == ("", "")
    finally:
        keras.config.set_dtype_policy("float32")
    plain = models.unet((*SIZE, 3), 2, filters=4, depth=2)
    plain.set_weights(mixed.get_weights())
    expected = plain.predict_on_batch(IMAGES)
    assert (np.abs(logits - expected).max() > 1e-4) == (policy != "float32")
    assert_close(found, expected, format)


def test_parity(model, coarse_model, saved, folders):
    dataset = data.from_folder(*folders)
    batches = dataset.batches("train", SIZE, batch_size=2).take(2)
    rows = export.parity(model, saved.values(), batches, dataset.labels.ignore_id)
    assert [row.format for row in rows] == ["keras", *export.ENDINGS]
    keras_row, byte = rows[0], {row.format: row.size for row in rows}
    assert 0 < keras_row.miou < 1 and keras_row.largest_difference == 0 and keras_row.share == 1
    for row in rows:
        assert row.miou_difference == row.miou - keras_row.miou and row.milliseconds > 0
        if row.format in FLOATS:
            assert row.largest_difference < 1e-3 and abs(row.miou_difference) < 1e-4
    assert byte["litert_int8"] == saved["litert_int8"].stat().st_size
    assert byte["litert_int8"] < 0.3 * byte["litert"] and byte["litert_float16"] < 0.6 * byte["litert"]
    assert byte["saved_model"] > (saved["saved_model"] / "variables/variables.data-00000-of-00001").stat().st_size
    lines = export.table(rows).splitlines()
    assert len(lines) == 7 and len(set(map(len, lines))) == 1
    assert lines[0].split()[:2] == ["format", "mIoU"] and "100%" in lines[1].split()

    # Another model is not what this file was made of.
    other = export.parity(keras.Sequential([model, keras.layers.Rescaling(-1.0)]), [saved["litert"]], batches)[1]
    assert other.largest_difference > 0.1 and other.miou_difference != 0
    with pytest.raises(ValueError, match=r"takes images .*got \(0,\)"):
        export.parity(model, [], batches.take(0))


def test_what_is_there_stays_as_it_is(model, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="model.onnx.* delete it"):
        export.save(model, path, "onnx")
    assert path.read_text() == "mine"


@pytest.mark.parametrize("format", FLOATS)
def test_a_full_disk_leaves_nothing(model, tmp_path, full_disk, format):
    path = tmp_path / f"model{export.ENDINGS[format]}"
    with full_disk(5000), pytest.raises(Exception, match="too large|could not|Unable|failed") as caught:
        export.save(model, path, format, size=SIZE)
    assert str(path) in caught.value.__notes__[-1] and not list(tmp_path.iterdir())


INT8 = ("model.tflite", "litert_int8")


@pytest.mark.parametrize(
    ("name", "format", "options", "message"),
    [
        ("model", "tflite", {}, "saved_model, .*litert.*'tflite'"),
        ("model.keras", "litert", {}, r"model.keras: .*'litert'.*\.tflite"),
        ("model.tflite", "onnx", {}, r"model.tflite: .*'onnx'.*\.onnx"),
        (*INT8, {"representative": []}, "representative=.*got none"),
        (*INT8, {"representative": [np.full((*SIZE, 3), 0.5)]}, "0–255.*0.5"),
        (*INT8, {"representative": [np.full((*SIZE, 3), 9), np.full((*SIZE, 3), np.nan)]}, "0–255.*nan"),
        (*INT8, {"representative": [np.zeros((6, 6, 3))]}, r"\(12, 20, 3\).*\(6, 6, 3\)"),
    ],
)
def test_bad_arguments_are_refused(model, tmp_path, name, format, options, message):
    with pytest.raises(ValueError, match=message):
        export.save(model, tmp_path / name, format, **{"size": SIZE, **options})
    assert not list(tmp_path.iterdir())


def test_other_backends_do_not_export(model, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="KERAS_BACKEND=tensorflow.*jax"):
        export.save(model, tmp_path / "model.onnx", "onnx")


@pytest.mark.parametrize("name", ["photo.tflite", "photo.onnx", "photo.keras", "photo"])
def test_a_file_that_is_not_what_its_name_says_is_refused_by_its_runtime(tmp_path, name):
    for content in (None, b"this is a photo " * 99):
        if content:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(Exception, match=".") as caught:
            export.load(tmp_path / name)
        assert str(tmp_path / name) in caught.value.__notes__[-1]


@pytest.mark.parametrize(
    ("module", "format"), [("ai_edge_litert.interpreter", "litert"), ("onnxruntime", "onnx"), ("tf2onnx", None)]
)
def test_a_missing_library_is_named(model, saved, tmp_path, monkeypatch, module, format):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'pip install "seglib\[export\]".*{module}'):
        export.load(saved[format]) if format else export.save(model, tmp_path / "model.onnx", "onnx")
    assert not list(tmp_path.iterdir())
