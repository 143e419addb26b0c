"""A dataset is one value, the same whatever its source: splits of pairs, their label map, and batches for training."""

import contextlib
import sys
import traceback

import numpy as np
import tensorflow as tf

from seglib.annotations import DataError
from seglib.bridge import call_python
from seglib.images import ImageError, describe_losses, open_image, read_size, resize_image, resize_mask, to_size

SPLITS = ("train", "val", "test")

CACHE_BYTES = 512 * 2**20  # up to this, decoded pairs (4 bytes a pixel) are kept in memory; beyond, read every epoch
MAX_HEADERS = 4096  # of up to so many pairs of files the sizes are read from the headers; more would not be cached
MAX_HELD = 4096  # encoded examples (some 100 kilobytes each) held to draw the next one from

# What is drawn in an epoch: the order of the pairs, for ``augment``, and which pairs come twice. Other numbers would
# give other batches than those of the lessons.
ORDER, PAIRS, REPEATS = 0, 1, 3


class Dataset:
    """Pairs of image and mask with their label map, the same whatever the source.

    Attributes:
        name, labels: the name for messages and titles, and the :class:`~seglib.labels.LabelMap`.
        train, val, test: ``tf.data.Dataset`` of ``{"image": (height, width, 3) uint8, "mask": (height, width) uint8}``
            in a fixed order, one pair at a time. Asking for a split that the source lacks raises :class:`DataError`.
        counts: how many pairs each split has.
        sizes: per split the ``(height, width)`` of every pair, or None where only reading them would tell.
        files: per split a list of ``(image, mask)``, for pairs that lie in files: the image's path, and what
            ``read_mask`` reads the mask from (a path too, but for COCO). Empty for the other sources.
        read_mask: ``read_mask(mask)`` → (height, width) uint8 class ids, or raises ``ValueError``; None without files.
        notes, unpaired: what was inferred about the source, one sentence each, of which those that begin with
            ``"warning: "`` are also found by the doctor; files that found no partner.
    """

    def __init__(self, name, labels, splits, counts, sizes, files=None, read_mask=None, notes=(), unpaired=()):
        self.name, self.labels, self.counts, self.sizes = name, labels, dict(counts), dict(sizes)
        self.files, self.read_mask = dict(files or {}), read_mask
        self.notes, self.unpaired = tuple(notes), tuple(unpaired)
        # Per split a tf.data of what is cheap to shuffle, and ``read(item, size=None)``, which makes a pair of it.
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
            way = f"; from_folder and its like cut it from train by {split}=0.2" if split != "train" else ""
            raise DataError(f"{self.name} has no pairs in its {split!r} split; there is {there}{way}")
        items, read = self._splits[split]
        return _map(items, read)

    def sample(self, split, most, among=None):
        """A :class:`Dataset` of one split: at most ``most`` pairs, every n-th of its first ``among`` (None: of all)."""
        self.split(split)  # refuses a split that is not there
        (items, read), first = self._splits[split], min(self.counts[split], among or self.counts[split])
        every = -(-first // most)
        sizes, files = self.sizes.get(split), self.files.get(split, [])
        kept = {split: sizes and sizes[:first:every]}, {split: files[:first:every]} if self.files else None
        splits, counts = {split: (items.take(first).shard(every, 0), read)}, {split: -(-first // every)}
        return Dataset(self.name, self.labels, splits, counts, *kept, self.read_mask, self.notes, self.unpaired)

    def batches(self, split, size, batch_size=8, augment=None, repeats=None, seed=0, epoch=0, shard=None):
        """Batches for ``model.fit`` and for evaluation, the same under every backend of Keras.

        The order of the training pairs is a function of ``seed`` and epoch alone, what ``augment`` draws one of these
        and of the pair (wherever it stands in the order).

        Args:
            split: ``"train"`` is shuffled anew in every epoch and loses an incomplete last batch (a split smaller than
                a batch is one batch); ``"val"`` and ``"test"`` keep their order and every pair.
            size: ``(height, width)`` that pairs are resized to as they are read, images bilinearly (with antialiasing),
                masks by nearest neighbour. None, only with an ``augment``: as they are.
            batch_size: pairs in a batch.
            augment: ``(pair, seed) -> pair``, a layer of :mod:`seglib.augment` or a function in TensorFlow, only for
                ``"train"``. A pair is ``{"images": (height, width, 3) uint8, "segmentation_masks": (height, width)
                uint8}``, ``seed`` two int32 from 0 for ``tf.random.stateless_uniform`` and the like. The images it
                returns may be float32, and of another size, which then is the batch's.
            repeats: (pairs,) how often each training pair is wanted in an epoch, on any scale, as from
                :func:`seglib.class_balance.rare_class_repeats`: an epoch has as many pairs as ever. None: each once.
            seed: another one gives another order and other draws; the same gives the same batches in every run.
            epoch: the number of the first epoch, n for a run that is resumed after n. Each further iteration is the
                next one, a ``.take(1)`` too, but not the batch that ``fit`` builds a model from (JAX, torch).
            shard: ``(index, count)``: of each batch only the part of process ``index`` among ``count``, which divide
                it into equal slices. All have as many batches: the last of ``"val"`` and ``"test"`` is filled up to
                ``batch_size`` with pairs whose masks are ``ignore_id``, also for ``(0, 1)``. None: whole batches.

        Returns:
            A ``tf.data.Dataset`` of ``(images, masks)``: (batch, height, width, 3) float32 in 0–255 and
            (batch, height, width) uint8.

        Raises:
            ValueError: ``augment`` or ``repeats`` for ``"val"`` or ``"test"``, ``repeats`` that do not fit the pairs, a
                ``size`` that is not two whole numbers, or none without an ``augment``; a ``shard`` that is not within
                its count, or a batch that does not divide.
            TypeError: an ``augment`` that gives no uint8 masks, or that cannot take TensorFlow's tensors.
        """
        if split != "train" and not (augment is repeats is None):
            raise ValueError(f"augment and repeats are for the train split; {split!r} is to be measured as it is")
        if size is None and augment is None:
            raise ValueError("size=None leaves pairs at their own sizes; it wants an augment that brings them to one")
        self.split(split)  # refuses a split that is not there
        (items, read), count = self._splits[split], self.counts[split]
        size = None if size is None else to_size(size)
        padded = shard is not None and split != "train"
        batch, (index, shards) = batch_size if padded else min(batch_size, count), shard or (0, 1)
        if padded:  # from the beginning again
            items = _slice(items.repeat(), -(-count // batch) * batch, batch, index, shards)

        def load(item):
            pair = read(item, size=size)
            return {"images": pair["image"], "segmentation_masks": pair["mask"]}

        cached = self.is_cached(split, size)
        pairs = _map(items, load).cache() if cached else items
        if split == "train":
            # Encoded examples of TFDS, whose order on disk is random already, are held only in part.
            held = count if cached or self.files else min(count, MAX_HELD)
            pairs = _draw_epochs(pairs, count, held, seed, epoch, repeats)
        else:
            pairs = tf.data.Dataset.zip((pairs,))  # tuples, too
        if shard is not None and not padded:
            pairs = _slice(pairs, count // batch * batch, batch, index, shards)
        if not cached:  # what is shuffled is held in memory: only then are the pairs read
            pairs = _map(pairs, lambda item, *draw: (load(item), *draw))
        if augment is not None:
            pairs = _map(pairs, lambda pair, draw: (augment(pair, draw), draw))
        batches = _map(pairs.batch(batch // shards, drop_remainder=split == "train" or padded), _to_fit)
        if padded:
            places = tf.range(batch // shards, dtype=tf.int64)[:, None, None] + index * (batch // shards)
            void = np.uint8(self.labels.ignore_id)
            batches = batches.enumerate().map(
                lambda number, both: (both[0], tf.where(number * batch + places < count, both[1], void))
            )
        return batches.prefetch(tf.data.AUTOTUNE)

    def is_cached(self, split, size=None):
        """Whether ``batches`` of this size keeps the split's decoded pairs in memory (``CACHE_BYTES``)."""
        sizes = self.sizes.get(split) if size is None else [size] * self.counts[split]
        return sizes is not None and 4 * sum(height * width for height, width in sizes) <= CACHE_BYTES

    def class_pixels(self, split="train"):
        """How many pixels of each image belong to each class: (pairs, num_classes) int64; void is not counted."""
        pairs, classes = self.split(split).as_numpy_iterator(), self.labels.num_classes
        return np.array([np.bincount(pair["mask"].ravel(), minlength=256)[:classes] for pair in pairs], np.int64)

    def __repr__(self):
        counts = " · ".join(f"{split} {self.counts.get(split, 0)}" for split in SPLITS)
        return f"{self.name}: {self.labels.num_classes} classes, {counts} pairs"


def from_pairs(name, labels, pairs, split_of, read_mask, notes=(), unpaired=(), sizes=None):
    """Prints the notes, and gives the :class:`Dataset` of pairs in files, of which at most image headers are read.

    ``pairs`` are a list of what ``Dataset.files`` holds, ``split_of`` maps a split to the indices of its pairs. Without
    ``sizes`` the headers of up to ``MAX_HEADERS`` images tell them.
    """
    notes = [*notes, *describe_losses([image for image, _ in pairs])]
    for note in notes:
        print(f"{name}: {note}", flush=True)
    if sizes is None and len(pairs) <= MAX_HEADERS:
        with contextlib.suppress(ImageError):  # which names the file when its pair is read
            sizes = [read_size(image) for image, _ in pairs]
    files = {split: [pairs[i] for i in indices] for split, indices in split_of.items()}
    known = {split: [sizes[i] for i in indices] if sizes and indices else None for split, indices in split_of.items()}
    splits = {split: _tf_pairs(chosen, known[split], read_mask) for split, chosen in files.items() if chosen}
    counts = {split: len(chosen) for split, chosen in files.items()}
    return Dataset(name, labels, splits, counts, known, files, read_mask, notes, unpaired)


def read_pair(image, mask, read_mask, size=None):
    """Reads an image's path and a mask, by ``read_mask(mask)``: (height, width, 3) uint8 and (height, width) uint8.

    Both are resized to ``size = (height, width)`` if it is given. DataError, ImageError: a file that cannot be read, or
    a mask of another size than its image; the message names the file.
    """
    picture, ids = open_image(image), read_mask(mask)
    check_size(mask, ids.shape, image, picture.size[::-1])
    if size is None or tuple(size) == ids.shape:
        return np.asarray(picture), ids
    return resize_image(picture, size), resize_mask(ids, size)


def check_size(mask, mask_size, image, image_size):
    """Refuses a mask of another ``(height, width)`` than its image with a :class:`DataError` that names both."""
    if mask_size != image_size:
        found, wanted = (f"{height}×{width}" for height, width in (mask_size, image_size))
        raise DataError(f"{mask}: the mask is {found} (height×width), its image {image} is {wanted}")


def resize_pair(pair, size):
    """Resizes ``{"image": (h, w, 3) uint8, "mask": (h, w) uint8}`` to ``size = (height, width)``.

    The image bilinearly with antialiasing; the mask by nearest neighbour, so that every id of the result stood in it.
    """
    size, inputs = to_size(size), [pair["image"], pair["mask"]]
    if tuple(pair["image"].shape[:2]) == size:
        return {"image": pair["image"], "mask": pair["mask"]}
    return _call_for_pair(lambda image, mask: (resize_image(image, size), resize_mask(mask, size)), inputs, size)


def _tf_pairs(files, sizes, read_mask):
    own_size = sizes[0] if sizes and len(set(sizes)) == 1 else (None, None)  # static where it can be

    def to_pair(paths, size=None):
        def read(image, mask):
            return read_pair(image.decode(), mask.decode(), read_mask, size)

        return _call_for_pair(read, [paths["image"], paths["mask"]], size or own_size)

    images, masks = (list(column) for column in zip(*files, strict=True))
    return tf.data.Dataset.from_tensor_slices({"image": images, "mask": masks}), to_pair


def _call_for_pair(function, inputs, size):
    """The pair that ``function(*inputs)`` makes in Python, of a size that may be ``(None, None)``: not known."""
    specs = [tf.TensorSpec((*size, 3), tf.uint8), tf.TensorSpec(size, tf.uint8)]
    return dict(zip(("image", "mask"), call_python(function, inputs, specs), strict=True))


def _map(dataset, function):
    try:
        return dataset.map(function, num_parallel_calls=tf.data.AUTOTUNE)
    except Exception as error:
        if "symbolic" not in str(error).lower():
            raise
        way = "use a layer of seglib.augment, or tf functions (keras.ops only under the TensorFlow backend)"
        raise TypeError(f"augment gets TensorFlow's symbolic tensors, inside tf.data: {way}") from error


def _to_fit(pair, *_):
    images, masks = pair["images"], pair["segmentation_masks"]
    if masks.dtype != tf.uint8:
        raise TypeError(f"augment is to return segmentation_masks in uint8, got {masks.dtype.name}")
    return tf.cast(images, tf.float32), masks


def _draw_epochs(items, count, held, seed, epoch, repeats=None):
    """Another order in each iteration: ``(item, (2,) int32 seed of its draws)``.

    ``items`` are a ``tf.data.Dataset`` of ``count`` in a fixed order; the next one is drawn from as many as are
    ``held``. ``epoch`` is the number of the first iteration, and ``repeats`` as for ``Dataset.batches``: by systematic
    sampling an item wanted 2.3 times comes twice or three times.
    """
    wanted = None if repeats is None else _count_before(repeats, count)

    def next_epoch():
        nonlocal epoch
        number, epoch = epoch, epoch + (not _is_building())
        return [np.int64(number)]

    def draw_epoch(number):
        # Every shuffle mixes in a seed of the graph: the program's, unless this function's own graph gets one.
        tf.compat.v1.get_default_graph().seed = 1
        order = tf.cast(_draw_seeds(1, seed, number, ORDER)[0, 0], tf.int64)
        draws = tf.data.Dataset.from_tensor_slices(_draw_seeds(count, seed, number, PAIRS))
        chosen = items
        if wanted is not None:
            grid = tf.random.stateless_uniform((), _draw_seeds(1, seed, number, REPEATS)[0], dtype=tf.float64)
            before = tf.cast(tf.minimum(tf.floor(wanted + grid), count), tf.int64)
            times = tf.data.Dataset.from_tensor_slices(before[1:] - before[:-1])
            chosen = tf.data.Dataset.zip(items, times).flat_map(
                lambda item, n: tf.data.Dataset.from_tensors(item).repeat(n)
            )
        return tf.data.Dataset.zip(chosen, draws).shuffle(held, seed=order, reshuffle_each_iteration=False)

    number = tf.TensorSpec((), tf.int64)
    epochs = tf.data.Dataset.from_tensors(0).map(lambda _: call_python(next_epoch, [], [number])[0])
    return epochs.flat_map(draw_epoch).apply(tf.data.experimental.assert_cardinality(count))


def _slice(items, total, batch, index, shards):
    """What the shard ``index`` has of each ``batch`` among the first ``total`` items."""
    if not 0 <= index < shards:
        raise ValueError(f"shard=(index, count) wants an index of 0 to count − 1, got {index, shards}")
    if batch % shards:
        raise ValueError(f"a batch of {batch} pairs does not divide into {shards} equal shards")
    chosen = items.take(total).enumerate().filter(lambda number, _: number * shards // batch % shards == index)
    return chosen.map(lambda _, item: item).apply(tf.data.experimental.assert_cardinality(total // shards))


def _count_before(repeats, count):
    """How often the items before each are wanted, and all: (count + 1,) float64, rising from 0 to ``count``."""
    repeats = np.asarray(repeats, np.float64)
    if repeats.shape != (count,) or not (np.isfinite(repeats).all() and repeats.min() >= 0 and repeats.any()):
        found = f"{repeats.shape} from {repeats.min(initial=np.inf):g} to {repeats.max(initial=-np.inf):g}"
        raise ValueError(f"repeats must be {count} finite numbers of at least 0, not all 0, one a pair; got {found}")
    before = np.cumsum([0, *repeats])
    return before / before[-1] * count


def _is_building():
    """Whether Keras takes a batch only to build a model from its shapes: under JAX and torch ``fit`` begins so."""
    frames = (frame for stack in sys._current_frames().values() for frame, _ in traceback.walk_stack(stack))
    return any(frame.f_code.co_name in ("_symbolic_build", "_maybe_symbolic_build") for frame in frames)


def _draw_seeds(count, seed, epoch, number):
    """(count, 2) int32 from 0: random seeds, by the numbers alone. Those of ``fold_in`` are alike for neighbours."""
    folded = tf.random.fold_in(tf.stack([tf.constant(seed, tf.int64), epoch]), tf.constant(number, tf.int64))
    return tf.random.stateless_uniform((count, 2), folded, 0, tf.int32.max, tf.int32)
