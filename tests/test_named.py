"""Datasets by name: what is drawn, what TFDS serves, and what is said when neither is at hand."""

import contextlib
import http.server
import os
import re
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from tfds_folders import own_checksums, write_archives, write_tfds

from seglib import data, labels
from seglib.data import DataError, named, specs
from seglib.datasets import sources
from seglib.datasets.cells import builder as cells_builder
from seglib.datasets.streets import builder as streets_builder

PETS = "oxford_iiit_pet"
COUNTS = {PETS: 12, "cityscapes": 3, "scene_parse150": 12, "coco/2017_panoptic": 12}


def pairs_of(split):
    return list(split.as_numpy_iterator())


@pytest.fixture(scope="module", autouse=True)
def four_scenes():
    """Four drawn scenes in all, so that drawing takes no time."""
    with pytest.MonkeyPatch.context() as patch:
        for builder in (streets_builder, cells_builder):
            patch.setattr(builder, "SPLITS", {"train": [0, 1], "validation": [2], "test": [3]})
        yield


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


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    """A folder with drawn streets."""
    folder = tmp_path_factory.mktemp("streets")
    data.load("streets/tiny", folder)
    return folder


@pytest.fixture
def no_network(monkeypatch):
    """Asking any host is a mistake."""
    monkeypatch.setattr(sources, "_find_trouble", lambda url: pytest.fail(f"asked {url}"))


# What is drawn, and where


@pytest.mark.parametrize(("name", "size"), [("streets/tiny", (64, 96)), ("cells/tiny", (96, 96))])
def test_load_draws(name, size, tmp_path, capsys):
    left = tmp_path / name / "incomplete.ABC123_1.0.0"  # by a run that was killed
    left.mkdir(parents=True)
    (left / "dataset_info.json").write_text("{")
    dataset = data.load(name, tmp_path)
    assert dataset.counts == {"train": 2, "val": 1, "test": 1}
    for split in (dataset.train, dataset.val, dataset.test):
        pair = next(split.as_numpy_iterator())
        assert pair["image"].shape == (*size, 3) and pair["image"].dtype == np.uint8
        assert pair["mask"].shape == size
        dataset.labels.check_ids(pair["mask"])
    assert dataset.is_cached("train")
    assert dataset.train.element_spec["image"].shape == (*size, 3)  # static, as some models want it
    assert capsys.readouterr().out.count("drawing it once") == 1
    assert repr(data.load(name, tmp_path)) == repr(dataset)
    assert "drawing" not in capsys.readouterr().out


def test_the_default_folder(streets, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(streets))
    assert data.load("streets/tiny").counts["train"] == 2 and named._default_dir() == streets
    monkeypatch.delenv("TFDS_DATA_DIR")
    root = Path(__file__).resolve().parents[1]
    assert named._default_dir() == root / "data"
    monkeypatch.setattr(named, "__file__", str(tmp_path / "site-packages/seglib/data/named.py"))  # as pip installs it
    assert named._default_dir() == Path.home() / "tensorflow_datasets"


def test_a_process_waits_while_another_prepares_the_same(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / ".streets-tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=data.load, args=("streets/tiny", tmp_path))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive() and not (tmp_path / "streets" / "tiny").exists()
    thread.join(60)
    assert len(pairs_of(data.load("streets/tiny", tmp_path).train)) == 2


def test_names_that_are_not_known():
    for name in ("street", "streets/huge", "voc/2012"):
        with pytest.raises(ValueError, match=f"'{name}'.*streets/tiny.*cells/full.*cityscapes.*data.from_folder"):
            data.load(name)


# What TFDS serves: its own builders, small archives, and oracles in NumPy


def as_cityscapes(ids):
    # id:   0–6        7  8  9    10   11 12 13 14   15   16   17 18   19 20 … 28                        29   30   31 …
    train = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, *range(6, 16), 255, 255, 16, 17, 18]
    return np.array(train)[ids]


