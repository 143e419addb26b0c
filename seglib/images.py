"""Image and mask files of every kind: read, checked, resized, and written without loss."""

import contextlib
import io
import logging
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, ImageSequence, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm")
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)  # it logs what it then raises
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_CHOOSE = "Save three bands as RGB: Image.fromarray(np.uint8(bands[..., [0, 1, 2]])), bands = tifffile.imread(path)"
_STRETCH = "low, high = np.percentile(x, (1, 99)); save np.uint8(np.clip((x - low) / (high - low), 0, 1) * 255)"


class ImageError(ValueError):
    """A file that cannot be used; the message names the file, what was found and what was wanted."""


def open_image(source):
    """What :func:`read_image` reads, from the same sources and with the same errors, as an RGB ``PIL.Image``."""
    picture = _open(source)
    if picture.mode in _SIXTEEN_BITS or (picture.mode, picture.info["format"]) == ("I", "PPM"):
        grey = np.asarray(picture).astype(np.float64)
        return Image.fromarray((grey / 257).round().astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        raise ImageError(f"{_name(source)}: 32-bit values have no agreed range; wanted 8 or 16 bits; {_STRETCH}")
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
        ImageError: missing, unreadable or truncated, of so many pixels (some 13,000 × 13,000) that Pillow takes it for
            a decompression bomb, or of 32-bit or float values, which have no agreed range.
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
            RGB: only ``LabelMap.from_rgb`` knows which colour is which class.
    """
    picture = _open(path)
    if picture.info["lossy"]:
        raise ImageError(f"{path}: a mask stored with loss, like JPEG, has invented ids; save it as PNG")
    if picture.mode not in ("1", "L", "P", *_SIXTEEN_BITS, "I"):
        wanted = "wanted a grey or palette file (a painted mask is converted with LabelMap.from_rgb)"
        raise ImageError(f"{path}: a mask holds one id per pixel, found mode {picture.mode}; {wanted}")
    ids = _to_array(picture)
    if ids.size and (ids.min() < 0 or ids.max() > 255):
        raise ImageError(f"{path}: a mask holds ids 0–255, found {int(ids.min())}–{int(ids.max())}")
    return ids.astype(np.uint8)


class Values(NamedTuple):
    """What a mask file holds."""

    pixels: np.ndarray  # (height, width) uint8 or uint16 grey values or indices, or (height, width, 3) uint8 colours
    palette: np.ndarray | None  # (n, 3) uint8 colours of the indices; None if the pixels are no indices
    lossy: bool  # whether it was stored with loss (JPEG, and WebP and TIFF of that kind)

    def in_colour(self):
        """(height, width, 3) uint8: indices looked up, grey repeated (16 bits: only values up to 255)."""
        if self.palette is not None:
            return self.palette[self.pixels]
        return self.pixels if self.pixels.ndim == 3 else np.repeat(self.pixels.astype(np.uint8)[..., None], 3, axis=-1)


def read_values(path):
    """Reads whatever a mask file holds, without judging it.

    Of a palette, the values are the indices in PNG and TIFF, but the colours in GIF and BMP, whose writers order it as
    they like. Colours that are all grey become grey values. Alpha is dropped, unless there is a single colour, so that
    only alpha can be the mask. EXIF orientation is applied.

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
        colours = picture.convert("RGB")
        has_alpha = picture.mode in ("RGBA", "LA", "PA") and not picture.getchannel("A").getcolors(1)
        picture = picture.getchannel("A") if has_alpha and colours.getcolors(1) else colours
    pixels = _to_array(picture)
    if pixels.dtype != np.uint8:
        with np.errstate(invalid="ignore"):  # of NaN, which equals nothing
            whole = pixels.astype(np.uint8 if pixels.dtype == bool else np.uint16)
        if not np.array_equal(whole, pixels):
            raise ImageError(f"{path}: values {pixels.min():g}–{pixels.max():g}; wanted whole numbers in 0–65535")
        pixels = whole
    if pixels.ndim == 3 and np.ptp(pixels, axis=-1).max(initial=0) <= (16 if lossy else 0):
        pixels = pixels[..., 1]
    return Values(pixels, palette, lossy)


def read_binary(path):
    """Where a binary mask file is not 0: (height, width) bool."""
    stored = read_values(path)
    values = stored.pixels
    if values.ndim == 3:
        values = values.astype(np.int32) @ (1 << 16, 1 << 8, 1)
    if ((values != 0) & (values != values.max())).any():
        levels = np.unique(values)
        why = "; it is stored with loss, as JPEG is, which invents values" if stored.lossy else ""
        raise ImageError(f"{path}: found {len(levels)} values, wanted two: 0 outside, one other inside{why}")
    return values > 0


def describe_losses(paths):
    """What :func:`read_image` drops of eight of the images in silence, in words: a list of one sentence or none."""
    for path in dict.fromkeys(paths[round(i)] for i in np.linspace(0, len(paths) - 1, 8)):
        bands, bits, _ = _read_layout(path)
        with contextlib.suppress(ImageError):
            picture = _open(path) if bands == 4 else None
            if picture and (picture.mode != "RGBA" or not picture.getchannel("A").getcolors(1)):
                dropped = "band 4 of 4 is dropped as if it were alpha (transparency); is it near infra-red?"
                return [f"warning: {path}: {dropped} {_CHOOSE}"]
            if bits == 16 and (brightest := int(read_image(path).max())) < 64:
                return [f"warning: {path}: 16 bits become 0–{brightest} of 0–255; stretch them first: {_STRETCH}"]
    return []


def _read_layout(path):
    """``(bands, bits, is float)`` as the header of a PNG or TIFF says, which Pillow may not tell; of others zeros."""
    with contextlib.suppress(Exception), open(path, "rb") as file:
        head = file.read(26)
        if head[:4] == b"\x89PNG":
            return {2: 3, 6: 4}.get(head[25], 1), head[24], False
        tags = TiffImagePlugin.ImageFileDirectory_v2(head[: 16 if 43 in head[2:4] else 8])  # 43: a BigTIFF
        file.seek(tags.next)
        tags.load(file)
        return tags.get(277, 1), tags.get(258, (1,))[0], tags.get(339, (1,))[0] == 3
    return 0, 0, False


def read_size(path):
    """``(height, width)`` of an image file after its EXIF orientation, from the header alone; or an ImageError."""
    with _opened(path) as picture:
        width, height = picture.size
        # A PNG's own method would decode the picture; of a TIFF Pillow tells the upright size.
        turned = picture.format != "TIFF" and Image.Image.getexif(picture).get(0x0112, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def to_size(size):
    """The ``(height, width)`` that a size must be, as two ints of 1 or more; a ValueError if it is anything else."""
    numbers = np.asarray(size)
    if numbers.shape != (2,) or numbers.dtype.kind not in "iu" or numbers.min() < 1:
        raise ValueError(f"size must be two whole numbers (height, width), such as (64, 96); got {size!r}")
    return tuple(numbers.tolist())


def resize_image(image, size):
    """Resizes bilinearly with antialiasing: a new pixel averages all the pixels that fall into it.

    An (h, w, 3) uint8 array or ``PIL.Image``, and the ``size = (height, width)`` wanted → (height, width, 3) uint8.
    """
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))


