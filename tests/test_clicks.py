"""Promptable segmentation: maps of clicks, the network, masks for clicks, and the script that trains it."""

import clicks as script  # bench/clicks.py
import keras
import numpy as np
import pytest
from keras import ops

from seglib import checkpoints, models, predict
from seglib.datasets import cells
from seglib.models.prompts import ClickMaps, Similarity

ANY = (None, None, 3)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return models.promptable(ANY, filters=4, depth=3)


@pytest.fixture(scope="module")
def checkpoint():
    return checkpoints.load("promptable")


def draw_maps(clicks, height=4, width=6):
    return ops.convert_to_numpy(ClickMaps()(np.zeros((1, height, width, 1)), np.array([clicks], np.float32)))[0]


def test_clicks_become_gaussians_at_stride_2():
    maps = draw_maps([(2.5, 4.5, 1)])
    # The pixel (1, 2) of the map covers rows 2–3 and columns 4–5: its centre is the click.
    assert maps[1, 2].tolist() == [1, 0, 1, 0]
    # One to the right is 2 pixels of the image away: exp(−4 / 50) with σ = 5, exp(−4 / 4.5) with σ = 1.5.
    np.testing.assert_allclose(maps[1, 3, [0, 2]], np.exp([-4 / 50, -4 / 4.5]), rtol=1e-5)


def test_the_highest_of_several_clicks_counts_and_a_sign_of_zero_is_none():
    one, other = (2.5, 4.5, 1), (2.5, 8.5, 1)
    np.testing.assert_allclose(draw_maps([one, other]), np.maximum(draw_maps([one]), draw_maps([other])), rtol=1e-6)
    np.testing.assert_array_equal(draw_maps([one, (0, 0, 0)]), draw_maps([one]))
    outside = draw_maps([(2.5, 4.5, -1)])
    np.testing.assert_array_equal(outside[..., [1, 3]], draw_maps([one])[..., [0, 2]])
    assert not outside[..., [0, 2]].any()


def test_similarity_is_that_of_position_plus_offset():
    offsets = np.zeros((1, 4, 6, 4), np.float32)
    clicks = np.array([[(2, 4, 1)]], np.float32)
    similar = ops.convert_to_numpy(Similarity(1)(offsets, clicks))[0]
    assert similar[1, 2].tolist() == [1, 0]
    # Two map pixels to the right are 4 pixels of the image, half a unit: exp(−1/4).
    assert similar[1, 4, 0] == pytest.approx(np.exp(-0.25))
    offsets[0, 1, 4, 1] = -0.5  # it points back to the clicked place
    assert ops.convert_to_numpy(Similarity(1)(offsets, clicks))[0, 1, 4, 0] == pytest.approx(1)
    offsets[0, 1, 4, 3] = 2  # a third and a fourth number are free of the position: exp(−4)
    assert ops.convert_to_numpy(Similarity(1)(offsets, clicks))[0, 1, 4, 0] == pytest.approx(np.exp(-4))


def test_heads_have_embeddings_of_their_own_and_the_closest_click_counts():
    offsets = np.random.default_rng(0).normal(size=(1, 4, 6, 8)).astype(np.float32)
    clicks = [(2, 4, 1), (6, 10, 1), (1, 1, -1)]
    found = ops.convert_to_numpy(Similarity(2)(offsets, np.array([clicks], np.float32)))[0]
    for head in range(2):
        part = offsets[..., 4 * head : 4 * head + 4]
        each = [ops.convert_to_numpy(Similarity(1)(part, np.array([[c]], np.float32)))[0] for c in clicks]
        np.testing.assert_allclose(found[..., head], np.maximum(each[0], each[1])[..., 0], rtol=1e-5)
        np.testing.assert_allclose(found[..., 2 + head], each[2][..., 1], rtol=1e-5)


def test_parameters():
    # Encoder: 3×3 convolutions without bias, and four numbers of a batch normalisation for each of their channels.
    def block(a, b):
        return 9 * a * b + 9 * b * b + 8 * b

    encoder = block(3, 16) + block(16, 32) + block(32, 64) + block(64, 128)
    encoder += 4 * 128 * 64 + 64 + block(128, 64) + 4 * 64 * 32 + 32 + block(64, 32)
    # Decoder: embeddings; 32 features, 4 Gaussians and 6 similarities; 1×1, 1×1, 3×3; logits; two dense layers.
    decoder = 32 * 12 + 12 + 42 * 32 + 32 + 32 * 32 + 32 + 9 * 32 * 24 + 24 + 4 * 24 * 3 + 3 + 48 * 32 + 32 + 32 * 3 + 3
    network = models.promptable(ANY)
    assert network.get_layer("encoder").count_params() == encoder == 475_024
    assert network.get_layer("decoder").count_params() == decoder
    assert network.count_params() == encoder + decoder


