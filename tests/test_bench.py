"""The measuring scripts run: on a folder like CamVid made here, and on the real one where it is."""

import csv
import importlib
import itertools
import os
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import lesson
from seglib import data, labels, models
from seglib.data import dataset

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SEGLIB_SHARED", ROOT.parent / "shared")) / "data"

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the measuring data (SEGLIB_SHARED) is not part of the project and is not here"
)


def load(name, monkeypatch):
    """A script of ``bench/`` as a module, for the functions in it."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module(name)


@pytest.fixture
def small_networks(monkeypatch):
    """The U-Nets of the scripts, of two levels of two channels: it is the script that is tested."""
    unet = models.unet
    monkeypatch.setattr(models, "unet", lambda *shape, **_: unet(*shape, filters=2, depth=2))


def main(script, shared, monkeypatch, *arguments):
    """Runs a script's ``main`` as the command line would, with the measuring data below ``shared``."""
    monkeypatch.setenv("SEGLIB_SHARED", str(shared))
    monkeypatch.setattr(sys, "argv", [script.__file__, *map(str, arguments)])
    script.main()


def write_camvid(root, rng, splits=("train", "val", "unseen"), count=3):
    """A folder like CamVid's, for scripts that are to run and not to measure."""
    for split in splits:
        for kind in ("images", "masks"):
            (root / "data" / "camvid" / split / kind).mkdir(parents=True)
        for i in range(count):
            mask = rng.integers(0, 12, (36, 48)).astype(np.uint8)  # 11 is void
            folder, name = root / "data" / "camvid" / split, f"{'0016E5' if i else '0006R0'}_{i}"
            Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
            Image.fromarray(np.stack([20 * mask] * 3, -1)).save(folder / "images" / f"{name}.jpg")


@pytest.mark.parametrize("name", ["camvid_cpu", "camvid_gpu", "input", "membrane"])
def test_without_their_data_they_say_so(tmp_path, monkeypatch, name):
    script = load(name, monkeypatch)
    monkeypatch.setattr(script, "FOLDER", tmp_path / "nowhere", raising=False)
    with pytest.raises(SystemExit, match="skipped: no .*SEGLIB_SHARED"):
        main(script, tmp_path, monkeypatch)


@pytest.mark.long
def test_camvid_trains_and_scores_every_folder(tmp_path, rng, monkeypatch, capsys, small_networks):
    script = load("camvid_gpu", monkeypatch)
    write_camvid(tmp_path, rng)
    for constant, value in {"SIZE": (36, 48), "BATCH": 3}.items():
        monkeypatch.setattr(script, constant, value)
    main(script, tmp_path, monkeypatch, "--epochs", 3, "--test", tmp_path / "data" / "camvid" / "unseen")
    printed = capsys.readouterr().out
    assert [line.split(":")[0] for line in printed.splitlines() if "mean IoU" in line] == ["val", "unseen"]
    assert "3 passes in" in printed and "bicyclist" in printed and "% of peak" in printed


@pytest.mark.long
@pytest.mark.parametrize("length", [("--seconds", 0.1), ("--steps",)], ids=["seconds", "steps"])
def test_camvid_compares_scratch_and_pretrained_in_one_run(tmp_path, rng, monkeypatch, capsys, length):
    """Random weights in both: what is held is that both are trained alike long and scored on the same images."""
    script = load("camvid_cpu", monkeypatch)
    write_camvid(tmp_path, rng)
    sizes = {"sizes": ((32, 32), (32, 64)), "batch_sizes": (1, 2), "steps": (2, 1), "score_size": (32, 32)}
    monkeypatch.setattr(script, "SCRATCH", script.Recipe({"filters": 2, "depth": 2}, **sizes))
    encoder = {"filters": 2, "encoder": "efficientnet_lite0"}
    monkeypatch.setattr(script, "PRETRAINED", script.Recipe(encoder, **sizes, frozen="block_2_add", factor=0.3))
    unseen = tmp_path / "data" / "camvid" / "unseen"
    main(script, tmp_path, monkeypatch, "--pretrained", "--held-out", "--test", unseen, *length)
    printed = capsys.readouterr().out.splitlines()
    scored = [line.split(":")[0] for line in printed if "mean IoU" in line]
    assert scored == ["val", "unseen", "0006R0*"] * 2
    ratios = [line.split(":")[0] for line in printed if "pretrained / scratch" in line]
    assert ratios == scored[:3]
    if length == ("--steps",):
        assert printed.count("3 steps, 4 images seen, 2.0 epochs") == 2  # 2 of 1 image, 1 of 2; 2 of 3 are trained on


