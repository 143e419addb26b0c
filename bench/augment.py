"""Are image and mask augmented together fast, and in step? Against Keras, KerasCV and albumentations, all in this run.

    python bench/augment.py                  # some minutes

KerasCV and albumentations are no requirements (``pip install keras-cv albumentations``); without, they are left out.

- **throughput**: pairs of 360×480 to 256×256: mirrored, scaled, turned and in other colours, by the ranges of
  ``standard``. The pairs lie decoded in memory and ``Dataset.map`` augments them one by one; Keras and KerasCV may have
  them in batches, and albumentations runs in a loop in one thread. Of the forms that a library's chain can have, the
  one that costs least is measured: the median of five turns, all by turns, and their range. Processor milliseconds are
  of all threads; what else the machine does blurs them less than pairs/s. *Crop first* is cheaper but not the same:
  what is shrunk or turned after it leaves borders empty where the image has more to show.
- **repeated**: whether the first 64 pairs are the same bits in a second run and another process; else the script fails.
- **compiled**: in ``map`` our layers are compiled (XLA), called eagerly they are not. The script fails if of 64 pairs a
  mask differs, or an image by more than 0.001 of 255 grey levels.
- **in step**: ``doctor.audit`` of 1,000 pairs for each of ours, compiled; the script fails if a pixel is mislabelled.
  And of 64 smaller ones for layers of Keras and KerasCV that mislabel, with masks as float32, as in ``map``.
"""

import hashlib
import multiprocessing
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from ranges import form_range

from seglib import augment, doctor
from seglib.augment import colour, geometry

SIZE, CROP, NUM_CLASSES, BATCH = (360, 480), (256, 256), 12, 8
TURNS, SECONDS = 5, 0.8
AIMS = {"Keras, crop last": 10, "albumentations, crop last": 1}
PRESETS = {make.__name__: make(CROP, seed=0) for make in (augment.standard, augment.light, augment.strong)}
STANDARD = PRESETS["standard"]
DEGREES, HUE = STANDARD.geometry["rotation"], STANDARD.tones["hue"] / 360
BRIGHTNESS, CONTRAST, SATURATION = (STANDARD.tones[name] for name in ("brightness", "contrast", "saturation"))


def draw_pairs(count=16):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *SIZE, 3), np.uint8)
    return {"images": images, "segmentation_masks": rng.integers(0, NUM_CLASSES, (count, *SIZE, 1), np.uint8)}


def map_pairs(augment_pair, batch=1, count=16):
    """An iterator without end over what ``Dataset.map`` makes of ``count`` pairs, and how many of them come at once."""
    pairs = draw_pairs(count)
    if batch > 1:
        pairs = {key: array.reshape(-1, batch, *array.shape[1:]) for key, array in pairs.items()}
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False  # others' turns are not for making stock
    numbered = tf.data.Dataset.from_tensor_slices(pairs).repeat().enumerate().with_options(options)
    return iter(numbered.map(augment_pair, tf.data.AUTOTUNE)), batch


def map_ours(layer, count=16):
    return map_pairs(lambda i, pair: layer(pair, tf.stack([0, tf.cast(i, tf.int32)])), count=count)


def map_unknown(layer):
    """The same where nothing is compiled, as the sizes of the images are not known."""

    def augment_pair(i, pair):
        pair = {key: tf.compat.v1.placeholder_with_default(x, (None, None, x.shape[-1])) for key, x in pair.items()}
        return layer(pair, tf.stack([0, tf.cast(i, tf.int32)]))

    return map_pairs(augment_pair)


def map_theirs(layers, batch):
    def augment_pair(i, pair):
        for layer in layers:
            pair = layer(pair)
        return pair

    return map_pairs(augment_pair, batch)


class Fused(augment.Augment):
    """The same, with TensorFlow's compiled operation for projective transforms: what is left to gain, for reference."""

    def change(self, images, masks, draws):
        matrix, centre = geometry.draw_affine(draws, SIZE, CROP, scale=self.scale, **self.geometry)
        matrix, centre = matrix[:, ::-1, ::-1], centre[:, ::-1]  # x before y
        start = centre - 0.5 - ops.matmul(matrix, np.array(CROP[::-1], np.float32) / 2 - 0.5)
        rows = ops.reshape(ops.concatenate([matrix, start[..., None]], axis=-1), (-1, 6))
        options = dict(transforms=ops.pad(rows, [[0, 0], [0, 2]]), output_shape=CROP, fill_mode="CONSTANT")

        def move(x, how, fill):
            return tf.raw_ops.ImageProjectiveTransformV3(images=x, interpolation=how, fill_value=fill, **options)

        images = move(ops.cast(images, "float32"), "BILINEAR", 127.5)
        images = ops.clip(colour.change_colour(images, draws, **self.tones), 0.0, 255.0)
        return images, move(masks[..., None], "NEAREST", float(self.ignore_id))[..., 0]


