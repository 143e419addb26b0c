import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from seglib import images
from seglib.images import ImageError
from seglib.labels import LabelMap


@pytest.fixture
def grey():
    return np.arange(6 * 4, dtype=np.uint8).reshape(4, 6) * 10


def test_grey_becomes_three_equal_channels_and_alpha_is_dropped(tmp_path, grey):
    Image.fromarray(np.dstack([grey, grey + 1])).save(tmp_path / "a.png")
    image = images.read_image(tmp_path / "a.png")
    assert image.shape == (4, 6, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.stack([grey] * 3, -1))
    rgba = np.dstack([image, grey])
    Image.fromarray(rgba).save(tmp_path / "b.png")
    np.testing.assert_array_equal(images.read_image(tmp_path / "b.png"), image)


def write_pgm(path, values, highest):
    """A grey file of the highest value that it names, one or two bytes a pixel."""
    height, width = values.shape
    stored = values.astype(">u2" if highest > 255 else "u1").tobytes()
    path.write_bytes(f"P5\n{width} {height}\n{highest}\n".encode() + stored)


def test_grey_files_of_any_highest_value(tmp_path):
    """Pillow spreads their values; those of a photograph are its light, those of a mask are ids."""
    values = np.array([[0, 1, 2], [5, 6, 7]])
    write_pgm(tmp_path / "a.pgm", values * 257, 65535)
    np.testing.assert_array_equal(images.read_image(tmp_path / "a.pgm")[..., 0], values)
    for highest in (7, 100, 255, 300, 65535):
        write_pgm(tmp_path / "b.pgm", values, highest)
        np.testing.assert_array_equal(images.read_mask(tmp_path / "b.pgm"), values)
        np.testing.assert_array_equal(images.read_values(tmp_path / "b.pgm").pixels, values)


def test_palette_image_is_looked_up_and_palette_mask_is_not(tmp_path):
    indexed().save(tmp_path / "a.png")
    np.testing.assert_array_equal(images.read_image(tmp_path / "a.png"), COLOURS[IDS])
    np.testing.assert_array_equal(images.read_mask(tmp_path / "a.png"), IDS)


def test_sixteen_bit_masks(tmp_path):
    Image.fromarray(np.array([[3, 200]], np.uint16)).save(tmp_path / "b.png")
    assert images.read_mask(tmp_path / "b.png").tolist() == [[3, 200]]
    Image.fromarray(np.array([[3, 1000]], np.uint16)).save(tmp_path / "c.png")
    with pytest.raises(ImageError, match=r"c\.png.*ids 0–255, found 3–1000"):
        images.read_mask(tmp_path / "c.png")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_masks_of_few_bits_are_read_as_they_are_stored(tmp_path, bits):
    ids = np.arange(2**bits, dtype=np.uint8)
    rows = np.packbits(np.unpackbits(ids[:, None], axis=1)[:, -bits:].ravel()).tobytes()

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", len(ids), 1, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    assert images.read_mask(tmp_path / "a.png").tolist() == [ids.tolist()]


def test_what_is_no_mask_is_refused_by_name(tmp_path, grey):
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.png.*one id per pixel, found mode RGB"):
        images.read_mask(tmp_path / "a.png")
    for name, options in (("b.jpg", {}), ("c.tif", {"compression": "jpeg"})):
        Image.fromarray(grey).save(tmp_path / name, **options)
        with pytest.raises(ImageError, match=f"{name}.*with loss.*PNG"):
            images.read_mask(tmp_path / name)


