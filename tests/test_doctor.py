"""The doctor: clean sets are clean; in folders with planted faults it names the kind, the right files and no others."""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from seglib import data, doctor, images
from seglib.data.dataset import from_pairs
from seglib.datasets import cells
from seglib.datasets.streets import LABELS, draw_scene
from seglib.doctor import compare, facts
from seglib.labels import BINARY_255, LabelMap, one_based

SHARED = Path(os.environ.get("SEGLIB_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
COUNT = 24
pytestmark = pytest.mark.slow
BINARY = LabelMap(("other", "building"))


@pytest.fixture(scope="module")
def scenes():
    """Image and mask of 24 streets."""
    return [(scene.image, scene.mask) for scene in (draw_scene(seed, 64, 96) for seed in range(COUNT))]


class Folder:
    """A folder of pairs, 18 in train and 6 in val, all well; a test plants faults in some of them."""

    def __init__(self, root, scenes):
        self.root, self.scenes = root, scenes
        for i, (image, mask) in enumerate(scenes):
            self.save("images", i, image)
            self.save("masks", i, mask)

    def path(self, kind, i, ending="png"):
        return self.root / kind / ("train" if i < 18 else "val") / f"{i:02}.{ending}"

    def paths(self, *which):
        """The images and masks of these pairs."""
        return [self.path(kind, i) for kind in ("images", "masks") for i in which]

    def save(self, kind, i, pixels, ending="png", **options):
        for old in self.path(kind, i).parent.glob(f"{i:02}.*"):
            old.unlink()
        self.path(kind, i, ending).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(self.path(kind, i, ending), **options)
        return str(self.path(kind, i, ending))

    def change(self, kind, which, function, ending="png", **options):
        """Saves what ``function`` makes of these images or masks, and returns their paths."""
        return [self.save(kind, i, function(self.scenes[i][kind == "masks"]), ending, **options) for i in which]

    def check(self, labels=LABELS, **options):
        return doctor.check(data.from_folder(self.root / "images", self.root / "masks", labels, name="town", **options))


@pytest.fixture
def folder(tmp_path, scenes):
    return Folder(tmp_path, scenes)


def find(report, kind):
    """The finding of this kind, or None."""
    return next((finding for finding in report.findings if finding.kind == kind), None)


def assert_found(report, kind, files, severity):
    """The report has exactly this kind of errors and warnings (or this note), with exactly these files."""
    kinds = [finding.kind for finding in report.findings if finding.severity != "note" or finding.kind == kind]
    assert kinds == [kind], report
    found = find(report, kind)
    assert set(found.files) == set(map(str, files)) and found.severity == severity, found
    assert report.clean == (severity == "note")
    text = str(report)
    assert f"{severity}: {kind}" in text and all(str(file) in text for file in found.files[:3])
    # The text names five files at most, the finding all of them.
    assert len(files) <= 5 or (f"and {len(files) - 5} more" in text and str(found.files[5]) not in text)
    return found


def resize(pixels, size, how=Image.Resampling.BILINEAR):
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], how))


def draw_crack(rng):
    """A dark line of two pixels across rough ground, and a mask of it that is eight pixels wide."""
    ground = rng.normal(140, 8, (64, 96))
    mask = np.zeros((64, 96), np.uint8)
    heights = np.clip(32 + np.cumsum(rng.normal(0, 0.8, 96)), 8, 54).astype(int)
    for x, y in enumerate(heights):
        ground[y : y + 2, x], mask[y - 3 : y + 5, x] = 60, 1
    return np.repeat(ground.astype(np.uint8)[..., None], 3, -1), mask


def shift(mask, down, right):
    return np.roll(mask, (down, right), (0, 1))


def building(mask, value=1):
    return (mask == 1).astype(np.uint8) * np.uint8(value)


def cover(mask, columns):
    return np.where(np.arange(mask.shape[1]) < columns, 255, mask).astype(np.uint8)


