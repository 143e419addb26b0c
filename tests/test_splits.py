import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seglib.data import DataError
from seglib.data.splits import assign_splits

TWENTY = [f"{i:02}.png" for i in range(20)]
FRAMES = [f"drive{k}_{i:03}.png" for k in range(12) for i in range(5 + k % 3)]


def split_names(names, **how):
    """From each split to the names in it, and the notes."""
    split_of, notes = assign_splits(names, **how)
    return {split: [names[i] for i in indices] for split, indices in split_of.items()}, notes


class TestShares:
    def test_sizes(self):
        def sizes(count, **how):
            split_of, _ = assign_splits([f"{i}.png" for i in range(count)], **how)
            return [len(split_of[split]) for split in ("train", "val", "test")]

        assert sizes(100) == [70, 15, 15]
        assert sizes(100, val=0.2) == [65, 20, 15]
        assert sizes(100, val=0.25, test=0) == [75, 25, 0]
        assert sizes(7, val=0.2, test=0.4) == [3, 1, 3]
        assert sizes(1, val=0, test=0) == [1, 0, 0]

    def test_seeds(self):
        first = assign_splits(TWENTY, seed=1)
        assert assign_splits(TWENTY, seed=1) == first != assign_splits(TWENTY, seed=2)
        assert all(indices == sorted(indices) for indices in first[0].values())
        assert first[1] == ["splits: drawn with seed 1, train 14, val 3, test 3"]
        assert assign_splits(TWENTY, val=0, test=0)[1] == []  # nothing was drawn

    @pytest.mark.parametrize("shares", [(0.6, 0.4), (0.7, 0.5), (-0.1, 0), (0, 1), (1, 0)])
    def test_that_leave_nothing_to_train_on_are_refused(self, shares):
        with pytest.raises(DataError, match="val and test"):
            assign_splits(TWENTY, *shares)

    def test_that_leave_a_split_empty_are_refused(self):
        with pytest.raises(DataError, match="20 pairs.*'test'.*test="):
            assign_splits(TWENTY, test=0.01)
        with pytest.raises(DataError, match="2 pairs.*'train'"):
            assign_splits(TWENTY[:2], 0.45, 0.45)


class TestGroups:
    @pytest.mark.parametrize("groups", [r"^([^_]+)_", r"^drive\d+", lambda name: int(name[5:].split("_")[0])])
    def test_stay_together_near_the_shares(self, groups):
        found, notes = split_names(FRAMES, groups=groups, val=0.25, test=0.15, seed=3)
        drives = {split: {name.split("_")[0] for name in names} for split, names in found.items()}
        assert sum(map(len, drives.values())) == len(set().union(*drives.values())) == 12
        counts = ", ".join(f"{split} {len(names)}" for split, names in found.items())
        assert notes == [f"splits: drawn with seed 3, {counts}, of 12 groups none in two"]
        for split, share in (("val", 0.25), ("test", 0.15)):
            assert abs(len(found[split]) - share * len(FRAMES)) <= 7 / 2  # the largest group has 7 frames

    @pytest.mark.parametrize("seed", range(5))
    def test_of_few_every_split_has_one(self, seed):
        names = [f"{group}_{i}.png" for group in "abc" for i in range(2)]
        found, _ = split_names(names, groups="^.", val=0.5, test=0.33, seed=seed)
        assert [len(chosen) for chosen in found.values()] == [2, 2, 2]

    def test_that_do_not_match_are_named(self):
        with pytest.raises(DataError, match=r"\(2\)(.|\n)*x\.png: groups='drive'"):
            assign_splits([*FRAMES, "x.png", "y.png"], groups="drive")
        with pytest.raises(DataError, match=r"\(1\)(.|\n)*b2\.png"):
            assign_splits(["a1.png", "b2.png"], groups=r"a(\d)|b")

    def test_too_few_are_told_from_too_few_pairs(self):
        with pytest.raises(DataError, match=r"2 groups \(20 pairs\)"):
            assign_splits(TWENTY, groups=r"^\d")

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.sampled_from([0, 0.1, 0.3]), st.integers(0, 99))
    def test_every_pair_once_and_no_group_twice(self, members, test, seed):
        names = [f"{group}_{i}.png" for i, group in enumerate(members)]
        how = {"val": 0.2, "test": test, "seed": seed, "groups": r"^\d"}
        try:
            found, _ = split_names(names, **how)
        except DataError:
            assert len(set(members)) < 10  # some groups are too large, or there are too few
            return
        assert sorted(sum(found.values(), [])) == sorted(names)
        groups = [{name[0] for name in chosen} for chosen in found.values()]
        assert sum(map(len, groups)) == len(set(members))
        assert [bool(chosen) for chosen in found.values()] == [True, True, test > 0]
        assert split_names(names, **how)[0] == found


class TestFolders:
    NAMES = ["training/a/1.png", "Val-set/2.png", "my_test/3.png", "training/4.png"]

    def test_named_for_the_splits_decide(self):
        found, notes = split_names(self.NAMES)
        assert found == {"train": [self.NAMES[0], self.NAMES[3]], "val": [self.NAMES[1]], "test": [self.NAMES[2]]}
        assert notes == ["splits: as the folders say, train 2, val 1, test 1"]
        assert split_names([f"x/{split}/{i}.png" for split in ("train", "valid") for i in range(3)])[0]["test"] == []

    @pytest.mark.parametrize(
        "names",
        [
            [f"{'train/' * (i > 2)}{i}.png" for i in range(20)],  # not all of them lie in one
            [f"train/{i}.png" for i in range(20)],  # that is no split
            [f"{('test', 'val')[i % 2]}/{i}.png" for i in range(20)],
            [f"{('train/val', 'val/train')[i % 2]}/{i}.png" for i in range(20)],  # two of them
            [f"trainers/{i}.png" for i in range(20)],
            [f"{('train', 'val')[i % 2]}_{i}.png" for i in range(20)],
        ],
    )
    def test_otherwise_shares_do(self, names):
        found, notes = split_names(names)
        assert [len(chosen) for chosen in found.values()] == [14, 3, 3]
        assert notes[0].startswith("splits: drawn with seed 0, train 14, val 3, test 3")

    def test_shares_or_groups_that_are_said_come_first(self):
        for how in ({"val": 0.25}, {"test": 0.25}, {"groups": r"(\d)\.png"}):
            assert "seed 0" in split_names(self.NAMES * 5, **how)[1][0]


