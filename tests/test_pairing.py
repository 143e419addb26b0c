import re
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seglib.data import DataError
from seglib.data.pairing import find_pairs


def touch(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def paired(root, images, masks=None):
    """From each image to its mask, and the :class:`Pairing`."""
    found = find_pairs(root / images, None if masks is None else root / masks)
    return {short(image.path, root): short(mask.path, root) for image, mask in found.pairs}, found


def short(path, root):
    return Path(path).relative_to(root).as_posix()


def grid(image, mask, **values):
    """The pairs of two templates; every value is put in for its name, one after the other."""
    rows = [{}]
    for name, choices in values.items():
        rows = [{**row, name: choice} for row in rows for choice in choices]
    return {image.format(**row): mask.format(**row) for row in rows}


THREE = (1, 2, 3)
DRIVE = {
    **grid("training/images/{i}_training.tif", "training/1st_manual/{i}_manual1.gif", i=range(21, 25)),
    **grid("test/images/{i:02}_test.tif", "test/1st_manual/{i:02}_manual1.gif", i=range(1, 5)),
}
DRIVE_MORE = [
    *(f"training/mask/{i}_training_mask.gif" for i in range(21, 25)),
    *(f"test/mask/{i:02}_test_mask.gif" for i in range(1, 5)),
    *(f"test/2nd_manual/{i:02}_manual2.gif" for i in range(1, 5)),
]
DRIVE_TRAINING = {image: mask for image, mask in DRIVE.items() if image.startswith("training")}
CITIES = grid(
    "leftImg8bit/{s}/{s}_00{i}_000019_leftImg8bit.png", "gtFine/{s}/{s}_00{i}_000019_gtFine_labelIds.png",
    s=("aachen", "ulm"), i=THREE,
)  # fmt: skip
CITIES_MORE = [mask.replace("labelIds", kind) for mask in CITIES.values() for kind in ("color", "instanceIds")]
BUSI = grid("b/benign ({i}).png", "b/benign ({i})_mask.png", i=range(1, 12))

# what it is → images, masks, the pairs, other files that are there, what the first note says
TREES = {
    "one name": ("i", "m", grid("i/{i}.jpg", "m/{i}.png", i=THREE), [], "by the same name"),
    "folders within": ("i", "m", grid("i/{d}/{i}.jpg", "m/{d}/{i}.png", d="ab", i=THREE), [], "by the same name"),
    "folders of images": ("i", "m", {"i/a/cat.jpg": "m/cat_x.png", "i/b/dog.jpg": "m/dog_x.png"}, [], "by the words"),
    "more and less words": (
        "i", "m", {"i/cat.jpg": "m/cat_left_x.png", "i/dog_left.jpg": "m/dog_left_x.png"}, [], "by the words",
    ),
    "wholes and tiles": (
        "i", "m", grid("i/{i}{t}.jpg", "m/{i}{t}_x.png", i=THREE, t=("", "_1", "_2")), [], "'x' in the masks",
    ),
    "upper-case endings": ("i", "m", {"i/1.JPG": "m/1.PNG", "i/2.TIFF": "m/2.Gif"}, [], "by the same name"),
    "upper-case names": ("i", "m", {"i/Cat.jpg": "m/cat.png", "i/DOG.jpg": "m/dog.png"}, [], "by the words"),
    "DRIVE, two folders": ("training/images", "training/1st_manual", DRIVE_TRAINING, [], "'training' in the images"),
    "DRIVE, one tree": (".", None, DRIVE, DRIVE_MORE, "by the number"),
    "DRIVE, patterns": ("*/images", "*/1st_manual/*.gif", DRIVE, DRIVE_MORE, "by the number"),
    "CamVid": ("raw", "lab", grid("raw/TP_00{i}.png", "lab/TP_00{i}_L.png", i=THREE), [], "'l' in the masks"),
    "CamVid, one folder": ("x", None, grid("x/TP_00{i}.png", "x/TP_00{i}_L.png", i=THREE), [], "'l' in the masks"),
    "CamVid of SegNet": (".", None, grid("{s}/{i}.png", "{s}annot/{i}.png", s=("train", "val"), i=THREE), [], "words"),
    "Cityscapes": ("leftImg8bit", "gtFine", CITIES, CITIES_MORE, "but for 'leftimg8bit' in the images and 'gtfine'"),
    "numbers": ("i", "m", {"i/photo 12 x.jpg": "m/n-012.png", "i/photo 7.jpg": "m/n-007.png"}, [], "by the number"),
    "numbers beside words": ("p", None, grid("p/img{i:03}.jpg", "p/mask{i:03}.png", i=THREE), [], "by the number"),
    "padded and not": ("i", "m", grid("i/{i}.jpg", "m/{i:02}.png", i=range(8, 14)), [], "by the number"),
    "a number of all masks": ("i", "m", grid("i/{i}.jpg", "m/2_{i}.png", i=(1, 2)), [], "by the words"),
    "side by side": ("p", None, grid("p/{i}.jpg", "p/{i}.png", i=THREE), [], "by the same name"),
    "side by side, cases": ("p", None, {"p/A.JPG": "p/a.png", "p/B.JPG": "p/b.png"}, [], "by the words"),
    "BUSI": ("b", None, BUSI, ["b/benign (4)_mask_1.png"], "'mask' in the masks"),
    "ISIC": ("i", "g", grid("i/ISIC_{i}.jpg", "g/ISIC_{i}_segmentation.png", i=THREE), [], "'segmentation' in the"),
    "patients": (".", None, grid("p{p}/images/{i}.png", "p{p}/masks/{i}.png", p=(1, 2), i=THREE), [], "'masks/' in"),
    "masks among the images": ("d", "d/masks", grid("d/{i}.png", "d/masks/{i}.png", i=THREE), [], "by the same name"),
    "images among the masks": ("d/raw", "d", grid("d/raw/{i}.png", "d/{i}.png", i=THREE), [], "by the same name"),
    "a folder and a pattern": ("d", "d/*_x.png", grid("d/{i}.png", "d/{i}_x.png", i=THREE), [], "'x' in the masks"),
    "a pattern and a folder": ("d/*.jpg", "d", grid("d/{i}.jpg", "d/{i}_x.png", i=THREE), [], "'x' in the masks"),
    "one folder, named twice": ("d", "d/../d", grid("d/{i}.jpg", "d/{i}_gt.png", i=THREE), [], "'gt' in the masks"),
    "DeepCrack": (".", None, grid("{s}_img/{i}.jpg", "{s}_lab/{i}.png", s=("train", "test"), i=THREE), [], "'lab/' in"),
    "gt in the middle": (".", None, grid("Im_RN_{i}.png", "Im_GT_RN_{i}.png", i=THREE), [], "'gt' in the masks"),
    "left and right": (".", None, grid("{s}/{i}.jpg", "{s}/{i}_mask.png", s="LR", i=THREE), [], "'mask' in the masks"),
    "a word of masks above all": (
        ".", None, grid("crack_segmentation/images/{i}.jpg", "crack_segmentation/masks/{i}.png", i=THREE), [], "words",
    ),
    "a word of masks in all": (".", None, grid("a/segment{i}.jpg", "masks/segment{i}.png", i=THREE), [], "'masks/' in"),
    "beyond ASCII": ("i", "m", grid("i/Öl 图{i}.jpg", "m/Öl 图{i}_mask.png", i=THREE), [], "'mask' in the masks"),
    "junk": (
        "i", "m", grid("i/{i}.jpg", "m/{i}.png", i=THREE),
        ["i/.DS_Store", "i/._1.jpg", "i/Thumbs.db", "i/__MACOSX/1.jpg", "m/.cache/1.png", "m/._1.png"], "same name",
    ),
    "one pair": ("a", "b", {"a/photo.png": "b/photo_mask.png"}, [], "by the words"),
}  # fmt: skip


SEVERAL = ("DRIVE, one tree", "Cityscapes", "BUSI")


@pytest.mark.parametrize("tree", TREES)
def test_trees_as_people_have_them(tmp_path, tree):
    images, masks, wanted, others, rule = TREES[tree]
    touch(tmp_path, [*wanted, *wanted.values(), *others])
    pairs, found = paired(tmp_path, images, masks)
    assert pairs == wanted
    assert found.unpaired == []
    first, mask = next(iter(pairs.items()))
    assert found.notes[0].startswith(f"{len(wanted)} pairs by ") and rule in found.notes[0]
    assert found.notes[0].endswith(f", the first {Path(first).name} and {Path(mask).name}")
    assert [note.split(":")[0] for note in found.notes[1:]] == ["several masks for an image"] * (tree in SEVERAL)


def test_paths_may_be_relative_and_end_in_a_slash(tmp_path, monkeypatch):
    touch(tmp_path, ["d/1.png", "d/masks/1.png"])
    monkeypatch.chdir(tmp_path)
    for images, masks in (("d", "d/masks"), ("d/", "./d/masks/"), ("d/*.png", "d/masks/*")):
        ((image, mask),) = find_pairs(images, masks).pairs
        assert (Path(image.path), Path(mask.path)) == (Path("d/1.png"), Path("d/masks/1.png"))


def test_accents_are_the_same_composed_or_not(tmp_path):
    decomposed = unicodedata.normalize("NFD", "é")
    touch(tmp_path, [f"i/{decomposed}1.jpg", f"i/{decomposed}2.jpg", "m/é1.png", "m/é2.png"])
    pairs, found = paired(tmp_path, "i", "m")
    assert pairs == {f"i/{decomposed}{i}.jpg": f"m/é{i}.png" for i in (1, 2)} and "by the same name" in found.notes[0]


class TestSeveralMasks:
    """The kind that serves most images is taken, and the notes say what was left."""

    def test_annotators_in_one_folder(self, tmp_path):
        touch(tmp_path, [f"i/{i:03}.png" for i in THREE] + [f"m/{i:03}_a{k}.png" for i in THREE for k in (1, 2)])
        pairs, found = paired(tmp_path, "i", "m")
        assert pairs == grid("i/{i:03}.png", "m/{i:03}_a1.png", i=THREE)
        assert found.notes[1].startswith("several masks for an image: took 3 '… a1'; left 3 '… a2' ")

    @pytest.mark.parametrize("numbers", [THREE, (1, 2)])
    def test_annotators_who_are_numbers_like_the_images(self, tmp_path, numbers):
        touch(tmp_path, [f"i/{i}.png" for i in numbers] + [f"m/{i}_{k}.png" for i in numbers for k in (1, 2)])
        pairs, found = paired(tmp_path, "i", "m")
        assert pairs == grid("i/{i}.png", "m/{i}_1.png", i=numbers)
        assert f"took {len(numbers)} '… 1'; left {len(numbers)} '… 2'" in found.notes[1]

    def test_annotators_in_folders_and_a_mask_without_an_image(self, tmp_path):
        touch(
            tmp_path, [f"i/{i}.png" for i in THREE] + [f"m/{who}/{i}.png" for i in (1, 2, 3, 4) for who in ("b", "a")]
        )
        pairs, found = paired(tmp_path, "i", "m")
        assert pairs == grid("i/{i}.png", "m/a/{i}.png", i=THREE)
        assert "took 3 'a/'; left 4 'b/'" in found.notes[1]
        assert found.notes[2] == "left out: 1 mask without an image: 4.png"

    def test_annotators_in_folders_with_two_masks_each(self, tmp_path):
        masks = grid("{i}{who}{k}", "m/{who}/{i}_{k}.png", i=THREE, who="ab", k="xy").values()
        touch(tmp_path, [*(f"i/{i}.png" for i in THREE), *masks])
        pairs, found = paired(tmp_path, "i", "m")
        assert pairs == grid("i/{i}.png", "m/a/{i}_x.png", i=THREE)
        assert "took 3 'a/ … x'; left 3 'a/ … y', 3 'b/ … x', 3 'b/ … y'" in found.notes[1]
        assert found.unpaired == []

    def test_one_more_mask_of_one_image_and_masks_of_none(self, tmp_path):
        touch(tmp_path, [*BUSI, *BUSI.values(), "b/benign (4)_mask_1.png", "b/benign (77)_mask.png"])
        pairs, found = paired(tmp_path, "b")
        assert pairs == BUSI
        assert "took 11 '… mask'; left 1 '… mask 1'" in found.notes[1]
        assert [short(path, tmp_path) for path in found.unpaired] == ["b/benign (77)_mask.png"]

    @pytest.mark.parametrize(
        ("tree", "taken"), [("Cityscapes", "6 '… gtfine labelids'"), ("DRIVE, one tree", "8 '1st_")]
    )
    def test_what_is_for_looking_at_is_left(self, tmp_path, tree, taken):
        images, masks, wanted, others, _ = TREES[tree]
        touch(tmp_path, [*wanted, *wanted.values(), *others])
        assert f"took {taken}" in paired(tmp_path, images, masks)[1].notes[1]

    def test_many_kinds_are_not_all_told(self, tmp_path):
        touch(tmp_path, ["i/1.png", *(f"m/1_{who}.png" for who in "abcdefghi")])
        note = paired(tmp_path, "i", "m")[1].notes[1]
        assert "took 1 '… a'; left 1 '… b', 1 '… c', 1 '… d', 1 '… e', 1 '… f', … (" in note


class TestPartly:
    def test_what_has_no_partner_is_left_out_and_named(self, tmp_path):
        touch(tmp_path, ["i/cat_1.png", "i/cat_2.png", "i/dog_3.png", "m/cat_1.png", "m/cat_2.png", "m/bird_3.png"])
        pairs, found = paired(tmp_path, "i", "m")
        assert pairs == {"i/cat_1.png": "m/cat_1.png", "i/cat_2.png": "m/cat_2.png"}  # not dog_3 and bird_3
        assert "by the same name" in found.notes[0]
        assert found.notes[1:] == [
            "left out: 1 image without a mask: dog_3.png",
            "left out: 1 mask without an image: bird_3.png",
        ]
        assert [short(path, tmp_path) for path in found.unpaired] == ["i/dog_3.png", "m/bird_3.png"]

    def test_many_are_counted_and_five_named(self, tmp_path):
        touch(tmp_path, [*grid("i/{i}.png", "m/{i}.png", i=range(8)), *(f"i/x{i}.png" for i in range(8)), "m/1.png"])
        found = paired(tmp_path, "i", "m")[1]
        assert found.notes[1] == "left out: 15 images without a mask: 0.png, 2.png, 3.png, 4.png, 5.png, …"
        assert len(found.unpaired) == 15

    def test_names_that_agree_twice_are_not_guessed(self, tmp_path):
        touch(tmp_path, ["i/a/1.jpg", "i/b/1.jpg", "i/b/2.jpg", "m/1_mask.png", "m/2_mask.png"])
        assert paired(tmp_path, "i", "m")[0] == {"i/b/2.jpg": "m/2_mask.png"}

    def test_a_mask_that_fits_two_images_is_given_to_one(self, tmp_path):
        touch(tmp_path, ["i/1.png", "i/2.png", "m/1_2.png"])
        assert paired(tmp_path, "i", "m")[0] == {"i/1.png": "m/1_2.png"}

    def test_the_mask_of_a_frame_that_is_missing_is_given_to_no_other(self, tmp_path):
        wanted = grid("i/{a}_{b}.png", "m/{a}_{b}_mask.png", a=THREE, b=THREE)
        touch(tmp_path, [*wanted.values(), *(image for image in wanted if image != "i/3_3.png")])
        del wanted["i/3_3.png"]
        assert paired(tmp_path, "i", "m")[0] == wanted


class TestRefused:
    @pytest.mark.parametrize(
        ("names", "images", "masks", "message"),
        [
            (["i/1.png"], "i", "no", r"no: no such folder"),
            (["i/1.png", *(f"m/{i}.mat" for i in range(12)), "m/x"], "i", "m", r"m: no image files in it \(found: 12 "
             r"\.mat, 1 without ending\); wanted \.png \.jpg"),
            (["i/1.png", "m/.DS_Store"], "i", "m", r"m: no image files in it \(found: nothing\)"),
            (["i/1.png", "m/1.png"], "i/*.tif", "m", r"i/\*\.tif: no image files in it \(found: nothing\)"),
            (["i/1.png", "no/1.png"], "i", "nowhere/*.tif", r"nowhere: no such folder"),
            (["i/x.png", "m/y.png"], "i", "m", r"names that agree: x\.png, y\.png; name them alike, or give patterns"),
            (["i/1.png", "i/1.bmp", "m/1.png"], "i", "m", r"stand for two files(.|\n)*i/1\.bmp and 1\.png: one"),
            (["i/1.png", "m/1.gif", "m/1.png"], "i", "m", r"choose with a pattern(.|\n)*m/1\.gif and 1\.png"),
            (["d/a.png", "d/b.png"], "d", None, r"d: cannot tell images from masks by their names, as in a\.png; give"),
            (["d/a_mask.png", "d/b_mask.png"], "d", None, r"d: cannot tell images from masks"),
            (["d/a.png", "d/b.png"], "d", "d", r"d: cannot tell images from masks"),
        ],
    )  # fmt: skip
    def test_and_told_why(self, tmp_path, names, images, masks, message):
        touch(tmp_path, names)
        with pytest.raises(DataError, match=message):
            paired(tmp_path, images, masks)


befores = st.tuples(st.text("abL _-", max_size=4), st.sampled_from(["", "2000 ", "v3.", "cam_"])).map("".join)
afters = st.tuples(st.sampled_from(["", " 2000", ".v3"]), st.text("abL _-", max_size=4)).map("".join)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 999), min_size=1, max_size=5), st.tuples(befores, befores), st.tuples(afters, afters),
       st.tuples(st.integers(1, 4), st.integers(1, 4)))  # fmt: skip
