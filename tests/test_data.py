"""From files to batches: what is read, how often, in which order, and what is said of files that cannot be used."""

import hashlib
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from seglib import data
from seglib.data import DataError, encoding
from seglib.data import dataset as dataset_module
from seglib.labels import LabelMap

ROOT = Path(__file__).resolve().parents[1]
MAP = LabelMap(("a", "b", "c"))
SIZE = (12, 16)  # of the images of ``folders``


@pytest.fixture
def pairs(folders):
    """The ten pairs of ``folders``, all for training."""
    return data.from_folder(*folders, MAP, val=0, test=0)


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
    assert any("x.png" in note for note in dataset.notes) and any("0–2" in note for note in dataset.notes)
    assert dataset.unpaired == (str(folders[0] / "x.png"),)
    assert dataset.labels.names == ("class 0", "class 1", "class 2")
    data.from_folder(*folders, MAP, name="mine")
    assert all(line.startswith("mine: ") for line in capsys.readouterr().out.splitlines())


def test_lists_name_the_images_and_ids_the_classes(folders, tmp_path):
    (tmp_path / "train.txt").write_text("03\n01\n")
    (tmp_path / "test.txt").write_text("images/07.png\n")
    dataset = data.from_folder(*folders, lists=tmp_path, ids={0: 1, 1: 0, 2: 1, 255: 255})
    assert dataset.counts == {"train": 2, "val": 0, "test": 1}
    mask = np.array(Image.open(folders[1] / "07.png"))
    np.testing.assert_array_equal(pairs_of(dataset.test)[0]["mask"], np.select([mask == 255, mask == 1], [255, 0], 1))
    assert dataset.files["train"] == [tuple(str(folder / name) for folder in folders) for name in ("01.png", "03.png")]
    np.testing.assert_array_equal(dataset.read_mask(dataset.files["test"][0][1]), pairs_of(dataset.test)[0]["mask"])


def test_class_pixels_are_counted_for_each_image_without_void(folders, pairs):
    masks = np.stack([np.array(Image.open(path)) for path in sorted(folders[1].iterdir())])
    pixels = pairs.class_pixels("train")
    assert pixels.dtype == np.int64
    np.testing.assert_array_equal(pixels, np.stack([(masks == i).sum(axis=(1, 2)) for i in range(3)], axis=1))
    assert 0 < pixels.sum() < masks.size
    for path in folders[1].iterdir():
        save_mask(folders[1], path.stem, np.full(SIZE, 255))
    assert not data.from_folder(*folders, MAP, val=0, test=0).class_pixels().any()


def test_a_sample_reads_no_other_pair(pairs):
    """Ten pairs, at most four: every third, so 0, 3, 6 and 9; of the first seven every second: 0, 2, 4 and 6."""
    for path, _ in (pairs.files["train"][i] for i in (1, 5, 7, 8)):
        Path(path).write_bytes(b"cut off")
    whole, some = pairs.sample("train", 4), pairs.sample("train", 4, among=7)
    for sample, kept in ((whole, [0, 3, 6, 9]), (some, [0, 2, 4, 6])):
        assert sample.counts == {"train": 4} and sample.files == {"train": [pairs.files["train"][i] for i in kept]}
        stored = [np.array(Image.open(pairs.files["train"][i][0])) for i in kept]
        for pair, image in zip(pairs_of(sample.train), stored, strict=True):
            np.testing.assert_array_equal(pair["image"], image)
    (images, masks), *_ = pairs_of(whole.batches("train", SIZE, 4))
    assert images.shape == (4, *SIZE, 3) and masks.shape == (4, *SIZE)
    assert pairs.sample("train", 10).files["train"] == pairs.files["train"]
    with pytest.raises(DataError, match="no pairs in its 'val' split"):
        pairs.sample("val", 4)


def test_labels_are_a_label_map_or_names(folders):
    assert data.from_folder(*folders, ["a", "b", "c"]).labels == MAP
    with pytest.raises(DataError, match="got {0: 'a'}"):
        data.from_folder(*folders, {0: "a"})


