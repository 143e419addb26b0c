"""What annotation tools and other people export: read with its names, or refused by its name with the way on."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglib import data, doctor
from seglib.data import DataError

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
        (root / "masks" / "others.json").write_text("[]")  # not of a project
        (root / "others.json").write_text('["a"]')

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
    @pytest.mark.parametrize("names", [True, False])
    def test_are_refused_with_the_way(self, root, images, masks, names):
        for path in root.glob("*/label_names.txt") if not names else ():
            path.unlink()
        with refused("a_json", "labelme's folders", "labelme's JSON"):
            data.from_folder(root / images, root / masks)


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

    @pytest.mark.parametrize(
        ("counts", "dtype"), [((12, 42, 30), np.uint8), ((20, 140, 90), np.uint16), ((0, 10, 4), np.uint8)]
    )
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

    def test_with_a_list_of_classes_beside_them_they_are_warned_of(self, tmp_path):
        """labelme2voc's SegmentationObject in place of its SegmentationClass."""
        folders = self.folder(tmp_path, (2, 4, 3))
        (tmp_path / "class_names.txt").write_text("_background_\na\nb\nc\nd")
        assert "warning: the masks seem to number objects 1–4" in " ".join(data.from_folder(*folders, **ALL).notes)

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

    @pytest.mark.parametrize(
        ("bands", "bits", "kind", "words"), [(8, 8, 1, "8 bands"), (3, 32, 3, "float"), (1, 32, 3, "32-bit")]
    )
    def test_more_bands_or_floats_say_what_to_do(self, tmp_path, bands, bits, kind, words, caplog):
        path = tmp_path / "images" / "0.tif"
        path.parent.mkdir()
        write_tiff(path, bands, bits, kind)
        with pytest.raises(ValueError, match=rf"0\.tif: .*{words}.*np\.") as error:
            data.dataset.read_pair(str(path), None, None)
        assert not caplog.records and "\n" not in str(error.value)  # Pillow's own log


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


CLASS_FILES = {
    # where the file lies below the root, its text, how the masks are painted, the names found, and what void is
    "CVAT": (
        "labelmap.txt",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:61,245,61::\nroad:250,50,83::\n",
        [(0, 0, 0), (61, 245, 61), (250, 50, 83)],
        ("background", "car", "road"),
    ),
    "Roboflow": (
        "masks/_classes.csv",
        "Pixel Value, Class\n0, background\n1, car\n2, road\n",
        None,
        ("background", "car", "road"),
    ),
    "CamVid": (
        "class_dict.csv",
        "name,r,g,b\nSky,128,128,128\nRoad,128,64,128\nTree,128,128,0\n",
        [(128, 128, 128), (128, 64, 128), (128, 128, 0)],
        ("Sky", "Road", "Tree"),
    ),
    "black and white, white first": (
        "class_dict.csv",
        "name,r,g,b\nroad,255,255,255\nbackground,0,0,0\n",
        [(255, 255, 255), (0, 0, 0), (0, 0, 0)],
        ("road", "background"),
    ),
    "labelme2voc": ("class_names.txt", "_background_\ncar\nroad", None, ("background", "car", "road")),
}