def test_two_numbers_are_never_paired(numbers, before, after, digits):
    """Whatever stands around the numbers and however they are padded: the right ones, all of them, or a refusal."""
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        names = [{n: f"{b}{n:0{d}}{a}" for n in numbers} for b, a, d in zip(before, after, digits, strict=True)]
        touch(root, [f"i/{name}.jpg" for name in names[0].values()] + [f"m/{name}.png" for name in names[1].values()])
        try:
            pairs, _ = paired(root, "i", "m")
        except DataError:
            assert len(numbers) == 1  # of one photo, "v3.7" may be the number 3 or 7
        else:
            assert pairs == {f"i/{names[0][n]}.jpg": f"m/{names[1][n]}.png" for n in numbers}


stems = st.sets(st.from_regex(r"[ab]?[_/]?[012]{1,2}(_[ab12])?", fullmatch=True), min_size=1, max_size=7)


@settings(max_examples=80, deadline=None)
@given(stems, stems)
def test_nothing_is_invented_or_used_twice_and_the_counts_are_true(images, masks):
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        images, masks = ({f"{d}/x {stem}.png" for stem in found} for d, found in (("i", images), ("m", masks)))
        touch(root, [*images, *masks])
        try:
            pairs, found = paired(root, "i", "m")
        except DataError:
            return
        assert pairs.keys() <= images and set(pairs.values()) <= masks
        assert len(set(pairs.values())) == len(pairs) == len(found.pairs)
        assert found.notes[0].startswith(f"{len(pairs)} pairs ")
        lone = {short(path, root) for path in found.unpaired}
        assert lone & images == images - pairs.keys() and lone & masks <= masks - set(pairs.values())
        told = {what: sum(map(int, re.findall(rf"out: (\d+) {what}", " ".join(found.notes)))) for what in ("im", "ma")}
        assert told == {"im": len(lone & images), "ma": len(lone & masks)}
        left = [note.split("; left ")[1].split(" (choose")[0] for note in found.notes if note.startswith("several")]
        if not "".join(left).endswith("…"):
            counted = sum(int(count) for text in left for count in re.findall(r"(\d+) '[^']*'", text))
            assert counted == len(masks) - len(pairs) - len(lone & masks)


