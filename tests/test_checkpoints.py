"""The networks that come with seglib: they are whole, and still reach what ``scores.csv`` says."""

import csv
import shutil

import checkpoints as script  # bench/checkpoints.py
import keras
import numpy as np
import pytest
from PIL import Image

from seglib import __main__ as command_line
from seglib import checkpoints, data, images, models, predict
from seglib.demo import __main__ as demo
from seglib.demo import classes, photos
from seglib.labels import LabelMap

NAMES = sorted(path.stem for path in checkpoints.FOLDER.glob("*.npz") if path.stem != checkpoints.PROMPTABLE)
SMALL = checkpoints.Checkpoint("unet", {"filters": 2, "depth": 2}, "streets/tiny", (64, 96))


@pytest.fixture(scope="module")
def scores():
    with open(checkpoints.FOLDER / "scores.csv", newline="", encoding="utf-8") as file:
        return {row["checkpoint"]: row for row in csv.DictReader(file)}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """In place of the checkpoint ``unet`` a small one in a folder of its own: its model and its file."""
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path)
    monkeypatch.setitem(checkpoints.CHECKPOINTS, "unet", SMALL)
    model = models.unet((None, None, 3), checkpoints.NUM_CLASSES, **SMALL.arguments)
    script.save(model, tmp_path / "unet.npz")
    return model, tmp_path / "unet.npz"


def test_files_table_and_classes_belong_together(scores):
    assert NAMES == sorted(checkpoints.CHECKPOINTS) == sorted(scores)
    assert len(LabelMap.load(checkpoints.FOLDER / predict.LABELS).names) == checkpoints.NUM_CLASSES
    for name, about in checkpoints.CHECKPOINTS.items():
        path = checkpoints.FOLDER / f"{name}.npz"
        assert int(scores[name]["bytes"]) == path.stat().st_size < 2e6
        assert (scores[name]["dataset"], *about.size) == (
            about.dataset,
            int(scores[name]["height"]),
            int(scores[name]["width"]),
        )
        with np.load(path, allow_pickle=False) as file:
            assert {file[key].dtype for key in file.files} == {np.dtype(np.float16)}
            assert sum(file[key].size for key in file.files) == int(scores[name]["parameters"])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_they_still_have_their_scores(name, scores):
    about = checkpoints.CHECKPOINTS[name]
    assert data.load(about.dataset).labels == LabelMap.load(checkpoints.FOLDER / predict.LABELS)
    matrix = script.score(checkpoints.load(name), about)
    assert matrix.mean_iou() == pytest.approx(float(scores[name]["miou"]), abs=5e-4)
    assert matrix.accuracy() == pytest.approx(float(scores[name]["accuracy"]), abs=5e-4)
    assert float(scores[name]["miou"]) == pytest.approx(float(scores[name]["miou_float32"]), abs=1e-3)


def test_variances_of_a_batch_normalisation_survive_float16(small):
    model, path = small
    layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    gamma, beta, mean, _ = layer.get_weights()
    variance = np.array([1e-9, 6e4], np.float32)  # the first is 0 in float16; the layer adds 1e-3
    layer.set_weights([gamma, beta, mean, variance])
    script.save(model, path)
    again = next(
        layer for layer in checkpoints.load("unet").layers if isinstance(layer, keras.layers.BatchNormalization)
    )
    np.testing.assert_allclose(np.sqrt(again.get_weights()[3] + 1e-3), np.sqrt(variance + 1e-3), rtol=5e-4)

    layer.set_weights([gamma, beta, mean, variance * 2])  # 120,000, where float16 ends at 65,504
    with pytest.raises(ValueError, match="moving_variance.*65,504"):
        script.save(model, path)


