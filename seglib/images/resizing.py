"""Images and masks of another size."""

import numpy as np
from PIL import Image


def resize_image(image, size):
    """Resizes an image bilinearly with antialiasing: a new pixel averages all the pixels that fall into it.

    Args:
        image: (h, w, 3) uint8, or what :func:`open_image` gives.
        size: ``(height, width)`` wanted.

    Returns:
        (height, width, 3) uint8.
    """
    height, width = size
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def resize_mask(mask, size):
    """Resizes a mask by nearest neighbour, so that every id of the result stood in it.

    Args:
        mask: (h, w) uint8.
        size: ``(height, width)`` wanted.

    Returns:
        (height, width) uint8.
    """
    height, width = size
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