def striped():
    """(24, 32) ids 0, 1, 2 in bands."""
    return np.repeat(np.arange(24) // 8, 32).reshape(SIZE).astype(np.uint8)


class TestClassFiles:
    def folder(self, root, place, text, colours, count=6):
        photos(root / "images", [f"{i}.jpg" for i in range(count)])
        for i in range(count):
            mask = striped() if colours is None else np.array(colours, np.uint8)[striped()]
            save(root / "masks" / f"{i}.png", mask)
        (root / place).write_text(text)
        return root / "images", root / "masks"

    @pytest.mark.parametrize("kind", CLASS_FILES)
    def test_beside_or_above_the_masks_names_the_classes(self, tmp_path, kind):
        place, text, colours, names = CLASS_FILES[kind]
        dataset = data.from_folder(*self.folder(tmp_path, place, text, colours), **ALL)
        assert dataset.labels.names == names
        assert Path(place).name in " ".join(dataset.notes) and "cannot be used" not in " ".join(dataset.notes)
        wanted = striped() if kind != "black and white, white first" else np.minimum(striped(), 1)
        assert all((mask == wanted).all() for mask in masks_of(dataset).values())
        if colours and len(set(colours)) == 3:
            assert dataset.labels.colours == tuple(colours)

    def test_a_palette_file_goes_by_its_colours(self, tmp_path):
        """CVAT's colours as indices in another order than the list's."""
        place, text, colours, names = CLASS_FILES["CVAT"]
        folders = self.folder(tmp_path, place, text, colours)
        for path in folders[1].glob("*.png"):
            save(path, np.array([2, 0, 1], np.uint8)[striped()], np.roll(colours, -1, axis=0))
        dataset = data.from_folder(*folders, **ALL)
        assert all((mask == striped()).all() for mask in masks_of(dataset).values())

    def test_void_becomes_the_ignore_label(self, tmp_path):
        text = "name,r,g,b\nVoid,0,0,0\nRoad,128,64,128\nTree,128,128,0\n"
        folders = self.folder(tmp_path, "class_dict.csv", text, [(0, 0, 0), (128, 64, 128), (128, 128, 0)])
        dataset = data.from_folder(*folders, **ALL)
        assert dataset.labels.names == ("Road", "Tree")
        wanted = np.array([255, 0, 1])[striped()]
        assert all((mask == wanted).all() for mask in masks_of(dataset).values())

    def test_labels_that_are_said_come_first(self, tmp_path):
        place, text, colours, _ = CLASS_FILES["Roboflow"]
        dataset = data.from_folder(*self.folder(tmp_path, place, text, colours), ["a", "b", "c"], **ALL)
        assert dataset.labels.names == ("a", "b", "c")

    def test_one_in_each_folder_of_a_split(self, tmp_path):
        for split in ("train", "valid"):
            for i in range(4):
                save(tmp_path / split / f"{i}_jpg.rf.0{i}.jpg", photo(i))
                save(tmp_path / split / f"{i}_jpg.rf.0{i}_mask.png", striped())
            (tmp_path / split / "_classes.csv").write_text(CLASS_FILES["Roboflow"][1])
        dataset = data.from_folder(tmp_path, f"{tmp_path}/*_mask.png")
        assert dataset.labels.names == ("background", "car", "road")
        assert dataset.counts == {"train": 4, "val": 4, "test": 0}
        (tmp_path / "valid/_classes.csv").write_text("Pixel Value, Class\n0, background\n1, road\n2, car\n")
        with refused("train/_classes.csv", "valid/_classes.csv", "labels="):
            data.from_folder(tmp_path, f"{tmp_path}/*_mask.png")

    @pytest.mark.parametrize(
        ("place", "text", "words"),
        [
            ("labelmap.txt", "# label\nbackground:0,0,0::\ncar=1\n", ["labelmap.txt", "'car=1'", "road:128,64,128::"]),
            ("class_dict.csv", "name,r,g,b\na,1,2,3\na,3,2,1\n", ["class_dict.csv", "different strings"]),
            ("class_names.txt", "_background_\nroad", ["class_names.txt", "0 of 6 masks", "labels="]),
        ],
    )
    def test_lists_that_do_not_fit_are_refused(self, tmp_path, place, text, words):
        folders = self.folder(tmp_path, place, text, None)
        with refused(*words):
            data.from_folder(*folders)

    def test_files_of_that_name_of_another_kind_are_not_read(self, tmp_path):
        folders = self.folder(tmp_path, "_classes.csv", "filename, cat, dog\n0.jpg, 1, 0\n", None)
        assert data.from_folder(*folders, **ALL).labels.names == ("class 0", "class 1", "class 2")


def labelme(path, shapes, **changes):
    """A file as labelme writes it; ``shapes`` are (label, points) or (label, points, shape_type)."""
    full = [
        {"label": s[0], "points": s[1], "group_id": None, "shape_type": (*s, "polygon")[2], "flags": {}} for s in shapes
    ]
    content = {"version": "5.4.1", "flags": {}, "shapes": full, "imagePath": f"{path.stem}.jpg", "imageData": None}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content, "imageHeight": SIZE[0], "imageWidth": SIZE[1]} | changes, indent=2))