def test_the_pretrained_recipe_freezes_the_first_blocks_and_batch_normalisation(monkeypatch):
    script = load("camvid_cpu", monkeypatch)
    recipe = script.PRETRAINED
    model = script.build(recipe._replace(network={**recipe.network, "weights": None}), np.ones(11))
    layers = model.get_layer("encoder").layers
    last = [layer.name for layer in layers].index("block_2_add")
    norms = [isinstance(layer, keras.layers.BatchNormalization) for layer in layers]
    assert [layer.trainable for layer in layers] == [i > last and not norm for i, norm in enumerate(norms)]
    assert sum(norms[: last + 1]) and sum(norms[last + 1 :])
    assert model.optimizer.factor == 0.3 and "block_3_expand_conv/kernel" in model.optimizer.slow


def test_the_operations_of_a_network_by_hand(monkeypatch):
    script = load("camvid_gpu", monkeypatch)
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(5, 3, padding="same")(inputs)  # 2 · 3·3·3·5 at each of 4·6 pixels
    x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Conv2DTranspose(2, 2, 2)(x)  # 2 · 2·2·5·2 at each of 2·3
    counted = script.count_operations(keras.Model(inputs, x), (4, 6))
    assert counted == 2 * 27 * 5 * 24 + 2 * 4 * 5 * 2 * 6


@pytest.mark.long
def test_the_input_is_measured(tmp_path, rng, monkeypatch, capsys):
    script = load("input", monkeypatch)
    write_camvid(tmp_path, rng, ["train"], count=10)
    folder = tmp_path / "data" / "camvid" / "train"
    for constant, value in {"FOLDER": folder, "SIZE": (18, 24), "BATCH": 1, "EPOCHS": 1}.items():
        monkeypatch.setattr(script, constant, value)
    monkeypatch.setattr(dataset, "CACHE_BYTES", dataset.CACHE_BYTES)  # put back what the script sets
    main(script, tmp_path, monkeypatch, "throughput")
    told = capsys.readouterr().out
    assert "Pillow, two processes" in told and "seglib is 1 (1–1) × as fast" in told
    monkeypatch.setattr(sys, "argv", ["-c", str(folder)])
    exec(script.COLD, {})
    assert float(capsys.readouterr().out.split()[-1]) > 0


def test_runs_over_seeds_go_on_where_they_were_stopped(tmp_path, monkeypatch):
    seeds = load("seeds", monkeypatch)
    ran = []

    def measure(model, seed):
        if (model, seed) == ("b", 0) and len(ran) == 2:
            raise KeyboardInterrupt
        ran.append((model, seed))
        return [f"0.{len(ran)}"]

    keys = [("a", 0), ("a", 1), ("b", 0)]
    path, fields = tmp_path / "made.csv", ("model", "seed", "miou")
    with pytest.raises(KeyboardInterrupt):
        seeds.collect(path, fields, keys, measure)
    assert [row["miou"] for row in csv.DictReader(path.open(newline=""))] == ["0.1", "0.2"]
    ran.append("a second start")
    rows = seeds.collect(path, fields, keys[::-1], measure)
    assert ran == [("a", 0), ("a", 1), "a second start", ("b", 0)]
    assert [row["miou"] for row in rows] == ["0.4", "0.2", "0.1"]
    assert seeds.spread([0.25, 0.75]) == "0.500 ± 0.354"
    # differences ½ and ¼: mean ⅜, standard deviation ¼ / √2, and over √2 again
    assert seeds.gain([0.75, 0.5], [0.25, 0.25]) == "+0.375, standard error 0.125"