@pytest.mark.parametrize("size", [(61, 83), (1, 7), (8, 8)])
def test_any_size(network, size):
    image = np.random.default_rng(0).uniform(0, 255, (*size, 3)).astype(np.float32)
    found = predict.segment_clicks(network, predict.encode_image(network, image), [(0, size[1] - 1, True)], size)
    assert found.masks.shape == (3, *size) and found.masks.dtype == bool
    assert found.scores.shape == (3,) and ((found.scores >= 0) & (found.scores <= 1)).all()


def test_encoding_once_gives_what_the_whole_network_gives_in_any_order_of_clicks(network):
    image = np.random.default_rng(0).uniform(0, 255, (24, 40, 3)).astype(np.float32)
    clicks = [(3, 30, True), (12, 8, False), (20, 20, True)]
    signed = np.array([[(row, column, 1 if inside else -1) for row, column, inside in clicks]], np.float32)
    logits, scores = network.predict_on_batch({"image": image[None], "clicks": signed})
    features = predict.encode_image(network, image)
    found = predict.segment_clicks(network, features, clicks, (24, 40))
    np.testing.assert_allclose(found.scores, np.clip(scores[0], 0, 1), atol=1e-5)
    wanted = logits[0] > 0
    assert (found.masks == np.moveaxis(wanted, -1, 0)).mean() > 0.999
    again = predict.segment_clicks(network, features, clicks[::-1], (24, 40))
    np.testing.assert_allclose(again.scores, found.scores, atol=1e-6)


