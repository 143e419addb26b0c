"""Exported files against the Keras model that they were made of, each in its own runtime."""

import sys

import keras
import numpy as np
import pytest

from seglib import data, export, layers, models, predict

SIZE = (12, 20)
FLOATS = ("saved_model", "litert", "onnx")
LITERT = ("litert", "litert_float16", "litert_int8")


@pytest.fixture(scope="module")
def model():
    """A U-Net of three classes whose normalisations, too, have something to say."""
    keras.utils.set_random_seed(0)
    model = models.unet((None, None, 3), 3, filters=16, depth=3)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            draw = np.random.default_rng(0).uniform
            layer.set_weights(
                [gamma * draw(0.5, 2), beta + draw(-0.5, 0.5), mean + draw(0, 0.2), variance * draw(1, 2)]
            )
    return model


def draw_images(rng, count, height, width):
    """Images of one colour each, with noise."""
    noise = rng.normal(0, 30, (count, height, width, 3))
    return np.clip(rng.uniform(0, 255, (count, 1, 1, 3)) + noise, 0, 255).astype(np.float32)


@pytest.fixture(scope="module")
def images():
    return draw_images(np.random.default_rng(0), 6, *SIZE)


def save_all(model, folder, images, size):
    """The path of every format's file."""
    paths = {format: folder / f"model.{format}{ending}" for format, ending in export.ENDINGS.items()}
    for format, path in paths.items():
        assert export.save(model, path, format, images if format == "litert_int8" else None, size) == path
    assert set(folder.iterdir()) == set(paths.values())  # and nothing beside them
    return paths


@pytest.fixture(scope="module")
def saved(model, images, tmp_path_factory):
    """Files for images of one size."""
    return save_all(model, tmp_path_factory.mktemp("of_one_size"), images, SIZE)


@pytest.fixture(scope="module")
def saved_any(model, images, tmp_path_factory):
    """Files for images of any size; of several are those that the int8 one is calibrated on."""
    return save_all(model, tmp_path_factory.mktemp("of_any_size"), [*images, images[0, :7], images[1, :, :9]], None)


def allowed(format, expected):
    """How far logits may be from the expected ones."""
    return {"litert_float16": 0.01, "litert_int8": 0.15}.get(format, 1e-5) * np.ptp(expected)


@pytest.mark.parametrize("format", export.ENDINGS)
def test_every_format_says_what_the_model_says(model, images, saved, format):
    expected = model.predict_on_batch(images)
    runner = export.load(saved[format])
    assert runner.format == format
    logits = runner(images)
    assert logits.dtype == np.float32 and logits.shape == expected.shape
    assert np.abs(logits - expected).max() < allowed(format, expected)


@pytest.mark.parametrize("format", export.ENDINGS)
def test_every_format_takes_any_size(model, rng, saved_any, format):
    runner = export.load(saved_any[format])
    assert runner.input_shape == (1 if format in LITERT else None, None, None, 3)
    for shape in ((3, 5, 18), (1, 33, 7), (2, *SIZE)):
        images = draw_images(rng, *shape)
        expected = model.predict_on_batch(images)
        assert np.abs(runner(images) - expected).max() < allowed(format, expected), shape


@pytest.mark.parametrize("format", FLOATS)
def test_a_single_pixel(model, saved_any, format):
    pixel = np.full((1, 1, 1, 3), 99, np.float32)
    np.testing.assert_allclose(export.load(saved_any[format])(pixel), model.predict_on_batch(pixel), atol=1e-4)


@pytest.mark.parametrize("format", export.ENDINGS)
def test_a_file_of_one_size_says_so(saved, format):
    runner = export.load(saved[format])
    assert runner.input_shape == (1 if format in LITERT else None, *SIZE, 3)
    with pytest.raises(ValueError, match=r"takes images \(batch, 12, 20, 3\), got \(1, 20, 12, 3\)"):
        runner(np.zeros((1, 20, 12, 3), np.float32))
    for nothing in (np.zeros((0, *SIZE, 3)), np.zeros((*SIZE, 3))):
        with pytest.raises(ValueError, match="takes images"):
            runner(nothing)


@pytest.mark.parametrize("format", ["litert", "onnx"])
def test_what_deeplab_is_built_of_is_exported_too(rng, tmp_path, format):
    inputs = keras.Input((None, None, 3))
    coarse = layers.aspp(keras.layers.AveragePooling2D(4)(layers.PadToMultiple(4)(inputs)), 4, rates=(2,))
    model = keras.Model(inputs, layers.ResizeLike()(coarse, inputs))
    runner = export.load(export.save(model, tmp_path / f"model{export.ENDINGS[format]}", format))
    for images in (draw_images(rng, 1, 37, 70), draw_images(rng, 1, 3, 33)):
        np.testing.assert_allclose(runner(images), model.predict_on_batch(images), atol=1e-3)


