import json
import re
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

from seglib.data import DataError
from seglib.data.coco import from_coco
from seglib.images import read_image
from seglib.labels import LabelMap

# Two overlapping shapes in 4×6 pixels. A polygon's corners lie on the corners of pixels, (0, 0) at the upper left.
#
#   c c c c . .      cat, id 7: the rectangle x 0–4, y 0–3, 12 pixels
#   c X X c d .      dog, id 3: the rectangle x 1–3, y 1–2 and x 4–5, y 1–2, as two polygons, 3 pixels
#   c c c c . .      X: both
#   . . . . . .
CAT = [[0, 0, 4, 0, 4, 3, 0, 3]]
DOG = [[1, 1, 3, 1, 3, 2, 1, 2], [4, 1, 5, 1, 5, 2, 4, 2]]
# The same in runs, column by column: outside, inside, outside, …
CAT_RUNS = [0, 3, 1, 3, 1, 3, 1, 3, 9]
DOG_RUNS = [5, 1, 3, 1, 7, 1, 6]
# Ids in the order of the categories' ids: 0 background, 1 dog, 2 cat.
DRAWN = [[2, 2, 2, 2, 0, 0], [2, 1, 1, 2, 1, 0], [2, 2, 2, 2, 0, 0], [0, 0, 0, 0, 0, 0]]
CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]
ALL = {"val": 0, "test": 0}


def note(number, category_id, segmentation, image_id=17, **others):
    return {"id": number, "image_id": image_id, "category_id": category_id, "segmentation": segmentation, **others}


def runs(counts, size=(4, 6)):
    return {"counts": counts, "size": list(size)}


