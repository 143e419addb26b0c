import functools
import socket

import keras
import numpy as np
import pytest
import tensorflow as tf

from seglib import layers, losses, metrics, models

pytestmark = pytest.mark.slow
ANY = (None, None, 3)
BUILDERS = {
    "unet": functools.partial(models.unet, filters=4, depth=4),
    "fcn_8s": functools.partial(models.fcn, stride=np.int64(8), backbone="small"),
    "deeplab": functools.partial(models.deeplab_v3_plus, backbone="mobilenet_v2_050", filters=8, rates=(2, 4)),
    "unet_lite": functools.partial(models.unet, filters=4, encoder="efficientnet_lite0"),
    "segformer": functools.partial(models.segformer, variant="tiny"),
    "deeplab_lite": functools.partial(models.deeplab_v3_plus, backbone="efficientnet_lite0", filters=8, rates=(2, 4)),
}
every_model = pytest.mark.parametrize("name", BUILDERS)


@functools.cache
def build(name, *size):
    """A model of 4 classes for this size, or for any. Tests share it, and must not rely on its weights."""
    keras.utils.set_random_seed(0)
    return BUILDERS[name]((*(size or (None, None)), 3), 4)


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32)


def layers_of(model, *kinds):
    return [layer for layer in model.layers if isinstance(layer, kinds)]


@pytest.mark.parametrize(
    ("build", "parameters", "output"),
    [
        (lambda: models.fcn(ANY, 21, 32), 136_152_917, (None, None, None, 21)),
        (lambda: models.fcn(ANY, 21, 16), 134_815_994, (None, None, None, 21)),
        (lambda: models.fcn(ANY, 21, 8), 134_489_759, (None, None, None, 21)),
        (lambda: models.unet((572, 572, 1), 2, padding="valid", norm=None), 31_030_658, (None, 388, 388, 2)),
        (lambda: models.segformer(ANY, 150), 3_752_694 + 512, (None, None, None, 150)),  # 512 statistics of a norm
    ],
)
def test_the_papers_networks_to_the_last_parameter(build, parameters, output):
    with keras.StatelessScope(initialize_variables=False):  # half a gigabyte of weights that nobody needs
        model = build()
    keras.utils.clear_session()
    assert model.count_params() == parameters
    assert model.output_shape == output


# U-Net


def test_skips_lead_past_the_bottleneck_at_every_level():
    model = models.unet((16, 16, 3), 2, filters=4, depth=3)
    joins = layers_of(model, keras.layers.Concatenate)
    assert len(joins) == 2 and all(skip is not x for skip, x in (join.input for join in joins))
    for layer in layers_of(model, keras.layers.Conv2DTranspose):  # the only other way up
        layer.set_weights([0 * weight for weight in layer.get_weights()])
    first, second = np.array(model(random_images(2, 16, 16, 3)))
    assert not np.allclose(first, second)


def test_skips_can_be_left_out_level_by_level():
    def joins(skips):
        model = models.unet((32, 32, 3), 2, filters=4, depth=4, skips=skips)
        return model.count_params(), [join.output.shape[1:] for join in layers_of(model, keras.layers.Concatenate)]

    whole, at = joins(None)
    assert at == [(8, 8, 32), (16, 16, 16), (32, 32, 8)] and joins((0, 1, 2)) == (whole, at)
    # without the finest skip, the first convolution of that level has 4 channels fewer to read: 9 · 4 · 4 weights
    assert joins((1, 2)) == (whole - 9 * 4 * 4, at[:2])
    assert joins(()) == (whole - 9 * (4 * 4 + 8 * 8 + 16 * 16), [])


def test_group_norm_takes_any_number_of_channels_and_is_saved(tmp_path):
    model = models.unet((8, 8, 3), 2, filters=14, depth=2, norm="group")
    images = random_images(1, 8, 8, 3)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(images), model(images), atol=1e-6)


# FCN