class TestNothingIsReadTwice:
    @pytest.fixture
    def opened(self, monkeypatch):
        """The paths of the files that were opened, in order."""
        paths, really = [], Image.open
        monkeypatch.setattr(Image, "open", lambda path, *more: (paths.append(str(path)), really(path, *more))[1])
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
        assert sorted(set(dataset.sizes["train"])) == [SIZE, (12, 20)]
        assert dataset.train.element_spec["mask"].shape == (None, None)
        assert {pair["image"].shape for pair in pairs_of(dataset.train)} == {(12, 16, 3), (12, 20, 3)}


class TestBadFolders:
    def test_are_named(self, folders, tmp_path):
        (tmp_path / "empty").mkdir()
        for images, masks, message in (
            ("nowhere", folders[1], "nowhere: no such folder"),
            (folders[0], "empty", r"empty: no image files.* \.png"),
            (folders[0] / "00.png", folders[1], "00.png: a file; wanted a folder"),
            (folders[1], folders[0], "swapped"),
        ):
            with pytest.raises(DataError, match=message):
                data.from_folder(tmp_path / images, tmp_path / masks)
        (folders[0] / "03.bmp").write_bytes((folders[0] / "03.png").read_bytes())
        with pytest.raises(DataError, match="03.bmp and 03.png"):
            data.from_folder(*folders, MAP)

    def test_a_split_without_pairs(self, folders, pairs):
        with pytest.raises(DataError, match="'val' split; there is train"):
            _ = pairs.val
        for shares, message in (({"val": 0.01}, "'val'"), ({"val": 0.6, "test": 0.5}, "leave some for train")):
            with pytest.raises(DataError, match=message):
                data.from_folder(*folders, MAP, **shares)


class TestBadPairs:
    """Building prints how many of the pairs looked at cannot be used; reading them raises an error that says why."""

    @pytest.mark.parametrize(
        ("spoilt", "message"),
        [
            (b"no picture", r"masks/03\.png: not an image that can be read"),
            (np.zeros((10, 16)), r"masks/03\.png: the mask is 10×16 .*images/03\.png is 12×16"),
            (np.full(SIZE, 3), r"masks/03\.png: .*: 3 \(classes 0–2, void 255\)"),
            (np.full((*SIZE, 3), (1, 2, 3)), r"masks/03\.png: .*colours"),
            (None, r"images/03\.png: damaged or truncated"),  # the image; its header promises more
        ],
    )
    def test_are_told_at_once_and_refused_when_they_are_read(self, folders, capsys, spoilt, message):
        image, mask = (folder / "03.png" for folder in folders)
        if spoilt is None:
            image.write_bytes(image.read_bytes()[:200])
        elif isinstance(spoilt, bytes):
            mask.write_bytes(spoilt)
        else:
            save_mask(folders[1], "03", spoilt)
        dataset = data.from_folder(*folders, MAP, val=0, test=0)
        assert ("1 of 10 pairs cannot be used" in capsys.readouterr().out) == (spoilt is not None)
        assert dataset.counts["train"] == 10
        for batches in (dataset.train, dataset.batches("train", (6, 8))):
            with pytest.raises(tf.errors.OpError, match=message) as error:
                list(batches)
            assert str(error.value).count("Traceback (most recent call last)") <= 1


