"""Datasets by name: ``load``, and how they get onto the disk."""

import contextlib
import io
import json
import logging
import os
import shutil
import ssl
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import tensorflow_datasets as tfds

from seglib.data.dataset import DataError, Dataset, resize_pair
from seglib.data.specs import find_spec

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PROBE_SECONDS = 3
"""How long a host may take to answer. TFDS itself would try for 204 seconds."""


def load(name, data_dir=None):
    """Loads a dataset by name: the first time some are drawn on this machine and others fetched; all are kept.

    ==========================================  ====================================================================
    ``streets/…``, ``cells/…``                  drawn, nothing is fetched: ``tiny``, ``small`` or ``full``
    ``oxford_iiit_pet``                         pet, background, border
    ``oxford_iiit_pet/binary``                  background, pet; the border is void
    ``cityscapes``                              19 classes; you register and fetch two archives yourself
    ``scene_parse150``                          100 kinds of objects of ADE20K's instance release, and background
    ``coco/2017_panoptic``                      133 classes: 80 things, 53 kinds of stuff
    ==========================================  ====================================================================

    Args:
        name: one of the above.
        data_dir: the folder in which datasets are kept. Default: the environment variable ``TFDS_DATA_DIR``, else
            ``data/`` of the checkout that seglib runs from, else ``~/tensorflow_datasets``.

    Returns:
        A :class:`Dataset`. Images of variable size have no ``sizes``; ``notes`` say how the splits were cut.

    Raises:
        ValueError: a name that is not known; those that are known are listed.
        DataError: data that are not here and cannot be fetched (said within five seconds, with the steps to place them
            by hand), that could not be prepared, or that lie damaged on disk; the message says what to do.
    """
    spec, folder = find_spec(name), Path(data_dir or default_dir()).expanduser()
    builder, faults = _open(spec, folder)
    builder = builder or _prepare(name, spec, folder, faults)
    counts = {split: builder.info.splits[part].num_examples for split, part in spec.splits.items()}
    splits = {split: _read_examples(builder, spec, part) for split, part in spec.splits.items() if counts[split]}
    size = builder.info.features[spec.features[0]].shape[:2]
    sizes = {split: None if None in size else [size] * count for split, count in counts.items()}
    return Dataset(name=name, labels=spec.labels, splits=splits, counts=counts, sizes=sizes, notes=spec.notes)


def default_dir():
    """The folder in which :func:`load` keeps datasets, a ``Path``.

    It is the environment variable ``TFDS_DATA_DIR``, TFDS's own; else ``data/`` of the checkout that seglib runs from;
    else ``~/tensorflow_datasets``.
    """
    if chosen := os.environ.get("TFDS_DATA_DIR"):
        return Path(chosen).expanduser()
    root = Path(__file__).resolve().parents[2]
    is_checkout = all((root / part).exists() for part in ("pyproject.toml", "notebooks", "data"))
    return root / "data" if is_checkout else Path.home() / "tensorflow_datasets"


