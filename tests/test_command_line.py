import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from seglib import __main__ as command_line
from seglib import data, images, models, predict, runs, train
from seglib.labels import LabelMap

MAP = LabelMap(("sky", "road", "car"))


def run(*words):
    return command_line.main([str(word) for word in words])


@pytest.fixture
def pairs(folders):
    """DATA on the command line, of ten pairs of 12×16 pixels."""
    return [*folders, "--classes", "sky, road, car"]


def train_words(pairs, out):
    options = "--filters 4 --crop 16 16 --steps 4 --epochs 2 --batch-size 4 --no-augment"
    return ["train", *pairs, "--out", out, *options.split()]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The path of a U-Net that has learnt nothing, with its label map beside it."""
    folder = tmp_path_factory.mktemp("model")
    models.unet((None, None, 3), 3, filters=4, depth=2).save(folder / "best.keras")
    MAP.save(folder / "labels.json")
    return folder / "best.keras"


@pytest.fixture
def photo(tmp_path, rng):
    path = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    return path


class TestPredict:
    @pytest.mark.parametrize("options", ["", "--size 16 24", "--tile 32"])
    def test_masks_in_the_colours_of_the_label_map(self, model, photo, tmp_path, options, capsys):
        assert run("predict", model, photo, "--out", tmp_path / "out", *options.split()) == 0
        assert "1 masks written, 0 there already, 0 failed" in capsys.readouterr().out
        network, image, path = predict.load_model(model), images.read_image(photo), tmp_path / "out" / "photo.png"
        expected = {
            "": lambda: predict.segment(network, image),
            "--size 16 24": lambda: predict.segment(network, image, (16, 24)),
            "--tile 32": lambda: predict.tiled(network, image, 32, 0),
        }[options]()
        np.testing.assert_array_equal(images.read_mask(path), expected)
        np.testing.assert_array_equal(np.asarray(Image.open(path).convert("RGB")), MAP.to_rgb(expected))

    @pytest.mark.parametrize("most", [2**20, 100], ids=["whole", "tiles"])
    def test_a_model_of_train_predicts_at_the_scale_of_its_plan(self, model, photo, tmp_path, monkeypatch, most):
        noted = shutil.copy(model, tmp_path / "noted.keras")
        runs.attach_note(noted, {"labels": {"names": ["a", "b", "c"]}, "scale": 0.5})
        monkeypatch.setattr(command_line, "MOST_PIXELS", most)
        assert run("predict", noted, photo, "--out", tmp_path / "out") == 0
        scaled, image = predict.Scaled(predict.load_model(noted), 0.5), images.read_image(photo)
        expected = predict.segment(scaled, image) if most > 600 else predict.tiled(scaled, image, 1024, 64)
        np.testing.assert_array_equal(images.read_mask(tmp_path / "out" / "photo.png"), expected)
        assert json.loads((tmp_path / "out" / "run.json").read_text())["classes"] == ["a", "b", "c"]

    def test_a_folder_and_again(self, model, photo, tmp_path, capsys):
        (photo.parent / "notes.txt").write_text("no image")
        (photo.parent / "._photo.png").write_text("what macOS leaves")
        (photo.parent / "folder.png").mkdir()
        words = ["predict", model, photo.parent, "--out", tmp_path / "out"]
        assert run(*words) == run(*words) == 0
        assert "0 masks written, 1 there already, 0 failed" in capsys.readouterr().out
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["photo.png", "run.json"]
        assert run(*words, "--tile", "32") == 1
        assert "tile was None, now it is 32" in capsys.readouterr().err

    def test_what_fails_is_said_and_the_rest_is_done(self, model, photo, tmp_path, capsys):
        (tmp_path / "bad.png").write_text("text")
        assert run("predict", model, tmp_path, "--out", tmp_path / "out") == 1
        printed = capsys.readouterr()
        assert "bad.png" in printed.err and "Traceback" not in printed.err
        assert "1 masks written, 0 there already, 1 failed" in printed.out

    def test_without_a_label_map_classes_are_numbered(self, model, photo, tmp_path, capsys):
        alone = tmp_path / "alone.keras"
        alone.write_bytes(model.read_bytes())
        assert run("predict", alone, photo, "--out", tmp_path / "out") == 0
        assert json.loads((tmp_path / "out" / "run.json").read_text())["classes"] == ["class 0", "class 1", "class 2"]
        LabelMap(("a", "b")).save(tmp_path / "labels.json")
        assert run("predict", alone, photo, "--out", tmp_path / "two") == 1
        assert "labels.json names 2 classes" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("predict {photo} {photo} --out {out}", "photo.png: not a model of Keras 3"),
            ("predict none.keras {photo} --out {out}", "none.keras"),
            ("predict {model} {empty} --out {out}", "no image in this folder"),
            ("predict {model} {photo} --out {photo}", "photo.png"),
            ("predict {model} {photo} --out {out} --tile 32 --size 64 64", "without --size"),
            ("predict {model} {photo} --out {out} --tile 33", "multiple of 32"),
            ("evaluate {model} streets/none", "streets/none"),
            ("check a b c", "got a b c"),
            ("check streets/tiny --classes a", "streets/tiny is none"),
            ("check {photos} {masks}", "from_folder in Python; here there is --classes)"),
        ],
    )
    def test_errors_are_one_line_without_a_trace(self, model, photo, tmp_path, capsys, words, message):
        places = {"model": model, "photo": photo, "out": tmp_path / "out"}
        for name in ("empty", "photos", "masks"):
            places[name] = tmp_path / name
            places[name].mkdir()
        Image.open(photo).save(tmp_path / "photos" / "a.png")
        Image.open(photo).convert("L").save(tmp_path / "masks" / "a.png")
        assert run(*words.format(**places).split()) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"seglib {words.split()[0]}: ") and message in error and "Traceback" not in error
        assert not (tmp_path / "out").exists()


class TestCheckTrainEvaluate:
    def test_a_sick_folder_is_told_by_the_exit_code(self, pairs, capsys):
        run("check", *pairs)
        whole = capsys.readouterr().out
        assert "sky" in whole and "damaged" not in whole
        mask = pairs[1] / "03.png"
        mask.write_bytes(mask.read_bytes()[:40])
        assert run("check", *pairs) == 1
        assert "03.png" in capsys.readouterr().out

    @pytest.mark.slow
    def test_train_interrupt_go_on_evaluate_and_refuse_another_run(self, pairs, tmp_path, capsys, monkeypatch):
        out = tmp_path / "run"
        words, save = train_words(pairs, out), train.Checkpoint.on_epoch_end
        monkeypatch.setitem(train.plans.NETWORKS, "unet", {"depth": 2})

        def interrupt(self, epoch, logs=None):
            save(self, epoch, logs)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(train.Checkpoint, "on_epoch_end", interrupt)
            assert run(*words) == 130
        assert "run it again, and it goes on" in capsys.readouterr().err
        assert run(*words) == 0
        printed = capsys.readouterr().out
        assert "1 of 2 epochs are done" in printed and "epoch   2/2" in printed and "epoch   1/2" not in printed
        assert predict.find_labels(out / "best.keras", 3) == MAP
        assert all((out / name).is_file() for name in ("plan.json", "log.csv", "progress.png", "worst.png"))
        scores = []
        for options, what in (("", "2 images that training has not seen"), ("--split test", "test")):
            assert run("evaluate", out / "best.keras", *pairs[:2], *options.split()) == 0
            found = capsys.readouterr().out
            assert "road  IoU 0." in found and f"images, {what}: mean IoU 0." in found
            scores.append(found.splitlines()[-1].partition(":")[2])
        assert scores[0] == scores[1]
        # What is in the folder is of these very data and options.
        best, recipe = (out / "best.keras").read_bytes(), (out / "run.json").read_text()
        for option, message in (("--seed 7", "seed was None, now it is 7"), ("--scale 1", "scale was None")):
            assert run(*words, *option.split()) == 1
            assert message in capsys.readouterr().err
        (out / "run.json").unlink()
        assert run(*words) == 1
        assert "no run.json" in capsys.readouterr().err
        (out / "run.json").write_text(recipe)
        (out / "best.keras").rename(tmp_path / "elsewhere")
        assert run(*words) == 1
        assert "best.keras is gone, but its run has ended; delete state-" in capsys.readouterr().err
        (tmp_path / "elsewhere").rename(out / "best.keras")
        Image.fromarray(np.zeros((12, 16), np.uint8)).save(pairs[1] / "03.png")
        assert run(*words) == 1
        assert "files was" in capsys.readouterr().err
        assert (out / "best.keras").read_bytes() == best and (out / "run.json").read_text() == recipe

    def test_a_run_that_made_nothing_leaves_the_folder_to_the_next(self, pairs, tmp_path, capsys):
        """Settings that cannot be leave no file; images that cannot be read leave files that do not count."""
        out = tmp_path / "run"
        words = train_words(pairs, out)
        assert run(*words, "--rate", "nan") == 1 and not out.exists()
        out.mkdir()
        for name in ("run.json", "plan.json"):
            (out / name).write_text("{}")
        for image in pairs[0].iterdir():
            image.write_bytes(image.read_bytes()[:100])
        assert run(*words) == 1
        assert "damaged" in capsys.readouterr().err

    def test_other_folders_are_read_as_in_training_and_scored_whole(self, model, pairs, tmp_path, capsys):
        """Painted masks, of which the other folder lacks a class: its colours mean what they meant in training."""
        note = {"labels": {"names": MAP.names}, "ids": [[[0, 9, 0], 0], [[0, 8, 0], 1], [[0, 7, 0], 2]], "seen": ["x"]}
        runs.attach_note(shutil.copy(model, tmp_path / "noted.keras"), note)
        (tmp_path / "painted").mkdir()
        for i, path in enumerate(sorted(pairs[1].iterdir())):
            painted = np.full((12, 16, 3), (0, 8 - i % 2, 0), np.uint8)
            Image.fromarray(painted).save(tmp_path / "painted" / path.name)
        assert data.from_folder(pairs[0], tmp_path / "painted").read_mask.table == {(0, 7, 0): 0, (0, 8, 0): 1}
        assert run("evaluate", tmp_path / "noted.keras", pairs[0], tmp_path / "painted") == 0
        printed = capsys.readouterr().out
        assert "sky   IoU nan" in printed or "sky   IoU 0.000" in printed
        assert "images, 10 images that training has not seen" in printed
        seen = [runs.sign_file(path) for path in pairs[0].iterdir()]
        runs.attach_note(shutil.copy(model, tmp_path / "all.keras"), {"seen": seen})
        assert run("evaluate", tmp_path / "all.keras", *pairs) == 1
        assert "training has seen all of these images" in capsys.readouterr().err

    @pytest.mark.slow
    def test_the_id_called_void_is_not_scored(self, pairs, tmp_path, capsys, monkeypatch):
        """Masks hold 0, 1, 2; with 1 called void two classes are left, sky and car, and evaluate knows of it."""
        monkeypatch.setitem(train.plans.NETWORKS, "unet", {"depth": 2})
        words = train_words([*pairs[:2], "--classes", "sky, void, car"], tmp_path / "run")
        assert run(*words) == 0
        best = tmp_path / "run" / "best.keras"
        assert predict.find_labels(best, 2).names == ("sky", "car")
        assert runs.read_note(best)["ids"] == [[255, 255], [0, 0], [1, 255], [2, 1]]
        assert run("evaluate", best, *pairs[:2]) == 0
        found = capsys.readouterr().out
        assert "car  IoU" in found and "void  IoU" not in found

    def test_coco_files_and_folders_of_instances(self, tmp_path, capsys):
        coco = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "box"}]}
        for i in range(8):
            image, mask = np.full((16, 16, 3), 20 * i, np.uint8), np.zeros((16, 16), np.uint8)
            mask[i : i + 4, :8] = 255
            for kind, array in (("images", image), ("masks", mask)):
                (tmp_path / "cells" / str(i) / kind).mkdir(parents=True)
                Image.fromarray(array).save(tmp_path / "cells" / str(i) / kind / f"{i}.png")
            (tmp_path / "photos").mkdir(exist_ok=True)
            Image.fromarray(image).save(tmp_path / "photos" / f"{i}.png")
            coco["images"].append({"id": i, "file_name": f"{i}.png", "height": 16, "width": 16})
            box = [0, i, 8, i, 8, i + 4, 0, i + 4]
            coco["annotations"].append({"id": i, "image_id": i, "category_id": 1, "segmentation": [box]})
        (tmp_path / "boxes.json").write_text(json.dumps(coco))
        run("check", tmp_path / "cells")
        assert "background, object" in (printed := capsys.readouterr().out) or "object" in printed
        run("check", tmp_path / "boxes.json", tmp_path / "photos")
        assert "8 images, 8 annotations" in (printed := capsys.readouterr().out) and "box" in printed
        run("check", tmp_path / "photos", tmp_path / "boxes.json")
        assert "8 images, 8 annotations" in capsys.readouterr().out

    def test_what_goes_wrong_within_the_input_is_told_in_a_line(self, model, pairs, capsys):
        for image in pairs[0].iterdir():
            image.write_bytes(image.read_bytes()[:100])
        assert run("evaluate", model, *pairs) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("seglib evaluate: ") and "damaged" in error and ".png" in error

    def test_a_model_of_other_classes_is_not_scored(self, model, pairs, capsys):
        assert run("evaluate", model, *pairs[:2], "--classes", "a,b,c,d") == 1
        assert "has 3 classes, images has 4" in capsys.readouterr().err

    @pytest.mark.long
    def test_training_under_jax(self, pairs, tmp_path):
        words = [*train_words(pairs, tmp_path / "run"), "--model", "fcn", "--epochs", "1"]
        command = [sys.executable, "-m", "seglib", *map(str, words)]
        done = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "jax"}, capture_output=True, text=True)
        assert done.returncode == 0 and "epoch   1/1" in done.stdout, done.stderr[-2000:]
        assert predict.load_model(tmp_path / "run" / "best.keras").output_shape[-1] == 3


def test_help_loads_nothing_heavy_and_prints_on_a_terminal_of_ascii():
    script = "import runpy, sys\nsys.argv[1:] = ['check', '--help']\n"
    script += "try: runpy.run_module('seglib', run_name='__main__')\nexcept SystemExit: pass\n"
    script += "print('heavy:', *({'tensorflow', 'keras', 'matplotlib', 'scipy', 'PIL'} & set(sys.modules)))"
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", script], env=ascii_only, capture_output=True, text=True)
    assert done.stdout.endswith("heavy:\n") and "--classes A,B,?" in done.stdout and not done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("predict", "required"),
        ("train a --out b --crop x 3", "'x'"),
        ("train a --out b --steps 0", "1 or more, got 0"),
    ],
)
def test_a_command_that_is_not_understood_ends_with_2(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        run(*words.split())
    assert ended.value.code == 2 and message in capsys.readouterr().err