class TestBatches:
    def test_shapes_types_and_order(self, folders):
        dataset = data.from_folder(*folders, MAP, val=0.3, test=0)
        batches = list(dataset.batches("val", size=np.array(SIZE), batch_size=2).as_numpy_iterator())
        assert [images.shape for images, _ in batches] == [(2, 12, 16, 3), (1, 12, 16, 3)]
        assert batches[0][0].dtype == np.float32 and batches[0][1].dtype == np.uint8
        np.testing.assert_array_equal(batches[0][0][1], pairs_of(dataset.val)[1]["image"])
        assert [len(i) for i, _ in dataset.batches("train", SIZE, 4).as_numpy_iterator()] == [4]
        assert [len(i) for i, _ in dataset.batches("train", SIZE, 64).as_numpy_iterator()] == [7]
        assert [len(dataset.batches(split, SIZE, 2)) for split in ("train", "val")] == [3, 2]
        shapes = [spec.shape for spec in dataset.batches("train", (6, 8), 2, augment=show).element_spec]
        assert shapes == [(2, 2, 4, 3), (2, 2, 4)]

    def test_resizing_is_that_of_pillow_and_of_tensorflow(self, rng):
        image, mask = rng.integers(0, 256, (37, 50, 3), np.uint8), rng.integers(0, 9, (37, 50), np.uint8)
        for height, width in (SIZE, (64, 90), (37, 20)):
            pair = data.resize_pair({"image": tf.constant(image), "mask": tf.constant(mask)}, (height, width))
            pillow = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(pair["image"], np.asarray(pillow))
            exact = tf.image.resize(image, (height, width), antialias=True)
            assert np.abs(pair["image"].numpy() - exact.numpy()).max() <= 1
            rows, columns = ((np.arange(n) + 0.5) * m / n for n, m in ((height, 37), (width, 50)))
            nearest = mask[rows.astype(int)][:, columns.astype(int)]  # no id is invented
            np.testing.assert_array_equal(pair["mask"], nearest)
            assert pair["image"].dtype == pair["mask"].dtype == tf.uint8

    @pytest.mark.parametrize("size", [(6.0, 8.0), 6, (6, 8, 3), (0, 8), ("6", "8")])
    def test_another_size_is_refused(self, pairs, size):
        with pytest.raises(ValueError, match="size must be two whole numbers .*; got "):
            pairs.batches("train", size)
        with pytest.raises(ValueError, match="size must be two whole numbers .*; got "):
            data.resize_pair({"image": None, "mask": None}, size)

    def test_augment_gets_pairs_of_the_size_and_may_return_another(self, pairs):
        given = []

        def crop(pair, seed):
            given.append({key: (tuple(value.shape), value.dtype.name) for key, value in pair.items()})
            given.append((tuple(seed.shape), seed.dtype.name))
            return {
                "images": tf.cast(pair["images"][1:5], tf.float32) / 2,
                "segmentation_masks": pair["segmentation_masks"][1:5],
            }

        batches = pairs.batches("train", (6, 8), 10, augment=crop)
        assert given[:2] == [{"images": ((6, 8, 3), "uint8"), "segmentation_masks": ((6, 8), "uint8")}, ((2,), "int32")]
        images, masks = next(batches.as_numpy_iterator())
        assert images.dtype == np.float32 and masks.dtype == np.uint8
        whole = [data.resize_pair(pair, (6, 8)) for pair in pairs.train]
        wanted = {(pair["image"].numpy()[1:5] / 2).tobytes(): pair["mask"].numpy()[1:5].tobytes() for pair in whole}
        found = {(image.astype(float)).tobytes(): mask.tobytes() for image, mask in zip(images, masks, strict=True)}
        assert found == wanted and len(wanted) == 10

    def test_without_a_size_augment_gets_pairs_at_their_own(self, folders):
        Image.new("RGB", (20, 12)).save(folders[0] / "03.png")
        save_mask(folders[1], "03", np.ones((12, 20)))
        dataset = data.from_folder(*folders, MAP, val=0.2, test=0)
        for split in ("train", "val"):
            with pytest.raises(ValueError, match="size=None .* augment"):
                dataset.batches(split, None)

        def width(pair, seed):
            pixels = tf.zeros((1, 1, 3), tf.uint8) + tf.cast(tf.shape(pair["images"])[1], tf.uint8)
            return {"images": pixels, "segmentation_masks": pixels[..., 0]}

        images, _ = next(dataset.batches("train", None, 8, augment=width).as_numpy_iterator())
        assert sorted(images.ravel()[::3]) == [16] * 7 + [20]
        with pytest.raises(tf.errors.InvalidArgumentError, match="Cannot batch tensors with different shapes"):
            list(dataset.batches("train", None, 8, augment=lambda pair, seed: pair))

    def test_masks_that_are_no_ids_are_refused(self, pairs):
        def blur(pair, seed):
            return {**pair, "segmentation_masks": tf.cast(pair["segmentation_masks"], tf.float32)}

        with pytest.raises(TypeError, match="uint8, got float32"):
            pairs.batches("train", SIZE, augment=blur)

    def test_augmenting_what_is_measured_is_refused(self, folders):
        dataset = data.from_folder(*folders, MAP)
        for split, how in itertools.product(("val", "test"), ("augment", "repeats")):
            with pytest.raises(ValueError, match=f"for the train split; '{split}'"):
                dataset.batches(split, SIZE, **{how: lambda pair, seed: pair})
        with pytest.raises(ValueError, match="train, val, test"):
            dataset.batches("valid", SIZE)


