import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from seglib import data, images
from seglib.data import DataError, encoding
from seglib.data import dataset as dataset_module
from seglib.labels import LabelMap

MAP = LabelMap(("a", "b", "c"))


def pairs_of(split):
    return list(split.as_numpy_iterator())


def save_mask(folder, stem, mask):
    Image.fromarray(np.asarray(mask, np.uint8)).save(folder / f"{stem}.png")


def test_from_folder_pairs_by_stem_and_splits_by_seed(folders):
    dataset = data.from_folder(*folders, MAP, val=0.2, test=0.1, seed=3)
    assert dataset.counts == {"train": 7, "val": 2, "test": 1}
    assert repr(dataset) == "images: 3 classes, train 7 · val 2 · test 1 pairs"
    stored = {np.array(Image.open(path)).tobytes(): path.stem for path in folders[0].iterdir()}
    seen = []
    for split in (dataset.train, dataset.val, dataset.test):
        for pair in pairs_of(split):
            seen.append(stored[pair["image"].tobytes()])
            expected = np.array(Image.open(folders[1] / f"{seen[-1]}.png"))
            np.testing.assert_array_equal(pair["mask"], expected)
    assert sorted(seen) == sorted(stored.values())
    again = data.from_folder(*folders, MAP, val=0.2, test=0.1, seed=3)
    other = data.from_folder(*folders, MAP, val=0.2, test=0.1, seed=4)
    first = [pair["image"].tobytes() for pair in pairs_of(dataset.val)]
    assert first == [pair["image"].tobytes() for pair in pairs_of(again.val)]
    assert first != [pair["image"].tobytes() for pair in pairs_of(other.val)]


def test_what_is_inferred_is_printed_and_kept(folders, capsys):
    (folders[0] / "x.png").write_bytes((folders[0] / "00.png").read_bytes())
    dataset = data.from_folder(*folders, groups=r"\w+")
    assert capsys.readouterr().out.splitlines() == [f"images: {note}" for note in dataset.notes]
    assert dataset.notes == (
        "10 pairs by the same name, the first 00.png and 00.png",
        "left out: 1 image without a mask: x.png",
        "masks: ids 0–2, and 255 for void",
        "splits: drawn with seed 0, train 6, val 2, test 2, of 10 groups none in two",
    )
    assert dataset.unpaired == (str(folders[0] / "x.png"),)
    assert dataset.labels.names == ("class 0", "class 1", "class 2")
    data.from_folder(*folders, MAP, name="mine")
    assert all(line.startswith("mine: ") for line in capsys.readouterr().out.splitlines())


def test_folders_within_folders_are_paired_and_may_name_the_splits(folders):
    for place, names in {"training": range(6), "val": (6, 7), "test": (8, 9)}.items():
        for folder in folders:
            (folder / place).mkdir()
            for i in names:
                (folder / f"{i:02}.png").rename(folder / place / f"{i:02}.png")
    dataset = data.from_folder(*folders)
    assert dataset.counts == {"train": 6, "val": 2, "test": 2}
    stored = [np.array(Image.open(folders[1] / "val" / f"{i:02}.png")) for i in (6, 7)]
    np.testing.assert_array_equal([pair["mask"] for pair in pairs_of(dataset.val)], stored)


def test_lists_name_the_images_and_ids_the_classes(folders, tmp_path):
    (tmp_path / "train.txt").write_text("03\n01\n")
    (tmp_path / "test.txt").write_text("images/07.png\n")
    dataset = data.from_folder(*folders, lists=tmp_path, ids={0: 1, 1: 0, 2: 1, 255: 255})
    assert dataset.counts == {"train": 2, "val": 0, "test": 1}
    mask = np.array(Image.open(folders[1] / "07.png"))
    np.testing.assert_array_equal(pairs_of(dataset.test)[0]["mask"], np.select([mask == 255, mask == 1], [255, 0], 1))
    assert dataset.files["train"] == [tuple(str(folder / name) for folder in folders) for name in ("01.png", "03.png")]
    np.testing.assert_array_equal(dataset.read_mask(dataset.files["test"][0][1]), pairs_of(dataset.test)[0]["mask"])