def test_upsampling_begins_as_bilinear_interpolation(rng):
    x = rng.normal(size=(1, 6, 5, 3)).astype(np.float32)
    for factor in (2, 4, 8):
        inputs = keras.Input((None, None, 3))
        ours = np.array(keras.Model(inputs, layers.upsample(inputs, np.int64(factor)))(x))
        theirs = np.array(keras.ops.image.resize(x, (6 * factor, 5 * factor), "bilinear", data_format="channels_last"))
        inner = slice(factor // 2, -factor // 2)  # at the border one fades and the other repeats
        np.testing.assert_allclose(ours[:, inner, inner], theirs[:, inner, inner], atol=1e-5)


def test_a_skip_of_an_fcn_begins_at_zero_and_counts_once_it_is_trained():
    fine, images = BUILDERS["fcn_8s"](ANY, 3), random_images(2, 64, 64, 3)
    before = np.array(fine(images))
    for layer in (fine.get_layer("score_16"), fine.get_layer("score_8")):
        assert not np.any(layer.kernel)
        layer.kernel.assign(layer.kernel + 1)
        assert not np.allclose(fine(images), before), layer.name
        layer.kernel.assign(0 * layer.kernel)


# DeepLab


@pytest.mark.parametrize(
    ("backbone", "blocks"), [("mobilenet_v2_050", 10), ("resnet50", 16), ("efficientnet_lite0", 9)]
)
def test_deeplabs_parts_are_where_the_paper_puts_them_and_residual_blocks_start_as_the_identity(backbone, blocks):
    model = models.deeplab_v3_plus((64, 96, 3), np.int64(21), backbone, output_stride=np.int64(8), filters=8)
    encoder = model.get_layer("encoder")
    maps = [feature.shape[1:3] for feature in encoder(random_images(1, 64, 96, 3))]
    assert maps == [(32, 48), (16, 24), (8, 12), (8, 12), (8, 12)] and model.output_shape == (None, 64, 96, 21)
    convolutions = layers_of(model, keras.layers.Conv2D)
    pyramid = [layer.dilation_rate[0] for layer in convolutions if layer.dilation_rate != (1, 1)]
    assert pyramid == [12, 24, 36]  # twice 6, 12, 18 at output stride 8
    assert [layer.filters for layer in convolutions if layer.kernel_size == (3, 3)] == 5 * [8]
    assert 48 in [layer.filters for layer in convolutions if layer.kernel_size == (1, 1)]
    zero = [layer.name for layer in layers_of(encoder, keras.layers.BatchNormalization) if not np.any(layer.gamma)]
    # MobileNetV2's project_BN, ResNet50's third of a block; never a shortcut's
    assert len(zero) == blocks and all(name.lower().endswith(("project_bn", "_3_bn")) for name in zero)


@pytest.mark.parametrize(("name", "output_strides"), [("MobileNetV2", (8, 16)), ("ResNet50", (8,))])
def test_dilated_networks_keep_the_features_of_the_strided_ones(name, output_strides, rng):
    keras.utils.set_random_seed(0)
    options = {"alpha": 0.35} if name == "MobileNetV2" else {}
    network = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(None, None, 3), **options)
    for layer in layers_of(network, keras.layers.BatchNormalization):  # fresh ones hand their inputs on
        layer.moving_mean.assign(rng.normal(0, 0.1, layer.moving_mean.shape))
        layer.beta.assign(rng.normal(0, 0.3, layer.beta.shape))
    image = rng.uniform(-1, 1, (1, 64, 96, 3)).astype(np.float32)
    wanted = np.array(network(image))
    assert wanted.shape[1:3] == (2, 3) and wanted.std() > 0.01
    for output_stride in output_strides:
        dilated, step = models.dilate(network, output_stride, momentum=0.9), 32 // output_stride
        found = np.array(dilated(image))
        assert found.shape[1:3] == (64 // output_stride, 96 // output_stride)
        np.testing.assert_allclose(found[:, ::step, ::step], wanted, atol=1e-5)
        assert {layer.momentum for layer in layers_of(dilated, keras.layers.BatchNormalization)} == {0.9}


@pytest.mark.parametrize(
    ("layer", "output_stride", "message"),
    [
        (lambda: keras.layers.Conv2D(2, 3, strides=2, padding="same"), 4, "output_stride must be 8, 16 or 32, got 4"),
        (lambda: keras.layers.Conv2D(2, 3, strides=2, padding="same"), 8, "conv2d.* stride and padding at once"),
        (lambda: keras.layers.MaxPooling2D(2), 8, r"max_pooling2d.* stride that cannot become dilation"),
    ],
)
def test_strides_that_cannot_be_dilated_are_refused(layer, output_stride, message):
    inputs = x = keras.Input((None, None, 3))
    for _ in range(4):
        x = layer()(x)
    with pytest.raises(ValueError, match=message):
        models.dilate(keras.Model(inputs, x), output_stride)


# Layers


def test_padding_mirrors_and_cropping_takes_it_back():
    row = np.arange(5, dtype=np.float32).reshape(1, 1, 5, 1)
    padded = layers.PadToMultiple(4)(row)
    assert padded.shape == (1, 4, 8, 1)
    assert np.array(padded)[0, 0, :, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    # mirrored as often as it takes: 0 1 | 0 1 0 1
    assert np.array(layers.PadToMultiple(6)(row[:, :, :2]))[0, 0, :, 0].tolist() == [0, 1, 0, 1, 0, 1]
    assert np.array(layers.PadToMultiple(1, least=7)(row))[0, :, :, 0].tolist() == [[0, 1, 2, 3, 4, 3, 2]] * 7
    assert layers.PadToMultiple(2, least=6).compute_output_shape((None, 3, None, 2)) == (None, 6, None, 2)
    np.testing.assert_array_equal(layers.PadToMultiple(1, least=1)(row), row)
    np.testing.assert_array_equal(layers.CropLike("end")(padded, row), row)
    assert np.array(layers.CropLike("centre")(padded, row[:, :, :4]))[0, 0, :, 0].tolist() == [2, 3, 4, 3]


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 24)])
def test_resizing_like_another_map_is_bilinear(rng, size):
    x = rng.normal(size=(2, 4, 6, 3)).astype(np.float32)
    wanted = keras.ops.image.resize(x, size, "bilinear", data_format="channels_last")
    found = layers.ResizeLike()(x, np.zeros((2, *size, 1), np.float32))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    spread = layers.ResizeLike()(x[:, :1, :1], np.zeros((2, *size, 1), np.float32))
    np.testing.assert_allclose(spread, np.broadcast_to(x[:, :1, :1], spread.shape))