def resize_mask(mask, size):
    """Resizes a mask by nearest neighbour, so that every id of the result stood in it.

    (h, w) uint8, and the ``size = (height, width)`` wanted → (height, width) uint8.
    """
    return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))


def write_mask(path, mask, labels, notes=None):
    """Writes ids as a palette PNG: viewers show the classes' colours, programs read the ids, nothing is lost.

    Args:
        path: where to; ``.png``.
        mask: (height, width) uint8 ids.
        labels: a :class:`~seglib.labels.LabelMap`, whose colours become the palette.
        notes: mapping from names to texts that are kept in the file; Pillow gives them as ``Image.open(path).text``.

    Raises:
        FileExistsError: there is a file already.
        ImageError: another ending, or ids that are not (height, width) uint8.
        OSError: it cannot be written, as on a full disk; nothing is left behind.
    """
    mask = np.asarray(mask)
    if mask.dtype != np.uint8 or mask.ndim != 2:
        way = "say mask.squeeze(-1)" if mask.shape[-1:] == (1,) else "of one-hot say mask.argmax(-1)"
        found = f"{mask.shape} {mask.dtype}{f'; {way}' if mask.ndim == 3 else ''}"
        raise ImageError(f"{path}: a mask is (height, width) uint8, got {found}")
    picture = Image.fromarray(mask)
    picture.putpalette(labels.palette.tobytes())
    texts = PngImagePlugin.PngInfo()
    for name, text in (notes or {}).items():
        texts.add_text(name, text)
    with _written_whole(path, ".png") as beside:
        picture.save(beside, format="PNG", pnginfo=texts)


