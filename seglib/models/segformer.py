"""SegFormer: a transformer as encoder, and a decoder of 1×1 convolutions. All maps keep their height and width."""

from collections import namedtuple

import keras
import numpy as np
from keras import layers, ops

from seglib.layers import CropLike, PadToMultiple, PortableModel, ResizeLike
from seglib.models.weight_files import AXES, read_safetensors

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet's images in 0–1
EPSILON = 1e-5  # of every normalisation in the modules of transformers

# Of each stage: channels, heads of its attention, blocks, and by how much keys and values are downsampled.
Variant = namedtuple("Variant", "channels heads depths reductions decoder")
VARIANTS = {
    "b0": Variant((32, 64, 160, 256), (1, 2, 5, 8), (2, 2, 2, 2), (8, 4, 2, 1), decoder=256),
    "tiny": Variant((16, 32, 64, 96), (1, 2, 4, 6), (1, 1, 1, 1), (4, 2, 1, 1), decoder=64),
}


def segformer(input_shape, num_classes, variant="b0", weights=None):
    """SegFormer (Xie et al. 2021, "Simple and Efficient Design for Semantic Segmentation with Transformers").

    Four stages, at strides 4, 8, 16 and 32, embed overlapping patches as tokens, which attend to each other. 3×3
    depthwise convolutions replace the positional encoding. The decoder projects the four maps to equal channels,
    upsamples them to stride 4, concatenates and mixes them. The paper's stochastic depth is left out.

    Args:
        input_shape: ``(height, width, 3)``, of any size; None lets one model take every size. An image of fewer than 32
            rows or columns is padded by reflection. A grey image's single channel is repeated.
        num_classes: channels of the logits, at least 2: the background is a class.
        variant: ``"b0"``, the paper's smallest, or ``"tiny"``, a twelfth of its parameters, to train without a GPU.
        weights: None for random ones, or the path of a safetensors file of a ``SegformerForSemanticSegmentation``, as
            ``save_pretrained`` of Hugging Face's ``transformers`` writes it. NVIDIA's published weights are for
            non-commercial use only: read their licence before you fetch them. A ValueError says what is wrong with a
            file that is damaged, or holds the weights of another variant or number of classes.

    Returns:
        A ``keras.Model``: (batch, height, width, 3) in 0–255 → (batch, height, width, num_classes) logits. Those at
        stride 4 are the output of its layer ``"logits"``. ``segformer((None, None, 3), 150)`` has 3,753,206 parameters.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, the background is a class; got {num_classes}")
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
    if input_shape[-1] not in (1, 3):
        raise ValueError(f"SegFormer reads images of 3 channels, or of 1, which is repeated; got {input_shape[-1]}")
    plan = VARIANTS[variant]
    inputs = keras.Input(input_shape, name="image")
    image = PadToMultiple(1, least=32)(inputs)
    x = layers.Concatenate()([image] * 3) if input_shape[-1] == 1 else image
    x = layers.Rescaling((1 / 255 / STD).tolist(), (-MEAN / STD).tolist())(x)
    features = []
    for stage, (channels, heads, depth, reduction) in enumerate(zip(*plan[:4], strict=True)):
        kernel, stride = (3, 2) if stage else (7, 4)
        x = embed_patches(x, channels, kernel, stride, f"encoder_patch_embeddings_{stage}")
        for block in range(depth):
            name = f"encoder_block_{stage}_{block}"
            x = x + attention(_normalise(x, f"{name}_layer_norm_1"), heads, reduction, f"{name}_attention")
            x = x + mix_ffn(_normalise(x, f"{name}_layer_norm_2"), f"{name}_mlp")
        x = _normalise(x, f"encoder_layer_norm_{stage}")
        features.append(x)

    maps = [layers.Dense(plan.decoder, name=f"decode_head_linear_c_{n}_proj")(x) for n, x in enumerate(features)]
    x = layers.Concatenate()([ResizeLike()(x, maps[0]) for x in maps[:0:-1]] + maps[:1])  # the coarsest first
    x = layers.Conv2D(plan.decoder, 1, use_bias=False, name="decode_head_linear_fuse")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=EPSILON, name="decode_head_batch_norm")(x)
    x = layers.Dropout(0.1)(layers.ReLU()(x))
    # float32 also under a mixed-precision policy: the softmax of the loss needs the digits.
    x = layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(x)
    x = ResizeLike(dtype="float32")(x, image)
    model = PortableModel(inputs, CropLike("end", dtype="float32")(x, inputs), name=f"segformer_{variant}")
    if weights is not None:
        _load_weights(model, weights, f"variant={variant!r}, num_classes={num_classes}")
    return model


def embed_patches(x, channels, kernel, stride, name):
    """Turns overlapping patches into tokens: a convolution with a kernel wider than its stride (section 3.1)."""
    x = layers.ZeroPadding2D(kernel // 2)(x)  # on all four sides alike, as "same" with a stride does not
    return _normalise(layers.Conv2D(channels, kernel, stride, name=f"{name}_proj")(x), f"{name}_layer_norm")


def attention(x, heads, reduction, name):
    """Efficient self-attention (section 3.1): keys and values are made from a map downsampled by ``reduction``."""
    channels, reduced = x.shape[-1], x
    if reduction > 1:
        reduced = layers.Conv2D(channels, reduction, reduction, name=f"{name}_self_sr")(x)
        reduced = _normalise(reduced, f"{name}_self_layer_norm")
    query = layers.Dense(channels, name=f"{name}_self_query")(x)
    key = layers.Dense(channels, name=f"{name}_self_key")(reduced)
    value = layers.Dense(channels, name=f"{name}_self_value")(reduced)
    return layers.Dense(channels, name=f"{name}_output_dense")(DotProductAttention(heads)(query, key, value))


def mix_ffn(x, name):
    """Mix-FFN (section 3.1): with zeros around the map, the depthwise convolution tells a token where it is."""
    start = keras.initializers.RandomNormal(stddev=(2 / 9) ** 0.5)  # He et al. 2015: each output reads 9 numbers
    y = layers.Dense(4 * x.shape[-1], name=f"{name}_dense1")(x)
    y = layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=start, name=f"{name}_dwconv_dwconv")(y)
    return layers.Dense(x.shape[-1], name=f"{name}_dense2")(layers.Activation(gelu)(y))


@keras.saving.register_keras_serializable("seglib")
def gelu(x):
    """x · Φ(x) (Hendrycks & Gimpel 2016), as LiteRT recognises it; Keras's own has an operation that ONNX lacks."""
    return (0.5 * x) * (ops.erf(x * 0.5**0.5) + 1)


