import keras
import keras_cv
import numpy as np
import pytest
from keras import layers, ops
from scipy import ndimage

from seglib.doctor import audit

VOID = 255


def change(images=lambda x: x, masks=lambda x: x):
    """A layer made of two functions of arrays, (batch, height, width, channels)."""
    return lambda pair: {
        "images": images(np.array(pair["images"])),
        "segmentation_masks": masks(np.array(pair["segmentation_masks"])),
    }


def give(image, mask):
    """A layer that returns this one pair, (height, width) greys and ids, whatever it is fed."""
    image, mask = np.asarray(image), np.asarray(mask)
    return change(lambda _: np.repeat(image[None, ..., None], 3, axis=-1), lambda _: mask[None, ..., None])


def fed(**kwargs):
    """What a layer is fed: images (pairs, height, width, 3) and masks (pairs, height, width)."""
    batches = []

    def spy(pair):
        batches.append((np.array(pair["images"]), np.array(pair["segmentation_masks"])[..., 0]))
        return pair

    audit(spy, **kwargs)
    assert all(len(images) == 8 for images, _ in batches[:-1])
    return (np.concatenate(x) for x in zip(*batches, strict=True))


class TestWhatIsFed:
    def test_the_image_shows_the_class_of_each_pixel(self):
        images, masks = fed(pairs=40)
        assert (images.shape, masks.shape) == ((40, 96, 128, 3), (40, 96, 128))
        assert (images.dtype, masks.dtype) == (np.uint8, np.uint8)
        assert (images == images[..., :1]).all()
        assert set(images[masks == 10].flat) == {48} and set(images[masks == 200].flat) == {208}
        assert set(images[masks == VOID].flat) == {48, 208}  # void hides a class
        assert set(masks.flat) == {10, 200, VOID}
        assert 0.02 < np.mean(masks == VOID) < 0.08
        assert 0.45 < np.mean(images == 208) < 0.55

    def test_pairs_size_and_void_as_asked_for(self):
        images, masks = fed(pairs=17, size=(40, 50), ignore_id=0)
        assert images.shape == (17, 40, 50, 3) and set(masks.flat) == {0, 10, 200}

    def test_training_is_said_to_what_takes_it(self):
        class Layer(layers.Layer):
            def call(self, pair, training=None):
                seen.append(training)
                return pair

        seen = []
        audit(Layer(), pairs=1)
        assert seen == [True]


class TestByHand:
    # Dark, class 10, on the left and bright, class 200, on the right, in 6 rows and 8 columns. Boundary pixels (b) are
    # the frame and columns 3 and 4; the other 16 are inner pixels.
    #
    #     b b b b | b b b b
    #     b . . b | b . . b   × 4
    #     b b b b | b b b b
    mask = np.repeat([[10] * 4 + [200] * 4], 6, axis=0)
    image = np.where(mask == 10, 48, 208)

    def test_one_inner_pixel(self):
        image = self.image.copy()
        image[2, 1] = 208
        found = audit(give(image, self.mask), pairs=1)
        assert (found.mislabelled, found.at_boundaries, found.judged) == (1 / 16, 0, 1)
        assert found.reach == 2  # (2, 0) belongs to the frame and counts 1
        assert not found.in_step

    def test_two_boundary_pixels(self):
        image = self.image.copy()
        image[2, 3], image[0, 7] = 129, 127  # between the tones 48 and 208 lies 128
        found = audit(give(image, self.mask), pairs=1)
        assert (found.mislabelled, found.at_boundaries) == (0, 2 / 32)
        assert found.reach == 1
        assert found.in_step

    def test_void_makes_a_boundary_and_does_not_count(self):
        image, mask = self.image.copy(), self.mask.copy()
        mask[2, 6] = VOID  # six inner pixels fewer: rows 1–3 of columns 5 and 6
        image[2, 6], image[1, 1] = 48, 208
        found = audit(give(image, mask), pairs=1)
        assert (found.mislabelled, found.at_boundaries) == (1 / 10, 0)
        assert found.void_after == 1 / 48

    def test_reach_is_a_chessboard_distance(self):
        image, mask = (np.repeat(np.repeat(x, 6, axis=0), 10, axis=1) for x in (self.image, self.mask))
        mask[15, 15] = VOID
        image[20, 21] = 208  # of 36 × 80: the nearest boundary pixel is (16, 16), 4 rows and 5 columns away
        assert audit(give(image, mask), pairs=1).reach == 1 + 5

    def test_values_that_were_never_fed(self):
        mask = self.mask.astype(float)
        mask[2, 1], mask[2, 2], mask[3, 6] = 10.5, 11, 7  # inner pixels left: (4, 1), (4, 2), (1, 5), (1, 6)
        found = audit(give(self.image, mask), pairs=1)
        assert (found.new_ids, found.new_id_count) == ((7, 10.5, 11), 3)
        assert (found.mislabelled, found.at_boundaries) == (0, 3 / 44)
        assert not found.in_step

    def test_void_alone(self):
        found = audit(give(self.image, np.full((6, 8), VOID)), pairs=1)
        assert np.isnan([found.mislabelled, found.at_boundaries, found.judged]).all()
        assert found.lost_ids == (10, 200) and found.void_after == 1
        assert not found.in_step


