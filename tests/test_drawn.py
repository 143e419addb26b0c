"""What holds of both drawn datasets: scenes that never change, splits that share none, and TFDS gives them back."""

import dataclasses
import hashlib
import io
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import PIL
import PIL.Image
import pytest
from tqdm import tqdm

from seglib.datasets import cells, drawn, streets

pytestmark = pytest.mark.slow

# sha256 over the arrays of three scenes; a change of the drawings must change these and the version.
STREETS = {
    "tiny": "f0af400704e5dc82aca521c588f6d881a89ed0753c3e29476e112cc16efc9ddf",
    "small": "59eaf6532779c0797edfc90e5add21cfcd89f16264f9fcd604081b3e86bc2a4b",
    "full": "82c8584a6f4f908588f54b00eb5771cba03cef0800b18100f918cec64c5e5947",
}
CELLS = {
    "tiny": "10839ae5ee084a6d48d8ffaa963b823b775b7a8dc6445f3da2c3124c73fc3e07",
    "small": "83ac2befce5abfdbbf1ec60a389746edf27d6a04430f13a2250bb3ff59e1109f",
    "full": "3e3fe2889e5e30b20218ea1920f02c9996a2643ee888b97b94ecfd7aa26c7ae0",
}
old_pillow = pytest.mark.skipif(
    tuple(map(int, PIL.__version__.split(".")[:2])) < (11, 3),
    reason="Pillow before 11.3 fills a few slivers of polygons differently: in about one pixel of 500",
)


@pytest.fixture(params=["streets", "cells"])
def dataset(request):
    """A dataset: its module, how it draws a scene and the names of the (height, width) arrays of one."""
    if request.param == "streets":
        return SimpleNamespace(module=streets, draw=streets.draw_scene, make=streets.Streets, masks=("mask",))
    return SimpleNamespace(module=cells, draw=cells.draw_cells, make=cells.Cells, masks=("mask", "instances", "border"))


@old_pillow
@pytest.mark.parametrize("config", streets.SIZES)
def test_streets_never_change(config):
    digest = hashlib.sha256()
    for seed in (0, 4, 10_003):
        drawing = streets.draw_scene(seed, *streets.SIZES[config])
        digest.update(drawing.image.tobytes() + drawing.mask.tobytes())
    assert digest.hexdigest() == STREETS[config]


@pytest.mark.parametrize("config", cells.SIZES)
def test_cells_never_change(config):
    digest = hashlib.sha256()
    for seed in (0, 4, 10_003):
        drawing = cells.draw_cells(seed, *cells.SIZES[config])
        for field in dataclasses.fields(drawing):
            digest.update(getattr(drawing, field.name).tobytes())
    assert digest.hexdigest() == CELLS[config]


def test_splits_are_disjoint(dataset):
    counts = {streets: (400, 60, 100), cells: (60, 20, 40)}[dataset.module]
    splits = dataset.module.SPLITS
    assert {split: len(seeds) for split, seeds in splits.items()} == dict(
        zip(("train", "validation", "test"), counts, strict=True)
    )
    seeds = [seed for split in splits.values() for seed in split]
    assert len(set(seeds)) == len(seeds) and max(seeds) < 30_000
    scenes = [dataset.draw(seed, *dataset.module.SIZES["tiny"]) for split in splits.values() for seed in split[:10]]
    assert len({scene.image.tobytes() for scene in scenes}) == len({scene.mask.tobytes() for scene in scenes}) == 30


@pytest.mark.parametrize("config", ["tiny", "small", "full", (32, 50)])
def test_shapes_and_dtypes(dataset, config):
    size = dataset.module.SIZES.get(config, config)
    scene = dataset.draw(5, *size)
    assert scene.image.shape == (*size, 3) and scene.image.dtype == np.uint8
    assert {getattr(scene, name).shape for name in (*dataset.masks, "instances")} == {size}
    assert scene.mask.dtype == np.uint8
    assert dataset.module is streets or (scene.image == scene.image[..., :1]).all()  # cells are grey


@pytest.fixture
def processes(monkeypatch):
    """``processes(count)``: that many draw, however few the scenes; returns a list that those started are added to."""
    started, popen = [], subprocess.Popen

    def start(command, **options):
        process = popen(command, **options)
        if command[0] == sys.executable:  # others ask the system for its name
            started.append(process)
        return process

    def use(count):
        monkeypatch.setattr(drawn, "SCENES_EACH", 1)
        monkeypatch.setattr(drawn, "count_processors", lambda: count)
        monkeypatch.setattr(subprocess, "Popen", start)
        return started

    return use


