"""Image and mask files: read whatever their kind, checked, resized, written so that nothing is lost."""

from seglib.images.reading import (
    EXTENSIONS,
    MAX_PIXELS,
    ImageError,
    Values,
    open_image,
    read_image,
    read_mask,
    read_size,
    read_values,
)
from seglib.images.resizing import resize_image, resize_mask
from seglib.images.writing import write_mask, write_tiff, written_whole

__all__ = [
    "EXTENSIONS",
    "MAX_PIXELS",
    "ImageError",
    "Values",
    "open_image",
    "read_image",
    "read_mask",
    "read_size",
    "read_values",
    "resize_image",
    "resize_mask",
    "write_mask",
    "write_tiff",
    "written_whole",
]