class TestInStep:
    def test_the_layer_that_does_nothing(self):
        found = audit(lambda pair: pair)
        assert (found.mislabelled, found.at_boundaries, found.reach, found.judged) == (0, 0, 0, 1)
        assert (found.new_ids, found.new_id_count, found.lost_ids) == ((), 0, ())
        assert found.void_before == found.void_after > 0.02
        assert found.mask_shape == (96, 128, 1)
        assert found.came_back == "image (96, 128, 3) uint8, mask (96, 128, 1) uint8"
        assert found.in_step

    @pytest.mark.parametrize(
        "form",
        [
            lambda masks: masks[..., 0],
            lambda masks: masks.astype("int32"),
            lambda masks: ops.cast(masks, "bfloat16"),
        ],
    )
    def test_every_form_of_mask(self, form):
        found = audit(change(masks=form), pairs=8)
        assert found.in_step and found.at_boundaries == 0 and found.lost_ids == ()
        assert found.void_after == found.void_before
        assert found.mask_shape == tuple(form(np.zeros((1, 96, 128, 1), np.uint8)).shape[1:])
        found = audit(change(lambda images: images[:, :, ::-1], form), pairs=8)
        assert 0.35 < found.mislabelled < 0.65

    @pytest.mark.parametrize(
        "light",
        [
            lambda images: images / 127.5 - 1,
            lambda images: images / 1e6,
            lambda images: 255 * (images / 255) ** 3,
            lambda images: images + np.random.default_rng(0).normal(scale=8, size=images.shape),
            lambda images: 0.3 * images + np.random.default_rng(0).normal(scale=8, size=images.shape),
            lambda images: ndimage.gaussian_filter(images.astype(float), (0, 1.5, 1.5, 0)),
            lambda images: images[..., :1],
        ],
        ids=["to ±1", "to nearly 0", "gamma", "noise", "dull and noise", "blur", "one channel"],
    )
    def test_other_ranges_noise_and_blur(self, light):
        found = audit(change(light), pairs=16)
        assert found.in_step and found.judged == 1

    @pytest.mark.parametrize("fill", [0, 127, 255])
    @pytest.mark.parametrize("contrast", [1, 0.3])
    def test_void_borders_of_any_grey(self, fill, contrast):
        def move(pixels, order, fill):
            return ndimage.shift(pixels, (0, 21.4, -13.3, 0), order=order, mode="grid-constant", cval=fill)

        found = audit(change(lambda x: contrast * move(x.astype(float), 1, fill), lambda x: move(x, 0, VOID)), pairs=16)
        assert found.in_step and found.judged == 1
        assert found.void_after > 0.25 > found.void_before
        assert found.at_boundaries < 0.05

    def test_a_rare_tone_is_a_tone(self, rng):
        mask = np.full((40, 50), 10)
        mask[3:9, 4:11] = 200  # 42 of 2,000 pixels
        found = audit(give(np.where(mask == 10, 48, 208) + rng.normal(scale=8, size=mask.shape), mask), pairs=1)
        assert (found.mislabelled, found.judged) == (0, 1)

    @pytest.mark.parametrize("tone", ["flat", "even noise", "beside black"])
    def test_one_tone_is_no_tone(self, rng, tone):
        image, mask = np.full((60, 80), 60.0), np.full((60, 80), 200)
        if tone == "even noise":
            image = rng.uniform(0, 255, size=image.shape)
        if tone == "beside black":
            image[:, :20], mask[:, :20] = 0, VOID
            image = ndimage.gaussian_filter(image, 1)
        found = audit(give(image, mask), pairs=1)
        assert found.judged == 0 and np.isnan(found.mislabelled) and found.reach == 0
        assert not found.in_step and str(found).startswith("image and mask cannot be compared\n")


