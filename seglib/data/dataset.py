"""A dataset is one value, the same whatever its source: splits of pairs, their label map, and batches for training."""

import numpy as np
import tensorflow as tf

from seglib.data.bridge import call_python
from seglib.images import ImageError, open_image, read_size, resize_image, resize_mask
from seglib.labels import LabelMap

SPLITS = ("train", "val", "test")

# Decoded pairs (4 bytes a pixel) are kept in memory up to this size; beyond it they are read anew in every epoch.
CACHE_BYTES = 512 * 2**20

# Of up to so many pairs of files the sizes are read from the headers; larger splits would not be cached anyway.
MAX_HEADERS = 4096

# So many encoded examples (some 100 kilobytes each) are held to draw the next one from.
MAX_HELD = 4096


class DataError(ValueError):
    """Data that cannot be used; the message names the files, what was found and what was wanted."""


def refuse(problems, what):
    """Raises a :class:`DataError` that lists the problems, if there are any."""
    if problems:
        shown = "\n  ".join(problems[:10])
        more = f"\n  … and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise DataError(f"{what} ({len(problems)}):\n  {shown}{more}")


def report(name, notes):
    """Prints what was inferred about a source, one note a line, before anything of it is read."""
    for note in notes:
        print(f"{name}: {note}", flush=True)


def to_label_map(labels):
    """A :class:`~seglib.labels.LabelMap` (or None) as it is, and one of a sequence of names.

    Raises:
        DataError: something else.
    """
    if labels is None or isinstance(labels, LabelMap):
        return labels
    if isinstance(labels, (list, tuple)) and all(isinstance(name, str) for name in labels):
        return LabelMap(tuple(labels))
    raise DataError(f"labels= is a LabelMap or a list of names, got {labels!r}")


