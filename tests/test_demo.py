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
from test_drawn import old_pillow

from seglib import checkpoints, images, viz
from seglib import runs as seglib_runs
from seglib.datasets import cells, streets
from seglib.demo import __main__ as demo
from seglib.demo import classes, clicks, photos
from seglib.labels import LabelMap

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv-demo" / "bin" / "python"
LABELS = LabelMap(("grey & dim", "red"), colours=((0, 0, 0), (255, 255, 255)))
PICTURE = np.full((60, 80, 3), 50, np.uint8)
PICTURE[:, 20:, 0] = 250  # red in the right three quarters
PICTURE_INPUT = "#picture input[type=file]"
FILE_INPUT = "#photo input[type=file]"
TOAST = "[data-testid=toast-text]"
CELLS, STREET = 30_001, 30_006  # seeds of the examples
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


class Colours:
    """Stands for the network of clicks: an object is what is as red as the first click, if that is over half.

    Its second answer is that object, as far as it is above all clicks outside; it expects an IoU of 0.9 of it.
    The first is everything, and the third nothing.
    """

    def get_layer(self, name):
        return {"encoder": lambda x, training: x[:, ::2, ::2, 0], "decoder": self.decode}[name]

    def decode(self, inputs, training):
        (red,), (placed,) = (np.asarray(x) for x in inputs)
        row, column = (placed[0, :2] // 2).astype(int)
        last = min([2 * len(red), *placed[placed[:, 2] < 0, 0]])
        above = 2 * np.arange(len(red))[:, None] < last
        masks = np.stack([red >= 0, (abs(red - red[row, column]) < 100) & above, red < 0], axis=-1)
        scores = (0.4, 0.9, 0.05) if red[row, column] > 127 else (0.2, 0.1, 0.05)
        masks = masks.repeat(2, axis=0).repeat(2, axis=1)
        return np.where(masks, 1.0, -1.0)[None], np.array([scores], np.float32)


@pytest.fixture
def work(monkeypatch, photo_path):
    """The red wall, before a click; it is shown at nine times its size."""
    monkeypatch.setattr(clicks, "open_network", Colours)
    return clicks.encode_photo(photos.read_photo(photo_path))


def press(work, row, column, inside=True):
    """A click in the middle of a pixel of the wall."""
    return clicks.add_click(work, (9 * column + 4, 9 * row + 4), inside)


@pytest.mark.parametrize(
    ("size", "shorter", "wanted", "shown"),
    [
        ((96, 96), photos.TRAINED, (96, 96), (768, 768)),
        ((500, 1000), photos.TRAINED, (128, 256), (500, 1000)),
        ((30, 300), photos.TRAINED, (30, 300), (60, 600)),
        ((96, 96), 64, (64, 64), (768, 768)),
        ((500, 1000), 0, (500, 1000), (500, 1000)),
        ((1, 1), photos.TRAINED, (1, 1), (768, 768)),
    ],
)
def test_points_of_the_picture_as_shown_are_pixels_of_the_input(monkeypatch, size, shorter, wanted, shown):
    monkeypatch.setattr(clicks, "open_network", Colours)
    scene = clicks.encode_photo(("a", np.zeros((*size, 3), np.uint8), size), shorter).scene
    assert (scene.input_size, clicks.show_size(scene)) == (wanted, shown)
    assert clicks.find_pixel(scene, (0, 0)) == (0, 0)
    assert clicks.find_pixel(scene, (shown[1] - 1, shown[0] - 1)) == (wanted[0] - 1, wanted[1] - 1)
    for row, column in ((wanted[0] // 2, wanted[1] // 3), (wanted[0] // 5, wanted[1] - 1)):
        y, x = ((place + 0.5) * s / n for place, s, n in zip((row, column), shown, wanted, strict=True))
        assert clicks.find_pixel(scene, (int(x), int(y))) == (row, column)


def test_a_click_gives_the_mask_of_the_highest_estimate_and_another_corrects_it(work):
    assert not clicks.find_mask(work).any() and clicks.describe(work).startswith("Click inside an object")
    one, wrong = press(work, 10, 50)
    red = PICTURE[..., 0] > 127
    np.testing.assert_array_equal(clicks.find_mask(one), red)
    assert one.clicks == ((10, 50, True),) and not wrong
    said = "1 click, 0 of them outside the object. Area: 3,600 pixels of the network's input of 60 × 80."
    assert clicks.describe(one) == f"{said} Estimated IoU: 0.90."
    assert clicks.find_mask(one, 1).all() and not clicks.find_mask(one, 2).any()

    two, _ = press(one, 40, 50, inside=False)
    red[40:] = False
    np.testing.assert_array_equal(clicks.find_mask(two), red)
    assert clicks.describe(two).startswith("2 clicks, 1 of them outside")
    undone = clicks.answer(two.scene, two.clicks[:-1])
    np.testing.assert_array_equal(clicks.find_mask(undone), clicks.find_mask(one))
    assert clicks.answer(two.scene, ()) == work


def test_the_picture_shows_mask_contour_and_clicks(work):
    picture = clicks.draw_work(press(press(work, 10, 50)[0], 40, 60, inside=False)[0])
    blue, orange, green = (np.array(tuple(bytes.fromhex(c[1:]))) for c in (clicks.BLUE, clicks.ORANGE, clicks.GREEN))
    y, x = 9 * 10 + 4, 9 * 50 + 4
    assert all((picture[y + dy, x + dx] == green).all() for dy, dx in ((0, 0), (8, 0), (0, -8)))
    assert all((picture[y + dy, x + dx] == [255] * 3).all() for dy, dx in ((-12, 0), (0, 12)))
    y, x = 9 * 40 + 4, 9 * 60 + 4
    assert all((picture[y + d, x + d] == orange).all() for d in (-5, 0, 5)) and (picture[y, x + 8] != orange).any()
    np.testing.assert_array_equal(
        picture[200, [0, 177, 178, 179, 180, 181]], [[50] * 3] * 2 + [[255] * 3] * 2 + [blue] * 2
    )
    np.testing.assert_allclose(picture[200, 300], 0.65 * PICTURE[-1, -1] + 0.35 * blue, atol=1)
    np.testing.assert_array_equal(clicks.draw_work(work), PICTURE.repeat(9, 0).repeat(9, 1))


@pytest.mark.parametrize(
    ("first", "point", "inside", "message"),
    [
        (True, (454, 94), False, "clicks 1 and 2 contradict each other: row 10, column 50"),
        (True, (800, 94), True, "click 2 is outside the image: row 10, column 88 of 60×80 pixels"),
        (True, (454, -1), True, "click 2 is outside the image"),
        (False, (454, 94), False, "wanted a click inside the object"),
    ],
)
def test_a_click_that_cannot_be_is_left_out_and_the_reason_said(work, first, point, inside, message):
    before = press(work, 10, 50)[0] if first else work
    after, wrong = clicks.add_click(before, point, inside)
    assert after is before and wrong.startswith(f"This click does not count: {message}")


def test_on_the_background_it_is_said_that_there_may_be_no_object(work):
    background, wrong = press(work, 10, 5)
    assert "Estimated IoU: 0.20. That is low: there may be no object here." in clicks.describe(background)
    assert background.clicks == ((10, 5, True),) and not wrong
    assert "That is low" not in clicks.describe(press(work, 10, 50)[0])
    assert clicks.describe(background, 2).startswith("No object found here: the mask is empty. Estimated IoU: 0.05.")
    np.testing.assert_array_equal(clicks.draw_work(background, 2)[:, 180:], clicks.draw_work(work)[:, 180:])


def test_saved_mask_has_the_size_of_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(clicks, "open_network", Colours)
    wide = Image.new("RGB", (4096, 1024), (250, 0, 0))
    wide.paste((50, 0, 0), (0, 0, 4096, 512))
    wide.save(tmp_path / "wide.png")
    work = clicks.encode_photo(photos.read_photo(tmp_path / "wide.png"))
    work, _ = clicks.add_click(work, (700, 500), True)
    path = clicks.write_mask(work, 0, tmp_path)
    assert Path(path).name == "wide-object.png"
    np.testing.assert_array_equal(images.read_mask(path), np.arange(1024)[:, None].repeat(4096, 1) >= 512)
    np.testing.assert_array_equal(images.read_values(path).palette[:2], clicks.LABELS.colours)


@old_pillow
def test_the_examples_are_drawings():
    read = {name: images.read_image(Path(clicks.__file__).with_name(file)) for name, file in clicks.EXAMPLES.items()}
    np.testing.assert_array_equal(read["Cells"], cells.draw_cells(CELLS, 96, 96).image)
    np.testing.assert_array_equal(read["Street"], streets.draw_scene(STREET, 128, 192).image)


def test_the_examples_are_of_no_split():
    splits = [*cells.SPLITS.values(), *streets.SPLITS.values()]
    assert not [seed for seed in (CELLS, STREET) for split in splits if seed in split]


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
        self.process.wait(60)


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
    page.click("#confidence-tab-button")
    wait_for(lambda: page.read("#confidence img", "naturalWidth") == [80])
    # Of the upload nothing is left.
    assert server.list_files() == {"wall-overlay.png", "wall-mask.png", "wall-confidence.png"}

    page.click("#overlay-tab-button")
    before = page.read("#overlay img", "src")
    page.type(".fade input[type=range]", HOME)  # red fades
    wait_for(lambda: page.read("#overlay img", "src") != before)
    overlay = images.read_image(page.download("#save-overlay", "wall-overlay.png"))
    faded = viz.overlay(PICTURE, ids, LABELS, np.where(ids, 0, classes.OPACITY))
    np.testing.assert_array_equal(overlay, faded)


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


def read_example():
    return clicks.encode_photo(photos.read_photo(Path(clicks.__file__).with_name(clicks.EXAMPLES["Cells"])))


@pytest.fixture(scope="module")
def cell():
    """The pixel in the middle of the cell of the example that the repository's checkpoint segments best, and the work.

    The work is that after a click there.
    """
    work, instances, best = read_example(), cells.draw_cells(CELLS, 96, 96).instances, (0,)
    for number in range(1, instances.max() + 1):
        row, column = (round(places.mean()) for places in np.nonzero(instances == number))
        found = clicks.answer(work.scene, ((row, column, True),))
        mask, truth = clicks.find_mask(found), instances == number
        best = max(best, ((mask & truth).sum() / (mask | truth).sum(), (row, column), found), key=lambda row: row[0])
    assert best[0] > 0.7
    return best[1:]


def click_pixel(page, row, column, shift=False):
    """A real click in the middle of a pixel of the network's input, of the example with cells."""
    before = page.read("#clicked img", "src")
    page.click_image("#clicked img", 8 * column + 4, 8 * row + 4, shift)
    wait_for(lambda: page.read("#clicked img", "src") != before)


def read_sentence(page):
    return page.read("#status [role=status]")[0]


def wait_for_sentence(page, work):
    wait_for(lambda: read_sentence(page) == clicks.describe(work))


@pytest.mark.slow
def test_clicks_give_a_mask_correct_it_undo_and_save(page, server, cell):
    (row, column), one = cell
    page.click("#clicks-button")
    page.find("#clicked img")
    click_pixel(page, row, column)
    wait_for_sentence(page, one)
    labels = [label.strip() for label in page.read("#answers label")]
    assert labels == [f"estimated IoU {score:.2f}" for score in one.answers.scores]
    mask = clicks.find_mask(one)
    assert mask[row, column]
    np.testing.assert_array_equal(images.read_mask(page.download("#save-object", "cells-object.png")), mask)
    assert {name for name in server.list_files() if "wall" not in name} == {"cells-clicks.png", "cells-object.png"}

    there = tuple(np.argwhere(mask)[-1].tolist())
    two, _ = clicks.add_click(one, (8 * there[1] + 4, 8 * there[0] + 4), False)
    click_pixel(page, *there, shift=True)
    wait_for_sentence(page, two)
    saved = images.read_mask(page.download("#save-object", "cells-object.png"))
    np.testing.assert_array_equal(saved, clicks.find_mask(two))
    assert (saved != mask).any()

    page.click("#undo")
    wait_for_sentence(page, one)
    page.click("#answers label:nth-of-type(2)")
    wait_for(lambda: read_sentence(page) == clicks.describe(one, 1))
    page.click("#inside label:nth-of-type(2)")  # what Shift does, for a touch screen
    click_pixel(page, *there)
    wait_for_sentence(page, two)
    page.click("#clear")
    wait_for(lambda: read_sentence(page).startswith("Click inside"))
    assert page.read("#save-object", "disabled") == [True]


@pytest.mark.slow
def test_clicks_that_cannot_be_are_answered_with_a_sentence(page, server, tmp_path, cell):
    (row, column), one = cell
    page.click("#clicks-button")
    page.find("#clicked img")
    click_pixel(page, row, column, shift=True)
    wait_for(lambda: "wanted a click inside the object" in read_sentence(page))
    click_pixel(page, row, column)
    wait_for_sentence(page, one)
    click_pixel(page, row, column, shift=True)
    wait_for(lambda: "clicks 1 and 2 contradict each other" in read_sentence(page))

    Image.new("RGB", (40, 160), (90, 90, 90)).save(tmp_path / "tall.png")
    page.type(PICTURE_INPUT, tmp_path / "tall.png")
    wait_for(lambda: page.read("#clicked img", "naturalHeight") == [640])
    wait_for(lambda: read_sentence(page).startswith("Click inside"))
    page.click_image("#clicked img", -200, 300)  # beside the picture
    page.click_image("#clicked img", 80, 320)  # on a wall without an object
    wait_for(lambda: not read_sentence(page).startswith("Click inside"))
    work = clicks.encode_photo(photos.read_photo(tmp_path / "tall.png"))
    assert read_sentence(page) == clicks.describe(clicks.answer(work.scene, ((80, 20, True),)))

    (tmp_path / "text.png").write_text("this is no picture")
    page.type(PICTURE_INPUT, tmp_path / "text.png")
    page.find(TOAST)
    assert page.read(TOAST)[0].startswith("text.png: not an image that can be read")
    page.click("#street")
    wait_for(lambda: page.read("#clicked img", "naturalHeight") == [512])
    assert not [name for name in server.list_files() if name.startswith(("tall", "text"))]
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
