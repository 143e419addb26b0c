"""Small copies of TFDS's datasets: archives as their hosts serve them, drawn here and converted by TFDS's own builders.

From within this folder, ``write_tfds("oxford_iiit_pet", "../data")`` makes one that
``make course DATASET=oxford_iiit_pet`` runs on.
"""

import contextlib
import io
import json
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from seglib import data, labels
from seglib.datasets.specs import find_spec


def write_tfds(name, folder, count=30):
    """Writes a prepared dataset of ``count`` pairs, a third of them for testing; what was there of it is replaced.

    Returns a mapping from TFDS's split to a list of ``(image, annotation)`` as drawn: what a reader should find.
    """
    with tempfile.TemporaryDirectory() as scratch:
        truth = write_archives(name, scratch, count)
        with own_checksums(name, scratch):
            data.load(name, scratch)
        path = find_spec(name).path
        shutil.rmtree(Path(folder) / path, ignore_errors=True)
        shutil.copytree(Path(scratch) / path, Path(folder) / path)
    return truth


def write_archives(name, folder, count=30):
    """Writes the archives of a dataset where a person would place them; returns what :func:`write_tfds` returns."""
    manual = Path(folder) / "downloads" / "manual"
    manual.mkdir(parents=True, exist_ok=True)
    archives, truth = ARCHIVES[find_spec(name).path](count)
    assert set(archives) == {Path(file).name for file in find_spec(name).files}
    for archive, members in archives.items():
        (manual / archive).write_bytes(pack(members, Path(archive).suffix))
    return truth


@contextlib.contextmanager
def own_checksums(name, folder):
    """Lets TFDS expect the checksums of the archives that :func:`write_archives` wrote into ``folder``."""
    spec, manual = find_spec(name), Path(folder) / "downloads" / "manual"
    infos = {url: tfds.download.checksums.compute_url_info(manual / Path(url).name) for url in spec.files}
    with mock.patch.object(type(tfds.builder(spec.path, data_dir=str(folder))), "url_infos", infos):
        yield


def pack(members, ending=".zip"):
    """The bytes of an archive of ``{path: bytes}``; a tar is plain, like the "tar.gz" of the pets."""
    buffer = io.BytesIO()
    if ending == ".zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            for path, content in members.items():
                archive.writestr(path, content)
    else:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for path, content in members.items():
                entry = tarfile.TarInfo(path)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def encode(array, kind="png"):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **({"quality": 95} if kind == "jpeg" else {"compress_level": 1}))
    return buffer.getvalue()


