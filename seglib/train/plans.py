"""A plan made from the data (after nnU-Net, Isensee et al. 2021): what is trained, on what, how long, and why."""

import json
import math
import os
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from seglib import augment, class_balance, hosts, losses, metrics, models
from seglib.bridge import call_python
from seglib.images import resize_image, resize_mask
from seglib.models.efficientnet_lite import find_weights
from seglib.train import loop
from seglib.train.rates import DiscriminativeAdamW, Warmup, freeze

SAMPLE = 100  # so many pairs are looked at, and validated with
PIXELS = 2e8  # of crops in all, unless the time or the steps are said
WIDTH, SHORTER = 5, 256  # pixels that the thinner classes, and an image's shorter side, keep at the plan's scale
CROP, VIEW = 224**2, 2**20  # pixels of a crop, as of ImageNet's images, and of an image in validation at most
EARLY = 0.57  # of the steps; then about as much time is spent on small crops as on large ones
TRAINED = 0.85  # of the minutes; the rest goes into tracing and saving
BYTES = 6000  # of memory in a training step, for each pixel of a crop
NETWORKS = {"unet": {"depth": 5, "filters": 16}, "fcn": {"backbone": "small"}, "deeplab_v3_plus": {}}
PRETRAINED = {"filters": 32, "encoder": "efficientnet_lite0", "weights": "imagenet"}


class Plan(NamedTuple):
    """How a network is trained; ``print(plan)`` says why, line by line, and ``plan._replace(…)`` changes it."""

    scale: float  # the factor of the images' own sizes, in training as in prediction
    early: float  # scale and crop are smaller by this factor in the first EARLY of the steps: progressive resizing
    crop: tuple  # (height, width) of what is cut from the scaled images
    batch_size: int  # how many crops are in a step
    steps: int  # training steps in all
    epochs: int  # into how many equal parts they are divided; each ends with validation
    model: str  # the name of a function of seglib.models
    network: dict  # its options
    # The last layer of a pretrained encoder that is not trained, or None. The rest of the encoder then learns at 0.3 of
    # the rate, its batch normalisation not at all.
    frozen: str | None
    rate: float  # the highest learning rate; it rises for a fortieth of the steps and falls to 0
    class_weights: tuple | None  # of the cross-entropy, one a class
    augment: dict  # ranges of seglib.augment.Augment; its scale is relative to the plan's
    view: tuple  # (height, width) that images are resized to in validation
    seed: int = 0  # of weights, order and augmentation
    reasons: dict = {}  # from the name of a field to why it has its value

    def __str__(self):
        lines = [f"{name:<13} {_show(value)}" for name, value in self._asdict().items() if name != "reasons"]
        return "\n".join(f"{line}: {self.reasons.get(line.split()[0], 'the default')}" for line in lines)

    def save(self, path):
        """Writes the plan as JSON."""
        Path(path).write_text(json.dumps(self._asdict(), indent=1, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path):
        """Reads what :meth:`save` wrote; a ValueError names a file that is none."""
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in found.items()})
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: no plan can be read: {error}") from error


class _Facts(NamedTuple):
    size: tuple  # median (height, width)
    in_colour: bool
    upright: float  # by how much more than chance the classes' shares differ between upper and lower halves, 0–1
    thin: float  # width in pixels of the regions of a class that a third of the classes fall below
    pixels: np.ndarray  # (num_classes,) counts


