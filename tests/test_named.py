"""Datasets by name: what is embedded, what TFDS serves, and what is said when neither is at hand."""

import shutil

import numpy as np
import pytest

from seglib import data
from seglib.datasets.streets import builder


def pairs_of(split):
    return list(split.as_numpy_iterator())


def test_load_gives_the_streets():
    dataset = data.load("streets/tiny")
    assert dataset.counts["train"] >= 400 and dataset.counts["val"] >= 60 and dataset.counts["test"] >= 100
    for split in (dataset.train, dataset.val, dataset.test):
        pair = next(split.as_numpy_iterator())
        assert pair["image"].shape == (64, 96, 3) and pair["image"].dtype == np.uint8
        dataset.labels.check_ids(pair["mask"])
        assert pair["mask"].shape == (64, 96)
    assert dataset.is_cached("train")


def test_two_processes_may_draw_at_once(tmp_path, monkeypatch, capsys):
    """The one that ends second finds a finished folder where it wants to put its own."""
    monkeypatch.setattr(builder, "SPLITS", {"train": [0, 1], "validation": [2], "test": [3]})
    first = data.load("streets/tiny", data_dir=tmp_path / "first")
    assert first.counts == {"train": 2, "val": 1, "test": 1}
    draw = builder.draw_scene

    def overtaken(seed, *size):
        if seed == 3:
            shutil.copytree(tmp_path / "first", tmp_path / "second", dirs_exist_ok=True)
        return draw(seed, *size)

    monkeypatch.setattr(builder, "draw_scene", overtaken)
    second = data.load("streets/tiny", data_dir=tmp_path / "second")
    assert len(pairs_of(second.train)) == 2
    assert capsys.readouterr().out.count("drawing it once") == 2
    assert repr(data.load("streets/tiny", data_dir=tmp_path / "second")) == repr(second)
    assert "drawing" not in capsys.readouterr().out


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="no dataset 'street'; there are streets/tiny"):
        data.load("street")
