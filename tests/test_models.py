import keras
import numpy as np
import pytest
import tensorflow as tf

from seglib import layers, losses, metrics, models

BUILDERS = {
    "unet": lambda shape, num_classes: models.unet(shape, num_classes, filters=4, depth=4),
    **{
        f"fcn_{stride}s": lambda shape, num_classes, stride=stride: models.fcn(shape, num_classes, stride, "small")
        for stride in (32, 8)  # the 16s is the 8s with a rung less
    },
    "deeplab": lambda shape, num_classes: models.deeplab_v3_plus(shape, num_classes, filters=8, output_stride=16),
}
every_model = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)


@pytest.mark.parametrize(("stride", "parameters"), [(32, 136_152_917), (16, 134_815_994), (8, 134_489_759)])
def test_the_papers_fcns_to_the_last_parameter(stride, parameters):
    with keras.StatelessScope(initialize_variables=False):  # half a gigabyte of weights that nobody needs
        model = models.fcn((None, None, 3), 21, stride, "vgg16")
    keras.utils.clear_session()
    assert model.count_params() == parameters
    assert model.output_shape == (None, None, None, 21)


def test_upsampling_begins_as_bilinear_interpolation(rng):
    x = rng.normal(size=(1, 6, 5, 3)).astype(np.float32)
    for factor in (2, 4, 8):
        inputs = keras.Input((None, None, 3))
        ours = np.array(keras.Model(inputs, layers.upsample(inputs, factor))(x))
        theirs = np.array(keras.ops.image.resize(x, (6 * factor, 5 * factor), "bilinear", data_format="channels_last"))
        inner = slice(factor // 2, -factor // 2)  # at the border one fades and the other repeats
        np.testing.assert_allclose(ours[:, inner, inner], theirs[:, inner, inner], atol=1e-5)


def test_a_skip_of_an_fcn_begins_silent_and_is_heard():
    keras.utils.set_random_seed(0)
    fine = models.fcn((None, None, 3), 3, 8, "small")
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    scores = [name for name in (layer.name for layer in fine.layers) if name in ("score_16", "score_8")]
    assert scores == ["score_16", "score_8"]
    before = np.array(fine(images))
    for name in scores:
        layer = fine.get_layer(name)
        assert not np.any(layer.kernel)
        layer.kernel.assign(layer.kernel + 1)
        assert not np.allclose(fine(images), before), name
        layer.kernel.assign(0 * layer.kernel)


def test_dense_layers_become_convolutions_that_agree(monkeypatch):
    # A classifier of VGG16's make, with few channels: its dense layers must say what the FCN's head says.
    tiny = models.Backbone(((2, 2), (2, 2), (2, 3), (2, 3), (3, 3)), head=5, kernel=7, dropout=0.5)
    monkeypatch.setitem(models.BACKBONES, "vgg16", tiny)
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((224, 224, 3))
    for filters, repeats in tiny.blocks:
        for _ in range(repeats):
            x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Flatten()(x)
    for _ in range(2):
        x = keras.layers.Dense(5, activation="relu")(x)
    classifier = keras.Model(inputs, [x, keras.layers.Dense(1000)(x)])
    for layer in classifier.layers:
        for weight in layer.weights:
            weight.assign(np.random.default_rng(len(weight.shape)).uniform(0.05, 0.3, weight.shape))
    monkeypatch.setattr(keras.applications, "VGG16", lambda weights: classifier)
    model = models.fcn((224, 224, 3), 4, 32, "vgg16", weights="imagenet")
    image = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype(np.float32)
    as_vgg = (image - np.array(models.VGG_MEAN))[..., ::-1]
    head = keras.Model(model.input, model.get_layer("score_32").input)
    wanted = np.array(classifier(as_vgg)[0])
    assert np.any(wanted > 0)
    # the 7×7 convolution sees the whole 7×7 map at its centre, as the dense layer does
    np.testing.assert_allclose(np.array(head(image))[:, 3, 3], wanted, rtol=1e-4)


def test_weights_that_cannot_be_fetched_are_told(monkeypatch):
    def no_network(weights, **options):
        raise Exception("URL fetch failure")

    for name in ("VGG16", "MobileNetV2"):
        monkeypatch.setattr(keras.applications, name, no_network)
    with pytest.raises(OSError, match="vgg16_weights_tf_dim_ordering_tf_kernels.h5"):
        models.fcn((None, None, 3), 21, weights="imagenet")
    with pytest.raises(OSError, match="ordering_tf_kernels_0.5_224_no_top.h5"):
        models.deeplab_v3_plus((None, None, 3), 21, "mobilenet_v2_050", weights="imagenet")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "at least 2"),
        ({"stride": 4}, "32, 16 or 8, got 4"),
        ({"backbone": "resnet"}, "vgg16, small, got 'resnet'"),
        ({"backbone": "small", "weights": "imagenet"}, "'imagenet' for vgg16"),
        ({"weights": "coco"}, "got 'coco'"),
    ],
)
def test_fcns_that_there_are_none_of_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        models.fcn(**{"input_shape": (None, None, 3), "num_classes": 3, **options})


