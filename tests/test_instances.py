import numpy as np
import pytest
from PIL import Image

from seglib.data import DataError
from seglib.data.instances import NUMBERED, PER_FOLDER, PER_MASKS, find_cases, from_instances, read_instance
from seglib.images import ImageError
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


def masks_of(dataset, split="train"):
    """The masks in the order of the images' values."""
    pairs = sorted(dataset.split(split).as_numpy_iterator(), key=lambda pair: pair["image"].max())
    return [pair["mask"].tolist() for pair in pairs]


class TestMasks:
    def test_instances_are_joined(self, nuclei):
        dataset = from_instances(nuclei, **ALL)
        assert masks_of(dataset) == [UNION, (C // 255).tolist(), np.zeros((4, 6)).tolist()]
        assert dataset.labels.names == ("background", "object")
        assert repr(dataset) == "stage1: 2 classes, train 3 · val 0 · test 0 pairs"
        assert dataset.sizes["train"] == [(4, 6)] * 3

    def test_overlaps_become_void_where_asked(self, nuclei):
        expected = np.array(UNION)
        expected[1, 2] = 255  # X
        assert masks_of(from_instances(nuclei, void=("overlap",), **ALL))[0] == expected.tolist()
        assert masks_of(from_instances(nuclei, void="overlap", **ALL))[0] == expected.tolist()

    def test_touching_pixels_become_void_where_asked(self, nuclei):
        # Within one pixel:  of a: rows 0–2, columns 0–3;  of b: rows 0–2, columns 1–4;  of c: rows 0–3, columns 4–5.
        # Of a and b: rows 0–2, columns 1–3.  Of b and c: rows 0–2, column 4, the gap between them.
        v = 255
        expected = [[1, v, v, v, v, 0], [1, v, v, v, v, 1], [0, v, v, v, v, 1], [0, 0, 0, 0, 0, 0]]
        assert masks_of(from_instances(nuclei, void=("touch",), **ALL))[0] == expected
        assert masks_of(from_instances(nuclei, void=("overlap", "touch"), **ALL))[0] == expected

    def test_void_is_the_label_maps_ignore_id(self, nuclei):
        labels = LabelMap(("rest", "cell"), ignore_id=9)
        dataset = from_instances(nuclei, labels, void=("overlap",), **ALL)
        assert masks_of(dataset)[0][1][2] == 9 and dataset.labels is labels

    def test_an_instance_may_be_stored_in_any_lossless_way(self, tmp_path):
        black = np.zeros((4, 6, 3), np.uint8)
        red = np.where(A[..., None] > 0, np.array([200, 0, 0], np.uint8), black)
        opaque = np.concatenate([red, np.full((4, 6, 1), 255, np.uint8)], axis=-1)
        pictures = {"grey": A, "one": A // 255, "half": A // 2, "rgb": red, "rgba": opaque, "deep": A.astype("uint16")}
        for name, pixels in pictures.items():
            Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        Image.fromarray(A).convert("1").save(tmp_path / "bits.png")
        Image.fromarray(A // 255).save(tmp_path / "tiff.tif")
        for path in tmp_path.iterdir():
            np.testing.assert_array_equal(read_instance(path), A > 0, err_msg=path.name)

    def test_an_instance_of_no_pixel_adds_nothing(self, nuclei):
        save(nuclei / "two" / "masks" / "empty.png", np.zeros((4, 6)))
        assert masks_of(from_instances(nuclei, **ALL))[1] == (C // 255).tolist()


class TestMasksThatAreRefused:
    """Each message names the file of the mask, when its pair is read."""

    def refused(self, root, match, error=DataError):
        dataset = from_instances(root, **ALL)
        (key,) = [key for image, key in dataset.files["train"] if image.endswith("two.png")]
        with pytest.raises(error, match=match):
            dataset.read_mask(key)

    def test_grey_levels(self, nuclei):
        save(nuclei / "two" / "masks" / "soft.png", np.arange(24).reshape(4, 6))
        self.refused(nuclei, r"two/masks/soft\.png: found 24 values \(0, 1, 2, 3, …\), wanted two: 0 outside")

    def test_two_values_without_zero(self, nuclei):
        save(nuclei / "two" / "masks" / "ids.png", A // 255 + 1)
        self.refused(nuclei, r"ids\.png: found 2 values \(1, 2\), wanted two: 0 outside")

    def test_two_colours_in_one_file(self, nuclei):
        painted = photo()
        painted[0, 0], painted[0, 1] = (255, 0, 0), (0, 255, 0)
        save(nuclei / "two" / "masks" / "painted.png", painted)
        self.refused(nuclei, r"painted\.png: found 3 colours, wanted two")

    def test_jpeg(self, nuclei):
        Image.fromarray(A).save(nuclei / "two" / "masks" / "lossy.jpg", quality=50)
        self.refused(nuclei, r"lossy\.jpg: found \d+ values .* stored with loss")

    def test_another_size(self, nuclei):
        save(nuclei / "two" / "masks" / "small.png", A[:3])
        self.refused(nuclei, r"small\.png: the mask is 3×6 \(height×width\), its image .*two\.png is 4×6")

    def test_unreadable(self, nuclei):
        (nuclei / "two" / "masks" / "broken.png").write_bytes(b"no picture")
        self.refused(nuclei, r"broken\.png: not an image", ImageError)

    def test_the_file_is_named_in_training_too(self, nuclei):
        save(nuclei / "two" / "masks" / "small.png", A[:3])
        with pytest.raises(Exception, match=r"small\.png: the mask is 3×6"):
            masks_of(from_instances(nuclei, **ALL))


class TestLayouts:
    def cases(self, root):
        found, _ = find_cases(root)
        return [(case.name, [mask.rpartition("/")[2] for mask in case.masks], case.layout) for case in found]

    def test_a_folder_per_image(self, nuclei):
        expected = [("one.png", ["0f3a0.png", "7f3a1.png", "ef3a2.png"]), ("two.png", ["0f3a0.png"]), ("zero.png", [])]
        assert self.cases(nuclei) == [(name, masks, PER_FOLDER) for name, masks in expected]

    def test_images_need_not_be_called_like_their_folders(self, tmp_path):
        for name in ("a", "b"):
            save(tmp_path / name / "images" / "image.png", photo())
            save(tmp_path / name / "masks" / "image_1.png", A)
        assert [name for name, _, _ in self.cases(tmp_path)] == ["a.png", "b.png"]

    def test_a_folder_of_masks_per_image(self, tmp_path):
        for name, masks in {"a_1": [A, B], "a": [C], "b": []}.items():
            save(tmp_path / "images" / f"{name}.jpg", photo())
            (tmp_path / "masks" / name).mkdir(parents=True)
            for k, mask in enumerate(masks):
                save(tmp_path / "masks" / name / f"{k}.png", mask)
        expected = [("images/a.jpg", ["0.png"]), ("images/a_1.jpg", ["0.png", "1.png"]), ("images/b.jpg", [])]
        assert self.cases(tmp_path) == [(name, masks, PER_MASKS) for name, masks in expected]
        assert masks_of(from_instances(tmp_path, **ALL))[2] == np.zeros((4, 6)).tolist()

    def test_masks_numbered_after_their_image(self, tmp_path):
        for name in ("cell", "cell_10", "b"):
            save(tmp_path / "images" / f"{name}.png", photo())
        for name in ("cell_1", "cell-2", "cell_10_1", "cell_10_02"):
            save(tmp_path / "masks" / f"{name}.png", A)
        expected = {"b": [], "cell": ["cell-2.png", "cell_1.png"], "cell_10": ["cell_10_02.png", "cell_10_1.png"]}
        assert self.cases(tmp_path) == [(f"images/{name}.png", masks, NUMBERED) for name, masks in expected.items()]
        save(tmp_path / "masks" / "cell_10.png", A)  # the tenth of cell, or the one of cell_10?
        with pytest.raises(DataError, match=r"\(1\):\n.*masks/cell_10\.png: no image, or more than one, that it could"):
            find_cases(tmp_path)

    def test_folders_called_for_splits_decide(self, nuclei, tmp_path):
        for split, name in {"train": "one", "val": "two", "test": "zero"}.items():
            (tmp_path / "all" / split).mkdir(parents=True)
            (nuclei / name).rename(tmp_path / "all" / split / name)
        dataset = from_instances(tmp_path / "all")
        assert dataset.counts == {"train": 1, "val": 1, "test": 1}
        assert masks_of(dataset, "val") == [(C // 255).tolist()]

    def test_what_operating_systems_leave_behind_is_not_looked_at(self, nuclei):
        junk = ["__MACOSX/one/images/._one.png", "one/images/._one.png", "one/images/Thumbs.db", ".git/images/x.png"]
        junk += ["one/masks/.DS_Store", "two/masks/._0f3a0.png", "zero/masks/desktop.ini", "two/masks/.cache/x.png"]
        before = find_cases(nuclei)
        for place in junk:
            (nuclei / place).parent.mkdir(parents=True, exist_ok=True)
            (nuclei / place).write_bytes(b"junk")
        assert find_cases(nuclei) == before

    def test_other_files_are_reported(self, nuclei):
        (nuclei / "one" / "masks" / "readme.txt").write_text("hello")
        dataset = from_instances(nuclei, **ALL)
        assert [path.rpartition("stage1/")[2] for path in dataset.unpaired] == ["one/masks/readme.txt"]
        assert "left out: 1 files that are no images, the first one/masks/readme.txt" in dataset.notes


class TestReport:
    def test_notes_are_printed_before_a_pixel_is_read(self, nuclei, capsys):
        save(nuclei / "one" / "masks" / "small.png", A[:3])
        (nuclei / "two" / "images" / "two.png").write_bytes(b"no picture")
        dataset = from_instances(nuclei, void=("touch",), **ALL)
        assert dataset.notes == (
            "layout: a folder per image: 3 images, 5 masks, the first one/images/one.png with one/masks",
            "masks: 0 → background, anything else → object",
            "pixels of two or more instances become void",
            "pixels within one pixel of two or more instances become void",
            "1 images without any mask are all background, the first zero/images/zero.png",
        )
        assert capsys.readouterr().out.splitlines() == [f"stage1: {note}" for note in dataset.notes]

    def test_overlaps_are_stated(self, nuclei):
        assert "pixels of two or more instances become object" in from_instances(nuclei, **ALL).notes
        assert "pixels of two or more instances become void" in from_instances(nuclei, void="overlap", **ALL).notes

    def test_splits_are_noted_and_a_name_can_be_given(self, nuclei, capsys):
        dataset = from_instances(nuclei, val=0.3, test=0.3, groups="^(.)", name="mine")
        assert dataset.counts == {"train": 1, "val": 1, "test": 1}
        assert dataset.notes[-1] == "splits: drawn with seed 0, train 1, val 1, test 1, of 3 groups none in two"
        assert "mine: splits: drawn with seed 0" in capsys.readouterr().out

    def test_official_lists_name_the_folders(self, nuclei, tmp_path):
        (tmp_path / "train.txt").write_text("one\n")
        (tmp_path / "val.txt").write_text("zero\ntwo.png\n")
        assert from_instances(nuclei, lists=tmp_path).counts == {"train": 1, "val": 2, "test": 0}


class TestFoldersThatAreRefused:
    def refused(self, root, match):
        with pytest.raises(DataError, match=match):
            from_instances(root)

    def test_no_such_folder(self, tmp_path):
        self.refused(tmp_path / "nowhere", "nowhere: no such folder")

    def test_no_layout(self, tmp_path):
        save(tmp_path / "photos" / "a.png", photo())
        self.refused(tmp_path, r"no folders images and masks in it \(found: photos, a\.png\); wanted <image>/images")

    def test_an_image_without_a_folder_of_masks(self, nuclei):
        (nuclei / "zero" / "masks").rmdir()
        self.refused(nuclei, r"do not fit together \(1\):\n.*stage1/zero: no folder masks in it")
        for path in (nuclei / "zero" / "images").iterdir():
            path.unlink()
        (nuclei / "zero" / "images").rename(nuclei / "zero" / "masks")
        self.refused(nuclei, r"stage1/zero: no folder images in it")

    def test_several_images_in_one_folder(self, nuclei):
        save(nuclei / "two" / "images" / "again.png", photo())
        self.refused(nuclei, r"\(1\):\n.*stage1/two/images: 2 images, wanted 1, or masks/<image>/\*\.png")

    def test_no_image(self, nuclei):
        (nuclei / "two" / "images" / "two.png").unlink()
        self.refused(nuclei, r"\(1\):\n.*stage1/two/images: no image in it; wanted one of \.png")

    def test_one_mask_per_image_is_for_from_folder(self, folders):
        self.refused(folders[0].parent, r"images: 10 images, wanted 1.*; one mask per image is for data\.from_folder")

    def test_an_image_without_and_masks_without_an_image(self, tmp_path):
        for name in ("a", "b"):
            save(tmp_path / "images" / f"{name}.png", photo())
        for name in ("a", "c"):
            save(tmp_path / "masks" / name / "1.png", A)
        self.refused(tmp_path, r"\(2\):\n.*masks/c/1\.png: no image(.|\n)*images/b\.png: no folder .*masks/b")

    def test_two_images_of_one_name(self, tmp_path):
        for ending in ("png", "bmp"):
            save(tmp_path / "images" / f"a.{ending}", photo())
        save(tmp_path / "masks" / "a" / "1.png", A)
        self.refused(tmp_path, r"images/a\.(png|bmp): 2 images of that name")

    def test_not_one_mask(self, nuclei):
        for path in nuclei.glob("*/masks/*"):
            path.unlink()
        self.refused(nuclei, "stage1: 3 images, and not one mask for any of them")

    def test_void_and_labels(self, nuclei):
        with pytest.raises(DataError, match="void= takes 'overlap' and 'touch', got 'border'"):
            from_instances(nuclei, void=("border",))
        with pytest.raises(DataError, match="two classes, outside and inside; labels= has a, b, c"):
            from_instances(nuclei, LabelMap(("a", "b", "c")))
