"""Datasets by name: what is drawn, what TFDS serves, and what is said when neither is at hand."""

import contextlib
import dataclasses
import http.server
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from tfds_folders import own_checksums, write_archives, write_tfds

from seglib import data, labels
from seglib.data import DataError, fetch, prepare, specs
from seglib.datasets.streets import builder

PETS = "oxford_iiit_pet"
COUNTS = {PETS: 30, "cityscapes": 9, "scene_parse150": 30, "coco/2017_panoptic": 30}


def pairs_of(split):
    return list(split.as_numpy_iterator())


@pytest.fixture
def few_streets(monkeypatch):
    """Four streets in all, so that drawing takes no time."""
    monkeypatch.setattr(builder, "SPLITS", {"train": [0, 1], "validation": [2], "test": [3]})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """``prepared(name)``: a folder with a small prepared dataset, made once, and what was drawn into it."""
    made = {}

    def prepare(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("prepared")
            made[name] = folder, write_tfds(name, folder, COUNTS[name])
        return made[name]

    return prepare


@pytest.fixture
def pets(prepared, tmp_path):
    """A folder of our own with prepared pets, and the folder of their one version."""
    shutil.copytree(prepared(PETS)[0], tmp_path, dirs_exist_ok=True)
    return tmp_path, tmp_path / PETS / "4.0.0"


@pytest.fixture
def no_network(monkeypatch):
    """Asking any host is a mistake."""
    monkeypatch.setattr(fetch, "find_unreachable", lambda urls: pytest.fail(f"asked {urls}"))


# What is drawn


def test_load_gives_the_streets():
    dataset = data.load("streets/tiny")
    assert dataset.counts["train"] >= 400 and dataset.counts["val"] >= 60 and dataset.counts["test"] >= 100
    for split in (dataset.train, dataset.val, dataset.test):
        pair = next(split.as_numpy_iterator())
        assert pair["image"].shape == (64, 96, 3) and pair["image"].dtype == np.uint8
        dataset.labels.check_ids(pair["mask"])
        assert pair["mask"].shape == (64, 96)
    assert dataset.is_cached("train")
    assert dataset.train.element_spec["image"].shape == (64, 96, 3)  # static, as some models want it


def test_load_gives_the_cells():
    cells = pytest.importorskip("seglib.datasets.cells")
    dataset = data.load("cells/tiny")
    assert dataset.labels == cells.LABELS and all(dataset.counts[split] for split in data.SPLITS)
    pair = next(dataset.val.as_numpy_iterator())
    assert pair["image"].shape == (*cells.SIZES["tiny"], 3) and pair["mask"].shape == cells.SIZES["tiny"]
    dataset.labels.check_ids(pair["mask"])


def test_two_processes_may_draw_at_once(tmp_path, monkeypatch, few_streets, capsys):
    """The one that ends second finds a finished folder where it wants to put its own."""
    first = data.load("streets/tiny", data_dir=tmp_path / "first")
    assert first.counts == {"train": 2, "val": 1, "test": 1}
    draw = builder.draw_scene

    def overtaken(seed, *size):
        if seed == 3:
            shutil.copytree(tmp_path / "first", tmp_path / "second", dirs_exist_ok=True)
        return draw(seed, *size)

    monkeypatch.setattr(builder, "draw_scene", overtaken)
    second = data.load("streets/tiny", data_dir=tmp_path / "second")
    assert len(pairs_of(second.train)) == 2
    assert capsys.readouterr().out.count("drawing it once") == 2
    assert repr(data.load("streets/tiny", data_dir=tmp_path / "second")) == repr(second)
    assert "drawing" not in capsys.readouterr().out


def test_a_process_waits_while_another_prepares_the_same(tmp_path, few_streets, capsys):
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / ".streets-tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=data.load, args=("streets/tiny", tmp_path))
        thread.start()
        thread.join(2)
        assert thread.is_alive() and not (tmp_path / "streets" / "tiny").exists()
    thread.join(60)
    assert len(pairs_of(data.load("streets/tiny", tmp_path).train)) == 2
    printed = capsys.readouterr().out
    assert "streets/tiny: another process is preparing it" in printed and printed.count("drawing it once") == 1


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="no dataset 'street'; there are streets/tiny.*cells/full.*cityscapes.*from_"):
        data.load("street")
    with pytest.raises(ValueError, match="no dataset 'streets/huge'; there are"):
        data.load("streets/huge")