def _normalise(x, name):
    return layers.LayerNormalization(epsilon=EPSILON, name=name)(x)


@keras.saving.register_keras_serializable("seglib")
class DotProductAttention(layers.Layer):
    """softmax(query · keyᵀ / √d) · value for each of ``heads`` groups of d channels (Vaswani et al. 2017, section 3.2).

    Each map is (batch, height, width, channels); those of key and value may be smaller. The result is like ``query``.
    """

    def __init__(self, heads, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, query, key, value):
        q, k, v = (self._split_heads(x) for x in (query, key, value))
        scores = ops.cast(ops.matmul(q / q.shape[-1] ** 0.5, ops.transpose(k, (0, 1, 3, 2))), "float32")
        # The softmax; ops.softmax would warn of an image that has only one key.
        weights = ops.exp(scores - ops.logsumexp(scores, axis=-1, keepdims=True))
        x = ops.matmul(ops.cast(weights, v.dtype), v)
        return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), ops.shape(query))

    def _split_heads(self, x):  # → (batch, heads, height · width, channels / heads)
        x = ops.reshape(x, (ops.shape(x)[0], -1, self.heads, x.shape[-1] // self.heads))
        return ops.transpose(x, (0, 2, 1, 3))

    def compute_output_shape(self, query_shape, key_shape, value_shape):
        return query_shape


# Torch's names for Keras's.
NAMES = dict(kernel="weight", gamma="weight", beta="bias", moving_mean="running_mean", moving_variance="running_var")


def _load_weights(model, path, wanted):
    """Sets the weights to a file's tensors, which have the layers' names; ``wanted`` is of which model they must be."""
    tensors = read_safetensors(path)
    tensors = {name.removeprefix("segformer.").replace(".", "_"): array for name, array in tensors.items()}
    found = {name for name in tensors if not name.endswith("num_batches_tracked")}
    named = {}
    for layer in model.layers:
        for weight in layer.weights:
            name = f"{layer.name}_{NAMES.get(weight.name, weight.name)}".replace("logits", "decode_head_classifier")
            named[name] = weight, AXES[type(layer)] if weight.name == "kernel" else (0,)
    for problem, names in ("lacks", named.keys() - found), ("has, not wanted,", found - named.keys()):
        if names:
            raise ValueError(f"{path} {problem} {len(names)} tensors, such as {min(names)}; wanted SegFormer, {wanted}")
    for name, (weight, axes) in named.items():
        shape = tuple(weight.shape[axis] for axis in np.argsort(axes))
        if tensors[name].shape != shape:
            raise ValueError(f"{path}: {name} has the shape {tensors[name].shape}, wanted {shape} for {wanted}")
        weight.assign(tensors[name].transpose(axes))
