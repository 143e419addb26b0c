import importlib.util
import math
import os
import re
import subprocess
import sys
import time
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage, stats

from seglib import augment, doctor
from seglib.augment import Augment, CopyPaste, CutMix, colour, geometry
from seglib.augment.draws import Draws

PRESETS = {"light": augment.light, "standard": augment.standard, "strong": augment.strong}
MIXTURES = {"CutMix": CutMix(probability=1), "CopyPaste": CopyPaste([1, 2], probability=1)}
GREY = 127.5

presets = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
mixtures = pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)


class Chosen(Draws):
    """Draws whose shares of the ranges are told by name: 0 the lowest, 1 the highest, the middle where none is told."""

    def __init__(self, count=1, **shares):
        super().__init__(np.zeros((count, 2), np.int32))
        self.count, self.shares = count, shares

    def uniform(self, name, low=0.0, high=1.0, shape=()):
        return low + (high - low) * np.full((self.count, *shape), self.shares.get(name, 0.5), np.float32)


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (4, 32, 48, 3), np.uint8)


@pytest.fixture
def masks(rng):
    return rng.choice(np.array([*range(8), 255], np.uint8), (4, 32, 48))


def view(layer, images, masks, seed=(1, 2), **options):
    """What the layer makes of images and masks, as arrays."""
    pair = {"images": images, "segmentation_masks": masks}
    pair = layer(pair, seed=seed if seed is None else np.array(seed, np.int32), **options)
    return np.array(pair["images"]), np.array(pair["segmentation_masks"])


def copies(array, count):
    return np.repeat(np.asarray(array)[None], count, axis=0)


