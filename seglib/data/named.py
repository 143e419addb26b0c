"""Datasets by name: ``load``."""

import logging
from pathlib import Path

import tensorflow_datasets as tfds

from seglib.data.dataset import Dataset, resize_pair
from seglib.data.prepare import open_builder
from seglib.data.specs import find_spec


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
        data_dir: the folder in which datasets are kept. Default: :func:`seglib.lesson.data_dir`.

    Returns:
        A :class:`Dataset`. Images of variable size have no ``sizes``; ``notes`` say how the splits were cut.

    Raises:
        ValueError: a name that is not known; those that are known are listed.
        DataError: data that are not here and cannot be fetched (said within five seconds, with the steps to place them
            by hand), that could not be prepared, or that lie damaged on disk; the message says what to do.
    """
    from seglib.lesson import data_dir as default_dir

    spec = find_spec(name)
    builder = open_builder(name, spec, Path(data_dir or default_dir()).expanduser())
    counts = {split: builder.info.splits[part].num_examples for split, part in spec.splits.items()}
    there = {split: part for split, part in spec.splits.items() if counts[split]}
    shape = builder.info.features[spec.features[0]].shape[:2]
    return Dataset(
        name=name,
        labels=spec.labels,
        splits={split: _tf_examples(builder, spec, part) for split, part in there.items()},
        counts=counts,
        sizes={split: None if None in shape else [shape] * counts[split] for split in spec.splits},
        notes=spec.notes,
    )


def _tf_examples(builder, spec, part):
    """A split's examples with their images still encoded, cheap to shuffle, and what makes a pair of one."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS warns of its own old names
    features = builder.info.features
    images = [name for name in spec.features if isinstance(features[name], tfds.features.Image)]
    decoders = tfds.decode.PartialDecoding(
        dict.fromkeys(spec.features, True), decoders={name: tfds.decode.SkipDecoding() for name in images}
    )

    def read(example, size=None):
        decoded = {name: features[name].decode_example(example[name]) for name in images}
        pair = spec.to_pair({**example, **decoded}, features)
        return pair if size is None else resize_pair(pair, size)

    return builder.as_dataset(split=part, shuffle_files=False, decoders=decoders), read
