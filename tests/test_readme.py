"""The front page: it has a picture, its numbers are measured and its commands run; see test_documents, too."""

import re
import shlex
from pathlib import Path

import keras
import numpy as np
import pytest
from course import LESSONS
from PIL import Image

from seglib import __main__ as command_line

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def find_block(language, number=0):
    return re.findall(rf"```{language}\n(.+?)```", README, re.DOTALL)[number]


def test_it_begins_with_a_picture_and_two_commands():
    assert "](notebooks/figures/front.png)" in README.partition("## ")[0]
    assert re.findall(r"^make (\w+)", find_block("sh"), re.MULTILINE) == ["course", "test"]


def test_every_lesson_has_a_row():
    lessons = sorted(path.name for path in (ROOT / "notebooks").glob(LESSONS))
    assert re.findall(r"^\| \[.+?\]\(notebooks/(.+?)\)", README, re.MULTILINE) == lessons


def test_results_are_those_of_the_table():
    results = [row.split("|")[3] for row in README.splitlines() if row.startswith("| [")]
    measured = (ROOT / "bench" / "README.md").read_text(encoding="utf-8")
    numbers = re.findall(r"\d\.\d+", " ".join(results))
    assert len(numbers) >= 12 and not [number for number in numbers if number not in measured]


@pytest.mark.slow
def test_the_code_runs(tmp_path, monkeypatch, rng):
    """As it stands, but for two steps an epoch in place of 25."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(rng.integers(0, 256, (50, 70, 3), np.uint8)).save("photo.jpg")
    fit = keras.Model.fit
    monkeypatch.setattr(keras.Model, "fit", lambda self, data, **options: fit(self, data.take(2), verbose=0, **options))
    names = {}
    exec(find_block("python"), names)
    assert names["ids"].shape == (50, 70)


@pytest.mark.slow
def test_the_first_mask_is_that_of_a_street(tmp_path, monkeypatch):
    install, command = find_block("sh", 1).splitlines()
    assert install.startswith("pip install .")
    monkeypatch.chdir(tmp_path)
    Path("notebooks").symlink_to(ROOT / "notebooks")
    assert command_line.main(shlex.split(command, comments=True)[3:]) == 0
    with Image.open("build/first/street.png") as mask:
        ids, size = np.unique(mask), mask.size
    assert size == (192, 128) and {0, 1, 2, 3, 4, 6, 7} <= {*ids.tolist()} <= {*range(8)}


@pytest.mark.slow
def test_the_command_line_runs(folders, tmp_path, monkeypatch):
    """As it stands, but for a training of four steps with a narrow network."""
    monkeypatch.chdir(tmp_path)
    images, masks = folders
    images.rename("photos")
    masks.rename("masks")
    Path("new-photos").mkdir()
    (tmp_path / "photos" / "00.png").rename("new-photos/00.png")
    (tmp_path / "masks" / "00.png").unlink()
    lines = find_block("sh", 2).splitlines()
    assert [line.split()[3] for line in lines] == ["check", "train", "evaluate", "predict"]
    for line in lines:
        words = shlex.split(line)[3:]
        short = "--steps 4 --epochs 2 --filters 4 --crop 16 16".split() if words[0] == "train" else []
        code = command_line.main(words + short)
        assert code == 0 or words[0] == "check"  # noise has findings
    assert Path("new-masks/00.png").is_file()


def test_the_commands_for_more_than_one_device_are_understood():
    parse = command_line._build_parser().parse_args
    lines = [line.partition("python -m seglib ")[2] for line in find_block("sh", 3).splitlines()]
    devices, hosts, ray = [parse(shlex.split(line, comments=True)) for line in lines]
    assert devices.devices == "all" and ray.ray == ""
    assert (hosts.hosts, hosts.process, hosts.processes) == ("ADDRESS:PORT", 0, 2)