def test_the_papers_unet_to_the_last_parameter():
    model = models.unet((572, 572, 1), 2, padding="valid", norm=None)
    assert model.count_params() == 31_030_658
    assert model.output_shape == (None, 388, 388, 2)
    sizes = [layer.output.shape[1] for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)]
    assert sizes == [284, 140, 68, 32]


@every_model
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (33, 50), (64, 96)])
def test_any_size_in_the_same_size_out(build, size):
    images = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype(np.float32)
    model = build((None, None, 3), 4)
    assert model(images).shape == (2, *size, 4)
    traced = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 3))])
    np.testing.assert_allclose(traced(images), model(images), atol=1e-5)
    assert build((*size, 3), 4)(images).shape == (2, *size, 4)


@every_model
def test_fit_predict_and_second_size_with_unknown_sizes(build):
    model = build((None, None, 3), 3)
    model.compile("adam", losses.Sum({"cross_entropy": 1, "dice": 1}), metrics=[metrics.ConfusionMatrix(3)])
    spec = (tf.TensorSpec((None, None, None, 3), tf.float32), tf.TensorSpec((None, None, None), tf.uint8))
    for size in ((10, 14), (9, 21)):
        batch = (np.zeros((2, *size, 3), np.float32), np.zeros((2, *size), np.uint8))
        pairs = tf.data.Dataset.from_generator(lambda batch=batch: iter([batch, batch]), output_signature=spec)
        model.fit(pairs, verbose=0)
        assert model.predict(batch[0], verbose=0).shape == (2, *size, 3)


def test_padding_mirrors_and_cropping_takes_it_back():
    row = np.arange(5, dtype=np.float32).reshape(1, 1, 5, 1)
    padded = layers.PadToMultiple(4)(row)
    assert padded.shape == (1, 4, 8, 1)
    assert np.array(padded)[0, 0, :, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    # mirrored as often as it takes: 0 1 | 0 1 0 1
    assert np.array(layers.PadToMultiple(6)(row[:, :, :2]))[0, 0, :, 0].tolist() == [0, 1, 0, 1, 0, 1]
    np.testing.assert_array_equal(layers.CropLike("end")(padded, row), row)
    assert np.array(layers.CropLike("centre")(padded, row[:, :, :4]))[0, 0, :, 0].tolist() == [2, 3, 4, 3]


def test_skips_lead_past_the_bottleneck_at_every_level():
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3))
    model = models.unet((16, 16, 3), 2, filters=4, depth=3)
    joins = [layer for layer in model.layers if isinstance(layer, keras.layers.Concatenate)]
    assert len(joins) == 2 and all(skip is not x for skip, x in (join.input for join in joins))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):  # the only other way up
            layer.set_weights([0 * weight for weight in layer.get_weights()])
    first, second = np.array(model(images))
    assert not np.allclose(first, second)


def test_skips_can_be_left_out_level_by_level():
    def joins(skips):
        model = models.unet((32, 32, 3), 2, filters=4, depth=4, skips=skips)
        found = [layer for layer in model.layers if isinstance(layer, keras.layers.Concatenate)]
        return model.count_params(), [join.output.shape[1:] for join in found]

    whole, at = joins(None)
    assert at == [(8, 8, 32), (16, 16, 16), (32, 32, 8)] and joins((0, 1, 2)) == (whole, at)
    # without the finest skip, the first convolution of that level has 4 channels fewer to read: 9 · 4 · 4 weights
    assert joins((1, 2)) == (whole - 9 * 4 * 4, at[:2])
    assert joins(()) == (whole - 9 * (4 * 4 + 8 * 8 + 16 * 16), [])
    with pytest.raises(ValueError, match=r"levels \[0, 1, 2\], got \[3\]"):
        joins((3,))


