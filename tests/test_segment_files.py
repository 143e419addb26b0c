import json
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from seglib import images, models, predict
from seglib.labels import LabelMap

MAP = LabelMap(("dark", "light"))


@pytest.fixture
def photos(tmp_path, rng):
    """Five photographs of different sizes."""
    (tmp_path / "photos").mkdir()
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (8 + i, 12, 3), np.uint8)).save(tmp_path / "photos" / f"{i}.jpg")
    return sorted((tmp_path / "photos").iterdir())


class Look:
    """Light where green is over half; remembers the files that it was shown, and dies at one of them."""

    def __init__(self, dies_at=None):
        self.seen, self.dies_at = [], dies_at

    def __call__(self, model, path):
        self.seen.append(path.stem)
        if path.stem == self.dies_at:
            raise KeyboardInterrupt
        return (images.read_image(path)[..., 1] > 127).astype(np.uint8)


def test_a_mask_for_every_image(photos, tmp_path):
    run = predict.segment_files(None, photos, tmp_path / "out", MAP, Look())
    assert [path.name for path in run.written] == [f"{i}.png" for i in range(5)] and not run.kept and not run.failed
    for photo, mask in zip(photos, run.written, strict=True):
        np.testing.assert_array_equal(images.read_mask(mask), Look()(None, photo))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [*(f"{i}.png" for i in range(5)), "run.json"]


def test_an_interrupted_run_goes_on_and_does_nothing_twice(photos, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict.segment_files(None, photos, out, MAP, Look(dies_at="3"), recipe={"model": "a"})
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert len(before) == 3
    look = Look()
    run = predict.segment_files(None, photos, out, MAP, look, recipe={"model": "a"})
    assert look.seen == ["3", "4"] and len(run.kept) == 3 and len(run.written) == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_killed_while_it_writes_leaves_nothing_half_written(photos, tmp_path):
    """The process ends, without a chance to tidy up, when the third mask is written but not yet in its place."""
    script = """
import os, sys
import numpy as np
from pathlib import Path
from seglib import predict
from seglib.labels import LabelMap
replace = os.replace
os.replace = lambda a, b: os._exit(9) if Path(b).name == "2.png" else replace(a, b)
look = lambda model, path: np.zeros((3, 4), np.uint8)
predict.segment_files(None, sorted(Path(sys.argv[1]).iterdir()), sys.argv[2], LabelMap(("dark", "light")), look)
"""
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", script, str(photos[0].parent), str(out)])
    assert done.returncode == 9
    assert sorted(path.name for path in out.glob("[!.]*.png")) == ["0.png", "1.png"]
    run = predict.segment_files(None, photos, out, MAP, Look())
    assert len(run.kept) == 2 and len(run.written) == 3
    assert not list(out.glob(".*")), "and what was left of the third is gone"


def test_masks_of_another_recipe_are_not_mixed(photos, tmp_path):
    out = tmp_path / "out"
    predict.segment_files(None, photos[:2], out, MAP, Look(), recipe={"model": "a"})
    look = Look()
    with pytest.raises(FileExistsError, match=r"the work of another run \(model was 'a', now it is 'b'\); write to"):
        predict.segment_files(None, photos, out, MAP, look, recipe={"model": "b"})
    with pytest.raises(FileExistsError, match="the work of another run"):
        predict.segment_files(None, photos, out, LabelMap(("x", "y")), look, recipe={"model": "a"})
    with pytest.raises(FileExistsError, match=r"the work of another run \(colours was"):
        red_and_blue = LabelMap(MAP.names, ((255, 0, 0), (0, 0, 255)))
        predict.segment_files(None, photos, out, red_and_blue, look, recipe={"model": "a"})
    (out / "run.json").write_text("{")
    with pytest.raises(FileExistsError, match="the work of another run"):
        predict.segment_files(None, photos, out, MAP, look, recipe={"model": "a"})
    assert not look.seen


def test_files_that_no_run_has_made_stay(photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "3.png").write_text("mine")
    with pytest.raises(FileExistsError, match=r"out/3.png is there already, which no run has made"):
        predict.segment_files(None, photos, out, MAP, Look())
    assert (out / "3.png").read_text() == "mine" and len(list(out.iterdir())) == 1


def test_a_mask_is_that_of_its_own_image_only(photos, tmp_path, rng):
    """Cameras name their pictures alike, and a picture may be replaced after its mask was made."""
    out, look = tmp_path / "out", Look()
    predict.segment_files(None, photos[:2], out, MAP, look)
    (tmp_path / "more").mkdir()
    other = tmp_path / "more" / "0.jpg"
    photos[4].rename(other)
    with pytest.raises(FileExistsError, match=r"0.png is the mask of another image than .*more/0.jpg"):
        predict.segment_files(None, [other, photos[2]], out, MAP, look)
    before = (out / "1.png").read_bytes()
    Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).save(photos[1])
    with pytest.raises(FileExistsError, match=r"1.png is the mask of another image than .*1.jpg, or of what that was"):
        predict.segment_files(None, photos[:2], out, MAP, look)
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(out / "3.png")
    with pytest.raises(FileExistsError, match="3.png is there already, which no run has made"):
        predict.segment_files(None, [photos[3]], out, MAP, look)
    assert look.seen == ["0", "1"] and (out / "1.png").read_bytes() == before
    (out / "run.json").rename(tmp_path / "run.json")
    with pytest.raises(FileExistsError, match="run.json is gone"):
        predict.segment_files(None, [photos[0]], out, MAP, look)
    (tmp_path / "run.json").rename(out / "run.json")
    photos[0].rename(tmp_path / "more" / "moved.jpg")  # and a picture that has only moved is the same
    (tmp_path / "more" / "moved.jpg").rename(other)
    assert predict.segment_files(None, [other], out, MAP, look).kept == [out / "0.png"]


