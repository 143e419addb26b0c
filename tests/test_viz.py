import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from seglib import metrics, viz
from seglib.labels import VOID_COLOUR, LabelMap

MAP = LabelMap(("sky", "road", "car"))


@pytest.fixture
def pair(rng):
    mask = np.zeros((8, 12), np.uint8)
    mask[4:], mask[0, 0] = 1, 255
    return {"image": rng.integers(0, 256, (8, 12, 3), np.uint8), "mask": mask}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def legend():
    (found,) = plt.gcf().legends
    return {
        text.get_text(): tuple(round(255 * v) for v in to_rgb(patch.get_facecolor()))
        for text, patch in zip(found.get_texts(), found.get_patches(), strict=True)
    }


def test_legend_has_the_right_colours_for_what_occurs(pair):
    viz.show_pairs([pair], MAP)
    assert legend() == {"sky": MAP.colours[0], "road": MAP.colours[1], "void": VOID_COLOUR}
    plt.gcf().canvas.draw()


def test_masks_are_drawn_in_the_legends_colours_without_interpolation(pair):
    viz.show_masks([pair["image"]], {"truth": pair["mask"][None], "model": pair["mask"][None] * 0}, MAP)
    drawn = plt.gcf().axes[1].images[0]
    np.testing.assert_array_equal(drawn.get_array(), MAP.to_rgb(pair["mask"]))
    assert drawn.get_interpolation() == "nearest"


def test_overlay_leaves_void_as_it_is(pair):
    laid = viz.overlay(pair["image"], pair["mask"], MAP, alpha=1)
    assert tuple(laid[0, 0]) == tuple(pair["image"][0, 0])
    assert tuple(laid[7, 7]) == MAP.colours[1]
    assert laid.dtype == np.uint8


def test_errors_are_marked_and_void_is_not(pair):
    pred = pair["mask"].copy()
    pred[7, :6], pred[0, 0] = 2, 2
    errors = viz.error_map(pair["image"], pair["mask"], pred, 255)
    assert (errors == viz.WRONG).all(-1).sum() == 6
    assert tuple(errors[0, 0]) == VOID_COLOUR
    assert viz.error_share(pair["mask"], pred, 255) == 6 / 95
    assert viz.error_share(np.full((2, 2), 255), np.zeros((2, 2)), 255) == 0


def test_worst_comes_first(pair):
    masks = [pair["mask"]] * 3
    preds = [pair["mask"], np.full_like(pair["mask"], 2), np.where(pair["mask"] == 1, 2, pair["mask"])]
    viz.show_worst([pair["image"]] * 3, masks, preds, MAP, count=2)
    rows = [axis.get_ylabel() for axis in plt.gcf().axes if axis.get_ylabel()]
    assert rows == ["no. 1: 100% wrong", "no. 2: 51% wrong"]


def test_history_marks_the_best_epoch():
    viz.show_history({"loss": [3, 2, 1], "val_loss": [3, 2, 2], "val_miou": [0.1, 0.5, 0.4]})
    assert [t.get_text() for t in plt.gcf().axes[1].get_legend().get_texts()] == ["validation", "best: epoch 2"]


def test_confusion_and_class_shares_with_an_absent_class():
    viz.show_confusion(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]), MAP)
    np.testing.assert_allclose(plt.gcf().axes[0].images[0].get_array()[0], [75, 25, 0])
    viz.show_class_shares(np.array([300, 100, 0]), MAP)
    assert [t.get_text().strip() for t in plt.gcf().axes[0].texts] == ["75.0%", "25.0%", "0.0%"]
    plt.gcf().canvas.draw()


def test_show_overlay_and_predictions_draw(pair):
    viz.show_overlay(pair["image"], pair["mask"], MAP, title="a street")
    viz.show_predictions([pair["image"]], [pair["mask"]], [pair["mask"] * 0], MAP)
    plt.gcf().canvas.draw()
    assert [axis.get_title() for axis in plt.gcf().axes] == ["image", "truth", "prediction", "wrong pixels"]