def as_coco_panoptic(annotation):
    panoptic, segments = annotation
    mask = np.full(panoptic.shape[:2], 255)
    for key, name in segments.items():
        colour = (key % 256, key // 256 % 256, key // 65536)
        mask[(panoptic == colour).all(-1)] = labels.COCO_PANOPTIC.names.index(name)
    return mask


ORACLES = {
    PETS: (lambda trimap: trimap - 1, 3),
    "oxford_iiit_pet/binary": (lambda trimap: np.select([trimap == 1, trimap == 2], [1, 0], 255), 2),
    "cityscapes": (as_cityscapes, 19),
    "scene_parse150": (lambda annotation: annotation[..., 0], 101),
    "coco/2017_panoptic": (as_coco_panoptic, 133),
}


@pytest.mark.parametrize("name", specs.SPECS)
def test_pairs_are_those_that_were_put_in(name, prepared, no_network):
    folder, truth = prepared(name.removesuffix("/binary"))
    oracle, num_classes = ORACLES[name]
    dataset = data.load(name, folder)
    assert dataset.labels.num_classes == num_classes and dataset.notes
    assert dataset.sizes["test"] == ([(1024, 2048)] * dataset.counts["test"] if name == "cityscapes" else None)
    official_test = "validation" if "validation" in truth else "test"
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


def test_an_id_without_a_class_is_an_error():
    to_mask = specs.SPECS[PETS].to_mask
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"ids that have no class:(.|\n)*7"):
        to_mask({"segmentation_mask": tf.constant([[[1], [2]], [[7], [3]]], tf.uint8)}, None)


@pytest.mark.parametrize("name", specs.SPECS)
def test_the_table_agrees_with_tfds(name, tmp_path):
    spec = specs.SPECS[name]
    known = tfds.builder(spec.path, data_dir=str(tmp_path))
    if spec.page:
        assert set(spec.files) == {archive for archive, _ in known.builder_config.zip_root.values()}
    else:
        infos = [known.url_infos[url] for url in spec.files]
        assert [info.filename for info in infos] == [url.rpartition("/")[2] for url in spec.files]
        assert sum(info.size for info in infos) / 1e9 == pytest.approx(spec.gigabytes, rel=0.01)
    assert not (set(spec.features) - set(known.info.features)) and not os.listdir(tmp_path)
    (share,) = re.fullmatch(r"train\[:(\d+)%\]", spec.splits["train"]).groups()
    assert spec.splits["val"] == f"train[{share}%:]" and spec.splits["test"] in ("test", "validation")


# When the network is not there