def replace(mask, old, new):
    return np.where(mask == old, new, mask).astype(np.uint8)


def in_memory(name, labels, pairs):
    """A dataset of pairs that lie in no file."""
    images, masks = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    items = tf.data.Dataset.from_tensor_slices({"image": images, "mask": masks})
    return data.Dataset(name, labels, {"train": (items, lambda pair: pair)}, {"train": len(pairs)}, {"train": None})


def test_a_clean_folder_is_clean(folder):
    report = folder.check()
    assert report.clean and [f.kind for f in report.findings] == ["small or missing splits"], report
    assert "6 in val, 0 in test" in report.findings[0].what
    text = str(report)
    assert "town: clean" in text and "train (18), val (6)" in text
    assert "64×96 (24)" in text and "8-bit grey (24)" in text
    assert text == str(folder.check())


def test_pairs_in_no_file_are_named_by_their_place():
    drawn = [cells.draw_cells(seed, 64, 96) for seed in range(12)]
    pairs = [(one.image, one.mask.copy()) for one in drawn]
    report = doctor.check(in_memory("cells", cells.LABELS, pairs))
    assert report.clean and [finding.severity for finding in report.findings] == ["note"], report
    pairs[7][1][30:40, 30:40] = 9
    report = doctor.check(in_memory("cells", cells.LABELS, pairs))
    assert find(report, "ids out of range").files == ("cells train[7] mask",)
    assert [finding.severity for finding in report.findings] == ["error", "note"]
    report.show()
    plt.close("all")