def keras_chain(crop_first, batch):
    from keras import layers

    fill = dict(fill_mode="constant", fill_value=255)
    zoom = tuple(1 / scale - 1 for scale in STANDARD.scale[::-1])
    moves = [layers.RandomZoom(zoom, **fill), layers.RandomRotation(DEGREES / 360, **fill)]
    moves.insert(0 if crop_first else len(moves), layers.RandomCrop(*CROP))
    colours = layers.RandomColorJitter((0, 255), BRIGHTNESS / 255, CONTRAST, SATURATION, HUE)
    return map_theirs([layers.Pipeline([layers.RandomFlip("horizontal"), *moves, colours])], batch)


def kerascv_chain(scales, batch):
    """Its RandomCrop refuses masks; what scales and crops in one takes its place."""
    from keras_cv import layers

    low, high = STANDARD.scale
    if scales == "JitteredResize":
        scaled = layers.JitteredResize(CROP, scale_factor=(low, high))
    else:
        shown = np.prod(CROP) / np.prod(SIZE) / np.array([high, low]) ** 2
        scaled = layers.RandomCropAndResize(CROP, tuple(np.minimum(shown, 1)), aspect_ratio_factor=(1.0, 1.0))
    turned = layers.RandomRotation(DEGREES / 360, fill_mode="constant", segmentation_classes=NUM_CLASSES)
    contrast, saturation = (((1 - x) / 2, (1 + x) / 2) for x in (CONTRAST, SATURATION))  # a half changes nothing
    colours = layers.RandomColorJitter((0, 255), BRIGHTNESS / 255, contrast, saturation, HUE)
    return map_theirs([scaled, layers.RandomFlip("horizontal"), turned, colours], batch)


def albumentations_chain(crop_first, scales):
    import albumentations as A
    import cv2

    cv2.setNumThreads(1)
    (low, high), fill = STANDARD.scale, dict(fill=127, fill_mask=255)
    moves = [A.Affine(scale=(low, high), rotate=(-DEGREES, DEGREES), p=1, **fill)]
    if scales == "RandomScale":
        moves = [A.RandomScale((low - 1, high - 1), p=1), A.Rotate(DEGREES, p=1, **fill)]
    moves.insert(0 if crop_first else len(moves), A.RandomCrop(*CROP, pad_if_needed=True, **fill))
    light, contrast, saturation = ((1 - x, 1 + x) for x in (BRIGHTNESS / 255, CONTRAST, SATURATION))
    colours = A.ColorJitter(light, contrast, saturation, (-HUE, HUE), p=1)
    chain, pairs = A.Compose([A.HorizontalFlip(p=0.5), *moves, colours], seed=0), draw_pairs()

    def augmented():
        while True:
            for image, mask in zip(pairs["images"], pairs["segmentation_masks"][..., 0], strict=True):
                yield chain(image=image, mask=mask)

    return augmented(), 1


def list_contenders():
    """What makes an iterator, and the arguments of each form of it, by name."""
    ours = {**PRESETS, "one compiled operation, our colours": Fused.from_config(STANDARD.get_config())}
    return {
        **{name: (map_ours, [(layer,)]) for name, layer in ours.items()},
        "standard, sizes unknown": (map_unknown, [(STANDARD,)]),
        "Keras, crop last": (keras_chain, [(False, 1), (False, BATCH)]),
        "Keras, crop first": (keras_chain, [(True, 1), (True, BATCH)]),
        "KerasCV": (kerascv_chain, [(way, n) for way in ("JitteredResize", "RandomCropAndResize") for n in (1, BATCH)]),
        "albumentations, crop last": (albumentations_chain, [(False, "Affine"), (False, "RandomScale")]),
        "albumentations, crop first": (albumentations_chain, [(True, "Affine")]),
    }


def take_turn(iterator, pairs):
    """Pairs a second, and processor milliseconds a pair."""
    used = -1.0
    while time.process_time() - used > 0.005:  # until the one before has stopped making what it will not be asked for
        used = time.process_time()
        time.sleep(0.1)
    for _ in range(4):  # what is ready already
        next(iterator)
    count, began, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < SECONDS:
        next(iterator)
        count += pairs
    return count / (time.perf_counter() - began), 1000 * (time.process_time() - used) / count


def measure_throughput():
    best, turns = {}, {}
    for name, (make, forms) in list_contenders().items():
        try:
            forms = [make(*form) for form in forms]
        except ImportError as error:
            print(f"{name}: left out, {error.name} is not installed")
            continue
        best[name] = min(forms, key=lambda form: take_turn(*form)[1])  # this warms them up, too
        turns[name] = []
    for _ in range(TURNS):
        for name, form in best.items():
            turns[name].append(take_turn(*form))
    print(f"{'':<36} {'pairs/s':<18} {'processor ms a pair':<22} {'standard is × as fast':<22} by processor")
    for name, turn in turns.items():
        pairs = list(zip(turns["standard"], turn, strict=True))
        columns = [*zip(*turn, strict=True), [a / b for (a, _), (b, _) in pairs], [b / a for (_, a), (_, b) in pairs]]
        shown = [form_range(values, f".{digits}f") for values, digits in zip(columns, (0, 2, 2, 2), strict=True)]
        print(f"{name:<36} {shown[0]:<18} {shown[1]:<22} {shown[2]:<22} {shown[3]}")
        if name in AIMS:
            verdict = "is reached" if statistics.median(columns[3]) >= AIMS[name] else "is NOT reached"
            print(f"    the aim, {AIMS[name]} × by processor, {verdict}")