def test_the_trials_of_the_study_are_those_that_it_draws(monkeypatch):
    pytest.importorskip("optuna", reason="optuna, which bench/study.py draws with, is no requirement of the course")
    study = load("study", monkeypatch)
    with study.CSV.open(newline="") as file:
        rows = list(csv.DictReader(file))
    keys = [tuple(row[column] for column in study.FIELDS[:-4]) for row in rows]
    assert keys == [tuple(map(str, key)) for key in study.draw()]
    assert sorted(map(int, {row["trial"] for row in rows})) == list(range(study.TRIALS))
    shares = lesson.measured("importance")
    assert list(shares) == list(study.SPACE)
    for score in study.SCORES:  # each forest's shares are shares of one whole
        np.testing.assert_allclose(np.sum([of[score] for of in shares.values()], axis=0), 1, atol=1e-3)


@pytest.mark.long
def test_a_step_is_measured(monkeypatch, capsys, small_networks):
    speed = load("speed", monkeypatch)
    monkeypatch.setattr(speed, "SIZE", (16, 24))
    monkeypatch.setattr(speed, "HIGHEST", 2)
    try:
        speed.measure("bfloat16")
    finally:
        keras.config.set_dtype_policy("float32")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(word, size) for word, size, *_ in lines] == [("step", "1"), ("step", "2")]
    assert all(float(seconds) > 0 and float(mib) >= 0 for *_, seconds, mib in lines)


def test_cells_found_merged_and_missed_by_hand(monkeypatch):
    cells = load("cells", monkeypatch)
    truth = np.repeat(np.array([[1, 1, 1, 0, 2, 2, 2, 0, 3, 3, 3, 0, 4, 4, 4, 4]]), 2, axis=0)
    whole = truth > 0
    assert cells.count_cells(truth, whole).tolist() == [4, 4, 0, 0]
    merged = whole.copy()
    merged[0, 3] = True  # one pixel of one line: cells 1 and 2 become one piece of 13 pixels, of which each is 6
    assert cells.count_cells(truth, merged).tolist() == [4, 2, 2, 0]
    missed = whole & (truth != 3)
    missed[0, 8] = True  # one pixel of six of the third cell is not most of it
    assert cells.count_cells(truth, missed).tolist() == [4, 3, 0, 1]
    small = whole & ~((truth == 4) & (np.arange(16) < 14))  # half of the fourth: its IoU is ½, which is not over ½
    small[1, 14] = True
    assert cells.count_cells(truth, small)[1] == 3


def test_views_of_cells_keep_lines_weights_and_order(monkeypatch):
    cells = load("cells", monkeypatch)
    drawings = cells.draw("validation")[: cells.BATCH]
    first, again, plain = (cells.Views(drawings, weighted, 1) for weighted in (True, True, False))
    (images, masks, weights), other = first[0], again[0]
    assert all(np.array_equal(a, b) for a, b in zip((images, masks, weights), other, strict=True))
    assert set(np.unique(masks)) == {0, 1, 255}  # turned corners are void
    assert weights.min() == 1 and 5 < weights.max() <= 11 and (weights[masks == 1] == 1).all()
    assert (plain[0][2] == 1).all() and np.array_equal(plain[0][1], masks)
    first.on_epoch_end()
    assert not np.array_equal(first[0][1], masks)


