"""Segmentation models: images of 0–255 in, logits of the same height and width out."""

from seglib.models.deeplab import deeplab_v3_plus
from seglib.models.efficientnet_lite import efficientnet_lite0
from seglib.models.encoders import ENCODERS, build_encoder, dilate
from seglib.models.fully_convolutional import BACKBONES, fcn
from seglib.models.prompts import promptable
from seglib.models.segformer import VARIANTS, segformer
from seglib.models.u_net import unet
