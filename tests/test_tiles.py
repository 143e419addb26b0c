import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from seglib import images, models, predict
from seglib.labels import LabelMap
from seglib.predict.tiles import split

MAP = LabelMap(("sky", "road", "car", "pole"))


@pytest.fixture(scope="module")
def unet():
    """Two levels: what a pixel is called depends on some ten pixels around it, far less than is thrown away."""
    keras.utils.set_random_seed(0)
    return models.unet((None, None, 3), 4, filters=4, depth=2)


@pytest.fixture(scope="module")
def photo():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (30, 41, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((410, 301), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("tile", "overlap"), [(64, 0), (64, 32), (96, 32), (512, 64)])
def test_spans_cover_each_pixel_with_weights_of_one(tile, overlap):
    for length in [*range(1, 700, 3), 959, 960, 961, 4000]:
        spans = split(length, tile, overlap)
        total, done = np.zeros(length), np.zeros(length, int)
        for span in spans:
            assert span.start % 32 == 0 and 0 <= span.start <= span.first < span.last <= span.stop <= length
            assert span.stop - span.start <= tile
            total[span.first : span.last] += span.weights
            done[span.first : span.first + span.done] += 1
        np.testing.assert_allclose(total, 1, atol=1e-6)
        assert (done == 1).all()
        # A tile's own border has no say, but at the border of the image.
        for before, after in zip(spans, spans[1:], strict=False):
            assert before.stop - before.last >= overlap // 4 and after.first - after.start >= overlap // 4
            assert before.last - after.first == overlap // 2


def test_as_few_tiles_as_it_takes():
    assert [len(split(length, 512, 64)) for length in (1, 512, 513, 960, 961, 1408)] == [1, 1, 2, 2, 3, 3]


def test_tiles_give_the_same_as_the_whole_image(unet, photo):
    whole = predict.segment(unet, photo)
    assert len(np.unique(whole)) > 2
    for tile, overlap in ((96, 32), (128, 64), (512, 64)):
        np.testing.assert_array_equal(predict.tiled(unet, photo, tile, overlap), whole)
    assert (predict.tiled(unet, photo, 96, overlap=0) != whole).any(), "without an overlap there are seams"


def test_neighbours_fade_into_each_other():
    """A model that answers with its tile's column: where tiles meet, the answer goes from one to the next."""
    inputs = keras.Input((None, None, 3))
    red = keras.layers.Lambda(lambda x: ops.stack([x[..., 0] * 0, ops.mean(x[..., 0]) + 0 * x[..., 0] - 100], -1))
    model = keras.Model(inputs, red(inputs))
    image = np.zeros((32, 96, 3), np.uint8)
    image[:, 48:] = 255  # the means of the two tiles, columns 0–63 and 32–95: 64 and 191
    ids = predict.tiled(model, image, tile=64, overlap=32)
    # They share columns 32 to 63, fade between 40 and 56, and weigh the same at 48.
    np.testing.assert_array_equal(ids, np.repeat([[0] * 48 + [1] * 48], 32, axis=0))


def test_written_to_a_file_as_it_goes(unet, photo, tmp_path):
    whole = predict.segment(unet, photo)
    np.save(tmp_path / "photo.npy", photo)
    mapped = np.load(tmp_path / "photo.npy", mmap_mode="r")
    ids = predict.tiled(unet, mapped, 96, 32, out=tmp_path / "mask.tif", labels=MAP)
    assert isinstance(ids, np.memmap)
    np.testing.assert_array_equal(ids, whole)
    np.testing.assert_array_equal(images.read_mask(tmp_path / "mask.tif"), whole)
    painted = np.asarray(Image.open(tmp_path / "mask.tif").convert("RGB"))
    np.testing.assert_array_equal(painted, MAP.to_rgb(whole))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.tif", "photo.npy"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tile": 100}, "multiple of 32.*a tile of 100"),
        ({"overlap": 33}, "multiple of 32.*an overlap of 33"),
        ({"tile": 96, "overlap": 64}, "up to half of it; got a tile of 96 and an overlap of 64"),
        ({"tile": 0, "overlap": 0}, "up to half of it"),
        ({"overlap": -32}, "and an overlap of -32"),
        ({"out": "mask.tif"}, "give labels="),
    ],
)
def test_what_does_not_fit_is_refused(unet, photo, arguments, message):
    with pytest.raises(ValueError, match=message):
        predict.tiled(unet, photo, **arguments)