def write_tiff(path, strips, size, labels):
    """Writes ids as an uncompressed palette TIFF, strip by strip, so that a mask need not fit into memory.

    Args:
        path: where to; ``.tif`` or ``.tiff``.
        strips, size: iterable of (rows, width) uint8 ids, from top to bottom, which make up ``(height, width)``.
        labels: a :class:`~seglib.labels.LabelMap`, whose colours become the palette.

    Returns:
        (height, width) uint8, the ids in the file, mapped into memory for reading.

    Raises:
        FileExistsError, OSError: as by :func:`write_mask`.
        ImageError: another ending, or over 4 GiB, which the format cannot hold.
    """
    height, width = size
    if height * width >= 2**32 - 2**16:
        raise ImageError(f"{path}: {height}×{width} ids are over 4 GiB, more than a TIFF holds")
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.update({256: width, 257: height, 258: 8, 259: 1, 262: 3, 277: 1})  # 8 bits, not compressed, with a palette
    tags.update({273: 0, 278: height, 279: height * width})  # one strip right behind these tags: its rows and bytes
    tags[320] = tuple(int(value) * 257 for value in labels.palette.T.ravel())
    with _written_whole(path, ".tif", ".tiff") as beside, open(beside, "wb") as file:
        offset = tags.save(file)
        for strip in strips:
            if strip.dtype != np.uint8:
                raise ImageError(f"{path}: a mask is uint8, got {strip.dtype}")
            file.write(np.ascontiguousarray(strip).data)
    return np.memmap(path, np.uint8, "r", offset, (height, width))


@contextlib.contextmanager
def _written_whole(path, *endings):
    """Gives a path beside ``path`` to write to, whose file is moved when the block ends well, else deleted."""
    path = Path(path)
    if path.suffix.lower() not in endings:
        raise ImageError(f"{path}: a mask is written as {endings[0]} here, got {path.suffix or 'no ending'!r}")
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


@contextlib.contextmanager
def _opened(source):
    """The ``PIL.Image`` of a path, bytes or an opened one; all that goes wrong with it becomes an ``ImageError``."""
    name, picture = _name(source), source
    try:
        if not isinstance(source, Image.Image):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # from half of Pillow's limit on
                picture = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        with contextlib.nullcontext() if picture is source else picture:
            yield picture
    except ImageError:
        raise
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ImageError(f"{name}: no such file") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: {error} If you trust it, raise PIL.Image.MAX_IMAGE_PIXELS") from error
    except UnidentifiedImageError as error:
        bands, bits, is_float = _read_layout(source)
        found = f"{bands} bands of {bits}-bit {'floats' if is_float else 'integers'}; wanted up to 4 of 8 or 16 bits"
        way = f"{found}: {_CHOOSE}{f'; {_STRETCH}' if is_float else ''}"
        raise ImageError(f"{name}: {way if bands else 'not an image that can be read'}") from error
    except Exception as error:
        raise ImageError(f"{name}: damaged or truncated: {error}") from error


def _open(source):
    """The first frame, decoded and turned as EXIF says; its ``info`` tells how its values were stored."""
    with _opened(source) as picture:
        info = {"format": picture.format}
        if picture is not source:
            info |= {"lossy": _is_lossy(picture), "scale": _find_scale(picture)}
        if picture.format == "TIFF" and picture.n_frames > 1:
            first, second, *_ = [page.size for page in ImageSequence.Iterator(picture)]
            picture.seek(0)
            if first == second:  # a smaller second page is a preview and harmless
                raise ImageError(f"{_name(source)}: a stack of {picture.n_frames} pages; wanted one picture a file")
        picture.load()
        # In place gives None, and saves a copy of every file that is read; what somebody else opened stays as it is.
        picture = ImageOps.exif_transpose(picture, in_place=picture is not source) or picture
    picture.info.update(info)
    return picture


def _name(source):
    if isinstance(source, bytes):
        return f"an image of {len(source)} bytes"
    return "the image" if isinstance(source, Image.Image) else source


def _is_lossy(picture):
    if picture.format != "WEBP":
        return picture.format in ("JPEG", "MPO") or "jpeg" in str(picture.info.get("compression"))
    # The picture is in a chunk called VP8L, or "VP8 " if it is lossy. Colour profiles may come before.
    picture.fp.seek(12)
    while len(head := picture.fp.read(8)) == 8:
        kind, size = struct.unpack("<4sI", head)
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8 "
        picture.fp.seek(size + size % 2, io.SEEK_CUR)
    return True


def _find_scale(picture):
    """The highest grey value stored by the highest read, where Pillow spreads them; None for other files."""
    mode = picture.tile[0][3] if picture.tile else None
    if picture.format == "PNG":
        return {"L;2": 3 / 255, "L;4": 15 / 255}.get(mode)
    if picture.format == "PPM" and picture.mode in ("L", "I") and isinstance(mode, tuple):
        return mode[1] / (255 if picture.mode == "L" else 65535)
    return None


def _to_array(picture):
    """The grey values, palette indices or colours of a file, as they are stored."""
    values, scale = np.asarray(picture), picture.info["scale"]
    return values if scale is None else np.rint(values * scale).astype(values.dtype)