def plan(dataset, minutes=None, filters=None, **chosen):
    """Makes a :class:`Plan` from the images and masks of a sample of the training pairs.

    Args:
        dataset: a :class:`~seglib.data.Dataset` with a train and a val split.
        minutes: how long to train on this machine; some steps are timed to turn it into ``steps``, here and only here.
            None: so many that 200 million pixels are seen, 1,000 to 3,000.
        filters: of the U-Net's first level, with an encoder of its decoder's; None: 16 and 32.
        **chosen: fields of :class:`Plan`, such as ``seed=1`` or ``model="fcn"``; those that are None are planned.

    Returns:
        The plan. The same pairs give the same plan, up to the steps that ``minutes`` allow.

    Raises:
        ValueError: a split that is missing, or a scale that is not above 0.
        TypeError: a field that a plan has not.
    """
    chosen = {name: value for name, value in chosen.items() if value is not None}
    facts, why = _look_at(dataset), {}
    scale = chosen.get("scale", round(min(1, max(WIDTH / facts.thin, SHORTER / min(facts.size))), 2))
    if not 0 < scale < math.inf:
        raise ValueError(f"the scale is a factor above 0, got {scale}")
    size = tuple(max(1, round(scale * side)) for side in facts.size)
    why["scale"] = f"of images {_show(facts.size, '×')}, in which thinner classes are {facts.thin:.1f} pixels wide"
    # An image's form; multiples of 32, unless the image is smaller.
    factor, why["crop"] = math.sqrt(CROP / math.prod(size)), f"of images that are {_show(size, '×')} at this scale"
    crop = tuple(chosen.get("crop", ())) or tuple(min(side, max(32, round(factor * side / 32) * 32)) for side in size)
    model = chosen.get("model", "unet")
    network, frozen, why["network"] = _choose_network(facts, scale, model)
    if filters and model == "unet":
        network = network | {"filters": filters}
    why["frozen"] = "all photographs share what the first layers see" if frozen else "nothing is pretrained"
    in_turn = bool(frozen) and min(crop) >= 128
    early, why["early"] = (0.67, "larger parts of an image are learnt first") if in_turn else (1, "details count")
    batch_size, why["batch_size"] = _choose_batch_size(crop, network.get("filters", 16))
    class_weights, why["class_weights"] = _choose_weights(facts.pixels)
    views, why["augment"] = _choose_augment(facts, dataset.counts["train"])
    smaller, why["view"] = min(1, math.sqrt(VIEW / math.prod(size))), "the images at this scale"
    made = dict(scale=scale, early=early, crop=crop, batch_size=batch_size, steps=1, epochs=1, model=model)
    made |= dict(network=network, frozen=frozen, rate=3e-3, class_weights=class_weights, augment=views)
    made |= {"view": tuple(round(smaller * side) for side in size)}
    made = Plan(**made | chosen | {"crop": crop})
    steps, epochs = _choose_steps(made, dataset, minutes, chosen, why)
    return made._replace(steps=steps, epochs=epochs, reasons=why | dict.fromkeys(chosen, "chosen"))