class Dataset:
    """Pairs of image and mask with their label map, the same whatever the source.

    Attributes:
        name: for messages and titles.
        labels: the :class:`~seglib.labels.LabelMap`.
        train, val, test: ``tf.data.Dataset`` of ``{"image": (height, width, 3) uint8, "mask": (height, width) uint8}``
            in a fixed order, one pair at a time. Asking for a split that the source lacks raises :class:`DataError`.
        counts: how many pairs each split has.
        sizes: per split the ``(height, width)`` of every pair, or None where only reading them would tell.
        files: per split a list of ``(image, mask)``, for pairs that lie in files: the image's path, and what
            ``read_mask`` reads the mask from (a path too, but for COCO). Empty for the other sources.
        read_mask: ``read_mask(mask)`` → (height, width) uint8 class ids, or raises ``ValueError``; None without files.
        notes: what was inferred about the source, one sentence each.
        unpaired: files that found no partner and were left out.
    """

    def __init__(self, name, labels, splits, counts, sizes, files=None, read_mask=None, notes=(), unpaired=()):
        self.name, self.labels, self.counts, self.sizes = name, labels, dict(counts), dict(sizes)
        self.files, self.read_mask = dict(files or {}), read_mask
        self.notes, self.unpaired = tuple(notes), tuple(unpaired)
        # Per split a tf.data of what is cheap to shuffle, and ``read(*item, size=None)``, which makes a pair of it.
        self._splits = dict(splits)

    train = property(lambda self: self.split("train"))
    val = property(lambda self: self.split("val"))
    test = property(lambda self: self.split("test"))

    def split(self, split):
        """The pairs of ``"train"``, ``"val"`` or ``"test"``."""
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        if not self.counts.get(split):
            there = ", ".join(s for s in SPLITS if self.counts.get(s)) or "no split at all"
            raise DataError(f"{self.name} has no pairs in its {split!r} split; there is {there}")
        items, read = self._splits[split]
        return items.map(read, num_parallel_calls=tf.data.AUTOTUNE)

    def batches(self, split, size, batch_size=8, augment=None, seed=0):
        """Batches for ``model.fit`` and for evaluation.

        Args:
            split: ``"train"`` is shuffled anew in every epoch and loses an incomplete last batch, so that all
                batches have one shape (a split smaller than a batch is one batch); ``"val"`` and ``"test"`` keep
                their order and every pair.
            size: ``(height, width)`` of the batch. Images are resized bilinearly (with antialiasing), masks by
                nearest neighbour.
            batch_size: pairs in a batch.
            augment: a function ``(pair, seed) -> pair`` in TensorFlow, only for ``"train"``. It is given the pair at
                its own size and two int32 to draw its randomness from, and may return any size.
            seed: decides, with that of :func:`seglib.train.seed`, the order and all that ``augment`` draws; the
                same seeds give the same batches in every run.

        Returns:
            A ``tf.data.Dataset`` of ``(images, masks)``: (batch, height, width, 3) float32 in 0–255 and
            (batch, height, width) uint8.
        """
        if augment is not None and split != "train":
            raise ValueError(f"augment is for the train split; {split!r} is to be measured as it is")
        self.split(split)  # refuses a split that is not there
        (items, read), count, parallel = self._splits[split], self.counts[split], tf.data.AUTOTUNE
        if augment is None:
            load, cached = lambda *item: read(*item, size=size), _fits_in_memory([size] * count)
        else:
            load, cached = read, self.is_cached(split)
        if cached:
            pairs = items.map(load, num_parallel_calls=parallel).cache()
            pairs = self._shuffle(pairs, split, seed)
        else:  # what is shuffled is held in memory: shuffle before the pairs are read
            pairs = self._shuffle(items, split, seed).map(load, num_parallel_calls=parallel)
        if augment is not None:
            draws = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)
            pairs = tf.data.Dataset.zip(pairs, draws)
            pairs = pairs.map(lambda pair, draw: _augmented(augment, pair, draw, size), num_parallel_calls=parallel)
        pairs = pairs.batch(min(batch_size, count), drop_remainder=split == "train")
        return pairs.map(_to_fit, num_parallel_calls=parallel).prefetch(parallel)

    def _shuffle(self, items, split, seed):
        if split != "train":
            return items
        # Encoded examples of TFDS, whose order on disk is random already, are held only in part; paths weigh nothing.
        held = self.counts[split] if self.files else min(self.counts[split], MAX_HELD)
        return items.shuffle(held, seed=seed, reshuffle_each_iteration=True)

    def is_cached(self, split):
        """Whether ``batches`` with an ``augment`` keeps this split's decoded pairs in memory (``CACHE_BYTES``)."""
        sizes = self.sizes.get(split)
        return sizes is not None and _fits_in_memory(sizes)

    def class_pixels(self, split="train"):
        """How many pixels of the split belong to each class: (num_classes,) int64; void is not counted."""
        counts = np.zeros(256, np.int64)
        for pair in self.split(split).as_numpy_iterator():
            counts += np.bincount(pair["mask"].ravel(), minlength=256)
        return counts[: self.labels.num_classes]

    def __repr__(self):
        counts = " · ".join(f"{split} {self.counts.get(split, 0)}" for split in SPLITS)
        return f"{self.name}: {self.labels.num_classes} classes, {counts} pairs"


def from_pairs(name, labels, pairs, split_of, read_mask, notes=(), unpaired=(), sizes=None):
    """The dataset of pairs that lie in files: nothing is read but, of up to ``MAX_HEADERS`` images, the headers.

    Args:
        name, labels, read_mask, notes, unpaired: as in :class:`Dataset`.
        pairs: list of ``(image, mask)``, as in ``Dataset.files``.
        split_of: mapping from a split to the indices of its pairs, as from :func:`~seglib.data.splits.assign_splits`.
        sizes: the ``(height, width)`` of every pair where the source tells them; None: the headers do.

    Returns:
        A :class:`Dataset`. Reading a pair that is damaged or does not fit raises an error that names its files.
    """
    if sizes is None and len(pairs) <= MAX_HEADERS:
        sizes = [read_size_or_none(image) for image, _ in pairs]
    files = {split: [pairs[i] for i in indices] for split, indices in split_of.items()}
    known = {split: sizes and [sizes[i] for i in indices] for split, indices in split_of.items()}
    known = {split: None if not chosen or None in chosen else chosen for split, chosen in known.items()}
    splits = {split: _tf_pairs(chosen, known[split], read_mask) for split, chosen in files.items() if chosen}
    counts = {split: len(chosen) for split, chosen in files.items()}
    return Dataset(name, labels, splits, counts, known, files, read_mask, notes, unpaired)


