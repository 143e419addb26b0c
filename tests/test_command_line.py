import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from seglib import images, models, predict
from seglib.__main__ import main
from seglib.labels import LabelMap

MAP = LabelMap(("sky", "road", "car"))


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


def run(*words):
    return main([str(word) for word in words])


class TestPredict:
    def test_masks_in_the_colours_of_the_label_map(self, model, photo, tmp_path, capsys):
        assert run("predict", model, photo, "--out", tmp_path / "out") == 0
        assert "1 masks written, 0 there already, 0 failed" in capsys.readouterr().out
        mask = images.read_mask(tmp_path / "out" / "photo.png")
        np.testing.assert_array_equal(mask, predict.segment(predict.load_model(model), photo))
        painted = np.asarray(Image.open(tmp_path / "out" / "photo.png").convert("RGB"))
        np.testing.assert_array_equal(painted, MAP.to_rgb(mask))

    @pytest.mark.parametrize("options", [["--size", "16", "24"], ["--tta", "--crf"], ["--tile", "32"]])
    def test_every_look(self, model, photo, tmp_path, options):
        assert run("predict", model, photo, "--out", tmp_path / "out", *options) == 0
        mask = images.read_mask(tmp_path / "out" / "photo.png")
        network, image = predict.load_model(model), images.read_image(photo)
        if "--size" in options:
            expected = predict.segment(network, image, (16, 24))
        elif "--tile" in options:
            expected = predict.tiled(network, image, 32, 0)
        else:
            from seglib import crf

            expected = crf.refine(predict.tta(network, image), image).argmax(-1)
        np.testing.assert_array_equal(mask, expected)

    def test_a_folder_and_again(self, model, photo, tmp_path, capsys):
        (photo.parent / "notes.txt").write_text("no image")
        words = ["predict", model, photo.parent, "--out", tmp_path / "out"]
        assert run(*words) == run(*words) == 0
        assert "0 masks written, 1 there already, 0 failed" in capsys.readouterr().out
        assert run(*words, "--tta") == 1
        assert "the work of another run" in capsys.readouterr().err

    def test_what_fails_is_said_and_the_rest_is_done(self, model, photo, tmp_path, capsys):
        (tmp_path / "bad.png").write_text("text")
        assert run("predict", model, tmp_path, "--out", tmp_path / "out") == 1
        printed = capsys.readouterr()
        assert "bad.png: not an image" in printed.err and "Traceback" not in printed.err
        assert "1 masks written, 0 there already, 1 failed" in printed.out

    def test_a_wrong_option_does_not_claim_the_folder(self, model, photo, tmp_path):
        words = ["predict", model, photo, "--out", tmp_path / "out", "--tile"]
        assert run(*words, "33") == 1
        assert run(*words, "32") == 0

    def test_hidden_files_and_folders_are_no_images(self, model, photo, tmp_path):
        (photo.parent / "._photo.png").write_text("what macOS leaves")
        (photo.parent / "folder.png").mkdir()
        assert run("predict", model, photo.parent, "--out", tmp_path / "out") == 0
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["photo.png", "run.json"]

    def test_without_a_label_map_classes_are_numbered(self, model, photo, tmp_path, capsys):
        alone = tmp_path / "alone.keras"
        alone.write_bytes(model.read_bytes())
        assert run("predict", alone, photo, "--out", tmp_path / "out") == 0
        assert json.loads((tmp_path / "out" / "run.json").read_text())["classes"] == ["class 0", "class 1", "class 2"]
        LabelMap(("a", "b")).save(tmp_path / "two.json")
        assert run("predict", alone, photo, "--out", tmp_path / "two", "--labels", tmp_path / "two.json") == 1
        assert "two.json names 2 classes" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["predict", "{photo}", "{photo}", "--out", "{out}"], "photo.png: not a model of Keras 3"),
            (["predict", "none.keras", "{photo}", "--out", "{out}"], "none.keras: no such file"),
            (["predict", "{model}", "{empty}", "--out", "{out}"], "no image in this folder"),
            (["predict", "{model}", "{photo}", "--out", "{photo}"], "photo.png"),
            (["predict", "{model}", "{photo}", "--out", "{out}", "--tile", "32", "--tta"], "without the other options"),
            (["predict", "{model}", "{photo}", "--out", "{out}", "--tile", "33"], "multiple of 32"),
            (["evaluate", "{model}", "streets/none"], "streets/none"),
            (["check", "a", "b", "c"], "got 3: a b c"),
            (["check", "streets/tiny", "--classes", "a"], "streets/tiny is none"),
        ],
    )
    def test_errors_are_one_line_without_a_trace(self, model, photo, tmp_path, capsys, words, message):
        (tmp_path / "empty").mkdir()
        places = {"model": model, "photo": photo, "out": tmp_path / "out", "empty": tmp_path / "empty"}
        assert run(*(word.format(**places) for word in words)) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"seglib {words[0]}: ") and message in error and "Traceback" not in error


