from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglib.data import DataError, encoding
from seglib.data.encoding import infer_encoding
from seglib.labels import VOC, LabelMap

AB, ABC = LabelMap(("a", "b")), LabelMap(("a", "b", "c"))
COLOURS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)  # VOC's 0, 1, 2


def draw(i):
    """(24, 32) ids: two rectangles, 1 and 2, on 0; a little different for every ``i``."""
    ids = np.zeros((24, 32), np.uint8)
    ids[4:12, 3 + i % 4 : 20], ids[14:20, 5:25] = 1, 2
    return ids


def white(ids):
    return np.where(ids > 0, 255, 0).astype(np.uint8)


def indexed(ids, colours=COLOURS):
    picture = Image.fromarray(ids)
    picture.putpalette(colours.tobytes())
    return picture


def noise(i, *shape):
    return np.random.default_rng(i).integers(0, 256, shape, np.uint8)


def save(folder, paint, ending="png", count=6, **options):
    """``paint(ids)`` or ``paint(ids, i)`` of a few drawings as files; their paths."""
    paths = []
    for i in range(count):
        painted = paint(draw(i)) if paint.__code__.co_argcount == 1 else paint(draw(i), i)
        picture = painted if isinstance(painted, Image.Image) else Image.fromarray(painted)
        picture.save(folder / f"{i}.{ending}", **options)
        paths.append(str(folder / f"{i}.{ending}"))
    return paths


LOSSLESS = {"lossless": True}
BLACK_AND_WHITE = "masks: black and white, 0 → class 0, 255 → class 1"