def _read_examples(builder, spec, part):
    """A split's examples with their images still encoded, cheap to shuffle, and what makes a pair of one."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS warns of its own old names
    features = builder.info.features
    images = [name for name in spec.features if isinstance(features[name], tfds.features.Image)]
    encoded = {name: tfds.decode.SkipDecoding() for name in images}
    decoders = tfds.decode.PartialDecoding(dict.fromkeys(spec.features, True), decoders=encoded)

    def read(example, size=None):
        example = {**example, **{name: features[name].decode_example(example[name]) for name in images}}
        pair = {"image": example[spec.features[0]], "mask": spec.to_mask(example, features)}
        return pair if size is None else resize_pair(pair, size)

    return builder.as_dataset(split=part, shuffle_files=False, decoders=decoders), read


# On the disk


def _open(spec, folder):
    """The builder if its data are whole on disk, else None; and what is damaged, a list of ``(path, fault)``."""
    for path in (folder / spec.path).glob("[0-9]*/dataset_info.json"):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            return None, [(path, f"cannot be read as JSON: {error}")]
    builder = spec.builder(spec.path, data_dir=str(folder))
    home = Path(builder.data_dir)
    if not (home / "dataset_info.json").is_file():
        return None, [(home / "dataset_info.json", "missing")] if home.exists() else []
    faults = []
    for split in {part.partition("[")[0] for part in spec.splits.values()} & builder.info.splits.keys():
        info = builder.info.splits[split]
        shards = [Path(path) for path in info.filepaths]
        wanted = info.num_bytes + 16 * info.num_examples  # TFRecord adds a length and two checksums, 16 bytes
        if missing := [path for path in shards if not path.is_file()]:
            faults += [(path, "missing") for path in missing]
        elif (size := sum(path.stat().st_size for path in shards)) != wanted:
            more = f" with {len(shards) - 1} more shards" if len(shards) > 1 else ""
            faults.append((shards[0], f"{size} bytes{more}, wanted {wanted}"))
    return None if faults else builder, faults


def _prepare(name, spec, folder, faults):
    """Draws or fetches the data and gives their builder.

    Damaged drawn data are drawn anew; damage to others is refused, since to fetch them again may take hours.
    """
    damage = "\n  ".join([f"{name}: damaged on disk:", *(f"{path}: {fault}" for path, fault in faults)])
    if spec.files and faults:
        raise DataError(
            f"{damage}\nDelete the folder {faults[0][0].parent} and call data.load({name!r}) again, or copy the folder "
            "anew from where it is whole."
        )
    if faults:
        print(f"{damage}\nIt is drawn anew.", flush=True)
    if spec.files:
        _check_sources(name, spec, folder)
        what = f"fetching what is not here of {spec.gigabytes:.1f} GB, and converting it"
    else:
        what = "drawing it once, up to two minutes on a slow machine"
    print(f"{name}: {what} (or waiting for another process that does) …", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder / f".{spec.path.replace('/', '-')}.lock"):
        builder, faults = _open(spec, folder)  # another process may have prepared it while this one waited
        if faults and not spec.files:
            shutil.rmtree(folder / spec.path)
        if builder is None:
            _make(name, spec, folder)
    return builder or spec.builder(spec.path, data_dir=str(folder))


@contextlib.contextmanager
def _lock(path):
    """Waits until no other process prepares the same; the lock falls with the process that holds it."""
    with path.open("w") as file:
        with contextlib.suppress(OSError):  # a disk that knows no locks; there two processes only work twice
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(name, spec, folder):
    """Lets TFDS write the data, into a temporary folder that it renames in the end."""
    tfds.display_progress_bar(enable=bool(spec.files))  # those of drawing would pile up in a saved notebook
    manual, own = _downloads(spec, folder)
    config = tfds.download.DownloadConfig(  # TFDS's own extract_dir is one for all datasets, in which names collide
        try_download_gcs=False, manual_dir=manual, extract_dir=own / "extracted"
    )
    try:
        with contextlib.nullcontext() if spec.files else contextlib.redirect_stdout(io.StringIO()):
            spec.builder(spec.path, data_dir=str(folder)).download_and_prepare(download_config=config)
    except Exception as error:
        if _open(spec, folder)[0]:  # another process was quicker, and this one found its place taken
            return
        text = f"{name}: could not be made: {type(error).__name__}: {error}\n"
        if "No space left" in text or "Not enough disk space" in text:
            free, needed = shutil.disk_usage(folder).free / 1e9, max(1, 3 * spec.gigabytes)
            text += f"{free:.1f} GB are free in {folder}, {needed:.0f} GB are needed: make room, or name another disk "
            text += "with data_dir="
        elif "checksum" in text:
            text += "That archive was cut short or is another one: delete it if you placed it by hand, and call again"
        elif spec.files:
            text += f"Call again to go on with the archives that have arrived, in {own}; or place them by hand, in "
            text += f"{manual}, as they are and under their own names"
        raise DataError(text) from error


# From the network, or by hand


def _downloads(spec, folder):
    """TFDS's folders for archives that a person has fetched, and for those that it fetches for this dataset itself."""
    return folder / "downloads" / "manual", folder / "downloads" / spec.path.partition("/")[0]


def _check_sources(name, spec, folder):
    """Refuses within seconds if an archive is neither here nor to be had, with the steps to place it by hand."""
    manual, own = _downloads(spec, folder)
    fetched = set()
    for note in own.glob("*.INFO"):  # TFDS writes one beside an archive that has arrived whole
        if note.with_suffix("").is_file():
            fetched.update(json.loads(note.read_text(encoding="utf-8")).get("urls", []))
    missing = [file for file in spec.files if file not in fetched and not (manual / Path(file).name).is_file()]
    troubles = {manual / file: "no such file" for file in missing} if spec.page else _find_unreachable(missing)
    if not troubles:
        return
    listed = "\n  ".join(f"{source}: {trouble}" for source, trouble in troubles.items())
    register = f" (register at {spec.page})" if spec.page else ""
    raise DataError(
        f"{name} is not on this machine and cannot be fetched:\n  {listed}\n"
        'These need no download: data.load("streets/tiny"), data.load("cells/tiny"); and data.from_folder reads files '
        f"of your own.\nTo place it by hand ({spec.gigabytes:.1f} GB):\n"
        f"  1. fetch{register} {' and '.join(spec.files)}\n"
        f"  2. put these archives as they are, under their own names, into {manual}\n"
        f"  3. call data.load({name!r}) again: it unpacks and converts them, for which another "
        f"{2 * spec.gigabytes:.0f} GB are needed; {manual.parent} may be deleted afterwards\n"
        "Or copy the folder of a machine that has it prepared, with all its files, to "
        f"{spec.builder(spec.path, data_dir=str(folder)).data_dir}"
    )


def _find_unreachable(urls):
    """Asks all addresses at once, through the proxies of the environment, within a hard deadline: address → trouble.

    Whatever hangs (the name server too) counts as no answer. Refusals such as 404 are answers: TFDS reports them at
    once, while it would repeat for minutes what ends in 500 or more.
    """
    troubles = dict.fromkeys(urls, f"no answer within {PROBE_SECONDS} seconds")

    def ask(url):
        try:
            opener = urllib.request.build_opener()  # a new one, since it keeps the proxies that it was made with
            opener.open(url, timeout=PROBE_SECONDS).close()
            troubles[url] = None
        except urllib.error.HTTPError as error:
            troubles[url] = f"answered {error.code} {error.reason}" if error.code >= 500 else None
        except Exception as error:  # of whatever kind: this address cannot be read
            reason = getattr(error, "reason", error)
            answered = isinstance(reason, ssl.SSLCertVerificationError)  # TFDS brings certificates of its own
            troubles[url] = None if answered else str(reason) or type(reason).__name__

    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in urls]
    deadline = time.monotonic() + PROBE_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    return {url: trouble for url, trouble in dict(troubles).items() if trouble}
