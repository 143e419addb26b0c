"""Mixtures of the images of a batch that are right for masks: each pixel comes whole from one image, with its label."""

import keras
from keras import ops

from seglib.augment.geometry import draw_rectangle
from seglib.augment.layer import Random


class Mixture(Random):
    """What the mixtures share: partners, and taking image and mask together from a region of theirs.

    Args:
        chance: how probable it is that an image is mixed at all.
        ignore_id: the id of void pixels.
        seed: of the layer's own generator, for calls without a seed.

    A batch of one has no partners and stays as it is.
    """

    def __init__(self, chance=0.5, ignore_id=255, seed=None, **kwargs):
        super().__init__(ignore_id, seed, **kwargs)
        if not 0 <= chance <= 1:
            raise ValueError(f"chance must lie in 0–1, got {chance}")
        self.chance = chance

    def get_config(self):
        return {**super().get_config(), "chance": self.chance}

    def paste(self, images, masks, theirs, region):
        """The pairs ``theirs`` laid over the batch where ``region`` (batch, height, width) is true."""
        return ops.where(region[..., None], theirs[0], images), ops.where(region, theirs[1], masks)

    def chosen(self, draws):
        """Which images are mixed: (batch, 1, 1) bool."""
        return draws.happens(type(self).__name__, self.chance)[:, None, None]


def draw_partner(images, masks, draws, name):
    """Another pair of the batch for each of its pairs."""
    count = ops.shape(images)[0]
    steps = ops.cast(draws.uniform(name) * ops.cast(count - 1, "float32"), "int32")  # 0 … count − 2 places further on
    partner = (ops.arange(count, dtype="int32") + 1 + steps) % ops.maximum(count, 1)
    return ops.take(images, partner, axis=0), ops.take(masks, partner, axis=0)


@keras.saving.register_keras_serializable("seglib")
class CutMix(Mixture):
    """A rectangle of another image of the batch, pasted in its own place with its mask (Yun et al. 2019).

    The paper mixes one label an image by area; here each pixel keeps its own.

    Args:
        largest: the longest that the rectangle's sides may be, as a share of the image's.
    """

    def __init__(self, largest=0.7, **kwargs):
        super().__init__(**kwargs)
        if not 0 < largest <= 1:
            raise ValueError(f"largest must lie in 0–1, got {largest}")
        self.largest = largest

    def change(self, images, masks, draws):
        region = draw_rectangle(draws, ops.shape(images)[1:3], self.largest)
        return self.paste(images, masks, draw_partner(images, masks, draws, "partner"), region & self.chosen(draws))

    def get_config(self):
        return {**super().get_config(), "largest": self.largest}


@keras.saving.register_keras_serializable("seglib")
class Mosaic(Mixture):
    """Four images around a random point, each in its own place (after Bochkovskiy et al. 2020, who shrink them too)."""

    def change(self, images, masks, draws):
        height, width = (ops.cast(n, "float32") for n in ops.shape(images)[1:3])
        y = ops.arange(ops.shape(images)[1], dtype="float32")[None, :, None]
        x = ops.arange(ops.shape(images)[2], dtype="float32")[None, None, :]
        below = y >= (height * draws.uniform("row", 0.25, 0.75))[:, None, None]
        right = x >= (width * draws.uniform("column", 0.25, 0.75))[:, None, None]
        mixed = images, masks
        for name, quarter in (("right", ~below & right), ("below", below & ~right), ("both", below & right)):
            theirs = draw_partner(images, masks, draws, name)
            mixed = self.paste(*mixed, theirs, quarter & self.chosen(draws))
        return mixed


@keras.saving.register_keras_serializable("seglib")
class CopyPaste(Mixture):
    """All pixels of some classes, copied in their place from another image of the batch (Ghiasi et al. 2021).

    Meant for rare classes of things that stand before the others, such as people and poles. The other image is one of
    those that have some, perhaps the image itself. The paper copies instances; masks of classes do not know them.

    Args:
        ids: the class ids to copy.
    """

    def __init__(self, ids, **kwargs):
        super().__init__(**kwargs)
        self.ids = [int(i) for i in ids]
        if not self.ids or self.ignore_id in self.ids or min(self.ids) < 0:
            raise ValueError(f"ids must be class ids without the ignore id {self.ignore_id}, got {self.ids}")

    def change(self, images, masks, draws):
        wanted = ops.any(ops.cast(masks, "int32")[..., None] == ops.convert_to_tensor(list(self.ids), "int32"), axis=-1)
        has = ops.cast(ops.any(wanted, axis=(1, 2)), "int32")
        givers = ops.argsort(1 - has)  # those that have some come first
        which = ops.cast(draws.uniform("giver") * ops.cast(ops.sum(has), "float32"), "int32")
        partner = ops.take(givers, which, axis=0)
        images_of, masks_of, region = (ops.take(x, partner, axis=0) for x in (images, masks, wanted))
        return self.paste(images, masks, (images_of, masks_of), region & self.chosen(draws))

    def get_config(self):
        return {**super().get_config(), "ids": self.ids}
