import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

import diagrams
from seglib import metrics, models
from seglib.labels import LabelMap
from seglib.viz import BLUE

pytestmark = pytest.mark.usefixtures("close_figures")
MAP = LabelMap(("sky", "road", "car"))


def texts(found):
    return [text.get_text().strip() for text in found]


def test_ids_are_written_into_their_pixels():
    diagrams.show_ids({"toy": [[0, 1]], "void": [[255, 1]]}, MAP)
    toy, void = plt.gcf().axes
    assert texts(toy.texts) == ["0", "1"] and texts(void.texts) == ["255", "1"]
    np.testing.assert_array_equal(toy.images[0].get_array(), MAP.to_rgb(np.array([[0, 1]])))
    assert texts(plt.gcf().legends[0].get_texts()) == ["sky", "road", "void"]
    assert void.texts[0].get_color() == "black"  # on light grey
    plt.gcf().canvas.draw()


def test_seeds_are_dots_with_their_mean():
    diagrams.show_seeds({"coarse": [0.2, 0.4], "fine": [0.5, 0.7, 0.9]}, "mean IoU")
    (axis,) = plt.gcf().axes
    dots, mean, more_dots, more_mean = (line.get_xydata() for line in axis.lines)
    assert dots.tolist() == [[0.2, 0], [0.4, 0]] and mean[:, 0] == pytest.approx(0.3)
    assert more_dots[:, 1].tolist() == [1, 1, 1] and more_mean[:, 0] == pytest.approx(0.7)
    assert texts(axis.get_yticklabels()) == ["coarse", "fine"] and axis.yaxis_inverted()
    assert texts(axis.get_legend().get_texts()) == ["one seed", "mean"]


def test_intervals_are_lines_with_their_numbers():
    diagrams.show_intervals({"accuracy": (0.9, 0.85, 0.95), "mean IoU": (0.6, 0.5, 0.72)}, "score")
    (axis,) = plt.gcf().axes
    assert [line.get_xydata().tolist() for line in axis.lines[:2]] == [[[0.85, 0], [0.95, 0]], [[0.9, 0]]]
    assert texts(axis.texts) == ["0.900   0.850 – 0.950", "0.600   0.500 – 0.720"]
    assert texts(axis.get_yticklabels()) == ["accuracy", "mean IoU"] and axis.yaxis_inverted()


def test_calibration_of_each_network_against_the_diagonal(rng):
    probs = rng.dirichlet(np.ones(3), (8, 8))
    found = metrics.calibration(rng.integers(0, 3, (8, 8)), probs, bins=5)
    diagrams.show_calibration({"one": found, "another": found})
    left, right = plt.gcf().axes
    assert texts(left.get_legend().get_texts()) == ["perfectly calibrated", "one", "another"]
    np.testing.assert_array_equal(left.lines[1].get_ydata(), found.accuracy)
    assert right.lines[0].get_ydata().sum() == pytest.approx(1)
    assert left.lines[1].get_color() != left.lines[2].get_color()
    assert left.lines[1].get_marker() != left.lines[2].get_marker()


def test_steps_are_boxes_joined_by_arrows():
    diagrams.show_steps({"read": "(64, 96, 3)", "resize": "(32, 48, 3)", "batch": "(8, 32, 48, 3)"})
    (axis,) = plt.gcf().axes
    plt.gcf().canvas.draw()
    found = texts(axis.texts)
    assert [text for text in found if text] == "read|(64, 96, 3)|resize|(32, 48, 3)|batch|(8, 32, 48, 3)".split("|")
    assert found.count("") == 2  # the arrows


def test_a_network_is_boxes_to_scale_with_a_legend_of_its_operations():
    boxes = {"image": (0, 0, (64, 96, 4)), "features": (1, 1, (16, 24, 16)), "logits": (2.5, 0, (64, 96, 4))}
    arrows = [("image", "features", "down"), ("features", "logits", "up")]
    diagrams.show_network(boxes, arrows, ["stride 1", "stride 4"])
    (axis,) = plt.gcf().axes
    plt.gcf().canvas.draw()
    image, features, _ = axis.patches
    assert image.get_height() == pytest.approx(2 * features.get_height())  # the square root of 64 : 16
    assert features.get_width() == pytest.approx(2 * image.get_width())
    assert texts(axis.texts) == ["image", "64×96×4", "features", "16×24×16", "logits", "64×96×4", "", ""]
    assert texts(axis.get_yticklabels()) == ["stride 1", "stride 4"] and axis.yaxis_inverted()
    down, up = axis.texts[-2:]
    assert down.xyann == (image.get_x() + image.get_width(), 0) and down.xy == (features.get_x(), 1)
    (legend,) = plt.gcf().legends
    assert texts(legend.get_texts()) == ["down", "up"]
    shown = [line.get_color() for line in legend.get_lines()]
    assert shown == [to_hex(arrow.arrow_patch.get_edgecolor()).upper() for arrow in (down, up)] and len({*shown}) == 2


def test_more_operations_than_colours_are_told_apart_by_dashes():
    boxes = {f"{n}": (n, 0, (8, 8, 8)) for n in range(10)}
    diagrams.show_network(boxes, [(f"{n}", f"{n + 1}", f"operation {n}") for n in range(9)])
    lines = plt.gcf().legends[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 9


def test_confusion_is_in_percent_of_the_true_class():
    diagrams.show_confusion(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]), MAP)
    np.testing.assert_allclose(plt.gcf().axes[0].images[0].get_array(), [[75, 25, 0], [0, 100, 0], [0, 0, 0]])


