import json

import numpy as np
import pytest
from matplotlib.path import Path
from PIL import Image

from seglib import data, regions
from seglib.labels import LabelMap

MAP = LabelMap(("sky", "road", "car"))

MASK = np.array(
    [
        [0, 1, 1, 1, 0, 2],
        [0, 1, 0, 1, 0, 0],
        [0, 1, 1, 1, 2, 0],
        [2, 0, 0, 0, 2, 2],
    ],
    np.uint8,
)


def fill(rings, size):
    """Which pixels have their centres within an odd number of rings."""
    rows, columns = np.indices(size) + 0.5
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1)
    return (sum(Path(ring).contains_points(centres).astype(int) for ring in rings) % 2 == 1).reshape(size)


def test_regions_hang_together_by_their_sides():
    found = regions.find_regions(MASK, [1, 2])
    assert [(r.class_id, r.area, r.top, r.left, r.pixels.shape) for r in found] == [
        (1, 8, 0, 1, (3, 3)),
        (2, 1, 0, 5, (1, 1)),
        (2, 3, 2, 4, (2, 2)),
        (2, 1, 3, 0, (1, 1)),
    ]
    assert [r.area for r in regions.find_regions(MASK, [1, 2], smallest=2)] == [8, 3]
    assert not regions.find_regions(MASK, [7]) and not regions.find_regions(MASK, [])


def test_the_ring_around_one_pixel_by_hand():
    (ring,) = regions.find_contours(regions.Region(0, 1, 3, 5, np.ones((1, 1), bool)))
    # The pixel's centre is x = 5.5, y = 3.5; its ring passes half-way to the centres of its four neighbours.
    assert {tuple(point) for point in ring} == {(6.0, 3.5), (5.5, 4.0), (5.0, 3.5), (5.5, 3.0)}
    assert tuple(ring[0]) == tuple(ring[-1]) and len(ring) == 5


def test_rings_filled_again_give_the_region():
    for seed in range(20):
        size = (9 + seed % 5, 14)
        mask = (np.random.default_rng(seed).random(size) < 0.6).astype(np.uint8)
        for region in regions.find_regions(mask, [0, 1]):
            expected = np.zeros(size, bool)
            rows, columns = region.pixels.shape
            expected[region.top : region.top + rows, region.left : region.left + columns] = region.pixels
            rings = regions.find_contours(region)
            np.testing.assert_array_equal(fill(rings, size), expected)
            turns = [np.sum(r[:-1, 0] * r[1:, 1] - r[1:, 0] * r[:-1, 1]) for r in rings]
            assert turns[0] > 0 and all(turn < 0 for turn in turns[1:]), "outer rings and holes turn opposite ways"


def test_geojson_has_holes():
    written = json.loads(json.dumps(regions.to_geojson(regions.find_regions(MASK, [1]), MAP)))
    (feature,) = written["features"]
    assert written["type"] == "FeatureCollection" and feature["geometry"]["type"] == "Polygon"
    assert feature["properties"] == {"class": "road", "class_id": 1, "area": 8}
    assert len(feature["geometry"]["coordinates"]) == 2
    rings = [np.array(ring) for ring in feature["geometry"]["coordinates"]]
    np.testing.assert_array_equal(fill(rings, MASK.shape), MASK == 1)


def test_void_has_no_name():
    void = regions.find_regions(np.array([[0, 255]]), [255])
    for to in (lambda: regions.to_geojson(void, MAP), lambda: regions.to_coco(void, MAP, "a.png", (1, 2))):
        with pytest.raises(ValueError, match=r"regions of \{255\}"):
            to()


def test_coco_is_read_back(tmp_path):
    Image.fromarray(np.zeros((*MASK.shape, 3), np.uint8)).save(tmp_path / "a.png")
    written = regions.to_coco(regions.find_regions(MASK, range(3)), MAP, "a.png", np.array(MASK.shape))
    (tmp_path / "a.json").write_text(json.dumps(written))
    back = data.from_coco(tmp_path / "a.json", tmp_path, val=0, test=0)
    (pair,) = back.train.as_numpy_iterator()
    names = np.array([*back.labels.names, *[""] * 256])
    np.testing.assert_array_equal(names[pair["mask"]], np.array(MAP.names)[MASK])
    assert [a["bbox"] for a in written["annotations"] if a["category_id"] == 2] == [[1, 0, 3, 3]]


@pytest.mark.parametrize("mask", [np.zeros((2, 2)), np.zeros((1, 2, 2), np.uint8)])
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(ValueError, match="integer ids, got"):
        regions.find_regions(mask, [0])
