"""Datasets by name: ``load``, and how they get onto the disk."""

import contextlib
import io
import logging
import os
from pathlib import Path

import tensorflow_datasets as tfds

from seglib.annotations import DataError
from seglib.data.dataset import Dataset, resize_pair
from seglib.datasets.sources import describe_lack
from seglib.datasets.specs import find_spec


def load(name, data_dir=None):
    """Loads a dataset by name: the first time some are drawn on this machine and others fetched; all are kept.

    Args:
        name: ``streets/…`` or ``cells/…``, each ``tiny``, ``small`` or ``full``, are drawn. ``oxford_iiit_pet``,
            ``oxford_iiit_pet/binary`` (its border is void), ``scene_parse150`` (ADE20K's objects) and
            ``coco/2017_panoptic`` are fetched; ``cityscapes`` you fetch yourself. ``data/README.md`` tells of each.
        data_dir: the folder in which datasets are kept. Default: the environment variable ``TFDS_DATA_DIR``, else
            ``data/`` of the checkout that seglib runs from, else ``~/tensorflow_datasets``.

    Returns:
        A :class:`Dataset`. Images of variable size have no ``sizes``; ``notes`` say how the splits were cut.

    Raises:
        ValueError: a name that is not known; those that are known are listed.
        DataError: data that are neither here nor to be fetched (said within five seconds, with the steps to place them
            by hand), or that could not be prepared; the message says what to do. Damaged data are TFDS's errors.
    """
    spec, folder = find_spec(name), Path(data_dir or _default_dir()).expanduser()
    builder = tfds.builder(spec.path, data_dir=str(folder))
    if not builder.is_prepared():
        builder = _prepare(name, spec, folder)
    counts = {split: builder.info.splits[part].num_examples for split, part in spec.splits.items()}
    splits = {split: _read_examples(builder, spec, part) for split, part in spec.splits.items() if counts[split]}
    size = builder.info.features[spec.features[0]].shape[:2]
    sizes = {split: None if None in size else [size] * count for split, count in counts.items()}
    return Dataset(name=name, labels=spec.labels, splits=splits, counts=counts, sizes=sizes, notes=spec.notes)


def _default_dir():
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


def _prepare(name, spec, folder):
    """Draws or fetches the data, or waits for another process that does, and gives their builder."""
    if spec.files:
        if lack := describe_lack(name, spec, folder):
            raise DataError(lack)
        what = f"fetching what is not here of {spec.gigabytes:.1f} GB, and converting it"
    else:
        what = "drawing it once, up to a minute on a slow machine"
    print(f"{name}: {what} (or waiting for another process that does) …", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{spec.path.replace('/', '-')}.lock").open("w") as file:
        with contextlib.suppress(ImportError, OSError):  # Windows, a disk without locks: two processes only work twice
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)  # it falls with the process that holds it
        builder = tfds.builder(spec.path, data_dir=str(folder))
        if not builder.is_prepared():  # another process may have prepared it while this one waited
            _write(name, spec, folder, builder)
    return builder


def _write(name, spec, folder, builder):
    if Path(builder.data_dir).exists():
        raise DataError(f"{builder.data_dir}: no dataset_info.json in it. Delete this folder and call data.load again")
    tfds.display_progress_bar(enable=bool(spec.files))  # drawing has a bar of its own
    manual, own = folder / "downloads" / "manual", folder / "downloads" / builder.name
    # TFDS's own extract_dir is one for all datasets, in which names collide.
    config = tfds.download.DownloadConfig(try_download_gcs=False, manual_dir=manual, extract_dir=own / "extracted")
    try:
        with contextlib.redirect_stdout(io.StringIO()) if spec.files else contextlib.nullcontext():
            builder.download_and_prepare(download_config=config)
    except Exception as error:
        advice = "Call again, or name another disk by data_dir=."
        if spec.files:
            advice += f" Archives that have arrived stay in {own}; others may be placed by hand in {manual}. "
            advice += "Delete one that has a wrong checksum"
        raise DataError(f"{name}: could not be prepared: {type(error).__name__}: {error}\n{advice}") from error