def test_a_model_of_one_size_is_exported_for_it(images, tmp_path):
    model = models.unet((*SIZE, 3), 2, filters=4, depth=2)
    path = export.save(model, tmp_path / "model.tflite", "litert")
    np.testing.assert_allclose(export.load(path)(images), model.predict_on_batch(images), atol=1e-4)
    with pytest.raises(ValueError, match="the model takes 12×20 pixels.*got 12×24"):
        export.save(model, tmp_path / "other.tflite", "litert", size=(12, 24))


@pytest.mark.parametrize(("policy", "format"), [("mixed_float16", "litert"), ("mixed_bfloat16", "onnx")])
def test_mixed_precision_is_written_in_float32(images, tmp_path, policy, format):
    keras.config.set_dtype_policy(policy)
    try:
        mixed = models.unet((None, None, 3), 2, filters=4, depth=2)
    finally:
        keras.config.set_dtype_policy("float32")
    plain = models.unet((None, None, 3), 2, filters=4, depth=2)
    plain.set_weights(mixed.get_weights())
    expected = plain.predict_on_batch(images)
    assert np.abs(mixed.predict_on_batch(images) - expected).max() > 1e-4
    path = export.save(mixed, tmp_path / f"model{export.ENDINGS[format]}", format)
    np.testing.assert_allclose(export.load(path)(images), expected, atol=1e-4)


def test_a_model_of_something_else_is_refused(tmp_path):
    grey = models.unet((None, None, 1), 2, filters=4, depth=2)
    with pytest.raises(ValueError, match=r"takes \(batch, height, width, 3\).*got \(None, None, None, 1\)"):
        export.save(grey, tmp_path / "grey.onnx", "onnx")
    two = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match="gives one output"):
        export.save(keras.Model(two, keras.layers.Add()(two)), tmp_path / "two.onnx", "onnx")


def test_sizes_of_the_files(saved):
    size = {format: saved[format].stat().st_size for format in ("onnx", *LITERT)}
    assert 0.45 < size["litert_float16"] / size["litert"] < 0.6
    assert 0.2 < size["litert_int8"] / size["litert"] < 0.4
    assert 0.8 < size["onnx"] / size["litert"] < 1.3


def test_parity(model, saved, folders, capfd):
    dataset = data.from_folder(*folders)
    rows = export.parity(model, saved.values(), dataset, size=SIZE, split="train", count=4)
    assert [row.format for row in rows] == ["keras", *export.ENDINGS]
    keras_row, byte = rows[0], {row.format: row.size for row in rows}
    assert 0 < keras_row.miou < 1 and keras_row.largest_difference == 0 and keras_row.share == 1
    for row in rows:
        assert row.miou_difference == row.miou - keras_row.miou and row.milliseconds > 0
        if row.format in FLOATS:
            assert row.largest_difference < 1e-3 and abs(row.miou_difference) < 1e-4
    assert byte["litert_int8"] == saved["litert_int8"].stat().st_size
    folder = saved["saved_model"]
    assert byte["saved_model"] > (folder / "variables" / "variables.data-00000-of-00001").stat().st_size
    lines = export.table(rows).splitlines()
    assert len(lines) == 7 and len(set(map(len, lines))) == 1
    assert lines[0].split()[:2] == ["format", "mIoU"] and lines[1].split()[-3:] == ["100%", *lines[1].split()[-2:]]

    # Another model is not what these files were made of.
    keras.utils.set_random_seed(1)
    other = models.unet((None, None, 3), 3, filters=4, depth=2)
    row = export.parity(other, [saved["litert"]], dataset, size=SIZE, split="train", count=4)[1]
    assert row.largest_difference > 0.1 and row.miou_difference != 0
    with pytest.raises(ValueError, match="at least 1 pair, got count=0"):
        export.parity(model, [], dataset, SIZE, count=0)


def test_an_exported_model_segments_a_photo(model, images, saved):
    photo = images[0].astype(np.uint8)
    expected = predict.segment(model, photo)
    for format in FLOATS:
        np.testing.assert_array_equal(predict.segment(export.load(saved[format]), photo), expected)