def test_broken_files_are_refused_by_name(tmp_path, rng):
    (tmp_path / "text.png").write_text("not a picture")
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(content[: len(content) // 2])
    for name, message in (("text.png", "not an image"), ("half.png", "truncated"), ("no.png", "no such file")):
        for read in (images.read_image, images.read_values):
            with pytest.raises(ImageError, match=f"{name}: .*{message}"):
                read(tmp_path / name)
    with pytest.raises(ImageError, match="an image of 4 bytes: not an image"):
        images.read_image(b"text")


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch, grey):
    Image.fromarray(grey).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(ImageError, match=r"a\.png: .*24 pixels.*raise .*PIL.Image.MAX_IMAGE_PIXELS"):
        images.read_image(tmp_path / "a.png")


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif"])
def test_the_header_alone_tells_the_size(tmp_path, rng, ending):
    whole, half = tmp_path / f"whole.{ending}", tmp_path / f"half.{ending}"
    Image.fromarray(rng.integers(0, 256, (90, 60, 3), np.uint8)).save(whole)
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert images.read_size(whole) == images.read_size(half) == (90, 60)
    with pytest.raises(ImageError, match=f"half.{ending}: damaged or truncated"):
        images.read_image(half)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_upright_image(tmp_path, grey, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, options in {"a.png": {}, "a.jpg": {}, "a.webp": {}, "a.tif": {"compression": "tiff_lzw"}}.items():
        Image.fromarray(grey).save(tmp_path / name, exif=exif, **options)
        assert images.read_size(tmp_path / name) == ((6, 4) if orientation > 4 else (4, 6))
        assert images.read_image(tmp_path / name).shape[:2] == images.read_size(tmp_path / name)
    if orientation == 6:  # the camera was turned: show it a quarter clockwise
        turned = np.rot90(grey, -1)
        np.testing.assert_array_equal(images.read_image(tmp_path / "a.png")[..., 0], turned)
        np.testing.assert_array_equal(images.read_mask(tmp_path / "a.png"), turned)
        np.testing.assert_array_equal(images.read_values(tmp_path / "a.png").pixels, turned)


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
IDS = np.arange(12, dtype=np.uint8).reshape(3, 4)
COLOURS = np.arange(36, dtype=np.uint8).reshape(12, 3) * 7


def indexed():
    picture = Image.fromarray(IDS)
    picture.putpalette(COLOURS.tobytes())
    return picture


class TestValues:
    @pytest.mark.parametrize(
        ("picture", "ending", "wanted"),
        [
            (IDS, "png", IDS),
            (IDS, "gif", IDS),
            (IDS > 5, "png", IDS > 5),
            (IDS * np.uint16(5000), "png", IDS * np.uint16(5000)),
            (IDS.astype(np.int32), "tif", IDS),
            (IDS.astype(np.float32), "tif", IDS),
            (COLOURS[IDS], "png", COLOURS[IDS]),
            (np.dstack([COLOURS[IDS], IDS]), "png", COLOURS[IDS]),
            (np.dstack([IDS, IDS, IDS]), "png", IDS),
            (indexed(), "bmp", COLOURS[IDS]),
        ],
    )
    def test_are_those_of_the_file(self, tmp_path, picture, ending, wanted):
        picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        picture.save(tmp_path / f"a.{ending}")
        values = images.read_values(tmp_path / f"a.{ending}")
        np.testing.assert_array_equal(values.pixels, wanted)
        assert values.pixels.dtype in (np.uint8, np.uint16)
        assert values.palette is None and not values.lossy
        if values.pixels.dtype == np.uint8:
            in_colour = wanted if wanted.ndim == 3 else np.dstack([wanted] * 3)
            np.testing.assert_array_equal(values.in_colour(), in_colour)

    @pytest.mark.parametrize("ending", ["png", "tif"])
    def test_of_a_palette_are_the_indices(self, tmp_path, ending):
        indexed().save(tmp_path / f"a.{ending}")
        values = images.read_values(tmp_path / f"a.{ending}")
        np.testing.assert_array_equal(values.pixels, IDS)
        np.testing.assert_array_equal(values.palette[:12], COLOURS)
        np.testing.assert_array_equal(values.in_colour(), COLOURS[IDS])

    @pytest.mark.parametrize(
        ("ending", "options", "lossy"),
        [
            ("jpg", {}, True),
            ("tif", {"compression": "jpeg"}, True),
            ("tif", {"compression": "tiff_lzw"}, False),
            ("webp", {"lossless": False}, True),
            ("webp", {"lossless": True}, False),
            ("webp", {"lossless": True, "icc_profile": PROFILE + bytes(9000)}, False),  # before the picture's own chunk
            ("webp", {"lossless": False, "icc_profile": PROFILE + b"VP8L"}, True),
        ],
    )
    @pytest.mark.parametrize("channels", [1, 3])
    def test_stored_with_loss_are_called_so(self, tmp_path, rng, ending, options, lossy, channels):
        drawn = np.repeat(np.where(np.mgrid[:40, :40][0] > 20, 255, 0).astype(np.uint8)[..., None], channels, -1)
        Image.fromarray(drawn.squeeze()).save(tmp_path / f"a.{ending}", **options)
        values = images.read_values(tmp_path / f"a.{ending}")
        assert values.lossy == lossy
        assert values.pixels.shape == (40, 40)  # grey, whatever the channels
        assert lossy or np.array_equal(values.pixels, drawn[..., 0])

    def test_of_a_phones_jpeg_are_known(self, tmp_path):
        frame = Image.fromarray(COLOURS[IDS])
        frame.save(tmp_path / "a.mpo", save_all=True, append_images=[frame])  # a JPEG of several pictures
        assert images.read_values((tmp_path / "a.mpo").rename(tmp_path / "a.jpg")).lossy

    @pytest.mark.parametrize(
        "pixels", [IDS + np.float32(0.5), IDS * np.int32(6000), IDS - np.int32(3), IDS * np.float32("nan")]
    )
    def test_that_are_no_whole_numbers_of_sixteen_bits_are_refused(self, tmp_path, pixels):
        Image.fromarray(pixels).save(tmp_path / "a.tif")
        with pytest.raises(ImageError, match="32-bit values"):
            images.read_image(tmp_path / "a.tif")
        with pytest.raises(ImageError, match=r"a\.tif: values .*–.*; wanted whole numbers in 0–65535"):
            images.read_values(tmp_path / "a.tif")


def test_a_stack_is_refused_and_a_preview_is_not(tmp_path, grey):
    page, preview = Image.fromarray(grey), Image.fromarray(grey[:2, :3])
    page.save(tmp_path / "stack.tif", save_all=True, append_images=[page, page])
    page.save(tmp_path / "preview.tif", save_all=True, append_images=[preview])
    for read in (images.read_image, images.read_mask, images.read_values):
        with pytest.raises(ImageError, match=r"stack\.tif: a stack of 3 pages; wanted one picture a file"):
            read(tmp_path / "stack.tif")
    np.testing.assert_array_equal(images.read_mask(tmp_path / "preview.tif"), grey)
    np.testing.assert_array_equal(images.read_values(tmp_path / "preview.tif").pixels, grey)


class TestResizing:
    def test_an_image_is_averaged(self):
        stripes = np.zeros((4, 8, 3), np.uint8)
        stripes[:, ::2] = 200  # light and dark columns in turn: every pixel of the smaller image sees both
        small = images.resize_image(stripes, (2, 2))
        assert small.shape == (2, 2, 3) and small.dtype == np.uint8
        assert np.abs(small.astype(int) - 100).max() <= 8
        np.testing.assert_array_equal(images.resize_image(Image.fromarray(stripes), (2, 2)), small)

    def test_a_mask_is_picked(self, rng):
        mask = rng.choice(np.array([0, 7, 255], np.uint8), (10, 15))
        np.testing.assert_array_equal(images.resize_mask(mask, (20, 45)), mask.repeat(2, axis=0).repeat(3, axis=1))
        np.testing.assert_array_equal(images.resize_mask(mask, (2, 5)), mask[2::5, 1::3])  # the middle of 5×3 pixels
        assert set(np.unique(images.resize_mask(mask, (7, 11)))) <= {0, 7, 255}


def test_alpha_is_the_mask_where_there_is_a_single_colour(tmp_path, rng):
    alpha = np.where(rng.random((6, 8)) < 0.5, 255, 0).astype(np.uint8)
    for colour in ((0, 0, 0), (255, 0, 0)):
        rgba = np.dstack([np.full((6, 8, 3), colour, np.uint8), alpha])
        Image.fromarray(rgba).save(tmp_path / "mask.png")
        np.testing.assert_array_equal(images.read_values(tmp_path / "mask.png").pixels, alpha)
    rgba[0, 0, :3] = 0, 255, 0  # a second colour: alpha is only alpha
    Image.fromarray(rgba).save(tmp_path / "mask.png")
    assert images.read_values(tmp_path / "mask.png").pixels.shape == (6, 8, 3)


class TestOtherThanPaths:
    @pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
    def test_bytes_and_opened_pictures_give_what_the_file_gives(self, tmp_path, rng, ending):
        path = tmp_path / f"a.{ending}"
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(rng.integers(0, 256, (9, 6, 3), np.uint8)).save(path, exif=exif)
        expected = images.read_image(path)
        assert expected.shape == (6, 9, 3)
        np.testing.assert_array_equal(images.read_image(path.read_bytes()), expected)
        with Image.open(path) as opened:
            for _ in range(2):  # it is left as it was
                np.testing.assert_array_equal(images.read_image(opened), expected)


class TestWriting:
    MAP = LabelMap(("sky", "road", "car"))
    MASK = np.array([[0, 1, 2, 255]], np.uint8)

    def test_a_mask_is_read_back_and_seen_in_colours_and_notes_are_kept(self, tmp_path):
        images.write_mask(tmp_path / "mask.png", self.MASK, self.MAP, {"made of": "photo.jpg"})
        assert Image.open(tmp_path / "mask.png").text == {"made of": "photo.jpg"}
        np.testing.assert_array_equal(images.read_mask(tmp_path / "mask.png"), self.MASK)
        painted = np.asarray(Image.open(tmp_path / "mask.png").convert("RGB"))
        np.testing.assert_array_equal(painted, self.MAP.to_rgb(self.MASK))
        assert [path.name for path in tmp_path.iterdir()] == ["mask.png"]

    def test_nothing_is_overwritten(self, tmp_path):
        (tmp_path / "mask.png").write_text("mine")
        with pytest.raises(FileExistsError, match="mask.png is there already"):
            images.write_mask(tmp_path / "mask.png", self.MASK, self.MAP)
        assert (tmp_path / "mask.png").read_text() == "mine"

    def test_what_would_lose_ids_is_refused(self, tmp_path):
        for name, mask in (("a.jpg", self.MASK), ("a", self.MASK), ("a.png", self.MASK.astype(int))):
            with pytest.raises(ImageError, match="a mask is"):
                images.write_mask(tmp_path / name, mask, self.MAP)

    def test_a_full_disk_is_named_and_nothing_is_left(self, tmp_path, rng, full_disk):
        noise = rng.integers(0, 3, (500, 500)).astype(np.uint8)
        with full_disk(1000), pytest.raises(OSError, match="mask.png could not be written"):
            images.write_mask(tmp_path / "mask.png", noise, self.MAP)
        assert not list(tmp_path.iterdir())

    def test_a_mask_of_more_than_4_gigabytes_is_refused(self, tmp_path):
        with pytest.raises(ImageError, match="over 4 GiB"):
            images.write_tiff(tmp_path / "mask.tif", [], (70_000, 70_000), self.MAP)