@settings(max_examples=40, deadline=None)
@given(stems, st.sampled_from(["", "_mask", " - gt"]))
def test_names_that_differ_by_one_word_are_all_paired(found, word):
    found = {stem for stem in found if not re.search("^_|/", stem)}  # " _1" and " 1" are one name to its words
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        wanted = {f"i/x {stem}.png": f"m/x {stem}{word}.png" for stem in found}
        touch(root, [*wanted, *wanted.values()])
        assert not wanted or paired(root, "i", "m")[0] == wanted


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("r{0}_c{1}", "c{1}_r{0}"),
        ("day{0}_site{1}", "site{1}_day{0}_mask"),
        ("2021-03-{0:02}_site{1}", "site{1}_2021-03-{0:02}"),
    ],
)
def test_numbers_in_another_order_are_told_apart_by_the_words_before_them(tmp_path, image, mask):
    places = [(i, j) for i in range(1, 5) for j in range(1, 5)]
    wanted = {f"i/{image.format(*place)}.jpg": f"m/{mask.format(*place)}.png" for place in places}
    touch(tmp_path, [*wanted, *wanted.values()])
    assert paired(tmp_path, "i", "m")[0] == wanted


def test_a_folder_of_masks_for_each_image_is_for_from_instances(tmp_path):
    touch(
        tmp_path, [*(f"i/cell_{n}.png" for n in range(4)), *(f"m/cell_{n}/{k}.png" for n in range(4) for k in range(3))]
    )
    with pytest.raises(DataError, match="data.from_instances joins them"):
        paired(tmp_path, "i", "m")