def test_a_run_that_fails_at_once_leaves_nothing_behind(photos, tmp_path):
    def fail(model, path):
        raise ValueError("a tile is a multiple of 32")

    out = tmp_path / "out"
    with pytest.raises(ValueError, match="multiple"):
        predict.segment_files(None, photos, out, MAP, fail, recipe={"tile": 33})
    assert not out.exists()
    out.mkdir()
    (out / "run.json").write_text('{"tile": 33}')  # as of a run that was killed before its first mask
    assert len(predict.segment_files(None, photos, out, MAP, Look(), recipe={"tile": 32}).written) == 5
    assert json.loads((out / "run.json").read_text())["tile"] == 32


def test_masks_do_not_go_where_the_images_are(photos):
    with pytest.raises(ValueError, match="photos is a folder of the images"):
        predict.segment_files(None, photos, photos[0].parent, MAP, Look())
    with pytest.raises(FileExistsError, match="0.jpg is a file; wanted a folder"):
        predict.segment_files(None, photos, photos[0], MAP, Look())
    assert len(list(photos[0].parent.iterdir())) == 5


def test_the_longest_name_a_file_can_have(photos, tmp_path):
    photo = photos[0].rename(photos[0].with_name("ö" * 125 + "x.jpg"))
    assert predict.segment_files(None, [photo], tmp_path / "out", MAP, Look()).written[0].exists()


def test_bad_images_are_reported_and_do_not_stop_the_others(photos, tmp_path):
    photos[1].write_bytes(photos[1].read_bytes()[:-40])
    photos[2].write_text("text")
    run = predict.segment_files(None, photos, tmp_path / "out", MAP, Look())
    assert [path.stem for path in run.written] == ["0", "3", "4"]
    assert "1.jpg: damaged or truncated" in run.failed[photos[1]]
    assert "2.jpg: not an image" in run.failed[photos[2]]


def test_a_full_disk_ends_the_run_and_the_masks_before_are_whole(photos, tmp_path, rng, full_disk):
    Image.fromarray(rng.integers(0, 256, (300, 300, 3), np.uint8)).save(tmp_path / "z.png")
    with full_disk(3000), pytest.raises(OSError, match="z.png could not be written"):
        predict.segment_files(None, [*photos, tmp_path / "z.png"], tmp_path / "out", MAP, Look())
    masks = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert masks == [f"{i}.png" for i in range(5)]
    assert not list((tmp_path / "out").glob(".*"))


def test_images_of_one_name_are_refused_before_anything_is_done(photos, tmp_path):
    Image.open(photos[0]).save(tmp_path / "0.png")
    with pytest.raises(ValueError, match=r"the same name would share a mask: .*0.jpg, .*0.png"):
        predict.segment_files(None, [*photos, tmp_path / "0.png"], tmp_path / "out", MAP, Look())
    with pytest.raises(ValueError, match="no image"):
        predict.segment_files(None, [], tmp_path / "out", MAP, Look())
    assert not (tmp_path / "out").exists()