def stir(network, rng):
    """Gives batch normalisations something to do: fresh ones hand their inputs on."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(0, 0.1, layer.moving_mean.shape))
            layer.beta.assign(rng.normal(0, 0.3, layer.beta.shape))


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50", "Xception"])
def test_dilated_networks_say_the_same_where_the_strided_ones_spoke(name, rng):
    keras.utils.set_random_seed(0)
    network = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(None, None, 3))
    stir(network, rng)
    image = rng.uniform(-1, 1, (1, 64, 96, 3)).astype(np.float32)
    wanted = np.array(network(image))
    assert wanted.shape[1:3] == (2, 3) and wanted.std() > 0.01
    for output_stride in (8, 16, 32):
        found = np.array(models.dilate(network, output_stride)(image))
        step = 32 // output_stride
        assert found.shape[1:3] == (64 // output_stride, 96 // output_stride)
        np.testing.assert_allclose(found[:, ::step, ::step], wanted, atol=1e-5)
    momenta = {
        layer.momentum for layer in models.dilate(network, 16, momentum=0.9).layers if hasattr(layer, "momentum")
    }
    assert momenta == {0.9}


def test_dilated_max_pooling_is_max_pooling_at_every_second_pixel(rng):
    x = rng.normal(-5, 1, (2, 8, 12, 3)).astype(np.float32)
    wanted = keras.layers.MaxPooling2D(3, strides=2, padding="same")(x)
    np.testing.assert_array_equal(models.dilation.DilatedMaxPooling(3, 1)(x)[:, ::2, ::2], wanted)
    # and behind another stride that was turned into dilation, at every fourth
    np.testing.assert_array_equal(
        models.dilation.DilatedMaxPooling(3, 2)(x)[:, ::4, ::4],
        keras.layers.MaxPooling2D(3, strides=2, padding="same")(x[:, ::2, ::2]),
    )


def test_strides_that_cannot_be_dilated_are_refused():
    def network(*added):
        return keras.Sequential([keras.Input((None, None, 3)), keras.layers.AveragePooling2D(8), *added])

    with pytest.raises(ValueError, match="output_stride must be 8, 16 or 32, got 4"):
        models.dilate(network(), 4)
    inputs = x = keras.Input((None, None, 3))
    for _ in range(4):
        x = keras.layers.Conv2D(2, 3, strides=2, padding="same")(x)
    with pytest.raises(ValueError, match="has stride and padding at once"):
        models.dilate(keras.Model(inputs, x), 8)
    inputs = x = keras.Input((None, None, 3))
    for _ in range(4):
        x = keras.layers.MaxPooling2D(2)(x)
    with pytest.raises(ValueError, match=r"max_pooling2d.* has a stride that cannot be turned"):
        models.dilate(keras.Model(inputs, x), 8)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 24)])
def test_resizing_like_another_map_is_bilinear(rng, size):
    x = rng.normal(size=(2, 4, 6, 3)).astype(np.float32)
    wanted = keras.ops.image.resize(x, size, "bilinear", data_format="channels_last")
    found = layers.ResizeLike()(x, np.zeros((2, *size, 1), np.float32))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    spread = layers.ResizeLike()(x[:, :1, :1], np.zeros((2, *size, 1), np.float32))
    np.testing.assert_allclose(spread, np.broadcast_to(x[:, :1, :1], spread.shape))


@pytest.mark.parametrize("backbone", models.ENCODERS)
def test_deeplabs_parts_stand_where_the_paper_puts_them(backbone):
    with keras.StatelessScope(initialize_variables=False):
        model = models.deeplab_v3_plus((64, 96, 3), 21, backbone, output_stride=8)
    keras.utils.clear_session()
    low, last = model.get_layer(models.ENCODERS[backbone].name.lower()).outputs
    assert last.shape[1:3] == (None, None) and model.output_shape == (None, 64, 96, 21)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    pyramid = [layer.dilation_rate[0] for layer in convolutions if layer.dilation_rate != (1, 1)]
    assert pyramid == [12, 24, 36]  # twice 6, 12, 18 at output stride 8
    assert [layer.filters for layer in convolutions if layer.kernel_size == (3, 3)] == 5 * [256]
    assert 48 in [layer.filters for layer in convolutions if layer.kernel_size == (1, 1)]


@pytest.mark.parametrize(
    ("backbone", "blocks"), [("mobilenet_v2", 10), ("mobilenet_v2_050", 10), ("resnet50", 16), ("xception", 8)]
)
def test_untrained_residual_blocks_start_as_the_identity(backbone, blocks):
    model = models.deeplab_v3_plus((None, None, 3), 2, backbone, filters=8)
    encoder = model.get_layer(models.ENCODERS[backbone].name.lower())
    silent = [
        layer.name
        for layer in encoder.layers
        if isinstance(layer, keras.layers.BatchNormalization) and not np.any(layer.gamma)
    ]
    # MobileNetV2's project_BN, ResNet50's third of a block, Xception's third of its middle flow; never a shortcut's
    assert len(silent) == blocks and all(name.endswith(("project_BN", "_3_bn", "sepconv3_bn")) for name in silent)


def test_a_rate_beyond_the_map_leaves_the_kernels_centre(rng):
    x = rng.normal(size=(1, 5, 5, 2)).astype(np.float32)
    wide = keras.layers.Conv2D(3, 3, padding="same", dilation_rate=5)
    found = np.array(wide(x))
    np.testing.assert_allclose(found, x @ np.array(wide.kernel)[1, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "at least 2"),
        ({"backbone": "vgg16"}, "mobilenet_v2, mobilenet_v2_050, resnet50, xception, got 'vgg16'"),
        ({"weights": "coco"}, "got 'coco'"),
        ({"output_stride": 4}, "8, 16 or 32, got 4"),
    ],
)
def test_deeplabs_that_there_are_none_of_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        models.deeplab_v3_plus(**{"input_shape": (None, None, 3), "num_classes": 3, **options})


@every_model
def test_two_builds_share_no_variable(build):
    first, second = (build((32, 32, 3), 2) for _ in range(2))
    assert not {id(v) for v in first.variables} & {id(v) for v in second.variables}
    before = second.get_weights()
    for variable in first.variables:
        variable.assign(variable + 1)
    assert all(np.array_equal(a, b) for a, b in zip(before, second.get_weights(), strict=True))


@pytest.mark.parametrize(
    "build",
    [*BUILDERS.values(), lambda shape, num_classes: models.unet(shape, num_classes, 8, 3, norm="group")],
    ids=[*BUILDERS, "unet, group norm"],
)
def test_saved_and_loaded_gives_the_same_logits(build, tmp_path):
    keras.utils.set_random_seed(0)
    model = build((None, None, 3), 3)
    images = np.random.default_rng(0).uniform(0, 255, (1, 13, 22, 3))
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(images), model(images), atol=1e-6)


@every_model
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_step_in_mixed_precision_is_finite_and_its_logits_are_float32(build, policy):
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).uniform(0, 255, (2, 44, 44, 3)).astype(np.float32)
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = build((44, 44, 3), 2)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    model.compile("adam", losses.Sum({"cross_entropy": 1, "dice": 1}), run_eagerly=True)  # to trace takes longer
    assert np.isfinite(model.fit(images, (images[..., 0] > 128).astype(int), verbose=0).history["loss"][0])
    logits = model(images)
    assert logits.dtype == "float32" and np.isfinite(logits).all()
    assert model.get_layer("logits").compute_dtype == "float32"


@every_model
def test_the_gradient_reaches_every_variable(build):
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    model = build((64, 64, 3), 3)
    for name in ("score_16", "score_8"):  # at zero they hide from the last step what lies below
        if name in {layer.name for layer in model.layers}:
            kernel = model.get_layer(name).kernel
            kernel.assign(kernel + 0.1 * np.random.default_rng(1).normal(size=kernel.shape))
    for layer in model._flatten_layers():  # as do residual blocks that start as the identity
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(np.ones(layer.gamma.shape))
    masks = np.random.default_rng(2).integers(0, 3, (2, 64, 64))
    with tf.GradientTape() as tape:
        loss = losses.cross_entropy(masks, model(images, training=True))
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None and np.any(gradient), variable.path


@every_model
def test_learns_one_batch_of_blocks_by_heart(build):
    keras.utils.set_random_seed(0)
    masks = np.kron(np.array([[[0, 1, 2], [1, 2, 0]], [[2, 0, 1], [0, 1, 1]]]), np.ones((1, 32, 32), int))
    images = 100.0 * masks[..., None] + np.random.default_rng(0).uniform(0, 50, (2, 64, 96, 3))
    model = build((64, 96, 3), 3)
    model.compile(keras.optimizers.Adam(3e-3), losses.Sum({"cross_entropy": 1}))
    seen = model.fit(images.astype(np.float32), masks, epochs=60, verbose=0).history["loss"]
    assert seen[0] > 0.6 and min(seen) < 0.35 * seen[0], seen


def test_learns_one_batch_by_heart():
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 24, 3)).astype(np.float32)
    masks = (images[..., 0] > 128).astype(int) + (images[..., 1] > 128)
    model = models.unet((16, 24, 3), 3, filters=8, depth=2)
    model.compile(keras.optimizers.Adam(1e-2), losses.Sum({"cross_entropy": 1}))
    losses_seen = model.fit(images, masks, epochs=60, verbose=0).history["loss"]
    assert losses_seen[0] > 0.8 and losses_seen[-1] < 0.1


@pytest.mark.parametrize(
    ("size", "message"), [(570, "odd|evenly"), (60, "cannot be halved|bottleneck"), (None, "fixed")]
)
def test_valid_sizes_that_cannot_work_are_refused(size, message):
    with pytest.raises(ValueError, match=message):
        models.unet((size, size, 1), 2, padding="valid", norm=None)


def test_one_class_is_refused_because_the_background_is_one():
    with pytest.raises(ValueError, match="at least 2"):
        models.unet((32, 32, 3), 1)


def test_group_norm_takes_any_number_of_channels():
    assert models.unet((8, 8, 3), 2, filters=14, depth=2, norm="group")(np.zeros((1, 8, 8, 3))).shape == (1, 8, 8, 2)


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="'batch', 'group' or None"):
        models.unet((32, 32, 3), 2, filters=4, norm="layer")