SQUARE, INNER = [[2, 2], [20, 2], [20, 20], [2, 20]], [[6, 6], [12, 6], [12, 12], [6, 12]]


class TestLabelme:
    @pytest.mark.parametrize(("images", "masks"), [("d", "d"), ("d", "d/*.json"), ("d/*.jpg", "d")])
    def test_the_order_of_shapes_decides_overlaps(self, tmp_path, images, masks):
        photos(tmp_path / "d", ["a.jpg", "b.jpg", "c.jpg"])
        labelme(tmp_path / "d/a.json", [("road", SQUARE), ("car", INNER)])
        labelme(tmp_path / "d/b.json", [("car", INNER), ("road", SQUARE)])
        dataset = data.from_folder(tmp_path / images, tmp_path / masks, **ALL)
        assert dataset.labels.names == ("background", "car", "road")
        masks = masks_of(dataset)
        assert masks["a.jpg"][8, 8] == 1 and masks["b.jpg"][8, 8] == 2  # on top what was drawn last
        assert masks["a.jpg"][4, 4] == 2 and masks["a.jpg"][22, 22] == 0
        assert "labelme" in " ".join(dataset.notes) and [Path(path).name for path in dataset.unpaired] == ["c.jpg"]
        assert doctor.check(dataset).pairs[0].mask_error == ""

    def test_shapes_of_other_types(self, tmp_path):
        photos(tmp_path, ["a.jpg"])
        shapes = [("box", [[20, 12], [4, 2]], "rectangle"), ("disc", [[24, 12], [28, 12]], "circle")]
        labelme(tmp_path / "a.json", [*shapes, ("line", [[0, 0], [9, 9]], "line"), ("dot", [[1, 1]], "point")])
        dataset = data.from_folder(tmp_path, tmp_path, **ALL)
        mask = masks_of(dataset)["a.jpg"]
        names = dataset.labels.names
        assert 150 <= (mask == names.index("box")).sum() <= 190 and 45 <= (mask == names.index("disc")).sum() <= 65
        assert "2 annotations whose polygons enclose nothing" in " ".join(dataset.notes)

    def test_labels_choose_the_order_and_must_have_all(self, tmp_path):
        photos(tmp_path, ["a.jpg"])
        labelme(tmp_path / "a.json", [("road", SQUARE), ("__ignore__", INNER)])
        mask = masks_of(data.from_folder(tmp_path, tmp_path, ["road", "background"], **ALL))["a.jpg"]
        assert mask[4, 4] == 0 and mask[8, 8] == 255 and mask[22, 22] == 1
        with refused("labels= lacks road. Add"):
            data.from_folder(tmp_path, tmp_path, ["background", "car"])

    @pytest.mark.parametrize(("text", "words"), [('{"a": 1}', "no shapes"), ("{", "no JSON")])
    def test_a_file_that_is_none_is_named(self, tmp_path, text, words):
        photos(tmp_path, ["a.jpg", "b.jpg"])
        labelme(tmp_path / "a.json", [("road", SQUARE)])
        (tmp_path / "b.json").write_text(text)
        with refused("b.json", words):
            data.from_folder(tmp_path, tmp_path)

    def test_of_another_size_than_the_image_names_both(self, tmp_path):
        photos(tmp_path, ["a.jpg"])
        labelme(tmp_path / "a.json", [("road", SQUARE)], imageHeight=48, imageWidth=64)
        dataset = data.from_folder(tmp_path, tmp_path, **ALL)
        with pytest.raises(Exception, match=r"a\.jpg.*48×64"):
            list(dataset.train)


