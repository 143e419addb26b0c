import re

import numpy as np
import pytest
from PIL import Image

from seglib.data import DataError, from_instances
from seglib.labels import LabelMap

# Two instances in 4×6 pixels: a and b share the pixel (1, 2); c stands two columns to the right of b.
#
#   a a a . . .      a = rows 0–1, columns 0–2
#   a a X b . c      b = row 1, columns 2–3
#   . . . . . c      c = rows 1–2, column 5
#   . . . . . .
A, B, C = (np.zeros((4, 6), np.uint8) for _ in range(3))
A[0:2, 0:3] = B[1, 2:4] = C[1:3, 5] = 255
UNION = [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 1], [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]]
ALL = {"val": 0, "test": 0}


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def photo(value=0):
    return np.full((4, 6, 3), value, np.uint8)


@pytest.fixture
def nuclei(tmp_path):
    """Three images as in the 2018 challenge: ``one`` has the three instances, ``two`` has c alone, ``zero`` none."""
    root = tmp_path / "stage1"
    for i, (name, masks) in enumerate({"one": [A, B, C], "two": [C], "zero": []}.items()):
        save(root / name / "images" / f"{name}.png", photo(i))
        (root / name / "masks").mkdir()
        for k, mask in enumerate(masks):
            save(root / name / "masks" / f"{7 * k:x}f3a{k}.png", mask)
    return root


def masks_of(root, split="train", **how):
    """The masks in the order of the images' values."""
    dataset = from_instances(root, **(how or ALL))
    pairs = sorted(dataset.split(split).as_numpy_iterator(), key=lambda pair: pair["image"].max())
    return [pair["mask"].tolist() for pair in pairs]