class Folder:
    """A JSON file and its images, which a test may alter before it is written."""

    def __init__(self, path):
        self.path, self.images = path / "instances.json", path / "images"
        self.content = {"info": {}, "images": [], "annotations": [], "categories": CATEGORIES}
        self.add(17, "17.png")

    def add(self, key, file_name, place=None):
        path = self.images / (place or file_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(path)
        self.content["images"].append({"id": key, "file_name": file_name, "height": 4, "width": 6})

    def write(self, *annotations):
        self.content["annotations"] = list(annotations)
        self.path.write_text(json.dumps(self.content))

    def load(self, *annotations, **options):
        self.write(*annotations)
        return from_coco(self.path, self.images, **{**ALL, **options})

    def draw(self, *annotations, **options):
        """The mask of the first image."""
        dataset = self.load(*annotations, **options)
        return dataset.read_mask(dataset.files["train"][0][1]).tolist()

    def refused(self, match, *annotations, **options):
        with pytest.raises(DataError, match=match):
            self.load(*annotations, **options)


@pytest.fixture
def coco(tmp_path):
    return Folder(tmp_path)


class TestShapes:
    def test_polygons_and_runs_agree(self, coco):
        for cat, dog in ((CAT, DOG), (runs(CAT_RUNS), runs(DOG_RUNS)), (CAT, runs(DOG_RUNS))):
            assert coco.draw(note(1, 7, cat), note(2, 3, dog)) == DRAWN

    def test_compressed_runs_are_read_as_pycocotools_writes_them(self, coco, rng):
        for share, size in ((0, (1, 1)), (1, (7, 13)), (0.02, (30, 201)), (0.5, (30, 201)), (0.98, (30, 201))):
            mask = np.asfortranarray(rng.random(size) < share, np.uint8)
            coco.content["images"][0] |= {"height": size[0], "width": size[1]}
            counts = mask_api.encode(mask)["counts"].decode()
            assert coco.draw(note(1, 7, runs(counts, size))) == (2 * mask).tolist()

    def test_a_polygon_may_stand_out_of_the_image(self, coco):
        assert coco.draw(note(1, 7, [[-5, -3, 9, -3, 9, 2, -5, 2]])) == [[2] * 6, [2] * 6, [0] * 6, [0] * 6]

    @pytest.mark.parametrize(
        ("segmentation", "message"),
        [
            ([], r"\[\]; wanted polygons or run lengths"),
            ([[0, 0, 4, 0, 4, 3, 1]], "polygon .* 3, 1.*; wanted 6"),  # pycocotools draws it in silence
            ([CAT[0], [0, 0, 4, "left", 4, 3]], "polygon .*'left'.*; wanted 6"),
            ([[0, 0, 4, 0, 4, 9]], "0 to 9 in an image of 4×6"),  # as x, 9 would do
            ([[0, 0, float("nan"), 0, 4, 3]], "nan to nan"),  # pycocotools crashes
            (runs(CAT_RUNS, (6, 4)), r"size \[6, 4\], the image is \[4, 6\]"),  # drawn in silence
            (runs([5, 1, 3]), r"\[5, 1, 3\] do not fill .*4·6"),  # drawn in silence
            (runs([25, -1]), "do not fill"),
            ({"size": [4, 6]}, "do not fill"),
            (runs([1.5, 22.5]), "do not fill"),  # rounded in silence
            (runs("513"), "'513' do not fill"),  # [5, 1, 3]: drawn in silence, the rest is what lay in memory
        ],
    )
    def test_shapes_that_are_refused(self, coco, segmentation, message):
        coco.refused(rf"instances\.json(.|\n)*annotation 5: .*{message}", note(5, 7, segmentation))


class TestMasks:
    def test_the_smaller_lies_on_top_whatever_the_order(self, coco):
        # By the "area" of the file, which may be that of a box or missing, it would be the other way round.
        annotations = note(1, 7, CAT, area=1), note(2, 3, DOG, area=99)
        assert coco.draw(*annotations) == DRAWN
        assert coco.draw(*annotations[::-1]) == DRAWN

    def test_of_equally_large_ones_the_later_lies_on_top(self, coco):
        assert coco.draw(note(1, 7, DOG), note(2, 3, DOG))[1] == [0, 1, 1, 0, 1, 0]
        assert coco.draw(note(2, 3, DOG), note(1, 7, DOG))[1] == [0, 2, 2, 0, 2, 0]

    def test_crowds_are_drawn_like_the_others(self, coco):
        assert coco.draw(note(1, 7, CAT), note(2, 3, runs(DOG_RUNS), iscrowd=1)) == DRAWN

    def test_pairs_and_batches(self, coco):
        dataset = coco.load(note(1, 7, CAT), note(2, 3, DOG))
        assert dataset.labels.names == ("background", "dog", "cat")
        (pair,) = dataset.train.as_numpy_iterator()
        assert pair["mask"].tolist() == DRAWN and pair["mask"].dtype == np.uint8
        assert pair["image"].shape == (4, 6, 3)
        assert dataset.sizes["train"] == [(4, 6)]
        assert dataset.files["train"] == [(str(coco.images / "17.png"), f"{coco.path}, image 17 (17.png)")]

    def test_another_size_on_disk_names_the_image(self, coco):
        Image.fromarray(np.zeros((6, 4, 3), np.uint8)).save(coco.images / "17.png")
        dataset = coco.load(note(1, 7, CAT))
        assert dataset.sizes["train"] == [(4, 6)]  # as the JSON says
        with pytest.raises(Exception, match=r"instances\.json, image 17 \(17\.png\): the mask is 4×6 .* is 6×4"):
            list(dataset.train)


class TestClasses:
    def test_a_category_called_background_is_class_0(self, coco):
        coco.content["categories"] = [{"id": 7, "name": "_background_"}, {"id": 3, "name": "dog"}]
        dataset = coco.load(note(1, 7, CAT), note(2, 3, DOG))
        assert dataset.labels.names == ("background", "dog")
        assert dataset.read_mask(dataset.files["train"][0][1]).tolist() == (np.array(DRAWN) % 2).tolist()

    def test_without_background_what_nobody_labelled_is_void(self, coco):
        labels = LabelMap(("cat", "dog"), ignore_id=9)
        assert coco.draw(note(1, 7, CAT), note(2, 3, DOG), labels=labels) == np.array([9, 1, 0])[DRAWN].tolist()

    def test_categories_that_the_labels_lack(self, coco):
        labels, annotations = LabelMap(("background", "cat")), (note(1, 7, CAT), note(2, 3, DOG))
        coco.refused(r"instances\.json: .*lacks dog.*others=", *annotations, labels=labels)
        coco.refused("others= is 'background', 'void' .* got 'rest'", *annotations, labels=labels, others="rest")
        for others, target in (("background", 0), ("void", 255)):
            expected = np.array([0, target, 1])[DRAWN]
            assert coco.draw(*annotations, labels=labels, others=others) == expected.tolist()
        assert coco.draw(note(1, 7, CAT), labels=labels)[0] == [1, 1, 1, 1, 0, 0]  # no dog, so none is lost

    @pytest.mark.parametrize(
        ("categories", "message"),
        [
            ([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "category 1 is called 'b', another 'a'"),
            ([{"id": 1}], "category 1 is called None"),
        ],
    )
    def test_categories_that_are_refused(self, coco, categories, message):
        coco.content["categories"] = categories
        coco.refused(rf"instances\.json: {message}", note(1, 1, CAT))

    def test_more_classes_than_a_mask_holds(self, coco):
        coco.content["categories"] = [{"id": i, "name": f"class {i}"} for i in range(255)]
        coco.refused("instances.json: 256 classes .* 255; .*labels=", note(1, 1, CAT))
        coco.content["categories"].pop()
        assert coco.load(note(1, 1, CAT)).labels.num_classes == 255


class TestFiles:
    def test_notes_are_printed_and_kept(self, coco, capsys):
        coco.add(18, "18.png")
        labels = LabelMap(("background", "cat", "cow"))
        dataset = coco.load(note(1, 7, CAT), note(2, 3, DOG), labels=labels, others="void")
        for fragment in (
            "2 images, 2 annotations",
            "1 images without any annotation.* 18.png",
            "lacks dog.* void",
            "no category is called cow",
        ):
            assert any(re.search(fragment, text) for text in dataset.notes), fragment
        assert capsys.readouterr().out.splitlines() == [f"instances: {text}" for text in dataset.notes]
        assert not dataset.read_mask(dataset.files["train"][1][1]).any()

    def test_images_in_folders(self, coco):
        for place in ("a.png", "train2017/a.png"):  # found at its place, whatever else is called so
            coco.add(place, place)
        coco.add(2, "val2017\\b.png", "val2017/b.png")
        coco.add(3, "/photos/of/someone/c.png", "c.png")
        dataset = coco.load(note(1, 7, CAT, "a.png"))
        places = [image.removeprefix(f"{coco.images}/") for image, _ in dataset.files["train"]]
        assert places == ["17.png", "a.png", "train2017/a.png", "val2017/b.png", "c.png"]
        assert dataset.files["train"][1][1] == f"{coco.path}, image 'a.png' (a.png)"

    def test_splits(self, coco, tmp_path, capsys):
        for i in range(9):
            coco.add(i, f"drive{i // 3}_{i}.png")
        (tmp_path / "val.txt").write_text("drive2_7\n")
        (tmp_path / "train.txt").write_text("17.png\ndrive0_0\n")
        assert coco.load(note(1, 7, CAT), val=0.2, test=0.1).counts == {"train": 7, "val": 2, "test": 1}
        dataset = from_coco(coco.path, coco.images, lists=tmp_path, name="mine")
        assert repr(dataset) == "mine: 3 classes, train 2 · val 1 · test 0 pairs"
        assert "from lists" in " ".join(dataset.notes) and "from lists" in capsys.readouterr().out
        grouped = from_coco(coco.path, coco.images, val=0.3, test=0, groups=r"drive.|17")
        drives = [{image.rpartition("/")[2][:6] for image, _ in grouped.files[split]} for split in ("train", "val")]
        assert all(drives) and not drives[0] & drives[1]

    def test_a_file_per_split(self, tmp_path, capsys):
        for split, segmentation in (("train", CAT), ("valid", DOG)):
            (tmp_path / split).mkdir()
            folder = Folder(tmp_path / split)
            folder.images.rename(tmp_path / split / "pictures")
            folder.write(note(1, 7, segmentation))
        files = {"train": tmp_path / "train" / "instances.json", "val": tmp_path / "valid" / "instances.json"}
        folders = {"train": tmp_path / "train" / "pictures", "val": tmp_path / "valid" / "pictures"}
        dataset = from_coco(files, folders)
        assert dataset.counts == {"train": 1, "val": 1, "test": 0}
        masks = [dataset.read_mask(dataset.files[split][0][1]) for split in ("train", "val")]
        assert [int((mask == 2).sum()) for mask in masks] == [12, 3]
        for wrong, options, message in (
            ((files, folders), {"val": 0.2}, "leave val=, .* out"),
            ((files, {"train": folders["train"]}), {}, r"mappings .*'val'\] and \['train'\]"),
            ((files, folders["train"]), {}, r"valid/instances\.json, image 17.*same file as .*train/instances\.json"),
        ):
            with pytest.raises(DataError, match=message):
                from_coco(*wrong, **options)
        content = json.loads(files["val"].read_text())
        files["val"].write_text(json.dumps(content | {"categories": [{"id": 7, "name": "cow"}]}))
        with pytest.raises(DataError, match=r"valid/instances\.json: category 7 .*'cow', another 'cat'"):
            from_coco(files, folders)

    def test_without_pycocotools_it_says_how_to_get_it(self, coco, monkeypatch):
        monkeypatch.setitem(sys.modules, "pycocotools", None)
        with pytest.raises(ImportError, match="pip install .*coco"):
            coco.load(note(1, 7, CAT))


class TestFilesThatAreRefused:
    def test_missing(self, coco):
        with pytest.raises(FileNotFoundError, match=r"instances\.json"):
            from_coco(coco.path, coco.images)
        coco.write(note(1, 7, CAT))
        with pytest.raises(DataError, match=r"no file 17\.png in .*nowhere"):
            from_coco(coco.path, coco.images / "nowhere")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"images": [', "no JSON .*line 1"),
            ('[{"image_id": 17}]', "images None; wanted instance annotations"),
            ('{"images": [{}], "categories": [{}], "annotations": []}', r"annotations \[\]; wanted"),
        ],
    )
    def test_no_json_of_instances(self, coco, text, message):
        coco.path.write_text(text)
        with pytest.raises(DataError, match=rf"instances\.json: .*{message}"):
            from_coco(coco.path, coco.images)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"id": 17}, "image 17 .*18.png.*id of its own"),
            ({"file_name": "17.png"}, "image 18 .*same file as .*image 17"),
            ({"file_name": "a/gone.png"}, "image 18 .*no file a/gone.png in .*images"),
            ({"height": 0}, "image 18 .*height 0 and width 6"),
        ],
    )
    def test_images(self, coco, change, message):
        coco.add(18, "18.png")
        coco.content["images"][1] |= change
        coco.refused(rf"instances\.json, {message}", note(1, 7, CAT))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"image_id": 99}, "annotation 5: image_id 99 is not among the 1"),
            ({"category_id": 8}, "annotation 5: category_id 8 is not among the 2"),
        ],
    )
    def test_annotations(self, coco, change, message):
        coco.refused(rf"instances\.json: .*\(1\):\n  {message}", note(1, 7, CAT), note(5, 7, CAT) | change)