def test_black_and_white_masks_are_told_by_their_values(folders):
    for path in folders[1].iterdir():
        save_mask(folders[1], path.stem, np.where(np.arange(192).reshape(12, 16) % 2, 255, 0))
    dataset = data.from_folder(*folders, val=0, test=0)
    assert dataset.labels.names == ("background", "foreground")
    assert dataset.class_pixels("train").tolist() == [960, 960]


def test_class_pixels_leave_void_out(folders):
    dataset = data.from_folder(*folders, MAP, val=0, test=0)
    masks = np.stack([np.array(Image.open(path)) for path in folders[1].iterdir()])
    assert dataset.class_pixels("train").tolist() == [(masks == i).sum() for i in range(3)]


class TestNothingIsReadTwice:
    @pytest.fixture
    def opened(self, monkeypatch):
        """The paths of the files that were opened, in order."""
        paths, really = [], images._opened
        monkeypatch.setattr(images, "_opened", lambda path: (paths.append(str(path)), really(path))[1])
        monkeypatch.setattr(encoding, "SAMPLE", 3)
        return paths

    def test_only_a_sample_of_a_large_folder_is_opened(self, folders, opened, monkeypatch):
        monkeypatch.setattr(dataset_module, "MAX_HEADERS", 9)
        dataset = data.from_folder(*folders, MAP, val=0, test=0)
        assert sorted(opened) == [str(folder / f"{i:02}.png") for folder in folders for i in (0, 4, 9)]
        assert dataset.sizes == {"train": None, "val": None, "test": None} and not dataset.is_cached("train")
        assert dataset.train.element_spec["image"].shape == (None, None, 3)
        assert len(pairs_of(dataset.train)) == 10

    def test_the_headers_of_a_small_one_tell_the_sizes(self, folders, opened):
        dataset = data.from_folder(*folders, MAP, val=0.2, test=0)
        assert {path for path in opened if "masks" in path} == {str(folders[1] / f"{i:02}.png") for i in (0, 4, 9)}
        assert dataset.sizes == {"train": [(12, 16)] * 8, "val": [(12, 16)] * 2, "test": None}
        assert dataset.is_cached("train")
        assert dataset.train.element_spec["image"].shape == (12, 16, 3)

    def test_sizes_that_differ_are_no_static_shape(self, folders):
        Image.new("RGB", (20, 12)).save(folders[0] / "03.png")
        save_mask(folders[1], "03", np.zeros((12, 20)))
        dataset = data.from_folder(*folders, MAP, val=0, test=0)
        assert sorted(set(dataset.sizes["train"])) == [(12, 16), (12, 20)]
        assert dataset.train.element_spec["mask"].shape == (None, None)
        assert {pair["image"].shape for pair in pairs_of(dataset.train)} == {(12, 16, 3), (12, 20, 3)}


class TestBadFolders:
    def test_missing_and_empty(self, folders, tmp_path):
        with pytest.raises(DataError, match="nowhere: no such folder"):
            data.from_folder(tmp_path / "nowhere", folders[1])
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match=r"empty: no image files in it \(found: nothing\); wanted .png"):
            data.from_folder(folders[0], tmp_path / "empty")

    def test_one_name_twice(self, folders):
        (folders[0] / "03.bmp").write_bytes((folders[0] / "03.png").read_bytes())
        with pytest.raises(DataError, match="03.bmp and 03.png: one name, two files"):
            data.from_folder(*folders, MAP)

    def test_masks_that_are_photographs(self, folders):
        with pytest.raises(DataError, match=r"images: the masks hold \d+ colours, .*: are images and masks swapped"):
            data.from_folder(folders[1], folders[0])

    def test_a_split_without_pairs(self, folders):
        with pytest.raises(DataError, match="of 10 pairs the 'val' split would get none"):
            data.from_folder(*folders, MAP, val=0.01)
        with pytest.raises(DataError, match="no pairs in its 'val' split; there is train"):
            _ = data.from_folder(*folders, MAP, val=0, test=0).val
        with pytest.raises(DataError, match="leave some for train"):
            data.from_folder(*folders, MAP, val=0.6, test=0.5)

    def test_only_void_is_nothing_to_train_on_but_can_be_read(self, folders):
        for path in folders[1].iterdir():
            save_mask(folders[1], path.stem, np.full((12, 16), 255))
        assert data.from_folder(*folders, MAP, val=0, test=0).class_pixels().tolist() == [0, 0, 0]