@pytest.fixture
def host():
    """A web server on this machine: ``files`` by name, ``status`` otherwise; it notes what it is ``asked`` for."""
    host = SimpleNamespace(files={}, status=404, asked=[], cut=None)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rpartition("/")[2]
            host.asked.append(name)
            content = host.files.get(name, b"")
            self.send_response(200 if content else host.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(OSError):  # whoever only probes does not read on
                self.wfile.write(content[: len(content) // 2 if host.cut == name else None])

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        host.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield host
        server.shutdown()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


def serve_pets_from(address, monkeypatch):
    """Lets the table and TFDS's builder fetch the pets from another address."""
    spec = specs.SPECS[PETS]
    files = tuple(f"{address}/{Path(url).name}" for url in spec.files)
    monkeypatch.setitem(specs.SPECS, PETS, spec._replace(files=files))
    module = sys.modules[type(tfds.builder(PETS, data_dir="unused")).__module__]
    monkeypatch.setattr(module, "_BASE_URL", address)


def refuse(folder, monkeypatch):
    """The message of a refusal, which must come in time."""
    assert sources.PROBE_SECONDS <= 3
    monkeypatch.setattr(sources, "PROBE_SECONDS", 0.3)
    start = time.monotonic()
    with pytest.raises(DataError) as error:
        data.load(PETS, folder)
    assert time.monotonic() - start < 2.3  # of the five seconds, two are for all but the probe
    message = str(error.value)
    for advice in ("streets/tiny", "cells/tiny", "from_folder", "downloads/manual", f"{PETS}, with all its files, to"):
        assert advice in message
    return message


@pytest.mark.parametrize(("closed", "message"), [(False, ""), (True, "refused")])
def test_hosts_that_hang_or_refuse(closed, message, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        serve_pets_from(f"http://127.0.0.1:{mute.getsockname()[1]}", monkeypatch)
        if closed:
            mute.close()
        assert re.search(f"images.tar.gz: .*{message}", refuse(tmp_path, monkeypatch))


def test_a_name_server_that_hangs(tmp_path, monkeypatch):
    end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: end.wait(60) and [])
    message = refuse(tmp_path, monkeypatch)
    end.set()
    assert "https://thor.robots.ox.ac.uk/~vgg/data/pets/images.tar.gz: no answer" in message


def test_a_host_that_is_out_of_order(tmp_path, monkeypatch, host):
    """TFDS would ask ten times more, for minutes, while the host answers 503; it reports 404 at once."""
    serve_pets_from(host.address, monkeypatch)
    host.status = 503
    assert "/images.tar.gz: answered 503" in refuse(tmp_path, monkeypatch)
    host.status = 404
    with pytest.raises(DataError, match=r"404(.|\n)*by hand.* in .*downloads/manual"):
        data.load(PETS, tmp_path)


def test_cityscapes_must_be_placed_by_hand(tmp_path, no_network):
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    (manual / "gtFine_trainvaltest.zip").touch()
    with pytest.raises(DataError, match="register at https://www.cityscapes-dataset.com/login/") as error:
        data.load("cityscapes", tmp_path)
    assert f"{manual / 'leftImg8bit_trainvaltest.zip'}: no such file" in str(error.value)
    assert "gtFine_trainvaltest.zip: no such file" not in str(error.value)


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


def test_a_download_that_breaks_off_is_taken_up_again(tmp_path, pets_host, capsys):
    pets_host.cut = "images.tar.gz"
    with pytest.raises(DataError, match=r"could not be prepared(.|\n)*Call again(.|\n)*data_dir=") as error:
        data.load(PETS, tmp_path)
    assert error.value.__cause__ is not None and not (tmp_path / PETS / "4.0.0").exists()
    pets_host.cut, pets_host.asked = None, []
    assert len(pairs_of(data.load(PETS, tmp_path).test)) == 4
    assert set(pets_host.asked) == {"images.tar.gz"}
    printed = capsys.readouterr()
    assert "oxford_iiit_pet: fetching what is not here of 0.8 GB" in printed.out and "Dl Completed" in printed.err


def test_an_archive_that_is_another(tmp_path, pets_host):
    pets_host.files["images.tar.gz"] = b"<html>Down for maintenance</html>"
    with pytest.raises(DataError, match=r"images.tar.gz(.|\n)*wrong checksum(.|\n)*Call again"):
        data.load(PETS, tmp_path)


# What is half-made


def cut_between_records(path):
    (length,) = np.frombuffer(path.read_bytes()[:8], np.int64)
    path.write_bytes(path.read_bytes()[: 16 + length])


@pytest.mark.parametrize(
    ("pattern", "damage", "message"),
    [
        ("*-train*", cut_between_records, "expected to contain 2 elements but contained only 1"),
        ("dataset_info.json", os.remove, "streets/tiny/1.0.0: no dataset_info.json.*Delete this folder"),
    ],
)
def test_damaged_data_are_not_read_in_silence(pattern, damage, message, streets, tmp_path):
    shutil.copytree(streets, tmp_path, dirs_exist_ok=True)
    (path,) = (tmp_path / "streets" / "tiny" / "1.0.0").glob(pattern)
    damage(path)
    with pytest.raises(Exception, match=message):
        pairs_of(data.load("streets/tiny", tmp_path).train)