class TestOutOfStep:
    @pytest.mark.parametrize("axis", [1, 2])
    def test_offsets(self, axis):
        found = {n: audit(change(lambda images, n=n: np.roll(images, n, axis)), pairs=16) for n in (1, 2, 3, 5)}
        assert found[1].mislabelled == 0 and found[1].at_boundaries > 0.15
        assert 0 < found[2].mislabelled < found[3].mislabelled < found[5].mislabelled < 0.3
        assert [found[n].reach for n in found] == [1, 2, 3, 5]
        assert [found[n].in_step for n in found] == [True, False, False, False]

    def test_a_dtype_too_small(self):
        found = audit(change(masks=lambda masks: masks.astype("int8")), pairs=16)
        assert (found.new_ids, found.lost_ids) == ((200 - 256, 255 - 256), (200, 255))
        assert found.came_back.endswith("int8") and found.void_after == 0
        # The dark class is left, and nothing bright to tell it from: what is judged are the ids that were never fed.
        assert found.mislabelled == 1 and 0.4 < found.judged < 0.7

    def test_every_batch_is_remembered(self):
        offsets, ids = iter([5, 0, 0]), iter([9, 7, 9])

        def relabel(masks):
            masks[0, 50, 50] = next(ids)
            return masks

        found = audit(change(lambda images: np.roll(images, next(offsets), axis=1), relabel), pairs=24)
        assert (found.new_ids, found.new_id_count, found.reach) == ((7, 9), 2, 5)

    def test_a_lost_class(self):
        found = audit(change(masks=lambda masks: np.where(masks == 200, 10, masks)), pairs=16)
        assert found.lost_ids == (200,)
        assert 0.4 < found.mislabelled < 0.6
        lost = iter([False, True])  # a class that came back once is not lost
        found = audit(change(masks=lambda masks: np.where((masks == 200) & next(lost), 10, masks)), pairs=16)
        assert found.lost_ids == () and 0.15 < found.mislabelled < 0.35

    def test_a_mask_resized_bilinearly(self):
        def resize(pixels):
            return np.array(ops.image.resize(pixels.astype("float32"), (72, 96), data_format="channels_last"))

        found = audit(change(resize, resize), pairs=16)
        assert found.new_id_count > len(found.new_ids) == 20
        assert list(found.new_ids) == sorted(found.new_ids) and 10 < found.new_ids[0] < 20
        assert f"… ({found.new_id_count} in all)" in str(found)
        assert not found.in_step