def decode(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def draw_photo(i, rng):
    """A picture of a size of its own: an ellipse of fur on a meadow. (height, width, 3) uint8, and a distance map.

    The map is < 1 within the ellipse, 1 at its rim.
    """
    height, width = 72 + i, 110 - i
    rows, columns = np.mgrid[:height, :width]
    away = np.hypot((rows / height - 0.5) / 0.3, (columns / width - 0.5) / rng.uniform(0.2, 0.35))
    ground = np.array([60, 140, 60]) + 40 * np.sin(columns / 9)[..., None]
    fur = np.array([190, 130, 70]) + 30 * np.sin(rows / 3)[..., None]
    image = np.where(away[..., None] < 1, fur, ground) + rng.normal(0, 6, (height, width, 1))
    return np.clip(image, 0, 255).astype(np.uint8), away


def third(i):
    """Whether pair ``i`` is one of the third for testing."""
    return i % 3 == 2


def make_pets(count):
    rng = np.random.default_rng(0)
    images, annotations, lists = {}, {}, {"train": [], "test": []}
    truth = {"train": [], "test": []}
    for i in range(count):
        image, away = draw_photo(i, rng)
        trimap = np.where(away < 0.95, 1, np.where(away < 1.05, 3, 2)).astype(np.uint8)
        split, stem = "test" if third(i) else "train", f"Siamese_{i}"
        images[f"images/{stem}.jpg"] = encode(image, "jpeg")
        annotations[f"annotations/trimaps/{stem}.png"] = encode(trimap)
        lists[split].append(f"{stem} 33 1 12\n")
        truth[split].append((decode(images[f"images/{stem}.jpg"]), trimap))
    annotations["annotations/trainval.txt"] = "".join(lists["train"]).encode()
    annotations["annotations/test.txt"] = "".join(lists["test"]).encode()
    return {"images.tar.gz": images, "annotations.tar.gz": annotations}, truth


def make_cityscapes(count):
    rng = np.random.default_rng(0)
    images, ids = {}, {}
    truth = {"train": [], "val": [], "test": []}
    for i in range(count):
        split = "test" if i == 0 else "val" if third(i) else "train"
        image = rng.integers(0, 256, (8, 16, 3), np.uint8).repeat(128, 0).repeat(128, 1)  # TFDS wants 1024×2048
        mask = rng.integers(0, 34, (8, 16), np.uint8).repeat(128, 0).repeat(128, 1)
        stem = f"bochum/bochum_{i:06}_000019"
        images[f"leftImg8bit/{split}/{stem}_leftImg8bit.png"] = encode(image)
        ids[f"gtFine/{split}/{stem}_gtFine_labelIds.png"] = encode(mask)
        truth[split].append((image, mask))
    archives = {"leftImg8bit_trainvaltest.zip": images, "gtFine_trainvaltest.zip": ids}
    return archives, {"train": truth["train"], "validation": truth["val"]}


def make_scene_parse(count):
    rng = np.random.default_rng(0)
    images, annotations = {}, {}
    truth = {"train": [], "test": []}
    for i in range(count):
        folder, stem = ("validation", f"ADE_val_{i:08}") if third(i) else ("training", f"ADE_train_{i:08}")
        image, away = draw_photo(i, rng)
        kinds = np.where(away < 1, rng.integers(0, 101, away.shape), 0)
        annotation = np.stack([kinds, rng.integers(0, 256, kinds.shape), 0 * kinds], -1).astype(np.uint8)
        images[f"images/{folder}/{stem}.jpg"] = encode(image, "jpeg")
        annotations[f"annotations_instance/{folder}/{stem}.png"] = encode(annotation)
        truth["test" if third(i) else "train"].append((decode(images[f"images/{folder}/{stem}.jpg"]), annotation))
    return {"images.tar": images, "annotations_instance.tar": annotations}, truth


def make_coco_panoptic(count):
    """Annotations are ``(panoptic, segments)``: (height, width, 3) uint8 and ``{segment id: class name}``.

    The categories stand in another order than in our label map, as the file may have them in any.
    """
    rng = np.random.default_rng(0)
    names = list(rng.permutation(labels.COCO_PANOPTIC.names))
    categories = [{"id": 3 * i + 1, "name": name, "supercategory": "", "isthing": 1} for i, name in enumerate(names)]
    archives = {"train2017.zip": {}, "val2017.zip": {}, "panoptic_annotations_trainval2017.zip": {}}
    truth = {"train": [], "validation": []}
    for year, split in (("train2017", "train"), ("val2017", "validation")):
        found, painted, annotations = [], {}, []
        for i in (i for i in range(count) if third(i) == (split == "validation")):
            image, away = draw_photo(i, rng)
            panoptic, segments = draw_segments(i, away, names, rng)
            content = archives[f"{year}.zip"][f"{year}/{i:012}.jpg"] = encode(image, "jpeg")
            painted[f"panoptic_{year}/{i:012}.png"] = encode(panoptic)
            found.append({"id": i, "file_name": f"{i:012}.jpg", "height": image.shape[0], "width": image.shape[1]})
            infos = [
                {"id": key, "category_id": 3 * names.index(name) + 1, "iscrowd": k % 2, "area": 1, "bbox": [0, 0, 2, 2]}
                for k, (key, name) in enumerate(segments.items())
            ]
            annotations.append({"image_id": i, "file_name": f"{i:012}.png", "segments_info": infos})
            truth[split].append((decode(content), (panoptic, segments)))
        listed = {"images": found, "annotations": annotations, "categories": categories}
        into = archives["panoptic_annotations_trainval2017.zip"]
        into[f"annotations/panoptic_{year}.json"] = json.dumps(listed).encode()
        into[f"annotations/panoptic_{year}.zip"] = pack(painted)
    return archives, truth


def draw_segments(i, away, names, rng):
    """Rings around the middle, each a segment; the outermost is unlabelled. The first picture has no segment at all."""
    count = 0 if i == 0 else 6
    keys = rng.choice(256**3 - 1, count, replace=False) + 1
    keys[:2] = [7, 7 + 256 * 256][:count]  # one that needs red alone, one that needs blue
    ring = np.minimum(away * 4, count).astype(int)
    code = np.append(keys, 0)[ring]
    panoptic = np.stack([code % 256, code // 256 % 256, code // 65536], -1).astype(np.uint8)
    return panoptic, {int(key): str(rng.choice(names)) for key in keys}


ARCHIVES = {
    "oxford_iiit_pet": make_pets,
    "cityscapes/semantic_segmentation": make_cityscapes,
    "scene_parse150": make_scene_parse,
    "coco/2017_panoptic": make_coco_panoptic,
}