class TestRunLengths:
    """Kaggle's: 1-based, column by column."""

    def write(self, root, *rows, head="ImageId,ClassId,EncodedPixels"):
        photos(root / "images", ["a.jpg", "b.jpg", "c.jpg"])
        (root / "train.csv").write_text("\n".join([head, *rows]) + "\n")
        return root / "images", root / "train.csv"

    def test_are_drawn(self, tmp_path):
        # 24 rows: pixels 1–3 are rows 0–2 of column 0; 25 is row 0 of column 1; 50 is row 1 of column 2.
        dataset = data.from_folder(*self.write(tmp_path, "a.jpg,3,1 3 25 1", "a.jpg,7,50 2", "b.jpg,3,"), **ALL)
        assert dataset.labels.names == ("background", "3", "7")
        wanted = np.zeros(SIZE, np.uint8)
        wanted[0:3, 0], wanted[0, 1], wanted[1:3, 2] = 1, 1, 2
        masks = masks_of(dataset)
        np.testing.assert_array_equal(masks["a.jpg"], wanted)
        assert not masks["b.jpg"].any() and "c.jpg" not in masks

    @pytest.mark.parametrize(
        ("head", "row", "name"),
        [
            ("ImageId,EncodedPixels", "a.jpg,1 3", "foreground"),
            ("ImageId_ClassId,EncodedPixels", "a.jpg_4,1 3", "4"),
            ("Image_Label,EncodedPixels", "a.jpg_Fish,1 3", "Fish"),
            ("id,rle_mask", "a,1 3", "foreground"),
            ("id,class,segmentation", "a,stomach,1 3", "stomach"),
        ],
    )
    def test_columns_as_they_are_called(self, tmp_path, head, row, name):
        dataset = data.from_folder(*self.write(tmp_path, row, head=head), **ALL)
        assert dataset.labels.names == ("background", name)
        assert masks_of(dataset)["a.jpg"][:4, 0].tolist() == [1, 1, 1, 0]

    @pytest.mark.parametrize("runs", ["1", "0 4", "761 9", "5 4 2 1", "1 3 2 4", "1 x"])
    def test_that_do_not_fit_are_refused(self, tmp_path, runs):
        with refused("train.csv", "a.jpg", "do not fill"):
            data.from_folder(*self.write(tmp_path, f"a.jpg,3,{runs}"))

    def test_other_columns_are_refused(self, tmp_path):
        with refused("train.csv", "ImageId, annotation_score", "ImageId, ClassId, EncodedPixels"):
            data.from_folder(*self.write(tmp_path, head="ImageId, annotation_score"))
        with refused("train.csv", "columns name, rle"):
            data.from_folder(*self.write(tmp_path, "a,1 3", head="name,rle"))

    def test_rows_without_an_image_are_counted_and_none_at_all_refused(self, tmp_path):
        dataset = data.from_folder(*self.write(tmp_path, "a.jpg,3,1 3", "z.jpg,3,1 3"), **ALL)
        assert "1 rows without an image" in " ".join(dataset.notes) and "z.jpg" in " ".join(dataset.notes)
        with refused("train.csv, line 2: z.jpg", "a.jpg"):
            data.from_folder(*self.write(tmp_path, "z.jpg,3,1 3"))