class TestLists:
    NAMES = [f"{place}/{i:04}.png" for place in ("day", "night") for i in (1, 2)] + ["day/0003.png", "photo 12.jpg"]

    @pytest.fixture
    def lists(self, tmp_path):
        def write(**texts):
            for split, text in texts.items():
                (tmp_path / f"{split}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
            return tmp_path

        return write

    @pytest.mark.parametrize(
        ("line", "wanted"),
        [
            ("day/0001.png", "day/0001.png"),
            ("day/0001", "day/0001.png"),
            ("day/0001.jpg", "day/0001.png"),  # the list was made before the images were converted
            ("/SegNet/set/day/0001.png", "day/0001.png"),
            ("/SegNet/set/day/0001.png /SegNet/set/dayannot/0001.png", "day/0001.png"),
            ("C:\\set\\night\\0002.png", "night/0002.png"),
            ("0003", "day/0003.png"),
            ("0003.png 0003_L.png", "day/0003.png"),
            ("0003,masks/0003_L.png", "day/0003.png"),
            ("  0003\t-1 ", "day/0003.png"),
            ("photo 12.jpg", "photo 12.jpg"),
            ("my set/photo 12.jpg", "photo 12.jpg"),
        ],
    )
    def test_a_line_means_the_longest_path_that_is_known(self, lists, line, wanted):
        assert split_names(self.NAMES, lists=lists(train=line))[0] == {"train": [wanted], "val": [], "test": []}

    def test_names_within_names(self, lists):
        names = ["img.jpg", "img (1).jpg", "a.jpg", "a.b.jpg"]
        found, _ = split_names(names, lists=lists(train="img (1).jpg\na.b\n", val="img.jpg\na"))
        assert found == {"train": ["img (1).jpg", "a.b.jpg"], "val": ["img.jpg", "a.jpg"], "test": []}

    def test_a_folder_or_a_mapping(self, lists, tmp_path):
        folder = lists(train="day/0001\nday/0002\n", val="0003", test="photo 12")
        found, notes = split_names(self.NAMES, lists=folder)
        assert found == {"train": self.NAMES[:2], "val": ["day/0003.png"], "test": ["photo 12.jpg"]}
        assert notes[0] == "splits: from lists, train 2, val 1, test 1"
        mapping = {"train": tmp_path / "test.txt", "val": str(tmp_path / "train.txt")}
        found, notes = split_names(self.NAMES, lists=mapping)
        assert found == {"train": ["photo 12.jpg"], "val": self.NAMES[:2], "test": []}

    def test_marks_of_windows_blank_lines_and_repetitions(self, lists):
        folder = lists(train="\ufeffday/0001.png\r\n\r\nday/0002.png\r\nday/0001.png\r\n")
        assert split_names(self.NAMES, lists=folder)[0]["train"] == self.NAMES[:2]

    def test_pairs_on_no_list_are_left_out_and_reported(self, lists):
        _, notes = split_names(self.NAMES, lists=lists(train="day/0001"))
        assert notes == ["splits: from lists, train 1", "left out: 5 pairs on no list, the first day/0002.png"]

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            ({"train": "day/0001\nday/0009\n"}, r"train\.txt, line 2: 'day/0009'.* 0 pairs"),
            ({"train": "0001"}, r"train\.txt, line 1: '0001'.* 2 pairs"),
            ({"train": "day/0001", "val": "day/0002\nday/0001"}, r"val\.txt, line 2: day/0001\.png.*'train'"),
            ({"train": "/\n;\n.\n..\n"}, r"\(4\)"),
            ({"train": "day/0001".encode("utf-16")}, r"train\.txt, line 1: "),
        ],
    )  # fmt: skip
    def test_lines_that_do_not_fit_are_refused(self, lists, texts, message):
        with pytest.raises(DataError, match=message):
            assign_splits(self.NAMES, lists=lists(**texts))

    def test_files_and_splits_that_are_not_there(self, tmp_path):
        for lists in ({"train": tmp_path / "train.txt"}, tmp_path):
            with pytest.raises(FileNotFoundError, match=r"train\.txt"):
                assign_splits(self.NAMES, lists=lists)
        with pytest.raises(DataError, match="dev; wanted train, val, test"):
            assign_splits(self.NAMES, lists={"dev": tmp_path / "gone.txt"})

    @pytest.mark.parametrize("more", [{"val": 0.1}, {"test": 0}, {"groups": "a"}])
    def test_nothing_else_is_said(self, lists, more):
        with pytest.raises(DataError, match="lists="):
            assign_splits(self.NAMES, lists=lists(train="day/0001"), **more)

    def test_without_a_pair_to_train_on_are_refused(self, lists):
        with pytest.raises(DataError, match="test.txt: no pair for train"):
            split_names(self.NAMES, lists=lists(test="day/0001"))