class TestCheckTrainEvaluate:
    def test_a_sick_folder_is_told_by_the_exit_code(self, folders, capsys):
        images_folder, masks = folders
        run("check", *folders, "--classes", "sky,road,car")
        whole = capsys.readouterr().out
        assert "sky" in whole and "damaged" not in whole
        (masks / "03.png").write_bytes((masks / "03.png").read_bytes()[:40])
        assert run("check", *folders, "--classes", "sky,road,car") == 1
        assert "03.png" in capsys.readouterr().out

    def test_train_interrupt_go_on_evaluate(self, folders, tmp_path, capsys, monkeypatch):
        out = tmp_path / "run"
        words = ["train", *folders, "--classes", "sky, road, car", "--out", out, "--filters", "4", "--size", "16", "16"]
        words += ["--epochs", "2", "--batch-size", "2", "--augment", "none"]
        from seglib.train.callbacks import Keep

        really = Keep.on_epoch_end

        def interrupt(self, epoch, logs=None):
            really(self, epoch, logs)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Keep, "on_epoch_end", interrupt)
            assert run(*words) == 130
        assert "interrupted; run it again, and it goes on" in capsys.readouterr().err
        assert run(*words) == 0
        printed = capsys.readouterr().out
        assert "1 of 2 epochs are done" in printed and "epoch   2/2" in printed and "epoch   1/2" not in printed
        assert LabelMap.load(out / "labels.json") == MAP
        assert run(*words[: words.index("--out") + 1], tmp_path / "whole", *words[words.index("--out") + 2 :]) == 0
        whole, resumed = (np.load(next(folder.glob("state-*.npz"))) for folder in (tmp_path / "whole", out))
        assert all(np.array_equal(whole[name], resumed[name]) for name in whole.files)
        capsys.readouterr()
        assert run("evaluate", out / "best.keras", *folders, "--classes", "sky,road,car", "--size", "16", "16") == 0
        printed = capsys.readouterr().out
        assert "road  IoU 0." in printed and "images test: mean IoU 0." in printed

    def test_a_folder_of_another_run_and_a_damaged_image(self, folders, tmp_path, capsys):
        words = ["train", *folders, "--classes", "sky,road,car", "--out", tmp_path / "run", "--filters", "4"]
        words += ["--size", "16", "16", "--epochs", "1", "--batch-size", "2", "--augment", "none"]
        assert run(*words) == 0
        best = (tmp_path / "run" / "best.keras").read_bytes()
        assert run(*words, "--seed", "7") == 1
        assert "the work of another run (seed was 0, now it is 7)" in capsys.readouterr().err
        assert (tmp_path / "run" / "best.keras").read_bytes() == best
        for image in folders[0].iterdir():
            image.write_bytes(image.read_bytes()[:100])
        words[words.index("--out") + 1] = tmp_path / "other"
        assert run(*words) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("seglib train: ") and "damaged or truncated" in error and ".png" in error

    def test_a_model_of_other_classes_is_not_scored(self, model, folders, capsys):
        assert run("evaluate", model, *folders, "--classes", "a,b,c,d") == 1
        assert "knows 3 classes, images has 4" in capsys.readouterr().err


def test_help_loads_nothing_heavy_and_wrong_words_end_with_2():
    script = "import sys; from seglib.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    script += "print('heavy:', *({'tensorflow', 'keras', 'matplotlib', 'scipy', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy:\n") and "segment images" in done.stdout
    captured = {"capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-m", "seglib", "predict"], **captured)
    assert done.returncode == 2 and "required" in done.stderr
    done = subprocess.run([sys.executable, "-m", "seglib", "train", "a", "--out", "b", "--size", "x", "3"], **captured)
    assert done.returncode == 2 and "at least 1, got 'x'" in done.stderr


def test_a_terminal_that_has_only_ascii():
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-m", "seglib", "check", "--help"], env=environment, capture_output=True)
    assert done.returncode == 0 and b"--classes A,B,?" in done.stdout and not done.stderr


@pytest.mark.parametrize("flush", [True, False])
def test_a_reader_that_has_read_enough(flush):
    """As ``| head -0`` is: the pipe is closed before anything is written, at once or only in the end."""
    script = f"""
import sys
from seglib import __main__ as command_line
def check(options):
    "Prints a line, when all is set."
    sys.stdin.read()
    print("a line", flush={flush})
command_line.check = check
sys.exit(command_line.main(["check", "photos"]))
"""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    with subprocess.Popen([sys.executable, "-c", script], env=buffered, **pipes) as process:
        process.stdout.close()
        process.stdin.close()
        assert not process.stderr.read()
    assert process.returncode == 141