class TestAFilePerClass:
    @pytest.mark.parametrize("name", ["{i}_{kind}.png", "{kind}/{i}.png", "{i}/{kind}_mask.png", "mask_{kind}_{i}.png"])
    def test_is_joined(self, tmp_path, name):
        photos(tmp_path / "images", [f"{i:03}.jpg" for i in range(6)])
        for i in range(6):
            for kind, mask in (("road", box(2, 20, 2, 20)), ("traffic_light", box(6, 12, 6, 12)))[: 2 - i % 2]:
                save(tmp_path / "masks" / name.format(i=f"{i:03}", kind=kind), mask)
        dataset = data.from_folder(tmp_path / "images", tmp_path / "masks", **ALL)
        assert dataset.labels.names == ("background", "road", "traffic_light")
        masks = masks_of(dataset)
        assert masks["000.jpg"][8, 8] == 2 and masks["000.jpg"][3, 3] == 1  # the smaller lies on top
        assert masks["001.jpg"][8, 8] == 1 and len(masks) == 6
        names = ["background", "Traffic light", "Road"]
        named = data.from_folder(tmp_path / "images", tmp_path / "masks", names, **ALL)
        assert masks_of(named)["000.jpg"][8, 8] == 1 and masks_of(named)["000.jpg"][3, 3] == 2

    def test_one_class_in_each_image_is_joined_where_labels_say_so(self, tmp_path):
        """Read as black and white, road and car would be one class."""
        photos(tmp_path / "images", [f"{i}.jpg" for i in range(6)])
        for i in range(6):
            save(tmp_path / "masks" / ("road", "car")[i % 2] / f"{i}.png", box(2, 9, 2, 9))
        dataset = data.from_folder(tmp_path / "images", tmp_path / "masks", ["background", "car", "road"], **ALL)
        assert [mask[4, 4] for mask in masks_of(dataset).values()] == [2, 1] * 3
        dataset = data.from_folder(tmp_path / "images", tmp_path / "masks", **ALL)
        assert re.search(r"warning: .*car, road.*labels=", " ".join(dataset.notes))

    def test_folders_called_for_splits_are_no_kinds(self, tmp_path):
        photos(tmp_path / "images", [f"{i}.jpg" for i in range(6)])
        for i in range(6):
            save(tmp_path / "masks" / ("train", "val")[i % 2] / f"{i}.png", box(2, 9, 2, 9))
        dataset = data.from_folder(tmp_path / "images", tmp_path / "masks", **ALL)
        assert "warning" not in " ".join(dataset.notes) and dataset.labels.names == ("background", "foreground")

    def test_kinds_of_the_same_mask_are_still_refused(self, tmp_path):
        photos(tmp_path / "images", ["0.jpg", "1.jpg"])
        for i in range(2):
            save(tmp_path / "masks" / f"{i}_ids.png", striped())
            save(tmp_path / "masks" / f"{i}_colour.png", COLOURED[striped()])
        with refused("2 images have several masks", "masks='"):
            data.from_folder(tmp_path / "images", tmp_path / "masks")

    def test_the_masks_of_two_people_are_not_two_classes(self, tmp_path):
        photos(tmp_path / "images", ["0.jpg", "1.jpg"])
        for i in range(2):
            save(tmp_path / "masks" / f"{i}_anna.png", box(2, 20, 2, 20))
            save(tmp_path / "masks" / f"{i}_bert.png", box(3, 20, 2, 20))
        with refused("2 images have several masks"):
            data.from_folder(tmp_path / "images", tmp_path / "masks")

    def test_an_image_without_any_is_left_out_or_background(self, tmp_path):
        photos(tmp_path / "images", ["0.jpg", "1.jpg", "2.jpg"])
        for i in range(2):
            save(tmp_path / "masks" / f"{i}_road.png", box(2, 9, 2, 9))
            save(tmp_path / "masks" / f"{i}_car.png", box(12, 20, 2, 9))
        folders = tmp_path / "images", tmp_path / "masks"
        dataset = data.from_folder(*folders, **ALL)
        assert [Path(path).name for path in dataset.unpaired] == ["2.jpg"] and "2.jpg" in " ".join(dataset.notes)
        assert "car, road" in " ".join(dataset.notes)
        assert not masks_of(data.from_folder(*folders, without_mask="background", **ALL))["2.jpg"].any()

    def test_a_damaged_size_names_the_file(self, tmp_path):
        photos(tmp_path / "images", ["0.jpg", "1.jpg"])
        for i in range(2):
            save(tmp_path / "masks" / f"{i}_road.png", box(2, 9, 2, 9))
            save(tmp_path / "masks" / f"{i}_car.png", box(12, 18, 2, 9)[: 24 - 4 * i])
        dataset = data.from_folder(tmp_path / "images", tmp_path / "masks", **ALL)
        with pytest.raises(Exception, match=r"1_car\.png: the mask is 20×32"):
            list(dataset.train)


COLOURED = np.array([[0, 0, 0], [200, 0, 0], [0, 200, 0]], np.uint8)