@pytest.mark.parametrize(
    ("kind", "severity", "files", "which", "function", "ending"),
    [
        ("mixed encodings", "error", "masks", (6, 20), LABELS.to_rgb, "png"),
        ("lossy masks", "error", "masks", (5, 20), np.array, "jpg"),
        ("shifted masks", "warning", "masks", range(COUNT), lambda mask: shift(mask, 0, 3), "png"),
        ("flipped masks", "warning", "masks", (0, 1), np.fliplr, "png"),
        ("flipped masks", "warning", "masks", (0, 1), np.flipud, "png"),
        ("void masks", "warning", "masks", (3, 22), lambda mask: np.full_like(mask, 255), "png"),
        ("mostly void", "note", "masks", (3, 22), lambda mask: cover(mask, 60), "png"),
        ("empty images", "warning", "images", (3, 20), lambda image: image // 32, "png"),
        ("ids out of range", "error", "masks", [4], lambda mask: replace(mask, 2, 9), "png"),
        ("blank masks", "warning", "masks", [3], np.zeros_like, "png"),
    ],
)
def test_each_kind_with_its_files(folder, kind, severity, files, which, function, ending):
    paths = folder.change(files, which, function, ending)
    assert_found(folder.check(), kind, paths, severity)


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_truncated_empty_and_no_image_at_all(folder, kind):
    files = [folder.path(kind, i) for i in (3, 5, 20)]
    files[0].write_bytes(files[0].read_bytes()[:300])
    files[1].write_bytes(b"")
    files[2].write_text("no image")
    assert_found(folder.check(), f"unreadable {kind}", files, "error")


@pytest.mark.parametrize("change", [lambda mask: mask.T, lambda mask: mask[::2, ::2], lambda mask: mask[:50]])
def test_sizes_that_differ(folder, change):
    files = folder.change("masks", [4], change)
    found = assert_found(folder.check(), "sizes differ", files, "error")
    assert found.details[files[0]] == "{}×{}, its image 64×96".format(*change(folder.scenes[4][1]).shape)


@pytest.mark.parametrize(
    ("change", "labels", "kind", "words"),
    [
        (np.array, LabelMap((*LABELS.names, "tram")), "absent classes", "tram"),
        (lambda mask: building(mask, 255), LabelMap(("other", "house", "road")), "absent classes", "BINARY_255"),
        (lambda mask: mask % 8 + 20, LabelMap([f"c{i}" for i in range(19)]), "ids out of range", "CITYSCAPES_IDS"),
        (np.zeros_like, LabelMap(("lesion",)), "blank masks", "only lesion"),
    ],
)
def test_labels_that_do_not_fit_the_masks(folder, change, labels, kind, words):
    folder.change("masks", range(COUNT), change)
    report = folder.check(labels)
    assert not report.clean and words in str(find(report, kind))


class TestMasksThatHoldWhatTheyShouldNot:
    def test_unknown_colours(self, folder):
        files = folder.change("masks", range(COUNT), LABELS.to_rgb)
        assert folder.check().clean
        painted = LABELS.to_rgb(folder.scenes[7][1])
        painted[20:30, 20:30] = 1, 2, 3
        folder.save("masks", 7, painted)
        found = assert_found(folder.check(), "unknown colours", [files[7]], "error")
        assert "#010203" in found.details[files[7]]

    @pytest.mark.parametrize(
        ("ids", "table", "words"),
        [
            ([0, 1, 2, 3], {**{i: i for i in range(3)}, 3: 255}, "ids={**{i: i for i in range(3)}, 3: 255}"),
            ([0, 1, 2, 3], one_based(3), "ids=labels.one_based(3)"),
            ([1, 2, 3], one_based(3, void=None), "ids=labels.one_based(3, void=None)"),
        ],
    )
    def test_the_advice_on_ids_mends_them(self, folder, ids, table, words):
        files = folder.change("masks", range(COUNT), lambda mask: np.take(ids, mask % len(ids)).astype(np.uint8))
        labels = LabelMap(("a", "b", "c"))
        assert words in assert_found(folder.check(labels), "ids out of range", files, "error").do
        assert folder.check(labels, ids=table).clean

    def test_black_and_white_masks_among_ids(self, folder):
        folder.change("masks", range(COUNT), building)
        assert folder.check(BINARY).clean
        files = folder.change("masks", [3], lambda mask: building(mask, 255))
        assert_found(folder.check(BINARY), "mixed encodings", files, "warning")

    def test_ids_among_black_and_white_masks(self, folder):
        """They make void of all 255."""
        files = folder.change("masks", range(COUNT), lambda mask: building(mask, 255))
        assert folder.check(BINARY).clean
        folder.change("masks", [3], building)
        there = [file for i, file in enumerate(files) if i != 3 and (folder.scenes[i][1] == 1).any()]
        found = assert_found(folder.check(BINARY), "mixed encodings", there, "warning")
        assert "foreground" in found.details[there[0]] and "ids={0: 0, 1: 1, 255: 1}" in found.do
        assert folder.check(BINARY, ids={0: 0, 1: 1, 255: 1}).clean

    def test_interpolated_masks(self, folder):
        size = (48, 72)
        folder.change("images", (2, 19), lambda image: resize(image, size))
        files = folder.change("masks", (2, 19), lambda mask: resize(np.minimum(mask, 7), size))
        assert_found(folder.check(), "interpolated masks", files, "warning")

    @pytest.mark.parametrize(
        ("kind", "blur", "ending"),
        [("interpolated masks", True, "png"), ("lossy masks", False, "jpg"), ("lossy masks", False, "webp")],
    )
    def test_blurred_and_lossy_colours(self, folder, kind, blur, ending):
        folder.change("masks", range(COUNT), LABELS.to_rgb)
        painted = LABELS.to_rgb(folder.scenes[9][1])
        painted = resize(resize(painted, (128, 192)), (64, 96)) if blur else painted
        file = folder.save("masks", 9, painted, ending, quality=80)
        assert_found(folder.check(), kind, [file], "error")

    def test_images_and_masks_swapped(self, tmp_path, scenes):
        folder = Folder(tmp_path, [(LABELS.to_rgb(mask), image) for image, mask in scenes])
        assert_found(folder.check(), "images and masks swapped", folder.paths(*range(COUNT)), "error")


class TestMasksThatDoNotLieWhereTheyShould:
    def test_shifted_masks(self, folder):
        files = folder.change("masks", (0, 1, 21), lambda mask: shift(mask, 4, -5))
        found = assert_found(folder.check(), "shifted masks", files, "warning")
        assert {detail.partition(" of ")[0] for detail in found.details.values()} == {"4 px down and -5 px right"}

    def test_masks_wider_than_the_thin_lines_they_stand_for_are_not_shifted(self, tmp_path, rng):
        folder = Folder(tmp_path, [draw_crack(rng) for _ in range(COUNT)])
        assert folder.check(LabelMap(("road", "crack"))).clean

    def test_the_mask_of_another_image_is_never_sure_to_fit(self, scenes):
        for i, (image, _) in enumerate(scenes[:6]):
            fits = [compare.find_fit(image, mask) for j, (_, mask) in enumerate(scenes) if j != i]
            assert not any(fit.is_sure for fit in fits)

    def test_masks_of_other_images(self, folder):
        for i, other in ((8, 9), (9, 8)):
            folder.save("masks", i, folder.scenes[other][1])
        assert_found(folder.check(), "masks of other images", folder.paths(8, 9), "warning")

    @pytest.mark.parametrize(("by", "where"), [(1, "after"), (-1, "before")])
    def test_pairs_that_slipped_by_one_are_not_told_to_move(self, tmp_path, by, where):
        scenes = [draw_scene(seed, 128, 192) for seed in range(COUNT)]
        pairs = [(scenes[i].image, scenes[(i - by) % COUNT].mask) for i in range(COUNT)]
        folder = Folder(tmp_path, pairs)
        found = assert_found(folder.check(), "pairs out of step", folder.paths(*range(COUNT)), "warning")
        assert where in found.what

    def test_masks_that_follow_no_edge_are_a_note(self, tmp_path, scenes, rng):
        noise = [rng.integers(0, 256, image.shape, np.uint8) for image, _ in scenes]
        folder = Folder(tmp_path, list(zip(noise, [mask for _, mask in scenes], strict=True)))
        assert_found(folder.check(), "masks off the edges", [], "note")


class TestImagesThatAreThereTwice:
    @pytest.mark.parametrize(
        "change",
        [np.array, lambda image: (image * 0.7).astype(np.uint8), lambda image: resize(image, (80, 120)), np.fliplr],
        ids=["same", "darker", "larger", "flipped"],
    )
    def test_near_duplicates_across_splits(self, folder, change):
        image, mask = folder.scenes[2]
        file = folder.save("images", 20, change(image), "jpg", quality=85)
        changed = np.fliplr(mask) if change is np.fliplr else mask
        folder.save("masks", 20, resize(changed, Image.open(file).size[::-1], Image.Resampling.NEAREST))
        files = [file, folder.path("images", 2)]
        assert "groups=" in assert_found(folder.check(), "near-duplicates across splits", files, "warning").do

    def test_an_image_of_val_copied_to_test(self, folder):
        folder.save("images", 23, folder.scenes[20][0])
        pairs = [tuple(str(folder.path(kind, i)) for kind in ("images", "masks")) for i in range(COUNT)]
        splits = {"train": range(18), "val": range(18, 22), "test": range(22, COUNT)}
        report = doctor.check(from_pairs("town", LABELS, pairs, splits, images.read_mask))
        assert find(report, "near-duplicates across splits").files == (pairs[23][0], pairs[20][0])

    def test_frames_of_one_scene_are_a_note(self, folder):
        image, mask = (array.copy() for array in folder.scenes[2])
        image[36:46, 60:74], mask[36:46, 60:74] = image[20:30, 2:16], 6  # something small has moved
        files = [folder.save("images", 20, image), folder.path("images", 2)]
        folder.save("masks", 20, mask)
        assert "groups=" in assert_found(folder.check(), "same scene across splits", files, "note").do

    def test_one_image_with_two_masks(self, folder):
        image, mask = folder.scenes[2]
        folder.save("images", 3, image)
        folder.save("masks", 3, replace(mask, 4, 1))
        assert_found(folder.check(), "one image, two masks", folder.paths(2, 3), "warning")
        folder.save("masks", 3, mask)
        assert_found(folder.check(), "duplicates within a split", folder.paths(2, 3)[:2], "note")

    def test_copies_are_alike_and_other_images_are_not(self):
        scenes = [draw_scene(seed, 128, 192).image for seed in range(16)]
        thumbs = [compare.make_thumbnail(image) for image in scenes]
        changes = [
            lambda image: (255 * (image / 255) ** 1.5).astype(np.uint8),
            lambda image: image[::2, ::2],
            lambda image: image[3:-3, 5:-5],
            lambda image: np.rot90(image, 3),
        ]
        for i, change in enumerate(changes):
            ((_, key, _),) = compare.find_alike([compare.make_thumbnail(change(scenes[i]))], thumbs)
            assert key == i
        assert not compare.find_alike(thumbs[:8], thumbs[8:])


class TestClassesAndVoid:
    def test_blank_masks_where_few_classes_are_usual_are_a_note(self, folder):
        folder.change("masks", range(COUNT), building)
        files = folder.change("masks", [3], np.zeros_like)
        assert_found(folder.check(BINARY), "blank masks", files, "note")

    def test_classes_that_a_split_lacks(self, folder):
        folder.change("masks", range(18, 24), lambda mask: replace(mask, 7, 1))
        assert "pedestrian (val)" in assert_found(folder.check(), "classes missing from val or test", [], "note").what
        folder.change("masks", range(18), lambda mask: replace(mask, 7, 1))
        files = folder.change("masks", (19, 21), lambda mask: replace(mask, 1, 7))
        assert_found(folder.check(), "classes missing from train", files, "warning")

    def test_rare_classes_are_a_note(self, folder):
        folder.change("masks", range(COUNT), lambda mask: replace(mask, 7, 1))
        mask = folder.scenes[0][1].copy()
        mask[50, 50:60] = 7
        file = folder.save("masks", 0, mask)
        found = assert_found(folder.check(), "rare classes", [file], "note")
        assert "pedestrian" in found.what


def test_unpaired_files(folder):
    folder.path("masks", 5).unlink()
    folder.path("images", 6).unlink()
    files = [folder.path("images", 5), folder.path("masks", 6)]
    assert_found(folder.check(), "unpaired files", files, "warning")
    for i in range(30, 60):  # more images without a mask than with one: that is meant
        files.append(folder.save("images", i, folder.scenes[0][0]))
    assert_found(folder.check(), "unpaired files", files, "note")


def test_softness_is_the_share_of_edges_with_a_value_in_between():
    # 0 0 5 9 9: the neighbours of the three in the middle differ, and only 5 lies strictly between its own.
    row = np.array([0, 0, 5, 9, 9], np.uint8)
    assert facts.find_softness(np.tile(row, (20, 1))) == pytest.approx(1 / 3)
    assert facts.find_softness(np.tile(row, (4, 1))) == 0  # 12 edges are too few to tell
    assert facts.find_softness(np.tile(np.array([0, 0, 9, 5, 5], np.uint8), (20, 1))) == 0
    # Colours must lie between in every channel: (0, 9) – (5, 4) – (9, 0) does, (0, 9) – (5, 12) – (9, 0) does not.
    for green, share in ((4, 1), (12, 0)):
        colours = np.array([(0, 9, 0), (5, green, 0), (9, 0, 0)], np.uint8)
        assert facts.find_softness(np.tile(colours, (60, 1, 1))) == share


class TestReport:
    def test_the_table_gives_pixels_and_shares(self, rng):
        masks = [np.full((10, 10), value, np.uint8) for value in (0, 1, 1, 255)]
        pairs = [(rng.integers(0, 256, (10, 10, 3), np.uint8), mask) for mask in masks]
        report = doctor.check(in_memory("town", LabelMap(("sky", "road")), pairs))
        lines = [line.split() for line in str(report).splitlines()]
        assert ["0", "sky", "100", "33.3%", "33.3%"] in lines and ["1", "road", "200", "66.7%", "66.7%"] in lines
        assert "25.0% of the pixels void" in str(report)

    def test_figure_shows_the_shares_and_the_worst(self, folder):
        folder.change("masks", [9], lambda mask: shift(mask, 4, -5))
        folder.change("masks", [4], lambda mask: mask[:50])
        folder.path("images", 3).write_bytes(b"")
        folder.change("masks", [5], lambda mask: mask, "jpg")
        folder.save("images", 20, folder.scenes[2][0])
        folder.save("masks", 20, folder.scenes[2][1])
        folder.check().show()
        shares, examples = map(plt.figure, plt.get_fignums())
        examples.canvas.draw()
        assert [label.get_text() for label in shares.axes[0].get_yticklabels()] == list(LABELS.names)
        shown = [tuple(axis.get_xlabel() for axis in two) for two in zip(*[iter(examples.axes)] * 2, strict=True)]
        assert dict(zip((axis.get_title(loc="left") for axis in examples.axes[::2]), shown, strict=True)) == {
            "error: unreadable images": ("03.png", "03.png"),
            "error: sizes differ": ("04.png", "04.png"),
            "error: lossy masks": ("05.png", "05.jpg"),
            "warning: shifted masks": ("09.png", "09.png"),
            "warning: near-duplicates across splits": ("20.png", "02.png"),
        }
        assert [text.get_text() for text in examples.axes[0].texts] == ["cannot be read"]
        assert [len(axis.images) for axis in examples.axes] == [0] + 9 * [1]
        plt.close("all")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the measuring data (SEGLIB_SHARED) is not part of the project")
class TestRealData:
    """CamVid and the membranes are clean; shifted masks among CamVid's are found."""

    NAMES = "sky building pole road pavement tree sign fence car pedestrian bicyclist".split()
    IDS = {**{i: i for i in range(11)}, 11: 255}

    def camvid(self, split, **options):
        folder = SHARED / "camvid" / split
        return data.from_folder(folder / "images", folder / "masks", LabelMap(self.NAMES), self.IDS, **options)

    @pytest.mark.long
    @pytest.mark.parametrize(("split", "options"), [("train", {"seed": 1}), ("val", {"val": 0, "test": 0})])
    def test_camvid_is_clean(self, split, options):
        report = doctor.check(self.camvid(split, **options))
        assert report.clean, report
        assert bool(find(report, "same scene across splits")) == (split == "train")

    def test_membranes_are_clean(self):
        folder = SHARED / "membrane"
        report = doctor.check(data.from_folder(folder / "images", folder / "masks", ids=BINARY_255))
        assert report.clean, report

    def test_ten_masks_of_camvid_shifted_by_six_pixels_are_found(self, tmp_path, rng):
        val = self.camvid("val", val=0, test=0)
        pairs = val.files["train"]
        chosen = rng.choice(len(pairs), 10, replace=False)
        for i in chosen:
            angle = rng.uniform(0, 2 * np.pi)
            moved = shift(np.asarray(Image.open(pairs[i][1])), round(6 * np.sin(angle)), round(6 * np.cos(angle)))
            pairs[i] = pairs[i][0], str(tmp_path / f"{i}.png")
            Image.fromarray(moved).save(pairs[i][1])
        report = doctor.check(from_pairs("val", val.labels, pairs, {"train": range(len(pairs))}, val.read_mask))
        (found,) = [finding for finding in report.findings if finding.severity == "warning"]
        assert found.kind == "shifted masks"
        assert set(found.files) <= {pairs[i][1] for i in chosen} and len(found.files) >= 9
