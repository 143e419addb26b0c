"""The drawn cells: alike at every size, kept apart in the mask, and not to be found by a threshold."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from seglib.datasets import cells
from seglib.datasets.cells import drawing, plan, touch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dish():
    """All scenes of each split at the tiny size: {split: [Drawing]}."""
    return {
        split: [cells.draw_cells(seed, *cells.SIZES["tiny"]) for seed in cells.SPLITS[split]] for split in cells.SPLITS
    }


def everything(dish):
    return [drawn for drawings in dish.values() for drawn in drawings]


def same_partition(a, b):
    """Whether two label images are the same up to the numbers."""
    pairs = np.unique(np.stack((a.ravel(), b.ravel())).astype(np.int64), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@pytest.mark.parametrize(("seed", "height", "width"), [(-1, 96, 96), (0, 31, 96), (0, 96, 8)])
def test_refuses_what_it_cannot_draw(seed, height, width):
    with pytest.raises(ValueError, match="32 pixels or more"):
        cells.draw_cells(seed, height, width)


def test_connected_pieces_of_the_mask_are_the_cells(dish):
    larger = [cells.draw_cells(seed, *cells.SIZES[config]) for config in ("small", "full") for seed in (3, 20_002)]
    for drawn in everything(dish) + larger:
        np.testing.assert_array_equal(drawn.mask, drawn.instances > 0)
        np.testing.assert_array_equal(np.unique(drawn.instances), np.arange(drawn.instances.max() + 1))
        for structure in (None, np.ones((3, 3))):  # whether corners connect or not
            pieces, count = ndimage.label(drawn.mask, structure)
            assert count == drawn.instances.max()
            assert same_partition(pieces, drawn.instances)


def test_every_scene_has_cells_that_touch(dish):
    shares = []
    for drawn in everything(dish):
        low = np.where(drawn.instances > 0, drawn.instances.astype(int), 999)
        between = ndimage.maximum_filter(drawn.instances, 3).astype(int) > ndimage.minimum_filter(low, 3)
        lines = between & (drawn.mask == 0)  # one pixel of background with a cell on either side
        assert (drawn.border[lines] > 100).all()
        shares.append(lines.mean())
    assert min(shares) > 0.01 and 0.045 < np.mean(shares) < 0.07


def test_cells_are_many_and_neither_class_is_rare(dish):
    masks = np.stack([drawn.mask for drawn in everything(dish)])
    assert 0.35 < masks.mean() < 0.5
    assert all(0.15 < mask.mean() < 0.75 for mask in masks)
    areas = [np.bincount(drawn.instances.ravel())[1:] for drawn in everything(dish)]
    assert all(15 <= len(area) <= 80 for area in areas)
    assert np.median(np.concatenate(areas)) > 60 and np.concatenate(areas).min() >= drawing.SMALLEST * 96 * 96


def test_same_cells_at_every_size():
    for seed in (1, 4, 11, 20_002):
        tiny, full = (cells.draw_cells(seed, *cells.SIZES[config]) for config in ("tiny", "full"))
        assert (full.mask[2::4, 2::4] == tiny.mask).mean() > 0.93
        assert abs(int(full.instances.max()) - int(tiny.instances.max())) <= 3
        blocks = full.image.reshape(96, 4, 96, 4, 3).mean(axis=(1, 3))
        assert np.abs(blocks - tiny.image).mean() < 8
        between = (full.border > 150).reshape(96, 4, 96, 4).any(axis=(1, 3))
        assert between[tiny.border > 150].mean() > 0.9


def test_debris_changes_the_image_and_not_the_mask(monkeypatch):
    drawn = cells.draw_cells(6, 96, 96)
    scene = plan.plan_scene(6)
    assert len(scene.flecks) > 10
    monkeypatch.setattr(drawing, "plan_scene", lambda seed: dataclasses.replace(scene, flecks=()))
    clean = cells.draw_cells(6, 96, 96)
    np.testing.assert_array_equal(clean.mask, drawn.mask)
    difference = np.abs(clean.image.astype(int) - drawn.image).max(axis=-1)
    assert difference[drawn.mask == 0].max() > 30


def test_a_threshold_is_not_enough(dish):
    counts = np.zeros((2, 256))
    for drawn in dish["test"]:
        for label in (0, 1):
            counts[label] += np.bincount(drawn.image[drawn.mask == label][:, 0], minlength=256)
    below = np.cumsum(counts, axis=1)
    above = counts.sum(axis=1, keepdims=True) - below
    scores = []
    for (ground, cell), (other_ground, other_cell) in ((above, below), (below, above)):  # cells are dark, or bright
        # rows: truth, columns: prediction    ground | ground        other_ground
        #                                     cell   | cell          other_cell
        scores.append(ground / (ground + other_ground + cell) + other_cell / (cell + other_cell + other_ground))
    best = np.max(scores) / 2  # the threshold that suits the test pictures best
    assert 0.4 < best < 0.55  # a U-Net reaches 0.9


# The border map


def brute_border(instances, sigma):
    """The border map by its formula, pixel by pixel."""
    rows, cols = np.indices(instances.shape)
    ids = [i for i in np.unique(instances) if i]
    out = np.zeros(instances.shape)
    for y, x in np.argwhere(instances == 0):
        distances = sorted(np.hypot(rows - y, cols - x)[instances == i].min() for i in ids)
        out[y, x] = np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))
    return np.rint(255 * out)


@pytest.mark.parametrize("sigma", [0.8, 2.0, 5.0])
def test_border_map_is_its_formula(sigma):
    rng = np.random.default_rng(7)
    for shape in ((12, 17), (9, 8), (1, 20)):
        instances = rng.integers(1, 5, shape) * (rng.random(shape) < 0.15)
        instances.flat[[0, -1]] = 1, 2  # two at least
        np.testing.assert_array_equal(cells.border_map(instances, sigma), brute_border(instances, sigma))


def test_border_map_by_hand():
    instances = np.array([[1, 0, 2, 0, 0, 2]], np.uint16)
    # d1 + d2:               -  1+1  -  1+3 2+4 -  : both sides of the second gap are cell 2; cell 1 is 3 and 4 away
    sums = np.array([2.0, 4.0, 5.0])
    expected = np.rint(255 * np.exp(-(sums**2) / (2 * 5**2)))
    np.testing.assert_array_equal(cells.border_map(instances, 5)[0], [0, expected[0], 0, expected[1], expected[2], 0])


def test_border_map_needs_two_cells():
    for instances in (np.zeros((5, 5), int), np.eye(5, dtype=int)):
        assert not cells.border_map(instances, 5).any()


@pytest.mark.parametrize(
    ("instances", "sigma"), [(np.zeros((4, 4)), 5), (np.zeros((4, 4, 1), int), 5), (np.zeros((4, 4), int), 0)]
)
def test_border_map_refuses(instances, sigma):
    with pytest.raises(ValueError, match="got"):
        cells.border_map(instances, sigma)


@pytest.mark.parametrize("config", ["tiny", "small"])
def test_drawn_border_is_that_of_the_instances(config):
    height, width = cells.SIZES[config]
    drawn = cells.draw_cells(10_001, height, width)
    np.testing.assert_array_equal(drawn.border, cells.border_map(drawn.instances, cells.SIGMA * height))
    assert not drawn.border[drawn.mask == 1].any()


# Touching


def test_of_each_id_the_largest_piece_is_kept():
    ids = np.array([[1, 1, 0, 2, 0], [0, 0, 1, 2, 1], [4, 4, 4, 0, 1]])  # 1: two, one and two pixels; no 3
    kept = [[0, 0, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 1, 1, 1]]
    np.testing.assert_array_equal(touch.keep_largest(ids), np.array(kept, bool))


def test_separate_leaves_a_line_and_no_crumbs():
    owner = np.array(
        [
            [1, 1, 1, 2, 2],
            [1, 1, 1, 2, 2],
            [3, 3, 0, 0, 0],
            [3, 3, 0, 0, 4],
        ]
    )
    # 1 gives way to 2 on its right and to 3 below, even across corners; 4 is a crumb.
    expected = np.array(
        [
            [1, 1, 0, 2, 2],
            [0, 0, 0, 2, 2],
            [3, 3, 0, 0, 0],
            [3, 3, 0, 0, 0],
        ]
    )
    np.testing.assert_array_equal(touch.separate(owner, np.zeros((4, 5), bool), 2), expected)
    apart = np.zeros((4, 5), bool)
    apart[3, :] = True
    np.testing.assert_array_equal(touch.separate(owner, apart, 2)[3], 0)


def test_a_cell_cut_in_two_keeps_its_larger_piece():
    y = x = (np.arange(60) + 0.5) / 60
    long = plan.Blob(0.5, 0.42, 0.2, stretch=4.0)
    thick = plan.Blob(0.5, 0.55, 0.16)
    owner, best, second = touch.compete([long, thick], y, x)
    alone = touch.measure_depth(long, y, x)
    assert ndimage.label((alone > 0) & (alone > touch.measure_depth(thick, y, x)))[1] == 2  # what there is to prevent
    assert ndimage.label(owner == 1)[1] == 1 and (owner[30, :18] == 1).any() and not (owner[:, 45:] == 1).any()
    assert (best >= second).all()
    np.testing.assert_array_equal(owner > 0, best > 0)


def test_depth_is_the_distance_to_a_circle_and_follows_the_wobble():
    y = x = np.linspace(0, 1, 5)
    circle = plan.Blob(0.5, 0.5, 0.2)
    np.testing.assert_allclose(touch.measure_depth(circle, y, x)[2], [-0.3, -0.05, 0.2, -0.05, -0.3])
    two = plan.Blob(0.5, 0.5, 0.2, wobble=(0, 0, 0.5))  # cos 2θ: half as far again along x, half as far along y
    depth = touch.measure_depth(two, y, x)
    np.testing.assert_allclose((depth[2, 3], depth[3, 2]), (0.3 - 0.25, 0.1 - 0.25))
    turned = touch.measure_depth(dataclasses.replace(two, angle=np.pi / 4), y, x)  # from right towards down
    away = np.hypot(0.25, 0.25)
    np.testing.assert_allclose((turned[3, 3], turned[1, 3]), (0.3 - away, 0.1 - away), atol=1e-12)