REFUSED = {
    "CVAT's XML": (
        "annotations.xml",
        '<?xml version="1.0"?>\n<annotations>\n  <image id="0" name="0.jpg">',
        "Segmentation mask 1.1",
    ),
    "YOLO's text": ("0.txt", "0 0.1 0.1 0.5 0.1 0.5 0.5\n1 0.25 0.5 0.125 0.0625\n", "COCO"),
    "Supervisely's JSON": ("0.jpg.json", '{"description": "", "size": {"height": 24}, "objects": []}', "masks"),
    "COCO's JSON": ("instances.json", '{"images": [], "annotations": [], "categories": []}', "data.from_coco"),
    "NumPy's arrays": ("0.npy", "\x93NUMPY", "SegmentationClass"),
}


class TestOtherExports:
    @pytest.mark.parametrize("kind", REFUSED)
    @pytest.mark.parametrize("beside", [False, True])
    def test_are_refused_by_their_name_with_the_one_to_choose(self, tmp_path, kind, beside):
        place, text, way = REFUSED[kind]
        photos(tmp_path / "images", ["0.jpg", "1.jpg"])
        folder = tmp_path / ("images" if beside else "labels")
        folder.mkdir(exist_ok=True)
        (folder / place).write_text(text)
        for masks in (folder, folder / place, f"{folder}/*{Path(place).suffix}"):
            with refused(kind, place, way):
                data.from_folder(tmp_path / "images", masks)

    def test_what_is_not_known_is_refused_as_before(self, tmp_path):
        photos(tmp_path / "images", ["0.jpg"])
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes/readme.txt").write_text("2 streets and 3 cars\n")
        with refused("no image files"):
            data.from_folder(tmp_path / "images", tmp_path / "notes")
        with refused("no such folder"):
            data.from_folder(tmp_path / "images", tmp_path / "gone")


class TestImagesWithoutAMask:
    def test_are_background_where_that_is_said(self, tmp_path):
        photos(tmp_path / "images", [f"{i}.jpg" for i in range(6)])
        for i in range(4):
            save(tmp_path / "masks" / f"{i}.png", box(2, 9, 2, 9))
        plain = data.from_folder(tmp_path / "images", tmp_path / "masks", **ALL)
        assert plain.counts["train"] == 4 and len(plain.unpaired) == 2
        dataset = data.from_folder(tmp_path / "images", tmp_path / "masks", without_mask="background", **ALL)
        masks = masks_of(dataset)
        assert len(masks) == 6 and not masks["5.jpg"].any() and masks["5.jpg"].shape == SIZE and masks["3.jpg"].any()
        assert dataset.unpaired == () and "2 images without a mask are all background" in " ".join(dataset.notes)
        assert len(list(dataset.train)) == 6 and not doctor.check(dataset).pairs[5].mask_error
        with refused("class called background", "road, car"):
            data.from_folder(tmp_path / "images", tmp_path / "masks", ["road", "car"], without_mask="background")
        with refused("without_mask= is 'background'", "'void'"):
            data.from_folder(tmp_path / "images", tmp_path / "masks", without_mask="void")

    def test_beside_an_export_too(self, tmp_path):
        photos(tmp_path, ["a.jpg", "b.jpg"])
        labelme(tmp_path / "a.json", [("road", SQUARE)])
        masks = masks_of(data.from_folder(tmp_path, tmp_path, without_mask="background", **ALL))
        assert masks["a.jpg"].any() and not masks["b.jpg"].any()


class TestIdsWithGaps:
    def test_the_advice_carries_the_mapping(self, tmp_path):
        photos(tmp_path / "images", [f"{i}.jpg" for i in range(6)])
        for i in range(6):
            save(tmp_path / "masks" / f"{i}.png", np.array([0, 3, 7], np.uint8)[striped()])
        folders = tmp_path / "images", tmp_path / "masks"
        for labels in (None, ["sky", "road", "car"]):
            dataset = data.from_folder(*folders, labels, **ALL)
            told = re.search(r"say (ids=(\{0: 0, 3: 1, 7: 2, 255: 255\}))", " ".join(dataset.notes))
            joined = data.from_folder(*folders, labels, ids=eval(told[2]), **ALL)
            assert joined.labels.num_classes == 3 and (masks_of(joined)["0.jpg"] == striped()).all()
            assert told[1] in str(doctor.check(dataset))