class TestBadPairs:
    """Building prints how many of the pairs looked at cannot be used; reading them raises an error that says why."""

    def spoil(self, folders, kind):
        if kind == "text":
            (folders[1] / "03.png").write_text("no picture")
        elif kind == "broken image":
            (folders[0] / "03.png").write_bytes((folders[0] / "03.png").read_bytes()[:200])
        elif kind == "text as image":
            (folders[0] / "03.png").write_text("no picture")
        elif kind == "size":
            save_mask(folders[1], "03", np.zeros((10, 16)))
        elif kind == "ids":
            save_mask(folders[1], "03", np.full((12, 16), 3))
        elif kind == "painted":
            save_mask(folders[1], "03", np.full((12, 16, 3), (1, 2, 3)))

    @pytest.mark.parametrize(
        ("kind", "message"),
        [
            ("text", r"masks/03\.png: not an image that can be read"),
            ("text as image", r"images/03\.png: not an image that can be read"),
            ("size", r"masks/03\.png: the mask is 10×16 \(height×width\), its image \S+images/03\.png is 12×16"),
            ("ids", r"masks/03\.png: found ids outside the label map: 3 \(classes 0–2, void 255\)"),
            ("painted", r"masks/03\.png: a painted mask \(colours\); wanted ids"),
        ],
    )
    def test_are_told_at_once_and_refused_when_they_are_read(self, folders, capsys, kind, message):
        self.spoil(folders, kind)
        dataset = data.from_folder(*folders, MAP, val=0, test=0)
        told = r"1 of 10 pairs cannot be used \(data\.check names them\), the first: "
        assert re.search(told + rf"\S+{message}", capsys.readouterr().out)
        assert dataset.counts["train"] == 10
        for batches in (dataset.train, dataset.batches("train", (12, 16)), dataset.batches("train", (6, 8))):
            with pytest.raises(tf.errors.OpError, match=message) as error:
                list(batches)
            assert str(error.value).count("Traceback (most recent call last)") <= 1

    def test_a_header_that_promises_more_is_found_out_when_it_is_read(self, folders, capsys):
        self.spoil(folders, "broken image")
        dataset = data.from_folder(*folders, MAP, val=0, test=0)
        assert "cannot be used" not in capsys.readouterr().out
        with pytest.raises(tf.errors.OpError, match=r"images/03\.png: damaged or truncated"):
            list(dataset.train)

    def test_sizes_are_unknown_where_a_header_cannot_be_read(self, folders):
        self.spoil(folders, "text as image")
        dataset = data.from_folder(*folders, MAP, val=0, test=0)
        assert dataset.sizes["train"] is None and not dataset.is_cached("train")

    def test_several_are_counted(self, folders, capsys):
        for i in (2, 5, 7):
            save_mask(folders[1], f"{i:02}", np.zeros((10, 16)))
        notes = data.from_folder(*folders, MAP).notes
        assert notes[-2].startswith("3 of 10 pairs cannot be used") and "masks/02.png" in notes[-2]
        assert notes[-2] in capsys.readouterr().out

    def test_beyond_the_sample_are_refused_when_they_are_read(self, folders, monkeypatch, capsys):
        monkeypatch.setattr(encoding, "SAMPLE", 2)
        self.spoil(folders, "ids")
        dataset = data.from_folder(*folders, val=0, test=0)
        assert "masks: ids 0–2, and 255 for void (seen in 2 of 10)" in dataset.notes
        with pytest.raises(tf.errors.OpError, match=r"masks/03\.png: found ids outside the label map: 3"):
            list(dataset.train)