def build(plan, labels):
    """The network of a :class:`Plan` for the classes of a :class:`~seglib.labels.LabelMap`, seeded and compiled."""
    loop.seed(plan.seed)
    model = getattr(models, plan.model)((None, None, 3), labels.num_classes, **plan.network)
    rate = keras.optimizers.schedules.PolynomialDecay(plan.rate, plan.steps, end_learning_rate=0.0, power=0.9)
    options = {"weight_decay": 1e-2, "use_ema": True, "ema_momentum": min(0.99, 1 - 10 / max(plan.steps, 20))}
    optimizer = keras.optimizers.AdamW
    if plan.frozen:
        encoder = model.get_layer("encoder")
        freeze(encoder, plan.frozen)
        optimizer, options = DiscriminativeAdamW, options | {"slow": encoder.trainable_variables, "factor": 0.3}
    weights, metric = plan.class_weights, metrics.ConfusionMatrix(labels.num_classes, labels.ignore_id)
    loss = losses.CompoundLoss({"cross_entropy": 1, "dice": 1}, ignore_id=labels.ignore_id, class_weights=weights)
    model.compile(optimizer(Warmup(rate, plan.steps // 40), **options), loss, metrics=[metric])
    model.optimizer.build(model.trainable_variables)  # else TensorFlow traces the first step twice
    return model


def fit(plan, dataset, run_dir, recipe=None, note=None):
    """Trains the network of a plan, or goes on with a run that was killed, up to ``best.keras`` and ``log.csv``.

    Args:
        plan, dataset: a :class:`Plan`, and the :class:`~seglib.data.Dataset` that it was made for.
        run_dir: the folder of this run; made if it is missing.
        recipe: mapping, as for :func:`resume`, of what the plan does not say of the data.
        note: mapping, kept in ``best.keras`` (:func:`seglib.runs.read_note`).
    """
    model = build(plan, dataset.labels)
    done = loop.resume(model, run_dir, {**(recipe or {}), **plan._asdict(), "reasons": None})
    if done:
        print(f"{run_dir}: {done} of {plan.epochs} epochs are done")
    each, kept = plan.steps // plan.epochs, loop.callbacks(model, run_dir, lines=plan.epochs, note=note)
    log = keras.callbacks.CSVLogger(Path(run_dir) / "log.csv" if hosts.is_first() else os.devnull, append=done > 0)
    views = plan.batch_size if hosts.shard() else 1  # in a batch of validation
    batches = _draw_batches(plan, dataset, done * each)
    validation = dataset.sample("val", SAMPLE).batches("val", plan.view, views, shard=hosts.shard())
    span = {"steps_per_epoch": each, "initial_epoch": done, "epochs": plan.epochs}
    model.fit(batches, validation_data=validation, **span, shuffle=False, verbose=0, callbacks=[*kept, log])


def _look_at(dataset):
    dataset.split("val")  # refuses what cannot be validated
    classes = dataset.labels.num_classes
    sizes, colours, halves, edges = [], [], [], np.zeros(classes)
    for pair in dataset.sample("train", SAMPLE, among=20 * SAMPLE).train.as_numpy_iterator():
        image, mask = pair["image"].astype(np.int16), pair["mask"]
        sizes.append(mask.shape)
        colours.append(np.mean(image.max(-1) - image.min(-1)))
        halves.append([np.bincount(rows.ravel(), minlength=256)[:classes] for rows in np.array_split(mask, 2)])
        for a, b in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
            edges += np.bincount(np.concatenate([a[a != b], b[a != b]]), minlength=256)[:classes]
    shares = np.array(halves) / np.maximum(np.sum(halves, axis=-1, keepdims=True), 1)
    differences, pixels = shares[:, 0] - shares[:, 1], np.sum(halves, axis=(0, 1))
    chance = 2 * differences.std(axis=0) / math.sqrt(max(len(differences) - 1, 1))  # two standard errors
    upright = np.maximum(abs(differences.mean(axis=0)) - chance, 0).sum() / 2
    there = pixels > 0
    # A strip's area is its width times half its boundary, which over all directions has 4 / π edges of pixels each.
    widths = 2 * pixels[there] / np.maximum(edges[there], 1) * (4 / np.pi)
    size = tuple(int(side) for side in np.median(sizes, axis=0))
    thin = float(np.quantile(widths, 1 / 3, method="lower"))
    return _Facts(size, statistics.median(colours) > 8, float(upright), thin, pixels)


def _choose_network(facts, scale, model):
    if model != "unet":
        return NETWORKS[model], None, "that of the course"
    reason = "" if facts.in_colour else "the images are grey"
    if facts.thin * scale < 4:
        reason = f"thinner classes are {facts.thin * scale:.1f} pixels wide at this scale, which wants full resolution"
    try:
        if not reason:
            find_weights()
    except OSError as error:
        reason = str(error).partition(";")[0]
    if reason:
        return NETWORKS[model], None, f"from scratch: {reason}"
    return PRETRAINED, "block_2_add", "photographs in colour, as those that have trained the encoder"


def _choose_batch_size(crop, filters):
    memory = 8 * 2**30
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    need = BYTES * filters / 16 * math.prod(crop)
    number = int(np.clip(memory / 2 // need, 1, 4))
    return number, f"about {number * need / 2**30:.1f} of {memory / 2**30:.0f} GiB of memory"


def _choose_weights(pixels):
    there, weights = pixels > 0, np.ones(len(pixels))
    rarest = pixels[there].min() / pixels.sum()
    reason = f"the rarest class has {rarest:.1%} of the pixels"
    if rarest > 1 / (4 * there.sum()):
        return None, reason
    weights[there] = class_balance.class_weights(pixels[None, there].astype(np.int64), "inverse_log")
    return tuple(weights.round(3).tolist()), f"inverse logarithm of the shares; {reason}"


def _choose_augment(facts, count):
    views = {"flip": 0.5, **({"saturation": 0.3, "hue": 10} if facts.in_colour else {})}
    if facts.upright > 0.1:
        views |= {"scale": [0.75, 1.5], "rotation": 10 if count < SAMPLE else 0, "brightness": 25, "contrast": 0.3}
        return views, f"{count} images, upright: the classes of upper and lower halves differ"
    views |= {"scale": [0.8, 1.25], "rotation": 180, "brightness": 15, "contrast": 0.2}
    views |= {"elastic": 3} if count < SAMPLE else {}
    return views, f"{count} images, whose upper and lower halves hold the same classes"


def _choose_steps(plan, dataset, minutes, chosen, why):
    share = 1 - EARLY * (1 - plan.early**2)  # of the work, were all crops large
    pixels, images = share * plan.batch_size * math.prod(plan.crop), min(dataset.counts["val"], SAMPLE)
    # Validation costs about half of training for a pixel.
    total, validated = np.clip(PIXELS / pixels, 1000, 3000), images * math.prod(plan.view) / pixels / 2
    why["steps"], why["epochs"] = "the default; --minutes allow more or fewer", "validation takes a tenth of the time"
    if minutes:
        step, image = _time(plan, dataset)
        total, validated = TRAINED * 60 * minutes / (share * step), images * image / (share * step)
        why["steps"] = f"{minutes:g} minutes at {step:.2f} s, and {images * image:.0f} s for each validation"
    epochs = int(np.clip(0.1 * total / validated, 2, 20))
    steps = chosen.get("steps", max(1, round(total - epochs * validated if minutes else total)))
    epochs = min(chosen.get("epochs", epochs), steps)
    return steps // epochs * epochs, epochs


def _time(plan, dataset):
    """The seconds of a training step, its batch included, and of an image in validation: medians of eight."""
    model = build(plan, dataset.labels)

    def measure(call, batches):
        batches, seconds = iter(batches.repeat()), []
        for _ in range(10):
            began = time.perf_counter()
            call(*(np.asarray(part) for part in next(batches)))
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds[2:])  # the first two are slower

    validation = dataset.batches("val", plan.view, 1)
    return measure(model.train_on_batch, _draw_stage(plan, dataset)), measure(model.test_on_batch, validation)


def _draw_batches(plan, dataset, start=0):
    """Batches without end, from step ``start`` on: small crops first, if the plan says so."""
    turn = round(EARLY * plan.steps) if plan.early < 1 else 0
    late = _draw_stage(plan, dataset, max(start, turn))
    if start >= turn:
        return late
    crop = [max(32, round(plan.early * side / 32) * 32) for side in plan.crop]
    early = plan._replace(scale=plan.early * plan.scale, crop=crop)
    return _draw_stage(early, dataset, start).take(turn - start).concatenate(late)


def _draw_stage(plan, dataset, start=0):
    """Crops of the training images at the plan's scale, augmented."""
    low, high = plan.augment.get("scale", (1, 1))
    reduced = min(1, plan.scale * high)  # with antialiasing; the rest by the augmentation
    ranges = plan.augment | {"scale": (plan.scale * low / reduced, plan.scale * high / reduced)}
    views = augment.Augment(plan.crop, ignore_id=dataset.labels.ignore_id, **ranges)

    def resize(image, mask):
        size = tuple(max(1, round(reduced * side)) for side in mask.shape)
        return resize_image(image, size), resize_mask(mask, size)

    def change(pair, seed):
        if reduced < 1:
            import tensorflow as tf

            specs = [tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((None, None), tf.uint8)]
            pair = dict(zip(pair, call_python(resize, [*pair.values()], specs), strict=True))
        return views(pair, seed)

    def draw(epoch):
        options = {"seed": plan.seed, "epoch": epoch, "shard": hosts.shard()}
        return dataset.batches("train", None, plan.batch_size, change, **options)

    each = len(draw(0))
    return draw(start // each).repeat().skip(start % each)


def _show(value, between=" "):
    if isinstance(value, dict):
        return ", ".join(f"{name} {_show(part)}" for name, part in value.items()) or "none"
    return between.join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
