"""Datasets by name: ``load``."""

import contextlib
import io
import logging

import tensorflow_datasets as tfds

from seglib.data.dataset import SPLITS, Dataset


def load(name, data_dir=None):
    """Loads a dataset by name; the embedded ones are drawn on this machine the first time and kept.

    Args:
        name: ``"streets/tiny"`` (64×96), ``"streets/small"`` (128×192) or ``"streets/full"`` (256×384).
        data_dir: the folder in which datasets are kept. Default: :func:`seglib.lesson.data_dir`.

    Returns:
        A :class:`Dataset`.

    Raises:
        ValueError: a name that is not known; those that are known are listed.
    """
    from seglib.datasets import streets
    from seglib.lesson import data_dir as default_dir

    known = [f"streets/{config}" for config in streets.SIZES]
    if name not in known:
        raise ValueError(f"no dataset {name!r}; there are {', '.join(known)}; your own files: data.from_folder")
    folder = data_dir or default_dir()
    builder = _prepare(lambda: streets.Streets(config=name.split("/")[1], data_dir=folder), name)
    splits, counts, sizes = {}, {}, {}
    for split, tfds_split in zip(SPLITS, ("train", "validation", "test"), strict=True):
        splits[split] = (builder.as_dataset(split=tfds_split, shuffle_files=False), _from_tfds)
        counts[split] = builder.info.splits[tfds_split].num_examples
        sizes[split] = [builder.info.features["image"].shape[:2]] * counts[split]
    return Dataset(name, streets.LABELS, splits, counts, sizes)


def _prepare(make_builder, name):
    """The builder that ``make_builder`` makes, with its data on disk."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS warns of every folder that is not there yet
    builder = make_builder()
    if not builder.is_prepared():
        print(f"{name}: drawing it once, up to two minutes on a slow machine …", flush=True)
        tfds.disable_progress_bar()  # its bars and messages would pile up in a saved notebook
        # Another process may draw the same at the same time; the second to finish finds the first one's folder.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(FileExistsError):
            builder.download_and_prepare()
        builder = make_builder()
    return builder


def _from_tfds(example):
    return {"image": example["image"], "mask": example["mask"][..., 0]}
