"""SegFormer: a transformer as encoder, whose tokens keep their place, and a decoder of 1×1 convolutions."""

from typing import NamedTuple

import keras
from keras import layers, ops

from seglib.layers import CropLike, PortableModel, ResizeLike
from seglib.models.safetensors_file import read_safetensors

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of images in 0–1: red, green, blue
EPSILON = 1e-5  # of every normalisation in transformers' modules


class Variant(NamedTuple):
    """A size of SegFormer: its numbers for each of the four stages, whose maps are at strides 4, 8, 16 and 32.

    Attributes:
        channels: of the stage's tokens.
        heads: of its self-attention.
        depths: its transformer blocks.
        reductions: how many times fewer rows and columns keys and values have than queries.
        decoder: channels of the decoder.
    """

    channels: tuple[int, ...]
    heads: tuple[int, ...]
    depths: tuple[int, ...]
    reductions: tuple[int, ...]
    decoder: int


VARIANTS = {
    "b0": Variant((32, 64, 160, 256), (1, 2, 5, 8), (2, 2, 2, 2), (8, 4, 2, 1), decoder=256),
    "tiny": Variant((16, 32, 64, 96), (1, 2, 4, 6), (1, 1, 1, 1), (4, 2, 1, 1), decoder=64),
}


def segformer(input_shape, num_classes, variant="b0", weights=None):
    """SegFormer (Xie et al. 2021, "Simple and Efficient Design for Semantic Segmentation with Transformers").

    Each of four stages embeds overlapping patches and lets them attend to each other; a token knows its place by a 3×3
    depthwise convolution instead of a positional encoding. The decoder projects the four maps to equal channels,
    upsamples them to stride 4, concatenates and mixes them. Without the paper's stochastic depth.

    Args:
        input_shape: ``(height, width, 3)``, of any size; None lets one model take every size. Below 32 pixels the last
            row or column is repeated inside. A grey image's single channel is repeated.
        num_classes: channels of the logits, at least 2: the background is a class.
        variant: ``"b0"``, the paper's smallest, or ``"tiny"``, for training without a GPU.
        weights: None for random ones, or the path of a safetensors file that ``save_pretrained`` of Hugging Face's
            ``transformers`` has written for a ``SegformerForSemanticSegmentation``. The weights that NVIDIA publishes
            are for non-commercial use only: read their licence before you fetch them.

    Returns:
        A ``keras.Model``: (batch, height, width, 3) in 0–255 → (batch, height, width, num_classes) logits. Its layer
        ``"logits"`` has them at stride 4. ``segformer((None, None, 3), 150)`` has 3,753,206 parameters, 512 of them
        the statistics of batch normalisation.

    Raises:
        ValueError: fewer than 2 classes, an unknown variant, channels that are neither 1 nor 3, or a file that is
            damaged or holds the weights of another network.
        OSError: there is no such file.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, the background is a class; got {num_classes}")
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
    if input_shape[-1] not in (1, 3):
        raise ValueError(f"wanted images of 3 channels, or of 1, which is repeated; got {input_shape[-1]}")
    plan = VARIANTS[variant]
    inputs = keras.Input(input_shape, name="image")
    image = PadToLeast(32)(inputs)
    x = layers.Concatenate()([image] * 3) if input_shape[-1] == 1 else image
    scale, offset = zip(*((1 / 255 / std, -mean / std) for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD)))
    x = layers.Rescaling(list(scale), list(offset))(x)

    features = []
    for stage, (channels, heads, depth, reduction) in enumerate(zip(*plan[:4], strict=True)):
        kernel, stride = (7, 4) if stage == 0 else (3, 2)
        x = embed_patches(x, channels, kernel, stride, f"encoder.patch_embeddings.{stage}")
        for block in range(depth):
            x = transformer_block(x, heads, reduction, f"encoder.block.{stage}.{block}")
        x = _normalise(x, f"encoder.layer_norm.{stage}")
        features.append(x)

    maps = [layers.Dense(plan.decoder, name=f"decode_head.linear_c.{n}.proj")(x) for n, x in enumerate(features)]
    maps = [maps[0], *(ResizeLike()(x, maps[0]) for x in maps[1:])]
    x = layers.Concatenate()(maps[::-1])  # the coarsest first
    x = layers.Conv2D(plan.decoder, 1, use_bias=False, name="decode_head.linear_fuse")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=EPSILON, name="decode_head.batch_norm")(x)
    x = layers.Dropout(0.1)(layers.ReLU()(x))
    # float32 also under a mixed-precision policy: the softmax of the loss needs the digits.
    x = layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(x)
    x = ResizeLike(dtype="float32")(x, image)
    model = PortableModel(inputs, CropLike("end", dtype="float32")(x, inputs), name=f"segformer_{variant}")
    if weights is not None:
        _load_weights(model, weights, variant)
    return model


def embed_patches(x, channels, kernel, stride, name):
    """Overlapping patches as tokens: a convolution whose kernel is wider than its stride, and layer normalisation."""
    x = layers.ZeroPadding2D(kernel // 2, name=f"{name}.pad")(x)  # at all four sides, which "same" would not do
    return _normalise(layers.Conv2D(channels, kernel, stride, name=f"{name}.proj")(x), f"{name}.layer_norm")


def transformer_block(x, heads, reduction, name):
    """Self-attention and then Mix-FFN, each behind a layer normalisation and added to what it read."""
    x = x + attention(_normalise(x, f"{name}.layer_norm_1"), heads, reduction, f"{name}.attention")
    return x + mix_ffn(_normalise(x, f"{name}.layer_norm_2"), f"{name}.mlp")


def attention(x, heads, reduction, name):
    """Efficient self-attention (section 3.1): every token asks, and ``reduction``² fewer answer.

    (batch, height, width, channels) → the same shape.
    """
    channels, fewer = x.shape[-1], x
    if reduction > 1:
        fewer = layers.Conv2D(channels, reduction, reduction, name=f"{name}.self.sr")(x)
        fewer = _normalise(fewer, f"{name}.self.layer_norm")
    query = layers.Dense(channels, name=f"{name}.self.query")(x)
    key = layers.Dense(channels, name=f"{name}.self.key")(fewer)
    value = layers.Dense(channels, name=f"{name}.self.value")(fewer)
    return layers.Dense(channels, name=f"{name}.output.dense")(Attend(heads)(query, key, value))


def mix_ffn(x, name):
    """Mix-FFN (section 3.1): a dense layer to 4 times the channels, a 3×3 depthwise convolution, GELU, and back.

    The convolution's zero padding is all that tells a token where it is. (batch, height, width, channels) → the same.
    """
    start = keras.initializers.RandomNormal(stddev=(2 / 9) ** 0.5)  # Keras's own takes channels for inputs
    y = layers.Dense(4 * x.shape[-1], name=f"{name}.dense1")(x)
    y = layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=start, name=f"{name}.dwconv.dwconv")(y)
    return layers.Dense(x.shape[-1], name=f"{name}.dense2")(layers.Activation("gelu")(y))


@keras.saving.register_keras_serializable("seglib")
class Attend(layers.Layer):
    """softmax(query · keyᵀ / √d) · value in each of ``heads`` groups of d channels (Vaswani et al. 2017, section 3.2).

    Maps (batch, height, width, channels), of which key and value may be smaller → the shape of ``query``.
    """

    def __init__(self, heads, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, query, key, value):
        query_tokens, key, value = (self._split(x) for x in (query, key, value))
        scores = ops.matmul(query_tokens, ops.transpose(key, (0, 1, 3, 2))) / key.shape[-1] ** 0.5
        weights = ops.cast(ops.softmax(ops.cast(scores, "float32")), value.dtype)  # each row's sum is 1
        return ops.reshape(ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3)), ops.shape(query))

    def _split(self, x):  # (batch, height, width, channels) → (batch, heads, height · width, channels / heads)
        x = ops.reshape(x, (ops.shape(x)[0], -1, self.heads, x.shape[-1] // self.heads))
        return ops.transpose(x, (0, 2, 1, 3))

    def compute_output_shape(self, query_shape, key_shape, value_shape):
        return query_shape

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable("seglib")
class PadToLeast(layers.Layer):
    """Repeats the last row and column of a map until there are ``least``; what is larger stays as it is."""

    def __init__(self, least, **kwargs):
        super().__init__(**kwargs)
        self.least = least

    def call(self, x):
        for axis in (1, 2):
            length = ops.shape(x)[axis]
            if not isinstance(length, int):
                x = ops.take(x, ops.minimum(ops.arange(ops.maximum(length, self.least)), length - 1), axis=axis)
            elif length < self.least:
                x = ops.take(x, ops.minimum(ops.arange(self.least), length - 1), axis=axis)
        return x

    def compute_output_shape(self, input_shape):
        height, width = (n if n is None else max(n, self.least) for n in input_shape[1:3])
        return input_shape[0], height, width, input_shape[3]

    def get_config(self):
        return {**super().get_config(), "least": self.least}


def _normalise(x, name):
    return layers.LayerNormalization(epsilon=EPSILON, name=name)(x)


def _load_weights(model, path, variant):
    """Sets a model's weights to those of a file, whose tensors have the names of the model's layers."""
    torch_names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    tensors = {k.removeprefix("segformer."): v for k, v in read_safetensors(path).items()}
    wanted = {}
    for layer in model.layers:
        for weight in layer.weights:
            name = "decode_head.classifier" if layer.name == "logits" else layer.name
            wanted[f"{name}.{torch_names.get(weight.name, weight.name).replace('kernel', 'weight')}"] = layer, weight
    found = {name for name in tensors if not name.endswith("num_batches_tracked")}
    for what, names in (("lacks", sorted(wanted.keys() - found)), ("also has", sorted(found - wanted.keys()))):
        if names:
            raise ValueError(f"{path} {what} {names[0]} ({len(names)} in all): wanted a SegFormer of variant {variant}")
    # torch has (out, in) and (out, in, height, width), Keras (in, out) and (height, width, in, out).
    for name, (layer, weight) in wanted.items():
        array = tensors[name]
        if array.ndim > 1:
            depthwise = isinstance(layer, layers.DepthwiseConv2D)
            array = array.T if array.ndim == 2 else array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
        if array.shape != tuple(weight.shape):
            sizes = f"{tensors[name].shape} in torch's order, wanted {tuple(weight.shape)} in Keras's"
            raise ValueError(f"{path}: {name} is {sizes}, of the variant {variant}")
        weight.assign(array)