def test_what_is_loaded_says_what_was_saved(small):
    model, _ = small
    image = np.random.default_rng(0).uniform(0, 255, (1, 21, 34, 3)).astype(np.float32)
    loaded = checkpoints.load("unet")
    np.testing.assert_allclose(loaded.predict_on_batch(image), model.predict_on_batch(image), atol=0.01)
    assert {weight.dtype for weight in loaded.weights} == {"float32"}


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(ValueError, match=r"'segnet'.*unet, deeplab_v3_plus, fcn_8s.*\.keras"):
        checkpoints.load("segnet")


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def pickle(path):
    np.savez(path, np.array([{}], dtype=object))


def drop_one(path):
    with np.load(path) as file:
        arrays = [file[key] for key in file.files]
    np.savez(path, *arrays[:-1])


def reshape_one(path):
    with np.load(path) as file:
        arrays = [file[key] for key in file.files]
    np.savez(path, arrays[0][..., :1], *arrays[1:])


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (cut_short, "no whole checkpoint"),
        (flip_a_byte, "no whole checkpoint"),
        (lambda path: path.write_bytes(b""), "no whole checkpoint"),
        (lambda path: path.unlink(), "no whole checkpoint"),
        (pickle, "no whole checkpoint"),
        (drop_one, "no whole checkpoint of unet .*length 33, .* expecting 34"),
        (reshape_one, r"no whole checkpoint of unet .*\(3, 3, 3, 2\) .*\(3, 3, 3, 1\)"),
    ],
    ids=["cut short", "a byte flipped", "empty", "missing", "a pickle", "an array less", "another shape"],
)
def test_a_damaged_file_is_named_with_the_remedy(small, damage, found):
    damage(small[1])
    with pytest.raises(ValueError, match=rf"unet\.npz: .*{found}.*git checkout HEAD -- seglib/checkpoints"):
        checkpoints.load("unet")


# Where they are used


@pytest.fixture
def photo(tmp_path, rng):
    path = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 256, (40, 30, 3), np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("unet", [], (64, 96)),
        (str(checkpoints.FOLDER / "unet.npz"), [], (64, 96)),
        ("unet", ["--size", "32", "64"], (32, 64)),
        ("unet", ["--tile", "32"], None),
    ],
)
def test_predict_takes_a_name_and_the_size_of_its_training(photo, tmp_path, name, options, size):
    assert command_line.main(["predict", name, str(photo), "--out", str(tmp_path / "masks"), *options]) == 0
    model, image = checkpoints.load("unet"), images.read_image(photo)
    wanted = predict.segment(model, image, size) if size else predict.tiled(model, image, 32, 0)
    np.testing.assert_array_equal(images.read_mask(tmp_path / "masks" / "photo.png"), wanted)
    sky = LabelMap.load(checkpoints.FOLDER / predict.LABELS).colours[0]
    with Image.open(tmp_path / "masks" / "photo.png") as mask:
        assert tuple(mask.getpalette()[:3]) == tuple(sky)


def test_predict_refuses_an_unknown_name(photo, tmp_path, capsys):
    assert command_line.main(["predict", "segnet", str(photo), "--out", str(tmp_path / "masks")]) == 1
    assert "'segnet'" in capsys.readouterr().err
    assert all(name in command_line.MODEL for name in NAMES)


def test_the_demo_shows_them_first_and_what_was_trained_here(photo, small, tmp_path, monkeypatch):
    shutil.copy(checkpoints.__file__.replace("__init__.py", "labels.json"), tmp_path)
    served = {}
    monkeypatch.setattr(demo, "serve", served.update)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build" / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "build" / "runs" / "mine" / "best.keras").touch()
    demo.main([])
    assert list(served) == [*checkpoints.CHECKPOINTS, "mine/best"]
    view = classes.predict_photo(photos.read_photo(photo), served["unet"], 16)
    assert view.labels.names[0] == "sky" and view.ids.shape == (40, 30)

    served.clear()
    demo.main(["--models", str(tmp_path / "build" / "runs")])
    assert list(served) == ["mine/best"]
