import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from seglib import viz
from seglib.labels import VOID_COLOUR, LabelMap

pytestmark = pytest.mark.usefixtures("close_figures")
MAP = LabelMap(("sky", "road", "car"))


@pytest.fixture
def pair(rng):
    mask = np.zeros((8, 12), np.uint8)
    mask[4:], mask[0, 0] = 1, 255
    return {"image": rng.integers(0, 256, (8, 12, 3), np.uint8), "mask": mask}


def texts(found):
    return [text.get_text().strip() for text in found]


def drawn(axis):
    """The pixels of the picture in an axis, which must not be interpolated."""
    assert axis.images[0].get_interpolation() == "nearest"
    return axis.images[0].get_array()


def legend_of(figure):
    (legend,) = figure.legends
    colours = [tuple(round(255 * v) for v in to_rgb(patch.get_facecolor())) for patch in legend.get_patches()]
    return dict(zip(texts(legend.get_texts()), colours, strict=True))


def points(axis):
    return [line.get_xydata().tolist() for line in axis.lines]


def test_pairs_with_a_legend_of_what_occurs_in_the_right_colours(pair):
    viz.show_pairs(iter([pair]), MAP)
    figure = plt.gcf()
    assert legend_of(figure) == {"sky": MAP.colours[0], "road": MAP.colours[1], "void": VOID_COLOUR}
    assert [axis.get_title() for axis in figure.axes] == ["image", "mask", "overlay"]
    np.testing.assert_array_equal(drawn(figure.axes[1]), MAP.to_rgb(pair["mask"]))
    np.testing.assert_array_equal(drawn(figure.axes[2]), viz.overlay(pair["image"], pair["mask"], MAP))
    figure.canvas.draw()


def test_masks_are_drawn_in_their_colours_without_interpolation():
    mask = np.zeros((200, 300), np.uint8)  # larger than 128 rows: the image is smoothed, the mask is not
    mask[100:] = 1
    viz.show_masks([np.zeros((200, 300, 3))], {"truth": mask[None], "model": mask[None] * 0}, MAP, ["a street"])
    assert [axis.get_ylabel() for axis in plt.gcf().axes] == ["a street", "", ""]
    assert [axis.get_title() for axis in plt.gcf().axes] == ["image", "truth", "model"]
    np.testing.assert_array_equal(drawn(plt.gcf().axes[1]), MAP.to_rgb(mask))


def test_overlay_leaves_void_as_it_is(pair):
    laid = viz.overlay(pair["image"], pair["mask"], MAP, alpha=1)
    assert tuple(laid[0, 0]) == tuple(pair["image"][0, 0])
    assert tuple(laid[7, 7]) == MAP.colours[1] and laid.dtype == np.uint8
    viz.show_overlay(pair["image"], pair["mask"], MAP, alpha=1, title="a street")
    (axis,) = plt.gcf().axes
    assert axis.get_title() == "a street"
    np.testing.assert_array_equal(drawn(axis), laid)


def test_errors_are_red_on_grey_and_in_the_legend(pair):
    pred = pair["mask"].copy()
    pred[7, :6], pred[0, 0] = 2, 2
    viz.show_predictions([pair["image"]], [pair["mask"]], [pred], MAP)
    axes = plt.gcf().axes
    assert [axis.get_title() for axis in axes] == ["image", "truth", "prediction", "errors"]
    np.testing.assert_array_equal(drawn(axes[2]), MAP.to_rgb(pred))
    errors, red = drawn(axes[3]), viz.ERROR_COLOUR
    assert red[0] >= 150 and max(red[1:]) <= 50
    wrong = (errors == red).all(-1)
    assert wrong.sum() == 6 and wrong[7, :6].all() and tuple(errors[0, 0]) == VOID_COLOUR
    assert np.ptp(errors[~wrong], axis=-1).max() == 0  # all the rest is grey,
    assert errors[~wrong].mean(-1).min() > np.dot(red, (0.3, 0.6, 0.1)) + 30  # and lighter than the red
    assert legend_of(plt.gcf())["error"] == red


def test_a_black_background_does_not_darken_the_photograph(pair):
    cells = LabelMap(("background", "cell"), ((0, 0, 0), (230, 159, 0)))
    laid = viz.overlay(pair["image"], pair["mask"], cells, alpha=1)
    np.testing.assert_array_equal(laid[:4], pair["image"][:4])
    assert (laid[4:] == (230, 159, 0)).all()


def test_worst_comes_first(pair):
    mask = pair["mask"]
    preds = [mask, np.full_like(mask, 2), np.where(mask == 1, 2, mask), mask]
    viz.show_worst([pair["image"]] * 4, [mask] * 3 + [np.full_like(mask, 255)], preds, MAP, count=2)
    assert [axis.get_ylabel() for axis in plt.gcf().axes[::4]] == ["no. 1: 100% wrong", "no. 2: 51% wrong"]  # 48 / 95


def test_history_marks_the_best_epoch():
    viz.show_history({"loss": [3, 2, 1], "val_loss": [3, 2, 2], "val_miou": [0.1, 0.5, 0.4]})
    assert points(plt.gcf().axes[1])[1] == [[2, 0.5]]


def test_class_shares_with_an_absent_class():
    viz.show_class_shares(np.array([300, 100, 0]), MAP)
    (axis,) = plt.gcf().axes
    assert texts(axis.texts) == ["75.0%", "25.0%", "0.0%"] and texts(axis.get_yticklabels()) == list(MAP.names)
    plt.gcf().canvas.draw()