class TestWhatDoesNotFit:
    @pytest.mark.parametrize(
        ("form", "after"),
        [
            (lambda masks: masks[:, 1:], (95, 128, 1)),
            (lambda masks: masks[:-1], (96, 128, 1)),
            (lambda masks: np.repeat(masks, 3, axis=-1), (96, 128, 3)),  # as Keras's CutMix does
        ],
        ids=["a row short", "a mask short", "three ids"],
    )
    def test_masks_without_one_id_for_each_pixel(self, form, after):
        found = audit(change(masks=form), pairs=2)
        assert np.isnan([found.mislabelled, found.at_boundaries, found.reach]).all()
        assert (found.judged, found.in_step) == (0, False)
        assert found.mask_shape == after
        assert str(found).startswith("image and mask cannot be compared\n")


class TestLayersOfOthers:
    def test_keras_geometry(self):
        """Keras before 3.14 interpolates the ids of masks, which is wrong at boundaries; since then it does not."""
        exact = tuple(map(int, keras.__version__.split(".")[:2])) >= (3, 14)
        mirrored = audit(layers.RandomRotation(0.1, seed=0), pairs=16)
        assert mirrored.mislabelled == 0 and mirrored.in_step == exact
        assert (mirrored.at_boundaries < 0.02) == (mirrored.new_id_count == 0) == exact
        # Filled by the default 0, what lies beyond the image is labelled class 0; filled by 255, it is void.
        zeros = audit(layers.RandomRotation(0.1, fill_mode="constant", seed=0), pairs=16)
        assert 0 in zeros.new_ids and zeros.mislabelled > 0.01 and (zeros.new_id_count == 1) == exact
        void = audit(layers.RandomRotation(0.1, fill_mode="constant", fill_value=VOID, seed=0), pairs=16)
        assert void.in_step == exact and void.mislabelled == 0 and void.void_after > void.void_before + 0.01

    def test_keras_cv(self):
        assert audit(keras_cv.layers.RandomFlip(seed=0), pairs=16).at_boundaries == 0
        padded = audit(keras_cv.layers.JitteredResize((96, 128), scale_factor=(0.7, 0.8), seed=0), pairs=8)
        assert padded.new_ids == (0,) and padded.mislabelled > 0.05
        assert audit(keras_cv.layers.Resizing(48, 64), pairs=8).mask_shape == (48, 64, 1)


def test_the_report_in_words():
    image, mask = TestByHand.image.copy(), TestByHand.mask.copy()
    # Of 15 inner pixels (not (1, 1), beside a new id) one misfits, (4, 6); of 33 boundary pixels that of the new id.
    image[4, 6], mask[0, 0] = 48, 7
    layer = give(image.astype("float32"), mask.astype("int32"))
    # The one tile that is fed is void.
    assert str(audit(layer, pairs=1, size=(4, 5))).splitlines() == [
        "image and mask are NOT in step",
        "  mislabelled      6.67% of the pixels away from label boundaries; farthest misfit: 2 px from one",
        "  at boundaries    3.03% of the pixels there",
        "  judged         100.00% of the labelled pixels",
        "  void           100.00% before, 0.00% after",
        "  ids            new: 7; lost: 255",
        "  came back      image (6, 8, 3) float32, mask (6, 8, 1) int32",
    ]


def test_a_single_misfit_is_not_told_as_none():
    def spoil(images):
        images[0, 50, 50] = np.where(images[0, 50, 50] == 48, 208, 48)
        return images

    found = audit(change(spoil), pairs=8)
    assert 0 < found.mislabelled < 1e-4
    assert "mislabelled    < 0.01% of" in str(found)


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (lambda pair: pair["images"], "got a .*Tensor"),
        (lambda pair: {"images": pair["images"], "labels": 1}, "got the keys images, labels"),
    ],
)
def test_layers_that_return_something_else(returned, told):
    with pytest.raises(ValueError, match=f"segmentation_masks.*{told}"):
        audit(returned)


@pytest.mark.parametrize(("name", "value"), [("pairs", 0), ("ignore_id", -1), ("ignore_id", 256), ("ignore_id", 200)])
def test_arguments_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        audit(lambda pair: pair, **{name: value})
