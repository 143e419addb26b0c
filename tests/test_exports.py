"""What annotation tools and other people export: read with its names, or refused by its name with the way on."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglib import data, doctor
from seglib.data import DataError
from seglib.labels import LabelMap

SIZE = (24, 32)  # height and width of all images here
ALL = {"val": 0, "test": 0}


def save(path, pixels, palette=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(pixels, pixels.dtype if hasattr(pixels, "dtype") else np.uint8))
    if palette is not None:
        picture.putpalette(np.asarray(palette, np.uint8).tobytes())
    picture.save(path, **options)
    return str(path)


def photo(seed, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def box(top, bottom, left, right, value=255):
    """A mask of one rectangle."""
    mask = np.zeros(SIZE, np.uint8)
    mask[top:bottom, left:right] = value
    return mask


def photos(folder, names):
    for seed, name in enumerate(names):
        save(folder / name, photo(seed))
    return folder


def masks_of(dataset, split="train"):
    """From the name of each image to its mask."""
    return {Path(image).name: dataset.read_mask(mask) for image, mask in dataset.files[split]}


def refused(*words, read=data.from_folder):
    """A ``with`` block that must raise a DataError whose message has all these words."""

    class Refusal:
        def __enter__(self):
            return self

        def __exit__(self, kind, error, trace):
            assert kind is not None and issubclass(kind, DataError), f"not refused: {error!r}"
            assert all(word in str(error) for word in words), error
            return True

    return Refusal()


class TestLabelStudio:
    """``task-<t>-annotation-<a>-by-<u>-<control>-<label>-<n>.png``: task numbers are no image numbers."""

    @pytest.fixture
    def root(self, tmp_path):
        photos(tmp_path / "images", [f"img_{i}.jpg" for i in range(1, 13)])
        for task in range(1, 13):
            left = task
            for label, part, top in (("road", 0, 2), ("road", 1, 8), ("traffic-light", 0, 14)):
                name = f"task-{task}-annotation-{task + 40}-by-1-tag-{label}-{part}.png"
                save(tmp_path / "masks" / name, box(top, top + 4, left, left + 6))
        return tmp_path

    def write_tasks(self, root, prefix=""):
        """The tasks were made in another order than the images are numbered in."""
        names = {task: f"{prefix}img_{13 - task}.jpg" for task in range(1, 13)}
        tasks = [{"id": i, "data": {"image": f"/data/upload/1/{name}"}, "annotations": []} for i, name in names.items()]
        (root / "masks" / "project-1.json").write_text(json.dumps(tasks))

    def test_is_never_paired_by_the_task_number(self, root):
        with refused("Label Studio", "task-1-annotation-41-by-1-tag-road-0.png", "JSON"):
            data.from_folder(root / "images", root / "masks")

    def test_one_file_per_task_neither(self, root):
        with refused("Label Studio", "JSON"):
            data.from_folder(root / "images", f"{root}/masks/*-road-0.png")

    @pytest.mark.parametrize("prefix", ["", "af0b7d36-"])
    def test_the_tasks_of_the_json_export_say_which_image(self, root, prefix):
        self.write_tasks(root, prefix)
        dataset = data.from_folder(root / "images", root / "masks", **ALL)
        assert dataset.labels.names == ("background", "road", "traffic-light")
        masks = masks_of(dataset)
        assert len(masks) == 12 and "Label Studio" in " ".join(dataset.notes)
        wanted = box(2, 6, 12, 18, 1) + box(8, 12, 12, 18, 1) + box(14, 18, 12, 18, 2)  # of task 12
        np.testing.assert_array_equal(masks["img_1.jpg"], wanted)

    def test_a_task_that_the_json_lacks_is_named(self, root):
        self.write_tasks(root)
        save(root / "masks" / "task-99-annotation-1-by-1-tag-road-0.png", box(1, 2, 3, 4))
        with refused("task-99", "project-1.json"):
            data.from_folder(root / "images", root / "masks")


class TestIdsNumberedAnewInEachImage:
    """labelme's ``json_to_dataset``: 1 is the first label of this image, whatever that is."""

    LABELS = {"a": ["apple", "pear"], "b": ["pear"], "c": ["pear", "apple"], "d": ["plum", "apple"]}

    @pytest.fixture
    def root(self, tmp_path):
        for seed, (name, labels) in enumerate(self.LABELS.items()):
            folder = tmp_path / f"{name}_json"
            mask = sum(box(8 * i, 8 * i + 6, 4, 20, i + 1) for i in range(len(labels)))
            save(folder / "img.png", photo(seed))
            save(folder / "label.png", mask, [[0, 0, 0], [128, 0, 0], [0, 128, 0]])
            save(folder / "label_viz.png", photo(seed + 9))
            (folder / "label_names.txt").write_text("\n".join(["_background_", *labels]) + "\n")
        return tmp_path

    @pytest.mark.parametrize(("images", "masks"), [("*/img.png", "*/label.png"), ("", "*/label.png"), ("", "")])
    def test_the_names_beside_each_mask_say_what_they_mean(self, root, images, masks):
        dataset = data.from_folder(root / images, root / masks, **ALL, groups=r"(.)_json")
        assert dataset.labels.names == ("background", "apple", "pear", "plum")
        found = {Path(image).parent.name: dataset.read_mask(mask) for image, mask in dataset.files["train"]}
        for name, labels in self.LABELS.items():
            wanted = [("background", "apple", "pear", "plum").index(label) for label in labels]
            assert [found[f"{name}_json"][8 * i + 1, 5] for i in range(len(labels))] == wanted
        assert "label_names.txt" in " ".join(dataset.notes)

    def test_where_names_are_missing_it_is_refused(self, root):
        (root / "c_json" / "label_names.txt").unlink()
        with refused("c_json", "label_names.txt"):
            data.from_folder(root / "*/img.png", root / "*/label.png")
        for path in root.glob("*/label_names.txt"):
            path.unlink()
        with refused("a_json", "label_names.txt"):
            data.from_folder(root / "*/img.png", root / "*/label.png")

    def test_an_id_that_the_names_lack_is_refused(self, root):
        (root / "c_json" / "label_names.txt").write_text("_background_\npear\n")
        dataset = data.from_folder(root / "*/img.png", root / "*/label.png", **ALL)
        key = next(mask for _, mask in dataset.files["train"] if "c_json" in mask)
        with refused("c_json", "2"):
            dataset.read_mask(key)


