"""Writing masks so that nothing is lost, half-written or overwritten."""

import contextlib
import os
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

from seglib.images.reading import ImageError


def write_mask(path, mask, labels, notes=None):
    """Writes ids as a palette PNG: viewers show the classes' colours, programs read the ids, nothing is lost.

    The file is written beside its place and then moved there, so that what is found under ``path`` is whole.

    Args:
        path: where to; ``.png``.
        mask: (height, width) uint8 ids.
        labels: a :class:`~seglib.labels.LabelMap`, whose colours become the palette.
        notes: mapping from names to texts that are kept in the file; Pillow gives them as ``Image.open(path).text``.

    Raises:
        FileExistsError: there is a file already. It is left as it is.
        ImageError: another ending, or ids that are not uint8.
    """
    path, mask = Path(path), np.asarray(mask)
    if path.suffix.lower() != ".png":
        raise ImageError(f"{path}: a mask is written as .png, which loses nothing; got {path.suffix or 'no ending'!r}")
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ImageError(f"{path}: a mask is (height, width) uint8, got {mask.shape} {mask.dtype}")
    picture = Image.fromarray(mask)
    picture.putpalette(labels.palette.tobytes())
    texts = PngImagePlugin.PngInfo()
    for name, text in (notes or {}).items():
        texts.add_text(name, text)
    with written_whole(path) as beside:
        picture.save(beside, format="PNG", pnginfo=texts)


def write_tiff(path, strips, size, labels):
    """Writes ids as an uncompressed palette TIFF, strip by strip, so that a mask need not fit into memory.

    Args:
        path: where to; ``.tif`` or ``.tiff``.
        strips: iterable of (rows, width) uint8 ids, from top to bottom, which make up ``size``.
        size: ``(height, width)`` of the mask.
        labels: a :class:`~seglib.labels.LabelMap`, whose colours become the palette.

    Returns:
        (height, width) uint8, the ids in the file, mapped into memory for reading.

    Raises:
        FileExistsError: there is a file already. It is left as it is.
        ImageError: another ending, or over 4 GiB, which the format cannot hold.
        OSError: it cannot be written, as on a full disk.
    """
    path, (height, width) = Path(path), size
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise ImageError(f"{path}: a mask is written strip by strip as .tif, got {path.suffix or 'no ending'!r}")
    if height * width >= 2**32 - 2**16:
        raise ImageError(f"{path}: {height}×{width} ids are over 4 GiB, more than a TIFF holds")
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[256], tags[257], tags[258] = width, height, 8
    tags[259], tags[262], tags[277] = 1, 3, 1  # not compressed, with a palette, one value a pixel
    tags[278], tags[279] = height, height * width  # one strip: its rows and bytes
    tags[273] = 0  # which lie right behind these tags
    tags[320] = tuple(int(value) * 257 for value in labels.palette.T.ravel())
    with written_whole(path) as beside, open(beside, "wb") as file:
        offset = tags.save(file)
        for strip in strips:
            if strip.dtype != np.uint8:
                raise ImageError(f"{path}: a mask is uint8, got {strip.dtype}")
            file.write(np.ascontiguousarray(strip).data)
    return np.memmap(path, np.uint8, "r", offset, (height, width))


@contextlib.contextmanager
def written_whole(path):
    """Gives a path beside ``path`` to write to, and moves what was written there when the block ends well.

    What is found under ``path`` is whole, whenever the program ends. If the block fails, nothing is left behind.

    Raises:
        FileExistsError: ``path`` is there already. It is left as it is.
        OSError: it cannot be written, as on a full disk.
    """
    path = Path(path)
    # The same name the next time, so that nothing piles up; short, as names end at 255 bytes.
    beside = path.with_name(f".{zlib.crc32(os.fsencode(path.name)):08x}.part{path.suffix}")
    if path.exists():
        raise FileExistsError(f"{path} is there already, and nothing is overwritten; delete it, or write elsewhere")
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        raise OSError(error.errno, f"{path} could not be written: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)
