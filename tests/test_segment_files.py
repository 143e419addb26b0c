import json
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from seglib import images, models, predict, runs
from seglib.labels import LabelMap

MAP = LabelMap(("dark", "light"))


def make_model(seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def photos(tmp_path, rng):
    """Five photographs of different sizes."""
    (tmp_path / "photos").mkdir()
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (8 + i, 12, 3), np.uint8)).save(tmp_path / "photos" / f"{i}.jpg")
    return sorted((tmp_path / "photos").iterdir())


class Method:
    """Light where green is over half; remembers the files that it was given, and dies at one of them."""

    def __init__(self, dies_at=None):
        self.seen, self.dies_at = [], dies_at

    def __call__(self, model, path):
        self.seen.append(path.stem)
        if path.stem == self.dies_at:
            raise KeyboardInterrupt
        return (images.read_image(path)[..., 1] > 127).astype(np.uint8)


def test_a_mask_for_every_image(model, photos, tmp_path):
    run = predict.segment_files(model, map(str, photos), str(tmp_path / "out"), MAP, Method())
    assert run.written == [tmp_path / "out" / f"{i}.png" for i in range(5)] and not run.kept and not run.failed
    for photo, mask in zip(photos, run.written, strict=True):
        np.testing.assert_array_equal(images.read_mask(mask), Method()(None, photo))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [*(f"{i}.png" for i in range(5)), "run.json"]


def test_an_interrupted_run_goes_on_and_does_nothing_twice(model, photos, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict.segment_files(model, photos, out, MAP, Method(dies_at="3"), {"size": (8, 8)})
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert len(before) == 3
    method = Method()
    run = predict.segment_files(make_model(), photos, out, MAP, method, {"size": (8, 8)})  # the same, built anew
    assert method.seen == ["3", "4"] and len(run.kept) == 3 and len(run.written) == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_masks_of_another_model_recipe_or_label_map_are_not_mixed(model, photos, tmp_path):
    out, method = tmp_path / "out", Method()
    predict.segment_files(model, photos[:2], out, MAP, Method(), {"size": 8})
    red_and_blue = LabelMap(MAP.names, ((255, 0, 0), (0, 0, 255)))
    for arguments, changed in (
        ((make_model(1), photos, out, MAP, method, {"size": 8}), "model was '.*', now it is '.*'"),
        ((model, photos, out, MAP, method, {"size": 9}), "size was 8, now it is 9"),
        ((model, photos, out, LabelMap(("x", "y")), method, {"size": 8}), "classes was"),
        ((model, photos, out, red_and_blue, method, {"size": 8}), "colours was"),
    ):
        with pytest.raises(FileExistsError, match=rf"another run \({changed}.*use another folder"):
            predict.segment_files(*arguments)
    (out / "run.json").unlink()
    with pytest.raises(FileExistsError, match=r"holds 0.png, but no run.json"):
        predict.segment_files(model, photos, out, MAP, method, {"size": 8})
    for damaged in ("{", "[1]"):
        (out / "run.json").write_text(damaged)
        with pytest.raises(FileExistsError, match=r"run.json is damaged.*another folder"):
            predict.segment_files(model, photos, out, MAP, method, {"size": 8})
    assert not method.seen
    with pytest.raises(ValueError, match="a keras.Model.*got function"):
        predict.segment_files(lambda x: x, photos, tmp_path / "new", MAP, method)


def test_a_mask_is_that_of_its_own_image_only(model, photos, tmp_path, rng):
    """Cameras name their images alike, and an image may be replaced after its mask was made."""
    out, method = tmp_path / "out", Method()
    predict.segment_files(model, photos[:2], out, MAP, method)
    (tmp_path / "more").mkdir()
    other = tmp_path / "more" / "0.jpg"
    photos[4].rename(other)
    before = (out / "1.png").read_bytes()
    with pytest.raises(FileExistsError, match=r"0.png is not the mask of .*more/0.jpg"):
        predict.segment_files(model, [other, photos[2]], out, MAP, method)
    Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).save(photos[1])
    with pytest.raises(FileExistsError, match=r"1.png is not the mask of .*1.jpg"):
        predict.segment_files(model, photos[:2], out, MAP, method)
    whole = (out / "0.png").read_bytes()
    for content in (whole[:60], b""):  # cut off on the way
        (out / "0.png").write_bytes(content)
        with pytest.raises(FileExistsError, match=r"0.png is not the mask of .*delete it"):
            predict.segment_files(model, [other, photos[2]], out, MAP, method)
    (out / "0.png").write_bytes(whole)
    assert method.seen == ["0", "1"] and (out / "1.png").read_bytes() == before
    photos[0].replace(other)  # an image that has only moved is the same
    assert predict.segment_files(model, [other], out, MAP, method).kept == [out / "0.png"]


