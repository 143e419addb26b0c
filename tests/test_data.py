import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from seglib import data, labels
from seglib.data import DataError
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


def test_folders_within_folders_are_paired(folders):
    images, masks = folders
    for folder in folders:
        (folder / "night").mkdir()
        (folder / "00.png").rename(folder / "night" / "00.png")
    assert sum(data.from_folder(images, masks, MAP).counts.values()) == 10
    (masks / "night" / "00.png").rename(masks / "00.png")
    with pytest.raises(DataError, match=r"files without a partner \(2\)(.|\n)*night/00\.png: no mask"):
        data.from_folder(images, masks, MAP)


def test_labels_are_inferred_from_plain_ids(folders):
    assert data.from_folder(*folders).labels.names == ("class 0", "class 1", "class 2")


def test_black_and_white_masks_are_not_guessed(folders):
    for path in folders[1].iterdir():
        save_mask(folders[1], path.stem, np.where(np.arange(192).reshape(12, 16) % 2, 255, 0))
    with pytest.raises(DataError, match="only 0 and 255.*BINARY_255"):
        data.from_folder(*folders)
    dataset = data.from_folder(*folders, ids=labels.BINARY_255)
    assert dataset.labels.num_classes == 2
    assert dataset.class_pixels("train").tolist() == [7 * 96, 7 * 96] or dataset.counts["train"] != 7


def test_class_pixels_leave_void_out(folders):
    dataset = data.from_folder(*folders, MAP, val=0, test=0)
    masks = np.stack([np.array(Image.open(path)) for path in folders[1].iterdir()])
    assert dataset.class_pixels("train").tolist() == [(masks == i).sum() for i in range(3)]


class TestBadFolders:
    def test_missing_and_empty(self, folders, tmp_path):
        with pytest.raises(DataError, match="nowhere: no such folder"):
            data.from_folder(tmp_path / "nowhere", folders[1])
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="empty: no image files in it; wanted .png"):
            data.from_folder(folders[0], tmp_path / "empty")

    def test_image_without_mask_and_the_reverse(self, folders):
        (folders[1] / "03.png").unlink()
        (folders[0] / "05.png").unlink()
        with pytest.raises(DataError, match=r"files without a partner \(2\)") as error:
            data.from_folder(*folders, MAP)
        assert "images/03.png: no mask" in str(error.value) and "masks/05.png: no image" in str(error.value)

    def test_one_name_twice(self, folders):
        (folders[0] / "03.bmp").write_bytes((folders[0] / "03.png").read_bytes())
        with pytest.raises(DataError, match="03.png and 03.bmp: one name, two files"):
            data.from_folder(*folders, MAP)

    def test_sizes_that_differ(self, folders):
        save_mask(folders[1], "03", np.zeros((10, 16)))
        with pytest.raises(DataError, match=r"03\.png: the mask is 10×16 \(height×width\), its image 12×16"):
            data.from_folder(*folders, MAP)

    def test_ids_outside_the_map_before_and_after_remapping(self, folders):
        save_mask(folders[1], "03", np.full((12, 16), 3))
        with pytest.raises(DataError, match=r"03\.png: found ids outside the label map: 3 "):
            data.from_folder(*folders, MAP)
        with pytest.raises(DataError, match=r"03\.png: found ids that have no class: 3 \(known: 0, 1, 2, 255\)"):
            data.from_folder(*folders, MAP, ids={0: 0, 1: 1, 2: 2, 255: 255})

    def test_all_bad_files_are_named_in_one_message(self, folders):
        (folders[0] / "02.png").write_text("no picture")
        save_mask(folders[1], "03", np.full((12, 16), 9))
        with pytest.raises(DataError, match=r"pairs that cannot be used \(2\)(.|\n)*02\.png(.|\n)*03\.png"):
            data.from_folder(*folders, MAP)

    def test_a_split_without_pairs(self, folders):
        with pytest.raises(DataError, match="of 10 pairs the 'val' split would get none"):
            data.from_folder(*folders, MAP, val=0.01)
        with pytest.raises(DataError, match="no pairs in its 'val' split; there is train"):
            _ = data.from_folder(*folders, MAP, val=0, test=0).val
        with pytest.raises(DataError, match="leave some for train"):
            data.from_folder(*folders, MAP, val=0.6, test=0.5)

    def test_only_void(self, folders):
        for path in folders[1].iterdir():
            save_mask(folders[1], path.stem, np.full((12, 16), 255))
        with pytest.raises(DataError, match="every pixel is 255"):
            data.from_folder(*folders)


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
        monkeypatch.setattr(data, "CACHE_BYTES", 0)
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
