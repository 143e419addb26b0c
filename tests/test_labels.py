import numpy as np
import pytest

from seglib import labels
from seglib.labels import LabelMap

MAP = LabelMap(("sky", "road", "car"))


def test_colours_are_different_for_any_number_of_classes():
    for count in (1, 12, 13, 150):
        assert len(set(LabelMap(tuple(map(str, range(count)))).colours)) == count


def test_painting_and_reading_back_gives_the_mask():
    mask = np.array([[0, 1, 2], [255, 1, 0]], np.uint8)
    painted = MAP.to_rgb(mask)
    assert painted.shape == (2, 3, 3) and painted.dtype == np.uint8
    assert tuple(painted[0, 2]) == MAP.colours[2]
    np.testing.assert_array_equal(MAP.from_rgb(painted), mask)


def test_void_has_a_colour_of_its_own():
    published = np.array([[[128, 0, 0], [224, 224, 192]]], np.uint8)
    assert labels.VOC.from_rgb(published).tolist() == [[1, 255]]
    np.testing.assert_array_equal(labels.VOC.to_rgb(np.array([[1, 255]])), published)
    assert labels.CITYSCAPES.from_rgb(np.zeros((1, 1, 3), np.uint8)).tolist() == [[255]]


def test_unknown_ids_and_colours_are_named():
    with pytest.raises(ValueError, match=r"street.png: found ids outside the label map: 3, 7 "):
        MAP.check_ids(np.array([0, 3, 7]), name="street.png")
    with pytest.raises(ValueError, match=r"integer ids, got float"):
        MAP.check_ids(np.array([0.5]))
    with pytest.raises(ValueError, match=r"colour \(1, 2, 3\) belongs to no class \(2 pixels"):
        MAP.from_rgb(np.array([[1, 2, 3], [1, 2, 3]], np.uint8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ()}, "different strings"),
        ({"names": ("a", "a")}, "different strings"),
        ({"names": (0, 1)}, "different strings"),
        ({"names": "abc"}, r"the string 'abc': give \['abc'\]"),
        ({"names": ("a", "b"), "ignore_id": 1}, "ignore_id"),
        ({"names": ("a", "b"), "ignore_id": 256}, "ignore_id"),
        ({"names": ("a", "b"), "colours": ((0, 0, 0),)}, "2 names need 2 colours"),
        ({"names": ("a", "b"), "colours": ((0, 0, 0), (0, 0, 0))}, "share a colour"),
        ({"names": ("a",), "colours": ((0, 0, 256),)}, "0–255"),
    ],
)
def test_a_label_map_that_cannot_work_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LabelMap(**arguments)


def test_id_of_names_what_there_is():
    assert MAP.id_of("car") == 2
    with pytest.raises(KeyError, match="sky, road, car"):
        MAP.id_of("tram")


def test_remapping():
    mask = np.array([[0, 255]], np.uint8)
    np.testing.assert_array_equal(labels.remap(mask, labels.BINARY_255), [[0, 1]])
    trimap = np.array([[1, 2, 3]], np.uint8)
    np.testing.assert_array_equal(labels.remap(trimap, labels.one_based(3)), [[0, 1, 2]])
    with pytest.raises(ValueError, match=r"a.png: found ids that have no class: 128 \(known: 0, 255\)"):
        labels.remap(np.array([[0, 128]], np.uint8), labels.BINARY_255, name="a.png")
    with pytest.raises(ValueError, match="0–255"):
        labels.remap(mask, {300: 0})


def test_voc_palette_has_the_published_colours():
    assert labels.VOC.num_classes == 21
    published = {"background": (0, 0, 0), "aeroplane": (128, 0, 0), "bicycle": (0, 128, 0), "person": (192, 128, 128)}
    assert {name: labels.VOC.colours[labels.VOC.id_of(name)] for name in published} == published
    assert labels.voc_colours(256)[255] == (224, 224, 192)  # the cream border


def test_cityscapes_ids():
    table = labels.remap(np.arange(34), labels.CITYSCAPES_IDS)
    published = {7: "road", 8: "sidewalk", 11: "building", 17: "pole", 24: "person", 26: "car", 33: "bicycle"}
    for file_id, name in published.items():
        assert labels.CITYSCAPES.names[table[file_id]] == name
    assert sorted(set(table.tolist())) == [*range(19), 255]
    assert table[0] == table[29] == 255  # unlabelled, caravan


def test_known_names_stand_where_the_sources_count_them():
    """objectInfo150.txt and instanceInfo100_train.txt of the ADE20K benchmarks, panoptic_coco_categories.json."""
    ade, things, coco = labels.ADE20K.names, labels.ADE20K_THINGS.names, labels.COCO_PANOPTIC.names
    assert (len(ade), len(things), len(coco)) == (150, 101, 133)
    for number, name in {1: "wall", 22: "water", 53: "path", 76: "swivel chair", 101: "poster", 150: "flag"}.items():
        assert ade[labels.one_based(150)[number]] == name
    for number, name in {0: "background", 1: "bed", 33: "pool table", 58: "television receiver", 100: "flag"}.items():
        assert things[number] == name
    for number, name in {0: "person", 11: "stop sign", 79: "toothbrush", 80: "banner", 132: "rug-merged"}.items():
        assert coco[number] == name


def test_a_label_map_is_kept_as_json(tmp_path):
    path = tmp_path / "labels.json"
    numpys = LabelMap(np.array(["sky", "Straße"]), np.uint8([(1, 2, 3), (4, 5, 6)]), np.int64(9), np.uint8([7, 8, 9]))
    assert numpys == LabelMap(("sky", "Straße"), ((1, 2, 3), (4, 5, 6)), 9, (7, 8, 9))
    for labels_in in (numpys, labels.CITYSCAPES):
        path.unlink(missing_ok=True)
        labels_in.save(path)
        labels_in.save(path)  # the same again is no conflict
        assert LabelMap.load(path) == labels_in
    with pytest.raises(FileExistsError, match="labels.json holds another label map"):
        MAP.save(path)
    assert LabelMap.load(path) == labels.CITYSCAPES


@pytest.mark.parametrize("text", ["", "[1]", '{"colours": []}', '{"names": ["a", "a"]}', '{"names": ["a"], "x": 1}'])
def test_what_is_no_label_map_is_refused_by_name(tmp_path, text):
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(ValueError, match=r"labels.json: no label map"):
        LabelMap.load(tmp_path / "labels.json")
    with pytest.raises(ValueError, match=r"none.json: no label map can be read: No such file"):
        LabelMap.load(tmp_path / "none.json")