def test_numbered_masks_of_an_image_may_be_objects(tmp_path):
    touch(tmp_path, [*(f"i/{n:03}.png" for n in range(4)), *(f"m/{n:03}_{k}.png" for n in range(4) for k in range(3))])
    assert any("data.from_instances" in note for note in paired(tmp_path, "i", "m")[1].notes)


def test_jpeg_files_are_the_images_of_one_folder(tmp_path):
    names = [f"x/Image_{n:02}{side}" for n in range(1, 4) for side in "LR"]
    touch(tmp_path, [f"{name}{end}" for name in names for end in (".jpg", "_1stHO.png", "_2ndHO.png")])
    assert paired(tmp_path, "x", None)[0] == {f"{name}.jpg": f"{name}_1stHO.png" for name in names}


def test_a_mask_that_is_called_otherwise_than_the_others_is_noted(tmp_path):
    """It may be the left-over mask of an image that is gone."""
    touch(tmp_path, [f"i/img_{i}.png" for i in range(1, 5)])
    touch(tmp_path, ["m/img_1_flip_mask.png", *(f"m/img_{i}_mask.png" for i in (2, 3, 4))])
    _, found = paired(tmp_path, "i", "m")
    assert "4 pairs by the words of their names" in found.notes[0] and "1 '… flip mask'" in found.notes[0]
    (tmp_path / "m/img_1_flip_mask.png").rename(tmp_path / "m/img_1_mask.png")
    assert "flip" not in paired(tmp_path, "i", "m")[1].notes[0]