def test_voc_is_not_served_with_masks(tmp_path):
    features = tfds.builder("voc/2012", data_dir=str(tmp_path)).info.features
    assert [name for name, feature in features.items() if isinstance(feature, tfds.features.Image)] == ["image"]
    for name in ("voc", "voc/2012"):
        with pytest.raises(ValueError, match=r"boxes of PASCAL VOC but not its masks(.|\n)*from_folder(.|\n)*lists="):
            data.load(name)


# What TFDS serves: its own builders, small archives, and oracles in NumPy


def as_pets(trimap):
    return trimap - 1


def as_pets_binary(trimap):
    return np.select([trimap == 1, trimap == 2], [1, 0], 255)


def as_cityscapes(ids):
    # id:   0–6        7  8  9    10   11 12 13 14   15   16   17 18   19 20 … 28                        29   30   31 …
    train = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, *range(6, 16), 255, 255, 16, 17, 18]
    return np.array(train)[ids]


def as_scene_parse(annotation):
    return annotation[..., 0]


def as_coco_panoptic(annotation):
    panoptic, segments = annotation
    mask = np.full(panoptic.shape[:2], 255)
    for key, name in segments.items():
        colour = (key % 256, key // 256 % 256, key // 65536)
        mask[(panoptic == colour).all(-1)] = labels.COCO_PANOPTIC.names.index(name)
    return mask


ORACLES = {
    PETS: (as_pets, 3),
    "oxford_iiit_pet/binary": (as_pets_binary, 2),
    "cityscapes": (as_cityscapes, 19),
    "scene_parse150": (as_scene_parse, 101),
    "coco/2017_panoptic": (as_coco_panoptic, 133),
}


@pytest.mark.parametrize("name", specs.SPECS)
def test_pairs_are_those_that_were_put_in(name, prepared, no_network):
    folder, truth = prepared(name.removesuffix("/binary"))
    oracle, num_classes = ORACLES[name]
    dataset = data.load(name, folder)
    assert dataset.labels.num_classes == num_classes and dataset.notes
    official_test = "validation" if "validation" in truth else "test"
    assert dataset.counts["test"] == len(truth[official_test])
    assert dataset.counts["train"] + dataset.counts["val"] == len(truth["train"])
    assert dataset.counts["train"] > 4 * dataset.counts["val"] > 0 or name == "cityscapes"
    for splits, official in ((("train", "val"), "train"), (("test",), official_test)):
        left = list(truth[official])
        for pair in (pair for split in splits if dataset.counts[split] for pair in pairs_of(dataset.split(split))):
            image, annotation = left.pop(find_image(pair["image"], left))  # each is found once
            assert pair["mask"].dtype == np.uint8
            np.testing.assert_array_equal(pair["mask"], oracle(annotation))
        assert not left


def find_image(image, drawn):
    """The index of the pair whose image this is; JPEG decoders may differ by a few grey levels."""
    fits = [i for i, (own, _) in enumerate(drawn) if own.shape == image.shape]
    errors = [np.abs(drawn[i][0].astype(int) - image).mean() for i in fits]
    assert image.dtype == np.uint8 and min(errors) < 1
    return fits[int(np.argmin(errors))]


def test_sizes_are_known_where_they_are_the_same(prepared):
    assert data.load(PETS, prepared(PETS)[0]).sizes == {"train": None, "val": None, "test": None}
    dataset = data.load("cityscapes", prepared("cityscapes")[0])
    assert dataset.sizes["test"] == [(1024, 2048)] * 3


def test_too_few_for_a_val_split(tmp_path):
    write_tfds(PETS, tmp_path, 3)
    dataset = data.load(PETS, tmp_path)
    assert dataset.counts == {"train": 2, "val": 0, "test": 1} and len(pairs_of(dataset.train)) == 2
    with pytest.raises(DataError, match="no pairs in its 'val' split"):
        _ = dataset.val


def test_batches_of_images_of_many_sizes(prepared):
    dataset = data.load(PETS, prepared(PETS)[0])
    for augment in (None, lambda pair, seed: pair):
        images, masks = next(iter(dataset.batches("train", (64, 96), 4, augment=augment)))
        assert images.shape == (4, 64, 96, 3) and set(np.unique(masks)) == {0, 1, 2}


def test_an_id_without_a_class_is_an_error():
    masks = tf.data.Dataset.from_tensors(tf.constant([[1, 2], [7, 3]], tf.uint8))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"ids that have no class:.*\[7\]"):
        pairs_of(masks.map(lambda mask: specs._remap(mask, {1: 0, 2: 1, 3: 2})))


