"""What the mask doctor advises: following it mends the set, and does not make it worse."""

import numpy as np
import pytest
from PIL import Image

from seglib import data, doctor
from seglib.datasets.streets import LABELS as STREETS
from seglib.datasets.streets import draw_scene
from seglib.labels import LabelMap, one_based

ABC = LabelMap(("a", "b", "c"))


@pytest.fixture
def write(tmp_path, rng, monkeypatch):
    """Writes 12 pairs of files with these masks, and loads them by relative paths."""
    monkeypatch.chdir(tmp_path)

    def write(mask_of, labels=ABC, images="images", masks="masks", **options):
        for i in range(12):
            for folder, pixels in (
                (images, rng.integers(0, 256, (40, 60, 3), np.uint8)),
                (masks, np.asarray(mask_of(i), np.uint8)),
            ):
                (tmp_path / folder).mkdir(exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / folder / f"{i:02}.png")
        return data.from_folder(images, masks, labels, val=0, test=0, **options)

    return write


def find(report, kind):
    return next(finding for finding in report.findings if finding.kind == kind)


def bands(i, ids):
    return np.repeat(np.asarray(ids, np.uint8), 60 // len(ids))[None].repeat(40, axis=0)


def test_an_id_above_the_classes_may_be_void_as_well_as_a_class(write):
    mine = write(lambda i: bands(i, [0, 1, 2, 3]))
    do = find(doctor.check(mine), "ids out of range").do
    table = "ids={**{i: i for i in range(3)}, 3: 255}"
    assert table in do and "ids=labels.one_based(3)" in do and "a is 1" in do
    mended = write(lambda i: bands(i, [0, 1, 2, 3]), ids={**{i: i for i in range(3)}, 3: 255})
    assert np.unique(next(iter(mended.train))["mask"]).tolist() == [0, 1, 2, 255]


def test_ids_that_count_from_one(write):
    do = find(doctor.check(write(lambda i: bands(i, [1, 2, 3]))), "ids out of range").do
    assert "ids=labels.one_based(3, void=None)" in do and "255" not in do
    mended = write(lambda i: bands(i, [1, 2, 3]), ids=one_based(3, void=None))
    assert np.unique(next(iter(mended.train))["mask"]).tolist() == [0, 1, 2]


def test_relative_paths_keep_their_folders(write, tmp_path):
    mine = write(lambda i: bands(i, [0, 1, 2] if i else [0, 1, 7]))
    (tmp_path / "images" / "03.png").write_bytes(b"")
    report = str(doctor.check(mine))
    assert "masks/00.png: found ids outside" in report and "images/03.png" in report


def test_a_set_of_one_class_is_not_clean(write):
    report = doctor.check(write(lambda i: np.zeros((40, 60)), LabelMap(("lesion",))))
    assert find(report, "blank masks").severity == "warning" and not report.clean


def test_more_images_without_a_mask_than_with_one_are_meant(write, tmp_path):
    mine = write(lambda i: bands(i, [0, 1, 2]))
    for i in range(12, 26):
        Image.new("RGB", (60, 40)).save(tmp_path / "images" / f"{i}.png")
        mine = data.from_folder("images", "masks", ABC, val=0, test=0)
        severity = find(doctor.check(mine), "unpaired files").severity
        assert severity == ("note" if i - 11 > 12 else "warning")


@pytest.mark.parametrize("by", [1, -1])
def test_pairs_that_slipped_by_one_are_not_told_to_move(tmp_path, by):
    scenes = [draw_scene(seed, 128, 192) for seed in range(14)]
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for i in range(1, 13):
        Image.fromarray(scenes[i].image).save(tmp_path / "images" / f"{i:02}.png")
        Image.fromarray(scenes[i + by].mask).save(tmp_path / "masks" / f"{i:02}.png")
    report = doctor.check(data.from_folder(tmp_path / "images", tmp_path / "masks", STREETS, val=0.2, test=0))
    found = find(report, "pairs out of step")
    assert ("before" if by > 0 else "after") in found.what and len(found.files) == 24
    assert [finding.kind for finding in report.findings if finding.severity != "note"] == ["pairs out of step"]


def test_masks_that_follow_no_edge_are_a_note(tmp_path, rng):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (64, 96, 3), np.uint8)).save(tmp_path / "images" / f"{i:02}.png")
        Image.fromarray(draw_scene(i, 64, 96).mask).save(tmp_path / "masks" / f"{i:02}.png")
    report = doctor.check(data.from_folder(tmp_path / "images", tmp_path / "masks", STREETS, val=0, test=0))
    assert find(report, "masks off the edges").severity == "note"


def test_a_class_that_val_lacks_is_a_note(write):
    mine = write(lambda i: bands(i, [0, 1, 2]))
    val = mine.files["train"][-3:]
    for _, mask in val:
        Image.fromarray(bands(0, [0, 1])).save(mask)
    mine.files["val"], mine.files["train"] = val, mine.files["train"][:-3]
    found = find(doctor.check(mine), "classes missing from val or test")
    assert found.severity == "note" and "val lacks c" in found.what