def digest():
    """SHA-256 of the first 64 pairs of ``standard``, all bits of images and masks."""
    (iterator, _), sha = map_ours(STANDARD), hashlib.sha256()
    for _ in range(64):
        pair = next(iterator)
        sha.update(pair["images"].numpy().tobytes() + pair["segmentation_masks"].numpy().tobytes())
    return sha.hexdigest()


def check_repeated():
    with multiprocessing.get_context("spawn").Pool(1) as another:
        found = [digest(), digest(), another.apply(digest)]
    assert len(set(found)) == 1, f"the first 64 pairs differ: {found}"
    print(f"the first 64 pairs are the same bits in two runs and in another process: SHA-256 {found[0][:16]}…")


def check_compiled():
    pairs, farthest = draw_pairs(64), 0
    for name, layer in PRESETS.items():
        iterator, _ = map_ours(layer, count=64)
        for i in range(64):
            pair, compiled = {key: array[i] for key, array in pairs.items()}, next(iterator)
            eager = layer(pair, np.array([0, i], np.int32))
            assert np.array_equal(*(x["segmentation_masks"] for x in (eager, compiled))), f"{name}: mask {i} differs"
            farthest = max(farthest, np.abs(eager["images"] - compiled["images"]).max())
    assert farthest < 1e-3, f"images differ by {farthest} grey levels"
    print(f"compiled and eager, 64 pairs a preset: the same masks to the bit, images within {farthest:.1g} of 255")


def list_suspects():
    layers = keras.layers
    yield "Keras RandomElasticTransform()", layers.RandomElasticTransform(seed=0)
    yield "Keras RandomRotation, constant fill", layers.RandomRotation(0.1, fill_mode="constant", seed=0)
    yield "Keras Resizing, padded to aspect", layers.Resizing(128, 128, pad_to_aspect_ratio=True)
    yield "Keras RandomCrop larger than image", layers.RandomCrop(128, 160, seed=0)
    yield "Keras RandomErasing()", layers.RandomErasing(seed=0)
    yield "Keras CutMix()", layers.CutMix(seed=0)
    yield "Keras MixUp()", layers.MixUp(seed=0)
    yield "Keras AugMix()", layers.AugMix(seed=0)
    try:
        from keras_cv import layers
    except ImportError:
        return
    turned = dict(fill_mode="constant", segmentation_classes=256)
    yield "KerasCV JitteredResize", layers.JitteredResize((96, 128), scale_factor=(0.8, 1.25), seed=0)
    yield "KerasCV RandomRotation, constant fill", layers.RandomRotation(0.1, **turned, seed=0)
    yield "KerasCV Resizing, padded to aspect", layers.Resizing(128, 128, pad_to_aspect_ratio=True)
    yield "KerasCV RandomCrop", layers.RandomCrop(64, 64, seed=0)
    yield "KerasCV RandomCutout(0.3, 0.3)", layers.RandomCutout(0.3, 0.3, seed=0)
    yield "KerasCV GridMask()", layers.GridMask(seed=0)
    yield "KerasCV MixUp()", layers.MixUp(seed=0)
    yield "KerasCV AugMix()", layers.AugMix((0, 255), seed=0)


def print_audit(name, layer, **options):
    try:
        found = doctor.audit(layer, **options)
    except Exception as error:  # which one depends on the versions
        print(f"{name:<38} refuses the pair: {type(error).__name__}")
        return None
    ids = f"{found.new_id_count}, such as {found.new_ids[0]:.6g}" if found.new_id_count else "none"
    shares = f"{found.mislabelled:11.3%} {found.at_boundaries:14.2%} {found.reach:6}   {ids}"
    print(f"{name:<38} {f'no mask for the image: {found.mask_shape}' if found.reach != found.reach else shares}")
    return found


def measure_in_step():
    print(f"{'':<38} mislabelled  at boundaries  reach   new ids")
    compiled = {name: tf.function(lambda pair, layer=layer: layer(pair)) for name, layer in PRESETS.items()}
    found = [print_audit(f"{name}, 1,000 pairs", layer, pairs=1000, size=SIZE) for name, layer in compiled.items()]
    keras.utils.set_random_seed(0)
    for name, layer in list_suspects():
        print_audit(name, lambda pair, layer=layer: layer({key: ops.cast(pair[key], "float32") for key in pair}))
    assert all(audit.in_step for audit in found)


def main():
    versions = f"Keras {keras.__version__}, TensorFlow {tf.__version__}, {os.cpu_count()} cores"
    print(f"{versions}, {os.getloadavg()[0]:.1f} processes running or waiting")
    measure_throughput()
    check_repeated()
    check_compiled()
    measure_in_step()


if __name__ == "__main__":
    main()