@every_model
def test_any_size_in_the_same_size_out_and_two_builds_share_no_variable(name):
    model, fixed = build(name), build(name, np.int64(33), np.int64(50))
    assert not {id(v) for v in model.variables} & {id(v) for v in fixed.variables}
    fixed.set_weights(model.get_weights())
    traced = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 3))])
    for size in ((1, 1), (5, 7), (33, 50)):
        images = random_images(2, *size, 3)
        logits = model(images)
        assert logits.shape == (2, *size, 4)
        np.testing.assert_allclose(traced(images), logits, atol=1e-5)
    np.testing.assert_allclose(fixed(images), logits, atol=1e-5)


@every_model
def test_overfits_one_batch_with_unknown_sizes_and_fits_another_size(name):
    model, loss = build(name), losses.CompoundLoss({"cross_entropy": 1, "dice": 1})
    for encoder in layers_of(model, keras.Model):  # its hundred gradients would take half a minute to trace
        encoder.trainable = False
    model.compile(keras.optimizers.Adam(5e-3), loss, metrics=[metrics.ConfusionMatrix(4)])
    model.optimizer.build(model.trainable_variables)  # or everything is traced twice
    spec = (tf.TensorSpec((None, None, None, 3), tf.float32), tf.TensorSpec((None, None, None), tf.uint8))
    masks = np.kron([[[0, 1, 2], [1, 2, 0]], [[2, 0, 1], [0, 1, 1]]], np.ones((1, 16, 16))).astype(np.uint8)
    images = (100.0 * masks[..., None] + random_images(*masks.shape, 3) / 5).astype(np.float32)
    batches = [(images, masks)] * 10 + [(images[:, :9, :21], masks[:, :9, :21])]
    repeated = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec)
    seen = model.fit(repeated, epochs=7, verbose=0).history["loss"]
    assert seen[0] > 0.6 and seen[-1] < 0.5 * seen[0], seen