class TestShards:
    """What several processes see of a batch, side by side, is the batch that one process sees."""

    @pytest.mark.parametrize("cache_bytes", [dataset_module.CACHE_BYTES, 0], ids=["kept", "read anew"])
    @pytest.mark.parametrize("count", [1, 2, 4])
    def test_of_training_are_slices_of_the_same_augmented_batches(self, pairs, monkeypatch, cache_bytes, count):
        from seglib import augment  # not at the top: this module is also read where there is no Keras

        monkeypatch.setattr(dataset_module, "CACHE_BYTES", cache_bytes)
        views = augment.Augment((8, 8), flip=0.5, rotation=30, brightness=20)

        def batches(shard):
            options = {"augment": views, "repeats": np.arange(10), "seed": 3, "epoch": 1, "shard": shard}
            drawn = pairs.batches("train", SIZE, 4, **options)
            assert len(drawn) == 2
            return [batch for _ in range(2) for batch in drawn.as_numpy_iterator()]

        parts = [batches((index, count)) for index in range(count)]
        for whole, *slices in zip(batches(None), *parts, strict=True):
            for wanted, *found in zip(whole, *slices, strict=True):
                np.testing.assert_array_equal(np.concatenate(found), wanted)
                assert {len(part) for part in found} == {4 // count}

    @pytest.mark.parametrize("cache_bytes", [dataset_module.CACHE_BYTES, 0], ids=["kept", "read anew"])
    @pytest.mark.parametrize(("count", "size"), [(1, 4), (2, 4), (4, 4), (4, 12)])
    def test_of_validation_are_filled_up_with_ignored_pixels(self, folders, monkeypatch, cache_bytes, count, size):
        monkeypatch.setattr(dataset_module, "CACHE_BYTES", cache_bytes)
        dataset = data.from_folder(*folders, MAP, val=0.7, test=0)
        shards = [dataset.batches("val", SIZE, size, shard=(index, count)) for index in range(count)]
        for _ in range(2):  # epochs
            parts = [[*shard.as_numpy_iterator()] for shard in shards]
            assert {len(part) for part in parts} == {len(shards[0])} == {-(-7 // size)}
            found = [
                np.concatenate(arrays) for batch in zip(*parts, strict=True) for arrays in zip(*batch, strict=True)
            ]
            images, masks = np.concatenate(found[::2]), np.concatenate(found[1::2])
            wanted = pairs_of(dataset.val)
            np.testing.assert_array_equal(images[:7], [pair["image"] for pair in wanted])
            np.testing.assert_array_equal(masks[:7], [pair["mask"] for pair in wanted])
            assert len(masks) == -(-7 // size) * size and (masks[7:] == MAP.ignore_id).all()

    @pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
    def test_outside_their_count_are_refused(self, pairs, shard):
        with pytest.raises(ValueError, match="index of 0 to count − 1, got"):
            pairs.batches("train", SIZE, 4, shard=shard)

    def test_of_a_batch_that_does_not_divide_are_refused(self, pairs):
        for size, batch in ((3, 3), (12, 10)):  # ten pairs are one batch of ten
            with pytest.raises(ValueError, match=f"a batch of {batch} pairs does not divide into 4 equal"):
                pairs.batches("train", SIZE, size, shard=(0, 4))


def show(pair, seed):
    """An ``augment`` that gives a corner of the image, and as the mask the bytes of the seed."""
    return {"images": pair["images"][:2, :4], "segmentation_masks": tf.bitcast(seed, tf.uint8)}


def look(batches):
    """One pass over batches of ``show``: for each pair the bytes of its corner and the seed."""
    return [
        (i.tobytes(), *m.view("<i4").ravel())
        for batch in batches.as_numpy_iterator()
        for i, m in zip(*batch, strict=True)
    ]


def digest(folders):
    """A digest of two epochs of batches, with all that is drawn for them."""
    mine = data.from_folder(*folders, ["a", "b", "c"], val=0, test=0)
    batches = mine.batches("train", SIZE, 4, show, np.arange(10), seed=5, epoch=3)
    arrays = [array.tobytes() for _ in range(2) for batch in batches.as_numpy_iterator() for array in batch]
    return hashlib.sha256(b"".join(arrays)).hexdigest()


# A program without Keras and matplotlib, in which any import of them fails, and which leaves a loop early at its end.
PROGRAM = """
import sys
sys.modules["matplotlib"] = sys.modules["keras"] = None
import tensorflow as tf
import test_data
from seglib.data import dataset, from_folder
tf.random.set_seed(1)
print("digest", test_data.digest(sys.argv[1:]))
dataset.CACHE_BYTES = 0  # the files are read again and again
batches = iter(from_folder(*sys.argv[1:], val=0, test=0).batches("train", (300, 300), 1))
next(batches)
print("left")
"""


class TestPasses:
    """Order and draws are a function of the seed, the number of the pass and the pair."""

    @pytest.fixture
    def reads(self, monkeypatch):
        """One number for each pair that was read."""
        found, really = [], dataset_module.read_pair
        monkeypatch.setattr(dataset_module, "read_pair", lambda *args: (found.append(1), really(*args))[1])
        return found

    def test_differ_and_hold_the_same_pairs(self, pairs):
        batches = pairs.batches("train", SIZE, 10, augment=show)
        passes = [look(batches) for _ in range(3)]
        orders = [[image for image, *_ in seen] for seen in passes]
        assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])
        assert orders[0] != orders[1] != orders[2] != orders[0]
        other = look(pairs.batches("train", SIZE, 10, augment=show, seed=1))
        assert orders[0] != [image for image, *_ in other] and not set(other) & set(passes[0])

    @pytest.mark.parametrize("cache_bytes", [0, dataset_module.CACHE_BYTES])
    def test_go_on_where_a_run_ended(self, pairs, monkeypatch, cache_bytes):
        monkeypatch.setattr(dataset_module, "CACHE_BYTES", cache_bytes)

        def batches(epoch):
            return pairs.batches("train", (2, 4), 4, augment=show, seed=7, epoch=epoch)

        whole, resumed = batches(0), batches(1)
        passes = [look(whole) for _ in range(3)]
        assert [look(resumed), look(resumed)] == passes[1:]

    @pytest.mark.slow
    def test_are_alike_in_every_process_and_without_keras(self, folders):
        wanted = digest(folders)
        assert wanted == "0edafd6e5083662195c75fd1d0cfeaf234641ec38cfe2fdecc9f371eb263fe09"
        env = {**os.environ, "PYTHONHASHSEED": "random", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        command = [sys.executable, "-c", PROGRAM, *folders]
        run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)
        told = [line for line in run.stdout.splitlines() if line.startswith(("digest", "left"))]
        assert run.returncode == 0 and told == [f"digest {wanted}", "left"], run.stderr

    def test_what_a_pair_draws_does_not_depend_on_its_place(self, pairs, monkeypatch):
        there = look(pairs.batches("train", SIZE, 10, augment=show))
        monkeypatch.setattr(dataset_module, "ORDER", 99)
        moved = look(pairs.batches("train", SIZE, 10, augment=show))
        assert there != moved and sorted(there) == sorted(moved)

    def test_no_two_seeds_are_alike(self, pairs):
        batches = pairs.batches("train", SIZE, 2, augment=show)
        seeds = [tuple(seed) for _ in range(3) for _, *seed in look(batches)]
        assert len(seeds) == len(set(seeds)) == 30

    def test_repeats_say_how_often_a_pair_comes(self, pairs):
        wanted = np.array([0, 0.5, 1, 1, 2.5, 0, 1, 1, 1, 2])
        batches = pairs.batches("train", SIZE, 10, augment=show, repeats=7 * wanted, seed=3)
        corners = [image[:2, :4].astype(np.float32).tobytes() for image in (p["image"] for p in pairs_of(pairs.train))]
        passes = [look(batches) for _ in range(10)]
        times = np.array([[[c for c, *_ in seen].count(corner) for corner in corners] for seen in passes])
        assert (times.sum(axis=1) == 10).all() and len(batches) == 1
        assert (np.floor(wanted) <= times).all() and (times <= np.ceil(wanted)).all()
        assert np.ptp(times[:, 1]) == np.ptp(times[:, 4]) == 1  # now more, now fewer
        np.testing.assert_allclose(times.mean(axis=0), wanted, atol=0.3)
        assert all(len({tuple(seed) for _, *seed in seen}) == 10 for seen in passes)  # each time it is drawn anew
        resumed = pairs.batches("train", SIZE, 10, augment=show, repeats=wanted, seed=3, epoch=2)
        assert look(resumed) == passes[2]

    @pytest.mark.parametrize("repeats", [np.ones(9), np.zeros(10), [*[1] * 9, -1], [*[1] * 9, np.nan], 1])
    def test_repeats_that_cannot_be_are_refused(self, pairs, repeats):
        with pytest.raises(ValueError, match="repeats must be 10 finite numbers"):
            pairs.batches("train", SIZE, repeats=repeats)

    def test_read_once_what_is_kept(self, pairs, reads):
        batches = pairs.batches("train", None, 4, augment=show)
        len(batches), batches.cardinality()
        for _ in batches.take(1):  # a look
            pass
        for _ in range(3):
            look(batches)
        assert len(reads) == 10

    def test_read_anew_what_is_too_large_to_keep(self, pairs, reads, monkeypatch):
        monkeypatch.setattr(dataset_module, "CACHE_BYTES", 4 * 2 * 4 * 10)
        for size, wanted in (((2, 4), 10), ((2, 5), 30)):
            assert pairs.is_cached("train", size) == (wanted == 10)
            batches = pairs.batches("train", size, 4)
            for _ in range(3):
                list(batches)
            assert len(reads) == wanted
            reads.clear()

    def test_a_pass_that_is_left_early_counts(self, pairs):
        whole, looked = (pairs.batches("train", SIZE, 5, augment=show) for _ in range(2))
        passes = [look(whole), look(whole)]
        assert look(looked.take(1)) == passes[0][:5] and look(looked) == passes[1]

    def test_keep_their_order_whoever_is_read_first(self, pairs, monkeypatch):
        wanted = look(pairs.batches("train", SIZE, 5, augment=show))
        monkeypatch.setattr(dataset_module, "CACHE_BYTES", 0)
        really, rng = dataset_module.read_pair, np.random.default_rng()
        monkeypatch.setattr(
            dataset_module, "read_pair", lambda *args: (time.sleep(rng.random() / 20), really(*args))[1]
        )
        assert look(pairs.batches("train", SIZE, 5, augment=show)) == wanted

    def test_of_encoded_examples_only_some_are_held(self, monkeypatch):
        monkeypatch.setattr(dataset_module, "CACHE_BYTES", 0)
        monkeypatch.setattr(dataset_module, "MAX_HELD", 4)

        def read(number, size=None):
            ids = tf.fill(size or (1, 1), tf.cast(number, tf.uint8))
            return {"image": tf.stack([ids] * 3, -1), "mask": ids}

        examples = (tf.data.Dataset.range(20), read)
        served = data.Dataset("served", MAP, {"train": examples}, {"train": 20}, {"train": None})
        batches = served.batches("train", (1, 1), 20, epoch=1)
        passes = [next(batches.as_numpy_iterator())[1].ravel().tolist() for _ in range(2)]
        assert passes[0] != passes[1] and all(sorted(order) == list(range(20)) for order in passes)
        assert all(number < place + 4 for order in passes for place, number in enumerate(order))
        again = served.batches("train", (1, 1), 20, epoch=2)
        assert next(again.as_numpy_iterator())[1].ravel().tolist() == passes[1]
