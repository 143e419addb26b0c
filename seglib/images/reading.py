"""Reading image and mask files: every odd kind becomes the one form that the course works with."""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm")

# Beyond this, some 13,000 × 13,000, Pillow takes a file for a decompression bomb.
MAX_PIXELS = 2 * Image.MAX_IMAGE_PIXELS


_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")


class ImageError(ValueError):
    """A file that cannot be used; the message names the file, what was found and what was wanted."""


def open_image(source):
    """A photograph as an upright RGB ``PIL.Image``; everything else as :func:`read_image`, which see."""
    picture = _open(source)
    if picture.mode in _SIXTEEN_BITS or (picture.mode, picture.format) == ("I", "PPM"):
        grey = np.asarray(picture).astype(np.float64)
        return Image.fromarray((grey / 257).round().astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        raise ImageError(
            f"{_name(source)}: a {picture.mode!r} image of 32-bit values has no agreed range; wanted 8 or 16 bits"
        )
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


def read_image(source):
    """Reads a photograph in the orientation in which it is meant to be seen.

    Args:
        source: a file of any kind in ``EXTENSIONS``, as its path, its bytes or the ``PIL.Image`` that was opened from
            it. EXIF orientation is applied, an alpha channel dropped, a palette looked up, grey repeated to three
            channels, 16 bits scaled to 8 by ``value / 257``; of an animation the first frame is read.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ImageError: missing, unreadable or truncated, over ``MAX_PIXELS``, or of a mode that is no photograph
            (32-bit and float files have no agreed range).
    """
    return np.asarray(open_image(source))


def read_mask(path):
    """Reads a mask of ids: grey or palette indices, as they are stored; never colours.

    Args:
        path: a lossless grey or palette file of 1, 2, 4 or 8 bits, or of 16 bits with values up to 255. EXIF
            orientation is applied.

    Returns:
        (height, width) uint8.

    Raises:
        ImageError: missing, unreadable, stored with loss (JPEG would invent ids), 16-bit ids over 255, or
            RGB: whoever painted it must say which colour is which class (``LabelMap.from_rgb``).
    """
    picture = _open(path)
    if picture.info["lossy"]:
        raise ImageError(f"{path}: a mask stored as JPEG has ids that nobody drew; wanted a lossless file such as PNG")
    if picture.mode not in ("1", "L", "P", *_SIXTEEN_BITS, "I"):
        raise ImageError(
            f"{path}: a mask holds one id per pixel, found mode {picture.mode}; "
            "wanted a grey or palette file (a painted mask is converted with LabelMap.from_rgb)"
        )
    ids = _unstretch(np.asarray(picture), picture)
    if ids.size and (ids.min() < 0 or ids.max() > 255):
        raise ImageError(f"{path}: a mask holds ids 0–255, found {int(ids.min())}–{int(ids.max())}")
    return ids.astype(np.uint8)


@dataclass(frozen=True)
class Values:
    """What a mask file holds, before anybody says what it means.

    Attributes:
        pixels: (height, width) uint8 or uint16 grey values or palette indices, or (height, width, 3) uint8 colours.
        palette: (n, 3) uint8 colours of the indices; None if the pixels are no indices.
        lossy: whether it was stored with loss (JPEG, and WebP and TIFF of that kind).
    """

    pixels: np.ndarray
    palette: np.ndarray | None
    lossy: bool

    def in_colour(self):
        """(height, width, 3) uint8: indices looked up, grey repeated (16 bits: only values up to 255)."""
        if self.palette is not None:
            return self.palette[self.pixels]
        return self.pixels if self.pixels.ndim == 3 else np.repeat(self.pixels.astype(np.uint8)[..., None], 3, axis=-1)


def read_values(path):
    """Reads whatever a mask file holds, without judging it.

    A palette of PNG or TIFF numbers the classes, so its indices are the values. Writers of GIF and BMP order the
    palette as they like, so there the colours are the values. Colours that are all grey become grey values. Alpha is
    dropped, unless there is a single colour, so that only alpha can be the mask. EXIF orientation is applied.

    Returns:
        :class:`Values`.

    Raises:
        ImageError: missing, unreadable or truncated, or values that are no whole numbers in 0–65535.
    """
    picture, palette = _open(path), None
    lossy = picture.info["lossy"]
    if picture.mode == "P" and picture.info["format"] in ("PNG", "TIFF"):
        palette = np.zeros((256, 3), np.uint8)
        colours = np.reshape(picture.getpalette("RGB"), (-1, 3))
        palette[: len(colours)] = colours
    elif picture.mode not in ("1", "L", "I", "F", *_SIXTEEN_BITS):
        picture = _drop_alpha(picture)
    pixels = _unstretch(np.asarray(picture), picture)
    if pixels.dtype.kind == "f" or pixels.dtype.itemsize > 2:
        pixels = _whole(pixels, path)
    elif pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    if pixels.ndim == 3 and np.ptp(pixels, axis=-1).max(initial=0) <= (16 if lossy else 0):
        pixels = pixels[..., 1]
    return Values(pixels, palette, lossy)


def read_size(path):
    """``(height, width)`` of an image file after its EXIF orientation, from the header alone.

    Raises:
        ImageError: missing or no image.
    """
    with _opened(path) as picture:
        width, height = picture.size
        try:  # a PNG's own method would decode the picture; of a TIFF Pillow tells the upright size
            turned = picture.format != "TIFF" and Image.Image.getexif(picture).get(0x0112, 1) in (5, 6, 7, 8)
        except Exception as error:
            raise ImageError(f"{path}: damaged or truncated: {error}") from error
    return (width, height) if turned else (height, width)


def _drop_alpha(picture):
    colours = picture.convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA") and colours.getcolors(1):
        alpha = picture.convert("RGBA").getchannel("A")
        if not alpha.getcolors(1):
            return alpha
    return colours


def _whole(pixels, path):
    if pixels.size and 0 <= pixels.min() and pixels.max() <= 65535:
        whole = pixels.astype(np.uint16)
        if np.array_equal(whole, pixels):
            return whole
    raise ImageError(f"{path}: values {pixels.min():g}–{pixels.max():g}; wanted whole numbers in 0–65535")


def _opened(source):
    name, file = _name(source), io.BytesIO(source) if isinstance(source, bytes) else Path(source)
    if isinstance(file, Path) and not file.is_file():
        raise ImageError(f"{name}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # from half of the limit on
            picture = Image.open(file)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: more than {MAX_PIXELS} pixels, refused as a likely bomb: {error}") from error
    except Exception as error:
        size = len(source) if isinstance(source, bytes) else file.stat().st_size
        raise ImageError(f"{name}: not an image that can be read ({size} bytes): {error}") from error
    return _refuse_bomb(picture, name)


def _open(source):
    if isinstance(source, Image.Image):  # somebody has opened it, and may want it as it was
        picture = _upright(_refuse_bomb(source, _name(source)), source)
        picture.format = source.format  # of which a copy knows nothing
        return picture
    with _opened(source) as picture:
        info = {"format": picture.format, "lossy": _is_lossy(picture, source), "stretch": _stretch(picture, source)}
        picture = _upright(picture, source)
    picture.info.update(info)
    return picture


def _upright(picture, source):
    """The picture's first frame, decoded, turned as EXIF says."""
    try:
        _refuse_stack(picture, source)
        picture.load()
        # In place gives None, and saves a copy of every file that is read; what somebody else opened stays as it is.
        return ImageOps.exif_transpose(picture, in_place=picture is not source) or picture
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{_name(source)}: damaged or truncated: {error}") from error


def _name(source):
    if isinstance(source, bytes):
        return f"an image of {len(source)} bytes"
    return "the image" if isinstance(source, Image.Image) else source


def _head(source, count):
    if isinstance(source, bytes):
        return source[:count]
    with open(source, "rb") as file:
        return file.read(count)


def _refuse_bomb(picture, name):
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name}: {width}×{height} pixels are more than {MAX_PIXELS}; refused as a likely bomb")
    return picture


def _refuse_stack(picture, source):
    """Refuses a TIFF of several pages of one size; a smaller second page is a preview and harmless."""
    if picture.format == "TIFF" and picture.n_frames > 1:
        size = picture.size
        picture.seek(1)
        second = picture.size
        picture.seek(0)
        if second == size:
            raise ImageError(f"{_name(source)}: a stack of {picture.n_frames} pages; wanted one picture a file")


def _is_lossy(picture, source):
    if picture.format == "WEBP":  # the chunk of a lossless picture is called VP8L, of a lossy one "VP8 "
        return b"VP8L" not in _head(source, 4096)
    return picture.format == "JPEG" or "jpeg" in str(picture.info.get("compression"))


def _stretch(picture, source):
    """``(highest value read, highest value stored)``: Pillow spreads the grey values of some files; None for others."""
    if picture.format == "PNG" and picture.mode == "L":  # byte 24 of the file is its bit depth
        return {2: (255, 3), 4: (255, 15)}.get(_head(source, 25)[24])
    if picture.format == "PPM" and picture.mode in ("L", "I") and isinstance(picture.tile[0][3], tuple):
        return (255 if picture.mode == "L" else 65535), picture.tile[0][3][1]
    return None


def _unstretch(values, picture):
    if picture.info["stretch"] is None:
        return values
    high, stored = picture.info["stretch"]
    return np.rint(values * (stored / high)).astype(values.dtype)