def test_it_is_saved_and_loaded_and_trains_in_a_step(network, tmp_path):
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    inputs = {"image": np.full((1, 16, 24, 3), 90, np.float32), "clicks": np.array([[(3, 4, 1)]], np.float32)}
    for one, other in zip(network.predict_on_batch(inputs), loaded.predict_on_batch(inputs), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    with pytest.raises(ValueError, match="3 levels or more, got 0 and 2"):
        models.promptable(ANY, num_answers=0, depth=2)


def test_half_precision_leaves_logits_and_scores_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = models.promptable(ANY, filters=4, depth=3)
    finally:
        keras.config.set_dtype_policy("float32")
    outputs = mixed.predict_on_batch({"image": np.zeros((1, 16, 16, 3)), "clicks": np.array([[(90.0, 91.0, 1.0)]])})
    assert [x.dtype for x in outputs] == [np.float32, np.float32]


@pytest.mark.parametrize(
    ("clicks", "message"),
    [
        ([], "a click inside the object, .* among the 0 given"),
        ([(3, 4, False)], r"a click inside the object, \(row, column, True\), among the 1 given"),
        ([(3, 4, True), (24, 4, True)], "click 2 is outside the image: row 24, column 4 of 24×40"),
        ([(-1, 4, True)], "click 1 is outside the image: row -1"),
        ([(3, float("nan"), True)], "click 1 is outside the image"),
        ([(3, 4, True), (5, 5, True), (3, 4, False)], "clicks 1 and 3 contradict .*row 3, column 4 is both"),
    ],
)
def test_clicks_that_cannot_be_meant_are_refused(network, clicks, message):
    features = predict.encode_image(network, np.zeros((24, 40, 3), np.uint8))
    with pytest.raises(ValueError, match=message):
        predict.segment_clicks(network, features, clicks, (24, 40))


# The checkpoint


@pytest.fixture(scope="module")
def fields():
    """Three fields of cells in no split."""
    drawings = [cells.draw_cells(seed, 96, 96) for seed in (30_000, 30_001, 30_002)]
    return [script.Field(d.image, d.instances, script.find_groups(d.instances)) for d in drawings]


def test_checkpoint_is_small_and_segments_unseen_cells(checkpoint, fields):
    assert (checkpoints.FOLDER / "promptable.npz").stat().st_size < 2e6
    scored, best = script.measure(checkpoint, fields, rounds=2)
    assert scored[:, 0].mean() > 0.7 and best.mean() >= scored[:, 0].mean()
    whole = next(i for i in range(1, 40) if 100 < (fields[0].objects == i).sum())
    truth = fields[0].objects == whole
    click = script.find_next_click(truth, np.zeros_like(truth))
    found = predict.segment_clicks(checkpoint, predict.encode_image(checkpoint, fields[0].image), [click], (96, 96))
    assert found.masks[found.scores.argmax(), click[0], click[1]]


def test_a_click_on_the_background_is_answered(checkpoint, fields):
    image = np.full((96, 96, 3), 128, np.uint8)  # nothing is there
    found = predict.segment_clicks(checkpoint, predict.encode_image(checkpoint, image), [(40, 40, True)], (96, 96))
    assert np.isfinite(found.scores).all()


def test_an_outside_click_takes_away(checkpoint, fields):
    features = predict.encode_image(checkpoint, fields[0].image)
    place = np.argwhere(fields[0].objects == 12).mean(axis=0).round()
    one = predict.segment_clicks(checkpoint, features, [(*place, True)], (96, 96))
    mask = one.masks[one.scores.argmax()]
    rows, columns = np.nonzero(mask)
    end = rows[columns.argmax()], columns.max()
    two = predict.segment_clicks(checkpoint, features, [(*place, True), (*end, False)], (96, 96))
    assert not two.masks[two.scores.argmax()][end]


# The script


def test_the_next_click_is_on_the_deepest_wrong_pixel():
    truth, pred = np.zeros((2, 5, 9), bool)
    truth[:, 0:4], pred[:, 0:3], pred[1:4, 5:8] = True, True, True
    # Missed: a column one pixel wide. Too much: 3×3 pixels, whose middle is 2 pixels from what is right.
    assert script.find_next_click(truth, pred) == (2, 6, -1)
    assert script.find_next_click(truth, truth) == (0, 0, 0)
    assert script.find_next_click(truth, np.zeros_like(truth)) == (1, 1, 1)  # beyond the frame there is no error
    drawn = {script.find_next_click(truth, pred, np.random.default_rng(i)) for i in range(20)}
    assert drawn == {(2, 6, -1)}  # 2 > 1 at the middle alone


def test_clicks_are_counted_to_the_first_success():
    scored = np.array([[0.9, 0.5, 0.5], [0.1, 0.8, 0.7], [0.1, 0.2, 0.79]])
    assert script.count_clicks(scored).tolist() == [1, 2, 20]


def test_the_best_answer_learns_and_the_others_a_little():
    targets = np.zeros((1, 1, 4, 4), np.float32)
    targets[..., :2] = 1
    right = np.where(np.arange(4) < 2, 30.0, -30.0)[None, :, None] * np.ones((4, 4, 1))
    logits = np.concatenate([right, -right], axis=-1)[None, None].astype(np.float32)
    scores = np.array([[[1.0, 0.0]]], np.float32)
    # Answer 0 is right: loss 0. Answer 1 is wrong everywhere: 5 · 30 of cross-entropy, Dice (0 + 1) / (16 + 1).
    wrong = 5 * 30 + 1 - 1 / 17
    assert float(script.prompt_loss(targets, logits, scores)) == pytest.approx(0.05 * wrong / 2, rel=1e-4)
    # Estimates that are exactly wrong: their squared error is 1 each.
    assert float(script.prompt_loss(targets, logits, 1 - scores)) == pytest.approx(0.05 * wrong / 2 + 1, rel=1e-4)


def test_cells_are_counted_as_lesson_04_counts_them():
    instances = np.repeat(np.array([[1, 1, 1, 0, 2, 2, 0, 3, 3]]), 3, axis=0)
    found = np.repeat(np.array([[1, 1, 1, 0, 1, 1, 0, 0, 0]]), 3, axis=0)
    counts = script.border.count_objects
    assert counts(instances, found).tolist() == [3, 1, 2, 1, 0]  # 1 is found, 1 and 2 merged, 3 missed
    found[0, 3] = 7  # an object between the cells
    assert counts(instances, found)[4] == 1


class Grid:
    """In place of a network: the mask of a click is the 4×4 block that it is in; the estimate is 0.9, or low."""

    def __init__(self, part):
        self.part = part

    def get_layer(self, part):
        return Grid(part)

    def predict_on_batch(self, inputs):
        if self.part == "encoder":
            return np.zeros((1, 8, 8, 1), np.float32)
        clicks = inputs[1][:, 0]
        blocks = np.arange(16)[:, None] // 4 * 4 + np.arange(16) // 4  # of 16×16 pixels
        chosen = blocks[clicks[:, 0].astype(int), clicks[:, 1].astype(int)]
        logits = np.where(blocks[None] == chosen[:, None, None], 9.0, -9.0)
        return logits[..., None].astype(np.float32), np.where(chosen > 3, 0.9, 0.1)[:, None]


def test_a_grid_of_clicks_finds_each_object_once():
    ids = script.segment_all(Grid(None), np.zeros((16, 16, 3)), answer=0)
    assert ids.max() == 12  # the first four blocks have low estimates
    assert not ids[:3].any() and all(len(np.unique(ids[4 * i + 1 : 4 * i + 3, 1:3])) == 1 for i in range(1, 4))


@pytest.mark.slow
@pytest.mark.parametrize("name", script.NAMES)
def test_each_network_of_the_table_trains_some_steps(name, monkeypatch):
    monkeypatch.setattr(script, "STEPS", 3)
    monkeypatch.setattr(script, "draw_cells", lambda split, draw=script.draw_cells: draw(split)[:2])
    assert len(script.run(name, 0)) == len(script.FIELDS) - 2
