import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from seglib import models, predict


@pytest.fixture(scope="module")
def model():
    """Class 1 where red is over half: a model whose answer is known."""
    inputs = keras.Input((None, None, 3))
    scores = keras.layers.Lambda(lambda x: ops.stack([0 * x[..., 0] + 127.5, x[..., 0]], axis=-1) / 32)(inputs)
    return keras.Model(inputs, scores)


@pytest.fixture(scope="module")
def unet():
    keras.utils.set_random_seed(0)
    return models.unet((None, None, 3), 3, filters=4, depth=2)


@pytest.fixture
def image():
    image = np.zeros((20, 31, 3), np.uint8)
    image[:, 10:, 0] = 255
    return image


def test_segments_at_the_images_own_size(model, image):
    expected = (image[..., 0] > 127).astype(np.uint8)
    pred = predict.segment(model, image)
    assert pred.dtype == np.uint8
    np.testing.assert_array_equal(pred, expected)
    # Seen at another size, the answer still comes at the image's own; the boundary may move by a pixel.
    assert (predict.segment(model, image, size=(10, 16)) != expected).mean() < 0.05
    assert predict.segment(model, image, size=(40, 62)).shape == (20, 31)


def test_every_form_of_an_image_gives_the_same(model, image, tmp_path):
    expected = predict.segment(model, image)
    Image.fromarray(image).save(tmp_path / "image.png")
    path, grey = tmp_path / "image.png", image[..., 0]
    for form in (
        image.astype(np.float64),
        image.astype(np.uint16) * 257,
        np.concatenate([image, np.full((20, 31, 1), 9, np.uint8)], -1),
        grey,
        grey[..., None],
        Image.fromarray(image),
        path,
        str(path),
        path.read_bytes(),
    ):
        np.testing.assert_array_equal(predict.segment(model, form), expected)
    assert (predict.segment(model, np.zeros((4, 4, 3))) == 0).all()  # a black float image is an image


def test_probabilities_add_up_and_agree_with_the_ids(unet, image):
    for size in (None, (16, 16)):
        probs = predict.probabilities(unet, image, size)
        assert probs.shape == (20, 31, 3) and probs.dtype == np.float32
        np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-5)
        np.testing.assert_array_equal(probs.argmax(-1), predict.segment(unet, image, size))


@pytest.mark.parametrize(
    "answer", [np.zeros((1, 2, 2, 2)), np.zeros((1, 4, 4, 1)), np.zeros((1, 10)), [np.zeros((1, 4, 4, 2))] * 2]
)
def test_an_answer_that_is_no_map_of_logits_is_refused(answer):
    class Model:
        def predict_on_batch(self, x):
            return answer

    with pytest.raises(ValueError, match="wanted logits .* two classes"):
        predict.segment(Model(), np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_model_that_answers_in_16_bits_gives_probabilities_of_32(image, dtype):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(5, 3, padding="same", dtype=dtype)(inputs))
    probs = predict.probabilities(model, image)
    sure = predict.confidence(probs)
    assert probs.dtype == sure.dtype == np.float32
    np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-6)
    assert predict.confidence(probs.astype(np.float16)).dtype == np.float32


@pytest.mark.parametrize("size", [(1, 1), (7, 5)])
def test_any_size(unet, size):
    assert predict.segment(unet, np.zeros((*size, 3), np.uint8)).shape == size


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"got \(4, 4, 2\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"got \(2, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), r"got \(0, 4, 3\)"),
        (np.full((4, 4, 3), 300.0), "0–255, got 300"),
        (np.full((4, 4, 3), np.nan), "finite"),
        (np.full((4, 4, 3), 0.5), "scaled to 0–1"),
        (np.zeros((4, 4, 3), np.int64), "got int64"),
    ],
)
def test_what_is_no_image_is_refused(model, array, message):
    with pytest.raises(ValueError, match=message):
        predict.segment(model, array)


@pytest.mark.parametrize("infer", [predict.segment, predict.probabilities, predict.tta])
def test_a_size_that_is_none_is_refused(model, image, infer):
    for size in (64, (64,), (8, 0), (8.0, 8.0)):
        with pytest.raises(ValueError, match=r"size .*\(height, width\).*got \(?(64|8)"):
            infer(model, image, size)


class TestViews:
    def test_the_mean_of_all_views(self, unet, image):
        probs = predict.tta(unet, image, scales=(0.5, 1), flip=True)
        views = []
        for size in ((10, 16), (20, 31)):  # 31 / 2, rounded to even
            views.append(predict.probabilities(unet, image, size))
            views.append(predict.probabilities(unet, image[:, ::-1], size)[:, ::-1])
        np.testing.assert_allclose(probs, sum(views) / 4, atol=1e-6)
        assert probs.dtype == np.float32

    @pytest.mark.parametrize("scales", [(), (0,), (1, -1), (float("nan"),)])
    def test_no_scale_or_a_strange_one(self, model, image, scales):
        with pytest.raises(ValueError, match="factors above 0"):
            predict.tta(model, image, scales=scales)


def test_confidence_by_hand():
    probs = np.array([[1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0]], np.float32)
    np.testing.assert_allclose(predict.confidence(probs), [1, 0.25, 0.5])