def test_show_seeds_draws_every_seed_and_the_mean():
    viz.show_seeds({"coarse": [0.2, 0.4], "fine": [0.5, 0.7, 0.9]}, "mean IoU")
    (axis,) = plt.gcf().axes
    dots, mean, more_dots, more_mean = (line.get_xydata() for line in axis.lines)
    assert dots.tolist() == [[0.2, 0], [0.4, 0]] and mean[:, 0] == pytest.approx(0.3)
    assert more_dots[:, 1].tolist() == [1, 1, 1] and more_mean[:, 0] == pytest.approx(0.7)
    assert [text.get_text() for text in axis.get_yticklabels()] == ["coarse", "fine"]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["one seed", "mean"]


def test_show_intervals_draws_each_and_writes_its_numbers():
    viz.show_intervals({"accuracy": (0.9, 0.85, 0.95), "mean IoU": (0.6, 0.5, 0.72)}, "score")
    (axis,) = plt.gcf().axes
    (interval, dot, *_) = (line.get_xydata().tolist() for line in axis.lines)
    assert interval == [[0.85, 0], [0.95, 0]] and dot == [[0.9, 0]]
    assert [text.get_text() for text in axis.texts] == ["0.900   0.850 – 0.950", "0.600   0.500 – 0.720"]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["accuracy", "mean IoU"]
    assert axis.yaxis_inverted()


def test_show_trials_draws_every_trial_by_each_setting():
    rates = [1e-4, 2e-4, 1e-3, 3e-3, 1e-2, 2e-2, 3e-2]
    trials = {
        "optimizer": list("cbbcbaa"),
        "batch": [8.0, 4, 8, 4, 8, 4, 8],
        "rate": rates,
        "miou": [0.1 * n for n in range(7)],
    }
    viz.show_trials(trials, ["optimizer", "batch", "rate"], "miou", "mean IoU")
    letters, batches, rate, nothing = plt.gcf().axes
    assert [text.get_text() for text in letters.get_xticklabels()] == ["c", "b", "a"]  # by their means
    assert [text.get_text() for text in batches.get_xticklabels()] == ["4", "8"]
    dots, mean, *_ = (line.get_xydata() for line in batches.lines)
    np.testing.assert_allclose(dots, [[0, 0.1], [0, 0.3], [0, 0.5]])
    np.testing.assert_allclose(mean[:, 1], 0.3)
    assert rate.get_xscale() == "log" and rate.lines[0].get_xydata()[:, 0].tolist() == rates
    assert not nothing.axison and letters.get_ylabel() == "mean IoU"
    assert [text.get_text() for text in plt.gcf().legends[0].get_texts()] == ["one trial", "mean"]


def test_show_importance_draws_means_and_their_spread():
    viz.show_importance(
        {"rate": {"miou": [0.4, 0.6], "pole": [0.2, 0.2]}, "loss": {"miou": [0, 0], "pole": [1, 1]}}, "share"
    )
    (axis,) = plt.gcf().axes
    assert [[bar.get_width() for bar in bars] for bars in axis.containers if hasattr(bars, "patches")] == [
        [0.5, 0],
        [0.2, 1],
    ]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["rate", "loss"] and axis.yaxis_inverted()
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["miou", "pole"]


def test_show_calibration_draws_each_network_against_the_diagonal(rng):
    probs = rng.dirichlet(np.ones(3), (8, 8))
    found = metrics.calibration(rng.integers(0, 3, (8, 8)), probs, bins=5)
    viz.show_calibration({"one": found, "another": found})
    left, right = plt.gcf().axes
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["as sure as right", "one", "another"]
    np.testing.assert_array_equal(left.lines[1].get_ydata(), found.accuracy)
    assert right.lines[0].get_ydata().sum() == pytest.approx(1)
    assert left.lines[1].get_color() != left.lines[2].get_color()
    assert left.lines[1].get_marker() != left.lines[2].get_marker()