def test_a_receptive_field_grows_downwards():
    """By hand: 1 value, from 3 of the pooling (kernel 3), from 6 of the convolution (2 each), from 8 pixels."""
    diagrams.show_receptive_field([("conv", 3, 1), ("pool", 2, 2), ("conv again", 3, 1)])
    (axis,) = plt.gcf().axes
    plt.gcf().canvas.draw()
    names, counts = (texts(found) for found in (axis.get_yticklabels(), axis.texts))
    assert names == ["image", "conv", "pool", "conv again"]
    assert counts == ["8 pixels", "6 values", "3 values", "1 value"]
    blue = [patch for patch in axis.patches if to_hex(patch.get_facecolor()).upper() == BLUE]
    rows = [
        [patch.get_x() + patch.get_width() / 2 for patch in blue if round(patch.get_y()) == row] for row in range(4)
    ]
    assert [len(row) for row in rows] == [8, 6, 3, 1]
    np.testing.assert_allclose([np.mean(row) for row in rows], np.mean(rows[0]))  # each below the one at the top
    assert len(axis.lines) == 6 + 3 + 1  # from each blue value to the first and the last that it is computed from


def test_a_prompt_has_its_clicks_and_the_contours_of_masks_that_are_not_empty():
    axis = plt.subplots()[1]
    square, empty = np.zeros((2, 8, 8), bool)
    square[2:5, 2:6] = True
    diagrams.draw_prompt(axis, np.full((8, 8, 3), 200.0), [(3, 4, 1), (6, 1, -1)], [(square, "black"), (empty, "red")])
    inside, outside = axis.lines
    assert [(*line.get_xydata()[0],) for line in axis.lines] == [(4, 3), (1, 6)]
    assert inside.get_marker() != outside.get_marker() and inside.get_color() != outside.get_color()
    (contour,) = axis.collections
    corners = np.concatenate([path.vertices for path in contour.get_paths()])
    assert corners.min(axis=0).tolist() == [1.5, 1.5] and corners.max(axis=0).tolist() == [5.5, 4.5]


def test_cells_are_shown_around_their_centre():
    cells = np.zeros((8, 50, 60), bool)
    for i, cell in enumerate(cells):
        cell[10 + i, 20:23] = True
    diagrams.show_cells(
        np.zeros((50, 60, 3)), cells, cells, [(10, 21, 1)] * 8, [f"cell {i}" for i in range(8)], reach=5
    )
    axes = plt.gcf().axes
    assert [axis.get_title() for axis in axes] == [f"cell {i}" for i in range(8)]
    assert axes[2].get_xlim() == (16, 26) and axes[2].get_ylim() == (17, 7)


def test_maps_of_a_click_have_one_scale():
    diagrams.show_click_maps(np.zeros((4, 4, 3)), (1, 1, 1), {"near": np.eye(4), "far": np.eye(4) / 2})
    click, near, far, bar = plt.gcf().axes
    assert [axis.get_title() for axis in (click, near, far)] == ["click", "near", "far"]
    assert near.images[0].get_clim() == far.images[0].get_clim() == (0, 1)


def test_rounds_are_means_of_seeds_within_their_range():
    diagrams.show_rounds({"one": {"iou1": [0.4, 0.6], "iou3": [0.7, 0.9], "noc80": [3, 4]}}, (1, 3))
    (axis,) = plt.gcf().axes
    np.testing.assert_allclose(axis.lines[0].get_xydata(), [[1, 0.5], [3, 0.8]])
    band = axis.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 0.4 and band[:, 1].max() == 0.9


def test_estimates_are_binned_by_tenths():
    """Ten objects with an estimate of 0.85 and an IoU of 0.6 or 0.8, nine with one of 0.25: too few for a point."""
    diagrams.show_estimates(np.array([0.85] * 10 + [0.25] * 9), np.array([0.6, 0.8] * 5 + [0.2] * 9))
    (axis,) = plt.gcf().axes
    np.testing.assert_allclose(axis.lines[1].get_xydata(), [[0.85, 0.7]])
    assert texts(axis.texts) == ["10"]


def test_magnitudes_are_bars_with_their_numbers():
    diagrams.show_magnitudes({"small": {"images": 400, "weights": 5000}, "large": {"images": 2e6, "weights": 3e9}})
    (axis,) = plt.gcf().axes
    assert [bar.get_width() for bar in axis.patches] == [400, 5000, 2e6, 3e9] and axis.get_xscale() == "log"
    assert texts(axis.texts) == ["400", "5,000", "2,000,000", "3,000,000,000"]
    assert texts(axis.get_yticklabels()) == ["images", "weights"]


def test_the_promptable_network_is_the_one_of_the_library():
    diagrams.show_promptable(96, 4)
    model = models.promptable((96, 96, 3))
    masks, scores = model.output
    found = texts(plt.gca().texts)
    for shape in ((48, 48, 32), masks.shape[1:], (1, 1, scores.shape[-1])):
        assert "×".join(map(str, shape)) in found
    assert "×".join(map(str, model.get_layer("encoder").output.shape[1:])) == "48×48×32"
