import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

import diagrams
from seglib import metrics
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