def test_coco_colours_of_no_segment_are_void():
    """Three colours are of no segment, below, between and above those that are, and one is black."""
    colours = [[1, 2, 3], [0, 0, 0], [8, 0, 1], [9, 0, 1], [10, 0, 1], [1, 2, 4]]
    example = {
        "image": tf.zeros((1, 6, 3), tf.uint8),
        "panoptic_image": tf.constant([colours], tf.uint8),
        "panoptic_objects": {
            "id": tf.constant([1 + 2 * 256 + 3 * 65536, 9 + 65536], tf.int64),  # in no order
            "label": tf.constant([0, 2], tf.int64),
            "is_crowd": tf.constant([True, False]),
        },
    }
    label = tfds.features.ClassLabel(names=["sky-other-merged", "person", "car"])
    mask = specs._coco_panoptic(example, {"panoptic_objects": {"label": label}})["mask"]
    coco = labels.COCO_PANOPTIC
    assert mask.numpy().tolist() == [[coco.id_of("sky-other-merged"), 255, 255, coco.id_of("car"), 255, 255]]


@pytest.mark.parametrize("name", specs.SPECS)
def test_the_table_agrees_with_tfds(name, tmp_path):
    spec = specs.SPECS[name]
    known = spec.builder(tmp_path)
    if None in spec.files.values():
        assert set(spec.files) == {archive for archive, _ in known.builder_config.zip_root.values()}
    else:
        infos = [known.url_infos[url] for url in spec.files.values()]
        assert [info.filename for info in infos] == list(spec.files)
        assert sum(info.size for info in infos) / 1e9 == pytest.approx(spec.gigabytes, rel=0.01)
    assert not (set(spec.features) - set(known.info.features)) and not os.listdir(tmp_path)
    (share,) = re.fullmatch(r"train\[:(\d+)%\]", spec.splits["train"]).groups()
    assert spec.splits["val"] == f"train[{share}%:]" and spec.splits["test"] in ("test", "validation")


# When the network is not there