@pytest.mark.parametrize("format", export.ENDINGS)
def test_what_is_there_stays_as_it_is(model, images, tmp_path, format):
    path = tmp_path / f"model{export.ENDINGS[format]}"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="model.* is there already"):
        export.save(model, path, format, representative=images, size=SIZE)
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format", FLOATS)
def test_a_full_disk_leaves_nothing(model, tmp_path, format):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))  # no file may grow beyond 5 kB: writing fails midway
    try:
        with pytest.raises(OSError, match=r"model\S* could not be written, and nothing is left"):
            export.save(model, tmp_path / f"model{export.ENDINGS[format]}", format, size=SIZE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file(model, tmp_path):
    (tmp_path / "models").write_text("mine")
    with pytest.raises(OSError, match="model.tflite could not be written"):
        export.save(model, tmp_path / "models" / "model.tflite", "litert", size=SIZE)


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        ("model", "tflite", "format must be one of saved_model, litert, .*got 'tflite'"),
        ("model.keras", "litert", r"model.keras: format 'litert' ends in \.tflite"),
        ("model.tflite", "onnx", r"format 'onnx' ends in \.onnx"),
        ("model.keras", "saved_model", "format 'saved_model' is a folder, without an ending"),
    ],
)
def test_format_and_ending_belong_together(model, tmp_path, name, format, message):
    with pytest.raises(ValueError, match=message):
        export.save(model, tmp_path / name, format, size=SIZE)


@pytest.mark.parametrize(
    ("representative", "message"),
    [
        (None, "wants representative="),
        ([], "holds no image"),
        ([np.full((*SIZE, 3), 0.5)], "not scaled; these are in 0.5 to 0.5"),
        ([np.full((*SIZE, 3), 9.0), np.full((*SIZE, 3), np.nan)], "0–255.*nan"),
        ([np.full((*SIZE, 3), 256)], "0–255.*256"),
        ([np.zeros((6, 6, 3))], r"12 × 20 × 3.*got \(6, 6, 3\)"),
        ([np.zeros((1, *SIZE, 3))], r"12 × 20 × 3.*got \(1, 12, 20, 3\)"),
    ],
)
def test_int8_wants_images_that_represent(model, tmp_path, representative, message):
    with pytest.raises(ValueError, match=message):
        export.save(model, tmp_path / "model.tflite", "litert_int8", representative=representative, size=SIZE)


def test_other_backends_do_not_export(model, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="KERAS_BACKEND=tensorflow, not jax"):
        export.save(model, tmp_path / "model.onnx", "onnx")


def test_files_that_are_not_what_they_end_in(saved, tmp_path):
    for ending in (".tflite", ".onnx"):
        path = tmp_path / f"photo{ending}"
        for content in (
            b"",
            b"this is a photo " * 99,
            saved[{".onnx": "onnx"}.get(ending, "litert")].read_bytes()[:9000],
        ):
            path.write_bytes(content)
            with pytest.raises(ValueError, match=rf"photo\{ending} is not a \{ending} model that can be run") as caught:
                export.load(path)
            assert caught.value.__cause__ is None and caught.value.__suppress_context__
    folder = tmp_path / "photos"
    folder.mkdir()
    for content in (None, b"this is a photo"):
        if content:
            (folder / "saved_model.pb").write_bytes(content)
        with pytest.raises(ValueError, match="photos is not a SavedModel that can be run"):
            export.load(folder)
    with pytest.raises(FileNotFoundError, match="gone.onnx is not there"):
        export.load(tmp_path / "gone.onnx")
    (tmp_path / "best.keras").write_bytes(b"")
    with pytest.raises(ValueError, match=r"best.keras: exported models are folders, or end in \.tflite or \.onnx"):
        export.load(tmp_path / "best.keras")


@pytest.mark.parametrize(
    ("module", "package", "format"),
    [
        ("ai_edge_litert.interpreter", "ai-edge-litert", "litert"),
        ("onnxruntime", "onnxruntime", "onnx"),
    ],
)
def test_a_missing_runtime_is_named(saved, monkeypatch, module, package, format):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"pip install {package}"):
        export.load(saved[format])


@pytest.mark.parametrize("package", ["onnx", "tf2onnx"])
def test_a_missing_converter_is_named(model, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"pip install {package}"):
        export.save(model, tmp_path / "model.onnx", "onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["saved_model", "litert_int8", "onnx"])
def test_nothing_is_printed(images, tmp_path, capfd, format):
    model = models.unet((*SIZE, 3), 2, filters=4, depth=2)
    capfd.readouterr()
    path = export.save(model, tmp_path / f"model{export.ENDINGS[format]}", format, representative=images)
    export.load(path)(images)
    assert capfd.readouterr() == ("", "")


def test_signs_that_tensorflow_takes_for_a_pattern(model, images, saved, tmp_path):
    folder = tmp_path / "one [1] *"
    path = export.save(model, folder / "model.tflite", "litert", size=SIZE)
    expected = export.load(saved["litert"])(images)
    np.testing.assert_allclose(export.load(path)(images), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"model: TensorFlow takes the signs \[ \] \* \?"):
        export.save(model, folder / "model", "saved_model", size=SIZE)
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("size", [(64,), (0, 5), (3, -1), (4, 5, 3)])
def test_a_size_is_two_lengths(model, tmp_path, size):
    with pytest.raises(ValueError, match=r"size is \(height, width\)"):
        export.save(model, tmp_path / "model", "saved_model", size=size)
