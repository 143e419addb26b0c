"""One field of view, from its plan to its image, mask, instances and border map."""

import math
from dataclasses import dataclass

import numpy as np

from seglib.datasets.cells import light, touch
from seglib.datasets.cells.plan import MARGIN, plan_scene
from seglib.labels import LabelMap

LABELS = LabelMap(("background", "cell"), ((77, 77, 77), (230, 159, 0)))
"""The two classes of the masks; there is no void."""

SIZES = {"tiny": (96, 96), "small": (192, 192), "full": (384, 384)}
"""Height and width of each config."""

LINE = 1 / 110
"""The background drawn between two touching cells is this wide, as a fraction of the field's side, or one pixel."""

SMALLEST = 1 / 1800
"""Less of a cell than this fraction of the image, at the frame, is background."""


@dataclass(frozen=True)
class Drawing:
    """One drawn field of view.

    Attributes:
        image: (height, width, 3) uint8, grey: three equal channels.
        mask: (height, width) uint8, 0 background and 1 cell. A thin line of background runs between touching cells.
        instances: (height, width) uint16, 0 for background, 1 … n for the cells: the connected pieces of the mask
            (whether or not corners connect), so that a cell of which the frame shows two ends counts twice.
        border: (height, width) uint8, :func:`~seglib.datasets.cells.border_map` with σ = ``SIGMA`` · height.
    """

    image: np.ndarray
    mask: np.ndarray
    instances: np.ndarray
    border: np.ndarray


def draw_cells(seed, height, width):
    """Draws the field of view number ``seed``; the same cells at any size.

    Args:
        seed: int ≥ 0. height, width: in pixels, from 32; the scenes are composed for squares, others stretch them.

    Returns:
        a :class:`Drawing`.

    Raises:
        ValueError: a negative seed, or fewer than 32 pixels, in which lines between cells have no room.
    """
    if seed < 0 or min(height, width) < 32:
        raise ValueError(f"cells need a seed from 0 and 32 pixels or more, got seed {seed}, {height}×{width}")
    scene = plan_scene(seed)
    margin = math.ceil(MARGIN * height), math.ceil(MARGIN * width)
    y = (np.arange(-margin[0], height + margin[0]) + 0.5) / height
    x = (np.arange(-margin[1], width + margin[1]) + 0.5) / width
    owner, best, second = touch.compete([cell.outline for cell in scene.cells], y, x)
    thickness = light.draw_thickness(scene, owner, best, second, y, x) + light.draw_flecks(scene, y, x)
    grey = light.look(thickness, scene, height, width, margin)

    seen = slice(margin[0], margin[0] + height), slice(margin[1], margin[1] + width)
    apart = (best - second < LINE)[seen]
    instances = touch.separate(owner[seen], apart, SMALLEST * height * width)
    border = touch.border_map(instances, touch.SIGMA * height)
    return Drawing(np.repeat(grey[..., None], 3, axis=2), (instances > 0).astype(np.uint8), instances, border)