class Host:
    """A web server on this machine: ``files`` by name, ``status`` otherwise; it counts the requests for each."""

    def __init__(self):
        self.files, self.status, self.asked, self.cut = {}, 404, [], None
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rpartition("/")[2]
                host.asked.append(name)
                content = host.files.get(name)
                self.send_response(host.status if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                with contextlib.suppress(OSError):  # whoever only probes does not read on
                    self.wfile.write((content or b"")[: len(content or b"") // 2 if host.cut == name else None])

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def host():
    host = Host()
    yield host
    host.close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def serve_pets_from(address, monkeypatch):
    """Lets the table and TFDS's builder fetch the pets from another address."""
    spec = specs.SPECS[PETS]
    files = {name: f"{address}/{name}" for name in spec.files}
    monkeypatch.setitem(specs.SPECS, PETS, dataclasses.replace(spec, files=files))
    module = sys.modules[type(spec.builder("unused")).__module__]
    monkeypatch.setattr(module, "_BASE_URL", address)


def refused(folder, within=10):
    """The message of a refusal, which must come in time."""
    start = time.monotonic()
    with pytest.raises(DataError) as error:
        data.load(PETS, folder)
    assert time.monotonic() - start < within
    return str(error.value)


def check_advice(message, folder):
    assert message.startswith("oxford_iiit_pet is not on this machine and cannot be fetched")
    assert 'data.load("streets/tiny")' in message and 'data.load("cells/tiny")' in message and "from_folder" in message
    assert f"images.tar.gz and annotations.tar.gz, into {folder / 'downloads' / 'manual'}" in message
    assert f"to {folder / PETS / '4.0.0'}" in message


def test_a_name_server_that_hangs(tmp_path, monkeypatch):
    end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: end.wait(60))
    message = refused(tmp_path)
    end.set()
    check_advice(message, tmp_path)
    assert "https://thor.robots.ox.ac.uk/~vgg/data/pets/images.tar.gz: no answer within 3 seconds" in message


def test_a_host_that_has_no_address(tmp_path, monkeypatch):
    serve_pets_from("http://nowhere.invalid", monkeypatch)
    message = refused(tmp_path)
    check_advice(message, tmp_path)
    assert "http://nowhere.invalid/images.tar.gz: " in message


def test_a_host_that_never_answers(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        serve_pets_from(f"http://127.0.0.1:{mute.getsockname()[1]}", monkeypatch)
        check_advice(refused(tmp_path), tmp_path)


def test_a_host_that_refuses_connections(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"http://127.0.0.1:{gone.getsockname()[1]}"
    serve_pets_from(address, monkeypatch)
    assert "refused" in refused(tmp_path)


def test_a_host_that_is_out_of_order(tmp_path, monkeypatch, host):
    """TFDS would ask ten times more, for minutes, while the host answers 503; it reports 404 at once."""
    serve_pets_from(host.address, monkeypatch)
    host.status = 503
    assert "/images.tar.gz: answered 503 Service Unavailable" in refused(tmp_path)
    host.status = 404
    message = refused(tmp_path)
    assert "could not be made: DownloadError" in message and "404" in message and "by hand" in message


def test_asking_goes_through_the_proxy(monkeypatch, host):
    assert list(fetch.find_unreachable(["http://nowhere.invalid/a"])) == ["http://nowhere.invalid/a"]
    monkeypatch.setenv("http_proxy", host.address)
    assert fetch.find_unreachable(["http://nowhere.invalid/a"]) == {} and host.asked == ["a"]


def test_cityscapes_must_be_placed_by_hand(tmp_path, no_network):
    manual = tmp_path / "downloads" / "manual"
    with pytest.raises(DataError) as error:
        data.load("cityscapes", tmp_path)
    for archive in ("leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip"):
        assert f"{manual / archive}: no such file" in str(error.value)
    assert "register at https://www.cityscapes-dataset.com/login/" in str(error.value)
    manual.mkdir(parents=True)
    (manual / "gtFine_trainvaltest.zip").touch()
    with pytest.raises(DataError, match="leftImg8bit") as error:
        data.load("cityscapes", tmp_path)
    assert "gtFine_trainvaltest.zip: no such file" not in str(error.value)


def test_archives_placed_by_hand_need_no_network(tmp_path, no_network):
    truth = write_archives(PETS, tmp_path, 6)
    with own_checksums(PETS, tmp_path):
        dataset = data.load(PETS, tmp_path)
    assert len(pairs_of(dataset.test)) == len(truth["test"])


def test_a_prepared_folder_may_be_copied(pets, no_network):
    assert len(pairs_of(data.load(PETS, pets[0]).test)) == 10


# When the network is there, and what may go wrong


@pytest.fixture
def pets_host(tmp_path, monkeypatch, host):
    """A host that serves small pets; what it has is not on this machine."""
    write_archives(PETS, tmp_path, 12)
    manual = tmp_path / "downloads" / "manual"
    host.files = {path.name: path.read_bytes() for path in manual.iterdir()}
    serve_pets_from(host.address, monkeypatch)
    with own_checksums(PETS, tmp_path):
        shutil.rmtree(manual)
        yield host


def test_fetching(tmp_path, pets_host, capsys):
    dataset = data.load(PETS, tmp_path)
    assert len(pairs_of(dataset.test)) == 4 and sum(dataset.counts.values()) == 12
    printed = capsys.readouterr()
    assert "oxford_iiit_pet: fetching what is not here of 0.8 GB" in printed.out and "Dl Completed" in printed.err


def test_a_download_that_breaks_off_is_taken_up_again(tmp_path, pets_host):
    pets_host.cut = "images.tar.gz"
    with pytest.raises(DataError, match=r"could not be made(.|\n)*arrived whole are kept(.|\n)*call again") as error:
        data.load(PETS, tmp_path)
    assert error.value.__cause__ is not None and not (tmp_path / PETS / "4.0.0").exists()
    pets_host.cut, pets_host.asked = None, []
    assert len(pairs_of(data.load(PETS, tmp_path).test)) == 4
    assert set(pets_host.asked) == {"images.tar.gz"}


def test_a_full_disk_and_then_no_network(tmp_path, pets_host, monkeypatch):
    pets_builder = type(specs.SPECS[PETS].builder(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(pets_builder, "_generate_examples", lambda *args, **more: raise_no_space())
        with pytest.raises(DataError, match=r"No space left on device(.|\n)*GB are free, and 2 GB are needed") as error:
            data.load(PETS, tmp_path)
    assert isinstance(error.value.__cause__, OSError) and not list((tmp_path / PETS).glob("*.0*"))
    pets_host.close()
    assert len(pairs_of(data.load(PETS, tmp_path).test)) == 4  # all archives had arrived


def raise_no_space():
    raise OSError(28, "No space left on device")


def test_an_archive_that_is_another(tmp_path, pets_host):
    pets_host.files["images.tar.gz"] = b"<html>Down for maintenance</html>"
    with pytest.raises(DataError, match=r"wrong checksum(.|\n)*cut short, or its host sent something else"):
        data.load(PETS, tmp_path)
    write_archives(PETS, tmp_path, 3)
    with pytest.raises(DataError, match=r"downloads/manual/\w+.tar.gz, has wrong checksum(.|\n)*Delete it"):
        data.load(PETS, tmp_path)


# What is half-made


def leave_behind(folder, age):
    """A folder as a killed run leaves it: in it a shard, written ``age`` seconds ago."""
    folder.mkdir(parents=True)
    (folder / "part").write_bytes(b"half")
    for path in (folder / "part", folder):
        os.utime(path, (time.time() - age,) * 2)
    return folder


def test_what_a_dead_run_left_is_not_read_and_goes(tmp_path, few_streets):
    old = leave_behind(tmp_path / "streets" / "tiny" / "incomplete.ABC123_1.0.0", 3600)
    new = leave_behind(tmp_path / "streets" / "tiny" / "incomplete.DEF456_1.0.0", 5)  # somebody may be at it
    assert data.load("streets/tiny", tmp_path).counts["train"] == 2
    assert not old.exists() and new.exists()


def test_what_a_dead_download_left_goes(tmp_path, pets_host):
    downloads = tmp_path / "downloads" / PETS
    old = [
        leave_behind(downloads / "images.tmp.0123", 3600),
        leave_behind(downloads / "extracted/incomplete.0_a", 3600),
    ]
    new = leave_behind(downloads / "images.tmp.4567", 5)
    data.load(PETS, tmp_path)
    assert not any(path.exists() for path in old) and new.exists()


def test_a_run_that_is_killed_is_begun_anew(tmp_path, few_streets):
    script = f"""
import os, signal
from seglib import data
from seglib.datasets.streets import builder
builder.SPLITS = {builder.SPLITS}
draw = builder.draw_scene
builder.draw_scene = lambda seed, *size: os.kill(os.getpid(), signal.SIGKILL) if seed == 3 else draw(seed, *size)
data.load("streets/tiny", {str(tmp_path)!r})
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert list((tmp_path / "streets" / "tiny").glob("incomplete.*")) and not list(tmp_path.rglob("1.0.0"))
    assert len(pairs_of(data.load("streets/tiny", tmp_path).train)) == 2


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def cut_between_records(path):
    (length,) = np.frombuffer(path.read_bytes()[:8], np.int64)
    path.write_bytes(path.read_bytes()[: 16 + length])


SICK = {  # what is done to which file, and what is said about it
    "missing shard": ("*-train*", os.remove, "missing"),
    "cut shard": ("*-test*", cut, "holds . whole records and .* bytes more, wanted"),
    "shard cut between records": ("*-train*", cut_between_records, "holds 1 whole records and 0 bytes more, wanted"),
    "empty shard": ("*-test*", lambda path: path.write_bytes(b""), "holds 0 whole records and 0 bytes more, wanted"),
    "missing information": ("dataset_info.json", os.remove, "missing"),
    "cut information": ("dataset_info.json", cut, "cannot be read as JSON"),
}


@pytest.mark.parametrize("kind", SICK)
def test_damaged_data_are_refused_by_name(kind, pets, no_network):
    pattern, damage, message = SICK[kind]
    (path,) = pets[1].glob(pattern)
    damage(path)
    with pytest.raises(DataError, match=rf"damaged on disk:\n  .*/{path.name}: {message}") as error:
        data.load(PETS, pets[0])
    assert f"Delete the folder {pets[1]} and call data.load('oxford_iiit_pet') again" in str(error.value)
    shutil.rmtree(pets[1])  # as told
    with pytest.raises(pytest.fail.Exception, match="asked"):
        data.load(PETS, pets[0])


@pytest.mark.parametrize("kind", SICK)
def test_damaged_drawings_are_drawn_anew(kind, tmp_path, few_streets, capsys):
    data.load("streets/tiny", tmp_path)
    pattern, damage, message = SICK[kind]
    (path,) = (tmp_path / "streets" / "tiny" / "1.0.0").glob(pattern)
    damage(path)
    capsys.readouterr()
    dataset = data.load("streets/tiny", tmp_path)
    assert re.search(rf"damaged on disk:\n.*{path.name}: {message}(.|\n)*It is drawn anew", capsys.readouterr().out)
    assert len(pairs_of(dataset.train)) == 2 and len(pairs_of(dataset.test)) == 1


def test_a_split_that_was_not_prepared(pets, no_network):
    info = pets[1] / "dataset_info.json"
    info.write_text(info.read_text().replace('"name": "test"', '"name": "other"'))
    with pytest.raises(DataError, match="dataset_info.json: knows no split 'test'"):
        data.load(PETS, pets[0])


def test_shards_that_are_whole_are_not_read_to_be_checked(pets, monkeypatch):
    monkeypatch.setattr(prepare, "_count_records", lambda path: pytest.fail(f"read {path}"))
    data.load(PETS, pets[0])
