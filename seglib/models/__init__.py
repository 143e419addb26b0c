"""Segmentation models: images of 0–255 in, logits of the same height and width out."""

from seglib.models.deeplab import ENCODERS, deeplab_v3_plus
from seglib.models.dilation import dilate
from seglib.models.fully_convolutional import BACKBONES, VGG_MEAN, Backbone, fcn
from seglib.models.u_net import check_valid_size, unet

__all__ = [
    "BACKBONES",
    "ENCODERS",
    "VGG_MEAN",
    "Backbone",
    "check_valid_size",
    "deeplab_v3_plus",
    "dilate",
    "fcn",
    "unet",
]
