"""Draws the README's picture: a street that no training has seen, what the U-Net says of it, and one over the other.

python bench/front.py    # writes front.png and the street alone, street.png, into notebooks/figures/
"""

from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from seglib import checkpoints, predict, viz
from seglib.datasets.streets import LABELS, SIZES, draw_scene

SCENE = 30_006  # from 30,000 on, streets are in no split
OUT = Path(__file__).resolve().parents[1] / "notebooks" / "figures" / "front.png"


def draw(scene=SCENE):
    """A figure of three pictures: image, prediction, overlay."""
    image = draw_scene(scene, *SIZES["full"]).image
    model = checkpoints.load("unet")
    mask = predict.segment(model, image, checkpoints.CHECKPOINTS["unet"].size)
    pictures = {"image": image, "prediction": LABELS.to_rgb(mask), "overlay": viz.overlay(image, mask, LABELS)}
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
        axis.imshow(picture)
        axis.set_title(title)
        axis.axis("off")
    viz.add_legend(figure, LABELS, [mask])
    return figure


if __name__ == "__main__":
    draw().savefig(OUT, dpi=100)
    Image.fromarray(draw_scene(SCENE, *SIZES["small"]).image).save(OUT.with_name("street.png"))
    print(OUT.name)
