"""Faults of one's own loader and model that would train without an error: each is said, once."""

import keras
import numpy as np
import pytest

from seglib import losses, metrics, predict
from seglib.images import write_mask
from seglib.labels import LabelMap

BINARY = LabelMap(("background", "foreground"))

IMAGES = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 3)).astype(np.float32)
HALF = np.zeros((8, 16, 16), np.uint8)
HALF[:, :8] = 1


def make_model(activation=None, last=None):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(2, 1, activation=activation)(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, last(x) if last else x)
    model.compile("sgd", losses.CompoundLoss({"cross_entropy": 1}), metrics=[metrics.ConfusionMatrix(2)])
    return model


# JAX's traced arrays carry no mark; there softmax is said by predict alone.
needs_mark = pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX tells nothing of what it traces")


def said(capsys, word):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith(word)]


class TestMasksOfBlackAndWhite:
    @pytest.mark.parametrize("validate", [False, True])
    def test_leave_one_class_and_that_is_said_once(self, capsys, validate):
        masks, model = HALF * 255, make_model()
        more = {"validation_data": (IMAGES, masks)} if validate else {}
        model.fit(IMAGES, masks, epochs=2, verbose=0, **more)
        (line,) = said(capsys, "warning")
        assert "class 0" in line and "50%" in line and "255" in line and "// 255" in line

    def test_scribbles_are_a_note(self, capsys):
        masks = np.full_like(HALF, 255)
        masks[:, :2], masks[:, -2:] = 0, 1
        make_model().fit(IMAGES, masks, epochs=2, verbose=0)
        (line,) = said(capsys, "note")
        assert "75%" in line and not said(capsys, "warning")

    def test_ordinary_masks_are_not_mentioned(self, capsys):
        make_model().fit(IMAGES, HALF, epochs=2, validation_data=(IMAGES, HALF), verbose=0)
        metric = metrics.ConfusionMatrix(2)
        metric.update_state(np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 4), np.uint8))
        metric.result(), metric.reset_state()  # a toy of one class
        assert capsys.readouterr().out == ""


class TestAModelThatEndsInSoftmax:
    @needs_mark
    @pytest.mark.parametrize(
        ("activation", "last"),
        [("softmax", None), (None, keras.layers.Softmax()), (None, keras.ops.softmax)],
        ids=["activation", "layer", "operation"],
    )
    def test_is_said_once_in_training(self, capsys, activation, last):
        make_model(activation, last).fit(IMAGES, HALF, epochs=2, verbose=0)
        (line,) = said(capsys, "warning")
        assert "softmax" in line and "logits" in line

    @needs_mark
    def test_is_said_once_under_a_bare_function(self, capsys, monkeypatch):
        monkeypatch.setattr(losses, "_SAID", [])
        model = make_model("softmax")
        model.compile("sgd", losses.cross_entropy)
        model.fit(IMAGES, HALF, epochs=2, validation_data=(IMAGES, HALF), verbose=0)
        assert len(said(capsys, "warning")) == 1

    def test_outputs_in_a_loop_of_ones_own(self, capsys):
        loss = losses.CompoundLoss({"dice": 1})
        for _ in range(2):
            loss(HALF, np.full((8, 16, 16, 2), 0.5, np.float32))
        assert len(said(capsys, "warning")) == 1
        losses.CompoundLoss({"dice": 1})(HALF, np.zeros((8, 16, 16, 2), np.float32))
        assert not said(capsys, "warning")

    def test_is_predicted_with_one_softmax(self, capsys):
        model = make_model("softmax")
        probs = predict.probabilities(model, IMAGES[0])
        np.testing.assert_allclose(probs, model.predict_on_batch(IMAGES[:1])[0], atol=1e-4)
        predict.segment(model, IMAGES[1])
        assert len(said(capsys, "warning")) == 1
        predict.probabilities(make_model(), IMAGES[0])
        assert not said(capsys, "warning")


@pytest.mark.parametrize(("masks", "way"), [(HALF[..., None], "squeeze"), (np.eye(2, dtype=np.uint8)[HALF], "argmax")])
def test_masks_with_an_axis_too_many_say_which_call_removes_it(masks, way, tmp_path):
    logits = np.zeros((8, 16, 16, 2), np.float32)
    with pytest.raises(ValueError, match=way):
        losses.cross_entropy(masks, logits)
    with pytest.raises(ValueError, match=way):
        metrics.ConfusionMatrix(2).update_state(masks, logits)
    with pytest.raises(ValueError, match=way):
        metrics.confusion_matrix(masks, HALF, 2)
    with pytest.raises(ValueError, match=way):
        write_mask(tmp_path / "mask.png", masks[0], BINARY)