class TestMasksThatNumberObjects:
    def folder(self, root, counts, dtype=np.uint8):
        rng = np.random.default_rng(0)
        photos(root / "images", [f"{i}.png" for i in range(len(counts))])
        for i, count in enumerate(counts):
            mask = np.zeros((24, 120), dtype)
            for k in range(count):
                row, column = divmod(k, 24)
                mask[4 * row : 4 * row + 3, 5 * column : 5 * column + rng.integers(2, 5)] = k + 1
            save(root / "masks" / f"{i}.png", mask)
            save(root / "images" / f"{i}.png", photo(i, (24, 120)))
        return root / "images", root / "masks"

    @pytest.mark.parametrize(("counts", "dtype"), [((12, 42, 30), np.uint8), ((20, 140, 90), np.uint16), ((0, 10, 4), np.uint8)])
    def test_from_ten_on_are_refused_with_the_call_that_joins_them(self, tmp_path, counts, dtype):
        folders = self.folder(tmp_path, counts, dtype)
        with pytest.raises(DataError, match=f"objects 1.{max(counts)}") as error:
            data.from_folder(*folders)
        table = eval(re.search(r"ids=(\{.*?\})", str(error.value))[1])
        joined = data.from_folder(*folders, ids=table, **ALL)
        assert joined.labels.names == ("background", "foreground")
        assert all(set(np.unique(mask)) <= {0, 1} for mask in masks_of(joined).values())

    @pytest.mark.parametrize(("counts", "labels"), [((2, 8, 5), None), ((12, 42, 30), [f"c{i}" for i in range(43)])])
    def test_fewer_or_with_labels_are_warned_of(self, tmp_path, counts, labels, capsys):
        dataset = data.from_folder(*self.folder(tmp_path, counts), labels, **ALL)
        assert "warning: " in capsys.readouterr().out and dataset.labels.num_classes == max(counts) + 1
        report = doctor.check(dataset)
        assert not report.clean and "number objects" in str(report)

    def test_classes_are_not_taken_for_objects(self, tmp_path):
        """Fourteen classes, some missing here and there, and each in several places."""
        photos(tmp_path / "images", [f"{i}.png" for i in range(6)])
        for i in range(6):
            mask = np.random.default_rng(i).integers(0, 15 - i % 3, SIZE).astype(np.uint8)
            save(tmp_path / "masks" / f"{i}.png", mask)
        dataset = data.from_folder(tmp_path / "images", tmp_path / "masks", **ALL)
        assert dataset.labels.num_classes == 15 and "warning" not in " ".join(dataset.notes)