class TestFaultsThatToolsLeaveBehind:
    """Each is mended or left out, and said; none stops the reading."""

    def notes(self, dataset):
        return " | ".join(dataset.notes)

    @pytest.mark.parametrize("empty", [[], [[]], [[1, 1]], [[0, 0, 3, 3]]])
    def test_annotations_that_enclose_nothing_are_left_out_and_counted(self, coco, empty):
        dataset = coco.load(note(1, 7, CAT), note(2, 3, empty), note(3, 3, [*empty, *DOG]))
        assert dataset.read_mask(dataset.files["train"][0][1]).tolist() == DRAWN
        assert "1 annotations whose polygons enclose nothing" in self.notes(dataset)

    def test_boxes_alone_are_refused(self, coco):
        coco.refused("a box alone is no mask", note(1, 7, []), note(2, 3, []))

    def test_the_root_category_of_roboflow_is_dropped(self, coco):
        coco.content["categories"] = [
            {"id": 0, "name": "pets", "supercategory": "none"},
            {"id": 3, "name": "dog", "supercategory": "pets"},
            {"id": 7, "name": "cat", "supercategory": "pets"},
        ]
        dataset = coco.load(note(1, 7, CAT), note(2, 3, DOG))
        assert dataset.labels.names == ("background", "dog", "cat") and "category pets" in self.notes(dataset)
        assert coco.load(note(1, 7, CAT), note(2, 0, DOG)).labels.num_classes == 4  # it has one: it is a class

    def test_categories_of_one_name_are_one_class(self, coco):
        coco.content["categories"] = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 9, "name": "cat"}]
        dataset = coco.load(note(1, 7, CAT), note(2, 9, DOG))
        assert dataset.labels.names == (
            "background",
            "dog",
            "cat",
        ) and "several categories are called cat" in self.notes(dataset)
        assert dataset.read_mask(dataset.files["train"][0][1])[1].tolist() == [2, 2, 2, 2, 2, 0]

    def test_sizes_may_be_floats_that_are_whole(self, coco):
        coco.content["images"][0] |= {"height": 4.0, "width": 6.0}
        assert coco.draw(note(1, 7, CAT), note(2, 3, DOG)) == DRAWN
        coco.content["images"][0] |= {"height": 4.5}
        coco.refused(r"height 4\.5 and width 6", note(1, 7, CAT))

    def test_names_may_be_quoted_as_in_an_address(self, coco):
        coco.add(18, "my%20photos/a%20b.png", "my photos/a b.png")
        coco.add(19, "100%.png")
        coco.add(20, "x%20y.png")
        dataset = coco.load(note(1, 7, CAT))
        places = [image.removeprefix(f"{coco.images}/") for image, _ in dataset.files["train"]]
        assert places == ["17.png", "my photos/a b.png", "100%.png", "x%20y.png"]

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_shapes_are_drawn_upright(self, coco, orientation):
        """What is annotated is the brightest quarter of the image, as EXIF rotates it."""
        stored = np.zeros((40, 60, 3), np.uint8)
        stored[:20, :30] = 255
        picture = Image.fromarray(stored)
        exif = picture.getexif()
        exif[0x0112] = orientation
        picture.save(coco.images / "17.jpg", exif=exif, quality=95)
        seen = read_image(coco.images / "17.jpg")
        rows, columns = np.where(seen[..., 0] > 127)
        box = [[columns.min(), rows.min(), columns.max() + 1, rows.min(), columns.max() + 1, rows.max() + 1,
                columns.min(), rows.max() + 1]]  # fmt: skip
        coco.content["images"][0] |= {"file_name": "17.jpg", "height": len(seen), "width": len(seen[0])}
        dataset = coco.load(note(1, 7, np.array(box).tolist()))
        (pair,) = dataset.train.as_numpy_iterator()
        np.testing.assert_array_equal(pair["mask"] == 2, pair["image"][..., 0] > 127)
        coco.content["images"][0] |= {"height": 40, "width": 60}  # of the stored pixels
        if orientation > 4:
            with pytest.raises(Exception, match="the mask is 40×60 .* is 60×40"):
                list(coco.load(note(1, 7, np.array(box).tolist())).train)