def assert_same(pair, other):
    for a, b in zip(pair, other, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def make_map(height, width):
    """An image that shows, in its first two channels, where each of its pixels is: a view of it tells its places."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, 0 * x], axis=-1).astype(np.float32)


# Random numbers


def lowbias32(x):
    """Wellons' hash as he prints it, on whole numbers that never wrap by themselves."""
    x %= 2**32
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ x >> 16


def to_signed(x):
    return x - 2**32 if x >= 2**31 else x


@pytest.mark.parametrize(
    ("seed", "known"),
    [
        ((0, 0), [1274078924, -540739265, 388419477, -1321747216]),
        ((3, 4), [-1662298491, 731863090, -783553014, -2048568957]),
        ((-(2**31), 2**31 - 1), [-447489496, -478399686, 1640989352, -1565877371]),
    ],
)
def test_known_answers(seed, known):
    # Whoever changes these changes every augmented batch of everybody's runs.
    bits = np.array(Draws(np.array([seed])).bits("scale", (2, 2)))
    assert bits.dtype == np.int32 and bits.ravel().tolist() == known
    state = lowbias32(lowbias32(seed[0] + zlib.crc32(b"scale")) + seed[1])
    golden = 0x9E3779B9  # 2³² divided by the golden ratio
    assert known == [to_signed(lowbias32(lowbias32(state + place * golden))) for place in range(4)]


def test_uniform_numbers_are_uniform_whatever_in_the_seed_is_a_neighbour():
    number = np.arange(20_000, dtype=np.int32)
    for seeds in ([number, 0 * number], [0 * number, number]):
        numbers = np.array(Draws(np.stack(seeds, axis=1)).uniform("a", -3, 5))
        assert numbers.dtype == np.float32 and -3 <= numbers.min() and numbers.max() < 5
        assert stats.kstest(numbers, stats.uniform(-3, 8).cdf).pvalue > 0.001
        assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 4 / math.sqrt(20_000)


def test_one_draw_more_changes_no_other(images, masks):
    plain = view(Augment((24, 40), rotation=20, cutout=0.5, probability=1), images, masks)
    more = dict(brightness=20, hue=20, blur=1, noise=5)
    assert_same(plain[1:], view(Augment((24, 40), rotation=20, cutout=0.5, probability=1, **more), images, masks)[1:])
    # and by default nothing but the crop is drawn
    assert not np.array_equal(plain[1], view(Augment((24, 40)), images, masks)[1])


# Geometry


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_by_default_every_bit_stays(images, masks, dtype):
    layer = Augment((32, 48))
    images = images.astype(dtype)
    assert_same(view(layer, images, masks), (images.astype(np.float32), masks))
    assert_same(view(layer, images[0], masks[0]), (images[0].astype(np.float32), masks[0]))


SIN, COS = 1 / 2, math.sqrt(3) / 2  # of 30°


@pytest.mark.parametrize(
    ("ranges", "shares", "dot", "expected"),
    [
        (dict(rotation=30), dict(rotation=1), (0, 10), (10 * SIN, 10 * COS)),  # from the right downwards: clockwise
        (dict(rotation=30, scale=(1.5, 1.5)), dict(rotation=1), (0, 10), (15 * SIN, 15 * COS)),
        (dict(shear=45), dict(shear=1), (10, 3), (10, 3 - 10)),
        (dict(scale=(0.5, 2)), dict(scale=1), (5, 7), (10, 14)),
        (dict(scale=(0.5, 2)), dict(scale=0), (6, 8), (3, 4)),
        (dict(scale=(0.5, 2)), dict(scale=0.5), (6, 8), (6, 8)),  # the middle of halving and doubling is 1
        (dict(flip=0.5), {"flip?": 0.4}, (3, 5), (3, -5)),
        (dict(flip=0.5), {"flip?": 0.6}, (3, 5), (3, 5)),
        (dict(flip=1, rotation=30, shear=45), dict(rotation=1, shear=1), (0, 10), (10 * SIN, 10 * SIN - 10 * COS)),
        (dict(translation=0.25), dict(shift=1), (2, 0), (2 - 10, 0 - 15)),
        (dict(translation=0.25, scale=(2, 2)), dict(shift=1), (2, 0), (4 - 10, 0 - 15)),  # a share of what is seen
    ],
)
def test_a_dot_goes_where_trigonometry_says(ranges, shares, dot, expected):
    size, middle = (40, 60), np.array([19.5, 29.5])
    images, masks = np.zeros((1, *size, 3), np.uint8), np.zeros((1, *size), np.uint8)
    for array, value in ((images, 240), (masks, 1)):
        array[0, 19 + dot[0] : 21 + dot[0], 29 + dot[1] : 31 + dot[1]] = value
    still = dict(flip=0, scale=(1, 1), rotation=0, shear=0, translation=0)
    matrix, centre = geometry.draw_affine(Chosen(**shares), size, size, **still | ranges)
    image, mask, _ = geometry.resample(images, masks, geometry.locate(matrix, centre, size))
    np.testing.assert_allclose(ndimage.center_of_mass(np.array(image)[0, ..., 0]) - middle, expected, atol=0.05)
    np.testing.assert_allclose(ndimage.center_of_mass(np.array(mask)[0]) - middle, expected, atol=0.51)


def test_a_small_crop_lies_in_the_image_and_comes_everywhere():
    masks = copies(np.arange(12 * 14).reshape(12, 14), 2000).astype(np.int32)
    seen, crops = view(Augment((8, 9), ignore_id=999), copies(make_map(12, 14), 2000), masks)
    assert not np.any(crops == 999)
    # (12 − 8 + 1) · (14 − 9 + 1) places, and all four corners of the image among them
    corner = crops[:, 0, 0]
    assert set(corner) == {14 * y + x for y in range(12 - 8 + 1) for x in range(14 - 9 + 1)}
    assert np.all(crops == corner[:, None, None] + (14 * np.arange(8)[:, None] + np.arange(9)))
    np.testing.assert_array_equal(seen[..., :2], np.stack(np.divmod(crops, 14), axis=-1))  # whole pixels


def test_a_large_crop_holds_the_whole_image_and_grey_void_around_it(rng):
    masks = rng.integers(0, 5, (300, 8, 9)).astype(np.uint8)
    images = np.repeat(masks[..., None], 3, axis=-1) * 0 + 200
    seen, crops = view(Augment((12, 14)), images, masks)
    for before, after in zip(masks, crops, strict=True):
        assert np.bincount(before.ravel(), minlength=5).tolist() == np.bincount(after[after < 5], minlength=5).tolist()
    assert np.all(seen[crops != 255] == 200) and np.all(seen[crops == 255] == GREY)
    assert {int(np.argmax(crop[:, 7] < 5)) for crop in crops} == set(range(12 - 8 + 1))  # how far down it lies


def test_resampling_agrees_with_scipy(rng):
    images, masks = rng.uniform(0, 255, (3, 20, 30, 3)).astype(np.float32), rng.integers(0, 400, (3, 20, 30))
    places = rng.uniform(-6, 36, (3, 2, 25, 35)).astype(np.float32)
    image, mask, inside = map(np.array, geometry.resample(images, masks, places))
    y, x = places[:, 0], places[:, 1]
    np.testing.assert_array_equal(inside, (y >= -0.5) & (y < 19.5) & (x >= -0.5) & (x < 29.5))
    tie = np.any(np.abs(places % 1 - 0.5) < 1e-3, axis=1)
    assert tie.mean() < 0.01
    for i in range(3):
        nearest = ndimage.map_coordinates(masks[i], places[i], order=0, mode="nearest")
        np.testing.assert_array_equal(mask[i][~tie[i]], nearest[~tie[i]])
        for channel in range(3):
            linear = ndimage.map_coordinates(images[i, ..., channel], places[i], order=1, mode="nearest")
            np.testing.assert_allclose(image[i, ..., channel], linear, atol=1e-2)


@presets
@pytest.mark.parametrize(("dtype", "more"), [(np.uint8, 200), (np.int16, 300), (np.int32, 70_000), (np.int64, 300)])
def test_no_id_is_invented_and_none_is_squeezed_into_a_byte(preset, dtype, more, images, rng):
    ids = [*range(8), 255, more]
    masks = rng.choice(np.array(ids, dtype), (4, 32, 48))
    seen = [view(preset((32, 48)), images, masks, seed=(0, seed))[1] for seed in range(2)]
    assert all(mask.dtype == dtype for mask in seen)
    assert set(np.unique(seen)) == set(ids)


def test_void_is_where_there_is_no_image_and_nowhere_else():
    images, masks = np.full((50, 32, 48, 3), 200, np.uint8), np.full((50, 32, 48), 300, np.int32)
    ranges = dict(flip=0.5, scale=(0.5, 2), rotation=45, shear=20, translation=0.3, elastic=4, cutout=0.4)
    seen, mask = view(Augment((32, 48), **ranges, ignore_id=7), images, masks)
    assert set(np.unique(mask)) == {7, 300}
    assert np.all(seen[mask == 300] == 200) and np.all(seen[mask == 7] == GREY)


@presets
def test_the_audit_finds_every_preset_in_step(preset):
    found = doctor.audit(preset((96, 128), seed=0), pairs=16)
    assert found.mislabelled == 0 and found.new_ids == () and found.judged > 0.5


def test_elastic_moves_as_far_as_it_says():
    images, masks = copies(make_map(256, 256), 12), np.zeros((12, 256, 256), np.uint8)
    seen, _ = view(Augment((256, 256), elastic=4, probability=1), images, masks)
    moved = (seen - images)[:, 24:-24, 24:-24, :2]  # far from the border, which shows itself and not where it is
    weights = geometry.interpolate_cubic(256)[24:-24]
    # A sum of independent numbers of sd 4, weighted by rows and by columns, has the variance 4² · Σ weights².
    assert moved.std() == pytest.approx(4 * np.sum(weights**2, axis=1).mean(), rel=0.05)
    assert moved.mean() == pytest.approx(0, abs=0.3)


def test_elastic_goes_through_its_points():
    weights = geometry.interpolate_cubic(97)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    # Pixels 15 and 16 lie at (15 + ½) / 32 and (16 + ½) / 32; a straight line stays one, whatever its slope.
    line = weights @ (np.arange(weights.shape[1]) - 1.0) * geometry.CELL
    np.testing.assert_allclose(line, np.arange(97) + 0.5, atol=1e-3)
    np.testing.assert_allclose(weights[31] @ np.eye(weights.shape[1])[2], 1, atol=1e-3)


def test_elastic_is_turned_with_the_crop(rng):
    draws, places = Draws(np.array([[1, 2], [3, 4]])), np.zeros((2, 2, 40, 50), np.float32)
    matrix = rng.normal(size=(2, 2, 2)).astype(np.float32)
    plain = np.array(geometry.bend(places, draws, 3, copies(np.eye(2, dtype=np.float32), 2)))
    assert plain.std() > 1
    expected = np.einsum("bij,bjyx->biyx", matrix, plain)
    np.testing.assert_allclose(geometry.bend(places, draws, 3, matrix), expected, atol=1e-4)


# Colour, lens, sensor

STILL = dict(brightness=0, contrast=0, saturation=0, hue=0)


def recolour(images, count=1, ranges=STILL, **shares):
    return np.array(colour.change_colour(np.float32(images), Chosen(count, **shares), **STILL | ranges))


@pytest.mark.parametrize(
    ("name", "largest", "share", "expected"),
    [
        ("brightness", 20, 1, lambda x: x + 20.0),
        ("brightness", 20, 0, lambda x: x - 20.0),
        ("contrast", 0.5, 1, lambda x: 127.5 + 1.5 * (x - 127.5)),
        ("contrast", 1, 0, lambda x: np.full(x.shape, 127.5)),
    ],
)
def test_brightness_and_contrast_by_hand(name, largest, share, expected, images):
    seen = recolour(images, 4, {name: largest}, **{name: share})
    np.testing.assert_allclose(seen, expected(images), atol=1e-3)


def test_hue_and_saturation_agree_with_tensorflows_chroma(images):
    seen = recolour(images, 4, dict(hue=40, saturation=0.5), hue=1, saturation=1)
    chroma = np.array(tf.image.rgb_to_yiq(np.float32(images)))
    turned = 1.5 * np.exp(1j * np.radians(40)) * (chroma[..., 1] + 1j * chroma[..., 2])
    expected = tf.image.yiq_to_rgb(np.stack([chroma[..., 0], turned.real, turned.imag], axis=-1).astype(np.float32))
    np.testing.assert_allclose(seen, expected, atol=0.5)  # its matrices have four digits


@pytest.mark.parametrize("height", [30, 3])
def test_blur_agrees_with_scipy(rng, height):
    images = rng.uniform(0, 255, (2, height, 40, 3)).astype(np.float32)
    seen = np.array(colour.blur(images, Chosen(2, blur=0.75), 2.0))
    # The reach fits the widest blur, ⌈2.5 · 2⌉ = 5 pixels, also where one of σ = 1.5 is drawn.
    expected = ndimage.gaussian_filter(images, 1.5, mode="nearest", radius=5, axes=(1, 2))
    np.testing.assert_allclose(seen, expected, atol=1e-3)
    np.testing.assert_allclose(colour.blur(images, Chosen(2, blur=0), 2.0), images, atol=1e-4)


def test_noise_is_as_strong_as_it_says():
    grey = np.full((2, 100, 150, 3), 100, np.float32)
    noise = np.array(colour.add_noise(grey, Chosen(2, **{"noise level": 0.5}), 16)) - grey
    assert noise.mean() == pytest.approx(0, abs=4 * 8 / math.sqrt(noise.size))
    assert noise.std() == pytest.approx(8, rel=0.02)
    for a, b in ((noise[:, 1:], noise[:, :-1]), (noise[:, :, 1:], noise[:, :, :-1]), (noise[..., 1:], noise[..., :-1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / math.sqrt(a.size)
    np.testing.assert_array_equal(colour.add_noise(grey, Chosen(2, **{"noise level": 0}), 16), grey)


def test_values_stay_in_range_and_are_not_rounded(images, masks):
    ranges = dict(brightness=255, contrast=0.9, noise=100, probability=1)
    seen, _ = view(Augment((32, 48), **ranges), images, masks)
    assert seen.min() == 0 and seen.max() == 255 and seen.dtype == np.float32
    assert np.any(seen != np.round(seen))


def test_cutout_hides_a_rectangle_and_nothing_else():
    images, masks = np.full((300, 40, 60, 3), 200, np.uint8), np.ones((300, 40, 60), np.uint8)
    seen, mask = view(Augment((40, 60), cutout=0.6, probability=1), images, masks)
    hidden = mask == 255
    assert np.all(seen[hidden] == GREY) and np.all(seen[~hidden] == 200) and np.all(mask[~hidden] == 1)
    rows, columns = hidden.any(axis=2), hidden.any(axis=1)
    np.testing.assert_array_equal(hidden, rows[:, :, None] & columns[:, None, :])
    for lines, length in ((rows, 40), (columns, 60)):
        assert_spans(lines, 0.6 * length / 3, 0.6 * length)


def assert_spans(lines, shortest, longest):
    """Each row of ``lines`` is one span of so many pixels, and all of them together reach both ends and all lengths."""
    edges = np.abs(np.diff(lines.astype(int), axis=1, prepend=0, append=0))
    assert np.all(edges.sum(axis=1) == 2)
    # The border of a span cuts through pixels: it holds one more or one less.
    sides = lines.sum(axis=1)
    assert shortest - 1 <= sides.min() < 1.2 * shortest and 0.9 * longest < sides.max() <= longest + 1
    assert lines.any(axis=0).all()


SOMETIMES = dict(elastic=4, blur=2, noise=20, cutout=0.5)


@pytest.mark.parametrize("name", SOMETIMES)
def test_probability(name, images, masks):
    images, masks = copies(images[0], 64), copies(masks[0], 64)

    def find_changed(probability):
        seen, mask = view(Augment((32, 48), **{name: SOMETIMES[name]}, probability=probability), images, masks)
        return np.any(seen != images, axis=(1, 2, 3)) | np.any(mask != masks, axis=(1, 2))

    assert not find_changed(0).any()
    assert find_changed(1).sum() > 0.9 * 64  # a blur of less than a tenth of a pixel leaves every bit
    assert 64 / 2 - 4 * 4 <= find_changed(0.5).sum() <= 64 / 2 + 4 * 4  # 4 = √(64 · ½ · ½), four times


def test_colour_then_lens_then_sensor(rng):
    images, masks = rng.integers(100, 150, (8, 32, 48, 3), np.uint8), np.zeros((8, 32, 48), np.uint8)
    expected, steps = images, dict(contrast=0.2, blur=2, noise=10)
    for name, value in steps.items():
        expected, _ = view(Augment((32, 48), **{name: value}, probability=1), expected, masks)
    seen, _ = view(Augment((32, 48), **steps, probability=1), images, masks)
    np.testing.assert_allclose(seen, expected, atol=1e-2)


@pytest.mark.parametrize("name", STILL)
def test_each_change_of_colour_happens_alone_to_every_image_and_to_no_mask(name, images, masks):
    seen, mask = view(Augment((32, 48), **{name: 0.5}, probability=0), images, masks)
    assert np.all(np.any(seen != images, axis=(1, 2, 3)))
    np.testing.assert_array_equal(mask, masks)


@presets
def test_presets_hand_on_the_ignore_id_and_the_seed(preset):
    config = preset((8, 9), ignore_id=7, seed=5).get_config()
    assert config == config | dict(size=(8, 9), ignore_id=7, seed=5)


# The layer

# Run here and under other backends: pairs and batches, seen by the layers inside of tf.data.
SCRIPT = """
import numpy as np
import tensorflow as tf
from seglib import augment

rng, seed = np.random.default_rng(0), np.array([3, 4], np.int32)
images = rng.integers(0, 256, (4, 32, 48, 3), np.uint8)
masks = rng.integers(0, 8, (4, 32, 48), np.uint8)
strong = augment.Augment(
    (24, 40), scale=(0.5, 2), rotation=15, shear=5, elastic=2, hue=30, noise=8, cutout=0.3, probability=0.7, seed=5
)
cutmix, copypaste = augment.CutMix(probability=1), augment.CopyPaste([3, 5], probability=1)

def view(number, pair):
    pair = strong(pair, tf.stack([7, tf.cast(number, tf.int32)]))
    return {**pair, "segmentation_masks": tf.cast(pair["segmentation_masks"], tf.int64)[..., None], "number": number}

plain = tf.data.Dataset.from_tensor_slices({"images": images, "segmentation_masks": masks})
pairs = plain.enumerate().map(view, 2)
mixed = pairs.batch(4).map(lambda pair: copypaste(cutmix(cutmix(pair, training=False), seed), seed))
views = dict(next(mixed.as_numpy_iterator()))
views["images of its own seed"] = next(plain.map(strong).as_numpy_iterator())["images"]
views["shapes"] = np.array([str(spec.shape) for data in (pairs, mixed) for spec in data.element_spec.values()])
"""
LEAVE_EARLY = """
import sys, time
np.savez(sys.argv[1], **views)
reading = iter(pairs.repeat().prefetch(1000))
next(reading)
print(time.time())
"""


@pytest.fixture(scope="module")
def by_tensorflow():
    space = {}
    exec(SCRIPT, space)
    return space["views"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_sees_the_same_inside_of_tf_data_too(backend, by_tensorflow, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed, so Keras cannot run on it")
    command = [sys.executable, "-c", SCRIPT + LEAVE_EARLY, tmp_path / "views.npz"]
    root = Path(augment.__file__).parents[2]  # Python's -c looks for packages in the working directory first
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONHASHSEED": "1"}
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    # A program that ends while tf.data reads ahead neither crashes nor waits for it.
    assert time.time() - float(done.stdout.split()[-1]) < 60  # a hang is for ever; a busy machine is slow
    there = dict(np.load(tmp_path / "views.npz"))
    assert there.keys() == by_tensorflow.keys()
    for name, value in by_tensorflow.items():
        assert there[name].dtype == value.dtype, name
        if name.startswith("images"):
            np.testing.assert_allclose(there[name], value, atol=2e-3, rtol=0, err_msg=name)
        else:
            np.testing.assert_array_equal(there[name], value, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "known"), [(augment.light, True), (augment.strong, False)], ids=["known size", "unknown size"]
)
def test_a_pair_and_a_seed_give_the_same_everywhere(preset, known, rng):
    layer, sizes = preset((24, 40)), [(32, 48)] * 3 if known else [(32 + i, 48 - 2 * i) for i in range(3)]
    pairs = [(rng.integers(0, 256, (*size, 3), np.uint8), rng.integers(0, 8, size, np.uint8)) for size in sizes]
    seeds = rng.integers(0, 2**31, (3, 2)).astype(np.int32)
    alone = [view(layer, *pair, seed) for pair, seed in zip(pairs, seeds, strict=True)]
    for (image, mask), seed, expected in zip(pairs, seeds, alone, strict=True):
        assert_same([x[0] for x in view(layer, image[None], mask[None], seed)], expected)
    height, width = (32, 48) if known else (None, None)
    signature = tf.TensorSpec((height, width, 3), tf.uint8), tf.TensorSpec((height, width), tf.uint8)
    dataset = tf.data.Dataset.from_generator(lambda: iter(pairs), output_signature=signature)
    dataset = tf.data.Dataset.zip(dataset, tf.data.Dataset.from_tensor_slices(seeds))

    def change(pair, seed):
        return layer({"images": pair[0], "segmentation_masks": pair[1]}, seed)

    dataset = dataset.map(change, num_parallel_calls=4)
    assert dataset.element_spec["images"].shape == (24, 40, 3)
    assert dataset.element_spec["segmentation_masks"].shape == (24, 40)
    for pair, (image, mask) in zip(dataset.as_numpy_iterator(), alone, strict=True):
        assert_same((pair["segmentation_masks"],), (mask,))
        np.testing.assert_allclose(pair["images"], image, atol=2e-3 if known else 0, rtol=0)  # known: compiled


@pytest.mark.parametrize(("known", "programs"), [(True, 1), (False, 0)])
def test_in_a_graph_with_known_shapes_the_pixels_are_compiled(known, programs):
    layer, size = augment.standard((24, 40)), (32, 48) if known else (None, None)
    view_pair = tf.function(lambda i, m: layer({"images": i, "segmentation_masks": m}, seed=(1, 2)))
    images, masks = tf.TensorSpec((*size, 3), tf.uint8), tf.TensorSpec(size, tf.uint8)
    graph = view_pair.get_concrete_function(images, masks).graph
    compiled = [node for node in graph.get_operations() if "_XlaMustCompile" in node.node_def.attr]
    assert sum(node.get_attr("_XlaMustCompile") for node in compiled) == programs


def test_images_of_a_batch_have_nothing_to_do_with_each_other(images, masks):
    layer = augment.strong((24, 40))
    batch, others = view(layer, images, masks), [np.concatenate([0 * x[:2], x[2:]]) for x in (images, masks)]
    assert_same([x[2:] for x in batch], [x[2:] for x in view(layer, *others)])


def test_views_differ_within_a_batch_and_with_either_seed(images, masks):
    layer, images, masks = augment.light((24, 40)), copies(images[0], 4), copies(masks[0], 4)
    seen = [mask for seed in ((1, 2), (1, 7), (2, 2)) for mask in view(layer, images, masks, seed)[1]]
    assert len({mask.tobytes() for mask in seen}) == 12


def test_without_a_seed_the_layers_own_goes_on_from_call_to_call(images, masks):
    images, masks = copies(images[0], 4), copies(masks[0], 4)
    first, second, other = (augment.light((24, 40), seed=seed) for seed in (3, 3, 4))
    calls = [view(first, images, masks, seed=None) for _ in range(3)]
    for call in calls:
        assert_same(call, view(second, images, masks, seed=None))
    assert not np.array_equal(calls[0][1], view(other, images, masks, seed=None)[1])
    assert not np.array_equal(calls[0][1], calls[1][1])


@pytest.mark.parametrize("layer", [augment.strong((24, 40)), *MIXTURES.values()], ids=lambda x: type(x).__name__)
def test_what_stays(layer, images, masks):
    """Everything outside of training; other keys and the axis of the masks' channels always."""
    assert_same(view(layer, images, masks, training=False), (images, masks))
    for image, mask in ((images, masks), (images[0], masks[0])):
        seen, expected = view(layer, image, mask)
        assert mask.ndim == 2 or not np.array_equal(expected, mask)
        assert_same(view(layer, image, mask[..., None]), (seen, expected[..., None]))
    inputs = {"images": images, "segmentation_masks": masks, "labels": np.array([5, 6, 7, 8])}
    pair = layer(inputs, seed=np.array([1, 2]))
    assert list(pair) == list(inputs) and np.array(pair["labels"]).tolist() == [5, 6, 7, 8]


@pytest.mark.slow
def test_beside_keras_layers_in_a_pipeline_image_and_mask_stay_together(rng):
    # Ours come first, because Keras's layers hand on masks as floats, which ours refuse.
    masks = np.repeat(np.repeat(rng.integers(0, 8, (16, 4, 6, 1), np.uint8), 8, axis=1), 8, axis=2)
    images = np.repeat(30 * masks, 3, axis=-1)
    mixtures = [CutMix(probability=1, seed=0), CopyPaste([1], probability=1, seed=2)]
    flip = keras.layers.RandomFlip("horizontal", seed=0)
    for layers in ([Augment((40, 40), seed=3), flip], [Augment((32, 48), flip=0.5, seed=3), *mixtures]):
        pair = keras.layers.Pipeline(layers)({"images": images, "segmentation_masks": masks}, training=True)
        seen, mask = np.array(pair["images"]), np.array(pair["segmentation_masks"])
        shown = np.repeat(mask != 255, 3, axis=-1) & (seen % 30 == 0)  # a crop between pixels blends two of them
        assert shown.mean() > 0.5 and np.all(seen[shown] == 30.0 * np.repeat(mask, 3, axis=-1)[shown])
        assert not (mask.shape == masks.shape and np.array_equal(mask, masks))


EVERY_RANGE = dict(flip=0.4, scale=(0.5, 1.5), rotation=11, shear=12, translation=0.1, elastic=2, brightness=21)
EVERY_RANGE |= dict(contrast=0.2, saturation=0.3, hue=13, blur=0.5, noise=6, cutout=0.25, probability=0.9)


@pytest.mark.parametrize(
    "layer",
    [
        Augment((24, 40), **EVERY_RANGE, ignore_id=9, seed=5),
        CutMix(largest=0.5, probability=0.9, seed=5),
        CopyPaste([1, 3], probability=0.9),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_saved_and_loaded_a_layer_sees_the_same(layer, images, masks):
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert loaded is not layer and loaded.get_config() == layer.get_config()
    assert_same(view(loaded, images, masks), view(layer, images, masks))


@pytest.mark.slow
def test_a_model_may_begin_with_layers(images, masks, tmp_path):
    shapes = {"images": (None, None, 3), "segmentation_masks": (None, None)}
    inputs = {name: keras.Input(shape, dtype="uint8", name=name) for name, shape in shapes.items()}
    pipeline = keras.layers.Pipeline([Augment((24, 40), flip=0.5), CutMix(seed=1)])
    keras.Model(inputs, pipeline(inputs)).save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    assert model({"images": images, "segmentation_masks": masks}, training=True)["images"].shape == (4, 24, 40, 3)


def test_half_precision_changes_nothing(images, masks):
    images = images * np.float32(0.99)  # which float16 cannot hold
    for layer in (augment.strong((24, 40)), CutMix(probability=1)):
        half = type(layer).from_config(layer.get_config() | {"dtype": "mixed_float16"})
        assert_same(view(half, images, masks), view(layer, images, masks))


# Mixtures


def tag(count, height=24, width=32):
    """A batch of images whose pixels tell which image and which place they are from."""
    return np.stack(np.mgrid[:count, :height, :width], axis=-1).astype(np.uint8)


def find_givers(mixture, masks, seed=(1, 2)):
    """Which image of the batch each pixel is from, after it was asserted that it came in its place, with its label."""
    count, height, width = masks.shape
    images = tag(count, height, width)
    seen, mask = view(mixture, images, masks, seed)
    assert seen.dtype == np.uint8 and mask.dtype == masks.dtype and mask.shape == masks.shape
    np.testing.assert_array_equal(seen[..., 1:], images[..., 1:])
    giver = seen[..., 0].astype(int)
    np.testing.assert_array_equal(mask, np.take_along_axis(masks, giver, axis=0))
    return giver


def assert_evenly(times):
    assert times.min() > 0 and stats.chisquare(times).pvalue > 0.001


@pytest.fixture
def classes(rng):
    """Thirty masks, every other without the classes 1 and 2, which are rare in the others. Ids need not fit a byte."""
    masks = rng.choice(np.array([0, 1, 2, 300, 255], np.int32), (30, 24, 32), p=[0.8, 0.05, 0.05, 0.05, 0.05])
    masks[1::2] = np.where(np.isin(masks[1::2], (1, 2)), 0, masks[1::2])
    return masks


@mixtures
def test_mixtures_mix_as_often_as_asked(mixture, classes):
    own = np.arange(30)[:, None, None]

    def share_mixed(probability):
        layer = type(mixture).from_config(mixture.get_config() | {"probability": probability})
        givers = [find_givers(layer, classes, (seed, 0)) for seed in range(5)]
        return np.mean([np.any(giver != own, axis=(1, 2)) for giver in givers])

    assert share_mixed(0) == 0
    # An image that has the class itself is one of the 15 that may give it.
    possible = 1 - 1 / 30 if isinstance(mixture, CopyPaste) else 1
    assert share_mixed(1) == pytest.approx(possible, abs=4 * math.sqrt(possible * (1 - possible) / 150))
    assert share_mixed(0.5) == pytest.approx(possible / 2, abs=4 * 0.5 / math.sqrt(150))


@mixtures
def test_a_batch_of_one_and_a_pair_are_not_mixed(mixture, images, masks):
    assert_same(view(mixture, images[:1], masks[:1]), (images[:1], masks[:1]))
    assert_same(view(mixture, images[0], masks[0]), (images[0], masks[0]))


def test_cutmix_takes_one_rectangle_of_one_other_image(classes):
    further, lines = [], ([], [])
    for seed in range(10):
        for own, giver in enumerate(find_givers(CutMix(largest=0.5, probability=1), classes, (seed, 0))):
            theirs = giver != own
            rows, columns = theirs.any(axis=1), theirs.any(axis=0)
            np.testing.assert_array_equal(theirs, rows[:, None] & columns)
            (partner,) = np.unique(giver[theirs])
            further.append((partner - own) % 30)
            lines[0].append(rows)
            lines[1].append(columns)
    # 300 draws among 29 others, which are equally likely
    assert_evenly(np.bincount(further, minlength=30)[1:])
    for line, length in zip(lines, (24, 32), strict=True):
        assert_spans(np.array(line), 0.5 * length / 3, 0.5 * length)


def test_copypaste_copies_all_of_the_classes_asked_and_nothing_else(classes):
    wanted, givers = np.isin(classes, (1, 2)), []
    for seed in range(10):
        for own, giver in enumerate(find_givers(CopyPaste([1, 2], probability=1), classes, (seed, 0))):
            (partner,) = np.unique(giver[giver != own]) if np.any(giver != own) else [own]
            np.testing.assert_array_equal(giver != own, wanted[partner] if partner != own else False)
            # A receiver without the classes always gets some, one that gives may be its own.
            assert partner % 2 == 0
            givers.append(partner)
    # Each of those that have the classes gives as often as the others, be it to itself.
    assert_evenly(np.bincount(givers, minlength=30)[::2])


def test_copypaste_changes_nothing_where_nobody_has_the_class(classes, images):
    giver = find_givers(CopyPaste([7, 44], probability=1), classes)
    assert np.all(giver == np.arange(30)[:, None, None])
    masks = np.full((4, 32, 48), 300 - 256, np.uint8)  # 300 is not 44, though a byte would make it so
    assert_same(view(CopyPaste([300], probability=1), images, masks), (images, masks))


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, m: {"images": i, "segmentation_masks": m + 0.5}, r"ops\.cast.*float"),
        (lambda i, m: {"images": i, "segmentation_masks": m[:, 1:]}, r"\(4, 32, 48, 3\).*\(4, 31, 48\)"),
        (lambda i, m: {"images": i, "segmentation_masks": m[1:]}, r"\(3, 32, 48\)"),
        (lambda i, m: {"images": i}, "segmentation_masks.*got the keys images"),
        (lambda i, m: (i, m), "got a tuple"),
        (lambda i, m: {"images": i[..., [0, 1, 2, 2]], "segmentation_masks": m}, r"got images \(4, 32, 48, 4\)"),
        (lambda i, m: {"images": i[..., 0], "segmentation_masks": m}, r"got images \(4, 32, 48\)"),
        (
            lambda i, m: {"images": i, "segmentation_masks": np.eye(256, dtype=np.uint8)[m]},
            r"one integer a pixel.*256\)",
        ),
    ],
)
@pytest.mark.parametrize("layer", [Augment((8, 8)), CutMix()], ids=["Augment", "CutMix"])
def test_inputs_that_do_not_fit_are_refused(layer, change, message, images, masks):
    for training in (True, False):
        with pytest.raises(ValueError, match=message):
            layer(change(images, masks), seed=np.array([1, 2]), training=training)


@pytest.mark.parametrize(("ignore_id", "dtype"), [(300, np.uint8), (-1, np.int32), (255, np.int8)])
def test_an_ignore_id_that_masks_cannot_hold_is_refused(ignore_id, dtype, images, masks):
    with pytest.raises(ValueError, match=f"ignore_id.*{np.dtype(dtype)}.*{ignore_id}"):
        view(Augment((8, 8), ignore_id=ignore_id), images, masks.astype(dtype))


RANGES = dict(flip=1, rotation=180, shear=60, translation=1, elastic=4, brightness=255, contrast=1, saturation=1)
RANGES |= dict(hue=180, blur=20, noise=255, cutout=1, probability=1)


@pytest.mark.parametrize("name", RANGES)
def test_values_out_of_range_are_refused(name):
    for value in (0, RANGES[name]):
        Augment((8, 8), **{name: value})
    for value in (-0.1, RANGES[name] + 0.1, math.nan):
        with pytest.raises(ValueError, match=f"{name}.*0–{RANGES[name]}.*{value}"):
            Augment((8, 8), **{name: value})


@pytest.mark.parametrize(
    ("layer", "name", "value", "remedy"),
    [
        *((Augment, "scale", scale, r"\(0.5, 2\)") for scale in (2, (0, 1), (2, 1), (1, 1, 1), (math.nan, 1))),
        *((Augment, "size", size, r"\(256, 256\)") for size in (16, (8,), (0, 8))),
        (CutMix, "probability", 1.1, "0–1"),
        (CutMix, "largest", 1.5, "0–1"),
        (CopyPaste, "ids", [], ""),
        (CopyPaste, "ids", [-1], ""),
    ],
    ids=str,
)
def test_other_arguments_that_cannot_be_are_refused(layer, name, value, remedy):
    needed = {"size": (8, 8)} if layer is Augment else {}
    with pytest.raises(ValueError, match=f"{name}.*{remedy}.*{re.escape(str(value))}"):
        layer(**needed | {name: value})
