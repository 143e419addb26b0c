"""The demo's functions, and its page in a real browser where there is one."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import keras
import numpy as np
import pytest
from browser import Browser, find_missing, wait_for
from PIL import Image

from seglib import checkpoints, images, viz
from seglib import runs as seglib_runs
from seglib.demo import __main__ as demo
from seglib.demo import classes, photos
from seglib.labels import LabelMap

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv-demo" / "bin" / "python"
LABELS = LabelMap(("grey & dim", "red"), colours=((0, 0, 0), (255, 255, 255)))
PICTURE = np.full((60, 80, 3), 50, np.uint8)
PICTURE[:, 20:, 0] = 250  # red in the right three quarters
FILE_INPUT = "#photo input[type=file]"
TOAST = "[data-testid=toast-text]"
HOME = "\ue011"  # the key, in the WebDriver protocol


def build_model(size=(None, None)):
    """Class 1 where red is over half, with a confidence that can be computed by hand."""
    inputs = keras.Input((*size, 3))
    layer = keras.layers.Conv2D(2, 1)
    model = keras.Model(inputs, layer(inputs))
    kernel = np.zeros((1, 1, 3, 2), np.float32)
    kernel[0, 0, 0, 1] = 1 / 32
    layer.set_weights([kernel, np.array([127.5 / 32, 0], np.float32)])
    return model


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Models as the course leaves them: one with a label map, one without, one damaged, one cut short."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("named", "bare", "damaged", "a-2-steps"):
        (folder / name).mkdir()
        build_model().save(folder / name / "best.keras")
    LABELS.save(folder / "named" / "labels.json")
    (folder / "damaged" / "best.keras").write_bytes(b"no model")
    (folder / "named" / "history.csv").write_text("loss\n")
    return folder


@pytest.fixture(scope="module")
def photo_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "wall.png"
    Image.fromarray(PICTURE).save(path)
    return path


# The functions


def test_finds_models_named_ones_first_and_shortened_runs_last(runs, tmp_path):
    found = classes.find_models(runs)
    assert list(found) == ["named/best", "bare/best", "damaged/best", "a-2-steps/best"]
    assert found["bare/best"] == runs / "bare" / "best.keras"
    assert classes.find_models(tmp_path) == classes.find_models(tmp_path / "missing") == {}


@pytest.mark.parametrize(
    ("size", "shorter", "wanted"),
    [
        ((60, 80), None, (60, 80)),
        ((60, 80), 30, (30, 40)),
        ((80, 60), 120, (160, 120)),
        ((2**11, 2**13), None, (2**9, 2**11)),  # 2^24 pixels are 16 times as many as 2^20: a quarter of each side
        ((1, 2**20), 64, (1, 2**20)),
    ],
)
def test_size_keeps_the_shape_and_the_limit(size, shorter, wanted):
    assert photos.fit_size(size, shorter) == wanted


def test_side_of_the_input_is_that_of_the_training(tmp_path):
    build_model().save(tmp_path / "noted.keras")
    seglib_runs.attach_note(tmp_path / "noted.keras", {"scale": 0.5})
    assert classes.find_side(tmp_path / "noted.keras", (300, 400)) == 150
    assert classes.find_side(tmp_path / "none.keras", (300, 400)) == 64
    name, checkpoint = next(iter(checkpoints.CHECKPOINTS.items()))
    assert classes.find_side(checkpoints.FOLDER / f"{name}.npz", (300, 400)) == min(checkpoint.size)


def test_what_is_no_photo_is_named_without_its_folder(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(images.ImageError, match=r"^text.png: ") as caught:
        photos.read_photo(tmp_path / "text.png")
    assert str(tmp_path) not in str(caught.value)


def test_prediction_of_a_model_whose_answer_is_known(runs, tmp_path, photo_path):
    photo = photos.read_photo(photo_path)
    found = classes.predict_photo(photo, runs / "named" / "best.keras")
    np.testing.assert_array_equal(found.ids, PICTURE[..., 0] > 127)
    # Where red is 250 the logits are 127.5 / 32 and 250 / 32: a probability of 1 / (1 + exp(-122.5 / 32)).
    np.testing.assert_allclose(found.confidence[:, 20:], 1 / (1 + np.exp(-122.5 / 32)), rtol=1e-5)
    assert classes.predict_photo(photo, runs / "named" / "best.keras", 30).input_size == (30, 40)
    build_model((16, 24)).save(tmp_path / "one_size.keras")
    fixed = classes.predict_photo(photo, tmp_path / "one_size.keras", 30)
    assert fixed.input_size == (16, 24) and fixed.ids.shape == (60, 80)

    view = found._replace(confidence=np.linspace(0.5, 1, 80, dtype=np.float32)[None].repeat(60, axis=0))
    colours = images.read_image(classes.write_results(view, tmp_path)[1])[0, [0, 79]]
    np.testing.assert_allclose(colours, [[0, 34, 78], [254, 232, 56]], atol=2)  # the ends of cividis

    path = classes.write_overlay(found, {"red": 0.2}, tmp_path)
    left, right = images.read_image(path)[0, [0, 79]].tolist()
    assert left == [50] * 3  # a black background is not laid over the image
    assert right == [251, 91, 91]  # 0.8 · (250, 50, 50) + 0.2 · 255
    np.testing.assert_array_equal(
        images.read_image(classes.write_overlay(found, dict.fromkeys(LABELS.names, 0), tmp_path)), PICTURE
    )


def test_mask_of_a_large_photo_has_its_own_size_and_one_overlay_is_kept(runs, tmp_path):
    Image.new("RGB", (4096, 1024), (250, 0, 0)).save(tmp_path / "long.png")
    found = classes.predict_photo(photos.read_photo(tmp_path / "long.png"), runs / "named" / "best.keras", 16)
    assert (found.name, found.file_size, found.image.shape) == ("long", (1024, 4096), (512, 2048, 3))
    folder = tmp_path / "results"
    folder.mkdir()
    mask, _ = classes.write_results(found, folder)
    assert (images.read_mask(mask) == 1).all() and images.read_size(mask) == (1024, 4096)
    first, second = (classes.write_overlay(found, {}, folder) for _ in range(2))
    assert first != second and not Path(first).exists() and images.read_size(second) == (512, 2048)


def test_what_is_missing_is_said_in_a_line(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.modules", {**sys.modules, "gradio": None})
    for folder, message in ((tmp_path, f"no .keras file in {tmp_path}"), (runs, "gradio.*make demo")):
        with pytest.raises(SystemExit):
            demo.main(["--models", str(folder)])
        assert re.search(message, capsys.readouterr().err)


# The page


class Server:
    """``python -m seglib.demo`` in the environment of ``make demo``, with a folder of its own for temporary files."""

    def __init__(self, models, folder):
        self.folder, self.log = folder / "temporary", folder / "log.txt"
        self.folder.mkdir()
        environment = {**os.environ, "TMPDIR": str(self.folder), "PYTHONUNBUFFERED": "1"}
        with self.log.open("w") as log:
            command = [PYTHON, "-m", "seglib.demo", "--models", models]
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        wait_for(lambda: "the demo is at" in self.read_log() or self.process.poll() is not None, 120)
        assert self.process.poll() is None, self.read_log()
        self.address = self.read_log().partition("the demo is at ")[2].split()[0]

    def read_log(self):
        return self.log.read_text()

    def list_files(self):
        return {path.name for path in self.folder.rglob("*") if path.is_file() and path.stat().st_size}

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


@pytest.fixture(scope="module")
def server(runs, tmp_path_factory):
    if not (PYTHON.parents[1] / ".installed").exists():
        pytest.skip("there is no .venv-demo, which `make demo` sets up")
    if missing := find_missing():
        pytest.skip(missing)
    server = Server(runs, tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser(server, tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.stop()


@pytest.fixture
def page(browser, server):
    browser.call("POST", "/url", {"url": server.address})
    browser.find(FILE_INPUT)
    return browser


def choose_model(page, name):
    page.click("input[aria-label=Model]")
    page.click(f"[role=option][aria-label='{name}']")


@pytest.mark.slow
def test_photo_gives_overlay_legend_confidence_and_files(page, server, photo_path):
    choose_model(page, "named/best")
    page.type(FILE_INPUT, photo_path)
    page.find(".entry")
    assert page.read(".entry") == ["red75.0%", "grey & dim25.0%"]
    assert "60 pixels high, 80 wide" in page.read("#about")[0]
    ids = (PICTURE[..., 0] > 127).astype(np.uint8)
    overlay = images.read_image(page.download("#save-overlay", "wall-overlay.png"))
    np.testing.assert_array_equal(overlay, viz.overlay(PICTURE, ids, LABELS, classes.OPACITY))
    np.testing.assert_array_equal(images.read_mask(page.download("#save-mask", "wall-mask.png")), ids)
    page.click("button[role=tab]:nth-of-type(2)")
    wait_for(lambda: page.read("#confidence img", "naturalWidth") == [80])
    # Of the upload nothing is left.
    assert server.list_files() == {"wall-overlay.png", "wall-mask.png", "wall-confidence.png"}

    page.click("button[role=tab]:nth-of-type(1)")
    before = page.read("#overlay img", "src")
    page.type(".fade input[type=range]", HOME)  # red fades
    wait_for(lambda: page.read("#overlay img", "src") != before)
    overlay = images.read_image(page.download("#save-overlay", "wall-overlay.png"))
    np.testing.assert_array_equal(overlay[:, 20:], PICTURE[:, 20:])
    assert (overlay[:, :20] < PICTURE[:, :20]).all()


@pytest.mark.slow
def test_what_is_no_image_gives_a_message_and_the_next_photo_works(page, server, tmp_path, photo_path):
    (tmp_path / "text.png").write_text("this is no picture")
    page.type(FILE_INPUT, tmp_path / "text.png")
    page.find(TOAST)
    assert page.read(TOAST)[0].startswith("text.png: not an image that can be read")
    page.type(FILE_INPUT, photo_path)
    page.find(".entry")
    assert page.read(".entry") == [f"{LABELS.names[1]}75.0%", f"{LABELS.names[0]}25.0%"]
    choose_model(page, "damaged/best")
    wait_for(lambda: any("not a model" in text for text in page.read(TOAST)))
    assert "Traceback" not in server.read_log()


@pytest.mark.slow
def test_asks_and_listens_on_this_machine_alone(page, server):
    port = int(server.address.rsplit(":", 1)[1].strip("/"))
    rows = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port]
    assert listening == [f"0100007F:{port:04X}"]
    asked = page.list_requests()
    assert asked and not [url for url in asked if not url.startswith(server.address)]
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(server.address) as answer:
        assert answer.headers["content-security-policy"] == demo.CLOSED
    with pytest.raises(urllib.error.HTTPError, match="400"):
        direct.open(urllib.request.Request(server.address, headers={"Host": "elsewhere.example"}))


@pytest.mark.slow
def test_nothing_is_left_when_it_ends(page, server, photo_path):
    page.type(FILE_INPUT, photo_path)
    page.find(".entry")
    server.stop()
    assert server.list_files() == set()