@every_model
def test_the_gradient_reaches_every_variable(name):
    model = build(name, np.int64(33), np.int64(50))
    for layer in model._flatten_layers():
        if layer.name in ("score_16", "score_8"):  # at zero they hide from the last step what lies below
            layer.kernel.assign(layer.kernel + 0.1 * np.random.default_rng(1).normal(size=layer.kernel.shape))
        if isinstance(layer, keras.layers.BatchNormalization):  # as do residual blocks that start as the identity
            layer.gamma.assign(np.ones(layer.gamma.shape))
    masks = np.random.default_rng(2).integers(0, 4, (2, 33, 50))
    with tf.GradientTape() as tape:
        loss = losses.cross_entropy(masks, model(random_images(2, 33, 50, 3), training=True))
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None and np.any(gradient), variable.path


@every_model
def test_saved_and_loaded_gives_the_same_logits(name, tmp_path):
    model, images = build(name), random_images(1, 13, 22, 3)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(images), model(images), atol=1e-6)


@every_model
def test_in_mixed_precision_logits_are_float32_and_a_step_is_finite(name):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = BUILDERS[name]((44, 44, 3), 2)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    images, loss = random_images(2, 44, 44, 3), losses.CompoundLoss({"cross_entropy": 1, "dice": 1})
    logits = model(images)
    assert logits.dtype == "float32" and np.isfinite(logits).all()
    assert model.get_layer("logits").compute_dtype == "float32"
    if name.startswith("unet"):
        model.compile("adam", loss, run_eagerly=True)  # to trace takes longer
        assert np.isfinite(model.fit(images, (images[..., 0] > 128).astype(int), verbose=0).history["loss"][0])


@pytest.mark.parametrize(
    ("build", "arguments", "options", "message"),
    [
        (models.unet, (ANY, 2), {"padding": "SAME"}, "'same' or 'valid', got 'SAME'"),
        (models.unet, (ANY, 2), {"norm": "layer"}, "'batch', 'group' or None, got 'layer'"),
        (models.unet, (ANY, 2), {"skips": [4], "depth": 4}, r"levels \[0, 1, 2\], got \[4\]"),
        (models.unet, ((570, 570, 1), 2), {"padding": "valid"}, "570 pixels .* evenly; 572 can"),
        (models.unet, ((572, 139, 1), 2), {"padding": "valid"}, "139 pixels .*; 140 can"),
        (models.unet, ((None, None, 1), 2), {"padding": "valid"}, "fixed height and width, got None"),
        (models.fcn, (ANY, 1), {}, "at least 2"),
        (models.fcn, (ANY, 3), {"stride": 4}, "32, 16 or 8, got 4"),
        (models.fcn, (ANY, 3), {"backbone": "resnet"}, "vgg16, small, got 'resnet'"),
        (models.deeplab_v3_plus, (ANY, 3), {"backbone": "vgg16"}, "mobilenet_v2, .* resnet50, got 'vgg16'"),
        (models.deeplab_v3_plus, (ANY, 3), {"output_stride": 4}, "8, 16 or 32, got 4"),
        (models.segformer, (ANY, 1), {}, "at least 2"),
        (models.segformer, (ANY, 2), {"variant": "b9"}, "one of b0, tiny, got 'b9'"),
        (models.segformer, ((None, None, 4), 2), {}, "3 channels, or of 1, which is repeated; got 4"),
    ],
)
def test_models_that_do_not_exist_are_refused(build, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        build(*arguments, **options)


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined")  # Keras's, of MobileNetV2 for any size
def test_weights_that_cannot_be_fetched_are_told(monkeypatch, tmp_path):
    def no_network(*_):
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))  # where nothing was fetched before
    message = r"https.*tf_kernels_0.5_224_no_top.h5.*no network.*Put this file into ~/\.keras/models"
    with pytest.raises(OSError, match=message):
        models.deeplab_v3_plus(ANY, 21, "mobilenet_v2_050", weights="imagenet")