def test_a_run_that_fails_at_once_leaves_nothing_behind(model, photos, tmp_path):
    def fail(model, path):
        raise ValueError("a tile is a multiple of 32")

    out = tmp_path / "out"
    with pytest.raises(ValueError, match="multiple"):
        predict.segment_files(model, photos, out, MAP, fail, {"tile": 33})
    assert not out.exists()
    runs.note_recipe(out, {"tile": 33})  # as of a run that was killed before its first mask
    assert len(predict.segment_files(model, photos, out, MAP, Method(), {"tile": 32}).written) == 5
    assert json.loads((out / "run.json").read_text())["tile"] == 32


def test_a_recipe_that_cannot_be_written_leaves_the_one_before(tmp_path, full_disk):
    runs.note_recipe(tmp_path, {"size": 8})
    with full_disk(1000), pytest.raises(OSError):
        runs.note_recipe(tmp_path, {"size": list(range(1000))})
    assert json.loads((tmp_path / "run.json").read_text()) == {"size": 8}


def test_what_cannot_be_a_run_is_refused_before_anything_is_done(model, photos, tmp_path):
    Image.open(photos[0]).save(tmp_path / "0.png")
    for paths, out, error, message in (
        ([*photos, tmp_path / "0.png"], tmp_path / "out", ValueError, "share a mask: .*0.jpg, .*0.png"),
        (photos, photos[0].parent, ValueError, "photos is a folder of the images"),
        (photos, photos[0], FileExistsError, "0.jpg"),
    ):
        with pytest.raises(error, match=message):
            predict.segment_files(model, paths, out, MAP, Method())
    assert not (tmp_path / "out").exists() and len(list(photos[0].parent.iterdir())) == 5


def test_bad_images_are_reported_and_do_not_stop_the_others(model, photos, tmp_path):
    photos[1].write_bytes(photos[1].read_bytes()[:-40])
    photos[2].write_text("text")
    run = predict.segment_files(model, photos, tmp_path / "out", MAP, Method())
    assert [path.stem for path in run.written] == ["0", "3", "4"]
    assert "1.jpg" in run.failed[photos[1]] and "2.jpg" in run.failed[photos[2]]


class TestModelFiles:
    @pytest.fixture(scope="class")
    def path(self, tmp_path_factory):
        path = tmp_path_factory.mktemp("model") / "model.keras"
        models.unet((None, None, 3), 2, filters=4, depth=2).save(path)
        return path

    @pytest.mark.slow
    def test_a_new_process_says_the_same_and_needs_no_list_of_layers(self, path):
        model = predict.load_model(path)
        assert not model.compiled
        script = f"from seglib import predict, runs; print(runs.fingerprint(predict.load_model({str(path)!r})))"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.stdout.strip() == runs.fingerprint(model), done.stderr

    def test_what_is_no_model_is_refused(self, path, tmp_path):
        (tmp_path / "text.keras").write_text("not a model")
        (tmp_path / "half.keras").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        rewrite_config(path, tmp_path / "odd.keras", lambda config: [])
        for name, message in (
            ("text", r"not a model of Keras 3 \(11 bytes\)"),
            ("half", "not a model of Keras 3"),
            ("odd", "cannot be opened"),
        ):
            with pytest.raises(ValueError, match=rf"{name}.keras: {message}"):
                predict.load_model(tmp_path / f"{name}.keras")
        with pytest.raises(FileNotFoundError, match="none.keras"):
            predict.load_model(tmp_path / "none.keras")

    def test_code_in_a_file_does_not_run(self, path, tmp_path):
        """Neither that of a Lambda layer, nor a function that a configuration names: Keras would import it."""
        touched, inputs = str(tmp_path / "touched"), keras.Input((4, 4, 3))
        run = keras.layers.Lambda(lambda x: (open(touched, "w").close(), x)[1], output_shape=(4, 4, 3))
        keras.Model(inputs, run(inputs)).save(tmp_path / "lambda.keras")
        Path(touched).unlink(missing_ok=True)

        def name_a_function(config):
            config["config"]["layers"][1].update(module="os", class_name="system", registered_name="system")
            return config

        rewrite_config(path, tmp_path / "evil.keras", name_a_function)
        for name, message in (("lambda", ".*Lambda"), ("evil", "")):
            with pytest.raises(ValueError, match=f"{name}.keras: cannot be opened as a model: {message}"):
                predict.load_model(tmp_path / f"{name}.keras")
        assert not Path(touched).exists()


def rewrite_config(path, to, change):
    """A copy of a model's file with another configuration."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as archive:
        for name in old.namelist():
            content = old.read(name)
            archive.writestr(name, json.dumps(change(json.loads(content))) if name == "config.json" else content)


def test_classes_are_named_by_the_file_beside_the_model_or_numbered(tmp_path):
    model = tmp_path / "best.keras"
    assert predict.find_labels(model, 2).names == ("class 0", "class 1")
    MAP.save(tmp_path / predict.LABELS)
    assert predict.find_labels(model, 2) == MAP
    for count, message in ((3, "labels.json names 2 classes, but best.keras has 3"), (256, "labels.json names 2")):
        with pytest.raises(ValueError, match=message):
            predict.find_labels(model, count)