class TestOddImages:
    """Odd but honest files give the same pair as the plain file would."""

    def test_grey_rgba_and_sixteen_bit(self, folders):
        grey = np.array(Image.open(folders[0] / "00.png"))[..., 0]
        Image.fromarray(grey).save(folders[0] / "00.png")
        rgba = np.concatenate([np.stack([grey] * 3, -1), np.full((12, 16, 1), 7, np.uint8)], -1)
        Image.fromarray(rgba).save(folders[0] / "01.png")
        Image.fromarray(grey.astype(np.uint16) * 257).save(folders[0] / "02.png")
        found = pairs_of(data.from_folder(*folders, MAP, val=0, test=0).train)
        for pair in found[:3]:
            np.testing.assert_array_equal(pair["image"], np.stack([grey] * 3, -1))

    def test_exif_rotation(self, folders):
        exif = Image.Exif()
        exif[0x0112] = 6
        upright = np.array(Image.open(folders[0] / "00.png"))
        Image.fromarray(np.rot90(upright)).save(folders[0] / "00.png", exif=exif)
        pair = pairs_of(data.from_folder(*folders, MAP, val=0, test=0).train)[0]
        np.testing.assert_array_equal(pair["image"], upright)


class TestBatches:
    def test_shapes_types_and_order(self, folders):
        dataset = data.from_folder(*folders, MAP, val=0.3, test=0)
        batches = list(dataset.batches("val", size=(12, 16), batch_size=2).as_numpy_iterator())
        assert [images.shape for images, _ in batches] == [(2, 12, 16, 3), (1, 12, 16, 3)]
        assert batches[0][0].dtype == np.float32 and batches[0][1].dtype == np.uint8
        np.testing.assert_array_equal(batches[0][0][1], pairs_of(dataset.val)[1]["image"])
        assert [len(i) for i, _ in dataset.batches("train", (12, 16), 4).as_numpy_iterator()] == [4]
        assert [len(i) for i, _ in dataset.batches("train", (12, 16), 64).as_numpy_iterator()] == [7]

    def test_train_is_shuffled_anew_in_every_epoch_and_alike_in_every_run(self, folders):
        dataset = data.from_folder(*folders, MAP, val=0, test=0)

        def two_epochs(seed):
            batches = dataset.batches("train", (12, 16), 10, seed=seed)
            return [next(batches.as_numpy_iterator())[0] for _ in range(2)]

        first, second = two_epochs(0)
        assert not np.array_equal(first, second)
        np.testing.assert_array_equal(np.sort(first, axis=0), np.sort(second, axis=0))
        np.testing.assert_array_equal(two_epochs(0), [first, second])
        assert not np.array_equal(two_epochs(1)[0], first)

    def test_resizing_invents_no_id(self, folders):
        dataset = data.from_folder(*folders, MAP, val=0, test=0)
        for _, masks in dataset.batches("train", size=(31, 9)):
            assert set(np.unique(masks)) <= {0, 1, 2, 255}

    def test_resizing_keeps_image_and_mask_together(self):
        # Left half black and class 0, right half white and class 1, at every size.
        image = np.zeros((8, 12, 3), np.uint8)
        image[:, 6:] = 255
        pair = {"image": tf.constant(image), "mask": tf.constant((image[..., 0] > 0).astype(np.uint8))}
        for size in ((4, 6), (16, 24), (8, 36)):
            resized = data.resize_pair(pair, size)
            assert resized["image"].dtype == resized["mask"].dtype == tf.uint8
            np.testing.assert_array_equal(resized["image"].numpy()[..., 0] > 127, resized["mask"].numpy() == 1)

    def test_resizing_is_that_of_pillow_and_of_tensorflow(self, rng):
        image, mask = rng.integers(0, 256, (37, 50, 3), np.uint8), rng.integers(0, 9, (37, 50), np.uint8)
        for height, width in ((12, 16), (64, 90), (37, 20)):
            pair = data.resize_pair({"image": tf.constant(image), "mask": tf.constant(mask)}, (height, width))
            pillow = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(pair["image"], np.asarray(pillow))
            exact = tf.image.resize(image, (height, width), antialias=True)
            assert np.abs(pair["image"].numpy() - exact.numpy()).max() <= 1
            rows, columns = ((np.arange(n) + 0.5) * m / n for n, m in ((height, 37), (width, 50)))
            nearest = mask[rows.astype(int)][:, columns.astype(int)]
            np.testing.assert_array_equal(pair["mask"], nearest)
            floats = data.resize_pair(
                {"image": tf.constant(image / 2, tf.float32), "mask": tf.constant(mask)}, (height, width)
            )
            assert floats["image"].dtype == tf.float32 and floats["image"].shape == (height, width, 3)
            np.testing.assert_allclose(floats["image"], exact / 2, atol=1e-3)

    def test_batches_are_resized_like_pairs(self, folders):
        dataset = data.from_folder(*folders, MAP, val=0.3, test=0)
        batch = next(dataset.batches("val", (7, 30)).as_numpy_iterator())
        for image, mask, pair in zip(*batch, dataset.val, strict=True):
            wanted = data.resize_pair(pair, (7, 30))
            np.testing.assert_array_equal(image, wanted["image"])
            np.testing.assert_array_equal(mask, wanted["mask"])

    def test_augment_sees_the_pair_at_its_own_size_and_is_seeded(self, folders):
        dataset = data.from_folder(*folders, MAP, val=0, test=0)
        shapes = []

        def augment(pair, seed):
            shapes.append(tuple(pair["image"].shape))
            noise = tf.random.stateless_uniform([], seed, 0, 255)
            return {"image": tf.cast(pair["image"][:6], tf.float32) * 0 + noise, "mask": pair["mask"][:6]}

        def noises():
            batches = dataset.batches("train", size=(4, 4), batch_size=5, augment=augment, seed=7)
            epochs = [np.concatenate([i[:, 0, 0, 0] for i, _ in batches.as_numpy_iterator()]) for _ in range(2)]
            return np.array(epochs)

        drawn = noises()
        assert set(shapes) == {(12, 16, 3)}
        assert drawn.shape == (2, 10) and len(np.unique(drawn)) == 20
        np.testing.assert_array_equal(noises(), drawn)

    @pytest.mark.parametrize("augment", [None, lambda pair, seed: pair])
    def test_what_is_too_large_to_cache_is_shuffled_before_it_is_read(self, folders, monkeypatch, augment):
        monkeypatch.setattr(dataset_module, "CACHE_BYTES", 0)
        dataset = data.from_folder(*folders, MAP, val=0, test=0)
        assert not dataset.is_cached("train")
        batches = dataset.batches("train", (12, 16), 10, augment=augment)
        first, second = (next(batches.as_numpy_iterator())[0] for _ in range(2))
        assert not np.array_equal(first, second)
        np.testing.assert_array_equal(np.sort(first, axis=0), np.sort(second, axis=0))
        in_order = np.stack([pair["image"] for pair in pairs_of(dataset.train)])
        np.testing.assert_array_equal(np.sort(first, axis=0), np.sort(in_order, axis=0))

    def test_augment_is_given_two_numbers_of_31_bits(self, folders):
        dataset = data.from_folder(*folders, MAP, val=0, test=0)

        def show(pair, seed):
            return {"image": pair["image"][:1, :2], "mask": tf.cast(tf.bitwise.right_shift(seed, 23), tf.uint8)[None]}

        for _, masks in dataset.batches("train", size=(1, 2), batch_size=10, augment=show):
            assert (np.ptp(masks.numpy(), axis=0) > 20).all()

    def test_augmenting_what_is_measured_is_refused(self, folders):
        dataset = data.from_folder(*folders, MAP)
        with pytest.raises(ValueError, match="augment is for the train split"):
            dataset.batches("val", (12, 16), augment=lambda pair, seed: pair)
        with pytest.raises(ValueError, match="train, val, test"):
            dataset.batches("valid", (12, 16))


def test_labels_may_be_a_list_of_names(folders):
    assert data.from_folder(*folders, ["a", "b", "c"]).labels == MAP
    with pytest.raises(DataError, match="labels= is a LabelMap or a list of names, got {0: 'a'}"):
        data.from_folder(*folders, {0: "a"})


def test_a_home_folder_is_found(folders, monkeypatch):
    monkeypatch.setenv("HOME", str(folders[0].parent))
    assert data.from_folder("~/images", "~/masks").counts["train"] == 6


def test_a_file_is_no_folder(folders):
    with pytest.raises(DataError, match="00.png: a file; wanted a folder"):
        data.from_folder(folders[0] / "00.png", folders[1])