@pytest.mark.parametrize("count", [0, 2], ids=["here", "two processes"])
def test_tfds_gives_back_what_was_drawn(dataset, tmp_path, monkeypatch, processes, count):
    started = processes(count)
    module, size = dataset.module, dataset.module.SIZES["tiny"]
    monkeypatch.setattr(module.builder, "SPLITS", {split: seeds[:3] for split, seeds in module.SPLITS.items()})
    builder = dataset.make(config="tiny", data_dir=tmp_path)
    builder.download_and_prepare()
    assert len(started) == 3 * count and all(process.returncode is not None for process in started)
    features = builder.info.features
    assert features["image"].shape == (*size, 3) and features["mask"].shape == (*size, 1)
    assert [config.name for config in dataset.make.BUILDER_CONFIGS] == list(module.SIZES) == ["tiny", "small", "full"]
    assert builder.info.splits.keys() == module.SPLITS.keys()
    for split, seeds in module.SPLITS.items():
        examples = list(builder.as_dataset(split=split).as_numpy_iterator())
        assert len(examples) == 3
        for seed, example in zip(seeds, examples, strict=False):
            drawing = dataset.draw(seed, *size)
            np.testing.assert_array_equal(example["image"], drawing.image)
            for name in dataset.masks:
                np.testing.assert_array_equal(example[name], getattr(drawing, name)[..., None])
                assert example[name].dtype == getattr(drawing, name).dtype
            if module is streets:
                np.testing.assert_allclose(example["objects"]["bbox"], drawing.boxes, atol=1e-6)
                np.testing.assert_array_equal(example["objects"]["label"], drawing.box_labels)
                np.testing.assert_array_equal(example["classes"], np.setdiff1d(drawing.mask, [255]))
    if module is streets:
        assert tuple(features["objects"]["label"].names) == streets.LABELS.names
        assert tuple(features["classes"].feature.names) == streets.LABELS.names


@pytest.mark.parametrize("shown", [True, False], ids=["notebook", "log"])
def test_drawing_shows_its_progress_on_stdout_but_in_no_log(tmp_path, monkeypatch, capsys, shown):
    monkeypatch.setattr(streets.builder, "SPLITS", {"train": range(3), "test": range(20_000, 20_002)})
    monkeypatch.setattr("tqdm.tqdm", lambda **style: tqdm(**{**style, "delay": 0, "mininterval": 0}))
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    if shown:
        monkeypatch.setitem(sys.modules, "ipykernel", sys)
    builder = streets.Streets(config="tiny", data_dir=tmp_path)
    builder.download_and_prepare()
    printed = capsys.readouterr()
    assert ("4/5" in printed.out) == shown and "Dataset" not in printed.out and "4/5" not in printed.err


def test_a_drawing_that_is_interrupted_does_not_count_as_whole(tmp_path, monkeypatch, processes):
    class Interrupted(tqdm):
        left = 5

        def update(self, n=1):
            self.left -= n
            if not self.left:
                raise KeyboardInterrupt

    monkeypatch.setattr("tqdm.tqdm", Interrupted)
    started = processes(2)
    builder = streets.Streets(config="tiny", data_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt) as interrupt:  # a notebook keeps it, too, and with it what was under way
        builder.download_and_prepare()
    assert interrupt.tb and len(started) == 2 and all(process.returncode is not None for process in started)
    assert not streets.Streets(config="tiny", data_dir=tmp_path).is_prepared()
    assert not list(tmp_path.rglob("dataset_info.json"))


def test_results_come_in_order_from_pythons_without_tensorflow(processes):
    started = processes(2)
    assert list(drawn.draw_all(abs, range(-21, 0))) == [*range(21, 0, -1)]
    loaded = "__import__('seglib.datasets.streets') and 'tensorflow' in __import__('sys').modules"
    pid = "__import__('os').getpid()"
    *loads, first, second, third = drawn.draw_all(eval, [loaded, loaded, pid, pid, pid])
    assert loads == [False, False]
    assert [first, second, third] == [started[2].pid, started[3].pid, started[2].pid]


@pytest.mark.parametrize("fault", ["_exit(1)", "write(1, b'not a pickle')", "kill(os.getpid(), 9)"])
def test_what_a_python_leaves_undone_is_drawn_here(processes, fault):
    started = processes(2)
    os_here = f"(os := __import__('os')).getpid() == {os.getpid()}"
    assert list(drawn.draw_all(eval, [f"{os_here} or os.{fault}", *[os_here] * 4])) == [True, False, True, False, True]
    assert all(python.returncode is not None for python in started)


def test_an_error_in_a_drawing_is_raised_here(processes):
    processes(2)
    with pytest.raises(ZeroDivisionError):
        list(drawn.draw_all(eval, ["1", "1 / 0"]))


def test_where_no_python_can_be_started_all_is_drawn_here(processes, monkeypatch):
    processes(2)
    monkeypatch.setattr(sys, "executable", None)
    assert list(drawn.draw_all(eval, ["__import__('os').getpid()"] * 2)) == [os.getpid()] * 2


@pytest.mark.parametrize(("shape", "dtype"), [((5, 7, 3), np.uint8), ((5, 7), np.uint8), ((5, 7), np.uint16)])
def test_png_holds_every_value(shape, dtype, rng):
    plane = rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    np.testing.assert_array_equal(PIL.Image.open(io.BytesIO(drawn.to_png(plane))), plane)
