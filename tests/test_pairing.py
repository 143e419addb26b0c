import re
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seglib.data import DataError
from seglib.data.pairing import find_files, find_pairs


def touch(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def paired(root, images, masks):
    """From each image to its mask; the files without a partner; the notes."""
    pairs, unpaired, notes = find_pairs(*find_files(root / images, root / masks))
    return {short(image.path, root): short(mask.path, root) for image, mask in pairs}, unpaired, notes


def refused(root, images, masks, *words):
    """The message, which has all the words."""
    with pytest.raises(DataError) as error:
        paired(root, images, masks)
    assert all(word in str(error.value) for word in words), error.value
    return str(error.value)


def short(path, root):
    return Path(path).relative_to(root).as_posix()


def grid(image, mask, **values):
    """The pairs of two templates; every value is put in for its name, one after the other."""
    rows = [{}]
    for name, choices in values.items():
        rows = [{**row, name: choice} for row in rows for choice in choices]
    return {image.format(**row): mask.format(**row) for row in rows}


def names(template, **values):
    return list(grid(template, "", **values))


THREE = (1, 2, 3)
KINDS = ("labelIds", "color", "instanceIds")
CITIES = grid(
    "leftImg8bit/{s}/{c}/{c}_00{i}_000019_leftImg8bit.png", "gtFine/{s}/{c}/{c}_00{i}_000019_gtFine_labelIds.png",
    s=("train", "val"), c=("aachen", "ulm"), i=THREE,
)  # fmt: skip
CITIES_MORE = [mask.replace("labelIds", kind) for mask in CITIES.values() for kind in KINDS[1:]]
BUSI = grid("b/benign ({i}).png", "b/benign ({i})_mask.png", i=range(1, 12))

# what it is → images, masks, the pairs
TREES = {
    "one name": ("i", "m", grid("i/{i}.jpg", "m/{i}.png", i=THREE)),
    "a suffix": ("images", "masks", grid("images/000{i}.jpg", "masks/000{i}_mask.png", i=THREE)),
    "a prefix": ("i", "m", grid("i/{i}.jpg", "m/gt_{i}.png", i=THREE)),
    "folders within": ("i", "m", grid("i/{d}/{i}.jpg", "m/{d}/{i}_x.png", d="ab", i=THREE)),
    "folders of images": ("i", "m", {"i/a/cat.jpg": "m/cat_x.png", "i/b/dog.jpg": "m/dog_x.png"}),
    "splits above": (
        "*/images", "*/masks", grid("{s}/images/{i}.png", "{s}/masks/{i}_gt.png", s=("train", "test"), i=THREE),
    ),
    "wholes and tiles": ("i", "m", grid("i/{i}{t}.jpg", "m/{i}{t}_x.png", i=THREE, t=("", "_1", "_2"))),
    "upper-case endings": ("i", "m", {"i/1.JPG": "m/1.PNG", "i/2.TIFF": "m/2.Gif"}),
    "DRIVE": ("images", "1st_manual", grid("images/{i}_training.tif", "1st_manual/{i}_manual1.gif", i=range(21, 25))),
    "CamVid, one folder": ("x", "x/*_L.png", grid("x/TP_00{i}.png", "x/TP_00{i}_L.png", i=THREE)),
    "CamVid of SegNet": (".", "*annot", grid("{s}/{i}.png", "{s}annot/{i}.png", s=("train", "val"), i=THREE)),
    "Cityscapes, label ids alone": (".", "gtFine", CITIES),
    "patients and slices by number": ("i", "m", grid("i/{p}/{i}.png", "m/{p}/{i}.png", p=(1, 2), i=(1, 2))),
    "side by side": ("p/*.jpg", "p/*.png", grid("p/segment{i}.jpg", "p/segment{i}.png", i=THREE)),
    "masks among the images": ("d", "d/masks", grid("d/{i}.png", "d/masks/{i}.png", i=THREE)),
    "images among the masks": ("d/raw", "d", grid("d/raw/{i}.png", "d/{i}.png", i=THREE)),
    "a folder and a pattern": ("d", "d/*_x.png", grid("d/{i}.png", "d/{i}_x.png", i=THREE)),
    "gt in the middle": (".", "*_GT_*", grid("Im_RN_{i}.png", "Im_GT_RN_{i}.png", i=THREE)),
    "beyond ASCII": ("i", "m", grid("i/Öl 图{i}.jpg", "m/Öl 图{i}_mask.png", i=THREE)),
    "one pair": ("a", "b", {"a/photo.png": "b/photo_mask.png"}),
}  # fmt: skip
JUNK = ["{}/.DS_Store", "{}/._1.jpg", "{}/Thumbs.db", "{}/__MACOSX/1.jpg", "{}/.cache/1.png"]


@pytest.mark.parametrize("tree", TREES)
def test_trees_as_people_have_them(tmp_path, tree):
    images, masks, wanted = TREES[tree]
    touch(tmp_path, [*wanted, *wanted.values(), *(junk.format(Path(next(iter(wanted))).parent) for junk in JUNK)])
    pairs, unpaired, (note,) = paired(tmp_path, images, masks)
    assert pairs == wanted and unpaired == []
    first, mask = next(iter(pairs.items()))
    assert note.startswith(f"{len(wanted)} pairs by ") and note.endswith(f"{Path(first).name} and {Path(mask).name}")


def test_paths_may_be_relative_and_end_in_a_slash(tmp_path, monkeypatch):
    touch(tmp_path, ["d/1.png", "d/masks/1.png"])
    monkeypatch.chdir(tmp_path)
    for images, masks in (("d", "d/masks"), ("d/", "./d/masks/"), ("d/*.png", "d/masks/*")):
        ((image, mask),) = find_pairs(*find_files(images, masks))[0]
        assert (Path(image.path), Path(mask.path)) == (Path("d/1.png"), Path("d/masks/1.png"))


def test_accents_are_the_same_composed_or_not(tmp_path):
    decomposed = unicodedata.normalize("NFD", "é")
    touch(tmp_path, [f"i/{decomposed}1.jpg", "m/é1.png"])
    assert paired(tmp_path, "i", "m")[0] == {f"i/{decomposed}1.jpg": "m/é1.png"}


def test_linked_folders_are_searched_and_loops_are_not(tmp_path):
    wanted = grid("i/{d}{i}.png", "m/{d}{i}.png", d=("", "more/"), i=range(12))
    touch(tmp_path, [*wanted, *wanted.values()])
    (tmp_path / "i/more").rename(tmp_path / "elsewhere")
    (tmp_path / "i/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "i/back").symlink_to(tmp_path / "i")
    (tmp_path / "elsewhere/and_back").symlink_to(tmp_path)
    assert paired(tmp_path, "i", "m")[0] == wanted


@pytest.mark.parametrize(
    ("images", "masks", "count"),
    [
        (list(CITIES), [*CITIES.values(), *CITIES_MORE], 12),
        (names("i/{i}.png", i=THREE), names("m/{i}_a{k}.png", i=THREE, k=(1, 2)), 3),
        (names("i/{i}.png", i=THREE), names("m/{k}_{i}.png", i=THREE, k=("ids", "paint")), 3),
        (names("i/{i}.png", i=THREE), names("m/{k}/{i}.png", i=(*THREE, 4), k="ab"), 3),
        (names("i/cell_{n}.png", n=THREE), names("m/cell_{n}/{k}.png", n=THREE, k=range(3)), 3),
        (["i/1.png", "i/2.png"], ["m/1/1.png", "m/1/2.png", "m/2/3.png", "m/2/4.png"], 1),
    ],
)
def test_several_masks_for_an_image_are_refused(tmp_path, images, masks, count):
    touch(tmp_path, [*images, *masks])
    folders = (Path(files[0]).parts[0] for files in (images, masks))
    refused(tmp_path, *folders, f"{count} images", "masks='", "from_instances")


def test_a_pattern_chooses_one_kind(tmp_path):
    touch(tmp_path, [*CITIES, *CITIES.values(), *CITIES_MORE, "gtFine/train/ulm/ulm_gtFine_polygons.json"])
    for pattern in ("gtFine/**/*_labelIds.png", "gtFine/*_gtFine_labelIds.png"):
        assert paired(tmp_path, "leftImg8bit", pattern)[:2] == (CITIES, [])


def test_one_more_mask_of_one_image(tmp_path):
    touch(tmp_path, [*BUSI, *BUSI.values(), "b/benign (4)_mask_1.png", "b/benign (77)_mask.png"])
    refused(tmp_path, "b", "b/*_mask*.png", "1 images", "benign (4)_mask_1.png", "from_instances")
    pairs, unpaired, _ = paired(tmp_path, "b", "b/*)_mask.png")
    assert pairs == BUSI
    assert [Path(path).name for path in unpaired] == ["benign (4)_mask_1.png", "benign (77)_mask.png"]


class TestNumbers:
    @pytest.mark.parametrize(
        ("image", "mask", "start", "count"),
        [
            ("frame_{:04}", "mask{}", 0, 10),  # 1–10 and 0–9, padded and not
            ("frame_{}", "mask{}", 0, 10),
            ("{}", "{}", 0, 10),
            ("img_{}", "img_{}", 2, 10),
            ("a/frame_{:03}", "a/mask_{:03}", 0, 9),
            ("{}", "{:02}", 1, 10),
            ("photo {} x", "n-{:03}", 1, 10),
        ],
    )
    def test_that_do_not_correspond_are_refused(self, tmp_path, image, mask, start, count):
        touch(tmp_path, [f"i/{image.format(n)}.png" for n in range(1, 11)])
        touch(tmp_path, [f"m/{mask.format(n)}.png" for n in range(start, start + count)])
        refused(tmp_path, "i", "m", "numbers", "zeros", image.format(1))

    def test_that_are_missing_here_and_there_are_left_out(self, tmp_path):
        touch(tmp_path, [f"i/img_{n:02}.png" for n in range(1, 11) if n != 3])
        touch(tmp_path, [f"m/label_{n:02}.png" for n in range(1, 11) if n != 7])
        pairs, unpaired, _ = paired(tmp_path, "i", "m")
        assert len(pairs) == 8 and [Path(path).name for path in unpaired] == ["img_07.png", "label_03.png"]


class TestPartly:
    def test_images_without_masks_as_in_pascal_voc(self, tmp_path):
        touch(tmp_path, [*(f"i/2007_{i:06}.jpg" for i in range(20)), "m/2007_000003.png", "m/2007_000007.png"])
        pairs, unpaired, notes = paired(tmp_path, "i", "m")
        assert len(pairs) == 2 and len(unpaired) == 18
        assert "18 images" in notes[1] and notes[1].endswith("000004.jpg, 2007_000005.jpg, …")

    def test_what_has_no_partner_is_left_out_and_named(self, tmp_path):
        touch(tmp_path, ["i/cat_1.png", "i/cat_2.png", "i/dog_3.png", "m/cat_1.png", "m/cat_2.png", "m/bird_3.png"])
        pairs, unpaired, notes = paired(tmp_path, "i", "m")
        assert pairs == {"i/cat_1.png": "m/cat_1.png", "i/cat_2.png": "m/cat_2.png"}  # not dog_3 and bird_3
        assert [note.rpartition(": ")[2] for note in notes[1:]] == ["dog_3.png", "bird_3.png"]
        assert [short(path, tmp_path) for path in unpaired] == ["i/dog_3.png", "m/bird_3.png"]

    def test_the_mask_of_a_frame_that_is_missing_is_given_to_no_other(self, tmp_path):
        wanted = grid("i/{a}_{b}.png", "m/{a}_{b}_mask.png", a=THREE, b=THREE)
        touch(tmp_path, [*wanted.values(), *(image for image in wanted if image != "i/3_3.png")])
        del wanted["i/3_3.png"]
        assert paired(tmp_path, "i", "m")[0] == wanted


@pytest.mark.parametrize(
    ("files", "images", "masks", "words"),
    [
        (["i/1.png"], "i", "no", ["no: no such folder"]),
        (["i/1.png", "m/1.mat", "m/.DS_Store"], "i", "m", ["m: no image files", ".png .jpg"]),
        (["i/1.png", "m/1.png"], "i/*.tif", "m", ["i/*.tif: no image files"]),
        (["i/x.png", "m/y.png"], "i", "m", ["x.png", "y.png", "pattern"]),
        (["i/a.png", "i/b.png", "m/c1.png", "m/c2.png"], "i", "m", ["a.png", "c1.png", "pattern"]),
        (["i/1.png", "i/1.bmp", "m/1.png"], "i", "m", ["i/1.bmp and 1.png", "pattern"]),
        (["i/a/1.jpg", "i/b/1.jpg", "i/b/2.jpg", "m/1_x.png", "m/2_x.png"], "i", "m", ["i/a/1.jpg and ../b/1.jpg"]),
        (["i/1.png", "m/1.gif", "m/1.png"], "i", "m", ["1.gif", "1.png", "masks='"]),
        (["d/a.png", "d/a_mask.png"], "d", "d", ["d: ", "same files", "a.png", "'data/*_mask.png'"]),
    ],
)  # fmt: skip
def test_refused_and_told_why(tmp_path, files, images, masks, words):
    touch(tmp_path, files)
    refused(tmp_path, images, masks, *words)


befores = st.tuples(st.text("abL _-", max_size=4), st.sampled_from(["", "2000 ", "v3.", "cam_"])).map("".join)
afters = st.tuples(st.sampled_from(["", " 2000", ".v3"]), st.text("abL _-", max_size=4)).map("".join)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 999), min_size=1, max_size=5), st.tuples(befores, befores), st.tuples(afters, afters),
       st.tuples(st.integers(1, 4), st.integers(1, 4)))  # fmt: skip
