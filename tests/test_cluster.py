import os
import re
import signal
import socket
import sys
import time

import keras
import numpy as np
import pytest
from PIL import Image

from seglib import __main__ as command_line
from seglib import models, predict
from seglib.labels import LabelMap
from seglib.predict import cluster

MAP = LabelMap(("sky", "road", "car"))


def run(*words):
    return command_line.main([str(word) for word in words])


def read(folder):
    """The bytes of all files in a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The path of a U-Net that has learnt nothing, with its label map beside it."""
    folder = tmp_path_factory.mktemp("model")
    keras.utils.set_random_seed(0)
    models.unet((None, None, 3), 3, filters=4, depth=2).save(folder / "best.keras")
    MAP.save(folder / "labels.json")
    return folder / "best.keras"


@pytest.fixture
def photos(tmp_path, rng):
    """60 images of several sizes and kinds, and a damaged one: four batches."""
    (tmp_path / "photos").mkdir()
    for i in range(60):
        pixels = rng.integers(0, 256, (40 + i % 3, 60 + i % 5, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i:02}.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera upright
    Image.fromarray(pixels).save(tmp_path / "photos" / "upright.jpg", exif=exif)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "photos" / "grey.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(tmp_path / "photos" / "of 16 bits é.png")
    (tmp_path / "photos" / "damaged.jpg").write_bytes((tmp_path / "photos" / "upright.jpg").read_bytes()[:-90])
    return tmp_path / "photos"


@pytest.fixture(scope="module")
def address():
    """A cluster of two processor cores, so of two workers, on this machine."""
    os.environ.update(cluster.SETTINGS)  # which Ray reads when it is imported
    pytest.importorskip("ray.data", reason="Ray is not installed: pip install 'seglib[ray]'")
    from ray.cluster_utils import Cluster

    settings = {"num_cpus": 2, "num_gpus": 0, "include_dashboard": False}
    for left in (2, 1, 0):
        try:
            head = Cluster(initialize_head=True, head_node_args=settings)
            break
        except Exception:  # on a busy machine it may take longer than the 30 seconds that Ray waits
            if not left:
                raise
    yield head.address
    head.shutdown()


@pytest.mark.long
def test_the_same_bytes_as_without_ray_also_after_an_interruption(
    model, photos, address, tmp_path, capsys, monkeypatch
):
    plain, out = tmp_path / "plain", tmp_path / "out"
    assert run("predict", model, photos, "--out", plain) == 1
    expected = capsys.readouterr()
    assert "63 masks written, 0 there already, 1 failed" in expected.out and "damaged.jpg" in expected.err

    network = predict.load_model(model)
    recipe = {"size": None, "tile": None}
    with cluster.connect(address) as spread, pytest.raises(KeyboardInterrupt):

        def interrupted(worker, state, paths):
            for i, row in enumerate(spread(worker, state, paths)):
                if i == 20:
                    raise KeyboardInterrupt
                yield row

        predict.segment_files(network, sorted(photos.iterdir()), out, MAP, predict.segment, recipe, interrupted)
    first = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert len(first) >= 19

    monkeypatch.chdir(tmp_path)  # the workers have a working directory of their own
    assert run("predict", model, "photos", "--out", "out", "--ray", address) == 1
    found = capsys.readouterr()
    written, kept = map(int, re.search(r"(\d+) masks written, (\d+) there already, 1 failed", found.out).groups())
    assert written + kept == 63 and kept >= len(first)  # a worker may have written one more before it was stopped
    assert found.err.splitlines()[-1] == expected.err.splitlines()[-1]
    assert read(out) == read(plain)
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert run("predict", model, photos / "00.png", "--out", out, "--ray", address) == 0  # nothing is left to do


@pytest.mark.long
def test_what_goes_wrong_in_a_worker_is_told_in_a_line(model, photos, address, tmp_path, capfd):
    assert run("predict", model, photos, "--out", tmp_path / "out", "--tile", "33", "--ray", address) == 1
    error = capfd.readouterr().err
    assert "a Ray worker failed: wanted a tile that is a multiple of 32" in error.splitlines()[-1]
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_workers_that_are_killed_cost_no_mask(model, photos, address, tmp_path):
    """Killed before a mask is written, before it is moved to its place, and after that: once each."""
    network, paths, marks = predict.load_model(model), sorted(photos.iterdir()), tmp_path / "marks"
    marks.mkdir()

    def dies(model, path):
        replace, mark = os.replace, marks / path.stem
        if path.stem in ("05", "25", "45") and not mark.exists():
            mark.touch()
            if path.stem == "05":
                os.kill(os.getpid(), signal.SIGKILL)

            def move(source, target):
                if path.stem == "45":
                    replace(source, target)
                os.kill(os.getpid(), signal.SIGKILL)

            os.replace = move
        return predict.segment(model, path)

    expected = predict.segment_files(network, paths, tmp_path / "plain", MAP)
    with cluster.connect(address) as spread:
        found = predict.segment_files(network, paths, tmp_path / "out", MAP, dies, None, spread)
    assert len([*marks.iterdir()]) == 3
    assert len(found.written) == 63 and found.failed == expected.failed
    assert read(tmp_path / "out") == read(tmp_path / "plain")


def test_a_mask_that_a_dead_worker_wrote_is_not_written_again(photos, tmp_path):
    """Ray repeats the batch of a worker that died, whose masks are there already."""

    def repeated(worker, state, paths):
        list(map(worker(*state), ({"item": str(path)} for path in paths[:2])))
        return map(worker(*state), ({"item": str(path)} for path in paths))

    inputs = keras.Input((None, None, 3))
    network = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
    paths = sorted(photos.glob("0*.png"))
    found = predict.segment_files(network, paths, tmp_path / "out", MAP, predict.segment, None, repeated)
    assert found.written == [tmp_path / "out" / path.name for path in paths] and not found.failed


def test_where_ray_is_missing_it_is_said(model, photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run("predict", model, photos, "--out", tmp_path / "out", "--ray") == 1
    error = capsys.readouterr().err
    assert "Ray Data is not installed" in error and 'pip install "seglib[ray]"' in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_that_nobody_answers_is_refused_at_once(model, photos, tmp_path, capsys, scheme):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        start = time.monotonic()
        assert run("predict", model, photos, "--out", tmp_path / "out", "--ray", f"{scheme}127.0.0.1:{port}") == 1
    assert time.monotonic() - start < 8
    error = capsys.readouterr().err
    assert f"no Ray cluster answers at {scheme}127.0.0.1:{port}: " in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()
