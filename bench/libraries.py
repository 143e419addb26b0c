"""How do KerasHub's DeepLabV3+ and SegFormer compare with KerasCV's and with seglib's? Built, counted, called.

    python -m venv build/hub && build/hub/bin/pip install -r requirements.txt keras-hub
    build/hub/bin/python bench/libraries.py           # prints the table and writes bench/libraries.csv

KerasHub succeeds KerasCV; the course does not need it, so it has an environment of its own. All networks are built from
arguments with random weights for 8 classes: nothing is downloaded.

Columns: ``output_stride`` is the image's height over that of the encoder's last map, ``output`` what comes back
(logits, or probabilities that add up to 1), ``sizes`` the sizes of images that one network takes and gives back, and
``unused`` counts trainable weights on which no output depends. ``call`` is what a user types.
"""

import csv
import importlib.metadata
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import ops

from seglib import models

NUM_CLASSES = 8
SIZE, WIDE, ODD = (128, 128), (128, 192), (125, 190)
RESNET50 = {"stackwise_num_filters": [64, 128, 256, 512], "stackwise_num_blocks": [3, 4, 6, 3]}
FIELDS = "library version model encoder parameters output_stride output sizes unused call".split()
CSV = Path(__file__).with_suffix(".csv")


def hub_deeplab(size):
    import keras_hub

    strides = {"stackwise_num_strides": [1, 2, 2, 2], "block_type": "bottleneck_block"}
    encoder = keras_hub.models.ResNetBackbone([64], [7], **RESNET50, **strides, use_pre_activation=True)
    backbone = keras_hub.models.DeepLabV3Backbone(
        encoder, "P5", 8, [6, 12, 18], low_level_feature_key="P2", image_shape=(*size, 3)
    )
    return keras_hub.models.DeepLabV3ImageSegmenter(backbone, NUM_CLASSES), encoder, encoder.pyramid_outputs["P5"]


def hub_segformer(size):
    import keras_hub

    encoder = keras_hub.models.MiTBackbone(
        image_shape=(*size, 3),
        num_layers=4,
        hidden_dims=[32, 64, 160, 256],
        layerwise_depths=[2, 2, 2, 2],
        layerwise_num_heads=[1, 2, 5, 8],
        layerwise_sr_ratios=[8, 4, 2, 1],
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        max_drop_path_rate=0.1,
    )
    backbone = keras_hub.models.SegFormerBackbone(encoder, projection_filters=256)
    return keras_hub.models.SegFormerImageSegmenter(backbone, NUM_CLASSES), encoder, encoder.pyramid_outputs["P4"]


def cv_deeplab(size):
    import keras_cv

    encoder = keras_cv.models.ResNetV2Backbone(
        stackwise_filters=RESNET50["stackwise_num_filters"],
        stackwise_blocks=RESNET50["stackwise_num_blocks"],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=True,
        input_shape=(*size, 3),
    )
    model = keras_cv.models.DeepLabV3Plus(backbone=encoder, num_classes=NUM_CLASSES)
    return model, encoder, encoder.get_layer(encoder.pyramid_level_inputs["P5"]).output


def cv_segformer(size):
    import keras_cv

    encoder = keras_cv.models.MiTBackbone(
        include_rescaling=True, depths=[2, 2, 2, 2], embedding_dims=[32, 64, 160, 256], input_shape=(*size, 3)
    )
    model = keras_cv.models.SegFormer(backbone=encoder, num_classes=NUM_CLASSES)
    return model, encoder, encoder.get_layer(encoder.pyramid_level_inputs["P4"]).output


def seglib_deeplab(size):
    model = models.deeplab_v3_plus((*size, 3), NUM_CLASSES, "resnet50")
    encoder = model.get_layer("encoder")
    return model, encoder, encoder.outputs[-1]


ROWS = (
    (
        "keras-hub",
        "DeepLabV3+",
        "ResNet-50 V2",
        hub_deeplab,
        "DeepLabV3ImageSegmenter(DeepLabV3Backbone(encoder, …), num_classes)",
    ),
    ("keras-cv", "DeepLabV3+", "ResNet-50 V2", cv_deeplab, "DeepLabV3Plus(encoder, num_classes)"),
    ("seglib", "DeepLabV3+", "ResNet-50", seglib_deeplab, "deeplab_v3_plus(input_shape, num_classes, encoder)"),
    (
        "keras-hub",
        "SegFormer",
        "MiT-B0",
        hub_segformer,
        "SegFormerImageSegmenter(SegFormerBackbone(encoder, …), num_classes)",
    ),
    ("keras-cv", "SegFormer", "MiT-B0", cv_segformer, "SegFormer(encoder, num_classes)"),
)


def takes(build, built_for, size):
    """Whether a network that was built for one size gives an image of another one its own size back."""
    try:
        model, *_ = build(built_for)
        return tuple(model(np.zeros((1, *size, 3), np.float32)).shape[1:3]) == size
    except Exception:  # whatever a library raises on a size that it does not take
        return False


def sizes_taken(build):
    """The widest kind of sizes of which a 125×190, a 128×192 or a 128×128 image is one."""
    if takes(build, (None, None), ODD):
        return "any"
    if takes(build, (None, None), WIDE):
        return "multiples of 32"
    return "one, multiples of 32" if takes(build, WIDE, WIDE) else "one, square"


def measure(build):
    """Parameters, output stride, kind of output, sizes, unused weights of one network."""
    keras.utils.clear_session()
    model, encoder, last = build(SIZE)
    output = ops.convert_to_numpy(model(np.random.default_rng(0).uniform(0, 255, (1, *SIZE, 3)).astype("float32")))
    maps = keras.Model(encoder.inputs, last)([np.zeros((1, *SIZE, 3), np.float32)])
    used = {id(variable) for variable in keras.Model(model.inputs, model.outputs).trainable_variables}
    unused = sum(int(np.prod(v.shape)) for v in encoder.trainable_variables if id(v) not in used)
    kind = "probabilities" if np.allclose(output.sum(-1), 1, atol=1e-3) else "logits"
    return model.count_params(), SIZE[0] // maps.shape[1], kind, sizes_taken(build), unused


def main():
    rows = []
    for library, name, encoder, build, call in ROWS:
        version = "here" if library == "seglib" else importlib.metadata.version(library)
        rows.append(dict(zip(FIELDS, (library, version, name, encoder, *measure(build), call), strict=True)))
        print(*rows[-1].values(), sep=" · ")
    with CSV.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