class TestMasks:
    def test_instances_are_joined(self, nuclei):
        dataset = from_instances(nuclei, **ALL)
        assert masks_of(nuclei) == [UNION, (C // 255).tolist(), np.zeros((4, 6)).tolist()]
        assert dataset.labels.names == ("background", "object")
        assert repr(dataset) == "stage1: 2 classes, train 3 · val 0 · test 0 pairs"
        assert dataset.sizes["train"] == [(4, 6)] * 3

    def test_overlaps_become_void_where_asked(self, nuclei):
        expected = np.array(UNION)
        expected[1, 2] = 255  # X
        for void in ("overlap", ("overlap",)):
            assert masks_of(nuclei, void=void, **ALL)[0] == expected.tolist()

    def test_touching_pixels_become_void_where_asked(self, nuclei):
        # Within one pixel:  of a: rows 0–2, columns 0–3;  of b: rows 0–2, columns 1–4;  of c: rows 0–3, columns 4–5.
        # Of a and b: rows 0–2, columns 1–3.  Of b and c: rows 0–2, column 4, the gap between them.
        v = 255
        expected = [[1, v, v, v, v, 0], [1, v, v, v, v, 1], [0, v, v, v, v, 1], [0, 0, 0, 0, 0, 0]]
        for void in ("touch", ("overlap", "touch")):
            assert masks_of(nuclei, void=void, **ALL)[0] == expected

    def test_void_is_the_label_maps_ignore_id(self, nuclei):
        labels = LabelMap(("rest", "cell"), ignore_id=9)
        assert masks_of(nuclei, labels=labels, void=("overlap",), **ALL)[0][1][2] == 9

    def test_an_instance_may_be_stored_in_any_lossless_way(self, tmp_path):
        black = np.zeros((4, 6, 3), np.uint8)
        red = np.where(A[..., None] > 0, np.array([200, 0, 0], np.uint8), black)
        opaque = np.concatenate([red, np.full((4, 6, 1), 255, np.uint8)], axis=-1)
        stored = {"grey": A, "one": A // 255, "half": A // 2, "rgb": red, "rgba": opaque, "deep": A.astype("uint16")}
        pictures = {f"{name}.png": Image.fromarray(pixels) for name, pixels in stored.items()}
        pictures |= {"bits.png": Image.fromarray(A).convert("1"), "tiff.tif": Image.fromarray(A // 255)}
        for name, picture in pictures.items():
            save(tmp_path / name / "images" / "x.png", photo())
            (tmp_path / name / "masks").mkdir()
            picture.save(tmp_path / name / "masks" / name)
        assert masks_of(tmp_path) == [(A // 255).tolist()] * len(pictures)


PAINTED = photo()
PAINTED[0, 0], PAINTED[0, 1] = (255, 0, 0), (0, 255, 0)


@pytest.mark.parametrize(
    ("name", "pixels", "words"),
    [
        ("soft.png", np.arange(24).reshape(4, 6), "24 values, wanted two"),
        ("ids.png", A // 255 + 1, "2 values, wanted two: 0 outside"),
        ("painted.png", PAINTED, "3 values, wanted two"),
        ("lossy.jpg", A, "JPEG"),
        ("small.png", A[:3], r"3×6 .*two\.png is 4×6"),
        ("broken.png", None, "not an image"),
    ],
)
def test_masks_that_are_refused_when_their_pair_is_read(nuclei, name, pixels, words):
    path = nuclei / "two" / "masks" / name
    path.write_bytes(b"no picture") if pixels is None else save(path, pixels)
    dataset = from_instances(nuclei, **ALL)
    (key,) = [key for image, key in dataset.files["train"] if image.endswith("two.png")]
    with pytest.raises(ValueError, match=f"{name}: .*{words}"):
        dataset.read_mask(key)
    with pytest.raises(Exception, match=name):
        masks_of(nuclei)


class TestLayouts:
    def cases(self, root, **how):
        """The name of each pair, as ``groups=`` gets it, and how many masks the notes count."""
        names = []
        dataset = from_instances(root, **ALL, groups=lambda name: names.append(name) or name)
        return names, int(re.search(r"images, (\d+) masks", dataset.notes[0])[1])

    def test_a_folder_per_image(self, nuclei):
        assert self.cases(nuclei) == (["one.png", "two.png", "zero.png"], 4)

    def test_images_need_not_be_called_like_their_folders(self, tmp_path):
        for name in ("a", "b.1"):
            save(tmp_path / name / "images" / "image.png", photo())
            save(tmp_path / name / "masks" / "image_1.png", A)
        assert self.cases(tmp_path) == (["a.png", "b.1.png"], 2)

    def test_folders_called_for_splits_decide_and_may_be_links(self, nuclei, tmp_path):
        for split, name in {"train": "one", "val": "two", "test": "zero"}.items():
            (tmp_path / "all" / split).mkdir(parents=True)
            (tmp_path / "all" / split / name).symlink_to(nuclei / name)
        assert from_instances(tmp_path / "all").counts == {"train": 1, "val": 1, "test": 1}
        assert masks_of(tmp_path / "all", "val", val=None) == [(C // 255).tolist()]

    def test_what_operating_systems_leave_behind_is_not_looked_at(self, nuclei):
        junk = ["__MACOSX/one/images/._one.png", "one/images/._one.png", "one/images/Thumbs.db", ".git/images/x.png"]
        junk += ["one/masks/.DS_Store", "two/masks/._0f3a0.png", "zero/masks/desktop.ini", "two/masks/.cache/x.png"]
        before = from_instances(nuclei, **ALL)
        for place in junk:
            (nuclei / place).parent.mkdir(parents=True, exist_ok=True)
            (nuclei / place).write_bytes(b"junk")
        after = from_instances(nuclei, **ALL)
        assert (after.files, after.notes, after.unpaired) == (before.files, before.notes, ())


class TestReport:
    def test_notes_are_printed_before_a_pixel_is_read(self, nuclei, capsys):
        save(nuclei / "one" / "masks" / "small.png", A[:3])
        (nuclei / "two" / "images" / "two.png").write_bytes(b"no picture")
        dataset = from_instances(nuclei, val=0.3, test=0.3, groups="^(.)", name="mine")
        assert dataset.counts == {"train": 1, "val": 1, "test": 1}
        assert dataset.notes == (
            "3 images, 5 masks of instances, the first one/images/one.png with one/masks",
            "1 images without any mask are all background, the first zero/images/zero.png",
            "splits: drawn with seed 0, train 1, val 1, test 1, of 3 groups none in two",
        )
        assert capsys.readouterr().out.splitlines() == [f"mine: {note}" for note in dataset.notes]

    def test_official_lists_name_the_folders(self, nuclei, tmp_path):
        (tmp_path / "train.txt").write_text("one\n")
        (tmp_path / "val.txt").write_text("zero\ntwo.png\n")
        assert from_instances(nuclei, lists=tmp_path).counts == {"train": 1, "val": 2, "test": 0}


class TestRefused:
    def refused(self, root, match, **how):
        with pytest.raises(DataError, match=match):
            from_instances(root, **how)

    def test_folders_without_a_layout(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            from_instances(tmp_path / "nowhere")
        save(tmp_path / "photos" / "a.png", photo())
        self.refused(tmp_path, "wanted <image>/images")

    def test_an_image_without_a_folder_of_masks_and_the_reverse(self, nuclei):
        (nuclei / "zero" / "masks").rmdir()
        self.refused(nuclei, r"\(1\):\n.*stage1/zero: no folder masks")
        (nuclei / "zero" / "images").rename(nuclei / "zero" / "masks")
        self.refused(nuclei, r"stage1/zero: no folder images")

    def test_several_images_or_none_in_one_folder(self, nuclei):
        save(nuclei / "two" / "images" / "again.png", photo())
        self.refused(nuclei, r"masks/\*\.png.* \(1\):\n.*stage1/two/images: 2 images in it; wanted one")
        for path in (nuclei / "two" / "images").iterdir():
            path.unlink()
        self.refused(nuclei, r"stage1/two/images: 0 images")

    def test_one_mask_per_image_is_for_from_folder(self, folders):
        self.refused(folders[0].parent, r"data\.from_folder(.|\n)*/images: 10 images")

    def test_masks_in_folders_of_their_own(self, tmp_path):
        for name in ("images/a.png", "masks/a/1.png"):
            save(tmp_path / name, photo())
        self.refused(tmp_path, r"\(1\):\n.*masks/a: a folder")

    def test_not_one_mask(self, nuclei):
        for path in nuclei.glob("*/masks/*"):
            path.unlink()
        self.refused(nuclei, "stage1: 3 images, and not one mask")

    def test_void_and_labels(self, nuclei):
        self.refused(nuclei, "void=.*'overlap' and 'touch', got 'border'", void=("border",))
        self.refused(nuclei, "labels=.* a, b, c", labels=LabelMap(("a", "b", "c")))
