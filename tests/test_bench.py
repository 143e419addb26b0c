"""The measuring scripts run: on a folder like CamVid made here, and on the real one where it is."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglib import data, labels

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SEGLIB_SHARED", ROOT.parent / "shared")) / "data"

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the measuring data (SEGLIB_SHARED) is not part of the project and is not here"
)


def run(script, shared, *arguments):
    command = [sys.executable, f"bench/{script}", *arguments]
    env = {**os.environ, "SEGLIB_SHARED": str(shared), "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)


def write_camvid(root, rng, splits=("train", "val", "unseen"), count=3):
    """A folder like CamVid's, for scripts that are to run and not to measure."""
    for split in splits:
        for kind in ("images", "masks"):
            (root / "data" / "camvid" / split / kind).mkdir(parents=True)
        for i in range(count):
            mask = rng.integers(0, 12, (36, 48)).astype(np.uint8)  # 11 is void
            folder = root / "data" / "camvid" / split
            Image.fromarray(mask).save(folder / "masks" / f"{i}.png")
            Image.fromarray(np.stack([20 * mask] * 3, -1)).save(folder / "images" / f"{i}.jpg")


@pytest.mark.parametrize("script", ["camvid_cpu.py", "input.py"])
def test_without_camvid_they_say_so(tmp_path, script):
    result = run(script, tmp_path)
    assert result.returncode != 0 and "skipped: no CamVid here; set SEGLIB_SHARED" in result.stderr


def test_camvid_trains_and_scores_every_folder(tmp_path, rng):
    write_camvid(tmp_path, rng)
    result = run("camvid_cpu.py", tmp_path, "--seconds", "1", "--test", str(tmp_path / "data" / "camvid" / "unseen"))
    assert result.returncode == 0, result.stderr
    scored = [line for line in result.stdout.splitlines() if "mean IoU" in line]
    assert [line.split(":")[0] for line in scored] == ["val", "unseen"]
    assert "bicyclist" in result.stdout


def test_the_input_is_measured(tmp_path, rng):
    write_camvid(tmp_path, rng, ["train"], count=16)
    result = run("input.py", tmp_path, "cold", "throughput")
    assert result.returncode == 0, result.stderr
    assert "cold: first batch after" in result.stdout
    assert "Pillow, two processes" in result.stdout and "seglib is 1.00 × as fast" in result.stdout


@needs_shared
def test_real_camvid_and_membranes_are_read():
    folder = SHARED / "camvid" / "val"
    names = [f"class {i}" for i in range(11)]
    ids = {**{i: i for i in range(11)}, 11: 255}
    camvid = data.from_folder(folder / "images", folder / "masks", labels.LabelMap(names), ids, val=0, test=0)
    assert camvid.counts["train"] == 101 and set(camvid.sizes["train"]) == {(360, 480)}
    assert (camvid.class_pixels() > 0).all()
    folder = SHARED / "membrane"
    membrane = data.from_folder(folder / "images", folder / "masks", ids=labels.BINARY_255, val=0.2, test=0)
    assert membrane.counts == {"train": 16, "val": 4, "test": 0}
    assert membrane.labels.num_classes == 2
