"""Getting a named dataset onto the disk, whole: drawn or fetched once, then read, and never read half-made."""

import contextlib
import io
import json
import shutil
import struct
import time
from pathlib import Path

import tensorflow_datasets as tfds

from seglib.data.dataset import DataError
from seglib.data.fetch import Place, check_sources, explain

try:
    import fcntl
except ImportError:  # Windows: processes do not wait for each other
    fcntl = None

STALE_SECONDS = 600
"""Temporary files that nobody has written to for so long belong to a run that died."""


def open_builder(name, spec, folder):
    """The TFDS builder of a dataset with all its data on disk; they are drawn or fetched if they are not there.

    Damaged data are drawn anew if they were drawn, and otherwise refused, since fetching them again may take hours.

    Args:
        name: what the user called it, for messages.
        spec: its :class:`~seglib.data.specs.Spec`.
        folder: a ``Path``, where all datasets are kept.

    Returns:
        A ``tfds.core.DatasetBuilder``.

    Raises:
        DataError: see :func:`seglib.data.load`.
    """
    place = Place(name, spec, folder)
    builder, damage = _look(place)
    if builder is None:
        with _turn(place):
            builder, damage = _look(place)  # another process may have made it while this one waited
            if builder is None:
                _clear(place, damage)
                _make(place)
                builder, damage = _look(place)
    if builder is None:
        raise DataError(_list_damage(place, damage))
    return builder


def _look(place):
    """``(builder, [])`` if the data are whole on disk, else ``(None, damage)``, a list of ``(path, fault)``.

    No damage and no builder: nothing is there yet.
    """
    for path in place.home.glob("[0-9]*/dataset_info.json"):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            return None, [(path, f"cannot be read as JSON: {error}")]
    builder = place.spec.builder(place.folder)
    info = Path(builder.data_dir) / "dataset_info.json"
    if not info.parent.exists():
        return None, []
    if not info.is_file():
        return None, [(info, "missing")]
    damage = []
    for split in sorted({part.partition("[")[0] for part in place.spec.splits.values()}):
        if split in builder.info.splits:
            damage += _find_bad_shards(builder.info.splits[split])
        else:
            damage.append((info, f"knows no split {split!r}"))
    return None if damage else builder, damage


def _find_bad_shards(split):
    """Files of a split that are missing or cut, as ``(path, fault)``; only if sizes do not add up are they read."""
    paths = [Path(path) for path in split.filepaths]
    missing = [(path, "missing") for path in paths if not path.is_file()]
    frame = 16  # bytes that a TFRecord file adds to each record: its length and two checksums
    if missing or sum(path.stat().st_size for path in paths) == split.num_bytes + frame * split.num_examples:
        return missing
    damage = []
    for path, wanted in zip(paths, split.shard_lengths, strict=True):
        count, rest = _count_records(path)
        if (count, rest) != (wanted, 0):
            damage.append((path, f"holds {count} whole records and {rest} bytes more, wanted {wanted} records"))
    return damage


def _count_records(path):
    """How many whole records a TFRecord file holds, and how many bytes follow the last of them."""
    size, end, count = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while end + 16 <= size:
            file.seek(end)
            (length,) = struct.unpack("<Q", file.read(8))
            if end + 16 + length > size:
                break
            end, count = end + 16 + length, count + 1
    return count, size - end


def _clear(place, damage):
    """Makes room: damaged drawn data go, damaged others are refused, and what dead runs have left goes."""
    if damage and place.spec.files:
        raise DataError(
            f"{_list_damage(place, damage)}\nDelete the folder {damage[0][0].parent} and call "
            f"data.load({place.name!r}) again, or copy the folder anew from where it is whole."
        )
    if damage:
        print(f"{_list_damage(place, damage)}\nIt is drawn anew.", flush=True)
        shutil.rmtree(place.home)
    left = [*place.home.glob("incomplete.*"), *place.downloads.glob("*.tmp.*"), *_unpacked(place).glob("incomplete.*")]
    for path in left:
        newest = max(p.stat().st_mtime for p in (path, *path.rglob("*")))
        if time.time() - newest > STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _make(place):
    """Draws or fetches the data and writes them in TFDS's format, in a temporary folder that is renamed in the end."""
    drawn = not place.spec.files
    if drawn:
        print(f"{place.name}: drawing it once, up to two minutes on a slow machine …", flush=True)
    else:
        check_sources(place)
        print(
            f"{place.name}: fetching what is not here of {place.spec.gigabytes:.1f} GB, and converting it", flush=True
        )
    tfds.display_progress_bar(enable=not drawn)  # those of drawing would pile up in a saved notebook
    config = tfds.download.DownloadConfig(try_download_gcs=False, manual_dir=place.manual, extract_dir=_unpacked(place))
    try:
        with contextlib.redirect_stdout(io.StringIO()) if drawn else contextlib.nullcontext():
            place.spec.builder(place.folder).download_and_prepare(download_config=config)
    except Exception as error:
        if _look(place)[0] is None:  # else another process was quicker, and this one found its place taken
            raise DataError(explain(place, error)) from error


def _list_damage(place, damage):
    return "\n  ".join([f"{place.name}: damaged on disk:", *(f"{path}: {fault}" for path, fault in damage[:10])])


def _unpacked(place):
    """Where the archives are unpacked. TFDS's own choice is one folder for all datasets, in which names collide."""
    return place.downloads / "extracted"


@contextlib.contextmanager
def _turn(place):
    """Waits until no other process makes the same; the lock falls with the process that holds it, however it ends."""
    place.folder.mkdir(parents=True, exist_ok=True)
    with (place.folder / f".{place.spec.path.replace('/', '-')}.lock").open("w") as lock:
        if fcntl:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"{place.name}: another process is preparing it; waiting for it …", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:  # a disk that knows no locks
                pass
        yield
