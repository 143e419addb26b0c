"""DeepLabV3+: a dilated encoder, atrous spatial pyramid pooling, and a decoder that refines the boundaries."""

import keras
from keras import layers

from seglib.layers import CropLike, PadToMultiple, PortableModel, ResizeLike, aspp, conv_block
from seglib.models.encoders import build_encoder


def deeplab_v3_plus(
    input_shape, num_classes, backbone="mobilenet_v2", weights=None,
    output_stride=16, filters=256, rates=None, decoder=True,
):  # fmt: skip
    """DeepLabV3+ (Chen et al. 2018, "Encoder-Decoder with Atrous Separable Convolution", section 3).

    The encoder's last features go through atrous spatial pyramid pooling, are upsampled to a quarter of the image's
    size, concatenated with 48 channels of low-level features, and refined by two 3×3 convolutions.

    Args:
        input_shape: ``(height, width, 3)``, or 1 for grey, repeated; of any size; None lets one model take every size.
        num_classes: channels of the logits, at least 2: the background is a class.
        backbone: the encoder: ``"mobilenet_v2"``, ``"mobilenet_v2_050"`` with half its channels, ``"resnet50"``
            or ``"efficientnet_lite0"``.
        weights: of the backbone: ``"imagenet"``, or None for random ones; then residual blocks start as the identity.
        output_stride: 8, 16 or 32: how much smaller than the image the last features are.
        filters: channels of the pyramid and of the decoder; 256 in the paper.
        rates: dilations of the pyramid's 3×3 convolutions; None is the paper's 6, 12, 18 at output stride 16, twice
            that at 8 (DeepLabV3, Chen et al. 2017, section 3.3), half of it at 32.
        decoder: False upsamples the pyramid's scores directly, which is DeepLabV3.

    Returns:
        A ``keras.Model``: (batch, height, width, 3) in 0–255 → (batch, height, width, num_classes) logits.

    Raises:
        ValueError: fewer than 2 classes, another backbone, output stride, weights or number of channels.
        OSError: ImageNet's weights cannot be had; the message says what to install, or where to put the file.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, the background is a class; got {num_classes}")
    encoder = build_encoder(backbone, weights, output_stride, channels=input_shape[-1])
    if rates is None:
        rates = [rate * 16 // output_stride for rate in (6, 12, 18)]
    inputs = keras.Input(input_shape, name="image")
    image = PadToMultiple(32)(inputs)
    _, low, _, _, x = encoder(image)
    x = layers.Dropout(0.1)(aspp(x, filters, rates))
    if decoder:
        low = conv_block(low, 48, kernel=1, repeats=1)
        x = conv_block(layers.Concatenate()([ResizeLike()(x, low), low]), filters)
    # float32 also under a mixed-precision policy: the softmax of the loss needs the digits.
    x = layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(x)
    x = ResizeLike(dtype="float32")(x, image)
    return PortableModel(inputs, CropLike("end", dtype="float32")(x, inputs), name="deeplab_v3_plus")