def test_rand_score_by_hand(monkeypatch):
    membrane = load("membrane", monkeypatch)
    mask = np.array([[1, 1, 0, 1, 1]] * 2)
    assert membrane.rand_score(mask, mask == 1) == 1
    # all in one piece: Σ p² = 2 · (½)², the prediction's share² is 1, the truth's 2 · (½)²
    assert membrane.rand_score(mask, np.ones((2, 5), bool)) == pytest.approx(0.5 / (0.5 * 1 + 0.5 * 0.5))
    # a thick membrane between the right pieces is thinned to nothing, and costs nothing
    thick = np.array([[1, 0, 0, 0, 1]] * 2, bool)
    assert membrane.find_cells(thick)[0].tolist()[::4] == [1, 2] and (membrane.find_cells(thick) > 0).all()
    assert membrane.rand_score(mask, thick) == 1
    assert membrane.rand_score(mask, np.zeros((2, 5), bool)) == pytest.approx(0.5 / 0.75)  # one piece of nothing


@pytest.mark.long
def test_membranes_train_and_are_scored(tmp_path, rng, monkeypatch, capsys, small_networks):
    membrane = load("membrane", monkeypatch)
    for kind in ("images", "masks"):
        (tmp_path / "data" / "membrane" / kind).mkdir(parents=True)
        for i in range(5):
            picture = 255 * (rng.random((40, 40)) < 0.8).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / "data" / "membrane" / kind / f"{i}.png")
    small = {"CROP": (16, 16), "STEPS": 2, "BATCH": 2, "TILE": 20, "EPOCHS": 1, "SEEDS": (0, 1)}
    for name, value in {**small, "CSV": tmp_path / "made.csv"}.items():
        monkeypatch.setattr(membrane, name, value)
    main(membrane, tmp_path, monkeypatch)
    rows = list(csv.DictReader((tmp_path / "made.csv").open(newline="")))
    assert [(row["split"], row["pairs"]) for row in rows] == [
        *[("train", "4"), ("val", "1")] * 2,
        *[("few", "2"), ("few held out", "1")],
    ]
    assert all(0 <= float(row[key]) <= 1 for row in rows for key in ("accuracy", "dice_membrane", "rand", "rand_best"))
    assert "held out: accuracy" in capsys.readouterr().out


@needs_shared
def test_real_camvid_and_membranes_are_read():
    folder = SHARED / "camvid" / "val"
    names = [f"class {i}" for i in range(11)]
    ids = {**{i: i for i in range(11)}, 11: 255}
    camvid = data.from_folder(folder / "images", folder / "masks", labels.LabelMap(names), ids, val=0, test=0)
    assert camvid.counts["train"] == 101 and set(camvid.sizes["train"]) == {(360, 480)}
    assert (camvid.class_pixels().sum(axis=0) > 0).all()
    folder = SHARED / "membrane"
    membrane = data.from_folder(folder / "images", folder / "masks", ids=labels.BINARY_255, val=0.2, test=0)
    assert membrane.counts == {"train": 16, "val": 4, "test": 0}
    assert membrane.labels.num_classes == 2


def test_the_losses_of_longer_are_those_of_imbalance_and_all_were_trained(monkeypatch):
    longer, imbalance = load("longer", monkeypatch), load("imbalance", monkeypatch)
    assert set(longer.LOSSES) <= set(imbalance.VARIANTS) == set(lesson.measured("imbalance"))
    table = lesson.table("longer")
    runs = set(zip(table["loss"], table["epochs"], table["seed"], strict=True))
    wanted = {name: itertools.product([name], longer.LENGTHS, seeds) for name, seeds in longer.LOSSES.items()}
    assert runs == set(itertools.chain(*wanted.values()))


def test_the_toy_has_the_shares_that_its_docstring_says():
    even = np.linspace(-1, 1, 2001)
    rate, width = np.meshgrid(even, even, indexing="ij")
    score = 2 * rate + width + 3 * rate * width
    shares = [score.mean(axis).var() / score.var() for axis in (1, 0)]
    np.testing.assert_allclose(shares, [1 / 2, 1 / 8], atol=1e-3)
    for found in lesson.measured("fanova").values():
        np.testing.assert_allclose(np.sum([found[name] for name in ("rate", "width", "seed")], axis=0), 1, atol=1e-3)