class TestAFolderCalledTest:
    @pytest.fixture
    def root(self, tmp_path):
        for split, count in (("train", 20), ("test", 8)):
            for i in range(count):
                save(tmp_path / "images" / split / f"{i:02}.png", photo(i))
                save(tmp_path / "masks" / split / f"{i:02}.png", box(2, 9, 3, 9 + i % 5, 1))
        return tmp_path

    def splits(self, dataset):
        return {split: {Path(image).parent.name for image, _ in files} for split, files in dataset.files.items()}

    def test_is_left_alone_when_val_is_cut(self, root):
        dataset = data.from_folder(root / "images", root / "masks", val=0.2)
        assert dataset.counts == {"train": 16, "val": 4, "test": 8}
        assert self.splits(dataset) == {"train": {"train"}, "val": {"train"}, "test": {"test"}}

    def test_is_left_alone_when_groups_are_said(self, root):
        dataset = data.from_folder(root / "images", root / "masks", groups=r"(\d\d)\.png")
        assert self.splits(dataset)["test"] == {"test"} and dataset.counts["val"] == 4

    def test_is_left_out_when_no_test_is_wanted(self, root):
        dataset = data.from_folder(root / "images", root / "masks", val=0.2, test=0)
        assert dataset.counts == {"train": 16, "val": 4, "test": 0} and "test=0" in " ".join(dataset.notes)

    def test_a_missing_split_says_how_to_cut_one(self, root):
        dataset = data.from_folder(root / "images", root / "masks")
        with pytest.raises(DataError, match=r"'val' split; there is train, test.*val=0\.2"):
            _ = dataset.val


class TestBandsAndBits:
    def folder(self, root, pixels, **options):
        save(root / "images" / "0.tif", pixels, **options)
        save(root / "masks" / "0.png", box(2, 9, 3, 9, 1))
        return data.from_folder(root / "images", root / "masks", **ALL)

    def test_a_fourth_band_that_is_dropped_is_named(self, tmp_path):
        bands = np.dstack([photo(0), photo(1)[..., :1]])
        dataset = self.folder(tmp_path, bands)
        assert re.search(r"warning: .*0\.tif.*band 4 .*dropped.*near infra-red", " ".join(dataset.notes))

    def test_an_alpha_that_says_nothing_is_not_mentioned(self, tmp_path):
        dataset = self.folder(tmp_path, np.dstack([photo(0), np.full((*SIZE, 1), 255, np.uint8)]))
        assert "band" not in " ".join(dataset.notes)

    def test_sixteen_bits_that_become_a_few_levels_are_named(self, tmp_path):
        dataset = self.folder(tmp_path, (photo(0)[..., 0].astype(np.uint16) * 10))  # up to 2,550 of 65,535
        assert re.search(r"warning: .*0\.tif.*16 bits.*0–10", " ".join(dataset.notes))
        (tmp_path / "b").mkdir()
        dataset = self.folder(tmp_path / "b", photo(0)[..., 0].astype(np.uint16) * 257)
        assert "16 bits" not in " ".join(dataset.notes)

    @pytest.mark.parametrize(("bands", "bits", "kind", "words"), [(8, 8, 1, "8 bands"), (3, 32, 3, "float"), (1, 32, 3, "32-bit")])
    def test_more_bands_or_floats_say_what_to_do(self, tmp_path, bands, bits, kind, words, capfd):
        path = tmp_path / "images" / "0.tif"
        path.parent.mkdir()
        write_tiff(path, bands, bits, kind)
        with pytest.raises(ValueError, match=rf"0\.tif: .*{words}.*np\.") as error:
            data.dataset.read_pair(str(path), None, None)
        assert "samples per pixel" not in capfd.readouterr().err and "\n" not in str(error.value)


def write_tiff(path, bands, bits, kind):
    """A TIFF as GDAL writes it: pixel-interleaved, its further bands of no stated meaning."""
    height, width = SIZE
    strip = height * width * bands * bits // 8
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, 1),
               (273, 4, 1, 8 + 2 + 11 * 12 + 4), (277, 3, 1, bands), (278, 4, 1, height), (279, 4, 1, strip),
               (284, 3, 1, 1), (339, 3, 1, kind)]  # fmt: skip
    import struct

    if bands > 2:  # the bits of each band, and of what kind each is, stand behind the table
        tail = 8 + 2 + len(entries) * 12 + 4
        entries[2], entries[10] = (258, 3, bands, tail), (339, 3, bands, tail + 2 * bands)
        entries[5] = (273, 4, 1, tail + 4 * bands)
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    extra = struct.pack(f"<{2 * bands}H", *[bits] * bands, *[kind] * bands) if bands > 2 else b""
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + table + bytes(4) + extra
    path.write_bytes(head + bytes(strip))