# what it is → how it is painted, ending, options of the file, of infer_encoding; what 0, 1, 2 become; the note
KINDS = {
    "ids": (lambda m: m, "png", {}, {}, [0, 1, 2], "masks: ids 0–2"),
    "ids and void": (lambda m: np.where(m == 2, np.uint8(255), 3 * m), "png", {}, {}, [0, 3, 255], "ids 0–3, and 255"),
    "ids, 16 bits": (lambda m: m.astype(np.uint16), "png", {}, {}, [0, 1, 2], "masks: ids 0–2"),
    "ids, floats": (lambda m: m.astype(np.float32), "tif", {}, {}, [0, 1, 2], "masks: ids 0–2"),
    "ids and void of a label map": (
        lambda m: np.where(m == 2, np.uint8(255), m), "png", {}, {"labels": ABC}, [0, 1, 255],
        "ids of the label map, and 255 for void",
    ),
    "ids of a label map": (lambda m: m, "png", {}, {"labels": ABC}, [0, 1, 2], "masks: ids of the label map"),
    "one bit": (lambda m: m > 0, "png", {}, {}, [0, 1, 1], "masks: ids 0–1"),
    "0 and 255, PNG": (white, "png", {}, {}, [0, 1, 1], BLACK_AND_WHITE),
    "0 and 255, BMP of one bit": (lambda m: m > 0, "bmp", {}, {}, [0, 1, 1], "masks: ids 0–1"),
    "0 and 255, WebP": (white, "webp", LOSSLESS, {}, [0, 1, 1], BLACK_AND_WHITE),
    "0 and 255, RGBA": (lambda m: np.dstack([white(m)] * 3 + [m]), "png", {}, {}, [0, 1, 1], BLACK_AND_WHITE),
    "0 and 255, three classes": (white, "png", {}, {"labels": ABC}, [0, 255, 255], "Is 255 the foreground"),
    "0 and 255, two classes": (white, "png", {}, {"labels": AB}, [0, 1, 1], BLACK_AND_WHITE),
    "0 and void, three classes": (white, "png", {}, {"labels": ABC}, [0, 255, 255], "masks: ids of the label map"),
    "only white, two classes": (lambda m: m * 0 + 255, "png", {}, {"labels": AB}, [1, 1, 1], BLACK_AND_WHITE),
    "levels": (lambda m: m * 127, "png", {}, {}, [0, 1, 2], "masks: a class for each of 3 grey levels: 0, 127, 254"),
    "levels, 16 bits": (lambda m: m.astype(np.uint16) * 30000, "png", {}, {}, [0, 1, 2], "levels: 0, 30000, 60000"),
    "palette": (lambda m: indexed(m), "png", {}, {}, [0, 1, 2], "masks: ids 0–2"),
    "palette and a label map": (lambda m: indexed(m), "png", {}, {"labels": VOC}, [0, 1, 2], "masks: ids of the label"),
    "palette, GIF": (lambda m: indexed(m), "gif", {}, {"labels": VOC}, [0, 1, 2], "colours of the label"),
    "palettes that differ": (
        lambda m, i: indexed((m + i) % 3, np.roll(COLOURS, i, axis=0)), "png", {}, {}, [0, 2, 1],
        "masks: painted, a class for each of 3 colours: #000000, #008000, #800000",
    ),
    "painted": (lambda m: COLOURS[m], "png", {}, {}, [0, 2, 1], "3 colours: #000000, #008000, #800000"),
    "painted, RGBA": (lambda m: np.dstack([COLOURS[m], m]), "png", {}, {}, [0, 2, 1], "a class for each of 3 colours"),
    "painted, some all black": (lambda m, i: COLOURS[m * (i > 3)], "png", {}, {"labels": VOC}, None, "colours of"),
    "painted as a label map": (lambda m: COLOURS[m], "bmp", {}, {"labels": VOC}, [0, 1, 2], "colours of the label"),
    "painted with void": (
        lambda m: VOC.to_rgb(np.where(m == 2, 255, m)), "png", {}, {"labels": VOC}, [0, 1, 255], "colours of the label",
    ),
    "painted by a table": (
        lambda m: COLOURS[m], "png", {}, {"ids": {(0, 0, 0): 2, (128, 0, 0): 1, (0, 128, 0): 255}}, [2, 1, 255], "",
    ),
    "a table": (lambda m: m * 50, "png", {}, {"ids": {0: 1, 50: 0, 100: 255}, "labels": AB}, [1, 0, 255], ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_masks(tmp_path, kind):
    paint, ending, options, given, wanted, note = KINDS[kind]
    paths = save(tmp_path, paint, ending, **options)
    found, labels, notes, seen = infer_encoding(paths, **given)
    assert note in " ".join(notes) and len(notes) == bool(note)
    assert labels is given.get("labels", labels) and all(found.knows(seen[path]) for path in paths)
    for i, path in enumerate(paths):
        ids = found.read(path)
        assert ids.dtype == np.uint8
        wanted_ids = draw(i) * (i > 3) if wanted is None else np.array(wanted, np.uint8)[draw(i)]
        np.testing.assert_array_equal(ids, wanted_ids)
    assert ids.max() == 255 or ids.max() < labels.num_classes


def test_classes_are_called_for_what_was_found(tmp_path):
    def names(paint, **given):
        labels = infer_encoding(save(tmp_path, paint), **given)[1]
        return labels.names, labels.colours

    assert names(lambda m: m)[0] == ("class 0", "class 1", "class 2")
    assert names(lambda m: m * 127)[0] == ("grey 0", "grey 127", "grey 254")
    assert names(white)[0] == ("background", "foreground")
    assert names(lambda m: COLOURS[m]) == (("#000000", "#008000", "#800000"), ((0, 0, 0), (0, 128, 0), (128, 0, 0)))
    assert names(lambda m: m, ids={0: 0, 1: 1, 2: 255})[0] == ("background", "foreground")


def refused(read, path, *words):
    with pytest.raises(ValueError, match=Path(path).name) as error:
        read(path)
    assert all(word in str(error.value) for word in words), error.value


class TestMostDecide:
    """A few masks unlike the others do not change what the others mean; they are refused when they are read."""

    @pytest.mark.parametrize(
        ("most", "odd", "words"),
        [
            (lambda m: m, lambda m: COLOURS[m], ["colours", "ids="]),
            (lambda m: m, lambda m: noise(0, 24, 32), ["3, 4, 5"]),
            (white, lambda m: noise(0, 24, 32), ["1, 2, 3"]),
            (lambda m: COLOURS[m], lambda m: noise(0, 24, 32), ["#010101"]),
        ],
    )
    def test_one_of_another_kind(self, tmp_path, most, odd, words):
        alone = infer_encoding(save(tmp_path, most))
        paths = save(tmp_path, lambda m, i: odd(m) if i == 3 else most(m))
        found, *told, seen = infer_encoding(paths)
        assert told == [*alone[1:3]] and [found.knows(seen[path]) for path in paths] == [i != 3 for i in range(6)]
        refused(found.read, paths[3], *words)
        np.testing.assert_array_equal(found.read(paths[0]), alone[0].read(paths[0]))

    def test_one_jpeg_and_one_that_cannot_be_read(self, tmp_path):
        paths = save(tmp_path, lambda m: m)
        Path(paths[3]).write_text("no picture")
        jpeg = tmp_path / "x.jpg"
        Image.fromarray(draw(3) * 0).save(jpeg)
        found, _, notes, _ = infer_encoding([*paths, str(jpeg)])
        assert notes == ["masks: ids 0–2"]
        refused(found.read, jpeg, "JPEG", "PNG")

    def test_none_can_be_read(self, tmp_path):
        (tmp_path / "0.png").write_text("no picture")
        with pytest.raises(DataError, match=f"{tmp_path}: .*read"):
            infer_encoding([str(tmp_path / "0.png")])

    def test_what_the_sample_did_not_see_is_refused_when_it_is_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr(encoding, "SAMPLE", 3)
        paths = save(tmp_path, lambda m, i: white(m) - 55 * (i == 3) * (m == 2).astype(np.uint8), count=9)
        found, _, notes, _ = infer_encoding(paths)  # 0, 4 and 8
        assert notes == [f"{BLACK_AND_WHITE} (seen in 3 of 9)"]
        assert found.read(paths[5]).max() == 1
        refused(found.read, paths[3], "15.62%", "such as 200", "0, 255")


class TestSpoiltMasks:
    @pytest.mark.parametrize(
        ("paint", "ending"),
        [
            (lambda m: Image.fromarray(white(m)).resize((90, 70), Image.Resampling.BICUBIC), "png"),
            (white, "jpg"),
            (lambda m, i: np.where(np.arange(24)[:, None] == 0, np.uint8(60 * (1 + i % 3)), white(m)), "png"),
            # 32 values in each mask, all of them in eight
            (lambda m, i: np.where(np.arange(24)[:, None] == 0, np.arange(i, 256, 8, np.uint8), white(m)), "png"),
        ],
    )
    def test_black_and_white_with_values_in_between_is_cut_when_asked(self, tmp_path, paint, ending):
        paths, cut = save(tmp_path, paint, ending, count=8), "ids={v: int(v >= 128) for v in range(256)}"
        with pytest.raises(DataError, match=r"\d+ grey values") as error:
            infer_encoding(paths)
        assert cut in str(error.value)
        found = infer_encoding(paths, ids={v: int(v >= 128) for v in range(256)})[0]
        assert set(np.unique(found.read(paths[0]))) == {0, 1}

    def test_white_may_be_a_rare_level(self, tmp_path):
        def paint(m):
            return np.where(np.arange(24)[:, None] == 0, np.uint8(255), m * 100 * (np.arange(32) < 10))

        assert infer_encoding(save(tmp_path, paint))[1].names == ("grey 0", "grey 100", "grey 200", "grey 255")

    def test_loss_of_more_than_two_classes_is_refused_by_each_file(self, tmp_path):
        paths = save(tmp_path, white, "jpg")
        refused(infer_encoding(paths, ABC)[0].read, paths[0], "JPEG", "v >= 128")

    @pytest.mark.parametrize(
        ("paint", "ending"),
        [
            (lambda m: COLOURS[m], "jpg"),
            (lambda m: m * 5, "jpg"),
            # Ids up to 7 are all near 0, and void is 255: no black and white.
            (lambda m, i: np.where(m == 2, 255, noise(i, 24, 32) % 8).astype(np.uint8), "jpg"),
            (lambda m: Image.fromarray(COLOURS[m]).resize((90, 70), 3), "png"),
            (lambda m, i: noise(i, 24, 32, 3), "png"),
            (lambda m, i: noise(i, 64, 64), "png"),
        ],
    )
    def test_too_many_values_are_refused_at_once(self, tmp_path, paint, ending):
        options = {"quality": 95} if ending == "jpg" else {}
        with pytest.raises(DataError, match=rf"{tmp_path}: .* \d+ (colours|grey values).*swapped.*JPEG.*PNG"):
            infer_encoding(save(tmp_path, paint, ending, **options))

    def test_a_label_map_is_held_to(self, tmp_path):
        paths = save(tmp_path, lambda m, i: m + 5 * (i == 3))
        found, labels, notes, _ = infer_encoding(paths, ABC)
        assert notes == ["masks: ids of the label map"] and labels is ABC
        refused(found.read, paths[3], "5, 6, 7", "classes 0–2, void 255")


class TestTables:
    @pytest.mark.parametrize(
        "ids", [{}, [1], {0: 256}, {0: -1}, {-1: 0}, {65536: 0}, {0.5: 0}, {"0": 0}, {0: "road"}, {(0, 0): 1},
                {(0, 0, 256): 1}, {(0, 0, "x"): 1}, {0: 0, (1, 1, 1): 1}],
    )  # fmt: skip
    def test_bad_ones_are_refused(self, tmp_path, ids):
        with pytest.raises(DataError, match="ids="):
            infer_encoding(save(tmp_path, lambda m: m, count=1), ids=ids)

    def test_a_table_that_leaves_the_label_map_is_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"ids=.*\[5\].*a, b"):
            infer_encoding(save(tmp_path, lambda m: m), AB, {0: 0, 1: 5, 2: 255})

    @pytest.mark.parametrize(
        ("paint", "ids", "words"),
        [
            (lambda m: m, {0: 0, 1: 1}, ["15.62%", "such as 2;", "0, 1"]),
            (lambda m: COLOURS[m], {0: 0, 1: 1, 2: 2}, ["colours", "grey values"]),
            (lambda m: COLOURS[m], {(0, 0, 0): 0, (128, 0, 0): 1}, ["such as #008000;", "#000000, #800000"]),
            (lambda m: m.astype(np.uint16) * 256, {(0, 0, 0): 0, (1, 1, 1): 1, (2, 2, 2): 2}, ["such as"]),
        ],
    )
    def test_values_that_it_lacks_are_listed(self, tmp_path, paint, ids, words):
        paths = save(tmp_path, paint)
        refused(infer_encoding(paths, ids=ids)[0].read, paths[0], *words)