def test_two_numbers_are_never_paired(numbers, before, after, digits):
    """Whatever stands around the numbers and however they are padded: the right ones, all of them, or a refusal."""
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        stems = [{n: f"{b}{n:0{d}}{a}" for n in numbers} for b, a, d in zip(before, after, digits, strict=True)]
        touch(root, [f"i/{stem}.jpg" for stem in stems[0].values()] + [f"m/{stem}.png" for stem in stems[1].values()])
        try:
            pairs = paired(root, "i", "m")[0]
        except DataError:
            return
        assert pairs == {f"i/{stems[0][n]}.jpg": f"m/{stems[1][n]}.png" for n in numbers}


stems = st.sets(st.from_regex(r"[ab]?[_/]?[012]{1,2}(_[ab12])?", fullmatch=True), min_size=1, max_size=7)


@settings(max_examples=60, deadline=None)
@given(stems, stems)
def test_nothing_is_invented_or_used_twice_and_the_counts_are_true(images, masks):
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        images, masks = ({f"{d}/x {stem}.png" for stem in found} for d, found in (("i", images), ("m", masks)))
        touch(root, [*images, *masks])
        try:
            pairs, unpaired, notes = paired(root, "i", "m")
        except DataError:
            return
        assert pairs.keys() <= images and set(pairs.values()) <= masks
        assert len(set(pairs.values())) == len(pairs)
        lone = {short(path, root) for path in unpaired}
        assert lone == (images | masks) - pairs.keys() - set(pairs.values())
        told = [int(count) for count in re.findall(r"out: (\d+)", " ".join(notes))]
        assert sum(told) == len(lone)