class TestModelFiles:
    @pytest.fixture
    def path(self, tmp_path):
        models.unet((None, None, 3), 2, filters=4, depth=2).save(tmp_path / "model.keras")
        return tmp_path / "model.keras"

    def test_a_saved_model_says_the_same(self, path, rng):
        image = rng.integers(0, 256, (16, 16, 3), np.uint8)
        model = predict.load_model(path)
        assert not model.compiled
        again = keras.models.load_model(path, compile=False)
        np.testing.assert_array_equal(predict.segment(model, image), predict.segment(again, image))

    def test_a_new_process_needs_no_list_of_layers(self, path):
        script = f"from seglib import predict; print(predict.load_model({str(path)!r}).count_params())"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.stdout.strip().isdecimal(), done.stderr

    def test_what_is_no_model_is_refused(self, path, tmp_path):
        (tmp_path / "text.keras").write_text("not a model")
        (tmp_path / "half.keras").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with zipfile.ZipFile(tmp_path / "zip.keras", "w") as archive:
            archive.writestr("readme.txt", "hello")
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "odd.keras", "w") as archive:
            for name in old.namelist():
                archive.writestr(name, b"[]" if name == "config.json" else old.read(name))
        for name, message in (
            ("none", "no such file"),
            ("text", r"not a model of Keras 3 \(11 bytes\)"),
            ("half", "not a model of Keras 3"),
            ("zip", "no model that can be opened"),
            ("odd", "no model that can be opened"),
        ):
            with pytest.raises(predict.ModelError, match=rf"{name}.keras: {message}"):
                predict.load_model(tmp_path / f"{name}.keras")

    @pytest.mark.parametrize(
        ("channels", "head", "shape"),
        [
            (3, lambda x: [keras.layers.Conv2D(2, 1)(x), keras.layers.Conv2D(2, 1)(x)], r"\[.*\]"),
            (3, lambda x: keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x)), r"\(None, 10\)"),
            (3, keras.layers.Conv2D(1, 1, activation="sigmoid"), r"\(None, None, None, 1\)"),
            (1, keras.layers.Conv2D(2, 1), r"\(None, None, None, 2\)"),
        ],
        ids=["two outputs", "a classifier", "one class", "grey images"],
    )
    def test_a_model_of_something_else_is_refused(self, tmp_path, channels, head, shape):
        image = keras.Input((None, None, channels))
        keras.Model(image, head(image)).save(tmp_path / "else.keras")
        with pytest.raises(predict.ModelError, match=rf"else.keras: turns \(.*, {channels}\) into {shape}; wanted"):
            predict.load_model(tmp_path / "else.keras")

    def test_a_folder_is_called_one(self, tmp_path):
        with pytest.raises(predict.ModelError, match="a folder; wanted a .keras file"):
            predict.load_model(tmp_path)

    def test_code_in_a_file_does_not_run(self, tmp_path):
        touched = tmp_path / "touched"
        inputs = keras.Input((4, 4, 3))

        def run(x):
            open(touched, "w").close()
            return x

        keras.Model(inputs, keras.layers.Lambda(lambda x: run(x), output_shape=(4, 4, 3))(inputs)).save(
            tmp_path / "lambda.keras"
        )
        touched.unlink(missing_ok=True)
        with pytest.raises(predict.ModelError, match="lambda.keras: holds code of its own .*refused"):
            predict.load_model(tmp_path / "lambda.keras")
        assert not touched.exists()

    def test_nothing_outside_of_keras_is_imported(self, path, tmp_path):
        """A configuration can name any module and function; Keras would import it, were it not refused."""
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "evil.keras", "w") as archive:
            for name in old.namelist():
                content = old.read(name)
                if name == "config.json":
                    config = json.loads(content)
                    config["config"]["layers"][1].update(module="os", class_name="system", registered_name="system")
                    content = json.dumps(config).encode()
                archive.writestr(name, content)
        with pytest.raises(predict.ModelError, match="evil.keras: no model that can be opened"):
            predict.load_model(tmp_path / "evil.keras")


def test_a_path_may_be_text(photos, tmp_path):
    run = predict.segment_files(None, [str(photos[0])], str(tmp_path / "out"), MAP, Look())
    assert run.written == [Path(tmp_path / "out" / "0.png")]


def test_classes_are_named_by_the_file_beside_the_model_or_numbered(tmp_path):
    model = tmp_path / "best.keras"
    assert predict.find_labels(model, 2).names == ("class 0", "class 1")
    MAP.save(tmp_path / predict.LABELS)
    assert predict.find_labels(model, 2) == MAP
    with pytest.raises(ValueError, match="labels.json names 2 classes, but best.keras tells 3 apart"):
        predict.find_labels(model, 3)
    LabelMap(("a", "b", "c")).save(tmp_path / "three.json")
    assert predict.find_labels(model, 3, tmp_path / "three.json").names == ("a", "b", "c")
    with pytest.raises(ValueError, match="best.keras tells 256 classes apart; a mask file holds 255 at most"):
        predict.find_labels(model, 256)
    with pytest.raises(ValueError, match="no.json: no label map"):
        predict.find_labels(model, 3, tmp_path / "no.json")