def read_pair(image, mask, read_mask, size=None):
    """Reads one pair of files and checks that the two fit.

    Args:
        image, mask, read_mask: as in :class:`Dataset`.
        size: ``(height, width)`` to resize both to, as :func:`resize_pair` does; None leaves them as they are.

    Returns:
        (height, width, 3) uint8 and (height, width) uint8.

    Raises:
        DataError, ImageError: a file that cannot be read, or two sizes; the message names the file.
    """
    picture, ids = open_image(image), read_mask(mask)
    if picture.size[::-1] != ids.shape:
        found, wanted = (f"{height}×{width}" for height, width in (ids.shape, picture.size[::-1]))
        raise DataError(f"{mask}: the mask is {found} (height×width), its image {image} is {wanted}")
    if size is None or tuple(size) == ids.shape:
        return np.asarray(picture), ids
    return resize_image(picture, size), resize_mask(ids, size)


def resize_pair(pair, size):
    """Resizes a pair to ``size = (height, width)``: the image bilinearly with antialiasing, the mask by nearest.

    Args:
        pair: ``{"image": (h, w, 3) uint8 or float32, "mask": (h, w) uint8}``.

    Returns:
        The pair, the image uint8 if it was and else float32. Every id of the result stood in the mask.
    """
    image, mask = pair["image"], pair["mask"]
    if tuple(image.shape[:2]) == tuple(size):
        return {"image": image, "mask": mask}
    if image.dtype == tf.uint8:  # Pillow's is the same filter as TensorFlow's for floats, and faster
        image = _call_resize(resize_image, image, size, lambda: _empty(*size)[0])
    else:
        image = tf.image.resize(image, size, method="bilinear", antialias=True)
    mask = _call_resize(resize_mask, mask, size, lambda: _empty(*size)[1])
    return {"image": tf.ensure_shape(image, (*size, 3)), "mask": tf.ensure_shape(mask, size)}


def _call_resize(resize, pixels, size, empty):
    return call_python(lambda pixels: resize(pixels, size), [pixels], tf.uint8, empty)


def _fits_in_memory(sizes):
    """Whether decoded pairs of these sizes may be kept."""
    return 4 * sum(height * width for height, width in sizes) <= CACHE_BYTES


def _augmented(augment, pair, draw, size):
    return resize_pair(augment(pair, tf.cast(draw % 2**31, tf.int32)), size)


def _to_fit(pair):
    return tf.cast(pair["image"], tf.float32), pair["mask"]


def read_size_or_none(image):
    """``(height, width)`` of an image from its header, or None if it has none that can be read."""
    try:
        return read_size(image)
    except ImageError:
        return None


def _tf_pairs(files, sizes, read_mask):
    """The files as a ``tf.data.Dataset``, and the function that reads a pair of them."""
    own_size = sizes[0] if sizes and len(set(sizes)) == 1 else (None, None)  # static where it can be

    def to_pair(image, mask, size=None):
        def read(image, mask):
            return read_pair(image.decode(), mask.decode(), read_mask, size)

        height, width = size or own_size
        pixels, ids = call_python(read, [image, mask], (tf.uint8, tf.uint8), lambda: _empty(height or 1, width or 1))
        return {
            "image": tf.ensure_shape(pixels, (height, width, 3)),
            "mask": tf.ensure_shape(ids, (height, width)),
        }

    columns = tuple(list(column) for column in zip(*files, strict=True))
    return tf.data.Dataset.from_tensor_slices(columns), to_pair


def _empty(height, width):
    return np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
